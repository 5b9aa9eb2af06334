//! Sealing: from plaintext to sealed bytes in order, on all cores and in bounded memory.
//!
//! A stream is cut into pieces of 1 MiB. The workers seal pieces side by side, each in one buffer of its own, and they leave in
//! the order they came. A piece is given to a worker only once it is known whether something follows, since the last segment
//! of an object is sealed as the last. Small objects are sealed together, laid end to end.
//!
//! Invariants:
//! - Each attempt to seal draws its own object key and id: bytes may be sent again, nothing is sealed twice under one key.
//! - What waits is at most `Workers::depth` pieces and two more, whatever the stream's length.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesOrdered;
use strongroom_core::call::{Condition, PutItem};
use strongroom_core::ids::Digest;
use strongroom_core::keys::secret::{Key, RandomError};

use strongroom_core::names::{DatasetName, ObjectPath};
use strongroom_core::reason::Reason;
use strongroom_core::sealed::content::{Content, segment_digest};
use strongroom_core::sealed::header::Header;
use strongroom_core::sealed::layout::MAX_SIZE;
use strongroom_core::sealed::tree::ObjectRoot;
use strongroom_core::sealed::{HEADER_LEN, SEGMENT_OVERHEAD, SEGMENT_SIZE, segment};
use strongroom_proto::MAX_FRAME;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::task::JoinHandle;

use crate::draw::{object_and_put_ids, object_id};
use crate::error::{Error, Result};
use crate::workers::{Workers, finished};

/// Bytes of plaintext in a piece: 16 segments.
pub(crate) const PIECE: usize = 16 * SEGMENT_SIZE;

/// Seals one object out of a stream.
pub(crate) struct Sealer<S> {
    source: S,
    workers: Workers,
    header: Header,
    key: Key,
    root: Arc<ObjectRoot>,
    /// Plaintext of the piece that is being read.
    filling: Vec<u8>,
    /// A full piece, held until it is known whether something follows.
    held: Option<Vec<u8>>,
    source_ended: bool,
    /// Whether the last piece was given to a worker.
    all_started: bool,
    size: u64,
    segments: u32,
    sealing: FuturesOrdered<JoinHandle<Result<Piece, RandomError>>>,
    digests: Vec<Digest>,
    frames: VecDeque<Bytes>,
}

/// What a worker made of a piece.
struct Piece {
    sealed: Vec<u8>,
    digests: Vec<Digest>,
}

impl<S: AsyncRead + Unpin> Sealer<S> {
    /// Seals what `source` gives after `begun`, which was read from it before.
    pub(crate) fn new(source: S, begun: Vec<u8>, workers: Workers) -> Result<Self> {
        let (header, key) = fresh()?;
        Ok(Self {
            source,
            workers,
            header,
            root: Arc::new(ObjectRoot::derive(&key, &header)),
            key,
            size: begun.len() as u64,
            filling: begun,
            held: None,
            source_ended: false,
            all_started: false,
            segments: 0,
            sealing: FuturesOrdered::new(),
            digests: Vec::new(),
            frames: VecDeque::from([Bytes::copy_from_slice(&header.encode())]),
        })
    }

    pub(crate) fn header(&self) -> Header {
        self.header
    }

    pub(crate) fn key(&self) -> &Key {
        &self.key
    }

    /// Bytes of plaintext taken up so far.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// The next frame of header and segments, at most 256 KiB; `None` after the last.
    ///
    /// It can be dropped half-way and called again: no byte is lost.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            if let Some(frame) = self.frames.pop_front() {
                return Ok(Some(frame));
            }
            while !self.all_started && self.sealing.len() < self.workers.depth() {
                self.fill().await?;
                self.start().await?;
            }
            let Some(piece) = self.sealing.next().await else { return Ok(None) };
            let Piece { sealed, digests } = finished(piece)?.map_err(|error| Error::internal(error.to_string()))?;
            self.digests.extend(digests);
            self.frames.extend(frames(sealed.into()));
        }
    }

    /// The content, once [`Sealer::next`] has given everything.
    pub(crate) fn content(&self) -> Result<Content> {
        let content = Content::from_digests(self.header, self.size, self.digests.clone());
        content.map_err(|error| Error::internal(error.to_string()))
    }

    /// Reads until the piece is full or the source ends.
    async fn fill(&mut self) -> Result<()> {
        while !self.source_ended && self.filling.len() < PIECE {
            let room = PIECE - self.filling.len();
            self.filling.reserve_exact(room);
            let read = (&mut self.source).take(room as u64).read_buf(&mut self.filling).await.map_err(source_error)?;
            self.source_ended = read == 0;
            self.size += read as u64;
            if self.size > MAX_SIZE {
                return Err(Error::new(Reason::TooLarge, "an object has at most 16 TiB"));
            }
        }
        Ok(())
    }

    /// Gives a piece to a worker, if it is known whether something follows it.
    async fn start(&mut self) -> Result<()> {
        if self.held.is_none() && !self.source_ended {
            self.held = Some(std::mem::take(&mut self.filling));
            return Ok(());
        }
        // From here on nothing waits: the piece is taken once a thread is free for it.
        let worker = self.workers.free().await?;
        let plaintext = self.held.take().unwrap_or_else(|| std::mem::take(&mut self.filling));
        let last = self.source_ended && self.filling.is_empty();
        let (root, first) = (self.root.clone(), self.segments);
        self.segments += u32::try_from(plaintext.len().div_ceil(SEGMENT_SIZE)).unwrap_or(u32::MAX);
        self.all_started = last;
        self.sealing.push_back(worker.start(move || seal_piece(&root, first, last, &plaintext)));
        Ok(())
    }
}

