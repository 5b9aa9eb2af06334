//! What is to be shredded, and how far that is.
//!
//! ```text
//! ordered (entry r) ─► paths under the prefix, put before r ─► tombstone, due ─┐
//!                  └─► what was retired before, put before r ─────────► due ─┴─► (retention) key destroyed, blob condemned
//! ```
//!
//! A shred only says that the time of what it covers is over: it is `retired` since ever, and the steps of retention do the rest.
//! From the order's entry on nothing of it is released, whatever the rows here say; what is here is how its keys are got rid of.
//!
//! Invariants:
//! - A step is one transaction, and moves its place with its rows: whatever breaks one off, the next goes on.
//! - A step that moves paths holds the ledger's head: nobody writes to the same path beside it.
//! - A shred is finished when nothing that it covers has a key, and what the database could overwrite is overwritten.

use sqlx::Row;
use sqlx::any::AnyRow;
use strongroom_core::grant::Prefix;
use strongroom_core::ids::{DatasetId, Index, Millis, TenantId};
use strongroom_core::ledger::LedgerKey;

use super::bulk::Bulk;
use super::listing::{after_all, next_text};
use super::{Catalog, CatalogError, Tx, number, signed};
use crate::failpoint;

/// An order to shred, as it was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewShred {
    /// Its entry.
    pub(crate) entry: Index,
    /// Which dataset; none for the whole tenant.
    pub(crate) dataset: Option<DatasetId>,
    /// Which part of it.
    pub(crate) prefix: Prefix,
}

/// What is done in which order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// What paths stand for is made due.
    Paths,
    /// What was overwritten or hidden before is made due.
    Retired,
    /// Nothing is left but to destroy what is due.
    Due,
}

/// How far an order to shred is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shred {
    /// The order.
    pub(crate) order: NewShred,
    /// What is done now.
    pub(crate) step: Step,
    /// The last path that was dealt with; in a tenant's, with the dataset before it.
    place: String,
    /// The last retired object that was dealt with.
    retired: (i64, i64),
    /// How many objects it met so far, each generation by itself.
    pub(crate) done: u64,
    /// When it was ordered.
    pub(crate) started: Millis,
    /// When nothing was left, if that is so.
    pub(crate) finished: Option<Millis>,
}

/// The first and the end of the paths that a prefix covers, as text.
fn bounds(prefix: &Prefix) -> (String, String) {
    match prefix {
        Prefix::Exact(path) => (path.as_str().to_owned(), next_text(path.as_str())),
        Prefix::Folder(start) | Prefix::Stem(start) => (start.clone(), after_all(start)),
    }
}

impl Tx {
    /// Notes an order to shred.
    pub(crate) async fn begin_shred(
        &mut self,
        tenant: &TenantId,
        shred: &NewShred,
        now: Millis,
    ) -> Result<(), CatalogError> {
        let sql = self.sql(
            "INSERT INTO shreds (tenant, entry, dataset, prefix, step, place, put, ordinal, done, started, finished) \
             VALUES ($1, $2, $3, $4, 0, '', 0, 0, 0, $5, NULL)",
        );
        let dataset = shred.dataset.map(|dataset| dataset.as_bytes().to_vec()).unwrap_or_default();
        let query = sqlx::query(sql).bind(&tenant.as_bytes()[..]).bind(signed(shred.entry.0)).bind(dataset);
        let query = query.bind(shred.prefix.to_string()).bind(signed(now.0));
        query.execute(self.connection()).await?;
        Ok(())
    }

    /// The row as it is now. Nobody else changes it until this transaction ends.
    async fn shred(&mut self, tenant: &TenantId, entry: Index) -> Result<Option<Shred>, CatalogError> {
        let sql = self.sql(
            "SELECT entry, dataset, prefix, step, place, put, ordinal, done, started, finished FROM shreds \
             WHERE tenant = $1 AND entry = $2 /*postgres FOR UPDATE*/",
        );
        let query = sqlx::query(sql).bind(&tenant.as_bytes()[..]).bind(signed(entry.0));
        query.fetch_optional(self.connection()).await?.as_ref().map(shred).transpose()
    }

