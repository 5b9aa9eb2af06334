//! A short honest ledger that the tests go on from.

use strongroom_core::grant::{Action, Holder, Limits};
use strongroom_core::identity::Identity;
use strongroom_core::ids::{GrantId, VendorId};

use crate::builder::{Ledger, Put, Session, identity};

pub(crate) const SEGMENT: u64 = 65_536;
/// Two windows and a bit.
pub(crate) const LARGE: u64 = 1500 * SEGMENT + 7;
pub(crate) const SMALL: u64 = 2 * SEGMENT + 5;

pub(crate) struct Story {
    pub(crate) ledger: Ledger,
    pub(crate) vendor: VendorId,
    pub(crate) key: Identity,
    /// Read on `math/`: 200 MB, 8 objects, 8 uses.
    pub(crate) read: GrantId,
    /// Write on `labels/`, and overwrite on `labels/v/`.
    pub(crate) write: GrantId,
    pub(crate) admin: Session,
    pub(crate) worker: Session,
    /// `math/small`, 3 segments.
    pub(crate) small: Put,
    /// `math/large`, 1501 segments.
    pub(crate) large: Put,
}

impl Story {
    pub(crate) fn new() -> Self {
        let mut ledger = Ledger::new();
        ledger.dataset("rlhf");
        let key = identity();
        let vendor = ledger.vendor("labelco", &[&key]);
        let limits = Limits { bytes: Some(200_000_000), objects: Some(8), uses: Some(8), ..Limits::default() };
        let terms = ledger.terms(Holder::Vendor(vendor), &[(&[Action::List, Action::Read], "rlhf", "math/")], limits);
        let read = ledger.grant(terms);
        let scopes: [(&[Action], &str, &str); 2] =
            [(&[Action::Write], "rlhf", "labels/"), (&[Action::Overwrite], "rlhf", "labels/v/")];
        let terms = ledger.terms(Holder::Vendor(vendor), &scopes, Limits::default());
        let write = ledger.grant(terms);
        let admin = ledger.open_admin();
        let small = ledger.put(&admin, None, "math/small", 1, SMALL);
        let large = ledger.put(&admin, None, "math/large", 1, LARGE);
        let worker = ledger.open(&key);
        Self { ledger, vendor, key, read, write, admin, worker, small, large }
    }
}
