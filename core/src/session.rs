//! A session: one connection's fresh in-memory keys, vouched for by the caller's identity and by the vault key.
//!
//! The caller signs an [`Opening`] that names the TLS connection (by its exporter), the vault it believes to speak with and its
//! own fresh keys; the vault answers with a secret sealed to those keys, signed by the vault key in a [`SessionStatement`]. A
//! relay can forward neither: the exporter of its own connection differs, and it knows neither secret.

use serde::{Deserialize, Serialize};

use crate::ed25519::VerifyingKey;
use crate::exact::{self, ExactError};
use crate::identity::{BadSignature, Fingerprint, PublicKey, Purpose, Signature, sha256};
use crate::ids::{Digest, Index, SessionId};
use crate::names::TenantName;
use crate::origin::Origin;

/// The label of the TLS exporter (RFC 8446 §7.5) whose 32 bytes, taken without context, bind a session to its connection.
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-strongroom-session";

/// What a caller signs to open a session. Its exact JSON is what is signed and hashed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Opening {
    /// The session's X25519 recipient, made in memory, in age's text form (`age1…`).
    pub recipient: String,
    /// The session's call key, made in memory.
    pub call_key: VerifyingKey,
    /// The tenant whose ledger the session's calls are recorded in.
    pub tenant: TenantName,
    /// The vault key that the caller pinned.
    pub vault_key: Fingerprint,
    /// The TLS exporter's 32 bytes on the caller's side.
    pub exporter: Digest,
}

impl Opening {
    /// The bytes that are signed.
    ///
    /// # Errors
    /// None in practice: an opening holds no integers.
    pub fn bytes(&self) -> Result<Vec<u8>, ExactError> {
        exact::to_vec(self)
    }

    /// The session's id: SHA-256 of the opening's bytes.
    pub fn session_id(bytes: &[u8]) -> SessionId {
        SessionId::from_bytes(sha256(bytes))
    }
}

/// An opening with the signature of the identity that opens, as it is kept in the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedOpening {
    /// What was signed.
    pub opening: Opening,
    /// The identity: the key of the TLS certificate.
    pub key: PublicKey,
    /// Its signature.
    pub signature: Signature,
}

impl SignedOpening {
    /// Reads the opening's exact bytes and checks the signature; returns it with the session's id.
    ///
    /// # Errors
    /// [`OpeningError`] if the bytes are not exact or the signature does not hold.
    pub fn accept(bytes: &[u8], key: PublicKey, signature: Signature) -> Result<(SessionId, Self), OpeningError> {
        let opening = exact::from_slice(bytes)?;
        key.verify(Purpose::Opening, bytes, &signature.0)?;
        Ok((Opening::session_id(bytes), Self { opening, key, signature }))
    }

    /// Checks the signature of an opening that came out of a ledger; returns the session's id.
    ///
    /// # Errors
    /// As [`SignedOpening::accept`].
    pub fn verify(&self) -> Result<SessionId, OpeningError> {
        let bytes = self.opening.bytes()?;
        self.key.verify(Purpose::Opening, &bytes, &self.signature.0)?;
        Ok(Opening::session_id(&bytes))
    }
}

/// Why an opening was refused.
#[derive(Debug, thiserror::Error)]
pub enum OpeningError {
    /// Not the exact JSON of an opening.
    #[error("the opening is {0}")]
    Exact(#[from] ExactError),
    /// Not signed by the identity that shows it.
    #[error("the opening's signature does not hold")]
    Signature(#[from] BadSignature),
}

/// What the caller says about itself; recorded, never used to authorise.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claims {
    /// Name and version of the SDK, at most 64 bytes.
    pub sdk: String,
    /// The host, at most 255 bytes.
    pub host: String,
    /// The pipeline, job or run, as the caller names it, at most 255 bytes.
    pub job: String,
}

/// What the vault key signs: the answer to an opening. Its exact JSON is what is signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionStatement {
    /// The session that was opened.
    pub session: SessionId,
    /// The ledger it records in.
    pub ledger: Origin,
    /// How many entries the ledger has.
    pub size: Index,
    /// The RFC 6962 root over them.
    pub tip: Digest,
    /// SHA-256 of the age message that carries the session secret.
    pub message: Digest,
}
