//! The published vectors of the sealed object, format 1, section by section.
//!
//! They live here and not in `tests/`, because sealing with a given nonce must not be anybody's to call.

use std::sync::OnceLock;

use data_encoding::HEXLOWER;
use ring::digest::{SHA256, digest};
use serde_json::Value;

use super::content::{
    Content, ContentHasher, ContentVerifier, content_root, parse_digests, segment_digest, trailer, window_digest,
};
use super::header::{Header, HeaderError};
use super::layout::{Layout, LayoutError};
use super::segment::{self, SegmentKeys};
use super::tree::{Cover, CoverKeys, NodeId, ObjectRoot};
use super::{HEADER_LEN, SEGMENT_SIZE, WINDOW_SEGMENTS};
use crate::ids::{Digest, ObjectId, SegmentRange};
use crate::keys::secret::Key;

struct Vectors(Value);

impl Vectors {
    fn load() -> Vectors {
        Vectors(serde_json::from_str(include_str!("../../tests/vectors/sealed-object-v1.json")).unwrap())
    }

    fn section(&self, name: &str) -> &[Value] {
        let section = self.0[name].as_array().unwrap();
        assert!(!section.is_empty());
        section
    }

    fn header(&self) -> Header {
        Header::new(ObjectId::try_from(&hex(&self.0["object_id"])[..]).unwrap())
    }

    fn root(&self) -> ObjectRoot {
        ObjectRoot::derive(&Key::try_from_slice(&hex(&self.0["object_key"])).unwrap(), &self.header())
    }
}

#[test]
fn header() {
    let vectors = Vectors::load();
    let bytes = hex(&vectors.0["header"]);
    assert_eq!(vectors.header().encode()[..], bytes);
    assert_eq!(Header::parse(&bytes), Ok(vectors.header()));
}

#[test]
fn root() {
    let vectors = Vectors::load();
    assert_eq!(vectors.root().key().expose()[..], hex(&vectors.0["root"]));
}

#[test]
fn nodes() {
    let vectors = Vectors::load();
    let root = vectors.root();
    for vector in vectors.section("nodes") {
        let node = NodeId { level: u8(&vector["level"]), index: u32(&vector["index"]) };
        assert_eq!(root.leaves().node(node).unwrap().expose()[..], hex(&vector["node"]), "{node:?}");
    }
}

#[test]
fn segment_keys() {
    let vectors = Vectors::load();
    let root = vectors.root();
    for vector in vectors.section("segment_keys") {
        let keys = SegmentKeys::derive(&root.leaf(u32(&vector["segment"])));
        assert_eq!(keys.seal.expose()[..], hex(&vector["seal"]));
        assert_eq!(keys.commitment.expose()[..], hex(&vector["commitment"]));
    }
}

#[test]
fn covers() {
    let vectors = Vectors::load();
    let root = vectors.root();
    for vector in vectors.section("covers") {
        let (start, end) = (u64(&vector["start"]), u64(&vector["end"]));
        let expected: Vec<_> = vector["cover"]
            .as_array()
            .unwrap()
            .iter()
            .map(|node| NodeId { level: u8(&node[0]), index: u32(&node[1]) })
            .collect();
        assert_eq!(Cover::of_leaves(start, end).collect::<Vec<_>>(), expected, "{start}..{end}");

        // What reaches the last of 2³² leaves is no range of segments.
        let Some(end) = u32::try_from(end).ok() else { continue };
        let range = SegmentRange::new(u32(&vector["start"]), end).unwrap();
        let keys = CoverKeys::derive(&root, range);
        assert_eq!(super::tree::cover(range), expected);
        assert_eq!(keys.nodes().len(), expected.len());
        for (key, node) in keys.nodes().zip(&expected) {
            assert!(key.expose() == root.leaves().node(*node).unwrap().expose());
        }
    }
}

#[test]
fn windows() {
    let vectors = Vectors::load();
    for vector in vectors.section("windows") {
        let (size, segments) = (u64(&vector["size"]), u32(&vector["segments"]));
        let digests: Vec<_> = (0..segments)
            .map(|i| sha256(&[b"digest", &i.to_be_bytes()[..]].concat()))
            .map(Digest::from_bytes)
            .collect();
        let expected: Vec<_> = vector["window_digests"].as_array().unwrap().iter().map(to_digest).collect();
        let windows: Vec<_> =
            (0..).zip(digests.chunks(WINDOW_SEGMENTS as usize)).map(|(w, digests)| window_digest(w, digests)).collect();
        assert_eq!(windows, expected);
        let root = content_root(&vectors.header(), size, &windows);
        assert_eq!(root, to_digest(&vector["content_root"]));

        let content = Content::from_digests(vectors.header(), size, digests.clone()).unwrap();
        assert_eq!((content.root, &content.window_digests), (root, &expected));
        if segments > 1 {
            let verifier = ContentVerifier::new(vectors.header(), size, root, &windows).unwrap();
            for w in 0..verifier.layout().windows() {
                let range = verifier.layout().window(w);
                let digests = &digests[range.start() as usize..range.end() as usize];
                assert_eq!(verifier.check_window(w, digests).unwrap().range(), range);
            }
        }
    }
}

