//! What is shredded, nobody opens: not with a grant, not the server, not whoever takes its disk and database afterwards. The ledger
//! says who ordered it, and nothing of it is released from that entry on.

use std::collections::BTreeSet;
use std::path::Path;

use bytes::Bytes;
use futures::TryStreamExt;
use strongroom_client::audit::Query;
use strongroom_client::shredding::{Shreddable, Shredding};
use strongroom_client::{
    Connect, DeleteOptions, Generation, GetOptions, Identity, Index, ListOptions, ObjectId, ObjectPath, Prefix,
    PutOptions, Reason, Vault,
};
use strongroom_core::ledger::Event;
use strongroom_server::config::CatalogUrl;
use strongroom_test_services::{Engine, Postgres, on_each_engine};
use strongroom_tests::copy as copy_of;
use strongroom_tests::oracle::Blobs;
use strongroom_tests::search::Search;
use strongroom_tests::shell::Shell;
use strongroom_tests::site::Site;
use strongroom_tests::{Lab, TestVault, Worker, keys, oracle, sample, tamper, until};

use crate::STRONGROOM;

/// Backups are kept for a week; blobs are swept every second.
const LIMITS: &str = "backup_retention = 604800\nupload_idle = 1";
const WEEK: u64 = 7 * 24 * 3600 * 1000;

fn path(at: usize) -> ObjectPath {
    format!("math/{at:06}").parse().unwrap()
}

fn item(at: usize) -> Bytes {
    format!("the plaintext of item {at}").into()
}

async fn fill(lab: &Lab, count: usize) {
    lab.fill((0..count).map(|at| (path(at), item(at)))).await;
}

async fn shred(lab: &Lab, what: &str) -> Index {
    let what: Shreddable = format!("acme{what}").parse().unwrap();
    lab.vault.shred(&what, Some("asked for".into())).await.unwrap().index
}

async fn refused(lab: &Lab, what: &str) -> Reason {
    let what: Shreddable = format!("acme{what}").parse().unwrap();
    lab.vault.shred(&what, None).await.unwrap_err().reason()
}

async fn finished(lab: &Lab, entry: Index) -> Shredding {
    until("the keys are gone", async || {
        lab.vault.shredding(&lab.tenant, entry).await.unwrap().unwrap().finished.is_some()
    })
    .await;
    lab.vault.shredding(&lab.tenant, entry).await.unwrap().unwrap()
}

/// The wrapped roots of objects that `of` picks.
async fn wrapped(folder: &Path, of: &str) -> Vec<Vec<u8>> {
    tamper::column(folder, &format!("SELECT wrapped FROM {} WHERE {of}", tamper::OBJECTS)).await
}

async fn count(folder: &Path, of: &str) -> u64 {
    tamper::number(folder, &format!("SELECT count(*) FROM {of}")).await
}

/// Which of these wrapped keys stand in any file of the vault.
fn found(folder: &Path, keys: &[Vec<u8>]) -> BTreeSet<String> {
    let mut search = Search::default();
    keys.iter().enumerate().for_each(|(at, key)| search.add_key(&at.to_string(), key));
    search.find_below(folder)
}

