//! After a rotation: every object's root is wrapped anew under the newest version of its tenant's key, while reads and writes go on.
//!
//! ```text
//! order to rotate ─► recorded, new version active ─► pages: read ─► KeyHolder::rewrap ─► stored … ─► finished
//! ```
//!
//! What is to be done stands in the catalog, so a crash anywhere loses one page's work, and any node goes on. Readers take a row as
//! it is: either version of the key opens what is wrapped under it, until an admin has the old one destroyed.

use std::sync::Arc;
use std::time::Duration;

use strongroom_core::ids::{Index, Millis, OrderId, TenantId};
use strongroom_core::keys::secret::Key;
use strongroom_core::keys::wrap::{Purpose, RootTuple};
use strongroom_core::names::TenantName;
use strongroom_core::order::Instruction;
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::catalog::rewraps::{Page, Rewrap, Step, Stored};
use crate::error::Error;
use crate::recorder::attempt::{Attempt, Caller, Order, Recorded};
use crate::tenants::Tenant;
use crate::vault::Vault;
use crate::vault::authority::{accept, carried_out};

/// Objects of one step, where their roots lie in their own rows. It holds the writer of SQLite for some ten milliseconds.
const STEP: u32 = 2048;
/// Objects of one step, where most roots lie sixteen to a row.
const LONG_STEP: u32 = 8192;
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
    let key = Key::random_in_box().map_err(|_| Error::Unavailable("the system gave no randomness".into()))?;
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
async fn work(vault: &Arc<Vault>, id: &TenantId, stop: &CancellationToken) -> Result<(), Error> {
    let row = vault.catalog.tenant(id).await?.ok_or(Error::UnknownTenant)?;
    let tenant = vault.tenants.find(&row.name).await?;
    if !vault.catalog.lease_rewrap(id, &vault.node, vault.recorder.now(), lease(vault)).await? {
        return Ok(());
    }
    while !stop.is_cancelled() {
        let Some(from) = vault.catalog.rewrap(id).await?.filter(|rewrap| rewrap.finished.is_none()) else {
            return Ok(());
        };
        if pass(vault, &tenant, from, stop).await? {
            continue;
        }
        if vault.catalog.finish_rewrap(id, from, vault.recorder.now()).await? {
            tracing::info!(tenant = %tenant.name, version = from.version, done = from.done, skipped = from.skipped,
                "all keys are wrapped under the newest version");
        }
    }
    Ok(())
}

fn lease(vault: &Vault) -> Millis {
    Millis(vault.recorder.now().0.saturating_add(LEASE))
}

/// Goes on from where the rewrap is, as far as nobody comes between; `false` if there was nothing behind it.
async fn pass(vault: &Arc<Vault>, tenant: &Arc<Tenant>, from: Rewrap, stop: &CancellationToken) -> Result<bool, Error> {
    // While a step is stored, the next is wrapped and the one after it read.
    let (send, mut steps) = mpsc::channel(1);
    let reading = tokio::spawn(read_ahead(vault.clone(), tenant.clone(), from, send));
    let mut any = false;
    while let Some(step) = steps.recv().await {
        any = true;
        let step = step.await.map_err(|_| broken_off())??;
        if !step.is_whole() {
            vault.catalog.settle_broken(&tenant.id, &step).await?;
            break;
        }
        // If another node was faster, or an object expired meanwhile, what is there now is read anew.
        if vault.catalog.store_rewrapped(&tenant.id, &step, lease(vault)).await? == Stored::Moved {
            break;
        }
        for (Index(index), ordinal) in &step.skipped {
            tracing::error!(tenant = %tenant.name, index, ordinal, "a key does not open and is not wrapped anew");
        }
        if stop.is_cancelled() {
            break;
        }
    }
    drop(steps);
    reading.await.map_err(|_| broken_off())??;
    Ok(any)
}

fn broken_off() -> Error {
    Error::Unavailable("wrapping keys anew was broken off".into())
}

/// Reads page after page and has each wrapped, until there are no more or nobody takes them.
async fn read_ahead(
    vault: Arc<Vault>,
    tenant: Arc<Tenant>,
    from: Rewrap,
    steps: mpsc::Sender<JoinHandle<Result<Step, Error>>>,
) -> Result<(), Error> {
    let (mut place, mut limit) = (from.place, STEP);
    while let Some(page) = vault.catalog.rewrap_page(&tenant.id, from.version, place, limit).await? {
        place = page.place;
        let (own, all) = page.count();
        limit = if own * 4 > all { STEP } else { LONG_STEP };
        let (vault, tenant, runtime) = (vault.clone(), tenant.clone(), Handle::current());
        // Apart from the threads that serve: it takes them for as long as a hundred reads.
        let wrapping = tokio::task::spawn_blocking(move || runtime.block_on(wrap(&vault, &tenant, page, from.version)));
        if steps.send(wrapping).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// Wraps a page's roots anew.
async fn wrap(vault: &Vault, tenant: &Tenant, page: Page, version: u32) -> Result<Step, Error> {
    let moved = vault.keys.rewrap(tenant, &page.rows(tenant.id), version).await?;
    Ok(page.step(moved))
}
