//! What is visible at each path, what was before, and what was deleted.
//!
//! These rows are pointers: they say which generation a path stands for, and each object's own row says, under its mark, which
//! path and generation it is. Whoever can write the database can bring an older generation back or hide one, until replay
//! notices; they cannot make a path stand for another path's object.

use sqlx::Row;
use strongroom_core::ids::{DatasetId, Generation, Index, Millis, TenantId};

use super::bulk::Bulk;
use super::{CatalogError, Tx, number};

/// What stands at a path.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct PathRow {
    /// The visible generation, with the put entry and ordinal that name it.
    pub(crate) visible: Option<(Generation, Index, u32)>,
    /// Generations up to this one are hidden; the number was taken by the last delete. 0 if there was none.
    pub(crate) through: Generation,
    /// Generations up to this one were shredded; 0 if none was.
    pub(crate) shredded: Generation,
}

impl PathRow {
    /// The number of the next writing or delete.
    pub(crate) fn next(&self) -> Generation {
        let newest = self.visible.map_or(Generation(0), |(generation, ..)| generation);
        Generation(newest.max(self.through).0 + 1)
    }
}

/// What a batch changes of paths: the end of it, not each step.
#[derive(Default)]
pub(crate) struct PathWrites {
    show: Bulk,
    supersede: Bulk,
    hide: Bulk,
    retire: Bulk,
    /// As `retire`, for what was shredded: its time is over.
    due: Bulk,
}

impl PathWrites {
    /// This generation is what is visible.
    pub(crate) fn show(
        &mut self,
        dataset: &DatasetId,
        path: &str,
        (generation, index, ordinal): (Generation, Index, u32),
    ) {
        let row = self.show.row().bytes(dataset.as_bytes()).text(path);
        row.number(generation.0).number(index.0).number(u64::from(ordinal));
    }

    /// This generation was visible and gave way to a newer one.
    pub(crate) fn supersede(
        &mut self,
        dataset: &DatasetId,
        path: &str,
        (generation, index, ordinal): (Generation, Index, u32),
        rekeyed: bool,
    ) {
        let row = self.supersede.row().bytes(dataset.as_bytes()).text(path);
        row.number(generation.0).number(index.0).number(u64::from(ordinal));
        self.retire(index, ordinal, rekeyed);
    }

    /// This object is no longer what its path stands for: its time to be kept begins. It is a short one if the same content is there
    /// under a new key.
    pub(crate) fn retire(&mut self, index: Index, ordinal: u32, rekeyed: bool) {
        self.retire.row().number(index.0).number(u64::from(ordinal)).number(u64::from(rekeyed));
    }

    /// This object was shredded: its key is to be destroyed at once.
    pub(crate) fn shred(&mut self, index: Index, ordinal: u32) {
        self.due.row().number(index.0).number(u64::from(ordinal));
    }

    /// Generations up to `through` are hidden, those up to `shredded` for good. What is visible after it is shown beside.
    pub(crate) fn hide(&mut self, dataset: &DatasetId, path: &str, through: Generation, shredded: Generation) {
        self.hide.row().bytes(dataset.as_bytes()).text(path).number(through.0).number(shredded.0);
    }
}

/// The places of a batch, as a parameter.
fn places(places: &[(DatasetId, &str)]) -> String {
    let mut bulk = Bulk::with_capacity(places.iter().map(|(_, path)| path.len() + 56).sum());
    for (at, (dataset, path)) in (0..).zip(places) {
        bulk.row().number(at).bytes(dataset.as_bytes()).text(path);
    }
    bulk.finish()
}

