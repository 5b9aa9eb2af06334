//! Exact JSON: what is signed or hashed has one spelling.
//!
//! Two parsers that read one text differently are how signed documents get forged. So a document is read into its type and
//! written again, and any text but that one is refused: other white space, another order of fields, an unknown or doubled
//! field, a number written otherwise or over 2⁵³−1 (where JavaScript and many others stop counting).

use serde::Serialize;
use serde::de::DeserializeOwned;

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
    let bytes = serde_json::to_vec(value)?;
    if has_large_integer(&bytes) { Err(ExactError::Integer) } else { Ok(bytes) }
}

/// Reads `bytes` as a `T` and refuses them unless they are exactly what [`to_vec`] writes for it.
///
/// # Errors
/// Each kind of [`ExactError`].
pub fn from_slice<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Result<T, ExactError> {
    let value: T = serde_json::from_slice(bytes)?;
    if to_vec(&value)? == bytes { Ok(value) } else { Err(ExactError::NotExact) }
}

/// Looks for a run of digits outside strings that is over [`MAX_INTEGER`].
fn has_large_integer(json: &[u8]) -> bool {
    let (mut in_string, mut escaped, mut number) = (false, false, 0_u64);
    for &byte in json {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
        } else if byte.is_ascii_digit() {
            number = number.saturating_mul(10).saturating_add(u64::from(byte - b'0'));
            if number > MAX_INTEGER {
                return true;
            }
        } else {
            number = 0;
            in_string = byte == b'"';
        }
    }
    false
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
}
