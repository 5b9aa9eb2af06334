//! Whether the file that is open is still the one that has its name.
//!
//! Unix lets a file be replaced under a running server, which would go on writing to a file that has no name any more. What is
//! committed there is lost at the next start; and an old copy moved over the new one would be a ledger put back. So the file's
//! device and inode are remembered and looked at again around every commit.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use super::CatalogError;

/// A file as it was when it was opened.
pub(super) struct OpenFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl OpenFile {
    /// The file of this name, now.
    pub(super) fn new(path: PathBuf) -> Result<Self, CatalogError> {
        let found = std::fs::metadata(&path)?;
        Ok(Self { path, device: found.dev(), inode: found.ino() })
    }

    /// Whether it is still there under its name.
    pub(super) fn check(&self) -> Result<(), CatalogError> {
        match std::fs::metadata(&self.path) {
            Ok(found) if found.dev() == self.device && found.ino() == self.inode => Ok(()),
            Ok(_) => Err(CatalogError::Replaced),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(CatalogError::Replaced),
            Err(error) => Err(error.into()),
        }
    }
}
