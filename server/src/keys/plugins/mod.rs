//! Plugins of age: programs of somebody else's (`age-plugin-NAME`) that wrap or open the key of one age message.
//!
//! ```text
//! this process ─ job ─► this program once more, at the head of a group of its own ─ age's protocol ─► age-plugin-NAME ─► …
//!              ◄─ lines ─                                    └───────── ends as a whole, after `patience` at the latest ─────────┘
//! ```
//!
//! A plugin may wait for a touch, or for ever, and `age` runs it where nobody can end it. So a process of its own does that, and whoever
//! asked ends that process with all that it started: when the answer is there, or when time is over. What travels is the
//! key of one age message and what wraps it; the secret in the message stays here.
//!
//! Invariants:
//! - A plugin, and what it started in its group, does not outlive its job, nor whoever asked.
//! - What it says is bounded, and whoever asked waits no longer than they said.

mod asking;
mod job;
mod runner;

use std::cell::RefCell;
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use age::plugin::{IdentityPluginV1, ResolveError};
use age::{DecryptError, EncryptError};
use age_core::format::{FileKey, Stanza};

use self::job::{Hidden, Job, Said};
use super::root::Secret;

pub use self::runner::run;

/// The word by which this program runs one plugin for another process of it.
pub const WORD: &str = "run-age-plugin";
/// How long a plugin may take if nothing else is said: a person finds a token and touches it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The program that answers to [`WORD`].
static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// Says that this process's own program answers to [`WORD`] by [`run`]. Where nobody said so, no plugin is run.
pub fn are_run_by_this_program() {
    // By this name it is the same program still when its file was replaced by a newer one.
    let running = PathBuf::from("/proc/self/exe");
    if let Some(program) = running.exists().then_some(running).or_else(|| std::env::current_exe().ok()) {
        let _ = PROGRAM.set(program);
    }
}

/// Why a plugin did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    /// There is no such program.
    #[error("{0} is not on the server's PATH")]
    Missing(String),
    /// It took too long, and was ended.
    #[error("{program} did not answer within {} s and was ended", .patience.as_secs())]
    Late {
        /// The program.
        program: String,
        /// How long it was waited for.
        patience: Duration,
    },
    /// It said no, in its words.
    #[error("{0}")]
    Refused(String),
    /// It, or what runs it, failed: not for those to read who are far away.
    #[error("{0}")]
    Broken(String),
}

/// A plugin that is there.
pub(crate) struct Plugin {
    name: String,
    patience: Duration,
}

impl Plugin {
    /// The plugin of this name, which may take so long each time.
    ///
    /// # Errors
    /// [`Trouble::Missing`] if there is none.
    pub(crate) fn find(name: &str, patience: Duration) -> Result<Self, Trouble> {
        match IdentityPluginV1::new(name, &[], age::NoCallbacks) {
            Ok(_) => Ok(Self { name: name.to_owned(), patience }),
            Err(ResolveError::MissingPlugin { binary_name }) => Err(Trouble::Missing(binary_name)),
            Err(error) => Err(Trouble::Refused(one_line(&error.to_string()))),
        }
    }

    /// The name of its program.
    pub(crate) fn program(&self) -> String {
        format!("age-plugin-{}", self.name)
    }

    /// What seals to a recipient of it.
    pub(crate) fn recipient<'a>(&'a self, text: &'a str) -> AskedToWrap<'a> {
        AskedToWrap { plugin: self, to: text, is_identity: false, trouble: RefCell::default() }
    }

    /// What seals so that this identity of it opens.
    pub(crate) fn recipient_of<'a>(&'a self, identity: &'a str) -> AskedToWrap<'a> {
        AskedToWrap { is_identity: true, to: identity, ..self.recipient("") }
    }

    /// What opens with this identity of it; with the secret, should it ask for one.
    pub(crate) fn identity<'a>(&'a self, text: &'a str, secret: Option<&'a Secret>) -> AskedToOpen<'a> {
        AskedToOpen { plugin: self, identity: text, secret, trouble: RefCell::default() }
    }

    fn ask(&self, job: &Job) -> Result<Said, Trouble> {
        asking::ask(&self.program(), job, self.patience)
    }
}

