//! Blobs: the ciphertext, in an object store, under random names.
//!
//! ```text
//! Blobs::begin ─► Upload::write … ─► Upload::finish ─► Stored        one large object, streamed
//! Blobs::pack_name ─► Blobs::put_pack                                many small objects, end to end
//! Blobs::range, ranges, stream                                       reads, by what the catalog says
//! ```
//!
//! A blob's name is known from its upload's row before its first byte is written. So it is written in place, never under a
//! second name: whatever a crash leaves behind is found by its row, and nothing needs to be listed. It is visible to nobody
//! until a committed row names it, and by then it is durable.
//!
//! Invariants:
//! - A name out of the catalog is parsed before it becomes a path: a written database must not read or delete other files.
//! - A stream is never held whole: an upload keeps two batches of a mebibyte, a read one chunk ahead.
//! - No file is written or read on a thread of the runtime.

mod disk;
mod name;
pub mod sweep;

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

use self::disk::Disk;
pub use self::disk::Upload;
use self::name::BlobName;
use crate::config::BlobsUrl;

/// Bytes that a stream reads at once.
const CHUNK: u64 = 512 * 1024;

/// The object store.
#[derive(Clone)]
pub struct Blobs {
    store: Arc<dyn ObjectStore>,
    disk: Arc<Disk>,
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
            Self::Content(ContentError::Layout(_)) => Reason::TooLarge,
            Self::Name(_) | Self::Missing(_) | Self::Short(_) | Self::Content(_) => Reason::Integrity,
            Self::Random(_) | Self::Full | Self::Unavailable { .. } => Reason::Unavailable,
        }
    }

    fn unavailable(what: &'static str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> BlobError {
        Self::Unavailable { what, source: source.into() }
    }
}

impl Blobs {
    /// The object store at this URL; a folder is made if it is not there.
    ///
    /// # Errors
    /// If it cannot be made or reached.
    pub fn open(url: &BlobsUrl) -> Result<Blobs, BlobError> {
        let BlobsUrl::File(folder) = url;
        let disk = Disk::open(folder)?;
        let store = LocalFileSystem::new_with_prefix(folder).map_err(|error| BlobError::unavailable("open", error))?;
        Ok(Blobs { store: Arc::new(store), disk: Arc::new(disk) })
    }

    /// Begins a blob. Its name is [`Upload::name`]; nothing is written yet.
    ///
    /// # Errors
    /// [`BlobError::Random`].
    pub async fn begin(&self, tenant: &TenantId) -> Result<Upload, BlobError> {
        Ok(Upload::new(self.disk.clone(), BlobName::draw(tenant)?))
    }

    /// A fresh name for a pack.
    ///
    /// # Errors
    /// [`BlobError::Random`].
    pub fn pack_name(&self, tenant: &TenantId) -> Result<String, BlobError> {
        Ok(BlobName::draw(tenant)?.to_string())
    }

    /// Writes a pack; when this returns it is durable. On an error nothing is left of it.
    ///
    /// # Errors
    /// [`BlobError::Full`], or if the store fails.
    pub async fn put_pack(&self, blob: &str, pack: Bytes) -> Result<(), BlobError> {
        self.disk.clone().put(BlobName::parse(blob)?, pack).await
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
        let path = BlobName::parse(blob)?.path();
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
        let options = GetOptions { range: Some(range.clone().into()), ..GetOptions::default() };
        let found = match self.store.get_opts(&path, options).await {
            Ok(found) => found,
            Err(error) => return Err(self.read_error(blob, &[range], error).await),
        };
        // A store cuts a range to what there is.
        if found.range != range {
            return Err(BlobError::Short(blob.to_owned()));
        }
        match found.payload {
            GetResultPayload::File(file, _) => Ok(read_file(file, range, blob.to_owned())),
            GetResultPayload::Stream(chunks) => {
                Ok(chunks.map(|chunk| chunk.map_err(|error| BlobError::unavailable("read", error))).boxed())
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
