//! Renewal: a grant's end is moved, and the grant stays the same.
//!
//! A renewal stands beside its grant: the grant's own bytes never change. It only ever moves the end later, so that whoever hides
//! one from a vault takes something away; who wants a grant to end sooner revokes it.

use serde::{Deserialize, Serialize};

use crate::grant::{Authority, Grant, Refusal, Source, Terms, delegate};
use crate::identity::Fingerprint;
use crate::ids::{GrantId, Index, Millis};
use crate::reason::Reason;

/// A renewal as it was recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Renewal {
    /// The grant.
    pub grant: GrantId,
    /// When it ends since.
    pub expires: Millis,
    /// The entry that renewed it.
    pub renewed: Index,
}

impl Grant {
    /// The grant as it stands after a renewal.
    #[must_use]
    pub fn renewed(self, renewal: &Renewal) -> Self {
        let expires = self.terms.expires.max(renewal.expires);
        Self { terms: Terms { expires, ..self.terms }, ..self }
    }
}

/// Whether `signers` may move the end of the grant that `chain` begins with.
///
/// Whoever may issue a grant may renew it: an admin the tenant's own, and the holder of its parent one that was delegated.
///
/// # Errors
/// `OUT_OF_SCOPE` if they may not; `NOT_FOUND` if there is none, to admins; `GRANT_REVOKED` or `GRANT_EXPIRED` if it ended; `INVALID_ARGUMENT` if it would not end later, or
/// live longer than the tenant's policy allows; `NOT_NARROWER` if it would outlive its parent.
pub(super) fn admit(
    authority: &Authority,
    signers: &[Fingerprint],
    now: Millis,
    expires: Millis,
    chain: &[&Grant],
    source: Source,
) -> Result<(), Refusal> {
    let are_admins = signers.iter().all(|signer| authority.admins().contains(signer));
    let not_theirs = || Refusal::new(Reason::OutOfScope, "only who may issue a grant may renew it");
    let Some((grant, above)) = chain.split_first() else {
        return Err(if are_admins { Refusal::new(Reason::NotFound, "no such grant") } else { not_theirs() });
    };
    let terms = Terms { expires, ..grant.terms.clone() };
    match above.first().map(|parent| &parent.terms.holder) {
        Some(holder) if signers.iter().all(|signer| authority.is_holder(holder, signer)) => {
            delegate::admit(authority, signers, now, &terms, above, source)?;
        }
        None if are_admins && terms.parent.is_none() => {}
        _ => return Err(not_theirs()),
    }
    let orphaned = above.first().is_some_and(|parent| !authority.is_holder(&parent.terms.holder, &grant.issuer));
    if authority.revoked(&grant.id).is_some() || orphaned {
        return Err(Refusal::new(Reason::GrantRevoked, "the grant was revoked"));
    }
    if now >= grant.terms.expires {
        return Err(Refusal::new(Reason::GrantExpired, "the grant's time is over: it takes another one"));
    }
    if expires <= grant.terms.expires {
        return Err(Refusal::new(
            Reason::InvalidArgument,
            "a renewal moves a grant's end later; revoke it to end it sooner",
        ));
    }
    authority.policy().0.check_life(terms.parent.is_some(), expires, now)
}
