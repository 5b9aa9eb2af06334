//! Rows above the head: of entries that nobody recorded.
//!
//! What belongs to an entry is written by the transaction that moves the head over it, under the head's lock. So whoever has that
//! lock, or reads head and rows in one statement, sees none above the head: however many nodes write to the ledger, and wherever one
//! of them stood still or died. What stands there somebody else wrote.

use std::fmt;

use sqlx::any::AnyRow;
use sqlx::{Any, Executor, Row, SqlStr};
use strongroom_core::ids::{Index, TenantId};

use super::{Catalog, CatalogError, Tx, number};

/// The lowest row of a table above the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Above {
    /// The table.
    pub(crate) table: &'static str,
    /// The entry that the row is of; of a batch, its last one.
    pub(crate) entry: Index,
}

impl fmt::Display for Above {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` has a row of entry {}", self.table, self.entry)
    }
}

/// The tables whose rows hold entries, in the order of [`entries_above!`]'s columns.
const ENTRIES: [&str; 3] = ["batches", "privates", "authority"];
/// And of those beside them whose rows are named by entries alone, so that somebody can have written them beforehand; in the order of
/// [`all_above!`]'s columns.
const ALL: [&str; 7] = ["batches", "privates", "authority", "renewals", "objects", "wraps", "shreds"];

/// The lowest of each of [`ENTRIES`] above the head `h`, as columns.
macro_rules! entries_above {
    () => {
        "(SELECT min(a.size) - 1 FROM batches a WHERE a.tenant = h.tenant AND a.size > h.size), \
         (SELECT min(a.size) - 1 FROM privates a WHERE a.tenant = h.tenant AND a.size > h.size), \
         (SELECT min(a.entry) FROM authority a WHERE a.tenant = h.tenant AND a.entry >= h.size)"
    };
}
pub(super) use entries_above;

/// The lowest of each of [`ALL`] above the head.
const ALL_ABOVE: &str = concat!(
    "SELECT ",
    entries_above!(),
    ", (SELECT min(a.entry) FROM renewals a WHERE a.tenant = h.tenant AND a.entry >= h.size), \
     (SELECT min(a.entry) FROM objects a WHERE a.tenant = h.tenant AND a.entry >= h.size), \
     (SELECT min(a.entry) FROM wraps a WHERE a.tenant = h.tenant AND a.entry >= h.size), \
     (SELECT min(a.entry) FROM shreds a WHERE a.tenant = h.tenant AND a.entry >= h.size) \
     FROM heads h WHERE h.tenant = $1"
);

impl Above {
    /// Whether it is an entry's own row, and not one of what an entry did.
    pub(crate) fn is_entry(&self) -> bool {
        ENTRIES.contains(&self.table)
    }

    /// The lowest in the columns of [`entries_above!`], which begin at `column`.
    pub(super) fn of_entries(row: &AnyRow, column: usize) -> Result<Option<Self>, CatalogError> {
        let all = read(row, column, &ENTRIES)?;
        Ok(all.into_iter().min_by_key(|above| above.entry))
    }
}

fn read(row: &AnyRow, column: usize, tables: &[&'static str]) -> Result<Vec<Above>, CatalogError> {
    let mut all = Vec::new();
    for (at, table) in (column..).zip(tables) {
        if row.try_get::<Option<i64>, _>(at)?.is_some() {
            all.push(Above { table, entry: Index(number(row, at)?) });
        }
    }
    Ok(all)
}

async fn above_head<'c>(
    connection: impl Executor<'c, Database = Any>,
    sql: SqlStr,
    tenant: &TenantId,
) -> Result<Vec<Above>, CatalogError> {
    let row = sqlx::query(sql).bind(&tenant.as_bytes()[..]).fetch_optional(connection).await?;
    row.map_or(Ok(Vec::new()), |row| read(&row, 0, &ALL))
}

impl Catalog {
    /// What stands above a ledger's head, the lowest row of each table that has some. One statement: of one moment.
    pub(crate) async fn above_head(&self, tenant: &TenantId) -> Result<Vec<Above>, CatalogError> {
        above_head(self.reader(), self.sql(ALL_ABOVE), tenant).await
    }
}

impl Tx {
    /// As [`Catalog::above_head`], by who has the head's lock.
    pub(crate) async fn above_head(&mut self, tenant: &TenantId) -> Result<Vec<Above>, CatalogError> {
        let sql = self.sql(ALL_ABOVE);
        above_head(self.connection(), sql, tenant).await
    }
}
