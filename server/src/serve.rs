//! A server: its rooms opened in order, then served until it is told to stop.

use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use strongroom_core::identity::Fingerprint;
use strongroom_core::ids::{NodeId, SessionId};
use strongroom_core::keys::secret::random_bytes;
use strongroom_core::succession::Succession;
use tokio_util::sync::CancellationToken;

use crate::api;
use crate::blobs::Blobs;
use crate::blobs::sweep::Sweeper;
use crate::catalog::Catalog;
use crate::config::{Config, RootProvider};
use crate::control::Control;
use crate::error::Error;
use crate::keys::KeyError;
use crate::keys::local::LocalKeyHolder;
use crate::keys::recipients::Recipients;
use crate::keys::root::ring::Roots;
use crate::keys::root::{self, RootKey, Secret};
use crate::keys::vault::VaultFile;
use crate::listen::{ListenError, Listener};
use crate::recorder::{Clock, NodeMemory, Recorder, SystemClock};
use crate::room;
use crate::tenants::Tenants;
use crate::vault::lookups::Lookups;
use crate::vault::retention::Retention;
use crate::vault::root::Rotations;
use crate::vault::{Vault, blocks, escrow, rewrap, schedule, shred};

/// HTTP/2 windows: 64 KiB caps a stream at 740 MB/s, 4 MiB costs memory for nothing.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;
/// The largest HTTP/2 frame that is taken: with the usual 16 KiB a message of 256 KiB is cut into 16.
const HTTP2_FRAME: u32 = 1 << 20;
/// How often condemned blobs are swept.
const SWEEP_EVERY: std::time::Duration = std::time::Duration::from_secs(60);
/// How long calls under way may take after the server was told to stop.
const DRAIN: std::time::Duration = std::time::Duration::from_secs(10);

/// What a server is started with beside its folder.
#[derive(Default)]
pub struct Options {
    /// Where to listen, instead of what the configuration says. Port 0 takes a free one.
    pub listen: Option<SocketAddr>,
    /// What only a human can give to open the root key, if it needs that: see [`root::need`].
    pub secret: Option<Secret>,
    /// How the server is unlocked and asked beside TLS.
    pub control: Option<Control>,
    /// The node's clock, if it is not the system's.
    pub clock: Option<Arc<dyn Clock>>,
    /// Who listens inside TLS.
    #[cfg(feature = "tap")]
    pub tap: Option<Arc<dyn crate::tap::Tap>>,
}

/// A server that is open but does not listen yet.
pub struct Server {
    vault: Arc<Vault>,
    config: Config,
    control: Option<Control>,
    keys: Arc<LocalKeyHolder>,
    succession: Succession,
    sweeper: Sweeper,
    retention: Retention,
    listen: SocketAddr,
    #[cfg(feature = "tap")]
    tap: Option<Arc<dyn crate::tap::Tap>>,
}

/// A server that has its port: whoever connects now is served once [`Listening::serve`] runs.
pub struct Listening {
    server: Server,
    listener: Listener,
    address: SocketAddr,
}

