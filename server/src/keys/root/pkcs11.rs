//! The root key in a token of PKCS#11: an HSM wraps and unwraps, and never gives the key out.
//!
//! ```text
//! wrapped = nonce (12, random) ‖ CKM_AES_GCM (secret, AAD = the place's tuple) ‖ tag (16)               60 bytes
//! ```
//!
//! A token is a device behind a library of somebody else's: calls block, and may do so for ever. So one thread of its own talks
//! to it, and whoever waits for that thread waits for a bounded time. A session that broke is opened again with the PIN from its
//! file; a PIN that a human gave is not kept, so then the server has to be started and unlocked again.

mod sealing;
mod token;

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use strongroom_core::keys::secret::{Key, scrub_stack};
use strongroom_core::keys::wrap::{RootTuple, UnwrapError};
use tokio::sync::oneshot;

use self::sealing::{Failed, WRAPPED, seal, unseal};
use self::token::Token;
use super::{RootKey, Secret};
use crate::config::root::Pkcs11Root;
use crate::keys::KeyError;

/// How long a token may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Requests that may wait for the token.
const QUEUE: usize = 64;

/// A root key in a token.
pub struct Pkcs11RootKey {
    id: String,
    token: String,
    requests: Option<SyncSender<Request>>,
    /// Closed when the thread has ended.
    ended: Mutex<Receiver<()>>,
}

/// Lets the thread close its session: a module that is unloaded at the process's end under a thread that uses it brings that down.
impl Drop for Pkcs11RootKey {
    fn drop(&mut self) {
        self.requests = None;
        // A token that hangs is not waited for.
        let ended = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner);
        let _ = ended.recv_timeout(Duration::from_secs(1));
    }
}

/// Keys stand in blocks of their own: what waits in a queue leaves its bytes there when it is taken out.
enum Work {
    Wrap { aad: Vec<u8>, secret: Box<Key> },
    Unwrap { aad: Vec<u8>, wrapped: Vec<u8> },
}

enum Answer {
    Wrapped(Vec<u8>),
    Unwrapped(Box<Key>),
}

struct Request {
    work: Work,
    answer: oneshot::Sender<Result<Answer, KeyError>>,
}

impl Pkcs11RootKey {
    /// Opens the key, with the PIN from the provider's file, or else this one.
    ///
    /// # Errors
    /// [`KeyError::Locked`] if there is no PIN; [`KeyError::Pin`] if it is the wrong one; [`KeyError::Root`] if there is no such
    /// module, token or key, or the token would give the key out.
    pub async fn open(provider: Pkcs11Root, pin: Option<Secret>) -> Result<Self, KeyError> {
        Self::start(provider, pin, false).await
    }

    /// As [`Pkcs11RootKey::open`], and makes the key where the token has none of that label.
    ///
    /// # Errors
    /// As [`Pkcs11RootKey::open`].
    pub async fn create(provider: Pkcs11Root, pin: Option<Secret>) -> Result<Self, KeyError> {
        Self::start(provider, pin, true).await
    }

    async fn start(provider: Pkcs11Root, pin: Option<Secret>, make: bool) -> Result<Self, KeyError> {
        let (requests, queue) = sync_channel(QUEUE);
        let (ending, ended) = sync_channel(0);
        let (opened, opening) = oneshot::channel();
        let token = provider.token.clone();
        let thread = std::thread::Builder::new().name("pkcs11".to_owned());
        let spawned = thread.spawn(move || {
            match Token::open(provider, pin, make) {
                Ok(token) => {
                    scrub_stack();
                    // Whoever opened it may have given up by now; then there is nobody to serve.
                    if opened.send(Ok(token.id.clone())).is_ok() {
                        token.serve(&queue);
                    }
                }
                Err(error) => drop(opened.send(Err(error))),
            }
            drop(ending);
        });
        spawned.map_err(|error| KeyError::Root(format!("a thread for the token: {error}")))?;
        let id = answered(&token, opening).await?;
        Ok(Self { id, token, requests: Some(requests), ended: Mutex::new(ended) })
    }

    async fn ask(&self, work: Work) -> Result<Answer, KeyError> {
        let (answer, answering) = oneshot::channel();
        let gone = || KeyError::Root("the token's thread has ended".to_owned());
        let requests = self.requests.as_ref().ok_or_else(gone)?;
        requests.try_send(Request { work, answer }).map_err(|error| match error {
            TrySendError::Full(_) => silent(&self.token),
            TrySendError::Disconnected(_) => gone(),
        })?;
        answered(&self.token, answering).await
    }
}

