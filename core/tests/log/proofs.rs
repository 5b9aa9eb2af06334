//! Proofs of all sizes: what is true is proven, and nothing else is.

use std::convert::Infallible;

use proptest::prelude::*;
use strongroom_core::ids::{Digest, Index};
use strongroom_core::ledger::proof::{
    Hashes, Lacking, Receipt, TileHashes, check_consistency, check_inclusion, consistency, inclusion, root,
};
use strongroom_core::ledger::tile::{Growing, Kind, RestoreError, Tile};
use strongroom_core::ledger::tree::{leaf_hash, node_hash};
use strongroom_core::ledger::verify::CHECKPOINT;

use crate::sample::{Files, entry, private};

/// All perfect subtrees of a log, row by row.
struct Rows(Vec<Vec<Digest>>);

impl Rows {
    fn new(size: u64) -> Self {
        let mut rows = vec![(0..size).map(|index| leaf_hash(&entry(index))).collect::<Vec<_>>()];
        while rows.last().unwrap().len() > 1 {
            let (pairs, _) = rows.last().unwrap().as_chunks::<2>();
            rows.push(pairs.iter().map(|[left, right]| node_hash(left, right)).collect());
        }
        Self(rows)
    }
}

impl Hashes for Rows {
    type Error = Infallible;

    fn hash(&self, level: u32, index: u64) -> Result<Digest, Infallible> {
        Ok(self.0[level as usize][index as usize])
    }
}

fn flipped(digest: &Digest, bit: usize) -> Digest {
    let mut bytes = *digest.as_bytes();
    bytes[bit / 8 % 32] ^= 1 << (bit % 8);
    Digest::from_bytes(bytes)
}

/// An inclusion proof holds, and not with one thing of it changed.
fn check_entry(rows: &Rows, index: u64, size: u64, bit: usize) {
    let (leaf, top) = (leaf_hash(&entry(index)), root(rows, size).unwrap());
    let proof = inclusion(rows, index, size).unwrap();
    let holds =
        |leaf, index, size, top: &Digest, proof: &[Digest]| check_inclusion(leaf, index, size, top, proof).is_ok();
    assert!(holds(leaf, index, size, &top, &proof), "{index} of {size}");
    assert!(!holds(flipped(&leaf, bit), index, size, &top, &proof));
    assert!(!holds(leaf, index, size, &flipped(&top, bit), &proof));
    assert!(!holds(leaf, index + 1, size, &top, &proof), "{index} + 1 of {size}");
    for at in 0..proof.len() {
        let mut changed = proof.clone();
        changed[at] = flipped(&changed[at], bit);
        assert!(!holds(leaf, index, size, &top, &changed), "{index} of {size}, hash {at}");
        changed.remove(at);
        assert!(!holds(leaf, index, size, &top, &changed), "{index} of {size}, without hash {at}");
    }
    assert!(!holds(leaf, index, size, &top, &[&proof[..], &[top]].concat()));
}

/// A consistency proof holds, and not with one thing of it changed.
fn check_sizes(rows: &Rows, old: u64, new: u64, bit: usize) {
    let (old_root, new_root) = (root(rows, old).unwrap(), root(rows, new).unwrap());
    let proof = consistency(rows, old, new).unwrap();
    let holds = |a: &Digest, b: &Digest, proof: &[Digest]| check_consistency((old, a), (new, b), proof).is_ok();
    assert!(holds(&old_root, &new_root, &proof), "{old} to {new}");
    assert!(!holds(&flipped(&old_root, bit), &new_root, &proof), "{old} to {new}");
    if old > 0 {
        // Of an empty log, every log is a continuation.
        assert!(!holds(&old_root, &flipped(&new_root, bit), &proof), "{old} to {new}");
    }
    for at in 0..proof.len() {
        let mut changed = proof.clone();
        changed[at] = flipped(&changed[at], bit);
        assert!(!holds(&old_root, &new_root, &changed), "{old} to {new}, hash {at}");
        changed.remove(at);
        assert!(!holds(&old_root, &new_root, &changed), "{old} to {new}, without hash {at}");
    }
    assert!(!holds(&old_root, &new_root, &[&proof[..], &[new_root]].concat()), "{old} to {new}");
    if old < new {
        assert!(check_consistency((new, &new_root), (old, &old_root), &proof).is_err());
    }
}

#[test]
fn every_size_up_to_1100() {
    let rows = Rows::new(1100);
    for size in 1..=1100 {
        for index in [0, 1, size / 2, size - 1].into_iter().filter(|index| *index < size) {
            check_entry(&rows, index, size, (size * 31 + index) as usize);
        }
        for old in [0, 1, size / 3, size - 1, size] {
            check_sizes(&rows, old, size, (size * 17 + old) as usize);
        }
    }
    // And every pair of the small ones.
    for size in 1..=70 {
        (0..size).for_each(|index| check_entry(&rows, index, size, index as usize));
        (0..=size).for_each(|old| check_sizes(&rows, old, size, old as usize));
    }
}

/// A proof out of tiles asks for the tiles that it needs, one after the other.
fn from_tiles<T>(files: &Files, size: u64, work: impl Fn(&TileHashes) -> Result<T, Lacking>) -> T {
    let mut hashes = TileHashes::new(size);
    loop {
        match work(&hashes) {
            Ok(done) => return done,
            Err(Lacking(tile)) => hashes.insert(tile, &files.0[&tile.to_string()]).unwrap(),
        }
    }
}

