//! The tenants' keys, unwrapped: for a bounded time, so that a process that rests holds few.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use strongroom_core::ids::{ObjectId, TenantId, VaultId};
use strongroom_core::keys::secret::Key;
use strongroom_core::keys::wrap::{Purpose, RootTuple};
use tokio::time::Instant;

use super::KeyError;
use super::root::RootKey;
use crate::catalog::Catalog;
use crate::catalog::objects::ObjectRow;
use crate::tenants::Tenant;

/// Tenant keys as they are needed: from the cache, else from the catalog and the root key.
pub(super) struct TenantKeys {
    catalog: Catalog,
    root: Arc<dyn RootKey>,
    vault: VaultId,
    life: Duration,
    cached: Mutex<HashMap<TenantId, Cached>>,
    /// Who asks the root key for a tenant's key asks alone, so that whoever waits is answered by the first: it may be a network away.
    /// Tenants share a few of these, with when a question failed, and why.
    asking: [tokio::sync::Mutex<Option<(Instant, String)>>; 16],
}

/// What is known of one tenant, until its time is over. It is never prolonged: a busy tenant's keys are read anew too, which
/// is also how this node forgets a version that another one destroyed.
struct Cached {
    until: Instant,
    keys: HashMap<u32, Arc<Key>>,
}

impl TenantKeys {
    pub(super) fn new(catalog: Catalog, root: Arc<dyn RootKey>, vault: VaultId, life: Duration) -> Self {
        Self { catalog, root, vault, life, cached: Mutex::default(), asking: Default::default() }
    }

    /// The key of this version.
    pub(super) async fn version(&self, tenant: &Tenant, version: u32) -> Result<Arc<Key>, KeyError> {
        match self.cached(tenant.id, version, Instant::now()) {
            Some(found) => Ok(found),
            None => self.ask(tenant, version).await,
        }
    }

    /// Asks the root key, unless somebody else just did: then theirs is the answer, also if there was none.
    async fn ask(&self, tenant: &Tenant, version: u32) -> Result<Arc<Key>, KeyError> {
        let begun = Instant::now();
        let turn = usize::from(tenant.id.as_bytes()[15]) % self.asking.len();
        let mut failed = self.asking[turn].lock().await;
        if let Some(found) = self.cached(tenant.id, version, Instant::now()) {
            return Ok(found);
        }
        // A provider that is out of reach takes its time to say so. Those who waited for that need not do so each in turn.
        if let Some((_, why)) = failed.as_ref().filter(|(at, _)| *at >= begun) {
            return Err(KeyError::Root(why.clone()));
        }
        let loaded = self.load(tenant, version).await;
        *failed = match &loaded {
            Err(KeyError::Root(why)) => Some((Instant::now(), why.clone())),
            _ => None,
        };
        loaded
    }

    /// The rows of these objects as they are now, in their order.
    pub(super) async fn rows(&self, tenant: &Tenant, ids: &[ObjectId]) -> Result<Vec<Option<ObjectRow>>, KeyError> {
        let (found, _) = self.catalog.objects_by_id(&tenant.id, &tenant.ledger_key, ids).await?;
        Ok(found.into_iter().map(|found| found.map(|found| found.object)).collect())
    }

    /// How many it holds.
    pub(super) fn held(&self) -> usize {
        self.lock().values().map(|cached| cached.keys.len()).sum()
    }

    /// Forgets what has had its time.
    pub(super) fn forget_expired(&self, now: Instant) {
        self.lock().retain(|_, cached| now < cached.until);
    }

    fn cached(&self, tenant: TenantId, version: u32, now: Instant) -> Option<Arc<Key>> {
        let mut all = self.lock();
        if all.get(&tenant).is_some_and(|cached| cached.until <= now) {
            all.remove(&tenant);
        }
        all.get(&tenant)?.keys.get(&version).cloned()
    }

    async fn load(&self, tenant: &Tenant, version: u32) -> Result<Arc<Key>, KeyError> {
        let until = Instant::now() + self.life;
        let rows = self.catalog.tenant_keys(&tenant.id).await?;
        // A version that was destroyed is an empty row.
        let row = rows.iter().find(|row| row.version == version && !row.wrapped.is_empty());
        let row = row.ok_or(KeyError::NoTenantKey { tenant: tenant.id, version })?;
        let place = RootTuple {
            purpose: Purpose::TenantKey,
            vault: self.vault,
            tenant: Some((tenant.id, tenant.name.as_str())),
            version,
        };
        let key = Arc::<Key>::from(self.root.unwrap(&place, &row.wrapped).await?);
        let mut all = self.lock();
        let cached = all.entry(tenant.id).or_insert_with(|| Cached { until, keys: HashMap::new() });
        cached.keys.insert(version, key.clone());
        Ok(key)
    }

    /// As if it had been loaded.
    #[cfg(test)]
    pub(super) fn learn(&self, tenant: &Tenant, version: u32, key: Key) {
        let until = Instant::now() + self.life;
        let mut all = self.lock();
        let cached = all.entry(tenant.id).or_insert_with(|| Cached { until, keys: HashMap::new() });
        cached.keys.insert(version, Arc::new(key));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<TenantId, Cached>> {
        self.cached.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
