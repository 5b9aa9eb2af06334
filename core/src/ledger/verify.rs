//! Verifying a log from its files alone: a folder that was exported, or a bucket.
//!
//! ```text
//! log-keys ─► checkpoint: signature, size, root
//!    bundle after bundle:  entries ─► leaf hashes = tile/0 ─► rows above = their tiles ─► root = the checkpoint's
//!                          private parts ─► the hashes that the entries name
//!                          both ─► replay
//!    the list of all files: each is one of these
//! ```
//!
//! Everything is computed from the entries, and what the files say is compared with it. Nothing that lies there goes unlooked at:
//! a file that the checkpoint does not account for is a finding, too.
//!
//! Memory holds one bundle at a time, and what the replay needs.
//!
//! Whoever kept a [`Snapshot`] of an earlier verification goes on from there: what it has behind it is not read again, but what
//! follows must come, together with it, to the root that was signed.

use std::collections::HashSet;

use crate::ids::Index;
use crate::ledger::checkpoint::{Checkpoint, CheckpointError, MAX_NOTE, VerifierKey};
use crate::ledger::cosign::WitnessKey;
use crate::ledger::growth::{Growth, Reader};
use crate::ledger::log_keys::{LogKeys, LogKeysError};
use crate::ledger::proof::{Lacking, TileHashes, check_consistency, consistency};
use crate::ledger::replay::{Finding, Replay, Snapshot, Summary};
use crate::ledger::tile::{Kind, Tile, TileError, tiles_of};

/// The name of the checkpoint's file.
pub const CHECKPOINT: &str = "checkpoint";
/// The name of the file of the log's public keys: [`LogKeys`].
pub const LOG_KEYS: &str = "log-keys";
/// The folder of the checkpoints that witnesses cosigned: one a witness, each named by the id of its key.
pub const WITNESSES: &str = "witnesses/";
/// The most witnesses of a log.
pub const MAX_WITNESSES: usize = 16;
/// The longest file of keys that is read.
const MAX_KEYS: u64 = 64 * 1024;

/// Where a log's files are.
pub trait LogFiles {
    /// Why one cannot be had.
    type Error;

    /// A file's bytes; `None` if there is none of this name. It need not be read further than `most` bytes.
    ///
    /// # Errors
    /// If it cannot be read.
    fn read(&mut self, path: &str, most: u64) -> Result<Option<Vec<u8>>, Self::Error>;

    /// The names of all files there are.
    ///
    /// # Errors
    /// If they cannot be listed.
    fn list(&mut self) -> Result<Vec<String>, Self::Error>;
}

/// What a log is held against, beside itself.
#[derive(Debug, Clone, Default)]
pub struct Expected {
    /// The log's public key, known from elsewhere: the first one, or any that came after it. Without it, the keys that lie beside
    /// the log are believed.
    pub key: Option<VerifierKey>,
    /// A checkpoint that was seen before, as its note.
    pub since: Option<Vec<u8>>,
    /// Witnesses that are trusted: each must have cosigned a checkpoint of the log.
    pub witnesses: Vec<WitnessKey>,
}

/// What a witness vouches for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witnessed {
    /// Who.
    pub witness: WitnessKey,
    /// For so many entries.
    pub size: Index,
    /// When it cosigned them, as it says: Unix seconds.
    pub time: u64,
}

/// A log that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Its checkpoint.
    pub checkpoint: Checkpoint,
    /// The key that signed it.
    pub key: VerifierKey,
    /// The size of the checkpoint that was seen before, if one was given.
    pub since: Option<Index>,
    /// What the trusted witnesses vouch for, in the order in which they were named.
    pub witnessed: Vec<Witnessed>,
    /// From which entry on it was read: what is before was verified when the snapshot was made.
    pub from: Index,
    /// What replay came to.
    pub summary: Summary,
}

