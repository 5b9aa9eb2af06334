//! One root key gives way to another, while the vault serves: of another file, or at another keeper.
//!
//! ```text
//! begin: the new one made and tried ─► root.next.toml ─► it unwraps ─► every node says that it has it ─► it wraps ─┐
//! ┌── every node says that it wraps with it ◄────────────────────────────────────────────────────────────────────────┘
//! └─► cells that do not begin with its signpost, page by page ─► unwrapped, wrapped, put in place
//!     └─► none left, twice ─► vault.json ─► strongroom.toml ─► the old one is let go of
//! ```
//!
//! Invariants:
//! - Nothing is wrapped with the new key before every node that lives can open it.
//! - What was wrapped with the old key is committed before this node says that it wraps with the new one: who wraps holds
//!   [`Rotations::wrapping`] until the commit.
//! - The old key is let go of when nothing is under it; a cell that does not open keeps it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use strongroom_core::ids::{Millis, NodeId};
use strongroom_core::keys::secret::{Key, random_bytes};
use strongroom_core::keys::wrap::{Purpose, RootTuple};
use tokio::sync::{Mutex, Notify, RwLock, RwLockReadGuard, watch};
use tokio_util::sync::CancellationToken;

use crate::catalog::roots::{Cell, KINDS, OtherNode};
use crate::config::RootProvider;
use crate::error::Error;
use crate::init::{sync_folder, write_new};
use crate::keys::KeyError;
use crate::keys::root::new::NewRoot;
use crate::keys::root::ring::{Roots, signpost};
use crate::keys::root::{RootKey, Secret, folder, open, settled};
use crate::keys::vault::VaultFile;
use crate::vault::Vault;

/// Cells of one step.
const STEP: u32 = 64;
/// The pause between two looks, while a root key takes over and while none does.
const EVERY: Duration = Duration::from_secs(1);
const AT_REST: Duration = Duration::from_secs(4);
/// How long what a node says of itself holds: 15 seconds, in milliseconds.
const HOLDS: u64 = 15_000;

/// The root keys of this node, and what moves them.
pub(crate) struct Rotations {
    pub(crate) roots: Arc<Roots>,
    folder: std::path::PathBuf,
    /// How long a plugin of age may take.
    patience: Duration,
    gate: RwLock<()>,
    beginning: Mutex<()>,
    wake: Notify,
    progress: watch::Sender<Progress>,
}

/// How far a rotation of the root key is, as this node sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The newest root key.
    pub root: String,
    /// Who keeps it.
    pub provider: String,
    /// Whether another one gives way to it.
    pub rotating: bool,
    /// Secrets that root keys wrap in the catalog.
    pub total: u64,
    /// Of these, how many it has wrapped.
    pub done: u64,
    /// Nodes that do not have it yet; nothing is wrapped anew before they do.
    pub waiting_for: Vec<String>,
    /// Secrets that do not open, and so keep the old root key.
    pub unopened: u64,
    /// What last came in the way.
    pub error: Option<String>,
}

impl Rotations {
    pub(crate) fn new(
        roots: Arc<Roots>,
        folder: &Path,
        provider: &RootProvider,
        rotating: bool,
        patience: Duration,
    ) -> Self {
        let progress = Progress {
            root: roots.newest().id(),
            provider: provider.name().to_owned(),
            rotating,
            ..Progress::default()
        };
        Self {
            roots,
            folder: folder.to_owned(),
            patience,
            gate: RwLock::default(),
            beginning: Mutex::default(),
            wake: Notify::default(),
            progress: watch::Sender::new(progress),
        }
    }

