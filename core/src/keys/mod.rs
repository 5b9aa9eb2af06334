//! Keys: held so that they vanish, wrapped so that they open in one place only, and handed out range by range.
//!
//! ```text
//! root key ─wraps─► tenant key, version v ─wraps─► root of each object's key tree ─tree─► segment keys
//!                                                   (crate::sealed::tree)
//! ```
//!
//! - [`secret`] holds key bytes and has the only calls into a random number generator, HKDF and an AEAD for them.
//! - [`wrap`] stores a key in a database that an attacker may read and write: what is wrapped opens only together with
//!   the row that it was authorised for, so moving it to another row yields nothing.
//! - [`parcel`] carries keys to a reader and from an uploader, under a secret that exists in two processes' memory and
//!   for one connection only. A recorded message is useless once the connection is gone.
//!
//! Invariants:
//! - No type here that holds key bytes has `Debug`, `Clone`, `PartialEq` or `Serialize`; all of them zeroize on drop.
//! - What does not open gives no reason why: a wrong key, another row and a changed byte look the same.
//! - Lengths and counts are checked before anything is allocated for them.
//!
//! All primitives are `ring`'s. The formats are published in `FORMAT.md` beside vectors.

pub mod parcel;
pub mod secret;
pub mod wrap;

#[cfg(test)]
mod tests;
