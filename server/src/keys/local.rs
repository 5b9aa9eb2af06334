//! The key holder that is this process: it asks the root key for the tenants' keys and keeps sessions' secrets in memory.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use strongroom_core::call::{PutItem, Work};
use strongroom_core::escrow::EscrowedKey;
use strongroom_core::grant::Authority;
use strongroom_core::ids::{DatasetId, Index, SessionId, TenantId, VaultId};
use strongroom_core::keys::parcel::{Binding, KeyParcel, ParcelObject, SessionSecret, open_upload_keys};
use strongroom_core::keys::secret::{Key, scrubbed};
use strongroom_core::keys::wrap::{WrapTuple, Wrapped, rewrap, unwrap, wrap};
use strongroom_core::sealed::tree::{CoverKeys, ObjectRoot};
use tokio::time::Instant;

use super::cache::TenantKeys;
use super::recipients::Recipients;
use super::root::RootKey;
use super::{Escrowed, KeyError, KeyHolder, wrapped_for};
use crate::catalog::Catalog;
use crate::catalog::objects::ObjectRow;
use crate::recorder::attempt::{AcceptedCall, Recorded, ReleasePart, What};
use crate::tenants::Tenant;

/// The longest text of a recipient: an X25519 one has 62 bytes.
const MAX_RECIPIENT: usize = 128;

/// The key holder in this process.
pub struct LocalKeyHolder {
    keys: TenantKeys,
    recipients: Recipients,
    sessions: Mutex<HashMap<SessionId, Arc<SessionSecret>>>,
}

impl LocalKeyHolder {
    /// A key holder that keeps a tenant's unwrapped keys for `life` at most, and seals them to what `recipients` knows.
    ///
    /// Call it within a runtime: a task forgets keys whose time is over, also of tenants that nobody asks for, and ends with
    /// the key holder.
    pub fn start(
        catalog: Catalog,
        root: Arc<dyn RootKey>,
        vault: VaultId,
        life: Duration,
        recipients: Recipients,
    ) -> Arc<LocalKeyHolder> {
        let keys = TenantKeys::new(catalog, root, vault, life);
        let holder = Arc::new(LocalKeyHolder { keys, recipients, sessions: Mutex::default() });
        let weak = Arc::downgrade(&holder);
        // What nobody asks for stays for a quarter longer than its time, at most.
        let pause = (life / 4).clamp(Duration::from_secs(1), Duration::from_secs(60));
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(pause).await;
                let Some(holder) = weak.upgrade() else { return };
                holder.keys.forget_expired(Instant::now());
            }
        });
        holder
    }

    /// How many secrets of sessions, and how many unwrapped keys of tenants it holds.
    pub(crate) fn held(&self) -> (usize, usize) {
        (self.lock().len(), self.keys.held())
    }

    fn secret(&self, session: &SessionId) -> Result<Arc<SessionSecret>, KeyError> {
        self.lock().get(session).cloned().ok_or(KeyError::SessionUnknown)
    }

    /// Seals the keys of these parts to the session of the call, under the index of the entry that records them.
    async fn seal_parts(&self, call: &AcceptedCall, parts: &[ReleasePart], index: Index) -> Result<Vec<u8>, KeyError> {
        let session = &call.session;
        let secret = self.secret(&session.id)?;
        let binding = Binding { session: session.id, call: call.digest, index: index.0 };
        let tenant = &session.tenant;
        let (anew, keys) = match self.versions_of(tenant, parts).await {
            // A read can outlive the version that its rows were under when it was planned.
            Err(KeyError::NoTenantKey { .. }) => {
                let anew = self.read_anew(tenant, parts).await?;
                let keys = self.versions_of(tenant, &anew).await?;
                (Some(anew), keys)
            }
            keys => (None, keys?),
        };
        let parts = anew.as_deref().unwrap_or(parts);
        scrubbed(|| seal_covers(tenant.id, &keys, parts, &secret, &binding))
    }

    /// The tenant's keys that these parts are under.
    async fn versions_of(&self, tenant: &Tenant, parts: &[ReleasePart]) -> Result<HashMap<u32, Arc<Key>>, KeyError> {
        self.versions(tenant, parts.iter().map(|part| part.object.key_version).collect()).await
    }

    /// The same parts, each with its object's row as it is now: how a key is wrapped may change, what it opens does not.
    async fn read_anew(&self, tenant: &Tenant, parts: &[ReleasePart]) -> Result<Vec<ReleasePart>, KeyError> {
        let ids: Vec<_> = parts.iter().map(|part| part.object.header.object_id()).collect();
        let found = self.keys.rows(tenant, &ids).await?;
        let anew = |(part, found): (&ReleasePart, Option<ObjectRow>)| {
            let version = part.object.key_version;
            let row = found.ok_or(KeyError::NoTenantKey { tenant: tenant.id, version })?;
            let object = ObjectRow { key_version: row.key_version, wrapped: row.wrapped, ..(*part.object).clone() };
            Ok(ReleasePart { object: Arc::new(object), ..part.clone() })
        };
        parts.iter().zip(found).map(anew).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<SessionId, Arc<SessionSecret>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The keys of all these versions.
    async fn versions(&self, tenant: &Tenant, versions: BTreeSet<u32>) -> Result<HashMap<u32, Arc<Key>>, KeyError> {
        let mut keys = HashMap::with_capacity(versions.len());
        for version in versions {
            keys.insert(version, self.keys.version(tenant, version).await?);
        }
        Ok(keys)
    }
}

