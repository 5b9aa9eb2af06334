//! The root key: it wraps every tenant's keys and the vault key, and is itself kept by a provider.
//!
//! A provider wraps and unwraps secrets of 32 bytes, each for one place ([`RootTuple`]). Whether it holds the key in memory, as
//! [`file`] does, or asks a module that never gives it out is its own affair. Unlocking belongs to its constructor: a value
//! of this type is a root key that works.

pub mod file;

use futures::future::BoxFuture;
use strongroom_core::keys::secret::Key;
use strongroom_core::keys::wrap::RootTuple;

use super::KeyError;

/// A root key.
pub trait RootKey: Send + Sync {
    /// Which root key it is: tells one from another in logs and in the vault's file, and nothing else.
    fn id(&self) -> &str;

    /// Wraps a secret for one place.
    fn wrap<'a>(&'a self, place: &'a RootTuple<'a>, secret: &'a Key) -> BoxFuture<'a, Result<Vec<u8>, KeyError>>;

    /// Unwraps a secret, if it was wrapped by this root key for exactly this place.
    fn unwrap<'a>(&'a self, place: &'a RootTuple<'a>, wrapped: &'a [u8]) -> BoxFuture<'a, Result<Key, KeyError>>;
}
