//! The newest checkpoint of each ledger, and who makes them.

use std::time::Duration;

use sqlx::Row;
use strongroom_core::ids::{Digest, Index, Millis, NodeId, TenantId};

use super::{Catalog, CatalogError, id, number, signed};

/// A checkpoint as it is kept. Only what its note's signature covers is to be believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CheckpointRow {
    pub(crate) size: Index,
    pub(crate) root: Digest,
    pub(crate) note: Vec<u8>,
}

impl Catalog {
    /// The newest checkpoint of a ledger; none before the first.
    pub(crate) async fn checkpoint(&self, tenant: &TenantId) -> Result<Option<CheckpointRow>, CatalogError> {
        let sql = self.sql("SELECT size, root, note FROM checkpoints WHERE tenant = $1");
        let row = sqlx::query(sql).bind(&tenant.as_bytes()[..]).fetch_optional(self.reader()).await?;
        let checkpoint = |row: sqlx::any::AnyRow| {
            let size = Index(number(&row, 0)?);
            Ok(CheckpointRow { size, root: Digest::from_bytes(id(&row, 1)?), note: row.try_get(2)? })
        };
        row.map(checkpoint).transpose()
    }

    /// Puts a checkpoint in the place of the one that it was made from; false if that is not the newest any more.
    pub(crate) async fn move_checkpoint(
        &self,
        tenant: &TenantId,
        from: Option<(Index, Digest)>,
        to: &CheckpointRow,
    ) -> Result<bool, CatalogError> {
        let mut tx = self.begin().await?;
        let sql = match from {
            None => tx.sql(
                "INSERT INTO checkpoints (tenant, size, root, note) VALUES ($1, $2, $3, $4) ON CONFLICT (tenant) DO NOTHING",
            ),
            Some(_) => tx.sql(
                "UPDATE checkpoints SET size = $2, root = $3, note = $4 WHERE tenant = $1 AND size = $5 AND root = $6",
            ),
        };
        let query = sqlx::query(sql).bind(&tenant.as_bytes()[..]).bind(signed(to.size.0));
        let query = query.bind(to.root.as_bytes().to_vec()).bind(to.note.clone());
        let query = match from {
            None => query,
            Some((size, root)) => query.bind(signed(size.0)).bind(root.as_bytes().to_vec()),
        };
        let moved = query.execute(tx.connection()).await?.rows_affected() == 1;
        tx.commit().await?;
        Ok(moved)
    }

    /// How many entries the ledger that is furthest from its checkpoint has beyond it.
    pub(crate) async fn checkpoint_lag(&self) -> Result<u64, CatalogError> {
        let sql = self.sql(
            "SELECT CAST(COALESCE(MAX(h.size - COALESCE(c.size, 0)), 0) AS BIGINT) FROM heads h \
             LEFT JOIN checkpoints c ON c.tenant = h.tenant",
        );
        number(&sqlx::query(sql).fetch_one(self.reader()).await?, 0)
    }

    /// The ledgers whose newest checkpoint is not of as many entries as they have.
    pub(crate) async fn unintegrated(&self) -> Result<Vec<TenantId>, CatalogError> {
        let sql = self.sql(
            "SELECT h.tenant FROM heads h LEFT JOIN checkpoints c ON c.tenant = h.tenant \
             WHERE c.size IS NULL OR c.size <> h.size ORDER BY h.tenant",
        );
        let rows = sqlx::query(sql).fetch_all(self.reader()).await?;
        rows.iter().map(|row| Ok(TenantId::from_bytes(id(row, 0)?))).collect()
    }

    /// Takes a lease for a while, or keeps it; false if another node has it and its time is not over. The time is the database's,
    /// so that nodes whose clocks are apart agree; `now` is the node's.
    pub(crate) async fn lease(
        &self,
        name: &'static str,
        node: &NodeId,
        now: Millis,
        life: Duration,
    ) -> Result<bool, CatalogError> {
        let mut tx = self.begin().await?;
        let now = tx.time(now).await?;
        let until = now.0.saturating_add(u64::try_from(life.as_millis()).unwrap_or(u64::MAX));
        let sql = tx.sql(
            "INSERT INTO leases (name, holder, until) VALUES ($1, $2, $3) ON CONFLICT (name) DO UPDATE \
             SET holder = $2, until = $3 WHERE leases.holder = $2 OR leases.until <= $4",
        );
        let query = sqlx::query(sql).bind(name).bind(&node.as_bytes()[..]).bind(signed(until)).bind(signed(now.0));
        let taken = query.execute(tx.connection()).await?.rows_affected() == 1;
        tx.commit().await?;
        Ok(taken)
    }
}
