//! `Sessions`: a connection proves who it is, and gets a secret.

use std::sync::Arc;

use strongroom_core::grant::Principal;
use strongroom_core::identity::{PublicKey, Signature};
use strongroom_core::session::Claims;
use strongroom_proto::v1;
use tonic::{Request, Response, Status};

use super::{answer, caller, seen_from, tenant_name};
use crate::answer::seen_message;
use crate::error::Error;
use crate::vault::{Vault, session};

pub(super) struct SessionsApi(pub(super) Arc<Vault>);

#[tonic::async_trait]
impl v1::sessions_server::Sessions for SessionsApi {
    async fn open(&self, request: Request<v1::OpenRequest>) -> Result<Response<v1::OpenResponse>, Status> {
        answer(open(&self.0, &request).await)
    }

    async fn who_am_i(&self, request: Request<v1::WhoAmIRequest>) -> Result<Response<v1::WhoAmIResponse>, Status> {
        answer(who_am_i(&self.0, &request).await)
    }
}

async fn open(vault: &Vault, request: &Request<v1::OpenRequest>) -> Result<v1::OpenResponse, Error> {
    let (connection, caller) = caller(request)?;
    let message = request.get_ref();
    // An opening is under 600 bytes.
    if message.opening.len() > 2048 {
        return Err(Error::TooLarge("an opening has at most 2 KiB".into()));
    }
    let key = PublicKey::from_point(&message.key).ok_or(Error::Invalid("the key is not a P-256 point".into()))?;
    let signature = message.signature[..].try_into().map(Signature);
    let signature = signature.map_err(|_| Error::Invalid("a signature has 64 bytes".into()))?;
    let seen = message.seen.as_ref().map(seen_from).transpose()?;
    let claims = claims(message.claims.as_ref())?;
    let shown = session::Shown { opening: &message.opening, key, signature, claims, seen };
    let opened = session::open(vault, &connection, &caller.key, shown).await?;
    Ok(v1::OpenResponse {
        statement: opened.statement.into(),
        signature: opened.signature.to_vec().into(),
        vault_key: vault.vault_key.public_key().as_bytes().to_vec().into(),
        message: opened.message.into(),
        seen: Some(seen_message(opened.seen)),
    })
}

fn claims(message: Option<&v1::Claims>) -> Result<Claims, Error> {
    let Some(v1::Claims { sdk, host, job }) = message else { return Ok(Claims::default()) };
    if sdk.len() > 64 || host.len() > 255 || job.len() > 255 {
        return Err(Error::TooLarge("a claim about the caller is too long".into()));
    }
    Ok(Claims { sdk: sdk.clone(), host: host.clone(), job: job.clone() })
}

async fn who_am_i(vault: &Vault, request: &Request<v1::WhoAmIRequest>) -> Result<v1::WhoAmIResponse, Error> {
    let (_, caller) = caller(request)?;
    let fingerprint = caller.key.to_string();
    let operator = vault.is_operator(&caller.key);
    if request.get_ref().tenant.is_empty() {
        return Ok(v1::WhoAmIResponse { fingerprint, operator, ..v1::WhoAmIResponse::default() });
    }
    let tenant = vault.tenants.find(&tenant_name(&request.get_ref().tenant)?).await?;
    let authority = vault.recorder.view(&tenant).await?.authority;
    if !operator && !session::is_known(vault, &tenant, &authority, &caller.key).await? {
        return Err(Error::UnknownTenant);
    }
    let principal = authority.principal(&caller.key);
    let vendor = match principal {
        Principal::Vendor(id) => authority.vendor(&id),
        Principal::Admin | Principal::Key => None,
    };
    Ok(v1::WhoAmIResponse {
        fingerprint,
        operator,
        admin: principal == Principal::Admin,
        vendor: vendor.map(|vendor| vendor.name.to_string()).unwrap_or_default(),
        suspended: vendor.is_some_and(|vendor| vendor.suspended.is_some()),
        origin: tenant.origin.to_string(),
        vendor_id: match principal {
            Principal::Vendor(id) => id.to_string(),
            Principal::Admin | Principal::Key => String::new(),
        },
    })
}