async fn answered<T>(token: &str, answer: oneshot::Receiver<Result<T, KeyError>>) -> Result<T, KeyError> {
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => Err(KeyError::Root("the token's thread has ended".to_owned())),
        Err(_) => Err(silent(token)),
    }
}

fn silent(token: &str) -> KeyError {
    KeyError::Root(format!("the token {token:?} does not answer within {} s", PATIENCE.as_secs()))
}

impl RootKey for Pkcs11RootKey {
    fn id(&self) -> String {
        self.id.clone()
    }

    fn wrap<'a>(&'a self, place: &'a RootTuple<'a>, secret: &'a Key) -> BoxFuture<'a, Result<Vec<u8>, KeyError>> {
        Box::pin(async move {
            let secret = Key::in_box(secret.expose()).ok_or(KeyError::Misuse("a key has 32 bytes"))?;
            match self.ask(Work::Wrap { aad: place.aad(), secret }).await? {
                Answer::Wrapped(wrapped) => Ok(wrapped),
                Answer::Unwrapped(_) => Err(KeyError::Misuse("the token answered something else")),
            }
        })
    }

    fn unwrap<'a>(&'a self, place: &'a RootTuple<'a>, wrapped: &'a [u8]) -> BoxFuture<'a, Result<Box<Key>, KeyError>> {
        Box::pin(async move {
            if wrapped.len() != WRAPPED {
                return Err(UnwrapError.into());
            }
            match self.ask(Work::Unwrap { aad: place.aad(), wrapped: wrapped.to_vec() }).await? {
                Answer::Unwrapped(key) => Ok(key),
                Answer::Wrapped(_) => Err(KeyError::Misuse("the token answered something else")),
            }
        })
    }
}

/// The token's thread.
impl Token {
    /// Serves until the root key is dropped.
    fn serve(mut self, queue: &Receiver<Request>) {
        while let Ok(Request { work, answer }) = queue.recv() {
            // Who waits no longer needs no answer.
            if !answer.is_closed() {
                self.answer(&work, answer);
                drop(work);
                scrub_stack();
            }
        }
    }

    /// In a frame of its own, which is overwritten afterwards: the module's are below it.
    #[inline(never)]
    fn answer(&mut self, work: &Work, answer: oneshot::Sender<Result<Answer, KeyError>>) {
        let _ = answer.send(self.work(work));
    }

    fn work(&mut self, work: &Work) -> Result<Answer, KeyError> {
        match self.attempt(work) {
            Err(Failed::Session(_)) => {
                // The token was taken out, or reset. Once more on a new session, where that can be had.
                self.open = None;
                self.attempt(work).map_err(|failed| self.told(failed))
            }
            done => done.map_err(|failed| self.told(failed)),
        }
    }

    fn told(&self, failed: Failed) -> KeyError {
        match failed {
            Failed::Session(error) | Failed::Other(error) => self.failed(&error),
            Failed::Key(error) => error,
        }
    }

