//! Release facts: the releases of a bundle's entries by columns, so that a fold over many of them reads little.
//!
//! ```text
//! "SRF1" ‖ first entry ‖ actors ‖ sessions ‖ chains of grants ‖ sources ‖ count of releases
//!        ‖ indices ‖ times ‖ repeats ‖ actors ‖ sessions ‖ chains ‖ sources ‖ counts of objects        a column each, one value a release
//!        ‖ puts ‖ ordinals ‖ first segments ‖ counts of segments ‖ bytes                               a column each, one value an object
//! ```
//!
//! Numbers are LEB128 with as few bytes as they take. They follow from the entries alone, and there is one encoding of them: an
//! auditor makes them again and compares. Of what is private they hold the address that a release went to.

use crate::identity::Fingerprint;
use crate::ids::{GrantId, Index, Millis, SessionId, VendorId};
use crate::ledger::entry::{Actor, Entry, Event, MAX_OBJECTS, Private, Role};
use crate::ledger::summary::SummaryError;
use crate::ledger::tile::WIDTH;

const MAGIC: &[u8; 4] = b"SRF1";
/// The longest chain of grants that is read, and the longest address.
const MAX_CHAIN: u64 = 64;
const MAX_SOURCE: u64 = 256;

/// The releases of the entries of one bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The bundle's first entry.
    pub first: Index,
    /// In the order of their entries.
    pub releases: Vec<ReleaseFact>,
}

/// A release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseFact {
    /// Its entry.
    pub index: Index,
    /// Its time.
    pub time: Millis,
    /// Whether the request had the keys already.
    pub repeat: bool,
    /// To whom.
    pub actor: Actor,
    /// In which session.
    pub session: Option<SessionId>,
    /// The grants that it was charged to.
    pub grants: Vec<GrantId>,
    /// The address that it went to, without the port; none if that was erased.
    pub source: Option<String>,
    /// What was released.
    pub objects: Vec<ObjectFact>,
}

/// Segments of an object that were released.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObjectFact {
    /// The entry that put the object.
    pub put: Index,
    /// Its place in there.
    pub ordinal: u32,
    /// The first segment, and one past the last.
    pub segments: (u32, u32),
    /// Plaintext bytes of them.
    pub bytes: u64,
}

/// Bytes that are not those of facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the release facts of a bundle")]
pub struct NotFacts;

impl Facts {
    /// Of a bundle's entries, the first of which is `first`: each its public bytes and those of its private part, none if erased.
    ///
    /// # Errors
    /// [`SummaryError`] if they are no entries in a row.
    pub fn of<'a>(first: Index, entries: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> Result<Self, SummaryError> {
        let mut releases = Vec::new();
        for (index, (public, private)) in (first.0..).map(Index).zip(entries) {
            let none = |error| SummaryError::Entry(index, error);
            let entry = Entry::from_bytes(public).map_err(none)?;
            if entry.index != index {
                return Err(SummaryError::Place(index));
            }
            if !matches!(entry.event, Event::Release | Event::ReleaseRepeat) {
                continue;
            }
            let private = if private.is_empty() { None } else { Some(Private::from_bytes(private).map_err(none)?) };
            let source = private.and_then(|private| private.source).map(|source| without_port(&source).to_owned());
            let object = |object: &crate::ledger::ObjectRef| ObjectFact {
                put: object.1,
                ordinal: object.2,
                segments: (object.3, object.4),
                bytes: object.5,
            };
            releases.push(ReleaseFact {
                index,
                time: entry.time,
                repeat: entry.event == Event::ReleaseRepeat,
                actor: entry.actor,
                session: entry.session,
                objects: entry.objects.iter().map(object).collect(),
                grants: entry.grants,
                source,
            });
        }
        Ok(Self { first, releases })
    }

    /// As they are kept.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        put(&mut out, self.first.0);
        let (mut actors, mut sessions, mut chains, mut sources) = <(Vec<_>, Vec<_>, Vec<_>, Vec<_>)>::default();
        let mut of_release = Vec::with_capacity(self.releases.len());
        for release in &self.releases {
            let actor = place(&mut actors, &release.actor);
            let session = release.session.as_ref().map_or(0, |session| 1 + place(&mut sessions, session));
            let chain = if release.grants.is_empty() { 0 } else { 1 + place(&mut chains, &release.grants) };
            let source = release.source.as_ref().map_or(0, |source| 1 + place(&mut sources, source));
            of_release.push([actor, session, chain, source]);
        }
        put(&mut out, actors.len() as u64);
        for actor in &actors {
            out.extend_from_slice(actor.key.as_bytes());
            match actor.role {
                Role::Operator => out.push(0),
                Role::Admin => out.push(1),
                Role::Key => out.push(2),
                Role::Vendor(vendor) => {
                    out.push(3);
                    out.extend_from_slice(vendor.as_bytes());
                }
            }
        }
        put(&mut out, sessions.len() as u64);
        sessions.iter().for_each(|session| out.extend_from_slice(session.as_bytes()));
        put(&mut out, chains.len() as u64);
        for chain in &chains {
            put(&mut out, chain.len() as u64);
            chain.iter().for_each(|grant| out.extend_from_slice(grant.as_bytes()));
        }
        put(&mut out, sources.len() as u64);
        for source in &sources {
            put(&mut out, source.len() as u64);
            out.extend_from_slice(source.as_bytes());
        }
        put(&mut out, self.releases.len() as u64);
        let mut last = self.first.0;
        for release in &self.releases {
            put(&mut out, release.index.0 - last);
            last = release.index.0;
        }
        let mut last = 0;
        for release in &self.releases {
            put(&mut out, release.time.0 - last);
            last = release.time.0;
        }
        out.extend(self.releases.iter().map(|release| u8::from(release.repeat)));
        for column in 0..4 {
            of_release.iter().for_each(|places| put(&mut out, places[column]));
        }
        self.releases.iter().for_each(|release| put(&mut out, release.objects.len() as u64));
        let objects = || self.releases.iter().flat_map(|release| &release.objects);
        objects().for_each(|object| put(&mut out, object.put.0));
        objects().for_each(|object| put(&mut out, object.ordinal.into()));
        objects().for_each(|object| put(&mut out, object.segments.0.into()));
        objects().for_each(|object| put(&mut out, u64::from(object.segments.1 - object.segments.0)));
        objects().for_each(|object| put(&mut out, object.bytes));
        out
    }

    /// Reads what [`Facts::bytes`] wrote.
    ///
    /// # Errors
    /// [`NotFacts`] if it is something else, or written in another way.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, NotFacts> {
        let facts = Reader(bytes).facts()?;
        if facts.bytes() == bytes { Ok(facts) } else { Err(NotFacts) }
    }
}

