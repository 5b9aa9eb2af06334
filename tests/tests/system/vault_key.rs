//! The vault key rotates: clients follow what the key that they pin signed, remember the new one, and refuse every other.

use std::fs;
use std::path::Path;

use strongroom_core::ed25519::SigningKey;
use strongroom_core::succession::Succession;
use strongroom_tests::process::ServerProcess;

use crate::STRONGROOM;

fn pinned(home: &Path) -> String {
    let text = fs::read_to_string(home.join("server.json")).unwrap();
    text.split("\"server_key\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
}

/// The home goes to where the server is now, with the key that it pins.
fn move_to(home: &Path, server: &ServerProcess) {
    let text = format!("{{\"address\":\"{}\",\"server_key\":\"{}\"}}\n", server.address, pinned(home));
    fs::write(home.join("server.json"), text).unwrap();
}

#[test]
fn clients_follow_a_rotation_that_the_old_key_signed_and_refuse_every_other_key() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    STRONGROOM.run(here, &["init", "vault"]).ok();
    let run = |line: &str| STRONGROOM.run(here, &line.split(' ').collect::<Vec<_>>());
    let mut server = STRONGROOM.serve(here, "vault");
    let first = server.vault_key;
    let mut logins = Vec::new();
    for home in ["lab", "late"] {
        logins.push(run(&format!("--home {home} login {} --server-key {first}", server.address)).ok());
    }
    run(&format!("--home vault/operator tenant create acme --admin {}", logins[0].word())).ok();
    fs::write(here.join("plain"), "a line").unwrap();
    run("--home lab put plain acme/rlhf/plain --create").ok();
    let ledgers = fs::read_to_string(here.join("lab/ledgers.json")).unwrap();
    assert!(ledgers.contains(&first.to_string()));

    run("vault-key rotate vault").fails(2, "USAGE");
    let before = fs::read(here.join("vault/vault.json")).unwrap();
    run("vault-key rotate vault --yes").ok();
    assert_eq!(run("--home lab cat acme/rlhf/plain").ok().text(), "a line", "it takes effect at the next start");
    server.terminate();
    let mut server = STRONGROOM.serve(here, "vault");
    let second = server.vault_key;
    assert!(second != first && run("vault-key show vault").ok().text() == second.to_string());
    move_to(&here.join("lab"), &server);
    assert_eq!(run("--home lab cat acme/rlhf/plain").ok().text(), "a line");
    assert_eq!(pinned(&here.join("lab")), second.to_string(), "the home pins the new one");
    assert!(
        fs::read_to_string(here.join("lab/ledgers.json")).unwrap().contains(&second.to_string()),
        "and what it saw is remembered under it"
    );
    run("--home vault/operator tenant list").ok();

    // Whoever has followed does not go back, also not to the vault's own old key.
    server.terminate();
    let now = fs::read(here.join("vault/vault.json")).unwrap();
    fs::write(here.join("vault/vault.json"), before).unwrap();
    let mut server = STRONGROOM.serve(here, "vault");
    move_to(&here.join("lab"), &server);
    run("--home lab cat acme/rlhf/plain").fails(5, "INTEGRITY");
    server.terminate();
    fs::write(here.join("vault/vault.json"), now).unwrap();

    // Two steps at once, for somebody who was away.
    run("vault-key rotate vault --yes").ok();
    let mut server = STRONGROOM.serve(here, "vault");
    move_to(&here.join("late"), &server);
    run("--home late whoami").ok();
    assert_eq!(pinned(&here.join("late")), server.vault_key.to_string());
    // A login with a fingerprint from before leads to the key of now.
    run(&format!("--home new login {} --server-key {first}", server.address)).ok();
    assert_eq!(pinned(&here.join("new")), server.vault_key.to_string());
    server.terminate();

    // Another vault at that address, and one that signs for itself in the old key's name.
    STRONGROOM.run(here, &["init", "other"]).ok();
    let mut server = STRONGROOM.serve(here, "other");
    move_to(&here.join("lab"), &server);
    run("--home lab cat acme/rlhf/plain").fails(5, "INTEGRITY");
    let other = server.vault_key;
    server.terminate();
    let thief = SigningKey::generate().unwrap();
    let file = here.join("other/vault.json");
    let text = fs::read_to_string(&file).unwrap();
    let key = text.split("\"public_key\":\"").nth(1).unwrap().split('"').next().unwrap();
    let key = strongroom_core::ed25519::VerifyingKey::from_bytes(
        data_encoding::HEXLOWER.decode(key.as_bytes()).unwrap().try_into().unwrap(),
    );
    assert_eq!(key.fingerprint(), other);
    let forged = Succession::default().then(&thief, &key).steps().remove(0);
    let (old, _) = succession_of(&here.join("vault/vault.json"));
    let disguised = format!("{}{}", &old[..64], &forged[64..]);
    fs::write(&file, text.trim_end().replace("}", &format!(",\"succession\":[\"{disguised}\"]}}")) + "\n").unwrap();
    let server = STRONGROOM.serve(here, "other");
    for home in ["lab", "late"] {
        move_to(&here.join(home), &server);
        run(&format!("--home {home} whoami")).fails(5, "INTEGRITY");
    }
    run(&format!("--home new2 login {} --server-key {first}", server.address)).fails(5, "INTEGRITY");
}

/// The first step that a vault's file has, and how many there are.
fn succession_of(file: &Path) -> (String, usize) {
    let text = fs::read_to_string(file).unwrap();
    let list = text.split("\"succession\":[").nth(1).unwrap().split(']').next().unwrap();
    let steps: Vec<_> = list.split(',').map(|step| step.trim_matches('"').to_owned()).collect();
    (steps[0].clone(), steps.len())
}
