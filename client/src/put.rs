//! Puts: sealed here, sent as ciphertext, visible once the vault has recorded it.
//!
//! ```text
//! source ─► Sealer (all cores) ─► frames ─► … ─► commit: the call, signed over put id, path, condition, header, size and
//!                                               content root, with the object key sealed under the session's secret
//! ```
//!
//! What can be sent again is: small objects and [`Vault::put_bytes`] keep their sealed bytes until the answer is there, and
//! repeat them with the same put id, which the vault commits once. A stream cannot be read twice: if its connection breaks the
//! put fails, unless the vault says that this very object is there.

use std::collections::VecDeque;
use std::io::Cursor;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use strongroom_core::call::{Call, Condition, PutItem, Work};
use strongroom_core::grant::Action;
use strongroom_core::ids::{Generation, GrantId, Index, ObjectId, PutId, RequestId};
use strongroom_core::keys::parcel::seal_upload_keys;
use strongroom_core::keys::secret::Key;
use strongroom_core::names::{DatasetName, ObjectPath};
use strongroom_core::reason::Reason;
use strongroom_core::sealed::SEGMENT_SIZE;
use strongroom_proto::v1;
use strongroom_proto::v1::put_frame::Frame;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::connect::{Vault, answered};
use crate::draw::{put_id, request_id};
use crate::error::{Error, Result};
use crate::get::GetOptions;
use crate::listing::refused;
use crate::name::{DatasetRef, ObjectName};
use crate::picking::{Want, WantPlace};
use crate::retry::Safety;
use crate::seal::{PIECE, Pack, Sealer, pack, source_error};
use crate::session::Session;

/// Frames that may wait for the connection.
const QUEUE: usize = 4;
/// Less than this is sealed at once: waking a thread would take longer.
const SMALL: usize = 16 * 1024;
/// How long the vault may take to make an upload durable and visible.
const COMMIT_WITHIN: Duration = Duration::from_secs(600);

/// Is told how many bytes of the plaintext have been taken up so far.
pub type Progress = Arc<dyn Fn(u64) + Send + Sync>;

/// How to put.
#[derive(Clone)]
pub struct PutOptions {
    /// What must hold at the path; [`Condition::Any`] unless told otherwise.
    pub condition: Condition,
    /// The grant to act under; picked by itself if none.
    pub grant: Option<GrantId>,
    /// Is told how far it is.
    pub progress: Option<Progress>,
}

impl Default for PutOptions {
    fn default() -> Self {
        Self { condition: Condition::Any, grant: None, progress: None }
    }
}

impl std::fmt::Debug for PutOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PutOptions")
            .field("condition", &self.condition)
            .field("grant", &self.grant)
            .finish_non_exhaustive()
    }
}

/// An object that is visible now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutDone {
    /// Its path.
    pub path: ObjectPath,
    /// Its generation.
    pub generation: Generation,
    /// The entry that made it visible.
    pub index: Index,
    /// Its ordinal in that entry.
    pub ordinal: u32,
    /// Bytes of plaintext.
    pub size: u64,
    /// The sealed object.
    pub object_id: ObjectId,
}

impl Vault {
    /// Puts a stream of any length, known or not. It is sealed as it is read, on all cores and in bounded memory.
    ///
    /// # Errors
    /// `PRECONDITION_FAILED` if the condition does not hold; `OUT_OF_SCOPE` if no grant of the caller lets it write (or overwrite);
    /// `NOT_FOUND` if there is no such dataset; `INVALID_ARGUMENT` if the source cannot be read; `UNAVAILABLE` if the connection
    /// broke, with words that say whether the object may be there nevertheless.
    pub async fn put(
        &self,
        name: &ObjectName,
        mut source: impl AsyncRead + Unpin + Send,
        options: PutOptions,
    ) -> Result<PutDone> {
        let mut begun = Vec::with_capacity(PIECE + 1);
        (&mut source).take(PIECE as u64 + 1).read_to_end(&mut begun).await.map_err(source_error)?;
        if begun.len() <= PIECE {
            return self.put_bytes(name, begun.into(), options).await;
        }
        let rest = begun.split_off(PIECE);
        let source = Cursor::new(rest).chain(source);
        let upload = Upload::new(self, name, Sealer::new(source, begun, self.workers().clone())?, &options, false);
        let mut upload = upload.await?;
        // Only what comes before the first frame can be done twice: reaching the vault.
        let session = self.with_session(&name.tenant, Safety::Idempotent, |session| async move { Ok(session) }).await?;
        match upload.attempt(&session).await {
            Err(error) if is_lost(&error) => {
                self.note(&session, &error).await;
                let object = upload.sealer.header().object_id();
                self.look_for(name, object, upload.sealer.size(), upload.committing).await.ok_or(error)
            }
            Err(error) => {
                self.note(&session, &error).await;
                self.is_stale(&name.tenant, &error);
                Err(error)
            }
            done => done,
        }
        .map_err(|error| upload.explain(error))
    }

