//! The published vectors, `vectors/log-v1.json`: made by another program.

use std::fmt::Write;

use data_encoding::HEXLOWER;
use serde_json::Value;
use strongroom_core::identity::sha256;
use strongroom_core::ids::Digest;
use strongroom_core::ledger::checkpoint::Checkpoint;
use strongroom_core::ledger::proof::{TileHashes, check_consistency, check_inclusion, consistency, inclusion, root};
use strongroom_core::ledger::tile::{Kind, Tile};
use strongroom_core::ledger::tree::leaf_hash;
use strongroom_core::ledger::verify::{CHECKPOINT, Expected, LOG_KEYS, check_log};

use crate::sample::{Files, entry, verifier};

fn digest(value: &Value) -> Digest {
    value.as_str().unwrap().parse().unwrap()
}

fn digests(value: &Value) -> Vec<Digest> {
    value.as_array().unwrap().iter().map(digest).collect()
}

/// All hashes of a log.
fn hashes(files: &Files, size: u64) -> TileHashes {
    let mut hashes = TileHashes::new(size);
    for (name, bytes) in &files.0 {
        if let Ok(tile) = name.parse::<Tile>()
            && matches!(tile.kind(), Kind::Hashes(_))
        {
            hashes.insert(tile, bytes).unwrap();
        }
    }
    hashes
}

#[test]
fn logs_are_those_of_the_vectors() {
    let vectors: Value = serde_json::from_str(include_str!("../vectors/log-v1.json")).unwrap();
    assert_eq!(vectors["vkey"].as_str().unwrap(), verifier().to_string());
    let logs = vectors["logs"].as_array().unwrap();
    assert_eq!(logs.len(), 11);
    for log in logs {
        let size = log["size"].as_u64().unwrap();
        let mut files = Files::of_size(size);
        let note = String::from_utf8(files.0[CHECKPOINT].clone()).unwrap();
        assert_eq!(log["note"].as_str().unwrap(), note, "Ed25519 signs one way");
        let (checkpoint, _) = Checkpoint::open(note.as_bytes(), &[verifier()]).unwrap();
        assert_eq!((checkpoint.size.0, checkpoint.root), (size, digest(&log["root"])));

        let mut listing = String::new();
        for (name, bytes) in files.0.iter().filter(|(name, _)| *name != CHECKPOINT && *name != LOG_KEYS) {
            writeln!(listing, "{} {name}", HEXLOWER.encode(&sha256(bytes))).unwrap();
        }
        assert_eq!(log["files"].as_u64().unwrap(), listing.lines().count() as u64, "files of {size}");
        assert_eq!(log["listing"].as_str().unwrap(), HEXLOWER.encode(&sha256(listing.as_bytes())), "files of {size}");
        let checked = check_log(&mut files, &Expected::default(), |_, _| (), |_, _, _| Ok(())).unwrap();
        assert_eq!(checked, (checkpoint, verifier(), None));

        let hashes = hashes(&files, size);
        let log_root = digest(&log["root"]);
        assert_eq!(root(&hashes, size), Ok(log_root));
        for vector in log["inclusion"].as_array().unwrap() {
            let (index, proof) = (vector["index"].as_u64().unwrap(), digests(&vector["proof"]));
            assert_eq!(inclusion(&hashes, index, size), Ok(proof.clone()), "{index} in {size}");
            check_inclusion(leaf_hash(&entry(index)), index, size, &log_root, &proof).unwrap();
        }
        for vector in log["consistency"].as_array().unwrap() {
            let (old, proof) = (vector["old"].as_u64().unwrap(), digests(&vector["proof"]));
            assert_eq!(consistency(&hashes, old, size), Ok(proof.clone()), "{old} to {size}");
            check_consistency((old, &digest(&vector["root"])), (size, &log_root), &proof).unwrap();
        }
    }
}
