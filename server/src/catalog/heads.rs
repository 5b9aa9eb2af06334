//! The heads of the ledgers: what the next entry must fit to.

use sqlx::Row;
use sqlx::any::AnyRow;
use strongroom_core::ids::{Digest, Index, TenantId};
use strongroom_core::ledger::{Head, LedgerKey};

use super::above::{Above, entries_above};
use super::bulk::Bulk;
use super::dialect::Dialect;
use super::{AuthorityRow, Boundary, Catalog, CatalogError, Tx, id, number, signed};

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

/// A head whose lock is had.
pub(crate) struct LockedHead {
    pub(crate) head: Head,
    /// The lowest entry that stands above it: none, unless somebody else wrote one.
    pub(crate) above: Option<Above>,
}

/// A ledger as of one moment, and what it has come to since it had some size.
pub(crate) struct Since {
    /// The head.
    pub(crate) head: Head,
    /// Its root when it had that size.
    pub(crate) boundary: Boundary,
    /// The authority log from there on.
    pub(crate) authority: Vec<AuthorityRow>,
}

impl Catalog {
    /// The heads of these tenants, unchecked.
    pub(crate) async fn heads(&self, tenants: &[TenantId]) -> Result<Vec<(TenantId, Vec<u8>, Vec<u8>)>, CatalogError> {
        let mut bulk = Bulk::with_capacity(tenants.len() * 40);
        tenants.iter().for_each(|tenant| {
            bulk.row().bytes(tenant.as_bytes());
        });
        let sql = self.sql(
            "SELECT h.tenant, h.head, h.mac FROM jsonb_each($1) j CROSS JOIN heads h ON h.tenant = unhex(j.value->>0)",
        );
        let rows = sqlx::query(sql).bind(bulk.finish()).fetch_all(self.reader()).await?;
        rows.iter().map(|row| Ok((TenantId::from_bytes(id(row, 0)?), row.try_get(1)?, row.try_get(2)?))).collect()
    }

    /// What a ledger has come to since it had `size`; none before entry 0. One statement: all of one moment.
    pub(crate) async fn since(
        &self,
        tenant: &TenantId,
        key: &LedgerKey,
        size: Index,
    ) -> Result<Option<Since>, CatalogError> {
        let sql = self.sql(
            "SELECT h.head, h.mac, b.size, b.first, b.tip, a.entry, a.public, a.signed FROM heads h \
             LEFT JOIN batches b ON b.tenant = h.tenant AND b.size = \
             (SELECT min(n.size) FROM batches n WHERE n.tenant = h.tenant AND n.size >= $2) \
             LEFT JOIN authority a ON a.tenant = h.tenant AND a.entry >= $2 WHERE h.tenant = $1 ORDER BY a.entry",
        );
        let query = sqlx::query(sql).bind(&tenant.as_bytes()[..]).bind(signed(size.0));
        let rows = query.fetch_all(self.reader()).await?;
        let Some(first) = rows.first() else { return Ok(None) };
        let head = HeadRow { head: first.try_get(0)?, mac: first.try_get(1)? }.check(tenant, key)?;
        let boundary = match first.try_get::<Option<i64>, _>(2)? {
            Some(_) => {
                let (ends, begins) = (Index(number(first, 2)?), Index(number(first, 3)?));
                Boundary::of(size, ends, begins, Digest::from_bytes(id(first, 4)?))
            }
            None => Boundary::None,
        };
        let mut authority = Vec::new();
        for row in &rows {
            if row.try_get::<Option<i64>, _>(5)?.is_some() {
                let entry = Index(number(row, 5)?);
                authority.push(AuthorityRow { entry, public: row.try_get(6)?, signed: row.try_get(7)? });
            }
        }
        Ok(Some(Since { head, boundary, authority }))
    }
}

impl Tx {
    /// The head of a tenant's ledger, locked, its mark checked; none before entry 0.
    ///
    /// Whoever has the head's lock knows what became of every commit to this ledger before: none of them is under way. Many heads
    /// are locked in the order of their tenants' ids, or two nodes would wait for each other.
    pub(crate) async fn head(
        &mut self,
        tenant: &TenantId,
        key: &LedgerKey,
    ) -> Result<Option<LockedHead>, CatalogError> {
        // PostgreSQL, where it waited for the lock, looks above the newest head for what it saw before: never too much.
        const LOCKED: &str = concat!(
            "SELECT h.head, h.mac, h.size, ",
            entries_above!(),
            " FROM heads h WHERE h.tenant = $1 /*postgres FOR UPDATE*/"
        );
        let mut row =
            sqlx::query(self.sql(LOCKED)).bind(&tenant.as_bytes()[..]).fetch_optional(self.connection()).await?;
        if row.is_none() && self.catalog.0.dialect == Dialect::Postgres {
            // No row to lock: a lock of its name instead, so that a tenant is made once.
            let mut name = [0; 8];
            name.copy_from_slice(&tenant.as_bytes()[8..]);
            let sql = self.sql("SELECT 1 FROM pg_advisory_xact_lock($1)");
            sqlx::query(sql).bind(i64::from_be_bytes(name)).execute(self.connection()).await?;
            row = sqlx::query(self.sql(LOCKED)).bind(&tenant.as_bytes()[..]).fetch_optional(self.connection()).await?;
        }
        let locked = |row: AnyRow| {
            let head = HeadRow { head: row.try_get(0)?, mac: row.try_get(1)? }.check(tenant, key)?;
            // The column is what rows are compared with, and carries no mark.
            match number(&row, 2)? == head.size().0 {
                true => Ok(LockedHead { head, above: Above::of_entries(&row, 3)? }),
                false => Err(CatalogError::integrity(format!("the head of tenant {tenant} is not of its row's size"))),
            }
        };
        row.map(locked).transpose()
    }
}
