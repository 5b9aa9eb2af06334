//! `Grants`: who may do what, until when, how much.

use std::net::IpAddr;
use std::sync::Arc;

use strongroom_core::exact;
use strongroom_core::grant::{Action, Authority, Grant, Holder, Part, Prefix, Principal, Scope, Tally};
use strongroom_core::identity::Fingerprint;
use strongroom_core::ids::GrantId;
use strongroom_core::order::Instruction;
use strongroom_proto::v1;
use tonic::{Request, Response, Status};

use super::state::Standing;
use super::{answer, caller, optional, order, page_size, parse, reason_of, tenant_name};
use crate::error::Error;
use crate::tenants::Tenant;
use crate::vault::explain::Question;
use crate::vault::{Vault, session, standing};

pub(super) struct GrantsApi(pub(super) Arc<Vault>);

/// How long an ended grant is still told to its holder: one day, in milliseconds.
const TOLD_AFTER_END: u64 = 24 * 60 * 60 * 1000;

/// The most pages of grants that are looked at for one answer, where few of them may be what is asked for.
const MAX_PAGES: usize = 10;
/// About how many bytes of terms one answer tells: whoever delegates may write long ones, and a message has 4 MiB at most.
const MAX_TOLD: usize = 2 << 20;

#[tonic::async_trait]
impl v1::grants_server::Grants for GrantsApi {
    async fn issue(&self, request: Request<v1::SignedOrder>) -> Result<Response<v1::OrderReceipt>, Status> {
        order(&self.0, request, |instruction| matches!(instruction, Instruction::IssueGrant(_))).await
    }

    async fn renew(&self, request: Request<v1::SignedOrder>) -> Result<Response<v1::OrderReceipt>, Status> {
        order(&self.0, request, |instruction| matches!(instruction, Instruction::RenewGrant { .. })).await
    }

    async fn revoke(&self, request: Request<v1::SignedOrder>) -> Result<Response<v1::OrderReceipt>, Status> {
        order(&self.0, request, |instruction| matches!(instruction, Instruction::RevokeGrant { .. })).await
    }

    async fn set_policy(&self, request: Request<v1::SignedOrder>) -> Result<Response<v1::OrderReceipt>, Status> {
        order(&self.0, request, |instruction| matches!(instruction, Instruction::SetPolicy(_))).await
    }

    async fn policy(&self, request: Request<v1::PolicyRequest>) -> Result<Response<v1::PolicyResponse>, Status> {
        answer(policy(&self.0, &request).await)
    }

    async fn get(&self, request: Request<v1::GetGrantRequest>) -> Result<Response<v1::Grant>, Status> {
        answer(get(&self.0, &request).await)
    }

    async fn list(&self, request: Request<v1::ListGrantsRequest>) -> Result<Response<v1::ListGrantsResponse>, Status> {
        answer(list(&self.0, &request).await)
    }

    async fn mine(&self, request: Request<v1::ListGrantsRequest>) -> Result<Response<v1::ListGrantsResponse>, Status> {
        answer(mine(&self.0, &request).await)
    }

    async fn delegated(
        &self,
        request: Request<v1::ListDelegatedRequest>,
    ) -> Result<Response<v1::ListGrantsResponse>, Status> {
        answer(delegated(&self.0, &request).await)
    }

    async fn explain(&self, request: Request<v1::ExplainRequest>) -> Result<Response<v1::ExplainResponse>, Status> {
        answer(explain(&self.0, &request).await)
    }
}

async fn policy(vault: &Vault, request: &Request<v1::PolicyRequest>) -> Result<v1::PolicyResponse, Error> {
    let (_, caller) = caller(request)?;
    let tenant = vault.tenants.find(&tenant_name(&request.get_ref().tenant)?).await?;
    standing::check_admin(vault, &tenant, &caller.key).await?;
    let authority = vault.recorder.view(&tenant).await?.authority;
    let (policy, set) = authority.policy();
    let policy = exact::to_vec(policy).map_err(|error| Error::Integrity(error.to_string().into()))?;
    Ok(v1::PolicyResponse { policy: policy.into(), set: set.map(|index| index.0) })
}

