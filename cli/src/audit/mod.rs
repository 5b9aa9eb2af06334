//! The ledger, read.

mod line;
mod log;
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
}

impl Audit {
    /// Does it.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn run(self, globals: &Globals) -> Outcome {
        match self {
            Self::Log(log) => log.run(globals),
        }
    }
}
