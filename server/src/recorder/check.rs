//! A ledger looked at whole: everything that this server holds of it is read back, and what does not fit is said.
//!
//! ```text
//! database:      head (mark) ─ authority log ─ batches up to the head, and none above ─ rows that widen something (marks) ─ checkpoint (signature)
//! object store:  checkpoint's copy (signature) ─ bundles, private parts, tiles up to the signed root
//! ```
//!
//! It works on a ledger that is stopped, too: nothing is decided by what it finds, and nothing is repaired. The entries of the
//! database and the files of the object store are each brought to the signed root by themselves, so that it shows which of the two
//! was changed.

use std::sync::Arc;

use strongroom_core::grant::Authority;
use strongroom_core::ids::{Digest, Index, Millis};
use strongroom_core::ledger::Head;
use strongroom_core::ledger::batch::split;
use strongroom_core::ledger::checkpoint::Checkpoint;
use strongroom_core::ledger::cosign::WitnessKey;
use strongroom_core::ledger::proof::{Hashes, Lacking, TileHashes, root};
use strongroom_core::ledger::tile::{Kind, Tile, WIDTH, is_private_part, tiles_of};
use strongroom_core::ledger::tree::{CompactRange, leaf_hash};
use tokio::sync::mpsc;

use super::floors::{open_copy, open_row};
use super::load::{check_authority, fold};
use super::{RecordError, Recorder};
use crate::blobs::BlobError;
use crate::catalog::CatalogError;
use crate::tenants::Tenant;

/// Bytes of batches, and rows with marks, that are read in one go.
const BATCHES: u64 = 4 << 20;
const ROWS: u32 = 1000;

/// How a ledger stands, as far as it can be told without reading all of it.
#[derive(Debug, Clone, Default)]
pub struct LedgerState {
    /// Entries, the root over them, and the time of the newest; none if there is no head, or it does not carry its mark.
    pub head: Option<(Index, Digest, Millis)>,
    /// The newest checkpoint in the database.
    pub checkpoint: Option<Checkpoint>,
    /// Its copy in the object store.
    pub copy: Option<Checkpoint>,
    /// Why it goes no further in this process, if it does not.
    pub stopped: Option<String>,
    /// What could not be read, or does not fit.
    pub problems: Vec<String>,
}

/// What is told while a ledger is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// So much of so much was read: entries, in the files and in the database.
    Progress(u64, u64),
    /// Something does not fit.
    Fault(Fault),
}

/// Something that does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where: a row's or a file's name.
    pub place: String,
    /// What is wrong.
    pub what: String,
    /// What can be done.
    pub advice: &'static str,
}

const DATABASE: &str = "restore the database to a state of the newest checkpoint or later: the tenant goes on from there; \
     nothing older is taken";
const ABOVE: &str = "remove what stands above the head: it is no part of the ledger. Nothing is recorded, or released, while it is \
     there; start the servers again after that";
const FILE: &str = "put the file back from a backup or from an `audit export`; a tile and a bundle are the same bytes there, \
     and the vault takes no others";
const PRIVATE: &str =
    "restore the object store's file from a backup: its private parts are sealed, and nothing else opens";
const COPY: &str = "restore the object store's checkpoint from a backup, or remove it if the one in the database holds: it is written anew";
const WITNESS: &str = "it is passed over by whoever checks it; the witness's next cosignature replaces it";

/// Why a look ends before its end.
enum End {
    /// Nobody listens any more.
    Gone,
    Failed(RecordError),
}

impl From<RecordError> for End {
    fn from(error: RecordError) -> Self {
        Self::Failed(error)
    }
}

impl Recorder {
    /// Who stands in which relation to a tenant, as far as it can be known of one that may be stopped.
    pub async fn last_authority(&self, tenant: &Arc<Tenant>) -> Option<Arc<Authority>> {
        if let Ok(view) = self.view(tenant).await {
            return Some(view.authority);
        }
        if let Some(view) = self.inner.ledger(&tenant.id).view() {
            return Some(view.authority);
        }
        let since = self.catalog().since(&tenant.id, &tenant.ledger_key, Index(0)).await.ok()??;
        let mut authority = Authority::default();
        fold(&mut authority, [0; 32], &since.authority, &since.head).ok()?;
        Some(Arc::new(authority))
    }

