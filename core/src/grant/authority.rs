//! The fold of a tenant's authority log: who stands in which relation to it, right now.
//!
//! Nothing mutable decides. Admins, vendors, their keys, datasets, and all that takes away or gives back come from orders in the
//! ledger, folded here in their order, by the server and by replay alike. [`Authority::admit`] says whether an order may be
//! accepted; [`Authority::apply`] takes an accepted one in.

use std::collections::{BTreeMap, BTreeSet};

use crate::grant::decide::Refusal;
use crate::grant::{Blocked, Grant, Holder, NotANetwork, Part, Policy, Renewal, Source, Terms, delegate, renewal};
use crate::identity::Fingerprint;
use crate::ids::{DatasetId, GrantId, Index, Millis, OrderId, VendorId};
use crate::ledger::Event;
use crate::names::{DatasetName, TenantName, VendorName};
use crate::order::{Instruction, VerifiedOrder};
use crate::origin::Origin;
use crate::reason::Reason;

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
#[derive(Debug, Clone, PartialEq, Eq)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dataset {
    /// Its id.
    pub id: DatasetId,
    /// The entry that created it.
    pub created: Index,
    /// The entry that deleted it.
    pub deleted: Option<Index>,
    /// The entry that froze it, while it is.
    pub frozen: Option<Index>,
}