    async fn move_shred(&mut self, tenant: &TenantId, to: &Shred) -> Result<(), CatalogError> {
        let sql = self.sql(
            "UPDATE shreds SET step = $3, place = $4, put = $5, ordinal = $6, done = $7 WHERE tenant = $1 AND entry = $2",
        );
        let query = sqlx::query(sql).bind(&tenant.as_bytes()[..]).bind(signed(to.order.entry.0));
        let query = query.bind(number_of(to.step)).bind(&to.place[..]).bind(to.retired.0).bind(to.retired.1);
        query.bind(signed(to.done)).execute(self.connection()).await?;
        Ok(())
    }

    /// The next paths of a dataset under a prefix, after a place.
    async fn paths_under(
        &mut self,
        dataset: &DatasetId,
        from: &str,
        end: &str,
        limit: u32,
    ) -> Result<Vec<(String, u64, u64, u64)>, CatalogError> {
        let sql = self.sql(
            "SELECT path, generation, entry, ordinal FROM paths WHERE dataset = $1 AND path >= $2 AND path < $3 \
             ORDER BY path LIMIT $4",
        );
        let query = sqlx::query(sql).bind(&dataset.as_bytes()[..]).bind(from).bind(end).bind(i64::from(limit));
        let rows = query.fetch_all(self.connection()).await?;
        rows.iter().map(|row| Ok((row.try_get(0)?, number(row, 1)?, number(row, 2)?, number(row, 3)?))).collect()
    }

    /// Takes paths of a dataset out of sight for good: of each row, path, generation, put entry and ordinal.
    async fn shred_paths(
        &mut self,
        tenant: &TenantId,
        dataset: &DatasetId,
        rows: &[(String, u64, u64, u64)],
    ) -> Result<(), CatalogError> {
        let (mut paths, mut due) = (Bulk::with_capacity(16_384), Bulk::with_capacity(4096));
        for (path, generation, entry, ordinal) in rows {
            paths.row().text(path).number(*generation);
            due.row().number(*entry).number(*ordinal);
        }
        let paths = paths.finish();
        let sql = self.sql(
            "INSERT INTO tombstones (dataset, path, through, shredded) SELECT $2, j.value->>0, \
             CAST(j.value->>1 AS BIGINT), CAST(j.value->>1 AS BIGINT) FROM jsonb_each($1) j WHERE true \
             ON CONFLICT (dataset, path) DO UPDATE SET through = excluded.through, shredded = excluded.shredded \
             WHERE tombstones.through < excluded.through",
        );
        sqlx::query(sql).bind(&paths[..]).bind(&dataset.as_bytes()[..]).execute(self.connection()).await?;
        let sql =
            self.sql("DELETE FROM paths WHERE dataset = $2 AND path IN (SELECT j.value->>0 FROM jsonb_each($1) j)");
        sqlx::query(sql).bind(paths).bind(&dataset.as_bytes()[..]).execute(self.connection()).await?;
        self.retire_due(tenant, &due.finish()).await
    }
}

