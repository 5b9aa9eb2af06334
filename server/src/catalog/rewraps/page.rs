//! What of a rewrap is read, and the step that it becomes.
//!
//! ```text
//! page: rows and roots of one moment ─► (key holder) ─► step: rows of one root, rows of sixteen, what was skipped
//! ```
//!
//! A page is the whole cost of a rotation's reading: it comes as two long values instead of a row for each object, and no more of an
//! object than its root is bound to.

use std::collections::HashMap;
use std::ops::Range;

use sqlx::Row;
use strongroom_core::ids::{DatasetId, Digest, Index, TenantId};
use strongroom_core::keys::wrap::{WrapTuple, Wrapped};
use strongroom_core::sealed::HEADER_LEN;
use strongroom_core::sealed::header::Header;

use super::super::bounded::Bounded;
use super::super::bulk::Bulk;
use super::super::wraps::{SLOTS, slot};
use super::super::{Catalog, CatalogError, number, signed};

/// Objects that may wait to be wrapped anew, in order: what a wrapped root is bound to, and where it lies.
pub(crate) struct Page {
    version: u32,
    from: (Index, u32),
    /// The last of its objects.
    pub(crate) place: (Index, u32),
    /// Names and paths, and more.
    text: String,
    waiting: Vec<Waiting>,
    /// Objects whose rows are not as any was written.
    damaged: Vec<(Index, u32)>,
    /// Entry and chunk of those whose roots lie apart.
    broken: Vec<(u64, u32)>,
    /// Objects that were read, also those under the newest version.
    read: usize,
}

struct Waiting {
    place: (Index, u32),
    version: u32,
    name: Range<usize>,
    path: Range<usize>,
    dataset: DatasetId,
    header: Header,
    size: u64,
    content_root: Digest,
    wrapped: Wrapped,
    apart: bool,
}

/// A step of a rewrap, to be stored.
pub(crate) struct Step {
    pub(super) version: u32,
    pub(super) from: (Index, u32),
    pub(super) place: (Index, u32),
    /// Roots in the rows of their objects: entry, ordinal, the version that each was under, and how it is wrapped now.
    pub(super) rows: Vec<(u64, u32, u32, Wrapped)>,
    /// Rows of roots that lie apart: entry, chunk, the version they were under, and the new bytes.
    pub(super) chunks: Vec<(u64, u32, u32, Vec<u8>)>,
    /// Objects in these.
    pub(super) apart: u64,
    /// Rows of roots that lie apart of which one does not open: entry and chunk.
    broken: Vec<(u64, u32)>,
    /// What is left as it is.
    pub(crate) skipped: Vec<(Index, u32)>,
}

/// What became of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stored {
    /// It is stored.
    Whole,
    /// Nothing is: the rewrap, or a row, is no longer as it was read.
    Moved,
}

impl Page {
    /// What each wrapped root is bound to, and the root.
    pub(crate) fn rows(&self, tenant: TenantId) -> Vec<(WrapTuple<'_>, Wrapped)> {
        let row = |waiting: &Waiting| {
            let tuple = WrapTuple {
                tenant,
                key_version: waiting.version,
                dataset: waiting.dataset,
                dataset_name: self.text.get(waiting.name.clone()).unwrap_or_default(),
                path: self.text.get(waiting.path.clone()).unwrap_or_default(),
                header: waiting.header,
                size: waiting.size,
                content_root: waiting.content_root,
            };
            (tuple, waiting.wrapped)
        };
        self.waiting.iter().map(row).collect()
    }

    /// How many of its objects lie in rows of their own, and how many there are.
    pub(crate) fn count(&self) -> (usize, usize) {
        (self.waiting.iter().filter(|waiting| !waiting.apart).count(), self.read)
    }

