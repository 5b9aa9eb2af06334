//! The disk under the ledger fills up: that is said long before; then nothing is released, since it could not be recorded; with room
//! again the vault goes on by itself, and its ledger has no gap.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use futures::TryStreamExt;
use strongroom_client::ledgers::Told;
use strongroom_client::log::Cover;
use strongroom_client::{GrantId, Identity, Reason};
use strongroom_core::ledger::Event;
use strongroom_test_services::mounts::{beside_a_small_disk, on_a_small_disk};
use strongroom_test_services::{Postgres, on_mounts, on_postgres_and_mounts};
use strongroom_tests::raw::{Raw, RawSession, SealedObject, Target};
use strongroom_tests::site::Site;
use strongroom_tests::until;

use crate::STRONGROOM;
use crate::attacks::{frames, has_keys};

/// MiB of the whole disk: little from the beginning, and more than is left when it is said to be full in a moment.
const DISK: u32 = 160;
const MIB: u64 = 1 << 20;
/// What is left of it then.
const LAST: u64 = 100 * MIB;

on_mounts! {
    #[test]
    fn a_disk_that_fills_up_stops_releases_until_there_is_room() {
        let test = "full_disk::a_disk_that_fills_up_stops_releases_until_there_is_room";
        if on_a_small_disk(test, DISK) {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
            runtime.unwrap().block_on(it_fills_up());
        }
    }
}

async fn it_fills_up() {
    // On the small disk: catalog, blobs, the node's memory.
    let mut site = Site::start(STRONGROOM, "\n[metrics]\nlisten = \"127.0.0.1:0\"").await;
    let lab = site.lab("acme").await;
    lab.dataset("rlhf").await;
    lab.put("rlhf/a", "what stands here").await;
    let worker = site.vendor(&lab, "labelco").await;
    let grant = lab.let_read(&worker, "rlhf/").await;
    let mut readers = readers(&site, &lab.admin, &worker.identity, grant).await;
    let mut released = 0;

    // It is said long before, and costs nothing.
    until("a warning", async || site.log().contains("the disk is nearly full")).await;
    for place in ["folder", "catalog", "blobs"] {
        assert!((LAST..u64::from(DISK) * MIB).contains(&free(&site, place)), "{}", site.metrics());
    }
    let disk = site.beside().to_owned();
    let most = Ballast::fill(&disk, "most", LAST);
    until("an alarm", async || site.log().contains("the disk is full in a moment")).await;
    assert!(free(&site, "catalog") <= LAST, "{}", site.metrics());
    for reader in &readers {
        assert_eq!(reader.read().await, Ok(()));
        released += 1;
    }

    for round in 0..2 {
        let rest = Ballast::fill(&disk, "rest", 0);
        assert_eq!(free(&site, "catalog"), 0);
        // What was there of files may still be written to.
        let mut still = 0;
        let refused = loop {
            match readers[0].read().await {
                Ok(()) => still += 1,
                Err(reason) => break reason,
            }
            assert!(still < 2000, "it is not full");
        };
        assert_eq!(refused, Reason::LedgerUnavailable);
        released += still;
        for _ in 0..10 {
            for reader in &readers {
                assert_eq!(reader.read().await, Err(Reason::LedgerUnavailable));
            }
        }
        let target = Target::new("acme", None, "rlhf", &format!("full-{round}"));
        let object = SealedObject::seal(&vec![7; 1 << 20]);
        assert!(readers[0].raw.put(readers[0].session.put_frames(&target, &object)).await.is_err());

        if round == 1 {
            // It dies like that, and another is started once there is room.
            site.kill();
        }
        drop(rest);
        if round == 1 {
            site.restart(None);
            readers = self::readers(&site, &lab.admin, &worker.identity, grant).await;
        }
        until("reads go on", async || {
            let read = readers[0].read().await;
            released += usize::from(read.is_ok());
            read.is_ok()
        })
        .await;
        for reader in &readers {
            assert_eq!(reader.read().await, Ok(()), "round {round}");
            released += 1;
        }
        lab.put(&format!("rlhf/after-{round}"), vec![7; 1 << 20]).await;
        // Its log goes on, too: all of it is under a checkpoint, and fits.
        lab.vault.checkpoint(&lab.tenant, Cover::Head).await.unwrap();
        let told: Vec<Told> = lab.vault.check_ledger(&lab.tenant).await.unwrap().try_collect().await.unwrap();
        assert!(!told.iter().any(|told| matches!(told, Told::Fault { .. })), "{told:?}");
    }
    drop(most);
    // What was recorded was released, and the other way round; and replay finds no gap.
    assert_eq!(site.ledger("acme").await.done(Event::Release).len(), released);
    site.stop();
}

/// MiB of PostgreSQL's disk: an empty cluster has some 40.
const CLUSTER: u32 = 96;

on_postgres_and_mounts! {
    #[test]
    fn a_database_server_whose_disk_fills_up_stops_releases_until_there_is_room() {
        let test = "full_disk::a_database_server_whose_disk_fills_up_stops_releases_until_there_is_room";
        if let Some(disk) = beside_a_small_disk(test, CLUSTER) {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
            runtime.unwrap().block_on(its_database_fills_up(&disk));
        }
    }
}

