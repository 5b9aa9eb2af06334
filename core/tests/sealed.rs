//! The sealed object through the public API: what was sealed comes back, and whatever else is put in its place is
//! refused.

use std::sync::OnceLock;

use proptest::collection::vec;
use proptest::prelude::*;
use strongroom_core::ids::{Digest, ObjectId, SegmentRange};
use strongroom_core::keys::secret::Key;
use strongroom_core::sealed::content::{
    Content, ContentError, ContentHasher, ContentVerifier, VerifyError, content_root, parse_digests, segment_digest,
    trailer, window_digest,
};
use strongroom_core::sealed::header::{Header, HeaderError};
use strongroom_core::sealed::layout::{Layout, LayoutError, MAX_SIZE};
use strongroom_core::sealed::segment::{OpenError, open, seal};
use strongroom_core::sealed::tree::{CoverKeys, ObjectRoot};
use strongroom_core::sealed::{HEADER_LEN, SEALED_SEGMENT_LEN, SEGMENT_OVERHEAD, SEGMENT_SIZE};

/// An object sealed as an uploader does it.
struct Sealed {
    layout: Layout,
    root: ObjectRoot,
    content: Content,
    /// Header and segments.
    blob: Vec<u8>,
}

impl Sealed {
    fn new(id: u8, plaintext: &[u8]) -> Sealed {
        let layout = Layout::new(plaintext.len() as u64).unwrap();
        let header = Header::new(ObjectId::from_bytes([id; 16]));
        let root = ObjectRoot::derive(&Key::from_bytes([id; 32]), &header);
        let mut blob = header.encode().to_vec();
        let mut digests = Vec::new();
        for i in 0..layout.segments() {
            let start = i as usize * SEGMENT_SIZE;
            let plaintext = &plaintext[start..start + layout.plain_len(i)];
            let at = blob.len();
            assert_eq!(at as u64, layout.segment_offset(i));
            seal(&root.leaf(i), i, layout.is_last(i), plaintext, &mut blob).unwrap();
            digests.push(segment_digest(&blob[at..]));
        }
        let content = Content::from_digests(header, layout.size(), digests).unwrap();
        Sealed { layout, root, content, blob }
    }

    fn segment(&self, i: u32) -> Vec<u8> {
        let at = self.layout.segment_offset(i) as usize;
        self.blob[at..at + self.layout.segment_len(i)].to_vec()
    }

    fn verifier(&self) -> ContentVerifier {
        let windows: &[Digest] = if self.layout.has_trailer() { &self.content.window_digests } else { &[] };
        ContentVerifier::new(self.content.header, self.layout.size(), self.content.root, windows).unwrap()
    }

    /// Opens `segment` as number `i`, after the check against the content root if `checked`.
    fn open(&self, i: u32, mut segment: Vec<u8>, checked: bool) -> Option<Vec<u8>> {
        if checked {
            let verifier = self.verifier();
            if self.layout.has_trailer() {
                let range = self.layout.window(self.layout.window_of(i));
                let digests = &self.content.segment_digests[range.start() as usize..range.end() as usize];
                verifier.check_window(self.layout.window_of(i), digests).unwrap().check_segment(i, &segment).ok()?;
            } else {
                verifier.check_only_segment(&segment).ok()?;
            }
        }
        open(&self.root.leaf(i), i, self.layout.is_last(i), &mut segment).ok().map(<[u8]>::to_vec)
    }
}

/// Bytes without a short period.
fn plaintext(len: usize) -> Vec<u8> {
    (0..len as u64).map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u8).collect()
}

/// Four segments, the last of 17 bytes.
fn four() -> &'static Sealed {
    static FOUR: OnceLock<Sealed> = OnceLock::new();
    FOUR.get_or_init(|| Sealed::new(1, &plaintext(3 * SEGMENT_SIZE + 17)))
}

#[test]
fn every_size_at_a_boundary_comes_back() {
    let s = SEGMENT_SIZE;
    for size in [0, 1, 15, 16, 17, 1000, 1024, s - 1, s, s + 1, 2 * s - 1, 2 * s, 2 * s + 1, 5 * s] {
        let plaintext = plaintext(size);
        let sealed = Sealed::new(1, &plaintext);
        let mut back = Vec::new();
        for i in 0..sealed.layout.segments() {
            back.extend(sealed.open(i, sealed.segment(i), true).unwrap());
        }
        assert!(back == plaintext, "{size}");
        let trailer = trailer(&sealed.content);
        assert_eq!((sealed.blob.len() + trailer.len()) as u64, sealed.layout.blob_len());

        let mut hasher = ContentHasher::new();
        hasher.update(&sealed.blob);
        assert_eq!(hasher.finish(size as u64).as_ref(), Ok(&sealed.content), "{size}");
    }
}

