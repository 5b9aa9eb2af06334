//! `Vault`: objects in, objects out. Ciphertext and sealed keys only.

use std::sync::Arc;

use strongroom_core::call::Condition;
use strongroom_core::grant::Prefix;
use strongroom_core::ids::{Generation, GrantId, PutId};
use strongroom_core::order::Instruction;
use strongroom_proto::v1;
use strongroom_proto::v1::put_frame::Frame;
use tonic::{Request, Response, Status, Streaming};

use super::{answer, bytes_id, caller, optional, order, parse, reason_of, tenant_name};
use crate::answer::{refuse, seen_message};
use crate::catalog::objects::ObjectRow;
use crate::cuts;
use crate::error::Error;
use crate::listen::Connection;
use crate::recorder::attempt::{AcceptedCall, Caller, Recorded, What};
use crate::vault::listing::Listing;
use crate::vault::put::{Intent, Receiving};
use crate::vault::{Vault, accept, delete, get, listing, put, put_batch, session};

pub(super) struct VaultApi(pub(super) Arc<Vault>);

#[tonic::async_trait]
impl v1::vault_server::Vault for VaultApi {
    async fn put(&self, request: Request<Streaming<v1::PutFrame>>) -> Result<Response<v1::PutResponse>, Status> {
        answer(put_stream(&self.0, request).await)
    }

    async fn put_batch(&self, request: Request<v1::PutBatchRequest>) -> Result<Response<v1::PutBatchResponse>, Status> {
        let (connection, caller) = caller(&request).map_err(|error| refuse(&error, None))?;
        let message = request.into_inner();
        let call = accepted(&connection, caller, message.call.as_ref())?;
        let id = call.request();
        let work = put_batch::put_batch(&self.0, call, &message.keys, message.objects);
        let recorded = work.await.map_err(|error| refuse(&error, Some(id)))?;
        let results = put_results(&recorded).map_err(|error| refuse(&error, Some(id)))?;
        Ok(Response::new(v1::PutBatchResponse { results, seen: Some(seen_message(recorded.seen())) }))
    }

    type GetStream = cuts::Receiver<v1::GetFrame>;

    async fn get(&self, request: Request<v1::GetRequest>) -> Result<Response<Self::GetStream>, Status> {
        self.read(&request)
    }

    type ReleaseKeysStream = cuts::Receiver<v1::GetFrame>;

    async fn release_keys(
        &self,
        request: Request<v1::GetRequest>,
    ) -> Result<Response<Self::ReleaseKeysStream>, Status> {
        self.read(&request)
    }

    async fn stat(&self, request: Request<v1::StatRequest>) -> Result<Response<v1::Object>, Status> {
        answer(stat(&self.0, &request).await)
    }

    async fn list(&self, request: Request<v1::ListRequest>) -> Result<Response<v1::ListResponse>, Status> {
        answer(list(&self.0, &request).await)
    }

    async fn delete(&self, request: Request<v1::SignedCall>) -> Result<Response<v1::DeleteResponse>, Status> {
        let (connection, caller) = caller(&request).map_err(|error| refuse(&error, None))?;
        let call = accepted(&connection, caller, Some(request.get_ref()))?;
        let id = call.request();
        let recorded = delete::delete(&self.0, call).await.map_err(|error| refuse(&error, Some(id)))?;
        let results = delete_results(&recorded).map_err(|error| refuse(&error, Some(id)))?;
        Ok(Response::new(v1::DeleteResponse { results, seen: Some(seen_message(recorded.seen())) }))
    }

    async fn list_datasets(
        &self,
        request: Request<v1::ListDatasetsRequest>,
    ) -> Result<Response<v1::ListDatasetsResponse>, Status> {
        answer(list_datasets(&self.0, &request).await)
    }

    async fn create_dataset(&self, request: Request<v1::SignedOrder>) -> Result<Response<v1::OrderReceipt>, Status> {
        order(&self.0, request, |instruction| matches!(instruction, Instruction::CreateDataset { .. })).await
    }

    async fn delete_dataset(&self, request: Request<v1::SignedOrder>) -> Result<Response<v1::OrderReceipt>, Status> {
        order(&self.0, request, |instruction| matches!(instruction, Instruction::DeleteDataset { .. })).await
    }

    async fn freeze_dataset(&self, request: Request<v1::SignedOrder>) -> Result<Response<v1::OrderReceipt>, Status> {
        order(&self.0, request, |instruction| matches!(instruction, Instruction::FreezeDataset { .. })).await
    }

