//! Integration: what commits appended becomes tiles in the object store, under a signed checkpoint.
//!
//! ```text
//! newest checkpoint (SQL) ─► its last tiles ─► batches from there up to the head ─► full and partial tiles, put if-absent
//!        ▲                                              │ root = the head's tip                   │ durable
//!        └──── compare-and-set ◄──── sign ◄─────────────┴─────────────────────────────────────────┘ ─► the bucket's copy
//! ```
//!
//! Any node may do it, and any number at a time: what a log's files hold follows from its entries, so that two write the same
//! bytes. A lease saves work, and nothing rests on it. A node that stood still half-way and goes on later writes tiles that are
//! there, or partial ones that nobody asks for; its checkpoint finds that it is not the next one any more.
//!
//! Invariants:
//! - Nothing is signed but the root under a head that carries its mark, reached from the newest checkpoint, itself signed here, by
//!   the entries between: what is not consistent with the last checkpoint cannot come out.
//! - A checkpoint is in SQL only when all its tiles are durable.
//! - What does not fit stops that tenant, and only that one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, FuturesUnordered, StreamExt, TryStreamExt};
use strongroom_core::ids::{Digest, Index, TenantId};
use strongroom_core::keys::secret::NONCE_LEN;
use strongroom_core::ledger::batch::{self, split};
use strongroom_core::ledger::checkpoint::Checkpoint;
use strongroom_core::ledger::tile::{Growing, Kind, RestoreError, Tile, WIDTH};
use strongroom_core::ledger::tree::empty_root;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::floors::{check, open_copy, open_row};
use super::leave::Shelver;
use super::ledger::Stop;
use super::{Inner, RecordError, Recorder};
use crate::blobs::BlobError;
use crate::catalog::{CatalogError, CheckpointRow, Half};
use crate::error::Error;
use crate::tenants::{Tenant, Tenants};

/// How long after a commit its entries wait for others to be integrated with them.
const GATHER: Duration = Duration::from_millis(250);
/// How often nodes look for what others appended.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How often what failed, or is owed to a bucket, is tried.
const AGAIN: Duration = Duration::from_secs(1);
/// How often ledgers are held against their checkpoints.
const COMPARE_EVERY: Duration = Duration::from_secs(10);
/// How often a bucket's copy of a checkpoint is replaced, at most.
const COPY_EVERY: Duration = Duration::from_secs(10);
/// How long the last pass of a process may take.
const LAST_PASS: Duration = Duration::from_secs(5);
/// What the lease is for.
const WORK: &str = "integrate";
/// Bytes of batches that are read at once.
const BATCHES: u64 = 4 << 20;
/// Files that are written at once, and bytes of those of private parts, unless a single one has more.
const WRITES: usize = 8;
const WRITING: u32 = 32 << 20;
/// Bytes of full tiles that are kept until the entries were found to be the head's. More is written before.
const KEEP: usize = 32 << 20;
/// Logs whose last tiles are kept in memory.
const MAX_KEPT: usize = 256;

/// Folds entries into tiles, and signs checkpoints.
pub(super) struct Integrator {
    inner: Arc<Inner>,
    tenants: Tenants,
    kept: HashMap<TenantId, Kept>,
}

/// What is kept of a log between passes.
struct Kept {
    tenant: Arc<Tenant>,
    /// The log as of the newest checkpoint that was made here.
    growing: Option<Growing>,
    /// When the bucket's copy was last replaced, and by what it is to be.
    copied: Option<Instant>,
    owed: Option<Bytes>,
}

/// A checkpoint that could be made: its tiles are computed, not yet written.
pub(super) struct Next {
    tenant: Arc<Tenant>,
    from: Option<(Index, Digest)>,
    growing: Growing,
    tiles: Vec<(Tile, Vec<u8>)>,
    row: CheckpointRow,
}

/// Why a log was not integrated.
#[derive(Debug)]
pub(super) enum Broken {
    /// Not now.
    Later(String),
    /// It goes no further.
    Stop(Stop),
}

