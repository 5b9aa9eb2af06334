//! The bucket in foreign hands: ciphertext edited, cut, exchanged, and forged by somebody who was given its keys.

use std::ops::Range;
use std::path::Path;

use bytes::Bytes;
use futures::StreamExt;
use strongroom_client::{GetOptions, ObjectName, PutOptions, Reason, Vault};
use strongroom_core::sealed::HEADER_LEN;
use strongroom_core::sealed::content::segment_digest;
use strongroom_core::sealed::layout::Layout;
use strongroom_core::sealed::segment;
use strongroom_core::sealed::tree::CoverKeys;
use strongroom_proto::v1::get_frame::Frame;
use strongroom_tests::{Lab, TestVault, sample, tamper};

use super::{frames, reason};

async fn vault_and_lab() -> (TestVault, Lab) {
    let vault = TestVault::start().await;
    let lab = vault.lab("acme").await;
    lab.dataset("rlhf").await;
    (vault, lab)
}

/// Reads until the end or an error: what came, and how it ended. Whatever comes is the beginning of what was put.
async fn read(
    vault: &Vault,
    name: &ObjectName,
    range: Option<Range<u64>>,
    bytes: &[u8],
) -> (usize, Result<(), Reason>) {
    let reader = match range {
        Some(range) => vault.get_range(name, range, GetOptions::default()).await,
        None => vault.get(name, GetOptions::default()).await,
    };
    let mut reader = match reader {
        Ok(reader) => reader,
        Err(error) => return (0, Err(error.reason())),
    };
    let mut got = 0;
    while let Some(more) = reader.next().await {
        match more {
            Ok(more) => {
                assert!(bytes[got..].starts_with(&more), "wrong plaintext came out, from byte {got}");
                got += more.len();
            }
            Err(error) => return (got, Err(error.reason())),
        }
    }
    (got, Ok(()))
}

fn flip(file: &Path, at: u64) {
    let mut bytes = std::fs::read(file).unwrap();
    bytes[usize::try_from(at).unwrap()] ^= 0x10;
    std::fs::write(file, bytes).unwrap();
}

#[tokio::test]
async fn edited() {
    let (vault, lab) = vault_and_lab().await;
    let bytes = sample::bytes(1, 5 * 65_536 + 1000);
    lab.put("rlhf/a", bytes.clone()).await;
    let name = lab.object("rlhf/a");
    let (file, start) = tamper::place(&vault.folder(), "a").await;
    assert_eq!(start, 0);
    let layout = Layout::new(bytes.len() as u64).unwrap();
    assert_eq!(std::fs::metadata(&file).unwrap().len(), layout.blob_len());

    for segment in [0, 2, layout.segments() - 1] {
        let begin = layout.segment_offset(segment);
        let end = begin + layout.segment_len(segment) as u64;
        let plain = segment as usize * 65_536;
        // Commitment, nonce, first and last of the ciphertext, tag.
        for at in [begin, begin + 31, begin + 32, begin + 43, begin + 44, end - 17, end - 16, end - 1] {
            flip(&file, at);
            let (got, ended) = read(&lab.vault, &name, None, &bytes).await;
            assert_eq!(ended, Err(Reason::Integrity), "byte {at}");
            assert!(got <= plain, "byte {at}: {got} bytes came, segment {segment} begins at {plain}");
            // A range that does not touch it is as good as ever; one that does is refused.
            let other = (segment + 1) % layout.segments();
            let start = u64::from(other) * 65_536;
            let range = start..start + 100;
            let whole = read(&lab.vault, &name, Some(range), &bytes[start as usize..start as usize + 100]).await;
            assert_eq!(whole, (100, Ok(())), "byte {at}");
            let range = plain as u64..plain as u64 + 10;
            let touched = read(&lab.vault, &name, Some(range), &bytes[plain..plain + 10]).await;
            assert_eq!(touched, (0, Err(Reason::Integrity)), "byte {at}");
            flip(&file, at);
        }
    }
    // The digests that stand beside the segments: whatever they say, nothing comes out that they do not fit.
    for digest in [0, 3, u64::from(layout.segments()) - 1] {
        let at = layout.digests_offset() + digest * 32 + 5;
        flip(&file, at);
        assert_eq!(read(&lab.vault, &name, None, &bytes).await, (0, Err(Reason::Integrity)), "digest {digest}");
        flip(&file, at);
    }
    // A reader believes the parcel and not the header in the bucket: what stands there does not matter.
    for at in 0..HEADER_LEN as u64 {
        flip(&file, at);
        assert_eq!(read(&lab.vault, &name, None, &bytes).await, (bytes.len(), Ok(())), "header byte {at}");
        flip(&file, at);
    }
    vault.ledger("acme").await;
}

