//! What the fold comes to.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use super::fold::{Fold, Found, Object, ObjectNo, Party, Path, Place};
use super::{ByKey, Exposed, Exposure, Folder, InScope, OpenGrant, Since};
use crate::audit::roster::{GrantStanding, Moment, Shred};
use crate::audit::scope::{Coverage, meet};
use crate::grant::{Action, Holder, Part};
use crate::identity::Fingerprint;
use crate::ids::{GrantId, Index, Millis, VendorId};
use crate::names::{DatasetName, ObjectPath, VendorName};

/// The most folders that are told one by one.
const FOLDERS: usize = 4096;

impl Fold {
    /// The answer, as of the first `size` entries of the ledger; grants are told as they stand at `now`.
    pub fn finish(mut self, size: Index, now: Millis) -> Exposure {
        self.answer(size, now)
    }

    /// The same; what is told is taken out.
    pub(in crate::audit) fn answer(&mut self, size: Index, now: Millis) -> Exposure {
        let scope = self.in_scope();
        let grants = self.open_grants(now);
        let folders = self.folders();
        let orders = self.roster.told(self.whose.vendor(), &self.grants().unwrap_or_default());
        let mut totals = std::mem::take(&mut self.totals);
        let found = std::mem::take(&mut self.found);
        let mut objects: Vec<Exposed> = found.into_iter().map(|(no, found)| self.exposed(no, found)).collect();
        objects.sort_unstable_by(|a, b| {
            let key = |object: &Exposed| (object.generation, object.put, object.ordinal);
            a.name.cmp(&b.name).then_with(|| key(a).cmp(&key(b)))
        });
        for object in &objects {
            totals.unnamed += u64::from(object.name.is_none());
            if object.written.is_some() {
                totals.written += 1;
                totals.written_bytes += object.size;
            }
            if !object.read.is_empty() {
                totals.objects += 1;
                totals.bytes += object.bytes;
                totals.overwritten += u64::from(matches!(object.since, Since::Overwritten(_)));
                totals.rekeyed += u64::from(matches!(object.since, Since::Rekeyed(_)));
                totals.deleted += u64::from(matches!(object.since, Since::Deleted(_)));
                totals.shredded += u64::from(matches!(object.since, Since::Shredded(_)));
            }
        }
        let vendors = self.vendors(&grants);
        let elsewhere = self.elsewhere(now, &objects);
        let tenant = self.roster.tenant().cloned();
        // Numbered anew: those of sessions in which nothing was released are not told.
        let told: BTreeSet<u32> = self.parties.iter().filter_map(|party| party.claims).collect();
        let claims = told.iter().filter_map(|no| self.whose.claims_of(*no).cloned()).collect();
        let renumbered: BTreeMap<u32, u32> = told.iter().copied().zip(0..).collect();
        for object in &mut objects {
            object.claims = object.claims.iter().filter_map(|no| renumbered.get(no).copied()).collect();
        }
        let (days, runs) = (std::mem::take(&mut self.days).into_values().collect(), std::mem::take(&mut self.runs));
        let mut keys: Vec<ByKey> = std::mem::take(&mut self.keys).into_values().collect();
        keys.sort_by_key(|key| (std::cmp::Reverse(key.bytes_total), key.key));
        let sources = self.parties.iter().filter_map(|party| self.source_of(party)).collect();
        Exposure {
            size,
            now,
            tenant,
            vendors,
            totals,
            keys,
            days,
            runs,
            orders,
            sources,
            claims,
            scope,
            grants,
            elsewhere,
            folders,
            objects,
        }
    }

    /// The names of the vendor that is asked about and of those whose keys and grants are told of.
    fn vendors(&self, grants: &[OpenGrant]) -> BTreeMap<VendorId, VendorName> {
        let of_grants = grants.iter().filter_map(|grant| match grant.holder {
            Holder::Vendor(id) => Some(id),
            Holder::Key(key) => self.roster.vendor_of(&key),
        });
        let of_keys = self.keys.values().filter_map(|key| key.vendor);
        let ids = self.whose.vendor().into_iter().chain(of_keys).chain(of_grants);
        ids.filter_map(|id| Some((id, self.roster.vendor_name(&id)?.clone()))).collect()
    }

