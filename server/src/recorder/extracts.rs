//! What a fold takes of a ledger, read ahead of whoever folds.
//!
//! ```text
//! summaries: what may be in each bundle ─┬─► nothing that is needed: passed over
//!                                        ├─► releases alone: its facts (one small sealed file)
//!                                        └─► entries too: the bundle ─┐
//! not left the catalog yet ─► batches ────────────────────────────────┴─► facts are made of the entries
//! ```
//!
//! Nothing is folded here: memory holds what is read ahead, however long the ledger is. Bundles with private parts can be large, so
//! few of them are read at once.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use strongroom_core::ids::{Digest, Index};
use strongroom_core::ledger::Event;
use strongroom_core::ledger::checkpoint::Checkpoint;
use strongroom_core::ledger::extract::{Extract, Needs};
use strongroom_core::ledger::facts::Facts;
use strongroom_core::ledger::proof::TileHashes;
use strongroom_core::ledger::summary::{Summary, SummaryError};
use strongroom_core::ledger::tile::{Kind, Tile, WIDTH};
use tokio::task::JoinHandle;

use super::ledger::Stop;
use super::search::{Known, Look};
use super::shelf::{Parts, Unread};
use super::{EntryBytes, RecordError, Recorder};
use crate::blobs::BlobError;
use crate::tenants::Tenant;

/// Bundles whose facts are read by one task, and how many tasks and bundles are under way.
const TOGETHER: usize = 16;
const AHEAD: usize = 6;
/// How many of these may read whole bundles.
const HEAVY: usize = 2;
/// Bytes of recent entries that are read at once.
const RECENT: usize = 2 << 20;

/// What a fold takes of some entries.
pub(crate) struct Extracted {
    /// Facts of their releases; none if there are no releases.
    pub(crate) facts: Option<Bytes>,
    /// Entries.
    pub(crate) entries: Vec<EntryBytes>,
    /// One past the last entry that it is of.
    pub(crate) end: Index,
}

/// What a bundle is read for.
#[derive(Clone, Copy)]
struct Reading {
    releases: bool,
    entries: bool,
}

/// Extracts of a ledger, in the order of the entries.
pub(crate) struct Extracts {
    recorder: Recorder,
    tenant: Arc<Tenant>,
    needs: Arc<Needs>,
    /// Where it begins, where nothing was looked at yet, and where it ends.
    from: Index,
    next: Index,
    to: Index,
    known: Known,
    /// The newest checkpoint, once it is needed, and the tree under it.
    signed: Option<(Arc<Checkpoint>, TileHashes)>,
    running: VecDeque<Running>,
    /// Numbers of bundles whose facts are to be read, up to which index.
    facts: Vec<u64>,
}

struct Running {
    work: JoinHandle<Result<Vec<Extracted>, RecordError>>,
    is_heavy: bool,
}

impl Extracts {
    /// Of a ledger's entries from `from` on and before `to`.
    pub(crate) fn new(recorder: Recorder, tenant: Arc<Tenant>, needs: Needs, from: Index, to: Index) -> Self {
        Self {
            recorder,
            tenant,
            needs: Arc::new(needs),
            from,
            next: from,
            to,
            known: Known::default(),
            signed: None,
            running: VecDeque::new(),
            facts: Vec::new(),
        }
    }

