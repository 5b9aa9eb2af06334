//! A monitor's folder.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use strongroom_client::monitor::Monitor;
use strongroom_core::ids::Index;
use strongroom_core::ledger::checkpoint::{Checkpoint, MAX_NOTE};
use strongroom_core::ledger::replay::Snapshot;
use strongroom_core::reason::Reason;
use tempfile::NamedTempFile;

use crate::audit::snapshot;
use crate::exit::{Failure, Outcome};
use crate::private;

const CHECKPOINT: &str = "checkpoint";
const CLAIMED: &str = "checkpoint.contradicting";
const SNAPSHOT: &str = "snapshot";
const LOCK: &str = "lock";
/// Where a witness's key lies, unless it is said.
pub(super) const WITNESS_KEY: &str = "witness.key";
/// A snapshot up to this many bytes is written with each checkpoint.
const SMALL: usize = 1 << 20;
/// A larger one is written now and then.
const EVERY: Duration = Duration::from_secs(60);

/// The folder.
pub(super) struct State {
    folder: PathBuf,
    /// Held while this process is the monitor.
    _lock: File,
    /// When the snapshot was last written, and how long it was.
    written: Option<(Instant, usize)>,
}

/// A folder that holds other things is not for a monitor's: an export, say, would be none any more with a file of ours in it.
fn check_own(folder: &Path) -> Outcome {
    let failed = |error| Failure::file(folder, &error);
    if folder.join(LOCK).exists() {
        return Ok(());
    }
    for entry in fs::read_dir(folder).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        if ![CHECKPOINT, CLAIMED, SNAPSHOT, WITNESS_KEY].iter().any(|own| name == **own) {
            let detail = format!("{} holds {}, which is no monitor's", folder.display(), name.display());
            return Err(Failure::new(Reason::PreconditionFailed, detail, "give the monitor a new folder"));
        }
    }
    Ok(())
}

/// What is kept between runs.
pub(super) struct Kept {
    pub(super) snapshot: Option<Snapshot>,
    /// The newest checkpoint: its size, and its note.
    pub(super) checkpoint: Option<(Index, Bytes)>,
}

impl State {
    /// The folder, made if it is not there. It holds people's paths and addresses: only its owner reads it.
    pub(super) fn open(folder: &Path) -> Outcome<Self> {
        let failed = |error: &io::Error| Failure::file(folder, error);
        private::folder(folder).map_err(|error| failed(&error))?;
        check_own(folder)?;
        let lock = File::create(folder.join(LOCK)).map_err(|error| failed(&error))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { folder: folder.to_owned(), _lock: lock, written: None }),
            Err(fs::TryLockError::WouldBlock) => {
                let detail = format!("{} is in use by another monitor", folder.display());
                Err(Failure::new(Reason::PreconditionFailed, detail, "give each monitor a folder of its own"))
            }
            Err(fs::TryLockError::Error(error)) => Err(failed(&error)),
        }
    }

    /// What an earlier run left.
    pub(super) fn read(&self) -> Outcome<Kept> {
        let snapshot = snapshot::read(&self.folder.join(SNAPSHOT))?;
        let path = self.folder.join(CHECKPOINT);
        let note = match fs::read(&path) {
            Ok(note) => Some(Bytes::from(note)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(Failure::file(&path, &error)),
        };
        let checkpoint = note.map(|note| {
            let peeked = if note.len() > MAX_NOTE { None } else { Checkpoint::peek(&note).ok() };
            let none = || {
                let detail = format!("{} is no checkpoint", path.display());
                Failure::new(Reason::PreconditionFailed, detail, "put it back, or begin with a new folder")
            };
            peeked.map(|checkpoint| (checkpoint.size, note)).ok_or_else(none)
        });
        Ok(Kept { snapshot, checkpoint: checkpoint.transpose()? })
    }

    /// Keeps what a step came to: the checkpoint always, the snapshot at once if it is small or this is the `last` step.
    pub(super) fn keep(&mut self, monitor: &mut Monitor, last: bool) -> Outcome {
        if let Some((_, note)) = monitor.last() {
            self.put(CHECKPOINT, note)?;
        }
        let is_due = |(at, length): (Instant, usize)| length <= SMALL || at.elapsed() >= EVERY;
        if !last && !self.written.is_none_or(is_due) {
            return Ok(());
        }
        if let Some(bytes) = monitor.snapshot()? {
            self.put(SNAPSHOT, &bytes)?;
            self.written = Some((Instant::now(), bytes.len()));
        }
        Ok(())
    }

    /// Keeps a checkpoint that contradicts; none if it is the one that is kept anyway.
    pub(super) fn keep_claimed(&self, note: &[u8]) -> Outcome<Option<PathBuf>> {
        if fs::read(self.folder.join(CHECKPOINT)).is_ok_and(|kept| kept == note) {
            return Ok(None);
        }
        self.put(CLAIMED, note)?;
        Ok(Some(self.folder.join(CLAIMED)))
    }

    /// Puts a file in its place, whole or not at all.
    fn put(&self, name: &str, bytes: &[u8]) -> Outcome {
        let path = self.folder.join(name);
        let put = || {
            let mut file = NamedTempFile::new_in(&self.folder)?;
            file.write_all(bytes)?;
            file.as_file().sync_all()?;
            file.persist(&path).map(drop).map_err(|lost| lost.error)
        };
        put().map_err(|error: io::Error| Failure::file(&path, &error))
    }
}
