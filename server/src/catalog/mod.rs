//! The catalog: all SQL of the server, one struct over two dialects.
//!
//! ```text
//! readers ─► reader pool ─► one statement, one snapshot
//! writers ─► writer pool ─► BEGIN … COMMIT, durable when it returns
//!            SQLite: one connection, BEGIN IMMEDIATE      PostgreSQL: a few, each locks the rows that must stay
//! ```
//!
//! SQLite has one writer at a time. Writers queue for one connection here instead of spinning on the file's lock, so the
//! recorder's commits and the rows of uploads take turns in the order they came. On PostgreSQL many nodes write: what a ledger
//! stands on is locked by its head's row ([`Tx::head`]), uploads by their own rows.
//!
//! The database is believed only where it cannot widen anything: rows that say who may do what, or which object a name stands
//! for, carry a mark of the tenant's ledger key, made in the transaction that recorded them and checked here on every load.
//!
//! Invariants:
//! - SQL stands in this folder and nowhere else, each statement once; what differs between databases is [`dialect`]'s.
//! - A batch of work is a constant number of statements: rows travel in one JSON parameter.
//! - What does not fit its mark is an error that names the row, never an absent row.
//! - The file that is open is the one that has its name: a copy moved over it stops all writing.

mod above;
mod append;
mod authority;
mod batches;
mod bounded;
mod bulk;
pub mod by_id;
mod checkpoints;
pub(crate) mod copy;
mod cosignatures;
mod dialect;
pub(crate) mod escrows;
mod file;
pub mod grants;
mod heads;
mod listing;
mod lock;
mod log_keys;
mod notices;
pub mod objects;
mod orders;
mod paths;
mod place;
pub(crate) mod requests;
pub mod retention;
pub mod rewraps;
pub(crate) mod roots;
pub(crate) mod shreds;
mod summaries;
pub mod tenants;
mod tx;
pub mod uploads;
mod wraps;

pub(crate) use above::Above;
pub(crate) use append::NewBatch;
pub(crate) use authority::AuthorityRow;
pub(crate) use batches::{BatchRow, Boundary, Half};
pub(crate) use checkpoints::CheckpointRow;
pub(crate) use cosignatures::CosignatureRow;
pub(crate) use heads::LockedHead;
pub(crate) use log_keys::LogKeyRow;
pub(crate) use notices::Notices;
pub(crate) use paths::{PathRow, PathWrites};
pub(crate) use place::shown;
pub(crate) use summaries::Level;
#[cfg(test)]
pub(crate) use tx::Lost;
pub(crate) use tx::Tx;

use std::sync::Arc;
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::migrate::Migrator;
use sqlx::{AnyPool, ConnectOptions, Connection, Executor, Row};
use strongroom_core::ids::VaultId;
use strongroom_core::reason::Reason;

use bounded::{Bounded, Silence, sign_of_life};
use copy::{Binding, Unfinished};
use dialect::Dialect;
use file::OpenFile;
use lock::FileLock;
use place::Place;
use uploads::Opening;

static SQLITE: Migrator = sqlx::migrate!("./migrations/sqlite");
static POSTGRES: Migrator = sqlx::migrate!("./migrations/postgres");

/// Connections that read a file beside the one that writes.
const FILE_READERS: u32 = 4;
/// Connections to a server: to write (the recorder, uploads, the sweeper) and to read. One more listens.
const SERVER_WRITERS: u32 = 4;
const SERVER_READERS: u32 = 12;
/// How long a caller waits for a connection to a server, which may be starting, or be another one in a moment.
const ACQUIRE: Duration = Duration::from_secs(5);
/// A connection that was idle for longer is asked for a sign of life before it is used: its server may be gone.
const FRESH: Duration = Duration::from_secs(1);

/// What the vault keeps in SQL. Cheap to clone.
#[derive(Clone)]
pub struct Catalog(Arc<Inner>);

