//! What leaked: items to look for, by their hashes.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hasher};

use super::normal::normal;

/// The most items of a sample: about 120 bytes of memory each.
pub const MAX_ITEMS: usize = 4 << 20;
/// The longest item that is normalised, in bytes. A longer one is found as it is, and no other way.
pub const MAX_NORMAL: usize = 16 << 20;

/// An item's number in a [`Sample`].
pub type ItemNo = u32;

/// How an item was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Likeness {
    /// The same bytes, but for the end of the line.
    Exact,
    /// The same after normalising.
    Normal,
}

/// Why a sample cannot be searched for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SampleError {
    /// More than [`MAX_ITEMS`].
    #[error("a sample has at most {MAX_ITEMS} different items")]
    Items,
}

/// Items that may be found: each different one once.
///
/// Hashes are keyed by a key drawn for it, so that no sample can be made that is slow to look up. Two items that are told apart
/// by nothing but their spelling are one: it has the spellings that came.
#[derive(Debug)]
pub struct Sample {
    key: [u8; 32],
    shortest: usize,
    exact: HashMap<Hash, ItemNo, ByHash>,
    normal: HashMap<Hash, ItemNo, ByHash>,
    /// Where each item stood first: the number of its line from 1, or 0 for the whole.
    lines: Vec<u64>,
    longest: usize,
    items: u64,
    short: u64,
}

type Hash = [u8; 16];
type ByHash = BuildHasherDefault<Taken>;

/// Takes the first bytes of what is a hash already.
#[derive(Debug, Default)]
pub(crate) struct Taken(u64);

impl Hasher for Taken {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_le_bytes(*first);
        }
    }

    // The length of an array is hashed, too: it says nothing.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

impl Sample {
    /// An empty one. `key` is drawn anew for each; items whose normal form has fewer than `shortest` bytes are counted and not
    /// looked for: they stand everywhere.
    pub fn new(key: [u8; 32], shortest: usize) -> Self {
        Self {
            key,
            shortest,
            exact: HashMap::default(),
            normal: HashMap::default(),
            lines: Vec::new(),
            longest: 0,
            items: 0,
            short: 0,
        }
    }

    /// Adds an item: a line without its end, or a whole file (`line` 0). One of white space alone is none.
    ///
    /// # Errors
    /// [`SampleError`].
    pub fn add(&mut self, line: u64, bytes: &[u8]) -> Result<(), SampleError> {
        let bytes = trimmed(bytes);
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(());
        }
        self.items += 1;
        let normal = if bytes.len() <= MAX_NORMAL { normal(bytes) } else { None };
        if normal.as_ref().map_or(bytes.len(), Vec::len) < self.shortest {
            self.short += 1;
            return Ok(());
        }
        self.longest = self.longest.max(bytes.len());
        let normal = normal.map(|normal| self.hash(&normal));
        self.enter(line, self.hash(bytes), normal)
    }

    /// Adds an item that came in pieces; it is looked for as it is.
    ///
    /// # Errors
    /// [`SampleError`].
    pub fn add_long(&mut self, line: u64, long: &Long) -> Result<(), SampleError> {
        self.items += 1;
        self.enter(line, long.hash(), None)
    }

    fn enter(&mut self, line: u64, exact: Hash, normal: Option<Hash>) -> Result<(), SampleError> {
        let known = normal.and_then(|normal| self.normal.get(&normal)).or_else(|| self.exact.get(&exact)).copied();
        let no = match known {
            Some(no) => no,
            None if self.lines.len() >= MAX_ITEMS => return Err(SampleError::Items),
            None => {
                self.lines.push(line);
                // Fewer than `MAX_ITEMS`.
                self.lines.len() as ItemNo - 1
            }
        };
        if let Some(normal) = normal {
            self.normal.insert(normal, no);
        }
        if let Entry::Vacant(place) = self.exact.entry(exact) {
            place.insert(no);
        }
        Ok(())
    }

    /// Looks for an item: a line without its end, or a whole object.
    pub fn find(&self, bytes: &[u8]) -> Option<(ItemNo, Likeness)> {
        let bytes = trimmed(bytes);
        if bytes.is_empty() {
            return None;
        }
        if let Some(no) = self.exact.get(&self.hash(bytes)) {
            return Some((*no, Likeness::Exact));
        }
        if bytes.len() > MAX_NORMAL || bytes.len() / 64 > self.longest {
            // What is so much longer than any item has no other spelling of one that a writer would choose.
            return None;
        }
        let normal = normal(bytes)?;
        self.normal.get(&self.hash(&normal)).map(|no| (*no, Likeness::Normal))
    }

    /// Begins to look for an item that comes in pieces; it is found as it is or not at all.
    pub fn long(&self) -> Long {
        let empty = blake3::Hasher::new_keyed(&self.key);
        Long { all: empty.clone(), ended: empty, size: 0, end: 0 }
    }

    /// Ends it.
    pub fn find_long(&self, long: &Long) -> Option<(ItemNo, Likeness)> {
        self.exact.get(&long.hash()).map(|no| (*no, Likeness::Exact))
    }

    fn hash(&self, bytes: &[u8]) -> Hash {
        cut(&blake3::keyed_hash(&self.key, bytes))
    }

    /// How many different items are looked for.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there is nothing to look for.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// How many items were added, equal ones and short ones among them.
    pub fn items(&self) -> u64 {
        self.items
    }

    /// How many of them were too short to look for.
    pub fn short(&self) -> u64 {
        self.short
    }

    /// Where an item stood first: the number of its line from 1, or 0 for the whole.
    pub fn line(&self, item: ItemNo) -> Option<u64> {
        self.lines.get(usize::try_from(item).ok()?).copied()
    }
}

