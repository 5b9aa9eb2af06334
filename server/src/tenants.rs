//! The tenants of the vault, with what each one's ledger is marked with.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use strongroom_core::ids::{TenantId, VaultId};
use strongroom_core::keys::wrap::{Purpose, RootTuple};
use strongroom_core::ledger::LedgerKey;
use strongroom_core::names::TenantName;
use strongroom_core::origin::Origin;

use crate::catalog::Catalog;
use crate::catalog::tenants::TenantRow;
use crate::error::Error;
use crate::keys::root::RootKey;

/// A tenant.
pub struct Tenant {
    /// Its id.
    pub id: TenantId,
    /// Its name.
    pub name: TenantName,
    /// Its ledger's origin.
    pub origin: Origin,
    /// Its ledger's HMAC key.
    pub ledger_key: LedgerKey,
}

impl fmt::Debug for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tenant").field("id", &self.id).field("name", &self.name).finish_non_exhaustive()
    }
}

/// All tenants, each loaded when it is first asked for. They are made once and never change.
pub struct Tenants {
    catalog: Catalog,
    root: Arc<dyn RootKey>,
    vault: VaultId,
    vault_name: String,
    loaded: Mutex<HashMap<TenantName, Arc<Tenant>>>,
}

impl Tenants {
    /// The tenants in this catalog.
    pub fn new(catalog: Catalog, root: Arc<dyn RootKey>, vault: VaultId, vault_name: String) -> Self {
        Self { catalog, root, vault, vault_name, loaded: Mutex::default() }
    }

    /// The origin of a tenant's ledger.
    ///
    /// # Errors
    /// [`Error::Setup`] if the vault's name in the configuration breaks the grammar.
    pub fn origin(&self, tenant: TenantId) -> Result<Origin, Error> {
        Origin::new(&self.vault_name, self.vault, tenant).map_err(|error| Error::Setup(error.to_string()))
    }

    /// The tenant of this name.
    ///
    /// # Errors
    /// [`Error::UnknownTenant`] if there is none; [`Error::Integrity`] if its row was changed.
    pub async fn find(&self, name: &TenantName) -> Result<Arc<Tenant>, Error> {
        if let Some(tenant) = self.loaded.lock().unwrap_or_else(PoisonError::into_inner).get(name) {
            return Ok(tenant.clone());
        }
        let row = self.catalog.tenant_named(name).await?.ok_or(Error::UnknownTenant)?;
        let tenant = Arc::new(self.load(row).await?);
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(loaded.entry(name.clone()).or_insert(tenant).clone())
    }

    async fn load(&self, row: TenantRow) -> Result<Tenant, Error> {
        let tuple = RootTuple {
            purpose: Purpose::LedgerKey,
            vault: self.vault,
            tenant: Some((row.id, row.name.as_str())),
            version: 1,
        };
        let key = self.root.unwrap(&tuple, &row.ledger_key).await?;
        let origin = self.origin(row.id)?;
        Ok(Tenant { id: row.id, name: row.name, origin, ledger_key: LedgerKey::new(&key) })
    }
}
