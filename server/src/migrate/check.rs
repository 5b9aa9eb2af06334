//! Whether a catalog holds what it says: each ledger from its entries up to its head, and the marks of rows that widen something.

use strongroom_core::identity::sha256;
use strongroom_core::ids::{Digest, Index};
use strongroom_core::ledger::batch::split;
use strongroom_core::ledger::proof::TileHashes;
use strongroom_core::ledger::tile::WIDTH;
use strongroom_core::ledger::tree::{CompactRange, leaf_hash};
use strongroom_core::ledger::{Entry, Head};

use super::{MigrateError, Place, Tell, Told};
use crate::catalog::{Catalog, CatalogError};
use crate::error::Error;
use crate::recorder::{Parts, Shelf, Unread, check_authority, signed_row};
use crate::tenants::Tenant;

/// Bytes of batches, and rows with marks, that are read in one go.
const BATCHES: u64 = 4 << 20;
const ROWS: u32 = 1000;

/// One tenant of one catalog, to be checked.
#[derive(Clone, Copy)]
pub(super) struct Check<'a> {
    pub(super) catalog: &'a Catalog,
    pub(super) shelf: &'a Shelf,
    pub(super) place: Place,
    pub(super) tenant: &'a Tenant,
    pub(super) tell: Tell<'a>,
}

impl Check<'_> {
    pub(super) fn broken(&self, why: impl Into<String>) -> MigrateError {
        MigrateError::Broken { tenant: self.tenant.name.clone(), place: self.place, why: why.into() }
    }

    /// With the tenant's name before what does not fit.
    pub(super) fn of<T>(&self, result: Result<T, CatalogError>) -> Result<T, MigrateError> {
        result.map_err(|error| match error {
            CatalogError::Integrity(why) => self.broken(why),
            other => other.into(),
        })
    }

    /// The ledger: its head carries its mark, the authority log comes to the head's authority tip, and all entries, each with its
    /// private part unless that was erased, come to the head's tip by way of what every batch says. Those whose batches have left are
    /// read out of the object store.
    pub(super) async fn ledger(&self, size: Index) -> Result<Head, MigrateError> {
        let Self { catalog, tenant, .. } = self;
        let since = self.of(catalog.since(&tenant.id, &tenant.ledger_key, Index(0)).await)?;
        let since = since.ok_or_else(|| self.broken("the ledger has no head"))?;
        let head = since.head;
        if head.size() != size {
            return Err(self.broken(format!("the head's row says {size} entries, the head {}", head.size())));
        }
        check_authority(&since.authority, &head).map_err(|why| self.broken(why))?;
        let mut range = self.shelved().await?;
        loop {
            let batches = self.of(catalog.batches_from(&tenant.id, Index(range.size()), BATCHES).await)?;
            if batches.is_empty() {
                break;
            }
            for (batch, size, tip) in batches {
                let before = range.size();
                let wrong = |why: &str| self.broken(format!("the batch after entry {before} {why}"));
                let cut = |_| wrong("is cut");
                let (public, private) = (split(&batch.entries).map_err(cut)?, split(&batch.parts).map_err(cut)?);
                if batch.first.0 != before || public.len() != private.len() {
                    return Err(wrong("does not hold what it says"));
                }
                for (public, private) in public.into_iter().zip(private) {
                    let index = Index(range.size());
                    let entry = Entry::from_bytes(public).map_err(|_| wrong("has an entry that is none"))?;
                    let fits = private.is_empty() || Digest::from_bytes(sha256(private)) == entry.private;
                    if entry.index != index || !fits {
                        return Err(self.broken(format!("entry {index} is not what its batch says")));
                    }
                    range.append(leaf_hash(public));
                }
                if (Index(range.size()), range.root()) != (size, tip) {
                    return Err(wrong("does not come to its tip"));
                }
                (self.tell)(Told::More(range.size() - before));
            }
        }
        if range == head.range { Ok(head) } else { Err(self.broken("the entries do not come to the head's tip")) }
    }

    /// The entries before the oldest batch, out of their bundles; each of those is found under the checkpoint.
    async fn shelved(&self) -> Result<CompactRange, MigrateError> {
        let Self { catalog, shelf, tenant, .. } = self;
        let mut range = CompactRange::default();
        let oldest = self.of(catalog.batch_of(&tenant.id, Index(0)).await)?;
        let Some(end) = oldest.map(|batch| batch.first).filter(|first| *first > Index(0)) else { return Ok(range) };
        let row = self.of(catalog.checkpoint(&tenant.id).await)?;
        let row = row.ok_or_else(|| self.broken(format!("the batches before entry {end} are missing")))?;
        let signed = signed_row(tenant, &row).map_err(|why| self.broken(why))?;
        let mut hashes = TileHashes::new(signed.size.0);
        while range.size() < end.0 {
            let before = range.size();
            let bundle = shelf.bundle(tenant, before / WIDTH, &signed, &mut hashes, Parts::Both).await;
            let bundle = bundle.map_err(|unread| match unread {
                Unread::Later(error) => Error::from(error).into(),
                Unread::Changed(why) => self.broken(format!("the log's files: {why}")),
            })?;
            for public in bundle.public.iter().take(bundle.places(Index(before), end).len()) {
                let index = Index(range.size());
                if Entry::from_bytes(public).is_ok_and(|entry| entry.index == index) {
                    range.append(leaf_hash(public));
                } else {
                    return Err(self.broken(format!("entry {index} is not what its bundle says")));
                }
            }
            (self.tell)(Told::More(range.size() - before));
        }
        Ok(range)
    }

    /// The marks of every grant and of every generation of every object; how many objects there are.
    pub(super) async fn marks(&self) -> Result<u64, MigrateError> {
        let Self { catalog, tenant, .. } = self;
        let mut before = None;
        loop {
            let grants = catalog.list_grants(&tenant.id, &tenant.ledger_key, before, ROWS).await;
            let grants = self.of(grants)?;
            let Some(last) = grants.last() else { break };
            before = Some(last.issued.0);
            (self.tell)(Told::More(grants.len() as u64));
        }
        let (mut after, mut objects) = (None, 0);
        loop {
            let found = catalog.objects_after(&tenant.id, &tenant.ledger_key, after, ROWS).await;
            let found = self.of(found)?;
            let Some(last) = found.last() else { return Ok(objects) };
            after = Some((last.index, last.ordinal));
            objects += found.len() as u64;
            (self.tell)(Told::More(found.len() as u64));
        }
    }
}
