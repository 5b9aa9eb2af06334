//! A ledger's files as they lie in the object store, and entries read out of them.
//!
//! What is public lies there as it is. Private parts hold paths, addresses and words, and whoever reads a bucket must not learn
//! them: they lie sealed, under a key that comes from the tenant's ledger key, for the place that they are of. An export has them
//! open.
//!
//! Whoever can write the bucket can write anything there. So nothing that is read is believed before it was found under a signed
//! checkpoint: entries by their hashes and the tree above them, private parts by what their entries say.

use std::ops::Range;
#[cfg(test)]
use std::sync::Arc;

use bytes::Bytes;
use strongroom_core::ids::{Digest, Index};
use strongroom_core::keys::secret::{NONCE_LEN, open_box_in_place, seal_box_in_place};
use strongroom_core::ledger::checkpoint::Checkpoint;
use strongroom_core::ledger::proof::{
    BundleTree, Lacking, TileHashes, above, check_consistency, check_inclusion, consistency, root,
};
use strongroom_core::ledger::tile::{Kind, Tile, WIDTH, is_private_part};
use strongroom_core::ledger::tree::leaf_hash;

use crate::blobs::{BlobError, Logs};
use crate::tenants::Tenant;

/// The ledgers' files. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Shelf {
    logs: Logs,
    /// How many bundles were read out of it.
    #[cfg(test)]
    pub(super) bundles_read: Arc<std::sync::atomic::AtomicU64>,
}

/// Why something was not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unread {
    /// The store cannot be reached now.
    #[error("{0}")]
    Later(BlobError),
    /// A file is missing, or is not what was written there.
    #[error("{0}")]
    Changed(String),
}

impl From<BlobError> for Unread {
    fn from(error: BlobError) -> Self {
        match error {
            BlobError::Exists(_) | BlobError::Altered(_) | BlobError::Missing(_) => Self::Changed(error.to_string()),
            other => Self::Later(other),
        }
    }
}

/// A full bundle that was found under a checkpoint: the bytes of 256 entries, and those of their private parts if they were asked
/// for, empty where one was erased.
pub(crate) struct Bundle {
    /// Its first entry.
    pub(crate) first: Index,
    /// Public parts.
    pub(crate) public: Vec<Bytes>,
    /// Private parts; none if they were not asked for.
    pub(crate) private: Vec<Bytes>,
    /// The hashes of its entries, and what stands above them.
    pub(crate) tree: BundleTree,
}

impl Bundle {
    /// One past its last entry.
    pub(crate) fn end(&self) -> Index {
        Index(self.first.0 + WIDTH)
    }

    /// Whether the private part of the entry in this place is the one that the entry names.
    ///
    /// # Errors
    /// [`Unread::Changed`].
    pub(crate) fn check_private(&self, place: usize) -> Result<(), Unread> {
        let (public, private) = (self.public.get(place), self.private.get(place));
        match public.zip(private).is_some_and(|(public, private)| is_private_part(public, private)) {
            true => Ok(()),
            false => {
                let (index, number) = (self.first.0 + place as u64, self.first.0 / WIDTH);
                let file = Tile::new(Kind::Private, number, WIDTH).map(|tile| tile.to_string()).unwrap_or_default();
                let why = format!("the private part of entry {index} in {file} is not the one that its entry names");
                Err(Unread::Changed(why))
            }
        }
    }

    /// How many bytes it holds.
    pub(crate) fn bytes(&self) -> usize {
        self.public.iter().chain(&self.private).map(Bytes::len).sum()
    }

    /// Where the entries from `from` on and before `to` are in it.
    pub(crate) fn places(&self, from: Index, to: Index) -> Range<usize> {
        let place = |index: Index| usize::try_from(index.0.saturating_sub(self.first.0).min(WIDTH)).unwrap_or(0);
        place(from)..place(to).max(place(from))
    }
}

/// What of a bundle is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parts {
    /// The public parts alone.
    Public,
    /// The private parts too.
    Both,
    /// The private parts too, for somebody who compares those that are used with what their entries say.
    Loose,
}

impl Shelf {
    /// What lies in this store.
    pub(crate) fn new(logs: Logs) -> Self {
        Self {
            logs,
            #[cfg(test)]
            bundles_read: Arc::default(),
        }
    }

    /// The store.
    pub(super) fn logs(&self) -> &Logs {
        &self.logs
    }

    /// Puts a file of what is public. When this returns it is durable.
    ///
    /// # Errors
    /// [`BlobError::Exists`] if another one is there.
    pub(super) async fn put(&self, tenant: &Tenant, tile: Tile, bytes: Vec<u8>) -> Result<(), BlobError> {
        self.logs.put_tile(&tenant.id, tile, bytes.into()).await
    }

