//! The configuration: `strongroom.toml` in a vault's folder, and the environment over it.
//!
//! Every key `a.b` can be set as `STRONGROOM_A_B`; the environment wins. What is not known is refused and what is not
//! supported yet is refused, never ignored: a misspelled limit must not become no limit.
//!
//! ```toml
//! name = "vault.example.org"                # first part of every ledger's origin; never change it
//! listen = "127.0.0.1:7443"
//! operators = ["SHA256:…"]                  # who may create tenants
//! proxies = ["10.0.0.0/8"]                  # who says, by PROXY protocol v2, where connections come from
//!
//! [catalog]
//! url = "sqlite:catalog.db"                 # relative to the folder; or postgres://user:password@host/database
//!
//! [blobs]
//! url = "file:blobs"                        # or s3://bucket/prefix, az://container/prefix, gs://bucket/prefix
//!
//! [blobs.options]                           # for a bucket: over the variables AWS_*, AZURE_*, GOOGLE_*
//! aws_region = "eu-central-1"
//!
//! [root]
//! provider = "file"
//!
//! [limits]
//! max_object = 274877906944                # bytes
//! retention = 2592000                      # seconds: 30 days
//! ```

mod bucket;

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;
use strongroom_core::grant::Network;
use strongroom_core::identity::Fingerprint;
use strongroom_core::ids::{TenantId, VaultId};
use strongroom_core::origin::Origin;
use strongroom_core::reason::Reason;
use strongroom_core::sealed::layout::MAX_SIZE;

pub use self::bucket::{BucketUrl, Provider};

/// The name of the configuration's file in a vault's folder.
pub const CONFIG_FILE: &str = "strongroom.toml";

/// A configuration that was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The vault's folder.
    pub folder: PathBuf,
    /// The vault's name: the first part of every ledger's origin.
    pub name: String,
    /// Where to listen.
    pub listen: SocketAddr,
    /// The keys of operators.
    pub operators: Vec<Fingerprint>,
    /// Networks of proxies: each connection from there begins with a PROXY header, which is believed; no other is.
    pub proxies: Vec<Network>,
    /// Where the catalog is.
    pub catalog: CatalogUrl,
    /// Where blobs are.
    pub blobs: BlobsUrl,
    /// Who keeps the root key.
    pub root: RootProvider,
    /// What is bounded.
    pub limits: Limits,
}

/// Where the catalog is.
#[derive(Clone, PartialEq, Eq)]
pub enum CatalogUrl {
    /// A SQLite database in this file.
    Sqlite(PathBuf),
    /// A database of a PostgreSQL server: the whole URL, which may hold a password and is never told.
    Postgres(String),
}

impl CatalogUrl {
    /// The URL as the catalog opens it.
    pub fn url(&self) -> String {
        match self {
            Self::Sqlite(path) => format!("sqlite:{}", path.display()),
            Self::Postgres(url) => url.clone(),
        }
    }
}

impl std::fmt::Debug for CatalogUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sqlite(path) => f.debug_tuple("Sqlite").field(path).finish(),
            Self::Postgres(_) => f.write_str("Postgres"),
        }
    }
}

/// Where blobs are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BlobsUrl {
    /// This folder of the local disk.
    File(PathBuf),
    /// A bucket of an object store.
    Bucket(BucketUrl),
}

/// Who keeps the root key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RootProvider {
    /// A file in the folder.
    File,
}

/// What is bounded, so that nobody uses up what others need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of plaintext of the largest object.
    pub max_object: u64,
    /// How long an upload may be idle before it is condemned.
    pub upload_idle: Duration,
    /// Connections at once; more are closed as they come.
    pub max_connections: usize,
    /// Calls at once on one connection.
    pub max_streams: u32,
    /// How long a connection may take to become one: TLS and all.
    pub handshake: Duration,
    /// How long an unwrapped tenant key is kept.
    pub key_cache: Duration,
    /// How long a generation is kept after it was overwritten or deleted; then its key is destroyed.
    pub retention: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_object: 256 << 30,
            upload_idle: Duration::from_secs(3600),
            max_connections: 4096,
            max_streams: 256,
            handshake: Duration::from_secs(10),
            key_cache: Duration::from_secs(300),
            retention: Duration::from_secs(30 * 24 * 3600),
        }
    }
}

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{path}: {source}", path = .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not TOML of this shape.
    #[error("{path}: {message}", path = .path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// Where and what.
        message: String,
    },
    /// A value is not one.
    #[error("{place}: {key}: {why}")]
    Value {
        /// The file, or the variable.
        place: String,
        /// The key.
        key: &'static str,
        /// What it should be.
        why: String,
    },
    /// A variable of the environment that looks like ours and is not.
    #[error("{0}: no such setting")]
    UnknownVariable(String),
    /// What this version does not do yet.
    #[error("{place}: {key}: {value} is not supported by this version")]
    Unsupported {
        /// The file, or the variable.
        place: String,
        /// The key.
        key: &'static str,
        /// What was asked for.
        value: String,
    },
}

