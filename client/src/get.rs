//! Gets: keys come range by range, ciphertext beside them, and plaintext comes out only of what fits.
//!
//! What is checked, and in which order, stands in `assembly.rs`; how a broken connection is picked up, in `fetch.rs`.

use std::collections::VecDeque;
use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use futures::{Stream, StreamExt};
use strongroom_core::grant::Action;
use strongroom_core::ids::{Generation, GrantId, ObjectId};
use strongroom_core::reason::Reason;
use tokio::io::{AsyncRead, AsyncSeek, ReadBuf};

use crate::assembly::{Ask, AskName};
use crate::connect::Vault;
use crate::error::{Error, Result};
use crate::fetch::{Answer, Opened, Outcome};
use crate::name::{DatasetRef, ObjectName};
use crate::picking::{Want, WantPlace};
use crate::piece::Facts;
use crate::successor::Under;

/// The most that is set aside for an object in one piece before its bytes are there.
const RESERVE: u64 = 64 * 1024 * 1024;

/// The most grants that are tried for an object whose path is not known.
const MAX_TRIES: usize = 16;

/// How to get.
#[derive(Debug, Clone, Default)]
pub struct GetOptions {
    /// Which writing; the newest if none.
    pub generation: Option<Generation>,
    /// The grant to act under; picked by itself if none.
    pub grant: Option<GrantId>,
}

/// The verified plaintext of an object, or of a range of it, as it arrives: a [`Stream`] of bytes.
///
/// It ends with `None` only if all of it came; an error is its last item, and nothing that was not verified comes before it.
/// If the connection breaks it goes on by itself on another; where a grant's rate is used up, in the next minute; and where its
/// grant ends, under another of the caller's that covers it, unless one was named.
pub struct Reader {
    facts: Facts,
    answer: Answer,
    ready: VecDeque<Bytes>,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("facts", &self.facts).finish_non_exhaustive()
    }
}

impl Reader {
    /// Waits until it is known what is read.
    async fn begin(mut answer: Answer) -> Result<Self> {
        match answer.next().await {
            Some(Ok(Outcome::Begun(facts))) => Ok(Self { facts, answer, ready: VecDeque::new() }),
            Some(Ok(Outcome::Failed(_, error)) | Err(error)) => Err(error),
            Some(Ok(Outcome::Opened(_))) | None => Err(Error::internal("a get ended before it began")),
        }
    }

    /// Bytes of the whole object.
    pub fn size(&self) -> u64 {
        self.facts.size
    }

    /// Bytes that the reader gives in all: the asked range, cut to the object.
    pub fn len(&self) -> u64 {
        self.facts.end - self.facts.start
    }

    /// Whether it gives none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The generation that is read.
    pub fn generation(&self) -> Generation {
        self.facts.generation
    }

    /// The sealed object that is read.
    pub fn object_id(&self) -> ObjectId {
        self.facts.object_id
    }

    /// The same as [`AsyncRead`]. Errors are [`std::io::Error`]s that hold an [`Error`].
    pub fn into_async_read(self) -> impl AsyncRead + Send + Unpin + 'static {
        IoReader { reader: self, current: Bytes::new() }
    }

    /// All of it in one piece.
    ///
    /// # Errors
    /// As the stream.
    pub async fn into_bytes(mut self) -> Result<Bytes> {
        let Some(first) = self.next().await.transpose()? else { return Ok(Bytes::new()) };
        if first.len() as u64 == self.len() {
            return self.rest_of(first).await;
        }
        let mut all = BytesMut::with_capacity(usize::try_from(self.len().min(RESERVE)).unwrap_or_default());
        all.extend_from_slice(&first);
        while let Some(bytes) = self.next().await.transpose()? {
            all.extend_from_slice(&bytes);
        }
        Ok(all.freeze())
    }

    /// `first` is all of it; the answer's end is awaited nevertheless.
    async fn rest_of(mut self, first: Bytes) -> Result<Bytes> {
        match self.next().await.transpose()? {
            None => Ok(first),
            Some(_) => Err(Error::internal("a get gave more than it said")),
        }
    }
}

