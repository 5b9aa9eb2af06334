//! `ls`: what there is.

use std::io::Write;

use futures::TryStreamExt;
use serde::Serialize;
use strongroom_client::{ListOptions, Listed, PrefixName, Vault};

use crate::dataset;
use crate::exit::{Failure, Outcome};
use crate::globals::Globals;
use crate::name::TenantOrPlace;
use crate::output::{Format, write_json};
use crate::stat::Shown;

/// List the objects and folders of a place, or a tenant's datasets. Makes no entry in the ledger.
///
/// Paths are printed as they stand in their dataset. With -l, before them: bytes, generation, and the time (UTC).
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  strongroom ls acme
  strongroom ls acme/rlhf
  strongroom ls -l acme/rlhf/math/
  strongroom ls -r 'acme/rlhf/math/0000*' --output json")]
pub struct Ls {
    /// A tenant (acme), a dataset (acme/rlhf), a folder (acme/rlhf/math/), or all that starts so ('acme/rlhf/math/0000*').
    place: TenantOrPlace,
    /// All objects below, instead of folders.
    #[arg(short, long)]
    recursive: bool,
    /// Sizes, generations and times too.
    #[arg(short, long)]
    long: bool,
}

#[derive(Debug, Serialize)]
struct FolderShown {
    folder: String,
}

impl Ls {
    /// Does it.
    ///
    /// # Errors
    /// Not in scope.
    pub fn run(self, globals: &Globals) -> Outcome {
        globals.with_vault(async |vault| match &self.place {
            TenantOrPlace::Tenant(tenant) => {
                let datasets = vault.datasets(tenant).await?;
                match (globals.output, self.long) {
                    (Format::Table, false) => print(datasets.iter().map(|info| info.name.to_string())),
                    _ => globals.output.list(&datasets.into_iter().map(dataset::Shown::from).collect::<Vec<_>>()),
                }
            }
            TenantOrPlace::Place(place) => self.list(globals, vault, place).await,
        })
    }

    /// Page by page, so that a million objects need no more memory than a thousand.
    async fn list(&self, globals: &Globals, vault: &Vault, place: &PrefixName) -> Outcome {
        let options = ListOptions { delimiter: !self.recursive, grant: globals.grant };
        let mut listed = vault.list(&place.dataset_ref(), &place.prefix, options);
        let mut out = std::io::BufWriter::new(std::io::stdout());
        while let Some(item) = listed.try_next().await.map_err(Failure::about(place))? {
            let written = match (globals.output, item) {
                (Format::Json, Listed::Object(info)) => write_json(&mut out, &Shown::from(info)),
                (Format::Json, Listed::Folder(folder)) => write_json(&mut out, &FolderShown { folder }),
                (Format::Table, item) => writeln!(out, "{}", self.line(item)),
            };
            written.map_err(|error| Failure::stdio(&error))?;
        }
        out.flush().map_err(|error| Failure::stdio(&error))
    }

    fn line(&self, item: Listed) -> String {
        match (item, self.long) {
            (Listed::Object(info), false) => info.path.to_string(),
            (Listed::Folder(folder), false) => folder,
            (Listed::Object(info), true) => {
                let time = crate::when::seconds(info.created);
                format!("{:>14}  {:>4}  {time}  {}", info.size, info.generation.0, info.path)
            }
            (Listed::Folder(folder), true) => format!("{:>14}  {:>4}  {:19}  {folder}", "-", "-", "-"),
        }
    }
}

fn print(lines: impl Iterator<Item = String>) -> Outcome {
    let mut out = std::io::stdout().lock();
    lines.into_iter().try_for_each(|line| writeln!(out, "{line}")).map_err(|error| Failure::stdio(&error))
}
