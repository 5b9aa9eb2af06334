//! Which node does work that one node is enough for.
//!
//! A lease saves work, and nothing rests on it: two nodes at the same work do no harm. It is short, so that another node goes on
//! within a second when its holder dies, and is kept while work takes longer.

use std::pin::pin;
use std::time::Duration;

use tokio::time::sleep;

use super::Inner;
use crate::catalog::CatalogError;

/// How long a node has a lease.
pub(super) const LEASE: Duration = Duration::from_millis(600);
/// How often it is kept meanwhile.
const KEEP_EVERY: Duration = Duration::from_millis(200);

impl Inner {
    /// Whether this node is the one that does this work.
    pub(super) async fn leads(&self, work: &'static str) -> Result<bool, CatalogError> {
        if !self.catalog.is_shared() {
            return Ok(true);
        }
        self.catalog.lease(work, &self.node, self.clock.now(), LEASE).await
    }

    /// Does work that this node leads in, and keeps the lease as long as it takes.
    pub(super) async fn leading<T>(&self, work: &'static str, does: impl Future<Output = T>) -> T {
        let mut does = pin!(does);
        loop {
            tokio::select! {
                done = &mut does => return done,
                () = sleep(KEEP_EVERY) => {}
            }
            tokio::select! {
                done = &mut does => return done,
                kept = self.leads(work) => {
                    if let Err(error) = kept {
                        tracing::debug!(detail = %error, work, "the lease could not be kept");
                    }
                }
            }
        }
    }
}
