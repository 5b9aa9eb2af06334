//! How a command fails: one line on stderr, and an exit code that scripts can branch on.
//!
//! The line begins with a stable code and ends with what to do next. The exit codes are part of the interface:
//! 0 done, 1 other, 2 usage, 3 not found or precondition, 4 denied, 5 integrity, 6 unavailable.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use strongroom_core::reason::Reason;

use crate::printable::{note, printable};

/// What a command's `main` comes to.
pub type Outcome<T = ()> = Result<T, Failure>;

/// The kinds of failure that a script can tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// None of the others.
    Other = 1,
    /// The command was not understood.
    Usage = 2,
    /// Nothing there, or not as it must be.
    NotFound = 3,
    /// Refused.
    Denied = 4,
    /// Bytes do not fit their digest or signature.
    Integrity = 5,
    /// Nobody there, or not now.
    Unavailable = 6,
}

impl From<Reason> for Exit {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::InvalidName | Reason::InvalidArgument => Self::Usage,
            Reason::NotFound | Reason::Shredded | Reason::PreconditionFailed => Self::NotFound,
            Reason::Unauthenticated
            | Reason::KeyBlocked
            | Reason::VendorSuspended
            | Reason::GrantRevoked
            | Reason::GrantExpired
            | Reason::OutOfScope
            | Reason::QuotaExceeded
            | Reason::Frozen
            | Reason::NotNarrower => Self::Denied,
            Reason::Integrity | Reason::LedgerDiverged => Self::Integrity,
            Reason::Sealed
            | Reason::SessionUnknown
            | Reason::Clock
            | Reason::LedgerUnavailable
            | Reason::Unavailable => Self::Unavailable,
            Reason::TooLarge | Reason::Unsupported | Reason::Internal => Self::Other,
        }
    }
}

/// Why a command ends, in the four parts of its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The stable code: a [`Reason`]'s, `USAGE`, `IO`, `CANCELLED` or `INTERRUPTED`.
    pub code: Cow<'static, str>,
    /// The process's exit code.
    pub exit: Exit,
    /// What is wrong, in words.
    pub detail: String,
    /// What to do next.
    pub advice: Cow<'static, str>,
    /// Whether there is nothing to say: the reader of our output went away.
    silent: bool,
    /// A page to read before the line, for those who gave no verb at all.
    help: Option<String>,
}

impl Failure {
    /// A refusal or fault with a reason of the house.
    pub fn new(reason: Reason, detail: impl Into<String>, advice: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code: reason.code().into(),
            exit: reason.into(),
            detail: detail.into(),
            advice: advice.into(),
            silent: false,
            help: None,
        }
    }

    /// The command was understood, and does not make sense.
    pub fn usage(detail: impl Into<String>, advice: impl Into<Cow<'static, str>>) -> Self {
        Self { code: "USAGE".into(), exit: Exit::Usage, ..Self::new(Reason::InvalidArgument, detail, advice) }
    }

    /// A file of this machine could not be read or written.
    pub fn file(path: &Path, error: &io::Error) -> Self {
        let exit = if error.kind() == io::ErrorKind::NotFound { Exit::NotFound } else { Exit::Other };
        let detail = format!("{}: {error}", path.display());
        Self { code: "IO".into(), exit, ..Self::new(Reason::Internal, detail, "look at the path and its permissions") }
    }

    /// Standard input or output failed.
    pub fn stdio(error: &io::Error) -> Self {
        let silent = error.kind() == io::ErrorKind::BrokenPipe;
        let advice = "look at where the output goes";
        let failure = Self::new(Reason::Internal, format!("standard input or output: {error}"), advice);
        Self { code: "IO".into(), exit: Exit::Other, silent, ..failure }
    }

    /// The person at the terminal said no.
    pub fn cancelled() -> Self {
        let failure = Self::new(Reason::Internal, "nothing was done", "say y, or add --yes, to go ahead");
        Self { code: "CANCELLED".into(), ..failure }
    }

    /// The same, with what it is about in front.
    #[must_use]
    pub fn of(mut self, what: &str) -> Self {
        self.detail = format!("{what}: {}", self.detail);
        self
    }

    /// What came in the way of something, with its name in front.
    pub fn about(what: &impl fmt::Display) -> impl FnOnce(strongroom_client::Error) -> Self {
        move |error| Self::from(error).of(&what.to_string())
    }

    /// The same, with other advice where nothing by the name was found.
    #[must_use]
    pub fn if_not_found(mut self, advice: &'static str) -> Self {
        if self.code == Reason::NotFound.code() {
            self.advice = advice.into();
        }
        self
    }

    /// Ctrl-C, or a request to end.
    pub fn interrupted() -> Self {
        let advice = "run it again: what was finished stays, nothing is half done";
        let failure = Self::new(Reason::Internal, "interrupted before the end", advice);
        Self { code: "INTERRUPTED".into(), ..failure }
    }

    /// Writes the line and gives the exit code.
    pub fn report(&self) -> ExitCode {
        if self.silent {
            return ExitCode::SUCCESS;
        }
        self.help.iter().for_each(|help| note(help));
        note(&self.to_string());
        ExitCode::from(self.exit as u8)
    }
}

