//! The root key at AWS KMS: it wraps and unwraps over HTTPS, and never gives the key out.
//!
//! Three calls of its JSON API are all it takes: `DescribeKey` at the start, `Encrypt` and `Decrypt`. The encryption context is the
//! place, field by field, so that AWS's own log tells in clear what each call was for, and a wrapped key opens for its place
//! alone. Requests are signed, and credentials found, as for a bucket of S3: by `object_store`, by its options and variables.
//!
//! Invariants:
//! - A call has a time, an answer a length, and all tries of a call together an end.
//! - Throttling and what passes is tried again with growing pauses; a refusal is not.
//! - Connections are not kept: what came over one is a key, and stands in its buffers as long as it lives.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use data_encoding::{BASE64, HEXLOWER};
use futures::StreamExt;
use futures::future::BoxFuture;
use object_store::ClientOptions;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, AwsAuthorizer, AwsCredentialProvider};
use object_store::client::{HttpClient, HttpConnector, HttpRequest, ReqwestConnector};
use serde::{Deserialize, Serialize};
use strongroom_core::keys::secret::{Key, random_bytes, scrubbed};
use strongroom_core::keys::wrap::{RootTuple, UnwrapError};
use tokio::time::Instant;
use zeroize::{Zeroize, Zeroizing};

use super::RootKey;
use crate::config::root::AwsKmsRoot;
use crate::keys::KeyError;

/// How long one try may take, and its connection.
const TRY: Duration = Duration::from_secs(5);
const CONNECT: Duration = Duration::from_secs(2);
/// No try begins later than this after the first.
const PATIENCE: Duration = Duration::from_secs(10);
/// The first pause between tries, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// Bytes of an answer, and of a wrapped key: KMS's own bound.
const MAX_ANSWER: usize = 64 * 1024;
const MAX_WRAPPED: usize = 6144;

/// A root key of AWS KMS.
pub struct AwsKmsRootKey {
    id: String,
    service: Service,
    /// The key's own id, which an alias that is moved does not change.
    key: String,
}

impl AwsKmsRootKey {
    /// Looks the key up.
    ///
    /// # Errors
    /// [`KeyError::Root`] if the service does not answer or knows no such key, or the key is not one to encrypt with.
    pub async fn open(provider: &AwsKmsRoot) -> Result<Self, KeyError> {
        let service = Service::new(provider)?;
        let asked = Describe { key_id: &provider.key };
        let described: Described =
            parse(&service.call("DescribeKey", &asked).await.map_err(|failed| failed.told(&service))?)?;
        let key = described.key_metadata;
        let why = |why: &str| KeyError::Root(format!("the key {} of AWS KMS {why}", provider.key));
        if !key.enabled {
            return Err(why("is not enabled"));
        }
        if key.key_usage != "ENCRYPT_DECRYPT" || key.key_spec.as_deref().is_some_and(|spec| spec != "SYMMETRIC_DEFAULT")
        {
            return Err(why("is not a symmetric key to encrypt and decrypt with"));
        }
        if key.key_id.is_empty() || key.key_id.len() > 64 || !key.key_id.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(why("has no id"));
        }
        Ok(Self { id: format!("aws-kms:{}", key.key_id), service, key: key.arn })
    }
}

impl RootKey for AwsKmsRootKey {
    fn id(&self) -> String {
        self.id.clone()
    }

    fn wrap<'a>(&'a self, place: &'a RootTuple<'a>, secret: &'a Key) -> BoxFuture<'a, Result<Vec<u8>, KeyError>> {
        Box::pin(async move {
            let plaintext = scrubbed(|| Zeroizing::new(BASE64.encode(secret.expose())));
            let asked = Encrypt { key_id: &self.key, plaintext: &plaintext, encryption_context: context(place) };
            let answer = self.service.call("Encrypt", &asked).await.map_err(|failed| failed.told(&self.service))?;
            let encrypted: Encrypted = parse(&answer)?;
            let wrapped = BASE64.decode(encrypted.ciphertext_blob.as_bytes());
            let wrapped = wrapped.ok().filter(|wrapped| !wrapped.is_empty() && wrapped.len() <= MAX_WRAPPED);
            wrapped.ok_or_else(|| KeyError::Root("AWS KMS answered with something else than a ciphertext".to_owned()))
        })
    }

