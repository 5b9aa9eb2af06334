//! Generations that are no longer what their paths stand for: kept for a set time, then without a key.
//!
//! ```text
//! visible ──overwritten, deleted──► retired ──time is over──► expired: no wrapped key, no `superseded` row
//!    └──its dataset is deleted──► (in steps) ──► retired         └── the last one of its blob ──► blob condemned
//! ```
//!
//! An expired object keeps its row: the ledger names objects by put entry and ordinal, and an audit asks for their names for as
//! long as there is a ledger. What goes is what could open it. A row with key version 0 is expired; its wrapped key is zeros.
//!
//! Invariants:
//! - What a path stands for never expires, whatever the rows here say.
//! - All of a step is one transaction: a key is gone with its row of `retired`, a blob is condemned with its last key.
//! - A step is bounded, and whatever breaks a pass off, the next one goes on from the rows.

use std::collections::BTreeSet;

use sqlx::Row;
use strongroom_core::ids::{DatasetId, Millis, TenantId};
use strongroom_core::keys::wrap::Wrapped;

use super::bulk::Bulk;
use super::wraps::SLOTS;
use super::{Catalog, CatalogError, Tx, number, signed};
use crate::failpoint;

/// What a step of [`Catalog::expire`] came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Expired {
    /// Rows that the step took: less than its limit if there are no more.
    pub taken: u64,
    /// Keys that were destroyed.
    pub keys: u64,
    /// Blobs that were condemned.
    pub blobs: u64,
}

impl Tx {
    /// Notes that objects are no longer what their paths stand for.
    pub(super) async fn retire(&mut self, tenant: &TenantId, now: Millis, retire: Bulk) -> Result<(), CatalogError> {
        let sql = self.sql(
            "INSERT INTO retired (since, tenant, entry, ordinal, rekeyed) SELECT $2, $3, CAST(j.value->>0 AS BIGINT), \
             CAST(j.value->>1 AS BIGINT), CAST(j.value->>2 AS BIGINT) FROM jsonb_each($1) j WHERE true \
             ON CONFLICT (tenant, entry, ordinal) DO NOTHING",
        );
        let query = sqlx::query(sql).bind(retire.finish()).bind(signed(now.0)).bind(&tenant.as_bytes()[..]);
        query.execute(self.connection()).await?;
        Ok(())
    }

    /// Notes that the time of objects is over: of each row, put entry and ordinal.
    pub(super) async fn retire_due(&mut self, tenant: &TenantId, rows: &str) -> Result<(), CatalogError> {
        let sql = self.sql(
            "INSERT INTO retired (since, tenant, entry, ordinal) \
             SELECT 0, $2, CAST(j.value->>0 AS BIGINT), CAST(j.value->>1 AS BIGINT) FROM jsonb_each($1) j WHERE true \
             ON CONFLICT (tenant, entry, ordinal) DO UPDATE SET since = 0",
        );
        sqlx::query(sql).bind(rows).bind(&tenant.as_bytes()[..]).execute(self.connection()).await?;
        Ok(())
    }

    /// Notes that a dataset was deleted.
    pub(crate) async fn retire_dataset(
        &mut self,
        tenant: &TenantId,
        dataset: &DatasetId,
        now: Millis,
    ) -> Result<(), CatalogError> {
        let sql = self.sql("INSERT INTO retired_datasets (tenant, dataset, since) VALUES ($1, $2, $3)");
        let query = sqlx::query(sql).bind(&tenant.as_bytes()[..]).bind(&dataset.as_bytes()[..]).bind(signed(now.0));
        query.execute(self.connection()).await?;
        Ok(())
    }
}

