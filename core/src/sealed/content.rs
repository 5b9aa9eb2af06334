//! One digest for all of an object, and how a reader uses it.
//!
//! ```text
//! dᵢ           = BLAKE3(segment i, as it stands in the blob)
//! D_w          = BLAKE3("strongroom/v1/window" ‖ w (u32 BE) ‖ dᵢ of the window's up to 1024 segments)
//! content root = BLAKE3("strongroom/v1/content" ‖ header ‖ size (u64 BE) ‖ D₀ ‖ D₁ …)
//! ```
//!
//! Every reader holds the symmetric keys of what it reads, so a tag proves nothing against a reader who can also write
//! the bucket. The content root does: it is signed by the uploader, recorded when the object is committed, and reaches
//! readers inside their key parcel. Two levels, so that a range of a large object needs the digests of its window and
//! one digest for each other window, and not those of all segments. No keys are needed to check it, so a server checks
//! uploads and scrubs its disks with the same code.
//!
//! Steps of a reader, one type each, so that none is left out:
//!
//! ```text
//! ContentVerifier::new        header, size and root from the parcel, all D from beside the ciphertext
//!   └ check_window       ─►   CheckedWindow: the dᵢ of a window
//!       └ check_segment       this segment is what was committed; open it now
//!   └ check_only_segment      an object of one segment needs neither D nor d
//! ```
//!
//! BLAKE3 is the one primitive that is not `ring`'s: it digests 64 KiB in 9 µs where SHA-256 takes 40.

use super::header::{Header, HeaderError};
use super::layout::{Layout, LayoutError};
use super::{HEADER_LEN, MAX_SEGMENTS, SEALED_SEGMENT_LEN};
use crate::ids::{Digest, SegmentRange};

/// dᵢ: BLAKE3 of a segment as it stands in the blob.
pub fn segment_digest(segment: &[u8]) -> Digest {
    to_digest(blake3::hash(segment))
}

/// D_w: the digest of window `w`, whose segments have these digests.
pub fn window_digest(w: u32, segment_digests: &[Digest]) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"strongroom/v1/window").update(&w.to_be_bytes());
    update_digests(&mut hasher, segment_digests);
    to_digest(hasher.finalize())
}

/// The content root of an object with this header, this many bytes of plaintext and these window digests.
pub fn content_root(header: &Header, size: u64, window_digests: &[Digest]) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"strongroom/v1/content").update(&header.encode()).update(&size.to_be_bytes());
    update_digests(&mut hasher, window_digests);
    to_digest(hasher.finalize())
}

/// The digests in `bytes`, 32 bytes each, as they stand in a trailer; `None` if something is left over.
pub fn parse_digests(bytes: &[u8]) -> Option<Vec<Digest>> {
    let (digests, rest) = bytes.as_chunks::<{ Digest::LEN }>();
    rest.is_empty().then(|| digests.iter().map(|digest| Digest::from_bytes(*digest)).collect())
}

/// The trailer of a blob: nothing for one segment, else all d, and all D where there are several.
pub fn trailer(content: &Content) -> Vec<u8> {
    let segments = if content.segment_digests.len() > 1 { &content.segment_digests[..] } else { &[] };
    let windows = if content.window_digests.len() > 1 { &content.window_digests[..] } else { &[] };
    let mut bytes = Vec::with_capacity((segments.len() + windows.len()) * Digest::LEN);
    for digest in segments.iter().chain(windows) {
        bytes.extend_from_slice(digest.as_bytes());
    }
    bytes
}

/// What an object's blob holds, digested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// The blob's header.
    pub header: Header,
    /// Bytes of plaintext.
    pub size: u64,
    /// The content root.
    pub root: Digest,
    /// d₀ … dₙ₋₁: 32 bytes for each 64 KiB of the object.
    pub segment_digests: Vec<Digest>,
    /// D₀ D₁ …
    pub window_digests: Vec<Digest>,
}

impl Content {
    /// From the digests of all segments, for a sealer that computed them where it sealed, on several cores.
    ///
    /// # Errors
    /// If an object of `size` bytes has another number of segments.
    pub fn from_digests(header: Header, size: u64, segment_digests: Vec<Digest>) -> Result<Content, ContentError> {
        Layout::claimed(size, u32::try_from(segment_digests.len()).unwrap_or(u32::MAX))?;
        let window_digests: Vec<_> = (0..)
            .zip(segment_digests.chunks(super::WINDOW_SEGMENTS as usize))
            .map(|(w, digests)| window_digest(w, digests))
            .collect();
        let root = content_root(&header, size, &window_digests);
        Ok(Content { header, size, root, segment_digests, window_digests })
    }
}

