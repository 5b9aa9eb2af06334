//! One step of a release: decided, recorded, and only then sealed.

use std::sync::Arc;

use bytes::Bytes;
use strongroom_core::grant::Refusal;
use tokio::time::{Duration, Instant};

use crate::error::Error;
use crate::failpoint;
use crate::recorder::attempt::{AcceptedCall, Attempt, Recorded, Release, ReleasePart};
use crate::vault::Vault;

/// How long after its commit a release may still be sent. Later it is dropped: exposure counts it, nobody has it.
pub(crate) const SEND_WITHIN: Duration = Duration::from_secs(1);

/// Keys that may be sent, until their time is over.
pub(crate) struct Released {
    /// The proof.
    pub(crate) recorded: Recorded,
    /// The sealed key parcel.
    pub(crate) parcel: Bytes,
    /// When it stops being sendable.
    pub(crate) until: Instant,
}

/// Decides and records the release of these parts, then has their keys sealed to the session.
pub(crate) async fn release(
    vault: &Vault,
    call: &Arc<AcceptedCall>,
    parts: Vec<ReleasePart>,
    hides: u64,
) -> Result<Released, Error> {
    let attempt = Release { call: call.clone(), parts, obstacle: None, hides };
    let asked = Instant::now();
    let recorded = vault.recorder.record(&call.session.tenant, Attempt::Release(attempt)).await?;
    let committed = Instant::now();
    let until = recorded.since() + SEND_WITHIN;
    let parcel = vault.keys.seal_cover(&recorded).await?;
    tracing::trace!(record = ?committed - asked, seal = ?committed.elapsed(), "released");
    failpoint::hit("release.sealed");
    Ok(Released { recorded, parcel: parcel.into(), until })
}

/// Records that a call came to nothing: whoever is in scope is told why, whoever is not learns only that.
pub(crate) async fn refuse(vault: &Vault, call: &Arc<AcceptedCall>, obstacle: Refusal) -> Error {
    let attempt = Release { call: call.clone(), parts: Vec::new(), obstacle: Some(obstacle.clone()), hides: 0 };
    match vault.recorder.record(&call.session.tenant, Attempt::Release(attempt)).await {
        Ok(_) => Error::Refused(obstacle),
        Err(error) => Error::Record(error),
    }
}
