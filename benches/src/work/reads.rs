//! Small reads, one call each, by many callers at once: a vendor's workers under one grant.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use strongroom_client::{
    Action, Connect, DatasetRef, GetOptions, Holder, Identity, Limits, Millis, ObjectName, Part, Prefix, PutOptions,
    Scope, Terms,
};

use crate::Result;
use crate::measure::{Figures, cpu_time, percentile};
use crate::peers::raw::Raw;
use crate::vault::Running;
use crate::work::Setting;

const OBJECTS: usize = 1000;
const SECONDS: u64 = 5;

/// Reads of 1 KiB by `callers` at once, under a grant that was passed on `depth` - 1 times.
pub async fn run(setting: &Setting, callers: usize, depth: usize) -> Result<()> {
    let running = Running::start(setting, "reads-vault").await?;
    let dataset: DatasetRef = "acme/bench".parse()?;
    let objects: Vec<_> = (0..OBJECTS)
        .map(|i| Ok((format!("math/{i:06}").parse()?, Bytes::from(vec![i as u8; 1024]))))
        .collect::<Result<_>>()?;
    let mut done = running.lab.put_many(&dataset, futures::stream::iter(objects), PutOptions::default());
    while let Some(result) = done.next().await {
        result?;
    }
    drop(done);
    let identity = Identity::generate()?;
    let (vendor_id, order) =
        running.lab.add_vendor(&running.tenant, &"labelco".parse()?, &[identity.fingerprint()]).await?;
    let terms = Terms {
        holder: Holder::Vendor(vendor_id),
        parent: None,
        scopes: vec![Scope {
            actions: vec![Action::List, Action::Read],
            dataset: "bench".parse()?,
            part: Part::Prefix("math/".parse::<Prefix>()?),
        }],
        not_before: None,
        expires: Millis(order.time.0 + 3_600_000),
        delegable: true,
        limits: Limits::default(),
        purpose: None,
    };
    let (mut grant, _) = running.lab.issue_grant(&running.tenant, terms.clone()).await?;
    let mut vendor = Connect::to(&running.address, running.key, identity).open().await?;
    for _ in 1..depth {
        let next = Identity::generate()?;
        let holder = Holder::Key(next.fingerprint());
        let child = Terms { holder, parent: Some(grant), ..terms.clone() };
        (grant, _) = vendor.issue_grant(&running.tenant, child).await?;
        vendor = Connect::to(&running.address, running.key, next).open().await?;
    }
    let raw = Raw::start().await?;
    let [mut rates, mut p50s, mut p99s, mut server, mut client, mut raws] = [(); 6].map(|()| Figures::new());
    for _ in 0..setting.runs {
        raws.push(raw.small_gets(callers, Duration::from_secs(2)).await?);
        let before = [running.pid(), std::process::id()].map(cpu_time);
        let stop = Arc::new(AtomicBool::new(false));
        let tasks: Vec<_> = (0..callers)
            .map(|caller| {
                let (vendor, stop) = (vendor.clone(), stop.clone());
                tokio::spawn(async move {
                    let mut times = Vec::new();
                    let mut at = caller * 17;
                    while !stop.load(Ordering::Relaxed) {
                        at = (at + 1) % OBJECTS;
                        let name: ObjectName = format!("acme/bench/math/{at:06}").parse()?;
                        let start = Instant::now();
                        let options = GetOptions { grant: Some(grant), ..GetOptions::default() };
                        vendor.get_bytes(&name, options).await?;
                        times.push(start.elapsed());
                    }
                    Ok::<_, Box<dyn std::error::Error + Send + Sync>>(times)
                })
            })
            .collect();
        let start = Instant::now();
        tokio::time::sleep(Duration::from_secs(SECONDS)).await;
        stop.store(true, Ordering::Relaxed);
        let mut times = Vec::new();
        for task in tasks {
            times.extend(task.await??);
        }
        let after = [running.pid(), std::process::id()].map(cpu_time);
        for ((figures, before), after) in [&mut server, &mut client].into_iter().zip(before).zip(after) {
            figures.push((after? - before?).as_secs_f64() * 1e6 / times.len() as f64);
        }
        rates.push(times.len() as f64 / start.elapsed().as_secs_f64());
        p50s.push(percentile(&mut times, 0.5));
        p99s.push(percentile(&mut times, 0.99));
    }
    println!("-- reads of 1 KiB, one call and one ledger entry each, {callers} callers, chains of {depth}");
    rates.print("small reads", "calls/s");
    p50s.print("latency, p50", "ms");
    p99s.print("latency, p99", "ms");
    server.print("processor time of a read, server", "µs");
    client.print("processor time of a read, client", "µs");
    raws.print("peer: raw tonic over TLS, a call and a frame of 1 KiB", "calls/s");
    Ok(())
}