#[test]
fn blobs() {
    let vectors = Vectors::load();
    for vector in vectors.section("blobs") {
        let size = u64(&vector["size"]);
        let layout = Layout::claimed(size, u32(&vector["segments"])).unwrap();
        assert_eq!(layout.blob_len(), u64(&vector["blob_len"]));

        let mut blob = seal_blob(&vectors, layout);
        // Odd chunks, so that headers and segments are cut where it hurts.
        let mut hasher = ContentHasher::new();
        let mut rest = &blob[..];
        for len in (1..).map(|k| 7 * k * k % 150_001) {
            let (chunk, after) = rest.split_at(len.min(rest.len()));
            hasher.update(chunk);
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        assert_eq!(hasher.header(), Some(vectors.header()));
        let content = hasher.finish(size).unwrap();
        assert_eq!(content.root, to_digest(&vector["content_root"]), "{size}");
        let trailer = trailer(&content);
        assert_eq!(trailer.is_empty(), !layout.has_trailer());
        blob.extend_from_slice(&trailer);
        assert_eq!(blob.len() as u64, layout.blob_len());
        assert_eq!(sha256(&blob)[..], hex(&vector["blob_sha256"]), "{size}");
        if let Some(expected) = vector.get("blob") {
            assert_eq!(blob, hex(expected));
        }
        open_blob(&vectors, layout, content.root, &mut blob);
    }
}

/// Header and segments, sealed with the vectors' nonces.
fn seal_blob(vectors: &Vectors, layout: Layout) -> Vec<u8> {
    let mut blob = vectors.header().encode().to_vec();
    let plaintext = &plaintext()[..usize::try_from(layout.size()).unwrap()];
    let root = vectors.root();
    let mut leaves = root.leaves();
    for i in 0..layout.segments() {
        let start = i as usize * SEGMENT_SIZE;
        let plaintext = &plaintext[start..start + layout.plain_len(i)];
        let nonce = *sha256(&[b"nonce", &i.to_be_bytes()[..]].concat()).first_chunk().unwrap();
        segment::seal_with_nonce(&leaves.leaf(i).unwrap(), i, layout.is_last(i), plaintext, nonce, &mut blob);
    }
    assert_eq!(blob.len() as u64, layout.digests_offset());
    blob
}

/// As a reader does it: window by window, with keys for that window, from nothing but the blob, its size and root.
fn open_blob(vectors: &Vectors, layout: Layout, root: Digest, blob: &mut [u8]) {
    let header = Header::parse(&blob[..HEADER_LEN]).unwrap();
    let (sealed, trailer) = blob.split_at_mut(usize::try_from(layout.digests_offset()).unwrap());
    let mut digests = parse_digests(trailer).unwrap();
    let mut window_digests = digests.split_off(digests.len().min(layout.segments() as usize));
    if layout.has_trailer() && layout.windows() == 1 {
        window_digests.push(window_digest(0, &digests));
    }
    let verifier = ContentVerifier::new(header, layout.size(), root, &window_digests).unwrap();

    for w in 0..layout.windows() {
        let range = layout.window(w);
        let keys = CoverKeys::derive(&vectors.root(), range);
        let mut leaves = keys.leaves();
        let checked = layout
            .has_trailer()
            .then(|| verifier.check_window(w, &digests[range.start() as usize..range.end() as usize]).unwrap());
        for i in range.start()..range.end() {
            let at = usize::try_from(layout.segment_offset(i)).unwrap();
            let segment = &mut sealed[at..at + layout.segment_len(i)];
            match &checked {
                Some(window) => window.check_segment(i, segment).unwrap(),
                None => verifier.check_only_segment(segment).unwrap(),
            }
            let opened = segment::open(&leaves.leaf(i).unwrap(), i, layout.is_last(i), segment).unwrap();
            let start = i as usize * SEGMENT_SIZE;
            assert!(opened == &plaintext()[start..start + layout.plain_len(i)]);
        }
    }
}

#[test]
fn refused() {
    let vectors = Vectors::load();
    for vector in vectors.section("refused") {
        let why = vector["why"].as_str().unwrap();
        let expected = match why {
            "flags not zero" => HeaderError::Flags(1),
            "mode not zero" => HeaderError::Mode(1),
            "unknown suite" => HeaderError::Suite(2),
            "segment size not 2^16" => HeaderError::SegmentSize(12),
            "magic" => HeaderError::Magic,
            _ => {
                let (size, segments) = (u64(&vector["size"]), u32(&vector["segments"]));
                let refusal = LayoutError::Segments { size, claimed: segments, actual: 1 };
                assert_eq!(Layout::claimed(size, segments), Err(refusal), "{why}");
                let digests = vec![segment_digest(b""); segments as usize];
                assert_eq!(Content::from_digests(vectors.header(), size, digests), Err(refusal.into()), "{why}");
                continue;
            }
        };
        assert_eq!(Header::parse(&hex(&vector["header"])), Err(expected), "{why}");
    }
}

/// SHAKE-256("plaintext"), as long as the longest vector.
fn plaintext() -> &'static [u8] {
    static PLAINTEXT: OnceLock<Vec<u8>> = OnceLock::new();
    PLAINTEXT.get_or_init(|| {
        let longest = Vectors::load().section("blobs").iter().map(|blob| u64(&blob["size"])).max().unwrap();
        shake256(b"plaintext", usize::try_from(longest).unwrap())
    })
}