/// Digests a blob's header and segments (not its trailer) as they arrive, in chunks of any length.
///
/// It never buffers a segment; what it keeps is 32 bytes for each, so 512 KiB for an object of 1 GiB. It digests
/// fastest when whole segments come in one chunk. The size is not known until the end: whatever was wrong, a header or
/// too many bytes, is then an error of [`ContentHasher::finish`].
pub struct ContentHasher {
    header: [u8; HEADER_LEN],
    /// Bytes fed, header included.
    fed: u64,
    segment: blake3::Hasher,
    /// Bytes of the current segment that `segment` has seen; never a full segment.
    in_segment: usize,
    digests: Vec<Digest>,
}

impl ContentHasher {
    /// A hasher that has seen nothing.
    pub fn new() -> ContentHasher {
        ContentHasher {
            header: [0; HEADER_LEN],
            fed: 0,
            segment: blake3::Hasher::new(),
            in_segment: 0,
            digests: Vec::new(),
        }
    }

    /// The next bytes of header and segments.
    pub fn update(&mut self, mut bytes: &[u8]) {
        if let Some(missing) = usize::try_from(self.fed).ok().and_then(|fed| HEADER_LEN.checked_sub(fed)) {
            let (header, rest) = bytes.split_at(missing.min(bytes.len()));
            let at = HEADER_LEN - missing;
            self.header[at..at + header.len()].copy_from_slice(header);
            self.fed += header.len() as u64;
            bytes = rest;
        }
        self.fed = self.fed.saturating_add(bytes.len() as u64);
        // Past the largest object nothing is digested or kept any more; `finish` refuses by what was fed.
        while !bytes.is_empty() && self.digests.len() < MAX_SEGMENTS as usize {
            let (now, rest) = bytes.split_at(bytes.len().min(SEALED_SEGMENT_LEN - self.in_segment));
            if now.len() == SEALED_SEGMENT_LEN {
                self.digests.push(segment_digest(now));
            } else {
                self.segment.update(now);
                self.in_segment += now.len();
                if self.in_segment == SEALED_SEGMENT_LEN {
                    self.end_segment();
                }
            }
            bytes = rest;
        }
    }

    /// The header, once its 24 bytes are there and if they are one: a caller may refuse before the rest has arrived.
    pub fn header(&self) -> Option<Header> {
        if self.fed < HEADER_LEN as u64 { None } else { Header::parse(&self.header).ok() }
    }

    /// Bytes fed so far, header included.
    pub const fn fed(&self) -> u64 {
        self.fed
    }

    /// The content, if what was fed is exactly header and segments of an object with `size` bytes of plaintext.
    ///
    /// # Errors
    /// [`ContentError`].
    pub fn finish(mut self, size: u64) -> Result<Content, ContentError> {
        let expected = Layout::new(size)?.digests_offset();
        if self.fed != expected {
            return Err(ContentError::Length { expected, fed: self.fed });
        }
        let header = Header::parse(&self.header)?;
        if self.in_segment > 0 {
            self.end_segment();
        }
        Content::from_digests(header, size, self.digests)
    }

    fn end_segment(&mut self) {
        self.digests.push(to_digest(self.segment.finalize()));
        self.segment.reset();
        self.in_segment = 0;
    }
}

impl Default for ContentHasher {
    fn default() -> Self {
        Self::new()
    }
}

/// Bytes that are not header and segments of the object that they are said to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ContentError {
    /// The header is not one of format 1.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// No object has this size, or not this many segments.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// More or fewer bytes than the size gives.
    #[error("header and segments have {fed} bytes, not the {expected} of this size")]
    Length {
        /// What header and segments of this size have.
        expected: u64,
        /// What there was.
        fed: u64,
    },
}

/// A reader's check of an object against its content root. It holds 32 bytes for each window of 64 MiB.
///
/// Header, size and root come from whoever vouches for the object; everything else is checked.
#[derive(Debug, Clone)]
pub struct ContentVerifier {
    header: Header,
    layout: Layout,
    root: Digest,
    window_digests: Vec<Digest>,
}

