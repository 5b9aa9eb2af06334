//! Small files that appear whole: a ledger's tiles, and the checkpoint beside them.
//!
//! No row knows their names before they are written, and others read them as they come: so each is written under a second name,
//! made durable, and then named.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use tempfile::NamedTempFile;

use super::{Disk, blocking, failed, make_folders};
use crate::blobs::BlobError;

/// Beside what is replaced: whoever replaces it holds this.
const LOCK: &str = ".lock";

impl Disk {
    /// Puts a file where nothing is, whole or not at all. If the same bytes are there, they were written.
    pub(in crate::blobs) async fn put_new(self: Arc<Self>, name: String, bytes: Bytes) -> Result<(), BlobError> {
        blocking(move || {
            let path = self.root.join(&name);
            let found = match fs::read(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    match self.whole(&path, &bytes)?.persist_noclobber(&path) {
                        Ok(_) => None,
                        // Another node was first.
                        Err(lost) if lost.error.kind() == io::ErrorKind::AlreadyExists => Some(fs::read(&path)),
                        Err(lost) => return Err(failed("name", lost.error)),
                    }
                }
                found => Some(found),
            };
            if let Some(found) = found
                && found.map_err(|error| failed("read", error))? != bytes
            {
                return Err(BlobError::Exists(name));
            }
            self.sync_entries(&path).map_err(|error| failed("sync", error))
        })
        .await
    }

    /// Replaces a file whole, if `replaces` says so of the one that is there. Nodes that share the disk take turns.
    pub(in crate::blobs) async fn replace(
        self: Arc<Self>,
        name: String,
        bytes: Bytes,
        replaces: impl Fn(&[u8]) -> bool + Send + 'static,
    ) -> Result<(), BlobError> {
        blocking(move || {
            let path = self.root.join(&name);
            let folder = path.parent().unwrap_or(&self.root);
            make_folders(folder).map_err(|error| failed("make its folder", error))?;
            let turn = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(folder.join(LOCK));
            let turn = turn.map_err(|error| failed("lock", error))?;
            turn.lock().map_err(|error| failed("lock", error))?;
            match fs::read(&path) {
                Ok(found) if !replaces(&found) => return Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed("read", error)),
            }
            self.whole(&path, &bytes)?.persist(&path).map_err(|lost| failed("name", lost.error))?;
            self.sync_entries(&path).map_err(|error| failed("sync", error))
        })
        .await
    }

    /// Removes a folder with all that is in it; one that is not there is removed already.
    pub(in crate::blobs) async fn remove_folder(self: Arc<Self>, name: String) -> Result<(), BlobError> {
        blocking(move || match fs::remove_dir_all(self.root.join(&name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", error)),
            _ => {
                // A folder of this name that comes again is another one.
                let folder = self.root.join(name);
                self.durable.lock().unwrap_or_else(PoisonError::into_inner).remove(&folder);
                Ok(())
            }
        })
        .await
    }

    /// A file with these bytes, durable, beside where it is to be.
    fn whole(&self, path: &Path, bytes: &[u8]) -> Result<NamedTempFile, BlobError> {
        let folder = path.parent().unwrap_or(&self.root);
        let create = || tempfile::Builder::new().prefix(".new-").tempfile_in(folder);
        let file = create().or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => make_folders(folder).and_then(|()| create()),
            _ => Err(error),
        });
        let mut file = file.map_err(|error| failed("create", error))?;
        file.write_all(bytes).map_err(|error| failed("write", error))?;
        file.as_file().sync_data().map_err(|error| failed("sync", error))?;
        Ok(file)
    }
}
