//! Keys that operators stopped on the whole server.
//!
//! A block is an order in the operators' own ledger: it must hold in tenants that do not know the key yet, and tells none of them
//! about another's. The ledger of each tenant that knows the key *notes* it, with the operators' own order, before it records
//! anything else: from that entry on, the tenant's ledger alone proves that nothing was released to the key.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::grant::{Grant, Refusal};
use crate::identity::Fingerprint;
use crate::ids::Index;
use crate::order::VerifiedOrder;
use crate::reason::Reason;

/// The keys that are blocked, each with the entry that blocked it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Blocked {
    keys: BTreeMap<Fingerprint, Index>,
    /// The newest order about each key, also of those that are not blocked any more. It decides nothing, and a verifier that goes on
    /// from its snapshot does without.
    #[serde(skip)]
    said: BTreeMap<Fingerprint, Arc<VerifiedOrder>>,
}

impl PartialEq for Blocked {
    fn eq(&self, other: &Self) -> bool {
        self.keys == other.keys
    }
}

impl Eq for Blocked {}

impl FromIterator<(Fingerprint, Index)> for Blocked {
    fn from_iter<I: IntoIterator<Item = (Fingerprint, Index)>>(keys: I) -> Self {
        Self { keys: keys.into_iter().collect(), said: BTreeMap::new() }
    }
}

impl Blocked {
    /// No key.
    pub fn none() -> &'static Self {
        const NONE: &Blocked = &Blocked { keys: BTreeMap::new(), said: BTreeMap::new() };
        NONE
    }

    /// Whether this key is blocked.
    pub fn contains(&self, key: &Fingerprint) -> bool {
        self.keys.contains_key(key)
    }

    /// All of them, by fingerprint.
    pub fn iter(&self) -> impl Iterator<Item = (&Fingerprint, Index)> {
        self.keys.iter().map(|(key, index)| (key, *index))
    }

    /// The newest orders about keys that stand otherwise in `noted`: what has to be noted there, were all keys known there.
    pub fn news<'a>(&'a self, noted: &Self) -> impl Iterator<Item = (&'a Fingerprint, &'a Arc<VerifiedOrder>)> {
        self.said.iter().filter(|(key, _)| self.contains(key) != noted.contains(key))
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

    pub(super) fn block(&mut self, key: Fingerprint, index: Index, order: &VerifiedOrder) {
        self.keys.insert(key, index);
        self.said.insert(key, Arc::new(order.clone()));
    }

    pub(super) fn unblock(&mut self, key: &Fingerprint, order: &VerifiedOrder) {
        self.keys.remove(key);
        self.said.insert(*key, Arc::new(order.clone()));
    }
}
