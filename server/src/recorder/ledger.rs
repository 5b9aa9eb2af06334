//! What is known of a ledger in memory: what anybody may look at, and what the writer stands on.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, Weak};

use strongroom_core::grant::{Authority, Grant, Tally};
use strongroom_core::ids::{CallDigest, Digest, GrantId, Index, Millis, SessionId};
use strongroom_core::ledger::charge::is_remembered;
use strongroom_core::ledger::{Head, Seen};
use tokio::sync::{OnceCell, watch};
use tokio::time::Instant;

use super::attempt::AcceptedCall;
use super::denials::Denials;
use super::floors::Floor;
use super::lag::Lag;
use super::{RecordError, View};
use crate::sessions::Session;
use crate::tenants::Tenant;

/// The most grants that are kept in memory; past it, all are read anew.
const MAX_CACHED: usize = 100_000;
/// The most old roots that are kept: a node asks for a few when it comes back.
const MAX_ROOTS: usize = 64;
/// The most calls of one session: their digests are kept while it lives.
const MAX_CALLS: usize = 1 << 20;

/// What anybody may look at: as of the last commit of this node, or the last look at what others wrote.
#[derive(Default)]
pub(super) struct Ledger {
    view: RwLock<Option<View>>,
    /// As their renewals left them, for the writer: exact while the head is where this node left it.
    grants: Mutex<HashMap<GrantId, Arc<Grant>>>,
    /// Exact while the head is where this node left it; only the writer changes it.
    usages: Mutex<HashMap<GrantId, Tally>>,
    epoch: watch::Sender<u64>,
    tenant: OnceLock<Arc<Tenant>>,
    /// When the newest look at the catalog that succeeded began; one looks at a time.
    pub(super) looked: tokio::sync::Mutex<Option<Instant>>,
    /// What checkpoints said when this process first looked.
    pub(super) floors: OnceCell<Vec<Floor>>,
    /// Roots at sizes whose batches have left the catalog, as they were looked up for the writer; none where no commit ended.
    roots: Mutex<HashMap<Index, Option<Digest>>>,
    lag: Mutex<Lag>,
    stopped: OnceLock<Stop>,
}

/// Why a ledger goes no further in this process.
#[derive(Debug, Clone)]
pub(super) enum Stop {
    /// It contradicts what somebody remembers.
    Diverged(String),
    /// What it stands on was changed.
    Integrity(String),
}

impl From<Stop> for RecordError {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Diverged(why) => Self::Diverged(why),
            Stop::Integrity(why) => Self::Integrity(why),
        }
    }
}

impl Stop {
    pub(super) fn why(&self) -> &str {
        match self {
            Self::Diverged(why) | Self::Integrity(why) => why,
        }
    }
}

impl Ledger {
    pub(super) fn view(&self) -> Option<View> {
        self.view.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Shows what a commit came to, here or on another node; then, if something was taken away, says so. What is shown never goes
    /// back: who looked, and who committed meanwhile, come in any order.
    pub(super) fn publish(&self, view: View) {
        let epoch = view.head.epoch;
        let mut shown = self.view.write().unwrap_or_else(PoisonError::into_inner);
        if shown.as_ref().is_some_and(|shown| shown.head.size() > view.head.size()) {
            return;
        }
        lock(&self.lag).saw(view.head.size(), view.head.time);
        *shown = Some(view);
        drop(shown);
        self.epoch.send_if_modified(|old| *old < epoch && std::mem::replace(old, epoch) != epoch);
    }

    /// Moves when something is taken away. While somebody listens, the ledger is live, and watched.
    pub(super) fn epochs(&self, tenant: &Arc<Tenant>) -> watch::Receiver<u64> {
        self.tenant.get_or_init(|| tenant.clone());
        self.epoch.subscribe()
    }

    /// Whose ledger it is, if anybody stands on it.
    pub(super) fn live(&self) -> Option<Arc<Tenant>> {
        self.tenant.get().filter(|_| self.epoch.receiver_count() > 0).cloned()
    }

    pub(super) fn grant(&self, id: &GrantId) -> Option<Arc<Grant>> {
        lock(&self.grants).get(id).cloned()
    }

    pub(super) fn keep_grant(&self, grant: Arc<Grant>) {
        let mut grants = lock(&self.grants);
        if grants.len() >= MAX_CACHED {
            grants.clear();
        }
        grants.insert(grant.id, grant);
    }

    /// Forgets grants that somebody else renewed; all, if it is not known which.
    pub(super) fn forget_grants(&self, renewed: Option<&[GrantId]>) {
        let mut grants = lock(&self.grants);
        match renewed {
            Some(renewed) => renewed.iter().for_each(|id| drop(grants.remove(id))),
            None => grants.clear(),
        }
    }

    pub(super) fn usage(&self, id: &GrantId) -> Option<Tally> {
        lock(&self.usages).get(id).copied()
    }

    pub(super) fn keep_usages(&self, changed: impl IntoIterator<Item = (GrantId, Tally)>) {
        let mut usages = lock(&self.usages);
        if usages.len() >= MAX_CACHED {
            usages.clear();
        }
        usages.extend(changed);
    }

    /// Forgets what is only exact while nobody else writes.
    pub(super) fn forget_usages(&self) {
        lock(&self.usages).clear();
    }

    /// How far its checkpoints are behind.
    pub(super) fn lag(&self) -> MutexGuard<'_, Lag> {
        lock(&self.lag)
    }