    /// How a ledger stands. It is held against its checkpoints first, and stopped if it does not fit.
    pub async fn ledger_state(&self, tenant: &Arc<Tenant>) -> LedgerState {
        let mut state = LedgerState::default();
        let mut problem = |what: String| {
            if !state.problems.contains(&what) {
                state.problems.push(what);
            }
        };
        if let Err(error @ (RecordError::Unavailable(_) | RecordError::Clock(_))) = self.view(tenant).await {
            problem(error.to_string());
        }
        if self.stopped(&tenant.id).is_none()
            && let Err(RecordError::Unavailable(why)) = self.inner.compare(tenant).await
        {
            problem(why);
        }
        match self.catalog().checkpoint(&tenant.id).await {
            Ok(row) => match row.map(|row| open_row(tenant, &row)).transpose() {
                Ok(checkpoint) => state.checkpoint = checkpoint,
                Err(stop) => problem(stop.why().to_owned()),
            },
            Err(error) => problem(error.to_string()),
        }
        match self.inner.shelf.logs().checkpoint(&tenant.id).await {
            Ok(note) => match note.map(|note| open_copy(tenant, &note)).transpose() {
                Ok(copy) => state.copy = copy,
                Err(stop) => problem(stop.why().to_owned()),
            },
            Err(error) => problem(format!("the checkpoint in the object store: {error}")),
        }
        // The head is all that is asked for: what of the authority log is under the checkpoint need not come along.
        let signed = state.checkpoint.as_ref().map(|checkpoint| checkpoint.size).unwrap_or_default();
        match self.catalog().since(&tenant.id, &tenant.ledger_key, signed).await {
            Ok(Some(since)) => state.head = Some((since.head.size(), since.head.tip(), since.head.time)),
            Ok(None) => problem("the ledger has no head".to_owned()),
            Err(error) => problem(error.to_string()),
        }
        state.stopped = self.stopped(&tenant.id);
        state
    }

    /// Reads back everything that this server holds of a ledger, and tells what does not fit.
    ///
    /// # Errors
    /// [`RecordError::Unavailable`] if something could not be read: nothing is known about it then.
    pub async fn check_ledger(&self, tenant: &Arc<Tenant>, tell: &mpsc::Sender<Told>) -> Result<(), RecordError> {
        match (Look { recorder: self, tenant, tell, total: 0 }).whole().await {
            Ok(()) | Err(End::Gone) => Ok(()),
            Err(End::Failed(error)) => Err(error),
        }
    }
}

struct Look<'a> {
    recorder: &'a Recorder,
    tenant: &'a Arc<Tenant>,
    tell: &'a mpsc::Sender<Told>,
    total: u64,
}