#[test]
fn the_same_object_sealed_twice_has_nothing_in_common() {
    let (a, b) = (Sealed::new(1, b"text"), Sealed::new(1, b"text"));
    assert_ne!(a.blob[HEADER_LEN + 32..], b.blob[HEADER_LEN + 32..], "nonces are fresh");
    assert_ne!(a.content.root, b.content.root);
    let other = Sealed::new(2, b"text");
    assert_ne!(a.blob[HEADER_LEN..HEADER_LEN + 32], other.blob[HEADER_LEN..HEADER_LEN + 32]);
}

#[test]
fn segments_do_not_change_places() {
    let sealed = four();
    for i in 0..4 {
        for j in (0..4).filter(|j| *j != i) {
            assert_eq!(sealed.open(i, sealed.segment(j), true), None, "{j} as {i}");
            assert_eq!(sealed.open(i, sealed.segment(j), false), None, "{j} as {i}, by keys alone");
        }
    }
}

#[test]
fn segments_do_not_change_objects() {
    let other = Sealed::new(2, &plaintext(3 * SEGMENT_SIZE + 17));
    for i in 0..4 {
        assert_eq!(four().open(i, other.segment(i), true), None);
        assert_eq!(four().open(i, other.segment(i), false), None);
        // Another attempt to seal under the same key would open by its keys, were it not for the content root.
        let again = Sealed::new(1, &plaintext(3 * SEGMENT_SIZE + 17));
        assert_eq!(four().open(i, again.segment(i), true), None);
    }
}

#[test]
fn the_header_is_part_of_every_key() {
    let key = Key::from_bytes([1; 32]);
    let other = ObjectRoot::derive(&key, &Header::new(ObjectId::from_bytes([9; 16])));
    assert_eq!(open(&other.leaf(0), 0, false, &mut four().segment(0)), Err(OpenError::Commitment));
}

#[test]
fn an_end_is_not_cut_off_nor_moved() {
    // A full segment that was not the last does not open as the last, and the other way round.
    let two = Sealed::new(1, &plaintext(2 * SEGMENT_SIZE));
    assert_eq!(open(&two.root.leaf(0), 0, true, &mut two.segment(0)), Err(OpenError::Tag));
    assert_eq!(open(&two.root.leaf(1), 1, false, &mut two.segment(1)), Err(OpenError::Tag));
    // Nor do digests of fewer or more segments make up the root.
    let (header, root) = (two.content.header, two.content.root);
    for segments in [1u64, 3] {
        let mut digests = two.content.segment_digests.clone();
        digests.resize(segments as usize, digests[0]);
        let size = segments * SEGMENT_SIZE as u64;
        assert_ne!(content_root(&header, size, &[window_digest(0, &digests)]), root);
    }
}

#[test]
fn segments_have_their_length_or_are_refused() {
    let sealed = four();
    let full = sealed.segment(1);
    let last = sealed.segment(3);
    for len in (0..100).chain([SEALED_SEGMENT_LEN - 1]) {
        assert_eq!(open(&sealed.root.leaf(1), 1, false, &mut full.clone()[..len]), Err(OpenError::Length(len)));
    }
    for len in 0..last.len() {
        let mut cut = last[..len].to_vec();
        let refused = open(&sealed.root.leaf(3), 3, true, &mut cut);
        let expected = if len <= SEGMENT_OVERHEAD { OpenError::Length(len) } else { OpenError::Tag };
        assert_eq!(refused, Err(expected));
    }
    let mut longer = [&full[..], &[0]].concat();
    assert_eq!(open(&sealed.root.leaf(1), 1, false, &mut longer), Err(OpenError::Length(full.len() + 1)));
}

