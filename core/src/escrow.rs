//! Escrow: the versions of a tenant's key, sealed to the tenant's own recipients, and what is exported to open objects with them.
//!
//! ```text
//! set_escrow (a signed order) ─► each version of the tenant's key, present and future ─► one age message a recipient
//! export  = catalog.json [sealed key versions, checksum of the rows] + objects.jsonl [name, place, wrapped root: one line an object]
//! recover = identity + export + blobs ─► key version ─► root of each object ─► segments, every digest checked
//! ```
//!
//! It needs neither the server nor its database, and whoever holds neither the identity nor a blob learns names, sizes and no more.

use std::collections::BTreeSet;

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::exact::{self, ExactError};
use crate::ids::{DatasetId, Digest, Generation, Millis, TenantId, VaultId};
use crate::keys::secret::Key;
use crate::keys::wrap::{WrapTuple, Wrapped};
use crate::names::{DatasetName, ObjectPath, TenantName};
use crate::origin::Origin;
use crate::sealed::header::Header;

/// The most recipients of a tenant.
pub const MAX_RECIPIENTS: usize = 16;
/// The most bytes of one line of an export.
pub const MAX_LINE: usize = 16 * 1024;
/// The file with the sealed keys.
pub const HEAD_FILE: &str = "catalog.json";
/// The file with the objects.
pub const OBJECTS_FILE: &str = "objects.jsonl";
/// What [`ExportHead::format`] says.
pub const FORMAT: &str = "strongroom/v1/catalog";

const MAGIC: &[u8; 4] = b"SRE1";
const SEALED_LEN: usize = 4 + 16 + 16 + 4 + Key::LEN;

/// Whether a text has the form of an age recipient: `age1`, then letters and digits. Whether one can be sealed to is the key
/// holder's to say.
pub fn is_recipient(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (8..=512).contains(&text.len()) && text.starts_with("age1") && text.bytes().all(fits)
}

/// Whether these are the recipients of an order: sorted, each once, not too many.
pub fn are_recipients(recipients: &[String]) -> bool {
    recipients.len() <= MAX_RECIPIENTS
        && recipients.windows(2).all(|pair| pair[0] < pair[1])
        && recipients.iter().all(|text| is_recipient(text))
}

/// A version of a tenant's key, as it is sealed to a recipient: it says whose it is.
pub struct EscrowedKey {
    /// The vault.
    pub vault: VaultId,
    /// The tenant.
    pub tenant: TenantId,
    /// The version.
    pub version: u32,
    /// The key.
    pub key: Key,
}

impl EscrowedKey {
    /// What is sealed: `"SRE1" ‖ vault id (16) ‖ tenant id (16) ‖ version (u32) ‖ key (32)`.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(SEALED_LEN));
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(self.vault.as_bytes());
        bytes.extend_from_slice(self.tenant.as_bytes());
        bytes.extend_from_slice(&self.version.to_be_bytes());
        bytes.extend_from_slice(self.key.expose());
        bytes
    }

    /// Reads it; `None` if it is something else.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(MAGIC).filter(|_| bytes.len() == SEALED_LEN)?;
        let (vault, rest) = rest.split_first_chunk::<16>()?;
        let (tenant, rest) = rest.split_first_chunk::<16>()?;
        let (version, key) = rest.split_first_chunk::<4>()?;
        Some(Self {
            vault: VaultId::from_bytes(*vault),
            tenant: TenantId::from_bytes(*tenant),
            version: u32::from_be_bytes(*version),
            key: Key::try_from_slice(key)?,
        })
    }
}

/// What an export says before its objects, in `catalog.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportHead {
    /// [`FORMAT`].
    pub format: String,
    /// The origin of the tenant's ledger: vault and tenant.
    pub ledger: Origin,
    /// The tenant's name.
    pub name: TenantName,
    /// When it was made, by the server's clock.
    pub made: Millis,
    /// The versions of the tenant's key, each sealed to each recipient.
    pub keys: Vec<SealedVersion>,
    /// Objects in `objects.jsonl`.
    pub objects: u64,
    /// BLAKE3 of `objects.jsonl`.
    pub digest: Digest,
}

/// A version of the tenant's key, sealed to one recipient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealedVersion {
    /// The version.
    pub version: u32,
    /// The recipient.
    pub recipient: String,
    /// The age message, in base64 (RFC 4648 §4).
    pub message: String,
}

impl SealedVersion {
    /// One of these bytes.
    pub fn new(version: u32, recipient: String, message: &[u8]) -> Self {
        Self { version, recipient, message: BASE64.encode(message) }
    }

    /// The message's bytes; `None` if the text is none.
    pub fn bytes(&self) -> Option<Vec<u8>> {
        BASE64.decode(self.message.as_bytes()).ok()
    }
}

/// An object of an export: one line of `objects.jsonl`, exact JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportedObject {
    /// Its dataset.
    pub dataset: DatasetId,
    /// The dataset's name.
    pub dataset_name: DatasetName,
    /// Its path.
    pub path: ObjectPath,
    /// Which writing of the path.
    pub generation: Generation,
    /// Whether it is what its path stands for.
    pub visible: bool,
    /// The header; 48 hex digits.
    #[serde(with = "crate::call::header_text")]
    pub header: Header,
    /// Bytes of plaintext.
    pub size: u64,
    /// The content root.
    pub content_root: Digest,
    /// The version of the tenant's key that wraps its root.
    pub key_version: u32,
    /// The wrapped root, in base64.
    pub wrapped: String,
    /// The blob that it lies in.
    pub blob: String,
    /// Where in the blob it begins.
    pub offset: u64,
}

