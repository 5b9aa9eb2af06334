//! Evidence about one party: the entries that an answer stands on, with what proves them, and nothing about anybody else.
//!
//! [`Selection`] says of each entry whether it belongs in, and whether its private part may be shown. What names others stays out:
//! the words of the lab's own calls unless every path in them was exposed, other vendors' entries whole.
//!
//! [`Archive`] is what an archive holds, line by line, and [`Archive::check`] proves of it all that can be proven without the rest
//! of the ledger: that each entry is in the log of the signed checkpoint, that each private part is its own, who signed what, that
//! each release was asked for, and that the sums of the report are those of the entries. That nothing was left out, a selection
//! cannot prove: an export of the whole ledger does.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::exposure::{Exposure, Question, Since};
use super::ranges::Ranges;
use super::report::Report;
use super::roster::{Roster, Theirs};
use super::whose::{Act, Whose};
use crate::call::Work;
use crate::ed25519::VerifyingKey;
use crate::identity::Fingerprint;
use crate::ids::{CallDigest, Digest, GrantId, Index, Millis, RequestId, SegmentRange, SessionId, VendorId};
use crate::ledger::extract::Needs;
use crate::ledger::facts::Release;
use crate::ledger::proof::check_inclusion;
use crate::ledger::tree::leaf_hash;
use crate::ledger::{Entry, Event, Outcome, Private, Role, about};
use crate::names::{DatasetName, ObjectPath};
use crate::order::Instruction;
use crate::origin::Origin;
use crate::sealed::SEGMENT_SIZE;

/// How much of an entry belongs into the evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// All of it.
    Whole,
    /// Its public part: the private one names what is none of the reader's business.
    Public,
    /// Nothing.
    Nothing,
}

/// What was done by those who are asked about, while a fold went by.
#[derive(Debug, Default)]
pub(super) struct Done {
    sessions: HashSet<SessionId>,
    /// Requests, each in the session that it was made in.
    requests: HashSet<(SessionId, RequestId)>,
    /// In the time that is asked for.
    counted: Vec<Index>,
    /// At another time, each with a mark of its request: a call may have begun before.
    others: Vec<(Index, u64)>,
    /// The entries that opened sessions, anybody's.
    opens: HashMap<SessionId, Index>,
    /// Deletes, anybody's, each with the entries that put what it hid.
    deletes: Vec<(Index, Box<[Index]>)>,
}

impl Done {
    pub(super) fn open(&mut self, entry: &Entry) {
        self.opens.extend(entry.session.map(|session| (session, entry.index)));
    }

    pub(super) fn delete(&mut self, entry: &Entry) {
        let puts: BTreeSet<Index> = entry.objects.iter().map(|object| object.1).collect();
        self.deletes.push((entry.index, puts.into_iter().collect()));
    }

    pub(super) fn add(&mut self, act: &Act<'_>, is_counted: bool) {
        let request = act.session.zip(act.request);
        if is_counted {
            self.sessions.extend(act.session);
            self.requests.extend(request);
            self.counted.push(act.index);
        } else if let Some(request) = request {
            self.others.push((act.index, mark(&request)));
        }
    }
}

/// What tells requests apart well enough to look at few others.
fn mark((session, request): &(SessionId, RequestId)) -> u64 {
    let first = |bytes: &[u8]| bytes.first_chunk().map_or(0, |chunk| u64::from_le_bytes(*chunk));
    first(session.as_bytes()) ^ first(request.as_bytes())
}

/// Which entries an answer stands on.
#[derive(Debug)]
pub struct Selection {
    roster: Roster,
    whose: Whose,
    vendor: Option<VendorId>,
    grants: HashSet<GrantId>,
    done: Done,
    puts: HashSet<Index>,
    paths: HashSet<(DatasetName, ObjectPath)>,
    datasets: HashSet<DatasetName>,
}

