//! The SDK of strongroom: a labelling pipeline's way to a vault's data.

pub mod admin;
mod assembly;
pub mod audit;
mod batch;
mod connect;
pub mod datasets;
mod error;
mod fetch;
mod get;
pub mod grants;
mod home;
mod listing;
mod memory;
mod name;
mod put;
mod retry;
mod seal;
mod session;
mod tls;
pub mod vendors;
mod workers;

pub use batch::{Body, Fetched};
pub use connect::{Connect, Vault};
pub use error::{Error, Failed, Result};
pub use get::{GetOptions, Reader};
pub use home::{Home, Server};
pub use listing::{DeleteOptions, Deleted, ListOptions, Listed, ObjectInfo};
pub use name::{DatasetRef, ObjectName, PrefixName, VendorRef};
pub use put::{Progress, PutDone, PutOptions};

pub use strongroom_core::call::Condition;
pub use strongroom_core::grant::{Action, Holder, Limits, Part, Prefix, Scope, Terms, Usage};
pub use strongroom_core::identity::{Fingerprint, Identity};
pub use strongroom_core::ids::{Generation, GrantId, Index, Millis, ObjectId};
pub use strongroom_core::names::{DatasetName, ObjectPath, TenantName, VendorName};
pub use strongroom_core::reason::Reason;
