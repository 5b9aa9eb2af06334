//! A crowd under a tree of grants: 64 workers read and write under 200 grants in chains of up to eight delegations, while others
//! revoke, suspend, freeze, delegate and renew, and limits run out; on one server over a file, and on three over PostgreSQL,
//! also while they are killed and started again.
//!
//! | module | what |
//! | --- | --- |
//! | [`tree`] | the grants, as far as somebody outside knows them |
//! | [`field`] | who is there, and what a call may come to |
//! | [`work`] | what everybody does |
//!
//! In the end the ledger replays, and [`Count`] finds no release outside a live chain, none after what took it away, and no limit
//! overrun by a byte; what clients were told stands there.

mod field;
mod tree;
mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use strongroom_client::Reason;
use strongroom_core::grant::MAX_DEPTH;
use strongroom_test_services::{Engine, Postgres, on_each_engine};
use strongroom_tests::cluster::Stores;

use self::field::Field;
use crate::party::count::{Count, Told, moves};
use crate::party::{Run, is_long, tell};

/// Vendors, each with one key, and workers to whom they delegate.
const VENDORS: usize = 4;
const WORKERS: usize = 64;
/// Grants that are live at a time, if it is for the workers.
const LIVE: usize = 200;

/// How long it goes on, at least; and how often a server is killed meanwhile.
fn measure(kills: bool) -> (Duration, usize) {
    let (seconds, times) = if is_long() { (60, 10) } else { (6, 3) };
    (Duration::from_secs(seconds), if kills { times } else { 0 })
}

async fn crowd(kills: bool) {
    let (time, times) = measure(kills);
    let postgres = (Engine::here() == Engine::Postgres).then(|| Postgres::shared().database());
    let stores = Stores { catalog: postgres.as_deref(), bucket: None };
    let run = Run::start(stores, "", if postgres.is_some() { 3 } else { 1 }).await;
    let mut clients = Vec::new();
    let field = Arc::new(Field::new(&run, &mut clients).await);

    let mut tasks = Vec::new();
    for client in clients {
        tasks.push(tokio::spawn(work::work(field.clone(), client)));
    }
    for number in 0..VENDORS {
        let client = run.client(VENDORS + WORKERS + number, &run.admin);
        tasks.push(tokio::spawn(work::command(field.clone(), number, client)));
    }
    let client = run.client(2 * VENDORS + WORKERS, &run.admin);
    tasks.push(tokio::spawn(work::freeze(field.clone(), client)));
    let begun = Instant::now();
    let hand = run.clone();
    let killing = tokio::task::spawn_blocking(move || kill(&hand, time, times));
    // What is wrong ends the run at once; a machine that is busy gets more time to come to all of it.
    let goes_on = || begun.elapsed() < time || (lacks(&run).is_some() && begun.elapsed() < 10 * time);
    while (goes_on() || !killing.is_finished()) && run.tally.problems().is_empty() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    run.tally.stop.store(true, SeqCst);
    let killed = killing.await.unwrap();
    for task in tasks {
        task.await.unwrap();
    }
    assert!(killed == times || !run.tally.problems().is_empty());
    judge(&run, &field, killed as u64).await;
}

/// Kills servers and starts them again, spread over the time.
fn kill(run: &Run, time: Duration, times: usize) -> usize {
    let mut chance = run.chance(3000);
    let begun = Instant::now();
    for killed in 0..times {
        let next = time * (killed as u32 + 1) / (times as u32 + 1);
        while begun.elapsed() < next {
            if run.tally.stop.load(SeqCst) {
                return killed;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let node = chance.pick(run.cluster.nodes());
        node.kill();
        std::thread::sleep(Duration::from_millis(chance.below(300)));
        node.try_start().unwrap();
    }
    times
}

/// What a run has not come to yet, of what it must; a short one need not come to what is seldom.
fn lacks(run: &Run) -> Option<String> {
    let (done, errors) = (run.tally.done(), run.tally.errors());
    let seldom: &[&str] = if is_long() { &["issue", "renew", "unfreeze"] } else { &[] };
    let all = ["read", "write", "delegate", "revoke", "suspend", "resume", "freeze"];
    if let Some(what) = all.iter().chain(seldom).find(|what| !done.contains_key(**what)) {
        return Some(format!("nobody did this: {what}"));
    }
    let seldom: &[Reason] = if is_long() { &[Reason::GrantExpired, Reason::QuotaExceeded] } else { &[] };
    let all = [Reason::GrantRevoked, Reason::VendorSuspended, Reason::Frozen];
    let reason = all.iter().chain(seldom).find(|reason| !errors.contains_key(&(**reason, "read")))?;
    Some(format!("nobody was refused with {reason}"))
}

/// What must hold in the end; if it does not, this panics with all that is known, the seed first.
async fn judge(run: &Arc<Run>, field: &Field, killed: u64) {
    let ledger = run.cluster.ledger("acme").await;
    let count = Count::of(&ledger);
    let problem = |what: String| run.tally.problem(what);
    count.problems.iter().cloned().for_each(problem);
    let vault = run.client(4000, &run.admin).vault().await;
    let usages = vault.grants(&run.tenant).await.unwrap().into_iter().map(|info| (info.grant.id, info.usage)).collect();
    let got = field.tree.all().iter().map(|given| (given.id, given.got.load(SeqCst))).collect();
    let revoked = field.revoked.lock().unwrap().clone();
    count.differs(&Told { got, revoked, usages }).into_iter().for_each(problem);

    let under: Vec<usize> = count.entries.iter().filter(|entry| moves(entry)).map(|entry| entry.grants.len()).collect();
    let used_up = count.grants.values().filter(|grant| grant.is_used_up()).count();
    let facts = BTreeMap::from([
        ("a server was killed", killed),
        ("grants in all", count.grants.len() as u64),
        ("grants that were used up to the last byte, object or use", used_up as u64),
        ("releases and puts under a chain", under.iter().filter(|len| **len > 0).count() as u64),
        ("of them under eight delegations", under.iter().filter(|len| **len > MAX_DEPTH).count() as u64),
    ]);
    let summary = run.summary(&facts, Some(&ledger));
    let problems = run.tally.problems();
    if !problems.is_empty() {
        panic!("{summary}\n{} problems:\n{}\n{}", problems.len(), problems.join("\n"), run.logs());
    }
    if let Some(lacks) = lacks(run) {
        panic!("{lacks}\n{summary}");
    }
    let depths: BTreeSet<usize> = under.into_iter().collect();
    let all = if is_long() { MAX_DEPTH + 1 } else { 3 };
    assert!((1..=all).all(|len| depths.contains(&len)), "not of every depth: {depths:?}\n{summary}");
    tell(&summary);
}

async fn nothing_slips_through() {
    crowd(false).await;
}

async fn nothing_slips_through_while_servers_are_killed() {
    crowd(true).await;
}

on_each_engine! {
    (flavor = "multi_thread", worker_threads = 2)
    nothing_slips_through,
    nothing_slips_through_while_servers_are_killed,
}
