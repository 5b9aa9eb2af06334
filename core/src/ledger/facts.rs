//! Release facts: the releases of entries in a row by columns, so that a fold over many of them reads little.
//!
//! ```text
//! "SRF2" ‖ first entry ‖ actors ‖ sessions ‖ chains of grants ‖ sources ‖ requests ‖ count of releases
//!        ‖ indices ‖ times ‖ repeats ‖ actors ‖ sessions ‖ chains ‖ sources ‖ requests ‖ counts of objects    a column each, one value a release
//!        ‖ items ‖ puts ‖ ordinals ‖ first segments ‖ counts of segments ‖ bytes                              a column each, one value an object
//! ```
//!
//! Numbers are LEB128 with as few bytes as they take. They follow from the entries alone, and there is one encoding of them: an
//! auditor makes them again and compares. Of what is private they hold the address that a release went to.
//!
//! A fold over a ledger takes releases as [`Release`]s, whether they come as facts or as entries ([`Facts::of_entry`]): so both come to
//! the same.

mod columns;

use std::ops::Range;

use crate::ids::{GrantId, Index, Millis, RequestId, SessionId};
use crate::ledger::entry::{Actor, Entry, Event, ObjectRef, Private};
use crate::ledger::summary::SummaryError;

/// The releases of some entries in a row: of a bundle's, or of fewer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    first: Index,
    actors: Vec<Actor>,
    sessions: Vec<SessionId>,
    chains: Vec<Vec<GrantId>>,
    sources: Vec<String>,
    requests: Vec<RequestId>,
    rows: Vec<Row>,
    objects: Vec<ObjectFact>,
}

/// A release, by places in the lists; of what may be missing from 1, 0 where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    index: Index,
    time: Millis,
    repeat: bool,
    actor: usize,
    session: usize,
    chain: usize,
    source: usize,
    request: usize,
    objects: Range<usize>,
}

/// A release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Release<'a> {
    /// Its entry.
    pub index: Index,
    /// Its time.
    pub time: Millis,
    /// Whether the request had the keys already.
    pub repeat: bool,
    /// To whom.
    pub actor: &'a Actor,
    /// In which session.
    pub session: Option<SessionId>,
    /// The grants that it was charged to: the named one first, then those above it.
    pub grants: &'a [GrantId],
    /// The address that it went to, without the port; none if that was erased.
    pub source: Option<&'a str>,
    /// The caller's request.
    pub request: Option<RequestId>,
    /// What was released.
    pub objects: &'a [ObjectFact],
}

/// Segments of an object that were released.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObjectFact {
    /// The item of the call that asked for it.
    pub item: u32,
    /// The entry that put the object.
    pub put: Index,
    /// Its place in there.
    pub ordinal: u32,
    /// The first segment, and one past the last.
    pub segments: (u32, u32),
    /// Plaintext bytes of them.
    pub bytes: u64,
}

impl From<&ObjectRef> for ObjectFact {
    fn from(object: &ObjectRef) -> Self {
        let ObjectRef(item, put, ordinal, start, end, bytes) = *object;
        Self { item, put, ordinal, segments: (start, end), bytes }
    }
}

/// Bytes that are not those of facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the release facts of a bundle")]
pub struct NotFacts;

impl Facts {
    /// None yet, of entries the first of which is `first`.
    pub fn new(first: Index) -> Self {
        Self {
            first,
            actors: Vec::new(),
            sessions: Vec::new(),
            chains: Vec::new(),
            sources: Vec::new(),
            requests: Vec::new(),
            rows: Vec::new(),
            objects: Vec::new(),
        }
    }

