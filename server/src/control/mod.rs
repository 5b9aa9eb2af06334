//! What a server says and is told beside TLS: by a socket in its folder, and a port for metrics.
//!
//! A server whose root key needs a human starts *locked*: without its vault key it can prove nothing to a client, so it has no TLS and
//! no port. It has this:
//!
//! ```text
//! strongroom.sock in the folder   its owner alone   health, unlock, rotation of the root key        one JSON line, some JSON lines back
//! [metrics] listen                whoever reaches   GET /live, /ready (red while locked), /metrics       HTTP, no secret and no name
//! ```

pub mod ask;
mod metrics;
mod socket;

use std::io;
use std::path::Path;
use std::pin::pin;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use futures::{Stream, StreamExt};
use serde::{Deserialize, Serialize};
use strongroom_core::identity::Fingerprint;
use strongroom_core::reason::Reason;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::config::{Config, RootProvider};
use crate::error::Error;
use crate::keys::KeyError;
use crate::keys::local::LocalKeyHolder;
use crate::keys::root::new::NewRoot;
use crate::keys::root::{RootKey, Secret, need, open};
use crate::keys::vault::VaultFile;
use crate::room::{self, Place};
use crate::vault::Vault;

pub use crate::vault::root::Progress as RootProgress;

/// The name of the socket in a vault's folder.
pub const SOCKET_FILE: &str = "strongroom.sock";
/// Unlocks that may wait for the one under way.
const QUEUE: usize = 4;

/// How far a server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Its root key waits for a human.
    Locked,
    /// It is opening.
    Opening,
    /// It serves.
    Ready,
    /// It was told to stop.
    Stopping,
}

/// What a server is asked over its socket.
#[derive(Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// How it is.
    Health,
    /// To open its root key with this secret.
    Unlock {
        /// A passphrase, or a PIN.
        secret: SecretText,
    },
    /// To have another root key take over.
    RotateRoot {
        /// Who keeps it.
        to: NewRoot,
        /// Whether to answer at once, and not follow it to its end.
        detach: bool,
    },
    /// To take up the root key that another node rotates to.
    JoinRoot {
        /// What it needs of a human.
        secret: Option<SecretText>,
        /// Whether to answer at once, and not follow it to its end.
        detach: bool,
    },
}

/// What it answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// How it is.
    Health(Health),
    /// How far a rotation of the root key is.
    Root(RootProgress),
    /// What was asked is done.
    Done,
    /// It is not.
    Failed {
        /// The stable code.
        reason: Reason,
        /// Why, in words.
        detail: String,
    },
}

/// How a server is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// How far it is.
    pub phase: Phase,
    /// Its version.
    pub version: String,
    /// Its process.
    pub process: u32,
    /// The fingerprint that clients pin.
    pub vault_key: Fingerprint,
    /// The id of the root key that the vault's file names.
    pub root: String,
    /// How far a rotation of it is, once the server is open.
    pub progress: Option<RootProgress>,
}

/// Text that is secret. It zeroizes and has no `Debug`.
#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(transparent)]
pub struct SecretText(String);

impl From<&Secret> for SecretText {
    fn from(secret: &Secret) -> Self {
        Self(secret.as_str().to_owned())
    }
}

impl SecretText {
    fn secret(&self) -> Secret {
        Secret::new(self.0.clone())
    }
}

type Unlock = (Secret, oneshot::Sender<Result<(), KeyError>>);

/// The socket and the port of one server; they end with it.
pub struct Control {
    state: Arc<State>,
    unlocks: mpsc::Receiver<Unlock>,
    tasks: Vec<JoinHandle<()>>,
    socket: Option<socket::Bound>,
}

/// What both ways in look at.
struct State {
    vault_file: VaultFile,
    phase: watch::Sender<Phase>,
    unlock: mpsc::Sender<Unlock>,
    vault: OnceLock<Weak<Vault>>,
    keys: OnceLock<Weak<LocalKeyHolder>>,
    places: Vec<Place>,
}

impl Control {
    /// Takes the socket in the vault's folder and the port for metrics.
    ///
    /// A folder that cannot be written, or in which another server runs, is no reason not to serve: then there is no socket, and the
    /// log says so.
    ///
    /// # Errors
    /// [`Error`] if the vault's file cannot be read, or the port cannot be had.
    pub async fn start(folder: &Path, config: &Config) -> Result<Control, Error> {
        let (unlock, unlocks) = mpsc::channel(QUEUE);
        let vault_file = VaultFile::read(folder)?;
        let phase = watch::Sender::new(Phase::Opening);
        let (vault, keys) = (OnceLock::new(), OnceLock::new());
        let state = Arc::new(State { vault_file, phase, unlock, vault, keys, places: room::places(config) });
        let mut tasks = Vec::new();
        let socket = match socket::bind(folder) {
            Ok((bound, listener)) => {
                tasks.push(tokio::spawn(socket::serve(listener, state.clone())));
                Some(bound)
            }
            Err(error) => {
                tracing::warn!(%error, socket = %folder.join(SOCKET_FILE).display(), "there is no socket: the server cannot be unlocked or asked by it");
                None
            }
        };
        if let Some(address) = config.metrics {
            let taken = |error: io::Error| Error::io(format!("cannot listen on {address} for metrics"))(error);
            let listener = tokio::net::TcpListener::bind(address).await.map_err(taken)?;
            let address = listener.local_addr().map_err(taken)?;
            tracing::info!(%address, "metrics");
            tasks.push(tokio::spawn(metrics::serve(listener, state.clone())));
        }
        Ok(Control { state, unlocks, tasks, socket })
    }

