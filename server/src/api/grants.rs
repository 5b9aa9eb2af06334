//! `Grants`: who may do what, until when, how much.

use std::sync::Arc;

use strongroom_core::exact;
use strongroom_core::grant::{Authority, Grant, Holder, Principal, Usage};
use strongroom_core::ids::{GrantId, Millis};
use strongroom_core::order::Instruction;
use strongroom_proto::v1;
use strongroom_proto::v1::GrantState;
use tonic::{Request, Response, Status};

use super::{answer, caller, order, tenant_name};
use crate::error::Error;
use crate::tenants::Tenant;
use crate::vault::listing::MAX_PAGE;
use crate::vault::{Vault, session, standing};

pub(super) struct GrantsApi(pub(super) Arc<Vault>);

/// How long an ended grant is still told to its holder: one day, in milliseconds.
const TOLD_AFTER_END: u64 = 24 * 60 * 60 * 1000;

#[tonic::async_trait]
impl v1::grants_server::Grants for GrantsApi {
    async fn issue(&self, request: Request<v1::SignedOrder>) -> Result<Response<v1::OrderReceipt>, Status> {
        order(&self.0, request, |instruction| matches!(instruction, Instruction::IssueGrant(_))).await
    }

    async fn revoke(&self, request: Request<v1::SignedOrder>) -> Result<Response<v1::OrderReceipt>, Status> {
        order(&self.0, request, |instruction| matches!(instruction, Instruction::RevokeGrant { .. })).await
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
}

async fn get(vault: &Vault, request: &Request<v1::GetGrantRequest>) -> Result<v1::Grant, Error> {
    let (_, caller) = caller(request)?;
    let tenant = vault.tenants.find(&tenant_name(&request.get_ref().tenant)?).await?;
    let authority = vault.recorder.view(&tenant).await?.authority;
    if !session::is_known(vault, &tenant, &authority, &caller.key).await? {
        return Err(Error::UnknownTenant);
    }
    let id: GrantId = request.get_ref().grant.parse().map_err(|_| Error::Invalid("the grant id is not one".into()))?;
    let chain = vault.recorder.standing(&tenant, id).await?;
    // To others a grant that is not theirs, nor came from one of theirs, looks like none.
    let is_visible = authority.principal(&caller.key) == Principal::Admin
        || chain.first().is_some_and(|(grant, _)| grant.issuer == caller.key)
        || chain.iter().any(|(grant, _)| authority.is_holder(&grant.terms.holder, &caller.key));
    if !is_visible || chain.is_empty() {
        return Err(Error::NotFound("no such grant".into()));
    }
    message(vault.recorder.now(), &authority, &chain)
}

async fn list(vault: &Vault, request: &Request<v1::ListGrantsRequest>) -> Result<v1::ListGrantsResponse, Error> {
    let (_, caller) = caller(request)?;
    let tenant = vault.tenants.find(&tenant_name(&request.get_ref().tenant)?).await?;
    standing::check_admin(vault, &tenant, &caller.key).await?;
    let page = request.get_ref().page.clone().unwrap_or_default();
    let limit = if page.limit == 0 { MAX_PAGE } else { page.limit.min(MAX_PAGE) };
    let after = match page.token.as_str() {
        "" => None,
        token => Some(token.parse().map_err(|_| Error::Invalid("the page token is not one".into()))?),
    };
    let grants = vault.catalog.list_grants(&tenant.id, &tenant.ledger_key, after, limit).await?;
    let full = u32::try_from(grants.len()).is_ok_and(|count| count == limit);
    let next = grants.last().filter(|_| full).map(|grant| grant.issued.0.to_string()).unwrap_or_default();
    messages(vault, &tenant, grants, next).await
}

async fn mine(vault: &Vault, request: &Request<v1::ListGrantsRequest>) -> Result<v1::ListGrantsResponse, Error> {
    let (_, caller) = caller(request)?;
    let tenant = vault.tenants.find(&tenant_name(&request.get_ref().tenant)?).await?;
    let authority = vault.recorder.view(&tenant).await?.authority;
    let principal = authority.principal(&caller.key);
    let mut held = standing::held_by(vault, &tenant, principal, caller.key).await?;
    if held.is_empty() && principal == Principal::Key {
        return Err(Error::UnknownTenant);
    }
    let now = vault.recorder.now();
    held.retain(|grant| grant.terms.expires.0.saturating_add(TOLD_AFTER_END) > now.0);
    held.truncate(MAX_PAGE as usize);
    messages(vault, &tenant, held, String::new()).await
}

async fn messages(
    vault: &Vault,
    tenant: &Arc<Tenant>,
    grants: Vec<Grant>,
    next: String,
) -> Result<v1::ListGrantsResponse, Error> {
    let authority = vault.recorder.view(tenant).await?.authority;
    let now = vault.recorder.now();
    let mut messages = Vec::with_capacity(grants.len());
    for grant in grants {
        let mut chain = vault.recorder.standing(tenant, grant.id).await?;
        if chain.is_empty() {
            chain.push((Arc::new(grant), Usage::default()));
        }
        messages.push(message(now, &authority, &chain)?);
    }
    Ok(v1::ListGrantsResponse { grants: messages, next })
}

/// A grant as it is told; `chain` is it and all above it.
fn message(now: Millis, authority: &Authority, chain: &[(Arc<Grant>, Usage)]) -> Result<v1::Grant, Error> {
    let (grant, usage) = chain.first().ok_or(Error::NotFound("no such grant".into()))?;
    let terms = exact::to_vec(&grant.terms).map_err(|error| Error::Integrity(error.to_string().into()))?;
    let vendor = match &grant.terms.holder {
        Holder::Vendor(id) => authority.vendor(id).map(|vendor| vendor.name.to_string()).unwrap_or_default(),
        Holder::Key(_) => String::new(),
    };
    Ok(v1::Grant {
        id: grant.id.to_string(),
        issued: grant.issued.0,
        issuer: grant.issuer.to_string(),
        terms: terms.into(),
        vendor,
        state: state(now, authority, chain).into(),
        used_bytes: usage.bytes,
        used_objects: usage.objects,
        used_uses: usage.uses,
    })
}

/// What ended one of them ended all that came from it.
fn state(now: Millis, authority: &Authority, chain: &[(Arc<Grant>, Usage)]) -> GrantState {
    let any = |ends: &dyn Fn(&Grant) -> bool| chain.iter().any(|(grant, _)| ends(grant));
    let orphaned = chain.windows(2).any(|pair| !authority.is_holder(&pair[1].0.terms.holder, &pair[0].0.issuer));
    if orphaned || any(&|grant| authority.revoked(&grant.id).is_some()) {
        GrantState::Revoked
    } else if any(&|grant| now >= grant.terms.expires) {
        GrantState::Expired
    } else if any(&|grant| authority.suspended(&grant.terms.holder).is_some()) {
        GrantState::Suspended
    } else if any(&|grant| grant.terms.not_before.is_some_and(|start| now < start)) {
        GrantState::NotYet
    } else {
        GrantState::Live
    }
}
