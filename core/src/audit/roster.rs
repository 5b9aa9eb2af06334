//! Who is who in a ledger: its orders, folded, as far as an exposure needs them.
//!
//! It is read before the releases are: a key that became a vendor's late, and a grant whose holder did, were that vendor's before.
//! What an erased order said is not known, and counted; what its entry tells in public (which grant was revoked, under which
//! grants one was delegated) still counts.

mod standing;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::grant::{Authority, Holder, Prefix, Terms};
use crate::identity::Fingerprint;
use crate::ids::{GrantId, IncidentId, Index, Millis, OrderId, VendorId};
use crate::ledger::{Entry, Event, Outcome, Private};
use crate::names::{DatasetName, TenantName, VendorName};
use crate::order::{Instruction, Order};

pub use standing::GrantStanding;
pub(super) use standing::Theirs;

/// An entry's place and time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Moment {
    /// Its index.
    pub index: Index,
    /// Its time.
    pub time: Millis,
}

impl Moment {
    /// Of an entry.
    pub fn of(entry: &Entry) -> Self {
        Self { index: entry.index, time: entry.time }
    }
}

/// Why entries make no roster.
#[derive(Debug, thiserror::Error)]
pub enum RosterError {
    /// An order that changed authority does not hold.
    #[error("the order of entry {0} does not hold ({1}): verify the ledger before anything in it is believed")]
    Order(Index, crate::order::OrderError),
}

/// What orders changed that people tell of: who is there, who is stopped, and what nobody may touch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Happening {
    /// When, and as which entry.
    pub at: Moment,
    /// What.
    pub event: Event,
    /// Whose key signed first.
    pub by: Fingerprint,
    /// The vendor that it is about.
    pub vendor: Option<VendorId>,
    /// The key that it is about.
    pub key: Option<Fingerprint>,
    /// The grant that it is about.
    pub grant: Option<GrantId>,
    /// The dataset that it is about.
    pub dataset: Option<DatasetName>,
    /// The incident that it belongs to, or is about.
    pub incident: Option<IncidentId>,
    /// Why, in the words of the order.
    pub note: Option<String>,
}

/// A grant, as its entries tell of it.
#[derive(Debug, Clone)]
pub(super) struct Known {
    /// Itself and all above it: public, and so there for erased ones too.
    pub(super) chain: Vec<GrantId>,
    pub(super) issued: Moment,
    pub(super) issuer: Fingerprint,
    /// None if its order was erased.
    pub(super) terms: Option<Terms>,
    pub(super) revoked: Option<Moment>,
    pub(super) revoker: Option<Fingerprint>,
    /// The incident that the revocation belongs to.
    pub(super) incident: Option<IncidentId>,
}

/// Keys that were destroyed: of all that was put before it and lies here.
#[derive(Debug, Clone)]
pub(super) struct Shred {
    pub(super) at: Moment,
    /// All of the tenant's, if none.
    pub(super) dataset: Option<DatasetName>,
    /// All of the dataset's, if none.
    pub(super) prefix: Option<Prefix>,
}

/// An incident, as its orders tell of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Incident {
    /// The vendor that it is about.
    pub vendor: VendorId,
    /// From when on the vendor may have been in somebody else's hands.
    pub since: Option<Millis>,
    /// The entry that opened it.
    pub opened: Moment,
    /// The entry that closed it.
    pub closed: Option<Moment>,
    /// What was known when it was opened.
    pub note: Option<String>,
}

