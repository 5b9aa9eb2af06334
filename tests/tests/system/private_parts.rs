//! Private parts that are given to other entries, in the object store: by whoever can write it, and by whoever has the root key too, so
//! that they lie sealed as they should.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::PathBuf;

use futures::TryStreamExt;
use strongroom_client::audit::Query;
use strongroom_client::ledgers::Told;
use strongroom_client::log::Cover;
use strongroom_client::monitor::Monitor;
use strongroom_client::{Index, Reason, Vault};
use strongroom_core::ledger::tile::tiles_of;
use strongroom_core::ledger::verify::{CHECKPOINT, Expected, LOG_KEYS, LogFiles, verify_log};
use strongroom_test_services::on_each_engine;
use strongroom_tests::site::Site;
use strongroom_tests::{Lab, tamper};

use crate::STRONGROOM;
use crate::leaving::{LIMITS, left, read};

/// What is exchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Swap {
    /// The files of two bundles.
    Files,
    /// The private parts of entry 7 and of entry 263, in another bundle: sealed anew.
    AcrossBundles,
    /// Those of entries 7 and 8, of one bundle: sealed anew.
    WithinOne,
}

use Swap::{AcrossBundles, Files, WithinOne};

async fn swap(site: &Site, what: Swap) {
    match what {
        Files => {
            let [one, other] = files(site);
            let between = one.with_extension("between");
            std::fs::rename(&one, &between).unwrap();
            std::fs::rename(&other, &one).unwrap();
            std::fs::rename(&between, &other).unwrap();
        }
        AcrossBundles => {
            tamper::edit_private_parts(&site.folder(), "acme", &[0, 1], |bundles| {
                let [one, other] = bundles else { panic!("two bundles") };
                std::mem::swap(&mut one[7], &mut other[7]);
            })
            .await;
        }
        WithinOne => {
            tamper::edit_private_parts(&site.folder(), "acme", &[0], |bundles| bundles[0].swap(7, 8)).await;
        }
    }
}

/// The files of the first two bundles' private parts.
fn files(site: &Site) -> [PathBuf; 2] {
    let mut ledgers = std::fs::read_dir(tamper::logs(&site.folder())).unwrap().map(|entry| entry.unwrap().path());
    let ledger = ledgers.find(|folder| folder.join("private/000").is_file()).unwrap();
    ["private/000", "private/001"].map(|name| ledger.join(name))
}

/// The server says so, and a check, a verifier and a monitor, each by itself; they name file and entry.
async fn private_parts_of_other_entries_are_noticed() {
    let mut site = Site::start(STRONGROOM, LIMITS).await;
    let lab = site.lab("acme").await;
    lab.dataset("rlhf").await;
    lab.put("rlhf/one", "item").await;
    read(&lab, "rlhf/one", 600).await;
    lab.vault.checkpoint(&lab.tenant, Cover::Head).await.unwrap();
    left(&site, 512).await;
    let whole = site.ledger("acme").await.entries;
    for what in [Files, AcrossBundles, WithinOne] {
        // Beside a running server: nothing of it is kept in memory.
        swap(&site, what).await;
        let named = match what {
            Files => "private/000",
            AcrossBundles | WithinOne => "private part of entry 7 in private/000 is not the one",
        };
        // A verifier and a monitor that has never seen it, of what the server hands out.
        let verified = verify(&lab).await.unwrap_err();
        let monitored = monitor(&site.connect(&lab.admin).await, &lab).await;
        for said in [&verified, &monitored] {
            assert!(said.contains(named), "{what:?}: {said}");
        }
        let faults = faults(&lab).await;
        assert!(faults.iter().any(|fault| fault.contains("private/000: ")), "{what:?}: {faults:?}");
        if what != Files {
            let entry = faults.iter().any(|fault| fault.contains("the private part of entry 7 "));
            assert!(entry, "{what:?}: {faults:?}");
        }
        // The server itself, where it reads the entry; if it did not hand the file out, it has said so already.
        let page = Query { from: Index(0), to: Some(Index(20)), ..Query::default() };
        let refused = lab.vault.query(&lab.tenant, page).try_collect::<Vec<_>>().await.unwrap_err();
        assert_eq!(refused.reason(), Reason::Integrity, "{what:?}: {refused}");
        let operator = site.connect(&site.operator()).await;
        let stopped = operator.list_tenants().await.unwrap().remove(0).stopped.expect("the tenant is stopped");
        assert!(stopped.contains(named), "{what:?}: {stopped}");

        site.stop();
        swap(&site, what).await;
        site.restart(None);
        assert_eq!(self::faults(&lab).await, [""; 0], "{what:?}: all is as it was");
        verify(&lab).await.unwrap();
    }
    read(&lab, "rlhf/one", 1).await;
    assert_eq!(site.ledger("acme").await.entries[..whole.len()], whole[..]);
}

/// What a check of the ledger finds.
async fn faults(lab: &Lab) -> Vec<String> {
    let told: Vec<Told> = lab.vault.check_ledger(&lab.tenant).await.unwrap().try_collect().await.unwrap();
    let faults = told.into_iter().filter_map(|told| match told {
        Told::Fault { place, what, .. } => Some(format!("{place}: {what}")),
        Told::Progress(..) => None,
    });
    faults.collect()
}

/// A copy of the log, verified offline; what is wrong, or why it is not to be had.
async fn verify(lab: &Lab) -> Result<(), String> {
    let found = lab.vault.checkpoint(&lab.tenant, Cover::Head).await.map_err(|error| error.to_string())?;
    let tiles = tiles_of(found.checkpoint.size.0).collect();
    let files: Vec<_> =
        lab.vault.log_files(&lab.tenant, tiles).try_collect().await.map_err(|error| error.to_string())?;
    let mut copy: BTreeMap<_, _> = files.into_iter().map(|(tile, bytes)| (tile.to_string(), bytes.to_vec())).collect();
    copy.insert(CHECKPOINT.to_owned(), found.note.to_vec());
    copy.insert(LOG_KEYS.to_owned(), found.keys.to_string().into_bytes());
    verify_log(&mut Copy(copy), &Expected::default(), |_, _| ()).map(drop).map_err(|finding| finding.to_string())
}

/// What a monitor says that sees the ledger for the first time.
async fn monitor(vault: &Vault, lab: &Lab) -> String {
    let mut monitor = Monitor::new(vault.clone(), lab.tenant.clone(), None);
    let step = monitor.step(Cover::Head, |_| false, |_, _| ()).await;
    let error = step.map(drop).expect_err("a monitor notices");
    assert_eq!(error.reason(), Reason::Integrity, "{error}");
    error.to_string()
}

/// A copy of a log, in memory.
struct Copy(BTreeMap<String, Vec<u8>>);

impl LogFiles for Copy {
    type Error = Infallible;

    fn read(&mut self, path: &str, _: u64) -> Result<Option<Vec<u8>>, Infallible> {
        Ok(self.0.get(path).cloned())
    }

    fn list(&mut self) -> Result<Vec<String>, Infallible> {
        Ok(self.0.keys().cloned().collect())
    }
}

on_each_engine! {
    (flavor = "multi_thread", worker_threads = 2)
    private_parts_of_other_entries_are_noticed,
}
