//! From the file of one machine to PostgreSQL: all that was there is there, what was taken away stays so, the ledger goes on, and
//! a copy that is not whole is served by nobody.

use std::path::Path;
use std::process::Output;

use bytes::Bytes;
use futures::TryStreamExt;
use strongroom_client::{
    Action, Condition, DatasetRef, DeleteOptions, Generation, GetOptions, GrantId, ListOptions, ObjectPath, PutOptions,
    Reason, Terms,
};
use strongroom_core::ids::Millis;
use strongroom_test_services::{Engine, Postgres, on_postgres_alone};
use strongroom_tests::process::Ran;
use strongroom_tests::shell::{Shell, sessions};
use strongroom_tests::site::Site;
use strongroom_tests::{Lab, Worker, sample, tamper};

use crate::{STRONGROOM, leaving};

/// A vault with something of everything in it, served from a file.
struct Before {
    site: Site,
    lab: Lab,
    vendor: Worker,
    suspended: Worker,
    blocked: Worker,
    worker: Worker,
    /// The vendor's own grant, with a budget, and what it passed on.
    grants: [GrantId; 2],
    large: Bytes,
}

const READ: &[Action] = &[Action::List, Action::Read];

fn path(at: u32) -> ObjectPath {
    format!("pack/{at:03}").parse().unwrap()
}

/// A vault whose catalog is a file, in a test that runs on PostgreSQL.
async fn start() -> Site {
    let mut site = None;
    Engine::Sqlite.run(async { site = Some(Site::start(STRONGROOM, "").await) }).await;
    site.unwrap()
}

async fn before() -> Before {
    let site = start().await;
    let lab = site.lab("acme").await;
    let dataset = lab.dataset("rlhf").await;
    let large = Bytes::from(sample::bytes(1, 300_000));
    lab.put("rlhf/large", large.clone()).await;
    lab.put("rlhf/twice", "the first").await;
    let over = PutOptions { condition: Condition::Any, ..PutOptions::default() };
    lab.vault.put_bytes(&lab.object("rlhf/twice"), "the second".into(), over).await.unwrap();
    lab.put("rlhf/deleted", "hidden").await;
    lab.vault.delete(&lab.object("rlhf/deleted"), DeleteOptions::default()).await.unwrap();
    put_pack(&lab, &dataset, 0..60).await;
    let other = lab.dataset("gone").await;
    lab.vault.delete_dataset(&other).await.unwrap();

    let (vendor, suspended) = (site.vendor(&lab, "labelco").await, site.vendor(&lab, "breached").await);
    let limits = strongroom_client::Limits { bytes: Some(10_000), ..Default::default() };
    let terms = Terms { delegable: true, limits, ..lab.terms(vendor.holder, &[(READ, "rlhf/pack/")]) };
    let expires = Millis(terms.expires.0 - 60_000);
    let own = lab.grant(terms).await;
    let worker = key(&site).await;
    let part = Terms { expires, ..lab.terms(worker.holder, &[(READ, "rlhf/pack/00*")]) };
    let (passed_on, _) = vendor.vault.issue_grant(&lab.tenant, part).await.unwrap();
    lab.let_read(&suspended, "rlhf/").await;
    lab.vault.suspend_vendor(&lab.tenant, &"breached".parse().unwrap(), None).await.unwrap();
    read(&worker, &lab, "rlhf/pack/001").await.unwrap();
    // A block makes the operators' own ledger.
    let blocked = site.vendor(&lab, "leaked").await;
    lab.let_read(&blocked, "rlhf/").await;
    let operator = site.connect(&site.operator()).await;
    operator.block_key(blocked.identity.fingerprint(), None).await.unwrap();
    // Another tenant, so that rows of several lie side by side.
    let other = site.lab("globex").await;
    other.dataset("rlhf").await;
    other.put("rlhf/theirs", "of the other").await;
    Before { site, lab, vendor, suspended, blocked, worker, grants: [own, passed_on], large }
}

async fn put_pack(lab: &Lab, dataset: &DatasetRef, which: std::ops::Range<u32>) {
    let small = futures::stream::iter(which.map(|at| (path(at), Bytes::from(format!("item {at}")))));
    let _: Vec<_> = lab.vault.put_many(dataset, small, PutOptions::default()).try_collect().await.unwrap();
}

async fn key(site: &Site) -> Worker {
    let identity = strongroom_client::Identity::generate().unwrap();
    let holder = strongroom_client::Holder::Key(identity.fingerprint());
    Worker { vault: site.connect(&identity).await, identity, holder }
}

