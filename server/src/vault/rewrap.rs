//! After a rotation: every object's root is wrapped anew under the newest version of its tenant's key, while reads and writes go on.
//!
//! ```text
//! order to rotate ─► recorded, new version active ─► page of rows ─► KeyHolder::rewrap ─► stored ─► next page … ─► finished
//! ```
//!
//! What is to be done stands in the catalog, so a crash anywhere loses one page's work, and any node goes on. Readers take a row as
//! it is: either version of the key opens what is wrapped under it, until an admin has the old one destroyed.

use std::sync::Arc;
use std::time::Duration;

use strongroom_core::ids::{Index, Millis, OrderId, TenantId};
use strongroom_core::keys::secret::Key;
use strongroom_core::keys::wrap::{Purpose, RootTuple, WrapTuple, Wrapped};
use strongroom_core::names::TenantName;
use strongroom_core::order::Instruction;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::catalog::objects::ObjectRow;
use crate::catalog::rewraps::{Page, Rewrap, Rewrapped};
use crate::error::Error;
use crate::keys::{KeyError, wrapped_for};
use crate::recorder::attempt::{Attempt, Caller, Order, Recorded};
use crate::tenants::Tenant;
use crate::vault::Vault;
use crate::vault::authority::{accept, carried_out};

/// Rows of one step. It holds the writer of SQLite for some ten milliseconds.
const STEP: u32 = 2048;
/// The pause between looks for work that no node told of.
const EVERY: Duration = Duration::from_secs(2);
/// How long a node has the work for itself after its last sign: 10 seconds, in milliseconds.
const LEASE: u64 = 10_000;

/// Tells the node's task that there may be something to do.
#[derive(Default)]
pub(crate) struct Rewraps(Notify);

impl Rewraps {
    /// There is.
    pub(crate) fn tell(&self) {
        self.0.notify_one();
    }
}

/// Makes the next version of the tenant's key and has it recorded as the active one. Its objects are wrapped anew from then on.
pub(crate) async fn rotate(
    vault: &Vault,
    caller: Caller,
    tenant: &TenantName,
    bytes: &[u8],
) -> Result<(Recorded, OrderId), Error> {
    let verified = accept(bytes, |instruction| matches!(instruction, Instruction::RotateKey { .. }))?;
    let Instruction::RotateKey { version } = verified.order().instruction else {
        return Err(Error::Invalid("the order is another one than this method carries out".into()));
    };
    let tenant = vault.tenants.find(tenant).await?;
    let _wrapping = vault.rotations.wrapping().await;
    let new_key = Some(new_key(vault, &tenant, version).await?);
    let id = verified.id();
    let attempt = Attempt::Order(Box::new(Order { new_key, ..Order::new(caller, verified) }));
    let done = carried_out(vault.recorder.record(&tenant, attempt).await?, id)?;
    vault.rewraps.tell();
    vault.escrows.tell();
    Ok(done)
}

/// A fresh tenant key, wrapped by the root key. Whoever makes one keeps the turn to wrap until it is recorded.
pub(super) async fn new_key(vault: &Vault, tenant: &Tenant, version: u32) -> Result<Vec<u8>, Error> {
    let key = Key::random().map_err(|_| Error::Unavailable("the system gave no randomness".into()))?;
    let place = RootTuple {
        purpose: Purpose::TenantKey,
        vault: vault.id,
        tenant: Some((tenant.id, tenant.name.as_str())),
        version,
    };
    Ok(vault.root.wrap(&place, &key).await?)
}

/// Destroys a version of the tenant's key, if nothing is under it.
pub(crate) async fn destroy(
    vault: &Vault,
    caller: Caller,
    tenant: &TenantName,
    bytes: &[u8],
) -> Result<(Recorded, OrderId), Error> {
    let fits = |instruction: &Instruction| matches!(instruction, Instruction::DestroyKey { .. });
    let done = crate::vault::authority::order(vault, caller, tenant, bytes, fits).await?;
    // Pages that were overwritten may still stand in the database's log, until somebody who reads is done; retention tries again.
    if let Err(error) = vault.catalog.clear_log().await {
        tracing::warn!(%error, "the database's log could not be cleared of a destroyed key");
    }
    Ok(done)
}

