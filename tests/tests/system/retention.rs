//! What was overwritten or deleted is kept for a while, and then nobody can read it any more: not with a grant, not with the
//! vault's own disk and keys. The ledger goes on telling what it was.

use std::collections::BTreeSet;
use std::path::Path;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use strongroom_client::audit::Query;
use strongroom_client::{DeleteOptions, Generation, GetOptions, ObjectPath, PutOptions, Reason};
use strongroom_test_services::on_each_engine;
use strongroom_tests::oracle::{Blobs, walk};
use strongroom_tests::site::Site;
use strongroom_tests::{TestVault, sample, tamper, until};

use crate::STRONGROOM;

const DAY: i64 = 24 * 3600 * 1000;
/// A day is kept; the rows are looked at every second.
const LIMITS: &str = "retention = 86400\nupload_idle = 1";

/// How many rows a table has, or those of it that `of` picks.
async fn count(folder: &Path, of: &str) -> u64 {
    tamper::number(folder, &format!("SELECT count(*) FROM {of}")).await
}

/// Waits until all that is due has lost its key, and its blobs are gone from the disk.
async fn passed(vault: &TestVault) {
    until("what is due is destroyed", async || {
        count(&vault.folder(), "objects WHERE key_version = 0").await > 0
            && Blobs::look(&vault.folder()).await.is_swept()
    })
    .await;
}

async fn what_was_overwritten_or_deleted_loses_its_key_after_a_while() {
    let vault = TestVault::start_with(None, LIMITS).await;
    let lab = vault.lab("acme").await;
    let dataset = lab.dataset("rlhf").await;
    let first = Bytes::from(sample::bytes(1, 200_000));
    lab.put("rlhf/large", first.clone()).await;
    lab.overwrite("rlhf/large", "the second").await;
    lab.put("rlhf/deleted", "hidden").await;
    lab.vault.delete(&lab.object("rlhf/deleted"), DeleteOptions::default()).await.unwrap();
    // Nine in one pack: two are overwritten, two are deleted.
    let path = |at: u32| -> ObjectPath { format!("pack/{at}").parse().unwrap() };
    let small = futures::stream::iter((0..9).map(|at| (path(at), Bytes::from(format!("item {at}")))));
    let _: Vec<_> = lab.vault.put_many(&dataset, small, PutOptions::default()).try_collect().await.unwrap();
    let (pack, _) = tamper::place(&vault.folder(), "pack/8").await;
    for at in 0..2 {
        lab.overwrite(&format!("rlhf/pack/{at}"), "again").await;
        lab.vault.delete(&lab.object(&format!("rlhf/pack/{}", at + 2)), DeleteOptions::default()).await.unwrap();
    }
    let gone = lab.dataset("gone").await;
    let many = futures::stream::iter((0..600).map(|at| (path(at), Bytes::from_static(b"of a dataset that goes"))));
    let _: Vec<_> = lab.vault.put_many(&gone, many, PutOptions::default()).try_collect().await.unwrap();
    lab.vault.delete_dataset(&gone).await.unwrap();

    let (old, _) = tamper::place_of(&vault.folder(), "large", Some(1)).await;
    let id = tamper::bytes(&vault.folder(), "SELECT id FROM objects WHERE path = 'large' AND generation = 1").await;
    let id = strongroom_client::ObjectId::try_from(&id[..]).unwrap();
    let wrapped = "SELECT wrapped FROM objects WHERE path = 'large' AND generation = 1";
    let wrapped = tamper::bytes(&vault.folder(), wrapped).await;
    assert!(old.exists() && lies_in(&vault.folder(), &wrapped) != Some(false));

    // Until its time is over, an older generation is there to be asked for.
    until("objects of the deleted dataset are retired", async || {
        count(&vault.folder(), "retired_datasets").await == 0 && count(&vault.folder(), "retired").await == 606
    })
    .await;
    vault.clock.shift(DAY - 120_000);
    assert_eq!(lab.read("rlhf/large", Some(1)).await, Ok(first));
    assert_eq!(count(&vault.folder(), "objects WHERE key_version = 0").await, 0);

    vault.clock.shift(120_000 + 1);
    passed(&vault).await;
    until("all of it", async || count(&vault.folder(), "retired").await == 0).await;
    assert_eq!(count(&vault.folder(), "objects WHERE key_version = 0").await, 606);
    assert_eq!(lab.read("rlhf/large", Some(1)).await, Err(Reason::NotFound));
    let by_id = lab.vault.get_by_id(&dataset, id, GetOptions::default()).await;
    assert_eq!(by_id.unwrap_err().reason(), Reason::NotFound);
    let options = GetOptions { generation: Some(Generation(1)), grant: None };
    assert_eq!(lab.vault.stat(&lab.object("rlhf/large"), options).await.unwrap_err().reason(), Reason::NotFound);
    assert_eq!(lab.read("rlhf/large", None).await, Ok("the second".into()));
    for at in 0..9 {
        let expected = match at {
            0 | 1 => Ok("again".into()),
            2 | 3 => Err(Reason::NotFound),
            _ => Ok(format!("item {at}").into()),
        };
        assert_eq!(lab.read(&format!("rlhf/pack/{at}"), None).await, expected, "{at}");
    }
    assert!(!old.exists(), "nothing lies in it any more");
    assert!(pack.exists(), "five of nine are still there");
    until("the key is in no file of the vault", async || lies_in(&vault.folder(), &wrapped) != Some(true)).await;

    // The numbers go on, and so does what is told of it.
    lab.overwrite("rlhf/deleted", "a new beginning").await;
    let info = lab.vault.stat(&lab.object("rlhf/deleted"), GetOptions::default()).await.unwrap();
    assert_eq!(info.generation, Generation(3), "1 was put, 2 was the delete");
    let told: Vec<_> = lab.vault.query(&lab.tenant, Query::default()).try_collect().await.unwrap();
    let named: BTreeSet<String> = told.iter().flat_map(|line| line.names.clone()).collect();
    for name in ["rlhf/large", "rlhf/deleted", "rlhf/pack/2", "gone/pack/599"] {
        assert!(named.contains(name), "{name}");
    }

    // The pack goes with the last object in it.
    for at in 4..9 {
        lab.vault.delete(&lab.object(&format!("rlhf/pack/{at}")), DeleteOptions::default()).await.unwrap();
    }
    vault.clock.shift(DAY + 1);
    until("the pack is gone", async || !pack.exists()).await;
    vault.ledger("acme").await;
}

