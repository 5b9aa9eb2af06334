//! The ledger, counted once more: what came out, what went in, and whether it could.
//!
//! The replay proves every entry with the code that decided it. This is a second, simpler judge beside it, which shares no code with
//! the server but the parsers: it goes through the entries once, keeps who is stopped and what is used, and says what is
//! wrong. Whom operators blocked, snapshots and networks are none of its business.

use std::collections::{BTreeMap, BTreeSet};

use strongroom_core::call::Work;
use strongroom_core::grant::{Action, Holder, Part, Scope, Terms, Usage};
use strongroom_core::identity::Fingerprint;
use strongroom_core::ids::{CallDigest, GrantId, Index, Millis, RequestId, VendorId};
use strongroom_core::ledger::{Entry, Event, Outcome, Private, Role};
use strongroom_core::names::DatasetName;
use strongroom_core::order::{Instruction, SignedOrder};
use strongroom_tests::oracle::Ledger;

/// What a ledger comes to.
pub(crate) struct Count {
    /// Its entries.
    pub(crate) entries: Vec<Entry>,
    /// Every grant that was issued.
    pub(crate) grants: BTreeMap<GrantId, Counted>,
    /// What is wrong.
    pub(crate) problems: Vec<String>,
    /// Live keys of vendors.
    keys: BTreeMap<Fingerprint, VendorId>,
    stopped: BTreeSet<Stopped>,
    /// What each put made visible, by its entry and ordinal there.
    objects: BTreeMap<(Index, u32), Place>,
    /// The places that each call that writes names.
    calls: BTreeMap<CallDigest, Vec<Place>>,
}

/// A grant, and what the entries say of it.
pub(crate) struct Counted {
    /// As they were signed.
    pub(crate) terms: Terms,
    /// What was charged to it.
    pub(crate) usage: Usage,
    /// The entry that ended it.
    pub(crate) revoked: Option<Index>,
    /// When it ends, after renewals.
    expires: Millis,
    issuer: Fingerprint,
    /// Itself, and those above it.
    chain: Vec<GrantId>,
    /// Bytes in each minute since 1970.
    minutes: BTreeMap<u64, u64>,
    requests: BTreeSet<(Fingerprint, RequestId)>,
    items: BTreeSet<(Fingerprint, RequestId, u32)>,
}

/// What whoever was at work under the grants was told.
pub(crate) struct Told {
    /// The bytes that were got under each grant, at least.
    pub(crate) got: Vec<(GrantId, u64)>,
    /// The entries as which ends of grants were acknowledged.
    pub(crate) revoked: Vec<(GrantId, Index)>,
    /// The usage of each grant, as the vault tells it.
    pub(crate) usages: Vec<(GrantId, Usage)>,
}

impl Count {
    /// What was told and does not stand in the ledger.
    pub(crate) fn differs(&self, told: &Told) -> Vec<String> {
        let mut found = Vec::new();
        for (id, usage) in &told.usages {
            let counted = &self.grants[id].usage;
            if usage != counted {
                found.push(format!("{id}: {usage:?} is said to be used, {counted:?} stands"));
            }
        }
        for (id, got) in &told.got {
            let charged = self.grants.get(id).map(|grant| grant.usage.bytes);
            if charged.is_none_or(|charged| *got > charged) {
                found.push(format!("{id}: {got} bytes were got, {charged:?} charged"));
            }
        }
        for (id, index) in &told.revoked {
            let revoked = self.grants.get(id).and_then(|grant| grant.revoked);
            if revoked != Some(*index) {
                found.push(format!("the end of {id} was acknowledged at {index}: {revoked:?}"));
            }
        }
        found
    }
}

impl Counted {
    /// Whether a limit on its whole life is reached exactly.
    pub(crate) fn is_used_up(&self) -> bool {
        let (limits, usage) = (&self.terms.limits, &self.usage);
        limits.bytes == Some(usage.bytes) || limits.objects == Some(usage.objects) || limits.uses == Some(usage.uses)
    }
}

/// What can be stopped and given back.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stopped {
    Vendor(VendorId),
    Dataset(DatasetName),
    Tenant,
}

/// A dataset, and a path in it.
type Place = (DatasetName, String);