async fn get(vault: &Vault, request: &Request<v1::GetGrantRequest>) -> Result<v1::Grant, Error> {
    let (_, caller) = caller(request)?;
    let tenant = vault.tenants.find(&tenant_name(&request.get_ref().tenant)?).await?;
    let authority = vault.recorder.view(&tenant).await?.authority;
    if !session::is_known(vault, &tenant, &authority, &caller.key).await? {
        return Err(Error::UnknownTenant);
    }
    let chain = visible(vault, &tenant, &authority, &caller.key, &request.get_ref().grant).await?;
    let operators = vault.recorder.operators();
    let grant = message(&stands(vault, &authority, &operators, None), &chain)?;
    Ok(with_times(vault, &tenant, vec![grant]).await?.pop().unwrap_or_default())
}

/// A grant that this key may know of, and all above it.
async fn visible(
    vault: &Vault,
    tenant: &Arc<Tenant>,
    authority: &Authority,
    key: &Fingerprint,
    grant: &str,
) -> Result<Vec<(Arc<Grant>, Tally)>, Error> {
    let id: GrantId = grant.parse().map_err(|_| Error::Invalid("the grant id is not one".into()))?;
    let chain = vault.recorder.standing(tenant, id).await?;
    // To others a grant that is not theirs, nor came from one of theirs, looks like none.
    let is_visible = authority.principal(key) == Principal::Admin
        || chain.first().is_some_and(|(grant, _)| grant.issuer == *key)
        || chain.iter().any(|(grant, _)| authority.is_holder(&grant.terms.holder, key));
    if !is_visible || chain.is_empty() {
        return Err(Error::NotFound("no such grant".into()));
    }
    Ok(chain)
}

async fn delegated(
    vault: &Vault,
    request: &Request<v1::ListDelegatedRequest>,
) -> Result<v1::ListGrantsResponse, Error> {
    let (_, caller) = caller(request)?;
    let message = request.get_ref();
    let tenant = vault.tenants.find(&tenant_name(&message.tenant)?).await?;
    let authority = vault.recorder.view(&tenant).await?.authority;
    if !session::is_known(vault, &tenant, &authority, &caller.key).await? {
        return Err(Error::UnknownTenant);
    }
    let chain = visible(vault, &tenant, &authority, &caller.key, &message.grant).await?;
    let parent = chain.first().map(|(grant, _)| grant.id).ok_or(Error::NotFound("no such grant".into()))?;
    let (after, limit) = page_of(message.page.as_ref())?;
    let grants = vault.catalog.delegated(&tenant.id, &tenant.ledger_key, &parent, after, limit).await?;
    let next = next_of(&grants, limit);
    messages(vault, &tenant, grants, next, None).await
}

/// Where a page begins, and how long it is.
fn page_of(page: Option<&v1::Page>) -> Result<(Option<u64>, u32), Error> {
    let page = page.cloned().unwrap_or_default();
    let limit = page_size(&page);
    Ok((optional("the page token", &page.token)?, limit))
}

/// Where the next page begins: before the oldest of a full one.
fn next_of(grants: &[Grant], limit: u32) -> String {
    let full = u32::try_from(grants.len()).is_ok_and(|count| count == limit);
    grants.last().filter(|_| full).map(|grant| grant.issued.0.to_string()).unwrap_or_default()
}

