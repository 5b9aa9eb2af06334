//! `audit prove`: a receipt of one entry, to be kept and checked without the vault.

use std::path::PathBuf;

use serde::Serialize;
use strongroom_core::ids::Index;
use strongroom_core::names::TenantName;

use crate::exit::{Failure, Outcome};
use crate::globals::Globals;

/// The flags of `audit prove`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  strongroom audit prove acme 17 -o suspended.tlog-proof
  strongroom audit verify suspended.tlog-proof --key \"$(cat acme.log-key)\"")]
pub struct Prove {
    /// The tenant.
    tenant: TenantName,
    /// The entry, by its index: `audit log` shows it, and orders print it.
    index: u64,
    /// The file to write; it ends in .tlog-proof by custom.
    #[arg(short = 'o', long = "out", value_name = "FILE")]
    file: PathBuf,
}

#[derive(Debug, Serialize)]
struct Done {
    tenant: TenantName,
    index: u64,
    entries: u64,
    log_key: String,
}

impl Prove {
    /// Does it.
    ///
    /// # Errors
    /// There is no such entry, or it is not one that the caller may have proven.
    pub fn run(self, globals: &Globals) -> Outcome {
        globals.with_vault(async |vault| {
            let found = vault.receipt(&self.tenant, Index(self.index)).await;
            let (receipt, under) = found
                .map_err(|error| Failure::from(error).if_not_found("`audit log` shows which entries there are"))?;
            std::fs::write(&self.file, receipt.to_bytes()).map_err(|error| Failure::file(&self.file, &error))?;
            let (tenant, log_key) = (self.tenant.clone(), under.key.to_string());
            let done = Done { tenant, index: self.index, entries: under.checkpoint.size.0, log_key };
            globals.output.result(&done, |done| {
                let file = self.file.display();
                format!("{file} proves entry {}; it is checked with the key {}", done.index, done.log_key)
            })
        })
    }
}
