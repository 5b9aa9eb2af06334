//! Which entries a monitor tells. It looks for itself, in what it verified: a vault that leaves some out is found out.

use strongroom_client::audit::LedgerLine;
use strongroom_core::grant::{Holder, Prefix};
use strongroom_core::ids::{GrantId, VendorId};
use strongroom_core::ledger::entry::{Entry, Event, Role};
use strongroom_core::names::{DatasetName, ObjectPath, VendorName};
use strongroom_core::order::Instruction;

use crate::audit::log::{About, event};

/// The filters of `audit watch`; all must hold.
#[derive(Debug, clap::Args)]
pub(super) struct Chosen {
    /// Tell these events, such as release,denied,vendor.suspended; all without it.
    #[arg(long, value_name = "EVENT,…", value_delimiter = ',', value_parser = event)]
    on: Vec<Event>,
    #[command(flatten)]
    about: About,
}

impl Chosen {
    /// Whether an entry may be one, by its public part.
    pub(super) fn may(&self, entry: &Entry, grant: Option<GrantId>) -> bool {
        (self.on.is_empty() || self.on.contains(&entry.event))
            && self.about.key.is_none_or(|key| entry.actor.key == key)
            && self.about.outcome.is_none_or(|outcome| entry.outcome == outcome)
            && grant.is_none_or(|grant| entry.grants.contains(&grant))
    }

    /// Whether one that may be is one, `vendors` being those that the ledger names.
    pub(super) fn wants(&self, line: &LedgerLine, vendors: &[(VendorId, String)]) -> bool {
        let of_vendor = |name: &VendorName| {
            let id = vendors.iter().find(|(_, own)| own == name.as_str()).map(|(id, _)| *id);
            id.is_some_and(|id| line.entry.actor.role == Role::Vendor(id) || is_about(id, line))
        };
        self.about.vendor.as_ref().is_none_or(of_vendor)
            && self.about.dataset().is_none_or(|name| self.touches(name, line))
    }

    fn touches(&self, dataset: &DatasetName, line: &LedgerLine) -> bool {
        let prefix = self.about.prefix();
        let within = |name: &String| match name.split_once('/') {
            Some((of, path)) if of == dataset.as_str() => {
                let covers = |prefix: &Prefix| path.parse().is_ok_and(|path: ObjectPath| prefix.covers(&path));
                prefix.as_ref().is_none_or(covers)
            }
            _ => false,
        };
        let ordered = || match instruction(line) {
            Some(
                Instruction::CreateDataset { name }
                | Instruction::DeleteDataset { name }
                | Instruction::FreezeDataset { name, .. }
                | Instruction::UnfreezeDataset { name, .. },
            ) => name == dataset,
            Some(Instruction::IssueGrant(terms)) => terms.scopes.iter().any(|scope| scope.dataset == *dataset),
            _ => false,
        };
        line.names.iter().any(within) || prefix.is_none() && ordered()
    }
}

fn instruction(line: &LedgerLine) -> Option<&Instruction> {
    Some(&line.private.as_ref()?.order.as_ref()?.order.instruction)
}

/// Whether an order names this vendor.
fn is_about(vendor: VendorId, line: &LedgerLine) -> bool {
    match instruction(line) {
        Some(
            Instruction::SuspendVendor { vendor: id, .. }
            | Instruction::ResumeVendor { vendor: id, .. }
            | Instruction::RemoveVendor { vendor: id }
            | Instruction::AddKey { vendor: id, .. }
            | Instruction::RevokeKey { vendor: id, .. },
        ) => *id == vendor,
        Some(Instruction::IssueGrant(terms)) => terms.holder == Holder::Vendor(vendor),
        Some(Instruction::AddVendor { .. }) => line.entry.order.map(VendorId::from) == Some(vendor),
        _ => false,
    }
}