    /// Of a bundle's entries, the first of which is `first`: each its public bytes and those of its private part, none if erased.
    ///
    /// # Errors
    /// [`SummaryError`] if they are no entries in a row.
    pub fn of<'a>(first: Index, entries: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> Result<Self, SummaryError> {
        let mut facts = Self::new(first);
        for (index, (public, private)) in (first.0..).map(Index).zip(entries) {
            let none = |error| SummaryError::Entry(index, error);
            let entry = Entry::from_bytes(public).map_err(none)?;
            if entry.index != index {
                return Err(SummaryError::Place(index));
            }
            let private = if private.is_empty() { None } else { Some(Private::from_bytes(private).map_err(none)?) };
            facts.add(&entry, private.as_ref().and_then(|private| private.source.as_deref()));
        }
        Ok(facts)
    }

    /// Of one entry, with its private part unless that was erased; none if it is no release.
    pub fn of_entry(entry: &Entry, private: Option<&Private>) -> Self {
        let mut facts = Self::new(entry.index);
        facts.add(entry, private.and_then(|private| private.source.as_deref()));
        facts
    }

    /// Adds an entry if it is a release, with the address and port of its private part. They come in their order.
    pub fn add(&mut self, entry: &Entry, source: Option<&str>) {
        if !matches!(entry.event, Event::Release | Event::ReleaseRepeat) {
            return;
        }
        let objects: Vec<ObjectFact> = entry.objects.iter().map(ObjectFact::from).collect();
        self.push(&Release {
            index: entry.index,
            time: entry.time,
            repeat: entry.event == Event::ReleaseRepeat,
            actor: &entry.actor,
            session: entry.session,
            grants: &entry.grants,
            source: source.map(without_port),
            request: entry.request,
            objects: &objects,
        });
    }

    /// Adds a release. They come in their order.
    pub fn push(&mut self, release: &Release<'_>) {
        let from = self.objects.len();
        self.objects.extend_from_slice(release.objects);
        let chain = (!release.grants.is_empty()).then_some(release.grants);
        self.rows.push(Row {
            index: release.index,
            time: release.time,
            repeat: release.repeat,
            actor: place(&mut self.actors, release.actor, Clone::clone),
            session: release.session.map_or(0, |session| 1 + place(&mut self.sessions, &session, |session| *session)),
            chain: chain.map_or(0, |chain| 1 + place(&mut self.chains, chain, <[GrantId]>::to_vec)),
            source: release.source.map_or(0, |source| 1 + place(&mut self.sources, source, str::to_owned)),
            request: release.request.map_or(0, |request| 1 + place(&mut self.requests, &request, |request| *request)),
            objects: from..self.objects.len(),
        });
    }

    /// The first of the entries.
    pub fn first(&self) -> Index {
        self.first
    }

    /// Whether there is no release.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// How many releases there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// The releases, in the order of their entries.
    pub fn releases(&self) -> impl Iterator<Item = Release<'_>> {
        self.rows.iter().map(|row| Release {
            index: row.index,
            time: row.time,
            repeat: row.repeat,
            // All places are of what is there: that was looked at as they were read.
            actor: &self.actors[row.actor],
            session: listed(&self.sessions, row.session).copied(),
            grants: listed(&self.chains, row.chain).map_or(&[], Vec::as_slice),
            source: listed(&self.sources, row.source).map(String::as_str),
            request: listed(&self.requests, row.request).copied(),
            objects: &self.objects[row.objects.clone()],
        })
    }

    /// Those of which `is_wanted` says so of who did it: asked for each actor and chain of grants once.
    #[must_use]
    pub fn only(self, is_wanted: impl Fn(&Actor, &[GrantId]) -> bool) -> Self {
        let width = self.chains.len() + 1;
        let mut known: Vec<Option<bool>> = vec![None; self.actors.len() * width];
        let mut kept = Self::new(self.first);
        let mut left_out = false;
        for (row, release) in self.rows.iter().zip(self.releases()) {
            let known = &mut known[row.actor * width + row.chain];
            match *known.get_or_insert_with(|| is_wanted(release.actor, release.grants)) {
                true => kept.push(&release),
                false => left_out = true,
            }
        }
        if left_out { kept } else { self }
    }

    /// Those of entries from `from` on and before `to`.
    #[must_use]
    pub fn between(self, from: Index, to: Index) -> Self {
        let is_within = |index: Index| (from..to).contains(&index);
        if self.rows.iter().all(|row| is_within(row.index)) {
            return self;
        }
        let mut kept = Self::new(self.first);
        self.releases().filter(|release| is_within(release.index)).for_each(|release| kept.push(&release));
        kept
    }
}

/// The address of an `address:port`.
fn without_port(source: &str) -> &str {
    let address = source.rsplit_once(':').map_or(source, |(address, _)| address);
    address.strip_prefix('[').and_then(|address| address.strip_suffix(']')).unwrap_or(address)
}

/// The place of a value in a list, which it is added to if it is not there.
fn place<T: std::borrow::Borrow<B>, B: PartialEq + ?Sized>(
    all: &mut Vec<T>,
    value: &B,
    own: impl Fn(&B) -> T,
) -> usize {
    // There are 256 releases at most, and most often one is like the last.
    let is_it = |there: &T| there.borrow() == value;
    all.iter().rposition(is_it).unwrap_or_else(|| {
        all.push(own(value));
        all.len() - 1
    })
}