impl ConfigError {
    /// The stable reason code.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Unsupported { .. } => Reason::Unsupported,
            Self::Read { source, .. } if source.kind() == std::io::ErrorKind::NotFound => Reason::NotFound,
            Self::Read { .. } => Reason::Unavailable,
            Self::Shape { .. } | Self::Value { .. } | Self::UnknownVariable(_) => Reason::InvalidArgument,
        }
    }
}

/// The file, as it is written.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: Option<String>,
    listen: Option<String>,
    operators: Option<Vec<String>>,
    proxies: Option<Vec<String>>,
    #[serde(default)]
    catalog: UrlTable,
    #[serde(default)]
    blobs: BlobsTable,
    #[serde(default)]
    root: RootTable,
    #[serde(default)]
    limits: LimitsTable,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct UrlTable {
    url: Option<String>,
}

/// Without `Debug`: options hold secrets.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct BlobsTable {
    url: Option<String>,
    #[serde(default)]
    options: BTreeMap<String, OptionValue>,
}

/// An option of an object store: a text, or what is written without quotes.
#[derive(Deserialize)]
#[serde(untagged)]
enum OptionValue {
    Text(String),
    Switch(bool),
    Number(i64),
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RootTable {
    provider: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitsTable {
    max_object: Option<u64>,
    upload_idle: Option<u64>,
    max_connections: Option<u64>,
    max_streams: Option<u64>,
    handshake: Option<u64>,
    key_cache: Option<u64>,
    retention: Option<u64>,
}

impl Config {
    /// Reads the configuration of the vault in `folder`, with this process's environment over it.
    ///
    /// # Errors
    /// Each kind of [`ConfigError`].
    pub fn load(folder: &Path) -> Result<Config, ConfigError> {
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.to_string_lossy().into_owned())));
        Self::load_with(folder, variables)
    }

    /// Reads the configuration with these variables in place of the environment.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_with(
        folder: &Path,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Config, ConfigError> {
        let path = folder.join(CONFIG_FILE);
        let text = fs::read_to_string(&path).map_err(|source| ConfigError::Read { path: path.clone(), source })?;
        let file = toml::from_str(&text).map_err(|error| {
            let message = place_of(&text, error.span().map_or(0, |span| span.start));
            ConfigError::Shape { path: path.clone(), message: format!("{message}: {}", error.message()) }
        })?;
        let mut settings = Settings { place: path.display().to_string(), variables: Vec::new() };
        for (name, value) in variables {
            if let Some(key) = KEYS.iter().find(|key| variable(key) == name) {
                settings.variables.push((key, value));
            } else if is_misspelled(&name) {
                return Err(ConfigError::UnknownVariable(name));
            }
        }
        settings.check(folder, file)
    }
}

/// Which line a place in the file is in, and the key there. What a TOML error says by itself repeats the line, which may hold a
/// database's password.
fn place_of(text: &str, at: usize) -> String {
    let before = text.bytes().take(at).filter(|byte| *byte == b'\n').count();
    let is_key = |key: &&str| !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let key = text.lines().nth(before).and_then(|line| line.split_once('=')).map(|(key, _)| key.trim()).filter(is_key);
    key.map_or_else(|| format!("line {}", before + 1), |key| format!("line {}: {key}", before + 1))
}

/// Every key there is.
const KEYS: [&str; 14] = [
    "name",
    "listen",
    "operators",
    "proxies",
    "catalog.url",
    "blobs.url",
    "root.provider",
    "limits.max_object",
    "limits.upload_idle",
    "limits.max_connections",
    "limits.max_streams",
    "limits.handshake",
    "limits.key_cache",
    "limits.retention",
];

/// The variable that sets a key.
fn variable(key: &str) -> String {
    format!("STRONGROOM_{}", key.replace('.', "_").to_ascii_uppercase())
}