    fn unwrap<'a>(&'a self, place: &'a RootTuple<'a>, wrapped: &'a [u8]) -> BoxFuture<'a, Result<Box<Key>, KeyError>> {
        Box::pin(async move {
            if wrapped.is_empty() || wrapped.len() > MAX_WRAPPED {
                return Err(UnwrapError.into());
            }
            let blob = BASE64.encode(wrapped);
            let asked = Decrypt { key_id: &self.key, ciphertext_blob: &blob, encryption_context: context(place) };
            match self.service.call("Decrypt", &asked).await {
                Ok(answer) => scrubbed(|| {
                    let decrypted: Decrypted = parse(&answer)?;
                    let plain = Zeroizing::new(BASE64.decode(decrypted.plaintext.0.as_bytes()).unwrap_or_default());
                    Ok(Key::in_box(&plain).ok_or(UnwrapError)?)
                }),
                Err(Failed::Refused { code, .. }) if BYTES.contains(&code.as_str()) => Err(UnwrapError.into()),
                Err(failed) => Err(failed.told(&self.service)),
            }
        })
    }
}

/// What KMS calls bytes that do not open.
const BYTES: [&str; 2] = ["InvalidCiphertextException", "IncorrectKeyException"];
/// What passes.
const PASSING: [&str; 7] = [
    "ThrottlingException",
    "LimitExceededException",
    "RequestLimitExceeded",
    "KMSInternalException",
    "DependencyTimeoutException",
    "KeyUnavailableException",
    "ServiceUnavailableException",
];