#[tokio::test]
async fn truncated_and_extended() {
    let (vault, lab) = vault_and_lab().await;
    let bytes = sample::bytes(1, 3 * 65_536 + 1000);
    lab.put("rlhf/a", bytes.clone()).await;
    lab.put("rlhf/small", "what is 2 + 2?").await;
    let name = lab.object("rlhf/a");
    let (file, _) = tamper::place(&vault.folder(), "a").await;
    let whole = std::fs::read(&file).unwrap();
    let layout = Layout::new(bytes.len() as u64).unwrap();
    for len in [0, 23, 24, 65_000, layout.segment_offset(2), layout.digests_offset(), layout.blob_len() - 1] {
        std::fs::write(&file, &whole[..len as usize]).unwrap();
        let (got, ended) = read(&lab.vault, &name, None, &bytes).await;
        assert_eq!(ended, Err(Reason::Integrity), "{len} bytes");
        // Without the digests at the end, nothing can be compared and nothing comes out.
        assert_eq!(got, 0, "{len} bytes");
    }
    std::fs::write(&file, [&whole[..], b"more"].concat()).unwrap();
    assert_eq!(read(&lab.vault, &name, None, &bytes).await, (bytes.len(), Ok(())));
    std::fs::remove_file(&file).unwrap();
    assert_eq!(read(&lab.vault, &name, None, &bytes).await, (0, Err(Reason::Integrity)));

    let (file, start) = tamper::place(&vault.folder(), "small").await;
    let whole = std::fs::read(&file).unwrap();
    assert_eq!(start, 0);
    let small = lab.object("rlhf/small");
    for len in 0..whole.len() {
        std::fs::write(&file, &whole[..len]).unwrap();
        assert_eq!(read(&lab.vault, &small, None, b"what is 2 + 2?").await, (0, Err(Reason::Integrity)), "{len} bytes");
    }
    vault.ledger("acme").await;
}

#[tokio::test]
async fn exchanged() {
    let (vault, lab) = vault_and_lab().await;
    // Objects of one size, so that only what is in them tells them apart.
    for len in [14, 200_000] {
        let [first, second] = [1, 2].map(|seed| sample::bytes(seed + len as u64, len));
        let [one, two] = [1, 2].map(|number| format!("{len}/{number}"));
        lab.put(&format!("rlhf/{one}"), first.clone()).await;
        lab.put(&format!("rlhf/{two}"), second.clone()).await;
        let (one_file, _) = tamper::place(&vault.folder(), &one).await;
        let (two_file, _) = tamper::place(&vault.folder(), &two).await;
        let (one_bytes, two_bytes) = (std::fs::read(&one_file).unwrap(), std::fs::read(&two_file).unwrap());
        std::fs::write(&one_file, &two_bytes).unwrap();
        std::fs::write(&two_file, &one_bytes).unwrap();
        for (path, bytes) in [(&one, &first), (&two, &second)] {
            let name = lab.object(&format!("rlhf/{path}"));
            assert_eq!(read(&lab.vault, &name, None, bytes).await, (0, Err(Reason::Integrity)), "{path}");
        }
        std::fs::write(&one_file, &one_bytes).unwrap();
        std::fs::write(&two_file, &two_bytes).unwrap();

        // An older writing of the same path in the place of the newest.
        let newer = sample::bytes(3 + len as u64, len);
        let name = lab.object(&format!("rlhf/{one}"));
        lab.put(&format!("rlhf/{one}"), newer.clone()).await;
        let (new_file, _) = tamper::place(&vault.folder(), &one).await;
        assert_ne!(new_file, one_file);
        std::fs::write(&new_file, &one_bytes).unwrap();
        assert_eq!(read(&lab.vault, &name, None, &newer).await, (0, Err(Reason::Integrity)), "{len}");
    }

    // Two neighbours in one pack, and two segments of one object.
    let lines: Vec<Bytes> = (0..4).map(|seed| sample::bytes(50 + seed, 1000).into()).collect();
    let dataset = "acme/rlhf".parse().unwrap();
    let items = lines.iter().enumerate().map(|(at, line)| (format!("pack/{at}").parse().unwrap(), line.clone()));
    let items: Vec<_> = items.collect();
    let put: Vec<_> = lab.vault.put_many(&dataset, futures::stream::iter(items), PutOptions::default()).collect().await;
    assert!(put.iter().all(Result::is_ok));
    let (file, first) = tamper::place(&vault.folder(), "pack/0").await;
    let (same, second) = tamper::place(&vault.folder(), "pack/1").await;
    assert_eq!(file, same, "one pack");
    let mut pack = std::fs::read(&file).unwrap();
    let len = (second - first) as usize;
    let (head, tail) = pack.split_at_mut(second as usize);
    head[first as usize..].swap_with_slice(&mut tail[..len]);
    std::fs::write(&file, &pack).unwrap();
    for (at, line) in lines.iter().enumerate() {
        let expected = if at < 2 { (0, Err(Reason::Integrity)) } else { (1000, Ok(())) };
        assert_eq!(read(&lab.vault, &lab.object(&format!("rlhf/pack/{at}")), None, line).await, expected, "{at}");
    }

    let bytes = sample::bytes(9, 3 * 65_536);
    lab.put("rlhf/segments", bytes.clone()).await;
    let (file, _) = tamper::place(&vault.folder(), "segments").await;
    let layout = Layout::new(bytes.len() as u64).unwrap();
    let mut blob = std::fs::read(&file).unwrap();
    let (head, tail) = blob.split_at_mut(layout.segment_offset(1) as usize);
    head[HEADER_LEN..].swap_with_slice(&mut tail[..layout.segment_len(1)]);
    std::fs::write(&file, &blob).unwrap();
    let name = lab.object("rlhf/segments");
    assert_eq!(read(&lab.vault, &name, None, &bytes).await, (0, Err(Reason::Integrity)));
    // With their digests exchanged too, the window's digest does not fit the content root.
    let (head, tail) = blob.split_at_mut(layout.digests_offset() as usize + 32);
    head[layout.digests_offset() as usize..].swap_with_slice(&mut tail[..32]);
    std::fs::write(&file, &blob).unwrap();
    assert_eq!(read(&lab.vault, &name, None, &bytes).await, (0, Err(Reason::Integrity)));
    vault.ledger("acme").await;
}