impl ExportedObject {
    /// A line, with its end.
    ///
    /// # Errors
    /// [`ExactError::Integer`] if a number is over 2⁵³−1.
    pub fn line(&self) -> Result<Vec<u8>, ExactError> {
        let mut line = exact::to_vec(self)?;
        line.push(b'\n');
        Ok(line)
    }

    /// Reads a line without its end.
    ///
    /// # Errors
    /// [`ExactError`] if it is not exactly an object's.
    pub fn from_line(line: &[u8]) -> Result<Self, ExactError> {
        exact::from_slice(line)
    }

    /// The row that its root was wrapped for.
    pub fn tuple(&self, tenant: TenantId) -> WrapTuple<'_> {
        WrapTuple {
            tenant,
            key_version: self.key_version,
            dataset: self.dataset,
            dataset_name: self.dataset_name.as_str(),
            path: self.path.as_str(),
            header: self.header,
            size: self.size,
            content_root: self.content_root,
        }
    }

    /// A wrapped root as it stands in a line.
    pub fn wrapped_text(wrapped: &Wrapped) -> String {
        BASE64.encode(wrapped.as_bytes())
    }

    /// The wrapped root; `None` if the text is none.
    pub fn wrapped_root(&self) -> Option<Wrapped> {
        let bytes = BASE64.decode(self.wrapped.as_bytes()).ok()?;
        Some(Wrapped::from_bytes(bytes.try_into().ok()?))
    }
}

/// The checksum over `objects.jsonl`, as it is written or read.
#[derive(Default)]
pub struct Checksum {
    hasher: blake3::Hasher,
    /// Lines so far.
    pub objects: u64,
}

impl Checksum {
    /// Takes in whole lines.
    pub fn update(&mut self, lines: &[u8]) {
        self.hasher.update(lines);
        self.objects += lines.iter().filter(|byte| **byte == b'\n').count() as u64;
    }

    /// What [`ExportHead::digest`] says.
    pub fn digest(&self) -> Digest {
        Digest::from_bytes(*self.hasher.finalize().as_bytes())
    }
}

/// The versions of which an export has keys.
pub fn versions(keys: &[SealedVersion]) -> BTreeSet<u32> {
    keys.iter().map(|key| key.version).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ObjectId;

    #[test]
    fn a_sealed_key_says_whose_it_is() {
        let key = EscrowedKey {
            vault: VaultId::from_bytes([1; 16]),
            tenant: TenantId::from_bytes([2; 16]),
            version: 7,
            key: Key::try_from_slice(&[3; 32]).unwrap(),
        };
        let bytes = key.encode();
        let read = EscrowedKey::decode(&bytes).unwrap();
        assert_eq!((read.vault, read.tenant, read.version), (key.vault, key.tenant, 7));
        assert_eq!(read.key.expose(), key.key.expose());
        for bad in [&bytes[..71], &[&bytes[..], &[0]].concat()[..], &[&b"SRE2"[..], &bytes[4..]].concat()[..], &[]] {
            assert!(EscrowedKey::decode(bad).is_none());
        }
    }

    #[test]
    fn a_line_is_exact_and_keeps_its_bounds() {
        let object = ExportedObject {
            dataset: DatasetId::from_bytes([1; 16]),
            dataset_name: "rlhf".parse().unwrap(),
            path: "math/\"1".parse().unwrap(),
            generation: Generation(3),
            visible: true,
            header: Header::new(ObjectId::from_bytes([4; 16])),
            size: 5,
            content_root: Digest::from_bytes([6; 32]),
            key_version: 1,
            wrapped: ExportedObject::wrapped_text(&Wrapped::from_bytes([7; 60])),
            blob: "blobs/x".into(),
            offset: 8,
        };
        let line = object.line().unwrap();
        let (end, body) = line.split_last().unwrap();
        assert_eq!((*end, ExportedObject::from_line(body).unwrap()), (b'\n', object.clone()));
        assert_eq!(object.wrapped_root().unwrap().as_bytes(), &[7; 60]);
        assert!(ExportedObject::from_line(&[b" ", body].concat()).is_err());
        // A path that would leave a folder is no path.
        let text = String::from_utf8(body.to_vec()).unwrap().replace("math/\\\"1", "../1");
        assert!(ExportedObject::from_line(text.as_bytes()).is_err());
        let long = ExportedObject { path: "\u{1f600}/".repeat(204).trim_end_matches('/').parse().unwrap(), ..object };
        assert!(long.line().unwrap().len() < MAX_LINE);
        let mut sum = Checksum::default();
        sum.update(&line);
        assert_eq!(sum.objects, 1);
    }

    #[test]
    fn recipients_have_a_form() {
        assert!(is_recipient("age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"));
        assert!(is_recipient("age1yubikey1qwerty"));
        for bad in ["", "age1", "AGE1QL3Z", "ssh-ed25519 AAAA", "age1 x2345", "age1ql\n234"] {
            assert!(!is_recipient(bad), "{bad:?}");
        }
        let one = |text: &str| text.to_owned();
        assert!(are_recipients(&[]) && are_recipients(&[one("age1aaaaaaa"), one("age1bbbbbbb")]));
        assert!(!are_recipients(&[one("age1bbbbbbb"), one("age1aaaaaaa")]));
        assert!(!are_recipients(&[one("age1aaaaaaa"), one("age1aaaaaaa")]));
    }
}
