//! Versions of tenants' keys, sealed to the tenants' own recipients, and pages of what is exported with them.
//!
//! What is to be sealed to whom says the authority, not a row. `escrows_due` only says that something changed since it was last
//! looked at: the entry of the newest order that did.

use sqlx::Row;
use strongroom_core::ids::{Index, TenantId};
use strongroom_core::ledger::LedgerKey;

use super::objects::{ObjectRow, columns, object};
use super::wraps::apart;
use super::{Catalog, CatalogError, Tx, number, signed};

/// A sealed version: the version, the recipient, the message.
pub(crate) type Sealed = (u32, String, Vec<u8>);

impl Tx {
    /// Notes that what is sealed may no longer be what the authority says, as of an entry.
    pub(crate) async fn escrow_due(&mut self, tenant: &TenantId, entry: Index) -> Result<(), CatalogError> {
        let sql = self.sql(
            "INSERT INTO escrows_due (tenant, entry) VALUES ($1, $2) \
             ON CONFLICT (tenant) DO UPDATE SET entry = excluded.entry",
        );
        sqlx::query(sql).bind(&tenant.as_bytes()[..]).bind(signed(entry.0)).execute(self.connection()).await?;
        Ok(())
    }
}

impl Catalog {
    /// The tenants whose sealed versions are to be looked at, with the entry that says so.
    pub(crate) async fn escrows_due(&self) -> Result<Vec<(TenantId, Index)>, CatalogError> {
        let sql = self.sql("SELECT tenant, entry FROM escrows_due");
        let rows = sqlx::query(sql).fetch_all(self.reader()).await?;
        rows.iter().map(|row| Ok((TenantId::from_bytes(super::id(row, 0)?), Index(number(row, 1)?)))).collect()
    }

    /// Whether a tenant's sealed versions are what the authority says, as far as is known.
    pub(crate) async fn is_escrow_due(&self, tenant: &TenantId) -> Result<bool, CatalogError> {
        let sql = self.sql("SELECT entry FROM escrows_due WHERE tenant = $1");
        let row = sqlx::query(sql).bind(&tenant.as_bytes()[..]).fetch_optional(self.reader()).await?;
        Ok(row.is_some())
    }

    /// All sealed versions of a tenant's key, by version and recipient.
    pub(crate) async fn escrows(&self, tenant: &TenantId) -> Result<Vec<Sealed>, CatalogError> {
        let sql =
            self.sql("SELECT version, recipient, message FROM escrows WHERE tenant = $1 ORDER BY version, recipient");
        let rows = sqlx::query(sql).bind(&tenant.as_bytes()[..]).fetch_all(self.reader()).await?;
        let sealed = |row: &sqlx::any::AnyRow| -> Result<Sealed, CatalogError> {
            let version = u32::try_from(number(row, 0)?).map_err(|_| CatalogError::integrity("a version"))?;
            Ok((version, row.try_get(1)?, row.try_get(2)?))
        };
        rows.iter().map(sealed).collect()
    }

    /// Takes sealed versions out and puts others in; if that is all, what was due as of `entry` is done.
    pub(crate) async fn set_escrows(
        &self,
        tenant: &TenantId,
        entry: Index,
        out: &[(u32, String)],
        sealed: &[Sealed],
        all: bool,
    ) -> Result<(), CatalogError> {
        let mut tx = self.begin().await?;
        if !out.is_empty() {
            tx.overwrite(true).await?;
        }
        for (version, recipient) in out {
            let sql = tx.sql("DELETE FROM escrows WHERE tenant = $1 AND version = $2 AND recipient = $3");
            let query = sqlx::query(sql).bind(&tenant.as_bytes()[..]).bind(i64::from(*version)).bind(&recipient[..]);
            query.execute(tx.connection()).await?;
        }
        for (version, recipient, message) in sealed {
            let sql = tx.sql(
                "INSERT INTO escrows (tenant, version, recipient, message) VALUES ($1, $2, $3, $4) \
                 ON CONFLICT (tenant, version, recipient) DO UPDATE SET message = excluded.message",
            );
            let query = sqlx::query(sql).bind(&tenant.as_bytes()[..]).bind(i64::from(*version)).bind(&recipient[..]);
            query.bind(&message[..]).execute(tx.connection()).await?;
        }
        if all {
            let sql = tx.sql("DELETE FROM escrows_due WHERE tenant = $1 AND entry = $2");
            sqlx::query(sql).bind(&tenant.as_bytes()[..]).bind(signed(entry.0)).execute(tx.connection()).await?;
        }
        if !out.is_empty() {
            tx.overwrite(false).await?;
        }
        tx.commit().await
    }

    /// Objects that can be opened, in the order in which they were put: up to `limit` of those after `after`, each with whether it is
    /// what its path stands for.
    ///
    /// # Errors
    /// [`CatalogError::Integrity`] names the first one that does not carry its mark.
    pub(crate) async fn export_page(
        &self,
        tenant: &TenantId,
        key: &LedgerKey,
        after: Option<(Index, u32)>,
        limit: u32,
    ) -> Result<Vec<(ObjectRow, bool)>, CatalogError> {
        let sql = self.sql(concat!(
            "SELECT CAST(CASE WHEN EXISTS (SELECT 1 FROM paths p WHERE p.dataset = o.dataset AND p.path = o.path \
             AND p.entry = o.entry AND p.ordinal = o.ordinal) THEN 1 ELSE 0 END AS BIGINT), ",
            columns!(),
            " FROM objects o",
            apart!(),
            " WHERE o.tenant = $1 AND (o.entry, o.ordinal) > ($2, $3) AND o.key_version > 0 \
             ORDER BY o.entry, o.ordinal LIMIT $4"
        ));
        let (index, ordinal) = after.map_or((-1, -1), |(index, ordinal)| (signed(index.0), i64::from(ordinal)));
        let query = sqlx::query(sql).bind(&tenant.as_bytes()[..]).bind(index).bind(ordinal).bind(i64::from(limit));
        let rows = query.fetch_all(self.reader()).await?;
        rows.iter().map(|row| Ok((object(row, 1, key)?, number(row, 0)? == 1))).collect()
    }
}
