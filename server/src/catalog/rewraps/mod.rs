//! Versions of a tenant's key, and how far its objects are wrapped under the newest.
//!
//! ```text
//! rotate: new version active, rewrap begins ─► page ─► (key holder) ─► store: rows and place in one transaction ─► … ─► finished
//! ```
//!
//! Rows are dealt with in the order of their put entries, so what is put meanwhile comes later and is met on the way. A put that was
//! wrapped before a rotation and is recorded after it opens the rewrap again, in its own transaction: a rewrap that is finished
//! says that nothing is under an older version, but for rows that it had to skip.
//!
//! Invariants:
//! - A row is changed only if it still is what was read: two nodes at once do no harm.
//! - A row whose root does not open for it is left as it is and counted.

mod page;

pub(crate) use page::{Page, Step, Stored};

use sqlx::Row;
use sqlx::any::AnyRow;
use strongroom_core::ids::{Index, Millis, NodeId, TenantId};

use super::bulk::Bulk;
use super::wraps::apart;
use super::{Catalog, CatalogError, Tx, number, signed};
use crate::failpoint;

/// How far a tenant's objects are wrapped under the newest version of its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rewrap {
    /// The version.
    pub version: u32,
    /// The last row that was dealt with: its put entry and ordinal.
    pub place: (Index, u32),
    /// How many objects the tenant had when it was last counted.
    pub total: u64,
    /// How many were wrapped anew.
    pub done: u64,
    /// How many were left, since their roots do not open.
    pub skipped: u64,
    /// When the version became active.
    pub started: Millis,
    /// When nothing was left to do, if that is so.
    pub finished: Option<Millis>,
}

impl Tx {
    /// Makes a version of the tenant's key the active one, and begins to wrap everything under it.
    pub(crate) async fn rotate_key(
        &mut self,
        tenant: &TenantId,
        version: u32,
        wrapped: &[u8],
        now: Millis,
    ) -> Result<(), CatalogError> {
        let sql = self.sql("UPDATE tenant_keys SET active = 0 WHERE tenant = $1");
        sqlx::query(sql).bind(&tenant.as_bytes()[..]).execute(self.connection()).await?;
        let sql = self.sql("INSERT INTO tenant_keys (tenant, version, wrapped, active) VALUES ($1, $2, $3, 1)");
        let query = sqlx::query(sql).bind(&tenant.as_bytes()[..]).bind(i64::from(version)).bind(wrapped);
        query.execute(self.connection()).await?;
        let sql = self.sql(
            "INSERT INTO rewraps (tenant, version, entry, ordinal, total, done, skipped, started, finished, node, lease) \
             SELECT $1, $2, 0, 0, (SELECT count(*) FROM objects o WHERE o.tenant = $1), 0, 0, $3, NULL, $4, 0 WHERE true \
             ON CONFLICT (tenant) DO UPDATE SET version = excluded.version, entry = 0, ordinal = 0, \
             total = excluded.total, done = 0, skipped = 0, started = excluded.started, finished = NULL, lease = 0",
        );
        let query = sqlx::query(sql).bind(&tenant.as_bytes()[..]).bind(i64::from(version)).bind(signed(now.0));
        query.bind(&[][..]).execute(self.connection()).await?;
        Ok(())
    }

    /// Notes when the tenant's key is due to be rotated next; none if never.
    pub(crate) async fn set_due_rotation(
        &mut self,
        tenant: &TenantId,
        due: Option<Millis>,
    ) -> Result<(), CatalogError> {
        let tenant = &tenant.as_bytes()[..];
        let Some(due) = due else {
            let sql = self.sql("DELETE FROM rotations WHERE tenant = $1");
            sqlx::query(sql).bind(tenant).execute(self.connection()).await?;
            return Ok(());
        };
        let sql = self.sql(
            "INSERT INTO rotations (tenant, due) VALUES ($1, $2) ON CONFLICT (tenant) DO UPDATE SET due = excluded.due",
        );
        sqlx::query(sql).bind(tenant).bind(signed(due.0)).execute(self.connection()).await?;
        Ok(())
    }

