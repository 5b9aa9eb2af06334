//! What is taken in: puts, deletes and releases, in the order of the ledger.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;

use super::{ByKey, ExposureError, Question, Totals};
use crate::audit::ranges::Ranges;
use crate::audit::roster::{Moment, Roster, Theirs};
use crate::call::Work;
use crate::identity::Fingerprint;
use crate::ids::{CallDigest, Generation, GrantId, Index, Millis, SegmentRange, VendorId};
use crate::ledger::{Entry, Event, ObjectRef, Private, PutFact, Role};
use crate::names::{DatasetName, ObjectPath, VendorName};

/// How long a call is remembered after its last entry, in milliseconds: after that it is over for good.
const CALL_LIFE: u64 = 15 * 60 * 1000;

/// An object's place in [`Fold::objects`].
pub(super) type ObjectNo = u32;
/// A path's place in [`Fold::paths`].
pub(super) type PathNo = u32;

/// Where an object lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Under a path that is asked for.
    At(PathNo),
    /// Elsewhere.
    Outside,
    /// That was erased.
    Erased,
}

#[derive(Debug)]
pub(super) struct Object {
    pub(super) put: Moment,
    pub(super) ordinal: u32,
    pub(super) generation: Generation,
    pub(super) size: u64,
    pub(super) place: Place,
    /// The one that overwrote it.
    pub(super) next: Option<ObjectNo>,
    /// The entry that deleted it by itself, where no path is known.
    pub(super) deleted: Option<Moment>,
}

#[derive(Debug)]
pub(super) struct Path {
    pub(super) name: (DatasetName, Arc<ObjectPath>),
    pub(super) newest: Option<ObjectNo>,
    /// The entries that deleted all that was there.
    pub(super) deleted: Vec<Moment>,
}

/// Who was released something: told apart no further.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Party {
    pub(super) key: Fingerprint,
    pub(super) grant: Option<GrantId>,
    pub(super) source: Option<Arc<str>>,
}

#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) read: Ranges,
    pub(super) bytes_total: u64,
    pub(super) releases: u64,
    pub(super) first: Option<Moment>,
    pub(super) last: Option<Moment>,
    /// Places in [`Fold::parties`], sorted.
    pub(super) parties: Vec<u32>,
    pub(super) sources_erased: u64,
    pub(super) written: Option<Fingerprint>,
}

/// Places that a put's call names, by item.
#[derive(Debug)]
struct PutCall {
    items: Vec<(DatasetName, ObjectPath)>,
    last: Millis,
}

/// The fold over puts, deletes and releases.
#[derive(Debug)]
pub struct Fold {
    pub(super) roster: Roster,
    pub(super) question: Question,
    pub(super) vendor: Option<VendorId>,
    /// Grants that are asked about; with no vendor, all.
    pub(super) theirs: HashSet<GrantId>,
    /// Grants that may be.
    pub(super) perhaps: HashSet<GrantId>,
    pub(super) objects: Vec<Object>,
    by_entry: HashMap<Index, ObjectNo>,
    pub(super) paths: Vec<Path>,
    by_path: HashMap<DatasetName, HashMap<Arc<ObjectPath>, PathNo>>,
    calls: HashMap<CallDigest, PutCall>,
    /// Calls are forgotten when there are so many.
    sweep_at: usize,
    pub(super) parties: Vec<Party>,
    by_party: HashMap<Party, u32>,
    pub(super) found: HashMap<ObjectNo, Found>,
    pub(super) keys: BTreeMap<Fingerprint, ByKey>,
    pub(super) totals: Totals,
    next: Index,
}

impl Fold {
    /// The events that are looked at; all others may be left out.
    pub const EVENTS: [Event; 4] = [Event::ObjectPut, Event::ObjectDeleted, Event::Release, Event::ReleaseRepeat];

    /// A fold that answers `question`; `roster` is of the same ledger's orders, all of them.
    ///
    /// # Errors
    /// [`ExposureError::NoVendor`].
    pub fn new(roster: Roster, question: Question) -> Result<Self, ExposureError> {
        let named = |name: &VendorName| roster.vendor_named(name).ok_or_else(|| ExposureError::NoVendor(name.clone()));
        let vendor = question.vendor.as_ref().map(named).transpose()?;
        let (mut theirs, mut perhaps) = (HashSet::new(), HashSet::new());
        for id in roster.grants.keys() {
            match vendor.map_or(Theirs::Yes, |vendor| roster.is_vendors(id, vendor)) {
                Theirs::Yes => drop(theirs.insert(*id)),
                Theirs::Unknown => drop(perhaps.insert(*id)),
                Theirs::No => {}
            }
        }
        let totals = Totals { erased_orders: roster.erased(), ..Totals::default() };
        Ok(Self {
            roster,
            question,
            vendor,
            theirs,
            perhaps,
            objects: Vec::new(),
            by_entry: HashMap::new(),
            paths: Vec::new(),
            by_path: HashMap::new(),
            calls: HashMap::new(),
            sweep_at: 1024,
            parties: Vec::new(),
            by_party: HashMap::new(),
            found: HashMap::new(),
            keys: BTreeMap::new(),
            totals,
            next: Index(0),
        })
    }

