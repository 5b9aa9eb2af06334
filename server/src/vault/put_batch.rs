//! Writes of many small objects: one call, one pack, one transaction.

use std::sync::Arc;

use bytes::Bytes;
use strongroom_core::call::{PutItem, Work};
use strongroom_core::grant::{Action, Place};
use strongroom_core::ids::DatasetId;
use strongroom_core::sealed::content::ContentHasher;
use strongroom_core::sealed::{HEADER_LEN, SEGMENT_OVERHEAD, SEGMENT_SIZE};

use crate::error::Error;
use crate::failpoint;
use crate::recorder::attempt::{AcceptedCall, Attempt, Put, Recorded};
use crate::vault::put::{condemn, dataset, denied, new_objects, too_large};
use crate::vault::{Vault, standing};

/// Checks every object against the signed call, stores them as a pack, and has them recorded and made visible.
pub(crate) async fn put_batch(
    vault: &Vault,
    call: Arc<AcceptedCall>,
    keys: &[u8],
    objects: Bytes,
) -> Result<Recorded, Error> {
    let Work::Put(items) = &call.signed.call.work else {
        return Err(Error::Invalid("the call is not one to put".into()));
    };
    let tenant = call.session.tenant.clone();
    let places: Vec<Place<'_>> =
        items.iter().map(|item| Place { action: Action::Write, dataset: &item.dataset, path: &item.path }).collect();
    if let Err(error) = standing::check(vault, &tenant, &call.caller, call.grant(), &places).await {
        return Err(denied(vault, &tenant, &call.caller, error).await);
    }
    if items.iter().any(|item| item.size > vault.limits.max_object) {
        return Err(too_large(vault));
    }
    let offsets = check_objects(items, &objects)?;
    let datasets = datasets(vault, &call, items).await?;
    let version = vault.recorder.view(&tenant).await?.authority.key_version();
    let wrapped = vault.keys.accept(&call, &datasets, keys, version).await?;
    let first = items.first().ok_or(Error::Invalid("a batch has items".into()))?.put;
    let blob = vault.blobs.pack_name(&tenant.id)?;
    failpoint::hit("upload.opening");
    vault.catalog.open_upload(&tenant.id, &first, &call.caller.key, &blob, vault.recorder.now()).await?;
    failpoint::hit("upload.opened");
    let published = async {
        vault.blobs.put_pack(&blob, objects).await?;
        failpoint::hit("upload.durable");
        let objects = new_objects(items, &datasets, (version, wrapped), |at| (blob.clone(), offsets[at]))?;
        let put = Put { call: call.clone(), objects, obstacle: None };
        Ok::<_, Error>(vault.recorder.record(&tenant, Attempt::Put(put)).await?)
    };
    let published = published.await;
    if published.is_err() {
        condemn(vault, &tenant.id, &blob).await;
    }
    published
}

/// Checks headers and content roots; returns where each object begins.
fn check_objects(items: &[PutItem], objects: &[u8]) -> Result<Vec<u64>, Error> {
    let mut offsets = Vec::with_capacity(items.len());
    let mut at = 0;
    for item in items {
        if item.size > SEGMENT_SIZE as u64 {
            return Err(Error::TooLarge("a batch holds objects of one segment; put larger ones alone".into()));
        }
        let length = HEADER_LEN + SEGMENT_OVERHEAD + item.size as usize;
        let object = objects.get(at..at + length);
        let object = object.ok_or(Error::Invalid("the batch has fewer bytes than its items".into()))?;
        let mut hasher = ContentHasher::new();
        hasher.update(object);
        let content = hasher.finish(item.size).map_err(|error| Error::Integrity(error.to_string().into()))?;
        if content.root != item.content_root || content.header != item.header {
            return Err(Error::Integrity("the bytes received are not those that were signed".into()));
        }
        offsets.push(at as u64);
        at += length;
    }
    if at == objects.len() {
        Ok(offsets)
    } else {
        Err(Error::Invalid("the batch has more bytes than its items".into()))
    }
}

async fn datasets(vault: &Vault, call: &AcceptedCall, items: &[PutItem]) -> Result<Vec<DatasetId>, Error> {
    let mut ids = Vec::with_capacity(items.len());
    let mut last: Option<(&strongroom_core::names::DatasetName, DatasetId)> = None;
    for item in items {
        let id = match last {
            Some((name, id)) if *name == item.dataset => id,
            _ => dataset(vault, &call.session.tenant, &item.dataset).await?,
        };
        last = Some((&item.dataset, id));
        ids.push(id);
    }
    Ok(ids)
}
