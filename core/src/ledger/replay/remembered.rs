//! What is remembered for fifteen minutes of the ledger's time: there may be a million of it, so that every byte counts.
//!
//! Slots stand in the order in which they are to be looked at again, in pieces that are never copied, and a table says where each
//! one is, four bytes and a half for each: it knows keys by the slots themselves.

use std::collections::VecDeque;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::{BuildHasher, Hash};

use hashbrown::HashTable;

use crate::ids::Millis;
use crate::ledger::charge::is_remembered;

/// Slots of one piece.
const PIECE: usize = 1024;

/// Something that is remembered.
#[derive(Debug, Clone)]
pub(super) struct Slot<K, V> {
    pub(super) key: K,
    /// When to look whether it can be forgotten is this and 15 minutes.
    pub(super) look: Millis,
    /// The time of its newest entry.
    pub(super) newest: Millis,
    pub(super) value: V,
}

/// All of it, by keys.
pub(super) struct Remembered<K, V> {
    /// The numbers of slots, by the hashes of their keys.
    places: HashTable<u32>,
    hasher: RandomState,
    slots: Queue<Slot<K, V>>,
}

impl<K, V> Default for Remembered<K, V> {
    fn default() -> Self {
        Self { places: HashTable::new(), hasher: RandomState::new(), slots: Queue::default() }
    }
}

impl<K, V> fmt::Debug for Remembered<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} remembered", self.places.len())
    }
}

impl<K: Hash + Eq, V> Remembered<K, V> {
    pub(super) fn get(&self, key: &K) -> Option<&Slot<K, V>> {
        self.slots.get(self.place(key)?)
    }

    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut Slot<K, V>> {
        self.slots.get_mut(self.place(key)?)
    }

    fn place(&self, key: &K) -> Option<u32> {
        let is_it = |place: &u32| self.slots.get(*place).is_some_and(|slot| slot.key == *key);
        self.places.find(self.hasher.hash_one(key), is_it).copied()
    }

    /// Remembers something that is not remembered yet.
    pub(super) fn insert(&mut self, slot: Slot<K, V>) {
        let hash = self.hasher.hash_one(&slot.key);
        let place = self.slots.push(slot);
        let (slots, hasher) = (&self.slots, &self.hasher);
        let rehash = |place: &u32| slots.get(*place).map_or(0, |slot| hasher.hash_one(&slot.key));
        self.places.insert_unique(hash, place, rehash);
    }

    /// Forgets what has had no entry for 15 minutes, as `newest` says of each that may be; tells of each that went.
    pub(super) fn forget(&mut self, now: Millis, newest: impl Fn(&Slot<K, V>) -> Millis, mut went: impl FnMut(K)) {
        while let Some(slot) = self.slots.front()
            && !is_remembered(slot.look, now)
        {
            let (newest, hash, place) = (newest(slot), self.hasher.hash_one(&slot.key), self.slots.first);
            let Some(mut slot) = self.slots.pop() else { break };
            let found = self.places.find_entry(hash, |other| *other == place);
            if is_remembered(newest, now) {
                slot.look = newest;
                let place = self.slots.push(slot);
                if let Ok(mut found) = found {
                    *found.get_mut() = place;
                }
            } else {
                if let Ok(found) = found {
                    found.remove();
                }
                went(slot.key);
            }
        }
    }

    /// All of it, in the order in which it is looked at.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Slot<K, V>> {
        self.slots.pieces.iter().flatten()
    }
}

/// A queue whose items keep their numbers while others come and go.
struct Queue<T> {
    /// The first may have lost some at its beginning; all between it and the last are full.
    pieces: VecDeque<VecDeque<T>>,
    /// The number of the first item; they go round.
    first: u32,
    length: u32,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { pieces: VecDeque::new(), first: 0, length: 0 }
    }
}

