//! Checkpoints and proofs, for whoever asks; and a log's files, for whoever keeps a copy.
//!
//! A proof is computed from the tiles and checked here before it leaves: what does not hold was changed in the object store, and
//! stops the tenant.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use strongroom_core::grant::Refusal;
use strongroom_core::ids::{Digest, Index};
use strongroom_core::ledger::checkpoint::Checkpoint;
use strongroom_core::ledger::proof::{
    Lacking, TileHashes, check_consistency, check_inclusion, consistency, inclusion, root,
};
use strongroom_core::ledger::tile::{Kind, Tile};
use strongroom_core::ledger::tree::leaf_hash;
use strongroom_core::reason::Reason;
use tokio::time::{Instant, sleep};

use super::ledger::Stop;
use super::{RecordError, Recorder};
use crate::blobs::BlobError;
use crate::tenants::Tenant;

/// How long a checkpoint is waited for.
const WAIT: Duration = Duration::from_secs(10);
/// How often it is looked whether there is one: another node may make it.
const LOOK: Duration = Duration::from_millis(50);

/// A checkpoint, with its note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// What it says.
    pub checkpoint: Checkpoint,
    /// The signed note.
    pub note: Vec<u8>,
}

/// An entry that is under a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Included {
    /// The checkpoint.
    pub signed: Signed,
    /// The entry's public bytes.
    pub public: Vec<u8>,
    /// The proof.
    pub proof: Vec<Digest>,
}

impl Recorder {
    /// The newest checkpoint, once it covers `cover` entries.
    ///
    /// # Errors
    /// [`RecordError::Unavailable`] if none does within ten seconds; else as [`Recorder::view`].
    pub async fn checkpoint(&self, tenant: &Arc<Tenant>, cover: Index) -> Result<Signed, RecordError> {
        let until = Instant::now() + WAIT;
        loop {
            self.check_running(&tenant.id)?;
            let row = self.catalog().checkpoint(&tenant.id).await.map_err(RecordError::of_catalog)?;
            if let Some(row) = row.filter(|row| row.size >= cover) {
                let checkpoint = self.inner.opened(tenant, &row).await?;
                return Ok(Signed { checkpoint, note: row.note });
            }
            if Instant::now() > until {
                let words = format!("no checkpoint covers {cover} entries yet: the object store may be out of reach");
                return Err(RecordError::Unavailable(words));
            }
            sleep(LOOK).await;
        }
    }

    /// The proof that an entry is under the newest checkpoint.
    ///
    /// # Errors
    /// [`RecordError::Refused`] if the ledger has no such entry; else as [`Recorder::checkpoint`].
    pub async fn inclusion(&self, tenant: &Arc<Tenant>, index: Index) -> Result<Included, RecordError> {
        let none = || not_found(format!("the ledger has no entry {index}"));
        let next = Index(index.0.checked_add(1).ok_or_else(none)?);
        let found = self.public_history(tenant, index, next).await?;
        let public = found.into_iter().next().ok_or_else(none)?;
        let signed = self.checkpoint(tenant, next).await?;
        let (size, top) = (signed.checkpoint.size.0, signed.checkpoint.root);
        let proof = self.out_of_tiles(tenant, size, |hashes| inclusion(hashes, index.0, size)).await?;
        if check_inclusion(leaf_hash(&public), index.0, size, &top, &proof).is_err() {
            return Err(self.changed(tenant, format!("entry {index} is not the one under the checkpoint of {size}")));
        }
        Ok(Included { signed, public: public.to_vec(), proof })
    }

    /// The proof that the newest checkpoint continues the ledger as it was at `size`.
    ///
    /// # Errors
    /// [`RecordError::Refused`] if the ledger has not come as far; else as [`Recorder::checkpoint`].
    pub async fn consistency(&self, tenant: &Arc<Tenant>, size: Index) -> Result<(Signed, Vec<Digest>), RecordError> {
        let has = self.view(tenant).await?.head.size();
        if size > has {
            return Err(not_found(format!("the ledger has {has} entries, not {size}")));
        }
        let signed = self.checkpoint(tenant, size).await?;
        let (old, new, top) = (size.0, signed.checkpoint.size.0, signed.checkpoint.root);
        let old_root = self.out_of_tiles(tenant, new, |hashes| root(hashes, old)).await?;
        let proof = self.out_of_tiles(tenant, new, |hashes| consistency(hashes, old, new)).await?;
        if check_consistency((old, &old_root), (new, &top), &proof).is_err() {
            return Err(self.changed(tenant, format!("the tiles do not come to the checkpoint of {new} entries")));
        }
        Ok((signed, proof))
    }

