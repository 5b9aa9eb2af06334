//! The ledger, read back: entries in order, filtered, with the names that the public parts leave out.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use strongroom_core::call::Work;
use strongroom_core::grant::Prefix;
use strongroom_core::identity::Fingerprint;
use strongroom_core::ids::{GrantId, IncidentId, Index, Millis, VendorId};
use strongroom_core::ledger::entry::peek_event;
use strongroom_core::ledger::summary::Wanted;
use strongroom_core::ledger::{Entry, Event, Outcome, Private, about};
use strongroom_core::names::{DatasetName, ObjectPath};

use crate::error::Error;
use crate::recorder::Search;
use crate::tenants::Tenant;
use crate::vault::Vault;

/// Which entries are asked for; what is not given does not filter.
#[derive(Default)]
pub(crate) struct Filter {
    pub(crate) since: Option<Millis>,
    pub(crate) until: Option<Millis>,
    pub(crate) events: BTreeSet<Event>,
    pub(crate) key: Option<Fingerprint>,
    pub(crate) vendor: Option<VendorId>,
    pub(crate) grant: Option<GrantId>,
    pub(crate) dataset: Option<DatasetName>,
    pub(crate) prefix: Option<Prefix>,
    pub(crate) outcome: Option<Outcome>,
    pub(crate) incident: Option<IncidentId>,
}

impl Filter {
    /// What of it summaries can tell.
    pub(crate) fn search(&self) -> Search {
        let Self { since, until, key, vendor, grant, outcome, .. } = *self;
        let events = self.events.clone();
        Search::new(Wanted { since, until, events, key, vendor, grant, dataset: self.dataset.clone(), outcome })
    }
}

/// An entry as it is told.
pub(crate) struct Line {
    pub(crate) public: Bytes,
    pub(crate) private: Bytes,
    pub(crate) names: Vec<String>,
}

/// Some entries of a ledger, from `from` on and before `to`, those that pass; and where to go on.
pub(crate) async fn page(
    vault: &Vault,
    tenant: &Arc<Tenant>,
    from: Index,
    to: Index,
    filter: &Filter,
    search: &mut Search,
) -> Result<(Vec<Line>, Index), Error> {
    let from = vault.recorder.seek(tenant, search, from, to).await?;
    if from >= to {
        return Ok((Vec::new(), to));
    }
    let entries = vault.recorder.history(tenant, from, to).await?;
    let next = Index(from.0 + entries.len() as u64);
    let mut lines = Vec::new();
    for (public, private) in entries {
        // Most are told apart by their event alone, without being read.
        let is_wanted = |name: &str| filter.events.iter().any(|event| event.name() == name);
        if !filter.events.is_empty() && peek_event(&public).is_some_and(|name| !is_wanted(name)) {
            continue;
        }
        let entry = Entry::from_bytes(&public).map_err(|error| Error::Integrity(error.to_string().into()))?;
        if !passes_in_public(filter, &entry) {
            continue;
        }
        let secret = if private.is_empty() {
            None
        } else {
            Some(Private::from_bytes(&private).map_err(|error| Error::Integrity(error.to_string().into()))?)
        };
        if !passes_in_private(filter, &entry, secret.as_ref()) {
            continue;
        }
        let places = places(vault, tenant, &entry, secret.as_ref()).await?;
        let objects = || places.iter().map(|(dataset, path)| (dataset, path));
        let touches = |dataset| about::is_of_place(secret.as_ref(), objects(), dataset, filter.prefix.as_ref());
        if !filter.dataset.as_ref().is_none_or(touches) {
            continue;
        }
        let names = places.iter().map(|(dataset, path)| format!("{dataset}/{path}")).collect();
        lines.push(Line { public, private, names });
    }
    Ok((lines, next))
}

fn passes_in_public(filter: &Filter, entry: &Entry) -> bool {
    filter.since.is_none_or(|since| entry.time >= since)
        && filter.until.is_none_or(|until| entry.time < until)
        && (filter.events.is_empty() || filter.events.contains(&entry.event))
        && filter.key.is_none_or(|key| entry.actor.key == key)
        && filter.grant.is_none_or(|grant| entry.grants.contains(&grant))
        && filter.outcome.is_none_or(|outcome| entry.outcome == outcome)
        && (filter.incident.is_none() || about::may_be_of_incident(entry))
}

fn passes_in_private(filter: &Filter, entry: &Entry, private: Option<&Private>) -> bool {
    filter.incident.is_none_or(|incident| about::is_of_incident(entry, private, incident))
        && filter.vendor.is_none_or(|vendor| about::is_of_vendor(entry, private, vendor))
}

/// The objects that an entry is about, by name, in its order.
async fn places(
    vault: &Vault,
    tenant: &Arc<Tenant>,
    entry: &Entry,
    private: Option<&Private>,
) -> Result<Vec<(DatasetName, ObjectPath)>, Error> {
    if entry.outcome == Outcome::Denied {
        // What was refused may not exist: the caller's own words are all there is.
        return Ok(private
            .and_then(|private| private.call.as_ref())
            .map(|call| asked(&call.call.work))
            .unwrap_or_default());
    }
    let mut wanted: Vec<(Index, u32)> = entry.objects.iter().map(|object| (object.1, object.2)).collect();
    wanted.extend((0_u32..).zip(&entry.puts).map(|(ordinal, _)| (entry.index, ordinal)));
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    Ok(vault.catalog.names(&tenant.id, &tenant.ledger_key, &wanted).await?)
}

fn asked(work: &Work) -> Vec<(DatasetName, ObjectPath)> {
    match work {
        Work::Get(items) | Work::ReleaseKeys(items) => {
            // An object that was asked for by its id has no name that is sure to be there.
            items.iter().filter_map(|item| Some((item.dataset.clone(), item.path.clone()?))).collect()
        }
        Work::Put(items) => items.iter().map(|item| (item.dataset.clone(), item.path.clone())).collect(),
        Work::Delete(items) => items.iter().map(|item| (item.dataset.clone(), item.path.clone())).collect(),
    }
}
