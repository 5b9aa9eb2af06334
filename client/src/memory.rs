//! What a caller remembers of ledgers: which ledger stands behind a tenant's name, and how far it had come.
//!
//! The vault could put an older database in place of the newest, or another ledger behind a known name. A caller that
//! remembers notices: it shows what it has seen when it opens a session, and refuses a name whose ledger is another one.
//!
//! Answers come by the thousand, so writing them down is coalesced: one write at a time, whatever came meanwhile goes in with
//! the next, and the last one is written when the memory is dropped or flushed.
//!
//! Invariants:
//! - What is remembered never goes backwards, in memory or on disk, whatever the order of answers.
//! - Processes share the file: it is read, merged and replaced under a lock beside it. The first origin of a name stays.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use strongroom_core::identity::Fingerprint;
use strongroom_core::ledger::Seen;
use strongroom_core::ledger::log_keys::LogKeys;
use strongroom_core::names::TenantName;
use strongroom_core::origin::Origin;
use strongroom_core::reason::Reason;

use crate::error::{Error, Result};
use crate::home::{create_private_folder, read_within, temporary};

/// The least time between two writes of one process.
const PAUSE: Duration = Duration::from_millis(200);
/// A longer file is not ours: some ten thousand tenants.
const MAX_FILE: u64 = 16 * 1024 * 1024;

/// What is remembered of the ledgers behind one vault key.
pub(crate) struct Memory {
    server_key: Mutex<Fingerprint>,
    file: Option<PathBuf>,
    state: Mutex<State>,
    /// Held while the file is written, so that a flush waits for the write before it.
    writer: Mutex<()>,
}

#[derive(Default)]
struct State {
    ledgers: BTreeMap<TenantName, Known>,
    dirty: bool,
    writing: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    origin: Origin,
    seen: Option<Seen>,
    /// The newest of its log keys.
    log_key: Option<String>,
}

/// The file: all that is known, of all vaults that this home has met.
#[derive(Default, Serialize, Deserialize)]
struct File {
    ledgers: Vec<Line>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Line {
    server_key: Fingerprint,
    tenant: TenantName,
    origin: Origin,
    seen: Option<Seen>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    log_key: Option<String>,
}

impl Memory {
    /// A memory that ends with the process.
    pub(crate) fn of_process(server_key: Fingerprint) -> Self {
        Self { server_key: Mutex::new(server_key), file: None, state: Mutex::default(), writer: Mutex::default() }
    }

    /// The memory in this file, which need not exist yet.
    pub(crate) fn in_file(server_key: Fingerprint, file: PathBuf) -> Result<Self> {
        let lines = read(&file)?.ledgers.into_iter().filter(|line| line.server_key == server_key);
        let ledgers = lines
            .map(|line| (line.tenant, Known { origin: line.origin, seen: line.seen, log_key: line.log_key }))
            .collect();
        let state = Mutex::new(State { ledgers, ..State::default() });
        Ok(Self { server_key: Mutex::new(server_key), file: Some(file), state, writer: Mutex::default() })
    }

    /// The vault has another key: what is known of its ledgers is known under that one.
    pub(crate) fn follow(&self, server_key: Fingerprint) {
        *self.server_key.lock().unwrap_or_else(PoisonError::into_inner) = server_key;
        let mut state = self.lock();
        state.dirty = !state.ledgers.is_empty();
    }

