//! What a catalog costs that has grown: one call each of a list page, a stat, a put and a release, with ten thousand objects in it,
//! then with more, on SQLite and on PostgreSQL.
//!
//! The catalog grows as a vault's does, through the SDK: batches of 16-byte objects, each with its own key, digest, blob and entry.
//! Nothing is written past the server. PostgreSQL is started for it, with 128 MiB of shared buffers; commits are
//! durable on both.

use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::ValueEnum;
use futures::StreamExt;
use strongroom_client::{
    Action, Connect, DatasetRef, GetOptions, GrantId, Holder, Identity, Limits, ListOptions, Millis, ObjectName, Part,
    Prefix, PutOptions, Scope, Terms, Vault,
};
use strongroom_test_services::Postgres;

use crate::Result;
use crate::measure::{cpu_time, peak_memory, percentile};
use crate::vault::Running;
use crate::work::Setting;

/// Objects of one folder: a page of a list.
const FOLDER: usize = 1000;
/// The most calls of each kind that one size is measured by.
const CALLS: usize = 1000;

/// A database to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Database {
    Sqlite,
    Postgres,
}

/// What one size cost: a name, and milliseconds at the median and at p99.
type Costs = Vec<(&'static str, f64, f64)>;

/// Grows a catalog to each of `sizes` in turn, and measures there; `pick` draws which objects.
pub async fn run(setting: &Setting, databases: &[Database], sizes: &[usize]) -> Result<()> {
    for database in databases {
        let postgres = (*database == Database::Postgres).then(|| Postgres::start(&["shared_buffers=128MB"]));
        let url = postgres.as_ref().map(Postgres::database);
        let running = Running::start_on(setting, &format!("catalog-{database:?}"), url.as_deref()).await?;
        let (vendor, grant) = vendor(&running).await?;
        let site = Site { running, vendor, grant, dataset: "acme/bench".parse()? };
        let (mut filled, mut first): (usize, Option<Costs>) = (0, None);
        for (nth, &size) in sizes.iter().enumerate() {
            let size = size.next_multiple_of(FOLDER);
            println!("-- a catalog of {size} objects on {database:?}, one caller");
            site.fill(filled..size).await?;
            filled = size;
            let costs = site.measure(size, nth).await?;
            for (at, (what, p50, p99)) in costs.iter().enumerate() {
                let times = first.as_ref().and_then(|first| first.get(at)).map(|(_, first, _)| p50 / first);
                let times = times.map(|times| format!("   {times:.2} times that of the smallest")).unwrap_or_default();
                println!("{what:<58} p50 {p50:>8.3} ms, p99 {p99:>8.3} ms{times}");
            }
            println!("{:<58} {:>12.1} MiB", "server: peak memory (VmHWM)", peak_memory(site.running.pid())?);
            first.get_or_insert(costs);
        }
    }
    Ok(())
}

/// A vendor's connection, with a grant to list and read it all.
async fn vendor(running: &Running) -> Result<(Vault, GrantId)> {
    let identity = Identity::generate()?;
    let (id, order) = running.lab.add_vendor(&running.tenant, &"labelco".parse()?, &[identity.fingerprint()]).await?;
    let terms = Terms {
        holder: Holder::Vendor(id),
        parent: None,
        scopes: vec![Scope {
            actions: vec![Action::List, Action::Read],
            dataset: "bench".parse()?,
            part: Part::Prefix(Prefix::all()),
        }],
        not_before: None,
        expires: Millis(order.time.0 + 12 * 3_600_000),
        delegable: false,
        limits: Limits::default(),
        purpose: None,
    };
    let (grant, _) = running.lab.issue_grant(&running.tenant, terms).await?;
    Ok((Connect::to(&running.address, running.key, identity).open().await?, grant))
}

struct Site {
    running: Running,
    vendor: Vault,
    grant: GrantId,
    dataset: DatasetRef,
}

impl Site {
    /// Puts objects in batches, and says how fast.
    async fn fill(&self, which: std::ops::Range<usize>) -> Result<()> {
        let (count, start, used) = (which.len(), Instant::now(), cpu_time(self.running.pid())?);
        let objects = which.map(|i| (path(i).parse(), Bytes::from(format!("{i:016}"))));
        // The paths are well formed: those that are not would be missing below.
        let objects = objects.filter_map(|(path, bytes)| Some((path.ok()?, bytes)));
        let mut done = self.running.lab.put_many(&self.dataset, futures::stream::iter(objects), PutOptions::default());
        let mut put = 0;
        while let Some(result) = done.next().await {
            result?;
            put += 1;
        }
        if put != count {
            return Err("fewer objects were put".into());
        }
        let (rate, used) = (count as f64 / start.elapsed().as_secs_f64(), cpu_time(self.running.pid())? - used);
        let used = used.as_secs_f64() * 1e6 / count as f64;
        println!(
            "{:<58} {rate:>12.1} objects/s, {used:.1} µs of the server's processor each",
            "filled through put_many"
        );
        Ok(())
    }

    /// Each kind of call, of objects that lie anywhere.
    async fn measure(&self, size: usize, nth: usize) -> Result<Costs> {
        let calls = CALLS.min(size);
        let mut anywhere = Anywhere { size, at: nth };
        let mut costs = Costs::new();
        let mut list = Vec::new();
        for _ in 0..calls.div_ceil(10) {
            let folder: Prefix = folder(anywhere.next() / FOLDER).parse()?;
            let options = ListOptions { grant: Some(self.grant), ..ListOptions::default() };
            let start = Instant::now();
            let mut page = self.vendor.list(&self.dataset, &folder, options);
            for _ in 0..FOLDER {
                page.next().await.ok_or("a folder has fewer objects")??;
            }
            list.push(start.elapsed());
        }
        costs.push(cost("list: a page of 1000", &mut list));
        let mut folders = Vec::new();
        for _ in 0..calls.div_ceil(10) {
            let options = ListOptions { delimiter: true, grant: Some(self.grant) };
            let start = Instant::now();
            let mut page = self.vendor.list(&self.dataset, &Prefix::all(), options);
            page.next().await.ok_or("there is a folder")??;
            folders.push(start.elapsed());
        }
        costs.push(cost("list: the folders at the top, first page", &mut folders));
        let options = || GetOptions { grant: Some(self.grant), ..GetOptions::default() };
        let [mut stat, mut release, mut put] = [(); 3].map(|()| Vec::with_capacity(calls));
        for _ in 0..calls {
            let name = name(anywhere.next())?;
            let start = Instant::now();
            self.vendor.stat(&name, options()).await?;
            stat.push(start.elapsed());
            let name = self::name(anywhere.next())?;
            let start = Instant::now();
            self.vendor.get_bytes(&name, options()).await?;
            release.push(start.elapsed());
        }
        costs.push(cost("stat", &mut stat));
        costs.push(cost("release: get of one object, with its entry", &mut release));
        for i in 0..calls {
            // Beside the others, so that they do not all go to one end of an index.
            let name: ObjectName = format!("acme/bench/{}put-{nth}-{i}", folder(anywhere.next() / FOLDER)).parse()?;
            let start = Instant::now();
            self.running.lab.put_bytes(&name, Bytes::from_static(b"one object"), PutOptions::default()).await?;
            put.push(start.elapsed());
        }
        costs.push(cost("put of one object", &mut put));
        Ok(costs)
    }
}

/// Objects in no order, the same in every run: a step that shares no factor with any round size.
struct Anywhere {
    size: usize,
    at: usize,
}

impl Anywhere {
    fn next(&mut self) -> usize {
        self.at = self.at.wrapping_add(7_368_787);
        self.at % self.size
    }
}

fn cost(what: &'static str, times: &mut [Duration]) -> (&'static str, f64, f64) {
    (what, percentile(times, 0.5), percentile(times, 0.99))
}

fn folder(nth: usize) -> String {
    format!("set/{nth:05}/")
}

fn path(i: usize) -> String {
    format!("{}{:03}.json", folder(i / FOLDER), i % FOLDER)
}

fn name(i: usize) -> Result<ObjectName> {
    Ok(format!("acme/bench/{}", path(i)).parse()?)
}