impl Server {
    /// Opens the vault in a folder: configuration, root key, vault key, catalog, blobs, recorder.
    ///
    /// If the root key needs a secret that is not given, this waits until somebody unlocks it by `control`.
    ///
    /// # Errors
    /// [`Error`] if a file is missing or was changed, the root key does not open, or the catalog belongs to another vault.
    pub async fn open(folder: &Path, mut options: Options) -> Result<Self, Error> {
        let config = Config::load(folder)?;
        let file = VaultFile::read(folder)?;
        let next = root::folder::next(folder)?;
        let keepers: Vec<_> = next.iter().chain([&config.root]).cloned().collect();
        let mut opened = unlock(&config, &keepers, options.secret.take(), options.control.as_mut()).await?;
        let named = opened.iter().find(|root| root.id() == file.root).unwrap_or(&opened[opened.len() - 1]);
        let succession = file.succession()?;
        let vault_key = file.unlock(named.as_ref()).await?;
        let (newest, older) = (opened.remove(0), opened.pop());
        // A rotation that was killed at its very end left only its last file.
        let older = older.filter(|older| older.id() != newest.id());
        let roots = Arc::new(Roots::new(newest, older));
        let root: Arc<dyn RootKey> = roots.clone();
        let rotations = Rotations::new(roots, folder, &keepers[0], next.is_some(), config.limits.plugin);
        let catalog = Catalog::open(&config.catalog.url()).await?;
        catalog.bind_vault(file.vault).await?;
        let node = NodeId::from_bytes(random_bytes().map_err(KeyError::from)?);
        let clock = options.clock.unwrap_or_else(|| Arc::new(SystemClock));
        let memory = NodeMemory::open(folder.join("memory")).map_err(Error::io("the node's memory of heads"))?;
        let blobs = Blobs::open(&config.blobs)?;
        let largest = config.limits.max_object;
        if largest.saturating_add(largest / 512) > blobs.largest() {
            let most = blobs.largest() / 513 * 512;
            return Err(Error::Setup(format!("limits.max_object: an object in a bucket has at most {most} bytes")));
        }
        blobs.probe().await?;
        let recorder = Recorder::open(catalog.clone(), node, clock, memory, blobs.logs(), config.limits.ledger);
        let recipients = Recipients::new(config.escrow_plugins.iter().cloned(), config.limits.plugin);
        let life = config.limits.key_cache;
        let keys = LocalKeyHolder::start(catalog.clone(), root.clone(), file.vault, life, recipients.clone());
        let sweeper = Sweeper {
            catalog: catalog.clone(),
            blobs: blobs.clone(),
            idle: config.limits.upload_idle,
            // An idle time that is shorter than the pause would not be kept.
            interval: SWEEP_EVERY.min(config.limits.upload_idle),
        };
        let retention = Retention {
            catalog: catalog.clone(),
            keep: config.limits.retention,
            keep_rekeyed: config.limits.rekey_grace,
            interval: SWEEP_EVERY
                .min(config.limits.upload_idle)
                .min(config.limits.retention)
                .min(config.limits.rekey_grace),
        };
        let vault = Vault {
            id: file.vault,
            name: config.name.clone(),
            node,
            operators: config.operators.iter().copied().collect(),
            limits: config.limits,
            tenants: Tenants::new(catalog.clone(), root.clone(), file.vault, config.name.clone()),
            lookups: Lookups::new(catalog.clone()),
            catalog,
            recorder,
            rewraps: Default::default(),
            shreds: Default::default(),
            escrows: Default::default(),
            recipients,
            blobs,
            keys: keys.clone(),
            root,
            rotations,
            vault_key,
        };
        // Nobody is let in before it is known which keys are blocked.
        blocks::find(&vault).await?;
        // Nor before the other nodes know which root keys this one has.
        crate::vault::root::announce(&vault, &vault.rotations.roots.newest().id()).await?;
        let listen = options.listen.unwrap_or(config.listen);
        Ok(Self {
            vault: Arc::new(vault),
            config,
            control: options.control,
            keys,
            succession,
            sweeper,
            retention,
            listen,
            #[cfg(feature = "tap")]
            tap: options.tap,
        })
    }

    /// The fingerprint that clients pin.
    pub fn vault_key(&self) -> Fingerprint {
        self.vault.vault_key.public_key().fingerprint()
    }

    /// The vault's folder.
    pub fn folder(&self) -> &Path {
        &self.config.folder
    }

    /// Takes the port.
    ///
    /// # Errors
    /// [`Error::Io`] if it is taken, or not this user's to take.
    pub async fn listen(self) -> Result<Listening, Error> {
        let keys = self.vault.keys.clone();
        let on_end = Arc::new(move |sessions: &[SessionId]| keys.close_sessions(sessions));
        let bound = Listener::bind(
            self.listen,
            (&self.vault.vault_key, &self.succession),
            &self.config.limits,
            &self.config.proxies,
            on_end,
        )
        .await;
        let listener = bound.map_err(|error| match error {
            ListenError::Bind { address, source } => Error::io(format!("cannot listen on {address}"))(source),
            ListenError::Tls(why) => Error::Setup(format!("TLS: {why}")),
        })?;
        #[cfg(feature = "tap")]
        let listener = listener.tapped(self.tap.clone());
        let address = listener.address().map_err(Error::io("the address of the port"))?;
        // Before anybody is told that it listens.
        self.control.iter().for_each(|control| control.opened(&self.vault, &self.keys));
        Ok(Listening { server: self, listener, address })
    }
}

impl Listening {
    /// Where it listens; the port is known even if port 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The fingerprint that clients pin.
    pub fn vault_key(&self) -> Fingerprint {
        self.server.vault_key()
    }

