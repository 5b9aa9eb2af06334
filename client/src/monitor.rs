//! A monitor: follows a ledger as an admin of the tenant who does not trust the vault, and verifies all of it, step by step.
//!
//! ```text
//! newest checkpoint ─► signed by the key that signed before ─► continues the last one (proof)
//!   the files in between ─► hashes, tiles, private parts ─► replay, entry by entry ─► the root that was signed
//!   then only: the entries that are wanted come out
//! ```
//!
//! What it keeps between its runs is the caller's: the last checkpoint, and the replay's [`Snapshot`]. Nothing that a step refused
//! is taken in, so the next run refuses it again.

use std::convert::Infallible;

use bytes::Bytes;
use futures::TryStreamExt;
use strongroom_core::call::Work;
use strongroom_core::ids::{Index, VendorId};
use strongroom_core::ledger::checkpoint::{Checkpoint, VerifierKey};
use strongroom_core::ledger::growth::{Growth, Reader};
use strongroom_core::ledger::log_keys::LogKeys;
use strongroom_core::ledger::replay::{Finding, Replay, Snapshot};
use strongroom_core::ledger::verify::LogFinding;
use strongroom_core::ledger::{Entry, Outcome, Private};
use strongroom_core::names::TenantName;
use strongroom_core::reason::Reason;

use crate::audit::LedgerLine;
use crate::connect::Vault;
use crate::error::{Error, Result};
use crate::log::{Cover, LogCheckpoint};

/// What a monitor knows of a ledger.
pub struct Monitor {
    vault: Vault,
    tenant: TenantName,
    /// A key that the log's must be, or come after; the first that signed, if none was given.
    key: Option<VerifierKey>,
    /// The key that signed the last checkpoint.
    signer: Option<VerifierKey>,
    /// The last checkpoint, as its note.
    last: Option<(Checkpoint, Bytes)>,
    replay: Option<Replay>,
    growth: Option<Growth>,
    /// What came out of files that no checkpoint was found to cover yet.
    pending: Vec<LedgerLine>,
}

/// What a step came to.
#[derive(Debug)]
pub struct Step {
    /// The newest checkpoint: all that it covers is verified and replayed.
    pub checkpoint: LogCheckpoint,
    /// Those of the entries since the step before that were wanted.
    pub entries: Vec<LedgerLine>,
    /// Whether it is another checkpoint than that of the step before.
    pub is_new: bool,
}

impl std::fmt::Debug for Monitor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Monitor").field("tenant", &self.tenant).field("last", &self.last).finish_non_exhaustive()
    }
}

impl Monitor {
    /// A monitor that begins with entry 0. `key` is the log's public key, if it is known from elsewhere.
    pub fn new(vault: Vault, tenant: TenantName, key: Option<VerifierKey>) -> Self {
        Self { vault, tenant, key, signer: None, last: None, replay: None, growth: None, pending: Vec::new() }
    }

    /// A monitor that goes on from a snapshot of its own, and from the last checkpoint that it saw, which may be newer.
    ///
    /// # Errors
    /// `LEDGER_DIVERGED` if the key, the snapshot and the checkpoint are not of one ledger and one signer.
    pub fn resume(
        vault: Vault,
        tenant: TenantName,
        key: Option<VerifierKey>,
        snapshot: Option<Snapshot>,
        last: Option<Bytes>,
    ) -> Result<Self> {
        let mut monitor = Self::new(vault, tenant, key);
        if let Some(Snapshot { key, replay }) = snapshot {
            // A key that is known from elsewhere stays the one that the log's must come after.
            monitor.key.get_or_insert(key);
            monitor.replay = Some(replay);
        }
        if let Some(note) = last {
            // Who signed it shows with the first step, which has all keys of the log.
            let broken = |error| Error::new(Reason::LedgerDiverged, format!("the checkpoint that was kept: {error}"));
            monitor.last = Some((Checkpoint::peek(&note).map_err(broken)?, note));
        }
        Ok(monitor)
    }