async fn explain(vault: &Vault, request: &Request<v1::ExplainRequest>) -> Result<v1::ExplainResponse, Error> {
    let (_, caller) = caller(request)?;
    let message_in = request.get_ref();
    let tenant = vault.tenants.find(&tenant_name(&message_in.tenant)?).await?;
    standing::check_admin(vault, &tenant, &caller.key).await?;
    let invalid = |what: &'static str| Error::Invalid(what.into());
    let action = match message_in.action.as_str() {
        "list" => Action::List,
        "read" => Action::Read,
        "write" => Action::Write,
        "overwrite" => Action::Overwrite,
        "delete" => Action::Delete,
        _ => return Err(invalid("an action is 'list', 'read', 'write', 'overwrite' or 'delete'")),
    };
    let question = Question {
        key: message_in.key.parse().map_err(|_| invalid("the key is not a fingerprint"))?,
        action,
        dataset: parse("dataset", &message_in.dataset)?,
        path: parse("path", &message_in.path)?,
    };
    let explained = crate::vault::explain::explain(vault, &tenant, &question).await?;
    let authority = vault.recorder.view(&tenant).await?.authority;
    let (role, vendor) = match explained.principal {
        Principal::Admin => ("admin", None),
        Principal::Vendor(id) => ("vendor", authority.vendor(&id).map(|vendor| vendor.name.to_string())),
        Principal::Key if vault.is_operator(&question.key) => ("operator", None),
        Principal::Key => ("key", None),
    };
    let operators = vault.recorder.operators();
    let standing = stands(vault, &authority, &operators, None);
    let allowed = explained.verdicts.iter().any(|(_, verdict)| verdict.is_ok());
    let mut verdicts = Vec::with_capacity(explained.verdicts.len());
    let mut bytes = 0;
    for (chain, verdict) in &explained.verdicts {
        if bytes > MAX_TOLD {
            break;
        }
        // Each with what is above it, which may be what ended it.
        let above: Vec<v1::Grant> =
            (0..chain.len()).map(|at| message(&standing, &chain[at..])).collect::<Result<_, _>>()?;
        bytes += above.iter().map(|grant| grant.terms.len()).sum::<usize>();
        let (reason, detail) = verdict.as_ref().err().map(reason_of).unwrap_or_default();
        verdicts.push(v1::Verdict { chain: above, reason, detail });
    }
    Ok(v1::ExplainResponse {
        allowed,
        role: role.to_owned(),
        vendor: vendor.unwrap_or_default(),
        others: (explained.others + explained.verdicts.len() - verdicts.len()) as u64,
        verdicts,
    })
}

async fn list(vault: &Vault, request: &Request<v1::ListGrantsRequest>) -> Result<v1::ListGrantsResponse, Error> {
    let (_, caller) = caller(request)?;
    let tenant = vault.tenants.find(&tenant_name(&request.get_ref().tenant)?).await?;
    standing::check_admin(vault, &tenant, &caller.key).await?;
    let place = place_of(request.get_ref())?;
    let (mut before, limit) = page_of(request.get_ref().page.as_ref())?;
    let mut found = Vec::new();
    let mut next = String::new();
    for _ in 0..place.as_ref().map_or(1, |_| MAX_PAGES) {
        let grants = vault.catalog.list_grants(&tenant.id, &tenant.ledger_key, before, limit).await?;
        next = next_of(&grants, limit);
        before = grants.last().map(|grant| grant.issued.0);
        let allows = |grant: &Grant| place.as_ref().is_none_or(|place| grant.touches(place));
        found.extend(grants.into_iter().filter(allows));
        // What was looked at is told whole: the next page begins behind it.
        if next.is_empty() || found.len() >= limit as usize {
            break;
        }
    }
    messages(vault, &tenant, found, next, None).await
}

/// The place that listed grants are to allow something in, whatever it is.
fn place_of(request: &v1::ListGrantsRequest) -> Result<Option<Scope>, Error> {
    if request.dataset.is_empty() {
        return Ok(None);
    }
    let prefix: Prefix = parse("prefix", &request.prefix)?;
    let dataset = parse("dataset", &request.dataset)?;
    Ok(Some(Scope { actions: Action::ALL.to_vec(), dataset, part: Part::Prefix(prefix) }))
}

