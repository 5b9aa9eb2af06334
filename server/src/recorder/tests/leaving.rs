//! Old batches leave the catalog, and everything that reads the ledger goes on as before.

use super::super::leave::Shelver;
use super::integration::LEASE_OVER;
use super::*;
use crate::catalog::Boundary;
use strongroom_core::ledger::proof::check_inclusion;
use strongroom_core::ledger::tree::leaf_hash;

impl Lab {
    pub(super) fn shelver(&self) -> Shelver {
        Shelver::new(self.recorder.inner.clone(), self.tenants())
    }

    /// Integrates, and has leave what may.
    pub(super) async fn leave(&self) {
        assert!(self.integrator().pass().await);
        self.clock.forward(LEASE_OVER);
        let mut shelver = self.shelver();
        let before = self.oldest().await;
        shelver.round().await;
        assert_eq!(self.oldest().await, before, "what is under a checkpoint since just now stays for a round");
        shelver.round().await;
    }

    /// The first entry that the catalog has.
    async fn oldest(&self) -> Index {
        self.catalog.batch_of(&self.tenant.id, Index(0)).await.unwrap().unwrap().first
    }

    /// Appends entries by several at once, so that batches lie across the ends of bundles.
    pub(super) async fn append_together(&self, rounds: usize, width: usize) {
        for _ in 0..rounds {
            let order = |_| {
                let name = format!("d{:x}", u128::from_be_bytes(random_bytes().unwrap())).parse().unwrap();
                self.order(Instruction::CreateDataset { name })
            };
            for done in futures::future::join_all((0..width).map(order)).await {
                done.unwrap();
            }
        }
    }
}

/// Reads, proofs, replay, clients' memories and receipts, with the first of the ledger gone from the catalog.
async fn old_batches_leave_and_nothing_else_changes() {
    let mut lab = Lab::new().await;
    let person = Person::new(&lab.tenant);
    let vendor = lab.vendor("labelco", &[&person]).await;
    let grant = lab.terms(Holder::Vendor(vendor), &[Action::Read], "math/", Limits::default());
    let orders =
        [Instruction::IssueGrant(grant), Instruction::FreezeDataset { name: DATASET.parse().unwrap(), note: None }];
    let orders = orders.map(|instruction| lab.signed(&lab.admin.identity, instruction));
    let mut receipts = Vec::new();
    for order in &orders {
        let again = Order::new(order.caller.clone(), order.verified.clone());
        let recorded = lab.record(Attempt::Order(Box::new(again))).await.unwrap();
        receipts.push((recorded.index(), recorded.time()));
    }
    lab.order(Instruction::UnfreezeDataset { name: DATASET.parse().unwrap(), note: None }).await.unwrap();
    lab.put_path("math/1", 10).await;
    let seen = lab.seen().await;
    lab.append_together(100, 7).await;
    let (entries, newest) = (lab.entries().await, lab.seen().await);
    lab.leave().await;

    let oldest = lab.oldest().await;
    assert!(oldest > Index(500) && oldest.0 + 100 < newest.size.0, "{oldest} of {}", newest.size);
    assert_eq!(lab.catalog.boundary(&lab.tenant.id, seen.size).await.unwrap(), Boundary::Left);
    assert_eq!(lab.entries().await, entries);
    lab.replay().await;
    lab.check_log().await;
    for index in [0, 255, 256, oldest.0 - 1, oldest.0] {
        let found = lab.recorder.inclusion(&lab.tenant, Index(index)).await.unwrap();
        let checkpoint = &found.signed.checkpoint;
        assert_eq!(found.public, entries[index as usize].0);
        check_inclusion(leaf_hash(&found.public), index, checkpoint.size.0, &checkpoint.root, &found.proof).unwrap();
    }
    assert_eq!(lab.recorder.check_seen(&lab.tenant, Some(seen)).await.unwrap(), newest);
    for (order, receipt) in orders.iter().zip(&receipts) {
        let again = Order::new(order.caller.clone(), order.verified.clone());
        let recorded = lab.record(Attempt::Order(Box::new(again))).await.unwrap();
        assert_eq!((recorded.index(), recorded.time()), *receipt);
    }

    // A node that comes back remembers what has left since, and so does the ledger.
    lab.recorder.shutdown().await;
    let memory = NodeMemory::open(lab.folder.path().join("memory")).unwrap();
    memory.remember(&lab.tenant.id, &seen).unwrap();
    lab.restart().await;
    lab.append(1).await;
    assert_eq!(lab.recorder.stopped(&lab.tenant.id), None);
    lab.replay().await;

    // Another history is noticed as far back as ever.
    let forged = lab.tenant.ledger_key.seen(&lab.tenant.id, seen.size, Digest::from_bytes([1; 32]));
    assert_eq!(reason(lab.recorder.check_seen(&lab.tenant, Some(forged)).await), Reason::LedgerDiverged);
}

