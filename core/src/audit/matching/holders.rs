//! Who had what was found: the releases of the objects that it stands in, by segments.

use std::cmp::Reverse;
use std::collections::HashMap;

use serde::Serialize;

use super::sample::ItemNo;
use crate::audit::ranges::Ranges;
use crate::audit::roster::{Moment, Roster};
use crate::audit::whose::Act;
use crate::grant::Holder;
use crate::identity::Fingerprint;
use crate::ids::{GrantId, Index, SegmentRange, SessionId, VendorId};
use crate::ledger::extract::{Needs, Step, steps};
use crate::ledger::facts::{Facts, Release};
use crate::ledger::{Entry, Event, Private, Role};
use crate::sealed::layout::Layout;

/// Whom something was released to, or who wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(tag = "kind", content = "id", rename_all = "snake_case")]
pub enum Who {
    /// A vendor: any key it has or had, and whoever acts under a grant of it or one delegated from that.
    Vendor(VendorId),
    /// A key: a worker's, or an admin's.
    Key(Fingerprint),
    /// A grant, and those delegated from it.
    Grant(GrantId),
    /// A session.
    Session(SessionId),
}

/// Somebody who had something of what was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Candidate {
    /// Who.
    #[serde(flatten)]
    pub who: Who,
    /// How many of the items that were found: each counts if all of it was released to them in some place where it stands, or if
    /// they wrote it.
    pub items: u64,
    /// Of these, items that they had only since they wrote them.
    pub written: u64,
    /// The first entry that let them have something of the objects that the items stand in.
    pub first: Moment,
    /// The last one.
    pub last: Moment,
    /// Whether it is an admin's key, or something that only admins acted in.
    pub admin: bool,
}

/// What somebody had of one object.
#[derive(Debug, Default)]
struct Had {
    read: Ranges,
    wrote: bool,
}

/// Somebody, as far as is known.
#[derive(Debug)]
struct Known {
    had: HashMap<u32, Had>,
    first: Moment,
    last: Moment,
    admin: bool,
}

/// An object that something was found in: the entry that put it, its ordinal there, its size in bytes.
pub type Object = (Index, u32, u64);

/// The fold over puts and releases.
#[derive(Debug)]
pub struct Holders {
    roster: Roster,
    sizes: Vec<u64>,
    objects: HashMap<(Index, u32), u32>,
    known: HashMap<Who, Known>,
}

impl Holders {
    /// Of these objects, by number; `roster` is of the same ledger's orders, all of them.
    pub fn new(roster: Roster, objects: &[Object]) -> Self {
        let numbers = (0..).zip(objects).map(|(no, (put, ordinal, _))| ((*put, *ordinal), no)).collect();
        let sizes = objects.iter().map(|(.., size)| *size).collect();
        Self { roster, sizes, objects: numbers, known: HashMap::new() }
    }

    /// What has to be fed to it: with all else it comes to the same.
    pub fn needs(&self) -> Needs {
        Needs { events: [Event::ObjectPut, Event::ObjectRekeyed].into(), ..Needs::default() }
    }

    /// Takes in releases and entries, each in their order.
    pub fn feed_extract(&mut self, facts: &Facts, entries: &[(Entry, Option<Private>)]) {
        for step in steps(facts, entries) {
            match step {
                Step::Release(release) => self.release(&release),
                Step::Entry(entry, _) => self.put(entry),
            }
        }
    }

    fn put(&mut self, entry: &Entry) {
        if !matches!(entry.event, Event::ObjectPut | Event::ObjectRekeyed) {
            return;
        }
        let wrote = (0..).zip(&entry.puts).filter_map(|(ordinal, _)| self.objects.get(&(entry.index, ordinal)));
        for no in wrote.copied().collect::<Vec<_>>() {
            self.each(&Act::of(entry), no, |had| had.wrote = true);
        }
    }

