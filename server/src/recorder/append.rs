//! The commit: what a draft came to, written and made durable.
//!
//! ```text
//! begin ─► lock and load each ledger's head ─► gather ─► draft ─► write ─► commit ─► remember ─► show ─► answer
//!                                                                    └─ lost? ─► the head tells
//! ```
//!
//! Nothing is answered before the commit is durable and the node has remembered how far it came ([`settle`]).

mod rows;
mod settle;

use std::collections::HashMap;
use std::sync::Arc;

use strongroom_core::grant::Authority;
use strongroom_core::ids::{Index, Millis, TenantId};
use strongroom_core::ledger::{Head, Seen};
use tokio::time::{Duration, Instant, timeout};

use super::attempt::Attempt;
use super::draft::{Draft, Drafted, Verdict};
use super::gather::gather;
use super::ledger::{Ledger, State, Unresolved, seen_of};
use super::load::{LoadError, load, root_at};
use super::queue::{Group, Waiting};
use super::{Inner, RecordError, View};
use crate::catalog::{CatalogError, Tx};
use crate::failpoint;
use crate::tenants::Tenant;
use rows::write;
use settle::{answer_all, fail_all};

/// How far the database's clock may be behind a ledger, or away from the node's: 2 seconds, in milliseconds.
const MAX_BEHIND: u64 = 2000;
/// How often a batch is tried that the database took back for the sake of others.
const ATTEMPTS: u32 = 4;
/// How long an old root may be looked up in the object store.
const FIND_ROOT: Duration = Duration::from_secs(5);

/// Who writes: there is one in a process.
pub(super) struct Writer {
    inner: Arc<Inner>,
    ledgers: HashMap<TenantId, (Arc<Tenant>, State)>,
    unresolved: HashMap<TenantId, Vec<Unresolved>>,
    /// Whether something stood where a batch was to go, so that it is looked for.
    wary: bool,
}

/// A draft on its way, with the ledger's state that it was made on.
struct Made {
    tenant: Arc<Tenant>,
    state: Option<State>,
    drafted: Drafted,
}

impl Made {
    /// Whether there is anything to commit.
    fn appends(&self) -> bool {
        self.drafted.head != self.drafted.base
    }
}

/// What a group comes to before the commit.
enum Prepared {
    Made(Box<Made>),
    Failed(RecordError),
}

impl Prepared {
    fn made_mut(&mut self) -> Option<&mut Made> {
        match self {
            Self::Made(made) => Some(made),
            Self::Failed(_) => None,
        }
    }
}

/// A group whose draft is durable.
struct Committed {
    time: Millis,
    /// When it was committed, or before.
    since: Instant,
    seen: Seen,
    verdicts: Vec<Verdict>,
}

/// Why a transaction came to nothing.
enum Failure {
    /// It failed before its commit: nothing happened, and trying again is harmless.
    Before { error: RecordError, cause: Cause },
    /// It failed at its commit, or may never be tried again.
    Lost(RecordError),
    /// Nothing happened yet: the root that this ledger had at this size has left the catalog, and is to be looked up first.
    Left(Arc<Tenant>, Index),
}

/// What a failed transaction failed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// It may be gone already.
    Passing,
    /// A row stood where one was to go.
    Conflict,
    Other,
}

impl From<Failure> for RecordError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Before { error, .. } | Failure::Lost(error) => error,
            Failure::Left(_, size) => Self::Unavailable(format!("the root at {size} entries was not looked up yet")),
        }
    }
}

impl Failure {
    fn before(error: CatalogError) -> Self {
        let cause = match &error {
            error if error.is_conflict() => Cause::Conflict,
            error if error.is_passing() => Cause::Passing,
            _ => Cause::Other,
        };
        Self::Before { cause, error: RecordError::of_catalog(error) }
    }
}

impl Writer {
    pub(super) fn new(inner: Arc<Inner>) -> Self {
        Self { inner, ledgers: HashMap::new(), unresolved: HashMap::new(), wary: false }
    }

