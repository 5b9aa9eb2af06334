//! What blobs do wherever they are: each case is a test on a disk, on an S3 and on an Azure.

use std::collections::BTreeMap;

use strongroom_core::ids::{Digest, SegmentRange};
use strongroom_core::ledger::tile::Tile;
use strongroom_core::sealed::content::{ContentVerifier, parse_digests};
use strongroom_test_services::{Azurite, Moto, on_azurite, on_moto};

use super::*;
use crate::config::{BucketUrl, Provider};

/// A bucket of S3, reached through this port.
pub(super) fn s3(bucket: &str, port: u16) -> BucketUrl {
    bucket_url(Provider::S3, bucket, Moto::options(port))
}

/// A container of Azure, reached through this port.
pub(super) fn azure(container: &str, port: u16) -> BucketUrl {
    bucket_url(Provider::Azure, container, Azurite::options(port))
}

fn bucket_url(provider: Provider, bucket: &str, options: Vec<(&'static str, String)>) -> BucketUrl {
    let options: BTreeMap<_, _> = options.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    BucketUrl { provider, bucket: bucket.to_owned(), prefix: "deep/prefix".to_owned(), options }
}

/// Makes a test in each place of each of these cases.
macro_rules! blobs_suite {
    ($($case:ident),+ $(,)?) => { $(
        mod $case {
            use super::*;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_disk() {
                let folder = tempfile::tempdir().unwrap();
                super::$case(open(folder.path())).await;
            }

            on_moto! {
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn on_s3() {
                    let moto = Moto::shared();
                    let bucket = moto.bucket();
                    super::$case(Blobs::open(&BlobsUrl::Bucket(s3(&bucket, moto.port()))).unwrap()).await;
                    // A listing shows no parts of uploads.
                    assert!(moto.uploads(&bucket).is_empty(), "uploads are left");
                }
            }

            on_azurite! {
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn on_azure() {
                    let url = azure(&Azurite::shared().container(), Azurite::shared().port());
                    super::$case(Blobs::open(&BlobsUrl::Bucket(url)).unwrap()).await;
                }
            }
        }
    )+ };
}

blobs_suite! {
    it_will_do,
    an_object_is_stored_with_its_digests,
    parts_of_a_blob_are_read_whole_or_not_at_all,
    what_is_not_there_is_missing,
    a_blob_is_never_overwritten,
    names_from_elsewhere_reach_no_store,
    what_is_no_sealed_object_is_refused_and_leaves_nothing,
    an_upload_that_is_given_up_leaves_nothing,
    an_upload_whose_node_died_is_deleted_by_its_row,
    uploads_go_side_by_side,
    a_logs_tile_is_put_once,
    partial_tiles_of_one_tile_are_dropped_together,
    a_logs_checkpoint_never_goes_back,
}

/// The names of all that is there.
pub(super) async fn names(blobs: &Blobs) -> Vec<String> {
    let found: Vec<_> = blobs.store.list(None).try_collect().await.unwrap();
    found.into_iter().map(|meta| meta.location.to_string()).collect()
}

async fn it_will_do(blobs: Blobs) {
    blobs.probe().await.unwrap();
    assert!(names(&blobs).await.is_empty(), "the probe leaves nothing");
}

async fn an_object_is_stored_with_its_digests(blobs: Blobs) {
    let segment = SEGMENT_SIZE as u64;
    let part = parts::PART as u64;
    // Less than a part; a part with the digests over; several parts.
    let sizes = [(0, 10), (1, 7), (segment, 100_000), (segment + 1, 4096), (40 * segment + 9, 262_144)];
    for (size, chunk) in sizes.into_iter().chain([(part - 8000, 262_144), (2 * part + 5, 1_000_000)]) {
        let bytes = sealed(size);
        let upload = upload(&blobs, &bytes, chunk).await;
        let name = upload.name().to_owned();
        let stored = upload.finish(size).await.unwrap();
        assert_eq!(stored.blob, name);
        let layout = Layout::new(size).unwrap();
        let end = blobs.store.head(&BlobName::parse(&name).unwrap().path()).await.unwrap().size;
        let blob = collect(&blobs, &name, 0, end).await.unwrap();
        assert!(blob.starts_with(&bytes), "{size}");
        if layout.segments() > 1 {
            let digests = &blob[usize::try_from(layout.digests_offset()).unwrap()..];
            let digests = parse_digests(digests).unwrap();
            let windows = &stored.content.window_digests;
            let verifier = ContentVerifier::new(stored.content.header, size, stored.content.root, windows).unwrap();
            verifier.check_window(0, &digests).unwrap();
        } else {
            assert_eq!(blob.len(), bytes.len());
        }
        blobs.delete(&name).await.unwrap();
    }
    assert!(names(&blobs).await.is_empty());
}

async fn parts_of_a_blob_are_read_whole_or_not_at_all(blobs: Blobs) {
    let bytes: Vec<u8> = (0..3 * CHUNK + 5).map(|at| u8::try_from(at % 251).unwrap()).collect();
    let name = blobs.pack_name(&TENANT).unwrap();
    blobs.put_pack(&name, bytes.clone().into()).await.unwrap();
    let end = bytes.len() as u64;
    for (offset, len) in [(0, end), (0, 0), (1, 1), (CHUNK - 1, 2), (7, 2 * CHUNK), (end - 1, 1), (end, 0)] {
        let expected = &bytes[usize::try_from(offset).unwrap()..usize::try_from(offset + len).unwrap()];
        assert_eq!(collect(&blobs, &name, offset, len).await.unwrap(), expected, "{offset} {len}");
        if len > 0 {
            assert_eq!(blobs.range(&name, offset, len).await.unwrap(), expected, "{offset} {len}");
        }
    }
    let ranges = [5..6, 0..3, CHUNK..2 * CHUNK, 3..9];
    let found = blobs.ranges(&name, &ranges).await.unwrap();
    for (range, found) in ranges.iter().zip(found) {
        assert_eq!(found, bytes[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()]);
    }
    for (offset, len) in [(0, end + 1), (end, 1), (end + 7, 9), (end - 1, 2), (1, u64::MAX)] {
        let short = |result: Result<_, BlobError>| matches!(result, Err(BlobError::Short(blob)) if blob == name);
        assert!(short(collect(&blobs, &name, offset, len).await.map(drop)), "{offset} {len}");
        if len < u64::MAX {
            assert!(short(blobs.range(&name, offset, len).await.map(drop)), "{offset} {len}");
        }
    }
}

async fn what_is_not_there_is_missing(blobs: Blobs) {
    let name = blobs.pack_name(&TENANT).unwrap();
    assert!(matches!(blobs.range(&name, 0, 1).await, Err(BlobError::Missing(_))));
    assert!(matches!(blobs.stream(&name, 0, 1).await.err(), Some(BlobError::Missing(_))));
    blobs.put_pack(&name, Bytes::from_static(b"a pack")).await.unwrap();
    blobs.delete(&name).await.unwrap();
    assert!(matches!(blobs.range(&name, 0, 1).await, Err(BlobError::Missing(_))));
    blobs.delete(&name).await.unwrap();
}

async fn a_blob_is_never_overwritten(blobs: Blobs) {
    let name = blobs.pack_name(&TENANT).unwrap();
    blobs.put_pack(&name, Bytes::from_static(b"first")).await.unwrap();
    for other in ["other", "first and more", ""] {
        assert!(blobs.put_pack(&name, Bytes::from_static(other.as_bytes())).await.is_err(), "{other}");
    }
    assert_eq!(blobs.range(&name, 0, 5).await.unwrap(), "first");
}

async fn names_from_elsewhere_reach_no_store(blobs: Blobs) {
    for name in ["../root.identity", "blobs/../../root.identity", "", "/etc/passwd"] {
        assert!(matches!(blobs.range(name, 0, 1).await, Err(BlobError::Name(_))));
        assert!(matches!(blobs.stream(name, 0, 1).await.err(), Some(BlobError::Name(_))));
        assert!(matches!(blobs.delete(name).await, Err(BlobError::Name(_))));
        assert!(matches!(blobs.abort(name, "1").await, Err(BlobError::Name(_))));
        assert!(matches!(blobs.put_pack(name, Bytes::new()).await, Err(BlobError::Name(_))));
    }
}

async fn what_is_no_sealed_object_is_refused_and_leaves_nothing(blobs: Blobs) {
    let bytes = sealed(100);
    let mut header = bytes.clone();
    header[4] = 9;
    for (bytes, size) in [(&bytes[..], 99), (&bytes[..], 101), (&bytes[..50], 100), (&header[..], 100), (&[], 0)] {
        let error = upload(&blobs, bytes, 1000).await.finish(size).await.unwrap_err();
        assert!(matches!(error, BlobError::Content(_)), "{error}");
        assert_eq!(error.reason(), Reason::Integrity);
    }
    let error = upload(&blobs, &bytes, 1000).await.finish(u64::MAX).await.unwrap_err();
    assert_eq!(error.reason(), Reason::TooLarge);
    // Found out after parts were sent.
    let large = vec![0; 2 * parts::PART + 1];
    assert!(upload(&blobs, &large, 262_144).await.finish(5).await.is_err());
    assert!(names(&blobs).await.is_empty());
}

async fn an_upload_that_is_given_up_leaves_nothing(blobs: Blobs) {
    let bytes = vec![0; 2 * parts::PART + 1];
    upload(&blobs, &bytes, 262_144).await.abort().await;
    upload(&blobs, &bytes[..100], 262_144).await.abort().await;
    assert!(names(&blobs).await.is_empty());
}

/// As far as an upload goes before its node dies: what is left is found by what its row has.
async fn an_upload_whose_node_died_is_deleted_by_its_row(blobs: Blobs) {
    let mut upload = blobs.begin(&TENANT).await.unwrap();
    let mut noted = None;
    for _ in 0..2 * parts::PART / 262_144 + 1 {
        if let Some(Multipart(id)) = upload.write(Bytes::from(vec![0; 262_144])).await.unwrap() {
            assert!(noted.replace(id).is_none(), "one id an upload");
        }
    }
    let name = upload.name().to_owned();
    // No destructor of a dead node runs.
    std::mem::forget(upload);
    for _ in 0..2 {
        if let Some(id) = &noted {
            blobs.abort(&name, id).await.unwrap();
        }
        blobs.delete(&name).await.unwrap();
    }
    assert!(names(&blobs).await.is_empty());
}

/// Many uploads at once, each with little in memory.
async fn uploads_go_side_by_side(blobs: Blobs) {
    let size = 20 * SEGMENT_SIZE as u64;
    let bytes = Bytes::from(sealed(size));
    let uploads = (0..32).map(|_| {
        let (blobs, bytes) = (blobs.clone(), bytes.clone());
        tokio::spawn(async move { upload(&blobs, &bytes, 262_144).await.finish(size).await.unwrap() })
    });
    let stored: Vec<_> = futures::future::join_all(uploads).await.into_iter().map(Result::unwrap).collect();
    let root: Digest = stored[0].content.root;
    assert!(stored.iter().all(|stored| stored.content.root == root));
    assert_eq!(names(&blobs).await.len(), 32);
    let range = Layout::new(size).unwrap().blob_bytes(SegmentRange::new(3, 4).unwrap());
    let found = blobs.range(&stored[31].blob, range.start, range.end - range.start).await.unwrap();
    assert_eq!(found, bytes[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()]);
}

async fn a_logs_tile_is_put_once(blobs: Blobs) {
    let logs = blobs.logs();
    let tile: Tile = "tile/entries/x001/234.p/9".parse().unwrap();
    assert_eq!(logs.tile(&TENANT, tile).await.unwrap(), None);
    let bytes = Bytes::from_static(b"nine entries");
    for _ in 0..2 {
        logs.put_tile(&TENANT, tile, bytes.clone()).await.unwrap();
        assert_eq!(logs.tile(&TENANT, tile).await.unwrap(), Some(bytes.clone()));
    }
    let other = logs.put_tile(&TENANT, tile, Bytes::from_static(b"others")).await;
    assert!(matches!(other, Err(BlobError::Exists(_))), "{other:?}");
    assert_eq!(logs.tile(&TENANT, tile).await.unwrap(), Some(bytes));
    // Two at once put one.
    let full = tile.full();
    let puts = (0..4_u8).map(|n| logs.put_tile(&TENANT, full, Bytes::from(vec![n; 1000])));
    let done = futures::future::join_all(puts).await;
    assert_eq!(done.iter().filter(|done| done.is_ok()).count(), 1, "{done:?}");
    let found = logs.tile(&TENANT, full).await.unwrap().unwrap();
    assert!(found.len() == 1000 && found.iter().all(|byte| *byte == found[0]));
}

async fn partial_tiles_of_one_tile_are_dropped_together(blobs: Blobs) {
    let logs = blobs.logs();
    let of = |path: &str| path.parse::<Tile>().unwrap();
    let all = ["tile/0/000.p/1", "tile/0/000.p/200", "tile/0/001.p/1", "tile/entries/000.p/1", "tile/0/000"];
    for path in all {
        logs.put_tile(&TENANT, of(path), Bytes::from_static(b"x")).await.unwrap();
    }
    for _ in 0..2 {
        logs.drop_partials(&TENANT, of("tile/0/000")).await.unwrap();
    }
    for path in all {
        let is_dropped = path.starts_with("tile/0/000.p/");
        assert_eq!(logs.tile(&TENANT, of(path)).await.unwrap().is_none(), is_dropped, "{path}");
    }
    logs.put_tile(&TENANT, of(all[0]), Bytes::from_static(b"y")).await.unwrap();
}

async fn a_logs_checkpoint_never_goes_back(blobs: Blobs) {
    let logs = blobs.logs();
    assert_eq!(logs.checkpoint(&TENANT).await.unwrap(), None);
    let put = async |size: u8| {
        let replaces = move |there: &[u8]| there[0] < size;
        logs.put_checkpoint(&TENANT, Bytes::from(vec![size; 10]), replaces).await.unwrap();
        logs.checkpoint(&TENANT).await.unwrap().unwrap()[0]
    };
    assert_eq!(put(3).await, 3);
    assert_eq!(put(5).await, 5);
    assert_eq!(put(4).await, 5, "an older one stays away");
    futures::future::join_all((6..20).map(put)).await;
    let newest = logs.checkpoint(&TENANT).await.unwrap().unwrap();
    assert!(newest.len() == 10 && newest[0] > 5, "{newest:?}");
    assert_eq!(put(30).await, 30);
}