async fn mine(vault: &Vault, request: &Request<v1::ListGrantsRequest>) -> Result<v1::ListGrantsResponse, Error> {
    let (_, caller) = caller(request)?;
    let tenant = vault.tenants.find(&tenant_name(&request.get_ref().tenant)?).await?;
    let authority = vault.recorder.view(&tenant).await?.authority;
    let principal = authority.principal(&caller.key);
    let (before, limit) = page_of(request.get_ref().page.as_ref())?;
    let mut held = standing::held_before(vault, &tenant, principal, caller.key, before, limit).await?;
    if held.is_empty() && before.is_none() && principal == Principal::Key {
        return Err(Error::UnknownTenant);
    }
    let next = next_of(&held, limit);
    let now = vault.recorder.now();
    held.retain(|grant| grant.terms.expires.0.saturating_add(TOLD_AFTER_END) > now.0);
    messages(vault, &tenant, held, next, Some(caller.source.ip())).await
}

/// A page of grants as they are told, cut where it would be too long; `next` is where the one after it begins.
async fn messages(
    vault: &Vault,
    tenant: &Arc<Tenant>,
    grants: Vec<Grant>,
    mut next: String,
    from: Option<IpAddr>,
) -> Result<v1::ListGrantsResponse, Error> {
    let authority = vault.recorder.view(tenant).await?.authority;
    let operators = vault.recorder.operators();
    let standing = stands(vault, &authority, &operators, from);
    let mut messages: Vec<v1::Grant> = Vec::with_capacity(grants.len());
    let mut bytes = 0;
    let ids: Vec<GrantId> = grants.iter().map(|grant| grant.id).collect();
    for chain in vault.recorder.standings(tenant, &ids).await? {
        if bytes > MAX_TOLD {
            // Behind the last one that is told.
            next = messages.last().map(|last| last.issued.to_string()).unwrap_or_default();
            break;
        }
        let told = message(&standing, &chain)?;
        bytes += told.terms.len();
        messages.push(told);
    }
    Ok(v1::ListGrantsResponse { grants: with_times(vault, tenant, messages).await?, next })
}

/// Grants with when each was issued and last used.
async fn with_times(vault: &Vault, tenant: &Tenant, mut grants: Vec<v1::Grant>) -> Result<Vec<v1::Grant>, Error> {
    let ids: Vec<GrantId> = grants.iter().filter_map(|grant| grant.id.parse().ok()).collect();
    let times = vault.catalog.grant_times(&tenant.id, &ids).await?;
    for (grant, id) in grants.iter_mut().zip(&ids) {
        let Some((issued, used)) = times.get(id) else { continue };
        (grant.issued_time, grant.used_time) = (issued.0, used.map_or(0, |used| used.0));
    }
    Ok(grants)
}

/// What the state of grants stands on now; `from` is where their holder is.
fn stands<'a>(vault: &Vault, authority: &'a Authority, operators: &'a Authority, from: Option<IpAddr>) -> Standing<'a> {
    Standing { now: vault.recorder.now(), authority, blocked: operators.blocked(), from }
}

/// A grant as it is told; `chain` is it and all above it.
fn message(standing: &Standing<'_>, chain: &[(Arc<Grant>, Tally)]) -> Result<v1::Grant, Error> {
    let (grant, tally) = chain.first().ok_or(Error::NotFound("no such grant".into()))?;
    let terms = exact::to_vec(&grant.terms).map_err(|error| Error::Integrity(error.to_string().into()))?;
    let vendor = match &grant.terms.holder {
        Holder::Vendor(id) => standing.authority.vendor(id).map(|vendor| vendor.name.to_string()).unwrap_or_default(),
        Holder::Key(_) => String::new(),
    };
    Ok(v1::Grant {
        id: grant.id.to_string(),
        issued: grant.issued.0,
        issuer: grant.issuer.to_string(),
        terms: terms.into(),
        vendor,
        state: standing.state(chain).into(),
        used_bytes: tally.total.bytes,
        used_objects: tally.total.objects,
        used_uses: tally.total.uses,
        frozen_datasets: standing.frozen(grant).into_iter().map(ToString::to_string).collect(),
        frozen_tenant: standing.authority.frozen().is_some(),
        ..v1::Grant::default()
    })
}
