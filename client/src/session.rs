//! Sessions: a connection's fresh keys for one tenant, and what they sign and open.
//!
//! ```text
//! recipient, call key (in memory) ─► opening, signed by the identity ─► statement, signed by the vault key
//!                                                                       └ age message to the recipient: session secret
//! ```
//!
//! Checked before anything is sent under a session: the vault key is the pinned one and signed the statement, the statement is
//! about this opening and this message, the ledger is the one that the tenant had before, and it has not become shorter than
//! what is remembered.
//!
//! Invariants:
//! - A session holds the channel of its connection and no other, so no call can go out under a session of another connection.
//! - The session secret and the call key are in zeroizing memory, never on disk, and gone with the session.

use std::collections::HashMap;
use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};

use strongroom_core::call::Call;
use strongroom_core::ed25519::{SigningKey, VerifyingKey};
use strongroom_core::exact;
use strongroom_core::identity::{Identity, Purpose, sha256};
use strongroom_core::ids::{CallDigest, Digest, Index, SessionId};
use strongroom_core::keys::parcel::SessionSecret;
use strongroom_core::ledger::Seen;
use strongroom_core::names::TenantName;
use strongroom_core::origin::Origin;
use strongroom_core::reason::Reason;
use strongroom_core::session::{Opening, SessionStatement};
use strongroom_proto::v1::sessions_client::SessionsClient;
use strongroom_proto::v1::vault_client::VaultClient;
use strongroom_proto::{MAX_MESSAGE, v1};
use tokio::sync::OnceCell;
use tonic::transport::Channel;
use zeroize::Zeroizing;

use crate::error::{Error, Result};
use crate::memory::Memory;
use crate::tls::{Closed, Link, PinnedKey};

/// No honest statement or message is longer.
const MAX_STATEMENT: usize = 4096;

/// A connection with the sessions that were opened on it.
pub(crate) struct Connection {
    link: Link,
    sessions: Mutex<HashMap<TenantName, Arc<OnceCell<Arc<Session>>>>>,
}

/// What opens sessions: the same for all of a vault's connections.
pub(crate) struct Opener {
    pub(crate) identity: Arc<Identity>,
    pub(crate) pin: Arc<PinnedKey>,
    pub(crate) memory: Arc<Memory>,
    pub(crate) claims: v1::Claims,
}

/// An open session.
pub(crate) struct Session {
    id: SessionId,
    origin: Origin,
    secret: SessionSecret,
    call_key: SigningKey,
    channel: Channel,
    closed: Closed,
}

impl Connection {
    pub(crate) fn new(link: Link) -> Self {
        Self { link, sessions: Mutex::default() }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.link.closed.is_set()
    }

    pub(crate) fn closed(&self) -> &Closed {
        &self.link.closed
    }

    pub(crate) fn channel(&self) -> Channel {
        self.link.channel.clone()
    }

    /// The connection's session for a tenant, opened if there is none.
    pub(crate) async fn session(&self, opener: &Opener, tenant: &TenantName) -> Result<Arc<Session>> {
        let cell = self.lock().entry(tenant.clone()).or_default().clone();
        cell.get_or_try_init(|| opener.open(&self.link, tenant)).await.cloned()
    }

