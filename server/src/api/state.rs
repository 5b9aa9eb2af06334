//! How a grant stands, as it is told to whoever asks. What is decided is decided elsewhere; this says the same in one word.

use std::net::IpAddr;
use std::sync::Arc;

use strongroom_core::grant::{Authority, Blocked, Grant, Holder, Tally};
use strongroom_core::ids::Millis;
use strongroom_core::names::DatasetName;
use strongroom_proto::v1::GrantState;

/// All that a grant's state stands on.
#[derive(Clone, Copy)]
pub(super) struct Standing<'a> {
    pub(super) now: Millis,
    pub(super) authority: &'a Authority,
    /// The keys that operators blocked on the whole server.
    pub(super) blocked: &'a Blocked,
    /// Where its holder is, if that is asked.
    pub(super) from: Option<IpAddr>,
}

impl Standing<'_> {
    /// How the grant that `chain` begins with stands: what ended one of them ended all that came from it.
    pub(super) fn state(&self, chain: &[(Arc<Grant>, Tally)]) -> GrantState {
        let any = |ends: &dyn Fn(&Grant) -> bool| chain.iter().any(|(grant, _)| ends(grant));
        let orphaned =
            chain.windows(2).any(|pair| !self.authority.is_holder(&pair[1].0.terms.holder, &pair[0].0.issuer));
        let gone = chain.first().is_some_and(|(grant, _)| self.is_gone(&grant.terms.holder));
        if orphaned || gone || any(&|grant| self.authority.revoked(&grant.id).is_some()) {
            GrantState::Revoked
        } else if any(&|grant| self.now >= grant.terms.expires) {
            GrantState::Expired
        } else if self.is_blocked(chain) {
            GrantState::Blocked
        } else if any(&|grant| self.authority.suspended(&grant.terms.holder).is_some()) {
            GrantState::Suspended
        } else if any(&|grant| grant.terms.not_before.is_some_and(|start| self.now < start)) {
            GrantState::NotYet
        } else if self.from.is_some_and(|from| any(&|grant| !grant.terms.limits.allow_source(from))) {
            GrantState::Elsewhere
        } else if self.is_frozen(chain) {
            GrantState::Frozen
        } else {
            GrantState::Live
        }
    }

    /// The datasets of a grant's scopes that are frozen, each once.
    pub(super) fn frozen<'g>(&self, grant: &'g Grant) -> Vec<&'g DatasetName> {
        let mut datasets: Vec<_> = grant.terms.scopes.iter().map(|scope| &scope.dataset).collect();
        datasets.sort_unstable();
        datasets.dedup();
        datasets.retain(|dataset| self.authority.is_frozen(dataset));
        datasets
    }

    /// Whether nobody can ever act as this holder again.
    fn is_gone(&self, holder: &Holder) -> bool {
        match holder {
            Holder::Vendor(id) => self.authority.vendor(id).is_none_or(|vendor| vendor.removed),
            Holder::Key(key) => !self.authority.is_holder(holder, key),
        }
    }

    fn is_blocked(&self, chain: &[(Arc<Grant>, Tally)]) -> bool {
        let passed_on = |grant: &Grant| grant.terms.parent.is_some() && self.blocked.contains(&grant.issuer);
        let held = |holder: &Holder| match holder {
            Holder::Key(key) => self.blocked.contains(key),
            // As long as one of its keys is not, the vendor goes on.
            Holder::Vendor(id) => self.authority.vendor(id).is_some_and(|vendor| {
                !vendor.keys.is_empty() && vendor.keys.iter().all(|key| self.blocked.contains(key))
            }),
        };
        chain.first().is_some_and(|(grant, _)| held(&grant.terms.holder))
            || chain.iter().any(|(grant, _)| passed_on(grant))
    }

    fn is_frozen(&self, chain: &[(Arc<Grant>, Tally)]) -> bool {
        let all = |grant: &Grant| grant.terms.scopes.iter().all(|scope| self.authority.is_frozen(&scope.dataset));
        self.authority.frozen().is_some() || chain.first().is_some_and(|(grant, _)| all(grant))
    }
}
