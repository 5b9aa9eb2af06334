//! The ledger as a log: checkpoints, proofs, and its files.

use std::sync::Arc;

use bytes::Bytes;
use strongroom_core::grant::{Principal, Refusal};
use strongroom_core::ids::{Digest, Index};
use strongroom_core::ledger::Entry;
use strongroom_core::ledger::tile::Tile;
use strongroom_core::reason::Reason;
use strongroom_proto::v1;
use tonic::Request;

use super::{caller, tenant_name};
use crate::answer::refuse;
use crate::cuts::{self, Gone};
use crate::error::Error;
use crate::recorder::{RecordError, Signed};
use crate::tenants::Tenant;
use crate::vault::{Vault, session, standing};

/// Frames that may wait for the reader.
const QUEUE: usize = 4;
/// Bytes of a frame, at most.
const FRAME: usize = 512 * 1024;
/// The most files that are asked for at once.
const MAX_FILES: usize = 1024;

pub(super) async fn checkpoint(
    vault: &Vault,
    request: &Request<v1::CheckpointRequest>,
) -> Result<v1::CheckpointResponse, Error> {
    let message = request.get_ref();
    let tenant = known(vault, request, &message.tenant).await?;
    let mut cover = Index(message.cover);
    if message.head {
        cover = cover.max(vault.recorder.view(&tenant).await?.head.size());
    } else if cover > vault.recorder.view(&tenant).await?.head.size() {
        return Err(Refusal::new(Reason::NotFound, format!("the ledger has not come to {cover} entries")).into());
    }
    Ok(signed_message(&tenant, vault.recorder.checkpoint(&tenant, cover).await?))
}

pub(super) async fn inclusion(
    vault: &Vault,
    request: &Request<v1::InclusionRequest>,
) -> Result<v1::InclusionResponse, Error> {
    let message = request.get_ref();
    let tenant = known(vault, request, &message.tenant).await?;
    let (_, caller) = caller(request)?;
    let is_admin = vault.recorder.view(&tenant).await?.authority.principal(&caller.key) == Principal::Admin;
    // To others than admins, an entry that is not their own and none at all are the same.
    let others = || Refusal::new(Reason::OutOfScope, "the entry is not one of this key's doing");
    let included = match vault.recorder.inclusion(&tenant, Index(message.index)).await {
        Err(RecordError::Refused { .. }) if !is_admin => return Err(others().into()),
        found => found?,
    };
    let is_own = Entry::from_bytes(&included.public).is_ok_and(|entry| entry.actor.key == caller.key);
    if !is_admin && !is_own {
        return Err(others().into());
    }
    let checkpoint = Some(signed_message(&tenant, included.signed));
    Ok(v1::InclusionResponse { checkpoint, public: included.public.into(), proof: hashes(&included.proof) })
}

pub(super) async fn consistency(
    vault: &Vault,
    request: &Request<v1::ConsistencyRequest>,
) -> Result<v1::ConsistencyResponse, Error> {
    let message = request.get_ref();
    let tenant = known(vault, request, &message.tenant).await?;
    let (signed, proof) = vault.recorder.consistency(&tenant, Index(message.size)).await?;
    Ok(v1::ConsistencyResponse { checkpoint: Some(signed_message(&tenant, signed)), proof: hashes(&proof) })
}

pub(super) async fn export(
    vault: &Arc<Vault>,
    request: &Request<v1::ExportRequest>,
) -> Result<cuts::Receiver<v1::ExportFrame>, Error> {
    let (_, caller) = caller(request)?;
    let message = request.get_ref();
    let tenant = vault.tenants.find(&tenant_name(&message.tenant)?).await?;
    standing::check_admin(vault, &tenant, &caller.key).await?;
    if message.paths.len() > MAX_FILES {
        return Err(Error::TooLarge(format!("at most {MAX_FILES} files at once").into()));
    }
    let tile = |path: &String| path.parse().map_err(|_| Error::Invalid(format!("a log has no file {path:?}").into()));
    let tiles = message.paths.iter().map(tile).collect::<Result<Vec<Tile>, _>>()?;
    let (sender, receiver) = cuts::channel(QUEUE);
    let vault = vault.clone();
    tokio::spawn(async move {
        for (file, tile) in (0..).zip(tiles) {
            // A key that is blocked meanwhile reads no further.
            if let Err(refusal) = vault.recorder.operators().blocked().admit_key(&caller.key) {
                return sender.fail(refuse(&refusal.into(), None)).await;
            }
            match vault.recorder.log_file(&tenant, tile).await {
                Ok(bytes) => match send(&sender, file, bytes).await {
                    Ok(()) => {}
                    Err(Gone) => return,
                },
                Err(error) => return sender.fail(refuse(&error.into(), None)).await,
            }
        }
    });
    Ok(receiver)
}

async fn send(sender: &cuts::Sender<v1::ExportFrame>, file: u32, mut bytes: Bytes) -> Result<(), Gone> {
    loop {
        let data = bytes.split_to(FRAME.min(bytes.len()));
        let last = bytes.is_empty();
        sender.send(v1::ExportFrame { file, data, last }).await?;
        if last {
            return Ok(());
        }
    }
}

/// The tenant, if it knows the caller.
pub(super) async fn known<T>(vault: &Vault, request: &Request<T>, name: &str) -> Result<Arc<Tenant>, Error> {
    let (_, caller) = caller(request)?;
    let tenant = vault.tenants.find(&tenant_name(name)?).await?;
    let authority = vault.recorder.view(&tenant).await?.authority;
    match session::is_known(vault, &tenant, &authority, &caller.key).await? {
        true => Ok(tenant),
        false => Err(Error::UnknownTenant),
    }
}

fn signed_message(tenant: &Tenant, signed: Signed) -> v1::CheckpointResponse {
    v1::CheckpointResponse { note: signed.note.into(), keys: tenant.log_keys().lines().collect() }
}

fn hashes(proof: &[Digest]) -> Vec<Bytes> {
    proof.iter().map(|hash| Bytes::copy_from_slice(hash.as_bytes())).collect()
}
