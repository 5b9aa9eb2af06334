//! Tiles: a log as files, in C2SP's `tlog-tiles` layout.
//!
//! ```text
//! tile/<L>/<N>[.p/<W>]         up to 256 hashes of level L: of entries at level 0, of full tiles of the level below above it
//! tile/entries/<N>[.p/<W>]     the public bytes of the 256 entries under tile/0/<N>, each after its length (u16 BE)
//! private/<N>[.p/<W>]          their private parts, each after its length (u32 BE); an erased one has length 0
//! facts/<N>                    the release facts of a full bundle
//! summaries/<N>                the summaries of 256 full bundles, each after its length (u32 BE)
//! ```
//!
//! The first two are the specification's, so that other people's tools read them; the others are ours, and the last two, which follow
//! from the entries, are no part of a copy. What a log of a certain size
//! consists of follows from the size alone ([`tiles_of`]), and a file once written never changes: a partial tile has its width in
//! its name. [`Growing`] writes them, entry by entry.

use std::fmt;
use std::str::FromStr;

use crate::ids::Digest;
use crate::ledger::batch;
use crate::ledger::entry::{Entry, Private};
use crate::ledger::tree::{CompactRange, empty_root, leaf_hash, node_hash};

/// Hashes, entries or private parts of a full tile.
pub const WIDTH: u64 = 256;
/// Levels that there can be: a log has fewer than 2⁵³ entries.
const LEVELS: u8 = 7;

/// What a file of a log holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Hashes of this level.
    Hashes(u8),
    /// Public parts of entries.
    Entries,
    /// Private parts of entries.
    Private,
    /// The release facts of a full bundle ([`crate::ledger::facts`]).
    Facts,
    /// The summaries of 256 full bundles ([`crate::ledger::summary`]).
    Summaries,
}

impl Kind {
    /// The tree's level that it goes with.
    fn level(self) -> u8 {
        match self {
            Self::Hashes(level) => level,
            Self::Entries | Self::Private | Self::Facts => 0,
            Self::Summaries => 1,
        }
    }
}

/// A file of a log, by what is in it. Its text form is its path.
///
/// ```
/// use strongroom_core::ledger::tile::{Kind, Tile};
///
/// let tile = Tile::new(Kind::Hashes(0), 1_234_067, 112).unwrap();
/// assert_eq!(tile.to_string(), "tile/0/x001/x234/067.p/112");
/// assert_eq!("tile/0/x001/x234/067.p/112".parse(), Ok(tile));
/// assert!("tile/0/x000/067".parse::<Tile>().is_err(), "one text form alone");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tile {
    kind: Kind,
    index: u64,
    width: u16,
}

/// A text that is not the path of a tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the path of a log's tile")]
pub struct PathError;

/// Bytes that are not the content of a tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TileError {
    /// It is cut, has bytes left over, or holds another number of things than its name says.
    #[error("it does not hold {0} of what it should")]
    Content(u16),
    /// An entry that is longer than any.
    #[error("an entry has more than 65535 bytes")]
    Length,
}

impl Tile {
    /// A tile of this kind, `index` from the left, `width` wide (1 to 256); `None` if there can be none.
    pub fn new(kind: Kind, index: u64, width: u64) -> Option<Self> {
        let fits = (1..=WIDTH).contains(&width) && index < 1 << 53 && kind.level() < LEVELS;
        fits.then_some(Self { kind, index, width: width as u16 })
    }

    /// The tile of this kind and index as a log of `size` entries has it; `None` if it has none there.
    pub fn of(kind: Kind, index: u64, size: u64) -> Option<Self> {
        if kind.level() >= LEVELS {
            return None;
        }
        let hashes = size >> (8 * u32::from(kind.level()));
        let width = hashes.checked_sub(index.checked_mul(WIDTH)?)?.min(WIDTH);
        Self::new(kind, index, width)
    }

    /// What it holds.
    pub fn kind(self) -> Kind {
        self.kind
    }

    /// Its place from the left, from 0.
    pub fn index(self) -> u64 {
        self.index
    }

    /// How many it holds, 1 to 256.
    pub fn width(self) -> u64 {
        self.width.into()
    }

    /// Whether it is as wide as it will ever be.
    pub fn is_full(self) -> bool {
        self.width() == WIDTH
    }

    /// The same tile once it is full.
    pub fn full(self) -> Self {
        Self { width: WIDTH as u16, ..self }
    }

