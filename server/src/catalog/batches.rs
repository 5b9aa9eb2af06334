//! Entry batches: what each commit appended, public parts and private parts apart.

use sqlx::any::AnyRow;
use sqlx::{Any, Executor, Row, SqlStr};
use strongroom_core::ids::{Digest, Index, TenantId};

use super::{Catalog, CatalogError, Tx, id, number, signed};

const BATCH_OF: &str = "SELECT b.first, b.entries, p.parts FROM batches b \
     LEFT JOIN privates p ON p.tenant = b.tenant AND p.size = b.size \
     WHERE b.tenant = $1 AND b.size > $2 ORDER BY b.size LIMIT 1";
/// As [`BATCH_OF`], several at once, with what the ledger came to after each.
const BATCHES: &str = "SELECT b.first, b.entries, p.parts, b.size, b.tip FROM batches b \
     LEFT JOIN privates p ON p.tenant = b.tenant AND p.size = b.size \
     WHERE b.tenant = $1 AND b.size > $2 ORDER BY b.size LIMIT $3";
const BOUNDARY: &str = "SELECT tip FROM batches WHERE tenant = $1 AND size = $2";

/// A batch as it is kept.
pub(crate) struct BatchRow {
    /// Its first entry.
    pub(crate) first: Index,
    /// The public parts.
    pub(crate) entries: Vec<u8>,
    /// The private parts.
    pub(crate) parts: Vec<u8>,
}

/// A batch to append.
pub(crate) struct NewBatch {
    pub(crate) first: Index,
    /// The size of the ledger after it, and the root over all entries up to there.
    pub(crate) size: Index,
    pub(crate) tip: Digest,
    pub(crate) entries: Vec<u8>,
    pub(crate) parts: Vec<u8>,
}

impl Catalog {
    /// The root over the ledger's entries when it had `size`, if a commit ended there.
    pub(crate) async fn boundary(&self, tenant: &TenantId, size: Index) -> Result<Option<Digest>, CatalogError> {
        boundary(self.reader(), self.sql(BOUNDARY), tenant, size).await
    }

    /// The batch that holds the entry `index`, if the ledger reaches there.
    pub(crate) async fn batch_of(&self, tenant: &TenantId, index: Index) -> Result<Option<BatchRow>, CatalogError> {
        batch_of(self.reader(), self.sql(BATCH_OF), tenant, index).await
    }
}

impl Catalog {
    /// Up to `limit` batches from the one that holds the entry `index` on, each with the size of the ledger after it and the root
    /// over it.
    pub(crate) async fn batches_from(
        &self,
        tenant: &TenantId,
        index: Index,
        limit: u32,
    ) -> Result<Vec<(BatchRow, Index, Digest)>, CatalogError> {
        let query = sqlx::query(self.sql(BATCHES)).bind(&tenant.as_bytes()[..]).bind(signed(index.0));
        let rows = query.bind(i64::from(limit)).fetch_all(self.reader()).await?;
        let after = |row: &AnyRow| Ok((Index(number(row, 3)?), Digest::from_bytes(id(row, 4)?)));
        rows.iter().map(|row| after(row).and_then(|(size, tip)| Ok((batch(row)?, size, tip)))).collect()
    }
}

async fn batch_of<'c>(
    connection: impl Executor<'c, Database = Any>,
    sql: SqlStr,
    tenant: &TenantId,
    index: Index,
) -> Result<Option<BatchRow>, CatalogError> {
    let query = sqlx::query(sql).bind(&tenant.as_bytes()[..]).bind(signed(index.0));
    let row = query.fetch_optional(connection).await?;
    row.as_ref().map(batch).transpose()
}

fn batch(row: &AnyRow) -> Result<BatchRow, CatalogError> {
    let parts: Option<Vec<u8>> = row.try_get(2)?;
    Ok(BatchRow {
        first: Index(number(row, 0)?),
        entries: row.try_get(1)?,
        parts: parts.ok_or_else(|| CatalogError::integrity("a batch has lost its private parts"))?,
    })
}

impl Tx {
    /// As [`Catalog::batch_of`].
    pub(crate) async fn batch_of(&mut self, tenant: &TenantId, index: Index) -> Result<Option<BatchRow>, CatalogError> {
        let sql = self.sql(BATCH_OF);
        batch_of(self.connection(), sql, tenant, index).await
    }

    /// As [`Catalog::boundary`].
    pub(crate) async fn boundary(&mut self, tenant: &TenantId, size: Index) -> Result<Option<Digest>, CatalogError> {
        let sql = self.sql(BOUNDARY);
        boundary(self.connection(), sql, tenant, size).await
    }

    /// Appends a batch.
    pub(crate) async fn insert_batch(&mut self, tenant: &TenantId, batch: NewBatch) -> Result<(), CatalogError> {
        let sql = self.sql("INSERT INTO batches (tenant, size, first, tip, entries) VALUES ($1, $2, $3, $4, $5)");
        let query =
            sqlx::query(sql).bind(&tenant.as_bytes()[..]).bind(signed(batch.size.0)).bind(signed(batch.first.0));
        query.bind(&batch.tip.as_bytes()[..]).bind(batch.entries).execute(self.connection()).await?;
        let sql = self.sql("INSERT INTO privates (tenant, size, parts) VALUES ($1, $2, $3)");
        let query = sqlx::query(sql).bind(&tenant.as_bytes()[..]).bind(signed(batch.size.0));
        query.bind(batch.parts).execute(self.connection()).await?;
        Ok(())
    }
}

async fn boundary<'c>(
    connection: impl Executor<'c, Database = Any>,
    sql: SqlStr,
    tenant: &TenantId,
    size: Index,
) -> Result<Option<Digest>, CatalogError> {
    let query = sqlx::query(sql).bind(&tenant.as_bytes()[..]).bind(signed(size.0));
    let row = query.fetch_optional(connection).await?;
    row.map(|row| id(&row, 0).map(Digest::from_bytes)).transpose()
}
