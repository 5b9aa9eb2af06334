//! Re-keying: the same content, sealed anew under a new key. For a tenant's admins.
//!
//! ```text
//! (path, generation) ─► get ─► plaintext in memory ─► sealed under a fresh key ─► put, if that generation is still what is there
//! ```
//!
//! It is done here, where plaintext may be, and not in the vault, which has no business seeing it: no plaintext touches a disk. Each
//! object is recorded as `object.rekeyed`, its generation replacing the one before it. Whoever reads the old one finishes; its
//! wrapped key and its blob go after the vault's `rekey_grace`. A write meanwhile wins: that object is skipped, and named.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use strongroom_core::call::Condition;
use strongroom_core::grant::Prefix;
use strongroom_core::ids::{Generation, Index};
use strongroom_core::names::ObjectPath;
use strongroom_core::reason::Reason;

use crate::batch::{GetGroup, PUT_BUDGET, put_cost_of, started};
use crate::connect::Vault;
use crate::error::{Error, Result};
use crate::get::GetOptions;
use crate::groups::{Busy, Groups};
use crate::listing::{ListOptions, Listed};
use crate::name::DatasetRef;
use crate::put::{Progress, PutDone, PutOptions};

/// Calls to put that are under way at a time.
const CALLS: usize = 4;
/// Objects that are asked for in one call.
const OBJECTS: usize = 256;

/// What became of one object.
#[derive(Debug)]
pub struct Rekeyed {
    /// Its path.
    pub path: ObjectPath,
    /// The generation that was to be replaced.
    pub was: Generation,
    /// What became of it.
    pub outcome: RekeyOutcome,
}

/// What became of an object that was to get a new key.
#[derive(Debug)]
pub enum RekeyOutcome {
    /// It has one: this generation replaced the one before.
    Done(PutDone),
    /// Another generation is there by now, or none: whatever changed it wins.
    Changed,
    /// It could not be read or put.
    Failed(Error),
}

