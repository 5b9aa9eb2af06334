//! A ledger in a folder that `audit export` wrote.
//!
//! It is checked before anything in it is told, and read once for both: bundle by bundle, on all cores
//! ([`strongroom_core::ledger::outline`]); what a fold takes is kept meanwhile ([`super::taken`]).

use std::io;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use strongroom_core::audit::evidence::Selection;
use strongroom_core::audit::exposure::{ExposureError, Fold};
use strongroom_core::ids::{Digest, Index};
use strongroom_core::ledger::checkpoint::{Checkpoint, MAX_NOTE};
use strongroom_core::ledger::entry::peek_event;
use strongroom_core::ledger::extract::Needs;
use strongroom_core::ledger::facts::Facts;
use strongroom_core::ledger::log_keys::LogKeys;
use strongroom_core::ledger::outline::{BundleFiles, Outline};
use strongroom_core::ledger::proof::{BundleTree, Lacking, TileHashes, above, check_inclusion, inclusion};
use strongroom_core::ledger::tile::{Kind, Tile, TileError, WIDTH};
use strongroom_core::ledger::tree::leaf_hash;
use strongroom_core::ledger::verify::{CHECKPOINT, LOG_KEYS, LogFiles, LogFinding, walk_log};
use strongroom_core::ledger::{Entry, Event, Private};
use strongroom_core::reason::Reason;

use super::taken::{Bundle, Part, Taken, Taking};
use super::{Shown, Signed};
use crate::audit::exported::Exported;
use crate::exit::{Failure, Outcome};
use crate::globals::Globals;
use crate::progress::Progress;

/// Bundles that are checked before what was taken of them is written: memory holds that of so many.
const ROUND: usize = 32;

/// An export.
pub(crate) struct Folder<'a> {
    path: PathBuf,
    files: Exported,
    globals: &'a Globals,
    /// What folds take of it, once it was checked.
    taken: Option<Taken>,
}

impl<'a> Folder<'a> {
    /// The one at this path.
    pub(super) fn at(path: &Path, globals: &'a Globals) -> Self {
        Self { path: path.to_owned(), files: Exported::at(path), globals, taken: None }
    }
}

