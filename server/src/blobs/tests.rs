mod buckets;
mod suite;

use std::path::Path;

use bytes::Bytes;
use futures::TryStreamExt;
use strongroom_core::ids::ObjectId;
use strongroom_core::keys::secret::Key;
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
