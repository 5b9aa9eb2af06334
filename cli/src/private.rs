//! Files and folders for their owner alone.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// Writes a file that is not there yet, and sees it on the disk. Its folder may let others in.
///
/// # Errors
/// It is there, or cannot be written.
pub(crate) fn file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Makes a folder, and those above it; one that is there stays as it is.
///
/// # Errors
/// It cannot be made.
pub(crate) fn folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}