impl Folder<'_> {
    /// Checks the log's form: signature, hashes and files, on all cores; says how many entries it has. Where a fold follows, what it
    /// needs is taken meanwhile.
    pub(super) fn check(&mut self, takes: bool) -> Outcome<Index> {
        let outline = Outline::read(&mut self.files).map_err(|finding| found(&self.path, finding))?;
        let size = outline.checkpoint().size;
        let bar = Progress::of(self.globals, "checking", size.0, "entries");
        let failed = |error: io::Error| Failure::stdio(&error);
        let needs = Taker::new(takes);
        let mut taking = Taking::new().map_err(failed)?;
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        let bundles: Vec<Tile> = outline.bundles().collect();
        for (round, bundles) in (0..).zip(bundles.chunks(ROUND)) {
            bar.set(round * ROUND as u64 * WIDTH, size.0);
            let next = AtomicUsize::new(0);
            let parts: Vec<OnceLock<Outcome<Option<Part>>>> = bundles.iter().map(|_| OnceLock::new()).collect();
            std::thread::scope(|scope| {
                for _ in 0..cores {
                    scope.spawn(|| {
                        let mut files = Exported::at(&self.path);
                        while let Some(at) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|at| *at < bundles.len())
                        {
                            let part = needs.bundle(&self.path, &mut files, &outline, bundles[at]);
                            // Nobody else has this place.
                            let _ = parts[at].set(part);
                        }
                    });
                }
            });
            for part in parts.into_iter().filter_map(OnceLock::into_inner) {
                if let Some(part) = part? {
                    taking.add(&part).map_err(failed)?;
                }
            }
        }
        if takes {
            self.taken = Some(taking.finish().map_err(failed)?);
        }
        Ok(size)
    }

    /// Shows the orders, of which a roster is made.
    pub(super) fn orders(&mut self, mut each: impl FnMut(Shown<'_>) -> Outcome) -> Outcome {
        for order in self.taken()?.orders().map_err(|error| Failure::stdio(&error))? {
            let (public, secret) = order.map_err(|error| Failure::stdio(&error))?;
            let (entry, private) = parsed(&public, &secret).map_err(no_ledger)?;
            each(Shown { entry, private, public: &public, secret: &secret })?;
        }
        Ok(())
    }

    /// Shows what a fold needs: see [`super::Ledger::extract`].
    pub(super) fn extract(
        &mut self,
        needs: &Needs,
        mut each: impl FnMut(&Facts, &[(Entry, Option<Private>)]) -> Outcome,
    ) -> Outcome {
        let is_needed = |public: &[u8]| {
            let is_one_of = |event: &str| needs.events.iter().chain(&needs.own).any(|known| known.name() == event);
            peek_event(public).is_none_or(is_one_of)
        };
        for bundle in self.taken()?.rest().map_err(|error| Failure::stdio(&error))? {
            let Bundle { facts, entries } = bundle.map_err(|error| match error.kind() {
                io::ErrorKind::InvalidData => no_ledger("it has releases that no ledger has".to_owned()),
                _ => Failure::stdio(&error),
            })?;
            let facts = facts.map(|facts| match &needs.doers {
                Some(doers) => facts.only(|actor, grants| doers.did(actor, grants)),
                None => facts,
            });
            let facts = facts.unwrap_or(Facts::new(Index(0)));
            let entries = entries.iter().filter(|(public, _)| is_needed(public));
            let entries = entries.map(|(public, secret)| parsed(public, secret).map_err(no_ledger));
            let entries = entries.collect::<Outcome<Vec<_>>>()?;
            each(&facts, &entries)?;
        }
        Ok(())
    }

    fn taken(&mut self) -> Outcome<&Taken> {
        if self.taken.is_none() {
            self.check(true)?;
        }
        self.taken.as_ref().ok_or_else(|| no_ledger("nothing was read of it".to_owned()))
    }

    /// Shows its first `size` entries, those with one of these events; all if none is named.
    pub(super) fn walk(
        &mut self,
        size: Index,
        events: &[Event],
        mut each: impl FnMut(Shown<'_>) -> Outcome,
    ) -> Outcome {
        if !events.is_empty() && events.iter().all(|event| Selection::orders().contains(event)) && self.taken.is_some()
        {
            return self.orders(|shown| if is_one_of(shown.public, events) { each(shown) } else { Ok(()) });
        }
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

    /// Shows entries by their indices, each with its proof: see [`super::Ledger::pick`].
    pub(super) fn pick(
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

    /// Its checkpoint.
    pub(super) fn checkpoint(&mut self) -> Outcome<Signed> {
        let note = self.file(CHECKPOINT, MAX_NOTE as u64)?;
        let keys = self.file(LOG_KEYS, MAX_NOTE as u64)?;
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

/// What is taken of each bundle while it is checked.
struct Taker(Option<(Needs, Needs)>);

impl Taker {
    fn new(takes: bool) -> Self {
        // All that any fold may need: whom it is about, only the orders tell.
        let all = |events: Vec<Event>| Needs { events: events.into_iter().collect(), ..Needs::default() };
        let is_release = |event: &Event| matches!(event, Event::Release | Event::ReleaseRepeat);
        let others = Fold::EVENTS.into_iter().filter(|event| !is_release(event)).collect();
        Self(takes.then(|| (all(Selection::orders()), all(others))))
    }

    /// Reads and checks a bundle.
    fn bundle(&self, path: &Path, files: &mut Exported, outline: &Outline, entries: Tile) -> Outcome<Option<Part>> {
        let mut read = |kind: Kind| {
            let tile = entries.beside(kind);
            let name = tile.to_string();
            // One byte more, so that a longer file is not taken for one that fits.
            let finding = match files.read(&name, tile.most() + 1) {
                Ok(Some(bytes)) => return Ok(bytes),
                Ok(None) => LogFinding::Missing(name),
                Err(error) => LogFinding::Read { path: name, error },
            };
            Err(found(path, finding))
        };
        let (public, private, hashes) = (read(Kind::Entries)?, read(Kind::Private)?, read(Kind::Hashes(0))?);
        let files = BundleFiles { entries: &public, private: &private, hashes: &hashes };
        let all = outline.bundle(entries, files).map_err(|finding| found(path, finding))?;
        let Some((orders, others)) = &self.0 else { return Ok(None) };
        let part = Part::of(Index(entries.index() * WIDTH), &all, orders, others);
        part.map(Some).map_err(|error| no_ledger(error.to_string()))
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

pub(super) fn no_ledger(why: String) -> Failure {
    Failure::new(Reason::Integrity, why, "verify it: strongroom audit verify DIR")
}

pub(super) fn not_answered(error: ExposureError) -> Failure {
    match error {
        ExposureError::NoVendor(_) => {
            Failure::new(Reason::NotFound, error.to_string(), "strongroom vendor list TENANT names them")
        }
        ExposureError::Broken(..) => no_ledger(error.to_string()),
    }
}