    /// Whoever wraps something that is to be committed holds this until it is.
    pub(crate) async fn wrapping(&self) -> RwLockReadGuard<'_, ()> {
        self.gate.read().await
    }

    /// How far it is, now and as it goes.
    pub(crate) fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// From now on this root key wraps.
    async fn switch(&self, root: &str) {
        // What was wrapped with the old key is committed first.
        let _alone = self.gate.write().await;
        self.roots.switch(root);
    }

    /// Makes a new root key, and has it take over.
    pub(crate) async fn begin(&self, new: NewRoot) -> Result<(), Error> {
        let _one = self.beginning.lock().await;
        self.check()?;
        let name: [u8; 4] = random_bytes().map_err(KeyError::from)?;
        let name = format!("root-{}", data_encoding::HEXLOWER.encode(&name));
        let made = new.make(&self.folder, &name, self.patience).await?;
        self.try_out(made.root.as_ref()).await?;
        for (path, bytes) in &made.files {
            write_new(path, bytes).map_err(Error::io(path.display().to_string()))?;
        }
        sync_folder(&self.folder).map_err(|error| Error::Unavailable(error.to_string().into()))?;
        let root = settled(&made.provider, made.root).await?;
        folder::begin(&self.folder, &made.provider)?;
        self.take_over(root, &made.provider);
        Ok(())
    }

    /// Has the root key take over that another node of this vault began with: its files and `root.next.toml` were copied here.
    pub(crate) async fn join(&self, secret: Option<Secret>) -> Result<(), Error> {
        let _one = self.beginning.lock().await;
        if self.progress.borrow().rotating {
            return Err(Error::Invalid("this node takes part already".into()));
        }
        let next = folder::next(&self.folder)?;
        let next = next.ok_or(Error::NotFound("there is no root.next.toml in this node's folder".into()))?;
        let root = open(&next, secret, self.patience).await?;
        self.try_out(root.as_ref()).await?;
        self.take_over(root, &next);
        Ok(())
    }

    fn check(&self) -> Result<(), Error> {
        let refuse = |why: String| Err(KeyError::Refused(why).into());
        if self.progress.borrow().rotating || folder::next(&self.folder)?.is_some() {
            return refuse("another root key is taking over already; root status tells how far it is".to_owned());
        }
        // They would win over what is written at the end.
        let set = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        let mut set = set.filter(|name| name.starts_with("STRONGROOM_ROOT_") && name != crate::config::ROOT_PASSPHRASE);
        set.next().map_or(Ok(()), |name| {
            refuse(format!("{name} is set in the server's environment: move it to strongroom.toml first"))
        })
    }

    /// A root key that cannot open what it wrapped must not wrap anything; nor may it be the one there is.
    async fn try_out(&self, root: &dyn RootKey) -> Result<(), Error> {
        if self.roots.by_id(&root.id()).is_some() {
            return Err(KeyError::Refused(format!("{} is the vault's root key already", root.id())).into());
        }
        let vault = VaultFile::read(&self.folder)?.vault;
        let place = RootTuple { purpose: Purpose::TenantKey, vault, tenant: None, version: 0 };
        let secret = Key::random_in_box().map_err(KeyError::from)?;
        let opened = root.unwrap(&place, &root.wrap(&place, &secret).await?).await?;
        if opened.expose() == secret.expose() {
            Ok(())
        } else {
            Err(KeyError::Root("it opens something else than what it wrapped".to_owned()).into())
        }
    }

    fn take_over(&self, root: Arc<dyn RootKey>, provider: &RootProvider) {
        let id = root.id();
        self.roots.add(root);
        tracing::info!(root = id, "another root key takes over");
        self.progress.send_modify(|progress| {
            *progress =
                Progress { root: id, provider: provider.name().to_owned(), rotating: true, ..Progress::default() };
        });
        self.wake.notify_one();
    }
}

