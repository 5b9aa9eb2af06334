use std::path::Path;

use bytes::Bytes;
use futures::TryStreamExt;
use strongroom_core::ids::{Digest, ObjectId, SegmentRange};
use strongroom_core::keys::secret::Key;
use strongroom_core::sealed::content::{ContentVerifier, parse_digests};
use strongroom_core::sealed::header::Header;
use strongroom_core::sealed::layout::Layout;
use strongroom_core::sealed::tree::ObjectRoot;
use strongroom_core::sealed::{SEGMENT_SIZE, segment};

use super::*;

const TENANT: TenantId = TenantId::from_bytes([7; 16]);

fn open(folder: &Path) -> Blobs {
    Blobs::open(&BlobsUrl::File(folder.join("blobs"))).unwrap()
}

/// Header and segments of an object of `size` bytes.
fn sealed(size: u64) -> Vec<u8> {
    let header = Header::new(ObjectId::from_bytes([1; 16]));
    let root = ObjectRoot::derive(&Key::from_bytes([2; 32]), &header);
    let layout = Layout::new(size).unwrap();
    let plain = vec![5; SEGMENT_SIZE];
    let mut bytes = header.encode().to_vec();
    let mut leaves = root.leaves();
    for i in 0..layout.segments() {
        let leaf = leaves.leaf(i).unwrap();
        segment::seal(&leaf, i, layout.is_last(i), &plain[..layout.plain_len(i)], &mut bytes).unwrap();
    }
    bytes
}

async fn upload(blobs: &Blobs, bytes: &[u8], chunk: usize) -> Upload {
    let mut upload = blobs.begin(&TENANT).await.unwrap();
    for chunk in bytes.chunks(chunk) {
        upload.write(Bytes::copy_from_slice(chunk)).await.unwrap();
    }
    upload
}

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found
}

async fn collect(blobs: &Blobs, blob: &str, offset: u64, len: u64) -> Result<Vec<u8>, BlobError> {
    let chunks: Vec<Bytes> = blobs.stream(blob, offset, len).await?.try_collect().await?;
    assert!(chunks.iter().all(|chunk| chunk.len() as u64 <= CHUNK));
    Ok(chunks.concat())
}

#[tokio::test]
async fn an_object_is_stored_with_its_digests() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = open(folder.path());
    let segment = SEGMENT_SIZE as u64;
    for (size, chunk) in [(0, 10), (1, 7), (segment, 100_000), (segment + 1, 4096), (40 * segment + 9, 262_144)] {
        let bytes = sealed(size);
        let upload = upload(&blobs, &bytes, chunk).await;
        let name = upload.name().to_owned();
        let stored = upload.finish(size).await.unwrap();
        assert_eq!(stored.blob, name);
        let layout = Layout::new(size).unwrap();
        let path = folder.path().join("blobs").join(&name);
        let file = std::fs::read(&path).unwrap();
        assert_eq!(file.len() as u64, layout.blob_len());
        assert_eq!(file[..bytes.len()], bytes[..]);
        assert_eq!(blobs.range(&name, 0, bytes.len() as u64).await.unwrap(), bytes);
        assert_eq!(collect(&blobs, &name, 0, bytes.len() as u64).await.unwrap(), bytes);

        // A reader can check what it finds against the root.
        if layout.has_trailer() {
            let digests = &file[usize::try_from(layout.digests_offset()).unwrap()..];
            let digests = parse_digests(digests).unwrap();
            let windows = &stored.content.window_digests;
            let verifier = ContentVerifier::new(stored.content.header, size, stored.content.root, windows).unwrap();
            verifier.check_window(0, &digests).unwrap();
        }
    }
}

#[tokio::test]
async fn parts_of_a_blob_are_read_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = open(folder.path());
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

#[tokio::test]
async fn what_is_not_there_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = open(folder.path());
    let name = blobs.pack_name(&TENANT).unwrap();
    assert!(matches!(blobs.range(&name, 0, 1).await, Err(BlobError::Missing(_))));
    assert!(matches!(blobs.stream(&name, 0, 1).await.err(), Some(BlobError::Missing(_))));
    blobs.put_pack(&name, Bytes::from_static(b"a pack")).await.unwrap();
    blobs.delete(&name).await.unwrap();
    assert!(matches!(blobs.range(&name, 0, 1).await, Err(BlobError::Missing(_))));
    blobs.delete(&name).await.unwrap();
}

