//! What is taken in: puts, deletes and releases, in the order of the ledger.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::{ByDay, ByKey, ExposureError, Question, Run, Totals};
use crate::audit::charges::Charges;
use crate::audit::evidence::Done;
use crate::audit::naming::PutCalls;
use crate::audit::ranges::Ranges;
use crate::audit::roster::{Moment, Roster, Theirs};
use crate::audit::whose::{Act, Stranger, Whose};
use crate::call::Work;
use crate::identity::Fingerprint;
use crate::ids::{Generation, GrantId, Index, Millis, SegmentRange};
use crate::ledger::extract::{Needs, Step, steps};
use crate::ledger::facts::{Facts, Release};
use crate::ledger::{Entry, Event, Private, PutFact};
use crate::names::{DatasetName, ObjectPath};

/// Releases that are further apart than this, in milliseconds, are two runs.
const PAUSE: u64 = 15 * 60 * 1000;
const DAY: u64 = 24 * 60 * 60 * 1000;

/// An object's place in [`Fold::objects`].
pub(in crate::audit) type ObjectNo = u32;
/// A path's place in [`Fold::paths`].
pub(in crate::audit) type PathNo = u32;

/// Where an object lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::audit) enum Place {
    /// Under a path that is asked for.
    At(PathNo),
    /// Elsewhere.
    Outside,
    /// That was erased.
    Erased,
}

#[derive(Debug)]
pub(in crate::audit) struct Object {
    pub(in crate::audit) put: Moment,
    pub(in crate::audit) ordinal: u32,
    pub(in crate::audit) generation: Generation,
    pub(in crate::audit) size: u64,
    pub(in crate::audit) place: Place,
    /// Whether it is what was there before, under a new key.
    pub(in crate::audit) rekeyed: bool,
    /// The one that overwrote it.
    pub(in crate::audit) next: Option<ObjectNo>,
    /// The entry that deleted it by itself, where no path is known.
    pub(in crate::audit) deleted: Option<Moment>,
}

#[derive(Debug)]
pub(in crate::audit) struct Path {
    pub(in crate::audit) name: (DatasetName, Arc<ObjectPath>),
    pub(in crate::audit) newest: Option<ObjectNo>,
    /// The entries that deleted all that was there.
    pub(in crate::audit) deleted: Vec<Moment>,
}

/// Who was released something: told apart no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::audit) struct Party {
    pub(in crate::audit) key: Fingerprint,
    pub(in crate::audit) grant: Option<GrantId>,
    /// A place in [`Fold::sources`].
    pub(in crate::audit) source: Option<u32>,
    /// What its session claimed, as [`Whose`] numbers it.
    pub(in crate::audit) claims: Option<u32>,
}

#[derive(Debug, Default)]
pub(in crate::audit) struct Found {
    pub(in crate::audit) read: Ranges,
    pub(in crate::audit) bytes_total: u64,
    pub(in crate::audit) releases: u64,
    pub(in crate::audit) first: Option<Moment>,
    pub(in crate::audit) last: Option<Moment>,
    /// Places in [`Fold::parties`], sorted.
    pub(in crate::audit) parties: Vec<u32>,
    pub(in crate::audit) sources_erased: u64,
    pub(in crate::audit) written: Option<Fingerprint>,
}

/// The fold over puts, deletes and releases.
#[derive(Debug)]
pub struct Fold {
    pub(in crate::audit) roster: Roster,
    pub(in crate::audit) question: Question,
    pub(in crate::audit) whose: Whose,
    pub(in crate::audit) charges: Charges,
    pub(in crate::audit) objects: Vec<Object>,
    by_entry: HashMap<Index, ObjectNo>,
    pub(in crate::audit) paths: Vec<Path>,
    by_path: HashMap<DatasetName, HashMap<Arc<ObjectPath>, PathNo>>,
    calls: PutCalls,
    pub(in crate::audit) parties: Vec<Party>,
    by_party: HashMap<Party, u32>,
    pub(in crate::audit) sources: Vec<Arc<str>>,
    by_source: HashMap<Arc<str>, u32>,
    pub(in crate::audit) found: HashMap<ObjectNo, Found>,
    pub(in crate::audit) keys: BTreeMap<Fingerprint, ByKey>,
    pub(in crate::audit) totals: Totals,
    pub(in crate::audit) days: BTreeMap<(u64, Fingerprint), ByDay>,
    pub(in crate::audit) runs: Vec<Run>,
    /// The newest run of each key.
    running: HashMap<Fingerprint, usize>,
    /// What evidence is made of, where it is asked for.
    pub(in crate::audit) done: Option<Done>,
    next: Index,
}

