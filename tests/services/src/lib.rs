//! The services that tests run against, each started by the test that needs it: on free ports, in a folder of its own, ended
//! with the process that started it, however that ends.
//!
//! A machine without a service ignores the tests that need it and says in one line what to install: wrap them in
//! [`on_postgres!`].

pub mod engine;
mod find;
pub mod postgres;
mod watched;

pub use engine::Engine;
pub use postgres::Postgres;
pub use watched::Watched;

/// Tests that need PostgreSQL: ignored, with what to install, where it is missing.
#[cfg(has_postgres)]
#[macro_export]
macro_rules! on_postgres {
    ($($test:item)*) => { $($test)* };
}

/// Tests that need PostgreSQL: ignored, with what to install, where it is missing.
#[cfg(not(has_postgres))]
#[macro_export]
macro_rules! on_postgres {
    ($($test:item)*) => { $(#[ignore = "needs PostgreSQL: apt-get install postgresql"] $test)* };
}
