//! The whole answer, as it is kept: in JSON, on a page, in an archive of evidence.
//!
//! Times are Unix milliseconds; whoever shows them to people puts them into words.

use serde::Serialize;

use super::blast::Blast;
use super::evidence::Selection;
use super::exposure::{Exposure, Fold, Question};
use super::roster::Incident;
use crate::ids::{IncidentId, Index, Millis, VendorId};

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
    /// The report as it may be shown to others: without the folders of which nothing was released, and without the words of orders
    /// that are about nobody in particular.
    #[must_use]
    pub fn for_others(mut self) -> Self {
        self.exposure.folders.retain(|folder| folder.read_objects > 0);
        for told in self.exposure.orders.iter_mut().filter(|told| told.vendor.is_none() && told.grant.is_none()) {
            told.note = None;
        }
        let asked: Option<VendorId> = self
            .exposure
            .vendors
            .iter()
            .find(|(_, name)| Some(*name) == self.question.vendor.as_ref())
            .map(|(id, _)| *id);
        if asked.is_some() {
            self.exposure.vendors.retain(|id, _| Some(*id) == asked);
        }
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
