//! Checkpoints: the size and root of a log, signed, in C2SP's `tlog-checkpoint` and `signed-note` formats.
//!
//! ```text
//! strongroom/<vault id>/<tenant id>                  the origin, also the name of the key
//! 20852163                                           the size
//! CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=       the root
//!
//! — strongroom/<vault id>/<tenant id> Az3grlgt…      a signature: key id ‖ Ed25519 over the three lines
//! ```
//!
//! A [`VerifierKey`] is what others verify it with: `<name>+<key id>+<key>`. Signatures by keys that are not known (of witnesses,
//! say) are passed over, as the format wants it; one by a known key that does not hold refuses the whole note.

use std::fmt;
use std::str::FromStr;

use data_encoding::{BASE64, HEXLOWER};

use crate::ed25519::{SigningKey, VerifyingKey};
use crate::identity::sha256;
use crate::ids::{Digest, Index};
use crate::origin::Origin;

/// The longest note that is read: one with the signatures of many witnesses.
pub const MAX_NOTE: usize = 64 * 1024;
/// The most signatures that are looked at.
const MAX_SIGNATURES: usize = 64;
/// The signature type of Ed25519 notes.
const ED25519: u8 = 1;

/// What a log has come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log.
    pub origin: Origin,
    /// How many entries.
    pub size: Index,
    /// The RFC 6962 root over them.
    pub root: Digest,
}

/// Why bytes are not a checkpoint that is to be believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// No signed note, or none that says what a checkpoint says.
    #[error("it is not a signed checkpoint: {0}")]
    Form(&'static str),
    /// Nobody who is known signed it.
    #[error("it is not signed by {0}")]
    Unsigned(String),
    /// A signature by a known key that is not over this text.
    #[error("the signature by {0} does not hold")]
    Signature(String),
}

impl Checkpoint {
    /// What is signed: three lines.
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, BASE64.encode(self.root.as_bytes()))
    }

    /// The signed note, by the log's key.
    pub fn sign(&self, key: &SigningKey) -> String {
        let text = self.text();
        let verifier = VerifierKey::new(&self.origin.to_string(), key.public_key());
        let signature = [&verifier.id[..], &key.sign_raw(text.as_bytes())].concat();
        format!("{text}\n— {} {}\n", verifier.name, BASE64.encode(&signature))
    }

    /// Reads a note that one of these keys signed. Which one did comes with it.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn open<'k>(note: &[u8], keys: &'k [VerifierKey]) -> Result<(Self, &'k VerifierKey), CheckpointError> {
        let (text, signatures) = split(note)?;
        let mut by = None;
        for Signature { name, id, signature } in signatures {
            let Some(key) = keys.iter().find(|key| key.name == name && key.id == id) else { continue };
            let holds = key.key.verify_raw(text.as_bytes(), &signature);
            holds.map_err(|_| CheckpointError::Signature(key.to_string()))?;
            by.get_or_insert(key);
        }
        let known = || keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
        let by = by.ok_or_else(|| CheckpointError::Unsigned(known()))?;
        Ok((Self::parse(text)?, by))
    }

    /// What an unverified note says.
    ///
    /// # Errors
    /// [`CheckpointError::Form`].
    pub fn peek(note: &[u8]) -> Result<Self, CheckpointError> {
        Self::parse(split(note)?.0)
    }

    fn parse(text: &str) -> Result<Self, CheckpointError> {
        let parse = || {
            let mut lines = text.split('\n');
            let mut next = || lines.next();
            let (origin, size, root) = (next()?, next()?, next()?);
            let root = BASE64.decode(root.as_bytes()).ok()?;
            let root = Digest::try_from(&root[..]).ok()?;
            Some(Self { origin: origin.parse().ok()?, size: Index(size.parse().ok()?), root })
        };
        // One spelling alone; lines after the third are not ours.
        let form = CheckpointError::Form("its text is not origin, size and root");
        parse().filter(|checkpoint| checkpoint.text() == text).ok_or(form)
    }
}

