//! The commit: what a draft came to, written and made durable.
//!
//! ```text
//! begin ─► lock and load each ledger's head ─► gather ─► draft ─► write ─► commit ─► remember ─► show ─► answer
//!                                                                    └─ lost? ─► the head tells
//! ```
//!
//! Nothing is answered before the commit is durable and the node has remembered how far it came ([`settle`]).

mod settle;

use std::collections::HashMap;
use std::sync::Arc;

use strongroom_core::grant::Authority;
use strongroom_core::ids::{Millis, TenantId};
use strongroom_core::ledger::charge::REQUEST_LIFE;
use strongroom_core::ledger::{Head, Seen};
use tokio::time::Instant;

use super::attempt::Attempt;
use super::draft::{Draft, Drafted, KeyChange, Verdict};
use super::gather::gather;
use super::ledger::{Ledger, State, Unresolved, seen_of};
use super::load::{LoadError, load};
use super::queue::{Group, Waiting};
use super::{Inner, RecordError, View};
use crate::catalog::{CatalogError, NewBatch, Tx};
use crate::failpoint;
use crate::tenants::Tenant;
use settle::{answer_all, fail_all};

/// How far the database's clock may be behind a ledger, or away from the node's: 2 seconds, in milliseconds.
const MAX_BEHIND: u64 = 2000;
/// How often a batch is tried that the database took back for the sake of others.
const ATTEMPTS: u32 = 4;
/// How many forgotten requests go with one batch.
const SWEEP: u32 = 20_000;

/// Who writes: there is one in a process.
pub(super) struct Writer {
    inner: Arc<Inner>,
    ledgers: HashMap<TenantId, (Arc<Tenant>, State)>,
    unresolved: HashMap<TenantId, Vec<Unresolved>>,
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
    /// It failed before its commit: nothing happened, and trying again is harmless, and hopeful if the cause is passing.
    Before { error: RecordError, is_passing: bool },
    /// It failed at its commit, or may never be tried again.
    Lost(RecordError),
}

impl From<Failure> for RecordError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Before { error, .. } | Failure::Lost(error) => error,
        }
    }
}

impl Failure {
    fn before(error: CatalogError) -> Self {
        Self::Before { is_passing: error.is_passing(), error: RecordError::of_catalog(error) }
    }
}

impl Writer {
    pub(super) fn new(inner: Arc<Inner>) -> Self {
        Self { inner, ledgers: HashMap::new(), unresolved: HashMap::new() }
    }