    /// Waits until somebody unlocks the root key: whoever gave the right secret is told so, others that theirs is wrong.
    ///
    /// # Errors
    /// [`KeyError::Locked`] if nobody could: there is no socket.
    pub(crate) async fn unlocked(
        &mut self,
        config: &Config,
        keepers: &[RootProvider],
    ) -> Result<Vec<Arc<dyn RootKey>>, Error> {
        if self.socket.is_none() {
            return Err(KeyError::Locked.into());
        }
        let mut opened: Vec<Option<Arc<dyn RootKey>>> = Vec::with_capacity(keepers.len());
        for keeper in keepers {
            let by_itself = need(keeper).is_none();
            opened.push(if by_itself { Some(open(keeper, None, config.limits.plugin).await?) } else { None });
        }
        self.state.phase.send_replace(Phase::Locked);
        let folder = config.folder.display();
        tracing::warn!("the server is locked: its root key waits for a human. Run: strongroom unlock {folder}");
        while let Some((secret, told)) = self.unlocks.recv().await {
            // One of two, while one gives way to the other: the secret is for whichever it opens.
            let mut failed = None;
            for (keeper, root) in keepers.iter().zip(&mut opened).filter(|(_, root)| root.is_none()) {
                match self.try_open(keeper, secret.clone(), config.limits.plugin).await {
                    Ok(found) => {
                        tracing::info!(root = found.id(), "unlocked");
                        *root = Some(found);
                        failed = None;
                        break;
                    }
                    Err(error) => failed = Some(error),
                }
            }
            if let Some(error) = failed {
                tracing::warn!(%error, "an attempt to unlock failed");
                let _ = told.send(Err(error));
            } else if opened.iter().all(Option::is_some) {
                self.state.phase.send_replace(Phase::Opening);
                // Whoever gave it may be gone by now, and it was right all the same.
                let _ = told.send(Ok(()));
                return Ok(opened.into_iter().flatten().collect());
            } else {
                let _ = told.send(Err(KeyError::Locked));
            }
        }
        Err(KeyError::Locked.into())
    }

    async fn try_open(
        &self,
        keeper: &RootProvider,
        secret: Secret,
        patience: Duration,
    ) -> Result<Arc<dyn RootKey>, KeyError> {
        let root = open(keeper, Some(secret), patience).await?;
        if root.id() == self.state.vault_file.root {
            self.state.vault_file.unlock(root.as_ref()).await?;
        }
        Ok(root)
    }

    /// Says that the vault is open: from here on it can be asked.
    pub(crate) fn opened(&self, vault: &Arc<Vault>, keys: &Arc<LocalKeyHolder>) {
        let _ = self.state.vault.set(Arc::downgrade(vault));
        let _ = self.state.keys.set(Arc::downgrade(keys));
    }

    /// Says that the server serves.
    pub(crate) fn ready(&self) {
        self.state.phase.send_replace(Phase::Ready);
    }

    /// Says that it stops.
    pub(crate) fn stopping(&self) {
        self.state.phase.send_replace(Phase::Stopping);
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl State {
    fn health(&self) -> Health {
        Health {
            phase: *self.phase.borrow(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            process: std::process::id(),
            vault_key: self.vault_file.public_key.fingerprint(),
            root: self.vault_file.root.clone(),
            progress: self.vault().map(|vault| vault.rotations.progress().borrow().clone()),
        }
    }

    fn vault(&self) -> Option<Arc<Vault>> {
        self.vault.get().and_then(Weak::upgrade)
    }

    async fn unlock(&self, secret: Secret) -> Result<(), Error> {
        if *self.phase.borrow() != Phase::Locked {
            return Err(Error::Invalid("the server is not locked".into()));
        }
        let (told, telling) = oneshot::channel();
        let busy = || Error::Unavailable("the server is busy with other attempts to unlock it".into());
        self.unlock.try_send((secret, told)).map_err(|_| busy())?;
        // One that waited while another one's secret was right finds nobody any more, and an open server.
        telling.await.map_or(Ok(()), |done| done.map_err(Error::from))
    }
}

/// Answers each connection in a task of its own, `places` at once: whoever comes when there is none is hung up on.
async fn each<C, A>(connections: impl Stream<Item = io::Result<C>>, places: usize, answer: impl Fn(C) -> A)
where
    A: Future<Output = ()> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(places));
    let mut connections = pin!(connections);
    while let Some(accepted) = connections.next().await {
        let Ok(connection) = accepted else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let Ok(place) = places.clone().try_acquire_owned() else { continue };
        let answered = answer(connection);
        tokio::spawn(async move {
            let _place = place;
            answered.await;
        });
    }
}
