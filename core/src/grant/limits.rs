//! How much a grant allows, and how much of it is used.
//!
//! A rate is counted by the fixed UTC minute of the entry's time: nothing carries over, and since a ledger's times never go back,
//! the newest minute is all that has to be remembered.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::grant::Network;
use crate::ids::Millis;

/// A minute of UTC, in milliseconds.
const MINUTE: u64 = 60_000;

/// The most that may be charged to a grant in its life; `None` is no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Plaintext bytes of released (or written) segments, re-reads included.
    pub bytes: Option<u64>,
    /// Objects named per call, counted on their first window.
    pub objects: Option<u64>,
    /// Calls.
    pub uses: Option<u64>,
    /// Plaintext bytes in one UTC minute of the entries' time.
    pub bytes_per_minute: Option<u64>,
    /// Source [`Network`]s; none is anywhere.
    pub sources: Vec<String>,
}

/// What has been charged to a grant, or is to be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Usage {
    /// Plaintext bytes.
    pub bytes: u64,
    /// Objects.
    pub objects: u64,
    /// Calls.
    pub uses: u64,
}

/// All that was charged to a grant so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tally {
    /// In all.
    pub total: Usage,
    /// The newest UTC minute in which anything was charged: minutes since 1970.
    pub minute: u64,
    /// Bytes that were charged in that minute.
    pub minute_bytes: u64,
}

/// A limit of a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// [`Limits::bytes`].
    Bytes,
    /// [`Limits::objects`].
    Objects,
    /// [`Limits::uses`].
    Uses,
    /// [`Limits::bytes_per_minute`].
    BytesPerMinute,
    /// [`Terms::not_before`](crate::grant::Terms::not_before).
    NotBefore,
    /// [`Limits::sources`].
    Sources,
}

/// A limit that stood against something, and when it no longer will.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hit {
    /// The limit.
    pub limit: Limit,
    /// When asking again may be answered otherwise; `None` if no waiting helps.
    pub resets: Option<Reset>,
}

/// A moment to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reset {
    /// When.
    pub at: Millis,
    /// How long that is after the decision, in milliseconds: for those whose clock is another.
    pub after: u64,
}

impl Reset {
    /// `at`, as seen from `now`.
    pub fn new(at: Millis, now: Millis) -> Self {
        Self { at, after: at.0.saturating_sub(now.0) }
    }
}

impl Limit {
    /// Every limit there is.
    pub const ALL: [Self; 6] =
        [Self::Bytes, Self::Objects, Self::Uses, Self::BytesPerMinute, Self::NotBefore, Self::Sources];

    /// Its stable name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Objects => "objects",
            Self::Uses => "uses",
            Self::BytesPerMinute => "bytes_per_minute",
            Self::NotBefore => "not_before",
            Self::Sources => "sources",
        }
    }
}

impl Usage {
    /// Both together.
    #[must_use]
    pub fn plus(self, more: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_add(more.bytes),
            objects: self.objects.saturating_add(more.objects),
            uses: self.uses.saturating_add(more.uses),
        }
    }
}

impl Tally {
    /// With what is charged at `now`, which is never before the charges so far.
    #[must_use]
    pub fn charged(self, charge: Usage, now: Millis) -> Self {
        let minute_bytes = self.bytes_in_minute(now).saturating_add(charge.bytes);
        Self { total: self.total.plus(charge), minute: now.0 / MINUTE, minute_bytes }
    }

    /// The bytes that were charged in the minute of `now`.
    pub fn bytes_in_minute(&self, now: Millis) -> u64 {
        if self.minute == now.0 / MINUTE { self.minute_bytes } else { 0 }
    }
}

impl Limits {
    /// The first limit on a grant's whole life that `usage` overruns, with what it allows and what of that is `usage`.
    pub fn overrun_by(&self, usage: &Usage) -> Option<(Limit, u64, u64)> {
        let each = [
            (Limit::Bytes, self.bytes, usage.bytes),
            (Limit::Objects, self.objects, usage.objects),
            (Limit::Uses, self.uses, usage.uses),
        ];
        each.into_iter().find_map(|(limit, allowed, used)| {
            let allowed = allowed.filter(|allowed| used > *allowed)?;
            Some((limit, allowed, used))
        })
    }

    /// Whether a grant with these may be used from an address. A text that is not a network covers none.
    pub fn allow_source(&self, address: IpAddr) -> bool {
        let covers = |text: &String| text.parse::<Network>().is_ok_and(|network| network.covers(address));
        self.sources.is_empty() || self.sources.iter().any(covers)
    }

    /// The first source that is no network.
    pub(crate) fn first_bad_source(&self) -> Option<&String> {
        self.sources.iter().find(|text| text.parse::<Network>().is_err())
    }

    /// These, and those of `others` where there is none, each by itself.
    #[must_use]
    pub fn or(&self, others: &Self) -> Self {
        let sources = if self.sources.is_empty() { &others.sources } else { &self.sources };
        Self {
            bytes: self.bytes.or(others.bytes),
            objects: self.objects.or(others.objects),
            uses: self.uses.or(others.uses),
            bytes_per_minute: self.bytes_per_minute.or(others.bytes_per_minute),
            sources: sources.clone(),
        }
    }

    /// Whether every network of these lies in one of `outer`.
    pub(crate) fn sources_narrow(&self, outer: &Self) -> bool {
        let parse = |text: &String| text.parse::<Network>().ok();
        let outer_networks: Vec<Network> = outer.sources.iter().filter_map(parse).collect();
        let inside = |text: &String| {
            parse(text).is_some_and(|own| outer_networks.iter().any(|network| network.covers_network(&own)))
        };
        outer.sources.is_empty() || (!self.sources.is_empty() && self.sources.iter().all(inside))
    }

    /// Whether `bytes` more at `now` overrun the rate, and when the minute is over; never, if they are more than a whole minute's.
    pub fn outpaced_by(&self, tally: &Tally, bytes: u64, now: Millis) -> Option<Hit> {
        let rate = self.bytes_per_minute?;
        if tally.bytes_in_minute(now).saturating_add(bytes) <= rate {
            return None;
        }
        let next = Millis((now.0 / MINUTE + 1) * MINUTE);
        Some(Hit { limit: Limit::BytesPerMinute, resets: (bytes <= rate).then(|| Reset::new(next, now)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_begins_at_its_first_millisecond() {
        let limits = Limits { bytes_per_minute: Some(10), ..Limits::default() };
        let bytes = |bytes| Usage { bytes, ..Usage::default() };
        let tally = Tally::default().charged(bytes(6), Millis(MINUTE)).charged(bytes(4), Millis(2 * MINUTE - 1));
        assert_eq!((tally.total.bytes, tally.bytes_in_minute(Millis(2 * MINUTE - 1))), (10, 10));
        let hit = limits.outpaced_by(&tally, 1, Millis(2 * MINUTE - 1)).unwrap();
        assert_eq!(hit.resets, Some(Reset { at: Millis(2 * MINUTE), after: 1 }));
        assert_eq!(limits.outpaced_by(&tally, 0, Millis(2 * MINUTE - 1)), None, "what costs nothing may always be");
        assert_eq!(limits.outpaced_by(&tally, 10, Millis(2 * MINUTE)), None);
        let never = limits.outpaced_by(&tally, 11, Millis(2 * MINUTE)).unwrap();
        assert_eq!(never, Hit { limit: Limit::BytesPerMinute, resets: None }, "more than any minute allows");
        assert_eq!(limits.outpaced_by(&tally, u64::MAX, Millis(MINUTE)).unwrap().resets, None);
    }
}