impl From<CatalogError> for Broken {
    fn from(error: CatalogError) -> Self {
        match error {
            CatalogError::Integrity(why) => Self::Stop(Stop::Integrity(why)),
            other => Self::Later(other.to_string()),
        }
    }
}

impl From<BlobError> for Broken {
    fn from(error: BlobError) -> Self {
        match error {
            BlobError::Exists(_) | BlobError::Altered(_) | BlobError::Missing(_) => {
                Self::Stop(Stop::Integrity(error.to_string()))
            }
            other => Self::Later(other.to_string()),
        }
    }
}

impl From<Error> for Broken {
    fn from(error: Error) -> Self {
        match error {
            Error::Integrity(why) => Self::Stop(Stop::Integrity(why.into_owned())),
            other => Self::Later(other.to_string()),
        }
    }
}

impl From<Stop> for Broken {
    fn from(stop: Stop) -> Self {
        Self::Stop(stop)
    }
}

impl Recorder {
    /// Integrates in the background, and has old batches leave. After `stop` it passes once more, and the task ends.
    pub(crate) fn integrate(&self, tenants: Tenants, stop: CancellationToken) -> JoinHandle<()> {
        let integrator = Integrator::new(self.inner.clone(), tenants.clone());
        let shelver = Shelver::new(self.inner.clone(), tenants);
        let leaving = tokio::spawn(shelver.run(stop.clone()));
        let watching = tokio::spawn(self.inner.clone().watch_lag(stop.clone()));
        tokio::spawn(async move {
            integrator.run(stop).await;
            for (task, what) in
                [(leaving, "that has batches leave the catalog"), (watching, "that watches checkpoints")]
            {
                if let Err(error) = task.await {
                    tracing::error!(%error, "the task {what} failed");
                }
            }
        })
    }
}

impl Integrator {
    pub(super) fn new(inner: Arc<Inner>, tenants: Tenants) -> Self {
        Self { inner, tenants, kept: HashMap::new() }
    }

    async fn run(mut self, stop: CancellationToken) {
        let mut compared = Instant::now();
        let mut is_done = false;
        loop {
            let pause = match (is_done, self.inner.catalog.is_shared()) {
                (true, true) => LOOK_EVERY,
                (true, false) => COMPARE_EVERY,
                (false, _) => AGAIN,
            };
            let inner = self.inner.clone();
            tokio::select! {
                () = stop.cancelled() => break,
                () = inner.appended.notified() => {
                    tokio::select! {
                        () = stop.cancelled() => break,
                        () = sleep(GATHER) => {}
                    }
                }
                () = sleep(pause) => {}
            }
            is_done = self.pass().await;
            if compared.elapsed() >= COMPARE_EVERY {
                self.compare_all().await;
                is_done &= self.pay().await;
                compared = Instant::now();
            }
        }
        if timeout(LAST_PASS, self.pass()).await.is_err() {
            tracing::warn!("the last entries were not integrated in time; the next start goes on");
        }
    }

