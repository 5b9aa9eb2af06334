//! Copying a catalog as it stands, from a file into an empty database of a server.
//!
//! ```text
//! the file, alone and read only ─┐
//!                                ├─► begin ─► tables: a page of rows, one transaction ─► … ─► compare: every row ─► finish
//! an empty database ─────────────┘     └─ bound to a copy (binding) ── no server takes it ──────────────────────────┘
//! ```
//!
//! A page goes in with one transaction, in the order of the table's key: whatever breaks a copy off, the greatest key that is there
//! says where it goes on. Rows are not looked into: marks and wrapped keys do not depend on the database they lie in.
//!
//! Invariants:
//! - Nothing is written to the source.
//! - A target that was not empty is only ever a copy of the same ledgers, and every page is written under the lock of the row that
//!   says so.
//! - A copy is finished only after every row of every table was read back and is the source's.

mod binding;
mod source;
mod tables;
#[cfg(test)]
mod tests;

pub(super) use binding::Binding;
pub(crate) use binding::Unfinished;

use futures::TryStreamExt;
use sqlx::Connection as _;
use sqlx::{ConnectOptions, Executor, SqlStr};
use strongroom_core::ids::VaultId;

use super::{Catalog, CatalogError, Tx, number, signed};
use crate::failpoint;
use tables::{Cell, Cells, TABLES, Table, bulk};

/// About how many bytes of rows go into one page: a batch of entries can be large.
const PAGE_BYTES: usize = 4 << 20;

/// A copy under way.
pub(crate) struct Copying {
    pub(crate) source: Catalog,
    pub(crate) target: Catalog,
    pub(crate) of: Unfinished,
    /// Rows of one page, at most.
    pub(crate) page: u32,
}

/// How a copy begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Begun {
    /// In an empty database.
    Empty,
    /// Where an earlier one was broken off.
    Resumed,
    /// It does not: the database is this vault's catalog, whole.
    Whole,
}

impl Copying {
    /// What [`Copying::begin`] would say, without a trace.
    ///
    /// # Errors
    /// As [`Copying::begin`].
    pub(crate) async fn look(&self, restart: bool) -> Result<Begun, CatalogError> {
        match self.target.binding().await? {
            Some(found) => self.admit(found, restart),
            None => self.target.check_empty().await.map(|()| Begun::Empty),
        }
    }

    /// Binds the target to this copy. With `restart`, an unfinished copy of the same vault is cleared away first.
    ///
    /// # Errors
    /// [`CatalogError::OtherVault`], [`CatalogError::NotEmpty`]; [`CatalogError::MovedOn`] if what lies in the target is a copy of
    /// what the source's ledgers were before.
    pub(crate) async fn begin(&self, restart: bool) -> Result<Begun, CatalogError> {
        let begun = self.look(restart).await?;
        let mut tx = self.target.begin().await?;
        let insert = tx.sql("INSERT INTO vault (\"only\", id) VALUES (1, $1) ON CONFLICT (\"only\") DO NOTHING");
        sqlx::query(insert).bind(self.bound()).execute(tx.connection()).await?;
        self.admit(tx.binding().await?, restart)?;
        if restart && begun == Begun::Resumed {
            let all: Vec<String> = TABLES.iter().map(|table| format!("\"{}\"", table.name)).collect();
            let clear = self.target.0.dialect.made(format!("TRUNCATE {}", all.join(", ")));
            sqlx::query(clear).execute(tx.connection()).await?;
            let sql = tx.sql("UPDATE vault SET id = $1 WHERE \"only\" = 1");
            sqlx::query(sql).bind(self.bound()).execute(tx.connection()).await?;
        }
        if begun != Begun::Whole {
            tx.commit().await?;
        }
        failpoint::hit("migrate.begun");
        Ok(begun)
    }

    fn bound(&self) -> Vec<u8> {
        Binding::Copying(self.of).bytes()
    }