async fn a_folder_is_shredded_and_its_neighbours_are_not() {
    // Enough for several steps, and for pages of the database to be split.
    const COUNT: usize = 1500;
    let vault = TestVault::start_with(None, LIMITS).await;
    let lab = vault.lab("acme").await;
    fill(&lab, COUNT).await;
    let worker = lab.vendor(&vault, "labelco").await;
    lab.let_read(&worker, "rlhf/math/").await;
    lab.put("rlhf/mathematics", "beside it").await;
    lab.put("rlhf/math", "no folder").await;
    lab.overwrite("rlhf/math/000001", "the second").await;
    lab.vault.delete(&lab.object("rlhf/math/000002"), DeleteOptions::default()).await.unwrap();
    let large = Bytes::from(sample::bytes(3, 200_000));
    lab.put("rlhf/math/large", large).await;
    let (blob, _) = tamper::place(&vault.folder(), "math/large").await;
    let id = tamper::bytes(&vault.folder(), "SELECT id FROM objects WHERE path = 'math/000003'").await;
    let id = ObjectId::try_from(&id[..]).unwrap();
    let keys = wrapped(&vault.folder(), "path LIKE 'math/%'").await;
    assert_eq!(keys.len(), COUNT + 2);
    let is_file = !found(&vault.folder(), &keys).is_empty();

    assert_eq!(refused(&lab, "/rlhf/maths/").await, Reason::NotFound, "nothing was ever there");
    assert_eq!(refused(&lab, "/other/math/").await, Reason::NotFound);
    let entry = shred(&lab, "/rlhf/math/").await;
    // From its entry on, wherever the work is.
    assert_eq!(lab.read("rlhf/math/000000", None).await, Err(Reason::Shredded));
    assert_eq!(read_as(&lab, &worker, "rlhf/math/001499").await, Err(Reason::Shredded));
    let all = lab.vault.list(&"acme/rlhf".parse().unwrap(), &Prefix::all(), ListOptions::default());
    let listed: Vec<_> = all.try_collect().await.unwrap();
    assert_eq!(listed.len(), 2, "{listed:?}");
    // While the work goes on, a path is put anew.
    lab.overwrite("rlhf/math/001400", "something else").await;
    let shredding = finished(&lab, entry).await;
    assert!(shredding.done >= COUNT as u64, "{shredding:?}");
    let at = shredding.finished.unwrap();
    assert_eq!(shredding.gone_from_backups.unwrap().0, at.0 + WEEK);
    assert_eq!(shredding.overwritten, is_file);

    assert_eq!(count(&vault.folder(), "objects WHERE path LIKE 'math/%' AND key_version > 0").await, 1);
    assert_eq!(found(&vault.folder(), &keys), BTreeSet::new(), "no wrapped key of it stands in any file");
    until("its blobs are gone", async || !blob.exists() && Blobs::look(&vault.folder()).await.is_swept()).await;
    for name in ["rlhf/math/000000", "rlhf/math/000001", "rlhf/math/large"] {
        assert_eq!(lab.read(name, None).await, Err(Reason::Shredded), "{name}");
        let error = lab.vault.stat(&lab.object(name), GetOptions::default()).await.unwrap_err();
        assert_eq!(error.reason(), Reason::Shredded, "{name}");
    }
    assert_eq!(lab.read("rlhf/math/000001", Some(1)).await, Err(Reason::Shredded), "every generation");
    let dataset = "acme/rlhf".parse().unwrap();
    let by_id = lab.vault.get_by_id(&dataset, id, GetOptions::default()).await;
    assert_eq!(by_id.unwrap_err().reason(), Reason::Shredded);
    // What was deleted, and what never was, is told apart.
    assert_eq!(lab.read("rlhf/math/000002", None).await, Err(Reason::NotFound));
    assert_eq!(lab.read("rlhf/math/none", None).await, Err(Reason::NotFound));
    assert_eq!(lab.read("rlhf/mathematics", None).await, Ok("beside it".into()));
    assert_eq!(lab.read("rlhf/math", None).await, Ok("no folder".into()));

    // A path may be put anew, with the next number; what was shredded stays so.
    assert_eq!(lab.read("rlhf/math/001400", None).await, Ok("something else".into()));
    assert_eq!(lab.read("rlhf/math/001400", Some(1)).await, Err(Reason::Shredded));
    lab.put("rlhf/math/000000", "put anew").await;
    let info = lab.vault.stat(&lab.object("rlhf/math/000000"), GetOptions::default()).await.unwrap();
    assert_eq!(info.generation, Generation(2));
    assert_eq!(read_as(&lab, &worker, "rlhf/math/000000").await, Ok("put anew".into()));
    lab.vault.delete(&lab.object("rlhf/math/000000"), DeleteOptions::default()).await.unwrap();
    assert_eq!(lab.read("rlhf/math/000000", None).await, Err(Reason::NotFound), "that was deleted");
    assert_eq!(lab.read("rlhf/math/000000", Some(1)).await, Err(Reason::Shredded));
    let deleted = lab.vault.delete(&lab.object("rlhf/math/000005"), DeleteOptions::default()).await;
    assert_eq!(deleted.unwrap_err().reason(), Reason::Shredded);

    // It is the admins' alone; and the ledger tells all of it.
    let what = "acme/rlhf/math/".parse().unwrap();
    assert_eq!(worker.vault.shred(&what, None).await.unwrap_err().reason(), Reason::OutOfScope);
    let ledger = vault.ledger("acme").await;
    assert_eq!(ledger.done(Event::ObjectShredded)[0].index, entry);
    let told: Vec<_> = lab.vault.query(&lab.tenant, Query::default()).try_collect().await.unwrap();
    assert!(told.iter().any(|line| line.names.iter().any(|name| name == "rlhf/math/000000")));
}

async fn read_as(lab: &Lab, worker: &Worker, name: &str) -> Result<Bytes, Reason> {
    let got = worker.vault.get_bytes(&lab.object(name), GetOptions::default()).await;
    got.map_err(|error| error.reason())
}