    /// Puts bytes. They are kept, and their sealed form too, until the vault has answered: use [`Vault::put`] for what is large.
    ///
    /// # Errors
    /// As [`Vault::put`].
    pub async fn put_bytes(&self, name: &ObjectName, bytes: Bytes, options: PutOptions) -> Result<PutDone> {
        if bytes.len() <= SEGMENT_SIZE {
            let (dataset, objects) = (&name.dataset_ref(), &[(name.path.clone(), bytes)]);
            let condition = options.condition;
            let put = |grant| async move {
                let (pack, _) = self.pack(dataset, condition, objects.to_vec()).await?;
                let mut results = self.put_pack(dataset, grant, &pack).await?;
                results.pop().unwrap_or_else(|| Err(Error::internal("nothing became of the put")))
            };
            let want = want_to_write(&name.dataset, &name.path, condition);
            return self.under_grant(&name.tenant, options.grant, &want, put).await;
        }
        let sealer = Sealer::new(Cursor::new(bytes), Vec::new(), self.workers().clone())?;
        let mut upload = Upload::new(self, name, sealer, &options, true).await?;
        let mut attempts = self.attempts();
        loop {
            let error = match self.session(&name.tenant).await {
                Ok(session) => match upload.attempt(&session).await {
                    Ok(done) => return Ok(done),
                    Err(error) => {
                        self.note(&session, &error).await;
                        error
                    }
                },
                Err(error) => error.before_anything(),
            };
            if options.grant.is_none() && self.is_stale(&name.tenant, &error) {
                let picked = self.pick_to_write(name, &options).await?;
                if std::mem::replace(&mut upload.grant, picked) != picked {
                    // Other words under the same id would be refused.
                    upload.request = request_id()?;
                    continue;
                }
            }
            let paused = self.pause(&mut attempts, error, Safety::Idempotent).await;
            paused.map_err(|error| upload.explain(error))?;
        }
    }

    async fn pick_to_write(&self, name: &ObjectName, options: &PutOptions) -> Result<Option<GrantId>> {
        match options.grant {
            Some(grant) => Ok(Some(grant)),
            None => self.pick(&name.tenant, &want_to_write(&name.dataset, &name.path, options.condition)).await,
        }
    }

    /// Whether the object whose put was not answered is there.
    async fn look_for(&self, name: &ObjectName, id: ObjectId, size: u64, committing: bool) -> Option<PutDone> {
        let info = if committing { self.stat(name, GetOptions::default()).await.ok()? } else { return None };
        (info.object_id == id && info.size == size).then_some(PutDone {
            path: info.path,
            generation: info.generation,
            index: info.index,
            ordinal: info.ordinal,
            size: info.size,
            object_id: info.object_id,
        })
    }

    /// Puts objects of at most 64 KiB each, as many as fit into a call; a result for each, in order.
    pub(crate) async fn put_batch(
        &self,
        dataset: &DatasetRef,
        objects: Vec<(ObjectPath, Bytes)>,
        options: &PutOptions,
    ) -> Vec<Result<PutDone>> {
        let count = objects.len();
        match self.put_batch_by_grant(dataset, objects, options).await {
            Ok(results) => results,
            Err(error) => (0..count).map(|_| Err(error.clone())).collect(),
        }
    }

    /// One call for each grant that is needed.
    async fn put_batch_by_grant(
        &self,
        dataset: &DatasetRef,
        objects: Vec<(ObjectPath, Bytes)>,
        options: &PutOptions,
    ) -> Result<Vec<Result<PutDone>>> {
        let mut results = Vec::with_capacity(objects.len());
        let mut calls = VecDeque::from(self.by_grant_to_write(dataset, objects, options).await?);
        let mut picked_again = options.grant.is_some();
        while let Some((grant, objects)) = calls.pop_front() {
            let (pack, objects) = self.pack(dataset, options.condition, objects).await?;
            let error = match self.put_pack(dataset, grant, &pack).await {
                Ok(done) => {
                    results.extend(done);
                    continue;
                }
                Err(error) => error,
            };
            let count = objects.len();
            if !picked_again && self.is_stale(&dataset.tenant, &error) {
                picked_again = true;
                let rest = objects.into_iter().chain(calls.drain(..).flat_map(|(_, objects)| objects)).collect();
                calls = self.by_grant_to_write(dataset, rest, options).await?.into();
                // The same grant for the same objects would be refused again.
                if calls.front().is_none_or(|(other, objects)| *other != grant || objects.len() != count) {
                    continue;
                }
                calls.pop_front();
            }
            results.extend((0..count).map(|_| Err(error.clone())));
        }
        Ok(results)
    }