impl Selection {
    pub(super) fn new(roster: Roster, whose: Whose, exposure: &Exposure, done: Done) -> Self {
        let grants: HashSet<GrantId> = whose.grants(&roster).unwrap_or_default().into_iter().collect();
        let key = whose.worker().or(whose.key());
        let vendor = whose.vendor().or_else(|| key.and_then(|key| roster.vendor_of(&key)));
        let paths: HashSet<_> = exposure.objects.iter().filter_map(|object| object.name.clone()).collect();
        let scopes =
            grants.iter().filter_map(|id| roster.grants.get(id)?.terms.as_ref()).flat_map(|terms| &terms.scopes);
        let mut datasets: HashSet<DatasetName> = scopes.map(|scope| scope.dataset.clone()).collect();
        datasets.extend(paths.iter().map(|(dataset, _)| dataset.clone()));
        // And those that took the place of what was exposed.
        let changes = exposure.objects.iter().filter_map(|object| match object.since {
            Since::Overwritten(at) | Since::Rekeyed(at) => Some(at.index),
            _ => None,
        });
        let puts = exposure.objects.iter().map(|object| object.put).chain(changes).collect();
        Self { roster, whose, vendor, grants, done, puts, paths, datasets }
    }

    /// The events of orders that may belong in: these have to be looked through.
    pub fn orders() -> Vec<Event> {
        Roster::EVENTS.into_iter().chain([Event::PolicySet]).collect()
    }

    /// The entries that may belong in beside orders, in their order: all others need not be looked at.
    pub fn indices(&self) -> Vec<Index> {
        let Done { sessions, requests, counted, others, opens, deletes } = &self.done;
        let requests: HashSet<u64> = requests.iter().map(mark).collect();
        let others = others.iter().filter(|(_, mark)| requests.contains(mark)).map(|(index, _)| *index);
        let opens = sessions.iter().filter_map(|session| opens.get(session).copied());
        let deletes = deletes.iter().filter(|(_, puts)| puts.iter().all(|put| self.puts.contains(put)));
        let deletes = deletes.map(|(index, _)| *index);
        let all = counted.iter().copied().chain(others).chain(opens).chain(deletes).chain(self.puts.iter().copied());
        let mut all: Vec<Index> = all.collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// What has to be looked at to find releases to those who are asked about.
    pub fn needs(&self) -> Needs {
        Needs { doers: self.whose.doers(&self.roster, std::iter::empty()).0, ..Needs::default() }
    }

    /// Whether something was released to those who are asked about, at any time.
    pub fn is_theirs(&self, release: &Release<'_>) -> bool {
        self.whose.is_theirs(&self.roster, &Act::from(release)) == Theirs::Yes
    }

    /// How much of this entry belongs in.
    pub fn keep(&self, entry: &Entry, private: Option<&Private>) -> Keep {
        match self.belongs(entry, private) {
            Keep::Whole if self.names_another(entry, private) => Keep::Public,
            keep => keep,
        }
    }

    /// Whether what the lab did says that it did so in an incident about another vendor.
    fn names_another(&self, entry: &Entry, private: Option<&Private>) -> bool {
        let Some(incident) = about::incident_of(entry, private) else { return false };
        let vendor = self.roster.incidents().get(&incident).map(|incident| incident.vendor);
        vendor.is_none_or(|vendor| self.vendor != Some(vendor)) && self.theirs(entry) != Keep::Whole
    }

    fn belongs(&self, entry: &Entry, private: Option<&Private>) -> Keep {
        match entry.event {
            Event::TenantCreated | Event::AdminAdded | Event::AdminRemoved | Event::PolicySet => Keep::Whole,
            Event::SessionOpen if entry.session.is_some_and(|session| self.done.sessions.contains(&session)) => {
                Keep::Whole
            }
            Event::SessionOpen => Keep::Nothing,
            Event::Release | Event::ReleaseRepeat | Event::Denied => self.theirs(entry),
            Event::ObjectPut | Event::ObjectRekeyed | Event::ObjectDeleted if self.theirs(entry) == Keep::Whole => {
                Keep::Whole
            }
            Event::ObjectPut | Event::ObjectRekeyed if self.puts.contains(&entry.index) => self.labs(entry, private),
            Event::ObjectDeleted if entry.objects.iter().all(|object| self.puts.contains(&object.1)) => {
                self.labs(entry, private)
            }
            Event::GrantIssued | Event::GrantRenewed | Event::GrantRevoked => {
                match entry.grants.first().is_some_and(|grant| self.grants.contains(grant)) {
                    true => Keep::Whole,
                    false => Keep::Nothing,
                }
            }
            _ => self.order(entry, private),
        }
    }

    fn theirs(&self, entry: &Entry) -> Keep {
        let act = Act::of(entry);
        let counts = self.whose.is_theirs(&self.roster, &act) == Theirs::Yes && self.whose.is_in_time(entry.time);
        // The words of a call stand in its first entry, which may be of an earlier time.
        let of_request = act.session.zip(act.request).is_some_and(|request| self.done.requests.contains(&request));
        if counts || of_request { Keep::Whole } else { Keep::Nothing }
    }

    /// Of what an admin put or deleted, the words only where they name nothing else.
    fn labs(&self, entry: &Entry, private: Option<&Private>) -> Keep {
        if entry.actor.role != Role::Admin {
            return Keep::Nothing;
        }
        let is_known = |dataset: &DatasetName, path: &ObjectPath| self.paths.contains(&(dataset.clone(), path.clone()));
        let named = match private.and_then(|private| private.call.as_ref()).map(|call| &call.call.work) {
            Some(Work::Put(items)) => items.iter().all(|item| is_known(&item.dataset, &item.path)),
            Some(Work::Delete(items)) => items.iter().all(|item| is_known(&item.dataset, &item.path)),
            _ => false,
        };
        if named { Keep::Whole } else { Keep::Public }
    }

    fn order(&self, entry: &Entry, private: Option<&Private>) -> Keep {
        let Some(signed) = private.and_then(|private| private.order.as_ref()) else { return Keep::Nothing };
        let about = |vendor: &VendorId| if self.vendor == Some(*vendor) { Keep::Whole } else { Keep::Nothing };
        match &signed.order.instruction {
            Instruction::AddVendor { .. } => entry.order.map_or(Keep::Nothing, |id| about(&id.into())),
            Instruction::SuspendVendor { vendor, .. }
            | Instruction::ResumeVendor { vendor, .. }
            | Instruction::RemoveVendor { vendor }
            | Instruction::AddKey { vendor, .. }
            | Instruction::RevokeKey { vendor, .. }
            | Instruction::OpenIncident { vendor, .. } => about(vendor),
            Instruction::CloseIncident { incident, .. } => {
                self.roster.incidents().get(incident).map_or(Keep::Nothing, |incident| about(&incident.vendor))
            }
            Instruction::CreateDataset { name } | Instruction::DeleteDataset { name }
                if self.datasets.contains(name) =>
            {
                Keep::Whole
            }
            // Their notes may be about anybody.
            Instruction::FreezeDataset { name, .. } | Instruction::UnfreezeDataset { name, .. }
                if self.datasets.contains(name) =>
            {
                Keep::Public
            }
            Instruction::ShredObjects { dataset: name, .. } | Instruction::ShredDataset { name, .. }
                if self.datasets.contains(name) =>
            {
                Keep::Public
            }
            Instruction::FreezeTenant { .. } | Instruction::UnfreezeTenant { .. } | Instruction::ShredTenant { .. } => {
                Keep::Public
            }
            _ => Keep::Nothing,
        }
    }
}

/// An entry as an archive has it.
#[derive(Debug, Clone)]
pub struct Line {
    /// The exact bytes of its public part.
    pub public: Vec<u8>,
    /// The exact bytes of its private part; empty if they are not shown, or were erased.
    pub private: Vec<u8>,
    /// The proof that it is in the log: sibling hashes, from the leaf to the root.
    pub proof: Vec<Digest>,
}

/// What is wrong with an archive.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    /// An entry does not hold.
    #[error("entry {0}: {1}")]
    Entry(Index, String),
    /// A line is no entry.
    #[error("line {0} holds no entry: {1}")]
    Line(usize, String),
    /// The report says other numbers than the entries.
    #[error("the report says {what}: {said}; its entries say {found}")]
    Report {
        /// Which number.
        what: &'static str,
        /// What the report says.
        said: String,
        /// What the entries come to.
        found: String,
    },
}

