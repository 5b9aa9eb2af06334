//! What of an object's row no statement may change: it carries a mark of the ledger key.

use strongroom_core::identity::Fingerprint;
use strongroom_core::ids::{DatasetId, Digest, Generation, Index, Millis, PutId};
use strongroom_core::ledger::LedgerKey;
use strongroom_core::ledger::mac::Mac;
use strongroom_core::names::{DatasetName, ObjectPath};
use strongroom_core::sealed::HEADER_LEN;
use strongroom_core::sealed::header::Header;

use super::ObjectRow;

const TABLE: &str = "object";
/// Header, size, content root, holder, time, canary: what no statement looks at.
pub(super) const FIXED_LEN: usize = HEADER_LEN + 8 + 32 + 32 + 8 + 1;

/// What of an object's row carries the mark, borrowed.
#[derive(Clone, Copy)]
pub(crate) struct Facts<'a> {
    pub(crate) dataset: DatasetId,
    pub(crate) dataset_name: &'a DatasetName,
    pub(crate) path: &'a ObjectPath,
    pub(crate) generation: Generation,
    pub(crate) header: Header,
    pub(crate) size: u64,
    pub(crate) content_root: Digest,
    pub(crate) put: PutId,
    pub(crate) holder: Fingerprint,
    pub(crate) index: Index,
    pub(crate) ordinal: u32,
    pub(crate) created: Millis,
    pub(crate) canary: bool,
}

impl Facts<'_> {
    pub(super) fn fixed(&self) -> [u8; FIXED_LEN] {
        let mut fixed = [0; FIXED_LEN];
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            fixed[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        };
        put(&self.header.encode());
        put(&self.size.to_be_bytes());
        put(self.content_root.as_bytes());
        put(self.holder.as_bytes());
        put(&self.created.0.to_be_bytes());
        put(&[u8::from(self.canary)]);
        fixed
    }

    pub(super) fn mac(&self, key: &LedgerKey, fixed: &[u8; FIXED_LEN]) -> Mac {
        let fields: [&[u8]; 8] = [
            self.dataset.as_bytes(),
            self.dataset_name.as_str().as_bytes(),
            self.path.as_str().as_bytes(),
            &self.generation.0.to_be_bytes(),
            &self.index.0.to_be_bytes(),
            &self.ordinal.to_be_bytes(),
            self.put.as_bytes(),
            fixed,
        ];
        key.row(TABLE, &fields)
    }
}

impl ObjectRow {
    pub(super) fn facts(&self) -> Facts<'_> {
        Facts {
            dataset: self.dataset,
            dataset_name: &self.dataset_name,
            path: &self.path,
            generation: self.generation,
            header: self.header,
            size: self.size,
            content_root: self.content_root,
            put: self.put,
            holder: self.holder,
            index: self.index,
            ordinal: self.ordinal,
            created: self.created,
            canary: self.canary,
        }
    }
}
