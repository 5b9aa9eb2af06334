//! A get under way: asks, takes the answer's frames in, has them opened, and picks up where a connection broke.
//!
//! It runs as a task of its own, so that bytes go on arriving while the reader is busy with what it has, up to the depth of the
//! channel between them. Whoever drops the answer ends it.
//!
//! A picked-up stream keeps its request id: the vault releases again what had not come, records it as a repeat and charges
//! nothing.

use std::io::SeekFrom;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::Stream;
use strongroom_core::call::{Call, GetItem, Work};
use strongroom_core::keys::parcel::{Binding, KeyParcel};
use strongroom_core::reason::Reason;
use strongroom_proto::v1::get_frame::Frame;
use strongroom_proto::{MAX_FRAME, v1};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncSeek, AsyncSeekExt};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::assembly::{Ask, AskName, Assembly};
use crate::connect::Vault;
use crate::draw::request_id;
use crate::error::{Error, Result};
use crate::listing::refused;
use crate::name::DatasetRef;
use crate::piece::{Facts, Piece};
use crate::retry::Safety;
use crate::session::Session;
use crate::successor::{GoingOn, Under};
use crate::workers::finished;

/// Less than this is opened at once: waking a thread would take longer.
const SMALL: usize = 16 * 1024;

/// What comes out of a get, in the order of its items, errors of items first.
pub(crate) enum Outcome {
    /// An item is begun: told of the first item only, before anything of it.
    Begun(Facts),
    /// An item has nothing to give; the others go on.
    Failed(u32, Error),
    /// Plaintext.
    Opened(Vec<Opened>),
}

/// Some plaintext of an item, checked.
pub(crate) struct Opened {
    pub(crate) item: u32,
    pub(crate) facts: Facts,
    /// Whether the item is complete with it.
    pub(crate) ends_item: bool,
    pub(crate) plain: Vec<Bytes>,
}

/// A get's answer as it arrives. It ends after its first error.
pub(crate) struct Answer {
    events: mpsc::Receiver<Event>,
    opening: Option<JoinHandle<Result<Vec<Opened>>>>,
    ended: bool,
    task: JoinHandle<()>,
}

enum Event {
    Now(Result<Outcome>),
    Opening(JoinHandle<Result<Vec<Opened>>>),
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Stream for Answer {
    type Item = Result<Outcome>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Outcome>>> {
        let this = &mut *self;
        loop {
            if this.ended {
                return Poll::Ready(None);
            }
            if let Some(opening) = &mut this.opening {
                let opened = finished(ready!(Pin::new(opening).poll(cx)));
                this.opening = None;
                return Poll::Ready(Some(this.told(opened.flatten().map(Outcome::Opened))));
            }
            match ready!(this.events.poll_recv(cx)) {
                None => this.ended = true,
                Some(Event::Now(outcome)) => return Poll::Ready(Some(this.told(outcome))),
                Some(Event::Opening(opening)) => this.opening = Some(opening),
            }
        }
    }
}

impl Answer {
    fn told(&mut self, outcome: Result<Outcome>) -> Result<Outcome> {
        self.ended = outcome.is_err();
        outcome
    }
}

/// Where a caller keeps the sealed bytes of one object: header, segments, and whatever stands behind them.
pub(crate) trait Ciphertext: AsyncRead + AsyncSeek + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncSeek + Send + Sync + Unpin> Ciphertext for T {}

struct Fetch {
    vault: Vault,
    /// The caller's own ciphertext: then only keys and digests are asked for.
    own: Option<Box<dyn Ciphertext>>,
    dataset: DatasetRef,
    call: Call,
    assembly: Assembly,
    events: mpsc::Sender<Event>,
    going_on: GoingOn,
    begun: bool,
}

/// Why a stream ends before its end.
enum Stop {
    /// The reader is gone.
    Gone,
    Failed(Error),
}

impl<E: Into<Error>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl Vault {
    /// Starts one call for up to 1024 items.
    pub(crate) fn fetch(&self, dataset: &DatasetRef, asks: Vec<Ask>, under: Under) -> Result<Answer> {
        let items = asks.iter().map(|ask| item(dataset, ask)).collect();
        self.start(dataset, asks, Work::Get(items), under, None)
    }

