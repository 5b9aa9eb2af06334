//! Shredding: keys are destroyed by order, of an object, a prefix, a dataset or a tenant, so that nothing opens what they sealed.
//!
//! ```text
//! order to shred ─► recorded: nothing of it is released from here on ─► steps of rows made due ─► keys destroyed ─► finished
//! ```
//!
//! What is to be done stands in the catalog, so a crash anywhere loses one step's work, and any node goes on. The database's files
//! are rid of the wrapped keys where the database can do that; copies that were made of it before grow old by themselves, and the
//! server tells when, if it was told how long they are kept.

use std::sync::Arc;
use std::time::Duration;

use strongroom_core::grant::Refusal;
use strongroom_core::ids::{DatasetId, Index, Millis, OrderId, TenantId};
use strongroom_core::names::TenantName;
use strongroom_core::order::Instruction;
use strongroom_core::reason::Reason;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::catalog::shreds::{Shred, Step};
use crate::error::Error;
use crate::recorder::attempt::{Attempt, Caller, Order, Recorded};
use crate::tenants::Tenant;
use crate::vault::Vault;
use crate::vault::authority::{accept, carried_out};

/// Rows of one step. It holds the ledger's head for some milliseconds.
const STEP: u32 = 512;
/// Orders that one look finds.
const AT_ONCE: u32 = 64;
/// The pause between looks for work that no node told of.
const EVERY: Duration = Duration::from_secs(2);
/// The pause before the database's log is tried again, which somebody reads.
const AGAIN: Duration = Duration::from_millis(100);

/// Tells the node's task that there may be something to do.
#[derive(Default)]
pub(crate) struct Shreds(Notify);

/// Has an order to shred recorded. Nothing that it covers is released from its entry on; the keys are destroyed right after.
pub(crate) async fn shred(
    vault: &Vault,
    caller: Caller,
    tenant: &TenantName,
    bytes: &[u8],
) -> Result<(Recorded, OrderId), Error> {
    let shreds = |instruction: &Instruction| {
        matches!(
            instruction,
            Instruction::ShredObjects { .. } | Instruction::ShredDataset { .. } | Instruction::ShredTenant { .. }
        )
    };
    let verified = accept(bytes, shreds)?;
    let tenant = vault.tenants.find(tenant).await?;
    if let Instruction::ShredObjects { dataset, prefix, .. } = &verified.order().instruction {
        let authority = vault.recorder.view(&tenant).await?.authority;
        let found = authority.dataset(dataset).map(|dataset| dataset.id);
        // A name that was mistyped destroys nothing, and says so; whether the order may be given at all is decided first.
        let may = verified.signers().iter().all(|signer| authority.admins().contains(signer));
        if let Some(id) = found.filter(|_| may)
            && !vault.catalog.is_anything_at(&id, prefix).await?
        {
            return Err(Refusal::new(Reason::NotFound, "nothing was ever put there").into());
        }
    }
    let id = verified.id();
    let kept = vault.limits.backup_retention;
    let detail = kept.map(|kept| {
        format!("backups that hold the destroyed keys are kept for {} days", kept.as_secs().div_ceil(24 * 3600))
    });
    let attempt = Attempt::Order(Box::new(Order { detail, ..Order::new(caller, verified) }));
    let done = carried_out(vault.recorder.record(&tenant, attempt).await?, id)?;
    vault.shreds.0.notify_one();
    Ok(done)
}

/// The newest orders to shred, or the one of an entry.
pub(crate) async fn list(
    vault: &Vault,
    tenant: &Tenant,
    entry: Option<Index>,
    limit: u32,
) -> Result<Vec<Shred>, Error> {
    Ok(vault.catalog.shreds(&tenant.id, entry, limit).await?)
}

/// When no backup holds any more what was destroyed at some time; none if the server was not told how long they are kept.
pub(crate) fn gone_from_backups(vault: &Vault, shred: &Shred) -> Option<Millis> {
    let kept = u64::try_from(vault.limits.backup_retention?.as_millis()).unwrap_or(u64::MAX);
    // The keys are in the database until the work is finished.
    shred.finished.map(|at| Millis(at.0.saturating_add(kept)))
}

/// Whether what is destroyed is overwritten in the database's files at once.
pub(crate) fn is_overwritten(vault: &Vault) -> bool {
    !vault.catalog.is_shared()
}

/// Destroys what is to be, now and whenever there is more, until it is told to stop.
pub(crate) async fn run(vault: Arc<Vault>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        match vault.catalog.unfinished_shreds(AT_ONCE).await {
            Ok(shreds) => {
                for (tenant, entry) in &shreds {
                    if let Err(error) = make_due(&vault, tenant, *entry, &stop).await {
                        tracing::warn!(%tenant, entry = entry.0, %error, "shredding was broken off; it goes on soon");
                    }
                }
                if !shreds.is_empty()
                    && let Err(error) = destroy(&vault, &shreds, &stop).await
                {
                    tracing::warn!(%error, "destroying keys was broken off; it goes on soon");
                }
                if shreds.len() == AT_ONCE as usize {
                    continue;
                }
            }
            Err(error) => tracing::warn!(%error, "could not look for what is to be shredded"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = vault.shreds.0.notified() => {}
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

/// Has everything that an order covers made due.
async fn make_due(vault: &Vault, id: &TenantId, entry: Index, stop: &CancellationToken) -> Result<(), Error> {
    let row = vault.catalog.tenant(id).await?.ok_or(Error::UnknownTenant)?;
    let tenant = vault.tenants.find(&row.name).await?;
    let authority = vault.recorder.view(&tenant).await?.authority;
    let mut datasets: Vec<DatasetId> = authority.datasets().values().map(|dataset| dataset.id).collect();
    datasets.sort_unstable();
    while !stop.is_cancelled() {
        let step = vault.catalog.step_shred(id, &tenant.ledger_key, entry, &datasets, STEP).await?;
        if step.is_none_or(|shred| shred.step == Step::Due) {
            return Ok(());
        }
    }
    Ok(())
}

/// Destroys the keys that are due, and whatever of them the database's log holds; then the orders are carried out.
async fn destroy(vault: &Vault, shreds: &[(TenantId, Index)], stop: &CancellationToken) -> Result<(), Error> {
    // Everything that is due since ever, and nothing that keeps its time.
    while vault.catalog.expire(Millis(1), false, STEP).await?.taken > 0 {
        if stop.is_cancelled() {
            return Ok(());
        }
    }
    // Whoever reads the database holds its log; readers come and go.
    while !vault.catalog.clear_log().await? {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(AGAIN) => {}
        }
    }
    for (tenant, entry) in shreds {
        if vault.catalog.finish_shred(tenant, *entry, vault.recorder.now()).await? {
            tracing::info!(%tenant, entry = entry.0, "shredded: the keys are destroyed");
        }
    }
    Ok(())
}