impl KeyHolder for LocalKeyHolder {
    fn open_session<'a>(&'a self, session: SessionId, recipient: &'a str) -> BoxFuture<'a, Result<Vec<u8>, KeyError>> {
        Box::pin(async move {
            let recipient = Some(recipient).filter(|text| text.len() <= MAX_RECIPIENT);
            let recipient = recipient.and_then(|text| text.parse::<age::x25519::Recipient>().ok());
            let recipient = recipient.ok_or(KeyError::Recipient)?;
            let (secret, message) = scrubbed(|| {
                let secret = Arc::new(SessionSecret::random()?);
                let message = age::encrypt(&recipient, secret.expose()).map_err(|_| KeyError::Recipient)?;
                Ok::<_, KeyError>((secret, message))
            })?;
            let mut sessions = self.lock();
            if sessions.contains_key(&session) {
                return Err(KeyError::SessionTaken);
            }
            sessions.insert(session, secret);
            Ok(message)
        })
    }

    fn close_sessions(&self, sessions: &[SessionId]) {
        let mut open = self.lock();
        sessions.iter().for_each(|session| drop(open.remove(session)));
    }

    fn accept<'a>(
        &'a self,
        call: &'a AcceptedCall,
        datasets: &'a [DatasetId],
        sealed_keys: &'a [u8],
        version: u32,
    ) -> BoxFuture<'a, Result<Vec<Wrapped>, KeyError>> {
        Box::pin(async move {
            let Work::Put(items) = &call.signed.call.work else {
                return Err(KeyError::Misuse("the call is not one to put"));
            };
            if datasets.len() != items.len() {
                return Err(KeyError::Misuse("each item of a put has a dataset"));
            }
            let session = &call.session;
            let secret = self.secret(&session.id)?;
            // Before the upload's keys are opened: what waits may go on on another thread, and leave them on the stack of this one.
            let tenant_key = self.keys.version(&session.tenant, version).await?;
            scrubbed(|| {
                let object_keys = open_upload_keys(&secret, &session.id, &call.digest, items.len(), sealed_keys)
                    .map_err(KeyError::UploadKeys)?;
                let wrapped = items.iter().zip(datasets).zip(&object_keys).map(|((item, dataset), object_key)| {
                    let row = row_of_item(session.tenant.id, version, *dataset, item);
                    let root = ObjectRoot::derive(object_key, &item.header);
                    Ok(wrap(&tenant_key, &row, &root)?)
                });
                wrapped.collect()
            })
        })
    }

    fn seal_cover<'a>(&'a self, recorded: &'a Recorded) -> BoxFuture<'a, Result<Vec<u8>, KeyError>> {
        Box::pin(async move {
            match recorded.what() {
                What::Release { call, parts, .. } => self.seal_parts(call, parts, recorded.index()).await,
                _ => Err(KeyError::Misuse("the entry is not one of a release")),
            }
        })
    }

    fn escrow<'a>(
        &'a self,
        tenant: &'a Tenant,
        authority: &'a Authority,
        version: u32,
        to: &'a [String],
    ) -> BoxFuture<'a, Result<Escrowed, KeyError>> {
        Box::pin(async move {
            let mut sealed = Vec::new();
            for recipient in authority.escrow().iter().filter(|recipient| to.contains(recipient)) {
                // Asked for anew: a plugin takes its time, and a key is not held for it beyond its own.
                let key = self.keys.version(tenant, version).await?;
                let vault = tenant.origin.vault();
                let plain =
                    scrubbed(|| EscrowedKey { vault, tenant: tenant.id, version, key: key.duplicate() }.encode());
                drop(key);
                sealed.push((recipient.clone(), self.recipients.seal(recipient, plain).await));
            }
            Ok(sealed)
        })
    }

    fn rewrap<'a>(
        &'a self,
        tenant: &'a Tenant,
        rows: &'a [(WrapTuple<'a>, Wrapped)],
        to: u32,
    ) -> BoxFuture<'a, Result<Vec<Option<Wrapped>>, KeyError>> {
        Box::pin(async move {
            if rows.iter().any(|(row, _)| row.tenant != tenant.id) {
                return Err(KeyError::Misuse("a row is another tenant's"));
            }
            let versions: BTreeSet<u32> = rows.iter().map(|(row, _)| row.key_version).collect();
            let mut keys = Vec::with_capacity(versions.len());
            for version in versions {
                match self.keys.version(tenant, version).await {
                    Ok(key) => keys.push((version, key)),
                    // Its rows are told as not to be opened.
                    Err(KeyError::NoTenantKey { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            let new = self.keys.version(tenant, to).await?;
            let keys: Vec<(u32, &Key)> = keys.iter().map(|(version, key)| (*version, &**key)).collect();
            Ok(scrubbed(|| rewrap(&keys, (to, &new), rows))?)
        })
    }
}

/// The row that a put authorises: from the signed item, and the dataset that its name stands for.
fn row_of_item(tenant: TenantId, key_version: u32, dataset: DatasetId, item: &PutItem) -> WrapTuple<'_> {
    WrapTuple {
        tenant,
        key_version,
        dataset,
        dataset_name: item.dataset.as_str(),
        path: item.path.as_str(),
        header: item.header,
        size: item.size,
        content_root: item.content_root,
    }
}

/// The keys of recorded parts, each out of its object's root, as one parcel for a session.
fn seal_covers(
    tenant: TenantId,
    keys: &HashMap<u32, Arc<Key>>,
    parts: &[ReleasePart],
    secret: &SessionSecret,
    binding: &Binding,
) -> Result<Vec<u8>, KeyError> {
    let object = |part: &ReleasePart| {
        let version = part.object.key_version;
        parcel_object(tenant, keys.get(&version).ok_or(KeyError::NoTenantKey { tenant, version })?, part)
    };
    let objects = parts.iter().map(object).collect::<Result<_, _>>()?;
    KeyParcel { objects }.seal(secret, binding).map_err(KeyError::Parcel)
}

/// The keys of a recorded part: its root opens only if the row is the one that was authorised.
fn parcel_object(tenant: TenantId, tenant_key: &Key, part: &ReleasePart) -> Result<ParcelObject, KeyError> {
    let object = &part.object;
    let root = unwrap(tenant_key, &wrapped_for(tenant, object), &object.wrapped)?;
    Ok(ParcelObject {
        item: part.item,
        path: object.path.as_str().to_owned(),
        generation: object.generation,
        size: object.size,
        header: object.header,
        content_root: object.content_root,
        keys: CoverKeys::derive(&root, part.range),
    })
}

#[cfg(test)]
mod tests;
