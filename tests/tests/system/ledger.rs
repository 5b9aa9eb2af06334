//! `ledger status` and `ledger check`: an operator or an admin sees how a ledger stands, and what is wrong with it where it is.

use std::fs;
use std::path::{Path, PathBuf};

use futures::TryStreamExt;
use serde_json::Value;
use strongroom_client::ledgers::Told;
use strongroom_test_services::on_each_engine;
use strongroom_tests::shell::Shell;
use strongroom_tests::{TestVault, oracle, tamper};

use crate::export::{exported, serve};

fn status(shell: &mut Shell, who: &str) -> Value {
    let said = shell.run(&format!("strongroom --home {who} ledger status acme --output json")).ok();
    serde_json::from_str(said.text()).unwrap()
}

/// The folder of the tenant's ledger in the object store: the only one that has private parts.
fn logs(vault: &Path) -> PathBuf {
    let mut folders = fs::read_dir(tamper::logs(vault)).unwrap().map(|entry| entry.unwrap().path());
    folders.find(|folder| folder.join("private").is_dir()).unwrap()
}

/// A bundle that is changed under a running server is handed out to nobody: who asks for it has the tenant stopped, and is told
/// which file it is.
#[test]
fn a_bundle_that_does_not_hash_to_its_tile_is_not_handed_out() {
    let mut shell = exported();
    let size = shell.read("acme-ledger/checkpoint").lines().nth(1).unwrap().to_owned();
    let name = format!("tile/entries/000.p/{size}");
    let file = logs(&shell.folder().join("vault")).join(&name);
    let mut bytes = fs::read(&file).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    fs::write(&file, bytes).unwrap();
    let said = shell.run("strongroom --home lab audit export acme -o fresh/");
    said.fails_after_log(5, "INTEGRITY");
    assert!(said.stderr.contains(&name), "{}", said.stderr);
    let said = shell.run("strongroom --home lab ledger status acme --output json").ok();
    let status: Value = serde_json::from_str(said.text()).unwrap();
    assert!(status["stopped"].as_str().is_some_and(|why| why.contains(&name)), "{status}");
    shell.run("strongroom --home labelco cat acme/rlhf/math/000007.json").fails(5, "INTEGRITY");
    assert!(shell.server().terminate().success());
}

#[test]
fn an_operator_and_an_admin_see_how_a_ledger_stands() {
    let mut shell = exported();
    shell.run("strongroom --home lab audit watch acme --state watch/ --once --cosign watch.acme.example").ok();
    for who in ["lab", "./vault/operator"] {
        let status = status(&mut shell, who);
        assert_eq!(status["stopped"], Value::Null);
        assert_eq!(status["problems"], serde_json::json!([]));
        assert_eq!(status["signed"], status["copied"]);
        assert_eq!((&status["lag"], &status["signed"]), (&Value::from(0), &status["entries"]));
        assert_eq!(status["signed_root"], status["tip"]);
        assert!(status["witnesses"][0]["witness"].as_str().unwrap().starts_with("watch.acme.example+"));
        shell.run(&format!("strongroom --home {who} ledger check acme")).ok();
    }
    let said = shell.run("strongroom --home ./vault/operator ledger status").ok();
    assert!(said.text().starts_with("acme: goes on"), "{}", said.text());
    for verb in ["status", "check"] {
        shell.run(&format!("strongroom --home labelco ledger {verb} acme")).fails(4, "OUT_OF_SCOPE");
        shell.run(&format!("strongroom --home lab ledger {verb} other")).fails(4, "UNAUTHENTICATED");
    }
    shell.run("strongroom --home lab ledger status").fails(4, "OUT_OF_SCOPE");
    // An export is not the vault's to check, and whoever tries is told what does it, however the folder is named.
    for folder in ["./acme-ledger/", "acme-ledger/", "acme-ledger"] {
        let said = shell.run(&format!("strongroom --home lab ledger check {folder}"));
        said.fails(2, "USAGE");
        let advice = said.stderr.trim_end().rsplit_once("; run: ").unwrap().1.to_owned();
        shell.run(&advice).ok();
    }
    shell.run("strongroom --home lab ledger check ./nothing").fails(2, "USAGE");
    assert!(shell.server().terminate().success());
}