    /// Records what can be, and answers all.
    pub(super) async fn record(&mut self, mut groups: Vec<Group>) {
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

    /// One transaction for all groups, tried again while what failed it passes.
    async fn record_again(&mut self, groups: &[Group]) -> Result<Vec<Result<Committed, RecordError>>, Failure> {
        let mut attempt = 1;
        loop {
            match self.try_record(groups, None).await {
                Err(Failure::Before { error, is_passing: true }) if attempt < ATTEMPTS => {
                    tracing::debug!(detail = %error, attempt, "a batch is tried again");
                    attempt += 1;
                }
                done => return done,
            }
        }
    }

    /// Reads a ledger's standing and shows it.
    pub(super) async fn load(&mut self, tenant: &Arc<Tenant>) -> Result<View, RecordError> {
        let mut tx = match self.inner.catalog.begin().await {
            Ok(tx) => tx,
            Err(CatalogError::Replaced) => return Err(self.inner.stop_all()),
            Err(error) => return Err(RecordError::of_catalog(error)),
        };
        let ledger = self.inner.ledger(&tenant.id);
        let state = self.state(&mut tx, tenant, &ledger).await.map_err(RecordError::of_catalog)??;
        let state = state.ok_or_else(|| no_ledger(tenant))?;
        let view = view_of(tenant, &state);
        ledger.publish(view.clone());
        self.ledgers.insert(tenant.id, (tenant.clone(), state));
        Ok(view)
    }

    /// Gives denials that had no entry of their own one together: those of minutes that are over, or all.
    pub(super) async fn sum_up(&mut self, all: bool) {
        let waits = |(_, (_, state)): &(&TenantId, &(Arc<Tenant>, State))| state.denials.is_waiting();
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
        let mut tx = match self.inner.catalog.begin().await {
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
                failed = write(&mut tx, made).await.err();
            }
        }
        if let Some(error) = failed {
            drop(tx);
            self.put_back(prepared);
            return Err(Failure::before(error));
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

    async fn prepare(&mut self, tx: &mut Tx, group: &Group, sums: Option<bool>) -> Result<Prepared, CatalogError> {
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
                other.map(|result| Prepared::Failed(result.err().unwrap_or(RecordError::Closed)))
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
        let database = tx.time(self.inner.clock.now()).await?;
        let now = match batch_time(database, self.inner.clock.now(), state) {
            Ok(now) => now,
            Err(error) => return Ok(Err(error)),
        };
        let known = gather(tx, &group.tenant, ledger, state, &group.waiting, now).await?;
        let draft = Draft::new(&group.tenant, self.inner.node, now, state, known, self.inner.operators());
        Ok(match sums {
            Some(all) => draft.only_sums(all),
            None => draft.decide_all(&group.waiting),
        })
    }

    /// The ledger's state as the head in the catalog says it is now: mostly, as it was left here.
    async fn state(
        &mut self,
        tx: &mut Tx,
        tenant: &Tenant,
        ledger: &Ledger,
    ) -> Result<Result<Option<State>, RecordError>, CatalogError> {
        let left = self.ledgers.remove(&tenant.id).map(|(_, state)| state);
        let size = left.as_ref().map(|state| state.head.size());
        let Some(floors) = ledger.floors.get() else {
            return Ok(Err(RecordError::Unavailable("the ledger's checkpoints were not looked at yet".into())));
        };
        let mut state = match load(tx, tenant, &self.inner.memory, floors, left).await {
            Ok(state) => state,
            Err(LoadError::Catalog(error)) => return Err(error),
            Err(LoadError::Stop(stop)) => return Ok(Err(ledger.stop(&tenant.id, stop))),
        };
        if let Some(state) = &mut state {
            if size != Some(state.head.size()) {
                ledger.forget_usages();
                match size {
                    Some(size) => ledger.forget_grants(Some(&tx.renewed_since(&tenant.id, size).await?)),
                    None => ledger.forget_grants(None),
                }
            }
            for unresolved in self.unresolved.remove(&tenant.id).unwrap_or_default() {
                let tip = if state.head.size() == unresolved.size {
                    Some(state.head.tip())
                } else {
                    tx.boundary(&tenant.id, unresolved.size).await?
                };
                if tip == Some(unresolved.tip) {
                    unresolved.marks.apply(&mut state.calls);
                }
            }
        }
        Ok(Ok(state))
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

/// Writes a draft's rows: a number of statements that does not depend on how many there are.
async fn write(tx: &mut Tx, made: &mut Made) -> Result<(), CatalogError> {
    let Made { tenant, state, drafted } = made;
    let (id, key) = (&tenant.id, &tenant.ledger_key);
    let Drafted { base, head, writes, now, .. } = drafted;
    if let Some(new) = &writes.tenant {
        tx.insert_tenant(new).await?;
    }
    tx.move_head(id, key, base, head).await?;
    if head.epoch != base.epoch {
        tx.notify(id).await?;
    }
    let batch = NewBatch {
        first: base.size(),
        size: head.size(),
        tip: head.tip(),
        entries: std::mem::take(&mut writes.public),
        parts: std::mem::take(&mut writes.private),
    };
    tx.insert_batch(id, batch).await?;
    if !writes.authority.is_empty() {
        tx.insert_authority(id, &writes.authority).await?;
    }
    if !writes.orders.is_empty() {
        tx.insert_orders(id, &writes.orders).await?;
    }
    if !writes.grants.is_empty() {
        tx.insert_grants(id, key, writes.grants.iter().map(|grant| &**grant), *now).await?;
    }
    if !writes.renewals.is_empty() {
        tx.insert_renewals(id, key, &writes.renewals).await?;
    }
    if !writes.usages.is_empty() {
        tx.set_usages(id, writes.usages.iter().copied(), *now).await?;
    }
    if !writes.requests.is_empty() {
        tx.remember_requests(id, writes.requests.iter().map(|(key, row)| (key, row))).await?;
    }
    if !writes.objects.is_empty() {
        tx.insert_objects(id, std::mem::take(&mut writes.objects)).await?;
        tx.commit_uploads(id, writes.blobs.iter().map(|(blob, objects)| (&blob[..], *objects))).await?;
    }
    tx.write_paths(id, *now, std::mem::take(&mut writes.paths)).await?;
    for dataset in &writes.deleted {
        tx.retire_dataset(id, dataset, *now).await?;
    }
    if writes.reopens_rewrap {
        tx.reopen_rewrap(id).await?;
    }
    for change in &writes.keys {
        match change {
            KeyChange::Rotated { version, wrapped } => tx.rotate_key(id, *version, wrapped, *now).await?,
            KeyChange::Destroyed { version } => tx.destroy_key(id, *version).await?,
        }
    }
    if let Some(state) = state.as_mut().filter(|state| state.swept != now.0 / REQUEST_LIFE) {
        let more = tx.forget_requests(id, *now, SWEEP).await?;
        state.swept = if more { state.swept } else { now.0 / REQUEST_LIFE };
    }
    Ok(())
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
