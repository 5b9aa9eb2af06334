//! `audit watch`: a monitor that the lab runs beside its work, and that believes nothing.
//!
//! What it knows lies in its folder: the newest checkpoint that it verified (`checkpoint`), and its replay (`snapshot`). An entry is
//! told once its checkpoint was verified, and once only, unless the process ends while it tells.

mod alarm;
mod chosen;
mod hook;
mod state;
mod witness;

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use strongroom_client::Vault;
use strongroom_client::audit::LedgerLine;
use strongroom_client::log::Cover;
use strongroom_client::monitor::{Monitor, Step};
use strongroom_core::ids::Index;
use strongroom_core::ledger::checkpoint::VerifierKey;
use strongroom_core::names::TenantName;
use strongroom_core::reason::Reason;

use crate::audit::log::write;
use crate::audit::names::Names;
use crate::exit::{Failure, Outcome};
use crate::globals::Globals;
use crate::output::note;
use crate::progress::Progress;
use chosen::Chosen;
use hook::Hook;
use state::State;
use witness::Cosigner;

/// How often the ledger is asked for more.
const EVERY: Duration = Duration::from_secs(1);

/// The flags of `audit watch`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  strongroom audit watch acme --state acme-watch/ --on release,denied
  strongroom audit watch acme --state acme-watch/ --on vendor.suspended,incident.opened --exec ./page-somebody
  strongroom audit watch acme --state acme-watch/ --cosign watch.acme.example
  strongroom audit watch acme --state acme-watch/ --once --log-key \"$(cat acme.log-key)\"     # from cron

What --exec is given on standard input is one line of JSON: an entry as `audit log --output json` shows it, or, where the ledger does
not hold, {\"alarm\": CODE, \"tenant\": …, \"detail\": …}.")]
pub struct Watch {
    /// The tenant.
    tenant: TenantName,
    /// The folder of what this monitor knows. It is made if it is not there, and belongs to one monitor of one tenant.
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    #[command(flatten)]
    chosen: Chosen,
    /// Also tell what stood in the ledger before the first run.
    #[arg(long)]
    all: bool,
    /// Runs this, by the shell, for each chosen entry, and when the ledger does not hold.
    #[arg(long, value_name = "COMMAND")]
    exec: Option<String>,
    /// Cosigns what it verified, under this name (such as watch.acme.example), and has the vault serve that: whoever trusts this
    /// witness asks for its word with `audit verify --witness`.
    #[arg(long, value_name = "NAME")]
    cosign: Option<String>,
    /// The file of the witness's key, made if it is not there; witness.key in the folder without it.
    #[arg(long, value_name = "FILE", requires = "cosign")]
    witness_key: Option<PathBuf>,
    /// One look, up to the newest entry, and an end: for cron.
    #[arg(long)]
    once: bool,
    /// The ledger's public key, known from elsewhere. Without it, the key that signs at the first look is to sign ever after.
    #[arg(long, value_name = "NAME+ID+KEY")]
    log_key: Option<VerifierKey>,
}

impl Watch {
    /// Goes on until it is interrupted, or the ledger does not hold.
    ///
    /// # Errors
    /// `LEDGER_DIVERGED` or `INTEGRITY` if the ledger does not hold; the caller is no admin; the folder is not this monitor's.
    pub fn run(self, globals: &Globals) -> Outcome {
        let mut state = State::open(&self.state)?;
        let hook = self.exec.clone().map(Hook);
        let key_file = self.witness_key.clone().unwrap_or_else(|| self.state.join(state::WITNESS_KEY));
        let mut cosigner = self.cosign.as_deref().map(|name| Cosigner::open(name, &key_file)).transpose()?;
        globals.with_vault(async |vault| {
            match self.watch(globals, vault, &mut state, hook.as_ref(), cosigner.as_mut()).await {
                Err(failure) if alarm::is_alarm(&failure) => {
                    alarm::shout(&self.tenant, &failure, vault, &state, hook.as_ref()).await;
                    Err(failure)
                }
                ended => ended,
            }
        })
    }

    async fn watch(
        &self,
        globals: &Globals,
        vault: &Vault,
        state: &mut State,
        hook: Option<&Hook>,
        mut cosigner: Option<&mut Cosigner>,
    ) -> Outcome {
        let kept = state.read()?;
        // Entries are told from here on; of a first run, from the newest that is there.
        let mut told = match (&kept.checkpoint, self.all) {
            (Some((size, _)), _) => Some(*size),
            (None, true) => Some(Index(0)),
            (None, false) => None,
        };
        let note_of = kept.checkpoint.map(|(_, note)| note);
        let (key, tenant) = (self.log_key.clone(), self.tenant.clone());
        let mut monitor = Monitor::resume(vault.clone(), tenant, key, kept.snapshot, note_of)?;
        let (mut cover, mut is_away, mut is_first) = (Cover::Head, false, true);
        loop {
            let bar = Progress::of(globals, "verifying", 0, "entries");
            let is_told = |entry: &strongroom_core::ledger::Entry| {
                told.is_some_and(|told| entry.index >= told) && self.chosen.may(entry, globals.grant)
            };
            let step = monitor.step(cover, is_told, |done, of| bar.set(done, of)).await;
            drop(bar);
            match step {
                Ok(step) => {
                    if std::mem::take(&mut is_away) {
                        note("note: the vault answers again");
                    }
                    let size = step.checkpoint.checkpoint.size;
                    self.tell(globals, &monitor, &step, hook).await?;
                    let is_new = step.is_new || std::mem::take(&mut is_first);
                    if is_new {
                        state.keep(&mut monitor, self.once)?;
                    }
                    if let Some(cosigner) = &mut cosigner {
                        // Only now: what is kept is what it will hold the next one against.
                        cosigner.cosign(vault, &self.tenant, &step.checkpoint, is_new, self.once).await?;
                    }
                    if told.is_none() {
                        note(&format!("{}: {size} entries hold, verified and replayed", self.tenant));
                    }
                    (told, cover) = (Some(size), Cover::Entries(size));
                    if self.once {
                        return Ok(());
                    }
                }
                Err(error) if is_passing(error.reason()) && !self.once => {
                    if !std::mem::replace(&mut is_away, true) {
                        note(&format!("note: {}: {}; watching goes on", error.reason().code(), error.detail()));
                    }
                }
                Err(error) => return Err(error.into()),
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    async fn tell(&self, globals: &Globals, monitor: &Monitor, step: &Step, hook: Option<&Hook>) -> Outcome {
        if step.entries.is_empty() {
            return Ok(());
        }
        let vendors: Vec<_> = monitor.vendors().collect();
        let chosen = |line: &&LedgerLine| self.chosen.wants(line, &vendors, globals.incident);
        let names = Names::new(vendors.clone());
        let failed = |error: std::io::Error| Failure::stdio(&error);
        for line in step.entries.iter().filter(chosen) {
            let mut out = std::io::stdout().lock();
            write(&mut out, &self.tenant, globals.output, &names, line).and_then(|()| out.flush()).map_err(failed)?;
            drop(out);
            if let Some(hook) = hook {
                hook.entry(&self.tenant, line).await;
            }
        }
        Ok(())
    }
}

/// Whether another look may succeed: it says nothing about the ledger.
fn is_passing(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Unavailable | Reason::LedgerUnavailable | Reason::Sealed | Reason::Clock | Reason::SessionUnknown
    )
}
