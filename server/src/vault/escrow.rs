//! Escrow: every version of a tenant's key is sealed to the recipients that its admins named, so that what it seals can be opened
//! without this server; and the export that goes with it.
//!
//! ```text
//! order ─► recorded ─► (soon, on any node) KeyHolder::escrow: what the authority says and is not there ─► rows
//! ```
//!
//! A rotation makes a version, and the same follows. What is due stands in the catalog, so a crash anywhere loses nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use strongroom_core::escrow::{ExportHead, ExportedObject, FORMAT, SealedVersion};
use strongroom_core::grant::{Authority, Principal, Refusal};
use strongroom_core::ids::{Digest, Index, OrderId, TenantId};
use strongroom_core::names::TenantName;
use strongroom_core::order::{Instruction, VerifiedOrder};
use strongroom_core::reason::Reason;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::catalog::objects::ObjectRow;
use crate::error::Error;
use crate::recorder::attempt::{Caller, Recorded};
use crate::tenants::Tenant;
use crate::vault::Vault;
use crate::vault::authority::{self, accept};
use crate::vault::plan::is_shredded;

/// The pause between looks for work that no node told of.
const EVERY: Duration = Duration::from_secs(2);
/// Rows of one page of an export.
const PAGE: u32 = 512;
/// Bytes of one message of an export, or a line more.
const MESSAGE: usize = 192 * 1024;

/// Tenants whose keys are sealed at once.
const TENANTS_AT_ONCE: usize = 8;

/// How long nothing is tried for a tenant after something was in the way: a plugin is a process each time.
const AFTER_TROUBLE: Duration = Duration::from_secs(10);

/// Tells the node's task that there may be something to do.
#[derive(Default)]
pub(crate) struct Escrows {
    wake: Notify,
    /// What was last in the way of this node, and when it tries again.
    troubles: Mutex<HashMap<TenantId, (Instant, String)>>,
}

