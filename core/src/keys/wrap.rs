//! A key stored where an attacker may read and write, so that it opens only in the place it was made for.
//!
//! The database holds wrapped keys next to the rows that say whose they are. Somebody who can write it could move the
//! wrapped key of one object to the row of another that they may read. So the row itself is bound: a wrapped key is
//! sealed with AES-256-GCM, and its additional data is the *tuple* of everything that was authorised. Change a field,
//! and it does not open.
//!
//! ```text
//! wrapped       = nonce (12, random) ‖ ciphertext (32) ‖ tag (16)                                        60 bytes
//! under tenant  : key = HKDF-Expand(tenant key, "strongroom/v1/wrap" ‖ object id, 32)
//!                 AAD = ("object-root", tenant id, key version, dataset id, dataset name, path,
//!                        object id, header, size, content root)
//! under root    : key = HKDF-Expand(root key, "strongroom/v1/root-wrap" ‖ vault id, 32)
//!                 AAD = (purpose, vault id, tenant id, tenant name, version)
//! a tuple       = each field: length (u32 BE) ‖ bytes; integers are u64 BE; a missing id or name is empty
//! ```
//!
//! Lengths before fields make the encoding injective: no two tuples have the same bytes. The purpose comes first, so a
//! key wrapped as one thing never opens as another. A key of its own for each object (or vault) keeps the number of
//! random nonces under one key small, however many objects a tenant has.

use std::fmt;

use data_encoding::HEXLOWER;
use ring::rand::{SecureRandom, SystemRandom};

use super::secret::{
    BOX_OVERHEAD, Expander, Key, NONCE_LEN, RandomError, TAG_LEN, open_in_place, random_bytes, seal_in_place,
};
use crate::ids::{DatasetId, Digest, TenantId, VaultId};
use crate::sealed::header::Header;
use crate::sealed::tree::ObjectRoot;

/// The row for which an object's root is wrapped: all that was authorised when it was put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrapTuple<'a> {
    /// Whose object it is.
    pub tenant: TenantId,
    /// Which version of the tenant's key wraps it.
    pub key_version: u32,
    /// The object's dataset.
    pub dataset: DatasetId,
    /// The dataset's name, which never changes.
    pub dataset_name: &'a str,
    /// The object's path in it.
    pub path: &'a str,
    /// The blob's header, with the object id.
    pub header: Header,
    /// Bytes of plaintext.
    pub size: u64,
    /// The content root.
    pub content_root: Digest,
}

impl WrapTuple<'_> {
    /// The additional data.
    pub(super) fn aad(&self) -> Vec<u8> {
        self.aad_in(Vec::with_capacity(256 + self.dataset_name.len() + self.path.len()))
    }

    /// The additional data, in room that was used before.
    fn aad_in(&self, mut room: Vec<u8>) -> Vec<u8> {
        room.clear();
        let mut aad = Tuple(room);
        aad.bytes(b"object-root");
        aad.bytes(self.tenant.as_bytes());
        aad.integer(self.key_version.into());
        aad.bytes(self.dataset.as_bytes());
        aad.bytes(self.dataset_name.as_bytes());
        aad.bytes(self.path.as_bytes());
        aad.bytes(self.header.object_id().as_bytes());
        aad.bytes(&self.header.encode());
        aad.integer(self.size);
        aad.bytes(self.content_root.as_bytes());
        aad.0
    }

    pub(super) fn key(&self, tenant_key: &Key) -> Key {
        self.expand(&Expander::new(tenant_key))
    }

    fn expand(&self, tenant_key: &Expander) -> Key {
        tenant_key.expand(&[b"strongroom/v1/wrap", self.header.object_id().as_bytes()])
    }
}

/// Wraps an object's root under its tenant's key, for one row.
///
/// ```
/// # use strongroom_core::ids::{DatasetId, Digest, ObjectId, TenantId};
/// # use strongroom_core::keys::{secret::Key, wrap::{WrapTuple, unwrap, wrap}};
/// # use strongroom_core::sealed::{header::Header, tree::ObjectRoot};
/// let row = WrapTuple {
///     tenant: TenantId::from_bytes([1; 16]),
///     key_version: 1,
///     dataset: DatasetId::from_bytes([2; 16]),
///     dataset_name: "rlhf",
///     path: "math/000007.json",
///     header: Header::new(ObjectId::from_bytes([3; 16])),
///     size: 312,
///     content_root: Digest::from_bytes([4; 32]),
/// };
/// let tenant_key = Key::random().unwrap();
/// let root = ObjectRoot::derive(&Key::random().unwrap(), &row.header);
/// let wrapped = wrap(&tenant_key, &row, &root).unwrap();
/// assert!(unwrap(&tenant_key, &row, &wrapped).is_ok());
/// assert!(unwrap(&tenant_key, &WrapTuple { path: "math/000008.json", ..row }, &wrapped).is_err());
/// ```
///
/// # Errors
/// If there is no randomness for the nonce.
pub fn wrap(tenant_key: &Key, row: &WrapTuple<'_>, root: &ObjectRoot) -> Result<Wrapped, RandomError> {
    Ok(seal(&row.key(tenant_key), random_bytes()?, &row.aad(), root.key()))
}

