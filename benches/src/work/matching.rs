//! A leaked sample is looked for: among lines in memory, on one core and on all, and in a vault, with the command itself.

use std::process::{Command, Stdio};
use std::time::Instant;

use strongroom_client::PutOptions;
use strongroom_core::audit::matching::{Job, Sample};

use crate::Result;
use crate::measure::{Figures, peak_memory};
use crate::vault::Running;
use crate::work::Setting;

/// Lines of the sample: half of them stand in the data, a quarter of all in another spelling.
const SAMPLE: usize = 10_000;

/// A record like those of a labelling dataset, in this spelling: about 600 bytes.
fn line(at: usize, spaced: bool) -> String {
    let text = format!(
        "Step {at}: take away {} from {} and write what is left as caf\u{e9} number {}. ",
        at % 97,
        at * 31,
        at * 7
    )
    .repeat(6);
    match spaced {
        false => {
            format!("{{\"id\":{at},\"answer\":\"{}\",\"question\":\"{text}\",\"score\":{}.5}}\n", at * 13, at % 10)
        }
        true => format!(
            "{{ \"score\": {}.50, \"question\": \"{text}\", \"id\": {at}, \"answer\": \"{}\" }}\n",
            at % 10,
            at * 13
        ),
    }
}

/// Looks through so many MiB.
pub async fn run(setting: &Setting, mib: usize) -> Result<()> {
    let mut data = String::with_capacity((mib + 1) << 20);
    let mut lines = 0;
    while data.len() < mib << 20 {
        data.push_str(&line(lines, false));
        lines += 1;
    }
    let step = (lines / SAMPLE).max(1);
    let leaked: String =
        (0..SAMPLE).map(|at| line(if at % 2 == 0 { at * step } else { lines + at }, at % 4 == 0)).collect();
    let mut sample = Sample::new([7; 32], 16);
    (1..).zip(leaked.lines()).try_for_each(|(number, line)| sample.add(number, line.as_bytes()))?;
    let mut jobs: Vec<Job> = Vec::new();
    let mut rest = data.as_str();
    while !rest.is_empty() {
        let cut =
            rest.as_bytes()[..rest.len().min(1 << 20)].iter().rposition(|byte| *byte == b'\n').ok_or("no line")? + 1;
        jobs.push(Job::whole(rest.as_bytes()[..cut].to_vec()));
        rest = &rest[cut..];
    }
    println!("-- {SAMPLE} lines are looked for among {lines} lines, {mib} MiB");
    let rate = |start: Instant| data.len() as f64 / 1e6 / start.elapsed().as_secs_f64();
    for cores in [1, std::thread::available_parallelism()?.get()] {
        let mut figures = Figures::new();
        let mut found = 0;
        for _ in 0..setting.runs {
            let start = Instant::now();
            let next = std::sync::atomic::AtomicUsize::new(0);
            let look = || {
                let mut found = 0;
                while let Some(job) = jobs.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
                    job.look(&sample, &mut |_| found += 1);
                }
                found
            };
            found = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..cores).map(|_| scope.spawn(look)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap_or_default()).sum::<usize>()
            });
            figures.push(rate(start));
        }
        figures.print(&format!("in memory, on {cores} of the cores ({found} found)"), "MB/s");
    }
    let running = Running::start(setting, "matching-vault").await?;
    let object = "acme/bench/all.jsonl".parse()?;
    running.lab.put_bytes(&object, data.clone().into(), PutOptions::default()).await?;
    let file = setting.folder.join("leaked.jsonl");
    std::fs::write(&file, &leaked)?;
    let (mut figures, mut memory) = (Figures::new(), 0.0_f64);
    for _ in 0..setting.runs {
        let mut command = Command::new(&setting.binary);
        command.args(["audit", "match"]).arg(&file).args(["acme/bench", "--output", "json"]);
        running.envs(&mut command)?;
        let start = Instant::now();
        let mut child = command.stdout(Stdio::null()).spawn()?;
        while child.try_wait()?.is_none() {
            memory = memory.max(peak_memory(child.id()).unwrap_or(0.0));
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        if !child.wait()?.success() {
            return Err("audit match failed".into());
        }
        figures.push(rate(start));
    }
    figures.print("audit match out of a vault, all processes on these cores", "MB/s");
    println!("{:<58} {memory:>12.1} MiB", "audit match: peak memory (VmHWM)");
    Ok(())
}
