//! Batches leave the catalog once their entries stand elsewhere: in full bundles, under a signed checkpoint, read back.
//!
//! ```text
//! oldest batch (SQL) ─► its bundle, read back: hashes, tree, private parts, checkpoint ─► the same as in SQL? ─► rows go
//!                            └─► facts, in the object store         summary, in SQL, in the same transaction ◄──┘
//!                                256 summaries ─► a file in the object store ─► one summary stays in SQL
//! ```
//!
//! Any node may do it, and any number at a time: a bundle never changes, and rows that are gone stay gone. Whatever breaks it off,
//! what is left in the catalog is the ledger's end without a gap, and the next round goes on there.
//!
//! Invariants:
//! - No row goes whose entries were not read back out of the object store, found under a checkpoint, and compared.
//! - The newest checkpoint's own batch stays, and so many entries before it as are configured: what nodes and streams look at.
//! - What a round may drop was under a checkpoint in the round before: nobody looks for its rows any more.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use strongroom_core::ids::{Index, TenantId};
use strongroom_core::keys::secret::NONCE_LEN;
use strongroom_core::ledger::batch::{self, split};
use strongroom_core::ledger::checkpoint::Checkpoint;
use strongroom_core::ledger::facts::Facts;
use strongroom_core::ledger::proof::TileHashes;
use strongroom_core::ledger::summary::{SPAN, Summary, SummaryError};
use strongroom_core::ledger::tile::{Kind, Tile, WIDTH};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::Inner;
use super::floors::open_row;
use super::integrate::Broken;
use super::ledger::Stop;
use super::shelf::{Bundle, Unread};
use crate::catalog::Level;
use crate::error::Error;
use crate::failpoint;
use crate::tenants::{Tenant, Tenants};

/// What the lease is for.
const WORK: &str = "leave";
/// How often it is looked whether something can leave.
const EVERY: Duration = Duration::from_secs(5);
/// Bundles, and bytes of them, that leave in one transaction, at most: commits wait for it.
const BUNDLES: usize = 8;
const BYTES: usize = 16 << 20;
/// Bytes of batches that are compared at once.
const BATCHES: u64 = 4 << 20;

/// Has batches leave.
pub(super) struct Shelver {
    inner: Arc<Inner>,
    tenants: Tenants,
    /// How far checkpoints reached in the round before.
    before: HashMap<TenantId, Index>,
}

impl From<Unread> for Broken {
    fn from(unread: Unread) -> Self {
        match unread {
            Unread::Later(error) => Self::Later(error.to_string()),
            Unread::Changed(why) => Self::Stop(Stop::Integrity(format!("the log's files: {why}"))),
        }
    }
}

impl Shelver {
    pub(super) fn new(inner: Arc<Inner>, tenants: Tenants) -> Self {
        Self { inner, tenants, before: HashMap::new() }
    }

