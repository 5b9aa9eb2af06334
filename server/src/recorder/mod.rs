//! The recorder: decides, records, and answers only when it is durable. The heart of the house.
//!
//! ```text
//! record(Attempt) ─► queue ─► one writer: lock ─► load heads ─► gather ─► draft (decide each) ─► commit ─► Recorded
//! view, standing  ◄───────────── what the last commit came to
//!                 ◄───────────── what other nodes committed (fresh, watch)
//! what was committed ─► integrate: tiles ─► signed checkpoint ─► floors: no ledger falls behind it
//!                                                └─► leave: what is old leaves the catalog; shelf, history read it from there
//! ```
//!
//! One task of a node writes; whatever queued while its last commit ran is the next batch, of all tenants in one transaction.
//! Many nodes may write to one ledger: the lock of its head's row makes them take turns. Everything that is decided is decided in there, under the lock that assigns the entry's index: that is what makes order a guarantee.
//! After a revocation returns index r, the releases that can ever come out under it are those below r.
//!
//! Invariants:
//! - A [`attempt::Recorded`] exists only for what is durable, and only what follows a commit (`append::settle`) makes one.
//! - Within a batch, what takes away is decided first; each attempt sees the effects of those before it.
//! - Indices have no gaps and times never go back; a batch has one time.
//! - A ledger that contradicts what this process, this node's folder, a client or a checkpoint remembers goes no further.
//! - A commit whose outcome is not known releases nothing; the ledger's head tells what became of it.
//! - The database is re-read at the head of each batch: if the head is where this node left it, memory is exact.

mod append;
pub mod attempt;
mod check;
mod clock;
mod denials;
mod draft;
mod extracts;
mod floors;
mod fresh;
mod gather;
mod history;
mod integrate;
mod lag;
mod lease;
mod leave;
mod ledger;
mod load;
mod memory;
pub mod operators;
mod picks;
mod private;
mod prove;
mod queue;
mod receipts;
mod request;
mod search;
mod shelf;
mod watch;

pub use check::{Fault, LedgerState, Told};
pub use clock::{Clock, SystemClock};
pub(crate) use extracts::{Extracted, Extracts};
pub(crate) use floors::signed_row;
pub use history::EntryBytes;
pub(crate) use load::check_authority;
pub use memory::NodeMemory;
pub(crate) use picks::{Picked, Picks};
pub use prove::{Included, Signed};
pub(crate) use search::Search;
pub(crate) use shelf::{Parts, Shelf, Unread};

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use strongroom_core::grant::{Authority, Grant, Refusal, Tally};
use strongroom_core::ids::{GrantId, Index, Millis, NodeId, TenantId};
use strongroom_core::ledger::{Head, Seen};
use strongroom_core::reason::Reason;
use tokio::sync::{Notify, mpsc, oneshot, watch as channel};
use tokio_util::sync::CancellationToken;

use crate::blobs::Logs;
use crate::catalog::{Catalog, CatalogError};
use crate::tenants::Tenant;
use append::Writer;
use attempt::{Attempt, Recorded};
use ledger::{Ledger, Stop};
use queue::{Job, MAX_QUEUE, Waiting};

/// Decides and records. Cheap to clone.
#[derive(Clone)]
pub struct Recorder {
    inner: Arc<Inner>,
    jobs: mpsc::Sender<Job>,
}

struct Inner {
    catalog: Catalog,
    node: NodeId,
    clock: Arc<dyn Clock>,
    memory: NodeMemory,
    shelf: Shelf,
    limits: LedgerLimits,
    /// Told of each commit.
    appended: Notify,
    ledgers: RwLock<HashMap<TenantId, Arc<Ledger>>>,
    /// Whose ledger the operators' is, once it is known here.
    operators: OnceLock<Arc<Tenant>>,
    /// Why nothing is recorded any more, for any tenant.
    stopped: OnceLock<String>,
    /// Whether the catalog has been silent for too long to know what other nodes took away.
    blind: channel::Sender<bool>,
    ended: CancellationToken,
}

/// What ledgers are kept within.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LedgerLimits {
    /// So many of the newest entries of each ledger stay in the catalog, at least.
    pub recent: u64,
    /// How long entries may stand under no checkpoint; past that, nothing is released.
    pub unsigned: Duration,
}

impl Default for LedgerLimits {
    fn default() -> Self {
        Self { recent: 4096, unsigned: Duration::from_secs(60) }
    }
}

/// A ledger as of this node's last commit.
#[derive(Debug, Clone)]
pub struct View {
    /// Who stands in which relation to the tenant.
    pub authority: Arc<Authority>,
    /// The head.
    pub head: Arc<Head>,
    /// What a client is to remember of it.
    pub seen: Seen,
}

