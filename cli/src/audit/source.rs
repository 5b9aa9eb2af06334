//! Where a ledger is read: from the vault, or from a folder that `audit export` wrote. Both come to the same answers.

use std::convert::Infallible;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use futures::TryStreamExt;
use strongroom_client::Vault;
use strongroom_client::audit::Query;
use strongroom_client::log::Cover;
use strongroom_core::audit::exposure::{ExposureError, Fold, Question};
use strongroom_core::audit::report::Report;
use strongroom_core::audit::roster::Roster;
use strongroom_core::ids::{Index, Millis};
use strongroom_core::ledger::checkpoint::{Checkpoint, MAX_NOTE, VerifierKey};
use strongroom_core::ledger::entry::peek_event;
use strongroom_core::ledger::log_keys::LogKeys;
use strongroom_core::ledger::tile::Tile;
use strongroom_core::ledger::verify::{CHECKPOINT, Expected, LogFiles, LogFinding, check_log, walk_log};
use strongroom_core::ledger::{Entry, Event, Private};
use strongroom_core::names::TenantName;
use strongroom_core::reason::Reason;

use super::exported::Exported;
use crate::args::Globals;
use crate::connection::block_on;
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
        self.read(globals, async |ledger| {
            let size = ledger.size().await?;
            Ok(ledger.fold(question, size).await?.report(size, now))
        })
    }

    /// Does something with the ledger.
    ///
    /// # Errors
    /// What came in the way.
    pub(crate) fn read<T>(
        &self,
        globals: &Globals,
        work: impl AsyncFnOnce(&mut Ledger<'_>) -> Outcome<T>,
    ) -> Outcome<T> {
        match self {
            Self::Tenant(tenant) => {
                globals.with_vault(async |vault| work(&mut Ledger::Vault { vault, tenant: tenant.clone() }).await)
            }
            Self::Folder(path) => {
                let mut ledger = Ledger::folder(path, globals)?;
                block_on(async { work(&mut ledger).await })
            }
        }
    }
}

/// A ledger that is read, more than once and up to one size.
pub(crate) enum Ledger<'a> {
    /// As the vault tells it.
    Vault {
        /// Who is asked.
        vault: &'a Vault,
        /// Whose ledger.
        tenant: TenantName,
    },
    /// As it lies in a folder.
    Folder(Folder<'a>),
}

/// An export.
pub(crate) struct Folder<'a> {
    path: PathBuf,
    files: Exported,
    globals: &'a Globals,
}

/// A checkpoint, the key that signed it, and the signed note.
pub(crate) struct Signed {
    pub(crate) checkpoint: Checkpoint,
    pub(crate) key: VerifierKey,
    /// All keys of the log.
    pub(crate) keys: LogKeys,
    pub(crate) note: Vec<u8>,
}

impl<'a> Ledger<'a> {
    /// The one in a folder.
    ///
    /// # Errors
    /// There is no such folder.
    pub(crate) fn folder(path: &Path, globals: &'a Globals) -> Outcome<Self> {
        if let Err(error) = fs::read_dir(path) {
            return Err(Failure::file(path, &error));
        }
        Ok(Self::Folder(Folder { path: path.to_owned(), files: Exported::at(path), globals }))
    }

    /// How many entries it has; an export's form is checked for it: signature, hashes and files.
    pub(crate) async fn size(&mut self) -> Outcome<Index> {
        match self {
            Self::Vault { vault, tenant } => Ok(vault.ledger_size(tenant).await?),
            Self::Folder(folder) => folder.check(),
        }
    }

    /// The fold of its first `size` entries, with what evidence is made of.
    pub(crate) async fn fold(&mut self, question: Question, size: Index) -> Outcome<Fold> {
        if let Self::Vault { vault, tenant } = self {
            return Ok(vault.folded(tenant, question, size).await?);
        }
        let mut roster = Roster::default();
        self.walk(size, &Roster::EVENTS, |entry| {
            roster.feed(&entry.entry, entry.private.as_ref()).map_err(|error| no_ledger(error.to_string()))
        })
        .await?;
        let mut fold = Fold::new(roster, question).map_err(not_answered)?.for_evidence();
        self.walk(size, &Fold::EVENTS, |entry| fold.feed(&entry.entry, entry.private.as_ref()).map_err(not_answered))
            .await?;
        Ok(fold)
    }

