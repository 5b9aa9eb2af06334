//! What a caller's own keys were released, read from the ledger: the question of whoever was breached, before the lab asks it.
//!
//! Only releases to these keys are told of, and of each only what the caller asked for itself: not who else is there, not which
//! grants stand above its own.

use std::sync::Arc;

use strongroom_core::grant::{Authority, Principal};
use strongroom_core::identity::Fingerprint;
use strongroom_core::ids::{Index, Millis, VendorId};
use strongroom_core::ledger::{Entry, Event, ObjectRef, Role};

use crate::error::Error;
use crate::tenants::Tenant;
use crate::vault::Vault;

/// The most entries, and the most commits, that one answer looks at: a page costs no more, whoever asks.
const MAX_SCAN: u64 = 20_000;
const MAX_COMMITS: usize = 500;
/// The most objects of one answer: under 4 MiB with the longest names.
const MAX_OBJECTS: usize = 2048;

/// Whose releases: a key's and, if it is a vendor's, those of all keys that the vendor has or had.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Whose {
    key: Fingerprint,
    vendor: Option<VendorId>,
}

impl Whose {
    /// Those of whoever has this key.
    pub(crate) fn of(authority: &Authority, key: Fingerprint) -> Self {
        let vendor = match authority.principal(&key) {
            Principal::Vendor(id) => Some(id),
            Principal::Admin | Principal::Key => None,
        };
        Self { key, vendor }
    }

    fn is(&self, entry: &Entry) -> bool {
        let actor = &entry.actor;
        actor.key == self.key || self.vendor.is_some_and(|vendor| actor.role == Role::Vendor(vendor))
    }
}

/// A page that is asked for: entries from `from` on and before `to`.
pub(crate) struct Asked {
    pub(crate) whose: Whose,
    pub(crate) since: Millis,
    pub(crate) until: Millis,
    pub(crate) from: Index,
    pub(crate) to: Index,
    pub(crate) limit: usize,
}

/// A release, and by name what was released.
pub(crate) struct Own {
    pub(crate) entry: Entry,
    pub(crate) parts: Vec<(String, ObjectRef)>,
}

/// A page of releases, and where the next one begins if the ledger goes on.
pub(crate) async fn own_releases(
    vault: &Vault,
    tenant: &Arc<Tenant>,
    asked: &Asked,
) -> Result<(Vec<Own>, Option<Index>), Error> {
    let Asked { whose, since, until, from, to, limit } = asked;
    let (mut next, end) = (*from, Index(to.0.min(from.0.saturating_add(MAX_SCAN))));
    let (mut found, mut objects, mut commits) = (Vec::new(), 0, 0);
    'pages: while next < end && commits < MAX_COMMITS {
        commits += 1;
        let entries = vault.recorder.public_history(tenant, next, end).await?;
        if entries.is_empty() {
            return Err(Error::Integrity("the ledger ends before its head".into()));
        }
        for public in entries {
            let entry = Entry::from_bytes(&public).map_err(|error| Error::Integrity(error.to_string().into()))?;
            let released = matches!(entry.event, Event::Release | Event::ReleaseRepeat);
            if released && whose.is(&entry) && (*since..*until).contains(&entry.time) {
                if found.len() == *limit || (objects > 0 && objects + entry.objects.len() > MAX_OBJECTS) {
                    break 'pages;
                }
                objects += entry.objects.len();
                found.push(entry);
            }
            next = Index(next.0 + 1);
        }
    }
    let wanted: Vec<(Index, u32)> =
        found.iter().flat_map(|entry: &Entry| &entry.objects).map(|object| (object.1, object.2)).collect();
    let mut names = Vec::new();
    if !wanted.is_empty() {
        names = vault.catalog.names(&tenant.id, &tenant.ledger_key, &wanted).await?;
    }
    let mut names = names.into_iter().map(|(dataset, path)| format!("{dataset}/{path}"));
    let own = |entry: Entry| {
        let parts = entry.objects.iter().map(|object| (names.next().unwrap_or_default(), *object)).collect();
        Own { entry, parts }
    };
    Ok((found.into_iter().map(own).collect(), (next < *to).then_some(next)))
}
