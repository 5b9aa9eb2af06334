//! A process that ends with whoever started it, also if that is killed, and takes its folder along.
//!
//! Nothing in a process that is killed runs any more, so a shell stands between: it waits for the end of its standard input,
//! which the kernel closes, and then ends the service.

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Starts `"$@"`, and ends it with the signal `$HOW` when its own input ends, or says a word. Without the word `keep`, what is in
/// `$FOLDER` goes too.
const WATCH: &str = r#"
"$@" &
service=$!
read -r word
kill -s "$HOW" "$service" 2>/dev/null
# One that stands still hears nothing.
kill -s CONT "$service" 2>/dev/null
wait "$service" 2>/dev/null
[ "$word" = keep ] || rm -rf "$FOLDER"
"#;

/// A service that runs.
pub struct Watched {
    shell: Child,
}

impl Watched {
    /// Starts a command, whose folder vanishes when it ends. `signal` is how it is ended (`QUIT`, `TERM`, `KILL`); `set` sets
    /// what the process is to have beside (variables, a user).
    ///
    /// # Panics
    /// If there is no shell to start it.
    pub fn start(folder: &Path, signal: &str, arguments: &[&str], set: impl FnOnce(&mut Command)) -> Self {
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(WATCH).arg("watched").args(arguments);
        command.env("HOW", signal).env("FOLDER", folder).stdin(Stdio::piped()).current_dir(folder);
        // A test run that is interrupted ends its services by the pipe, in order.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        set(&mut command);
        Self { shell: command.spawn().expect("a shell starts") }
    }

    /// Ends it and keeps its folder.
    pub fn end(mut self) {
        self.say("keep\n");
    }

    fn say(&mut self, word: &str) {
        if let Some(mut input) = self.shell.stdin.take() {
            // A shell that is gone has nothing to hear.
            let _ = input.write_all(word.as_bytes());
        }
        let _ = self.shell.wait();
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.say("");
    }
}
