//! Somebody who can write the catalog's file, and the blobs' folder, beside the server: a breached database, a breached bucket.

use std::path::{Path, PathBuf};

use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Connection, Row};
use strongroom_server::config::{BlobsUrl, CatalogUrl};

use crate::oracle;

/// Carries out statements in one transaction.
///
/// # Panics
/// If one of them fails, or changes nothing: an attack that does nothing shows nothing.
pub async fn edit(folder: &Path, statements: &[String]) {
    let mut catalog = oracle::open(folder).await;
    let mut tx = catalog.begin_with("BEGIN IMMEDIATE").await.unwrap();
    for statement in statements {
        let done = sqlx::query(AssertSqlSafe(statement.clone())).execute(&mut *tx).await;
        let done = done.unwrap_or_else(|error| panic!("{statement}: {error}"));
        assert!(done.rows_affected() > 0, "{statement}: changed nothing");
    }
    tx.commit().await.unwrap();
    catalog.close().await.unwrap();
}

/// The first column of the first row, as bytes.
pub async fn bytes(folder: &Path, query: &str) -> Vec<u8> {
    let mut catalog = oracle::open(folder).await;
    let row = sqlx::query(AssertSqlSafe(query.to_owned())).fetch_one(&mut catalog).await.unwrap();
    catalog.close().await.unwrap();
    row.get(0)
}

/// Bytes as SQL spells them.
pub fn hex(bytes: &[u8]) -> String {
    format!("x'{}'", data_encoding::HEXLOWER.encode(bytes))
}

/// The catalog's file.
pub fn catalog_file(folder: &Path) -> PathBuf {
    let CatalogUrl::Sqlite(path) = oracle::config(folder).catalog;
    path
}

/// Writes a copy of the catalog as it is now: whole, in one file, also beside a running server.
pub async fn copy_catalog(folder: &Path, into: &Path) {
    let mut catalog = oracle::open(folder).await;
    let statement = format!("VACUUM INTO '{}'", into.display());
    sqlx::query(AssertSqlSafe(statement)).execute(&mut catalog).await.unwrap();
    catalog.close().await.unwrap();
}

/// Puts a copy in the catalog's place, as whoever restores a backup would: the file is another one after it.
pub fn replace_catalog(folder: &Path, copy: &Path) {
    let file = catalog_file(folder);
    let beside = file.with_extension("restored");
    std::fs::copy(copy, &beside).unwrap();
    std::fs::rename(&beside, &file).unwrap();
    for suffix in ["-wal", "-shm"] {
        let mut name = file.clone().into_os_string();
        name.push(suffix);
        match std::fs::remove_file(name) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{error}"),
            _ => {}
        }
    }
}

/// Puts every row back to what it was in a copy, in the file that is there: no look at the file itself shows it.
pub async fn put_rows_back(folder: &Path, copy: &Path) {
    let mut catalog = oracle::open(folder).await;
    let run = async |catalog: &mut SqliteConnection, statement: String| {
        let done = sqlx::query(AssertSqlSafe(statement.clone())).execute(catalog).await;
        done.unwrap_or_else(|error| panic!("{statement}: {error}"));
    };
    run(&mut catalog, format!("ATTACH '{}' AS old", copy.display())).await;
    let tables = "SELECT name FROM main.sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%' \
                  AND name NOT LIKE '\\_sqlx%' ESCAPE '\\'";
    let tables = sqlx::query(tables).fetch_all(&mut catalog).await.unwrap();
    let tables: Vec<String> = tables.iter().map(|row| row.get(0)).collect();
    assert!(tables.iter().any(|table| table == "heads"), "{tables:?}");
    run(&mut catalog, "BEGIN IMMEDIATE".into()).await;
    for table in tables {
        run(&mut catalog, format!("DELETE FROM main.{table}")).await;
        run(&mut catalog, format!("INSERT INTO main.{table} SELECT * FROM old.{table}")).await;
    }
    run(&mut catalog, "COMMIT".into()).await;
    catalog.close().await.unwrap();
}

/// Where an object lies: the blob's file, and where in it the object begins.
pub async fn place(folder: &Path, path: &str) -> (PathBuf, u64) {
    let mut catalog = oracle::open(folder).await;
    let row =
        sqlx::query("SELECT blob, start FROM objects WHERE path = $1 ORDER BY generation DESC LIMIT 1").bind(path);
    let row = row.fetch_one(&mut catalog).await.unwrap();
    catalog.close().await.unwrap();
    let BlobsUrl::File(root) = oracle::config(folder).blobs;
    (root.join(row.get::<String, _>(0)), u64::try_from(row.get::<i64, _>(1)).unwrap())
}