async fn a_dataset_and_then_the_tenant_are_shredded() {
    let vault = TestVault::start_with(None, "upload_idle = 1").await;
    let lab = vault.lab("acme").await;
    fill(&lab, 700).await;
    let other = lab.dataset("other").await;
    lab.put("other/a", "it stays for now").await;
    let keys = wrapped(&vault.folder(), "path LIKE 'math/%'").await;
    let more = wrapped(&vault.folder(), "path = 'a'").await;
    let tenant_keys = tamper::column(&vault.folder(), "SELECT wrapped FROM tenant_keys").await;

    let entry = shred(&lab, "/rlhf/").await;
    assert_eq!(lab.read("rlhf/math/000000", None).await, Err(Reason::Shredded));
    let shredding = finished(&lab, entry).await;
    assert_eq!((shredding.done, shredding.gone_from_backups), (700, None));
    assert_eq!(found(&vault.folder(), &keys), BTreeSet::new());
    assert_eq!(lab.read("other/a", None).await, Ok("it stays for now".into()));
    assert_eq!(refused(&lab, "/rlhf/").await, Reason::Shredded);
    assert_eq!(refused(&lab, "/rlhf/math/").await, Reason::Shredded);
    let put = async |name: &str| {
        let put = lab.vault.put_bytes(&lab.object(name), "b".into(), PutOptions::default()).await;
        put.unwrap_err().reason()
    };
    assert_eq!(put("rlhf/b").await, Reason::Shredded);
    // A frozen dataset is kept for whoever looks into it.
    lab.vault.freeze_dataset(&other, None).await.unwrap();
    assert_eq!(refused(&lab, "").await, Reason::Frozen);
    lab.vault.unfreeze_dataset(&other, None).await.unwrap();

    let day = std::time::Duration::from_secs(24 * 3600);
    lab.vault.rotate_every(&lab.tenant, Some(90 * day)).await.unwrap();
    let entry = shred(&lab, "").await;
    assert_eq!(lab.read("other/a", None).await, Err(Reason::Shredded));
    assert_eq!(put("other/b").await, Reason::Shredded);
    finished(&lab, entry).await;
    assert_eq!(found(&vault.folder(), &[more, tenant_keys].concat()), BTreeSet::new());
    assert_eq!(count(&vault.folder(), "objects WHERE key_version > 0").await, 0);
    assert_eq!(count(&vault.folder(), "tenant_keys WHERE length(wrapped) > 0").await, 0);
    let status = lab.vault.key_status(&lab.tenant).await.unwrap();
    assert!(status.versions.is_empty() && status.schedule.is_none(), "{status:?}");
    assert_eq!(lab.vault.rotate_key(&lab.tenant).await.unwrap_err().reason(), Reason::Shredded);
    until("all blobs are gone", async || Blobs::look(&vault.folder()).await.stored.is_empty()).await;
    let ledger = vault.ledger("acme").await;
    assert_eq!(ledger.done(Event::DatasetShredded).len(), 1);
    assert_eq!(ledger.done(Event::TenantShredded)[0].index, entry);
    let told: Vec<_> = lab.vault.query(&lab.tenant, Query::default()).try_collect().await.unwrap();
    assert!(told.len() as u64 >= entry.0, "the ledger can be read");
}

async fn shredding_that_dies_with_the_server_goes_on() {
    const COUNT: usize = 1200;
    for point in ["shred.committing", "shred.committed", "retention.committing", "retention.committed"] {
        let mut site = Site::start(STRONGROOM, "upload_idle = 1").await;
        let lab = site.lab("acme").await;
        fill(&lab, COUNT).await;
        lab.put("rlhf/kept", "kept").await;
        let keys = wrapped(&site.folder(), "path LIKE 'math/%'").await;
        site.restart(Some(point));
        let entry = shred(&lab, "/rlhf/math/0*").await;
        site.await_death();
        site.restart(None);
        assert_eq!(lab.read("rlhf/math/001199", None).await, Err(Reason::Shredded), "{point}");
        let shredding = finished(&lab, entry).await;
        assert_eq!(shredding.done, COUNT as u64, "{point}");
        assert_eq!(found(&site.folder(), &keys), BTreeSet::new(), "{point}");
        assert_eq!(lab.read("rlhf/kept", None).await, Ok("kept".into()));
        site.ledger("acme").await;
    }
}

/// Copies all files of a folder into another.
fn copy_folder(from: &Path, to: &Path) {
    oracle::walk(from, &mut |file| {
        let to = to.join(file.strip_prefix(from).unwrap());
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(file, to).unwrap();
    });
}