    fn release(&mut self, release: &Release<'_>) {
        for object in release.objects {
            let no = self.objects.get(&(object.put, object.ordinal)).copied();
            if let Some((no, range)) = no.zip(SegmentRange::new(object.segments.0, object.segments.1)) {
                self.each(&Act::from(release), no, |had| had.read.add(range));
            }
        }
    }

    /// Notes it for all whom the act let have something.
    fn each(&mut self, act: &Act<'_>, no: u32, note: impl Fn(&mut Had)) {
        let at = Moment { index: act.index, time: act.time };
        let is_admin = matches!(act.actor.role, Role::Admin | Role::Operator);
        for who in self.whom(act) {
            let known = self.known.entry(who).or_insert_with(|| Known {
                had: HashMap::new(),
                first: at,
                last: at,
                admin: is_admin,
            });
            known.last = at;
            known.admin &= is_admin;
            note(known.had.entry(no).or_default());
        }
    }

    fn whom(&self, act: &Act<'_>) -> Vec<Who> {
        let key = act.actor.key;
        let mut whom = vec![Who::Key(key)];
        whom.extend(act.session.map(Who::Session));
        whom.extend(act.grants.iter().copied().map(Who::Grant));
        let acting = match act.actor.role {
            Role::Vendor(id) => Some(id),
            _ => self.roster.vendor_of(&key),
        };
        let holders = act.grants.iter().filter_map(|id| self.roster.holder(id));
        let through = holders.filter_map(|holder| match holder {
            Holder::Vendor(id) => Some(id),
            Holder::Key(key) => self.roster.vendor_of(&key),
        });
        let mut vendors: Vec<VendorId> = acting.into_iter().chain(through).collect();
        vendors.sort_unstable();
        vendors.dedup();
        whom.extend(vendors.into_iter().map(Who::Vendor));
        whom
    }

    /// Who had the items that were found, those who had most of them first. A find is the object's number, the item, and its
    /// bytes in the object: where it begins, and one past its last; they are sorted.
    pub fn candidates(&self, finds: &[(u32, ItemNo, u64, u64)], items: usize) -> Vec<Candidate> {
        // Whether an item was counted for somebody, by their number: for all of them one list is enough.
        let mut counted = vec![0_u32; items];
        let mut candidates = Vec::new();
        for (number, (who, known)) in (1..).zip(&self.known) {
            let (mut read, mut written) = (0, 0);
            // What was read is counted before what was only written.
            for wrote in [false, true] {
                for (no, had) in &known.had {
                    if wrote && !had.wrote {
                        continue;
                    }
                    let first = finds.partition_point(|find| find.0 < *no);
                    for (_, item, start, end) in finds[first..].iter().take_while(|find| find.0 == *no) {
                        let Some(mark) = counted.get_mut(*item as usize).filter(|mark| **mark != number) else {
                            continue;
                        };
                        if wrote || self.range(*no, *start, *end).is_some_and(|range| had.read.covers(range)) {
                            *mark = number;
                            *(if wrote { &mut written } else { &mut read }) += 1;
                        }
                    }
                }
            }
            let (first, last, admin) = (known.first, known.last, known.admin);
            if read + written > 0 {
                candidates.push(Candidate { who: *who, items: read + written, written, first, last, admin });
            }
        }
        candidates.sort_by_key(|one| (one.admin, Reverse(one.items), one.written, one.who));
        candidates
    }

    fn range(&self, no: u32, start: u64, end: u64) -> Option<SegmentRange> {
        Layout::new(*self.sizes.get(no as usize)?).ok()?.segments_of_bytes(start, end)
    }

    /// The vendor that a key belongs to, or belonged to.
    pub fn vendor_of(&self, key: &Fingerprint) -> Option<VendorId> {
        self.roster.vendor_of(key)
    }

    /// The name of a vendor that there is or was.
    pub fn vendor_name(&self, id: &VendorId) -> Option<&crate::names::VendorName> {
        self.roster.vendor_name(id)
    }
}