    /// The step that stores the roots as they are wrapped now, in the order of [`Page::rows`]; none where one does not open.
    pub(crate) fn step(self, moved: Vec<Option<Wrapped>>) -> Step {
        let (mut rows, mut apart, mut skipped) = (Vec::new(), Vec::new(), self.damaged);
        let mut chunks: Vec<(u64, u32, u32, Vec<u8>)> = Vec::new();
        let mut broken = self.broken;
        for (waiting, wrapped) in self.waiting.iter().zip(moved) {
            let ((Index(entry), ordinal), version) = (waiting.place, waiting.version);
            match wrapped {
                Some(wrapped) if waiting.apart => apart.push((entry, ordinal, version, wrapped)),
                Some(wrapped) => rows.push((entry, ordinal, version, wrapped)),
                None if waiting.apart => broken.push((entry, ordinal / SLOTS)),
                None => skipped.push(waiting.place),
            }
        }
        for (entry, ordinal, version, wrapped) in &apart {
            let chunk = ordinal / SLOTS;
            if chunks.last().is_none_or(|last| (last.0, last.1) != (*entry, chunk)) {
                chunks.push((*entry, chunk, *version, Vec::with_capacity(SLOTS as usize * Wrapped::LEN)));
            }
            if let Some((_, _, _, bytes)) = chunks.last_mut() {
                bytes.resize(slot(*ordinal), 0);
                bytes.extend_from_slice(wrapped.as_bytes());
            }
        }
        let (version, from, place) = (self.version, self.from, self.place);
        Step { version, from, place, rows, chunks, apart: apart.len() as u64, broken, skipped }
    }
}

impl Step {
    /// Whether all that it would store may be: where one root of a row that lies apart does not open, the others are to be moved out of
    /// it first ([`Catalog::settle_broken`]).
    pub(crate) fn is_whole(&self) -> bool {
        self.broken.is_empty()
    }
}

impl Catalog {
    /// The next objects after `place`, at most `limit`, to be wrapped under `version`; none if there are no more.
    ///
    /// Their marks are not looked at: a wrapped root opens only for what it was authorised for, and nothing else is written.
    ///
    /// # Errors
    /// [`CatalogError`] if they cannot be read.
    pub(crate) async fn rewrap_page(
        &self,
        tenant: &TenantId,
        version: u32,
        place: (Index, u32),
        limit: u32,
    ) -> Result<Option<Page>, CatalogError> {
        let mut reading = self.bounded(self.0.reader.begin_with(self.0.dialect.begin_reading())).await?;
        // One row of long values: a row of its own for each object costs more than all else.
        let sql = self.sql(
            "SELECT string_agg(format('%s %s %s %s %s %s ', x.entry, x.ordinal, x.key_version, octet_length(x.dataset_name), \
             octet_length(x.path), octet_length(x.bytes)) || x.dataset_name || x.path, ''), \
             CAST(string_agg(x.bytes, '') AS BLOB) FROM (SELECT o.entry, o.ordinal, o.key_version, o.dataset_name, o.path, \
             substr(o.fixed, 1, 64) || o.dataset || o.wrapped AS bytes FROM objects o \
             WHERE o.tenant = $1 AND (o.entry, o.ordinal) > ($2, $3) AND o.key_version > 0 \
             ORDER BY o.entry, o.ordinal LIMIT $4) x",
        );
        let query = sqlx::query(sql).bind(&tenant.as_bytes()[..]).bind(signed(place.0.0)).bind(i64::from(place.1));
        let row = query
            .bind(i64::from(limit))
            .fetch_one(Bounded { on: &mut *reading, silence: self.0.silence.clone() })
            .await?;
        let (Some(text), Some(bytes)) = (row.try_get(0)?, row.try_get(1)?) else { return Ok(None) };
        let (text, bytes): (String, Vec<u8>) = (text, bytes);
        let mut rows = rows(&text, &bytes)
            .ok_or_else(|| CatalogError::integrity("a page of objects is not what was asked for"))?;
        if rows.len() as u64 == u64::from(limit) {
            whole_chunks(&mut rows);
        }
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return Ok(None) };
        let sql = self.sql(
            "SELECT entry, chunk, version, wrapped FROM wraps \
             WHERE tenant = $1 AND (entry, chunk) >= ($2, $3) AND (entry, chunk) <= ($4, $5)",
        );
        let query =
            sqlx::query(sql).bind(&tenant.as_bytes()[..]).bind(signed(first.entry)).bind(i64::from(first.chunk()));
        let query = query.bind(signed(last.entry)).bind(i64::from(last.chunk()));
        let mut chunks = HashMap::new();
        for row in query.fetch_all(Bounded { on: &mut *reading, silence: self.0.silence.clone() }).await? {
            let bytes: Vec<u8> = row.try_get(3)?;
            chunks.insert((number(&row, 0)?, number(&row, 1)?), (number(&row, 2)?, bytes));
        }
        self.bounded(reading.rollback()).await?;

