//! `dataset`: what objects are kept in.

use clap::Subcommand;
use serde::Serialize;
use strongroom_client::DatasetRef;
use strongroom_client::datasets::DatasetInfo;
use strongroom_core::ids::DatasetId;
use strongroom_core::names::{DatasetName, TenantName};
use strongroom_core::reason::Reason;

use crate::exit::{Failure, Outcome};
use crate::globals::Globals;
use crate::name;
use crate::output::{Row, confirm};

/// Create, list, freeze and delete datasets.
#[derive(Debug, Subcommand)]
pub enum Dataset {
    /// Create a dataset.
    #[command(after_help = "\
Examples:
  strongroom dataset create acme/rlhf")]
    Create {
        /// TENANT/DATASET.
        #[arg(value_parser = name::parse::<DatasetRef>)]
        dataset: DatasetRef,
    },
    /// List a tenant's datasets.
    #[command(after_help = "\
Examples:
  strongroom dataset list acme")]
    List {
        /// The tenant.
        tenant: TenantName,
    },
    /// Show one dataset.
    #[command(after_help = "\
Examples:
  strongroom dataset show acme/rlhf")]
    Show {
        /// TENANT/DATASET.
        #[arg(value_parser = name::parse::<DatasetRef>)]
        dataset: DatasetRef,
    },
    /// Stop all reads and writes in a dataset at once, for everybody, admins too; reads that are under way end.
    #[command(after_help = "\
Examples:
  strongroom dataset freeze acme/rlhf --note \"incident 42\"")]
    Freeze {
        /// TENANT/DATASET.
        #[arg(value_parser = name::parse::<DatasetRef>)]
        dataset: DatasetRef,
        /// Why; kept in the ledger.
        #[arg(long)]
        note: Option<String>,
    },
    /// Let a frozen dataset be read and written again.
    #[command(after_help = "\
Examples:
  strongroom dataset unfreeze acme/rlhf --note \"incident 42 closed\"")]
    Unfreeze {
        /// TENANT/DATASET.
        #[arg(value_parser = name::parse::<DatasetRef>)]
        dataset: DatasetRef,
        /// Why; kept in the ledger.
        #[arg(long)]
        note: Option<String>,
    },
    /// Hide a dataset with all that is in it, for good. Its name stays taken.
    #[command(after_help = "\
Examples:
  strongroom dataset delete acme/old --yes")]
    Delete {
        /// TENANT/DATASET.
        #[arg(value_parser = name::parse::<DatasetRef>)]
        dataset: DatasetRef,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
}

/// A dataset as it is shown.
#[derive(Debug, Serialize)]
pub struct Shown {
    dataset: DatasetName,
    id: DatasetId,
    created: u64,
    /// The entry that froze it, or the whole tenant, while one is.
    frozen: Option<u64>,
}

impl From<DatasetInfo> for Shown {
    fn from(info: DatasetInfo) -> Self {
        Self { dataset: info.name, id: info.id, created: info.created.0, frozen: info.frozen.map(|index| index.0) }
    }
}

impl Row for Shown {
    const HEADS: &'static [&'static str] = &["DATASET", "STATE", "CREATED BY ENTRY", "ID"];

    fn cells(&self) -> Vec<String> {
        let state = self.frozen.map_or("live".to_owned(), |index| format!("frozen (entry {index})"));
        vec![self.dataset.to_string(), state, self.created.to_string(), self.id.to_string()]
    }
}

#[derive(Debug, Serialize)]
struct Changed {
    dataset: String,
    index: u64,
}

impl Dataset {
    /// Does it.
    ///
    /// # Errors
    /// The caller is no admin, the name is taken, or there is none.
    pub fn run(self, globals: &Globals) -> Outcome {
        if let Self::Delete { dataset, yes } = &self {
            confirm(&format!("Hide {dataset} with all that is in it, for good?"), *yes)?;
        }
        globals.with_vault(async |vault| match self {
            Self::Create { dataset } => {
                let index = vault.create_dataset(&dataset).await?.index.0;
                let changed = Changed { dataset: dataset.to_string(), index };
                globals.output.result(&changed, |changed| format!("{} is there (entry {index})", changed.dataset))
            }
            Self::List { tenant } => {
                let datasets = vault.datasets(&tenant).await?;
                globals.output.list(&datasets.into_iter().map(Shown::from).collect::<Vec<_>>())
            }
            Self::Show { dataset } => {
                let datasets = vault.datasets(&dataset.tenant).await?;
                let found = datasets.into_iter().find(|info| info.name == dataset.dataset);
                let none =
                    || Failure::new(Reason::NotFound, format!("there is no dataset {dataset}"), "see dataset list");
                globals.output.list(&[Shown::from(found.ok_or_else(none)?)])
            }
            Self::Freeze { dataset, note } => {
                let index = vault.freeze_dataset(&dataset, note).await?.index.0;
                let changed = Changed { dataset: dataset.to_string(), index };
                globals.output.result(&changed, |changed| {
                    format!("{} is frozen: nobody reads or writes in it from here on (entry {index})", changed.dataset)
                })
            }
            Self::Unfreeze { dataset, note } => {
                let index = vault.unfreeze_dataset(&dataset, note).await?.index.0;
                let changed = Changed { dataset: dataset.to_string(), index };
                globals
                    .output
                    .result(&changed, |changed| format!("{} is no longer frozen (entry {index})", changed.dataset))
            }
            Self::Delete { dataset, .. } => {
                let index = vault.delete_dataset(&dataset).await?.index.0;
                let changed = Changed { dataset: dataset.to_string(), index };
                globals.output.result(&changed, |changed| format!("{} is hidden (entry {index})", changed.dataset))
            }
        })
    }
}