async fn read(by: &Worker, lab: &Lab, name: &str) -> Result<Bytes, Reason> {
    by.vault.get_bytes(&lab.object(name), GetOptions::default()).await.map_err(|error| error.reason())
}

/// The command, its row batches small so that every table takes several.
fn migrate(site: &Site, to: &str, more: &[&str]) -> Ran {
    STRONGROOM.run(site.beside(), &[&["migrate-catalog", "vault", "--to", to, "--rows", "5"], more].concat())
}

/// The command, which dies at a named place.
fn migrate_until(site: &Site, to: &str, failpoint: &str) -> Output {
    let mut command = STRONGROOM.command(site.beside());
    command.args(["migrate-catalog", "vault", "--to", to, "--rows", "5"]);
    command.env("STRONGROOM_TEST_FAILPOINT", failpoint).output().unwrap()
}

/// Follows the advice: replaces the url of `[catalog]` with the line that was printed.
fn switch(folder: &Path, lines: &str) {
    let mut printed = lines.lines().skip_while(|line| *line != "[catalog]");
    let line = printed.nth(1).unwrap_or_else(|| panic!("no lines to change: {lines}"));
    let file = folder.join("strongroom.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("[catalog]\nurl = \"sqlite:catalog.db\""), "{text}");
    std::fs::write(&file, text.replace("url = \"sqlite:catalog.db\"", line)).unwrap();
}

fn switch_back(folder: &Path) {
    let file = folder.join("strongroom.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let lines = text.lines().map(|line| match line.starts_with("url = \"postgres:") {
        true => "url = \"sqlite:catalog.db\"",
        false => line,
    });
    std::fs::write(&file, lines.collect::<Vec<_>>().join("\n")).unwrap();
}

/// Serving the vault over `to` is refused as a copy that is not finished.
fn assert_not_served(site: &Site, to: &str) {
    let mut command = STRONGROOM.command(site.beside());
    command.args(["serve", "vault", "--listen", "127.0.0.1:0"]).env("STRONGROOM_CATALOG_URL", to);
    let served = command.output().unwrap();
    let said = String::from_utf8_lossy(&served.stderr);
    let last = said.lines().last().unwrap_or_default();
    assert_eq!(served.status.code(), Some(3), "{said}");
    assert!(last.starts_with("PRECONDITION_FAILED: ") && last.contains("migrate-catalog"), "{last}");
}

