//! A key for each segment, and the fewest keys that cover a range of them.
//!
//! From an object's root grows a tree of height 4 and fan-out 256: the Goldreich-Goldwasser-Micali construction ("How
//! to construct random functions", J. ACM 33(4), 1986) with HKDF-Expand (RFC 5869) as its step, and each byte of a
//! segment's index (u32, big endian) as one step down.
//!
//! ```text
//! root       = HKDF-Expand(object key, "strongroom/v1/root" ‖ header, 32)
//! child(k,b) = HKDF-Expand(k, "strongroom/v1/node" ‖ b, 32)            leaf(i) = root, descended by the bytes of i
//! ```
//!
//! Why a tree: whoever holds a node derives all that is under it and nothing else, for HKDF does not run backwards. So
//! the keys of a range are the nodes of its minimal cover, 4 for a full window of 1024 segments, at most 512 for any
//! range within one, and they say nothing about the rest of the object. Fan-out 256 makes a leaf four steps from the
//! root (a small object pays them once) and a window four nodes.
//!
//! Invariants:
//! - A cover is minimal, disjoint and complete, and stands in one order: left to right. It is determined by its range,
//!   so no list of nodes needs to travel beside the keys and none is believed.
//! - [`CoverKeys`] gives no leaf outside its range, even where its nodes could.

use super::header::Header;
use crate::ids::SegmentRange;
use crate::keys::secret::{Expander, Key};

/// Steps from the root to a leaf.
const HEIGHT: u8 = 4;
const ROOT: NodeId = NodeId { level: 0, index: 0 };

/// The root of an object's key tree: the secret that opens all of the object. It is what a tenant key wraps.
pub struct ObjectRoot(Key);

impl ObjectRoot {
    /// The root that grows from an object key for the object with this header.
    pub fn derive(object_key: &Key, header: &Header) -> ObjectRoot {
        ObjectRoot(object_key.expand(&[b"strongroom/v1/root", &header.encode()]))
    }

    /// From the root itself, as [`ObjectRoot::key`] gave it.
    pub const fn from_key(key: Key) -> ObjectRoot {
        ObjectRoot(key)
    }

    /// The root itself, for wrapping.
    pub const fn key(&self) -> &Key {
        &self.0
    }

    /// The leaf of segment `i`. To walk many segments, use [`ObjectRoot::leaves`].
    pub fn leaf(&self, i: u32) -> Leaf {
        self.leaves().leaf(i).expect("the root covers every leaf")
    }

    /// A walk over leaves that remembers its path: neighbours cost one derivation instead of four.
    ///
    /// Several walks over one root may run at once, as sealing on all cores does.
    pub fn leaves(&self) -> Leaves<'_> {
        Leaves::new(std::slice::from_ref(&ROOT), std::slice::from_ref(&self.0), 0, 1 << 32)
    }
}

/// A place in the tree: `index` counts from the left at its level; level 0 is the root, level 4 are the leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId {
    /// Steps from the root, 0 to 4.
    pub level: u8,
    /// The place at that level, from the left, below 256^level.
    pub index: u32,
}

impl NodeId {
    /// The first leaf under it.
    pub const fn first_leaf(self) -> u64 {
        (self.index as u64) << self.bits_below()
    }

    /// One past the last leaf under it.
    pub const fn end_leaf(self) -> u64 {
        (self.index as u64 + 1) << self.bits_below()
    }

    /// The node on the way to it at `level`, which must not be below it.
    const fn ancestor(self, level: u8) -> NodeId {
        let index = (self.index as u64) >> (8 * (self.level - level));
        NodeId { level, index: index as u32 }
    }

    const fn bits_below(self) -> u32 {
        8 * (HEIGHT - self.level) as u32
    }
}

/// The minimal cover of `range`, left to right: the fewest nodes whose leaves are exactly the range's segments.
///
/// ```
/// use strongroom_core::ids::SegmentRange;
/// use strongroom_core::sealed::tree::{NodeId, cover};
/// let range = SegmentRange::new(254, 513).unwrap();
/// assert_eq!(cover(range), [
///     NodeId { level: 4, index: 254 },
///     NodeId { level: 4, index: 255 },
///     NodeId { level: 3, index: 1 }, // 256 to 511
///     NodeId { level: 4, index: 512 },
/// ]);
/// ```
pub fn cover(range: SegmentRange) -> Vec<NodeId> {
    let mut nodes = Vec::with_capacity(cover_len(range));
    nodes.extend(Cover::of(range));
    nodes
}

/// How many nodes [`cover`] gives, without allocating them.
pub fn cover_len(range: SegmentRange) -> usize {
    Cover::of(range).count()
}

/// Walks a cover: from where it stands, always the largest node that is aligned there and does not reach past the end.
pub(super) struct Cover {
    at: u64,
    end: u64,
}

