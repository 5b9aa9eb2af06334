//! The settings, as the file and the environment have them, checked one by one.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;
use strongroom_core::sealed::layout::MAX_SIZE;

use super::bucket::{self, BucketUrl};
use super::root::RootTable;
use super::{BlobsUrl, CatalogUrl, Config, ConfigError, DEFAULT_LISTEN, Limits, MAX_PLUGIN, ROOT_PASSPHRASE, name};
use crate::recorder::LedgerLimits;

/// The longest time that can be set, in seconds.
const CENTURY: u64 = 100 * 366 * 24 * 3600;

/// The variables, and where the rest comes from.
pub(super) struct Settings {
    pub(super) place: String,
    pub(super) variables: Vec<(&'static str, String)>,
}

impl Settings {
    pub(super) fn check(&self, folder: &Path, file: File) -> Result<Config, ConfigError> {
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
            root: self.root(folder, file.root)?,
            escrow_plugins: self
                .list::<PluginName>("escrow.plugins", file.escrow.plugins)?
                .into_iter()
                .map(|name| name.0)
                .collect(),
            metrics: self.setting("metrics.listen", file.metrics.listen.map(Listen::text), metrics)?,
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
                plugin: self
                    .number("limits.plugin", limits.plugin, 1..=MAX_PLUGIN, defaults.plugin.as_secs())
                    .map(Duration::from_secs)?,
                retention: self.seconds("limits.retention", limits.retention, defaults.retention)?,
                ledger: LedgerLimits {
                    recent: self.number(
                        "limits.recent_entries",
                        limits.recent_entries,
                        0..=1 << 32,
                        defaults.ledger.recent,
                    )?,
                    unsigned: self.seconds("limits.unsigned", limits.unsigned, defaults.ledger.unsigned)?,
                },
                rekey_grace: self.seconds("limits.rekey_grace", limits.rekey_grace, defaults.rekey_grace)?,
                backup_retention: self.backup_retention(limits.backup_retention)?,
            },
        })
    }

    /// A key's value with where it comes from: the environment's if it has one, else the file's.
    pub(super) fn raw(&self, key: &'static str, of_file: Option<String>) -> Option<(String, String)> {
        let of_environment = self.variables.iter().find(|(name, _)| *name == key);
        match of_environment {
            Some((_, value)) => Some((variable(key), value.clone())),
            None => of_file.map(|value| (self.place.clone(), value)),
        }
    }

    pub(super) fn setting<T>(
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
        let options = options(of_file.options);
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

    /// 0 says that there are no backups.
    fn backup_retention(&self, of_file: Option<u64>) -> Result<Option<Duration>, ConfigError> {
        let key = "limits.backup_retention";
        let said = self.raw(key, of_file.map(|number| number.to_string())).is_some();
        let seconds = self.number(key, of_file, 0..=CENTURY, 0_u64)?;
        Ok(said.then(|| Duration::from_secs(seconds)))
    }

    fn seconds(&self, key: &'static str, of_file: Option<u64>, default: Duration) -> Result<Duration, ConfigError> {
        self.number(key, of_file, 1..=CENTURY, default.as_secs()).map(Duration::from_secs)
    }
}

/// The file, as it is written.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
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
    escrow: EscrowTable,
    #[serde(default)]
    metrics: MetricsTable,
    #[serde(default)]
    limits: LimitsTable,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct EscrowTable {
    plugins: Option<Vec<String>>,
}

/// The name of an age plugin: what stands between `age1` and `1` in its recipients.
struct PluginName(String);

impl FromStr for PluginName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if text.len() <= 64 && text.bytes().all(fits) {
            Ok(Self(text.to_owned()))
        } else {
            Err("is a plugin's name, of a-z, 0-9 and '-': yubikey for age-plugin-yubikey")
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UrlTable {
    url: Option<String>,
}

/// Without `Debug`: options hold secrets.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BlobsTable {
    url: Option<String>,
    #[serde(default)]
    options: BTreeMap<String, OptionValue>,
}

