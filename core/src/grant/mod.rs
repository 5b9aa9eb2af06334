//! Who may do what: grants, the authority they stand on, and the one decision.
//!
//! A [`Grant`] is a record in the vault, never a bearer token. [`Authority`] is the fold of all that gives and takes away
//! standing; [`decide()`] is the one pure function that the server asks before it records and that replay asks after.

pub mod authority;
pub mod blocked;
pub mod decide;
mod delegate;
mod limits;
mod network;
mod policy;
mod prefix;
mod renewal;
mod scope;
mod shreds;

pub use authority::{Authority, Principal, Vendor};
pub use blocked::Blocked;
pub use decide::{Allowed, Held, Place, Refusal, Request, Source, Standing, decide};
pub use delegate::{MAX_DEPTH, Wider};
pub use limits::{Hit, Limit, Limits, Reset, Tally, Usage};
pub use network::{Network, NotANetwork};
pub use policy::{DEFAULT_MAX_LIFE, Policy};
pub use prefix::Prefix;
pub use renewal::Renewal;
pub use scope::{Action, Part, Scope};
pub use shreds::Shreds;

use serde::{Deserialize, Serialize};

use crate::identity::Fingerprint;
use crate::ids::{GrantId, Index, Millis, VendorId};

/// Who holds a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Holder {
    /// Any live key of this vendor.
    Vendor(VendorId),
    /// This key.
    Key(Fingerprint),
}

/// What an order grants: the whole content of a grant but its id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// Who holds it.
    pub holder: Holder,
    /// The grant that it was delegated from; none if an admin issued it.
    pub parent: Option<GrantId>,
    /// What it allows; 1 to [`Terms::MAX_SCOPES`].
    pub scopes: Vec<Scope>,
    /// From when; at once if none.
    pub not_before: Option<Millis>,
    /// Until when, exclusive.
    pub expires: Millis,
    /// Whether the holder may delegate it.
    pub delegable: bool,
    /// How much.
    pub limits: Limits,
    /// What for, in words; at most 512 bytes.
    pub purpose: Option<String>,
}

impl Terms {
    /// The most scopes of one grant.
    pub const MAX_SCOPES: usize = 64;
}

/// A grant as it was recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// Its id: from its order's.
    pub id: GrantId,
    /// The entry that issued it.
    pub issued: Index,
    /// The key that signed its order first.
    pub issuer: Fingerprint,
    /// What was granted.
    pub terms: Terms,
}

impl Grant {
    /// Whether one of its scopes covers `action` on `path`.
    pub fn covers(&self, action: Action, dataset: &crate::names::DatasetName, path: &crate::names::ObjectPath) -> bool {
        self.terms.scopes.iter().any(|scope| scope.covers(action, dataset, path))
    }

    /// Whether it allows something of what `place` does, if only in a part of it.
    pub fn touches(&self, place: &Scope) -> bool {
        self.terms.scopes.iter().any(|scope| scope.intersects(place))
    }
}
