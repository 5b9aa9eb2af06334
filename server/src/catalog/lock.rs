//! Who has a catalog's file: servers share it, and whoever copies the catalog has it alone.
//!
//! SQLite's own locks come and go with transactions and do not tell whether a server runs. A file beside the catalog does, locked
//! by the kernel for as long as a process has the catalog open: one that is killed leaves no lock behind. It is not the catalog's
//! own file, since SQLite loses its locks on a file when any descriptor of it is closed.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::CatalogError;

/// A lock that is held until it is released or dropped.
pub(super) struct FileLock(Mutex<Option<File>>);

impl FileLock {
    /// Beside other servers.
    pub(super) fn shared(catalog: &Path) -> Result<Self, CatalogError> {
        let file = open(catalog)?;
        match file.try_lock_shared() {
            Ok(()) => Ok(Self(Mutex::new(Some(file)))),
            Err(TryLockError::WouldBlock) => Err(CatalogError::BeingCopied),
            Err(TryLockError::Error(error)) => Err(error.into()),
        }
    }

    /// With nobody beside.
    pub(super) fn alone(catalog: &Path) -> Result<Self, CatalogError> {
        let file = open(catalog)?;
        match file.try_lock() {
            Ok(()) => Ok(Self(Mutex::new(Some(file)))),
            Err(TryLockError::WouldBlock) => Err(CatalogError::Served),
            Err(TryLockError::Error(error)) => Err(error.into()),
        }
    }

    /// Gives it back.
    pub(super) fn release(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

fn open(catalog: &Path) -> Result<File, CatalogError> {
    let mut name = catalog.as_os_str().to_owned();
    name.push(".lock");
    Ok(OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(name)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_share_and_a_copy_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let catalog = folder.path().join("catalog.db");
        let (one, two) = (FileLock::shared(&catalog).unwrap(), FileLock::shared(&catalog).unwrap());
        one.release();
        assert!(matches!(FileLock::alone(&catalog), Err(CatalogError::Served)));
        drop(two);
        let alone = FileLock::alone(&catalog).unwrap();
        assert!(matches!(FileLock::shared(&catalog), Err(CatalogError::BeingCopied)));
        assert!(matches!(FileLock::alone(&catalog), Err(CatalogError::Served)));
        alone.release();
        FileLock::shared(&catalog).unwrap();
    }
}