impl Catalog {
    /// Retires up to `limit` objects of datasets that were deleted; `true` if there may be more.
    ///
    /// # Errors
    /// [`CatalogError`] if the rows cannot be read or written.
    pub async fn retire_deleted(&self, limit: u32) -> Result<bool, CatalogError> {
        let mut tx = self.begin().await?;
        let sql = tx.sql("SELECT tenant, dataset, since FROM retired_datasets LIMIT 1 /*postgres FOR UPDATE*/");
        let Some(row) = sqlx::query(sql).fetch_optional(tx.connection()).await? else { return Ok(false) };
        let (tenant, dataset, since): (Vec<u8>, Vec<u8>, i64) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let sql = tx.sql("SELECT path, entry, ordinal FROM paths WHERE dataset = $1 ORDER BY path LIMIT $2");
        let query = sqlx::query(sql).bind(&dataset[..]).bind(i64::from(limit));
        let mut bulk = Bulk::with_capacity(4096);
        for row in query.fetch_all(tx.connection()).await? {
            bulk.row().text(row.try_get(0)?).number(number(&row, 1)?).number(number(&row, 2)?);
        }
        if bulk.rows() == 0 {
            let sql = tx.sql("DELETE FROM retired_datasets WHERE tenant = $1 AND dataset = $2");
            sqlx::query(sql).bind(tenant).bind(dataset).execute(tx.connection()).await?;
        } else {
            let rows = bulk.finish();
            let sql = tx.sql(
                "INSERT INTO retired (since, tenant, entry, ordinal) \
                 SELECT $2, $3, CAST(j.value->>1 AS BIGINT), CAST(j.value->>2 AS BIGINT) FROM jsonb_each($1) j \
                 WHERE true ON CONFLICT (tenant, entry, ordinal) DO NOTHING",
            );
            let query = sqlx::query(sql).bind(&rows[..]).bind(since).bind(tenant);
            query.execute(tx.connection()).await?;
            let sql =
                tx.sql("DELETE FROM paths WHERE dataset = $2 AND path IN (SELECT j.value->>0 FROM jsonb_each($1) j)");
            sqlx::query(sql).bind(rows).bind(dataset).execute(tx.connection()).await?;
        }
        tx.commit().await?;
        Ok(true)
    }

    /// Destroys the keys of up to `limit` objects that were retired before `before`: of all, or of those that were `rekeyed`.
    ///
    /// # Errors
    /// [`CatalogError`] if the rows cannot be read or written.
    pub async fn expire(&self, before: Millis, rekeyed: bool, limit: u32) -> Result<Expired, CatalogError> {
        let mut tx = self.begin().await?;
        // Destroyed is overwritten, where the database can.
        tx.overwrite(true).await?;
        let expired = expire(&mut tx, before, rekeyed, limit).await?;
        tx.overwrite(false).await?;
        if expired.taken > 0 {
            failpoint::hit("retention.committing");
            tx.commit().await?;
            failpoint::hit("retention.committed");
        }
        Ok(expired)
    }

    /// Clears out of SQLite's log what was overwritten in its file; `false` if somebody reads, and it is to be tried again.
    ///
    /// # Errors
    /// [`CatalogError`] if the database refuses.
    pub async fn clear_log(&self) -> Result<bool, CatalogError> {
        if self.is_shared() {
            return Ok(true);
        }
        let mut writer = self.0.writer.acquire().await?;
        // Nobody waits for readers meanwhile: the recorder wants this connection.
        sqlx::raw_sql("PRAGMA busy_timeout = 0").execute(&mut *writer).await?;
        let cleared = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&mut *writer).await;
        sqlx::raw_sql("PRAGMA busy_timeout = 5000").execute(&mut *writer).await?;
        Ok(number(&cleared?, 0)? == 0)
    }

    /// Whether something may lie in a blob: no upload's row has condemned or forgotten it.
    ///
    /// # Errors
    /// [`CatalogError`] if the row cannot be read.
    pub async fn is_kept(&self, blob: &str) -> Result<bool, CatalogError> {
        let sql = self.sql("SELECT state FROM uploads WHERE blob = $1 AND state <> 2");
        Ok(sqlx::query(sql).bind(blob).fetch_optional(self.reader()).await?.is_some())
    }
}

