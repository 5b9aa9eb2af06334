//! What it takes to open or make a root key: who keeps it, and what only a human knows.

use std::path::{Path, PathBuf};

use strongroom_server::config::root::{AwsKmsRoot, Pkcs11Root};
use strongroom_server::config::{Config, ROOT_PASSPHRASE};
use strongroom_server::keys::root::new::{NewRoot, SealedBy};
use strongroom_server::keys::root::{Secret, need};
use zeroize::Zeroizing;

use crate::connection::{new_passphrase, passphrase};
use crate::exit::{Failure, Outcome};

/// Who keeps a new root key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Keeper {
    /// A file in the folder, sealed by age.
    #[default]
    File,
    /// A token of PKCS#11: an HSM.
    Pkcs11,
    /// AWS KMS.
    AwsKms,
}

/// How a new root key is kept. Each keeper has options of its own.
#[derive(Debug, clap::Args)]
pub struct NewRootKey {
    /// For a file: seal it with a passphrase, asked for on a terminal, else the first line of standard input.
    #[arg(long, conflicts_with = "identity")]
    passphrase: bool,
    /// For a file: seal it to the age identity in this file, a native one or a plugin's. It stays where it is.
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,
    /// For PKCS#11: the module's library.
    #[arg(long, value_name = "FILE")]
    module: Option<PathBuf>,
    /// For PKCS#11: the token's label.
    #[arg(long, value_name = "LABEL")]
    token: Option<String>,
    /// For PKCS#11: a file with the PIN, so that the server starts by itself. Without it, somebody unlocks each start.
    #[arg(long, value_name = "FILE")]
    pin_file: Option<PathBuf>,
    /// For PKCS#11: the label of an AES key in the token, made if there is none. For AWS KMS: the key's id, ARN or alias.
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// For AWS KMS: the region, if it is not AWS_REGION's.
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    /// For AWS KMS: where it is, if not at the region's own address.
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
}

impl NewRootKey {
    /// What it says, with the secret that it takes asked for.
    ///
    /// # Errors
    /// Something is missing, or is another keeper's.
    pub fn of(self, keeper: Keeper) -> Outcome<NewRoot> {
        let file = self.passphrase || self.identity.is_some();
        let token = self.module.is_some() || self.token.is_some() || self.pin_file.is_some();
        let kms = self.region.is_some() || self.endpoint.is_some();
        let (name, others) = match keeper {
            Keeper::File => ("file", token || kms || self.key.is_some()),
            Keeper::Pkcs11 => ("pkcs11", file || kms),
            Keeper::AwsKms => ("aws-kms", file || token),
        };
        if others {
            let detail = format!("an option is another keeper's than {name}");
            return Err(Failure::usage(detail, "see --help for which belongs to which"));
        }
        let needed = |option: &str, value: Option<String>| {
            value.ok_or_else(|| Failure::usage(format!("{name} needs --{option}"), "see --help for an example"))
        };
        match keeper {
            Keeper::File => Ok(NewRoot::File(match self.identity {
                Some(path) => SealedBy::Identity(absolute(&path)?),
                None if self.passphrase => SealedBy::Passphrase(new_passphrase("the root key")?),
                None => SealedBy::FreshIdentity,
            })),
            Keeper::Pkcs11 => {
                let module = needed("module", self.module.map(|path| path.display().to_string()))?;
                let token = needed("token", self.token)?;
                let key = needed("key", self.key)?;
                let pin_file = self.pin_file.map(|path| absolute(&path)).transpose()?;
                let pin = match &pin_file {
                    Some(_) => None,
                    None => Some(ask("PIN of the token")?),
                };
                Ok(NewRoot::Pkcs11(Pkcs11Root { module: absolute(Path::new(&module))?, token, key, pin_file }, pin))
            }
            Keeper::AwsKms => {
                let key = needed("key", self.key)?;
                let (region, endpoint) = (self.region, self.endpoint);
                Ok(NewRoot::AwsKms(AwsKmsRoot { key, region, endpoint, options: Default::default() }))
            }
        }
    }
}

fn absolute(path: &Path) -> Outcome<PathBuf> {
    std::path::absolute(path).map_err(|error| Failure::file(path, &error))
}

/// What only a human can give to open this vault's root key, from where it was put: a file, the environment.
///
/// # Errors
/// The file cannot be read, or is empty.
pub fn put_down(file: Option<&Path>) -> Outcome<Option<Secret>> {
    if let Some(path) = file {
        let text = std::fs::read_to_string(path).map(Zeroizing::new).map_err(|error| Failure::file(path, &error))?;
        let line = text.lines().next().unwrap_or_default();
        if line.is_empty() {
            return Err(Failure::usage(
                format!("{} begins with no passphrase", path.display()),
                "write it into its first line",
            ));
        }
        return Ok(Some(Zeroizing::new(line.to_owned())));
    }
    Ok(std::env::var(ROOT_PASSPHRASE).ok().filter(|text| !text.is_empty()).map(Zeroizing::new))
}

/// What only a human can give to open the root key of the vault in `folder`, asked for if it is not put down somewhere; none where it
/// opens by itself.
///
/// # Errors
/// There is no vault, or nobody to ask.
pub fn secret(folder: &Path, file: Option<&Path>) -> Outcome<Option<Secret>> {
    let config = Config::load(folder).map_err(|error| crate::not_serving::failure(&error.into()))?;
    match (need(&config.root), put_down(file)?) {
        (None, _) => Ok(None),
        (Some(_), Some(secret)) => Ok(Some(secret)),
        (Some(need), None) => ask(need.words()).map(Some),
    }
}

/// Asks for a secret that is not new.
///
/// # Errors
/// Nothing can be read, or it is empty.
pub fn ask(what: &str) -> Outcome<Secret> {
    let secret = passphrase(&format!("{what}: ")).map_err(|error| Failure::stdio(&error))?;
    if secret.is_empty() {
        return Err(Failure::usage(
            format!("the {what} is empty"),
            "give it, on a terminal or as a line of standard input",
        ));
    }
    Ok(secret)
}
