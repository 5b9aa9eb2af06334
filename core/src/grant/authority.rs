//! The fold of a tenant's authority log: who stands in which relation to it, right now.
//!
//! Nothing mutable decides. Admins, vendors, their keys, datasets, and all that takes away or gives back come from orders in the
//! ledger, folded here in their order, by the server and by replay alike. [`Authority::admit`] says whether an order may be
//! accepted; [`Authority::apply`] takes an accepted one in.

mod admit;
mod grown;
mod kinds;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::grant::{Blocked, Grant, Holder, Policy, Prefix, Refusal, Renewal, Shreds};
use crate::identity::Fingerprint;
use crate::ids::{DatasetId, GrantId, IncidentId, Index, Millis, OrderId, VendorId};
use crate::names::{DatasetName, TenantName, VendorName};
use crate::order::{Instruction, VerifiedOrder};
use crate::reason::Reason;
use grown::Grown;
pub use kinds::{is_authority, is_authority_event, takes_away, takes_away_event};

/// Who a key is to a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Principal {
    /// An admin of the tenant.
    Admin,
    /// A live key of this vendor, suspended or not.
    Vendor(VendorId),
    /// A key that the tenant does not know; it may hold a grant of its own.
    Key,
}

/// A vendor of the tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vendor {
    /// Its name.
    pub name: VendorName,
    /// Its live keys.
    pub keys: BTreeSet<Fingerprint>,
    /// The entry that suspended it, while it is.
    pub suspended: Option<Index>,
    /// Whether it was removed, for good.
    pub removed: bool,
}

/// A dataset of the tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dataset {
    /// Its id.
    pub id: DatasetId,
    /// The entry that created it.
    pub created: Index,
    /// The entry that deleted it.
    pub deleted: Option<Index>,
    /// The entry that froze it, while it is.
    pub frozen: Option<Index>,
    /// The entry that shredded all of it.
    pub shredded: Option<Index>,
}

/// An incident about a vendor of the tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Incident {
    /// The vendor.
    pub vendor: VendorId,
    /// The entry that opened it.
    pub opened: Index,
    /// The entry that closed it.
    pub closed: Option<Index>,
}

/// When a tenant's key is rotated by the vault itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// The order that says so.
    pub order: OrderId,
    /// Whose order it is.
    pub issuer: Fingerprint,
    /// The time from one to the next, in milliseconds.
    pub every: u64,
    /// When the next is due.
    pub next: Millis,
}

/// Who stands in which relation to a tenant, after some entries of its ledger.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Authority {
    tenant: Option<TenantName>,
    admins: BTreeSet<Fingerprint>,
    vendors: BTreeMap<VendorId, Vendor>,
    vendor_names: BTreeMap<VendorName, VendorId>,
    /// Keys of vendors, revoked ones too: a key that was one vendor's is never another's.
    keys: BTreeMap<Fingerprint, VendorId>,
    datasets: BTreeMap<DatasetName, Dataset>,
    revoked: Grown<GrantId, Index>,
    frozen: Option<Index>,
    blocked: Blocked,
    shreds: Shreds,
    /// The entry that shredded the whole tenant.
    shredded: Option<Index>,
    /// How often the tenant's key was rotated: it begins with version 1.
    rotations: u32,
    destroyed: BTreeSet<u32>,
    incidents: BTreeMap<IncidentId, Incident>,
    /// How often the key that signs checkpoints was rotated: it begins with version 1.
    log_rotations: u32,
    /// How often the key is rotated by itself, and when next.
    schedule: Option<Schedule>,
    /// The age recipients that the key's versions are sealed to.
    escrow: Vec<String>,
    policy: Policy,
    policy_set: Option<Index>,
    /// The orders that were taken in, each accepted once.
    orders: Grown<OrderId, Index>,
    epoch: u64,
}

impl Authority {
    /// The tenant's name; none before its entry 0.
    pub fn tenant(&self) -> Option<&TenantName> {
        self.tenant.as_ref()
    }

    /// The tenant's admins.
    pub fn admins(&self) -> &BTreeSet<Fingerprint> {
        &self.admins
    }

