//! Many objects in one command: what became of them, and whether it makes sense to go on.

use strongroom_client::Failed;
use strongroom_core::reason::Reason;

use crate::amount::counted;
use crate::exit::{Failure, Outcome};

/// What became of the objects so far.
#[derive(Debug, Default)]
pub struct Tally {
    /// Objects that are done.
    pub done: u64,
    /// Their bytes.
    pub bytes: u64,
    failed: u64,
    first: Option<Failed>,
}

impl Tally {
    /// One more is done.
    pub fn add(&mut self, bytes: u64) {
        self.done += 1;
        self.bytes += bytes;
    }

    /// One failed.
    ///
    /// # Errors
    /// The reason is not this object's own: the others would fail alike.
    pub fn fail(&mut self, failed: Failed) -> Outcome {
        self.failed += 1;
        let own = matches!(
            failed.error.reason(),
            Reason::NotFound
                | Reason::Shredded
                | Reason::PreconditionFailed
                | Reason::InvalidName
                | Reason::TooLarge
                | Reason::Integrity
        );
        self.first.get_or_insert(failed);
        if own { Ok(()) } else { self.finish() }
    }

    /// The end: what to say if something failed.
    ///
    /// # Errors
    /// The first failure, with how many there were.
    pub fn finish(&mut self) -> Outcome {
        let Some(first) = self.first.take() else { return Ok(()) };
        let failure = Failure::from(first);
        match self.done + self.failed {
            0 | 1 => Err(failure),
            all => Err(failure.of(&format!("{} of {} failed, the first was", self.failed, counted(all, "object")))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(reason: Reason) -> Failed {
        Failed { path: "a/1".parse().unwrap(), error: strongroom_client::Error::new(reason, "why") }
    }

    #[test]
    fn one_objects_own_failure_lets_the_others_go_on() {
        let mut tally = Tally::default();
        tally.add(3);
        assert!(tally.fail(failed(Reason::PreconditionFailed)).is_ok());
        tally.add(4);
        let failure = tally.finish().unwrap_err();
        assert_eq!(failure.code, "PRECONDITION_FAILED");
        assert_eq!(failure.detail, "1 of 3 objects failed, the first was: a/1: why");
    }

    #[test]
    fn a_failure_of_all_ends_it() {
        let mut tally = Tally::default();
        assert_eq!(tally.fail(failed(Reason::VendorSuspended)).unwrap_err().detail, "a/1: why");
    }
}
