//! Where the demo plays: a vault in a folder, a server in this process, and three homes that know it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use strongroom_client::{Connect, Home, Vault};
use strongroom_core::identity::Fingerprint;
use strongroom_server::init::{InitOptions, announce, init};
use strongroom_server::{Options, Server};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::exit::{Failure, Outcome};
use crate::not_serving;

/// A running server with its vault.
pub(crate) struct Stage {
    folder: PathBuf,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// The vault key.
    pub(crate) vault_key: Fingerprint,
    stop: oneshot::Sender<()>,
    server: JoinHandle<Result<(), strongroom_server::Error>>,
}

impl Stage {
    /// Makes a vault below `folder` and serves it on a free port of this machine.
    ///
    /// # Errors
    /// There is a vault already, or the server does not start.
    pub(crate) async fn set(folder: &Path) -> Outcome<Self> {
        let vault = folder.join("vault");
        let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let options = InitOptions { name: Some("demo".to_owned()), ..InitOptions::default() };
        let made = init(&vault, options).await.map_err(|error| {
            Failure::new(error.reason(), error.to_string(), "name a new folder with --keep, or leave it out")
        })?;
        let options = Options { listen: Some(free), ..Options::default() };
        let server = Server::open(&vault, options).await.map_err(|error| not_serving::failure(&error))?;
        let server = server.listen().await.map_err(|error| not_serving::failure(&error))?;
        let address = server.address();
        announce(&vault, address, made.vault_key)
            .map_err(|error| Failure::new(error.reason(), error.to_string(), "look at the folder's permissions"))?;
        let (stop, stopped) = oneshot::channel();
        let server = tokio::spawn(server.serve(async {
            let _ = stopped.await;
        }));
        Ok(Self { folder: folder.to_owned(), address, vault_key: made.vault_key, stop, server })
    }

    /// The vault's folder: all that the server keeps on disk.
    pub(crate) fn vault_folder(&self) -> PathBuf {
        self.folder.join("vault")
    }

    /// The operator, connected.
    ///
    /// # Errors
    /// The server does not answer.
    pub(crate) async fn operator(&self) -> Outcome<Vault> {
        Ok(Connect::from_home(&Home::open(self.vault_folder().join("operator")))?.open().await?)
    }

    /// Somebody with a home and an identity of their own, connected.
    ///
    /// # Errors
    /// The home cannot be made, or the server does not answer.
    pub(crate) async fn player(&self, name: &str) -> Outcome<Vault> {
        let home = Home::open(self.folder.join(name));
        home.identity_or_create()?;
        home.login(&self.address.to_string(), self.vault_key)?;
        Ok(Connect::from_home(&home)?.open().await?)
    }

    /// Somebody with a copy of another's key file, connected.
    ///
    /// # Errors
    /// The file cannot be copied, or the server does not answer.
    pub(crate) async fn stolen(&self, from: &str, name: &str) -> Outcome<Vault> {
        const KEY: &str = "identity.pem";
        let folder = self.folder.join(name);
        let failed = |error| Failure::file(&folder, &error);
        std::fs::create_dir_all(&folder).map_err(failed)?;
        std::fs::copy(self.folder.join(from).join(KEY), folder.join(KEY)).map_err(failed)?;
        self.player(name).await
    }

    /// Stops the server.
    ///
    /// # Errors
    /// It failed.
    pub(crate) async fn strike(self) -> Outcome {
        let _ = self.stop.send(());
        let ended = |error: tokio::task::JoinError| Failure::stdio(&std::io::Error::other(error));
        self.server.await.map_err(ended)?.map_err(|error| not_serving::failure(&error))
    }
}