    /// The next ones; none at the end.
    ///
    /// # Errors
    /// [`RecordError::Integrity`] if something that is kept was changed, which stops the tenant where it is a file;
    /// [`RecordError::Unavailable`] if it cannot be read.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<Extracted>>, RecordError> {
        while self.running.len() < AHEAD && self.next < self.to {
            // One more may come of a step than the facts that were collected before it.
            if self.running.iter().filter(|running| running.is_heavy).count() >= HEAVY {
                break;
            }
            self.step().await?;
        }
        if self.next >= self.to {
            self.read_facts();
        }
        let Some(running) = self.running.pop_front() else { return Ok(None) };
        let done = running.work.await.map_err(|error| RecordError::Unavailable(error.to_string()))?;
        done.map(Some)
    }

    /// Looks at the next bundle, or as many entries as lie together.
    async fn step(&mut self) -> Result<(), RecordError> {
        let needs = self.needs.clone();
        let look = self.recorder.look(&self.tenant, &mut self.known, self.next, |summary| reading(&needs, summary));
        let number = self.next.0 / WIDTH;
        let end = Index((number + 1) * WIDTH).min(self.to);
        match look.await? {
            Look::Past(next) => self.next = next.min(self.to),
            Look::Bundle(Reading { entries: false, .. }) => {
                self.facts.push(number);
                if self.facts.len() >= TOGETHER {
                    self.read_facts();
                }
                self.next = end;
            }
            Look::Bundle(reading) => {
                self.read_facts();
                let (signed, above) = self.above(number).await?;
                let reader = self.reader();
                let work = async move { Ok(vec![reader.bundle(number, &signed, &above, reading).await?]) };
                self.running.push_back(Running { work: tokio::spawn(work), is_heavy: true });
                self.next = end;
            }
            Look::Recent => {
                self.read_facts();
                let entries = self.recorder.stretch(&self.tenant, self.next, self.to, RECENT).await?;
                let (first, end) = (self.next, Index(self.next.0 + entries.len() as u64));
                let reader = self.reader();
                // A batch may be long: parsing it is no work for a thread that serves others.
                let work = tokio::task::spawn_blocking(move || reader.of_entries(first, &entries));
                self.running.push_back(Running { work, is_heavy: true });
                self.next = end;
            }
        }
        Ok(())
    }

    /// Has the facts read that were collected.
    fn read_facts(&mut self) {
        let numbers = std::mem::take(&mut self.facts);
        if numbers.is_empty() {
            return;
        }
        let reader = self.reader();
        let work = async move {
            let all = numbers.iter().map(|number| reader.facts(*number));
            let found = futures::future::join_all(all).await;
            found.into_iter().collect()
        };
        self.running.push_back(Running { work: tokio::spawn(work), is_heavy: false });
    }

    fn reader(&self) -> Reader {
        let (recorder, tenant, needs) = (self.recorder.clone(), self.tenant.clone(), self.needs.clone());
        Reader { recorder, tenant, needs, from: self.from, to: self.to }
    }

    /// The newest checkpoint, and what leads from a bundle to it.
    async fn above(&mut self, number: u64) -> Result<(Arc<Checkpoint>, Vec<Digest>), RecordError> {
        let inner = self.recorder.inner.clone();
        let (signed, hashes) = match &mut self.signed {
            Some(known) => known,
            none => {
                // What was summed up is under it.
                let signed = inner.signed(&self.tenant).await?;
                let signed = signed.ok_or_else(|| RecordError::Integrity("the ledger has no checkpoint".to_owned()))?;
                let hashes = TileHashes::new(signed.size.0);
                none.insert((Arc::new(signed), hashes))
            }
        };
        let above = inner.shelf.above(&self.tenant, number, signed, hashes).await;
        Ok((signed.clone(), above.map_err(|unread| inner.unread(&self.tenant, unread))?))
    }
}

/// What of a bundle is to be read, if anything.
fn reading(needs: &Needs, summary: &Summary) -> Option<Reading> {
    let is_theirs = needs.doers.as_ref().is_none_or(|doers| summary.may_be_by(doers));
    let is_release = |(event, _): &(Event, u64)| matches!(event, Event::Release | Event::ReleaseRepeat);
    let releases = is_theirs && summary.events.iter().any(is_release);
    let entries = summary.has(&needs.events) || (is_theirs && summary.has(&needs.own));
    (releases || entries).then_some(Reading { releases, entries })
}

/// Reads for one task.
struct Reader {
    recorder: Recorder,
    tenant: Arc<Tenant>,
    needs: Arc<Needs>,
    /// The first bundle may begin before, and the last end after what is asked for.
    from: Index,
    to: Index,
}

