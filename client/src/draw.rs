//! The ids that this side draws.
//!
//! All are UUIDv7 (RFC 9562 §5.7), each later than the one before it in this process: the rows that a vault keeps by them then
//! go to one place, which costs its database a fraction of rows that are strewn over all pages.

use std::sync::atomic::{AtomicU64, Ordering};

use strongroom_core::ids::{ObjectId, PutId, RequestId};
use strongroom_core::keys::secret::{fill_random, random_bytes};

use crate::clock::now;
use crate::error::{Error, Result};

/// A fresh object id.
pub(crate) fn object_id() -> Result<ObjectId> {
    uuid_v7().map(ObjectId::from_bytes)
}

/// A fresh put id.
pub(crate) fn put_id() -> Result<PutId> {
    uuid_v7().map(PutId::from_bytes)
}

/// A fresh object id and a fresh put id for each of so many objects, in their order.
pub(crate) fn object_and_put_ids(count: usize) -> Result<Vec<(ObjectId, PutId)>> {
    let ids = uuids_v7(2 * count)?;
    let pair = |pair: &[[u8; 16]; 2]| (ObjectId::from_bytes(pair[0]), PutId::from_bytes(pair[1]));
    Ok(ids.as_chunks().0.iter().map(pair).collect())
}

/// A fresh request id.
pub(crate) fn request_id() -> Result<RequestId> {
    uuid_v7().map(RequestId::from_bytes)
}

fn uuid_v7() -> Result<[u8; 16]> {
    Ok(uuid_with(now()?.0, random_bytes().map_err(|error| Error::internal(error.to_string()))?))
}

/// So many, of one moment, with random bits that are drawn at once.
fn uuids_v7(count: usize) -> Result<Vec<[u8; 16]>> {
    let mut random = vec![0; 8 * count];
    fill_random(&mut random).map_err(|error| Error::internal(error.to_string()))?;
    let now = now()?.0;
    Ok(random.as_chunks().0.iter().map(|random| uuid_with(now, *random)).collect())
}

/// 48 bits of Unix milliseconds, 12 bits that count within one (RFC 9562 §6.2, method 1), and 62 random bits.
fn uuid_with(now: u64, random: [u8; 8]) -> [u8; 16] {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let clock = now << 12;
    let after = |last: u64| clock.max(last + 1);
    let at = after(LAST.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(after(last))).unwrap_or(clock));
    let mut id = [0; 16];
    id[8..].copy_from_slice(&random);
    id[..6].copy_from_slice(&(at >> 12).to_be_bytes()[2..]);
    id[6] = 0x70 | (at >> 8) as u8 & 0x0f;
    id[7] = at as u8;
    id[8] = 0x80 | (id[8] & 0x3f);
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_uuids_that_grow() {
        let before = now().unwrap().0;
        let mut ids: Vec<[u8; 16]> = (0..10_000).map(|_| uuid_v7().unwrap()).collect();
        ids.extend(uuids_v7(5_000).unwrap());
        ids.push(uuid_v7().unwrap());
        let random: std::collections::HashSet<&[u8]> = ids.iter().map(|id| &id[8..]).collect();
        assert_eq!(random.len(), ids.len());
        assert!(ids.is_sorted_by(|one, next| one < next));
        for id in ids {
            assert_eq!((id[6] >> 4, id[8] >> 6), (7, 2));
            let mut millis = [0; 8];
            millis[2..].copy_from_slice(&id[..6]);
            assert!(u64::from_be_bytes(millis) >= before);
        }
    }
}
