//! The root key: it wraps every tenant's keys and the vault key, and is itself kept by a provider.
//!
//! | provider | where the key is | what this process holds of it |
//! | --- | --- | --- |
//! | [`file`] | in the folder, sealed by age | nothing between two uses, where an age identity beside it opens it; else the key |
//! | [`pkcs11`] | in an HSM, which never gives it out | a session |
//! | [`aws_kms`] | at AWS, which never gives it out | credentials |
//!
//! A provider wraps and unwraps secrets of 32 bytes, each for one place ([`RootTuple`]). Unlocking belongs to its constructor
//! ([`open`]): a value of this type is a root key that works.
//!
//! Invariants:
//! - What a provider waits for has an end, and what it is answered a bound.
//! - An answer that does not come, or is a refusal of the provider's, is [`KeyError::Root`] with one line that says what to look
//!   at; bytes that do not open where they are found are [`KeyError::Unwrap`], and never the other way round.

pub mod aws_kms;
pub mod file;
pub mod folder;
pub mod new;
pub mod pkcs11;
pub mod ring;
#[cfg(test)]
mod suite;

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use strongroom_core::keys::secret::Key;
use strongroom_core::keys::wrap::RootTuple;
use zeroize::Zeroizing;

use self::aws_kms::AwsKmsRootKey;
use self::file::FileRootKey;
use self::pkcs11::Pkcs11RootKey;
use super::KeyError;
use super::aside::aside;
use super::plugins::PATIENCE;
use crate::config::RootProvider;

/// The thread that opens or makes a root key in files.
const THREAD: &str = "root-key";

/// A root key.
pub trait RootKey: Send + Sync {
    /// Which root key it is: tells one from another in logs and in the vault's file, and nothing else.
    fn id(&self) -> String;

    /// Wraps a secret for one place.
    fn wrap<'a>(&'a self, place: &'a RootTuple<'a>, secret: &'a Key) -> BoxFuture<'a, Result<Vec<u8>, KeyError>>;

    /// Unwraps a secret, if it was wrapped by this root key for exactly this place.
    ///
    /// It stands in a block of its own, so that what moves is its address, and nothing of it is left on a stack.
    fn unwrap<'a>(&'a self, place: &'a RootTuple<'a>, wrapped: &'a [u8]) -> BoxFuture<'a, Result<Box<Key>, KeyError>>;
}

/// What a human gives: a passphrase, or a PIN. It zeroizes.
pub type Secret = Zeroizing<String>;

/// What only a human can give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// The passphrase of the root key's file.
    Passphrase,
    /// The PIN of the token's user.
    Pin,
}

impl Need {
    /// In words, for a prompt.
    pub fn words(self) -> &'static str {
        match self {
            Self::Passphrase => "passphrase of the root key",
            Self::Pin => "PIN of the token",
        }
    }
}

/// What only a human can give before this provider's root key works; none where it works by itself.
pub fn need(provider: &RootProvider) -> Option<Need> {
    match provider {
        RootProvider::File(file) => (!file.named && !file.identity.exists()).then_some(Need::Passphrase),
        RootProvider::Pkcs11(token) => token.pin_file.is_none().then_some(Need::Pin),
        RootProvider::AwsKms(_) => None,
    }
}

/// Opens the root key that this provider keeps; with the secret, where it needs one. A plugin of age may take as long as `patience`.
///
/// # Errors
/// [`KeyError::Locked`] if it needs a secret and there is none; [`KeyError::Passphrase`] or [`KeyError::Pin`] for a wrong one;
/// [`KeyError::Root`] if the provider does not answer, or has no such key.
pub async fn open(
    provider: &RootProvider,
    secret: Option<Secret>,
    patience: Duration,
) -> Result<Arc<dyn RootKey>, KeyError> {
    if need(provider).is_some() && secret.is_none() {
        return Err(KeyError::Locked);
    }
    match provider.clone() {
        RootProvider::File(file) => {
            let opened = aside(THREAD, move || FileRootKey::open(&file, secret, patience)).await;
            Ok(Arc::new(opened.map_err(KeyError::Root)??))
        }
        RootProvider::Pkcs11(token) => Ok(Arc::new(Pkcs11RootKey::open(token, secret).await?)),
        RootProvider::AwsKms(kms) => Ok(Arc::new(AwsKmsRootKey::open(&kms).await?)),
    }
}

/// The same root key as this process is to have it once its files are written: of one that opens by itself, no more than where it is.
pub(crate) async fn settled(provider: &RootProvider, root: Arc<dyn RootKey>) -> Result<Arc<dyn RootKey>, KeyError> {
    match provider {
        RootProvider::File(file) if FileRootKey::opens_by_itself(file) => open(provider, None, PATIENCE).await,
        _ => Ok(root),
    }
}

/// What every provider does and refuses: a case is a test on each.
#[cfg(test)]
pub(crate) use suite::root_key_suite;