    /// Cuts a batch where the grant changes that its objects need: they stay in order.
    async fn by_grant_to_write(
        &self,
        dataset: &DatasetRef,
        objects: Vec<(ObjectPath, Bytes)>,
        options: &PutOptions,
    ) -> Result<Vec<(Option<GrantId>, Vec<(ObjectPath, Bytes)>)>> {
        if options.grant.is_some() {
            return Ok(vec![(options.grant, objects)]);
        }
        let standing = self.standing(&dataset.tenant).await?;
        let mut calls: Vec<(Option<GrantId>, Vec<_>)> = Vec::new();
        for (path, bytes) in objects {
            let grant = standing.pick(&want_to_write(&dataset.dataset, &path, options.condition));
            match calls.last_mut() {
                Some((last, objects)) if *last == grant => objects.push((path, bytes)),
                _ => calls.push((grant, vec![(path, bytes)])),
            }
        }
        Ok(calls)
    }

    async fn pack(
        &self,
        dataset: &DatasetRef,
        condition: Condition,
        objects: Vec<(ObjectPath, Bytes)>,
    ) -> Result<(Pack, Vec<(ObjectPath, Bytes)>)> {
        let dataset = dataset.dataset.clone();
        if objects.iter().map(|(_, bytes)| bytes.len()).sum::<usize>() <= SMALL {
            return pack(&dataset, condition, &objects).map(|pack| (pack, objects));
        }
        self.workers().run(move || pack(&dataset, condition, &objects).map(|pack| (pack, objects))).await?
    }

    async fn put_pack(
        &self,
        dataset: &DatasetRef,
        grant: Option<GrantId>,
        pack: &Pack,
    ) -> Result<Vec<Result<PutDone>>> {
        let call = self.call(request_id()?, grant, Work::Put(pack.items.clone()));
        let answer = self.with_session(&dataset.tenant, Safety::Idempotent, |session: Arc<Session>| {
            let message = signed(&session, &call, &pack.keys).map(|(signed, keys)| v1::PutBatchRequest {
                call: Some(signed),
                keys: keys.into(),
                objects: pack.objects.clone(),
            });
            async move { Ok(answered(session.vault().put_batch(message?)).await?.into_inner()) }
        });
        let answer = answer.await.map_err(|error| error.with_request(call.request))?;
        self.observe(&dataset.tenant, answer.seen.as_ref())?;
        if answer.results.len() != pack.items.len() {
            return Err(Error::integrity("the vault answered for another number of objects"));
        }
        let done = |(item, result): (&PutItem, &v1::PutResult)| {
            let done = done(item, result).map_err(|error| error.with_request(call.request))?;
            self.note_entry(&dataset.tenant, done.index.0);
            Ok(done)
        };
        Ok(pack.items.iter().zip(&answer.results).map(done).collect())
    }
}

pub(crate) fn want_to_write<'a>(dataset: &'a DatasetName, path: &'a ObjectPath, condition: Condition) -> Want<'a> {
    let besides = (condition != Condition::Absent).then_some(Action::Overwrite);
    Want { action: Action::Write, besides, dataset, place: WantPlace::Path(path) }
}

/// A call signed for a session, and the object keys sealed under its secret.
fn signed(session: &Session, call: &Call, keys: &[Key]) -> Result<(v1::SignedCall, Vec<u8>)> {
    let (message, digest) = session.sign(call)?;
    let keys = seal_upload_keys(session.secret(), session.id(), &digest, keys);
    Ok((message, keys.map_err(|error| Error::internal(error.to_string()))?))
}

fn done(item: &PutItem, result: &v1::PutResult) -> Result<PutDone> {
    refused(&result.reason, &result.detail)?;
    Ok(PutDone {
        path: item.path.clone(),
        generation: Generation(result.generation),
        index: Index(result.index),
        ordinal: result.ordinal,
        size: item.size,
        object_id: item.header.object_id(),
    })
}

fn is_lost(error: &Error) -> bool {
    matches!(error.reason(), Reason::Unavailable | Reason::LedgerUnavailable)
}

