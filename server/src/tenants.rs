//! The tenants of the vault, with what each one's ledger is marked with.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use strongroom_core::ed25519::SigningKey;
use strongroom_core::ids::{TenantId, VaultId};
use strongroom_core::keys::secret::{Key, scrub_stack};
use strongroom_core::keys::wrap::{Purpose, RootTuple};
use strongroom_core::ledger::LedgerKey;
use strongroom_core::ledger::checkpoint::{Checkpoint, VerifierKey};
use strongroom_core::ledger::log_keys::LogKeys;
use strongroom_core::names::TenantName;
use strongroom_core::origin::Origin;

use crate::catalog::tenants::TenantRow;
use crate::catalog::{Catalog, LogKeyRow};
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
    /// What signs its ledger's checkpoints, from the first.
    pub log_key: SigningKey,
    /// The keys that signed them later.
    pub later: LaterKeys,
}

/// The keys that signed a ledger's checkpoints after the first, as far as they are known here: they only become more.
#[derive(Default)]
pub struct LaterKeys {
    /// None before they were read.
    keys: RwLock<Option<LogKeys>>,
    secrets: Mutex<HashMap<[u8; 32], Arc<SigningKey>>>,
}

impl Tenant {
    /// What others verify its checkpoints with, from the first.
    pub fn verifier(&self) -> VerifierKey {
        VerifierKey::new(&self.origin.to_string(), self.log_key.public_key())
    }

    /// All that others verify its checkpoints with, as far as it is known here.
    pub fn log_keys(&self) -> LogKeys {
        let known = self.later.keys.read().unwrap_or_else(PoisonError::into_inner).clone();
        known.unwrap_or_else(|| LogKeys::new(self.origin.clone(), self.log_key.public_key()))
    }

    /// Takes in the keys that the catalog has.
    ///
    /// # Errors
    /// [`Error::Integrity`] if one of them is not signed by the one before it.
    pub(crate) fn learn(&self, rows: &[LogKeyRow]) -> Result<(), Error> {
        let mut keys = LogKeys::new(self.origin.clone(), self.log_key.public_key());
        for row in rows {
            let broken = |error| Error::Integrity(format!("the log keys of tenant {}: {error}", self.id).into());
            keys.push(row.entry, row.change).map_err(broken)?;
        }
        let mut known = self.later.keys.write().unwrap_or_else(PoisonError::into_inner);
        if known.as_ref().is_none_or(|known| keys.later().len() > known.later().len()) {
            *known = Some(keys);
        }
        Ok(())
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
        let log_key = SigningKey::from_seed(*log_key).map_err(KeyError::from)?;
        scrub_stack();
        let origin = self.origin(row.id)?;
        let tenant = Tenant { id: row.id, name: row.name, origin, ledger_key, log_key, later: LaterKeys::default() };
        tenant.learn(&self.catalog.log_keys(&row.id).await?)?;
        Ok(tenant)
    }

    /// All keys of a tenant's log, as the catalog has them.
    ///
    /// # Errors
    /// [`Error::Integrity`] if one of them is not signed by the one before it.
    pub async fn log_keys(&self, tenant: &Tenant) -> Result<LogKeys, Error> {
        tenant.learn(&self.catalog.log_keys(&tenant.id).await?)?;
        Ok(tenant.log_keys())
    }

    /// The lines of a tenant's log keys after the first, as the catalog has them: whoever has the first checks them.
    ///
    /// # Errors
    /// [`Error::Integrity`] if they are no chain.
    pub async fn later_lines(&self, tenant: TenantId) -> Result<Vec<String>, Error> {
        let rows = self.catalog.log_keys(&tenant).await?;
        let Some(first) = rows.first() else { return Ok(Vec::new()) };
        let mut keys = LogKeys::new(self.origin(tenant)?, first.change.from);
        for row in &rows {
            keys.push(row.entry, row.change).map_err(|error| Error::Integrity(error.to_string().into()))?;
        }
        Ok(keys.lines().skip(1).collect())
    }

    /// The key that signs for this one of a tenant's log keys.
    ///
    /// # Errors
    /// [`Error::Integrity`] if it is none of them, or does not open.
    pub async fn signer(&self, tenant: &Tenant, key: &VerifierKey) -> Result<Arc<SigningKey>, Error> {
        let public = *key.key().as_bytes();
        if let Some(known) = tenant.later.secrets.lock().unwrap_or_else(PoisonError::into_inner).get(&public) {
            return Ok(known.clone());
        }
        let secret = if public == *tenant.log_key.public_key().as_bytes() {
            Key::from_bytes(*tenant.log_key.seed().expose())
        } else {
            let rows = self.catalog.log_keys(&tenant.id).await?;
            let row = rows.into_iter().find(|row| *row.change.to.as_bytes() == public);
            let row = row.ok_or_else(|| Error::Integrity("the log's key is not in the catalog".into()))?;
            let named = Some((tenant.id, tenant.name.as_str()));
            let place = RootTuple { purpose: Purpose::LogKey, vault: self.vault, tenant: named, version: row.version };
            *self.root.unwrap(&place, &row.wrapped).await?
        };
        let signer = Arc::new(SigningKey::from_seed(secret).map_err(KeyError::from)?);
        if *signer.public_key().as_bytes() != public {
            return Err(Error::Integrity("the log's key is another than its ledger names".into()));
        }
        tenant.later.secrets.lock().unwrap_or_else(PoisonError::into_inner).insert(public, signer.clone());
        Ok(signer)
    }

    /// Signs a checkpoint of a tenant's log, by the key of its size. Whoever read a head before this has the keys up to it.
    ///
    /// # Errors
    /// As [`Tenants::signer`].
    pub async fn sign(&self, tenant: &Tenant, checkpoint: &Checkpoint) -> Result<String, Error> {
        let keys = self.log_keys(tenant).await?;
        let signer = self.signer(tenant, &keys.signer(checkpoint.size)).await?;
        Ok(checkpoint.sign(&signer))
    }
}