    /// What lies beside it: of the same entries, another kind of level 0.
    pub fn beside(self, kind: Kind) -> Self {
        Self { kind, ..self }
    }

    /// The most bytes that it can have. Of private parts, what this house reads: they hold signed calls of up to 4 MiB.
    pub fn most(self) -> u64 {
        match self.kind {
            Kind::Hashes(_) => 32 * WIDTH,
            Kind::Entries => WIDTH * (2 + u64::from(u16::MAX)),
            Kind::Private => 1 << 30,
            Kind::Facts | Kind::Summaries => 32 << 20,
        }
    }

    /// Where the partial forms of the same tile lie: a folder.
    pub fn partials(self) -> String {
        format!("{}.p", self.full())
    }

    /// Its hashes.
    ///
    /// # Errors
    /// [`TileError::Content`] if the bytes are not as many.
    pub fn hashes(self, bytes: &[u8]) -> Result<Vec<Digest>, TileError> {
        let (hashes, rest) = bytes.as_chunks::<32>();
        let whole = rest.is_empty() && hashes.len() == usize::from(self.width);
        whole.then(|| hashes.iter().map(|hash| Digest::from_bytes(*hash)).collect()).ok_or(self.wrong())
    }

    /// Its entries, or its private parts.
    ///
    /// # Errors
    /// [`TileError::Content`] if the bytes are not as many.
    pub fn parts(self, bytes: &[u8]) -> Result<Vec<&[u8]>, TileError> {
        let parts = match self.kind {
            Kind::Private | Kind::Summaries => batch::split(bytes).ok(),
            Kind::Entries | Kind::Hashes(_) => split_entries(bytes),
            Kind::Facts => None,
        };
        parts.filter(|parts| parts.len() == usize::from(self.width)).ok_or(self.wrong())
    }

    /// The bytes of this tile out of those of the same one when it was wider.
    ///
    /// # Errors
    /// [`TileError::Content`] if the wider one is broken before it is as wide as this.
    pub fn cut(self, wider: &[u8]) -> Result<&[u8], TileError> {
        let mut end = 0;
        for _ in 0..self.width {
            let rest = wider.get(end..).unwrap_or_default();
            end += match self.kind {
                Kind::Hashes(_) => 32,
                Kind::Entries => 2 + rest.first_chunk().map_or(0, |length| usize::from(u16::from_be_bytes(*length))),
                Kind::Private | Kind::Summaries => {
                    4 + rest.first_chunk().map_or(0, |length| u32::from_be_bytes(*length) as usize)
                }
                Kind::Facts => return Err(self.wrong()),
            };
        }
        wider.get(..end).ok_or(self.wrong())
    }

    fn wrong(self) -> TileError {
        TileError::Content(self.width)
    }
}

impl fmt::Display for Tile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Hashes(level) => write!(f, "tile/{level}/")?,
            Kind::Entries => f.write_str("tile/entries/")?,
            Kind::Private => f.write_str("private/")?,
            Kind::Facts => f.write_str("facts/")?,
            Kind::Summaries => f.write_str("summaries/")?,
        }
        let digits = self.index.to_string();
        let digits = format!("{}{digits}", &"00"[..(3 - digits.len() % 3) % 3]);
        let groups = digits.len() / 3;
        for group in 0..groups {
            let more = group + 1 < groups;
            let (before, after) = if more { ("x", "/") } else { ("", "") };
            write!(f, "{before}{}{after}", &digits[group * 3..group * 3 + 3])?;
        }
        if self.is_full() { Ok(()) } else { write!(f, ".p/{}", self.width) }
    }
}

impl FromStr for Tile {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        let parse = || {
            let (name, width) = match text.split_once(".p/") {
                Some((name, width)) => (name, width.parse().ok()?),
                None => (text, WIDTH),
            };
            let beside = [("private/", Kind::Private), ("facts/", Kind::Facts), ("summaries/", Kind::Summaries)];
            let found = beside.iter().find_map(|(prefix, kind)| Some((*kind, name.strip_prefix(prefix)?)));
            let (kind, index) = match found {
                Some(found) => found,
                None => {
                    let (kind, index) = name.strip_prefix("tile/")?.split_once('/')?;
                    (if kind == "entries" { Kind::Entries } else { Kind::Hashes(kind.parse().ok()?) }, index)
                }
            };
            let digits: String = index.split('/').map(|group| group.strip_prefix('x').unwrap_or(group)).collect();
            Self::new(kind, digits.parse().ok()?, width)
        };
        parse().filter(|tile| text.len() < 64 && tile.to_string() == text).ok_or(PathError)
    }
}

