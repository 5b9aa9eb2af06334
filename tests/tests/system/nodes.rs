//! Many nodes over one database: what one takes away the others stop sending, what one charges the others count, and a node that
//! hears nothing from the database releases nothing.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use strongroom_client::{Action, Error, GetOptions, PutOptions, Reader, Reason, Vault};
use strongroom_core::ledger::Event;
use strongroom_test_services::{Postgres, on_postgres_alone};
use strongroom_tests::relay::Relay;
use strongroom_tests::{Lab, TestVault, Worker, sample, tamper, until};

/// An object that is still on its way while a test acts.
const LARGE: usize = 48 << 20;

async fn lab(vault: &TestVault) -> Lab {
    let lab = vault.lab("acme").await;
    lab.dataset("rlhf").await;
    lab
}

/// A vendor whose connection is to another node than the lab's.
async fn vendor(lab: &Lab, there: &TestVault) -> Worker {
    lab.vendor(there, "labelco").await
}

/// Reads on until the stream fails; how many bytes came.
async fn until_it_fails(reader: &mut Reader, got: &mut usize) -> Error {
    loop {
        match reader.next().await.expect("it does not come to its end") {
            Ok(more) => *got += more.len(),
            Err(error) => return error,
        }
    }
}

async fn a_suspension_on_one_node_ends_streams_on_the_other() {
    let here = TestVault::start().await;
    let lab = lab(&here).await;
    let there = here.another_node(None).await;
    let worker = vendor(&lab, &there).await;
    let bytes = Bytes::from(sample::bytes(5, LARGE));
    lab.vault.put(&lab.object("rlhf/large"), &bytes[..], PutOptions::default()).await.unwrap();
    let labelco = "labelco".parse().unwrap();
    // Once by the notice, and once without it: nobody listens, and the look every 250 ms finds it.
    for deaf in [false, true] {
        let grant = lab.let_read(&worker, "rlhf/large").await;
        let options = GetOptions { grant: Some(grant), ..GetOptions::default() };
        let mut reader = worker.vault.get(&lab.object("rlhf/large"), options).await.unwrap();
        let mut got = reader.next().await.unwrap().unwrap().len();
        if deaf {
            // It listens again after a second; until then nothing is heard.
            let listeners = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() \
                             AND query LIKE 'LISTEN%' AND pg_terminate_backend(pid)";
            assert_eq!(tamper::rows(&here.folder(), listeners).await, 2);
        }
        lab.vault.suspend_vendor(&lab.tenant, &labelco, None).await.unwrap();
        let suspended = Instant::now();
        let error = until_it_fails(&mut reader, &mut got).await;
        assert_eq!(error.reason(), Reason::VendorSuspended);
        assert!(suspended.elapsed() < Duration::from_secs(3), "{:?}", suspended.elapsed());
        assert!(got < LARGE / 2, "{got} bytes came");
        lab.vault.resume_vendor(&lab.tenant, &labelco, None).await.unwrap();
    }
    here.ledger("acme").await;
}

