//! Names of tenants, datasets, vendors, snapshots and objects.
//!
//! A name is parsed once, at the edge, and is valid from then on. What breaks a rule is refused, never repaired: a repaired
//! name is a second spelling of the same thing, and scopes are decided on spellings.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use unicode_normalization::UnicodeNormalization;

/// Why a name was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// A tenant, dataset, vendor or snapshot name outside `[a-z0-9][a-z0-9._-]{0,62}`.
    #[error("a name is 1 to 63 of a-z, 0-9, '.', '_' and '-', starting with a letter or digit")]
    NotAName,
    /// A path of no bytes, or of more than [`ObjectPath::MAX_LEN`].
    #[error("a path has 1 to 1024 bytes")]
    Length,
    /// A path that is not in Unicode Normalization Form C.
    #[error("a path is in Unicode form NFC")]
    NotNfc,
    /// A path with an empty segment: a leading, trailing or doubled `/`.
    #[error("a path has no empty segment: no leading, trailing or doubled '/'")]
    EmptySegment,
    /// A path with a segment `.` or `..`.
    #[error("a path has no segment '.' or '..'")]
    DotSegment,
    /// A path with a control character.
    #[error("a path has no control characters")]
    Control,
}

fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    let alphanumeric = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    bytes.len() <= 63
        && bytes.first().is_some_and(alphanumeric)
        && bytes.iter().all(|b| alphanumeric(b) || matches!(b, b'.' | b'_' | b'-'))
}

macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::try_from(text.to_owned())
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                let check: fn(&str) -> Result<(), NameError> = $check;
                check(&text).map(|()| Self(text))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::try_from(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
            }
        }
    };
}

fn check_name(text: &str) -> Result<(), NameError> {
    if is_name(text) { Ok(()) } else { Err(NameError::NotAName) }
}

text_type!(
    /// A tenant's name, unique in its vault; never changes.
    TenantName, check_name
);
text_type!(
    /// A dataset's name, unique in its tenant for ever, also after a deletion; never changes.
    DatasetName, check_name
);
text_type!(
    /// A vendor's name, unique in its tenant.
    VendorName, check_name
);
text_type!(
    /// A snapshot's name, unique in its dataset.
    SnapshotName, check_name
);
text_type!(
    /// The path of an object in its dataset.
    ///
    /// UTF-8 in NFC, 1 to 1024 bytes, segments between `/` that are neither empty nor `.` nor `..`, no control characters.
    ///
    /// ```
    /// use strongroom_core::names::{NameError, ObjectPath};
    /// assert!("math/000007.json".parse::<ObjectPath>().is_ok());
    /// assert_eq!("math//1".parse::<ObjectPath>(), Err(NameError::EmptySegment));
    /// assert_eq!("../secret".parse::<ObjectPath>(), Err(NameError::DotSegment));
    /// assert_eq!("cafe\u{301}".parse::<ObjectPath>(), Err(NameError::NotNfc));
    /// ```
    ObjectPath, check_path
);

impl TenantName {
    /// The name under which the operators' own ledger of a vault is kept: `operators.` and the vault's id.
    pub fn of_operators(vault: &crate::ids::VaultId) -> Self {
        Self(format!("operators.{vault}"))
    }
}

impl ObjectPath {
    /// The longest path, in bytes.
    pub const MAX_LEN: usize = 1024;
}

fn check_path(text: &str) -> Result<(), NameError> {
    if text.is_empty() || text.len() > ObjectPath::MAX_LEN {
        return Err(NameError::Length);
    }
    check_segments(text)?;
    if text.split('/').any(str::is_empty) { Err(NameError::EmptySegment) } else { Ok(()) }
}

/// The rules that hold for a path and for any beginning of one alike.
pub(crate) fn check_segments(text: &str) -> Result<(), NameError> {
    if text.chars().any(char::is_control) {
        return Err(NameError::Control);
    }
    if !text.is_ascii() && !text.nfc().eq(text.chars()) {
        return Err(NameError::NotNfc);
    }
    if text.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Err(NameError::DotSegment);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_grammar() {
        for good in ["a", "0", "acme", "a.b_c-d", &"a".repeat(63)] {
            assert!(good.parse::<TenantName>().is_ok(), "{good}");
        }
        for bad in ["", "A", "-a", ".a", "a/b", "a b", "é", &"a".repeat(64), "a\0"] {
            assert_eq!(bad.parse::<TenantName>(), Err(NameError::NotAName), "{bad}");
        }
    }

    #[test]
    fn each_rule_of_a_path_refuses() {
        let long = "a".repeat(1025);
        for (bad, why) in [
            ("", NameError::Length),
            (long.as_str(), NameError::Length),
            ("/a", NameError::EmptySegment),
            ("a/", NameError::EmptySegment),
            ("a//b", NameError::EmptySegment),
            (".", NameError::DotSegment),
            ("a/./b", NameError::DotSegment),
            ("a/..", NameError::DotSegment),
            ("a\nb", NameError::Control),
            ("a\u{7f}", NameError::Control),
            ("a\u{85}", NameError::Control),
            ("e\u{301}", NameError::NotNfc),
        ] {
            assert_eq!(bad.parse::<ObjectPath>(), Err(why), "{bad:?}");
        }
        for good in ["a", "...", "a/.b", "é/ü.json", "%2e%2e/a", &"a".repeat(1024)] {
            assert!(good.parse::<ObjectPath>().is_ok(), "{good}");
        }
    }
}
