//! What somebody had: the segments whose keys were released to them, and what became of the objects since.
//!
//! ```text
//! orders ─► Roster: who is whose ─┐
//!            Question ────────────┴─► Fold ◄─ puts, deletes, releases, in order ─► Exposure
//! ```
//!
//! A release counts from its entry on, whether its bytes arrived or not, and a repeat counts again: this is what can have leaked.
//! What somebody wrote they had too, and is told apart from what they read.
//!
//! What was erased is never guessed. An object whose put was erased has no name, and is inside of any dataset and prefix that is
//! asked for. A release under a grant whose order was erased, and which may so have been theirs, is counted as unattributed.
//!
//! Memory holds the objects that there are (about 100 bytes each, and the paths that are asked for), what was exposed, and the
//! calls to put of the last 15 minutes of the ledger's time; not the releases, however many there are.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;

use super::ranges::Ranges;
use super::roster::{GrantStanding, Moment, Roster, Theirs};
use super::scope::{Coverage, meet};
use crate::call::Work;
use crate::grant::{Action, Holder, Part, Prefix};
use crate::identity::Fingerprint;
use crate::ids::{CallDigest, Generation, GrantId, Index, Millis, SegmentRange, SessionId, VendorId};
use crate::ledger::{Entry, Event, ObjectRef, Private, PutFact, Role};
use crate::names::{DatasetName, ObjectPath, VendorName};

/// How long a call is remembered after its last entry, in milliseconds: after that it is over for good.
const CALL_LIFE: u64 = 15 * 60 * 1000;

/// Whose exposure, to what, and when; all that is given must hold, and what is not given is everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Question {
    /// A vendor: its keys, those that it has and had, and whoever acts under a grant of theirs or one delegated from it.
    pub vendor: Option<VendorName>,
    /// A key.
    pub key: Option<Fingerprint>,
    /// A grant, and those delegated from it.
    pub grant: Option<GrantId>,
    /// A session.
    pub session: Option<SessionId>,
    /// A dataset.
    pub dataset: Option<DatasetName>,
    /// A prefix, in the dataset or in any.
    pub prefix: Option<Prefix>,
    /// No release before this time.
    pub since: Option<Millis>,
    /// No release at or after this time.
    pub until: Option<Millis>,
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ExposureError {
    /// No order that can be read names such a vendor.
    #[error("no such vendor: {0}")]
    NoVendor(VendorName),
    /// The entries are no ledger's.
    #[error("entry {0} does not fit those before it ({1}): verify the ledger before anything in it is believed")]
    Broken(Index, &'static str),
}

/// What became of an object since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// It is what a reader of its path gets.
    Current,
    /// A newer generation stands at its path, since then. It can still be asked for by its generation.
    Overwritten(Moment),
    /// It was deleted, or its dataset was.
    Deleted(Moment),
    /// Its path was erased, and with it what happened there; if it was deleted itself, it says so.
    Unknown,
}

/// An object that was exposed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exposed {
    /// The entry that put it.
    pub put: Index,
    /// Its place in there.
    pub ordinal: u32,
    /// Where it lies; `None` if that was erased.
    pub name: Option<(DatasetName, ObjectPath)>,
    /// Which writing of its path.
    pub generation: Generation,
    /// Its plaintext's size in bytes.
    pub size: u64,
    /// The segments that were released.
    pub read: Ranges,
    /// Plaintext bytes of these, each once.
    pub bytes: u64,
    /// Plaintext bytes released, each as often as it was.
    pub bytes_total: u64,
    /// In how many entries.
    pub releases: u64,
    /// The first of them; `None` if it was only written.
    pub first: Option<Moment>,
    /// The last of them.
    pub last: Option<Moment>,
    /// To whom.
    pub keys: BTreeSet<Fingerprint>,
    /// Under which grants: the ones that the calls named.
    pub grants: BTreeSet<GrantId>,
    /// From which addresses, without ports, as far as that was not erased.
    pub sources: BTreeSet<String>,
    /// Releases whose source was erased.
    pub sources_erased: u64,
    /// The key that wrote it, if that was one of those asked for.
    pub written: Option<Fingerprint>,
    /// What became of it.
    pub since: Since,
}

/// What one key was released.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByKey {
    /// The key.
    pub key: Fingerprint,
    /// The vendor that it belongs or belonged to.
    pub vendor: Option<VendorId>,
    /// Entries.
    pub releases: u64,
    /// Plaintext bytes, each as often as it was released.
    pub bytes_total: u64,
    /// The first entry.
    pub first: Moment,
    /// The last entry.
    pub last: Moment,
}

