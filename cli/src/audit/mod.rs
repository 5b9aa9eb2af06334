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
    /// Show entries: who did what, when, under which grant.
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
