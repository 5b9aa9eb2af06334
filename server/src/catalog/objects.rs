//! Objects: every generation that was ever put, and which one a name stands for.
//!
//! A row is immutable but for where the blob lies and how the key is wrapped (there, or in [`super::wraps`]), which repacking and rotation move; those are
//! protected by the wrapped key's own tuple. All the rest carries a mark of the ledger key: a row that was moved to another path,
//! or made by whoever can write the database, is an error when it is read.

mod facts;

use sqlx::Row;
use sqlx::any::AnyRow;
use strongroom_core::identity::Fingerprint;
use strongroom_core::ids::{DatasetId, Digest, Generation, Index, Millis, ObjectId, PutId, TenantId};
use strongroom_core::keys::wrap::Wrapped;
use strongroom_core::ledger::LedgerKey;
use strongroom_core::ledger::mac::Mac;
use strongroom_core::names::{DatasetName, ObjectPath};
use strongroom_core::sealed::HEADER_LEN;
use strongroom_core::sealed::header::Header;

use super::bulk::Bulk;
use super::heads::HeadRow;
use super::wraps::{Apart, apart};
use super::{Catalog, CatalogError, Tx, id, number, signed};

pub use super::listing::ListPage;
use facts::FIXED_LEN;
pub(crate) use facts::Facts;

/// About how long a row is as a parameter, without its names.
const ROW_LEN: usize = 720;

/// One generation of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectRow {
    /// Its dataset.
    pub dataset: DatasetId,
    /// The dataset's name.
    pub dataset_name: DatasetName,
    /// Its path.
    pub path: ObjectPath,
    /// Which writing of the path it is.
    pub generation: Generation,
    /// Its header, with the object id.
    pub header: Header,
    /// Plaintext bytes.
    pub size: u64,
    /// The content root.
    pub content_root: Digest,
    /// The put attempt that made it.
    pub put: PutId,
    /// The key that put it.
    pub holder: Fingerprint,
    /// The entry that made it visible.
    pub index: Index,
    /// Its ordinal there.
    pub ordinal: u32,
    /// That entry's time.
    pub created: Millis,
    /// Whether a release of it suspends whoever asked.
    pub canary: bool,
    /// The version of the tenant's key that wraps its root.
    pub key_version: u32,
    /// The wrapped root of its key tree.
    pub wrapped: Wrapped,
    /// The blob it lies in.
    pub blob: String,
    /// Where in the blob it begins.
    pub offset: u64,
}

/// An object to look for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lookup {
    /// Its dataset.
    pub dataset: DatasetId,
    /// The dataset's name.
    pub dataset_name: DatasetName,
    /// Its path.
    pub path: ObjectPath,
    /// Which writing; the newest if none.
    pub generation: Option<Generation>,
}

/// The columns of an [`ObjectRow`] out of `objects o` and [`apart`] of it, as [`object`] reads them from column 1 on.
macro_rules! columns {
    () => {
        "o.entry, o.ordinal, o.dataset, o.dataset_name, o.path, o.generation, o.put, o.fixed, o.mac, \
         coalesce(w.version, o.key_version), \
         coalesce(substr(w.wrapped, CAST(1 + 60 * (o.ordinal % 16) AS INTEGER), 60), o.wrapped), o.blob, o.start"
    };
}
pub(super) use columns;

/// New objects, each with its mark, to be inserted at once.
#[derive(Default)]
pub(crate) struct ObjectWrites {
    rows: Bulk,
    apart: Apart,
}

