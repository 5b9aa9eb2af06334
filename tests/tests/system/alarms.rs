//! A vault that lies, with all its keys: what it signed and may not have done, and what it shows to one and not to another. Whoever
//! follows the ledger, and decides again, finds out.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use strongroom_client::{GrantId, Identity};
use strongroom_core::call::{Call, SignedCall};
use strongroom_core::exact;
use strongroom_core::identity::Signature;
use strongroom_core::ids::Index;
use strongroom_core::ledger::replay::Rule;
use strongroom_core::ledger::{Entry, Event, Private};
use strongroom_tests::forge;
use strongroom_tests::oracle::{self, Ledger};
use strongroom_tests::raw::Raw;
use strongroom_tests::relay::Relay;
use strongroom_tests::shell::Shell;

use crate::STRONGROOM;
use crate::export::{exported, serve};

fn json(shell: &mut Shell, line: &str) -> Value {
    serde_json::from_str(shell.run(&format!("{line} --output json")).ok().text().lines().next().unwrap()).unwrap()
}

fn identity(shell: &Shell, home: &str) -> Identity {
    Identity::from_pem(&shell.read(&format!("{home}/identity.pem"))).unwrap()
}

/// The vendor's key signs two reads; one is answered, and the other kept: it is what a breached vault would enter with whatever it
/// has released.
async fn kept_call(shell: &mut Shell) -> (strongroom_core::ids::CallDigest, Call, SignedCall) {
    let grant = json(shell, "strongroom --home lab grant list acme")["grant"].as_str().unwrap().to_owned();
    let grant: GrantId = grant.parse().unwrap();
    let (address, key) = (shell.server().address, shell.server().vault_key);
    let vendor = identity(shell, "labelco");
    let raw = Raw::connect(address, Some(&vendor)).await.unwrap();
    let session = raw.open(&vendor, "acme", key).await.unwrap();
    let (_, answered) = session.get(Some(grant), "rlhf", &["math/000005.json"]);
    raw.get(answered).await.unwrap();
    let (digest, kept) = session.get(Some(grant), "rlhf", &["math/000005.json"]);
    let call: Call = exact::from_slice(&kept.request).unwrap();
    let signature = Signature(kept.signature[..].try_into().unwrap());
    (digest, call.clone(), SignedCall { call, signature })
}

