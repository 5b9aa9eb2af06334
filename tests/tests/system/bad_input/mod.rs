//! What is wrong is refused, with the reason that it should have, and leaves nothing behind but what the ledger says about it.

mod callers;
mod grants;
mod messages;
mod names;
mod server;
mod sizes;
mod uploads;
mod writes;

use strongroom_client::{Error, Reason};
use strongroom_proto::status::Failure;

/// Why the SDK's call failed.
#[track_caller]
pub(crate) fn reason<T>(result: Result<T, Error>) -> Reason {
    match result {
        Ok(_) => panic!("it was not refused"),
        Err(error) => error.reason(),
    }
}

/// Why a call without the SDK failed.
#[track_caller]
pub(crate) fn refusal<T>(result: Result<T, Failure>) -> Reason {
    match result {
        Ok(_) => panic!("it was not refused"),
        Err(failure) => failure.reason,
    }
}