/// The whole disk, with every blob that there ever was, and the database as they are after the work: whoever has them, with the root key,
/// and starts a server over them, opens nothing of what was shredded, and all else.
async fn a_copy_of_everything_taken_afterwards_opens_none_of_it() {
    let mut site = Site::start(STRONGROOM, LIMITS).await;
    let (here, folder) = (site.beside().to_owned(), site.folder());
    let lab = site.lab("acme").await;
    fill(&lab, 600).await;
    lab.dataset("other").await;
    let gone = ["rlhf/one", "rlhf/math/000000", "rlhf/math/000599", "other/a", "other/large"];
    let kept = ["rlhf/two", "rlhf/mathematics"];
    for name in [&gone[..], &kept].concat().into_iter().filter(|name| !name.contains("/math/")) {
        lab.put(name, sample::bytes(name.len() as u64, 200 * name.len())).await;
    }
    let beta = site.lab("beta").await;
    fill(&beta, 20).await;
    let ciphertext = here.join("ciphertext");
    copy_folder(&folder.join("blobs/blobs"), &ciphertext);
    let there = format!("NOT ({})", kept.map(|name| format!("path = '{}'", &name[5..])).join(" OR "));
    let mut keys = wrapped(&folder, &there).await;
    assert_eq!(keys.len(), 600 + 3 + 20);
    let of_beta = "tenant = (SELECT id FROM tenants WHERE name = 'beta')";
    keys.extend(tamper::column(&folder, &format!("SELECT wrapped FROM tenant_keys WHERE {of_beta}")).await);

    // The first of them by the command, which says what is left to be done where it is.
    std::fs::create_dir(here.join("lab")).unwrap();
    std::fs::write(here.join("lab/identity.pem"), lab.admin.to_pem().as_bytes()).unwrap();
    let (address, pinned) = (site.relay.address().to_string(), site.vault_key().to_string());
    let run = async |line: String| {
        let here = here.clone();
        let run = move || STRONGROOM.run(&here, &line.split(' ').collect::<Vec<_>>()).ok();
        tokio::task::spawn_blocking(run).await.unwrap()
    };
    run(format!("--home lab login {address} --server-key {pinned}")).await;
    let ran = run("--home lab key shred acme/rlhf/one --yes".to_owned()).await;
    assert_eq!(ran.text().contains("run VACUUM"), Engine::here() == Engine::Postgres, "{}", ran.text());
    for what in ["/rlhf/math/", "/other/"] {
        let entry = shred(&lab, what).await;
        finished(&lab, entry).await;
    }
    let entry = beta.vault.shred(&"beta".parse().unwrap(), None).await.unwrap().index;
    finished(&beta, entry).await;

    // As a power cut leaves them: the database's log, too.
    site.kill();
    let away = tempfile::tempdir().unwrap();
    let copy = away.path().join("vault");
    copy_folder(&folder, &copy);
    assert_eq!(found(&copy, &keys), BTreeSet::new(), "no wrapped key of it stands in any file");
    copy_folder(&ciphertext, &copy.join("blobs/blobs"));
    if let CatalogUrl::Postgres(url) = oracle::config(&folder).catalog {
        let config = copy.join("strongroom.toml");
        let text = std::fs::read_to_string(&config).unwrap();
        std::fs::write(&config, text.replace(&url, &Postgres::shared().copy(&url))).unwrap();
    }
    drop(site);
    // All that the root key opens there, step by step.
    let opened: Vec<_> = keys::all(&copy).await.into_iter().map(|named| named.name).collect();
    let mut roots: Vec<_> = opened.iter().filter(|name| name.starts_with("the root of")).collect();
    roots.sort();
    assert_eq!(roots, ["the root of mathematics", "the root of two"]);
    assert!(opened.iter().any(|name| name == "acme's key") && opened.iter().all(|name| name != "beta's key"));
    // And what a server does.
    let server = STRONGROOM.serve(away.path(), "vault");
    let connect = |admin: &Identity| Connect::to(server.address.to_string(), server.vault_key, copy_of(admin)).open();
    let vault = connect(&lab.admin).await.unwrap();
    let read = async |vault: &Vault, name: String| {
        let got = vault.get_bytes(&name.parse().unwrap(), GetOptions::default()).await;
        got.map_err(|error| error.reason())
    };
    for name in gone {
        assert_eq!(read(&vault, format!("acme/{name}")).await, Err(Reason::Shredded), "{name}");
    }
    for name in kept {
        let plain = Bytes::from(sample::bytes(name.len() as u64, 200 * name.len()));
        assert_eq!(read(&vault, format!("acme/{name}")).await, Ok(plain), "{name}");
    }
    let vault = connect(&beta.admin).await.unwrap();
    assert_eq!(read(&vault, "beta/rlhf/math/000007".to_owned()).await, Err(Reason::Shredded));
}

