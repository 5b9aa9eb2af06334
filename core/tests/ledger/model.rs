//! A model of who may do what, and the random ledgers that are made by it.
//!
//! It knows nothing of the crate's decisions: it is written from the rules alone, as plainly as can be.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use strongroom_core::call::{Condition, GetItem, Work};
use strongroom_core::grant::{Action, Holder, Limits, Usage};
use strongroom_core::identity::{Fingerprint, Identity};
use strongroom_core::ids::{GrantId, Millis, VendorId};
use strongroom_core::order::Instruction;
use strongroom_core::reason::Reason;
use strongroom_core::sealed::layout::Layout;

use crate::builder::{Ask, Ledger, MINUTE, Put, Record, Session, delete, identity};

pub(crate) const PATHS: [&str; 5] = ["a", "a/1", "a/2", "ab", "b/1"];
pub(crate) const PREFIXES: [&str; 6] = ["", "a/", "a*", "a", "a/1", "b/"];
pub(crate) const SIZES: [u64; 5] = [0, 5, 65_536, 70_000, 1025 * 65_536];

pub(crate) struct ModelGrant {
    pub(crate) vendor: Option<VendorId>,
    pub(crate) key: Option<Fingerprint>,
    pub(crate) actions: Vec<Action>,
    pub(crate) prefix: &'static str,
    pub(crate) from: u64,
    pub(crate) until: u64,
    pub(crate) limits: Limits,
    pub(crate) usage: Usage,
    /// When how many bytes were charged.
    pub(crate) charged: Vec<(u64, u64)>,
    pub(crate) revoked: bool,
}

pub(crate) struct Model {
    pub(crate) ledger: Ledger,
    pub(crate) keys: Vec<Identity>,
    pub(crate) sessions: Vec<(Session, usize)>,
    pub(crate) vendors: BTreeMap<VendorId, bool>,
    /// Live keys of vendors, and of nobody any more.
    pub(crate) vendor_of: BTreeMap<Fingerprint, Option<VendorId>>,
    pub(crate) grants: BTreeMap<GrantId, ModelGrant>,
    /// By path: the last number, and the object there.
    pub(crate) paths: BTreeMap<&'static str, (u64, Option<Put>)>,
    /// Ledgers with one more entry that was not allowed.
    pub(crate) forbidden: Vec<Vec<Record>>,
}

#[derive(Debug, Clone)]
pub(crate) enum Op {
    AddVendor {
        key: usize,
    },
    AddKey {
        vendor: usize,
        key: usize,
    },
    RevokeKey {
        key: usize,
    },
    Suspend {
        vendor: usize,
    },
    Resume {
        vendor: usize,
    },
    Remove {
        vendor: usize,
    },
    Grant {
        vendor: usize,
        to_key: Option<usize>,
        actions: u8,
        prefix: usize,
        minutes: u64,
        later: bool,
        limits: (u8, u8, u8, u8),
    },
    Revoke {
        grant: usize,
    },
    Open {
        key: usize,
    },
    Put {
        session: usize,
        grant: Option<usize>,
        paths: Vec<usize>,
        size: usize,
    },
    Get {
        session: usize,
        grant: Option<usize>,
        paths: Vec<usize>,
        named: bool,
        repeat: bool,
    },
    Delete {
        session: usize,
        grant: Option<usize>,
        path: usize,
    },
    Wait {
        minutes: u64,
    },
}

pub(crate) fn ops() -> impl Strategy<Value = Vec<Op>> {
    let some = || 0..8_usize;
    let grant = || prop::option::weighted(0.8, some());
    let paths = || prop::sample::subsequence((0..PATHS.len()).collect::<Vec<_>>(), 1..4);
    let op = prop_oneof![
        1 => some().prop_map(|key| Op::AddVendor { key }),
        1 => (some(), some()).prop_map(|(vendor, key)| Op::AddKey { vendor, key }),
        1 => some().prop_map(|key| Op::RevokeKey { key }),
        1 => some().prop_map(|vendor| Op::Suspend { vendor }),
        1 => some().prop_map(|vendor| Op::Resume { vendor }),
        1 => (0..30_usize).prop_map(|vendor| Op::Remove { vendor }),
        5 => (some(), prop::option::weighted(0.3, some()), 1..32_u8, 0..PREFIXES.len(), 1..90_u64, prop::bool::weighted(0.1), any::<(u8, u8, u8, u8)>())
            .prop_map(|(vendor, to_key, actions, prefix, minutes, later, limits)| Op::Grant { vendor, to_key, actions, prefix, minutes, later, limits }),
        1 => some().prop_map(|grant| Op::Revoke { grant }),
        2 => some().prop_map(|key| Op::Open { key }),
        6 => (some(), grant(), paths(), 0..SIZES.len()).prop_map(|(session, grant, paths, size)| Op::Put { session, grant, paths, size }),
        9 => (some(), grant(), paths(), any::<bool>(), any::<bool>())
            .prop_map(|(session, grant, paths, named, repeat)| Op::Get { session, grant, paths, named, repeat }),
        2 => (some(), grant(), 0..PATHS.len()).prop_map(|(session, grant, path)| Op::Delete { session, grant, path }),
        1 => (0..20_u64).prop_map(|minutes| Op::Wait { minutes }),
    ];
    vec(op, 10..60)
}