/// SHAKE-256 (FIPS 202) of a message shorter than one block.
fn shake256(message: &[u8], len: usize) -> Vec<u8> {
    const RATE: usize = 136;
    let mut block = [0u8; RATE];
    block[..message.len()].copy_from_slice(message);
    block[message.len()] ^= 0x1f;
    block[RATE - 1] ^= 0x80;
    let mut lanes = [0u64; 25];
    for (lane, bytes) in lanes.iter_mut().zip(block.as_chunks::<8>().0) {
        *lane = u64::from_le_bytes(*bytes);
    }
    let mut out = Vec::with_capacity(len + RATE);
    while out.len() < len {
        keccak_f1600(&mut lanes);
        out.extend(lanes[..RATE / 8].iter().flat_map(|lane| lane.to_le_bytes()));
    }
    out.truncate(len);
    out
}

/// Written out lane by lane: a loop over lanes takes half a minute for 64 MiB where nothing is optimised.
fn keccak_f1600(a: &mut [u64; 25]) {
    const ROUND: [u64; 24] = [
        0x0000000000000001,
        0x0000000000008082,
        0x800000000000808a,
        0x8000000080008000,
        0x000000000000808b,
        0x0000000080000001,
        0x8000000080008081,
        0x8000000000008009,
        0x000000000000008a,
        0x0000000000000088,
        0x0000000080008009,
        0x000000008000000a,
        0x000000008000808b,
        0x800000000000008b,
        0x8000000000008089,
        0x8000000000008003,
        0x8000000000008002,
        0x8000000000000080,
        0x000000000000800a,
        0x800000008000000a,
        0x8000000080008081,
        0x8000000000008080,
        0x0000000080000001,
        0x8000000080008008,
    ];
    macro_rules! columns {
        ($($x:literal $left:literal $right:literal),*) => {
            let c = [$(a[$x] ^ a[$x + 5] ^ a[$x + 10] ^ a[$x + 15] ^ a[$x + 20]),*];
            $(
                let d = c[$left] ^ c[$right].rotate_left(1);
                a[$x] ^= d;
                a[$x + 5] ^= d;
                a[$x + 10] ^= d;
                a[$x + 15] ^= d;
                a[$x + 20] ^= d;
            )*
        };
    }
    macro_rules! turn {
        ($($place:literal $by:literal),*) => {
            let mut moved = a[1];
            $(
                let next = a[$place];
                a[$place] = moved.rotate_left($by);
                moved = next;
            )*
            let _ = moved;
        };
    }
    macro_rules! rows {
        ($($y:literal),*) => {$(
            let (b0, b1, b2, b3, b4) = (a[$y], a[$y + 1], a[$y + 2], a[$y + 3], a[$y + 4]);
            a[$y] = b0 ^ (!b1 & b2);
            a[$y + 1] = b1 ^ (!b2 & b3);
            a[$y + 2] = b2 ^ (!b3 & b4);
            a[$y + 3] = b3 ^ (!b4 & b0);
            a[$y + 4] = b4 ^ (!b0 & b1);
        )*};
    }
    for constant in ROUND {
        columns!(0 4 1, 1 0 2, 2 1 3, 3 2 4, 4 3 0);
        turn!(
            10 1, 7 3, 11 6, 17 10, 18 15, 3 21, 5 28, 16 36, 8 45, 21 55, 24 2, 4 14,
            15 27, 23 41, 19 56, 13 8, 12 25, 2 43, 20 62, 14 18, 22 39, 9 61, 6 20, 1 44
        );
        rows!(0, 5, 10, 15, 20);
        a[0] ^= constant;
    }
}

#[test]
fn shake256_of_nothing_is_fips_202s() {
    let expected = "46b9dd2b0ba88d13233b3feb743eeb243fcd52ea62b81b82b50c27646ed5762f";
    assert_eq!(HEXLOWER.encode(&shake256(b"", 32)), expected);
}

fn hex(value: &Value) -> Vec<u8> {
    HEXLOWER.decode(value.as_str().unwrap().as_bytes()).unwrap()
}

fn to_digest(value: &Value) -> Digest {
    Digest::try_from(&hex(value)[..]).unwrap()
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    digest(&SHA256, bytes).as_ref().try_into().unwrap()
}

fn u64(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

fn u32(value: &Value) -> u32 {
    u64(value).try_into().unwrap()
}

fn u8(value: &Value) -> u8 {
    u64(value).try_into().unwrap()
}