    /// The root at a size whose batches have left, if it was looked up.
    pub(super) fn root(&self, size: Index) -> Option<Option<Digest>> {
        lock(&self.roots).get(&size).copied()
    }

    pub(super) fn keep_root(&self, size: Index, root: Option<Digest>) {
        let mut roots = lock(&self.roots);
        if roots.len() >= MAX_ROOTS {
            roots.clear();
        }
        roots.insert(size, root);
    }

    pub(super) fn stopped(&self) -> Option<&Stop> {
        self.stopped.get()
    }

    /// Stops the ledger, once, and says loudly why.
    pub(super) fn stop(&self, tenant: &dyn std::fmt::Display, stop: Stop) -> RecordError {
        let first = self.stopped.get().is_none();
        let stop = self.stopped.get_or_init(|| stop);
        if first {
            tracing::error!(%tenant, why = stop.why(), "the tenant is stopped: nothing is recorded or released for it");
        }
        self.wake();
        stop.clone().into()
    }

    /// Has streams look again at what they stand on.
    pub(super) fn wake(&self) {
        self.epoch.send_modify(|_| ());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the writer stands on.
pub(super) struct State {
    pub(super) head: Head,
    pub(super) authority: Arc<Authority>,
    pub(super) denials: Denials,
    pub(super) calls: Calls,
    /// The quarter of an hour in which forgotten requests were last swept.
    pub(super) swept: u64,
    /// How far the operators' ledger had come when its blocks were last compared with those that are noted here. Whoever commits
    /// to a ledger notes what is news to it, so what others did meanwhile need not be compared again.
    pub(super) noted: Index,
}

/// The calls that were entered, of the sessions that live.
///
/// A call that was entered and forgotten must never be entered again, or an old call could be made to serve twice; replay
/// refuses that. Requests that did something are rows; here are the digests of all, and the times of those that were refused.
#[derive(Default)]
pub(super) struct Calls {
    sessions: HashMap<SessionId, (Weak<Session>, HashSet<u64>)>,
    refused: HashMap<CallDigest, Millis>,
    prune_at: usize,
}

/// Whether a call may have an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entered {
    /// It had none.
    No,
    /// It had one, and is not over.
    Yes,
    /// It is over, or its session has had too many.
    Over,
}

impl Calls {
    /// Whether a call was entered. `is_request_known` says whether its request is remembered.
    pub(super) fn entered(&self, call: &AcceptedCall, now: Millis, is_request_known: bool) -> Entered {
        let Some((_, calls)) = self.sessions.get(&call.session.id) else { return Entered::No };
        if !calls.contains(&short(&call.digest)) {
            return if calls.len() < MAX_CALLS { Entered::No } else { Entered::Over };
        }
        let refused = || self.refused.get(&call.digest).is_some_and(|time| is_remembered(*time, now));
        if is_request_known || refused() { Entered::Yes } else { Entered::Over }
    }

    /// Keeps a call that has an entry now.
    pub(super) fn enter(&mut self, call: &AcceptedCall, refused_at: Option<Millis>) {
        let session = self.sessions.entry(call.session.id);
        session.or_insert_with(|| (Arc::downgrade(&call.session), HashSet::new())).1.insert(short(&call.digest));
        if let Some(time) = refused_at {
            self.refused.insert(call.digest, time);
        }
    }

    /// Drops what belongs to sessions that are gone, now and then.
    pub(super) fn prune(&mut self, now: Millis) {
        if self.sessions.len() + self.refused.len() >= self.prune_at {
            self.sessions.retain(|_, (session, _)| session.strong_count() > 0);
            self.refused.retain(|_, time| is_remembered(*time, now));
            self.prune_at = 2 * (self.sessions.len() + self.refused.len()) + 64;
        }
    }
}

/// Enough of a digest to know a call within its session by; a session that finds two alike is told to open another.
fn short(digest: &CallDigest) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&digest.as_bytes()[..8]);
    u64::from_be_bytes(bytes)
}

/// A commit whose outcome was not to be found out: what is to be marked if it turns out to have happened.
pub(super) struct Unresolved {
    pub(super) size: Index,
    pub(super) tip: Digest,
    pub(super) marks: Marks,
}

/// What is marked as recorded once a commit is known to have happened.
#[derive(Default)]
pub(super) struct Marks {
    pub(super) sessions: Vec<Arc<Session>>,
    /// Calls, and for refused ones the time.
    pub(super) calls: Vec<(Arc<AcceptedCall>, Option<Millis>)>,
}

impl Marks {
    pub(super) fn apply(&self, calls: &mut Calls) {
        use std::sync::atomic::Ordering::Release;
        self.sessions.iter().for_each(|session| session.recorded.store(true, Release));
        for (call, refused_at) in &self.calls {
            call.recorded.store(true, Release);
            calls.enter(call, *refused_at);
        }
    }
}

/// What a client is to remember of this head.
pub(super) fn seen_of(tenant: &Tenant, head: &Head) -> Seen {
    tenant.ledger_key.seen(&tenant.id, head.size(), head.tip())
}
