//! The 24 bytes before the segments: what was sealed, and how.
//!
//! They are bound into the key tree (the root is derived from the object key *and* the header) and into the content
//! root, so a header cannot be exchanged under a blob. Suite, flags and mode are reserved for what may come (another
//! AEAD, padding, two key holders); a reader that does not know a value refuses it instead of guessing.

use super::HEADER_LEN;
use crate::ids::ObjectId;

const MAGIC: [u8; 4] = *b"SRO1";
const SUITE_AES_256_GCM: u8 = 1;
const LOG2_SEGMENT_SIZE: u8 = 16;
const FLAGS_NONE: u8 = 0;
const MODE_ONE_KEY_HOLDER: u8 = 0;

/// A header of format 1: `"SRO1" ‖ suite 1 ‖ 16 ‖ flags 0 ‖ mode 0 ‖ object id (16)`.
///
/// All but the object id is fixed today, so that is all it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    object_id: ObjectId,
}

impl Header {
    /// The header of an object with this id, drawn fresh for each attempt to seal.
    pub const fn new(object_id: ObjectId) -> Header {
        Header { object_id }
    }

    /// The object that was sealed.
    pub const fn object_id(&self) -> ObjectId {
        self.object_id
    }

    /// The bytes with which the blob begins.
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4..8].copy_from_slice(&[SUITE_AES_256_GCM, LOG2_SEGMENT_SIZE, FLAGS_NONE, MODE_ONE_KEY_HOLDER]);
        bytes[8..].copy_from_slice(self.object_id.as_bytes());
        bytes
    }

    /// From exactly the bytes that [`Header::encode`] gives.
    ///
    /// ```
    /// use strongroom_core::{ids::ObjectId, sealed::header::{Header, HeaderError}};
    /// let header = Header::new(ObjectId::from_bytes([7; 16]));
    /// let mut bytes = header.encode();
    /// assert_eq!(Header::parse(&bytes), Ok(header));
    /// bytes[6] = 1;
    /// assert_eq!(Header::parse(&bytes), Err(HeaderError::Flags(1)));
    /// ```
    ///
    /// # Errors
    /// The first of [`HeaderError`]'s cases that applies, in their order.
    pub fn parse(bytes: &[u8]) -> Result<Header, HeaderError> {
        let bytes: &[u8; HEADER_LEN] = bytes.try_into().map_err(|_| HeaderError::Length(bytes.len()))?;
        let (magic, rest) = bytes.split_first_chunk::<4>().expect("24 bytes have a first 4");
        let ([suite, segment_size, flags, mode], id) = rest.split_first_chunk::<4>().expect("20 bytes have a first 4");
        if *magic != MAGIC {
            return Err(HeaderError::Magic);
        }
        if *suite != SUITE_AES_256_GCM {
            return Err(HeaderError::Suite(*suite));
        }
        if *segment_size != LOG2_SEGMENT_SIZE {
            return Err(HeaderError::SegmentSize(*segment_size));
        }
        if *flags != FLAGS_NONE {
            return Err(HeaderError::Flags(*flags));
        }
        if *mode != MODE_ONE_KEY_HOLDER {
            return Err(HeaderError::Mode(*mode));
        }
        Ok(Header { object_id: ObjectId::try_from(id).expect("16 bytes remain") })
    }
}

/// Bytes that are not a header of format 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// A header has exactly 24 bytes.
    #[error("a sealed object's header has 24 bytes, not {0}")]
    Length(usize),
    /// It does not begin with `SRO1`.
    #[error("not a sealed object of format 1")]
    Magic,
    /// A suite other than AES-256-GCM.
    #[error("unknown cipher suite {0}")]
    Suite(u8),
    /// Segments of another size (its binary logarithm) than 64 KiB.
    #[error("unknown segment size 2^{0}")]
    SegmentSize(u8),
    /// Reserved flags are set.
    #[error("reserved flags {0:#04x} are set")]
    Flags(u8),
    /// A reserved mode.
    #[error("unknown mode {0}")]
    Mode(u8),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reserved_byte_has_one_value() {
        let good = Header::new(ObjectId::from_bytes(*b"0123456789abcdef")).encode();
        for at in 0..8 {
            for value in (0..=255).filter(|value| *value != good[at]) {
                let mut bytes = good;
                bytes[at] = value;
                let expected = match at {
                    4 => HeaderError::Suite(value),
                    5 => HeaderError::SegmentSize(value),
                    6 => HeaderError::Flags(value),
                    7 => HeaderError::Mode(value),
                    _ => HeaderError::Magic,
                };
                assert_eq!(Header::parse(&bytes), Err(expected));
            }
        }
        assert_eq!(Header::parse(&good).unwrap().encode(), good);
    }

    #[test]
    fn a_header_has_24_bytes() {
        let good = Header::new(ObjectId::from_bytes([0; 16])).encode();
        for len in 0..HEADER_LEN {
            assert_eq!(Header::parse(&good[..len]), Err(HeaderError::Length(len)));
        }
        assert_eq!(Header::parse(&[&good[..], &[0]].concat()), Err(HeaderError::Length(25)));
    }
}
