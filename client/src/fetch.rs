//! A get under way: asks, takes the answer's frames in, has them opened, and picks up where a connection broke.
//!
//! It runs as a task of its own, so that bytes go on arriving while the reader is busy with what it has, up to the depth of the
//! channel between them. Whoever drops the answer ends it.
//!
//! A picked-up stream keeps its request id: the vault releases again what had not come, records it as a repeat and charges
//! nothing.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::Stream;
use strongroom_core::call::{Call, GetItem, Work};
use strongroom_core::ids::GrantId;
use strongroom_core::keys::parcel::{Binding, KeyParcel};
use strongroom_core::reason::Reason;
use strongroom_proto::v1;
use strongroom_proto::v1::get_frame::Frame;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::assembly::{Ask, Assembly};
use crate::connect::Vault;
use crate::draw::request_id;
use crate::error::{Error, Result};
use crate::listing::refused;
use crate::name::DatasetRef;
use crate::piece::{Facts, Piece};
use crate::retry::Safety;
use crate::session::Session;
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

struct Fetch {
    vault: Vault,
    dataset: DatasetRef,
    call: Call,
    assembly: Assembly,
    events: mpsc::Sender<Event>,
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
    pub(crate) fn fetch(&self, dataset: &DatasetRef, asks: Vec<Ask>, grant: Option<GrantId>) -> Result<Answer> {
        let item = |ask: &Ask| GetItem {
            dataset: dataset.dataset.clone(),
            path: ask.path.clone(),
            generation: ask.generation,
            range: ask.range,
        };
        let call = Call { request: request_id()?, grant, work: Work::Get(asks.iter().map(item).collect()) };
        let (sender, events) = mpsc::channel(self.workers().depth());
        let fetch = Fetch {
            vault: self.clone(),
            dataset: dataset.clone(),
            call,
            assembly: Assembly::new(asks),
            events: sender,
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
            }
            if let Err(error) = self.vault.pause(&mut attempts, error, Safety::Idempotent).await {
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
        let mut frames = session.vault().get(request).await?.into_inner();
        while let Some(message) = frames.message().await? {
            match message.frame.ok_or_else(|| Error::integrity("a frame of an unknown kind comes"))? {
                Frame::Parcel(parcel) => {
                    self.vault.observe(&self.dataset.tenant, parcel.seen.as_ref())?;
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
        }
        Ok(self.assembly.finish()?)
    }

    async fn open(&self, pieces: Vec<Piece>) -> Result<(), Stop> {
        if pieces.is_empty() {
            return Ok(());
        }
        if pieces.iter().map(Piece::len).sum::<usize>() <= SMALL {
            return self.tell(Event::Now(open_all(pieces).map(Outcome::Opened))).await;
        }
        let worker = self.vault.workers().free().await?;
        self.tell(Event::Opening(worker.start(move || open_all(pieces)))).await
    }

    async fn tell(&self, event: Event) -> Result<(), Stop> {
        self.events.send(event).await.map_err(|_| Stop::Gone)
    }
}

fn open_all(pieces: Vec<Piece>) -> Result<Vec<Opened>> {
    let open = |piece: Piece| {
        let (item, facts, ends_item) = (piece.item, piece.facts, piece.ends_item);
        Ok(Opened { item, facts, ends_item, plain: piece.open()? })
    };
    pieces.into_iter().map(open).collect()
}