    pub(super) async fn run(mut self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(EVERY) => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.round() => {}
            }
        }
    }

    /// Has leave what may.
    pub(super) async fn round(&mut self) {
        let keep = self.inner.limits.recent;
        let old = match self.inner.catalog.old(keep + WIDTH).await {
            Ok(old) => old,
            Err(error) => return tracing::warn!(detail = %error, "which batches may leave could not be looked up"),
        };
        let before = std::mem::take(&mut self.before);
        self.before = old.iter().map(|old| (old.tenant, old.signed)).collect();
        // A failure to ask is a no.
        if old.is_empty() || !self.inner.leads(WORK).await.unwrap_or(false) {
            return;
        }
        let all = async {
            for old in old {
                let Some(signed) = before.get(&old.tenant) else { continue };
                if self.inner.ledger(&old.tenant).stopped().is_some() {
                    continue;
                }
                let to = Index(signed.0.min(old.signed.0).saturating_sub(keep + 1) / WIDTH * WIDTH);
                match self.leave(old.tenant, old.first, to).await {
                    Ok(()) => {}
                    Err(Broken::Stop(stop)) => drop(self.inner.ledger(&old.tenant).stop(&old.tenant, stop)),
                    Err(Broken::Later(why)) => {
                        tracing::warn!(tenant = %old.tenant, why, "entries could not leave the catalog yet");
                    }
                }
            }
        };
        self.inner.leading(WORK, all).await;
    }

    /// Has the batches of entries from `from` on and before `to` leave, which is where a bundle ends.
    async fn leave(&self, id: TenantId, from: Index, to: Index) -> Result<(), Broken> {
        let tenant = match self.tenants.by_id(&id).await {
            Ok(tenant) => tenant,
            Err(Error::Integrity(why)) => return Err(Stop::Integrity(why.into_owned()).into()),
            Err(error) => return Err(Broken::Later(error.to_string())),
        };
        let row = self.inner.catalog.checkpoint(&id).await?;
        let Some(row) = row else { return Ok(()) };
        if open_row(&tenant, &row).is_err() {
            tenant.learn(&self.inner.catalog.log_keys(&tenant.id).await?)?;
        }
        let signed = open_row(&tenant, &row)?;
        let mut hashes = TileHashes::new(signed.size.0);
        // A batch may lie across the end of a bundle that was dealt with.
        let mut number = (from.0 / WIDTH).max(self.inner.catalog.summed_up(&id).await?);
        while (number + 1) * WIDTH <= to.0 {
            let bundles = self.read_back(&tenant, number, to, &signed, &mut hashes).await?;
            let Some((first, last)) = bundles.first().zip(bundles.last()) else { return Ok(()) };
            let (begin, end) = (first.first, last.end());
            self.compare(&tenant, &bundles).await?;
            let summaries = self.sum_up(&tenant, &bundles).await?;
            failpoint::hit("leave.compared");
            let mut tx = self.inner.catalog.begin().await?;
            let numbered = (number..).zip(&summaries);
            tx.insert_summaries(&id, &tenant.ledger_key, Level::Bundle, numbered).await?;
            tx.drop_batches(&id, begin, end).await?;
            tx.commit().await?;
            failpoint::hit("leave.dropped");
            // Also one that was full when somebody was broken off.
            let spans = begin.0.saturating_sub(1) / SPAN..end.0 / SPAN;
            number = end.0 / WIDTH;
            for span in spans {
                self.sum_up_span(&tenant, span).await?;
            }
        }
        Ok(())
    }

    /// What bundles are about; the facts of each are put beside it.
    async fn sum_up(&self, tenant: &Tenant, bundles: &[Bundle]) -> Result<Vec<Summary>, Broken> {
        let mut summaries = Vec::with_capacity(bundles.len());
        for bundle in bundles {
            let entries =
                || bundle.public.iter().zip(&bundle.private).map(|(public, private)| (&public[..], &private[..]));
            let none = |error: SummaryError| Broken::Stop(Stop::Integrity(error.to_string()));
            summaries.push(Summary::of(bundle.first, entries()).map_err(none)?);
            let facts = Facts::of(bundle.first, entries()).map_err(none)?;
            self.put(tenant, Kind::Facts, bundle.first.0 / WIDTH, &facts.bytes()).await?;
        }
        Ok(summaries)
    }

    /// Puts the summaries of a span's bundles into a file, once there are all, and keeps one of the whole span.
    pub(super) async fn sum_up_span(&self, tenant: &Tenant, span: u64) -> Result<(), Broken> {
        let (id, key) = (&tenant.id, &tenant.ledger_key);
        let found = self.inner.catalog.summaries(id, key, Level::Bundle, span * WIDTH, WIDTH as u32).await?;
        let is_whole =
            found.len() as u64 == WIDTH && found.last().is_some_and(|(last, _)| *last == (span + 1) * WIDTH - 1);
        if !is_whole {
            return Ok(());
        }
        let none = |error: SummaryError| Broken::Stop(Stop::Integrity(error.to_string()));
        let whole = Summary::join(found.iter().map(|(_, summary)| summary)).map_err(none)?;
        let mut bytes = Vec::new();
        for (_, summary) in &found {
            batch::push(&mut bytes, &summary.bytes().map_err(none)?);
        }
        self.put(tenant, Kind::Summaries, span, &bytes).await?;
        let mut tx = self.inner.catalog.begin().await?;
        tx.insert_summaries(id, key, Level::Span, [(span, &whole)]).await?;
        tx.drop_bundle_summaries(id, span).await?;
        Ok(tx.commit().await?)
    }

    /// Puts a file that lies sealed.
    async fn put(&self, tenant: &Tenant, kind: Kind, number: u64, bytes: &[u8]) -> Result<(), Broken> {
        let Some(tile) = Tile::new(kind, number, WIDTH) else { return Ok(()) };
        Ok(self.inner.shelf.put_private(tenant, tile, [&[0; NONCE_LEN], bytes].concat()).await?)
    }

    /// Some bundles from `number` on, out of the object store.
    async fn read_back(
        &self,
        tenant: &Tenant,
        number: u64,
        to: Index,
        signed: &Checkpoint,
        hashes: &mut TileHashes,
    ) -> Result<Vec<Bundle>, Broken> {
        let (mut bundles, mut bytes): (Vec<Bundle>, usize) = (Vec::new(), 0);
        for number in (number..to.0 / WIDTH).take(BUNDLES) {
            if bytes > BYTES {
                break;
            }
            let bundle = self.inner.shelf.read_back(tenant, number, signed, hashes).await?;
            bytes += bundle.bytes();
            bundles.push(bundle);
        }
        Ok(bundles)
    }

    /// Compares bundles, one after the other, with what the catalog has of their entries.
    async fn compare(&self, tenant: &Tenant, bundles: &[Bundle]) -> Result<(), Broken> {
        let Some((first, last)) = bundles.first().zip(bundles.last()) else { return Ok(()) };
        let (begin, end) = (first.first, last.end());
        let broken = |index: Index, what: &str| {
            let why = format!("entry {index} is in the database {what} in the object store");
            Err(Broken::Stop(Stop::Integrity(why)))
        };
        let mut at = begin;
        while at < end {
            let from = at;
            for (batch, size, _) in self.inner.catalog.batches_from(&tenant.id, at, BATCHES).await? {
                let (Ok(public), Ok(private)) = (split(&batch.entries), split(&batch.parts)) else {
                    return broken(batch.first, "not as it is");
                };
                if public.len() as u64 != size.0.saturating_sub(batch.first.0) || public.len() != private.len() {
                    return broken(batch.first, "not in the place that it has");
                }
                for (index, (public, private)) in (batch.first.0..).zip(public.into_iter().zip(private)) {
                    let place = Index(index).0.checked_sub(begin.0).map(|place| (place / WIDTH, place % WIDTH));
                    let Some((bundle, place)) = place else { continue };
                    let Some(bundle) = bundles.get(usize::try_from(bundle).unwrap_or(usize::MAX)) else { break };
                    let place = usize::try_from(place).unwrap_or(usize::MAX);
                    if bundle.public.get(place).is_none_or(|there| there[..] != *public)
                        || bundle.private.get(place).is_none_or(|there| there[..] != *private)
                    {
                        return broken(Index(index), "not as it is");
                    }
                }
                at = size.max(at);
                if at >= end {
                    break;
                }
            }
            if at == from {
                break;
            }
        }
        Ok(())
    }
}