    fn attempt(&mut self, work: &Work) -> Result<Answer, Failed> {
        if self.open.is_none() {
            let again = self.again().map_err(Failed::Key)?;
            self.open = Some(again);
        }
        let Some((session, key)) = &self.open else { return Err(Failed::Key(KeyError::Locked)) };
        match work {
            Work::Wrap { aad, secret } => seal(session, *key, aad, secret).map(Answer::Wrapped),
            Work::Unwrap { aad, wrapped } => match unseal(session, *key, aad, wrapped) {
                Ok(key) => Ok(Answer::Unwrapped(key)),
                Err(Failed::Other(error)) => {
                    // Modules say all sorts of things about bytes that do not open. If what was sealed a moment ago opens, the token
                    // works, and it is the bytes.
                    let sealed = Key::random().map_err(KeyError::from).map_err(Failed::Key)?;
                    let probe = seal(session, *key, b"probe", &sealed)?;
                    match unseal(session, *key, b"probe", &probe) {
                        Ok(_) => Err(Failed::Key(UnwrapError.into())),
                        Err(_) => Err(Failed::Other(error)),
                    }
                }
                Err(failed) => Err(failed),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
    use cryptoki::object::{Attribute, KeyType, ObjectClass};
    use cryptoki::session::UserType;
    use cryptoki::types::AuthPin;
    use strongroom_test_services::{SoftHsm, on_softhsm};
    use zeroize::Zeroizing;

    use super::*;
    use crate::config::RootProvider;
    use crate::keys::root::{Need, need, open, root_key_suite};

    fn provider(hsm: &SoftHsm, pin_file: bool) -> Pkcs11Root {
        Pkcs11Root {
            module: hsm.module(),
            token: SoftHsm::TOKEN.to_owned(),
            key: "root".to_owned(),
            pin_file: pin_file.then(|| hsm.pin_file()),
        }
    }

    /// A key that somebody brought along, and that the token gives out to whoever asks.
    fn import(provider: &Pkcs11Root, key: &[u8]) {
        let module = Pkcs11::new(&provider.module).unwrap();
        module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap();
        let slot = module.get_slots_with_initialized_token().unwrap()[0];
        let session = module.open_rw_session(slot).unwrap();
        session.login(UserType::User, Some(&AuthPin::from(SoftHsm::PIN.to_owned()))).unwrap();
        let template = [
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(KeyType::AES),
            Attribute::Token(true),
            Attribute::Sensitive(false),
            Attribute::Extractable(true),
            Attribute::Encrypt(true),
            Attribute::Decrypt(true),
            Attribute::Id(vec![1]),
            Attribute::Label(provider.key.as_bytes().to_vec()),
            Attribute::Value(key.to_vec()),
        ];
        session.create_object(&template).unwrap();
    }

    async fn opened() -> Option<Arc<dyn RootKey>> {
        let hsm = SoftHsm::here()?;
        let provider = provider(&hsm, true);
        Pkcs11RootKey::create(provider.clone(), None).await.unwrap();
        Some(open(&RootProvider::Pkcs11(provider), None, PATIENCE).await.unwrap())
    }

    on_softhsm! {
        mod suite_on_softhsm {
            use super::*;

            root_key_suite!(super::super::opened);
        }

        #[tokio::test]
        async fn says_in_one_line_what_is_wrong() {
            let Some(hsm) = SoftHsm::here() else { return };
            let right = provider(&hsm, false);
            assert_eq!(need(&RootProvider::Pkcs11(right.clone())), Some(Need::Pin));
            let pin = |text: &str| Some(Zeroizing::new(text.to_owned()));
            let open = |provider: &Pkcs11Root, pin| Pkcs11RootKey::open(provider.clone(), pin);
            let why = |result: Result<Pkcs11RootKey, KeyError>| result.err().unwrap().to_string();
            assert!(matches!(open(&right, None).await.err(), Some(KeyError::Locked)));
            assert!(matches!(open(&right, pin("0000")).await.err(), Some(KeyError::Pin(_))));
            assert!(why(open(&right, pin(SoftHsm::PIN)).await).contains("has no AES key \"root\""));
            let other = Pkcs11Root { token: "other".to_owned(), ..right.clone() };
            assert!(why(open(&other, pin(SoftHsm::PIN)).await).contains("there is no token \"other\""));
            let gone = Pkcs11Root { module: "/nowhere/module.so".into(), ..right.clone() };
            assert!(why(open(&gone, pin(SoftHsm::PIN)).await).contains("/nowhere/module.so"));
            let lost = Pkcs11Root { pin_file: Some("/nowhere/pin".into()), ..right.clone() };
            assert!(why(open(&lost, None).await).contains("/nowhere/pin"));

            let made = Pkcs11RootKey::create(right.clone(), pin(SoftHsm::PIN)).await.unwrap();
            assert_eq!(made.id(), open(&right, pin(SoftHsm::PIN)).await.unwrap().id());
        }

        #[tokio::test]
        async fn a_key_that_the_token_would_give_out_is_refused() {
            let Some(hsm) = SoftHsm::here() else { return };
            let provider = provider(&hsm, true);
            import(&provider, &[7; 32]);
            let refused = Pkcs11RootKey::create(provider, None).await.err().unwrap().to_string();
            assert!(refused.contains("not extractable"), "{refused}");
        }

        #[tokio::test]
        async fn a_session_that_broke_is_opened_again() {
            let Some(hsm) = SoftHsm::here() else { return };
            let provider = provider(&hsm, true);
            let root = Pkcs11RootKey::create(provider.clone(), None).await.unwrap();
            let place = crate::keys::root::suite::place("acme");
            let secret = Key::random().unwrap();
            let wrapped = root.wrap(&place, &secret).await.unwrap();
            // As after a token was reset: nobody is logged in any more.
            let module = Pkcs11::new(&provider.module).unwrap();
            let slot = module.get_slots_with_initialized_token().unwrap()[0];
            module.open_ro_session(slot).unwrap().logout().unwrap();
            assert!(root.unwrap(&place, &wrapped).await.unwrap().expose() == secret.expose());
        }
    }
}
