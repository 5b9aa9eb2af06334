//! Many objects: grouped into calls, several calls under way, results in the order of the input.
//!
//! A labelling dataset is millions of items of a kilobyte, and a call each would be a round trip, a ledger entry and an fsync
//! each. So small objects share calls of up to 1024, and large ones go alone. A group that is not full waits for more input as
//! long as another group is under way, and no longer: a slow input is not held back, a fast one fills its calls.
//!
//! One object that fails does not stop the others: its error stands in its place.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use strongroom_core::call::MAX_ITEMS;
use strongroom_core::grant::{Action, Prefix};
use strongroom_core::ids::{Generation, GrantId};
use strongroom_core::names::ObjectPath;
use strongroom_core::reason::Reason;
use strongroom_core::sealed::SEGMENT_SIZE;
use strongroom_proto::MAX_BATCH;

use crate::assembly::{Ask, AskName};
use crate::connect::Vault;
use crate::error::{Error, Failed, Result};
use crate::fetch::{Answer, Outcome};
use crate::get::{GetOptions, Reader};
use crate::groups::{Busy, Groups};
use crate::listing::{DeleteOptions, Deleted, ListOptions, Listed, ObjectInfo};
use crate::name::DatasetRef;
use crate::picking::{Want, WantPlace};
use crate::piece::Facts;
use crate::put::{PutDone, PutOptions};
use crate::seal::packed_len;
use crate::successor::Under;

/// Calls under way at a time: while one is committed, others are sealed, sent and checked.
const CALLS: usize = 6;
/// The most objects of a call. Fewer than may be: several calls that overlap are faster than few full ones in step.
const OBJECTS: usize = MAX_ITEMS / 2;
/// The most bytes of an object that is given in one piece.
const MAX_WHOLE: u64 = 64 * 1024 * 1024;
/// Larger objects are not grouped when their sizes are known.
const LARGE: u64 = 1024 * 1024;
/// Plaintext of a group when sizes are known.
const GROUP_BYTES: usize = 8 * 1024 * 1024;

/// An object of [`Vault::get_prefix`].
#[derive(Debug)]
pub struct Fetched {
    /// What it is.
    pub info: ObjectInfo,
    /// What is in it, or why it could not be read: the others go on.
    pub body: Result<Body>,
}

/// The plaintext of an object.
#[derive(Debug)]
pub enum Body {
    /// A small object, whole.
    Whole(Bytes),
    /// A large one (over 1 MiB), as it arrives.
    Stream(Box<Reader>),
}

