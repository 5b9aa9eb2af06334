//! Somebody who can write the catalog, and the blobs' folder, beside the server: a breached database, a breached bucket.
//!
//! Statements hold on both databases ([`hex`] spells bytes for both). What copies or replaces a whole file is SQLite's alone.

use std::path::{Path, PathBuf};

use sqlx::{AnyConnection, AssertSqlSafe, Connection, Row};
use strongroom_core::ids::TenantId;
use strongroom_core::keys::secret::{open_box, seal_box};
use strongroom_core::ledger::batch;
use strongroom_core::ledger::tile::{Kind, Tile, WIDTH};
use strongroom_server::config::{BlobsUrl, CatalogUrl};

use crate::oracle;

/// `objects`, with how each one's root is wrapped, wherever that lies.
pub const OBJECTS: &str = "(SELECT o.tenant, o.entry, o.ordinal, o.dataset, o.dataset_name, o.path, o.generation, o.fixed, \
     coalesce(w.version, o.key_version) AS key_version, \
     coalesce(substr(w.wrapped, CAST(1 + 60 * (o.ordinal % 16) AS INTEGER), 60), o.wrapped) AS wrapped \
     FROM objects o LEFT JOIN wraps w ON w.tenant = o.tenant AND w.entry = o.entry AND w.chunk = o.ordinal / 16) o";