    fn admit(&self, found: Binding, restart: bool) -> Result<Begun, CatalogError> {
        match found {
            Binding::Whole(vault) if vault == self.of.vault => Ok(Begun::Whole),
            Binding::Copying(found) if found == self.of => Ok(Begun::Resumed),
            Binding::Copying(found) if found.vault == self.of.vault && restart => Ok(Begun::Resumed),
            Binding::Copying(found) if found.vault == self.of.vault => Err(CatalogError::MovedOn),
            Binding::Whole(found) | Binding::Copying(Unfinished { vault: found, .. }) => {
                Err(CatalogError::OtherVault { found, wanted: self.of.vault })
            }
        }
    }

    /// Copies what the target does not have yet; `more` hears how many rows went in.
    ///
    /// # Errors
    /// [`CatalogError`]; what was copied stays.
    pub(crate) async fn tables(&self, more: &(dyn Fn(u64) + Sync)) -> Result<(), CatalogError> {
        for table in TABLES {
            let mut after = self.target.last_key(table).await?;
            let mut rows = self.source.page(table, after.as_deref(), self.page, PAGE_BYTES).await?;
            while !rows.is_empty() {
                after = rows.last().map(|row| row[..table.key.len()].to_vec());
                // The next page is read while one is written.
                let next = self.source.page(table, after.as_deref(), self.page, PAGE_BYTES);
                let (next, written) = tokio::join!(next, self.write(table, &rows));
                written?;
                more(rows.len() as u64);
                rows = next?;
            }
        }
        // Without figures of its own the database would plan as for empty tables.
        let mut connection = self.target.0.options.connect().await?;
        connection.execute("ANALYZE").await?;
        connection.close().await?;
        failpoint::hit("migrate.copied");
        Ok(())
    }

    async fn write(&self, table: &Table, rows: &[Cells]) -> Result<(), CatalogError> {
        let mut tx = self.target.begin().await?;
        self.check_unfinished(&mut tx).await?;
        let sql = table.insert(self.target.0.dialect);
        let written = sqlx::query(sql).bind(bulk(rows)).execute(tx.connection()).await?.rows_affected();
        if written != rows.len() as u64 {
            return Err(CatalogError::integrity(format!("{written} of {} rows went into {}", rows.len(), table.name)));
        }
        tx.commit().await?;
        failpoint::hit(&format!("migrate.table.{}", table.name));
        Ok(())
    }

    /// Whether the target is still what this copy writes to; nobody else finishes it meanwhile.
    async fn check_unfinished(&self, tx: &mut Tx) -> Result<(), CatalogError> {
        match tx.binding().await? {
            Binding::Copying(found) if found == self.of => Ok(()),
            _ => Err(CatalogError::MovedOn),
        }
    }

    /// Reads every row back and compares it with the source's; `more` hears how many were.
    ///
    /// # Errors
    /// [`CatalogError::Differs`] names the first row that does not agree.
    pub(crate) async fn compare(&self, more: &(dyn Fn(u64) + Sync)) -> Result<(), CatalogError> {
        for table in TABLES {
            let mut after = None;
            loop {
                let rows = self.source.page(table, after.as_deref(), self.page, PAGE_BYTES).await?;
                // One more where the table ends, which there must not be.
                let wanted = u32::try_from(rows.len()).unwrap_or(u32::MAX).max(1);
                let copied = self.target.page(table, after.as_deref(), wanted, usize::MAX).await?;
                let differs = rows.iter().zip(&copied).find(|(row, copied)| row != copied).map(|(row, _)| row);
                let left_over = || rows.get(copied.len()).or_else(|| copied.get(rows.len()));
                if let Some(row) = differs.or_else(left_over) {
                    return Err(CatalogError::Differs { table: table.name, row: table.name_of(row) });
                }
                let Some(last) = rows.last() else { break };
                after = Some(last[..table.key.len()].to_vec());
                more(rows.len() as u64);
            }
        }
        failpoint::hit("migrate.compared");
        Ok(())
    }

