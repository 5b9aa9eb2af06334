//! A person at a terminal: the command has one for its standard input and error, and what it asks there is answered by hand.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use rustix::fs::OFlags;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::process::{Binary, PATIENCE, Ran, gather, text, wait};

impl Binary {
    /// Runs the command in `folder` at a terminal, to its end. When it has said `question` there, `line` is typed.
    ///
    /// # Panics
    /// If it never asks that.
    pub fn run_at_terminal(self, folder: &Path, arguments: &[&str], question: &str, line: &str) -> Ran {
        let person = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&person).unwrap();
        unlockpt(&person).unwrap();
        let name = ptsname(&person, Vec::new()).unwrap().into_string().unwrap();
        let flags = OFlags::NOCTTY.bits().cast_signed();
        let terminal = OpenOptions::new().read(true).write(true).custom_flags(flags).open(name).unwrap();

        let mut command = self.command(folder);
        command.args(arguments).stdout(Stdio::piped());
        command.stdin(terminal.try_clone().unwrap()).stderr(terminal);
        let mut child = command.spawn().unwrap();
        // The command alone has it now: it ends with the command.
        drop(command);
        let (stdout, reading) = gather(child.stdout.take().unwrap());
        let mut person = File::from(person);
        let (shown, watching) = gather(person.try_clone().unwrap());
        let until = Instant::now() + PATIENCE;
        while !text(&shown).contains(question) {
            assert!(Instant::now() < until, "it never asks {question:?}: {}", text(&shown));
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        writeln!(person, "{line}").unwrap();
        let status = wait(&mut child, arguments);
        reading.join().unwrap();
        watching.join().unwrap();
        let stdout = std::mem::take(&mut *stdout.lock().unwrap());
        Ran { arguments: arguments.join(" "), code: status.code(), stdout, stderr: text(&shown) }
    }
}