/// The fold of a ledger's orders.
#[derive(Debug, Default)]
pub struct Roster {
    pub(super) authority: Authority,
    /// Keys of vendors, those that they have and had.
    pub(super) vendor_of: BTreeMap<Fingerprint, VendorId>,
    /// When a key was taken from its vendor.
    key_ended: BTreeMap<Fingerprint, Millis>,
    vendor_ended: BTreeMap<VendorId, Millis>,
    pub(super) admins: std::collections::BTreeSet<Fingerprint>,
    pub(super) grants: BTreeMap<GrantId, Known>,
    pub(super) deleted: BTreeMap<DatasetName, Moment>,
    /// What was shredded, in the order of the ledger.
    pub(super) shreds: Vec<Shred>,
    /// The incidents that were opened.
    pub(super) incidents: BTreeMap<IncidentId, Incident>,
    /// Orders that are told of, but for grants, in their order.
    pub(super) happenings: Vec<Happening>,
    erased: u64,
}

impl Roster {
    /// The events that are looked at; all others may be left out.
    pub const EVENTS: [Event; 25] = [
        Event::TenantCreated,
        Event::AdminAdded,
        Event::AdminRemoved,
        Event::VendorAdded,
        Event::VendorSuspended,
        Event::VendorResumed,
        Event::VendorRemoved,
        Event::KeyAdded,
        Event::KeyRevoked,
        Event::GrantIssued,
        Event::GrantRenewed,
        Event::GrantRevoked,
        Event::DatasetCreated,
        Event::DatasetDeleted,
        Event::DatasetFrozen,
        Event::DatasetUnfrozen,
        Event::TenantFrozen,
        Event::TenantUnfrozen,
        Event::IncidentOpened,
        Event::IncidentClosed,
        Event::KeyBlocked,
        Event::KeyUnblocked,
        Event::ObjectShredded,
        Event::DatasetShredded,
        Event::TenantShredded,
    ];

    /// Takes in the next entry, with its private part unless that was erased.
    ///
    /// # Errors
    /// [`RosterError`]: what it says cannot be believed.
    pub fn feed(&mut self, entry: &Entry, private: Option<&Private>) -> Result<(), RosterError> {
        if entry.outcome != Outcome::Done || entry.order.is_none() || !Self::EVENTS.contains(&entry.event) {
            return Ok(());
        }
        let at = Moment::of(entry);
        let signed = private.and_then(|private| private.order.as_ref());
        match entry.event {
            Event::GrantIssued => {
                let terms = signed.and_then(|signed| match &signed.order.instruction {
                    Instruction::IssueGrant(terms) => Some(terms.clone()),
                    _ => None,
                });
                if let Some(id) = entry.grants.first() {
                    let chain = entry.grants.clone();
                    let known = Known {
                        chain,
                        issued: at,
                        issuer: entry.actor.key,
                        terms,
                        revoked: None,
                        revoker: None,
                        incident: None,
                    };
                    self.grants.insert(*id, known);
                }
                return Ok(());
            }
            // Which one is public.
            Event::GrantRevoked => {
                if let Some(known) = entry.grants.first().and_then(|id| self.grants.get_mut(id)) {
                    known.revoked.get_or_insert(at);
                    known.revoker.get_or_insert(entry.actor.key);
                    known.incident = known.incident.or(signed.and_then(|signed| signed.order.incident));
                }
                return Ok(());
            }
            _ => {}
        }
        let Some(signed) = signed else {
            self.erased += 1;
            return Ok(());
        };
        if let Instruction::RenewGrant { grant, expires } = &signed.order.instruction {
            // It only ever moves the end later.
            if let Some(terms) = self.grants.get_mut(grant).and_then(|known| known.terms.as_mut()) {
                terms.expires = terms.expires.max(*expires);
            }
            return Ok(());
        }
        let order = signed.clone().verify().map_err(|error| RosterError::Order(entry.index, error))?;
        self.learn(&order.order().instruction, order.id().into(), at);
        self.tell(entry, order.order(), order.id());
        self.authority.apply(entry.index, &order);
        Ok(())
    }

