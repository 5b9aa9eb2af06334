//! Keys: the only room of the server that touches data keys.
//!
//! Whoever holds a tenant's keys is behind [`KeyHolder`]: this process now ([`local::LocalKeyHolder`]), a process of the
//! lab's own later. So its verbs take what proves that they may be carried out, and nothing that they could be talked into:
//!
//! ```text
//! accept      AcceptedCall (signed)  ─►  the upload's keys, wrapped for exactly the rows that the call names
//! seal_cover  Recorded (committed)   ─►  a key parcel of exactly the parts that the entry records
//! escrow      Authority (the ledger's) ─►  a version of the tenant's key, sealed to the recipients that its admins named
//! rewrap      a row of the catalog   ─►  the same root under another version of the tenant's key
//! ```
//!
//! Invariants:
//! - No key leaves but sealed to a session whose secret was made here, sealed to the tenant's own escrow, or wrapped.
//! - A session's secret is forgotten with its connection, a tenant's key after a bounded time.
//! - The root key is asked once for each tenant key and then not again until the cache forgets it: a provider may be a
//!   network away.

mod aside;
mod cache;
pub mod local;
pub mod plugins;
pub mod recipients;
pub mod root;
pub mod vault;

use futures::future::BoxFuture;
use strongroom_core::grant::Authority;
use strongroom_core::ids::{DatasetId, SessionId, TenantId};
use strongroom_core::keys::parcel::ParcelError;
use strongroom_core::keys::secret::RandomError;
use strongroom_core::keys::wrap::{UnwrapError, WrapTuple, Wrapped};
use strongroom_core::reason::Reason;

use crate::catalog::CatalogError;
use crate::catalog::objects::ObjectRow;
use crate::recorder::attempt::{AcceptedCall, Recorded};
use crate::tenants::Tenant;

/// Who holds the tenants' keys and the secrets of sessions.
pub trait KeyHolder: Send + Sync {
    /// Makes the secret of a session and seals it to the session's recipient (`age1…`): a binary age message of 32 bytes.
    fn open_session<'a>(&'a self, session: SessionId, recipient: &'a str) -> BoxFuture<'a, Result<Vec<u8>, KeyError>>;

    /// Forgets the secrets of these sessions: their connection ended.
    fn close_sessions(&self, sessions: &[SessionId]);

    /// Opens the keys of an upload and wraps each object's root under version `version` of the tenant's key, the active one, for
    /// the row that the call itself names. `datasets` has the id of each item's dataset.
    fn accept<'a>(
        &'a self,
        call: &'a AcceptedCall,
        datasets: &'a [DatasetId],
        sealed_keys: &'a [u8],
        version: u32,
    ) -> BoxFuture<'a, Result<Vec<Wrapped>, KeyError>>;

    /// Seals the keys of a recorded release to its session: exactly the recorded parts.
    fn seal_cover<'a>(&'a self, recorded: &'a Recorded) -> BoxFuture<'a, Result<Vec<u8>, KeyError>>;

    /// Seals a version of the tenant's key to those of `to` that its authority names as recipients: for each an age message, or what was
    /// in the way.
    fn escrow<'a>(
        &'a self,
        tenant: &'a Tenant,
        authority: &'a Authority,
        version: u32,
        to: &'a [String],
    ) -> BoxFuture<'a, Result<Escrowed, KeyError>>;

    /// Wraps the roots of these rows anew, under version `to` of the tenant's key; none where a root does not open for its row.
    fn rewrap<'a>(
        &'a self,
        tenant: &'a Tenant,
        rows: &'a [(WrapTuple<'a>, Wrapped)],
        to: u32,
    ) -> BoxFuture<'a, Result<Vec<Option<Wrapped>>, KeyError>>;
}

/// Recipients of an escrow, each with an age message, or why there is none.
pub type Escrowed = Vec<(String, Result<Vec<u8>, KeyError>)>;

/// The row that an object's root is wrapped for, as the catalog has it: moved or changed, it opens nothing.
pub(crate) fn wrapped_for(tenant: TenantId, object: &ObjectRow) -> WrapTuple<'_> {
    WrapTuple {
        tenant,
        key_version: object.key_version,
        dataset: object.dataset,
        dataset_name: object.dataset_name.as_str(),
        path: object.path.as_str(),
        header: object.header,
        size: object.size,
        content_root: object.content_root,
    }
}

/// Why the key holder or the root key did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The root key waits for a human.
    #[error("the vault is locked: its root key waits to be unlocked")]
    Locked,
    /// The passphrase does not open the root key.
    #[error("the passphrase does not open the root key")]
    Passphrase,
    /// The PIN is not the token user's. Tokens count: after a few of these, they take none.
    #[error("the token refuses the PIN{0}")]
    Pin(&'static str),
    /// The root key is not changed as things stand.
    #[error("{0}")]
    Refused(String),
    /// The root key cannot be had from its provider.
    #[error("the root key: {0}")]
    Root(String),
    /// A wrapped key does not open where it was found.
    #[error(transparent)]
    Unwrap(#[from] UnwrapError),
    /// A tenant has no key of this version: it was never made, or is destroyed.
    #[error("tenant {tenant} has no key of version {version}")]
    NoTenantKey {
        /// The tenant.
        tenant: TenantId,
        /// The version.
        version: u32,
    },
    /// There is no such session here.
    #[error("there is no such session")]
    SessionUnknown,
    /// A session of this id is open already.
    #[error("this session is open already")]
    SessionTaken,
    /// The session's recipient is not one of age's.
    #[error("the session's recipient is not an X25519 recipient of age")]
    Recipient,
    /// A recipient of an escrow cannot be sealed to.
    #[error("{recipient}: {why}")]
    Escrow {
        /// Which one.
        recipient: String,
        /// What is in the way.
        why: String,
        /// The stable reason code of it.
        reason: Reason,
    },
    /// The keys of an upload do not open for their call, or are more or fewer than its items.
    #[error("the sealed keys of the upload: {0}")]
    UploadKeys(ParcelError),
    /// A parcel could not be sealed.
    #[error("the key parcel: {0}")]
    Parcel(ParcelError),
    /// The key holder was asked for what the call or the proof does not say.
    #[error("{0}")]
    Misuse(&'static str),
    /// There is no randomness.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The tenant's wrapped keys could not be read.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

impl KeyError {
    /// The stable reason code.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Locked => Reason::Sealed,
            Self::Unwrap(_) | Self::NoTenantKey { .. } => Reason::Integrity,
            Self::SessionUnknown => Reason::SessionUnknown,
            Self::SessionTaken | Self::Refused(_) => Reason::PreconditionFailed,
            Self::Passphrase | Self::Pin(_) | Self::Recipient | Self::UploadKeys(_) => Reason::InvalidArgument,
            Self::Escrow { reason, .. } => *reason,
            Self::Root(_) | Self::Random(_) => Reason::Unavailable,
            Self::Parcel(_) | Self::Misuse(_) => Reason::Internal,
            Self::Catalog(error) => error.reason(),
        }
    }
}
