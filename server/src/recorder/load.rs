//! Reading a ledger's standing out of the catalog, and comparing it with what this node remembers.
//!
//! The head carries a mark and is compared with four memories: this process's own, the node's folder, the checkpoints
//! ([`super::floors`]), and (in [`super::Recorder::check_seen`]) what clients were told. The authority log is folded and must come to exactly the head's
//! authority tip, so no row of it can be left out, changed or made up.

use std::sync::Arc;

use strongroom_core::grant::Authority;
use strongroom_core::grant::authority::is_authority;
use strongroom_core::ids::{Digest, Index};
use strongroom_core::ledger::head::chain;
use strongroom_core::ledger::{Entry, Event, Head};
use strongroom_core::order::SignedOrder;

use super::floors::Floor;
use super::ledger::{Calls, Ledger, State, Stop};
use super::memory::NodeMemory;
use crate::catalog::{Above, AuthorityRow, Boundary, CatalogError, LockedHead, Tx};
use crate::tenants::Tenant;

/// Why a ledger's standing could not be had.
pub(super) enum LoadError {
    /// The catalog failed: nothing is known.
    Catalog(CatalogError),
    /// The ledger must go no further.
    Stop(Stop),
    /// The batches that ended at this size have left: the root there is to be looked up first.
    Left(Index),
}

impl From<Stop> for LoadError {
    fn from(stop: Stop) -> Self {
        Self::Stop(stop)
    }
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

/// Brings what this process left of a ledger's standing to what the catalog has now; none before entry 0. On a failure it is left
/// as it was. A `wary` one looks for rows above the head in every table: something stood where a batch was to go.
pub(super) async fn load(
    tx: &mut Tx,
    tenant: &Tenant,
    memory: &NodeMemory,
    ledger: &Ledger,
    floors: &[Floor],
    wary: bool,
    state: &mut Option<State>,
) -> Result<(), LoadError> {
    let locked = tx.head(&tenant.id, &tenant.ledger_key).await?;
    let (head, mut above) = locked.map_or((None, None), |LockedHead { head, above }| (Some(head), above));
    if wary && above.is_none() {
        above = tx.above_head(&tenant.id).await?.into_iter().min_by_key(|above| above.entry);
    }
    match (head, &mut *state) {
        (Some(head), Some(state)) if head == state.head => Ok(check_above(above)?),
        (Some(head), Some(state)) => catch_up(tx, tenant, ledger, head, above, state).await,
        (None, Some(state)) => diverged(format!("the ledger had {} entries, and its head is gone", state.head.size())),
        (head, None) => {
            let remembered = memory.recall(&tenant.id, &tenant.ledger_key).map_err(CatalogError::from)?;
            if let Some(seen) = remembered {
                let root = (seen.size, seen.tip);
                check_boundary(tx, tenant, ledger, head.as_ref(), root, "this node remembers").await?;
            }
            for floor in floors {
                let root = (floor.size, floor.root);
                check_boundary(tx, tenant, ledger, head.as_ref(), root, floor.who).await?;
            }
            let Some(head) = head else { return Ok(()) };
            check_above(above)?;
            let rows = tx.authority_from(&tenant.id, Index(0)).await?;
            let mut authority = Authority::default();
            fold(&mut authority, [0; 32], &rows, &head)?;
            *state = Some(State {
                head,
                authority: Arc::new(authority),
                denials: Default::default(),
                calls: Calls::default(),
                swept: 0,
                noted: Index(0),
            });
            Ok(())
        }
    }
}

/// Somebody else wrote: takes in what is newer.
async fn catch_up(
    tx: &mut Tx,
    tenant: &Tenant,
    ledger: &Ledger,
    head: Head,
    above: Option<Above>,
    state: &mut State,
) -> Result<(), LoadError> {
    let old = &state.head;
    let root = (old.size(), old.tip());
    check_boundary(tx, tenant, ledger, Some(&head), root, "this process left").await?;
    check_above(above)?;
    let rows = tx.authority_from(&tenant.id, old.size()).await?;
    fold(Arc::make_mut(&mut state.authority), old.authority_tip, &rows, &head)?;
    state.head = head;
    Ok(())
}

/// Nothing stands where the ledger will go on. A head that was put back is told first: what was above it is, then, too.
pub(super) fn check_above(above: Option<Above>) -> Result<(), Stop> {
    let made_up = |above| Stop::Integrity(format!("{above}, above the ledger's head: no node of the vault wrote it"));
    above.map_or(Ok(()), |above| Err(made_up(above)))
}

/// Whether the ledger with this head once ended at `size` with `tip`.
async fn check_boundary(
    tx: &mut Tx,
    tenant: &Tenant,
    ledger: &Ledger,
    head: Option<&Head>,
    (size, tip): (Index, Digest),
    who: &str,
) -> Result<(), LoadError> {
    let Some(head) = head else {
        return diverged(format!("{who} {size} entries, and the ledger's head is gone"));
    };
    if head.size() < size {
        return diverged(format!("{who} {size} entries, and the ledger has {}: it was put back", head.size()));
    }
    let found = if head.size() == size { Some(head.tip()) } else { root_at(tx, tenant, ledger, size).await? };
    match found {
        Some(found) if found == tip => Ok(()),
        _ => diverged(format!("{who} another ledger up to entry {size}: it was rewritten")),
    }
}

/// The root that the ledger had at `size`; none if no commit ended there.
pub(super) async fn root_at(
    tx: &mut Tx,
    tenant: &Tenant,
    ledger: &Ledger,
    size: Index,
) -> Result<Option<Digest>, LoadError> {
    match tx.boundary(&tenant.id, size).await? {
        Boundary::Tip(tip) => Ok(Some(tip)),
        Boundary::None => Ok(None),
        // Nothing that is far away is asked while the head is locked.
        Boundary::Left => ledger.root(size).ok_or(LoadError::Left(size)),
    }
}

/// Whether these rows are the whole authority log of a ledger with this head; what is wrong, if they are not.
pub(crate) fn check_authority(rows: &[AuthorityRow], head: &Head) -> Result<(), String> {
    fold(&mut Authority::default(), [0; 32], rows, head).map_err(|stop| stop.why().to_owned())
}

/// Takes rows of the authority log in; they must come to exactly what the head says.
pub(super) fn fold(authority: &mut Authority, from: [u8; 32], rows: &[AuthorityRow], head: &Head) -> Result<(), Stop> {
    let broken = Stop::Integrity;
    let mut tip = from;
    let mut next = Index(0);
    for row in rows {
        let wrong = |why: &str| broken(format!("the authority log's row of entry {} {why}", row.entry));
        let entry = Entry::from_bytes(&row.public).map_err(|error| wrong(&error.to_string()))?;
        if entry.event == Event::KeyRotatedDue {
            // No order of its own: an earlier one says that it is due.
            let admitted = entry.order.is_some_and(|order| authority.admit_due(&order, entry.time).is_ok());
            if entry.index != row.entry || entry.index < next || !admitted {
                return Err(wrong("is of no rotation that was due"));
            }
            tip = chain(&tip, &row.public);
            authority.apply_due(entry.time);
            next = Index(entry.index.0 + 1);
            continue;
        }
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