    fn learn(&mut self, instruction: &Instruction, id: VendorId, at: Moment) {
        match instruction {
            Instruction::CreateTenant { admins, .. } => self.admins.extend(admins),
            Instruction::AddAdmin { key } => {
                self.admins.insert(*key);
            }
            Instruction::AddVendor { keys, .. } => self.vendor_of.extend(keys.iter().map(|key| (*key, id))),
            Instruction::AddKey { vendor, key } => {
                self.vendor_of.insert(*key, *vendor);
            }
            Instruction::RevokeKey { key, .. } => {
                self.key_ended.insert(*key, at.time);
            }
            Instruction::RemoveVendor { vendor } => {
                self.vendor_ended.insert(*vendor, at.time);
            }
            Instruction::DeleteDataset { name } | Instruction::ShredDataset { name, .. } => {
                self.deleted.entry(name.clone()).or_insert(at);
            }
            _ => {}
        }
    }

    fn tell(&mut self, entry: &Entry, order: &Order, id: OrderId) {
        let mut told = Happening {
            at: Moment::of(entry),
            event: entry.event,
            by: entry.actor.key,
            vendor: None,
            key: None,
            grant: None,
            dataset: None,
            incident: order.incident,
            note: None,
        };
        match &order.instruction {
            Instruction::AddVendor { .. } => told.vendor = Some(id.into()),
            Instruction::SuspendVendor { vendor, note } | Instruction::ResumeVendor { vendor, note } => {
                (told.vendor, told.note) = (Some(*vendor), note.clone());
            }
            Instruction::OpenIncident { vendor, since, note } => {
                (told.vendor, told.incident, told.note) = (Some(*vendor), Some(id.into()), note.clone());
                let opened =
                    Incident { vendor: *vendor, since: *since, opened: told.at, closed: None, note: note.clone() };
                self.incidents.insert(id.into(), opened);
            }
            Instruction::CloseIncident { incident, note } => {
                (told.incident, told.note) = (Some(*incident), note.clone());
                if let Some(opened) = self.incidents.get_mut(incident) {
                    opened.closed = Some(told.at);
                    told.vendor = Some(opened.vendor);
                }
            }
            Instruction::RemoveVendor { vendor } => told.vendor = Some(*vendor),
            Instruction::AddKey { vendor, key } | Instruction::RevokeKey { vendor, key } => {
                (told.vendor, told.key) = (Some(*vendor), Some(*key));
            }
            Instruction::BlockKey { key, note } | Instruction::UnblockKey { key, note } => {
                (told.vendor, told.key, told.note) = (self.vendor_of(key), Some(*key), note.clone());
            }
            Instruction::FreezeDataset { name, note } | Instruction::UnfreezeDataset { name, note } => {
                (told.dataset, told.note) = (Some(name.clone()), note.clone());
            }
            Instruction::ShredObjects { dataset, prefix, note } => {
                (told.dataset, told.note) = (Some(dataset.clone()), note.clone());
                self.shreds.push(Shred { at: told.at, dataset: Some(dataset.clone()), prefix: Some(prefix.clone()) });
            }
            Instruction::ShredDataset { name, note } => {
                (told.dataset, told.note) = (Some(name.clone()), note.clone());
                self.shreds.push(Shred { at: told.at, dataset: Some(name.clone()), prefix: None });
            }
            Instruction::ShredTenant { note } => {
                told.note.clone_from(note);
                self.shreds.push(Shred { at: told.at, dataset: None, prefix: None });
            }
            Instruction::FreezeTenant { note } | Instruction::UnfreezeTenant { note } => told.note.clone_from(note),
            _ if order.incident.is_none() => return,
            _ => {}
        }
        self.happenings.push(told);
    }

    /// The tenant's name, unless its entry 0 was erased.
    pub fn tenant(&self) -> Option<&TenantName> {
        self.authority.tenant()
    }

