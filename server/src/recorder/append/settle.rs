//! After the commit: what became of it, what is kept of it, and the answers. The only place where a [`Recorded`] comes from.
//!
//! A commit whose outcome is not known is found out by the head. With the head's lock had again, no such commit is under way any
//! more: either the ledger has its tip, or it never happened.

use strongroom_core::ids::Index;
use tokio::time::Instant;

use super::{Committed, Failure, Made, Prepared, Writer, view_of};
use crate::catalog::{Boundary, CatalogError, LockedHead};
use crate::recorder::RecordError;
use crate::recorder::attempt::{Attempt, Recorded, What};
use crate::recorder::draft::{Drafted, Verdict};
use crate::recorder::ledger::{State, Unresolved, seen_of};
use crate::recorder::queue::Group;

impl Writer {
    /// What became of a commit that gave no answer. An error if it did not happen, or if that cannot be known yet.
    pub(super) async fn find_out(&mut self, mut prepared: Vec<Prepared>) -> Result<Vec<Prepared>, Failure> {
        let mut happened = true;
        let look = async {
            let mut tx = self.inner.catalog.begin().await?;
            for made in prepared.iter_mut().filter_map(Prepared::made_mut).filter(|made| made.appends()) {
                let (id, ours) = (&made.tenant.id, &made.drafted.head);
                let boundary = match tx.head(id, &made.tenant.ledger_key).await? {
                    Some(LockedHead { head, .. }) if head.size() == ours.size() => Boundary::Tip(head.tip()),
                    // Another node went on from there, or from where it never came to.
                    Some(LockedHead { head, .. }) if head.size() > ours.size() => tx.boundary(id, ours.size()).await?,
                    _ => Boundary::None,
                };
                if boundary == Boundary::Left {
                    return Err(CatalogError::Io(std::io::Error::other("the batches of that time have left")));
                }
                happened &= boundary == Boundary::Tip(ours.tip());
            }
            Ok::<_, CatalogError>(())
        };
        let why = match look.await {
            Ok(()) if happened => return Ok(prepared),
            Ok(()) => "the commit failed, and nothing was recorded".to_owned(),
            Err(error) => {
                for made in prepared.iter_mut().filter_map(Prepared::made_mut).filter(|made| made.appends()) {
                    let (head, marks) = (&made.drafted.head, std::mem::take(&mut made.drafted.marks));
                    let unresolved = Unresolved { size: head.size(), tip: head.tip(), marks };
                    self.unresolved.entry(made.tenant.id).or_default().push(unresolved);
                }
                format!("whether the commit happened is not known yet: {error}")
            }
        };
        // The next batch compares these states with the head, and takes in what is newer.
        self.put_back(prepared);
        Err(Failure::Lost(RecordError::Unavailable(why)))
    }

    /// Keeps the states of drafts that were not committed.
    pub(super) fn put_back(&mut self, prepared: Vec<Prepared>) {
        for one in prepared {
            if let Prepared::Made(made) = one {
                let Made { tenant, state, .. } = *made;
                if let Some(state) = state {
                    self.ledgers.insert(tenant.id, (tenant, state));
                }
            }
        }
    }

    /// Takes a durable draft in: the node remembers, readers see, and only then is anything answered.
    pub(super) fn committed(&mut self, one: Prepared, since: Instant) -> Result<Committed, RecordError> {
        let Made { tenant, state, drafted } = match one {
            Prepared::Made(made) => *made,
            Prepared::Failed(error) => return Err(error),
        };
        let Drafted { now, head, authority, denials, noted, verdicts, marks, writes, base } = drafted;
        let ledger = self.inner.ledger(&tenant.id);
        let (calls, swept) = state.map(|state| (state.calls, state.swept)).unwrap_or_default();
        let mut state = State { head, authority, denials, calls, swept, noted };
        if state.head == base {
            let seen = seen_of(&tenant, &state.head);
            if state.head.size().0 > 0 {
                self.ledgers.insert(tenant.id, (tenant, state));
            }
            return Ok(Committed { time: now, since, seen, verdicts });
        }
        marks.apply(&mut state.calls);
        state.calls.prune(now);
        // In this order: a grant may be issued and renewed in one batch.
        writes.grants.into_iter().chain(writes.renewed).for_each(|grant| ledger.keep_grant(grant));
        ledger.keep_usages(writes.usages);
        let view = view_of(&tenant, &state);
        let remembered = self.inner.memory.remember(&tenant.id, &view.seen);
        let seen = view.seen;
        ledger.publish(view);
        self.inner.appended.notify_one();
        self.ledgers.insert(tenant.id, (tenant, state));
        // It is recorded all the same; but what this node cannot remember it does not release.
        remembered.map_err(|error| RecordError::Unavailable(format!("this node's memory: {error}")))?;
        Ok(Committed { time: now, since, seen, verdicts })
    }
}

/// Tells everybody of a batch what it came to.
pub(super) fn answer_all(groups: Vec<Group>, results: Vec<Result<Committed, RecordError>>) {
    for (group, result) in groups.into_iter().zip(results) {
        match result {
            Err(error) => fail_all(vec![group], &error),
            Ok(Committed { time, since, seen, verdicts }) => {
                for (waiting, verdict) in group.waiting.into_iter().zip(verdicts) {
                    let time = match &verdict {
                        Verdict::Ordered { time, .. } => *time,
                        _ => time,
                    };
                    let (answer, what) = (waiting.answer, what(waiting.attempt, verdict));
                    // Whoever asked may have gone away: it is recorded, and nothing is released.
                    let _ = answer.send(what.map(|(index, what)| Recorded::new(index, time, since, seen, what)));
                }
            }
        }
    }
}

/// What was recorded of an attempt, and as which entry.
fn what(attempt: Attempt, verdict: Verdict) -> Result<(Index, What), RecordError> {
    match (verdict, attempt) {
        (Verdict::Released { index, repeat }, Attempt::Release(release)) => {
            Ok((index, What::Release { call: release.call, parts: release.parts, repeat }))
        }
        (Verdict::Put { index, outcomes }, _) => Ok((index, What::Put(outcomes))),
        (Verdict::Deleted { index, outcomes }, _) => Ok((index, What::Delete(outcomes))),
        (Verdict::Ordered { index, id, .. }, _) => Ok((index, What::Order(id))),
        (Verdict::Refused { refusal, index }, _) => Err(RecordError::Refused { refusal, index }),
        (Verdict::Failed(error), _) => Err(error),
        (Verdict::Released { .. }, _) => Err(RecordError::Unavailable("it was not decided".into())),
    }
}

/// Tells everybody of a batch that it came to nothing.
pub(super) fn fail_all(groups: Vec<Group>, error: &RecordError) {
    for waiting in groups.into_iter().flat_map(|group| group.waiting) {
        let _ = waiting.answer.send(Err(error.clone()));
    }
}
