//! The tenants and their wrapped keys.

use sqlx::Row;
use sqlx::any::AnyRow;
use strongroom_core::ids::{Index, TenantId};
use strongroom_core::names::TenantName;

use super::{Catalog, CatalogError, Tx, id, number};

/// A tenant as it is kept. What it holds is wrapped by the root key for exactly this id and name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantRow {
    /// Its id.
    pub id: TenantId,
    /// Its name.
    pub name: TenantName,
    /// The wrapped key of its ledger's marks.
    pub ledger_key: Vec<u8>,
    /// The wrapped key that signs its checkpoints.
    pub log_key: Vec<u8>,
    /// That key's public half with the vault key's mark, if it was kept. Whoever makes another log key for the tenant keeps its half too.
    pub log_public: Option<Vec<u8>>,
}

/// A tenant to be: inserted in the transaction of its ledger's entry 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTenant {
    /// Its id, as its operator drew it.
    pub id: TenantId,
    /// Its name.
    pub name: TenantName,
    /// The wrapped key of its ledger's marks.
    pub ledger_key: Vec<u8>,
    /// The wrapped key that signs its checkpoints.
    pub log_key: Vec<u8>,
    /// Version 1 of its key, wrapped.
    pub tenant_key: Vec<u8>,
}

/// One version of a tenant's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantKeyRow {
    /// The version, from 1.
    pub version: u32,
    /// The key, wrapped by the root key.
    pub wrapped: Vec<u8>,
    /// Whether new objects are wrapped with it.
    pub active: bool,
}

impl Catalog {
    /// The tenant of this name.
    ///
    /// # Errors
    /// [`CatalogError`] if it cannot be read.
    pub async fn tenant_named(&self, name: &TenantName) -> Result<Option<TenantRow>, CatalogError> {
        let sql = self.sql("SELECT id, name, ledger_key, log_key, log_public FROM tenants WHERE name = $1");
        let row = sqlx::query(sql).bind(name.as_str()).fetch_optional(self.reader()).await?;
        row.as_ref().map(tenant).transpose()
    }

    /// The tenant of this id.
    ///
    /// # Errors
    /// [`CatalogError`] if it cannot be read.
    pub async fn tenant(&self, tenant_id: &TenantId) -> Result<Option<TenantRow>, CatalogError> {
        let sql = self.sql("SELECT id, name, ledger_key, log_key, log_public FROM tenants WHERE id = $1");
        let row = sqlx::query(sql).bind(&tenant_id.as_bytes()[..]).fetch_optional(self.reader()).await?;
        row.as_ref().map(tenant).transpose()
    }

    /// Tenants in the order of their names, those after `after`, each with the size of its ledger.
    ///
    /// # Errors
    /// [`CatalogError`] if they cannot be read.
    pub async fn list_tenants(
        &self,
        after: Option<&TenantName>,
        limit: u32,
    ) -> Result<Vec<(TenantRow, Index)>, CatalogError> {
        let sql = self.sql(
            "SELECT t.id, t.name, t.ledger_key, t.log_key, t.log_public, h.size FROM tenants t JOIN heads h ON h.tenant = t.id \
             WHERE t.name > $1 ORDER BY t.name LIMIT $2",
        );
        let after = after.map_or("", TenantName::as_str);
        let rows = sqlx::query(sql).bind(after).bind(i64::from(limit)).fetch_all(self.reader()).await?;
        rows.iter().map(|row| Ok((tenant(row)?, Index(number(row, 5)?)))).collect()
    }

    /// Keeps the public half of a tenant's log key, with its mark.
    pub(crate) async fn set_log_public(&self, tenant: &TenantId, bytes: &[u8]) -> Result<(), CatalogError> {
        let mut tx = self.begin().await?;
        let sql = tx.sql("UPDATE tenants SET log_public = $2 WHERE id = $1");
        sqlx::query(sql).bind(&tenant.as_bytes()[..]).bind(bytes).execute(tx.connection()).await?;
        tx.commit().await
    }

    /// All versions of a tenant's key, oldest first.
    ///
    /// # Errors
    /// [`CatalogError`] if they cannot be read.
    pub async fn tenant_keys(&self, tenant: &TenantId) -> Result<Vec<TenantKeyRow>, CatalogError> {
        let sql = self.sql("SELECT version, wrapped, active FROM tenant_keys WHERE tenant = $1 ORDER BY version");
        let rows = sqlx::query(sql).bind(&tenant.as_bytes()[..]).fetch_all(self.reader()).await?;
        let key = |row: &AnyRow| {
            let version = u32::try_from(number(row, 0)?).map_err(|_| CatalogError::integrity("a key's version"))?;
            Ok(TenantKeyRow { version, wrapped: row.try_get(1)?, active: number(row, 2)? != 0 })
        };
        rows.iter().map(key).collect()
    }
}

impl Tx {
    /// Whether a tenant has this id or this name.
    pub(crate) async fn tenant_exists(&mut self, tenant: &TenantId, name: &TenantName) -> Result<bool, CatalogError> {
        let sql = self.sql("SELECT id FROM tenants WHERE id = $1 OR name = $2");
        let query = sqlx::query(sql).bind(&tenant.as_bytes()[..]).bind(name.as_str());
        Ok(query.fetch_optional(self.connection()).await?.is_some())
    }

    /// Inserts a tenant with the first version of its key.
    pub(crate) async fn insert_tenant(&mut self, new: &NewTenant) -> Result<(), CatalogError> {
        let sql = self.sql("INSERT INTO tenants (id, name, ledger_key, log_key) VALUES ($1, $2, $3, $4)");
        let query = sqlx::query(sql).bind(&new.id.as_bytes()[..]).bind(new.name.as_str());
        query.bind(&new.ledger_key[..]).bind(&new.log_key[..]).execute(self.connection()).await?;
        let sql = self.sql("INSERT INTO tenant_keys (tenant, version, wrapped, active) VALUES ($1, 1, $2, 1)");
        let query = sqlx::query(sql).bind(&new.id.as_bytes()[..]).bind(&new.tenant_key[..]);
        query.execute(self.connection()).await?;
        Ok(())
    }
}

fn tenant(row: &AnyRow) -> Result<TenantRow, CatalogError> {
    let name: &str = row.try_get(1)?;
    let name = name.parse().map_err(|_| CatalogError::integrity("a tenant's row has a name that is none"))?;
    let id = TenantId::from_bytes(id(row, 0)?);
    Ok(TenantRow { id, name, ledger_key: row.try_get(2)?, log_key: row.try_get(3)?, log_public: row.try_get(4)? })
}
