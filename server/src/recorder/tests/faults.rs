//! Restarts, lost commits, clocks, and databases that are put back.

use super::*;
use crate::catalog::Lost;

async fn a_restart_goes_on_where_it_ended() {
    let mut lab = Lab::new().await;
    let person = Person::new(&lab.tenant);
    let vendor = lab.vendor("labelco", &[&person]).await;
    let grant = lab.grant(Holder::Vendor(vendor), &[Action::Read], "math/", Limits::default()).await;
    lab.put_path("math/1", 10).await;
    lab.read(&person, Some(grant), &["math/1"]).await.unwrap();
    let (seen, authority) = (lab.seen().await, lab.recorder.view(&lab.tenant).await.unwrap().authority);
    lab.restart().await;
    assert_eq!(lab.seen().await, seen);
    assert_eq!(lab.recorder.view(&lab.tenant).await.unwrap().authority, authority);
    assert_eq!(lab.usage(grant).await, Usage { bytes: 10, objects: 1, uses: 1 });
    person.reconnect();
    let recorded = lab.read(&person, Some(grant), &["math/1"]).await.unwrap();
    // The new session's entry stands between.
    assert_eq!(recorded.index().0, seen.size.0 + 1);
    assert_eq!(lab.recorder.check_seen(&lab.tenant, Some(seen)).await.unwrap(), recorded.seen());
    lab.replay().await;
}

async fn a_commit_whose_answer_is_lost_is_found_out() {
    let lab = Lab::new().await;
    lab.put_path("math/1", 10).await;
    lab.catalog.lose_next_commit(Lost::Answer);
    let recorded = lab.read(&lab.admin, None, &["math/1"]).await.unwrap();
    assert_eq!(recorded.seen(), lab.seen().await);
    lab.catalog.lose_next_commit(Lost::Commit);
    let size = lab.seen().await.size;
    assert_eq!(reason(lab.read(&lab.admin, None, &["math/1"]).await), Reason::LedgerUnavailable);
    assert_eq!(lab.seen().await.size, size);
    lab.read(&lab.admin, None, &["math/1"]).await.unwrap();
    lab.replay().await;
}

/// The worst case: nobody can tell what became of the commit, and it did happen.
async fn a_commit_that_cannot_be_found_out_is_taken_in_later() {
    let lab = Lab::new().await;
    let admin = Person::new(&lab.tenant);
    lab.order(Instruction::AddAdmin { key: admin.key() }).await.unwrap();
    lab.put_path("math/1", 10).await;
    let size = lab.seen().await.size;
    lab.catalog.lose_next_commit(Lost::AnswerAndBegin);
    assert_eq!(reason(lab.read(&admin, None, &["math/1"]).await), Reason::LedgerUnavailable);
    // The session's entry is there: it must not be made again.
    lab.read(&admin, None, &["math/1"]).await.unwrap();
    assert_eq!(lab.seen().await.size.0, size.0 + 3);
    lab.replay().await;
}

async fn a_clock_that_was_set_back_is_refused() {
    let lab = Lab::new().await;
    lab.put_path("math/1", 10).await;
    let newest = lab.clock.now();
    lab.clock.back(2000);
    assert_eq!(lab.read(&lab.admin, None, &["math/1"]).await.unwrap().time(), newest);
    lab.clock.back(1);
    assert_eq!(reason(lab.read(&lab.admin, None, &["math/1"]).await), Reason::Clock);
    lab.clock.forward(3000);
    assert!(lab.read(&lab.admin, None, &["math/1"]).await.unwrap().time() > newest);
    lab.replay().await;
}

fn copy(lab: &Lab, from: &str, to: &str) {
    for end in ["", "-wal", "-shm"] {
        let (from, to) = (format!("{from}{end}"), format!("{to}{end}"));
        let _ = std::fs::remove_file(lab.folder.path().join(&to));
        if lab.folder.path().join(&from).exists() {
            std::fs::copy(lab.folder.path().join(from), lab.folder.path().join(to)).unwrap();
        }
    }
}