/// A freeze, and a key that is blocked: what is done on one node ends streams on the other, an admin's too, and holds there.
async fn what_stops_somebody_on_one_node_stops_them_on_the_other() {
    let here = TestVault::start().await;
    let lab = lab(&here).await;
    let mut there = here.another_node(None).await;
    let worker = vendor(&lab, &there).await;
    let admin = there.connect(&lab.admin).await;
    let bytes = Bytes::from(sample::bytes(5, LARGE));
    lab.vault.put(&lab.object("rlhf/large"), &bytes[..], PutOptions::default()).await.unwrap();
    lab.put("rlhf/small", "text").await;
    lab.let_read(&worker, "rlhf/").await;
    let (large, small) = (lab.object("rlhf/large"), lab.object("rlhf/small"));
    let stops = async |by: &Vault, stop: &dyn Fn() -> Pin<Box<dyn Future<Output = ()>>>, expected: Reason| {
        let mut reader = by.get(&large, GetOptions::default()).await.unwrap();
        let mut got = reader.next().await.unwrap().unwrap().len();
        stop().await;
        let stopped = Instant::now();
        let error = until_it_fails(&mut reader, &mut got).await;
        assert_eq!(error.reason(), expected);
        assert!(stopped.elapsed() < Duration::from_secs(3), "{:?}", stopped.elapsed());
        assert!(got < LARGE / 2, "{got} bytes came");
        assert_eq!(reason(by.get_bytes(&small, GetOptions::default()).await), expected, "and nothing is read anew");
    };
    let rlhf: strongroom_client::DatasetRef = "acme/rlhf".parse().unwrap();
    for by in [&worker.vault, &admin] {
        let (vault, frozen) = (lab.vault.clone(), rlhf.clone());
        let freeze = move || -> Pin<Box<dyn Future<Output = ()>>> {
            let (vault, frozen) = (vault.clone(), frozen.clone());
            Box::pin(async move { vault.freeze_dataset(&frozen, None).await.map(|_| ()).unwrap() })
        };
        stops(by, &freeze, Reason::Frozen).await;
        lab.vault.unfreeze_dataset(&rlhf, None).await.unwrap();
        by.get_bytes(&small, GetOptions::default()).await.unwrap();
    }
    let operator = here.connect(&here.operator()).await;
    let key = worker.identity.fingerprint();
    // The first block makes the operators' ledger, of which the other node does not know yet; the second it hears of.
    for _ in 0..2 {
        let blocking = operator.clone();
        let block = move || -> Pin<Box<dyn Future<Output = ()>>> {
            let operator = blocking.clone();
            Box::pin(async move { operator.block_key(key, None).await.map(|_| ()).unwrap() })
        };
        stops(&worker.vault, &block, Reason::KeyBlocked).await;
        operator.unblock_key(key, None).await.unwrap();
        until("the other node hears that it may go on", async || {
            worker.vault.get_bytes(&small, GetOptions::default()).await.is_ok()
        })
        .await;
    }
    operator.block_key(key, None).await.unwrap();
    there.stop().await;
    there.restart().await;
    let again = there.connect(&worker.identity).await;
    assert_eq!(reason(again.get_bytes(&small, GetOptions::default()).await), Reason::KeyBlocked, "across a start");
    // A third node, made from a copy, too.
    let third = here.another_node(None).await;
    let again = third.connect(&worker.identity).await;
    assert_eq!(reason(again.get_bytes(&small, GetOptions::default()).await), Reason::KeyBlocked);
    here.ledger("acme").await;
}

/// Once a block has returned no node records anything for the key, and the next entry of the tenant's ledger says that it is blocked:
/// whoever reads on the other node meanwhile, however fast.
async fn nothing_is_recorded_for_a_blocked_key_on_any_node() {
    let here = TestVault::start().await;
    let lab = lab(&here).await;
    let there = here.another_node(None).await;
    let worker = vendor(&lab, &there).await;
    lab.put("rlhf/small", "text").await;
    lab.let_read(&worker, "rlhf/").await;
    let small = lab.object("rlhf/small");
    let operator = here.connect(&here.operator()).await;
    let key = worker.identity.fingerprint();
    for round in 0..8 {
        until("the other node hears that it may go on", async || {
            worker.vault.get_bytes(&small, GetOptions::default()).await.is_ok()
        })
        .await;
        let readers: Vec<_> = (0..4)
            .map(|_| {
                let (by, small) = (worker.vault.clone(), small.clone());
                tokio::spawn(async move {
                    let mut read = 0;
                    loop {
                        match by.get_bytes(&small, GetOptions::default()).await {
                            Ok(_) => read += 1,
                            Err(error) => return (read, error.reason()),
                        }
                    }
                })
            })
            .collect();
        let before = here.ledger("acme").await.size();
        until("they read", async || here.ledger("acme").await.size().0 > before.0 + 8).await;
        operator.block_key(key, None).await.unwrap();
        let returned = here.ledger("acme").await.size();
        for reader in readers {
            assert_eq!(reader.await.unwrap().1, Reason::KeyBlocked);
        }
        lab.put(&format!("rlhf/{round}"), "somebody else goes on").await;
        let entries = here.ledger("acme").await.parsed();
        let noted = entries.iter().rfind(|entry| entry.event == Event::KeyBlocked).unwrap().index;
        assert!(noted <= returned, "noted as {noted}; it was {returned} entries long when the block returned");
        let released = entries.iter().rfind(|entry| entry.event == Event::Release && entry.actor.key == key).unwrap();
        assert!(released.index < noted, "{} and {noted}", released.index);
        operator.unblock_key(key, None).await.unwrap();
    }
}

