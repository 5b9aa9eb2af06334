//! Why a key may, or may not: the decision as it would be now, grant by grant. For admins.
//!
//! It is the same [`decide`](strongroom_core::grant::decide()) as for a release, over the same standing, with what the call would
//! cost and what is there. Nothing is recorded and nothing is charged; whoever is no admin learns nothing from it, not even
//! whether the key or the object is known.

use std::sync::Arc;

use strongroom_core::grant::{Action, Grant, Place, Principal, Refusal, Request, Source, Tally, Usage};
use strongroom_core::identity::Fingerprint;
use strongroom_core::names::{DatasetName, ObjectPath};
use strongroom_core::reason::Reason;

use crate::catalog::objects::Lookup;
use crate::error::Error;
use crate::tenants::Tenant;
use crate::vault::{Vault, standing};

/// The most grants that are told of.
const MAX_GRANTS: usize = 100;

/// What is asked.
pub(crate) struct Question {
    pub(crate) key: Fingerprint,
    pub(crate) action: Action,
    pub(crate) dataset: DatasetName,
    pub(crate) path: ObjectPath,
}

/// A grant and all above it, each with what was charged to it.
pub(crate) type Chain = Vec<(Arc<Grant>, Tally)>;

/// What would be decided.
pub(crate) struct Explained {
    pub(crate) principal: Principal,
    /// Without a grant, where the chain is empty; then under each.
    pub(crate) verdicts: Vec<(Chain, Result<(), Refusal>)>,
    /// How many grants there are besides.
    pub(crate) others: usize,
}

/// Asks for a key what it may.
pub(crate) async fn explain(vault: &Vault, tenant: &Arc<Tenant>, question: &Question) -> Result<Explained, Error> {
    let Question { key, action, dataset, path } = question;
    let authority = vault.recorder.view(tenant).await?.authority;
    let principal = authority.principal(key);
    let found = match authority.dataset(dataset).map(|dataset| dataset.id) {
        None => Err(Refusal::new(Reason::NotFound, "no such dataset")),
        Some(id) => {
            let lookup = Lookup { dataset: id, dataset_name: dataset.clone(), path: path.clone(), generation: None };
            let (mut found, _) = vault.lookups.resolve(tenant, vec![lookup]).await?;
            Ok(found.pop().flatten())
        }
    };
    let place = |action| Place { action, dataset, path };
    let one = Usage { bytes: 0, objects: 1, uses: 1 };
    // As the call would be decided: what overwrites needs to say so, and what is not there stands in the way of a read.
    let (places, charge, obstacle) = match (action, found) {
        (Action::Write | Action::Overwrite, Ok(Some(_))) => {
            (vec![place(Action::Write), place(Action::Overwrite)], one, None)
        }
        (Action::Write | Action::Overwrite, Ok(None)) => (vec![place(Action::Write)], one, None),
        (action, Ok(Some(object))) => {
            let bytes = if *action == Action::Read { object.size } else { 0 };
            (
                vec![place(*action)],
                if *action == Action::List { Usage::default() } else { Usage { bytes, ..one } },
                None,
            )
        }
        (action, Ok(None)) => {
            (vec![place(*action)], Usage::default(), Some(Refusal::new(Reason::NotFound, "no such object")))
        }
        (action, Err(refusal)) => (vec![place(*action)], Usage::default(), Some(refusal)),
    };
    // From where it would be asked is not known: a grant that has networks is told with them.
    let source = Source::Erased;
    let (incident, obstacle) = (None, obstacle.as_ref());
    let request = |grant| Request { key: *key, grant, incident, places: &places, charge, source, obstacle };
    let mut verdicts = vec![(Vec::new(), standing::would_be(vault, &authority, &request(None), &[]))];
    let held = standing::held_by(vault, tenant, principal, *key).await?;
    let (mut about, all) = (held.iter().filter(|grant| is_about(grant, dataset)), held.len());
    for grant in about.by_ref().take(MAX_GRANTS) {
        let chain = vault.recorder.standing(tenant, grant.id).await?;
        let verdict = standing::would_be(vault, &authority, &request(Some(grant.id)), &chain);
        verdicts.push((chain, verdict));
    }
    let others = all + 1 - verdicts.len();
    Ok(Explained { principal, verdicts, others })
}

fn is_about(grant: &Grant, dataset: &DatasetName) -> bool {
    grant.terms.scopes.iter().any(|scope| scope.dataset == *dataset)
}
