//! A person at a shell who follows the documentation: its lines are run as they are written.
//!
//! What a page cannot know is filled in: `127.0.0.1:7443` is wherever the server of this shell listens, `SHA256:…` after
//! `--server-key` is its vault key, and any other `SHA256:…` is the fingerprint that the last login printed.

use std::path::Path;

use crate::process::{Binary, Ran, ServerProcess};

/// The address that documentation writes.
const ADDRESS: &str = "127.0.0.1:7443";
/// The fingerprint that documentation writes.
const FINGERPRINT: &str = "SHA256:…";

/// A shell in a folder of its own.
pub struct Shell {
    binary: Binary,
    folder: tempfile::TempDir,
    server: Option<ServerProcess>,
    fingerprint: Option<String>,
}

impl Shell {
    /// In an empty folder.
    pub fn new(binary: Binary) -> Self {
        Self { binary, folder: tempfile::tempdir().unwrap(), server: None, fingerprint: None }
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file into its folder.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.folder().join(name), bytes).unwrap();
    }

    /// The text of a file in its folder.
    #[track_caller]
    pub fn read(&self, name: &str) -> String {
        let file = self.folder().join(name);
        std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
    }

    /// The server that a line with `&` at its end started.
    pub fn server(&mut self) -> &mut ServerProcess {
        self.server.as_mut().expect("no line has started a server")
    }

    /// Runs one line of the command. One that ends with `&` is a server's: this returns when it is ready.
    #[track_caller]
    pub fn run(&mut self, line: &str) -> Ran {
        let words = self.fill_in(words(line));
        let (command, arguments) = words.split_first().expect("a line has words");
        assert_eq!(command, "strongroom", "{line}");
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        if let [arguments @ .., "&"] = &arguments[..] {
            return self.serve(arguments);
        }
        let ran = self.binary.run(self.folder(), &arguments);
        if arguments.contains(&"login") && ran.code == Some(0) {
            let printed = ran.text().split_whitespace().find(|word| word.starts_with("SHA256:"));
            self.fingerprint = Some(printed.expect("a login prints the fingerprint").to_owned());
        }
        ran
    }

    #[track_caller]
    fn serve(&mut self, arguments: &[&str]) -> Ran {
        let ["serve", vault, "--listen", ADDRESS] = arguments else { panic!("not a server's line: {arguments:?}") };
        let server = self.binary.serve(self.folder(), vault);
        let ran = Ran {
            arguments: arguments.join(" "),
            code: Some(0),
            stdout: server.line.clone().into(),
            stderr: String::new(),
        };
        self.server = Some(server);
        ran
    }

    fn fill_in(&self, mut words: Vec<String>) -> Vec<String> {
        let background = words.last().is_some_and(|word| word == "&");
        for at in 0..words.len() {
            if words[at] == ADDRESS && !background {
                words[at] = self.server.as_ref().expect("a server is ready").address.to_string();
            } else if words[at] == FINGERPRINT && words[at - 1] == "--server-key" {
                words[at] = self.server.as_ref().expect("a server is ready").vault_key.to_string();
            } else if words[at] == FINGERPRINT {
                words[at] = self.fingerprint.clone().expect("somebody has logged in");
            }
        }
        words
    }
}

/// The words of a line as a shell has them: quotes hold words together, and `#` begins a remark.
pub fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (at, part) in line.split(['\'', '"']).enumerate() {
        if at % 2 == 1 {
            words.push(part.to_owned());
            continue;
        }
        for word in part.split_whitespace() {
            if word.starts_with('#') {
                return words;
            }
            words.push(word.to_owned());
        }
    }
    words
}

/// A line of documentation with what it shows below it.
#[derive(Debug, PartialEq, Eq)]
pub struct Shown<'a> {
    /// The line, without the prompt.
    pub line: &'a str,
    /// The output that the page shows.
    pub output: Vec<&'a str>,
}

/// The sessions of a page of Markdown: each block of code whose first line is a line of the command, with a prompt (`$`) and the
/// output below it, or without either.
pub fn sessions(page: &str) -> Vec<Vec<Shown<'_>>> {
    let mut sessions = Vec::new();
    let mut block: Option<Vec<&str>> = None;
    for line in page.lines() {
        match (&mut block, line.starts_with("```")) {
            (None, true) => block = Some(Vec::new()),
            (None, false) => {}
            (Some(lines), false) => lines.push(line),
            (Some(lines), true) => {
                sessions.extend(session(lines));
                block = None;
            }
        }
    }
    sessions
}

fn session<'a>(lines: &[&'a str]) -> Option<Vec<Shown<'a>>> {
    let first = lines.first()?;
    let prompt = if first.starts_with("$ strongroom ") { "$ " } else { "" };
    if !first.starts_with(&format!("{prompt}strongroom ")) {
        return None;
    }
    let mut shown: Vec<Shown<'a>> = Vec::new();
    for line in lines {
        match (line.strip_prefix(prompt), prompt) {
            (Some(line), _) => shown.push(Shown { line, output: Vec::new() }),
            (None, _) => shown.last_mut()?.output.push(line),
        }
    }
    Some(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_as_a_shell_does() {
        assert_eq!(words("a --note \"incident 42\" 'x y' z  # why"), ["a", "--note", "incident 42", "x y", "z"]);
    }

    #[test]
    fn sessions_are_found_in_a_page() {
        let page = "text\n```sh\nstrongroom a\nstrongroom b &\n```\n```console\n$ strongroom c\nout\n$ strongroom d\n```\n\
                    ```toml\nx = 1\n```\n```console\n$ cargo test\n```\n";
        let found = sessions(page);
        let lines: Vec<Vec<&str>> = found.iter().map(|lines| lines.iter().map(|shown| shown.line).collect()).collect();
        assert_eq!(lines, [["strongroom a", "strongroom b &"], ["strongroom c", "strongroom d"]]);
        assert_eq!(found[1][0].output, ["out"]);
    }
}
