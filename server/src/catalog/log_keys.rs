//! The keys that sign ledgers' checkpoints, after the first of each.

use sqlx::Row;
use strongroom_core::exact;
use strongroom_core::ids::{Index, TenantId};
use strongroom_core::ledger::log_keys::{LogKeyChange, MAX_LOG_KEYS};

use super::{Catalog, CatalogError, Tx, number, signed};

/// A log key as it is kept. What its change says is signed by the key before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogKeyRow {
    pub(crate) version: u32,
    /// The entry that put it in its place.
    pub(crate) entry: Index,
    pub(crate) change: LogKeyChange,
    /// Wrapped by the root key.
    pub(crate) wrapped: Vec<u8>,
}

impl Catalog {
    /// The log keys of a ledger after its first, oldest first.
    pub(crate) async fn log_keys(&self, tenant: &TenantId) -> Result<Vec<LogKeyRow>, CatalogError> {
        let sql = self
            .sql("SELECT version, entry, change, wrapped FROM log_keys WHERE tenant = $1 ORDER BY version LIMIT $2");
        let query = sqlx::query(sql).bind(&tenant.as_bytes()[..]).bind(signed(MAX_LOG_KEYS as u64));
        let rows = query.fetch_all(self.reader()).await?;
        let row = |row: &sqlx::any::AnyRow| {
            let broken = || CatalogError::integrity("the row of a log key holds something else");
            Ok(LogKeyRow {
                version: u32::try_from(number(row, 0)?).map_err(|_| broken())?,
                entry: Index(number(row, 1)?),
                change: exact::from_slice(row.try_get(2)?).map_err(|_| broken())?,
                wrapped: row.try_get(3)?,
            })
        };
        rows.iter().map(row).collect()
    }
}

impl Tx {
    /// Keeps a log key, in the transaction of the entry that puts it in its place.
    pub(crate) async fn insert_log_key(&mut self, tenant: &TenantId, row: &LogKeyRow) -> Result<(), CatalogError> {
        let change = exact::to_vec(&row.change).map_err(|error| CatalogError::integrity(error.to_string()))?;
        let sql =
            self.sql("INSERT INTO log_keys (tenant, version, entry, change, wrapped) VALUES ($1, $2, $3, $4, $5)");
        let query = sqlx::query(sql).bind(&tenant.as_bytes()[..]).bind(i64::from(row.version));
        let query = query.bind(signed(row.entry.0)).bind(change).bind(row.wrapped.clone());
        query.execute(self.connection()).await?;
        Ok(())
    }
}