#[tokio::test]
async fn a_database_put_back_is_noticed_by_the_node() {
    let mut lab = Lab::new().await;
    lab.restart().await;
    copy(&lab, "catalog.db", "old.db");
    lab.put_path("math/1", 10).await;
    lab.recorder.shutdown().await;
    lab.catalog.close().await;
    copy(&lab, "old.db", "catalog.db");
    (lab.catalog, lab.recorder) = open(lab.folder.path(), "memory", &lab.clock, LIMITS).await;
    assert_eq!(reason(lab.recorder.view(&lab.tenant).await), Reason::LedgerDiverged);
    assert_eq!(
        reason(lab.order(Instruction::CreateDataset { name: "x".parse().unwrap() }).await),
        Reason::LedgerDiverged
    );
    assert!(lab.recorder.stopped(&lab.tenant.id).unwrap().contains("put back"));
}

#[tokio::test]
async fn a_database_put_back_is_noticed_by_clients() {
    let mut lab = Lab::new().await;
    lab.restart().await;
    copy(&lab, "catalog.db", "old.db");
    lab.put_path("math/1", 10).await;
    let seen = lab.seen().await;
    lab.recorder.shutdown().await;
    lab.catalog.close().await;
    copy(&lab, "old.db", "catalog.db");
    std::fs::remove_dir_all(lab.folder.path().join("memory")).unwrap();
    (lab.catalog, lab.recorder) = open(lab.folder.path(), "memory", &lab.clock, LIMITS).await;
    // A claim that nobody gave out harms nobody else.
    let forged = Seen { size: Index(1000), ..seen };
    assert_eq!(reason(lab.recorder.check_seen(&lab.tenant, Some(forged)).await), Reason::InvalidArgument);
    lab.seen().await;
    // It goes another way, and becomes longer than what the client remembers.
    assert!(lab.recorder.stopped(&lab.tenant.id).is_none());
    for path in ["a", "b", "c"] {
        lab.put_path(path, 10).await;
    }
    assert!(lab.seen().await.size > seen.size);
    assert_eq!(reason(lab.recorder.check_seen(&lab.tenant, Some(seen)).await), Reason::LedgerDiverged);
    let order = lab.order(Instruction::CreateDataset { name: "x".parse().unwrap() }).await;
    assert_eq!(reason(order), Reason::LedgerDiverged);
}

#[tokio::test]
async fn a_copy_moved_over_a_running_server_stops_it() {
    let lab = Lab::new().await;
    copy(&lab, "catalog.db", "old.db");
    lab.put_path("math/1", 10).await;
    let mut epochs = lab.recorder.epochs(&lab.tenant);
    epochs.mark_unchanged();
    std::fs::rename(lab.folder.path().join("old.db"), lab.folder.path().join("catalog.db")).unwrap();
    assert_eq!(reason(lab.read(&lab.admin, None, &["math/1"]).await), Reason::LedgerDiverged);
    assert_eq!(reason(lab.recorder.view(&lab.tenant).await), Reason::LedgerDiverged);
    assert!(epochs.has_changed().unwrap(), "streams are told");
}

/// Rows alone can be put back while a node runs, and no file tells.
async fn a_head_that_went_back_stops_the_tenant() {
    let mut lab = Lab::new().await;
    lab.catalog.change("CREATE TABLE old_heads AS SELECT * FROM heads").await;
    lab.put_path("math/1", 10).await;
    let mut epochs = lab.recorder.epochs(&lab.tenant);
    epochs.mark_unchanged();
    for sql in [
        "DELETE FROM heads",
        "INSERT INTO heads SELECT * FROM old_heads",
        "DELETE FROM batches WHERE size > (SELECT size FROM heads)",
    ] {
        lab.catalog.change(sql).await;
    }
    let order = lab.order(Instruction::CreateDataset { name: "x".parse().unwrap() }).await;
    assert_eq!(reason(order), Reason::LedgerDiverged);
    assert_eq!(reason(lab.recorder.view(&lab.tenant).await), Reason::LedgerDiverged);
    assert!(epochs.has_changed().unwrap(), "streams are told");
    lab.restart().await;
    assert_eq!(reason(lab.recorder.view(&lab.tenant).await), Reason::LedgerDiverged);
}