impl ObjectWrites {
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.rows() == 0
    }

    /// Makes room for so many more, whose names have so many bytes in all.
    pub(crate) fn reserve(&mut self, objects: usize, names: usize) {
        self.rows.reserve(objects * ROW_LEN + names);
    }

    /// Adds one: its facts, how its key is wrapped, and where it lies. With `many`, its entry puts others, too.
    pub(crate) fn push(
        &mut self,
        key: &LedgerKey,
        facts: &Facts<'_>,
        (key_version, wrapped, many): (u32, &Wrapped, bool),
        (blob, offset): (&str, u64),
    ) {
        let fixed = facts.fixed();
        let mac = facts.mac(key, &fixed);
        let row = self.rows.row();
        row.number(facts.index.0).number(u64::from(facts.ordinal)).bytes(facts.dataset.as_bytes());
        row.text(facts.dataset_name.as_str()).text(facts.path.as_str()).number(facts.generation.0);
        row.bytes(facts.header.object_id().as_bytes()).bytes(facts.put.as_bytes()).bytes(&fixed).bytes(&mac);
        row.number(u64::from(key_version)).bytes(if many { &[] } else { wrapped.as_bytes() }).text(blob).number(offset);
        if many {
            self.apart.push(facts.index.0, facts.ordinal, key_version, wrapped);
        }
    }
}

impl Catalog {
    /// Finds what the lookups name, each the newest that is visible or the generation asked for if it is not hidden. With it,
    /// the ledger's `Head::hides` of the same moment: what was found has not been hidden since, as long as that number stands.
    ///
    /// # Errors
    /// [`CatalogError::Integrity`] if a row does not carry its mark.
    pub async fn resolve(
        &self,
        tenant: &TenantId,
        key: &LedgerKey,
        lookups: &[Lookup],
    ) -> Result<(Vec<Option<ObjectRow>>, u64), CatalogError> {
        let mut bulk = Bulk::with_capacity(lookups.iter().map(|lookup| lookup.path.as_str().len() + 60).sum());
        let mut named = false;
        for (at, lookup) in (0..).zip(lookups) {
            bulk.row().number(at).bytes(lookup.dataset.as_bytes()).text(lookup.path.as_str());
            match lookup.generation {
                Some(generation) => bulk.number(generation.0),
                None => bulk.null(),
            };
            named |= lookup.generation.is_some();
        }
        let sql = self.sql(if named { RESOLVE_ANY } else { RESOLVE_NEWEST });
        let query = sqlx::query(sql).bind(bulk.finish()).bind(&tenant.as_bytes()[..]);
        let rows = query.fetch_all(self.reader()).await?;
        let (rows, hides) = beside_head(&rows, tenant, key)?;
        let mut found = vec![None; lookups.len()];
        for (at, row) in rows {
            let object = object(row, 1, key)?;
            let wanted = lookups.get(at).filter(|wanted| {
                wanted.dataset == object.dataset
                    && wanted.path == object.path
                    && wanted.generation.is_none_or(|generation| generation == object.generation)
            });
            if wanted.is_none() {
                return Err(astray(object.index, object.ordinal));
            }
            found[at] = Some(object);
        }
        Ok((found, hides))
    }

    /// The names of objects by their put entries and ordinals, in order.
    ///
    /// # Errors
    /// [`CatalogError::Integrity`] if one is missing or does not carry its mark.
    pub async fn names(
        &self,
        tenant: &TenantId,
        key: &LedgerKey,
        objects: &[(Index, u32)],
    ) -> Result<Vec<(DatasetName, ObjectPath)>, CatalogError> {
        let mut bulk = Bulk::with_capacity(objects.len() * 30);
        for (at, (index, ordinal)) in (0..).zip(objects) {
            bulk.row().number(at).number(index.0).number(u64::from(*ordinal));
        }
        let sql = self.sql(BY_ORDINAL);
        let query = sqlx::query(sql).bind(bulk.finish()).bind(&tenant.as_bytes()[..]);
        let rows = query.fetch_all(self.reader()).await?;
        if rows.len() != objects.len() {
            return Err(CatalogError::integrity("an object that the ledger names is missing from the catalog"));
        }
        let name = |row: &AnyRow| object(row, 1, key).map(|object| (object.dataset_name, object.path));
        rows.iter().map(name).collect()
    }

