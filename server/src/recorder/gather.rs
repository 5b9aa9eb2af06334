//! What a batch needs to know of the catalog before it is decided: each kind in one statement, read under the lock.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use strongroom_core::call::{Condition, Work};
use strongroom_core::grant::{Grant, Principal, Tally};
use strongroom_core::identity::Fingerprint;
use strongroom_core::ids::{DatasetId, Digest, GrantId, Index, Millis, ObjectId, OrderId, PutId};
use strongroom_core::names::ObjectPath;
use strongroom_core::order::Instruction;

use super::attempt::{Attempt, Visible};
use super::ledger::{Ledger, State};
use super::operators::Operators;
use super::queue::Waiting;
use super::receipts::{Accepted, receipts};
use super::request::Request;
use crate::catalog::objects::ObjectRow;
use crate::catalog::requests::RequestKey;
use crate::catalog::rewraps::Rewrap;
use crate::catalog::uploads::UploadState;
use crate::catalog::{CatalogError, PathRow, Tx};
use crate::tenants::Tenant;

/// What is known; the draft goes on from there and changes it as it decides.
#[derive(Default)]
pub(super) struct Known<'a> {
    /// Grants that attempts name, and those above them; or what is wrong with a grant's row.
    pub(super) grants: HashMap<GrantId, Result<Arc<Grant>, String>>,
    pub(super) usages: HashMap<GrantId, Tally>,
    pub(super) requests: HashMap<RequestKey, Request>,
    pub(super) orders: HashMap<OrderId, Accepted>,
    /// Objects by the put that made them.
    pub(super) puts: HashMap<PutId, KnownPut<'a>>,
    pub(super) ids: HashSet<ObjectId>,
    pub(super) slots: Slots<'a>,
    pub(super) uploads: HashMap<String, UploadState>,
    /// Whether the batch needs the sizes of objects that it may put itself, and those of what it may hide or replace.
    pub(super) keeps_sizes: bool,
    pub(super) sizes: HashMap<(Index, u32), u64>,
    /// Keys outside the tenant that hold grants of their own.
    pub(super) holders: HashSet<Fingerprint>,
    /// How far objects are wrapped anew, for orders to destroy a version of the tenant's key.
    pub(super) rewrap: Option<Rewrap>,
    /// Whether a tenant has this id or name already, for attempts to create it.
    pub(super) is_taken: bool,
}

/// An object as far as a repeated put looks at it.
pub(super) struct KnownPut<'a> {
    pub(super) holder: Fingerprint,
    pub(super) dataset: DatasetId,
    pub(super) path: Cow<'a, ObjectPath>,
    pub(super) content_root: Digest,
    pub(super) visible: Visible,
}

impl From<ObjectRow> for KnownPut<'_> {
    fn from(row: ObjectRow) -> Self {
        let visible = Visible { generation: row.generation, index: row.index, ordinal: row.ordinal };
        let path = Cow::Owned(row.path);
        Self { holder: row.holder, dataset: row.dataset, path, content_root: row.content_root, visible }
    }
}

/// The paths that a batch looks at or changes.
#[derive(Default)]
pub(super) struct Slots<'a> {
    of_path: HashMap<(DatasetId, &'a str), usize>,
    pub(super) all: Vec<Slot<'a>>,
}

/// A path, as it was and as the batch has it.
pub(super) struct Slot<'a> {
    pub(super) dataset: DatasetId,
    pub(super) path: &'a str,
    pub(super) was: PathRow,
    pub(super) is: PathRow,
}

impl<'a> Slots<'a> {
    fn enter(&mut self, dataset: DatasetId, path: &'a str) {
        let next = self.all.len();
        if *self.of_path.entry((dataset, path)).or_insert(next) == next {
            self.all.push(Slot { dataset, path, was: PathRow::default(), is: PathRow::default() });
        }
    }

    /// The slot of a path that was entered.
    pub(super) fn find(&self, dataset: DatasetId, path: &str) -> Option<usize> {
        self.of_path.get(&(dataset, path)).copied()
    }
}

