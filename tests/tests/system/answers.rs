//! What a ledger answers: by the vault and by an export of it, to the byte; and what is asked about sessions' own words.

use serde_json::Value;
use strongroom_tests::process::Ran;
use strongroom_tests::sample;
use strongroom_tests::shell::Shell;

use crate::STRONGROOM;

/// A lab, a vendor with a worker, and a rival; all have read something, some wrote.
pub(crate) struct Affair {
    pub(crate) shell: Shell,
    pub(crate) labelco: String,
    pub(crate) worker: String,
    pub(crate) rival: String,
    pub(crate) root: String,
}

impl Affair {
    pub(crate) fn new() -> Self {
        let mut shell = Shell::new(STRONGROOM);
        shell.write("items.jsonl", sample::lines(40).concat());
        shell.write("label.json", "{\"label\":1}");
        shell.run("strongroom init ./vault").ok();
        strongroom_tests::configure(&shell.folder().join("vault"), "");
        shell.run("strongroom serve ./vault --listen 127.0.0.1:7443 &");
        login(&mut shell, "lab");
        shell.run("strongroom --home ./vault/operator tenant create acme --admin SHA256:…").ok();
        shell.run("strongroom --home lab put --split-lines items.jsonl acme/rlhf/math/ --create").ok();
        shell.run("strongroom --home lab put --split-lines items.jsonl acme/rlhf/secret-rival/").ok();
        let labelco = login(&mut shell, "labelco");
        shell.run("strongroom --home lab vendor add acme/labelco --key SHA256:…").ok();
        let rival = login(&mut shell, "rival");
        shell.run("strongroom --home lab vendor add acme/rivalcorp --key SHA256:…").ok();
        let root = shell.run(
            "strongroom --home lab grant issue --to acme/labelco --read acme/rlhf/math/ --write acme/rlhf/labels/ \
             --for 12h --max-bytes 10MiB --delegable",
        );
        let root = root.ok().word().to_owned();
        shell
            .run("strongroom --home lab grant issue --to acme/rivalcorp --read acme/rlhf/secret-rival/ --for 12h")
            .ok();
        let worker = login(&mut shell, "worker");
        shell
            .run(
                "strongroom --home labelco grant issue --to SHA256:… --read 'acme/rlhf/math/00000*' --for 1h \
                 --max-bytes 2KiB",
            )
            .ok();
        for (home, at) in [("labelco", 1), ("labelco", 12), ("worker", 1), ("worker", 2), ("worker", 1)] {
            shell.run(&format!("strongroom --home {home} cat acme/rlhf/math/{at:06}.json")).ok();
        }
        shell.run("strongroom --home labelco put label.json acme/rlhf/labels/1").ok();
        shell.run("strongroom --home rival cat acme/rlhf/secret-rival/000003.json").ok();
        shell.run("strongroom --home worker cat acme/rlhf/secret-rival/000003.json").fails(4, "OUT_OF_SCOPE");
        shell.run("strongroom --home lab put label.json acme/rlhf/math/000002.json").ok();
        shell.run("strongroom --home lab rm acme/rlhf/math/000012.json --yes").ok();
        Self { shell, labelco, worker, rival, root }
    }
}

pub(crate) fn login(shell: &mut Shell, home: &str) -> String {
    let ran = shell.run(&format!("strongroom --home {home} login 127.0.0.1:7443 --server-key SHA256:…")).ok();
    ran.text().split_whitespace().find(|word| word.starts_with("SHA256:")).unwrap().to_owned()
}

