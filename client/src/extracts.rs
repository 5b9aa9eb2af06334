//! What a fold takes of a ledger, and single entries with what proves them.
//!
//! Facts and entries come as the vault keeps them. The form of both is checked here, private parts by their hashes; that nothing was
//! left out is the vault's word, until an export is verified. Entries that are picked are proven to be in the log.

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{BoxStream, try_unfold};
use strongroom_core::ids::{Digest, Index};
use strongroom_core::ledger::checkpoint::Checkpoint;
use strongroom_core::ledger::extract::{Doers, Needs};
use strongroom_core::ledger::facts::Facts;
use strongroom_core::ledger::proof::{Lacking, TileHashes, above, check_inclusion, inclusion};
use strongroom_core::ledger::tile::WIDTH;
use strongroom_core::ledger::tree::leaf_hash;
use strongroom_core::ledger::{Entry, Private};
use strongroom_core::names::TenantName;
use strongroom_proto::v1;
use strongroom_proto::v1::audit_client::AuditClient;
use tonic::Streaming;

use futures::TryStreamExt;

use crate::audit::parsed;
use crate::connect::Vault;
use crate::error::{Error, Result};
use crate::retry::{Attempts, Safety};

/// Entries that are picked with one call.
const PICKED: usize = 16_384;

/// What a fold takes of some entries in a row.
#[derive(Debug)]
pub struct Extracted {
    /// Their releases.
    pub facts: Facts,
    /// Entries, each with its private part unless that was erased.
    pub entries: Vec<(Entry, Option<Private>)>,
    /// One past the last entry that it is of.
    pub end: Index,
}

/// An entry that was proven to be in the log of a checkpoint.
#[derive(Debug, Clone)]
pub struct ProvenEntry {
    /// The public part.
    pub entry: Entry,
    /// The private part, whose hash was checked; none if it was erased.
    pub private: Option<Private>,
    /// The exact bytes of the public part: a leaf of the log.
    pub public_bytes: Bytes,
    /// The exact bytes of the private part; empty if it was erased.
    pub private_bytes: Bytes,
    /// RFC 6962 2.1.1: from the leaf's sibling to the root's child.
    pub proof: Vec<Digest>,
}

impl Vault {
    /// What a fold needs of a ledger's entries from `from` on and before `to`, in their order. To admins.
    ///
    /// # Errors
    /// `OUT_OF_SCOPE` if the caller is no admin; `INTEGRITY` if what comes is no ledger. The stream ends with its first error.
    pub fn extracts(
        &self,
        tenant: &TenantName,
        needs: &Needs,
        from: Index,
        to: Option<Index>,
    ) -> BoxStream<'static, Result<Extracted>> {
        let names = |events: &BTreeSet<strongroom_core::ledger::Event>| {
            events.iter().map(|event| event.name().to_owned()).collect()
        };
        let request = v1::ExtractRequest {
            tenant: tenant.to_string(),
            from: from.0,
            to: to.unwrap_or_default().0,
            events: names(&needs.events),
            own_events: names(&needs.own),
            doers: needs.doers.as_ref().map(doers),
        };
        let extracting = Extracting {
            vault: self.clone(),
            tenant: tenant.clone(),
            request,
            attempts: self.attempts(),
            frames: None,
            ready: VecDeque::new(),
            ended: false,
        };
        let next = |mut extracting: Extracting| async move {
            Ok(extracting.next().await?.map(|extracted| (extracted, extracting)))
        };
        try_unfold(extracting, next).boxed()
    }

    /// Entries by their indices, which are sorted and below the checkpoint's size; each is proven to be under it. To admins.
    ///
    /// # Errors
    /// `OUT_OF_SCOPE` if the caller is no admin; `INTEGRITY` if an entry is not the one under the checkpoint.
    pub fn picked(
        &self,
        tenant: &TenantName,
        indices: Vec<Index>,
        checkpoint: Checkpoint,
    ) -> BoxStream<'static, Result<ProvenEntry>> {
        let picking = Picking {
            vault: self.clone(),
            tenant: tenant.clone(),
            hashes: TileHashes::new(checkpoint.size.0),
            checkpoint,
            indices,
            next: 0,
            asked: 0,
            attempts: self.attempts(),
            frames: None,
            ready: VecDeque::new(),
        };
        try_unfold(picking, |mut picking| async move { Ok(picking.next().await?.map(|entry| (entry, picking))) })
            .boxed()
    }
}