    /// All vendors, removed ones too.
    pub fn vendors(&self) -> &BTreeMap<VendorId, Vendor> {
        &self.vendors
    }

    /// A vendor by its id.
    pub fn vendor(&self, id: &VendorId) -> Option<&Vendor> {
        self.vendors.get(id)
    }

    /// A vendor by its name.
    pub fn vendor_named(&self, name: &VendorName) -> Option<(VendorId, &Vendor)> {
        let id = self.vendor_names.get(name)?;
        self.vendors.get(id).map(|vendor| (*id, vendor))
    }

    /// All datasets, deleted ones too.
    pub fn datasets(&self) -> &BTreeMap<DatasetName, Dataset> {
        &self.datasets
    }

    /// A dataset that is there.
    pub fn dataset(&self, name: &DatasetName) -> Option<&Dataset> {
        self.datasets.get(name).filter(|dataset| dataset.deleted.is_none())
    }

    /// Whether a dataset is frozen by itself.
    pub fn is_frozen(&self, name: &DatasetName) -> bool {
        self.datasets.get(name).is_some_and(|dataset| dataset.frozen.is_some())
    }

    /// The entry that froze the whole tenant, while it is.
    pub fn frozen(&self) -> Option<Index> {
        self.frozen
    }

    /// The keys that operators blocked: all in their own ledger, and in a tenant's those that were noted.
    pub fn blocked(&self) -> &Blocked {
        &self.blocked
    }

    /// The version of the tenant's key that new objects are wrapped with.
    pub fn key_version(&self) -> u32 {
        1 + self.rotations
    }

    /// Whether there is such a version of the tenant's key: made, and not destroyed.
    pub fn has_key(&self, version: u32) -> bool {
        let is_left = self.shredded.is_none() && !self.destroyed.contains(&version);
        (1..=self.key_version()).contains(&version) && is_left
    }

    /// When the tenant's key is rotated by the vault itself; none if nobody ordered it.
    pub fn schedule(&self) -> Option<&Schedule> {
        self.schedule.as_ref()
    }

    /// The version that the vault may make at `now` by this order, as nothing but an order of an admin and its time lets it.
    ///
    /// # Errors
    /// `PRECONDITION_FAILED` if none is due by that order.
    pub fn admit_due(&self, order: &OrderId, now: Millis) -> Result<u32, Refusal> {
        let refuse = |words: String| Err(Refusal::new(Reason::PreconditionFailed, words));
        if self.shredded.is_some() {
            return Err(Refusal::tenant_shredded());
        }
        match &self.schedule {
            Some(schedule) if schedule.order == *order && schedule.next <= now => {
                match self.key_version().checked_add(1) {
                    Some(version) => Ok(version),
                    None => refuse("the key was rotated as often as can be counted".into()),
                }
            }
            Some(schedule) if schedule.order == *order => {
                refuse(format!("the next rotation is due at {}", schedule.next))
            }
            _ => refuse("no rotation is due by this order".into()),
        }
    }

    /// Takes in a rotation that was due and was made at `now`.
    pub fn apply_due(&mut self, now: Millis) {
        self.rotations = self.rotations.saturating_add(1);
        if let Some(schedule) = &mut self.schedule {
            schedule.next = Millis(now.0.saturating_add(schedule.every));
        }
    }

    /// The age recipients that every version of the tenant's key is sealed to, sorted; none if there is no escrow.
    pub fn escrow(&self) -> &[String] {
        &self.escrow
    }

    /// The entry that shredded the whole tenant, if one did.
    pub fn tenant_shredded(&self) -> Option<Index> {
        self.shredded
    }

    /// Whether anything was ever shredded.
    pub fn has_shreds(&self) -> bool {
        self.shredded.is_some() || !self.shreds.is_empty()
    }

    /// The newest entry that shredded what was put at a path of a dataset as entry `put`; none if it was not shredded.
    pub fn shredded(&self, dataset: &DatasetId, path: &str, put: Index) -> Option<Index> {
        let newest = || self.shreds.newest(dataset, path);
        self.shredded.or_else(newest).filter(|shredded| *shredded > put)
    }

