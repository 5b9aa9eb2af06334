use std::path::Path;

use bytes::Bytes;
use strongroom_core::identity::Fingerprint;
use strongroom_core::ids::{PutId, TenantId};

use super::*;
use crate::config::BlobsUrl;

const TENANT: TenantId = TenantId::from_bytes([7; 16]);
const HOUR: u64 = 3_600_000;

async fn sweeper(folder: &Path) -> Sweeper {
    let url = format!("sqlite:{}", folder.join("catalog.db").display());
    Sweeper {
        catalog: Catalog::open(&url).await.unwrap(),
        blobs: Blobs::open(&BlobsUrl::File(folder.join("blobs"))).unwrap(),
        idle: Duration::from_millis(HOUR),
        interval: Duration::from_millis(10),
    }
}

impl Sweeper {
    /// An upload that was last heard of at `at`, with its blob.
    async fn upload(&self, number: u8, at: u64) -> String {
        let blob = self.blobs.pack_name(&TENANT).unwrap();
        let holder = Fingerprint::from_bytes([1; 32]);
        let put = PutId::from_bytes([number; 16]);
        self.catalog.open_upload(&TENANT, &put, &holder, &blob, Millis(at)).await.unwrap();
        self.blobs.put_pack(&blob, Bytes::from_static(b"blob")).await.unwrap();
        blob
    }

    async fn is_there(&self, blob: &str) -> bool {
        self.blobs.range(blob, 0, 1).await.is_ok()
    }
}

#[tokio::test]
async fn what_came_to_nothing_is_deleted_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let sweeper = sweeper(folder.path()).await;
    let now = 10 * HOUR;
    let idle = sweeper.upload(1, now - HOUR - 1).await;
    let going_on = sweeper.upload(2, now - HOUR + 1).await;
    let committed = sweeper.upload(3, 0).await;
    let mut tx = sweeper.catalog.begin().await.unwrap();
    tx.commit_uploads(&TENANT, [(committed.as_str(), 1)]).await.unwrap();
    tx.commit().await.unwrap();
    let condemned = sweeper.upload(4, now).await;
    assert!(sweeper.catalog.condemn(&TENANT, &condemned).await.unwrap());
    // Somebody else's: no row knows it.
    let foreign = sweeper.blobs.pack_name(&TENANT).unwrap();
    sweeper.blobs.put_pack(&foreign, Bytes::from_static(b"blob")).await.unwrap();

    let stop = CancellationToken::new();
    assert_eq!(sweeper.sweep(Millis(now), &stop).await.unwrap(), 2);
    for (blob, stays) in [(&idle, false), (&going_on, true), (&committed, true), (&condemned, false), (&foreign, true)]
    {
        assert_eq!(sweeper.is_there(blob).await, stays);
    }
    assert!(sweeper.catalog.condemned(10).await.unwrap().is_empty(), "the rows are forgotten");
    assert_eq!(sweeper.sweep(Millis(now), &stop).await.unwrap(), 0);
}

#[tokio::test]
async fn a_sweep_that_was_broken_off_is_finished_by_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let sweeper = sweeper(folder.path()).await;
    let blob = sweeper.upload(1, 0).await;
    sweeper.catalog.condemn(&TENANT, &blob).await.unwrap();
    // As if a node had died between the blob and the row.
    sweeper.blobs.delete(&blob).await.unwrap();
    assert_eq!(sweeper.sweep(Millis(0), &CancellationToken::new()).await.unwrap(), 1);
    assert!(sweeper.catalog.condemned(10).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_blob_that_came_after_its_row_was_swept_is_swept_too() {
    let folder = tempfile::tempdir().unwrap();
    let sweeper = sweeper(folder.path()).await;
    // Its node stood still between the row and the blob, and was given up meanwhile.
    let (blob, stop) = (sweeper.upload(1, 0).await, CancellationToken::new());
    assert_eq!(sweeper.sweep(Millis(2 * HOUR), &stop).await.unwrap(), 1);
    sweeper.blobs.put_pack(&blob, Bytes::from_static(b"blob")).await.unwrap();
    // Its put fails.
    assert!(sweeper.catalog.condemn(&TENANT, &blob).await.unwrap());
    assert_eq!(sweeper.sweep(Millis(2 * HOUR), &stop).await.unwrap(), 1);
    assert!(!sweeper.is_there(&blob).await);
    assert!(sweeper.catalog.condemned(10).await.unwrap().is_empty());
}

#[tokio::test]
async fn one_blob_that_cannot_be_deleted_keeps_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let sweeper = sweeper(folder.path()).await;
    let blob = sweeper.upload(1, 5).await;
    sweeper.catalog.condemn(&TENANT, &blob).await.unwrap();
    let (holder, put) = (Fingerprint::from_bytes([1; 32]), PutId::from_bytes([2; 16]));
    let bad = "../catalog.db";
    sweeper.catalog.open_upload(&TENANT, &put, &holder, bad, Millis(0)).await.unwrap();
    sweeper.catalog.condemn(&TENANT, bad).await.unwrap();
    assert_eq!(sweeper.sweep(Millis(0), &CancellationToken::new()).await.unwrap(), 1);
    assert!(!sweeper.is_there(&blob).await);
    let alone = sweeper.sweep(Millis(0), &CancellationToken::new()).await;
    assert!(matches!(alone, Err(SweepError::Blob(BlobError::Name(_)))));
    assert!(folder.path().join("catalog.db").exists());
}

#[tokio::test]
async fn however_many_cannot_be_deleted_the_next_sweep_begins_with_others() {
    let folder = tempfile::tempdir().unwrap();
    let sweeper = sweeper(folder.path()).await;
    let stop = CancellationToken::new();
    // A whole step of folders under blobs' names, older than the one that can go.
    let mut stuck = Vec::new();
    for at in 0..u64::from(STEP) {
        let blob = sweeper.blobs.pack_name(&TENANT).unwrap();
        let put = PutId::from_bytes([1; 16]);
        sweeper.catalog.open_upload(&TENANT, &put, &Fingerprint::from_bytes([1; 32]), &blob, Millis(at)).await.unwrap();
        std::fs::create_dir_all(folder.path().join("blobs").join(&blob)).unwrap();
        stuck.push(blob);
    }
    let fine = sweeper.upload(2, 5000).await;
    for blob in stuck.iter().chain([&fine]) {
        assert!(sweeper.catalog.condemn(&TENANT, blob).await.unwrap());
    }
    assert!(sweeper.sweep(Millis(HOUR), &stop).await.is_err(), "nothing of its step could be deleted");
    assert!(sweeper.is_there(&fine).await);
    assert_eq!(sweeper.sweep(Millis(HOUR + 1), &stop).await.unwrap(), 1);
    assert!(!sweeper.is_there(&fine).await);
}

#[tokio::test]
async fn it_sweeps_by_itself_until_it_is_told_to_stop() {
    let folder = tempfile::tempdir().unwrap();
    let sweeper = sweeper(folder.path()).await;
    let blob = sweeper.upload(1, 0).await;
    let (blobs, stop) = (sweeper.blobs.clone(), CancellationToken::new());
    let sweeping = sweeper.start(|| Millis(2 * HOUR), stop.clone());
    while blobs.range(&blob, 0, 1).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(5), sweeping).await.unwrap().unwrap();
}
