//! What the system tests stand on: a real server, real TLS, the real SDK and command, and the ledger's replay as the judge.
//!
//! | module | what |
//! | --- | --- |
//! | this one | [`TestVault`]: a vault in a temporary folder, served in this process |
//! | [`process`] | the command and the server as processes of their own, to be killed |
//! | [`shell`] | a person who follows the documentation line by line |
//! | [`terminal`] | a person at a terminal, who answers what the command asks |
//! | [`raw`] | a caller that breaks the protocol on purpose |
//! | [`relay`] | a network between: one address that stays, answers that get lost |
//! | [`site`] | a vault whose server is a process behind a relay, to be killed at a named place |
//! | [`cluster`] | the nodes of one vault, each a process, over one database and one place for blobs |
//! | [`tamper`] | somebody who can write the database and the bucket |
//! | [`oracle`] | the ledger, read straight from the catalog, replayed and found clean |
//! | [`wire`] | all that passed inside TLS |
//! | [`keys`] | every key that the root key opens, to be looked for |
//! | [`search`] | many secrets, looked for at once |
//! | [`plugin`] | a plugin of age |
//! | [`sample`] | lines to put |
//! | [`chance`] | chance that is the same in every run |

pub mod chance;
pub mod cluster;
pub mod forge;
pub mod keys;
pub mod oracle;
pub mod plugin;
pub mod process;
pub mod raw;
pub mod relay;
pub mod sample;
pub mod search;
pub mod shell;
pub mod site;
pub mod tamper;
pub mod terminal;
pub mod wire;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use strongroom_client::{
    Action, Condition, Connect, DatasetRef, Fingerprint, Generation, GetOptions, GrantId, Holder, Identity, Limits,
    ObjectName, ObjectPath, Part, Prefix, PutOptions, Reason, Scope, TenantName, Terms, Vault, VendorName,
};
use strongroom_core::ids::Millis;
use strongroom_server::init::{InitOptions, OPERATOR_HOME, init};
use strongroom_server::recorder::Clock;
use strongroom_server::{Options, Server};
use strongroom_test_services::{Engine, Moto, Store};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::oracle::Ledger;
use crate::raw::{Raw, RawSession};
use crate::wire::Wire;

/// How long a grant of [`terms`] lives: an hour.
pub const GRANT_LIFE: u64 = 3_600_000;

/// A vault in a folder of its own, served in this process on a free port of the loopback interface.
///
/// Its folder vanishes with it.
pub struct TestVault {
    parent: tempfile::TempDir,
    vault_key: Fingerprint,
    address: SocketAddr,
    running: Option<Running>,
    /// Its clock: the system's, as far off as a test says.
    pub clock: TestClock,
    /// All that passes inside TLS, if this vault was started to record it.
    pub wire: Option<Wire>,
}

struct Running {
    stop: oneshot::Sender<()>,
    ended: JoinHandle<Result<(), strongroom_server::Error>>,
}

impl TestVault {
    /// Makes a vault and serves it.
    pub async fn start() -> Self {
        Self::start_with(None, "").await
    }

    /// Makes a vault with `limits` as the lines of its `[limits]` table, records what passes on its `wire` if there is one, and serves it.
    pub async fn start_with(wire: Option<Wire>, limits: &str) -> Self {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("vault");
        let made = init(&folder, InitOptions::default()).await.unwrap();
        let clock = TestClock::of(configure(&folder, limits));
        Self::serve(parent, made.vault_key, clock, wire).await
    }

    /// Makes a vault with its catalog at `url`, and serves it.
    pub async fn start_on(url: &str) -> Self {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("vault");
        let made = init(&folder, InitOptions::default()).await.unwrap();
        configure_with(&folder, "", Some(url));
        Self::serve(parent, made.vault_key, TestClock::default(), None).await
    }

    async fn serve(parent: tempfile::TempDir, vault_key: Fingerprint, clock: TestClock, wire: Option<Wire>) -> Self {
        let mut vault =
            Self { parent, vault_key, address: SocketAddr::from(([127, 0, 0, 1], 0)), running: None, clock, wire };
        vault.restart().await;
        vault
    }

