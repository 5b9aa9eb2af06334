//! Summaries: what some entries in a row are about, so that whoever looks for something need not read them all.
//!
//! A summary says what may be among its entries, and never leaves out what is: whoever searches passes over those that cannot hold
//! what is looked for ([`Summary::may_hold`]), and reads the entries of the others. It follows from the entries alone, so an auditor
//! can make it again and compare.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde::{Deserialize, Serialize};

use crate::call::Work;
use crate::exact::{self, ExactError};
use crate::grant::{Holder, Terms};
use crate::identity::Fingerprint;
use crate::ids::{GrantId, Index, Millis, OrderId, VendorId};
use crate::ledger::entry::{Entry, EntryError, Event, Outcome, Private, Role};
use crate::ledger::extract::Doers;
use crate::names::DatasetName;
use crate::order::Instruction;

/// The most keys, vendors, grants or datasets that a summary names; of more it names none.
pub const MAX_NAMED: usize = 128;
/// How many entries there are in the longest summary: 256 bundles.
pub const SPAN: u64 = 1 << 16;

/// What some entries in a row are about. Kept as its exact JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    /// The first entry.
    pub first: Index,
    /// How many there are.
    pub entries: u64,
    /// The time of the first.
    pub since: Millis,
    /// The time of the last.
    pub until: Millis,
    /// The events among them, sorted by their names, each with how many entries have it.
    pub events: Vec<(Event, u64)>,
    /// How many of them record a refusal.
    pub denied: u64,
    /// The keys of their actors, sorted; none if there are too many.
    pub keys: Option<Vec<Fingerprint>>,
    /// The vendors that did something, or that an order is about, sorted.
    pub vendors: Option<Vec<VendorId>>,
    /// The grants that they name, sorted.
    pub grants: Option<Vec<GrantId>>,
    /// The datasets that their calls and orders name, sorted.
    pub datasets: Option<Vec<DatasetName>>,
    /// Entries about objects whose datasets do not follow from them: their call stands in an earlier entry, or was erased.
    pub unnamed: u64,
    /// Entries that may be about any vendor or dataset.
    pub open: u64,
}

/// What is looked for; what is not given is everything.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// No entry before this time.
    pub since: Option<Millis>,
    /// No entry at or after this time.
    pub until: Option<Millis>,
    /// One of these events; any if there are none.
    pub events: BTreeSet<Event>,
    /// The actor's key.
    pub key: Option<Fingerprint>,
    /// By this vendor, or about it.
    pub vendor: Option<VendorId>,
    /// With this grant.
    pub grant: Option<GrantId>,
    /// About this dataset.
    pub dataset: Option<DatasetName>,
    /// Done or denied.
    pub outcome: Option<Outcome>,
}

/// Why there is no summary.
#[derive(Debug, thiserror::Error)]
pub enum SummaryError {
    /// An entry is none.
    #[error("entry {0}: {1}")]
    Entry(Index, EntryError),
    /// An entry is not the next one.
    #[error("entry {0} is not in its place")]
    Place(Index),
    /// A private part is another one's.
    #[error("the private part of entry {0} is not the one that it names")]
    Private(Index),
    /// Not the exact JSON of one.
    #[error("the summary is {0}")]
    Exact(#[from] ExactError),
    /// There is nothing to sum up.
    #[error("no entries")]
    Empty,
}

impl Summary {
    /// Of entries in a row, the first of which is `first`: each its public bytes and those of its private part, none if erased.
    ///
    /// # Errors
    /// [`SummaryError`] if they are no entries in a row.
    pub fn of<'a>(first: Index, entries: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> Result<Self, SummaryError> {
        let mut sum = Sum::default();
        for (index, (public, private)) in (first.0..).map(Index).zip(entries) {
            let none = |error| SummaryError::Entry(index, error);
            let entry = Entry::from_bytes(public).map_err(none)?;
            if entry.index != index {
                return Err(SummaryError::Place(index));
            }
            let private = if private.is_empty() { None } else { Some(Private::from_bytes(private).map_err(none)?) };
            sum.add(&entry, private.as_ref());
        }
        sum.finish(first)
    }