    /// Makes the copy the vault's catalog: from here on servers take it.
    ///
    /// # Errors
    /// [`CatalogError::MovedOn`] if the source is not what it was when the copy began.
    pub(crate) async fn finish(&self) -> Result<(), CatalogError> {
        if self.source.ledgers().await? != self.of.of {
            return Err(CatalogError::MovedOn);
        }
        let mut tx = self.target.begin().await?;
        self.check_unfinished(&mut tx).await?;
        let sql = tx.sql("UPDATE vault SET id = $1 WHERE \"only\" = 1");
        sqlx::query(sql).bind(Binding::Whole(self.of.vault).bytes()).execute(tx.connection()).await?;
        failpoint::hit("migrate.finishing");
        tx.commit().await?;
        failpoint::hit("migrate.finished");
        Ok(())
    }
}

impl Catalog {
    /// Whose it is, if it has been bound.
    async fn binding(&self) -> Result<Option<Binding>, CatalogError> {
        let row = sqlx::query(self.sql("SELECT id FROM vault")).fetch_optional(self.reader()).await?;
        row.map(|row| Binding::read(sqlx::Row::try_get(&row, 0)?)).transpose()
    }

    /// The vault whose catalog it is; none if it has not been bound, or is a copy that is not finished.
    pub(crate) async fn vault(&self) -> Result<Option<VaultId>, CatalogError> {
        Ok(match self.binding().await? {
            Some(Binding::Whole(vault)) => Some(vault),
            _ => None,
        })
    }

    /// How many rows there are to copy.
    pub(crate) async fn rows(&self) -> Result<u64, CatalogError> {
        let mut all = 0;
        for table in TABLES {
            let row = sqlx::query(table.count(self.0.dialect)).fetch_one(self.reader()).await?;
            all += number(&row, 0)?;
        }
        Ok(all)
    }

    async fn check_empty(&self) -> Result<(), CatalogError> {
        for table in TABLES {
            if self.last_key(table).await?.is_some() {
                return Err(CatalogError::NotEmpty { table: table.name });
            }
        }
        Ok(())
    }

    async fn last_key(&self, table: &Table) -> Result<Option<Cells>, CatalogError> {
        let row = sqlx::query(table.last(self.0.dialect)).fetch_optional(self.reader()).await?;
        row.map(|row| table.key(&row)).transpose()
    }

    /// Rows after a key, in order: up to `limit`, and no more once they have `bytes`.
    async fn page(
        &self,
        table: &Table,
        after: Option<&[Cell]>,
        limit: u32,
        bytes: usize,
    ) -> Result<Vec<Cells>, CatalogError> {
        let mut query = sqlx::query(table.page(self.0.dialect, after.is_some()));
        for cell in after.into_iter().flatten() {
            query = match cell {
                Cell::Number(number) => query.bind(signed(*number)),
                Cell::Bytes(bytes) => query.bind(bytes.clone()),
                Cell::Text(text) => query.bind(text.clone()),
                Cell::Null => return Err(CatalogError::integrity("a key's column is null")),
            };
        }
        let mut found = query.bind(i64::from(limit)).fetch(self.reader());
        let (mut rows, mut taken) = (Vec::new(), 0);
        while let Some(row) = found.try_next().await? {
            let row = table.row(&row)?;
            taken += row.iter().map(Cell::len).sum::<usize>();
            rows.push(row);
            if taken >= bytes {
                break;
            }
        }
        Ok(rows)
    }
}

impl Tx {
    /// Whose the catalog is, its row locked.
    pub(super) async fn binding(&mut self) -> Result<Binding, CatalogError> {
        let sql: SqlStr = self.sql("SELECT id FROM vault WHERE \"only\" = 1 /*postgres FOR UPDATE*/");
        let row = sqlx::query(sql).fetch_one(self.connection()).await?;
        Binding::read(sqlx::Row::try_get(&row, 0)?)
    }
}
