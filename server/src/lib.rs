//! The strongroom server: decides, records, and only then releases keys.
//!
//! Plaintext never passes here. The way of a key is `Attempt → Recorded → KeyParcel`: the vault's steps build an attempt, the
//! recorder decides and commits it, and only the proof that it did moves the key holder to seal keys.

mod answer;
mod api;
pub mod blobs;
pub mod catalog;
pub mod config;
pub mod control;
mod cuts;
pub mod error;
mod failpoint;
pub mod init;
pub mod keys;
mod listen;
pub mod migrate;
pub mod process;
pub mod recorder;
pub mod recover;
mod room;
pub mod serve;
pub mod sessions;
#[cfg(feature = "tap")]
pub mod tap;
pub mod tenants;
mod vault;
pub mod vault_key;

pub use error::Error;
pub use serve::{Listening, Options, Server};