/// What is wrong with a log; where it is a file, which.
#[derive(Debug, thiserror::Error)]
pub enum LogFinding<E> {
    /// A file could not be read: nothing is known about it.
    #[error("{path}: {error}")]
    Read {
        /// Which.
        path: String,
        /// Why.
        error: E,
    },
    /// The files could not be listed.
    #[error("the files: {0}")]
    List(E),
    /// A file is not there.
    #[error("{0} is missing")]
    Missing(String),
    /// The keys' file does not hold the keys of a log.
    #[error("{LOG_KEYS}: {0}")]
    Keys(LogKeysError),
    /// The keys' file holds a key of later entries.
    #[error("{LOG_KEYS} holds a key that entry {0} put in its place, which is not here")]
    LaterKey(Index),
    /// The keys that the ledger's entries name are others than those of the keys' file.
    #[error("{LOG_KEYS} does not hold the keys that the ledger's entries put in each other's place")]
    OtherKeys,
    /// The checkpoint is not to be believed.
    #[error("{path}: {error}")]
    Checkpoint {
        /// Which file.
        path: String,
        /// Why.
        error: CheckpointError,
    },
    /// The key that is known is of another log than the checkpoint.
    #[error("the key is of the log {key}, the checkpoint of {found}")]
    OtherLog {
        /// The key's.
        key: String,
        /// The checkpoint's.
        found: String,
    },
    /// A tile does not hold as many as its name says.
    #[error("{tile}: {error}")]
    Tile {
        /// Which.
        tile: Tile,
        /// What is wrong.
        error: TileError,
    },
    /// An entry and its hash do not fit.
    #[error("entry {index} in {entries} does not hash to its place in {hashes}: one of the two was changed")]
    Entry {
        /// Its index.
        index: Index,
        /// Where it lies.
        entries: Tile,
        /// Where its hash lies.
        hashes: Tile,
    },
    /// A tile holds other hashes than those of the tiles below it.
    #[error("{0} does not hold the hashes of what stands below it")]
    Hashes(Tile),
    /// A private part is another than its entry says.
    #[error("the private part of entry {index} in {tile} is not the one whose hash the entry holds")]
    Private {
        /// The entry's index.
        index: Index,
        /// Where it lies.
        tile: Tile,
    },
    /// Entries and tiles fit, and come to another root than the checkpoint's.
    #[error("{CHECKPOINT} says another root than that of the entries: it is of another log")]
    Root,
    /// A file that the checkpoint does not account for.
    #[error("{0} is not part of the log that the checkpoint is of")]
    Unaccounted(String),
    /// The checkpoint that was seen before is of more entries.
    #[error("the log was seen with {seen} entries, and has {has}: it was put back")]
    RolledBack {
        /// How many were seen.
        seen: Index,
        /// How many there are.
        has: Index,
    },
    /// The checkpoint that was seen before is of other entries.
    #[error("the log was seen with other entries before entry {0}: it was rewritten")]
    Rewritten(Index),
    /// The snapshot is of another ledger.
    #[error("the snapshot is of the ledger {snapshot}, the checkpoint of {found}")]
    OtherSnapshot {
        /// The snapshot's.
        snapshot: String,
        /// The checkpoint's.
        found: String,
    },
    /// The snapshot's history was signed by a key that is none of the log's.
    #[error("the log was signed by the key {0} when the snapshot was made, which is none of its keys now")]
    OtherSigner(String),
    /// A trusted witness cosigned none of its checkpoints.
    #[error("no checkpoint of the log is cosigned by the witness {0}")]
    Unwitnessed(String),
    /// An entry breaks a rule of the ledger.
    #[error("{0}")]
    Replay(#[from] Finding),
}

/// Verifies a log whole, and replays it. `progress` is told how many entries of how many are done.
///
/// # Errors
/// The first [`LogFinding`].
pub fn verify_log<F: LogFiles>(
    files: &mut F,
    expected: &Expected,
    progress: impl FnMut(u64, u64),
) -> Result<Verified, LogFinding<F::Error>> {
    verify_on(files, expected, None, progress).map(|(verified, _)| verified)
}

/// Verifies a log from where a snapshot was made, or whole, and replays it from there. What the log comes to is the next snapshot.
///
/// The files of the entries before the snapshot must be there, and are not read. `progress` counts the entries behind it as done.
///
/// # Errors
/// The first [`LogFinding`]: also if the log is not the one that the snapshot is of, or does not continue it.
pub fn verify_on<F: LogFiles>(
    files: &mut F,
    expected: &Expected,
    snapshot: Option<Snapshot>,
    progress: impl FnMut(u64, u64),
) -> Result<(Verified, Snapshot), LogFinding<F::Error>> {
    let (checkpoint, key, keys) = open_checkpoint(files, expected)?;
    let mut replay = match snapshot {
        None => Replay::new(checkpoint.origin.clone()),
        Some(snapshot) => continued(snapshot, &checkpoint, &keys)?,
    };
    let from = replay.size();
    let since = open_since(expected, &checkpoint, &keys)?;
    let witnessed = check_witnesses(files, expected, &checkpoint, &keys)?;
    let start = Growth::resume(&replay, checkpoint.size, |tile| read(files, tile))?;
    check_files(files, &checkpoint, since.as_ref(), start, progress, &mut replay)?;
    if replay.log_keys() != keys.later() {
        return Err(LogFinding::OtherKeys);
    }
    let summary = Summary { head: replay.head().clone(), counts: replay.counts() };
    let since = since.map(|since| since.size);
    let verified = Verified { key: key.clone(), since, witnessed, from, summary, checkpoint };
    Ok((verified, Snapshot { key, replay }))
}

/// Verifies a log's form: signature, hashes, tree and files, whatever its entries say. Each entry goes to `entry`, with its private
/// part, once its hash was found to be right.
///
/// # Errors
/// The first [`LogFinding`].
pub fn check_log<F: LogFiles>(
    files: &mut F,
    expected: &Expected,
    progress: impl FnMut(u64, u64),
    mut entry: impl FnMut(&Checkpoint, &[u8], &[u8]) -> Result<(), Finding>,
) -> Result<(Checkpoint, VerifierKey, Option<Index>), LogFinding<F::Error>> {
    let (checkpoint, key, keys) = open_checkpoint(files, expected)?;
    let since = open_since(expected, &checkpoint, &keys)?;
    let mut each = |public: &[u8], private: &[u8]| entry(&checkpoint, public, private);
    check_files(files, &checkpoint, since.as_ref(), Growth::default(), progress, &mut each)?;
    Ok((checkpoint, key, since.map(|since| since.size)))
}

/// The replay of a snapshot, if this checkpoint can be of the same log later on.
fn continued<E>(snapshot: Snapshot, now: &Checkpoint, keys: &LogKeys) -> Result<Replay, LogFinding<E>> {
    if *snapshot.origin() != now.origin {
        let (snapshot, found) = (snapshot.origin().to_string(), now.origin.to_string());
        return Err(LogFinding::OtherSnapshot { snapshot, found });
    }
    if !keys.contains(&snapshot.key) {
        return Err(LogFinding::OtherSigner(snapshot.key.to_string()));
    }
    if snapshot.size() > now.size {
        return Err(LogFinding::RolledBack { seen: snapshot.size(), has: now.size });
    }
    Ok(snapshot.replay)
}

fn check_files<F: LogFiles>(
    files: &mut F,
    checkpoint: &Checkpoint,
    since: Option<&Checkpoint>,
    mut growth: Growth,
    mut progress: impl FnMut(u64, u64),
    reader: &mut impl Reader,
) -> Result<(), LogFinding<F::Error>> {
    let size = checkpoint.size.0;
    match since {
        Some(since) if since.size < growth.size() => check_older(files, since, checkpoint)?,
        Some(since) => growth.passes(since.size, since.root)?,
        None => {}
    }
    for tile in growth.wanted(checkpoint.size) {
        progress(growth.size().0, size);
        let bytes = read(files, tile)?;
        growth.take(tile, bytes, reader)?;
    }
    growth.settle(checkpoint)?;
    check_names(files, size)?;
    progress(size, size);
    Ok(())
}

/// Whether the log continues what was seen of it before the snapshot was made: proven out of its tiles.
fn check_older<F: LogFiles>(files: &mut F, since: &Checkpoint, now: &Checkpoint) -> Result<(), LogFinding<F::Error>> {
    let mut hashes = TileHashes::new(now.size.0);
    let proof = loop {
        match consistency(&hashes, since.size.0, now.size.0) {
            Ok(proof) => break proof,
            Err(Lacking(tile)) => {
                let bytes = read(files, tile)?;
                hashes.insert(tile, &bytes).map_err(|error| LogFinding::Tile { tile, error })?;
            }
        }
    };
    let proven = check_consistency((since.size.0, &since.root), (now.size.0, &now.root), &proof);
    proven.map_err(|_| LogFinding::Rewritten(since.size))
}

/// Reads the entries of a log again that was checked: each with its private part. `progress` as for [`verify_log`].
///
/// # Errors
/// A file that is missing meanwhile, or does not hold as many as its name says.
pub fn walk_log<F: LogFiles>(
    files: &mut F,
    size: Index,
    mut progress: impl FnMut(u64, u64),
    mut entry: impl FnMut(&[u8], &[u8]),
) -> Result<(), LogFinding<F::Error>> {
    let mut done = 0;
    for entries in tiles_of(size.0).filter(|tile| tile.kind() == Kind::Entries) {
        progress(done, size.0);
        let private = entries.beside(Kind::Private);
        let (public_bytes, private_bytes) = (read(files, entries)?, read(files, private)?);
        let wrong = |tile| move |error| LogFinding::Tile { tile, error };
        let publics = entries.parts(&public_bytes).map_err(wrong(entries))?;
        let privates = private.parts(&private_bytes).map_err(wrong(private))?;
        done += publics.len() as u64;
        publics.into_iter().zip(privates).for_each(|(public, private)| entry(public, private));
    }
    Ok(())
}

/// The checkpoint, with the key that signed it, out of the chain of the log's keys.
pub(super) fn open_checkpoint<F: LogFiles>(
    files: &mut F,
    expected: &Expected,
) -> Result<(Checkpoint, VerifierKey, LogKeys), LogFinding<F::Error>> {
    let keys = keys(files)?;
    let note = read_named(files, CHECKPOINT, MAX_NOTE as u64)?;
    let untrusted = |error| LogFinding::Checkpoint { path: CHECKPOINT.to_owned(), error };
    if let Some(key) = expected.key.as_ref().filter(|key| !keys.contains(key)) {
        let found = Checkpoint::peek(&note).map_err(untrusted)?.origin.to_string();
        return Err(match key.name() == found {
            true => untrusted(CheckpointError::Unsigned(key.to_string())),
            false => LogFinding::OtherLog { key: key.name().to_owned(), found },
        });
    }
    let (checkpoint, key) = keys.open(&note).map_err(untrusted)?;
    // A key that came later than what is here is of entries that are not.
    match keys.later().last().filter(|(index, _)| *index >= checkpoint.size) {
        Some((index, _)) => Err(LogFinding::LaterKey(*index)),
        None => Ok((checkpoint, key, keys)),
    }
}

fn keys<F: LogFiles>(files: &mut F) -> Result<LogKeys, LogFinding<F::Error>> {
    let bytes = read_named(files, LOG_KEYS, MAX_KEYS)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    text.parse().map_err(LogFinding::Keys)
}

/// The checkpoint that was seen before, if one was given: of the same log, by the key of its time, and not of more entries.
fn open_since<E>(expected: &Expected, now: &Checkpoint, keys: &LogKeys) -> Result<Option<Checkpoint>, LogFinding<E>> {
    let Some(note) = &expected.since else { return Ok(None) };
    let (since, _) = keys
        .open(note)
        .map_err(|error| LogFinding::Checkpoint { path: "the remembered checkpoint".to_owned(), error })?;
    if since.size > now.size {
        return Err(LogFinding::RolledBack { seen: since.size, has: now.size });
    }
    Ok(Some(since))
}

/// Whether a name is that of a checkpoint that a witness cosigned.
pub fn is_cosigned(name: &str) -> bool {
    let is_id = |id: &str| id.len() == 8 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    name.strip_prefix(WITNESSES).is_some_and(is_id)
}

/// The checkpoints that witnesses cosigned: each must be of this log. What the trusted ones vouch for comes back.
fn check_witnesses<F: LogFiles>(
    files: &mut F,
    expected: &Expected,
    now: &Checkpoint,
    keys: &LogKeys,
) -> Result<Vec<Witnessed>, LogFinding<F::Error>> {
    let names = files.list().map_err(LogFinding::List)?;
    let names: Vec<String> = names.into_iter().filter(|name| is_cosigned(name)).collect();
    if let Some(name) = names.get(MAX_WITNESSES) {
        return Err(LogFinding::Unaccounted(name.clone()));
    }
    let mut notes = Vec::new();
    for path in names {
        let note = read_named(files, &path, MAX_NOTE as u64)?;
        let untrusted = |error| LogFinding::Checkpoint { path: path.clone(), error };
        let (cosigned, _) = keys.open(&note).map_err(untrusted)?;
        if cosigned.size > now.size {
            return Err(LogFinding::RolledBack { seen: cosigned.size, has: now.size });
        }
        check_older(files, &cosigned, now)?;
        notes.push((path, cosigned.size, note));
    }
    let mut witnessed = Vec::new();
    for witness in &expected.witnesses {
        let mut newest = None;
        for (path, size, note) in &notes {
            let untrusted = |error| LogFinding::Checkpoint { path: path.clone(), error };
            if let Some(time) = witness.cosigned(note).map_err(untrusted)? {
                newest = newest.max(Some((*size, time)));
            }
        }
        let (size, time) = newest.ok_or_else(|| LogFinding::Unwitnessed(witness.to_string()))?;
        witnessed.push(Witnessed { witness: witness.clone(), size, time });
    }
    Ok(witnessed)
}

/// Whether all files that the checkpoint accounts for are there, and no others.
pub(super) fn check_names<F: LogFiles>(files: &mut F, size: u64) -> Result<(), LogFinding<F::Error>> {
    let mut tiles: HashSet<Tile> = tiles_of(size).collect();
    for name in files.list().map_err(LogFinding::List)? {
        let is_known = name == CHECKPOINT
            || name == LOG_KEYS
            || is_cosigned(&name)
            || name.parse().is_ok_and(|tile| tiles.remove(&tile));
        if !is_known {
            return Err(LogFinding::Unaccounted(name));
        }
    }
    match tiles.into_iter().min() {
        Some(missing) => Err(LogFinding::Missing(missing.to_string())),
        None => Ok(()),
    }
}

pub(super) fn read<F: LogFiles>(files: &mut F, tile: Tile) -> Result<Vec<u8>, LogFinding<F::Error>> {
    read_named(files, &tile.to_string(), tile.most())
}

fn read_named<F: LogFiles>(files: &mut F, path: &str, most: u64) -> Result<Vec<u8>, LogFinding<F::Error>> {
    // One byte more, so that a longer file is not taken for one that fits.
    let found = files.read(path, most + 1).map_err(|error| LogFinding::Read { path: path.to_owned(), error })?;
    found.ok_or_else(|| LogFinding::Missing(path.to_owned()))
}
