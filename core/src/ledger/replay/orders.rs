//! Orders: signatures, once ever, in time, and by somebody who may.

use std::sync::Arc;

use super::rule::Check;
use super::{Known, Proof, Replay, Rule, source_of};
use crate::grant::{Grant, Tally};
use crate::ids::GrantId;
use crate::ledger::{Entry, Event, Private, Role};
use crate::order::{Instruction, OrderError, SignedOrder, VerifiedOrder};
use crate::origin::Origin;

impl Replay {
    pub(super) fn order(&mut self, entry: &Entry, private: Option<&Private>) -> Check<Proof> {
        let Some(private) = private else { return self.erased_order(entry) };
        let order = verify(entry, private.order.as_ref())?;
        let content = order.order();
        let event = Event::of_instruction(&content.instruction);
        Rule::OrderEvent.unless(event == entry.event, || format!("it says {}", event.name()))?;
        self.check_request(entry, content.request)?;
        self.accept_once(entry)?;
        if is_note(&content.instruction, &self.origin) {
            return self.note(entry, &order);
        }
        Rule::OrderLedger.unless(content.ledger == self.origin, || format!("it is for {}", content.ledger))?;
        let until = content.not_after;
        Rule::OrderInTime.unless(entry.time <= until, || format!("{} is after {until}", entry.time))?;
        let concerned = concerned(&order);
        let named = match &content.instruction {
            Instruction::IssueGrant(terms) => terms.parent,
            _ => concerned,
        };
        let chain = self.chain(named);
        // What an erased grant would have said is not known.
        let is_erased = chain.is_none();
        let chain = chain.unwrap_or_default();
        let chain: Vec<&Grant> = chain.iter().map(|(grant, _)| &**grant).collect();
        let admitted = self.authority.admit(&order, &self.origin, entry.time, &chain, source_of(Some(private)));
        if let Err(refusal) = admitted
            && !self.blind
            && !is_erased
        {
            return Err(Rule::OrderAllowed.broken(refusal.to_string()));
        }
        self.check_order_actor(entry, &order)?;
        let chain = self.chain_of_order(&order);
        Rule::Chain.unless(self.blind || entry.grants == chain, || format!("they are {chain:?}"))?;
        self.authority.apply(entry.index, &order);
        if let Some(grant) = self.authority.granted(&order, entry.index) {
            let id = grant.id;
            let known = Known { grant: Some(Arc::new(grant)), tally: Tally::default() };
            let old = self.grants.insert(id, known);
            Rule::OrderOnce.unless(old.is_none(), || format!("{id} was issued before"))?;
        }
        if let Some(renewal) = self.authority.renewal(&order, entry.index)
            && let Some(grant) = self.grants.get_mut(&renewal.grant).and_then(|known| known.grant.as_mut())
        {
            *grant = Arc::new((**grant).clone().renewed(&renewal));
        }
        Ok(Proof::whole_if(!self.blind && !is_erased))
    }

    /// What operators ordered in their own ledger about a key that this tenant knows: it takes away here from this entry on, or
    /// gives that back. When it was accepted is for their ledger to prove.
    fn note(&mut self, entry: &Entry, order: &VerifiedOrder) -> Check<Proof> {
        let (own, ledger) = (self.origin.operators(), &order.order().ledger);
        Rule::OrderLedger.unless(*ledger == own, || format!("it is for {ledger}, and the operators' is {own}"))?;
        let admitted = self.authority.admit_note(order, &self.origin);
        if let Err(refusal) = admitted
            && !self.blind
        {
            return Err(Rule::OrderAllowed.broken(refusal.to_string()));
        }
        self.check_order_actor(entry, order)?;
        Rule::Chain.unless(entry.grants.is_empty(), || format!("they are {:?}", entry.grants))?;
        self.authority.apply(entry.index, order);
        Ok(Proof::whole_if(!self.blind))
    }

