//! `key rotate --log`: another key signs a ledger's checkpoints, and everybody who knew the one before follows, and nobody else is
//! believed.

use bytes::Bytes;
use serde_json::Value;
use strongroom_client::log::Cover;
use strongroom_client::{Identity, Millis, PutOptions, Reason};
use strongroom_core::ledger::{Event, Role};
use strongroom_core::order::{Instruction, Order, SignedOrder};
use strongroom_proto::v1::keys_client::KeysClient;
use strongroom_test_services::{on_each_engine, on_postgres_alone, on_python};
use strongroom_tests::oracle::Ledger;
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

/// The operators' own ledger has a log key as a tenant's has, and any operator rotates it; nobody else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_rotate_the_key_of_their_own_log() {
    let mut shell = exported();
    let login = shell.run("strongroom --home second login 127.0.0.1:7443 --server-key SHA256:…").ok();
    let second = login.text().split_whitespace().find(|word| word.starts_with("SHA256:")).unwrap().to_owned();
    let config = shell.read("vault/strongroom.toml");
    shell.write("vault/strongroom.toml", config.replacen("operators = [", &format!("operators = [\"{second}\", "), 1));
    assert!(shell.server().terminate().success());
    serve(&mut shell);
    shell.run("strongroom --home second login 127.0.0.1:7443 --server-key SHA256:…").ok();
    let first = "strongroom --home ./vault/operator";
    let vault = strongroom_server::keys::vault::VaultFile::read(&shell.folder().join("vault")).unwrap().vault;
    let own = strongroom_client::TenantName::of_operators(&vault);
    // There is no such ledger before the first block.
    shell.run(&format!("{first} key rotate {own} --log")).fails(4, "UNAUTHENTICATED");
    let stranger = strongroom_client::Identity::generate().unwrap().fingerprint();
    shell.run(&format!("{first} key block {stranger}")).ok();
    shell.run(&format!("{first} audit export {own} -o operators/")).ok();
    let key = shell.read("operators/log-keys").lines().next().unwrap().to_owned();
    shell.write("seen", shell.read("operators/checkpoint"));
    let watch = format!("{first} audit watch {own} --state watch/ --once --log-key {key}");
    shell.run(&watch).ok();
    for (round, home) in [(2, "./vault/operator"), (3, "second")] {
        let said = shell.run(&format!("strongroom --home {home} key rotate {own} --log --output json")).ok();
        let rotated: Value = serde_json::from_str(said.text()).unwrap();
        assert_eq!(rotated["version"], round);
        let shown = shell.run(&format!("{first} tenant show {own} --output json")).ok();
        let shown: Value = serde_json::from_str(shown.text()).unwrap();
        let keys = shown["log_keys"].as_array().unwrap();
        assert_eq!((keys.len(), &keys.last().unwrap()["key"]), (round, &rotated["log_key"]));
        // Another process goes on with it, and what is blocked is blocked.
        assert!(shell.server().terminate().success());
        serve(&mut shell);
        shell.run("strongroom --home second login 127.0.0.1:7443 --server-key SHA256:…").ok();
        let verb = if round == 2 { "unblock" } else { "block" };
        shell.run(&format!("strongroom --home second key {verb} {stranger}")).ok();
        shell.run(&watch).ok();
        shell.run(&format!("{first} audit export {own} -o operators/")).ok();
        shell.run(&format!("strongroom audit verify operators/ --since seen --key {key}")).ok();
    }
    // It is no tenant's ledger: nothing else of a tenant's is done there; and no admin of a tenant is an operator.
    shell.run(&format!("{first} key rotate {own}")).fails(4, "OUT_OF_SCOPE");
    shell.run(&format!("strongroom --home lab key rotate {own} --log")).fails(4, "UNAUTHENTICATED");
    shell.run(&format!("{first} key rotate acme --log")).fails(4, "OUT_OF_SCOPE");
    shell.run("strongroom --home labelco cat acme/rlhf/math/000007.json").ok();
    assert!(shell.server().terminate().success());
    for tenant in [own.as_str(), "acme"] {
        let ledger = Ledger::read(&shell.folder().join("vault"), tenant).await.assert_clean();
        let rotated = ledger.done(Event::LogKeyRotated);
        assert_eq!(rotated.len(), if tenant == "acme" { 0 } else { 2 });
        assert!(rotated.iter().all(|entry| entry.actor.role == Role::Operator));
    }
}

/// Whoever is no operator sends the order all the same.
async fn an_order_of_nobodys_rotates_no_operators_log_key() {
    let vault = TestVault::start().await;
    let lab = vault.lab("acme").await;
    let operator = vault.connect(&vault.operator()).await;
    operator.block_key(Identity::generate().unwrap().fingerprint(), None).await.unwrap();
    let file = strongroom_server::keys::vault::VaultFile::read(&vault.folder()).unwrap();
    let own = strongroom_client::TenantName::of_operators(&file.vault);
    let ledger = operator.who_am_i(&own).await.unwrap().origin.unwrap();
    let before = vault.ledger(own.as_str()).await.size();
    let content = |by: &Identity| {
        let instruction = Instruction::RotateLogKey { version: 2 };
        let request = strongroom_tests::raw::request_id();
        let not_after = Millis(9_000_000_000_000);
        Order { ledger: ledger.clone(), request, not_after, instruction, incident: None }.sign(by).unwrap()
    };
    let send = async |by: &Identity, order: &SignedOrder| {
        let channel = vault.raw(by).await.channel;
        let order = strongroom_tests::raw::order(own.as_str(), order);
        KeysClient::new(channel).rotate_log(order).await.map_err(|status| strongroom_tests::raw::failure(status).reason)
    };
    // By an admin of a tenant, who signed it; by the operator, whom somebody gave it to carry.
    for by in [&lab.admin, &vault.operator()] {
        assert_eq!(send(by, &content(&lab.admin)).await.err(), Some(Reason::OutOfScope));
    }
    assert_eq!(vault.ledger(own.as_str()).await.size(), before);
    send(&vault.operator(), &content(&vault.operator())).await.unwrap();
    assert_eq!(vault.ledger(own.as_str()).await.done(Event::LogKeyRotated).len(), 1);
}

on_each_engine! {
    (flavor = "multi_thread", worker_threads = 2)
    an_order_of_nobodys_rotates_no_operators_log_key,
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