    /// Integrates what there is; false if something is left to do.
    pub(super) async fn pass(&mut self) -> bool {
        let found = async {
            let found = self.inner.catalog.unintegrated().await?;
            let leads = !found.is_empty() && self.inner.leads(WORK).await?;
            Ok::<_, CatalogError>(if leads { found } else { Vec::new() })
        };
        let found = match found.await {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(detail = %error, "what is to be integrated could not be looked up");
                return false;
            }
        };
        let inner = self.inner.clone();
        let all = async {
            let mut is_done = true;
            for id in found {
                if inner.ledger(&id).stopped().is_none() {
                    is_done &= self.one(id).await;
                }
            }
            is_done
        };
        let is_done = inner.leading(WORK, all).await;
        self.pay().await && is_done
    }

    /// Integrates one log; false if that failed for now.
    async fn one(&mut self, id: TenantId) -> bool {
        let result = async {
            let tenant = self.tenant(id).await?;
            if let Some(next) = self.fold(&tenant).await? {
                self.commit(next).await?;
            }
            Ok(())
        };
        match result.await {
            Ok(()) => true,
            Err(Broken::Stop(stop)) => {
                self.kept.remove(&id);
                self.inner.ledger(&id).stop(&id, stop);
                true
            }
            Err(Broken::Later(why)) => {
                if let Some(kept) = self.kept.get_mut(&id) {
                    kept.growing = None;
                }
                self.inner.ledger(&id).lag().failed();
                tracing::warn!(tenant = %id, why, "entries are not under a checkpoint yet; it is tried again");
                false
            }
        }
    }

    async fn tenant(&mut self, id: TenantId) -> Result<Arc<Tenant>, Broken> {
        if let Some(kept) = self.kept.get(&id) {
            return Ok(kept.tenant.clone());
        }
        let tenant = match self.tenants.by_id(&id).await {
            Ok(tenant) => tenant,
            Err(Error::Integrity(why)) => return Err(Stop::Integrity(why.into_owned()).into()),
            Err(error) => return Err(Broken::Later(error.to_string())),
        };
        if self.kept.len() >= MAX_KEPT {
            // Whoever is owed something is kept: there are few.
            self.kept.retain(|_, kept| kept.owed.is_some());
        }
        self.kept.insert(id, Kept { tenant: tenant.clone(), growing: None, copied: None, owed: None });
        Ok(tenant)
    }

    /// What the next checkpoint of a log is; none if the newest has all entries.
    pub(super) async fn fold(&mut self, tenant: &Arc<Tenant>) -> Result<Option<Next>, Broken> {
        let (catalog, id) = (&self.inner.catalog, &tenant.id);
        let row = catalog.checkpoint(id).await?;
        if row.as_ref().is_some_and(|row| open_row(tenant, row).is_err()) {
            tenant.learn(&catalog.log_keys(id).await?)?;
        }
        let from = row.map(|row| open_row(tenant, &row)).transpose()?.map(|last| (last.size, last.root));
        let (size, root) = from.unwrap_or((Index(0), empty_root()));
        let since = catalog.since(id, &tenant.ledger_key, size).await?;
        let head = since.as_ref().map(|since| since.head.clone()).unwrap_or_default();
        if from.is_some() {
            let boundary = since.and_then(|since| since.boundary.tip());
            check("the checkpoint in the database has", size, root, head.size(), boundary)?;
        }
        if head.size() == size {
            return Ok(None);
        }
        let kept = self.kept.get_mut(id).and_then(|kept| kept.growing.take());
        let mut growing = match kept.filter(|growing| growing.size() == size.0 && growing.root() == root) {
            Some(growing) => growing,
            None => self.restore(tenant, size, root).await?,
        };
        let mut tiles = Vec::new();
        while growing.size() < head.size().0 {
            self.take_in(tenant, &mut growing, head.size(), &mut tiles).await?;
            if tiles.iter().map(|(_, bytes): &(Tile, Vec<u8>)| bytes.len()).sum::<usize>() > KEEP {
                self.write(tenant, std::mem::take(&mut tiles)).await?;
            }
        }
        if growing.root() != head.tip() {
            let why = format!("the entries from {size} on do not come to what the head says: one was changed");
            return Err(Stop::Integrity(why).into());
        }
        tiles.extend(growing.partials());
        let checkpoint = Checkpoint { origin: tenant.origin.clone(), size: head.size(), root: head.tip() };
        let note = self.tenants.sign(tenant, &checkpoint).await?.into_bytes();
        let row = CheckpointRow { size: checkpoint.size, root: checkpoint.root, note };
        Ok(Some(Next { tenant: tenant.clone(), from, growing, tiles, row }))
    }

    /// The log as of a checkpoint, from its last tiles.
    async fn restore(&self, tenant: &Arc<Tenant>, size: Index, root: Digest) -> Result<Growing, Broken> {
        let mut tiles = HashMap::new();
        for tile in Growing::tail(size.0) {
            let bytes = self.inner.shelf.file(tenant, tile).await?;
            tiles.insert(tile, bytes);
        }
        let read = |tile: Tile| tiles.get(&tile).map(|bytes| bytes.to_vec()).ok_or(tile);
        let growing =
            Growing::restore(size.0, read).map_err(|error: RestoreError<Tile>| Stop::Integrity(error.to_string()))?;
        if growing.root() != root {
            let why = format!("the tiles of the log of {size} entries do not come to its checkpoint: one was changed");
            return Err(Stop::Integrity(why).into());
        }
        Ok(growing)
    }

    /// Takes in the next batches, up to `to`.
    async fn take_in(
        &self,
        tenant: &Tenant,
        growing: &mut Growing,
        to: Index,
        tiles: &mut Vec<(Tile, Vec<u8>)>,
    ) -> Result<(), Broken> {
        let at = growing.size();
        for (first, batch, _) in self.inner.catalog.halves_from(&tenant.id, Index(at), Half::Public, BATCHES).await? {
            let at = growing.size();
            if at >= to.0 {
                break;
            }
            if first.0 > at {
                return Err(self.gone(tenant, at).await);
            }
            let public = split(&batch).map_err(|_| broken(at, "does not hold what it says"))?;
            let skip = usize::try_from(at - first.0).unwrap_or(usize::MAX);
            for public in public.into_iter().skip(skip) {
                growing.push(public, tiles).map_err(|error| broken(at, &error.to_string()))?;
            }
        }
        if growing.size() == at { Err(self.gone(tenant, at).await) } else { Ok(()) }
    }

    /// Why the batch of an entry is not in the catalog: it has left since others went on past it, or it is missing.
    async fn gone(&self, tenant: &Tenant, at: u64) -> Broken {
        match self.inner.catalog.checkpoint(&tenant.id).await {
            Ok(Some(row)) if row.size.0 > at => Broken::Later("another node went on meanwhile".to_owned()),
            Ok(_) => broken(at, "is missing"),
            Err(error) => error.into(),
        }
    }

    /// A file of private parts, behind room for the nonce.
    async fn private_file(&self, tenant: &Tenant, tile: Tile) -> Result<Vec<u8>, Broken> {
        let (mut at, end) = (tile.index() * WIDTH, tile.index() * WIDTH + tile.width());
        let mut framed = vec![0; NONCE_LEN];
        while at < end {
            let from = at;
            for (first, batch, _) in
                self.inner.catalog.halves_from(&tenant.id, Index(at), Half::Private, BATCHES).await?
            {
                if first.0 > at {
                    return Err(self.gone(tenant, at).await);
                }
                let parts = split(&batch).map_err(|_| broken(at, "does not hold what it says"))?;
                let skip = usize::try_from(at - first.0).unwrap_or(usize::MAX);
                let most = usize::try_from(end - at).unwrap_or(usize::MAX);
                let parts = parts.get(skip..).unwrap_or_default();
                for part in parts.iter().take(most) {
                    batch::push(&mut framed, part);
                    at += 1;
                }
                if at >= end {
                    break;
                }
            }
            if at == from {
                return Err(self.gone(tenant, at).await);
            }
        }
        Ok(framed)
    }

    /// Writes the files of private parts that a log of `size` has and one of `from` does not. They can be long: no more of them are
    /// in memory than a few megabytes, or a single one.
    async fn write_privates(&self, tenant: &Tenant, from: Index, size: Index) -> Result<(), Broken> {
        let budget = Semaphore::new(WRITING as usize);
        let mut writes = FuturesUnordered::new();
        for tile in (from.0 / WIDTH..).map_while(|number| Tile::of(Kind::Private, number, size.0)) {
            let framed = self.private_file(tenant, tile).await?;
            let share = u32::try_from(framed.len()).unwrap_or(u32::MAX).min(WRITING);
            let mut turn = std::pin::pin!(budget.acquire_many(share));
            let turn = loop {
                tokio::select! {
                    turn = &mut turn, if writes.len() < WRITES => break turn,
                    Some(written) = writes.next() => written?,
                }
            };
            writes.push(async move {
                // The budget is never closed.
                let _turn = turn;
                self.inner.shelf.put_private(tenant, tile, framed).await
            });
        }
        while let Some(written) = writes.next().await {
            written?;
        }
        Ok(())
    }

    /// Writes a checkpoint's tiles and puts it in the place of the one before, unless another node was first.
    pub(super) async fn commit(&mut self, next: Next) -> Result<bool, Broken> {
        let Next { tenant, from, growing, tiles, row } = next;
        self.write(&tenant, tiles).await?;
        let since = from.map_or(Index(0), |(size, _)| size);
        self.write_privates(&tenant, since, row.size).await?;
        if !self.inner.catalog.move_checkpoint(&tenant.id, from, &row).await? {
            return Ok(false);
        }
        self.inner.ledger(&tenant.id).lag().signed(row.size);
        let (size, note) = (growing.size(), Bytes::from(row.note));
        if let Some(kept) = self.kept.get_mut(&tenant.id) {
            kept.growing = Some(growing);
            kept.owed = Some(note);
        }
        for tile in from.into_iter().flat_map(|(size, _)| Growing::tail(size.0)) {
            if Tile::of(tile.kind(), tile.index(), size).is_some_and(Tile::is_full) {
                self.inner.shelf.logs().drop_partials(&tenant.id, tile.full()).await?;
            }
        }
        Ok(true)
    }

    async fn write(&self, tenant: &Arc<Tenant>, tiles: Vec<(Tile, Vec<u8>)>) -> Result<(), BlobError> {
        let put = |(tile, bytes): (Tile, Vec<u8>)| self.inner.shelf.put(tenant, tile, bytes);
        stream::iter(tiles).map(put).buffer_unordered(WRITES).try_collect().await
    }

    /// Replaces the object store's copies of checkpoints: at once on a disk, now and then in a bucket; false if some are owed yet.
    async fn pay(&mut self) -> bool {
        let is_near = self.inner.shelf.logs().is_near();
        let mut is_done = true;
        for (id, kept) in &mut self.kept {
            let is_due = is_near || kept.copied.is_none_or(|copied| copied.elapsed() >= COPY_EVERY);
            let Some(note) = kept.owed.clone().filter(|_| is_due) else {
                is_done &= kept.owed.is_none();
                continue;
            };
            let (tenant, size) =
                (kept.tenant.clone(), Checkpoint::peek(&note).map(|owed| owed.size).unwrap_or_default());
            // One that was not signed here is left for whoever compares: it stops the tenant.
            let replaces = move |there: &[u8]| open_copy(&tenant, there).is_ok_and(|there| there.size < size);
            match self.inner.shelf.logs().put_checkpoint(id, note, replaces).await {
                Ok(()) => {
                    kept.owed = None;
                    kept.copied = Some(Instant::now());
                }
                Err(error) => {
                    tracing::warn!(tenant = %id, detail = %error, "a checkpoint could not be copied to the object store");
                    is_done = false;
                }
            }
        }
        is_done
    }

    /// Has the object store's copy of a checkpoint replaced: the node that made it ended before it did.
    async fn owe(&mut self, tenant: &Arc<Tenant>) {
        if let Ok(Some(row)) = self.inner.catalog.checkpoint(&tenant.id).await
            && self.tenant(tenant.id).await.is_ok()
            && let Some(kept) = self.kept.get_mut(&tenant.id)
        {
            kept.owed = Some(row.note.into());
        }
    }

    /// Holds all ledgers that are in use against their checkpoints; those that do not fit are stopped.
    async fn compare_all(&mut self) {
        for id in self.inner.in_use() {
            let Ok(tenant) = self.tenants.by_id(&id).await else { continue };
            match self.inner.compare(&tenant).await {
                Ok(true) => self.owe(&tenant).await,
                Ok(false) | Err(RecordError::Diverged(_) | RecordError::Integrity(_)) => {}
                Err(error) => tracing::warn!(tenant = %id, detail = %error, "its checkpoints could not be looked at"),
            }
        }
    }
}

fn broken(at: u64, why: &str) -> Broken {
    Broken::Stop(Stop::Integrity(format!("the batch of entry {at} {why}")))
}
