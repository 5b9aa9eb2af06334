//! Integration: tiles and checkpoints of what was recorded, and what is refused where they do not fit.

use std::collections::BTreeMap;

use strongroom_core::ledger::checkpoint::Checkpoint;
use strongroom_core::ledger::proof::{check_consistency, check_inclusion};
use strongroom_core::ledger::tree::leaf_hash;
use strongroom_core::ledger::verify::{CHECKPOINT, Expected, LOG_KEYS, LogFiles, verify_log};

use super::super::integrate::{Broken, Integrator};
use super::*;
use crate::keys::root::file::{FileRootKey, SealWith};
use crate::tenants::Tenants;

impl Lab {
    /// Somebody who integrates, as a node does.
    pub(super) fn integrator(&self) -> Integrator {
        self.integrator_of(&self.recorder)
    }

    fn integrator_of(&self, recorder: &Recorder) -> Integrator {
        Integrator::new(recorder.inner.clone(), self.tenants())
    }

    pub(super) fn tenants(&self) -> Tenants {
        let root = Arc::new(FileRootKey::create(SealWith::FreshIdentity).unwrap().root);
        let tenants = Tenants::new(self.catalog.clone(), root, VaultId::from_bytes([7; 16]), "vault.test".into());
        tenants.keep_as(self.tenant.clone());
        tenants
    }

    /// Appends so many entries, one a commit.
    pub(super) async fn append(&self, count: usize) {
        for _ in 0..count {
            let name = format!("d{:x}", u128::from_be_bytes(random_bytes().unwrap())).parse().unwrap();
            self.order(Instruction::CreateDataset { name }).await.unwrap();
        }
    }

    pub(super) fn log_folder(&self) -> std::path::PathBuf {
        self.folder.path().join("blobs/ledgers").join(self.tenant.id.to_string())
    }

    /// The log in the object store, held against the ledger in the catalog: whole, and exactly that.
    pub(super) async fn check_log(&self) -> Checkpoint {
        let mut files = Files(BTreeMap::new());
        files.read_all(&self.log_folder(), "");
        files.0.remove(".lock");
        // What follows from the entries is no part of a copy.
        files.0.retain(|name, _| !name.starts_with("facts/") && !name.starts_with("summaries/"));
        // Private parts lie sealed.
        for (name, bytes) in &mut files.0 {
            if name.starts_with("private/") {
                assert!(strongroom_core::ledger::batch::split(bytes).is_err());
                *bytes = self.recorder.log_file(&self.tenant, name.parse().unwrap()).await.unwrap().to_vec();
            }
        }
        files.0.insert(LOG_KEYS.into(), self.tenant.log_keys().to_string().into_bytes());
        // Partial tiles of checkpoints before the newest stay until they are full.
        let size = Checkpoint::peek(&files.0[CHECKPOINT]).unwrap().size;
        let needed: std::collections::BTreeSet<String> =
            strongroom_core::ledger::tile::tiles_of(size.0).map(|tile| tile.to_string()).collect();
        files.0.retain(|name, _| !name.contains(".p/") || needed.contains(name));
        let verified =
            verify_log(&mut files, &Expected::default(), |_, _| ()).unwrap_or_else(|error| panic!("{error}"));
        let view = self.recorder.view(&self.tenant).await.unwrap();
        if verified.checkpoint.size == view.head.size() {
            assert_eq!(verified.checkpoint.root, view.head.tip());
            assert_eq!(verified.summary.head, *view.head);
        }
        verified.checkpoint
    }

    pub(super) async fn stopped(&self) -> Reason {
        reason(self.recorder.view(&self.tenant).await)
    }
}

/// More than a node has the lease after it ended, in milliseconds.
pub(super) const LEASE_OVER: u64 = 10_000;

/// Files in memory.
struct Files(BTreeMap<String, Vec<u8>>);

impl Files {
    fn read_all(&mut self, folder: &std::path::Path, prefix: &str) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
            match entry.file_type().unwrap().is_dir() {
                true => self.read_all(&entry.path(), &format!("{name}/")),
                false => drop(self.0.insert(name, std::fs::read(entry.path()).unwrap())),
            }
        }
    }
}

impl LogFiles for Files {
    type Error = std::convert::Infallible;

    fn read(&mut self, path: &str, _most: u64) -> Result<Option<Vec<u8>>, Self::Error> {
        Ok(self.0.get(path).cloned())
    }

    fn list(&mut self) -> Result<Vec<String>, Self::Error> {
        Ok(self.0.keys().cloned().collect())
    }
}