/// A line under a note's text.
pub(super) struct Signature<'n> {
    pub(super) name: &'n str,
    pub(super) id: [u8; 4],
    pub(super) signature: Vec<u8>,
}

impl Signature<'_> {
    /// The line, with its end.
    pub(super) fn line(&self) -> String {
        format!("— {} {}\n", self.name, BASE64.encode(&[&self.id[..], &self.signature].concat()))
    }
}

/// A note's text, with its last newline, and its signatures.
pub(super) fn split(note: &[u8]) -> Result<(&str, Vec<Signature<'_>>), CheckpointError> {
    let form = CheckpointError::Form;
    if note.len() > MAX_NOTE {
        return Err(form("it is too long"));
    }
    let note = std::str::from_utf8(note).map_err(|_| form("it is not UTF-8"))?;
    if note.bytes().any(|byte| byte < 0x20 && byte != b'\n') {
        return Err(form("it has control characters"));
    }
    let at = note.rfind("\n\n").ok_or(form("it has no signatures"))?;
    let (text, lines) = (&note[..=at], &note[at + 2..]);
    let lines = lines.strip_suffix('\n').ok_or(form("its last line has no end"))?;
    let mut signatures = Vec::new();
    for line in lines.split('\n') {
        let parse = || {
            let (name, encoded) = line.strip_prefix("— ")?.split_once(' ')?;
            let bytes = BASE64.decode(encoded.as_bytes()).ok()?;
            let (id, signature) = bytes.split_first_chunk::<4>()?;
            (!name.is_empty() && !signature.is_empty()).then(|| Signature {
                name,
                id: *id,
                signature: signature.into(),
            })
        };
        signatures.push(parse().ok_or(form("a line under its text is no signature"))?);
        if signatures.len() > MAX_SIGNATURES {
            return Err(form("it has too many signatures"));
        }
    }
    Ok((text, signatures))
}

/// The first bytes of SHA-256(name ‖ newline ‖ type of signature ‖ key): what its signatures are found by.
pub(super) fn key_id(name: &str, algorithm: u8, key: &VerifyingKey) -> [u8; 4] {
    let hash = sha256(&[name.as_bytes(), b"\n", &[algorithm], key.as_bytes()].concat());
    let mut id = [0; 4];
    id.copy_from_slice(&hash[..4]);
    id
}

/// A public key as text, as Go's `note` package writes it: `<name>+<id>+<type and key>`.
pub(super) fn key_text(name: &str, algorithm: u8, key: &VerifyingKey) -> String {
    let encoded = BASE64.encode(&[&[algorithm], &key.as_bytes()[..]].concat());
    format!("{name}+{}+{encoded}", HEXLOWER.encode(&key_id(name, algorithm, key)))
}

/// The name and the key in such a text, if it is exactly what [`key_text`] writes of them.
pub(super) fn parse_key_text(text: &str, algorithm: u8) -> Option<(&str, VerifyingKey)> {
    let (name, rest) = text.split_once('+')?;
    let (_, key) = rest.split_once('+')?;
    let key = BASE64.decode(key.as_bytes()).ok()?;
    let key = VerifyingKey::from_bytes(key.strip_prefix(&[algorithm])?.try_into().ok()?);
    (key_text(name, algorithm, &key) == text).then_some((name, key))
}

/// Whether a key may sign under this name.
pub(super) fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '+')
}

/// A log's public key, with the name that it signs under: a *vkey*.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    id: [u8; 4],
    key: VerifyingKey,
}

/// A text that is not a verifier key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no such public key: it is NAME+HEX+BASE64, Ed25519; a log's key is no witness's")]
pub struct VerifierKeyError;

impl VerifierKey {
    /// The key of a log with this name: its origin.
    pub fn new(name: &str, key: VerifyingKey) -> Self {
        Self { name: name.to_owned(), id: key_id(name, ED25519, &key), key }
    }