async fn all_of_it_is_there_and_goes_on() {
    let Before { mut site, lab, vendor, suspended, blocked, worker, grants, large } = before().await;
    let to = Postgres::shared().database();
    let told = migrate(&site, &to, &[]);
    told.fails(3, "PRECONDITION_FAILED");
    assert!(told.stderr.contains("stop the server"), "{}", told.stderr);
    let ledger = site.ledger("acme").await;
    site.stop();
    let file = std::fs::read(site.folder().join("catalog.db")).unwrap();
    let moved = migrate(&site, &to, &[]).ok();
    assert_eq!(std::fs::read(site.folder().join("catalog.db")).unwrap(), file, "the source is as it was");
    let size = ledger.size();
    assert!(moved.text().contains(&format!("acme: {size} entries, tip {}", ledger.head.tip())), "{}", moved.text());
    assert!(moved.text().contains("globex: "), "{}", moved.text());

    // Once more changes nothing, and says so.
    let again = migrate(&site, &to, &["--output", "json"]).ok();
    let again: serde_json::Value = serde_json::from_str(again.text()).unwrap();
    assert_eq!((&again["was_done"], &again["resumed"]), (&true.into(), &false.into()));
    assert_eq!(again["ledgers"][0]["size"], size.0);
    assert_eq!(again["config"], serde_json::json!(["[catalog]", format!("url = \"{to}\"")]));
    assert!(again["sampled"].as_u64().unwrap() >= 65, "{again}");

    switch(&site.folder(), moved.text());
    site.restart(None);
    let admin = async |name: &str, generation: Option<u64>| {
        let options = GetOptions { generation: generation.map(Generation), grant: None };
        lab.vault.get_bytes(&lab.object(name), options).await.map_err(|error| error.reason())
    };
    assert_eq!(admin("rlhf/large", None).await, Ok(large));
    assert_eq!(admin("rlhf/twice", None).await, Ok("the second".into()));
    assert_eq!(admin("rlhf/twice", Some(1)).await, Ok("the first".into()));
    assert_eq!(admin("rlhf/deleted", None).await, Err(Reason::NotFound));
    for at in 0..60 {
        assert_eq!(admin(&format!("rlhf/{}", path(at)), None).await, Ok(format!("item {at}").into()));
    }
    // Grants and what was charged to them: the worker's first read counts still.
    assert_eq!(read(&vendor, &lab, "rlhf/pack/050").await, Ok("item 50".into()));
    assert_eq!(read(&vendor, &lab, "rlhf/large").await, Err(Reason::OutOfScope));
    assert_eq!(read(&worker, &lab, "rlhf/pack/002").await, Ok("item 2".into()));
    assert_eq!(read(&worker, &lab, "rlhf/pack/050").await, Err(Reason::OutOfScope));
    for (grant, bytes) in grants.into_iter().zip([7 + 6 + 6, 6 + 6]) {
        assert_eq!(lab.vault.grant(&lab.tenant, grant).await.unwrap().usage.bytes, bytes);
    }
    assert_eq!(read(&suspended, &lab, "rlhf/large").await, Err(Reason::VendorSuspended));
    assert_eq!(read(&blocked, &lab, "rlhf/large").await, Err(Reason::KeyBlocked));
    lab.vault.resume_vendor(&lab.tenant, &"breached".parse().unwrap(), None).await.unwrap();
    read(&suspended, &lab, "rlhf/large").await.unwrap();
    lab.vault.revoke_grant(&lab.tenant, grants[0], None).await.unwrap();
    assert_eq!(read(&worker, &lab, "rlhf/pack/002").await, Err(Reason::GrantRevoked));

    // Writes go on: generations, packs, new datasets.
    let over = PutOptions { condition: Condition::Any, ..PutOptions::default() };
    let put = lab.vault.put_bytes(&lab.object("rlhf/twice"), "the third".into(), over).await.unwrap();
    assert_eq!(put.generation, Generation(3));
    put_pack(&lab, &"acme/rlhf".parse().unwrap(), 60..80).await;
    let (dataset, prefix) = ("acme/rlhf".parse().unwrap(), "pack/".parse().unwrap());
    let names: Vec<_> = lab.vault.list(&dataset, &prefix, ListOptions::default()).try_collect().await.unwrap();
    assert_eq!(names.len(), 80);
    let after = site.ledger("acme").await;
    assert!(after.size() > size);
    assert_eq!(after.entries[..ledger.entries.len()], ledger.entries[..], "what was written stays as it was");
    site.ledger("globex").await;

    // The old file is behind by now: what it lacks is remembered, by the node and by clients.
    site.stop();
    switch_back(&site.folder());
    let told = migrate(&site, &to, &[]);
    told.fails(3, "PRECONDITION_FAILED");
    site.restart(None);
    assert_eq!(admin("rlhf/large", None).await, Err(Reason::LedgerDiverged));
}

/// Entries that have left the database are where they were: in the object store, which stays. They are checked before and after.
async fn a_vault_whose_old_entries_have_left_moves() {
    let mut site = None;
    Engine::Sqlite.run(async { site = Some(Site::start(STRONGROOM, leaving::LIMITS).await) }).await;
    let mut site = site.unwrap();
    let lab = site.lab("acme").await;
    lab.dataset("rlhf").await;
    lab.put("rlhf/one", "item").await;
    leaving::read(&lab, "rlhf/one", 300).await;
    leaving::left(&site, 256).await;
    let ledger = site.ledger("acme").await;
    site.stop();
    let to = Postgres::shared().database();
    let bundle = site.folder().join(format!("blobs/ledgers/{}/tile/entries/000", ledger.origin.tenant()));
    let whole = std::fs::read(&bundle).unwrap();
    let mut changed = whole.clone();
    changed[1000] ^= 1;
    std::fs::write(&bundle, changed).unwrap();
    let told = migrate(&site, &to, &[]);
    told.fails(5, "INTEGRITY");
    assert!(told.stderr.contains("tile/entries/000"), "{}", told.stderr);
    std::fs::write(&bundle, whole).unwrap();
    let moved = migrate(&site, &to, &[]).ok();
    switch(&site.folder(), moved.text());
    site.restart(None);
    leaving::read(&lab, "rlhf/one", 1).await;
    assert_eq!(site.ledger("acme").await.entries[..ledger.entries.len()], ledger.entries[..]);
}

