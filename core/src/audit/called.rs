//! What was done for an incident in calls: by event and by key, how often, over how much, and when.

use crate::audit::roster::Moment;
use crate::identity::Fingerprint;
use crate::ids::IncidentId;
use crate::ledger::about::is_of_incident;
use crate::ledger::{Entry, Event, Private};

/// What a key's calls of one event came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Called {
    /// What.
    pub event: Event,
    /// Whose key.
    pub by: Fingerprint,
    /// Entries.
    pub entries: u64,
    /// Objects in these, each as often as it is named.
    pub objects: u64,
    /// Plaintext bytes of these.
    pub bytes: u64,
    /// The first of the entries.
    pub first: Moment,
    /// The last.
    pub last: Moment,
}

/// The fold over the entries of a ledger that came of calls.
#[derive(Debug)]
pub struct Calls {
    incident: IncidentId,
    found: Vec<Called>,
}

impl Calls {
    /// The events that are looked at; all others may be left out.
    pub const EVENTS: [Event; 6] = [
        Event::ObjectPut,
        Event::ObjectRekeyed,
        Event::ObjectDeleted,
        Event::Release,
        Event::ReleaseRepeat,
        Event::Denied,
    ];

    /// Of calls that name this incident; of refusals, of orders that do, too.
    pub fn new(incident: IncidentId) -> Self {
        Self { incident, found: Vec::new() }
    }

    /// Takes in the next entry, with its private part unless that was erased.
    pub fn feed(&mut self, entry: &Entry, private: Option<&Private>) {
        if !Self::EVENTS.contains(&entry.event) || !is_of_incident(entry, private, self.incident) {
            return;
        }
        let (event, by, last) = (entry.event, entry.actor.key, Moment::of(entry));
        // An incident is worked on by few people, in few ways.
        let at = self.found.iter().position(|called| called.event == event && called.by == by);
        let at = at.unwrap_or_else(|| {
            self.found.push(Called { event, by, entries: 0, objects: 0, bytes: 0, first: last, last });
            self.found.len() - 1
        });
        let called = &mut self.found[at];
        called.entries += 1;
        called.objects += (entry.objects.len() + entry.puts.len()) as u64;
        let sizes = entry.objects.iter().map(|object| object.5).chain(entry.puts.iter().map(|put| put.2));
        called.bytes += sizes.sum::<u64>();
        called.last = last;
    }

    /// What was found, in the order of the first entries.
    pub fn finish(self) -> Vec<Called> {
        self.found
    }
}
