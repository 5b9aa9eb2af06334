//! What a request did so far, so that what comes again is answered and not charged again.
//!
//! A request is a (key, request id): it outlives the session that it began in. Its memory is a row of the catalog, so that every
//! node knows it; what is in there decides charges only, and replay counts again.

use strongroom_core::grant::Refusal;
use strongroom_core::identity::Fingerprint;
use strongroom_core::ids::{Digest, Generation, Index, Millis, RequestId, SegmentRange};
use strongroom_core::reason::Reason;

use super::attempt::{Hidden, ReleasePart};
use crate::catalog::CatalogError;
use crate::catalog::requests::{RequestKey, RequestRow};

/// The row of a request: its id, and half of its key's fingerprint. The id comes first because SDKs draw ids that grow with
/// time, and rows that go to one place cost a fraction of rows that are strewn over all pages.
pub(super) fn request_key(key: &Fingerprint, request: &RequestId) -> RequestKey {
    let mut row = [0; 32];
    row[..16].copy_from_slice(request.as_bytes());
    row[16..].copy_from_slice(&key.as_bytes()[..16]);
    row
}

/// A request that is remembered, or begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    /// The time of its newest entry.
    pub(super) newest: Millis,
    /// SHA-256 of the request's bytes.
    pub(super) digest: Digest,
    /// What was released, sorted; neighbours are one.
    released: Vec<Released>,
    /// What became of each item of a delete.
    pub(super) hidden: Vec<Result<Hidden, Refusal>>,
}

/// Segments of an object that an item had released.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Released {
    item: u32,
    index: Index,
    ordinal: u32,
    start: u32,
    end: u32,
}

/// Whether an item had this part before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Had {
    /// All of it.
    All,
    /// Nothing of it.
    Nothing,
    /// Some of it, which no repetition of one request comes to.
    Some,
}

impl Request {
    pub(super) fn new(newest: Millis, digest: Digest) -> Self {
        Self { newest, digest, released: Vec::new(), hidden: Vec::new() }
    }

    /// Whether this item was released anything before.
    pub(super) fn has_item(&self, item: u32) -> bool {
        self.released.binary_search_by(|released| released.item.cmp(&item)).is_ok()
    }

    /// Whether this part was released before.
    pub(super) fn had(&self, part: &ReleasePart) -> Had {
        let (start, end) = (part.range.start(), part.range.end());
        let mine = |r: &&Released| (r.item, r.index, r.ordinal) == (part.item, part.object.index, part.object.ordinal);
        let from = self.released.partition_point(|released| released.item < part.item);
        let of_item = self.released[from..].iter().take_while(|released| released.item == part.item);
        let mut overlapping = of_item.filter(mine).filter(|released| released.start < end && start < released.end);
        match overlapping.next() {
            None => Had::Nothing,
            Some(released) if released.start <= start && end <= released.end => Had::All,
            Some(_) => Had::Some,
        }
    }

    /// Keeps these parts.
    pub(super) fn release<'a>(&mut self, parts: impl IntoIterator<Item = &'a ReleasePart>) {
        let released = |part: &ReleasePart| Released {
            item: part.item,
            index: part.object.index,
            ordinal: part.object.ordinal,
            start: part.range.start(),
            end: part.range.end(),
        };
        self.released.extend(parts.into_iter().map(released));
        self.released.sort_unstable();
        self.released.dedup_by(|next, one| {
            let follows =
                (next.item, next.index, next.ordinal, next.start) == (one.item, one.index, one.ordinal, one.end);
            if follows {
                one.end = next.end;
            }
            follows
        });
    }

    /// The row to keep.
    pub(super) fn to_row(&self) -> RequestRow {
        let mut done = Vec::with_capacity(4 + 24 * self.released.len() + 20 * self.hidden.len());
        done.extend_from_slice(&u32::try_from(self.released.len()).unwrap_or(u32::MAX).to_be_bytes());
        for Released { item, index, ordinal, start, end } in &self.released {
            done.extend_from_slice(&item.to_be_bytes());
            done.extend_from_slice(&index.0.to_be_bytes());
            [ordinal, start, end].iter().for_each(|number| done.extend_from_slice(&number.to_be_bytes()));
        }
        for outcome in &self.hidden {
            match outcome {
                Ok(Hidden { generation, index }) => {
                    done.push(0);
                    done.extend_from_slice(&generation.0.to_be_bytes());
                    done.extend_from_slice(&index.0.to_be_bytes());
                }
                Err(Refusal { reason, detail, .. }) => {
                    let (code, detail) = (reason.code().as_bytes(), detail.as_bytes());
                    done.push(u8::try_from(code.len()).unwrap_or(u8::MAX));
                    done.extend_from_slice(code);
                    done.extend_from_slice(&u16::try_from(detail.len()).unwrap_or(u16::MAX).to_be_bytes());
                    done.extend_from_slice(detail);
                }
            }
        }
        RequestRow { newest: self.newest, digest: self.digest, done }
    }

    /// Reads a row back.
    pub(super) fn from_row(row: &RequestRow) -> Result<Self, CatalogError> {
        let mut reader = Reader(&row.done);
        let read = |reader: &mut Reader<'_>| {
            let mut request = Self::new(row.newest, row.digest);
            for _ in 0..reader.u32()? {
                let (item, index) = (reader.u32()?, Index(reader.u64()?));
                let (ordinal, start, end) = (reader.u32()?, reader.u32()?, reader.u32()?);
                SegmentRange::new(start, end)?;
                request.released.push(Released { item, index, ordinal, start, end });
            }
            while !reader.0.is_empty() {
                request.hidden.push(match reader.take(1)?[0] {
                    0 => Ok(Hidden { generation: Generation(reader.u64()?), index: Index(reader.u64()?) }),
                    length => {
                        let reason: Reason = std::str::from_utf8(reader.take(length.into())?).ok()?.parse().ok()?;
                        let length = u16::from_be_bytes(reader.take(2)?.try_into().ok()?);
                        let detail = std::str::from_utf8(reader.take(length.into())?).ok()?;
                        Err(Refusal::new(reason, detail.to_owned()))
                    }
                });
            }
            Some(request)
        };
        let broken = || CatalogError::Integrity("the row of a request holds no request".to_owned());
        read(&mut reader).filter(|request| request.released.is_sorted()).ok_or_else(broken)
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_be_bytes(self.take(8)?.try_into().ok()?))
    }
}