#[test]
fn tiles_give_the_same_proofs() {
    let rows = Rows::new(70_000);
    for size in [1, 255, 256, 257, 511, 512, 65_535, 65_536, 65_537, 70_000] {
        let files = Files::of_size(size);
        assert_eq!(from_tiles(&files, size, |hashes| root(hashes, size)), root(&rows, size).unwrap());
        for index in [0, 255, 256, 65_535, 65_536, size / 2, size - 1].into_iter().filter(|index| *index < size) {
            let proof = from_tiles(&files, size, |hashes| inclusion(hashes, index, size));
            assert_eq!(proof, inclusion(&rows, index, size).unwrap(), "{index} of {size}");
            let proof = from_tiles(&files, size, |hashes| consistency(hashes, index, size));
            assert_eq!(proof, consistency(&rows, index, size).unwrap(), "{index} to {size}");
        }
    }
}

#[test]
fn a_receipt_is_what_it_was_and_proves_its_entry_alone() {
    let files = Files::of_size(300);
    let checkpoint = files.0[CHECKPOINT].clone();
    let proof = from_tiles(&files, 300, |hashes| inclusion(hashes, 257, 300));
    let receipt = Receipt { entry: entry(257), index: Index(257), proof, checkpoint };
    let bytes = receipt.to_bytes();
    assert_eq!(Receipt::from_bytes(&bytes), Some(receipt.clone()));
    let top = root(&Rows::new(300), 300).unwrap();
    receipt.check(Index(300), &top).unwrap();
    assert!(Receipt { entry: entry(256), ..receipt.clone() }.check(Index(300), &top).is_err());
    assert!(Receipt { index: Index(256), ..receipt.clone() }.check(Index(300), &top).is_err());
    let end = bytes.windows(2).position(|pair| pair == b"\n\n").unwrap();
    for at in 0..end {
        assert_eq!(Receipt::from_bytes(&bytes[..at]), None);
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        let holds = Receipt::from_bytes(&changed).is_some_and(|read| read.check(Index(300), &top).is_ok());
        assert!(!holds, "byte {at}");
    }
}

#[test]
fn a_log_grows_on_from_its_files() {
    for size in [0, 1, 255, 256, 257, 511, 512, 65_535, 65_536, 65_537] {
        let files = Files::of_size(size);
        let mut grown = Growing::default();
        (0..size).for_each(|index| grown.push(&entry(index), &mut Vec::new()).unwrap());
        let read = |tile: Tile| files.0.get(&tile.to_string()).cloned().ok_or(tile);
        // What these entries say of their private parts is not an entry's, so parts that were not erased do not fit.
        match Growing::restore(size, read) {
            Ok(restored) => assert_eq!(restored, grown, "{size}"),
            Err(RestoreError::Private { index, .. }) => assert!(!private(index).is_empty(), "{size}"),
            Err(error) => panic!("{size}: {error}"),
        }
        for tile in Growing::tail(size) {
            let without = |wanted: Tile| if wanted == tile { Err(tile) } else { read(wanted) };
            assert!(matches!(Growing::restore(size, without), Err(RestoreError::Read(missing)) if missing == tile));
            let cut =
                |wanted: Tile| read(wanted).map(|bytes| bytes[..bytes.len() - usize::from(wanted == tile)].to_vec());
            assert!(matches!(Growing::restore(size, cut), Err(RestoreError::Tile { tile: cut, .. }) if cut == tile));
        }
    }
}

proptest! {
    #[test]
    fn any_size(size in 1_u64..5_000, at in 0_u64..5_000, bit in 0_usize..256) {
        let rows = Rows::new(size);
        check_entry(&rows, at % size, size, bit);
        check_sizes(&rows, at % (size + 1), size, bit);
    }

    #[test]
    fn a_tile_has_one_path(level in 0_u8..9, index in 0_u64..1 << 55, width in 0_u64..300) {
        for kind in [Kind::Hashes(level), Kind::Entries, Kind::Private] {
            if let Some(tile) = Tile::new(kind, index, width) {
                prop_assert_eq!(tile.to_string().parse(), Ok(tile));
            }
        }
    }

    #[test]
    fn nothing_but_paths_is_a_path(text in "(tile|private|tile/entries)?/?(0/)?(x?[0-9]{1,4}/?){0,3}(.p/[0-9]{0,3})?") {
        if let Ok(tile) = text.parse::<Tile>() {
            prop_assert_eq!(tile.to_string(), text);
        }
    }

    #[test]
    fn a_tile_is_cut_out_of_a_wider_one(wider in 1_u64..=256, narrower in 1_u64..=256) {
        let (wider, narrower) = (wider.max(narrower), wider.min(narrower));
        let (wide, narrow) = (Files::of_size(wider), Files::of_size(narrower));
        for kind in [Kind::Hashes(0), Kind::Entries, Kind::Private] {
            let (from, to) = (Tile::of(kind, 0, wider).unwrap(), Tile::of(kind, 0, narrower).unwrap());
            prop_assert_eq!(to.cut(&wide.0[&from.to_string()]).unwrap(), &narrow.0[&to.to_string()][..]);
            if wider > narrower {
                prop_assert!(from.cut(&narrow.0[&to.to_string()]).is_err());
            }
        }
    }
}