    /// Serves until `shutdown` is ready, then finishes the calls under way (for at most ten seconds) and drains the queue.
    ///
    /// # Errors
    /// [`Error`] if the transport fails.
    pub async fn serve(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), Error> {
        let Self { server: Server { vault, config, control, keys, sweeper, retention, .. }, listener, .. } = self;
        let stop = CancellationToken::new();
        let recorder = vault.recorder.clone();
        let sweeping = sweeper.start(move || recorder.now(), stop.clone());
        let recorder = vault.recorder.clone();
        let retaining = retention.start(move || recorder.now(), stop.clone());
        let watching = tokio::spawn(blocks::watch(vault.clone(), stop.clone()));
        let rewrapping = tokio::spawn(rewrap::run(vault.clone(), stop.clone()));
        let watching_room = room::watch(room::places(&config), stop.clone());
        let shredding = tokio::spawn(shred::run(vault.clone(), stop.clone()));
        let scheduling = tokio::spawn(schedule::run(vault.clone(), stop.clone()));
        let escrowing = tokio::spawn(escrow::run(vault.clone(), stop.clone()));
        let rooting = tokio::spawn(crate::vault::root::run(vault.clone(), stop.clone()));
        let integrated = CancellationToken::new();
        let integrating = vault.recorder.integrate(vault.tenants.clone(), integrated.clone());
        let (mut health_reporter, health) = tonic_health::server::health_reporter();
        health_reporter.set_service_status("", tonic_health::ServingStatus::Serving).await;
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(strongroom_proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .build_v1()
            .map_err(|error| Error::Setup(error.to_string()))?;
        let routes = api::routes(&vault).add_service(health).add_service(reflection);
        let serving = tonic::transport::Server::builder()
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(HTTP2_FRAME)
            .max_concurrent_streams(config.limits.max_streams)
            .http2_keepalive_interval(Some(std::time::Duration::from_secs(20)))
            .add_routes(routes)
            .serve_with_incoming_shutdown(listener.incoming(), stop.cancelled());
        let served = async {
            tokio::pin!(serving);
            control.iter().for_each(Control::ready);
            // They end with the vault's connections, and not later.
            drop(keys);
            tokio::select! {
                ended = &mut serving => return ended,
                () = shutdown => {}
            }
            tracing::info!("stopping: calls under way are finished");
            control.iter().for_each(Control::stopping);
            health_reporter.set_service_status("", tonic_health::ServingStatus::NotServing).await;
            // Whoever watches is told, and their streams end: they would be waited for otherwise.
            health_reporter.clear_service_status("").await;
            stop.cancel();
            // Streams that nobody reads would keep the server for ever.
            tokio::time::timeout(DRAIN, serving).await.unwrap_or(Ok(()))
        };
        let ended = served.await;
        stop.cancel();
        vault.recorder.shutdown().await;
        if let Err(error) = watching.await {
            tracing::error!(%error, "looking for the operators' ledger failed");
        }
        if let Err(error) = rewrapping.await {
            tracing::error!(%error, "wrapping keys anew failed");
        }
        if let Err(error) = scheduling.await {
            tracing::error!(%error, "rotating what is due failed");
        }
        if let Err(error) = escrowing.await {
            tracing::error!(%error, "sealing keys to their escrow failed");
        }
        if let Err(error) = shredding.await {
            tracing::error!(%error, "shredding failed");
        }
        if let Err(error) = rooting.await {
            tracing::error!(%error, "the rotation of the root key failed");
        }
        integrated.cancel();
        if let Err(error) = integrating.await {
            tracing::error!(%error, "integration failed");
        }
        if let Err(error) = sweeping.await {
            tracing::error!(%error, "the sweeper failed");
        }
        if let Err(error) = watching_room.await {
            tracing::error!(%error, "watching the disks failed");
        }
        if let Err(error) = retaining.await {
            tracing::error!(%error, "retention failed");
        }
        vault.catalog.close().await;
        ended.map_err(|error| Error::Unavailable(error.to_string().into()))
    }
}

/// Opens these root keys, those that need a human with the secret, or else when one comes by the socket.
async fn unlock(
    config: &Config,
    keepers: &[RootProvider],
    secret: Option<Secret>,
    control: Option<&mut Control>,
) -> Result<Vec<Arc<dyn RootKey>>, Error> {
    if let (Some(control), None) = (control, &secret)
        && keepers.iter().any(|keeper| root::need(keeper).is_some())
    {
        return control.unlocked(config, keepers).await;
    }
    let mut opened = Vec::with_capacity(keepers.len());
    for keeper in keepers {
        opened.push(root::open(keeper, secret.clone(), config.limits.plugin).await?);
    }
    Ok(opened)
}
