//! Gets.
use bytes::Bytes;
use futures::Stream;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll};
use strongroom_core::ids::{Generation, GrantId, ObjectId};
use tokio::io::AsyncRead;

use crate::{
    ObjectName, Vault,
    error::{Error, Result},
};

/// How to get.
#[derive(Debug, Clone, Default)]
pub struct GetOptions {
    /// Which writing; the newest if none.
    pub generation: Option<Generation>,
    /// The grant to act under; picked by itself if none.
    pub grant: Option<GrantId>,
}

/// The verified plaintext of an object, or of a range of it, as it arrives.
pub struct Reader {
    size: u64,
    generation: Generation,
    object_id: ObjectId,
}

impl Reader {
    /// Bytes of the whole object.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Bytes that this reader yields in all: the range, cut to the object.
    pub fn len(&self) -> u64 {
        0
    }

    /// Whether it yields nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The generation that is read.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// The sealed object that is read.
    pub fn object_id(&self) -> ObjectId {
        self.object_id
    }

    /// The same as [`AsyncRead`].
    pub fn into_async_read(self) -> impl AsyncRead + Send + Unpin + 'static {
        tokio::io::empty()
    }

    /// All of it in one piece.
    pub async fn into_bytes(self) -> Result<Bytes> {
        Err(Error::internal("not there yet"))
    }
}

impl Stream for Reader {
    type Item = Result<Bytes>;
    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        Poll::Ready(None)
    }
}

impl Vault {
    /// Reads an object.
    pub async fn get(&self, name: &ObjectName, options: GetOptions) -> Result<Reader> {
        let _ = (name, options);
        Err(Error::internal("not there yet"))
    }

    /// Reads bytes `range` of an object, cut to its size.
    pub async fn get_range(&self, name: &ObjectName, range: Range<u64>, options: GetOptions) -> Result<Reader> {
        let _ = (name, range, options);
        Err(Error::internal("not there yet"))
    }

    /// Reads an object in one piece.
    pub async fn get_bytes(&self, name: &ObjectName, options: GetOptions) -> Result<Bytes> {
        self.get(name, options).await?.into_bytes().await
    }
}
