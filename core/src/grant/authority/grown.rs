//! A map that only grows, of which every version is kept by somebody.
//!
//! With each order an authority is copied: readers go on with the one before. Orders and revoked grants are as many as there ever
//! were, so what is old of them is shared by all copies, and only what is new is copied. Once the new is a share of the old, both
//! become one: seldom enough that the price of it, spread over the orders, is that of a few entries each.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How many entries are new at most, where there are few.
const FEW: usize = 512;
/// Elsewhere, which share of the old they are.
const SHARE: usize = 64;

/// The map. Reading and writing it is to find an entry; copying it is to copy what is new.
#[derive(Debug, Clone)]
pub(super) struct Grown<K, V> {
    old: Arc<BTreeMap<K, V>>,
    new: BTreeMap<K, V>,
}

impl<K, V> Default for Grown<K, V> {
    fn default() -> Self {
        Self { old: Arc::default(), new: BTreeMap::new() }
    }
}

impl<K: Ord + Clone, V: Clone> Grown<K, V> {
    /// What was inserted last for a key.
    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.new.get(key).or_else(|| self.old.get(key))
    }

    /// Inserts an entry, or another value for its key.
    pub(super) fn insert(&mut self, key: K, value: V) {
        self.new.insert(key, value);
        if self.new.len() >= FEW.max(self.old.len() / SHARE) {
            // Others may still read the old one: it is copied then, and theirs stays as it is.
            Arc::make_mut(&mut self.old).append(&mut self.new);
        }
    }

    fn whole(&self) -> BTreeMap<&K, &V> {
        self.old.iter().chain(&self.new).collect()
    }
}

impl<K: Ord + Clone, V: Clone + PartialEq> PartialEq for Grown<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.whole() == other.whole()
    }
}

impl<K: Ord + Clone, V: Clone + Eq> Eq for Grown<K, V> {}

impl<K: Ord + Clone + Serialize, V: Clone + Serialize> Serialize for Grown<K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.whole().serialize(serializer)
    }
}

impl<'de, K: Ord + Deserialize<'de>, V: Deserialize<'de>> Deserialize<'de> for Grown<K, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self { old: Arc::new(BTreeMap::deserialize(deserializer)?), new: BTreeMap::new() })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

        /// It is a map, and what was copied before stays as it was.
        #[test]
        fn it_is_a_map(entries in proptest::collection::vec((0..3000_u32, any::<u8>()), 0..4000), at in 0..4000_usize) {
            let (mut grown, mut plain) = (Grown::default(), BTreeMap::new());
            let mut copied = None;
            for (number, (key, value)) in entries.iter().enumerate() {
                if number == at {
                    copied = Some((grown.clone(), plain.clone()));
                }
                grown.insert(*key, *value);
                plain.insert(*key, *value);
                prop_assert_eq!(grown.get(key), Some(value));
            }
            for (grown, plain) in [(grown, plain)].into_iter().chain(copied) {
                prop_assert!((0..3000).all(|key| grown.get(&key) == plain.get(&key)));
                let text = serde_json::to_string(&plain).unwrap();
                prop_assert_eq!(serde_json::to_string(&grown).unwrap(), text.clone());
                let read: Grown<u32, u8> = serde_json::from_str(&text).unwrap();
                prop_assert!(read == grown);
                // What is copied with each order stays small.
                prop_assert!(grown.new.len() < FEW.max(grown.old.len() / SHARE));
            }
        }
    }
}
