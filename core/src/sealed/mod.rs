//! The sealed object, format 1: what stands in the bucket, and how a reader knows that it is whole and unchanged.
//!
//! A dataset's object is cut into segments of 64 KiB, each sealed on its own with a key of its own. So a reader can be
//! given the keys of exactly the range that it asked for, several cores can work on one object, and a byte in the
//! middle of 10 GiB costs one segment. An object's steps, in order of use:
//!
//! | step | module | type |
//! | --- | --- | --- |
//! | say what is sealed and how | [`header`] | [`header::Header`] |
//! | where everything stands in the blob | [`layout`] | [`layout::Layout`] |
//! | a key for each segment, and the fewest keys that cover a range | [`tree`] | [`tree::ObjectRoot`], [`tree::CoverKeys`] |
//! | seal and open one segment | [`segment`] | [`segment::seal`], [`segment::open`] |
//! | one digest for all of it | [`content`] | [`content::Content`], [`content::ContentVerifier`] |
//!
//! Why both a tag and a digest: the symmetric keys of a segment are in the hands of everybody who may read it, so a
//! reader who can also write the bucket can forge tags. What it cannot forge is the content root, which was recorded
//! when the object was committed and which travels with the keys. Readers compare first and open after.
//!
//! Invariants:
//! - An object key seals one attempt to upload one object, and a leaf key one segment of it. Another attempt draws
//!   another key and id; bytes may be sent again, never sealed again.
//! - There is one encoding: reserved bytes are refused, a short segment is the last, and only an empty object has an
//!   empty segment.
//! - The size comes from whoever vouches for the object (its signed put, its parcel), never from the blob.
//!
//! ```
//! use strongroom_core::ids::ObjectId;
//! use strongroom_core::keys::secret::Key;
//! use strongroom_core::sealed::content::{ContentHasher, ContentVerifier};
//! use strongroom_core::sealed::{header::Header, layout::Layout, segment, tree::CoverKeys, tree::ObjectRoot};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // The sealer draws a key and an id, seals, and computes the content root.
//! let header = Header::new(ObjectId::from_bytes([1; 16]));
//! let root = ObjectRoot::derive(&Key::random()?, &header);
//! let mut blob = header.encode().to_vec();
//! segment::seal(&root.leaf(0), 0, true, b"what is 2 + 2?", &mut blob)?;
//! let mut hasher = ContentHasher::new();
//! hasher.update(&blob);
//! let content = hasher.finish(14)?;
//!
//! // A reader gets the keys of the range, the size and the content root; it compares, then opens.
//! let keys = CoverKeys::derive(&root, Layout::new(14)?.all());
//! let verifier = ContentVerifier::new(header, 14, content.root, &[])?;
//! let sealed = &mut blob[24..];
//! verifier.check_only_segment(sealed)?;
//! let leaf = keys.leaf(0).expect("the keys cover segment 0");
//! assert_eq!(segment::open(&leaf, 0, true, sealed)?, b"what is 2 + 2?");
//!
//! // The same bytes under another place or flag do not open.
//! let mut sealed = blob[24..].to_vec();
//! assert!(segment::open(&root.leaf(1), 1, true, &mut sealed).is_err());
//! # Ok(())
//! # }
//! ```
//!
//! The format is published in `FORMAT.md`, with vectors from an independent implementation.

pub mod content;
pub mod header;
pub mod layout;
pub mod segment;
pub mod tree;

#[cfg(test)]
mod tests;

/// Bytes of plaintext in every segment but the last.
pub const SEGMENT_SIZE: usize = 65536;
/// Bytes that sealing adds to a segment: commitment (32), nonce (12) and tag (16).
pub const SEGMENT_OVERHEAD: usize = 60;
/// Bytes of a full segment, sealed.
pub const SEALED_SEGMENT_LEN: usize = SEGMENT_SIZE + SEGMENT_OVERHEAD;
/// Segments in a window, the unit in which keys are released: 64 MiB of plaintext.
pub const WINDOW_SEGMENTS: u32 = 1024;
/// The most segments that an object can have: 16 TiB of plaintext.
pub const MAX_SEGMENTS: u32 = 1 << 28;
/// Bytes of the header, with which every blob begins.
pub const HEADER_LEN: usize = 24;
/// The most keys that a range within one window takes: all of it but the first and last segment.
pub const MAX_COVER_NODES: usize = 512;