/// What entries come to that were proven.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proven {
    /// Entries in the archive.
    pub entries: u64,
    /// Releases in the time that the report is about, repeats among them.
    pub releases: u64,
    /// Of these, repeats.
    pub repeats: u64,
    /// Objects of which something was released.
    pub objects: u64,
    /// Plaintext bytes of these, each once.
    pub bytes: u64,
    /// Plaintext bytes released, each as often as it was.
    pub bytes_total: u64,
    /// Signatures of orders, openings and calls that hold.
    pub signatures: u64,
    /// Releases whose session or call is not there: it was erased.
    pub unasked: u64,
}

/// What was released of one object.
#[derive(Debug, Default)]
struct Had {
    read: Ranges,
    /// By how much its last segment is shorter than the others, if that one was released.
    short: Option<(u32, u64)>,
}

/// The fold over the lines of an archive.
#[derive(Debug)]
pub struct Archive {
    origin: Origin,
    size: Index,
    root: Digest,
    since: Option<Millis>,
    until: Option<Millis>,
    next: Index,
    sessions: HashMap<SessionId, (Fingerprint, VerifyingKey)>,
    calls: HashMap<CallDigest, Work>,
    had: BTreeMap<(Index, u32), Had>,
    proven: Proven,
}

impl Archive {
    /// Of a log of this size and root, as its signed checkpoint says, and of releases in this time.
    pub fn new(origin: Origin, size: Index, root: Digest, since: Option<Millis>, until: Option<Millis>) -> Self {
        Self {
            origin,
            size,
            root,
            since,
            until,
            next: Index(0),
            sessions: HashMap::new(),
            calls: HashMap::new(),
            had: BTreeMap::new(),
            proven: Proven::default(),
        }
    }

