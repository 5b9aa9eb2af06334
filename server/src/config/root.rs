//! Who keeps the root key: the `[root]` table.
//!
//! ```toml
//! [root]
//! provider = "file"
//!
//! [root.file]                               # all of it may be left out
//! key = "root.age"                          # relative to the folder
//! identity = "root.identity"                # an age identity, or a plugin's; without the file, a passphrase opens the key
//! ```
//!
//! ```toml
//! [root]
//! provider = "pkcs11"
//!
//! [root.pkcs11]
//! module = "/usr/lib/softhsm/libsofthsm2.so"
//! token = "strongroom"                      # the token's label
//! key = "root"                              # the label of an AES key in it, which the token must never give out
//! pin_file = "pin"                          # relative to the folder; without it, a human unlocks the server
//! ```
//!
//! ```toml
//! [root]
//! provider = "aws-kms"
//!
//! [root.aws-kms]
//! key = "alias/strongroom"                  # a symmetric key: its id, its ARN, or an alias
//! region = "eu-central-1"                   # or AWS_REGION
//! endpoint = "https://kms.example.org"      # only where it is not the region's own
//!
//! [root.aws-kms.options]                    # over the variables AWS_*: where credentials come from, as in [blobs.options]
//! aws_access_key_id = "…"
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use object_store::aws::AmazonS3ConfigKey;
use serde::{Deserialize, Serialize};

use super::ConfigError;
use super::settings::{OptionValue, Settings, options};
use crate::keys::root::file::{IDENTITY_FILE, ROOT_FILE};

/// Who keeps the root key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RootProvider {
    /// A file.
    File(FileRoot),
    /// A module of PKCS#11: an HSM.
    Pkcs11(Pkcs11Root),
    /// AWS's key management service.
    AwsKms(AwsKmsRoot),
}

/// A root key in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRoot {
    /// The sealed key.
    pub key: PathBuf,
    /// The age identity that opens it.
    pub identity: PathBuf,
    /// Whether the identity must be there: it was named. Otherwise a passphrase opens the key where there is none.
    pub named: bool,
}

/// A root key in a token of PKCS#11.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pkcs11Root {
    /// The module's shared library.
    pub module: PathBuf,
    /// The token's label.
    pub token: String,
    /// The key's label.
    pub key: String,
    /// What holds the user's PIN. Without it, a human gives it.
    pub pin_file: Option<PathBuf>,
}

/// A root key of AWS KMS.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AwsKmsRoot {
    /// The key's id, ARN or alias.
    pub key: String,
    /// The region, if it is not `AWS_REGION`'s.
    pub region: Option<String>,
    /// Where the service is, if it is not the region's own.
    pub endpoint: Option<String>,
    /// Where credentials come from, by the names of `object_store`'s options for S3. They may be secret.
    pub options: BTreeMap<String, String>,
}

/// The names of the options alone: their values may be secret.
impl fmt::Debug for AwsKmsRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options: Vec<&String> = self.options.keys().collect();
        let mut shown = f.debug_struct("AwsKmsRoot");
        shown.field("key", &self.key).field("region", &self.region).field("endpoint", &self.endpoint);
        shown.field("options", &options).finish()
    }
}

impl RootProvider {
    /// The provider's name in the configuration.
    pub fn name(&self) -> &'static str {
        match self {
            Self::File(_) => "file",
            Self::Pkcs11(_) => "pkcs11",
            Self::AwsKms(_) => "aws-kms",
        }
    }

    /// A file in this folder, with the usual names.
    pub fn in_folder(folder: &Path) -> Self {
        Self::File(FileRoot { key: folder.join(ROOT_FILE), identity: folder.join(IDENTITY_FILE), named: false })
    }

    /// What a file in the folder says that has a `[root]` table and nothing else; none if there is no such file.
    ///
    /// # Errors
    /// [`ConfigError`] as for a configuration.
    pub fn read_alone(folder: &Path, name: &str) -> Result<Option<Self>, ConfigError> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Alone {
            root: RootTable,
        }
        let path = folder.join(name);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(ConfigError::Read { path, source }),
        };
        // What TOML says of an error repeats the line, which may hold a secret.
        let shape =
            |error: toml::de::Error| ConfigError::Shape { path: path.clone(), message: error.message().to_owned() };
        let Alone { root } = toml::from_str(&text).map_err(shape)?;
        let settings = Settings { place: path.display().to_string(), variables: Vec::new() };
        settings.root(folder, root).map(Some)
    }

    /// The `[root]` table that says so, for a vault in `folder`: read back, it is this.
    pub fn to_toml(&self, folder: &Path) -> String {
        let path = |path: &Path| quoted(&path.strip_prefix(folder).unwrap_or(path).display().to_string());
        let mut text = format!("[root]\nprovider = \"{}\"\n", self.name());
        match self {
            Self::File(file) => {
                if *self != Self::in_folder(folder) {
                    text += &format!("\n[root.file]\nkey = {}\n", path(&file.key));
                    if file.named {
                        text += &format!("identity = {}\n", path(&file.identity));
                    }
                }
            }
            Self::Pkcs11(token) => {
                let module = path(&token.module);
                let (label, key) = (quoted(&token.token), quoted(&token.key));
                text += &format!("\n[root.pkcs11]\nmodule = {module}\ntoken = {label}\nkey = {key}\n");
                if let Some(file) = &token.pin_file {
                    text += &format!("pin_file = {}\n", path(file));
                }
            }
            Self::AwsKms(kms) => {
                text += &format!("\n[root.aws-kms]\nkey = {}\n", quoted(&kms.key));
                for (name, value) in [("region", &kms.region), ("endpoint", &kms.endpoint)] {
                    text += &value.as_ref().map(|value| format!("{name} = {}\n", quoted(value))).unwrap_or_default();
                }
                if !kms.options.is_empty() {
                    text += "\n[root.aws-kms.options]\n";
                    for (name, value) in &kms.options {
                        text += &format!("{name} = {}\n", quoted(value));
                    }
                }
            }
        }
        text
    }
}

