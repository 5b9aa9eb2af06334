//! Many.
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use strongroom_core::grant::Prefix;
use strongroom_core::names::ObjectPath;

use crate::get::{GetOptions, Reader};
use crate::{DatasetRef, Failed, ObjectInfo, PutDone, PutOptions, Vault};

/// An object of [`Vault::get_prefix`].
pub struct Fetched {
    /// What it is.
    pub info: ObjectInfo,
    /// What is in it.
    pub body: Body,
}

/// The plaintext of an object.
pub enum Body {
    /// A small object, whole.
    Whole(Bytes),
    /// A large one, as it arrives. Read it before asking for the next object.
    Stream(Box<Reader>),
}

impl Vault {
    /// Puts many objects, in input order.
    pub fn put_many<'s>(
        &self,
        dataset: &DatasetRef,
        objects: impl Stream<Item = (ObjectPath, Bytes)> + Send + 's,
        options: PutOptions,
    ) -> BoxStream<'s, Result<PutDone, Failed>> {
        let _ = (dataset, options);
        objects.map(|(path, _)| Err(Failed { path, error: crate::Error::internal("not there yet") })).boxed()
    }

    /// Gets many objects, in input order.
    pub fn get_many<'s>(
        &self,
        dataset: &DatasetRef,
        paths: impl Stream<Item = ObjectPath> + Send + 's,
        options: GetOptions,
    ) -> BoxStream<'s, Result<(ObjectPath, Bytes), Failed>> {
        let _ = (dataset, options);
        paths.map(|path| Err(Failed { path, error: crate::Error::internal("not there yet") })).boxed()
    }

    /// Gets all objects under a prefix, in the order of their paths. A failed listing ends it with an error whose path is the
    /// last one seen.
    pub fn get_prefix(
        &self,
        dataset: &DatasetRef,
        prefix: &Prefix,
        options: GetOptions,
    ) -> BoxStream<'static, Result<Fetched, Failed>> {
        let _ = (dataset, prefix, options);
        futures::stream::empty().boxed()
    }

    /// Hides many objects, in input order.
    pub fn delete_many<'s>(
        &self,
        dataset: &DatasetRef,
        paths: impl Stream<Item = ObjectPath> + Send + 's,
        options: crate::listing::DeleteOptions,
    ) -> BoxStream<'s, Result<crate::listing::Deleted, Failed>> {
        let _ = (dataset, options);
        paths.map(|path| Err(Failed { path, error: crate::Error::internal("not there yet") })).boxed()
    }
}
