//! `audit export`: a copy of the ledger that can be verified without the vault, or its entries in a form that other programs read.

mod csv;
mod file;
mod folder;
mod jsonl;
mod ocsf;
mod parquet;
mod row;
mod told;

use std::path::PathBuf;

use crate::audit::source::Source;
use crate::exit::{Failure, Outcome};
use crate::globals::Globals;

pub(crate) use folder::keys_of;

/// The flags of `audit export`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Without --format it is a copy of the log that proves itself. With it, one file for other programs: docs/operations.md names the
columns. CSV and Parquet have one row an entry and object. Paths, addresses and words of people are in all of them.

Examples:
  strongroom audit export acme -o acme-ledger/ && strongroom audit verify acme-ledger/
  strongroom audit export acme --format parquet -o acme.parquet
  strongroom audit export acme --format ocsf --from 120 -o - | siem-forwarder
  strongroom audit export acme-ledger/ --format csv -o acme.csv")]
pub struct Export {
    /// The tenant; with --format also the folder of an export (whatever has a / in it), which needs no vault.
    #[arg(value_name = "TENANT|DIR")]
    ledger: Source,
    /// The folder to write, new or with an earlier export of the same ledger. With --format, the file, or - for standard output.
    #[arg(short = 'o', long = "out", value_name = "DIR|FILE")]
    out: PathBuf,
    /// One file instead of a folder, in this form.
    #[arg(long, value_enum, value_name = "FORM")]
    format: Option<Form>,
    /// Only entries from this index on: where an earlier file ended.
    #[arg(long, value_name = "INDEX", requires = "format", default_value_t = 0)]
    from: u64,
    /// Only entries before this index.
    #[arg(long, value_name = "INDEX", requires = "format")]
    to: Option<u64>,
}

/// A form for other programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Form {
    /// JSON Lines: one object an entry.
    Jsonl,
    /// Comma-separated values, safe to open in a spreadsheet.
    Csv,
    /// Parquet, for DuckDB, pandas and their kin.
    Parquet,
    /// OCSF events (API Activity) as JSON Lines, for a SIEM.
    Ocsf,
}

impl Export {
    /// Does it.
    ///
    /// # Errors
    /// The caller is no admin of the tenant; what is to be written cannot be, or holds something else; the ledger does not hold.
    pub fn run(self, globals: &Globals) -> Outcome {
        let wanted = |form| file::Wanted { form, from: self.from, to: self.to, out: &self.out };
        match (self.format, self.ledger) {
            (None, Source::Tenant(tenant)) => folder::run(tenant, self.out, globals),
            (None, Source::Folder(folder)) => Err(Failure::usage(
                format!("{} is no tenant", folder.display()),
                "name the tenant, or say --format jsonl, csv, parquet or ocsf to read a folder",
            )),
            (Some(form), Source::Folder(folder)) => file::of_folder(folder, &wanted(form), globals),
            (Some(form), Source::Tenant(tenant)) => file::of_tenant(&tenant, &wanted(form), globals),
        }
    }
}
