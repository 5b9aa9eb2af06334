//! The operators' own ledger: which keys are blocked on the whole server.
//!
//! ```text
//! another node: is there such a ledger? ─► no: asked again every 250 ms
//! found ─► read whole ─► known here ─► its epoch moved: every stream of every tenant decides again
//! ```
//!
//! It is a ledger like a tenant's: signed orders, chained, under a marked head, remembered by the node's folder. It is watched as
//! the ledgers of streams are, so a block holds on every node within a second: on the one that recorded it, at once. What is
//! looked at is memory: no decision waits for it.
//!
//! Invariants:
//! - A node that has seen the ledger does not start, or answer anybody, without it: which keys are blocked would not be known.
//! - A set of blocked keys gives way only to a newer one of the same ledger.

use std::sync::Arc;
use std::time::Duration;

use strongroom_core::grant::Authority;
use strongroom_core::ids::TenantId;

use super::{Inner, RecordError, Recorder};
use crate::tenants::Tenant;

/// How often another node looks whether there is a ledger of operators by now.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(250);

impl Recorder {
    /// Takes in the operators' ledger: from here on its blocks hold.
    ///
    /// # Errors
    /// [`RecordError`] if it cannot be read, or contradicts what this node remembers of it.
    pub async fn take_operators(&self, tenant: Arc<Tenant>) -> Result<(), RecordError> {
        let mut epochs = self.epochs(&tenant);
        epochs.mark_unchanged();
        let view = self.view(&tenant).await?;
        // Whoever comes second finds it known.
        if self.inner.operators.set(tenant.clone()).is_err() {
            return Ok(());
        }
        self.inner.remember_operators(&tenant, &view.seen);
        self.inner.wake_others(&tenant.id);
        let inner = self.inner.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = inner.ended.cancelled() => return,
                    changed = epochs.changed() => if changed.is_err() { return },
                }
                if let Some(view) = inner.ledger(&tenant.id).view() {
                    inner.remember_operators(&tenant, &view.seen);
                }
                inner.wake_others(&tenant.id);
            }
        });
        Ok(())
    }

    /// Whether the operators' ledger is known here.
    pub fn knows_operators(&self) -> bool {
        self.inner.operators.get().is_some()
    }

    /// Whether this node's folder remembers a ledger of this id.
    pub fn remembers(&self, tenant: &TenantId) -> bool {
        self.inner.memory.knows(tenant)
    }

    /// The authority of the operators' ledger, whose blocks hold now; an empty one where there is no such ledger.
    pub fn operators(&self) -> Arc<Authority> {
        self.inner.operators()
    }
}

impl Inner {
    pub(super) fn operators(&self) -> Arc<Authority> {
        let view = self.operators.get().and_then(|tenant| self.ledger(&tenant.id).view());
        view.map(|view| view.authority).unwrap_or_default()
    }

    /// Whether this is the operators' ledger.
    pub(super) fn is_operators(&self, id: &TenantId) -> bool {
        self.operators.get().is_some_and(|tenant| tenant.id == *id)
    }

    /// Nobody is answered while it is not known which keys are blocked.
    pub(super) fn check_operators(&self) -> Result<(), RecordError> {
        match self.operators.get().and_then(|tenant| self.ledger(&tenant.id).stopped().cloned()) {
            Some(stop) => Err(stop.into()),
            None => Ok(()),
        }
    }

    fn remember_operators(&self, tenant: &Tenant, seen: &strongroom_core::ledger::Seen) {
        if let Err(error) = self.memory.remember(&tenant.id, seen) {
            tracing::warn!(%error, "this node cannot remember the operators' ledger");
        }
    }

    fn wake_others(&self, own: &TenantId) {
        let ledgers = self.ledgers.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        ledgers.iter().filter(|(id, _)| *id != own).for_each(|(_, ledger)| ledger.wake());
    }
}
