//! The worst day: a key is stolen, what the thief's process really read is counted, and the answer says exactly that.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use strongroom_test_services::{on_each_engine, on_python};
use strongroom_tests::oracle::Ledger;
use strongroom_tests::shell::Shell;

use crate::answers::{Affair, json};

/// What somebody read, by their own count.
#[derive(Debug, Default)]
struct Loot {
    objects: u64,
    bytes: u64,
    bytes_total: u64,
    denied: u64,
}

/// With a copy of the worker's key file, reads until nothing comes out any more, and a little further.
fn steal(shell: &mut Shell) -> Loot {
    let folder = shell.folder().join("thief");
    fs::create_dir_all(&folder).unwrap();
    for file in ["identity.pem", "server.json"] {
        fs::copy(shell.folder().join("worker").join(file), folder.join(file)).unwrap();
    }
    let mut loot = Loot::default();
    let mut had = std::collections::BTreeSet::new();
    for at in [3, 3, 4, 5, 6, 7, 8, 9, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3] {
        let ran = shell.run(&format!("strongroom --home thief cat acme/rlhf/math/{at:06}.json"));
        match ran.code {
            Some(0) => {
                let bytes = ran.stdout.len() as u64;
                if had.insert(at) {
                    loot.objects += 1;
                    loot.bytes += bytes;
                }
                loot.bytes_total += bytes;
            }
            _ => {
                ran.fails(4, "QUOTA_EXCEEDED");
                loot.denied += 1;
                if loot.denied == 3 {
                    break;
                }
            }
        }
    }
    shell.run("strongroom --home thief cat acme/rlhf/labels/1").fails(4, "OUT_OF_SCOPE");
    loot.denied += 1;
    assert!(loot.objects > 0 && loot.denied == 4, "{loot:?}");
    loot
}

/// The ledger's time of its newest entry, as people write it.
fn now(shell: &mut Shell) -> String {
    let log = json(&shell.run("strongroom --home lab audit log acme --output json").ok());
    log.last().unwrap()["time"].as_str().unwrap().to_owned()
}

