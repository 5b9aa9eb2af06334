//! A home.
use std::path::{Path, PathBuf};
use strongroom_core::identity::{Fingerprint, Identity};
use zeroize::Zeroizing;

use crate::error::{Error, Result};

/// A folder that holds one identity, its server, and what it remembers of ledgers.
#[derive(Clone)]
pub struct Home {
    folder: PathBuf,
}

/// Where a home's vault is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// `HOST:PORT`.
    pub address: String,
    /// The fingerprint of the vault key.
    pub server_key: Fingerprint,
}

impl Home {
    /// The home in this folder, which need not exist yet.
    pub fn open(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// `STRONGROOM_HOME`, or `strongroom` in the user's config folder.
    pub fn default_path() -> PathBuf {
        PathBuf::new()
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// Asks for the identity's passphrase with `ask`, should it have one.
    #[must_use]
    pub fn with_passphrase(self, ask: impl Fn() -> std::io::Result<Zeroizing<String>> + Send + Sync + 'static) -> Self {
        let _ = ask;
        self
    }

    /// Its identity; `NOT_FOUND` if it has none.
    pub fn identity(&self) -> Result<Identity> {
        Err(Error::internal("not there yet"))
    }

    /// Makes an identity (file mode 0600); refuses to overwrite one. Encrypted with the passphrase, if one is given.
    pub fn create_identity(&self, passphrase: Option<&str>) -> Result<Identity> {
        let _ = passphrase;
        Err(Error::internal("not there yet"))
    }

    /// Its identity, made without a passphrase if there is none.
    pub fn identity_or_create(&self) -> Result<Identity> {
        Err(Error::internal("not there yet"))
    }

    /// Where its vault is; none before a login.
    pub fn server(&self) -> Result<Option<Server>> {
        Err(Error::internal("not there yet"))
    }

    /// Remembers where its vault is. Nothing is connected to.
    pub fn login(&self, address: &str, server_key: Fingerprint) -> Result<()> {
        let _ = (address, server_key);
        Err(Error::internal("not there yet"))
    }
}