/// A node that cannot hear of blocks and freezes ends the streams of admins too.
async fn a_node_that_hears_nothing_ends_the_streams_of_admins_too() {
    let here = TestVault::start().await;
    let lab = lab(&here).await;
    let relay = Relay::start(here.database());
    let there = here.another_node(Some(relay.address())).await;
    let admin = there.connect(&lab.admin).await;
    let bytes = Bytes::from(sample::bytes(5, LARGE));
    lab.vault.put(&lab.object("rlhf/large"), &bytes[..], PutOptions::default()).await.unwrap();
    let mut reader = admin.get(&lab.object("rlhf/large"), GetOptions::default()).await.unwrap();
    let mut got = reader.next().await.unwrap().unwrap().len();
    relay.lose_answers();
    let error = until_it_fails(&mut reader, &mut got).await;
    assert!([Reason::Unavailable, Reason::LedgerUnavailable].contains(&error.reason()), "{error}");
    assert!(got < LARGE, "{got} bytes came");
    relay.cut();
    until("it serves again", async || {
        admin.get_range(&lab.object("rlhf/large"), 0..1, GetOptions::default()).await.is_ok()
    })
    .await;
    here.ledger("acme").await;
}

async fn what_one_node_writes_the_other_sees() {
    let here = TestVault::start().await;
    let lab = lab(&here).await;
    let there = here.another_node(None).await;
    let other = there.connect(&lab.admin).await;
    for round in 0..5 {
        // The other node has seen the ledger before, and must not answer from what it saw.
        let name = lab.object(&format!("set{round}/a"));
        lab.dataset(&format!("set{round}")).await;
        other.put_bytes(&name, Bytes::from(format!("{round}")), PutOptions::default()).await.unwrap();
        assert_eq!(lab.vault.get_bytes(&name, GetOptions::default()).await.unwrap(), round.to_string().as_bytes());
        other.put_bytes(&name, Bytes::from_static(b"again"), PutOptions::default()).await.unwrap();
        assert_eq!(&lab.vault.get_bytes(&name, GetOptions::default()).await.unwrap()[..], b"again");
        let worker = lab.vendor(&there, &format!("v{round}")).await;
        let place = format!("set{round}/");
        lab.let_read(&worker, &place).await;
        assert_eq!(&worker.vault.get_bytes(&name, GetOptions::default()).await.unwrap()[..], b"again");
        let vendor = format!("v{round}").parse().unwrap();
        lab.vault.suspend_vendor(&lab.tenant, &vendor, None).await.unwrap();
        assert_eq!(reason(worker.vault.get_bytes(&name, GetOptions::default()).await), Reason::VendorSuspended);
        other.resume_vendor(&lab.tenant, &vendor, None).await.unwrap();
        worker.vault.get_bytes(&name, GetOptions::default()).await.unwrap();
    }
    let ledger = here.ledger("acme").await;
    let nodes: std::collections::BTreeSet<_> = ledger.parsed().iter().map(|entry| entry.node).collect();
    assert_eq!(nodes.len(), 2, "both wrote to it");
}

fn reason<T: std::fmt::Debug>(result: Result<T, Error>) -> Reason {
    result.unwrap_err().reason()
}

/// However callers of two nodes race for a budget, what comes out is the budget to the byte.
async fn a_budget_is_one_on_all_nodes() {
    const EACH: u64 = 1000;
    const MOST: u64 = 37;
    let here = TestVault::start().await;
    let lab = lab(&here).await;
    let there = here.another_node(None).await;
    lab.put("rlhf/a", Bytes::from(vec![7; EACH as usize])).await;
    let worker = vendor(&lab, &here).await;
    let mut terms = lab.terms(worker.holder, &[(&[Action::Read], "rlhf/")]);
    terms.limits.bytes = Some(MOST * EACH + EACH / 2);
    let grant = lab.grant(terms).await;
    let name = lab.object("rlhf/a");
    let vaults: Vec<Arc<Vault>> =
        vec![Arc::new(here.connect(&worker.identity).await), Arc::new(there.connect(&worker.identity).await)];
    let callers: Vec<_> = (0..8)
        .map(|at| {
            let (vault, name) = (vaults[at % 2].clone(), name.clone());
            tokio::spawn(async move {
                let mut got = 0;
                loop {
                    let options = GetOptions { grant: Some(grant), ..GetOptions::default() };
                    match vault.get_bytes(&name, options).await {
                        Ok(_) => got += 1,
                        Err(error) => {
                            assert_eq!(error.reason(), Reason::QuotaExceeded);
                            return got;
                        }
                    }
                }
            })
        })
        .collect();
    let mut got = 0;
    for caller in callers {
        got += caller.await.unwrap();
    }
    assert_eq!(got, MOST);
    let ledger = here.ledger("acme").await;
    let of_grant = ledger.done(Event::Release).into_iter().filter(|entry| entry.grants.contains(&grant));
    assert_eq!(of_grant.count() as u64, MOST);
}

