//! How fast the recorder alone is, its callers' signatures made beforehand:
//! `cargo test --release -p strongroom-server --lib bench -- --ignored --nocapture --test-threads 1`.

#![allow(clippy::print_stderr, reason = "a measurement is printed")]

use std::time::{Duration, Instant};

use super::*;

fn report(what: &str, count: usize, took: Duration, mut each: Vec<Duration>) {
    each.sort_unstable();
    let at = |share: f64| each[((each.len() - 1) as f64 * share) as usize];
    let rate = count as f64 / took.as_secs_f64();
    eprintln!("{what}: {rate:.0}/s, p50 {:?}, p99 {:?}", at(0.5), at(0.99));
}

async fn releases(callers: usize, count: usize) {
    let lab = Arc::new(Lab::new().await);
    lab.put_path("math/1", 1000).await;
    let people: Vec<Arc<Person>> = (0..callers.min(64)).map(|_| Person::new(&lab.tenant)).collect();
    let vendor = lab.vendor("labelco", &people.iter().map(|person| &**person).collect::<Vec<_>>()).await;
    let grant = Some(lab.grant(Holder::Vendor(vendor), &[Action::Read], "math/", Limits::default()).await);
    let (found, hides) = lab.resolve(&[("math/1", None)]).await;
    let object = Arc::new(found[0].clone().unwrap());
    let mut work: Vec<Vec<Release>> = Vec::new();
    for caller in 0..callers {
        let release = |_| {
            let call = people[caller % people.len()].call(get(&["math/1"]), grant);
            Release { call, parts: vec![window(0, object.clone(), 0)], obstacle: None, hides }
        };
        work.push((0..count / callers).map(release).collect());
    }
    let started = Instant::now();
    let tasks: Vec<_> = work
        .into_iter()
        .map(|releases| {
            let lab = lab.clone();
            tokio::spawn(async move {
                let mut each = Vec::with_capacity(releases.len());
                for release in releases {
                    let asked = Instant::now();
                    lab.record(Attempt::Release(release)).await.unwrap();
                    each.push(asked.elapsed());
                }
                each
            })
        })
        .collect();
    let mut each = Vec::new();
    for task in tasks {
        each.extend(task.await.unwrap());
    }
    report(&format!("releases, {callers} callers"), each.len(), started.elapsed(), each);
}

async fn puts(callers: usize, calls: usize, objects: usize) {
    let lab = Arc::new(Lab::new().await);
    let mut work: Vec<Vec<Put>> = Vec::new();
    for caller in 0..callers {
        let mut of_caller = Vec::new();
        for call in 0..calls {
            let path = |n| format!("math/{caller:02}/{call:04}/{n:06}.json");
            let items: Vec<PutItem> = (0..objects).map(|n| item(&path(n), 1000)).collect();
            of_caller.push(lab.put_of(&lab.admin, None, items).await);
        }
        work.push(of_caller);
    }
    let started = Instant::now();
    let tasks: Vec<_> = work
        .into_iter()
        .map(|puts| {
            let lab = lab.clone();
            tokio::spawn(async move {
                let mut each = Vec::with_capacity(puts.len());
                for put in puts {
                    let asked = Instant::now();
                    lab.record(Attempt::Put(put)).await.unwrap();
                    each.push(asked.elapsed());
                }
                each
            })
        })
        .collect();
    let mut each = Vec::new();
    for task in tasks {
        each.extend(task.await.unwrap());
    }
    let took = started.elapsed();
    report(&format!("objects put in calls of {objects}, {callers} callers"), callers * calls * objects, took, each);
    let paths: Vec<String> = (0..objects).map(|n| format!("math/00/0000/{n:06}.json")).collect();
    let paths: Vec<(&str, Option<u64>)> = paths.iter().map(|path| (path.as_str(), None)).collect();
    let started = Instant::now();
    for _ in 0..20 {
        assert!(lab.resolve(&paths).await.0.iter().all(Option::is_some));
    }
    report("objects resolved", 20 * objects, started.elapsed(), vec![started.elapsed() / 20]);
}

#[ignore = "a measurement"]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bench_releases() {
    for _ in 0..3 {
        releases(1, 500).await;
        releases(64, 100_000).await;
        releases(1024, 200_000).await;
    }
}

#[ignore = "a measurement"]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bench_puts() {
    for _ in 0..3 {
        puts(1, 50, 1000).await;
        puts(4, 25, 1000).await;
    }
}