impl Model {
    /// One admin (key 0), one vendor with one key (key 1), and four keys more.
    pub(crate) fn new() -> Self {
        let mut ledger = Ledger::new();
        let admin = Identity::from_pem(&ledger.admin.to_pem()).unwrap();
        let keys = std::iter::once(admin).chain((0..5).map(|_| identity())).collect();
        ledger.dataset("rlhf");
        let mut model = Self {
            ledger,
            keys,
            sessions: Vec::new(),
            vendors: BTreeMap::new(),
            vendor_of: BTreeMap::new(),
            grants: BTreeMap::new(),
            paths: BTreeMap::new(),
            forbidden: Vec::new(),
        };
        model.apply(&Op::AddVendor { key: 1 });
        model.apply(&Op::Open { key: 0 });
        model.apply(&Op::Open { key: 1 });
        model
    }

    fn vendor(&self, at: usize) -> Option<VendorId> {
        self.vendors.keys().nth(at % self.vendors.len().max(1)).copied()
    }

    /// Whether a key is taken: the admin's, or ever a vendor's.
    fn is_taken(&self, key: usize) -> bool {
        key.is_multiple_of(self.keys.len()) || self.vendor_of.contains_key(&self.key(key))
    }

    fn key(&self, at: usize) -> Fingerprint {
        self.keys[at % self.keys.len()].fingerprint()
    }

    pub(crate) fn apply(&mut self, op: &Op) {
        match op {
            Op::AddVendor { key } if !self.is_taken(*key) => {
                let name = format!("v{}", self.ledger.records.len());
                let at = *key % self.keys.len();
                let id = self.ledger.vendor(&name, &[&self.keys[at]]);
                self.vendors.insert(id, false);
                self.vendor_of.insert(self.key(*key), Some(id));
            }
            Op::AddKey { vendor, key } if !self.is_taken(*key) => {
                let (Some(vendor), key) = (self.vendor(*vendor), self.key(*key)) else { return };
                self.ledger.order(Instruction::AddKey { vendor, key });
                self.vendor_of.insert(key, Some(vendor));
            }
            Op::RevokeKey { key } => {
                let key = self.key(*key);
                if let Some(Some(vendor)) = self.vendor_of.get(&key).copied() {
                    self.ledger.order(Instruction::RevokeKey { vendor, key });
                    self.vendor_of.insert(key, None);
                }
            }
            Op::Suspend { vendor } => {
                let Some(vendor) = self.vendor(*vendor) else { return };
                self.ledger.order(Instruction::SuspendVendor { vendor, note: None });
                self.vendors.insert(vendor, true);
            }
            Op::Resume { vendor } => {
                let Some(vendor) = self.vendor(*vendor) else { return };
                if std::mem::replace(self.vendors.get_mut(&vendor).unwrap(), false) {
                    self.ledger.order(Instruction::ResumeVendor { vendor, note: None });
                }
            }
            Op::Remove { vendor } if *vendor < 4 => {
                let Some(vendor) = self.vendor(*vendor) else { return };
                self.ledger.order(Instruction::RemoveVendor { vendor });
                self.vendors.remove(&vendor);
                self.vendor_of.values_mut().filter(|of| **of == Some(vendor)).for_each(|of| *of = None);
            }
            Op::Grant { vendor, to_key, actions, prefix, minutes, later, limits } => {
                let (vendor, key) = match to_key {
                    Some(key) => (None, Some(self.key(*key))),
                    None => (self.vendor(*vendor), None),
                };
                let Some(holder) = vendor.map(Holder::Vendor).or(key.map(Holder::Key)) else { return };
                let actions: Vec<_> = Action::ALL
                    .into_iter()
                    .enumerate()
                    .filter(|(bit, _)| actions >> bit & 1 == 1)
                    .map(|(_, a)| a)
                    .collect();
                let limit = |n: u8, unit: u64| (!n.is_multiple_of(3)).then_some(u64::from(n % 16) * unit);
                let limits = Limits {
                    bytes: limit(limits.0, 30_000_000),
                    objects: limit(limits.1, 1),
                    uses: limit(limits.2, 1),
                    bytes_per_minute: limit(limits.3, 20_000_000),
                    ..Limits::default()
                };
                let prefix = PREFIXES[*prefix];
                let mut terms = self.ledger.terms(holder, &[(&actions, "rlhf", prefix)], limits.clone());
                let until = self.ledger.now + minutes * MINUTE;
                let from = if *later { self.ledger.now + 3 } else { 0 };
                terms.expires = Millis(until);
                terms.not_before = later.then_some(Millis(from));
                let grant = self.ledger.grant(terms);
                let usage = Usage::default();
                let charged = Vec::new();
                let grant_of =
                    ModelGrant { vendor, key, actions, prefix, from, until, limits, usage, charged, revoked: false };
                self.grants.insert(grant, grant_of);
            }
            Op::Revoke { grant } => {
                let Some(id) = self.grant_id(Some(*grant)) else { return };
                if !std::mem::replace(&mut self.grants.get_mut(&id).unwrap().revoked, true) {
                    self.ledger.order(Instruction::RevokeGrant { grant: id, note: None });
                }
            }
            Op::Open { key } => {
                let key = *key % self.keys.len();
                let session = self.ledger.open(&self.keys[key]);
                self.sessions.push((session, key));
            }
            Op::Put { session, grant, paths, size } => self.put(*session, *grant, paths, SIZES[*size]),
            Op::Get { session, grant, paths, named, repeat } => self.get(*session, *grant, paths, *named, *repeat),
            Op::Delete { session, grant, path } => self.delete(*session, *grant, PATHS[*path]),
            Op::Wait { minutes } => drop(self.ledger.wait(minutes * MINUTE)),
            _ => {}
        }
    }