/// Reads all that these attempts need.
pub(super) async fn gather<'a>(
    tx: &mut Tx,
    tenant: &Tenant,
    ledger: &Ledger,
    state: Option<&State>,
    waiting: &'a [Waiting],
    now: Millis,
    operators: &Operators,
) -> Result<Known<'a>, CatalogError> {
    let mut known = Known::default();
    let Some(state) = state else {
        for waiting in waiting {
            if let Attempt::CreateTenant(_, new) = &waiting.attempt {
                known.is_taken |= tx.tenant_exists(&new.id, &new.name).await?;
            }
        }
        return Ok(known);
    };
    let mut wanted = Wanted::default();
    waiting.iter().for_each(|waiting| wanted.want(waiting, state, &mut known.slots));
    let Wanted { mut grants, requests, orders, puts, ids, blobs, mut holders, sized, rewrap } = wanted;
    if state.noted < operators.size && !tenant.origin.is_operators() {
        // Whether the tenant knows a key that stands otherwise than its ledger says.
        let news = operators.authority.blocked().news(state.authority.blocked());
        holders.extend(news.map(|(key, _)| *key).filter(|key| !state.authority.has_known(key)));
    }
    if rewrap {
        known.rewrap = tx.rewrap(&tenant.id).await?;
    }
    if !requests.is_empty() {
        for (key, row) in tx.requests(&tenant.id, now, &requests).await? {
            known.requests.insert(key, Request::from_row(&row)?);
        }
    }
    if !orders.is_empty() {
        known.orders = receipts(tx, tenant, state, &orders).await?;
    }
    gather_grants(tx, tenant, ledger, &mut grants, &mut known).await?;
    if !puts.is_empty() {
        let found = tx.objects_of_puts(&tenant.id, &tenant.ledger_key, puts).await?;
        known.puts = found.into_iter().map(|object| (object.put, object.into())).collect();
        known.ids = tx.taken_ids(&tenant.id, &ids).await?.into_iter().collect();
        known.uploads = tx.uploads(&tenant.id, blobs).await?;
    }
    if !known.slots.all.is_empty() {
        let places: Vec<(DatasetId, &str)> = known.slots.all.iter().map(|slot| (slot.dataset, slot.path)).collect();
        for (slot, found) in known.slots.all.iter_mut().zip(tx.paths(&places).await?) {
            slot.was = found;
            slot.is = found;
        }
    }
    if !sized.is_empty() {
        known.keeps_sizes = true;
        let slots = sized.iter().filter_map(|(dataset, path)| known.slots.find(*dataset, path));
        let visible: HashMap<(Index, u32), usize> = slots
            .filter_map(|slot| known.slots.all[slot].was.visible.map(|(_, index, ordinal)| ((index, ordinal), slot)))
            .collect();
        for object in tx.objects_at(&tenant.id, &tenant.ledger_key, visible.keys().copied()).await? {
            let slot = visible.get(&(object.index, object.ordinal)).map(|slot| &known.slots.all[*slot]);
            // A path that was made to stand for another path's object has no size here, and cannot be deleted.
            if slot.is_some_and(|slot| slot.dataset == object.dataset && slot.path == object.path.as_str()) {
                known.sizes.insert((object.index, object.ordinal), object.size);
            }
        }
    }
    if !holders.is_empty() {
        known.holders = tx.holders(&tenant.id, &holders).await?;
    }
    Ok(known)
}

