//! What stands at the head of a ledger: all that the next entry must fit to.

use serde::{Deserialize, Serialize};

use crate::ids::{Digest, Index, Millis};
use crate::ledger::tree::CompactRange;

/// The head of a ledger. It is kept with the MAC of [`crate::ledger::LedgerKey::head`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Head {
    /// The tree so far: how many entries, and their root.
    pub range: CompactRange,
    /// The chain over the authority log: [`chain`] over all its entries; zeros before the first.
    pub authority_tip: [u8; 32],
    /// The time of the newest entry.
    pub time: Millis,
    /// [`crate::grant::Authority::epoch`].
    pub epoch: u64,
    /// How many entries hid objects: what was loaded under the same number has not been hidden since.
    pub hides: u64,
}

impl Head {
    /// How many entries the ledger has; also the index of the next one.
    pub fn size(&self) -> Index {
        Index(self.range.size())
    }

    /// The RFC 6962 root over the public bytes of all entries.
    pub fn tip(&self) -> Digest {
        self.range.root()
    }

    /// All of it in one byte string: integers u64 BE, then the digests.
    pub fn canonical_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(64 + 32 * (1 + self.range.roots().len()));
        for number in [self.range.size(), self.time.0, self.epoch, self.hides] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        bytes.extend_from_slice(&self.authority_tip);
        self.range.roots().iter().for_each(|root| bytes.extend_from_slice(root.as_bytes()));
        bytes
    }

    /// Reads what [`Head::canonical_bytes`] wrote; `None` if it is something else.
    pub fn from_canonical_bytes(bytes: &[u8]) -> Option<Self> {
        let (numbers, rest) = bytes.split_at_checked(32)?;
        let number = |at: usize| numbers[at * 8..at * 8 + 8].try_into().map(u64::from_be_bytes).ok();
        let (authority_tip, roots) = rest.split_first_chunk::<32>()?;
        let (roots, tail) = roots.as_chunks::<32>();
        let range = CompactRange::from_roots(number(0)?, roots.iter().map(|root| Digest::from_bytes(*root)).collect())?;
        tail.is_empty().then_some(Self {
            range,
            authority_tip: *authority_tip,
            time: Millis(number(1)?),
            epoch: number(2)?,
            hides: number(3)?,
        })
    }
}

/// The authority log's chain: SHA-256(chain so far ‖ public bytes of the next authority entry).
pub fn chain(tip: &[u8; 32], public: &[u8]) -> [u8; 32] {
    crate::identity::sha256(&[&tip[..], public].concat())
}

/// What an answer tells a client to remember of a ledger, and what the client shows when it opens a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    /// How many entries the ledger had.
    pub size: Index,
    /// The root over them.
    pub tip: Digest,
    /// The vault's mark under both.
    pub mac: Digest,
}