    /// Checks the next line.
    ///
    /// # Errors
    /// What does not hold.
    pub fn check(&mut self, line: &Line) -> Result<(), EvidenceError> {
        let at = usize::try_from(self.proven.entries).unwrap_or(usize::MAX).saturating_add(1);
        let entry = Entry::from_bytes(&line.public).map_err(|error| EvidenceError::Line(at, error.to_string()))?;
        let wrong = |what: &str| EvidenceError::Entry(entry.index, what.to_owned());
        if entry.index < self.next {
            return Err(wrong("it does not come after the one before it"));
        }
        self.next = Index(entry.index.0 + 1);
        check_inclusion(leaf_hash(&line.public), entry.index.0, self.size.0, &self.root, &line.proof)
            .map_err(|_| wrong("its proof does not lead to the checkpoint's root"))?;
        self.proven.entries += 1;
        let private = match &line.private[..] {
            [] => None,
            bytes if Private::hash(bytes) != entry.private => {
                return Err(wrong("its private part is not the one whose hash it holds"));
            }
            bytes => Some(Private::from_bytes(bytes).map_err(|error| wrong(&format!("its private part is {error}")))?),
        };
        if let Some(private) = &private {
            self.signatures(&entry, private).map_err(|why| wrong(&why))?;
        }
        if matches!(entry.event, Event::Release | Event::ReleaseRepeat) {
            self.release(&entry).map_err(|why| wrong(&why))?;
        }
        Ok(())
    }

    fn signatures(&mut self, entry: &Entry, private: &Private) -> Result<(), String> {
        if let Some(order) = &private.order {
            let verified = order.clone().verify().map_err(|error| error.to_string())?;
            let is_own = entry.order == Some(verified.id()) && verified.order().ledger == self.origin;
            let is_actors = entry.outcome == Outcome::Denied || entry.actor.key == verified.issuer();
            if !is_own || !is_actors {
                return Err("the order beside it is another one's".to_owned());
            }
            self.proven.signatures += verified.signers().len() as u64;
        }
        if let Some(opening) = &private.opening {
            let session = opening.verify().map_err(|error| error.to_string())?;
            if entry.session != Some(session) || opening.key.fingerprint() != entry.actor.key {
                return Err("the opening beside it is another one's".to_owned());
            }
            self.sessions.insert(session, (entry.actor.key, opening.opening.call_key));
            self.proven.signatures += 1;
        }
        if let (Some(call), Some(session)) = (&private.call, entry.session) {
            let Some((key, call_key)) = self.sessions.get(&session) else {
                // Of a session whose opening is not shown, nothing can be said.
                return Ok(());
            };
            let digest = call.verify(&session, &self.origin, call_key).map_err(|error| error.to_string())?;
            if entry.call != Some(digest) || *key != entry.actor.key {
                return Err("the call beside it is another one's".to_owned());
            }
            self.calls.insert(digest, call.call.work.clone());
            self.proven.signatures += 1;
        }
        Ok(())
    }

