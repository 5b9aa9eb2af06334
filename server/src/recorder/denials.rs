//! Denials are entries, but at most so many a minute and key: then one entry with a count. Whoever hammers at a door leaves a
//! trace in the ledger without filling it.

use std::collections::HashMap;

use strongroom_core::identity::Fingerprint;
use strongroom_core::ids::Millis;
use strongroom_core::reason::Reason;

/// The most denials of one key in one minute of the ledger's time that have an entry each.
pub(super) const MAX_A_MINUTE: u64 = 60;

/// How many denials each key had lately.
#[derive(Clone, Default)]
pub(super) struct Denials(HashMap<Fingerprint, Minute>);

#[derive(Clone, Copy)]
struct Minute {
    minute: u64,
    entered: u64,
    more: u64,
    reason: Reason,
}

/// Denials that had no entry of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct More {
    pub(super) key: Fingerprint,
    pub(super) count: u64,
    pub(super) reason: Reason,
}

fn minute(time: Millis) -> u64 {
    time.0 / 60_000
}

impl Denials {
    /// Whether a denial gets an entry of its own. Minutes that are over are summed up before.
    pub(super) fn admit(&mut self, key: Fingerprint, now: Millis, reason: Reason) -> bool {
        let fresh = Minute { minute: minute(now), entered: 0, more: 0, reason };
        let lately = self.0.entry(key).or_insert(fresh);
        if lately.minute != fresh.minute {
            *lately = fresh;
        }
        if lately.entered < MAX_A_MINUTE {
            lately.entered += 1;
            return true;
        }
        if lately.more == 0 {
            lately.reason = reason;
        }
        lately.more += 1;
        false
    }

    /// What is left to sum up of minutes that are over; with `all`, of this one too.
    pub(super) fn sum_up(&mut self, now: Millis, all: bool) -> Vec<More> {
        let this = minute(now);
        let over = |(_, lately): &(&Fingerprint, &Minute)| all || lately.minute != this;
        let mut sums: Vec<More> = self
            .0
            .iter()
            .filter(over)
            .filter(|(_, lately)| lately.more > 0)
            .map(|(key, lately)| More { key: *key, count: lately.more, reason: lately.reason })
            .collect();
        sums.sort_unstable_by_key(|more| more.key);
        self.0.retain(|_, lately| !all && lately.minute == this);
        sums
    }

    /// Whether anything waits to be summed up.
    pub(super) fn is_waiting(&self) -> bool {
        self.0.values().any(|lately| lately.more > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixty_a_minute_then_a_sum() {
        let mut denials = Denials::default();
        let key = Fingerprint::from_bytes([1; 32]);
        let admitted = |denials: &mut Denials, at, times| {
            (0..times).filter(|_| denials.admit(key, Millis(at), Reason::OutOfScope)).count()
        };
        assert_eq!(admitted(&mut denials, 1000, 100), 60);
        assert!(denials.sum_up(Millis(59_999), false).is_empty());
        let more = denials.sum_up(Millis(60_000), false);
        assert_eq!(more, [More { key, count: 40, reason: Reason::OutOfScope }]);
        assert!(denials.0.is_empty());
        assert_eq!(admitted(&mut denials, 60_000, 61), 60);
        assert!(denials.is_waiting());
        assert_eq!(denials.sum_up(Millis(60_001), true).len(), 1);
    }
}
