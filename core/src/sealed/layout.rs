//! Where everything stands in a blob, computed from the size of the plaintext alone.
//!
//! ```text
//! header (24) ‖ segment 0 ‖ … ‖ segment n−1 ‖ (n ≥ 2: d₀ … dₙ₋₁) ‖ (n > 1024: D₀ D₁ …)
//! ```
//!
//! Every segment but the last has 65 536 bytes of plaintext and 65 596 sealed; the last has what remains, and it is
//! empty only if the object is. So a size has exactly one layout, and the size of a blob says nothing that is trusted:
//! readers take the size from the parcel, servers from the signed put, and both compare.
//!
//! ```
//! use strongroom_core::sealed::layout::Layout;
//! let layout = Layout::new(200_000).unwrap();
//! assert_eq!(layout.segments(), 4);
//! assert_eq!(layout.segment_offset(3), 24 + 3 * 65_596);
//! assert_eq!(layout.plain_len(3), 200_000 - 3 * 65_536);
//! assert_eq!(layout.blob_len(), 24 + 200_000 + 4 * 60 + 4 * 32);
//! assert!(Layout::claimed(200_000, 5).is_err());
//! ```

use std::ops::Range;

use super::{HEADER_LEN, MAX_SEGMENTS, SEALED_SEGMENT_LEN, SEGMENT_OVERHEAD, SEGMENT_SIZE, WINDOW_SEGMENTS};
use crate::ids::{Digest, SegmentRange};

/// Bytes of the largest object's plaintext: 2⁴⁴, 16 TiB.
pub const MAX_SIZE: u64 = MAX_SEGMENTS as u64 * SEGMENT_SIZE as u64;

/// The layout of an object of a given size. Sizes and offsets are in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    size: u64,
    segments: u32,
}

impl Layout {
    /// The layout of a plaintext of `size` bytes.
    ///
    /// # Errors
    /// If that is more than 2²⁸ segments.
    pub fn new(size: u64) -> Result<Layout, LayoutError> {
        if size > MAX_SIZE {
            return Err(LayoutError::TooLarge { size });
        }
        let segments = size.div_ceil(SEGMENT_SIZE as u64).max(1);
        Ok(Layout { size, segments: u32::try_from(segments).expect("bounded by MAX_SIZE") })
    }

    /// The layout of a plaintext of `size` bytes of which somebody says that it has `segments` segments.
    ///
    /// # Errors
    /// If it does not: neither an empty segment after a full one nor a missing segment is another way to say the same.
    pub fn claimed(size: u64, segments: u32) -> Result<Layout, LayoutError> {
        let layout = Layout::new(size)?;
        if layout.segments != segments {
            return Err(LayoutError::Segments { size, claimed: segments, actual: layout.segments });
        }
        Ok(layout)
    }

    /// Bytes of plaintext.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Segments, `n`: 1 to 2²⁸.
    pub const fn segments(&self) -> u32 {
        self.segments
    }

    /// Windows of up to 1024 segments.
    pub const fn windows(&self) -> u32 {
        self.segments.div_ceil(WINDOW_SEGMENTS)
    }

    /// Bytes of the blob, header and trailer included.
    pub const fn blob_len(&self) -> u64 {
        self.window_digests_offset() + if self.windows() > 1 { self.windows() as u64 * Digest::LEN as u64 } else { 0 }
    }

    /// Where segment `i` begins in the blob.
    ///
    /// # Panics
    /// If the object has no segment `i`.
    pub const fn segment_offset(&self, i: u32) -> u64 {
        assert!(i < self.segments, "a segment of the object");
        HEADER_LEN as u64 + i as u64 * SEALED_SEGMENT_LEN as u64
    }

    /// Bytes of segment `i` as it stands in the blob: its plaintext and 60.
    ///
    /// # Panics
    /// If the object has no segment `i`.
    pub const fn segment_len(&self, i: u32) -> usize {
        self.plain_len(i) + SEGMENT_OVERHEAD
    }