    /// Verifies and replays what came since the step before, up to the newest checkpoint.
    ///
    /// `wanted` chooses the entries that are given out; `progress` is told how many entries of how many are done.
    ///
    /// # Errors
    /// `LEDGER_DIVERGED` if the ledger was put back, rewritten, or is signed by another key; `INTEGRITY`, naming the entry and the
    /// rule, or the file, for whatever else is wrong. `UNAVAILABLE` and the like say nothing about the ledger: another step may
    /// succeed.
    pub async fn step(
        &mut self,
        cover: Cover,
        wanted: impl Fn(&Entry) -> bool,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<Step> {
        let found = self.newest(cover).await?;
        let checkpoint = found.checkpoint.clone();
        let replay = self.replay.get_or_insert_with(|| Replay::new(checkpoint.origin.clone()));
        if replay.size() > checkpoint.size {
            return Err(finding(LogFinding::RolledBack { seen: replay.size(), has: checkpoint.size }));
        }
        if self.growth.is_none() {
            self.growth = Some(resumed(&self.vault, &self.tenant, replay, &checkpoint).await?);
        }
        let Some(growth) = self.growth.as_mut() else { return Err(Error::internal("a monitor without a log")) };
        if let Some((last, _)) = self.last.as_ref().filter(|(last, _)| last.size >= growth.size()) {
            growth.passes(last.size, last.root).map_err(finding)?;
        }
        let mut files = self.vault.log_files(&self.tenant, growth.wanted(checkpoint.size));
        while let Some((tile, bytes)) = files.try_next().await? {
            let mut reader = Following { replay: &mut *replay, wanted: &wanted, pending: &mut self.pending };
            growth.take(tile, bytes.to_vec(), &mut reader).map_err(finding)?;
            progress(growth.size().0, checkpoint.size.0);
        }
        growth.settle(&checkpoint).map_err(finding)?;
        let named = found.keys.later().iter().filter(|(index, _)| *index < checkpoint.size);
        if !replay.log_keys().iter().eq(named) {
            return Err(finding(LogFinding::OtherKeys));
        }
        let is_new = self.last.as_ref().is_none_or(|(last, _)| *last != checkpoint);
        self.key.get_or_insert_with(|| found.key.clone());
        self.signer = Some(found.key.clone());
        self.last = Some((checkpoint, found.note.clone()));
        Ok(Step { checkpoint: found, entries: std::mem::take(&mut self.pending), is_new })
    }

    /// The last checkpoint that was verified, as its note, or that the monitor went on from.
    pub fn last(&self) -> Option<(&Checkpoint, &Bytes)> {
        self.last.as_ref().map(|(checkpoint, note)| (checkpoint, note))
    }

    /// What the replay came to with the last step, to be kept: the bytes of a [`Snapshot`]. None before the first step.
    ///
    /// # Errors
    /// `INTEGRITY` if the replay found something.
    pub fn snapshot(&mut self) -> Result<Option<Vec<u8>>> {
        let (Some(key), Some(replay)) = (self.signer.clone(), self.replay.take()) else { return Ok(None) };
        let snapshot = Snapshot { key, replay };
        let bytes = snapshot.to_bytes();
        self.replay = Some(snapshot.replay);
        bytes.map(Some).map_err(|error| Error::integrity(error.to_string()))
    }

    /// The vendors that the ledger names, by id.
    pub fn vendors(&self) -> impl Iterator<Item = (VendorId, String)> {
        let vendors = self.replay.iter().flat_map(|replay| replay.authority().vendors());
        vendors.map(|(id, vendor)| (*id, vendor.name.to_string()))
    }

    /// The newest checkpoint, which continues the last one.
    async fn newest(&mut self, cover: Cover) -> Result<LogCheckpoint> {
        let mut found = self.vault.checkpoint(&self.tenant, cover).await?;
        if let Some((last, _)) = &self.last {
            if last.origin != found.checkpoint.origin {
                let detail =
                    format!("{} had the ledger {}, and has {}", self.tenant, last.origin, found.checkpoint.origin);
                return Err(Error::new(Reason::LedgerDiverged, detail));
            }
            if last.size > Index(0) {
                let newer = self.vault.continued(&self.tenant, last.size, &last.root).await?;
                found = if newer.checkpoint.size >= found.checkpoint.size { newer } else { found };
            }
        }
        self.check_keys(&found.keys)?;
        let is_same = self.replay.as_ref().is_none_or(|replay| *replay.origin() == found.checkpoint.origin);
        match is_same {
            true => Ok(found),
            false => Err(Error::new(Reason::LedgerDiverged, "the snapshot is of another ledger than the tenant's")),
        }
    }

    /// Whether these are the keys of the log that was followed, and the last checkpoint is signed by the one of its size.
    fn check_keys(&self, keys: &LogKeys) -> Result<()> {
        if let Some(own) = self.key.as_ref().filter(|own| !keys.contains(own)) {
            let detail = format!(
                "{}'s ledger is signed by the key {}, and {own} is none of its keys",
                self.tenant,
                keys.newest()
            );
            return Err(Error::new(Reason::LedgerDiverged, detail));
        }
        let kept = self.last.as_ref().map(|(_, note)| keys.open(note));
        let broken = |error| Error::new(Reason::LedgerDiverged, format!("the checkpoint that was kept: {error}"));
        kept.transpose().map(drop).map_err(broken)
    }
}

/// The log as far as it was replayed, out of the vault's files of now.
async fn resumed(vault: &Vault, tenant: &TenantName, replay: &Replay, now: &Checkpoint) -> Result<Growth> {
    let tiles = Growth::resumed_from(replay.size(), now.size).collect();
    let files: std::collections::HashMap<_, _> = vault.log_files(tenant, tiles).try_collect().await?;
    let read = |tile| files.get(&tile).map(|bytes| bytes.to_vec());
    Growth::resume(replay, now.size, |tile| read(tile).ok_or_else(|| LogFinding::Missing(tile.to_string())))
        .map_err(finding)
}

/// A replay that keeps the entries which somebody waits for.
struct Following<'a, W> {
    replay: &'a mut Replay,
    wanted: &'a W,
    pending: &'a mut Vec<LedgerLine>,
}

