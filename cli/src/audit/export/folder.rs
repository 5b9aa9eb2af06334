//! A copy of the ledger, as its files.

use std::path::PathBuf;

use futures::TryStreamExt;
use serde::Serialize;
use strongroom_client::Vault;
use strongroom_client::log::{Cover, LogCheckpoint};
use strongroom_core::ids::{Index, Millis};
use strongroom_core::ledger::checkpoint::{Checkpoint, MAX_NOTE, VerifierKey};
use strongroom_core::ledger::log_keys::LogKeys;
use strongroom_core::ledger::tile::{Tile, tiles_of};
use strongroom_core::ledger::verify::{CHECKPOINT, LOG_KEYS, LogFiles, WITNESSES};
use strongroom_core::names::TenantName;
use strongroom_core::reason::Reason;

use crate::audit::exported::Exported;
use crate::exit::{Failure, Outcome};
use crate::globals::Globals;
use crate::output::note;
use crate::progress::Progress;
use crate::when;

/// A copy to be made.
struct Export {
    tenant: TenantName,
    /// The folder to write, new or with an earlier export of the same ledger.
    folder: PathBuf,
}

/// Copies a tenant's log into a folder.
///
/// # Errors
/// The caller is no admin of the tenant, the folder holds something else, or the ledger does not continue what it holds.
pub(super) fn run(tenant: TenantName, folder: PathBuf, globals: &Globals) -> Outcome {
    Export { tenant, folder }.run(globals)
}

#[derive(Debug, Serialize)]
struct Done {
    tenant: TenantName,
    entries: u64,
    root: String,
    log_key: String,
    fetched: u64,
    witnesses: Vec<Cosigned>,
}

/// What a witness vouches for, as it is told.
#[derive(Debug, Serialize)]
struct Cosigned {
    witness: String,
    entries: u64,
    time: String,
}

impl Cosigned {
    fn of(cosigned: &strongroom_client::log::Cosigned) -> Self {
        let (witness, entries) = (cosigned.witness.to_string(), cosigned.checkpoint.size.0);
        Self { witness, entries, time: when::rfc3339(Millis(cosigned.time.saturating_mul(1000))) }
    }
}

impl Export {
    fn run(self, globals: &Globals) -> Outcome {
        globals.with_vault(async |vault| {
            let mut folder = Exported::at(&self.folder);
            let before = self.before(&mut folder)?;
            let LogCheckpoint { checkpoint, note: signed, key, keys } = self.checkpoint(vault, before.as_ref()).await?;
            let size = checkpoint.size;
            let cleared = folder.clear(|tile| Tile::of(tile.kind(), tile.index(), size.0) == Some(*tile));
            cleared.map_err(|error| Failure::file(&self.folder, &error))?.map_err(|name| {
                let detail = format!("{} holds {name}, which is no part of an export", self.folder.display());
                Failure::new(Reason::PreconditionFailed, detail, "name a new folder")
            })?;
            let missing: Vec<Tile> = tiles_of(size.0).filter(|tile| !folder.has(&tile.to_string())).collect();
            let fetched = missing.len() as u64;
            let bar = Progress::of(globals, "exporting", fetched, "files");
            let put = |name: &str, bytes: &[u8]| {
                folder.put(name, bytes).map_err(|error| Failure::file(&self.folder.join(name), &error))
            };
            let mut files = vault.log_files(&self.tenant, missing);
            while let Some((tile, bytes)) = files.try_next().await? {
                put(&tile.to_string(), &bytes)?;
                bar.add(1);
            }
            put(LOG_KEYS, keys_of(&keys, size).as_bytes())?;
            let cosigned = match vault.cosignatures(&self.tenant, &keys).await {
                // The log holds without them, and who asks for a witness will miss it.
                Err(error) if error.reason() == Reason::Integrity => {
                    note(&format!("note: {}: exported without cosignatures", error.detail()));
                    Vec::new()
                }
                cosigned => cosigned?,
            };
            let mut witnesses = Vec::new();
            // What was cosigned after the checkpoint is of more than is in here.
            for cosigned in cosigned.iter().filter(|cosigned| cosigned.checkpoint.size <= size) {
                put(&format!("{WITNESSES}{}", cosigned.witness.id()), &cosigned.note)?;
                witnesses.push(Cosigned::of(cosigned));
            }
            // The checkpoint comes last: with it, the folder is a log.
            put(CHECKPOINT, &signed)?;
            drop(bar);
            let root = checkpoint.root.to_string();
            let (tenant, log_key) = (self.tenant.clone(), key.to_string());
            let done = Done { tenant, entries: size.0, root, log_key, fetched, witnesses };
            note("note: private parts hold paths, addresses and words of the ledger's people; keep the folder to yourself");
            globals.output.result(&done, |done| {
                format!("{} entries of {} in {}", done.entries, done.tenant, self.folder.display())
            })
        })
    }

    /// The checkpoint that the folder holds, with the key beside it.
    fn before(&self, folder: &mut Exported) -> Outcome<Option<(Checkpoint, VerifierKey)>> {
        let mut read = |name: &str| {
            folder.read(name, MAX_NOTE as u64).map_err(|error| Failure::file(&self.folder.join(name), &error))
        };
        let (Some(signed), Some(keys)) = (read(CHECKPOINT)?, read(LOG_KEYS)?) else { return Ok(None) };
        let keys = String::from_utf8_lossy(&keys).parse::<LogKeys>().map_err(|error| error.to_string());
        let opened = keys.and_then(|keys| keys.open(&signed).map_err(|error| error.to_string()));
        let broken = |why| {
            let detail = format!("the export that is there: {why}");
            Failure::new(Reason::Integrity, detail, "name a new folder, and keep this one: it may be evidence")
        };
        opened.map(Some).map_err(broken)
    }

    /// A checkpoint over the head, which continues the one that the folder holds.
    async fn checkpoint(&self, vault: &Vault, before: Option<&(Checkpoint, VerifierKey)>) -> Outcome<LogCheckpoint> {
        let newest = vault.checkpoint(&self.tenant, Cover::Head).await?;
        let Some((before, key)) = before else { return Ok(newest) };
        let evidence = "keep the folder, it is evidence; name a new one to export what the vault says now";
        if before.origin != newest.checkpoint.origin || !newest.keys.contains(key) {
            let detail =
                format!("the folder holds the ledger {}, signed by another key or another ledger", before.origin);
            return Err(Failure::new(Reason::LedgerDiverged, detail, evidence));
        }
        if before.size > Index(0) {
            let continued = vault.continued(&self.tenant, before.size, &before.root).await;
            continued.map_err(|error| match error.reason() {
                Reason::LedgerDiverged => Failure::new(Reason::LedgerDiverged, error.detail(), evidence),
                _ => error.into(),
            })?;
        }
        Ok(newest)
    }
}

/// The keys of a log up to a size: one that came later is of entries that are not here.
pub(crate) fn keys_of(keys: &LogKeys, size: Index) -> String {
    let count = 1 + keys.later().iter().filter(|(index, _)| *index < size).count();
    keys.lines().take(count).map(|line| line + "\n").collect()
}
