//! `Audit`: the ledger, read. To admins of the tenant; to others, what they were released themselves.

use std::sync::Arc;

use strongroom_core::grant::Refusal;
use strongroom_core::ids::{Index, Millis};
use strongroom_core::ledger::{Event, Outcome};
use strongroom_core::reason::Reason;
use strongroom_proto::v1;
use tonic::{Request, Response, Status};

use super::streams::{QUEUE, Stop, end};
use super::{answer, caller, cosign, extracts, ledgers, log, optional, page_size, parse, picks, tenant_name};
use crate::answer::{refuse, seen_message};
use crate::cuts;
use crate::error::Error;
use crate::tenants::Tenant;
use crate::vault::audit::{Filter, Line, page};
use crate::vault::own::{Asked, Own, Whose, own_releases};
use crate::vault::{Vault, session, standing};

/// A frame is sent when it has about this many bytes.
const FRAME: usize = 1024 * 1024;

pub(super) struct AuditApi(pub(super) Arc<Vault>);

#[tonic::async_trait]
impl v1::audit_server::Audit for AuditApi {
    type QueryStream = cuts::Receiver<v1::QueryFrame>;
    type ExportStream = cuts::Receiver<v1::ExportFrame>;
    type CheckLedgerStream = cuts::Receiver<v1::CheckFrame>;
    type ExtractStream = cuts::Receiver<v1::ExtractFrame>;
    type PickStream = cuts::Receiver<v1::PickFrame>;

    async fn checkpoint(
        &self,
        request: Request<v1::CheckpointRequest>,
    ) -> Result<Response<v1::CheckpointResponse>, Status> {
        answer(log::checkpoint(&self.0, &request).await)
    }

    async fn inclusion(
        &self,
        request: Request<v1::InclusionRequest>,
    ) -> Result<Response<v1::InclusionResponse>, Status> {
        answer(log::inclusion(&self.0, &request).await)
    }

    async fn consistency(
        &self,
        request: Request<v1::ConsistencyRequest>,
    ) -> Result<Response<v1::ConsistencyResponse>, Status> {
        answer(log::consistency(&self.0, &request).await)
    }

    async fn ledger(&self, request: Request<v1::LedgerRequest>) -> Result<Response<v1::LedgerStatus>, Status> {
        answer(ledgers::status(&self.0, &request).await)
    }

    async fn check_ledger(
        &self,
        request: Request<v1::LedgerRequest>,
    ) -> Result<Response<Self::CheckLedgerStream>, Status> {
        answer(ledgers::check(&self.0, &request).await)
    }

    async fn cosign(&self, request: Request<v1::CosignRequest>) -> Result<Response<v1::CosignResponse>, Status> {
        answer(cosign::take(&self.0, &request).await)
    }

    async fn cosignatures(
        &self,
        request: Request<v1::CosignaturesRequest>,
    ) -> Result<Response<v1::CosignaturesResponse>, Status> {
        answer(cosign::list(&self.0, &request).await)
    }

    async fn export(&self, request: Request<v1::ExportRequest>) -> Result<Response<Self::ExportStream>, Status> {
        answer(log::export(&self.0, &request).await)
    }

    async fn extract(&self, request: Request<v1::ExtractRequest>) -> Result<Response<Self::ExtractStream>, Status> {
        answer(extracts::extract(&self.0, &request).await)
    }

    async fn pick(&self, request: Request<v1::PickRequest>) -> Result<Response<Self::PickStream>, Status> {
        answer(picks::pick(&self.0, &request).await)
    }

    async fn query(&self, request: Request<v1::QueryRequest>) -> Result<Response<Self::QueryStream>, Status> {
        let vault = self.0.clone();
        let query = begin(&vault, &request).await.map_err(|error| refuse(&error, None))?;
        let (sender, receiver) = cuts::channel(QUEUE);
        tokio::spawn(async move {
            let worked = run(&vault, query, &sender).await;
            end(sender, worked).await;
        });
        Ok(Response::new(receiver))
    }

    async fn mine(&self, request: Request<v1::MineRequest>) -> Result<Response<v1::MineResponse>, Status> {
        answer(mine(&self.0, &request).await)
    }
}

