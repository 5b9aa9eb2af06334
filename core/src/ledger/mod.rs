//! A tenant's append-only audit log: its entries, how they are hashed, and what stands at its head.
//!
//! An entry has a public part, whose exact bytes are the leaf of an RFC 6962 tree, and a private part that the public one binds
//! by its hash, so that what is personal can be erased while the log stays valid.

pub mod about;
pub mod batch;
pub mod charge;
pub mod checkpoint;
pub mod cosign;
pub mod entry;
pub mod extract;
pub mod facts;
pub mod growth;
pub mod head;
pub mod log_keys;
pub mod mac;
pub mod outline;
pub mod proof;
pub mod replay;
pub mod summary;
pub mod tile;
pub mod tree;
pub mod verify;

pub use entry::{Actor, Entry, Event, ObjectRef, Outcome, Private, PutFact, Role};
pub use head::{Head, Seen};
pub use mac::LedgerKey;
