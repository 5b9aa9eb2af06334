//! Puts.
use bytes::Bytes;
use std::sync::Arc;
use strongroom_core::call::Condition;
use strongroom_core::ids::{Generation, GrantId, Index, ObjectId};
use strongroom_core::names::ObjectPath;
use tokio::io::AsyncRead;

use crate::{
    ObjectName, Vault,
    error::{Error, Result},
};

/// Is told how many bytes of the plaintext have been taken up so far.
pub type Progress = Arc<dyn Fn(u64) + Send + Sync>;

/// How to put.
#[derive(Clone)]
pub struct PutOptions {
    /// What must hold at the path; [`Condition::Any`] unless told otherwise.
    pub condition: Condition,
    /// The grant to act under; picked by itself if none.
    pub grant: Option<GrantId>,
    /// Is told how far it is.
    pub progress: Option<Progress>,
}

impl Default for PutOptions {
    fn default() -> Self {
        Self { condition: Condition::Any, grant: None, progress: None }
    }
}

/// An object that is visible now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutDone {
    /// Its path.
    pub path: ObjectPath,
    /// Its generation.
    pub generation: Generation,
    /// The entry that made it visible.
    pub index: Index,
    /// Its ordinal in that entry.
    pub ordinal: u32,
    /// Bytes of plaintext.
    pub size: u64,
    /// The sealed object.
    pub object_id: ObjectId,
}

impl Vault {
    /// Puts a stream of any length.
    pub async fn put(
        &self,
        name: &ObjectName,
        source: impl AsyncRead + Unpin + Send,
        options: PutOptions,
    ) -> Result<PutDone> {
        let _ = (name, source, options);
        Err(Error::internal("not there yet"))
    }

    /// Puts bytes.
    pub async fn put_bytes(&self, name: &ObjectName, bytes: Bytes, options: PutOptions) -> Result<PutDone> {
        let _ = (name, bytes, options);
        Err(Error::internal("not there yet"))
    }
}
