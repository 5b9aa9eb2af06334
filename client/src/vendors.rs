//! Vendors: outside parties that a tenant lets work on its data. All of it is for the tenant's admins, but that a vendor may stop
//! itself.

use strongroom_core::identity::Fingerprint;
use strongroom_core::ids::{Index, VendorId};
use strongroom_core::names::{TenantName, VendorName};
use strongroom_core::order::Instruction;
use strongroom_core::reason::Reason;
use strongroom_proto::v1;
use strongroom_proto::v1::vendors_client::VendorsClient;

use crate::admin::{OrderDone, parse, sorted};
use crate::connect::Vault;
use crate::error::{Error, Result};
use crate::retry::Safety;

/// A vendor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VendorInfo {
    /// Its id.
    pub id: VendorId,
    /// Its name.
    pub name: VendorName,
    /// Its live keys.
    pub keys: Vec<Fingerprint>,
    /// Those of its keys that an operator of the server blocked.
    pub blocked: Vec<Fingerprint>,
    /// The entry that suspended it, while it is.
    pub suspended: Option<Index>,
    /// Whether it was removed, for good.
    pub removed: bool,
}

impl Vault {
    /// The tenant's vendors, removed ones too.
    ///
    /// # Errors
    /// `OUT_OF_SCOPE` if the caller is no admin.
    pub async fn vendors(&self, tenant: &TenantName) -> Result<Vec<VendorInfo>> {
        let request = v1::ListVendorsRequest { tenant: tenant.to_string() };
        let answer = self.with_channel(Safety::Idempotent, |channel| {
            let request = request.clone();
            async move { VendorsClient::new(channel).list(request).await }
        });
        let info = |vendor: &v1::Vendor| {
            Ok(VendorInfo {
                id: parse("vendor id", &vendor.id)?,
                name: parse("vendor", &vendor.name)?,
                keys: vendor.keys.iter().map(|key| parse("fingerprint", key)).collect::<Result<_>>()?,
                blocked: vendor.blocked_keys.iter().map(|key| parse("fingerprint", key)).collect::<Result<_>>()?,
                suspended: vendor.suspended.map(Index),
                removed: vendor.removed,
            })
        };
        answer.await?.into_inner().vendors.iter().map(info).collect()
    }

    /// The vendor of this name.
    ///
    /// # Errors
    /// `NOT_FOUND` if there is none; `OUT_OF_SCOPE` if the caller is no admin.
    pub async fn vendor(&self, tenant: &TenantName, vendor: &VendorName) -> Result<VendorInfo> {
        let found = self.vendors(tenant).await?.into_iter().find(|info| info.name == *vendor);
        found.ok_or_else(|| Error::new(Reason::NotFound, format!("there is no vendor {tenant}/{vendor}")))
    }

    /// Registers a vendor with its keys.
    ///
    /// # Errors
    /// `PRECONDITION_FAILED` if the name or a key is taken; `OUT_OF_SCOPE` if the caller is no admin.
    pub async fn add_vendor(
        &self,
        tenant: &TenantName,
        vendor: &VendorName,
        keys: &[Fingerprint],
    ) -> Result<(VendorId, OrderDone)> {
        let instruction = Instruction::AddVendor { name: vendor.clone(), keys: sorted(keys) };
        let done = self.order(tenant, instruction).await?;
        Ok((done.id.into(), done))
    }

    /// Stops every grant and key of a vendor: no key comes out after this returns.
    ///
    /// # Errors
    /// `NOT_FOUND` if there is none; `OUT_OF_SCOPE` if the caller is no admin.
    pub async fn suspend_vendor(
        &self,
        tenant: &TenantName,
        vendor: &VendorName,
        note: Option<String>,
    ) -> Result<OrderDone> {
        let vendor = self.vendor(tenant, vendor).await?.id;
        self.order(tenant, Instruction::SuspendVendor { vendor, note }).await
    }

    /// Stops the vendor whose key the caller has, with all its keys and grants. Only an admin of the tenant resumes it.
    ///
    /// # Errors
    /// `OUT_OF_SCOPE` if the caller's is not a live key of a vendor; `PRECONDITION_FAILED` if it is suspended already.
    pub async fn suspend_self(&self, tenant: &TenantName, note: Option<String>) -> Result<OrderDone> {
        let none = || {
            Error::new(Reason::OutOfScope, format!("only a key of a vendor of {tenant} may do this, and this is none"))
        };
        let vendor = self.who_am_i(tenant).await?.vendor_id.ok_or_else(none)?;
        self.order(tenant, Instruction::SuspendVendor { vendor, note }).await
    }

    /// Gives back to a vendor what has not expired.
    ///
    /// # Errors
    /// `PRECONDITION_FAILED` if it is not suspended; `NOT_FOUND` if there is none; `OUT_OF_SCOPE` if the caller is no admin.
    pub async fn resume_vendor(
        &self,
        tenant: &TenantName,
        vendor: &VendorName,
        note: Option<String>,
    ) -> Result<OrderDone> {
        let vendor = self.vendor(tenant, vendor).await?.id;
        self.order(tenant, Instruction::ResumeVendor { vendor, note }).await
    }

    /// Ends a vendor for good: its name and keys stay taken.
    ///
    /// # Errors
    /// `NOT_FOUND` if there is none; `OUT_OF_SCOPE` if the caller is no admin.
    pub async fn remove_vendor(&self, tenant: &TenantName, vendor: &VendorName) -> Result<OrderDone> {
        let vendor = self.vendor(tenant, vendor).await?.id;
        self.order(tenant, Instruction::RemoveVendor { vendor }).await
    }

    /// One more key of a vendor.
    ///
    /// # Errors
    /// `PRECONDITION_FAILED` if the key is taken; `NOT_FOUND` if there is no such vendor; `OUT_OF_SCOPE` if the caller is no
    /// admin.
    pub async fn add_key(&self, tenant: &TenantName, vendor: &VendorName, key: Fingerprint) -> Result<OrderDone> {
        let vendor = self.vendor(tenant, vendor).await?.id;
        self.order(tenant, Instruction::AddKey { vendor, key }).await
    }

    /// One key of a vendor fewer, for good.
    ///
    /// # Errors
    /// `NOT_FOUND` if there is no such vendor or key; `OUT_OF_SCOPE` if the caller is no admin.
    pub async fn revoke_key(&self, tenant: &TenantName, vendor: &VendorName, key: Fingerprint) -> Result<OrderDone> {
        let vendor = self.vendor(tenant, vendor).await?.id;
        self.order(tenant, Instruction::RevokeKey { vendor, key }).await
    }
}