/// A node that slept while the ledger went on, and what it knew left the catalog.
async fn a_node_that_slept_goes_on() {
    let lab = Lab::new().await;
    let (_, other) = lab.other_node().await;
    let order = |name: &str| {
        let order = lab.signed(&lab.admin.identity, Instruction::CreateDataset { name: name.parse().unwrap() });
        Attempt::Order(Box::new(order))
    };
    other.record(&lab.tenant, order("before")).await.unwrap();
    lab.append_together(60, 9).await;
    lab.leave().await;
    assert!(lab.oldest().await > Index(200));
    let size = lab.recorder.view(&lab.tenant).await.unwrap().head.size();
    assert_eq!(other.record(&lab.tenant, order("after")).await.unwrap().index(), size);
    lab.append(1).await;
    lab.replay().await;
}

/// What is not in the object store as it is in the catalog stays there, and stops the tenant.
async fn what_does_not_stand_elsewhere_stays() {
    for name in ["tile/0/000", "tile/entries/001", "private/000", "tile/1/000.p/2"] {
        for cut in [false, true] {
            let lab = Lab::new().await;
            lab.append_together(90, 7).await;
            assert!(lab.integrator().pass().await);
            lab.clock.forward(LEASE_OVER);
            change(&lab.log_folder().join(name), cut);
            let mut shelver = lab.shelver();
            shelver.round().await;
            shelver.round().await;
            assert_eq!(lab.stopped().await, Reason::Integrity, "{name}");
            assert!(lab.oldest().await <= Index(256), "{name}");
        }
    }
}

/// An entry that was changed in the catalog after it was integrated.
async fn what_was_changed_in_the_catalog_stays() {
    for sql in [
        "UPDATE privates SET parts = (SELECT p.parts FROM privates p WHERE p.size = 3) WHERE size = 4",
        "UPDATE batches SET entries = (SELECT b.entries FROM batches b WHERE b.size = 3) WHERE size = 4",
    ] {
        let lab = Lab::new().await;
        lab.append(380).await;
        assert!(lab.integrator().pass().await);
        lab.clock.forward(LEASE_OVER);
        lab.catalog.tamper(sql).await;
        let mut shelver = lab.shelver();
        shelver.round().await;
        shelver.round().await;
        assert_eq!(lab.stopped().await, Reason::Integrity, "{sql}");
        assert_eq!(lab.oldest().await, Index(0));
    }
}

/// A file that is changed after the batches left.
async fn an_old_entry_that_was_changed_stops_the_tenant() {
    for (name, cut) in [("tile/entries/000", false), ("private/000", false), ("private/000", true)] {
        let lab = Lab::new().await;
        lab.append(380).await;
        lab.leave().await;
        assert_eq!(lab.oldest().await, Index(256));
        change(&lab.log_folder().join(name), cut);
        let read = lab.recorder.history(&lab.tenant, Index(7), Index(9)).await;
        assert_eq!(reason(read.map(drop)), Reason::Integrity, "{name}");
        assert_eq!(lab.stopped().await, Reason::Integrity);
    }
}

/// Two at once, and one that was broken off half-way, leave the same behind.
async fn any_number_may_have_them_leave() {
    let lab = Lab::new().await;
    lab.append_together(150, 7).await;
    assert!(lab.integrator().pass().await);
    lab.clock.forward(LEASE_OVER);
    let entries = lab.entries().await;
    let (mut one, mut other) = (lab.shelver(), lab.shelver());
    one.round().await;
    other.round().await;
    tokio::join!(one.round(), other.round());
    assert!(lab.oldest().await > Index(700));
    assert_eq!(lab.entries().await, entries);
    lab.append_together(40, 7).await;
    lab.leave().await;
    lab.replay().await;
    lab.check_log().await;
}

pub(super) fn change(path: &std::path::Path, cut: bool) {
    if cut {
        return std::fs::remove_file(path).unwrap();
    }
    let mut bytes = std::fs::read(path).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

on_each_engine! {
    (flavor = "multi_thread")
    old_batches_leave_and_nothing_else_changes,
    a_node_that_slept_goes_on,
    what_does_not_stand_elsewhere_stays,
    what_was_changed_in_the_catalog_stays,
    an_old_entry_that_was_changed_stops_the_tenant,
    any_number_may_have_them_leave,
}
