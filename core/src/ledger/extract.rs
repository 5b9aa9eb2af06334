//! What a fold takes of a ledger: the entries of some events, and of releases their facts.
//!
//! Releases are most of a ledger, and a fold needs little of each. So they come as [`Facts`], of those who are asked about alone,
//! and all else as the entries that it is. Whoever has entries makes an extract of them with [`Extract::of`]; the vault keeps facts, and
//! makes it of those. Which entries lie in between makes no difference to a fold that says what it [`Needs`].

use std::collections::{BTreeSet, HashSet};

use crate::identity::Fingerprint;
use crate::ids::{GrantId, Index, VendorId};
use crate::ledger::entry::{Actor, Entry, Event, Private, Role, peek_event};
use crate::ledger::facts::{Facts, Release};
use crate::ledger::summary::SummaryError;
use crate::ledger::tile::WIDTH;

/// The most keys of [`Doers`]; whoever has more asks about everybody.
pub const MAX_KEYS: usize = 4096;
/// The most grants, likewise.
pub const MAX_GRANTS: usize = 65_536;
/// The most vendors, likewise.
pub const MAX_VENDORS: usize = 16;

/// Who did something: by key, as a vendor's, or under a grant. One of these is enough.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Doers {
    /// The actors' keys.
    pub keys: HashSet<Fingerprint>,
    /// Vendors in whose role they acted.
    pub vendors: HashSet<VendorId>,
    /// Grants that it was charged to.
    pub grants: HashSet<GrantId>,
}

impl Doers {
    /// Whether something was done by one of them.
    pub fn did(&self, actor: &Actor, grants: &[GrantId]) -> bool {
        self.keys.contains(&actor.key)
            || matches!(actor.role, Role::Vendor(vendor) if self.vendors.contains(&vendor))
            || grants.iter().any(|grant| self.grants.contains(grant))
    }

    /// Whether there are not too many to ask about.
    pub fn are_few(&self) -> bool {
        self.keys.len() <= MAX_KEYS && self.vendors.len() <= MAX_VENDORS && self.grants.len() <= MAX_GRANTS
    }
}

/// What a fold needs; of all else it makes no difference whether it sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs {
    /// Entries with these events.
    pub events: BTreeSet<Event>,
    /// Entries with these events that [`Needs::doers`] did.
    pub own: BTreeSet<Event>,
    /// Whose releases, and whose own entries; everybody's if none.
    pub doers: Option<Doers>,
}

impl Needs {
    fn is_about(&self, entry: &Entry) -> bool {
        self.doers.as_ref().is_none_or(|doers| doers.did(&entry.actor, &entry.grants))
    }
}

/// What a fold takes of entries in a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extract<'a> {
    /// The releases.
    pub facts: Facts,
    /// The entries, in their order: public and private bytes, none of those that were erased.
    pub entries: Vec<(&'a [u8], &'a [u8])>,
}

impl<'a> Extract<'a> {
    /// Of at most 256 entries, the first of which is `first`: each its public bytes and those of its private part, none if erased.
    /// That their bytes are exact, whoever has them knows already; that private parts are those of the releases beside them is checked.
    ///
    /// # Errors
    /// [`SummaryError`] if they are no entries in a row, or too many.
    pub fn of(
        first: Index,
        entries: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
        needs: &Needs,
    ) -> Result<Self, SummaryError> {
        Self::make(first, entries, needs, true)
    }

    /// As [`Extract::of`], where facts of the releases are there already.
    ///
    /// # Errors
    /// As [`Extract::of`].
    pub fn without_releases(
        first: Index,
        entries: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
        needs: &Needs,
    ) -> Result<Self, SummaryError> {
        Self::make(first, entries, needs, false)
    }

    fn make(
        first: Index,
        entries: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
        needs: &Needs,
        releases: bool,
    ) -> Result<Self, SummaryError> {
        let is_one_of = |events: &BTreeSet<Event>, name: &str| events.iter().any(|event| event.name() == name);
        let mut extract = Self { facts: Facts::new(first), entries: Vec::new() };
        for (index, (public, private)) in (first.0..).map(Index).zip(entries) {
            if index.0 - first.0 >= WIDTH {
                return Err(SummaryError::Place(index));
            }
            let read = || {
                let entry = Entry::read(public).map_err(|error| SummaryError::Entry(index, error))?;
                if entry.index == index { Ok(entry) } else { Err(SummaryError::Place(index)) }
            };
            // What does not begin as an entry is not passed over.
            let name = match peek_event(public) {
                Some(name) => name,
                None => read()?.event.name(),
            };
            if name == Event::Release.name() || name == Event::ReleaseRepeat.name() {
                if !releases {
                    continue;
                }
                let entry = read()?;
                if needs.is_about(&entry) {
                    extract.release(&entry, private)?;
                }
            } else if is_one_of(&needs.events, name) || (is_one_of(&needs.own, name) && needs.is_about(&read()?)) {
                extract.entries.push((public, private));
            }
        }
        Ok(extract)
    }

    fn release(&mut self, entry: &Entry, private: &[u8]) -> Result<(), SummaryError> {
        if private.is_empty() {
            self.facts.add(entry, None);
            return Ok(());
        }
        if Private::hash(private) != entry.private {
            return Err(SummaryError::Private(entry.index));
        }
        let source = Private::source_in(private).map_err(|error| SummaryError::Entry(entry.index, error))?;
        self.facts.add(entry, source.as_deref());
        Ok(())
    }

    /// Whether there is nothing to take.
    pub fn is_empty(&self) -> bool {
        self.facts.is_empty() && self.entries.is_empty()
    }
}

/// What stands at one place of a ledger, as a fold takes it.
#[derive(Debug)]
pub enum Step<'a> {
    /// A release.
    Release(Release<'a>),
    /// An entry that is none, with its private part unless that was erased.
    Entry(&'a Entry, Option<&'a Private>),
}

/// Releases and entries, each in their order, in the order of the ledger.
pub fn steps<'a>(
    facts: &'a Facts,
    entries: &'a [(Entry, Option<Private>)],
) -> impl Iterator<Item = Step<'a>> + use<'a> {
    let (mut releases, mut entries) = (facts.releases().peekable(), entries.iter().peekable());
    std::iter::from_fn(move || {
        let release = releases.peek().map(|release| release.index);
        match entries.next_if(|(entry, _)| release.is_none_or(|index| entry.index < index)) {
            Some((entry, private)) => Some(Step::Entry(entry, private.as_ref())),
            None => releases.next().map(Step::Release),
        }
    })
}
