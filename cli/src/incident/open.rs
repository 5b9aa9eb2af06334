//! `incident open`: stop, wait, answer, keep.
//!
//! ```text
//! open the incident ─► suspend: entry r ─┬─► read the ledger up to r ──────┬─► nothing of theirs after r ─► ten lines ─► folder
//!                                        └─► a second, until all is still ─┘
//! ```
//!
//! That nothing is in flight is known by two things. Keys: whatever is released to the vendor lies below r, by the order of the
//! ledger, and the entries after r are looked through all the same. Ciphertext for keys that were out: every server ends the streams
//! of a suspended vendor, and drops keys that it has not sent, within a second of the suspension, also one that hears of nothing.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::TryStreamExt;
use serde::Serialize;
use strongroom_client::admin::OrderDone;
use strongroom_client::{Vault, VendorRef};
use strongroom_core::audit::Question;
use strongroom_core::audit::evidence::Selection;
use strongroom_core::audit::report::Report;
use strongroom_core::audit::roster::Moment as Place;
use strongroom_core::ids::{IncidentId, Index, Millis};
use strongroom_core::reason::Reason;

use super::answer::{self, Answer, Stopped};
use crate::audit::asked;
use crate::audit::evidence::{Found, Gathered, find, gather, write};
use crate::audit::exposure::Told;
use crate::audit::page;
use crate::audit::source::Ledger;
use crate::exit::{Failure, Outcome};
use crate::globals::Globals;
use crate::name;
use crate::output::{Format, line, note, write_json};
use crate::private;
use crate::when::{self, Moment};

/// How long after a suspension anything may still be on its way: servers promise no more than this.
const STILL_AFTER: Duration = Duration::from_secs(1);

/// The flags of `incident open`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  strongroom incident open acme/labelco --since 2026-03-24T10:39Z --note \"their notice of 31 March\"
  strongroom incident open acme/labelco --dry-run                # what it would say; nobody is stopped
  strongroom incident open acme/labelco --since 7d -o /secure/incident --output json")]
pub struct Open {
    /// TENANT/VENDOR.
    #[arg(value_parser = name::parse::<VendorRef>)]
    vendor: VendorRef,
    /// From when on the vendor may have been in somebody else's hands: 2026-03-24T10:39Z, 2026-03-24, 7d (ago). All of time without it.
    #[arg(long, value_name = "TIME")]
    since: Option<Moment>,
    /// What is known; kept in the ledger.
    #[arg(long)]
    note: Option<String>,
    /// The folder for the answer, the report and the evidence: a new one. Without it, one named after the incident.
    #[arg(short = 'o', long = "out", value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Say and write all of it, but record nothing and stop nobody.
    #[arg(long)]
    dry_run: bool,
}

/// What is to be done.
pub(crate) struct Plan {
    pub(crate) vendor: VendorRef,
    pub(crate) since: Option<Millis>,
    pub(crate) note: Option<String>,
    pub(crate) dry_run: bool,
}

/// What came of it.
pub(crate) struct Response {
    pub(crate) answer: Answer,
    pub(crate) found: Found,
    /// How many entries of the ledger it stands on.
    pub(crate) size: Index,
}

#[derive(Debug, Serialize)]
struct Done<'a> {
    incident: Option<IncidentId>,
    vendor: String,
    dry_run: bool,
    /// The entry that suspended the vendor.
    suspended: Option<u64>,
    folder: String,
    #[serde(flatten)]
    sums: crate::audit::exposure::Sums,
    answer: Vec<&'a str>,
}

impl Open {
    /// Does it.
    ///
    /// # Errors
    /// The caller is no admin, there is no such vendor, or the folder is not new.
    pub async fn run(self, globals: &Globals, vault: &Vault) -> Outcome {
        if let Some(folder) = &self.folder {
            check_new(folder)?;
        }
        let since = asked::since(self.since, when::now())?;
        let plan = Plan { vendor: self.vendor, since, note: self.note, dry_run: self.dry_run };
        let Response { mut answer, found, size } = respond(globals, vault, &plan).await?;
        let folder = self.folder.unwrap_or_else(|| match &answer.incident {
            Some((incident, _)) => PathBuf::from(format!("incident-{incident}")),
            None => PathBuf::from(format!("dry-run-{}", found.own.exposure.now)),
        });
        answer.folder = Some(folder.clone());
        let words = answer.words(&found.own);
        match globals.output {
            Format::Table => line(&words)?,
            Format::Json => {
                let done = Done {
                    incident: answer.incident.map(|(incident, _)| incident),
                    vendor: plan.vendor.to_string(),
                    dry_run: plan.dry_run,
                    suspended: answer.stopped.entry().map(|index| index.0),
                    folder: folder.display().to_string(),
                    sums: crate::audit::exposure::Sums::of(&found.own.exposure),
                    answer: words.lines().collect(),
                };
                write_json(&mut io::stdout().lock(), &done).map_err(|error| Failure::stdio(&error))?;
            }
        }
        io::stdout().flush().map_err(|error| Failure::stdio(&error))?;
        // The vendor is stopped and the answer is told, whatever becomes of the folder. What proves it can be much: nobody waits for it.
        keep(&folder, &found.own, &words)?;
        let mut ledger = Ledger::vault(vault, plan.vendor.tenant.clone(), globals);
        prove(&folder, &gather(&mut ledger, found, size).await)
    }
}

