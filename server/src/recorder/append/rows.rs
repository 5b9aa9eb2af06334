//! The rows of a draft, written in the transaction that commits it.

use strongroom_core::ledger::charge::REQUEST_LIFE;

use super::Made;
use crate::catalog::{CatalogError, NewBatch, Tx};
use crate::recorder::draft::{Drafted, KeyChange};

/// How many forgotten requests go with one batch.
const SWEEP: u32 = 20_000;

/// Writes a draft's rows: a number of statements that does not depend on how many there are.
pub(super) async fn write(tx: &mut Tx, made: &mut Made) -> Result<(), CatalogError> {
    let Made { tenant, state, drafted } = made;
    let (id, key) = (&tenant.id, &tenant.ledger_key);
    let Drafted { base, head, writes, now, .. } = drafted;
    if let Some(new) = &writes.tenant {
        tx.insert_tenant(new).await?;
    }
    let batch = NewBatch {
        from: base,
        to: head,
        tip: head.tip(),
        entries: std::mem::take(&mut writes.public),
        parts: std::mem::take(&mut writes.private),
        usages: &writes.usages,
        requests: &writes.requests,
        now: *now,
    };
    tx.append(id, key, batch).await?;
    if head.epoch != base.epoch {
        tx.notify(id).await?;
    }
    if !writes.authority.is_empty() {
        tx.insert_authority(id, &writes.authority).await?;
    }
    if !writes.orders.is_empty() {
        tx.insert_orders(id, &writes.orders).await?;
    }
    if !writes.grants.is_empty() {
        tx.insert_grants(id, key, writes.grants.iter().map(|grant| &**grant), *now).await?;
    }
    if !writes.renewals.is_empty() {
        tx.insert_renewals(id, key, &writes.renewals).await?;
    }
    if !writes.objects.is_empty() {
        tx.insert_objects(id, std::mem::take(&mut writes.objects)).await?;
        tx.commit_uploads(id, writes.blobs.iter().map(|(blob, objects)| (&blob[..], *objects))).await?;
    }
    tx.write_paths(id, *now, std::mem::take(&mut writes.paths)).await?;
    for dataset in &writes.deleted {
        tx.retire_dataset(id, dataset, *now).await?;
    }
    if writes.reopens_rewrap {
        tx.reopen_rewrap(id).await?;
    }
    for change in &writes.keys {
        match change {
            KeyChange::Rotated { version, wrapped } => tx.rotate_key(id, *version, wrapped, *now).await?,
            KeyChange::Destroyed { version } => tx.destroy_key(id, *version).await?,
            KeyChange::Log(row) => tx.insert_log_key(id, row).await?,
            KeyChange::AllDestroyed => tx.destroy_all_keys(id, *now).await?,
        }
    }
    if let Some(due) = writes.due {
        tx.set_due_rotation(id, due).await?;
    }
    if let Some(entry) = writes.escrow_due {
        tx.escrow_due(id, entry).await?;
    }
    for shred in &writes.shreds {
        tx.begin_shred(id, shred, *now).await?;
    }
    if let Some(state) = state.as_mut().filter(|state| state.swept != now.0 / REQUEST_LIFE) {
        let more = tx.forget_requests(id, *now, SWEEP).await?;
        state.swept = if more { state.swept } else { now.0 / REQUEST_LIFE };
    }
    Ok(())
}