fn doers(doers: &Doers) -> v1::Doers {
    v1::Doers {
        keys: doers.keys.iter().map(|key| Bytes::copy_from_slice(key.as_bytes())).collect(),
        vendors: doers.vendors.iter().map(|vendor| Bytes::copy_from_slice(vendor.as_bytes())).collect(),
        grants: doers.grants.iter().map(|grant| Bytes::copy_from_slice(grant.as_bytes())).collect(),
    }
}

/// Extracts under way.
struct Extracting {
    vault: Vault,
    tenant: TenantName,
    /// Of what was not taken in yet.
    request: v1::ExtractRequest,
    attempts: Attempts,
    frames: Option<Streaming<v1::ExtractFrame>>,
    ready: VecDeque<v1::Extracted>,
    ended: bool,
}

impl Extracting {
    async fn next(&mut self) -> Result<Option<Extracted>> {
        let mut begun: Option<v1::Extracted> = None;
        loop {
            while let Some(part) = self.ready.pop_front() {
                let end = part.end;
                let whole = match begun.take() {
                    None => part,
                    Some(mut begun) => {
                        begun.entries.extend(part.entries);
                        v1::Extracted { end, ..begun }
                    }
                };
                if end == 0 {
                    begun = Some(whole);
                    continue;
                }
                let extracted = self.checked(whole)?;
                self.request.from = extracted.end.0;
                return Ok(Some(extracted));
            }
            if self.ended {
                return match begun {
                    None => Ok(None),
                    Some(_) => Err(Error::integrity("an extract of the ledger ends before its end")),
                };
            }
            match self.frame().await {
                Ok(Some(frame)) => {
                    self.attempts.progressed();
                    if let Some(seen) = &frame.seen {
                        self.vault.observe(&self.tenant, Some(seen))?;
                        self.ended = true;
                    }
                    self.ready = frame.extracts.into();
                }
                Ok(None) => return Err(Error::integrity("the ledger's extracts end without saying that they do")),
                Err(error) => {
                    (self.frames, begun) = (None, None);
                    self.vault.pause(&mut self.attempts, error, Safety::Idempotent).await?;
                }
            }
        }
    }

    async fn frame(&mut self) -> Result<Option<v1::ExtractFrame>> {
        let frames = match &mut self.frames {
            Some(frames) => frames,
            none => {
                let opened = self.vault.with_channel(Safety::Idempotent, |channel| {
                    let request = self.request.clone();
                    let mut client = AuditClient::new(channel).max_decoding_message_size(strongroom_proto::MAX_MESSAGE);
                    async move { client.extract(request).await }
                });
                none.insert(opened.await?.into_inner())
            }
        };
        Ok(frames.message().await?)
    }

    /// Checks the form of an extract, and that it is of entries that were asked for.
    fn checked(&self, extracted: v1::Extracted) -> Result<Extracted> {
        let v1::Extracted { facts, entries, end } = extracted;
        let broken = |what: &str| Error::integrity(format!("the ledger's extract up to entry {end}: {what}"));
        let is_asked = |index: Index| index.0 >= self.request.from && index.0 < end;
        let within = self.request.to == 0 || end <= self.request.to;
        if end <= self.request.from || !within {
            return Err(broken("it was not asked for"));
        }
        let facts = match facts.is_empty() {
            true => Facts::new(Index(self.request.from)),
            false => Facts::read(&facts).map_err(|error| broken(&error.to_string()))?,
        };
        if facts.releases().any(|release| !is_asked(release.index)) {
            return Err(broken("it has releases that it is not of"));
        }
        let entries = entries.into_iter().map(|entry| {
            let (entry, private) = parsed(&entry.public, &entry.private)?;
            if is_asked(entry.index) { Ok((entry, private)) } else { Err(broken("it has entries that it is not of")) }
        });
        Ok(Extracted { facts, entries: entries.collect::<Result<_>>()?, end: Index(end) })
    }
}