    /// Starts one call for the keys of one object whose ciphertext the caller has.
    pub(crate) fn fetch_keys(
        &self,
        dataset: &DatasetRef,
        ask: Ask,
        under: Under,
        own: Box<dyn Ciphertext>,
    ) -> Result<Answer> {
        let items = vec![item(dataset, &ask)];
        self.start(dataset, vec![ask], Work::ReleaseKeys(items), under, Some(own))
    }

    fn start(
        &self,
        dataset: &DatasetRef,
        asks: Vec<Ask>,
        work: Work,
        under: Under,
        own: Option<Box<dyn Ciphertext>>,
    ) -> Result<Answer> {
        let call = self.call(request_id()?, under.grant, work);
        let (sender, events) = mpsc::channel(self.workers().depth());
        let fetch = Fetch {
            vault: self.clone(),
            own,
            dataset: dataset.clone(),
            call,
            assembly: Assembly::new(asks),
            events: sender,
            going_on: GoingOn::new(under),
            begun: false,
        };
        let task = tokio::spawn(fetch.run());
        Ok(Answer { events, opening: None, ended: false, task })
    }
}

impl Fetch {
    async fn run(mut self) {
        let mut attempts = self.vault.attempts();
        let mut skip = 0;
        loop {
            let before = self.assembly.progress();
            let error = match self.stream(skip).await {
                Ok(()) | Err(Stop::Gone) => return,
                Err(Stop::Failed(error)) => error,
            };
            // What broke after the last byte broke nothing.
            let lost = matches!(error.reason(), Reason::Unavailable | Reason::LedgerUnavailable);
            if lost && self.assembly.is_complete() {
                return;
            }
            if self.assembly.progress() > before {
                attempts.progressed();
                self.going_on.progressed();
            }
            let tenant = &self.dataset.tenant;
            let goes_on = self.going_on.goes_on(&self.vault, tenant, &mut self.call, &error, self.begun).await;
            let paused = match goes_on {
                Ok(true) => Ok(()),
                // What could not be found out about other grants is not the answer.
                Ok(false) | Err(_) => self.vault.pause(&mut attempts, error, Safety::Idempotent).await,
            };
            if let Err(error) = paused {
                // A reader that is gone does not need to know.
                let _ = self.events.send(Event::Now(Err(error.with_request(self.call.request)))).await;
                return;
            }
            skip = self.assembly.resume();
        }
    }

    /// Asks on a session and takes in what comes.
    async fn stream(&mut self, skip: u64) -> Result<(), Stop> {
        let session = self.vault.session(&self.dataset.tenant).await.map_err(Error::before_anything)?;
        let ended = self.take_in(&session, skip).await;
        if let Err(Stop::Failed(error)) = &ended {
            self.vault.note(&session, error).await;
        }
        ended
    }

