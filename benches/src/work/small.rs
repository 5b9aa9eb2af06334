//! Many small objects: in batches, and one call each.

use std::time::Instant;

use bytes::Bytes;
use futures::StreamExt;
use strongroom_client::{DatasetRef, GetOptions, ObjectName, ObjectPath, PutOptions};

use crate::Result;
use crate::measure::{Figures, cpu_time, peak_memory, percentile};
use crate::vault::Running;
use crate::work::Setting;

/// The most objects that are also put and got one call each.
const ONE_BY_ONE: usize = 2000;

/// Puts and gets `count` objects of 1 KiB.
pub async fn run(setting: &Setting, count: usize) -> Result<()> {
    let running = Running::start(setting, &format!("small-vault-{count}")).await?;
    let dataset: DatasetRef = "acme/bench".parse()?;
    let [mut put, mut get, mut put_time, mut get_time] = [(); 4].map(|()| Figures::new());
    let time = || -> Result<f64> { Ok((cpu_time(running.pid())? + cpu_time(std::process::id())?).as_secs_f64() * 1e6) };
    for nth in 0..setting.runs {
        let objects: Vec<(ObjectPath, Bytes)> =
            (0..count).map(|i| Ok((path(nth, i)?, Bytes::from(vec![i as u8; 1024])))).collect::<Result<_>>()?;
        let paths: Vec<ObjectPath> = objects.iter().map(|(path, _)| path.clone()).collect();
        let (start, used) = (Instant::now(), time()?);
        let mut done = running.lab.put_many(&dataset, futures::stream::iter(objects), PutOptions::default());
        while let Some(result) = done.next().await {
            result?;
        }
        drop(done);
        put.push(count as f64 / start.elapsed().as_secs_f64());
        put_time.push((time()? - used) / count as f64);
        let (start, used) = (Instant::now(), time()?);
        let mut done = running.lab.get_many(&dataset, futures::stream::iter(paths), GetOptions::default());
        let mut got = 0;
        while let Some(result) = done.next().await {
            got += result?.1.len();
        }
        drop(done);
        get.push(count as f64 / start.elapsed().as_secs_f64());
        get_time.push((time()? - used) / count as f64);
        if got != count * 1024 {
            return Err("fewer bytes came back".into());
        }
    }
    println!("-- {count} objects of 1 KiB, each its own key");
    put.print("put in batches, durable", "objects/s");
    put_time.print("processor time of a put, server and client", "µs");
    get.print("get in batches", "objects/s");
    get_time.print("processor time of a get, server and client", "µs");
    one_by_one(&running, count.min(ONE_BY_ONE)).await?;
    println!("{:<58} {:>12.1} MiB", "server: peak memory (VmHWM)", peak_memory(running.pid())?);
    Ok(())
}

async fn one_by_one(running: &Running, count: usize) -> Result<()> {
    let name = |i: usize| format!("acme/bench/single/{i:06}").parse::<ObjectName>();
    let mut times = Vec::with_capacity(count);
    for i in 0..count {
        let start = Instant::now();
        running.lab.put_bytes(&name(i)?, Bytes::from(vec![i as u8; 1024]), PutOptions::default()).await?;
        times.push(start.elapsed());
    }
    print_times("put one call each, one caller", &mut times);
    times.clear();
    for i in 0..count {
        let start = Instant::now();
        running.lab.get_bytes(&name(i)?, GetOptions::default()).await?;
        times.push(start.elapsed());
    }
    print_times("get one call each, one caller", &mut times);
    Ok(())
}

fn print_times(what: &str, times: &mut [std::time::Duration]) {
    let rate = times.len() as f64 / times.iter().sum::<std::time::Duration>().as_secs_f64();
    let (p50, p99) = (percentile(times, 0.5), percentile(times, 0.99));
    println!("{what:<58} {rate:>12.1} calls/s    p50 {p50:.2} ms, p99 {p99:.2} ms");
}

fn path(run: usize, i: usize) -> Result<ObjectPath> {
    Ok(format!("items/{run}/{i:08}.json").parse()?)
}
