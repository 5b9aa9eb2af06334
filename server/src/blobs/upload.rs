//! A blob that is being written, wherever blobs are.

use bytes::Bytes;

use super::{BlobError, Stored, disk, parts};

/// A blob that is being written. Dropped before it is finished, nothing is left of it but what a crash would leave.
pub struct Upload(Kind);

enum Kind {
    Disk(Box<disk::Upload>),
    Parts(Box<parts::Upload>),
}

/// The id under which a bucket takes an upload in parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Multipart(pub String);

impl Upload {
    pub(super) fn on_disk(upload: disk::Upload) -> Self {
        Self(Kind::Disk(Box::new(upload)))
    }

    pub(super) fn in_parts(upload: parts::Upload) -> Self {
        Self(Kind::Parts(Box::new(upload)))
    }

    /// The blob's name.
    pub fn name(&self) -> &str {
        match &self.0 {
            Kind::Disk(upload) => upload.name(),
            Kind::Parts(upload) => upload.name(),
        }
    }

    /// Takes the next bytes of header and segments. It waits only if the store is behind by as much as may be in memory.
    ///
    /// An id that comes back is to be written into the upload's row before anything else: the first part is sent by the next
    /// call, so that no crash leaves parts that nobody knows of.
    ///
    /// # Errors
    /// [`BlobError::Full`], or if the store fails; then the upload is of no more use.
    pub async fn write(&mut self, bytes: Bytes) -> Result<Option<Multipart>, BlobError> {
        match &mut self.0 {
            Kind::Disk(upload) => upload.write(bytes).await.map(|()| None),
            Kind::Parts(upload) => upload.write(bytes).await,
        }
    }

    /// Checks that what came are header and segments of an object of `size` bytes, appends the digests, and makes it durable.
    ///
    /// # Errors
    /// [`BlobError::Content`] if it is something else; [`BlobError::Full`], or if the store fails.
    pub async fn finish(self, size: u64) -> Result<Stored, BlobError> {
        match self.0 {
            Kind::Disk(upload) => upload.finish(size).await,
            Kind::Parts(upload) => upload.finish(size).await,
        }
    }

    /// Gives up; what is left when this returns is deleted with the upload's row.
    pub async fn abort(self) {
        match self.0 {
            Kind::Disk(upload) => upload.abort().await,
            Kind::Parts(upload) => upload.abort().await,
        }
    }
}