    /// Objects by their put entries and ordinals, in order; for a page of a list.
    pub(super) async fn by_ordinal(
        &self,
        tenant: &TenantId,
        key: &LedgerKey,
        objects: impl Iterator<Item = (u64, u64)>,
    ) -> Result<Vec<ObjectRow>, CatalogError> {
        let mut bulk = Bulk::with_capacity(1024);
        for (at, (index, ordinal)) in (0..).zip(objects) {
            bulk.row().number(at).number(index).number(ordinal);
        }
        let sql = self.sql(BY_ORDINAL);
        let query = sqlx::query(sql).bind(bulk.finish()).bind(&tenant.as_bytes()[..]);
        let rows = query.fetch_all(self.reader()).await?;
        rows.iter().map(|row| object(row, 1, key)).collect()
    }
}

impl Catalog {
    /// Every generation of every object, in the order in which they were put: up to `limit` of those after `after`, each with its
    /// mark checked.
    ///
    /// # Errors
    /// [`CatalogError::Integrity`] names the first one that does not carry its mark.
    pub(crate) async fn objects_after(
        &self,
        tenant: &TenantId,
        key: &LedgerKey,
        after: Option<(Index, u32)>,
        limit: u32,
    ) -> Result<Vec<ObjectRow>, CatalogError> {
        let sql = self.sql(concat!(
            "SELECT 0, ",
            columns!(),
            " FROM objects o",
            apart!(),
            " WHERE o.tenant = $1 AND (o.entry, o.ordinal) > ($2, $3) ORDER BY o.entry, o.ordinal LIMIT $4"
        ));
        let (index, ordinal) = after.map_or((-1, -1), |(index, ordinal)| (signed(index.0), i64::from(ordinal)));
        let query = sqlx::query(sql).bind(&tenant.as_bytes()[..]).bind(index).bind(ordinal).bind(i64::from(limit));
        query.fetch_all(self.reader()).await?.iter().map(|row| object(row, 1, key)).collect()
    }
}

impl Catalog {
    /// How many generations of objects of a tenant can be opened: their keys were not destroyed.
    pub(crate) async fn count_objects(&self, tenant: &TenantId) -> Result<u64, CatalogError> {
        let sql = self.sql("SELECT count(*) FROM objects WHERE tenant = $1 AND key_version > 0");
        let row = sqlx::query(sql).bind(&tenant.as_bytes()[..]).fetch_one(self.reader()).await?;
        number(&row, 0)
    }

    /// How many rows carry marks of the ledger key: objects and grants.
    pub(crate) async fn marked_rows(&self) -> Result<u64, CatalogError> {
        let sql = self.sql("SELECT (SELECT count(*) FROM objects) + (SELECT count(*) FROM grants)");
        let row = sqlx::query(sql).fetch_one(self.reader()).await?;
        number(&row, 0)
    }
}

macro_rules! resolve {
    ($($superseded:tt)*) => {
        concat!(
            "SELECT CAST(j.value->>0 AS BIGINT), ",
            columns!(),
            " FROM jsonb_each($1) j \
             CROSS JOIN paths p ON p.dataset = unhex(j.value->>1) AND p.path = j.value->>2 \
             CROSS JOIN objects o ON o.tenant = $2 AND o.entry = p.entry AND o.ordinal = p.ordinal",
            apart!(),
            " WHERE j.value->>3 IS NULL OR CAST(j.value->>3 AS BIGINT) = p.generation",
            $($superseded)*
            " UNION ALL SELECT -1, 0, 0, h.head, '', '', 0, h.mac, h.head, h.mac, 0, h.mac, '', 0 \
             FROM heads h WHERE h.tenant = $2 ORDER BY 1"
        )
    };
}

// In order, so that they come at once: from a file, each row that somebody waits for wakes them.
const RESOLVE_NEWEST: &str = resolve!();

const RESOLVE_ANY: &str = resolve!(
    " UNION ALL SELECT CAST(j.value->>0 AS BIGINT), ",
    columns!(),
    " FROM jsonb_each($1) j \
     CROSS JOIN superseded s ON s.dataset = unhex(j.value->>1) AND s.path = j.value->>2 \
     AND s.generation = CAST(j.value->>3 AS BIGINT) \
     CROSS JOIN objects o ON o.tenant = $2 AND o.entry = s.entry AND o.ordinal = s.ordinal",
    apart!(),
    " WHERE NOT EXISTS (SELECT 1 FROM tombstones t \
     WHERE t.dataset = s.dataset AND t.path = s.path AND t.through >= s.generation)",
);

