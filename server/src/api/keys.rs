//! `Keys`: the versions of a tenant's key.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use strongroom_core::ids::{DatasetId, Index};
use strongroom_core::order::Instruction;
use strongroom_proto::v1;
use tonic::{Request, Response, Status};

use super::{answer, caller, order, page_size, receipt, tenant_name};
use crate::answer::refuse;
use crate::error::Error;
use crate::recorder::attempt::Caller;
use crate::tenants::Tenant;
use crate::vault::{Vault, escrow, log_rotation, rewrap, shred, standing};

/// How often a follower looks. Most looks find progress while there is any.
const EVERY: Duration = Duration::from_millis(100);

pub(super) struct KeysApi(pub(super) Arc<Vault>);

type Receipt = Result<Response<v1::OrderReceipt>, Status>;

#[tonic::async_trait]
impl v1::keys_server::Keys for KeysApi {
    async fn rotate(&self, request: Request<v1::SignedOrder>) -> Receipt {
        let work = async {
            let (_, caller) = caller(&request)?;
            let message = request.get_ref();
            rewrap::rotate(&self.0, caller, &tenant_name(&message.tenant)?, &message.order).await
        };
        answer(work.await.map(receipt))
    }

    async fn rotate_every(&self, request: Request<v1::SignedOrder>) -> Receipt {
        order(&self.0, request, |instruction| matches!(instruction, Instruction::RotateEvery { .. })).await
    }

    async fn destroy(&self, request: Request<v1::SignedOrder>) -> Receipt {
        let work = async {
            let (_, caller) = caller(&request)?;
            let message = request.get_ref();
            rewrap::destroy(&self.0, caller, &tenant_name(&message.tenant)?, &message.order).await
        };
        answer(work.await.map(receipt))
    }

    async fn rotate_log(&self, request: Request<v1::SignedOrder>) -> Receipt {
        let work = async {
            let (_, caller) = caller(&request)?;
            let message = request.get_ref();
            log_rotation::rotate(&self.0, caller, &tenant_name(&message.tenant)?, &message.order).await
        };
        answer(work.await.map(receipt))
    }

    async fn shred(&self, request: Request<v1::SignedOrder>) -> Receipt {
        let work = async {
            let (_, caller) = caller(&request)?;
            let message = request.get_ref();
            shred::shred(&self.0, caller, &tenant_name(&message.tenant)?, &message.order).await
        };
        answer(work.await.map(receipt))
    }

    async fn shreds(&self, request: Request<v1::ShredsRequest>) -> Result<Response<v1::ShredsAnswer>, Status> {
        let work = async {
            let (_, caller) = caller(&request)?;
            let message = request.get_ref();
            let tenant = self.0.tenants.find(&tenant_name(&message.tenant)?).await?;
            standing::check_admin(&self.0, &tenant, &caller.key).await?;
            let authority = self.0.recorder.view(&tenant).await?.authority;
            let limit = page_size(&v1::Page { limit: message.limit, ..Default::default() });
            let shreds = shred::list(&self.0, &tenant, message.entry.map(Index), limit).await?;
            let name = |id: DatasetId| {
                let found = authority.datasets().iter().find(|(_, dataset)| dataset.id == id);
                found.map(|(name, _)| name.to_string()).unwrap_or_default()
            };
            let shreds = shreds.iter().map(|shred| v1::Shred {
                entry: shred.order.entry.0,
                dataset: shred.order.dataset.map(name).unwrap_or_default(),
                prefix: shred.order.prefix.to_string(),
                done: shred.done,
                started: shred.started.0,
                finished: shred.finished.map(|at| at.0),
                gone_from_backups: shred::gone_from_backups(&self.0, shred).map(|at| at.0),
            });
            Ok(v1::ShredsAnswer { shreds: shreds.collect(), overwritten: shred::is_overwritten(&self.0) })
        };
        answer(work.await)
    }

    async fn set_escrow(&self, request: Request<v1::SignedOrder>) -> Receipt {
        let work = async {
            let (_, caller) = caller(&request)?;
            let message = request.get_ref();
            escrow::set(&self.0, caller, &tenant_name(&message.tenant)?, &message.order).await
        };
        answer(work.await.map(receipt))
    }

    async fn escrow(&self, request: Request<v1::EscrowRequest>) -> Result<Response<v1::EscrowAnswer>, Status> {
        let work = async {
            let (_, caller) = caller(&request)?;
            let tenant = self.0.tenants.find(&tenant_name(&request.get_ref().tenant)?).await?;
            standing::check_admin(&self.0, &tenant, &caller.key).await?;
            // Looked at first: what changes in between is told the next time.
            let (complete, in_the_way) = escrow::progress(&self.0, &tenant).await?;
            let recipients = self.0.recorder.view(&tenant).await?.authority.escrow().to_vec();
            Ok(v1::EscrowAnswer { recipients, complete, in_the_way: in_the_way.unwrap_or_default() })
        };
        answer(work.await)
    }