impl Fold {
    /// The events that are looked at; all others may be left out.
    pub const EVENTS: [Event; 7] = [
        Event::SessionOpen,
        Event::ObjectPut,
        Event::ObjectRekeyed,
        Event::ObjectDeleted,
        Event::Release,
        Event::ReleaseRepeat,
        Event::Denied,
    ];

    /// A fold that answers `question`; `roster` is of the same ledger's orders, all of them.
    ///
    /// # Errors
    /// [`ExposureError::NoVendor`].
    pub fn new(roster: Roster, question: Question) -> Result<Self, ExposureError> {
        let whose = Whose::new(&roster, &question)?;
        let charges = Charges::of(&roster, &whose.grants(&roster).unwrap_or_default());
        let totals = Totals { erased_orders: roster.erased(), ..Totals::default() };
        Ok(Self {
            roster,
            question,
            whose,
            charges,
            objects: Vec::new(),
            by_entry: HashMap::new(),
            paths: Vec::new(),
            by_path: HashMap::new(),
            calls: PutCalls::default(),
            parties: Vec::new(),
            by_party: HashMap::new(),
            sources: Vec::new(),
            by_source: HashMap::new(),
            found: HashMap::new(),
            keys: BTreeMap::new(),
            totals,
            days: BTreeMap::new(),
            runs: Vec::new(),
            running: HashMap::new(),
            done: None,
            next: Index(0),
        })
    }

    /// Remembers what evidence is made of, too.
    #[must_use]
    pub fn for_evidence(mut self) -> Self {
        self.done = Some(Done::default());
        self
    }

    /// Who is asked about and that no order tells of.
    pub fn stranger(&self) -> Option<Stranger> {
        self.whose.stranger(&self.roster)
    }

    /// Who is asked about and that no entry told of, now that all were fed.
    pub fn missing(&self) -> Option<Stranger> {
        self.whose.missing_session()
    }

    /// What has to be fed to it: with all else it comes to the same.
    pub fn needs(&self) -> Needs {
        let (doers, is_whole) = self.whose.doers(&self.roster, self.charges.watched());
        let mut needs = Needs { events: BTreeSet::new(), own: BTreeSet::new(), doers };
        needs.events.extend([Event::ObjectPut, Event::ObjectRekeyed, Event::ObjectDeleted]);
        needs.own.insert(Event::Denied);
        // What was claimed counts for the releases of a session alone, which is of one key. Whether a session that is asked about was
        // opened at all, by anybody, all openings tell.
        let are_own = is_whole && self.question.session.is_none();
        let opened = if are_own { &mut needs.own } else { &mut needs.events };
        opened.insert(Event::SessionOpen);
        needs
    }

    /// Takes in the next entry, with its private part unless that was erased.
    ///
    /// # Errors
    /// [`ExposureError::Broken`]: it cannot stand there in any ledger.
    pub fn feed(&mut self, entry: &Entry, private: Option<&Private>) -> Result<(), ExposureError> {
        if matches!(entry.event, Event::Release | Event::ReleaseRepeat) {
            let facts = Facts::of_entry(entry, private);
            return facts.releases().try_for_each(|release| self.feed_release(&release));
        }
        self.step(entry.index)?;
        self.charges.feed(entry);
        let act = Act::of(entry);
        if let Some(done) = &mut self.done {
            match entry.event {
                Event::SessionOpen => done.open(entry),
                Event::ObjectDeleted => done.delete(entry),
                _ => {}
            }
        }
        if entry.event != Event::SessionOpen {
            self.remember(&act);
        }
        match entry.event {
            Event::SessionOpen => self.whose.open(entry, private),
            Event::Denied => self.denied(entry, private),
            Event::ObjectPut | Event::ObjectRekeyed => self.put(entry, private)?,
            Event::ObjectDeleted => self.delete(entry)?,
            _ => {}
        }
        Ok(())
    }

