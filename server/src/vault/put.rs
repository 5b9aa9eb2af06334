//! Writes of one object: begin, receive, publish.
//!
//! Nothing is visible before the one transaction that records it. What a failed upload left behind is condemned in its row and
//! swept later.

use std::sync::Arc;

use bytes::Bytes;
use strongroom_core::call::{Condition, PutItem, Work};
use strongroom_core::grant::{Action, Place, Refusal};
use strongroom_core::ids::{DatasetId, GrantId, Millis, PutId, TenantId};
use strongroom_core::keys::wrap::Wrapped;
use strongroom_core::names::{DatasetName, ObjectPath};
use strongroom_core::reason::Reason;
use strongroom_core::sealed::layout::Layout;

use crate::blobs::{Multipart, Upload};
use crate::error::Error;
use crate::failpoint;
use crate::recorder::attempt::{AcceptedCall, Attempt, Caller, NewObject, Put, Recorded};
use crate::tenants::Tenant;
use crate::vault::{Vault, standing};

/// What an upload announces before its first byte.
pub(crate) struct Intent {
    pub(crate) tenant: Arc<Tenant>,
    pub(crate) caller: Caller,
    pub(crate) grant: Option<GrantId>,
    pub(crate) put: PutId,
    pub(crate) dataset: DatasetName,
    pub(crate) path: ObjectPath,
    pub(crate) condition: Condition,
}

/// An upload under way: its row is open, its blob grows.
pub(crate) struct Receiving {
    intent: Intent,
    dataset: DatasetId,
    upload: Upload,
    received: u64,
    /// When its row last said that it is alive.
    touched: Millis,
}

/// Checks scope and condition, so that nobody uploads for nothing, and opens the upload's row.
pub(crate) async fn begin(vault: &Vault, intent: Intent) -> Result<Receiving, Error> {
    let Intent { tenant, caller, .. } = &intent;
    let place = Place { action: Action::Write, dataset: &intent.dataset, path: &intent.path };
    if let Err(error) = standing::check(vault, tenant, caller, intent.grant, &[place]).await {
        return Err(denied(vault, tenant, caller, error).await);
    }
    let dataset = dataset(vault, tenant, &intent.dataset).await?;
    let upload = vault.blobs.begin(&tenant.id).await?;
    let now = vault.recorder.now();
    failpoint::hit("upload.opening");
    vault.catalog.open_upload(&tenant.id, &intent.put, &caller.key, upload.name(), now).await?;
    failpoint::hit("upload.opened");
    Ok(Receiving { intent, dataset, upload, received: 0, touched: now })
}

impl Receiving {
    /// Takes the next bytes of header and segments.
    pub(crate) async fn receive(&mut self, vault: &Vault, data: Bytes) -> Result<(), Error> {
        self.received += data.len() as u64;
        // Sealing adds 60 bytes to 64 KiB: 1/512 is above that, and a header and one segment's worth is the least.
        let most = vault.limits.max_object + vault.limits.max_object / 512 + 1024;
        if self.received > most {
            return Err(too_large(vault));
        }
        self.touch(vault).await?;
        if let Some(Multipart(id)) = self.upload.write(data).await? {
            failpoint::hit("upload.parts");
            let now = vault.recorder.now();
            if !vault.catalog.note_multipart(self.upload.name(), &id, now).await? {
                return Err(idle());
            }
            self.touched = now;
        }
        Ok(())
    }

    /// Says from time to time that the upload is alive, so that it is not condemned for being slow.
    async fn touch(&mut self, vault: &Vault) -> Result<(), Error> {
        let now = vault.recorder.now();
        let due = u64::try_from(vault.limits.upload_idle.as_millis()).unwrap_or(u64::MAX) / 4;
        if now.0.saturating_sub(self.touched.0) < due {
            return Ok(());
        }
        self.touched = now;
        if vault.catalog.touch_upload(self.upload.name(), now).await? { Ok(()) } else { Err(idle()) }
    }

    /// Makes the blob durable, checks it against the signed call, and has the object recorded and made visible.
    pub(crate) async fn publish(self, vault: &Vault, call: Arc<AcceptedCall>, keys: &[u8]) -> Result<Recorded, Error> {
        let (tenant, name) = (self.intent.tenant.id, self.upload.name().to_owned());
        let published = self.try_publish(vault, call, keys).await;
        if published.is_err() {
            condemn(vault, &tenant, &name).await;
        }
        published
    }

