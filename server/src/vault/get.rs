//! Reads: step by step, keys are released and the ciphertext follows, until all is sent or something is taken away.
//!
//! Each step is one entry of the ledger. The next step is asked for while the last mebibyte of this one is on its way, never
//! earlier: keys for bytes that nobody waits for would be exposure for nothing.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use strongroom_core::call::Work;
use strongroom_core::grant::Refusal;
use strongroom_core::ids::{Digest, SegmentRange};
use strongroom_core::reason::Reason;
use strongroom_core::sealed::content::window_digest;
use strongroom_core::sealed::layout::Layout;
use strongroom_proto::v1::get_frame::Frame;
use strongroom_proto::{MAX_FRAME, v1};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::answer::{refuse as status, seen_message};
use crate::blobs::BlobError;
use crate::cuts::{self, Gone};
use crate::error::Error;
use crate::recorder::attempt::{AcceptedCall, ReleasePart};
use crate::vault::plan::{Plan, plan};
use crate::vault::release::{Released, refuse, release};
use crate::vault::{Vault, standing};

/// Frames that may wait for the reader: 2 MiB of data.
const QUEUE: usize = 8;
/// Data that is still unsent when the next step is asked for.
const AHEAD: usize = 4;

/// Starts a read; frames come out of the receiver.
pub(crate) fn stream(vault: Arc<Vault>, call: Arc<AcceptedCall>, skip: u64) -> cuts::Receiver<v1::GetFrame> {
    let (sender, receiver) = cuts::channel(QUEUE);
    // In a box: a task of its size would be moved as often as it is handed on.
    tokio::spawn(Box::pin(run(vault, call, skip, sender)));
    receiver
}

async fn run(vault: Arc<Vault>, call: Arc<AcceptedCall>, skip: u64, sender: cuts::Sender<v1::GetFrame>) {
    let request = Some(call.request());
    let tenant = call.session.tenant.clone();
    let mut epochs = vault.recorder.epochs(&tenant);
    // What is decided from here on sees this epoch or a later one.
    epochs.mark_unchanged();
    let end = tokio::select! {
        end = send_all(&vault, &call, skip, &sender) => end,
        cut = taken_away(&vault, &call, &mut epochs) => {
            sender.cut(status(&cut, request));
            return;
        }
        // An admin's streams end too: a freeze, or a blocked key, would not be heard of either.
        () = vault.recorder.blind() => {
            let unheard = "this node has had no word from the catalog for 750 ms, and would not hear of a suspension";
            sender.cut(status(&Error::Unavailable(unheard.into()), request));
            return;
        }
    };
    match end {
        Ok(()) | Err(Stop::Gone) => {}
        Err(Stop::Failed(error)) => {
            let error = if is_over(&vault, &error).await { Error::NotFound("no such object".into()) } else { error };
            sender.fail(status(&error, request)).await;
        }
    }
}

/// Whether a blob is missing because the time of all that lay in it was over while it was read.
async fn is_over(vault: &Vault, error: &Error) -> bool {
    match error {
        Error::Blob(BlobError::Missing(blob)) => matches!(vault.catalog.is_kept(blob).await, Ok(false)),
        _ => false,
    }
}

/// Why a stream stops early.
enum Stop {
    Gone,
    Failed(Error),
}

impl<E: Into<Error>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl From<Gone> for Stop {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

async fn send_all(
    vault: &Vault,
    call: &Arc<AcceptedCall>,
    skip: u64,
    sender: &cuts::Sender<v1::GetFrame>,
) -> Result<(), Stop> {
    let with_data = matches!(call.signed.call.work, Work::Get(_));
    let asked = Instant::now();
    let Plan { steps, errors, hides } = match plan(vault, call, skip).await {
        // A row that was changed is an obstacle as one that is missing is: told to callers in scope only.
        Err(error) if error.reason() == Reason::Integrity => {
            let obstacle = Refusal::new(Reason::Integrity, error.to_string());
            return Err(Stop::Failed(refuse(vault, call, obstacle).await));
        }
        planned => planned?,
    };
    tracing::trace!(plan = ?asked.elapsed(), steps = steps.len(), "planned");
    let mut steps = steps.into_iter();
    let Some(mut step) = steps.next() else {
        let obstacle = errors.first().map(|(_, refusal)| refusal.clone());
        let nothing = || Refusal::new(Reason::InvalidArgument, "nothing is left of the call to send");
        return Err(Stop::Failed(refuse(vault, call, obstacle.unwrap_or_else(nothing)).await));
    };
    let mut released = release(vault, call, step.clone(), hides).await?;
    for (item, refusal) in errors {
        let (reason, detail) = (refusal.reason.code().to_owned(), refusal.detail.into_owned());
        sender.send(frame(Frame::Error(v1::ItemError { item, reason, detail }))).await?;
    }
    let mut begun = HashSet::new();
    loop {
        send_parcel(sender, &step, released).await?;
        let data = Data { vault, sender, step: &step };
        data.send_digests(&mut begun).await?;
        let Some(next) = steps.next() else {
            return if with_data { data.send(None::<std::future::Ready<()>>).await.map(|_| ()) } else { Ok(()) };
        };
        let coming = release(vault, call, next.clone(), hides);
        let next_released = if with_data {
            data.send(Some(coming)).await?.ok_or(Error::Unavailable("the next step was not asked for".into()))?
        } else {
            coming.await
        };
        released = next_released?;
        step = next;
    }
}

async fn send_parcel(
    sender: &cuts::Sender<v1::GetFrame>,
    step: &[ReleasePart],
    released: Released,
) -> Result<(), Stop> {
    let parcel = v1::Parcel {
        index: released.recorded.index().0,
        sealed: released.parcel,
        seen: Some(seen_message(released.recorded.seen())),
        parts: u32::try_from(step.len()).unwrap_or(u32::MAX),
    };
    let late = || Error::Unavailable("the reader did not take the keys in time; they were dropped".into());
    tokio::time::timeout_at(released.until, sender.send(frame(Frame::Parcel(parcel)))).await.map_err(|_| late())??;
    Ok(())
}

/// The digests and the data of one step.
struct Data<'a> {
    vault: &'a Vault,
    sender: &'a cuts::Sender<v1::GetFrame>,
    step: &'a [ReleasePart],
}

