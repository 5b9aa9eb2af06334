//! From an address, a pinned key and an identity to a [`Vault`].
//!
//! A vault has one connection at a time and dials another when it is over; sessions belong to the connection that they were
//! opened on (`tls.rs`, `session.rs`). Calls take the session first and then go out on its connection, so a reconnection in
//! between fails the call, and it is tried again if that is safe (`retry.rs`).

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::ClientConfig;
use strongroom_core::call::{Call, Work};
use strongroom_core::identity::{Fingerprint, Identity};
use strongroom_core::ids::{GrantId, IncidentId, Index, RequestId};
use strongroom_core::names::TenantName;
use strongroom_core::reason::Reason;
use strongroom_proto::v1;
use tonic::transport::Channel;

use crate::entries::Entries;
use crate::error::{Error, Result};
use crate::grants::GrantCache;
use crate::home::{self, Home};
use crate::memory::Memory;
use crate::retry::{Attempts, Policy, Safety};
use crate::session::{Connection, Opener, Session, seen_from};
use crate::tls::{self, PinnedKey};
use crate::workers::Workers;

/// The longest name of a job, in bytes.
const MAX_JOB: usize = 255;
/// How long an answer to one message may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// How to reach a vault.
pub struct Connect {
    address: String,
    server_key: Fingerprint,
    identity: Arc<Identity>,
    home: Option<Home>,
    job: String,
    incident: Option<IncidentId>,
    threads: Option<usize>,
}

impl Connect {
    /// To this address (`HOST:PORT`), whose vault key has this fingerprint, as this identity.
    ///
    /// What is seen of ledgers is remembered until the process ends only.
    pub fn to(address: impl Into<String>, server_key: Fingerprint, identity: Identity) -> Self {
        let identity = Arc::new(identity);
        Self {
            address: address.into(),
            server_key,
            identity,
            home: None,
            job: String::new(),
            incident: None,
            threads: None,
        }
    }

    /// With a home's identity to its server.
    ///
    /// # Errors
    /// `NOT_FOUND` if the home has no identity or no server; others if its files are damaged.
    pub fn from_home(home: &Home) -> Result<Self> {
        let server = home.server()?.ok_or_else(|| no_server(home))?;
        let connect = Self::to(server.address, server.server_key, home.identity()?);
        Ok(Self { home: Some(home.clone()), ..connect })
    }

    /// As the environment says: `STRONGROOM_IDENTITY` (a file, or its PEM text), `STRONGROOM_SERVER` (`HOST:PORT`) and
    /// `STRONGROOM_SERVER_KEY` (a fingerprint), each of them instead of what the home at [`Home::default_path`] holds.
    ///
    /// With all three set no home is needed. What is seen of ledgers is then remembered on disk only if there is one.
    ///
    /// # Errors
    /// As [`Connect::from_home`]; `INVALID_ARGUMENT` if a variable holds something else.
    pub fn from_env() -> Result<Self> {
        Self::from_env_or(&Home::open(Home::default_path()))
    }

    /// As the environment says, with `home` for what it does not say: see [`Connect::from_env`].
    ///
    /// # Errors
    /// As [`Connect::from_env`].
    pub fn from_env_or(home: &Home) -> Result<Self> {
        let variable = |name: &str| match std::env::var(name) {
            Ok(value) if value.is_empty() => Ok(None),
            Ok(value) => Ok(Some(value)),
            Err(std::env::VarError::NotPresent) => Ok(None),
            Err(_) => Err(Error::new(Reason::InvalidArgument, format!("{name} is not UTF-8"))),
        };
        let [identity, address, key] =
            ["STRONGROOM_IDENTITY", "STRONGROOM_SERVER", "STRONGROOM_SERVER_KEY"].map(variable);
        Self::from_parts(home, identity?.as_deref(), address?, key?)
    }

