//! Decisions without an entry: may this caller look, may this stream go on.
//!
//! The same [`decide`] as for a release, over what the recorder knows as of the last commit; nothing is charged.

use std::sync::Arc;

use strongroom_core::grant::{
    Action, Authority, Grant, Held, Holder, Place, Prefix, Principal, Refusal, Request, Standing, Tally, Usage, decide,
};
use strongroom_core::identity::Fingerprint;
use strongroom_core::ids::GrantId;
use strongroom_core::names::DatasetName;
use strongroom_core::reason::Reason;

use crate::error::Error;
use crate::recorder::attempt::Caller;
use crate::tenants::Tenant;
use crate::vault::Vault;

/// The most grants of one holder that are looked at where none is named.
const MAX_HELD: u32 = 10_000;
/// How many of them are decided on at once.
const AT_ONCE: usize = 100;

/// Decides whether the caller may do all of `places` under the grant it names.
pub(crate) async fn check(
    vault: &Vault,
    tenant: &Arc<Tenant>,
    caller: &Caller,
    grant: Option<GrantId>,
    places: &[Place<'_>],
) -> Result<(), Error> {
    let authority = vault.recorder.view(tenant).await?.authority;
    let chain = match grant {
        Some(id) => vault.recorder.standing(tenant, id).await?,
        None => Vec::new(),
    };
    decided(vault, &authority, caller, grant, &chain, places).map_err(Error::Refused)
}

/// Decides whether the caller may list all of a prefix: under the grant it names, else under any that it holds.
pub(crate) async fn check_list(
    vault: &Vault,
    tenant: &Arc<Tenant>,
    caller: &Caller,
    grant: Option<GrantId>,
    dataset: &DatasetName,
    prefix: &Prefix,
) -> Result<(), Error> {
    let authority = vault.recorder.view(tenant).await?.authority;
    let principal = authority.principal(&caller.key);
    if principal == Principal::Admin && grant.is_none() {
        return Ok(());
    }
    let covers =
        |grant: &Grant| grant.terms.scopes.iter().any(|scope| scope.covers_prefix(Action::List, dataset, prefix));
    let mut chains = Vec::new();
    let mut candidates = Vec::new();
    match grant {
        Some(id) => chains.push(vault.recorder.standing(tenant, id).await?),
        None => {
            let held = held_by(vault, tenant, principal, caller.key).await?;
            candidates.extend(held.iter().filter(|grant| covers(grant)).map(|grant| grant.id));
        }
    }
    let none = Refusal::new(Reason::OutOfScope, "no grant of this key covers it");
    // A suspended vendor, or an unknown key, is told so before anything else.
    let mut refusal = decided(vault, &authority, caller, None, &[], &[]).err().unwrap_or_else(|| none.clone());
    let mut rest = candidates.chunks(AT_ONCE);
    loop {
        for chain in chains.drain(..) {
            let Some(id) = chain.first().map(|(grant, _)| grant.id) else { continue };
            if !chain.iter().all(|(grant, _)| covers(grant)) {
                continue;
            }
            match decided(vault, &authority, caller, Some(id), &chain, &[]) {
                Ok(()) if authority.is_frozen(dataset) => refusal = Refusal::frozen(dataset),
                Ok(()) => return Ok(()),
                Err(ended) => refusal = ended,
            }
        }
        match rest.next() {
            Some(some) => chains = vault.recorder.standings(tenant, some).await?,
            None => return Err(refusal.into()),
        }
    }
}

/// The newest grants that a key holds, its vendor's and its own, newest first.
pub(crate) async fn held_by(
    vault: &Vault,
    tenant: &Tenant,
    principal: Principal,
    key: Fingerprint,
) -> Result<Vec<Grant>, Error> {
    held_before(vault, tenant, principal, key, None, MAX_HELD).await
}

/// Those of them that were issued before entry `before`, and at most so many.
pub(crate) async fn held_before(
    vault: &Vault,
    tenant: &Tenant,
    principal: Principal,
    key: Fingerprint,
    before: Option<u64>,
    limit: u32,
) -> Result<Vec<Grant>, Error> {
    let of =
        |holder| async move { vault.catalog.grants_of(&tenant.id, &tenant.ledger_key, &holder, before, limit).await };
    let mut held = of(Holder::Key(key)).await?;
    if let Principal::Vendor(id) = principal {
        held.extend(of(Holder::Vendor(id)).await?);
    }
    held.sort_by_key(|grant| std::cmp::Reverse(grant.issued));
    held.truncate(limit as usize);
    Ok(held)
}

/// Who may read the ledger, and what is about all of a tenant.
pub(crate) async fn check_admin(vault: &Vault, tenant: &Arc<Tenant>, key: &Fingerprint) -> Result<(), Error> {
    match vault.recorder.view(tenant).await?.authority.principal(key) {
        Principal::Admin => Ok(()),
        Principal::Vendor(_) => {
            Err(Refusal::new(Reason::OutOfScope, "only an admin of the tenant may see this").into())
        }
        Principal::Key => Err(Error::UnknownTenant),
    }
}

fn decided(
    vault: &Vault,
    authority: &Authority,
    caller: &Caller,
    grant: Option<GrantId>,
    chain: &[(Arc<Grant>, Tally)],
    places: &[Place<'_>],
) -> Result<(), Refusal> {
    let (key, source) = (caller.key, caller.source.into());
    let request = Request { key, grant, incident: None, places, charge: Usage::default(), source, obstacle: None };
    would_be(vault, authority, &request, chain)
}

/// What would be decided now, under the grant that `chain` begins with; nothing comes of it.
pub(crate) fn would_be(
    vault: &Vault,
    authority: &Authority,
    request: &Request<'_>,
    chain: &[(Arc<Grant>, Tally)],
) -> Result<(), Refusal> {
    let held: Vec<Held<'_>> = chain.iter().map(|(grant, tally)| Held { grant, tally: *tally }).collect();
    let operators = vault.recorder.operators();
    let standing = Standing { now: vault.recorder.now(), authority, chain: &held, blocked: operators.blocked() };
    decide(request, &standing).map(|_| ())
}
