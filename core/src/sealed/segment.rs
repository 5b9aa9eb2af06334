//! One segment, sealed and opened.
//!
//! ```text
//! seal key   = HKDF-Expand(leaf, "strongroom/v1/seal", 32)
//! commitment = HKDF-Expand(leaf, "strongroom/v1/commit", 32)
//! segment i  = commitment (32) ‖ nonce (12, random) ‖ ciphertext ‖ tag (16)
//! AAD        = "strongroom/v1/segment" ‖ i (u32 BE) ‖ last (1 on the last segment, else 0)
//! ```
//!
//! The commitment is there because AES-GCM is not key-committing: without it, somebody could craft one ciphertext that
//! opens under two keys to two texts, and two labelling vendors would "read" different data from the same bytes.
//!
//! The index keeps segments in order even though each has its own leaf; `last` keeps the end from being cut off. The
//! nonce is random although a leaf seals once, so that a caller who breaks that rule by resealing loses less.

use super::tree::Leaf;
use super::{SEGMENT_OVERHEAD, SEGMENT_SIZE};
use crate::keys::secret::{Expander, Key, NONCE_LEN, RandomError, open_in_place, random_bytes, seal_in_place};

const COMMITMENT_LEN: usize = Key::LEN;
const AAD_LABEL: &[u8; 21] = b"strongroom/v1/segment";

/// Seals segment `i` and appends it to `out`: `plaintext`'s length and 60 bytes more.
///
/// The plaintext is copied once, into `out`, and encrypted there. With 60 spare bytes in `out`'s capacity nothing is
/// allocated.
///
/// # Errors
/// If there is no randomness for the nonce; `out` is then as it was.
///
/// # Panics
/// If `plaintext` cannot be segment `i`: longer than 64 KiB, shorter although it is not the last, or empty although it
/// is not the first.
pub fn seal(leaf: &Leaf, i: u32, last: bool, plaintext: &[u8], out: &mut Vec<u8>) -> Result<(), RandomError> {
    seal_with_nonce(leaf, i, last, plaintext, random_bytes()?, out);
    Ok(())
}

/// [`seal`] with a given nonce: for vectors.
pub(super) fn seal_with_nonce(
    leaf: &Leaf,
    i: u32,
    last: bool,
    plaintext: &[u8],
    nonce: [u8; NONCE_LEN],
    out: &mut Vec<u8>,
) {
    assert!(is_plain_len(plaintext.len(), i, last), "a segment of {} bytes", plaintext.len());
    let keys = SegmentKeys::derive(leaf);
    out.reserve(plaintext.len() + SEGMENT_OVERHEAD);
    out.extend_from_slice(keys.commitment.expose());
    out.extend_from_slice(&nonce);
    let start = out.len();
    out.extend_from_slice(plaintext);
    let tag = seal_in_place(&keys.seal, nonce, &aad(i, last), &mut out[start..]);
    out.extend_from_slice(&tag);
}

/// Opens segment `i` where it stands and returns its plaintext, which is a part of `segment`.
///
/// Compare its digest with the content root first ([`super::content::ContentVerifier`]): the keys here are in every
/// reader's hands.
///
/// # Errors
/// [`OpenError`]; `segment` holds no plaintext then.
pub fn open<'a>(leaf: &Leaf, i: u32, last: bool, segment: &'a mut [u8]) -> Result<&'a [u8], OpenError> {
    let len = segment.len();
    if len.checked_sub(SEGMENT_OVERHEAD).is_none_or(|plain_len| !is_plain_len(plain_len, i, last)) {
        return Err(OpenError::Length(len));
    }
    let (commitment, rest) = segment.split_first_chunk::<COMMITMENT_LEN>().ok_or(OpenError::Length(len))?;
    let keys = SegmentKeys::derive(leaf);
    // blake3's comparison of hashes takes the same time for all bytes; ring has none that it offers for use.
    if blake3::Hash::from_bytes(*commitment) != blake3::Hash::from_bytes(*keys.commitment.expose()) {
        return Err(OpenError::Commitment);
    }
    let nonce = *rest.first_chunk::<NONCE_LEN>().ok_or(OpenError::Length(len))?;
    let sealed = &mut segment[COMMITMENT_LEN + NONCE_LEN..];
    match open_in_place(&keys.seal, nonce, &aad(i, last), sealed) {
        Some(plaintext) => Ok(plaintext),
        None => Err(OpenError::Tag),
    }
}