    fn from_parts(home: &Home, identity: Option<&str>, address: Option<String>, key: Option<String>) -> Result<Self> {
        let complete = identity.is_some() && address.is_some() && key.is_some();
        let key = key.map(|text| {
            let parsed = text.parse::<Fingerprint>();
            parsed.map_err(|error| Error::new(Reason::InvalidArgument, format!("STRONGROOM_SERVER_KEY: {error}")))
        });
        let (address, server_key) = match (address, key.transpose()?) {
            (Some(address), Some(key)) => (address, key),
            (address, key) => {
                let server = home.server()?.ok_or_else(|| no_server(home))?;
                (address.unwrap_or(server.address), key.unwrap_or(server.server_key))
            }
        };
        let identity = identity.map_or_else(|| home.identity(), home::identity_from)?;
        let home = (!complete || home.path().is_dir()).then(|| home.clone());
        Ok(Self { home, ..Self::to(address, server_key, identity) })
    }

    /// The incident that every order and every call belongs to which is made over this connection. Only admins name one, and calls
    /// under a grant never do.
    #[must_use]
    pub fn incident(mut self, incident: Option<IncidentId>) -> Self {
        self.incident = incident;
        self
    }

    /// What the pipeline, job or run is called, at most 255 bytes: recorded beside what it does, never used to authorise.
    #[must_use]
    pub fn job(mut self, job: impl Into<String>) -> Self {
        self.job = job.into();
        self
    }

    /// How many threads seal and open; all cores if not told.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// Connects.
    ///
    /// # Errors
    /// `UNAVAILABLE` if nobody answers; `INTEGRITY` if somebody answers who does not hold the pinned vault key.
    pub async fn open(self) -> Result<Vault> {
        home::check_address(&self.address)?;
        if self.job.len() > MAX_JOB {
            return Err(Error::new(Reason::InvalidArgument, "the name of a job has at most 255 bytes"));
        }
        let memory = match &self.home {
            Some(home) => Memory::in_file(self.server_key, home.ledgers_file())?,
            None => Memory::of_process(self.server_key),
        };
        let sdk = concat!("strongroom-client/", env!("CARGO_PKG_VERSION")).to_owned();
        let claims = v1::Claims { sdk, host: host(), job: self.job };
        let pin = PinnedKey::new(self.server_key);
        let config = tls::config(pin.clone(), self.identity.clone())?;
        let threads = self.threads.or_else(|| std::thread::available_parallelism().ok().map(usize::from));
        let opener = Opener { identity: self.identity, pin, memory: Arc::new(memory), claims };
        let inner = Inner {
            address: self.address,
            home: self.home,
            config,
            opener,
            workers: Workers::new(threads.unwrap_or(1)),
            policy: Policy::default(),
            incident: self.incident,
            connection: tokio::sync::Mutex::default(),
            grants: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
        };
        let vault = Vault(Arc::new(inner), None);
        vault.connection().await?;
        Ok(vault)
    }
}

fn no_server(home: &Home) -> Error {
    let detail = format!("{} knows no server: log in first, or set STRONGROOM_SERVER", home.path().display());
    Error::new(Reason::NotFound, detail)
}

/// The machine's name, as far as it tells.
fn host() -> String {
    let kernel = || std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = std::env::var("HOSTNAME").ok().filter(|name| !name.is_empty()).or_else(kernel).unwrap_or_default();
    let mut name = name.trim().to_owned();
    name.truncate(name.floor_char_boundary(MAX_JOB));
    name
}

/// A vault, connected to. Clones share the connection.
///
/// It connects again by itself when the connection is over. Dropping the last clone closes the connection.
#[derive(Clone)]
pub struct Vault(Arc<Inner>, Option<Entries>);

struct Inner {
    address: String,
    home: Option<Home>,
    config: Arc<ClientConfig>,
    opener: Opener,
    workers: Workers,
    policy: Policy,
    incident: Option<IncidentId>,
    connection: tokio::sync::Mutex<Option<Arc<Connection>>>,
    grants: Mutex<GrantCache>,
    /// Held while a standing is asked for, so that many callers ask once.
    asking: tokio::sync::Mutex<()>,
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vault")
            .field("address", &self.0.address)
            .field("server_key", &self.server_key())
            .field("identity", &self.fingerprint())
            .finish()
    }
}

