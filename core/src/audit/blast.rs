//! What somebody could take from now on, at most: under the grants that live, what is left of their budgets, and their rates.
//!
//! ```text
//! each grant:  what it covers of what is there ─┐
//!              budgets left, own and above      ├─► the least of them
//!              rate × the time that it lives    ┘
//! together:    grants under one parent share what is left of the parent's; no object counts twice
//! ```
//!
//! It is a bound: never less than what can be taken, of what is there now. It is often reached, and where limits overlap it may be
//! more than any course of events comes to. What is put later is not in it, nor what a suspended vendor gets back when it is resumed.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Serialize;

use super::exposure::fold::{Fold, ObjectNo, Place};
use super::ranges::Ranges;
use super::roster::{GrantStanding, Known};
use crate::call::MAX_ITEMS;
use crate::grant::{Action, Holder, Limits, Scope, Tally};
use crate::ids::{GrantId, Millis};
use crate::names::{DatasetName, ObjectPath};
use crate::sealed::SEGMENT_SIZE;

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;

/// Objects and plaintext bytes of them, each once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Most {
    /// Objects of which something could be read.
    pub objects: u64,
    /// Plaintext bytes.
    pub bytes: u64,
}

/// What holds a grant back most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// There is no more than that in its scope.
    Scope,
    /// What is left to it of bytes, objects or uses, by itself.
    Budget,
    /// What is left to one above it.
    BudgetAbove,
    /// Its rate, or that of one above it, and its end.
    Rate,
}

/// A grant that can be used, now or later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reach {
    /// The grant.
    pub grant: GrantId,
    /// Who holds it.
    pub holder: Holder,
    /// From when: now, or when it begins.
    pub from: Millis,
    /// Until when, exclusive.
    pub until: Millis,
    /// What lies in its scope.
    pub covers: Most,
    /// What could be taken under it until its end.
    pub total: Most,
    /// And within the next hour.
    pub hour: Most,
    /// What holds [`Reach::total`]'s bytes back.
    pub bound: Bound,
    /// The networks that it can be used from; anywhere if none.
    pub sources: Vec<String>,
    /// Whether it lets change what is there: write, overwrite or delete.
    pub changes: bool,
}

/// What could be taken from now on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Blast {
    /// From when on.
    pub now: Millis,
    /// When the last grant ends; `None` if there is none.
    pub until: Option<Millis>,
    /// Under all grants together.
    pub total: Most,
    /// Within the next hour.
    pub hour: Most,
    /// Of the total, what they were not released before: a new key makes nothing new.
    pub new: Most,
    /// What they were released so far, in the time that is asked about.
    pub had: Most,
    /// Grants that can be used, those that reach furthest first.
    pub grants: Vec<Reach>,
    /// Grants that can be used when a suspension is lifted.
    pub suspended: u64,
    /// Objects in scope that nobody may read while they are frozen.
    pub frozen: u64,
    /// Objects whose path was erased, and grants whose order was: within reach or not.
    pub erased: u64,
}

/// The objects that can be asked for.
#[derive(Default)]
struct Objects<'a>(Vec<Readable<'a>>);

struct Readable<'a> {
    dataset: &'a DatasetName,
    path: &'a ObjectPath,
    size: u64,
    /// The object that it has its content from: itself, or the first of those that were re-keyed one after the other.
    content: ObjectNo,
    /// What of its content was released before.
    had: u64,
}

/// What lies in the scope of a grant, by size.
#[derive(Debug, Default)]
struct Covered {
    /// Places in [`Objects`].
    objects: Vec<u32>,
    /// The least that has to be released to have something of an object, smallest first, summed up.
    least: Vec<u64>,
    /// Sizes, largest first, summed up.
    largest: Vec<u64>,
}

