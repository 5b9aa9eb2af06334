//! The file of a verifier's own snapshot.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use strongroom_core::ledger::replay::Snapshot;
use strongroom_core::reason::Reason;
use tempfile::NamedTempFile;

use crate::exit::{Failure, Outcome};

/// The snapshot that is there; none before the first.
pub(super) fn read(path: &Path) -> Outcome<Option<Snapshot>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Failure::file(path, &error)),
    };
    let broken = |error| {
        let detail = format!("{}: {error}", path.display());
        Failure::new(Reason::PreconditionFailed, detail, "remove it: the ledger is then verified from its first entry")
    };
    Snapshot::from_bytes(&bytes).map(Some).map_err(broken)
}

/// Puts a snapshot in the place of the one before, whole or not at all. It holds people's paths: only its owner reads it.
pub(super) fn write(path: &Path, snapshot: &Snapshot) -> Outcome {
    let failed = |error: &io::Error| Failure::file(path, error);
    let bytes = snapshot.to_bytes().map_err(|error| Failure::new(Reason::Integrity, error.to_string(), ""))?;
    let folder =
        path.parent().filter(|folder| !folder.as_os_str().is_empty()).map_or(PathBuf::from("."), Path::to_owned);
    let mut file = NamedTempFile::new_in(folder).map_err(|error| failed(&error))?;
    file.write_all(&bytes).and_then(|()| file.as_file().sync_all()).map_err(|error| failed(&error))?;
    file.persist(path).map(drop).map_err(|lost| failed(&lost.error))
}
