//! How a stream of a ledger's entries ends.

use strongroom_core::grant::Refusal;

use crate::answer::refuse;
use crate::cuts::{self, Gone};
use crate::error::Error;
use crate::recorder::RecordError;

/// Frames that may wait for the reader.
pub(super) const QUEUE: usize = 4;

/// Why a stream ends before its end.
pub(super) enum Stop {
    Gone,
    Failed(Error),
}

impl From<Gone> for Stop {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<RecordError> for Stop {
    fn from(error: RecordError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Failed(refusal.into())
    }
}

/// Ends a stream as its work did.
pub(super) async fn end<T>(sender: cuts::Sender<T>, worked: Result<(), Stop>) {
    match worked {
        Ok(()) | Err(Stop::Gone) => {}
        Err(Stop::Failed(error)) => sender.fail(refuse(&error, None)).await,
    }
}
