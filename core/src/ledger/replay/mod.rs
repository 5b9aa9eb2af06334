//! Replay: a ledger, folded from entry 0, proves that every recorded release was allowed and asked for.
//!
//! The server decides before it records; [`Replay`] decides again, from the ledger's bytes alone, with the same
//! [`decide()`](crate::grant::decide()), over the authority, the grants, the usage and the objects as they stood at each entry's
//! index and time. It believes nothing that it can check: orders, openings and calls are taken by their signatures, ids and
//! digests are computed, charges are counted.
//!
//! ```text
//! feed: bytes ─► form (exact JSON, index, time, private hash, the event's fields)
//!         ├─ order          signatures ─► once ─► Authority::admit ─► apply
//!         ├─ session.open   signature ─► once
//!         ├─ put, delete, release, release.repeat
//!         │                 session ─► call ─► request ─► items against objects ─► charge ─► decide
//!         └─ denied         whatever it holds is what was signed; nothing changes
//! ```
//!
//! Invariants:
//! - What [`Replay::feed`] accepted was proven, or counted as [`Counts::uncheckable`]: its private part, or that of an entry
//!   it stands on, was erased. An erased part never makes a valid ledger fail, and is never called proven.
//! - After a [`Finding`] there is nothing left to prove from: every further call gives the same one.
//! - Signatures of calls may be checked ahead, on all cores ([`Replay::foresee`]): the findings are the same.
//! - Memory holds the orders, grants, sessions, paths and objects that there are, 16 bytes for each call, and the calls and
//!   requests of the last 15 minutes of the ledger's time: a few hundred bytes for each that reads or writes one object.

mod calls;
mod foreseen;
mod kept;
mod objects;
mod orders;
mod reads;
mod remembered;
mod rule;
mod snapshot;
mod words;
mod writes;

pub use rule::{Finding, Rule};
pub use snapshot::{Snapshot, SnapshotError};

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::exact::ExactError;
use crate::grant::authority::{is_authority_event, takes_away_event};
use crate::grant::{Authority, Blocked, Grant, Held, Place, Request, Source, Standing, Tally, Usage, decide};
use crate::identity::Fingerprint;
use crate::ids::{Digest, GrantId, Index, OrderId, SessionId};
use crate::ledger::entry::{EntryError, MAX_OBJECTS, MAX_PUTS};
use crate::ledger::head::chain;
use crate::ledger::log_keys::LogKeyChange;
use crate::ledger::tree::leaf_hash;
use crate::ledger::{Entry, Event, Head, Outcome, Private, Role};
use crate::names::{DatasetName, ObjectPath};
use crate::origin::Origin;
use calls::{Asked, Calls, Session};
use foreseen::Foreseen;
use objects::Objects;
use rule::Check;

/// What an accepted entry came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The entry.
    pub entry: Entry,
    /// How far it could be proven.
    pub proof: Proof,
}

/// How far an entry could be proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Proof {
    /// All of it.
    Whole,
    /// A private part that it needs was erased: what is left fits.
    Erased,
}

impl Proof {
    fn and(self, other: Self) -> Self {
        if self == Self::Whole { other } else { Self::Erased }
    }

    fn whole_if(holds: bool) -> Self {
        if holds { Self::Whole } else { Self::Erased }
    }
}

/// How many entries there were of each kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// All entries.
    pub entries: u64,
    /// Releases, repeats included.
    pub releases: u64,
    /// Refusals: entries, each counted as many times as it stands for.
    pub denials: u64,
    /// Entries that could not be proven whole, since something was erased.
    pub uncheckable: u64,
}

/// What a ledger comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Its head: size, tip, time, and what the authority log comes to.
    pub head: Head,
    /// How many entries of each kind.
    pub counts: Counts,
}

/// A grant as replay knows it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Known {
    /// None if its order was erased.
    #[serde(with = "snapshot::shared")]
    grant: Option<Arc<Grant>>,
    tally: Tally,
}

/// The fold over a ledger's entries.
#[derive(Debug)]
pub struct Replay {
    origin: Origin,
    head: Head,
    authority: Authority,
    grants: BTreeMap<GrantId, Known>,
    orders: HashSet<OrderId>,
    sessions: HashMap<SessionId, Session>,
    calls: Calls,
    /// Calls whose signatures were found to hold before their entries came.
    foreseen: Foreseen,
    objects: Objects,
    counts: Counts,
    /// The keys that signed its checkpoints after the first one, each with its entry.
    log_keys: Vec<(Index, LogKeyChange)>,
    /// Whether an order that changed authority was erased: from then on a decision proves nothing.
    blind: bool,
    found: Option<Finding>,
}

