//! Listing.
use futures::StreamExt;
use futures::stream::BoxStream;
use strongroom_core::grant::Prefix;
use strongroom_core::ids::{Digest, Generation, GrantId, Index, Millis, ObjectId};
use strongroom_core::names::ObjectPath;

use crate::error::{Error, Result};
use crate::get::GetOptions;
use crate::{DatasetRef, ObjectName, Vault};

/// What the vault says about an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Its path.
    pub path: ObjectPath,
    /// Its generation.
    pub generation: Generation,
    /// Bytes of plaintext.
    pub size: u64,
    /// The sealed object.
    pub object_id: ObjectId,
    /// The content root (BLAKE3).
    pub content_root: Digest,
    /// When it became visible.
    pub created: Millis,
    /// The entry that made it visible.
    pub index: Index,
    /// Its ordinal there.
    pub ordinal: u32,
}

/// One line of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listed {
    /// An object.
    Object(ObjectInfo),
    /// A folder, with its trailing `/`, in a listing with a delimiter.
    Folder(String),
}

/// How to list.
#[derive(Debug, Clone, Default)]
pub struct ListOptions {
    /// Whether to tell what lies deeper as folders (the delimiter is `/`) instead of object by object.
    pub delimiter: bool,
    /// The grant to act under; picked by itself if none.
    pub grant: Option<GrantId>,
}

/// How to delete.
#[derive(Debug, Clone, Default)]
pub struct DeleteOptions {
    /// The generation that must be the visible one; any if none.
    pub generation: Option<Generation>,
    /// The grant to act under; picked by itself if none.
    pub grant: Option<GrantId>,
}

/// An object that is hidden now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deleted {
    /// Its path.
    pub path: ObjectPath,
    /// The generation that was visible.
    pub generation: Generation,
    /// The entry that hid it.
    pub index: Index,
}

impl Vault {
    /// The objects of a part of a dataset, in byte order of their paths. Makes no entry in the ledger.
    pub fn list(
        &self,
        dataset: &DatasetRef,
        prefix: &Prefix,
        options: ListOptions,
    ) -> BoxStream<'static, Result<Listed>> {
        let _ = (dataset, prefix, options);
        futures::stream::empty().boxed()
    }

    /// What the vault says about an object. Makes no entry in the ledger.
    pub async fn stat(&self, name: &ObjectName, options: GetOptions) -> Result<ObjectInfo> {
        let _ = (name, options);
        Err(Error::internal("not there yet"))
    }

    /// Hides an object.
    pub async fn delete(&self, name: &ObjectName, options: DeleteOptions) -> Result<Deleted> {
        let _ = (name, options);
        Err(Error::internal("not there yet"))
    }
}
