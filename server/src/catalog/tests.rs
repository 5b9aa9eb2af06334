mod tls;

use strongroom_core::grant::{Grant, Prefix};
use strongroom_core::ids::{DatasetId, Index, TenantId, VaultId};
use strongroom_core::keys::secret::Key;
use strongroom_core::keys::wrap::Wrapped;
use strongroom_core::ledger::LedgerKey;
use strongroom_core::names::ObjectPath;

use super::objects::{Facts, ObjectWrites};
use super::tx::Lost;
use super::*;
use strongroom_test_services::{Engine, on_each_engine};

impl Catalog {
    /// Has the next commit, or the beginning after it, fail.
    pub(crate) fn lose_next_commit(&self, lost: Lost) {
        *self.0.lost.lock().unwrap() = Some(lost);
    }

    pub(super) fn loses(&self, which: impl Fn(Lost) -> bool) -> Option<Lost> {
        self.0.lost.lock().unwrap().take_if(|lost| which(*lost))
    }

    /// Writes as somebody who can write the database.
    pub(crate) async fn tamper(&self, sql: &'static str) {
        let mut tx = self.begin().await.unwrap();
        let sql = tx.sql(sql);
        let changed = sqlx::query(sql.clone()).execute(tx.connection()).await.unwrap().rows_affected();
        assert!(changed > 0, "{} changed nothing", sql.as_str());
        tx.commit().await.unwrap();
    }

    /// Carries a statement out.
    pub(crate) async fn change(&self, sql: &'static str) {
        let mut tx = self.begin().await.unwrap();
        let sql = tx.sql(sql);
        sqlx::query(sql).execute(tx.connection()).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// Makes a grant up.
    pub(crate) async fn forge_grant(&self, tenant: &TenantId, grant: &Grant, content: &[u8], mac: &[u8]) {
        let mut tx = self.begin().await.unwrap();
        let sql = "INSERT INTO grants (tenant, id, holder, issued, content, mac) VALUES ($1, $2, $3, $4, $5, $6)";
        let query = sqlx::query(sql).bind(&tenant.as_bytes()[..]).bind(&grant.id.as_bytes()[..]).bind(&b"?"[..]);
        query.bind(1_i64).bind(content).bind(mac).execute(tx.connection()).await.unwrap();
        tx.commit().await.unwrap();
    }
}

pub(super) async fn open() -> (tempfile::TempDir, String, Catalog) {
    // A name that no URL may take at its word.
    let folder = tempfile::Builder::new().prefix("a b?c%").tempdir().unwrap();
    let url = Engine::here().url(folder.path());
    let catalog = Catalog::open(&url).await.unwrap();
    (folder, url, catalog)
}

async fn a_catalog_is_bound_to_one_vault() {
    let (_folder, url, catalog) = open().await;
    let (mine, other) = (VaultId::from_bytes([1; 16]), VaultId::from_bytes([2; 16]));
    catalog.bind_vault(mine).await.unwrap();
    catalog.bind_vault(mine).await.unwrap();
    let refused = catalog.bind_vault(other).await.unwrap_err();
    assert!(matches!(refused, CatalogError::OtherVault { found, wanted } if found == mine && wanted == other));
    catalog.close().await;
    let again = Catalog::open(&url).await.unwrap();
    assert!(again.bind_vault(other).await.is_err());
}

async fn readers_cannot_write() {
    let (_folder, _, catalog) = open().await;
    assert!(sqlx::query("DELETE FROM vault").execute(catalog.reader()).await.is_err());
}

#[tokio::test]
async fn commits_to_a_file_are_durable() {
    let (_folder, _, catalog) = open().await;
    let mut tx = catalog.begin().await.unwrap();
    let read = async |connection: super::bounded::Bounded<&mut sqlx::AnyConnection>, pragma: &'static str| {
        sqlx::query(pragma).fetch_one(connection).await.unwrap()
    };
    let mode: String = read(tx.connection(), "PRAGMA journal_mode").await.get(0);
    let synchronous: i64 = read(tx.connection(), "PRAGMA synchronous").await.get(0);
    let checkpoint: i64 = read(tx.connection(), "PRAGMA wal_autocheckpoint").await.get(0);
    assert_eq!((&mode[..], synchronous, checkpoint), ("wal", 2, 16000));
}