const BY_ORDINAL: &str = concat!(
    "SELECT CAST(j.value->>0 AS BIGINT) AS n, ",
    columns!(),
    " FROM jsonb_each($1) j CROSS JOIN objects o ON o.tenant = $2 AND o.entry = CAST(j.value->>1 AS BIGINT) \
     AND o.ordinal = CAST(j.value->>2 AS BIGINT)",
    apart!(),
    " ORDER BY n"
);

impl Tx {
    /// Those objects that have one of these put ids.
    pub(crate) async fn objects_of_puts<'a>(
        &mut self,
        tenant: &TenantId,
        key: &LedgerKey,
        puts: impl IntoIterator<Item = &'a PutId>,
    ) -> Result<Vec<ObjectRow>, CatalogError> {
        let puts = puts.into_iter();
        let mut bulk = Bulk::with_capacity(puts.size_hint().0 * 40);
        puts.for_each(|put| {
            bulk.row().bytes(put.as_bytes());
        });
        let sql = self.sql(concat!(
            "SELECT 0, ",
            columns!(),
            " FROM jsonb_each($1) j CROSS JOIN objects o ON o.tenant = $2 AND o.put = unhex(j.value->>0)",
            apart!()
        ));
        let query = sqlx::query(sql).bind(bulk.finish()).bind(&tenant.as_bytes()[..]);
        query.fetch_all(self.connection()).await?.iter().map(|row| object(row, 1, key)).collect()
    }

    /// Those of `ids` that are taken.
    pub(crate) async fn taken_ids<'a>(
        &mut self,
        tenant: &TenantId,
        ids: impl IntoIterator<Item = &'a ObjectId>,
    ) -> Result<Vec<ObjectId>, CatalogError> {
        let ids = ids.into_iter();
        let mut bulk = Bulk::with_capacity(ids.size_hint().0 * 40);
        ids.for_each(|id| {
            bulk.row().bytes(id.as_bytes());
        });
        let sql = self.sql(
            "SELECT o.id FROM jsonb_each($1) j CROSS JOIN objects o ON o.tenant = $2 AND o.id = unhex(j.value->>0)",
        );
        let query = sqlx::query(sql).bind(bulk.finish()).bind(&tenant.as_bytes()[..]);
        let rows = query.fetch_all(self.connection()).await?;
        rows.iter().map(|row| id(row, 0).map(ObjectId::from_bytes)).collect()
    }

    /// Objects by their put entries and ordinals.
    pub(crate) async fn objects_at(
        &mut self,
        tenant: &TenantId,
        key: &LedgerKey,
        objects: impl IntoIterator<Item = (Index, u32)>,
    ) -> Result<Vec<ObjectRow>, CatalogError> {
        let mut bulk = Bulk::with_capacity(1024);
        for (at, (index, ordinal)) in (0..).zip(objects) {
            bulk.row().number(at).number(index.0).number(u64::from(ordinal));
        }
        let sql = self.sql(BY_ORDINAL);
        let query = sqlx::query(sql).bind(bulk.finish()).bind(&tenant.as_bytes()[..]);
        query.fetch_all(self.connection()).await?.iter().map(|row| object(row, 1, key)).collect()
    }

    /// Inserts new objects.
    pub(crate) async fn insert_objects(
        &mut self,
        tenant: &TenantId,
        objects: ObjectWrites,
    ) -> Result<(), CatalogError> {
        let sql = self.sql(
            "INSERT INTO objects (tenant, entry, ordinal, dataset, dataset_name, path, generation, id, put, fixed, mac, \
             key_version, wrapped, blob, start) \
             SELECT $2, CAST(j.value->>0 AS BIGINT), CAST(j.value->>1 AS BIGINT), unhex(j.value->>2), j.value->>3, \
             j.value->>4, CAST(j.value->>5 AS BIGINT), unhex(j.value->>6), unhex(j.value->>7), unhex(j.value->>8), \
             unhex(j.value->>9), CAST(j.value->>10 AS BIGINT), unhex(j.value->>11), j.value->>12, \
             CAST(j.value->>13 AS BIGINT) FROM jsonb_each($1) j",
        );
        let query = sqlx::query(sql).bind(objects.rows.finish()).bind(&tenant.as_bytes()[..]);
        query.execute(self.connection()).await?;
        self.insert_apart(tenant, objects.apart).await
    }
}

