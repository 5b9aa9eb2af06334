//! Everything breaks at once: three servers over one PostgreSQL and one bucket, 32 clients at work, and meanwhile servers are killed
//! and stand still, the database is restarted, killed and stands still, and the bucket answers 503 and cuts connections.
//!
//! | module | what |
//! | --- | --- |
//! | [`weather`] | what breaks, and when |
//! | [`lab`] | the data's owner, who knows what must be there of its objects |
//! | [`field`] | vendors, their workers, and the officers who give and take away |
//! | [`judge`] | what must hold in the end |
//!
//! In the end nothing that was acknowledged is lost, the ledger has no gap and replays, no limit was overrun by a byte, nothing
//! came out after what took it away, and every error that a client saw has a reason that it can act on.

mod field;
mod judge;
mod lab;
mod weather;

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use strongroom_test_services::{Faults, Moto, Postgres, on_postgres_and_moto};
use strongroom_tests::cluster::Stores;
use strongroom_tests::copy;

use self::field::Field;
use self::lab::Lab;
use crate::party::{Run, is_long};

/// Uploads are given up after this time without a sign of life, so that some are while their node stands still.
const LIMITS: &str = "upload_idle = 3";

/// Clients: the data's owner, vendors, workers to whom vendors delegate, and officers.
const LABS: usize = 9;
const VENDORS: usize = 8;
const WORKERS: usize = 12;
const OFFICERS: usize = 3;

async fn storm() {
    let time = Duration::from_secs(if is_long() { 300 } else { 9 });
    let (postgres, bucket) = (Postgres::start(&[]), Moto::shared().bucket());
    let faults = Faults::before(Moto::shared().port());
    let catalog = postgres.database();
    let stores = Stores { catalog: Some(&catalog), bucket: Some((&bucket, faults.port())) };
    let run = Run::start(stores, LIMITS, 3).await;
    let field = Arc::new(Field::new(&run).await);

    let mut labs = Vec::new();
    let mut others = Vec::new();
    for number in 0..LABS {
        let mut lab = Lab::new(run.client(number, &run.admin));
        labs.push(tokio::spawn(async move {
            lab.work().await;
            lab
        }));
    }
    for number in 0..VENDORS + WORKERS {
        let (field, run) = (field.clone(), run.clone());
        let client = run.client(LABS + number, &copy(field.identity(number)));
        others.push(tokio::spawn(async move { field.work(number, client).await }));
    }
    for number in 0..OFFICERS {
        let (field, client) = (field.clone(), run.client(LABS + VENDORS + WORKERS + number, &run.admin));
        others.push(tokio::spawn(async move { field.command(number, client).await }));
    }
    let storm = weather::begin(run.clone(), postgres, faults);
    let until = Instant::now() + time;
    // What is wrong ends the run at once.
    while Instant::now() < until && run.tally.problems().is_empty() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (postgres, faults, broken) = tokio::task::spawn_blocking(move || storm.end()).await.unwrap();
    run.tally.stop.store(true, SeqCst);
    let mut worked = Vec::new();
    for lab in labs {
        worked.push(lab.await.unwrap());
    }
    for other in others {
        other.await.unwrap();
    }
    judge::judge(&run, &field, worked, &bucket, broken).await;
    drop((faults, postgres));
}

on_postgres_and_moto! {
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn nothing_is_lost_and_nothing_slips_out() {
        storm().await;
    }
}