    /// Forgets a session that the server does not know.
    pub(crate) fn forget(&self, session: &Session) {
        self.lock().retain(|_, cell| cell.get().is_none_or(|known| known.id != session.id));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<TenantName, Arc<OnceCell<Arc<Session>>>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    pub(crate) fn id(&self) -> &SessionId {
        &self.id
    }

    pub(crate) fn secret(&self) -> &SessionSecret {
        &self.secret
    }

    /// The vault service on this session's connection.
    pub(crate) fn vault(&self) -> VaultClient<Channel> {
        vault_client(self.channel.clone())
    }

    /// Marks the connection as over, if the error says that it is.
    pub(crate) fn note(&self, error: &Error) {
        if error.is_transport() {
            self.closed.set();
        }
    }

    /// Signs a call for this session.
    pub(crate) fn sign(&self, call: &Call) -> Result<(v1::SignedCall, CallDigest)> {
        let request =
            call.bytes().map_err(|error| Error::new(Reason::InvalidArgument, format!("the call is {error}")))?;
        let digest = Call::digest(&self.id, &self.origin, &request);
        let signature = Call::sign(&digest, &self.call_key);
        let message = v1::SignedCall {
            session: self.id.as_bytes().to_vec().into(),
            request: request.into(),
            signature: signature.0.to_vec().into(),
        };
        Ok((message, digest))
    }
}

pub(crate) fn vault_client(channel: Channel) -> VaultClient<Channel> {
    VaultClient::new(channel).max_decoding_message_size(MAX_MESSAGE).max_encoding_message_size(MAX_MESSAGE)
}

impl Opener {
    async fn open(&self, link: &Link, tenant: &TenantName) -> Result<Arc<Session>> {
        let recipient = age::x25519::Identity::generate();
        let call_key = SigningKey::generate().map_err(|error| Error::internal(error.to_string()))?;
        let opening = Opening {
            recipient: recipient.to_public().to_string(),
            call_key: call_key.public_key(),
            tenant: tenant.clone(),
            vault_key: link.vault_key,
            exporter: Digest::from_bytes(link.exporter),
        };
        let opening = opening.bytes().map_err(|error| Error::internal(error.to_string()))?;
        let signature = self.identity.sign(Purpose::Opening, &opening);
        let signature = signature.map_err(|error| Error::internal(error.to_string()))?;
        let shown = self.memory.seen(tenant);
        let request = v1::OpenRequest {
            opening: opening.clone().into(),
            key: self.identity.public_key().as_bytes().to_vec().into(),
            signature: signature.to_vec().into(),
            seen: shown.as_ref().map(seen_message),
            claims: Some(self.claims.clone()),
        };
        let answer = SessionsClient::new(link.channel.clone()).open(request).await.inspect_err(|status| {
            if Error::from(status.clone()).is_transport() {
                link.closed.set();
            }
        });
        let id = Opening::session_id(&opening);
        let answer = answer?.into_inner();
        let (origin, secret) = self.accept(tenant, &id, &recipient, shown, &answer)?;
        let (channel, closed) = (link.channel.clone(), link.closed.clone());
        Ok(Arc::new(Session { id, origin, secret, call_key, channel, closed }))
    }