impl Catalog {
    /// Whether anything stands, or stood, at a path that a prefix covers.
    pub(crate) async fn is_anything_at(&self, dataset: &DatasetId, prefix: &Prefix) -> Result<bool, CatalogError> {
        let (start, end) = bounds(prefix);
        for statement in [
            "SELECT entry FROM paths WHERE dataset = $1 AND path >= $2 AND path < $3 LIMIT 1",
            "SELECT through FROM tombstones WHERE dataset = $1 AND path >= $2 AND path < $3 LIMIT 1",
        ] {
            let query = sqlx::query(self.sql(statement)).bind(&dataset.as_bytes()[..]).bind(&start[..]).bind(&end[..]);
            if query.fetch_optional(self.reader()).await?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Of paths that nothing is visible at, or not the generation that is asked for: whether that was shredded, in their order.
    pub(crate) async fn were_shredded(
        &self,
        wanted: &[(DatasetId, &str, Option<u64>)],
    ) -> Result<Vec<bool>, CatalogError> {
        let mut bulk = Bulk::with_capacity(4096);
        for (at, (dataset, path, _)) in (0..).zip(wanted) {
            bulk.row().number(at).bytes(dataset.as_bytes()).text(path);
        }
        let sql = self.sql(
            "SELECT CAST(j.value->>0 AS BIGINT), t.through, t.shredded FROM jsonb_each($1) j \
             CROSS JOIN tombstones t ON t.dataset = unhex(j.value->>1) AND t.path = j.value->>2 WHERE t.shredded > 0",
        );
        let mut found = vec![false; wanted.len()];
        for row in sqlx::query(sql).bind(bulk.finish()).fetch_all(self.reader()).await? {
            let at = usize::try_from(number(&row, 0)?).unwrap_or(usize::MAX);
            let (through, shredded) = (number(&row, 1)?, number(&row, 2)?);
            if let (Some(found), Some((_, _, generation))) = (found.get_mut(at), wanted.get(at)) {
                // What was put anew and deleted since is deleted.
                *found = generation.map_or(through == shredded, |generation| generation <= shredded);
            }
        }
        Ok(found)
    }

    /// The newest orders to shred of a tenant, or the one that an entry records.
    pub(crate) async fn shreds(
        &self,
        tenant: &TenantId,
        entry: Option<Index>,
        limit: u32,
    ) -> Result<Vec<Shred>, CatalogError> {
        let sql = self.sql(
            "SELECT entry, dataset, prefix, step, place, put, ordinal, done, started, finished FROM shreds \
             WHERE tenant = $1 AND entry >= $2 AND entry <= $3 ORDER BY entry DESC LIMIT $4",
        );
        let (least, most) = entry.map_or((0, i64::MAX), |entry| (signed(entry.0), signed(entry.0)));
        let query = sqlx::query(sql).bind(&tenant.as_bytes()[..]).bind(least).bind(most).bind(i64::from(limit));
        query.fetch_all(self.reader()).await?.iter().map(shred).collect()
    }

    /// The orders that are not carried out yet, oldest first.
    pub(crate) async fn unfinished_shreds(&self, limit: u32) -> Result<Vec<(TenantId, Index)>, CatalogError> {
        let sql = self.sql("SELECT tenant, entry FROM shreds WHERE finished IS NULL ORDER BY started LIMIT $1");
        let rows = sqlx::query(sql).bind(i64::from(limit)).fetch_all(self.reader()).await?;
        rows.iter().map(|row| Ok((TenantId::from_bytes(super::id(row, 0)?), Index(number(row, 1)?)))).collect()
    }

    /// One step of an order: up to `limit` objects are made due. `datasets` are those of the tenant, by their ids. Returns how far
    /// it is then; none if there is no such order.
    pub(crate) async fn step_shred(
        &self,
        tenant: &TenantId,
        key: &LedgerKey,
        entry: Index,
        datasets: &[DatasetId],
        limit: u32,
    ) -> Result<Option<Shred>, CatalogError> {
        let mut tx = self.begin().await?;
        tx.head(tenant, key).await?;
        let Some(mut shred) = tx.shred(tenant, entry).await? else { return Ok(None) };
        match shred.step {
            Step::Paths => step_paths(&mut tx, tenant, &mut shred, datasets, limit).await?,
            Step::Retired => step_retired(&mut tx, tenant, &mut shred, limit).await?,
            Step::Due => return Ok(Some(shred)),
        }
        tx.move_shred(tenant, &shred).await?;
        failpoint::hit("shred.committing");
        tx.commit().await?;
        failpoint::hit("shred.committed");
        Ok(Some(shred))
    }

    /// Notes that nothing is left of what an order covers; `false` if something of the tenant is still due.
    pub(crate) async fn finish_shred(
        &self,
        tenant: &TenantId,
        entry: Index,
        now: Millis,
    ) -> Result<bool, CatalogError> {
        let mut tx = self.begin().await?;
        let sql = tx.sql(
            "UPDATE shreds SET finished = $3 WHERE tenant = $1 AND entry = $2 AND step = 2 AND finished IS NULL \
             AND NOT EXISTS (SELECT 1 FROM retired r WHERE r.since < 1 AND r.tenant = $1)",
        );
        let query = sqlx::query(sql).bind(&tenant.as_bytes()[..]).bind(signed(entry.0)).bind(signed(now.0));
        let finished = query.execute(tx.connection()).await?.rows_affected() == 1;
        tx.commit().await?;
        Ok(finished)
    }
}

/// Makes what paths stand for due, as far as it was put before the order.
async fn step_paths(
    tx: &mut Tx,
    tenant: &TenantId,
    shred: &mut Shred,
    datasets: &[DatasetId],
    limit: u32,
) -> Result<(), CatalogError> {
    let (start, end) = bounds(&shred.order.prefix);
    // A tenant's place begins with the dataset's id, in hex.
    let (dataset, after) = match shred.order.dataset {
        Some(dataset) => (Some(dataset), shred.place.clone()),
        None => {
            let (id, path) = shred.place.split_at_checked(32).unwrap_or_default();
            let at = datasets.partition_point(|dataset| dataset.to_string().as_str() < id);
            (datasets.get(at).copied(), path.to_owned())
        }
    };
    let Some(dataset) = dataset else {
        (shred.step, shred.place) = (Step::Retired, String::new());
        return Ok(());
    };
    let from = if after.is_empty() { start } else { next_text(&after) };
    let mut rows = tx.paths_under(&dataset, &from, &end, limit).await?;
    let last = rows.last().map(|(path, ..)| path.clone());
    let is_full = rows.len() >= limit as usize;
    rows.retain(|(_, _, entry, _)| *entry < shred.order.entry.0);
    if !rows.is_empty() {
        tx.shred_paths(tenant, &dataset, &rows).await?;
        shred.done += rows.len() as u64;
    }
    match (shred.order.dataset, last) {
        (Some(_), Some(last)) if is_full => shred.place = last,
        (Some(_), _) => (shred.step, shred.place) = (Step::Retired, String::new()),
        (None, Some(last)) if is_full => shred.place = format!("{dataset}{last}"),
        (None, _) => match datasets.iter().find(|next| **next > dataset) {
            Some(next) => shred.place = next.to_string(),
            None => (shred.step, shred.place) = (Step::Retired, String::new()),
        },
    }
    Ok(())
}

/// Makes what was retired before due, as far as it is covered and was put before the order.
async fn step_retired(tx: &mut Tx, tenant: &TenantId, shred: &mut Shred, limit: u32) -> Result<(), CatalogError> {
    let sql = tx.sql(
        "SELECT r.entry, r.ordinal, r.since, o.dataset, o.path FROM retired r \
         CROSS JOIN objects o ON o.tenant = r.tenant AND o.entry = r.entry AND o.ordinal = r.ordinal \
         WHERE r.tenant = $1 AND (r.entry, r.ordinal) > ($2, $3) AND r.entry < $4 ORDER BY r.entry, r.ordinal LIMIT $5",
    );
    let query = sqlx::query(sql).bind(&tenant.as_bytes()[..]).bind(shred.retired.0).bind(shred.retired.1);
    let query = query.bind(signed(shred.order.entry.0)).bind(i64::from(limit));
    let rows = query.fetch_all(tx.connection()).await?;
    let mut due = Bulk::with_capacity(4096);
    for row in &rows {
        shred.retired = (row.try_get(0)?, row.try_get(1)?);
        let (since, path): (i64, &str) = (row.try_get(2)?, row.try_get(4)?);
        let dataset = DatasetId::from_bytes(super::id(row, 3)?);
        let is_covered = shred.order.dataset.is_none_or(|wanted| wanted == dataset)
            && path.parse().is_ok_and(|path| shred.order.prefix.covers(&path));
        if is_covered && since > 0 {
            due.row().number(number(row, 0)?).number(number(row, 1)?);
        }
    }
    if due.rows() > 0 {
        shred.done += due.rows() as u64;
        tx.retire_due(tenant, &due.finish()).await?;
    }
    if rows.len() < limit as usize {
        shred.step = Step::Due;
    }
    Ok(())
}

fn number_of(step: Step) -> i64 {
    match step {
        Step::Paths => 0,
        Step::Retired => 1,
        Step::Due => 2,
    }
}

fn shred(row: &AnyRow) -> Result<Shred, CatalogError> {
    let wrong = || CatalogError::integrity("a shred's row");
    let (dataset, prefix): (&[u8], &str) = (row.try_get(1)?, row.try_get(2)?);
    let dataset = match dataset {
        [] => None,
        id => Some(DatasetId::try_from(id).map_err(|_| wrong())?),
    };
    let step = match number(row, 3)? {
        0 => Step::Paths,
        1 => Step::Retired,
        2 => Step::Due,
        _ => return Err(wrong()),
    };
    let finished: Option<i64> = row.try_get(9)?;
    Ok(Shred {
        order: NewShred { entry: Index(number(row, 0)?), dataset, prefix: prefix.parse().map_err(|_| wrong())? },
        step,
        place: row.try_get(4)?,
        retired: (row.try_get(5)?, row.try_get(6)?),
        done: number(row, 7)?,
        started: Millis(number(row, 8)?),
        finished: finished.and_then(|at| u64::try_from(at).ok()).map(Millis),
    })
}