async fn a_node_that_hears_nothing_releases_nothing() {
    let here = TestVault::start().await;
    let lab = lab(&here).await;
    let relay = Relay::start(here.database());
    let there = here.another_node(Some(relay.address())).await;
    let worker = vendor(&lab, &there).await;
    let bytes = Bytes::from(sample::bytes(5, LARGE));
    lab.vault.put(&lab.object("rlhf/large"), &bytes[..], PutOptions::default()).await.unwrap();
    lab.put("rlhf/small", "text").await;
    let grant = lab.let_read(&worker, "rlhf/").await;
    let options = || GetOptions { grant: Some(grant), ..GetOptions::default() };
    let mut reader = worker.vault.get(&lab.object("rlhf/large"), options()).await.unwrap();
    let mut got = reader.next().await.unwrap().unwrap().len();
    let before = here.ledger("acme").await.size();

    // Silence: connections stand, and nothing comes through them.
    relay.lose_answers();
    // The SDK tries to go on for a while, and may not.
    let error = until_it_fails(&mut reader, &mut got).await;
    assert!([Reason::Unavailable, Reason::LedgerUnavailable].contains(&error.reason()), "{error}");
    // How much of the window whose keys were out still came depends on the machine; all of it did not.
    assert!(got < LARGE, "{got} bytes came");
    // The others go on.
    lab.vault.suspend_vendor(&lab.tenant, &"labelco".parse().unwrap(), None).await.unwrap();
    let after = here.ledger("acme").await;
    assert_eq!(after.size().0, before.0 + 1, "the suspension, and no release");

    // It can be reached again, and knows at once what it missed.
    relay.cut();
    until("it serves again", async || {
        let got = worker.vault.get_bytes(&lab.object("rlhf/small"), options()).await;
        got.is_err_and(|error| error.reason() == Reason::VendorSuspended)
    })
    .await;
    lab.vault.resume_vendor(&lab.tenant, &"labelco".parse().unwrap(), None).await.unwrap();
    worker.vault.get_bytes(&lab.object("rlhf/small"), options()).await.unwrap();
    here.ledger("acme").await;
}

/// The database is killed under two nodes at work, and started again: what was acknowledged is there, and they go on by themselves.
async fn the_database_dies_and_comes_back() {
    let mut postgres = Postgres::start(&[]);
    let here = TestVault::start_on(&postgres.database()).await;
    let lab = Arc::new(lab(&here).await);
    let there = here.another_node(None).await;
    let vaults = [Arc::new(here.connect(&lab.admin).await), Arc::new(there.connect(&lab.admin).await)];
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let writers: Vec<_> = (0..4)
        .map(|at| {
            let (vault, lab, stop) = (vaults[at % 2].clone(), lab.clone(), stop.clone());
            tokio::spawn(async move {
                let mut kept = Vec::new();
                for n in 0.. {
                    if stop.load(std::sync::atomic::Ordering::SeqCst) {
                        break;
                    }
                    let name = lab.object(&format!("rlhf/{at}/{n}"));
                    match vault.put_bytes(&name, Bytes::from(name.to_string()), PutOptions::default()).await {
                        Ok(_) => kept.push(name),
                        Err(error) => {
                            let expected = [Reason::Unavailable, Reason::LedgerUnavailable];
                            assert!(expected.contains(&error.reason()), "{error}");
                        }
                    }
                }
                kept
            })
        })
        .collect();
    let size = async || strongroom_tests::oracle::Ledger::read(&here.folder(), "acme").await.size();
    for _ in 0..2 {
        let before = size().await;
        until("they write", async || size().await.0 > before.0 + 20).await;
        postgres.kill();
        postgres.restart();
        let before = size().await;
        until("they go on", async || size().await.0 > before.0 + 20).await;
        postgres.pause();
        tokio::time::sleep(Duration::from_millis(300)).await;
        postgres.resume();
    }
    stop.store(true, std::sync::atomic::Ordering::SeqCst);
    let mut kept = Vec::new();
    for writer in writers {
        kept.extend(writer.await.unwrap());
    }
    here.ledger("acme").await;
    for name in &kept {
        assert_eq!(vaults[0].get_bytes(name, GetOptions::default()).await.unwrap(), name.to_string().as_bytes());
    }
}

on_postgres_alone! {
    (flavor = "multi_thread", worker_threads = 2)
    a_suspension_on_one_node_ends_streams_on_the_other,
    what_stops_somebody_on_one_node_stops_them_on_the_other,
    nothing_is_recorded_for_a_blocked_key_on_any_node,
    a_node_that_hears_nothing_ends_the_streams_of_admins_too,
    what_one_node_writes_the_other_sees,
    a_budget_is_one_on_all_nodes,
    a_node_that_hears_nothing_releases_nothing,
    the_database_dies_and_comes_back,
}
