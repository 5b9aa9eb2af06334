//! SQLite beside PostgreSQL with one, two and three servers: what goes through one ledger, and what it costs.
//!
//! All of it is on this machine, PostgreSQL too: more servers share the same cores, so this shows what sharing a ledger costs, not
//! what more machines bring.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use strongroom_client::audit::Query;
use strongroom_client::{
    Action, Connect, DatasetRef, Fingerprint, GetOptions, GrantId, Holder, Home, Identity, Index, Limits, Millis,
    ObjectName, ObjectPath, Part, Prefix, PutOptions, Scope, TenantName, Terms, Vault,
};
use strongroom_test_services::Postgres;

use crate::Result;
use crate::measure::{Figures, cpu_time, percentile};
use crate::vault::serve;
use crate::work::Setting;

/// Objects that are read, 1 KiB each.
const OBJECTS: usize = 1000;
const SIZE: usize = 1024;
/// How often the vendor is suspended.
const STOPS: usize = 100;

/// Measures each, with `callers` readers at once for `seconds`.
pub async fn run(setting: &Setting, callers: usize, seconds: u64) -> Result<()> {
    one(setting, None, 1, callers, seconds).await?;
    for nodes in 1..=3 {
        // A server of its own for each, durable as it is by default.
        let postgres = Postgres::start(&[]);
        one(setting, Some(&postgres), nodes, callers, seconds).await?;
    }
    Ok(())
}

async fn one(setting: &Setting, postgres: Option<&Postgres>, count: usize, callers: usize, seconds: u64) -> Result<()> {
    let nodes = Nodes::start(setting, postgres.map(Postgres::database), count).await?;
    let dataset: DatasetRef = "acme/bench".parse()?;
    let [
        mut put,
        mut get,
        mut rates,
        mut entries,
        mut bytes,
        mut batches,
        mut p50s,
        mut p99s,
        mut server,
        mut database,
    ] = [(); 10].map(|()| Figures::new());
    let grant = nodes.grant().await?;
    for nth in 0..setting.runs {
        put.push(nodes.put_all(&dataset, nth).await?);
        get.push(nodes.get_all(&dataset, nth).await?);
        let (size, used) = (nodes.size().await?, nodes.used(postgres)?);
        let (mut times, elapsed) = nodes.read(callers, seconds, grant).await?;
        let after = nodes.used(postgres)?;
        let written = nodes.written(size).await?;
        let (count, elapsed) = (times.len() as f64, elapsed.as_secs_f64());
        rates.push(count / elapsed);
        entries.push(written.entries as f64 / elapsed);
        bytes.push(count * SIZE as f64 / 1e6 / elapsed);
        batches.push(written.entries as f64 / written.batches.max(1) as f64);
        p50s.push(percentile(&mut times, 0.5));
        p99s.push(percentile(&mut times, 0.99));
        server.push((after.0 - used.0).as_secs_f64() * 1e6 / count);
        database.push((after.1 - used.1).as_secs_f64() * 1e6 / count);
    }
    let engine = if postgres.is_some() { "PostgreSQL" } else { "SQLite" };
    println!("-- {engine}, servers: {count}; objects of 1 KiB; {callers} callers read one by one");
    put.print("put in batches, durable", "objects/s");
    get.print("get in batches", "objects/s");
    rates.print("releases, one call and one entry each", "calls/s");
    bytes.print("plaintext of these", "MB/s");
    entries.print("entries of the ledger", "entries/s");
    batches.print("entries of one commit", "entries");
    p50s.print("latency, p50", "ms");
    p99s.print("latency, p99", "ms");
    server.print("processor time of a release, servers", "µs");
    if postgres.is_some() {
        database.print("processor time of a release, PostgreSQL", "µs");
    }
    nodes.stops(grant).await
}

/// Servers of one vault, each with somebody connected.
struct Nodes {
    servers: Vec<Child>,
    operator: Vault,
    tenant: TenantName,
    labs: Vec<Vault>,
    vendor: Identity,
    addresses: Vec<String>,
    key: Fingerprint,
}

/// What stands in the ledger since an entry.
struct Written {
    entries: u64,
    batches: u64,
}