    fn server_key(&self) -> Fingerprint {
        *self.server_key.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The tenants whose ledgers are known, by name.
    pub(crate) fn tenants(&self) -> Vec<TenantName> {
        self.lock().ledgers.keys().cloned().collect()
    }

    /// The newest that was seen of a tenant's ledger.
    pub(crate) fn seen(&self, tenant: &TenantName) -> Option<Seen> {
        self.lock().ledgers.get(tenant).and_then(|known| known.seen)
    }

    /// Takes `origin` for the tenant's ledger from now on.
    ///
    /// # Errors
    /// `LEDGER_DIVERGED` if it was another one.
    pub(crate) fn pin(self: &Arc<Self>, tenant: &TenantName, origin: &Origin) -> Result<()> {
        let mut state = self.lock();
        match state.ledgers.get(tenant) {
            Some(known) if known.origin == *origin => return Ok(()),
            Some(known) => {
                let detail = format!("{tenant} had the ledger {} before, and now has {origin}", known.origin);
                return Err(Error::new(Reason::LedgerDiverged, detail));
            }
            None => state.ledgers.insert(tenant.clone(), Known { origin: origin.clone(), seen: None, log_key: None }),
        };
        self.write_later(state);
        Ok(())
    }

    /// Takes the newest of these keys for the ledger's from now on: the one that was remembered must be among them.
    ///
    /// # Errors
    /// `LEDGER_DIVERGED` if it is not.
    pub(crate) fn pin_log_key(self: &Arc<Self>, tenant: &TenantName, keys: &LogKeys) -> Result<()> {
        let mut state = self.lock();
        let Some(known) = state.ledgers.get_mut(tenant) else { return Ok(()) };
        let newest = keys.newest().to_string();
        match &known.log_key {
            Some(own) if *own == newest => return Ok(()),
            Some(own) if keys.all().all(|(_, key)| key.to_string() != *own) => {
                let detail =
                    format!("{tenant}'s ledger was signed by the key {own}, which none of its keys comes after");
                return Err(Error::new(Reason::LedgerDiverged, detail));
            }
            _ => known.log_key = Some(newest),
        }
        self.write_later(state);
        Ok(())
    }

    /// Takes in what an answer told; older answers change nothing.
    ///
    /// # Errors
    /// `LEDGER_DIVERGED` if the ledger had another root at the same size.
    pub(crate) fn observe(self: &Arc<Self>, tenant: &TenantName, seen: &Seen) -> Result<()> {
        let mut state = self.lock();
        let Some(known) = state.ledgers.get_mut(tenant) else { return Ok(()) };
        match &known.seen {
            Some(before) if before.size == seen.size && before.tip != seen.tip => {
                let detail = format!("{tenant}'s ledger has two histories of {} entries", seen.size);
                return Err(Error::new(Reason::LedgerDiverged, detail));
            }
            Some(before) if before.size >= seen.size => return Ok(()),
            _ => known.seen = Some(*seen),
        }
        self.write_later(state);
        Ok(())
    }

    /// Writes what is not written yet, now.
    pub(crate) fn flush(&self) -> io::Result<()> {
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.lock();
        if !std::mem::take(&mut state.dirty) {
            return Ok(());
        }
        let ledgers = state.ledgers.clone();
        drop(state);
        let written = self.write(ledgers);
        if written.is_err() {
            self.lock().dirty = true;
        }
        written
    }

    fn write_later(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        if self.file.is_none() {
            return;
        }
        state.dirty = true;
        if state.writing {
            return;
        }
        // Without a runtime the drop writes.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        state.writing = true;
        drop(state);
        runtime.spawn(self.clone().write_while_dirty());
    }

    async fn write_while_dirty(self: Arc<Self>) {
        loop {
            let memory = self.clone();
            let written = tokio::task::spawn_blocking(move || memory.flush()).await;
            if let Ok(Err(error)) = &written {
                tracing::warn!(%error, "what was seen of ledgers could not be written down");
            }
            {
                let mut state = self.lock();
                // What could not be written waits for the next answer: such a home stays so for a while.
                if !state.dirty || !matches!(written, Ok(Ok(()))) {
                    state.writing = false;
                    return;
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Reads, merges and replaces the file; what it knows better is taken in.
    fn write(&self, ours: BTreeMap<TenantName, Known>) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let folder = file.parent().unwrap_or(Path::new("."));
        create_private_folder(folder)?;
        let lock = fs::File::create(file.with_extension("lock"))?;
        lock.lock()?;
        let mut content = read(file).map_err(io::Error::other)?;
        for (tenant, known) in ours {
            let Known { origin, seen, log_key } = known;
            let line = Line { server_key: self.server_key(), tenant, origin, seen, log_key };
            merge(&mut content.ledgers, line);
        }
        let mut json = serde_json::to_vec(&content).map_err(io::Error::other)?;
        json.push(b'\n');
        temporary(folder, &json)?.persist(file).map_err(|error| error.error)?;
        drop(lock);
        let mut state = self.lock();
        for line in content.ledgers.into_iter().filter(|line| line.server_key == self.server_key()) {
            if let Some(known) = state.ledgers.get_mut(&line.tenant)
                && known.origin == line.origin
                && newer(line.seen.as_ref(), known.seen.as_ref())
            {
                known.seen = line.seen;
            }
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if let Err(error) = self.flush() {
            tracing::warn!(%error, "what was seen of ledgers could not be written down");
        }
    }
}

fn merge(lines: &mut Vec<Line>, line: Line) {
    let same = |other: &&mut Line| other.server_key == line.server_key && other.tenant == line.tenant;
    match lines.iter_mut().find(same) {
        None => lines.push(line),
        Some(known) if known.origin != line.origin => {
            tracing::warn!(tenant = %line.tenant, "another process knows another ledger behind this name; its word stays");
        }
        Some(known) => {
            if newer(line.seen.as_ref(), known.seen.as_ref()) {
                known.seen = line.seen;
            }
            // Which of two keys is the newer one, neither process knows of the other; the next answer tells.
            known.log_key = line.log_key.or(known.log_key.take());
        }
    }
}

fn newer(new: Option<&Seen>, old: Option<&Seen>) -> bool {
    match (new, old) {
        (Some(new), Some(old)) => new.size > old.size,
        (new, old) => new.is_some() && old.is_none(),
    }
}

fn read(file: &Path) -> Result<File> {
    let Some(bytes) = read_within(file, MAX_FILE)? else { return Ok(File::default()) };
    serde_json::from_slice(&bytes).map_err(|error| {
        Error::new(Reason::InvalidArgument, format!("{} is damaged ({error}): it can be removed", file.display()))
    })
}

#[cfg(test)]
mod tests {
    use strongroom_core::ids::{Digest, Index, TenantId, VaultId};

    use super::*;

    fn origin(tenant: u8) -> Origin {
        Origin::new("vault", VaultId::from_bytes([1; 16]), TenantId::from_bytes([tenant; 16])).unwrap()
    }

    fn seen(size: u64, tip: u8) -> Seen {
        Seen { size: Index(size), tip: Digest::from_bytes([tip; 32]), mac: Digest::from_bytes([0; 32]) }
    }

    fn acme() -> TenantName {
        "acme".parse().unwrap()
    }

    const KEY: Fingerprint = Fingerprint::from_bytes([7; 32]);

    fn open(folder: &tempfile::TempDir) -> Arc<Memory> {
        Arc::new(Memory::in_file(KEY, folder.path().join("home/ledgers.json")).unwrap())
    }

    #[test]
    fn it_never_goes_backwards() {
        let folder = tempfile::tempdir().unwrap();
        let memory = open(&folder);
        memory.pin(&acme(), &origin(1)).unwrap();
        for (size, expected) in [(3, 3), (1, 3), (7, 7), (6, 7)] {
            memory.observe(&acme(), &seen(size, size as u8)).unwrap();
            assert_eq!(memory.seen(&acme()), Some(seen(expected, expected as u8)));
        }
        // A process that slept writes its old knowledge last.
        let old = open(&folder);
        old.pin(&acme(), &origin(1)).unwrap();
        old.observe(&acme(), &seen(2, 2)).unwrap();
        drop(memory);
        drop(old);
        assert_eq!(open(&folder).seen(&acme()), Some(seen(7, 7)));
    }

    #[test]
    fn a_ledger_that_changes_is_noticed() {
        let memory = Arc::new(Memory::of_process(KEY));
        memory.pin(&acme(), &origin(1)).unwrap();
        memory.pin(&acme(), &origin(1)).unwrap();
        assert_eq!(memory.pin(&acme(), &origin(2)).unwrap_err().reason(), Reason::LedgerDiverged);
        memory.observe(&acme(), &seen(4, 1)).unwrap();
        assert_eq!(memory.observe(&acme(), &seen(4, 2)).unwrap_err().reason(), Reason::LedgerDiverged);
        assert_eq!(memory.seen(&acme()), Some(seen(4, 1)));
    }

    #[test]
    fn each_vault_has_its_own_names() {
        let folder = tempfile::tempdir().unwrap();
        let memory = open(&folder);
        memory.pin(&acme(), &origin(1)).unwrap();
        drop(memory);
        let file = folder.path().join("home/ledgers.json");
        let other = Arc::new(Memory::in_file(Fingerprint::from_bytes([8; 32]), file).unwrap());
        other.pin(&acme(), &origin(2)).unwrap();
        drop(other);
        assert_eq!(open(&folder).pin(&acme(), &origin(2)).unwrap_err().reason(), Reason::LedgerDiverged);
    }

    #[test]
    fn processes_that_share_it_keep_the_newest_of_all() {
        let folder = tempfile::tempdir().unwrap();
        let tenants: Vec<TenantName> = (0..4).map(|n| format!("t{n}").parse().unwrap()).collect();
        // Each with a memory of its own, as another process has; the lock is between open files, so threads are as good.
        std::thread::scope(|scope| {
            for writer in 0..4_u64 {
                let (folder, tenants) = (&folder, &tenants);
                scope.spawn(move || {
                    for round in 0..20 {
                        let memory = open(folder);
                        for (at, tenant) in (0..).zip(tenants) {
                            memory.pin(tenant, &origin(at)).unwrap();
                            let size = 1 + round * 4 + (writer + u64::from(at)) % 4;
                            memory.observe(tenant, &seen(size, size as u8)).unwrap();
                        }
                    }
                });
            }
        });
        let memory = open(&folder);
        for tenant in &tenants {
            assert_eq!(memory.seen(tenant), Some(seen(80, 80)));
        }
    }

    #[tokio::test]
    async fn answers_are_written_in_the_background() {
        let folder = tempfile::tempdir().unwrap();
        let memory = open(&folder);
        memory.pin(&acme(), &origin(1)).unwrap();
        for size in 1..1000 {
            memory.observe(&acme(), &seen(size, 0)).unwrap();
        }
        for _ in 0..100 {
            if open(&folder).seen(&acme()) == Some(seen(999, 0)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("not written");
    }

    #[test]
    fn a_damaged_file_is_an_error_and_not_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ledgers.json");
        fs::write(&file, "{").unwrap();
        assert_eq!(Memory::in_file(KEY, file).err().unwrap().reason(), Reason::InvalidArgument);
    }
}