    /// Notes that an object was put whose key is under an older version.
    pub(crate) async fn reopen_rewrap(&mut self, tenant: &TenantId) -> Result<(), CatalogError> {
        let sql = self.sql("UPDATE rewraps SET finished = NULL, total = total + 1 WHERE tenant = $1");
        sqlx::query(sql).bind(&tenant.as_bytes()[..]).execute(self.connection()).await?;
        Ok(())
    }

    /// How far the tenant's rewrap is. Nobody else changes it until this transaction ends.
    pub(crate) async fn rewrap(&mut self, tenant: &TenantId) -> Result<Option<Rewrap>, CatalogError> {
        let sql = self.sql(
            "SELECT version, entry, ordinal, total, done, skipped, started, finished FROM rewraps WHERE tenant = $1 \
             /*postgres FOR UPDATE*/",
        );
        let row = sqlx::query(sql).bind(&tenant.as_bytes()[..]).fetch_optional(self.connection()).await?;
        row.as_ref().map(rewrap).transpose()
    }

    /// Destroys a version of the tenant's key.
    pub(crate) async fn destroy_key(&mut self, tenant: &TenantId, version: u32) -> Result<(), CatalogError> {
        let sql = self.sql("SELECT version, wrapped FROM tenant_keys WHERE tenant = $1 AND version = $2");
        let query = sqlx::query(sql).bind(&tenant.as_bytes()[..]).bind(i64::from(version));
        let rows = query.fetch_all(self.connection()).await?;
        self.destroy_keys(tenant, rows).await
    }

    /// Destroys all versions of the tenant's key. Nothing is left to be wrapped anew.
    pub(crate) async fn destroy_all_keys(&mut self, tenant: &TenantId, now: Millis) -> Result<(), CatalogError> {
        let sql = self.sql("SELECT version, wrapped FROM tenant_keys WHERE tenant = $1");
        let rows = sqlx::query(sql).bind(&tenant.as_bytes()[..]).fetch_all(self.connection()).await?;
        self.destroy_keys(tenant, rows).await?;
        let sql = self.sql("UPDATE rewraps SET finished = $2, lease = 0 WHERE tenant = $1 AND finished IS NULL");
        let query = sqlx::query(sql).bind(&tenant.as_bytes()[..]).bind(signed(now.0));
        query.execute(self.connection()).await?;
        Ok(())
    }

    /// Destroyed is overwritten, where the database can: with as many zeros first, since what is empty frees its place.
    async fn destroy_keys(&mut self, tenant: &TenantId, rows: Vec<AnyRow>) -> Result<(), CatalogError> {
        self.overwrite(true).await?;
        for row in rows {
            let (version, wrapped): (i64, Vec<u8>) = (row.try_get(0)?, row.try_get(1)?);
            for zeros in [vec![0_u8; wrapped.len()], Vec::new()] {
                let sql =
                    self.sql("UPDATE tenant_keys SET wrapped = $3, active = 0 WHERE tenant = $1 AND version = $2");
                let query = sqlx::query(sql).bind(&tenant.as_bytes()[..]).bind(version).bind(zeros);
                query.execute(self.connection()).await?;
            }
        }
        self.overwrite(false).await
    }
}

impl Catalog {
    /// How far the tenant's rewrap is; none if its key was never rotated.
    ///
    /// # Errors
    /// [`CatalogError`] if it cannot be read.
    pub async fn rewrap(&self, tenant: &TenantId) -> Result<Option<Rewrap>, CatalogError> {
        let sql = self.sql(
            "SELECT version, entry, ordinal, total, done, skipped, started, finished FROM rewraps WHERE tenant = $1",
        );
        let row = sqlx::query(sql).bind(&tenant.as_bytes()[..]).fetch_optional(self.reader()).await?;
        row.as_ref().map(rewrap).transpose()
    }

