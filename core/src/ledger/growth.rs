//! A log that is verified as it grows: from any size to a larger one, file by file, as they come.
//!
//! ```text
//! wanted: bundle, its private parts, its hashes; the next bundle …; then the rows of hashes above
//!   take: entries ─► leaf hashes = tile/0 ─► rows above = their tiles
//!         private parts ─► the hashes that the entries name          each entry ─► its reader (a replay)
//! settle: root = the checkpoint's
//! ```
//!
//! Everything is computed from the entries, and what the files say is compared with it. Memory holds one bundle at a time. What
//! was taken is not believed before it is settled.

use crate::ids::{Digest, Index};
use crate::ledger::checkpoint::Checkpoint;
use crate::ledger::replay::{Finding, Replay, Rule};
use crate::ledger::tile::{Growing, Kind, RestoreError, Tile, WIDTH, tiles_of};
use crate::ledger::tree::leaf_hash;
use crate::ledger::verify::LogFinding;

/// To whom the entries of a log go.
pub trait Reader {
    /// What comes next: the entries of a bundle, each with its private part. Nothing was held against its hash yet.
    fn bundle(&mut self, _entries: &[(&[u8], &[u8])]) {}

    /// The next entry, with its private part: empty if that was erased. Its hash was found to be right.
    ///
    /// # Errors
    /// What ends the reading.
    fn entry(&mut self, public: &[u8], private: &[u8]) -> Result<(), Finding>;
}

impl<F: FnMut(&[u8], &[u8]) -> Result<(), Finding>> Reader for F {
    fn entry(&mut self, public: &[u8], private: &[u8]) -> Result<(), Finding> {
        self(public, private)
    }
}

impl Reader for Replay {
    fn bundle(&mut self, entries: &[(&[u8], &[u8])]) {
        self.foresee(entries);
    }

    fn entry(&mut self, public: &[u8], private: &[u8]) -> Result<(), Finding> {
        self.feed(public, (!private.is_empty()).then_some(private)).map(|_| ())
    }
}

/// The log so far.
#[derive(Debug, Default)]
pub struct Growth {
    growing: Growing,
    /// What the rows above the hashes of entries are to hold.
    rows: Vec<(Tile, Vec<u8>)>,
    /// Of the next bundle: entries, then private parts.
    held: Vec<Vec<u8>>,
    /// A root that it must have at a size.
    passes: Option<(Index, Digest)>,
}

impl Growth {
    /// The log as far as a replay of it went, out of its files: `read` gives them as a log of `now` entries has them.
    ///
    /// # Errors
    /// As `read`; [`LogFinding::Rewritten`] if the files are of another log up to there.
    pub fn resume<E>(
        replay: &Replay,
        now: Index,
        mut read: impl FnMut(Tile) -> Result<Vec<u8>, LogFinding<E>>,
    ) -> Result<Self, LogFinding<E>> {
        let size = replay.size();
        let read = |tile: Tile| {
            let wider = wider(tile, now);
            let bytes = read(wider)?;
            tile.cut(&bytes).map(<[u8]>::to_vec).map_err(|error| LogFinding::Tile { tile: wider, error })
        };
        let growing = Growing::restore(size.0, read).map_err(|error| match error {
            RestoreError::Read(finding) => finding,
            RestoreError::Tile { tile, error } => LogFinding::Tile { tile, error },
            RestoreError::Entry { index, tile } => {
                LogFinding::Entry { index: Index(index), entries: tile, hashes: tile.beside(Kind::Hashes(0)) }
            }
            RestoreError::Private { index, tile } => LogFinding::Private { index: Index(index), tile },
        })?;
        match growing.root() == replay.tip() {
            true => Ok(Self { growing, ..Self::default() }),
            false => Err(LogFinding::Rewritten(size)),
        }
    }

    /// The files that [`Growth::resume`] reads for a replay of `size` entries, where the log has `now`.
    pub fn resumed_from(size: Index, now: Index) -> impl Iterator<Item = Tile> {
        Growing::tail(size.0).map(move |tile| wider(tile, now))
    }

    /// How many entries it has.
    pub fn size(&self) -> Index {
        Index(self.growing.size())
    }

    /// It must have this root when it has this size, now or later.
    ///
    /// # Errors
    /// [`LogFinding::Rewritten`] if it has another now.
    pub fn passes<E>(&mut self, size: Index, root: Digest) -> Result<(), LogFinding<E>> {
        self.passes = Some((size, root));
        self.check_passes()
    }

