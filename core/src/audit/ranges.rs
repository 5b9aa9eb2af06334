//! Sets of segments: ranges that neither touch nor overlap.

use serde::Serialize;

use crate::ids::SegmentRange;
use crate::sealed::layout::Layout;

/// Segments of one object, in as few ranges as there can be, from left to right.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Ranges(Vec<(u32, u32)>);

impl Ranges {
    /// Adds a range.
    pub fn add(&mut self, range: SegmentRange) {
        let (mut start, mut end) = (range.start(), range.end());
        let from = self.0.partition_point(|had| had.1 < start);
        let to = self.0.partition_point(|had| had.0 <= end);
        if let (Some(first), Some(last)) = (self.0[from..to].first(), self.0[from..to].last()) {
            (start, end) = (start.min(first.0), end.max(last.1));
        }
        self.0.splice(from..to, [(start, end)]);
    }

    /// Adds all of another set.
    pub fn add_all(&mut self, other: &Self) {
        other.0.iter().filter_map(|(start, end)| SegmentRange::new(*start, *end)).for_each(|range| self.add(range));
    }

    /// Whether all of a range is in it.
    pub fn covers(&self, range: SegmentRange) -> bool {
        let at = self.0.partition_point(|had| had.1 < range.end());
        self.0.get(at).is_some_and(|had| had.0 <= range.start())
    }

    /// The ranges: first segment, and one past the last.
    pub fn as_slice(&self) -> &[(u32, u32)] {
        &self.0
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many segments.
    pub fn segments(&self) -> u64 {
        self.0.iter().map(|(start, end)| u64::from(end - start)).sum()
    }

    /// Bytes of plaintext in them, for an object of this many bytes.
    pub fn plain_bytes(&self, size: u64) -> u64 {
        let Ok(layout) = Layout::new(size) else { return 0 };
        let ranges = self.0.iter().filter_map(|(start, end)| SegmentRange::new(*start, *end));
        ranges.map(|range| layout.plain_bytes(range)).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn they_are_the_set_of_their_segments(parts in vec((0..60_u32, 1..9_u32), 0..20)) {
            let mut ranges = Ranges::default();
            let mut set = BTreeSet::new();
            for (start, count) in parts {
                ranges.add(SegmentRange::new(start, start + count).unwrap());
                set.extend(start..start + count);
            }
            let told: BTreeSet<u32> = ranges.as_slice().iter().flat_map(|(start, end)| *start..*end).collect();
            prop_assert_eq!(told, set.clone());
            prop_assert!(ranges.as_slice().windows(2).all(|pair| pair[0].1 < pair[1].0), "{:?}", ranges);
            prop_assert_eq!(ranges.segments(), set.len() as u64);
            for (start, end) in [(0, 1), (3, 9), (10, 40), (59, 60)] {
                let covered = (start..end).all(|segment| set.contains(&segment));
                prop_assert_eq!(ranges.covers(SegmentRange::new(start, end).unwrap()), covered, "{}..{}", start, end);
            }
            prop_assert_eq!(ranges.plain_bytes(100 * 65_536), set.len() as u64 * 65_536);
        }
    }
}
