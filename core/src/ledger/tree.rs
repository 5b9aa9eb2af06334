//! RFC 6962 hashing: leaves, nodes, and the compact range that gives a growing log's root without its entries.

use ring::digest::{Context, SHA256};

use crate::ids::Digest;

fn hash(parts: &[&[u8]]) -> Digest {
    let mut context = Context::new(&SHA256);
    parts.iter().for_each(|part| context.update(part));
    let mut out = [0; 32];
    out.copy_from_slice(context.finish().as_ref());
    Digest::from_bytes(out)
}

/// The hash of an entry: SHA-256(0x00 ‖ public bytes), RFC 6962 §2.1.
pub fn leaf_hash(public: &[u8]) -> Digest {
    hash(&[&[0], public])
}

/// The hash over two subtrees: SHA-256(0x01 ‖ left ‖ right).
pub fn node_hash(left: &Digest, right: &Digest) -> Digest {
    hash(&[&[1], left.as_bytes(), right.as_bytes()])
}

/// The root over no entries: SHA-256 of nothing.
pub fn empty_root() -> Digest {
    hash(&[])
}

/// The roots of the perfect subtrees that make up a log of some size, largest first: enough to append and to know the root.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CompactRange {
    size: u64,
    roots: Vec<Digest>,
}

impl CompactRange {
    /// From what [`CompactRange::roots`] gave at this size; `None` if their number does not fit the size.
    pub fn from_roots(size: u64, roots: Vec<Digest>) -> Option<Self> {
        (roots.len() == size.count_ones() as usize).then_some(Self { size, roots })
    }

    /// How many entries it stands for.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The subtrees' roots, largest subtree first: as many as `size` has bits set.
    pub fn roots(&self) -> &[Digest] {
        &self.roots
    }

    /// Appends an entry by its leaf hash.
    pub fn append(&mut self, leaf: Digest) {
        let mut root = leaf;
        for _ in 0..self.size.trailing_ones() {
            // One subtree for each trailing bit of the size, so there is one to pop.
            let left = self.roots.pop().unwrap_or_else(empty_root);
            root = node_hash(&left, &root);
        }
        self.roots.push(root);
        self.size += 1;
    }

    /// The RFC 6962 root over all entries.
    pub fn root(&self) -> Digest {
        let mut roots = self.roots.iter().rev();
        match roots.next() {
            None => empty_root(),
            Some(&last) => roots.fold(last, |right, left| node_hash(left, &right)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6962 §2.1, as written there: split at the largest power of two below n.
    fn reference(leaves: &[Digest]) -> Digest {
        match leaves {
            [] => empty_root(),
            [leaf] => *leaf,
            _ => {
                let split = leaves.len().next_power_of_two() / 2;
                node_hash(&reference(&leaves[..split]), &reference(&leaves[split..]))
            }
        }
    }

    #[test]
    fn the_compact_range_gives_the_rfc_root() {
        let mut range = CompactRange::default();
        let mut leaves = Vec::new();
        for i in 0..300_u32 {
            assert_eq!(range.root(), reference(&leaves), "size {i}");
            assert_eq!(CompactRange::from_roots(range.size(), range.roots().to_vec()), Some(range.clone()));
            let leaf = leaf_hash(&i.to_be_bytes());
            leaves.push(leaf);
            range.append(leaf);
        }
        assert_eq!(CompactRange::from_roots(3, vec![leaves[0]]), None);
    }
}