impl Vault {
    /// Puts many objects; results come in the order of the input. Small ones share calls, large ones go alone.
    ///
    /// `options.condition` holds for each of them; `options.progress` is told the bytes of all that are visible so far.
    pub fn put_many<'s>(
        &self,
        dataset: &DatasetRef,
        objects: impl Stream<Item = (ObjectPath, Bytes)> + Send + 's,
        options: PutOptions,
    ) -> BoxStream<'s, Result<PutDone, Failed>> {
        let (vault, dataset) = (self.clone(), dataset.clone());
        let total = Arc::new(AtomicU64::new(0));
        let groups = Groups::new(objects, put_cost, PUT_BUDGET);
        let busy = groups.busy.clone();
        let calls = groups.map(move |group| {
            let (vault, dataset, options) = (vault.clone(), dataset.clone(), options.clone());
            let (total, busy) = (total.clone(), Busy::new(&busy));
            async move {
                let results = put_group(&vault, &dataset, group, &options).await;
                drop(busy);
                let put: u64 = results.iter().flatten().map(|done| done.size).sum();
                let total = total.fetch_add(put, Ordering::Relaxed) + put;
                if let Some(progress) = &options.progress {
                    progress(total);
                }
                futures::stream::iter(results)
            }
        });
        calls.buffered(CALLS).flatten().boxed()
    }

    /// Reads many objects, each in one piece; results come in the order of the input.
    ///
    /// An object over 64 MiB is `TOO_LARGE` here: read it with [`Vault::get`].
    pub fn get_many<'s>(
        &self,
        dataset: &DatasetRef,
        paths: impl Stream<Item = ObjectPath> + Send + 's,
        options: GetOptions,
    ) -> BoxStream<'s, Result<(ObjectPath, Bytes), Failed>> {
        let (vault, dataset) = (self.clone(), dataset.clone());
        let groups = Groups::new(paths, |_| 1, OBJECTS);
        let busy = groups.busy.clone();
        let calls = groups.map(move |paths| {
            let asks = paths.into_iter().map(|path| (path, options.generation)).collect();
            let group = GetGroup::new(&vault, &dataset, asks, options.grant, Busy::new(&busy));
            started(group)
        });
        let results = calls.buffered(CALLS).flatten();
        let told = |(path, whole): (ObjectPath, Result<Bytes>)| match whole {
            Ok(bytes) => Ok((path, bytes)),
            Err(error) => Err(Failed { path, error }),
        };
        results.map(told).boxed()
    }

    /// Reads all objects under a prefix, in the order of their paths, as they were when they were listed.
    ///
    /// # Errors
    /// As [`Vault::list`], which ends the stream; an object that cannot be read says so in its [`Fetched::body`].
    pub fn get_prefix(
        &self,
        dataset: &DatasetRef,
        prefix: &Prefix,
        options: GetOptions,
    ) -> BoxStream<'static, Result<Fetched>> {
        let listing = ListOptions { delimiter: false, grant: options.grant };
        let listed = self.list(dataset, prefix, listing).filter_map(|line| {
            std::future::ready(match line {
                Ok(Listed::Object(info)) => Some(Ok(info)),
                Ok(Listed::Folder(_)) => None,
                Err(error) => Some(Err(error)),
            })
        });
        let (vault, dataset, grant) = (self.clone(), dataset.clone(), options.grant);
        let groups = Groups::new(listed, listed_cost, GROUP_BYTES);
        let busy = groups.busy.clone();
        let calls =
            groups.map(move |group| fetch_listed(vault.clone(), dataset.clone(), group, grant, Busy::new(&busy)));
        // A large object begins before the one ahead of it is read, and then waits: one ahead is enough.
        calls.buffered(2).flatten().boxed()
    }

    /// Hides many objects; results come in the order of the input.
    pub fn delete_many<'s>(
        &self,
        dataset: &DatasetRef,
        paths: impl Stream<Item = ObjectPath> + Send + 's,
        options: DeleteOptions,
    ) -> BoxStream<'s, Result<Deleted, Failed>> {
        let (vault, dataset) = (self.clone(), dataset.clone());
        let groups = Groups::new(paths, |_| 1, MAX_ITEMS);
        let busy = groups.busy.clone();
        let calls = groups.map(move |group| {
            let (vault, dataset, options) = (vault.clone(), dataset.clone(), options.clone());
            let busy = Busy::new(&busy);
            async move {
                let results = delete_group(&vault, &dataset, group, &options).await;
                drop(busy);
                futures::stream::iter(results)
            }
        });
        calls.buffered(CALLS).flatten().boxed()
    }
}

/// What a batch may cost: its sealed bytes and its signed call, which then fit into a message with some room.
pub(crate) const PUT_BUDGET: usize = MAX_BATCH;

fn put_cost((path, bytes): &(ObjectPath, Bytes)) -> usize {
    put_cost_of(path, bytes.len())
}

/// What an object of so many bytes takes of a batch; a large one takes all of it.
pub(crate) fn put_cost_of(path: &ObjectPath, len: usize) -> usize {
    if len > SEGMENT_SIZE {
        return PUT_BUDGET;
    }
    // An item of the call in JSON, where a path may double by escapes, and at least an equal share of the call.
    let item = 420 + 2 * path.as_str().len();
    (packed_len(len) + item).max(PUT_BUDGET / OBJECTS)
}

async fn put_group(
    vault: &Vault,
    dataset: &DatasetRef,
    mut group: Vec<(ObjectPath, Bytes)>,
    options: &PutOptions,
) -> Vec<Result<PutDone, Failed>> {
    let options = PutOptions { progress: None, ..options.clone() };
    let paths: Vec<ObjectPath> = group.iter().map(|(path, _)| path.clone()).collect();
    let results = match &mut group[..] {
        [(path, bytes)] => {
            let bytes = std::mem::take(bytes);
            vec![Box::pin(vault.put_bytes(&dataset.object(path.clone()), bytes, options)).await]
        }
        _ => vault.put_batch(dataset, group, &options).await,
    };
    let told = |(path, result): (ObjectPath, Result<PutDone>)| result.map_err(|error| Failed { path, error });
    paths.into_iter().zip(results).map(told).collect()
}

async fn delete_group(
    vault: &Vault,
    dataset: &DatasetRef,
    paths: Vec<ObjectPath>,
    options: &DeleteOptions,
) -> Vec<Result<Deleted, Failed>> {
    let grants = match grants_of(vault, dataset, paths.iter(), Action::Delete, options.grant).await {
        Ok(grants) => grants,
        Err(error) => return paths.into_iter().map(|path| Err(Failed { path, error: error.clone() })).collect(),
    };
    let mut results = Vec::with_capacity(paths.len());
    let mut rest = &paths[..];
    for (grant, count) in runs(&grants) {
        let (now, later) = rest.split_at(count);
        rest = later;
        let hidden = vault.delete_batch(dataset, now, options.generation, grant).await;
        let told = |(path, result): (&ObjectPath, Result<Deleted>)| {
            result.map_err(|error| Failed { path: path.clone(), error })
        };
        results.extend(now.iter().zip(hidden).map(told));
    }
    results
}

