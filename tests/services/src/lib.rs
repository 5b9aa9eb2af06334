//! The services that tests run against, each started by the test that needs it: on free ports, in a folder of its own, ended
//! with the process that started it, however that ends.
//!
//! A machine without a service ignores the tests that need it and says in one line what to install: wrap them in
//! [`on_postgres!`], [`on_moto!`], [`on_postgres_and_moto!`], [`on_azurite!`], [`on_softhsm!`], [`on_gdb!`], [`on_python!`],
//! [`on_readers!`], [`on_chromium!`], [`on_mounts!`] or [`on_postgres_and_mounts!`].

pub mod azurite;
pub mod engine;
pub mod faults;
mod find;
mod http;
pub mod moto;
pub mod mounts;
pub mod postgres;
pub mod softhsm;
pub mod store;
mod watched;

pub use azurite::Azurite;
pub use engine::Engine;
pub use faults::{Fault, Faults};
pub use moto::Moto;
pub use postgres::Postgres;
pub use softhsm::SoftHsm;
pub use store::Store;
pub use watched::Watched;

/// The Python of [`on_readers!`].
///
/// # Panics
/// If it is not installed.
pub fn readers() -> std::path::PathBuf {
    find::readers().expect("the readers are not installed: tests/services/install")
}

/// The browser of [`on_chromium!`].
///
/// # Panics
/// If it is not installed.
pub fn chromium() -> std::path::PathBuf {
    find::chromium().expect("Chromium is not installed: apt-get install chromium")
}

/// A port of the loopback interface that nobody listens on just now.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

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

/// Tests that need an S3: ignored, with what to install, where it is missing.
#[cfg(has_moto)]
#[macro_export]
macro_rules! on_moto {
    ($($test:item)*) => { $($test)* };
}

