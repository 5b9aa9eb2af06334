//! The catalog: all SQL of the server, one struct over two dialects.
//!
//! ```text
//! readers ─► reader pool ─► one statement, one snapshot
//! writers ─► writer (one connection) ─► BEGIN IMMEDIATE … COMMIT, durable when it returns
//! ```
//!
//! SQLite has one writer at a time. Writers queue for one connection here instead of spinning on the file's lock, so the
//! recorder's commits and the rows of uploads take turns in the order they came.
//!
//! The database is believed only where it cannot widen anything: rows that say who may do what, or which object a name stands
//! for, carry a mark of the tenant's ledger key, made in the transaction that recorded them and checked here on every load.
//!
//! Invariants:
//! - SQL stands in this folder and nowhere else, each statement once; what differs between databases is [`dialect`]'s.
//! - A batch of work is a constant number of statements: rows travel in one JSON parameter.
//! - What does not fit its mark is an error that names the row, never an absent row.
//! - The file that is open is the one that has its name: a copy moved over it stops all writing.

mod authority;
mod batches;
mod bulk;
mod dialect;
mod file;
pub mod grants;
mod heads;
mod listing;
pub mod objects;
mod orders;
mod paths;
pub(crate) mod requests;
pub mod tenants;
mod tx;
pub mod uploads;

pub(crate) use authority::AuthorityRow;
pub(crate) use batches::NewBatch;
pub(crate) use paths::{PathRow, PathWrites};
#[cfg(test)]
pub(crate) use tx::Lost;
pub(crate) use tx::Tx;

use std::sync::Arc;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::migrate::Migrator;
use sqlx::{AnyPool, ConnectOptions, Executor, Row};
use strongroom_core::ids::VaultId;
use strongroom_core::reason::Reason;

use dialect::Dialect;
use file::OpenFile;
use uploads::Opening;

static SQLITE: Migrator = sqlx::migrate!("./migrations/sqlite");

/// Connections that read beside the one that writes.
const READERS: u32 = 4;

/// What the vault keeps in SQL. Cheap to clone.
#[derive(Clone)]
pub struct Catalog(Arc<Inner>);

struct Inner {
    dialect: Dialect,
    reader: AnyPool,
    writer: AnyPool,
    file: OpenFile,
    opening: Opening,
    #[cfg(test)]
    lost: std::sync::Mutex<Option<tx::Lost>>,
}

/// Why the catalog failed.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The database refused, or could not be reached.
    #[error("the catalog: {0}")]
    Sql(#[from] sqlx::Error),
    /// The schema could not be brought up to date.
    #[error("the catalog's schema: {0}")]
    Schema(#[from] sqlx::migrate::MigrateError),
    /// A URL that names no catalog.
    #[error("the catalog's URL: {0}")]
    Url(String),
    /// The catalog was bound to another vault by its first server.
    #[error("the catalog belongs to vault {found}, this folder to {wanted}")]
    OtherVault {
        /// Whose it is.
        found: VaultId,
        /// Who opened it.
        wanted: VaultId,
    },
    /// The file that is open is no longer the one of that name.
    #[error("the catalog's file was moved or replaced while it was open")]
    Replaced,
    /// The file cannot be looked at.
    #[error("the catalog's file: {0}")]
    Io(#[from] std::io::Error),
    /// A row that does not fit its mark or its neighbours: somebody changed it, or a disk did.
    #[error("{0}")]
    Integrity(String),
    /// A waiter was dropped with what it waited for.
    #[error("the catalog is closing")]
    Closing,
}

impl CatalogError {
    /// The stable reason code.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Sql(_) | Self::Io(_) | Self::Closing => Reason::Unavailable,
            Self::Schema(_) | Self::Url(_) => Reason::InvalidArgument,
            Self::OtherVault { .. } | Self::Replaced => Reason::LedgerDiverged,
            Self::Integrity(_) => Reason::Integrity,
        }
    }

    fn integrity(what: impl Into<String>) -> Self {
        Self::Integrity(what.into())
    }
}

impl Catalog {
    /// Opens the catalog at `url` (`sqlite:<path>`), makes it if there is none, and brings its schema up to date.
    ///
    /// # Errors
    /// [`CatalogError`] if the URL names no database, or it cannot be opened.
    pub async fn open(url: &str) -> Result<Self, CatalogError> {
        sqlx::any::install_default_drivers();
        let (dialect, file, url) = dialect::locate(url)?;
        let options: AnyConnectOptions = url.parse()?;
        let options = options.disable_statement_logging();
        let pool = |setup: &'static str, connections: u32| {
            AnyPoolOptions::new()
                .max_connections(connections)
                .min_connections(1)
                // A connection opened later would open whatever has the file's name by then.
                .idle_timeout(None)
                .max_lifetime(None)
                .test_before_acquire(false)
                .after_connect(move |connection, _| {
                    Box::pin(async move { connection.execute(sqlx::raw_sql(setup)).await.map(|_| ()) })
                })
        };
        let writer = pool(dialect.writer_setup(), 1).connect_with(options.clone()).await?;
        let file = OpenFile::new(file)?;
        SQLITE.run(&writer).await?;
        let reader = pool(dialect.reader_setup(), READERS).connect_with(options).await?;
        file.check()?;
        Ok(Self(Arc::new(Inner {
            dialect,
            reader,
            writer,
            file,
            opening: Opening::default(),
            #[cfg(test)]
            lost: std::sync::Mutex::default(),
        })))
    }

    /// Binds the catalog to its vault, the first time; after that, refuses every other.
    ///
    /// # Errors
    /// [`CatalogError::OtherVault`].
    pub async fn bind_vault(&self, vault: VaultId) -> Result<(), CatalogError> {
        let mut tx = self.begin().await?;
        let insert = self.0.dialect.sql("INSERT INTO vault (only, id) VALUES (1, $1) ON CONFLICT (only) DO NOTHING");
        sqlx::query(insert).bind(&vault.as_bytes()[..]).execute(tx.connection()).await?;
        let row =
            sqlx::query(self.0.dialect.sql("SELECT id FROM vault WHERE only = 1")).fetch_one(tx.connection()).await?;
        let found = id::<16>(&row, 0).map(VaultId::from_bytes)?;
        tx.commit().await?;
        if found == vault { Ok(()) } else { Err(CatalogError::OtherVault { found, wanted: vault }) }
    }

    /// Closes all connections, once what they do is done.
    pub async fn close(&self) {
        self.0.reader.close().await;
        self.0.writer.close().await;
    }

    fn sql(&self, statement: &'static str) -> sqlx::SqlStr {
        self.0.dialect.sql(statement)
    }

    fn reader(&self) -> &AnyPool {
        &self.0.reader
    }
}

/// A column of `N` bytes.
fn id<const N: usize>(row: &sqlx::any::AnyRow, column: usize) -> Result<[u8; N], CatalogError> {
    let bytes: &[u8] = row.try_get(column)?;
    bytes.try_into().map_err(|_| CatalogError::integrity(format!("a column of {N} bytes has {}", bytes.len())))
}

/// A column that counts: never negative.
fn number(row: &sqlx::any::AnyRow, column: usize) -> Result<u64, CatalogError> {
    let value: i64 = row.try_get(column)?;
    u64::try_from(value).map_err(|_| CatalogError::integrity("a column that counts is negative"))
}

/// A number as SQL has them. All that is stored is below 2⁵³.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
