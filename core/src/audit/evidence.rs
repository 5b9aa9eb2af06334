//! Evidence about one party: the entries that an answer stands on, with what proves them, and nothing about anybody else.
//!
//! [`Selection`] says of each entry whether it belongs in, and whether its private part may be shown. What names others stays out:
//! the words of the lab's own calls unless every path in them was exposed, other vendors' entries whole.
//!
//! [`Archive`] is what an archive holds, line by line, and [`Archive::check`] proves of it all that can be proven without the rest
//! of the ledger: that each entry is in the log of the signed checkpoint, that each private part is its own, who signed what, that
//! each release was asked for, and that the sums of the report are those of the entries. That nothing was left out, a selection
//! cannot prove: an export of the whole ledger does.

mod archive;
mod selection;

pub use archive::{Archive, EvidenceError, Line, Proven, Released, Told};
pub(super) use selection::Done;
pub use selection::{Keep, Selection};

use super::exposure::Question;

impl Question {
    /// Whether evidence can be given for it: of who and when, not of where.
    pub fn is_of_somebody(&self) -> bool {
        let who = self.vendor.is_some() || self.worker.is_some() || self.key.is_some() || self.grant.is_some();
        let narrower = self.dataset.is_some() || self.prefix.is_some() || self.session.is_some();
        let claims = self.sdk.is_some() || self.host.is_some() || self.job.is_some();
        who && !narrower && !claims
    }
}