/// Unwraps an object's root, if it was wrapped under this key for exactly this row.
///
/// # Errors
/// If it was not.
pub fn unwrap(tenant_key: &Key, row: &WrapTuple<'_>, wrapped: &Wrapped) -> Result<ObjectRoot, UnwrapError> {
    open(&row.key(tenant_key), &row.aad(), wrapped).map(ObjectRoot::from_key)
}

/// Wraps objects' roots anew: each for the same row, under version `to.0` of the tenant's key instead of the one that it is under.
/// None where `from` has no such version, or a root does not open for its row.
///
/// ```
/// # use strongroom_core::ids::{DatasetId, Digest, ObjectId, TenantId};
/// # use strongroom_core::keys::{secret::Key, wrap::{WrapTuple, rewrap, unwrap, wrap}};
/// # use strongroom_core::sealed::{header::Header, tree::ObjectRoot};
/// # let row = WrapTuple {
/// #     tenant: TenantId::from_bytes([1; 16]),
/// #     key_version: 1,
/// #     dataset: DatasetId::from_bytes([2; 16]),
/// #     dataset_name: "rlhf",
/// #     path: "math/000007.json",
/// #     header: Header::new(ObjectId::from_bytes([3; 16])),
/// #     size: 312,
/// #     content_root: Digest::from_bytes([4; 32]),
/// # };
/// # let root = ObjectRoot::derive(&Key::random().unwrap(), &row.header);
/// let (first, second) = (Key::random().unwrap(), Key::random().unwrap());
/// let wrapped = wrap(&first, &row, &root).unwrap();
/// let moved = rewrap(&[(1, &first)], (2, &second), &[(row, wrapped)]).unwrap();
/// let row = WrapTuple { key_version: 2, ..row };
/// assert!(unwrap(&second, &row, &moved[0].unwrap()).unwrap().key().expose() == root.key().expose());
/// ```
///
/// # Errors
/// If there is no randomness for the nonces.
pub fn rewrap(
    from: &[(u32, &Key)],
    to: (u32, &Key),
    rows: &[(WrapTuple<'_>, Wrapped)],
) -> Result<Vec<Option<Wrapped>>, RandomError> {
    // A million of them in a row: what does not depend on the row is done once.
    let from: Vec<_> = from.iter().map(|(version, key)| (*version, Expander::new(key))).collect();
    let new = Expander::new(to.1);
    let mut nonces = vec![[0; NONCE_LEN]; rows.len()];
    SystemRandom::new().fill(nonces.as_flattened_mut()).map_err(|_| RandomError)?;
    let mut aad = Vec::with_capacity(512);
    let moved = rows.iter().zip(nonces).map(|((row, wrapped), nonce)| {
        let (_, old) = from.iter().find(|(version, _)| *version == row.key_version)?;
        aad = row.aad_in(std::mem::take(&mut aad));
        let root = open(&row.expand(old), &aad, wrapped).ok()?;
        aad = WrapTuple { key_version: to.0, ..*row }.aad_in(std::mem::take(&mut aad));
        Some(seal(&row.expand(&new), nonce, &aad, &root))
    });
    Ok(moved.collect())
}

/// What a secret under the root key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// A version of a tenant's key, which wraps the roots of its objects.
    TenantKey,
    /// The key of a ledger's MACs.
    LedgerKey,
    /// The Ed25519 seed that signs a ledger's checkpoints.
    LogKey,
    /// The vault key's Ed25519 seed.
    VaultKey,
}

impl Purpose {
    /// Its name in the tuple.
    pub const fn as_str(self) -> &'static str {
        match self {
            Purpose::TenantKey => "tenant-key",
            Purpose::LedgerKey => "ledger-key",
            Purpose::LogKey => "log-key",
            Purpose::VaultKey => "vault-key",
        }
    }
}

/// The place for which a secret is wrapped by the root key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RootTuple<'a> {
    /// What the secret is for.
    pub purpose: Purpose,
    /// The vault that it belongs to.
    pub vault: VaultId,
    /// The tenant that it belongs to, with its name, which never changes; `None` for what belongs to the whole vault.
    pub tenant: Option<(TenantId, &'a str)>,
    /// Its version: 1 is the first, and the only one of what does not rotate.
    pub version: u32,
}

