//! Sizes, as people write and read them.

use std::fmt;
use std::str::FromStr;

/// A number of bytes: `4096`, `64KiB`, `10MiB`, `1.5GiB`; `kB`, `MB`, `GB` are powers of 1000.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub u64);

/// A text that is not a size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a size is a number and a unit: 4096, 64KiB, 10MiB, 1.5GiB, 20MB")]
pub struct NotASize;

impl FromStr for Size {
    type Err = NotASize;

    fn from_str(text: &str) -> Result<Self, NotASize> {
        let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(split);
        let unit: u64 = match unit.trim_start().to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "k" | "kib" => 1 << 10,
            "m" | "mib" => 1 << 20,
            "g" | "gib" => 1 << 30,
            "t" | "tib" => 1 << 40,
            "kb" => 1_000,
            "mb" => 1_000_000,
            "gb" => 1_000_000_000,
            "tb" => 1_000_000_000_000,
            _ => return Err(NotASize),
        };
        scale(number, unit).map(Self).ok_or(NotASize)
    }
}

/// `number` (digits, at most one point) times `unit`, exactly; a fraction of a byte is dropped.
fn scale(number: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.len() > 9 || (number.contains('.') && fraction.is_empty()) {
        return None;
    }
    let bytes = whole.parse::<u64>().ok()?.checked_mul(unit)?;
    if fraction.is_empty() {
        return Some(bytes);
    }
    let digits = u32::try_from(fraction.len()).ok()?;
    let part = u128::from(fraction.parse::<u64>().ok()?) * u128::from(unit) / 10_u128.pow(digits);
    bytes.checked_add(u64::try_from(part).ok()?)
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = ["KiB", "MiB", "GiB", "TiB"];
        if self.0 < 1024 {
            return write!(f, "{} B", self.0);
        }
        let mut unit = 0;
        let mut tenths = u128::from(self.0) * 10 / 1024;
        while tenths >= 10_240 && unit + 1 < units.len() {
            tenths /= 1024;
            unit += 1;
        }
        match (tenths / 10, tenths % 10) {
            (whole, 0) => write!(f, "{whole} {}", units[unit]),
            (whole, tenth) => write!(f, "{whole}.{tenth} {}", units[unit]),
        }
    }
}

/// A count with its noun: `1 object`, `3 objects`.
pub fn counted(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// `used of limit`, in the unit of the limit: `3.1 of 10 MiB`.
pub fn of(used: u64, limit: u64) -> String {
    let (used, limit) = (Size(used).to_string(), Size(limit).to_string());
    match (used.rsplit_once(' '), limit.rsplit_once(' ')) {
        (Some((number, used_unit)), Some((_, limit_unit))) if used_unit == limit_unit => format!("{number} of {limit}"),
        _ => format!("{used} of {limit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_parse() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("64KiB", 65_536),
            ("10MiB", 10 << 20),
            ("10 MiB", 10 << 20),
            ("10m", 10 << 20),
            ("1.5GiB", 3 << 29),
            ("20MB", 20_000_000),
            ("0.5kB", 500),
            ("2TiB", 2 << 40),
        ] {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
        for bad in ["", "MiB", "-1", "1.2.3", "1.", ".5", "10XB", "1e3", "99999999999TiB", "18446744073709551616"] {
            assert_eq!(bad.parse::<Size>(), Err(NotASize), "{bad}");
        }
    }

    #[test]
    fn sizes_are_told_in_one_unit() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            (10 << 20, "10 MiB"),
            ((10 << 20) - 1, "9.9 MiB"),
            (1 << 40, "1 TiB"),
            (u64::MAX, "16777215.9 TiB"),
        ] {
            assert_eq!(Size(bytes).to_string(), text);
        }
        assert_eq!(of(3_250_586, 10 << 20), "3.1 of 10 MiB");
        assert_eq!(of(512, 10 << 20), "512 B of 10 MiB");
    }
}