    /// A rotation that the vault made by itself: an admin's order says when one is due, and who is named for it.
    pub(super) fn rotation_due(&mut self, entry: &Entry) -> Check<Proof> {
        let order = entry.order.ok_or_else(|| Rule::Form.broken("the order is missing"))?;
        if let Err(refusal) = self.authority.admit_due(&order, entry.time)
            && !self.blind
        {
            return Err(Rule::RotationDue.broken(refusal.to_string()));
        }
        let issuer = self.authority.schedule().map(|schedule| schedule.issuer);
        let fits = entry.actor.role == Role::Admin && issuer.is_none_or(|issuer| issuer == entry.actor.key);
        Rule::Actor.unless(fits, || format!("{issuer:?} ordered it, an admin"))?;
        Rule::Chain.unless(entry.grants.is_empty(), || "there are none".into())?;
        self.authority.apply_due(entry.time);
        Ok(Proof::whole_if(!self.blind))
    }

    /// What is left of an order whose private part was erased: that it counts as accepted.
    fn erased_order(&mut self, entry: &Entry) -> Check<Proof> {
        self.accept_once(entry)?;
        match (entry.event, entry.order.map(GrantId::from)) {
            (Event::GrantIssued, Some(id)) => {
                Rule::Chain.unless(entry.grants.first() == Some(&id), || format!("the first is {id}"))?;
                let known = Known { grant: None, tally: Tally::default() };
                let old = self.grants.insert(id, known);
                Rule::OrderOnce.unless(old.is_none(), || format!("{id} was issued before"))?;
            }
            (Event::GrantRenewed, _) => {
                // When it ends is not known any more, so whatever is done under it is uncheckable.
                if let Some(known) = entry.grants.first().and_then(|id| self.grants.get_mut(id)) {
                    known.grant = None;
                }
            }
            _ => {
                self.blind = true;
                // What it shredded is not known: what is visible at a path neither.
                let shreds =
                    matches!(entry.event, Event::ObjectShredded | Event::DatasetShredded | Event::TenantShredded);
                self.objects.has_gaps |= shreds;
            }
        }
        Ok(Proof::Erased)
    }

    fn accept_once(&mut self, entry: &Entry) -> Check {
        let id = entry.order.ok_or_else(|| Rule::Form.broken("the order is missing"))?;
        Rule::OrderOnce.unless(self.orders.insert(id), || format!("{id} was accepted before"))
    }

    fn check_order_actor(&self, entry: &Entry, order: &VerifiedOrder) -> Check {
        if !order.order().instruction.is_operators() && !self.origin.is_operators() {
            return self.check_actor(entry, order.issuer());
        }
        // Who is an operator stands in the server's configuration: here is only who did it.
        let fits = entry.actor.key == order.issuer() && entry.actor.role == Role::Operator;
        Rule::Actor.unless(fits, || format!("{} did it, an operator", order.issuer()))
    }

    /// The grants of a `grant.*` entry: the one concerned, then those above it.
    fn chain_of_order(&self, order: &VerifiedOrder) -> Vec<GrantId> {
        let Some(id) = concerned(order) else { return Vec::new() };
        let above = match &order.order().instruction {
            Instruction::IssueGrant(terms) => terms.parent,
            _ => self.grants.get(&id).and_then(|known| known.grant.as_ref()?.terms.parent),
        };
        let above = self.chain(above).unwrap_or_default();
        std::iter::once(id).chain(above.iter().map(|(grant, _)| grant.id)).collect()
    }
}

/// Whether an order stands in this ledger only as a note of what operators ordered in theirs.
fn is_note(instruction: &Instruction, origin: &Origin) -> bool {
    let about_key = matches!(instruction, Instruction::BlockKey { .. } | Instruction::UnblockKey { .. });
    about_key && !origin.is_operators()
}

/// The signed order of an entry, with all that can be known from it alone.
pub(super) fn verify(entry: &Entry, signed: Option<&SignedOrder>) -> Check<VerifiedOrder> {
    let signed = signed.ok_or_else(|| Rule::OrderMissing.broken("the private part has none"))?;
    let order = signed.clone().verify().map_err(|error| match error {
        OrderError::Signature(_) => Rule::OrderSignature.broken(error.to_string()),
        _ => Rule::OrderForm.broken(error.to_string()),
    })?;
    Rule::OrderId.unless(entry.order == Some(order.id()), || format!("it is {}", order.id()))?;
    Ok(order)
}

fn concerned(order: &VerifiedOrder) -> Option<GrantId> {
    match &order.order().instruction {
        Instruction::IssueGrant(_) => Some(GrantId::from(order.id())),
        Instruction::RevokeGrant { grant, .. } | Instruction::RenewGrant { grant, .. } => Some(*grant),
        _ => None,
    }
}