/// Rows, each with the number of what it answers.
type Numbered<'r> = Vec<(usize, &'r AnyRow)>;

/// The rows of a look-up, each with the number of what was looked for, and `Head::hides` from the one that is numbered -1: a
/// statement reads both at one moment.
pub(super) fn beside_head<'r>(
    rows: &'r [AnyRow],
    tenant: &TenantId,
    key: &LedgerKey,
) -> Result<(Numbered<'r>, u64), CatalogError> {
    let mut found = Vec::with_capacity(rows.len());
    let mut hides = None;
    for row in rows {
        match usize::try_from(row.try_get::<i64, _>(0)?) {
            Ok(at) => found.push((at, row)),
            Err(_) => {
                hides = Some(HeadRow { head: row.try_get(8)?, mac: row.try_get(9)? }.check(tenant, key)?.hides);
            }
        }
    }
    let hides = hides.ok_or_else(|| CatalogError::integrity(format!("tenant {tenant} has no head")))?;
    Ok((found, hides))
}

/// The object in [`columns`] from `first` on, if it carries its mark.
pub(super) fn object(row: &AnyRow, first: usize, key: &LedgerKey) -> Result<ObjectRow, CatalogError> {
    let (index, ordinal) = (number(row, first)?, number(row, first + 1)?);
    let (index, ordinal) = (Index(index), u32::try_from(ordinal).unwrap_or(u32::MAX));
    let mac: &[u8] = row.try_get(first + 8)?;
    let read = || {
        let (name, path): (&str, &str) = (row.try_get(first + 3).ok()?, row.try_get(first + 4).ok()?);
        let fixed: [u8; FIXED_LEN] = id(row, first + 7).ok()?;
        let (header, rest) = fixed.split_at(HEADER_LEN);
        let (size, rest) = rest.split_first_chunk::<8>()?;
        let (content_root, rest) = rest.split_first_chunk::<32>()?;
        let (holder, rest) = rest.split_first_chunk::<32>()?;
        let (created, canary) = rest.split_first_chunk::<8>()?;
        let object = ObjectRow {
            dataset: DatasetId::from_bytes(id(row, first + 2).ok()?),
            dataset_name: name.parse().ok()?,
            path: path.parse().ok()?,
            generation: Generation(number(row, first + 5).ok()?),
            header: Header::parse(header).ok()?,
            size: u64::from_be_bytes(*size),
            content_root: Digest::from_bytes(*content_root),
            put: PutId::from_bytes(id(row, first + 6).ok()?),
            holder: Fingerprint::from_bytes(*holder),
            index,
            ordinal,
            created: Millis(u64::from_be_bytes(*created)),
            canary: canary != [0],
            key_version: u32::try_from(number(row, first + 9).ok()?).ok()?,
            wrapped: Wrapped::from_bytes(id(row, first + 10).ok()?),
            blob: row.try_get(first + 11).ok()?,
            offset: number(row, first + 12).ok()?,
        };
        Some((object, fixed))
    };
    match read() {
        Some((object, fixed)) if equal(&object.facts().mac(key, &fixed), mac) => Ok(object),
        _ => Err(astray(index, ordinal)),
    }
}

/// Compares in time that depends on the lengths only.
fn equal(ours: &Mac, theirs: &[u8]) -> bool {
    ours.len() == theirs.len() && ours.iter().zip(theirs).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

fn astray(index: Index, ordinal: u32) -> CatalogError {
    CatalogError::integrity(format!(
        "the row of the object put as entry {index}, ordinal {ordinal}, does not carry its mark"
    ))
}