/// How far a tenant's objects are wrapped under its newest key; none if the key was never rotated.
pub(crate) async fn status(vault: &Vault, tenant: &Tenant) -> Result<Option<Rewrap>, Error> {
    Ok(vault.catalog.rewrap(&tenant.id).await?)
}

/// Wraps anew what is to be, now and whenever there is more, until it is told to stop.
pub(crate) async fn run(vault: Arc<Vault>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        match vault.catalog.unfinished_rewraps().await {
            Ok(tenants) => {
                for tenant in tenants {
                    if let Err(error) = work(&vault, &tenant, &stop).await {
                        tracing::warn!(%tenant, %error, "wrapping keys anew was broken off; it goes on soon");
                    }
                }
            }
            Err(error) => tracing::warn!(%error, "could not look for keys to wrap anew"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = vault.rewraps.0.notified() => {}
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

/// Works on one tenant until nothing is left, or another node has the work.
async fn work(vault: &Vault, id: &TenantId, stop: &CancellationToken) -> Result<(), Error> {
    let row = vault.catalog.tenant(id).await?.ok_or(Error::UnknownTenant)?;
    let tenant = vault.tenants.find(&row.name).await?;
    let lease = || Millis(vault.recorder.now().0.saturating_add(LEASE));
    if !vault.catalog.lease_rewrap(id, &vault.node, vault.recorder.now(), lease()).await? {
        return Ok(());
    }
    while !stop.is_cancelled() {
        let Some(from) = vault.catalog.rewrap(id).await?.filter(|rewrap| rewrap.finished.is_none()) else {
            return Ok(());
        };
        let page = vault.catalog.rewrap_page(id, &tenant.ledger_key, from.version, from.place, STEP).await?;
        let Some(place) = page.last().map(|(place, _)| *place) else {
            if vault.catalog.finish_rewrap(id, from, vault.recorder.now()).await? {
                tracing::info!(tenant = %tenant.name, version = from.version, done = from.done, skipped = from.skipped,
                    "all keys are wrapped under the newest version");
            }
            continue;
        };
        let (objects, damaged) = split(&tenant, page);
        let (rows, unopened) = wrap(vault, &tenant, &objects, from.version).await?;
        let step = Rewrapped { from, rows, skipped: damaged + unopened, place };
        // If another node was faster, its place is read next.
        vault.catalog.store_rewrapped(id, &step, lease()).await?;
    }
    Ok(())
}

/// The objects of a page, and how many of its rows do not carry their mark.
fn split(tenant: &Tenant, page: Page) -> (Vec<ObjectRow>, u64) {
    let mut objects = Vec::with_capacity(page.len());
    let mut damaged = 0;
    for ((index, ordinal), row) in page {
        match row {
            Ok(object) => objects.push(object),
            Err(error) => {
                damaged += 1;
                tracing::error!(tenant = %tenant.name, %index, ordinal, %error, "a key is not wrapped anew");
            }
        }
    }
    (objects, damaged)
}

/// The objects' new wrapped roots, and how many do not open.
async fn wrap<'a>(
    vault: &Vault,
    tenant: &Tenant,
    objects: &'a [ObjectRow],
    version: u32,
) -> Result<(Vec<(&'a ObjectRow, Wrapped)>, u64), Error> {
    let rows: Vec<(WrapTuple<'_>, Wrapped)> =
        objects.iter().map(|object| (wrapped_for(tenant.id, object), object.wrapped)).collect();
    match vault.keys.rewrap(tenant, &rows, version).await {
        Ok(wrapped) => return Ok((objects.iter().zip(wrapped).collect(), 0)),
        Err(KeyError::Unwrap(_) | KeyError::NoTenantKey { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    // One of them does not open: the others are none the worse for it.
    let mut done = Vec::with_capacity(objects.len());
    let mut unopened = 0;
    for (object, row) in objects.iter().zip(&rows) {
        match vault.keys.rewrap(tenant, std::slice::from_ref(row), version).await {
            Ok(wrapped) => done.extend(wrapped.into_iter().map(|wrapped| (object, wrapped))),
            Err(error @ (KeyError::Unwrap(_) | KeyError::NoTenantKey { .. })) => {
                unopened += 1;
                let Index(index) = object.index;
                tracing::error!(tenant = %tenant.name, index, ordinal = object.ordinal, %error, "a key is not wrapped anew");
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok((done, unopened))
}
