//! The ledger as a log: signed checkpoints, proofs, and a copy of its files.
//!
//! What the vault says here is checked before it is returned: a checkpoint is signed by the ledger's log key and continues what
//! this caller remembers of the ledger; a receipt proves its entry. Who signs is what the vault says, unless the caller knows the
//! key from elsewhere and compares: [`LogCheckpoint::key`].

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use futures::stream::{BoxStream, try_unfold};
use strongroom_core::ids::{Digest, Index};
use strongroom_core::ledger::checkpoint::{Checkpoint, VerifierKey};
use strongroom_core::ledger::cosign::WitnessKey;
use strongroom_core::ledger::log_keys::{LogKeys, MAX_LOG_KEYS};
use strongroom_core::ledger::proof::{MAX_PROOF, Receipt, check_consistency};
use strongroom_core::ledger::tile::Tile;
use strongroom_core::names::TenantName;
use strongroom_core::reason::Reason;
use strongroom_proto::v1;
use strongroom_proto::v1::audit_client::AuditClient;
use tonic::Streaming;

use crate::admin::bytes;
use crate::connect::Vault;
use crate::error::{Error, Result};
use crate::retry::{Attempts, Safety};

/// Files that are asked for at once.
const FILES: usize = 256;
/// The most witnesses whose cosignatures are looked at.
const MAX_WITNESSES: usize = 16;

/// A checkpoint whose signature was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogCheckpoint {
    /// What it says.
    pub checkpoint: Checkpoint,
    /// The signed note: C2SP tlog-checkpoint.
    pub note: Bytes,
    /// The key that signed it.
    pub key: VerifierKey,
    /// All keys of the log, of which that is one.
    pub keys: LogKeys,
}

/// A checkpoint that a witness cosigned. Its signatures were checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cosigned {
    /// Who cosigned it.
    pub witness: WitnessKey,
    /// When, as it says: Unix seconds.
    pub time: u64,
    /// What it says.
    pub checkpoint: Checkpoint,
    /// The note, with the signatures of the log and of this witness.
    pub note: Bytes,
}

/// What a checkpoint is to cover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cover {
    /// At least so many entries.
    Entries(Index),
    /// All that the ledger has when it is asked.
    Head,
}

impl Vault {
    /// The newest checkpoint of a tenant's ledger, once it covers what is asked for. It continues what this caller remembers.
    ///
    /// # Errors
    /// `LEDGER_DIVERGED` if it does not continue that; `UNAVAILABLE` if it does not come in time.
    pub async fn checkpoint(&self, tenant: &TenantName, cover: Cover) -> Result<LogCheckpoint> {
        let (cover, head) = match cover {
            Cover::Entries(entries) => (entries.0, false),
            Cover::Head => (0, true),
        };
        let request = v1::CheckpointRequest { tenant: tenant.to_string(), cover, head };
        let answer = self.with_channel(Safety::Idempotent, |channel| {
            let request = request.clone();
            async move { AuditClient::new(channel).checkpoint(request).await }
        });
        let found = opened(answer.await?.into_inner())?;
        self.memory().pin(tenant, &found.checkpoint.origin)?;
        self.memory().pin_log_key(tenant, &found.keys)?;
        match self.memory().seen(tenant) {
            Some(seen) if seen.size.0 > 0 => {
                let newer = self.continued(tenant, seen.size, &seen.tip).await?;
                Ok(if newer.checkpoint.size > found.checkpoint.size { newer } else { found })
            }
            _ => Ok(found),
        }
    }

    /// All keys of a tenant's log, once its newest checkpoint covers so many entries. An operator whom the tenant does not know is
    /// told them by the vault, without a checkpoint.
    ///
    /// # Errors
    /// As [`Vault::checkpoint`]; `INTEGRITY` if they are not signed one by the other.
    pub async fn log_keys(&self, tenant: &TenantName, entries: Index) -> Result<LogKeys> {
        match self.checkpoint(tenant, Cover::Entries(entries)).await {
            Err(error) if error.reason() == Reason::Unauthenticated => {
                let lines = self.ledger_status(tenant).await?.log_keys;
                let keys = LogKeys::from_lines(lines.iter().take(MAX_LOG_KEYS).map(String::as_str));
                keys.map_err(|error| Error::integrity(format!("the keys of the log: {error}")))
            }
            found => found.map(|found| found.keys),
        }
    }