    async fn try_publish(self, vault: &Vault, call: Arc<AcceptedCall>, keys: &[u8]) -> Result<Recorded, Error> {
        let Self { intent, dataset, upload, .. } = self;
        let item = only_item(&call, &intent)?.clone();
        if item.size > vault.limits.max_object {
            return Err(too_large(vault));
        }
        failpoint::hit("upload.received");
        let stored = upload.finish(item.size).await?;
        failpoint::hit("upload.durable");
        if stored.content.root != item.content_root || stored.content.header != item.header {
            return Err(Error::Integrity("the bytes received are not those that were signed".into()));
        }
        let version = vault.recorder.view(&intent.tenant).await?.authority.key_version();
        let wrapped = (version, vault.keys.accept(&call, &[dataset], keys, version).await?);
        let objects = new_objects(std::slice::from_ref(&item), &[dataset], wrapped, |_| (stored.blob.clone(), 0))?;
        let put = Put { call, objects, obstacle: None };
        Ok(vault.recorder.record(&intent.tenant, Attempt::Put(put)).await?)
    }

    /// Gives up: the blob is condemned.
    pub(crate) async fn abandon(self, vault: &Vault) {
        let name = self.upload.name().to_owned();
        self.upload.abort().await;
        condemn(vault, &self.intent.tenant.id, &name).await;
    }
}

fn idle() -> Error {
    Error::Unavailable("the upload was idle for too long".into())
}

fn only_item<'a>(call: &'a AcceptedCall, intent: &Intent) -> Result<&'a PutItem, Error> {
    let other = |what| Err(Error::Invalid(format!("the signed call has another {what} than the upload").into()));
    let Work::Put(items) = &call.signed.call.work else { return other("purpose") };
    let [item] = &items[..] else { return other("number of items") };
    if call.session.tenant.id != intent.tenant.id {
        return other("tenant");
    }
    if item.put != intent.put {
        return other("put id");
    }
    if item.dataset != intent.dataset || item.path != intent.path || item.condition != intent.condition {
        return other("path or condition");
    }
    if call.grant() != intent.grant {
        return other("grant");
    }
    if Layout::new(item.size).is_err() {
        return Err(Error::TooLarge("the object is larger than the format allows".into()));
    }
    Ok(item)
}

/// The refusal of an object over the limit.
pub(crate) fn too_large(vault: &Vault) -> Error {
    Error::TooLarge(format!("an object has at most {} bytes", vault.limits.max_object).into())
}

/// The rows-to-be of a call's items, with their roots, wrapped under a version of the tenant's key.
pub(crate) fn new_objects(
    items: &[PutItem],
    datasets: &[DatasetId],
    (key_version, wrapped): (u32, Vec<Wrapped>),
    place: impl Fn(usize) -> (String, u64),
) -> Result<Vec<NewObject>, Error> {
    if wrapped.len() != items.len() || datasets.len() != items.len() {
        return Err(Error::Integrity("the key holder answered for another number of objects".into()));
    }
    let objects = items.iter().zip(datasets).zip(wrapped).enumerate().map(|(at, ((item, dataset), wrapped))| {
        let (blob, offset) = place(at);
        NewObject {
            item: u32::try_from(at).unwrap_or(u32::MAX),
            put: item.put,
            dataset: *dataset,
            dataset_name: item.dataset.clone(),
            path: item.path.clone(),
            condition: item.condition,
            header: item.header,
            size: item.size,
            content_root: item.content_root,
            key_version,
            wrapped,
            blob,
            offset,
        }
    });
    Ok(objects.collect())
}

/// The id of a dataset that is there.
pub(crate) async fn dataset(vault: &Vault, tenant: &Arc<Tenant>, name: &DatasetName) -> Result<DatasetId, Error> {
    let authority = vault.recorder.view(tenant).await?.authority;
    if let Some(dataset) = authority.dataset(name) {
        return Ok(dataset.id);
    }
    let was = authority.datasets().get(name).is_some_and(|dataset| dataset.shredded.is_some());
    let refusal =
        if was { Refusal::shredded(name) } else { Refusal::new(Reason::NotFound, format!("no dataset {name}")) };
    Err(refusal.into())
}

/// Records a refusal of somebody known; returns it.
pub(crate) async fn denied(vault: &Vault, tenant: &Arc<Tenant>, caller: &Caller, error: Error) -> Error {
    if let Error::Refused(refusal) = &error {
        let denied = crate::recorder::attempt::Denied { caller: caller.clone(), call: None, refusal: refusal.clone() };
        if let Err(failed) = vault.recorder.record(tenant, Attempt::Denied(denied)).await {
            tracing::debug!(detail = %failed, "recorded the refusal");
        }
    }
    error
}

/// Condemns a blob that nobody will ever see.
pub(crate) async fn condemn(vault: &Vault, tenant: &TenantId, blob: &str) {
    if let Err(error) = vault.catalog.condemn(tenant, blob).await {
        tracing::warn!(detail = %error, "an upload could not be condemned; the time-out will");
    }
}