    /// Records what can be, and answers all.
    pub(super) async fn record(&mut self, mut groups: Vec<Group>) {
        // What operators order comes first, in a commit of its own: all else is decided with it known.
        if let Some(at) = groups.iter().position(|group| group.tenant.origin.is_operators()) {
            let own = vec![groups.swap_remove(at)];
            match self.record_again(&own).await {
                Ok(results) => answer_all(own, results),
                Err(failure) => fail_all(own, &failure.into()),
            }
        }
        if groups.is_empty() {
            return;
        }
        // The order in which heads are locked, on every node.
        groups.sort_unstable_by_key(|group| group.tenant.id);
        match self.record_again(&groups).await {
            Ok(results) => answer_all(groups, results),
            Err(Failure::Before { error, .. }) if groups.len() > 1 => {
                // One tenant's rows must not keep the others from recording.
                tracing::warn!(detail = %error, "a batch failed; its tenants are recorded one by one");
                for group in groups {
                    let group = vec![group];
                    match self.record_again(&group).await {
                        Ok(results) => answer_all(group, results),
                        Err(failure) => fail_all(group, &failure.into()),
                    }
                }
            }
            Err(failure) => fail_all(groups, &failure.into()),
        }
    }

    /// One transaction for all groups, tried again while what failed it passes. Where a row stood in the way it is looked for: one
    /// that somebody made up stops its tenant, and the others go on.
    async fn record_again(&mut self, groups: &[Group]) -> Result<Vec<Result<Committed, RecordError>>, Failure> {
        let mut attempt = 1;
        let done = loop {
            match self.try_record(groups, None).await {
                Err(Failure::Before { error, cause }) if cause != Cause::Other && attempt < ATTEMPTS => {
                    tracing::debug!(detail = %error, attempt, "a batch is tried again");
                    attempt += 1;
                    self.wary |= cause == Cause::Conflict;
                }
                Err(Failure::Left(tenant, size)) => {
                    if let Err(failure) = self.find_root(&tenant, size).await {
                        break Err(failure);
                    }
                }
                done => break done,
            }
        };
        self.wary = false;
        done
    }

    /// Reads a ledger's standing and shows it.
    pub(super) async fn load(&mut self, tenant: &Arc<Tenant>) -> Result<View, RecordError> {
        loop {
            match self.try_load(tenant).await {
                Err(Failure::Left(tenant, size)) => self.find_root(&tenant, size).await?,
                done => return done.map_err(RecordError::from),
            }
        }
    }

    async fn try_load(&mut self, tenant: &Arc<Tenant>) -> Result<View, Failure> {
        let mut tx = match self.inner.catalog.begin().await {
            Ok(tx) => tx,
            Err(CatalogError::Replaced) => return Err(Failure::Lost(self.inner.stop_all())),
            Err(error) => return Err(Failure::before(error)),
        };
        let ledger = self.inner.ledger(&tenant.id);
        let state = self.state(&mut tx, tenant, &ledger).await?.map_err(Failure::Lost)?;
        let state = state.ok_or_else(|| Failure::Lost(no_ledger(tenant)))?;
        let view = view_of(tenant, &state);
        ledger.publish(view.clone());
        self.ledgers.insert(tenant.id, (tenant.clone(), state));
        Ok(view)
    }

    /// Looks an old root up where it still stands. Nothing is locked meanwhile, and nobody is kept waiting for long.
    async fn find_root(&self, tenant: &Arc<Tenant>, size: Index) -> Result<(), Failure> {
        let late = || RecordError::Unavailable(format!("the root at {size} entries cannot be looked up"));
        let found = timeout(FIND_ROOT, self.inner.find_root(tenant, size)).await.unwrap_or_else(|_| Err(late()));
        found.map_err(|error| Failure::Before { error, cause: Cause::Other })
    }

    /// Gives denials that had no entry of their own one together: those of minutes that are over, or all. And notes which keys
    /// operators blocked where a tenant is known to know one of them; elsewhere it is looked up with the next entry.
    pub(super) async fn sum_up(&mut self, all: bool) {
        let operators = self.inner.operators_now();
        let has_news = |state: &State| {
            let mut news = operators.authority.blocked().news(state.authority.blocked());
            state.noted < operators.size && news.any(|(key, _)| state.authority.has_known(key))
        };
        let waits = |(_, (tenant, state)): &(&TenantId, &(Arc<Tenant>, State))| {
            state.denials.is_waiting() || (!tenant.origin.is_operators() && has_news(state))
        };
        let tenants: Vec<Arc<Tenant>> =
            self.ledgers.iter().filter(waits).map(|(_, (tenant, _))| tenant.clone()).collect();
        for tenant in tenants {
            let group = [Group { tenant, waiting: Vec::new() }];
            if let Err(failure) = self.try_record(&group, Some(all)).await {
                tracing::warn!(detail = %RecordError::from(failure), "denials could not be summed up");
            }
        }
    }

