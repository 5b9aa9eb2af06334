//! The ledger, read.
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use strongroom_core::grant::Prefix;
use strongroom_core::identity::Fingerprint;
use strongroom_core::ids::{GrantId, Index, Millis};
use strongroom_core::ledger::{Entry, Event, Outcome, Private};
use strongroom_core::names::{DatasetName, TenantName, VendorName};

use crate::Vault;
use crate::error::Result;

/// Which entries to read; the default is all.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// The first index to look at.
    pub from: Index,
    /// One past the last index to look at; the head if none.
    pub to: Option<Index>,
    /// No entry before this time.
    pub since: Option<Millis>,
    /// No entry at or after this time.
    pub until: Option<Millis>,
    /// Only these events; all if none.
    pub events: Vec<Event>,
    /// Only what this key did.
    pub key: Option<Fingerprint>,
    /// Only entries by this vendor, or about it.
    pub vendor: Option<VendorName>,
    /// Only what was charged to this grant, or concerns it.
    pub grant: Option<GrantId>,
    /// Only entries about objects of this dataset.
    pub dataset: Option<DatasetName>,
    /// And in it, under this prefix.
    pub prefix: Option<Prefix>,
    /// Only what was done, or only what was denied.
    pub outcome: Option<Outcome>,
    /// At most so many; all if none.
    pub limit: Option<u64>,
}

/// An entry of the ledger.
#[derive(Debug, Clone)]
pub struct LedgerLine {
    /// The public part.
    pub entry: Entry,
    /// The private part, whose hash was checked; none if it was erased.
    pub private: Option<Private>,
    /// `dataset/path` of each object that the entry names, in its order.
    pub names: Vec<String>,
    /// The exact bytes of the public part: a leaf of the log.
    pub public_bytes: Bytes,
    /// The exact bytes of the private part; empty if it was erased.
    pub private_bytes: Bytes,
}

impl Vault {
    /// Entries of a tenant's ledger, in the order of their indices. To admins.
    pub fn query(&self, tenant: &TenantName, query: Query) -> BoxStream<'static, Result<LedgerLine>> {
        let _ = (tenant, query);
        futures::stream::empty().boxed()
    }
}
