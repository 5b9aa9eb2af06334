//! The worst day: one vendor's part in a ledger of many releases. How long its exposure takes, in the vault and out of an export, and
//! an incident from the call to the answer.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use strongroom_client::log::Cover;
use strongroom_client::{
    Action, Connect, DatasetRef, GetOptions, GrantId, Holder, Identity, Limits, Millis, ObjectName, Part, Prefix,
    PutOptions, Reason, Scope, Terms, Vault, VendorName,
};

use crate::Result;
use crate::measure::peak_memory;
use crate::vault::{Running, copy};
use crate::work::Setting;

/// Objects that are read.
const OBJECTS: u64 = 100_000;
/// Keys of the vendor that does most of the reading; each has a connection of its own.
const KEYS: usize = 15;
/// Calls that are under way at once on each connection.
const CALLERS: usize = 64;
/// The vendor that the incident is about.
const VENDOR: &str = "labelco";
/// The one that does the rest.
const OTHER: &str = "crowd";
/// A file that says that a vault is full.
const FILLED: &str = "filled";
/// How long the last entries may take until they stand under a checkpoint.
const COVER_WITHIN: Duration = Duration::from_secs(900);

/// Fills a vault with releases, one in `one_in` of them to the vendor, or takes the one that is `kept`, and asks.
pub async fn run(setting: &Setting, releases: u64, one_in: u64, kept: Option<&Path>) -> Result<()> {
    let filled = kept.is_some_and(|folder| folder.join(FILLED).exists());
    let running = match kept {
        Some(folder) if filled => Running::open(setting, folder).await?,
        Some(folder) => Running::start_in(setting, folder, None).await?,
        None => Running::start(setting, "incident-vault").await?,
    };
    if !filled {
        fill(&running, releases, one_in).await?;
        running.envs(&mut Command::new(&setting.binary))?;
        std::fs::write(running.folder().join(FILLED), b"")?;
    }
    let size = covered(&running).await?;
    let concern = releases / one_in;
    println!("-- {size} entries; {concern} of {releases} releases are of the vendor");
    let export = setting.folder.join("export");
    let own = ["--vendor", VENDOR, "--summary"];
    ask(
        &running,
        setting,
        "exposure of the vendor, in the vault",
        &[&["audit", "exposure", "acme"], &own[..]].concat(),
    )?;
    ask(&running, setting, "exposure of everybody, in the vault", &["audit", "exposure", "acme", "--summary"])?;
    let folder = export.to_string_lossy();
    ask(&running, setting, "audit export", &["audit", "export", "acme", "-o", &folder])?;
    ask(&running, setting, "exposure of the vendor, offline", &[&["audit", "exposure", &folder], &own[..]].concat())?;
    ask(&running, setting, "exposure of everybody, offline", &["audit", "exposure", &folder, "--summary"])?;
    ask(&running, setting, "audit verify", &["audit", "verify", &folder])?;
    std::fs::remove_dir_all(&export)?;
    incident(&running, setting).await
}

/// An incident: to the first refusal, and to the answer.
async fn incident(running: &Running, setting: &Setting) -> Result<()> {
    let identity = Identity::from_pem(&std::fs::read_to_string(running.folder().join("vendor.pem"))?)?;
    let vendor: VendorName = VENDOR.parse()?;
    match running.lab.resume_vendor(&running.tenant, &vendor, None).await {
        // A kept vault may have been left in the middle of one.
        Ok(_) => println!("the vendor was suspended: it is resumed"),
        Err(error) if error.reason() == Reason::PreconditionFailed => {}
        Err(error) => return Err(error.into()),
    }
    let (grant, _) = grant_to(running, &vendor).await?;
    let reader = Connect::to(&running.address, running.key, identity).open().await?;
    read(&reader, grant, 0).await?;
    let start = Instant::now();
    let refused = tokio::spawn(async move {
        loop {
            match read(&reader, grant, 0).await {
                Ok(()) => {}
                Err(error) => {
                    let expected = error.downcast_ref().map(strongroom_client::Error::reason);
                    return (start.elapsed(), expected == Some(Reason::VendorSuspended));
                }
            }
        }
    });
    let out = setting.folder.join("incident");
    let folder = out.to_string_lossy();
    let answered = Instant::now();
    let mut open = Command::new(&setting.binary);
    open.args(["incident", "open", "acme/labelco", "-o", &folder, "--output", "json"]).stdout(Stdio::piped());
    running.envs(&mut open)?;
    let mut open = open.spawn()?;
    let mut answer = String::new();
    let lines = open.stdout.take().ok_or("the command has no output")?;
    BufReader::new(lines).read_line(&mut answer)?;
    println!("{:<58} {:>12.2} s", "incident open, call to answer", answered.elapsed().as_secs_f64());
    if !open.wait()?.success() || answer.is_empty() {
        return Err("the incident was not answered".into());
    }
    println!("{:<58} {:>12.2} s", "  with the folder and its evidence", answered.elapsed().as_secs_f64());
    let (after, expected) = refused.await?;
    if !expected {
        return Err("the vendor was refused for another reason".into());
    }
    println!("{:<58} {:>12.3} s", "  the vendor is refused after", after.as_secs_f64());
    running.lab.resume_vendor(&running.tenant, &vendor, None).await?;
    Ok(())
}

