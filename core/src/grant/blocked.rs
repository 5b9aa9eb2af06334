//! Keys that operators stopped on the whole server.
//!
//! A block is an order in the operators' own ledger and not in a tenant's: it must hold in tenants that do not know the key yet,
//! and tells none of them about another's. It only takes away, so a tenant's ledger is proven without it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::grant::{Grant, Refusal};
use crate::identity::Fingerprint;
use crate::ids::Index;
use crate::reason::Reason;

/// The keys that are blocked, each with the entry that blocked it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Blocked(BTreeMap<Fingerprint, Index>);

impl FromIterator<(Fingerprint, Index)> for Blocked {
    fn from_iter<I: IntoIterator<Item = (Fingerprint, Index)>>(keys: I) -> Self {
        Self(keys.into_iter().collect())
    }
}

impl Blocked {
    /// No key.
    pub fn none() -> &'static Self {
        const NONE: &Blocked = &Blocked(BTreeMap::new());
        NONE
    }

    /// Whether this key is blocked.
    pub fn contains(&self, key: &Fingerprint) -> bool {
        self.0.contains_key(key)
    }

    /// All of them, by fingerprint.
    pub fn iter(&self) -> impl Iterator<Item = (&Fingerprint, Index)> {
        self.0.iter().map(|(key, index)| (key, *index))
    }

    /// Whether this key may do anything.
    ///
    /// # Errors
    /// `KEY_BLOCKED`.
    pub fn admit_key(&self, key: &Fingerprint) -> Result<(), Refusal> {
        if self.contains(key) {
            return Err(Refusal::new(Reason::KeyBlocked, "an operator blocked this key on the whole server"));
        }
        Ok(())
    }

    /// Whether an order of these signers may be looked at, on a chain of grants that none of them passed on.
    ///
    /// # Errors
    /// `KEY_BLOCKED` if a signer is blocked; `GRANT_REVOKED` if a grant of the chain was delegated by such a key.
    pub fn admit_order(&self, signers: &[Fingerprint], chain: &[&Grant]) -> Result<(), Refusal> {
        signers.iter().try_for_each(|signer| self.admit_key(signer))?;
        if chain.iter().any(|grant| grant.terms.parent.is_some() && self.contains(&grant.issuer)) {
            return Err(Refusal::new(Reason::GrantRevoked, "the key that delegated the grant is blocked"));
        }
        Ok(())
    }

    pub(super) fn block(&mut self, key: Fingerprint, index: Index) {
        self.0.insert(key, index);
    }

    pub(super) fn unblock(&mut self, key: &Fingerprint) {
        self.0.remove(key);
    }
}
