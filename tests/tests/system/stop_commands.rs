//! The commands that stop somebody, and those that tell what stands and why, against a server in a process of its own.

use serde_json::Value;
use strongroom_test_services::on_each_engine;
use strongroom_tests::process::Ran;
use strongroom_tests::shell::Shell;

use crate::STRONGROOM;

struct Site {
    shell: Shell,
    labelco: String,
    worker: String,
    root: String,
}

/// A lab with a vendor that has passed its grant on to a worker; each has read an item.
fn site() -> Site {
    let mut shell = Shell::new(STRONGROOM);
    shell.write("items.jsonl", "{\"a\":1}\n{\"a\":2}\n{\"a\":3}\n");
    shell.run("strongroom init ./vault").ok();
    strongroom_tests::configure(&shell.folder().join("vault"), "");
    shell.run("strongroom serve ./vault --listen 127.0.0.1:7443 &");
    login(&mut shell, "lab");
    shell.run("strongroom --home ./vault/operator tenant create acme --admin SHA256:…").ok();
    shell.run("strongroom --home lab put --split-lines items.jsonl acme/rlhf/math/ --create").ok();
    let labelco = login(&mut shell, "labelco");
    shell.run("strongroom --home lab vendor add acme/labelco --key SHA256:…").ok();
    let root = shell.run(
        "strongroom --home lab grant issue --to acme/labelco --read acme/rlhf/math/ --for 12h --max-bytes 10MiB --delegable",
    );
    let root = root.ok().word().to_owned();
    let worker = login(&mut shell, "worker");
    shell.run("strongroom --home labelco grant issue --to SHA256:… --read 'acme/rlhf/math/00000*' --for 15m --max-bytes 1KiB").ok();
    for home in ["labelco", "worker"] {
        shell.run(&format!("strongroom --home {home} cat acme/rlhf/math/000001.json")).ok();
    }
    Site { shell, labelco, worker, root }
}

fn login(shell: &mut Shell, home: &str) -> String {
    let ran = shell.run(&format!("strongroom --home {home} login 127.0.0.1:7443 --server-key SHA256:…")).ok();
    ran.text().split_whitespace().find(|word| word.starts_with("SHA256:")).unwrap().to_owned()
}

