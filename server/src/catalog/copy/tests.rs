use std::collections::BTreeSet;

use sqlx::Row;
use strongroom_core::ids::{Digest, VaultId};
use strongroom_test_services::{Engine, Postgres, on_each_engine, on_postgres_alone};

use super::super::tests::{listed, open};
use super::tables::{Kind, NOT_COPIED, TABLES};
use super::*;

/// The first column of each row.
async fn texts(catalog: &Catalog, sql: &'static str) -> BTreeSet<String> {
    let rows = sqlx::query(sql).fetch_all(catalog.reader()).await.unwrap();
    rows.iter().map(|row| row.get::<String, _>(0)).collect()
}

/// Every column there is, as `table.column kind`.
const COLUMNS_SQLITE: &str = "SELECT m.name || '.' || c.name || ' ' || c.type FROM main.sqlite_schema m \
     JOIN pragma_table_info(m.name) c WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite@_%' ESCAPE '@'";
const COLUMNS_POSTGRES: &str = "SELECT CAST(table_name || '.' || column_name || ' ' || data_type AS TEXT) \
     FROM information_schema.columns WHERE table_schema = 'public'";
/// The key of each table, as `table.column place`.
const KEYS_SQLITE: &str = "SELECT m.name || '.' || c.name || ' ' || c.pk FROM main.sqlite_schema m \
     JOIN pragma_table_info(m.name) c WHERE m.type = 'table' AND c.pk > 0 AND m.name NOT LIKE 'sqlite@_%' ESCAPE '@'";
const KEYS_POSTGRES: &str = "SELECT CAST(table_name || '.' || column_name || ' ' || ordinal_position AS TEXT) \
     FROM information_schema.key_column_usage JOIN information_schema.table_constraints \
     USING (constraint_schema, constraint_name, table_name) \
     WHERE constraint_schema = 'public' AND constraint_type = 'PRIMARY KEY'";
/// Columns that the database numbers by itself.
const NUMBERED_SQLITE: &str = "SELECT name FROM main.sqlite_schema WHERE upper(sql) LIKE '%AUTOINCREMENT%'";
const NUMBERED_POSTGRES: &str = "SELECT CAST(table_name || '.' || column_name AS TEXT) \
     FROM information_schema.columns WHERE table_schema = 'public' \
     AND (is_identity = 'YES' OR column_default LIKE 'nextval%')";

fn is_copied(told: &str) -> bool {
    !NOT_COPIED.iter().any(|(table, _)| told.strip_prefix(table).is_some_and(|rest| rest.starts_with('.')))
}

/// What a database has and the list has not, and the other way round: nothing.
async fn every_column_of_every_table_is_copied() {
    let (_folder, _, catalog) = open().await;
    let is_file = Engine::here() == Engine::Sqlite;
    let (columns, keys, numbered) = match is_file {
        true => (COLUMNS_SQLITE, KEYS_SQLITE, NUMBERED_SQLITE),
        false => (COLUMNS_POSTGRES, KEYS_POSTGRES, NUMBERED_POSTGRES),
    };
    let kind = |kind: &Kind| match (kind, is_file) {
        (Kind::Number, true) => "INTEGER",
        (Kind::Number, false) => "bigint",
        (Kind::Bytes, true) => "BLOB",
        (Kind::Bytes, false) => "bytea",
        (Kind::Text, true) => "TEXT",
        (Kind::Text, false) => "text",
    };
    let mut listed = [BTreeSet::new(), BTreeSet::new()];
    for table in TABLES {
        for (name, of) in table.key.iter().chain(table.rest) {
            listed[0].insert(format!("{}.{name} {}", table.name, kind(of)));
        }
        for (at, (name, _)) in (1..).zip(table.key) {
            listed[1].insert(format!("{}.{name} {at}", table.name));
        }
    }
    for (what, sql, listed) in [("columns", columns, &listed[0]), ("keys", keys, &listed[1])] {
        let there: BTreeSet<String> = texts(&catalog, sql).await.into_iter().filter(|told| is_copied(told)).collect();
        assert!(there.len() > 20, "{there:?}");
        let (forgotten, invented): (Vec<_>, Vec<_>) =
            (there.difference(listed).collect(), listed.difference(&there).collect());
        assert!(
            forgotten.is_empty() && invented.is_empty(),
            "catalog/copy/tables.rs, {what}: migrate-catalog would not copy {forgotten:?}; it names {invented:?}, which \
             the database has not. A new table needs a Table there, or a line in NOT_COPIED that says why not."
        );
    }
    let numbered = texts(&catalog, numbered).await;
    let numbered: Vec<_> = numbered.iter().filter(|told| is_copied(&format!("{told}."))).collect();
    assert!(
        numbered.is_empty(),
        "{numbered:?} are numbered by the database: the copy must have it go on after its rows"
    );
}

