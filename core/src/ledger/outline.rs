//! A log's files, each bundle by itself: in any order, and on all cores.
//!
//! ```text
//! checkpoint ─► rows of hashes above the bundles, each tile the one above it says ─► Outline
//!    any bundle: entries ─► leaf hashes = tile/0 ─► their root = its hash in the row above
//! ```
//!
//! It comes to the same as [`crate::ledger::verify::check_log`], which grows a log from its first entry: what is under the root of the
//! checkpoint can be checked from above as well. Whoever needs the entries in their order, as a replay does, takes the other.

use crate::ids::Index;
use crate::ledger::checkpoint::Checkpoint;
use crate::ledger::proof::{Hashes, TileHashes, root};
use crate::ledger::tile::{Kind, Tile, TileError, WIDTH, perfect_root, tiles_of};
use crate::ledger::tree::leaf_hash;
use crate::ledger::verify::{Expected, LogFiles, LogFinding, check_names, open_checkpoint, read};

/// The part of a log that stands above its bundles, found to come to its checkpoint.
#[derive(Debug)]
pub struct Outline {
    checkpoint: Checkpoint,
    hashes: TileHashes,
}

/// The files of a bundle, as they lie there.
#[derive(Debug, Clone, Copy)]
pub struct BundleFiles<'a> {
    /// Public parts.
    pub entries: &'a [u8],
    /// Private parts.
    pub private: &'a [u8],
    /// The entries' hashes.
    pub hashes: &'a [u8],
}

/// An entry's public bytes, and those of its private part: empty if it was erased.
pub type EntryParts<'a> = (&'a [u8], &'a [u8]);

impl Outline {
    /// Reads it: all files must be there, and no others; those of bundles are not read.
    ///
    /// # Errors
    /// The first [`LogFinding`].
    pub fn read<F: LogFiles>(files: &mut F) -> Result<Self, LogFinding<F::Error>> {
        let (checkpoint, ..) = open_checkpoint(files, &Expected::default())?;
        let size = checkpoint.size.0;
        check_names(files, size)?;
        let mut hashes = TileHashes::new(size);
        let mut full = Vec::new();
        let is_above = |tile: &Tile| match tile.kind() {
            Kind::Hashes(0) => !tile.is_full(),
            Kind::Hashes(_) => true,
            _ => false,
        };
        for tile in tiles_of(size).filter(is_above) {
            let bytes = read(files, tile)?;
            let row = tile.hashes(&bytes).map_err(|error| LogFinding::Tile { tile, error })?;
            if tile.is_full() {
                full.push((tile, perfect_root(&row)));
            }
            hashes.put(tile, row);
        }
        // All that is not full lies at the right edge, which the root is made of.
        if root(&hashes, size).ok() != Some(checkpoint.root) {
            return Err(LogFinding::Root);
        }
        let outline = Self { checkpoint, hashes };
        for (tile, root) in full {
            let Kind::Hashes(row) = tile.kind() else { continue };
            if outline.hashes.hash(8 * (u32::from(row) + 1), tile.index()).ok() != Some(root) {
                return Err(LogFinding::Hashes(tile));
            }
        }
        Ok(outline)
    }

    /// What was signed.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The bundles: their entries' tiles, from the left.
    pub fn bundles(&self) -> impl Iterator<Item = Tile> {
        let size = self.checkpoint.size.0;
        (0..size.div_ceil(WIDTH)).filter_map(move |number| Tile::of(Kind::Entries, number, size))
    }

    /// The entries of a bundle, each with its private part, empty if it was erased. That a private part is its entry's is for whoever
    /// reads it.
    ///
    /// # Errors
    /// What is wrong with the files.
    pub fn bundle<'a, E>(&self, entries: Tile, files: BundleFiles<'a>) -> Result<Vec<EntryParts<'a>>, LogFinding<E>> {
        let (private, hashes) = (entries.beside(Kind::Private), entries.beside(Kind::Hashes(0)));
        let wrong = |tile: Tile| move |error: TileError| LogFinding::Tile { tile, error };
        let publics = entries.parts(files.entries).map_err(wrong(entries))?;
        let privates = private.parts(files.private).map_err(wrong(private))?;
        let leaves = hashes.hashes(files.hashes).map_err(wrong(hashes))?;
        let first = entries.index() * WIDTH;
        for (index, (public, leaf)) in (first..).zip(publics.iter().zip(&leaves)) {
            if leaf_hash(public) != *leaf {
                return Err(LogFinding::Entry { index: Index(index), entries, hashes });
            }
        }
        let is_under = match entries.is_full() {
            true => self.hashes.hash(8, entries.index()).ok() == Some(perfect_root(&leaves)),
            false => (first..).zip(&leaves).all(|(index, leaf)| self.hashes.hash(0, index).ok() == Some(*leaf)),
        };
        match is_under {
            true => Ok(publics.into_iter().zip(privates).collect()),
            false => Err(LogFinding::Hashes(hashes)),
        }
    }
}