impl Count {
    /// Counts.
    pub(crate) fn of(ledger: &Ledger) -> Self {
        let mut count = Self {
            entries: Vec::new(),
            grants: BTreeMap::new(),
            problems: Vec::new(),
            keys: BTreeMap::new(),
            stopped: BTreeSet::new(),
            objects: BTreeMap::new(),
            calls: BTreeMap::new(),
        };
        let entries = ledger.parsed();
        for (at, (entry, private)) in entries.iter().zip(ledger.private_parts()).enumerate() {
            if entry.index.0 != at as u64 {
                count.problems.push(format!("entry {at} says that it is {}", entry.index));
            }
            count.note_call(entry, &private);
            if entry.outcome != Outcome::Done {
                continue;
            }
            if let Some(signed) = &private.order {
                count.order(entry, signed);
            } else if moves(entry) {
                for what in count.moved(entry) {
                    count.problems.push(format!("entry {}, {}: {what}", entry.index, entry.event.name()));
                }
            }
        }
        count.entries = entries;
        count
    }

    fn order(&mut self, entry: &Entry, signed: &SignedOrder) {
        let order = entry.order.unwrap();
        let mut stop = |what: Stopped, begins: bool| match begins {
            true => drop(self.stopped.insert(what)),
            false => drop(self.stopped.remove(&what)),
        };
        match signed.order.instruction.clone() {
            Instruction::AddVendor { keys, .. } => {
                self.keys.extend(keys.into_iter().map(|key| (key, VendorId::from(order))));
            }
            Instruction::AddKey { vendor, key } => drop(self.keys.insert(key, vendor)),
            Instruction::RevokeKey { key, .. } => drop(self.keys.remove(&key)),
            Instruction::RemoveVendor { vendor } => self.keys.retain(|_, of| *of != vendor),
            Instruction::SuspendVendor { vendor, .. } => stop(Stopped::Vendor(vendor), true),
            Instruction::ResumeVendor { vendor, .. } => stop(Stopped::Vendor(vendor), false),
            Instruction::FreezeDataset { name, .. } => stop(Stopped::Dataset(name), true),
            Instruction::UnfreezeDataset { name, .. } => stop(Stopped::Dataset(name), false),
            Instruction::FreezeTenant { .. } => stop(Stopped::Tenant, true),
            Instruction::UnfreezeTenant { .. } => stop(Stopped::Tenant, false),
            Instruction::IssueGrant(terms) => {
                let id = GrantId::from(order);
                let above = terms.parent.and_then(|parent| self.grants.get(&parent));
                let chain = std::iter::once(id).chain(above.iter().flat_map(|above| above.chain.clone())).collect();
                let counted = Counted {
                    expires: terms.expires,
                    issuer: entry.actor.key,
                    chain,
                    terms,
                    usage: Usage::default(),
                    revoked: None,
                    minutes: BTreeMap::new(),
                    requests: BTreeSet::new(),
                    items: BTreeSet::new(),
                };
                self.grants.insert(id, counted);
            }
            Instruction::RenewGrant { grant, expires } => self.grants.get_mut(&grant).unwrap().expires = expires,
            Instruction::RevokeGrant { grant, .. } => {
                self.grants.get_mut(&grant).unwrap().revoked = Some(entry.index);
            }
            _ => {}
        }
    }

    /// What the first entry of a call that writes says of the places that its others name by number.
    fn note_call(&mut self, entry: &Entry, private: &Private) {
        let (Some(signed), Some(digest)) = (&private.call, entry.call) else { return };
        if let Work::Put(items) = &signed.call.work {
            let places = items.iter().map(|item| (item.dataset.clone(), item.path.to_string())).collect();
            self.calls.insert(digest, places);
        }
    }