fn seal_piece(root: &ObjectRoot, first: u32, last: bool, plaintext: &[u8]) -> Result<Piece, RandomError> {
    let count = plaintext.len().div_ceil(SEGMENT_SIZE).max(1);
    let mut sealed = Vec::with_capacity(plaintext.len() + count * SEGMENT_OVERHEAD);
    let mut digests = Vec::with_capacity(count);
    let mut segments = plaintext.chunks(SEGMENT_SIZE);
    let mut leaves = root.leaves();
    for (i, nth) in (first..).zip(1..=count) {
        let start = sealed.len();
        // Only an empty object has no chunk for its segment.
        let segment = segments.next().unwrap_or_default();
        let leaf = leaves.leaf(i).unwrap_or_else(|| root.leaf(i));
        segment::seal(&leaf, i, last && nth == count, segment, &mut sealed)?;
        digests.push(segment_digest(&sealed[start..]));
    }
    Ok(Piece { sealed, digests })
}

/// A buffer in frames of about the same size, none over 256 KiB.
fn frames(mut sealed: Bytes) -> impl Iterator<Item = Bytes> {
    let count = sealed.len().div_ceil(MAX_FRAME).max(1);
    let each = sealed.len().div_ceil(count);
    (0..count).map(move |_| sealed.split_to(each.min(sealed.len())))
}

/// Small objects, sealed and laid end to end.
pub(crate) struct Pack {
    /// What to sign.
    pub(crate) items: Vec<PutItem>,
    /// Their keys, in the same order.
    pub(crate) keys: Vec<Key>,
    /// Header and segment of each.
    pub(crate) objects: Bytes,
}

/// Bytes of a small object in a pack.
pub(crate) const fn packed_len(size: usize) -> usize {
    HEADER_LEN + SEGMENT_OVERHEAD + size
}

/// Seals objects of at most 64 KiB each.
pub(crate) fn pack(dataset: &DatasetName, condition: Condition, objects: &[(ObjectPath, Bytes)]) -> Result<Pack> {
    let random = |error: RandomError| Error::internal(error.to_string());
    let mut items = Vec::with_capacity(objects.len());
    let keys = Key::random_many(objects.len()).map_err(random)?;
    let ids = object_and_put_ids(objects.len())?;
    let mut sealed = Vec::with_capacity(objects.iter().map(|(_, bytes)| packed_len(bytes.len())).sum());
    for (((path, plaintext), key), (object, put)) in objects.iter().zip(&keys).zip(ids) {
        if plaintext.len() > SEGMENT_SIZE {
            return Err(Error::internal("an object is too large for a pack"));
        }
        let header = Header::new(object);
        sealed.extend_from_slice(&header.encode());
        let start = sealed.len();
        segment::seal(&ObjectRoot::derive(key, &header).leaf(0), 0, true, plaintext, &mut sealed).map_err(random)?;
        let size = plaintext.len() as u64;
        let content = Content::from_digests(header, size, vec![segment_digest(&sealed[start..])]);
        let content_root = content.map_err(|error| Error::internal(error.to_string()))?.root;
        let (dataset, path) = (dataset.clone(), path.clone());
        items.push(PutItem { put, dataset, path, condition, header, size, content_root });
    }
    Ok(Pack { items, keys, objects: sealed.into() })
}

/// A fresh header, with the key under which its object is sealed.
fn fresh() -> Result<(Header, Key)> {
    let key = Key::random().map_err(|error| Error::internal(error.to_string()))?;
    Ok((Header::new(object_id()?), key))
}

