//! An honest server's answers go through whole; every deviation is refused.

use std::collections::BTreeMap;

use bytes::Bytes;
use strongroom_core::ids::{Generation, ObjectId, SegmentRange};
use strongroom_core::keys::secret::Key;
use strongroom_core::sealed::content::{Content, segment_digest};
use strongroom_core::sealed::header::Header;
use strongroom_core::sealed::layout::Layout;
use strongroom_core::sealed::tree::{CoverKeys, ObjectRoot};
use strongroom_core::sealed::{SEALED_SEGMENT_LEN, SEGMENT_OVERHEAD, SEGMENT_SIZE, WINDOW_SEGMENTS, segment};

use super::*;

const SEG: u64 = SEGMENT_SIZE as u64;

/// A sealed object with all that a server knows of it.
struct Made {
    path: &'static str,
    plain: Vec<u8>,
    root: ObjectRoot,
    content: Content,
    layout: Layout,
    blob: Vec<u8>,
}

fn made(path: &'static str, size: u64) -> Made {
    let mut id = [0; 16];
    id[..path.len().min(16)].copy_from_slice(&path.as_bytes()[..path.len().min(16)]);
    let (header, layout) = (Header::new(ObjectId::from_bytes(id)), Layout::new(size).unwrap());
    let root = ObjectRoot::derive(&Key::from_bytes([path.len() as u8; 32]), &header);
    let plain: Vec<u8> = (0..size).map(|at| (at * 31 + at / 65_521) as u8 ^ path.as_bytes()[0]).collect();
    let mut blob = header.encode().to_vec();
    let mut digests = Vec::new();
    let mut leaves = root.leaves();
    for i in 0..layout.segments() {
        let from = (u64::from(i) * SEG) as usize;
        let segment = &plain[from..from + layout.plain_len(i)];
        let start = blob.len();
        segment::seal(&leaves.leaf(i).unwrap(), i, layout.is_last(i), segment, &mut blob).unwrap();
        digests.push(segment_digest(&blob[start..]));
    }
    let content = Content::from_digests(header, size, digests).unwrap();
    Made { path, plain, root, content, layout, blob }
}

fn ask(made: &Made, range: Option<(u64, u64)>) -> Ask {
    Ask { name: AskName::Path(made.path.parse().unwrap()), generation: None, range }
}

impl Made {
    fn released(&self, item: u32, range: SegmentRange) -> ParcelObject {
        ParcelObject {
            item,
            path: self.path.to_owned(),
            generation: Generation(3),
            size: self.layout.size(),
            header: self.content.header,
            content_root: self.content.root,
            keys: CoverKeys::derive(&self.root, range),
        }
    }

    fn digests(&self, item: u32, window: u32) -> [v1::Digests; 2] {
        let bytes = |digests: &[Digest]| digests.iter().flat_map(|d| *d.as_bytes()).collect::<Vec<u8>>().into();
        let range = self.layout.window(window);
        let segments = &self.content.segment_digests[range.start() as usize..range.end() as usize];
        [
            v1::Digests { item, window, windows: bytes(&self.content.window_digests), segments: Bytes::new() },
            v1::Digests { item, window, windows: Bytes::new(), segments: bytes(segments) },
        ]
    }

    fn data(&self, item: u32, range: SegmentRange, frame: usize) -> Vec<v1::Data> {
        let place = self.layout.blob_bytes(range);
        let bytes = &self.blob[place.start as usize..place.end as usize];
        let frames = bytes.chunks(frame).scan(place.start, |offset, chunk| {
            let data = v1::Data { item, offset: *offset, data: chunk.to_vec().into(), items: 0 };
            *offset += chunk.len() as u64;
            Some(data)
        });
        frames.collect()
    }

    /// The parts of a range, as the server plans them.
    fn parts(&self, range: Option<(u64, u64)>) -> Vec<SegmentRange> {
        let (start, end) = range.unwrap_or((0, self.layout.size()));
        let all = self.layout.segments_of_bytes(start, end.min(self.layout.size())).unwrap();
        (0..self.layout.windows()).filter_map(|w| self.layout.window(w).intersect(all)).collect()
    }
}

enum Frame {
    Parcel(Vec<(usize, u32, SegmentRange)>),
    Digests(v1::Digests),
    Data(v1::Data),
    Error(u32),
}

