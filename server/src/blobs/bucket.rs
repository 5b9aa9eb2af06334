//! A bucket of an object store: how it is opened, asked whether it will do, written and read.
//!
//! What fails for a moment is tried again for about a minute, then it is an error: `object_store` repeats whole requests, and what
//! it cannot know to be harmless is made harmless here. A put says "only if nothing is there"; if something is, our own earlier
//! try may have come through, so the bytes decide. A `complete` that finds its upload gone may have been carried out, so the
//! blob's size decides: its name is random, and nobody else writes there.
//!
//! Names, credentials and encryption are `object_store`'s, by its options and variables.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{
    BackoffConfig, Error as StoreError, GetOptions, GetResult, ObjectStore, ObjectStoreExt, PutMode, PutPayload,
    RetryConfig,
};
use strongroom_core::keys::secret::random_bytes;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use uuid::Builder;

use super::BlobError;
use crate::config::{BucketUrl, Provider};

/// Mebibytes of parts under way, of all uploads together.
const ROOM: usize = 256;
/// How long a bucket may take to show that it will do.
const PROBE: Duration = Duration::from_secs(20);
/// Breaks of one read without a byte between, after which it is given up.
const BREAKS: u32 = 4;

/// A bucket, or what of it stands below a prefix.
pub(super) struct Bucket {
    /// Its URL, for errors.
    url: String,
    provider: Provider,
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) parts: Arc<dyn MultipartStore>,
    pub(super) room: Arc<Semaphore>,
    /// How long after its first try a put may be tried again.
    again: Duration,
}

/// Waits of a tenth of a second, then longer ones; nothing is begun again after a minute.
pub(super) fn patience() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(8),
            base: 2.,
        },
        max_retries: 10,
        retry_timeout: Duration::from_secs(60),
    }
}

impl Bucket {
    /// The bucket at this URL; it is not asked for anything yet.
    pub(super) fn open(url: &BucketUrl, retry: RetryConfig) -> Result<Bucket, BlobError> {
        let again = retry.retry_timeout / 2;
        let refused = |error: StoreError| BlobError::Bucket { url: url.to_string(), why: brief(&error) };
        let options = || url.options.iter().map(|(name, value)| (name.as_str(), value.clone()));
        match url.provider {
            Provider::S3 => {
                let mut builder = AmazonS3Builder::from_env();
                for (name, value) in options() {
                    builder = builder.with_config(name.parse().map_err(refused)?, value);
                }
                let store = builder.with_bucket_name(&url.bucket).with_retry(retry).build();
                Ok(Self::below(url, again, store.map_err(refused)?))
            }
            Provider::Azure => {
                let mut builder = MicrosoftAzureBuilder::from_env();
                for (name, value) in options() {
                    builder = builder.with_config(name.parse().map_err(refused)?, value);
                }
                let store = builder.with_container_name(&url.bucket).with_retry(retry).build();
                Ok(Self::below(url, again, store.map_err(refused)?))
            }
            Provider::Gcs => {
                let mut builder = GoogleCloudStorageBuilder::from_env();
                for (name, value) in options() {
                    builder = builder.with_config(name.parse().map_err(refused)?, value);
                }
                let store = builder.with_bucket_name(&url.bucket).with_retry(retry).build();
                Ok(Self::below(url, again, store.map_err(refused)?))
            }
        }
    }

    fn below<S: ObjectStore + MultipartStore>(url: &BucketUrl, again: Duration, store: S) -> Bucket {
        let store = Arc::new(PrefixStore::new(store, url.prefix.as_str()));
        Bucket {
            url: url.to_string(),
            provider: url.provider,
            store: store.clone(),
            parts: store,
            room: Arc::new(Semaphore::new(ROOM)),
            again,
        }
    }