    /// The tenants whose keys are due to be rotated at `now`. What is due says the authority; this says whom to look at.
    pub(crate) async fn due_rotations(&self, now: Millis) -> Result<Vec<TenantId>, CatalogError> {
        let sql = self.sql("SELECT tenant FROM rotations WHERE due <= $1");
        let rows = sqlx::query(sql).bind(signed(now.0)).fetch_all(self.reader()).await?;
        rows.iter().map(|row| Ok(TenantId::from_bytes(super::id(row, 0)?))).collect()
    }

    /// The tenants whose objects are still to be wrapped anew.
    ///
    /// # Errors
    /// [`CatalogError`] if they cannot be read.
    pub(crate) async fn unfinished_rewraps(&self) -> Result<Vec<TenantId>, CatalogError> {
        let sql = self.sql("SELECT tenant FROM rewraps WHERE finished IS NULL");
        let rows = sqlx::query(sql).fetch_all(self.reader()).await?;
        rows.iter().map(|row| super::id(row, 0).map(TenantId::from_bytes)).collect()
    }

    /// Takes the work on a tenant's rewrap until `until`, unless another node has it: that saves work, and nothing rests on it.
    ///
    /// # Errors
    /// [`CatalogError`] if the row cannot be written.
    pub(crate) async fn lease_rewrap(
        &self,
        tenant: &TenantId,
        node: &NodeId,
        now: Millis,
        until: Millis,
    ) -> Result<bool, CatalogError> {
        let mut tx = self.begin().await?;
        let sql = tx.sql(
            "UPDATE rewraps SET node = $2, lease = $4 WHERE tenant = $1 AND finished IS NULL AND (node = $2 OR lease < $3)",
        );
        let query = sqlx::query(sql).bind(&tenant.as_bytes()[..]).bind(&node.as_bytes()[..]);
        let query = query.bind(signed(now.0)).bind(signed(until.0));
        let leased = query.execute(tx.connection()).await?.rows_affected() == 1;
        tx.commit().await?;
        Ok(leased)
    }

    /// Stores a step.
    ///
    /// # Errors
    /// [`CatalogError`] if the rows cannot be written.
    pub(crate) async fn store_rewrapped(
        &self,
        tenant: &TenantId,
        step: &Step,
        lease: Millis,
    ) -> Result<Stored, CatalogError> {
        let rows = rewrapped(tenant, &step.rows, |wrapped| wrapped.as_bytes());
        let chunks = rewrapped(tenant, &step.chunks, |bytes| bytes);
        let mut tx = self.begin().await?;
        let now = tx.rewrap(tenant).await?;
        if !now.is_some_and(|now| now.version == step.version && now.place == step.from && now.finished.is_none()) {
            return Ok(Stored::Moved);
        }
        let mut done = step.apart;
        if !step.chunks.is_empty() {
            let sql = tx.sql(
                "UPDATE wraps SET version = $2, wrapped = unhex(j.value->>4) FROM jsonb_each($1) j \
                 WHERE wraps.tenant = unhex(j.value->>0) AND wraps.entry = CAST(j.value->>1 AS BIGINT) \
                 AND wraps.chunk = CAST(j.value->>2 AS BIGINT) AND wraps.version = CAST(j.value->>3 AS BIGINT)",
            );
            let query = sqlx::query(sql).bind(chunks).bind(i64::from(step.version));
            // A row that is gone: an object in it expired, and how the others are wrapped stands in their own rows now.
            if query.execute(tx.connection()).await?.rows_affected() != step.chunks.len() as u64 {
                return Ok(Stored::Moved);
            }
        }
        if !step.rows.is_empty() {
            let sql = tx.sql(
                "UPDATE objects SET key_version = $2, wrapped = unhex(j.value->>4) FROM jsonb_each($1) j \
                 WHERE objects.tenant = unhex(j.value->>0) AND objects.entry = CAST(j.value->>1 AS BIGINT) \
                 AND objects.ordinal = CAST(j.value->>2 AS BIGINT) AND objects.key_version = CAST(j.value->>3 AS BIGINT)",
            );
            let query = sqlx::query(sql).bind(rows).bind(i64::from(step.version));
            done += query.execute(tx.connection()).await?.rows_affected();
        }
        let sql = tx.sql(
            "UPDATE rewraps SET entry = $2, ordinal = $3, done = done + $4, skipped = skipped + $5, lease = $6 \
             WHERE tenant = $1",
        );
        let query = sqlx::query(sql).bind(&tenant.as_bytes()[..]).bind(signed(step.place.0.0));
        let query = query.bind(i64::from(step.place.1)).bind(signed(done)).bind(signed(step.skipped.len() as u64));
        query.bind(signed(lease.0)).execute(tx.connection()).await?;
        failpoint::hit("rewrap.committing");
        tx.commit().await?;
        failpoint::hit("rewrap.committed");
        Ok(Stored::Whole)
    }

