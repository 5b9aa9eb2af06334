//! The judge: a tenant's ledger, read straight from the catalog, replayed from entry 0.
//!
//! It trusts no server: the catalog is opened beside a running one, or after a killed one, and every recorded release must have been
//! allowed and asked for by the same function that decided it. After any fault, this is what must still hold.

use std::collections::BTreeSet;
use std::path::Path;

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Connection, Executor, Row};
use strongroom_core::ids::{Index, TenantId};
use strongroom_core::keys::secret::open_box;
use strongroom_core::keys::wrap::{Purpose, RootTuple};
use strongroom_core::ledger::batch::split;
use strongroom_core::ledger::replay::{Finding, Replay, Summary};
use strongroom_core::ledger::tile::{Kind, Tile, WIDTH};
use strongroom_core::ledger::{Entry, Event, Head, LedgerKey, Outcome, Private};
use strongroom_core::origin::Origin;
use strongroom_server::config::{BlobsUrl, CatalogUrl, Config};
use strongroom_server::keys::plugins::PATIENCE;
use strongroom_server::keys::root::ring::without_signpost;
use strongroom_server::keys::vault::VaultFile;
use strongroom_test_services::Moto;

/// A ledger, whole.
pub struct Ledger {
    /// Its origin.
    pub origin: Origin,
    /// Exact bytes of each entry: public part, and private part unless it was erased.
    pub entries: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// The head that the catalog holds.
    pub head: Head,
}

impl Ledger {
    /// Reads the ledger of the tenant of this name from the vault in `folder`.
    ///
    /// # Panics
    /// If there is no such vault or tenant, or its batches do not hold what they say.
    pub async fn read(folder: &Path, tenant: &str) -> Self {
        let mut catalog = open(folder).await;
        let id = tenant_id(&mut catalog, tenant).await;
        // One moment: a server beside goes on writing.
        let snapshot = match config(folder).catalog {
            CatalogUrl::Sqlite(_) => "BEGIN",
            CatalogUrl::Postgres(_) => "BEGIN ISOLATION LEVEL REPEATABLE READ",
        };
        let mut read = catalog.begin_with(snapshot).await.unwrap();
        let bytes = |row: &AnyRow, column: usize| row.get::<Vec<u8>, _>(column);
        let head = sqlx::query("SELECT head FROM heads WHERE tenant = $1").bind(id.as_bytes().to_vec());
        let head = Head::from_canonical_bytes(&bytes(&head.fetch_one(&mut *read).await.unwrap(), 0)).unwrap();
        let batches = sqlx::query(
            "SELECT b.first, b.entries, p.parts FROM batches b JOIN privates p USING (tenant, size) \
             WHERE b.tenant = $1 ORDER BY b.size",
        );
        let batches = batches.bind(id.as_bytes().to_vec()).fetch_all(&mut *read).await.unwrap();
        let oldest = batches.first().map_or(0, |row| row.get::<i64, _>(0));
        let mut entries = Vec::new();
        if oldest > 0 {
            let key = sqlx::query("SELECT ledger_key FROM tenants WHERE id = $1").bind(id.as_bytes().to_vec());
            let key = bytes(&key.fetch_one(&mut *read).await.unwrap(), 0);
            entries = shelved(folder, (id, tenant), &key, usize::try_from(oldest).unwrap()).await;
        }
        for row in batches {
            assert_eq!(row.get::<i64, _>(0), entries.len() as i64, "a gap before a batch");
            let (public, private) = (bytes(&row, 1), bytes(&row, 2));
            let (public, private) = (split(&public).unwrap(), split(&private).unwrap());
            assert_eq!(public.len(), private.len(), "a batch has as many private parts as entries");
            entries.extend(
                public
                    .into_iter()
                    .zip(private)
                    .map(|(public, private)| (public.to_vec(), (!private.is_empty()).then(|| private.to_vec()))),
            );
        }
        read.rollback().await.unwrap();
        catalog.close().await.unwrap();
        Self { origin: origin(folder, id), entries, head }
    }