    /// Bytes of plaintext in segment `i`.
    ///
    /// # Panics
    /// If the object has no segment `i`.
    pub const fn plain_len(&self, i: u32) -> usize {
        assert!(i < self.segments, "a segment of the object");
        if self.is_last(i) {
            // At most SEGMENT_SIZE, so it fits everywhere.
            (self.size - i as u64 * SEGMENT_SIZE as u64) as usize
        } else {
            SEGMENT_SIZE
        }
    }

    /// Whether segment `i` is the last: it is sealed with a flag of its own, so that none can be cut off.
    pub const fn is_last(&self, i: u32) -> bool {
        i == self.segments - 1
    }

    /// All segments.
    pub fn all(&self) -> SegmentRange {
        SegmentRange::new(0, self.segments).expect("an object has a segment")
    }

    /// The segments of window `w`.
    ///
    /// # Panics
    /// If the object has no window `w`.
    pub fn window(&self, w: u32) -> SegmentRange {
        assert!(w < self.windows(), "a window of the object");
        let start = w * WINDOW_SEGMENTS;
        SegmentRange::new(start, self.segments.min(start + WINDOW_SEGMENTS)).expect("a window has a segment")
    }

    /// The window in which segment `i` is.
    pub const fn window_of(&self, i: u32) -> u32 {
        i / WINDOW_SEGMENTS
    }

    /// Whether all of `range` are segments of this object, and of one window: what a release may cover.
    pub const fn is_within_window(&self, range: SegmentRange) -> bool {
        range.end() <= self.segments && self.window_of(range.start()) == self.window_of(range.end() - 1)
    }

    /// The segments that hold the plaintext's bytes `start..end`.
    ///
    /// `None` if those are no bytes of this object: an empty or backward range, or one past its end. An empty object's
    /// `0..0` is its one segment, so that reading all of any object is a range.
    pub fn segments_of_bytes(&self, start: u64, end: u64) -> Option<SegmentRange> {
        if self.size == 0 && start == 0 && end == 0 {
            return Some(self.all());
        }
        if start >= end || end > self.size {
            return None;
        }
        let first = u32::try_from(start / SEGMENT_SIZE as u64).ok()?;
        let last = u32::try_from((end - 1) / SEGMENT_SIZE as u64).ok()?;
        SegmentRange::new(first, last + 1)
    }

    /// Bytes of plaintext in the segments of `range`; what lies past the object's end counts nothing.
    pub fn plain_bytes(&self, range: SegmentRange) -> u64 {
        let bytes_before = |i: u32| self.size.min(u64::from(i) * SEGMENT_SIZE as u64);
        bytes_before(range.end()) - bytes_before(range.start())
    }

    /// Where the segments of `range` stand in the blob, in bytes.
    ///
    /// # Panics
    /// If `range` is not within the object.
    pub fn blob_bytes(&self, range: SegmentRange) -> Range<u64> {
        let last = range.end() - 1;
        self.segment_offset(range.start())..self.segment_offset(last) + self.segment_len(last) as u64
    }

    /// Whether digests follow the segments: for an object of one segment the reader computes the only one.
    pub const fn has_trailer(&self) -> bool {
        self.segments >= 2
    }

    /// Where the segments end and the segments' digests d₀ … begin, 32 bytes each; without a trailer, the blob's end.
    pub const fn digests_offset(&self) -> u64 {
        HEADER_LEN as u64 + self.size + self.segments as u64 * SEGMENT_OVERHEAD as u64
    }

    /// Where the windows' digests D₀ … begin, 32 bytes each; with a single window, whose D is not stored, the blob's
    /// end.
    pub const fn window_digests_offset(&self) -> u64 {
        self.digests_offset() + if self.has_trailer() { self.segments as u64 * Digest::LEN as u64 } else { 0 }
    }
}