    /// Puts a file of what is private, `framed` behind [`NONCE_LEN`] bytes of room: it can be long, and is sealed where it stands.
    ///
    /// # Errors
    /// As [`Shelf::put`].
    pub(super) async fn put_private(&self, tenant: &Tenant, tile: Tile, framed: Vec<u8>) -> Result<(), BlobError> {
        let (key, place) = (tenant.ledger_key.private_parts(), place(tenant, tile));
        let sealed = Bytes::from(seal_box_in_place(&key, &place, framed)?);
        match self.logs.put_tile(&tenant.id, tile, sealed.clone()).await {
            // Sealed anew it is never the same: what is in it is.
            Err(BlobError::Exists(name)) => {
                let ours = open_box_in_place(&key, &place, sealed.into()).unwrap_or_default();
                match self.exact_file(tenant, tile).await? {
                    Some(there) if ours.get(NONCE_LEN..).is_some_and(|ours| there == ours) => Ok(()),
                    _ => Err(BlobError::Exists(name)),
                }
            }
            put => put,
        }
    }

    /// A file's bytes, out of the full one if the partial one was dropped.
    ///
    /// # Errors
    /// [`BlobError::Missing`] if neither is there; [`BlobError::Altered`] if it is not what was put.
    pub(super) async fn file(&self, tenant: &Tenant, tile: Tile) -> Result<Bytes, BlobError> {
        if let Some(bytes) = self.exact_file(tenant, tile).await? {
            return Ok(bytes);
        }
        let wider = if tile.is_full() { None } else { self.exact_file(tenant, tile.full()).await? };
        let wider = wider.ok_or_else(|| BlobError::Missing(tile.to_string()))?;
        let end = tile.cut(&wider).map_err(|_| BlobError::Altered(tile.full().to_string()))?.len();
        Ok(wider.slice(..end))
    }

    async fn exact_file(&self, tenant: &Tenant, tile: Tile) -> Result<Option<Bytes>, BlobError> {
        let Some(bytes) = self.logs.tile(&tenant.id, tile).await? else { return Ok(None) };
        if !matches!(tile.kind(), Kind::Private | Kind::Facts | Kind::Summaries) {
            return Ok(Some(bytes));
        }
        let opened = open_box_in_place(&tenant.ledger_key.private_parts(), &place(tenant, tile), bytes.into());
        let opened = opened.ok_or_else(|| BlobError::Altered(tile.to_string()))?;
        Ok(Some(Bytes::from(opened).slice(NONCE_LEN..)))
    }

    /// Computes something from the tiles of a log of some size, fetching those that it needs.
    ///
    /// # Errors
    /// [`Unread`].
    pub(super) async fn out_of_tiles<T>(
        &self,
        tenant: &Tenant,
        hashes: &mut TileHashes,
        work: impl Fn(&TileHashes) -> Result<T, Lacking>,
    ) -> Result<T, Unread> {
        loop {
            let Lacking(tile) = match work(hashes) {
                Ok(done) => return Ok(done),
                Err(lacking) => lacking,
            };
            let bytes = self.file(tenant, tile).await?;
            hashes.insert(tile, &bytes).map_err(|error| Unread::Changed(format!("{tile}: {error}")))?;
        }
    }

    /// The root that a ledger had at `size`, which its checkpoint reaches past.
    ///
    /// # Errors
    /// [`Unread::Changed`] if the tiles do not come to the checkpoint.
    pub(crate) async fn root_at(&self, tenant: &Tenant, size: Index, signed: &Checkpoint) -> Result<Digest, Unread> {
        let (old, new) = (size.0, signed.size.0);
        let mut hashes = TileHashes::new(new);
        let was = self.out_of_tiles(tenant, &mut hashes, |hashes| root(hashes, old)).await?;
        let proof = self.out_of_tiles(tenant, &mut hashes, |hashes| consistency(hashes, old, new)).await?;
        check_consistency((old, &was), (new, &signed.root), &proof)
            .map_err(|_| Unread::Changed(format!("the tiles do not come to the checkpoint of {new} entries")))?;
        Ok(was)
    }

