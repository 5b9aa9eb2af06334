//! A ledger looked after: how it stands, and everything that is held of it read back. To operators, and to the tenant's admins;
//! of a ledger that is stopped, too.

use std::sync::Arc;

use strongroom_core::grant::{Principal, Refusal};
use strongroom_core::ledger::checkpoint::Checkpoint;
use strongroom_core::reason::Reason;
use strongroom_proto::v1;
use tokio::sync::mpsc;
use tonic::Request;

use super::{caller, tenant_name};
use crate::answer::refuse;
use crate::cuts;
use crate::error::Error;
use crate::recorder::{Fault, Told};
use crate::tenants::Tenant;
use crate::vault::Vault;

/// Frames that may wait for the reader.
const QUEUE: usize = 16;

pub(super) async fn status(vault: &Vault, request: &Request<v1::LedgerRequest>) -> Result<v1::LedgerStatus, Error> {
    let tenant = match looked_after(vault, request).await {
        // To its operator, one whose keys do not open is one that is stopped.
        Err(error @ (Error::Integrity(_) | Error::Key(_))) => {
            let (_, caller) = caller(request)?;
            let stopped = error.to_string();
            let name = request.get_ref().tenant.clone();
            return match vault.is_operator(&caller.key) {
                true => Ok(v1::LedgerStatus { tenant: name, stopped, ..v1::LedgerStatus::default() }),
                false => Err(error),
            };
        }
        tenant => tenant?,
    };
    let state = vault.recorder.ledger_state(&tenant).await;
    let cosigned = vault.catalog.cosignatures(&tenant.id).await.unwrap_or_default();
    let head = state.head.map(|(size, tip, time)| v1::LedgerHead {
        size: size.0,
        tip: tip.as_bytes().to_vec().into(),
        time: time.0,
    });
    let signed = |checkpoint: Option<Checkpoint>| {
        checkpoint.map(|checkpoint| v1::SignedTree {
            size: checkpoint.size.0,
            root: checkpoint.root.as_bytes().to_vec().into(),
        })
    };
    Ok(v1::LedgerStatus {
        tenant: tenant.name.to_string(),
        origin: tenant.origin.to_string(),
        log_keys: tenant.log_keys().lines().collect(),
        head,
        now: vault.recorder.now().0,
        checkpoint: signed(state.checkpoint),
        copy: signed(state.copy),
        cosigned: cosigned
            .into_iter()
            .map(|row| v1::Cosigned { witness: row.witness, note: row.note.into() })
            .collect(),
        stopped: state.stopped.unwrap_or_default(),
        problems: state.problems,
    })
}

pub(super) async fn check(
    vault: &Arc<Vault>,
    request: &Request<v1::LedgerRequest>,
) -> Result<cuts::Receiver<v1::CheckFrame>, Error> {
    let tenant = looked_after(vault, request).await?;
    let (sender, receiver) = cuts::channel(QUEUE);
    let (tell, mut told) = mpsc::channel(QUEUE);
    let recorder = vault.recorder.clone();
    let looking = tokio::spawn(async move { recorder.check_ledger(&tenant, &tell).await });
    tokio::spawn(async move {
        while let Some(told) = told.recv().await {
            if sender.send(frame(told)).await.is_err() {
                looking.abort();
                return;
            }
        }
        match looking.await {
            Ok(Ok(())) => {
                // That it came to its end is said, or a broken stream would look like a ledger that holds.
                let _ = sender.send(v1::CheckFrame { ended: true, ..v1::CheckFrame::default() }).await;
            }
            Ok(Err(error)) => sender.fail(refuse(&error.into(), None)).await,
            Err(_) => sender.fail(refuse(&Error::Unavailable("the look was broken off".into()), None)).await,
        }
    });
    Ok(receiver)
}

fn frame(told: Told) -> v1::CheckFrame {
    match told {
        Told::Progress(done, total) => v1::CheckFrame { done, total, ..v1::CheckFrame::default() },
        Told::Fault(Fault { place, what, advice }) => {
            let fault = v1::LedgerFault { place, what, advice: advice.to_owned() };
            v1::CheckFrame { fault: Some(fault), ..v1::CheckFrame::default() }
        }
    }
}

/// The tenant, if the caller is an operator, or an admin of it: as far as that is known where it is stopped.
async fn looked_after(vault: &Vault, request: &Request<v1::LedgerRequest>) -> Result<Arc<Tenant>, Error> {
    let (_, caller) = caller(request)?;
    let tenant = vault.tenants.find(&tenant_name(&request.get_ref().tenant)?).await?;
    if vault.is_operator(&caller.key) {
        return Ok(tenant);
    }
    let principal = vault.recorder.last_authority(&tenant).await.map(|authority| authority.principal(&caller.key));
    match principal {
        Some(Principal::Admin) => Ok(tenant),
        Some(Principal::Vendor(_)) => {
            Err(Refusal::new(Reason::OutOfScope, "only an admin of the tenant, or an operator, may look at its ledger")
                .into())
        }
        Some(Principal::Key) | None => Err(Error::UnknownTenant),
    }
}
