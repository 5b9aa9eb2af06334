//! `migrate-catalog`: from the file of one machine to a database of PostgreSQL, while no server runs.

use std::path::PathBuf;
use std::sync::Mutex;

use serde::Serialize;
use strongroom_core::ids::{Digest, Index, VaultId};
use strongroom_core::names::TenantName;
use strongroom_core::reason::Reason;
use strongroom_server::catalog::CatalogError;
use strongroom_server::migrate::{MigrateError, Moved, Options, Stage, Told, migrate};

use crate::connection::{block_on, passphrase};
use crate::exit::{Failure, Outcome};
use crate::globals::Globals;
use crate::not_serving;
use crate::progress::Progress;

/// Copy a vault's catalog from its file to PostgreSQL, so that many machines can serve it.
///
/// No server of this vault may run meanwhile. The file is read and not changed; blobs stay where they are. Every row is compared,
/// every ledger checked up to its head, and a sample of objects with their blobs, before it says done; until then no server takes
/// the copy. Broken off at any moment, the same command goes on where it stopped.
///
/// It prints the two lines to change in strongroom.toml. From the first `serve` over PostgreSQL on, the old file must never be
/// served again.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  strongroom migrate-catalog ./vault --to postgres://strongroom@db.example.org/strongroom
  echo \"$URL\" | strongroom migrate-catalog ./vault --to -          # a URL with a password in no list of processes")]
pub struct MigrateCatalog {
    /// The vault's folder, made by `init`.
    folder: PathBuf,
    /// The database: empty, or what this command left unfinished in it; - reads the URL from standard input.
    #[arg(long, value_name = "URL")]
    to: String,
    /// Clear what an earlier run copied and begin anew: after the vault was served in between.
    #[arg(long)]
    restart: bool,
    /// How many objects of each tenant are checked with their blobs.
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    sample: u64,
    /// How many rows are copied in one transaction.
    #[arg(long, value_name = "COUNT", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    rows: u32,
}

/// What there is to tell of a catalog that was moved.
#[derive(Debug, Serialize)]
struct Verdict {
    vault: VaultId,
    file: PathBuf,
    to: String,
    rows: u64,
    /// Whether an unfinished copy was finished, or found finished.
    resumed: bool,
    was_done: bool,
    ledgers: Vec<Ledger>,
    /// Generations of objects, and how many of them were read from their blobs.
    objects: u64,
    sampled: u64,
    /// The two lines for strongroom.toml.
    config: [String; 2],
}

#[derive(Debug, Serialize)]
struct Ledger {
    tenant: TenantName,
    size: Index,
    tip: Digest,
}

impl MigrateCatalog {
    /// Does it.
    ///
    /// # Errors
    /// A server runs, the database is not empty, or something in the vault is not what it should be.
    pub fn run(self, globals: &Globals) -> Outcome {
        let to = match &self.to[..] {
            "-" => passphrase("URL of the database: ").map_err(|error| Failure::stdio(&error))?.to_string(),
            _ => self.to,
        };
        let secret = crate::root::new::secret(&self.folder, None)?;
        let options = Options { to, restart: self.restart, sample: self.sample, page: self.rows, secret };
        let bar: Mutex<Option<Progress>> = Mutex::new(None);
        let moved = block_on(async {
            let tell = |told| tell(globals, &bar, told);
            migrate(&self.folder, options, &tell).await.map_err(|error| failure(&error))
        });
        // An error's line stands alone.
        drop(bar);
        let folder = self.folder.display().to_string();
        globals.output.result(&Verdict::of(moved?), |verdict| verdict.words(&folder))
    }
}

fn tell(globals: &Globals, bar: &Mutex<Option<Progress>>, told: Told) {
    let mut bar = bar.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    match told {
        Told::Begins { stage, total, done } => {
            let (what, unit) = match stage {
                Stage::Checking => ("checking the file", "entries and marks"),
                Stage::Copying => ("copying", "rows"),
                Stage::Comparing => ("comparing", "rows"),
                Stage::CheckingCopy => ("checking the copy", "entries"),
                Stage::Sampling => ("reading blobs", "objects"),
            };
            let begun = Progress::of(globals, what, total, unit);
            begun.add(done);
            *bar = Some(begun);
        }
        Told::More(count) => bar.iter().for_each(|bar| bar.add(count)),
    }
}

impl Verdict {
    fn of(moved: Moved) -> Self {
        let ledgers = moved.ledgers.into_iter();
        Self {
            vault: moved.vault,
            file: moved.file,
            config: ["[catalog]".to_owned(), format!("url = \"{}\"", moved.to)],
            to: moved.to,
            rows: moved.rows,
            resumed: moved.resumed,
            was_done: moved.was_done,
            ledgers: ledgers.map(|of| Ledger { tenant: of.tenant, size: of.size, tip: of.tip }).collect(),
            objects: moved.objects,
            sampled: moved.sampled,
        }
    }

    fn words(&self, folder: &str) -> String {
        let done = match (self.was_done, self.resumed) {
            (true, _) => "is there already",
            (false, true) => "is copied, from where it stopped",
            (false, false) => "is copied",
        };
        let mut lines = vec![format!("the catalog of vault {} {done}: {} rows", self.vault, self.rows)];
        for Ledger { tenant, size, tip } in &self.ledgers {
            lines.push(format!("ledger      {tenant}: {size} entries, tip {tip}"));
        }
        lines.push(format!("objects     {}, {} of them read from their blobs", self.objects, self.sampled));
        lines.push(format!("next        change two lines of {folder}/strongroom.toml, then strongroom serve {folder}"));
        lines.extend(self.config.iter().cloned());
        if self.to.contains("PASSWORD") {
            lines.push("            (with the password where PASSWORD stands)".to_owned());
        }
        lines.push(format!(
            "never       serve {} again: what it lacks, nodes and clients remember",
            self.file.display()
        ));
        lines.join("\n")
    }
}

/// Why nothing was moved, and what to do.
fn failure(error: &MigrateError) -> Failure {
    let advice = match error {
        MigrateError::NotEmbedded => "there is nothing to do, or STRONGROOM_CATALOG_URL is set and should not be",
        MigrateError::Nothing(_) => "set [catalog] url in strongroom.toml: the first serve makes the tables",
        MigrateError::NotPostgres => "name it as postgres://USER@HOST/DATABASE",
        MigrateError::OtherVault(_) => "name an empty database",
        MigrateError::WentOn => {
            "if a server works with the database, set [catalog] url to it and leave the file alone; else name an empty one"
        }
        MigrateError::Broken { .. } => "find out who changed it; nothing is served from the copy",
        MigrateError::Server(error) => return not_serving::failure(error),
        MigrateError::Catalog(error) => match error {
            CatalogError::Served => "stop the server of this vault first",
            CatalogError::BeingCopied => "wait until the other copy has ended",
            CatalogError::OtherSchema => "serve the vault once with this version, stop it, then copy",
            CatalogError::NotEmpty { .. } => "name an empty database",
            CatalogError::MovedOn | CatalogError::Differs { .. } => {
                "run it again with --restart, and no server meanwhile"
            }
            CatalogError::Url(_) => "name it as postgres://USER@HOST/DATABASE",
            _ => match error.reason() {
                Reason::Unavailable => "look at the database, then run it again: it goes on where it stopped",
                _ => "look at the database and at the vault's folder",
            },
        },
    };
    Failure::new(error.reason(), error.to_string(), advice)
}
