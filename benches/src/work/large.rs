//! One large object: SDK → TLS → server → disk, and back, beside age and raw tonic.

use std::io::Write;
use std::time::Instant;

use strongroom_client::{GetOptions, ObjectName, PutOptions};
use tokio::io::AsyncReadExt;

use crate::Result;
use crate::measure::{Figures, peak_memory};
use crate::peers::{age, raw::Raw};
use crate::vault::Running;
use crate::work::Setting;

/// Puts and gets `mib` MiB.
pub async fn run(setting: &Setting, mib: usize) -> Result<()> {
    let source = setting.folder.join("large");
    let mut file = std::fs::File::create(&source)?;
    let block: Vec<u8> = (0..1_u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for _ in 0..mib {
        file.write_all(&block)?;
    }
    drop(file);
    let bytes = (mib as u64) << 20;
    let megabytes = bytes as f64 / 1e6;
    let raw = Raw::start().await?;
    let running = Running::start(setting, "large-vault").await?;
    let [mut put, mut get, mut raw_put, mut raw_disk, mut raw_get, mut age_put, mut age_get] =
        [(); 7].map(|()| Figures::new());
    for nth in 0..setting.runs {
        raw_put.push(raw.put(bytes, None).await?);
        let file = setting.folder.join("raw");
        raw_disk.push(raw.put(bytes, Some(&file)).await?);
        std::fs::remove_file(&file)?;
        let name: ObjectName = format!("acme/bench/large/{nth}").parse()?;
        let start = Instant::now();
        running.lab.put(&name, tokio::fs::File::open(&source).await?, PutOptions::default()).await?;
        put.push(megabytes / start.elapsed().as_secs_f64());
        raw_get.push(raw.get(bytes).await?);
        let start = Instant::now();
        let mut reader = running.lab.get(&name, GetOptions::default()).await?.into_async_read();
        let mut buffer = vec![0; 1 << 20];
        let mut read = 0;
        loop {
            match reader.read(&mut buffer).await? {
                0 => break,
                more => read += more as u64,
            }
        }
        get.push(megabytes / start.elapsed().as_secs_f64());
        if read != bytes {
            return Err("fewer bytes came back".into());
        }
        let (encrypted, decrypted) = age::encrypt_and_decrypt(&source)?;
        age_put.push(encrypted);
        age_get.push(decrypted);
    }
    println!("-- {mib} MiB, one object");
    put.print("put: SDK, TLS, server, durable on disk", "MB/s");
    raw_put.print("peer: raw tonic over TLS, put, nothing stored", "MB/s");
    raw_disk.print("peer: raw tonic over TLS, put into a synced file", "MB/s");
    age_put.print("peer: age, file to synced file, no network", "MB/s");
    get.print("get: disk, server, TLS, SDK, opened and checked", "MB/s");
    raw_get.print("peer: raw tonic over TLS, get", "MB/s");
    age_get.print("peer: age, file to memory, no network", "MB/s");
    println!("{:<58} {:>12.1} MiB", "server: peak memory (VmHWM)", peak_memory(running.pid())?);
    std::fs::remove_file(&source)?;
    Ok(())
}
