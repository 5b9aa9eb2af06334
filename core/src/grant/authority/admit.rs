//! Whether an order may be accepted: by its signers, at its time, as the authority stands.

use super::{Authority, Principal, Vendor, takes_away};
use crate::grant::decide::Refusal;
use crate::grant::{Grant, Holder, NotANetwork, Part, Source, Terms, delegate, renewal};
use crate::identity::Fingerprint;
use crate::ids::{IncidentId, Millis, VendorId};
use crate::ledger::log_keys::MAX_LOG_KEYS;
use crate::order::{Instruction, VerifiedOrder};
use crate::origin::Origin;
use crate::reason::Reason;

impl Authority {
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
        if !content.instruction.belongs_in(origin) {
            let words =
                "the operators' own ledger holds blocks of keys, and keys of its log, and no other ledger holds blocks";
            return Err(Refusal::new(Reason::OutOfScope, words));
        }
        let signers = order.signers();
        if !origin.is_operators() {
            self.blocked.admit_order(signers, &[])?;
        }
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
            _ if origin.is_operators() => {}
            _ if is_admin => {}
            _ => return Err(Refusal::new(Reason::OutOfScope, "only an admin of the tenant may order this")),
        }
        self.admit_incident(content.incident.as_ref(), is_admin)?;
        let instruction = &content.instruction;
        // What is left of a tenant that was shredded is who may read its ledger.
        let is_left = matches!(instruction, Instruction::AddAdmin { .. }) || takes_away(instruction);
        if self.shredded.is_some() && !is_left {
            return Err(Refusal::tenant_shredded());
        }
        self.admit_instruction(instruction, now, chain.first().copied())
    }

    /// An order or a call belongs to an incident that was opened, and only admins say so.
    pub(in crate::grant) fn admit_incident(
        &self,
        incident: Option<&IncidentId>,
        is_admin: bool,
    ) -> Result<(), Refusal> {
        match incident {
            None => Ok(()),
            Some(_) if !is_admin => {
                Err(Refusal::new(Reason::OutOfScope, "only an admin of the tenant may name an incident"))
            }
            Some(id) if !self.incidents.contains_key(id) => Err(missing("incident")),
            Some(_) => Ok(()),
        }
    }

    /// Whether an order of operators about a key may be noted in this tenant's ledger. It was accepted in theirs, in its time, so
    /// what remains is that it is of this vault, new here, and changes how the key stands.
    ///
    /// # Errors
    /// A [`Refusal`] with the reason and what is wrong in words.
    pub fn admit_note(&self, order: &VerifiedOrder, origin: &Origin) -> Result<(), Refusal> {
        let content = order.order();
        if let Some(accepted) = self.orders.get(&order.id()) {
            let words = format!("the order was noted before, as entry {accepted}");
            return Err(Refusal::new(Reason::PreconditionFailed, words));
        }
        if origin.is_operators() || content.ledger != origin.operators() {
            return Err(Refusal::new(Reason::PreconditionFailed, "the order is not of this vault's operators"));
        }
        match &content.instruction {
            instruction @ (Instruction::BlockKey { .. } | Instruction::UnblockKey { .. }) => {
                self.admit_instruction(instruction, content.not_after, None)
            }
            _ => Err(Refusal::new(Reason::OutOfScope, "what operators order is noted where it is about a key alone")),
        }
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
            Instruction::ShredObjects { dataset: name, .. } => match self.dataset(name) {
                _ if self.shredded.is_some() => Err(Refusal::tenant_shredded()),
                None if self.datasets.get(name).is_some_and(|dataset| dataset.shredded.is_some()) => {
                    Err(Refusal::shredded(name))
                }
                None => Err(missing("dataset")),
                Some(dataset) if dataset.frozen.or(self.frozen).is_some() => Err(Refusal::frozen(name)),
                Some(_) => Ok(()),
            },
            Instruction::ShredDataset { name, .. } => match self.datasets.get(name) {
                _ if self.shredded.is_some() => Err(Refusal::tenant_shredded()),
                None => Err(missing("dataset")),
                Some(dataset) if dataset.shredded.is_some() => Err(Refusal::shredded(name)),
                Some(dataset) if dataset.frozen.or(self.frozen).is_some() => Err(Refusal::frozen(name)),
                Some(_) => Ok(()),
            },
            Instruction::ShredTenant { .. } if self.shredded.is_some() => Err(Refusal::tenant_shredded()),
            Instruction::ShredTenant { .. } => {
                let frozen = self.datasets.iter().find(|(_, dataset)| dataset.frozen.is_some());
                match (self.frozen, frozen) {
                    (Some(_), _) => Err(Refusal::new(Reason::Frozen, "the tenant is frozen: unfreeze it first")),
                    (None, Some((name, _))) => Err(Refusal::frozen(name)),
                    (None, None) => Ok(()),
                }
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
            Instruction::RotateLogKey { version } => {
                let active = self.log_key_version();
                if active.checked_add(1) == Some(*version) && *version as usize <= MAX_LOG_KEYS {
                    return Ok(());
                }
                let words =
                    format!("key {active} signs the ledger's checkpoints; the next is another, of {MAX_LOG_KEYS}");
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
            // Of a vendor that was removed, too: what it had stays had.
            Instruction::OpenIncident { vendor, .. } if !self.vendors.contains_key(vendor) => Err(missing("vendor")),
            Instruction::OpenIncident { .. } => Ok(()),
            Instruction::CloseIncident { incident, .. } => match self.incidents.get(incident).map(|it| it.closed) {
                None => Err(missing("incident")),
                Some(Some(_)) => Err(Refusal::new(Reason::PreconditionFailed, "the incident is closed already")),
                Some(None) => Ok(()),
            },
            Instruction::SetPolicy(policy) => policy.check(),
            Instruction::SetEscrow { recipients } if self.escrow == *recipients => {
                Err(Refusal::new(Reason::PreconditionFailed, "the escrow is so already"))
            }
            Instruction::SetEscrow { .. } => Ok(()),
            Instruction::RotateEvery { every: None, .. } if self.schedule.is_none() => {
                Err(Refusal::new(Reason::PreconditionFailed, "the key is not rotated by itself"))
            }
            Instruction::RotateEvery { .. } => Ok(()),
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
