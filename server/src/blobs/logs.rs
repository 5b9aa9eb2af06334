//! The ledgers' files, in the object store: tiles, bundles, private parts and a copy of the newest checkpoint.
//!
//! ```text
//! ledgers/<tenant id>/checkpoint
//! ledgers/<tenant id>/tile/…            as strongroom_core::ledger::tile names them
//! ledgers/<tenant id>/private/…         sealed, by whoever puts them
//! ```
//!
//! What `ledgers/<tenant id>/` holds is a log as C2SP's tlog-tiles wants it served. Any number of nodes may write the same tiles: a
//! tile is put where nothing is, and where something is it must be the same, byte by byte. The checkpoint alone is replaced, and
//! only by a larger one.

use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, StreamExt};
use object_store::path::Path;
use object_store::{Error as StoreError, GetResult, ObjectStore, ObjectStoreExt, PutMode, PutPayload, UpdateVersion};
use strongroom_core::ids::TenantId;
use strongroom_core::ledger::checkpoint::MAX_NOTE;
use strongroom_core::ledger::tile::{Tile, WIDTH};
use strongroom_core::ledger::verify::CHECKPOINT;

use super::{BlobError, Blobs, Place, bucket};

/// What sealing may add to a file.
const SEALED: u64 = 64;

/// The logs of all tenants. Cheap to clone.
#[derive(Clone)]
pub struct Logs {
    store: Arc<dyn ObjectStore>,
    place: Place,
}

impl Blobs {
    /// The ledgers' files in the same store.
    pub fn logs(&self) -> Logs {
        Logs { store: self.store.clone(), place: self.place.clone() }
    }
}

impl Logs {
    /// Whether writing is cheap: a disk.
    pub(crate) fn is_near(&self) -> bool {
        matches!(self.place, Place::Disk(_))
    }

    /// A tile's bytes; none if it is not there.
    ///
    /// # Errors
    /// If it is longer than any such tile, or the store fails.
    pub(crate) async fn tile(&self, tenant: &TenantId, tile: Tile) -> Result<Option<Bytes>, BlobError> {
        self.read(&name(tenant, &tile.to_string()), tile.most() + SEALED).await
    }

    /// Puts a tile. When this returns it is durable.
    ///
    /// # Errors
    /// [`BlobError::Exists`] if another one is there; [`BlobError::Full`], or if the store fails.
    pub(crate) async fn put_tile(&self, tenant: &TenantId, tile: Tile, bytes: Bytes) -> Result<(), BlobError> {
        let name = name(tenant, &tile.to_string());
        match &self.place {
            Place::Disk(disk) => disk.clone().put_new(name, bytes).await,
            Place::Bucket(bucket) => bucket.put(&Path::from(name), vec![bytes]).await,
        }
    }

    /// Drops the partial forms of a tile that is full now. A bucket is not asked for a list: each may be there.
    ///
    /// # Errors
    /// If the store fails.
    pub(crate) async fn drop_partials(&self, tenant: &TenantId, full: Tile) -> Result<(), BlobError> {
        match &self.place {
            Place::Disk(disk) => disk.clone().remove_folder(name(tenant, &full.partials())).await,
            Place::Bucket(_) => {
                let partial = |width| Tile::new(full.kind(), full.index(), width);
                let names = (1..WIDTH).filter_map(partial).map(|tile| Ok(Path::from(name(tenant, &tile.to_string()))));
                let mut deleted = self.store.delete_stream(stream::iter(names.collect::<Vec<_>>()).boxed());
                while let Some(deleted) = deleted.next().await {
                    match deleted {
                        Ok(_) | Err(StoreError::NotFound { .. }) => {}
                        Err(error) => return Err(bucket::failed("delete", error)),
                    }
                }
                Ok(())
            }
        }
    }

    /// The copy of the newest checkpoint; none before the first.
    ///
    /// # Errors
    /// If the store fails.
    pub(crate) async fn checkpoint(&self, tenant: &TenantId) -> Result<Option<Bytes>, BlobError> {
        self.read(&name(tenant, CHECKPOINT), MAX_NOTE as u64).await
    }

    /// Replaces the copy of the newest checkpoint, if `replaces` says so of the one that is there. Between asking and writing
    /// nobody else replaces it.
    ///
    /// # Errors
    /// If the store fails.
    pub(crate) async fn put_checkpoint(
        &self,
        tenant: &TenantId,
        note: Bytes,
        replaces: impl Fn(&[u8]) -> bool + Send + 'static,
    ) -> Result<(), BlobError> {
        let name = name(tenant, CHECKPOINT);
        match &self.place {
            Place::Disk(disk) => disk.clone().replace(name, note, replaces).await,
            Place::Bucket(_) => {
                let path = Path::from(name.as_str());
                let (mode, there) = match self.store.get(&path).await {
                    Ok(found) => {
                        let version =
                            UpdateVersion { e_tag: found.meta.e_tag.clone(), version: found.meta.version.clone() };
                        (PutMode::Update(version), Some(bounded(&name, found, MAX_NOTE as u64).await?))
                    }
                    Err(StoreError::NotFound { .. }) => (PutMode::Create, None),
                    Err(error) => return Err(bucket::failed("read", error)),
                };
                if there.is_some_and(|there| !replaces(&there)) {
                    return Ok(());
                }
                let payload = PutPayload::from(note);
                match self.store.put_opts(&path, payload.clone(), mode.into()).await {
                    // Another node was first; its next look tells whether something is left to do.
                    Ok(_) | Err(StoreError::Precondition { .. } | StoreError::AlreadyExists { .. }) => Ok(()),
                    // A store that cannot say "only this one": an older copy may come back for a while, which harms nobody.
                    Err(StoreError::NotImplemented { .. } | StoreError::NotSupported { .. }) => {
                        let put = self.store.put(&path, payload).await;
                        put.map(|_| ()).map_err(|error| bucket::failed("write", error))
                    }
                    Err(error) => Err(bucket::failed("write", error)),
                }
            }
        }
    }

    async fn read(&self, name: &str, most: u64) -> Result<Option<Bytes>, BlobError> {
        match self.store.get(&Path::from(name)).await {
            Ok(found) => bounded(name, found, most).await.map(Some),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(BlobError::unavailable("read", error)),
        }
    }
}

async fn bounded(name: &str, found: GetResult, most: u64) -> Result<Bytes, BlobError> {
    if found.meta.size > most {
        return Err(BlobError::Altered(name.to_owned()));
    }
    found.bytes().await.map_err(|error| BlobError::unavailable("read", error))
}

fn name(tenant: &TenantId, file: &str) -> String {
    format!("ledgers/{tenant}/{file}")
}