impl Stream for Reader {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(bytes)));
            }
            match ready!(self.answer.poll_next_unpin(cx)) {
                None => return Poll::Ready(None),
                Some(Ok(Outcome::Begun(_))) => {}
                Some(Ok(Outcome::Opened(opened))) => {
                    self.ready.extend(opened.into_iter().flat_map(|Opened { plain, .. }| plain));
                }
                Some(Ok(Outcome::Failed(_, error)) | Err(error)) => return Poll::Ready(Some(Err(error))),
            }
        }
    }
}

struct IoReader {
    reader: Reader,
    current: Bytes,
}

impl AsyncRead for IoReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        while self.current.is_empty() && buffer.remaining() > 0 {
            match ready!(self.reader.poll_next_unpin(cx)) {
                None => return Poll::Ready(Ok(())),
                Some(Ok(bytes)) => self.current = bytes,
                Some(Err(error)) => return Poll::Ready(Err(std::io::Error::other(error))),
            }
        }
        let count = buffer.remaining().min(self.current.len());
        buffer.put_slice(&self.current[..count]);
        self.current.advance(count);
        Poll::Ready(Ok(()))
    }
}

/// A source that several tries of one read take turns with. Each seeks before it reads.
struct Shared<S>(Arc<Mutex<S>>);

impl<S> Clone for Shared<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Shared<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)).poll_read(cx, buffer)
    }
}

impl<S: AsyncSeek + Unpin> AsyncSeek for Shared<S> {
    fn start_seek(self: Pin<&mut Self>, position: std::io::SeekFrom) -> std::io::Result<()> {
        Pin::new(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)).start_seek(position)
    }

    fn poll_complete(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<u64>> {
        Pin::new(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)).poll_complete(cx)
    }
}

impl Vault {
    /// Reads an object, as it arrives.
    ///
    /// # Errors
    /// `NOT_FOUND` if there is none; `OUT_OF_SCOPE`, `GRANT_EXPIRED`, `GRANT_REVOKED`, `VENDOR_SUSPENDED` if no grant of the
    /// caller lets it read; `QUOTA_EXCEEDED` if a grant's limits are used up; `INTEGRITY` if what comes is not what was put.
    pub async fn get(&self, name: &ObjectName, options: GetOptions) -> Result<Reader> {
        self.read(name, None, options).await
    }

    /// Reads bytes `range` of an object, cut to its size. Keys are released for the segments of that range only.
    ///
    /// # Errors
    /// As [`Vault::get`]; `INVALID_ARGUMENT` if the range is empty or begins past the object's end.
    pub async fn get_range(&self, name: &ObjectName, range: Range<u64>, options: GetOptions) -> Result<Reader> {
        if range.is_empty() {
            return Err(Error::new(Reason::InvalidArgument, "the range is empty"));
        }
        self.read(name, Some((range.start, range.end)), options).await
    }

    /// Reads an object in one piece.
    ///
    /// # Errors
    /// As [`Vault::get`].
    pub async fn get_bytes(&self, name: &ObjectName, options: GetOptions) -> Result<Bytes> {
        self.get(name, options).await?.into_bytes().await
    }

