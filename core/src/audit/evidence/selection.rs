//! Which entries belong in, and how much of each.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::audit::exposure::{Exposure, Since};
use crate::audit::roster::{Happening, Roster, Theirs};
use crate::audit::whose::{Act, Whose};
use crate::call::Work;
use crate::identity::Fingerprint;
use crate::ids::{GrantId, IncidentId, Index, RequestId, SessionId, VendorId};
use crate::ledger::extract::Needs;
use crate::ledger::facts::Release;
use crate::ledger::{Entry, Event, Private, Role, about};
use crate::names::{DatasetName, ObjectPath};
use crate::order::Instruction;

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
pub(in crate::audit) struct Done {
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
    pub(in crate::audit) fn open(&mut self, entry: &Entry) {
        self.opens.extend(entry.session.map(|session| (session, entry.index)));
    }

    pub(in crate::audit) fn delete(&mut self, entry: &Entry) {
        let puts: BTreeSet<Index> = entry.objects.iter().map(|object| object.1).collect();
        self.deletes.push((entry.index, puts.into_iter().collect()));
    }

    pub(in crate::audit) fn add(&mut self, act: &Act<'_>, is_counted: bool) {
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
    pub(in crate::audit) fn new(roster: Roster, whose: Whose, exposure: &Exposure, done: Done) -> Self {
        let grants: HashSet<GrantId> = whose.grants(&roster).unwrap_or_default().into_iter().collect();
        let vendor = whose.of_vendor(&roster);
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

    /// The vendor that the evidence is about.
    pub(in crate::audit) fn vendor(&self) -> Option<VendorId> {
        self.vendor
    }

    /// Whether an order may be told of: it is about those who are asked about, whose keys these are, about a place that they had
    /// something of or were let into, or about everybody.
    pub(in crate::audit) fn tells(&self, told: &Happening, keys: &HashSet<Fingerprint>) -> bool {
        match (told.grant, told.vendor, told.key, &told.dataset) {
            (Some(grant), ..) => self.grants.contains(&grant),
            (None, Some(vendor), ..) => self.vendor == Some(vendor),
            (None, None, Some(key), _) => keys.contains(&key),
            (None, None, None, Some(dataset)) => self.datasets.contains(dataset),
            (None, None, None, None) => true,
        }
    }

    /// Whether an incident is about another vendor than the evidence is.
    pub(in crate::audit) fn is_anothers(&self, incident: &IncidentId) -> bool {
        let vendor = self.roster.incidents().get(incident).map(|incident| incident.vendor);
        vendor.is_none() || vendor != self.vendor
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
        let incident = about::incident_of(entry, private);
        incident.is_some_and(|incident| self.is_anothers(&incident)) && self.theirs(entry) != Keep::Whole
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