async fn expire(tx: &mut Tx, before: Millis, rekeyed: bool, limit: u32) -> Result<Expired, CatalogError> {
    let sql = tx.sql(match rekeyed {
        false => {
            "SELECT tenant, entry, ordinal FROM retired WHERE since < $1 ORDER BY since LIMIT $2 \
             /*postgres FOR UPDATE SKIP LOCKED*/"
        }
        true => {
            "SELECT tenant, entry, ordinal FROM retired WHERE rekeyed = 1 AND since < $1 ORDER BY since LIMIT $2 \
             /*postgres FOR UPDATE SKIP LOCKED*/"
        }
    });
    let query = sqlx::query(sql).bind(signed(before.0)).bind(i64::from(limit));
    let mut bulk = Bulk::with_capacity(16_384);
    let mut chunks = BTreeSet::new();
    for row in query.fetch_all(tx.connection()).await? {
        let (tenant, entry, ordinal): (Vec<u8>, u64, u64) = (row.try_get(0)?, number(&row, 1)?, number(&row, 2)?);
        bulk.row().bytes(&tenant).number(entry).number(ordinal);
        chunks.insert((tenant, entry, ordinal / u64::from(SLOTS)));
    }
    let mut expired = Expired { taken: bulk.rows() as u64, ..Expired::default() };
    if expired.taken == 0 {
        return Ok(expired);
    }
    let rows = bulk.finish();
    let sql = tx.sql(
        "SELECT o.blob, count(*) FROM jsonb_each($1) j \
         CROSS JOIN objects o ON o.tenant = unhex(j.value->>0) AND o.entry = CAST(j.value->>1 AS BIGINT) \
         AND o.ordinal = CAST(j.value->>2 AS BIGINT) WHERE o.key_version > 0 AND NOT EXISTS \
         (SELECT 1 FROM paths p WHERE p.dataset = o.dataset AND p.path = o.path AND p.entry = o.entry \
         AND p.ordinal = o.ordinal) GROUP BY o.blob",
    );
    let mut blobs = Bulk::with_capacity(4096);
    for row in sqlx::query(sql).bind(&rows[..]).fetch_all(tx.connection()).await? {
        blobs.row().text(row.try_get(0)?).number(number(&row, 1)?);
    }
    let sql = tx.sql(
        "DELETE FROM superseded WHERE (dataset, path, generation) IN \
         (SELECT o.dataset, o.path, o.generation FROM jsonb_each($1) j \
         CROSS JOIN objects o ON o.tenant = unhex(j.value->>0) AND o.entry = CAST(j.value->>1 AS BIGINT) \
         AND o.ordinal = CAST(j.value->>2 AS BIGINT))",
    );
    sqlx::query(sql).bind(&rows[..]).execute(tx.connection()).await?;
    // Roots beside theirs move to where they can stay. Their rows are locked first, as whoever wraps anew locks them.
    let mut apart = Bulk::with_capacity(chunks.len() * 64);
    for (tenant, entry, chunk) in &chunks {
        apart.row().bytes(tenant).number(*entry).number(*chunk);
    }
    let lifted = tx.lift(apart).await?;
    let sql = tx.sql(
        "UPDATE objects SET key_version = 0, wrapped = $2 WHERE key_version > 0 AND (tenant, entry, ordinal) IN \
         (SELECT unhex(j.value->>0), CAST(j.value->>1 AS BIGINT), CAST(j.value->>2 AS BIGINT) FROM jsonb_each($1) j) \
         AND NOT EXISTS (SELECT 1 FROM paths p WHERE p.dataset = objects.dataset AND p.path = objects.path \
         AND p.entry = objects.entry AND p.ordinal = objects.ordinal)",
    );
    let query = sqlx::query(sql).bind(&rows[..]).bind(vec![0_u8; Wrapped::LEN]);
    expired.keys = query.execute(tx.connection()).await?.rows_affected();
    tx.lay_down(lifted).await?;
    if blobs.rows() > 0 {
        let blobs = blobs.finish();
        let sql = tx.sql(
            "UPDATE uploads SET objects = objects - (SELECT CAST(j.value->>1 AS BIGINT) FROM jsonb_each($1) j \
             WHERE j.value->>0 = uploads.blob) WHERE blob IN (SELECT j.value->>0 FROM jsonb_each($1) j)",
        );
        sqlx::query(sql).bind(&blobs[..]).execute(tx.connection()).await?;
        let sql = tx.sql(
            // By the name alone: there is an index by state, and most rows have this one.
            "UPDATE uploads SET state = 2 WHERE state + 0 = 1 AND objects = 0 AND blob IN \
             (SELECT j.value->>0 FROM jsonb_each($1) j)",
        );
        expired.blobs = sqlx::query(sql).bind(blobs).execute(tx.connection()).await?.rows_affected();
    }
    let sql = tx.sql(
        "DELETE FROM retired WHERE (tenant, entry, ordinal) IN \
         (SELECT unhex(j.value->>0), CAST(j.value->>1 AS BIGINT), CAST(j.value->>2 AS BIGINT) FROM jsonb_each($1) j)",
    );
    sqlx::query(sql).bind(rows).execute(tx.connection()).await?;
    Ok(expired)
}