pub(crate) fn source_error(error: std::io::Error) -> Error {
    Error::new(Reason::InvalidArgument, format!("the source cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use strongroom_core::sealed::content::ContentHasher;
    use strongroom_core::sealed::layout::Layout;
    use tokio::io::ReadBuf;

    use super::*;

    /// Gives its bytes in pieces of an odd length, and is not ready every other time.
    struct Slow(VecDeque<u8>, bool);

    impl AsyncRead for Slow {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<std::io::Result<()>> {
            self.1 = !self.1;
            if self.1 {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let count = buffer.remaining().min(self.0.len()).min(70_001);
            let bytes: Vec<u8> = self.0.drain(..count).collect();
            buffer.put_slice(&bytes);
            Poll::Ready(Ok(()))
        }
    }

    fn plaintext(size: usize) -> Vec<u8> {
        (0..size).map(|at| (at * 7 + at / 251) as u8).collect()
    }

    fn open(key: &Key, header: &Header, blob: &[u8], size: u64) -> Vec<u8> {
        let (layout, root) = (Layout::new(size).unwrap(), ObjectRoot::derive(key, header));
        let mut plain = Vec::new();
        for i in 0..layout.segments() {
            let at = layout.segment_offset(i) as usize;
            let mut sealed = blob[at..at + layout.segment_len(i)].to_vec();
            plain.extend_from_slice(segment::open(&root.leaf(i), i, layout.is_last(i), &mut sealed).unwrap());
        }
        plain
    }

    #[tokio::test]
    async fn streams_of_every_length_are_sealed_whole() {
        for size in [
            0,
            1,
            SEGMENT_SIZE - 1,
            SEGMENT_SIZE,
            SEGMENT_SIZE + 1,
            PIECE - 1,
            PIECE,
            PIECE + 1,
            3 * PIECE,
            5 * PIECE + 7,
        ] {
            for begun in [0, 1, PIECE] {
                let plain = plaintext(size);
                let (begun, rest) = plain.split_at(begun.min(size));
                let source = Slow(rest.to_vec().into(), false);
                let mut sealer = Sealer::new(source, begun.to_vec(), Workers::new(2)).unwrap();
                let mut blob = Vec::new();
                while let Some(frame) = sealer.next().await.unwrap() {
                    assert!(!frame.is_empty() && frame.len() <= MAX_FRAME);
                    blob.extend_from_slice(&frame);
                }
                let mut hasher = ContentHasher::new();
                hasher.update(&blob);
                assert_eq!(hasher.finish(size as u64).unwrap(), sealer.content().unwrap(), "{size}");
                assert!(open(sealer.key(), &sealer.header(), &blob, size as u64) == plain, "{size}");
            }
        }
    }

    #[tokio::test]
    async fn a_sealer_that_is_dropped_half_way_loses_nothing() {
        let plain = plaintext(6 * PIECE + 99);
        let mut sealer = Sealer::new(Slow(plain.clone().into(), false), Vec::new(), Workers::new(2)).unwrap();
        let mut blob = Vec::new();
        loop {
            // Poll once, and drop.
            match futures::poll!(Box::pin(sealer.next())) {
                Poll::Pending => tokio::time::sleep(std::time::Duration::from_micros(50)).await,
                Poll::Ready(frame) => match frame.unwrap() {
                    Some(frame) => blob.extend_from_slice(&frame),
                    None => break,
                },
            }
        }
        assert!(open(sealer.key(), &sealer.header(), &blob, plain.len() as u64) == plain);
    }

    #[tokio::test]
    async fn a_source_that_fails_fails_the_put() {
        struct Broken;
        impl AsyncRead for Broken {
            fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
                Poll::Ready(Err(std::io::Error::other("torn")))
            }
        }
        let mut sealer = Sealer::new(Broken, Vec::new(), Workers::new(1)).unwrap();
        assert!(sealer.next().await.unwrap().is_some(), "the header");
        assert_eq!(sealer.next().await.unwrap_err().reason(), Reason::InvalidArgument);
    }

    #[test]
    fn packs_hold_their_objects_end_to_end() {
        let objects = [("a", 0), ("b", 1), ("c", SEGMENT_SIZE)]
            .map(|(path, size)| (path.parse().unwrap(), plaintext(size).into()));
        let pack = super::pack(&"rlhf".parse().unwrap(), Condition::Absent, &objects).unwrap();
        let mut at = 0;
        for ((item, key), (path, plain)) in pack.items.iter().zip(&pack.keys).zip(&objects) {
            assert!(item.path == *path && item.size == plain.len() as u64 && item.condition == Condition::Absent);
            let blob = &pack.objects[at..at + packed_len(plain.len())];
            let mut hasher = ContentHasher::new();
            hasher.update(blob);
            assert_eq!(hasher.finish(item.size).unwrap().root, item.content_root);
            assert!(open(key, &item.header, blob, item.size) == plain[..]);
            at += blob.len();
        }
        assert_eq!(at, pack.objects.len());
        assert!(pack.items[0].put != pack.items[1].put && pack.items[0].header != pack.items[1].header);
    }
}
