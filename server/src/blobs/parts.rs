//! Writing blobs into a bucket, in parts.
//!
//! ```text
//! up to one part:   gathered ─────────────────────────────────────► put, if nothing is there
//! larger:           create ─► id into the row ─► part, part, … ─► complete
//! ```
//!
//! Parts have a fixed size and few are under way at once, of one upload and of all together, so memory is bounded whatever is
//! sent. Their size grows with their number, since buckets take 10 000 of them. Nothing is visible before `complete`, and it
//! answers only once the blob is durable. What a bucket says of the bytes (digests, tags) is not asked: the content root was
//! computed while they passed, and readers check every segment against it.

use std::sync::Arc;

use bytes::Bytes;
use object_store::multipart::PartId;
use object_store::path::Path;
use strongroom_core::sealed::content::{ContentHasher, trailer};
use tokio::task::JoinSet;

use super::bucket::{Bucket, failed};
use super::name::BlobName;
use super::upload::Multipart;
use super::{BlobError, Stored};

const MIB: usize = 1024 * 1024;
/// Bytes of the first parts. Buckets want 5 MiB at least.
pub(super) const PART: usize = 8 * MIB;
/// Parts after which their size doubles.
const STAGE: usize = 2500;
/// Parts that a bucket takes.
const MOST_PARTS: usize = 4 * STAGE;
/// Bytes of parts under way of one upload; one part may always be.
const UNDER_WAY: usize = 4 * PART;
/// Bytes of the largest blob that its parts can hold: 293 GiB.
pub(super) const LARGEST: u64 = (STAGE * (1 + 2 + 4 + 8) * PART) as u64;

/// Bytes of the part of this number.
fn part_size(number: usize) -> usize {
    PART << (number / STAGE).min(3)
}

/// A blob that is being written. Dropped before it is finished, the bucket is told to drop its parts.
pub(super) struct Upload {
    bucket: Arc<Bucket>,
    path: Path,
    name: String,
    hasher: ContentHasher,
    /// What is not in a part yet.
    gathered: Vec<Bytes>,
    length: usize,
    id: Option<String>,
    parts: Vec<Option<PartId>>,
    sending: JoinSet<Result<(usize, PartId), BlobError>>,
    sent: u64,
}

