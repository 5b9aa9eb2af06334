//! Blobs: the ciphertext, in an object store, under random names.
//!
//! ```text
//! Blobs::begin ─► Upload::write … ─► Upload::finish ─► Stored        one large object, streamed
//! Blobs::pack_name ─► Blobs::put_pack                                many small objects, end to end
//! Blobs::range, ranges, stream                                       reads, by what the catalog says
//! ```
//!
//! A blob's name is known from its upload's row before its first byte is written. So it is written in place, never under a
//! second name: whatever a crash leaves behind is found by its row, and nothing needs to be listed. In a bucket, the row also has
//! the id of an upload in parts. A blob is visible to nobody until a committed row names it, and by then it is durable.
//!
//! Invariants:
//! - A name out of the catalog is parsed before it becomes a path: a written database must not read or delete other files.
//! - A stream is never held whole: an upload keeps two batches of a mebibyte on a disk, five parts in a bucket; a read one chunk
//!   ahead on a disk, what the connection holds in a bucket.
//! - Nothing is ever overwritten: on a disk, a file is opened only if it is new; in a bucket, a put is conditional.
//! - No thread of the runtime waits for a disk: only what the kernel has in memory is read on one.

mod bucket;
mod disk;
mod logs;
mod name;
mod parts;
mod reading;
pub mod sweep;
mod upload;

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use object_store::local::LocalFileSystem;
use object_store::{GetOptions, GetResultPayload, ObjectStore, ObjectStoreExt};
use strongroom_core::ids::TenantId;
use strongroom_core::keys::secret::RandomError;
use strongroom_core::reason::Reason;
use strongroom_core::sealed::content::{Content, ContentError};
use tokio::task::spawn_blocking;

use self::bucket::Bucket;
use self::disk::Disk;
pub use self::logs::Logs;
use self::name::BlobName;
pub use self::upload::{Multipart, Upload};
use crate::config::BlobsUrl;

/// Bytes that a stream reads at once.
const CHUNK: u64 = 512 * 1024;

/// The object store.
#[derive(Clone)]
pub struct Blobs {
    store: Arc<dyn ObjectStore>,
    place: Place,
}

/// Who writes.
#[derive(Clone)]
enum Place {
    Disk(Arc<Disk>),
    Bucket(Arc<Bucket>),
}

/// A blob that is durable, and what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its name.
    pub blob: String,
    /// Its header, sizes and digests, as received.
    pub content: Content,
}

/// Why a blob was not written, read or deleted.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The name is not one that was given out here.
    #[error("{0:?} is not the name of a blob")]
    Name(String),
    /// There is no such blob.
    #[error("blob {0} is missing")]
    Missing(String),
    /// It ends before the bytes that were asked for.
    #[error("blob {0} is shorter than its row says")]
    Short(String),
    /// What was uploaded is not the sealed object that it should be.
    #[error("the upload: {0}")]
    Content(#[from] ContentError),
    /// Something else is there under its name.
    #[error("blob {0} is there already, and is another one")]
    Exists(String),
    /// It is not what was written there.
    #[error("{0} is not what was written there")]
    Altered(String),
    /// It has more bytes than a bucket takes in parts.
    #[error("the upload is larger than a bucket takes")]
    TooLarge,
    /// The bucket cannot be used.
    #[error("{url}: {why}")]
    Bucket {
        /// Its URL.
        url: String,
        /// Why, in one line.
        why: String,
    },
    /// There is no randomness for a name.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// No room is left.
    #[error("the object store is full")]
    Full,
    /// The object store failed, or is not there.
    #[error("the object store, {what}: {source}")]
    Unavailable {
        /// What was being done.
        what: &'static str,
        /// What it said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl BlobError {
    /// The stable reason code.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Content(ContentError::Layout(_)) | Self::TooLarge => Reason::TooLarge,
            Self::Name(_)
            | Self::Missing(_)
            | Self::Short(_)
            | Self::Exists(_)
            | Self::Altered(_)
            | Self::Content(_) => Reason::Integrity,
            Self::Random(_) | Self::Full | Self::Bucket { .. } | Self::Unavailable { .. } => Reason::Unavailable,
        }
    }

    fn unavailable(what: &'static str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> BlobError {
        Self::Unavailable { what, source: source.into() }
    }
}