    /// Holds the ledger against a checkpoint that it signed, and that somebody shows.
    ///
    /// # Errors
    /// [`RecordError::Diverged`] if the ledger is behind or apart from it: the tenant is stopped then. Else as
    /// [`Recorder::checkpoint`].
    pub async fn check_shown(&self, tenant: &Arc<Tenant>, shown: &Checkpoint) -> Result<(), RecordError> {
        let mut has = self.view(tenant).await?.head.size();
        if shown.size > has {
            // Another node may be ahead of this one.
            has = self.load(tenant).await?.head.size();
        }
        let stop = |why: String| Err(self.inner.ledger(&tenant.id).stop(&tenant.id, Stop::Diverged(why)));
        let size = shown.size;
        if size > has {
            return stop(format!("a witness shows a signed checkpoint of {size} entries, and the ledger has {has}"));
        }
        let newest = self.checkpoint(tenant, size).await?.checkpoint.size;
        let found = self.out_of_tiles(tenant, newest.0, |hashes| root(hashes, size.0)).await?;
        match found == shown.root {
            true => Ok(()),
            false => stop(format!("a witness shows another signed checkpoint of {size} entries: it was rewritten")),
        }
    }

    /// A file of the log.
    ///
    /// # Errors
    /// [`RecordError::Refused`] if no checkpoint needs it. One that the newest checkpoint needs and that is missing, or was changed as
    /// far as that shows by itself or by the tile beside it, stops the tenant.
    pub async fn log_file(&self, tenant: &Arc<Tenant>, tile: Tile) -> Result<Bytes, RecordError> {
        self.check_running(&tenant.id)?;
        let why = match self.fitting(tenant, tile).await {
            Ok(Ok(bytes)) => return Ok(bytes),
            Ok(Err(misfit)) => misfit,
            Err(error @ (BlobError::Missing(_) | BlobError::Altered(_))) => error.to_string(),
            Err(error) => return Err(RecordError::Unavailable(error.to_string())),
        };
        let newest = self.checkpoint(tenant, Index(0)).await?.checkpoint.size.0;
        let needed = Tile::of(tile.kind(), tile.index(), newest);
        match needed.is_some_and(|needed| needed == tile || needed.is_full()) {
            true => Err(self.changed(tenant, why)),
            false => Err(not_found(format!("no checkpoint needs {tile}"))),
        }
    }

    /// A file; of a bundle, whose hashes stand in the tile beside it, what is wrong if it is not of these.
    async fn fitting(&self, tenant: &Tenant, tile: Tile) -> Result<Result<Bytes, String>, BlobError> {
        let shelf = &self.inner.shelf;
        if tile.kind() != Kind::Entries {
            return shelf.file(tenant, tile).await.map(Ok);
        }
        let beside = tile.beside(Kind::Hashes(0));
        let (bytes, hashes) = tokio::try_join!(shelf.file(tenant, tile), shelf.file(tenant, beside))?;
        let fits = match (tile.parts(&bytes), beside.hashes(&hashes)) {
            (Ok(entries), Ok(hashes)) => entries.iter().zip(&hashes).all(|(entry, hash)| leaf_hash(entry) == *hash),
            _ => false,
        };
        Ok(if fits { Ok(bytes) } else { Err(format!("{tile} does not hold the entries whose hashes are in {beside}")) })
    }

    /// Computes something from the tiles of a log.
    async fn out_of_tiles<T>(
        &self,
        tenant: &Arc<Tenant>,
        size: u64,
        work: impl Fn(&TileHashes) -> Result<T, Lacking>,
    ) -> Result<T, RecordError> {
        let found = self.inner.shelf.out_of_tiles(tenant, &mut TileHashes::new(size), work).await;
        found.map_err(|unread| self.inner.unread(tenant, unread))
    }

    fn changed(&self, tenant: &Tenant, why: String) -> RecordError {
        self.inner.ledger(&tenant.id).stop(&tenant.id, Stop::Integrity(format!("the log's files: {why}")))
    }
}

fn not_found(words: String) -> RecordError {
    RecordError::Refused { refusal: Refusal::new(Reason::NotFound, words), index: None }
}