    async fn take_in(&mut self, session: &Arc<Session>, skip: u64) -> Result<(), Stop> {
        let (signed, digest) = session.sign(&self.call)?;
        let request = v1::GetRequest { call: Some(signed), skip };
        let mut frames = match self.own {
            None => session.vault().get(request).await?.into_inner(),
            Some(_) => session.vault().release_keys(request).await?.into_inner(),
        };
        while let Some(message) = frames.message().await? {
            match message.frame.ok_or_else(|| Error::integrity("a frame of an unknown kind comes"))? {
                Frame::Parcel(parcel) => {
                    let tenant = &self.dataset.tenant;
                    self.vault.observe(tenant, parcel.seen.as_ref())?;
                    self.vault.note_entry(tenant, parcel.index);
                    if let Err(error) = self.going_on.warn_before_end(&self.vault, tenant, &self.call).await {
                        tracing::debug!(%error, "when the grant ends could not be asked for");
                    }
                    let binding = Binding { session: *session.id(), call: digest, index: parcel.index };
                    let keys = KeyParcel::open(session.secret(), &binding, &parcel.sealed);
                    let keys = keys.map_err(|error| Error::integrity(error.to_string()))?;
                    self.assembly.parcel(keys, parcel.parts)?;
                    if let Some(facts) = self.assembly.facts(0).filter(|_| !self.begun) {
                        self.begun = true;
                        self.tell(Event::Now(Ok(Outcome::Begun(facts)))).await?;
                    }
                }
                Frame::Digests(digests) => self.assembly.digests(&digests)?,
                Frame::Data(_) if self.own.is_some() => {
                    return Err(Error::integrity("data comes, and only keys were asked for").into());
                }
                Frame::Data(data) => {
                    let pieces = self.assembly.data(&data)?;
                    drop(data);
                    self.open(pieces).await?;
                }
                Frame::Error(error) => {
                    if self.assembly.item_error(error.item)? {
                        let none = || Error::integrity("an item failed for no reason");
                        let why = refused(&error.reason, &error.detail).err().unwrap_or_else(none);
                        let why = why.with_request(self.call.request);
                        self.tell(Event::Now(Ok(Outcome::Failed(error.item, why)))).await?;
                    }
                }
            }
            // What can be opened is, before more keys are taken in.
            self.open_own().await?;
        }
        Ok(self.assembly.finish()?)
    }

    /// Opens what there are keys and digests for out of the caller's own ciphertext.
    async fn open_own(&mut self) -> Result<(), Stop> {
        let Some(own) = &mut self.own else { return Ok(()) };
        let mut read = Vec::new();
        while let Some((item, bytes)) = self.assembly.wants() {
            let len = MAX_FRAME.min(usize::try_from(bytes.end - bytes.start).unwrap_or(MAX_FRAME));
            let mut data = vec![0; len];
            own.seek(SeekFrom::Start(bytes.start)).await.map_err(|error| unread(&error))?;
            own.read_exact(&mut data).await.map_err(|error| unread(&error))?;
            read.extend(self.assembly.data(&v1::Data { item, offset: bytes.start, data: data.into(), items: 0 })?);
            if !read.is_empty() {
                let pieces = std::mem::take(&mut read);
                open(&self.vault, &self.events, pieces).await?;
            }
        }
        Ok(())
    }

    async fn open(&self, pieces: Vec<Piece>) -> Result<(), Stop> {
        open(&self.vault, &self.events, pieces).await
    }

    async fn tell(&self, event: Event) -> Result<(), Stop> {
        tell(&self.events, event).await
    }
}

async fn open(vault: &Vault, events: &mpsc::Sender<Event>, pieces: Vec<Piece>) -> Result<(), Stop> {
    if pieces.is_empty() {
        return Ok(());
    }
    if pieces.iter().map(Piece::len).sum::<usize>() <= SMALL {
        return tell(events, Event::Now(open_all(pieces).map(Outcome::Opened))).await;
    }
    let worker = vault.workers().free().await?;
    tell(events, Event::Opening(worker.start(move || open_all(pieces)))).await
}

async fn tell(events: &mpsc::Sender<Event>, event: Event) -> Result<(), Stop> {
    events.send(event).await.map_err(|_| Stop::Gone)
}

fn item(dataset: &DatasetRef, ask: &Ask) -> GetItem {
    let dataset = dataset.dataset.clone();
    let named = match &ask.name {
        AskName::Path(path) => GetItem::at(dataset, path.clone()),
        AskName::Id(id) => GetItem::of_id(dataset, *id),
    };
    GetItem { generation: ask.generation, range: ask.range, ..named }
}

/// The caller's ciphertext could not be read. Asking the vault again would not mend it.
fn unread(error: &std::io::Error) -> Error {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => Error::integrity("the ciphertext ends before the object does"),
        _ => Error::new(Reason::Internal, format!("the ciphertext could not be read: {error}")),
    }
}

fn open_all(pieces: Vec<Piece>) -> Result<Vec<Opened>> {
    let open = |piece: Piece| {
        let (item, facts, ends_item) = (piece.item, piece.facts, piece.ends_item);
        Ok(Opened { item, facts, ends_item, plain: piece.open()? })
    };
    pieces.into_iter().map(open).collect()
}