impl Upload {
    pub(super) fn new(bucket: Arc<Bucket>, name: BlobName) -> Self {
        Self {
            bucket,
            path: name.path(),
            name: name.to_string(),
            hasher: ContentHasher::new(),
            gathered: Vec::new(),
            length: 0,
            id: None,
            parts: Vec::new(),
            sending: JoinSet::new(),
            sent: 0,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) async fn write(&mut self, bytes: Bytes) -> Result<Option<Multipart>, BlobError> {
        self.hasher.update(&bytes);
        self.gather(bytes);
        while self.length >= part_size(self.parts.len()) {
            if self.id.is_none() {
                let id = self.create().await?;
                // Azure has none: blocks that are never listed expire.
                if !id.is_empty() {
                    return Ok(Some(Multipart(id)));
                }
            }
            self.send(part_size(self.parts.len())).await?;
        }
        Ok(None)
    }

    pub(super) async fn finish(mut self, size: u64) -> Result<Stored, BlobError> {
        match self.try_finish(size).await {
            Ok(stored) => Ok(stored),
            Err(error) => {
                self.abort().await;
                Err(error)
            }
        }
    }

    async fn try_finish(&mut self, size: u64) -> Result<Stored, BlobError> {
        let content = std::mem::take(&mut self.hasher).finish(size)?;
        self.gather(trailer(&content).into());
        if self.id.is_none() {
            // Also when the trailer makes it a little more than a part: an id would be noted nowhere.
            self.bucket.put(&self.path, std::mem::take(&mut self.gathered)).await?;
        } else {
            while self.length > 0 {
                self.send(part_size(self.parts.len()).min(self.length)).await?;
            }
            self.complete().await?;
        }
        Ok(Stored { content, blob: self.name.clone() })
    }

    /// Gives up: no part is under way any more, and those that came are dropped.
    pub(super) async fn abort(mut self) {
        self.sending.shutdown().await;
        if let Some(id) = self.id.take()
            && let Err(error) = self.bucket.abort(&self.path, &id).await
        {
            tracing::warn!(blob = self.name, %error, "an upload could not be aborted; the sweeper will");
        }
    }

    fn gather(&mut self, bytes: Bytes) {
        self.length += bytes.len();
        self.gathered.push(bytes);
    }

    async fn create(&mut self) -> Result<String, BlobError> {
        let created = self.bucket.parts.create_multipart(&self.path).await;
        let id = created.map_err(|error| failed("begin an upload", error))?;
        self.id = Some(id.clone());
        Ok(id)
    }

    /// Sends the next part: `length` of the gathered bytes.
    async fn send(&mut self, length: usize) -> Result<(), BlobError> {
        let number = self.parts.len();
        if number == MOST_PARTS {
            return Err(BlobError::TooLarge);
        }
        while self.sending.len() >= (UNDER_WAY / length.max(1)).max(1) || self.sending.len() >= UNDER_WAY / PART {
            self.sent_one().await?;
        }
        let room = u32::try_from(length.div_ceil(MIB)).unwrap_or(u32::MAX);
        let room = self.bucket.room.clone().acquire_many_owned(room).await;
        let room = room.map_err(|error| BlobError::unavailable("write", error))?;
        let part = self.take(length);
        let (bucket, path, id) = (self.bucket.clone(), self.path.clone(), self.id.clone().unwrap_or_default());
        self.parts.push(None);
        self.sent += length as u64;
        self.sending.spawn(async move {
            let put = bucket.parts.put_part(&path, &id, number, part.into_iter().collect()).await;
            drop(room);
            put.map(|part| (number, part)).map_err(|error| failed("write a part", error))
        });
        Ok(())
    }

    /// Waits for one of the parts under way; `false` if there is none.
    async fn sent_one(&mut self) -> Result<bool, BlobError> {
        let Some(sent) = self.sending.join_next().await else { return Ok(false) };
        let (number, part) = sent.map_err(|error| BlobError::unavailable("write a part", error))??;
        self.parts[number] = Some(part);
        Ok(true)
    }

    async fn complete(&mut self) -> Result<(), BlobError> {
        while self.sent_one().await? {}
        let parts = std::mem::take(&mut self.parts).into_iter().collect::<Option<Vec<PartId>>>();
        let parts = parts.ok_or_else(|| BlobError::unavailable("write", "a part was not sent"))?;
        let id = self.id.clone().unwrap_or_default();
        self.bucket.complete(&self.path, &id, parts, self.sent).await?;
        // Nothing is left to be aborted.
        self.id = None;
        Ok(())
    }

    /// The first `length` of the gathered bytes, not copied.
    fn take(&mut self, length: usize) -> Vec<Bytes> {
        let mut part = Vec::new();
        let mut rest = length;
        let mut gathered = std::mem::take(&mut self.gathered).into_iter();
        while rest > 0
            && let Some(mut bytes) = gathered.next()
        {
            if bytes.len() > rest {
                self.gathered.push(bytes.split_off(rest));
            }
            rest -= bytes.len();
            part.push(bytes);
        }
        self.gathered.extend(gathered);
        self.length -= length;
        part
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        // At once where that is possible; the sweeper does it where it is not.
        if let Some(id) = self.id.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let (bucket, path) = (self.bucket.clone(), self.path.clone());
            let mut sending = std::mem::take(&mut self.sending);
            runtime.spawn(async move {
                sending.shutdown().await;
                if let Err(error) = bucket.abort(&path, &id).await {
                    tracing::debug!(%path, %error, "a dropped upload could not be aborted; the sweeper will");
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_grow_and_hold_the_largest_object_by_default() {
        assert_eq!([0, STAGE - 1, STAGE, MOST_PARTS - 1].map(part_size), [PART, PART, 2 * PART, 8 * PART]);
        assert_eq!((0..MOST_PARTS).map(|number| part_size(number) as u64).sum::<u64>(), LARGEST);
        let default = crate::config::Limits::default().max_object;
        assert!(default + default / 512 < LARGEST);
    }
}