/// The address of an `address:port`.
fn without_port(source: &str) -> &str {
    let address = source.rsplit_once(':').map_or(source, |(address, _)| address);
    address.strip_prefix('[').and_then(|address| address.strip_suffix(']')).unwrap_or(address)
}

/// The place of a value in a list, which it is added to if it is not there.
fn place<T: Clone + PartialEq>(all: &mut Vec<T>, value: &T) -> u64 {
    // There are 256 releases at most.
    let at = all.iter().position(|there| there == value).unwrap_or_else(|| {
        all.push(value.clone());
        all.len() - 1
    });
    at as u64
}

fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], NotFacts> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(NotFacts)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn number(&mut self) -> Result<u64, NotFacts> {
        let mut number = 0;
        for shift in (0..63).step_by(7) {
            let [byte] = self.take()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(NotFacts)
    }

    /// A number of things, at most `most`.
    fn count(&mut self, most: u64) -> Result<usize, NotFacts> {
        let count = self.number()?;
        if count > most { Err(NotFacts) } else { usize::try_from(count).map_err(|_| NotFacts) }
    }

    fn column(&mut self, count: usize) -> Result<Vec<u64>, NotFacts> {
        (0..count).map(|_| self.number()).collect()
    }

    fn facts(mut self) -> Result<Facts, NotFacts> {
        if self.take()? != *MAGIC {
            return Err(NotFacts);
        }
        let first = self.number()?;
        let mut actors = Vec::new();
        for _ in 0..self.count(WIDTH)? {
            let key = Fingerprint::from_bytes(self.take()?);
            let role = match self.take()? {
                [0] => Role::Operator,
                [1] => Role::Admin,
                [2] => Role::Key,
                [3] => Role::Vendor(VendorId::from_bytes(self.take()?)),
                _ => return Err(NotFacts),
            };
            actors.push(Actor { role, key });
        }
        let sessions = (0..self.count(WIDTH)?).map(|_| Ok(SessionId::from_bytes(self.take()?)));
        let sessions = sessions.collect::<Result<Vec<_>, NotFacts>>()?;
        let mut chains = Vec::new();
        for _ in 0..self.count(WIDTH)? {
            let chain = (0..self.count(MAX_CHAIN)?).map(|_| Ok(GrantId::from_bytes(self.take()?)));
            chains.push(chain.collect::<Result<Vec<_>, NotFacts>>()?);
        }
        let mut sources = Vec::new();
        for _ in 0..self.count(WIDTH)? {
            let length = self.count(MAX_SOURCE)?;
            let (source, rest) = self.0.split_at_checked(length).ok_or(NotFacts)?;
            self.0 = rest;
            sources.push(String::from_utf8(source.to_vec()).map_err(|_| NotFacts)?);
        }
        let count = self.count(WIDTH)?;
        let (indices, times) = (self.column(count)?, self.column(count)?);
        let repeats = (0..count).map(|_| self.take::<1>()).collect::<Result<Vec<_>, _>>()?;
        let (of_actor, of_session) = (self.column(count)?, self.column(count)?);
        let (of_chain, of_source) = (self.column(count)?, self.column(count)?);
        let counts = (0..count).map(|_| self.count(MAX_OBJECTS as u64)).collect::<Result<Vec<_>, _>>()?;
        let all = counts.iter().sum();
        // Each object takes five bytes at least: no memory is taken for what cannot be there.
        if all > self.0.len() / 5 {
            return Err(NotFacts);
        }
        let (puts, ordinals, starts) = (self.column(all)?, self.column(all)?, self.column(all)?);
        let (lengths, sizes) = (self.column(all)?, self.column(all)?);
        if !self.0.is_empty() {
            return Err(NotFacts);
        }
        let small = |number: u64| u32::try_from(number).map_err(|_| NotFacts);
        let (mut index, mut time, mut at) = (first, 0_u64, 0);
        let mut releases = Vec::with_capacity(count);
        for release in 0..count {
            index = index.checked_add(indices[release]).ok_or(NotFacts)?;
            time = time.checked_add(times[release]).ok_or(NotFacts)?;
            let mut objects = Vec::with_capacity(counts[release]);
            for object in at..at + counts[release] {
                let start = small(starts[object])?;
                let end = start.checked_add(small(lengths[object])?).ok_or(NotFacts)?;
                let (put, ordinal) = (Index(puts[object]), small(ordinals[object])?);
                objects.push(ObjectFact { put, ordinal, segments: (start, end), bytes: sizes[object] });
            }
            at += counts[release];
            releases.push(ReleaseFact {
                index: Index(index),
                time: Millis(time),
                repeat: match repeats[release] {
                    [0] => false,
                    [1] => true,
                    _ => return Err(NotFacts),
                },
                actor: some(&actors, of_actor[release].checked_add(1))?.ok_or(NotFacts)?,
                session: some(&sessions, Some(of_session[release]))?,
                grants: some(&chains, Some(of_chain[release]))?.unwrap_or_default(),
                source: some(&sources, Some(of_source[release]))?,
                objects,
            });
        }
        Ok(Facts { first: Index(first), releases })
    }
}

