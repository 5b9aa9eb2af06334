//! Notes of what operators ordered about keys that this tenant knows.
//!
//! A block stands in the operators' ledger. Before a batch of a tenant is decided, what its own ledger does not say yet of a key
//! that it knows is entered, with the operators' order as its proof; so it is when an order makes a blocked key known. From there
//! on the tenant's ledger refuses by itself, and replay with it. Of keys that the tenant does not know it learns nothing.

use std::sync::Arc;

use strongroom_core::grant::Holder;
use strongroom_core::identity::Fingerprint;
use strongroom_core::ledger::{Actor, Entry, Event, Role};
use strongroom_core::order::{Instruction, VerifiedOrder};

use super::{Draft, Drafting};
use crate::catalog::AuthorityRow;
use crate::recorder::RecordError;
use crate::recorder::private::Content;

impl Draft<'_> {
    /// Notes what is new, before anything is decided.
    pub(super) fn note_news(&mut self) -> Drafting<()> {
        if !self.has_news || self.tenant.origin.is_operators() {
            return Ok(());
        }
        let news = self.news(|key| self.authority.has_known(key) || self.known.holders.contains(key));
        news.iter().try_for_each(|order| self.note(order))
    }

    /// Notes what is new of the keys that an order has just made known.
    pub(super) fn note_named(&mut self, instruction: &Instruction) -> Drafting<()> {
        let mut named: Vec<Fingerprint> = match instruction {
            Instruction::AddAdmin { key } | Instruction::AddKey { key, .. } => vec![*key],
            Instruction::CreateTenant { admins: keys, .. } | Instruction::AddVendor { keys, .. } => keys.clone(),
            Instruction::IssueGrant(terms) => match terms.holder {
                Holder::Key(key) => vec![key],
                Holder::Vendor(_) => Vec::new(),
            },
            _ => Vec::new(),
        };
        let (blocked, noted) = (self.operators.blocked(), self.authority.blocked());
        named.retain(|key| blocked.contains(key) != noted.contains(key));
        if named.is_empty() || self.tenant.origin.is_operators() {
            return Ok(());
        }
        let news = self.news(|key| named.contains(key));
        news.iter().try_for_each(|order| self.note(order))
    }

    /// What operators ordered last about those of the keys that stand otherwise than this ledger says.
    fn news(&self, is_chosen: impl Fn(&Fingerprint) -> bool) -> Vec<Arc<VerifiedOrder>> {
        let news = self.operators.blocked().news(self.authority.blocked());
        news.filter(|(key, _)| is_chosen(key)).map(|(_, order)| order.clone()).collect()
    }

    fn note(&mut self, order: &VerifiedOrder) -> Drafting<()> {
        if let Err(refusal) = self.authority.admit_note(order, &self.tenant.origin) {
            // It is refused all the same, by what the operators' ledger says.
            tracing::error!(tenant = %self.tenant.id, detail = %refusal, "a blocked key cannot be noted");
            return Ok(());
        }
        let signed = order.clone().into_signed();
        let part = self.part(Content { order: Some(&signed), ..Content::default() })?;
        let content = order.order();
        let actor = Actor { role: Role::Operator, key: order.issuer() };
        let event = Event::of_instruction(&content.instruction);
        let entry = Entry { order: Some(order.id()), request: Some(content.request), ..self.entry(event, actor) };
        let start = self.writes.public.len() + 4;
        let index = self.append(entry, &part)?;
        self.writes.orders.push((order.id(), index));
        Arc::make_mut(&mut self.authority).apply(index, order);
        let signed = signed.bytes().map_err(|error| RecordError::Integrity(error.to_string()))?;
        let public = self.writes.public[start..].to_vec();
        self.writes.authority.push(AuthorityRow { entry: index, public, signed });
        Ok(())
    }
}
