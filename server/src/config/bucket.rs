//! Which bucket: `s3://bucket/prefix`, `az://container/prefix`, `gs://bucket/prefix`, and what `[blobs.options]` says of it.

use std::collections::BTreeMap;
use std::fmt;

use object_store::aws::AmazonS3ConfigKey;
use object_store::azure::AzureConfigKey;
use object_store::gcp::GoogleConfigKey;
use object_store::path::Path;

/// A bucket of an object store, and what of it is this vault's.
#[derive(Clone, PartialEq, Eq)]
pub struct BucketUrl {
    /// Whose it is.
    pub provider: Provider,
    /// Its name; on Azure, the container's.
    pub bucket: String,
    /// What stands before the names of all blobs; empty for none.
    pub prefix: String,
    /// Options of the store by their lower-case names. They go before the variables of the environment, and may be secret.
    pub options: BTreeMap<String, String>,
}

/// Who keeps a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provider {
    /// Amazon S3, and what speaks its language.
    S3,
    /// Azure Blob Storage.
    Azure,
    /// Google Cloud Storage.
    Gcs,
}

impl Provider {
    /// How URLs name it.
    pub fn scheme(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Azure => "az",
            Self::Gcs => "gs",
        }
    }

    /// Whether it has such an option.
    pub(super) fn knows(self, option: &str) -> bool {
        match self {
            Self::S3 => option.parse::<AmazonS3ConfigKey>().is_ok(),
            Self::Azure => option.parse::<AzureConfigKey>().is_ok(),
            Self::Gcs => option.parse::<GoogleConfigKey>().is_ok(),
        }
    }
}

/// The URL; it never holds a secret.
impl fmt::Display for BucketUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.provider.scheme(), self.bucket)?;
        if self.prefix.is_empty() { Ok(()) } else { write!(f, "/{}", self.prefix) }
    }
}

/// The names of the options alone: their values may be secret.
impl fmt::Debug for BucketUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options: Vec<&String> = self.options.keys().collect();
        f.debug_struct("BucketUrl").field("url", &self.to_string()).field("options", &options).finish()
    }
}

/// The parts of a bucket's URL, or what it should be.
pub(super) fn parse(url: &str) -> Result<(Provider, String, String), String> {
    let (scheme, rest) = url.split_once("://").unwrap_or_default();
    let provider = match scheme {
        "s3" => Provider::S3,
        "az" => Provider::Azure,
        "gs" => Provider::Gcs,
        _ => return Err("a URL of blobs begins with file:, s3://, az:// or gs://".to_owned()),
    };
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if bucket.is_empty() || !bucket.bytes().all(plain) {
        // What else stands there may be a password: it is not repeated.
        return Err(format!("names no bucket: it is {scheme}://bucket or {scheme}://bucket/prefix, and no more"));
    }
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    if prefix.contains(['?', '#']) || Path::parse(prefix).is_err() {
        return Err(format!("{prefix:?} is no prefix of names"));
    }
    Ok((provider, bucket.to_owned(), prefix.to_owned()))
}
