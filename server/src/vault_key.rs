//! Rotating the vault key: files only, while a server may run; it takes effect when each node is started with them.
//!
//! The old key signs that the new one takes its place, and is then gone from the folder: what it signed stays, so that clients that
//! pin it can follow ([`strongroom_core::succession`]).

use std::path::Path;

use strongroom_core::identity::Fingerprint;

use crate::config::Config;
use crate::error::Error;
use crate::keys::KeyError;
use crate::keys::root::{Secret, folder, open};
use crate::keys::vault::VaultFile;

/// A vault key that took another one's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotated {
    /// The one that clients pin now.
    pub old: Fingerprint,
    /// The one that they follow to.
    pub new: Fingerprint,
}

/// Makes a new vault key for the vault in `folder`, signed for by the old one.
///
/// # Errors
/// [`Error`] if the root key does not open, another one is taking over, or the folder cannot be written.
pub async fn rotate_vault_key(here: &Path, secret: Option<Secret>) -> Result<Rotated, Error> {
    let config = Config::load(here)?;
    if folder::next(here)?.is_some() {
        let why = "another root key is taking over: start the server, and let that come to its end first";
        return Err(KeyError::Refused(why.to_owned()).into());
    }
    let file = VaultFile::read(here)?;
    let root = open(&config.root, secret, config.limits.plugin).await?;
    let old = file.public_key.fingerprint();
    let file = file.succeeded(root.as_ref()).await?;
    folder::write_vault(here, &file)?;
    Ok(Rotated { old, new: file.public_key.fingerprint() })
}
