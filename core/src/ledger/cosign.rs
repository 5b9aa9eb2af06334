//! Cosignatures: somebody else's word that a log is append-only, in C2SP's `tlog-cosignature` format (`cosignature/v1`, Ed25519).
//!
//! ```text
//! — watch.acme.example jWbPPwAAAABkGFDL…      key id ‖ time (Unix seconds, u64 BE) ‖ Ed25519 over:
//!
//! cosignature/v1
//! time 1679315147
//! <the checkpoint's three lines>
//! ```
//!
//! A witness signs a checkpoint only when it was proven to continue the last one that it signed. Who trusts a witness knows that
//! no two histories were signed by it: a vault would have to show the same log to the witness and to everybody who trusts it.

use std::fmt;
use std::str::FromStr;

use data_encoding::{BASE64, HEXLOWER};
use zeroize::Zeroizing;

use crate::ed25519::{SigningKey, VerifyingKey};
use crate::keys::secret::{Key, RandomError};
use crate::ledger::checkpoint::{CheckpointError, VerifierKeyError, is_name, key_id, key_text, parse_key_text, split};

/// The signature type of Ed25519 cosignatures.
const COSIGNATURE: u8 = 4;
/// What a private key's text begins with.
const PRIVATE: &str = "PRIVATE+KEY+";
/// The longest name of a witness, in bytes.
pub const MAX_NAME: usize = 255;
/// The longest text of a witness's public key, in bytes.
pub const MAX_KEY: usize = MAX_NAME + 64;

/// A witness's public key, with the name that it signs under: a *vkey*.
#[derive(Clone, PartialEq, Eq)]
pub struct WitnessKey {
    name: String,
    id: [u8; 4],
    key: VerifyingKey,
}

impl WitnessKey {
    /// The key of a witness of this name; `None` if that is no name.
    pub fn new(name: &str, key: VerifyingKey) -> Option<Self> {
        let id = key_id(name, COSIGNATURE, &key);
        (is_name(name) && name.len() <= MAX_NAME).then(|| Self { name: name.to_owned(), id, key })
    }

    /// The name that it signs under.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The id that its signatures carry, in hex.
    pub fn id(&self) -> String {
        HEXLOWER.encode(&self.id)
    }

    /// When this witness cosigned a note: Unix seconds, as it says; `None` if the note has no signature of it.
    ///
    /// # Errors
    /// [`CheckpointError`] if it is no note, or a signature of this witness does not hold.
    pub fn cosigned(&self, note: &[u8]) -> Result<Option<u64>, CheckpointError> {
        let (text, signatures) = split(note)?;
        let mut newest = None;
        for signature in signatures.iter().filter(|own| own.name == self.name && own.id == self.id) {
            let broken = || CheckpointError::Signature(self.to_string());
            let (time, signed) = signature.signature.split_first_chunk::<8>().ok_or_else(broken)?;
            let time = u64::from_be_bytes(*time);
            self.key.verify_raw(message(time, text).as_bytes(), signed).map_err(|_| broken())?;
            newest = newest.max(Some(time));
        }
        Ok(newest)
    }

    /// A note with the signatures of a log and of this witness alone: its text and `by`'s lines, then this witness's newest.
    ///
    /// # Errors
    /// As [`WitnessKey::cosigned`]; [`CheckpointError::Unsigned`] if this witness did not sign it.
    pub fn only(&self, note: &[u8], log: &str) -> Result<String, CheckpointError> {
        let newest = self.cosigned(note)?.ok_or_else(|| CheckpointError::Unsigned(self.to_string()))?;
        let (text, signatures) = split(note)?;
        let is_kept = |signature: &&crate::ledger::checkpoint::Signature<'_>| {
            signature.name == log
                || signature.name == self.name
                    && signature.id == self.id
                    && signature.signature.starts_with(&newest.to_be_bytes())
        };
        let mut only = format!("{text}\n");
        for signature in signatures.iter().filter(is_kept) {
            only.push_str(&signature.line());
        }
        Ok(only)
    }
}

impl fmt::Display for WitnessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&key_text(&self.name, COSIGNATURE, &self.key))
    }
}

impl fmt::Debug for WitnessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for WitnessKey {
    type Err = VerifierKeyError;

    fn from_str(text: &str) -> Result<Self, VerifierKeyError> {
        let bounded = Some(text).filter(|text| text.len() <= MAX_KEY);
        let (name, key) = bounded.and_then(|text| parse_key_text(text, COSIGNATURE)).ok_or(VerifierKeyError)?;
        Self::new(name, key).ok_or(VerifierKeyError)
    }
}

/// A witness's own key. Its text is that of Go's `note` package: `PRIVATE+KEY+<name>+<id>+<type and seed>`.
pub struct Witness {
    public: WitnessKey,
    key: SigningKey,
}

impl Witness {
    /// A new one of this name; `None` if that is no name.
    ///
    /// # Errors
    /// [`RandomError`] if the system gives no randomness.
    pub fn generate(name: &str) -> Result<Option<Self>, RandomError> {
        SigningKey::generate().map(|key| Self::of(name, key))
    }

    fn of(name: &str, key: SigningKey) -> Option<Self> {
        WitnessKey::new(name, key.public_key()).map(|public| Self { public, key })
    }

    /// Its public key.
    pub fn public(&self) -> &WitnessKey {
        &self.public
    }