    /// Another node of the same vault, as it is made: from a copy of the running node's folder. It reaches the catalog at `through`
    /// if that is said, and shares the blobs' folder as nodes share a bucket.
    pub async fn another_node(&self, through: Option<SocketAddr>) -> Self {
        let parent = tempfile::tempdir().unwrap();
        let (from, folder) = (self.folder(), parent.path().join("vault"));
        std::fs::create_dir(&folder).unwrap();
        let blobs = from.join("blobs");
        oracle::walk(&from, &mut |file| {
            let to = folder.join(file.strip_prefix(&from).unwrap());
            if !file.starts_with(&blobs) {
                std::fs::create_dir_all(to.parent().unwrap()).unwrap();
                std::fs::copy(file, to).unwrap();
            }
        });
        let file = folder.join("strongroom.toml");
        let mut text = std::fs::read_to_string(&file).unwrap();
        text = text.replace("\"file:blobs\"", &format!("\"file:{}\"", blobs.display()));
        if let Some(through) = through {
            text = text.replace(&self.database().to_string(), &through.to_string());
        }
        std::fs::write(&file, text).unwrap();
        let mut node = Self {
            parent,
            vault_key: self.vault_key,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            running: None,
            clock: self.clock.clone(),
            wire: None,
        };
        node.restart().await;
        node
    }

    /// Where the server of its catalog listens.
    pub fn database(&self) -> SocketAddr {
        let url = oracle::config(&self.folder()).catalog.url();
        url.split(['@', '/']).find_map(|part| part.parse().ok()).expect("a catalog on a server")
    }

    /// Serves the folder again, on another port, after [`TestVault::stop`].
    pub async fn restart(&mut self) {
        assert!(self.running.is_none(), "it serves already");
        let server = Server::open(&self.folder(), self.options()).await.unwrap();
        assert_eq!(server.vault_key(), self.vault_key);
        let listening = server.listen().await.unwrap();
        self.address = listening.address();
        let (stop, stopped) = oneshot::channel();
        let ended = tokio::spawn(listening.serve(async {
            // A sender that is gone is a test that has ended.
            let _ = stopped.await;
        }));
        self.running = Some(Running { stop, ended });
    }

    /// What its server is opened with.
    pub fn options(&self) -> Options {
        Options {
            listen: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
            clock: Some(Arc::new(self.clock.clone())),
            tap: self.wire.clone().map(|wire| Arc::new(wire) as _),
            ..Options::default()
        }
    }

    /// Stops the server in peace: calls under way are finished.
    pub async fn stop(&mut self) {
        let running = self.running.take().unwrap();
        running.stop.send(()).unwrap();
        running.ended.await.unwrap().unwrap();
    }

    /// The vault's folder.
    pub fn folder(&self) -> PathBuf {
        self.parent.path().join("vault")
    }

