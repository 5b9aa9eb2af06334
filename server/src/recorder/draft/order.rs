//! Orders: whatever changes authority.

use std::sync::Arc;

use strongroom_core::grant::authority::is_authority;
use strongroom_core::grant::{Grant, Prefix, Refusal, Renewal, Tally};
use strongroom_core::ids::{GrantId, Index};
use strongroom_core::ledger::{Actor, Entry, Event, Role};
use strongroom_core::order::Instruction;
use strongroom_core::reason::Reason;

use super::{Draft, Drafting, KeyChange, Refused, Verdict};
use crate::catalog::shreds::NewShred;
use crate::catalog::tenants::NewTenant;
use crate::catalog::{AuthorityRow, LogKeyRow};
use crate::recorder::RecordError;
use crate::recorder::attempt::{NewLogKey, Order, RotateDue};
use crate::recorder::private::Part;
use crate::recorder::receipts::Accepted;

impl<'a> Draft<'a> {
    pub(super) fn order(&mut self, order: &'a Order, new: Option<&NewTenant>, part: &Part) -> Drafting<Verdict> {
        let verified = &order.verified;
        let content = verified.order();
        let instruction = &content.instruction;
        let id = verified.id();
        let refusal = if let Some(Accepted { index: accepted, receipt }) = self.known.orders.get(&id).copied() {
            if let Some(time) = receipt.filter(|_| verified.signers().contains(&order.caller.key)) {
                // Its answer was lost, or was not believed: it is told again, and nothing happens twice.
                return Ok(Verdict::Ordered { index: accepted, time, id });
            }
            let words = format!("the order was accepted before, as entry {accepted}");
            Some(Refusal::new(Reason::PreconditionFailed, words))
        } else if let Some(new) = new {
            self.check_new(new, instruction)
        } else {
            None
        };
        // A grant's row that was changed stops those who name it, and nobody else.
        let chain = match self.chain(named(instruction)) {
            Ok(chain) => chain,
            Err(error) => return Ok(Verdict::Failed(error)),
        };
        let chain: Vec<&Grant> = chain.iter().map(|held| held.grant).collect();
        let admitted = match refusal {
            Some(refusal) => Err(refusal),
            None => self
                .check_blocked(order, &chain)
                .and_then(|()| {
                    let source = order.caller.source.into();
                    self.authority.admit(verified, &self.tenant.origin, self.now, &chain, source)
                })
                .and_then(|()| self.check_unused(instruction)),
        };
        if let Err(refusal) = admitted {
            return self.deny(Refused {
                key: order.caller.key,
                source: order.caller.source,
                call: None,
                grant: None,
                order: Some((id, part)),
                refusal,
            });
        }
        let actor = match instruction {
            // The server checked that they are.
            _ if instruction.is_operators() || self.tenant.origin.is_operators() => {
                Actor { role: Role::Operator, key: verified.issuer() }
            }
            _ => self.actor(verified.issuer()),
        };
        let grants = match instruction {
            Instruction::IssueGrant(terms) => {
                [GrantId::from(id)].into_iter().chain(self.ids_of(terms.parent)?).collect()
            }
            Instruction::RevokeGrant { grant, .. } | Instruction::RenewGrant { grant, .. } => {
                self.ids_of(Some(*grant))?
            }
            _ => Vec::new(),
        };
        let event = Event::of_instruction(instruction);
        let log_key = self.log_key(instruction, order)?.map(|(_, new)| new.change);
        let blank = self.entry(event, actor);
        let entry = Entry { order: Some(id), grants, request: Some(content.request), log_key, ..blank };
        let start = self.writes.public.len() + 4;
        let index = self.append(entry, part)?;
        self.writes.orders.push((id, index));
        self.known.orders.insert(id, Accepted { index, receipt: Some(self.now) });
        if let Instruction::DeleteDataset { name } = instruction {
            self.writes.deleted.extend(self.authority.dataset(name).map(|dataset| dataset.id));
        }
        if is_authority(instruction) {
            Arc::make_mut(&mut self.authority).apply(index, verified);
            let signed = verified.clone().into_signed().bytes();
            let signed = signed.map_err(|error| RecordError::Integrity(error.to_string()))?;
            let public = self.writes.public[start..].to_vec();
            self.writes.authority.push(AuthorityRow { entry: index, public, signed });
        }
        self.begin_shred(instruction, index);
        if matches!(instruction, Instruction::RotateEvery { .. } | Instruction::ShredTenant { .. }) {
            let schedule = self.authority.schedule().filter(|_| self.authority.tenant_shredded().is_none());
            self.writes.due = Some(schedule.map(|schedule| schedule.next));
        }
        let about_keys = matches!(
            instruction,
            Instruction::RotateKey { .. } | Instruction::DestroyKey { .. } | Instruction::ShredTenant { .. }
        );
        if matches!(instruction, Instruction::SetEscrow { .. }) || (about_keys && !self.authority.escrow().is_empty()) {
            self.writes.escrow_due = Some(index);
        }
        if let Some(grant) = self.authority.granted(verified, index) {
            self.keep_grant(grant);
        }
        if let Some(renewal) = self.authority.renewal(verified, index) {
            self.keep_renewal(renewal)?;
        }
        self.change_key(instruction, order, index)?;
        self.note_named(instruction)?;
        self.writes.tenant = new.cloned().or(self.writes.tenant.take());
        Ok(Verdict::Ordered { index, time: self.now, id })
    }