async fn the_answer_is_what_the_thief_had() {
    let Affair { mut shell, worker, .. } = Affair::new();
    let since = now(&mut shell);
    let since_flag = format!("--since {}", next_milli(&since));
    let loot = steal(&mut shell);

    // What it would say, and that it stops nobody.
    let dry =
        shell.run(&format!("strongroom --home lab incident open acme/labelco {since_flag} --dry-run -o dry")).ok();
    assert!(dry.text().starts_with("DRY RUN about acme/labelco"), "{}", dry.text());
    shell.run("strongroom --home labelco cat acme/rlhf/math/000020.json").ok();
    let extra = shell.run("strongroom --home labelco cat acme/rlhf/math/000020.json").ok().stdout.len() as u64;
    assert!(json(&shell.run("strongroom --home lab incident list acme --output json").ok()).is_empty());
    shell.run("strongroom --home labelco incident open acme/labelco").fails(4, "OUT_OF_SCOPE");
    shell.run("strongroom --home lab incident open acme/nobody").fails(3, "NOT_FOUND");
    shell.run("strongroom --home lab incident open acme/labelco -o lab").fails(2, "USAGE");
    shell.run("strongroom --home lab incident open acme/labelco --since 2100-01-01").fails(2, "USAGE");
    shell.run("strongroom --home labelco cat acme/rlhf/math/000020.json").ok();

    let line = format!(
        "strongroom --home lab incident open acme/labelco {since_flag} --note \"a key is gone\" -o affair --output json"
    );
    let told = json(&shell.run(&line).ok()).remove(0);
    // The thief's, and what the vendor itself read since: one object, three times.
    assert_eq!(told["objects"], loot.objects + 1, "{told}");
    assert_eq!(told["bytes"], loot.bytes + extra, "{told}");
    assert_eq!(told["bytes_total"], loot.bytes_total + 3 * extra, "{told}");
    assert_eq!(told["denied"], loot.denied, "{told}");
    let of_worker = told["keys"].as_array().unwrap().iter().find(|key| key["key"] == worker.as_str()).unwrap();
    assert_eq!(of_worker["bytes_total"], loot.bytes_total, "{told}");
    let incident = told["incident"].as_str().unwrap().to_owned();
    let suspended = told["suspended"].as_u64().unwrap();
    let log = json(&shell.run("strongroom --home lab audit log acme --output json").ok());
    let entry = |event: &str| log.iter().rfind(|line| line["entry"]["event"] == event).unwrap();
    assert_eq!(entry("vendor.suspended")["entry"]["index"], suspended);
    assert_eq!(entry("vendor.suspended")["private"]["order"]["order"]["incident"], incident.as_str());
    assert!(entry("incident.opened")["entry"]["index"].as_u64().unwrap() < suspended);
    for home in ["labelco", "worker", "thief"] {
        shell.run(&format!("strongroom --home {home} cat acme/rlhf/math/000003.json")).fails(4, "VENDOR_SUSPENDED");
    }

    // The folder says the same, and what it holds holds.
    assert!(shell.read("affair/report.html").contains("<title>What"), "a page for whoever has to read it");
    let report: Value = serde_json::from_str(&shell.read("affair/report.json")).unwrap();
    assert_eq!(report["exposure"]["totals"]["bytes"], told["bytes"]);
    assert_eq!(shell.read("affair/exposure.jsonl").lines().count() as u64, loot.objects + 1);
    let answer = shell.read("affair/answer.txt");
    let lines: Vec<&str> = answer.lines().collect();
    assert!(lines.len() <= 13 && lines[0].starts_with(&format!("INCIDENT {incident} about acme/labelco")), "{answer}");
    for words in ["stopped", "exposed", "to whom", "not exposed", "still open", "kept", "now do", "incident close"] {
        assert!(lines.iter().any(|line| line.contains(words)), "{words} in {answer}");
    }
    shell.run("strongroom --home nobody audit verify affair/evidence.tar").ok();
    assert!(answer.contains("affair/: report.html, answer.txt"), "{answer}");
    for file in ["answer.txt", "report.html", "report.json", "exposure.jsonl", "evidence.tar"] {
        let mode = fs::metadata(shell.folder().join("affair").join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{file} is its owner's alone");
    }
    shell.run("strongroom --home nobody audit verify affair").fails(2, "USAGE");

    // Later: what belongs to it carries its id, and it is closed once.
    let shown = shell.run(&format!("strongroom --home lab incident show acme {incident}")).ok();
    for words in ["incident.opened", "vendor.suspended", "a key is gone", "open"] {
        assert!(shown.text().contains(words), "{words} in {}", shown.text());
    }
    let again =
        json(&shell.run("strongroom --home lab incident open acme/labelco -o again --output json").ok()).remove(0);
    assert_eq!(again["suspended"], suspended, "it was stopped already");
    shell.run(&format!("strongroom --home lab incident close acme {incident} --note done")).ok();
    shell.run(&format!("strongroom --home lab incident close acme {incident}")).fails(3, "PRECONDITION_FAILED");
    // By its id, what it asked is asked again, and its orders are found.
    let asked = format!("strongroom --home lab audit exposure acme --incident {incident}");
    let found = json(&shell.run(&format!("{asked} --summary --output json")).ok()).remove(0);
    for what in ["objects", "bytes", "bytes_total", "releases", "keys"] {
        assert_eq!(found[what], told[what], "{what}: {found}");
    }
    shell.run(&format!("{asked} --vendor labelco")).fails(2, "USAGE");
    let log = format!("strongroom --home lab audit log acme --incident {incident} --output json");
    let orders = json(&shell.run(&log).ok());
    let events: Vec<&Value> = orders.iter().map(|line| &line["entry"]["event"]).collect();
    assert_eq!(events, ["incident.opened", "vendor.suspended", "incident.closed", "denied"], "closed twice");
    let none = log.replace("--incident", "--event release --incident");
    assert!(json(&shell.run(&none).ok()).is_empty(), "no release belongs to it");
    let all = json(&shell.run("strongroom --home lab incident list acme --output json").ok());
    assert_eq!((all.len(), all[0]["closed"].is_u64(), all[1]["closed"].is_u64()), (2, true, false), "{all:?}");
    let lines = shell.run("strongroom --home lab audit log acme --vendor labelco").ok();
    assert!(lines.text().contains(&format!(" · {incident}")), "{}", lines.text());
    assert!(shell.server().terminate().success(), "{}", shell.server().stderr());
    let _ = Ledger::read(&shell.folder().join("vault"), "acme").await.assert_clean();
}

/// A millisecond later than a time of the ledger.
fn next_milli(time: &str) -> String {
    let (head, millis) = time.strip_suffix('Z').unwrap().rsplit_once('.').unwrap();
    let millis: u32 = millis.parse().unwrap();
    if millis < 999 { format!("{head}.{:03}Z", millis + 1) } else { time.to_owned() }
}

/// Everything in an archive, as one text.
fn text_of(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned()
}

#[test]
fn evidence_is_about_one_vendor_and_whoever_changes_it_is_found_out() {
    let Affair { mut shell, labelco, rival, worker, .. } = Affair::new();
    // What neither of them was ever let into.
    shell.run("strongroom --home lab dataset create acme/merger").ok();
    shell.run("strongroom --home lab dataset freeze acme/merger --note hush").ok();
    shell.run("strongroom --home lab audit export acme -o acme-ledger/").ok();
    shell.run("strongroom --home lab audit evidence acme --vendor rivalcorp -o rival.tar").ok();
    shell.run(&format!("strongroom --home lab audit evidence acme --worker {worker} -o worker.tar")).ok();
    shell.run(&format!("strongroom --home lab audit evidence acme --key {labelco} -o key.tar")).ok();
    shell.run("strongroom --home lab audit evidence acme --vendor labelco -o labelco.tar").ok();
    shell.run("strongroom --home nobody audit evidence ./acme-ledger/ --vendor labelco -o offline.tar").ok();
    let key = shell.read("acme-ledger/log-keys");
    for file in ["rival.tar", "labelco.tar", "worker.tar", "key.tar", "offline.tar"] {
        shell.run(&format!("strongroom --home nobody audit verify {file} --key {}", key.trim_end())).ok();
    }
    // A refusal names what was asked for: the worker's own words.
    let about = |name: &str, words: &[&str], not: &[&str]| {
        let text = text_of(&shell.folder().join(name));
        words.iter().for_each(|word| assert!(text.contains(word), "{word} is not in {name}"));
        not.iter().for_each(|word| assert!(!text.contains(word), "{word} is in {name}"));
    };
    about(
        "rival.tar",
        &["rivalcorp", &rival, "secret-rival/000003.json"],
        &["labelco", &labelco, &worker, "math/", "labels/", "merger", "hush"],
    );
    about(
        "labelco.tar",
        &["labelco", &labelco, &worker, "math/000001.json", "labels/1"],
        &["rivalcorp", &rival, "secret-rival/000004.json", "math/000005.json", "merger", "hush"],
    );
    for name in ["worker.tar", "key.tar"] {
        about(name, &["math/000001.json"], &["rivalcorp", &rival, "math/000005.json", "merger", "hush"]);
    }
    shell.run("strongroom --home lab audit evidence acme -o all.tar").fails(2, "USAGE");
    shell.run("strongroom --home labelco audit evidence acme --vendor labelco -o own.tar").fails(4, "OUT_OF_SCOPE");

    // Sealed to somebody, it is nobody else's to read.
    let identity = age::x25519::Identity::generate();
    let to = identity.to_public();
    shell.run(&format!("strongroom --home lab audit evidence acme --vendor labelco -o sealed.age --to {to}")).ok();
    let sealed = fs::read(shell.folder().join("sealed.age")).unwrap();
    assert!(!String::from_utf8_lossy(&sealed).contains("labelco"));
    fs::write(shell.folder().join("opened.tar"), age::decrypt(&identity, &sealed).unwrap()).unwrap();
    shell.run("strongroom --home nobody audit verify opened.tar").ok();
    shell.run("strongroom --home nobody audit verify sealed.age").fails(3, "PRECONDITION_FAILED");
    // What asks for more than an archive can prove is not passed over.
    shell.run("strongroom --home nobody audit verify opened.tar --since acme-ledger/checkpoint").fails(2, "USAGE");
    shell.run("strongroom --home nobody audit verify opened.tar --snapshot x").fails(2, "USAGE");
    shell.write("notes.txt", "nothing of the kind");
    shell.run("strongroom --home nobody audit verify notes.txt").fails(5, "INTEGRITY");

    // A byte of each file that counts, and the archive holds no more.
    let whole = fs::read(shell.folder().join("labelco.tar")).unwrap();
    let find = |needle: &str| whole.windows(needle.len()).position(|at| at == needle.as_bytes()).unwrap();
    for needle in ["\"event\":\"release\"", "\"salt\":\"", "\"bytes_total\":"] {
        let at = find(needle) + needle.len() + 2;
        let mut changed = whole.clone();
        changed[at] = if changed[at] == b'1' { b'2' } else { b'1' };
        fs::write(shell.folder().join("changed.tar"), changed).unwrap();
        shell.run("strongroom --home nobody audit verify changed.tar").fails(5, "INTEGRITY");
    }
    for cut in [5000, whole.len() / 2] {
        fs::write(shell.folder().join("changed.tar"), &whole[..cut]).unwrap();
        shell.run("strongroom --home nobody audit verify changed.tar").fails(5, "INTEGRITY");
    }
    assert!(shell.server().terminate().success(), "{}", shell.server().stderr());
}

#[test]
fn exactly_what_was_exposed_gets_new_keys() {
    let Affair { mut shell, .. } = Affair::new();
    let exposed = |shell: &mut Shell| {
        let ran = shell.run("strongroom --home lab audit exposure acme --vendor labelco --output json").ok();
        let state =
            |line: &Value| (line["path"].as_str().unwrap().to_owned(), line["state"].as_str().unwrap().to_owned());
        json(&ran).iter().map(state).collect::<Vec<_>>()
    };
    let states = |all: &[(&str, &str)]| -> Vec<(String, String)> {
        all.iter().map(|(path, state)| ((*path).to_owned(), (*state).to_owned())).collect()
    };
    let before = [
        ("labels/1", "current"),
        ("math/000001.json", "current"),
        ("math/000002.json", "overwritten"),
        ("math/000012.json", "deleted"),
    ];
    assert_eq!(exposed(&mut shell), states(&before));
    let told =
        json(&shell.run("strongroom --home lab incident open acme/labelco -o affair --output json").ok()).remove(0);
    let incident = told["incident"].as_str().unwrap().to_owned();
    shell.run("strongroom --home lab key rekey acme --yes").fails(2, "USAGE");
    shell.run("strongroom --home lab key rekey acme/rlhf/ --exposed-by labelco --yes").fails(2, "USAGE");
    let line = format!("strongroom --home lab key rekey acme --incident {incident} --yes --output json");
    let done = json(&shell.run(&line).ok()).remove(0);
    assert_eq!((&done["done"], &done["left"]), (&2.into(), &2.into()), "{done}");
    // What was done for it carries its id, in the admin's own signed words: read once, and put once.
    let log = format!("strongroom --home lab audit log acme --incident {incident} --output json");
    let all = json(&shell.run(&log).ok());
    let of_calls: Vec<&Value> = all.iter().filter(|line| !line["entry"]["call"].is_null()).collect();
    let events: Vec<_> = of_calls.iter().map(|line| line["entry"]["event"].as_str().unwrap()).collect();
    assert!(events.contains(&"release") && events.contains(&"object.rekeyed"), "{events:?}");
    assert!(of_calls.iter().all(|line| line["private"]["incident"] == incident.as_str()), "{of_calls:?}");
    let objects = |event: &str, list: &str| -> usize {
        let lines = of_calls.iter().filter(|line| line["entry"]["event"] == event);
        lines.map(|line| line["entry"][list].as_array().unwrap().len()).sum()
    };
    assert_eq!((objects("release", "objects"), objects("object.rekeyed", "puts")), (2, 2));
    let again = json(&shell.run("strongroom --home lab key rekey acme --exposed-by labelco --yes --output json").ok())
        .remove(0);
    assert_eq!((&again["done"], &again["left"]), (&0.into(), &4.into()), "{again}");
    let after = before.map(|(path, state)| (path, if state == "current" { "rekeyed" } else { state }));
    assert_eq!(exposed(&mut shell), states(&after));
    // What nobody had was not touched: each has one generation.
    let listed = json(&shell.run("strongroom --home lab ls acme/rlhf/math/ --output json").ok());
    let rekeyed: Vec<_> = listed
        .iter()
        .filter(|line| line["generation"].as_u64() > Some(1))
        .map(|line| line["path"].to_string())
        .collect();
    assert_eq!(rekeyed.len(), 2, "000001, and 000002 which was overwritten: {rekeyed:?}");
    shell.run(&format!("strongroom --home lab key shred acme/rlhf/math/000001.json --incident {incident} --yes")).ok();
    let after = after.map(|(path, state)| (path, if path == "math/000001.json" { "shredded" } else { state }));
    assert_eq!(exposed(&mut shell), states(&after));
    // A delete may name it, too; an incident that nobody opened, nothing may.
    let rm = "rm acme/rlhf/labels/1 --yes --incident";
    let nothing = "in_00000000000000000000000000000000";
    shell.run(&format!("strongroom --home lab {rm} {nothing}")).fails(3, "NOT_FOUND");
    shell.run(&format!("strongroom --home lab {rm} {incident}")).ok();
    let shown = shell.run(&format!("strongroom --home lab incident show acme {incident}")).ok();
    for words in ["object.shredded", "object.deleted", "object.rekeyed", "2 objects ("] {
        assert!(shown.text().contains(words), "{words}: {}", shown.text());
    }
    let line = format!("strongroom --home lab incident show acme {incident} --output json");
    let shown = json(&shell.run(&line).ok()).remove(0);
    let shredded =
        shown["orders"].as_array().unwrap().iter().find(|order| order["event"] == "object.shredded").unwrap();
    assert_eq!(shredded["dataset"], "rlhf");
    let calls = shown["calls"].as_array().unwrap();
    let deleted = calls.iter().find(|calls| calls["event"] == "object.deleted").unwrap();
    assert_eq!((&deleted["entries"], &deleted["objects"]), (&1.into(), &1.into()), "{deleted}");
    assert!(!calls.iter().any(|calls| calls["event"] == "denied"), "what named another: {calls:?}");
    // An export of the ledger tells the same, without a vault.
    shell.run("strongroom --home lab audit export acme -o acme-ledger/").ok();
    for verb in ["list", "show"] {
        let id = if verb == "show" { &incident[..] } else { "" };
        let told = |shell: &mut Shell, home: &str, source: &str| {
            shell
                .run(&format!("strongroom --home {home} incident {verb} {source} {id} --output json"))
                .ok()
                .text()
                .to_owned()
        };
        assert_eq!(told(&mut shell, "lab", "acme"), told(&mut shell, "nobody", "./acme-ledger/"), "{verb}");
    }
    shell.run(&format!("strongroom --home nobody incident show ./acme-ledger/ {nothing}")).fails(3, "NOT_FOUND");
    let said = shell.run("strongroom --home lab audit exposure acme --vendor labelco --summary").ok();
    assert!(said.text().contains("1 overwritten, 1 deleted, 1 shredded"), "{}", said.text());
    shell.run(&format!("strongroom --home lab audit evidence acme --incident {incident} -o after.tar")).ok();
    shell.run("strongroom --home nobody audit verify after.tar").ok();
    shell
        .run(&format!("strongroom --home lab audit evidence acme --vendor labelco --incident {incident} -o x.tar"))
        .fails(2, "USAGE");
    shell
        .run("strongroom --home lab vendor resume acme/labelco --incident in_00000000000000000000000000000000")
        .fails(3, "NOT_FOUND");
    assert!(shell.server().terminate().success(), "{}", shell.server().stderr());
}

on_python! {
    #[test]
    fn another_program_verifies_the_evidence() {
        let Affair { mut shell, .. } = Affair::new();
        shell.run("strongroom --home lab incident open acme/labelco --note gone -o affair").ok();
        let verdict = json(&shell.run("strongroom --home nobody audit verify affair/evidence.tar --output json").ok()).remove(0);
        let run = |file: &str| {
            let program = concat!(env!("CARGO_MANIFEST_DIR"), "/../core/tests/log/verify_evidence.py");
            Command::new("python3").arg("-B").arg(program).arg(shell.folder().join(file)).output().unwrap()
        };
        let said = run("affair/evidence.tar");
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        let numbers: Vec<u64> =
            String::from_utf8(said.stdout).unwrap().split_whitespace().map(|number| number.parse().unwrap()).collect();
        let of = |name: &str| verdict[name].as_u64().unwrap();
        assert_eq!(
            numbers,
            [of("entries"), of("signatures"), of("releases"), 0, of("objects"), of("bytes"), of("bytes_total")]
        );
        let mut changed = fs::read(shell.folder().join("affair/evidence.tar")).unwrap();
        let needle = b"\"event\":\"release\"";
        let at = changed.windows(needle.len()).position(|at| at == needle).unwrap();
        changed[at + needle.len() + 20] ^= 1;
        fs::write(shell.folder().join("changed.tar"), changed).unwrap();
        assert!(!run("changed.tar").status.success());
        assert!(shell.server().terminate().success(), "{}", shell.server().stderr());
    }
}

on_each_engine! {
    (flavor = "current_thread")
    the_answer_is_what_the_thief_had,
}