    /// A release was asked for by its actor; what it released counts if it lies in the time of the report.
    fn release(&mut self, entry: &Entry) -> Result<(), String> {
        let session = entry.session.and_then(|session| self.sessions.get(&session));
        if session.is_some_and(|(key, _)| *key != entry.actor.key) {
            return Err("its session is another key's".to_owned());
        }
        match entry.call.and_then(|call| self.calls.get(&call)) {
            Some(Work::Get(items) | Work::ReleaseKeys(items)) => {
                if entry.objects.iter().any(|object| usize::try_from(object.0).map_or(true, |at| at >= items.len())) {
                    return Err("it released what its call does not ask for".to_owned());
                }
            }
            Some(_) => return Err("its call asks for no release".to_owned()),
            None => self.proven.unasked += 1,
        }
        if self.since.is_some_and(|since| entry.time < since) || self.until.is_some_and(|until| entry.time >= until) {
            return Ok(());
        }
        self.proven.releases += 1;
        self.proven.repeats += u64::from(entry.event == Event::ReleaseRepeat);
        for part in &entry.objects {
            let range = SegmentRange::new(part.3, part.4).ok_or("a range of it is empty")?;
            let had = self.had.entry((part.1, part.2)).or_default();
            had.read.add(range);
            let whole = u64::from(part.4 - part.3) * SEGMENT_SIZE as u64;
            let short = whole.checked_sub(part.5).ok_or("a part of it has more bytes than its segments")?;
            if short > 0 {
                had.short = Some((part.4 - 1, short));
            }
            self.proven.bytes_total += part.5;
        }
        Ok(())
    }

    /// What the lines came to, once all were checked; held against what the report says of each object: put index, ordinal, ranges
    /// and bytes.
    ///
    /// # Errors
    /// [`EvidenceError::Report`].
    pub fn finish(mut self, report: &Told) -> Result<Proven, EvidenceError> {
        let mut found = BTreeMap::new();
        for (object, had) in &self.had {
            let short = had.short.map_or(0, |(_, short)| short);
            let bytes = had.read.segments() * SEGMENT_SIZE as u64 - short;
            found.insert(*object, (had.read.as_slice().to_vec(), bytes));
        }
        self.proven.objects = found.len() as u64;
        self.proven.bytes = found.values().map(|(_, bytes)| bytes).sum();
        let proven = &self.proven;
        for (what, said, found) in [
            ("releases", report.releases, proven.releases),
            ("repeats", report.repeats, proven.repeats),
            ("objects", report.objects, proven.objects),
            ("bytes", report.bytes, proven.bytes),
            ("bytes_total", report.bytes_total, proven.bytes_total),
        ] {
            if said != found {
                return Err(EvidenceError::Report { what, said: said.to_string(), found: found.to_string() });
            }
        }
        if report.read != found {
            let differs = report.read.iter().find(|(object, had)| found.get(object) != Some(had));
            let (object, had) = differs.map_or((None, None), |(object, had)| (Some(object), Some(had)));
            let said = format!("{object:?}: {had:?}");
            let of_entries = object.and_then(|object| found.get(object));
            return Err(EvidenceError::Report { what: "an object", said, found: format!("{of_entries:?}") });
        }
        Ok(self.proven)
    }
}

/// What a report says that its entries must come to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// [`Proven::releases`].
    pub releases: u64,
    /// [`Proven::repeats`].
    pub repeats: u64,
    /// [`Proven::objects`].
    pub objects: u64,
    /// [`Proven::bytes`].
    pub bytes: u64,
    /// [`Proven::bytes_total`].
    pub bytes_total: u64,
    /// By put index and ordinal: the segments that were released, and their plaintext bytes.
    pub read: BTreeMap<(Index, u32), Released>,
}

/// The segments of an object that were released: each range's first, and one past its last; and their plaintext bytes.
pub type Released = (Vec<(u32, u32)>, u64);

impl Report {
    /// The report as it may be shown to others: without the folders of which nothing was released, and without the words of orders
    /// that are about nobody in particular.
    #[must_use]
    pub fn for_others(mut self) -> Self {
        self.exposure.folders.retain(|folder| folder.read_objects > 0);
        for told in self.exposure.orders.iter_mut().filter(|told| told.vendor.is_none() && told.grant.is_none()) {
            told.note = None;
        }
        let asked: Option<VendorId> = self
            .exposure
            .vendors
            .iter()
            .find(|(_, name)| Some(*name) == self.question.vendor.as_ref())
            .map(|(id, _)| *id);
        if asked.is_some() {
            self.exposure.vendors.retain(|id, _| Some(*id) == asked);
        }
        self
    }
}

impl Question {
    /// Whether evidence can be given for it: of who and when, not of where.
    pub fn is_of_somebody(&self) -> bool {
        let who = self.vendor.is_some() || self.worker.is_some() || self.key.is_some() || self.grant.is_some();
        let narrower = self.dataset.is_some() || self.prefix.is_some() || self.session.is_some();
        let claims = self.sdk.is_some() || self.host.is_some() || self.job.is_some();
        who && !narrower && !claims
    }
}
