//! What was charged to grants, counted from the entries alone: what is left of their budgets.
//!
//! It counts as [`crate::ledger::charge`] says and as replay does, but for the grants that are asked about and those above them
//! alone. It believes the entries: whether they hold is for replay.

use std::collections::{HashMap, HashSet};

use super::roster::Roster;
use crate::grant::Tally;
use crate::identity::Fingerprint;
use crate::ids::{GrantId, Millis, RequestId};
use crate::ledger::charge::{is_remembered, of_delete, of_put, of_release};
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
    requests: HashMap<(Fingerprint, RequestId), Request>,
    sweep_at: usize,
}

impl Charges {
    /// Of these grants and all above them.
    pub(super) fn of(roster: &Roster, grants: &[GrantId]) -> Self {
        let chains = grants.iter().filter_map(|id| roster.grants.get(id)).flat_map(|known| known.chain.iter());
        let tallies = chains.map(|id| (*id, Tally::default())).collect();
        Self { tallies, requests: HashMap::new(), sweep_at: SWEEP_AT }
    }

    /// Takes in the next entry.
    pub(super) fn feed(&mut self, entry: &Entry) {
        // Whoever acts under a grant acts under all above it: the one named first says whether any is watched, or one above it.
        if !entry.grants.iter().any(|grant| self.tallies.contains_key(grant)) {
            return;
        }
        let Some(request) = entry.request else { return };
        if self.requests.len() > self.sweep_at {
            self.requests.retain(|_, request| is_remembered(request.newest, entry.time));
            self.sweep_at = SWEEP_AT.max(2 * self.requests.len());
        }
        let place = (entry.actor.key, request);
        let known = self.requests.get_mut(&place).filter(|known| is_remembered(known.newest, entry.time));
        let first = known.is_none();
        let charge = match entry.event {
            Event::Release => {
                let begun = known.map(|known| std::mem::take(&mut known.begun));
                let mut begun = begun.unwrap_or_default();
                let charge = of_release(entry.objects.iter().map(|part| (part.5, begun.insert(part.0))), first);
                self.requests.insert(place, Request { newest: entry.time, grants: entry.grants.clone(), begun });
                charge
            }
            Event::ReleaseRepeat => {
                known.into_iter().for_each(|known| known.newest = entry.time);
                return;
            }
            Event::ObjectPut | Event::ObjectDeleted => {
                match known {
                    Some(known) => known.newest = entry.time,
                    None => {
                        let (newest, begun) = (entry.time, HashSet::new());
                        self.requests.insert(place, Request { newest, grants: entry.grants.clone(), begun });
                    }
                }
                match entry.event {
                    Event::ObjectPut => of_put(entry.puts.iter().map(|put| put.2), first),
                    _ => of_delete(entry.objects.len() as u64, first),
                }
            }
            _ => return,
        };
        for grant in &entry.grants {
            if let Some(tally) = self.tallies.get_mut(grant) {
                *tally = tally.charged(charge, entry.time);
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