impl Nodes {
    async fn start(setting: &Setting, catalog: Option<String>, count: usize) -> Result<Self> {
        let name = format!("{}-{count}", if catalog.is_some() { "postgres" } else { "sqlite" });
        let (folder, blobs) = (setting.folder.join(&name), setting.folder.join(format!("{name}-blobs")));
        let made = Command::new(&setting.binary).arg("init").arg(&folder).stdout(Stdio::null()).status()?;
        if !made.success() {
            return Err("strongroom init failed".into());
        }
        let blobs = format!("file:{}", blobs.display());
        let mut variables = vec![("STRONGROOM_BLOBS_URL", blobs.as_str())];
        variables.extend(catalog.as_deref().map(|url| ("STRONGROOM_CATALOG_URL", url)));
        let (mut servers, mut addresses, mut key) = (Vec::new(), Vec::new(), None);
        for number in 0..count {
            let node = setting.folder.join(format!("{name}-node{number}"));
            copy(&folder, &node)?;
            let (server, address, pinned) = serve(&setting.binary, &node, &variables)?;
            servers.push(server);
            addresses.push(address);
            key = Some(pinned);
        }
        let (key, tenant) = (key.ok_or("no server")?, "acme".parse()?);
        let operator = Home::open(setting.folder.join(format!("{name}-node0/operator")));
        let operator = Connect::from_home(&operator)?.open().await?;
        let admin = Identity::generate()?;
        operator.create_tenant(&tenant, &[admin.fingerprint()]).await?;
        let mut nodes =
            Self { servers, operator, tenant, labs: Vec::new(), vendor: Identity::generate()?, addresses, key };
        for number in 0..count {
            nodes.labs.push(nodes.connect(number, &admin).await?);
        }
        nodes.labs[0].create_dataset(&"acme/bench".parse()?).await?;
        Ok(nodes)
    }

    async fn connect(&self, node: usize, identity: &Identity) -> Result<Vault> {
        let identity = Identity::from_pem(&identity.to_pem())?;
        Ok(Connect::to(&self.addresses[node], self.key, identity).open().await?)
    }

    /// A grant to read all of it.
    async fn grant(&self) -> Result<GrantId> {
        let (vendor, order) =
            self.labs[0].add_vendor(&self.tenant, &"labelco".parse()?, &[self.vendor.fingerprint()]).await?;
        let scope = Scope {
            actions: vec![Action::List, Action::Read],
            dataset: "bench".parse()?,
            part: Part::Prefix("items/".parse::<Prefix>()?),
        };
        let terms = Terms {
            holder: Holder::Vendor(vendor),
            parent: None,
            scopes: vec![scope],
            not_before: None,
            expires: Millis(order.time.0 + 3_600_000),
            delegable: false,
            limits: Limits::default(),
            purpose: None,
        };
        Ok(self.labs[0].issue_grant(&self.tenant, terms).await?.0)
    }

    /// Puts all objects, some through each server; objects a second.
    async fn put_all(&self, dataset: &DatasetRef, run: usize) -> Result<f64> {
        let start = Instant::now();
        let shares = self.labs.iter().enumerate().map(|(node, lab)| async move {
            let own = (0..OBJECTS).filter(|i| i % self.labs.len() == node);
            let objects: Vec<_> =
                own.map(|i| Ok((path(run, i)?, Bytes::from(vec![i as u8; SIZE])))).collect::<Result<_>>()?;
            let done = lab.put_many(dataset, futures::stream::iter(objects), PutOptions::default());
            done.try_for_each(|_| std::future::ready(Ok(()))).await?;
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
        });
        futures::future::try_join_all(shares).await?;
        Ok(OBJECTS as f64 / start.elapsed().as_secs_f64())
    }

    /// Gets all objects likewise.
    async fn get_all(&self, dataset: &DatasetRef, run: usize) -> Result<f64> {
        let start = Instant::now();
        let shares = self.labs.iter().enumerate().map(|(node, lab)| async move {
            let own = (0..OBJECTS).filter(|i| i % self.labs.len() == node);
            let paths: Vec<_> = own.map(|i| path(run, i)).collect::<Result<_>>()?;
            let done = lab.get_many(dataset, futures::stream::iter(paths), GetOptions::default());
            done.try_for_each(|_| std::future::ready(Ok(()))).await?;
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
        });
        futures::future::try_join_all(shares).await?;
        Ok(OBJECTS as f64 / start.elapsed().as_secs_f64())
    }

