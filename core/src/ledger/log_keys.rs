//! The keys that sign a log's checkpoints, one after the other: the first, which others pin, and each that came in its place.
//!
//! ```text
//! vault.test/…/…+53ee1a0c+AY…              the first, as whoever created the tenant was told
//! after 1234 vault.test/…/…+9b1c…+AZ… MEUC…   entry 1234 put this one in its place, signed by the one before
//! ```
//!
//! A change is an entry of the ledger, which holds the old key's signature of the new one. So who has the first key needs no other
//! word: the chain leads to the key that signs, and the ledger says from which size on. A checkpoint of more than 1234 entries is
//! signed by the new key, and one of no more by the old; whatever else a key signs is refused.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};

use crate::ed25519::{SigningKey, VerifyingKey};
use crate::identity::{BadSignature, Purpose, Signature};
use crate::ids::Index;
use crate::ledger::checkpoint::{Checkpoint, CheckpointError, VerifierKey};
use crate::origin::Origin;

/// The most keys that one log ever has.
pub const MAX_LOG_KEYS: usize = 256;

/// One key in another's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogKeyChange {
    /// The key that signed until then.
    pub from: VerifyingKey,
    /// The key that signs from then on.
    pub to: VerifyingKey,
    /// The old key's signature of the new one, for this ledger.
    pub signature: Signature,
}

impl LogKeyChange {
    /// Puts `to` in the place of `from`.
    pub fn sign(origin: &Origin, from: &SigningKey, to: VerifyingKey) -> Self {
        let signature = Signature(from.sign(Purpose::LogKey, &statement(origin, &to)));
        Self { from: from.public_key(), to, signature }
    }

    /// Checks that the old key signed the new one.
    ///
    /// # Errors
    /// [`BadSignature`].
    pub fn verify(&self, origin: &Origin) -> Result<(), BadSignature> {
        self.from.verify(Purpose::LogKey, &statement(origin, &self.to), &self.signature.0)
    }
}

fn statement(origin: &Origin, to: &VerifyingKey) -> Vec<u8> {
    [origin.to_string().as_bytes(), b"\n", to.as_bytes()].concat()
}

/// Why keys are not those of one log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LogKeysError {
    /// A text that is none of keys; the line, from 1.
    #[error("line {0}: not a log's public key")]
    Line(usize),
    /// A key that is not signed by the one before it, or put in its place before that was.
    #[error("the key {0} is not signed by the one before it, after it")]
    Chain(usize),
    /// More than any log has.
    #[error("there are more than {MAX_LOG_KEYS} keys")]
    Many,
}

/// All keys of a log so far. Its text form is that of an export's `log-keys`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogKeys {
    origin: Origin,
    first: VerifyingKey,
    later: Vec<(Index, LogKeyChange)>,
}

impl LogKeys {
    /// Of a log whose key was never changed.
    pub fn new(origin: Origin, first: VerifyingKey) -> Self {
        Self { origin, first, later: Vec::new() }
    }

    /// With a change that entry `index` made.
    ///
    /// # Errors
    /// [`LogKeysError`] if it does not follow what there is.
    pub fn push(&mut self, index: Index, change: LogKeyChange) -> Result<(), LogKeysError> {
        let after = self.later.last().map(|(index, _)| *index);
        let follows = change.from == *self.last() && after.is_none_or(|after| index > after);
        if !follows || change.verify(&self.origin).is_err() {
            return Err(LogKeysError::Chain(self.later.len() + 2));
        }
        if self.later.len() + 2 > MAX_LOG_KEYS {
            return Err(LogKeysError::Many);
        }
        self.later.push((index, change));
        Ok(())
    }

    /// Of which log.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The changes, each with its entry.
    pub fn later(&self) -> &[(Index, LogKeyChange)] {
        &self.later
    }

    /// All keys, oldest first, each with the entry that put it in its place; none for the first.
    pub fn all(&self) -> impl Iterator<Item = (Option<Index>, VerifierKey)> {
        let later = self.later.iter().map(|(index, change)| (Some(*index), self.named(&change.to)));
        std::iter::once((None, self.named(&self.first))).chain(later)
    }

    /// The key that signs now.
    pub fn newest(&self) -> VerifierKey {
        self.named(self.last())
    }

    /// The key that signs checkpoints of so many entries.
    pub fn signer(&self, size: Index) -> VerifierKey {
        let later = self.later.iter().rev().find(|(index, _)| *index < size);
        self.named(later.map_or(&self.first, |(_, change)| &change.to))
    }

    /// Whether this is one of them.
    pub fn contains(&self, key: &VerifierKey) -> bool {
        self.all().any(|(_, own)| own == *key)
    }

