//! The objects that there are: what was put at which path, and what was hidden since.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::snapshot::{map, set};
use crate::ids::{DatasetId, Generation, Index, ObjectId, PutId};
use crate::names::{DatasetName, ObjectPath};

/// Which path, by number.
pub(super) type PathId = u32;

/// An object, as its put entry fixed it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Object {
    /// None if the put's call was erased.
    pub(super) path: Option<PathId>,
    /// The sealed object; none as the path.
    pub(super) id: Option<ObjectId>,
    pub(super) generation: Generation,
    pub(super) size: u64,
}

/// A path of a dataset.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Path {
    pub(super) dataset: DatasetName,
    pub(super) path: ObjectPath,
    /// The last generation number that was taken.
    pub(super) last: Generation,
    /// All generations up to this one are hidden.
    pub(super) hidden_through: Generation,
    /// The object with the highest generation, and that.
    newest: Option<(Generation, (Index, u32))>,
}

impl Path {
    /// The object that a read without a generation gets, and that a write overwrites.
    pub(super) fn visible(&self) -> Option<(Generation, (Index, u32))> {
        self.newest.filter(|(generation, _)| *generation > self.hidden_through)
    }
}

/// Every object that was ever put.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Objects {
    #[serde(with = "map")]
    by_entry: HashMap<Index, Vec<Object>>,
    paths: Vec<Path>,
    #[serde(with = "map")]
    by_path: HashMap<(DatasetId, ObjectPath), PathId>,
    #[serde(with = "set")]
    puts: HashSet<PutId>,
    #[serde(with = "set")]
    ids: HashSet<ObjectId>,
    /// Whether a put was erased: from then on a path may have more generations than are known.
    pub(super) has_gaps: bool,
}

impl Objects {
    /// Whether every path that is named is there.
    pub(super) fn fits(&self) -> bool {
        let is_there = |id: &PathId| usize::try_from(*id).is_ok_and(|id| id < self.paths.len());
        let mut named = self.by_entry.values().flatten().filter_map(|object| object.path.as_ref());
        named.all(is_there) && self.by_path.values().all(is_there)
    }

    pub(super) fn object(&self, index: Index, ordinal: u32) -> Option<Object> {
        self.by_entry.get(&index)?.get(usize::try_from(ordinal).ok()?).copied()
    }

    pub(super) fn path(&self, id: PathId) -> &Path {
        &self.paths[id as usize]
    }

    /// The number of a path, a new one if it has none.
    pub(super) fn enter_path(&mut self, dataset: DatasetId, name: &DatasetName, path: &ObjectPath) -> PathId {
        let next = PathId::try_from(self.paths.len()).unwrap_or(PathId::MAX);
        let id = *self.by_path.entry((dataset, path.clone())).or_insert(next);
        if id == next {
            self.paths.push(Path {
                dataset: name.clone(),
                path: path.clone(),
                last: Generation(0),
                hidden_through: Generation(0),
                newest: None,
            });
        }
        id
    }

    /// Keeps a put id; `false` if it was used.
    pub(super) fn use_put(&mut self, put: PutId) -> bool {
        self.puts.insert(put)
    }

    /// Keeps an object id; `false` if it was used.
    pub(super) fn use_id(&mut self, id: ObjectId) -> bool {
        self.ids.insert(id)
    }

    /// Makes an object visible: the next ordinal of entry `index`.
    pub(super) fn add(&mut self, index: Index, object: Object) {
        let objects = self.by_entry.entry(index).or_default();
        let ordinal = u32::try_from(objects.len()).unwrap_or(u32::MAX);
        objects.push(object);
        if let Some(path) = object.path {
            let path = &mut self.paths[path as usize];
            path.last = object.generation;
            path.newest = Some((object.generation, (index, ordinal)));
        }
    }

    /// Hides all generations of a path; takes a generation number.
    pub(super) fn hide(&mut self, path: PathId) {
        let path = &mut self.paths[path as usize];
        path.last = Generation(path.last.0 + 1);
        path.hidden_through = path.last;
    }
}
