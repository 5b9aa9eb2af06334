//! The objects of an answer, and the parts of them that are on their way.
//!
//! What an object's first parcel said of it stays: later ones must say the same. A part gathers its data segment by segment, and
//! gives it on in pieces once what it is checked against is there.

use std::sync::Arc;

use strongroom_core::ids::{Digest, Generation, ObjectId, SegmentRange};
use strongroom_core::keys::parcel::ParcelObject;
use strongroom_core::names::ObjectPath;
use strongroom_core::sealed::SEALED_SEGMENT_LEN;
use strongroom_core::sealed::content::{CheckedWindow, ContentVerifier, parse_digests};
use strongroom_core::sealed::header::Header;
use strongroom_core::sealed::layout::Layout;
use strongroom_core::sealed::tree::CoverKeys;

use crate::error::{Error, Result};
use crate::piece::{Check, Facts, Piece};

/// Segments in a piece: what one worker opens at once.
const PIECE_SEGMENTS: usize = 8;

/// What is asked for, of one item.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) name: AskName,
    pub(crate) generation: Option<Generation>,
    /// Bytes of the plaintext, cut to its size; all if none.
    pub(crate) range: Option<(u64, u64)>,
}

/// How an item names its object.
#[derive(Debug, Clone)]
pub(crate) enum AskName {
    Path(ObjectPath),
    Id(ObjectId),
}

impl AskName {
    pub(super) fn is(&self, object: &ParcelObject) -> bool {
        match self {
            Self::Path(path) => object.path == path.as_str(),
            Self::Id(id) => object.header.object_id() == *id,
        }
    }
}

/// A part of the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) item: u32,
    pub(super) window: u32,
}

/// An object as its first parcel told of it.
pub(super) struct Object {
    pub(super) facts: Facts,
    pub(super) header: Header,
    pub(super) root: Digest,
    pub(super) layout: Layout,
    /// The asked segments.
    pub(super) segments: SegmentRange,
    /// All D, as far as they came.
    pub(super) windows: Vec<u8>,
    pub(super) verifier: Option<Arc<ContentVerifier>>,
}

/// A part whose keys are there.
pub(super) struct Part {
    pub(super) place: Place,
    pub(super) range: SegmentRange,
    pub(super) keys: Arc<CoverKeys>,
    pub(super) digests: Vec<u8>,
    pub(super) checked: Option<Arc<CheckedWindow>>,
    pub(super) buffer: Vec<u8>,
    /// Where in the blob the next byte stands.
    pub(super) at: u64,
    /// Where the part's data ends.
    pub(super) end: u64,
    /// The next segment that leaves the buffer.
    pub(super) segment: u32,
    /// Segments before this one were handed on before a break.
    pub(super) fresh_from: u32,
}

impl Object {
    pub(super) fn new(ask: &Ask, object: &ParcelObject) -> Result<Self> {
        let layout = Layout::new(object.size).map_err(|error| Error::integrity(error.to_string()))?;
        let (start, end) = ask.range.unwrap_or((0, object.size));
        let end = end.min(object.size);
        let segments = layout.segments_of_bytes(start, end);
        let segments = segments.ok_or_else(|| Error::integrity("keys come for a range that holds no bytes"))?;
        let verifier = if layout.has_trailer() {
            None
        } else {
            let only = ContentVerifier::new(object.header, object.size, object.content_root, &[]);
            Some(Arc::new(only.map_err(|error| Error::integrity(error.to_string()))?))
        };
        Ok(Self {
            facts: Facts {
                generation: object.generation,
                size: object.size,
                object_id: object.header.object_id(),
                start,
                end,
            },
            header: object.header,
            root: object.content_root,
            layout,
            segments,
            windows: Vec::new(),
            verifier,
        })
    }

    /// Whether a later parcel speaks of the same object.
    pub(super) fn is(&self, object: &ParcelObject) -> bool {
        self.facts.generation == object.generation
            && self.facts.size == object.size
            && self.header == object.header
            && self.root == object.content_root
    }

    /// Takes in window digests; once all are there they must be those of the content root.
    pub(super) fn take_windows(&mut self, windows: &[u8]) -> Result<()> {
        let expected = self.layout.windows() as usize * Digest::LEN;
        if self.windows.len() + windows.len() > expected {
            return Err(Error::integrity("an object comes with more window digests than it has windows"));
        }
        self.windows.extend_from_slice(windows);
        if self.windows.len() == expected {
            let wrong = || Error::integrity("window digests are cut");
            // Emptied, so that a stream that is picked up may tell them again.
            let digests = parse_digests(&std::mem::take(&mut self.windows)).ok_or_else(wrong)?;
            let verifier = ContentVerifier::new(self.header, self.facts.size, self.root, &digests);
            self.verifier = Some(Arc::new(verifier.map_err(|error| Error::integrity(error.to_string()))?));
        }
        Ok(())
    }

    /// What the segments of a part are checked against: no data is taken before it is there.
    pub(super) fn check(&self, part: &Part) -> Result<Check> {
        let early = || Error::integrity("data comes before what it is checked against");
        if self.layout.has_trailer() {
            part.checked.clone().map(Check::Window).ok_or_else(early)
        } else {
            self.verifier.clone().map(Check::Only).ok_or_else(early)
        }
    }
}

impl Part {
    /// The sealed bytes of the next piece.
    pub(super) fn piece_len(&self, layout: &Layout) -> usize {
        let end = self.range.end().min(self.segment.saturating_add(PIECE_SEGMENTS as u32));
        let full = (end - self.segment - 1) as usize * SEALED_SEGMENT_LEN;
        full + layout.segment_len(end - 1)
    }

    /// The segments in the buffer as a piece; none if all of them were handed on before.
    pub(super) fn take_piece(&mut self, object: &Object, check: &Check) -> Option<Piece> {
        let mut sealed = std::mem::take(&mut self.buffer);
        let first = self.segment;
        self.segment += u32::try_from(sealed.len().div_ceil(SEALED_SEGMENT_LEN)).unwrap_or(u32::MAX);
        let again = self.fresh_from.saturating_sub(first);
        if self.segment <= self.fresh_from {
            return None;
        }
        drop(sealed.drain(..again as usize * SEALED_SEGMENT_LEN));
        Some(Piece {
            item: self.place.item,
            facts: object.facts,
            ends_item: self.segment == object.segments.end(),
            first: first + again,
            sealed,
            keys: self.keys.clone(),
            layout: object.layout,
            check: check.clone(),
        })
    }
}