/// Whether bytes stand in the catalog's files, if it lies in files that this vault has to itself.
fn lies_in(folder: &Path, bytes: &[u8]) -> Option<bool> {
    let mut found = None;
    walk(folder, &mut |file| {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("catalog.db") && !name.ends_with("-shm") {
            let content = std::fs::read(file).unwrap_or_default();
            let here = content.windows(bytes.len()).any(|window| window == bytes);
            found = Some(here || found == Some(true));
        }
    });
    found
}

async fn a_read_under_way_is_told_that_it_is_gone() {
    let vault = TestVault::start_with(None, LIMITS).await;
    let lab = vault.lab("acme").await;
    lab.dataset("rlhf").await;
    // Three windows: the last is not asked for before the second is read.
    let large = Bytes::from(sample::bytes(1, 3 * (64 << 20)));
    lab.put("rlhf/large", large.clone()).await;
    lab.overwrite("rlhf/large", "the second").await;
    let (file, _) = tamper::place_of(&vault.folder(), "large", Some(1)).await;
    let options = GetOptions { generation: Some(Generation(1)), grant: None };
    let mut reader = lab.vault.get(&lab.object("rlhf/large"), options).await.unwrap();
    let begun = reader.next().await.unwrap().unwrap();
    vault.clock.shift(DAY + 1);
    until("the blob is gone", async || !file.exists()).await;
    let mut got = begun.len();
    let ended = loop {
        match reader.next().await {
            Some(Ok(bytes)) => {
                assert!(large[got..].starts_with(&bytes));
                got += bytes.len();
            }
            Some(Err(error)) => break Some(error.reason()),
            None => break None,
        }
    };
    assert!(matches!((ended, got == large.len()), (Some(Reason::NotFound), false) | (None, true)), "{ended:?} {got}");
    vault.ledger("acme").await;
}

async fn a_pass_that_dies_with_the_server() {
    for point in ["retention.committing", "retention.committed"] {
        let mut site = Site::start(STRONGROOM, "retention = 2\nupload_idle = 1").await;
        let lab = site.lab("acme").await;
        lab.dataset("rlhf").await;
        lab.put("rlhf/a", sample::bytes(1, 100_000)).await;
        lab.put("rlhf/kept", "kept").await;
        site.restart(Some(point));
        lab.overwrite("rlhf/a", "the second").await;
        site.await_death();
        let destroyed = count(&site.folder(), "objects WHERE key_version = 0").await;
        assert_eq!(destroyed, u64::from(point == "retention.committed"), "all of it or nothing");
        site.restart(None);
        until("the next pass finishes it", async || {
            count(&site.folder(), "objects WHERE key_version = 0").await == 1
                && Blobs::look(&site.folder()).await.is_swept()
        })
        .await;
        assert_eq!(lab.read("rlhf/a", None).await, Ok("the second".into()));
        assert_eq!(lab.read("rlhf/a", Some(1)).await, Err(Reason::NotFound));
        assert_eq!(lab.read("rlhf/kept", None).await, Ok("kept".into()));
        Blobs::look(&site.folder()).await.assert_whole();
        site.ledger("acme").await;
    }
}

/// Whoever can write the database can say that something is due; what a path stands for stays.
async fn what_is_visible_never_expires() {
    let vault = TestVault::start_with(None, LIMITS).await;
    let lab = vault.lab("acme").await;
    lab.dataset("rlhf").await;
    lab.put("rlhf/a", "it stays").await;
    let forged = "INSERT INTO retired (since, tenant, entry, ordinal) SELECT 1, tenant, entry, ordinal FROM objects";
    tamper::edit(&vault.folder(), &[forged.to_owned()]).await;
    until("the row was looked at", async || count(&vault.folder(), "retired").await == 0).await;
    assert_eq!(lab.read("rlhf/a", None).await, Ok("it stays".into()));
    vault.ledger("acme").await;
}

on_each_engine! {
    (flavor = "multi_thread", worker_threads = 2)
    what_was_overwritten_or_deleted_loses_its_key_after_a_while,
    a_read_under_way_is_told_that_it_is_gone,
    a_pass_that_dies_with_the_server,
    what_is_visible_never_expires,
}
