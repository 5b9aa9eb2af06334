//! The newest checkpoint that each witness of a ledger cosigned.

use sqlx::Row;
use strongroom_core::ids::{Index, TenantId};

use super::{Catalog, CatalogError, number, signed};

/// A checkpoint that a witness cosigned. Only what the signatures of its note cover is to be believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CosignatureRow {
    /// The witness's public key.
    pub(crate) witness: String,
    pub(crate) size: Index,
    pub(crate) note: Vec<u8>,
}

impl Catalog {
    /// The cosignatures of a ledger, by the texts of their witnesses' keys.
    pub(crate) async fn cosignatures(&self, tenant: &TenantId) -> Result<Vec<CosignatureRow>, CatalogError> {
        let sql = self.sql("SELECT witness, size, note FROM cosignatures WHERE tenant = $1 ORDER BY witness");
        let rows = sqlx::query(sql).bind(&tenant.as_bytes()[..]).fetch_all(self.reader()).await?;
        let row = |row: &sqlx::any::AnyRow| {
            Ok(CosignatureRow { witness: row.try_get(0)?, size: Index(number(row, 1)?), note: row.try_get(2)? })
        };
        rows.iter().map(row).collect()
    }

    /// Keeps a cosignature in the place of an older one of the same witness; false if that would be one witness more than `most`.
    pub(crate) async fn keep_cosignature(
        &self,
        tenant: &TenantId,
        row: &CosignatureRow,
        most: u64,
    ) -> Result<bool, CatalogError> {
        let mut tx = self.begin().await?;
        let sql = tx.sql("SELECT count(*) FROM cosignatures WHERE tenant = $1 AND witness <> $2");
        let query = sqlx::query(sql).bind(&tenant.as_bytes()[..]).bind(&row.witness[..]);
        let others = number(&query.fetch_one(tx.connection()).await?, 0)?;
        if others >= most {
            return Ok(false);
        }
        let sql = tx.sql(
            "INSERT INTO cosignatures (tenant, witness, size, note) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (tenant, witness) DO UPDATE SET size = $3, note = $4 WHERE cosignatures.size <= $3",
        );
        let query = sqlx::query(sql).bind(&tenant.as_bytes()[..]).bind(&row.witness[..]);
        query.bind(signed(row.size.0)).bind(row.note.clone()).execute(tx.connection()).await?;
        tx.commit().await?;
        Ok(true)
    }
}
