//! How long a ledger's newest entries have stood under no checkpoint.
//!
//! While the object store is away entries go on being recorded: what takes something away must never wait. But what is released
//! then stands in one database alone, and nobody outside could tell that it was rewritten. So there is a bound ([`LedgerLimits::unsigned`]):
//! past it nothing is released, until a checkpoint covers what there is. A clock that leaps forward, or a process that starts over an
//! old ledger, says nothing yet: somebody must have tried to sign, or had the time for it.
//!
//! [`LedgerLimits::unsigned`]: super::LedgerLimits::unsigned

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use strongroom_core::ids::{Index, Millis, TenantId};
use strongroom_core::ledger::Entry;
use strongroom_core::ledger::batch::split;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{Inner, RecordError};
use crate::tenants::Tenant;

/// How often it is looked how far checkpoints are behind.
const EVERY: Duration = Duration::from_secs(1);
/// How often it is said again.
const SAY_EVERY: u32 = 10;
/// How long a process that is told nothing else waits for a checkpoint.
const SURE: Duration = Duration::from_secs(5);
/// The time between two sizes that are noted, in milliseconds, and how many are.
const APART: u64 = 500;
const MAX_NOTED: usize = 4096;

/// What is known of a ledger's entries past its newest checkpoint.
#[derive(Debug, Default)]
pub(super) struct Lag {
    signed: Index,
    /// Sizes that the ledger had, each with the time of its newest entry then; only those past the checkpoint.
    noted: VecDeque<(Index, Millis)>,
    /// When this process first knew of entries past it.
    known: Option<Instant>,
    /// Whether they could not be brought under a checkpoint.
    failed: bool,
}

impl Lag {
    /// The ledger has this size, and its newest entry this time.
    pub(super) fn saw(&mut self, size: Index, time: Millis) {
        let is_due = self.noted.back().is_none_or(|(_, last)| time.0 >= last.0.saturating_add(APART));
        if size > self.signed && is_due && self.noted.len() < MAX_NOTED {
            self.noted.push_back((size, time));
            self.known.get_or_insert_with(Instant::now);
        }
    }

    /// They could not be brought under a checkpoint.
    pub(super) fn failed(&mut self) {
        self.failed = true;
    }

    /// Whether it is known that the vault cannot, or does not.
    fn is_sure(&self, now: Instant) -> bool {
        self.failed || self.known.is_some_and(|known| now.duration_since(known) >= SURE)
    }

    /// A checkpoint covers so many entries.
    pub(super) fn signed(&mut self, size: Index) {
        if size <= self.signed {
            return;
        }
        self.signed = size;
        self.failed = false;
        while self.noted.front().is_some_and(|(noted, _)| *noted <= self.signed) {
            self.noted.pop_front();
        }
        self.known = (!self.noted.is_empty()).then(Instant::now);
    }

    /// The time of about the oldest entry that no checkpoint covers.
    pub(super) fn since(&self) -> Option<Millis> {
        self.noted.front().map(|(_, time)| *time)
    }
}