    /// Replays it.
    ///
    /// # Errors
    /// The first rule that an entry breaks.
    pub fn replay(&self) -> Result<Summary, Finding> {
        let mut replay = Replay::new(self.origin.clone());
        for (public, private) in &self.entries {
            replay.feed(public, private.as_deref())?;
        }
        replay.finish()
    }

    /// Asserts that it has no gap, that replay proves all of it, and that the head is the one that its entries come to.
    #[must_use]
    pub fn assert_clean(self) -> Self {
        let summary = self.replay().unwrap_or_else(|finding| {
            let at = usize::try_from(finding.index.0).unwrap();
            let (public, private) = &self.entries[at];
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            panic!("{finding}\n{}\n{}", text(public), text(private.as_deref().unwrap_or_default()))
        });
        assert_eq!(summary.counts.uncheckable, 0, "nothing was erased");
        assert_eq!(summary.counts.entries, self.entries.len() as u64);
        assert_eq!(summary.head, self.head, "the head that stands in the catalog");
        self
    }

    /// The public parts, in order.
    pub fn parsed(&self) -> Vec<Entry> {
        self.entries.iter().map(|(public, _)| Entry::from_bytes(public).unwrap()).collect()
    }

    /// The private parts, in order.
    pub fn private_parts(&self) -> Vec<Private> {
        self.entries.iter().map(|(_, private)| Private::from_bytes(private.as_ref().unwrap()).unwrap()).collect()
    }

    /// The entries with this event that were carried out, in order.
    pub fn done(&self, event: Event) -> Vec<Entry> {
        self.parsed().into_iter().filter(|entry| entry.event == event && entry.outcome == Outcome::Done).collect()
    }

    /// How many entries there are.
    pub fn size(&self) -> Index {
        Index(self.entries.len() as u64)
    }
}

/// The first entries of a ledger, whose batches have left the catalog: out of their bundles. That they are the ledger's is shown by
/// what all of them come to.
async fn shelved(
    folder: &Path,
    (id, name): (TenantId, &str),
    wrapped: &[u8],
    count: usize,
) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
    let key = ledger_key(folder, (id, name), wrapped).await.private_parts();
    let mut entries = Vec::new();
    while entries.len() < count {
        let number = entries.len() as u64 / WIDTH;
        let tile = |kind| Tile::new(kind, number, WIDTH).unwrap();
        let (public, private) = (tile(Kind::Entries), tile(Kind::Private));
        let aad = [&b"strongroom/v1/private-parts"[..], id.as_bytes(), private.to_string().as_bytes()].concat();
        let open =
            open_box(&key, &aad, &log_file(folder, id, private)).expect("private parts lie sealed for their place");
        let bundle = log_file(folder, id, public);
        for (public, private) in public.parts(&bundle).unwrap().into_iter().zip(private.parts(&open).unwrap()) {
            entries.push((public.to_vec(), (!private.is_empty()).then(|| private.to_vec())));
        }
    }
    entries.truncate(count);
    entries
}

/// What a tenant's ledger is marked with, as whoever has the root key opens it.
pub(crate) async fn ledger_key(folder: &Path, tenant: (TenantId, &str), wrapped: &[u8]) -> LedgerKey {
    let root = strongroom_server::keys::root::open(&config(folder).root, None, PATIENCE).await.unwrap();
    let vault = VaultFile::read(folder).unwrap().vault;
    let place = RootTuple { purpose: Purpose::LedgerKey, vault, tenant: Some(tenant), version: 1 };
    LedgerKey::new(&root.unwrap(&place, without_signpost(wrapped)).await.unwrap())
}

fn log_file(folder: &Path, tenant: TenantId, tile: Tile) -> Vec<u8> {
    let name = format!("ledgers/{tenant}/{tile}");
    match config(folder).blobs {
        BlobsUrl::File(root) => std::fs::read(root.join(name)).unwrap(),
        BlobsUrl::Bucket(url) => Moto::shared().read(&url.bucket, &format!("{}/{name}", url.prefix)),
    }
}

