//! The authority log: append-only rows of exact entry bytes. Whoever reads them folds them to the head's authority tip.

use sqlx::Row;
use sqlx::any::AnyRow;
use strongroom_core::ids::{Index, TenantId};

use super::bulk::Bulk;
use super::{CatalogError, Tx, number, signed};

/// An entry of the authority log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AuthorityRow {
    /// Its place in the ledger.
    pub(crate) entry: Index,
    /// The exact bytes of its public part: what the log is chained over.
    pub(crate) public: Vec<u8>,
    /// The exact JSON of the signed order, whose hash the public part holds.
    pub(crate) signed: Vec<u8>,
}

impl Tx {
    /// The authority log from entry `from` on.
    pub(crate) async fn authority_from(
        &mut self,
        tenant: &TenantId,
        from: Index,
    ) -> Result<Vec<AuthorityRow>, CatalogError> {
        let sql =
            self.sql("SELECT entry, public, signed FROM authority WHERE tenant = $1 AND entry >= $2 ORDER BY entry");
        let query = sqlx::query(sql).bind(&tenant.as_bytes()[..]).bind(signed(from.0));
        let row = |row: &AnyRow| {
            Ok(AuthorityRow { entry: Index(number(row, 0)?), public: row.try_get(1)?, signed: row.try_get(2)? })
        };
        query.fetch_all(self.connection()).await?.iter().map(row).collect()
    }

    /// The exact bytes of the public part of an entry of the authority log.
    pub(crate) async fn authority_entry(
        &mut self,
        tenant: &TenantId,
        entry: Index,
    ) -> Result<Option<Vec<u8>>, CatalogError> {
        let sql = self.sql("SELECT public FROM authority WHERE tenant = $1 AND entry = $2");
        let query = sqlx::query(sql).bind(&tenant.as_bytes()[..]).bind(signed(entry.0));
        Ok(query.fetch_optional(self.connection()).await?.map(|row| row.try_get(0)).transpose()?)
    }

    /// Appends to the authority log.
    pub(crate) async fn insert_authority(
        &mut self,
        tenant: &TenantId,
        rows: &[AuthorityRow],
    ) -> Result<(), CatalogError> {
        let mut bulk = Bulk::with_capacity(rows.iter().map(|row| 2 * (row.public.len() + row.signed.len()) + 40).sum());
        for row in rows {
            bulk.row().number(row.entry.0).bytes(&row.public).bytes(&row.signed);
        }
        let sql = self.sql(
            "INSERT INTO authority (tenant, entry, public, signed) \
             SELECT $2, CAST(j.value->>0 AS BIGINT), unhex(j.value->>1), unhex(j.value->>2) FROM jsonb_each($1) j",
        );
        let query = sqlx::query(sql).bind(bulk.finish()).bind(&tenant.as_bytes()[..]);
        query.execute(self.connection()).await?;
        Ok(())
    }
}