/// On the small disk is PostgreSQL alone: the vault has room, and does not see how much its database has.
async fn its_database_fills_up(disk: &Path) {
    let mut postgres = Postgres::start_small(disk);
    let site = Site::start_on(STRONGROOM, &postgres.database()).await;
    let lab = site.lab("acme").await;
    lab.dataset("rlhf").await;
    lab.put("rlhf/a", "what stands here").await;
    let worker = site.vendor(&lab, "labelco").await;
    let grant = lab.let_read(&worker, "rlhf/").await;
    let readers = readers(&site, &lab.admin, &worker.identity, grant).await;
    // What was released, and what may have been recorded though the answer to its commit was lost.
    let (mut released, mut unsure) = (0, 0);
    for reader in &readers {
        assert_eq!(reader.read().await, Ok(()));
        released += 1;
    }

    for round in 0..2 {
        let ballast = Ballast::fill(disk, "all", 0);
        let refused = loop {
            match readers[0].read().await {
                Ok(()) => released += 1,
                Err(reason) => break reason,
            }
            assert!(released < 5000, "it is not full");
        };
        unsure += 1;
        assert!(is_away(refused), "{refused}");
        if round == 1 && !postgres.processes().is_empty() {
            // It dies like that, too, and does not come back by itself.
            postgres.kill();
        }
        // Some may wait for a connection, so they ask at once.
        let asked = futures::future::join_all(readers.iter().cycle().take(8).map(Reader::read)).await;
        unsure += asked.len();
        for refused in asked {
            assert!(refused.is_err_and(is_away), "{refused:?}");
        }

        drop(ballast);
        postgres.recover();
        // The server goes on by itself, with the sessions that there are.
        until("reads go on", async || {
            let read = readers[0].read().await;
            released += usize::from(read.is_ok());
            unsure += usize::from(read.is_err());
            read.is_ok()
        })
        .await;
        for reader in &readers {
            assert_eq!(reader.read().await, Ok(()), "round {round}");
            released += 1;
        }
        lab.put(&format!("rlhf/after-{round}"), "written after it").await;
        lab.vault.checkpoint(&lab.tenant, Cover::Head).await.unwrap();
        let told: Vec<Told> = lab.vault.check_ledger(&lab.tenant).await.unwrap().try_collect().await.unwrap();
        assert!(!told.iter().any(|told| matches!(told, Told::Fault { .. })), "{told:?}");
    }
    // No gap, no key without its entry; and no entry but of what was asked for.
    let recorded = site.ledger("acme").await.done(Event::Release).len();
    assert!((released..=released + unsure).contains(&recorded), "{recorded} of {released}, {unsure} unsure");
}

/// Why nothing is released while the database has no room: it cannot be written, or does not answer at all.
fn is_away(reason: Reason) -> bool {
    matches!(reason, Reason::LedgerUnavailable | Reason::Unavailable)
}

/// Somebody who reads without the SDK: once, whatever comes.
struct Reader {
    raw: Raw,
    session: RawSession,
    grant: Option<GrantId>,
}

async fn readers(site: &Site, admin: &Identity, worker: &Identity, grant: GrantId) -> [Reader; 2] {
    let (raw, session) = site.raw_session(admin, "acme").await;
    let admin = Reader { raw, session, grant: None };
    let (raw, session) = site.raw_session(worker, "acme").await;
    [admin, Reader { raw, session, grant: Some(grant) }]
}

impl Reader {
    /// Reads an object; keys come if it succeeds, and none if not.
    async fn read(&self) -> Result<(), Reason> {
        let (_, call) = self.session.get(self.grant, "rlhf", &["a"]);
        let (frames, ended) = frames(&self.raw, call).await;
        assert_eq!(has_keys(&frames), ended.is_ok(), "{ended:?}");
        ended
    }
}

/// The bytes that the server says may still be written.
fn free(site: &Site, place: &str) -> u64 {
    let metrics = site.metrics();
    let name = format!("strongroom_disk_free_bytes{{place=\"{place}\"}} ");
    let value = metrics.lines().find_map(|line| line.strip_prefix(&name));
    value.unwrap_or_else(|| panic!("{metrics}")).parse().unwrap()
}

/// What takes the room on a disk; it goes when it is dropped.
struct Ballast(PathBuf);

impl Ballast {
    /// Takes all but so many bytes.
    fn fill(disk: &Path, name: &str, but: u64) -> Self {
        let path = disk.join(name);
        let mut file = File::create(&path).unwrap();
        let mut step = vec![0; MIB as usize];
        loop {
            let stat = rustix::fs::statvfs(disk).unwrap();
            let over = (stat.f_bavail * stat.f_frsize).saturating_sub(but);
            if but > 0 && over == 0 {
                return Self(path);
            }
            match file.write(&step) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull && step.len() == 1 => return Self(path),
                Err(error) if error.kind() == ErrorKind::StorageFull => step.truncate(1),
                Err(error) => panic!("{error}"),
            }
        }
    }
}

impl Drop for Ballast {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).unwrap();
    }
}
