//! `--receipt`: what was recorded of a command, kept where the vault cannot take it back.
//!
//! A receipt is one entry with the proof that it is under a signed checkpoint: a C2SP tlog-proof, as `audit prove` writes it and
//! `audit verify` checks it. A command of one entry has one file; one of several (many objects, large ones) a folder of them, each
//! named by its entry's index.

use std::fs;
use std::path::{Path, PathBuf};

use strongroom_client::{Entries, Vault};
use strongroom_core::ids::Index;
use strongroom_core::names::TenantName;

use crate::exit::{Failure, Outcome};
use crate::globals::Globals;
use crate::output::note;

/// How receipts end, by custom.
pub const ENDING: &str = "tlog-proof";

/// The flag of commands that are recorded.
#[derive(Debug, clap::Args)]
pub struct ReceiptFlag {
    /// Keep the proof that this was recorded, to be checked without the vault: a C2SP tlog-proof. Where it took several entries
    /// (many objects, large ones), and where PATH is a folder or ends with /, it is a folder of them, INDEX.tlog-proof each.
    #[arg(long, value_name = "PATH")]
    receipt: Option<PathBuf>,
}

impl ReceiptFlag {
    /// Connects, does `work`, and keeps the receipts of what it did: also if it did not come to its end.
    ///
    /// # Errors
    /// As [`Globals::with_vault`]; what came in the way of the receipts.
    pub fn with_vault<T>(&self, globals: &Globals, work: impl AsyncFnOnce(&Vault) -> Outcome<T>) -> Outcome<T> {
        let Some(path) = &self.receipt else { return globals.with_vault(work) };
        globals.with_vault(async |vault| {
            let entries = Entries::default();
            let done = work(&vault.noting(&entries)).await;
            let kept = keep(vault, &entries.noted(), path).await;
            match (done, kept) {
                (Ok(done), Ok(())) => Ok(done),
                (Ok(_), Err(failure)) | (Err(failure), Ok(())) => Err(failure),
                (Err(failure), Err(other)) => {
                    note(&format!("note: {other}"));
                    Err(failure)
                }
            }
        })
    }
}

async fn keep(vault: &Vault, entries: &[(TenantName, Index)], path: &Path) -> Outcome {
    let is_folder = path.is_dir() || path.to_str().is_some_and(|text| text.ends_with('/'));
    match entries {
        [] => {
            note("note: nothing was released or put, so there is no receipt");
            Ok(())
        }
        [(tenant, index)] if !is_folder => write(vault, tenant, *index, path).await,
        entries => {
            fs::create_dir_all(path).map_err(|error| Failure::file(path, &error))?;
            for (tenant, index) in entries {
                write(vault, tenant, *index, &path.join(format!("{index}.{ENDING}"))).await?;
            }
            Ok(())
        }
    }
}

async fn write(vault: &Vault, tenant: &TenantName, index: Index, path: &Path) -> Outcome {
    let (receipt, _) = vault.receipt(tenant, index).await.map_err(|error| {
        let mut failure = Failure::from(error).of(&format!("the receipt of entry {index}"));
        failure.advice =
            format!("it was done and recorded: ask again with `strongroom audit prove {tenant} {index} -o FILE`")
                .into();
        failure
    })?;
    fs::write(path, receipt.to_bytes()).map_err(|error| Failure::file(path, &error))
}