/// Wherever it dies: nobody serves what is there, and the next run finishes it.
async fn it_dies_anywhere_and_goes_on() {
    let Before { mut site, lab, large, .. } = before().await;
    // The newest of it is in SQLite's log alone, and there is nobody who could write it to the file.
    site.kill();
    std::fs::remove_file(site.folder().join("catalog.db-shm")).unwrap();
    let log = std::fs::read(site.folder().join("catalog.db-wal")).unwrap();
    assert!(!log.is_empty());
    let to = Postgres::shared().database();
    // The greatest tables are of several pages: it dies after each of three.
    let tables = ["tenants", "batches", "batches", "authority", "grants", "objects", "objects", "objects", "uploads"];
    let points = ["begun"].into_iter().map(str::to_owned).chain(tables.map(|table| format!("table.{table}")));
    let points = points.chain(["copied", "compared", "finishing"].map(str::to_owned));
    for point in points {
        let died = migrate_until(&site, &to, &format!("migrate.{point}"));
        assert_eq!(died.status.code(), None, "{point}: {}", String::from_utf8_lossy(&died.stderr));
        assert_not_served(&site, &to);
    }
    let finished = migrate_until(&site, &to, "migrate.finished");
    assert_eq!(finished.status.code(), None, "it died after its last step");
    let moved = migrate(&site, &to, &[]).ok();
    assert!(moved.text().contains("is there already"), "{}", moved.text());
    assert_eq!(std::fs::read(site.folder().join("catalog.db-wal")).unwrap(), log, "the source is as it was");
    switch(&site.folder(), moved.text());
    site.restart(None);
    let got = lab.vault.get_bytes(&lab.object("rlhf/large"), GetOptions::default()).await.unwrap();
    assert_eq!(got, large);
    lab.put("rlhf/new", "after").await;
    site.ledger("acme").await;
}

/// A server ran between two runs: what was copied is of the past, and only an order clears it away.
async fn a_vault_that_went_on_is_copied_anew() {
    let Before { mut site, lab, .. } = before().await;
    site.stop();
    let to = Postgres::shared().database();
    let died = migrate_until(&site, &to, "migrate.table.objects");
    assert_eq!(died.status.code(), None);
    site.restart(None);
    lab.put("rlhf/new", "in between").await;
    site.stop();
    let refused = migrate(&site, &to, &[]);
    refused.fails(3, "PRECONDITION_FAILED");
    assert!(refused.stderr.contains("--restart"), "{}", refused.stderr);
    let moved = migrate(&site, &to, &["--restart"]).ok();
    switch(&site.folder(), moved.text());
    site.restart(None);
    let got = lab.vault.get_bytes(&lab.object("rlhf/new"), GetOptions::default()).await.unwrap();
    assert_eq!(got, "in between");
    site.ledger("acme").await;
}

async fn what_is_broken_is_named_and_nothing_is_served() {
    let Before { mut site, lab, .. } = before().await;
    let entry = lab.vault.stat(&lab.object("rlhf/large"), GetOptions::default()).await.unwrap().index;
    site.stop();
    let to = Postgres::shared().database();
    let folder = site.folder();
    // What is changed, how it is put back, and what is said of it.
    let content = |from: &str, to: &str| {
        format!("UPDATE grants SET content = CAST(replace(CAST(content AS TEXT), '{from}', '{to}') AS BLOB)")
    };
    let cases = [
        (
            "UPDATE objects SET generation = 2 WHERE path = 'large'".to_owned(),
            "UPDATE objects SET generation = 1 WHERE path = 'large'".to_owned(),
            format!("acme, in the catalog's file: the row of the object put as entry {entry}, ordinal 0"),
        ),
        (
            content("\"read\"", "\"write\""),
            content("\"write\"", "\"read\""),
            "a grant's row does not carry its mark".into(),
        ),
        (
            "UPDATE batches SET first = first + 1 WHERE size > 3".to_owned(),
            "UPDATE batches SET first = first - 1 WHERE size > 3".to_owned(),
            "does not hold what it says".to_owned(),
        ),
        (
            "UPDATE authority SET entry = entry + 1000 WHERE entry > 5".to_owned(),
            "UPDATE authority SET entry = entry - 1000 WHERE entry > 1000".to_owned(),
            "authority log".to_owned(),
        ),
    ];
    for (change, back, said) in cases {
        tamper::edit(&folder, std::slice::from_ref(&change)).await;
        let refused = migrate(&site, &to, &[]);
        refused.fails(5, "INTEGRITY");
        assert!(refused.stderr.contains(&said), "{change}: {}", refused.stderr);
        tamper::edit(&folder, &[back]).await;
    }
    // A blob that is gone, or another one.
    let (blob, _) = tamper::place(&folder, "large").await;
    let bytes = std::fs::read(&blob).unwrap();
    let mut other = bytes.clone();
    other[100_000] ^= 1;
    for changed in [Some(other), Some(bytes[..bytes.len() - 1].to_vec()), None] {
        match changed {
            Some(changed) => std::fs::write(&blob, changed).unwrap(),
            None => std::fs::remove_file(&blob).unwrap(),
        }
        let refused = migrate(&site, &to, &[]);
        refused.fails(5, "INTEGRITY");
        assert!(refused.stderr.contains("rlhf/large, generation 1"), "{}", refused.stderr);
        assert_not_served(&site, &to);
    }
    std::fs::write(&blob, bytes).unwrap();
    migrate(&site, &to, &[]).ok();
}