/// Replays a whole ledger.
///
/// # Errors
/// The first [`Finding`].
pub fn replay_all<'a>(
    origin: Origin,
    entries: impl IntoIterator<Item = (&'a [u8], Option<&'a [u8]>)>,
) -> Result<Summary, Finding> {
    let mut replay = Replay::new(origin);
    for (public, private) in entries {
        replay.feed(public, private)?;
    }
    replay.finish()
}

impl Replay {
    /// A replay of the ledger with this origin, before its entry 0.
    pub fn new(origin: Origin) -> Self {
        Self {
            origin,
            head: Head::default(),
            authority: Authority::default(),
            grants: BTreeMap::new(),
            orders: HashSet::new(),
            sessions: HashMap::new(),
            calls: Calls::default(),
            foreseen: Foreseen::default(),
            objects: Objects::default(),
            counts: Counts::default(),
            log_keys: Vec::new(),
            blind: false,
            found: None,
        }
    }

    /// Takes in the next entry: its public bytes, and its private part unless that was erased.
    ///
    /// # Errors
    /// The rule it breaks; from then on, always the same.
    pub fn feed(&mut self, public: &[u8], private: Option<&[u8]>) -> Result<Step, Finding> {
        if let Some(finding) = &self.found {
            return Err(finding.clone());
        }
        self.step(public, private).map_err(|broken| {
            let finding = Finding { index: self.size(), rule: broken.rule, detail: broken.detail };
            self.found.insert(finding).clone()
        })
    }

    /// What the entries so far come to.
    ///
    /// # Errors
    /// The [`Finding`], if there was one.
    pub fn finish(self) -> Result<Summary, Finding> {
        match self.found {
            Some(finding) => Err(finding),
            None => Ok(Summary { head: self.head, counts: self.counts }),
        }
    }

    /// Of which ledger.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The head as the entries so far give it: what a server keeps must be the same.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The RFC 6962 root over the entries so far.
    pub fn tip(&self) -> Digest {
        self.head.tip()
    }

    /// How many entries so far; also the index of the next.
    pub fn size(&self) -> Index {
        self.head.size()
    }

    /// Who stands in which relation to the tenant now.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// What was charged to a grant; none if no entry issued it.
    pub fn usage(&self, grant: &GrantId) -> Option<Usage> {
        self.grants.get(grant).map(|known| known.tally.total)
    }

    /// Which keys were put in the place of the one that signed the ledger's checkpoints, each by which entry.
    pub fn log_keys(&self) -> &[(Index, LogKeyChange)] {
        &self.log_keys
    }

    /// Where an object lies, by its put entry and ordinal; none if it was not put, or its put was erased.
    pub fn place(&self, index: Index, ordinal: u32) -> Option<(&DatasetName, &ObjectPath)> {
        let path = self.objects.path(self.objects.object(index, ordinal)?.path?);
        Some((&path.dataset, &path.path))
    }

