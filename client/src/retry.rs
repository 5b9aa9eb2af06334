//! When to try again: only what is safe, ever later, and not for ever.
//!
//! | what happened | idempotent | once only |
//! | --- | --- | --- |
//! | nothing was sent: no connection could be made | again | again |
//! | `SESSION_UNKNOWN`: refused before anything in it was looked at | again, on a new session | again, on a new session |
//! | `UNAVAILABLE`, `LEDGER_UNAVAILABLE`: may have been done | again, with the same ids | no |
//! | anything else is an answer | no | no |
//!
//! Waits double from 50 ms to 2 s, each cut by chance to between half and all of it, so that callers that failed together do
//! not come back together.

use std::time::Duration;

use strongroom_core::keys::secret::random_bytes;
use strongroom_core::reason::Reason;
use tokio::time::Instant;

use crate::error::Error;

/// Whether a call may be done twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Safety {
    /// Doing it twice is doing it once: it reads, or carries an id that the server knows it by.
    Idempotent,
    /// It must not be sent again once it may have been done.
    Once,
}

/// How patient a vault is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Policy {
    first: Duration,
    longest: Duration,
    budget: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self { first: Duration::from_millis(50), longest: Duration::from_secs(2), budget: Duration::from_secs(15) }
    }
}

impl Policy {
    /// The attempts of one call, from now on.
    pub(crate) fn start(self) -> Attempts {
        Attempts { policy: self, started: Instant::now(), failed: 0, sessions: 0 }
    }

    /// The wait after the `failed`-th failure (from 1), with `chance` from 0 to 255.
    fn wait(&self, failed: u32, chance: u8) -> Duration {
        let full = self.first.saturating_mul(1 << (failed.clamp(1, 17) - 1)).min(self.longest);
        full / 2 + full.mul_f64(f64::from(chance) / 510.0)
    }
}

/// The attempts of one call.
#[derive(Debug)]
pub(crate) struct Attempts {
    policy: Policy,
    started: Instant,
    failed: u32,
    sessions: u32,
}

impl Attempts {
    /// How long to wait before the next attempt; `None` if the error is the answer.
    pub(crate) fn after(&mut self, error: &Error, safety: Safety) -> Option<Duration> {
        if error.reason() == Reason::SessionUnknown {
            self.sessions += 1;
            return (self.sessions <= 3).then_some(Duration::ZERO);
        }
        let lost = matches!(error.reason(), Reason::Unavailable | Reason::LedgerUnavailable);
        if !lost || (safety == Safety::Once && !error.is_unsent()) {
            return None;
        }
        self.failed += 1;
        let [chance] = random_bytes().unwrap_or([128]);
        let wait = self.policy.wait(self.failed, chance);
        (self.started.elapsed() + wait <= self.policy.budget).then_some(wait)
    }

    /// Something arrived: the next failure is a first one.
    pub(crate) fn progressed(&mut self) {
        *self = self.policy.start();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(error: &Error, safety: Safety) -> u32 {
        let mut attempts = Policy { budget: Duration::from_secs(3600), ..Policy::default() }.start();
        (0..100).take_while(|_| attempts.after(error, safety).is_some()).count() as u32
    }

    #[tokio::test]
    async fn only_what_is_safe_is_tried_again() {
        use Safety::{Idempotent, Once};
        for &reason in Reason::ALL {
            let (again, once) = (tried(&Error::new(reason, ""), Idempotent), tried(&Error::new(reason, ""), Once));
            match reason {
                Reason::Unavailable | Reason::LedgerUnavailable => assert!(again == 100 && once == 0),
                Reason::SessionUnknown => assert!(again == 3 && once == 3),
                _ => assert!(again == 0 && once == 0, "{reason}"),
            }
        }
        assert_eq!(tried(&Error::unsent("refused"), Once), 100);
        assert_eq!(tried(&Error::transport("broke"), Once), 0);
        assert_eq!(tried(&Error::transport("broke"), Idempotent), 100);
    }

    #[test]
    fn waits_double_up_to_the_longest_and_are_spread() {
        let policy = Policy::default();
        for (failed, full) in [(1, 50), (2, 100), (3, 200), (6, 1600), (7, 2000), (40, 2000), (u32::MAX, 2000)] {
            assert_eq!(policy.wait(failed, 0), Duration::from_millis(full) / 2);
            assert_eq!(policy.wait(failed, 255), Duration::from_millis(full));
        }
    }

    #[tokio::test]
    async fn it_ends_within_its_budget() {
        let ms = Duration::from_millis;
        let policy = Policy { first: ms(1), longest: ms(8), budget: ms(100) };
        let (mut attempts, start) = (policy.start(), Instant::now());
        let mut count = 0;
        while let Some(wait) = attempts.after(&Error::unsent("refused"), Safety::Once) {
            count += 1;
            tokio::time::sleep(wait).await;
        }
        assert!(count > 3, "{count}");
        assert!(start.elapsed() > ms(80), "{:?}", start.elapsed());
        attempts.progressed();
        assert!(attempts.after(&Error::unsent("refused"), Safety::Once).is_some());
    }
}
