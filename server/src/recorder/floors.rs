//! What checkpoints say of a ledger: it must still reach as far, and be the same up to there.
//!
//! A checkpoint was signed here and is remembered elsewhere: in SQL, in the object store, by clients and monitors. So a database
//! that is put back, or rewritten, contradicts one of them. The two that the vault itself keeps are looked at before a ledger is
//! used by a process at all, and every ten seconds while it is.

use std::sync::Arc;

use strongroom_core::ids::{Digest, Index};
use strongroom_core::ledger::checkpoint::Checkpoint;

use super::ledger::Stop;
use super::load::check_above;
use super::{Inner, RecordError};
use crate::catalog::{Above, Boundary, CatalogError, CheckpointRow};
use crate::error::Error;
use crate::tenants::Tenant;

/// A size that the ledger had, with the root at that size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Floor {
    /// Who says so, as the beginning of a sentence that goes on with what it has.
    pub(super) who: &'static str,
    pub(super) size: Index,
    pub(super) root: Digest,
}

const SQL: &str = "the checkpoint in the database has";
const STORE: &str = "the checkpoint in the object store has";

impl Inner {
    /// What the checkpoints said when this process first looked; a failure to look is tried again.
    pub(super) async fn floors(&self, tenant: &Arc<Tenant>) -> Result<(), RecordError> {
        let ledger = self.ledger(&tenant.id);
        ledger.floors.get_or_try_init(|| self.first_floors(tenant)).await?;
        Ok(())
    }

    /// Reads them, and what the writer cannot look up under its lock: the roots at sizes whose batches have left.
    async fn first_floors(&self, tenant: &Arc<Tenant>) -> Result<Vec<Floor>, RecordError> {
        let floors = self.read_floors(tenant).await?;
        let signed = floors.iter().find(|floor| floor.who == SQL).map(|floor| floor.size);
        self.begin_lag(tenant, signed.unwrap_or_default()).await?;
        let remembered = self.memory.recall(&tenant.id, &tenant.ledger_key).map_err(CatalogError::from);
        let remembered = remembered.map_err(RecordError::of_catalog)?;
        let sizes = floors.iter().map(|floor| floor.size).chain(remembered.map(|seen| seen.size));
        for size in sizes {
            let boundary = self.catalog.boundary(&tenant.id, size).await.map_err(RecordError::of_catalog)?;
            if boundary == Boundary::Left {
                self.find_root(tenant, size).await?;
            }
        }
        Ok(floors)
    }

    /// Has the root at a size whose batches have left looked up, and kept for the writer.
    pub(super) async fn find_root(&self, tenant: &Tenant, size: Index) -> Result<(), RecordError> {
        let root = self.root_at(tenant, size, Boundary::Left).await?;
        self.ledger(&tenant.id).keep_root(size, root);
        Ok(())
    }

    async fn read_floors(&self, tenant: &Arc<Tenant>) -> Result<Vec<Floor>, RecordError> {
        let stop = |stop| self.ledger(&tenant.id).stop(&tenant.id, stop);
        let row = self.catalog.checkpoint(&tenant.id).await.map_err(RecordError::of_catalog)?;
        let copy = self.shelf.logs().checkpoint(&tenant.id).await;
        self.learn_keys(tenant).await?;
        let copy = copy.map_err(|error| RecordError::Unavailable(format!("the checkpoint: {error}")))?;
        let mut floors = Vec::new();
        if let Some(row) = row {
            let Checkpoint { size, root, .. } = open_row(tenant, &row).map_err(stop)?;
            floors.push(Floor { who: SQL, size, root });
        }
        if let Some(note) = copy {
            let Checkpoint { size, root, .. } = open_copy(tenant, &note).map_err(stop)?;
            floors.push(Floor { who: STORE, size, root });
        }
        Ok(floors)
    }

    /// Takes in the keys that sign this ledger's checkpoints: after the checkpoint was read, they are those of its size.
    pub(super) async fn learn_keys(&self, tenant: &Tenant) -> Result<(), RecordError> {
        let rows = self.catalog.log_keys(&tenant.id).await.map_err(RecordError::of_catalog)?;
        let stop = |error: Error| self.ledger(&tenant.id).stop(&tenant.id, Stop::Integrity(error.to_string()));
        tenant.learn(&rows).map_err(stop)
    }

