//! The heads of the ledgers: what the next entry must fit to.

use sqlx::Row;
use sqlx::any::AnyRow;
use strongroom_core::ids::TenantId;
use strongroom_core::ledger::{Head, LedgerKey};

use super::{CatalogError, Tx, signed};

/// A head as it is kept, before its mark is checked.
pub(crate) struct HeadRow<'a> {
    pub(crate) head: &'a [u8],
    pub(crate) mac: &'a [u8],
}

impl HeadRow<'_> {
    /// The head, if it carries its mark.
    pub(crate) fn check(&self, tenant: &TenantId, key: &LedgerKey) -> Result<Head, CatalogError> {
        Head::from_canonical_bytes(self.head)
            .filter(|head| key.check_head(tenant, head, self.mac))
            .ok_or_else(|| CatalogError::integrity(format!("the head of tenant {tenant} does not carry its mark")))
    }
}

impl Tx {
    /// The head of a tenant's ledger, its mark checked; none before entry 0.
    pub(crate) async fn head(&mut self, tenant: &TenantId, key: &LedgerKey) -> Result<Option<Head>, CatalogError> {
        let sql = self.sql("SELECT head, mac FROM heads WHERE tenant = $1");
        let row = sqlx::query(sql).bind(&tenant.as_bytes()[..]).fetch_optional(self.connection()).await?;
        let check = |row: AnyRow| HeadRow { head: row.try_get(0)?, mac: row.try_get(1)? }.check(tenant, key);
        row.map(check).transpose()
    }

    /// Puts the head where the batch ends, from where it was read.
    pub(crate) async fn move_head(
        &mut self,
        tenant: &TenantId,
        key: &LedgerKey,
        from: &Head,
        to: &Head,
    ) -> Result<(), CatalogError> {
        let mac = key.head(tenant, to);
        let sql = match from.size().0 {
            0 => self.sql("INSERT INTO heads (tenant, size, head, mac) VALUES ($1, $2, $3, $4)"),
            _ => self.sql("UPDATE heads SET size = $2, head = $3, mac = $4 WHERE tenant = $1 AND size = $5"),
        };
        let query = sqlx::query(sql).bind(&tenant.as_bytes()[..]).bind(signed(to.size().0));
        let query = query.bind(to.canonical_bytes()).bind(&mac[..]);
        let query = if from.size().0 == 0 { query } else { query.bind(signed(from.size().0)) };
        match query.execute(self.connection()).await?.rows_affected() {
            1 => Ok(()),
            _ => Err(CatalogError::integrity(format!("the head of tenant {tenant} moved under its lock"))),
        }
    }
}