    /// A folder beside the vault's, for homes and files.
    pub fn beside(&self) -> &Path {
        self.parent.path()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The fingerprint that clients pin.
    pub fn vault_key(&self) -> Fingerprint {
        self.vault_key
    }

    /// The operator's identity.
    pub fn operator(&self) -> Identity {
        let file = self.folder().join(OPERATOR_HOME).join("identity.pem");
        Identity::from_pem(&std::fs::read_to_string(file).unwrap()).unwrap()
    }

    /// How to connect as `identity` with the SDK.
    pub fn connecting(&self, identity: &Identity) -> Connect {
        Connect::to(self.address.to_string(), self.vault_key, copy(identity)).threads(2)
    }

    /// Connects as `identity` with the SDK.
    pub async fn connect(&self, identity: &Identity) -> Vault {
        self.connecting(identity).open().await.unwrap()
    }

    /// Connects as `identity` without the SDK.
    pub async fn raw(&self, identity: &Identity) -> Raw {
        Raw::connect(self.address, Some(identity)).await.unwrap()
    }

    /// Connects as `identity` without the SDK and opens a session.
    pub async fn raw_session(&self, identity: &Identity, tenant: &str) -> (Raw, RawSession) {
        let raw = self.raw(identity).await;
        let session = raw.open(identity, tenant, self.vault_key).await.unwrap();
        (raw, session)
    }

    /// Creates a tenant with one admin, who is connected.
    pub async fn lab(&self, tenant: &str) -> Lab {
        let admin = Identity::generate().unwrap();
        let tenant: TenantName = tenant.parse().unwrap();
        let operator = self.connect(&self.operator()).await;
        operator.create_tenant(&tenant, &[admin.fingerprint()]).await.unwrap();
        Lab { vault: self.connect(&admin).await, tenant, admin, clock: self.clock.clone() }
    }

    /// The tenant's ledger as it stands in the catalog, replayed and found clean.
    pub async fn ledger(&self, tenant: &str) -> Ledger {
        Ledger::read(&self.folder(), tenant).await.assert_clean()
    }
}

/// Gives a vault that was just made its catalog, on the database that this test runs on, its blobs, where this test keeps them, and
/// `limits` as the lines of its `[limits]` table; the catalog's URL, if it is a server's.
pub fn configure(folder: &Path, limits: &str) -> Option<String> {
    let url = match Engine::here() {
        Engine::Sqlite => None,
        Engine::Postgres => Some(Engine::Postgres.url(folder)),
    };
    configure_with(folder, limits, url.as_deref());
    url
}

fn configure_with(folder: &Path, limits: &str, url: Option<&str>) {
    let file = folder.join("strongroom.toml");
    let mut text = std::fs::read_to_string(&file).unwrap();
    if let Some(url) = url {
        assert!(text.contains("sqlite:catalog.db"), "{text}");
        text = text.replace("sqlite:catalog.db", url);
    }
    if Store::here() == Store::S3 {
        text = in_bucket(&text, &Moto::shared().bucket(), Moto::shared().port());
    }
    std::fs::write(&file, format!("{text}\n[limits]\n{limits}\n")).unwrap();
}

/// A configuration with its blobs in a bucket, which is reached through this port.
pub fn in_bucket(text: &str, bucket: &str, port: u16) -> String {
    assert!(text.contains("file:blobs"), "{text}");
    let mut text = text.replace("file:blobs", &format!("s3://{bucket}/vault"));
    text += "\n[blobs.options]\n";
    for (name, value) in Moto::options(port) {
        text += &format!("{name} = \"{value}\"\n");
    }
    text
}

/// A tenant, through its first admin's eyes.
pub struct Lab {
    /// Its name.
    pub tenant: TenantName,
    /// The admin's identity.
    pub admin: Identity,
    /// The admin's connection.
    pub vault: Vault,
    clock: TestClock,
}

/// A vendor with one key, or a key that holds grants of its own.
pub struct Worker {
    /// The identity.
    pub identity: Identity,
    /// Who its grants are for.
    pub holder: Holder,
    /// Its connection.
    pub vault: Vault,
}

impl Lab {
    /// Makes a dataset.
    pub async fn dataset(&self, name: &str) -> DatasetRef {
        let dataset = DatasetRef { tenant: self.tenant.clone(), dataset: name.parse().unwrap() };
        self.vault.create_dataset(&dataset).await.unwrap();
        dataset
    }

    /// The object `dataset/path`.
    pub fn object(&self, name: &str) -> ObjectName {
        format!("{}/{name}", self.tenant).parse().unwrap()
    }

    /// Puts bytes at `dataset/path`.
    pub async fn put(&self, name: &str, bytes: impl Into<bytes::Bytes>) {
        self.vault.put_bytes(&self.object(name), bytes.into(), PutOptions::default()).await.unwrap();
    }

    /// Puts bytes at `dataset/path`, whatever is there.
    pub async fn overwrite(&self, name: &str, bytes: impl Into<bytes::Bytes>) {
        let options = PutOptions { condition: Condition::Any, ..PutOptions::default() };
        self.vault.put_bytes(&self.object(name), bytes.into(), options).await.unwrap();
    }

    /// Reads `dataset/path`: this generation of it, or the newest.
    pub async fn read(&self, name: &str, generation: Option<u64>) -> Result<bytes::Bytes, Reason> {
        let options = GetOptions { generation: generation.map(Generation), grant: None };
        self.vault.get_bytes(&self.object(name), options).await.map_err(|error| error.reason())
    }

