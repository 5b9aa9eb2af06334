//! A call: a request for data, in the caller's own signed words.
//!
//! The request travels as bytes, and the server acts only on what it parses from them. The session's call key signs the call
//! digest, which binds request, session and ledger: an operator cannot invent a read, and a vendor cannot deny one.

use serde::{Deserialize, Serialize};

use crate::ed25519::{SigningKey, VerifyingKey};
use crate::exact::{self, ExactError};
use crate::identity::{BadSignature, Purpose, Signature, sha256};
use crate::ids::{CallDigest, Digest, Generation, GrantId, IncidentId, ObjectId, PutId, RequestId, SessionId};
use crate::names::{DatasetName, ObjectPath};
use crate::origin::Origin;
use crate::sealed::header::Header;

/// The most items of one call.
pub const MAX_ITEMS: usize = 1024;

/// A request for data. Its exact JSON is what is hashed and signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// Unique per key for 15 minutes; a retry keeps it.
    pub request: RequestId,
    /// The grant to act under; none for a tenant admin.
    pub grant: Option<GrantId>,
    /// What is asked for.
    pub work: Work,
    /// The incident that it belongs to; only admins name one, and no grant beside it. Left out where there is none, so that such a
    /// call has the bytes that it always had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident: Option<IncidentId>,
}

/// What a call asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// Keys and ciphertext of these, 1 to [`MAX_ITEMS`].
    Get(Vec<GetItem>),
    /// Keys alone, for a caller that holds the ciphertext.
    ReleaseKeys(Vec<GetItem>),
    /// To make these sealed objects visible.
    Put(Vec<PutItem>),
    /// To hide these.
    Delete(Vec<DeleteItem>),
}

/// One object, or a part of it, to read: named by its path or by its object id, never by both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GetItem {
    /// Its dataset.
    pub dataset: DatasetName,
    /// Its path; none if it is named by its id.
    pub path: Option<ObjectPath>,
    /// Which writing; if none, the newest of the path, or whichever the id names.
    pub generation: Option<Generation>,
    /// Bytes of the plaintext, `[start, end)`, cut to its size; all if none.
    pub range: Option<(u64, u64)>,
    /// The sealed object. Left out where there is none, so that an item with a path has the bytes that it always had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<ObjectId>,
}

impl GetItem {
    /// The newest generation of what stands at a path, all of it.
    pub fn at(dataset: DatasetName, path: ObjectPath) -> Self {
        Self { dataset, path: Some(path), generation: None, range: None, id: None }
    }

    /// A sealed object, all of it.
    pub fn of_id(dataset: DatasetName, id: ObjectId) -> Self {
        Self { dataset, path: None, generation: None, range: None, id: Some(id) }
    }
}

/// What must hold for a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// Nothing: an existing object is overwritten by a new generation.
    Any,
    /// Nothing visible stands at the path.
    Absent,
    /// The visible generation is this one.
    Generation(Generation),
    /// The visible generation is this one, and what is put is the same content under a new key. For admins; all items of a call
    /// are, or none.
    Rekey(Generation),
}

/// One sealed object to make visible.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PutItem {
    /// This attempt, chosen by the client.
    pub put: PutId,
    /// Its dataset.
    pub dataset: DatasetName,
    /// Its path.
    pub path: ObjectPath,
    /// What must hold.
    pub condition: Condition,
    /// The sealed header, with the object id; 48 hex digits.
    #[serde(with = "header_text")]
    pub header: Header,
    /// The plaintext's size in bytes.
    pub size: u64,
    /// The content root (BLAKE3).
    pub content_root: Digest,
}

/// One object to hide.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeleteItem {
    /// Its dataset.
    pub dataset: DatasetName,
    /// Its path.
    pub path: ObjectPath,
    /// The generation that must be the visible one; any if none.
    pub generation: Option<Generation>,
}

/// Why a call was refused before anything in it was looked at.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Not the exact JSON of a call.
    #[error("the call is {0}")]
    Exact(#[from] ExactError),
    /// Not signed by the session's call key for this session and ledger.
    #[error("the call's signature does not hold")]
    Signature(#[from] BadSignature),
    /// No item, or more than [`MAX_ITEMS`].
    #[error("a call has 1 to 1024 items")]
    Items,
    /// A range whose end is not after its start.
    #[error("a range ends after it starts")]
    Range,
    /// An item that names its object by path and id, or by neither.
    #[error("an item names its object by its path or by its id: one of them")]
    Named,
    /// A call that gives some objects new keys, and others new content; or names a grant for it.
    #[error("a call gives all of its objects new keys, in an admin's own name, or none")]
    Rekey,
    /// A call that names a grant and an incident.
    #[error("a call belongs to an incident in an admin's own name: it names no grant beside it")]
    Incident,
}

/// A call with the signature of its session's call key, as it is kept in the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedCall {
    /// What was asked.
    pub call: Call,
    /// The call key's signature over the call digest.
    pub signature: Signature,
}