/// Whether a variable that sets no key was surely meant to. Others may begin with `STRONGROOM_`: the client's, and those that
/// Kubernetes makes for a service of that name, which are left alone.
fn is_misspelled(name: &str) -> bool {
    let Some((table, key)) = name.strip_prefix("STRONGROOM_").and_then(|rest| rest.split_once('_')) else {
        return false;
    };
    let of_a_service = key == "PORT" || key.starts_with("PORT_") || key.starts_with("SERVICE_");
    matches!(table, "CATALOG" | "BLOBS" | "ROOT" | "LIMITS") && !of_a_service && name != ROOT_PASSPHRASE
}

/// The variable that holds the root key's passphrase. It is no setting: it stands in no file.
pub const ROOT_PASSPHRASE: &str = "STRONGROOM_ROOT_PASSPHRASE";

/// The variables, and where the rest comes from.
struct Settings {
    place: String,
    variables: Vec<(&'static str, String)>,
}

impl Settings {
    fn check(&self, folder: &Path, file: File) -> Result<Config, ConfigError> {
        let defaults = Limits::default();
        let limits = file.limits;
        Ok(Config {
            folder: folder.to_owned(),
            name: self.setting("name", file.name, name)?.ok_or_else(|| self.missing("name"))?,
            listen: self.setting("listen", file.listen, listen)?.unwrap_or(DEFAULT_LISTEN),
            operators: self.list("operators", file.operators)?,
            proxies: self.list("proxies", file.proxies)?,
            catalog: self.catalog(folder, file.catalog.url)?,
            blobs: self.blobs(folder, file.blobs)?,
            root: self.root(file.root.provider)?,
            limits: Limits {
                max_object: self.number("limits.max_object", limits.max_object, 1..=MAX_SIZE, defaults.max_object)?,
                upload_idle: self.seconds("limits.upload_idle", limits.upload_idle, defaults.upload_idle)?,
                max_connections: self.number(
                    "limits.max_connections",
                    limits.max_connections,
                    1..=1_000_000,
                    defaults.max_connections,
                )?,
                max_streams: self.number("limits.max_streams", limits.max_streams, 1..=65_536, defaults.max_streams)?,
                handshake: self.seconds("limits.handshake", limits.handshake, defaults.handshake)?,
                key_cache: self.seconds("limits.key_cache", limits.key_cache, defaults.key_cache)?,
                retention: self.seconds("limits.retention", limits.retention, defaults.retention)?,
            },
        })
    }

    /// A key's value with where it comes from: the environment's if it has one, else the file's.
    fn raw(&self, key: &'static str, of_file: Option<String>) -> Option<(String, String)> {
        let of_environment = self.variables.iter().find(|(name, _)| *name == key);
        match of_environment {
            Some((_, value)) => Some((variable(key), value.clone())),
            None => of_file.map(|value| (self.place.clone(), value)),
        }
    }

