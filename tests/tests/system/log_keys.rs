//! `key rotate --log`: another key signs a ledger's checkpoints, and everybody who knew the one before follows, and nobody else is
//! believed.

use bytes::Bytes;
use serde_json::Value;
use strongroom_client::PutOptions;
use strongroom_client::log::Cover;
use strongroom_test_services::{on_postgres_alone, on_python};
use strongroom_tests::{TestVault, tamper};

use crate::export::{exported, serve};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_knew_the_first_key_follows_a_rotation() {
    let mut shell = exported();
    let keys = |shell: &mut strongroom_tests::shell::Shell| -> Vec<String> {
        let said = shell.run("strongroom --home ./vault/operator tenant show acme --output json").ok();
        let shown: Value = serde_json::from_str(said.text()).unwrap();
        shown["log_keys"].as_array().unwrap().iter().map(|key| key["key"].as_str().unwrap().to_owned()).collect()
    };
    let [first] = &keys(&mut shell)[..] else { panic!("one key") };
    let first = first.clone();
    let watch = "strongroom --home lab audit watch acme --state watch/ --once --cosign watch.acme.example";
    shell.run(watch).ok();
    shell.run("strongroom audit verify acme-ledger/ --snapshot acme.snapshot").ok();
    shell.write("seen", shell.read("acme-ledger/checkpoint"));
    shell.run("strongroom --home labelco get acme/rlhf/math/000003.json -o item.json --receipt old.tlog-proof").ok();
    for round in 2..4 {
        let said = shell.run("strongroom --home lab key rotate acme --log --output json").ok();
        let rotated: Value = serde_json::from_str(said.text()).unwrap();
        assert_eq!(rotated["version"], round);
        assert_eq!(keys(&mut shell).last().unwrap(), rotated["log_key"].as_str().unwrap());
        // Another process goes on with it.
        assert!(shell.server().terminate().success());
        serve(&mut shell);
        shell.run("strongroom --home labelco cat acme/rlhf/math/000007.json --receipt new.tlog-proof").ok();
        // What was seen before is continued: by the home, the export, its snapshot and a monitor.
        shell.run("strongroom --home lab audit export acme -o acme-ledger/").ok();
        assert_eq!(shell.read("acme-ledger/log-keys").lines().count(), round);
        for key in keys(&mut shell) {
            shell.run(&format!("strongroom audit verify acme-ledger/ --since seen --key {key}")).ok();
        }
        shell.run("strongroom audit verify acme-ledger/ --snapshot acme.snapshot").ok();
        shell.run(&format!("{watch} --log-key {first}")).ok();
        shell.run("strongroom --home lab ledger check acme").ok();
        shell.run(&format!("strongroom audit verify old.tlog-proof --key {first}")).ok();
        shell.run(&format!("strongroom audit verify new.tlog-proof --key {first}")).fails(5, "INTEGRITY");
        let follow = format!("strongroom audit verify new.tlog-proof --key {first} --log-keys acme-ledger/log-keys");
        shell.run(&follow).ok();
    }
    let shown = shell.run("strongroom --home ./vault/operator tenant show acme").ok();
    assert_eq!(shown.text().matches(" since entry ").count(), 2, "{}", shown.text());
    let log = shell.run("strongroom --home lab audit log acme --event log_key.rotated").ok();
    assert!(log.text().contains("key 3 signs the ledger's checkpoints"), "{}", log.text());
    // A witness's word of before stands, and an export has it.
    let witness = shell.run(watch).ok().stderr.split_whitespace().find(|word| word.contains('+')).unwrap().to_owned();
    shell.run("strongroom --home lab audit export acme -o acme-ledger/").ok();
    shell.run(&format!("strongroom audit verify acme-ledger/ --witness {witness}")).ok();
    // Keys that were cut, exchanged or put in are refused.
    let good = shell.read("acme-ledger/log-keys");
    let lines: Vec<&str> = good.lines().collect();
    for changed in [
        format!("{}\n", lines[0]),
        format!("{}\n{}\n", lines[0], lines[1]),
        format!("{}\n{}\n", lines[0], lines[2]),
        format!("{}\n{}\n{}\n", lines[0], lines[2], lines[1]),
        good.replacen("after ", "after 1", 1),
    ] {
        shell.write("acme-ledger/log-keys", &changed);
        shell.run("strongroom audit verify acme-ledger/").fails(5, "INTEGRITY");
    }
    shell.write("acme-ledger/log-keys", &good);
    // To admins alone.
    shell.run("strongroom --home labelco key rotate acme --log").fails(4, "OUT_OF_SCOPE");
    // A server that lost a key does not know who signed its checkpoint.
    assert!(shell.server().terminate().success());
    let vault = shell.folder().join("vault");
    tamper::edit(&vault, &["DELETE FROM log_keys WHERE version = 3".to_owned()]).await;
    serve(&mut shell);
    let said = shell.run("strongroom --home labelco cat acme/rlhf/math/000008.json");
    said.fails(5, "INTEGRITY");
    let check = shell.run("strongroom --home ./vault/operator ledger check acme");
    assert_eq!(check.code, Some(5));
    assert!(check.text().contains("checkpoint in the database: "), "{}", check.text());
    assert!(shell.server().terminate().success());
}