/// Why nothing was recorded, or only that it was refused.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RecordError {
    /// Decided against.
    #[error("{}", refusal.detail)]
    Refused {
        /// The reason, and what is wrong in words.
        refusal: Refusal,
        /// The entry that records the refusal, if it has one of its own.
        index: Option<Index>,
    },
    /// The ledger contradicts what is remembered of it; the tenant is stopped.
    #[error("the tenant is stopped: {0}")]
    Diverged(String),
    /// The entry could not be made durable; nothing was released.
    #[error("the ledger cannot be written: {0}")]
    Unavailable(String),
    /// The clock is behind the ledger.
    #[error("{0}")]
    Clock(String),
    /// What is stored does not fit its marks.
    #[error("{0}")]
    Integrity(String),
    /// The recorder is shutting down.
    #[error("the server is shutting down")]
    Closed,
}

impl RecordError {
    /// The stable reason code.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Refused { refusal, .. } => refusal.reason,
            Self::Diverged(_) => Reason::LedgerDiverged,
            Self::Unavailable(_) => Reason::LedgerUnavailable,
            Self::Clock(_) => Reason::Clock,
            Self::Integrity(_) => Reason::Integrity,
            Self::Closed => Reason::Unavailable,
        }
    }

    fn of_catalog(error: CatalogError) -> Self {
        match error {
            CatalogError::Integrity(why) => Self::Integrity(why),
            CatalogError::Replaced => Self::Diverged(error.to_string()),
            other => Self::Unavailable(other.to_string()),
        }
    }
}

impl Recorder {
    /// Starts the writer over this catalog; `logs` is where the ledgers' checkpoints lie beside it.
    pub fn open(
        catalog: Catalog,
        node: NodeId,
        clock: Arc<dyn Clock>,
        memory: NodeMemory,
        logs: Logs,
        limits: LedgerLimits,
    ) -> Self {
        let (appended, ledgers, operators, stopped, blind, ended) = Default::default();
        let shelf = Shelf::new(logs);
        let inner =
            Inner { catalog, node, clock, memory, shelf, limits, appended, ledgers, operators, stopped, blind, ended };
        let inner = Arc::new(inner);
        let (jobs, waiting) = mpsc::channel(MAX_QUEUE);
        tokio::spawn(queue::run(Writer::new(inner.clone()), waiting));
        if inner.catalog.is_shared() {
            tokio::spawn(watch::run(inner.clone()));
        }
        Self { inner, jobs }
    }

    /// The node's clock.
    pub fn now(&self) -> Millis {
        self.inner.clock.now()
    }

    /// Decides and records an attempt; answers once it is durable. An attempt whose caller no longer waits when it is its turn is
    /// not carried out.
    ///
    /// # Errors
    /// [`RecordError::Refused`] if it was decided against; else what kept it from being recorded.
    pub async fn record(&self, tenant: &Arc<Tenant>, attempt: Attempt) -> Result<Recorded, RecordError> {
        self.check_running(&tenant.id)?;
        self.inner.floors(tenant).await?;
        if matches!(attempt, Attempt::Release(_)) {
            self.inner.check_lag(&tenant.id)?;
        }
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting::new(tenant.clone(), attempt, answer);
        let waiting = waiting.map_err(|error| RecordError::Unavailable(error.to_string()))?;
        self.jobs.send(Job::Record(Box::new(waiting))).await.map_err(|_| RecordError::Closed)?;
        answered.await.map_err(|_| RecordError::Closed)?
    }

    /// The ledger as of the last commit, of whichever node.
    ///
    /// # Errors
    /// [`RecordError`] if the tenant is stopped, or its ledger cannot be read.
    pub async fn view(&self, tenant: &Arc<Tenant>) -> Result<View, RecordError> {
        self.check_running(&tenant.id)?;
        let ledger = self.inner.ledger(&tenant.id);
        let view = match self.inner.catalog.is_shared() {
            true => self.inner.refreshed(tenant, &ledger).await?,
            false => ledger.view(),
        };
        match view {
            Some(view) => Ok(view),
            None => self.load(tenant).await,
        }
    }

