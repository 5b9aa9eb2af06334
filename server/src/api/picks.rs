//! `Audit.Pick`: entries by their indices, with what proves each.

use std::sync::Arc;

use strongroom_core::grant::Refusal;
use strongroom_core::identity::Fingerprint;
use strongroom_core::ids::Index;
use strongroom_core::reason::Reason;
use strongroom_proto::v1;
use tonic::Request;

use super::streams::{QUEUE, Stop, end};
use super::{caller, tenant_name};
use crate::cuts;
use crate::error::Error;
use crate::recorder::{Picked, Picks};
use crate::vault::{Vault, standing};

/// A frame is sent when it has about this many bytes.
const FRAME: usize = 512 * 1024;
/// The most entries that are asked for at once.
const MAX_PICKED: usize = 65_536;

pub(super) async fn pick(
    vault: &Arc<Vault>,
    request: &Request<v1::PickRequest>,
) -> Result<cuts::Receiver<v1::PickFrame>, Error> {
    let (_, caller) = caller(request)?;
    let message = request.get_ref();
    let tenant = vault.tenants.find(&tenant_name(&message.tenant)?).await?;
    standing::check_admin(vault, &tenant, &caller.key).await?;
    if message.indices.len() > MAX_PICKED {
        return Err(Error::TooLarge(format!("at most {MAX_PICKED} entries at once").into()));
    }
    if !message.indices.is_sorted_by(|one, next| one < next) {
        return Err(Error::Invalid("each index is larger than the one before it".into()));
    }
    let size = vault.recorder.view(&tenant).await?.head.size();
    if let Some(last) = message.indices.last().filter(|last| **last >= size.0) {
        return Err(Refusal::new(Reason::NotFound, format!("the ledger has no entry {last}")).into());
    }
    let indices = message.indices.iter().copied().map(Index).collect();
    let picks = Picks::new(vault.recorder.clone(), tenant, indices).await?;
    let (sender, receiver) = cuts::channel(QUEUE);
    let vault = vault.clone();
    tokio::spawn(async move {
        let worked = run(&vault, picks, &caller.key, &sender).await;
        end(sender, worked).await;
    });
    Ok(receiver)
}

async fn run(
    vault: &Vault,
    mut picks: Picks,
    key: &Fingerprint,
    sender: &cuts::Sender<v1::PickFrame>,
) -> Result<(), Stop> {
    let (mut entries, mut bytes) = (Vec::new(), 0);
    while let Some(some) = picks.next().await? {
        // A key that is blocked meanwhile reads no further.
        vault.recorder.operators().blocked().admit_key(key)?;
        for Picked { public, private, siblings } in some {
            bytes += public.len() + private.len() + siblings.len();
            entries.push(v1::PickedEntry { public, private, siblings });
            if bytes >= FRAME {
                sender.send(v1::PickFrame { entries: std::mem::take(&mut entries) }).await?;
                bytes = 0;
            }
        }
    }
    if !entries.is_empty() {
        sender.send(v1::PickFrame { entries }).await?;
    }
    Ok(())
}
