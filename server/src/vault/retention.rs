//! The end of what nobody sees any more: generations that gave way or were hidden lose their keys after a set time.
//!
//! ```text
//! every interval:  objects of deleted datasets ─► retired ─► time is over ─► keys destroyed ─► empty blobs condemned
//! ```
//!
//! What is due is known from rows that the recorder writes in the transaction that takes an object out of sight, so a pass that
//! is broken off anywhere is finished by the next one, on this node or another. The sweeper deletes the blobs. Nothing holds a
//! generation longer yet: there are no snapshots and no holds.
//!
//! It makes no entry in the ledger. An entry says what somebody was given or denied, or who changed what others may do; here the
//! vault only loses what it had, by a rule that every node has from its configuration, and nothing that was decided before reads
//! otherwise after it. The ledger goes on naming the object, by the row that stays.

use std::time::Duration;

use strongroom_core::ids::Millis;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::catalog::{Catalog, CatalogError};

/// Rows that one step takes: a pass holds no lock for long.
const STEP: u32 = 256;

/// Destroys what is due now and then, until it is told to stop.
pub(crate) struct Retention {
    /// The rows.
    pub(crate) catalog: Catalog,
    /// How long a generation is kept after it is out of sight.
    pub(crate) keep: Duration,
    /// How long one is kept that the same content replaced under a new key.
    pub(crate) keep_rekeyed: Duration,
    /// The pause between passes.
    pub(crate) interval: Duration,
}

impl Retention {
    /// Passes in the background, by the clock that the recorder's rows are written with. The task ends soon after `stop`.
    pub(crate) fn start(
        self,
        now: impl Fn() -> Millis + Send + Sync + 'static,
        stop: CancellationToken,
    ) -> JoinHandle<()> {
        tokio::spawn(async move {
            // Overwritten keys may still stand in the database's log: also those of a pass before the last start.
            let mut unclear = true;
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(self.interval) => {}
                }
                match self.pass(now(), &stop).await {
                    Ok(0) => {}
                    Ok(keys) => {
                        tracing::info!(keys, "destroyed the keys of objects whose time was over");
                        unclear = true;
                    }
                    Err(error) => tracing::warn!(%error, "a pass of retention was broken off; the next one goes on"),
                }
                if unclear {
                    unclear = !self.catalog.clear_log().await.unwrap_or(false);
                }
            }
        })
    }

    /// Passes once; returns how many keys were destroyed.
    async fn pass(&self, now: Millis, stop: &CancellationToken) -> Result<u64, CatalogError> {
        while !stop.is_cancelled() && self.catalog.retire_deleted(STEP).await? {}
        let mut keys = 0;
        for (keep, rekeyed) in [(self.keep, false), (self.keep_rekeyed.min(self.keep), true)] {
            let keep = u64::try_from(keep.as_millis()).unwrap_or(u64::MAX);
            let Some(before) = now.0.checked_sub(keep).map(Millis) else { continue };
            while !stop.is_cancelled() {
                let expired = self.catalog.expire(before, rekeyed, STEP).await?;
                keys += expired.keys;
                if expired.taken < u64::from(STEP) {
                    break;
                }
            }
        }
        Ok(keys)
    }
}
