//! Whose a grant is, from when to when it could be used, and how it stands.

use serde::Serialize;

use super::{Known, Roster};
use crate::grant::Holder;
use crate::identity::Fingerprint;
use crate::ids::{GrantId, Millis, VendorId};

/// How a grant stands at some moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantStanding {
    /// It can be used.
    Live,
    /// It could, were not its holder or one above it suspended, or a key blocked by an operator.
    Suspended,
    /// Its time has not begun.
    NotYet,
    /// It expired, or was revoked, it or one above it, or who delegated it holds nothing any more.
    Ended,
}

/// Whether something belongs to somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::audit) enum Theirs {
    Yes,
    No,
    /// What would tell was erased.
    Unknown,
}

impl Theirs {
    /// Both must hold.
    pub(in crate::audit) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Unknown, _) | (_, Self::Unknown) => Self::Unknown,
            (Self::Yes, Self::Yes) => Self::Yes,
        }
    }
}

impl Roster {
    /// Who holds a grant; `None` if its order was erased.
    pub(in crate::audit) fn holder(&self, grant: &GrantId) -> Option<Holder> {
        Some(self.grants.get(grant)?.terms.as_ref()?.holder)
    }

    /// Whether a grant is a vendor's: the vendor holds it, or a key of the vendor does, or that is so of one above it.
    pub(in crate::audit) fn is_vendors(&self, grant: &GrantId, vendor: VendorId) -> Theirs {
        let Some(known) = self.grants.get(grant) else { return Theirs::Unknown };
        let mut answer = Theirs::No;
        for id in &known.chain {
            match self.grants.get(id).and_then(|known| known.terms.as_ref()) {
                None => answer = Theirs::Unknown,
                Some(terms) if self.is_of(&terms.holder, vendor) => return Theirs::Yes,
                Some(_) => {}
            }
        }
        answer
    }

    /// Whether a grant is a worker's: it, or one above it, is held by this key or was delegated by it.
    pub(in crate::audit) fn is_workers(&self, grant: &GrantId, worker: Fingerprint) -> Theirs {
        let Some(known) = self.grants.get(grant) else { return Theirs::Unknown };
        let mut answer = Theirs::No;
        for id in &known.chain {
            let Some(known) = self.grants.get(id) else {
                answer = Theirs::Unknown;
                continue;
            };
            let delegated = known.chain.len() > 1 && known.issuer == worker;
            match &known.terms {
                _ if delegated => return Theirs::Yes,
                Some(terms) if terms.holder == Holder::Key(worker) => return Theirs::Yes,
                Some(_) => {}
                None => answer = Theirs::Unknown,
            }
        }
        answer
    }

    fn is_of(&self, holder: &Holder, vendor: VendorId) -> bool {
        match holder {
            Holder::Vendor(id) => *id == vendor,
            Holder::Key(key) => self.vendor_of.get(key) == Some(&vendor),
        }
    }

    /// From when to when a grant could be used, both inclusive, in milliseconds. Suspensions, freezes and limits are not taken off.
    /// `None` if it never could, or if its order was erased.
    pub(in crate::audit) fn life(&self, grant: &GrantId) -> Option<(u64, u64)> {
        let known = self.grants.get(grant)?;
        let terms = known.terms.as_ref()?;
        let start = known.issued.time.max(terms.not_before.unwrap_or_default()).0;
        let end = known.chain.iter().filter_map(|id| self.end(id)).min()?;
        (start <= end).then_some((start, end))
    }

    /// When a grant ends, exclusive: by itself, or with one above it.
    pub(in crate::audit) fn ends(&self, known: &Known) -> Option<Millis> {
        known.chain.iter().filter_map(|id| self.end(id)).min().map(|last| Millis(last.saturating_add(1)))
    }

    /// The last moment of one grant by itself.
    fn end(&self, grant: &GrantId) -> Option<u64> {
        let known = self.grants.get(grant)?;
        let mut end = u64::MAX;
        if let Some(terms) = &known.terms {
            let taken = match terms.holder {
                Holder::Vendor(id) => self.vendor_ended.get(&id).copied(),
                Holder::Key(key) => self.key_end(&key),
            };
            end = end.min(terms.expires.0.saturating_sub(1)).min(taken.map_or(u64::MAX, |at| at.0));
        }
        if known.chain.len() > 1 {
            // A delegation lives only while the key that signed it does.
            end = end.min(self.key_end(&known.issuer).map_or(u64::MAX, |at| at.0));
        }
        Some(end.min(known.revoked.map_or(u64::MAX, |at| at.time.0)))
    }

    /// When a key that was a vendor's ceased to be.
    fn key_end(&self, key: &Fingerprint) -> Option<Millis> {
        let vendor = self.vendor_of.get(key)?;
        let ends = [self.key_ended.get(key), self.vendor_ended.get(vendor)];
        ends.into_iter().flatten().min().copied()
    }

    /// Whether what is noted of blocks leaves nobody who could use a grant: all keys of its holder are blocked, or one is that passed
    /// it on.
    fn is_blocked(&self, known: &Known, holder: &Holder) -> bool {
        let blocked = self.authority.blocked();
        let held = match holder {
            Holder::Key(key) => blocked.contains(key),
            Holder::Vendor(id) => self
                .authority
                .vendor(id)
                .is_some_and(|vendor| !vendor.keys.is_empty() && vendor.keys.iter().all(|key| blocked.contains(key))),
        };
        let passed_on = |known: &Known| known.chain.len() > 1 && blocked.contains(&known.issuer);
        held || known.chain.iter().filter_map(|id| self.grants.get(id)).any(passed_on)
    }

    /// How a grant stands after all these orders, at `now`; `None` if its order was erased.
    pub fn standing(&self, grant: &GrantId, now: Millis) -> Option<GrantStanding> {
        let known = self.grants.get(grant)?;
        let terms = known.terms.as_ref()?;
        let above = || known.chain.iter().filter_map(|id| self.grants.get(id));
        let taken = above().any(|known| {
            let gone = |holder: &Holder| match holder {
                Holder::Vendor(id) => self.vendor_ended.contains_key(id),
                Holder::Key(key) => self.key_end(key).is_some(),
            };
            let orphaned = known.chain.len() > 1 && self.key_end(&known.issuer).is_some();
            known.revoked.is_some() || orphaned || known.terms.as_ref().is_some_and(|terms| gone(&terms.holder))
        });
        let over = above().any(|known| known.terms.as_ref().is_some_and(|terms| now >= terms.expires));
        let holders = above().filter_map(|known| known.terms.as_ref());
        Some(if taken || over {
            GrantStanding::Ended
        } else if terms.not_before.is_some_and(|start| now < start) {
            GrantStanding::NotYet
        } else if holders.into_iter().any(|terms| self.authority.suspended(&terms.holder).is_some())
            || self.is_blocked(known, &terms.holder)
        {
            GrantStanding::Suspended
        } else {
            GrantStanding::Live
        })
    }
}