/// All frames for one object, each part in a parcel of its own.
fn frames_of(made: &Made, range: Option<(u64, u64)>, frame: usize) -> Vec<Frame> {
    let mut frames = Vec::new();
    for (nth, part) in made.parts(range).into_iter().enumerate() {
        frames.push(Frame::Parcel(vec![(0, 0, part)]));
        if made.layout.has_trailer() {
            let [windows, segments] = made.digests(0, made.layout.window_of(part.start()));
            if nth == 0 {
                frames.push(Frame::Digests(windows));
            }
            frames.push(Frame::Digests(segments));
        }
        frames.extend(made.data(0, part, frame).into_iter().map(Frame::Data));
    }
    frames
}

type Plain = BTreeMap<u32, Vec<u8>>;

fn feed(assembly: &mut Assembly, objects: &[&Made], frame: &Frame, plain: &mut Plain) -> Result<()> {
    match frame {
        Frame::Parcel(parts) => {
            let released = parts.iter().map(|(object, item, range)| objects[*object].released(*item, *range));
            let objects: Vec<_> = released.collect();
            let count = objects.len() as u32;
            assembly.parcel(KeyParcel { objects }, count)
        }
        Frame::Digests(digests) => assembly.digests(digests),
        Frame::Data(data) => {
            for piece in assembly.data(data)? {
                let (item, ends) = (piece.item, piece.ends_item);
                let facts = piece.facts;
                let into = plain.entry(item).or_default();
                piece.open()?.iter().for_each(|bytes| into.extend_from_slice(bytes));
                assert_eq!(ends, into.len() as u64 == facts.end - facts.start, "an item ends with its last byte");
            }
            Ok(())
        }
        Frame::Error(item) => assembly.item_error(*item).map(|_| ()),
    }
}

fn all(assembly: &mut Assembly, objects: &[&Made], frames: &[Frame]) -> Result<Plain> {
    let mut plain = Plain::new();
    frames.iter().try_for_each(|frame| feed(assembly, objects, frame, &mut plain))?;
    assembly.finish()?;
    Ok(plain)
}

#[test]
fn any_range_of_any_object_comes_out_as_it_was_put() {
    for size in [0, 1, SEG - 1, SEG, SEG + 1, 3 * SEG, 20 * SEG + 17] {
        let object = made("math/1", size);
        let mut ranges = vec![None];
        if size > 0 {
            ranges.extend([(0, 1), (size - 1, size), (size / 3, size / 2 + 1), (0, size), (0, u64::MAX)].map(Some));
            ranges.extend([(SEG, SEG + 1), (SEG - 1, SEG + 1)].into_iter().filter(|(_, end)| *end <= size).map(Some));
        }
        for range in ranges {
            for frame in [MAX_FRAME, 65_596, 10_007] {
                let mut assembly = Assembly::new(vec![ask(&object, range)]);
                let plain = all(&mut assembly, &[&object], &frames_of(&object, range, frame)).unwrap();
                let (start, end) = range.unwrap_or((0, size));
                let expected = &object.plain[start as usize..end.min(size) as usize];
                assert!(plain[&0] == expected, "{size} {range:?} {frame}");
                let facts = assembly.facts(0).unwrap();
                assert_eq!((facts.size, facts.start, facts.end), (size, start, end.min(size)));
            }
        }
    }
}

#[test]
fn objects_of_several_windows_come_window_by_window() {
    let object = made("large", u64::from(WINDOW_SEGMENTS) * SEG + 5 * SEG + 9);
    for range in [None, Some((1000 * SEG + 5, 1026 * SEG)), Some((1025 * SEG, 1026 * SEG))] {
        let frames = frames_of(&object, range, MAX_FRAME);
        let plain = all(&mut Assembly::new(vec![ask(&object, range)]), &[&object], &frames).unwrap();
        let (start, end) = range.unwrap_or((0, object.layout.size()));
        assert!(plain[&0] == object.plain[start as usize..end as usize]);
    }
}

fn whole(made: &Made) -> SegmentRange {
    made.layout.all()
}

