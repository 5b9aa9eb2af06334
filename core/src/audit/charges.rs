//! What was charged to grants, counted from the entries alone: what is left of their budgets.
//!
//! It counts as [`crate::ledger::charge`] says and as replay does, but for the grants that are asked about and those above them
//! alone. It believes the entries: whether they hold is for replay.

use std::collections::{HashMap, HashSet};

use super::roster::Roster;
use crate::grant::{Tally, Usage};
use crate::identity::Fingerprint;
use crate::ids::{GrantId, Millis, RequestId};
use crate::ledger::charge::{is_remembered, of_delete, of_put, of_release};
use crate::ledger::facts::Release;
use crate::ledger::{Entry, Event};

/// Requests are looked through when there are so many.
const SWEEP_AT: usize = 1024;

/// A request that is remembered.
#[derive(Debug)]
struct Request {
    newest: Millis,
    /// What it is charged to.
    grants: Vec<GrantId>,
    /// Items of which something was released.
    begun: HashSet<u32>,
}

/// The fold.
#[derive(Debug)]
pub(super) struct Charges {
    tallies: HashMap<GrantId, Tally>,
    /// Those of which objects or calls are limited: what was charged of these to others makes no difference, and takes much to remember.
    counted: HashSet<GrantId>,
    requests: HashMap<(Fingerprint, RequestId), Request>,
    sweep_at: usize,
}

impl Charges {
    /// Of these grants and all above them.
    pub(super) fn of(roster: &Roster, grants: &[GrantId]) -> Self {
        let chains = grants.iter().filter_map(|id| roster.grants.get(id)).flat_map(|known| known.chain.iter());
        let tallies: HashMap<_, _> = chains.map(|id| (*id, Tally::default())).collect();
        let is_counted = |id: &&GrantId| {
            let limits = roster.grants.get(*id).and_then(|known| known.terms.as_ref()).map(|terms| &terms.limits);
            limits.is_some_and(|limits| limits.objects.is_some() || limits.uses.is_some())
        };
        let counted = tallies.keys().filter(is_counted).copied().collect();
        Self { tallies, counted, requests: HashMap::new(), sweep_at: SWEEP_AT }
    }

    /// The grants that are counted for.
    pub(super) fn watched(&self) -> impl Iterator<Item = &GrantId> {
        self.tallies.keys()
    }

    /// Whoever acts under a grant acts under all above it: the one named first says whether any is watched, or one above it.
    fn is_watched(&self, grants: &[GrantId]) -> bool {
        grants.iter().any(|grant| self.tallies.contains_key(grant))
    }

    /// Whether objects or calls count against one of these.
    fn is_counted(&self, grants: &[GrantId]) -> bool {
        grants.iter().any(|grant| self.counted.contains(grant))
    }

    /// Takes in the next release.
    pub(super) fn feed_release(&mut self, release: &Release<'_>) {
        let Some(request) = release.request.filter(|_| self.is_watched(release.grants)) else { return };
        if !self.is_counted(release.grants) {
            if !release.repeat {
                let bytes = release.objects.iter().map(|part| part.bytes).sum();
                self.charge(release.grants, Usage { bytes, ..Usage::default() }, release.time);
            }
            return;
        }
        self.sweep(release.time);
        let place = (release.actor.key, request);
        let known = self.requests.get_mut(&place).filter(|known| is_remembered(known.newest, release.time));
        if release.repeat {
            known.into_iter().for_each(|known| known.newest = release.time);
            return;
        }
        let first = known.is_none();
        let mut begun = known.map(|known| std::mem::take(&mut known.begun)).unwrap_or_default();
        let parts = release.objects.iter().map(|part| (part.bytes, begun.insert(part.item)));
        let charge = of_release(parts, first);
        self.requests.insert(place, Request { newest: release.time, grants: release.grants.to_vec(), begun });
        self.charge(release.grants, charge, release.time);
    }

    /// Takes in the next entry that is no release.
    pub(super) fn feed(&mut self, entry: &Entry) {
        let Some(request) = entry.request.filter(|_| self.is_watched(&entry.grants)) else { return };
        if !matches!(entry.event, Event::ObjectPut | Event::ObjectDeleted) {
            return;
        }
        if !self.is_counted(&entry.grants) {
            let bytes = entry.puts.iter().map(|put| put.2).sum();
            return self.charge(&entry.grants, Usage { bytes, ..Usage::default() }, entry.time);
        }
        self.sweep(entry.time);
        let place = (entry.actor.key, request);
        let known = self.requests.get_mut(&place).filter(|known| is_remembered(known.newest, entry.time));
        let first = known.is_none();
        match known {
            Some(known) => known.newest = entry.time,
            None => {
                let (newest, begun) = (entry.time, HashSet::new());
                self.requests.insert(place, Request { newest, grants: entry.grants.clone(), begun });
            }
        }
        let charge = match entry.event {
            Event::ObjectPut => of_put(entry.puts.iter().map(|put| put.2), first),
            _ => of_delete(entry.objects.len() as u64, first),
        };
        self.charge(&entry.grants, charge, entry.time);
    }

    fn sweep(&mut self, now: Millis) {
        if self.requests.len() > self.sweep_at {
            self.requests.retain(|_, request| is_remembered(request.newest, now));
            self.sweep_at = SWEEP_AT.max(2 * self.requests.len());
        }
    }

    fn charge(&mut self, grants: &[GrantId], charge: Usage, time: Millis) {
        for grant in grants {
            if let Some(tally) = self.tallies.get_mut(grant) {
                *tally = tally.charged(charge, time);
            }
        }
    }

    /// What was charged to a grant.
    pub(super) fn tally(&self, grant: &GrantId) -> Tally {
        self.tallies.get(grant).copied().unwrap_or_default()
    }

    /// Items of requests under a grant that may go on without being charged as objects again.
    pub(super) fn begun(&self, grant: &GrantId, now: Millis) -> u64 {
        let live = |request: &&Request| is_remembered(request.newest, now) && request.grants.contains(grant);
        self.requests.values().filter(live).map(|request| request.begun.len() as u64).sum()
    }
}
