//! `audit tail`: the ledger's newest entries, and then each new one as it comes under a checkpoint.
//!
//! What is shown was signed for: a checkpoint covers it, and was proven to continue the one before. A ledger that was put back or
//! rewritten ends it.

use std::io::Write;
use std::time::Duration;

use futures::TryStreamExt;
use strongroom_client::Vault;
use strongroom_client::audit::Query;
use strongroom_client::log::Cover;
use strongroom_core::ids::{Index, Millis};
use strongroom_core::ledger::checkpoint::Checkpoint;
use strongroom_core::ledger::entry::Event;
use strongroom_core::names::TenantName;

use crate::audit::log::{About, event, write};
use crate::audit::names::Names;
use crate::exit::{Failure, Outcome};
use crate::globals::Globals;
use crate::output::Format;
use crate::when::{self, Moment};

/// How often the ledger is asked for more.
const EVERY: Duration = Duration::from_secs(1);

/// The flags of `audit tail`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  strongroom audit tail acme
  strongroom audit tail acme --event release --event denied --vendor labelco
  strongroom audit tail acme --since 2h --dataset rlhf --prefix math/ --outcome denied
  strongroom audit tail acme --lines 0 --output json | while read -r entry; do …; done")]
pub struct Tail {
    /// The tenant.
    tenant: TenantName,
    /// How many of the newest entries to look at before new ones are waited for.
    #[arg(long, value_name = "N", default_value_t = 10)]
    lines: u64,
    /// Begin with all from this time on instead: 2h (ago), 2026-03-01, 2026-03-01T14:05.
    #[arg(long, value_name = "TIME", conflicts_with = "lines")]
    since: Option<Moment>,
    /// Only these events, such as release, denied, grant.issued, object.put; may be given again.
    #[arg(long, value_name = "EVENT", value_parser = event)]
    event: Vec<Event>,
    #[command(flatten)]
    about: About,
}

impl Tail {
    /// Goes on until it is interrupted.
    ///
    /// # Errors
    /// The caller is no admin of the tenant, or the ledger does not continue what was shown.
    pub fn run(self, globals: &Globals) -> Outcome {
        let since = self.since.map(|moment| moment.millis(when::now()));
        globals.with_vault(async |vault| {
            let mut last = vault.checkpoint(&self.tenant, Cover::Head).await?.checkpoint;
            let first = match self.since {
                Some(_) => Index(0),
                None => Index(last.size.0.saturating_sub(self.lines)),
            };
            self.show(vault, globals, since, first, &last).await?;
            loop {
                tokio::time::sleep(EVERY).await;
                let next = vault.continued(&self.tenant, last.size, &last.root).await?.checkpoint;
                self.show(vault, globals, None, last.size, &next).await?;
                last = next;
            }
        })
    }

    /// Shows entries from `from` on, as far as the checkpoint covers them.
    async fn show(
        &self,
        vault: &Vault,
        globals: &Globals,
        since: Option<Millis>,
        from: Index,
        to: &Checkpoint,
    ) -> Outcome {
        if from >= to.size {
            return Ok(());
        }
        let names = match globals.output {
            Format::Table => Names::of(vault, &self.tenant).await?,
            Format::Json => Names::default(),
        };
        let query = Query { from, to: Some(to.size), since, events: self.event.clone(), ..self.about.query(globals) };
        let mut lines = vault.query(&self.tenant, query);
        let mut out = std::io::BufWriter::new(std::io::stdout());
        while let Some(entry) = lines.try_next().await? {
            write(&mut out, &self.tenant, globals.output, &names, &entry).map_err(|error| Failure::stdio(&error))?;
        }
        out.flush().map_err(|error| Failure::stdio(&error))
    }
}
