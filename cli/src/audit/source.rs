//! Where a ledger is read: from the vault, or from a folder that `audit export` wrote. Both come to the same answers.

use std::convert::Infallible;
use std::fs;
use std::path::PathBuf;
use std::str::FromStr;

use strongroom_core::audit::exposure::{ExposureError, Fold, Question};
use strongroom_core::audit::report::Report;
use strongroom_core::audit::roster::Roster;
use strongroom_core::ids::{Index, Millis};
use strongroom_core::ledger::entry::peek_event;
use strongroom_core::ledger::verify::{Expected, LogFinding, check_log, walk_log};
use strongroom_core::ledger::{Entry, Event, Private};
use strongroom_core::names::TenantName;
use strongroom_core::reason::Reason;

use super::exported::Exported;
use crate::args::Globals;
use crate::exit::{Failure, Outcome};
use crate::progress::Progress;

/// A tenant's ledger in the vault, or its export: `acme`, `./acme-ledger/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// In the vault.
    Tenant(TenantName),
    /// In a folder.
    Folder(PathBuf),
}

impl FromStr for Source {
    type Err = Infallible;

    /// Whatever has a `/` in it, or is no tenant's name, is a folder.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        match text.parse() {
            Ok(tenant) if !text.contains('/') => Ok(Self::Tenant(tenant)),
            _ => Ok(Self::Folder(text.into())),
        }
    }
}

impl Source {
    /// The answer; grants are told as they stand at `now`.
    ///
    /// # Errors
    /// The caller is no admin of the tenant; the folder holds no ledger; there is no such vendor.
    pub(crate) fn report(&self, globals: &Globals, question: Question, now: Millis) -> Outcome<Report> {
        match self {
            Self::Tenant(tenant) => globals.with_vault(async |vault| Ok(vault.report(tenant, question, now).await?)),
            Self::Folder(folder) => offline(globals, folder, question, now),
        }
    }
}

/// Of a folder: first its form is checked, signature, hashes and files, while the orders are read; then the rest.
fn offline(globals: &Globals, folder: &PathBuf, question: Question, now: Millis) -> Outcome<Report> {
    if let Err(error) = fs::read_dir(folder) {
        return Err(Failure::file(folder, &error));
    }
    let failure = |finding: LogFinding<std::io::Error>| match finding {
        LogFinding::Read { path, error } => Failure::file(&folder.join(path), &error),
        LogFinding::List(error) => Failure::file(folder, &error),
        finding => {
            let advice = "export it again; if that says the same, keep both and ask the vault's operator";
            Failure::new(Reason::Integrity, finding.to_string(), advice)
        }
    };
    let mut files = Exported::at(folder);
    let bar = Progress::of(globals, "checking", 0, "entries");
    let mut roster = Roster::default();
    let mut broken = None;
    let checked = check_log(
        &mut files,
        &Expected::default(),
        |done, of| bar.set(done, of),
        |_, public, private| {
            if broken.is_none() && is_one_of(public, &Roster::EVENTS) {
                let fed = parsed(public, private).and_then(|(entry, private)| {
                    Ok(roster.feed(&entry, private.as_ref()).map_err(|e| e.to_string())?)
                });
                broken = fed.err();
            }
            Ok(())
        },
    );
    let (checkpoint, ..) = checked.map_err(failure)?;
    drop(bar);
    broken.map_or(Ok(()), |why| Err(no_ledger(why)))?;
    let mut fold = Fold::new(roster, question).map_err(not_answered)?;
    let bar = Progress::of(globals, "reading", checkpoint.size.0, "entries");
    let mut broken = None;
    let walked = walk_log(
        &mut files,
        checkpoint.size,
        |done, of| bar.set(done, of),
        |public, private| {
            if broken.is_none() && is_one_of(public, &Fold::EVENTS) {
                let fed = parsed(public, private).map_err(no_ledger);
                broken =
                    fed.and_then(|(entry, private)| fold.feed(&entry, private.as_ref()).map_err(not_answered)).err();
            }
        },
    );
    walked.map_err(failure)?;
    broken.map_or(Ok(()), Err)?;
    Ok(fold.report(Index(checkpoint.size.0), now))
}

fn is_one_of(public: &[u8], events: &[Event]) -> bool {
    peek_event(public).is_none_or(|event| events.iter().any(|known| known.name() == event))
}

fn parsed(public: &[u8], private: &[u8]) -> Result<(Entry, Option<Private>), String> {
    let entry = Entry::from_bytes(public).map_err(|error| error.to_string())?;
    let of_entry = |error: String| format!("entry {}: {error}", entry.index);
    if private.is_empty() {
        return Ok((entry, None));
    }
    if Private::hash(private) != entry.private {
        return Err(of_entry("its private part is not its own".to_owned()));
    }
    let private = Private::from_bytes(private).map_err(|error| of_entry(error.to_string()))?;
    Ok((entry, Some(private)))
}

fn no_ledger(why: String) -> Failure {
    Failure::new(Reason::Integrity, why, "verify it: strongroom audit verify DIR")
}

fn not_answered(error: ExposureError) -> Failure {
    match error {
        ExposureError::NoVendor(_) => {
            Failure::new(Reason::NotFound, error.to_string(), "strongroom vendor list TENANT names them")
        }
        ExposureError::Broken(..) => no_ledger(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slash_makes_a_folder() {
        let source = |text: &str| text.parse::<Source>().unwrap();
        assert_eq!(source("acme"), Source::Tenant("acme".parse().unwrap()));
        for folder in ["./acme", "acme/", "acme-ledger/", "/tmp/acme", ".", "..", "Acme"] {
            assert_eq!(source(folder), Source::Folder(folder.into()), "{folder}");
        }
    }
}