    /// Does once what will be done later: write, not overwrite, read a range, begin and abort an upload, delete.
    pub(super) async fn probe(&self) -> Result<(), BlobError> {
        let refused = |why: String| BlobError::Bucket { url: self.url.clone(), why };
        let path = Path::from(format!("probe/{}", Builder::from_random_bytes(random_bytes()?).into_uuid()));
        let asked = tokio::time::timeout(PROBE, async {
            let asked = self.ask(&path).await;
            if asked.is_err() {
                // What a failed probe wrote is of no use to anybody.
                let _ = self.store.delete(&path).await;
            }
            asked
        });
        match asked.await {
            Ok(asked) => asked.map_err(refused),
            Err(_) => Err(refused(format!(
                "no answer within {} s (where no credentials are set, the machine's metadata service is asked for them)",
                PROBE.as_secs()
            ))),
        }
    }

    async fn ask(&self, path: &Path) -> Result<(), String> {
        let cannot = |what: &'static str| {
            move |error: StoreError| match &error {
                // Of a key that was never there, stores say so only if there is no bucket either.
                StoreError::NotFound { .. } => format!("there is no such bucket ({})", brief(&error)),
                _ => format!("it cannot be {what}: {}", brief(&error)),
            }
        };
        let create = || self.store.put_opts(path, PutPayload::from_static(b"probe"), PutMode::Create.into());
        create().await.map_err(cannot("written"))?;
        match create().await {
            Err(StoreError::AlreadyExists { .. }) => {}
            Err(error) => return Err(cannot("written")(error)),
            Ok(_) => return Err("it overwrites where it was told not to: conditional writes are needed".to_owned()),
        }
        let read = self.store.get_range(path, 1..4).await.map_err(cannot("read"))?;
        if read != b"rob"[..] {
            return Err("it answers with other bytes than those that were written".to_owned());
        }
        let id = self.parts.create_multipart(path).await.map_err(cannot("written in parts"))?;
        self.parts.abort_multipart(path, &id).await.map_err(cannot("told to abort an upload"))?;
        self.store.delete(path).await.map_err(cannot("told to delete"))
    }

    /// Writes bytes where nothing is. If the same bytes are there, they were written.
    pub(super) async fn put(&self, path: &Path, bytes: Vec<Bytes>) -> Result<(), BlobError> {
        let payload: PutPayload = bytes.into_iter().collect();
        let until = Instant::now() + self.again;
        loop {
            let error = match self.store.put_opts(path, payload.clone(), PutMode::Create.into()).await {
                Ok(_) => return Ok(()),
                Err(error) => error,
            };
            let again = match &error {
                StoreError::AlreadyExists { .. } => match self.store.get(path).await {
                    Ok(found) => return same(path, found, payload).await,
                    // Two tries of ours met, and neither came through.
                    Err(StoreError::NotFound { .. }) => true,
                    Err(error) => return Err(failed("read", error)),
                },
                // A connection that broke: whether it was written shows with the next try.
                StoreError::Generic { .. } => true,
                _ => false,
            };
            if !again || Instant::now() > until {
                return Err(failed("write", error));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Makes a blob of the parts that were sent, `size` bytes in all. When this returns it is durable.
    pub(super) async fn complete(&self, path: &Path, id: &str, parts: Vec<PartId>, size: u64) -> Result<(), BlobError> {
        match self.parts.complete_multipart(path, &id.to_owned(), parts).await {
            Ok(_) => Ok(()),
            // The first answer may have been lost, and the upload is gone because it was completed.
            Err(error @ StoreError::NotFound { .. }) => match self.store.head(path).await {
                Ok(found) if found.size == size => Ok(()),
                _ => Err(failed("complete an upload", error)),
            },
            Err(error) => Err(failed("complete an upload", error)),
        }
    }

    /// Drops what was sent of an upload; one that is not there any more is dropped already. On Azure it does nothing: blocks that
    /// no blob was made of expire after a week.
    pub(super) async fn abort(&self, path: &Path, id: &str) -> Result<(), BlobError> {
        if self.provider == Provider::Azure || id.is_empty() {
            return Ok(());
        }
        match self.parts.abort_multipart(path, &id.to_owned()).await {
            Ok(()) | Err(StoreError::NotFound { .. }) => Ok(()),
            Err(error) => Err(failed("abort an upload", error)),
        }
    }

    /// A range of a blob as it comes. Where the connection breaks it is taken up again: nothing of it is kept in memory. `first`
    /// is the answer to a request for all of `range`.
    pub(super) fn stream(
        self: Arc<Self>,
        path: Path,
        range: Range<u64>,
        first: BoxStream<'static, object_store::Result<Bytes>>,
    ) -> BoxStream<'static, Result<Bytes, BlobError>> {
        let reading = Reading { bucket: self, path, rest: range, body: Some(first), breaks: 0 };
        stream::try_unfold(reading, |mut reading| async move {
            let next = reading.next().await?;
            Ok(next.map(|bytes| (bytes, reading)))
        })
        .boxed()
    }
}

/// A read under way.
struct Reading {
    bucket: Arc<Bucket>,
    path: Path,
    /// What has not come yet.
    rest: Range<u64>,
    body: Option<BoxStream<'static, object_store::Result<Bytes>>>,
    breaks: u32,
}

impl Reading {
    async fn next(&mut self) -> Result<Option<Bytes>, BlobError> {
        while !self.rest.is_empty() {
            let came = match &mut self.body {
                Some(body) => body.next().await,
                None => Some(self.take_up().await),
            };
            let broken: Box<dyn std::error::Error + Send + Sync> = match came {
                Some(Ok(bytes)) if bytes.is_empty() => continue,
                Some(Ok(bytes)) => {
                    self.breaks = 0;
                    let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX).min(self.rest.end - self.rest.start);
                    self.rest.start += len;
                    return Ok(Some(bytes.slice(..usize::try_from(len).unwrap_or(usize::MAX))));
                }
                Some(Err(StoreError::NotFound { path, .. })) => return Err(BlobError::Missing(path)),
                Some(Err(error)) => error.into(),
                None => "the answer ended early".into(),
            };
            self.body = None;
            self.breaks += 1;
            if self.breaks >= BREAKS {
                return Err(BlobError::unavailable("read", broken));
            }
            tracing::info!(path = %self.path, at = self.rest.start, %broken, "a read is taken up again");
        }
        Ok(None)
    }

    /// Asks for the rest; its bytes come with the next call.
    async fn take_up(&mut self) -> object_store::Result<Bytes> {
        let options = GetOptions { range: Some(self.rest.clone().into()), ..GetOptions::default() };
        self.body = Some(self.bucket.store.get_opts(&self.path, options).await?.into_stream());
        Ok(Bytes::new())
    }
}