    /// A rotation that is due: by an order that was accepted before, and by no other.
    pub(super) fn rotate_due(&mut self, due: &RotateDue, part: &Part) -> Drafting<Verdict> {
        let admitted = self.authority.admit_due(&due.order, self.now).is_ok_and(|version| version == due.version);
        let Some(issuer) = self.authority.schedule().map(|schedule| schedule.issuer).filter(|_| admitted) else {
            // Another node was faster, or an admin took it back: that is nobody's to know of.
            let refusal = Refusal::new(Reason::PreconditionFailed, "no such rotation is due");
            return Ok(Verdict::Refused { refusal, index: None });
        };
        let actor = Actor { role: Role::Admin, key: issuer };
        let entry = Entry { order: Some(due.order), ..self.entry(Event::KeyRotatedDue, actor) };
        let start = self.writes.public.len() + 4;
        let index = self.append(entry, part)?;
        Arc::make_mut(&mut self.authority).apply_due(self.now);
        let public = self.writes.public[start..].to_vec();
        self.writes.authority.push(AuthorityRow { entry: index, public, signed: Vec::new() });
        self.known.rewrap = None;
        self.writes.keys.push(KeyChange::Rotated { version: due.version, wrapped: due.new_key.clone() });
        self.writes.due = Some(self.authority.schedule().map(|schedule| schedule.next));
        if !self.authority.escrow().is_empty() {
            self.writes.escrow_due = Some(index);
        }
        Ok(Verdict::Ordered { index, time: self.now, id: due.order })
    }

    /// A version of the tenant's key that objects are under is not destroyed.
    fn check_unused(&self, instruction: &Instruction) -> Result<(), Refusal> {
        let Instruction::DestroyKey { version } = instruction else { return Ok(()) };
        let refuse = |words: String| Err(Refusal::new(Reason::PreconditionFailed, words));
        match self.known.rewrap {
            Some(rewrap) if rewrap.skipped > 0 => refuse(format!(
                "{} objects do not open, and may be under version {version} of the key: they must be found or shredded first",
                rewrap.skipped
            )),
            Some(rewrap)
                if rewrap.finished.is_some()
                    && rewrap.version == self.authority.key_version()
                    && !self.writes.reopens_rewrap =>
            {
                Ok(())
            }
            _ => refuse(format!("objects are still under version {version} of the key: wait for the rotation to end")),
        }
    }

