//! One root key gives way to another while the vault serves: whatever dies on the way, on one node and on two, and from one keeper
//! to another.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::Connection;
use strongroom_client::{Connect, GetOptions, Identity};
use strongroom_server::config::RootProvider;
use strongroom_test_services::{Engine, Moto, Postgres, on_each_engine, on_moto, on_postgres_alone};
use strongroom_tests::chance::Chance;
use strongroom_tests::cluster::{Cluster, Stores};
use strongroom_tests::process::Ran;
use strongroom_tests::site::Site;
use strongroom_tests::{Lab, tamper};

use crate::STRONGROOM;

/// A command in a thread of its own: this one goes on with its connections meanwhile.
async fn command(folder: &Path, line: &str) -> Ran {
    let (folder, line) = (folder.to_owned(), line.to_owned());
    let run = move || STRONGROOM.run(&folder, &line.split(' ').collect::<Vec<_>>());
    tokio::task::spawn_blocking(run).await.unwrap()
}

async fn status(folder: &Path, vault: &str) -> serde_json::Value {
    let ran = command(folder, &format!("root status {vault} --output json")).await.ok();
    serde_json::from_str(ran.text()).unwrap()
}

/// Waits until nothing rotates any more, or the server says why not.
async fn rotated(folder: &Path, vault: &str) -> serde_json::Value {
    loop {
        let status = status(folder, vault).await;
        if status["rotating"] == false {
            return status;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Some tenants, each with an object, one with two versions of its key.
async fn labs(site: &Site) -> Vec<Lab> {
    let mut labs = Vec::new();
    for name in ["acme", "bits", "cats"] {
        let lab = site.lab(name).await;
        lab.dataset("rlhf").await;
        lab.put("rlhf/it", name.to_owned()).await;
        labs.push(lab);
    }
    labs[0].vault.rotate_key(&labs[0].tenant).await.unwrap();
    labs[1].vault.rotate_log_key(&labs[1].tenant).await.unwrap();
    labs
}

async fn all_open(labs: &[Lab]) {
    for lab in labs {
        let got = lab.vault.get_bytes(&lab.object("rlhf/it"), GetOptions::default()).await.unwrap();
        assert_eq!(got, lab.tenant.as_str());
    }
}

/// The files of root keys in a folder, by name.
fn root_files(folder: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let of_root = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with("root");
    let mut files: Vec<_> = files.filter(of_root).collect();
    files.sort();
    files
}

/// Takes the first root key's files away for good.
fn destroy_first(folder: &Path) {
    for name in ["root.age", "root.identity"] {
        fs::remove_file(folder.join(name)).unwrap();
    }
}

async fn everything_comes_under_the_new_root_key_while_the_vault_serves() {
    let mut site = Site::start(STRONGROOM, "key_cache = 1").await;
    let labs = Arc::new(labs(&site).await);
    let done = Arc::new(AtomicBool::new(false));
    let reading = tokio::spawn({
        let (labs, done) = (labs.clone(), done.clone());
        async move {
            let mut rounds = 0;
            while !done.load(Ordering::Relaxed) {
                all_open(&labs).await;
                labs[1].put(&format!("rlhf/new/{rounds}"), "new").await;
                rounds += 1;
            }
            rounds
        }
    });
    let first = status(site.beside(), "vault").await;
    let ran = command(site.beside(), "root rotate vault --to file").await.ok();
    // Three tenants with a ledger key and a log key each, one more log key, and four versions of their keys.
    assert!(ran.text().contains("(file) has taken over: 11 keys are under it"), "{}", ran.text());
    let made = site.lab("dogs").await;
    done.store(true, Ordering::Relaxed);
    assert!(reading.await.unwrap() > 0);
    let last = status(site.beside(), "vault").await;
    assert!(last["rotating"] == false && last["root"] != first["root"] && last["vault_key"] == first["vault_key"]);
    assert!(!site.folder().join("root.next.toml").exists());

    // Nothing needs the old one any more: not the rows, not the vault key, not the configuration.
    destroy_first(&site.folder());
    assert_eq!(root_files(&site.folder()).len(), 2);
    site.restart(None);
    all_open(&labs).await;
    made.dataset("rlhf").await;
    made.put("rlhf/it", "dogs").await;
    let ran = command(site.beside(), "root rotate vault --to file").await.ok();
    assert!(ran.text().contains("has taken over: 14 keys") && ran.text().contains("backups"), "{}", ran.text());
    all_open(&labs).await;
    for lab in labs.iter() {
        site.ledger(lab.tenant.as_str()).await;
    }
}

/// What a node that was killed said of itself holds for a quarter of a minute, and the others wait for it: let it be over.
async fn forget_the_dead(site: &Site) {
    if Engine::here() == Engine::Postgres {
        tamper::edit(&site.folder(), &["DELETE FROM root_nodes".to_owned()]).await;
    }
}

async fn a_server_that_is_killed_on_the_way_goes_on() {
    let mut site = Site::start(STRONGROOM, "").await;
    let labs = labs(&site).await;
    for place in ["root.committing", "root.committed", "root.vault-written"] {
        site.restart(Some(place));
        let before = root_files(&site.folder());
        // It may die before it answers.
        let _ = command(site.beside(), "root rotate vault --to file --detach").await;
        site.await_death();
        assert!(site.folder().join("root.next.toml").exists(), "{place}");
        forget_the_dead(&site).await;
        site.restart(None);
        let last = rotated(site.beside(), "vault").await;
        assert_eq!((&last["error"], &last["unopened"]), (&serde_json::Value::Null, &0.into()), "{place}");
        for file in before {
            fs::remove_file(file).unwrap();
        }
        site.restart(None);
        all_open(&labs).await;
    }
}

/// Killed at random, again and again, and begun anew whenever it came through: four times, or with `STRONGROOM_TEST_LONG` twenty times amid it.
async fn a_server_that_is_killed_at_random_goes_on() {
    let times = if std::env::var_os("STRONGROOM_TEST_LONG").is_some() { 20 } else { 4 };
    let seed = std::env::var("STRONGROOM_TEST_SEED").map_or(7, |seed| seed.parse().unwrap());
    let mut chance = Chance(seed);
    let mut site = Site::start(STRONGROOM, "").await;
    let labs = labs(&site).await;
    // Enough for several steps.
    for _ in 0..200 {
        labs[0].vault.rotate_key(&labs[0].tenant).await.unwrap();
    }
    let (mut kills, mut interrupted) = (0, 0);
    while interrupted < times {
        // One that was interrupted goes on by itself, and is not begun anew.
        let begun = command(site.beside(), "root rotate vault --to file --detach").await;
        assert!(begun.code == Some(0) || begun.stderr.contains("taking over already"), "{}", begun.stderr);
        // Most of the work is done at once; a second later it looks whether it is through.
        let pause = if chance.once_in(3) { chance.below(1500) } else { chance.below(150) };
        tokio::time::sleep(Duration::from_millis(pause)).await;
        site.kill();
        kills += 1;
        interrupted += u64::from(site.folder().join("root.next.toml").exists());
        assert!(kills < 10 * times, "it is through before every kill (seed {seed})");
        forget_the_dead(&site).await;
        site.restart(None);
    }
    let last = rotated(site.beside(), "vault").await;
    assert_eq!((&last["error"], &last["unopened"]), (&serde_json::Value::Null, &0.into()), "seed {seed}");
    // The newest root key opens everything, and there is no other any more.
    let RootProvider::File(newest) = strongroom_tests::oracle::config(&site.folder()).root else { panic!("a file") };
    for file in root_files(&site.folder()) {
        if file != newest.key && file != newest.identity {
            fs::remove_file(file).unwrap();
        }
    }
    assert_eq!(root_files(&site.folder()).len(), 2, "seed {seed}");
    site.restart(None);
    all_open(&labs).await;
    labs[0].vault.rotate_key(&labs[0].tenant).await.unwrap();
    for lab in &labs {
        site.ledger(lab.tenant.as_str()).await;
    }
}

/// A root key begins to take over just while its node says which one it has: that was about the one before.
async fn what_a_node_says_of_one_root_key_is_not_about_the_next() {
    let url = Postgres::shared().database();
    let cluster = Cluster::start(STRONGROOM, Stores { catalog: Some(&url), bucket: None }, "", 1).await;
    let admin = Identity::generate().unwrap();
    let (node, here) = (&cluster.nodes()[0], cluster.beside());
    let connect = |identity: &Identity| {
        let address = node.address().to_string();
        Connect::to(address, cluster.vault_key(), strongroom_tests::copy(identity)).open()
    };
    let tenant = "acme".parse().unwrap();
    let operator = cluster.operator();
    connect(&operator).await.unwrap().create_tenant(&tenant, &[admin.fingerprint()]).await.unwrap();

    let mut database = strongroom_tests::oracle::open(&cluster.folder()).await;
    let mut lock = database.begin().await.unwrap();
    sqlx::query("LOCK TABLE root_nodes").execute(&mut *lock).await.unwrap();
    let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'root_nodes'::regclass";
    while tamper::number(&cluster.folder(), waiting).await == 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    command(here, "root rotate node0 --to file --detach").await.ok();
    lock.rollback().await.unwrap();

    assert_eq!(rotated(here, "node0").await["error"], serde_json::Value::Null);
    destroy_first(&here.join("node0"));
    node.kill();
    node.try_start().unwrap();
    connect(&admin).await.unwrap().rotate_key(&tenant).await.unwrap();
    cluster.ledger("acme").await;
}

async fn no_key_is_wrapped_anew_before_every_node_has_the_new_root_key() {
    let url = Postgres::shared().database();
    let cluster = Cluster::start(STRONGROOM, Stores { catalog: Some(&url), bucket: None }, "", 2).await;
    let admin = Identity::generate().unwrap();
    let connect = |node: usize, identity: &Identity| {
        let address = cluster.nodes()[node].address().to_string();
        Connect::to(address, cluster.vault_key(), strongroom_tests::copy(identity)).open()
    };
    let tenant = "acme".parse().unwrap();
    let operator = cluster.operator();
    connect(0, &operator).await.unwrap().create_tenant(&tenant, &[admin.fingerprint()]).await.unwrap();
    // Both have said which root key is theirs.
    let here = cluster.beside();
    let heard = async || tamper::number(&cluster.folder(), "SELECT count(*) FROM root_nodes").await;
    while heard().await < 2 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    command(here, "root rotate node0 --to file --detach").await.ok();
    let waiting = loop {
        let status = status(here, "node0").await;
        if status["waiting_for"].as_array().is_some_and(|nodes| !nodes.is_empty()) {
            break status;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!((&waiting["rotating"], &waiting["done"]), (&true.into(), &0.into()));
    command(here, "root rotate node0 --to file").await.fails(3, "PRECONDITION_FAILED");
    command(here, "root join node1").await.fails(3, "NOT_FOUND");
    // What is made meanwhile on either node opens on both: the other one has the old key, and this one both.
    let vault = connect(1, &admin).await.unwrap();
    vault.rotate_key(&tenant).await.unwrap();

    for file in root_files(&here.join("node0")) {
        let to = here.join("node1").join(file.file_name().unwrap());
        if !to.exists() {
            fs::copy(&file, to).unwrap();
        }
    }
    command(here, "root join node1").await.ok();
    for node in ["node0", "node1"] {
        assert_eq!(rotated(here, node).await["error"], serde_json::Value::Null);
        destroy_first(&here.join(node));
    }
    for node in cluster.nodes() {
        node.kill();
        node.try_start().unwrap();
    }
    let vault = connect(1, &admin).await.unwrap();
    let dataset = "acme/rlhf".parse().unwrap();
    vault.create_dataset(&dataset).await.unwrap();
    vault.rotate_key(&tenant).await.unwrap();
    cluster.ledger("acme").await;
}

on_each_engine!((flavor = "multi_thread")
    everything_comes_under_the_new_root_key_while_the_vault_serves,
    a_server_that_is_killed_on_the_way_goes_on,
    a_server_that_is_killed_at_random_goes_on,
);

on_postgres_alone!((flavor = "multi_thread")
    no_key_is_wrapped_anew_before_every_node_has_the_new_root_key,
    what_a_node_says_of_one_root_key_is_not_about_the_next,
);

on_moto! {
    #[tokio::test(flavor = "multi_thread")]
    async fn to_kms_and_back_to_a_passphrase() {
        let moto = Moto::shared();
        let mut site = Site::start(STRONGROOM, "").await;
        let labs = labs(&site).await;
        let mut credentials = String::new();
        for (name, value) in Moto::options(moto.port()) {
            if name.contains("key") {
                credentials += &format!("{name} = \"{value}\"\n");
            }
        }
        let key = moto.kms_key();
        let endpoint = format!("http://127.0.0.1:{}", moto.port());
        // A server without credentials says so, and nothing has begun.
        let line = format!("root rotate vault --to aws-kms --key none --region us-east-1 --endpoint {endpoint}");
        let refused = command(site.beside(), &line).await;
        assert_eq!(refused.code, Some(6), "{}", refused.stderr);
        assert_eq!(status(site.beside(), "vault").await["rotating"], false);
        site.restart_with(|command| {
            command.env("AWS_ACCESS_KEY_ID", "strongroom").env("AWS_SECRET_ACCESS_KEY", "strongroom");
        });
        command(site.beside(), &line.replace("none", &key)).await.ok();
        destroy_first(&site.folder());
        site.restart_with(|command| {
            command.env("AWS_ACCESS_KEY_ID", "strongroom").env("AWS_SECRET_ACCESS_KEY", "strongroom");
        });
        all_open(&labs).await;
        assert!(root_files(&site.folder()).is_empty());

        let folder = site.beside().to_owned();
        let run = move || STRONGROOM.run_with(&folder, &["root", "rotate", "vault", "--to", "file", "--passphrase"], b"correct horse\n");
        tokio::task::spawn_blocking(run).await.unwrap().ok();
        moto.kms("DisableKey", &format!("{{\"KeyId\":\"{key}\"}}"));
        site.restart_with(|command| {
            command.env("STRONGROOM_ROOT_PASSPHRASE", "correct horse");
        });
        all_open(&labs).await;
    }
}