/// Entries that are picked.
struct Picking {
    vault: Vault,
    tenant: TenantName,
    checkpoint: Checkpoint,
    /// The tree above bundles, and that over the last one where it is not full.
    hashes: TileHashes,
    indices: Vec<Index>,
    /// The next one to come, and one past the last that was asked for.
    next: usize,
    asked: usize,
    attempts: Attempts,
    frames: Option<Streaming<v1::PickFrame>>,
    ready: VecDeque<v1::PickedEntry>,
}

impl Picking {
    async fn next(&mut self) -> Result<Option<ProvenEntry>> {
        loop {
            let Some(index) = self.indices.get(self.next).copied() else { return Ok(None) };
            if let Some(picked) = self.ready.pop_front() {
                let proven = self.proven(index, picked)?;
                self.next += 1;
                return Ok(Some(proven));
            }
            match self.frame().await {
                Ok(frame) => {
                    self.attempts.progressed();
                    self.ready = frame.entries.into();
                }
                Err(error) => {
                    self.frames = None;
                    self.vault.pause(&mut self.attempts, error, Safety::Idempotent).await?;
                }
            }
        }
    }

    async fn frame(&mut self) -> Result<v1::PickFrame> {
        if self.next >= self.asked {
            self.frames = None;
        }
        if self.frames.is_none() {
            self.asked = self.indices.len().min(self.next + PICKED);
            self.fetch_tiles().await?;
            let indices: Vec<u64> = self.indices[self.next..self.asked].iter().map(|index| index.0).collect();
            let opened = self.vault.with_channel(Safety::Idempotent, |channel| {
                let request = v1::PickRequest { tenant: self.tenant.to_string(), indices: indices.clone() };
                let mut client = AuditClient::new(channel).max_decoding_message_size(strongroom_proto::MAX_MESSAGE);
                async move { client.pick(request).await }
            });
            self.frames = Some(opened.await?.into_inner());
        }
        let frames = self.frames.as_mut().ok_or_else(|| Error::transport("there is no stream"))?;
        frames.message().await?.ok_or_else(|| Error::transport("the entries end before their end"))
    }

    /// Gets the tiles that the next proofs take above their bundles.
    async fn fetch_tiles(&mut self) -> Result<()> {
        let mut numbers: Vec<Index> = self.indices[self.next..self.asked].to_vec();
        numbers.dedup_by_key(|index| index.0 / WIDTH);
        loop {
            let lacking: BTreeSet<_> = numbers.iter().filter_map(|index| self.upper(*index).err()).collect();
            if lacking.is_empty() {
                return Ok(());
            }
            let mut files = self.vault.log_files(&self.tenant, lacking.into_iter().map(|Lacking(tile)| tile).collect());
            while let Some((tile, bytes)) = files.try_next().await? {
                let taken = self.hashes.insert(tile, &bytes);
                taken.map_err(|error| Error::integrity(format!("{tile}: {error}")))?;
            }
        }
    }

    /// The part of an entry's proof that is not in its bundle; all of it where that is not full.
    fn upper(&self, index: Index) -> Result<Vec<Digest>, Lacking> {
        let size = self.checkpoint.size.0;
        match index.0 / WIDTH < size / WIDTH {
            true => above(&self.hashes, index.0 / WIDTH, size),
            false => inclusion(&self.hashes, index.0, size),
        }
    }

    fn proven(&self, index: Index, picked: v1::PickedEntry) -> Result<ProvenEntry> {
        let v1::PickedEntry { public, private, siblings } = picked;
        let (entry, secret) = parsed(&public, &private)?;
        let broken = |_| Error::integrity(format!("entry {index} is not the one under the checkpoint"));
        let size = self.checkpoint.size.0;
        let mut proof = Vec::new();
        if index.0 / WIDTH < size / WIDTH {
            proof.extend(siblings.as_chunks::<32>().0.iter().map(|hash| Digest::from_bytes(*hash)));
        }
        proof.extend(self.upper(index).map_err(|Lacking(tile)| Error::integrity(format!("{tile} is missing")))?);
        let root = &self.checkpoint.root;
        check_inclusion(leaf_hash(&public), index.0, size, root, &proof).map_err(broken)?;
        if entry.index != index {
            return Err(Error::integrity(format!("entry {index} says that it is entry {}", entry.index)));
        }
        Ok(ProvenEntry { entry, private: secret, public_bytes: public, private_bytes: private, proof })
    }
}
