//! Which entries a monitor tells. It looks for itself, in what it verified: a vault that leaves some out is found out.

use strongroom_client::audit::LedgerLine;
use strongroom_core::ids::{GrantId, IncidentId, VendorId};
use strongroom_core::ledger::about;
use strongroom_core::ledger::entry::{Entry, Event};
use strongroom_core::names::{DatasetName, ObjectPath, VendorName};

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
    pub(super) fn wants(
        &self,
        line: &LedgerLine,
        vendors: &[(VendorId, String)],
        incident: Option<IncidentId>,
    ) -> bool {
        let private = line.private.as_ref();
        let of_vendor = |name: &VendorName| {
            let id = vendors.iter().find(|(_, own)| own == name.as_str()).map(|(id, _)| *id);
            id.is_some_and(|id| about::is_of_vendor(&line.entry, private, id))
        };
        self.about.vendor.as_ref().is_none_or(of_vendor)
            && incident.is_none_or(|incident| about::is_of_incident(&line.entry, private, incident))
            && self.about.dataset().is_none_or(|name| self.touches(name, line))
    }

    fn touches(&self, dataset: &DatasetName, line: &LedgerLine) -> bool {
        let place = |name: &String| {
            let (dataset, path) = name.split_once('/')?;
            Some((dataset.parse().ok()?, path.parse().ok()?))
        };
        let places: Vec<(DatasetName, ObjectPath)> = line.names.iter().filter_map(place).collect();
        let objects = places.iter().map(|(dataset, path)| (dataset, path));
        about::is_of_place(line.private.as_ref(), objects, dataset, self.about.prefix().as_ref())
    }
}
