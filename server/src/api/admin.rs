//! `Admin`: what an operator does, and who administers a tenant.

use std::sync::Arc;

use strongroom_core::grant::Refusal;
use strongroom_core::identity::Fingerprint;
use strongroom_core::order::Instruction;
use strongroom_core::reason::Reason;
use strongroom_proto::v1;
use tonic::{Request, Response, Status};

use super::{answer, caller, optional, order, page_size, parse, receipt};
use crate::error::Error;
use crate::vault::{Vault, authority, blocks, log_keys};

pub(super) struct AdminApi(pub(super) Arc<Vault>);

#[tonic::async_trait]
impl v1::admin_server::Admin for AdminApi {
    async fn create_tenant(&self, request: Request<v1::SignedOrder>) -> Result<Response<v1::OrderReceipt>, Status> {
        let work = async {
            let (_, caller) = caller(&request)?;
            authority::create_tenant(&self.0, caller, &request.get_ref().order).await
        };
        answer(work.await.map(receipt))
    }

    async fn list_tenants(
        &self,
        request: Request<v1::ListTenantsRequest>,
    ) -> Result<Response<v1::ListTenantsResponse>, Status> {
        answer(list_tenants(&self.0, &request).await)
    }

    async fn add_admin(&self, request: Request<v1::SignedOrder>) -> Result<Response<v1::OrderReceipt>, Status> {
        order(&self.0, request, |instruction| matches!(instruction, Instruction::AddAdmin { .. })).await
    }

    async fn remove_admin(&self, request: Request<v1::SignedOrder>) -> Result<Response<v1::OrderReceipt>, Status> {
        order(&self.0, request, |instruction| matches!(instruction, Instruction::RemoveAdmin { .. })).await
    }

    async fn freeze_tenant(&self, request: Request<v1::SignedOrder>) -> Result<Response<v1::OrderReceipt>, Status> {
        order(&self.0, request, |instruction| matches!(instruction, Instruction::FreezeTenant { .. })).await
    }

    async fn unfreeze_tenant(&self, request: Request<v1::SignedOrder>) -> Result<Response<v1::OrderReceipt>, Status> {
        order(&self.0, request, |instruction| matches!(instruction, Instruction::UnfreezeTenant { .. })).await
    }

    async fn block_key(&self, request: Request<v1::SignedOrder>) -> Result<Response<v1::OrderReceipt>, Status> {
        self.block(request, |instruction| matches!(instruction, Instruction::BlockKey { .. })).await
    }

    async fn unblock_key(&self, request: Request<v1::SignedOrder>) -> Result<Response<v1::OrderReceipt>, Status> {
        self.block(request, |instruction| matches!(instruction, Instruction::UnblockKey { .. })).await
    }

    async fn list_blocked_keys(
        &self,
        request: Request<v1::ListBlockedKeysRequest>,
    ) -> Result<Response<v1::ListBlockedKeysResponse>, Status> {
        answer(list_blocked(&self.0, &request).await)
    }

    async fn status(&self, request: Request<v1::StatusRequest>) -> Result<Response<v1::StatusResponse>, Status> {
        answer(caller(&request).map(|_| v1::StatusResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            vault_id: self.0.id.as_bytes().to_vec().into(),
            vault_name: self.0.name.clone(),
            node_id: self.0.node.as_bytes().to_vec().into(),
            time: self.0.recorder.now().0,
        }))
    }
}

impl AdminApi {
    async fn block(
        &self,
        request: Request<v1::SignedOrder>,
        fits: fn(&Instruction) -> bool,
    ) -> Result<Response<v1::OrderReceipt>, Status> {
        let work = async {
            let (_, caller) = caller(&request)?;
            blocks::order(&self.0, caller, &request.get_ref().order, fits).await
        };
        answer(work.await.map(receipt))
    }
}

async fn list_blocked(
    vault: &Vault,
    request: &Request<v1::ListBlockedKeysRequest>,
) -> Result<v1::ListBlockedKeysResponse, Error> {
    let (_, caller) = caller(request)?;
    blocks::check_operators(vault, &[caller.key])?;
    blocks::find(vault).await?;
    let page = request.get_ref().page.clone().unwrap_or_default();
    let limit = page_size(&page) as usize;
    let after: Option<Fingerprint> = optional("the page token", &page.token)?;
    let operators = vault.recorder.operators();
    let blocked = operators.blocked().iter().filter(|(key, _)| after.is_none_or(|after| **key > after)).take(limit);
    let keys: Vec<_> = blocked.map(|(key, index)| v1::BlockedKey { key: key.to_string(), index: index.0 }).collect();
    let next = keys.last().filter(|_| keys.len() == limit).map(|last| last.key.clone()).unwrap_or_default();
    Ok(v1::ListBlockedKeysResponse { keys, next })
}

async fn list_tenants(
    vault: &Vault,
    request: &Request<v1::ListTenantsRequest>,
) -> Result<v1::ListTenantsResponse, Error> {
    let (_, caller) = caller(request)?;
    if !vault.is_operator(&caller.key) {
        return Err(Refusal::new(Reason::OutOfScope, "only an operator of this vault may list its tenants").into());
    }
    let page = request.get_ref().page.clone().unwrap_or_default();
    let limit = page_size(&page);
    let after = if page.token.is_empty() { None } else { Some(parse("page token", &page.token)?) };
    let rows = vault.catalog.list_tenants(after.as_ref(), limit).await?;
    let full = u32::try_from(rows.len()).is_ok_and(|count| count == limit);
    let next = rows.last().filter(|_| full).map(|(row, _)| row.name.to_string()).unwrap_or_default();
    let mut tenants = Vec::with_capacity(rows.len());
    for (row, size) in rows {
        let later = vault.tenants.later_lines(row.id).await.unwrap_or_default();
        // One whose keys do not open is listed all the same.
        let log_key = log_keys::verifier(vault, &row).await.map(|key| key.to_string());
        tenants.push(v1::Tenant {
            log_key: log_key.unwrap_or_default(),
            later_log_keys: later,
            name: row.name.to_string(),
            origin: vault.tenants.origin(row.id)?.to_string(),
            size: size.0,
            stopped: vault.recorder.stopped(&row.id).unwrap_or_default(),
        });
    }
    Ok(v1::ListTenantsResponse { tenants, next })
}