impl Blobs {
    /// The object store at this URL; a folder is made if it is not there. A bucket is not reached for yet: [`Blobs::probe`].
    ///
    /// # Errors
    /// If a folder cannot be made, or a bucket's options cannot be used.
    pub fn open(url: &BlobsUrl) -> Result<Blobs, BlobError> {
        match url {
            BlobsUrl::File(folder) => {
                let disk = Disk::open(folder)?;
                let store = LocalFileSystem::new_with_prefix(folder);
                let store = store.map_err(|error| BlobError::unavailable("open", error))?;
                Ok(Blobs { store: Arc::new(store), place: Place::Disk(Arc::new(disk)) })
            }
            BlobsUrl::Bucket(url) => Ok(Self::of_bucket(Bucket::open(url, bucket::patience())?)),
        }
    }

    fn of_bucket(bucket: Bucket) -> Blobs {
        Blobs { store: bucket.store.clone(), place: Place::Bucket(Arc::new(bucket)) }
    }

    /// Sees whether a bucket is there and lets us do all that is needed. On a disk, the folder was made: nothing is left to ask.
    ///
    /// # Errors
    /// [`BlobError::Bucket`].
    pub async fn probe(&self) -> Result<(), BlobError> {
        match &self.place {
            Place::Disk(_) => Ok(()),
            Place::Bucket(bucket) => bucket.probe().await,
        }
    }

    /// The largest blob that can be written, in bytes.
    pub fn largest(&self) -> u64 {
        match &self.place {
            Place::Disk(_) => u64::MAX,
            Place::Bucket(_) => parts::LARGEST,
        }
    }

    /// Begins a blob. Its name is [`Upload::name`]; nothing is written yet.
    ///
    /// # Errors
    /// [`BlobError::Random`].
    pub async fn begin(&self, tenant: &TenantId) -> Result<Upload, BlobError> {
        let name = BlobName::draw(tenant)?;
        Ok(match &self.place {
            Place::Disk(disk) => Upload::on_disk(disk::Upload::new(disk.clone(), name)),
            Place::Bucket(bucket) => Upload::in_parts(parts::Upload::new(bucket.clone(), name)),
        })
    }

    /// A fresh name for a pack.
    ///
    /// # Errors
    /// [`BlobError::Random`].
    pub fn pack_name(&self, tenant: &TenantId) -> Result<String, BlobError> {
        Ok(BlobName::draw(tenant)?.to_string())
    }

    /// Writes a pack; when this returns it is durable. On an error nothing is left of it on a disk; in a bucket it may be.
    ///
    /// # Errors
    /// [`BlobError::Full`], or if the store fails.
    pub async fn put_pack(&self, blob: &str, pack: Bytes) -> Result<(), BlobError> {
        let name = BlobName::parse(blob)?;
        match &self.place {
            Place::Disk(disk) => disk.clone().put(name, pack).await,
            Place::Bucket(bucket) => bucket.put(&name.path(), vec![pack]).await,
        }
    }

    /// Has a bucket drop what was sent of an upload in parts; one that is not there any more is dropped already.
    ///
    /// # Errors
    /// If the name is none, or the store fails.
    pub async fn abort(&self, blob: &str, multipart: &str) -> Result<(), BlobError> {
        let name = BlobName::parse(blob)?;
        match &self.place {
            Place::Disk(_) => Ok(()),
            Place::Bucket(bucket) => bucket.abort(&name.path(), multipart).await,
        }
    }

    /// `len` bytes from `offset` on: all of them.
    ///
    /// # Errors
    /// [`BlobError::Missing`], [`BlobError::Short`], or if the store fails.
    pub async fn range(&self, blob: &str, offset: u64, len: u64) -> Result<Bytes, BlobError> {
        let range = offset..offset.saturating_add(len);
        self.ranges(blob, std::slice::from_ref(&range)).await?.pop().ok_or_else(|| BlobError::Short(blob.to_owned()))
    }