/// The grant for each path.
async fn grants_of(
    vault: &Vault,
    dataset: &DatasetRef,
    paths: impl Iterator<Item = &ObjectPath>,
    action: Action,
    named: Option<GrantId>,
) -> Result<Vec<Option<GrantId>>> {
    if named.is_some() {
        return Ok(paths.map(|_| named).collect());
    }
    let standing = vault.standing(&dataset.tenant).await?;
    let want = |path| Want { action, besides: None, dataset: &dataset.dataset, place: WantPlace::Path(path) };
    Ok(paths.map(|path| standing.pick(&want(path))).collect())
}

/// Runs of the same grant.
fn runs(grants: &[Option<GrantId>]) -> Vec<(Option<GrantId>, usize)> {
    grants.chunk_by(|one, other| one == other).map(|run| (run[0], run.len())).collect()
}

pub(crate) type Whole = (ObjectPath, Result<Bytes>);

/// The results of one group, as they come.
pub(crate) async fn started(mut group: GetGroup) -> impl Stream<Item = Whole> {
    // The first call is sent now, beside those of the groups before this one.
    group.prepare().await;
    futures::stream::unfold(group, |mut group| async move { Some((group.next().await?, group)) })
}

async fn fetch_listed(
    vault: Vault,
    dataset: DatasetRef,
    group: Vec<Result<ObjectInfo>>,
    grant: Option<GrantId>,
    busy: Busy,
) -> BoxStream<'static, Result<Fetched>> {
    let infos = match group.into_iter().collect::<Result<Vec<_>>>() {
        Ok(infos) => infos,
        Err(error) => return futures::stream::iter([Err(error)]).boxed(),
    };
    if let [info] = &infos[..]
        && info.size > LARGE
    {
        let options = GetOptions { generation: Some(info.generation), grant };
        let reader = vault.get(&dataset.object(info.path.clone()), options).await;
        let body = reader.map(|reader| Body::Stream(Box::new(reader)));
        drop(busy);
        return futures::stream::iter(infos.into_iter().next().map(|info| Ok(Fetched { info, body }))).boxed();
    }
    let ask = |info: &ObjectInfo| (info.path.clone(), Some(info.generation));
    let group = GetGroup::new(&vault, &dataset, infos.iter().map(ask).collect(), grant, busy);
    let bodies = started(group).await.map(|(_, whole)| whole.map(Body::Whole));
    futures::stream::iter(infos).zip(bodies).map(|(info, body)| Ok(Fetched { info, body })).boxed()
}

/// What a listed object takes of a group; a large one, or an error, takes all of it.
fn listed_cost(line: &Result<ObjectInfo>) -> usize {
    match line {
        Ok(info) if info.size <= LARGE => {
            usize::try_from(info.size).unwrap_or(GROUP_BYTES).max(GROUP_BYTES / MAX_ITEMS)
        }
        _ => GROUP_BYTES,
    }
}

/// A group that is read: its calls one after the other, one for each run of a grant.
pub(crate) struct GetGroup {
    vault: Vault,
    dataset: DatasetRef,
    asks: Vec<(ObjectPath, Option<Generation>)>,
    named: Option<GrantId>,
    grants: Option<Vec<Option<GrantId>>>,
    /// The next item to tell.
    at: usize,
    call: Option<OneCall>,
    /// Whether the standing was asked for again already.
    repicked: bool,
    _busy: Busy,
}

/// A call for some items of a group.
struct OneCall {
    /// None once it is over, or was cut off.
    answer: Option<Answer>,
    /// The items of the group that it is for.
    first: usize,
    end: usize,
    failed: HashMap<usize, Error>,
    whole: VecDeque<(usize, Result<Bytes>)>,
    partial: Vec<Bytes>,
    /// What ended it early.
    error: Option<Error>,
}

impl GetGroup {
    pub(crate) fn new(
        vault: &Vault,
        dataset: &DatasetRef,
        asks: Vec<(ObjectPath, Option<Generation>)>,
        named: Option<GrantId>,
        busy: Busy,
    ) -> Self {
        let (vault, dataset) = (vault.clone(), dataset.clone());
        Self { vault, dataset, asks, named, grants: None, at: 0, call: None, repicked: false, _busy: busy }
    }