impl<W: Fn(&Entry) -> bool> Reader for Following<'_, W> {
    fn bundle(&mut self, entries: &[(&[u8], &[u8])]) {
        self.replay.foresee(entries);
    }

    fn entry(&mut self, public: &[u8], private: &[u8]) -> std::result::Result<(), Finding> {
        let step = self.replay.feed(public, (!private.is_empty()).then_some(private))?;
        if (self.wanted)(&step.entry) {
            self.pending.push(line(self.replay, step.entry, public, private));
        }
        Ok(())
    }
}

fn line(replay: &Replay, entry: Entry, public: &[u8], private: &[u8]) -> LedgerLine {
    // The replay read it: it is one, or was erased.
    let secret = Private::from_bytes(private).ok();
    let names = match (entry.outcome, secret.as_ref().and_then(|secret| secret.call.as_ref())) {
        (Outcome::Denied, Some(call)) => asked(&call.call.work),
        _ => {
            let named = entry.objects.iter().map(|object| (object.1, object.2));
            let put = (0..).zip(&entry.puts).map(|(ordinal, _)| (entry.index, ordinal));
            let places = named.chain(put).filter_map(|(index, ordinal)| replay.place(index, ordinal));
            places.map(|(dataset, path)| format!("{dataset}/{path}")).collect()
        }
    };
    let (public_bytes, private_bytes) = (Bytes::copy_from_slice(public), Bytes::copy_from_slice(private));
    LedgerLine { entry, private: secret, names, public_bytes, private_bytes }
}

/// What was refused may not exist: the caller's own words are all there is.
fn asked(work: &Work) -> Vec<String> {
    match work {
        Work::Get(items) | Work::ReleaseKeys(items) => {
            items.iter().filter_map(|item| Some(format!("{}/{}", item.dataset, item.path.as_ref()?))).collect()
        }
        Work::Put(items) => items.iter().map(|item| format!("{}/{}", item.dataset, item.path)).collect(),
        Work::Delete(items) => items.iter().map(|item| format!("{}/{}", item.dataset, item.path)).collect(),
    }
}

fn finding(finding: LogFinding<Infallible>) -> Error {
    let reason = match finding {
        LogFinding::RolledBack { .. } | LogFinding::Rewritten(_) => Reason::LedgerDiverged,
        _ => Reason::Integrity,
    };
    Error::new(reason, finding.to_string())
}