/// A string of TOML.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// The table, as it is written. Without `Debug`: options hold secrets.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RootTable {
    provider: Option<String>,
    #[serde(default)]
    file: FileTable,
    #[serde(default)]
    pkcs11: Pkcs11Table,
    #[serde(default, rename = "aws-kms")]
    aws_kms: AwsKmsTable,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileTable {
    key: Option<String>,
    identity: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pkcs11Table {
    module: Option<String>,
    token: Option<String>,
    key: Option<String>,
    pin_file: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct AwsKmsTable {
    key: Option<String>,
    region: Option<String>,
    endpoint: Option<String>,
    #[serde(default)]
    options: BTreeMap<String, OptionValue>,
}

impl Settings {
    pub(super) fn root(&self, folder: &Path, of_file: RootTable) -> Result<RootProvider, ConfigError> {
        let key = "root.provider";
        let (place, provider) = self.raw(key, of_file.provider).unwrap_or((String::new(), "file".to_owned()));
        let path = |text: &str| if text.is_empty() { Err("is empty".to_owned()) } else { Ok(folder.join(text)) };
        let RootTable { file, pkcs11, aws_kms, .. } = of_file;
        match provider.as_str() {
            "file" => {
                let key = self.setting("root.file.key", file.key, path)?.unwrap_or_else(|| folder.join(ROOT_FILE));
                let identity = self.setting("root.file.identity", file.identity, path)?;
                let named = identity.is_some();
                // Beside the key, and of its name.
                let identity = identity.unwrap_or_else(|| key.with_extension("identity"));
                Ok(RootProvider::File(FileRoot { key, identity, named }))
            }
            "pkcs11" => Ok(RootProvider::Pkcs11(Pkcs11Root {
                module: self.needed("root.pkcs11.module", pkcs11.module, path)?,
                token: self.needed("root.pkcs11.token", pkcs11.token, label)?,
                key: self.needed("root.pkcs11.key", pkcs11.key, label)?,
                pin_file: self.setting("root.pkcs11.pin_file", pkcs11.pin_file, path)?,
            })),
            "aws-kms" => {
                let options = options(aws_kms.options);
                if let Some(unknown) = options.keys().find(|name| name.parse::<AmazonS3ConfigKey>().is_err()) {
                    let why = format!("{unknown:?} is no option of AWS");
                    return Err(ConfigError::Value { place: self.place.clone(), key: "root.aws-kms.options", why });
                }
                Ok(RootProvider::AwsKms(AwsKmsRoot {
                    key: self.needed("root.aws-kms.key", aws_kms.key, |text| bounded(text, 2048))?,
                    region: self.setting("root.aws-kms.region", aws_kms.region, region)?,
                    endpoint: self.setting("root.aws-kms.endpoint", aws_kms.endpoint, endpoint)?,
                    options,
                }))
            }
            value => {
                let why = format!("{value:?} is no provider; there are \"file\", \"pkcs11\" and \"aws-kms\"");
                Err(ConfigError::Value { place, key, why })
            }
        }
    }

    fn needed<T>(
        &self,
        key: &'static str,
        of_file: Option<String>,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<T, ConfigError> {
        let missing = || ConfigError::Value { place: self.place.clone(), key, why: "is missing".to_owned() };
        self.setting(key, of_file, parse)?.ok_or_else(missing)
    }
}

/// PKCS#11 pads the labels of tokens to 32 bytes; those of keys may be longer, and need not be.
fn label(text: &str) -> Result<String, String> {
    bounded(text, 32)
}

fn bounded(text: &str, most: usize) -> Result<String, String> {
    let fits = !text.is_empty() && text.len() <= most && !text.chars().any(char::is_control);
    if fits { Ok(text.to_owned()) } else { Err(format!("has 1 to {most} bytes, and nothing that cannot be printed")) }
}

fn region(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let fits = !text.is_empty() && text.len() <= 64 && text.bytes().all(plain);
    if fits { Ok(text.to_owned()) } else { Err(format!("is a region's name, such as eu-central-1, not {text:?}")) }
}

/// Keys travel in the answers, so without TLS they may go to this machine alone.
fn endpoint(text: &str) -> Result<String, String> {
    let (scheme, rest) = text.split_once("://").unwrap_or_default();
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'[' | b']');
    if authority.is_empty() || !authority.bytes().all(plain) {
        return Err("is https://HOST or https://HOST:PORT".to_owned());
    }
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() => host,
        _ => authority,
    };
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    let here = host == "localhost" || address.is_ok_and(|address| address.is_loopback());
    match scheme {
        "https" => Ok(format!("https://{authority}")),
        "http" if here => Ok(format!("http://{authority}")),
        "http" => Err("is https://: without TLS the keys would be read on the way".to_owned()),
        _ => Err("is https://HOST or https://HOST:PORT".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{CONFIG_FILE, Config};

    fn load(text: &str) -> Result<RootProvider, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(CONFIG_FILE), format!("name = \"a\"\n{text}")).unwrap();
        let loaded = Config::load_with(folder.path(), [])?.root;
        // As it is written back, it is read.
        std::fs::write(folder.path().join(CONFIG_FILE), format!("name = \"a\"\n{}", loaded.to_toml(folder.path())))
            .unwrap();
        assert_eq!(Config::load_with(folder.path(), []).unwrap().root, loaded);
        Ok(loaded)
    }

    #[test]
    fn each_provider_has_its_table() {
        let RootProvider::File(usual) = load("").unwrap() else { panic!() };
        assert!(usual.key.ends_with(ROOT_FILE) && usual.identity.ends_with(IDENTITY_FILE) && !usual.named);
        let RootProvider::File(file) = load("[root.file]\nkey = \"b.age\"\n").unwrap() else { panic!() };
        assert!(file.identity.ends_with("b.identity") && !file.named);
        let RootProvider::File(file) = load("[root.file]\nidentity = \"/run/i\"\n").unwrap() else { panic!() };
        assert!(file.named && file.identity == Path::new("/run/i"));

        let token = "module = \"/m.so\"\ntoken = \"a \\\"b\\\"\"\nkey = \"root\"\npin_file = \"pin\"\n";
        let loaded = load(&format!("[root]\nprovider = \"pkcs11\"\n[root.pkcs11]\n{token}")).unwrap();
        assert!(matches!(&loaded, RootProvider::Pkcs11(it) if it.token == "a \"b\"" && it.pin_file.is_some()));

        let kms = "key = \"alias/a\"\nregion = \"eu-central-1\"\nendpoint = \"http://127.0.0.1:1/\"\n";
        let options = "[root.aws-kms.options]\naws_access_key_id = \"x\"\n";
        let loaded = load(&format!("[root]\nprovider = \"aws-kms\"\n[root.aws-kms]\n{kms}{options}")).unwrap();
        assert!(matches!(&loaded, RootProvider::AwsKms(it) if it.options.len() == 1));
        assert!(!format!("{loaded:?}").contains("\"x\""));
    }

    #[test]
    fn what_would_not_work_is_refused() {
        for (text, why) in [
            ("[root]\nprovider = \"paper\"", "no provider"),
            ("[root]\nprovider = \"pkcs11\"", "root.pkcs11.module: is missing"),
            ("[root]\nprovider = \"pkcs11\"\n[root.pkcs11]\nmodule = \"m\"\ntoken = \"\"", "root.pkcs11.token"),
            ("[root]\nprovider = \"aws-kms\"", "root.aws-kms.key: is missing"),
            ("[root]\nprovider = \"aws-kms\"\n[root.aws-kms]\nkey = \"a\"\nendpoint = \"http://kms.example\"", "TLS"),
            ("[root]\nprovider = \"aws-kms\"\n[root.aws-kms]\nkey = \"a\"\nendpoint = \"kms.example\"", "https://HOST"),
            ("[root]\nprovider = \"aws-kms\"\n[root.aws-kms]\nkey = \"a\"\nregion = \"EU\"", "region's name"),
            ("[root]\nprovider = \"aws-kms\"\n[root.aws-kms]\nkey = \"a\"\n[root.aws-kms.options]\nx = 1", "no option"),
            ("[root.file]\npassphrase = \"x\"", "passphrase"),
        ] {
            let error = load(text).unwrap_err().to_string();
            assert!(error.contains(why), "{error:?} does not say {why:?}");
        }
    }
}