/// The place as KMS binds it, and writes it into its log.
fn context(place: &RootTuple<'_>) -> BTreeMap<&'static str, String> {
    let mut context = BTreeMap::from([
        ("strongroom:purpose", place.purpose.as_str().to_owned()),
        ("strongroom:vault", HEXLOWER.encode(place.vault.as_bytes())),
        ("strongroom:version", place.version.to_string()),
    ]);
    if let Some((id, name)) = &place.tenant {
        context.insert("strongroom:tenant", HEXLOWER.encode(id.as_bytes()));
        // A value must not be empty, and no tenant's name is.
        context.insert("strongroom:tenant-name", (*name).to_owned());
    }
    context
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Describe<'a> {
    key_id: &'a str,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Described {
    key_metadata: Metadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Metadata {
    key_id: String,
    arn: String,
    enabled: bool,
    key_usage: String,
    key_spec: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Encrypt<'a> {
    key_id: &'a str,
    plaintext: &'a str,
    encryption_context: BTreeMap<&'static str, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Encrypted {
    ciphertext_blob: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Decrypt<'a> {
    key_id: &'a str,
    ciphertext_blob: &'a str,
    encryption_context: BTreeMap<&'static str, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Decrypted {
    plaintext: SecretText,
}

/// Text that zeroizes.
#[derive(Deserialize, Zeroize)]
#[zeroize(drop)]
struct SecretText(String);

fn parse<T: serde::de::DeserializeOwned>(answer: &[u8]) -> Result<T, KeyError> {
    // What serde says of an answer may repeat it.
    serde_json::from_slice(answer).map_err(|_| KeyError::Root("AWS KMS answered with something else".to_owned()))
}

/// The service, with what it takes to ask it.
struct Service {
    http: HttpClient,
    endpoint: String,
    region: String,
    credentials: AwsCredentialProvider,
    patience: Duration,
}

/// Why a call came to nothing.
enum Failed {
    /// The service said no, with a code of its own.
    Refused { code: String, message: String },
    /// It did not answer, or not to an end.
    Silent(String),
}

impl Failed {
    fn passes(&self) -> bool {
        match self {
            Self::Refused { code, .. } => {
                PASSING.contains(&code.as_str()) || code.starts_with("HTTP 5") || code == "HTTP 429"
            }
            Self::Silent(_) => true,
        }
    }

    fn told(self, service: &Service) -> KeyError {
        let endpoint = &service.endpoint;
        KeyError::Root(match self {
            Self::Refused { code, .. } if code == "ThrottlingException" || code == "HTTP 429" => {
                format!("AWS KMS at {endpoint} throttles this vault: {code}")
            }
            Self::Refused { code, message } if message.is_empty() => format!("AWS KMS at {endpoint}: {code}"),
            Self::Refused { code, message } => format!("AWS KMS at {endpoint}: {code}: {message}"),
            Self::Silent(why) => format!("AWS KMS at {endpoint} does not answer: {why}"),
        })
    }
}

impl Service {
    fn new(provider: &AwsKmsRoot) -> Result<Self, KeyError> {
        let failed = |error: object_store::Error| KeyError::Root(format!("AWS: {}", brief(&error)));
        // The store is never asked for anything: it only knows where credentials come from.
        let mut builder = AmazonS3Builder::from_env();
        for (name, value) in &provider.options {
            builder = builder.with_config(name.parse().map_err(failed)?, value);
        }
        if let Some(region) = &provider.region {
            builder = builder.with_region(region);
        }
        let region = builder.get_config_value(&AmazonS3ConfigKey::Region);
        let region =
            region.ok_or_else(|| KeyError::Root("no region: set root.aws-kms.region or AWS_REGION".to_owned()))?;
        let endpoint = provider.endpoint.clone().unwrap_or_else(|| {
            let suffix = if region.starts_with("cn-") { ".cn" } else { "" };
            format!("https://kms.{region}.amazonaws.com{suffix}")
        });
        let store = builder.with_bucket_name("none").build().map_err(failed)?;
        let options = ClientOptions::new()
            .with_timeout(TRY)
            .with_connect_timeout(CONNECT)
            .with_pool_max_idle_per_host(0)
            // The configuration has seen to it that this is on this machine.
            .with_allow_http(endpoint.starts_with("http://"));
        let http = ReqwestConnector::default().connect(&options).map_err(failed)?;
        Ok(Self { http, endpoint, region, credentials: store.credentials().clone(), patience: PATIENCE })
    }

    /// One call, tried again while what comes in its way passes.
    async fn call(&self, target: &str, asked: &impl Serialize) -> Result<Zeroizing<Vec<u8>>, Failed> {
        let body = serde_json::to_vec(asked).map_err(|error| Failed::Silent(error.to_string()))?;
        let body = Bytes::from(body);
        let begun = Instant::now();
        let mut pause = PAUSE.0;
        loop {
            let failed = match self.attempt(target, body.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            // Up to half as long again, so that many nodes do not come back at once.
            let more = random_bytes::<1>().map_or(0, |[byte]| u32::from(byte));
            let wait = pause + pause * more / 512;
            if !failed.passes() || begun.elapsed() + wait > self.patience {
                return Err(failed);
            }
            tokio::time::sleep(wait).await;
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    async fn attempt(&self, target: &str, body: Bytes) -> Result<Zeroizing<Vec<u8>>, Failed> {
        let credentials = self.credentials.get_credential().await.map_err(|error| Failed::Silent(brief(&error)))?;
        let request = http::Request::post(format!("{}/", self.endpoint))
            .header("content-type", "application/x-amz-json-1.1")
            .header("x-amz-target", format!("TrentService.{target}"))
            .body(body.into());
        let mut request: HttpRequest = request.map_err(|error| Failed::Silent(error.to_string()))?;
        let signed = AwsAuthorizer::new(&credentials, "kms", &self.region).try_authorize(&mut request, None);
        signed.map_err(|error| Failed::Silent(brief(&error)))?;
        let silent = |error: object_store::client::HttpError| Failed::Silent(innermost(&error));
        let answer = self.http.execute(request).await.map_err(silent)?;
        let status = answer.status();
        let mut text = Zeroizing::new(Vec::with_capacity(1024));
        let mut stream = answer.into_body().bytes_stream();
        while let Some(piece) = stream.next().await {
            let piece = piece.map_err(silent)?;
            if text.len() + piece.len() > MAX_ANSWER {
                return Err(Failed::Silent("its answer is too long".to_owned()));
            }
            text.extend_from_slice(&piece);
        }
        if status.is_success() {
            return Ok(text);
        }
        let Refusal { code, message } = serde_json::from_slice(&text).unwrap_or_default();
        // `com.amazonaws.kms#NotFoundException`, or the last part alone.
        let code = code.rsplit('#').next().unwrap_or_default().chars().take(64).collect::<String>();
        let code = if code.is_empty() { format!("HTTP {}", status.as_u16()) } else { code };
        let plain = |char: &char| !char.is_control();
        Err(Failed::Refused { code, message: message.chars().filter(plain).take(300).collect() })
    }
}

#[derive(Default, Deserialize)]
struct Refusal {
    #[serde(default, rename = "__type")]
    code: String,
    #[serde(default, alias = "Message")]
    message: String,
}

/// An error of the store's in one line, without the store's own name for itself.
fn brief(error: &object_store::Error) -> String {
    innermost(error)
}

/// What lies at the bottom of an error: "connection refused" rather than "error sending request".
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string().replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use strongroom_test_services::{Fault, Faults, Moto, on_moto};

    use super::*;
    use crate::config::RootProvider;
    use crate::keys::root::suite::place;
    use crate::keys::root::{need, open, root_key_suite};

    fn provider(key: &str, port: u16) -> AwsKmsRoot {
        let options = [("aws_access_key_id", "strongroom"), ("aws_secret_access_key", "strongroom")];
        AwsKmsRoot {
            key: key.to_owned(),
            region: Some("us-east-1".to_owned()),
            endpoint: Some(format!("http://127.0.0.1:{port}")),
            options: options.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        }
    }

    async fn opened() -> Option<Arc<dyn RootKey>> {
        static KEY: std::sync::OnceLock<String> = std::sync::OnceLock::new();
        let moto = Moto::shared();
        let provider = RootProvider::AwsKms(provider(KEY.get_or_init(|| moto.kms_key()), moto.port()));
        assert_eq!(need(&provider), None);
        Some(open(&provider, None, crate::keys::plugins::PATIENCE).await.unwrap())
    }

    on_moto! {
        mod suite_on_moto {
            use super::*;

            root_key_suite!(super::super::opened);
        }

        #[tokio::test]
        async fn what_passes_is_tried_again_and_what_lasts_is_told() {
            let moto = Moto::shared();
            let faults = Faults::before(moto.port());
            let root = AwsKmsRootKey::open(&provider(&moto.kms_key(), faults.port())).await.unwrap();
            let secret = Key::random().unwrap();
            let wrapped = root.wrap(&place("acme"), &secret).await.unwrap();
            for fault in [Fault::Throttled, Fault::Unavailable, Fault::Cut, Fault::LoseAnswer, Fault::CutAfter(40)] {
                faults.plan("POST", fault, 2);
                assert!(root.unwrap(&place("acme"), &wrapped).await.unwrap().expose() == secret.expose(), "{fault:?}");
            }
            assert_eq!(faults.failed(), 10);

            let mut root = root;
            root.service.patience = Duration::from_millis(500);
            faults.plan("POST", Fault::Throttled, usize::MAX);
            let told = root.unwrap(&place("acme"), &wrapped).await.err().unwrap();
            assert!(matches!(&told, KeyError::Root(why) if why.contains("throttles")), "{told}");
            faults.clear();
            let port = faults.port();
            drop(faults);
            let told = root.unwrap(&place("acme"), &wrapped).await.err().unwrap().to_string();
            assert!(told.contains(&format!("127.0.0.1:{port} does not answer")) && !told.contains('\n'), "{told}");
        }

        #[tokio::test]
        async fn keys_that_will_not_do_are_refused() {
            let moto = Moto::shared();
            let open = async |key: &str| AwsKmsRootKey::open(&provider(key, moto.port())).await.err().unwrap().to_string();
            assert!(open("00000000-0000-0000-0000-000000000000").await.contains("NotFoundException"));
            let disabled = moto.kms_key();
            moto.kms("DisableKey", &format!("{{\"KeyId\":\"{disabled}\"}}"));
            assert!(open(&disabled).await.contains("is not enabled"));
            let signing = moto.kms_key_of("{\"KeyUsage\":\"SIGN_VERIFY\",\"KeySpec\":\"ECC_NIST_P256\"}");
            assert!(open(&signing).await.contains("is not a symmetric key"));
        }
    }
}