/// Carries out statements in one transaction.
///
/// # Panics
/// If one of them fails, or changes nothing: an attack that does nothing shows nothing.
pub async fn edit(folder: &Path, statements: &[String]) {
    let mut catalog = oracle::open(folder).await;
    let begin = match oracle::config(folder).catalog {
        CatalogUrl::Sqlite(_) => "BEGIN IMMEDIATE",
        CatalogUrl::Postgres(_) => "BEGIN",
    };
    let mut tx = catalog.begin_with(begin).await.unwrap();
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

/// The first column of all rows, as bytes.
pub async fn column(folder: &Path, query: &str) -> Vec<Vec<u8>> {
    let mut catalog = oracle::open(folder).await;
    let rows = sqlx::query(AssertSqlSafe(query.to_owned())).fetch_all(&mut catalog).await.unwrap();
    catalog.close().await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// How many rows a query has.
pub async fn rows(folder: &Path, query: &str) -> usize {
    let mut catalog = oracle::open(folder).await;
    let rows = sqlx::query(AssertSqlSafe(query.to_owned())).fetch_all(&mut catalog).await.unwrap();
    catalog.close().await.unwrap();
    rows.len()
}

/// Bytes as SQL spells them.
pub fn hex(bytes: &[u8]) -> String {
    format!("unhex('{}')", data_encoding::HEXLOWER.encode(bytes))
}

/// The catalog's file.
pub fn catalog_file(folder: &Path) -> PathBuf {
    match oracle::config(folder).catalog {
        CatalogUrl::Sqlite(path) => path,
        CatalogUrl::Postgres(_) => panic!("this catalog is no file"),
    }
}

/// Writes a copy of the catalog as it is now: whole, also beside a running server. SQLite: in one file. PostgreSQL: in a schema of
/// the same database, named after the file.
pub async fn copy_catalog(folder: &Path, into: &Path) {
    let mut catalog = oracle::open(folder).await;
    if is_file(folder) {
        run(&mut catalog, format!("VACUUM INTO '{}'", into.display())).await;
    } else {
        let copy = schema(into);
        run(&mut catalog, "BEGIN ISOLATION LEVEL REPEATABLE READ".into()).await;
        run(&mut catalog, format!("DROP SCHEMA IF EXISTS {copy} CASCADE")).await;
        run(&mut catalog, format!("CREATE SCHEMA {copy}")).await;
        for table in tables(&mut catalog, folder).await {
            run(&mut catalog, format!("CREATE TABLE {copy}.{table} AS TABLE public.{table}")).await;
        }
        run(&mut catalog, "COMMIT".into()).await;
    }
    catalog.close().await.unwrap();
}

fn is_file(folder: &Path) -> bool {
    matches!(oracle::config(folder).catalog, CatalogUrl::Sqlite(_))
}

/// The schema that a copy of this name lies in.
fn schema(copy: &Path) -> String {
    format!("copy_{}", copy.file_stem().unwrap().to_str().unwrap())
}

async fn run(catalog: &mut AnyConnection, statement: String) {
    let done = sqlx::raw_sql(AssertSqlSafe(statement.clone())).execute(catalog).await;
    done.unwrap_or_else(|error| panic!("{statement}: {error}"));
}

async fn tables(catalog: &mut AnyConnection, folder: &Path) -> Vec<String> {
    let sql = match is_file(folder) {
        true => {
            "SELECT name FROM main.sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%' \
             AND name NOT LIKE '\\_sqlx%' ESCAPE '\\'"
        }
        false => {
            "SELECT CAST(tablename AS TEXT) FROM pg_tables WHERE schemaname = 'public' AND tablename NOT LIKE '\\_sqlx%'"
        }
    };
    let tables = sqlx::query(sql).fetch_all(catalog).await.unwrap();
    let tables: Vec<String> = tables.iter().map(|row| row.get(0)).collect();
    assert!(tables.iter().any(|table| table == "heads"), "{tables:?}");
    tables
}

/// Puts a copy in the catalog's place, as whoever restores a backup would. SQLite: the file is another one after it.
pub async fn replace_catalog(folder: &Path, copy: &Path) {
    if !is_file(folder) {
        return put_rows_back(folder, copy).await;
    }
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

/// Copies the ledgers' files out of the blobs' folder. The server is to stand still, or the copy is of several moments.
pub fn copy_logs(folder: &Path, into: &Path) {
    let from = logs(folder);
    oracle::walk(&from, &mut |file| {
        let to = into.join(file.strip_prefix(&from).unwrap());
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(file, to).unwrap();
    });
}

/// Puts a copy of the ledgers' files in their place.
pub fn replace_logs(folder: &Path, copy: &Path) {
    std::fs::remove_dir_all(logs(folder)).unwrap();
    std::fs::rename(copy, logs(folder)).unwrap();
}

/// Changes the private parts of these full bundles of a ledger, as whoever has the root key can: they lie sealed for their place after
/// it as before.
pub async fn edit_private_parts(folder: &Path, tenant: &str, bundles: &[u64], edit: impl FnOnce(&mut [Vec<Vec<u8>>])) {
    let column = |column: &str| format!("SELECT {column} FROM tenants WHERE name = '{tenant}'");
    let id = TenantId::try_from(&bytes(folder, &column("id")).await[..]).unwrap();
    let wrapped = bytes(folder, &column("ledger_key")).await;
    let key = oracle::ledger_key(folder, (id, tenant), &wrapped).await.private_parts();
    let files: Vec<(PathBuf, Vec<u8>, Tile)> = bundles
        .iter()
        .map(|number| {
            let tile = Tile::new(Kind::Private, *number, WIDTH).unwrap();
            let place = [&b"strongroom/v1/private-parts"[..], id.as_bytes(), tile.to_string().as_bytes()].concat();
            (logs(folder).join(id.to_string()).join(tile.to_string()), place, tile)
        })
        .collect();
    let opened = files.iter().map(|(file, place, tile)| {
        let open = open_box(&key, place, &std::fs::read(file).unwrap()).expect("they lie sealed for their place");
        tile.parts(&open).unwrap().into_iter().map(<[u8]>::to_vec).collect()
    });
    let mut parts: Vec<Vec<Vec<u8>>> = opened.collect();
    edit(&mut parts);
    for ((file, place, _), parts) in files.iter().zip(&parts) {
        let mut framed = Vec::new();
        parts.iter().for_each(|part| batch::push(&mut framed, part));
        std::fs::write(file, seal_box(&key, place, &framed).unwrap()).unwrap();
    }
}

/// The folder of the ledgers' files.
pub fn logs(folder: &Path) -> PathBuf {
    let BlobsUrl::File(root) = oracle::config(folder).blobs else { panic!("a bucket has no files") };
    root.join("ledgers")
}

/// Puts every row back to what it was in a copy, in the database that is there: no look at a file shows it.
pub async fn put_rows_back(folder: &Path, copy: &Path) {
    let mut catalog = oracle::open(folder).await;
    let (here, there, begin) = match is_file(folder) {
        true => {
            run(&mut catalog, format!("ATTACH '{}' AS old", copy.display())).await;
            ("main", "old".to_owned(), "BEGIN IMMEDIATE")
        }
        false => ("public", schema(copy), "BEGIN"),
    };
    let tables = tables(&mut catalog, folder).await;
    run(&mut catalog, begin.into()).await;
    for table in tables {
        run(&mut catalog, format!("DELETE FROM {here}.{table}")).await;
        run(&mut catalog, format!("INSERT INTO {here}.{table} SELECT * FROM {there}.{table}")).await;
    }
    run(&mut catalog, "COMMIT".into()).await;
    catalog.close().await.unwrap();
}

/// The first column of the first row, as a number.
pub async fn number(folder: &Path, query: &str) -> u64 {
    let mut catalog = oracle::open(folder).await;
    let row = sqlx::query(AssertSqlSafe(query.to_owned())).fetch_one(&mut catalog).await.unwrap();
    catalog.close().await.unwrap();
    u64::try_from(row.get::<i64, _>(0)).unwrap()
}

/// Where the newest generation of an object lies: the blob's file, and where in it the object begins.
pub async fn place(folder: &Path, path: &str) -> (PathBuf, u64) {
    place_of(folder, path, None).await
}

/// As [`place`], of a generation.
pub async fn place_of(folder: &Path, path: &str, generation: Option<i64>) -> (PathBuf, u64) {
    let mut catalog = oracle::open(folder).await;
    let row = sqlx::query(
        "SELECT blob, start FROM objects WHERE path = $1 AND generation <= $2 ORDER BY generation DESC LIMIT 1",
    );
    let row = row.bind(path).bind(generation.unwrap_or(i64::MAX)).fetch_one(&mut catalog).await.unwrap();
    catalog.close().await.unwrap();
    let BlobsUrl::File(root) = oracle::config(folder).blobs else { panic!("a bucket has no files") };
    (root.join(row.get::<String, _>(0)), u64::try_from(row.get::<i64, _>(1)).unwrap())
}