    /// Checks an answer to an opening, and takes the secret out of it.
    fn accept(
        &self,
        tenant: &TenantName,
        id: &SessionId,
        recipient: &age::x25519::Identity,
        shown: Option<Seen>,
        answer: &v1::OpenResponse,
    ) -> Result<(Origin, SessionSecret)> {
        let wrong = |what: &str| Error::integrity(format!("the vault's answer to a session's opening {what}"));
        if answer.statement.len() > MAX_STATEMENT || answer.message.len() > MAX_STATEMENT {
            return Err(wrong("is too long"));
        }
        let vault_key = <[u8; 32]>::try_from(&answer.vault_key[..]).map_err(|_| wrong("holds no vault key"))?;
        let vault_key = VerifyingKey::from_bytes(vault_key);
        if vault_key.fingerprint() != self.pin.now() {
            return Err(wrong("is signed by another key than the pinned one"));
        }
        let signed = vault_key.verify(Purpose::Session, &answer.statement, &answer.signature);
        signed.map_err(|_| wrong("is not signed by the vault key"))?;
        let statement: SessionStatement =
            exact::from_slice(&answer.statement).map_err(|error| wrong(&format!("is {error}")))?;
        if statement.session != *id {
            return Err(wrong("is about another session"));
        }
        if statement.message != Digest::from_bytes(sha256(&answer.message)) {
            return Err(wrong("comes with another message than it speaks of"));
        }
        self.memory.pin(tenant, &statement.ledger)?;
        if let Some(shown) = shown
            && (statement.size < shown.size || (statement.size == shown.size && statement.tip != shown.tip))
        {
            let detail = format!(
                "{tenant}'s ledger has {} entries and is not the one of {} entries that was seen before",
                statement.size, shown.size
            );
            return Err(Error::new(Reason::LedgerDiverged, detail));
        }
        let seen = seen_from(answer.seen.as_ref())?;
        if seen.size == statement.size && seen.tip != statement.tip {
            return Err(wrong("contradicts itself about the ledger"));
        }
        self.memory.observe(tenant, &seen)?;
        let secret =
            open_message(recipient, &answer.message).ok_or_else(|| wrong("holds no secret for this session"))?;
        Ok((statement.ledger, secret))
    }
}

/// The 32 bytes in an age message.
fn open_message(recipient: &age::x25519::Identity, message: &[u8]) -> Option<SessionSecret> {
    let decryptor = age::Decryptor::new_buffered(message).ok()?;
    let mut reader = decryptor.decrypt(std::iter::once(recipient as &dyn age::Identity)).ok()?;
    let mut secret = Zeroizing::new([0; 32]);
    reader.read_exact(&mut *secret).ok()?;
    let ends = reader.read(&mut [0; 1]).is_ok_and(|more| more == 0);
    ends.then(|| SessionSecret::from_bytes(*secret))
}

pub(crate) fn seen_message(seen: &Seen) -> v1::Seen {
    v1::Seen { size: seen.size.0, tip: seen.tip.as_bytes().to_vec().into(), mac: seen.mac.as_bytes().to_vec().into() }
}

pub(crate) fn seen_from(message: Option<&v1::Seen>) -> Result<Seen> {
    let parse = |message: &v1::Seen| {
        let (tip, mac) = (Digest::try_from(&message.tip[..]).ok()?, Digest::try_from(&message.mac[..]).ok()?);
        Some(Seen { size: Index(message.size), tip, mac })
    };
    message.and_then(parse).ok_or_else(|| Error::integrity("an answer does not say how far the ledger has come"))
}

#[cfg(test)]
mod tests {
    use strongroom_core::ids::{TenantId, VaultId};

    use super::*;

    /// A vault that answers openings, and what can be changed about its answers.
    struct Answering {
        vault_key: SigningKey,
        opener: Opener,
        recipient: age::x25519::Identity,
        id: SessionId,
    }

    fn acme() -> TenantName {
        "acme".parse().unwrap()
    }

    fn origin(tenant: u8) -> Origin {
        Origin::new("vault", VaultId::from_bytes([1; 16]), TenantId::from_bytes([tenant; 16])).unwrap()
    }

    fn seen(size: u64, tip: u8) -> Seen {
        Seen { size: Index(size), tip: Digest::from_bytes([tip; 32]), mac: Digest::from_bytes([9; 32]) }
    }

    impl Answering {
        fn new() -> Self {
            let vault_key = SigningKey::generate().unwrap();
            let server_key = vault_key.public_key().fingerprint();
            let opener = Opener {
                identity: Arc::new(Identity::generate().unwrap()),
                pin: PinnedKey::new(server_key),
                memory: Arc::new(Memory::of_process(server_key)),
                claims: v1::Claims::default(),
            };
            let recipient = age::x25519::Identity::generate();
            Self { vault_key, opener, recipient, id: SessionId::from_bytes([5; 32]) }
        }

        fn statement(&self, message: &[u8]) -> SessionStatement {
            SessionStatement {
                session: self.id,
                ledger: origin(1),
                size: Index(4),
                tip: Digest::from_bytes([4; 32]),
                message: Digest::from_bytes(sha256(message)),
            }
        }