fn json(ran: &Ran) -> Vec<Value> {
    ran.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Whether both grants are told to stand so, and the vendor's is with these words.
fn stands(state: &str, words: &str, root: &str, shell: &mut Shell) {
    let listed = json(&shell.run("strongroom --home lab grant list acme --output json").ok());
    assert!(listed.len() == 2 && listed.iter().all(|line| line["state"] == state), "{state}: {listed:?}");
    let shown = shell.run(&format!("strongroom --home lab grant show acme {root}")).ok();
    assert!(shown.text().contains(words), "{words} in {}", shown.text());
    let live = json(&shell.run("strongroom --home lab grant list acme --live --output json").ok());
    assert_eq!(live.len(), if state == "live" { 2 } else { 0 });
}

async fn who_is_stopped_is_told_so() {
    let Site { mut shell, labelco, root, .. } = site();
    let read =
        |home: &str, shell: &mut Shell| shell.run(&format!("strongroom --home {home} cat acme/rlhf/math/000001.json"));

    shell.run("strongroom --home lab dataset freeze acme/rlhf --note \"incident 42\"").ok();
    for home in ["lab", "labelco", "worker"] {
        read(home, &mut shell).fails(4, "FROZEN");
    }
    let listed = shell.run("strongroom --home lab dataset list acme").ok();
    assert!(listed.text().contains("frozen (entry "), "{}", listed.text());
    let listed = json(&shell.run("strongroom --home lab dataset show acme/rlhf --output json").ok());
    assert!(listed[0]["frozen"].is_u64(), "{listed:?}");
    stands("frozen", "acme/rlhf is frozen: nobody reads or writes there", &root, &mut shell);
    shell.run("strongroom --home lab dataset delete acme/rlhf --yes").fails(4, "FROZEN");
    shell.run("strongroom --home labelco dataset unfreeze acme/rlhf").fails(4, "OUT_OF_SCOPE");
    let text =
        shell.run(&format!("strongroom --home lab grant explain acme/rlhf/math/000001.json --as {labelco}")).ok();
    assert!(text.text().contains("no, FROZEN") && text.text().contains("(frozen)"), "{}", text.text());
    shell.run("strongroom --home lab dataset unfreeze acme/rlhf").ok();
    shell.run("strongroom --home lab dataset unfreeze acme/rlhf").fails(3, "PRECONDITION_FAILED");
    read("worker", &mut shell).ok();

    stands("live", "", &root, &mut shell);

    shell.run("strongroom --home lab tenant freeze acme --note everything").ok();
    stands("frozen", "acme is frozen", &root, &mut shell);
    read("lab", &mut shell).fails(4, "FROZEN");
    read("worker", &mut shell).fails(4, "FROZEN");
    shell.run("strongroom --home ./vault/operator tenant unfreeze acme").fails(4, "OUT_OF_SCOPE");
    shell.run("strongroom --home lab tenant unfreeze acme").ok();
    read("worker", &mut shell).ok();

    shell.run("strongroom --home worker vendor suspend --self acme").fails(4, "OUT_OF_SCOPE");
    shell.run("strongroom --home labelco vendor suspend --self acme/other").fails(2, "USAGE");
    shell.run("strongroom --home labelco vendor suspend acme/labelco").fails(4, "OUT_OF_SCOPE");
    let stopped = shell.run("strongroom --home labelco vendor suspend --self acme --note \"a laptop is gone\"").ok();
    assert!(stopped.text().starts_with("acme/labelco is suspended"), "{}", stopped.text());
    stands("suspended", "until it is resumed", &root, &mut shell);
    read("labelco", &mut shell).fails(4, "VENDOR_SUSPENDED");
    read("worker", &mut shell).fails(4, "VENDOR_SUSPENDED");
    shell.run("strongroom --home lab vendor resume acme/labelco").ok();
    read("worker", &mut shell).ok();

    shell.run(&format!("strongroom --home lab key block {labelco}")).fails(4, "OUT_OF_SCOPE");
    shell.run(&format!("strongroom --home ./vault/operator key block {labelco} --note \"seen on a forum\"")).ok();
    read("labelco", &mut shell).fails(4, "KEY_BLOCKED");
    read("worker", &mut shell).fails(4, "GRANT_REVOKED");
    shell.run("strongroom --home labelco whoami").fails(4, "KEY_BLOCKED");
    stands("blocked", "until it is unblocked", &root, &mut shell);
    let shown = shell.run("strongroom --home lab vendor show acme/labelco").ok();
    assert!(shown.text().contains(&format!("{labelco} (blocked by an operator)")), "{}", shown.text());
    let blocked = json(&shell.run("strongroom --home ./vault/operator key blocked --output json").ok());
    assert_eq!(blocked[0]["key"], labelco.as_str());
    shell.run(&format!("strongroom --home ./vault/operator key unblock {labelco}")).ok();
    read("worker", &mut shell).ok();

    let log = shell.run("strongroom --home lab audit log acme").ok();
    for words in ["dataset.frozen", "incident 42", "tenant.unfrozen", "everything", "a laptop is gone"] {
        assert!(log.text().contains(words), "{words} in {}", log.text());
    }
    // It is told of the key that it knows, in the operators' own words.
    for words in ["key.blocked", "key.unblocked", "seen on a forum"] {
        assert!(log.text().contains(words), "{words} in {}", log.text());
    }
    let tenants = shell.run("strongroom --home ./vault/operator tenant list --output json").ok();
    let tenants = json(&tenants);
    let own = tenants.iter().filter_map(|line| line["tenant"].as_str()).find(|name| name.starts_with("operators."));
    let log = shell.run(&format!("strongroom --home ./vault/operator audit log {}", own.unwrap())).ok();
    for words in ["key.blocked", "key.unblocked", "seen on a forum"] {
        assert!(log.text().contains(words), "{words} in {}", log.text());
    }
    assert!(shell.server().terminate().success(), "{}", shell.server().stderr());
    for tenant in ["acme", own.unwrap()] {
        let ledger = strongroom_tests::oracle::Ledger::read(&shell.folder().join("vault"), tenant).await;
        let _ = ledger.assert_clean();
    }
}

async fn what_stands_and_why_is_told() {
    let Site { mut shell, labelco, worker, root } = site();
    let listed = shell.run("strongroom --home lab grant list acme").ok();
    let lines: Vec<&str> = listed.text().lines().collect();
    assert!(lines.len() == 3 && lines[1].starts_with(&root) && lines[2].starts_with("└ gr_"), "{}", listed.text());
    assert!(lines[1].contains("16 B of 10 MiB used") && lines[2].contains("1016 B"), "{}", listed.text());
    let listed = json(&shell.run("strongroom --home labelco grant list acme --mine --output json").ok());
    let depths: Vec<_> = listed.iter().map(|line| line["depth"].as_u64().unwrap()).collect();
    assert_eq!(depths, [0, 1]);
    assert_eq!(
        (&listed[0]["grant"], &listed[1]["terms"]["parent"]),
        (&Value::from(root.clone()), &Value::from(root.clone()))
    );
    assert_eq!(listed[1]["left"]["bytes"], 1016);
    let child = listed[1]["grant"].as_str().unwrap();
    assert_eq!(
        json(&shell.run("strongroom --home worker grant list acme --output json").ok()).len(),
        1,
        "only its own"
    );
    assert!(shell.run("strongroom --home lab grant list acme --unused 30d --output json").ok().text().is_empty());
    assert_eq!(json(&shell.run("strongroom --home lab grant list acme --live --output json").ok()).len(), 2);

    let touching = |home: &str, place: &str, shell: &mut Shell| {
        json(&shell.run(&format!("strongroom --home {home} grant list --touching {place} --output json")).ok()).len()
    };
    let cases =
        [("acme/rlhf/", 2), ("acme/rlhf/math/", 2), ("'acme/rlhf/math/00001*'", 1), ("acme/rlhf/math/000007.json", 2)];
    for (place, count) in cases.into_iter().chain([("'acme/rlhf/ma*'", 2), ("acme/rlhf/labels/", 0), ("acme/none/", 0)])
    {
        assert_eq!(touching("lab", place, &mut shell), count, "{place}");
        assert_eq!(touching("labelco", place, &mut shell), count, "{place}");
    }
    shell.run("strongroom --home lab grant list").fails(2, "USAGE");

    let shown = shell.run(&format!("strongroom --home labelco grant show acme {child}")).ok();
    for words in [
        "may list and read acme/rlhf under math/00000*",
        "8 B of 1 KiB used",
        "It comes from:\nlabelco may",
        "Left of it",
    ] {
        assert!(shown.text().contains(words), "{words} in {}", shown.text());
    }

    let explained = |key: &str, path: &str, shell: &mut Shell| {
        shell.run(&format!("strongroom --home lab grant explain acme/rlhf/{path} --as {key}")).ok().text().to_owned()
    };
    let text = explained(&worker, "math/000001.json", &mut shell);
    assert!(text.starts_with("Yes: it may read acme/rlhf/math/000001.json now.") && text.contains(&root), "{text}");
    let text = explained(&worker, "prompts.jsonl", &mut shell);
    assert!(text.starts_with("No: it may not read") && text.contains("OUT_OF_SCOPE"), "{text}");
    shell.run(&format!("strongroom --home lab grant revoke acme {root}")).ok();
    let text = explained(&worker, "math/000001.json", &mut shell);
    assert!(text.contains("GRANT_REVOKED") && text.contains(&format!("from {root} (revoked)")), "{text}");
    let told = json(&shell
        .run(&format!("strongroom --home lab grant explain acme/rlhf/math/000001.json --as {labelco} --action write --output json"))
        .ok());
    assert_eq!((&told[0]["allowed"], &told[0]["vendor"]), (&Value::from(false), &Value::from("labelco")));
    shell
        .run(&format!("strongroom --home labelco grant explain acme/rlhf/math/000001.json --as {worker}"))
        .fails(4, "OUT_OF_SCOPE");

    // What one had oneself, of all tenants that this home has met.
    let mine = shell.run("strongroom --home worker audit mine").ok();
    assert!(mine.text().lines().count() == 1 && mine.text().contains("rlhf/math/000001.json, 8 B"), "{}", mine.text());
    let mine = json(&shell.run("strongroom --home labelco audit mine acme --output json").ok());
    assert_eq!((mine.len(), &mine[0]["objects"][0]["object"]), (1, &Value::from("rlhf/math/000001.json")));
    assert_eq!((&mine[0]["key"], &mine[0]["grant"]), (&Value::from(labelco), &Value::from(root)));
    shell.run("strongroom --home labelco audit mine none").fails(4, "UNAUTHENTICATED");
    // Whoever reads under a grant that is about to end is told so, once, and reads on.
    shell
        .run(&format!("strongroom --home lab grant issue --to {worker} --read acme/rlhf/math/000002.json --for 50s"))
        .ok();
    let read = shell.run("strongroom --home worker cat acme/rlhf/math/000002.json").ok();
    assert_eq!(read.stderr.matches("ends within a minute").count(), 1, "{}", read.stderr);

    assert!(shell.server().terminate().success(), "{}", shell.server().stderr());
}

async fn a_vendors_keys_come_and_go() {
    let Site { mut shell, labelco, worker, .. } = site();
    let second = login(&mut shell, "second");
    let read =
        |home: &str, shell: &mut Shell| shell.run(&format!("strongroom --home {home} cat acme/rlhf/math/000001.json"));
    read("second", &mut shell).fails(4, "UNAUTHENTICATED");
    shell.run(&format!("strongroom --home lab vendor key add acme/labelco {second}")).ok();
    shell.run(&format!("strongroom --home lab vendor key add acme/labelco {second}")).fails(3, "PRECONDITION_FAILED");
    read("second", &mut shell).ok();
    let shown = shell.run("strongroom --home lab vendor show acme/labelco").ok();
    assert!(shown.text().contains(&second) && shown.text().contains(&labelco), "{}", shown.text());

    // What a revoked key passed on ends with it; the vendor goes on by its other key.
    shell.run(&format!("strongroom --home lab vendor key revoke acme/labelco {labelco}")).ok();
    read("labelco", &mut shell).fails(4, "UNAUTHENTICATED");
    read("worker", &mut shell).fails(4, "GRANT_REVOKED");
    read("second", &mut shell).ok();
    let listed = json(&shell.run("strongroom --home lab vendor list acme --output json").ok());
    assert_eq!((listed.len(), &listed[0]["vendor"], &listed[0]["state"]), (1, &"labelco".into(), &"live".into()));
    assert_eq!(listed[0]["keys"], Value::from(vec![second.clone()]));
    shell.run("strongroom --home second vendor list acme").fails(4, "OUT_OF_SCOPE");

    shell.run("strongroom --home lab vendor remove acme/labelco").fails(2, "USAGE");
    shell.run("strongroom --home lab vendor remove acme/labelco --yes").ok();
    read("second", &mut shell).fails(4, "UNAUTHENTICATED");
    shell.run(&format!("strongroom --home lab vendor add acme/labelco --key {worker}")).fails(3, "PRECONDITION_FAILED");
    let listed = json(&shell.run("strongroom --home lab grant list acme --output json").ok());
    assert!(listed.len() == 2 && listed.iter().all(|line| line["state"] == "revoked"), "{listed:?}");
    assert!(shell.server().terminate().success(), "{}", shell.server().stderr());
}

/// One key is a vendor of two tenants: it is told of both in one call, and neither is told of the other.
async fn what_one_key_had_at_two_tenants() {
    let Site { mut shell, labelco, .. } = site();
    login(&mut shell, "other");
    shell.run("strongroom --home ./vault/operator tenant create zenith --admin SHA256:…").ok();
    shell.write("secret.txt", "theirs");
    shell.run("strongroom --home other put secret.txt zenith/vision/secret.txt --create").ok();
    shell.run(&format!("strongroom --home other vendor add zenith/annotators --key {labelco}")).ok();
    shell.run("strongroom --home other grant issue --to zenith/annotators --read zenith/vision/ --for 1h").ok();
    shell.run("strongroom --home labelco cat zenith/vision/secret.txt").ok();
    shell.run("strongroom --home labelco cat acme/rlhf/math/000002.json").ok();

    let names = |ran: &Ran| -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        json(ran).iter().map(|line| (text(&line["tenant"]), text(&line["objects"][0]["object"]))).collect()
    };
    let pair = |tenant: &str, object: &str| (tenant.to_owned(), object.to_owned());
    let own = [pair("acme", "rlhf/math/000001.json"), pair("acme", "rlhf/math/000002.json")];
    let all = [&own[..], &[pair("zenith", "vision/secret.txt")]].concat();
    for named in ["", "acme zenith"] {
        let mine = shell.run(&format!("strongroom --home labelco audit mine {named} --output json")).ok();
        assert_eq!(names(&mine), all, "{named}");
    }
    let mine = shell.run("strongroom --home labelco audit mine").ok();
    let lines: Vec<&str> = mine.text().lines().collect();
    assert!(lines.len() == 3 && lines[2].starts_with("zenith  ") && lines[2].contains("vision/secret.txt, 6 B"));
    // A key that another tenant knows is told nothing there, and its own all the same.
    shell.run("strongroom --home worker audit mine zenith").fails(4, "UNAUTHENTICATED");
    assert_eq!(names(&shell.run("strongroom --home worker audit mine --output json").ok()), own[..1]);

    // Neither lab learns of the other: not of its own ledger, nor of the vendor's key.
    for (home, tenant, vendor, foreign) in [
        ("lab", "acme", "labelco", ["zenith", "annotators", "vision"]),
        ("other", "zenith", "annotators", ["acme", "rlhf", "math"]),
    ] {
        for line in [
            format!("audit log {tenant}"),
            format!("audit exposure {tenant} --vendor {vendor} --output json"),
            format!("vendor show {tenant}/{vendor}"),
            format!("grant list {tenant}"),
            "whoami".to_owned(),
            "audit mine".to_owned(),
        ] {
            let told = shell.run(&format!("strongroom --home {home} {line}")).ok();
            assert!(!foreign.iter().any(|word| told.text().contains(word)), "{line}: {}", told.text());
        }
        let there = foreign[0];
        shell.run(&format!("strongroom --home {home} audit log {there}")).fails(4, "UNAUTHENTICATED");
    }

    // What one tenant does to its vendor is no business of the other's.
    shell.run("strongroom --home lab vendor suspend acme/labelco").ok();
    shell.run("strongroom --home labelco cat zenith/vision/secret.txt").ok();
    assert_eq!(
        names(&shell.run("strongroom --home labelco audit mine --output json").ok()).len(),
        4,
        "suspended, and told"
    );
    shell.run("strongroom --home lab vendor remove acme/labelco --yes").ok();
    let mine = shell.run("strongroom --home labelco audit mine --output json").ok();
    assert_eq!(names(&mine), [pair("zenith", "vision/secret.txt"), pair("zenith", "vision/secret.txt")]);
    assert!(mine.stderr.contains("acme does not know this key"), "{}", mine.stderr);

    assert!(shell.server().terminate().success(), "{}", shell.server().stderr());
    for (tenant, foreign) in [("acme", ["zenith", "annotators"]), ("zenith", ["acme", "labelco"])] {
        let ledger = strongroom_tests::oracle::Ledger::read(&shell.folder().join("vault"), tenant).await.assert_clean();
        for (public, private) in &ledger.entries {
            let text = [&public[..], private.as_deref().unwrap_or_default()].map(String::from_utf8_lossy);
            assert!(!foreign.iter().any(|word| text.iter().any(|part| part.contains(word))), "{text:?}");
        }
    }
}

on_each_engine! {
    (flavor = "current_thread")
    who_is_stopped_is_told_so,
    what_stands_and_why_is_told,
    what_one_key_had_at_two_tenants,
    a_vendors_keys_come_and_go,
}