    /// Has a call under way for the next item.
    async fn prepare(&mut self) {
        if self.call.is_some() || self.at >= self.asks.len() {
            return;
        }
        let begun = self.begin().await;
        let end = self.asks.len();
        self.call = Some(begun.unwrap_or_else(|error| OneCall::ended(self.at, end, error)));
    }

    async fn begin(&mut self) -> Result<OneCall> {
        let grants = match &mut self.grants {
            Some(grants) => grants,
            none => {
                let paths = self.asks.iter().map(|(path, _)| path);
                none.insert(grants_of(&self.vault, &self.dataset, paths, Action::Read, self.named).await?)
            }
        };
        let grant = grants[self.at];
        let count = grants[self.at..].iter().take_while(|other| **other == grant).count();
        let (first, end) = (self.at, self.at + count);
        let ask = |(path, generation): &(ObjectPath, Option<Generation>)| Ask {
            name: AskName::Path(path.clone()),
            generation: *generation,
            range: None,
        };
        let asks = self.asks[first..end].iter().map(ask).collect();
        let under = Under { grant, named: self.named.is_some(), patient: true };
        let answer = self.vault.fetch(&self.dataset, asks, under)?;
        Ok(OneCall { answer: Some(answer), ..OneCall::none(first, end) })
    }

    /// The next item's result; `None` after the last.
    async fn next(&mut self) -> Option<Whole> {
        loop {
            let path = self.asks.get(self.at)?.0.clone();
            self.prepare().await;
            let Some(call) = &mut self.call else { continue };
            if self.at >= call.end {
                self.call = None;
                continue;
            }
            if let Some(told) = call.told(self.at) {
                self.at += 1;
                return Some((path, told));
            }
            if let Some(error) = &call.error {
                let error = error.clone();
                if self.pick_again(&error) {
                    continue;
                }
                self.at += 1;
                return Some((path, Err(error)));
            }
            if call.answer.is_none() {
                // It was cut off behind an object that is too large: another call for the rest.
                self.call = None;
                continue;
            }
            call.take_in().await;
        }
    }

    /// Whether a call that was refused is worth another, under what the vault says now of the caller's grants.
    fn pick_again(&mut self, error: &Error) -> bool {
        let untouched = self.call.as_ref().is_some_and(|call| call.first == self.at);
        if self.named.is_some() || self.repicked || !untouched || !self.vault.is_stale(&self.dataset.tenant, error) {
            return false;
        }
        self.repicked = true;
        self.grants = None;
        self.call = None;
        true
    }
}

impl OneCall {
    fn none(first: usize, end: usize) -> Self {
        Self {
            answer: None,
            first,
            end,
            failed: HashMap::new(),
            whole: VecDeque::new(),
            partial: Vec::new(),
            error: None,
        }
    }

    fn ended(first: usize, end: usize, error: Error) -> Self {
        Self { error: Some(error), ..Self::none(first, end) }
    }

    /// What is known of an item of the group.
    fn told(&mut self, at: usize) -> Option<Result<Bytes>> {
        if let Some(error) = self.failed.remove(&at) {
            return Some(Err(error));
        }
        if self.whole.front().is_some_and(|(item, _)| *item == at) {
            return self.whole.pop_front().map(|(_, whole)| whole);
        }
        None
    }

    async fn take_in(&mut self) {
        let Some(answer) = &mut self.answer else { return };
        match answer.next().await {
            Some(Ok(Outcome::Begun(_))) => {}
            Some(Ok(Outcome::Failed(item, error))) => {
                self.failed.insert(self.first + item as usize, error);
            }
            Some(Ok(Outcome::Opened(pieces))) => {
                for piece in pieces {
                    let at = self.first + piece.item as usize;
                    if piece.facts.size > MAX_WHOLE {
                        self.whole.push_back((at, Err(too_large(&piece.facts))));
                        self.answer = None;
                        self.partial.clear();
                        return;
                    }
                    self.partial.extend(piece.plain);
                    if piece.ends_item {
                        let whole = joined(std::mem::take(&mut self.partial));
                        self.whole.push_back((at, Ok(whole)));
                    }
                }
            }
            Some(Err(error)) => self.error = Some(error),
            None => self.error = Some(Error::internal("a get ended before all of it was told")),
        }
    }
}

fn too_large(facts: &Facts) -> Error {
    Error::new(Reason::TooLarge, format!("the object has {} bytes: read it alone, as a stream", facts.size))
}

fn joined(mut pieces: Vec<Bytes>) -> Bytes {
    if pieces.len() <= 1 {
        return pieces.pop().unwrap_or_default();
    }
    let mut all = BytesMut::with_capacity(pieces.iter().map(Bytes::len).sum());
    pieces.iter().for_each(|piece| all.extend_from_slice(piece));
    all.freeze()
}