/// A check while the ledger goes on finds nothing, and rows above its head, whoever put them there, at once.
async fn a_check_beside_writers_finds_what_is_there_alone() {
    let here = TestVault::start().await;
    let lab = here.lab("acme").await;
    lab.dataset("rlhf").await;
    lab.put("rlhf/a", "what stands here").await;
    let faults = async || {
        let told: Vec<Told> = lab.vault.check_ledger(&lab.tenant).await.unwrap().try_collect().await.unwrap();
        let faults = told.into_iter().filter_map(|told| match told {
            Told::Fault { place, .. } => Some(place),
            Told::Progress(..) => None,
        });
        faults.collect::<Vec<_>>()
    };
    for _ in 0..10 {
        let reads = (0..8).map(|_| lab.read("rlhf/a", None));
        let (found, reads) = futures::future::join(faults(), futures::future::join_all(reads)).await;
        assert_eq!(found, [""; 0]);
        assert!(reads.iter().all(Result::is_ok), "{reads:?}");
    }
    let above = "INSERT INTO privates (tenant, size, parts) SELECT p.tenant, h.size + 1000, p.parts FROM privates p \
                 JOIN heads h ON h.tenant = p.tenant JOIN tenants t ON t.id = p.tenant WHERE t.name = 'acme' LIMIT 1";
    tamper::edit(&here.folder(), &[above.to_owned()]).await;
    assert_eq!(faults().await, ["privates above the head"]);
    here.ledger("acme").await;
}

on_each_engine! {
    (flavor = "multi_thread", worker_threads = 2)
    a_check_beside_writers_finds_what_is_there_alone,
}

/// What a monitor says that sees the ledger for the first time after an edit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Monitor {
    /// It shouts.
    Shouts,
    /// What was signed is what it was: the edit is of something beside it.
    Holds,
}

use Monitor::{Holds, Shouts};