    /// Bundle `number`, which the checkpoint reaches past. `hashes` keeps the tree above it for the next one.
    ///
    /// # Errors
    /// [`Unread::Changed`] if it is missing, not under the checkpoint, or its private parts are not its entries'.
    pub(crate) async fn bundle(
        &self,
        tenant: &Tenant,
        number: u64,
        signed: &Checkpoint,
        hashes: &mut TileHashes,
        parts: Parts,
    ) -> Result<Bundle, Unread> {
        let above = self.above(tenant, number, signed, hashes).await?;
        self.bundle_below(tenant, number, signed, &above, parts).await
    }

    /// What leads from bundle `number` to the checkpoint, which reaches past it: for [`Shelf::bundle_below`].
    ///
    /// # Errors
    /// [`Unread`].
    pub(super) async fn above(
        &self,
        tenant: &Tenant,
        number: u64,
        signed: &Checkpoint,
        hashes: &mut TileHashes,
    ) -> Result<Vec<Digest>, Unread> {
        let size = signed.size.0;
        if number >= size / WIDTH {
            return Err(Unread::Changed(format!("the checkpoint of {size} entries has no bundle {number}")));
        }
        self.out_of_tiles(tenant, hashes, |hashes| above(hashes, number, size)).await
    }

    /// As [`Shelf::bundle`], where it is known what lies above it: so many can be read at once.
    ///
    /// # Errors
    /// As [`Shelf::bundle`].
    pub(super) async fn bundle_below(
        &self,
        tenant: &Tenant,
        number: u64,
        signed: &Checkpoint,
        above: &[Digest],
        parts: Parts,
    ) -> Result<Bundle, Unread> {
        #[cfg(test)]
        self.bundles_read.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let (size, root) = (signed.size.0, &signed.root);
        let none = || Unread::Changed(format!("the checkpoint of {size} entries has no bundle {number}"));
        let tile = Tile::of(Kind::Entries, number, size).filter(|tile| tile.is_full()).ok_or_else(none)?;
        let private = tile.beside(Kind::Private);
        let (entries, privates) = match parts {
            Parts::Public => (self.file(tenant, tile).await?, None),
            Parts::Both | Parts::Loose => {
                let (entries, privates) = tokio::join!(self.file(tenant, tile), self.file(tenant, private));
                (entries?, Some(privates?))
            }
        };
        let split = |tile: Tile, bytes: &Bytes| {
            let parts = tile.parts(bytes).map_err(|error| Unread::Changed(format!("{tile}: {error}")))?;
            Ok::<_, Unread>(parts.into_iter().map(|part| bytes.slice_ref(part)).collect::<Vec<_>>())
        };
        let public = split(tile, &entries)?;
        let tree = BundleTree::new(public.iter().map(|public| leaf_hash(public)).collect()).ok_or_else(none)?;
        let first = number * WIDTH;
        let proof = [&tree.siblings(0)[..], above].concat();
        let holds = tree.leaves().first().is_some_and(|leaf| check_inclusion(*leaf, first, size, root, &proof).is_ok());
        if !holds {
            return Err(Unread::Changed(format!("{tile} is not under the checkpoint of {size} entries")));
        }
        let mut bundle = Bundle { first: Index(first), public, private: Vec::new(), tree };
        if let Some(privates) = privates {
            bundle.private = split(private, &privates)?;
            if parts == Parts::Both {
                (0..bundle.private.len()).try_for_each(|place| bundle.check_private(place))?;
            }
        }
        Ok(bundle)
    }

    /// As [`Shelf::bundle`], with everything that others are handed out of it: its hashes too are what they must be.
    ///
    /// # Errors
    /// As [`Shelf::bundle`].
    pub(super) async fn read_back(
        &self,
        tenant: &Tenant,
        number: u64,
        signed: &Checkpoint,
        hashes: &mut TileHashes,
    ) -> Result<Bundle, Unread> {
        let bundle = self.bundle(tenant, number, signed, hashes, Parts::Both).await?;
        let tile = Tile::of(Kind::Hashes(0), number, signed.size.0).map(Tile::full);
        let tile = tile.ok_or_else(|| Unread::Changed(format!("there is no bundle {number}")))?;
        let there = tile.hashes(&self.file(tenant, tile).await?);
        let there = there.map_err(|error| Unread::Changed(format!("{tile}: {error}")))?;
        match bundle.public.iter().zip(&there).all(|(public, hash)| leaf_hash(public) == *hash) {
            true => Ok(bundle),
            false => Err(Unread::Changed(format!("{tile} does not hold the hashes of its entries"))),
        }
    }
}

/// What a sealed file is bound to.
fn place(tenant: &Tenant, tile: Tile) -> Vec<u8> {
    [&b"strongroom/v1/private-parts"[..], tenant.id.as_bytes(), tile.to_string().as_bytes()].concat()
}
