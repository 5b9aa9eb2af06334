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
use strongroom_core::ids::{Digest, Index, Millis};
use strongroom_core::ledger::checkpoint::{Checkpoint, MAX_NOTE, VerifierKey};
use strongroom_core::ledger::entry::peek_event;
use strongroom_core::ledger::log_keys::LogKeys;
use strongroom_core::ledger::proof::{BundleTree, Lacking, TileHashes, above, check_inclusion, inclusion};
use strongroom_core::ledger::tile::{Kind, Tile, TileError, WIDTH};
use strongroom_core::ledger::tree::leaf_hash;
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
            Ok(ledger.fold(question, size, Purpose::Answer).await?.report(size, now))
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

/// What a fold is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// An answer alone.
    Answer,
    /// The answer, and the entries that it stands on.
    Evidence,
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

    /// The fold of its first `size` entries.
    pub(crate) async fn fold(&mut self, question: Question, size: Index, purpose: Purpose) -> Outcome<Fold> {
        if let Self::Vault { vault, tenant } = self {
            return Ok(match purpose {
                Purpose::Answer => vault.folded(tenant, question, size).await?,
                Purpose::Evidence => vault.folded_for_evidence(tenant, question, size).await?,
            });
        }
        let mut roster = Roster::default();
        self.walk(size, &Roster::EVENTS, |entry| {
            roster.feed(&entry.entry, entry.private.as_ref()).map_err(|error| no_ledger(error.to_string()))
        })
        .await?;
        let mut fold = Fold::new(roster, question).map_err(not_answered)?;
        if matches!(purpose, Purpose::Evidence) {
            fold = fold.for_evidence();
        }
        self.walk(size, &Fold::EVENTS, |entry| fold.feed(&entry.entry, entry.private.as_ref()).map_err(not_answered))
            .await?;
        Ok(fold)
    }

    /// Shows entries by their indices, which are sorted and below the checkpoint's size, each with the proof that it is under it.
    pub(crate) async fn pick(
        &mut self,
        indices: Vec<Index>,
        checkpoint: &Checkpoint,
        mut each: impl FnMut(Shown<'_>, &[Digest]) -> Outcome,
    ) -> Outcome {
        match self {
            Self::Vault { vault, tenant } => {
                let mut picked = vault.picked(tenant, indices, checkpoint.clone());
                while let Some(found) = picked.try_next().await? {
                    let (public, secret) = (&found.public_bytes[..], &found.private_bytes[..]);
                    each(Shown { entry: found.entry, private: found.private, public, secret }, &found.proof)?;
                }
                Ok(())
            }
            Self::Folder(folder) => folder.pick(&indices, checkpoint, each),
        }
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

    fn pick(
        &mut self,
        indices: &[Index],
        checkpoint: &Checkpoint,
        mut each: impl FnMut(Shown<'_>, &[Digest]) -> Outcome,
    ) -> Outcome {
        let size = checkpoint.size.0;
        let bar = Progress::of(self.globals, "gathering", indices.len() as u64, "entries");
        let mut done = 0;
        let mut hashes = TileHashes::new(size);
        for part in indices.chunk_by(|one, next| one.0 / WIDTH == next.0 / WIDTH) {
            bar.set(done, indices.len() as u64);
            done += part.len() as u64;
            let number = part.first().map_or(0, |first| first.0 / WIDTH);
            let entries = Tile::of(Kind::Entries, number, size);
            let entries = entries.ok_or_else(|| no_ledger(format!("it has no bundle {number}")))?;
            let private = entries.beside(Kind::Private);
            let (public_bytes, private_bytes) = (self.tile(entries)?, self.tile(private)?);
            let wrong = |tile: Tile| move |error: TileError| no_ledger(format!("{tile}: {error}"));
            let publics = entries.parts(&public_bytes).map_err(wrong(entries))?;
            let privates = private.parts(&private_bytes).map_err(wrong(private))?;
            // The tree over the bundle is made of its entries: their tile need not be read.
            let leaves: Vec<Digest> = publics.iter().map(|public| leaf_hash(public)).collect();
            let tree = BundleTree::new(leaves);
            for index in part {
                let proof = loop {
                    let upper = match &tree {
                        Some(_) => above(&hashes, number, size),
                        None => inclusion(&hashes, index.0, size),
                    };
                    match upper {
                        Ok(upper) => break upper,
                        Err(Lacking(tile)) => {
                            let bytes = self.tile(tile)?;
                            hashes.insert(tile, &bytes).map_err(wrong(tile))?;
                        }
                    }
                };
                let place = usize::try_from(index.0 % WIDTH).unwrap_or_default();
                let mut whole = tree.as_ref().map(|tree| tree.siblings(place)).unwrap_or_default();
                whole.extend(proof);
                let missing = || no_ledger(format!("it has no entry {index}"));
                let (public, secret) = publics.get(place).zip(privates.get(place)).ok_or_else(missing)?;
                check_inclusion(leaf_hash(public), index.0, size, &checkpoint.root, &whole)
                    .map_err(|_| no_ledger(format!("entry {index} is not the one under the checkpoint")))?;
                let (entry, private) = parsed(public, secret).map_err(no_ledger)?;
                each(Shown { entry, private, public, secret }, &whole)?;
            }
        }
        Ok(())
    }

    fn tile(&mut self, tile: Tile) -> Outcome<Vec<u8>> {
        self.file(&tile.to_string(), tile.most())
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
