//! `rm`: hides objects.

use futures::{StreamExt, TryStreamExt};
use serde::Serialize;
use strongroom_client::{DeleteOptions, Deleted, ListOptions, Listed, ObjectPath, PrefixName, Vault};
use strongroom_core::grant::Prefix;
use strongroom_core::ids::Generation;
use strongroom_core::reason::Reason;

use crate::amount::counted;
use crate::exit::{Failure, Outcome};
use crate::globals::Globals;
use crate::name;
use crate::output::{Format, confirm, line};
use crate::tally::Tally;

/// Hide an object, or with -r all objects of a folder. Every deletion is an entry in the ledger.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  strongroom rm acme/rlhf/math/000007.json
  strongroom rm acme/rlhf/math/000007.json --if-generation 3
  strongroom rm -r acme/rlhf/old/ --yes")]
pub struct Rm {
    /// An object, or with -r a folder or all that starts so.
    #[arg(value_parser = name::parse::<PrefixName>)]
    name: PrefixName,
    /// All objects of a folder.
    #[arg(short, long)]
    recursive: bool,
    /// Only if this is the object's generation.
    #[arg(long, value_name = "N", conflicts_with = "recursive")]
    if_generation: Option<u64>,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
}

#[derive(Debug, Serialize)]
struct Shown {
    path: ObjectPath,
    generation: u64,
    index: u64,
}

impl From<Deleted> for Shown {
    fn from(deleted: Deleted) -> Self {
        Self { path: deleted.path, generation: deleted.generation.0, index: deleted.index.0 }
    }
}

impl Rm {
    /// Does it.
    ///
    /// # Errors
    /// Not there, not allowed, or not confirmed.
    pub fn run(self, globals: &Globals) -> Outcome {
        let options = DeleteOptions { generation: self.if_generation.map(Generation), grant: globals.grant };
        match &self.name.prefix {
            Prefix::Exact(path) => {
                let object = self.name.dataset_ref().object(path.clone());
                let shown = globals.with_vault(async |vault| {
                    let deleted = vault.delete(&object, options).await.map_err(Failure::about(&object))?;
                    Ok(Shown::from(deleted))
                })?;
                globals.output.result(&shown, |shown| format!("{} is hidden (entry {})", self.name, shown.index))
            }
            _ if self.recursive => globals.with_vault(async |vault| self.all(globals, vault, options).await),
            _ => Err(Failure::usage(format!("{} is a folder", self.name), "add -r to hide all that is in it")),
        }
    }

    async fn all(&self, globals: &Globals, vault: &Vault, options: DeleteOptions) -> Outcome {
        let dataset = self.name.dataset_ref();
        let list = ListOptions { delimiter: false, grant: options.grant };
        let listed = vault.list(&dataset, &self.name.prefix, list);
        // All of them before the first is hidden: a question about how many needs a number.
        let paths = listed.try_filter_map(async |item| match item {
            Listed::Object(info) => Ok(Some(info.path)),
            Listed::Folder(_) => Ok(None),
        });
        let paths: Vec<ObjectPath> = paths.try_collect().await.map_err(Failure::about(&self.name))?;
        if paths.is_empty() {
            let detail = format!("there is nothing under {}", self.name);
            return Err(Failure::new(Reason::NotFound, detail, "check the name with ls"));
        }
        confirm(&format!("Hide {} under {}?", counted(paths.len() as u64, "object"), self.name), self.yes)?;
        let mut tally = Tally::default();
        let mut deleted = vault.delete_many(&dataset, futures::stream::iter(paths), options);
        while let Some(result) = deleted.next().await {
            match result {
                Ok(deleted) => {
                    tally.add(0);
                    if globals.output == Format::Json {
                        globals.output.result(&Shown::from(deleted), |_| String::new())?;
                    }
                }
                Err(failed) => tally.fail(failed)?,
            }
        }
        if globals.output == Format::Table {
            line(&format!("{} under {} hidden", counted(tally.done, "object"), self.name))?;
        }
        tally.finish()
    }
}
