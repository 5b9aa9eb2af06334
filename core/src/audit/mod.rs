//! What a ledger tells whoever has to answer for it: folds over its entries, without I/O and without a clock, so that the lab that
//! asks the server and the auditor who has an export come to the same.
//!
//! They prove nothing: whether a ledger holds is for [`crate::ledger::replay`]. They read what it says, and say what was erased.

pub mod blast;
pub mod called;
mod charges;
pub mod evidence;
pub mod exposure;
pub mod matching;
pub mod naming;
mod ranges;
pub mod report;
pub mod roster;
mod scope;
mod whose;

pub use exposure::{Exposed, Exposure, Question};
pub use naming::Naming;
pub use ranges::Ranges;
pub use report::Report;
pub use roster::Roster;
pub use whose::Stranger;
