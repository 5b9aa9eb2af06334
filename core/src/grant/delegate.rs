//! Delegation: a holder passes a narrower part of its grant on.
//!
//! A child is never wider than its parent, in any dimension. That alone would let a chain be read from its last grant; it is
//! not relied on: [`decide()`] looks at every grant of a chain each time, so that what ends, uses up or cuts an ancestor does so
//! to all that came from it.

use crate::grant::{
    Authority, Blocked, Grant, Held, Holder, Limits, Refusal, Request, Source, Standing, Tally, Terms, Usage, decide,
};
use crate::identity::Fingerprint;
use crate::ids::Millis;
use crate::reason::Reason;

/// The most delegations below the grant that an admin issued.
pub const MAX_DEPTH: usize = 8;

/// In what a grant is wider than the one it would come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Wider {
    /// An action on a place.
    #[error("its scopes allow what the parent's do not")]
    Scope,
    /// It would begin earlier.
    #[error("it begins before the parent")]
    Start,
    /// It would end later.
    #[error("it ends after the parent")]
    End,
    /// More bytes.
    #[error("it allows more bytes than the parent")]
    Bytes,
    /// More objects.
    #[error("it allows more objects than the parent")]
    Objects,
    /// More calls.
    #[error("it allows more uses than the parent")]
    Uses,
    /// More bytes in a minute.
    #[error("it allows more bytes a minute than the parent")]
    Rate,
    /// From other networks.
    #[error("it may be used from networks that the parent may not")]
    Sources,
}

impl Terms {
    /// Whether all that these terms allow from `now` on lies in what `parent` allows.
    ///
    /// Where the parent has a limit the child needs one too, no larger. Places are compared scope by scope and action by action:
    /// a folder is not pieced together from two scopes of the parent.
    ///
    /// # Errors
    /// The first dimension in which it does not.
    pub fn narrows(&self, parent: &Self, now: Millis) -> Result<(), Wider> {
        let check = |holds: bool, wider| if holds { Ok(()) } else { Err(wider) };
        let within = |own: Option<u64>, outer: Option<u64>| match (own, outer) {
            (_, None) => true,
            (own, Some(outer)) => own.is_some_and(|own| own <= outer),
        };
        check(self.scopes.iter().all(|scope| scope.narrows(&parent.scopes)), Wider::Scope)?;
        // What began in the past begins now.
        check(self.not_before.unwrap_or_default().max(now) >= parent.not_before.unwrap_or_default(), Wider::Start)?;
        check(self.expires <= parent.expires, Wider::End)?;
        let (own, outer): (&Limits, &Limits) = (&self.limits, &parent.limits);
        check(within(own.bytes, outer.bytes), Wider::Bytes)?;
        check(within(own.objects, outer.objects), Wider::Objects)?;
        check(within(own.uses, outer.uses), Wider::Uses)?;
        check(within(own.bytes_per_minute, outer.bytes_per_minute), Wider::Rate)?;
        // As places, network by network: none is pieced together from two of the parent's.
        check(own.sources_narrow(outer), Wider::Sources)
    }
}

/// Whether `signers` may delegate `terms` from the grant that `chain` begins with.
///
/// # Errors
/// What a read under that grant would be refused with, if it would be; `NOT_NARROWER` if the grant may not be delegated, or
/// not so far, or the child would be wider; `INVALID_ARGUMENT` if the child is not for a key.
pub(super) fn admit(
    authority: &Authority,
    signers: &[Fingerprint],
    now: Millis,
    terms: &Terms,
    chain: &[&Grant],
    source: Source,
) -> Result<(), Refusal> {
    let held: Vec<Held<'_>> = chain.iter().map(|grant| Held { grant, tally: Tally::default() }).collect();
    // Which keys are blocked that this ledger has not noted is asked by whoever knows it, before this.
    let standing = Standing { now, authority, chain: &held, blocked: Blocked::none() };
    for key in signers {
        let charge = Usage::default();
        let request =
            Request { key: *key, grant: terms.parent, incident: None, places: &[], charge, source, obstacle: None };
        decide(&request, &standing)?;
    }
    let wider = |words: String| Err(Refusal::new(Reason::NotNarrower, words));
    let Some(parent) = chain.first() else { return Err(Refusal::out_of_scope()) };
    if !parent.terms.delegable {
        return wider("the parent may not be delegated".into());
    }
    if chain.len() > MAX_DEPTH {
        return wider(format!("a grant is delegated {MAX_DEPTH} times at most"));
    }
    if !matches!(terms.holder, Holder::Key(_)) {
        return Err(Refusal::new(Reason::InvalidArgument, "a grant is delegated to a key, not to a vendor"));
    }
    terms.narrows(&parent.terms, now).or_else(|dimension| wider(dimension.to_string()))
}