    /// Takes in the next entry, with its private part unless that was erased.
    ///
    /// # Errors
    /// [`ExposureError::Broken`]: it cannot stand there in any ledger.
    pub fn feed(&mut self, entry: &Entry, private: Option<&Private>) -> Result<(), ExposureError> {
        if entry.index < self.next {
            return Err(ExposureError::Broken(entry.index, "its index was there before"));
        }
        self.next = Index(entry.index.0 + 1);
        match entry.event {
            Event::ObjectPut => self.put(entry, private),
            Event::ObjectDeleted => self.delete(entry),
            Event::Release | Event::ReleaseRepeat => self.release(entry, private),
            _ => Ok(()),
        }
    }

    fn put(&mut self, entry: &Entry, private: Option<&Private>) -> Result<(), ExposureError> {
        let asked_for = self.is_theirs(entry) == Theirs::Yes && self.is_in_time(entry.time);
        let names = self.names(entry, private);
        let first = number(self.objects.len(), entry)?;
        self.by_entry.insert(entry.index, first);
        for (ordinal, fact) in (0_u32..).zip(&entry.puts) {
            let PutFact(item, generation, size, _) = *fact;
            let no = number(self.objects.len(), entry)?;
            let name = usize::try_from(item).ok().and_then(|item| names.get(item)).cloned();
            let place = match name {
                None => Place::Erased,
                Some((dataset, path)) if self.is_asked_for(&dataset, &path) => Place::At(self.enter(no, dataset, path)),
                Some(_) => Place::Outside,
            };
            let put = Moment::of(entry);
            self.objects.push(Object { put, ordinal, generation, size, place, next: None, deleted: None });
            if asked_for && place != Place::Outside {
                self.found.entry(no).or_default().written = Some(entry.actor.key);
            }
        }
        Ok(())
    }

    /// The places that the call of a put names: from its first entry, or as remembered from there. None if that was erased.
    fn names(&mut self, entry: &Entry, private: Option<&Private>) -> Vec<(DatasetName, ObjectPath)> {
        let Some(digest) = entry.call else { return Vec::new() };
        if let Some(Work::Put(items)) = private.and_then(|private| private.call.as_ref()).map(|call| &call.call.work) {
            let items = items.iter().map(|item| (item.dataset.clone(), item.path.clone())).collect();
            self.calls.insert(digest, PutCall { items, last: entry.time });
        }
        if self.calls.len() > self.sweep_at {
            self.calls.retain(|_, call| call.last.0.saturating_add(CALL_LIFE) >= entry.time.0);
            self.sweep_at = 1024.max(2 * self.calls.len());
        }
        self.calls.get_mut(&digest).map_or_else(Vec::new, |call| {
            call.last = entry.time;
            call.items.clone()
        })
    }

    /// Enters an object at its path, where it overwrites the one before.
    fn enter(&mut self, no: ObjectNo, dataset: DatasetName, path: ObjectPath) -> PathNo {
        let paths = self.by_path.entry(dataset.clone()).or_default();
        let path_no = match paths.get(&path) {
            Some(known) => *known,
            None => {
                let path = Arc::new(path);
                // As many as there are objects at most, which are counted.
                let new = self.paths.len() as PathNo;
                paths.insert(path.clone(), new);
                self.paths.push(Path { name: (dataset, path), newest: None, deleted: Vec::new() });
                new
            }
        };
        if let Some(old) = self.paths[path_no as usize].newest.replace(no) {
            self.objects[old as usize].next = Some(no);
        }
        path_no
    }

    fn delete(&mut self, entry: &Entry) -> Result<(), ExposureError> {
        for part in &entry.objects {
            let no = self.object(entry, part)?;
            let object = &mut self.objects[no as usize];
            match object.place {
                Place::At(path) => self.paths[path as usize].deleted.push(Moment::of(entry)),
                Place::Erased => drop(object.deleted.get_or_insert(Moment::of(entry))),
                Place::Outside => {}
            }
        }
        Ok(())
    }