async fn a_ledger_becomes_a_log_that_verifies() {
    let mut lab = Lab::new().await;
    let mut integrator = lab.integrator();
    assert!(integrator.pass().await);
    let first = lab.check_log().await;
    assert_eq!(first.size, Index(2));
    for count in [1, 30, 226, 1, 260] {
        lab.append(count).await;
        assert!(integrator.pass().await);
        let checkpoint = lab.check_log().await;
        assert_eq!(checkpoint.size, lab.recorder.view(&lab.tenant).await.unwrap().head.size());
    }
    assert!(!lab.log_folder().join("tile/0/000.p").join("2").exists(), "partial tiles go once they are full");
    // A new process goes on from the files.
    lab.restart().await;
    lab.clock.forward(LEASE_OVER);
    lab.append(3).await;
    let mut integrator = lab.integrator();
    assert!(integrator.pass().await);
    assert_eq!(lab.check_log().await.size, Index(523));
    lab.replay().await;
}

async fn proofs_hold_against_the_checkpoint() {
    let lab = Lab::new().await;
    let mut integrator = lab.integrator();
    integrator.pass().await;
    let old = lab.recorder.checkpoint(&lab.tenant, Index(2)).await.unwrap().checkpoint;
    lab.append(300).await;
    integrator.pass().await;
    let entries = lab.entries().await;
    for index in [0, 1, 255, 256, 301] {
        let found = lab.recorder.inclusion(&lab.tenant, Index(index)).await.unwrap();
        let checkpoint = &found.signed.checkpoint;
        assert_eq!(found.public, entries[index as usize].0);
        check_inclusion(leaf_hash(&found.public), index, checkpoint.size.0, &checkpoint.root, &found.proof).unwrap();
    }
    let (new, proof) = lab.recorder.consistency(&lab.tenant, old.size).await.unwrap();
    check_consistency((2, &old.root), (new.checkpoint.size.0, &new.checkpoint.root), &proof).unwrap();
    assert_eq!(reason(lab.recorder.inclusion(&lab.tenant, Index(302)).await), Reason::NotFound);
    assert_eq!(reason(lab.recorder.inclusion(&lab.tenant, Index(u64::MAX)).await), Reason::NotFound);
    assert_eq!(reason(lab.recorder.consistency(&lab.tenant, Index(303)).await), Reason::NotFound);
    // Of a size that had a checkpoint, a partial tile is cut out of the full one.
    let tile: strongroom_core::ledger::tile::Tile = "tile/0/000.p/2".parse().unwrap();
    assert_eq!(lab.recorder.log_file(&lab.tenant, tile).await.unwrap().len(), 64);
    let none = "tile/0/002.p/9".parse().unwrap();
    assert_eq!(reason(lab.recorder.log_file(&lab.tenant, none).await), Reason::NotFound);
}

/// One that stood still after it had computed everything, and goes on when another has gone far past it.
async fn a_zombie_that_integrates_does_no_harm() {
    let lab = Lab::new().await;
    let (mut zombie, mut other) = (lab.integrator(), lab.integrator());
    lab.append(10).await;
    let old = zombie.fold(&lab.tenant).await.unwrap().unwrap();
    lab.append(300).await;
    assert!(other.pass().await);
    let newest = lab.check_log().await;
    assert!(!zombie.commit(old).await.unwrap(), "its checkpoint is not the next one");
    assert!(zombie.pass().await, "and it has nothing to do");
    assert_eq!(lab.check_log().await, newest);
    let row = lab.catalog.checkpoint(&lab.tenant.id).await.unwrap().unwrap();
    assert_eq!((row.size, row.root), (newest.size, newest.root));
    // Both go on, in turns and at once.
    for round in 0..4 {
        lab.append(40).await;
        match round % 2 {
            0 => assert!(zombie.pass().await),
            _ => drop(tokio::join!(zombie.pass(), other.pass())),
        }
        assert!(other.pass().await);
        assert_eq!(lab.check_log().await.size, lab.recorder.view(&lab.tenant).await.unwrap().head.size());
    }
    assert_eq!(lab.recorder.stopped(&lab.tenant.id), None);
}

/// An entry that was changed in the database does not come under a checkpoint.
async fn a_changed_batch_is_not_signed() {
    for sql in [
        "UPDATE batches SET entries = unhex(substr(hex(entries), 1, 40) || '00' || substr(hex(entries), 43)) WHERE size = 2",
        "DELETE FROM batches WHERE size = 2",
        "UPDATE batches SET first = 0 WHERE size = 2",
    ] {
        // Hex is written in one way on SQLite alone.
        if Engine::here() == Engine::Postgres && sql.contains("hex(") {
            continue;
        }
        let lab = Lab::new().await;
        lab.catalog.tamper(sql).await;
        let mut integrator = lab.integrator();
        integrator.pass().await;
        assert_eq!(lab.stopped().await, Reason::Integrity, "{sql}");
        assert!(lab.catalog.checkpoint(&lab.tenant.id).await.unwrap().is_none(), "{sql}");
    }
}