#[test]
fn the_name_is_typed_again_at_a_terminal() {
    let mut shell = Shell::new(STRONGROOM);
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md")).unwrap();
    shell.write("gsm8k.jsonl", sample::lines(50).concat());
    for shown in strongroom_tests::shell::sessions(&page).iter().flatten().take(5) {
        shell.run(shown.line).ok();
    }
    let type_at = |shell: &Shell, what: &str, line: &str| {
        let arguments = ["--home", "lab", "key", "shred", what];
        STRONGROOM.run_at_terminal(shell.folder(), &arguments, "to go ahead: ", line)
    };
    let what = "acme/rlhf/math/000007.json";
    for wrong in ["acme/rlhf/math/000008.json", "y", "yes", "", " acme/rlhf/math/000007.json", "acme"] {
        let ran = type_at(&shell, what, wrong);
        assert!(ran.code == Some(1) && ran.stderr.contains("CANCELLED"), "{wrong:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(&format!("Type {what} to go ahead: ")), "{}", ran.stderr);
        assert!(ran.stderr.contains("every generation of what is there. This cannot be undone."), "{}", ran.stderr);
    }
    shell.run("strongroom --home lab cat acme/rlhf/math/000007.json").ok();
    let ran = type_at(&shell, what, what).ok();
    assert!(ran.text().contains("is shredded (entry "), "{}", ran.text());
    shell.run("strongroom --home lab cat acme/rlhf/math/000007.json").fails(3, "SHREDDED");
    let ran = type_at(&shell, "acme", "rlhf");
    assert!(ran.stderr.contains("ALL of the tenant; only its ledger stays"), "{}", ran.stderr);
    shell.run("strongroom --home lab cat acme/rlhf/math/000008.json").ok();
    type_at(&shell, "acme", "acme").ok();
    shell.run("strongroom --home lab cat acme/rlhf/math/000008.json").fails(3, "SHREDDED");
}

#[test]
fn the_command_shreds_and_tells_when_it_is_complete() {
    let mut shell = Shell::new(STRONGROOM);
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md")).unwrap();
    shell.write("gsm8k.jsonl", sample::lines(50).concat());
    for shown in strongroom_tests::shell::sessions(&page).iter().flatten().take(5) {
        shell.run(shown.line).ok();
    }
    // Nothing is asked where nobody could answer, and nothing is done.
    let ran = shell.run("strongroom --home lab key shred acme/rlhf/math/000007.json");
    assert!(ran.fails(2, "USAGE").stderr.contains("--yes"), "{}", ran.stderr);
    shell.run("strongroom --home lab cat acme/rlhf/math/000007.json").ok();
    shell.run("strongroom --home lab key shred acme/rlhf --yes").fails(2, "USAGE");
    let ran = shell.run("strongroom --home lab key shred acme/rlhf/math/000007.json --yes --note gdpr").ok();
    assert!(ran.text().contains("is shredded (entry "), "{}", ran.text());
    assert!(ran.text().contains("limits.backup_retention"), "{}", ran.text());
    shell.run("strongroom --home lab cat acme/rlhf/math/000007.json").fails(3, "SHREDDED");
    let ran = shell.run("strongroom --home lab stat acme/rlhf/math/000007.json");
    assert!(ran.fails(3, "SHREDDED").stderr.contains("shredded by entry"), "{}", ran.stderr);
    shell.run("strongroom --home lab cat acme/rlhf/math/000008.json").ok();
    let ran = shell.run("strongroom --home lab --output json key status acme").ok();
    let status: serde_json::Value = serde_json::from_str(ran.text()).unwrap();
    assert_eq!((&status["shreds"][0]["done"], &status["shreds"][0]["overwritten"]), (&1.into(), &true.into()));
    let log = shell.run("strongroom --home lab audit log acme").ok();
    assert!(log.text().contains("object.shredded") && log.text().contains("gdpr"), "{}", log.text());
}

on_each_engine! {
    (flavor = "multi_thread", worker_threads = 2)
    a_folder_is_shredded_and_its_neighbours_are_not,
    a_dataset_and_then_the_tenant_are_shredded,
    shredding_that_dies_with_the_server_goes_on,
    a_copy_of_everything_taken_afterwards_opens_none_of_it,
}