    /// Shows its first `size` entries, those with one of these events, in their order; all if none is named.
    pub(crate) async fn walk(
        &mut self,
        size: Index,
        events: &[Event],
        mut each: impl FnMut(Shown<'_>) -> Outcome,
    ) -> Outcome {
        match self {
            Self::Vault { vault, tenant } => {
                let query = Query { to: Some(size), events: events.to_vec(), ..Query::default() };
                let mut lines = vault.query(tenant, query);
                while let Some(line) = lines.try_next().await? {
                    let (public, secret) = (&line.public_bytes[..], &line.private_bytes[..]);
                    each(Shown { entry: line.entry, private: line.private, public, secret })?;
                }
                Ok(())
            }
            Self::Folder(folder) => folder.walk(size, events, each),
        }
    }

    /// Its checkpoint, of at least `size` entries.
    pub(crate) async fn checkpoint(&mut self, size: Index) -> Outcome<Signed> {
        match self {
            Self::Vault { vault, tenant } => {
                let found = vault.checkpoint(tenant, Cover::Entries(size)).await?;
                Ok(Signed { checkpoint: found.checkpoint, key: found.key, keys: found.keys, note: found.note.to_vec() })
            }
            Self::Folder(folder) => folder.checkpoint(),
        }
    }

    /// Some of its tiles.
    pub(crate) async fn tiles(&mut self, tiles: Vec<Tile>) -> Outcome<Vec<(Tile, Vec<u8>)>> {
        match self {
            Self::Vault { vault, tenant } => {
                let files = vault.log_files(tenant, tiles).map_ok(|(tile, bytes)| (tile, bytes.to_vec()));
                Ok(files.try_collect().await?)
            }
            Self::Folder(folder) => {
                tiles.into_iter().map(|tile| Ok((tile, folder.file(&tile.to_string(), tile.most())?))).collect()
            }
        }
    }
}

/// An entry as it is shown: read, and as it lies there.
pub(crate) struct Shown<'a> {
    pub(crate) entry: Entry,
    pub(crate) private: Option<Private>,
    pub(crate) public: &'a [u8],
    /// The private part's exact bytes; empty if it was erased.
    pub(crate) secret: &'a [u8],
}

impl Folder<'_> {
    fn check(&mut self) -> Outcome<Index> {
        let bar = Progress::of(self.globals, "checking", 0, "entries");
        let checked = check_log(&mut self.files, &Expected::default(), |done, of| bar.set(done, of), |_, _, _| Ok(()));
        let (checkpoint, ..) = checked.map_err(|finding| found(&self.path, finding))?;
        Ok(checkpoint.size)
    }

    fn walk(&mut self, size: Index, events: &[Event], mut each: impl FnMut(Shown<'_>) -> Outcome) -> Outcome {
        let bar = Progress::of(self.globals, "reading", size.0, "entries");
        let mut done = Ok(());
        let walked = walk_log(
            &mut self.files,
            size,
            |done, of| bar.set(done, of),
            |public, secret| {
                if done.is_ok() && is_one_of(public, events) {
                    done = parsed(public, secret)
                        .map_err(no_ledger)
                        .and_then(|(entry, private)| each(Shown { entry, private, public, secret }));
                }
            },
        );
        walked.map_err(|finding| found(&self.path, finding))?;
        done
    }

    fn checkpoint(&mut self) -> Outcome<Signed> {
        let note = self.file(CHECKPOINT, MAX_NOTE as u64)?;
        let keys = self.file(strongroom_core::ledger::verify::LOG_KEYS, MAX_NOTE as u64)?;
        let keys = String::from_utf8_lossy(&keys).parse::<LogKeys>();
        let keys = keys.map_err(|error| no_ledger(error.to_string()))?;
        let (checkpoint, key) = keys.open(&note).map_err(|error| no_ledger(error.to_string()))?;
        Ok(Signed { checkpoint, key, keys, note })
    }

    fn file(&mut self, name: &str, most: u64) -> Outcome<Vec<u8>> {
        let path = self.path.join(name);
        let bytes = self.files.read(name, most).map_err(|error| Failure::file(&path, &error))?;
        bytes.ok_or_else(|| Failure::file(&path, &io::Error::from(io::ErrorKind::NotFound)))
    }
}

fn found(folder: &Path, finding: LogFinding<io::Error>) -> Failure {
    match finding {
        LogFinding::Read { path, error } => Failure::file(&folder.join(path), &error),
        LogFinding::List(error) => Failure::file(folder, &error),
        finding => {
            let advice = "export it again; if that says the same, keep both and ask the vault's operator";
            Failure::new(Reason::Integrity, finding.to_string(), advice)
        }
    }
}

fn is_one_of(public: &[u8], events: &[Event]) -> bool {
    events.is_empty() || peek_event(public).is_none_or(|event| events.iter().any(|known| known.name() == event))
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
