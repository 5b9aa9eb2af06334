//! A transaction that writes. On SQLite it holds the writer's lock from its beginning; on PostgreSQL it locks what must stay.

use sqlx::{Any, AnyConnection, Row, SqlStr, Transaction};
use strongroom_core::ids::{Millis, TenantId};

use super::bounded::Bounded;
use super::dialect::Dialect;
use super::{Catalog, CatalogError, number};

/// A writing transaction. Dropped, it is rolled back.
pub(crate) struct Tx {
    pub(super) catalog: Catalog,
    transaction: Transaction<'static, Any>,
}

impl Catalog {
    /// Begins a transaction; on SQLite, with the lock that keeps other writers out.
    ///
    /// # Errors
    /// [`CatalogError::Replaced`] if the file is not the one that was opened; [`CatalogError::Sql`] if it cannot begin.
    pub(crate) async fn begin(&self) -> Result<Tx, CatalogError> {
        self.begin_as(|| self.0.dialect.begin()).await
    }

    async fn begin_as(&self, begin: impl Fn() -> SqlStr) -> Result<Tx, CatalogError> {
        self.check_file()?;
        #[cfg(test)]
        if self.loses(|lost| lost == Lost::Begin).is_some() {
            return Err(CatalogError::Io(std::io::Error::other("the database cannot be reached")));
        }
        let transaction = match self.bounded(self.0.writer.begin_with(begin())).await {
            // A disk that was full: SQLite rolled back by itself, and the connection believes that it is in the middle of something.
            Err(sqlx::Error::InvalidSavePointStatement) => {
                self.0.writer.acquire().await?.close().await?;
                self.check_file()?;
                self.bounded(self.0.writer.begin_with(begin())).await?
            }
            begun => begun?,
        };
        Ok(Tx { catalog: self.clone(), transaction })
    }
}

impl Catalog {
    /// Begins the transaction of a batch of entries. What operators order about keys is ordered against all batches: `operators` says
    /// whether it is such an order's, which has the lock alone that all others share. A file has one writer.
    ///
    /// # Errors
    /// As [`Catalog::begin`].
    pub(crate) async fn begin_batch(&self, operators: bool) -> Result<Tx, CatalogError> {
        self.begin_as(|| self.0.dialect.begin_batch(operators)).await
    }

    pub(super) async fn bounded<T>(
        &self,
        work: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, sqlx::Error> {
        match &self.0.silence {
            Some(silence) => silence.bounded(work).await,
            None => work.await,
        }
    }
}

impl Tx {
    pub(super) fn connection(&mut self) -> Bounded<&mut AnyConnection> {
        Bounded { on: &mut self.transaction, silence: self.catalog.0.silence.clone() }
    }

    pub(super) fn sql(&self, statement: &'static str) -> SqlStr {
        self.catalog.sql(statement)
    }

    /// Has what is deleted from here on overwritten, or no longer.
    pub(super) async fn overwrite(&mut self, on: bool) -> Result<(), CatalogError> {
        if let Some(sql) = self.catalog.0.dialect.overwrite(on) {
            sqlx::raw_sql(sql).execute(self.connection()).await?;
        }
        Ok(())
    }

    /// What time it is in the database: here, what the node's clock says.
    pub(crate) async fn time(&mut self, node: Millis) -> Result<Millis, CatalogError> {
        if self.catalog.0.dialect == Dialect::Sqlite {
            return Ok(node);
        }
        let sql = self.sql("SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)");
        let row = sqlx::query(sql).fetch_one(self.connection()).await?;
        Ok(Millis(number(&row, 0)?))
    }

    /// The time of a batch, and the head of this other tenant's ledger, unchecked and not locked; in a file, what the node's clock
    /// says, and nothing, since nobody else writes there. Read after the lock of one's own head, or it would be the time
    /// before others' commits.
    pub(crate) async fn time_and_head(
        &mut self,
        node: Millis,
        other: &TenantId,
    ) -> Result<(Millis, Option<Vec<u8>>), CatalogError> {
        if self.catalog.0.dialect == Dialect::Sqlite {
            return Ok((node, None));
        }
        let sql = self.sql(
            "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT), \
             (SELECT h.head FROM heads h WHERE h.tenant = $1)",
        );
        let row = sqlx::query(sql).bind(&other.as_bytes()[..]).fetch_one(self.connection()).await?;
        Ok((Millis(number(&row, 0)?), row.try_get(1)?))
    }

    /// Makes it durable. On an error the outcome is not known: the ledger's tip tells.
    ///
    /// # Errors
    /// [`CatalogError`]; with [`CatalogError::Replaced`], what was committed went into a file that has lost its name.
    pub(crate) async fn commit(self) -> Result<(), CatalogError> {
        #[cfg(test)]
        if let Some(lost) = self.catalog.loses(|lost| lost != Lost::Begin) {
            match lost {
                Lost::Answer => self.transaction.commit().await?,
                Lost::AnswerAndBegin => {
                    self.transaction.commit().await?;
                    self.catalog.lose_next_commit(Lost::Begin);
                }
                Lost::Commit | Lost::Begin => {}
            }
            return Err(CatalogError::Io(std::io::Error::other("the answer to a commit was lost")));
        }
        self.catalog.bounded(self.transaction.commit()).await?;
        self.catalog.check_file()
    }
}

/// What a test has the next commit lose.
#[cfg(test)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lost {
    /// It happens, and nobody hears of it.
    Answer,
    /// It does not happen.
    Commit,
    /// It happens, nobody hears of it, and nobody can look.
    AnswerAndBegin,
    /// The next transaction does not begin.
    Begin,
}