    /// The bytes of several ranges, each whole.
    ///
    /// # Errors
    /// As [`Blobs::range`].
    pub async fn ranges(&self, blob: &str, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, BlobError> {
        let name = BlobName::parse(blob)?;
        if let Place::Disk(disk) = &self.place {
            return disk.ranges(&name, ranges).await;
        }
        let path = name.path();
        let found = match self.store.get_ranges(&path, ranges).await {
            Ok(found) => found,
            Err(error) => return Err(self.read_error(blob, ranges, error).await),
        };
        let whole = found.len() == ranges.len()
            && found.iter().zip(ranges).all(|(bytes, range)| bytes.len() as u64 == range.end - range.start);
        if whole { Ok(found) } else { Err(BlobError::Short(blob.to_owned())) }
    }

    /// `len` bytes from `offset` on, in chunks. The next chunk is read while one is used.
    ///
    /// # Errors
    /// As [`Blobs::range`], now or in the stream.
    pub async fn stream(
        &self,
        blob: &str,
        offset: u64,
        len: u64,
    ) -> Result<BoxStream<'static, Result<Bytes, BlobError>>, BlobError> {
        let path = BlobName::parse(blob)?.path();
        let range = offset..offset.saturating_add(len);
        if len == 0 {
            return Ok(stream::empty().boxed());
        }
        if matches!(self.place, Place::Disk(_)) && len <= CHUNK {
            let chunk = self.range(blob, offset, len).await?;
            return Ok(stream::once(std::future::ready(Ok(chunk))).boxed());
        }
        let options = GetOptions { range: Some(range.clone().into()), ..GetOptions::default() };
        let found = match self.store.get_opts(&path, options).await {
            Ok(found) => found,
            Err(error) => return Err(self.read_error(blob, &[range], error).await),
        };
        // A store cuts a range to what there is.
        if found.range != range {
            return Err(BlobError::Short(blob.to_owned()));
        }
        match (found.payload, &self.place) {
            (GetResultPayload::File(file, _), _) => Ok(read_file(file, range, blob.to_owned())),
            (GetResultPayload::Stream(body), Place::Bucket(bucket)) => {
                Ok(bounded(bucket.clone().stream(path, range, body)))
            }
            (GetResultPayload::Stream(body), Place::Disk(_)) => {
                Ok(body.map(|chunk| chunk.map_err(|error| BlobError::unavailable("read", error))).boxed())
            }
        }
    }

    /// Deletes a blob. One that is not there is deleted already.
    ///
    /// # Errors
    /// If the name is none, or the store fails.
    pub async fn delete(&self, blob: &str) -> Result<(), BlobError> {
        match self.store.delete(&BlobName::parse(blob)?.path()).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(BlobError::unavailable("delete", error)),
        }
    }

    /// Stores say "no such range" in several ways, so the blob's size decides.
    async fn read_error(&self, blob: &str, ranges: &[Range<u64>], error: object_store::Error) -> BlobError {
        if matches!(error, object_store::Error::NotFound { .. }) {
            return BlobError::Missing(blob.to_owned());
        }
        let end = ranges.iter().map(|range| range.end).max().unwrap_or(0);
        let Ok(name) = BlobName::parse(blob) else { return BlobError::Name(blob.to_owned()) };
        match self.store.head(&name.path()).await {
            Ok(meta) if meta.size < end => BlobError::Short(blob.to_owned()),
            _ => BlobError::unavailable("read", error),
        }
    }
}

/// A bucket sends chunks as they come: none goes on larger than those of a file.
fn bounded(chunks: BoxStream<'static, Result<Bytes, BlobError>>) -> BoxStream<'static, Result<Bytes, BlobError>> {
    let pieces = |chunk: Result<Bytes, BlobError>| {
        let mut pieces = Vec::with_capacity(1);
        match chunk {
            Err(error) => pieces.push(Err(error)),
            Ok(mut rest) => {
                while rest.len() as u64 > CHUNK {
                    pieces.push(Ok(rest.split_to(CHUNK as usize)));
                }
                pieces.push(Ok(rest));
            }
        }
        stream::iter(pieces)
    };
    chunks.flat_map(pieces).boxed()
}

/// Reads a range of a file chunk by chunk, one ahead of its consumer and one at a time: the file has one position.
fn read_file(file: File, range: Range<u64>, blob: String) -> BoxStream<'static, Result<Bytes, BlobError>> {
    let file = Arc::new(file);
    let start = move |at: u64| {
        let len = CHUNK.min(range.end.saturating_sub(at));
        let file = file.clone();
        (len > 0).then(|| (at + len, len, spawn_blocking(move || read_chunk(&file, at, len))))
    };
    let first = start(range.start);
    stream::unfold((first, start), move |(reading, start)| {
        let blob = blob.clone();
        async move {
            let (next, len, job) = reading?;
            let chunk = match job.await.map_err(std::io::Error::from).flatten() {
                Ok(chunk) if chunk.len() as u64 == len => chunk,
                Ok(_) => return Some((Err(BlobError::Short(blob)), (None, start))),
                Err(error) => return Some((Err(BlobError::unavailable("read", error)), (None, start))),
            };
            Some((Ok(chunk), (start(next), start)))
        }
    })
    .boxed()
}

/// Reads into memory that is not cleared first. The file is this stream's alone, so its position may move.
fn read_chunk(mut file: &File, at: u64, len: u64) -> std::io::Result<Bytes> {
    file.seek(SeekFrom::Start(at))?;
    let mut chunk = Vec::with_capacity(usize::try_from(len).unwrap_or(0));
    file.take(len).read_to_end(&mut chunk)?;
    Ok(chunk.into())
}

#[cfg(test)]
mod tests;