async fn mine(vault: &Vault, request: &Request<v1::MineRequest>) -> Result<v1::MineResponse, Error> {
    let (_, caller) = caller(request)?;
    let message = request.get_ref();
    let tenant = vault.tenants.find(&tenant_name(&message.tenant)?).await?;
    let view = vault.recorder.view(&tenant).await?;
    if !session::is_known(vault, &tenant, &view.authority, &caller.key).await? {
        return Err(Error::UnknownTenant);
    }
    let page = message.page.clone().unwrap_or_default();
    let asked = Asked {
        whose: Whose::of(&view.authority, caller.key),
        since: Millis(message.since),
        until: Millis(if message.until == 0 { u64::MAX } else { message.until }),
        from: optional("the page token", &page.token)?.map_or(Index(0), Index),
        to: view.head.size(),
        limit: page_size(&page) as usize,
    };
    let (releases, next) = own_releases(vault, &tenant, &asked).await?;
    let releases = releases.into_iter().map(|Own { entry, parts }| v1::OwnRelease {
        index: entry.index.0,
        time: entry.time.0,
        key: entry.actor.key.to_string(),
        grant: entry.grants.first().map(ToString::to_string).unwrap_or_default(),
        repeat: entry.event == Event::ReleaseRepeat,
        parts: parts
            .into_iter()
            .map(|(name, object)| v1::OwnPart { name, start: object.3, end: object.4, bytes: object.5 })
            .collect(),
    });
    let next = next.map(|next| next.0.to_string()).unwrap_or_default();
    Ok(v1::MineResponse { releases: releases.collect(), next })
}

struct Query {
    tenant: Arc<Tenant>,
    from: Index,
    to: Index,
    limit: u64,
    offset: u64,
    filter: Filter,
    /// Who reads: a key that is blocked meanwhile reads no further.
    key: strongroom_core::identity::Fingerprint,
}

async fn begin(vault: &Vault, request: &Request<v1::QueryRequest>) -> Result<Query, Error> {
    let (_, caller) = caller(request)?;
    let message = request.get_ref();
    let tenant = vault.tenants.find(&tenant_name(&message.tenant)?).await?;
    standing::check_admin(vault, &tenant, &caller.key).await?;
    let view = vault.recorder.view(&tenant).await?;
    let vendor = match message.vendor.as_str() {
        "" => None,
        name => {
            let found = view.authority.vendor_named(&parse("vendor", name)?).map(|(id, _)| id);
            Some(found.ok_or_else(|| Refusal::new(Reason::NotFound, "no such vendor"))?)
        }
    };
    let events = extracts::events(&message.events)?;
    let outcome = match message.outcome.as_str() {
        "" => None,
        "done" => Some(Outcome::Done),
        "denied" => Some(Outcome::Denied),
        _ => return Err(Error::Invalid("an outcome is 'done' or 'denied'".into())),
    };
    let prefix = if message.prefix.is_empty() { None } else { Some(parse("prefix", &message.prefix)?) };
    if prefix.is_some() && message.dataset.is_empty() {
        return Err(Error::Invalid("a prefix is of a dataset: name it too".into()));
    }
    let incident = optional("the incident", &message.incident)?;
    let opened = match incident {
        None => Index(0),
        Some(incident) => {
            let found = view.authority.incidents().get(&incident).map(|incident| incident.opened);
            found.ok_or_else(|| Refusal::new(Reason::NotFound, "no such incident"))?
        }
    };
    let filter = Filter {
        since: (message.since != 0).then_some(Millis(message.since)),
        until: (message.until != 0).then_some(Millis(message.until)),
        events,
        key: optional("the key", &message.key)?,
        vendor,
        grant: optional("the grant", &message.grant)?,
        dataset: if message.dataset.is_empty() { None } else { Some(parse("dataset", &message.dataset)?) },
        prefix,
        outcome,
        incident,
    };
    let size = view.head.size();
    let to = if message.to == 0 { size } else { Index(message.to).min(size) };
    let limit = if message.limit == 0 { u64::MAX } else { message.limit };
    let offset = message.offset;
    Ok(Query { tenant, from: Index(message.from).max(opened), to, limit, offset, filter, key: caller.key })
}

async fn run(vault: &Vault, query: Query, sender: &cuts::Sender<v1::QueryFrame>) -> Result<(), Stop> {
    let Query { tenant, mut from, to, mut limit, mut offset, filter, key } = query;
    let mut search = filter.search();
    let mut entries = Vec::new();
    let mut bytes = 0;
    while from < to && limit > 0 {
        vault.recorder.operators().blocked().admit_key(&key)?;
        let (lines, next) = page(vault, &tenant, from, to, &filter, &mut search).await?;
        if next <= from {
            return Err(Error::Integrity("the ledger ends before its head".into()).into());
        }
        from = next;
        for Line { public, private, names } in lines {
            if offset > 0 {
                offset -= 1;
                continue;
            }
            if limit == 0 {
                break;
            }
            limit -= 1;
            bytes += public.len() + private.len() + names.iter().map(String::len).sum::<usize>();
            entries.push(v1::LedgerEntry { public, private, names });
            if bytes >= FRAME {
                sender.send(v1::QueryFrame { entries: std::mem::take(&mut entries), seen: None }).await?;
                bytes = 0;
            }
        }
    }
    let view = vault.recorder.view(&tenant).await?;
    sender.send(v1::QueryFrame { entries, seen: Some(seen_message(view.seen)) }).await?;
    Ok(())
}