impl Fold {
    /// What those who are asked about could take from `now` on; `None` if the question is about a session or an admin's key, whom
    /// no grants bound.
    pub fn blast(&self, now: Millis) -> Option<Blast> {
        let grants = self.grants()?;
        let (objects, frozen) = self.readable();
        let mut covered: HashMap<&[Scope], Covered> = HashMap::new();
        let mut blast = Blast { now, had: self.had(), ..Blast::default() };
        let mut reaches: BTreeMap<GrantId, Reach> = BTreeMap::new();
        let mut is_reached = vec![false; objects.0.len()];
        let mut is_frozen = vec![false; frozen.len()];
        for id in grants {
            let (Some(known), Some(standing)) = (self.roster.grants.get(&id), self.roster.standing(&id, now)) else {
                blast.erased += 1;
                continue;
            };
            let Some(terms) = &known.terms else { continue };
            match standing {
                GrantStanding::Live | GrantStanding::NotYet => {}
                GrantStanding::Suspended => {
                    blast.suspended += 1;
                    continue;
                }
                GrantStanding::Ended => continue,
            }
            for (is_frozen, (dataset, path)) in is_frozen.iter_mut().zip(&frozen) {
                *is_frozen = *is_frozen || reads(&terms.scopes, dataset, path);
            }
            let covered = covered.entry(&terms.scopes).or_insert_with(|| objects.covered(&terms.scopes));
            let from = now.max(terms.not_before.unwrap_or_default());
            let until = self.roster.ends(known).unwrap_or(terms.expires);
            let (total, bound) = self.allowed(known, covered, from, until);
            let soon = until.min(Millis(now.0.saturating_add(HOUR)));
            let hour = if from < soon { self.allowed(known, covered, from, soon).0 } else { Most::default() };
            covered.objects.iter().for_each(|no| is_reached[*no as usize] |= total.objects > 0 || total.bytes > 0);
            let changes = [Action::Write, Action::Overwrite, Action::Delete];
            let reach = Reach {
                grant: id,
                holder: terms.holder,
                from,
                until,
                covers: covered.all(),
                total,
                hour,
                bound,
                sources: terms.limits.sources.clone(),
                changes: terms.scopes.iter().any(|scope| scope.actions.iter().any(|action| changes.contains(action))),
            };
            blast.until = blast.until.max(Some(until));
            reaches.insert(id, reach);
        }
        let union = Covered::of((0..).zip(&is_reached).filter(|(_, is)| **is).map(|(no, _)| no), &objects);
        let least = |one: Most, other: Most| Most {
            objects: one.objects.min(other.objects),
            bytes: one.bytes.min(other.bytes),
        };
        blast.total = least(union.all(), self.together(&reaches, now, None));
        blast.hour = least(union.all(), self.together(&reaches, now, Some(Millis(now.0.saturating_add(HOUR)))));
        blast.total.objects = blast.total.objects.min(union.touched(blast.total.bytes));
        blast.hour.objects = blast.hour.objects.min(union.touched(blast.hour.bytes));
        blast.new = least(blast.total, objects.fresh(&union.objects));
        blast.frozen = is_frozen.into_iter().filter(|is| *is).count() as u64;
        blast.erased += self.objects.iter().filter(|object| object.place == Place::Erased).count() as u64;
        blast.grants = reaches.into_values().collect();
        blast.grants.sort_by_key(|reach| (std::cmp::Reverse((reach.total.bytes, reach.total.objects)), reach.grant));
        Some(blast)
    }

    /// What was released so far.
    fn had(&self) -> Most {
        let read = self.found.iter().filter(|(_, found)| !found.read.is_empty());
        read.fold(Most::default(), |sum, (no, found)| Most {
            objects: sum.objects + 1,
            bytes: sum.bytes + self.objects.get(*no as usize).map_or(0, |object| found.read.plain_bytes(object.size)),
        })
    }

    /// The objects that are there, each generation by itself: an older one can be asked for while it is kept. Those that are frozen
    /// apart.
    #[allow(clippy::type_complexity, reason = "two lists of the same fold")]
    fn readable(&self) -> (Objects<'_>, Vec<(&DatasetName, &ObjectPath)>) {
        let mut objects = Objects::default();
        let mut frozen = Vec::new();
        let contents = self.contents();
        let mut read: HashMap<ObjectNo, Ranges> = HashMap::new();
        for (no, found) in &self.found {
            let Some(content) = contents.get(*no as usize) else { continue };
            read.entry(*content).or_default().add_all(&found.read);
        }
        for (object, content) in self.objects.iter().zip(contents) {
            let Some((dataset, path)) = self.name(object) else { continue };
            if !self.can_be_asked_for(object) {
                continue;
            }
            if self.roster.authority.frozen().is_some() || self.roster.authority.is_frozen(dataset) {
                frozen.push((dataset, &**path));
                continue;
            }
            let (size, had) = (object.size, read.get(&content).map_or(0, |read| read.plain_bytes(object.size)));
            objects.0.push(Readable { dataset, path, size, content, had });
        }
        (objects, frozen)
    }