    /// The newest checkpoint, whatever is remembered of the ledger: what a vault says whose ledger contradicts that is evidence.
    ///
    /// # Errors
    /// `INTEGRITY` if it is not signed by a key that comes with it.
    pub async fn claimed_checkpoint(&self, tenant: &TenantName) -> Result<LogCheckpoint> {
        let request = v1::CheckpointRequest { tenant: tenant.to_string(), cover: 0, head: false };
        let answer = self.with_channel(Safety::Idempotent, |channel| {
            let request = request.clone();
            async move { AuditClient::new(channel).checkpoint(request).await }
        });
        opened(answer.await?.into_inner())
    }

    /// The newest checkpoint, proven to continue the ledger as it was with this size and root.
    ///
    /// # Errors
    /// `LEDGER_DIVERGED` if it does not.
    pub async fn continued(&self, tenant: &TenantName, size: Index, root: &Digest) -> Result<LogCheckpoint> {
        let request = v1::ConsistencyRequest { tenant: tenant.to_string(), size: size.0 };
        let answer = self.with_channel(Safety::Idempotent, |channel| {
            let request = request.clone();
            async move { AuditClient::new(channel).consistency(request).await }
        });
        let diverged = |what: &str| {
            let detail =
                format!("{tenant}'s ledger does not continue the {size} entries that are remembered of it: {what}");
            Error::new(Reason::LedgerDiverged, detail)
        };
        let v1::ConsistencyResponse { checkpoint, proof } = match answer.await {
            Ok(answer) => answer.into_inner(),
            Err(error) if error.reason() == Reason::NotFound => return Err(diverged("it was put back")),
            Err(error) => return Err(error),
        };
        let found = opened(checkpoint.ok_or_else(no_checkpoint)?)?;
        let Checkpoint { size: new, root: new_root, .. } = &found.checkpoint;
        self.memory().pin_log_key(tenant, &found.keys)?;
        let proven = check_consistency((size.0, root), (new.0, new_root), &hashes(&proof)?);
        proven.map_err(|_| diverged("it was rewritten"))?;
        Ok(found)
    }

    /// The proof that an entry is under a checkpoint, to be kept and checked offline. To admins, and to whoever did it.
    ///
    /// # Errors
    /// `NOT_FOUND` or `OUT_OF_SCOPE` if there is no such entry for the caller; `INTEGRITY` if the proof does not hold.
    pub async fn receipt(&self, tenant: &TenantName, index: Index) -> Result<(Receipt, LogCheckpoint)> {
        let request = v1::InclusionRequest { tenant: tenant.to_string(), index: index.0 };
        let answer = self.with_channel(Safety::Idempotent, |channel| {
            let request = request.clone();
            async move { AuditClient::new(channel).inclusion(request).await }
        });
        let v1::InclusionResponse { checkpoint, public, proof } = answer.await?.into_inner();
        let found = opened(checkpoint.ok_or_else(no_checkpoint)?)?;
        let (entry, proof, checkpoint) = (public.to_vec(), hashes(&proof)?, found.note.to_vec());
        let receipt = Receipt { entry, index, proof, checkpoint };
        let broken = |_| Error::integrity(format!("entry {index} is not under the checkpoint that came with it"));
        receipt.check(found.checkpoint.size, &found.checkpoint.root).map_err(broken)?;
        Ok((receipt, found))
    }

    /// Has a witness's cosignature of a checkpoint served. To admins.
    ///
    /// # Errors
    /// `LEDGER_DIVERGED` if the ledger is behind or apart from that checkpoint; `INVALID_ARGUMENT` if a signature does not hold;
    /// `QUOTA_EXCEEDED` if the ledger has too many witnesses; `OUT_OF_SCOPE` if the caller is no admin.
    pub async fn cosign(&self, tenant: &TenantName, witness: &WitnessKey, note: Bytes) -> Result<()> {
        let request = v1::CosignRequest { tenant: tenant.to_string(), witness: witness.to_string(), note };
        let answer = self.with_channel(Safety::Idempotent, |channel| {
            let request = request.clone();
            async move { AuditClient::new(channel).cosign(request).await }
        });
        answer.await.map(drop)
    }

    /// The newest checkpoint that each witness cosigned. Which witness is to be trusted, the vault does not say.
    ///
    /// # Errors
    /// `INTEGRITY` if one of them does not hold.
    pub async fn cosignatures(&self, tenant: &TenantName, log: &LogKeys) -> Result<Vec<Cosigned>> {
        let request = v1::CosignaturesRequest { tenant: tenant.to_string() };
        let answer = self.with_channel(Safety::Idempotent, |channel| {
            let request = request.clone();
            async move { AuditClient::new(channel).cosignatures(request).await }
        });
        let cosigned = answer.await?.into_inner().cosigned;
        cosigned.into_iter().take(MAX_WITNESSES).map(|cosigned| self::cosigned(cosigned, log)).collect()
    }