/// A tenant's catalog with these paths in it, all of one dataset.
pub(super) async fn listed(paths: &[&str]) -> (tempfile::TempDir, Catalog, LedgerKey, DatasetId, TenantId) {
    let (folder, _, catalog) = open().await;
    let (key, dataset, tenant) =
        (LedgerKey::new(&Key::from_bytes([1; 32])), DatasetId::from_bytes([2; 16]), TenantId::from_bytes([3; 16]));
    let mut tx = catalog.begin().await.unwrap();
    let (mut objects, mut writes) = (ObjectWrites::default(), PathWrites::default());
    let name = "d".parse().unwrap();
    for (at, path) in (0_u32..).zip(paths) {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&at.to_be_bytes());
        let path: ObjectPath = path.parse().unwrap();
        let (index, generation) = (Index(1), strongroom_core::ids::Generation(1));
        let facts = Facts {
            dataset,
            dataset_name: &name,
            path: &path,
            generation,
            header: strongroom_core::sealed::header::Header::new(strongroom_core::ids::ObjectId::from_bytes(id)),
            size: 1,
            content_root: strongroom_core::ids::Digest::from_bytes([0; 32]),
            put: strongroom_core::ids::PutId::from_bytes(id),
            holder: strongroom_core::identity::Fingerprint::from_bytes([0; 32]),
            index,
            ordinal: at,
            created: strongroom_core::ids::Millis(1),
            canary: false,
        };
        objects.push(&key, &facts, (1, &Wrapped::from_bytes([0; 60]), true), ("b", 0));
        writes.show(&dataset, path.as_str(), (generation, index, at));
    }
    tx.insert_objects(&tenant, objects).await.unwrap();
    tx.write_paths(&tenant, strongroom_core::ids::Millis(1), writes).await.unwrap();
    tx.commit().await.unwrap();
    (folder, catalog, key, dataset, tenant)
}

async fn lists_page_in_byte_order() {
    let paths =
        ["math", "math/1", "math/2", "math/a/1", "math/a/2", "math/b", "math0", "maths", "é", "z/y/x", "\u{10ffff}"];
    let (_folder, catalog, key, dataset, tenant) = listed(&paths).await;
    let all = async |prefix: &str, limit: u32, folders: bool| {
        let prefix: Prefix = prefix.parse().unwrap();
        let (mut found, mut after): (Vec<String>, Option<String>) = (Vec::new(), None);
        loop {
            let page = catalog.list(&tenant, &key, &dataset, &prefix, after.as_deref(), limit, folders).await.unwrap();
            assert!(page.objects.len() + page.folders.len() <= limit as usize);
            found.extend(page.objects.iter().map(|object| object.path.to_string()).chain(page.folders));
            after = page.next;
            if after.is_none() {
                // Within a page, objects come before folders.
                found.sort_unstable();
                return found;
            }
        }
    };
    for limit in [1, 2, 3, 100] {
        let mut sorted = paths.to_vec();
        sorted.sort_unstable();
        assert_eq!(all("", limit, false).await, sorted, "limit {limit}");
        assert_eq!(all("math/", limit, false).await, ["math/1", "math/2", "math/a/1", "math/a/2", "math/b"]);
        assert_eq!(all("math*", limit, false).await.len(), 8);
        assert_eq!(all("math", limit, true).await, ["math"]);
        assert_eq!(all("", limit, true).await, ["math", "math/", "math0", "maths", "z/", "é", "\u{10ffff}"]);
        assert_eq!(all("math/", limit, true).await, ["math/1", "math/2", "math/a/", "math/b"]);
        assert_eq!(all("nothing/", limit, true).await, [""; 0]);
    }
}

/// A folder of many is one leap, whatever is in it.
async fn folders_are_leapt_over() {
    let many: Vec<String> = (0..3000).map(|n| format!("f{}/{n:05}", n / 1000)).collect();
    let (_folder, catalog, key, dataset, tenant) = listed(&many.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let page = catalog.list(&tenant, &key, &dataset, &Prefix::all(), None, 10, true).await.unwrap();
    assert_eq!(page.folders, ["f0/", "f1/", "f2/"]);
    assert_eq!(page.next, None);
}

/// What one engine's migrations make, the other's make too: the same tables with the same columns in the same order.
#[test]
fn both_schemas_are_one() {
    let columns = |folder: &str| {
        let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
        files.sort_unstable();
        let (mut found, mut table) = (Vec::new(), String::new());
        for line in files
            .iter()
            .flat_map(|file| std::fs::read_to_string(file).unwrap().lines().map(str::to_owned).collect::<Vec<_>>())
        {
            let mut words = line.split_whitespace();
            match (words.next(), words.next(), words.next()) {
                (Some("CREATE"), Some("TABLE"), Some(name)) => table = name.to_owned(),
                (Some("CREATE"), Some("INDEX" | "UNIQUE"), _) => found.push(line),
                (Some("ALTER"), Some("TABLE"), Some(name)) if line.contains(" ADD ") => {
                    found.push(format!("{name} {}", line.replace("BYTEA", "BLOB").replace("BIGINT", "INTEGER")))
                }
                (Some("PRIMARY"), Some("KEY"), _) => found.push(format!("{table} {line}")),
                (Some(column), Some("INTEGER" | "BIGINT" | "BLOB" | "BYTEA" | "TEXT"), _) => {
                    found.push(format!("{table} {}", column.trim_matches('"')));
                }
                _ => {}
            }
        }
        found
    };
    let sqlite = columns("migrations/sqlite");
    assert!(sqlite.len() > 60, "{sqlite:?}");
    assert_eq!(sqlite, columns("migrations/postgres"));
}

on_each_engine! {
    (flavor = "current_thread")
    a_catalog_is_bound_to_one_vault,
    readers_cannot_write,
    lists_page_in_byte_order,
    folders_are_leapt_over,
}
