//! What an entry is about beside the objects that it names: the vendor, the incident or the place that its order names.
//!
//! Whoever filters a ledger asks here, the vault that answers and a monitor that looks for itself: both tell the same entries.

use crate::grant::{Holder, Prefix};
use crate::ids::{IncidentId, VendorId};
use crate::ledger::entry::{Entry, Private, Role};
use crate::names::{DatasetName, ObjectPath};
use crate::order::{Instruction, Order};

fn order(private: Option<&Private>) -> Option<&Order> {
    Some(&private?.order.as_ref()?.order)
}

/// Whether a key of this vendor did it, or an order names the vendor: itself, a key of it, or a grant that is issued to it.
pub fn is_of_vendor(entry: &Entry, private: Option<&Private>, vendor: VendorId) -> bool {
    let names = |order: &Order| match &order.instruction {
        Instruction::SuspendVendor { vendor: id, .. }
        | Instruction::ResumeVendor { vendor: id, .. }
        | Instruction::RemoveVendor { vendor: id }
        | Instruction::AddKey { vendor: id, .. }
        | Instruction::RevokeKey { vendor: id, .. }
        | Instruction::OpenIncident { vendor: id, .. } => *id == vendor,
        Instruction::IssueGrant(terms) => terms.holder == Holder::Vendor(vendor),
        Instruction::AddVendor { .. } => entry.order.map(VendorId::from) == Some(vendor),
        Instruction::CreateTenant { .. }
        | Instruction::AddAdmin { .. }
        | Instruction::RemoveAdmin { .. }
        | Instruction::CreateDataset { .. }
        | Instruction::DeleteDataset { .. }
        | Instruction::FreezeDataset { .. }
        | Instruction::UnfreezeDataset { .. }
        | Instruction::FreezeTenant { .. }
        | Instruction::UnfreezeTenant { .. }
        | Instruction::BlockKey { .. }
        | Instruction::UnblockKey { .. }
        | Instruction::RotateKey { .. }
        | Instruction::DestroyKey { .. }
        | Instruction::RotateLogKey { .. }
        | Instruction::ShredObjects { .. }
        | Instruction::ShredDataset { .. }
        | Instruction::ShredTenant { .. }
        | Instruction::SetEscrow { .. }
        | Instruction::RotateEvery { .. }
        | Instruction::SetPolicy(_)
        | Instruction::CloseIncident { .. }
        | Instruction::RenewGrant { .. }
        | Instruction::RevokeGrant { .. } => false,
    };
    entry.actor.role == Role::Vendor(vendor) || order(private).is_some_and(names)
}

/// Whether an entry can belong to an incident at all, by its public part: what names one is an order, or a call under no grant.
pub fn may_be_of_incident(entry: &Entry) -> bool {
    entry.order.is_some() || entry.call.is_some() && entry.grants.is_empty()
}

/// Whether its order or its call names this incident, or its order opened or closed it.
pub fn is_of_incident(entry: &Entry, private: Option<&Private>, incident: IncidentId) -> bool {
    incident_of(entry, private) == Some(incident)
        || order(private).is_some_and(|order| order.incident == Some(incident))
}

/// The incident that its order opened or closed, or that its order or its call names.
pub fn incident_of(entry: &Entry, private: Option<&Private>) -> Option<IncidentId> {
    let of_order = order(private).and_then(|order| match &order.instruction {
        Instruction::OpenIncident { .. } => entry.order.map(IncidentId::from),
        Instruction::CloseIncident { incident, .. } => Some(*incident),
        _ => order.incident,
    });
    of_order.or(private?.incident)
}

/// Whether it is about a dataset, or about something under a prefix of it: by one of the objects that it names, which lie at these
/// places, or by its order.
pub fn is_of_place<'a>(
    private: Option<&Private>,
    mut objects: impl Iterator<Item = (&'a DatasetName, &'a ObjectPath)>,
    dataset: &DatasetName,
    prefix: Option<&Prefix>,
) -> bool {
    let ordered = |order: &Order| match &order.instruction {
        Instruction::CreateDataset { name }
        | Instruction::DeleteDataset { name }
        | Instruction::FreezeDataset { name, .. }
        | Instruction::UnfreezeDataset { name, .. }
        | Instruction::ShredDataset { name, .. } => prefix.is_none() && name == dataset,
        Instruction::IssueGrant(terms) => {
            prefix.is_none() && terms.scopes.iter().any(|scope| scope.dataset == *dataset)
        }
        Instruction::ShredObjects { dataset: name, prefix: part, .. } => {
            name == dataset && prefix.is_none_or(|prefix| prefix.intersects(part))
        }
        _ => false,
    };
    objects.any(|(name, path)| name == dataset && prefix.is_none_or(|prefix| prefix.covers(path)))
        || order(private).is_some_and(ordered)
}