impl Call {
    /// Whether it gives objects new keys.
    pub fn rekeys(&self) -> bool {
        let Work::Put(items) = &self.work else { return false };
        items.iter().any(|item| matches!(item.condition, Condition::Rekey(_)))
    }

    /// The bytes that are hashed and sent.
    ///
    /// # Errors
    /// [`ExactError::Integer`] if a size or range is over 2⁵³−1.
    pub fn bytes(&self) -> Result<Vec<u8>, ExactError> {
        exact::to_vec_of(self, self.size())
    }

    /// About how many bytes it has.
    pub fn size(&self) -> usize {
        let path = |path: &ObjectPath| path.as_str().len();
        let items: usize = match &self.work {
            Work::Get(items) | Work::ReleaseKeys(items) => {
                items.iter().map(|item| 120 + item.path.as_ref().map_or(40, path) + item.dataset.as_str().len()).sum()
            }
            Work::Put(items) => items.iter().map(|item| 330 + path(&item.path) + item.dataset.as_str().len()).sum(),
            Work::Delete(items) => items.iter().map(|item| 80 + path(&item.path) + item.dataset.as_str().len()).sum(),
        };
        210 + items
    }

    /// SHA-256(session id ‖ SHA-256(origin) ‖ SHA-256(bytes)).
    pub fn digest(session: &SessionId, origin: &Origin, bytes: &[u8]) -> CallDigest {
        Self::digest_of(session, origin, &sha256(bytes))
    }

    fn digest_of(session: &SessionId, origin: &Origin, request: &[u8; 32]) -> CallDigest {
        let mut parts = [0; 96];
        parts[..32].copy_from_slice(session.as_bytes());
        parts[32..64].copy_from_slice(&origin.digest());
        parts[64..].copy_from_slice(request);
        CallDigest::from_bytes(sha256(&parts))
    }

    /// Signs a call digest with the session's call key.
    pub fn sign(digest: &CallDigest, call_key: &SigningKey) -> Signature {
        Signature(call_key.sign(Purpose::Call, digest.as_bytes()))
    }

    fn check(&self) -> Result<(), CallError> {
        if self.grant.is_some() && self.incident.is_some() {
            return Err(CallError::Incident);
        }
        let count = match &self.work {
            Work::Get(items) | Work::ReleaseKeys(items) => {
                if items.iter().any(|item| item.range.is_some_and(|(start, end)| end <= start)) {
                    return Err(CallError::Range);
                }
                if items.iter().any(|item| item.path.is_some() == item.id.is_some()) {
                    return Err(CallError::Named);
                }
                items.len()
            }
            Work::Put(items) => {
                let rekeys = items.iter().filter(|item| matches!(item.condition, Condition::Rekey(_))).count();
                if rekeys > 0 && (rekeys < items.len() || self.grant.is_some()) {
                    return Err(CallError::Rekey);
                }
                items.len()
            }
            Work::Delete(items) => items.len(),
        };
        if (1..=MAX_ITEMS).contains(&count) { Ok(()) } else { Err(CallError::Items) }
    }
}

impl SignedCall {
    /// Reads a call's exact bytes, checks its shape and its signature; returns it with its digest, and SHA-256 of the bytes.
    ///
    /// # Errors
    /// Each kind of [`CallError`].
    pub fn accept(
        bytes: &[u8],
        signature: Signature,
        session: &SessionId,
        origin: &Origin,
        call_key: &VerifyingKey,
    ) -> Result<(CallDigest, Digest, Self), CallError> {
        let request = sha256(bytes);
        let digest = Call::digest_of(session, origin, &request);
        call_key.verify(Purpose::Call, digest.as_bytes(), &signature.0)?;
        let call: Call = exact::from_slice(bytes)?;
        call.check()?;
        Ok((digest, Digest::from_bytes(request), Self { call, signature }))
    }

    /// Checks a call that came out of a ledger; returns its digest.
    ///
    /// # Errors
    /// As [`SignedCall::accept`].
    pub fn verify(&self, session: &SessionId, origin: &Origin, key: &VerifyingKey) -> Result<CallDigest, CallError> {
        let digest = Call::digest(session, origin, &self.call.bytes()?);
        key.verify(Purpose::Call, digest.as_bytes(), &self.signature.0)?;
        self.call.check()?;
        Ok(digest)
    }
}

pub(crate) mod header_text {
    use data_encoding::HEXLOWER;
    use serde::{Deserializer, Serializer};

    use crate::ids::{from_hex, from_text};
    use crate::sealed::HEADER_LEN;
    use crate::sealed::header::{Header, HeaderError};

    pub(crate) fn serialize<S: Serializer>(header: &Header, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = [0; 2 * HEADER_LEN];
        serializer.serialize_str(HEXLOWER.encode_mut_str(&header.encode(), &mut text))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Header, D::Error> {
        from_text(deserializer, "a header", |text| {
            let bytes = from_hex::<HEADER_LEN>(text).ok_or(HeaderError::Length(text.len() / 2))?;
            Header::parse(&bytes)
        })
    }
}