pub(crate) fn json(ran: &Ran) -> Vec<Value> {
    ran.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn an_export_answers_as_the_vault_does() {
    let Affair { mut shell, labelco, worker, rival, root } = Affair::new();
    shell.run("strongroom --home lab audit export acme -o acme-ledger/").ok();
    let sessions = json(&shell.run("strongroom --home lab audit log acme --event session.open --output json").ok());
    let of_worker = sessions.iter().find(|line| line["entry"]["actor"]["key"] == worker.as_str()).unwrap();
    let session = of_worker["entry"]["session"].as_str().unwrap().to_owned();
    let claims = &of_worker["private"]["claims"];
    let (sdk, host) = (claims["sdk"].as_str().unwrap(), claims["host"].as_str().unwrap());
    let asked = [
        String::new(),
        "--vendor labelco".to_owned(),
        "--vendor rivalcorp".to_owned(),
        format!("--worker {worker}"),
        format!("--worker {labelco}"),
        format!("--vendor labelco --key {labelco}"),
        format!("--key {rival}"),
        format!("--grant {root}"),
        format!("--session {session}"),
        "--vendor labelco --dataset rlhf --prefix math/00000*".to_owned(),
        format!("--vendor labelco --sdk '{sdk}'"),
        format!("--vendor labelco --host '{}*'", host.get(..1).unwrap_or_default()),
        "--sdk other".to_owned(),
        "--vendor labelco --job nightly".to_owned(),
        "--vendor labelco --since 1h".to_owned(),
        "--vendor labelco --until 1h".to_owned(),
    ];
    let mut answers = Vec::new();
    for flags in &asked {
        for form in ["--output json", "--output json --summary"] {
            let ask = |source: &str| format!("strongroom --home lab audit exposure {source} {flags} {form}");
            let (online, offline) = (shell.run(&ask("acme")).ok(), shell.run(&ask("./acme-ledger/")).ok());
            assert_eq!(online.text(), offline.text(), "{flags} {form}");
            answers.push((flags.clone(), json(&online)));
        }
        if flags.contains("--session") {
            shell.run(&format!("strongroom --home lab audit blast acme {flags}")).fails(2, "USAGE");
            continue;
        }
        let ask = |source: &str| format!("strongroom --home lab audit blast {source} {flags} --output json");
        let (online, offline) = (shell.run(&ask("acme")).ok(), shell.run(&ask("./acme-ledger/")).ok());
        assert_eq!(online.text(), offline.text(), "{flags}");
    }
    let objects = |flags: &str| answers.iter().find(|(asked, _)| asked == flags).unwrap().1.len();
    assert_eq!(objects("--vendor labelco"), 4, "000001, 000002, 000012 and the label");
    assert_eq!(objects(&format!("--worker {worker}")), 2);
    assert_eq!(objects(&format!("--worker {labelco}")), 4, "what it passed on was its to answer for");
    assert_eq!(objects(&format!("--vendor labelco --key {labelco}")), 3);
    assert_eq!(objects(&format!("--session {session}")), 1, "each command is a session");
    assert_eq!(objects("--vendor labelco --dataset rlhf --prefix math/00000*"), 2);
    assert_eq!(objects(&asked[10]), 4);
    assert_eq!(objects("--sdk other") + objects("--vendor labelco --job nightly"), 0);
    let sums = &answers.iter().rfind(|(asked, _)| asked == "--vendor labelco").unwrap().1[0];
    assert_eq!((&sums["overwritten"], &sums["deleted"], &sums["denied"]), (&1.into(), &1.into(), &1.into()), "{sums}");
    assert_eq!(sums["claims"][0]["sdk"], sdk);

    // Refused below the grant that is asked about, too.
    let sums = &answers.iter().rfind(|(asked, _)| *asked == format!("--grant {root}")).unwrap().1[0];
    assert_eq!(sums["denied"], 1, "{sums}");
    // Of nobody whom the ledger knows: a slip is no answer.
    for stranger in [
        "--grant gr_00000000000000000000000000000000".to_owned(),
        format!("--key SHA256:{}", "A".repeat(43)),
        format!("--session {}", "0".repeat(64)),
        format!("--session {} --vendor labelco", "0".repeat(64)),
    ] {
        for source in ["acme", "./acme-ledger/"] {
            shell.run(&format!("strongroom --home lab audit exposure {source} {stranger}")).fails(3, "NOT_FOUND");
        }
    }
    // Of a session that was opened, if by somebody else, it is one.
    let of_lab = sessions.iter().find(|line| line["entry"]["actor"]["role"] == "admin").unwrap();
    let of_lab = of_lab["entry"]["session"].as_str().unwrap().to_owned();
    shell.run(&format!("strongroom --home lab audit exposure acme --vendor labelco --session {of_lab}")).ok();
    shell.run("strongroom --home lab audit exposure acme --vendor labelco --since 1h --until 2h").fails(2, "USAGE");
    shell.run("strongroom --home lab audit exposure acme --vendor labelco --since 2100-01-01").fails(2, "USAGE");

    // Without a home, a server or a network; and a folder that was changed is not believed.
    shell.run("strongroom --home nobody audit exposure ./acme-ledger/ --vendor labelco").ok();
    shell.run("strongroom --home nobody audit exposure ./acme-ledger/ --vendor none").fails(3, "NOT_FOUND");
    shell.run("strongroom --home nobody audit exposure ./no-such/ --vendor labelco").fails(3, "IO");
    shell.write("acme-ledger/notes.txt", "x");
    shell.run("strongroom --home nobody audit exposure ./acme-ledger/ --vendor labelco").fails(5, "INTEGRITY");
    assert!(shell.server().terminate().success(), "{}", shell.server().stderr());
}

#[test]
fn a_blast_is_bounded_by_scope_budget_and_what_stands_above() {
    let Affair { mut shell, worker, .. } = Affair::new();
    let blast = |shell: &mut Shell, flags: &str| {
        json(&shell.run(&format!("strongroom --home lab audit blast acme {flags} --output json")).ok()).remove(0)
    };
    let vendor = blast(&mut shell, "--vendor labelco");
    // 40 items, one deleted, one with a second generation: all can still be asked for, but for the deleted one.
    assert_eq!(vendor["total"]["objects"], 40, "{vendor}");
    assert_eq!(vendor["new"]["objects"], 38, "{vendor}");
    let of_worker = blast(&mut shell, &format!("--worker {worker}"));
    let used: u64 = json(
        &shell
            .run(&format!("strongroom --home lab audit exposure acme --worker {worker} --summary --output json"))
            .ok(),
    )[0]["bytes_total"]
        .as_u64()
        .unwrap();
    let covered = of_worker["grants"][0]["covers"]["bytes"].as_u64().unwrap();
    let (most, bound) = if covered < 2048 - used { (covered, "scope") } else { (2048 - used, "budget") };
    assert_eq!(of_worker["grants"][0]["bound"], bound, "{of_worker}");
    assert_eq!(of_worker["total"]["bytes"].as_u64().unwrap(), most, "{of_worker}");
    let text = shell.run("strongroom --home lab audit blast acme --vendor labelco").ok();
    assert!(text.text().starts_with("What labelco could take from acme from now on"), "{}", text.text());
    shell
        .run("strongroom --home lab audit blast acme --vendor labelco --max-objects 39")
        .fails(3, "PRECONDITION_FAILED");
    shell
        .run("strongroom --home lab audit blast acme --vendor labelco --max-bytes 1KiB")
        .fails(3, "PRECONDITION_FAILED");
    shell.run("strongroom --home lab audit blast acme --vendor labelco --max-objects 40 --max-bytes 1GiB").ok();
    shell.run("strongroom --home lab dataset freeze acme/rlhf").ok();
    let frozen = blast(&mut shell, "--vendor labelco");
    assert_eq!((&frozen["total"]["objects"], &frozen["frozen"]), (&0.into(), &40.into()), "{frozen}");
    shell.run("strongroom --home lab dataset unfreeze acme/rlhf").ok();
    shell.run("strongroom --home lab vendor suspend acme/labelco").ok();
    let stopped = blast(&mut shell, "--vendor labelco");
    assert_eq!((&stopped["total"]["objects"], &stopped["suspended"]), (&0.into(), &2.into()), "{stopped}");
    assert!(shell.server().terminate().success(), "{}", shell.server().stderr());
}