    /// Of each object, the one that it has its content from: a new key is put over what it replaces, which came before it.
    fn contents(&self) -> Vec<ObjectNo> {
        let mut contents: Vec<ObjectNo> = (0..).zip(&self.objects).map(|(no, _)| no).collect();
        for (no, object) in self.objects.iter().enumerate() {
            let next = object.next.map(|next| next as usize);
            if let Some(next) = next.filter(|next| self.objects.get(*next).is_some_and(|object| object.rekeyed)) {
                contents[next] = contents[no];
            }
        }
        contents
    }

    /// What one grant allows from `from` until `until`, by itself and by those above it.
    fn allowed(&self, known: &Known, covered: &Covered, from: Millis, until: Millis) -> (Most, Bound) {
        let mut most = covered.all();
        let mut bound = Bound::Scope;
        for (at, id) in known.chain.iter().enumerate() {
            let Some(limits) = self.limits(id) else { continue };
            let (tally, begun) = (self.charges.tally(id), self.charges.begun(id, from));
            let objects = objects_left(limits, &tally, begun);
            let budget = bytes_left(limits, &tally).min(covered.sum_of_largest(objects));
            let rate = rate_allows(limits, &tally, from, until);
            if budget < most.bytes {
                (most.bytes, bound) = (budget, if at == 0 { Bound::Budget } else { Bound::BudgetAbove });
            }
            if rate < most.bytes {
                (most.bytes, bound) = (rate, Bound::Rate);
            }
            most.objects = most.objects.min(objects);
        }
        most.objects = most.objects.min(covered.touched(most.bytes));
        (most, bound)
    }

    fn limits(&self, grant: &GrantId) -> Option<&Limits> {
        self.roster.grants.get(grant)?.terms.as_ref().map(|terms| &terms.limits)
    }

    /// What all grants come to together, until their ends or until `soon`: those under one parent share what is left of it.
    fn together(&self, reaches: &BTreeMap<GrantId, Reach>, now: Millis, soon: Option<Millis>) -> Most {
        // Every grant that is used or stands above one, from the deepest up: a parent is issued before its child.
        let mut sums: BTreeMap<GrantId, Most> = BTreeMap::new();
        let chains = reaches.keys().filter_map(|id| self.roster.grants.get(id)).flat_map(|known| known.chain.iter());
        let mut all: Vec<GrantId> = chains.copied().collect();
        all.sort_by_key(|id| (std::cmp::Reverse(self.roster.grants.get(id).map(|known| known.issued)), *id));
        all.dedup();
        let mut roots = Most::default();
        for id in all {
            let below = sums.remove(&id).unwrap_or_default();
            let most = match reaches.get(&id) {
                // It covers whatever those below it do.
                Some(reach) if soon.is_none() => reach.total,
                Some(reach) => reach.hour,
                None => self.shared(&id, below, now, soon),
            };
            let parent = self.roster.grants.get(&id).and_then(|known| known.chain.get(1));
            let sum = parent.map_or(&mut roots, |parent| sums.entry(*parent).or_default());
            sum.objects = sum.objects.saturating_add(most.objects);
            sum.bytes = sum.bytes.saturating_add(most.bytes);
        }
        roots
    }

    /// What is left of a grant that others use through those below it.
    fn shared(&self, id: &GrantId, below: Most, now: Millis, soon: Option<Millis>) -> Most {
        let (Some(limits), Some(known)) = (self.limits(id), self.roster.grants.get(id)) else { return below };
        let end = self.roster.ends(known).unwrap_or(Millis(u64::MAX));
        let until = soon.map_or(end, |soon| soon.min(end));
        let (tally, begun) = (self.charges.tally(id), self.charges.begun(id, now));
        let bytes = bytes_left(limits, &tally).min(rate_allows(limits, &tally, now, until));
        Most { objects: below.objects.min(objects_left(limits, &tally, begun)), bytes: below.bytes.min(bytes) }
    }
}