    /// Of the entries of several, which follow each other.
    ///
    /// # Errors
    /// [`SummaryError::Place`] if they do not; [`SummaryError::Empty`] if there are none.
    pub fn join<'a>(parts: impl IntoIterator<Item = &'a Self>) -> Result<Self, SummaryError> {
        let mut parts = parts.into_iter();
        let mut all = parts.next().ok_or(SummaryError::Empty)?.clone();
        let mut events: BTreeMap<Event, u64> = all.events.iter().copied().collect();
        for part in parts {
            if part.first.0 != all.first.0 + all.entries || part.since < all.until {
                return Err(SummaryError::Place(part.first));
            }
            all.entries += part.entries;
            all.until = part.until;
            part.events.iter().for_each(|(event, count)| *events.entry(*event).or_default() += count);
            all.denied += part.denied;
            all.keys = both(all.keys, part.keys.as_deref());
            all.vendors = both(all.vendors, part.vendors.as_deref());
            all.grants = both(all.grants, part.grants.as_deref());
            all.datasets = both(all.datasets, part.datasets.as_deref());
            all.unnamed += part.unnamed;
            all.open += part.open;
        }
        all.events = by_name(events);
        Ok(all)
    }

    /// One past its last entry.
    pub fn end(&self) -> Index {
        Index(self.first.0 + self.entries)
    }

    /// Whether there may be something among its entries that is looked for. If not, there is nothing.
    pub fn may_hold(&self, wanted: &Wanted) -> bool {
        wanted.since.is_none_or(|since| self.until >= since)
            && wanted.until.is_none_or(|until| self.since < until)
            && (wanted.events.is_empty() || self.events.iter().any(|(event, _)| wanted.events.contains(event)))
            && may_name(self.keys.as_deref(), wanted.key.as_ref())
            && (self.open > 0 || may_name(self.vendors.as_deref(), wanted.vendor.as_ref()))
            && may_name(self.grants.as_deref(), wanted.grant.as_ref())
            && (self.open + self.unnamed > 0 || may_name(self.datasets.as_deref(), wanted.dataset.as_ref()))
            && match wanted.outcome {
                None => true,
                Some(Outcome::Denied) => self.denied > 0,
                Some(Outcome::Done) => self.denied < self.entries,
            }
    }

    /// Whether an entry among them has one of these events.
    pub fn has(&self, events: &BTreeSet<Event>) -> bool {
        self.events.iter().any(|(event, _)| events.contains(event))
    }

    /// Whether there may be something among its entries that one of these did. If not, there is nothing.
    pub fn may_be_by(&self, doers: &Doers) -> bool {
        fn any<T: Ord + std::hash::Hash>(named: Option<&[T]>, wanted: &HashSet<T>) -> bool {
            named.is_none_or(|named| named.iter().any(|named| wanted.contains(named)))
        }
        any(self.keys.as_deref(), &doers.keys)
            || (!doers.vendors.is_empty() && any(self.vendors.as_deref(), &doers.vendors))
            || (!doers.grants.is_empty() && any(self.grants.as_deref(), &doers.grants))
    }

    /// Its exact JSON.
    ///
    /// # Errors
    /// [`SummaryError::Exact`] if a number in it is over 2⁵³−1.
    pub fn bytes(&self) -> Result<Vec<u8>, SummaryError> {
        Ok(exact::to_vec(self)?)
    }

    /// Reads exact JSON.
    ///
    /// # Errors
    /// [`SummaryError::Exact`] if it is not exactly a summary's.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SummaryError> {
        Ok(exact::from_slice(bytes)?)
    }

    /// As [`Summary::from_bytes`], of bytes whose writer is known: that there is no other way to write the same is not looked at.
    ///
    /// # Errors
    /// [`SummaryError::Exact`] if it is no summary's.
    pub fn read(bytes: &[u8]) -> Result<Self, SummaryError> {
        Ok(serde_json::from_slice(bytes).map_err(ExactError::from)?)
    }
}

/// Whether `named` may hold what is wanted: it does, or it names nothing because there is too much.
fn may_name<T: Ord>(named: Option<&[T]>, wanted: Option<&T>) -> bool {
    match (named, wanted) {
        (Some(named), Some(wanted)) => named.binary_search(wanted).is_ok(),
        _ => true,
    }
}

/// Both lists in one, unless that is too long, or one of them was.
fn both<T: Ord + Clone>(one: Option<Vec<T>>, other: Option<&[T]>) -> Option<Vec<T>> {
    let mut all: BTreeSet<T> = one?.into_iter().collect();
    all.extend(other?.iter().cloned());
    named(all)
}