    async fn unfreeze_dataset(&self, request: Request<v1::SignedOrder>) -> Result<Response<v1::OrderReceipt>, Status> {
        order(&self.0, request, |instruction| matches!(instruction, Instruction::UnfreezeDataset { .. })).await
    }
}

impl VaultApi {
    fn read(&self, request: &Request<v1::GetRequest>) -> Result<Response<cuts::Receiver<v1::GetFrame>>, Status> {
        let (connection, caller) = caller(request).map_err(|error| refuse(&error, None))?;
        let message = request.get_ref();
        let call = accepted(&connection, caller, message.call.as_ref())?;
        Ok(Response::new(get::stream(self.0.clone(), call, message.skip)))
    }
}

fn accepted(
    connection: &Connection,
    caller: Caller,
    message: Option<&v1::SignedCall>,
) -> Result<Arc<AcceptedCall>, Status> {
    accept::call(connection, caller, message).map_err(|error| refuse(&error, None))
}

async fn put_stream(vault: &Vault, request: Request<Streaming<v1::PutFrame>>) -> Result<v1::PutResponse, Error> {
    let (connection, caller) = caller(&request)?;
    let mut frames = request.into_inner();
    let Some(Frame::Begin(begin)) = next(&mut frames).await? else {
        return Err(Error::Invalid("an upload starts with what it begins".into()));
    };
    let mut receiving = put::begin(vault, intent(vault, caller.clone(), &begin).await?).await?;
    let commit = match receive(vault, &mut receiving, &mut frames).await {
        Ok(commit) => commit,
        Err(error) => {
            receiving.abandon(vault).await;
            return Err(error);
        }
    };
    let call = match accept::call(&connection, caller, commit.call.as_ref()) {
        Ok(call) => call,
        Err(error) => {
            receiving.abandon(vault).await;
            return Err(error);
        }
    };
    let recorded = receiving.publish(vault, call, &commit.keys).await?;
    let result = put_results(&recorded)?.pop();
    Ok(v1::PutResponse { result, seen: Some(seen_message(recorded.seen())) })
}

/// Takes the data until the commit comes. A stream that ends without one is an upload that stopped halfway.
async fn receive(
    vault: &Vault,
    receiving: &mut Receiving,
    frames: &mut Streaming<v1::PutFrame>,
) -> Result<v1::PutCommit, Error> {
    loop {
        match next(frames).await? {
            Some(Frame::Data(data)) if data.len() <= strongroom_proto::MAX_FRAME => {
                receiving.receive(vault, data).await?;
            }
            Some(Frame::Data(_)) => return Err(Error::TooLarge("a frame has at most 256 KiB of data".into())),
            Some(Frame::Commit(commit)) => return Ok(commit),
            Some(Frame::Begin(_)) => return Err(Error::Invalid("an upload begins once".into())),
            None => return Err(Error::Invalid("the upload stopped before its commit".into())),
        }
    }
}

async fn next(frames: &mut Streaming<v1::PutFrame>) -> Result<Option<Frame>, Error> {
    match frames.message().await {
        Ok(Some(message)) => {
            message.frame.map(Some).ok_or(Error::Invalid("a frame is of a kind that is not known here".into()))
        }
        Ok(None) => Ok(None),
        Err(status) => Err(Error::Unavailable(format!("the upload broke off: {}", status.message()).into())),
    }
}

async fn intent(vault: &Vault, caller: Caller, begin: &v1::PutBegin) -> Result<Intent, Error> {
    let condition = match begin.generation {
        Some(generation) if begin.rekey => Condition::Rekey(Generation(generation)),
        None => Condition::Any,
        Some(0) => Condition::Absent,
        Some(generation) => Condition::Generation(Generation(generation)),
    };
    Ok(Intent {
        tenant: vault.tenants.find(&tenant_name(&begin.tenant)?).await?,
        caller,
        grant: optional::<GrantId>("the grant", &begin.grant)?,
        put: bytes_id::<PutId>("the put id", &begin.put)?,
        dataset: parse("dataset", &begin.dataset)?,
        path: parse("path", &begin.path)?,
        condition,
    })
}

fn put_results(recorded: &Recorded) -> Result<Vec<v1::PutResult>, Error> {
    let What::Put(outcomes) = recorded.what() else {
        return Err(Error::Integrity("the recorder answered for another attempt".into()));
    };
    let result = |outcome: &Result<crate::recorder::attempt::Visible, _>| match outcome {
        Ok(visible) => v1::PutResult {
            generation: visible.generation.0,
            index: visible.index.0,
            ordinal: visible.ordinal,
            ..v1::PutResult::default()
        },
        Err(refusal) => {
            let (reason, detail) = reason_of(refusal);
            v1::PutResult { reason, detail, ..v1::PutResult::default() }
        }
    };
    Ok(outcomes.iter().map(result).collect())
}

