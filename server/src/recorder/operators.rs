//! The operators' own ledger: which keys are blocked on the whole server.
//!
//! ```text
//! another node: is there such a ledger? ─► no: asked again every 250 ms
//! found ─► read whole ─► known here ─► its epoch moved: every stream of every tenant decides again
//! ```
//!
//! It is a ledger like a tenant's: signed orders, chained, under a marked head, remembered by the node's folder. It is watched as
//! the ledgers of streams are, so streams to a blocked key end on every node within a second: on the one that recorded it, at once.
//!
//! What is decided under a tenant's lock is ordered against it: a batch either is durable before a block is, or sees it. On
//! PostgreSQL batches share a lock that a commit to the operators' ledger has alone, and each compares the head of that ledger with
//! what its node knows; a file has one writer, which records what operators order before anything that waits beside it. So when
//! a block has returned nothing more is recorded for the key, on whichever node, and the next entry of each tenant that knows the
//! key says so.
//!
//! Invariants:
//! - A node that has seen the ledger does not start, or answer anybody, without it: which keys are blocked would not be known.
//! - A set of blocked keys gives way only to a newer one of the same ledger.

use std::sync::Arc;
use std::time::Duration;

use strongroom_core::grant::Authority;
use strongroom_core::ids::{Index, TenantId};
use strongroom_core::ledger::Head;

use super::queue::Job;
use super::{Inner, RecordError, Recorder};
use crate::tenants::Tenant;

/// The operators' ledger as far as this node knows it.
#[derive(Clone, Default)]
pub(super) struct Operators {
    pub(super) authority: Arc<Authority>,
    pub(super) size: Index,
}

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
        let (inner, jobs) = (self.inner.clone(), self.jobs.downgrade());
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
                if let Some(jobs) = jobs.upgrade() {
                    // A queue that is full comes to it by itself.
                    let _ = jobs.try_send(Job::SumUp);
                }
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
        self.operators_now().authority
    }

    /// The operators' ledger as it was last seen here: exact where this node alone writes.
    pub(super) fn operators_now(&self) -> Operators {
        let view = self.operators.get().and_then(|tenant| self.ledger(&tenant.id).view());
        view.map(|view| Operators { size: view.head.size(), authority: view.authority }).unwrap_or_default()
    }

    /// The operators' ledger as it is at least since its head was `head`, as a batch read it that holds a share of their lock.
    pub(super) async fn operators_at(&self, head: Option<&[u8]>) -> Result<Operators, RecordError> {
        let known = self.operators_now();
        // A head that is none is to be looked at closely, and is no older than any.
        let size = head.map(|head| Head::from_canonical_bytes(head).map_or(Index(u64::MAX), |head| head.size()));
        if size.is_none_or(|size| size <= known.size) {
            return Ok(known);
        }
        let Some(tenant) = self.operators.get() else {
            return Err(RecordError::Unavailable("which keys are blocked is not known here yet".into()));
        };
        self.refreshed(tenant, &self.ledger(&tenant.id)).await?;
        Ok(self.operators_now())
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