fn packed(objects: &[(&Made, u32)]) -> v1::Data {
    let bytes: Vec<u8> = objects.iter().flat_map(|(made, _)| made.blob[HEADER_LEN..].to_vec()).collect();
    v1::Data { item: objects[0].1, offset: 24, data: bytes.into(), items: objects.len() as u32 }
}

#[test]
fn many_objects_share_parcels_and_frames() {
    let (a, b, c, d) = (made("a", 10), made("bb", 0), made("ccc", 3 * SEG), made("dddd", SEG));
    let asks = vec![ask(&a, None), ask(&b, None), ask(&c, None), ask(&c, None), ask(&d, None)];
    let [windows, segments] = c.digests(3, 0);
    let mut frames = vec![
        Frame::Error(2),
        Frame::Parcel(vec![(0, 0, whole(&a)), (1, 1, whole(&b)), (2, 3, whole(&c)), (3, 4, whole(&d))]),
        Frame::Digests(windows),
        Frame::Digests(segments),
        Frame::Data(packed(&[(&a, 0), (&b, 1)])),
    ];
    frames.extend(c.data(3, whole(&c), MAX_FRAME).into_iter().map(Frame::Data));
    frames.extend(d.data(4, whole(&d), 30_000).into_iter().map(Frame::Data));
    let plain = all(&mut Assembly::new(asks), &[&a, &b, &c, &d], &frames).unwrap();
    assert_eq!(plain.keys().copied().collect::<Vec<_>>(), [0, 1, 3, 4]);
    assert!(plain[&0] == a.plain && plain[&1].is_empty() && plain[&3] == c.plain && plain[&4] == d.plain);
}

/// Feeds the frames up to the change; the change must be refused there or when what it let through is opened.
fn refuses(what: &str, outcome: Result<Plain>) {
    match outcome {
        Ok(_) => panic!("{what}: accepted"),
        Err(error) => assert_eq!(error.reason(), Reason::Integrity, "{what}: {error}"),
    }
}

fn range(start: u32, end: u32) -> SegmentRange {
    SegmentRange::new(start, end).unwrap()
}

#[test]
fn a_parcel_of_anything_else_is_refused() {
    let (object, other) = (made("math/1", 6 * SEG), made("math/2", 6 * SEG));
    let asked = || Ask { generation: Some(Generation(3)), ..ask(&object, Some((SEG, 4 * SEG))) };
    let right = || object.released(0, range(1, 4));
    let taken = |objects: Vec<ParcelObject>, parts| {
        Assembly::new(vec![asked()]).parcel(KeyParcel { objects }, parts).map(|()| Plain::new())
    };
    taken(vec![right()], 1).unwrap();
    refuses("another item", taken(vec![ParcelObject { item: 1, ..right() }], 1));
    refuses("another path", taken(vec![ParcelObject { path: "math/11".into(), ..right() }], 1));
    refuses("another object", taken(vec![other.released(0, range(1, 4))], 1));
    refuses("another generation", taken(vec![ParcelObject { generation: Generation(4), ..right() }], 1));
    refuses("less than was asked for", taken(vec![object.released(0, range(1, 3))], 1));
    refuses("more than was asked for", taken(vec![object.released(0, range(0, 4))], 1));
    refuses("all of it", taken(vec![object.released(0, range(0, 6))], 1));
    refuses("another part", taken(vec![object.released(0, range(2, 5))], 1));
    refuses("another number of parts", taken(vec![right()], 2));
    refuses("none", taken(vec![], 1));
    refuses("one item more", taken(vec![right(), ParcelObject { item: 1, ..right() }], 2));
    refuses("a size that has not the range", taken(vec![ParcelObject { size: SEG, ..right() }], 1));

    let mut twice = Assembly::new(vec![asked()]);
    twice.parcel(KeyParcel { objects: vec![right()] }, 1).unwrap();
    refuses("twice", twice.parcel(KeyParcel { objects: vec![right()] }, 1).map(|()| Plain::new()));
}