/// Says which root key this node has, and goes on with what takes over, until it is told to stop.
pub(crate) async fn run(vault: Arc<Vault>, stop: CancellationToken) {
    let rotations = &vault.rotations;
    while !stop.is_cancelled() {
        let worked = work(&vault, &stop).await;
        rotations.progress.send_if_modified(|progress| {
            let error = worked.as_ref().err().map(ToString::to_string);
            let changed = progress.error != error;
            progress.error = error;
            changed
        });
        if let Err(error) = worked {
            tracing::warn!(%error, "the rotation of the root key was broken off; it goes on soon");
        }
        let pause = if rotations.progress.borrow().rotating { EVERY } else { AT_REST };
        tokio::select! {
            () = stop.cancelled() => {}
            () = rotations.wake.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
    if vault.catalog.is_shared()
        && let Err(error) = vault.catalog.leave_root(&vault.node).await
    {
        tracing::debug!(%error, "other nodes wait for this one for a quarter of a minute");
    }
}

/// Says that this is the newest root key of this node, and has it wrap if every other node has it too. The nodes that do not have it, and
/// those that do not wrap with it yet. Before a node serves it does this once.
pub(crate) async fn announce(vault: &Vault, newest: &str) -> Result<(Vec<NodeId>, Vec<NodeId>), Error> {
    // A file is one node's.
    if !vault.catalog.is_shared() {
        vault.rotations.switch(newest).await;
        return Ok(Default::default());
    }
    let roots = &vault.rotations.roots;
    loop {
        let wraps = roots.id();
        let now = vault.recorder.now();
        let until = Millis(now.0.saturating_add(HOLDS));
        let others = vault.catalog.tell_root(&vault.node, (&wraps, newest), now, until).await?;
        let nodes = |lacks: fn(&OtherNode, &str) -> bool| -> Vec<NodeId> {
            others.iter().filter(|other| lacks(other, newest)).map(|other| other.node).collect()
        };
        let without = nodes(|other, newest| other.newest != newest && other.wraps != newest);
        if without.is_empty() && wraps != newest {
            vault.rotations.switch(newest).await;
            continue;
        }
        return Ok((without, nodes(|other, newest| other.wraps != newest)));
    }
}

async fn work(vault: &Vault, stop: &CancellationToken) -> Result<(), Error> {
    let rotations = &vault.rotations;
    let root = rotations.roots.newest();
    let id = root.id();
    let (without, behind) = announce(vault, &id).await?;
    {
        // Another may have begun to take over meanwhile: of that one no node has said anything yet.
        let progress = rotations.progress.borrow();
        if !progress.rotating || progress.root != id {
            return Ok(());
        }
    }
    let signpost = signpost(&id);
    let (total, left) = vault.catalog.count_wrapped(&signpost).await?;
    let waiting_for = without.iter().map(ToString::to_string).collect();
    rotations.progress.send_modify(|progress| {
        (progress.total, progress.done, progress.waiting_for) = (total, total - left, waiting_for);
    });
    if !without.is_empty() || !behind.is_empty() {
        return Ok(());
    }
    let mut unopened = 0;
    for kind in KINDS {
        let mut place = None;
        while !stop.is_cancelled() {
            let page = vault.catalog.wrapped_otherwise(kind, &signpost, place, STEP).await?;
            let Some(last) = page.last() else { break };
            place = Some((last.tenant, last.version));
            let mut cells = Vec::with_capacity(page.len());
            for cell in page {
                match wrap_anew(vault, &cell).await {
                    Ok(new) => cells.push((cell, new)),
                    Err(KeyError::Unwrap(_)) => {
                        unopened += 1;
                        let what = kind.purpose().as_str();
                        tracing::error!(tenant = %cell.name, what, version = cell.version, "a key does not open and is not wrapped anew");
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            let changed = vault.catalog.rewrap_cells(kind, &cells).await?;
            rotations.progress.send_modify(|progress| progress.done = (progress.done + changed).min(progress.total));
        }
    }
    rotations.progress.send_modify(|progress| progress.unopened = unopened);
    // What is found at a second look, a pause later, was on its way at the first.
    if left == 0 && unopened == 0 && !stop.is_cancelled() {
        finish(vault, root.as_ref()).await?;
    }
    Ok(())
}

async fn wrap_anew(vault: &Vault, cell: &Cell) -> Result<Vec<u8>, KeyError> {
    let tenant = Some((cell.tenant, cell.name.as_str()));
    let place = RootTuple { purpose: cell.purpose, vault: vault.id, tenant, version: cell.version };
    let secret = vault.root.unwrap(&place, &cell.wrapped).await?;
    vault.root.wrap(&place, &secret).await
}

/// Nothing is under the old key any more: the folder says so too, step by step.
async fn finish(vault: &Vault, root: &dyn RootKey) -> Result<(), Error> {
    let rotations = &vault.rotations;
    let here = &rotations.folder;
    let file = VaultFile::read(here)?;
    if file.root != root.id() {
        // The file's own key: it may have been rotated since this server started.
        let wraps = rotations.roots.by_id(&file.root);
        let wraps = wraps.ok_or_else(|| KeyError::Root(format!("the vault key is wrapped by {}", file.root)))?;
        let key = file.unlock(wraps.as_ref()).await?;
        let file = file.wrapped_by(root, &key).await?;
        folder::write_vault(here, &file)?;
    }
    crate::failpoint::hit("root.vault-written");
    if let Some(next) = folder::next(here)? {
        folder::finish(here, &next)?;
    }
    if let Err(error) = vault.catalog.clear_log().await {
        tracing::warn!(%error, "the database's log could not be cleared of what the old root key had wrapped");
    }
    rotations.roots.retire();
    rotations.progress.send_modify(|progress| progress.rotating = false);
    tracing::info!(
        root = root.id(),
        "the root key has taken over: nothing of this vault is under the old one any more"
    );
    Ok(())
}
