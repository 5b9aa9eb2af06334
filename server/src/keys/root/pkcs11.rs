//! The root key in a token of PKCS#11: an HSM wraps and unwraps, and never gives the key out.
//!
//! ```text
//! wrapped = nonce (12, random) ‖ CKM_AES_GCM (secret, AAD = the place's tuple) ‖ tag (16)               60 bytes
//! ```
//!
//! A token is a device behind a library of somebody else's: calls block, and may do so for ever. So one thread of its own talks
//! to it, and whoever waits for that thread waits for a bounded time. A session that broke is opened again with the PIN from its
//! file; a PIN that a human gave is not kept, so then the server has to be started and unlocked again.

use std::fs;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error as TokenError, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use futures::future::BoxFuture;
use ring::digest::{SHA256, digest};
use strongroom_core::keys::secret::{Key, random_bytes, scrub_stack};
use strongroom_core::keys::wrap::{RootTuple, UnwrapError};
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use super::{RootKey, Secret};
use crate::config::root::Pkcs11Root;
use crate::keys::KeyError;

/// How long a token may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Requests that may wait for the token.
const QUEUE: usize = 64;
const NONCE: usize = 12;
const TAG: usize = 16;
/// The longest PIN that is read from a file.
const MAX_PIN: usize = 256;

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
            if wrapped.len() != NONCE + Key::LEN + TAG {
                return Err(UnwrapError.into());
            }
            match self.ask(Work::Unwrap { aad: place.aad(), wrapped: wrapped.to_vec() }).await? {
                Answer::Unwrapped(key) => Ok(key),
                Answer::Wrapped(_) => Err(KeyError::Misuse("the token answered something else")),
            }
        })
    }
}

/// A token with its key, as the thread has it.
struct Token {
    provider: Pkcs11Root,
    module: Pkcs11,
    open: Option<(Session, ObjectHandle)>,
    id: String,
}

impl Token {
    fn open(provider: Pkcs11Root, pin: Option<Secret>, make: bool) -> Result<Self, KeyError> {
        let path = &provider.module;
        let module = Pkcs11::new(path).map_err(|error| KeyError::Root(format!("{}: {error}", path.display())))?;
        match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            // A module is one in a process, however often it is opened.
            Ok(()) | Err(TokenError::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
            Err(error) => return Err(KeyError::Root(format!("{}: {error}", path.display()))),
        }
        let pin = match &provider.pin_file {
            Some(file) => pin_of(file)?,
            None => pin.ok_or(KeyError::Locked)?,
        };
        let mut token = Self { provider, module, open: None, id: String::new() };
        let session = token.session(&pin, make)?;
        let key = token.find(&session, make)?;
        token.id = token.identify(&session, key)?;
        token.open = Some((session, key));
        Ok(token)
    }

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

    /// A session again, after one that broke.
    fn again(&self) -> Result<(Session, ObjectHandle), KeyError> {
        let Some(file) = &self.provider.pin_file else {
            return Err(KeyError::Root(format!(
                "the session with the token {:?} is over, and its PIN is not kept: start the server again and unlock it",
                self.provider.token
            )));
        };
        let session = self.session(&pin_of(file)?, false)?;
        let key = self.find(&session, false)?;
        if self.identify(&session, key)? == self.id {
            Ok((session, key))
        } else {
            Err(KeyError::Root(format!("the token {:?} has another key than before", self.provider.token)))
        }
    }