/// The vault releases to a vendor after it was suspended, records that, and signs it: its own checks find nothing wrong, and whoever
/// replays names the entry and the rule.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_monitor_shouts_at_what_was_signed_and_never_allowed() {
    let mut shell = exported();
    let vault = shell.folder().join("vault");
    let watch = "strongroom --home lab audit watch acme --state watch/ --once --exec 'cat >> told.jsonl'";
    let cosigning = format!("{watch} --on denied --cosign watch.acme.example");
    let (digest, call, signed) = kept_call(&mut shell).await;
    shell.run("strongroom --home lab vendor suspend acme/labelco").ok();
    shell.run(&cosigning).ok();
    let seen = shell.read("watch/checkpoint");
    let cosigned = json(&mut shell, "strongroom --home lab ledger status acme")["witnesses"].clone();
    assert_eq!(cosigned.as_array().map(Vec::len), Some(1));
    // One that follows all the time, whichever server there is.
    let (relay, key) = (Relay::start(shell.server().address), shell.server().vault_key);
    shell.run(&format!("strongroom --home lab login {} --server-key {key}", relay.address())).ok();
    let mut following = STRONGROOM
        .command(shell.folder())
        .args(["--home", "lab", "audit", "watch", "acme", "--state", "following"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut following_says = BufReader::new(following.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(following_says.next().unwrap().contains("entries hold"));

    relay.lead_to(None);
    assert!(shell.server().terminate().success());
    let ledger = Ledger::read(&vault, "acme").await;
    let last = ledger.done(Event::Release).pop().unwrap();
    let at = usize::try_from(last.index.0).unwrap();
    let salt = "5".repeat(32);
    let private = Private { salt, call: Some(signed), opening: None, ..ledger.private_parts()[at].clone() };
    let entry = Entry { call: Some(digest), request: Some(call.request), ..last };
    let forged = forge::enter(&vault, "acme", entry, &private).await;
    assert_eq!(
        Ledger::read(&vault, "acme").await.replay().map_err(|finding| (finding.index, finding.rule)).err(),
        Some((forged, Rule::Allowed))
    );
    serve(&mut shell);
    relay.lead_to(Some(shell.server().address));

    // The vault's own checks are its word: it fits, it is signed, and nothing stops.
    let status = json(&mut shell, "strongroom --home lab ledger status acme");
    assert_eq!((&status["stopped"], &status["entries"]), (&Value::Null, &Value::from(forged.0 + 1)));
    shell.run("strongroom --home lab ledger check acme").ok();
    // Who follows shouts, as often as it looks, and keeps to what it saw before.
    let named = |text: &str| text.contains(&format!("entry {forged} breaks the rule that {}", Rule::Allowed));
    for _ in 0..2 {
        let said = shell.run(&cosigning);
        said.fails_after_log(5, "INTEGRITY");
        assert!(named(&said.stderr), "{}", said.stderr);
        assert_eq!(shell.read("watch/checkpoint"), seen);
    }
    let told = shell.read("told.jsonl");
    let alarms: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(alarms.iter().map(|alarm| alarm["alarm"].as_str()).collect::<Vec<_>>(), [Some("INTEGRITY"); 2]);
    assert!(alarms.iter().all(|alarm| named(alarm["detail"].as_str().unwrap())), "{told}");
    let said: Vec<String> = following_says.collect();
    assert!(said.last().is_some_and(|last| last.starts_with("INTEGRITY: ") && named(last)), "{said:?}");
    let ended = following.wait_with_output().unwrap();
    assert_eq!(
        (ended.status.code(), ended.stdout.len()),
        (Some(5), 0),
        "what was never allowed is told as nothing else"
    );
    // Nobody's word stands under it: not the witness's, which is of before.
    assert_eq!(json(&mut shell, "strongroom --home lab ledger status acme")["witnesses"], cosigned);
    // The vault's signature is under it: with an export of now, that is evidence.
    let claimed = shell.read("watch/checkpoint.contradicting");
    assert_eq!(claimed.lines().nth(1).unwrap(), (forged.0 + 1).to_string());
    for line in ["audit watch acme --state new/ --once", "audit export acme -o lying/"] {
        let said = shell.run(&format!("strongroom --home lab {line}"));
        assert_eq!(said.code, Some(if line.contains("watch") { 5 } else { 0 }), "{line}: {}", said.stderr);
    }
    let said = shell.run("strongroom audit verify lying/ --since watch/checkpoint");
    said.fails(5, "INTEGRITY");
    assert!(named(&said.stderr), "{}", said.stderr);
    assert!(shell.server().terminate().success());
}

/// All of a vault's folder, as it stands still.
fn copy_folder(from: &Path, to: &Path) {
    oracle::walk(from, &mut |file| {
        let to = to.join(file.strip_prefix(from).unwrap());
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(file, to).unwrap();
    });
}

fn size(note: &str) -> Index {
    Index(note.lines().nth(1).unwrap().parse().unwrap())
}

/// A vault shows one history to one follower and another to another, each signed and each allowed: both are content, until what one
/// of them saw comes to the other, whichever way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fork_is_found_where_two_followers_meet() {
    let mut shell = exported();
    assert!(shell.server().terminate().success());
    copy_folder(&shell.folder().join("vault"), &shell.folder().join("other-vault"));
    for home in ["lab", "labelco"] {
        copy_folder(&shell.folder().join(home), &shell.folder().join(format!("other-{home}")));
    }
    serve(&mut shell);
    let mut other = STRONGROOM.serve(shell.folder(), "other-vault");
    let to_other = format!("login {} --server-key {}", other.address, other.vault_key);
    for home in ["lab", "labelco"] {
        shell.run(&format!("strongroom --home other-{home} {to_other}")).ok();
    }
    // One reads one thing here, and others there; each history is followed, exported, and holds.
    let watch = |home: &str, state: &str| format!("strongroom --home {home} audit watch acme --state {state}/ --once");
    for (home, objects) in [("", 7..8), ("other-", 8..12)] {
        for at in objects {
            shell.run(&format!("strongroom --home {home}labelco cat acme/rlhf/math/{at:06}.json")).ok();
        }
        shell
            .run(&format!("{} --cosign {home}watch.example", watch(&format!("{home}lab"), &format!("{home}watch"))))
            .ok();
        shell.run(&format!("strongroom --home {home}lab audit export acme -o {home}ledger/")).ok();
        shell.run(&format!("strongroom audit verify {home}ledger/")).ok();
    }
    let [one, two] = ["watch/checkpoint", "other-watch/checkpoint"].map(|name| shell.read(name));
    assert!(size(&one) < size(&two));
    assert_eq!(one.lines().next(), two.lines().next());

    // Their checkpoints, compared by whoever has both.
    let said = shell.run("strongroom audit verify other-ledger/ --since watch/checkpoint");
    said.fails(5, "INTEGRITY");
    assert!(said.stderr.contains("rewritten"), "{}", said.stderr);
    shell.run("strongroom audit verify ledger/ --since other-watch/checkpoint").fails(5, "INTEGRITY");
    // A witness of the one has no word for the other.
    let key = json(&mut shell, "strongroom --home lab ledger status acme")["witnesses"][0]["witness"]
        .as_str()
        .unwrap()
        .to_owned();
    shell.run(&format!("strongroom audit verify ledger/ --witness {key}")).ok();
    shell.run(&format!("strongroom audit verify other-ledger/ --witness {key}")).fails(5, "INTEGRITY");
    // A monitor that comes to the other: it is shown a rewritten ledger, or one that was put back.
    for (home, state, word) in [("other-lab", "watch", "rewritten"), ("lab", "other-watch", "put back")] {
        let said = shell.run(&watch(home, state));
        said.fails_after_log(5, "LEDGER_DIVERGED");
        assert!(said.stderr.contains(word), "{word}: {}", said.stderr);
    }
    // Both checkpoints that one of them has now, under one signature's key, are evidence.
    let contradicting = shell.read("watch/checkpoint.contradicting");
    assert!(size(&contradicting) > size(&one));
    assert_eq!(contradicting.lines().next(), one.lines().next());
    // A client that remembers one and comes to the other: not only is it refused, the vault stops what it serves there.
    shell.run(&format!("strongroom --home labelco {to_other}"));
    shell.run("strongroom --home labelco cat acme/rlhf/math/000007.json").fails(5, "LEDGER_DIVERGED");
    shell.run("strongroom --home other-labelco cat acme/rlhf/math/000008.json").fails(5, "LEDGER_DIVERGED");
    let status = json(&mut shell, "strongroom --home other-lab ledger status acme");
    assert!(status["stopped"].is_string(), "{status}");
    shell.run("strongroom --home lab ledger check acme").ok();
    assert!(shell.server().terminate().success());
    assert!(other.terminate().success());
}