    /// Files of a tenant's ledger, whole, in this order. Picked up after the last whole one where the connection breaks. To admins.
    ///
    /// # Errors
    /// `OUT_OF_SCOPE` if the caller is no admin; `NOT_FOUND` if no checkpoint needs one of them.
    pub fn log_files(&self, tenant: &TenantName, tiles: Vec<Tile>) -> BoxStream<'static, Result<(Tile, Bytes)>> {
        let attempts = self.attempts();
        let copying = Copying { vault: self.clone(), tenant: tenant.clone(), tiles, next: 0, attempts, open: None };
        try_unfold(copying, |mut copying| async move { Ok(copying.next().await?.map(|file| (file, copying))) }).boxed()
    }
}

/// Files on their way.
struct Copying {
    vault: Vault,
    tenant: TenantName,
    tiles: Vec<Tile>,
    /// The next one to come.
    next: usize,
    attempts: Attempts,
    /// What was asked for: from which place in the list, and up to where.
    open: Option<(Streaming<v1::ExportFrame>, usize, usize)>,
}

impl Copying {
    async fn next(&mut self) -> Result<Option<(Tile, Bytes)>> {
        while let Some(tile) = self.tiles.get(self.next).copied() {
            match self.file(tile).await {
                Ok(bytes) => {
                    self.attempts.progressed();
                    self.next += 1;
                    return Ok(Some((tile, bytes)));
                }
                Err(error) => {
                    self.open = None;
                    self.vault.pause(&mut self.attempts, error, Safety::Idempotent).await?;
                }
            }
        }
        Ok(None)
    }

    async fn file(&mut self, tile: Tile) -> Result<Bytes> {
        let (frames, first) = match self.open.take_if(|(.., end)| self.next < *end) {
            Some((frames, first, end)) => {
                let open = self.open.insert((frames, first, end));
                (&mut open.0, open.1)
            }
            None => {
                let end = self.tiles.len().min(self.next + FILES);
                let paths = self.tiles[self.next..end].iter().map(ToString::to_string).collect();
                let request = v1::ExportRequest { tenant: self.tenant.to_string(), paths };
                let frames = self.vault.with_channel(Safety::Idempotent, |channel| {
                    let request = request.clone();
                    let mut client = AuditClient::new(channel).max_decoding_message_size(strongroom_proto::MAX_MESSAGE);
                    async move { client.export(request).await }
                });
                let open = self.open.insert((frames.await?.into_inner(), self.next, end));
                (&mut open.0, open.1)
            }
        };
        let mut bytes = BytesMut::new();
        loop {
            let frame = frames.message().await?;
            let frame = frame.ok_or_else(|| Error::transport("a file of the ledger ends before its end"))?;
            let is_next = usize::try_from(frame.file).is_ok_and(|file| first + file == self.next);
            if !is_next || bytes.len() as u64 + frame.data.len() as u64 > tile.most() {
                return Err(Error::integrity(format!("{tile}: something else came")));
            }
            bytes.extend_from_slice(&frame.data);
            if frame.last {
                return Ok(bytes.freeze());
            }
        }
    }
}

fn cosigned(message: v1::Cosigned, log: &LogKeys) -> Result<Cosigned> {
    let broken = |why: String| Error::integrity(format!("a cosigned checkpoint: {why}"));
    let witness: WitnessKey =
        message.witness.parse().map_err(|_| broken("its witness has no public key".to_owned()))?;
    let (checkpoint, _) = log.open(&message.note).map_err(|error| broken(error.to_string()))?;
    let time = witness.cosigned(&message.note).map_err(|error| broken(error.to_string()))?;
    let time = time.ok_or_else(|| broken(format!("{witness} did not sign it")))?;
    Ok(Cosigned { witness, time, checkpoint, note: message.note })
}

/// A checkpoint that one of the keys that came with it signed, for the ledger that it names.
fn opened(answer: v1::CheckpointResponse) -> Result<LogCheckpoint> {
    let broken = |why: String| Error::integrity(format!("the checkpoint: {why}"));
    let keys = LogKeys::from_lines(answer.keys.iter().take(MAX_LOG_KEYS).map(String::as_str));
    let keys = keys.map_err(|error| broken(error.to_string()))?;
    let (checkpoint, key) = keys.open(&answer.note).map_err(|error| broken(error.to_string()))?;
    Ok(LogCheckpoint { checkpoint, key, keys, note: answer.note })
}

fn no_checkpoint() -> Error {
    Error::integrity("the vault's answer holds no checkpoint")
}

fn hashes(proof: &[Bytes]) -> Result<Vec<Digest>> {
    proof.iter().take(MAX_PROOF + 1).map(|hash| bytes("hash", hash)).collect()
}