    /// Reads a note that the key for its size signed.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn open(&self, note: &[u8]) -> Result<(Checkpoint, VerifierKey), CheckpointError> {
        let key = self.signer(Checkpoint::peek(note)?.size);
        let (checkpoint, _) = Checkpoint::open(note, std::slice::from_ref(&key))?;
        if checkpoint.origin != self.origin {
            return Err(CheckpointError::Form("it is of another log than its key"));
        }
        Ok((checkpoint, key))
    }

    /// The lines of its text.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        let later = self.later.iter().map(|(index, change)| {
            format!("after {index} {} {}", self.named(&change.to), BASE64.encode(&change.signature.0))
        });
        std::iter::once(self.named(&self.first).to_string()).chain(later)
    }

    /// Reads the lines of a text.
    ///
    /// # Errors
    /// [`LogKeysError`].
    pub fn from_lines<'l>(lines: impl IntoIterator<Item = &'l str>) -> Result<Self, LogKeysError> {
        let mut lines = (1..).zip(lines);
        let first = lines.next().and_then(|(_, line)| line.parse::<VerifierKey>().ok());
        let first = first.ok_or(LogKeysError::Line(1))?;
        let origin: Origin = first.name().parse().map_err(|_| LogKeysError::Line(1))?;
        let mut keys = Self::new(origin, *first.key());
        for (at, line) in lines {
            let parse = || {
                let mut words = line.split(' ');
                let mut next = || words.next();
                let (after, index, key, signature) = (next()?, next()?, next()?, next()?);
                let key: VerifierKey = key.parse().ok()?;
                let signature = BASE64.decode(signature.as_bytes()).ok()?.try_into().ok()?;
                let change = LogKeyChange { from: *keys.last(), to: *key.key(), signature: Signature(signature) };
                (after == "after").then_some((Index(index.parse().ok()?), change))
            };
            let (index, change) = parse().ok_or(LogKeysError::Line(at))?;
            keys.push(index, change)?;
            // One spelling alone.
            if keys.lines().last().as_deref() != Some(line) {
                return Err(LogKeysError::Line(at));
            }
        }
        Ok(keys)
    }

    fn last(&self) -> &VerifyingKey {
        self.later.last().map_or(&self.first, |(_, change)| &change.to)
    }

    fn named(&self, key: &VerifyingKey) -> VerifierKey {
        VerifierKey::new(&self.origin.to_string(), *key)
    }
}

impl fmt::Display for LogKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines().try_for_each(|line| writeln!(f, "{line}"))
    }
}

impl FromStr for LogKeys {
    type Err = LogKeysError;

    fn from_str(text: &str) -> Result<Self, LogKeysError> {
        Self::from_lines(text.strip_suffix('\n').unwrap_or(text).split('\n'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Digest, TenantId, VaultId};
    use crate::keys::secret::Key;

    fn origin() -> Origin {
        Origin::new("vault.test", VaultId::from_bytes([1; 16]), TenantId::from_bytes([2; 16])).unwrap()
    }

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(Key::from_bytes([seed; 32])).unwrap()
    }

    fn keys() -> LogKeys {
        let mut keys = LogKeys::new(origin(), key(1).public_key());
        keys.push(Index(10), LogKeyChange::sign(&origin(), &key(1), key(2).public_key())).unwrap();
        keys.push(Index(20), LogKeyChange::sign(&origin(), &key(2), key(3).public_key())).unwrap();
        keys
    }

    #[test]
    fn each_size_has_one_signer() {
        let note = |size, seed| {
            Checkpoint { origin: origin(), size: Index(size), root: Digest::from_bytes([3; 32]) }.sign(&key(seed))
        };
        for (size, signer) in [(0, 1), (10, 1), (11, 2), (20, 2), (21, 3), (1000, 3)] {
            for seed in 1..4 {
                let opened = keys().open(note(size, seed).as_bytes());
                assert_eq!(opened.is_ok(), seed == signer, "{size} by {seed}");
            }
        }
    }

    #[test]
    fn a_chain_is_signed_link_by_link() {
        let mut own = keys();
        let stranger = LogKeyChange::sign(&origin(), &key(1), key(9).public_key());
        assert_eq!(own.push(Index(30), stranger), Err(LogKeysError::Chain(4)), "by a key that was replaced");
        let forged = LogKeyChange { from: key(3).public_key(), ..stranger };
        assert_eq!(own.push(Index(30), forged), Err(LogKeysError::Chain(4)), "in another's name");
        let elsewhere = Origin::new("fault.test", VaultId::from_bytes([1; 16]), TenantId::from_bytes([2; 16])).unwrap();
        let other = LogKeyChange::sign(&elsewhere, &key(3), key(4).public_key());
        assert_eq!(own.push(Index(30), other), Err(LogKeysError::Chain(4)), "for another ledger");
        let right = LogKeyChange::sign(&origin(), &key(3), key(4).public_key());
        assert_eq!(own.push(Index(20), right), Err(LogKeysError::Chain(4)), "not after the one before");
        assert_eq!(own.push(Index(30), right), Ok(()));
    }

    #[test]
    fn they_have_one_text() {
        let text = keys().to_string();
        assert_eq!(text.parse(), Ok(keys()));
        assert_eq!(text.lines().count(), 3);
        let first = text.lines().next().unwrap();
        assert_eq!(first.parse(), Ok(LogKeys::new(origin(), key(1).public_key())), "one key alone is a chain");
        for (from, to) in [
            ("after 10 ", "after 010 "),
            ("after 10 ", "after 30 "),
            ("after 10 ", "before 10 "),
            ("\nafter 20", "\n\nafter 20"),
        ] {
            assert!(text.replacen(from, to, 1).parse::<LogKeys>().is_err(), "{to:?}");
        }
        let lines: Vec<&str> = text.lines().collect();
        assert!(LogKeys::from_lines([lines[0], lines[2]]).is_err(), "a link is missing");
        assert!(LogKeys::from_lines([]).is_err());
    }
}
