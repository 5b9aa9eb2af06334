//! The system beside its peers, in one run on one machine: what a put, a get and a release cost, and what the machine allows.
//!
//! `cargo build --release && cargo run --release -p strongroom-benches -- all`. The server is the real binary in a process of
//! its own; its peak memory is the kernel's figure for it. Nothing here judges: it prints.

// A program that prints.
#![allow(clippy::print_stdout, clippy::disallowed_methods, missing_docs, unreachable_pub)]

mod measure;
mod peers;
mod vault;
mod work;

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use work::catalog::Database;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Measures strongroom beside its peers.
#[derive(Parser)]
struct Arguments {
    /// The strongroom binary; by default the one beside this program.
    #[arg(long, global = true)]
    strongroom: Option<PathBuf>,
    /// The folder on whose disk everything happens; by default the system's for temporary files.
    #[arg(long, global = true)]
    folder: Option<PathBuf>,
    /// How often each is measured; the median is printed with the least and the most.
    #[arg(long, global = true, default_value_t = 3)]
    runs: usize,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// All of them.
    All,
    /// One large object: put and get beside age on a file and raw tonic streaming.
    Large {
        /// MiB of it.
        #[arg(long, default_value_t = 1024)]
        mib: usize,
    },
    /// Many small objects, in batches and one call each.
    Small {
        /// How many.
        #[arg(long, default_value_t = 7473)]
        count: usize,
    },
    /// Small reads, one call each, by many callers at once.
    Reads {
        /// How many callers.
        #[arg(long, default_value_t = 64)]
        callers: usize,
        /// How many grants the chain has that they read under: the vendor's, and those it was passed on by.
        #[arg(long, default_value_t = 1)]
        depth: usize,
    },
    /// SQLite beside PostgreSQL with one, two and three servers over one ledger. PostgreSQL must be installed.
    Engines {
        /// How many callers.
        #[arg(long, default_value_t = 64)]
        callers: usize,
        /// How long they read, in seconds.
        #[arg(long, default_value_t = 5)]
        seconds: u64,
    },
    /// List, stat, put and release with ever more objects in the catalog, on SQLite and on PostgreSQL.
    Catalog {
        /// How many objects, in thousands are rounded up; each size grows out of the one before.
        #[arg(long, value_delimiter = ',', default_values_t = [10_000, 100_000, 1_000_000])]
        objects: Vec<usize>,
        /// On which databases.
        #[arg(long, value_delimiter = ',', value_enum, default_values_t = [Database::Sqlite, Database::Postgres])]
        databases: Vec<Database>,
    },
    /// With ever more live grants under one vendor: the next grant, the next release, suspending, revoking the root, a node's start.
    Grants {
        /// How many grants; each size grows out of the one before.
        #[arg(long, value_delimiter = ',', default_values_t = [1000, 1_000_000])]
        grants: Vec<usize>,
    },
    /// Looks for a leaked sample among lines in memory, and in a vault with the command itself.
    Match {
        /// MiB of lines.
        #[arg(long, default_value_t = 256)]
        mib: usize,
    },
    /// Folds an exposure over raw entries.
    Exposure {
        /// How many releases.
        #[arg(long, value_delimiter = ',', default_values_t = [1_000_000, 10_000_000])]
        releases: Vec<u64>,
    },
    /// The ledger: what the recorder appends by itself, durable entries a second through calls, integration lag, verify and replay,
    /// and what it takes in the database.
    Ledger {
        /// How many callers, one after the other; the last number fills the ledger up.
        #[arg(long, value_delimiter = ',', default_values_t = [1, 64, 1024])]
        callers: Vec<usize>,
        /// How many entries there are at the end; with 0 only the recorder by itself is measured.
        #[arg(long, default_value_t = 1_000_000)]
        entries: u64,
        /// How long each number of callers goes on.
        #[arg(long, default_value_t = 5)]
        seconds: u64,
        /// The recorder by itself also over PostgreSQL, which must be installed.
        #[arg(long)]
        postgres: bool,
    },
    /// One vendor's part in many releases: its exposure in the vault and offline, and an incident from the call to the answer.
    Incident {
        /// How many releases.
        #[arg(long, default_value_t = 10_000_000)]
        releases: u64,
        /// One in how many of them is of the vendor.
        #[arg(long, default_value_t = 100)]
        one_in: u64,
        /// Where the vault is kept: the one there is asked, or a new one is filled there. Without it, one is filled and dropped.
        #[arg(long)]
        kept: Option<PathBuf>,
    },
    /// Rotates a tenant's key over many objects while one reads and one writes.
    Rotation {
        /// How many objects.
        #[arg(long, default_value_t = 1_000_000)]
        objects: usize,
    },
    /// What the disk does: fdatasync of 4 KiB appends.
    Disk,
    /// Serves raw tonic streams: a peer, started by the others.
    #[command(hide = true)]
    Raw,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(run(arguments))
}

async fn run(arguments: Arguments) -> Result<()> {
    if matches!(arguments.what, What::Raw) {
        return peers::raw::serve().await;
    }
    let scratch = match &arguments.folder {
        Some(folder) => tempfile::tempdir_in(folder)?,
        None => tempfile::tempdir()?,
    };
    let beside = std::env::current_exe()?.with_file_name("strongroom");
    let setting = work::Setting {
        binary: arguments.strongroom.unwrap_or(beside),
        folder: scratch.path().to_owned(),
        runs: arguments.runs.max(1),
    };
    match arguments.what {
        What::All => {
            measure::disk(&setting)?;
            work::large::run(&setting, 1024).await?;
            work::small::run(&setting, 7473).await?;
            work::small::run(&setting, 20_000).await?;
            work::reads::run(&setting, 64, 1).await?;
            measure::disk(&setting)
        }
        What::Large { mib } => work::large::run(&setting, mib).await,
        What::Small { count } => work::small::run(&setting, count).await,
        What::Reads { callers, depth } => work::reads::run(&setting, callers, depth).await,
        What::Engines { callers, seconds } => work::engines::run(&setting, callers, seconds).await,
        What::Catalog { mut objects, databases } => {
            objects.sort_unstable();
            work::catalog::run(&setting, &databases, &objects).await
        }
        What::Grants { mut grants } => {
            grants.sort_unstable();
            work::grants::run(&setting, &grants).await
        }
        What::Match { mib } => work::matching::run(&setting, mib).await,
        What::Exposure { releases } => work::exposure::run(&releases),
        What::Ledger { callers, entries, seconds, postgres } => {
            work::appends::run(&setting, &callers, seconds, postgres).await?;
            match entries {
                0 => Ok(()),
                _ => work::ledger::run(&setting, &callers, entries, seconds).await,
            }
        }
        What::Incident { releases, one_in, kept } => {
            work::incident::run(&setting, releases, one_in, kept.as_deref()).await
        }
        What::Rotation { objects } => work::rotation::run(&setting, objects).await,
        What::Disk => measure::disk(&setting),
        What::Raw => Ok(()),
    }
}