    /// What an order about the tenant's key comes to.
    fn change_key(&mut self, instruction: &Instruction, order: &Order, entry: Index) -> Drafting<()> {
        if let Some((version, NewLogKey { change, wrapped })) = self.log_key(instruction, order)? {
            let (change, wrapped) = (*change, wrapped.clone());
            self.writes.keys.push(KeyChange::Log(LogKeyRow { version, entry, change, wrapped }));
        }
        match instruction {
            Instruction::RotateKey { version } => {
                let missing = || RecordError::Unavailable("the new key was not made".into());
                let wrapped = order.new_key.clone().ok_or_else(missing)?;
                self.known.rewrap = None;
                self.writes.keys.push(KeyChange::Rotated { version: *version, wrapped });
            }
            Instruction::DestroyKey { version } => {
                self.writes.keys.push(KeyChange::Destroyed { version: *version });
            }
            Instruction::ShredTenant { .. } => {
                self.known.rewrap = None;
                self.writes.keys.push(KeyChange::AllDestroyed);
            }
            _ => {}
        }
        Ok(())
    }

    /// What an order to rotate the log's key brings along.
    fn log_key<'o>(&self, instruction: &Instruction, order: &'o Order) -> Drafting<Option<(u32, &'o NewLogKey)>> {
        let Instruction::RotateLogKey { version } = instruction else { return Ok(None) };
        let missing = || RecordError::Unavailable("the new key was not made: another rotation was first".into());
        order.new_log_key.as_ref().map(|new| Some((*version, new))).ok_or_else(missing)
    }

    /// What an accepted order to shred leaves to be done.
    fn begin_shred(&mut self, instruction: &Instruction, index: Index) {
        let dataset = |name| self.authority.datasets().get(name).map(|dataset| dataset.id);
        let (dataset, prefix) = match instruction {
            Instruction::ShredObjects { dataset: name, prefix, .. } => (dataset(name), prefix.clone()),
            Instruction::ShredDataset { name, .. } => (dataset(name), Prefix::all()),
            Instruction::ShredTenant { .. } => (None, Prefix::all()),
            _ => return,
        };
        self.writes.shreds.push(NewShred { entry: index, dataset, prefix });
        self.pass_over_shredded();
    }

    /// A key that is blocked gives no orders, and what it delegated is not passed on. It may still be taken back.
    fn check_blocked(&self, order: &Order, chain: &[&Grant]) -> Result<(), Refusal> {
        let blocked = self.operators.blocked();
        blocked.admit_key(&order.caller.key)?;
        let issues = matches!(order.verified.order().instruction, Instruction::IssueGrant(_));
        blocked.admit_order(order.verified.signers(), if issues { chain } else { &[] })
    }

    /// What keeps a tenant from being created.
    fn check_new(&self, new: &NewTenant, instruction: &Instruction) -> Option<Refusal> {
        if self.known.is_taken || self.head.size() != Index(0) {
            return Some(Refusal::new(Reason::PreconditionFailed, "the tenant exists already"));
        }
        let fits = matches!(instruction, Instruction::CreateTenant { name, .. } if *name == new.name);
        (!fits || new.id != self.tenant.id || new.name != self.tenant.name)
            .then(|| Refusal::new(Reason::InvalidArgument, "the order creates another tenant"))
    }

    fn ids_of(&self, grant: Option<GrantId>) -> Drafting<Vec<GrantId>> {
        Ok(self.chain(grant)?.iter().map(|held| held.grant.id).collect())
    }

    fn keep_renewal(&mut self, renewal: Renewal) -> Drafting<()> {
        let missing = || RecordError::Integrity(format!("the row of grant {} is missing", renewal.grant));
        let Some(Ok(grant)) = self.known.grants.get_mut(&renewal.grant) else { return Err(missing()) };
        *grant = Arc::new((**grant).clone().renewed(&renewal));
        self.writes.renewed.push(grant.clone());
        self.writes.renewals.push(renewal);
        Ok(())
    }

    fn keep_grant(&mut self, grant: Grant) {
        let grant = Arc::new(grant);
        self.known.usages.insert(grant.id, Tally::default());
        self.known.grants.insert(grant.id, Ok(grant.clone()));
        self.writes.grants.push(grant);
    }
}

/// The grant that an instruction is about: the one to end, or the one that a new one comes from.
fn named(instruction: &Instruction) -> Option<GrantId> {
    match instruction {
        Instruction::RevokeGrant { grant, .. } | Instruction::RenewGrant { grant, .. } => Some(*grant),
        Instruction::IssueGrant(terms) => terms.parent,
        _ => None,
    }
}