impl Escrows {
    /// There is.
    pub(crate) fn tell(&self) {
        self.lock().values_mut().for_each(|(again, _)| *again = Instant::now());
        self.wake.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TenantId, (Instant, String)>> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A part of an export.
pub(crate) enum Part {
    /// Whole lines of objects.
    Objects(Bytes),
    /// The end: exact JSON of the head, whose count and checksum are the receiver's to fill in.
    Head(Bytes),
}

/// Has an order recorded that says to whom the key's versions are sealed.
pub(crate) async fn set(
    vault: &Vault,
    caller: Caller,
    tenant: &TenantName,
    bytes: &[u8],
) -> Result<(Recorded, OrderId), Error> {
    let fits = |instruction: &Instruction| matches!(instruction, Instruction::SetEscrow { .. });
    try_out(vault, tenant, &accept(bytes, fits)?).await?;
    let done = authority::order(vault, caller, tenant, bytes, fits).await?;
    vault.escrows.tell();
    Ok(done)
}

/// Whether each recipient that an admin's order adds can be sealed to, here and now. Those that were there before are not asked about:
/// whoever takes one of them out must not need its plugin.
async fn try_out(vault: &Vault, tenant: &TenantName, order: &VerifiedOrder) -> Result<(), Error> {
    let Instruction::SetEscrow { recipients } = &order.order().instruction else { return Ok(()) };
    let tenant = vault.tenants.find(tenant).await?;
    let authority = vault.recorder.view(&tenant).await?.authority;
    // A program is run for admins alone; what anybody else ordered is refused where it is decided.
    if !order.signers().iter().any(|key| authority.principal(key) == Principal::Admin) {
        return Ok(());
    }
    for recipient in recipients.iter().filter(|recipient| !authority.escrow().contains(recipient)) {
        if vault.recipients.is_plugins(recipient)? {
            vault.recipients.seal(recipient, Zeroizing::new(b"strongroom/v1/try".to_vec())).await?;
        }
    }
    Ok(())
}

/// Whether all is sealed that should be, as far as is known; if not, what was last in this node's way, if anything was.
pub(crate) async fn progress(vault: &Vault, tenant: &Tenant) -> Result<(bool, Option<String>), Error> {
    if !vault.catalog.is_escrow_due(&tenant.id).await? {
        return Ok((true, None));
    }
    Ok((false, vault.escrows.lock().get(&tenant.id).map(|(_, why)| why.clone())))
}

/// Seals what is to be, now and whenever there is more, until it is told to stop.
pub(crate) async fn run(vault: Arc<Vault>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        tokio::select! {
            // What is broken off is still due. A plugin that is waited for is ended with this process.
            () = stop.cancelled() => return,
            () = seal_due(&vault) => {}
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = vault.escrows.wake.notified() => {}
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

async fn seal_due(vault: &Vault) {
    let due = match vault.catalog.escrows_due().await {
        Ok(due) => due,
        Err(error) => return tracing::warn!(%error, "could not look for keys to seal to their escrow"),
    };
    let is_to_wait = |tenant: &TenantId| {
        let again = vault.escrows.lock().get(tenant).map(|(again, _)| *again);
        again.is_some_and(|again| Instant::now() < again)
    };
    let due = stream::iter(due).filter(|(tenant, _)| std::future::ready(!is_to_wait(tenant)));
    // A tenant whose plugin hangs does not keep the others waiting.
    due.for_each_concurrent(TENANTS_AT_ONCE, |(tenant, entry)| async move {
        let sealed = seal(vault, &tenant, entry).await;
        let mut troubles = vault.escrows.lock();
        match sealed {
            Ok(()) => drop(troubles.remove(&tenant)),
            Err(error) => {
                tracing::warn!(%tenant, %error, "keys are not sealed to all of their escrow; it goes on soon");
                troubles.insert(tenant, (Instant::now() + AFTER_TROUBLE, error.to_string()));
            }
        }
    })
    .await;
}

/// What should be sealed: each version that there is, to each recipient.
fn wanted(authority: &Authority) -> BTreeSet<(u32, String)> {
    let versions = (1..=authority.key_version()).filter(|version| authority.has_key(*version));
    versions.flat_map(|version| authority.escrow().iter().map(move |to| (version, to.clone()))).collect()
}

async fn seal(vault: &Vault, id: &TenantId, entry: Index) -> Result<(), Error> {
    let row = vault.catalog.tenant(id).await?.ok_or(Error::UnknownTenant)?;
    let tenant = vault.tenants.find(&row.name).await?;
    let authority = vault.recorder.view(&tenant).await?.authority;
    let wanted = wanted(&authority);
    let there: BTreeSet<(u32, String)> =
        vault.catalog.escrows(id).await?.into_iter().map(|(version, to, _)| (version, to)).collect();
    let out: Vec<_> = there.difference(&wanted).cloned().collect();
    let mut missing: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for (version, to) in wanted.difference(&there) {
        missing.entry(*version).or_default().push(to.clone());
    }
    let (mut sealed, mut in_the_way) = (Vec::new(), None);
    for (version, to) in missing {
        for (to, message) in vault.keys.escrow(&tenant, &authority, version, &to).await? {
            match message {
                Ok(message) => sealed.push((version, to, message)),
                Err(error) => in_the_way = Some(error),
            }
        }
        // One that cannot be sealed to does not keep the others waiting, nor is every version tried with it.
        if in_the_way.is_some() {
            break;
        }
    }
    vault.catalog.set_escrows(id, entry, &out, &sealed, in_the_way.is_none()).await?;
    tracing::info!(tenant = %tenant.name, sealed = sealed.len(), removed = out.len(), "the key's versions are in escrow");
    in_the_way.map_or(Ok(()), |error| Err(error.into()))
}

/// All that is needed to open a tenant's objects with an identity of its escrow and the blobs: rows, and last the sealed keys.
///
/// # Errors
/// `PRECONDITION_FAILED` if the tenant has no escrow; `UNAVAILABLE` while its keys are still being sealed.
pub(crate) async fn export(
    vault: Arc<Vault>,
    tenant: Arc<Tenant>,
) -> Result<BoxStream<'static, Result<Part, Error>>, Error> {
    let authority = vault.recorder.view(&tenant).await?.authority;
    if authority.escrow().is_empty() {
        let words = "the tenant has no escrow: nobody could open what is exported";
        return Err(Refusal::new(Reason::PreconditionFailed, words).into());
    }
    check_sealed(&vault, &tenant).await?;
    let pages = stream::unfold((vault, tenant, Some(None)), |(vault, tenant, after)| async move {
        // After the head nothing follows.
        let after = after?;
        match page(&vault, &tenant, after).await {
            Ok((parts, Some(next))) => Some((Ok(parts), (vault, tenant, Some(Some(next))))),
            Ok((mut parts, None)) => {
                let head = head(&vault, &tenant).await.map(Part::Head);
                let last = head.map(|head| {
                    parts.push(head);
                    parts
                });
                Some((last, (vault, tenant, None)))
            }
            Err(error) => Some((Err(error), (vault, tenant, None))),
        }
    });
    let parts = pages.flat_map(|parts| match parts {
        Ok(parts) => stream::iter(parts.into_iter().map(Ok).collect::<Vec<_>>()),
        Err(error) => stream::iter(vec![Err(error)]),
    });
    Ok(parts.boxed())
}

async fn check_sealed(vault: &Vault, tenant: &Tenant) -> Result<(), Error> {
    match progress(vault, tenant).await? {
        (true, _) => Ok(()),
        (false, None) => {
            Err(Error::Unavailable("the keys are being sealed to their escrow: try again in a moment".into()))
        }
        (false, Some(why)) => {
            Err(Error::Unavailable(format!("the keys are not sealed to all of their escrow: {why}").into()))
        }
    }
}

/// Lines of the next page, and where to go on; none at the end.
async fn page(
    vault: &Vault,
    tenant: &Arc<Tenant>,
    after: Option<(Index, u32)>,
) -> Result<(Vec<Part>, Option<(Index, u32)>), Error> {
    let rows = vault.catalog.export_page(&tenant.id, &tenant.ledger_key, after, PAGE).await?;
    let authority = vault.recorder.view(tenant).await?.authority;
    let next = rows.last().map(|(row, _)| (row.index, row.ordinal));
    let (mut parts, mut lines) = (Vec::new(), Vec::new());
    for (row, visible) in rows {
        if is_shredded(&authority, &row) {
            continue;
        }
        let line = exported(row, visible).line().map_err(|error| Error::Integrity(error.to_string().into()))?;
        lines.extend_from_slice(&line);
        if lines.len() >= MESSAGE {
            parts.push(Part::Objects(std::mem::take(&mut lines).into()));
        }
    }
    if !lines.is_empty() {
        parts.push(Part::Objects(lines.into()));
    }
    Ok((parts, next))
}

fn exported(row: ObjectRow, visible: bool) -> ExportedObject {
    ExportedObject {
        dataset: row.dataset,
        dataset_name: row.dataset_name,
        path: row.path,
        generation: row.generation,
        visible,
        header: row.header,
        size: row.size,
        content_root: row.content_root,
        key_version: row.key_version,
        wrapped: ExportedObject::wrapped_text(&row.wrapped),
        blob: row.blob,
        offset: row.offset,
    }
}

async fn head(vault: &Vault, tenant: &Tenant) -> Result<Bytes, Error> {
    check_sealed(vault, tenant).await?;
    let sealed = vault.catalog.escrows(&tenant.id).await?;
    let head = ExportHead {
        format: FORMAT.to_owned(),
        ledger: tenant.origin.clone(),
        name: tenant.name.clone(),
        made: vault.recorder.now(),
        keys: sealed.into_iter().map(|(version, to, message)| SealedVersion::new(version, to, &message)).collect(),
        objects: 0,
        digest: Digest::from_bytes([0; 32]),
    };
    let bytes = strongroom_core::exact::to_vec(&head).map_err(|error| Error::Integrity(error.to_string().into()))?;
    Ok(bytes.into())
}