/// Whether what was found is what was to be written.
async fn same(path: &Path, found: GetResult, wanted: PutPayload) -> Result<(), BlobError> {
    let other = || BlobError::Exists(path.to_string());
    if found.meta.size != wanted.content_length() as u64 {
        return Err(other());
    }
    let mut wanted = wanted.into_iter().collect::<Vec<Bytes>>().concat().into_iter();
    let mut found = found.into_stream();
    while let Some(bytes) = found.try_next().await.map_err(|error| failed("read", error))? {
        if !bytes.iter().all(|byte| wanted.next() == Some(*byte)) {
            return Err(other());
        }
    }
    if wanted.next().is_none() { Ok(()) } else { Err(other()) }
}

/// What a store's error means here.
pub(super) fn failed(what: &'static str, error: StoreError) -> BlobError {
    match code(&error.to_string()) {
        Some("QuotaExceeded" | "InsufficientStorage" | "XMinioStorageFull") => BlobError::Full,
        _ => BlobError::unavailable(what, error),
    }
}

/// A store's error in one short line: its code if it sent one, else what lies at the bottom.
fn brief(error: &StoreError) -> String {
    let text = error.to_string();
    if let Some(code) = code(&text) {
        return code.to_owned();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    let line: Vec<String> = cause.to_string().split_whitespace().map(str::to_owned).collect();
    line.join(" ").chars().take(300).collect()
}

/// The code in a store's answer: `<Code>NoSuchBucket</Code>`.
fn code(text: &str) -> Option<&str> {
    text.split_once("<Code>")?.1.split_once("</Code>").map(|(code, _)| code)
}
