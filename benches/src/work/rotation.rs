//! Rotating a tenant's key over many objects, while one reads and one writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use strongroom_client::{DatasetRef, GetOptions, ObjectName, ObjectPath, PutOptions, Vault};

use crate::Result;
use crate::measure::percentile;
use crate::vault::Running;
use crate::work::Setting;

/// Rotates over so many objects of 16 bytes.
pub async fn run(setting: &Setting, objects: usize) -> Result<()> {
    let running = Running::start(setting, "rotation-vault").await?;
    let dataset: DatasetRef = "acme/bench".parse()?;
    let item = |at: usize| -> Result<(ObjectPath, Bytes)> {
        Ok((format!("item/{at:07}").parse()?, Bytes::from(format!("item {at:>11}"))))
    };
    let mut at = 0;
    while at < objects {
        let some: Vec<_> = (at..objects.min(at + 50_000)).map(item).collect::<Result<_>>()?;
        at += some.len();
        let mut done = running.lab.put_many(&dataset, futures::stream::iter(some), PutOptions::default());
        while let Some(result) = done.next().await {
            result?;
        }
    }
    let stop = Arc::new(AtomicBool::new(false));
    let reading = tokio::spawn(read(running.lab.clone(), objects, stop.clone()));
    let writing = tokio::spawn(write(running.lab.clone(), stop.clone()));
    let start = Instant::now();
    running.lab.rotate_key(&running.tenant).await?;
    let active = start.elapsed();
    let mut statuses = running.lab.follow_rotation(&running.tenant).await?;
    let mut last = None;
    while let Some(status) = statuses.next().await {
        last = status?.rotation;
    }
    stop.store(true, Ordering::Relaxed);
    let rotation = last.ok_or("no status")?;
    let took = rotation.finished.ok_or("it did not finish")?.0.saturating_sub(rotation.started.0).max(1) as f64 / 1e3;
    println!("-- a tenant's key is rotated over {objects} objects, while one reads and one writes");
    println!("the new version is active                                  {:.1} ms", active.as_secs_f64() * 1e3);
    println!(
        "all are wrapped under it                                   {took:.2} s, {:.0} objects/s",
        rotation.done as f64 / took
    );
    println!("rows that were left                                        {}", rotation.skipped);
    for (what, (mut times, failed)) in [("reads", reading.await??), ("writes", writing.await??)] {
        let (p50, p99) = (percentile(&mut times, 0.5), percentile(&mut times, 0.99));
        println!("{what} meanwhile: {}, {failed} failed; p50 {p50:.2} ms, p99 {p99:.2} ms", times.len());
    }
    Ok(())
}

type Done = Result<(Vec<Duration>, usize)>;

async fn read(vault: Vault, objects: usize, stop: Arc<AtomicBool>) -> Done {
    let (mut times, mut failed, mut at) = (Vec::new(), 0, 0);
    while !stop.load(Ordering::Relaxed) {
        at = (at + 7919) % objects;
        let name: ObjectName = format!("acme/bench/item/{at:07}").parse()?;
        let start = Instant::now();
        match vault.get_bytes(&name, GetOptions::default()).await {
            Ok(_) => times.push(start.elapsed()),
            Err(_) => failed += 1,
        }
    }
    Ok((times, failed))
}

async fn write(vault: Vault, stop: Arc<AtomicBool>) -> Done {
    let (mut times, mut failed, mut at) = (Vec::new(), 0, 0);
    while !stop.load(Ordering::Relaxed) {
        at += 1;
        let name: ObjectName = format!("acme/bench/meanwhile/{at}").parse()?;
        let start = Instant::now();
        match vault.put_bytes(&name, Bytes::from_static(b"meanwhile"), PutOptions::default()).await {
            Ok(_) => times.push(start.elapsed()),
            Err(_) => failed += 1,
        }
    }
    Ok((times, failed))
}