/// Whether `signers` may end the grant that `chain` begins with although they are no admins: each issued it, or may act for a
/// holder above it.
pub(super) fn may_revoke(authority: &Authority, signers: &[Fingerprint], chain: &[&Grant]) -> bool {
    let Some((grant, above)) = chain.split_first() else { return false };
    let holds = |key: &Fingerprint| above.iter().any(|grant| authority.is_holder(&grant.terms.holder, key));
    signers.iter().all(|key| *key == grant.issuer || holds(key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grant::Action;

    fn terms(change: impl FnOnce(&mut Terms)) -> Terms {
        let scope = crate::grant::Scope {
            actions: vec![Action::List, Action::Read],
            dataset: "rlhf".parse().unwrap(),
            part: crate::grant::Part::Prefix("math/".parse().unwrap()),
        };
        let limits = Limits { bytes: Some(10), objects: Some(10), uses: Some(10), ..Limits::default() };
        let mut terms = Terms {
            holder: Holder::Key(Fingerprint::from_bytes([1; 32])),
            parent: None,
            scopes: vec![scope],
            not_before: Some(Millis(100)),
            expires: Millis(1000),
            delegable: true,
            limits,
            purpose: None,
        };
        change(&mut terms);
        terms
    }

    #[test]
    fn every_dimension_is_looked_at() {
        let parent = terms(|terms| {
            terms.limits.bytes_per_minute = Some(10);
            terms.limits.sources = vec!["10.0.0.0/8".into()];
        });
        let same = parent.clone();
        assert_eq!(same.narrows(&parent, Millis(0)), Ok(()));
        type Change = (fn(&mut Terms), Wider);
        let changes: [Change; 15] = [
            (|terms| terms.scopes[0].actions.push(Action::Write), Wider::Scope),
            (|terms| terms.scopes[0].dataset = "other".parse().unwrap(), Wider::Scope),
            (|terms| terms.scopes[0].part = crate::grant::Part::Prefix("".parse().unwrap()), Wider::Scope),
            (|terms| terms.not_before = Some(Millis(99)), Wider::Start),
            (|terms| terms.not_before = None, Wider::Start),
            (|terms| terms.expires = Millis(1001), Wider::End),
            (|terms| terms.limits.bytes = Some(11), Wider::Bytes),
            (|terms| terms.limits.bytes = None, Wider::Bytes),
            (|terms| terms.limits.objects = Some(11), Wider::Objects),
            (|terms| terms.limits.uses = None, Wider::Uses),
            (|terms| terms.limits.bytes_per_minute = None, Wider::Rate),
            (|terms| terms.limits.sources.clear(), Wider::Sources),
            (|terms| terms.limits.sources.push("0.0.0.0/0".into()), Wider::Sources),
            (|terms| terms.limits.sources[0] = "10.0.0.0/7".into(), Wider::Sources),
            (|terms| terms.limits.sources.push("not a network".into()), Wider::Sources),
        ];
        for (change, wider) in changes {
            let mut child = parent.clone();
            change(&mut child);
            assert_eq!(child.narrows(&parent, Millis(0)), Err(wider));
        }
        let mut inside = parent.clone();
        inside.limits.sources = vec!["10.1.0.0/16".into(), "10.2.3.4/32".into()];
        assert_eq!(inside.narrows(&parent, Millis(0)), Ok(()), "networks inside of it");
        let at_once = terms(|terms| {
            terms.not_before = None;
            terms.limits = parent.limits.clone();
        });
        assert_eq!(at_once.narrows(&parent, Millis(100)), Ok(()), "by now the parent has begun");
    }
}
