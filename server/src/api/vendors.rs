//! `Vendors`: outside parties of a tenant.

use std::sync::Arc;

use strongroom_core::identity::Fingerprint;
use strongroom_core::order::Instruction;
use strongroom_proto::v1;
use tonic::{Request, Response, Status};

use super::{answer, caller, order, tenant_name};
use crate::error::Error;
use crate::vault::{Vault, standing};

pub(super) struct VendorsApi(pub(super) Arc<Vault>);

type Receipt = Result<Response<v1::OrderReceipt>, Status>;

#[tonic::async_trait]
impl v1::vendors_server::Vendors for VendorsApi {
    async fn register(&self, request: Request<v1::SignedOrder>) -> Receipt {
        order(&self.0, request, |instruction| matches!(instruction, Instruction::AddVendor { .. })).await
    }

    async fn add_key(&self, request: Request<v1::SignedOrder>) -> Receipt {
        order(&self.0, request, |instruction| matches!(instruction, Instruction::AddKey { .. })).await
    }

    async fn revoke_key(&self, request: Request<v1::SignedOrder>) -> Receipt {
        order(&self.0, request, |instruction| matches!(instruction, Instruction::RevokeKey { .. })).await
    }

    async fn suspend(&self, request: Request<v1::SignedOrder>) -> Receipt {
        order(&self.0, request, |instruction| matches!(instruction, Instruction::SuspendVendor { .. })).await
    }

    async fn resume(&self, request: Request<v1::SignedOrder>) -> Receipt {
        order(&self.0, request, |instruction| matches!(instruction, Instruction::ResumeVendor { .. })).await
    }

    async fn remove(&self, request: Request<v1::SignedOrder>) -> Receipt {
        order(&self.0, request, |instruction| matches!(instruction, Instruction::RemoveVendor { .. })).await
    }

    async fn open_incident(&self, request: Request<v1::SignedOrder>) -> Receipt {
        order(&self.0, request, |instruction| matches!(instruction, Instruction::OpenIncident { .. })).await
    }

    async fn close_incident(&self, request: Request<v1::SignedOrder>) -> Receipt {
        order(&self.0, request, |instruction| matches!(instruction, Instruction::CloseIncident { .. })).await
    }

    async fn list(
        &self,
        request: Request<v1::ListVendorsRequest>,
    ) -> Result<Response<v1::ListVendorsResponse>, Status> {
        answer(list(&self.0, &request).await)
    }
}

async fn list(vault: &Vault, request: &Request<v1::ListVendorsRequest>) -> Result<v1::ListVendorsResponse, Error> {
    let (_, caller) = caller(request)?;
    let tenant = vault.tenants.find(&tenant_name(&request.get_ref().tenant)?).await?;
    standing::check_admin(vault, &tenant, &caller.key).await?;
    let authority = vault.recorder.view(&tenant).await?.authority;
    let operators = vault.recorder.operators();
    let blocked = |key: &&Fingerprint| operators.blocked().contains(key);
    let vendors = authority.vendors().iter().map(|(id, vendor)| v1::Vendor {
        id: id.to_string(),
        name: vendor.name.to_string(),
        keys: vendor.keys.iter().map(ToString::to_string).collect(),
        suspended: vendor.suspended.map(|index| index.0),
        removed: vendor.removed,
        blocked_keys: vendor.keys.iter().filter(blocked).map(ToString::to_string).collect(),
    });
    Ok(v1::ListVendorsResponse { vendors: vendors.collect() })
}