    /// Something came out or went in: what is wrong with that. Charges it.
    fn moved(&mut self, entry: &Entry) -> Vec<String> {
        let mut wrong = Vec::new();
        let places = self.places(entry);
        let key = entry.actor.key;
        wrong.extend(places.is_none().then(|| "what it names is not there".to_owned()));
        let mut stops = vec![Stopped::Tenant];
        for (dataset, path) in places.iter().flatten() {
            stops.push(Stopped::Dataset(dataset.clone()));
            let action = match entry.event {
                // Which of the two it was is not in the entry alone.
                Event::ObjectPut => &[Action::Write, Action::Overwrite][..],
                _ => &[Action::Read],
            };
            for id in &entry.grants {
                let scopes = self.grants.get(id).map(|grant| &grant.terms.scopes[..]).unwrap_or_default();
                if !scopes.iter().any(|scope| covers(scope, action, dataset, path)) {
                    wrong.push(format!("{id} does not cover {dataset}/{path}"));
                }
            }
        }
        stops.extend(self.keys.get(&key).map(|vendor| Stopped::Vendor(*vendor)));
        match entry.grants.first().map(|id| self.grants.get(id)) {
            None if entry.actor.role != Role::Admin => wrong.push("it is nobody's".into()),
            None => {}
            Some(None) => wrong.push("its grant is not there".into()),
            Some(Some(leaf)) => {
                if leaf.chain != entry.grants {
                    wrong.push(format!("it names {:?}, and the chain is {:?}", entry.grants, leaf.chain));
                }
                if !self.is_holder(&leaf.terms.holder, &key) {
                    wrong.push(format!("{key} does not hold {}", entry.grants[0]));
                }
                wrong.extend(self.dead(entry, &leaf.chain));
                for grant in leaf.chain.iter().map(|id| &self.grants[id]) {
                    match &grant.terms.holder {
                        Holder::Vendor(vendor) => stops.push(Stopped::Vendor(*vendor)),
                        Holder::Key(key) => stops.extend(self.keys.get(key).map(|vendor| Stopped::Vendor(*vendor))),
                    }
                }
            }
        }
        wrong
            .extend(stops.iter().filter(|stop| self.stopped.contains(stop)).map(|stop| format!("{stop:?} is stopped")));
        let made = self.puts(entry).into_iter().zip(0..);
        let made = made.filter_map(|(place, ordinal)| Some(((entry.index, ordinal), place?))).collect::<Vec<_>>();
        self.objects.extend(made);
        if entry.event != Event::ReleaseRepeat {
            wrong.extend(self.charge(entry));
        }
        wrong
    }

    fn places(&self, entry: &Entry) -> Option<Vec<Place>> {
        entry
            .objects
            .iter()
            .map(|object| self.objects.get(&(object.1, object.2)).cloned())
            .chain(self.puts(entry))
            .collect()
    }

    fn puts(&self, entry: &Entry) -> Vec<Option<Place>> {
        let places = entry.call.and_then(|call| self.calls.get(&call));
        entry.puts.iter().map(|put| places?.get(put.0 as usize).cloned()).collect()
    }

    /// The grants of a chain that do not live, and why.
    fn dead(&self, entry: &Entry, chain: &[GrantId]) -> Vec<String> {
        let mut wrong = Vec::new();
        for id in chain {
            let grant = &self.grants[id];
            let parent = grant.terms.parent.map(|parent| &self.grants[&parent].terms.holder);
            if let Some(end) = grant.revoked {
                wrong.push(format!("{id} was revoked at {end}"));
            }
            if entry.time >= grant.expires || grant.terms.not_before.is_some_and(|start| entry.time < start) {
                wrong.push(format!("{id} does not live at {}: until {}", entry.time, grant.expires));
            }
            if parent.is_some_and(|holder| !self.is_holder(holder, &grant.issuer)) {
                wrong.push(format!("who issued {id} holds its parent no more"));
            }
        }
        wrong
    }

    fn is_holder(&self, holder: &Holder, key: &Fingerprint) -> bool {
        match holder {
            Holder::Vendor(vendor) => self.keys.get(key) == Some(vendor),
            Holder::Key(holder) => holder == key,
        }
    }

    /// Charges every grant of the chain; the limits that it overruns.
    fn charge(&mut self, entry: &Entry) -> Vec<String> {
        let mut wrong = Vec::new();
        let bytes = bytes_of(entry);
        let request = entry.request.map(|request| (entry.actor.key, request));
        for id in &entry.grants {
            let Some(grant) = self.grants.get_mut(id) else { continue };
            let minute = grant.minutes.entry(entry.time.0 / 60_000).or_default();
            *minute += bytes;
            let minute = *minute;
            grant.usage.bytes += bytes;
            grant.usage.objects += entry.puts.len() as u64;
            if let Some((key, request)) = request {
                grant.requests.insert((key, request));
                let new = |object: &&strongroom_core::ledger::ObjectRef| grant.items.insert((key, request, object.0));
                grant.usage.objects += entry.objects.iter().filter(new).count() as u64;
            }
            grant.usage.uses = grant.requests.len() as u64;
            let limits = &grant.terms.limits;
            for (what, used, limit) in [
                ("bytes", grant.usage.bytes, limits.bytes),
                ("objects", grant.usage.objects, limits.objects),
                ("uses", grant.usage.uses, limits.uses),
                ("bytes in this minute", minute, limits.bytes_per_minute),
            ] {
                if limit.is_some_and(|limit| used > limit) {
                    wrong.push(format!("{id} was charged {used} {what} of {limit:?}"));
                }
            }
        }
        wrong
    }
}

