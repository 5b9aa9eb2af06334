//! The real command, as processes of their own: what a person at a shell would see.
//!
//! No variable of this process that would set them reaches them, and every wait has an end: a process that
//! hangs fails its test with what it said so far.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use strongroom_core::identity::Fingerprint;

/// How long anything may take: far more than it needs on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// The command's binary.
#[derive(Debug, Clone, Copy)]
pub struct Binary(pub &'static str);

impl Binary {
    /// The command in `folder`, without the variables that would set it.
    pub fn command(self, folder: &Path) -> Command {
        let mut command = Command::new(self.0);
        command.current_dir(folder).stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("STRONGROOM_") || name == "RUST_LOG" {
                command.env_remove(name);
            }
        }
        command
    }

    /// Runs the command in `folder` with these arguments, to its end.
    pub fn run(self, folder: &Path, arguments: &[&str]) -> Ran {
        self.run_with(folder, arguments, b"")
    }

    /// Runs the command with `input` on its standard input.
    pub fn run_with(self, folder: &Path, arguments: &[&str], input: &[u8]) -> Ran {
        let mut command = self.command(folder);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (mut stdin, input) = (child.stdin.take().unwrap(), input.to_vec());
        // A command that does not read its input closes it: that is no failure of the test.
        let feeding = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let (stdout, stderr) = (gather(child.stdout.take().unwrap()), gather(child.stderr.take().unwrap()));
        let status = wait(&mut child, arguments);
        feeding.join().unwrap();
        let [stdout, stderr] = [stdout, stderr].map(|(bytes, reading)| {
            reading.join().unwrap();
            std::mem::take(&mut *bytes.lock().unwrap())
        });
        let stderr = String::from_utf8(stderr).unwrap();
        Ran { arguments: arguments.join(" "), code: status.code(), stdout, stderr }
    }

    /// Starts a server over the vault in `vault`, on a free port, and waits until it listens.
    pub fn serve(self, folder: &Path, vault: &str) -> ServerProcess {
        self.serve_with(folder, vault, |_| ())
    }

    /// As [`Binary::serve`], with the command changed before it starts: variables, arguments.
    pub fn serve_with(self, folder: &Path, vault: &str, change: impl FnOnce(&mut Command)) -> ServerProcess {
        self.try_serve(folder, vault, change).unwrap_or_else(|said| panic!("the server does not listen {said}"))
    }

    /// As [`Binary::serve_with`], where a server may not come to listen.
    ///
    /// # Errors
    /// What one said that did not.
    pub fn try_serve(
        self,
        folder: &Path,
        vault: &str,
        change: impl FnOnce(&mut Command),
    ) -> Result<ServerProcess, String> {
        self.start(folder, vault, change).listening()
    }

    /// Starts a server that may not listen for now: it is locked until somebody unlocks it.
    pub fn start(self, folder: &Path, vault: &str, change: impl FnOnce(&mut Command)) -> Starting {
        let mut command = self.command(folder);
        command.args(["serve", vault, "--listen", "127.0.0.1:0"]);
        change(&mut command);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (said, reading) = gather(child.stderr.take().unwrap());
        let lines = lines(child.stdout.take().unwrap());
        Starting(Some(Started { child, lines, said, reading }))
    }
}

/// A server that does not listen yet; killed when it is dropped.
pub struct Starting(Option<Started>);

struct Started {
    child: Child,
    lines: Receiver<String>,
    said: Arc<Mutex<Vec<u8>>>,
    reading: JoinHandle<()>,
}