/// Each edit, made while the server stands still, is named by a check of the ledger, whether the tenant goes on or not; and a monitor
/// shouts where what was signed is not what is served any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_names_what_was_changed() {
    let mut shell = exported();
    let vault = shell.folder().join("vault");
    assert!(shell.server().terminate().success());
    let (catalog, files) = (shell.folder().join("good.db"), shell.folder().join("good"));
    tamper::copy_catalog(&vault, &catalog).await;
    let id = "(SELECT id FROM tenants WHERE name = 'acme')";
    let third = "(SELECT first FROM batches WHERE tenant = ACME ORDER BY first LIMIT 1 OFFSET 2)";
    let fourth = third.replace("OFFSET 2", "OFFSET 3");
    let (end, wide) = (
        "(SELECT size FROM heads WHERE tenant = ACME)",
        "(SELECT max(size) FROM batches WHERE tenant = ACME AND size - first > 1)",
    );
    let spelled = |edit: &str| {
        let edit = edit.replace("THIRD", third).replace("FOURTH", &fourth).replace("HEAD", end).replace("WIDE", wide);
        edit.replace("ACME", id)
    };
    let sql = |edits: &str| edits.split("; ").map(spelled).collect::<Vec<_>>();
    let in_database = [
        ("UPDATE heads SET mac = zeroblob(32) WHERE tenant = ACME", "head: ", true, Shouts),
        (
            "DELETE FROM authority WHERE tenant = ACME AND entry = (SELECT max(entry) FROM authority WHERE tenant = ACME)",
            "authority log: ",
            true,
            Shouts,
        ),
        (
            "UPDATE checkpoints SET note = CAST(CAST(note AS TEXT) || 'x' AS BLOB) WHERE tenant = ACME",
            "checkpoint in the database: ",
            true,
            Shouts,
        ),
        ("DELETE FROM batches WHERE tenant = ACME AND first = THIRD", "batch of entry ", false, Holds),
        (
            "UPDATE batches SET entries = CAST(replace(CAST(entries AS TEXT), '\"node\"', '\"edon\"') AS BLOB) WHERE tenant = ACME AND first = THIRD",
            "batch of entry ",
            false,
            Holds,
        ),
        // In each other's place; one more between two; and where the ledger will go on.
        (
            "WITH two AS MATERIALIZED (SELECT first, entries FROM batches WHERE tenant = ACME AND first IN (THIRD, FOURTH)) \
             UPDATE batches SET entries = (SELECT two.entries FROM two WHERE two.first <> batches.first) \
             WHERE tenant = ACME AND first IN (SELECT first FROM two)",
            "batch of entry ",
            false,
            Holds,
        ),
        (
            "INSERT INTO batches (tenant, size, first, tip, entries) SELECT tenant, size - 1, first, tip, entries FROM batches \
             WHERE tenant = ACME AND size = WIDE; INSERT INTO privates (tenant, size, parts) SELECT tenant, size - 1, parts \
             FROM privates WHERE tenant = ACME AND size = WIDE",
            "batch of entry ",
            false,
            Holds,
        ),
        (
            "INSERT INTO batches (tenant, size, first, tip, entries) SELECT tenant, HEAD + 1, HEAD, tip, entries FROM batches \
             WHERE tenant = ACME AND first = THIRD",
            "batches above the head: ",
            true,
            Shouts,
        ),
        (
            "INSERT INTO privates (tenant, size, parts) SELECT tenant, HEAD + 1, parts FROM privates WHERE tenant = ACME LIMIT 1",
            "privates above the head: ",
            true,
            Shouts,
        ),
        (
            "UPDATE privates SET parts = zeroblob(length(parts)) WHERE tenant = ACME AND size = (SELECT size FROM batches WHERE tenant = ACME AND first = THIRD)",
            "batch of entry ",
            false,
            Holds,
        ),
        ("UPDATE grants SET mac = zeroblob(32) WHERE tenant = ACME", "grants: ", false, Holds),
        ("UPDATE objects SET mac = zeroblob(32) WHERE tenant = ACME AND ordinal = 3", "objects: ", false, Holds),
        (
            "INSERT INTO cosignatures (tenant, witness, size, note) VALUES (ACME, 'w', 1, x'00')",
            "cosignature of w: ",
            false,
            Holds,
        ),
    ];
    for (edit, place, stops, monitor) in in_database {
        tamper::edit(&vault, &sql(edit)).await;
        checked(&mut shell, edit, place, stops, monitor);
        tamper::replace_catalog(&vault, &catalog).await;
    }
    let good = logs(&vault);
    copy(&good, &files);
    let size = shell.read("acme-ledger/checkpoint").lines().nth(1).unwrap().to_owned();
    type Change = fn(&mut Vec<u8>);
    let changes: [(&str, Change); 2] = [
        ("flipped", |bytes| {
            let at = bytes.len() * 2 / 3;
            bytes[at] ^= 1;
        }),
        ("cut", |bytes| bytes.truncate(bytes.len() / 2)),
    ];
    for name in ["checkpoint", "tile/0/000", "tile/entries/000", "private/000"] {
        let file = match name {
            "checkpoint" => name.to_owned(),
            name => format!("{name}.p/{size}"),
        };
        let place = match name {
            "checkpoint" => "checkpoint in the object store: ".to_owned(),
            // A hash and its entry do not fit: which of the two is wrong, nobody can tell.
            "tile/0/000" => String::new(),
            _ => format!("{file}: "),
        };
        for (what, change) in changes {
            let mut bytes = fs::read(good.join(&file)).unwrap();
            change(&mut bytes);
            fs::write(good.join(&file), bytes).unwrap();
            checked(&mut shell, &format!("{file} {what}"), &place, name == "checkpoint", Shouts);
            copy(&files, &good);
        }
        if name != "checkpoint" {
            fs::remove_file(good.join(&file)).unwrap();
            checked(&mut shell, &format!("{file} dropped"), &format!("{file}: "), false, Shouts);
            copy(&files, &good);
        }
    }
    serve(&mut shell);
    shell.run("strongroom --home lab ledger check acme").ok();
    assert!(shell.server().terminate().success());
}

/// A check says what is wrong, the status whether the tenant is stopped, and nothing is repaired by either.
fn checked(shell: &mut Shell, what: &str, place: &str, stops: bool, monitor: Monitor) {
    serve(shell);
    let operator = "strongroom --home ./vault/operator";
    for round in ["first", "again"] {
        let said = shell.run(&format!("{operator} ledger check acme"));
        assert_eq!(said.code, Some(5), "{what}, {round}: {} {}", said.text(), said.stderr);
        assert!(said.text().lines().any(|line| line.starts_with(place)), "{what}: {place:?} in {}", said.text());
    }
    let said = shell.run(&format!("{operator} ledger status acme --output json")).ok();
    let status: Value = serde_json::from_str(said.text()).unwrap();
    assert!(!stops || status["stopped"].is_string(), "{what}: {status}");
    let _ = fs::remove_dir_all(shell.folder().join("watch"));
    let said = shell.run("strongroom --home lab audit watch acme --state watch/ --once");
    match monitor {
        Holds => assert_eq!(said.code, Some(0), "{what}: {}", said.stderr),
        Shouts => assert_eq!(said.code, Some(5), "{what}: {}", said.stderr),
    }
    assert!(shell.server().terminate().success());
}

fn copy(from: &Path, to: &Path) {
    oracle::walk(from, &mut |file| {
        let to = to.join(file.strip_prefix(from).unwrap());
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(file, to).unwrap();
    });
}