/// Tests that need an S3: ignored, with what to install, where it is missing.
#[cfg(not(has_moto))]
#[macro_export]
macro_rules! on_moto {
    ($($test:item)*) => { $(#[ignore = "needs moto: tests/services/install"] $test)* };
}

/// Tests that need PostgreSQL and an S3: ignored, with what to install, where one is missing.
#[cfg(all(has_postgres, has_moto))]
#[macro_export]
macro_rules! on_postgres_and_moto {
    ($($test:item)*) => { $($test)* };
}

/// Tests that need PostgreSQL and an S3: ignored, with what to install, where one is missing.
#[cfg(not(all(has_postgres, has_moto)))]
#[macro_export]
macro_rules! on_postgres_and_moto {
    ($($test:item)*) => { $(#[ignore = "needs PostgreSQL and moto: tests/services/install"] $test)* };
}

/// Tests that need an Azure: ignored, with what to install, where it is missing.
#[cfg(has_azurite)]
#[macro_export]
macro_rules! on_azurite {
    ($($test:item)*) => { $($test)* };
}

/// Tests that need an Azure: ignored, with what to install, where it is missing.
#[cfg(not(has_azurite))]
#[macro_export]
macro_rules! on_azurite {
    ($($test:item)*) => { $(#[ignore = "needs azurite: tests/services/install"] $test)* };
}

/// Tests that need Python: ignored, with what to install, where it is missing.
#[cfg(has_python)]
#[macro_export]
macro_rules! on_python {
    ($($test:item)*) => { $($test)* };
}

/// Tests that need Python: ignored, with what to install, where it is missing.
#[cfg(not(has_python))]
#[macro_export]
macro_rules! on_python {
    ($($test:item)*) => { $(#[ignore = "needs Python: apt-get install python3"] $test)* };
}

/// Tests that need what reads exports, DuckDB, pandas and the schemas of OCSF: ignored, with what to install, where it is missing.
#[cfg(has_readers)]
#[macro_export]
macro_rules! on_readers {
    ($($test:item)*) => { $($test)* };
}

/// Tests that need what reads exports, DuckDB, pandas and the schemas of OCSF: ignored, with what to install, where it is missing.
#[cfg(not(has_readers))]
#[macro_export]
macro_rules! on_readers {
    ($($test:item)*) => { $(#[ignore = "needs DuckDB, pandas and OCSF's schemas: tests/services/install"] $test)* };
}

/// Tests that need Chromium, and Python to drive it: ignored, with what to install, where it is missing.
#[cfg(has_chromium)]
#[macro_export]
macro_rules! on_chromium {
    ($($test:item)*) => { $($test)* };
}

/// Tests that need Chromium, and Python to drive it: ignored, with what to install, where it is missing.
#[cfg(not(has_chromium))]
#[macro_export]
macro_rules! on_chromium {
    ($($test:item)*) => { $(#[ignore = "needs Chromium and Python: apt-get install chromium python3"] $test)* };
}

/// Tests that need file systems of their own (see [`mounts`]): ignored, with the reason, where this user may mount none.
#[cfg(has_mounts)]
#[macro_export]
macro_rules! on_mounts {
    ($($test:item)*) => { $($test)* };
}

/// Tests that need file systems of their own (see [`mounts`]): ignored, with the reason, where this user may mount none.
#[cfg(not(has_mounts))]
#[macro_export]
macro_rules! on_mounts {
    ($($test:item)*) => { $(#[ignore = "needs to mount: user namespaces (`unshare -rm`), or root"] $test)* };
}

/// Tests that need PostgreSQL on a file system of its own (see [`mounts`]): ignored, with the reason, where one is missing.
#[cfg(all(has_postgres, has_mounts))]
#[macro_export]
macro_rules! on_postgres_and_mounts {
    ($($test:item)*) => { $($test)* };
}

/// Tests that need PostgreSQL on a file system of its own (see [`mounts`]): ignored, with the reason, where one is missing.
#[cfg(not(all(has_postgres, has_mounts)))]
#[macro_export]
macro_rules! on_postgres_and_mounts {
    ($($test:item)*) => {
        $(#[ignore = "needs PostgreSQL, and to mount: user namespaces (`unshare -rm`), or root"] $test)*
    };
}

/// Tests that need an HSM: ignored, with what to install, where it is missing.
#[cfg(has_softhsm)]
#[macro_export]
macro_rules! on_softhsm {
    ($($test:item)*) => { $($test)* };
}

/// Tests that need an HSM: ignored, with what to install, where it is missing.
#[cfg(not(has_softhsm))]
#[macro_export]
macro_rules! on_softhsm {
    ($($test:item)*) => { $(#[ignore = "needs softhsm2: tests/services/install"] $test)* };
}

/// Tests that need gdb: ignored, with what to install, where it is missing.
#[cfg(has_gdb)]
#[macro_export]
macro_rules! on_gdb {
    ($($test:item)*) => { $($test)* };
}

/// Tests that need gdb: ignored, with what to install, where it is missing.
#[cfg(not(has_gdb))]
#[macro_export]
macro_rules! on_gdb {
    ($($test:item)*) => { $(#[ignore = "needs gdb: tests/services/install"] $test)* };
}

/// Tests that need gdb and an HSM: ignored, with what to install, where one is missing.
#[cfg(all(has_gdb, has_softhsm))]
#[macro_export]
macro_rules! on_gdb_and_softhsm {
    ($($test:item)*) => { $($test)* };
}

/// Tests that need gdb and an HSM: ignored, with what to install, where one is missing.
#[cfg(not(all(has_gdb, has_softhsm)))]
#[macro_export]
macro_rules! on_gdb_and_softhsm {
    ($($test:item)*) => { $(#[ignore = "needs gdb and softhsm2: tests/services/install"] $test)* };
}

/// Tests that need gdb and Python: ignored, with what to install, where one is missing.
#[cfg(all(has_gdb, has_python))]
#[macro_export]
macro_rules! on_gdb_and_python {
    ($($test:item)*) => { $($test)* };
}

/// Tests that need gdb and Python: ignored, with what to install, where one is missing.
#[cfg(not(all(has_gdb, has_python)))]
#[macro_export]
macro_rules! on_gdb_and_python {
    ($($test:item)*) => { $(#[ignore = "needs gdb and Python: tests/services/install"] $test)* };
}

/// Tests that need gdb and a KMS: ignored, with what to install, where one is missing.
#[cfg(all(has_gdb, has_moto))]
#[macro_export]
macro_rules! on_gdb_and_moto {
    ($($test:item)*) => { $($test)* };
}

/// Tests that need gdb and a KMS: ignored, with what to install, where one is missing.
#[cfg(not(all(has_gdb, has_moto)))]
#[macro_export]
macro_rules! on_gdb_and_moto {
    ($($test:item)*) => { $(#[ignore = "needs gdb and moto: tests/services/install"] $test)* };
}