    /// Its text, to be kept secret.
    pub fn to_text(&self) -> Zeroizing<String> {
        let secret = Zeroizing::new([&[COSIGNATURE], &self.key.seed().expose()[..]].concat());
        let encoded = Zeroizing::new(BASE64.encode(&secret));
        Zeroizing::new(format!("{PRIVATE}{}+{}+{}\n", self.public.name, self.public.id(), *encoded))
    }

    /// Reads what [`Witness::to_text`] wrote; `None` if it is something else.
    pub fn from_text(text: &str) -> Option<Self> {
        let rest = text.strip_prefix(PRIVATE)?.strip_suffix('\n')?;
        let (name, rest) = rest.split_once('+')?;
        let (id, secret) = rest.split_once('+')?;
        let secret = Zeroizing::new(BASE64.decode(secret.as_bytes()).ok()?);
        let key = SigningKey::from_seed(Key::try_from_slice(secret.strip_prefix(&[COSIGNATURE])?)?).ok()?;
        Self::of(name, key).filter(|witness| witness.public.id() == id)
    }

    /// The note with this witness's signature below those that it has, at this time (Unix seconds).
    ///
    /// That the checkpoint continues the last one is for the caller to know.
    ///
    /// # Errors
    /// [`CheckpointError::Form`] if it is no note.
    pub fn cosign(&self, note: &[u8], time: u64) -> Result<String, CheckpointError> {
        let (text, signatures) = split(note)?;
        let signature = self.key.sign_raw(message(time, text).as_bytes());
        let bytes = [&self.public.id[..], &time.to_be_bytes(), &signature].concat();
        let mut cosigned = format!("{text}\n");
        signatures.iter().for_each(|signature| cosigned.push_str(&signature.line()));
        cosigned.push_str(&format!("— {} {}\n", self.public.name, BASE64.encode(&bytes)));
        Ok(cosigned)
    }
}

fn message(time: u64, text: &str) -> String {
    format!("cosignature/v1\ntime {time}\n{text}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Digest, Index, TenantId, VaultId};
    use crate::ledger::checkpoint::{Checkpoint, VerifierKey};
    use crate::origin::Origin;

    fn log() -> SigningKey {
        SigningKey::from_seed(Key::from_bytes([1; 32])).unwrap()
    }

    fn note() -> String {
        let origin = Origin::new("vault.test", VaultId::from_bytes([1; 16]), TenantId::from_bytes([2; 16])).unwrap();
        Checkpoint { origin, size: Index(7), root: Digest::from_bytes([3; 32]) }.sign(&log())
    }

    fn witness(seed: u8) -> Witness {
        Witness::of("watch.example", SigningKey::from_seed(Key::from_bytes([seed; 32])).unwrap()).unwrap()
    }

    #[test]
    fn what_was_cosigned_says_when_and_nothing_else_does() {
        let one = witness(5);
        let cosigned = one.cosign(note().as_bytes(), 1_679_315_147).unwrap();
        assert_eq!(one.public().cosigned(cosigned.as_bytes()), Ok(Some(1_679_315_147)));
        assert_eq!(one.public().cosigned(note().as_bytes()), Ok(None));
        assert_eq!(witness(6).public().cosigned(cosigned.as_bytes()), Ok(None), "another key of the same name");
        // The log's own signature still holds.
        let origin = Checkpoint::peek(note().as_bytes()).unwrap().origin.to_string();
        let key = VerifierKey::new(&origin, log().public_key());
        assert!(Checkpoint::open(cosigned.as_bytes(), std::slice::from_ref(&key)).is_ok());
        for at in 0..cosigned.len() {
            let mut changed = cosigned.clone().into_bytes();
            changed[at] ^= 1;
            // What the log's signature says is not the witness's: all else is.
            let said = one.public().cosigned(&changed);
            let is_logs = at >= cosigned.find("\n\n").unwrap() && at < cosigned.rfind('—').unwrap();
            assert!(is_logs || !matches!(said, Ok(Some(_))), "byte {at}: {said:?}");
        }
    }

    #[test]
    fn a_note_is_cut_to_two_signers() {
        let (one, other) = (witness(5), witness(6));
        let twice = one.cosign(one.cosign(note().as_bytes(), 10).unwrap().as_bytes(), 20).unwrap();
        let all = other.cosign(twice.as_bytes(), 30).unwrap();
        let origin = Checkpoint::peek(note().as_bytes()).unwrap().origin.to_string();
        let only = one.public().only(all.as_bytes(), &origin).unwrap();
        assert_eq!(only, one.cosign(note().as_bytes(), 20).unwrap());
        assert!(matches!(witness(7).public().only(all.as_bytes(), &origin), Err(CheckpointError::Unsigned(_))));
    }

    #[test]
    fn keys_have_one_text_each() {
        let one = witness(5);
        assert_eq!(one.public().to_string().parse().as_ref(), Ok(one.public()));
        assert_eq!(Witness::from_text(&one.to_text()).unwrap().public(), one.public());
        assert!(one.to_text().replacen("watch", "match", 1).parse::<WitnessKey>().is_err());
        assert!(
            Witness::from_text(&one.to_text().replacen("watch", "match", 1)).is_none(),
            "the id is of the name too"
        );
        // A log's key is none of a witness, and the other way round.
        assert!(VerifierKey::new("watch.example", log().public_key()).to_string().parse::<WitnessKey>().is_err());
        assert!(one.public().to_string().parse::<VerifierKey>().is_err());
        assert!(Witness::generate("no names").unwrap().is_none());
        assert!(Witness::generate(&"n".repeat(256)).unwrap().is_none());
    }
}