impl<T> Queue<T> {
    fn push(&mut self, item: T) -> u32 {
        match self.pieces.back_mut() {
            Some(last) if last.len() < PIECE => last.push_back(item),
            _ => {
                // A small ledger's only piece grows as it must.
                let mut piece = VecDeque::with_capacity(if self.pieces.is_empty() { 1 } else { PIECE });
                piece.push_back(item);
                self.pieces.push_back(piece);
            }
        }
        let number = self.first.wrapping_add(self.length);
        self.length += 1;
        number
    }

    fn pop(&mut self) -> Option<T> {
        let piece = self.pieces.front_mut()?;
        let item = piece.pop_front();
        if piece.is_empty() {
            self.pieces.pop_front();
        }
        self.first = self.first.wrapping_add(1);
        self.length -= 1;
        item
    }

    fn front(&self) -> Option<&T> {
        self.pieces.front()?.front()
    }

    /// In which piece an item is, and where in it.
    fn at(&self, number: u32) -> Option<(usize, usize)> {
        let at = number.wrapping_sub(self.first) as usize;
        let first = self.pieces.front()?.len();
        Some(match at.checked_sub(first) {
            None => (0, at),
            Some(at) => (1 + at / PIECE, at % PIECE),
        })
    }

    fn get(&self, number: u32) -> Option<&T> {
        let (piece, at) = self.at(number)?;
        self.pieces.get(piece)?.get(at)
    }

    fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        let (piece, at) = self.at(number)?;
        self.pieces.get_mut(piece)?.get_mut(at)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::ledger::charge::REQUEST_LIFE;

    proptest! {
        #[test]
        fn items_keep_their_numbers(steps in prop::collection::vec((0_usize..3000, 0_usize..3000), 1..8), first in any::<u32>()) {
            let mut queue = Queue { first, ..Queue::default() };
            let mut model: VecDeque<(u32, usize)> = VecDeque::new();
            let mut next = 0;
            for (pushes, pops) in steps {
                for _ in 0..pushes {
                    model.push_back((queue.push(next), next));
                    next += 1;
                }
                for _ in 0..pops {
                    prop_assert_eq!(queue.pop(), model.pop_front().map(|(_, item)| item));
                }
                prop_assert_eq!(queue.front().copied(), model.front().map(|(_, item)| *item));
                for (number, item) in &model {
                    prop_assert_eq!(queue.get(*number), Some(item));
                }
                let past = queue.first.wrapping_add(queue.length);
                prop_assert_eq!(queue.get(past), None);
                prop_assert_eq!(queue.get(queue.first.wrapping_sub(1)), None);
            }
        }

        /// As a map and a queue beside it, which forget what is old in the order in which it is looked at.
        #[test]
        fn what_is_old_is_forgotten(ops in prop::collection::vec((0_u8..40, 0_u64..REQUEST_LIFE / 4), 1..200)) {
            let mut here = Remembered::default();
            let (mut map, mut times): (HashMap<u8, Millis>, VecDeque<(Millis, u8)>) = Default::default();
            let mut now = Millis(1_700_000_000_000);
            for (key, wait) in ops {
                now.0 += wait;
                let mut went = Vec::new();
                here.forget(now, |slot: &Slot<u8, u8>| slot.newest, |key| went.push(key));
                let mut gone = Vec::new();
                while let Some(&(time, key)) = times.front() && !is_remembered(time, now) {
                    times.pop_front();
                    match map[&key] {
                        newest if is_remembered(newest, now) => times.push_back((newest, key)),
                        _ => {
                            map.remove(&key);
                            gone.push(key);
                        }
                    }
                }
                prop_assert_eq!(went, gone);
                match here.get_mut(&key) {
                    Some(slot) => slot.newest = now,
                    None => here.insert(Slot { key, look: now, newest: now, value: key }),
                }
                if map.insert(key, now).is_none() {
                    times.push_back((now, key));
                }
                for key in 0..40 {
                    let slot = here.get(&key).map(|slot| (slot.value, slot.newest));
                    prop_assert_eq!(slot, map.get(&key).map(|newest| (key, *newest)));
                }
                let order: Vec<(Millis, u8)> = here.iter().map(|slot| (slot.look, slot.key)).collect();
                prop_assert_eq!(order, Vec::from(times.clone()));
            }
        }
    }
}