    fn grant_id(&self, at: Option<usize>) -> Option<GrantId> {
        self.grants.keys().nth(at? % self.grants.len().max(1)).copied()
    }

    fn ask(&mut self, session: usize, grant: Option<usize>, work: Work) -> Ask {
        let grant = self.grant_id(grant);
        let at = session % self.sessions.len();
        self.ledger.ask(&self.sessions[at].0, grant, work)
    }

    /// The rules in plain words.
    fn may(&self, ask: &Ask, wanted: &[(Action, &str)], cost: Usage) -> bool {
        let key = ask.who;
        let own_vendor = self.vendor_of.get(&key).copied();
        // A revoked key is nobody's, and has no name of its own either.
        let is_suspended = |vendor: VendorId| self.vendors.get(&vendor).copied().unwrap_or(false);
        if own_vendor == Some(None) || own_vendor.flatten().is_some_and(is_suspended) {
            return false;
        }
        let Some(id) = ask.signed.call.grant else { return key == self.key(0) };
        let grant = &self.grants[&id];
        let holds = match (grant.vendor, grant.key) {
            (Some(vendor), _) => own_vendor == Some(Some(vendor)),
            (None, holder) => holder == Some(key),
        };
        let covers = |path: &str| match grant.prefix {
            "" => true,
            prefix if prefix.ends_with('/') => path.starts_with(prefix),
            prefix => match prefix.strip_suffix('*') {
                Some(stem) => path.starts_with(stem),
                None => path == prefix,
            },
        };
        let now = self.ledger.now;
        let within = |limit: Option<u64>, used: u64| limit.is_none_or(|limit| used <= limit);
        let in_minute = grant.charged.iter().filter(|(at, _)| at / MINUTE == now / MINUTE);
        let this_minute: u64 = in_minute.map(|(_, bytes)| bytes).sum();
        holds
            && !grant.revoked
            && grant.from <= now
            && now < grant.until
            && wanted.iter().all(|(action, path)| grant.actions.contains(action) && covers(path))
            && within(grant.limits.bytes, grant.usage.bytes + cost.bytes)
            && within(grant.limits.objects, grant.usage.objects + cost.objects)
            && within(grant.limits.uses, grant.usage.uses + cost.uses)
            && within(grant.limits.bytes_per_minute, this_minute + cost.bytes)
    }

    /// Enters what was allowed and charges it; else keeps the ledger in which it was done all the same, and enters a denial.
    fn enter<R>(
        &mut self,
        ask: &mut Ask,
        allowed: bool,
        cost: Usage,
        entry: impl FnOnce(&mut Ledger, &mut Ask) -> R,
    ) -> bool {
        if allowed {
            let now = self.ledger.now;
            entry(&mut self.ledger, ask);
            if let Some(id) = ask.signed.call.grant {
                let grant = self.grants.get_mut(&id).unwrap();
                grant.usage = grant.usage.plus(cost);
                grant.charged.push((now, cost.bytes));
            }
        } else {
            let (records, now, was_entered) = (self.ledger.records.clone(), self.ledger.now, ask.entered);
            entry(&mut self.ledger, ask);
            self.forbidden.push(std::mem::replace(&mut self.ledger.records, records));
            (self.ledger.now, ask.entered) = (now, was_entered);
            self.ledger.denied(ask, Reason::OutOfScope);
        }
        allowed
    }