impl Starting {
    /// Waits until it says something that contains `word` on standard error; all it said so far.
    pub fn says(&self, word: &str) -> String {
        let Started { said, .. } = self.0.as_ref().expect("it starts");
        let until = std::time::Instant::now() + PATIENCE;
        loop {
            let so_far = text(said);
            if so_far.contains(word) {
                return so_far;
            }
            assert!(std::time::Instant::now() < until, "it never says {word:?}: {so_far}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Whether it listens already.
    pub fn is_listening(&self) -> bool {
        let Started { lines, .. } = self.0.as_ref().expect("it starts");
        // A line that was taken out here would be missed later: none is expected where this is asked.
        lines.try_recv().is_ok()
    }

    /// Ends it as an operator would, SIGTERM, and waits for it.
    pub fn terminate(mut self) -> ExitStatus {
        let Started { mut child, .. } = self.0.take().expect("it starts");
        kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        wait(&mut child, &["serve"])
    }

    /// Waits until it listens.
    ///
    /// # Errors
    /// What one said that did not.
    pub fn listening(mut self) -> Result<ServerProcess, String> {
        let Started { mut child, lines, said, reading } = self.0.take().expect("it starts");
        let Ok(line) = lines.recv_timeout(PATIENCE) else {
            // It ended, or hangs: either way it is over.
            let _ = child.kill();
            let status = child.wait();
            reading.join().unwrap();
            return Err(format!("({status:?}): {}", text(&said)));
        };
        let (address, vault_key) =
            parse_listening(&line).unwrap_or_else(|| panic!("not a line of readiness: {line:?}"));
        Ok(ServerProcess { child, address, vault_key, line, said })
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        if let Some(Started { child, .. }) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// `strongroom listening on ADDR, vault key SHA256:…`
fn parse_listening(line: &str) -> Option<(SocketAddr, Fingerprint)> {
    let (address, key) = line.strip_prefix("strongroom listening on ")?.split_once(", vault key ")?;
    Some((address.parse().ok()?, key.parse().ok()?))
}

/// A command that has ended.
#[derive(Debug)]
pub struct Ran {
    /// What it was told to do.
    pub arguments: String,
    /// Its exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to standard output.
    pub stdout: Vec<u8>,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl Ran {
    /// Asserts that it went well.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{}: {}", self.arguments, self.stderr);
        self
    }

    /// Standard output as text, without the white space at its end.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap().trim_end()
    }

    /// The last word on standard output: what a command that makes something prints is its name.
    #[track_caller]
    pub fn word(&self) -> &str {
        self.text().split_whitespace().last().unwrap_or_else(|| panic!("{} printed nothing", self.arguments))
    }

    /// Asserts that it failed as commands do: with this exit code, and on standard error one line that begins with `reason` and
    /// ends with advice.
    #[track_caller]
    pub fn fails(&self, code: i32, reason: &str) -> &Self {
        assert_eq!(self.stderr.lines().count(), 1, "{}: one line: {}", self.arguments, self.stderr);
        self.fails_after_log(code, reason)
    }

    /// Asserts that a server did not come to serve: as [`Ran::fails`], but that its log stands before the line.
    #[track_caller]
    pub fn fails_after_log(&self, code: i32, reason: &str) -> &Self {
        assert_eq!(self.code, Some(code), "{}: {}", self.arguments, self.stderr);
        let line = self.stderr.lines().last().unwrap_or_default();
        assert!(line.starts_with(&format!("{reason}: ")), "{}: {line}", self.arguments);
        assert!(line.rsplit_once("; ").is_some_and(|(_, advice)| !advice.is_empty()), "no advice: {line}");
        self
    }
}

/// A server in a process of its own; killed when it is dropped.
pub struct ServerProcess {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
    /// The fingerprint of its vault key.
    pub vault_key: Fingerprint,
    /// Its line of readiness.
    pub line: String,
    said: Arc<Mutex<Vec<u8>>>,
}

impl ServerProcess {
    /// What it wrote to standard error so far.
    pub fn stderr(&self) -> String {
        text(&self.said)
    }

    /// What it says on its port for metrics, where `[metrics]` has it listen.
    pub fn metrics(&self) -> String {
        let said = self.stderr();
        let address = said.split("metrics address=").nth(1).and_then(|rest| rest.split_whitespace().next());
        let address: SocketAddr = address.expect("it listens for metrics").parse().unwrap();
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        write!(stream, "GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as a power cut would: SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Ends it as an operator would, SIGTERM, and waits for it.
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// Has it stand still, as a machine that hangs: SIGSTOP.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Goes on after [`ServerProcess::pause`].
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for it to end by itself, as one does that fails on purpose.
    pub fn wait(&mut self) -> ExitStatus {
        wait(&mut self.child, &["serve"])
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn wait(child: &mut Child, arguments: &[&str]) -> ExitStatus {
    // There is no wait with a time-out in std; polling a child of one's own costs nothing.
    let until = std::time::Instant::now() + PATIENCE;
    loop {
        match child.try_wait().unwrap() {
            Some(status) => return status,
            None if std::time::Instant::now() > until => {
                let _ = child.kill();
                panic!("{} did not end", arguments.join(" "));
            }
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    }
}

/// Reads everything, in a thread: a pipe that nobody reads stops its writer.
pub(crate) fn gather(mut from: impl Read + Send + 'static) -> (Arc<Mutex<Vec<u8>>>, JoinHandle<()>) {
    let bytes = Arc::new(Mutex::new(Vec::new()));
    let into = bytes.clone();
    let reading = std::thread::spawn(move || {
        let mut buffer = [0; 65536];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            into.lock().unwrap().extend_from_slice(&buffer[..count]);
        }
    });
    (bytes, reading)
}

fn lines(from: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            // Who listened for the first line alone is gone by now; the pipe must be read all the same.
            let _ = sender.send(line);
        }
    });
    receiver
}

pub(crate) fn text(bytes: &Mutex<Vec<u8>>) -> String {
    String::from_utf8_lossy(&bytes.lock().unwrap()).into_owned()
}