    /// A grant and those above it, each with what was charged to it as of the last commit; empty if there is none of this id.
    ///
    /// # Errors
    /// [`RecordError::Integrity`] if a grant's row was changed, or one above it is missing; else as [`Recorder::view`].
    pub async fn standing(&self, tenant: &Arc<Tenant>, id: GrantId) -> Result<Vec<(Arc<Grant>, Tally)>, RecordError> {
        self.check_running(&tenant.id)?;
        let ledger = self.inner.ledger(&tenant.id);
        let mut chain = Vec::new();
        let mut next = Some(id);
        while let Some(id) = next {
            // What is in memory of usages is exact for the writer alone, where other nodes charge too.
            let usage = if self.inner.catalog.is_shared() { None } else { ledger.usage(&id) };
            let found = match (ledger.grant(&id), usage) {
                (Some(grant), Some(usage)) => Some((grant, usage)),
                _ => {
                    let found = self.inner.catalog.grant(&tenant.id, &tenant.ledger_key, &id).await;
                    found.map_err(RecordError::of_catalog)?.map(|(grant, usage)| (Arc::new(grant), usage))
                }
            };
            if let (None, Some((below, _))) = (&found, chain.last()) {
                let below: &Arc<Grant> = below;
                let words = format!("the row of grant {id} is missing, from which {} was delegated", below.id);
                return Err(RecordError::Integrity(words));
            }
            // A parent is issued before its child, so this ends.
            next = found.as_ref().and_then(|(grant, _)| grant.terms.parent);
            chain.extend(found);
        }
        Ok(chain)
    }

    /// These grants, each with all above it, as [`Recorder::standing`] has them one by one: a statement for each generation of
    /// ancestors, however many grants there are.
    ///
    /// # Errors
    /// As [`Recorder::standing`]; also if one of them is missing.
    pub async fn standings(
        &self,
        tenant: &Arc<Tenant>,
        ids: &[GrantId],
    ) -> Result<Vec<Vec<(Arc<Grant>, Tally)>>, RecordError> {
        self.check_running(&tenant.id)?;
        let mut known: HashMap<GrantId, (Arc<Grant>, Tally)> = HashMap::with_capacity(ids.len());
        let mut wanted = ids.to_vec();
        while !wanted.is_empty() {
            let found = self.inner.catalog.grants_and_usages(&tenant.id, &tenant.ledger_key, &wanted).await;
            let found = found.map_err(RecordError::of_catalog)?;
            let parents: HashSet<GrantId> = found.iter().filter_map(|(grant, _)| grant.terms.parent).collect();
            known.extend(found.into_iter().map(|(grant, tally)| (grant.id, (Arc::new(grant), tally))));
            if let Some(missing) = wanted.iter().find(|id| !known.contains_key(id)) {
                return Err(RecordError::Integrity(format!("the row of grant {missing} is missing")));
            }
            // A parent is issued before its child, so this ends.
            wanted = parents.into_iter().filter(|id| !known.contains_key(id)).collect();
        }
        let chain = |id: &GrantId| {
            let above = |(grant, _): &&(Arc<Grant>, Tally)| known.get(&grant.terms.parent?);
            std::iter::successors(known.get(id), above).cloned().collect()
        };
        Ok(ids.iter().map(chain).collect())
    }

    /// The most bytes that one entry may release under a grant: the lowest rate of it and those above it; none if none has one.
    /// Only a hint for how to cut a read into steps: it is decided under the lock.
    ///
    /// # Errors
    /// As [`Recorder::standing`].
    pub async fn rate(&self, tenant: &Arc<Tenant>, id: GrantId) -> Result<Option<u64>, RecordError> {
        let ledger = self.inner.ledger(&tenant.id);
        let mut rate: Option<u64> = None;
        let mut next = Some(id);
        while let Some(id) = next {
            let grant = match ledger.grant(&id) {
                Some(grant) => grant,
                None => match self.inner.catalog.grant(&tenant.id, &tenant.ledger_key, &id).await {
                    Ok(Some((grant, _))) => Arc::new(grant),
                    Ok(None) => break,
                    Err(error) => return Err(RecordError::of_catalog(error)),
                },
            };
            rate = [rate, grant.terms.limits.bytes_per_minute].into_iter().flatten().min();
            next = grant.terms.parent;
        }
        Ok(rate)
    }

    /// Compares what a client remembers of the ledger with what it is; returns what to remember now.
    ///
    /// # Errors
    /// [`RecordError::Refused`] if the memory is not one that this vault gave out; [`RecordError::Diverged`] if it is, and the
    /// ledger is behind or apart from it: the tenant is stopped then.
    pub async fn check_seen(&self, tenant: &Arc<Tenant>, seen: Option<Seen>) -> Result<Seen, RecordError> {
        let mut view = self.view(tenant).await?;
        let Some(seen) = seen else { return Ok(view.seen) };
        if !tenant.ledger_key.check_seen(&tenant.id, &seen) {
            let words = "what the client remembers of the ledger was not given out by this vault";
            return Err(RecordError::Refused { refusal: Refusal::new(Reason::InvalidArgument, words), index: None });
        }
        if seen.size > view.head.size() {
            // Another node may be ahead of this one.
            view = self.load(tenant).await?;
        }
        let stop = |why: String| Err(self.inner.ledger(&tenant.id).stop(&tenant.id, Stop::Diverged(why)));
        if seen.size > view.head.size() {
            let (told, has) = (seen.size, view.head.size());
            return stop(format!("a client was told of {told} entries, and the ledger has {has}: it was put back"));
        }
        let tip = if seen.size == view.head.size() {
            Some(view.seen.tip)
        } else {
            let boundary = self.inner.catalog.boundary(&tenant.id, seen.size).await;
            let boundary = boundary.map_err(RecordError::of_catalog)?;
            self.inner.root_at(tenant, seen.size, boundary).await?
        };
        if tip != Some(seen.tip) {
            return stop(format!("a client was told of another ledger up to entry {}: it was rewritten", seen.size));
        }
        Ok(view.seen)
    }

