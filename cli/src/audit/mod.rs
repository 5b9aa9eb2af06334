//! The ledger, read.

mod line;
mod log;
mod mine;
pub(crate) mod names;

use clap::Subcommand;

use crate::args::Globals;
use crate::exit::Outcome;

pub use line::line;

/// Read a tenant's ledger.
#[derive(Debug, Subcommand)]
pub enum Audit {
    /// Show a tenant's ledger, oldest entry first, narrowed by filters that all must hold.
    ///
    /// A line has the entry's index, its time (UTC), the event, who did it, what it was about, and the grant it was charged to.
    Log(log::Log),
    /// Show what one's own keys were released, in each tenant: one's own key and, for a vendor's, all keys that the vendor has or
    /// had there. What a vendor asks first when it was breached.
    Mine(mine::Mine),
}

impl Audit {
    /// Does it.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn run(self, globals: &Globals) -> Outcome {
        match self {
            Self::Log(log) => log.run(globals),
            Self::Mine(mine) => mine.run(globals),
        }
    }
}