    /// What there is where, and what of it was released.
    fn folders(&self) -> Vec<Folder> {
        let mut folders: BTreeMap<(&DatasetName, &str), Folder> = BTreeMap::new();
        for (no, object) in (0..).zip(&self.objects) {
            let Some((dataset, path)) = self.name(object) else { continue };
            let at = path.as_str().rfind('/').map_or(0, |slash| slash + 1);
            let folder = &path.as_str()[..at];
            let sum = folders.entry((dataset, folder)).or_insert_with(|| Folder {
                dataset: dataset.clone(),
                folder: folder.to_owned(),
                objects: 0,
                bytes: 0,
                read_objects: 0,
                read_bytes: 0,
            });
            sum.objects += 1;
            sum.bytes += object.size;
            if let Some(found) = self.found.get(&no).filter(|found| !found.read.is_empty()) {
                sum.read_objects += 1;
                sum.read_bytes += found.read.plain_bytes(object.size);
            }
        }
        let mut folders: Vec<Folder> = folders.into_values().collect();
        while folders.len() > FOLDERS && folders.iter().any(|folder| !folder.folder.is_empty()) {
            folders = shallower(folders);
        }
        folders
    }

    fn exposed(&self, no: ObjectNo, found: Found) -> Exposed {
        let object = &self.objects[no as usize];
        let parties = || found.parties.iter().map(|party| &self.parties[*party as usize]);
        Exposed {
            put: object.put.index,
            ordinal: object.ordinal,
            name: self.name(object).map(|(dataset, path)| (dataset.clone(), ObjectPath::clone(path))),
            generation: object.generation,
            size: object.size,
            bytes: found.read.plain_bytes(object.size),
            bytes_total: found.bytes_total,
            releases: found.releases,
            first: found.first,
            last: found.last,
            keys: parties().map(|party| party.key).collect(),
            grants: parties().filter_map(|party| party.grant).collect(),
            sources: parties().filter_map(|party| self.source_of(party)).collect(),
            sources_erased: found.sources_erased,
            claims: parties().filter_map(|party| party.claims).collect(),
            written: found.written,
            since: self.since(object),
            read: found.read,
        }
    }

    fn source_of(&self, party: &Party) -> Option<String> {
        party.source.map(|no| self.sources[no as usize].to_string())
    }

    pub(in crate::audit) fn name(&self, object: &Object) -> Option<&(DatasetName, Arc<ObjectPath>)> {
        match object.place {
            Place::At(path) => Some(&self.paths[path as usize].name),
            Place::Outside | Place::Erased => None,
        }
    }

    fn since(&self, object: &Object) -> Since {
        if let Some(at) = self.shredded(object) {
            return Since::Shredded(at);
        }
        match (self.deleted(object), object.next.map(|next| &self.objects[next as usize])) {
            (Some(at), _) => Since::Deleted(at),
            (None, Some(next)) if next.rekeyed => Since::Rekeyed(next.put),
            (None, Some(next)) => Since::Overwritten(next.put),
            (None, None) if object.place == Place::Erased => Since::Unknown,
            (None, None) => Since::Current,
        }
    }

    /// The first order that destroyed its keys.
    fn shredded(&self, object: &Object) -> Option<Moment> {
        let name = self.name(object);
        let covers = |shred: &&Shred| match (shred, name) {
            (Shred { dataset: None, .. }, _) => true,
            (Shred { dataset: Some(_), .. }, None) => false,
            (Shred { dataset: Some(dataset), prefix, .. }, Some((own, path))) => {
                dataset == own && prefix.as_ref().is_none_or(|prefix| prefix.covers(path))
            }
        };
        let after = self.roster.shreds.iter().filter(|shred| shred.at.index > object.put.index);
        after.filter(covers).map(|shred| shred.at).min()
    }

    /// Whether a reader may still ask for it: an older generation by its number.
    pub(in crate::audit) fn can_be_asked_for(&self, object: &Object) -> bool {
        matches!(self.since(object), Since::Current | Since::Overwritten(_) | Since::Rekeyed(_))
    }

    /// The first entry that deleted an object: by its path, or with its dataset.
    fn deleted(&self, object: &Object) -> Option<Moment> {
        let Place::At(path) = object.place else { return object.deleted };
        let Path { name: (dataset, _), deleted, .. } = &self.paths[path as usize];
        let by_path = deleted.iter().find(|at| at.index > object.put.index);
        let by_dataset = self.roster.deleted.get(dataset);
        by_path.into_iter().chain(by_dataset).min().copied()
    }

    /// The grants of those who are asked about; `None` where these are not all that let them read.
    pub(in crate::audit) fn grants(&self) -> Option<Vec<GrantId>> {
        self.whose.grants(&self.roster)
    }

