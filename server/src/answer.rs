//! What every answer is made of, whoever gives it: the status of an error, and what to remember of the ledger.

use strongroom_core::ids::RequestId;
use strongroom_core::ledger;
use strongroom_core::reason::Reason;
use strongroom_proto::status::{Failure, to_status};
use strongroom_proto::v1;
use tonic::Status;

use crate::error::Error;

/// The status of an error; what is inside stays in the log.
pub(crate) fn refuse(error: &Error, request: Option<RequestId>) -> Status {
    let reason = error.reason();
    match reason {
        Reason::Internal | Reason::Integrity | Reason::LedgerDiverged | Reason::Clock => {
            tracing::error!(%reason, detail = %error, "request failed");
        }
        Reason::LedgerUnavailable | Reason::Unavailable => tracing::warn!(%reason, detail = %error, "request failed"),
        _ => tracing::debug!(%reason, detail = %error, "request refused"),
    }
    let (detail, request) = (error.to_string(), request.map(|id| id.to_string()));
    to_status(&Failure { reason, detail, request, hit: error.hit() })
}

/// What the caller is to remember.
pub(crate) fn seen_message(seen: ledger::Seen) -> v1::Seen {
    v1::Seen { size: seen.size.0, tip: seen.tip.as_bytes().to_vec().into(), mac: seen.mac.as_bytes().to_vec().into() }
}