/// A segment that does not open. What stands there is not what was sealed in this place under this key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// No segment of this place has so many bytes.
    #[error("a sealed segment cannot have {0} bytes here")]
    Length(usize),
    /// It was sealed under another leaf: another object, another attempt, another place, or changed since.
    #[error("a segment is sealed under another key")]
    Commitment,
    /// Its bytes, its place or its being the last were changed.
    #[error("a segment was changed")]
    Tag,
}

/// Whether segment `i` can have so many bytes of plaintext: all but the last are full, and only an object without any
/// byte has an empty one.
const fn is_plain_len(len: usize, i: u32, last: bool) -> bool {
    if last { len <= SEGMENT_SIZE && (len > 0 || i == 0) } else { len == SEGMENT_SIZE }
}

fn aad(i: u32, last: bool) -> [u8; AAD_LABEL.len() + 5] {
    let mut aad = [0; AAD_LABEL.len() + 5];
    let (label, place) = aad.split_at_mut(AAD_LABEL.len());
    label.copy_from_slice(AAD_LABEL);
    place[..4].copy_from_slice(&i.to_be_bytes());
    place[4] = u8::from(last);
    aad
}

pub(super) struct SegmentKeys {
    pub(super) seal: Key,
    pub(super) commitment: Key,
}

impl SegmentKeys {
    pub(super) fn derive(leaf: &Leaf) -> SegmentKeys {
        let leaf = Expander::new(leaf.key());
        SegmentKeys { seal: leaf.expand(&[b"strongroom/v1/seal"]), commitment: leaf.expand(&[b"strongroom/v1/commit"]) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sealed::tree::ObjectRoot;

    fn leaf(i: u32) -> Leaf {
        ObjectRoot::from_key(Key::from_bytes([5; 32])).leaf(i)
    }

    fn sealed(i: u32, last: bool, plaintext: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        seal(&leaf(i), i, last, plaintext, &mut out).unwrap();
        out
    }

    #[test]
    fn lengths_that_no_segment_has_are_refused_before_anything_else() {
        for (i, last, len) in [
            (0, true, 0),
            (0, true, SEGMENT_OVERHEAD - 1),
            (0, true, SEGMENT_SIZE + SEGMENT_OVERHEAD + 1),
            (0, false, SEGMENT_OVERHEAD),
            (0, false, SEGMENT_SIZE + SEGMENT_OVERHEAD - 1),
            (0, false, SEGMENT_SIZE + SEGMENT_OVERHEAD + 1),
            (1, true, SEGMENT_OVERHEAD),
        ] {
            assert_eq!(open(&leaf(i), i, last, &mut vec![0; len]), Err(OpenError::Length(len)));
        }
    }

    #[test]
    fn each_refusal_says_what_it_found() {
        let good = sealed(3, true, b"text");
        assert_eq!(open(&leaf(3), 3, true, &mut good.clone()), Ok(&b"text"[..]));
        assert_eq!(open(&leaf(4), 3, true, &mut good.clone()), Err(OpenError::Commitment));
        assert_eq!(open(&leaf(3), 4, true, &mut good.clone()), Err(OpenError::Tag));
        let mut changed = good.clone();
        changed[40] ^= 1;
        assert_eq!(open(&leaf(3), 3, true, &mut changed), Err(OpenError::Tag));
        assert!(!changed.windows(4).any(|w| w == b"text"), "no plaintext is left behind");
    }

    #[test]
    fn a_commitment_is_checked_in_every_byte() {
        let good = sealed(0, true, b"");
        for at in 0..COMMITMENT_LEN {
            let mut changed = good.clone();
            changed[at] ^= 0x80;
            assert_eq!(open(&leaf(0), 0, true, &mut changed), Err(OpenError::Commitment));
        }
    }

    #[test]
    #[should_panic(expected = "a segment of 0 bytes")]
    fn an_empty_segment_is_sealed_for_an_empty_object_only() {
        sealed(1, true, b"");
    }

    #[test]
    #[should_panic(expected = "a segment of 4 bytes")]
    fn a_short_segment_is_sealed_as_the_last_only() {
        sealed(0, false, b"text");
    }

    #[test]
    #[should_panic(expected = "a segment of 65537 bytes")]
    fn no_segment_is_longer_than_64_kib() {
        sealed(0, true, &[0; SEGMENT_SIZE + 1]);
    }
}
