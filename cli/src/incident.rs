//! `incident`: the worst day, from the notice of a breach to an answer, and what belongs to it afterwards.

mod answer;
mod open;
mod shown;

use clap::Subcommand;
use serde::Serialize;
use strongroom_core::ids::IncidentId;
use strongroom_core::names::TenantName;

use crate::exit::Outcome;
use crate::globals::Globals;
use crate::when;

pub(crate) use answer::EVIDENCE;
pub(crate) use open::{Plan, respond};

/// A vendor was breached: stop it, say what it had, keep the evidence.
#[derive(Debug, Subcommand)]
pub enum Incident {
    /// Stop a vendor with all its keys and workers, wait until nothing is in flight, and say what it had: in ten lines, and in a
    /// folder with the report and the evidence.
    ///
    /// The order of things: the incident is recorded; the vendor is suspended; whatever was released to it lies below that entry of
    /// the ledger, and what was on its way has ended a second later; then the ledger is read and the answer written. It can be run
    /// again: each time is an incident of its own, and a vendor that is stopped stays so.
    Open(open::Open),
    /// Show an incident, the orders that belong to it, and what was done for it: re-keyed, deleted, read.
    Show(shown::Show),
    /// List a tenant's incidents.
    List(shown::List),
    /// Close an incident. It gives nothing back: `vendor resume` does.
    #[command(after_help = "\
Examples:
  strongroom incident close acme in_0af1… --note \"keys replaced, data re-keyed\"")]
    Close {
        /// The tenant.
        tenant: TenantName,
        /// The incident.
        #[arg(value_name = "in_…")]
        id: IncidentId,
        /// What it came to; kept in the ledger.
        #[arg(long)]
        note: Option<String>,
    },
}

#[derive(Debug, Serialize)]
struct Closed {
    incident: IncidentId,
    index: u64,
    time: String,
}

impl Incident {
    /// Does it.
    ///
    /// # Errors
    /// The caller is no admin, or there is no such vendor or incident.
    pub fn run(self, globals: &Globals) -> Outcome {
        match self {
            Self::Open(open) => globals.with_vault(async |vault| open.run(globals, vault).await),
            Self::Show(show) => show.run(globals),
            Self::List(list) => list.run(globals),
            Self::Close { tenant, id, note } => globals.with_vault(async |vault| {
                let done = vault.close_incident(&tenant, id, note).await?;
                let closed = Closed { incident: id, index: done.index.0, time: when::rfc3339(done.time) };
                globals.output.result(&closed, |closed| {
                    format!("{} is closed (entry {}); its vendor stays as it is", closed.incident, closed.index)
                })
            }),
        }
    }
}
