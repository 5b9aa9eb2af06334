//! `audit export --format`: what other programs read is what the ledger says, from the vault and from an export alike.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;
use strongroom_test_services::{on_readers, readers};
use strongroom_tests::shell::Shell;

use super::export::{exported, size_of};

/// A shell beside a vault with some activity, also of a path that would be a formula, exported to `acme-ledger`.
fn told() -> Shell {
    let mut shell = exported();
    shell.write("formula.json", "{}");
    shell.run("strongroom --home lab put formula.json acme/rlhf/=1+1").ok();
    shell.run("strongroom --home lab rm acme/rlhf/math/000019.json --yes").ok();
    shell.run("strongroom --home lab vendor suspend acme/labelco --note '=incident 42'").ok();
    shell.run("strongroom --home labelco cat acme/rlhf/math/000000.json").fails(4, "VENDOR_SUSPENDED");
    let opened = shell.run("strongroom --home lab incident open acme/labelco -o affair --output json").ok();
    let incident = lines(opened.text())[0]["incident"].as_str().unwrap().to_owned();
    shell.run(&format!("strongroom --home lab rm acme/rlhf/math/000018.json --yes --incident {incident}")).ok();
    shell.run("strongroom --home lab audit export acme -o acme-ledger/").ok();
    shell
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn every_form_tells_what_the_ledger_says() {
    let mut shell = told();
    let size = size_of(&shell);
    for form in ["jsonl", "csv", "ocsf", "parquet"] {
        shell.run(&format!("strongroom --home lab audit export acme --format {form} -o vault.{form}")).ok();
        shell.run(&format!("strongroom audit export acme-ledger/ --format {form} -o folder.{form}")).ok();
        let read = |name: &str| std::fs::read(shell.folder().join(format!("{name}.{form}"))).unwrap();
        assert!(read("vault") == read("folder"), "{form}: the vault and its export differ");
    }
    let entries = lines(&shell.read("vault.jsonl"));
    assert_eq!(entries.len() as u64, size);
    let log = shell.run("strongroom --home lab audit log acme --output json").ok();
    for (line, entry) in lines(log.text()).iter().zip(&entries) {
        let public = &line["entry"];
        for field in ["index", "event", "outcome", "reason", "count", "session", "call", "order", "grants", "node"] {
            assert_eq!(public[field], entry[field], "{field}");
        }
        assert_eq!((&line["time"], &public["actor"]["key"]), (&entry["time"], &entry["key"]));
        assert_eq!(line["private"]["source"], entry["source"]);
        let name = |part: &Value| format!("{}/{}", part["dataset"].as_str().unwrap(), part["path"].as_str().unwrap());
        let names: Vec<Value> = entry["objects"].as_array().unwrap().iter().map(|part| name(part).into()).collect();
        assert_eq!(line["objects"], Value::Array(names), "{entry}");
    }
    let released = entries.iter().filter(|entry| entry["event"] == "release").collect::<Vec<_>>();
    assert_eq!(released.len(), 4);
    assert!(released.iter().all(|entry| entry["vendor"] == "labelco" && entry["role"] == "vendor"), "{released:?}");
    assert!(released.iter().all(|entry| entry["objects"][0]["end_segment"] == 1));
    let note = entries.iter().find(|entry| entry["event"] == "vendor.suspended").unwrap();
    assert_eq!(note["instruction"]["suspend_vendor"]["note"], "=incident 42");
    // Orders and calls of an incident have its id, in a SIEM as what correlates them.
    let opened = entries.iter().find(|entry| entry["event"] == "incident.opened").unwrap();
    let of_incident = entries.iter().filter(|entry| !entry["incident"].is_null()).collect::<Vec<_>>();
    let events = of_incident.iter().map(|entry| entry["event"].as_str().unwrap()).collect::<Vec<_>>();
    assert_eq!(events, ["incident.opened", "object.deleted"], "it was suspended before");
    assert!(of_incident.iter().all(|entry| entry["incident"] == opened["incident"]), "{of_incident:?}");

    // A spreadsheet is told no formula.
    let csv = shell.read("vault.csv");
    assert!(csv.contains(",'=1+1,") && !csv.contains(",=1+1,"), "{csv}");
    let events = lines(&shell.read("vault.ocsf"));
    let mut activities: BTreeMap<(String, u64), u64> = BTreeMap::new();
    for event in &events {
        let operation = event["api"]["operation"].as_str().unwrap().to_owned();
        *activities.entry((operation, event["activity_id"].as_u64().unwrap())).or_default() += 1;
        let of_activity = 600_300 + event["activity_id"].as_u64().unwrap();
        assert_eq!(event["type_uid"].as_u64().unwrap(), of_activity);
    }
    let correlated = events.iter().map(|event| &event["metadata"]["correlation_uid"]).filter(|id| !id.is_null());
    assert!(correlated.eq(of_incident.iter().map(|entry| &entry["incident"])));
    assert_eq!(activities[&("release".to_owned(), 2)], 4);
    assert_eq!(activities[&("denied".to_owned(), 2)], 2, "a read that was refused: {activities:?}");
}

#[test]
fn a_form_goes_on_where_it_ended() {
    let mut shell = told();
    let size = size_of(&shell);
    shell.run("strongroom --home lab audit export acme --format jsonl -o whole.jsonl").ok();
    for ledger in ["--home lab audit export acme", "audit export acme-ledger/"] {
        let mut joined = String::new();
        let mut from = 0;
        for to in ["7".to_owned(), "8".to_owned(), "8".to_owned(), size.to_string()] {
            let said = shell
                .run(&format!("strongroom {ledger} --format jsonl --from {from} --to {to} -o part.jsonl --output json"))
                .ok();
            let said: Value = serde_json::from_str(said.text()).unwrap();
            assert_eq!((&said["from"], &said["next"]), (&from.into(), &to.parse::<u64>().unwrap().into()));
            from = said["next"].as_u64().unwrap();
            joined += &shell.read("part.jsonl");
        }
        assert_eq!(joined, shell.read("whole.jsonl"), "{ledger}");
        // What is not there cannot be asked for, and no file is left of it.
        let beyond = format!("strongroom {ledger} --format csv --from {} -o beyond.csv", size + 1);
        shell.run(&beyond).fails(3, "PRECONDITION_FAILED");
        assert!(!shell.folder().join("beyond.csv").exists());
    }
    let stream = shell.run("strongroom audit export acme-ledger/ --format jsonl -o -").ok();
    assert_eq!(stream.text().trim_end(), shell.read("whole.jsonl").trim_end());
    // To admins alone; a folder has no copy; an export that was changed is no source.
    shell.run("strongroom --home labelco audit export acme --format csv -o theirs.csv").fails(4, "OUT_OF_SCOPE");
    shell.run("strongroom audit export acme-ledger/ -o copy/").fails(2, "USAGE");
    shell.run("strongroom audit export nowhere/ --format csv -o nowhere.csv").fails(3, "IO");
    let bundle =
        strongroom_core::ledger::tile::Tile::of(strongroom_core::ledger::tile::Kind::Private, 0, size).unwrap();
    let file = shell.folder().join("acme-ledger").join(bundle.to_string());
    let mut bytes = std::fs::read(&file).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    std::fs::write(file, bytes).unwrap();
    shell.run("strongroom audit export acme-ledger/ --format csv -o broken.csv").fails(5, "INTEGRITY");
    assert!(!shell.folder().join("broken.csv").exists());
}

on_readers! {
    /// Programs that share no code with strongroom read the forms, and all come to the same.
    #[test]
    fn other_programs_read_the_forms() {
        let mut shell = told();
        for form in ["jsonl", "csv", "parquet", "ocsf"] {
            shell.run(&format!("strongroom audit export acme-ledger/ --format {form} -o acme.{form}")).ok();
        }
        let said = Command::new(readers())
            .current_dir(shell.folder())
            .args(["-B", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/system/forms.py"), "acme"])
            .output()
            .unwrap();
        let (out, error) = (String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
        assert!(said.status.success(), "{out}{error}");
        assert_eq!(out.trim(), format!("{} entries", size_of(&shell)), "{error}");
    }
}