impl Cover {
    /// Over any half-open range of the tree's 2³² leaves; a [`SegmentRange`] cannot express the last one.
    pub(super) const fn of_leaves(start: u64, end: u64) -> Cover {
        Cover { at: start, end }
    }

    fn of(range: SegmentRange) -> Cover {
        Cover::of_leaves(range.start().into(), range.end().into())
    }
}

impl Iterator for Cover {
    type Item = NodeId;

    fn next(&mut self) -> Option<NodeId> {
        if self.at >= self.end {
            return None;
        }
        let level = (0..=HEIGHT).find(|level| {
            let leaves = 1u64 << (8 * (HEIGHT - level));
            self.at.is_multiple_of(leaves) && self.at + leaves <= self.end
        })?;
        let bits = 8 * (HEIGHT - level);
        let node = NodeId { level, index: u32::try_from(self.at >> bits).ok()? };
        self.at = node.end_leaf();
        Some(node)
    }
}

/// The keys of a range of segments: what a release hands out, and all that it hands out.
pub struct CoverKeys {
    range: SegmentRange,
    nodes: Vec<NodeId>,
    keys: Vec<Key>,
}

impl CoverKeys {
    /// The keys of `range`.
    pub fn derive(root: &ObjectRoot, range: SegmentRange) -> CoverKeys {
        let nodes = cover(range);
        let mut walk = root.leaves();
        // Exact capacity: a vector that grows leaves copies of keys behind.
        let mut keys = Vec::with_capacity(nodes.len());
        keys.extend(nodes.iter().map(|node| walk.node(*node).expect("the root covers every node")));
        CoverKeys { range, nodes, keys }
    }

    /// From the keys of `range`'s cover in its order; `None` unless there are exactly as many.
    pub fn from_nodes(range: SegmentRange, keys: Vec<Key>) -> Option<CoverKeys> {
        // Counted before listed, so that a wrong count allocates nothing.
        if cover_len(range) != keys.len() {
            return None;
        }
        Some(CoverKeys { range, nodes: cover(range), keys })
    }

    /// The segments that these keys open.
    pub const fn range(&self) -> SegmentRange {
        self.range
    }

    /// The keys, in the order of [`cover`].
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = &Key> {
        self.keys.iter()
    }

    /// The leaf of segment `i`; `None` outside the range. To walk many segments, use [`CoverKeys::leaves`].
    pub fn leaf(&self, i: u32) -> Option<Leaf> {
        self.leaves().leaf(i)
    }

    /// A walk over leaves that remembers its path: neighbours cost one derivation instead of up to four.
    ///
    /// Several walks may run at once, as opening on all cores does.
    pub fn leaves(&self) -> Leaves<'_> {
        Leaves::new(&self.nodes, &self.keys, self.range.start().into(), self.range.end().into())
    }
}

/// The key of one segment, from which its sealing key and commitment come: see [`super::segment`].
pub struct Leaf(Key);

impl Leaf {
    pub(super) const fn key(&self) -> &Key {
        &self.0
    }
}

/// A walk over the leaves under some nodes, in any order and cheapest from left to right.
pub struct Leaves<'a> {
    nodes: &'a [NodeId],
    keys: &'a [Key],
    start: u64,
    end: u64,
    /// The last node seen at each of levels 1, 2 and 3. What is cached is true of the whole tree, wherever the walk
    /// goes next.
    path: [Option<(u32, Key)>; HEIGHT as usize - 1],
}

impl<'a> Leaves<'a> {
    const fn new(nodes: &'a [NodeId], keys: &'a [Key], start: u64, end: u64) -> Self {
        Self { nodes, keys, start, end, path: [None, None, None] }
    }

    /// The leaf of segment `i`; `None` outside the range.
    pub fn leaf(&mut self, i: u32) -> Option<Leaf> {
        self.node(NodeId { level: HEIGHT, index: i }).map(Leaf)
    }

    /// The key of `node`; `None` unless all of it is within the range and under one of the nodes held.
    pub(super) fn node(&mut self, node: NodeId) -> Option<Key> {
        if node.first_leaf() < self.start || node.end_leaf() > self.end {
            return None;
        }
        let held = self.nodes.partition_point(|held| held.first_leaf() <= node.first_leaf()).checked_sub(1)?;
        let top = self.nodes[held];
        if top.level > node.level || node.end_leaf() > top.end_leaf() {
            return None;
        }

        let known = (top.level + 1..node.level).rev().find_map(|level| {
            let (index, key) = self.path[usize::from(level) - 1].as_ref()?;
            (*index == node.ancestor(level).index).then(|| (level, key.duplicate()))
        });
        let (mut level, mut key) = known.unwrap_or_else(|| (top.level, self.keys[held].duplicate()));
        while level < node.level {
            level += 1;
            let step = node.ancestor(level);
            key = child(&key, step.index as u8);
            if level < node.level {
                self.path[usize::from(level) - 1] = Some((step.index, key.duplicate()));
            }
        }
        Some(key)
    }
}