    fn session(&self, pin: &str, writing: bool) -> Result<Session, KeyError> {
        let slot = self.slot()?;
        let opened = if writing { self.module.open_rw_session(slot) } else { self.module.open_ro_session(slot) };
        let session = opened.map_err(|error| self.failed(&error))?;
        match session.login(UserType::User, Some(&AuthPin::from(pin.to_owned()))) {
            Ok(()) | Err(TokenError::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(session),
            Err(TokenError::Pkcs11(RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange, _)) => {
                let info = self.module.get_token_info(slot);
                let last = info.as_ref().is_ok_and(|info| info.user_pin_final_try());
                Err(KeyError::Pin(if last { ", and the next wrong one locks it" } else { "" }))
            }
            Err(TokenError::Pkcs11(RvError::PinLocked, _)) => {
                Err(KeyError::Pin(": it is locked after too many wrong ones"))
            }
            Err(error) => Err(self.failed(&error)),
        }
    }

    fn slot(&self) -> Result<Slot, KeyError> {
        let label = &self.provider.token;
        let slots = self.module.get_slots_with_initialized_token().map_err(|error| self.failed(&error))?;
        let named = |slot: &Slot| self.module.get_token_info(*slot).is_ok_and(|info| info.label() == label);
        let mut found = slots.into_iter().filter(named);
        match (found.next(), found.next()) {
            (Some(slot), None) => Ok(slot),
            (None, _) => Err(KeyError::Root(format!("there is no token {label:?}: is it plugged in?"))),
            (Some(_), Some(_)) => Err(KeyError::Root(format!("there are two tokens {label:?}"))),
        }
    }

    /// The one AES key of the label.
    fn find(&self, session: &Session, make: bool) -> Result<ObjectHandle, KeyError> {
        let Pkcs11Root { token, key: label, .. } = &self.provider;
        let template = [
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(KeyType::AES),
            Attribute::Label(label.as_bytes().to_vec()),
        ];
        let found = session.find_objects(&template).map_err(|error| self.failed(&error))?;
        let key = match found[..] {
            [key] => key,
            [] if make => self.generate(session)?,
            [] => return Err(KeyError::Root(format!("the token {token:?} has no AES key {label:?}"))),
            _ => return Err(KeyError::Root(format!("the token {token:?} has several AES keys {label:?}"))),
        };
        let wanted = [AttributeType::Sensitive, AttributeType::Extractable];
        let attributes = session.get_attributes(key, &wanted).map_err(|error| self.failed(&error))?;
        let kept =
            attributes.contains(&Attribute::Sensitive(true)) && attributes.contains(&Attribute::Extractable(false));
        if kept {
            Ok(key)
        } else {
            Err(KeyError::Root(format!(
                "the token {token:?} would give out the key {label:?}: it must be sensitive and not extractable"
            )))
        }
    }

    fn generate(&self, session: &Session) -> Result<ObjectHandle, KeyError> {
        let id: [u8; 16] = random_bytes()?;
        let template = [
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Encrypt(true),
            Attribute::Decrypt(true),
            Attribute::ValueLen((Key::LEN as u64).into()),
            Attribute::Label(self.provider.key.as_bytes().to_vec()),
            Attribute::Id(id.to_vec()),
        ];
        session.generate_key(&Mechanism::AesKeyGen, &template).map_err(|error| self.failed(&error))
    }

    /// The key's name: over its own id, so that it is the same in a copy of the token.
    fn identify(&self, session: &Session, key: ObjectHandle) -> Result<String, KeyError> {
        let attributes = session.get_attributes(key, &[AttributeType::Id]).map_err(|error| self.failed(&error))?;
        let id = attributes.into_iter().find_map(|attribute| match attribute {
            Attribute::Id(id) if !id.is_empty() => Some(id),
            _ => None,
        });
        let Pkcs11Root { token, key: label, .. } = &self.provider;
        let id = id.ok_or_else(|| KeyError::Root(format!("the key {label:?} of the token {token:?} has no CKA_ID")))?;
        let digest = digest(&SHA256, &[b"strongroom/v1/root-id", &id[..]].concat());
        Ok(format!("pkcs11:{}", data_encoding::HEXLOWER.encode(&digest.as_ref()[..8])))
    }

    fn failed(&self, error: &TokenError) -> KeyError {
        KeyError::Root(format!("the token {:?}: {error}", self.provider.token))
    }
}

/// Why a token did not do something.
enum Failed {
    /// The session is over.
    Session(TokenError),
    /// Anything else that a module says.
    Other(TokenError),
    /// No failure of the token's.
    Key(KeyError),
}

impl From<TokenError> for Failed {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Pkcs11(
                RvError::SessionClosed
                | RvError::SessionHandleInvalid
                | RvError::DeviceRemoved
                | RvError::TokenNotPresent
                | RvError::UserNotLoggedIn
                | RvError::KeyHandleInvalid
                | RvError::ObjectHandleInvalid,
                _,
            ) => Self::Session(error),
            error => Self::Other(error),
        }
    }
}

fn seal(session: &Session, key: ObjectHandle, aad: &[u8], secret: &Key) -> Result<Vec<u8>, Failed> {
    let mut nonce: [u8; NONCE] = random_bytes().map_err(KeyError::from).map_err(Failed::Key)?;
    let parameters = GcmParams::new(&mut nonce, aad, ((TAG * 8) as u64).into())?;
    let sealed = session.encrypt(&Mechanism::AesGcm(parameters), key, secret.expose())?;
    // Some modules choose the nonce themselves, and write it where ours stood.
    let wrapped = [&nonce[..], &sealed[..]].concat();
    if wrapped.len() == NONCE + Key::LEN + TAG {
        Ok(wrapped)
    } else {
        Err(Failed::Key(KeyError::Root("the token seals in another form than AES-GCM's".to_owned())))
    }
}

fn unseal(session: &Session, key: ObjectHandle, aad: &[u8], wrapped: &[u8]) -> Result<Box<Key>, Failed> {
    let Some((nonce, sealed)) = wrapped.split_first_chunk::<NONCE>() else {
        return Err(Failed::Key(UnwrapError.into()));
    };
    let mut nonce = *nonce;
    let parameters = GcmParams::new(&mut nonce, aad, ((TAG * 8) as u64).into())?;
    let plain = Zeroizing::new(session.decrypt(&Mechanism::AesGcm(parameters), key, sealed)?);
    Key::in_box(&plain).ok_or(Failed::Key(UnwrapError.into()))
}

/// The PIN in a file: its first line.
fn pin_of(path: &Path) -> Result<Secret, KeyError> {
    let failed = |why: String| KeyError::Root(format!("the PIN in {}: {why}", path.display()));
    let bytes = Zeroizing::new(fs::read(path).map_err(|error| failed(error.to_string()))?);
    let text = std::str::from_utf8(&bytes).map_err(|_| failed("is no text".to_owned()))?;
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() || line.len() > MAX_PIN {
        return Err(failed(format!("has 1 to {MAX_PIN} bytes")));
    }
    Ok(Zeroizing::new(line.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use strongroom_test_services::{SoftHsm, on_softhsm};

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