/// All tiles of a log of this size, level by level from the left; beside each of level 0, its entries and private parts.
pub fn tiles_of(size: u64) -> impl Iterator<Item = Tile> {
    (0..LEVELS).flat_map(move |level| {
        let count = (size >> (8 * u32::from(level))).div_ceil(WIDTH);
        (0..count).flat_map(move |index| {
            let beside: &[Kind] = if level == 0 { &[Kind::Entries, Kind::Private] } else { &[] };
            let kinds = std::iter::once(Kind::Hashes(level)).chain(beside.iter().copied());
            kinds.filter_map(move |kind| Tile::of(kind, index, size))
        })
    })
}

fn split_entries(mut bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let mut entries = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<2>() {
        let (entry, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        entries.push(entry);
        bytes = rest;
    }
    bytes.is_empty().then_some(entries)
}

/// A log as far as it was written into tiles: what the next entry is added to.
///
/// Full tiles are given out as they fill; the partial ones of any moment are [`Growing::partials`]. Private parts can be long, and no
/// hash here is of them: whoever writes their files makes them ([`batch::push`]) from where they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Growing {
    range: CompactRange,
    /// The hashes of each level's last tile, while it is partial.
    levels: Vec<Vec<Digest>>,
    entries: Vec<u8>,
}

/// Why a log cannot be grown from what its files hold.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError<E> {
    /// A file could not be read.
    #[error("{0}")]
    Read(E),
    /// A file does not hold what it should.
    #[error("{tile}: {error}")]
    Tile {
        /// Which.
        tile: Tile,
        /// What is wrong with it.
        error: TileError,
    },
    /// An entry is not the one that its hash is of.
    #[error("entry {index} in {tile} does not hash to its place in the tile beside it")]
    Entry {
        /// Its index.
        index: u64,
        /// Where it lies.
        tile: Tile,
    },
    /// A private part is not the one that its entry names.
    #[error("the private part of entry {index} in {tile} is not the one that its entry names")]
    Private {
        /// The entry's index.
        index: u64,
        /// Where it lies.
        tile: Tile,
    },
}

impl Growing {
    /// The tiles that [`Growing::restore`] reads: the partial ones of a log of this size.
    pub fn tail(size: u64) -> impl Iterator<Item = Tile> {
        (0..LEVELS).flat_map(move |level| {
            let index = size >> (8 * (u32::from(level) + 1));
            let beside: &[Kind] = if level == 0 { &[Kind::Entries, Kind::Private] } else { &[] };
            let kinds = std::iter::once(Kind::Hashes(level)).chain(beside.iter().copied());
            kinds.filter_map(move |kind| Tile::of(kind, index, size))
        })
    }

    /// A log of `size` entries, from its last tiles. They are checked against each other; that [`Growing::root`] is the log's
    /// is for the caller to check.
    ///
    /// # Errors
    /// [`RestoreError`], naming the file.
    pub fn restore<E>(size: u64, mut read: impl FnMut(Tile) -> Result<Vec<u8>, E>) -> Result<Self, RestoreError<E>> {
        let mut levels = Vec::new();
        for level in (0..LEVELS).take_while(|level| size >> (8 * u32::from(*level)) > 0) {
            let index = size >> (8 * (u32::from(level) + 1));
            levels.push(match Tile::of(Kind::Hashes(level), index, size) {
                Some(tile) => {
                    let bytes = read(tile).map_err(RestoreError::Read)?;
                    tile.hashes(&bytes).map_err(|error| RestoreError::Tile { tile, error })?
                }
                None => Vec::new(),
            });
        }
        let roots: Vec<Digest> = levels.iter().rev().flat_map(|hashes| perfect_roots(hashes)).collect();
        // As many roots as the size has bits set: each level's hashes are eight of its bits.
        let range = CompactRange::from_roots(size, roots).unwrap_or_default();
        let mut growing = Self { range, levels, ..Self::default() };
        if let Some(tile) = Tile::of(Kind::Entries, size / WIDTH, size) {
            growing.restore_bundle(tile, &mut read)?;
        }
        Ok(growing)
    }

