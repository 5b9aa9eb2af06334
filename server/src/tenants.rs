//! The tenants of the vault, with what each one's ledger is marked with.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use strongroom_core::ed25519::SigningKey;
use strongroom_core::ids::{TenantId, VaultId};
use strongroom_core::keys::wrap::{Purpose, RootTuple};
use strongroom_core::ledger::LedgerKey;
use strongroom_core::ledger::checkpoint::VerifierKey;
use strongroom_core::names::TenantName;
use strongroom_core::origin::Origin;

use crate::catalog::Catalog;
use crate::catalog::tenants::TenantRow;
use crate::error::Error;
use crate::keys::KeyError;
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
    /// What signs its ledger's checkpoints.
    pub log_key: SigningKey,
}

impl Tenant {
    /// What others verify its checkpoints with.
    pub fn verifier(&self) -> VerifierKey {
        VerifierKey::new(&self.origin.to_string(), self.log_key.public_key())
    }
}

impl fmt::Debug for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tenant").field("id", &self.id).field("name", &self.name).finish_non_exhaustive()
    }
}

/// All tenants, each loaded when it is first asked for. They are made once and never change. Cheap to clone.
#[derive(Clone)]
pub struct Tenants {
    catalog: Catalog,
    root: Arc<dyn RootKey>,
    vault: VaultId,
    vault_name: Arc<str>,
    loaded: Arc<Mutex<HashMap<TenantName, Arc<Tenant>>>>,
}

impl Tenants {
    /// The tenants in this catalog.
    pub fn new(catalog: Catalog, root: Arc<dyn RootKey>, vault: VaultId, vault_name: String) -> Self {
        Self { catalog, root, vault, vault_name: vault_name.into(), loaded: Arc::default() }
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
        self.keep(row).await
    }

    /// The tenant of this id.
    ///
    /// # Errors
    /// As [`Tenants::find`].
    pub async fn by_id(&self, id: &TenantId) -> Result<Arc<Tenant>, Error> {
        let known = |loaded: &HashMap<_, Arc<Tenant>>| loaded.values().find(|tenant| tenant.id == *id).cloned();
        if let Some(tenant) = known(&self.loaded.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(tenant);
        }
        let row = self.catalog.tenant(id).await?.ok_or(Error::UnknownTenant)?;
        self.keep(row).await
    }

    async fn keep(&self, row: TenantRow) -> Result<Arc<Tenant>, Error> {
        let tenant = Arc::new(self.load(row).await?);
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(loaded.entry(tenant.name.clone()).or_insert(tenant).clone())
    }

    /// As if it had been loaded.
    #[cfg(test)]
    pub(crate) fn keep_as(&self, tenant: Arc<Tenant>) {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner).insert(tenant.name.clone(), tenant);
    }

    async fn load(&self, row: TenantRow) -> Result<Tenant, Error> {
        let tuple =
            |purpose| RootTuple { purpose, vault: self.vault, tenant: Some((row.id, row.name.as_str())), version: 1 };
        let key = self.root.unwrap(&tuple(Purpose::LedgerKey), &row.ledger_key).await?;
        let ledger_key = LedgerKey::new(&key);
        let log_key = self.root.unwrap(&tuple(Purpose::LogKey), &row.log_key).await?;
        let log_key = SigningKey::from_seed(log_key).map_err(KeyError::from)?;
        let origin = self.origin(row.id)?;
        Ok(Tenant { id: row.id, name: row.name, origin, ledger_key, log_key })
    }
}
