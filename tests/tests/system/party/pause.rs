//! A vendor, a dataset or a tenant that is stopped for a while, as far as somebody outside can know it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

/// Whether something is stopped. Only one officer stops it and gives it back.
#[derive(Default)]
pub(crate) struct Pause {
    /// Set while a stop has been answered and no end of it was asked for.
    is_on: AtomicBool,
    /// How often an end was asked for.
    ends: AtomicU64,
    /// An order was not answered: it may be carried out later, by a node that stood still.
    is_unclear: AtomicBool,
}

/// A moment before a call.
pub(crate) struct Before {
    was_on: bool,
    ends: u64,
}

impl Pause {
    /// It has been answered that it is stopped.
    pub(crate) fn begin(&self) {
        self.is_on.store(true, SeqCst);
    }

    /// It is to be given back.
    pub(crate) fn end(&self) {
        self.is_on.store(false, SeqCst);
        self.ends.fetch_add(1, SeqCst);
    }

    /// An order about it was not answered.
    pub(crate) fn lose(&self) {
        self.is_unclear.store(true, SeqCst);
    }

    /// Before a call.
    pub(crate) fn before(&self) -> Before {
        let ends = self.ends.load(SeqCst);
        Before { was_on: self.is_on.load(SeqCst), ends }
    }

    /// Whether it was stopped all the time since then.
    pub(crate) fn held_since(&self, before: &Before) -> bool {
        before.was_on && self.ends.load(SeqCst) == before.ends && !self.is_unclear.load(SeqCst)
    }
}