        fn answer(&self, secret: &[u8], change: impl FnOnce(&mut SessionStatement)) -> v1::OpenResponse {
            let message = age::encrypt(&self.recipient.to_public(), secret).unwrap();
            let mut statement = self.statement(&message);
            change(&mut statement);
            let seen = seen(statement.size.0, statement.tip.as_bytes()[0]);
            let statement = exact::to_vec(&statement).unwrap();
            v1::OpenResponse {
                signature: self.vault_key.sign(Purpose::Session, &statement).to_vec().into(),
                statement: statement.into(),
                vault_key: self.vault_key.public_key().as_bytes().to_vec().into(),
                message: message.into(),
                seen: Some(seen_message(&seen)),
            }
        }

        fn accept(&self, answer: &v1::OpenResponse) -> Result<Reason, Reason> {
            let shown = self.opener.memory.seen(&acme());
            let accepted = self.opener.accept(&acme(), &self.id, &self.recipient, shown, answer);
            accepted.map(|_| Reason::Sealed).map_err(|error| error.reason())
        }
    }

    #[test]
    fn an_honest_answer_is_accepted_and_remembered() {
        let vault = Answering::new();
        let answer = vault.answer(&[3; 32], |_| {});
        let (ledger, secret) = vault.opener.accept(&acme(), &vault.id, &vault.recipient, None, &answer).unwrap();
        assert!(ledger == origin(1) && *secret.expose() == [3; 32]);
        assert_eq!(vault.opener.memory.seen(&acme()), Some(seen(4, 4)));
        vault.accept(&vault.answer(&[3; 32], |statement| statement.size = Index(5))).unwrap();
    }

    #[test]
    fn every_deviation_is_refused() {
        let integrity = Err(Reason::Integrity);
        let vault = Answering::new();
        let answer = |change: fn(&mut SessionStatement)| vault.answer(&[3; 32], change);
        assert_eq!(vault.accept(&answer(|statement| statement.session = SessionId::from_bytes([6; 32]))), integrity);
        assert_eq!(vault.accept(&answer(|statement| statement.message = Digest::from_bytes([0; 32]))), integrity);
        assert_eq!(vault.accept(&vault.answer(&[3; 31], |_| {})), integrity);
        assert_eq!(vault.accept(&vault.answer(&[3; 33], |_| {})), integrity);

        let mut other = answer(|_| {});
        other.vault_key = SigningKey::generate().unwrap().public_key().as_bytes().to_vec().into();
        assert_eq!(vault.accept(&other), integrity);
        let mut other = answer(|_| {});
        other.signature = vec![0; 64].into();
        assert_eq!(vault.accept(&other), integrity);
        let mut other = answer(|_| {});
        other.message = age::encrypt(&vault.recipient.to_public(), &[8; 32]).unwrap().into();
        assert_eq!(vault.accept(&other), integrity);
        let mut other = answer(|_| {});
        other.message = vec![0; MAX_STATEMENT + 1].into();
        assert_eq!(vault.accept(&other), integrity);
        let mut other = answer(|_| {});
        other.seen = Some(seen_message(&seen(4, 5)));
        assert_eq!(vault.accept(&other), integrity);
        let mut other = answer(|_| {});
        other.seen = None;
        assert_eq!(vault.accept(&other), integrity);
    }

    #[test]
    fn a_ledger_put_back_or_exchanged_is_noticed() {
        let vault = Answering::new();
        vault.accept(&vault.answer(&[3; 32], |_| {})).unwrap();
        let diverged = Err(Reason::LedgerDiverged);
        let answer = |change: fn(&mut SessionStatement)| vault.answer(&[3; 32], change);
        assert_eq!(vault.accept(&answer(|statement| statement.size = Index(3))), diverged);
        assert_eq!(vault.accept(&answer(|statement| statement.tip = Digest::from_bytes([5; 32]))), diverged);
        assert_eq!(vault.accept(&answer(|statement| statement.ledger = origin(2))), diverged);
        vault.accept(&answer(|_| {})).unwrap();
    }
}
