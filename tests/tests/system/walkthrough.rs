//! The walkthrough, word for word, with the real command: a lab, a vendor and an operator, each with a home of its own, against a
//! server in a process of its own.

use std::fs;
use std::path::Path;

use strongroom_test_services::{on_each_engine, on_s3};
use strongroom_tests::sample;
use strongroom_tests::shell::Shell;

use crate::STRONGROOM;

async fn the_walkthrough_works_as_written() {
    let mut shell = Shell::new(STRONGROOM);
    let data = sample::text();
    let lines: Vec<&str> = data.split_inclusive('\n').collect();
    let prompts = sample::lines(20).concat();
    shell.write("gsm8k.jsonl", &data);
    shell.write("prompts.jsonl", &prompts);

    shell.run("strongroom init ./vault").ok();
    strongroom_tests::configure(&shell.folder().join("vault"), "");
    let ready = shell.run("strongroom serve ./vault --listen 127.0.0.1:7443 &");
    let (address, key) = (shell.server().address, shell.server().vault_key);
    assert_eq!(ready.text(), format!("strongroom listening on {address}, vault key {key}"));

    login(&mut shell, "lab");
    shell.run("strongroom --home ./vault/operator tenant create acme --admin SHA256:…").ok();
    shell.run("strongroom --home lab put prompts.jsonl acme/rlhf/prompts.jsonl --create").ok();
    shell.run("strongroom --home lab put --split-lines gsm8k.jsonl acme/rlhf/math/").ok();
    login(&mut shell, "labelco");
    shell.run("strongroom --home lab vendor add acme/labelco --key SHA256:…").ok();
    let issued = shell
        .run(
            "strongroom --home lab grant issue --to acme/labelco --read acme/rlhf/math/ --write acme/rlhf/labels/ \
             --for 12h --max-bytes 10MiB --delegable",
        )
        .ok();
    assert!(issued.text().starts_with("gr_"), "{}", issued.text());

    let one = shell.run("strongroom --home labelco get acme/rlhf/math/000007.json -o item.json").ok();
    assert_eq!(shell.read("item.json"), lines[7]);
    assert!(one.stderr.contains("plaintext"), "says that plaintext is on this disk now: {}", one.stderr);
    assert!(one.stdout.is_empty(), "{}", one.text());

    shell.run("strongroom --home labelco get acme/rlhf/math/ -o items/").ok();
    assert_eq!(files(&shell.folder().join("items")), lines.len());
    for (at, line) in lines.iter().enumerate() {
        assert_eq!(shell.read(&format!("items/{at:06}.json")), *line);
    }
    shell.run("strongroom --home labelco get acme/rlhf/math/ --join -o joined.jsonl").ok();
    assert_eq!(shell.read("joined.jsonl"), data);
    let streamed = shell.run("strongroom --home lab cat acme/rlhf/prompts.jsonl").ok();
    assert_eq!(streamed.stdout, prompts.as_bytes());

    login(&mut shell, "worker");
    shell.run("strongroom --home labelco grant issue --to SHA256:… --read 'acme/rlhf/math/0000*' --for 15m").ok();
    let delegated = shell.run("strongroom --home worker cat acme/rlhf/math/000009.json").ok();
    assert_eq!(delegated.stdout, lines[9].as_bytes());
    shell.run("strongroom --home worker cat acme/rlhf/prompts.jsonl").fails(4, "OUT_OF_SCOPE");

    shell.run("strongroom --home lab vendor suspend acme/labelco --note \"incident 42\"").ok();
    shell.run("strongroom --home labelco cat acme/rlhf/math/000008.json").fails(4, "VENDOR_SUSPENDED");
    shell.run("strongroom --home worker cat acme/rlhf/math/000009.json").fails(4, "VENDOR_SUSPENDED");
    let had = shell.run("strongroom --home lab audit exposure acme --vendor labelco --output json").ok();
    let had: Vec<serde_json::Value> = had.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let math: Vec<String> = (0..lines.len()).map(|at| format!("math/{at:06}.json")).collect();
    assert_eq!(had.iter().map(|object| object["path"].as_str().unwrap()).collect::<Vec<_>>(), math);
    let sizes = had.iter().map(|object| object["bytes"].as_u64().unwrap()).collect::<Vec<_>>();
    assert_eq!(sizes, lines.iter().map(|line| line.len() as u64).collect::<Vec<_>>());
    let by = |at: usize| had[at]["keys"].as_array().unwrap().len();
    assert_eq!((by(7), by(9)), (1, 2), "the worker's is the vendor's too");
    let told = shell.run("strongroom --home lab audit exposure acme --vendor labelco").ok();
    assert!(told.text().contains("of all time") && told.text().contains("OBJECT"), "{}", told.text());
    shell.run("strongroom --home lab vendor resume acme/labelco").ok();
    let again = shell.run("strongroom --home labelco cat acme/rlhf/math/000008.json").ok();
    assert_eq!(again.stdout, lines[8].as_bytes());

    let log = shell.run("strongroom --home lab audit log acme").ok();
    let events =
        ["tenant.created", "vendor.added", "grant.issued", "release", "vendor.suspended", "vendor.resumed", "denied"];
    for event in events {
        assert!(log.text().contains(event), "{event} in {}", log.text());
    }
    let json = shell.run("strongroom --home lab audit log acme --output json").ok();
    let entries: Vec<serde_json::Value> = json.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let indices: Vec<u64> = entries.iter().map(|entry| entry["entry"]["index"].as_u64().unwrap()).collect();
    assert_eq!(indices, (0..entries.len() as u64).collect::<Vec<_>>());

    let last = "strongroom --home lab audit export acme -o acme-ledger/ && strongroom audit verify acme-ledger/";
    let (export, verify) = last.split_once(" && ").unwrap();
    shell.run(export).ok();
    let verdict = shell.run(verify).ok();
    let words = format!("acme-ledger/ holds: {} entries", entries.len());
    assert!(verdict.text().starts_with(&words), "{}", verdict.text());
    let shown = shell.run("strongroom --home ./vault/operator tenant show acme --output json").ok();
    let key = serde_json::from_str::<serde_json::Value>(shown.text()).unwrap()["log_key"].as_str().unwrap().to_owned();
    assert_eq!(shell.read("acme-ledger/log-keys"), format!("{key}\n"));
    shell.run(&format!("strongroom audit verify acme-ledger/ --key {key} --since acme-ledger/checkpoint")).ok();

    let ended = shell.server().terminate();
    assert!(ended.success(), "a server that is told to end does so in peace: {}", shell.server().stderr());
    let ledger = strongroom_tests::oracle::Ledger::read(&shell.folder().join("vault"), "acme").await.assert_clean();
    assert_eq!(ledger.entries.len(), entries.len());
}

/// Logs in, and asserts that the fingerprint is the one that `identity show` prints, alone.
#[track_caller]
fn login(shell: &mut Shell, home: &str) {
    let printed = shell.run(&format!("strongroom --home {home} login 127.0.0.1:7443 --server-key SHA256:…")).ok();
    let shown = shell.run(&format!("strongroom --home {home} identity show")).ok();
    assert!(shown.text().starts_with("SHA256:") && !shown.text().contains(char::is_whitespace), "{}", shown.text());
    assert!(printed.text().contains(shown.text()), "{} in {}", shown.text(), printed.text());
}

fn files(folder: &Path) -> usize {
    fs::read_dir(folder).unwrap().count()
}

on_each_engine! {
    (flavor = "current_thread")
    the_walkthrough_works_as_written,
}

on_s3! {
    (flavor = "current_thread")
    the_walkthrough_works_as_written,
}