impl Look<'_> {
    async fn whole(mut self) -> Result<(), End> {
        // Checkpoints first: what is appended meanwhile is above them.
        let top = self.checkpoints().await?;
        let head = self.head(top.as_ref()).await?;
        let size = top.as_ref().map(|top| top.size).unwrap_or_default();
        self.total = size.0 + head.as_ref().map_or(0, |head| head.size().0);
        if let Some(top) = &top {
            self.files(top).await?;
        }
        if let Some(head) = &head {
            self.batches(head, top.as_ref()).await?;
            self.above(head).await?;
        }
        self.marks().await?;
        self.cosignatures().await
    }

    async fn say(&self, told: Told) -> Result<(), End> {
        self.tell.send(told).await.map_err(|_| End::Gone)
    }

    async fn fault(&self, place: impl Into<String>, what: impl Into<String>, advice: &'static str) -> Result<(), End> {
        self.say(Told::Fault(Fault { place: place.into(), what: what.into(), advice })).await
    }

    /// What the catalog says; a fault where a mark or a row does not hold.
    async fn read<T>(&self, place: &str, found: Result<T, CatalogError>) -> Result<Option<T>, End> {
        match found {
            Ok(found) => Ok(Some(found)),
            Err(CatalogError::Integrity(why)) => self.fault(place, why, DATABASE).await.map(|()| None),
            Err(error) => Err(End::Failed(RecordError::of_catalog(error))),
        }
    }

    /// The newest checkpoint that is signed: the database's, else its copy.
    async fn checkpoints(&self) -> Result<Option<Checkpoint>, End> {
        let (tenant, recorder) = (self.tenant, self.recorder);
        let unread = |error: BlobError| RecordError::Unavailable(format!("the checkpoint: {error}"));
        // The copy first: it follows the database's, which may go on while both are read.
        let copy = recorder.inner.shelf.logs().checkpoint(&tenant.id).await.map_err(unread)?;
        let row = recorder.catalog().checkpoint(&tenant.id).await.map_err(RecordError::of_catalog)?;
        let keys = recorder.catalog().log_keys(&tenant.id).await;
        if let Some(keys) = self.read("log keys", keys).await?
            && let Err(error) = tenant.learn(&keys)
        {
            self.fault("log keys", error.to_string(), DATABASE).await?;
        }
        let row = match row.map(|row| open_row(tenant, &row)).transpose() {
            Ok(row) => row,
            Err(stop) => self.fault("checkpoint in the database", stop.why(), DATABASE).await.map(|()| None)?,
        };
        let copy = match copy.map(|note| open_copy(tenant, &note)).transpose() {
            Ok(copy) => copy,
            Err(stop) => self.fault("checkpoint in the object store", stop.why(), COPY).await.map(|()| None)?,
        };
        if let (Some(row), Some(copy)) = (&row, &copy) {
            if copy.size > row.size {
                let what = format!("it has {} entries, its copy {}: the database was put back", row.size, copy.size);
                self.fault("checkpoint in the database", what, DATABASE).await?;
            } else if copy.size == row.size && copy.root != row.root {
                let what = format!("it and its copy say two roots of {} entries: two histories were signed", row.size);
                self.fault("checkpoint in the database", what, DATABASE).await?;
            }
        }
        Ok(larger(row, copy))
    }

    async fn head(&self, top: Option<&Checkpoint>) -> Result<Option<Head>, End> {
        let tenant = self.tenant;
        let since = self.recorder.catalog().since(&tenant.id, &tenant.ledger_key, Index(0)).await;
        let Some(since) = self.read("head", since).await? else { return Ok(None) };
        let Some(since) = since else {
            self.fault("head", "the ledger has none", DATABASE).await?;
            return Ok(None);
        };
        if let Err(why) = check_authority(&since.authority, &since.head) {
            self.fault("authority log", why, DATABASE).await?;
        }
        if let Some(top) = top.filter(|top| top.size > since.head.size()) {
            let what = format!("it has {} entries, and {} are signed: it was put back", since.head.size(), top.size);
            self.fault("head", what, DATABASE).await?;
        }
        Ok(Some(since.head))
    }

    /// A file's bytes; a fault if it is not there, or not what was put.
    async fn file(&self, tile: Tile) -> Result<Option<bytes::Bytes>, End> {
        let advice = if tile.kind() == Kind::Private { PRIVATE } else { FILE };
        match self.recorder.inner.shelf.file(self.tenant, tile).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(BlobError::Missing(_)) => self.fault(tile.to_string(), "it is missing", advice).await.map(|()| None),
            Err(BlobError::Altered(_)) => {
                self.fault(tile.to_string(), "it does not open, or is too long", advice).await.map(|()| None)
            }
            Err(error) => Err(End::Failed(RecordError::Unavailable(format!("{tile}: {error}")))),
        }
    }

    /// Every file of the log, against those below it, up to the root that was signed.
    async fn files(&self, top: &Checkpoint) -> Result<(), End> {
        // The root follows from the last tile of each level alone.
        let mut tails = TileHashes::new(top.size.0);
        let mut level = 0;
        // The roots of the full tiles of the level below, and of this one; none where a tile could not be read.
        let (mut below, mut own): (Vec<Option<Digest>>, Vec<Option<Digest>>) = Default::default();
        let mut fits = true;
        for tile in tiles_of(top.size.0) {
            let Kind::Hashes(at) = tile.kind() else { continue };
            if at != level {
                (level, below) = (at, std::mem::take(&mut own));
            }
            let hashes = self.hashes(tile).await?;
            fits &= hashes.is_some();
            match &hashes {
                Some(hashes) if at == 0 => self.bundle(tile, hashes).await?,
                Some(hashes) => fits &= self.row(tile, hashes, &below).await?,
                None => {}
            }
            if at == 0 {
                self.say(Told::Progress(tile.index() * WIDTH + tile.width(), self.total)).await?;
            }
            match hashes {
                hashes if tile.is_full() => own.push(hashes.map(|hashes| root_over(&hashes))),
                Some(hashes) => tails.put(tile, hashes),
                None => {}
            }
        }
        match root(&tails, top.size.0) {
            Ok(found) if found != top.root && fits => {
                self.fault("tile/", "the tiles come to another root than the one that was signed", FILE).await
            }
            // What is missing or does not fit was said.
            Ok(_) | Err(Lacking(_)) => Ok(()),
        }
    }

    async fn hashes(&self, tile: Tile) -> Result<Option<Vec<Digest>>, End> {
        let Some(bytes) = self.file(tile).await? else { return Ok(None) };
        match tile.hashes(&bytes) {
            Ok(hashes) => Ok(Some(hashes)),
            Err(error) => self.fault(tile.to_string(), error.to_string(), FILE).await.map(|()| None),
        }
    }

    /// A tile above the first level, against the roots of those below it.
    async fn row(&self, tile: Tile, hashes: &[Digest], below: &[Option<Digest>]) -> Result<bool, End> {
        let first = usize::try_from(tile.index() * WIDTH).unwrap_or(usize::MAX);
        let under = below.get(first..).unwrap_or_default();
        let wrong = hashes.iter().zip(under).position(|(hash, under)| under.is_some_and(|under| under != *hash));
        let Some(at) = wrong else { return Ok(true) };
        let what = format!("its hash {at} is not the root of the tile below it");
        self.fault(tile.to_string(), what, FILE).await.map(|()| false)
    }

    /// A bundle of entries and its private parts, against the hashes.
    async fn bundle(&self, hashes_tile: Tile, hashes: &[Digest]) -> Result<(), End> {
        let (tile, private) = (hashes_tile.beside(Kind::Entries), hashes_tile.beside(Kind::Private));
        let (entries, secrets) = (self.file(tile).await?, self.file(private).await?);
        let Some(entries) = entries else { return Ok(()) };
        let Ok(entries) = tile.parts(&entries) else {
            return self.fault(tile.to_string(), "it does not hold as many entries as its name says", FILE).await;
        };
        for (index, (entry, hash)) in (tile.index() * WIDTH..).zip(entries.iter().zip(hashes)) {
            if leaf_hash(entry) != *hash {
                let what =
                    format!("entry {index} does not hash to its place in {hashes_tile}: one of the two was changed");
                self.fault(tile.to_string(), what, FILE).await?;
            }
        }
        let Some(secrets) = secrets else { return Ok(()) };
        let Ok(secrets) = private.parts(&secrets) else {
            return self.fault(private.to_string(), "it does not hold as many parts as its name says", PRIVATE).await;
        };
        for (index, (entry, secret)) in (tile.index() * WIDTH..).zip(entries.iter().zip(secrets)) {
            if !is_private_part(entry, secret) {
                let what = format!("the private part of entry {index} is not the one whose hash the entry holds");
                self.fault(private.to_string(), what, PRIVATE).await?;
            }
        }
        Ok(())
    }

    /// The batches that are in the database, up to the head, by way of the signed root.
    async fn batches(&self, head: &Head, top: Option<&Checkpoint>) -> Result<(), End> {
        let (catalog, tenant) = (self.recorder.catalog(), self.tenant);
        let signed = top.map(|top| top.size).unwrap_or_default();
        let mut range: Option<CompactRange> = None;
        while range.as_ref().is_none_or(|range| range.size() < head.size().0) {
            let at = Index(range.as_ref().map_or(0, CompactRange::size));
            let found = catalog.batches_from(&tenant.id, at, BATCHES).await;
            let Some(found) = self.read(&format!("batch of entry {at}"), found).await? else { return Ok(()) };
            let Some((first, ..)) = found.first() else {
                // All that is signed may have left the database for its bundles.
                let is_gone = range.is_none() && head.size() == signed;
                return match is_gone {
                    true => Ok(()),
                    false => self.fault(format!("batch of entry {at}"), "it is missing", DATABASE).await,
                };
            };
            let mut own = match range.take() {
                Some(range) => range,
                None if first.first.0 == 0 => CompactRange::default(),
                None => match self.range_at(first.first, signed).await? {
                    Some(range) => range,
                    None => return Ok(()),
                },
            };
            for (batch, size, tip) in found {
                let place = format!("batch of entry {}", own.size());
                let (Ok(public), Ok(private)) = (split(&batch.entries), split(&batch.parts)) else {
                    return self.fault(place, "it is cut", DATABASE).await;
                };
                if batch.first.0 != own.size() || public.len() != private.len() {
                    return self.fault(place, "it does not hold what it says", DATABASE).await;
                }
                for (public, private) in public.into_iter().zip(private) {
                    if !is_private_part(public, private) {
                        let what = format!("the private part of entry {} is another than the entry says", own.size());
                        self.fault(&*place, what, DATABASE).await?;
                    }
                    own.append(leaf_hash(public));
                    if let Some(top) = top.filter(|top| top.size.0 == own.size() && top.root != own.root()) {
                        let what = format!("the entries up to {} are not those that were signed", top.size);
                        return self.fault(place, what, DATABASE).await;
                    }
                }
                if (Index(own.size()), own.root()) != (size, tip) {
                    return self.fault(place, "its entries do not come to its tip", DATABASE).await;
                }
            }
            self.say(Told::Progress(signed.0 + own.size().min(head.size().0), self.total)).await?;
            range = Some(own);
        }
        match range.is_none_or(|range| range.size() > head.size().0 || range == head.range) {
            true => Ok(()),
            false => self.fault("head", "the entries do not come to its tip", DATABASE).await,
        }
    }

    /// Nothing stands where the ledger goes on.
    async fn above(&self, head: &Head) -> Result<(), End> {
        let above = self.recorder.catalog().above_head(&self.tenant.id).await;
        for above in above.map_err(RecordError::of_catalog)? {
            let what = format!("{above} that the vault did not write; the head was at {}", head.size());
            self.fault(format!("{} above the head", above.table), what, ABOVE).await?;
        }
        Ok(())
    }

    /// The tree over the first entries, of which the database has none any more, out of the tiles.
    async fn range_at(&self, size: Index, signed: Index) -> Result<Option<CompactRange>, End> {
        if size > signed {
            let what = format!("the entries from {signed} on are neither here nor under a checkpoint");
            return self.fault(format!("batch of entry {signed}"), what, DATABASE).await.map(|()| None);
        }
        let mut hashes = TileHashes::new(signed.0);
        let mut roots = Vec::new();
        let mut start = 0;
        for bit in (0..u64::BITS).rev().filter(|bit| size.0 >> bit & 1 == 1) {
            loop {
                match hashes.hash(bit, start >> bit) {
                    Ok(hash) => break roots.push(hash),
                    Err(Lacking(tile)) => {
                        let Some(bytes) = self.file(tile).await? else { return Ok(None) };
                        if hashes.insert(tile, &bytes).is_err() {
                            return Ok(None);
                        }
                    }
                }
            }
            start += 1 << bit;
        }
        Ok(CompactRange::from_roots(size.0, roots))
    }

    /// The marks of every grant and of every generation of every object.
    async fn marks(&self) -> Result<(), End> {
        let (catalog, tenant) = (self.recorder.catalog(), self.tenant);
        let mut before = None;
        loop {
            let grants = catalog.list_grants(&tenant.id, &tenant.ledger_key, before, ROWS).await;
            let Some(grants) = self.read("grants", grants).await? else { break };
            let Some(last) = grants.last() else { break };
            before = Some(last.issued.0);
        }
        let mut after = None;
        loop {
            let found = catalog.objects_after(&tenant.id, &tenant.ledger_key, after, ROWS).await;
            let Some(found) = self.read("objects", found).await? else { return Ok(()) };
            let Some(last) = found.last() else { return Ok(()) };
            after = Some((last.index, last.ordinal));
        }
    }

    async fn cosignatures(&self) -> Result<(), End> {
        let rows = self.recorder.catalog().cosignatures(&self.tenant.id).await.map_err(RecordError::of_catalog)?;
        let keys = self.tenant.log_keys();
        for row in rows {
            let is_signed = keys.open(&row.note).is_ok_and(|(checkpoint, _)| checkpoint.size == row.size);
            let is_cosigned =
                row.witness.parse().is_ok_and(|key: WitnessKey| matches!(key.cosigned(&row.note), Ok(Some(_))));
            if !is_signed || !is_cosigned {
                let name: String = row.witness.chars().take(80).collect();
                self.fault(format!("cosignature of {name}"), "its signatures do not hold", WITNESS).await?;
            }
        }
        Ok(())
    }
}

/// The root over as many hashes as a full tile has.
fn root_over(hashes: &[Digest]) -> Digest {
    let mut range = CompactRange::default();
    hashes.iter().for_each(|hash| range.append(*hash));
    range.root()
}

/// The one of more entries.
fn larger(one: Option<Checkpoint>, other: Option<Checkpoint>) -> Option<Checkpoint> {
    match (one, other) {
        (Some(one), Some(other)) => Some(if other.size > one.size { other } else { one }),
        (one, other) => one.or(other),
    }
}
