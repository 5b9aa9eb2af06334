//! [`Reason`] ⇄ [`tonic::Status`]: the only place that builds and reads a status.
//!
//! A status carries `google.rpc.ErrorInfo` with the reason's code and the request id, so that callers match on a stable code
//! and never on a text. Where a limit stood against something, the info names it (`limit`) and when it no longer will (`resets`,
//! Unix milliseconds), and a `google.rpc.RetryInfo` says how long that is.

// The one place where a status is made; everywhere else these are banned.
#![allow(clippy::disallowed_methods)]

use std::collections::HashMap;
use std::time::Duration;

use strongroom_core::grant::{Hit, Limit, Reset};
use strongroom_core::ids::Millis;
use strongroom_core::reason::Reason;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// The domain of the reasons, in `google.rpc.ErrorInfo`.
pub const DOMAIN: &str = "strongroom.v1";

/// What a status says: a reason, words, and the request it answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The stable code.
    pub reason: Reason,
    /// In words.
    pub detail: String,
    /// The request id, where there is one.
    pub request: Option<String>,
    /// The limit that stood against it, and when it no longer will.
    pub hit: Option<Hit>,
}

/// The status of a failure.
pub fn to_status(failure: &Failure) -> Status {
    let mut metadata = HashMap::new();
    metadata.extend(failure.request.iter().map(|id| ("request".to_owned(), id.clone())));
    if let Some(Hit { limit, resets }) = failure.hit {
        metadata.insert("limit".to_owned(), limit.name().to_owned());
        metadata.extend(resets.map(|reset| ("resets".to_owned(), reset.at.0.to_string())));
    }
    let mut details = ErrorDetails::with_error_info(failure.reason.code(), DOMAIN, metadata);
    if let Some(reset) = failure.hit.and_then(|hit| hit.resets) {
        details.set_retry_info(Some(Duration::from_millis(reset.after)));
    }
    Status::with_error_details(code(failure.reason), failure.detail.clone(), details)
}

/// What a status says. One without a reason of ours (a transport's) becomes the reason that fits its code.
pub fn from_status(status: &Status) -> Failure {
    let info = status.get_details_error_info().filter(|info| info.domain == DOMAIN);
    let reason = info.as_ref().and_then(|info| info.reason.parse().ok());
    Failure {
        reason: reason.unwrap_or_else(|| by_code(status.code())),
        detail: status.message().to_owned(),
        request: info.as_ref().and_then(|info| info.metadata.get("request").cloned()),
        hit: info.and_then(|info| hit(&info.metadata, status)),
    }
}

fn hit(metadata: &HashMap<String, String>, status: &Status) -> Option<Hit> {
    let name = metadata.get("limit")?;
    let limit = Limit::ALL.into_iter().find(|limit| limit.name() == name)?;
    let after = || status.get_details_retry_info()?.retry_delay;
    let reset = |at: &String| {
        let after = u64::try_from(after()?.as_millis()).ok()?;
        Some(Reset { at: Millis(at.parse().ok()?), after })
    };
    Some(Hit { limit, resets: metadata.get("resets").and_then(reset) })
}

/// The gRPC code that generic clients see.
fn code(reason: Reason) -> Code {
    match reason {
        Reason::Sealed
        | Reason::LedgerDiverged
        | Reason::Shredded
        | Reason::PreconditionFailed
        | Reason::Frozen
        | Reason::SessionUnknown
        | Reason::Clock => Code::FailedPrecondition,
        Reason::Unauthenticated => Code::Unauthenticated,
        Reason::KeyBlocked
        | Reason::VendorSuspended
        | Reason::GrantRevoked
        | Reason::GrantExpired
        | Reason::OutOfScope
        | Reason::NotNarrower => Code::PermissionDenied,
        Reason::NotFound => Code::NotFound,
        Reason::QuotaExceeded => Code::ResourceExhausted,
        Reason::InvalidName | Reason::InvalidArgument | Reason::TooLarge => Code::InvalidArgument,
        Reason::Unsupported => Code::Unimplemented,
        Reason::LedgerUnavailable | Reason::Unavailable => Code::Unavailable,
        Reason::Integrity => Code::DataLoss,
        Reason::Internal => Code::Internal,
    }
}

fn by_code(code: Code) -> Reason {
    match code {
        Code::Unauthenticated => Reason::Unauthenticated,
        Code::PermissionDenied => Reason::OutOfScope,
        Code::NotFound => Reason::NotFound,
        // tonic answers a message over its limit with this code.
        Code::OutOfRange => Reason::TooLarge,
        Code::InvalidArgument => Reason::InvalidArgument,
        Code::Unimplemented => Reason::Unsupported,
        Code::DataLoss => Reason::Integrity,
        Code::FailedPrecondition | Code::AlreadyExists => Reason::PreconditionFailed,
        Code::ResourceExhausted => Reason::QuotaExceeded,
        // A stream that its server dropped, a connection that broke: h2 and hyper say so with several codes.
        Code::Unavailable | Code::Cancelled | Code::Aborted | Code::DeadlineExceeded | Code::Unknown => {
            Reason::Unavailable
        }
        Code::Ok | Code::Internal => Reason::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_survives_the_wire() {
        for &reason in Reason::ALL {
            let failure = Failure { reason, detail: "why".into(), request: Some("0af1".into()), hit: None };
            assert_eq!(from_status(&to_status(&failure)), failure);
        }
        for limit in Limit::ALL {
            for resets in [None, Some(Reset { at: Millis(1_700_000_000_000), after: 59_999 })] {
                let hit = Some(Hit { limit, resets });
                let failure = Failure { reason: Reason::QuotaExceeded, detail: "why".into(), request: None, hit };
                assert_eq!(from_status(&to_status(&failure)), failure);
            }
        }
    }

    #[test]
    fn foreign_statuses_become_reasons() {
        assert_eq!(from_status(&Status::unavailable("gone")).reason, Reason::Unavailable);
        assert_eq!(from_status(&Status::not_found("?")).request, None);
    }
}
