//! Which orders, and so which entries, are of the authority log, and which of them take something away.

use crate::ledger::Event;
use crate::order::Instruction;

/// Whether an instruction belongs to the authority log. Grants and renewals do not: they are many, and only widen.
pub fn is_authority(instruction: &Instruction) -> bool {
    !matches!(instruction, Instruction::IssueGrant(_) | Instruction::RenewGrant { .. })
}

/// Whether an instruction takes something away: it is decided before what waits beside it, and moves the grants epoch.
pub fn takes_away(instruction: &Instruction) -> bool {
    matches!(
        instruction,
        Instruction::RemoveAdmin { .. }
            | Instruction::SuspendVendor { .. }
            | Instruction::RemoveVendor { .. }
            | Instruction::RevokeKey { .. }
            | Instruction::RevokeGrant { .. }
            | Instruction::DeleteDataset { .. }
            | Instruction::FreezeDataset { .. }
            | Instruction::FreezeTenant { .. }
            | Instruction::BlockKey { .. }
            | Instruction::ShredObjects { .. }
            | Instruction::ShredDataset { .. }
            | Instruction::ShredTenant { .. }
    )
}

/// Whether an event belongs to the authority log: [`is_authority`] of the order that it records.
pub fn is_authority_event(event: Event) -> bool {
    match event {
        Event::TenantCreated
        | Event::AdminAdded
        | Event::AdminRemoved
        | Event::VendorAdded
        | Event::VendorSuspended
        | Event::VendorResumed
        | Event::VendorRemoved
        | Event::KeyAdded
        | Event::KeyRevoked
        | Event::GrantRevoked
        | Event::PolicySet
        | Event::DatasetCreated
        | Event::DatasetDeleted
        | Event::DatasetFrozen
        | Event::DatasetUnfrozen
        | Event::TenantFrozen
        | Event::TenantUnfrozen
        | Event::KeyBlocked
        | Event::KeyUnblocked
        | Event::KeyRotated
        | Event::KeyDestroyed
        | Event::IncidentOpened
        | Event::IncidentClosed
        | Event::LogKeyRotated
        | Event::ObjectShredded
        | Event::DatasetShredded
        | Event::TenantShredded
        | Event::RotationSet
        | Event::KeyRotatedDue
        | Event::EscrowSet => true,
        Event::GrantIssued
        | Event::GrantRenewed
        | Event::SessionOpen
        | Event::ObjectPut
        | Event::ObjectRekeyed
        | Event::ObjectDeleted
        | Event::Release
        | Event::ReleaseRepeat
        | Event::Denied => false,
    }
}

/// Whether an event takes something away: [`takes_away`] of the order that it records.
pub fn takes_away_event(event: Event) -> bool {
    matches!(
        event,
        Event::AdminRemoved
            | Event::VendorSuspended
            | Event::VendorRemoved
            | Event::KeyRevoked
            | Event::GrantRevoked
            | Event::DatasetDeleted
            | Event::DatasetFrozen
            | Event::TenantFrozen
            | Event::KeyBlocked
            | Event::ObjectShredded
            | Event::DatasetShredded
            | Event::TenantShredded
    )
}