/// One object on its way, sealed while it is sent.
struct Upload<S> {
    vault: Vault,
    name: ObjectName,
    sealer: Sealer<S>,
    put: PutId,
    request: RequestId,
    condition: Condition,
    grant: Option<GrantId>,
    progress: Option<crate::put::Progress>,
    /// All frames so far, if they may have to be sent again.
    kept: Option<Vec<Bytes>>,
    /// Whether the commit was sent: from then on the object may be there.
    committing: bool,
}

/// Why no more frames go out.
enum Stop {
    /// The vault takes no more: it has answered, or is gone.
    Gone,
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl<S: AsyncRead + Unpin> Upload<S> {
    async fn new(
        vault: &Vault,
        name: &ObjectName,
        sealer: Sealer<S>,
        options: &PutOptions,
        keep: bool,
    ) -> Result<Self> {
        Ok(Self {
            vault: vault.clone(),
            name: name.clone(),
            sealer,
            put: put_id()?,
            request: request_id()?,
            condition: options.condition,
            grant: vault.pick_to_write(name, options).await?,
            progress: options.progress.clone(),
            kept: keep.then(Vec::new),
            committing: false,
        })
    }

    /// Sends all of it on one session.
    async fn attempt(&mut self, session: &Arc<Session>) -> Result<PutDone> {
        let (frames, waiting) = mpsc::channel(QUEUE);
        let mut client = session.vault();
        let answer = client.put(ReceiverStream::new(waiting));
        tokio::pin!(answer);
        let answer = tokio::select! {
            biased;
            answer = &mut answer => answer,
            sent = self.send(session, frames) => match sent {
                Err(Stop::Failed(error)) => return Err(error),
                Ok(()) | Err(Stop::Gone) => {
                    let late = || Error::transport("the vault did not answer the commit in time");
                    tokio::time::timeout(COMMIT_WITHIN, answer).await.map_err(|_| late())?
                }
            },
        };
        let answer = answer?.into_inner();
        self.vault.observe(&self.name.tenant, answer.seen.as_ref())?;
        if !self.committing {
            return Err(Error::integrity("the vault answered before it was asked to commit"));
        }
        let result = answer.result.ok_or_else(|| Error::integrity("the vault does not say what became of the put"))?;
        let done = done(&self.item()?, &result)?;
        self.vault.note_entry(&self.name.tenant, done.index.0);
        Ok(done)
    }

    async fn send(&mut self, session: &Session, frames: mpsc::Sender<v1::PutFrame>) -> Result<(), Stop> {
        let send = async |frame| frames.send(v1::PutFrame { frame: Some(frame) }).await.map_err(|_| Stop::Gone);
        send(Frame::Begin(self.begin())).await?;
        for frame in self.kept.iter().flatten() {
            send(Frame::Data(frame.clone())).await?;
        }
        while let Some(frame) = self.sealer.next().await? {
            if let Some(kept) = &mut self.kept {
                kept.push(frame.clone());
            }
            send(Frame::Data(frame)).await?;
            if let Some(progress) = &self.progress {
                progress(self.sealer.size());
            }
        }
        let call = self.vault.call(self.request, self.grant, Work::Put(vec![self.item()?]));
        let (signed, keys) = signed(session, &call, std::slice::from_ref(self.sealer.key()))?;
        self.committing = true;
        send(Frame::Commit(v1::PutCommit { call: Some(signed), keys: keys.into() })).await
    }

    fn begin(&self) -> v1::PutBegin {
        v1::PutBegin {
            tenant: self.name.tenant.to_string(),
            grant: self.grant.as_ref().map(ToString::to_string).unwrap_or_default(),
            put: self.put.as_bytes().to_vec().into(),
            dataset: self.name.dataset.to_string(),
            path: self.name.path.to_string(),
            generation: match self.condition {
                Condition::Any => None,
                Condition::Absent => Some(0),
                Condition::Generation(generation) | Condition::Rekey(generation) => Some(generation.0),
            },
            rekey: matches!(self.condition, Condition::Rekey(_)),
        }
    }

    /// What is signed, once all is sealed.
    fn item(&self) -> Result<PutItem> {
        let content = self.sealer.content()?;
        Ok(PutItem {
            put: self.put,
            dataset: self.name.dataset.clone(),
            path: self.name.path.clone(),
            condition: self.condition,
            header: content.header,
            size: content.size,
            content_root: content.root,
        })
    }

    /// Says what a lost answer means.
    fn explain(&self, error: Error) -> Error {
        let error = error.with_request(self.request);
        if !is_lost(&error) {
            return error;
        }
        let meaning = if self.committing { "the object may be there nevertheless" } else { "nothing became visible" };
        error.context(format_args!("the put was not answered, {meaning}"))
    }
}