impl Vault {
    /// Gives each of these objects of a dataset a new key, if its visible generation is the one that is named; results come in the
    /// order of the input. Plaintext passes through this process's memory and no disk.
    ///
    /// What is named twice, or was done before, is [`RekeyOutcome::Changed`] the second time. `progress` is told the bytes that are
    /// done so far. The caller must be an admin of the tenant; otherwise every object is `OUT_OF_SCOPE`.
    pub fn rekey<'s>(
        &self,
        dataset: &DatasetRef,
        objects: impl Stream<Item = (ObjectPath, Generation)> + Send + 's,
        progress: Option<Progress>,
    ) -> BoxStream<'s, Rekeyed> {
        let total = Arc::new(AtomicU64::new(0));
        let read = self.read_to_rekey(dataset, objects);
        let groups = Groups::new(
            read,
            |read: &Read| put_cost_of(&read.path, read.plain.as_ref().map_or(0, Bytes::len)),
            PUT_BUDGET,
        );
        let busy = groups.busy.clone();
        let (vault, dataset) = (self.clone(), dataset.clone());
        let calls = groups.map(move |group| {
            let (vault, dataset, progress) = (vault.clone(), dataset.clone(), progress.clone());
            let (total, busy) = (total.clone(), Busy::new(&busy));
            async move {
                let results = vault.put_rekeyed(&dataset, group).await;
                drop(busy);
                let size = |rekeyed: &Rekeyed| match &rekeyed.outcome {
                    RekeyOutcome::Done(done) => done.size,
                    _ => 0,
                };
                let done: u64 = results.iter().map(size).sum();
                let total = total.fetch_add(done, Ordering::Relaxed) + done;
                if let Some(progress) = &progress {
                    progress(total);
                }
                futures::stream::iter(results)
            }
        });
        calls.buffered(CALLS).flatten().boxed()
    }

    /// The objects under a prefix of a dataset that were put before the entry `before`, each with its visible generation: what to
    /// [`Vault::rekey`]. Whoever was broken off goes on with the same `before`: what has its new key by then is left out.
    ///
    /// # Errors
    /// As [`Vault::list`], which ends the stream.
    pub fn to_rekey(
        &self,
        dataset: &DatasetRef,
        prefix: &Prefix,
        before: Index,
    ) -> BoxStream<'static, Result<(ObjectPath, Generation)>> {
        let listing = ListOptions { delimiter: false, grant: None };
        let listed = self.list(dataset, prefix, listing).filter_map(move |line| {
            std::future::ready(match line {
                Ok(Listed::Object(info)) if info.index < before => Some(Ok((info.path, info.generation))),
                Ok(Listed::Object(_) | Listed::Folder(_)) => None,
                Err(error) => Some(Err(error)),
            })
        });
        listed.boxed()
    }

    fn read_to_rekey<'s>(
        &self,
        dataset: &DatasetRef,
        objects: impl Stream<Item = (ObjectPath, Generation)> + Send + 's,
    ) -> impl Stream<Item = Read> + Send + 's {
        let groups = Groups::new(objects, |_| 1, OBJECTS);
        let busy = groups.busy.clone();
        let (vault, dataset) = (self.clone(), dataset.clone());
        let calls = groups.map(move |group| {
            let generations: Vec<Generation> = group.iter().map(|(_, generation)| *generation).collect();
            let asks = group.into_iter().map(|(path, generation)| (path, Some(generation))).collect();
            let group = GetGroup::new(&vault, &dataset, asks, None, Busy::new(&busy));
            async move {
                let read = |((path, plain), was): ((ObjectPath, Result<Bytes>), Generation)| Read { path, was, plain };
                started(group).await.zip(futures::stream::iter(generations)).map(read)
            }
        });
        calls.buffered(2).flatten()
    }

    /// Puts what was read; a result for each, in order.
    async fn put_rekeyed(&self, dataset: &DatasetRef, group: Vec<Read>) -> Vec<Rekeyed> {
        let mut results = Vec::with_capacity(group.len());
        let mut group = std::collections::VecDeque::from(group);
        while let Some(Read { path, was, plain }) = group.pop_front() {
            let options = PutOptions { condition: Condition::Rekey(was), ..PutOptions::default() };
            let plain = match plain {
                Ok(plain) => plain,
                Err(error) if error.reason() == Reason::TooLarge => {
                    let outcome = self.rekey_large(dataset, &path, was, options).await;
                    results.push(Rekeyed { outcome: outcome_of(outcome), path, was });
                    continue;
                }
                Err(error) => {
                    results.push(Rekeyed { outcome: outcome_of(Err(error)), path, was });
                    continue;
                }
            };
            // One call has one condition: those that follow with the same number go along.
            let mut objects = vec![(path, plain)];
            while let Some(next) = group.pop_front_if(|next| next.was == was && next.plain.is_ok()) {
                if let Ok(plain) = next.plain {
                    objects.push((next.path, plain));
                }
            }
            let paths: Vec<ObjectPath> = objects.iter().map(|(path, _)| path.clone()).collect();
            let put = match &mut objects[..] {
                [(path, plain)] => {
                    let plain = std::mem::take(plain);
                    vec![Box::pin(self.put_bytes(&dataset.object(path.clone()), plain, options)).await]
                }
                _ => self.put_batch(dataset, objects, &options).await,
            };
            let told = |(path, put): (ObjectPath, Result<PutDone>)| Rekeyed { path, was, outcome: outcome_of(put) };
            results.extend(paths.into_iter().zip(put).map(told));
        }
        results
    }

    /// An object that is too large to be held: sealed anew as it is read.
    async fn rekey_large(
        &self,
        dataset: &DatasetRef,
        path: &ObjectPath,
        was: Generation,
        options: PutOptions,
    ) -> Result<PutDone> {
        let name = dataset.object(path.clone());
        let reader = self.get(&name, GetOptions { generation: Some(was), grant: None }).await?;
        Box::pin(self.put(&name, reader.into_async_read(), options)).await
    }
}

/// An object that was read.
struct Read {
    path: ObjectPath,
    was: Generation,
    plain: Result<Bytes>,
}

fn outcome_of(put: Result<PutDone>) -> RekeyOutcome {
    match put {
        Ok(done) => RekeyOutcome::Done(done),
        // What is no longer there, or is something else, was changed by somebody who wins.
        Err(error) if matches!(error.reason(), Reason::PreconditionFailed | Reason::NotFound | Reason::Shredded) => {
            RekeyOutcome::Changed
        }
        Err(error) => RekeyOutcome::Failed(error),
    }
}
