//! Rotations that are due: an admin's order says how often, and the vault makes them.
//!
//! ```text
//! rotate_every (a signed order) ─► due ─► new version, wrapped by the root key ─► recorded: key.rotated.due, naming the order ─► rewrap
//! ```
//!
//! It gives nobody anything, and takes nothing away; that it was due is decided under the ledger's lock, by the order and the entry's
//! time, and checked by replay with the same function. Two nodes that try at once make one.

use std::sync::Arc;
use std::time::Duration;

use strongroom_core::ids::TenantId;
use strongroom_core::reason::Reason;
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::recorder::attempt::{Attempt, RotateDue};
use crate::vault::Vault;
use crate::vault::rewrap::new_key;

/// The pause between looks.
const EVERY: Duration = Duration::from_secs(2);

/// Rotates what is due, now and then, until it is told to stop.
pub(crate) async fn run(vault: Arc<Vault>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        match vault.catalog.due_rotations(vault.recorder.now()).await {
            Ok(tenants) => {
                for tenant in tenants {
                    match rotate(&vault, &tenant).await {
                        // Somebody was faster.
                        Err(error) if error.reason() == Reason::PreconditionFailed => {}
                        Err(error) => {
                            tracing::warn!(%tenant, %error, "a key is due to be rotated; it is tried again soon")
                        }
                        Ok(()) => {}
                    }
                }
            }
            Err(error) => tracing::warn!(%error, "could not look for keys that are due to be rotated"),
        }
    }
}

async fn rotate(vault: &Vault, id: &TenantId) -> Result<(), Error> {
    let row = vault.catalog.tenant(id).await?.ok_or(Error::UnknownTenant)?;
    let tenant = vault.tenants.find(&row.name).await?;
    let authority = vault.recorder.view(&tenant).await?.authority;
    let Some(order) = authority.schedule().map(|schedule| schedule.order) else { return Ok(()) };
    let version = authority.admit_due(&order, vault.recorder.now())?;
    let _wrapping = vault.rotations.wrapping().await;
    let new_key = new_key(vault, &tenant, version).await?;
    let due = RotateDue { order, version, new_key };
    vault.recorder.record(&tenant, Attempt::RotateDue(Box::new(due))).await?;
    tracing::info!(tenant = %tenant.name, version, "the key was due to be rotated, and is");
    vault.rewraps.tell();
    vault.escrows.tell();
    Ok(())
}
