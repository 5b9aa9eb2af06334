//! `ledger`: how tenants' ledgers stand, and everything that a vault holds of one read back.

use std::path::Path;

use clap::Subcommand;
use futures::TryStreamExt;
use serde::Serialize;
use strongroom_client::ledgers::{LedgerStatus, Told};
use strongroom_client::{Error, Vault};
use strongroom_core::ledger::checkpoint::Checkpoint;
use strongroom_core::ledger::verify::CHECKPOINT;
use strongroom_core::names::TenantName;
use strongroom_core::reason::Reason;

use crate::amount::counted;
use crate::audit::source::Source;
use crate::exit::{Failure, Outcome};
use crate::globals::Globals;
use crate::output::{Format, line, printable, write_json};
use crate::progress::Progress;
use crate::when;

/// See how ledgers stand, and whether what the vault holds of one fits together. For operators, and for a tenant's admins.
#[derive(Debug, Subcommand)]
pub enum Ledger {
    /// Show how a ledger stands: its head, the newest signed checkpoint and its copy, how far it lags, who cosigned, and why it is
    /// stopped if it is. Without a tenant, of all tenants: for operators.
    Status(Status),
    /// Have the vault read back everything that it holds of a ledger, and say what does not fit and what can be done.
    ///
    /// Database: the head's mark, the authority log, all entries up to the head and the signed root, the marks of grants and objects.
    /// Object store: every bundle, private part and tile up to the signed root. It works on a ledger that is stopped, and repairs
    /// nothing. Exit code 5 says that something does not fit. This is the vault's word: `audit verify` and `audit watch` take none.
    Check(Check),
}

/// The flags of `ledger status`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  strongroom ledger status acme
  strongroom --home ./vault/operator ledger status")]
pub struct Status {
    /// The tenant; all without it.
    #[arg(value_name = "TENANT")]
    tenant: Option<Source>,
}

/// The flags of `ledger check`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  strongroom ledger check acme
  strongroom --home ./vault/operator ledger check acme --output json
  strongroom audit verify acme-ledger/        # what `audit export` wrote: every file, and replay; no vault is asked")]
pub struct Check {
    /// The tenant.
    #[arg(value_name = "TENANT")]
    tenant: Source,
}

