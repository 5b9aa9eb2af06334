//! Datasets.
use strongroom_core::ids::{DatasetId, Index};
use strongroom_core::names::{DatasetName, TenantName};

use crate::admin::OrderDone;
use crate::error::{Error, Result};
use crate::{DatasetRef, Vault};

/// A dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatasetInfo {
    /// Its name.
    pub name: DatasetName,
    /// Its id.
    pub id: DatasetId,
    /// The entry that created it.
    pub created: Index,
}

impl Vault {
    /// The tenant's datasets.
    pub async fn datasets(&self, tenant: &TenantName) -> Result<Vec<DatasetInfo>> {
        let _ = tenant;
        Err(Error::internal("not there yet"))
    }

    /// Makes a dataset. To admins.
    pub async fn create_dataset(&self, dataset: &DatasetRef) -> Result<OrderDone> {
        let _ = dataset;
        Err(Error::internal("not there yet"))
    }

    /// Hides a dataset with all that is in it, for good. To admins.
    pub async fn delete_dataset(&self, dataset: &DatasetRef) -> Result<OrderDone> {
        let _ = dataset;
        Err(Error::internal("not there yet"))
    }
}