    /// Reads an object by its id, as [`ObjectInfo::object_id`](crate::ObjectInfo) and the ledger name it: also an older
    /// generation, and without knowing at which path it stands.
    ///
    /// Which grant covers it is not known either: those that read in the dataset are tried (16 at most), live ones first and the
    /// widest of them first, unless `options.grant` names one. Each that does not cover it is a refusal in the ledger.
    ///
    /// # Errors
    /// As [`Vault::get`]; `OUT_OF_SCOPE` also if there is no such object, unless the caller is an admin.
    pub async fn get_by_id(&self, dataset: &DatasetRef, id: ObjectId, options: GetOptions) -> Result<Reader> {
        let ask = Ask { name: AskName::Id(id), generation: options.generation, range: None };
        let named = options.grant.is_some();
        let under = |grant| Under { grant, named, patient: false };
        let candidates = match options.grant {
            Some(_) => vec![options.grant],
            None => self.standing(&dataset.tenant).await?.readers(&dataset.dataset),
        };
        let mut refused = Error::new(Reason::OutOfScope, "no grant of this key covers it");
        for grant in candidates.into_iter().take(MAX_TRIES) {
            match Reader::begin(self.fetch(dataset, vec![ask.clone()], under(grant))?).await {
                Err(error) if error.reason() == Reason::OutOfScope => refused = error,
                done => return done,
            }
        }
        Err(refused)
    }

    /// Reads an object whose ciphertext the caller has already (a cache of its own, a copy of the bucket): keys and digests come
    /// from the vault, sealed bytes from `ciphertext`, and everything is checked as [`Vault::get`] checks it. What was changed,
    /// cut or exchanged in there is an error, not plaintext.
    ///
    /// `ciphertext` begins with the object's header; what stands behind its segments is not read. A [`std::io::Cursor`] over
    /// bytes in memory will do. `range` is in bytes of the plaintext, all if none: keys are released for its segments only. They
    /// are released as fast as this side takes them in, which may be some windows (of 64 MiB) ahead of what was read.
    ///
    /// ```no_run
    /// # async fn example(vault: strongroom_client::Vault, cached: bytes::Bytes) -> strongroom_client::Result<()> {
    /// use strongroom_client::{GetOptions, ObjectName};
    /// let name: ObjectName = "acme/rlhf/video.bin".parse()?;
    /// let plaintext = vault.release_keys(&name, std::io::Cursor::new(cached), None, GetOptions::default()).await?;
    /// println!("{} bytes", plaintext.into_bytes().await?.len());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Vault::get_range`]; `INTEGRITY` if the ciphertext is not that of the object, `INTERNAL` if it cannot be read.
    pub async fn release_keys(
        &self,
        name: &ObjectName,
        ciphertext: impl AsyncRead + AsyncSeek + Send + Unpin + 'static,
        range: Option<Range<u64>>,
        options: GetOptions,
    ) -> Result<Reader> {
        if range.as_ref().is_some_and(Range::is_empty) {
            return Err(Error::new(Reason::InvalidArgument, "the range is empty"));
        }
        let range = range.map(|range| (range.start, range.end));
        let ask = Ask { name: AskName::Path(name.path.clone()), generation: options.generation, range };
        let dataset = name.dataset_ref();
        // A second try under another grant goes on with the same source.
        let own = Shared(Arc::new(Mutex::new(ciphertext)));
        let named = options.grant.is_some();
        let under = |grant| Under { grant, named, patient: false };
        let begin = |grant| {
            let answer = self.fetch_keys(&dataset, ask.clone(), under(grant), Box::new(own.clone()));
            async move { Reader::begin(answer?).await }
        };
        self.under_grant(&name.tenant, options.grant, &want_to_read(name), begin).await
    }

    async fn read(&self, name: &ObjectName, range: Option<(u64, u64)>, options: GetOptions) -> Result<Reader> {
        let ask = Ask { name: AskName::Path(name.path.clone()), generation: options.generation, range };
        let dataset = name.dataset_ref();
        let named = options.grant.is_some();
        let under = |grant| Under { grant, named, patient: false };
        let begin = |grant| {
            let answer = self.fetch(&dataset, vec![ask.clone()], under(grant));
            async move { Reader::begin(answer?).await }
        };
        self.under_grant(&name.tenant, options.grant, &want_to_read(name), begin).await
    }
}

fn want_to_read(name: &ObjectName) -> Want<'_> {
    let place = WantPlace::Path(&name.path);
    Want { action: Action::Read, besides: None, dataset: &name.dataset, place }
}