async fn only_an_empty_database_is_taken() {
    let Before { mut site, .. } = before().await;
    site.stop();
    let other = Postgres::shared().database();
    let mut elsewhere = start().await;
    elsewhere.lab("acme").await;
    elsewhere.stop();
    migrate(&elsewhere, &other, &[]).ok();
    for more in [&[][..], &["--restart"]] {
        let refused = migrate(&site, &other, more);
        refused.fails(3, "PRECONDITION_FAILED");
        assert!(refused.stderr.contains("holds vault"), "{}", refused.stderr);
    }
    migrate(&elsewhere, &other, &[]).ok();
    migrate(&site, "sqlite:other.db", &[]).fails(2, "INVALID_ARGUMENT");
    migrate(&site, "postgres://127.0.0.1:1/nobody", &[]).fails(6, "UNAVAILABLE");
    let secret = migrate(&site, "postgres://u:secret@127.0.0.1:1/nobody", &[]);
    assert!(!secret.fails(6, "UNAVAILABLE").stderr.contains("secret"), "{}", secret.stderr);
    let never_served = STRONGROOM.run(site.beside(), &["init", "new"]).ok();
    assert!(never_served.text().contains("new"));
    STRONGROOM.run(site.beside(), &["migrate-catalog", "new", "--to", &other]).fails(3, "NOT_FOUND");
}

/// The section of the operations page, line by line: only the database's address is another one.
async fn the_page_for_operators_works_as_written() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operations.md")).unwrap();
    let (_, section) = page.split_once("\n## From one machine to many\n").expect("the section is there");
    let section = section.split("\n## ").next().unwrap();
    let written = "postgres://strongroom@db.example.org/strongroom";
    let section = section.replace(written, &Postgres::shared().database());
    let mut shell = Shell::new(STRONGROOM);
    for line in [
        "strongroom init ./vault",
        "strongroom serve ./vault --listen 127.0.0.1:7443 &",
        "strongroom --home lab login 127.0.0.1:7443 --server-key SHA256:…",
        "strongroom --home ./vault/operator tenant create acme --admin SHA256:…",
    ] {
        shell.run(line).ok();
    }
    shell.write("prompts.jsonl", sample::lines(5).concat());
    shell.run("strongroom --home lab put prompts.jsonl acme/rlhf/prompts.jsonl --create").ok();
    assert!(shell.server().terminate().success());
    let mut lines = sessions(&section).into_iter();
    let (copy, serve) = (lines.next().expect("it copies"), lines.next().expect("it serves"));
    let mut printed = String::new();
    for shown in &copy {
        printed = shell.run(shown.line).ok().text().to_owned();
    }
    // The page shows what the command prints.
    let shown: Vec<&str> = section.lines().filter(|line| line.starts_with("url = \"postgres:")).collect();
    assert!(!shown.is_empty() && shown.iter().all(|line| printed.lines().any(|said| said == *line)), "{printed}");
    switch(&shell.folder().join("vault"), &printed);
    for shown in &serve {
        shell.run(shown.line).ok();
    }
    let server = shell.server().address.to_string();
    shell.run(&format!("strongroom --home lab login {server} --server-key SHA256:…")).ok();
    let got = shell.run("strongroom --home lab cat acme/rlhf/prompts.jsonl").ok();
    assert_eq!(got.stdout, shell.read("prompts.jsonl").into_bytes());
}

on_postgres_alone! {
    (flavor = "multi_thread", worker_threads = 2)
    all_of_it_is_there_and_goes_on,
    a_vault_whose_old_entries_have_left_moves,
    it_dies_anywhere_and_goes_on,
    a_vault_that_went_on_is_copied_anew,
    what_is_broken_is_named_and_nothing_is_served,
    only_an_empty_database_is_taken,
    the_page_for_operators_works_as_written,
}
