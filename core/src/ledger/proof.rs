//! Proofs: that an entry is in a log, and that a log was only ever added to (RFC 6962 §2.1).
//!
//! A proof is made from hashes of perfect subtrees, which [`Hashes`] gives: [`TileHashes`] does out of tiles, and says which one
//! it lacks, so that whoever has to fetch them asks, fetches, and asks again. It is checked from nothing but itself.

use std::collections::HashMap;

use data_encoding::BASE64;

use crate::ids::{Digest, Index};
use crate::ledger::tile::{Kind, Tile, TileError, WIDTH};
use crate::ledger::tree::{empty_root, leaf_hash, node_hash};

/// The longest proof: one hash for each level of the tree.
pub const MAX_PROOF: usize = 64;

/// The hashes of perfect subtrees.
pub trait Hashes {
    /// Why one cannot be had.
    type Error;

    /// The root over the entries `index · 2^level` to `(index + 1) · 2^level − 1`.
    ///
    /// # Errors
    /// If it cannot be had.
    fn hash(&self, level: u32, index: u64) -> Result<Digest, Self::Error>;
}

/// A proof that does not prove it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the proof does not hold")]
pub struct BadProof;

/// The root over the first `size` entries.
///
/// # Errors
/// As [`Hashes::hash`].
pub fn root<H: Hashes>(hashes: &H, size: u64) -> Result<Digest, H::Error> {
    if size == 0 { Ok(empty_root()) } else { range(hashes, 0, size) }
}

/// The proof that entry `index` is in the log of the first `size`: the sibling hashes from its leaf to the root. `index < size`.
///
/// # Errors
/// As [`Hashes::hash`].
pub fn inclusion<H: Hashes>(hashes: &H, index: u64, size: u64) -> Result<Vec<Digest>, H::Error> {
    let mut proof = Vec::new();
    let (mut start, mut end) = (0, size);
    while end - start > 1 {
        let middle = start + split(end - start);
        if index < middle {
            proof.push(range(hashes, middle, end)?);
            end = middle;
        } else {
            proof.push(range(hashes, start, middle)?);
            start = middle;
        }
    }
    proof.reverse();
    Ok(proof)
}

/// The proof that the log of the first `new` entries begins with the log of the first `old`: `old ≤ new`. Of an empty log, and of
/// the same, it is empty.
///
/// # Errors
/// As [`Hashes::hash`].
pub fn consistency<H: Hashes>(hashes: &H, old: u64, new: u64) -> Result<Vec<Digest>, H::Error> {
    if old == 0 || old == new {
        return Ok(Vec::new());
    }
    let mut proof = Vec::new();
    let (mut start, mut end) = (0, new);
    let mut whole = true;
    while old != end {
        let middle = start + split(end - start);
        if old <= middle {
            proof.push(range(hashes, middle, end)?);
            end = middle;
        } else {
            proof.push(range(hashes, start, middle)?);
            start = middle;
            whole = false;
        }
    }
    if !whole {
        proof.push(range(hashes, start, end)?);
    }
    proof.reverse();
    Ok(proof)
}