/// What a place is of: nothing for 0.
fn some<T: Clone>(all: &[T], place: Option<u64>) -> Result<Option<T>, NotFacts> {
    match place.ok_or(NotFacts)? {
        0 => Ok(None),
        place => {
            let at = usize::try_from(place - 1).map_err(|_| NotFacts)?;
            all.get(at).cloned().map(Some).ok_or(NotFacts)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn release() -> impl Strategy<Value = ReleaseFact> {
        let role = prop_oneof![
            Just(Role::Admin),
            Just(Role::Key),
            Just(Role::Operator),
            (0_u8..3).prop_map(|at| Role::Vendor(VendorId::from_bytes([at; 16])))
        ];
        let object = (0_u64..1 << 40, 0_u32..512, 0_u32..1 << 28, 1_u32..1025, 0_u64..1 << 27);
        let object = object.prop_map(|(put, ordinal, start, length, bytes)| ObjectFact {
            put: Index(put),
            ordinal,
            segments: (start, start + length),
            bytes,
        });
        let who = (role, 0_u8..4, proptest::option::of(0_u8..4), proptest::collection::vec(0_u8..9, 0..8));
        let what = (proptest::option::of("[0-9a-f:.]{1,39}"), any::<bool>(), proptest::collection::vec(object, 1..9));
        let steps = (1_u64..2, 0_u64..10_000);
        (who, what, steps).prop_map(|((role, key, session, grants), (source, repeat, objects), (step, wait))| {
            ReleaseFact {
                index: Index(step),
                time: Millis(wait),
                repeat,
                actor: Actor { role, key: Fingerprint::from_bytes([key; 32]) },
                session: session.map(|session| SessionId::from_bytes([session; 32])),
                grants: grants.into_iter().map(|grant| GrantId::from_bytes([grant; 16])).collect(),
                source,
                objects,
            }
        })
    }

    proptest! {
        #[test]
        fn facts_are_read_as_they_were_written(mut releases in proptest::collection::vec(release(), 0..40), cut in 0_usize..4000, bit in 0_u8..8) {
            let (mut index, mut time) = (256, 1_700_000_000_000);
            for release in &mut releases {
                index += release.index.0;
                time += release.time.0;
                (release.index, release.time) = (Index(index), Millis(time));
            }
            let facts = Facts { first: Index(256), releases };
            let bytes = facts.bytes();
            prop_assert_eq!(Facts::from_bytes(&bytes), Ok(facts.clone()));
            let at = cut % bytes.len();
            prop_assert_eq!(Facts::from_bytes(&bytes[..at]), Err(NotFacts));
            let mut changed = bytes.clone();
            changed[at] ^= 1 << bit;
            // One encoding of everything: what is read of other bytes is something else.
            prop_assert_ne!(Facts::from_bytes(&changed), Ok(facts));
        }
    }

    #[test]
    fn addresses_have_no_port() {
        assert_eq!(without_port("192.0.2.7:5000"), "192.0.2.7");
        assert_eq!(without_port("[2001:db8::1]:5000"), "2001:db8::1");
        assert_eq!(without_port("somewhere"), "somewhere");
    }
}
