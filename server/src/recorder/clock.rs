//! What time it is: asked in one place, so that tests can set it.

use strongroom_core::ids::Millis;

/// A clock.
pub trait Clock: Send + Sync {
    /// Unix milliseconds, UTC.
    fn now(&self) -> Millis;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Millis {
        // The one place where the server reads the wall clock.
        #[allow(clippy::disallowed_methods)]
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        // A clock before 1970 is behind every ledger, which refuses it.
        Millis(since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX)))
    }
}