impl Vault {
    /// The incident that orders and calls belong to which are made over this connection.
    pub(crate) fn incident(&self) -> Option<IncidentId> {
        self.0.incident
    }

    /// A call in this connection's own words.
    pub(crate) fn call(&self, request: RequestId, grant: Option<GrantId>, work: Work) -> Call {
        Call { request, grant, work, incident: self.incident() }
    }

    /// Connects as the environment says: [`Connect::from_env`].
    ///
    /// # Errors
    /// As [`Connect::from_env`] and [`Connect::open`].
    pub async fn connect() -> Result<Self> {
        Connect::from_env()?.open().await
    }

    /// The caller's fingerprint.
    pub fn fingerprint(&self) -> Fingerprint {
        self.0.opener.identity.fingerprint()
    }

    /// Writes what is to be remembered of ledgers to the home now. Dropping the last clone does so too; a process that ends by
    /// `exit` calls it before.
    ///
    /// # Errors
    /// If the home cannot be written.
    pub async fn flush(&self) -> Result<()> {
        let memory = self.memory().clone();
        let written = tokio::task::spawn_blocking(move || memory.flush()).await;
        let written = written.map_err(|_| Error::internal("the write did not come to its end"))?;
        written.map_err(|error| Error::new(Reason::InvalidArgument, format!("the home cannot be written: {error}")))
    }

    /// The same, with another place to note entries in.
    pub(crate) fn with_entries(&self, entries: Entries) -> Self {
        Self(self.0.clone(), Some(entries))
    }

    /// Notes the entry that records what an answer is of.
    pub(crate) fn note_entry(&self, tenant: &TenantName, index: u64) {
        if let Some(entries) = &self.1 {
            entries.note(tenant, Index(index));
        }
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.0.opener.identity
    }

    pub(crate) fn memory(&self) -> &Arc<Memory> {
        &self.0.opener.memory
    }

    pub(crate) fn workers(&self) -> &Workers {
        &self.0.workers
    }

    pub(crate) fn attempts(&self) -> Attempts {
        self.0.policy.start()
    }

    pub(crate) fn grant_cache(&self) -> std::sync::MutexGuard<'_, GrantCache> {
        self.0.grants.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The turn to ask for a standing.
    pub(crate) async fn asking(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.0.asking.lock().await
    }

    /// The connection, dialled if there is none that stands.
    pub(crate) async fn connection(&self) -> Result<Arc<Connection>> {
        let mut current = self.0.connection.lock().await;
        if let Some(connection) = current.as_ref().filter(|connection| !connection.is_closed()) {
            return Ok(connection.clone());
        }
        *current = None;
        let pinned = self.server_key();
        let link = tls::dial(&self.0.address, self.0.config.clone(), &self.0.opener.pin).await?;
        if link.vault_key != pinned {
            self.follow(pinned, link.vault_key);
        }
        let connection = Arc::new(Connection::new(link));
        *current = Some(connection.clone());
        Ok(connection)
    }

    /// The vault's key was rotated: the new one is pinned, also in the home.
    fn follow(&self, old: Fingerprint, new: Fingerprint) {
        tracing::info!(%old, %new, "the vault key was rotated, as the one that was pinned signed");
        self.memory().follow(new);
        let Some(home) = &self.0.home else { return };
        // What the environment or another home says is not this home's to change.
        let kept = home.server().and_then(|server| match server {
            Some(server) if server.server_key == old => home.login(&server.address, new),
            _ => Ok(()),
        });
        if let Err(error) = kept {
            tracing::warn!(%error, "the home still pins the vault's old key");
        }
    }

    /// The vault key that is pinned: as it was given, or the one that followed it.
    pub fn server_key(&self) -> Fingerprint {
        self.0.opener.pin.now()
    }

    /// A session for a tenant on a connection that stands.
    pub(crate) async fn session(&self, tenant: &TenantName) -> Result<Arc<Session>> {
        self.connection().await?.session(&self.0.opener, tenant).await
    }

