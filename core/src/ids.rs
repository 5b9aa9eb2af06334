//! Identifiers and counts, each its own type, so that an index is never taken for a generation.
//!
//! Every id has one text form (lower-case hex, except a grant's `gr_…`), and parsing refuses any other.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A text or byte string that is not the identifier it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a valid {what}")]
pub struct IdError {
    /// The identifier that was expected, in words.
    pub what: &'static str,
}

macro_rules! byte_id {
    ($(#[$doc:meta])* $name:ident, $len:literal, $what:literal) => {
        byte_id!($(#[$doc])* $name, $len, $what, "");
    };
    ($(#[$doc:meta])* $name:ident, $len:literal, $what:literal, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $len]);

        impl $name {
            /// The number of bytes.
            pub const LEN: usize = $len;

            /// From its bytes.
            pub const fn from_bytes(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            /// Its bytes.
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = IdError;

            fn try_from(bytes: &[u8]) -> Result<Self, IdError> {
                bytes.try_into().map(Self).map_err(|_| IdError { what: $what })
            }
        }

        impl $name {
            /// The text form, without a string being made for it.
            fn with_text<T>(&self, give: impl FnOnce(&str) -> T) -> T {
                const PREFIX: usize = $prefix.len();
                let mut text = [0; PREFIX + 2 * $len];
                text[..PREFIX].copy_from_slice($prefix.as_bytes());
                HEXLOWER.encode_mut(&self.0, &mut text[PREFIX..]);
                give(std::str::from_utf8(&text).unwrap_or_default())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.with_text(|text| f.write_str(text))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                text.strip_prefix($prefix).and_then(from_hex).map(Self).ok_or(IdError { what: $what })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.with_text(|text| serializer.serialize_str(text))
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                from_text(deserializer, $what, str::parse)
            }
        }
    };
}

/// Exactly `N` bytes from their lower-case hex.
pub(crate) fn from_hex<const N: usize>(hex: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let fits = hex.len() == 2 * N && HEXLOWER.decode_mut(hex.as_bytes(), &mut bytes).is_ok();
    fits.then_some(bytes)
}

/// Reads what has a text form out of a string where it stands: entries hold many of these.
pub(crate) fn from_text<'de, D: Deserializer<'de>, T, E: fmt::Display>(
    deserializer: D,
    what: &'static str,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<T, D::Error> {
    struct Text<P>(&'static str, P);

    impl<T, E: fmt::Display, P: FnOnce(&str) -> Result<T, E>> Visitor<'_> for Text<P> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }

        fn visit_str<F: serde::de::Error>(self, text: &str) -> Result<T, F> {
            (self.1)(text).map_err(F::custom)
        }
    }

    deserializer.deserialize_str(Text(what, parse))
}

byte_id!(
    /// A vault: one root key, one vault key, any number of nodes. 16 random bytes.
    VaultId, 16, "vault id"
);
byte_id!(
    /// A tenant. 16 random bytes, drawn by the operator who signs its creation.
    TenantId, 16, "tenant id"
);
impl TenantId {
    /// The id under which the operators' own ledger of a vault is kept: of SHA-256("strongroom/v1/operators" ‖ vault id) the first
    /// 16 bytes.
    pub fn of_operators(vault: &VaultId) -> Self {
        let digest = crate::identity::sha256(&[&b"strongroom/v1/operators"[..], vault.as_bytes()].concat());
        let mut id = [0; Self::LEN];
        id.copy_from_slice(&digest[..Self::LEN]);
        Self(id)
    }
}

byte_id!(
    /// A dataset of a tenant: the first 16 bytes of the id of the order that created it.
    DatasetId, 16, "dataset id"
);
byte_id!(
    /// One sealed generation of an object: a UUIDv7 drawn by the sealer, part of the sealed header.
    ObjectId, 16, "object id"
);
byte_id!(
    /// A grant: `gr_` and the first 16 bytes of its order's id.
    GrantId, 16, "grant id (gr_ and 32 hex digits)", "gr_"
);
byte_id!(
    /// A vendor of a tenant: `vd_` and the first 16 bytes of the id of the order that registered it.
    VendorId, 16, "vendor id (vd_ and 32 hex digits)", "vd_"
);
byte_id!(
    /// An incident: `in_` and the first 16 bytes of the id of the order that opened it.
    IncidentId, 16, "incident id (in_ and 32 hex digits)", "in_"
);
byte_id!(
    /// One attempt to put, chosen by the client: repeating a committed one answers as before.
    PutId, 16, "put id"
);
byte_id!(
    /// One call as its caller meant it: unique per key for 15 minutes, kept by retries and resumed streams.
    RequestId, 16, "request id"
);
byte_id!(
    /// A server process: drawn at start.
    NodeId, 16, "node id"
);
byte_id!(
    /// SHA-256 of a session's opening.
    SessionId, 32, "session id"
);
byte_id!(
    /// SHA-256 of an order's signed bytes.
    OrderId, 32, "order id"
);
byte_id!(
    /// SHA-256 over (session id, SHA-256 of the ledger's origin, SHA-256 of the request's bytes).
    CallDigest, 32, "call digest"
);
byte_id!(
    /// A 32-byte digest: SHA-256 or BLAKE3, as the field says.
    Digest, 32, "digest"
);

macro_rules! named_by_order {
    ($($name:ident: $what:literal,)*) => {
        $(impl From<OrderId> for $name {
            #[doc = concat!("The id of the ", $what, " that this order makes.")]
            fn from(order: OrderId) -> Self {
                let mut id = [0; 16];
                id.copy_from_slice(&order.0[..16]);
                Self(id)
            }
        })*
    };
}

named_by_order! { GrantId: "grant", VendorId: "vendor", DatasetId: "dataset", IncidentId: "incident", }

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(
    /// The place of an entry in its ledger, from 0, without gaps.
    Index
);
number!(
    /// Which writing of a path: 1 is the first; a delete takes a number too.
    Generation
);
number!(
    /// A point in time: Unix milliseconds, UTC.
    Millis
);

/// A half-open range of segments, `start..end`, never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentRange {
    start: u32,
    end: u32,
}

impl SegmentRange {
    /// `start..end`; `None` if that is empty.
    ///
    /// ```
    /// use strongroom_core::ids::SegmentRange;
    /// assert!(SegmentRange::new(3, 3).is_none());
    /// assert_eq!(SegmentRange::new(0, 2).unwrap().count(), 2);
    /// ```
    pub const fn new(start: u32, end: u32) -> Option<Self> {
        if start < end { Some(Self { start, end }) } else { None }
    }

    /// The first segment.
    pub const fn start(self) -> u32 {
        self.start
    }

    /// One past the last segment.
    pub const fn end(self) -> u32 {
        self.end
    }

    /// How many segments; at least 1.
    pub const fn count(self) -> u32 {
        self.end - self.start
    }

    /// Whether segment `i` is in it.
    pub const fn contains(self, i: u32) -> bool {
        self.start <= i && i < self.end
    }

    /// What both have; `None` if nothing.
    pub fn intersect(self, other: Self) -> Option<Self> {
        Self::new(self.start.max(other.start), self.end.min(other.end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_one_text_form() {
        let id = GrantId::from_bytes([0xab; 16]);
        assert_eq!(id.to_string(), format!("gr_{}", "ab".repeat(16)));
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!("ab".repeat(16).parse::<GrantId>().is_err());
        assert!(format!("gr_{}", "AB".repeat(16)).parse::<GrantId>().is_err());
        assert!("00".parse::<ObjectId>().is_err());
        assert!("0".repeat(31).parse::<ObjectId>().is_err());
        assert!("zz".repeat(16).parse::<ObjectId>().is_err());
        let text = serde_json::to_string(&id).unwrap();
        assert_eq!(text, format!("\"{id}\""));
        assert_eq!(serde_json::from_str::<GrantId>(&text).unwrap(), id);
        assert!(serde_json::from_str::<GrantId>(&text.replace("ab", "a\\u0062")).is_ok_and(|read| read == id));
        assert!(serde_json::from_str::<GrantId>(&text.replace("gr_", "")).is_err());
        assert!(serde_json::from_str::<GrantId>("7").is_err());
    }
}