impl From<strongroom_client::Error> for Failure {
    fn from(error: strongroom_client::Error) -> Self {
        let request = error.request_id().map(|id| format!(" (request {id})")).unwrap_or_default();
        let resets = error.resets().map(|at| format!(", at {} UTC", crate::when::seconds(at))).unwrap_or_default();
        Self::new(error.reason(), format!("{}{resets}{request}", error.detail()), error.advice())
    }
}

impl From<strongroom_client::Failed> for Failure {
    fn from(failed: strongroom_client::Failed) -> Self {
        Self::from(failed.error).of(failed.path.as_str())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.code, printable(&self.detail), self.advice)
    }
}

impl std::error::Error for Failure {}

/// The one line for what clap has to say, or its help.
pub fn of_clap(error: &clap::Error) -> Result<String, Failure> {
    let text = error.render().to_string();
    if !error.use_stderr() {
        return Ok(text);
    }
    if error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return Err(Failure { help: Some(text), ..Failure::usage("a verb is missing", "choose one of those above") });
    }
    let mut parts = text.split("\n\n").map(|part| part.split_whitespace().collect::<Vec<_>>().join(" "));
    let detail = parts.next().unwrap_or_default();
    let usage = parts.find(|part| part.starts_with("Usage: "));
    let advice = match usage {
        Some(usage) => format!("{}; --help has examples", usage.replacen("Usage: ", "usage: ", 1)),
        None => "--help has examples".to_owned(),
    };
    Err(Failure::usage(detail.trim_start_matches("error: "), advice))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_exit_code() {
        let code = |reason: Reason| Exit::from(reason) as u8;
        for &reason in Reason::ALL {
            let expected = match reason.code() {
                "INVALID_NAME" | "INVALID_ARGUMENT" => 2,
                "NOT_FOUND" | "SHREDDED" | "PRECONDITION_FAILED" => 3,
                "UNAUTHENTICATED" | "KEY_BLOCKED" | "VENDOR_SUSPENDED" | "GRANT_REVOKED" | "GRANT_EXPIRED"
                | "OUT_OF_SCOPE" | "QUOTA_EXCEEDED" | "FROZEN" | "NOT_NARROWER" => 4,
                "INTEGRITY" | "LEDGER_DIVERGED" => 5,
                "SEALED" | "SESSION_UNKNOWN" | "CLOCK" | "LEDGER_UNAVAILABLE" | "UNAVAILABLE" => 6,
                "TOO_LARGE" | "UNSUPPORTED" | "INTERNAL" => 1,
                other => panic!("{other} has no exit code yet"),
            };
            assert_eq!(code(reason), expected, "{reason}");
        }
    }

    #[test]
    fn a_failure_is_one_line() {
        let failure = Failure::new(Reason::VendorSuspended, "the vendor\nis \u{1b}[31msuspended", "ask the lab");
        assert_eq!(failure.to_string(), "VENDOR_SUSPENDED: the vendor is \\u{1b}[31msuspended; ask the lab");
    }

    #[test]
    fn a_missing_file_is_not_found() {
        let error = io::Error::from(io::ErrorKind::NotFound);
        assert_eq!(Failure::file(Path::new("x"), &error).exit, Exit::NotFound);
        assert_eq!(Failure::file(Path::new("x"), &io::Error::other("full")).exit, Exit::Other);
    }
}