impl Tx {
    /// What stands at each of these places, in their order.
    pub(crate) async fn paths(&mut self, wanted: &[(DatasetId, &str)]) -> Result<Vec<PathRow>, CatalogError> {
        let sql = self.sql(
            "SELECT CAST(j.value->>0 AS BIGINT), p.generation, p.entry, p.ordinal, t.through, t.shredded FROM jsonb_each($1) j \
             LEFT JOIN paths p ON p.dataset = unhex(j.value->>1) AND p.path = j.value->>2 \
             LEFT JOIN tombstones t ON t.dataset = unhex(j.value->>1) AND t.path = j.value->>2 \
             WHERE p.generation IS NOT NULL OR t.through IS NOT NULL",
        );
        let query = sqlx::query(sql).bind(places(wanted));
        let mut found = vec![PathRow::default(); wanted.len()];
        for row in query.fetch_all(self.connection()).await? {
            let at = usize::try_from(number(&row, 0)?).unwrap_or(usize::MAX);
            let slot =
                found.get_mut(at).ok_or_else(|| CatalogError::integrity("an answer to nothing that was asked"))?;
            if row.try_get::<Option<i64>, _>(1)?.is_some() {
                let ordinal = u32::try_from(number(&row, 3)?).unwrap_or(u32::MAX);
                slot.visible = Some((Generation(number(&row, 1)?), Index(number(&row, 2)?), ordinal));
            }
            if row.try_get::<Option<i64>, _>(4)?.is_some() {
                slot.through = Generation(number(&row, 4)?);
                slot.shredded = Generation(number(&row, 5)?);
            }
        }
        Ok(found)
    }

    /// Writes what a batch changed of a tenant's paths at `now`.
    pub(crate) async fn write_paths(
        &mut self,
        tenant: &TenantId,
        now: Millis,
        writes: PathWrites,
    ) -> Result<(), CatalogError> {
        let PathWrites { show, supersede, hide, retire, due } = writes;
        if retire.rows() > 0 {
            self.retire(tenant, now, retire).await?;
        }
        if due.rows() > 0 {
            self.retire_due(tenant, &due.finish()).await?;
        }
        if hide.rows() > 0 {
            let rows = hide.finish();
            let sql = self.sql(
                "DELETE FROM paths WHERE (dataset, path) IN \
                 (SELECT unhex(j.value->>0), j.value->>1 FROM jsonb_each($1) j)",
            );
            sqlx::query(sql).bind(&rows[..]).execute(self.connection()).await?;
            let sql = self.sql(
                "INSERT INTO tombstones (dataset, path, through, shredded) \
                 SELECT unhex(j.value->>0), j.value->>1, CAST(j.value->>2 AS BIGINT), CAST(j.value->>3 AS BIGINT) \
                 FROM jsonb_each($1) j WHERE true \
                 ON CONFLICT (dataset, path) DO UPDATE SET through = excluded.through, shredded = excluded.shredded",
            );
            sqlx::query(sql).bind(rows).execute(self.connection()).await?;
        }
        if supersede.rows() > 0 {
            let sql = self.sql(
                "INSERT INTO superseded (dataset, path, generation, entry, ordinal) \
                 SELECT unhex(j.value->>0), j.value->>1, CAST(j.value->>2 AS BIGINT), CAST(j.value->>3 AS BIGINT), \
                 CAST(j.value->>4 AS BIGINT) FROM jsonb_each($1) j",
            );
            sqlx::query(sql).bind(supersede.finish()).execute(self.connection()).await?;
        }
        if show.rows() > 0 {
            let sql = self.sql(
                "INSERT INTO paths (dataset, path, generation, entry, ordinal) \
                 SELECT unhex(j.value->>0), j.value->>1, CAST(j.value->>2 AS BIGINT), CAST(j.value->>3 AS BIGINT), \
                 CAST(j.value->>4 AS BIGINT) FROM jsonb_each($1) j WHERE true \
                 ON CONFLICT (dataset, path) DO UPDATE SET generation = excluded.generation, entry = excluded.entry, \
                 ordinal = excluded.ordinal",
            );
            sqlx::query(sql).bind(show.finish()).execute(self.connection()).await?;
        }
        Ok(())
    }
}
