//! The ledger: how fast entries become durable, how soon they are under a checkpoint, how fast a copy is verified and replayed, and
//! what a ledger of many entries takes in the database once the old ones have left it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::TryStreamExt;
use strongroom_client::log::{Cover, LogCheckpoint};
use strongroom_client::{GetOptions, ObjectName, PutOptions, Vault};
use strongroom_core::ledger::tile::{Kind, Tile, WIDTH, tiles_of};
use strongroom_core::ledger::verify::{CHECKPOINT, Expected, LOG_KEYS, LogFiles, check_log, verify_log};

use crate::Result;
use crate::measure::{Figures, cpu_time, peak_memory, percentile};
use crate::vault::Running;
use crate::work::Setting;

/// Callers of one connection: a server lets 256 calls run on it at once.
const SHARE: usize = 128;
/// How often the way from an entry to its checkpoint is measured.
const LAGS: usize = 20;
/// Entries that the server keeps in the database beside those whose bundles are not full: its default.
const RECENT: u64 = 4096;
/// How long old entries may take to leave.
const LEAVE_WITHIN: Duration = Duration::from_secs(600);

/// Reads one object by each number of callers for so many seconds; then until the ledger has `entries`, by as many as are given last.
pub async fn run(setting: &Setting, callers: &[usize], entries: u64, seconds: u64) -> Result<()> {
    let running = Running::start(setting, "ledger-vault").await?;
    let name: ObjectName = "acme/bench/item".parse()?;
    running.lab.put_bytes(&name, Bytes::from_static(b"read again and again"), PutOptions::default()).await?;
    println!("-- the ledger: releases of one small object, each an entry of its own, committed before it is answered");
    let mut vaults = Vec::new();
    for _ in 0..callers.iter().max().copied().unwrap_or(1).div_ceil(SHARE) {
        vaults.push(running.connect().await?);
    }
    for callers in callers {
        let [mut rates, mut p50s, mut p99s] = [(); 3].map(|()| Figures::new());
        for _ in 0..setting.runs {
            let mut times = read(&vaults, &name, *callers, Stop::After(Duration::from_secs(seconds))).await?;
            rates.push(times.len() as f64 / seconds as f64);
            p50s.push(percentile(&mut times, 0.5));
            p99s.push(percentile(&mut times, 0.99));
        }
        rates.print(&format!("durable entries, {callers} callers"), "entries/s");
        p50s.print("  latency, p50", "ms");
        p99s.print("  latency, p99", "ms");
    }
    lag(&running, &name).await?;

    let most = callers.last().copied().unwrap_or(1);
    let has = running.lab.checkpoint(&running.tenant, Cover::Head).await?.checkpoint.size.0;
    let start = Instant::now();
    if let Some(more) = entries.checked_sub(has).and_then(|more| usize::try_from(more).ok()).filter(|more| *more > 0) {
        read(&vaults, &name, most, Stop::Count(more)).await?;
        println!("filled up to {entries} entries in                            {:.1} s", start.elapsed().as_secs_f64());
    }
    let start = Instant::now();
    let signed = covered(&running, LEAVE_WITHIN).await?;
    println!("all of them under a checkpoint after                       {:.2} s", start.elapsed().as_secs_f64());
    copy_and_verify(setting, &running, &signed).await?;
    sizes(&running, &signed).await?;
    println!("the server's peak memory                                   {:.0} MiB", peak_memory(running.pid())?);
    Ok(())
}

enum Stop {
    After(Duration),
    Count(usize),
}

async fn read(vaults: &[Vault], name: &ObjectName, callers: usize, stop: Stop) -> Result<Vec<Duration>> {
    let (until, count) = match stop {
        Stop::After(time) => (Some(Instant::now() + time), usize::MAX),
        Stop::Count(count) => (None, count),
    };
    let left = Arc::new(AtomicUsize::new(count));
    let tasks: Vec<_> = vaults
        .iter()
        .cycle()
        .take(callers)
        .map(|vault| {
            let (vault, name, left) = (vault.clone(), name.clone(), left.clone());
            tokio::spawn(async move {
                let mut times = Vec::new();
                let take = |left: usize| left.checked_sub(1);
                while until.is_none_or(|until| Instant::now() < until)
                    && left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
                {
                    let start = Instant::now();
                    vault.get_bytes(&name, GetOptions::default()).await?;
                    times.push(start.elapsed());
                }
                Ok::<_, Box<dyn std::error::Error + Send + Sync>>(times)
            })
        })
        .collect();
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await??);
    }
    Ok(times)
}

/// From an entry's answer to a signed checkpoint that covers it.
async fn lag(running: &Running, name: &ObjectName) -> Result<()> {
    let mut times = Vec::new();
    for _ in 0..LAGS {
        running.lab.get_bytes(name, GetOptions::default()).await?;
        let start = Instant::now();
        covered(running, Duration::from_secs(60)).await?;
        times.push(start.elapsed());
    }
    let (p50, p99) = (percentile(&mut times, 0.5), percentile(&mut times, 0.99));
    println!("integration lag, an entry's answer to its checkpoint       p50 {p50:.0} ms, p99 {p99:.0} ms");
    Ok(())
}

