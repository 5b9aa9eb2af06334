//! What the fold comes to.

use std::sync::Arc;

use super::fold::{Fold, Found, Object, ObjectNo, Path, Place};
use super::{ByKey, Exposed, Exposure, InScope, OpenGrant, Since};
use crate::audit::roster::{GrantStanding, Moment};
use crate::audit::scope::{Coverage, meet};
use crate::grant::{Action, Holder, Part};
use crate::ids::{GrantId, Index, Millis};
use crate::names::{DatasetName, ObjectPath};

impl Fold {
    /// The answer, as of the first `size` entries of the ledger; grants are told as they stand at `now`.
    pub fn finish(mut self, size: Index, now: Millis) -> Exposure {
        let scope = self.in_scope();
        let grants = self.open_grants(now);
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
                totals.deleted += u64::from(matches!(object.since, Since::Deleted(_)));
            }
        }
        let mut keys: Vec<ByKey> = self.keys.into_values().collect();
        keys.sort_by_key(|key| (std::cmp::Reverse(key.bytes_total), key.key));
        let sources = self.parties.iter().filter_map(|party| party.source.as_deref().map(str::to_owned)).collect();
        Exposure { size, now, totals, keys, sources, scope, grants, objects }
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
            sources: parties().filter_map(|party| party.source.as_deref().map(str::to_owned)).collect(),
            sources_erased: found.sources_erased,
            written: found.written,
            since: self.since(object),
            read: found.read,
        }
    }

    fn name(&self, object: &Object) -> Option<&(DatasetName, Arc<ObjectPath>)> {
        match object.place {
            Place::At(path) => Some(&self.paths[path as usize].name),
            Place::Outside | Place::Erased => None,
        }
    }

    fn since(&self, object: &Object) -> Since {
        match (self.deleted(object), object.next) {
            (Some(at), _) => Since::Deleted(at),
            (None, Some(next)) => Since::Overwritten(self.objects[next as usize].put),
            (None, None) if object.place == Place::Erased => Since::Unknown,
            (None, None) => Since::Current,
        }
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
    fn grants(&self) -> Option<Vec<GrantId>> {
        let asked = &self.question;
        if asked.session.is_some() || asked.key.is_some_and(|key| self.roster.admins.contains(&key)) {
            return None;
        }
        let holds = |id: &GrantId| {
            let holder = self.roster.grants.get(id).and_then(|known| known.terms.as_ref()).map(|terms| terms.holder);
            asked.key.is_none_or(|key| match holder {
                Some(Holder::Key(own)) => own == key,
                Some(Holder::Vendor(vendor)) => self.roster.vendor_of(&key) == Some(vendor),
                None => false,
            })
        };
        let below = |id: &GrantId| {
            asked.grant.is_none_or(|grant| self.roster.grants.get(id).is_some_and(|known| known.chain.contains(&grant)))
        };
        let mut grants: Vec<GrantId> = self.theirs.iter().filter(|id| holds(id) && below(id)).copied().collect();
        grants.sort_unstable();
        Some(grants)
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
        let is_erased = |id: &&GrantId| self.roster.grants.get(id).is_some_and(|known| known.terms.is_none());
        let erased_grants = self.theirs.iter().chain(&self.perhaps).filter(is_erased).count() as u64;
        let mut scope = InScope { erased_grants, ..InScope::default() };
        for (no, object) in (0..).zip(&self.objects) {
            let released = self.found.get(&no).is_some_and(|found| !found.read.is_empty());
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
