//! `--receipt`: whoever did something keeps the proof that it was recorded, and shows it without the vault.

use std::fs;

use strongroom_tests::shell::Shell;

use crate::export::exported;

/// The files of a folder, by name.
fn files(shell: &Shell, folder: &str) -> Vec<String> {
    let entries = fs::read_dir(shell.folder().join(folder)).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn what_was_done_is_proven_by_whoever_did_it() {
    let mut shell = exported();
    let key = shell.read("acme-ledger/log-keys").trim_end().to_owned();
    let verify = |shell: &mut Shell, receipt: &str| {
        let said = shell.run(&format!("strongroom audit verify {receipt} --key {key}")).ok();
        said.text().to_owned()
    };
    // One entry, one file.
    shell.run("strongroom --home labelco get acme/rlhf/math/000003.json -o item.json --receipt got.tlog-proof").ok();
    assert!(verify(&mut shell, "got.tlog-proof").contains(", release by SHA256:"));
    shell.run("strongroom --home labelco cat acme/rlhf/math/000004.json --receipt cat.tlog-proof").ok();
    assert!(verify(&mut shell, "cat.tlog-proof").contains(", release by SHA256:"));
    shell.write("labels.json", "{}");
    shell.run("strongroom --home lab put labels.json acme/rlhf/labels.json --receipt put.tlog-proof").ok();
    assert!(verify(&mut shell, "put.tlog-proof").contains(", object.put by SHA256:"));
    // Many objects that went in one call are one entry; where a folder is asked for, it is one.
    shell.run("strongroom --home labelco get acme/rlhf/math/ -o items/ --receipt many/").ok();
    let [only] = &files(&shell, "many")[..] else { panic!("{:?}", files(&shell, "many")) };
    let index: u64 = only.strip_suffix(".tlog-proof").unwrap().parse().unwrap();
    assert!(verify(&mut shell, "many/").contains(&format!("entry {index}, release")));
    // Windows of a large object are released one by one: a receipt each, all of them verified at once.
    let large = fs::File::create(shell.folder().join("large.bin")).unwrap();
    large.set_len(70 << 20).unwrap();
    shell.run("strongroom --home lab put large.bin acme/rlhf/math/large.bin").ok();
    shell.run("strongroom --home labelco cat acme/rlhf/math/large.bin --receipt windows").ok();
    assert_eq!(files(&shell, "windows").len(), 2);
    assert_eq!(verify(&mut shell, "windows").lines().count(), 2);
    // The same bytes as those of a proof that is asked for later, but for the checkpoint that it is under.
    shell.run(&format!("strongroom --home labelco audit prove acme {index} -o later.tlog-proof")).ok();
    let entry = |name: &str| shell.read(name).lines().take(3).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(entry("later.tlog-proof"), entry(&format!("many/{only}")));
    // What was refused has none, and fails as it does without.
    let refused = shell.run("strongroom --home labelco cat acme/rlhf/labels.json --receipt none.tlog-proof");
    refused.fails_after_log(4, "OUT_OF_SCOPE");
    assert!(!shell.folder().join("none.tlog-proof").exists());
    // One that is broken among many is found.
    let name = format!("windows/{}", files(&shell, "windows")[1]);
    shell.write(&name, shell.read(&name).replacen("extra ey", "extra fy", 1));
    shell.run(&format!("strongroom audit verify windows --key {key}")).fails(5, "INTEGRITY");
    assert!(shell.server().terminate().success());
}