    /// Does `work` on a session, again where that is safe.
    pub(crate) async fn with_session<T, F>(
        &self,
        tenant: &TenantName,
        safety: Safety,
        work: impl Fn(Arc<Session>) -> F,
    ) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let mut attempts = self.attempts();
        loop {
            let error = match self.session(tenant).await {
                Ok(session) => match work(session.clone()).await {
                    Ok(done) => return Ok(done),
                    Err(error) => {
                        self.note(&session, &error).await;
                        error
                    }
                },
                // Opening a session does nothing that counts: as if nothing was sent.
                Err(error) => error.before_anything(),
            };
            self.pause(&mut attempts, error, safety).await?;
        }
    }

    /// Does `work` on a connection, again where that is safe. Sets a limit to how long one answer may take.
    pub(crate) async fn with_channel<T, F>(&self, safety: Safety, work: impl Fn(Channel) -> F) -> Result<T>
    where
        F: Future<Output = Result<T, tonic::Status>>,
    {
        let mut attempts = self.attempts();
        loop {
            let error = match self.connection().await {
                Ok(connection) => match answered(work(connection.channel())).await {
                    Ok(done) => return Ok(done),
                    Err(error) => {
                        if error.is_transport() {
                            connection.closed().set();
                        }
                        error
                    }
                },
                Err(error) => error,
            };
            self.pause(&mut attempts, error, safety).await?;
        }
    }

    /// Waits before the next attempt, or gives the error back.
    pub(crate) async fn pause(&self, attempts: &mut Attempts, error: Error, safety: Safety) -> Result<()> {
        let Some(wait) = attempts.after(&error, safety) else { return Err(error) };
        tracing::debug!(%error, ?wait, "trying again");
        tokio::time::sleep(wait).await;
        Ok(())
    }

    /// Draws the conclusions from a session's failure.
    pub(crate) async fn note(&self, session: &Session, error: &Error) {
        session.note(error);
        if error.reason() == Reason::SessionUnknown
            && let Some(connection) = self.0.connection.lock().await.as_ref()
        {
            connection.forget(session);
        }
    }

    /// Remembers how far an answer says that the ledger has come.
    pub(crate) fn observe(&self, tenant: &TenantName, seen: Option<&v1::Seen>) -> Result<()> {
        self.memory().observe(tenant, &seen_from(seen)?)
    }
}

/// An answer to one message, in time.
pub(crate) async fn answered<T>(call: impl Future<Output = Result<T, tonic::Status>>) -> Result<T> {
    let late = || Error::transport(format!("no answer within {} s", ANSWER_WITHIN.as_secs()));
    Ok(tokio::time::timeout(ANSWER_WITHIN, call).await.map_err(|_| late())??)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_stands_before_the_home() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(folder.path().join("home"));
        let (own, other) = (Identity::generate().unwrap(), Identity::generate().unwrap());
        let key = other.fingerprint().to_string();

        let missing = Connect::from_parts(&home, None, None, None).err().unwrap();
        assert_eq!(missing.reason(), Reason::NotFound);
        let all = Connect::from_parts(&home, Some(&own.to_pem()), Some("a:1".into()), Some(key.clone())).unwrap();
        assert!(all.address == "a:1" && all.home.is_none() && all.server_key == other.fingerprint());
        assert!(!home.path().exists(), "nothing is written");

        home.login("b:2", own.fingerprint()).unwrap();
        let held = home.create_identity(None).unwrap();
        let from_home = Connect::from_parts(&home, None, None, Some(key)).unwrap();
        assert_eq!(from_home.identity.fingerprint(), held.fingerprint());
        assert!(from_home.address == "b:2" && from_home.server_key == other.fingerprint() && from_home.home.is_some());
        let bad = Connect::from_parts(&home, None, None, Some("SHA256:x".into())).err().unwrap();
        assert_eq!(bad.reason(), Reason::InvalidArgument);
    }

    #[tokio::test]
    async fn nobody_there_is_said_at_once() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        let identity = Identity::generate().unwrap();
        let key = identity.fingerprint();
        let error = Connect::to(address, key, identity).open().await.unwrap_err();
        assert!(error.reason() == Reason::Unavailable && error.is_unsent(), "{error}");
    }
}
