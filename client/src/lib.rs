//! The SDK of strongroom: how a labelling pipeline reads and writes a vault's data.
//!
//! ```no_run
//! use futures::TryStreamExt;
//! use strongroom_client::{GetOptions, ObjectName, PrefixName, PutOptions, Result, Vault};
//!
//! # fn label(item: &[u8]) -> Vec<u8> { item.to_vec() }
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> Result<()> {
//!     // The home's identity and server, or STRONGROOM_IDENTITY, STRONGROOM_SERVER and STRONGROOM_SERVER_KEY.
//!     let vault = Vault::connect().await?;
//!
//!     // One object, in one piece or as it arrives.
//!     let name: ObjectName = "acme/rlhf/math/000007.json".parse()?;
//!     let item = vault.get_bytes(&name, GetOptions::default()).await?;
//!     println!("{} bytes", item.len());
//!     let mut large = vault.get(&"acme/rlhf/video.bin".parse()?, GetOptions::default()).await?;
//!     while let Some(bytes) = large.try_next().await? {
//!         println!("{} of {}", bytes.len(), large.size());
//!     }
//!
//!     // A folder of small ones: calls are shared and pipelined. One that fails does not stop the others.
//!     let folder: PrefixName = "acme/rlhf/math/".parse()?;
//!     let mut items = vault.get_prefix(&folder.dataset_ref(), &folder.prefix, GetOptions::default());
//!     while let Some(item) = items.try_next().await? {
//!         match item.body {
//!             Ok(_) => println!("{}", item.info.path),
//!             Err(error) => eprintln!("{}: {error}", item.info.path),
//!         }
//!     }
//!
//!     // Labels go the other way, sealed here before they leave.
//!     let name: ObjectName = "acme/rlhf/labels/000007.json".parse()?;
//!     let done = vault.put_bytes(&name, label(&item).into(), PutOptions::default()).await?;
//!     println!("generation {}", done.generation);
//!
//!     vault.flush().await
//! }
//! ```
//!
//! What it does by itself:
//! - **Seals and opens in this process**, on all cores and in bounded memory. The vault sees ciphertext; data keys live in
//!   zeroizing memory for as long as a call needs them and are never written down. Nothing that was not verified comes out: a
//!   changed, cut or exchanged byte is an error with [`Reason::Integrity`].
//! - **Pins the vault**: the vault key's fingerprint is the one thing that is trusted. No web authority is asked, and a
//!   middlebox that terminates TLS ends the connection.
//! - **Signs what it asks for**, so that the ledger proves who asked for what, and remembers how far the ledger had come, so
//!   that a vault put back to an older state is noticed ([`Home`]).
//! - **Picks the grant** for each call ([`grants`]), batches ([`Vault::put_many`], [`Vault::get_many`]), tries again what is safe
//!   to try again, and picks a broken stream up where it broke.
//!
//! Errors are one type, [`Error`], with a stable [`Reason`], the request id, and advice. Where several objects are asked for,
//! each has its own result.
//!
//! It needs a tokio runtime with I/O and time enabled. A current-thread one is enough, and fastest: sealing and opening run on
//! threads of their own ([`Connect::threads`]).
//!
//! # Where things are
//!
//! | for | look at |
//! | --- | --- |
//! | connecting | [`Vault::connect`], [`Connect`], [`Home`] |
//! | names | [`ObjectName`], [`DatasetRef`], [`PrefixName`], [`VendorRef`] |
//! | reading | [`Vault::get`], [`Vault::get_range`], [`Vault::get_bytes`], [`Vault::get_by_id`], [`Vault::get_many`], [`Vault::get_prefix`], [`Vault::release_keys`] |
//! | writing | [`Vault::put`], [`Vault::put_bytes`], [`Vault::put_many`], [`Vault::delete`], [`Vault::delete_many`] |
//! | looking | [`Vault::list`], [`Vault::stat`], [`Vault::datasets`] |
//! | administering | [`grants`], [`explain`], [`vendors`], [`datasets`], [`keys`], [`admin`] |
//! | the ledger | [`audit`], [`log`], [`monitor`], [`ledgers`], [`exposure`] |

pub mod admin;
mod assembly;
pub mod audit;
mod batch;
mod clock;
mod connect;
pub mod datasets;
mod draw;
mod entries;
mod error;
pub mod escrow;
pub mod explain;
pub mod exposure;
pub mod extracts;
mod fetch;
mod get;
pub mod grants;
mod groups;
mod home;
pub mod incidents;
pub mod keys;
pub mod ledgers;
mod listing;
pub mod log;
mod memory;
pub mod monitor;
mod name;
mod picking;
mod piece;
mod put;
pub mod rekeying;
mod retry;
pub mod rotation;
mod seal;
mod session;
pub mod shredding;
mod successor;
mod tls;
pub mod vendors;
mod workers;

pub use batch::{Body, Fetched};
pub use connect::{Connect, Vault};
pub use entries::Entries;
pub use error::{Error, Failed, Result};
pub use get::{GetOptions, Reader};
pub use home::{Home, Server};
pub use listing::{DeleteOptions, Deleted, ListOptions, Listed, ObjectInfo};
pub use name::{DatasetRef, ObjectName, PrefixName, VendorRef};
pub use put::{Progress, PutDone, PutOptions};

pub use strongroom_core::call::Condition;
pub use strongroom_core::grant::{Action, Holder, Limit, Limits, Part, Policy, Prefix, Scope, Terms, Usage};
pub use strongroom_core::identity::{Fingerprint, Identity};
pub use strongroom_core::ids::{Generation, GrantId, Index, Millis, ObjectId};
pub use strongroom_core::names::{DatasetName, ObjectPath, TenantName, VendorName};
pub use strongroom_core::reason::Reason;
