//! Old entries leave the database, and whatever breaks that off, the ledger is whole.

use futures::{StreamExt, TryStreamExt};
use strongroom_client::audit::Query;
use strongroom_client::log::Cover;
use strongroom_client::{GetOptions, Index};
use strongroom_core::ledger::Event;
use strongroom_test_services::on_each_engine;
use strongroom_tests::site::Site;
use strongroom_tests::{Lab, tamper, until};

use crate::STRONGROOM;

/// Nothing stays that need not.
pub(crate) const LIMITS: &str = "recent_entries = 0";

/// So many releases, each an entry.
pub(crate) async fn read(lab: &Lab, name: &str, times: usize) {
    let name = lab.object(name);
    let reads = (0..times).map(|_| lab.vault.get_bytes(&name, GetOptions::default()));
    let all: Vec<_> = futures::stream::iter(reads).buffer_unordered(16).try_collect().await.unwrap();
    assert_eq!(all.len(), times);
}

/// Waits until the first `entries` entries have left.
pub(crate) async fn left(site: &Site, entries: i64) {
    let oldest = "SELECT min(first) FROM batches WHERE tenant = (SELECT id FROM tenants WHERE name = 'acme')";
    until("old batches leave", async || tamper::number(&site.folder(), oldest).await >= entries as u64 - 16).await;
}

async fn it_dies_while_batches_leave_and_loses_nothing() {
    let mut site = Site::start(STRONGROOM, LIMITS).await;
    let lab = site.lab("acme").await;
    lab.dataset("rlhf").await;
    lab.put("rlhf/one", "item").await;
    read(&lab, "rlhf/one", 700).await;
    lab.vault.checkpoint(&lab.tenant, Cover::Head).await.unwrap();
    let before = site.ledger("acme").await;
    for place in ["leave.compared", "leave.dropped"] {
        site.kill();
        site.restart(Some(place));
        site.await_death();
        assert_eq!(site.ledger("acme").await.entries, before.entries, "{place}");
    }
    site.restart(None);
    left(&site, 512).await;
    read(&lab, "rlhf/one", 3).await;
    let lines: Vec<_> = lab.vault.query(&lab.tenant, Query::default()).try_collect().await.unwrap();
    let after = site.ledger("acme").await;
    assert_eq!(after.entries[..before.entries.len()], before.entries[..]);
    assert_eq!(lines.len(), after.entries.len());
    for (line, (public, private)) in lines.iter().zip(&after.entries) {
        assert_eq!((&line.public_bytes[..], Some(&line.private_bytes[..])), (&public[..], private.as_deref()));
    }
    let early = Query { from: Index(1), to: Some(Index(4)), ..Query::default() };
    let early: Vec<_> = lab.vault.query(&lab.tenant, early).try_collect().await.unwrap();
    assert_eq!(early.iter().map(|line| line.entry.index.0).collect::<Vec<_>>(), [1, 2, 3]);
    let puts = Query { events: vec![Event::ObjectPut], ..Query::default() };
    let puts: Vec<_> = lab.vault.query(&lab.tenant, puts).try_collect().await.unwrap();
    assert_eq!(puts.iter().map(|line| &line.names[..]).collect::<Vec<_>>(), [["rlhf/one"]]);
    let some = Query { events: vec![Event::Release], offset: 600, limit: Some(20), ..Query::default() };
    let some: Vec<_> = lab.vault.query(&lab.tenant, some).try_collect().await.unwrap();
    let all: Vec<_> = after.parsed().into_iter().filter(|entry| entry.event == Event::Release).collect();
    assert_eq!(some.iter().map(|line| &line.entry).collect::<Vec<_>>(), all[600..620].iter().collect::<Vec<_>>());
}

on_each_engine! {
    (flavor = "multi_thread", worker_threads = 2)
    it_dies_while_batches_leave_and_loses_nothing,
}