fn delete_results(recorded: &Recorded) -> Result<Vec<v1::DeleteResult>, Error> {
    let What::Delete(outcomes) = recorded.what() else {
        return Err(Error::Integrity("the recorder answered for another attempt".into()));
    };
    let result = |outcome: &Result<crate::recorder::attempt::Hidden, _>| match outcome {
        Ok(hidden) => {
            v1::DeleteResult { generation: hidden.generation.0, index: hidden.index.0, ..v1::DeleteResult::default() }
        }
        Err(refusal) => {
            let (reason, detail) = reason_of(refusal);
            v1::DeleteResult { reason, detail, ..v1::DeleteResult::default() }
        }
    };
    Ok(outcomes.iter().map(result).collect())
}

async fn stat(vault: &Vault, request: &Request<v1::StatRequest>) -> Result<v1::Object, Error> {
    let (_, caller) = caller(request)?;
    let message = request.get_ref();
    let tenant = vault.tenants.find(&tenant_name(&message.tenant)?).await?;
    let generation = (message.generation != 0).then_some(Generation(message.generation));
    let grant = optional("the grant", &message.grant)?;
    let (dataset, path) = (parse("dataset", &message.dataset)?, parse("path", &message.path)?);
    Ok(object(&listing::stat(vault, &tenant, &caller, grant, &dataset, &path, generation).await?))
}

async fn list(vault: &Vault, request: &Request<v1::ListRequest>) -> Result<v1::ListResponse, Error> {
    let (_, caller) = caller(request)?;
    let message = request.get_ref();
    let tenant = vault.tenants.find(&tenant_name(&message.tenant)?).await?;
    let page = message.page.clone().unwrap_or_default();
    let folders = match message.delimiter.as_str() {
        "" => false,
        "/" => true,
        _ => return Err(Error::Invalid("the delimiter is '/' or none".into())),
    };
    if page.token.len() > 4096 {
        return Err(Error::TooLarge("a page token has at most 4 KiB".into()));
    }
    let listing = Listing {
        dataset: parse("dataset", &message.dataset)?,
        prefix: parse::<Prefix>("prefix", &message.prefix)?,
        folders,
        after: (!page.token.is_empty()).then_some(page.token),
        limit: page.limit,
    };
    let grant = optional("the grant", &message.grant)?;
    let page = listing::list(vault, &tenant, &caller, grant, &listing).await?;
    Ok(v1::ListResponse {
        objects: page.objects.iter().map(object).collect(),
        folders: page.folders,
        next: page.next.unwrap_or_default(),
    })
}

fn object(row: &ObjectRow) -> v1::Object {
    v1::Object {
        path: row.path.to_string(),
        generation: row.generation.0,
        size: row.size,
        object_id: row.header.object_id().as_bytes().to_vec().into(),
        content_root: row.content_root.as_bytes().to_vec().into(),
        created: row.created.0,
        index: row.index.0,
        ordinal: row.ordinal,
    }
}

/// Datasets are told to admins, and to grantees those that a grant of theirs names.
async fn list_datasets(
    vault: &Vault,
    request: &Request<v1::ListDatasetsRequest>,
) -> Result<v1::ListDatasetsResponse, Error> {
    let (_, caller) = caller(request)?;
    let tenant = vault.tenants.find(&tenant_name(&request.get_ref().tenant)?).await?;
    let authority = vault.recorder.view(&tenant).await?.authority;
    if !session::is_known(vault, &tenant, &authority, &caller.key).await? {
        return Err(Error::UnknownTenant);
    }
    let principal = authority.principal(&caller.key);
    let admin = principal == strongroom_core::grant::Principal::Admin;
    let named: std::collections::BTreeSet<_> = if admin {
        authority.datasets().keys().cloned().collect()
    } else {
        let held = crate::vault::standing::held_by(vault, &tenant, principal, caller.key).await?;
        held.into_iter().flat_map(|grant| grant.terms.scopes).map(|scope| scope.dataset).collect()
    };
    let live = named.iter().filter_map(|name| authority.dataset(name).map(|dataset| (name, dataset)));
    let datasets = live.map(|(name, dataset)| v1::Dataset {
        name: name.to_string(),
        id: dataset.id.as_bytes().to_vec().into(),
        created: dataset.created.0,
        frozen: dataset.frozen.or(authority.frozen()).map(|index| index.0),
    });
    Ok(v1::ListDatasetsResponse { datasets: datasets.collect() })
}