    /// Finishes a rewrap, if nothing is left behind its place.
    ///
    /// # Errors
    /// [`CatalogError`] if the row cannot be written.
    pub(crate) async fn finish_rewrap(
        &self,
        tenant: &TenantId,
        from: Rewrap,
        now: Millis,
    ) -> Result<bool, CatalogError> {
        let mut tx = self.begin().await?;
        // With the row's lock had, a put that opens the rewrap again is committed and seen, or comes after this.
        if tx.rewrap(tenant).await?.map(|now| (now.version, now.place)) != Some((from.version, from.place)) {
            return Ok(false);
        }
        let sql = tx.sql(concat!(
            "UPDATE rewraps SET finished = $2, lease = 0 WHERE tenant = $1 AND NOT EXISTS (SELECT 1 FROM objects o",
            apart!(),
            " WHERE o.tenant = $1 AND (o.entry, o.ordinal) > ($3, $4) AND o.key_version > 0 \
             AND coalesce(w.version, o.key_version) < $5)"
        ));
        let query = sqlx::query(sql).bind(&tenant.as_bytes()[..]).bind(signed(now.0)).bind(signed(from.place.0.0));
        let query = query.bind(i64::from(from.place.1)).bind(i64::from(from.version));
        let finished = query.execute(tx.connection()).await?.rows_affected() == 1;
        tx.commit().await?;
        Ok(finished)
    }
}

/// Rows by entry, place in there and the version they were under, each with its new bytes. The tenant stands in the rows, too: so they
/// are looked up one by one, and the table is not read for each.
fn rewrapped<T>(tenant: &TenantId, rows: &[(u64, u32, u32, T)], bytes: impl Fn(&T) -> &[u8]) -> String {
    let long = rows.first().map_or(0, |(.., first)| bytes(first).len());
    let mut bulk = Bulk::with_capacity(rows.len() * (2 * long + 80));
    for (entry, place, version, new) in rows {
        bulk.row().bytes(tenant.as_bytes()).number(*entry).number(u64::from(*place));
        bulk.number(u64::from(*version)).bytes(bytes(new));
    }
    bulk.finish()
}

fn rewrap(row: &AnyRow) -> Result<Rewrap, CatalogError> {
    let small = |column| u32::try_from(number(row, column)?).map_err(|_| CatalogError::integrity("a rewrap's row"));
    let finished: Option<i64> = row.try_get(7)?;
    Ok(Rewrap {
        version: small(0)?,
        place: (Index(number(row, 1)?), small(2)?),
        total: number(row, 3)?,
        done: number(row, 4)?,
        skipped: number(row, 5)?,
        started: Millis(number(row, 6)?),
        finished: finished.and_then(|at| u64::try_from(at).ok()).map(Millis),
    })
}