    fn restore_bundle<E>(
        &mut self,
        tile: Tile,
        read: &mut impl FnMut(Tile) -> Result<Vec<u8>, E>,
    ) -> Result<(), RestoreError<E>> {
        let private = tile.beside(Kind::Private);
        self.entries = read(tile).map_err(RestoreError::Read)?;
        let secret = read(private).map_err(RestoreError::Read)?;
        let entries = tile.parts(&self.entries).map_err(|error| RestoreError::Tile { tile, error })?;
        let privates = private.parts(&secret).map_err(|error| RestoreError::Tile { tile: private, error })?;
        let hashes = self.levels.first().map(Vec::as_slice).unwrap_or_default();
        for (index, ((public, secret), hash)) in (tile.index * WIDTH..).zip(entries.iter().zip(privates).zip(hashes)) {
            if leaf_hash(public) != *hash {
                return Err(RestoreError::Entry { index, tile });
            }
            if !is_private_part(public, secret) {
                return Err(RestoreError::Private { index, tile: private });
            }
        }
        Ok(())
    }

    /// Adds an entry by its public bytes. Tiles that it fills go to `full`.
    ///
    /// # Errors
    /// [`TileError::Length`] if the entry is longer than a bundle can say.
    pub fn push(&mut self, public: &[u8], full: &mut Vec<(Tile, Vec<u8>)>) -> Result<(), TileError> {
        let length = u16::try_from(public.len()).map_err(|_| TileError::Length)?;
        self.entries.extend_from_slice(&length.to_be_bytes());
        self.entries.extend_from_slice(public);
        let mut hash = leaf_hash(public);
        self.range.append(hash);
        for level in 0..LEVELS {
            let at = usize::from(level);
            if self.levels.len() <= at {
                self.levels.push(Vec::new());
            }
            self.levels[at].push(hash);
            if (self.levels[at].len() as u64) < WIDTH {
                break;
            }
            let index = (self.size() >> (8 * (u32::from(level) + 1))) - 1;
            let hashes = std::mem::take(&mut self.levels[at]);
            let tile = |kind| Tile { kind, index, width: WIDTH as u16 };
            if level == 0 {
                full.push((tile(Kind::Entries), std::mem::take(&mut self.entries)));
            }
            full.push((tile(Kind::Hashes(level)), concat(&hashes)));
            hash = perfect_root(&hashes);
        }
        Ok(())
    }

    /// The tiles that are partial now: with the full ones that came before, all that a log of this size has, but for private parts.
    pub fn partials(&self) -> Vec<(Tile, Vec<u8>)> {
        let mut partials = Vec::new();
        for (level, hashes) in (0..LEVELS).zip(&self.levels).filter(|(_, hashes)| !hashes.is_empty()) {
            let index = self.size() >> (8 * (u32::from(level) + 1));
            let tile = |kind| Tile { kind, index, width: hashes.len() as u16 };
            if level == 0 {
                partials.push((tile(Kind::Entries), self.entries.clone()));
            }
            partials.push((tile(Kind::Hashes(level)), concat(hashes)));
        }
        partials
    }

    /// How many entries it has.
    pub fn size(&self) -> u64 {
        self.range.size()
    }

    /// The RFC 6962 root over all of them.
    pub fn root(&self) -> Digest {
        self.range.root()
    }
}

/// Whether `private` is what `public` says its private part is, or was erased.
pub fn is_private_part(public: &[u8], private: &[u8]) -> bool {
    private.is_empty() || Entry::read(public).is_ok_and(|entry| entry.private == Private::hash(private))
}

/// The root over a power of two of hashes.
pub(super) fn perfect_root(hashes: &[Digest]) -> Digest {
    match hashes {
        [] => empty_root(),
        [hash] => *hash,
        _ => {
            let (left, right) = hashes.split_at(hashes.len() / 2);
            node_hash(&perfect_root(left), &perfect_root(right))
        }
    }
}

/// The roots of the perfect subtrees that these hashes make up, largest first.
fn perfect_roots(mut hashes: &[Digest]) -> Vec<Digest> {
    let mut roots = Vec::new();
    while !hashes.is_empty() {
        let (subtree, rest) = hashes.split_at(1 << hashes.len().ilog2());
        roots.push(perfect_root(subtree));
        hashes = rest;
    }
    roots
}

fn concat(hashes: &[Digest]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| *hash.as_bytes()).collect()
}
