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

use std::collections::HashSet;

use crate::ids::Index;
use crate::ledger::checkpoint::{Checkpoint, CheckpointError, MAX_NOTE, VerifierKey};
use crate::ledger::replay::{Finding, Replay, Rule, Summary};
use crate::ledger::tile::{Growing, Kind, Tile, TileError, tiles_of};
use crate::ledger::tree::leaf_hash;

/// The name of the checkpoint's file.
pub const CHECKPOINT: &str = "checkpoint";
/// The name of the file of the log's public keys: verifier keys, one a line.
pub const LOG_KEYS: &str = "log-keys";
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
    /// The log's public key, known from elsewhere; without it, the keys that lie beside the log.
    pub key: Option<VerifierKey>,
    /// A checkpoint that was seen before, as its note.
    pub since: Option<Vec<u8>>,
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
    /// A line of the keys' file is no key.
    #[error("{LOG_KEYS}, line {0}: not a log's public key")]
    Keys(usize),
    /// The checkpoint is not to be believed.
    #[error("{path}: {error}")]
    Checkpoint {
        /// Which file.
        path: &'static str,
        /// Why.
        error: CheckpointError,
    },
    /// A key lies beside the log that signed nothing of it.
    #[error("{LOG_KEYS} holds the key {0}, which did not sign the checkpoint")]
    OtherKey(String),
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
    let mut replay = None;
    let (checkpoint, key, since) = check_log(files, expected, progress, |checkpoint, public, private| {
        let replay = replay.get_or_insert_with(|| Replay::new(checkpoint.origin.clone()));
        replay.feed(public, (!private.is_empty()).then_some(private)).map(|_| ())
    })?;
    let replay = replay.unwrap_or_else(|| Replay::new(checkpoint.origin.clone()));
    Ok(Verified { key, since, summary: replay.finish()?, checkpoint })
}

