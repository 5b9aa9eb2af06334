//! `Admin`: what an operator does, and who administers a tenant.

use std::sync::Arc;

use strongroom_core::grant::Refusal;
use strongroom_core::order::Instruction;
use strongroom_core::reason::Reason;
use strongroom_proto::v1;
use tonic::{Request, Response, Status};

use super::{answer, caller, order, parse};
use crate::answer::seen_message;
use crate::error::Error;
use crate::vault::listing::MAX_PAGE;
use crate::vault::{Vault, authority};

pub(super) struct AdminApi(pub(super) Arc<Vault>);

#[tonic::async_trait]
impl v1::admin_server::Admin for AdminApi {
    async fn create_tenant(&self, request: Request<v1::SignedOrder>) -> Result<Response<v1::OrderReceipt>, Status> {
        let work = async {
            let (_, caller) = caller(&request)?;
            authority::create_tenant(&self.0, caller, &request.get_ref().order).await
        };
        answer(work.await.map(|(recorded, order_id)| v1::OrderReceipt {
            index: recorded.index().0,
            time: recorded.time().0,
            order_id: order_id.as_bytes().to_vec().into(),
            seen: Some(seen_message(recorded.seen())),
        }))
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

async fn list_tenants(
    vault: &Vault,
    request: &Request<v1::ListTenantsRequest>,
) -> Result<v1::ListTenantsResponse, Error> {
    let (_, caller) = caller(request)?;
    if !vault.is_operator(&caller.key) {
        return Err(Refusal::new(Reason::OutOfScope, "only an operator of this vault may list its tenants").into());
    }
    let page = request.get_ref().page.clone().unwrap_or_default();
    let limit = if page.limit == 0 { MAX_PAGE } else { page.limit.min(MAX_PAGE) };
    let after = if page.token.is_empty() { None } else { Some(parse("page token", &page.token)?) };
    let rows = vault.catalog.list_tenants(after.as_ref(), limit).await?;
    let full = u32::try_from(rows.len()).is_ok_and(|count| count == limit);
    let next = rows.last().filter(|_| full).map(|(row, _)| row.name.to_string()).unwrap_or_default();
    let mut tenants = Vec::with_capacity(rows.len());
    for (row, size) in rows {
        tenants.push(v1::Tenant {
            name: row.name.to_string(),
            origin: vault.tenants.origin(row.id)?.to_string(),
            size: size.0,
            stopped: vault.recorder.stopped(&row.id).unwrap_or_default(),
        });
    }
    Ok(v1::ListTenantsResponse { tenants, next })
}
