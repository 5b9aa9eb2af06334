//! Incidents: what is known of a vendor in somebody else's hands, recorded, so that whatever is ordered because of it can name it.

use std::collections::BTreeMap;

use futures::TryStreamExt;
use strongroom_core::audit::called::{Called, Calls};
use strongroom_core::audit::roster::{Happening, Incident, Roster};
use strongroom_core::ids::{IncidentId, Index, Millis};
use strongroom_core::names::{TenantName, VendorName};
use strongroom_core::order::Instruction;

use crate::admin::OrderDone;
use crate::audit::Query;
use crate::connect::Vault;
use crate::error::Result;

/// An incident with what belongs to it.
#[derive(Debug, Clone)]
pub struct IncidentInfo {
    /// Its id.
    pub id: IncidentId,
    /// What its orders tell.
    pub incident: Incident,
    /// The vendor's name.
    pub vendor: Option<VendorName>,
    /// The orders that belong to it.
    pub orders: Vec<Happening>,
}

impl IncidentInfo {
    /// All that there are by a ledger's orders, closed ones too, in the order of their opening.
    pub fn all(roster: &Roster) -> Vec<Self> {
        let mut all: BTreeMap<Index, Self> = BTreeMap::new();
        for (id, incident) in roster.incidents() {
            let (incident, vendor) = (incident.clone(), roster.vendor_name(&incident.vendor).cloned());
            let orders = roster.of_incident(*id);
            all.insert(incident.opened.index, Self { id: *id, incident, vendor, orders });
        }
        all.into_values().collect()
    }
}

impl Vault {
    /// Opens an incident about a vendor: `since` is from when on it may have been in somebody else's hands. It takes nothing away.
    /// To admins.
    ///
    /// # Errors
    /// `NOT_FOUND` if there is no such vendor; `OUT_OF_SCOPE` if the caller is no admin.
    pub async fn open_incident(
        &self,
        tenant: &TenantName,
        vendor: &VendorName,
        since: Option<Millis>,
        note: Option<String>,
    ) -> Result<(IncidentId, OrderDone)> {
        let vendor = self.vendor(tenant, vendor).await?.id;
        let done = self.order(tenant, Instruction::OpenIncident { vendor, since, note }).await?;
        Ok((done.id.into(), done))
    }

    /// Closes an incident. It gives nothing back. To admins.
    ///
    /// # Errors
    /// `NOT_FOUND` if there is none; `PRECONDITION_FAILED` if it is closed already; `OUT_OF_SCOPE` if the caller is no admin.
    pub async fn close_incident(
        &self,
        tenant: &TenantName,
        incident: IncidentId,
        note: Option<String>,
    ) -> Result<OrderDone> {
        self.order(tenant, Instruction::CloseIncident { incident, note }).await
    }

    /// Stops every grant and key of a vendor because of an incident.
    ///
    /// # Errors
    /// As [`Vault::suspend_vendor`]; `NOT_FOUND` too if there is no such incident.
    pub async fn suspend_vendor_in(
        &self,
        tenant: &TenantName,
        vendor: &VendorName,
        note: Option<String>,
        incident: IncidentId,
    ) -> Result<OrderDone> {
        let vendor = self.vendor(tenant, vendor).await?.id;
        self.order_of(tenant, Instruction::SuspendVendor { vendor, note }, Some(incident)).await
    }

    /// A tenant's incidents, closed ones too, in the order of their opening. To admins.
    ///
    /// # Errors
    /// `OUT_OF_SCOPE` if the caller is no admin; `INTEGRITY` if what comes is no ledger.
    pub async fn incidents(&self, tenant: &TenantName) -> Result<Vec<IncidentInfo>> {
        Ok(IncidentInfo::all(&self.roster(tenant, None).await?))
    }

    /// What was done for an incident in calls that name it: re-keyed, deleted, read, put, refused; in the order of their first
    /// entries, before an index. To admins.
    ///
    /// # Errors
    /// `NOT_FOUND` if there is no such incident; `OUT_OF_SCOPE` if the caller is no admin.
    pub async fn incident_calls(
        &self,
        tenant: &TenantName,
        incident: IncidentId,
        to: Option<Index>,
    ) -> Result<Vec<Called>> {
        let mut calls = Calls::new(incident);
        let query = Query { to, events: Calls::EVENTS.to_vec(), incident: Some(incident), ..Query::default() };
        let mut lines = self.query(tenant, query);
        while let Some(line) = lines.try_next().await? {
            calls.feed(&line.entry, line.private.as_ref());
        }
        Ok(calls.finish())
    }

    /// Who is who by the orders of a tenant's ledger, before an index. To admins.
    ///
    /// # Errors
    /// `OUT_OF_SCOPE` if the caller is no admin; `INTEGRITY` if what comes is no ledger.
    pub async fn roster(&self, tenant: &TenantName, to: Option<Index>) -> Result<Roster> {
        let mut roster = Roster::default();
        let mut orders = self.query(tenant, Query { to, events: Roster::EVENTS.to_vec(), ..Query::default() });
        while let Some(line) = orders.try_next().await? {
            roster.feed(&line.entry, line.private.as_ref())?;
        }
        Ok(roster)
    }
}