/// Verifies a log's form: signature, hashes, tree and files, whatever its entries say. Each entry goes to `entry`, with its private
/// part, once its hash was found to be right.
///
/// # Errors
/// The first [`LogFinding`].
pub fn check_log<F: LogFiles>(
    files: &mut F,
    expected: &Expected,
    mut progress: impl FnMut(u64, u64),
    mut entry: impl FnMut(&Checkpoint, &[u8], &[u8]) -> Result<(), Finding>,
) -> Result<(Checkpoint, VerifierKey, Option<Index>), LogFinding<F::Error>> {
    let (checkpoint, key) = open_checkpoint(files, expected)?;
    let since = expected.since.as_deref().map(|note| open_since(note, &checkpoint, &key)).transpose()?;
    let size = checkpoint.size.0;
    let mut growing = Growing::default();
    let is_seen = |growing: &Growing| match &since {
        Some(since) if since.size.0 == growing.size() && since.root != growing.root() => {
            Err(LogFinding::Rewritten(since.size))
        }
        _ => Ok(()),
    };
    is_seen(&growing)?;
    let mut full = Vec::new();
    for entries in tiles_of(size).filter(|tile| tile.kind() == Kind::Entries) {
        progress(growing.size(), size);
        let (private, hashes) = (entries.beside(Kind::Private), entries.beside(Kind::Hashes(0)));
        let (public_bytes, private_bytes) = (read(files, entries)?, read(files, private)?);
        let hash_bytes = read(files, hashes)?;
        let wrong = |tile| move |error| LogFinding::Tile { tile, error };
        let publics = entries.parts(&public_bytes).map_err(wrong(entries))?;
        let privates = private.parts(&private_bytes).map_err(wrong(private))?;
        let leaves = hashes.hashes(&hash_bytes).map_err(wrong(hashes))?;
        for ((public, secret), leaf) in publics.into_iter().zip(privates).zip(leaves) {
            let index = Index(growing.size());
            if leaf_hash(public) != leaf {
                return Err(LogFinding::Entry { index, entries, hashes });
            }
            entry(&checkpoint, public, secret).map_err(|finding| of_replay(finding, private))?;
            growing.push(public, secret, &mut full).map_err(wrong(entries))?;
            is_seen(&growing)?;
        }
        check_rows(files, &mut full)?;
    }
    check_rows(files, &mut growing.partials())?;
    if growing.root() != checkpoint.root {
        return Err(LogFinding::Root);
    }
    check_names(files, size)?;
    progress(size, size);
    Ok((checkpoint, key, since.map(|since| since.size)))
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

fn open_checkpoint<F: LogFiles>(
    files: &mut F,
    expected: &Expected,
) -> Result<(Checkpoint, VerifierKey), LogFinding<F::Error>> {
    let kept = keys(files)?;
    let keys = expected.key.clone().map_or_else(|| kept.clone(), |key| vec![key]);
    let note = read_named(files, CHECKPOINT, MAX_NOTE as u64)?;
    let untrusted = |error| LogFinding::Checkpoint { path: CHECKPOINT, error };
    let (checkpoint, key) = Checkpoint::open(&note, &keys).map_err(untrusted)?;
    if key.name() != checkpoint.origin.to_string() {
        return Err(LogFinding::OtherLog { key: key.name().to_owned(), found: checkpoint.origin.to_string() });
    }
    match kept.iter().find(|kept| *kept != key) {
        Some(other) => Err(LogFinding::OtherKey(other.to_string())),
        None => Ok((checkpoint, key.clone())),
    }
}

fn keys<F: LogFiles>(files: &mut F) -> Result<Vec<VerifierKey>, LogFinding<F::Error>> {
    let bytes = read_named(files, LOG_KEYS, MAX_KEYS)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let line = |(at, line): (usize, &str)| line.parse().map_err(|_| LogFinding::Keys(at + 1));
    text.strip_suffix('\n').unwrap_or(&text).split('\n').enumerate().map(line).collect()
}

/// The checkpoint that was seen before: of the same log, by the same key, and not of more entries.
fn open_since<E>(note: &[u8], now: &Checkpoint, key: &VerifierKey) -> Result<Checkpoint, LogFinding<E>> {
    let (since, _) = Checkpoint::open(note, std::slice::from_ref(key))
        .map_err(|error| LogFinding::Checkpoint { path: "the remembered checkpoint", error })?;
    if since.size > now.size {
        return Err(LogFinding::RolledBack { seen: since.size, has: now.size });
    }
    Ok(since)
}

/// Compares tiles of hashes with those that the entries came to. Those of entries were read and compared already.
fn check_rows<F: LogFiles>(files: &mut F, tiles: &mut Vec<(Tile, Vec<u8>)>) -> Result<(), LogFinding<F::Error>> {
    for (tile, bytes) in tiles.drain(..) {
        if matches!(tile.kind(), Kind::Hashes(1..)) && read(files, tile)? != bytes {
            return Err(LogFinding::Hashes(tile));
        }
    }
    Ok(())
}

fn check_names<F: LogFiles>(files: &mut F, size: u64) -> Result<(), LogFinding<F::Error>> {
    let names = files.list().map_err(LogFinding::List)?;
    let tiles: HashSet<Tile> = tiles_of(size).collect();
    let is_known = |name: &str| {
        name == CHECKPOINT || name == LOG_KEYS || name.parse().is_ok_and(|tile: Tile| tiles.contains(&tile))
    };
    match names.into_iter().find(|name| !is_known(name)) {
        Some(name) => Err(LogFinding::Unaccounted(name)),
        None => Ok(()),
    }
}

/// A private part that does not fit its entry is a file's fault, and named by it.
fn of_replay<E>(finding: Finding, tile: Tile) -> LogFinding<E> {
    match finding.rule {
        Rule::PrivateHash => LogFinding::Private { index: finding.index, tile },
        _ => LogFinding::Replay(finding),
    }
}

fn read<F: LogFiles>(files: &mut F, tile: Tile) -> Result<Vec<u8>, LogFinding<F::Error>> {
    read_named(files, &tile.to_string(), tile.most())
}

fn read_named<F: LogFiles>(files: &mut F, path: &str, most: u64) -> Result<Vec<u8>, LogFinding<F::Error>> {
    // One byte more, so that a longer file is not taken for one that fits.
    let found = files.read(path, most + 1).map_err(|error| LogFinding::Read { path: path.to_owned(), error })?;
    found.ok_or_else(|| LogFinding::Missing(path.to_owned()))
}