/// Runs a command as the admin, and prints what it took.
fn ask(running: &Running, setting: &Setting, what: &str, arguments: &[&str]) -> Result<()> {
    let mut command = Command::new(&setting.binary);
    command.args(arguments).args(["--output", "json"]).stdout(Stdio::null());
    running.envs(&mut command)?;
    let start = Instant::now();
    let mut child = command.spawn()?;
    let mut memory = 0.0_f64;
    while child.try_wait()?.is_none() {
        memory = memory.max(peak_memory(child.id()).unwrap_or(0.0));
        std::thread::sleep(Duration::from_millis(10));
    }
    if !child.wait()?.success() {
        return Err(format!("{what} failed").into());
    }
    println!("{what:<58} {:>12.2} s, {memory:.0} MiB", start.elapsed().as_secs_f64());
    Ok(())
}

async fn fill(running: &Running, releases: u64, one_in: u64) -> Result<()> {
    let dataset: DatasetRef = "acme/bench".parse()?;
    let objects =
        (0..OBJECTS).map(|no| Ok((format!("items/{:03}/{no:08}", no % 500).parse()?, Bytes::from(vec![1; 64]))));
    let objects: Vec<_> = objects.collect::<Result<_>>()?;
    let mut done = running.lab.put_many(&dataset, futures::stream::iter(objects), PutOptions::default());
    while let Some(result) = done.next().await {
        result?;
    }
    drop(done);
    let identity = Identity::generate()?;
    std::fs::write(running.folder().join("vendor.pem"), identity.to_pem().as_bytes())?;
    let vendor = register(running, VENDOR, &[copy(&identity)?]).await?.remove(0);
    let keys = (0..KEYS).map(|_| Ok(Identity::generate()?)).collect::<Result<Vec<_>>>()?;
    let others = register(running, OTHER, &keys).await?;
    let start = Instant::now();
    let next = Arc::new(AtomicU64::new(0));
    let tasks: Vec<_> = (0..others.len() * CALLERS)
        .map(|caller| {
            let (vendor, other, next) = (vendor.clone(), others[caller % others.len()].clone(), next.clone());
            tokio::spawn(async move {
                loop {
                    let no = next.fetch_add(1, Ordering::Relaxed);
                    if no >= releases {
                        return Ok::<_, Box<dyn std::error::Error + Send + Sync>>(());
                    }
                    let (vault, grant) = if no.is_multiple_of(one_in) { &vendor } else { &other };
                    read(vault, *grant, no.wrapping_mul(7919) % OBJECTS).await?;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    println!("{releases} releases were made in {:.0} s", start.elapsed().as_secs_f64());
    Ok(())
}

async fn read(vault: &Vault, grant: GrantId, no: u64) -> Result<()> {
    let name: ObjectName = format!("acme/bench/items/{:03}/{no:08}", no % 500).parse()?;
    vault.get_bytes(&name, GetOptions { grant: Some(grant), ..GetOptions::default() }).await?;
    Ok(())
}

/// A vendor with these keys and one grant, each of them connected.
async fn register(running: &Running, name: &str, keys: &[Identity]) -> Result<Vec<(Vault, GrantId)>> {
    let fingerprints: Vec<_> = keys.iter().map(Identity::fingerprint).collect();
    let vendor: VendorName = name.parse()?;
    running.lab.add_vendor(&running.tenant, &vendor, &fingerprints).await?;
    let (grant, _) = grant_to(running, &vendor).await?;
    let mut connected = Vec::new();
    for key in keys {
        connected.push((Connect::to(&running.address, running.key, copy(key)?).open().await?, grant));
    }
    Ok(connected)
}

async fn grant_to(running: &Running, vendor: &VendorName) -> Result<(GrantId, Millis)> {
    let info = running.lab.vendor(&running.tenant, vendor).await?;
    let now = running.lab.set_policy(&running.tenant, strongroom_client::Policy::default()).await?.time;
    let scope = Scope {
        actions: vec![Action::List, Action::Read],
        dataset: "bench".parse()?,
        part: Part::Prefix("items/".parse::<Prefix>()?),
    };
    let terms = Terms {
        holder: Holder::Vendor(info.id),
        parent: None,
        scopes: vec![scope],
        not_before: None,
        expires: Millis(now.0 + 24 * 3_600_000),
        delegable: true,
        limits: Limits::default(),
        purpose: None,
    };
    let (grant, done) = running.lab.issue_grant(&running.tenant, terms).await?;
    Ok((grant, done.time))
}

/// The size of a checkpoint over all of it. A call waits for ten seconds of itself.
async fn covered(running: &Running) -> Result<u64> {
    let until = Instant::now() + COVER_WITHIN;
    loop {
        match running.lab.checkpoint(&running.tenant, Cover::Head).await {
            Err(error) if Instant::now() > until => return Err(error.into()),
            Err(_) => {}
            Ok(found) => return Ok(found.checkpoint.size.0),
        }
    }
}