/// A recipient, to `age`.
pub(crate) struct AskedToWrap<'a> {
    plugin: &'a Plugin,
    to: &'a str,
    is_identity: bool,
    trouble: RefCell<Option<Trouble>>,
}

impl AskedToWrap<'_> {
    /// What was in the way, after `age` said that something was.
    pub(crate) fn trouble(&self, error: &EncryptError) -> Trouble {
        self.trouble.take().unwrap_or_else(|| Trouble::Broken(one_line(&error.to_string())))
    }
}

impl age::Recipient for AskedToWrap<'_> {
    fn wrap_file_key(&self, file_key: &FileKey) -> Result<(Vec<Stanza>, HashSet<String>), EncryptError> {
        let (plugin, to, is_identity) = (self.plugin.name.clone(), Hidden::from(self.to), self.is_identity);
        let job = Job::Wrap { plugin, to, is_identity, file_key: job::hide(file_key) };
        let why = match self.plugin.ask(&job) {
            Ok(Said::Wrapped { stanzas, labels }) => match stanzas.into_iter().map(Stanza::try_from).collect() {
                Ok(stanzas) => return Ok((stanzas, labels.into_iter().collect())),
                Err(why) => Trouble::Broken(why),
            },
            Ok(_) => Trouble::Broken(format!("{} answers something else", self.plugin.program())),
            Err(trouble) => trouble,
        };
        let error = std::io::Error::other(why.to_string());
        self.trouble.replace(Some(why));
        Err(error.into())
    }
}

/// An identity, to `age`.
pub(crate) struct AskedToOpen<'a> {
    plugin: &'a Plugin,
    identity: &'a str,
    secret: Option<&'a Secret>,
    trouble: RefCell<Option<Trouble>>,
}

impl AskedToOpen<'_> {
    /// What was in the way, after `age` said that something was.
    pub(crate) fn trouble(&self, error: &DecryptError) -> Trouble {
        self.trouble.take().unwrap_or_else(|| Trouble::Refused(one_line(&error.to_string())))
    }
}

impl age::Identity for AskedToOpen<'_> {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<FileKey, DecryptError>> {
        self.unwrap_stanzas(std::slice::from_ref(stanza))
    }

    fn unwrap_stanzas(&self, stanzas: &[Stanza]) -> Option<Result<FileKey, DecryptError>> {
        let job = Job::Open {
            plugin: self.plugin.name.clone(),
            identity: Hidden::from(self.identity),
            stanzas: stanzas.iter().map(job::Stanza::from).collect(),
            secret: self.secret.map(|secret| Hidden::from(secret.as_str())),
        };
        let why = match self.plugin.ask(&job) {
            Ok(Said::Opened { file_key }) => match job::show(&file_key) {
                Some(key) => return Some(Ok(key)),
                None => Trouble::Broken(format!("{} gives something that is no file's key", self.plugin.program())),
            },
            Ok(Said::NotItsOwn) => return None,
            Ok(_) => Trouble::Broken(format!("{} answers something else", self.plugin.program())),
            Err(trouble) => trouble,
        };
        let error = std::io::Error::other(why.to_string());
        self.trouble.replace(Some(why));
        Some(Err(error.into()))
    }
}

/// At most 200 characters of a text, in one line.
pub(super) fn one_line(text: &str) -> String {
    let words = text.split(|char: char| char.is_whitespace() || char.is_control()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ").chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_plugin_says_is_one_line() {
        assert_eq!(one_line("a\n\tb\u{1b}c"), "a b c");
        assert_eq!(one_line(&"x".repeat(300)).len(), 200);
    }

    #[test]
    fn one_that_is_not_there_is_named() {
        let missing = Plugin::find("strongroom-none", PATIENCE).err().unwrap();
        assert_eq!(missing.to_string(), "age-plugin-strongroom-none is not on the server's PATH");
        assert!(matches!(Plugin::find("../evil", PATIENCE).err(), Some(Trouble::Refused(_))));
    }
}