    fn in_scope(&self) -> Option<InScope> {
        let grants = self.grants()?;
        let window = (
            self.question.since.unwrap_or_default().0,
            self.question.until.map_or(u64::MAX, |until| until.0.saturating_sub(1)),
        );
        let mut coverage = Coverage::default();
        for id in &grants {
            let terms = self.roster.grants.get(id).and_then(|known| known.terms.as_ref());
            if let (Some(terms), Some(life)) = (terms, self.roster.life(id)) {
                let life = (life.0.max(window.0), life.1.min(window.1));
                if life.0 <= life.1 {
                    coverage.add(terms, life);
                }
            }
        }
        let erased_grants = self.whose.erased_grants(&self.roster);
        let mut scope = InScope { erased_grants, ..InScope::default() };
        // Generations that hold under a new key what they were released or wrote: nothing that they never had.
        let mut same: HashSet<ObjectNo> = HashSet::new();
        for (no, object) in (0..).zip(&self.objects) {
            let released = self.found.get(&no).is_some_and(|found| !found.read.is_empty());
            let is_same = same.contains(&no);
            let wrote = self.found.get(&no).is_some_and(|found| found.written.is_some());
            if released || wrote || is_same {
                same.extend(object.next.filter(|next| self.objects[*next as usize].rekeyed));
            }
            if is_same && !released {
                continue;
            }
            let Some((dataset, path)) = self.name(object) else {
                scope.unnamed += u64::from(object.place == Place::Erased);
                continue;
            };
            let there = (object.put.time.0, self.deleted(object).map_or(u64::MAX, |at| at.time.0));
            if released || coverage.covers(dataset, path, there) {
                scope.objects += 1;
                if !released {
                    scope.unreleased += 1;
                    scope.unreleased_bytes += object.size;
                }
            }
        }
        Some(scope)
    }

    /// Grants that live and are not theirs, of keys that were released something: what these keys can still do.
    fn elsewhere(&self, now: Millis, objects: &[Exposed]) -> Vec<OpenGrant> {
        let theirs: BTreeSet<GrantId> = self.grants().unwrap_or_default().into_iter().collect();
        let keys: BTreeSet<Fingerprint> = objects.iter().flat_map(|object| &object.keys).copied().collect();
        let open = |id: &GrantId| {
            let terms = self.roster.grants.get(id)?.terms.as_ref()?;
            let standing = self.roster.standing(id, now)?;
            let is_of_key = matches!(terms.holder, Holder::Key(key) if keys.contains(&key));
            let is_open = is_of_key && !theirs.contains(id) && standing != GrantStanding::Ended;
            is_open.then_some(OpenGrant { id: *id, holder: terms.holder, expires: terms.expires, standing })
        };
        self.roster.grants.keys().filter_map(open).collect()
    }

    fn open_grants(&self, now: Millis) -> Vec<OpenGrant> {
        let reaches = |part: &Part| match (part, &self.question.prefix) {
            (Part::Prefix(prefix), Some(asked)) => meet(prefix, asked),
            _ => true,
        };
        let open = |id: GrantId| {
            let standing = self.roster.standing(&id, now)?;
            let terms = self.roster.grants.get(&id)?.terms.as_ref()?;
            let over = terms.scopes.iter().any(|scope| {
                scope.actions.contains(&Action::Read)
                    && self.question.dataset.as_ref().is_none_or(|asked| *asked == scope.dataset)
                    && reaches(&scope.part)
            });
            let open = OpenGrant { id, holder: terms.holder, expires: terms.expires, standing };
            (over && standing != GrantStanding::Ended).then_some(open)
        };
        let mut grants: Vec<OpenGrant> = self.grants().unwrap_or_default().into_iter().filter_map(open).collect();
        grants.sort_by_key(|grant| (std::cmp::Reverse(grant.expires), grant.id));
        grants
    }
}

/// The deepest folders, each one with the one above it.
fn shallower(folders: Vec<Folder>) -> Vec<Folder> {
    let depth = |folder: &str| folder.matches('/').count();
    let deepest = folders.iter().map(|folder| depth(&folder.folder)).max().unwrap_or(0);
    let mut fewer: BTreeMap<(DatasetName, String), Folder> = BTreeMap::new();
    for mut folder in folders {
        if depth(&folder.folder) == deepest {
            let inner = folder.folder.trim_end_matches('/');
            let end = inner.rfind('/').map_or(0, |slash| slash + 1);
            folder.folder.truncate(end);
        }
        let place = (folder.dataset.clone(), folder.folder.clone());
        match fewer.get_mut(&place) {
            None => drop(fewer.insert(place, folder)),
            Some(sum) => {
                sum.objects += folder.objects;
                sum.bytes += folder.bytes;
                sum.read_objects += folder.read_objects;
                sum.read_bytes += folder.read_bytes;
            }
        }
    }
    fewer.into_values().collect()
}