impl Objects<'_> {
    fn covered(&self, scopes: &[Scope]) -> Covered {
        let inside = |(no, object): (u32, &Readable<'_>)| reads(scopes, object.dataset, object.path).then_some(no);
        Covered::of((0..).zip(&self.0).filter_map(inside), self)
    }

    /// What of these was not released before, each content once. What was had in part is new in its other part.
    fn fresh(&self, places: &[u32]) -> Most {
        let mut fresh = Most::default();
        let mut seen = HashSet::new();
        let objects = places.iter().filter_map(|no| self.0.get(*no as usize));
        for object in objects.filter(|object| seen.insert(object.content)) {
            fresh.objects += u64::from(object.had == 0);
            fresh.bytes += object.size - object.had;
        }
        fresh
    }
}

impl Covered {
    fn of(places: impl Iterator<Item = u32>, objects: &Objects<'_>) -> Self {
        let places: Vec<u32> = places.collect();
        let sizes = || places.iter().filter_map(|no| objects.0.get(*no as usize)).map(|object| object.size);
        // Of a large object the last segment may be the least.
        let mut least: Vec<u64> = sizes()
            .map(|size| match size % SEGMENT_SIZE as u64 {
                0 if size > 0 => SEGMENT_SIZE as u64,
                rest => rest,
            })
            .collect();
        let mut largest: Vec<u64> = sizes().collect();
        least.sort_unstable();
        largest.sort_unstable_by_key(|size| std::cmp::Reverse(*size));
        let sum_up = |sizes: &mut Vec<u64>| {
            let mut sum = 0_u64;
            sizes.iter_mut().for_each(|size| {
                sum = sum.saturating_add(*size);
                *size = sum;
            });
        };
        sum_up(&mut least);
        sum_up(&mut largest);
        Self { objects: places, least, largest }
    }

    fn all(&self) -> Most {
        Most { objects: self.objects.len() as u64, bytes: self.largest.last().copied().unwrap_or(0) }
    }

    /// Of how many objects something can be had for so many bytes.
    fn touched(&self, bytes: u64) -> u64 {
        self.least.partition_point(|sum| *sum <= bytes) as u64
    }

    /// The bytes of so many objects, at most.
    fn sum_of_largest(&self, objects: u64) -> u64 {
        let count = usize::try_from(objects).unwrap_or(usize::MAX).min(self.largest.len());
        count.checked_sub(1).map_or(0, |last| self.largest[last])
    }
}

fn reads(scopes: &[Scope], dataset: &DatasetName, path: &ObjectPath) -> bool {
    scopes.iter().any(|scope| scope.covers(Action::Read, dataset, path))
}

fn bytes_left(limits: &Limits, tally: &Tally) -> u64 {
    limits.bytes.map_or(u64::MAX, |bytes| bytes.saturating_sub(tally.total.bytes))
}

/// Objects that can still be named, with those of requests that go on.
fn objects_left(limits: &Limits, tally: &Tally, begun: u64) -> u64 {
    let named = limits.objects.map_or(u64::MAX, |objects| objects.saturating_sub(tally.total.objects));
    let calls = limits.uses.map_or(u64::MAX, |uses| uses.saturating_sub(tally.total.uses));
    named.min(calls.saturating_mul(MAX_ITEMS as u64)).saturating_add(if named == u64::MAX && calls == u64::MAX {
        0
    } else {
        begun
    })
}

/// The bytes that a rate lets through from one moment until another: that of each UTC minute between them, less what the first one
/// has seen.
fn rate_allows(limits: &Limits, tally: &Tally, from: Millis, until: Millis) -> u64 {
    let Some(rate) = limits.bytes_per_minute else { return u64::MAX };
    if until <= from {
        return 0;
    }
    let minutes = (until.0 - 1) / MINUTE - from.0 / MINUTE + 1;
    rate.saturating_mul(minutes).saturating_sub(tally.bytes_in_minute(from).min(rate))
}
