//! What grants to read covered, and when: looked up by path, however many grants there are.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::grant::{Action, Part, Prefix, Terms};
use crate::names::{DatasetName, ObjectPath};

/// Times, both inclusive, in milliseconds.
pub(super) type Span = (u64, u64);

/// Places by dataset, each with the times at which some grant covered it.
#[derive(Debug, Default)]
pub(super) struct Coverage(BTreeMap<DatasetName, Places>);

#[derive(Debug, Default)]
struct Places {
    /// By the text that all paths in them start with: folders and stems.
    starts: HashMap<String, Vec<Span>>,
    /// The lengths of these texts.
    lengths: BTreeSet<usize>,
    exact: HashMap<ObjectPath, Vec<Span>>,
}

impl Coverage {
    /// Adds what a grant lets read while it lives.
    pub(super) fn add(&mut self, terms: &Terms, life: Span) {
        for scope in terms.scopes.iter().filter(|scope| scope.actions.contains(&Action::Read)) {
            // What a snapshot holds is not in the ledger yet: no grant names one.
            let Part::Prefix(prefix) = &scope.part else { continue };
            let places = self.0.entry(scope.dataset.clone()).or_default();
            let spans = match prefix {
                Prefix::Folder(start) | Prefix::Stem(start) => {
                    places.lengths.insert(start.len());
                    places.starts.entry(start.clone()).or_default()
                }
                Prefix::Exact(path) => places.exact.entry(path.clone()).or_default(),
            };
            join(spans, life);
        }
    }

    /// Whether a grant covered this path at some moment of `span`.
    pub(super) fn covers(&self, dataset: &DatasetName, path: &ObjectPath, span: Span) -> bool {
        let Some(places) = self.0.get(dataset) else { return false };
        let meets = |spans: &Vec<Span>| spans.iter().any(|had| had.0 <= span.1 && span.0 <= had.1);
        let text = path.as_str();
        places.exact.get(path).is_some_and(meets)
            || places
                .lengths
                .iter()
                .filter_map(|length| text.get(..*length))
                .any(|start| places.starts.get(start).is_some_and(meets))
    }
}

/// Adds a span to spans that do not meet.
fn join(spans: &mut Vec<Span>, span: Span) {
    let (mut from, mut to) = span;
    spans.retain(|had| {
        let apart = had.1.saturating_add(1) < from || to.saturating_add(1) < had.0;
        if !apart {
            (from, to) = (from.min(had.0), to.max(had.1));
        }
        apart
    });
    spans.push((from, to));
}

/// Whether two prefixes have a path in common that could be.
pub(super) fn meet(one: &Prefix, other: &Prefix) -> bool {
    match (one, other) {
        (Prefix::Exact(path), prefix) | (prefix, Prefix::Exact(path)) => prefix.covers(path),
        _ => one.start().starts_with(other.start()) || other.start().starts_with(one.start()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_that_meet_become_one() {
        let mut spans = Vec::new();
        for span in [(10, 20), (40, 50), (0, 5), (21, 30), (29, 39)] {
            join(&mut spans, span);
        }
        spans.sort_unstable();
        assert_eq!(spans, [(0, 5), (10, 50)]);
    }

    #[test]
    fn prefixes_meet_where_a_path_lies_in_both() {
        let meet = |one: &str, other: &str| meet(&one.parse().unwrap(), &other.parse().unwrap());
        assert!(meet("", "a/") && meet("a/", "a/b/") && meet("a/b*", "a/") && meet("a/", "a/1") && meet("a", "a"));
        assert!(!meet("a/", "b/") && !meet("a", "a/") && !meet("a/b*", "a/c/") && !meet("a/1", "a/2"));
    }
}
