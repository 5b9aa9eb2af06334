//! Some objects of a copy, taken by chance: their marks, and whether their blobs hold what was committed.

use strongroom_core::ids::{Digest, Index};
use strongroom_core::keys::secret::random_bytes;
use strongroom_core::sealed::HEADER_LEN;
use strongroom_core::sealed::content::{ContentVerifier, parse_digests, window_digest};
use strongroom_core::sealed::header::Header;
use strongroom_core::sealed::layout::Layout;

use super::check::Check;
use super::{MigrateError, Place, Tell, Told};
use crate::blobs::{BlobError, Blobs};
use crate::catalog::Catalog;
use crate::catalog::objects::ObjectRow;
use crate::error::Error;
use crate::keys::KeyError;
use crate::recorder::Shelf;
use crate::tenants::Tenant;

/// Rows that are looked at for one that can be opened.
const NEAR: u32 = 16;
/// Rows of a page where all objects are checked.
const ROWS: u32 = 200;
/// Segments that are read in one go.
const SEGMENTS: usize = 16;

/// The objects of one tenant.
pub(super) struct Sample<'a> {
    pub(super) catalog: &'a Catalog,
    pub(super) blobs: &'a Blobs,
    pub(super) shelf: &'a Shelf,
    pub(super) tenant: &'a Tenant,
    pub(super) tell: Tell<'a>,
}

impl Sample<'_> {
    /// Checks `most` of the tenant's `count` objects that can be opened, or all if there are no more; how many were.
    pub(super) async fn check(&self, size: Index, count: u64, most: u64) -> Result<u64, MigrateError> {
        let mut checked = 0;
        if count > most {
            for _ in 0..most {
                // Somewhere in the ledger, and somewhere in the pack if one was put there.
                let (index, ordinal) = (chance(size.0)?, u32::try_from(chance(1024)?).unwrap_or(0));
                let mut found = self.objects(Some((Index(index), ordinal)), NEAR).await?;
                if found.iter().all(|object| object.key_version == 0) {
                    found = self.objects(None, NEAR).await?;
                }
                if let Some(object) = found.iter().find(|object| object.key_version > 0) {
                    self.object(object).await?;
                    checked += 1;
                }
                (self.tell)(Told::More(1));
            }
            return Ok(checked);
        }
        let mut after = None;
        loop {
            let found = self.objects(after, ROWS).await?;
            let Some(last) = found.last() else { return Ok(checked) };
            after = Some((last.index, last.ordinal));
            for object in found.iter().filter(|object| object.key_version > 0) {
                self.object(object).await?;
                checked += 1;
                (self.tell)(Told::More(1));
            }
        }
    }

    async fn objects(&self, after: Option<(Index, u32)>, limit: u32) -> Result<Vec<ObjectRow>, MigrateError> {
        let found = self.catalog.objects_after(&self.tenant.id, &self.tenant.ledger_key, after, limit).await;
        self.as_check().of(found)
    }

    fn as_check(&self) -> Check<'_> {
        Check { catalog: self.catalog, shelf: self.shelf, place: Place::Copy, tenant: self.tenant, tell: self.tell }
    }

    async fn object(&self, object: &ObjectRow) -> Result<(), MigrateError> {
        let name = format!("{}/{}, generation {}", object.dataset_name, object.path, object.generation);
        let broken = |why: String| self.as_check().broken(format!("{name}: {why}"));
        match look(self.blobs, object).await {
            Ok(None) => Ok(()),
            Ok(Some(why)) => Err(broken(why)),
            Err(error @ (BlobError::Missing(_) | BlobError::Short(_) | BlobError::Name(_))) => {
                Err(broken(error.to_string()))
            }
            Err(error) => Err(Error::from(error).into()),
        }
    }
}

/// A number below `end`, all about as likely.
fn chance(end: u64) -> Result<u64, MigrateError> {
    let drawn = random_bytes().map(u64::from_be_bytes).map_err(|error| Error::from(KeyError::from(error)))?;
    Ok(drawn % end.max(1))
}

/// What is wrong with an object's blob: its header, its length, and one window, which the content root vouches for. More than a
/// window of 64 MiB is not read.
async fn look(blobs: &Blobs, object: &ObjectRow) -> Result<Option<String>, BlobError> {
    let read = |at: u64, len: u64| blobs.range(&object.blob, object.offset + at, len);
    let Ok(layout) = Layout::new(object.size) else { return Ok(Some("no object has this size".to_owned())) };
    let header = read(0, HEADER_LEN as u64).await?;
    if Header::parse(&header).ok() != Some(object.header) {
        return Ok(Some("its blob has another header".to_owned()));
    }
    // The last byte: a blob that was cut is short.
    read(layout.blob_len() - 1, 1).await?;
    let verifier = |digests: &[Digest]| ContentVerifier::new(object.header, object.size, object.content_root, digests);
    if !layout.has_trailer() {
        let segment = read(layout.segment_offset(0), layout.segment_len(0) as u64).await?;
        let checked = verifier(&[]).and_then(|verifier| verifier.check_only_segment(&segment));
        return Ok(checked.err().map(|error| error.to_string()));
    }
    let drawn = random_bytes().map(u32::from_be_bytes)?;
    let window = drawn % layout.windows();
    let range = layout.window(window);
    let digests = read(layout.digests_offset() + u64::from(range.start()) * 32, u64::from(range.count()) * 32).await?;
    let digests = parse_digests(&digests).unwrap_or_default();
    let windows = match layout.windows() {
        1 => vec![window_digest(0, &digests)],
        windows => {
            let all = read(layout.window_digests_offset(), u64::from(windows) * 32).await?;
            parse_digests(&all).unwrap_or_default()
        }
    };
    let checked = match verifier(&windows).and_then(|verifier| verifier.check_window(window, &digests)) {
        Ok(checked) => checked,
        Err(error) => return Ok(Some(error.to_string())),
    };
    for first in (range.start()..range.end()).step_by(SEGMENTS) {
        let end = range.end().min(first + SEGMENTS as u32);
        let len: usize = (first..end).map(|i| layout.segment_len(i)).sum();
        let mut bytes = &read(layout.segment_offset(first), len as u64).await?[..];
        for i in first..end {
            let (segment, rest) = bytes.split_at(layout.segment_len(i));
            bytes = rest;
            if let Err(error) = checked.check_segment(i, segment) {
                return Ok(Some(error.to_string()));
            }
        }
    }
    Ok(None)
}
