//! What was shredded: which paths, up to which entry.
//!
//! An order to shred is one entry, however much it covers. All that was put before that entry at a path that it covers is
//! shredded, every generation; what is put there afterwards is something else. So nothing has to be listed, and whoever knows
//! the orders knows of each object whether it is shredded: the server while it still destroys keys, replay for ever.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::grant::Prefix;
use crate::ids::{DatasetId, Index};

/// The newest order to shred at each prefix, of every dataset.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shreds(BTreeMap<DatasetId, Within>);

/// Of one dataset, by what a path starts with, or is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Within {
    folders: BTreeMap<String, Index>,
    stems: BTreeMap<String, Index>,
    exact: BTreeMap<String, Index>,
}

impl Shreds {
    /// Whether nothing was ever shredded.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes in the order that entry `index` records. Orders come in the order of their entries.
    pub(super) fn add(&mut self, dataset: DatasetId, prefix: &Prefix, index: Index) {
        let within = self.0.entry(dataset).or_default();
        let kind = match prefix {
            Prefix::Folder(_) => &mut within.folders,
            Prefix::Stem(_) => &mut within.stems,
            Prefix::Exact(_) => &mut within.exact,
        };
        kind.insert(prefix.start().to_owned(), index);
    }

    /// The newest order that covers a path of this dataset, if there is one.
    pub(super) fn newest(&self, dataset: &DatasetId, path: &str) -> Option<Index> {
        let within = self.0.get(dataset)?;
        let folders = || {
            let ends = path.match_indices('/').map(|(at, _)| at + 1);
            std::iter::once(0).chain(ends).filter_map(|end| within.folders.get(&path[..end]))
        };
        let stems = || {
            let ends = path.char_indices().map(|(at, _)| at).chain([path.len()]);
            ends.filter_map(|end| within.stems.get(&path[..end]))
        };
        let folders = (!within.folders.is_empty()).then(folders).into_iter().flatten();
        let stems = (!within.stems.is_empty()).then(stems).into_iter().flatten();
        within.exact.get(path).into_iter().chain(folders).chain(stems).max().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::ObjectPath;
    use proptest::prelude::*;

    proptest! {
        /// The newest of the orders whose prefix covers the path, whatever they are.
        #[test]
        fn it_is_the_newest_that_covers(
            prefixes in proptest::collection::vec("([aé]/){0,2}[aé]{0,2}\\*?", 0..12),
            path in "([aé]/){0,2}[aé]{1,3}",
        ) {
            let (dataset, path) = (DatasetId::from_bytes([1; 16]), path.parse::<ObjectPath>().unwrap());
            let prefixes: Vec<Prefix> = prefixes.iter().filter_map(|text| text.parse().ok()).collect();
            let mut shreds = Shreds::default();
            for (index, prefix) in (1..).zip(&prefixes) {
                shreds.add(dataset, prefix, Index(index));
            }
            let expected = (1..).zip(&prefixes).filter(|(_, prefix)| prefix.covers(&path)).map(|(at, _)| Index(at)).last();
            prop_assert_eq!(shreds.newest(&dataset, path.as_str()), expected);
            prop_assert_eq!(shreds.newest(&DatasetId::from_bytes([2; 16]), path.as_str()), None);
        }
    }
}