/// The blobs of a vault: what lies on the disk or in the bucket, and what the catalog says should.
#[derive(Debug, PartialEq, Eq)]
pub struct Blobs {
    /// What lies there, by the names that rows have for it.
    pub stored: BTreeSet<String>,
    /// The blobs that some object lies in.
    pub of_objects: BTreeSet<String>,
    /// The blobs of uploads that have not come to an end: open or condemned.
    pub under_way: BTreeSet<String>,
}

impl Blobs {
    /// Looks at the disk, or into the bucket, and at the rows.
    pub async fn look(folder: &Path) -> Self {
        let mut catalog = open(folder).await;
        let mut names = async |sql: &'static str| {
            let rows = sqlx::query(sql).fetch_all(&mut catalog).await.unwrap();
            rows.iter().map(|row| row.get::<String, _>(0)).collect::<BTreeSet<_>>()
        };
        let of_objects = names("SELECT DISTINCT blob FROM objects WHERE key_version > 0").await;
        let under_way = names("SELECT blob FROM uploads WHERE state <> 1").await;
        catalog.close().await.unwrap();
        let mut stored = BTreeSet::new();
        match config(folder).blobs {
            BlobsUrl::File(root) => walk(&root.join("blobs"), &mut |path| {
                stored.insert(path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned());
            }),
            BlobsUrl::Bucket(url) => {
                let below = format!("{}/", url.prefix);
                let objects = Moto::shared().objects(&url.bucket);
                let names = objects.iter().map(|name| name.strip_prefix(&below).unwrap().to_owned());
                stored.extend(names.filter(|name| name.starts_with("blobs/")));
            }
        }
        Self { stored, of_objects, under_way }
    }

    /// Asserts that every object's blob is there, and that nothing lies there that no row knows.
    pub fn assert_whole(&self) {
        let missing: Vec<_> = self.of_objects.difference(&self.stored).collect();
        assert!(missing.is_empty(), "blobs of objects are missing: {missing:?}");
        let known: BTreeSet<_> = self.of_objects.union(&self.under_way).cloned().collect();
        let unknown: Vec<_> = self.stored.difference(&known).collect();
        assert!(unknown.is_empty(), "blobs that no row knows: {unknown:?}");
    }

    /// Whether nothing lies there but objects.
    pub fn is_swept(&self) -> bool {
        self.stored == self.of_objects && self.under_way.is_empty()
    }
}

/// Calls `found` with every file below `folder`.
pub fn walk(folder: &Path, found: &mut impl FnMut(&Path)) {
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        // A file that a running server removes meanwhile is no file.
        let Ok(entry) = entry else { continue };
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => walk(&entry.path(), found),
            Ok(kind) if kind.is_file() => found(&entry.path()),
            // A server's socket is no file either.
            Ok(_) | Err(_) => {}
        }
    }
}

/// The configuration of the vault in a folder, without the environment.
pub fn config(folder: &Path) -> Config {
    Config::load_with(folder, []).unwrap()
}

/// The catalog, opened beside whoever else has it open.
pub async fn open(folder: &Path) -> AnyConnection {
    sqlx::any::install_default_drivers();
    match config(folder).catalog {
        CatalogUrl::Sqlite(path) => {
            let mut catalog = AnyConnection::connect(&format!("sqlite://{}?mode=rw", path.display())).await.unwrap();
            catalog.execute("PRAGMA busy_timeout = 30000").await.unwrap();
            catalog
        }
        CatalogUrl::Postgres(url) => AnyConnection::connect(&url).await.unwrap(),
    }
}

async fn tenant_id(catalog: &mut AnyConnection, name: &str) -> TenantId {
    let row = sqlx::query("SELECT id FROM tenants WHERE name = $1").bind(name).fetch_one(catalog).await.unwrap();
    TenantId::try_from(&row.get::<Vec<u8>, _>(0)[..]).unwrap()
}

fn origin(folder: &Path, tenant: TenantId) -> Origin {
    Origin::new(&config(folder).name, VaultFile::read(folder).unwrap().vault, tenant).unwrap()
}
