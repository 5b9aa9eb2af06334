//! `audit watch` and `audit verify --snapshot`: whoever follows a ledger is told what it says, and when it does not hold.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::Value;
use strongroom_tests::relay::Relay;
use strongroom_tests::shell::Shell;

use crate::STRONGROOM;
use crate::export::{Past, exported};

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn events(text: &str) -> Vec<String> {
    lines(text).iter().map(|line| line["entry"]["event"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_monitor_tells_what_is_new_once_and_what_was_chosen_alone() {
    let mut shell = exported();
    let watch = "strongroom --home lab audit watch acme --state watch/ --once --output json";
    let first = shell.run(watch).ok();
    assert!(first.text().is_empty() && first.stderr.contains("entries hold"), "{} {}", first.text(), first.stderr);
    assert!(shell.run(watch).ok().text().is_empty());
    shell.run("strongroom --home labelco cat acme/rlhf/math/000007.json").ok();
    shell.run("strongroom --home labelco cat acme/rlhf/nothing.json").fails(4, "OUT_OF_SCOPE");
    assert_eq!(
        events(shell.run(watch).ok().text()),
        ["session.open", "release", "session.open", "denied"],
        "each entry, in order"
    );
    assert!(shell.run(watch).ok().text().is_empty(), "and once");
    // Chosen ones, also to a command; and what they say is what the log says.
    shell.run("strongroom --home labelco cat acme/rlhf/math/000008.json").ok();
    shell.run("strongroom --home lab vendor suspend acme/labelco").ok();
    let told =
        shell.run(&format!("{watch} --on release,vendor.suspended --vendor labelco --exec 'cat >> told.jsonl'")).ok();
    let log = shell.run("strongroom --home lab audit log acme --vendor labelco --output json").ok();
    let logged: Vec<&str> = log.text().lines().filter(|line| told.text().contains(line)).collect();
    assert_eq!(told.text().lines().collect::<Vec<_>>(), logged);
    assert_eq!(events(told.text()), ["release", "vendor.suspended"]);
    let hooked = shell.read("told.jsonl");
    assert_eq!(events(&hooked), ["release", "vendor.suspended"]);
    assert_eq!(lines(&hooked)[0]["objects"], serde_json::json!(["rlhf/math/000008.json"]));
    // A command that fails stops nothing.
    shell.run("strongroom --home lab vendor resume acme/labelco").ok();
    let said = shell.run(&format!("{watch} --exec 'exit 3'")).ok();
    assert!(said.stderr.contains("ended with exit status: 3") && said.text().contains("vendor.resumed"));
    // All that ever was, by a monitor of its own; each has its folder.
    let all = shell.run("strongroom --home lab audit watch acme --state other/ --once --all --output json").ok();
    let log = shell.run("strongroom --home lab audit log acme --output json").ok();
    assert_eq!(all.text(), log.text());
    // What is left of the folder is enough, and what is broken in it is said.
    fs::remove_file(shell.folder().join("other/snapshot")).unwrap();
    shell.run("strongroom --home lab audit watch acme --state other/ --once").ok();
    let snapshot = shell.read("other/snapshot");
    shell.write("other/snapshot", &snapshot[..snapshot.len() / 2]);
    shell.run("strongroom --home lab audit watch acme --state other/ --once").fails(3, "PRECONDITION_FAILED");
    // What lies in a folder of something else is left alone.
    shell.run("strongroom --home lab audit watch acme --state acme-ledger/ --once").fails(3, "PRECONDITION_FAILED");
    shell.run("strongroom audit verify acme-ledger/").ok();
    // To admins alone.
    shell.run("strongroom --home labelco audit watch acme --state theirs/ --once").fails(4, "OUT_OF_SCOPE");
    assert!(shell.server().terminate().success());
}

/// What a monitor looks for itself is what the vault answers with: about a vendor, an incident, a place.
#[test]
fn a_monitor_and_the_log_tell_of_the_same_entries() {
    let mut shell = exported();
    let opened = shell.run("strongroom --home lab incident open acme/labelco --note gone -o affair --output json").ok();
    let incident = lines(opened.text())[0]["incident"].as_str().unwrap().to_owned();
    let flag = format!("--incident {incident}");
    shell.run(&format!("strongroom --home lab key shred acme/rlhf/math/000003.json --yes {flag}")).ok();
    shell.run("strongroom --home lab dataset freeze acme/rlhf").ok();
    let told = |shell: &mut Shell, state: &str, flags: &str| {
        let watch =
            format!("strongroom --home lab audit watch acme --state {state}/ --once --all --output json {flags}");
        let log = format!("strongroom --home lab audit log acme --output json {flags}");
        let (watched, logged) = (shell.run(&watch).ok(), shell.run(&log).ok());
        assert_eq!(watched.text(), logged.text(), "{flags}");
        events(watched.text())
    };
    let of_incident = told(&mut shell, "a", &flag);
    assert_eq!(of_incident, ["incident.opened", "vendor.suspended", "object.shredded"]);
    let of_vendor = told(&mut shell, "b", "--vendor labelco");
    assert!(of_vendor.iter().any(|event| event == "incident.opened"), "{of_vendor:?}");
    let of_place = told(&mut shell, "c", "--dataset rlhf");
    assert!(of_place.iter().any(|event| event == "dataset.frozen"), "{of_place:?}");
    let of_prefix = told(&mut shell, "d", "--dataset rlhf --prefix math/000003.json");
    assert!(of_prefix.iter().any(|event| event == "object.shredded"), "{of_prefix:?}");
    assert!(shell.server().terminate().success());
}

#[test]
fn a_monitor_stays_while_servers_come_and_go() {
    let mut shell = exported();
    let relay = Relay::start(shell.server().address);
    let key = shell.server().vault_key;
    shell.run(&format!("strongroom --home lab login {} --server-key {key}", relay.address())).ok();
    let mut watching = STRONGROOM
        .command(shell.folder())
        .args(["--home", "lab", "audit", "watch", "acme", "--state", "watch", "--on", "release", "--output", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(watching.stderr.take().unwrap()).lines();
    let mut told = BufReader::new(watching.stdout.take().unwrap()).lines();
    assert!(said.next().unwrap().unwrap().contains("entries hold"));
    for at in [7, 8] {
        shell.run(&format!("strongroom --home labelco cat acme/rlhf/math/{at:06}.json")).ok();
        let line: Value = serde_json::from_str(&told.next().unwrap().unwrap()).unwrap();
        assert_eq!(line["objects"], serde_json::json!([format!("rlhf/math/{at:06}.json")]));
        relay.lead_to(None);
        assert!(shell.server().terminate().success());
        shell.run("strongroom serve ./vault --listen 127.0.0.1:7443 &");
        relay.lead_to(Some(shell.server().address));
        shell.run("strongroom --home labelco login 127.0.0.1:7443 --server-key SHA256:…").ok();
    }
    // Another monitor cannot have the same folder meanwhile.
    let second = shell.run("strongroom --home lab audit watch acme --state watch --once");
    second.fails(3, "PRECONDITION_FAILED");
    watching.kill().unwrap();
    watching.wait().unwrap();
    assert!(shell.server().terminate().success());
}

/// A vault that is put back whole and goes on differently: a monitor shouts, keeps what shows it, and does so again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_monitor_shouts_when_a_ledger_is_put_back_or_rewritten() {
    let mut shell = exported();
    shell.run("strongroom --home lab audit watch acme --state early/ --once").ok();
    let past = Past::keep(&mut shell).await;
    shell.run("strongroom --home labelco cat acme/rlhf/math/000010.json").ok();
    let watch = "strongroom --home lab audit watch acme --state watch/ --once --exec 'cat >> told.jsonl'";
    shell.run(watch).ok();
    shell.run("strongroom --home lab audit export acme -o acme-ledger/").ok();
    shell.run("strongroom audit verify acme-ledger/ --snapshot acme.snapshot").ok();
    past.put_back(&mut shell).await;
    let forget = |shell: &Shell| {
        for home in ["lab", "labelco"] {
            fs::remove_file(shell.folder().join(home).join("ledgers.json")).unwrap();
        }
    };
    forget(&shell);
    let said = shell.run(watch);
    said.fails_after_log(5, "LEDGER_DIVERGED");
    assert!(said.stderr.contains("put back"), "{}", said.stderr);
    for at in 0..3 {
        shell.run(&format!("strongroom --home labelco cat acme/rlhf/math/{at:06}.json")).ok();
    }
    shell.run(watch).fails_after_log(5, "LEDGER_DIVERGED");
    let said = shell.run(watch);
    said.fails_after_log(5, "LEDGER_DIVERGED");
    assert!(said.stderr.contains("rewritten") && said.stderr.contains("is evidence"), "{}", said.stderr);
    let alarms = lines(&shell.read("told.jsonl"));
    assert_eq!(alarms.len(), 3);
    assert_eq!(alarms[2]["alarm"], "LEDGER_DIVERGED");
    // Both checkpoints are kept: two histories, one signature's key.
    let [seen, claimed] = ["watch/checkpoint", "watch/checkpoint.contradicting"].map(|name| shell.read(name));
    let named = |text: &str, line: usize| text.lines().nth(line).unwrap().to_owned();
    assert_eq!(named(&seen, 0), named(&claimed, 0));
    assert_ne!(named(&seen, 2), named(&claimed, 2));
    // A snapshot is of the first history, and goes on with no other. A monitor that never saw the first one has no complaint.
    forget(&shell);
    shell.run("strongroom --home lab audit export acme -o other/").ok();
    let said = shell.run("strongroom audit verify other/ --snapshot acme.snapshot");
    said.fails(5, "INTEGRITY");
    assert!(said.stderr.contains("rewritten"), "{}", said.stderr);
    shell.run("strongroom --home lab audit watch acme --state early/ --once").ok();
    assert!(shell.server().terminate().success());
}

#[test]
fn a_verification_goes_on_from_its_snapshot() {
    let mut shell = exported();
    let verify = "strongroom audit verify acme-ledger/ --snapshot acme.snapshot --output json";
    let whole: Value = serde_json::from_str(shell.run(verify).ok().text()).unwrap();
    assert_eq!(whole["from"], 0);
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &fs::metadata(shell.folder().join("acme.snapshot")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o077, 0, "its owner's alone");
    shell.run("strongroom --home labelco cat acme/rlhf/math/000007.json").ok();
    shell.run("strongroom --home lab audit export acme -o acme-ledger/").ok();
    let next: Value = serde_json::from_str(shell.run(verify).ok().text()).unwrap();
    assert_eq!(next["from"], whole["entries"]);
    let again: Value =
        serde_json::from_str(shell.run("strongroom audit verify acme-ledger/ --output json").ok().text()).unwrap();
    for field in ["entries", "releases", "denials", "root"] {
        assert_eq!(next[field], again[field], "{field}");
    }
    let said = shell.run("strongroom audit verify acme-ledger/ --snapshot acme.snapshot").ok();
    assert!(said.text().contains("was verified earlier"), "{}", said.text());
    // An export that is older than the snapshot was put back; another ledger is another one; a snapshot that was edited is none.
    let snapshot = shell.read("acme.snapshot");
    shell.run("strongroom --home ./vault/operator tenant create other --admin SHA256:…").ok();
    shell.write("acme.snapshot", snapshot.replacen("\"blind\":false", "\"blind\":true", 1));
    shell.run(verify).fails(3, "PRECONDITION_FAILED");
    assert!(shell.server().terminate().success());
}

/// A witness's word goes from its monitor through the vault and an export to whoever trusts the witness.
#[test]
fn a_witness_vouches_for_what_it_saw() {
    let mut shell = exported();
    let watch = "strongroom --home lab audit watch acme --state watch/ --once --cosign watch.acme.example";
    let said = shell.run(watch).ok();
    let word = said.stderr.split_whitespace().find(|word| word.starts_with("watch.acme.example+"));
    let key = word.expect("the witness's key").to_owned();
    let mode = |name: &str| {
        std::os::unix::fs::PermissionsExt::mode(&fs::metadata(shell.folder().join(name)).unwrap().permissions())
    };
    assert_eq!(mode("watch/witness.key") & 0o077, 0);
    let trusting = format!("strongroom audit verify acme-ledger/ --witness {key}");
    shell.run(&trusting).fails(5, "INTEGRITY");
    let export = "strongroom --home lab audit export acme -o acme-ledger/ --output json";
    let done: Value = serde_json::from_str(shell.run(export).ok().text()).unwrap();
    assert_eq!(done["witnesses"][0]["witness"], key.as_str());
    assert_eq!(done["witnesses"][0]["entries"], done["entries"]);
    assert!(shell.run(&trusting).ok().text().contains("watch.acme.example cosigned the first"));
    // What came later it does not vouch for, until it looks again.
    shell.run("strongroom --home labelco cat acme/rlhf/math/000007.json").ok();
    let later: Value = serde_json::from_str(shell.run(export).ok().text()).unwrap();
    assert_eq!(later["witnesses"][0]["entries"], done["entries"]);
    let verdict = |shell: &mut Shell| -> Value {
        serde_json::from_str(shell.run(&format!("{trusting} --output json")).ok().text()).unwrap()
    };
    let verdict_now = verdict(&mut shell);
    assert_eq!(verdict_now["witnesses"][0]["entries"], done["entries"]);
    assert_ne!(verdict_now["entries"], done["entries"]);
    shell.run(watch).ok();
    shell.run(export).ok();
    assert_eq!(verdict(&mut shell)["witnesses"][0]["entries"], verdict_now["entries"]);
    // Another witness, whom nobody trusts, changes nothing; one that is trusted and said nothing is missed.
    shell.run("strongroom --home lab audit watch acme --state other/ --once --cosign other.example").ok();
    shell.run(export).ok();
    shell.run(&trusting).ok();
    // The cosignature in the export is of this log and this size, or it is a finding.
    let id = key.split('+').nth(1).unwrap();
    let name = format!("acme-ledger/witnesses/{id}");
    let note = shell.read(&name);
    for (from, to) in [("\nwatch", "\nmatch"), ("— watch", "— match")] {
        shell.write(&name, note.replacen(from, to, 1));
        assert!(!note.contains(from) || shell.run(&trusting).code == Some(5), "{from}");
    }
    let size = note.lines().nth(1).unwrap();
    shell.write(&name, note.replacen(&format!("\n{size}\n"), "\n1\n", 1));
    shell.run("strongroom audit verify acme-ledger/").fails(5, "INTEGRITY");
    shell.write(&name, &note);
    shell.write("acme-ledger/witnesses/notes.txt", "x");
    shell.run("strongroom audit verify acme-ledger/").fails(5, "INTEGRITY");
    assert!(shell.server().terminate().success());
}

/// Whoever shows a checkpoint that this vault signed, and does not have any more, has its tenant stopped: a witness is a memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_witness_of_another_history_stops_the_tenant() {
    use strongroom_client::{Connect, Home, Reason};
    use strongroom_core::ledger::cosign::Witness;
    let mut shell = exported();
    let past = Past::keep(&mut shell).await;
    shell.run("strongroom --home labelco cat acme/rlhf/math/000010.json").ok();
    shell.run("strongroom --home lab audit export acme -o acme-ledger/").ok();
    let note = shell.read("acme-ledger/checkpoint");
    let witness = Witness::generate("watch.acme.example").unwrap().unwrap();
    let tenant = "acme".parse().unwrap();
    let show = async |shell: &Shell, note: String| {
        let connect = Connect::from_home(&Home::open(shell.folder().join("lab"))).unwrap();
        let cosigned = witness.cosign(note.as_bytes(), 1_700_000_000).unwrap();
        connect.open().await.unwrap().cosign(&tenant, witness.public(), cosigned.into_bytes().into()).await
    };
    show(&shell, note.clone()).await.unwrap();
    // One that the log did not sign is nobody's word.
    let size = note.lines().nth(1).unwrap();
    let forged = note.replacen(&format!("\n{size}\n"), &format!("\n{}9\n", size), 1);
    assert_eq!(show(&shell, forged).await.unwrap_err().reason(), Reason::InvalidArgument);
    // Witnesses are whoever an admin lets be one, and not without end.
    let as_home = async |shell: &Shell, home: &str, name: &str| {
        let vault = Connect::from_home(&Home::open(shell.folder().join(home))).unwrap().open().await.unwrap();
        let witness = Witness::generate(name).unwrap().unwrap();
        let cosigned = witness.cosign(note.as_bytes(), 1_700_000_000).unwrap();
        vault.cosign(&tenant, witness.public(), cosigned.into_bytes().into()).await
    };
    assert_eq!(as_home(&shell, "labelco", "labelco.example").await.unwrap_err().reason(), Reason::OutOfScope);
    for number in 1..16 {
        as_home(&shell, "lab", &format!("w{number}.example")).await.unwrap();
    }
    assert_eq!(as_home(&shell, "lab", "one.more.example").await.unwrap_err().reason(), Reason::QuotaExceeded);
    show(&shell, note.clone()).await.unwrap();
    past.put_back(&mut shell).await;
    for home in ["lab", "labelco"] {
        fs::remove_file(shell.folder().join(home).join("ledgers.json")).unwrap();
    }
    shell.run("strongroom --home labelco cat acme/rlhf/math/000011.json").ok();
    assert_eq!(show(&shell, note).await.unwrap_err().reason(), Reason::LedgerDiverged);
    shell.run("strongroom --home labelco cat acme/rlhf/math/000011.json").fails(5, "LEDGER_DIVERGED");
    let said = shell.run("strongroom --home ./vault/operator ledger status acme").ok();
    assert!(said.text().contains("STOPPED") && said.text().contains("a witness shows"), "{}", said.text());
    assert!(shell.server().terminate().success());
}