/// Stops the vendor, waits until all is still, and finds the answer.
///
/// # Errors
/// The caller is no admin, or there is no such vendor; or something was released after the suspension, which cannot be.
pub(crate) async fn respond(globals: &Globals, vault: &Vault, plan: &Plan) -> Outcome<Response> {
    let VendorRef { tenant, vendor } = &plan.vendor;
    let info = vault.vendor(tenant, vendor).await?;
    let (incident, stopped) =
        if plan.dry_run { (None, Stopped::Not(info.suspended)) } else { stop(vault, plan, info.suspended).await? };
    let entry = stopped.entry();
    let keys = info.keys.len() as u64;
    let answer = Answer { vendor: plan.vendor.clone(), since: plan.since, incident, stopped, keys, folder: None };
    let response = look(globals, vault, plan, answer).await;
    if let (Err(_), Some(entry)) = (&response, entry) {
        note(&format!("note: {} is stopped (entry {entry}); it is the answer that failed: ask again", plan.vendor));
    }
    response
}

/// What the vendor had, once all is still.
async fn look(globals: &Globals, vault: &Vault, plan: &Plan, answer: Answer) -> Outcome<Response> {
    let VendorRef { tenant, vendor } = &plan.vendor;
    let stopped = &answer.stopped;
    let size = match stopped {
        Stopped::Now(done) => Index(done.index.0 + 1),
        _ => vault.ledger_size(tenant).await?,
    };
    let question = Question { vendor: Some(vendor.clone()), since: plan.since, ..Question::default() };
    let mut ledger = Ledger::vault(vault, tenant.clone(), globals);
    let still = async {
        if matches!(stopped, Stopped::Now(_)) {
            tokio::time::sleep(STILL_AFTER).await;
        }
    };
    let (found, ()) = tokio::join!(find(&mut ledger, question, size, when::millis(when::now())), still);
    let found = found?;
    if let Some(entry) = stopped.entry() {
        check_still(vault, plan, &found.selection, entry).await?;
    }
    Ok(Response { answer, found, size })
}

/// Records the incident and suspends the vendor. If the first fails, the second is done all the same: it must not wait for words.
async fn stop(vault: &Vault, plan: &Plan, suspended: Option<Index>) -> Outcome<(Option<(IncidentId, Place)>, Stopped)> {
    let VendorRef { tenant, vendor } = &plan.vendor;
    let place = |done: &OrderDone| Place { index: done.index, time: done.time };
    let opened = vault.open_incident(tenant, vendor, plan.since, plan.note.clone()).await;
    let incident = match opened {
        Ok((id, done)) => Some((id, place(&done))),
        Err(error) => {
            note(&format!("note: the incident was not recorded: {error}; the vendor is stopped without it"));
            None
        }
    };
    let stopped = match (suspended, &incident) {
        (Some(index), _) => Stopped::Before(index),
        (None, Some((id, _))) => {
            Stopped::Now(place(&vault.suspend_vendor_in(tenant, vendor, plan.note.clone(), *id).await?))
        }
        (None, None) => Stopped::Now(place(&vault.suspend_vendor(tenant, vendor, plan.note.clone()).await?)),
    };
    Ok((incident, stopped))
}

/// Looks for releases to the vendor after its suspension: there can be none.
async fn check_still(vault: &Vault, plan: &Plan, selection: &Selection, suspended: Index) -> Outcome {
    let from = Index(suspended.0 + 1);
    let mut after = vault.extracts(&plan.vendor.tenant, &selection.needs(), from, None);
    while let Some(extracted) = after.try_next().await? {
        if let Some(release) = extracted.facts.releases().find(|release| selection.is_theirs(release)) {
            let detail = format!(
                "entry {} released something to {} after entry {suspended} suspended it",
                release.index, plan.vendor
            );
            let advice = "export the ledger at once, verify it, and ask the vault's operator: this cannot be";
            return Err(Failure::new(Reason::Integrity, detail, advice));
        }
    }
    Ok(())
}

fn check_new(folder: &Path) -> Outcome {
    match std::fs::read_dir(folder).map(|mut entries| entries.next().is_some()) {
        Ok(true) => {
            Err(Failure::usage(format!("{} is not empty", folder.display()), "name a new folder: nobody was stopped"))
        }
        _ => Ok(()),
    }
}

/// Writes the folder: for its owner's eyes, since it holds paths, addresses and words of people.
fn keep(folder: &Path, report: &Report, words: &str) -> Outcome {
    let failed = |error: io::Error| Failure::file(folder, &error);
    private::folder(folder).map_err(failed)?;
    // Whatever the folder lets others do: it may have been there, empty.
    let put = |name: &str, bytes: &[u8]| private::file(&folder.join(name), bytes).map_err(failed);
    put(answer::ANSWER, format!("{words}\n").as_bytes())?;
    put(answer::REPORT, &serde_json::to_vec(report).map_err(|error| failed(error.into()))?)?;
    let mut page = Vec::new();
    page::write(&mut page, report).map_err(failed)?;
    put(answer::PAGE, &page)?;
    let mut lines = Vec::new();
    let exposure = &report.exposure;
    exposure
        .objects
        .iter()
        .try_for_each(|object| write_json(&mut lines, &Told::of(object, exposure)))
        .map_err(failed)?;
    put(answer::OBJECTS, &lines)
}

/// Writes the archive of evidence beside the answer.
fn prove(folder: &Path, gathered: &Gathered) -> Outcome {
    match &gathered.proven {
        Ok(proven) => write(&gathered.report, proven, &folder.join(answer::EVIDENCE), &[]),
        Err(failure) => {
            let mut failure = failure.clone().of(&format!("{} could not be made", answer::EVIDENCE));
            failure.advice =
                "the answer stands; later: strongroom audit evidence TENANT --vendor VENDOR -o FILE".into();
            Err(failure)
        }
    }
}