/// A source with some rows, an empty target, and a copy between them of four rows at a time.
async fn copying() -> (tempfile::TempDir, Copying) {
    let paths: Vec<String> = (0..30).map(|n| format!("a \"quoted\" \\path/{n:02} é")).collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    // The source is a file, whatever this test runs on.
    let mut made = None;
    Engine::Sqlite.run(async { made = Some(listed(&paths).await) }).await;
    let (folder, catalog, ..) = made.unwrap();
    let vault = VaultId::from_bytes([1; 16]);
    catalog.bind_vault(vault).await.unwrap();
    let file = folder.path().join("catalog.db");
    assert!(matches!(Catalog::open_source(&file).await, Err(CatalogError::Served)));
    catalog.close().await;
    // A process that another test starts has this one's files, and so its lock, until it is another program.
    let opening = async {
        loop {
            match Catalog::open_source(&file).await {
                Err(CatalogError::Served) => tokio::task::yield_now().await,
                opened => break opened.unwrap(),
            }
        }
    };
    let source = tokio::time::timeout(std::time::Duration::from_secs(10), opening).await.unwrap();
    assert!(matches!(Catalog::open(&format!("sqlite:{}", file.display())).await, Err(CatalogError::BeingCopied)));
    let target = Catalog::open(&Postgres::shared().database()).await.unwrap();
    let of = Unfinished { vault, of: source.ledgers().await.unwrap() };
    (folder, Copying { source, target, of, page: 4 })
}

async fn a_copy_is_no_vaults_until_it_is_finished() {
    let (folder, copying) = copying().await;
    let before = std::fs::read(folder.path().join("catalog.db")).unwrap();
    let Copying { source, target, of, .. } = &copying;
    assert_eq!(copying.look(false).await.unwrap(), Begun::Empty);
    assert_eq!(copying.begin(false).await.unwrap(), Begun::Empty);
    let refused = target.bind_vault(of.vault).await;
    assert!(matches!(refused, Err(CatalogError::Unfinished { vault }) if vault == of.vault));
    let other = VaultId::from_bytes([9; 16]);
    assert!(matches!(target.bind_vault(other).await, Err(CatalogError::OtherVault { found, .. }) if found == of.vault));

    // Broken off in the middle of a table.
    let objects = TABLES.iter().find(|table| table.name == "objects").unwrap();
    for table in TABLES.iter().take_while(|table| table.name != "objects") {
        assert!(source.page(table, None, 1, 1).await.unwrap().is_empty(), "{}", table.name);
    }
    let first = source.page(objects, None, 7, usize::MAX).await.unwrap();
    copying.write(objects, &first).await.unwrap();
    assert_eq!(target.rows().await.unwrap(), 7);
    assert_eq!(copying.begin(false).await.unwrap(), Begun::Resumed);
    let copied = std::sync::atomic::AtomicU64::new(0);
    let more = |rows| {
        copied.fetch_add(rows, std::sync::atomic::Ordering::SeqCst);
    };
    copying.tables(&more).await.unwrap();
    let rows = source.rows().await.unwrap();
    assert_eq!((copied.into_inner() + 7, target.rows().await.unwrap()), (rows, rows));
    copying.compare(&|_| ()).await.unwrap();
    assert!(target.bind_vault(of.vault).await.is_err());
    copying.finish().await.unwrap();
    target.bind_vault(of.vault).await.unwrap();
    assert_eq!(copying.begin(false).await.unwrap(), Begun::Whole);
    // What is the vault's catalog is never cleared, nor written to.
    assert_eq!(copying.begin(true).await.unwrap(), Begun::Whole);
    assert!(matches!(copying.write(objects, &first).await, Err(CatalogError::MovedOn)));
    assert!(copying.finish().await.is_err());
    assert_eq!(target.rows().await.unwrap(), rows);
    source.close().await;
    assert_eq!(std::fs::read(folder.path().join("catalog.db")).unwrap(), before, "nothing was written to the source");
}