impl Data<'_> {
    /// What each object of more than one segment is checked against.
    async fn send_digests(&self, begun: &mut HashSet<u32>) -> Result<(), Stop> {
        for part in self.step {
            let layout = layout(part)?;
            if layout.segments() == 1 {
                continue;
            }
            let window = layout.window_of(part.range.start());
            let range = layout.window(window);
            let at = part.object.offset + layout.digests_offset() + u64::from(range.start()) * 32;
            let segments = self.vault.blobs.range(&part.object.blob, at, u64::from(range.count()) * 32).await?;
            if begun.insert(part.item) {
                for windows in self.window_digests(part, &layout, &segments).await? {
                    let digests = v1::Digests { item: part.item, window, windows, segments: Bytes::new() };
                    self.sender.send(frame(Frame::Digests(digests))).await?;
                }
            }
            let digests = v1::Digests { item: part.item, window, windows: Bytes::new(), segments };
            self.sender.send(frame(Frame::Digests(digests))).await?;
        }
        Ok(())
    }

    /// All window digests of an object, in frames. An object of one window does not store its only one.
    async fn window_digests(&self, part: &ReleasePart, layout: &Layout, first: &Bytes) -> Result<Vec<Bytes>, Stop> {
        if layout.windows() == 1 {
            let (digests, _) = first.as_chunks::<32>();
            let digests: Vec<Digest> = digests.iter().map(|digest| Digest::from_bytes(*digest)).collect();
            return Ok(vec![Bytes::copy_from_slice(window_digest(0, &digests).as_bytes())]);
        }
        let at = part.object.offset + layout.window_digests_offset();
        let all = self.vault.blobs.range(&part.object.blob, at, u64::from(layout.windows()) * 32).await?;
        Ok((0..all.len()).step_by(MAX_FRAME).map(|from| all.slice(from..all.len().min(from + MAX_FRAME))).collect())
    }

    /// Sends the step's segments. `next` is started when little is left to send, and awaited beside the rest.
    async fn send<F: Future>(&self, next: Option<F>) -> Result<Option<F::Output>, Stop> {
        let frames = self.frames();
        tokio::pin!(frames);
        let mut last = std::collections::VecDeque::with_capacity(AHEAD + 1);
        while let Some(frame) = frames.next().await {
            last.push_back(frame?);
            if last.len() > AHEAD
                && let Some(frame) = last.pop_front()
            {
                self.sender.send(frame).await?;
            }
        }
        let rest = async {
            for frame in last {
                self.sender.send(frame).await?;
            }
            Ok::<(), Gone>(())
        };
        let Some(next) = next else {
            rest.await?;
            return Ok(None);
        };
        let (sent, next) = tokio::join!(rest, next);
        sent?;
        Ok(Some(next))
    }

    /// The step's segments in frames: small objects together, large ones cut.
    fn frames(&self) -> impl futures::Stream<Item = Result<v1::GetFrame, Error>> {
        futures::stream::iter(groups(self.step)).then(|group| self.group(group)).flat_map(|frames| match frames {
            Ok(frames) => frames,
            Err(error) => futures::stream::once(std::future::ready(Err(error))).boxed(),
        })
    }

    async fn group<'a>(
        &'a self,
        parts: &'a [ReleasePart],
    ) -> Result<futures::stream::BoxStream<'a, Result<v1::GetFrame, Error>>, Error> {
        match parts {
            [part] => self.large(part).await,
            _ => {
                let frame = self.small(parts).await?;
                Ok(futures::stream::once(std::future::ready(Ok(frame))).boxed())
            }
        }
    }

    async fn large<'a>(
        &'a self,
        part: &'a ReleasePart,
    ) -> Result<futures::stream::BoxStream<'a, Result<v1::GetFrame, Error>>, Error> {
        let (start, end) = sealed_bytes(part)?;
        let at = part.object.offset;
        let data = self.vault.blobs.stream(&part.object.blob, at + start, end - start).await?;
        let mut offset = start;
        let item = part.item;
        let frames = data.flat_map(|chunk| futures::stream::iter(cut(chunk))).map(move |chunk| {
            let data = chunk?;
            let frame = v1::Data { item, offset, items: 0, data };
            offset += frame.data.len() as u64;
            Ok(self::frame(Frame::Data(frame)))
        });
        Ok(frames.boxed())
    }

    async fn small(&self, parts: &[ReleasePart]) -> Result<v1::GetFrame, Error> {
        let mut ranges = Vec::with_capacity(parts.len());
        let mut length = 0;
        for part in parts {
            let (start, end) = sealed_bytes(part)?;
            ranges.push(part.object.offset + start..part.object.offset + end);
            length += end - start;
        }
        let mut data = Vec::with_capacity(usize::try_from(length).unwrap_or(MAX_FRAME).min(MAX_FRAME));
        for segment in self.vault.blobs.ranges(&parts[0].object.blob, &ranges).await? {
            data.extend_from_slice(&segment);
        }
        let items = u32::try_from(parts.len()).unwrap_or(u32::MAX);
        let offset = strongroom_core::sealed::HEADER_LEN as u64;
        Ok(frame(Frame::Data(v1::Data { item: parts[0].item, offset, data: data.into(), items })))
    }
}