    /// Takes in the next release.
    ///
    /// # Errors
    /// As [`Fold::feed`].
    pub fn feed_release(&mut self, release: &Release<'_>) -> Result<(), ExposureError> {
        self.step(release.index)?;
        self.charges.feed_release(release);
        self.remember(&Act::from(release));
        self.release(release)
    }

    /// Takes in releases and entries, each in their order; those of all together is what is folded.
    ///
    /// # Errors
    /// As [`Fold::feed`].
    pub fn feed_extract(&mut self, facts: &Facts, entries: &[(Entry, Option<Private>)]) -> Result<(), ExposureError> {
        steps(facts, entries).try_for_each(|step| match step {
            Step::Release(release) => self.feed_release(&release),
            Step::Entry(entry, private) => self.feed(entry, private),
        })
    }

    fn step(&mut self, index: Index) -> Result<(), ExposureError> {
        if index < self.next {
            return Err(ExposureError::Broken(index, "its index was there before"));
        }
        self.next = Index(index.0.saturating_add(1));
        Ok(())
    }

    fn remember(&mut self, act: &Act<'_>) {
        if let Some(done) = &mut self.done
            && self.whose.is_theirs(&self.roster, act) == Theirs::Yes
        {
            done.add(act, self.whose.is_in_time(act.time));
        }
    }

    /// A refusal, by whoever asked; where a place is asked for, of a call that named something there.
    fn denied(&mut self, entry: &Entry, private: Option<&Private>) {
        if self.whose.is_theirs(&self.roster, &Act::of(entry)) != Theirs::Yes || !self.whose.is_in_time(entry.time) {
            return;
        }
        let anywhere = self.question.dataset.is_none() && self.question.prefix.is_none();
        let call = private.and_then(|private| private.call.as_ref());
        let inside = || call.is_some_and(|call| self.names_asked_for(&call.call.work));
        if anywhere || inside() {
            self.totals.denied += entry.count;
        }
    }

    fn names_asked_for(&self, work: &Work) -> bool {
        let inside = |dataset: &DatasetName, path: Option<&ObjectPath>| {
            path.is_some_and(|path| self.is_asked_for(dataset, path))
        };
        match work {
            Work::Get(items) | Work::ReleaseKeys(items) => {
                items.iter().any(|item| inside(&item.dataset, item.path.as_ref()))
            }
            Work::Put(items) => items.iter().any(|item| inside(&item.dataset, Some(&item.path))),
            Work::Delete(items) => items.iter().any(|item| inside(&item.dataset, Some(&item.path))),
        }
    }

