//! Sizes at the edges: of nothing, of a segment (64 KiB), of a window (64 MiB).

use bytes::Bytes;
use strongroom_client::{GetOptions, PutOptions, Reason};
use strongroom_core::ledger::Event;
use strongroom_tests::{TestVault, sample};

use super::reason;

const SEGMENT: u64 = 65_536;
const WINDOW: u64 = 64 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_size_comes_back_as_it_went_in() {
    let vault = TestVault::start().await;
    let lab = vault.lab("acme").await;
    lab.dataset("rlhf").await;
    let sizes = [0, 1, SEGMENT - 1, SEGMENT, SEGMENT + 1, 5 * SEGMENT, WINDOW - 1, WINDOW, WINDOW + 1];
    let mut windows = 0;
    for size in sizes {
        let name = lab.object(&format!("rlhf/{size}"));
        let bytes = Bytes::from(sample::bytes(size, usize::try_from(size).unwrap()));
        let put = lab.vault.put(&name, &bytes[..], PutOptions::default()).await.unwrap();
        assert_eq!(put.size, size);
        let reader = lab.vault.get(&name, GetOptions::default()).await.unwrap();
        assert_eq!((reader.size(), reader.len()), (size, size));
        assert!(reader.into_bytes().await.unwrap() == bytes, "{size} bytes");
        windows += size.div_ceil(WINDOW).max(1);
    }
    let ledger = vault.ledger("acme").await;
    let releases = ledger.done(Event::Release);
    assert_eq!(releases.len() as u64, windows, "keys come window by window");
    let bytes: u64 = releases.iter().flat_map(|entry| &entry.objects).map(|object| object.5).sum();
    assert_eq!(bytes, sizes.iter().sum::<u64>(), "what is charged is what was read");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_range_releases_its_segments_and_no_others() {
    let vault = TestVault::start().await;
    let lab = vault.lab("acme").await;
    lab.dataset("rlhf").await;
    let size = WINDOW + SEGMENT + 17;
    let bytes = Bytes::from(sample::bytes(1, usize::try_from(size).unwrap()));
    lab.put("rlhf/large", bytes.clone()).await;
    lab.put("rlhf/small", bytes.slice(..100)).await;
    let large = lab.object("rlhf/large");
    // Bytes, and the segments that hold them.
    let ranges = [
        (0..1, 0..1),
        (SEGMENT - 1..SEGMENT, 0..1),
        (SEGMENT - 1..SEGMENT + 1, 0..2),
        (SEGMENT..2 * SEGMENT, 1..2),
        (WINDOW - 1..WINDOW, 1023..1024),
        (WINDOW - 1..WINDOW + 1, 1023..1025),
        (size - 1..size, 1025..1026),
        // A range is cut to the object's size.
        (size - 1..size + 1000, 1025..1026),
        (size - 20..u64::MAX >> 12, 1024..1026),
    ];
    for (range, segments) in ranges {
        let before = vault.ledger("acme").await.entries.len();
        let reader = lab.vault.get_range(&large, range.clone(), GetOptions::default()).await.unwrap();
        let wanted = bytes.slice(range.start as usize..range.end.min(size) as usize);
        assert_eq!(reader.len(), wanted.len() as u64, "{range:?}");
        assert!(reader.into_bytes().await.unwrap() == wanted, "{range:?}");
        let ledger = vault.ledger("acme").await;
        let released: Vec<_> = ledger.parsed()[before..]
            .iter()
            .filter(|entry| entry.event == Event::Release)
            .flat_map(|entry| entry.objects.iter().map(|object| (object.3, object.4)))
            .collect();
        assert_eq!(released.first().map(|range| range.0), Some(segments.start), "{range:?}: {released:?}");
        assert_eq!(released.last().map(|range| range.1), Some(segments.end), "{range:?}: {released:?}");
        assert!(released.windows(2).all(|pair| pair[0].1 == pair[1].0), "{range:?}: {released:?}");
    }
    for past in [size..size + 1, size + 5..size + 9] {
        let read = lab.vault.get_range(&large, past.clone(), GetOptions::default()).await;
        assert_eq!(reason(async { read?.into_bytes().await }.await), Reason::InvalidArgument, "{past:?}");
    }
}

#[tokio::test]
async fn an_object_over_the_limit_is_refused() {
    let vault = TestVault::start_with(None, "max_object = 100000").await;
    let lab = vault.lab("acme").await;
    lab.dataset("rlhf").await;
    let name = lab.object("rlhf/large");
    let bytes = Bytes::from(sample::bytes(1, 300_000));
    for size in [100_001, 101_000, 300_000] {
        let put = lab.vault.put(&name, &bytes[..size], PutOptions::default()).await;
        assert_eq!(reason(put), Reason::TooLarge, "{size}");
    }
    lab.vault.put(&name, &bytes[..100_000], PutOptions::default()).await.unwrap();
    let got = lab.vault.get_bytes(&name, GetOptions::default()).await.unwrap();
    assert!(got == bytes[..100_000]);
    vault.ledger("acme").await;
}