impl Reader {
    /// The facts of a bundle.
    async fn facts(&self, number: u64) -> Result<Extracted, RecordError> {
        let facts = match self.kept_facts(number).await? {
            Some(facts) => self.encoded(facts),
            None => {
                // They are not there in this form: they follow from the entries.
                let (first, end) = (self.from.max(Index(number * WIDTH)), self.to.min(Index((number + 1) * WIDTH)));
                let entries = self.recorder.stretch(&self.tenant, first, end, usize::MAX).await?;
                return self.of_some(first, &entries, true);
            }
        };
        let end = Index((number + 1) * WIDTH).min(self.to);
        Ok(Extracted { facts, entries: Vec::new(), end })
    }

    /// The facts of those who are asked about, if they lie beside a bundle.
    async fn kept_facts(&self, number: u64) -> Result<Option<Facts>, RecordError> {
        let inner = &self.recorder.inner;
        let Some(tile) = Tile::new(Kind::Facts, number, WIDTH) else { return Ok(None) };
        let bytes = match inner.shelf.file(&self.tenant, tile).await {
            Ok(bytes) => bytes,
            Err(BlobError::Missing(_)) => return Ok(None),
            Err(error) => return Err(inner.unread(&self.tenant, Unread::from(error))),
        };
        let Ok(facts) = Facts::read(&bytes) else { return Ok(None) };
        if facts.first().0 != number * WIDTH {
            return Ok(None);
        }
        let facts = match &self.needs.doers {
            Some(doers) => facts.only(|actor, grants| doers.did(actor, grants)),
            None => facts,
        };
        Ok(Some(facts))
    }

    fn encoded(&self, facts: Facts) -> Option<Bytes> {
        let facts = facts.between(self.from, self.to);
        (!facts.is_empty()).then(|| facts.bytes().into())
    }

    /// What is read of a bundle, under the checkpoint: its entries, and its releases by their facts if they are there.
    async fn bundle(
        &self,
        number: u64,
        signed: &Checkpoint,
        above: &[Digest],
        reading: Reading,
    ) -> Result<Extracted, RecordError> {
        let inner = &self.recorder.inner;
        let facts = if reading.releases { self.kept_facts(number).await? } else { Some(Facts::new(Index(0))) };
        let bundle = inner.shelf.bundle_below(&self.tenant, number, signed, above, Parts::Loose).await;
        let bundle = bundle.map_err(|unread| inner.unread(&self.tenant, unread))?;
        let places = bundle.places(self.from, self.to);
        let both = bundle.public.iter().cloned().zip(bundle.private.iter().cloned());
        let entries: Vec<EntryBytes> = both.skip(places.start).take(places.len()).collect();
        let mut extracted = self.of_some(self.from.max(bundle.first), &entries, facts.is_none())?;
        if let Some(facts) = facts {
            extracted.facts = self.encoded(facts);
        }
        Ok(extracted)
    }

    /// What is taken of entries in a row.
    fn of_entries(&self, first: Index, entries: &[EntryBytes]) -> Result<Vec<Extracted>, RecordError> {
        let parts = (first.0..).step_by(WIDTH as usize).map(Index).zip(entries.chunks(WIDTH as usize));
        parts.map(|(first, part)| self.of_some(first, part, true)).collect()
    }

    fn of_some(&self, first: Index, entries: &[EntryBytes], releases: bool) -> Result<Extracted, RecordError> {
        let count = entries.len() as u64;
        let slices = entries.iter().map(|(public, private)| (&public[..], &private[..]));
        let stop = |error: SummaryError| match error {
            SummaryError::Private(_) => {
                self.recorder.inner.ledger(&self.tenant.id).stop(&self.tenant.id, Stop::Integrity(error.to_string()))
            }
            error => RecordError::Integrity(error.to_string()),
        };
        let extract = match releases {
            true => Extract::of(first, slices, &self.needs),
            false => Extract::without_releases(first, slices, &self.needs),
        };
        let extract = extract.map_err(stop)?;
        let bytes =
            |(public, private): &(&[u8], &[u8])| (Bytes::copy_from_slice(public), Bytes::copy_from_slice(private));
        let entries = extract.entries.iter().map(bytes).collect();
        let end = Index(first.0 + count);
        Ok(Extracted { facts: self.encoded(extract.facts), entries, end })
    }
}