    /// The orders about a vendor and its grants, in the order of the ledger; of freezes, all. With no vendor, all there are.
    pub(super) fn told(&self, vendor: Option<VendorId>, grants: &[GrantId]) -> Vec<Happening> {
        let about = |told: &&Happening| vendor.is_none() || told.vendor.is_none() || told.vendor == vendor;
        let mut all: Vec<Happening> = self.happenings.iter().filter(about).cloned().collect();
        for id in grants {
            let Some(known) = self.grants.get(id) else { continue };
            let holder = known.terms.as_ref().map(|terms| terms.holder);
            let (of_vendor, of_key) = match holder {
                Some(Holder::Vendor(id)) => (Some(id), None),
                Some(Holder::Key(key)) => (None, Some(key)),
                None => (None, None),
            };
            let issued = Happening {
                at: known.issued,
                event: Event::GrantIssued,
                by: known.issuer,
                vendor: of_vendor,
                key: of_key,
                grant: Some(*id),
                dataset: None,
                incident: None,
                note: known.terms.as_ref().and_then(|terms| terms.purpose.clone()),
            };
            let revoked = known.revoked.zip(known.revoker).map(|(at, by)| Happening {
                at,
                event: Event::GrantRevoked,
                by,
                incident: known.incident,
                note: None,
                ..issued.clone()
            });
            all.push(issued);
            all.extend(revoked);
        }
        all.sort_by_key(|told| told.at);
        all
    }

    /// The incidents that were opened, closed ones too.
    pub fn incidents(&self) -> &BTreeMap<IncidentId, Incident> {
        &self.incidents
    }

    /// The orders that belong to an incident, or are about it, but for those about grants; in their order.
    pub fn of_incident(&self, incident: IncidentId) -> Vec<Happening> {
        let mut all: Vec<Happening> =
            self.happenings.iter().filter(|told| told.incident == Some(incident)).cloned().collect();
        let grants: Vec<GrantId> =
            self.grants.iter().filter(|(_, known)| known.incident == Some(incident)).map(|(id, _)| *id).collect();
        all.extend(
            self.told(None, &grants)
                .into_iter()
                .filter(|told| told.event == Event::GrantRevoked && told.incident == Some(incident)),
        );
        all.sort_by_key(|told| told.at);
        all
    }

    /// A vendor that there is or was.
    pub fn vendor_named(&self, name: &VendorName) -> Option<VendorId> {
        self.authority.vendor_named(name).map(|(id, _)| id)
    }

    /// The name of a vendor that there is or was.
    pub fn vendor_name(&self, id: &VendorId) -> Option<&VendorName> {
        self.authority.vendor(id).map(|vendor| &vendor.name)
    }

    /// The vendor that a key belongs to, or belonged to.
    pub fn vendor_of(&self, key: &Fingerprint) -> Option<VendorId> {
        self.vendor_of.get(key).copied()
    }

    /// The vendor that a grant was issued to, or the one above it that an admin issued.
    pub(super) fn vendor_of_grant(&self, id: &GrantId) -> Option<VendorId> {
        let root = self.grants.get(id)?.chain.last()?;
        match self.grants.get(root)?.terms.as_ref()?.holder {
            Holder::Vendor(vendor) => Some(vendor),
            Holder::Key(key) => self.vendor_of(&key),
        }
    }

    /// Whether some vendor, admin or grant has or had this key, or may have: an order that would tell was erased.
    pub(super) fn may_know(&self, key: &Fingerprint) -> bool {
        let has = |known: &Known| {
            known.issuer == *key || known.terms.as_ref().is_none_or(|terms| terms.holder == Holder::Key(*key))
        };
        self.erased > 0
            || self.vendor_of.contains_key(key)
            || self.admins.contains(key)
            || self.grants.values().any(has)
    }

    /// The keys that a vendor has or had.
    pub(super) fn keys_of(&self, vendor: VendorId) -> impl Iterator<Item = Fingerprint> {
        self.vendor_of.iter().filter(move |(_, of)| **of == vendor).map(|(key, _)| *key)
    }

    /// Orders other than to issue or revoke a grant whose words were erased: what they changed is not known.
    pub fn erased(&self) -> u64 {
        self.erased
    }
}