/// Whether a scope allows one of these on a path.
fn covers(scope: &Scope, actions: &[Action], dataset: &DatasetName, path: &str) -> bool {
    let Part::Prefix(prefix) = &scope.part else { return false };
    let prefix = prefix.to_string();
    let within = match prefix.strip_suffix('*') {
        Some(stem) => path.starts_with(stem),
        None if prefix.is_empty() || prefix.ends_with('/') => path.starts_with(&prefix),
        None => path == prefix,
    };
    within && scope.dataset == *dataset && actions.iter().any(|action| scope.actions.contains(action))
}

/// Whether something came out, or went in.
pub(crate) fn moves(entry: &Entry) -> bool {
    let event = matches!(entry.event, Event::Release | Event::ReleaseRepeat | Event::ObjectPut);
    event && entry.outcome == Outcome::Done
}

/// The plaintext bytes of an entry.
fn bytes_of(entry: &Entry) -> u64 {
    entry.objects.iter().map(|object| object.5).chain(entry.puts.iter().map(|put| put.2)).sum()
}

#[cfg(test)]
mod tests {
    use strongroom_client::{GetOptions, Limits};
    use strongroom_tests::TestVault;

    use super::*;

    /// A ledger in which all is well, and then the same with one entry where it must not stand.
    #[tokio::test]
    async fn what_must_not_be_is_seen() {
        let vault = TestVault::start().await;
        let lab = vault.lab("acme").await;
        let dataset = lab.dataset("rlhf").await;
        lab.put("rlhf/a", vec![7; 1000]).await;
        let worker = lab.vendor(&vault, "labelco").await;
        let mut terms = lab.terms(worker.holder, &[(&[Action::Read], "rlhf/a")]);
        terms.limits = Limits { bytes: Some(1500), bytes_per_minute: Some(1500), ..Limits::default() };
        let grant = lab.grant(terms).await;
        worker.vault.get_bytes(&lab.object("rlhf/a"), GetOptions::default()).await.unwrap();
        let name = "labelco".parse().unwrap();
        lab.vault.suspend_vendor(&lab.tenant, &name, None).await.unwrap();
        lab.vault.resume_vendor(&lab.tenant, &name, None).await.unwrap();
        lab.vault.freeze_dataset(&dataset, None).await.unwrap();
        lab.vault.unfreeze_dataset(&dataset, None).await.unwrap();
        lab.vault.freeze_tenant(&lab.tenant, None).await.unwrap();
        lab.vault.unfreeze_tenant(&lab.tenant, None).await.unwrap();
        lab.vault.revoke_key(&lab.tenant, &name, worker.identity.fingerprint()).await.unwrap();
        lab.vault.revoke_grant(&lab.tenant, grant, None).await.unwrap();
        let ledger = vault.ledger("acme").await;
        assert_eq!(Count::of(&ledger).problems, [""; 0]);

        let release = ledger.done(Event::Release)[0].index;
        for (after, wrong) in [
            (Event::Release, "bytes of Some(1500)"),
            (Event::Release, "bytes in this minute of Some(1500)"),
            (Event::VendorSuspended, "Vendor("),
            (Event::DatasetFrozen, "Dataset("),
            (Event::TenantFrozen, "Tenant is stopped"),
            (Event::KeyRevoked, "does not hold"),
            (Event::GrantRevoked, "was revoked at"),
        ] {
            let place = usize::try_from(ledger.done(after)[0].index.0).unwrap() + 1;
            let mut entries = ledger.entries.clone();
            let again = entries[usize::try_from(release.0).unwrap()].clone();
            entries.insert(place, again);
            let broken = Ledger { origin: ledger.origin.clone(), entries, head: ledger.head.clone() };
            let problems = Count::of(&broken).problems;
            assert!(problems.iter().any(|problem| problem.contains(wrong)), "{wrong}: {problems:?}");
        }
    }
}
