//! Statements that end: a server that went away without a word must not keep anybody waiting.
//!
//! PostgreSQL itself ends statements after ten seconds. But nothing comes out of a network that swallows packets, not even an end; and
//! the kernel gives up after a quarter of an hour, or never where it only waits. So each statement to a server has a bound here
//! too, and a connection that went past it is closed instead of being used again.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use sqlx::any::{AnyQueryResult, AnyRow, AnyStatement, AnyTypeInfo};
use sqlx::{Any, AnyConnection, Connection, Describe, Either, Error, Execute, Executor, SqlStr};

/// More than a statement may take on the server.
const WITHIN: Duration = Duration::from_secs(15);
/// How long a sign of life may take.
const SIGN_OF_LIFE: Duration = Duration::from_secs(2);

/// Whether the server fell silent, so that connections are asked for a sign of life before they are kept.
#[derive(Debug, Clone, Default)]
pub(super) struct Silence(Arc<AtomicBool>);

impl Silence {
    /// Bounds what is done with the server.
    ///
    /// # Errors
    /// [`Error::Io`] once the time is over; else what it came to.
    pub(super) async fn bounded<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        match tokio::time::timeout(WITHIN, work).await {
            Ok(done) => done,
            Err(_) => {
                self.fell();
                Err(over())
            }
        }
    }

    /// The server is said to be silent.
    pub(super) fn fell(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether a connection may be kept: always, until the server falls silent.
    pub(super) async fn keeps(&self, connection: &mut AnyConnection) -> Result<bool, Error> {
        if !self.0.load(Ordering::Relaxed) {
            return Ok(true);
        }
        let is_alive = sign_of_life(connection).await;
        if is_alive {
            self.0.store(false, Ordering::Relaxed);
        }
        // An error, and not a no: a goodbye would wait as well.
        if is_alive { Ok(true) } else { Err(over()) }
    }
}

/// Whether the server answers on this connection.
pub(super) async fn sign_of_life(connection: &mut AnyConnection) -> bool {
    tokio::time::timeout(SIGN_OF_LIFE, connection.ping()).await.is_ok_and(|answer| answer.is_ok())
}

fn over() -> Error {
    Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, "the database does not answer"))
}

/// Carries statements out on `on`, each within its time if there is one.
pub(super) struct Bounded<E> {
    pub(super) on: E,
    pub(super) silence: Option<Silence>,
}

impl<E> fmt::Debug for Bounded<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bounded")
    }
}

impl<'c, X: Executor<'c, Database = Any> + 'c> Executor<'c> for Bounded<X> {
    type Database = Any;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Result<Either<AnyQueryResult, AnyRow>, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Any>,
    {
        let Some(silence) = self.silence else { return self.on.fetch_many(query) };
        let all = async move {
            let steps: Vec<_> = silence.bounded(self.on.fetch_many(query).try_collect()).await?;
            Ok::<_, Error>(stream::iter(steps.into_iter().map(Ok)))
        };
        stream::once(all).try_flatten().boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<AnyRow>, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Any>,
    {
        let Some(silence) = self.silence else { return self.on.fetch_optional(query) };
        Box::pin(async move { silence.bounded(self.on.fetch_optional(query)).await })
    }

    fn prepare_with<'e>(self, sql: SqlStr, parameters: &'e [AnyTypeInfo]) -> BoxFuture<'e, Result<AnyStatement, Error>>
    where
        'c: 'e,
    {
        self.on.prepare_with(sql, parameters)
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<Any>, Error>>
    where
        'c: 'e,
    {
        self.on.describe(sql)
    }
}
