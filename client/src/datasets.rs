//! Datasets: what objects are in.

use strongroom_core::ids::{DatasetId, Index};
use strongroom_core::names::{DatasetName, TenantName};
use strongroom_core::order::Instruction;
use strongroom_proto::v1;

use crate::admin::{OrderDone, bytes, parse};
use crate::connect::Vault;
use crate::error::Result;
use crate::name::DatasetRef;
use crate::retry::Safety;
use crate::session::vault_client;

/// A dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatasetInfo {
    /// Its name.
    pub name: DatasetName,
    /// Its id.
    pub id: DatasetId,
    /// The entry that created it.
    pub created: Index,
    /// The entry that froze it, or the whole tenant, while one is.
    pub frozen: Option<Index>,
}

impl Vault {
    /// The tenant's datasets, as far as the caller may know of them: all to admins, those in its grants to others.
    ///
    /// # Errors
    /// `UNAUTHENTICATED` if the tenant does not know the caller.
    pub async fn datasets(&self, tenant: &TenantName) -> Result<Vec<DatasetInfo>> {
        let request = v1::ListDatasetsRequest { tenant: tenant.to_string() };
        let answer = self.with_channel(Safety::Idempotent, |channel| {
            let request = request.clone();
            async move { vault_client(channel).list_datasets(request).await }
        });
        let info = |dataset: &v1::Dataset| {
            Ok(DatasetInfo {
                name: parse("dataset", &dataset.name)?,
                id: bytes("dataset id", &dataset.id)?,
                created: Index(dataset.created),
                frozen: dataset.frozen.map(Index),
            })
        };
        answer.await?.into_inner().datasets.iter().map(info).collect()
    }

    /// Makes a dataset. To admins.
    ///
    /// # Errors
    /// `PRECONDITION_FAILED` if there is, or was, one of this name; `OUT_OF_SCOPE` if the caller is no admin.
    pub async fn create_dataset(&self, dataset: &DatasetRef) -> Result<OrderDone> {
        self.order(&dataset.tenant, Instruction::CreateDataset { name: dataset.dataset.clone() }).await
    }

    /// Freezes a dataset: nobody reads or writes in it, admins neither, until it is unfrozen. To admins.
    ///
    /// # Errors
    /// `PRECONDITION_FAILED` if it is frozen already; `NOT_FOUND` if there is none; `OUT_OF_SCOPE` if the caller is no admin.
    pub async fn freeze_dataset(&self, dataset: &DatasetRef, note: Option<String>) -> Result<OrderDone> {
        self.order(&dataset.tenant, Instruction::FreezeDataset { name: dataset.dataset.clone(), note }).await
    }

    /// Gives a frozen dataset back. To admins.
    ///
    /// # Errors
    /// `PRECONDITION_FAILED` if it is not frozen; `NOT_FOUND` if there is none; `OUT_OF_SCOPE` if the caller is no admin.
    pub async fn unfreeze_dataset(&self, dataset: &DatasetRef, note: Option<String>) -> Result<OrderDone> {
        self.order(&dataset.tenant, Instruction::UnfreezeDataset { name: dataset.dataset.clone(), note }).await
    }

    /// Hides a dataset with all that is in it, for good: its name stays taken. To admins.
    ///
    /// # Errors
    /// `FROZEN` if it or the tenant is frozen; `NOT_FOUND` if there is none; `OUT_OF_SCOPE` if the caller is no admin.
    pub async fn delete_dataset(&self, dataset: &DatasetRef) -> Result<OrderDone> {
        self.order(&dataset.tenant, Instruction::DeleteDataset { name: dataset.dataset.clone() }).await
    }
}
