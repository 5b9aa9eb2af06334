//! The databases that tests run on: each case of a suite is a test on SQLite and one on PostgreSQL.
//!
//! A case is a function without arguments; [`on_each_engine!`](crate::on_each_engine) names those of a file, and the compiler complains about one that
//! was forgotten. What a case opens, it opens on [`Engine::here`].

use std::path::Path;

use crate::Postgres;

/// A database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// A file.
    Sqlite,
    /// A database of its own on this process's server.
    Postgres,
}

tokio::task_local! {
    static HERE: Engine;
}

impl Engine {
    /// The one that this test runs on.
    pub fn here() -> Self {
        HERE.try_with(|engine| *engine).unwrap_or(Self::Sqlite)
    }

    /// Runs a case on it.
    pub async fn run(self, case: impl Future<Output = ()>) {
        HERE.scope(self, case).await;
    }

    /// The URL of a new catalog, in the folder if it is a file.
    pub fn url(self, folder: &Path) -> String {
        match self {
            Self::Sqlite => format!("sqlite:{}/catalog.db", folder.display()),
            Self::Postgres => Postgres::shared().database_with_clock(),
        }
    }

    /// Sets the database's clock, where it has one of its own.
    pub fn set_time(self, url: &str, millis: u64) {
        if self == Self::Postgres {
            Postgres::shared().set_time(url, millis);
        }
    }

    /// Sets the database's clock, where it has one of its own, so far ahead of the machine's.
    pub fn set_ahead(self, url: &str, millis: i64) {
        if self == Self::Postgres {
            Postgres::shared().set_ahead(url, millis);
        }
    }
}

/// Makes a test on each database of each of these cases; before them, how tokio runs them.
#[macro_export]
macro_rules! on_each_engine {
    (@ $flavor:tt $case:ident) => {
        mod $case {
            #[tokio::test $flavor]
            async fn on_sqlite() {
                $crate::Engine::Sqlite.run(super::$case()).await;
            }

            $crate::on_postgres! {
                #[tokio::test $flavor]
                async fn on_postgres() {
                    $crate::Engine::Postgres.run(super::$case()).await;
                }
            }
        }
    };
    ($flavor:tt $($case:ident),+ $(,)?) => { $($crate::on_each_engine!(@ $flavor $case);)+ };
}

/// Makes a test on PostgreSQL of each of these cases, which need many nodes; before them, how tokio runs them.
#[macro_export]
macro_rules! on_postgres_alone {
    (@ $flavor:tt $case:ident) => {
        mod $case {
            $crate::on_postgres! {
                #[tokio::test $flavor]
                async fn on_postgres() {
                    $crate::Engine::Postgres.run(super::$case()).await;
                }
            }
        }
    };
    ($flavor:tt $($case:ident),+ $(,)?) => { $($crate::on_postgres_alone!(@ $flavor $case);)+ };
}
