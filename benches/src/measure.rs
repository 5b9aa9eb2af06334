//! Medians, and what the disk does meanwhile.

use std::io::Write;
use std::time::{Duration, Instant};

use crate::Result;
use crate::work::Setting;

/// Figures of several runs.
pub struct Figures(Vec<f64>);

impl Figures {
    pub fn new() -> Self {
        Self(Vec::new())
    }

    pub fn push(&mut self, figure: f64) {
        self.0.push(figure);
        self.0.sort_by(f64::total_cmp);
    }

    /// Prints the median, the least and the most.
    pub fn print(&self, what: &str, unit: &str) {
        let (Some(least), Some(most)) = (self.0.first(), self.0.last()) else { return };
        let median = self.0[self.0.len() / 2];
        println!("{what:<58} {median:>12.1} {unit:<9} [{least:.1} .. {most:.1}]");
    }
}

/// The value at this share of the sorted durations, in milliseconds.
pub fn percentile(durations: &mut [Duration], share: f64) -> f64 {
    durations.sort_unstable();
    let at = ((durations.len() as f64 * share) as usize).min(durations.len().saturating_sub(1));
    durations.get(at).map_or(0.0, |duration| duration.as_secs_f64() * 1e3)
}

/// fdatasync after each of 300 appends of 4 KiB.
pub fn fdatasync(setting: &Setting) -> Result<()> {
    let path = setting.folder.join("synced");
    let mut file = std::fs::File::create(&path)?;
    let mut times = Vec::new();
    for _ in 0..300 {
        file.write_all(&[7; 4096])?;
        let start = Instant::now();
        file.sync_data()?;
        times.push(start.elapsed());
    }
    let (p50, p99) = (percentile(&mut times, 0.5), percentile(&mut times, 0.99));
    println!("disk: fdatasync of 4 KiB                                   p50 {p50:.2} ms, p99 {p99:.2} ms");
    std::fs::remove_file(&path)?;
    Ok(())
}

/// The same, and a buffered gigabyte with one sync at its end.
pub fn disk(setting: &Setting) -> Result<()> {
    fdatasync(setting)?;
    let path = setting.folder.join("disk");
    let mut file = std::fs::File::create(&path)?;
    let block = vec![7; 1 << 20];
    let start = Instant::now();
    for _ in 0..1024 {
        file.write_all(&block)?;
    }
    file.sync_data()?;
    let rate = (1 << 30) as f64 / 1e6 / start.elapsed().as_secs_f64();
    println!("disk: 1 GiB written, synced at the end                     {rate:.0} MB/s");
    std::fs::remove_file(&path)?;
    Ok(())
}

/// The most memory a process ever had, in MiB, as the kernel tells it.
pub fn peak_memory(pid: u32) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").trim().parse()?;
    Ok(kib / 1024.0)
}

/// The processor time that a process has used so far, as the kernel tells it.
pub fn cpu_time(pid: u32) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields = stat.rsplit_once(')').ok_or("no name in stat")?.1;
    let ticks: u64 =
        fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>).sum::<std::result::Result<_, _>>()?;
    // The kernel's USER_HZ, which is 100 on every Linux.
    Ok(Duration::from_millis(ticks * 10))
}