    fn release(&mut self, entry: &Entry, private: Option<&Private>) -> Result<(), ExposureError> {
        let theirs = self.is_theirs(entry);
        if theirs == Theirs::No || !self.is_in_time(entry.time) {
            return Ok(());
        }
        let mut bytes = 0;
        let mut inside = Vec::with_capacity(entry.objects.len());
        for part in &entry.objects {
            let no = self.object(entry, part)?;
            if self.objects[no as usize].place != Place::Outside {
                bytes += part.5;
                inside.push((no, *part));
            }
        }
        if inside.is_empty() {
            return Ok(());
        }
        if theirs == Theirs::Unknown {
            self.totals.unattributed += 1;
            self.totals.unattributed_bytes += bytes;
            return Ok(());
        }
        let at = Moment::of(entry);
        let erased = private.is_none();
        let source = private.and_then(|private| private.source.as_deref()).map(address);
        let party = self.party(Party { key: entry.actor.key, grant: entry.grants.first().copied(), source });
        for (no, ObjectRef(_, _, _, start, end, bytes)) in inside {
            let range = SegmentRange::new(start, end).ok_or(ExposureError::Broken(entry.index, "a range is empty"))?;
            let found = self.found.entry(no).or_default();
            found.read.add(range);
            found.bytes_total += bytes;
            found.releases += 1;
            found.first.get_or_insert(at);
            found.last = Some(at);
            found.sources_erased += u64::from(erased);
            if let Err(place) = found.parties.binary_search(&party) {
                found.parties.insert(place, party);
            }
        }
        self.count(entry, at, bytes, erased);
        Ok(())
    }

    fn count(&mut self, entry: &Entry, at: Moment, bytes: u64, erased: bool) {
        let totals = &mut self.totals;
        totals.releases += 1;
        totals.repeats += u64::from(entry.event == Event::ReleaseRepeat);
        totals.bytes_total += bytes;
        totals.sources_erased += u64::from(erased);
        totals.first.get_or_insert(at);
        totals.last = Some(at);
        let key = entry.actor.key;
        let vendor = self.roster.vendor_of(&key);
        let by_key =
            self.keys.entry(key).or_insert(ByKey { key, vendor, releases: 0, bytes_total: 0, first: at, last: at });
        by_key.releases += 1;
        by_key.bytes_total += bytes;
        by_key.last = at;
    }

    fn party(&mut self, party: Party) -> u32 {
        // Far fewer than objects.
        let new = self.parties.len() as u32;
        let no = *self.by_party.entry(party.clone()).or_insert(new);
        if no == new {
            self.parties.push(party);
        }
        no
    }

    fn object(&self, entry: &Entry, part: &ObjectRef) -> Result<ObjectNo, ExposureError> {
        let ObjectRef(_, put, ordinal, ..) = *part;
        let no = self.by_entry.get(&put).and_then(|first| first.checked_add(ordinal));
        let object = no.and_then(|no| self.objects.get(no as usize));
        match (no, object) {
            (Some(no), Some(object)) if object.put.index == put => Ok(no),
            _ => Err(ExposureError::Broken(entry.index, "it names an object that was not put")),
        }
    }

    /// Whether an entry is of somebody who is asked about.
    fn is_theirs(&self, entry: &Entry) -> Theirs {
        let (asked, actor) = (&self.question, &entry.actor);
        if asked.key.is_some_and(|key| key != actor.key)
            || asked.session.is_some_and(|session| entry.session != Some(session))
            || asked.grant.is_some_and(|grant| !entry.grants.contains(&grant))
        {
            return Theirs::No;
        }
        let Some(vendor) = self.vendor else { return Theirs::Yes };
        let own = actor.role == Role::Vendor(vendor) || self.roster.vendor_of(&actor.key) == Some(vendor);
        if own || entry.grants.iter().any(|grant| self.theirs.contains(grant)) {
            Theirs::Yes
        } else if entry.grants.iter().any(|grant| self.perhaps.contains(grant)) {
            Theirs::Unknown
        } else {
            Theirs::No
        }
    }

    fn is_in_time(&self, time: Millis) -> bool {
        let asked = &self.question;
        asked.since.is_none_or(|since| time >= since) && asked.until.is_none_or(|until| time < until)
    }

    fn is_asked_for(&self, dataset: &DatasetName, path: &ObjectPath) -> bool {
        let asked = &self.question;
        asked.dataset.as_ref().is_none_or(|name| name == dataset)
            && asked.prefix.as_ref().is_none_or(|prefix| prefix.covers(path))
    }
}

/// The address without its port: a caller has many ports.
fn address(source: &str) -> Arc<str> {
    match source.parse::<SocketAddr>() {
        Ok(socket) => socket.ip().to_string().into(),
        Err(_) => source.into(),
    }
}

fn number(at: usize, entry: &Entry) -> Result<u32, ExposureError> {
    u32::try_from(at).map_err(|_| ExposureError::Broken(entry.index, "there are more objects than are counted"))
}