/// An item that comes in pieces.
#[derive(Debug)]
pub struct Long {
    all: blake3::Hasher,
    /// As of the last byte that ends no line: what comes after it counts only if something follows.
    ended: blake3::Hasher,
    /// How many bytes came, and how many of them until then.
    size: u64,
    end: u64,
}

impl Long {
    /// The next piece.
    pub fn feed(&mut self, piece: &[u8]) {
        let (body, ends) = piece.split_at(trimmed(piece).len());
        if !body.is_empty() {
            self.all.update(body);
            self.ended = self.all.clone();
            self.end = self.size + body.len() as u64;
        }
        self.all.update(ends);
        self.size += piece.len() as u64;
    }

    /// How many bytes it has, without the ends of lines at its end.
    pub fn len(&self) -> u64 {
        self.end
    }

    /// Whether nothing came but ends of lines.
    pub fn is_empty(&self) -> bool {
        self.end == 0
    }

    fn hash(&self) -> Hash {
        cut(&self.ended.finalize())
    }
}

fn cut(hash: &blake3::Hash) -> Hash {
    let mut short = [0; 16];
    short.copy_from_slice(&hash.as_bytes()[..16]);
    short
}

/// Without the ends of lines at its end.
pub(super) fn trimmed(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r')).map_or(0, |last| last + 1);
    &bytes[..end]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample(items: &[&str]) -> Sample {
        let mut sample = Sample::new([7; 32], 4);
        (1..).zip(items).for_each(|(line, item)| sample.add(line, item.as_bytes()).unwrap());
        sample
    }

    #[test]
    fn items_are_found_in_any_spelling() {
        let sample = sample(&[r#"{"a":1,"b":"two"}"#, "some words", "{}", "some  words", "", "other words\r\n"]);
        assert_eq!((sample.items(), sample.short(), sample.len()), (5, 1, 3));
        let find = |text: &str| sample.find(text.as_bytes());
        assert_eq!(find("{\"a\":1,\"b\":\"two\"}\n"), Some((0, Likeness::Exact)));
        assert_eq!(find(r#"{ "b":"two", "a":1.0 }"#), Some((0, Likeness::Normal)));
        assert_eq!(find("some words"), Some((1, Likeness::Exact)));
        assert_eq!(find("some  words"), Some((1, Likeness::Exact)), "a spelling that came");
        assert_eq!(find("some   words"), Some((1, Likeness::Normal)));
        assert_eq!(find("other words"), Some((2, Likeness::Exact)));
        assert_eq!((find("{}"), find(""), find("\n"), find("Some words")), (None, None, None, None));
        assert_eq!((sample.line(1), sample.line(3)), (Some(2), None));
    }

    #[test]
    fn bytes_that_are_no_text_are_found_as_they_are() {
        let mut sample = Sample::new([7; 32], 4);
        sample.add(0, &[0xff, 0, 1, 2, 3]).unwrap();
        assert_eq!(sample.find(&[0xff, 0, 1, 2, 3]), Some((0, Likeness::Exact)));
        assert_eq!(sample.find(&[0xff, 0, 1, 2]), None);
    }

    proptest! {
        #[test]
        fn an_item_in_pieces_is_the_item(bytes in "[ab\r\n]{0,40}", cuts in prop::collection::vec(0..40_usize, 0..5)) {
            let sample = sample(&["ab\nab", "aaaa", &bytes]);
            let mut long = sample.long();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            cuts.windows(2).for_each(|cut| long.feed(&bytes.as_bytes()[cut[0]..cut[1]]));
            let found = sample.find_long(&long);
            let whole = sample.find(bytes.as_bytes()).filter(|(_, likeness)| *likeness == Likeness::Exact);
            prop_assert_eq!(found, whole);
        }
    }
}
