//! Receipts of orders that come again: an answer can get lost, and whoever signed the order may ask once more.
//!
//! A row that says "accepted" is not believed: it could tell an admin that a vendor is suspended who is not. What vouches for an
//! order is what decides: the authority log that the head is chained to, or the marked row of the grant that it issued. Where
//! nothing does, the order is refused as one that was accepted before, and no receipt is given.

use std::collections::HashMap;

use strongroom_core::ids::{GrantId, Index, Millis, OrderId};
use strongroom_core::ledger::Entry;
use strongroom_core::ledger::batch::split;

use super::ledger::State;
use crate::catalog::{CatalogError, Tx};
use crate::tenants::Tenant;

/// An order that was accepted before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Accepted {
    /// The entry that it became.
    pub(super) index: Index,
    /// That entry's time, if the order's acceptance is vouched for.
    pub(super) receipt: Option<Millis>,
}

/// What became of those of `orders` that were accepted before.
pub(super) async fn receipts(
    tx: &mut Tx,
    tenant: &Tenant,
    state: &State,
    orders: &[OrderId],
) -> Result<HashMap<OrderId, Accepted>, CatalogError> {
    let mut accepted = HashMap::new();
    for (order, index) in tx.accepted(&tenant.id, orders).await? {
        let vouched = match state.authority.accepted(&order) {
            Some(index) => Some(index),
            None => issued(tx, tenant, order).await?,
        };
        let receipt = match vouched {
            Some(vouched) if vouched == index => time_of(tx, tenant, index, order).await?,
            _ => None,
        };
        accepted.insert(order, Accepted { index, receipt });
    }
    Ok(accepted)
}

/// The entry that issued the grant of this order.
async fn issued(tx: &mut Tx, tenant: &Tenant, order: OrderId) -> Result<Option<Index>, CatalogError> {
    let found = tx.grants(&tenant.id, &tenant.ledger_key, &[GrantId::from(order)]).await?;
    Ok(found.into_iter().find_map(|(_, grant)| grant.ok()).map(|grant| grant.issued))
}

/// The time of the entry that accepted an order. Where its batch has left, the authority log has the entry too; a grant's row has
/// the time alone, which carries no mark, but vouches for nothing either.
async fn time_of(tx: &mut Tx, tenant: &Tenant, index: Index, order: OrderId) -> Result<Option<Millis>, CatalogError> {
    let time = |public: &[u8]| {
        let entry = Entry::from_bytes(public).ok()?;
        (entry.index == index && entry.order == Some(order)).then_some(entry.time)
    };
    match tx.batch_of(&tenant.id, index).await? {
        Some(batch) if batch.first <= index => {
            let at = usize::try_from(index.0 - batch.first.0).unwrap_or(usize::MAX);
            Ok(split(&batch.entries).ok().and_then(|entries| time(entries.get(at)?)))
        }
        _ => match tx.authority_entry(&tenant.id, index).await? {
            Some(public) => Ok(time(&public)),
            None => tx.issued_at(&tenant.id, &GrantId::from(order)).await,
        },
    }
}
