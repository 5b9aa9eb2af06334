//! Single entries of a ledger, picked by their indices, each with what proves it.
//!
//! A proof that an entry is in the log has a part in its bundle and a part above. The first, eight hashes, is made of the bundle that is
//! read anyway; the second is the same for all of a bundle, and whoever asks makes it of a few tiles. So what proves many entries costs
//! no more than to read them.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use strongroom_core::ids::{Digest, Index};
use strongroom_core::ledger::checkpoint::Checkpoint;
use strongroom_core::ledger::proof::{BundleTree, TileHashes};
use strongroom_core::ledger::tile::{Kind, Tile, WIDTH};
use tokio::task::JoinHandle;

use super::shelf::{Parts, Unread};
use super::{RecordError, Recorder};
use crate::tenants::Tenant;

/// How many bundles are read at once: with their private parts they can be large.
const AHEAD: usize = 3;

/// An entry.
pub(crate) struct Picked {
    /// Its public bytes.
    pub(crate) public: Bytes,
    /// Those of its private part, none if that was erased.
    pub(crate) private: Bytes,
    /// The part of its proof that lies in its bundle, hash after hash; none if that is not full under the newest checkpoint.
    pub(crate) siblings: Bytes,
}

/// The entries that were picked, in their order.
pub(crate) struct Picks {
    recorder: Recorder,
    tenant: Arc<Tenant>,
    /// Sorted.
    indices: Arc<[Index]>,
    next: usize,
    signed: Arc<Checkpoint>,
    hashes: TileHashes,
    running: VecDeque<JoinHandle<Result<Vec<Picked>, RecordError>>>,
}

impl Picks {
    /// Of these entries, which are sorted and in the ledger.
    ///
    /// # Errors
    /// As [`Recorder::history`].
    pub(crate) async fn new(recorder: Recorder, tenant: Arc<Tenant>, indices: Vec<Index>) -> Result<Self, RecordError> {
        let signed = recorder.inner.signed(&tenant).await?;
        let signed = signed.ok_or_else(|| RecordError::Unavailable("there is no checkpoint yet".to_owned()))?;
        let hashes = TileHashes::new(signed.size.0);
        let (indices, signed) = (indices.into(), Arc::new(signed));
        Ok(Self { recorder, tenant, indices, next: 0, signed, hashes, running: VecDeque::new() })
    }

    /// Those that lie together next; none at the end.
    ///
    /// # Errors
    /// [`RecordError::Integrity`] if something that is kept was changed, which stops the tenant where it is a file;
    /// [`RecordError::Unavailable`] if it cannot be read.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<Picked>>, RecordError> {
        while self.running.len() < AHEAD
            && let Some(first) = self.indices.get(self.next)
        {
            let number = first.0 / WIDTH;
            let count = self.indices[self.next..].partition_point(|index| index.0 / WIDTH == number);
            let places = self.next..self.next + count;
            self.next = places.end;
            let is_full = number < self.signed.size.0 / WIDTH;
            let above = match is_full && self.has_left(number).await? {
                true => {
                    let inner = &self.recorder.inner;
                    let above = inner.shelf.above(&self.tenant, number, &self.signed, &mut self.hashes).await;
                    Some(above.map_err(|unread| inner.unread(&self.tenant, unread))?)
                }
                false => None,
            };
            let picking = Picking {
                recorder: self.recorder.clone(),
                tenant: self.tenant.clone(),
                indices: self.indices.clone(),
                places,
                number,
            };
            let signed = self.signed.clone();
            self.running.push_back(tokio::spawn(async move {
                match above {
                    Some(above) => picking.of_bundle(&signed, &above).await,
                    None => picking.recent(is_full).await,
                }
            }));
        }
        let Some(running) = self.running.pop_front() else { return Ok(None) };
        running.await.map_err(|error| RecordError::Unavailable(error.to_string()))?.map(Some)
    }

    /// Whether a bundle's entries have left the catalog.
    async fn has_left(&self, number: u64) -> Result<bool, RecordError> {
        let found = self.recorder.catalog().batch_holding(&self.tenant.id, Index(number * WIDTH)).await;
        Ok(found.map_err(RecordError::of_catalog)?.is_none())
    }
}

/// Reads what is picked of one bundle.
struct Picking {
    recorder: Recorder,
    tenant: Arc<Tenant>,
    indices: Arc<[Index]>,
    places: Range<usize>,
    number: u64,
}

impl Picking {
    async fn of_bundle(&self, signed: &Checkpoint, above: &[Digest]) -> Result<Vec<Picked>, RecordError> {
        let inner = &self.recorder.inner;
        let bundle = inner.shelf.bundle_below(&self.tenant, self.number, signed, above, Parts::Loose).await;
        let bundle = bundle.map_err(|unread| inner.unread(&self.tenant, unread))?;
        let mut picked = Vec::with_capacity(self.places.len());
        for index in &self.indices[self.places.clone()] {
            let place = (index.0 % WIDTH) as usize;
            bundle.check_private(place).map_err(|unread| inner.unread(&self.tenant, unread))?;
            let (public, private) = (&bundle.public[place], &bundle.private[place]);
            // Copied, so that the rest of the bundle does not wait for them to be sent.
            picked.push(Picked {
                public: Bytes::copy_from_slice(public),
                private: Bytes::copy_from_slice(private),
                siblings: joined(&bundle.tree, place),
            });
        }
        Ok(picked)
    }

    /// Of entries that are in the catalog; the tree over them stands in their tile.
    async fn recent(&self, is_full: bool) -> Result<Vec<Picked>, RecordError> {
        let inner = &self.recorder.inner;
        let tree = match Tile::new(Kind::Hashes(0), self.number, WIDTH).filter(|_| is_full) {
            Some(tile) => {
                let changed = |why: String| inner.unread(&self.tenant, Unread::Changed(format!("{tile}: {why}")));
                let bytes = inner.shelf.file(&self.tenant, tile).await;
                let bytes = bytes.map_err(|error| inner.unread(&self.tenant, Unread::from(error)))?;
                BundleTree::new(tile.hashes(&bytes).map_err(|error| changed(error.to_string()))?)
            }
            None => None,
        };
        let mut picked = Vec::with_capacity(self.places.len());
        for index in &self.indices[self.places.clone()] {
            let found = self.recorder.history(&self.tenant, *index, Index(index.0 + 1)).await?;
            let none = || RecordError::Integrity(format!("the ledger has no entry {index}"));
            let (public, private) = found.into_iter().next().ok_or_else(none)?;
            let place = (index.0 % WIDTH) as usize;
            let siblings = tree.as_ref().map(|tree| joined(tree, place)).unwrap_or_default();
            picked.push(Picked { public, private, siblings });
        }
        Ok(picked)
    }
}

fn joined(tree: &BundleTree, place: usize) -> Bytes {
    tree.siblings(place).iter().flat_map(|hash| *hash.as_bytes()).collect::<Vec<u8>>().into()
}
