//! An entry with all that is told of it, and who writes it down.

use std::io;

use serde::Serialize;
use strongroom_core::audit::naming::ObjectPlace;
use strongroom_core::ids::IncidentId;
use strongroom_core::ledger::about;
use strongroom_core::ledger::entry::Role;
use strongroom_core::ledger::{Entry, ObjectRef, Outcome, Private, PutFact};
use strongroom_core::order::Instruction;

/// Writes entries in some form, in order, with bounded memory.
pub(super) trait EntryWriter {
    /// The next entry.
    ///
    /// # Errors
    /// It cannot be written.
    fn write(&mut self, told: &Told<'_>) -> io::Result<()>;

    /// What is due at the end. Without it the file is not whole.
    ///
    /// # Errors
    /// It cannot be written.
    fn finish(self: Box<Self>) -> io::Result<()>;
}

/// An entry, its private part unless that was erased, and the names for what it numbers.
pub(super) struct Told<'a> {
    /// The tenant's name, or its id where nobody can tell the name.
    pub(super) tenant: &'a str,
    pub(super) entry: &'a Entry,
    pub(super) private: Option<&'a Private>,
    /// Where its objects lie, in its order; of a denial, what was asked for.
    pub(super) places: &'a [Option<ObjectPlace>],
    /// The name of the vendor whose key did it, or its id where the name was erased.
    pub(super) vendor: Option<&'a str>,
}

/// An object of an entry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Part<'a> {
    pub(super) dataset: Option<&'a str>,
    pub(super) path: Option<&'a str>,
    /// The entry that put it, and its ordinal there: they name the object in every entry.
    pub(super) put: Option<u64>,
    pub(super) ordinal: Option<u32>,
    pub(super) generation: Option<u64>,
    pub(super) size: Option<u64>,
    pub(super) content_root: Option<String>,
    /// Segments of 64 KiB that were released.
    pub(super) first_segment: Option<u32>,
    /// One past the last.
    pub(super) end_segment: Option<u32>,
    /// Plaintext bytes released, hidden or put.
    pub(super) bytes: Option<u64>,
}

impl<'a> Told<'a> {
    /// The objects, in the entry's order.
    pub(super) fn parts(&self) -> Vec<Part<'a>> {
        let entry = self.entry;
        let released = entry.objects.iter().map(|ObjectRef(_, put, ordinal, first, end, bytes)| Part {
            put: Some(put.0),
            ordinal: Some(*ordinal),
            first_segment: Some(*first),
            end_segment: Some(*end),
            bytes: Some(*bytes),
            ..Part::default()
        });
        let put = (0..).zip(&entry.puts).map(|(ordinal, PutFact(_, generation, size, root))| Part {
            put: Some(entry.index.0),
            ordinal: Some(ordinal),
            generation: Some(generation.0),
            size: Some(*size),
            content_root: Some(root.to_string()),
            bytes: Some(*size),
            ..Part::default()
        });
        let mut parts: Vec<Part<'a>> = released.chain(put).collect();
        // What was asked for and denied has a name and nothing else.
        parts.resize(parts.len().max(self.places.len()), Part::default());
        for (part, place) in parts.iter_mut().zip(self.places) {
            part.dataset = place.as_ref().map(|place| place.0.as_str());
            part.path = place.as_ref().map(|place| place.1.as_str());
        }
        parts
    }

    /// `done` or `denied`.
    pub(super) fn outcome(&self) -> &'static str {
        match self.entry.outcome {
            Outcome::Done => "done",
            Outcome::Denied => "denied",
        }
    }

    /// What the order says, if it carries one out.
    pub(super) fn instruction(&self) -> Option<&'a Instruction> {
        let order = self.private.and_then(|private| private.order.as_ref());
        order.map(|signed| &signed.order.instruction)
    }

    /// The incident that it belongs to, opened or closed.
    pub(super) fn incident(&self) -> Option<IncidentId> {
        about::incident_of(self.entry, self.private)
    }

    /// `operator`, `admin`, `vendor` or `key`.
    pub(super) fn role(&self) -> &'static str {
        match self.entry.actor.role {
            Role::Operator => "operator",
            Role::Admin => "admin",
            Role::Vendor(_) => "vendor",
            Role::Key => "key",
        }
    }
}