async fn gather_grants(
    tx: &mut Tx,
    tenant: &Tenant,
    ledger: &Ledger,
    wanted: &mut Vec<GrantId>,
    known: &mut Known<'_>,
) -> Result<(), CatalogError> {
    // Once for the grants that are named, and once more for each generation of ancestors that is not in memory.
    while !wanted.is_empty() {
        wanted.sort_unstable();
        wanted.dedup();
        let mut missing = Vec::new();
        let mut above = Vec::new();
        for id in wanted.drain(..) {
            match ledger.grant(&id) {
                Some(grant) => {
                    above.extend(grant.terms.parent);
                    known.grants.insert(id, Ok(grant));
                }
                None => missing.push(id),
            }
        }
        if !missing.is_empty() {
            for (id, grant) in tx.grants(&tenant.id, &tenant.ledger_key, &missing).await? {
                let grant = grant.map(Arc::new);
                if let Ok(grant) = &grant {
                    above.extend(grant.terms.parent);
                    ledger.keep_grant(grant.clone());
                }
                known.grants.insert(id, grant);
            }
        }
        above.retain(|id| !known.grants.contains_key(id));
        *wanted = above;
    }
    let mut missing = Vec::new();
    for id in known.grants.keys() {
        match ledger.usage(id) {
            Some(usage) => drop(known.usages.insert(*id, usage)),
            None => missing.push(*id),
        }
    }
    if !missing.is_empty() {
        let found = tx.usages(&tenant.id, &missing).await?;
        let read: Vec<_> = missing.iter().map(|id| (*id, found.get(id).copied().unwrap_or_default())).collect();
        known.usages.extend(read.iter().copied());
        ledger.keep_usages(read);
    }
    Ok(())
}

/// What the attempts of a batch name.
#[derive(Default)]
struct Wanted<'a> {
    grants: Vec<GrantId>,
    requests: Vec<RequestKey>,
    orders: Vec<OrderId>,
    puts: Vec<&'a PutId>,
    ids: Vec<ObjectId>,
    blobs: HashSet<&'a str>,
    holders: Vec<Fingerprint>,
    /// Places of which it is to be known what size their objects have.
    sized: Vec<(DatasetId, &'a str)>,
    rewrap: bool,
}

impl<'a> Wanted<'a> {
    fn want(&mut self, waiting: &'a Waiting, state: &State, slots: &mut Slots<'a>) {
        if let Some(call) = waiting.attempt.call() {
            self.grants.extend(call.grant());
            self.requests.extend(waiting.request);
        }
        match &waiting.attempt {
            Attempt::Release(release) if release.hides != state.head.hides => {
                for part in &release.parts {
                    slots.enter(part.object.dataset, part.object.path.as_str());
                }
            }
            Attempt::Release(_) | Attempt::RotateDue(_) | Attempt::CreateTenant(..) => {}
            Attempt::Put(put) => {
                for object in &put.objects {
                    slots.enter(object.dataset, object.path.as_str());
                    if matches!(object.condition, Condition::Rekey(_)) {
                        self.sized.push((object.dataset, object.path.as_str()));
                    }
                    self.puts.push(&object.put);
                    self.ids.push(object.header.object_id());
                    self.blobs.insert(&object.blob);
                }
            }
            Attempt::Delete(delete) => {
                let Work::Delete(items) = &delete.call.signed.call.work else { return };
                for item in items {
                    if let Some(dataset) = state.authority.dataset(&item.dataset) {
                        slots.enter(dataset.id, item.path.as_str());
                        self.sized.push((dataset.id, item.path.as_str()));
                    }
                }
            }
            Attempt::Order(order) => {
                self.orders.push(order.verified.id());
                if state.authority.principal(&order.caller.key) == Principal::Key {
                    self.holders.push(order.caller.key);
                }
                match &order.verified.order().instruction {
                    Instruction::RevokeGrant { grant, .. } | Instruction::RenewGrant { grant, .. } => {
                        self.grants.push(*grant);
                    }
                    Instruction::DestroyKey { .. } => self.rewrap = true,
                    Instruction::IssueGrant(terms) => self.grants.extend(terms.parent),
                    _ => {}
                }
            }
            Attempt::Denied(denied) => {
                if state.authority.principal(&denied.caller.key) == Principal::Key {
                    self.holders.push(denied.caller.key);
                }
            }
        }
    }
}
