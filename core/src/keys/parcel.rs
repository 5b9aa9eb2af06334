//! Keys on their way: out to a reader in a key parcel, in from an uploader.
//!
//! TLS may end at a middlebox, and a bearer of bytes may keep them. So keys travel sealed under a *session secret* that
//! exists only in the memory of the caller and of the key holder, for as long as one connection lives. Each message has
//! a key of its own, bound to what it answers:
//!
//! ```text
//! message key = HKDF-Expand(session secret, label ‖ session id (32) ‖ call digest (32) ‖ index (u64 BE), 32)
//! message     = nonce (12, random) ‖ ciphertext ‖ tag (16)                                      AES-256-GCM, no AAD
//! ```
//!
//! with the label `strongroom/v1/parcel` and the ledger index of the release's entry, or `strongroom/v1/keys` and 0. A
//! parcel given as the answer to another call, or for another entry, does not open; there is nothing to compare and
//! nothing to forget.
//!
//! A parcel's plaintext is binary and has one encoding:
//!
//! ```text
//! parcel = "SRP1" ‖ number of objects (u32 BE, 1 to 1024) ‖ objects, by rising item
//! object = item (u32) ‖ path length (u32, 1 to 1024) ‖ path ‖ generation (u64) ‖ size (u64) ‖ header (24)
//!          ‖ content root (32) ‖ first segment (u32) ‖ one past the last (u32) ‖ keys of the cover (32 each)
//! ```
//!
//! Invariants, held by [`KeyParcel::seal`] and checked by [`KeyParcel::open`]:
//! - An object's range lies in the object and within one window, and exactly its cover's keys follow (at most 512).
//! - An item of the call appears once; nothing follows the last object.
//! - Every length is checked before anything is allocated for it.
//!
//! A parcel proves nothing to anybody else: both ends know the secret. Receipts come from the ledger.

use zeroize::Zeroizing;

use super::secret::{BOX_OVERHEAD, Key, RandomError, open_box, seal_box};
use crate::ids::{CallDigest, Digest, Generation, SegmentRange, SessionId};
use crate::sealed::header::{Header, HeaderError};
use crate::sealed::layout::{Layout, LayoutError};
use crate::sealed::tree::{CoverKeys, cover_len};
use crate::sealed::{HEADER_LEN, MAX_COVER_NODES};

/// The most objects in a parcel, and keys in an upload.
pub const MAX_OBJECTS: usize = 1024;
/// The longest path, in bytes.
pub const MAX_PATH_LEN: usize = 1024;

const PARCEL_LABEL: &[u8] = b"strongroom/v1/parcel";
const UPLOAD_LABEL: &[u8] = b"strongroom/v1/keys";
const MAGIC: &[u8; 4] = b"SRP1";
/// An object's bytes without path and keys.
const OBJECT_LEN: usize = 4 + 4 + 8 + 8 + HEADER_LEN + Digest::LEN + 4 + 4;
const MAX_PARCEL_LEN: usize =
    MAGIC.len() + 4 + MAX_OBJECTS * (OBJECT_LEN + MAX_PATH_LEN + MAX_COVER_NODES * Key::LEN) + BOX_OVERHEAD;

/// The secret of a session: made by the key holder, known to one process besides, gone with the connection.
pub struct SessionSecret(Key);

impl SessionSecret {
    /// A fresh one.
    ///
    /// # Errors
    /// If the system has no randomness to give.
    pub fn random() -> Result<SessionSecret, RandomError> {
        Key::random().map(SessionSecret)
    }

    /// From the bytes that came in the session's answer.
    pub const fn from_bytes(bytes: [u8; Key::LEN]) -> SessionSecret {
        SessionSecret(Key::from_bytes(bytes))
    }

    /// The secret bytes, for the session's answer alone.
    pub const fn expose(&self) -> &[u8; Key::LEN] {
        self.0.expose()
    }

    fn message_key(&self, label: &[u8], session: &SessionId, call: &CallDigest, index: u64) -> Key {
        self.0.expand(&[label, session.as_bytes(), call.as_bytes(), &index.to_be_bytes()])
    }
}

/// What a parcel answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Binding {
    /// The session whose secret seals it.
    pub session: SessionId,
    /// The signed call that asked.
    pub call: CallDigest,
    /// The ledger index of the entry that records the release.
    pub index: u64,
}

impl Binding {
    pub(super) fn key(&self, secret: &SessionSecret) -> Key {
        secret.message_key(PARCEL_LABEL, &self.session, &self.call, self.index)
    }
}