/// The checkpoint that covers everything. A call waits for ten seconds of itself.
async fn covered(running: &Running, within: Duration) -> Result<LogCheckpoint> {
    let until = Instant::now() + within;
    loop {
        match running.lab.checkpoint(&running.tenant, Cover::Head).await {
            Err(error) if Instant::now() > until => return Err(error.into()),
            Err(_) => {}
            Ok(found) => return Ok(found),
        }
    }
}

/// The log as a folder, its checks, and its replay.
async fn copy_and_verify(setting: &Setting, running: &Running, signed: &LogCheckpoint) -> Result<()> {
    let folder = setting.folder.join("ledger-copy");
    let size = signed.checkpoint.size.0;
    let start = Instant::now();
    let mut files = running.lab.log_files(&running.tenant, tiles_of(size).collect());
    while let Some((tile, bytes)) = files.try_next().await? {
        let path = folder.join(tile.to_string());
        std::fs::create_dir_all(path.parent().unwrap_or(&folder))?;
        std::fs::write(path, bytes)?;
    }
    std::fs::write(folder.join(CHECKPOINT), &signed.note)?;
    std::fs::write(folder.join(LOG_KEYS), format!("{}\n", signed.key))?;
    rate("copied out of the vault", size, start.elapsed());
    let mut folder = Folder(folder);
    let start = Instant::now();
    let before = cpu_time(std::process::id())?;
    check_log(&mut folder, &Expected::default(), |_, _| (), |_, _, _| Ok(())).map_err(|error| error.to_string())?;
    rate("verified: hashes, tree, signature, private parts", size, start.elapsed());
    let start = Instant::now();
    verify_log(&mut folder, &Expected::default(), |_, _| ()).map_err(|error| error.to_string())?;
    rate("verified and replayed", size, start.elapsed());
    let used = cpu_time(std::process::id())?.saturating_sub(before);
    println!(
        "processor time of both, for each entry                     {:.1} µs",
        used.as_secs_f64() * 1e6 / size as f64
    );
    Ok(())
}

fn rate(what: &str, entries: u64, took: Duration) {
    println!("{what:<58} {:.0} entries/s", entries as f64 / took.as_secs_f64());
}

/// What the database takes, once all has left that may.
async fn sizes(running: &Running, signed: &LogCheckpoint) -> Result<()> {
    let size = signed.checkpoint.size.0;
    let ledger = running.folder().join("blobs/ledgers").join(signed.checkpoint.origin.tenant().to_string());
    let bundles = size.saturating_sub(RECENT + 1) / WIDTH;
    if let Some(last) = bundles.checked_sub(1).and_then(|last| Tile::new(Kind::Facts, last, WIDTH)) {
        let (start, path) = (Instant::now(), ledger.join(last.to_string()));
        while !path.exists() {
            if start.elapsed() > LEAVE_WITHIN {
                return Err("old entries do not leave the database".into());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        // The transaction that drops the rows follows.
        tokio::time::sleep(Duration::from_secs(1)).await;
        println!("old entries have left the database after                   {:.1} s", start.elapsed().as_secs_f64());
    }
    let catalog = ["catalog.db", "catalog.db-wal"].map(|name| running.folder().join(name));
    let catalog: u64 = catalog.iter().filter_map(|path| path.metadata().ok()).map(|file| file.len()).sum();
    let log = length(&ledger)?;
    for (what, bytes) in [("the database and its log", catalog), ("the ledger's files", log)] {
        let (mib, each) = (bytes as f64 / (1 << 20) as f64, bytes as f64 / size as f64);
        println!("{what:<58} {mib:.1} MiB, {each:.0} bytes an entry");
    }
    Ok(())
}

fn length(folder: &Path) -> Result<u64> {
    let mut all = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        all += if entry.file_type()?.is_dir() { length(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(all)
}

/// A folder of a log's files.
struct Folder(PathBuf);

impl LogFiles for Folder {
    type Error = std::io::Error;

    fn read(&mut self, path: &str, _: u64) -> std::io::Result<Option<Vec<u8>>> {
        match std::fs::read(self.0.join(path)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn list(&mut self) -> std::io::Result<Vec<String>> {
        fn below(folder: &Path, prefix: &str, names: &mut Vec<String>) -> std::io::Result<()> {
            for entry in std::fs::read_dir(folder)? {
                let entry = entry?;
                let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
                match entry.file_type()?.is_dir() {
                    true => below(&entry.path(), &format!("{name}/"), names)?,
                    false => names.push(name),
                }
            }
            Ok(())
        }
        let mut names = Vec::new();
        below(&self.0, "", &mut names)?;
        Ok(names)
    }
}
