//! Ed25519 keys: the vault key, which clients pin, and each session's call key.

use std::fmt;

use data_encoding::HEXLOWER;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::identity::{BadSignature, Fingerprint, Purpose};
use crate::keys::secret::{Key, RandomError};

/// The DER that stands before every Ed25519 key in a SubjectPublicKeyInfo (RFC 8410).
const SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// A private Ed25519 key (RFC 8032), made from a 32-byte seed.
pub struct SigningKey {
    seed: Key,
    pair: Ed25519KeyPair,
}

impl SigningKey {
    /// A new key from the system's randomness.
    ///
    /// # Errors
    /// [`RandomError`] if the system gives none.
    pub fn generate() -> Result<Self, RandomError> {
        Key::random().and_then(Self::from_seed)
    }

    /// The key of this seed.
    ///
    /// # Errors
    /// None in practice: every 32 bytes are a seed.
    pub fn from_seed(seed: Key) -> Result<Self, RandomError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.expose()).map_err(|_| RandomError)?;
        Ok(Self { seed, pair })
    }

    /// The seed, to be wrapped.
    pub fn seed(&self) -> &Key {
        &self.seed
    }

    /// The public half.
    pub fn public_key(&self) -> VerifyingKey {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.pair.public_key().as_ref());
        VerifyingKey(bytes)
    }

    /// Signs `bytes` for `purpose`: 64 bytes.
    pub fn sign(&self, purpose: Purpose, bytes: &[u8]) -> [u8; 64] {
        self.sign_raw(&purpose.signed_bytes(bytes))
    }

    /// Signs a certificate or a note: formats that carry their own context.
    pub fn sign_raw(&self, bytes: &[u8]) -> [u8; 64] {
        let mut signature = [0; 64];
        signature.copy_from_slice(self.pair.sign(bytes).as_ref());
        signature
    }
}

impl rcgen::PublicKeyData for SigningKey {
    fn der_bytes(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ED25519
    }
}

impl rcgen::SigningKey for SigningKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(self.sign_raw(message).to_vec())
    }
}

/// A public Ed25519 key. Its text form is 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct VerifyingKey([u8; 32]);

impl VerifyingKey {
    /// From its 32 bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// From a SubjectPublicKeyInfo DER; `None` if it is no Ed25519 key.
    pub fn from_spki(der: &[u8]) -> Option<Self> {
        der.strip_prefix(&SPKI[..]).and_then(|key| key.try_into().ok()).map(Self)
    }

    /// The key's name: over its SubjectPublicKeyInfo, as for every key.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of_spki(&[&SPKI[..], &self.0].concat())
    }

    /// Checks the signature of `bytes` for `purpose`.
    ///
    /// # Errors
    /// [`BadSignature`] if it is not this key's.
    pub fn verify(&self, purpose: Purpose, bytes: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        self.verify_raw(&purpose.signed_bytes(bytes), signature)
    }

    /// Checks the signature of a certificate or a note: formats that carry their own context.
    ///
    /// # Errors
    /// [`BadSignature`] if it is not this key's.
    pub fn verify_raw(&self, bytes: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        UnparsedPublicKey::new(&ED25519, &self.0).verify(bytes, signature).map_err(|_| BadSignature)
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.fingerprint(), f)
    }
}

impl Serialize for VerifyingKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&HEXLOWER.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for VerifyingKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = HEXLOWER.decode(text.as_bytes()).map_err(serde::de::Error::custom)?;
        bytes.try_into().map(Self).map_err(|_| serde::de::Error::custom("not an Ed25519 key"))
    }
}