impl ContentVerifier {
    /// For the object with this header, size and root, whose windows are said to have `window_digests`: all of them,
    /// or none for an object of one segment, which is checked from the segment alone.
    ///
    /// # Errors
    /// If no object has this size, or the digests are too many, too few, or not those of the root.
    pub fn new(
        header: Header,
        size: u64,
        root: Digest,
        window_digests: &[Digest],
    ) -> Result<ContentVerifier, VerifyError> {
        let layout = Layout::new(size)?;
        let expected = if layout.has_trailer() { layout.windows() as usize } else { 0 };
        check_count(expected, window_digests.len())?;
        if layout.has_trailer() && content_root(&header, size, window_digests) != root {
            return Err(VerifyError::Root);
        }
        Ok(ContentVerifier { header, layout, root, window_digests: window_digests.to_vec() })
    }

    /// The object's layout.
    pub const fn layout(&self) -> Layout {
        self.layout
    }

    /// Checks the digests of the segments of window `w`, all of them.
    ///
    /// # Errors
    /// If there is no such window, or for an object of one segment ([`ContentVerifier::check_only_segment`]), or the
    /// digests are too many, too few, or not those of the window.
    pub fn check_window(&self, w: u32, segment_digests: &[Digest]) -> Result<CheckedWindow, VerifyError> {
        let expected = self.window_digests.get(w as usize).ok_or(VerifyError::NoWindow { w })?;
        let range = self.layout.window(w);
        check_count(range.count() as usize, segment_digests.len())?;
        if window_digest(w, segment_digests) != *expected {
            return Err(VerifyError::Window { w });
        }
        Ok(CheckedWindow { range, segment_digests: segment_digests.to_vec() })
    }

    /// Checks the sealed segment of an object that has only one.
    ///
    /// # Errors
    /// If the object has more, or this is not it.
    pub fn check_only_segment(&self, segment: &[u8]) -> Result<(), VerifyError> {
        if self.layout.has_trailer() {
            return Err(VerifyError::Count { expected: self.layout.segments() as usize, found: 1 });
        }
        if segment.len() != self.layout.segment_len(0) {
            return Err(VerifyError::Segment { i: 0 });
        }
        let window = window_digest(0, &[segment_digest(segment)]);
        if content_root(&self.header, self.layout.size(), &[window]) != self.root {
            return Err(VerifyError::Root);
        }
        Ok(())
    }
}

/// The digests of a window's segments, proven to belong to the content root. Only [`ContentVerifier`] makes it.
#[derive(Debug, Clone)]
pub struct CheckedWindow {
    range: SegmentRange,
    segment_digests: Vec<Digest>,
}

impl CheckedWindow {
    /// The window's segments.
    pub const fn range(&self) -> SegmentRange {
        self.range
    }

    /// Checks that `segment` is segment `i` as it was committed.
    ///
    /// # Errors
    /// If it is not, or segment `i` is not in this window.
    pub fn check_segment(&self, i: u32, segment: &[u8]) -> Result<(), VerifyError> {
        let at = i.checked_sub(self.range.start()).ok_or(VerifyError::Segment { i })?;
        let expected = self.segment_digests.get(at as usize).ok_or(VerifyError::Segment { i })?;
        if segment_digest(segment) != *expected {
            return Err(VerifyError::Segment { i });
        }
        Ok(())
    }
}

/// What was read is not what was committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// No object has this size.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// More or fewer digests than the object has windows, or the window segments.
    #[error("{found} digests where there are {expected}")]
    Count {
        /// How many there are.
        expected: usize,
        /// How many came.
        found: usize,
    },
    /// The object has no such window that could be checked by its digests.
    #[error("there is no window {w} to check")]
    NoWindow {
        /// The window, from 0.
        w: u32,
    },
    /// The object is not the one that was committed.
    #[error("the object is not what its content root says")]
    Root,
    /// The digests of a window's segments are not those that were committed.
    #[error("window {w} is not what the content root says")]
    Window {
        /// The window, from 0.
        w: u32,
    },
    /// A segment is not the one that was committed.
    #[error("segment {i} is not what the content root says")]
    Segment {
        /// The segment, from 0.
        i: u32,
    },
}

fn check_count(expected: usize, found: usize) -> Result<(), VerifyError> {
    if expected == found { Ok(()) } else { Err(VerifyError::Count { expected, found }) }
}

fn to_digest(hash: blake3::Hash) -> Digest {
    Digest::from_bytes(*hash.as_bytes())
}

fn update_digests(hasher: &mut blake3::Hasher, digests: &[Digest]) {
    for digest in digests {
        hasher.update(digest.as_bytes());
    }
}