/// One step down, by a byte of the index.
fn child(key: &Key, step: u8) -> Key {
    Expander::new(key).expand(&[b"strongroom/v1/node", &[step]])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sealed::MAX_COVER_NODES;

    fn range(start: u32, end: u32) -> SegmentRange {
        SegmentRange::new(start, end).unwrap()
    }

    /// The fewest nodes for a range, by recursion from the root: take a node that is inside, split one that is half in.
    fn fewest(start: u64, end: u64) -> usize {
        fn under(node: NodeId, start: u64, end: u64) -> usize {
            if node.end_leaf() <= start || end <= node.first_leaf() {
                0
            } else if start <= node.first_leaf() && node.end_leaf() <= end {
                1
            } else {
                (0..256).map(|b| under(NodeId { level: node.level + 1, index: node.index << 8 | b }, start, end)).sum()
            }
        }
        under(ROOT, start, end)
    }

    fn check_cover(start: u64, end: u64) {
        let nodes: Vec<_> = Cover::of_leaves(start, end).collect();
        let mut at = start;
        for node in &nodes {
            assert_eq!(node.first_leaf(), at, "disjoint and complete, left to right");
            at = node.end_leaf();
        }
        assert_eq!(at, end);
        assert_eq!(nodes.len(), fewest(start, end), "minimal");
    }

    #[test]
    fn covers_at_every_kind_of_edge() {
        let edges = [0, 1, 255, 256, 257, 511, 512, 1023, 1024, 65535, 65536, 65537, 1 << 24, (1 << 24) + 1, 1 << 28];
        for start in edges {
            for end in edges.into_iter().filter(|end| start < *end) {
                check_cover(start, end);
            }
        }
        check_cover((1 << 32) - 3, 1 << 32);
    }

    #[test]
    fn no_range_of_a_window_takes_more_than_512_nodes() {
        // A range loses nodes only by starting or ending inside a node of 256, so its ends are tried one by one.
        let starts = (0..1024).map(|start| cover_len(range(start, 1024)));
        let ends = (1..=1024).map(|end| cover_len(range(0, end)));
        // 255 left over at an end, and the three whole nodes beside them.
        assert_eq!((starts.max(), ends.max()), (Some(258), Some(258)));
        let most = (0..4).flat_map(|s| (1020..=1024).map(move |e| cover_len(range(s, e)))).max();
        assert_eq!(most, Some(MAX_COVER_NODES));
    }

    #[test]
    fn keys_of_a_range_open_it_and_nothing_else() {
        let root = ObjectRoot::from_key(Key::from_bytes([9; 32]));
        let keys = CoverKeys::derive(&root, range(250, 520));
        for i in 0..1024 {
            let leaf = keys.leaf(i);
            assert_eq!(leaf.is_some(), (250..520).contains(&i));
            assert!(leaf.is_none_or(|leaf| leaf.0.expose() == root.leaf(i).0.expose()));
        }
        assert!(keys.leaf(u32::MAX).is_none());
    }

    #[test]
    fn the_number_of_keys_is_the_covers() {
        let keys = |n| (0..n).map(|_| Key::from_bytes([1; 32])).collect();
        assert!(CoverKeys::from_nodes(range(0, 1024), keys(3)).is_none());
        assert!(CoverKeys::from_nodes(range(0, 1024), keys(4)).is_some());
        assert!(CoverKeys::from_nodes(range(0, 1024), keys(5)).is_none());
        assert!(CoverKeys::from_nodes(range(0, 1), keys(0)).is_none());
    }

    proptest! {
        #[test]
        fn any_cover_is_minimal_disjoint_and_complete(start in 0u64..1 << 32, len in 1u64..1 << 20) {
            check_cover(start, (start + len).min(1 << 32));
        }

        /// However a walk jumps, it gives what a fresh descent gives.
        #[test]
        fn a_walk_gives_what_a_descent_gives(
            start in 0u32..70_000,
            len in 1u32..70_000,
            steps in prop::collection::vec(0u32..70_000, 1..40),
        ) {
            let root = ObjectRoot::from_key(Key::from_bytes([3; 32]));
            let keys = CoverKeys::derive(&root, range(start, start + len));
            let mut walk = keys.leaves();
            for step in steps {
                let i = start + step % len;
                let bytes = i.to_be_bytes();
                let expected = bytes.iter().fold(root.0.duplicate(), |key, step| child(&key, *step));
                prop_assert!(walk.leaf(i).unwrap().0.expose() == expected.expose());
                prop_assert!(root.leaf(i).0.expose() == expected.expose());
            }
        }
    }
}