/// An object in a parcel: what it is, and the keys of a range of it.
pub struct ParcelObject {
    /// Which item of the call this answers, from 0.
    pub item: u32,
    /// The object's path in its dataset. Checked here for its length and for being UTF-8 only.
    pub path: String,
    /// Which writing of the path.
    pub generation: Generation,
    /// Bytes of plaintext of the whole object.
    pub size: u64,
    /// The blob's header, with the object id.
    pub header: Header,
    /// The content root, to check the blob against.
    pub content_root: Digest,
    /// The segments released and their keys.
    pub keys: CoverKeys,
}

impl ParcelObject {
    /// What every object of every parcel keeps.
    fn check(item: u32, size: u64, path_len: usize, range: SegmentRange) -> Result<(), ParcelError> {
        if path_len == 0 || path_len > MAX_PATH_LEN {
            return Err(ParcelError::Path { item });
        }
        if !Layout::new(size)?.is_within_window(range) {
            return Err(ParcelError::Range { item });
        }
        Ok(())
    }

    fn encoded_len(&self) -> usize {
        OBJECT_LEN + self.path.len() + self.keys.nodes().len() * Key::LEN
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let path_len = u32::try_from(self.path.len()).expect("checked before");
        out.extend_from_slice(&self.item.to_be_bytes());
        out.extend_from_slice(&path_len.to_be_bytes());
        out.extend_from_slice(self.path.as_bytes());
        out.extend_from_slice(&self.generation.0.to_be_bytes());
        out.extend_from_slice(&self.size.to_be_bytes());
        out.extend_from_slice(&self.header.encode());
        out.extend_from_slice(self.content_root.as_bytes());
        out.extend_from_slice(&self.keys.range().start().to_be_bytes());
        out.extend_from_slice(&self.keys.range().end().to_be_bytes());
        for key in self.keys.nodes() {
            out.extend_from_slice(key.expose());
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<ParcelObject, ParcelError> {
        let item = reader.u32()?;
        let path_len = usize::try_from(reader.u32()?).map_err(|_| ParcelError::Path { item })?;
        if path_len > MAX_PATH_LEN {
            return Err(ParcelError::Path { item });
        }
        let path = std::str::from_utf8(reader.take(path_len)?).map_err(|_| ParcelError::Path { item })?;
        let generation = Generation(reader.u64()?);
        let size = reader.u64()?;
        let header = Header::parse(reader.take(HEADER_LEN)?)?;
        let content_root = Digest::from_bytes(reader.array()?);
        let range = SegmentRange::new(reader.u32()?, reader.u32()?).ok_or(ParcelError::Range { item })?;
        Self::check(item, size, path_len, range)?;

        // Within a window, so this is at most 512 keys; and they are there before memory is asked for.
        let keys = reader.take(cover_len(range) * Key::LEN)?;
        let keys = keys.chunks_exact(Key::LEN).filter_map(Key::try_from_slice).collect();
        let keys = CoverKeys::from_nodes(range, keys).ok_or(ParcelError::Length)?;
        Ok(ParcelObject { item, path: path.to_owned(), generation, size, header, content_root, keys })
    }
}

/// The keys that one recorded release hands out.
pub struct KeyParcel {
    /// 1 to 1024 objects, by rising item.
    pub objects: Vec<ParcelObject>,
}

impl KeyParcel {
    /// Seals it for a session, as the answer to a call, under the index of the release's entry.
    ///
    /// # Errors
    /// If it breaks one of the module's invariants, or there is no randomness for the nonce.
    pub fn seal(&self, secret: &SessionSecret, binding: &Binding) -> Result<Vec<u8>, ParcelError> {
        Ok(seal_box(&binding.key(secret), b"", &self.encode()?)?)
    }

    /// Opens what was sealed with this secret and binding.
    ///
    /// # Errors
    /// If it was not, or breaks one of the module's invariants.
    pub fn open(secret: &SessionSecret, binding: &Binding, bytes: &[u8]) -> Result<KeyParcel, ParcelError> {
        if bytes.len() > MAX_PARCEL_LEN {
            return Err(ParcelError::Length);
        }
        let plaintext = open_box(&binding.key(secret), b"", bytes).ok_or(ParcelError::Sealed)?;
        KeyParcel::decode(&plaintext)
    }

    pub(super) fn encode(&self) -> Result<Zeroizing<Vec<u8>>, ParcelError> {
        check_count(self.objects.len())?;
        let len = MAGIC.len() + 4 + self.objects.iter().map(ParcelObject::encoded_len).sum::<usize>();
        // Exact capacity: a vector that grows leaves copies of keys behind.
        let mut out = Zeroizing::new(Vec::with_capacity(len));
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&u32::try_from(self.objects.len()).expect("at most 1024").to_be_bytes());
        let mut previous = None;
        for object in &self.objects {
            check_order(&mut previous, object.item)?;
            ParcelObject::check(object.item, object.size, object.path.len(), object.keys.range())?;
            object.encode(&mut out);
        }
        debug_assert_eq!(out.len(), len);
        Ok(out)
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<KeyParcel, ParcelError> {
        let mut reader = Reader(bytes);
        if reader.array()? != *MAGIC {
            return Err(ParcelError::Magic);
        }
        let count = usize::try_from(reader.u32()?).map_err(|_| ParcelError::Count)?;
        check_count(count)?;
        let mut objects = Vec::with_capacity(count);
        let mut previous = None;
        for _ in 0..count {
            let object = ParcelObject::decode(&mut reader)?;
            check_order(&mut previous, object.item)?;
            objects.push(object);
        }
        if !reader.0.is_empty() {
            return Err(ParcelError::Length);
        }
        Ok(KeyParcel { objects })
    }
}

/// Seals the object keys of an upload, in the order of the call's items, to the key holder.
///
/// # Errors
/// If they are none or more than 1024, or there is no randomness for the nonce.
pub fn seal_upload_keys(
    secret: &SessionSecret,
    session: &SessionId,
    call: &CallDigest,
    keys: &[Key],
) -> Result<Vec<u8>, ParcelError> {
    Ok(seal_box(&upload_key(secret, session, call), b"", &encode_upload_keys(keys)?)?)
}

/// Opens the object keys of an upload of `expected` items.
///
/// # Errors
/// If they were sealed for another session or call, or are more or fewer.
pub fn open_upload_keys(
    secret: &SessionSecret,
    session: &SessionId,
    call: &CallDigest,
    expected: usize,
    bytes: &[u8],
) -> Result<Vec<Key>, ParcelError> {
    check_count(expected)?;
    if bytes.len() != expected * Key::LEN + BOX_OVERHEAD {
        return Err(ParcelError::Length);
    }
    let plaintext = open_box(&upload_key(secret, session, call), b"", bytes).ok_or(ParcelError::Sealed)?;
    Ok(plaintext.chunks_exact(Key::LEN).filter_map(Key::try_from_slice).collect())
}

pub(super) fn upload_key(secret: &SessionSecret, session: &SessionId, call: &CallDigest) -> Key {
    secret.message_key(UPLOAD_LABEL, session, call, 0)
}

pub(super) fn encode_upload_keys(keys: &[Key]) -> Result<Zeroizing<Vec<u8>>, ParcelError> {
    check_count(keys.len())?;
    let mut out = Zeroizing::new(Vec::with_capacity(keys.len() * Key::LEN));
    for key in keys {
        out.extend_from_slice(key.expose());
    }
    Ok(out)
}

/// Keys that cannot be sealed so, or a message that is not what it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParcelError {
    /// Nothing was sealed.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// Sealed for another session, call, index or purpose, or changed since.
    #[error("sealed keys do not open for this session and call")]
    Sealed,
    /// Not a parcel of format 1.
    #[error("not a key parcel of format 1")]
    Magic,
    /// None, or more than 1024.
    #[error("a message carries the keys of 1 to 1024 objects")]
    Count,
    /// It ends too early or too late.
    #[error("a message of sealed keys has another length than its content")]
    Length,
    /// An item comes twice, or after a later one.
    #[error("item {item} of a key parcel is out of order")]
    Order {
        /// The item, from 0.
        item: u32,
    },
    /// A path is empty, too long or not UTF-8.
    #[error("item {item} of a key parcel has no valid path")]
    Path {
        /// The item, from 0.
        item: u32,
    },
    /// A range is empty, past the object's end or in several windows.
    #[error("item {item} of a key parcel has keys for no valid range")]
    Range {
        /// The item, from 0.
        item: u32,
    },
    /// A header is not one of format 1.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// No object has such a size.
    #[error(transparent)]
    Layout(#[from] LayoutError),
}

fn check_count(count: usize) -> Result<(), ParcelError> {
    if (1..=MAX_OBJECTS).contains(&count) { Ok(()) } else { Err(ParcelError::Count) }
}

fn check_order(previous: &mut Option<u32>, item: u32) -> Result<(), ParcelError> {
    if previous.is_some_and(|previous| previous >= item) {
        return Err(ParcelError::Order { item });
    }
    *previous = Some(item);
    Ok(())
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], ParcelError> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(ParcelError::Length)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ParcelError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(ParcelError::Length)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn u32(&mut self) -> Result<u32, ParcelError> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, ParcelError> {
        self.array().map(u64::from_be_bytes)
    }
}