    /// The same, by the dataset's name: that of the one dataset that ever had it.
    pub fn shredded_in(&self, dataset: &DatasetName, path: &str, put: Index) -> Option<Index> {
        self.shredded(&self.datasets.get(dataset)?.id, path, put)
    }

    /// The version of the key that signs the ledger's checkpoints.
    pub fn log_key_version(&self) -> u32 {
        1 + self.log_rotations
    }

    /// The entry that revoked this grant itself.
    pub fn revoked(&self, grant: &GrantId) -> Option<Index> {
        self.revoked.get(grant).copied()
    }

    /// All incidents, closed ones too.
    pub fn incidents(&self) -> &BTreeMap<IncidentId, Incident> {
        &self.incidents
    }

    /// What the tenant asks of its grants, and the entry that set it; none if it never said.
    pub fn policy(&self) -> (&Policy, Option<Index>) {
        (&self.policy, self.policy_set)
    }

    /// The grant that an accepted order issues as entry `index`, as it is recorded; `None` if it issues none.
    pub fn granted(&self, order: &VerifiedOrder, index: Index) -> Option<Grant> {
        let Instruction::IssueGrant(terms) = &order.order().instruction else { return None };
        let terms = self.policy.applied(terms);
        Some(Grant { id: order.id().into(), issued: index, issuer: order.issuer(), terms })
    }

    /// The renewal that an accepted order makes as entry `index`, as it is recorded; `None` if it makes none.
    pub fn renewal(&self, order: &VerifiedOrder, index: Index) -> Option<Renewal> {
        match order.order().instruction {
            Instruction::RenewGrant { grant, expires } => Some(Renewal { grant, expires, renewed: index }),
            _ => None,
        }
    }

    /// How often something was taken away: streams are looked at again when it moves.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Who this key is.
    pub fn principal(&self, key: &Fingerprint) -> Principal {
        if self.admins.contains(key) {
            return Principal::Admin;
        }
        match self.keys.get(key) {
            Some(id) if self.vendors.get(id).is_some_and(|v| !v.removed && v.keys.contains(key)) => {
                Principal::Vendor(*id)
            }
            _ => Principal::Key,
        }
    }

    /// Whether this key is or was an admin's or a vendor's.
    pub fn has_known(&self, key: &Fingerprint) -> bool {
        self.admins.contains(key) || self.keys.contains_key(key)
    }

    /// Whether this key may act as this holder: it is the key, or a live key of the vendor.
    pub fn is_holder(&self, holder: &Holder, key: &Fingerprint) -> bool {
        match holder {
            // A key that was revoked from its vendor, or whose vendor was removed, holds nothing in its own name either.
            Holder::Key(own) => own == key && (!self.keys.contains_key(key) || self.principal(key) != Principal::Key),
            Holder::Vendor(id) => self.principal(key) == Principal::Vendor(*id),
        }
    }

    /// The suspended vendor that this holder is, or is a key of.
    pub fn suspended(&self, holder: &Holder) -> Option<VendorId> {
        let id = match holder {
            Holder::Vendor(id) => *id,
            Holder::Key(key) => *self.keys.get(key)?,
        };
        self.vendors.get(&id).filter(|vendor| vendor.suspended.is_some()).map(|_| id)
    }

    /// The entry as which an order of the authority log was accepted, if it was.
    pub fn accepted(&self, order: &OrderId) -> Option<Index> {
        self.orders.get(order).copied()
    }