    /// How many entries of each kind so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    fn step(&mut self, public: &[u8], private: Option<&[u8]>) -> Check<Step> {
        let entry = read_entry(public)?;
        self.check_place(&entry)?;
        let private = private.map(|bytes| read_private(&entry, bytes)).transpose()?;
        check_form(&entry)?;
        if let Some(private) = &private {
            check_private_form(&entry, private)?;
        }
        self.check_log_key(&entry)?;
        self.calls.forget(entry.time);
        let proof = match entry.event {
            Event::SessionOpen => self.session_open(&entry, private.as_ref()),
            Event::ObjectPut | Event::ObjectRekeyed => self.put(&entry, private.as_ref()),
            Event::ObjectDeleted => self.delete(&entry, private.as_ref()),
            Event::Release => self.release(&entry, private.as_ref()),
            Event::ReleaseRepeat => self.repeat(&entry, private.as_ref()),
            Event::Denied => self.denied(&entry, private.as_ref()),
            Event::KeyRotatedDue => self.rotation_due(&entry),
            Event::TenantCreated
            | Event::AdminAdded
            | Event::AdminRemoved
            | Event::VendorAdded
            | Event::VendorSuspended
            | Event::VendorResumed
            | Event::VendorRemoved
            | Event::KeyAdded
            | Event::KeyRevoked
            | Event::GrantIssued
            | Event::GrantRevoked
            | Event::GrantRenewed
            | Event::PolicySet
            | Event::DatasetCreated
            | Event::DatasetDeleted
            | Event::DatasetFrozen
            | Event::DatasetUnfrozen
            | Event::TenantFrozen
            | Event::TenantUnfrozen
            | Event::KeyBlocked
            | Event::KeyUnblocked
            | Event::KeyRotated
            | Event::KeyDestroyed
            | Event::IncidentOpened
            | Event::IncidentClosed
            | Event::LogKeyRotated
            | Event::ObjectShredded
            | Event::DatasetShredded
            | Event::TenantShredded
            | Event::RotationSet
            | Event::EscrowSet => self.order(&entry, private.as_ref()),
        }?;
        self.log_keys.extend(entry.log_key.map(|change| (entry.index, change)));
        self.advance(public, &entry, proof);
        Ok(Step { entry, proof })
    }

    fn check_place(&self, entry: &Entry) -> Check {
        let (index, time) = (self.size(), self.head.time);
        Rule::IndexGapless.unless(entry.index == index, || format!("it calls itself entry {}", entry.index))?;
        Rule::TimeForward.unless(entry.time >= time, || format!("{} comes after {time}", entry.time))?;
        let creates = entry.event == Event::TenantCreated;
        Rule::FirstEntry.unless(creates == (index == Index(0)), || format!("it is {}", entry.event.name()))
    }

    /// A key that is to sign checkpoints is signed by the one that signed them until now. Which one was the first, the ledger does
    /// not say: whoever verifies it has that from elsewhere.
    fn check_log_key(&self, entry: &Entry) -> Check {
        let rotates = entry.event == Event::LogKeyRotated;
        Rule::Form.unless(entry.log_key.is_some() == rotates, || format!("the log key of {}", entry.event.name()))?;
        let Some(change) = &entry.log_key else { return Ok(()) };
        let before = self.log_keys.last().map(|(_, before)| before.to);
        Rule::LogKey
            .unless(before.is_none_or(|before| before == change.from), || "another one signed until now".into())?;
        change.verify(&self.origin).map_err(|error| Rule::LogKey.broken(error.to_string()))
    }

    fn advance(&mut self, public: &[u8], entry: &Entry, proof: Proof) {
        let head = &mut self.head;
        head.range.append(leaf_hash(public));
        head.time = entry.time;
        if is_authority_event(entry.event) {
            head.authority_tip = chain(&head.authority_tip, public);
        }
        head.epoch += u64::from(takes_away_event(entry.event));
        head.hides += u64::from(matches!(entry.event, Event::ObjectDeleted | Event::DatasetDeleted));
        let counts = &mut self.counts;
        counts.entries += 1;
        counts.releases += u64::from(matches!(entry.event, Event::Release | Event::ReleaseRepeat));
        counts.denials += if entry.event == Event::Denied { entry.count } else { 0 };
        counts.uncheckable += u64::from(proof == Proof::Erased);
    }

    /// Decides again what an entry says was allowed, and charges its grants.
    fn decide(
        &mut self,
        entry: &Entry,
        asked: &Asked,
        places: &[Place<'_>],
        charge: Usage,
        source: Source,
    ) -> Check<Proof> {
        // Of a call that was erased, the entry has the grant; whether it named an incident is not known.
        let grant = asked.call.as_ref().map_or_else(|| entry.grants.first().copied(), |call| call.grant);
        let incident = asked.call.as_ref().and_then(|call| call.incident);
        let chain = self.chain(grant);
        let proof = match &chain {
            Some(chain) if !self.blind => {
                let held: Vec<Held<'_>> = chain.iter().map(|(grant, tally)| Held { grant, tally: *tally }).collect();
                let request = Request { key: asked.key, grant, incident, places, charge, source, obstacle: None };
                let standing = Standing {
                    now: entry.time,
                    authority: &self.authority,
                    chain: &held,
                    // Which other keys operators block stands in their own ledger. It only takes away.
                    blocked: Blocked::none(),
                };
                let allowed =
                    decide(&request, &standing).map_err(|refusal| Rule::Allowed.broken(refusal.to_string()))?;
                Rule::Chain.unless(allowed.chain == entry.grants, || format!("they are {:?}", allowed.chain))?;
                let anywhere = chain.iter().all(|(grant, _)| grant.terms.limits.sources.is_empty());
                Proof::whole_if(anywhere || source != Source::Erased)
            }
            _ => {
                Rule::Chain.unless(entry.grants.first().copied() == grant, || "the first is another".into())?;
                Proof::Erased
            }
        };
        for id in &entry.grants {
            let known = self.grants.get_mut(id).ok_or_else(|| Rule::Chain.broken(format!("{id} was never issued")))?;
            known.tally = known.tally.charged(charge, entry.time);
        }
        Ok(proof)
    }

    /// A grant, its parent, and so on up; empty for none or an unknown one; `None` if one of them was erased.
    fn chain(&self, grant: Option<GrantId>) -> Option<Vec<(Arc<Grant>, Tally)>> {
        let mut chain: Vec<(Arc<Grant>, Tally)> = Vec::new();
        let mut next = grant;
        while let Some(known) = next.and_then(|id| self.grants.get(&id)) {
            let grant = known.grant.as_ref()?;
            chain.push((grant.clone(), known.tally));
            // A parent is issued before its child, so this ends.
            next = grant.terms.parent;
        }
        Some(chain)
    }

    /// Whether the actor has the role that this key has now.
    fn check_actor(&self, entry: &Entry, key: Fingerprint) -> Check {
        Rule::Actor.unless(entry.actor.key == key, || format!("{} is not {key}", entry.actor.key))?;
        let role = Role::from(self.authority.principal(&key));
        Rule::Actor.unless(self.blind || entry.actor.role == role, || format!("{key} is {role:?}"))
    }
}

