//! What folds take of an export, out of the one reading in which it is checked: kept in temporary files, since there may be much.
//!
//! Orders are told before all else, so they have a file of their own. In the other, facts of releases alternate with entries, bundle by
//! bundle.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};

use strongroom_core::ids::Index;
use strongroom_core::ledger::extract::{Extract, Needs};
use strongroom_core::ledger::facts::Facts;
use strongroom_core::ledger::summary::SummaryError;

/// What was taken of one bundle.
pub(super) struct Part {
    /// The facts of its releases; empty if there are none.
    facts: Vec<u8>,
    orders: Entries,
    others: Entries,
}

/// Entries, each with its private part.
type Entries = Vec<(Vec<u8>, Vec<u8>)>;

impl Part {
    /// Of a bundle's entries, the first of which is `first`.
    ///
    /// # Errors
    /// They are no entries in a row.
    pub(super) fn of(
        first: Index,
        entries: &[(&[u8], &[u8])],
        orders: &Needs,
        others: &Needs,
    ) -> Result<Self, SummaryError> {
        let owned = |extract: &Extract<'_>| {
            extract.entries.iter().map(|(public, private)| (public.to_vec(), private.to_vec())).collect()
        };
        let found = Extract::of(first, entries.iter().copied(), others)?;
        let orders = Extract::without_releases(first, entries.iter().copied(), orders)?;
        let facts = if found.facts.is_empty() { Vec::new() } else { found.facts.bytes() };
        Ok(Self { facts, orders: owned(&orders), others: owned(&found) })
    }
}

/// Where it is written.
pub(super) struct Taking {
    orders: BufWriter<File>,
    rest: BufWriter<File>,
}

impl Taking {
    /// # Errors
    /// There is no room for temporary files.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { orders: BufWriter::new(tempfile::tempfile()?), rest: BufWriter::new(tempfile::tempfile()?) })
    }

    /// Adds what was taken of the next bundle.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn add(&mut self, part: &Part) -> io::Result<()> {
        put_entries(&mut self.orders, &part.orders)?;
        if part.facts.is_empty() && part.others.is_empty() {
            return Ok(());
        }
        put(&mut self.rest, &part.facts)?;
        self.rest.write_all(&(part.others.len() as u32).to_le_bytes())?;
        put_entries(&mut self.rest, &part.others)
    }

    /// All of it.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn finish(self) -> io::Result<Taken> {
        let whole = |file: BufWriter<File>| file.into_inner().map_err(io::IntoInnerError::into_error);
        Ok(Taken { orders: whole(self.orders)?, rest: whole(self.rest)? })
    }
}

/// What was taken.
pub(super) struct Taken {
    orders: File,
    rest: File,
}

/// Entries of a bundle, with the facts of its releases.
pub(super) struct Bundle {
    pub(super) facts: Option<Facts>,
    pub(super) entries: Entries,
}

impl Taken {
    /// The orders, one after the other.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn orders(&self) -> io::Result<impl Iterator<Item = io::Result<(Vec<u8>, Vec<u8>)>>> {
        let mut file = whole(&self.orders)?;
        Ok(std::iter::from_fn(move || match next(&mut file) {
            Ok(None) => None,
            Ok(Some(public)) => Some(take(&mut file).map(|private| (public, private))),
            Err(error) => Some(Err(error)),
        }))
    }

    /// The rest, bundle by bundle.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn rest(&self) -> io::Result<impl Iterator<Item = io::Result<Bundle>>> {
        let mut file = whole(&self.rest)?;
        Ok(std::iter::from_fn(move || match next(&mut file) {
            Ok(None) => None,
            Ok(Some(facts)) => Some(bundle(&mut file, &facts)),
            Err(error) => Some(Err(error)),
        }))
    }
}

fn bundle(file: &mut impl Read, facts: &[u8]) -> io::Result<Bundle> {
    let mut count = [0; 4];
    file.read_exact(&mut count)?;
    let entries = (0..u32::from_le_bytes(count)).map(|_| Ok((take(file)?, take(file)?)));
    let entries = entries.collect::<io::Result<_>>()?;
    let facts = match facts.is_empty() {
        true => None,
        false => Some(Facts::read(facts).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?),
    };
    Ok(Bundle { facts, entries })
}

fn whole(mut file: &File) -> io::Result<BufReader<&File>> {
    file.rewind()?;
    Ok(BufReader::with_capacity(256 * 1024, file))
}

fn put(file: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    file.write_all(&length.to_le_bytes())?;
    file.write_all(bytes)
}

fn put_entries(file: &mut impl Write, entries: &Entries) -> io::Result<()> {
    entries.iter().try_for_each(|(public, private)| put(file, public).and_then(|()| put(file, private)))
}

/// The next piece; none at the end.
fn next(file: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut first = [0];
    if file.read(&mut first)? == 0 {
        return Ok(None);
    }
    let mut rest = [0; 3];
    file.read_exact(&mut rest)?;
    piece(file, [first[0], rest[0], rest[1], rest[2]]).map(Some)
}

fn take(file: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    file.read_exact(&mut length)?;
    piece(file, length)
}

fn piece(file: &mut impl Read, length: [u8; 4]) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; u32::from_le_bytes(length) as usize];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}
