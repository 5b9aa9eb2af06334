//! Plugins of age, small and real: one speaks the protocol, and hides a file's key behind a PIN; one never says anything.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use age::DecryptError;
use age_core::format::{FileKey, Stanza};

use crate::process::PATIENCE;

/// Its name: the program is `age-plugin-strongroomtest`.
pub const NAME: &str = "strongroomtest";
/// What it asks for before it opens anything.
pub const PIN: &str = "2468-1357-PIN-of-the-test";
/// A recipient of it.
pub const RECIPIENT: &str = "age1strongroomtest1qyqszqgtawgwz";
/// The name of one that hangs.
pub const HANGING: &str = "strongroomhangs";
/// A recipient of that.
pub const OF_HANGING: &str = "age1strongroomhangs1qyqszqg7lv3dh";
/// One that it refuses.
pub const REFUSED: &str = "age1strongroomtest1qgpqyqsccre2u";

/// Installs it into a folder; a `PATH` that has it.
pub fn install(folder: &Path) -> String {
    std::fs::create_dir_all(folder).unwrap();
    write(folder, NAME, &PROGRAM.replace("REFUSED", REFUSED).replace("THE_PIN", PIN));
    format!("{}:{}", folder.display(), std::env::var("PATH").unwrap())
}

fn write(folder: &Path, name: &str, text: &str) {
    // Under another name first: a program that runs cannot be written to.
    let (new, program) = (folder.join("new"), folder.join(format!("age-plugin-{name}")));
    std::fs::write(&new, text).unwrap();
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::rename(new, program).unwrap();
}

/// Plugins that never answered.
pub struct Hanging(PathBuf);

impl Hanging {
    /// Installs one of this name into a folder, in the place of whatever is there. It starts a process of its own, and waits for that.
    pub fn install(folder: &Path, name: &str) -> Self {
        let runs = folder.join(format!("{name}.runs"));
        let text = format!("#!/bin/sh\nsleep 1000 &\necho $$ $! >> {}\nwait\n", runs.display());
        write(folder, name, &text);
        Self(runs)
    }

    /// The processes of each run.
    pub fn runs(&self) -> Vec<[u32; 2]> {
        let text = std::fs::read_to_string(&self.0).unwrap_or_default();
        let numbers = |line: &str| -> Option<[u32; 2]> {
            let mut words = line.split(' ').map(|word| word.parse().ok());
            Some([words.next()??, words.next()??])
        };
        text.lines().filter_map(numbers).collect()
    }

    /// Waits until so many have run.
    ///
    /// # Panics
    /// If they never do.
    pub fn await_runs(&self, count: usize) {
        until("a plugin runs", || self.runs().len() >= count);
    }

    /// Waits until no process of these is left.
    ///
    /// # Panics
    /// If one stays.
    pub fn are_gone(&self) {
        until("the plugins are gone", || !self.runs().iter().flatten().any(|process| lives(*process)));
    }
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "this never came: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether a process runs. One that only waits to be noticed does not: where nobody looks after orphans, they stay so.
pub fn lives(process: u32) -> bool {
    let state = std::process::Command::new("ps").args(["-o", "stat=", "-p", &process.to_string()]).output().unwrap();
    let state = String::from_utf8_lossy(&state.stdout);
    !state.trim().is_empty() && !state.trim().starts_with('Z')
}

/// Opens what is sealed to the plugin, without it.
pub struct WithoutPlugin;

impl age::Identity for WithoutPlugin {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<FileKey, DecryptError>> {
        (stanza.tag == NAME).then(|| {
            FileKey::try_init_with_mut(|key| {
                if stanza.body.len() != key.len() {
                    return Err(DecryptError::InvalidHeader);
                }
                let hidden = stanza.body.iter().zip(7..);
                key.iter_mut().zip(hidden).for_each(|(byte, (hidden, mask))| *byte = hidden ^ mask);
                Ok(())
            })
        })
    }
}

/// The text of its identity.
pub fn identity() -> String {
    age::plugin::Identity::default_for_plugin(NAME).unwrap().to_string()
}

const PROGRAM: &str = r#"#!/usr/bin/env python3
import base64, sys
def read():
    line = sys.stdin.readline()
    if not line: sys.exit(1)
    args, body = line.split()[1:], ""
    while True:
        part = sys.stdin.readline().rstrip("\n")
        body += part
        if len(part) < 64: break
    return args, base64.b64decode(body + "=" * (-len(body) % 4))
def say(args, body=b""):
    text = base64.b64encode(body).decode().rstrip("=")
    lines = [text[at:at + 64] for at in range(0, len(text), 64)]
    if not lines or len(lines[-1]) == 64: lines.append("")
    sys.stdout.write("-> " + " ".join(args) + "\n" + "\n".join(lines) + "\n")
    sys.stdout.flush()
MASK = bytes(range(7, 7 + 16))
hide = lambda key: bytes(a ^ b for a, b in zip(key, MASK))
got = []
while True:
    args, body = read()
    if args[0] == "done": break
    got.append((args, body))
if sys.argv[1] == "--age-plugin=recipient-v1":
    to = [args[1] for args, body in got if args[0] == "add-recipient"]
    for args, body in got:
        if to == ["REFUSED"]:
            say(["error", "recipient", "0"], b"it is of\nno use")
            read()
            break
        if args[0] == "wrap-file-key":
            say(["recipient-stanza", "0", "strongroomtest"], hide(body))
            read()
elif sys.argv[1] == "--age-plugin=identity-v1":
    say(["request-secret"], b"PIN of the test")
    args, body = read()
    if args[0] == "ok" and body == b"THE_PIN":
        for args, body in got:
            if args[0] == "recipient-stanza" and args[2] == "strongroomtest":
                say(["file-key", args[1]], hide(body))
                read()
say(["done"])
"#;
