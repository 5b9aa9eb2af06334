//! A root key that is to be: for a new vault, or one that another root key gives way to.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::aws_kms::AwsKmsRootKey;
use super::file::{FileRootKey, SealWith};
use super::pkcs11::Pkcs11RootKey;
use super::{RootKey, Secret, THREAD};
use crate::config::RootProvider;
use crate::config::root::{AwsKmsRoot, FileRoot, Pkcs11Root};
use crate::keys::KeyError;
use crate::keys::aside::aside;

/// Who is to keep a new root key.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NewRoot {
    /// A file.
    File(SealedBy),
    /// A token, which makes the key where it has none of that label. With the PIN, unless the provider has a file with it.
    Pkcs11(Pkcs11Root, #[serde(with = "given")] Option<Secret>),
    /// AWS KMS, which has the key already.
    AwsKms(AwsKmsRoot),
}

impl Default for NewRoot {
    fn default() -> Self {
        Self::File(SealedBy::FreshIdentity)
    }
}

/// What seals a new root key's file.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SealedBy {
    /// A fresh identity, kept beside it.
    FreshIdentity,
    /// A passphrase.
    Passphrase(#[serde(with = "secret")] Secret),
    /// The age identity in this file, which stays where it is: a native one, or a plugin's.
    Identity(PathBuf),
}

/// A root key that was made or found, and works.
pub(crate) struct Made {
    /// How it is opened from now on.
    pub(crate) provider: RootProvider,
    /// It.
    pub(crate) root: Arc<dyn RootKey>,
    /// Files that belong to it and are still to be written, each for its owner alone.
    pub(crate) files: Vec<(PathBuf, Zeroizing<Vec<u8>>)>,
}

impl NewRoot {
    /// Makes or finds it. Its files, if it has some, are to be called `name` in `folder`.
    ///
    /// With a passphrase it takes about a second of one core; a plugin of age may take as long as `patience`.
    pub(crate) async fn make(self, folder: &Path, name: &str, patience: Duration) -> Result<Made, KeyError> {
        match self {
            Self::File(sealed_by) => {
                let (folder, name) = (folder.to_owned(), name.to_owned());
                let made = aside(THREAD, move || make_file(&folder, &name, sealed_by, patience)).await;
                made.map_err(KeyError::Root)?
            }
            Self::Pkcs11(token, pin) => {
                let root = Arc::new(Pkcs11RootKey::create(token.clone(), pin).await?);
                Ok(Made { provider: RootProvider::Pkcs11(token), root, files: Vec::new() })
            }
            Self::AwsKms(kms) => {
                let root = Arc::new(AwsKmsRootKey::open(&kms).await?);
                Ok(Made { provider: RootProvider::AwsKms(kms), root, files: Vec::new() })
            }
        }
    }
}

fn make_file(folder: &Path, name: &str, sealed_by: SealedBy, patience: Duration) -> Result<Made, KeyError> {
    let key = folder.join(format!("{name}.age"));
    let beside = folder.join(format!("{name}.identity"));
    let mut file = FileRoot { key: key.clone(), identity: beside.clone(), named: false };
    let new = match &sealed_by {
        SealedBy::FreshIdentity => FileRootKey::create(SealWith::FreshIdentity)?,
        SealedBy::Passphrase(passphrase) => FileRootKey::create(SealWith::Passphrase(passphrase))?,
        SealedBy::Identity(path) => {
            let failed = |why: String| KeyError::Root(format!("{}: {why}", path.display()));
            let text = fs::read_to_string(path).map(Zeroizing::new).map_err(|error| failed(error.to_string()))?;
            file.identity = std::path::absolute(path).map_err(|error| failed(error.to_string()))?;
            file.named = true;
            FileRootKey::create(SealWith::Identity(&text, patience))?
        }
    };
    let mut files = vec![(key, Zeroizing::new(new.sealed))];
    files.extend(new.identity.map(|text| (beside, Zeroizing::new(text.as_bytes().to_vec()))));
    Ok(Made { provider: RootProvider::File(file), root: Arc::new(new.root), files })
}

/// How a secret travels over the socket in the folder.
mod secret {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::Secret;

    pub(super) fn serialize<S: Serializer>(secret: &Secret, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(secret)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Secret, D::Error> {
        String::deserialize(from).map(Secret::new)
    }
}

/// The same, where there may be none.
mod given {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::Secret;

    pub(super) fn serialize<S: Serializer>(secret: &Option<Secret>, to: S) -> Result<S::Ok, S::Error> {
        match secret {
            Some(secret) => to.serialize_some(secret.as_str()),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Secret>, D::Error> {
        Ok(Option::<String>::deserialize(from)?.map(Secret::new))
    }
}