/// In an order that does not depend on which events there are.
fn by_name(events: BTreeMap<Event, u64>) -> Vec<(Event, u64)> {
    let mut events: Vec<_> = events.into_iter().collect();
    events.sort_unstable_by_key(|(event, _)| event.name());
    events
}

fn named<T>(all: BTreeSet<T>) -> Option<Vec<T>> {
    (all.len() <= MAX_NAMED).then(|| all.into_iter().collect())
}

#[derive(Default)]
struct Sum {
    entries: u64,
    times: Option<(Millis, Millis)>,
    events: BTreeMap<Event, u64>,
    denied: u64,
    keys: BTreeSet<Fingerprint>,
    vendors: BTreeSet<VendorId>,
    grants: BTreeSet<GrantId>,
    datasets: BTreeSet<DatasetName>,
    unnamed: u64,
    open: u64,
}

impl Sum {
    fn add(&mut self, entry: &Entry, private: Option<&Private>) {
        self.entries += 1;
        self.times = Some((self.times.map_or(entry.time, |(first, _)| first), entry.time));
        *self.events.entry(entry.event).or_default() += 1;
        self.denied += u64::from(entry.outcome == Outcome::Denied);
        self.keys.insert(entry.actor.key);
        self.grants.extend(&entry.grants);
        if let Role::Vendor(vendor) = entry.actor.role {
            self.vendors.insert(vendor);
        }
        let call = private.and_then(|private| private.call.as_ref());
        match call.map(|call| &call.call.work) {
            Some(Work::Get(items) | Work::ReleaseKeys(items)) => {
                self.datasets.extend(items.iter().map(|item| item.dataset.clone()));
            }
            Some(Work::Put(items)) => self.datasets.extend(items.iter().map(|item| item.dataset.clone())),
            Some(Work::Delete(items)) => self.datasets.extend(items.iter().map(|item| item.dataset.clone())),
            None => self.unnamed += u64::from(!entry.objects.is_empty() || !entry.puts.is_empty()),
        }
        match (private.and_then(|private| private.order.as_ref()), entry.order) {
            (Some(order), id) => self.order(&order.order.instruction, id),
            (None, Some(_)) => self.open += 1,
            (None, None) => {}
        }
    }

    /// What an order is about. Of one that is not known here, anything.
    fn order(&mut self, instruction: &Instruction, id: Option<OrderId>) {
        match instruction {
            Instruction::AddVendor { .. } => self.vendors.extend(id.map(VendorId::from)),
            Instruction::SuspendVendor { vendor, .. }
            | Instruction::ResumeVendor { vendor, .. }
            | Instruction::RemoveVendor { vendor }
            | Instruction::AddKey { vendor, .. }
            | Instruction::RevokeKey { vendor, .. } => drop(self.vendors.insert(*vendor)),
            Instruction::CreateDataset { name }
            | Instruction::DeleteDataset { name }
            | Instruction::FreezeDataset { name, .. }
            | Instruction::UnfreezeDataset { name, .. } => drop(self.datasets.insert(name.clone())),
            Instruction::IssueGrant(Terms { holder, scopes, .. }) => {
                if let Holder::Vendor(vendor) = holder {
                    self.vendors.insert(*vendor);
                }
                self.datasets.extend(scopes.iter().map(|scope| scope.dataset.clone()));
            }
            Instruction::CreateTenant { .. }
            | Instruction::AddAdmin { .. }
            | Instruction::RemoveAdmin { .. }
            | Instruction::FreezeTenant { .. }
            | Instruction::UnfreezeTenant { .. }
            | Instruction::RotateKey { .. }
            | Instruction::DestroyKey { .. }
            | Instruction::SetPolicy(_)
            | Instruction::RenewGrant { .. }
            | Instruction::RevokeGrant { .. } => {}
            #[allow(
                unreachable_patterns,
                reason = "an instruction that comes later is about anything until it is named here"
            )]
            _ => self.open += 1,
        }
    }

    fn finish(self, first: Index) -> Result<Summary, SummaryError> {
        let (since, until) = self.times.ok_or(SummaryError::Empty)?;
        Ok(Summary {
            first,
            entries: self.entries,
            since,
            until,
            events: by_name(self.events),
            denied: self.denied,
            keys: named(self.keys),
            vendors: named(self.vendors),
            grants: named(self.grants),
            datasets: named(self.datasets),
            unnamed: self.unnamed,
            open: self.open,
        })
    }
}
