//! What can be said with any verb.

use std::path::PathBuf;

use strongroom_core::ids::{GrantId, IncidentId};

use crate::output::Format;

const EVERYWHERE: &str = "Everywhere, before or after the verb";

/// What stands before or after any verb.
#[derive(Debug, Clone, clap::Args)]
pub struct Globals {
    /// The folder of one identity, its server and what it remembers of ledgers [env: STRONGROOM_HOME].
    #[arg(long, global = true, value_name = "DIR", help_heading = EVERYWHERE)]
    pub home: Option<PathBuf>,
    /// Tables for people or JSON for programs; lists are JSON Lines.
    #[arg(long, global = true, value_enum, default_value_t, value_name = "FORMAT", help_heading = EVERYWHERE)]
    pub output: Format,
    /// The grant to act under; for what `audit` asks, the grant to look for. Without it the fitting one is found.
    #[arg(long, global = true, value_name = "gr_…", help_heading = EVERYWHERE)]
    pub grant: Option<GrantId>,
    /// The incident that this command's orders belong to, and what it re-keys, deletes, puts or reads in an admin's own name; for
    /// `audit evidence`, `exposure` and `blast` and `key rekey`, the one that they are about; for `audit log`, `tail` and `watch`,
    /// the one to look for.
    #[arg(long, global = true, value_name = "in_…", help_heading = EVERYWHERE)]
    pub incident: Option<IncidentId>,
}