    type ExportCatalogStream = BoxStream<'static, Result<v1::ExportCatalogFrame, Status>>;

    async fn export_catalog(
        &self,
        request: Request<v1::ExportCatalogRequest>,
    ) -> Result<Response<Self::ExportCatalogStream>, Status> {
        let work = async {
            let (_, caller) = caller(&request)?;
            let tenant = self.0.tenants.find(&tenant_name(&request.get_ref().tenant)?).await?;
            standing::check_admin(&self.0, &tenant, &caller.key).await?;
            escrow::export(self.0.clone(), tenant).await
        };
        let parts = work.await.map_err(|error| refuse(&error, None))?;
        let frame = |part| match part {
            escrow::Part::Objects(objects) => v1::ExportCatalogFrame { objects, ..Default::default() },
            escrow::Part::Head(head) => v1::ExportCatalogFrame { head, ..Default::default() },
        };
        Ok(Response::new(parts.map(move |part| part.map(frame).map_err(|error| refuse(&error, None))).boxed()))
    }

    type StatusStream = BoxStream<'static, Result<v1::KeyStatus, Status>>;

    async fn status(&self, request: Request<v1::KeyStatusRequest>) -> Result<Response<Self::StatusStream>, Status> {
        let opened = async {
            let (_, caller) = caller(&request)?;
            let tenant = self.0.tenants.find(&tenant_name(&request.get_ref().tenant)?).await?;
            let first = look(&self.0, &tenant, &caller).await?;
            Ok::<_, Error>((caller, tenant, first))
        };
        let (caller, tenant, first) = opened.await.map_err(|error| refuse(&error, None))?;
        if !request.get_ref().follow {
            return Ok(Response::new(stream::once(std::future::ready(Ok(first))).boxed()));
        }
        let follower = Follower { vault: self.0.clone(), tenant, caller, told: Told::Nothing };
        Ok(Response::new(follower.follow(first)))
    }
}

/// Somebody who follows a rotation.
struct Follower {
    vault: Arc<Vault>,
    tenant: Arc<Tenant>,
    caller: Caller,
    told: Told,
}

/// How far a follower has been told.
enum Told {
    Nothing,
    Status(v1::KeyStatus),
    /// Nothing follows: it is finished, or it failed.
    All,
}

impl Follower {
    /// `first`, then whatever differs from what was told before, up to the one that is finished.
    fn follow(self, first: v1::KeyStatus) -> BoxStream<'static, Result<v1::KeyStatus, Status>> {
        let next = async |(mut this, first): (Self, Option<v1::KeyStatus>)| {
            let mut found = first.map(Ok);
            loop {
                let status = match (&this.told, found.take()) {
                    (Told::All, _) => return None,
                    (_, Some(status)) => status,
                    (_, None) => {
                        tokio::time::sleep(EVERY).await;
                        look(&this.vault, &this.tenant, &this.caller).await
                    }
                };
                match status {
                    Ok(status) if matches!(&this.told, Told::Status(told) if *told == status) => {}
                    Ok(status) => {
                        this.told = if is_done(&status) { Told::All } else { Told::Status(status.clone()) };
                        return Some((Ok(status), (this, None)));
                    }
                    Err(error) => {
                        this.told = Told::All;
                        return Some((Err(refuse(&error, None)), (this, None)));
                    }
                }
            }
        };
        stream::unfold((self, Some(first)), next).boxed()
    }
}

fn is_done(status: &v1::KeyStatus) -> bool {
    status.rewrap.is_none_or(|rewrap| rewrap.finished.is_some())
}

/// What is told to an admin, who must still be one.
async fn look(vault: &Vault, tenant: &Arc<Tenant>, caller: &Caller) -> Result<v1::KeyStatus, Error> {
    standing::check_admin(vault, tenant, &caller.key).await?;
    let authority = vault.recorder.view(tenant).await?.authority;
    let rewrap = rewrap::status(vault, tenant).await?.map(|rewrap| v1::Rewrap {
        version: rewrap.version,
        done: rewrap.done,
        total: rewrap.total,
        skipped: rewrap.skipped,
        started: rewrap.started.0,
        finished: rewrap.finished.map(|at| at.0),
    });
    let active = authority.key_version();
    let versions = (1..=active).filter(|version| authority.has_key(*version)).collect();
    // Of a tenant that was shredded none is made any more.
    let schedule = authority.schedule().filter(|_| authority.tenant_shredded().is_none());
    Ok(v1::KeyStatus {
        active,
        versions,
        rewrap,
        rotate_every: schedule.map(|schedule| schedule.every),
        rotate_next: schedule.map(|schedule| schedule.next.0),
    })
}