    /// The name that it signs under.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key itself.
    pub fn key(&self) -> &VerifyingKey {
        &self.key
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&key_text(&self.name, ED25519, &self.key))
    }
}

impl fmt::Debug for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for VerifierKey {
    type Err = VerifierKeyError;

    fn from_str(text: &str) -> Result<Self, VerifierKeyError> {
        let (name, key) = parse_key_text(text, ED25519).filter(|(name, _)| is_name(name)).ok_or(VerifierKeyError)?;
        Ok(Self::new(name, key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{TenantId, VaultId};
    use crate::keys::secret::Key;

    fn checkpoint() -> Checkpoint {
        let origin = Origin::new("vault.test", VaultId::from_bytes([1; 16]), TenantId::from_bytes([2; 16])).unwrap();
        Checkpoint { origin, size: Index(7), root: Digest::from_bytes([3; 32]) }
    }

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(Key::from_bytes([seed; 32])).unwrap()
    }

    fn verifier(seed: u8) -> VerifierKey {
        VerifierKey::new(&checkpoint().origin.to_string(), key(seed).public_key())
    }

    /// The example of C2SP's signed-note.
    #[test]
    fn the_note_of_the_specification_verifies() {
        let key: VerifierKey = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k".parse().unwrap();
        let note = "This is an example message.\n\n— example.com/foo \
                    Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";
        // It holds, and is no checkpoint.
        let form = CheckpointError::Form("its text is not origin, size and root");
        assert_eq!(Checkpoint::open(note.as_bytes(), std::slice::from_ref(&key)), Err(form));
        let changed = note.replace("example message", "other message!!");
        let broken = CheckpointError::Signature(key.to_string());
        assert_eq!(Checkpoint::open(changed.as_bytes(), &[key]), Err(broken));
    }

    #[test]
    fn what_was_signed_opens_and_nothing_else() {
        let note = checkpoint().sign(&key(1));
        let keys = [verifier(2), verifier(1)];
        assert_eq!(Checkpoint::open(note.as_bytes(), &keys), Ok((checkpoint(), &keys[1])));
        assert_eq!(Checkpoint::peek(note.as_bytes()), Ok(checkpoint()));
        let unsigned = CheckpointError::Unsigned(verifier(2).to_string());
        assert_eq!(Checkpoint::open(note.as_bytes(), &keys[..1]), Err(unsigned));
        for at in 0..note.len() {
            for bit in [0x01, 0x10] {
                let mut changed = note.clone().into_bytes();
                changed[at] ^= bit;
                assert!(Checkpoint::open(&changed, &keys).is_err(), "byte {at}");
            }
            assert!(Checkpoint::open(&note.as_bytes()[..at], &keys).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn signatures_of_others_are_passed_over() {
        let mut note = checkpoint().sign(&key(1));
        note.push_str("— witness.example/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dl\n");
        let keys = [verifier(1)];
        assert_eq!(Checkpoint::open(note.as_bytes(), &keys), Ok((checkpoint(), &keys[0])));
        // One that says it is ours must hold.
        let mut other = checkpoint();
        other.size = Index(8);
        let line = other.sign(&key(1));
        note.push_str(line.split_once("\n\n").unwrap().1);
        assert!(matches!(Checkpoint::open(note.as_bytes(), &keys), Err(CheckpointError::Signature(_))));
    }

    #[test]
    fn one_spelling_alone() {
        let note = checkpoint().sign(&key(1));
        for (from, to) in [("\n7\n", "\n07\n"), ("\n7\n", "\n+7\n"), ("\n\n", "\nmore\n\n")] {
            assert!(Checkpoint::peek(note.replacen(from, to, 1).as_bytes()).is_err(), "{to:?}");
        }
        let text = verifier(1).to_string();
        assert_eq!(text.parse(), Ok(verifier(1)));
        assert!(text.to_uppercase().parse::<VerifierKey>().is_err());
        assert!(text.replacen("vault", "fault", 1).parse::<VerifierKey>().is_err(), "the id is of the name too");
    }
}
