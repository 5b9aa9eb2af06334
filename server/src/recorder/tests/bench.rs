//! The recorder alone under many callers, their signatures made beforehand. As a test it is small and the replay judges; as a
//! measurement, `STRONGROOM_BENCH=1 cargo test --release -p strongroom-server --lib bench -- --nocapture --test-threads 1`.

#![allow(clippy::print_stderr, reason = "a measurement is printed")]

use std::time::{Duration, Instant};

use super::*;

/// Processor time that this process has used.
fn processor() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    Duration::from_millis(10 * (fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()))
}

fn since((started, used): (Instant, Duration)) -> (Duration, Duration) {
    (started.elapsed(), processor() - used)
}

fn report(what: &str, count: usize, (took, used): (Duration, Duration), mut each: Vec<Duration>) {
    each.sort_unstable();
    let at = |share: f64| each[((each.len() - 1) as f64 * share) as usize];
    let rate = count as f64 / took.as_secs_f64();
    let used = used / u32::try_from(count).unwrap();
    eprintln!("{what}: {rate:.0}/s, processor {used:?} each, p50 {:?}, p99 {:?}", at(0.5), at(0.99));
}

async fn releases(callers: usize, count: usize) -> Arc<Lab> {
    let lab = Arc::new(Lab::new().await);
    lab.put_path("math/1", 1000).await;
    let people: Vec<Arc<Person>> = (0..callers.min(64)).map(|_| Person::new(&lab.tenant)).collect();
    let vendor = lab.vendor("labelco", &people.iter().map(|person| &**person).collect::<Vec<_>>()).await;
    let grant = lab.grant(Holder::Vendor(vendor), &[Action::Read], "math/", Limits::default()).await;
    let (found, hides) = lab.resolve(&[("math/1", None)]).await;
    let object = Arc::new(found[0].clone().unwrap());
    let mut work: Vec<Vec<Release>> = Vec::new();
    work.resize_with(callers, Vec::new);
    // In the order in which they will be asked for: request ids grow with time.
    for n in 0..count / callers * callers {
        let call = people[n % people.len()].call(get(&["math/1"]), Some(grant));
        let parts = vec![window(0, object.clone(), 0)];
        work[n % callers].push(Release { call, parts, obstacle: None, hides });
    }
    let started = (Instant::now(), processor());
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
    let (took, recorded) = (since(started), each.len() as u64);
    report(&format!("releases, {callers} callers"), each.len(), took, each);
    assert_eq!(lab.usage(grant).await.uses, recorded, "each is charged once");
    if !measures() {
        assert_eq!(lab.replay().await.counts.releases, recorded);
    }
    lab
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
    let started = (Instant::now(), processor());
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
    let took = since(started);
    report(&format!("objects put in calls of {objects}, {callers} callers"), callers * calls * objects, took, each);
    let paths: Vec<String> = (0..objects).map(|n| format!("math/00/0000/{n:06}.json")).collect();
    let paths: Vec<(&str, Option<u64>)> = paths.iter().map(|path| (path.as_str(), None)).collect();
    let started = (Instant::now(), processor());
    for _ in 0..20 {
        assert!(lab.resolve(&paths).await.0.iter().all(Option::is_some));
    }
    report("objects resolved", 20 * objects, since(started), vec![started.0.elapsed() / 20]);
}

/// Whether figures are wanted, or only that it works.
fn measures() -> bool {
    std::env::var_os("STRONGROOM_BENCH").is_some()
}

async fn bench_releases() {
    let (runs, more) = if measures() { (3, 100) } else { (1, 1) };
    for _ in 0..runs {
        releases(1, 20 * more).await;
        releases(64, 640 * more).await;
        releases(1024, 2048 * more).await;
    }
}

async fn bench_puts() {
    let (runs, more) = if measures() { (3, 25) } else { (1, 1) };
    for _ in 0..runs {
        puts(1, 2 * more, 1000).await;
        puts(4, more, 1000).await;
    }
}

/// What was recorded becomes a log, and the log is verified and replayed.
async fn bench_log() {
    let more = if measures() { 20 } else { 1 };
    let lab = releases(1024, 2048 * more).await;
    let started = (Instant::now(), processor());
    assert!(lab.integrator().pass().await);
    let took = since(started);
    let started = (Instant::now(), processor());
    let checkpoint = lab.check_log().await;
    let entries = usize::try_from(checkpoint.size.0).unwrap();
    report("entries integrated", entries, took, vec![took.0]);
    report("entries verified and replayed", entries, since(started), vec![started.0.elapsed()]);
    assert_eq!(checkpoint.size, lab.recorder.view(&lab.tenant).await.unwrap().head.size());
}

on_each_engine! {
    (flavor = "multi_thread", worker_threads = 2)
    bench_releases,
    bench_puts,
    bench_log,
}
