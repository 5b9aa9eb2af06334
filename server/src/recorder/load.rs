//! Reading a ledger's standing out of the catalog, and comparing it with what this node remembers.
//!
//! The head carries a mark and is compared with four memories: this process's own, the node's folder, the checkpoints
//! ([`super::floors`]), and (in [`super::Recorder::check_seen`]) what clients were told. The authority log is folded and must come to exactly the head's
//! authority tip, so no row of it can be left out, changed or made up.

use std::sync::Arc;

use strongroom_core::grant::Authority;
use strongroom_core::grant::authority::is_authority;
use strongroom_core::ids::Index;
use strongroom_core::ledger::head::chain;
use strongroom_core::ledger::{Entry, Event, Head};
use strongroom_core::order::SignedOrder;

use super::floors::Floor;
use super::ledger::{Calls, State, Stop};
use super::memory::NodeMemory;
use crate::catalog::{AuthorityRow, CatalogError, Tx};
use crate::tenants::Tenant;

/// Why a ledger's standing could not be had.
pub(super) enum LoadError {
    /// The catalog failed: nothing is known.
    Catalog(CatalogError),
    /// The ledger must go no further.
    Stop(Stop),
}

impl From<CatalogError> for LoadError {
    fn from(error: CatalogError) -> Self {
        match error {
            CatalogError::Integrity(why) => Self::Stop(Stop::Integrity(why)),
            other => Self::Catalog(other),
        }
    }
}

fn diverged<T>(why: String) -> Result<T, LoadError> {
    Err(LoadError::Stop(Stop::Diverged(why)))
}

/// The standing of a ledger as it is in the catalog now, `state` being what this process left there. `None` before entry 0.
pub(super) async fn load(
    tx: &mut Tx,
    tenant: &Tenant,
    memory: &NodeMemory,
    floors: &[Floor],
    state: Option<State>,
) -> Result<Option<State>, LoadError> {
    let head = tx.head(&tenant.id, &tenant.ledger_key).await?;
    match (head, state) {
        (Some(head), Some(state)) if head == state.head => Ok(Some(state)),
        (Some(head), Some(state)) => catch_up(tx, tenant, head, state).await.map(Some),
        (None, Some(state)) => diverged(format!("the ledger had {} entries, and its head is gone", state.head.size())),
        (head, None) => {
            let remembered = memory.recall(&tenant.id, &tenant.ledger_key).map_err(CatalogError::from)?;
            if let Some(seen) = remembered {
                check_boundary(tx, tenant, head.as_ref(), seen.size, seen.tip, "this node remembers").await?;
            }
            for floor in floors {
                check_boundary(tx, tenant, head.as_ref(), floor.size, floor.root, floor.who).await?;
            }
            let Some(head) = head else { return Ok(None) };
            let rows = tx.authority_from(&tenant.id, Index(0)).await?;
            let mut authority = Authority::default();
            fold(&mut authority, [0; 32], &rows, &head)?;
            Ok(Some(State {
                head,
                authority: Arc::new(authority),
                denials: Default::default(),
                calls: Calls::default(),
                swept: 0,
            }))
        }
    }
}

/// Somebody else wrote: takes in what is newer.
async fn catch_up(tx: &mut Tx, tenant: &Tenant, head: Head, mut state: State) -> Result<State, LoadError> {
    let old = &state.head;
    check_boundary(tx, tenant, Some(&head), old.size(), old.tip(), "this process left").await?;
    let rows = tx.authority_from(&tenant.id, old.size()).await?;
    fold(Arc::make_mut(&mut state.authority), old.authority_tip, &rows, &head)?;
    state.head = head;
    Ok(state)
}

/// Whether the ledger with this head once ended at `size` with `tip`.
async fn check_boundary(
    tx: &mut Tx,
    tenant: &Tenant,
    head: Option<&Head>,
    size: Index,
    tip: strongroom_core::ids::Digest,
    who: &str,
) -> Result<(), LoadError> {
    let Some(head) = head else {
        return diverged(format!("{who} {size} entries, and the ledger's head is gone"));
    };
    if head.size() < size {
        return diverged(format!("{who} {size} entries, and the ledger has {}: it was put back", head.size()));
    }
    let found = if head.size() == size { Some(head.tip()) } else { tx.boundary(&tenant.id, size).await? };
    match found {
        Some(found) if found == tip => Ok(()),
        _ => diverged(format!("{who} another ledger up to entry {size}: it was rewritten")),
    }
}

/// Whether these rows are the whole authority log of a ledger with this head; what is wrong, if they are not.
pub(crate) fn check_authority(rows: &[AuthorityRow], head: &Head) -> Result<(), String> {
    match fold(&mut Authority::default(), [0; 32], rows, head) {
        Err(LoadError::Stop(Stop::Diverged(why) | Stop::Integrity(why))) => Err(why),
        Err(LoadError::Catalog(error)) => Err(error.to_string()),
        Ok(()) => Ok(()),
    }
}

/// Takes rows of the authority log in; they must come to exactly what the head says.
pub(super) fn fold(
    authority: &mut Authority,
    from: [u8; 32],
    rows: &[AuthorityRow],
    head: &Head,
) -> Result<(), LoadError> {
    let broken = |why: String| LoadError::Stop(Stop::Integrity(why));
    let mut tip = from;
    let mut next = Index(0);
    for row in rows {
        let wrong = |why: &str| broken(format!("the authority log's row of entry {} {why}", row.entry));
        let entry = Entry::from_bytes(&row.public).map_err(|error| wrong(&error.to_string()))?;
        let order = SignedOrder::accept(&row.signed).map_err(|error| wrong(&error.to_string()))?;
        let instruction = &order.order().instruction;
        let fits = entry.index == row.entry
            && entry.index >= next
            && entry.order == Some(order.id())
            && entry.actor.key == order.issuer()
            && entry.event == Event::of_instruction(instruction)
            && is_authority(instruction);
        if !fits {
            return Err(wrong("does not hold its order"));
        }
        tip = chain(&tip, &row.public);
        authority.apply(entry.index, &order);
        next = Index(entry.index.0 + 1);
    }
    if tip != head.authority_tip || authority.epoch() != head.epoch || next > head.size() {
        return Err(broken("the authority log does not come to what the head says: a row was removed or added".into()));
    }
    Ok(())
}
