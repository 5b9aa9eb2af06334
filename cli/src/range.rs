//! `--range A-B`: a part of an object, in the words of HTTP and curl: both ends count.

use std::str::FromStr;

/// Which bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteRange {
    /// `A-B`: from byte A to byte B, both included.
    Between(u64, u64),
    /// `A-`: from byte A to the end.
    From(u64),
    /// `-N`: the last N bytes.
    Last(u64),
}

/// A text that is not a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a range is A-B (both bytes included, the first is 0), A- or -N (the last N bytes)")]
pub struct NotARange;

impl FromStr for ByteRange {
    type Err = NotARange;

    fn from_str(text: &str) -> Result<Self, NotARange> {
        let number = |text: &str| match text.bytes().all(|b| b.is_ascii_digit()) {
            true => text.parse::<u64>().map_err(|_| NotARange),
            false => Err(NotARange),
        };
        match text.split_once('-').ok_or(NotARange)? {
            ("", last) => number(last).and_then(|last| if last == 0 { Err(NotARange) } else { Ok(Self::Last(last)) }),
            (start, "") => number(start).map(Self::From),
            (start, end) => match (number(start)?, number(end)?) {
                (start, end) if start <= end && end < u64::MAX => Ok(Self::Between(start, end)),
                _ => Err(NotARange),
            },
        }
    }
}

impl ByteRange {
    /// Whether the object's size must be known to place it.
    pub fn needs_size(self) -> bool {
        !matches!(self, Self::Between(..))
    }

    /// The half-open range in an object of `size` bytes; `None` if nothing of it lies in the object.
    pub fn within(self, size: u64) -> Option<(u64, u64)> {
        let (start, end) = match self {
            Self::Between(start, end) => (start, (end + 1).min(size)),
            Self::From(start) => (start, size),
            Self::Last(count) => (size.saturating_sub(count), size),
        };
        (start < end).then_some((start, end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_parse_as_curls_do() {
        for (text, range) in [
            ("0-0", ByteRange::Between(0, 0)),
            ("100-199", ByteRange::Between(100, 199)),
            ("5-", ByteRange::From(5)),
            ("-5", ByteRange::Last(5)),
        ] {
            assert_eq!(text.parse(), Ok(range), "{text}");
        }
        for bad in ["", "-", "5", "5-4", "-0", "+1-2", "a-b", "1-2-3", "0-18446744073709551615"] {
            assert_eq!(bad.parse::<ByteRange>(), Err(NotARange), "{bad}");
        }
    }

    #[test]
    fn ranges_are_cut_to_the_object() {
        assert_eq!(ByteRange::Between(0, 99).within(10), Some((0, 10)));
        assert_eq!(ByteRange::Between(3, 3).within(10), Some((3, 4)));
        assert_eq!(ByteRange::From(4).within(10), Some((4, 10)));
        assert_eq!(ByteRange::Last(4).within(10), Some((6, 10)));
        assert_eq!(ByteRange::Last(40).within(10), Some((0, 10)));
        assert_eq!(ByteRange::From(10).within(10), None);
        assert_eq!(ByteRange::Last(1).within(0), None);
    }
}
