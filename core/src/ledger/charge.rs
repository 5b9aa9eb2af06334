//! What an entry costs the grants it was made under, and for how long a request is remembered.
//!
//! The server charges with these before it records, and replay after: a limit holds only if both count alike. What is charged
//! follows from the ledger alone, never from what a caller says about how far it has come:
//!
//! - *bytes*: the plaintext bytes of the segments released, or of the objects written. A delete has none.
//! - *objects*: each item of a request once, with the first window released of it; each object written or hidden.
//! - *uses*: each request once, with its first entry that did something.
//! - A `release.repeat` costs nothing.
//!
//! A *request* is a (key, request id): a stream that resumes in another session makes another call, but not another request.

use crate::call::GetItem;
use crate::grant::Usage;
use crate::ids::{Millis, SegmentRange};
use crate::sealed::layout::Layout;

/// How long a request is remembered after its newest entry: 15 minutes, in milliseconds.
pub const REQUEST_LIFE: u64 = 15 * 60 * 1000;

/// Whether a request (or a call) whose newest entry has time `newest` is still remembered at `now`.
pub fn is_remembered(newest: Millis, now: Millis) -> bool {
    now.0.saturating_sub(newest.0) <= REQUEST_LIFE
}

/// What a release costs: for each part its plaintext bytes, and whether it is the first of its item in this request.
pub fn of_release(parts: impl IntoIterator<Item = (u64, bool)>, first_of_request: bool) -> Usage {
    let start = Usage { bytes: 0, objects: 0, uses: u64::from(first_of_request) };
    parts.into_iter().fold(start, |sum, (bytes, first)| sum.plus(Usage { bytes, objects: u64::from(first), uses: 0 }))
}

/// What it costs to write objects of these sizes.
pub fn of_put(sizes: impl IntoIterator<Item = u64>, first_of_request: bool) -> Usage {
    of_release(sizes.into_iter().map(|size| (size, true)), first_of_request)
}

/// What it costs to hide this many objects.
pub fn of_delete(objects: u64, first_of_request: bool) -> Usage {
    Usage { bytes: 0, objects, uses: u64::from(first_of_request) }
}

impl GetItem {
    /// The segments that are asked for of an object of this layout: those that hold the range, cut to the object's size.
    ///
    /// `None` if the range lies past its end. Of an empty object, every range from 0 on is its one segment.
    pub fn segments(&self, layout: &Layout) -> Option<SegmentRange> {
        match self.range {
            None => Some(layout.all()),
            Some((start, end)) => layout.segments_of_bytes(start, end.min(layout.size())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_cut_to_the_object() {
        let item = |range| GetItem { range, ..GetItem::at("d".parse().unwrap(), "p".parse().unwrap()) };
        let layout = Layout::new(70_000).unwrap();
        let segments = |range| item(range).segments(&layout).map(|range| (range.start(), range.end()));
        assert_eq!(segments(None), Some((0, 2)));
        assert_eq!(segments(Some((65_536, u64::MAX))), Some((1, 2)));
        assert_eq!(segments(Some((0, 1))), Some((0, 1)));
        assert_eq!(segments(Some((70_000, 70_001))), None);
        let empty = Layout::new(0).unwrap();
        assert!(item(Some((0, 9))).segments(&empty).is_some());
        assert!(item(Some((1, 9))).segments(&empty).is_none());
    }

    #[test]
    fn charges_add_up() {
        assert_eq!(of_release([(5, true), (7, false)], true), Usage { bytes: 12, objects: 1, uses: 1 });
        assert_eq!(of_put([5, 0], false), Usage { bytes: 5, objects: 2, uses: 0 });
        assert_eq!(of_delete(3, true), Usage { bytes: 0, objects: 3, uses: 1 });
    }

    #[test]
    fn fifteen_minutes_to_the_millisecond() {
        assert!(is_remembered(Millis(1000), Millis(1000 + REQUEST_LIFE)));
        assert!(!is_remembered(Millis(1000), Millis(1001 + REQUEST_LIFE)));
    }
}
