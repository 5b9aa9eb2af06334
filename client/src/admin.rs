//! Tenants and the vault.
use strongroom_core::identity::Fingerprint;
use strongroom_core::ids::{Index, Millis, NodeId, OrderId, VaultId};
use strongroom_core::names::{TenantName, VendorName};
use strongroom_core::origin::Origin;

use crate::Vault;
use crate::error::{Error, Result};

/// An order that was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OrderDone {
    /// The entry that it became.
    pub index: Index,
    /// The entry's time.
    pub time: Millis,
    /// The order's id.
    pub id: OrderId,
}

/// Who the caller is to a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WhoAmI {
    /// The caller's key.
    pub fingerprint: Fingerprint,
    /// Whether it is an operator of the server.
    pub operator: bool,
    /// Whether it is an admin of the tenant.
    pub admin: bool,
    /// The vendor whose key it is.
    pub vendor: Option<VendorName>,
    /// Whether that vendor is suspended.
    pub suspended: bool,
    /// The origin of the tenant's ledger; none if the server does not tell it to this caller.
    pub origin: Option<Origin>,
}

/// The vault as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VaultStatus {
    /// The server's version.
    pub version: String,
    /// The vault's id.
    pub vault_id: VaultId,
    /// The first part of every origin.
    pub vault_name: String,
    /// The node that answered.
    pub node_id: NodeId,
    /// The node's clock.
    pub time: Millis,
}

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantInfo {
    /// Its name.
    pub name: TenantName,
    /// The origin of its ledger.
    pub origin: Origin,
    /// Entries in its ledger.
    pub size: Index,
    /// Why it is stopped, if it is.
    pub stopped: Option<String>,
}

impl Vault {
    /// Who the caller is to a tenant. Makes no entry in the ledger.
    pub async fn who_am_i(&self, tenant: &TenantName) -> Result<WhoAmI> {
        let _ = tenant;
        Err(Error::internal("not there yet"))
    }

    /// Vault, node and version.
    pub async fn status(&self) -> Result<VaultStatus> {
        Err(Error::internal("not there yet"))
    }

    /// Creates a tenant with its first admins. To operators.
    pub async fn create_tenant(&self, tenant: &TenantName, admins: &[Fingerprint]) -> Result<(Origin, OrderDone)> {
        let _ = (tenant, admins);
        Err(Error::internal("not there yet"))
    }

    /// All tenants. To operators.
    pub async fn list_tenants(&self) -> Result<Vec<TenantInfo>> {
        Err(Error::internal("not there yet"))
    }

    /// One more admin. To admins.
    pub async fn add_admin(&self, tenant: &TenantName, key: Fingerprint) -> Result<OrderDone> {
        let _ = (tenant, key);
        Err(Error::internal("not there yet"))
    }

    /// One admin fewer; the last one stays. To admins.
    pub async fn remove_admin(&self, tenant: &TenantName, key: Fingerprint) -> Result<OrderDone> {
        let _ = (tenant, key);
        Err(Error::internal("not there yet"))
    }
}
