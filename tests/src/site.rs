//! A vault whose server is a process of its own, to be killed and started again, behind a [`Relay`] whose address stays.

use std::path::{Path, PathBuf};

use strongroom_client::{Connect, Fingerprint, Holder, Identity, TenantName, Vault, VendorName};
use strongroom_server::config::BlobsUrl;
use strongroom_server::init::{InitOptions, OPERATOR_HOME, init};

use crate::oracle::{self, Ledger};
use crate::process::{Binary, ServerProcess};
use crate::raw::{Raw, RawSession};
use crate::relay::Relay;
use crate::{Lab, TestClock, Worker, copy};

/// The variable that names the place at which a server kills itself.
const FAILPOINT: &str = "STRONGROOM_TEST_FAILPOINT";

/// A vault in a temporary folder, its server, and the way to it.
pub struct Site {
    binary: Binary,
    parent: tempfile::TempDir,
    vault_key: Fingerprint,
    server: Option<ServerProcess>,
    /// What its earlier servers said.
    said: String,
    /// The way to whichever server runs.
    pub relay: Relay,
}

impl Site {
    /// Makes a vault with `limits` as the lines of its `[limits]` table, and starts its server.
    pub async fn start(binary: Binary, limits: &str) -> Self {
        Self::start_with(binary, |folder| drop(crate::configure(folder, limits))).await
    }

    /// Makes a vault with its catalog at `url`, and starts its server.
    pub async fn start_on(binary: Binary, url: &str) -> Self {
        Self::start_with(binary, |folder| crate::configure_with(folder, "", Some(url))).await
    }

    async fn start_with(binary: Binary, configure: impl FnOnce(&Path)) -> Self {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("vault");
        let vault_key = init(&folder, InitOptions::default()).await.unwrap().vault_key;
        configure(&folder);
        let server = binary.serve(parent.path(), "vault");
        let relay = Relay::start(server.address);
        Self { binary, parent, vault_key, server: Some(server), said: String::new(), relay }
    }

    /// Kills the server, if it lives.
    pub fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill();
            self.said += &server.stderr();
        }
        self.relay.lead_to(None);
    }

    /// Ends the server in peace.
    pub fn stop(&mut self) {
        let mut server = self.server.take().expect("a server runs");
        let status = server.terminate();
        self.said += &server.stderr();
        assert!(status.success(), "{status}: {}", self.said);
        self.relay.lead_to(None);
    }

    /// Waits until the server has died at its fail point.
    pub fn await_death(&mut self) {
        let mut server = self.server.take().expect("a server runs");
        let status = server.wait();
        self.said += &server.stderr();
        assert_eq!(status.code(), None, "killed by a signal, not ended: {}", self.said);
        self.relay.lead_to(None);
    }

    /// Starts a server again; with a name, one that dies at that fail point.
    pub fn restart(&mut self, failpoint: Option<&str>) {
        self.restart_with(|command| {
            if let Some(name) = failpoint {
                command.env(FAILPOINT, name);
            }
        });
    }

    /// Starts a server again, with the command changed before it starts.
    pub fn restart_with(&mut self, change: impl FnOnce(&mut std::process::Command)) {
        self.kill();
        let server = self.binary.serve_with(self.parent.path(), "vault", change);
        assert_eq!(server.vault_key, self.vault_key);
        self.relay.lead_to(Some(server.address));
        self.server = Some(server);
    }

    /// What its server says on its port for metrics.
    pub fn metrics(&self) -> String {
        self.server.as_ref().expect("a server runs").metrics()
    }

    /// What all its servers wrote to standard error.
    pub fn log(&self) -> String {
        format!("{}{}", self.said, self.server.as_ref().map(ServerProcess::stderr).unwrap_or_default())
    }

    /// The vault's folder.
    pub fn folder(&self) -> PathBuf {
        self.parent.path().join("vault")
    }

    /// The bucket that its blobs are in.
    ///
    /// # Panics
    /// If they are on a disk.
    pub fn bucket(&self) -> String {
        let BlobsUrl::Bucket(url) = oracle::config(&self.folder()).blobs else { panic!("blobs are on a disk") };
        url.bucket
    }

    /// A folder beside the vault's.
    pub fn beside(&self) -> &Path {
        self.parent.path()
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

    /// How to connect as `identity` with the SDK, through the relay.
    pub fn connecting(&self, identity: &Identity) -> Connect {
        Connect::to(self.relay.address().to_string(), self.vault_key, copy(identity)).threads(2)
    }

    /// Connects as `identity` with the SDK.
    pub async fn connect(&self, identity: &Identity) -> Vault {
        self.connecting(identity).open().await.unwrap()
    }

    /// Connects as `identity` without the SDK, and opens a session.
    pub async fn raw_session(&self, identity: &Identity, tenant: &str) -> (Raw, RawSession) {
        let raw = Raw::connect(self.relay.address(), Some(identity)).await.unwrap();
        let session = raw.open(identity, tenant, self.vault_key).await.unwrap();
        (raw, session)
    }

    /// Creates a tenant with one admin, who is connected.
    pub async fn lab(&self, tenant: &str) -> Lab {
        let admin = Identity::generate().unwrap();
        let tenant: TenantName = tenant.parse().unwrap();
        let operator = self.connect(&self.operator()).await;
        operator.create_tenant(&tenant, &[admin.fingerprint()]).await.unwrap();
        Lab { vault: self.connect(&admin).await, tenant, admin, clock: TestClock::default() }
    }

    /// Registers a vendor with a fresh key, which is connected.
    pub async fn vendor(&self, lab: &Lab, name: &str) -> Worker {
        let identity = Identity::generate().unwrap();
        let name: VendorName = name.parse().unwrap();
        let (id, _) = lab.vault.add_vendor(&lab.tenant, &name, &[identity.fingerprint()]).await.unwrap();
        Worker { vault: self.connect(&identity).await, identity, holder: Holder::Vendor(id) }
    }

    /// The tenant's ledger as it stands in the catalog, replayed and found clean.
    pub async fn ledger(&self, tenant: &str) -> Ledger {
        Ledger::read(&self.folder(), tenant).await.assert_clean()
    }
}