    /// One transaction for all groups; with `sums`, only denials are summed up.
    async fn try_record(
        &mut self,
        groups: &[Group],
        sums: Option<bool>,
    ) -> Result<Vec<Result<Committed, RecordError>>, Failure> {
        let operators = groups.iter().any(|group| group.tenant.origin.is_operators());
        let mut tx = match self.inner.catalog.begin_batch(operators).await {
            Ok(tx) => tx,
            Err(CatalogError::Replaced) => return Err(Failure::Lost(self.inner.stop_all())),
            Err(error) => return Err(Failure::before(error)),
        };
        let mut prepared = Vec::with_capacity(groups.len());
        let mut since = Instant::now();
        let mut failed = None;
        for group in groups {
            match self.prepare(&mut tx, group, sums).await {
                Ok(one) => prepared.push(one),
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        for made in prepared.iter_mut().filter_map(Prepared::made_mut).filter(|made| made.appends()) {
            if failed.is_none() {
                failed = write(&mut tx, made).await.err().map(Failure::before);
            }
        }
        if let Some(error) = failed {
            drop(tx);
            self.put_back(prepared);
            return Err(error);
        }
        if prepared.iter_mut().filter_map(Prepared::made_mut).any(|made| made.appends()) {
            failpoint::hit("record.committing");
            since = Instant::now();
            let committed = tx.commit().await;
            failpoint::hit("record.committed");
            match committed {
                Ok(()) => {
                    // Where nobody else writes, nothing can have been taken away since.
                    if !self.inner.catalog.is_shared() {
                        since = Instant::now();
                    }
                }
                Err(CatalogError::Replaced) => return Err(Failure::Lost(self.inner.stop_all())),
                Err(error) => {
                    tracing::error!(detail = %error, "a commit gave no answer: the ledger's head tells what became of it");
                    prepared = self.find_out(prepared).await?;
                }
            }
        }
        let committed = prepared.into_iter().map(|one| self.committed(one, since)).collect();
        failpoint::hit("record.remembered");
        Ok(committed)
    }

    async fn prepare(&mut self, tx: &mut Tx, group: &Group, sums: Option<bool>) -> Result<Prepared, Failure> {
        let tenant = &group.tenant;
        let ledger = self.inner.ledger(&tenant.id);
        if let Some(stop) = ledger.stopped() {
            return Ok(Prepared::Failed(stop.clone().into()));
        }
        let state = match self.state(tx, tenant, &ledger).await? {
            Ok(state) => state,
            Err(error) => return Ok(Prepared::Failed(error)),
        };
        let creates = |waiting: &Waiting| matches!(waiting.attempt, Attempt::CreateTenant(..));
        if state.is_none() && !group.waiting.iter().all(creates) {
            return Ok(Prepared::Failed(no_ledger(tenant)));
        }
        let result = self.draft(tx, group, &ledger, state.as_ref(), sums).await;
        match result {
            Ok(Ok(drafted)) => Ok(Prepared::Made(Box::new(Made { tenant: tenant.clone(), state, drafted }))),
            other => {
                if let Some(state) = state {
                    self.ledgers.insert(tenant.id, (tenant.clone(), state));
                }
                let failed = other.map_err(Failure::before)?.err();
                Ok(Prepared::Failed(failed.unwrap_or(RecordError::Closed)))
            }
        }
    }

    async fn draft(
        &self,
        tx: &mut Tx,
        group: &Group,
        ledger: &Ledger,
        state: Option<&State>,
        sums: Option<bool>,
    ) -> Result<Result<Drafted, RecordError>, CatalogError> {
        let tenant = &group.tenant;
        let own = tenant.origin.operators().tenant();
        let (database, operators) = tx.time_and_head(self.inner.clock.now(), &own).await?;
        let operators = match self.inner.operators_at(operators.as_deref()).await {
            Ok(operators) => operators,
            Err(error) => return Ok(Err(error)),
        };
        let now = match batch_time(database, self.inner.clock.now(), state) {
            Ok(now) => now,
            Err(error) => return Ok(Err(error)),
        };
        let known = gather(tx, tenant, ledger, state, &group.waiting, now, &operators).await?;
        let draft = Draft::new(tenant, self.inner.node, now, state, known, operators);
        Ok(match sums {
            Some(all) => draft.only_sums(all),
            None => draft.decide_all(&group.waiting),
        })
    }

    /// The ledger's state as the head in the catalog says it is now: mostly, as it was left here.
    async fn state(
        &mut self,
        tx: &mut Tx,
        tenant: &Arc<Tenant>,
        ledger: &Ledger,
    ) -> Result<Result<Option<State>, RecordError>, Failure> {
        let mut state = self.ledgers.remove(&tenant.id).map(|(_, state)| state);
        match self.refresh(tx, tenant, ledger, &mut state).await {
            Ok(()) => Ok(Ok(state)),
            Err(LoadError::Stop(stop)) => Ok(Err(ledger.stop(&tenant.id, stop))),
            Err(passing) => {
                // What is only known here must not be forgotten because something could not be read.
                if let Some(state) = state {
                    self.ledgers.insert(tenant.id, (tenant.clone(), state));
                }
                Err(match passing {
                    LoadError::Catalog(error) => Failure::before(error),
                    LoadError::Left(size) => Failure::Left(tenant.clone(), size),
                    LoadError::Stop(stop) => Failure::Lost(stop.into()),
                })
            }
        }
    }

    async fn refresh(
        &mut self,
        tx: &mut Tx,
        tenant: &Tenant,
        ledger: &Ledger,
        state: &mut Option<State>,
    ) -> Result<(), LoadError> {
        let size = state.as_ref().map(|state| state.head.size());
        let Some(floors) = ledger.floors.get() else {
            let why = std::io::Error::other("the ledger's checkpoints were not looked at yet");
            return Err(CatalogError::from(why).into());
        };
        load(tx, tenant, &self.inner.memory, ledger, floors, self.wary, state).await?;
        let Some(state) = state else { return Ok(()) };
        if size != Some(state.head.size()) {
            ledger.forget_usages();
            match size {
                Some(size) => match tx.renewed_since(&tenant.id, size).await {
                    Ok(renewed) => ledger.forget_grants(Some(&renewed)),
                    Err(error) => {
                        ledger.forget_grants(None);
                        return Err(error.into());
                    }
                },
                None => ledger.forget_grants(None),
            }
        }
        while let Some(unresolved) = self.unresolved.get_mut(&tenant.id).and_then(|all| all.pop()) {
            let root = match state.head.size() == unresolved.size {
                true => Ok(Some(state.head.tip())),
                false => root_at(tx, tenant, ledger, unresolved.size).await,
            };
            match root {
                Ok(Some(tip)) if tip == unresolved.tip => unresolved.marks.apply(&mut state.calls),
                Ok(_) => {}
                Err(error) => {
                    self.unresolved.entry(tenant.id).or_default().push(unresolved);
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

/// The batch's time: that of the database's clock, but never before the entry before.
fn batch_time(clock: Millis, node: Millis, state: Option<&State>) -> Result<Millis, RecordError> {
    let newest = state.map_or(Millis(0), |state| state.head.time);
    let apart = clock.0.abs_diff(node.0);
    if apart > MAX_BEHIND {
        return Err(RecordError::Clock(format!("the database's clock is {apart} ms away from this node's")));
    }
    if clock.0.saturating_add(MAX_BEHIND) < newest.0 {
        let behind = newest.0 - clock.0;
        return Err(RecordError::Clock(format!("the clock is {behind} ms behind the ledger's newest entry")));
    }
    Ok(clock.max(newest))
}

fn no_ledger(tenant: &Tenant) -> RecordError {
    RecordError::Diverged(format!("tenant {} has no ledger", tenant.id))
}

fn view_of(tenant: &Tenant, state: &State) -> View {
    view_of_head(tenant, state.authority.clone(), state.head.clone())
}

/// What is shown of a ledger with this head.
pub(super) fn view_of_head(tenant: &Tenant, authority: Arc<Authority>, head: Head) -> View {
    View { authority, seen: seen_of(tenant, &head), head: Arc::new(head) }
}