    /// Makes the dataset `rlhf` and puts these objects into it.
    pub async fn fill(&self, objects: impl Iterator<Item = (ObjectPath, bytes::Bytes)> + Send) {
        let dataset = self.dataset("rlhf").await;
        let objects = futures::stream::iter(objects);
        let put = self.vault.put_many(&dataset, objects, PutOptions::default());
        let _: Vec<_> = futures::TryStreamExt::try_collect(put).await.unwrap();
    }

    /// Registers a vendor with a fresh key, which is connected.
    pub async fn vendor(&self, at: &TestVault, name: &str) -> Worker {
        let identity = Identity::generate().unwrap();
        let name: VendorName = name.parse().unwrap();
        let (id, _) = self.vault.add_vendor(&self.tenant, &name, &[identity.fingerprint()]).await.unwrap();
        Worker { vault: at.connect(&identity).await, identity, holder: Holder::Vendor(id) }
    }

    /// A fresh key that belongs to no vendor, connected.
    pub async fn key(&self, at: &TestVault) -> Worker {
        let identity = Identity::generate().unwrap();
        let holder = Holder::Key(identity.fingerprint());
        Worker { vault: at.connect(&identity).await, identity, holder }
    }

    /// Terms for an hour: each scope is actions on a prefix of a dataset, `dataset/prefix`.
    pub fn terms(&self, holder: Holder, scopes: &[(&[Action], &str)]) -> Terms {
        Terms {
            holder,
            parent: None,
            scopes: scopes.iter().map(|(actions, place)| scope(actions, place)).collect(),
            not_before: None,
            expires: Millis(self.clock.now().0 + GRANT_LIFE),
            delegable: false,
            limits: Limits::default(),
            purpose: None,
        }
    }

    /// Issues a grant with these terms.
    pub async fn grant(&self, terms: Terms) -> GrantId {
        self.vault.issue_grant(&self.tenant, terms).await.unwrap().0
    }

    /// Issues a grant to read (and list) a prefix of a dataset, for an hour.
    pub async fn let_read(&self, worker: &Worker, place: &str) -> GrantId {
        self.grant(self.terms(worker.holder, &[(&[Action::List, Action::Read], place)])).await
    }
}

/// A scope: `dataset/prefix`.
pub fn scope(actions: &[Action], place: &str) -> Scope {
    let (dataset, prefix) = place.split_once('/').unwrap();
    let part = Part::Prefix(prefix.parse::<Prefix>().unwrap());
    Scope { actions: actions.to_vec(), dataset: dataset.parse().unwrap(), part }
}

/// Awaits a condition that something else brings about. One that does not come within a minute never will.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
    while !holds().await {
        assert!(tokio::time::Instant::now() < deadline, "this never came: {what}");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

/// The same identity once more.
pub fn copy(identity: &Identity) -> Identity {
    Identity::from_pem(&identity.to_pem()).unwrap()
}

/// The system's clock, as far off as a test says, and the database's with it where that has one of its own.
#[derive(Debug, Clone, Default)]
pub struct TestClock {
    ahead: Arc<AtomicI64>,
    database: Option<Arc<str>>,
}

impl TestClock {
    fn of(database: Option<String>) -> Self {
        Self { ahead: Arc::default(), database: database.map(Arc::from) }
    }

    /// Moves it by so many milliseconds, also back.
    pub fn shift(&self, millis: i64) {
        let ahead = self.ahead.fetch_add(millis, Ordering::SeqCst) + millis;
        if let Some(url) = &self.database {
            Engine::Postgres.set_ahead(url, ahead);
        }
    }
}

impl Clock for TestClock {
    fn now(&self) -> Millis {
        let real = system_time();
        Millis(real.0.saturating_add_signed(self.ahead.load(Ordering::SeqCst)))
    }
}

/// The wall clock.
#[allow(clippy::disallowed_methods, reason = "this crate's one place")]
fn system_time() -> Millis {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Millis(u64::try_from(since.as_millis()).unwrap())
}
