//! Escrow: who can open a tenant's objects without the vault, and the export that they need for it. For a tenant's admins.

use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt, try_unfold};
use strongroom_core::escrow::{self, ExportHead};
use strongroom_core::exact;
use strongroom_core::names::TenantName;
use strongroom_core::order::Instruction;
use strongroom_core::reason::Reason;
use strongroom_proto::v1;
use strongroom_proto::v1::keys_client::KeysClient;

use crate::admin::OrderDone;
use crate::connect::Vault;
use crate::error::{Error, Result};
use crate::retry::Safety;

/// A part of an export, in the order in which it comes.
#[derive(Debug)]
pub enum ExportPart {
    /// Whole lines of `objects.jsonl`.
    Objects(Bytes),
    /// The last one: `catalog.json`, but for the number of objects and their checksum, which are whoever writes them's to count.
    Head(Box<ExportHead>),
}

/// Who can open a tenant's objects without the vault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Escrow {
    /// Age recipients: the tenant's own.
    pub recipients: Vec<String>,
    /// Whether every version of the key is sealed to each of them by now.
    pub complete: bool,
    /// If not: what was last in the vault's way, if anything was.
    pub in_the_way: Option<String>,
}

impl Vault {
    /// To whom the versions of a tenant's key are sealed.
    ///
    /// # Errors
    /// `OUT_OF_SCOPE` if the caller is no admin.
    pub async fn escrow(&self, tenant: &TenantName) -> Result<Escrow> {
        let request = v1::EscrowRequest { tenant: tenant.to_string() };
        let answer = self.with_channel(Safety::Idempotent, |channel| {
            let request = request.clone();
            async move { KeysClient::new(channel).escrow(request).await }
        });
        let v1::EscrowAnswer { recipients, complete, in_the_way } = answer.await?.into_inner();
        if !escrow::are_recipients(&recipients) {
            return Err(Error::integrity("the vault's answer holds no valid recipients"));
        }
        let in_the_way = Some(in_the_way).filter(|words| !words.is_empty());
        Ok(Escrow { recipients, complete, in_the_way })
    }

    /// Has every version of the tenant's key, present and future, sealed to exactly these age recipients; none ends the escrow.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` if one is no age recipient; `UNSUPPORTED` for one of a plugin that the vault does not run, `PRECONDITION_FAILED`
    /// if its plugin does not seal to it; `OUT_OF_SCOPE` if the caller is no admin.
    pub async fn set_escrow(&self, tenant: &TenantName, recipients: &[String]) -> Result<OrderDone> {
        let mut recipients = recipients.to_vec();
        recipients.sort_unstable();
        recipients.dedup();
        if let Some(bad) = recipients.iter().find(|text| !escrow::is_recipient(text)) {
            return Err(Error::new(
                Reason::InvalidArgument,
                format!("{bad:?} is no age recipient: it begins with age1"),
            ));
        }
        self.order(tenant, Instruction::SetEscrow { recipients }).await
    }

    /// All that is needed to open a tenant's objects with an identity of its escrow and the blobs. A stream that breaks is begun
    /// anew by whoever reads it.
    ///
    /// # Errors
    /// `PRECONDITION_FAILED` if the tenant has no escrow; `UNAVAILABLE` while its keys are being sealed; `OUT_OF_SCOPE` if the caller
    /// is no admin.
    pub async fn export_catalog(&self, tenant: &TenantName) -> Result<BoxStream<'static, Result<ExportPart>>> {
        let request = v1::ExportCatalogRequest { tenant: tenant.to_string() };
        let answer = self.with_channel(Safety::Idempotent, |channel| {
            let request = request.clone();
            async move { KeysClient::new(channel).export_catalog(request).await }
        });
        let frames = answer.await?.into_inner();
        let next = async |(mut frames, ended): (tonic::Streaming<v1::ExportCatalogFrame>, bool)| {
            let Some(frame) = frames.message().await.map_err(Error::from)? else {
                return if ended { Ok(None) } else { Err(Error::integrity("the export ended before its keys")) };
            };
            if !frame.objects.is_empty() {
                return Ok(Some((ExportPart::Objects(frame.objects), (frames, false))));
            }
            let head = exact::from_slice::<ExportHead>(&frame.head);
            let head = head.map_err(|error| Error::integrity(format!("the export's head is {error}")))?;
            Ok(Some((ExportPart::Head(Box::new(head)), (frames, true))))
        };
        Ok(try_unfold((frames, false), next).boxed())
    }
}