async fn what_differs_is_named() {
    let (_folder, copying) = copying().await;
    copying.begin(false).await.unwrap();
    copying.tables(&|_| ()).await.unwrap();
    for (change, back) in [
        ("UPDATE paths SET generation = 2 WHERE path LIKE '%17 é'", "UPDATE paths SET generation = 1"),
        (
            "INSERT INTO tombstones (dataset, path, through) VALUES (unhex('00'), '17 é', 1)",
            "DELETE FROM tombstones WHERE through = 1",
        ),
        (
            "INSERT INTO paths (dataset, path, generation, entry, ordinal) VALUES (unhex('ff'), '17 é', 1, 1, 1)",
            "DELETE FROM paths WHERE dataset = unhex('ff')",
        ),
    ] {
        copying.compare(&|_| ()).await.unwrap();
        copying.target.tamper(change).await;
        let differs = copying.compare(&|_| ()).await.unwrap_err();
        assert!(matches!(&differs, CatalogError::Differs { row, .. } if row.contains("17 é")), "{change}: {differs}");
        copying.target.tamper(back).await;
    }
    copying.target.tamper("DELETE FROM objects WHERE ordinal = 29").await;
    let differs = copying.compare(&|_| ()).await.unwrap_err();
    assert!(
        matches!(&differs, CatalogError::Differs { table: "objects", row } if row.contains("ordinal 29")),
        "{differs}"
    );
}

async fn a_target_is_empty_or_the_same_copy() {
    let (_folder, copying) = copying().await;
    let again = |of| Copying { source: copying.source.clone(), target: copying.target.clone(), of, page: 4 };
    copying.begin(false).await.unwrap();
    copying.tables(&|_| ()).await.unwrap();
    // Of other ledgers: a server ran in between.
    let moved = again(Unfinished { of: Digest::from_bytes([7; 32]), ..copying.of });
    assert!(matches!(moved.begin(false).await, Err(CatalogError::MovedOn)));
    let other = again(Unfinished { vault: VaultId::from_bytes([9; 16]), ..copying.of });
    for restart in [false, true] {
        assert!(matches!(other.begin(restart).await, Err(CatalogError::OtherVault { .. })));
    }
    assert!(copying.target.rows().await.unwrap() > 0);
    moved.begin(true).await.unwrap();
    assert_eq!(copying.target.rows().await.unwrap(), 0, "it begins anew");
    assert!(matches!(copying.begin(false).await, Err(CatalogError::MovedOn)));
    assert!(matches!(moved.finish().await, Err(CatalogError::MovedOn)), "the source is not what it says");

    let target = Catalog::open(&Postgres::shared().database()).await.unwrap();
    target.change("INSERT INTO tombstones (dataset, path, through) VALUES (unhex('00'), 'x', 1)").await;
    let full = Copying { target, ..again(copying.of) };
    assert!(matches!(full.begin(false).await, Err(CatalogError::NotEmpty { table: "tombstones" })));
    assert_eq!(full.target.binding().await.unwrap(), None, "and it is not bound");
}

on_each_engine! {
    (flavor = "current_thread")
    every_column_of_every_table_is_copied,
}

on_postgres_alone! {
    (flavor = "current_thread")
    a_copy_is_no_vaults_until_it_is_finished,
    what_differs_is_named,
    a_target_is_empty_or_the_same_copy,
}