#[test]
fn no_bit_of_a_segment_may_change() {
    let sealed = Sealed::new(1, b"a line");
    for bit in 0..8 * sealed.layout.segment_len(0) {
        let mut segment = sealed.segment(0);
        segment[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(sealed.open(0, segment.clone(), true), None, "{bit}");
        assert_eq!(sealed.open(0, segment, false), None, "{bit}, by keys alone");
    }
}

#[test]
fn who_has_the_keys_can_forge_a_tag_but_not_a_digest() {
    let sealed = four();
    let mut forged = Vec::new();
    seal(&sealed.root.leaf(2), 2, false, &vec![0; SEGMENT_SIZE], &mut forged).unwrap();
    assert_eq!(sealed.open(2, forged.clone(), false), Some(vec![0; SEGMENT_SIZE]));
    assert_eq!(sealed.open(2, forged, true), None);
}

#[test]
fn keys_of_a_range_open_its_segments_only() {
    let sealed = four();
    let keys = CoverKeys::derive(&sealed.root, SegmentRange::new(1, 3).unwrap());
    for i in 0..4 {
        let opened = keys.leaf(i).map(|leaf| open(&leaf, i, i == 3, &mut sealed.segment(i)).is_ok());
        assert_eq!(opened, (1..3).contains(&i).then_some(true));
    }
}

#[test]
fn a_verifier_refuses_other_digests() {
    let sealed = four();
    let Content { header, size, root, segment_digests, window_digests } = sealed.content.clone();
    let new = |header, size, root, windows: &[Digest]| ContentVerifier::new(header, size, root, windows).err();
    let wrong = Digest::from_bytes([0; 32]);
    assert_eq!(new(header, size, root, &window_digests), None);
    assert_eq!(new(header, size, root, &[wrong]), Some(VerifyError::Root));
    assert_eq!(new(header, size, wrong, &window_digests), Some(VerifyError::Root));
    assert_eq!(new(header, size - 1, root, &window_digests), Some(VerifyError::Root));
    let other = Header::new(ObjectId::from_bytes([9; 16]));
    assert_eq!(new(other, size, root, &window_digests), Some(VerifyError::Root));
    assert_eq!(new(header, size, root, &[]), Some(VerifyError::Count { expected: 1, found: 0 }));
    let twice = [window_digests[0]; 2];
    assert_eq!(new(header, size, root, &twice), Some(VerifyError::Count { expected: 1, found: 2 }));
    assert_eq!(new(header, MAX_SIZE + 1, root, &[]), Some(LayoutError::TooLarge { size: MAX_SIZE + 1 }.into()));

    let verifier = sealed.verifier();
    let window = verifier.check_window(0, &segment_digests).unwrap();
    assert_eq!(verifier.check_window(1, &segment_digests).err(), Some(VerifyError::NoWindow { w: 1 }));
    let fewer = verifier.check_window(0, &segment_digests[1..]).err();
    assert_eq!(fewer, Some(VerifyError::Count { expected: 4, found: 3 }));
    let mut swapped = segment_digests.clone();
    swapped.swap(0, 1);
    assert_eq!(verifier.check_window(0, &swapped).err(), Some(VerifyError::Window { w: 0 }));
    assert_eq!(window.check_segment(1, &sealed.segment(0)), Err(VerifyError::Segment { i: 1 }));
    assert_eq!(window.check_segment(4, &sealed.segment(0)), Err(VerifyError::Segment { i: 4 }));
    let only = verifier.check_only_segment(&sealed.segment(0));
    assert_eq!(only, Err(VerifyError::Count { expected: 4, found: 1 }));
}

#[test]
fn an_object_of_one_segment_is_checked_by_itself() {
    let sealed = Sealed::new(1, b"a line");
    let Content { header, root, window_digests, .. } = sealed.content.clone();
    let count = ContentVerifier::new(header, 6, root, &window_digests).err();
    assert_eq!(count, Some(VerifyError::Count { expected: 0, found: 1 }), "there is one way to send it");
    let verifier = sealed.verifier();
    assert_eq!(verifier.check_only_segment(&sealed.segment(0)), Ok(()));
    assert_eq!(verifier.check_only_segment(&sealed.segment(0)[1..]), Err(VerifyError::Segment { i: 0 }));
    assert_eq!(verifier.check_only_segment(&[0; 66]), Err(VerifyError::Root));
    let digests = &sealed.content.segment_digests;
    assert_eq!(verifier.check_window(0, digests).err(), Some(VerifyError::NoWindow { w: 0 }));
    let size = ContentVerifier::new(header, 7, root, &[]).unwrap().check_only_segment(&sealed.segment(0));
    assert_eq!(size, Err(VerifyError::Segment { i: 0 }));
}

#[test]
fn a_hasher_takes_exactly_header_and_segments() {
    let sealed = four();
    let size = sealed.layout.size();
    let fed = |bytes: &[u8], size| {
        let mut hasher = ContentHasher::new();
        hasher.update(bytes);
        hasher.finish(size).err()
    };
    let len = sealed.blob.len() as u64;
    for other in [0, HEADER_LEN - 1, HEADER_LEN, HEADER_LEN + 1, sealed.blob.len() - 1] {
        assert_eq!(fed(&sealed.blob[..other], size), Some(ContentError::Length { expected: len, fed: other as u64 }));
    }
    let with_trailer = [&sealed.blob[..], &trailer(&sealed.content)].concat();
    assert!(matches!(fed(&with_trailer, size), Some(ContentError::Length { .. })));
    assert!(matches!(fed(&sealed.blob, size + 1), Some(ContentError::Length { .. })));
    assert!(matches!(fed(&sealed.blob, size - 1), Some(ContentError::Length { .. })));
    assert_eq!(fed(&sealed.blob, u64::MAX), Some(LayoutError::TooLarge { size: u64::MAX }.into()));
    let mut other = sealed.blob.clone();
    other[5] = 12;
    assert_eq!(fed(&other, size), Some(HeaderError::SegmentSize(12).into()));
}

#[test]
fn a_hasher_shows_the_header_as_soon_as_it_is_there() {
    let mut hasher = ContentHasher::default();
    hasher.update(&four().blob[..HEADER_LEN - 1]);
    assert_eq!(hasher.header(), None);
    hasher.update(&four().blob[HEADER_LEN - 1..HEADER_LEN]);
    assert_eq!(hasher.header(), Some(four().content.header));
    assert_eq!(hasher.fed(), HEADER_LEN as u64);
}

#[test]
fn a_trailer_is_read_back() {
    let content = &four().content;
    assert_eq!(parse_digests(&trailer(content)).as_ref(), Some(&content.segment_digests));
    assert_eq!(parse_digests(&[]), Some(vec![]));
    assert_eq!(parse_digests(&[0; 31]), None);
    assert_eq!(parse_digests(&[0; 33]), None);

    let digests: Vec<_> = (0..1025u32).map(|i| segment_digest(&i.to_be_bytes())).collect();
    let content = Content::from_digests(content.header, 1025 * SEGMENT_SIZE as u64, digests).unwrap();
    assert_eq!(trailer(&content).len(), (1025 + 2) * 32);
    assert_eq!(parse_digests(&trailer(&content)[1025 * 32..]).as_ref(), Some(&content.window_digests));
}

#[test]
fn digests_are_as_many_as_the_size_says() {
    let header = four().content.header;
    let digests = |n| vec![segment_digest(b""); n];
    for (size, n) in [(0, 0), (0, 2), (65_536, 2), (65_537, 1)] {
        assert!(matches!(
            Content::from_digests(header, size, digests(n)),
            Err(ContentError::Layout(LayoutError::Segments { .. }))
        ));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However the bytes are cut on their way, the content is the same.
    #[test]
    fn a_hasher_does_not_care_about_chunks(cuts in vec(1usize..150_000, 1..50)) {
        let sealed = four();
        let mut hasher = ContentHasher::new();
        let mut rest = &sealed.blob[..];
        for len in cuts.into_iter().cycle() {
            let (now, after) = rest.split_at(len.min(rest.len()));
            hasher.update(now);
            hasher.update(&[]);
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        let content = hasher.finish(sealed.layout.size());
        prop_assert_eq!(content.as_ref(), Ok(&sealed.content));
    }

    #[test]
    fn any_small_object_comes_back(plaintext in vec(any::<u8>(), 0..3000)) {
        let sealed = Sealed::new(1, &plaintext);
        prop_assert_eq!(sealed.open(0, sealed.segment(0), true), Some(plaintext));
    }

    #[test]
    fn no_bit_of_a_large_segment_may_change(i in 0u32..4, bit: prop::sample::Index) {
        let sealed = four();
        let mut segment = sealed.segment(i);
        let bit = bit.index(8 * segment.len());
        segment[bit / 8] ^= 1 << (bit % 8);
        prop_assert_eq!(sealed.open(i, segment.clone(), true), None);
        prop_assert_eq!(sealed.open(i, segment, false), None);
    }

    /// Segments of one object in any arrangement: only the one that was sealed is accepted.
    #[test]
    fn no_other_arrangement_is_accepted(order in vec(0u32..4, 4)) {
        let sealed = four();
        let opened: Vec<_> = (0..).zip(&order).map(|(i, j)| sealed.open(i, sealed.segment(*j), false)).collect();
        for (i, j) in (0..).zip(&order) {
            prop_assert_eq!(opened[i as usize].is_some(), i == *j);
        }
    }
}