    fn put(&mut self, entry: &Entry, private: Option<&Private>) -> Result<(), ExposureError> {
        let theirs = self.whose.is_theirs(&self.roster, &Act::of(entry));
        let asked_for = theirs == Theirs::Yes && self.whose.is_in_time(entry.time);
        let names = self.calls.places(entry, private);
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
            self.objects.push(Object {
                put,
                rekeyed: entry.event == Event::ObjectRekeyed,
                ordinal,
                generation,
                size,
                place,
                next: None,
                deleted: None,
            });
            if asked_for && place != Place::Outside {
                self.found.entry(no).or_default().written = Some(entry.actor.key);
            }
        }
        Ok(())
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
            let no = self.object(entry.index, part.1, part.2)?;
            let object = &mut self.objects[no as usize];
            match object.place {
                Place::At(path) => self.paths[path as usize].deleted.push(Moment::of(entry)),
                Place::Erased => drop(object.deleted.get_or_insert(Moment::of(entry))),
                Place::Outside => {}
            }
        }
        Ok(())
    }

    fn release(&mut self, release: &Release<'_>) -> Result<(), ExposureError> {
        let act = Act::from(release);
        let theirs = self.whose.is_theirs(&self.roster, &act);
        if theirs == Theirs::No || !self.whose.is_in_time(release.time) {
            return Ok(());
        }
        let (mut bytes, mut parts) = (0, 0);
        for part in release.objects {
            let no = self.object(release.index, part.put, part.ordinal)?;
            if self.objects[no as usize].place != Place::Outside {
                bytes += part.bytes;
                parts += 1;
            }
        }
        if parts == 0 {
            return Ok(());
        }
        if theirs == Theirs::Unknown {
            self.totals.unattributed += 1;
            self.totals.unattributed_bytes += bytes;
            return Ok(());
        }
        let at = Moment { index: release.index, time: release.time };
        let erased = release.source.is_none();
        let source = release.source.map(|source| self.source(source));
        let claims = self.whose.claims(release.session);
        let party = Party { key: release.actor.key, grant: release.grants.first().copied(), source, claims };
        let party = self.party(party);
        for part in release.objects {
            let no = self.object(release.index, part.put, part.ordinal)?;
            if self.objects[no as usize].place == Place::Outside {
                continue;
            }
            let range = SegmentRange::new(part.segments.0, part.segments.1);
            let range = range.ok_or(ExposureError::Broken(release.index, "a range is empty"))?;
            let found = self.found.entry(no).or_default();
            found.read.add(range);
            found.bytes_total += part.bytes;
            found.releases += 1;
            found.first.get_or_insert(at);
            found.last = Some(at);
            found.sources_erased += u64::from(erased);
            if let Err(place) = found.parties.binary_search(&party) {
                found.parties.insert(place, party);
            }
        }
        self.count(release, at, bytes, erased);
        self.run(release.actor.key, at, parts, bytes);
        Ok(())
    }

    fn count(&mut self, release: &Release<'_>, at: Moment, bytes: u64, erased: bool) {
        let totals = &mut self.totals;
        totals.releases += 1;
        totals.repeats += u64::from(release.repeat);
        totals.bytes_total += bytes;
        totals.sources_erased += u64::from(erased);
        totals.first.get_or_insert(at);
        totals.last = Some(at);
        let key = release.actor.key;
        let vendor = self.roster.vendor_of(&key);
        let by_key =
            self.keys.entry(key).or_insert(ByKey { key, vendor, releases: 0, bytes_total: 0, first: at, last: at });
        by_key.releases += 1;
        by_key.bytes_total += bytes;
        by_key.last = at;
    }

    fn run(&mut self, key: Fingerprint, at: Moment, parts: u64, bytes: u64) {
        let day = at.time.0 / DAY;
        let by_day = ByDay { day: Millis(day * DAY), key, releases: 0, bytes_total: 0 };
        let by_day = self.days.entry((day, key)).or_insert(by_day);
        by_day.releases += 1;
        by_day.bytes_total += bytes;
        let going_on = self
            .running
            .get(&key)
            .copied()
            .filter(|no| self.runs.get(*no).is_some_and(|run| at.time.0.saturating_sub(run.last.time.0) <= PAUSE));
        let no = going_on.unwrap_or(self.runs.len());
        if no == self.runs.len() {
            self.runs.push(Run { key, first: at, last: at, releases: 0, parts: 0, bytes_total: 0 });
            self.running.insert(key, no);
        }
        let run = &mut self.runs[no];
        run.last = at;
        run.releases += 1;
        run.parts += parts;
        run.bytes_total += bytes;
    }

    fn party(&mut self, party: Party) -> u32 {
        // Far fewer than objects.
        let new = self.parties.len() as u32;
        let no = *self.by_party.entry(party).or_insert(new);
        if no == new {
            self.parties.push(party);
        }
        no
    }

    fn source(&mut self, source: &str) -> u32 {
        if let Some(known) = self.by_source.get(source) {
            return *known;
        }
        let (new, source) = (self.sources.len() as u32, Arc::<str>::from(source));
        self.by_source.insert(source.clone(), new);
        self.sources.push(source);
        new
    }

    /// The number of the object that entry `index` names by its put and its ordinal there.
    fn object(&self, index: Index, put: Index, ordinal: u32) -> Result<ObjectNo, ExposureError> {
        let no = self.by_entry.get(&put).and_then(|first| first.checked_add(ordinal));
        let object = no.and_then(|no| self.objects.get(no as usize));
        match (no, object) {
            (Some(no), Some(object)) if object.put.index == put => Ok(no),
            _ => Err(ExposureError::Broken(index, "it names an object that was not put")),
        }
    }

    fn is_asked_for(&self, dataset: &DatasetName, path: &ObjectPath) -> bool {
        let asked = &self.question;
        asked.dataset.as_ref().is_none_or(|name| name == dataset)
            && asked.prefix.as_ref().is_none_or(|prefix| prefix.covers(path))
    }
}

fn number(at: usize, entry: &Entry) -> Result<u32, ExposureError> {
    u32::try_from(at).map_err(|_| ExposureError::Broken(entry.index, "there are more objects than are counted"))
}
