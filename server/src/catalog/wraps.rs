//! Where wrapped roots lie: in the rows of their objects, or, where an entry put many at once, apart and sixteen to a row.
//!
//! ```text
//! put of one object ──► objects.wrapped
//! put of many       ──► wraps: ordinals 0…15 │ 16…31 │ …     ──an object of a row expires──► objects.wrapped, for each of the row
//! ```
//!
//! A rotation rewrites every wrapped root that a tenant has. An object's row is some 400 bytes, and on PostgreSQL each version of it
//! takes three entries in indices; sixteen roots apart are one row of a kilobyte.
//!
//! Invariants:
//! - A row here has the roots of all objects of its ordinals that have not expired, under one version of the tenant's key. Where there is
//!   none, `objects.wrapped` and `objects.key_version` say how a root is wrapped.
//! - A row here is only ever changed as it was read, by its version, or ended ([`Tx::lift`]): so whoever wraps anew learns that an
//!   object expired meanwhile.

use std::collections::BTreeMap;

use sqlx::Row;
use strongroom_core::ids::TenantId;
use strongroom_core::keys::wrap::Wrapped;

use super::bulk::Bulk;
use super::{CatalogError, Tx, number};

/// Ordinals of one row.
pub(super) const SLOTS: u32 = 16;

/// Beside `objects o`: where its wrapped root lies, if it lies apart.
macro_rules! apart {
    () => {
        " LEFT JOIN wraps w ON w.tenant = o.tenant AND w.entry = o.entry AND w.chunk = o.ordinal / 16"
    };
}
pub(super) use apart;

/// Wrapped roots that lie apart, to be inserted at once.
#[derive(Default)]
pub(super) struct Apart(BTreeMap<(u64, u32), (u32, Vec<u8>)>);

impl Apart {
    /// Adds the root of the object of this entry and ordinal. All of an entry are under one version.
    pub(super) fn push(&mut self, entry: u64, ordinal: u32, version: u32, wrapped: &Wrapped) {
        let (_, bytes) = self.0.entry((entry, ordinal / SLOTS)).or_insert_with(|| (version, Vec::new()));
        let from = slot(ordinal);
        bytes.resize(bytes.len().max(from + Wrapped::LEN), 0);
        bytes[from..from + Wrapped::LEN].copy_from_slice(wrapped.as_bytes());
    }
}

/// Roots whose rows were ended. Whoever has them lays them down before the transaction ends, or they are lost.
#[must_use]
pub(super) struct Lifted(Bulk);

/// Where the root of an ordinal begins in its row's bytes.
pub(super) fn slot(ordinal: u32) -> usize {
    (ordinal % SLOTS) as usize * Wrapped::LEN
}

impl Tx {
    /// Inserts wrapped roots that lie apart.
    pub(super) async fn insert_apart(&mut self, tenant: &TenantId, apart: Apart) -> Result<(), CatalogError> {
        if apart.0.is_empty() {
            return Ok(());
        }
        let mut bulk = Bulk::with_capacity(apart.0.len() * (2 * SLOTS as usize * Wrapped::LEN + 40));
        for ((entry, chunk), (version, bytes)) in &apart.0 {
            bulk.row().number(*entry).number(u64::from(*chunk)).number(u64::from(*version)).bytes(bytes);
        }
        let sql = self.sql(
            "INSERT INTO wraps (tenant, entry, chunk, version, wrapped) \
             SELECT $2, CAST(j.value->>0 AS BIGINT), CAST(j.value->>1 AS BIGINT), CAST(j.value->>2 AS BIGINT), \
             unhex(j.value->>3) FROM jsonb_each($1) j",
        );
        sqlx::query(sql).bind(bulk.finish()).bind(&tenant.as_bytes()[..]).execute(self.connection()).await?;
        Ok(())
    }

    /// Ends rows: of each, tenant, entry and chunk. What they hold comes back, to be laid into the rows of its objects.
    pub(super) async fn lift(&mut self, chunks: Bulk) -> Result<Lifted, CatalogError> {
        let sql = self.sql(
            "DELETE FROM wraps WHERE (tenant, entry, chunk) IN (SELECT unhex(j.value->>0), CAST(j.value->>1 AS BIGINT), \
             CAST(j.value->>2 AS BIGINT) FROM jsonb_each($1) j) RETURNING tenant, entry, chunk, version, wrapped",
        );
        let rows = sqlx::query(sql).bind(chunks.finish()).fetch_all(self.connection()).await?;
        let mut bulk = Bulk::with_capacity(rows.len() * SLOTS as usize * (2 * Wrapped::LEN + 80));
        for row in &rows {
            let (tenant, wrapped): (&[u8], &[u8]) = (row.try_get(0)?, row.try_get(4)?);
            let (entry, chunk, version) = (number(row, 1)?, number(row, 2)?, number(row, 3)?);
            let first = chunk.saturating_mul(u64::from(SLOTS));
            for (ordinal, bytes) in (first..).zip(wrapped.chunks_exact(Wrapped::LEN)) {
                bulk.row().bytes(tenant).number(entry).number(ordinal).number(version).bytes(bytes);
            }
        }
        Ok(Lifted(bulk))
    }

    /// Lays roots into the rows of their objects, of those that have not expired.
    pub(super) async fn lay_down(&mut self, Lifted(bulk): Lifted) -> Result<(), CatalogError> {
        if bulk.rows() == 0 {
            return Ok(());
        }
        let sql = self.sql(
            "UPDATE objects SET key_version = CAST(j.value->>3 AS BIGINT), wrapped = unhex(j.value->>4) \
             FROM jsonb_each($1) j WHERE objects.tenant = unhex(j.value->>0) \
             AND objects.entry = CAST(j.value->>1 AS BIGINT) AND objects.ordinal = CAST(j.value->>2 AS BIGINT) \
             AND objects.key_version > 0",
        );
        sqlx::query(sql).bind(bulk.finish()).execute(self.connection()).await?;
        Ok(())
    }
}
