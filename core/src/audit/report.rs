//! The whole answer, as it is kept: in JSON, on a page, in an archive of evidence.
//!
//! Times are Unix milliseconds; whoever shows them to people puts them into words.

use std::collections::HashSet;

use serde::Serialize;

use super::blast::Blast;
use super::evidence::Selection;
use super::exposure::{Exposure, Fold, Question};
use super::roster::Incident;
use crate::identity::Fingerprint;
use crate::ids::{IncidentId, Index, Millis};

/// What somebody had, and could take from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// What was asked.
    pub question: Question,
    /// What they had.
    pub exposure: Exposure,
    /// What they could take from now on; `None` if the question is about a session or an admin's key.
    pub blast: Option<Blast>,
    /// The newest open incident about the vendor that is asked about.
    pub incident: Option<(IncidentId, Incident)>,
}

impl Report {
    /// The report as it may be shown to others: it tells of nobody but those who are asked about, of no place that they had nothing
    /// of and were let into by no grant, and of orders that are about nobody in particular without their words.
    #[must_use]
    pub fn for_others(mut self, selection: &Selection) -> Self {
        let exposure = &mut self.exposure;
        exposure.folders.retain(|folder| folder.read_objects > 0);
        let keys: HashSet<Fingerprint> = exposure.keys.iter().map(|by| by.key).collect();
        exposure.orders.retain(|told| selection.tells(told, &keys));
        for told in &mut exposure.orders {
            let is_anothers = told.incident.is_some_and(|incident| selection.is_anothers(&incident));
            told.incident = told.incident.filter(|_| !is_anothers);
            told.note = told.note.take().filter(|_| !is_anothers && (told.vendor.is_some() || told.grant.is_some()));
        }
        // What their keys hold by others is between these.
        exposure.elsewhere.clear();
        exposure.vendors.retain(|id, _| selection.vendor() == Some(*id));
        self.incident = self.incident.filter(|(incident, _)| !selection.is_anothers(incident));
        self
    }
}

impl Fold {
    /// The whole answer, as of the first `size` entries of the ledger; grants are told as they stand at `now`.
    pub fn report(self, size: Index, now: Millis) -> Report {
        self.evidence(size, now).0
    }

    /// The answer, and which entries it stands on: of a fold [`Fold::for_evidence`].
    pub fn evidence(mut self, size: Index, now: Millis) -> (Report, Selection) {
        let (question, blast) = (self.question.clone(), self.blast(now));
        let exposure = self.answer(size, now);
        let incident = self.incident();
        let done = self.done.take().unwrap_or_default();
        let selection = Selection::new(self.roster, self.whose, &exposure, done);
        (Report { question, exposure, blast, incident }, selection)
    }

    /// The newest open incident about the vendor that is asked about.
    fn incident(&self) -> Option<(IncidentId, Incident)> {
        let vendor = self.whose.vendor()?;
        let open = self
            .roster
            .incidents()
            .iter()
            .filter(|(_, incident)| incident.vendor == vendor && incident.closed.is_none());
        open.max_by_key(|(_, incident)| incident.opened).map(|(id, incident)| (*id, incident.clone()))
    }
}
