//! What a grant allows where.

use serde::{Deserialize, Serialize};

use crate::grant::Prefix;
use crate::ids::Digest;
use crate::names::{DatasetName, ObjectPath};

/// One thing that may be done with objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// See names, sizes and generations.
    List,
    /// Have keys released.
    Read,
    /// Make new objects.
    Write,
    /// Make a new generation of an existing object; needs [`Action::Write`] beside it.
    Overwrite,
    /// Hide an object.
    Delete,
}

impl Action {
    /// Every action there is.
    pub const ALL: [Self; 5] = [Self::List, Self::Read, Self::Write, Self::Overwrite, Self::Delete];
}

/// A part of a dataset that a scope covers.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// All paths that a prefix covers.
    Prefix(Prefix),
    /// The objects of the snapshot with this hash.
    Snapshot(Digest),
}

/// Actions on a part of a dataset.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scope {
    /// What may be done: sorted, each once, at least one.
    pub actions: Vec<Action>,
    /// The dataset.
    pub dataset: DatasetName,
    /// Where in it.
    pub part: Part,
}

impl Scope {
    /// Whether `action` on `path` of `dataset` lies in it.
    pub fn covers(&self, action: Action, dataset: &DatasetName, path: &ObjectPath) -> bool {
        self.covers_place(action, dataset) && matches!(&self.part, Part::Prefix(prefix) if prefix.covers(path))
    }

    /// Whether `action` on all of `prefix` lies in it.
    pub fn covers_prefix(&self, action: Action, dataset: &DatasetName, prefix: &Prefix) -> bool {
        self.covers_place(action, dataset) && matches!(&self.part, Part::Prefix(own) if own.covers_prefix(prefix))
    }

    fn covers_place(&self, action: Action, dataset: &DatasetName) -> bool {
        self.actions.contains(&action) && self.dataset == *dataset
    }

    /// Whether some action on some path may lie in both. Of a snapshot it is not known which paths it has.
    pub fn intersects(&self, other: &Self) -> bool {
        self.dataset == other.dataset
            && self.actions.iter().any(|action| other.actions.contains(action))
            && match (&self.part, &other.part) {
                (Part::Prefix(one), Part::Prefix(another)) => one.intersects(another),
                _ => true,
            }
    }

    /// Whether the actions are sorted, each once, and not none.
    pub fn is_well_formed(&self) -> bool {
        !self.actions.is_empty() && self.actions.windows(2).all(|pair| pair[0] < pair[1])
    }

    /// Whether all of it lies in one of `outer`.
    pub fn narrows(&self, outer: &[Self]) -> bool {
        // Action by action: a child may take `read` from one scope of its parent and `write` from another.
        self.actions.iter().all(|&action| {
            outer.iter().any(|scope| {
                scope.covers_place(action, &self.dataset)
                    && match (&scope.part, &self.part) {
                        (Part::Prefix(outer), Part::Prefix(inner)) => outer.covers_prefix(inner),
                        (outer, inner) => outer == inner,
                    }
            })
        })
    }
}