#[test]
fn an_object_that_changes_between_windows_is_refused() {
    let object = made("large", u64::from(WINDOW_SEGMENTS) * SEG + SEG);
    let frames = frames_of(&object, None, MAX_FRAME);
    let second = |change: fn(&mut ParcelObject)| {
        let mut assembly = Assembly::new(vec![ask(&object, None)]);
        let mut plain = Plain::new();
        let first = frames.iter().take_while(|frame| !matches!(frame, Frame::Parcel(p) if p[0].2.start() > 0));
        first.into_iter().for_each(|frame| feed(&mut assembly, &[&object], frame, &mut plain).unwrap());
        let mut released = object.released(0, range(1024, 1025));
        change(&mut released);
        assembly.parcel(KeyParcel { objects: vec![released] }, 1).map(|()| Plain::new())
    };
    second(|_| {}).unwrap();
    refuses("generation", second(|released| released.generation = Generation(4)));
    refuses("size", second(|released| released.size += 1));
    refuses("header", second(|released| released.header = Header::new(ObjectId::from_bytes([9; 16]))));
    refuses("root", second(|released| released.content_root = Digest::from_bytes([9; 32])));
    refuses(
        "the window before",
        second(|released| {
            released.keys = CoverKeys::derive(&ObjectRoot::from_key(Key::from_bytes([1; 32])), range(1023, 1024))
        }),
    );
}

/// Frames of an object of several segments with one changed, from its honest ones.
fn changed_frames(object: &Made, change: impl FnOnce(&mut Vec<Frame>)) -> Result<Plain> {
    let mut frames = frames_of(object, None, MAX_FRAME);
    change(&mut frames);
    all(&mut Assembly::new(vec![ask(object, None)]), &[object], &frames)
}

fn flip(bytes: &Bytes, at: usize) -> Bytes {
    let mut changed = bytes.to_vec();
    changed[at] ^= 1;
    changed.into()
}

#[test]
fn digests_of_anything_else_are_refused() {
    let object = made("math/1", 6 * SEG);
    changed_frames(&object, |_| {}).unwrap();
    let with = |at: usize, change: fn(&mut v1::Digests)| {
        changed_frames(&object, |frames| match &mut frames[at] {
            Frame::Digests(digests) => change(digests),
            _ => panic!("no digests"),
        })
    };
    refuses("a window digest changed", with(1, |digests| digests.windows = flip(&digests.windows, 5)));
    refuses(
        "a window digest too many",
        with(1, |digests| digests.windows = [&digests.windows[..], &[0; 32]].concat().into()),
    );
    refuses("a window digest cut", with(1, |digests| digests.windows.truncate(31)));
    refuses("of another window", with(1, |digests| digests.window = 1));
    refuses("of another item", with(1, |digests| digests.item = 1));
    refuses("a segment digest changed", with(2, |digests| digests.segments = flip(&digests.segments, 100)));
    refuses(
        "a segment digest too many",
        with(2, |digests| digests.segments = [&digests.segments[..], &[0; 32]].concat().into()),
    );
    refuses("a segment digest too few", with(2, |digests| digests.segments.truncate(5 * 32)));
    refuses("segment digests before window digests", changed_frames(&object, |frames| frames.swap(1, 2)));
    refuses("none", changed_frames(&object, |frames| drop(frames.drain(1..3))));
    refuses("before the keys", changed_frames(&object, |frames| frames.swap(0, 1)));

    let small = made("small", 10);
    refuses(
        "for an object of one segment",
        changed_frames(&small, |frames| {
            frames.insert(1, Frame::Digests(v1::Digests { windows: vec![0; 32].into(), ..Default::default() }));
        }),
    );
}