/// Checks that the entry with this leaf hash is entry `index` of the log of this size and root (RFC 9162 §2.1.3.2).
///
/// # Errors
/// [`BadProof`].
pub fn check_inclusion(leaf: Digest, index: u64, size: u64, root: &Digest, proof: &[Digest]) -> Result<(), BadProof> {
    if index >= size || proof.len() > MAX_PROOF {
        return Err(BadProof);
    }
    let (mut at, mut last, mut hash) = (index, size - 1, leaf);
    for sibling in proof {
        if last == 0 {
            return Err(BadProof);
        }
        if at & 1 == 1 || at == last {
            hash = node_hash(sibling, &hash);
            while at & 1 == 0 && at != 0 {
                (at, last) = (at >> 1, last >> 1);
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    if last == 0 && hash == *root { Ok(()) } else { Err(BadProof) }
}

/// Checks that the log of `new` begins with the log of `old`, each a size and a root (RFC 9162 §2.1.4.2).
///
/// # Errors
/// [`BadProof`].
pub fn check_consistency(old: (u64, &Digest), new: (u64, &Digest), proof: &[Digest]) -> Result<(), BadProof> {
    let ((old, old_root), (new, new_root)) = (old, new);
    if old > new || proof.len() > MAX_PROOF {
        return Err(BadProof);
    }
    if old == new || old == 0 {
        let is_root = if old == 0 { *old_root == empty_root() } else { old_root == new_root };
        return if proof.is_empty() && is_root { Ok(()) } else { Err(BadProof) };
    }
    let mut rest = proof.iter();
    let first = if old.is_power_of_two() { old_root } else { rest.next().ok_or(BadProof)? };
    let (mut at, mut last) = (old - 1, new - 1);
    while at & 1 == 1 {
        (at, last) = (at >> 1, last >> 1);
    }
    let (mut of_old, mut of_new) = (*first, *first);
    for hash in rest {
        if last == 0 {
            return Err(BadProof);
        }
        if at & 1 == 1 || at == last {
            (of_old, of_new) = (node_hash(hash, &of_old), node_hash(hash, &of_new));
            while at & 1 == 0 && at != 0 {
                (at, last) = (at >> 1, last >> 1);
            }
        } else {
            of_new = node_hash(&of_new, hash);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    if last == 0 && of_old == *old_root && of_new == *new_root { Ok(()) } else { Err(BadProof) }
}

/// The root over entries `start` to `end − 1`, where `start` is a multiple of the largest power of two that fits.
fn range<H: Hashes>(hashes: &H, start: u64, end: u64) -> Result<Digest, H::Error> {
    let count = end - start;
    if count.is_power_of_two() {
        let level = count.trailing_zeros();
        return hashes.hash(level, start >> level);
    }
    let middle = start + split(count);
    Ok(node_hash(&range(hashes, start, middle)?, &range(hashes, middle, end)?))
}

/// The largest power of two below `count`, which is at least 2.
fn split(count: u64) -> u64 {
    count.next_power_of_two() / 2
}

/// The hashes of a log of some size, out of its tiles.
#[derive(Debug, Default)]
pub struct TileHashes {
    size: u64,
    /// Each tile's hashes, and those of the pairs of them, and so on: many proofs take the same.
    tiles: HashMap<Tile, Vec<Vec<Digest>>>,
}

/// The tile that a hash is to be had from, and that is not there yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lacking(pub Tile);

impl TileHashes {
    /// Of a log of this size, without any tile yet.
    pub fn new(size: u64) -> Self {
        Self { size, tiles: HashMap::new() }
    }

    /// Takes a tile's hashes in.
    pub fn put(&mut self, tile: Tile, hashes: Vec<Digest>) {
        self.tiles.insert(tile, rows(hashes));
    }

    /// Takes a tile in.
    ///
    /// # Errors
    /// [`TileError`] if it does not hold what it should.
    pub fn insert(&mut self, tile: Tile, bytes: &[u8]) -> Result<(), TileError> {
        self.put(tile, tile.hashes(bytes)?);
        Ok(())
    }
}

impl Hashes for TileHashes {
    type Error = Lacking;

    fn hash(&self, level: u32, index: u64) -> Result<Digest, Lacking> {
        let (row, below) = ((level / 8) as u8, level % 8);
        let first = index << below;
        // Within a log of this size, every perfect subtree lies in one tile of its row.
        let Some(tile) = Tile::of(Kind::Hashes(row), first / WIDTH, self.size) else { return Ok(empty_root()) };
        let rows = self.tiles.get(&tile).ok_or(Lacking(tile))?;
        let at = (first % WIDTH) as usize >> below;
        Ok(rows.get(below as usize).and_then(|row| row.get(at)).copied().unwrap_or_else(empty_root))
    }
}

/// Hashes, those of each two of them, and so on up to one.
fn rows(hashes: Vec<Digest>) -> Vec<Vec<Digest>> {
    let mut rows = vec![hashes];
    while let Some(row) = rows.last().filter(|row| row.len() > 1) {
        let above = row.as_chunks::<2>().0.iter().map(|[left, right]| node_hash(left, right)).collect();
        rows.push(above);
    }
    rows
}

/// The hashes of a log but for those in one full bundle, which need not be had.
struct Around<'a> {
    hashes: &'a TileHashes,
    number: u64,
}

impl Hashes for Around<'_> {
    type Error = Lacking;

    fn hash(&self, level: u32, index: u64) -> Result<Digest, Lacking> {
        match level <= 8 && (index << level) / WIDTH == self.number {
            true => Ok(empty_root()),
            false => self.hashes.hash(level, index),
        }
    }
}

/// The hashes of a proof that lie in a full bundle: of an entry, of two, and so on up to 128.
const ROWS: usize = 8;

/// The tree over the entries of one full bundle, so that proofs of many of them are made of one look at it.
#[derive(Debug, Clone)]
pub struct BundleTree(Vec<Vec<Digest>>);

impl BundleTree {
    /// Over these leaf hashes; `None` if they are not 256.
    pub fn new(leaves: Vec<Digest>) -> Option<Self> {
        if leaves.len() as u64 != WIDTH {
            return None;
        }
        Some(Self(rows(leaves)))
    }

    /// The root over them.
    pub fn root(&self) -> Digest {
        self.0.last().and_then(|row| row.first()).copied().unwrap_or_else(empty_root)
    }

    /// Their hashes, in their order.
    pub fn leaves(&self) -> &[Digest] {
        self.0.first().map_or(&[], Vec::as_slice)
    }

    /// The part of a proof of entry `place` that lies in the bundle: what comes first in it.
    pub fn siblings(&self, place: usize) -> Vec<Digest> {
        let sibling = |(row, hashes): (usize, &Vec<Digest>)| hashes.get((place >> row) ^ 1).copied();
        self.0.iter().take(ROWS).enumerate().filter_map(sibling).collect()
    }
}

/// The part of a proof that lies above full bundle `number`: with [`BundleTree::siblings`] before it, it is one of an entry in there.
///
/// # Errors
/// As [`Hashes::hash`].
pub fn above(hashes: &TileHashes, number: u64, size: u64) -> Result<Vec<Digest>, Lacking> {
    // What lies in the bundle is cut off again, so it need not be there.
    let mut proof = inclusion(&Around { hashes, number }, number * WIDTH, size)?;
    Ok(proof.split_off(ROWS.min(proof.len())))
}

/// What proves offline that an entry is in a log: C2SP's `tlog-proof`.
///
/// ```text
/// c2sp.org/tlog-proof@v1
/// extra <base64 of the entry's public bytes>
/// index 73894
/// gSKyXoYZUgZ6jduWYrkDOARinOMGJveXjgMkBTcdPlQ=       the proof, from the leaf's sibling to the root's child
/// …
///
/// <the checkpoint>
/// ```
///
/// The format does not authenticate what it calls extra. Here it is the entry, and the proof is of its hash: it needs no other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The entry's public bytes.
    pub entry: Vec<u8>,
    /// Its index.
    pub index: Index,
    /// The inclusion proof.
    pub proof: Vec<Digest>,
    /// The signed checkpoint.
    pub checkpoint: Vec<u8>,
}

const FIRST: &str = "c2sp.org/tlog-proof@v1";

impl Receipt {
    /// The text of the file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut text = format!("{FIRST}\nextra {}\nindex {}\n", BASE64.encode(&self.entry), self.index);
        for hash in &self.proof {
            text.push_str(&BASE64.encode(hash.as_bytes()));
            text.push('\n');
        }
        [text.as_bytes(), b"\n", &self.checkpoint].concat()
    }

    /// Reads the text of a file; `None` if it is no receipt.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let at = bytes.windows(2).position(|pair| pair == b"\n\n")?;
        let mut lines = std::str::from_utf8(&bytes[..at]).ok()?.split('\n');
        if lines.next()? != FIRST {
            return None;
        }
        let entry = BASE64.decode(lines.next()?.strip_prefix("extra ")?.as_bytes()).ok()?;
        let index = Index(lines.next()?.strip_prefix("index ")?.parse().ok()?);
        let hash = |line: &str| Digest::try_from(&BASE64.decode(line.as_bytes()).ok()?[..]).ok();
        let proof = lines.take(MAX_PROOF + 1).map(hash).collect::<Option<Vec<_>>>()?;
        let receipt = Self { entry, index, proof, checkpoint: bytes[at + 2..].to_vec() };
        (receipt.to_bytes() == bytes).then_some(receipt)
    }

    /// Checks that the entry is in the log of this size and root, where the checkpoint was found to be signed.
    ///
    /// # Errors
    /// [`BadProof`].
    pub fn check(&self, size: Index, root: &Digest) -> Result<(), BadProof> {
        check_inclusion(leaf_hash(&self.entry), self.index.0, size.0, root, &self.proof)
    }
}