    /// Takes in an order that was accepted as entry `index`. Grants are kept beside, by whoever keeps them.
    pub fn apply(&mut self, index: Index, order: &VerifiedOrder) {
        let instruction = &order.order().instruction;
        if is_authority(instruction) {
            self.orders.insert(order.id(), index);
        }
        self.epoch += u64::from(takes_away(instruction));
        match instruction {
            Instruction::CreateTenant { name, admins } => {
                self.tenant = Some(name.clone());
                self.admins.extend(admins);
            }
            Instruction::AddAdmin { key } => {
                self.admins.insert(*key);
            }
            Instruction::RemoveAdmin { key } => {
                self.admins.remove(key);
            }
            Instruction::AddVendor { name, keys } => {
                let id = VendorId::from(order.id());
                let keys: BTreeSet<_> = keys.iter().copied().collect();
                self.keys.extend(keys.iter().map(|key| (*key, id)));
                self.vendor_names.insert(name.clone(), id);
                self.vendors.insert(id, Vendor { name: name.clone(), keys, suspended: None, removed: false });
            }
            Instruction::SuspendVendor { vendor, .. } => self.change(vendor, |vendor| vendor.suspended = Some(index)),
            Instruction::ResumeVendor { vendor, .. } => self.change(vendor, |vendor| vendor.suspended = None),
            Instruction::RemoveVendor { vendor } => self.change(vendor, |vendor| vendor.removed = true),
            Instruction::AddKey { vendor, key } => {
                self.keys.insert(*key, *vendor);
                self.change(vendor, |vendor| {
                    vendor.keys.insert(*key);
                });
            }
            Instruction::RevokeKey { vendor, key } => self.change(vendor, |vendor| {
                vendor.keys.remove(key);
            }),
            Instruction::CreateDataset { name } => {
                let dataset =
                    Dataset { id: order.id().into(), created: index, deleted: None, frozen: None, shredded: None };
                self.datasets.insert(name.clone(), dataset);
            }
            Instruction::DeleteDataset { name } => {
                if let Some(dataset) = self.datasets.get_mut(name) {
                    dataset.deleted = Some(index);
                }
            }
            Instruction::ShredObjects { dataset, prefix, .. } => {
                if let Some(dataset) = self.datasets.get(dataset) {
                    self.shreds.add(dataset.id, prefix, index);
                }
            }
            Instruction::ShredDataset { name, .. } => {
                if let Some(dataset) = self.datasets.get_mut(name) {
                    dataset.deleted = dataset.deleted.or(Some(index));
                    dataset.shredded = Some(index);
                    self.shreds.add(dataset.id, &Prefix::all(), index);
                }
            }
            Instruction::ShredTenant { .. } => self.shredded = Some(index),
            Instruction::FreezeDataset { name, .. } => self.freeze(name, Some(index)),
            Instruction::UnfreezeDataset { name, .. } => self.freeze(name, None),
            Instruction::FreezeTenant { .. } => self.frozen = Some(index),
            Instruction::UnfreezeTenant { .. } => self.frozen = None,
            Instruction::BlockKey { key, .. } => self.blocked.block(*key, index, order),
            Instruction::UnblockKey { key, .. } => self.blocked.unblock(key, order),
            Instruction::RotateKey { version } => self.rotations = version.saturating_sub(1),
            Instruction::DestroyKey { version } => {
                self.destroyed.insert(*version);
            }
            Instruction::RotateLogKey { version } => self.log_rotations = version.saturating_sub(1),
            Instruction::RotateEvery { every, first } => {
                let (id, issuer) = (order.id(), order.issuer());
                self.schedule = every.map(|every| Schedule { order: id, issuer, every, next: *first });
            }
            Instruction::SetEscrow { recipients } => self.escrow.clone_from(recipients),
            Instruction::RevokeGrant { grant, .. } => {
                self.revoked.insert(*grant, index);
            }
            Instruction::OpenIncident { vendor, .. } => {
                let incident = Incident { vendor: *vendor, opened: index, closed: None };
                self.incidents.insert(order.id().into(), incident);
            }
            Instruction::CloseIncident { incident, .. } => {
                if let Some(incident) = self.incidents.get_mut(incident) {
                    incident.closed = Some(index);
                }
            }
            Instruction::SetPolicy(policy) => (self.policy, self.policy_set) = (policy.clone(), Some(index)),
            Instruction::IssueGrant(_) | Instruction::RenewGrant { .. } => {}
        }
    }

    fn freeze(&mut self, name: &DatasetName, frozen: Option<Index>) {
        if let Some(dataset) = self.datasets.get_mut(name) {
            dataset.frozen = frozen;
        }
    }

    fn change(&mut self, id: &VendorId, change: impl FnOnce(&mut Vendor)) {
        if let Some(vendor) = self.vendors.get_mut(id) {
            change(vendor);
        }
    }
}