struct Inner {
    dialect: Dialect,
    reader: AnyPool,
    writer: AnyPool,
    /// What another connection is opened with.
    options: AnyConnectOptions,
    file: Option<OpenFile>,
    /// On a file: that nobody copies it meanwhile.
    lock: Option<FileLock>,
    /// On a server: whether it fell silent.
    silence: Option<Silence>,
    opening: Opening,
    #[cfg(test)]
    lost: std::sync::Mutex<Option<tx::Lost>>,
}

/// PostgreSQL's codes for what passes: serialization failure, deadlock, somebody else was first, idle for too long, the server
/// ended or is starting.
const PASSING: [&str; 7] = ["40001", "40P01", "23505", "25P03", "57P01", "57P02", "57P03"];

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
    /// The catalog is a copy that [`crate::migrate`] has not finished: what is missing of it nobody knows.
    #[error("the catalog is a copy of vault {vault} that was not finished")]
    Unfinished {
        /// Whose copy it is.
        vault: VaultId,
    },
    /// A server has the file open.
    #[error("the catalog's file is open in a server")]
    Served,
    /// The file is being copied.
    #[error("the catalog's file is being copied")]
    BeingCopied,
    /// The file is of another version.
    #[error("the catalog's tables are not those of this version")]
    OtherSchema,
    /// What should be an empty database has rows that are no vault's.
    #[error("the database is not empty: {table} has rows")]
    NotEmpty {
        /// The first table that has some.
        table: &'static str,
    },
    /// What a copy was made of is not what it was.
    #[error("the ledgers are not what they were when the copy began")]
    MovedOn,
    /// A row that is not the same in a copy.
    #[error("the copy differs from the source: table {table}, the row of {row}")]
    Differs {
        /// The table.
        table: &'static str,
        /// Its key.
        row: String,
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
            Self::Unfinished { .. } | Self::Served | Self::BeingCopied | Self::OtherSchema => {
                Reason::PreconditionFailed
            }
            Self::NotEmpty { .. } | Self::MovedOn => Reason::PreconditionFailed,
            Self::Integrity(_) | Self::Differs { .. } => Reason::Integrity,
        }
    }

    /// Whether the database took the work back for the sake of others, or broke off, so that the same work may succeed at once.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Sql(sqlx::Error::Database(error)) => error.code().is_some_and(|code| PASSING.contains(&&*code)),
            // What took too long once is not tried again.
            Self::Sql(sqlx::Error::Io(error)) if error.kind() == std::io::ErrorKind::TimedOut => false,
            // The connection broke; another one may be had.
            Self::Sql(sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed) => true,
            _ => false,
        }
    }

    /// Whether a row was to go where one stands.
    pub(crate) fn is_conflict(&self) -> bool {
        matches!(self, Self::Sql(sqlx::Error::Database(error)) if error.is_unique_violation())
    }

    fn integrity(what: impl Into<String>) -> Self {
        Self::Integrity(what.into())
    }
}

impl Catalog {
    /// Opens the catalog at `url` (`sqlite:<path>`, `postgres://…`), makes what is missing of it, and brings its schema up to date.
    ///
    /// # Errors
    /// [`CatalogError`] if the URL names no database, or it cannot be opened.
    pub async fn open(url: &str) -> Result<Self, CatalogError> {
        sqlx::any::install_default_drivers();
        let Place { dialect, file, options } = place::locate(url)?;
        let silence = file.is_none().then(Silence::default);
        let lock = file.as_deref().map(FileLock::shared).transpose()?;
        let (writer, reader, file) = match file {
            Some(file) => {
                let writer = file_pool(dialect.writer_setup(), 1).connect_with(options.clone()).await?;
                let file = OpenFile::new(file)?;
                SQLITE.run(&writer).await?;
                let reader = file_pool(dialect.reader_setup(), FILE_READERS).connect_with(options.clone()).await?;
                file.check()?;
                (writer, reader, Some(file))
            }
            None => {
                let silence = silence.clone().unwrap_or_default();
                let writer =
                    server_pool(dialect.writer_setup(), SERVER_WRITERS, &silence).connect_with(options.clone()).await?;
                // On a connection of its own: nothing bounds how long a change of the schema may take.
                let mut connection = options.connect().await?;
                POSTGRES.run(&mut connection).await?;
                connection.close().await?;
                let reader =
                    server_pool(dialect.reader_setup(), SERVER_READERS, &silence).connect_with(options.clone()).await?;
                (writer, reader, None)
            }
        };
        Ok(Self(Arc::new(Inner {
            dialect,
            reader,
            writer,
            options,
            file,
            lock,
            silence,
            opening: Opening::default(),
            #[cfg(test)]
            lost: std::sync::Mutex::default(),
        })))
    }