/// A size that no object has, or a number of segments that is not this size's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// More than 2⁴⁴ bytes.
    #[error("{size} bytes are more than an object can hold (2^44)")]
    TooLarge {
        /// Bytes of plaintext.
        size: u64,
    },
    /// Another number of segments than the size gives.
    #[error("{size} bytes are {actual} segments, not {claimed}")]
    Segments {
        /// Bytes of plaintext.
        size: u64,
        /// The number that was claimed.
        claimed: u32,
        /// The number that it is.
        actual: u32,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEG: u64 = SEGMENT_SIZE as u64;

    fn range(start: u32, end: u32) -> SegmentRange {
        SegmentRange::new(start, end).unwrap()
    }

    #[test]
    fn the_largest_object_has_two_to_the_28_segments() {
        let largest = Layout::new(MAX_SIZE).unwrap();
        assert_eq!(largest.segments(), MAX_SEGMENTS);
        assert_eq!(largest.plain_len(MAX_SEGMENTS - 1), SEGMENT_SIZE);
        assert_eq!(Layout::new(MAX_SIZE + 1), Err(LayoutError::TooLarge { size: MAX_SIZE + 1 }));
        assert_eq!(Layout::new(u64::MAX), Err(LayoutError::TooLarge { size: u64::MAX }));
    }

    #[test]
    fn the_parts_of_a_blob_meet() {
        for segments in [1, 2, 3, 1023, 1024, 1025, 2048, 2049] {
            for size in [segments * SEG - 1, segments * SEG, (segments - 1) * SEG + 1] {
                let layout = Layout::new(size).unwrap();
                assert_eq!(u64::from(layout.segments()), segments);
                let mut at = HEADER_LEN as u64;
                let mut plain = 0;
                for i in 0..layout.segments() {
                    assert_eq!(layout.segment_offset(i), at);
                    at += layout.segment_len(i) as u64;
                    plain += layout.plain_len(i) as u64;
                }
                assert_eq!(plain, size);
                assert_eq!(layout.digests_offset(), at);
                assert_eq!(layout.blob_bytes(layout.all()), HEADER_LEN as u64..at);
                let mut covered = 0;
                for w in 0..layout.windows() {
                    let window = layout.window(w);
                    assert_eq!(window.start(), covered);
                    assert!(layout.is_within_window(window));
                    assert!(window.count() == 1024 || w == layout.windows() - 1);
                    covered = window.end();
                }
                assert_eq!(covered, layout.segments());
            }
        }
    }

    #[test]
    fn bytes_fall_into_segments() {
        let layout = Layout::new(2 * SEG + 5).unwrap();
        assert_eq!(layout.segments_of_bytes(0, 1), Some(range(0, 1)));
        assert_eq!(layout.segments_of_bytes(SEG - 1, SEG + 1), Some(range(0, 2)));
        assert_eq!(layout.segments_of_bytes(SEG, 2 * SEG), Some(range(1, 2)));
        assert_eq!(layout.segments_of_bytes(0, layout.size()), Some(layout.all()));
        for (start, end) in [(0, 0), (3, 3), (4, 3), (0, layout.size() + 1), (layout.size(), layout.size())] {
            assert_eq!(layout.segments_of_bytes(start, end), None);
        }
        let empty = Layout::new(0).unwrap();
        assert_eq!(empty.segments_of_bytes(0, 0), Some(range(0, 1)));
        assert_eq!(empty.segments_of_bytes(0, 1), None);
    }

    #[test]
    fn bytes_are_counted_once() {
        let layout = Layout::new(2 * SEG + 5).unwrap();
        assert_eq!(layout.plain_bytes(layout.all()), layout.size());
        assert_eq!(layout.plain_bytes(range(2, 3)), 5);
        assert_eq!(layout.plain_bytes(range(1, 3)), SEG + 5);
        assert_eq!(layout.plain_bytes(range(3, 9)), 0);
        assert_eq!(Layout::new(0).unwrap().plain_bytes(range(0, 1)), 0);
    }

    #[test]
    fn a_release_stays_within_one_window_of_the_object() {
        let layout = Layout::new(1500 * SEG).unwrap();
        assert!(layout.is_within_window(range(0, 1024)));
        assert!(layout.is_within_window(range(1024, 1500)));
        assert!(!layout.is_within_window(range(1023, 1025)));
        assert!(!layout.is_within_window(range(1024, 1501)));
    }

    #[test]
    #[should_panic(expected = "a segment of the object")]
    fn there_is_no_segment_past_the_end() {
        Layout::new(1).unwrap().segment_offset(1);
    }
}