/// What lies in the object store is looked at before it is built on.
async fn a_changed_tile_stops_the_tenant() {
    for name in ["tile/0/000.p/12", "tile/entries/000.p/12", "private/000.p/12"] {
        for cut in [false, true] {
            let mut lab = Lab::new().await;
            lab.append(10).await;
            lab.integrator().pass().await;
            lab.restart().await;
            lab.clock.forward(LEASE_OVER);
            lab.append(1).await;
            let path = lab.log_folder().join(name);
            let mut bytes = std::fs::read(&path).unwrap();
            match cut {
                true => std::fs::remove_file(&path).unwrap(),
                false => {
                    let at = bytes.len() / 2;
                    bytes[at] ^= 1;
                    std::fs::write(&path, bytes).unwrap();
                }
            }
            lab.integrator().pass().await;
            assert_eq!(lab.stopped().await, Reason::Integrity, "{name}");
            let why = lab.recorder.stopped(&lab.tenant.id).unwrap();
            // A hash that does not fit may be the tile's fault, or the entry's.
            let named = if name == "tile/0/000.p/12" && !cut { "tile/entries/000.p/12" } else { name };
            assert!(why.contains(named), "{name}: {why}");
        }
    }
}

/// Something else lies where a tile is to be put.
async fn a_tile_is_never_overwritten() {
    let lab = Lab::new().await;
    let folder = lab.log_folder().join("tile/0/000.p");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("2"), [7; 64]).unwrap();
    lab.integrator().pass().await;
    assert_eq!(lab.stopped().await, Reason::Integrity);
    assert_eq!(std::fs::read(folder.join("2")).unwrap(), [7; 64]);
    assert!(lab.catalog.checkpoint(&lab.tenant.id).await.unwrap().is_none());
}

/// A database that was put back is behind the checkpoint in the object store, also for a node that remembers nothing.
async fn a_database_behind_the_bucket_stops_the_tenant() {
    let mut lab = Lab::new().await;
    lab.append(5).await;
    lab.integrator().pass().await;
    lab.catalog.tamper("UPDATE checkpoints SET size = size").await;
    lab.catalog.tamper("DELETE FROM checkpoints").await;
    let later = Checkpoint { origin: lab.tenant.origin.clone(), size: Index(9), root: Digest::from_bytes([1; 32]) };
    std::fs::write(lab.log_folder().join(CHECKPOINT), later.sign(&lab.tenant.log_key)).unwrap();
    // While it runs ...
    assert_eq!(reason(lab.recorder.inner.compare(&lab.tenant).await), Reason::LedgerDiverged);
    assert_eq!(lab.stopped().await, Reason::LedgerDiverged);
    // ... and from the start.
    lab.restart().await;
    assert_eq!(lab.stopped().await, Reason::LedgerDiverged);
    let why = lab.recorder.stopped(&lab.tenant.id).unwrap();
    assert!(why.contains("object store has 9 entries, and the ledger has 7"), "{why}");
}

async fn a_checkpoint_of_another_history_stops_the_tenant() {
    for forged in [false, true] {
        let mut lab = Lab::new().await;
        lab.append(5).await;
        lab.integrator().pass().await;
        let other = Checkpoint { origin: lab.tenant.origin.clone(), size: Index(5), root: Digest::from_bytes([1; 32]) };
        let stranger = SigningKey::generate().unwrap();
        let note = other.sign(if forged { &stranger } else { &lab.tenant.log_key });
        std::fs::write(lab.log_folder().join(CHECKPOINT), note).unwrap();
        lab.restart().await;
        let wanted = if forged { Reason::Integrity } else { Reason::LedgerDiverged };
        assert_eq!(lab.stopped().await, wanted);
    }
    // And in the database.
    let lab = Lab::new().await;
    lab.integrator().pass().await;
    lab.catalog.tamper("UPDATE checkpoints SET size = 1").await;
    lab.append(1).await;
    assert!(matches!(lab.integrator().fold(&lab.tenant).await, Err(Broken::Stop(Stop::Integrity(_)))));
}

/// The lease is short, and kept by whoever works.
async fn another_node_goes_on_within_a_second_of_a_death() {
    let lab = Lab::new().await;
    let (_, other) = lab.other_node().await;
    lab.append(3).await;
    for _ in 0..3 {
        assert!(lab.recorder.inner.leads("integrate").await.unwrap());
        lab.clock.forward(500);
        assert!(!other.inner.leads("integrate").await.unwrap());
    }
    // It is not kept any more.
    lab.clock.forward(250);
    let mut integrator = lab.integrator_of(&other);
    assert!(integrator.pass().await);
    assert_eq!(lab.check_log().await.size, Index(5));
    assert!(!lab.recorder.inner.leads("integrate").await.unwrap());
}

on_each_engine! {
    (flavor = "multi_thread")
    a_ledger_becomes_a_log_that_verifies,
    proofs_hold_against_the_checkpoint,
    a_zombie_that_integrates_does_no_harm,
    a_changed_batch_is_not_signed,
    a_changed_tile_stops_the_tenant,
    a_tile_is_never_overwritten,
    a_database_behind_the_bucket_stops_the_tenant,
    a_checkpoint_of_another_history_stops_the_tenant,
}

strongroom_test_services::on_postgres_alone! {
    (flavor = "multi_thread")
    another_node_goes_on_within_a_second_of_a_death,
}