    /// Moves whenever something was taken away, or the tenant was stopped: what a stream stands on is to be looked at again.
    pub fn epochs(&self, tenant: &Arc<Tenant>) -> channel::Receiver<u64> {
        self.inner.ledger(&tenant.id).epochs(tenant)
    }

    /// Comes back when the catalog has been silent for so long that this node does not know what others took away.
    pub async fn blind(&self) {
        let mut blind = self.inner.blind.subscribe();
        // The sender lives as long as this does.
        let _ = blind.wait_for(|blind| *blind).await;
    }

    /// Why a tenant is stopped, if it is.
    pub fn stopped(&self, tenant: &TenantId) -> Option<String> {
        self.check_running(tenant).err().map(|error| error.to_string())
    }

    /// How many tenants this node has stopped.
    pub(crate) fn stopped_tenants(&self) -> usize {
        let ids: Vec<TenantId> =
            self.inner.ledgers.read().unwrap_or_else(PoisonError::into_inner).keys().copied().collect();
        ids.iter().filter(|id| self.stopped(id).is_some()).count()
    }

    /// Records what waits, and then nothing more.
    pub async fn shutdown(&self) {
        let (done, ended) = oneshot::channel();
        if self.jobs.send(Job::Close(done)).await.is_ok() {
            // If the writer is gone already, there is nothing to wait for.
            let _ = ended.await;
        }
        self.inner.ended.cancel();
    }

    fn catalog(&self) -> &Catalog {
        &self.inner.catalog
    }

    async fn load(&self, tenant: &Arc<Tenant>) -> Result<View, RecordError> {
        self.inner.floors(tenant).await?;
        let (answer, answered) = oneshot::channel();
        self.jobs.send(Job::Load(tenant.clone(), answer)).await.map_err(|_| RecordError::Closed)?;
        answered.await.map_err(|_| RecordError::Closed)?
    }

    fn check_running(&self, tenant: &TenantId) -> Result<(), RecordError> {
        if let Some(why) = self.inner.stopped.get() {
            return Err(RecordError::Diverged(why.clone()));
        }
        match self.inner.ledger(tenant).stopped() {
            Some(stop) => Err(stop.clone().into()),
            None => self.inner.check_operators(),
        }
    }
}

impl Inner {
    fn ledger(&self, tenant: &TenantId) -> Arc<Ledger> {
        if let Some(ledger) = self.ledgers.read().unwrap_or_else(PoisonError::into_inner).get(tenant) {
            return ledger.clone();
        }
        self.ledgers.write().unwrap_or_else(PoisonError::into_inner).entry(*tenant).or_default().clone()
    }

    /// The tenants whose ledgers were looked at by this process, and go on.
    fn in_use(&self) -> Vec<TenantId> {
        let ledgers = self.ledgers.read().unwrap_or_else(PoisonError::into_inner);
        let is_used = |ledger: &Ledger| ledger.view().is_some() && ledger.stopped().is_none();
        ledgers.iter().filter(|(_, ledger)| is_used(ledger)).map(|(id, _)| *id).collect()
    }

    /// The tenants that streams stand on.
    fn live(&self) -> Vec<Arc<Tenant>> {
        let ledgers = self.ledgers.read().unwrap_or_else(PoisonError::into_inner);
        ledgers.values().filter_map(|ledger| ledger.live()).collect()
    }

    /// Stops everything: the catalog is not the one that was opened.
    fn stop_all(&self) -> RecordError {
        let why = CatalogError::Replaced.to_string();
        if self.stopped.set(why.clone()).is_ok() {
            tracing::error!(why, "nothing is recorded or released any more");
        }
        for ledger in self.ledgers.read().unwrap_or_else(PoisonError::into_inner).values() {
            ledger.wake();
        }
        RecordError::Diverged(why)
    }
}

#[cfg(test)]
mod tests;