/// Two processes over one catalog: each takes in what the other wrote.
async fn another_node_is_caught_up_with() {
    let lab = Lab::new().await;
    let person = Person::new(&lab.tenant);
    let vendor = lab.vendor("labelco", &[&person]).await;
    let grant = lab.grant(Holder::Vendor(vendor), &[Action::Read], "math/", Limits::default()).await;
    lab.put_path("math/1", 10).await;
    lab.read(&person, Some(grant), &["math/1"]).await.unwrap();
    let (catalog, recorder) = lab.other_node().await;
    let other = Lab {
        folder: tempfile::tempdir().unwrap(),
        url: lab.url.clone(),
        catalog,
        recorder,
        clock: lab.clock.clone(),
        limits: LIMITS,
        tenant: tenant_of(lab.tenant.id),
        admin: lab.admin.clone(),
        operator: Identity::generate().unwrap(),
    };
    let (here, there) = (Person::new(&lab.tenant), person);
    drop(here);
    there.reconnect();
    other.read(&there, Some(grant), &["math/1"]).await.unwrap();
    other.order(Instruction::SuspendVendor { vendor, note: None }).await.unwrap();
    assert_eq!(reason(lab.read(&there, Some(grant), &["math/1"]).await), Reason::VendorSuspended);
    lab.order(Instruction::ResumeVendor { vendor, note: None }).await.unwrap();
    there.reconnect();
    lab.read(&there, Some(grant), &["math/1"]).await.unwrap();
    assert_eq!(lab.usage(grant).await, Usage { bytes: 30, objects: 3, uses: 3 });
    lab.replay().await;
}

/// A node that stops in the middle of its transaction keeps the others waiting for a second, and not for ever.
async fn a_node_that_stands_still_loses_the_head() {
    let lab = Lab::new().await;
    let stands_still = Catalog::open(&lab.url).await.unwrap();
    let mut held = stands_still.begin().await.unwrap();
    held.head(&lab.tenant.id, &lab.tenant.ledger_key).await.unwrap().unwrap();
    lab.order(Instruction::CreateDataset { name: "x".parse().unwrap() }).await.unwrap();
    assert!(held.commit().await.is_err(), "it has lost its transaction");
    lab.replay().await;
}

/// Two nodes that each write to two tenants wait for each other in one order.
async fn nodes_with_the_same_tenants_do_not_deadlock() {
    let lab = Lab::new().await;
    let (second, (_, other)) = (lab.neighbour().await, lab.other_node().await);
    let mut tasks = Vec::new();
    for n in 0..40 {
        for (at, recorder) in [&lab.recorder, &other].into_iter().enumerate() {
            for tenant in [&lab.tenant, &second] {
                let name = format!("d{at}-{n}").parse().unwrap();
                let order = lab.signed_for(tenant, &lab.admin.identity, Instruction::CreateDataset { name });
                let (recorder, tenant) = (recorder.clone(), tenant.clone());
                tasks.push(tokio::spawn(async move {
                    recorder.record(&tenant, Attempt::Order(Box::new(order))).await.map(|_| ())
                }));
            }
        }
    }
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    for tenant in [&lab.tenant, &second] {
        let view = lab.recorder.view(tenant).await.unwrap();
        assert_eq!(view.head, other.view(tenant).await.unwrap().head);
    }
    lab.replay().await;
}

async fn an_attempt_that_nobody_waits_for_is_not_carried_out() {
    let lab = Arc::new(Lab::new().await);
    let put = lab.put_of(&lab.admin, None, vec![item("a", 1)]).await;
    let mut held = lab.catalog.begin().await.unwrap();
    held.head(&lab.tenant.id, &lab.tenant.ledger_key).await.unwrap();
    let size = lab.seen().await.size;
    let gone = {
        let lab = lab.clone();
        tokio::spawn(async move { lab.record(Attempt::Put(put)).await })
    };
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    gone.abort();
    let _ = gone.await;
    drop(held);
    lab.order(Instruction::CreateDataset { name: "x".parse().unwrap() }).await.unwrap();
    assert!(lab.resolve(&[("a", None)]).await.0[0].is_none());
    assert_eq!(lab.seen().await.size.0, size.0 + 1);
}

on_each_engine! {
    (flavor = "current_thread")
    a_restart_goes_on_where_it_ended,
    a_commit_whose_answer_is_lost_is_found_out,
    a_commit_that_cannot_be_found_out_is_taken_in_later,
    a_clock_that_was_set_back_is_refused,
    a_head_that_went_back_stops_the_tenant,
    another_node_is_caught_up_with,
    an_attempt_that_nobody_waits_for_is_not_carried_out,
}

strongroom_test_services::on_postgres_alone! {
    (flavor = "multi_thread", worker_threads = 2)
    a_node_that_stands_still_loses_the_head,
    nodes_with_the_same_tenants_do_not_deadlock,
}
