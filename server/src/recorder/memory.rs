//! What this node remembers of each ledger, outside the database: how far it had come when something was last released.
//!
//! A database that is put back to an older copy is consistent in itself. So before anything is released, the ledger's size and
//! root are written to a file of the node's own folder, under the ledger key's mark. No fsync: the memory survives a process that
//! dies, which is when a database gets exchanged; after a power cut it may be older than the ledger, never newer.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use strongroom_core::ids::{Digest, Index, TenantId};
use strongroom_core::ledger::{LedgerKey, Seen};

/// Size (u64 BE), root, mark.
const LEN: usize = 8 + 32 + 32;

/// A folder with one file a tenant.
pub struct NodeMemory {
    folder: PathBuf,
    open: Mutex<HashMap<TenantId, File>>,
}

impl NodeMemory {
    /// The memory in this folder, which is made if it is not there.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn open(folder: PathBuf) -> io::Result<Self> {
        std::fs::create_dir_all(&folder)?;
        Ok(Self { folder, open: Mutex::default() })
    }

    /// What is remembered of a ledger. A file that does not carry the ledger key's mark (cut short by a power failure, say) is
    /// no memory.
    pub(super) fn recall(&self, tenant: &TenantId, key: &LedgerKey) -> io::Result<Option<Seen>> {
        let bytes = match std::fs::read(self.path(tenant)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let seen = <[u8; LEN]>::try_from(bytes).ok().and_then(|bytes| read(&bytes));
        let seen = seen.filter(|seen| key.check_seen(tenant, seen));
        if seen.is_none() {
            tracing::warn!(%tenant, "what this node remembered of a ledger is not readable, and ignored");
        }
        Ok(seen)
    }

    /// Whether anything is remembered of a ledger, readable or not.
    pub(super) fn knows(&self, tenant: &TenantId) -> bool {
        self.path(tenant).exists()
    }

    /// Remembers how far a ledger has come.
    pub(super) fn remember(&self, tenant: &TenantId, seen: &Seen) -> io::Result<()> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let file = match open.entry(*tenant) {
            std::collections::hash_map::Entry::Occupied(file) => file.into_mut(),
            std::collections::hash_map::Entry::Vacant(vacant) => {
                let file = OpenOptions::new().write(true).create(true).truncate(false).open(self.path(tenant))?;
                vacant.insert(file)
            }
        };
        let mut bytes = [0; LEN];
        bytes[..8].copy_from_slice(&seen.size.0.to_be_bytes());
        bytes[8..40].copy_from_slice(seen.tip.as_bytes());
        bytes[40..].copy_from_slice(seen.mac.as_bytes());
        file.write_all_at(&bytes, 0)
    }

    fn path(&self, tenant: &TenantId) -> PathBuf {
        self.folder.join(tenant.to_string())
    }
}

fn read(bytes: &[u8; LEN]) -> Option<Seen> {
    let (size, rest) = bytes.split_first_chunk::<8>()?;
    let (tip, mac) = rest.split_first_chunk::<32>()?;
    let mac = Digest::try_from(mac).ok()?;
    Some(Seen { size: Index(u64::from_be_bytes(*size)), tip: Digest::from_bytes(*tip), mac })
}

#[cfg(test)]
mod tests {
    use strongroom_core::keys::secret::Key;

    use super::*;

    #[test]
    fn only_what_was_marked_is_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let memory = NodeMemory::open(folder.path().join("memory")).unwrap();
        let (tenant, key) = (TenantId::from_bytes([1; 16]), LedgerKey::new(&Key::from_bytes([2; 32])));
        assert!(memory.recall(&tenant, &key).unwrap().is_none());
        for size in [5, 6] {
            let seen = key.seen(&tenant, Index(size), Digest::from_bytes([size as u8; 32]));
            memory.remember(&tenant, &seen).unwrap();
            assert_eq!(memory.recall(&tenant, &key).unwrap(), Some(seen));
        }
        assert!(memory.recall(&tenant, &LedgerKey::new(&Key::from_bytes([3; 32]))).unwrap().is_none());
        std::fs::write(memory.path(&tenant), [0; 10]).unwrap();
        assert!(memory.recall(&tenant, &key).unwrap().is_none());
    }
}
