//! The ids that this side draws.
//!
//! All are UUIDv7 (RFC 9562 §5.7), each later than the one before it in this process: the rows that a vault keeps by them then
//! go to one place, which costs its database a fraction of rows that are strewn over all pages.

use std::sync::atomic::{AtomicU64, Ordering};

use strongroom_core::ids::{ObjectId, PutId, RequestId};
use strongroom_core::keys::secret::random_bytes;

use crate::admin::now;
use crate::error::{Error, Result};

/// A fresh object id.
pub(crate) fn object_id() -> Result<ObjectId> {
    uuid_v7().map(ObjectId::from_bytes)
}

/// A fresh put id.
pub(crate) fn put_id() -> Result<PutId> {
    uuid_v7().map(PutId::from_bytes)
}

/// A fresh request id.
pub(crate) fn request_id() -> Result<RequestId> {
    uuid_v7().map(RequestId::from_bytes)
}

/// 48 bits of Unix milliseconds, 12 bits that count within one (RFC 9562 §6.2, method 1), and 62 random bits.
fn uuid_v7() -> Result<[u8; 16]> {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let clock = now()?.0 << 12;
    let after = |last: u64| clock.max(last + 1);
    let at = after(LAST.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(after(last))).unwrap_or(clock));
    let mut id: [u8; 16] = random_bytes().map_err(|error| Error::internal(error.to_string()))?;
    id[..6].copy_from_slice(&(at >> 12).to_be_bytes()[2..]);
    id[6] = 0x70 | (at >> 8) as u8 & 0x0f;
    id[7] = at as u8;
    id[8] = 0x80 | (id[8] & 0x3f);
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_uuids_that_grow() {
        let before = now().unwrap().0;
        let ids: Vec<[u8; 16]> = (0..10_000).map(|_| uuid_v7().unwrap()).collect();
        assert!(ids.is_sorted_by(|one, next| one < next));
        for id in ids {
            assert_eq!((id[6] >> 4, id[8] >> 6), (7, 2));
            let mut millis = [0; 8];
            millis[2..].copy_from_slice(&id[..6]);
            assert!(u64::from_be_bytes(millis) >= before);
        }
    }
}
