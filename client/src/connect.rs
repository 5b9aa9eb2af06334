//! Connecting.
use std::sync::Arc;
use strongroom_core::identity::{Fingerprint, Identity};

use crate::Home;
use crate::error::{Error, Result};

/// How to reach a vault.
pub struct Connect {
    address: String,
    server_key: Fingerprint,
    identity: Arc<Identity>,
}

impl Connect {
    /// To this address (`HOST:PORT`), whose vault key has this fingerprint, as this identity. Remembers nothing on disk.
    pub fn to(address: impl Into<String>, server_key: Fingerprint, identity: Identity) -> Self {
        Self { address: address.into(), server_key, identity: Arc::new(identity) }
    }

    /// With a home's identity to its server.
    pub fn from_home(home: &Home) -> Result<Self> {
        let _ = home;
        Err(Error::internal("not there yet"))
    }

    /// As the environment says.
    pub fn from_env() -> Result<Self> {
        Err(Error::internal("not there yet"))
    }

    /// What the pipeline, job or run is called, at most 255 bytes: recorded beside what it does, never used to authorise.
    #[must_use]
    pub fn job(self, job: impl Into<String>) -> Self {
        let _ = job.into();
        self
    }

    /// How many threads seal and open; all cores if not told.
    #[must_use]
    pub fn threads(self, threads: usize) -> Self {
        let _ = threads;
        self
    }

    /// Connects.
    pub async fn open(self) -> Result<Vault> {
        let _ = (&self.address, &self.server_key, &self.identity);
        Err(Error::internal("not there yet"))
    }
}

/// A vault, connected to. Clones share the connection.
#[derive(Clone)]
pub struct Vault {}

impl Vault {
    /// Connects as the environment says: [`Connect::from_env`].
    pub async fn connect() -> Result<Self> {
        Connect::from_env()?.open().await
    }

    /// The caller's fingerprint.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::from_bytes([0; 32])
    }

    /// Writes what is to be remembered of ledgers to the home now. A process that ends by `exit` calls it before.
    pub async fn flush(&self) -> Result<()> {
        Ok(())
    }
}