#[tokio::test]
async fn names_from_elsewhere_become_no_paths() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = open(folder.path());
    std::fs::write(folder.path().join("root.identity"), "secret").unwrap();
    for name in ["../root.identity", "blobs/../../root.identity", "", "/etc/passwd"] {
        assert!(matches!(blobs.range(name, 0, 1).await, Err(BlobError::Name(_))));
        assert!(matches!(blobs.stream(name, 0, 1).await.err(), Some(BlobError::Name(_))));
        assert!(matches!(blobs.delete(name).await, Err(BlobError::Name(_))));
        assert!(matches!(blobs.put_pack(name, Bytes::new()).await, Err(BlobError::Name(_))));
    }
    assert!(folder.path().join("root.identity").exists());
}

#[tokio::test]
async fn a_blob_is_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = open(folder.path());
    let name = blobs.pack_name(&TENANT).unwrap();
    blobs.put_pack(&name, Bytes::from_static(b"first")).await.unwrap();
    assert!(blobs.put_pack(&name, Bytes::from_static(b"other")).await.is_err());
    assert_eq!(blobs.range(&name, 0, 5).await.unwrap(), "first");
}

#[tokio::test]
async fn what_is_no_sealed_object_is_refused_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = open(folder.path());
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
    assert!(files(folder.path()).is_empty());
}

#[tokio::test]
async fn an_upload_that_ends_early_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = open(folder.path());
    let bytes = vec![0; 3 * disk::BATCH];
    upload(&blobs, &bytes, 262_144).await.abort().await;
    assert!(files(folder.path()).is_empty());

    // Dropped, whether a thread is at it or not.
    drop(upload(&blobs, &bytes, 262_144).await);
    let mut idle = upload(&blobs, &bytes, 262_144).await;
    idle.write(Bytes::from_static(b"more")).await.unwrap();
    drop(idle);
    for _ in 0..500 {
        if files(folder.path()).is_empty() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("files are left: {:?}", files(folder.path()));
}

#[tokio::test]
async fn a_full_or_broken_disk_fails_the_upload_for_good() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = open(folder.path());
    // A file stands where the tenant's folder would.
    std::fs::create_dir_all(folder.path().join("blobs/blobs")).unwrap();
    std::fs::write(folder.path().join(format!("blobs/blobs/{TENANT}")), "").unwrap();
    let mut upload = blobs.begin(&TENANT).await.unwrap();
    let batch = Bytes::from(vec![0; disk::BATCH]);
    let mut failures = 0;
    for _ in 0..3 {
        failures += usize::from(upload.write(batch.clone()).await.is_err());
    }
    assert_eq!(failures, 2, "the first write reports nothing yet, the next ones do");
    assert!(matches!(upload.finish(1).await, Err(BlobError::Unavailable { .. })));
    assert_eq!(BlobError::Full.reason(), Reason::Unavailable);
}

#[tokio::test]
async fn blobs_are_their_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let blobs = open(folder.path());
    let name = blobs.pack_name(&TENANT).unwrap();
    blobs.put_pack(&name, Bytes::from_static(b"pack")).await.unwrap();
    let path = folder.path().join("blobs").join(&name);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    assert_eq!(mode(&folder.path().join("blobs")), 0o700);
}

/// Many uploads at once, of which each holds two batches at most.
#[tokio::test(flavor = "multi_thread")]
async fn uploads_go_side_by_side() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = open(folder.path());
    let size = 20 * SEGMENT_SIZE as u64;
    let bytes = Bytes::from(sealed(size));
    let uploads = (0..32).map(|_| {
        let (blobs, bytes) = (blobs.clone(), bytes.clone());
        tokio::spawn(async move { upload(&blobs, &bytes, 262_144).await.finish(size).await.unwrap() })
    });
    let stored: Vec<_> = futures::future::join_all(uploads).await.into_iter().map(Result::unwrap).collect();
    let root: Digest = stored[0].content.root;
    assert!(stored.iter().all(|stored| stored.content.root == root));
    assert_eq!(files(folder.path()).len(), 32);
    let range = Layout::new(size).unwrap().blob_bytes(SegmentRange::new(3, 4).unwrap());
    let found = blobs.range(&stored[31].blob, range.start, range.end - range.start).await.unwrap();
    assert_eq!(found, bytes[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()]);
}
