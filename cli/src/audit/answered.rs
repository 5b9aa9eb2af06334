//! A question to a ledger, answered; that of an incident, where one is named.

use strongroom_core::audit::Question;
use strongroom_core::audit::report::Report;
use strongroom_core::ids::{IncidentId, Index, Millis};
use strongroom_core::reason::Reason;

use super::source::{Ledger, Purpose, Source};
use crate::exit::{Failure, Outcome};
use crate::globals::Globals;

/// The answer; grants are told as they stand at `now`.
///
/// # Errors
/// The caller is no admin of the tenant; the folder holds no ledger; there is no such vendor or incident.
pub(crate) fn report(source: &Source, globals: &Globals, question: Question, now: Millis) -> Outcome<Report> {
    source.read(globals, async |ledger| {
        let size = ledger.size_to_fold().await?;
        let question = question_of(ledger, globals, question, size).await?;
        Ok(ledger.fold(question, size, Purpose::Answer).await?.report(size, now))
    })
}

/// The question that is asked: about an incident, if one is named, and nothing else then.
pub(crate) async fn question_of(
    ledger: &mut Ledger<'_>,
    globals: &Globals,
    question: Question,
    size: Index,
) -> Outcome<Question> {
    match globals.incident {
        Some(_) if question != Question::default() => {
            Err(Failure::usage("an incident says about whom, and since when", "leave the other flags out"))
        }
        // About its vendor, since that is in doubt.
        Some(incident) => of_incident(ledger, incident, size).await,
        None => Ok(question),
    }
}

/// The question that an incident asks.
pub(crate) async fn of_incident(ledger: &mut Ledger<'_>, incident: IncidentId, size: Index) -> Outcome<Question> {
    let roster = ledger.roster(size).await?;
    let none = || no_incident(incident);
    let known = roster.incidents().get(&incident).ok_or_else(none)?;
    let vendor = roster.vendor_name(&known.vendor).cloned().ok_or_else(none)?;
    Ok(Question { vendor: Some(vendor), since: known.since, ..Question::default() })
}

/// Of an incident that the ledger does not tell of.
pub(crate) fn no_incident(incident: IncidentId) -> Failure {
    let detail = format!("no such incident: {incident}");
    Failure::new(Reason::NotFound, detail, "strongroom incident list TENANT names them")
}