    fn setting<T>(
        &self,
        key: &'static str,
        of_file: Option<String>,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, ConfigError> {
        let Some((place, value)) = self.raw(key, of_file) else { return Ok(None) };
        parse(&value).map(Some).map_err(|why| ConfigError::Value { place, key, why })
    }

    fn missing(&self, key: &'static str) -> ConfigError {
        ConfigError::Value { place: self.place.clone(), key, why: "is missing".to_owned() }
    }

    /// In the environment, a list stands in one text with commas or white space between.
    fn list<T>(&self, key: &'static str, of_file: Option<Vec<String>>) -> Result<Vec<T>, ConfigError>
    where
        T: FromStr<Err: std::fmt::Display>,
    {
        let of_file = of_file.map(|items| items.join(","));
        let parse = |text: &str| {
            let items = text.split([',', ' ', '\n', '\t']).filter(|item| !item.is_empty());
            let parsed = items.map(|item| item.parse::<T>().map_err(|error| format!("{item:?}: {error}")));
            parsed.collect::<Result<Vec<_>, String>>()
        };
        Ok(self.setting(key, of_file, parse)?.unwrap_or_default())
    }

    fn catalog(&self, folder: &Path, of_file: Option<String>) -> Result<CatalogUrl, ConfigError> {
        let key = "catalog.url";
        let (place, value) =
            self.raw(key, of_file).unwrap_or_else(|| (self.place.clone(), "sqlite:catalog.db".to_owned()));
        match value.split_once(':') {
            Some(("sqlite", path)) => match local_path(folder, path) {
                Some(path) => Ok(CatalogUrl::Sqlite(path)),
                None => Err(ConfigError::Value { place, key, why: format!("{value:?} names no file") }),
            },
            // What is wrong with it, the catalog says when it opens it, and neither repeats it.
            Some(("postgres" | "postgresql", _)) => Ok(CatalogUrl::Postgres(value)),
            _ => Err(ConfigError::Value {
                place,
                key,
                why: "a catalog's URL begins with sqlite: or postgres:".to_owned(),
            }),
        }
    }

    fn blobs(&self, folder: &Path, of_file: BlobsTable) -> Result<BlobsUrl, ConfigError> {
        let key = "blobs.url";
        let (place, value) =
            self.raw(key, of_file.url).unwrap_or_else(|| (self.place.clone(), "file:blobs".to_owned()));
        let options = of_file.options.into_iter().map(|(name, value)| {
            let value = match value {
                OptionValue::Text(text) => text,
                OptionValue::Switch(switch) => switch.to_string(),
                OptionValue::Number(number) => number.to_string(),
            };
            (name.to_ascii_lowercase(), value)
        });
        let options: BTreeMap<String, String> = options.collect();
        let no_option = |why| ConfigError::Value { place: self.place.clone(), key: "blobs.options", why };
        match value.split_once(':') {
            Some(("file", _)) if !options.is_empty() => Err(no_option("are for buckets".to_owned())),
            Some(("file", path)) => match local_path(folder, path) {
                Some(path) => Ok(BlobsUrl::File(path)),
                None => Err(ConfigError::Value { place, key, why: format!("{value:?} names no folder") }),
            },
            _ => {
                let (provider, bucket, prefix) =
                    bucket::parse(&value).map_err(|why| ConfigError::Value { place, key, why })?;
                if let Some(unknown) = options.keys().find(|name| !provider.knows(name)) {
                    return Err(no_option(format!("{unknown:?} is no option of {}://", provider.scheme())));
                }
                Ok(BlobsUrl::Bucket(BucketUrl { provider, bucket, prefix, options }))
            }
        }
    }

    fn root(&self, of_file: Option<String>) -> Result<RootProvider, ConfigError> {
        let key = "root.provider";
        match self.raw(key, of_file) {
            None => Ok(RootProvider::File),
            Some((_, value)) if value == "file" => Ok(RootProvider::File),
            Some((place, value)) if matches!(value.as_str(), "pkcs11" | "aws-kms") => {
                Err(ConfigError::Unsupported { place, key, value })
            }
            Some((place, value)) => {
                Err(ConfigError::Value { place, key, why: format!("{value:?} is no provider; there is \"file\"") })
            }
        }
    }

    fn number<T: TryFrom<u64>>(
        &self,
        key: &'static str,
        of_file: Option<u64>,
        bounds: std::ops::RangeInclusive<u64>,
        default: T,
    ) -> Result<T, ConfigError> {
        let parse = |text: &str| {
            let number = u64::from_str(text).ok().filter(|number| bounds.contains(number));
            let number = number.and_then(|number| T::try_from(number).ok());
            number.ok_or_else(|| format!("is a number from {} to {}, not {text:?}", bounds.start(), bounds.end()))
        };
        Ok(self.setting(key, of_file.map(|number| number.to_string()), parse)?.unwrap_or(default))
    }

    fn seconds(&self, key: &'static str, of_file: Option<u64>, default: Duration) -> Result<Duration, ConfigError> {
        const CENTURY: u64 = 100 * 366 * 24 * 3600;
        self.number(key, of_file, 1..=CENTURY, default.as_secs()).map(Duration::from_secs)
    }
}

/// Where to listen if nothing says otherwise: on this machine only.
pub const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 7443);

/// Checks a vault's name by the rule of origins.
pub(crate) fn name(text: &str) -> Result<String, String> {
    let origin = Origin::new(text, VaultId::from_bytes([0; 16]), TenantId::from_bytes([0; 16]));
    origin.map(|_| text.to_owned()).map_err(|_| format!("is 1 to 253 of a-z, 0-9, '.' and '-', not {text:?}"))
}

fn listen(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("is an IP address and a port, such as {DEFAULT_LISTEN}, not {text:?}"))
}

/// The path in a `sqlite:` or `file:` URL: relative to the folder, or absolute, with or without an empty authority.
fn local_path(folder: &Path, path: &str) -> Option<PathBuf> {
    let path = match path.strip_prefix("//") {
        Some(absolute) => absolute.starts_with('/').then_some(absolute)?,
        None => path,
    };
    (!path.is_empty() && !path.contains(['?', '#'])).then(|| folder.join(path))
}

#[cfg(test)]
mod tests;