on_python! {
    /// A program that shares no code with strongroom follows the keys of a log, and takes a witness's word.
    #[test]
    fn another_program_follows_a_rotation() {
        let mut shell = exported();
        let watch = "strongroom --home lab audit watch acme --state watch/ --once --cosign watch.acme.example";
        let said = shell.run(watch).ok();
        let witness = said.stderr.split_whitespace().find(|word| word.contains('+')).unwrap().to_owned();
        for _ in 0..2 {
            shell.run("strongroom --home lab key rotate acme --log").ok();
        }
        shell.run("strongroom --home lab audit export acme -o acme-ledger/").ok();
        shell.run("strongroom --home lab audit prove acme 0 -o acme-ledger-receipt").ok();
        shell.write("acme-ledger-proofs", "");
        let program = concat!(env!("CARGO_MANIFEST_DIR"), "/../core/tests/log/verify_log.py");
        let verify = |shell: &strongroom_tests::shell::Shell| {
            let command = std::process::Command::new("python3")
                .current_dir(shell.folder())
                .args(["-B", program, "acme-ledger", &witness])
                .output();
            let said = command.unwrap();
            (said.status.success(), String::from_utf8_lossy(&said.stderr).into_owned())
        };
        assert_eq!(verify(&shell), (true, String::new()));
        let keys = shell.read("acme-ledger/log-keys");
        let lines: Vec<&str> = keys.lines().collect();
        shell.write("acme-ledger/log-keys", format!("{}\n{}\n", lines[0], lines[2]));
        assert!(!verify(&shell).0);
        shell.write("acme-ledger/log-keys", &keys);
        let id = witness.split('+').nth(1).unwrap();
        let note = shell.read(&format!("acme-ledger/witnesses/{id}"));
        let at = note.rfind("AAAA").map_or(note.len() - 8, |at| at + 12);
        let flipped: String = note.char_indices().map(|(i, c)| if i == at { if c == 'A' { 'B' } else { 'A' } } else { c }).collect();
        shell.write(&format!("acme-ledger/witnesses/{id}"), flipped);
        assert!(!verify(&shell).0);
        assert!(shell.server().terminate().success());
    }
}

/// Nodes follow each other's rotations: whoever makes the next checkpoint signs it by the key of its size, and none stops.
async fn nodes_follow_each_others_rotations() {
    let here = TestVault::start().await;
    let lab = here.lab("acme").await;
    lab.dataset("rlhf").await;
    let there = here.another_node(None).await;
    let other = there.connect(&strongroom_tests::copy(&lab.admin)).await;
    for round in 0..6_usize {
        let (one, another) = if round % 2 == 0 { (&lab.vault, &other) } else { (&other, &lab.vault) };
        let before = another.checkpoint(&lab.tenant, Cover::Head).await.unwrap();
        let (version, _) = one.rotate_log_key(&lab.tenant).await.unwrap();
        assert_eq!(version as usize, round + 2);
        for vault in [another, one] {
            let name = lab.object(&format!("rlhf/{round}"));
            vault.put_bytes(&name, Bytes::from_static(b"more"), PutOptions::default()).await.unwrap();
            let now = vault.checkpoint(&lab.tenant, Cover::Head).await.unwrap();
            assert_eq!(now.keys.all().count(), round + 2);
            assert_ne!(now.key, before.key);
            vault.continued(&lab.tenant, before.checkpoint.size, &before.checkpoint.root).await.unwrap();
        }
    }
    here.ledger("acme").await;
}

on_postgres_alone! {
    (flavor = "multi_thread", worker_threads = 2)
    nodes_follow_each_others_rotations,
}
