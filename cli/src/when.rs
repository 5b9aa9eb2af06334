//! Times and durations, as people write and read them. Everything is UTC: a ledger has one clock.

use std::str::FromStr;

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp};
use strongroom_core::ids::Millis;

use crate::amount::counted;

/// A length of time: `15m`, `12h`, `1h30m`, `7d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Length(pub SignedDuration);

/// A text that is not a length of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a length of time is 90s, 15m, 12h, 1h30m or 7d, and longer than nothing")]
pub struct NotALength;

impl FromStr for Length {
    type Err = NotALength;

    fn from_str(text: &str) -> Result<Self, NotALength> {
        // Months and years have no fixed length, so jiff refuses them here.
        let length = text
            .parse::<Span>()
            .and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()))
            .map_err(|_| NotALength)?;
        if length.is_positive() { Ok(Self(length)) } else { Err(NotALength) }
    }
}

/// A long time in whole words: `90 days`, `36 hours`.
pub fn whole(millis: u64) -> String {
    match millis / 3_600_000 {
        hours if hours % 24 == 0 => counted(hours / 24, "day"),
        hours => counted(hours, "hour"),
    }
}

/// A moment: `2026-03-01`, `2026-03-01T14:05`, `2026-03-01T14:05:00Z`, or `2h`, meaning two hours before now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// That one.
    At(Timestamp),
    /// So long before now.
    Ago(SignedDuration),
}

/// A text that is not a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a time is 2026-03-01, 2026-03-01T14:05 or 2026-03-01T14:05:00Z (UTC where no zone is given), or 2h for two hours ago"
)]
pub struct NotAMoment;

impl FromStr for Moment {
    type Err = NotAMoment;

    fn from_str(text: &str) -> Result<Self, NotAMoment> {
        if let Ok(at) = text.parse::<Timestamp>() {
            return Ok(Self::At(at));
        }
        let civil = text.parse::<DateTime>().or_else(|_| text.parse::<Date>().map(|date| date.at(0, 0, 0, 0)));
        if let Ok(at) = civil.and_then(|civil| TimeZone::UTC.to_timestamp(civil)) {
            return Ok(Self::At(at));
        }
        text.parse::<Length>().map(|length| Self::Ago(length.0)).map_err(|_| NotAMoment)
    }
}

impl Moment {
    /// As the ledger counts.
    pub fn millis(self, now: Timestamp) -> Millis {
        match self {
            Self::At(at) => millis(at),
            Self::Ago(length) => millis(now.saturating_sub(length).unwrap_or(Timestamp::UNIX_EPOCH)),
        }
    }
}

/// An end that lies ahead: `2026-03-01T14:05`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End(pub Timestamp);

/// A text that is not an absolute time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a time is 2026-03-01, 2026-03-01T14:05 or 2026-03-01T14:05:00Z (UTC where no zone is given)")]
pub struct NotAnEnd;

impl FromStr for End {
    type Err = NotAnEnd;

    fn from_str(text: &str) -> Result<Self, NotAnEnd> {
        match text.parse() {
            Ok(Moment::At(at)) => Ok(Self(at)),
            _ => Err(NotAnEnd),
        }
    }
}

/// Now, by this machine's clock: the one place that reads it.
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// A moment as the ledger counts; none before 1970.
pub fn millis(at: Timestamp) -> Millis {
    Millis(u64::try_from(at.as_millisecond()).unwrap_or(0))
}

fn timestamp(at: Millis) -> Timestamp {
    let millis = i64::try_from(at.0).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX)
}

/// `2026-03-01T14:05:07.123Z`: for programs, and always of one width.
pub fn rfc3339(at: Millis) -> String {
    format!("{:.3}", timestamp(at))
}

/// `2026-03-01 14:05:07`: for people.
pub fn seconds(at: Millis) -> String {
    timestamp(at).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// The same of an [`rfc3339`] text: without the T, the fraction and the zone.
pub fn seconds_of(time: &str) -> String {
    time.get(..19).unwrap_or(time).replace('T', " ")
}

/// `14:05 UTC` where that is within a day of `now`, else with its date.
pub fn short(at: Millis, now: Timestamp) -> String {
    let at = timestamp(at);
    let same_day = at.strftime("%F").to_string() == now.strftime("%F").to_string();
    let format = if same_day { "%H:%M UTC" } else { "%Y-%m-%d %H:%M UTC" };
    at.strftime(format).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn lengths_parse() {
        for (text, seconds) in [
            ("90s", 90),
            ("15m", 900),
            ("12h", 43_200),
            ("1h30m", 5_400),
            ("7d", 604_800),
            ("1 hour", 3_600),
            ("PT2H", 7_200),
        ] {
            assert_eq!(text.parse(), Ok(Length(SignedDuration::from_secs(seconds))), "{text}");
        }
        for bad in ["", "12", "0s", "-1h", "1mo", "1y", "h", "12 parsecs"] {
            assert_eq!(bad.parse::<Length>(), Err(NotALength), "{bad}");
        }
    }

    #[test]
    fn moments_parse() {
        let now = at("2026-03-01T12:00:00Z");
        for (text, expected) in [
            ("2026-03-01", "2026-03-01T00:00:00Z"),
            ("2026-03-01T14:05", "2026-03-01T14:05:00Z"),
            ("2026-03-01 14:05:06", "2026-03-01T14:05:06Z"),
            ("2026-03-01T14:05:06.789Z", "2026-03-01T14:05:06.789Z"),
            ("2026-03-01T14:05+02:00", "2026-03-01T12:05:00Z"),
            ("2h", "2026-03-01T10:00:00Z"),
            ("1d", "2026-02-28T12:00:00Z"),
        ] {
            assert_eq!(text.parse::<Moment>().map(|moment| moment.millis(now)), Ok(millis(at(expected))), "{text}");
        }
        for bad in ["", "yesterday", "2026-13-01", "14:05"] {
            assert_eq!(bad.parse::<Moment>(), Err(NotAMoment), "{bad}");
        }
        assert_eq!("2h".parse::<End>(), Err(NotAnEnd));
    }

    #[test]
    fn times_are_told_in_utc() {
        let time = millis(at("2026-03-01T14:05:07.1Z"));
        assert_eq!(rfc3339(time), "2026-03-01T14:05:07.100Z");
        assert_eq!(seconds(time), "2026-03-01 14:05:07");
        assert_eq!(short(time, at("2026-03-01T09:00:00Z")), "14:05 UTC");
        assert_eq!(short(time, at("2026-02-28T23:00:00Z")), "2026-03-01 14:05 UTC");
        assert_eq!(rfc3339(Millis(u64::MAX)).len(), 24);
    }
}
