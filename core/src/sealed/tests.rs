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

fn keccak_f1600(a: &mut [u64; 25]) {
    // Rotations and places in the order in which ρ and π walk the lanes.
    const ROTATE: [u32; 24] =
        [1, 3, 6, 10, 15, 21, 28, 36, 45, 55, 2, 14, 27, 41, 56, 8, 25, 43, 62, 18, 39, 61, 20, 44];
    const PLACE: [usize; 24] = [10, 7, 11, 17, 18, 3, 5, 16, 8, 21, 24, 4, 15, 23, 19, 13, 12, 2, 20, 14, 22, 9, 6, 1];
    let mut lfsr = 1u8;
    for _ in 0..24 {
        let mut c = [0u64; 5];
        for x in 0..5 {
            c[x] = a[x] ^ a[x + 5] ^ a[x + 10] ^ a[x + 15] ^ a[x + 20];
        }
        for x in 0..5 {
            let d = c[(x + 4) % 5] ^ c[(x + 1) % 5].rotate_left(1);
            for y in 0..5 {
                a[5 * y + x] ^= d;
            }
        }
        let mut moved = a[1];
        for k in 0..24 {
            (moved, a[PLACE[k]]) = (a[PLACE[k]], moved.rotate_left(ROTATE[k]));
        }
        for y in 0..5 {
            let row: [u64; 5] = std::array::from_fn(|x| a[5 * y + x]);
            for x in 0..5 {
                a[5 * y + x] = row[x] ^ (!row[(x + 1) % 5] & row[(x + 2) % 5]);
            }
        }
        for j in 0..7 {
            if lfsr & 1 != 0 {
                a[0] ^= 1 << ((1 << j) - 1);
            }
            lfsr = (lfsr << 1) ^ if lfsr & 0x80 != 0 { 0x71 } else { 0 };
        }
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
