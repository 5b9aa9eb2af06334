//! The tenants' keys, unwrapped: for a bounded time, so that a process that rests holds few.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use strongroom_core::ids::{TenantId, VaultId};
use strongroom_core::keys::secret::Key;
use strongroom_core::keys::wrap::{Purpose, RootTuple};
use tokio::time::Instant;

use super::KeyError;
use super::root::RootKey;
use crate::catalog::Catalog;
use crate::tenants::Tenant;

/// Tenant keys as they are needed: from the cache, else from the catalog and the root key.
pub(super) struct TenantKeys {
    catalog: Catalog,
    root: Arc<dyn RootKey>,
    vault: VaultId,
    life: Duration,
    cached: Mutex<HashMap<TenantId, Cached>>,
}

/// What is known of one tenant, until its time is over. It is never prolonged: a busy tenant's keys are read anew too, which
/// is also how this node learns of a version that another one made active.
struct Cached {
    until: Instant,
    active: u32,
    keys: HashMap<u32, Arc<Key>>,
}

impl TenantKeys {
    pub(super) fn new(catalog: Catalog, root: Arc<dyn RootKey>, vault: VaultId, life: Duration) -> Self {
        Self { catalog, root, vault, life, cached: Mutex::default() }
    }

    /// The key of this version.
    pub(super) async fn version(&self, tenant: &Tenant, version: u32) -> Result<Arc<Key>, KeyError> {
        Ok(self.find(tenant, Some(version)).await?.1)
    }

    /// The active key, with its version.
    pub(super) async fn active(&self, tenant: &Tenant) -> Result<(u32, Arc<Key>), KeyError> {
        self.find(tenant, None).await
    }

    /// Forgets what has had its time.
    pub(super) fn forget_expired(&self, now: Instant) {
        self.lock().retain(|_, cached| now < cached.until);
    }

    async fn find(&self, tenant: &Tenant, wanted: Option<u32>) -> Result<(u32, Arc<Key>), KeyError> {
        match self.cached(tenant.id, wanted, Instant::now()) {
            Some(found) => Ok(found),
            None => self.load(tenant, wanted).await,
        }
    }

    fn cached(&self, tenant: TenantId, wanted: Option<u32>, now: Instant) -> Option<(u32, Arc<Key>)> {
        let mut all = self.lock();
        if all.get(&tenant).is_some_and(|cached| cached.until <= now) {
            all.remove(&tenant);
        }
        let cached = all.get(&tenant)?;
        let version = wanted.unwrap_or(cached.active);
        Some((version, cached.keys.get(&version)?.clone()))
    }

    async fn load(&self, tenant: &Tenant, wanted: Option<u32>) -> Result<(u32, Arc<Key>), KeyError> {
        let until = Instant::now() + self.life;
        let rows = self.catalog.tenant_keys(&tenant.id).await?;
        let none = |version| KeyError::NoTenantKey { tenant: tenant.id, version };
        let active = rows.iter().filter(|row| row.active).map(|row| row.version).max();
        let active = active.ok_or_else(|| none(0))?;
        let version = wanted.unwrap_or(active);
        let row = rows.iter().find(|row| row.version == version).ok_or_else(|| none(version))?;
        let place = RootTuple {
            purpose: Purpose::TenantKey,
            vault: self.vault,
            tenant: Some((tenant.id, tenant.name.as_str())),
            version,
        };
        let key = Arc::new(self.root.unwrap(&place, &row.wrapped).await?);
        let mut all = self.lock();
        let cached = all.entry(tenant.id).or_insert_with(|| Cached { until, active, keys: HashMap::new() });
        cached.active = active;
        cached.keys.insert(version, key.clone());
        Ok((version, key))
    }

    /// As if it had been loaded.
    #[cfg(test)]
    pub(super) fn learn(&self, tenant: &Tenant, version: u32, key: Key) {
        let until = Instant::now() + self.life;
        let mut all = self.lock();
        let cached = all.entry(tenant.id).or_insert_with(|| Cached { until, active: 1, keys: HashMap::new() });
        cached.keys.insert(version, Arc::new(key));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<TenantId, Cached>> {
        self.cached.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