/// An option of an object store: a text, or what is written without quotes.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum OptionValue {
    Text(String),
    Switch(bool),
    Number(i64),
}

/// Options by their lower-case names, each as text.
pub(super) fn options(of_file: BTreeMap<String, OptionValue>) -> BTreeMap<String, String> {
    let texts = of_file.into_iter().map(|(name, value)| {
        let value = match value {
            OptionValue::Text(text) => text,
            OptionValue::Switch(switch) => switch.to_string(),
            OptionValue::Number(number) => number.to_string(),
        };
        (name.to_ascii_lowercase(), value)
    });
    texts.collect()
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MetricsTable {
    listen: Option<Listen>,
}

/// A port, with or without quotes and an address.
#[derive(Deserialize)]
#[serde(untagged)]
enum Listen {
    Text(String),
    Port(u16),
}

impl Listen {
    fn text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Port(port) => port.to_string(),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LimitsTable {
    max_object: Option<u64>,
    upload_idle: Option<u64>,
    max_connections: Option<u64>,
    max_streams: Option<u64>,
    handshake: Option<u64>,
    key_cache: Option<u64>,
    plugin: Option<u64>,
    retention: Option<u64>,
    recent_entries: Option<u64>,
    unsigned: Option<u64>,
    rekey_grace: Option<u64>,
    backup_retention: Option<u64>,
}

/// Every key there is.
pub(super) const KEYS: [&str; 30] = [
    "name",
    "listen",
    "operators",
    "proxies",
    "catalog.url",
    "blobs.url",
    "root.provider",
    "root.file.key",
    "root.file.identity",
    "root.pkcs11.module",
    "root.pkcs11.token",
    "root.pkcs11.key",
    "root.pkcs11.pin_file",
    "root.aws-kms.key",
    "root.aws-kms.region",
    "root.aws-kms.endpoint",
    "escrow.plugins",
    "metrics.listen",
    "limits.max_object",
    "limits.upload_idle",
    "limits.max_connections",
    "limits.max_streams",
    "limits.handshake",
    "limits.key_cache",
    "limits.plugin",
    "limits.retention",
    "limits.recent_entries",
    "limits.unsigned",
    "limits.rekey_grace",
    "limits.backup_retention",
];

/// The variable that sets a key.
pub(super) fn variable(key: &str) -> String {
    format!("STRONGROOM_{}", key.replace(['.', '-'], "_").to_ascii_uppercase())
}

/// Whether a variable that sets no key was surely meant to. Others may begin with `STRONGROOM_`: the client's, and those that
/// Kubernetes makes for a service of that name, which are left alone.
pub(super) fn is_misspelled(name: &str) -> bool {
    let Some((table, key)) = name.strip_prefix("STRONGROOM_").and_then(|rest| rest.split_once('_')) else {
        return false;
    };
    let of_a_service = key == "PORT" || key.starts_with("PORT_") || key.starts_with("SERVICE_");
    matches!(table, "CATALOG" | "BLOBS" | "ROOT" | "ESCROW" | "METRICS" | "LIMITS")
        && !of_a_service
        && name != ROOT_PASSPHRASE
}

fn listen(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("is an IP address and a port, such as {DEFAULT_LISTEN}, not {text:?}"))
}

/// A port alone is the loopback interface's.
fn metrics(text: &str) -> Result<SocketAddr, String> {
    let alone = text.parse().map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    let address = alone.or_else(|_: std::num::ParseIntError| text.parse());
    address.map_err(|_: std::net::AddrParseError| format!("is a port, or an IP address and a port, not {text:?}"))
}

/// The path in a `sqlite:` or `file:` URL: relative to the folder, or absolute, with or without an empty authority.
pub(super) fn local_path(folder: &Path, path: &str) -> Option<PathBuf> {
    let path = match path.strip_prefix("//") {
        Some(absolute) => absolute.starts_with('/').then_some(absolute)?,
        None => path,
    };
    (!path.is_empty() && !path.contains(['?', '#'])).then(|| folder.join(path))
}