/// Where an entry says that it came from.
fn source_of(private: Option<&Private>) -> Source {
    let Some(private) = private else { return Source::Erased };
    let address = private.source.as_ref().and_then(|text| text.parse::<SocketAddr>().ok());
    address.map_or(Source::Unknown, Source::from)
}

fn read_entry(public: &[u8]) -> Check<Entry> {
    #[derive(serde::Deserialize)]
    struct EventOnly {
        event: String,
    }
    Entry::from_bytes(public).map_err(|error| match error {
        EntryError::Length => Rule::Length.broken(format!("it has {}", public.len())),
        EntryError::Exact(exact) => {
            let unknown = match (&exact, serde_json::from_slice::<EventOnly>(public)) {
                (ExactError::Shape(_), Ok(EventOnly { event })) => {
                    Event::ALL.iter().all(|known| known.name() != event).then_some(event)
                }
                _ => None,
            };
            match unknown {
                Some(event) => Rule::EventKnown.broken(format!("{event:?} is not")),
                None => Rule::Exact.broken(exact.to_string()),
            }
        }
    })
}

fn read_private(entry: &Entry, bytes: &[u8]) -> Check<Private> {
    let hash = Private::hash(bytes);
    Rule::PrivateHash.unless(hash == entry.private, || format!("its hash is {hash}"))?;
    let private = Private::from_bytes(bytes).map_err(|error| Rule::PrivateExact.broken(error.to_string()))?;
    let salt = data_encoding::HEXLOWER.decode(private.salt.as_bytes());
    Rule::PrivateExact.unless(salt.is_ok_and(|salt| salt.len() == 16), || "the salt is not 32 hex digits".into())?;
    Ok(private)
}

/// Whether an entry has the fields that its event has. What they say is for the event's own step.
fn check_form(entry: &Entry) -> Check {
    let form = |holds: bool, what: &str| Rule::Form.unless(holds, || format!("{what} of {}", entry.event.name()));
    let denied = entry.event == Event::Denied;
    Rule::DenialReason
        .unless((entry.outcome == Outcome::Denied) == denied && entry.reason.is_some() == denied, || {
            format!("{} is {:?}, {:?}", entry.event.name(), entry.outcome, entry.reason)
        })?;
    form(if denied { entry.count >= 1 } else { entry.count == 1 }, "the count")?;
    let is_put = matches!(entry.event, Event::ObjectPut | Event::ObjectRekeyed);
    let names_objects = matches!(entry.event, Event::ObjectDeleted | Event::Release | Event::ReleaseRepeat);
    form(entry.puts.is_empty() != is_put && entry.puts.len() <= MAX_PUTS, "the list of puts")?;
    form(entry.objects.is_empty() != names_objects && entry.objects.len() <= MAX_OBJECTS, "the list of objects")?;
    let of_call = is_put || names_objects;
    let of_session = of_call || entry.event == Event::SessionOpen;
    if denied {
        form(entry.call.is_none() || entry.session.is_some(), "the session")?;
        form(entry.call.is_none() || entry.order.is_none(), "the order")
    } else {
        form(entry.session.is_some() == of_session, "the session")?;
        form(entry.call.is_some() == of_call, "the call")?;
        form(entry.order.is_some() != of_session, "the order")?;
        // What was due names the order that says so, and carries out none.
        let carries_out = entry.order.is_some() && entry.event != Event::KeyRotatedDue;
        form(entry.request.is_some() == (of_call || carries_out), "the request id")?;
        form(entry.grants.is_empty() || entry.event != Event::SessionOpen, "the list of grants")
    }
}

fn check_private_form(entry: &Entry, private: &Private) -> Check {
    let form =
        |holds: bool, what: &str| Rule::PrivateForm.unless(holds, || format!("{what} of {}", entry.event.name()));
    form(private.opening.is_none() || entry.event == Event::SessionOpen, "the opening")?;
    form(private.call.is_none() || entry.call.is_some(), "the call")?;
    form(private.incident.is_none() || entry.call.is_some(), "the incident")?;
    let names_order = entry.order.is_some() && entry.event != Event::KeyRotatedDue;
    form(private.order.is_none() || names_order, "the order")
}
