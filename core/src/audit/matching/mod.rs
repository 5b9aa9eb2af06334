//! Whether a leaked sample is ours, and who had it.
//!
//! ```text
//! sample ─► Sample: hashes of its items ─┐
//! objects, as they are read ─► Cutter ───┴─► finds ─┐
//! the ledger's releases ────────────────────────────┴─► Holders ─► candidates: who had how much of it
//! ```
//!
//! An item is a line, or the whole: lines of the sample are looked for among the lines of objects and among whole objects, and the
//! sample as a whole likewise. It is compared as it is and after [`normal`], which gives texts that say the same one spelling.
//!
//! Nothing is guessed about an item that was changed in its words: it is not found.

mod holders;
mod normal;
mod sample;
mod scan;

pub use holders::{Candidate, Holders, Object, Who};
pub use normal::normal;
pub use sample::{ItemNo, Likeness, MAX_ITEMS, MAX_NORMAL, Sample, SampleError};
pub use scan::{Cutter, Find, Job};
