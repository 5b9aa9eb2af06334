//! Vendors.
use strongroom_core::identity::Fingerprint;
use strongroom_core::ids::{Index, VendorId};
use strongroom_core::names::{TenantName, VendorName};

use crate::Vault;
use crate::admin::OrderDone;
use crate::error::{Error, Result};

/// A vendor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VendorInfo {
    /// Its id.
    pub id: VendorId,
    /// Its name.
    pub name: VendorName,
    /// Its live keys.
    pub keys: Vec<Fingerprint>,
    /// The entry that suspended it, while it is.
    pub suspended: Option<Index>,
    /// Whether it was removed, for good.
    pub removed: bool,
}

impl Vault {
    /// The tenant's vendors, removed ones too. To admins.
    pub async fn vendors(&self, tenant: &TenantName) -> Result<Vec<VendorInfo>> {
        let _ = tenant;
        Err(Error::internal("not there yet"))
    }

    /// The vendor of this name. To admins.
    pub async fn vendor(&self, tenant: &TenantName, vendor: &VendorName) -> Result<VendorInfo> {
        let _ = (tenant, vendor);
        Err(Error::internal("not there yet"))
    }

    /// Registers a vendor with its keys.
    pub async fn add_vendor(
        &self,
        tenant: &TenantName,
        vendor: &VendorName,
        keys: &[Fingerprint],
    ) -> Result<(VendorId, OrderDone)> {
        let _ = (tenant, vendor, keys);
        Err(Error::internal("not there yet"))
    }

    /// Stops every grant and key of a vendor.
    pub async fn suspend_vendor(
        &self,
        tenant: &TenantName,
        vendor: &VendorName,
        note: Option<String>,
    ) -> Result<OrderDone> {
        let _ = (tenant, vendor, note);
        Err(Error::internal("not there yet"))
    }

    /// Gives back to a vendor what has not expired.
    pub async fn resume_vendor(
        &self,
        tenant: &TenantName,
        vendor: &VendorName,
        note: Option<String>,
    ) -> Result<OrderDone> {
        let _ = (tenant, vendor, note);
        Err(Error::internal("not there yet"))
    }

    /// Ends a vendor for good.
    pub async fn remove_vendor(&self, tenant: &TenantName, vendor: &VendorName) -> Result<OrderDone> {
        let _ = (tenant, vendor);
        Err(Error::internal("not there yet"))
    }

    /// One more key of a vendor.
    pub async fn add_key(&self, tenant: &TenantName, vendor: &VendorName, key: Fingerprint) -> Result<OrderDone> {
        let _ = (tenant, vendor, key);
        Err(Error::internal("not there yet"))
    }

    /// One key of a vendor fewer, for good.
    pub async fn revoke_key(&self, tenant: &TenantName, vendor: &VendorName, key: Fingerprint) -> Result<OrderDone> {
        let _ = (tenant, vendor, key);
        Err(Error::internal("not there yet"))
    }
}
