//! Receipts, checked offline: an entry, the proof that it is under a checkpoint, and the checkpoint.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::Serialize;
use strongroom_core::ledger::Entry;
use strongroom_core::ledger::checkpoint::{Checkpoint, CheckpointError, VerifierKey};
use strongroom_core::ledger::log_keys::LogKeys;
use strongroom_core::ledger::proof::Receipt;
use strongroom_core::reason::Reason;

use crate::exit::{Failure, Outcome};
use crate::output::Format;
use crate::receipts::ENDING;
use crate::when;

/// A longer file is no receipt.
const MAX_FILE: u64 = 1 << 20;

#[derive(Debug, Serialize)]
struct Verdict {
    ledger: String,
    index: u64,
    event: String,
    time: String,
    key: String,
    /// How many entries the checkpoint covers.
    entries: u64,
}

/// The receipts in a folder that holds nothing else, in the order of their names; none if it is something else.
pub(super) fn folder_of(folder: &Path) -> io::Result<Option<Vec<PathBuf>>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() || path.extension().is_none_or(|ending| ending != ENDING) {
            return Ok(None);
        }
        files.push(path);
    }
    // An index as long as another comes in their order.
    files.sort_unstable_by_key(|file| (file.as_os_str().len(), file.clone()));
    Ok((!files.is_empty()).then_some(files))
}

/// Whether a file that begins so is meant as a receipt.
pub(super) fn begins_like_one(start: &[u8]) -> bool {
    start.starts_with(b"c2sp.org/tlog-proof")
}

/// Verifies a receipt with the ledger's public key: a receipt does not bring one along.
pub(super) fn verify(file: &Path, key: Option<&VerifierKey>, keys: Option<&LogKeys>, format: Format) -> Outcome {
    let Some(key) = key else {
        let detail = "a receipt is verified with the ledger's public key";
        return Err(Failure::usage(detail, "give it with --key; the operator's `tenant show` prints it"));
    };
    let failed = |error| Failure::file(file, &error);
    let mut bytes = Vec::new();
    File::open(file).map_err(failed)?.take(MAX_FILE).read_to_end(&mut bytes).map_err(failed)?;
    let broken = |why: String| {
        let detail = format!("{}: {why}", file.display());
        Failure::new(Reason::Integrity, detail, "ask for the proof again with `audit prove`")
    };
    let receipt = Receipt::from_bytes(&bytes).ok_or_else(|| broken("it is not a tlog-proof with its entry".into()))?;
    let opened = match keys {
        Some(keys) if keys.contains(key) => keys.open(&receipt.checkpoint).map(|(checkpoint, _)| checkpoint),
        Some(_) => return Err(broken("the file of --log-keys does not hold the key".into())),
        None => Checkpoint::open(&receipt.checkpoint, std::slice::from_ref(key)).map(|(checkpoint, _)| checkpoint),
    };
    let checkpoint = opened.map_err(|error| {
        let mut failure = broken(format!("its checkpoint: {error}"));
        if keys.is_none() && matches!(error, CheckpointError::Unsigned(_)) {
            failure.advice = "if the log's key was rotated since, add --log-keys DIR/log-keys, of an export".into();
        }
        failure
    })?;
    if key.name() != checkpoint.origin.to_string() {
        return Err(broken("its checkpoint is of another ledger than the key".into()));
    }
    let proven = receipt.check(checkpoint.size, &checkpoint.root);
    proven.map_err(|_| broken("the proof does not hold: the entry is not under the checkpoint".into()))?;
    let entry = Entry::from_bytes(&receipt.entry).map_err(|error| broken(error.to_string()))?;
    if entry.index != receipt.index {
        return Err(broken(format!("entry {} calls itself entry {}", receipt.index, entry.index)));
    }
    let verdict = Verdict {
        ledger: checkpoint.origin.to_string(),
        index: receipt.index.0,
        event: entry.event.name().to_owned(),
        time: when::rfc3339(entry.time),
        key: entry.actor.key.to_string(),
        entries: checkpoint.size.0,
    };
    format.result(&verdict, |verdict| {
        let Verdict { index, event, time, key, entries, ledger } = verdict;
        format!(
            "{} holds: entry {index}, {event} by {key} at {time}, is one of {entries} entries of {ledger}",
            file.display()
        )
    })
}