    fn put(&mut self, session: usize, grant: Option<usize>, paths: &[usize], size: u64) {
        let paths: Vec<&'static str> = paths.iter().map(|path| PATHS[*path]).collect();
        let condition = |there: Option<Put>| match there {
            None => Condition::Absent,
            Some(put) if put.size % 2 == 0 => Condition::Generation(put.generation),
            Some(_) => Condition::Any,
        };
        let there: Vec<_> = paths.iter().map(|path| self.paths.get(path).copied().unwrap_or_default()).collect();
        let items = paths
            .iter()
            .zip(&there)
            .map(|(path, (_, put))| self.ledger.put_item("rlhf", path, condition(*put), size))
            .collect();
        let mut ask = self.ask(session, grant, Work::Put(items));
        let mut wanted: Vec<_> = paths.iter().map(|path| (Action::Write, *path)).collect();
        wanted.extend(
            paths.iter().zip(&there).filter(|(_, (_, put))| put.is_some()).map(|(path, _)| (Action::Overwrite, *path)),
        );
        let cost = Usage { bytes: size * paths.len() as u64, objects: paths.len() as u64, uses: 1 };
        let allowed = self.may(&ask, &wanted, cost);
        let numbers: Vec<_> = (0..).zip(&there).map(|(item, (last, _))| (item, last + 1)).collect();
        let mut puts = Vec::new();
        if self.enter(&mut ask, allowed, cost, |ledger, ask| puts = ledger.put_items(ask, &numbers)) {
            self.paths.extend(paths.iter().zip(puts).map(|(path, put)| (*path, (put.generation.0, Some(put)))));
        }
    }

    fn get(&mut self, session: usize, grant: Option<usize>, paths: &[usize], named: bool, repeat: bool) {
        let there = paths.iter().filter_map(|path| Some((PATHS[*path], self.paths.get(PATHS[*path])?.1?)));
        let there: Vec<(&'static str, Put)> = there.collect();
        if there.is_empty() {
            return;
        }
        let item = |(path, put): &(&'static str, Put)| GetItem {
            generation: named.then_some(put.generation),
            ..crate::builder::get("rlhf", path)
        };
        let mut ask = self.ask(session, grant, Work::Get(there.iter().map(item).collect()));
        for window in 0..2_u32 {
            let part = |(item, (path, put)): (u32, &(&'static str, Put))| {
                let layout = Layout::new(put.size).unwrap();
                let range = (window < layout.windows()).then(|| layout.window(window))?;
                Some((*path, put.part(item, range.start(), range.end())))
            };
            let parts: Vec<_> = (0..).zip(&there).filter_map(part).collect();
            if parts.is_empty() {
                break;
            }
            let wanted: Vec<_> = parts.iter().map(|(path, _)| (Action::Read, *path)).collect();
            let first = u64::from(window == 0);
            let cost = Usage {
                bytes: parts.iter().map(|(_, part)| part.5).sum(),
                objects: first * parts.len() as u64,
                uses: first,
            };
            let parts: Vec<_> = parts.iter().map(|(_, part)| *part).collect();
            let allowed = self.may(&ask, &wanted, cost);
            let again = parts.clone();
            if !self.enter(&mut ask, allowed, cost, |ledger, ask| ledger.release(ask, parts)) {
                break;
            }
            let allowed = self.may(&ask, &wanted, Usage::default());
            if repeat && !self.enter(&mut ask, allowed, Usage::default(), |ledger, ask| ledger.repeat(ask, again)) {
                break;
            }
        }
    }

    fn delete(&mut self, session: usize, grant: Option<usize>, path: &'static str) {
        let Some((last, Some(put))) = self.paths.get(path).copied() else { return };
        let mut ask = self.ask(session, grant, Work::Delete(vec![delete("rlhf", path)]));
        let cost = Usage { bytes: 0, objects: 1, uses: 1 };
        let allowed = self.may(&ask, &[(Action::Delete, path)], cost);
        if self.enter(&mut ask, allowed, cost, |ledger, ask| ledger.delete(ask, vec![put.whole(0)])) {
            self.paths.insert(path, (last + 1, None));
        }
    }
}
