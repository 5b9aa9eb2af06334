//! Exact JSON: what is signed or hashed has one spelling.
//!
//! Two parsers that read one text differently are how signed documents get forged. So a document is read into its type and
//! written again, and any text but that one is refused: other white space, another order of fields, an unknown or doubled
//! field, a number written otherwise or over 2⁵³−1 (where JavaScript and many others stop counting).

use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Serializer;
use serde_json::ser::{CompactFormatter, Formatter};

/// The largest integer in exact JSON: 2⁵³−1.
pub const MAX_INTEGER: u64 = (1 << 53) - 1;

/// Why bytes are not the exact JSON of a type.
#[derive(Debug, thiserror::Error)]
pub enum ExactError {
    /// Not JSON, or not of this shape: a field is missing, unknown, doubled or of another type.
    #[error("not the expected JSON: {0}")]
    Shape(#[from] serde_json::Error),
    /// The same content, spelled otherwise.
    #[error("not spelled exactly as it is written by this format")]
    NotExact,
    /// An integer over [`MAX_INTEGER`].
    #[error("an integer over 2^53-1")]
    Integer,
}

/// The exact JSON of `value`.
///
/// # Errors
/// [`ExactError::Integer`] if a number in it is over [`MAX_INTEGER`]; [`ExactError::Shape`] if its type cannot be written.
pub fn to_vec<T: Serialize>(value: &T) -> Result<Vec<u8>, ExactError> {
    to_vec_of(value, 256)
}

/// As [`to_vec`], for what is known to have about `size` bytes: a long document that outgrows its memory is copied time and again.
///
/// # Errors
/// As [`to_vec`].
pub fn to_vec_of<T: Serialize>(value: &T, size: usize) -> Result<Vec<u8>, ExactError> {
    let mut bytes = Vec::with_capacity(size);
    write(value, &mut bytes)?;
    Ok(bytes)
}

/// Reads `bytes` as a `T` and refuses them unless they are exactly what [`to_vec`] writes for it.
///
/// # Errors
/// Each kind of [`ExactError`].
pub fn from_slice<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Result<T, ExactError> {
    let value: T = serde_json::from_slice(bytes)?;
    let mut same = Same(bytes);
    write(&value, &mut same)?;
    if same.0.is_empty() { Ok(value) } else { Err(ExactError::NotExact) }
}

fn write<T: Serialize>(value: &T, to: impl io::Write) -> Result<(), ExactError> {
    let written = value.serialize(&mut Serializer::with_formatter(to, Bounded));
    written.map_err(|error| match error.io_error_kind() {
        Some(OVER) => ExactError::Integer,
        Some(_) => ExactError::NotExact,
        None => ExactError::Shape(error),
    })
}

/// How [`Bounded`] says that an integer is over [`MAX_INTEGER`].
const OVER: io::ErrorKind = io::ErrorKind::InvalidData;

/// Writes no integer over [`MAX_INTEGER`]; those of at most 32 bits are below it.
struct Bounded;

impl Formatter for Bounded {
    fn write_u64<W: io::Write + ?Sized>(&mut self, writer: &mut W, value: u64) -> io::Result<()> {
        if value > MAX_INTEGER {
            return Err(OVER.into());
        }
        CompactFormatter.write_u64(writer, value)
    }

    fn write_i64<W: io::Write + ?Sized>(&mut self, writer: &mut W, value: i64) -> io::Result<()> {
        if value.unsigned_abs() > MAX_INTEGER {
            return Err(OVER.into());
        }
        CompactFormatter.write_i64(writer, value)
    }

    fn write_u128<W: io::Write + ?Sized>(&mut self, writer: &mut W, value: u128) -> io::Result<()> {
        self.write_u64(writer, u64::try_from(value).map_err(|_| OVER)?)
    }

    fn write_i128<W: io::Write + ?Sized>(&mut self, writer: &mut W, value: i128) -> io::Result<()> {
        self.write_i64(writer, i64::try_from(value).map_err(|_| OVER)?)
    }
}

/// Compares what is written with what is left of some bytes, instead of keeping it.
struct Same<'a>(&'a [u8]);

impl io::Write for Same<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.strip_prefix(bytes).ok_or(io::ErrorKind::Other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Doc {
        a: u64,
        b: String,
    }

    #[test]
    fn one_spelling_only() {
        let exact = br#"{"a":1,"b":"99999999999999999999\""}"#;
        assert!(from_slice::<Doc>(exact).is_ok());
        for other in [
            r#"{"a":1, "b":""}"#,
            r#"{"b":"","a":1}"#,
            r#"{"a":1,"b":"","c":1}"#,
            r#"{"a":1,"a":1,"b":""}"#,
            r#"{"a":1,"b":"\u0041"}"#,
            r#"{"a":1.0,"b":""}"#,
            r#"{"a":9007199254740992,"b":""}"#,
            r#"{"a":1,"b":""} "#,
        ] {
            assert!(from_slice::<Doc>(other.as_bytes()).is_err(), "{other}");
        }
        assert!(from_slice::<Doc>(br#"{"a":9007199254740991,"b":""}"#).is_ok());
    }

    #[test]
    fn no_integer_is_too_large_wherever_it_stands() {
        let over = MAX_INTEGER + 1;
        assert!(matches!(to_vec(&(1, over)), Err(ExactError::Integer)));
        assert!(matches!(to_vec(&u128::MAX), Err(ExactError::Integer)));
        assert!(matches!(to_vec(&i128::MIN), Err(ExactError::Integer)));
        assert!(matches!(to_vec(&-(over as i64)), Err(ExactError::Integer)));
        assert!(matches!(from_slice::<Vec<u64>>(b"[9007199254740992]"), Err(ExactError::Integer)));
        for written in [to_vec(&MAX_INTEGER), to_vec(&u128::from(MAX_INTEGER)), to_vec(&(MAX_INTEGER as i128))] {
            assert_eq!(written.unwrap(), b"9007199254740991");
        }
        assert_eq!(to_vec(&-(MAX_INTEGER as i64)).unwrap(), b"-9007199254740991");
        assert_eq!(to_vec(&over.to_string()).unwrap(), b"\"9007199254740992\"");
    }

    #[test]
    fn the_beginning_of_a_document_is_none() {
        assert!(matches!(from_slice::<Vec<u64>>(b"[1,2] "), Err(ExactError::NotExact)));
        assert!(matches!(from_slice::<Vec<u64>>(b"[1, 2]"), Err(ExactError::NotExact)));
        assert!(matches!(from_slice::<Vec<u64>>(b"[1,2"), Err(ExactError::Shape(_))));
    }
}