/// The keys that the vault itself released to a vendor, who keeps them.
async fn released_keys(vault: &TestVault, lab: &Lab, path: &str) -> CoverKeys {
    let worker = lab.vendor(vault, &path.replace('/', "-")).await;
    let grant = lab.let_read(&worker, &format!("rlhf/{path}")).await;
    let (raw, session) = vault.raw_session(&worker.identity, "acme").await;
    let (digest, call) = session.get(Some(grant), "rlhf", &[path]);
    let (frames, ended) = frames(&raw, call).await;
    ended.unwrap();
    let parcel = frames.iter().find_map(|frame| if let Frame::Parcel(parcel) = frame { Some(parcel) } else { None });
    session.parcel(digest, parcel.unwrap()).objects.pop().unwrap().keys
}

#[tokio::test]
async fn forged_by_somebody_who_was_given_its_keys() {
    let (vault, lab) = vault_and_lab().await;
    for len in [1000, 3 * 65_536 + 1000] {
        let bytes = sample::bytes(7, len);
        let path = format!("forged/{len}");
        lab.put(&format!("rlhf/{path}"), bytes.clone()).await;
        let keys = released_keys(&vault, &lab, &path).await;
        let (file, start) = tamper::place(&vault.folder(), &path).await;
        assert_eq!(start, 0);
        let layout = Layout::new(len as u64).unwrap();
        let mut blob = std::fs::read(&file).unwrap();

        // Poison of the same length in place of each segment, under the segment's own key.
        let mut digests = Vec::new();
        for i in 0..layout.segments() {
            let poison = vec![b'x'; layout.plain_len(i)];
            let mut sealed = Vec::new();
            segment::seal(&keys.leaf(i).unwrap(), i, layout.is_last(i), &poison, &mut sealed).unwrap();
            digests.push(segment_digest(&sealed));
            let at = layout.segment_offset(i) as usize;
            blob[at..at + sealed.len()].copy_from_slice(&sealed);
            // The forgery is perfect as far as keys go.
            let opened = segment::open(&keys.leaf(i).unwrap(), i, layout.is_last(i), &mut sealed).unwrap();
            assert_eq!(opened, poison);
        }
        let name = lab.object(&format!("rlhf/{path}"));
        std::fs::write(&file, &blob).unwrap();
        assert_eq!(read(&lab.vault, &name, None, &bytes).await, (0, Err(Reason::Integrity)), "{path}");
        if layout.has_trailer() {
            // The digests recomputed: all that the bucket holds fits now, and not what the vault recorded.
            for (i, digest) in (0..).zip(&digests) {
                let at = layout.digests_offset() as usize + i * 32;
                blob[at..at + 32].copy_from_slice(digest.as_bytes());
            }
            std::fs::write(&file, &blob).unwrap();
            assert_eq!(read(&lab.vault, &name, None, &bytes).await, (0, Err(Reason::Integrity)), "{path}");
            let some = lab.vault.get_range(&name, 70_000..70_010, GetOptions::default()).await;
            let some = match some {
                Ok(reader) => reader.into_bytes().await,
                Err(error) => Err(error),
            };
            assert_eq!(reason(some), Reason::Integrity, "{path}");
        }
    }
    vault.ledger("acme").await;
}