/// What a place from 1 is of.
fn listed<T>(all: &[T], place: usize) -> Option<&T> {
    place.checked_sub(1).map(|at| &all[at])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::identity::Fingerprint;
    use crate::ids::VendorId;
    use crate::ledger::entry::Role;

    /// Steps of index and time, who, and what.
    type Told = (u64, u64, Actor, Option<u8>, Vec<u8>, (Option<String>, bool, Option<u8>), Vec<ObjectFact>);

    fn release() -> impl Strategy<Value = Told> {
        let role = prop_oneof![
            Just(Role::Admin),
            Just(Role::Key),
            Just(Role::Operator),
            (0_u8..3).prop_map(|at| Role::Vendor(VendorId::from_bytes([at; 16])))
        ];
        let object = (0_u32..1024, 0_u64..1 << 40, 0_u32..512, 0_u32..1 << 28, 1_u32..1025, 0_u64..1 << 27);
        let object = object.prop_map(|(item, put, ordinal, start, length, bytes)| ObjectFact {
            item,
            put: Index(put),
            ordinal,
            segments: (start, start + length),
            bytes,
        });
        let actor = (role, 0_u8..4).prop_map(|(role, key)| Actor { role, key: Fingerprint::from_bytes([key; 32]) });
        let what = (proptest::option::of("[0-9a-f:.]{1,39}"), any::<bool>(), proptest::option::of(0_u8..9));
        let (session, grants) = (proptest::option::of(0_u8..4), proptest::collection::vec(0_u8..9, 0..8));
        (1_u64..2, 0_u64..10_000, actor, session, grants, what, proptest::collection::vec(object, 1..9))
    }

    fn facts(told: &[Told]) -> Facts {
        let (mut index, mut time) = (256, 1_700_000_000_000);
        let mut facts = Facts::new(Index(256));
        for (step, wait, actor, session, grants, (source, repeat, request), objects) in told {
            index += step;
            time += wait;
            let grants: Vec<GrantId> = grants.iter().map(|grant| GrantId::from_bytes([*grant; 16])).collect();
            facts.push(&Release {
                index: Index(index),
                time: Millis(time),
                repeat: *repeat,
                actor,
                session: session.map(|session| SessionId::from_bytes([session; 32])),
                grants: &grants,
                source: source.as_deref(),
                request: request.map(|request| RequestId::from_bytes([request; 16])),
                objects,
            });
        }
        facts
    }

    proptest! {
        #[test]
        fn facts_are_read_as_they_were_written(told in proptest::collection::vec(release(), 0..40), cut in 0_usize..4000, bit in 0_u8..8) {
            let facts = facts(&told);
            let bytes = facts.bytes();
            prop_assert_eq!(Facts::from_bytes(&bytes), Ok(facts.clone()));
            prop_assert_eq!(Facts::read(&bytes), Ok(facts.clone()));
            let at = cut % bytes.len();
            prop_assert_eq!(Facts::from_bytes(&bytes[..at]), Err(NotFacts));
            let mut changed = bytes.clone();
            changed[at] ^= 1 << bit;
            // One encoding of everything: what is read of other bytes is something else.
            prop_assert_ne!(Facts::from_bytes(&changed), Ok(facts));
            // Of known writers too, nothing panics.
            if let Ok(other) = Facts::read(&changed) {
                prop_assert_eq!(other.releases().count(), other.len());
            }
        }

        #[test]
        fn what_is_wanted_is_kept_as_if_it_were_alone(told in proptest::collection::vec(release(), 0..40), key in 0_u8..4, grant in 0_u8..9) {
            let (key, grant) = (Fingerprint::from_bytes([key; 32]), GrantId::from_bytes([grant; 16]));
            let is_wanted = |actor: &Actor, grants: &[GrantId]| actor.key == key || grants.contains(&grant);
            let facts = facts(&told);
            let mut alone = Facts::new(facts.first());
            facts.releases().filter(|release| is_wanted(release.actor, release.grants)).for_each(|release| alone.push(&release));
            prop_assert_eq!(facts.only(is_wanted), alone);
        }
    }

    #[test]
    fn addresses_have_no_port() {
        assert_eq!(without_port("192.0.2.7:5000"), "192.0.2.7");
        assert_eq!(without_port("[2001:db8::1]:5000"), "2001:db8::1");
        assert_eq!(without_port("somewhere"), "somewhere");
    }
}