    /// The checkpoint in a row; one that this vault did not sign stops the tenant.
    pub(super) async fn opened(&self, tenant: &Tenant, row: &CheckpointRow) -> Result<Checkpoint, RecordError> {
        if let Ok(checkpoint) = open_row(tenant, row) {
            return Ok(checkpoint);
        }
        // Another node may have put another key in the last one's place.
        self.learn_keys(tenant).await?;
        open_row(tenant, row).map_err(|stop| self.ledger(&tenant.id).stop(&tenant.id, stop))
    }

    /// Holds a ledger against its checkpoints as they are now, and looks above its head; true if the copy in the object store is behind.
    pub(super) async fn compare(&self, tenant: &Arc<Tenant>) -> Result<bool, RecordError> {
        let stop = |stop| self.ledger(&tenant.id).stop(&tenant.id, stop);
        let floors = self.read_floors(tenant).await?;
        let size_of = |who| floors.iter().find(|floor| floor.who == who).map(|floor| floor.size);
        let is_behind = size_of(SQL) > size_of(STORE);
        for Floor { who, size, root } in floors {
            let since = match self.catalog.since(&tenant.id, &tenant.ledger_key, size).await {
                Ok(since) => since,
                Err(CatalogError::Integrity(why)) => return Err(stop(Stop::Integrity(why))),
                Err(error) => return Err(RecordError::of_catalog(error)),
            };
            let Some(since) = since else {
                return Err(stop(Stop::Diverged(format!("{who} {size} entries, and the ledger's head is gone"))));
            };
            let boundary = self.root_at(tenant, size, since.boundary).await?;
            check(who, size, root, since.head.size(), boundary).map_err(stop)?;
        }
        let above = self.catalog.above_head(&tenant.id).await.map_err(RecordError::of_catalog)?;
        let above = above.into_iter().filter(Above::is_entry).min_by_key(|above| above.entry);
        check_above(above).map_err(stop)?;
        Ok(is_behind)
    }
}

/// Whether a ledger of `has` entries, with `boundary` as the root that it had at `size`, is a continuation.
pub(super) fn check(who: &str, size: Index, root: Digest, has: Index, boundary: Option<Digest>) -> Result<(), Stop> {
    if has < size {
        return Err(Stop::Diverged(format!("{who} {size} entries, and the ledger has {has}: it was put back")));
    }
    match boundary {
        Some(boundary) if boundary == root => Ok(()),
        _ => Err(Stop::Diverged(format!("{who} another ledger up to entry {size}: it was rewritten"))),
    }
}

/// The checkpoint in a row, if this vault signed it.
pub(super) fn open_row(tenant: &Tenant, row: &CheckpointRow) -> Result<Checkpoint, Stop> {
    let broken = |why: &str| Stop::Integrity(format!("the checkpoint in the database: {why}"));
    let checkpoint = open(tenant, &row.note).map_err(|why| broken(&why))?;
    if checkpoint.size != row.size || checkpoint.root != row.root {
        return Err(broken("its note is of another size or root than its row"));
    }
    Ok(checkpoint)
}

/// As [`open_row`], for who has no ledger to stop; what is wrong, if it is not.
pub(crate) fn signed_row(tenant: &Tenant, row: &CheckpointRow) -> Result<Checkpoint, String> {
    open_row(tenant, row).map_err(|stop| stop.why().to_owned())
}

/// The checkpoint in the object store, if this vault signed it.
pub(super) fn open_copy(tenant: &Tenant, note: &[u8]) -> Result<Checkpoint, Stop> {
    open(tenant, note).map_err(|why| Stop::Integrity(format!("the checkpoint in the object store: {why}")))
}

fn open(tenant: &Tenant, note: &[u8]) -> Result<Checkpoint, String> {
    tenant.log_keys().open(note).map(|(checkpoint, _)| checkpoint).map_err(|error| error.to_string())
}
