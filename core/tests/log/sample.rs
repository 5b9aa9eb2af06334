//! Logs made as the server makes them, in memory.

use std::collections::BTreeMap;
use std::convert::Infallible;

use strongroom_core::ed25519::SigningKey;
use strongroom_core::ids::{Digest, Index, TenantId, VaultId};
use strongroom_core::keys::secret::Key;
use strongroom_core::ledger::batch;
use strongroom_core::ledger::checkpoint::{Checkpoint, VerifierKey};
use strongroom_core::ledger::tile::{Growing, Kind, Tile, WIDTH};
use strongroom_core::ledger::verify::{CHECKPOINT, LOG_KEYS, LogFiles};
use strongroom_core::origin::Origin;

pub(crate) fn origin() -> Origin {
    Origin::new("vault.test", VaultId::from_bytes([1; 16]), TenantId::from_bytes([2; 16])).unwrap()
}

pub(crate) fn key() -> SigningKey {
    SigningKey::from_seed(Key::from_bytes([0x55; 32])).unwrap()
}

pub(crate) fn verifier() -> VerifierKey {
    VerifierKey::new(&origin().to_string(), key().public_key())
}

pub(crate) fn entry(index: u64) -> Vec<u8> {
    format!("entry {index}").into_bytes()
}

pub(crate) fn private(index: u64) -> Vec<u8> {
    if index.is_multiple_of(7) { Vec::new() } else { format!("private {index}").into_bytes() }
}

/// The files of a log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Files(pub(crate) BTreeMap<String, Vec<u8>>);

impl Files {
    /// A log of `size` entries that say nothing.
    pub(crate) fn of_size(size: u64) -> Self {
        Self::of(&origin(), (0..size).map(|index| (entry(index), private(index))))
    }

    pub(crate) fn of(origin: &Origin, entries: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>) -> Self {
        let mut growing = Growing::default();
        let mut tiles = Vec::new();
        let mut privates: Vec<Vec<u8>> = Vec::new();
        for (public, private) in entries {
            if growing.size() % WIDTH == 0 {
                privates.push(Vec::new());
            }
            growing.push(&public, &mut tiles).unwrap();
            batch::push(privates.last_mut().unwrap(), &private);
        }
        tiles.extend(growing.partials());
        let private = |(number, bytes)| (Tile::of(Kind::Private, number, growing.size()).unwrap(), bytes);
        tiles.extend((0..).zip(privates).map(private));
        let mut files = Self(tiles.into_iter().map(|(tile, bytes)| (tile.to_string(), bytes)).collect());
        files.sign(origin, growing.size(), growing.root());
        files
    }

    /// Puts a checkpoint and the key beside the tiles.
    pub(crate) fn sign(&mut self, origin: &Origin, size: u64, root: Digest) {
        let note = Checkpoint { origin: origin.clone(), size: Index(size), root }.sign(&key());
        self.0.insert(CHECKPOINT.into(), note.into_bytes());
        let verifier = VerifierKey::new(&origin.to_string(), key().public_key());
        self.0.insert(LOG_KEYS.into(), format!("{verifier}\n").into_bytes());
    }
}

impl LogFiles for Files {
    type Error = Infallible;

    fn read(&mut self, path: &str, most: u64) -> Result<Option<Vec<u8>>, Infallible> {
        Ok(self.0.get(path).map(|bytes| bytes[..bytes.len().min(most as usize)].to_vec()))
    }

    fn list(&mut self) -> Result<Vec<String>, Infallible> {
        Ok(self.0.keys().cloned().collect())
    }
}