#[test]
fn data_of_anything_else_is_refused() {
    for size in [10, 6 * SEG] {
        let object = made("math/1", size);
        let first = if size > SEG { 3 } else { 1 };
        let with = |change: &dyn Fn(&mut v1::Data)| {
            changed_frames(&object, |frames| match &mut frames[first] {
                Frame::Data(data) => change(data),
                _ => panic!("no data"),
            })
        };
        for at in [0, 31, 32, 43, 44, 50, SEGMENT_OVERHEAD + 9] {
            refuses("a bit changed", with(&|data| data.data = flip(&data.data, at)));
        }
        refuses("another item", with(&|data| data.item = 1));
        refuses("another place", with(&|data| data.offset += 1));
        refuses("with the header", with(&|data| data.offset = 0));
        refuses("less", with(&|data| data.data.truncate(data.data.len() - 1)));
        refuses("nothing", with(&|data| data.data = Bytes::new()));
        refuses("more", with(&|data| data.data = [&data.data[..], &[0]].concat().into()));
        refuses("as packed", with(&|data| data.items = 2));
        refuses("before the keys", changed_frames(&object, |frames| frames.swap(0, first)));
        refuses(
            "again",
            changed_frames(&object, |frames| {
                let again = object.data(0, whole(&object), MAX_FRAME).pop().unwrap();
                frames.push(Frame::Data(again));
            }),
        );
        refuses("cut at the end", changed_frames(&object, |frames| drop(frames.pop())));
        refuses("cut before it began", changed_frames(&object, |frames| frames.clear()));
    }

    let object = made("math/1", 6 * SEG);
    refuses(
        "segments exchanged",
        changed_frames(&object, |frames| {
            let mut swapped = object.blob[24..].to_vec();
            let (one, other) = swapped.split_at_mut(SEALED_SEGMENT_LEN);
            one.swap_with_slice(&mut other[..SEALED_SEGMENT_LEN]);
            frames.truncate(3);
            let mut offset = 24;
            for chunk in swapped.chunks(MAX_FRAME) {
                frames.push(Frame::Data(v1::Data { item: 0, offset, data: chunk.to_vec().into(), items: 0 }));
                offset += chunk.len() as u64;
            }
        }),
    );
    refuses(
        "a frame over 256 KiB",
        changed_frames(&object, |frames| {
            frames.truncate(3);
            let data = object.blob[24..24 + MAX_FRAME + 1].to_vec().into();
            frames.push(Frame::Data(v1::Data { item: 0, offset: 24, data, items: 0 }));
        }),
    );

    // Keys that are in every reader's hands forge a tag, but no digest.
    let forged = made("math/1", 10);
    let mut other = forged.blob[24..].to_vec();
    other.clear();
    segment::seal(&forged.root.leaf(0), 0, true, b"0123456789", &mut other).unwrap();
    refuses(
        "sealed again with the same key",
        changed_frames(&forged, |frames| {
            frames[1] = Frame::Data(v1::Data { item: 0, offset: 24, data: other.into(), items: 0 });
        }),
    );
}

#[test]
fn small_objects_that_are_packed_otherwise_are_refused() {
    let (a, b, large) = (made("a", 10), made("bb", 20), made("ccc", 2 * SEG));
    let taken = |data: v1::Data| {
        let asks = vec![ask(&a, None), ask(&b, None), ask(&large, None)];
        let mut assembly = Assembly::new(asks);
        let parts = vec![(0, 0, whole(&a)), (1, 1, whole(&b)), (2, 2, whole(&large))];
        let mut plain = Plain::new();
        feed(&mut assembly, &[&a, &b, &large], &Frame::Parcel(parts), &mut plain)?;
        feed(&mut assembly, &[&a, &b, &large], &Frame::Data(data), &mut plain)?;
        Ok(plain)
    };
    let right = || packed(&[(&a, 0), (&b, 1)]);
    assert_eq!(taken(right()).unwrap().len(), 2);
    refuses("exchanged", taken(packed(&[(&b, 0), (&a, 1)])));
    refuses("the same twice", taken(packed(&[(&a, 0), (&a, 1)])));
    refuses("not from the first on", taken(v1::Data { item: 1, ..right() }));
    refuses("elsewhere", taken(v1::Data { offset: 0, ..right() }));
    refuses("too many items", taken(v1::Data { items: 4, ..right() }));
    refuses("as many items as there can be", taken(v1::Data { items: u32::MAX, ..right() }));
    refuses("a byte too many", taken(v1::Data { data: [&right().data[..], &[0]].concat().into(), ..right() }));
    refuses("a byte too few", taken(v1::Data { data: right().data.slice(1..), ..right() }));
    refuses("a large one among them", taken(v1::Data { items: 3, ..packed(&[(&a, 0), (&b, 1), (&large, 2)]) }));
}