    /// The files that lead from here to a log of this size, in the order in which they are taken.
    pub fn wanted(&self, to: Index) -> Vec<Tile> {
        let now = self.growing.size();
        let first = now / WIDTH;
        let bundles = tiles_of(to.0).filter(|tile| tile.kind() == Kind::Entries && tile.index() >= first);
        let beside = |tile: Tile| [tile, tile.beside(Kind::Private), tile.beside(Kind::Hashes(0))];
        let is_new = |tile: &Tile| Tile::of(tile.kind(), tile.index(), now) != Some(*tile);
        let rows = tiles_of(to.0).filter(|tile| matches!(tile.kind(), Kind::Hashes(1..)) && is_new(tile));
        let bundles = if now < to.0 { Some(bundles) } else { None };
        bundles.into_iter().flatten().flat_map(beside).chain(rows).collect()
    }

    /// Takes the next file in. Each entry whose hash was found to be right goes to the reader.
    ///
    /// # Errors
    /// What is wrong with the file; as the reader.
    pub fn take<E>(&mut self, tile: Tile, bytes: Vec<u8>, reader: &mut impl Reader) -> Result<(), LogFinding<E>> {
        match tile.kind() {
            Kind::Entries => self.held = vec![bytes],
            Kind::Private => self.held.push(bytes),
            // They are no part of a copy.
            Kind::Facts | Kind::Summaries => {}
            Kind::Hashes(0) => self.take_bundle(tile, &bytes, reader)?,
            Kind::Hashes(1..) => {
                let partials = self.growing.partials();
                let is_it = |(other, right): &(Tile, Vec<u8>)| *other == tile && *right == bytes;
                if !self.rows.iter().chain(&partials).any(is_it) {
                    return Err(LogFinding::Hashes(tile));
                }
            }
        }
        Ok(())
    }

    /// Whether what was taken comes to this checkpoint.
    ///
    /// # Errors
    /// [`LogFinding::Root`].
    pub fn settle<E>(&mut self, checkpoint: &Checkpoint) -> Result<(), LogFinding<E>> {
        if (self.size(), self.growing.root()) != (checkpoint.size, checkpoint.root) {
            return Err(LogFinding::Root);
        }
        self.rows.clear();
        Ok(())
    }

    fn take_bundle<E>(
        &mut self,
        hashes: Tile,
        hash_bytes: &[u8],
        reader: &mut impl Reader,
    ) -> Result<(), LogFinding<E>> {
        let (entries, private) = (hashes.beside(Kind::Entries), hashes.beside(Kind::Private));
        let held = std::mem::take(&mut self.held);
        let [public_bytes, private_bytes] = &held[..] else { return Err(LogFinding::Missing(entries.to_string())) };
        let wrong = |tile| move |error| LogFinding::Tile { tile, error };
        let publics = entries.parts(public_bytes).map_err(wrong(entries))?;
        let privates = private.parts(private_bytes).map_err(wrong(private))?;
        let leaves = hashes.hashes(hash_bytes).map_err(wrong(hashes))?;
        let mut full = Vec::new();
        // Of the first, those that are there already were compared when it was resumed.
        let done = usize::try_from(self.growing.size() % WIDTH).unwrap_or_default();
        let parts: Vec<_> = publics.into_iter().zip(privates).skip(done).collect();
        reader.bundle(&parts);
        for ((public, secret), leaf) in parts.into_iter().zip(leaves.into_iter().skip(done)) {
            let index = self.size();
            if leaf_hash(public) != leaf {
                return Err(LogFinding::Entry { index, entries, hashes });
            }
            reader.entry(public, secret).map_err(|finding| of_replay(finding, private))?;
            self.growing.push(public, &mut full).map_err(wrong(entries))?;
            self.check_passes()?;
        }
        self.rows.extend(full.into_iter().filter(|(tile, _)| matches!(tile.kind(), Kind::Hashes(1..))));
        Ok(())
    }

    fn check_passes<E>(&self) -> Result<(), LogFinding<E>> {
        match self.passes {
            Some((size, root)) if size == self.size() && root != self.growing.root() => {
                Err(LogFinding::Rewritten(size))
            }
            _ => Ok(()),
        }
    }
}

/// A tile as a log that has grown to `now` entries has it.
fn wider(tile: Tile, now: Index) -> Tile {
    Tile::of(tile.kind(), tile.index(), now.0).unwrap_or(tile)
}

/// A private part that does not fit its entry is a file's fault, and named by it.
fn of_replay<E>(finding: Finding, tile: Tile) -> LogFinding<E> {
    match finding.rule {
        Rule::PrivateHash => LogFinding::Private { index: finding.index, tile },
        _ => LogFinding::Replay(finding),
    }
}
