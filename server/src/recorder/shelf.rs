//! A ledger's files as they lie in the object store.
//!
//! What is public lies there as it is. Private parts hold paths, addresses and words, and whoever reads a bucket must not learn
//! them: they lie sealed, under a key that comes from the tenant's ledger key, for the place that they are of. An export has them
//! open.

use std::sync::Arc;

use bytes::Bytes;
use strongroom_core::keys::secret::{open_box, seal_box};
use strongroom_core::ledger::tile::{Kind, Tile};

use super::Inner;
use crate::blobs::BlobError;
use crate::tenants::Tenant;

impl Inner {
    /// Puts a file. When this returns it is durable.
    ///
    /// # Errors
    /// [`BlobError::Exists`] if another one is there.
    pub(super) async fn put_file(&self, tenant: &Arc<Tenant>, tile: Tile, bytes: Vec<u8>) -> Result<(), BlobError> {
        if tile.kind() != Kind::Private {
            return self.logs.put_tile(&tenant.id, tile, bytes.into()).await;
        }
        let sealed = seal_box(&tenant.ledger_key.private_parts(), &place(tenant, tile), &bytes)?;
        match self.logs.put_tile(&tenant.id, tile, sealed.into()).await {
            // Sealed anew it is never the same: what is in it is.
            Err(BlobError::Exists(name)) => match self.exact_file(tenant, tile).await? {
                Some(there) if there == bytes => Ok(()),
                _ => Err(BlobError::Exists(name)),
            },
            put => put,
        }
    }

    /// A file's bytes, out of the full one if the partial one was dropped.
    ///
    /// # Errors
    /// [`BlobError::Missing`] if neither is there; [`BlobError::Altered`] if it is not what was put.
    pub(super) async fn file(&self, tenant: &Arc<Tenant>, tile: Tile) -> Result<Bytes, BlobError> {
        if let Some(bytes) = self.exact_file(tenant, tile).await? {
            return Ok(bytes);
        }
        let wider = if tile.is_full() { None } else { self.exact_file(tenant, tile.full()).await? };
        let wider = wider.ok_or_else(|| BlobError::Missing(tile.to_string()))?;
        let end = tile.cut(&wider).map_err(|_| BlobError::Altered(tile.full().to_string()))?.len();
        Ok(wider.slice(..end))
    }

    async fn exact_file(&self, tenant: &Arc<Tenant>, tile: Tile) -> Result<Option<Bytes>, BlobError> {
        let Some(bytes) = self.logs.tile(&tenant.id, tile).await? else { return Ok(None) };
        if tile.kind() != Kind::Private {
            return Ok(Some(bytes));
        }
        let opened = open_box(&tenant.ledger_key.private_parts(), &place(tenant, tile), &bytes);
        let mut opened = opened.ok_or_else(|| BlobError::Altered(tile.to_string()))?;
        Ok(Some(std::mem::take(&mut *opened).into()))
    }
}

/// What a sealed file is bound to.
fn place(tenant: &Tenant, tile: Tile) -> Vec<u8> {
    [&b"strongroom/v1/private-parts"[..], tenant.id.as_bytes(), tile.to_string().as_bytes()].concat()
}