impl Inner {
    /// Whether the ledger's entries are under a checkpoint, or not for long.
    ///
    /// # Errors
    /// [`RecordError::Unavailable`] if they have stood under none for longer than is allowed.
    pub(super) fn check_lag(&self, tenant: &TenantId) -> Result<(), RecordError> {
        match self.lag(tenant) {
            Some(lag) if lag > self.limits.unsigned && self.ledger(tenant).lag().is_sure(Instant::now()) => {
                let words = format!(
                    "entries have stood under no signed checkpoint for {} s: the object store may be out of reach",
                    lag.as_secs()
                );
                Err(RecordError::Unavailable(words))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn lag(&self, tenant: &TenantId) -> Option<Duration> {
        let since = self.ledger(tenant).lag().since()?;
        Some(Duration::from_millis(self.clock.now().0.saturating_sub(since.0)))
    }

    /// Notes how old the entries are that the newest checkpoint did not cover when this process first looked.
    pub(super) async fn begin_lag(&self, tenant: &Tenant, signed: Index) -> Result<(), RecordError> {
        let ledger = self.ledger(&tenant.id);
        ledger.lag().signed(signed);
        let found = self.catalog.batch_of(&tenant.id, signed).await.map_err(RecordError::of_catalog)?;
        let Some(batch) = found.filter(|batch| batch.first <= signed) else { return Ok(()) };
        let at = usize::try_from(signed.0 - batch.first.0).unwrap_or(usize::MAX);
        let entry = split(&batch.entries).ok().and_then(|entries| Entry::from_bytes(entries.get(at)?).ok());
        if let Some(entry) = entry {
            ledger.lag().saw(Index(signed.0 + 1), entry.time);
        }
        Ok(())
    }

    /// Warns of ledgers whose checkpoints fall behind, long before nothing is released any more.
    pub(super) async fn watch_lag(self: Arc<Self>, stop: CancellationToken) {
        let (mut late, mut round) = (Vec::new(), 0_u32);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(EVERY) => {}
            }
            let before = std::mem::take(&mut late);
            for tenant in self.in_use() {
                if self.catalog.is_shared() && self.lag(&tenant).is_some() {
                    // Another node may have signed it. A database that does not answer is told of elsewhere.
                    if let Ok(Some(row)) = self.catalog.checkpoint(&tenant).await {
                        self.ledger(&tenant).lag().signed(row.size);
                    }
                }
                let Some(lag) = self.lag(&tenant).filter(|lag| *lag > self.limits.unsigned / 4) else { continue };
                late.push(tenant);
                if before.contains(&tenant) && !round.is_multiple_of(SAY_EVERY) {
                    continue;
                }
                let (seconds, limit) = (lag.as_secs(), self.limits.unsigned.as_secs());
                match lag > self.limits.unsigned {
                    true => {
                        tracing::error!(%tenant, seconds, limit, "entries are under no checkpoint, and nothing is released until they are")
                    }
                    false => {
                        tracing::warn!(%tenant, seconds, limit, "entries are under no checkpoint yet; at the limit releases stop")
                    }
                }
            }
            for tenant in before.iter().filter(|tenant| !late.contains(tenant)) {
                tracing::info!(%tenant, "entries are under a checkpoint again");
            }
            round = round.wrapping_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_stopped_before_it_was_tried() {
        let mut lag = Lag::default();
        let now = Instant::now();
        lag.saw(Index(3), Millis(1000));
        lag.saw(Index(4), Millis(2000));
        assert!(!lag.is_sure(now) && lag.is_sure(Instant::now() + SURE));
        lag.failed();
        assert!(lag.is_sure(now));
        lag.signed(Index(3));
        assert!(!lag.is_sure(now), "it goes on");
        lag.signed(Index(4));
        assert!(!lag.is_sure(Instant::now() + SURE), "nothing is left");
    }

    #[test]
    fn the_oldest_entry_under_no_checkpoint_tells_the_lag() {
        let mut lag = Lag::default();
        assert_eq!(lag.since(), None);
        lag.saw(Index(3), Millis(1000));
        lag.saw(Index(5), Millis(1100));
        lag.saw(Index(9), Millis(1600));
        assert_eq!(lag.since(), Some(Millis(1000)));
        lag.signed(Index(2));
        assert_eq!(lag.since(), Some(Millis(1000)));
        lag.signed(Index(3));
        assert_eq!(lag.since(), Some(Millis(1600)), "within half a second of entry 3");
        lag.signed(Index(9));
        assert_eq!(lag.since(), None);
        lag.saw(Index(9), Millis(9000));
        assert_eq!(lag.since(), None, "that is covered");
        lag.signed(Index(4));
        lag.saw(Index(10), Millis(3_600_000));
        assert_eq!(lag.since(), Some(Millis(3_600_000)), "idle time is no lag");
        (0..10_000).for_each(|n| lag.saw(Index(11 + n), Millis(3_600_000 + 1000 * n)));
        assert_eq!((lag.since(), lag.noted.len()), (Some(Millis(3_600_000)), MAX_NOTED));
    }
}
