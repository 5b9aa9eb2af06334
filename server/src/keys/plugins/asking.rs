//! Asking: another process of this program is started, told its job, listened to, and ended.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use zeroize::Zeroizing;

use super::job::{Job, Said};
use super::{PROGRAM, Trouble, WORD, one_line};

/// The most bytes that may be said of one job.
const MAX_SAID: u64 = 1 << 20;
/// Bytes that most jobs and answers fit into: what grows leaves copies behind.
const USUAL: usize = 16 * 1024;

/// Has another process run `program` for this job, and waits for it no longer than `patience`.
///
/// # Errors
/// [`Trouble`]; in any case nothing of it runs any more.
pub(super) fn ask(program: &str, job: &Job, patience: Duration) -> Result<Said, Trouble> {
    let broken = |why: String| Trouble::Broken(format!("{program}: {why}"));
    let this = PROGRAM.get().ok_or_else(|| broken("this process runs no plugins".to_owned()))?;
    // Where `age` has it work, and what is left when it is ended.
    let folder = tempfile::tempdir().map_err(|error| broken(error.to_string()))?;
    let mut command = Command::new(this);
    command.arg0("strongroom").arg(WORD).env("TMPDIR", folder.path()).process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    // A database's password is none of a plugin's business, nor is a passphrase that it did not ask for.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("STRONGROOM_")) {
        command.env_remove(name);
    }
    let mut child = command.spawn().map_err(|error| broken(error.to_string()))?;
    let (done, ended) = channel::<()>();
    let group = Pid::from_child(&child);
    let (said, late) = std::thread::scope(|scope| {
        let ending = scope.spawn(move || {
            let late = ended.recv_timeout(patience) == Err(RecvTimeoutError::Timeout);
            // Until it is waited for below, no other process has this number.
            let _ = kill_process_group(group, Signal::KILL);
            late
        });
        let said = talk(&mut child, job);
        drop(done);
        (said, ending.join().unwrap_or(true))
    });
    let _ = child.wait();
    match said {
        Ok(Said::Refused { why }) => Err(Trouble::Refused(one_line(&why))),
        Ok(Said::Broken { why }) => Err(broken(one_line(&why))),
        Ok(said) => Ok(said),
        Err(_) if late => Err(Trouble::Late { program: program.to_owned(), patience }),
        Err(why) => Err(broken(why)),
    }
}

/// Says the job, and listens until the answer is there and the process has ended.
fn talk(child: &mut Child, job: &Job) -> Result<Said, String> {
    let (Some(mut input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
        return Err("it has no input and output".to_owned());
    };
    let mut line = Zeroizing::new(Vec::with_capacity(USUAL));
    serde_json::to_writer(&mut *line, job).map_err(|error| error.to_string())?;
    line.push(b'\n');
    input.write_all(&line).map_err(|error| error.to_string())?;
    // The input stays open: by its end the other process knows that nobody waits any more.
    let said = listen(output);
    drop(input);
    said
}

fn listen(output: ChildStdout) -> Result<Said, String> {
    let mut lines = BufReader::new(output.take(MAX_SAID));
    let mut answer = None;
    loop {
        let mut line = Zeroizing::new(Vec::with_capacity(USUAL));
        let count = lines.read_until(b'\n', &mut line).map_err(|error| error.to_string())?;
        if count == 0 {
            return answer.ok_or_else(|| "it ended without an answer".to_owned());
        }
        match serde_json::from_slice(&line) {
            Ok(Said::Message { text }) => tracing::info!(message = one_line(&text), "an age plugin says"),
            Ok(said) => answer = Some(said),
            // What it says may be a key, and is not repeated.
            Err(_) => return Err("it says something else than was asked".to_owned()),
        }
    }
}