/// What the grants of those who are asked about let them read while they lived: the bound that the exposure stays under.
/// Suspensions, freezes and limits are not taken off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct InScope {
    /// Objects, whatever was released of them.
    pub objects: u64,
    /// Of these, objects of which nothing was released.
    pub unreleased: u64,
    /// Plaintext bytes of those.
    pub unreleased_bytes: u64,
    /// Objects whose path was erased: in scope or not.
    pub unnamed: u64,
    /// Grants whose order was erased: theirs or not, over whatever there was.
    pub erased_grants: u64,
}

/// A grant that is not over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenGrant {
    /// The grant.
    pub id: GrantId,
    /// Who holds it.
    pub holder: Holder,
    /// When it ends.
    pub expires: Millis,
    /// How it stands: anything but ended.
    pub standing: GrantStanding,
}

/// Sums over all objects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    /// Objects of which something was released.
    pub objects: u64,
    /// Plaintext bytes of these, each once.
    pub bytes: u64,
    /// Plaintext bytes released, each as often as it was.
    pub bytes_total: u64,
    /// Entries that released something of it; repeats among them.
    pub releases: u64,
    /// Of these, repeats: for requests that had the keys before.
    pub repeats: u64,
    /// Objects that they wrote, released to them or not.
    pub written: u64,
    /// Plaintext bytes of these.
    pub written_bytes: u64,
    /// Objects whose path was erased.
    pub unnamed: u64,
    /// Entries whose source was erased.
    pub sources_erased: u64,
    /// Of the objects of which something was released, those that were overwritten since.
    pub overwritten: u64,
    /// And those that were deleted since.
    pub deleted: u64,
    /// The first release.
    pub first: Option<Moment>,
    /// The last release.
    pub last: Option<Moment>,
    /// Entries of releases under grants whose order was erased: theirs or not. They are in no other number.
    pub unattributed: u64,
    /// Plaintext bytes of those.
    pub unattributed_bytes: u64,
    /// Orders other than grants that were erased: keys of a vendor may be among them.
    pub erased_orders: u64,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exposure {
    /// How many entries it stands on: it is of the entries below.
    pub size: Index,
    /// The moment for which grants are told to be live.
    pub now: Millis,
    /// Sums.
    pub totals: Totals,
    /// By key, most bytes first.
    pub keys: Vec<ByKey>,
    /// From which addresses anything was released.
    pub sources: BTreeSet<String>,
    /// What was in scope; `None` if the question is about a session or an admin's key.
    pub scope: Option<InScope>,
    /// Their grants that are not over, those that end last first; only those over the dataset and prefix asked for.
    pub grants: Vec<OpenGrant>,
    /// Object by object, by dataset, path and generation.
    pub objects: Vec<Exposed>,
}

/// An object's place in [`Fold::objects`].
type ObjectNo = u32;
/// A path's place in [`Fold::paths`].
type PathNo = u32;

/// Where an object lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Under a path that is asked for.
    At(PathNo),
    /// Elsewhere.
    Outside,
    /// That was erased.
    Erased,
}

#[derive(Debug)]
struct Object {
    put: Moment,
    ordinal: u32,
    generation: Generation,
    size: u64,
    place: Place,
    /// The one that overwrote it.
    next: Option<ObjectNo>,
    /// The entry that deleted it by itself, where no path is known.
    deleted: Option<Moment>,
}

#[derive(Debug)]
struct Path {
    name: (DatasetName, Arc<ObjectPath>),
    newest: Option<ObjectNo>,
    /// The entries that deleted all that was there.
    deleted: Vec<Moment>,
}

/// Who was released something: told apart no further.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Party {
    key: Fingerprint,
    grant: Option<GrantId>,
    source: Option<Arc<str>>,
}

#[derive(Debug, Default)]
struct Found {
    read: Ranges,
    bytes_total: u64,
    releases: u64,
    first: Option<Moment>,
    last: Option<Moment>,
    /// Places in [`Fold::parties`], sorted.
    parties: Vec<u32>,
    sources_erased: u64,
    written: Option<Fingerprint>,
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
    roster: Roster,
    question: Question,
    vendor: Option<VendorId>,
    /// Grants that are asked about; with no vendor, all.
    theirs: HashSet<GrantId>,
    /// Grants that may be.
    perhaps: HashSet<GrantId>,
    objects: Vec<Object>,
    by_entry: HashMap<Index, ObjectNo>,
    paths: Vec<Path>,
    by_path: HashMap<DatasetName, HashMap<Arc<ObjectPath>, PathNo>>,
    calls: HashMap<CallDigest, PutCall>,
    /// Calls are forgotten when there are so many.
    sweep_at: usize,
    parties: Vec<Party>,
    by_party: HashMap<Party, u32>,
    found: HashMap<ObjectNo, Found>,
    keys: BTreeMap<Fingerprint, ByKey>,
    totals: Totals,
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