    /// Reads one by one, the callers spread over the servers; how long each took, and all of it.
    async fn read(&self, callers: usize, seconds: u64, grant: GrantId) -> Result<(Vec<Duration>, Duration)> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut vendors = Vec::new();
        for node in 0..self.labs.len() {
            vendors.push(self.connect(node, &self.vendor).await?);
        }
        let tasks: Vec<_> = (0..callers)
            .map(|caller| {
                let (vendor, stop) = (vendors[caller % vendors.len()].clone(), stop.clone());
                tokio::spawn(async move {
                    let (mut times, mut at) = (Vec::new(), caller * 17);
                    while !stop.load(Ordering::Relaxed) {
                        at = (at + 1) % OBJECTS;
                        let name: ObjectName = format!("acme/bench/{}", path(0, at)?).parse()?;
                        let options = GetOptions { grant: Some(grant), ..GetOptions::default() };
                        let start = Instant::now();
                        vendor.get_bytes(&name, options).await?;
                        times.push(start.elapsed());
                    }
                    Ok::<_, Box<dyn std::error::Error + Send + Sync>>(times)
                })
            })
            .collect();
        let start = Instant::now();
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        stop.store(true, Ordering::Relaxed);
        let mut times = Vec::new();
        for task in tasks {
            times.extend(task.await??);
        }
        Ok((times, start.elapsed()))
    }

    /// Suspends the vendor through the first server; how long until it is answered, and until the last one has refused a read.
    async fn stops(&self, grant: GrantId) -> Result<()> {
        let labelco = "labelco".parse()?;
        let vendor = self.connect(self.labs.len() - 1, &self.vendor).await?;
        let name: ObjectName = format!("acme/bench/{}", path(0, 0)?).parse()?;
        let (mut answered, mut refused) = (Vec::new(), Vec::new());
        for _ in 0..STOPS {
            let start = Instant::now();
            self.labs[0].suspend_vendor(&self.tenant, &labelco, None).await?;
            answered.push(start.elapsed());
            let options = GetOptions { grant: Some(grant), ..GetOptions::default() };
            if vendor.get_bytes(&name, options).await.is_ok() {
                return Err("a release after a suspension".into());
            }
            refused.push(start.elapsed());
            self.labs[0].resume_vendor(&self.tenant, &labelco, None).await?;
        }
        for (what, times) in
            [("its call to its answer", &mut answered), ("to a refusal by the last server", &mut refused)]
        {
            let (p50, p99) = (percentile(times, 0.5), percentile(times, 0.99));
            println!("suspension, {what:<46} p50 {p50:.2} ms, p99 {p99:.2} ms");
        }
        Ok(())
    }

    /// Entries in the ledger.
    async fn size(&self) -> Result<Index> {
        let tenants = self.operator.list_tenants().await?;
        Ok(tenants.iter().find(|info| info.name == self.tenant).ok_or("no tenant")?.size)
    }

    /// What was written since. A commit has one time and is one server's, which tells them apart but for a few.
    async fn written(&self, since: Index) -> Result<Written> {
        let mut lines = self.labs[0].query(&self.tenant, Query { from: since, ..Query::default() });
        let (mut entries, mut batches) = (0, BTreeSet::new());
        while let Some(line) = lines.next().await {
            let entry = line?.entry;
            entries += 1;
            batches.insert((entry.time, entry.node));
        }
        Ok(Written { entries, batches: batches.len() as u64 })
    }

    /// Processor time of the servers, and of the database's.
    fn used(&self, postgres: Option<&Postgres>) -> Result<(Duration, Duration)> {
        let servers = self.servers.iter().map(|server| cpu_time(server.id())).sum::<Result<Duration>>()?;
        let database = postgres.map(Postgres::processes).into_iter().flatten();
        // One that ends meanwhile has used little.
        Ok((servers, database.filter_map(|process| cpu_time(process).ok()).sum()))
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for server in &mut self.servers {
            // It may be gone already.
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

fn path(run: usize, i: usize) -> Result<ObjectPath> {
    Ok(format!("items/{run}/{i:06}").parse()?)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else {
            std::fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}
