//! Refusals: each in the ledger with who was refused what, and why; of many in a minute, their number.

use std::net::SocketAddr;
use std::sync::Arc;

use strongroom_core::grant::{Principal, Refusal};
use strongroom_core::identity::Fingerprint;
use strongroom_core::ids::{GrantId, OrderId};
use strongroom_core::ledger::{Entry, Event, Outcome};

use super::{Draft, Drafting, Verdict};
use crate::recorder::attempt::AcceptedCall;
use crate::recorder::denials::More;
use crate::recorder::private::{Content, Part};
use crate::recorder::queue::words;

/// Who is refused what.
pub(super) struct Refused<'a> {
    pub(super) key: Fingerprint,
    pub(super) source: SocketAddr,
    pub(super) call: Option<&'a Arc<AcceptedCall>>,
    pub(super) grant: Option<GrantId>,
    /// For orders: which, and the private part that holds it.
    pub(super) order: Option<(OrderId, &'a Part)>,
    pub(super) refusal: Refusal,
}

impl Draft<'_> {
    /// Refuses a call.
    pub(super) fn refuse(&mut self, call: &Arc<AcceptedCall>, refusal: Refusal) -> Drafting<Verdict> {
        self.deny(Refused {
            key: call.caller.key,
            source: call.caller.source,
            call: Some(call),
            grant: call.grant(),
            order: None,
            refusal,
        })
    }

    /// Refuses, and records it if the key is known here and has not been refused too often lately.
    pub(super) fn deny(&mut self, refused: Refused<'_>) -> Drafting<Verdict> {
        let Refused { key, source, call, grant, order, refusal } = refused;
        let chain = self.chain(grant)?;
        let holds = chain.first().is_some_and(|held| self.authority.is_holder(&held.grant.terms.holder, &key));
        let named = chain.first().map(|held| held.grant.id);
        let is_known = holds || self.authority.principal(&key) != Principal::Key || self.known.holders.contains(&key);
        if !is_known || self.head.size().0 == 0 || !self.denials.admit(key, self.now, refusal.reason) {
            return Ok(Verdict::Refused { refusal, index: None });
        }
        if let Some(call) = call {
            self.enter(call, Some(self.now))?;
        }
        let source = source.to_string();
        let of_call = call.map(|call| Content { call: words(call), ..Content::of_call(call, &source) });
        let content = of_call.unwrap_or(Content { source: Some(&source), ..Content::default() });
        let content = Content { detail: Some(&refusal.detail), ..content };
        let part = match order {
            Some((_, part)) => Part { bytes: part.bytes.clone(), hash: part.hash },
            None => self.part(content)?,
        };
        let mut entry = match call {
            Some(call) => self.call_entry(Event::Denied, call, named.into_iter().collect()),
            None => Entry { grants: named.into_iter().collect(), ..self.entry(Event::Denied, self.actor(key)) },
        };
        entry.order = order.map(|(id, _)| id);
        entry.outcome = Outcome::Denied;
        entry.reason = Some(refusal.reason);
        let index = self.append(entry, &part)?;
        Ok(Verdict::Refused { refusal, index: Some(index) })
    }

    /// One entry for denials that had none of their own.
    pub(super) fn sum_up(&mut self, More { key, count, reason }: More) -> Drafting<()> {
        let detail = format!("{count} more denials of this key within a minute");
        let part = self.part(Content { detail: Some(&detail), ..Content::default() })?;
        let mut entry = self.entry(Event::Denied, self.actor(key));
        entry.outcome = Outcome::Denied;
        entry.reason = Some(reason);
        entry.count = count;
        self.append(entry, &part).map(|_| ())
    }
}