        let (from, place) = (place, (Index(last.entry), last.ordinal));
        let mut page = Page {
            version,
            from,
            place,
            text: String::new(),
            waiting: Vec::new(),
            damaged: Vec::new(),
            broken: Vec::new(),
            read: rows.len(),
        };
        for row in &rows {
            let apart = chunks.get(&(row.entry, u64::from(row.chunk())));
            if apart.map_or(u64::from(row.version), |(version, _)| *version) >= u64::from(version) {
                continue;
            }
            match (row.waiting(&bytes, apart), apart) {
                (Some(waiting), _) => page.waiting.push(waiting),
                (None, Some(_)) => page.broken.push((row.entry, row.chunk())),
                (None, None) => page.damaged.push((Index(row.entry), row.ordinal)),
            }
        }
        page.text = text;
        Ok(Some(page))
    }

    /// Moves the roots beside one that does not open into the rows of their objects, where each stands for itself.
    ///
    /// # Errors
    /// [`CatalogError`] if the rows cannot be written.
    pub(crate) async fn settle_broken(&self, tenant: &TenantId, step: &Step) -> Result<(), CatalogError> {
        let mut chunks = Bulk::with_capacity(step.broken.len() * 64);
        for (entry, chunk) in &step.broken {
            chunks.row().bytes(tenant.as_bytes()).number(*entry).number(u64::from(*chunk));
        }
        let mut tx = self.begin().await?;
        let lifted = tx.lift(chunks).await?;
        tx.lay_down(lifted).await?;
        tx.commit().await
    }
}

/// An object in a page, as it was read.
struct Read {
    entry: u64,
    ordinal: u32,
    version: u32,
    name: Range<usize>,
    path: Range<usize>,
    bytes: Range<usize>,
}

impl Read {
    fn chunk(&self) -> u32 {
        self.ordinal / SLOTS
    }

    /// What its root is bound to and how it is wrapped; none if its row is not as any was written.
    fn waiting(&self, bytes: &[u8], apart: Option<&(u64, Vec<u8>)>) -> Option<Waiting> {
        let (header, rest) = bytes.get(self.bytes.clone())?.split_at_checked(HEADER_LEN)?;
        let (size, rest) = rest.split_first_chunk::<8>()?;
        let (content_root, rest) = rest.split_first_chunk::<32>()?;
        let (dataset, own) = rest.split_first_chunk::<16>()?;
        let (version, wrapped) = match apart {
            Some((version, roots)) => {
                (u32::try_from(*version).ok()?, roots.get(slot(self.ordinal)..)?.get(..Wrapped::LEN)?)
            }
            None => (self.version, own),
        };
        Some(Waiting {
            place: (Index(self.entry), self.ordinal),
            version,
            name: self.name.clone(),
            path: self.path.clone(),
            dataset: DatasetId::from_bytes(*dataset),
            header: Header::parse(header).ok()?,
            size: u64::from_be_bytes(*size),
            content_root: Digest::from_bytes(*content_root),
            wrapped: Wrapped::try_from(wrapped).ok()?,
            apart: apart.is_some(),
        })
    }
}

/// Takes the two long values of a page apart.
fn rows(text: &str, bytes: &[u8]) -> Option<Vec<Read>> {
    let (mut rows, mut at, mut byte) = (Vec::new(), 0, 0_usize);
    while at < text.len() {
        let mut number = || {
            let digits = text.get(at..)?.split(' ').next()?;
            at += digits.len() + 1;
            digits.parse::<u64>().ok()
        };
        let (entry, ordinal, version) = (number()?, u32::try_from(number()?).ok()?, u32::try_from(number()?).ok()?);
        let mut length = || usize::try_from(number()?).ok();
        let (name, path, len) = (length()?, length()?, length()?);
        let name = at..at.checked_add(name)?;
        let path = name.end..name.end.checked_add(path)?;
        at = path.end;
        rows.push(Read { entry, ordinal, version, name, path, bytes: byte..byte.checked_add(len)? });
        byte += len;
    }
    rows.sort_unstable_by_key(|row| (row.entry, row.ordinal));
    (at == text.len() && byte == bytes.len()).then_some(rows)
}

/// Leaves what may be half of the objects whose roots lie in one row to the next page.
fn whole_chunks(rows: &mut Vec<Read>) {
    let Some(last) = rows.last().map(|row| (row.entry, row.chunk())) else { return };
    let whole = rows.iter().rposition(|row| (row.entry, row.chunk()) != last);
    if let Some(whole) = whole {
        rows.truncate(whole + 1);
    }
}