#[test]
fn errors_about_items_that_they_cannot_concern_are_refused() {
    let (a, b) = (made("a", 10), made("bb", 20));
    let asks = || vec![ask(&a, None), ask(&b, None)];
    let taken = |frames: &[Frame]| all(&mut Assembly::new(asks()), &[&a, &b], frames);
    let parcel = |item: u32| Frame::Parcel(vec![(item as usize, item, whole([&a, &b][item as usize]))]);
    refuses("no such item", taken(&[Frame::Error(2)]));
    refuses("twice", taken(&[Frame::Error(0), Frame::Error(0)]));
    refuses("one that has keys", taken(&[parcel(0), Frame::Error(0)]));
    refuses("keys for a failed one", taken(&[Frame::Error(0), parcel(0)]));
    refuses("keys out of order", taken(&[parcel(1)]));
    let data = Frame::Data(b.data(1, whole(&b), MAX_FRAME).remove(0));
    assert_eq!(taken(&[Frame::Error(0), parcel(1), data]).unwrap().len(), 1);
    assert!(taken(&[Frame::Error(0), Frame::Error(1)]).unwrap().is_empty());
}

#[test]
fn keys_that_come_faster_than_data_are_refused() {
    let object = made("a", 10);
    let asks: Vec<_> = (0..3000).map(|_| ask(&object, None)).collect();
    let mut assembly = Assembly::new(asks);
    let parcel = |from: u32| KeyParcel {
        objects: (from..from + 1000).map(|item| object.released(item, whole(&object))).collect(),
    };
    assembly.parcel(parcel(0), 1000).unwrap();
    assembly.parcel(parcel(1000), 1000).unwrap();
    refuses("a third", assembly.parcel(parcel(2000), 1000).map(|()| Plain::new()));
}

#[test]
fn a_stream_that_breaks_anywhere_is_picked_up() {
    let (a, b, c) = (made("a", 10), made("bb", 20 * SEG + 5), made("ccc", 7));
    let objects = [&a, &b, &c];
    // What a server sends when the first `skip` parts are there: an error first, then each part in a parcel.
    let send = |skip: u64| {
        let mut frames = vec![Frame::Error(1)];
        for (at, (object, item)) in [(0_usize, 0_u32), (1, 2), (2, 3)].into_iter().enumerate() {
            if (at as u64) < skip {
                continue;
            }
            let made = objects[object];
            frames.push(Frame::Parcel(vec![(object, item, whole(made))]));
            if made.layout.has_trailer() {
                frames.extend(made.digests(item, 0).map(Frame::Digests));
            }
            frames.extend(made.data(item, whole(made), MAX_FRAME).into_iter().map(Frame::Data));
        }
        frames
    };
    let asks = || vec![ask(&a, None), ask(&a, None), ask(&b, None), ask(&c, None)];
    let count = send(0).len();
    for first in 0..=count {
        for second in 0..4 {
            let mut assembly = Assembly::new(asks());
            let mut plain = Plain::new();
            send(0).iter().take(first).for_each(|frame| feed(&mut assembly, &objects, frame, &mut plain).unwrap());
            if assembly.is_complete() {
                assert_eq!(first, count);
                continue;
            }
            // It breaks a second time, soon after it was picked up.
            let again = send(assembly.resume());
            again.iter().take(second).for_each(|frame| feed(&mut assembly, &objects, frame, &mut plain).unwrap());
            if !assembly.is_complete() {
                let rest = send(assembly.resume());
                rest.iter().for_each(|frame| feed(&mut assembly, &objects, frame, &mut plain).unwrap());
            }
            assembly.finish().unwrap();
            assert!(plain[&0] == a.plain && plain[&2] == b.plain && plain[&3] == c.plain, "{first} {second}");
        }
    }
}

#[test]
fn what_changed_while_the_connection_was_broken_is_said() {
    let object = made("math/1", 6 * SEG);
    let frames = frames_of(&object, None, MAX_FRAME);
    let mut assembly = Assembly::new(vec![ask(&object, None)]);
    let mut plain = Plain::new();
    frames[..4].iter().for_each(|frame| feed(&mut assembly, &[&object], frame, &mut plain).unwrap());
    assert_eq!(assembly.resume(), 0);
    let newer = ParcelObject { generation: Generation(4), ..object.released(0, whole(&object)) };
    let error = assembly.parcel(KeyParcel { objects: vec![newer] }, 1).unwrap_err();
    assert_eq!(error.reason(), Reason::PreconditionFailed);
    assert_eq!(assembly.item_error(0).unwrap_err().reason(), Reason::PreconditionFailed);
}