    /// Whether other nodes may write beside this one: what was read before may be old.
    pub(crate) fn is_shared(&self) -> bool {
        self.0.dialect == Dialect::Postgres
    }

    /// Tells that the server has not answered for a while: connections that wait for it are not used again.
    pub(crate) fn fell_silent(&self) {
        if let Some(silence) = &self.0.silence {
            silence.fell();
        }
    }

    /// Binds the catalog to its vault, the first time; after that, refuses every other.
    ///
    /// # Errors
    /// [`CatalogError::OtherVault`]; [`CatalogError::Unfinished`] for a copy that is not finished.
    pub async fn bind_vault(&self, vault: VaultId) -> Result<(), CatalogError> {
        let mut tx = self.begin().await?;
        let insert =
            self.0.dialect.sql("INSERT INTO vault (\"only\", id) VALUES (1, $1) ON CONFLICT (\"only\") DO NOTHING");
        sqlx::query(insert).bind(&vault.as_bytes()[..]).execute(tx.connection()).await?;
        match tx.binding().await? {
            Binding::Whole(found) if found == vault => tx.commit().await,
            Binding::Copying(Unfinished { vault: found, .. }) if found == vault => {
                Err(CatalogError::Unfinished { vault })
            }
            Binding::Whole(found) | Binding::Copying(Unfinished { vault: found, .. }) => {
                Err(CatalogError::OtherVault { found, wanted: vault })
            }
        }
    }

    /// Closes all connections, once what they do is done.
    pub async fn close(&self) {
        self.0.reader.close().await;
        self.0.writer.close().await;
        self.0.lock.iter().for_each(FileLock::release);
    }

    /// Whether the file that is open, if it is one, still has its name.
    fn check_file(&self) -> Result<(), CatalogError> {
        self.0.file.as_ref().map_or(Ok(()), OpenFile::check)
    }

    fn sql(&self, statement: &'static str) -> sqlx::SqlStr {
        self.0.dialect.sql(statement)
    }

    fn reader(&self) -> Bounded<&AnyPool> {
        Bounded { on: &self.0.reader, silence: self.0.silence.clone() }
    }
}

/// Connections to a file, each set up.
fn file_pool(setup: &'static str, connections: u32) -> AnyPoolOptions {
    // A connection opened later would open whatever has the file's name by then.
    let pool = AnyPoolOptions::new().idle_timeout(None).max_lifetime(None).test_before_acquire(false);
    set_up(pool.max_connections(connections).min_connections(1), setup)
}

/// Connections to a server, each set up. They come and go as the server does.
fn server_pool(setup: &'static str, connections: u32, silence: &Silence) -> AnyPoolOptions {
    let silence = silence.clone();
    let pool = AnyPoolOptions::new().acquire_timeout(ACQUIRE).test_before_acquire(false);
    let pool = pool.before_acquire(|connection, about| {
        Box::pin(async move { Ok(about.idle_for < FRESH || sign_of_life(connection).await) })
    });
    let pool = pool.after_release(move |connection, _| {
        let silence = silence.clone();
        Box::pin(async move { silence.keeps(connection).await })
    });
    set_up(pool.max_connections(connections).min_connections(1), setup)
}

fn set_up(pool: AnyPoolOptions, setup: &'static str) -> AnyPoolOptions {
    pool.after_connect(move |connection, _| {
        Box::pin(async move { connection.execute(sqlx::raw_sql(setup)).await.map(|_| ()) })
    })
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
