//! A transaction that writes: it holds the writer's lock from its beginning.

use sqlx::{Any, AnyConnection, SqlStr, Transaction};

use super::{Catalog, CatalogError};

/// A writing transaction. Dropped, it is rolled back.
pub(crate) struct Tx {
    pub(super) catalog: Catalog,
    transaction: Transaction<'static, Any>,
}

impl Catalog {
    /// Begins a transaction with the lock that keeps other writers out.
    ///
    /// # Errors
    /// [`CatalogError::Replaced`] if the file is not the one that was opened; [`CatalogError::Sql`] if there is no lock to have.
    pub(crate) async fn begin(&self) -> Result<Tx, CatalogError> {
        self.0.file.check()?;
        let transaction = self.0.writer.begin_with(self.0.dialect.begin()).await?;
        Ok(Tx { catalog: self.clone(), transaction })
    }
}

impl Tx {
    pub(super) fn connection(&mut self) -> &mut AnyConnection {
        &mut self.transaction
    }

    pub(super) fn sql(&self, statement: &'static str) -> SqlStr {
        self.catalog.sql(statement)
    }

    /// Makes it durable. On an error the outcome is not known: the ledger's tip tells.
    ///
    /// # Errors
    /// [`CatalogError`]; with [`CatalogError::Replaced`], what was committed went into a file that has lost its name.
    pub(crate) async fn commit(self) -> Result<(), CatalogError> {
        #[cfg(test)]
        if let Some(lost) = self.catalog.0.lost.lock().unwrap().take() {
            if lost == Lost::Answer {
                self.transaction.commit().await?;
            }
            return Err(CatalogError::Io(std::io::Error::other("the answer to a commit was lost")));
        }
        self.transaction.commit().await?;
        self.catalog.0.file.check()
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
}

#[cfg(test)]
impl Catalog {
    /// Has the next commit fail.
    pub(crate) fn lose_next_commit(&self, lost: Lost) {
        *self.0.lost.lock().unwrap() = Some(lost);
    }
}
