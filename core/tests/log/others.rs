//! Another program, `verify_log.py`, checks what is written here: it shares no code with strongroom.

use std::fmt::Write;
use std::fs;
use std::process::Command;

use data_encoding::{BASE64, HEXLOWER};
use strongroom_core::ids::{Digest, Index};
use strongroom_core::ledger::checkpoint::Checkpoint;
use strongroom_core::ledger::proof::{Lacking, Receipt, TileHashes, consistency, inclusion};
use strongroom_core::ledger::verify::CHECKPOINT;
use strongroom_test_services::on_python;

use crate::sample::{Files, entry, verifier};

/// Proofs and a receipt of a log of this size, as lines.
fn write_proofs(files: &Files, size: u64) -> (String, Option<Receipt>) {
    let mut hashes = TileHashes::new(size);
    let mut prove = |work: &dyn Fn(&TileHashes) -> Result<Vec<Digest>, Lacking>| loop {
        match work(&hashes) {
            Ok(proof) => return proof,
            Err(Lacking(tile)) => hashes.insert(tile, &files.0[&tile.to_string()]).unwrap(),
        }
    };
    let mut lines = String::new();
    let mut line = |kind: &str, at: u64, proof: &[Digest]| {
        write!(lines, "{kind} {at} {size}").unwrap();
        proof.iter().for_each(|hash| write!(lines, " {}", BASE64.encode(hash.as_bytes())).unwrap());
        lines.push('\n');
    };
    for at in [0, 1, 254, 255, 256, 257, 65_535, 65_536, size / 2, size.saturating_sub(1)] {
        if at < size {
            line("inclusion", at, &prove(&|hashes| inclusion(hashes, at, size)));
            line("consistency", at, &prove(&|hashes| consistency(hashes, at, size)));
        }
    }
    line("consistency", size, &prove(&|hashes| consistency(hashes, size, size)));
    let receipt = size.checked_sub(1).map(|last| Receipt {
        entry: entry(last),
        index: Index(last),
        proof: prove(&|hashes| inclusion(hashes, last, size)),
        checkpoint: files.0[CHECKPOINT].clone(),
    });
    (lines, receipt)
}

fn check_by_others(size: u64) {
    let files = Files::of_size(size);
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("log");
    for (name, bytes) in &files.0 {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    let (lines, receipt) = write_proofs(&files, size);
    fs::write(parent.path().join("log-proofs"), &lines).unwrap();
    if let Some(receipt) = &receipt {
        fs::write(parent.path().join("log-receipt"), receipt.to_bytes()).unwrap();
    }
    let run = || {
        let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/log/verify_log.py");
        Command::new("python3").arg("-B").arg(program).arg(&folder).output().unwrap()
    };
    let said = run();
    let errors = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.status.success(), "{size}: {errors}");
    let (checkpoint, _) = Checkpoint::open(&files.0[CHECKPOINT], &[verifier()]).unwrap();
    let proofs = lines.lines().count() + usize::from(receipt.is_some());
    let verdict = format!("{size} {} {proofs}\n", HEXLOWER.encode(checkpoint.root.as_bytes()));
    assert_eq!(String::from_utf8(said.stdout).unwrap(), verdict);
    // And it would say so if something were wrong.
    for name in [CHECKPOINT, "tile/0/000", "tile/entries/000.p/1", "tile/1/000.p/1"] {
        let Some(bytes) = files.0.get(name) else { continue };
        let mut changed = bytes.clone();
        let at = changed.len() / 2;
        changed[at] ^= 1;
        fs::write(folder.join(name), changed).unwrap();
        assert!(!run().status.success(), "{size}: {name}");
        fs::write(folder.join(name), bytes).unwrap();
    }
}

on_python! {
    #[test]
    fn another_program_verifies_logs_of_all_shapes() {
        for size in [0, 1, 255, 256, 257] {
            check_by_others(size);
        }
    }

    #[test]
    fn another_program_verifies_a_log_of_three_rows_and_one_entry() {
        check_by_others(65_537);
    }

    #[test]
    fn another_program_verifies_a_log_of_70_000() {
        check_by_others(70_000);
    }
}
