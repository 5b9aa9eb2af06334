//! The sweeper: deletes the blobs of uploads that came to nothing.
//!
//! ```text
//! every interval:  open and idle ─► condemned ─► parts dropped, blob deleted ─► row forgotten
//! ```
//!
//! What to delete is known from rows, never from a listing of the bucket: a blob without a row is somebody else's. Each step
//! may be repeated, so a sweep that is broken off anywhere is finished by the next one, on this node or another.

use std::time::Duration;

use strongroom_core::ids::Millis;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{BlobError, Blobs};
use crate::catalog::uploads::Condemned;
use crate::catalog::{Catalog, CatalogError};
use crate::failpoint;

/// Rows that one step takes: a sweep holds no lock for long.
const STEP: u32 = 256;

/// Sweeps now and then, until it is told to stop.
pub struct Sweeper {
    /// The rows.
    pub catalog: Catalog,
    /// The blobs.
    pub blobs: Blobs,
    /// Uploads that were idle for longer are condemned.
    pub idle: Duration,
    /// The pause between sweeps.
    pub interval: Duration,
}

/// Why a sweep was broken off.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// The rows could not be read or written.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// A blob could not be deleted.
    #[error(transparent)]
    Blob(#[from] BlobError),
}

impl Sweeper {
    /// Sweeps in the background. `now` is the clock that uploads' rows are written with. The task ends soon after `stop`.
    pub fn start(self, now: impl Fn() -> Millis + Send + Sync + 'static, stop: CancellationToken) -> JoinHandle<()> {
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(self.interval) => {}
                }
                // Not cancelled within: a step is short, and each one stands for itself.
                match self.sweep(now(), &stop).await {
                    Ok(0) => {}
                    Ok(deleted) => tracing::info!(deleted, "swept uploads that came to nothing"),
                    Err(error) => tracing::warn!(%error, "a sweep was broken off; the next one goes on"),
                }
            }
        })
    }

    /// Sweeps once; returns how many blobs were deleted.
    ///
    /// # Errors
    /// If a row could not be read or written, or no blob of a step could be deleted.
    pub async fn sweep(&self, now: Millis, stop: &CancellationToken) -> Result<u64, SweepError> {
        let idle = u64::try_from(self.idle.as_millis()).unwrap_or(u64::MAX);
        let before = Millis(now.0.saturating_sub(idle));
        while self.catalog.condemn_idle(before, STEP).await? == u64::from(STEP) && !stop.is_cancelled() {}
        let mut deleted = 0;
        while !stop.is_cancelled() {
            let condemned = self.catalog.condemned(STEP).await?;
            let mut failed = None;
            let mut forgotten = 0;
            let mut left = Vec::new();
            for blob in &condemned {
                match self.delete(blob).await {
                    Ok(()) => forgotten += 1,
                    Err(error) => {
                        failed = Some(error);
                        left.push(blob.blob.as_str());
                    }
                }
            }
            deleted += forgotten;
            // They go to the end: however many they are, the next sweep begins with others.
            self.catalog.postpone(&left, now).await?;
            // One blob that cannot be deleted must not keep the others, nor be tried without end.
            match failed {
                Some(error) if deleted == 0 => return Err(error),
                Some(error) => tracing::warn!(%error, "a condemned blob could not be deleted"),
                None => {}
            }
            if condemned.len() < STEP as usize || forgotten == 0 {
                break;
            }
        }
        Ok(deleted)
    }

    async fn delete(&self, Condemned { blob, multipart }: &Condemned) -> Result<(), SweepError> {
        // The upload first: after it, nothing can become of its parts, also where its node goes on as if nothing had happened.
        if let Some(multipart) = multipart {
            self.blobs.abort(blob, multipart).await?;
        }
        self.blobs.delete(blob).await?;
        failpoint::hit("sweep.deleted");
        self.catalog.forget(blob).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
