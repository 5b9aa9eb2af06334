//! The configuration: `strongroom.toml` in a vault's folder, and the environment over it.
//!
//! Every key `a.b` can be set as `STRONGROOM_A_B`; the environment wins. What is not known is
//! refused, never ignored: a misspelled limit must not become no limit.
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
//! provider = "file"                         # or "pkcs11", "aws-kms", each with a table of its own: see `root`
//!
//! [escrow]
//! plugins = ["yubikey"]                     # whose recipients tenants may name: age-plugin-yubikey is run; none if not said
//!
//! [metrics]
//! listen = "127.0.0.1:9464"                 # plain HTTP: /live, /ready, /metrics; a port alone is this machine's; none if not said
//!
//! [limits]
//! max_object = 274877906944                # bytes
//! retention = 2592000                      # seconds: 30 days
//! plugin = 60                              # seconds that an age plugin may take, before it is ended
//! ```

mod bucket;
pub mod root;
mod settings;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use strongroom_core::grant::Network;
use strongroom_core::identity::Fingerprint;
use strongroom_core::ids::{TenantId, VaultId};
use strongroom_core::origin::Origin;
use strongroom_core::reason::Reason;

pub use self::bucket::{BucketUrl, Provider};
pub use self::root::RootProvider;
use self::settings::{KEYS, Settings, is_misspelled, variable};
use crate::keys::plugins::PATIENCE;
use crate::recorder::LedgerLimits;

/// The longest that an age plugin may be given, in seconds.
pub(crate) const MAX_PLUGIN: u64 = 600;

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
    /// The age plugins that may be run to seal a tenant's keys to its escrow, by name: `yubikey` is `age-plugin-yubikey`.
    pub escrow_plugins: Vec<String>,
    /// Where metrics are told, if anywhere.
    pub metrics: Option<SocketAddr>,
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

impl BlobsUrl {
    /// The place that a URL names, relative paths from `folder` on; what a bucket needs beside comes from the environment.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(folder: &Path, url: &str) -> Result<Self, String> {
        match url.split_once(':') {
            Some(("file", path)) => {
                settings::local_path(folder, path).map(Self::File).ok_or_else(|| format!("{url:?} names no folder"))
            }
            _ => {
                let (provider, bucket, prefix) = bucket::parse(url)?;
                Ok(Self::Bucket(BucketUrl { provider, bucket, prefix, options: Default::default() }))
            }
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
    /// How long an age plugin may take each time, that opens the root key or seals to an escrow; then it is ended.
    pub plugin: Duration,
    /// How long a generation is kept after it was overwritten or deleted; then its key is destroyed.
    pub retention: Duration,
    /// What ledgers are kept within.
    pub ledger: LedgerLimits,
    /// How long a generation is kept that the same content replaced under a new key: readers of it finish meanwhile.
    pub rekey_grace: Duration,
    /// How long backups of the database are kept: until then they hold what was destroyed. It is only told.
    pub backup_retention: Option<Duration>,
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
            plugin: PATIENCE,
            retention: Duration::from_secs(30 * 24 * 3600),
            ledger: LedgerLimits::default(),
            rekey_grace: Duration::from_secs(3600),
            backup_retention: None,
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
}

impl ConfigError {
    /// The stable reason code.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Read { source, .. } if source.kind() == std::io::ErrorKind::NotFound => Reason::NotFound,
            Self::Read { .. } => Reason::Unavailable,
            Self::Shape { .. } | Self::Value { .. } | Self::UnknownVariable(_) => Reason::InvalidArgument,
        }
    }
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

/// The variable that holds the root key's passphrase. It is no setting: it stands in no file.
pub const ROOT_PASSPHRASE: &str = "STRONGROOM_ROOT_PASSPHRASE";

/// Where to listen if nothing says otherwise: on this machine only.
pub const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 7443);

/// Checks a vault's name by the rule of origins.
pub(crate) fn name(text: &str) -> Result<String, String> {
    let origin = Origin::new(text, VaultId::from_bytes([0; 16]), TenantId::from_bytes([0; 16]));
    origin.map(|_| text.to_owned()).map_err(|_| format!("is 1 to 253 of a-z, 0-9, '.' and '-', not {text:?}"))
}

#[cfg(test)]
mod tests;
