//! The ledger, read back: entries in their order, public and private parts.
//!
//! The newest are in SQL. What has left it stands in bundles, which are held against the checkpoint before anything of them is told.

use std::sync::Arc;

use bytes::Bytes;
use strongroom_core::ids::{Digest, Index};
use strongroom_core::ledger::batch::{BrokenBatch, split};
use strongroom_core::ledger::checkpoint::Checkpoint;
use strongroom_core::ledger::proof::TileHashes;
use strongroom_core::ledger::tile::WIDTH;

use super::ledger::Stop;
use super::shelf::{Bundle, Parts, Unread};
use super::{Inner, RecordError, Recorder};
use crate::catalog::{BatchRow, Boundary};
use crate::tenants::Tenant;

/// Bytes of batches that are read at once, at most.
const BATCHES: usize = 4 << 20;

/// The exact bytes of an entry: its public part, and its private part, empty if it was erased.
pub type EntryBytes = (Bytes, Bytes);

impl Recorder {
    /// Entries from `from` on and before `to`. As many as lie together, so that a caller goes on where the answer ends; none where
    /// the ledger does.
    ///
    /// # Errors
    /// [`RecordError::Integrity`] if a batch does not hold what it says, or a file was changed, which stops the tenant;
    /// [`RecordError::Unavailable`] if they cannot be read.
    pub async fn history(&self, tenant: &Arc<Tenant>, from: Index, to: Index) -> Result<Vec<EntryBytes>, RecordError> {
        self.inner.history(tenant, from, to, Parts::Both).await
    }

    /// Entries from `from` on and before `to`, out of as many batches and bundles as have about `most` bytes: at least one.
    ///
    /// # Errors
    /// As [`Recorder::history`]; [`RecordError::Integrity`] too if the ledger ends before.
    pub(super) async fn stretch(
        &self,
        tenant: &Arc<Tenant>,
        from: Index,
        to: Index,
        most: usize,
    ) -> Result<Vec<EntryBytes>, RecordError> {
        let (mut next, mut bytes, mut entries) = (from, 0, Vec::new());
        while next < to && (bytes < most || entries.is_empty()) {
            let left = most.saturating_sub(bytes).clamp(1, BATCHES) as u64;
            let batches = self.catalog().batches_from(&tenant.id, next, left).await.map_err(RecordError::of_catalog)?;
            let before = next;
            for (batch, ..) in batches.iter().take_while(|(batch, ..)| batch.first <= to) {
                // What is missing before it has left.
                if batch.first > next {
                    break;
                }
                let found = out_of_batch(batch, next, to)?;
                next = Index(next.0 + found.len() as u64);
                bytes += found.iter().map(|(public, private)| public.len() + private.len()).sum::<usize>();
                entries.extend(found);
            }
            if next == before {
                let found = self.history(tenant, next, to).await?;
                if found.is_empty() {
                    return Err(RecordError::Integrity("the ledger ends before its head".to_owned()));
                }
                next = Index(next.0 + found.len() as u64);
                bytes += found.iter().map(|(public, private)| public.len() + private.len()).sum::<usize>();
                entries.extend(found);
            }
        }
        Ok(entries)
    }

    /// As [`Recorder::history`], the public parts alone.
    ///
    /// # Errors
    /// As [`Recorder::history`].
    pub async fn public_history(
        &self,
        tenant: &Arc<Tenant>,
        from: Index,
        to: Index,
    ) -> Result<Vec<Bytes>, RecordError> {
        let found = self.inner.history(tenant, from, to, Parts::Public).await?;
        Ok(found.into_iter().map(|(public, _)| public).collect())
    }
}

impl Inner {
    async fn history(
        &self,
        tenant: &Arc<Tenant>,
        from: Index,
        to: Index,
        parts: Parts,
    ) -> Result<Vec<EntryBytes>, RecordError> {
        if from >= to {
            return Ok(Vec::new());
        }
        let found = self.catalog.batch_holding(&tenant.id, from).await.map_err(RecordError::of_catalog)?;
        if let Some(batch) = found {
            return out_of_batch(&batch, from, to);
        }
        let Some(bundle) = self.shelved(tenant, from, parts).await? else { return Ok(Vec::new()) };
        let places = bundle.places(from, to);
        let private: Box<dyn Iterator<Item = Bytes> + Send> = match parts {
            Parts::Both | Parts::Loose => Box::new(bundle.private.into_iter()),
            Parts::Public => Box::new(std::iter::repeat(Bytes::new())),
        };
        Ok(bundle.public.into_iter().zip(private).skip(places.start).take(places.len()).collect())
    }

    /// The full bundle that holds an entry; none if the newest checkpoint has none.
    async fn shelved(&self, tenant: &Tenant, index: Index, parts: Parts) -> Result<Option<Bundle>, RecordError> {
        let number = index.0 / WIDTH;
        let Some(signed) = self.signed(tenant).await?.filter(|signed| number < signed.size.0 / WIDTH) else {
            return Ok(None);
        };
        let mut hashes = TileHashes::new(signed.size.0);
        let bundle = self.shelf.bundle(tenant, number, &signed, &mut hashes, parts).await;
        bundle.map(Some).map_err(|unread| self.unread(tenant, unread))
    }

    /// The newest checkpoint; none before the first.
    pub(super) async fn signed(&self, tenant: &Tenant) -> Result<Option<Checkpoint>, RecordError> {
        let row = self.catalog.checkpoint(&tenant.id).await.map_err(RecordError::of_catalog)?;
        match row {
            Some(row) => self.opened(tenant, &row).await.map(Some),
            None => Ok(None),
        }
    }

    /// The root that a ledger had at some size; none if no commit ended there.
    pub(super) async fn root_at(
        &self,
        tenant: &Tenant,
        size: Index,
        boundary: Boundary,
    ) -> Result<Option<Digest>, RecordError> {
        match boundary {
            Boundary::Tip(tip) => Ok(Some(tip)),
            Boundary::None => Ok(None),
            Boundary::Left => match self.signed(tenant).await? {
                // What is not under the newest checkpoint cannot have left, and neither can that checkpoint's own batch.
                Some(signed) if size < signed.size => {
                    let root = self.shelf.root_at(tenant, size, &signed).await;
                    root.map(Some).map_err(|unread| self.unread(tenant, unread))
                }
                _ => Ok(None),
            },
        }
    }

    /// What was not read was changed, which stops the tenant, or cannot be had now.
    pub(super) fn unread(&self, tenant: &Tenant, unread: Unread) -> RecordError {
        match unread {
            Unread::Later(error) => RecordError::Unavailable(error.to_string()),
            Unread::Changed(why) => {
                self.ledger(&tenant.id).stop(&tenant.id, Stop::Integrity(format!("the log's files: {why}")))
            }
        }
    }
}

fn out_of_batch(batch: &BatchRow, from: Index, to: Index) -> Result<Vec<EntryBytes>, RecordError> {
    let broken = |BrokenBatch| RecordError::Integrity(format!("the batch of entry {from} is cut"));
    let (public, private) = (split(&batch.entries).map_err(broken)?, split(&batch.parts).map_err(broken)?);
    if public.len() != private.len() {
        return Err(RecordError::Integrity(format!("the batch of entry {from} does not hold it")));
    }
    let skip = usize::try_from(from.0 - batch.first.0).unwrap_or(usize::MAX);
    let most = usize::try_from(to.0 - from.0).unwrap_or(usize::MAX);
    let entries = public.into_iter().zip(private).skip(skip).take(most);
    Ok(entries.map(|(public, private)| (batch.entries.slice_ref(public), batch.parts.slice_ref(private))).collect())
}