/// Groups a step's parts by what goes into one frame: whole objects of one segment, of consecutive items, out of one blob.
fn groups(step: &[ReleasePart]) -> Vec<&[ReleasePart]> {
    let single = |part: &ReleasePart| part.object.size <= strongroom_core::sealed::SEGMENT_SIZE as u64;
    let length = |part: &ReleasePart| part.object.size as usize + strongroom_core::sealed::SEGMENT_OVERHEAD;
    let mut groups = Vec::new();
    let mut rest = step;
    while let Some(first) = rest.first() {
        let mut count = 1;
        let mut bytes = length(first);
        while let Some(next) = rest.get(count).filter(|_| single(first)) {
            bytes += length(next);
            let follows = rest[count - 1].item + 1 == next.item && next.object.blob == first.object.blob;
            if !single(next) || !follows || bytes > MAX_FRAME {
                break;
            }
            count += 1;
        }
        let (group, after) = rest.split_at(count);
        groups.push(group);
        rest = after;
    }
    groups
}

/// Where the part's segments stand, from the start of the object's blob.
fn sealed_bytes(part: &ReleasePart) -> Result<(u64, u64), Error> {
    let (layout, range): (Layout, SegmentRange) = (layout(part)?, part.range);
    let last = range.end() - 1;
    Ok((layout.segment_offset(range.start()), layout.segment_offset(last) + layout.segment_len(last) as u64))
}

fn layout(part: &ReleasePart) -> Result<Layout, Error> {
    Layout::new(part.object.size).map_err(|_| Error::Integrity("an object's size is out of bounds".into()))
}

fn cut(chunk: Result<Bytes, crate::blobs::BlobError>) -> Vec<Result<Bytes, Error>> {
    match chunk {
        Err(error) => vec![Err(error.into())],
        Ok(mut chunk) => {
            let mut pieces = Vec::with_capacity(chunk.len().div_ceil(MAX_FRAME));
            while !chunk.is_empty() {
                pieces.push(Ok(chunk.split_to(chunk.len().min(MAX_FRAME))));
            }
            pieces
        }
    }
}

fn frame(frame: Frame) -> v1::GetFrame {
    v1::GetFrame { frame: Some(frame) }
}

/// Comes back when the call's standing is gone, with the reason.
async fn taken_away(vault: &Vault, call: &AcceptedCall, epochs: &mut watch::Receiver<u64>) -> Error {
    loop {
        if epochs.changed().await.is_err() {
            return Error::Unavailable("the server is shutting down".into());
        }
        let looked = Instant::now();
        // An object id that is not looked up yet is decided with the call's first entry.
        let (places, _) = call.read_places();
        match standing::check(vault, &call.session.tenant, &call.caller, call.grant(), &places).await {
            Ok(()) => {}
            Err(refused @ Error::Refused(_)) => return refused,
            // Not knowing is not standing: a stream that cannot be looked at goes no further.
            Err(error) => {
                tracing::warn!(detail = %error, after = ?looked.elapsed(), "a stream's standing could not be checked");
                return error;
            }
        }
    }
}