/// Who stands in which relation to a tenant, after some entries of its ledger.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Authority {
    tenant: Option<TenantName>,
    admins: BTreeSet<Fingerprint>,
    vendors: BTreeMap<VendorId, Vendor>,
    vendor_names: BTreeMap<VendorName, VendorId>,
    /// Keys of vendors, revoked ones too: a key that was one vendor's is never another's.
    keys: BTreeMap<Fingerprint, VendorId>,
    datasets: BTreeMap<DatasetName, Dataset>,
    revoked: BTreeMap<GrantId, Index>,
    frozen: Option<Index>,
    blocked: Blocked,
    /// How often the tenant's key was rotated: it begins with version 1.
    rotations: u32,
    destroyed: BTreeSet<u32>,
    policy: Policy,
    policy_set: Option<Index>,
    /// The orders that were taken in, each accepted once.
    orders: BTreeMap<OrderId, Index>,
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

    /// The keys that operators blocked: in their own ledger alone.
    pub fn blocked(&self) -> &Blocked {
        &self.blocked
    }

    /// The version of the tenant's key that new objects are wrapped with.
    pub fn key_version(&self) -> u32 {
        1 + self.rotations
    }

    /// Whether there is such a version of the tenant's key: made, and not destroyed.
    pub fn has_key(&self, version: u32) -> bool {
        (1..=self.key_version()).contains(&version) && !self.destroyed.contains(&version)
    }

    /// The entry that revoked this grant itself.
    pub fn revoked(&self, grant: &GrantId) -> Option<Index> {
        self.revoked.get(grant).copied()
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

    /// Whether an order may be accepted at `now`. `chain` is the grant that the instruction names and all above it: the one to
    /// revoke or renew, or the parent of one to issue; `source` is where the order came from.
    ///
    /// An order of the authority log that was taken in is not accepted again, whatever else of it was forgotten: an old order
    /// to add or to resume would give back what was taken away since. Orders to grant are remembered by whoever keeps grants.
    ///
    /// # Errors
    /// A [`Refusal`] with the reason and what is wrong in words.
    pub fn admit(
        &self,
        order: &VerifiedOrder,
        origin: &Origin,
        now: Millis,
        chain: &[&Grant],
        source: Source,
    ) -> Result<(), Refusal> {
        let content = order.order();
        if let Some(accepted) = self.orders.get(&order.id()) {
            let words = format!("the order was accepted before, as entry {accepted}");
            return Err(Refusal::new(Reason::PreconditionFailed, words));
        }
        if content.ledger != *origin {
            return Err(Refusal::new(Reason::PreconditionFailed, "the order is for another ledger"));
        }
        if now > content.not_after {
            return Err(Refusal::new(Reason::PreconditionFailed, "the order's time is over"));
        }
        if let Instruction::CreateTenant { .. } = content.instruction {
            // Who may create tenants stands in the server's configuration; a ledger begins with one such order.
            return if self.tenant.is_none() { Ok(()) } else { Err(taken("the tenant")) };
        }
        if origin.is_operators() != content.instruction.is_operators() {
            let words = "keys are blocked in the operators' own ledger, which holds nothing else";
            return Err(Refusal::new(Reason::OutOfScope, words));
        }
        let signers = order.signers();
        let is_admin = signers.iter().all(|signer| self.admins.contains(signer));
        match &content.instruction {
            Instruction::IssueGrant(terms) if terms.parent.is_some() => {
                delegate::admit(self, signers, now, terms, chain, source)?;
            }
            Instruction::RenewGrant { expires, .. } => renewal::admit(self, signers, now, *expires, chain, source)?,
            Instruction::RevokeGrant { .. } if delegate::may_revoke(self, signers, chain) => {}
            Instruction::SuspendVendor { vendor, .. } if !is_admin && self.may_suspend(vendor, signers) => {
                // Once is enough; a stolen key must not fill the authority log.
                if self.vendors.get(vendor).is_some_and(|vendor| vendor.suspended.is_some()) {
                    return Err(Refusal::new(Reason::PreconditionFailed, "the vendor is suspended already"));
                }
            }
            // Who is an operator stands in the server's configuration.
            Instruction::BlockKey { .. } | Instruction::UnblockKey { .. } => {}
            _ if is_admin => {}
            _ => return Err(Refusal::new(Reason::OutOfScope, "only an admin of the tenant may order this")),
        }
        self.admit_instruction(&content.instruction, now, chain.first().copied())
    }

    fn admit_instruction(&self, instruction: &Instruction, now: Millis, grant: Option<&Grant>) -> Result<(), Refusal> {
        match instruction {
            Instruction::CreateTenant { .. } => Err(taken("the tenant")),
            Instruction::AddAdmin { key } if self.admins.contains(key) => Err(taken("this admin")),
            Instruction::AddAdmin { key } => self.admit_new_key(key),
            Instruction::RemoveAdmin { key } if !self.admins.contains(key) => Err(missing("admin")),
            Instruction::RemoveAdmin { .. } if self.admins.len() == 1 => {
                Err(Refusal::new(Reason::PreconditionFailed, "a tenant keeps at least one admin"))
            }
            Instruction::RemoveAdmin { .. } => Ok(()),
            Instruction::AddVendor { name, .. } if self.vendor_names.contains_key(name) => Err(taken("the vendor")),
            Instruction::AddVendor { keys, .. } => keys.iter().try_for_each(|key| self.admit_new_key(key)),
            Instruction::AddKey { vendor, key } => self.live_vendor(vendor).and_then(|_| self.admit_new_key(key)),
            Instruction::RevokeKey { vendor, key } => {
                let known = self.live_vendor(vendor)?.keys.contains(key);
                if known { Ok(()) } else { Err(missing("key of this vendor")) }
            }
            Instruction::SuspendVendor { vendor, .. } | Instruction::RemoveVendor { vendor } => {
                self.live_vendor(vendor).map(|_| ())
            }
            Instruction::ResumeVendor { vendor, .. } => match self.live_vendor(vendor)?.suspended {
                Some(_) => Ok(()),
                None => Err(Refusal::new(Reason::PreconditionFailed, "the vendor is not suspended")),
            },
            Instruction::CreateDataset { name } if self.datasets.contains_key(name) => Err(taken("the dataset")),
            Instruction::CreateDataset { .. } => Ok(()),
            Instruction::DeleteDataset { name } => match self.dataset(name) {
                None => Err(missing("dataset")),
                Some(dataset) if dataset.frozen.or(self.frozen).is_some() => Err(Refusal::frozen(name)),
                Some(_) => Ok(()),
            },
            Instruction::FreezeDataset { name, .. } | Instruction::UnfreezeDataset { name, .. } => {
                let frozen = self.dataset(name).ok_or_else(|| missing("dataset"))?.frozen;
                let freezes = matches!(instruction, Instruction::FreezeDataset { .. });
                switched("the dataset", "frozen", frozen.is_some(), freezes)
            }
            Instruction::FreezeTenant { .. } => switched("the tenant", "frozen", self.frozen.is_some(), true),
            Instruction::UnfreezeTenant { .. } => switched("the tenant", "frozen", self.frozen.is_some(), false),
            Instruction::BlockKey { key, .. } => switched("the key", "blocked", self.blocked.contains(key), true),
            Instruction::UnblockKey { key, .. } => switched("the key", "blocked", self.blocked.contains(key), false),
            Instruction::RotateKey { version } => {
                let active = self.key_version();
                if active.checked_add(1) == Some(*version) {
                    return Ok(());
                }
                let words = format!("version {active} of the tenant's key is the active one; the next is another");
                Err(Refusal::new(Reason::PreconditionFailed, words))
            }
            Instruction::DestroyKey { version } if *version == self.key_version() => {
                let words = format!("version {version} of the tenant's key is the active one: rotate first");
                Err(Refusal::new(Reason::PreconditionFailed, words))
            }
            Instruction::DestroyKey { version } if !self.has_key(*version) => {
                Err(missing(&format!("version {version} of the tenant's key: it was never made, or is destroyed")))
            }
            Instruction::DestroyKey { .. } => Ok(()),
            Instruction::RevokeGrant { grant: id, .. } => match (grant, self.revoked(id)) {
                (None, _) => Err(missing("grant")),
                (_, Some(_)) => Err(Refusal::new(Reason::PreconditionFailed, "the grant is revoked already")),
                (Some(_), None) => Ok(()),
            },
            Instruction::IssueGrant(terms) => self.admit_terms(terms, now),
            Instruction::SetPolicy(policy) => policy.check(),
            // Judged whole before: who may depends on which grant it is.
            Instruction::RenewGrant { .. } => Ok(()),
        }
    }

    fn admit_terms(&self, terms: &Terms, now: Millis) -> Result<(), Refusal> {
        let unsupported = |what| Err(Refusal::new(Reason::Unsupported, what));
        if let Some(text) = terms.limits.first_bad_source() {
            return Err(Refusal::new(Reason::InvalidArgument, format!("{text:?}: {NotANetwork}")));
        }
        if terms.scopes.iter().any(|scope| matches!(scope.part, Part::Snapshot(_))) {
            return unsupported("this version has no snapshots yet");
        }
        if let Holder::Vendor(id) = &terms.holder {
            self.live_vendor(id)?;
        }
        if let Some(scope) = terms.scopes.iter().find(|scope| self.dataset(&scope.dataset).is_none()) {
            return Err(Refusal::new(Reason::NotFound, format!("no dataset {}", scope.dataset)));
        }
        if terms.expires <= now || terms.not_before.is_some_and(|start| start >= terms.expires) {
            return Err(Refusal::new(Reason::InvalidArgument, "the grant would never be live"));
        }
        self.policy.check_life(terms.parent.is_some(), terms.expires, now)
    }

    /// Whether each of these is an admin, or a live key of this very vendor: a vendor often knows first.
    fn may_suspend(&self, vendor: &VendorId, signers: &[Fingerprint]) -> bool {
        let may = |signer: &Fingerprint| {
            let principal = self.principal(signer);
            principal == Principal::Admin || principal == Principal::Vendor(*vendor)
        };
        signers.iter().all(may)
    }

    fn live_vendor(&self, id: &VendorId) -> Result<&Vendor, Refusal> {
        self.vendors.get(id).filter(|vendor| !vendor.removed).ok_or_else(|| missing("vendor"))
    }

    fn admit_new_key(&self, key: &Fingerprint) -> Result<(), Refusal> {
        if self.keys.contains_key(key) || self.admins.contains(key) { Err(taken("this key")) } else { Ok(()) }
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
                let dataset = Dataset { id: order.id().into(), created: index, deleted: None, frozen: None };
                self.datasets.insert(name.clone(), dataset);
            }
            Instruction::DeleteDataset { name } => {
                if let Some(dataset) = self.datasets.get_mut(name) {
                    dataset.deleted = Some(index);
                }
            }
            Instruction::FreezeDataset { name, .. } => self.freeze(name, Some(index)),
            Instruction::UnfreezeDataset { name, .. } => self.freeze(name, None),
            Instruction::FreezeTenant { .. } => self.frozen = Some(index),
            Instruction::UnfreezeTenant { .. } => self.frozen = None,
            Instruction::BlockKey { key, .. } => self.blocked.block(*key, index),
            Instruction::UnblockKey { key, .. } => self.blocked.unblock(key),
            Instruction::RotateKey { version } => self.rotations = version.saturating_sub(1),
            Instruction::DestroyKey { version } => {
                self.destroyed.insert(*version);
            }
            Instruction::RevokeGrant { grant, .. } => {
                self.revoked.insert(*grant, index);
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

/// Whether an instruction belongs to the authority log. Grants and renewals do not: they are many, and only widen.
pub fn is_authority(instruction: &Instruction) -> bool {
    !matches!(instruction, Instruction::IssueGrant(_) | Instruction::RenewGrant { .. })
}

/// Whether an instruction takes something away: it is decided before what waits beside it, and moves the grants epoch.
pub fn takes_away(instruction: &Instruction) -> bool {
    matches!(
        instruction,
        Instruction::RemoveAdmin { .. }
            | Instruction::SuspendVendor { .. }
            | Instruction::RemoveVendor { .. }
            | Instruction::RevokeKey { .. }
            | Instruction::RevokeGrant { .. }
            | Instruction::DeleteDataset { .. }
            | Instruction::FreezeDataset { .. }
            | Instruction::FreezeTenant { .. }
            | Instruction::BlockKey { .. }
    )
}

/// Whether an event belongs to the authority log: [`is_authority`] of the order that it records.
pub fn is_authority_event(event: Event) -> bool {
    match event {
        Event::TenantCreated
        | Event::AdminAdded
        | Event::AdminRemoved
        | Event::VendorAdded
        | Event::VendorSuspended
        | Event::VendorResumed
        | Event::VendorRemoved
        | Event::KeyAdded
        | Event::KeyRevoked
        | Event::GrantRevoked
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
        | Event::KeyDestroyed => true,
        Event::GrantIssued
        | Event::GrantRenewed
        | Event::SessionOpen
        | Event::ObjectPut
        | Event::ObjectDeleted
        | Event::Release
        | Event::ReleaseRepeat
        | Event::Denied => false,
    }
}

/// Whether an event takes something away: [`takes_away`] of the order that it records.
pub fn takes_away_event(event: Event) -> bool {
    matches!(
        event,
        Event::AdminRemoved
            | Event::VendorSuspended
            | Event::VendorRemoved
            | Event::KeyRevoked
            | Event::GrantRevoked
            | Event::DatasetDeleted
            | Event::DatasetFrozen
            | Event::TenantFrozen
            | Event::KeyBlocked
    )
}

/// Whether a switch is not where an order would put it.
fn switched(what: &str, state: &str, is: bool, to: bool) -> Result<(), Refusal> {
    if is != to {
        return Ok(());
    }
    let words = if is { format!("{what} is {state} already") } else { format!("{what} is not {state}") };
    Err(Refusal::new(Reason::PreconditionFailed, words))
}

fn taken(what: &str) -> Refusal {
    Refusal::new(Reason::PreconditionFailed, format!("{what} exists already"))
}

fn missing(what: &str) -> Refusal {
    Refusal::new(Reason::NotFound, format!("no such {what}"))
}
