//! The whole answer, as it is kept: in JSON, on a page, in an archive of evidence.
//!
//! Times are Unix milliseconds; whoever shows them to people puts them into words.

use serde::Serialize;

use super::blast::Blast;
use super::exposure::{Exposure, Fold, Question};
use crate::ids::{Index, Millis};

/// What somebody had, and could take from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// What was asked.
    pub question: Question,
    /// What they had.
    pub exposure: Exposure,
    /// What they could take from now on; `None` if the question is about a session or an admin's key.
    pub blast: Option<Blast>,
}

impl Fold {
    /// The whole answer, as of the first `size` entries of the ledger; grants are told as they stand at `now`.
    pub fn report(self, size: Index, now: Millis) -> Report {
        let (question, blast) = (self.question.clone(), self.blast(now));
        Report { question, exposure: self.finish(size, now), blast }
    }
}