impl RootTuple<'_> {
    /// The additional data, for providers that wrap by themselves (an HSM, a cloud's KMS).
    pub fn aad(&self) -> Vec<u8> {
        let mut aad = Tuple::with_capacity(128);
        aad.bytes(self.purpose.as_str().as_bytes());
        aad.bytes(self.vault.as_bytes());
        match &self.tenant {
            Some((id, name)) => {
                aad.bytes(id.as_bytes());
                aad.bytes(name.as_bytes());
            }
            None => {
                aad.bytes(b"");
                aad.bytes(b"");
            }
        }
        aad.integer(self.version.into());
        aad.0
    }

    pub(super) fn key(&self, root_key: &Key) -> Key {
        root_key.expand(&[b"strongroom/v1/root-wrap", self.vault.as_bytes()])
    }
}

/// Wraps a secret of 32 bytes under the root key, for one place.
///
/// # Errors
/// If there is no randomness for the nonce.
pub fn wrap_under_root(root_key: &Key, place: &RootTuple<'_>, secret: &Key) -> Result<Wrapped, RandomError> {
    Ok(seal(&place.key(root_key), random_bytes()?, &place.aad(), secret))
}

/// Unwraps a secret, if it was wrapped under this root key for exactly this place.
///
/// # Errors
/// If it was not.
pub fn unwrap_under_root(root_key: &Key, place: &RootTuple<'_>, wrapped: &Wrapped) -> Result<Key, UnwrapError> {
    open(&place.key(root_key), &place.aad(), wrapped)
}

/// A wrapped secret of 32 bytes: `nonce ‖ ciphertext ‖ tag`. No secret itself.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Wrapped([u8; Wrapped::LEN]);

impl Wrapped {
    /// The number of bytes.
    pub const LEN: usize = Key::LEN + BOX_OVERHEAD;

    /// From its bytes, as they were stored.
    pub const fn from_bytes(bytes: [u8; Wrapped::LEN]) -> Wrapped {
        Wrapped(bytes)
    }

    /// Its bytes, to store.
    pub const fn as_bytes(&self) -> &[u8; Wrapped::LEN] {
        &self.0
    }
}

impl TryFrom<&[u8]> for Wrapped {
    type Error = UnwrapError;

    fn try_from(bytes: &[u8]) -> Result<Wrapped, UnwrapError> {
        bytes.try_into().map(Wrapped).map_err(|_| UnwrapError)
    }
}

impl fmt::Debug for Wrapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

/// A wrapped key that does not open: another key, another row, or changed. Which of them, nobody can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a wrapped key does not open for the place where it was found")]
pub struct UnwrapError;

/// With a given nonce, which must never come twice under one key.
pub(super) fn seal(key: &Key, nonce: [u8; NONCE_LEN], aad: &[u8], secret: &Key) -> Wrapped {
    let mut bytes = [0; Wrapped::LEN];
    bytes[..NONCE_LEN].copy_from_slice(&nonce);
    let (sealed, tag) = bytes[NONCE_LEN..].split_at_mut(Key::LEN);
    sealed.copy_from_slice(secret.expose());
    tag.copy_from_slice(&seal_in_place(key, nonce, aad, sealed));
    Wrapped(bytes)
}

fn open(key: &Key, aad: &[u8], wrapped: &Wrapped) -> Result<Key, UnwrapError> {
    let (nonce, sealed) = wrapped.0.split_first_chunk::<NONCE_LEN>().ok_or(UnwrapError)?;
    let mut buffer = zeroize::Zeroizing::new([0; Key::LEN + TAG_LEN]);
    buffer.copy_from_slice(sealed);
    let plaintext = open_in_place(key, *nonce, aad, &mut buffer[..]).ok_or(UnwrapError)?;
    Key::try_from_slice(plaintext).ok_or(UnwrapError)
}

/// An encoded tuple: each field is its length (u32 BE) and its bytes.
struct Tuple(Vec<u8>);

impl Tuple {
    fn with_capacity(bytes: usize) -> Tuple {
        Tuple(Vec::with_capacity(bytes))
    }

    fn bytes(&mut self, field: &[u8]) {
        let len = u32::try_from(field.len()).expect("names and paths are short");
        self.0.extend_from_slice(&len.to_be_bytes());
        self.0.extend_from_slice(field);
    }

    fn integer(&mut self, field: u64) {
        self.bytes(&field.to_be_bytes());
    }
}
