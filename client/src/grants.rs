//! Grants.
use strongroom_core::grant::{Grant, Terms, Usage};
use strongroom_core::ids::GrantId;
use strongroom_core::names::{TenantName, VendorName};

use crate::Vault;
use crate::admin::OrderDone;
use crate::error::{Error, Result};

/// How a grant stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GrantState {
    /// It can be used.
    Live,
    /// Its time has not begun.
    NotYet,
    /// Its time is over.
    Expired,
    /// It was revoked, or one above it.
    Revoked,
    /// Its holder is suspended.
    Suspended,
}

/// A grant, and how it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantInfo {
    /// The grant as it was recorded.
    pub grant: Grant,
    /// The vendor that holds it, if a vendor does.
    pub vendor: Option<VendorName>,
    /// How it stands.
    pub state: GrantState,
    /// What has been charged to it.
    pub usage: Usage,
}

impl Vault {
    /// Issues a grant.
    pub async fn issue_grant(&self, tenant: &TenantName, terms: Terms) -> Result<(GrantId, OrderDone)> {
        let _ = (tenant, terms);
        Err(Error::internal("not there yet"))
    }

    /// Ends a grant and its descendants.
    pub async fn revoke_grant(&self, tenant: &TenantName, grant: GrantId, note: Option<String>) -> Result<OrderDone> {
        let _ = (tenant, grant, note);
        Err(Error::internal("not there yet"))
    }

    /// One grant: to its holder and to admins.
    pub async fn grant(&self, tenant: &TenantName, grant: GrantId) -> Result<GrantInfo> {
        let _ = (tenant, grant);
        Err(Error::internal("not there yet"))
    }

    /// All grants of the tenant, newest first. To admins.
    pub async fn grants(&self, tenant: &TenantName) -> Result<Vec<GrantInfo>> {
        let _ = tenant;
        Err(Error::internal("not there yet"))
    }

    /// The caller's own grants, newest first; ended ones too, for a day.
    pub async fn my_grants(&self, tenant: &TenantName) -> Result<Vec<GrantInfo>> {
        let _ = tenant;
        Err(Error::internal("not there yet"))
    }
}