/// A ledger as it is told.
#[derive(Debug, Serialize)]
struct Shown {
    tenant: String,
    origin: String,
    log_keys: Vec<String>,
    entries: Option<u64>,
    tip: Option<String>,
    /// The time of the newest entry.
    newest: Option<String>,
    /// Entries under the newest checkpoint, and under its copy in the object store.
    signed: Option<u64>,
    signed_root: Option<String>,
    copied: Option<u64>,
    /// Entries that no checkpoint covers yet, and for how long the newest of them has waited.
    lag: Option<u64>,
    lag_ms: Option<u64>,
    witnesses: Vec<Vouching>,
    stopped: Option<String>,
    problems: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Vouching {
    witness: String,
    entries: Option<u64>,
}

/// Something that does not fit, as it is told.
#[derive(Debug, Serialize)]
struct Fault {
    place: String,
    what: String,
    advice: String,
}

impl Ledger {
    /// Does it.
    ///
    /// # Errors
    /// The caller is neither operator nor admin; something does not fit.
    pub fn run(self, globals: &Globals) -> Outcome {
        match self {
            Self::Status(Status { tenant }) => {
                let tenant = tenant.map(in_vault).transpose()?;
                globals.with_vault(async |vault| status(globals, vault, tenant).await)
            }
            Self::Check(Check { tenant }) => {
                let tenant = in_vault(tenant)?;
                globals.with_vault(async |vault| check(globals, vault, &tenant).await)
            }
        }
    }
}

/// The tenant that is asked about: what lies in a folder is verified without the vault.
fn in_vault(source: Source) -> Outcome<TenantName> {
    match source {
        Source::Tenant(tenant) => Ok(tenant),
        Source::Folder(path) if path.exists() => {
            let path = path.display();
            let detail = format!(
                "{path} is no tenant's name but a place on this disk, and what an export holds is not the vault's to check"
            );
            Err(Failure::usage(detail, format!("run: strongroom audit verify {path}")))
        }
        Source::Folder(path) => Err(Failure::usage(
            format!("{:?} is no tenant's name", path.display()),
            "give the name, such as acme; an export's folder is for `strongroom audit verify`",
        )),
    }
}

/// Whoever names an export's folder as if it were a tenant is told where to go.
fn unless_a_folder_is_meant(tenant: &TenantName, error: Error) -> Failure {
    let is_export = Path::new(tenant.as_str()).join(CHECKPOINT).is_file();
    match error.reason() {
        Reason::Unauthenticated if is_export => in_vault(Source::Folder(tenant.as_str().into())).err(),
        _ => None,
    }
    .unwrap_or_else(|| error.into())
}

async fn status(globals: &Globals, vault: &Vault, tenant: Option<TenantName>) -> Outcome {
    if let Some(tenant) = &tenant {
        let shown = Shown::of(vault.ledger_status(tenant).await?);
        return globals.output.result(&shown, Shown::words);
    }
    for tenant in vault.list_tenants().await? {
        let shown = Shown::of(vault.ledger_status(&tenant.name).await?);
        globals.output.result(&shown, Shown::words)?;
    }
    Ok(())
}

/// Everything is read back, and told as it is found.
async fn check(globals: &Globals, vault: &Vault, tenant: &TenantName) -> Outcome {
    let bar = Progress::of(globals, "reading", 0, "entries");
    let mut faults = 0;
    let mut told = vault.check_ledger(tenant).await.map_err(|error| unless_a_folder_is_meant(tenant, error))?;
    while let Some(told) = told.try_next().await? {
        match told {
            Told::Progress(done, of) => bar.set(done, of),
            Told::Fault { place, what, advice } => {
                faults += 1;
                let fault = Fault { place, what, advice };
                let words = || printable(&format!("{}: {}; {}", fault.place, fault.what, fault.advice));
                match globals.output {
                    Format::Table => line(&words())?,
                    Format::Json => {
                        let written = write_json(&mut std::io::stdout().lock(), &fault);
                        written.map_err(|error| Failure::stdio(&error))?;
                    }
                }
            }
        }
    }
    drop(bar);
    if faults > 0 {
        let verb = if faults == 1 { "does" } else { "do" };
        let detail = format!("{} of {tenant}'s ledger {verb} not fit", counted(faults, "thing"));
        let advice = "nothing was repaired: act on each line above, and check again";
        return Err(Failure::new(Reason::Integrity, detail, advice));
    }
    let status = vault.ledger_status(tenant).await?;
    match globals.output {
        Format::Json => Ok(()),
        Format::Table => {
            let entries = status.head.map_or(0, |(size, ..)| size.0);
            let stopped = status.stopped.map(|why| format!("; it is stopped on this node: {why}")).unwrap_or_default();
            line(&format!("{tenant}: {entries} entries, and everything that the vault holds of them fits{stopped}"))
        }
    }
}

impl Shown {
    fn of(status: LedgerStatus) -> Self {
        let entries = status.head.map(|(size, ..)| size.0);
        let signed = status.checkpoint.map(|(size, _)| size.0);
        let lag = entries.map(|entries| entries.saturating_sub(signed.unwrap_or(0)));
        let waited = |(_, _, time): (_, _, strongroom_core::ids::Millis)| status.now.0.saturating_sub(time.0);
        let entries_of = |note: &[u8]| Checkpoint::peek(note).ok().map(|checkpoint| checkpoint.size.0);
        let vouching =
            |(witness, note): &(String, bytes::Bytes)| Vouching { witness: witness.clone(), entries: entries_of(note) };
        Self {
            entries,
            tip: status.head.map(|(_, tip, _)| tip.to_string()),
            newest: status.head.map(|(_, _, time)| when::rfc3339(time)),
            signed,
            signed_root: status.checkpoint.map(|(_, root)| root.to_string()),
            copied: status.copy.map(|(size, _)| size.0),
            lag,
            lag_ms: lag.map(|lag| if lag == 0 { 0 } else { status.head.map_or(0, waited) }),
            witnesses: status.cosigned.iter().map(vouching).collect(),
            tenant: status.tenant,
            origin: status.origin,
            log_keys: status.log_keys,
            stopped: status.stopped,
            problems: status.problems,
        }
    }

    fn words(&self) -> String {
        let none = || "none".to_owned();
        let number = |number: &Option<u64>| number.map_or_else(none, |number| number.to_string());
        let mut lines = vec![match &self.stopped {
            Some(why) => format!("{}: STOPPED: {why}", self.tenant),
            None => format!("{}: goes on", self.tenant),
        }];
        let mut say = |what: &str, words: String| lines.push(format!("  {what:<12} {words}"));
        say("head", format!("{} entries, newest {}", number(&self.entries), self.newest.as_deref().unwrap_or("none")));
        say("tip", self.tip.clone().unwrap_or_else(none));
        let lag = match (self.lag, self.lag_ms) {
            (Some(lag @ 1..), Some(ms)) => format!("{lag} entries, {ms} ms"),
            _ => "nothing".to_owned(),
        };
        say("signed", format!("{} entries; behind: {lag}", number(&self.signed)));
        say("copied", format!("{} entries", number(&self.copied)));
        for Vouching { witness, entries } in &self.witnesses {
            say("cosigned", format!("{} entries by {witness}", number(entries)));
        }
        say("ledger", self.origin.clone());
        self.log_keys.iter().for_each(|key| say("log key", key.clone()));
        self.problems.iter().for_each(|problem| say("problem", problem.clone()));
        lines.iter().map(|line| printable(line)).collect::<Vec<_>>().join("\n")
    }
}
