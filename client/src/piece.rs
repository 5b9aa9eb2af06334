//! A piece of an answer: whole segments, checked and opened on a worker.
//!
//! First the digest, then the key: the symmetric keys of a segment are in every reader's hands, so its tag alone proves nothing.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use strongroom_core::ids::{Generation, ObjectId};
use strongroom_core::sealed::content::{CheckedWindow, ContentVerifier};
use strongroom_core::sealed::layout::Layout;
use strongroom_core::sealed::tree::CoverKeys;
use strongroom_core::sealed::{SEALED_SEGMENT_LEN, SEGMENT_SIZE, segment};

use crate::error::{Error, Result};

/// What is known of an item, from its parcel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) generation: Generation,
    /// Bytes of plaintext of the whole object.
    pub(crate) size: u64,
    pub(crate) object_id: ObjectId,
    /// The asked bytes of the plaintext, cut to the size.
    pub(crate) start: u64,
    pub(crate) end: u64,
}

/// Whole segments that came, to be checked and opened.
pub(crate) struct Piece {
    pub(crate) item: u32,
    pub(crate) facts: Facts,
    /// Whether the item is complete with it.
    pub(crate) ends_item: bool,
    pub(crate) first: u32,
    pub(crate) sealed: Vec<u8>,
    pub(crate) keys: Arc<CoverKeys>,
    pub(crate) layout: Layout,
    pub(crate) check: Check,
}

/// What segments are checked against.
#[derive(Clone)]
pub(crate) enum Check {
    /// The object's only segment.
    Only(Arc<ContentVerifier>),
    Window(Arc<CheckedWindow>),
}

impl Piece {
    /// Bytes of ciphertext in it.
    pub(crate) fn len(&self) -> usize {
        self.sealed.len()
    }

    /// Checks each segment against the content root and opens it: the asked plaintext, in order. Nothing comes out if one
    /// segment does not fit.
    pub(crate) fn open(self) -> Result<Vec<Bytes>> {
        let Self { facts, first, mut sealed, keys, layout, check, .. } = self;
        let mut leaves = keys.leaves();
        let mut plains = Vec::with_capacity(sealed.len().div_ceil(SEALED_SEGMENT_LEN));
        let mut at = 0;
        let mut i = first;
        while at < sealed.len() {
            let len = layout.segment_len(i);
            let wrong = || Error::integrity(format!("segment {i} is cut"));
            let sealed = sealed.get_mut(at..at + len).ok_or_else(wrong)?;
            let checked = match &check {
                Check::Only(verifier) => verifier.check_only_segment(sealed),
                Check::Window(window) => window.check_segment(i, sealed),
            };
            checked.map_err(|error| Error::integrity(error.to_string()))?;
            let leaf = leaves.leaf(i).ok_or_else(|| Error::integrity("a segment comes without its key"))?;
            segment::open(&leaf, i, layout.is_last(i), sealed).map_err(|error| Error::integrity(error.to_string()))?;
            plains.push(plain_place(&facts, &layout, i, at));
            at += len;
            i += 1;
        }
        let opened = Bytes::from(sealed);
        Ok(plains.into_iter().filter(|place| !place.is_empty()).map(|place| opened.slice(place)).collect())
    }
}

/// Where the asked plaintext of segment `i` stands in a buffer in which the segment was opened at `at`.
fn plain_place(facts: &Facts, layout: &Layout, i: u32, at: usize) -> Range<usize> {
    /// Commitment and nonce, before the plaintext.
    const BEFORE: usize = 44;
    let begins = u64::from(i) * SEGMENT_SIZE as u64;
    let ends = begins + layout.plain_len(i) as u64;
    // Both are within the segment, so below 64 KiB.
    let cut = |place: u64| (place.clamp(begins, ends) - begins) as usize;
    at + BEFORE + cut(facts.start)..at + BEFORE + cut(facts.end)
}
