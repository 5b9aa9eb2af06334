//! What waits for the writer, and the writer's loop: whatever queued while the last commit ran is the next batch. No timer.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use strongroom_core::call::SignedCall;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Duration, Instant};

use super::append::Writer;
use super::attempt::{Attempt, Recorded};
use super::private::{Content, Part, PartError};
use super::request::request_key;
use super::{RecordError, View};
use crate::catalog::requests::RequestKey;
use crate::tenants::Tenant;

/// The most attempts that wait. Beyond it, callers wait to be queued.
pub(super) const MAX_QUEUE: usize = 8192;
/// The most objects, roughly, that one batch deals with.
const MAX_WEIGHT: usize = 16_384;
/// How often denials without entries of their own are looked at.
const SUM_UP_EVERY: Duration = Duration::from_secs(10);

/// What the writer is asked for.
pub(super) enum Job {
    /// To record an attempt.
    Record(Box<Waiting>),
    /// To read a ledger's standing anew, and show it.
    Load(Arc<Tenant>, oneshot::Sender<Result<View, RecordError>>),
    /// To note which keys operators blocked, and to sum up denials, for all ledgers in use here.
    SumUp,
    /// To end, once what waits is recorded.
    Close(oneshot::Sender<()>),
}

/// An attempt that waits for its answer.
pub(super) struct Waiting {
    pub(super) tenant: Arc<Tenant>,
    pub(super) attempt: Attempt,
    /// The private part of its first entry, should it be allowed.
    pub(super) part: Option<Part>,
    /// The row of its request.
    pub(super) request: Option<RequestKey>,
    pub(super) answer: oneshot::Sender<Result<Recorded, RecordError>>,
}

impl Waiting {
    /// Prepares, on the caller's own time, what does not depend on the entry's place.
    pub(super) fn new(
        tenant: Arc<Tenant>,
        attempt: Attempt,
        answer: oneshot::Sender<Result<Recorded, RecordError>>,
    ) -> Result<Self, PartError> {
        let call = attempt.call();
        let request = call.map(|call| request_key(&call.caller.key, &call.request()));
        let part = match &attempt {
            Attempt::Denied(_) => None,
            Attempt::RotateDue(_) => {
                Some(Content { detail: Some("by the vault itself"), ..Content::default() }.write()?)
            }
            Attempt::Order(order) | Attempt::CreateTenant(order, _) => {
                let signed = order.verified.clone().into_signed();
                let source = order.caller.source.to_string();
                Some(
                    Content {
                        source: Some(&source),
                        order: Some(&signed),
                        detail: order.detail.as_deref(),
                        ..Content::default()
                    }
                    .write()?,
                )
            }
            Attempt::Release(_) | Attempt::Put(_) | Attempt::Delete(_) => call
                .map(|call| {
                    let source = call.caller.source.to_string();
                    Content { call: words(call), ..Content::of_call(call, &source) }.write()
                })
                .transpose()?,
        };
        Ok(Self { tenant, attempt, part, request, answer })
    }

    /// About how many bytes its entries have.
    pub(super) fn public_size(&self) -> usize {
        match &self.attempt {
            Attempt::Put(put) => 1024 + 110 * put.objects.len(),
            Attempt::Release(release) => 1024 + 32 * release.parts.len(),
            _ => 1024,
        }
    }

    /// And its private parts, but for what comes with them: a session, or a later entry.
    pub(super) fn private_size(&self) -> usize {
        self.part.as_ref().map_or(0, |part| part.bytes.len() + 64)
    }

    /// About how many objects it deals with.
    fn weight(&self) -> usize {
        match &self.attempt {
            Attempt::Release(release) => 1 + release.parts.len() / 4,
            Attempt::Put(put) => 1 + put.objects.len(),
            Attempt::Delete(_) => 256,
            Attempt::Order(_) | Attempt::RotateDue(_) | Attempt::CreateTenant(..) | Attempt::Denied(_) => 1,
        }
    }
}

/// The signed call, unless an entry has it already.
pub(super) fn words(call: &super::attempt::AcceptedCall) -> Option<&SignedCall> {
    let recorded = call.recorded.load(std::sync::atomic::Ordering::Acquire);
    (!recorded).then_some(&call.signed)
}

/// The attempts of one tenant, in the order they came.
pub(super) struct Group {
    pub(super) tenant: Arc<Tenant>,
    pub(super) waiting: Vec<Waiting>,
}

/// Records what comes until it is told to end.
pub(super) async fn run(mut writer: Writer, mut jobs: mpsc::Receiver<Job>) {
    let mut closing = Vec::new();
    let mut sum_up = Instant::now() + SUM_UP_EVERY;
    loop {
        let job = tokio::select! {
            job = jobs.recv() => job,
            () = tokio::time::sleep_until(sum_up), if closing.is_empty() => {
                sum_up = Instant::now() + SUM_UP_EVERY;
                writer.sum_up(false).await;
                continue;
            }
        };
        // None is left, and none comes any more.
        let Some(job) = job else { break };
        let (mut loads, mut sums) = (Vec::new(), false);
        let mut groups: Vec<Group> = Vec::new();
        let mut of_tenant = HashMap::new();
        let mut weight = 0;
        let mut next = Some(job);
        while let Some(job) = next {
            match job {
                Job::Record(waiting) => {
                    weight += waiting.weight();
                    let group = match of_tenant.entry(waiting.tenant.id) {
                        Entry::Occupied(at) => *at.get(),
                        Entry::Vacant(vacant) => {
                            groups.push(Group { tenant: waiting.tenant.clone(), waiting: Vec::new() });
                            *vacant.insert(groups.len() - 1)
                        }
                    };
                    groups[group].waiting.push(*waiting);
                }
                Job::Load(tenant, answer) => loads.push((tenant, answer)),
                Job::SumUp => sums = true,
                Job::Close(done) => {
                    jobs.close();
                    closing.push(done);
                }
            }
            next = if weight < MAX_WEIGHT { jobs.try_recv().ok() } else { None };
        }
        for (tenant, answer) in loads {
            // Whoever asked may have gone away.
            let _ = answer.send(writer.load(&tenant).await);
        }
        if !groups.is_empty() {
            writer.record(groups).await;
        }
        if sums {
            writer.sum_up(false).await;
        }
    }
    writer.sum_up(true).await;
    for done in closing {
        let _ = done.send(());
    }
}
