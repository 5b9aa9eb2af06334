//! The nodes of one vault, each a process in a folder of its own, over one database and one bucket or folder of blobs.
//!
//! Each node stands behind a [`Relay`] whose address stays while its process is killed and started again.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use strongroom_client::{Fingerprint, Identity};
use strongroom_server::init::{InitOptions, OPERATOR_HOME, init};

use crate::oracle::{self, Ledger};
use crate::process::{Binary, ServerProcess};
use crate::relay::Relay;

/// Where a cluster keeps what it keeps.
pub struct Stores<'a> {
    /// The catalog's URL; none for a file in the folder of its one node.
    pub catalog: Option<&'a str>,
    /// The bucket, and the port that it is reached through; none for a folder that the nodes share.
    pub bucket: Option<(&'a str, u16)>,
}

/// The nodes; their processes are killed, and their folders vanish, when it is dropped.
pub struct Cluster {
    parent: tempfile::TempDir,
    vault_key: Fingerprint,
    nodes: Vec<Node>,
}

/// A node: a folder, a process, and the way to it.
pub struct Node {
    binary: Binary,
    parent: PathBuf,
    name: String,
    relay: Relay,
    server: Mutex<Option<ServerProcess>>,
    said: Mutex<String>,
}

impl Cluster {
    /// Makes a vault with `limits` as the lines of its `[limits]` table, and starts `count` nodes of it.
    pub async fn start(binary: Binary, stores: Stores<'_>, limits: &str, count: usize) -> Self {
        let parent = tempfile::tempdir().unwrap();
        let first = parent.path().join("node0");
        let vault_key = init(&first, InitOptions::default()).await.unwrap().vault_key;
        let file = first.join("strongroom.toml");
        let mut text = std::fs::read_to_string(&file).unwrap();
        match stores.catalog {
            Some(url) => text = text.replace("sqlite:catalog.db", url),
            None => assert_eq!(count, 1, "a file is one node's"),
        }
        text = match stores.bucket {
            Some((bucket, port)) => crate::in_bucket(&text, bucket, port),
            None => text.replace("file:blobs", &format!("file:{}", first.join("blobs").display())),
        };
        std::fs::write(&file, format!("{text}\n[limits]\n{limits}\n")).unwrap();
        for number in 1..count {
            oracle::walk(&first, &mut |file| {
                let to = parent.path().join(format!("node{number}")).join(file.strip_prefix(&first).unwrap());
                std::fs::create_dir_all(to.parent().unwrap()).unwrap();
                std::fs::copy(file, to).unwrap();
            });
        }
        let nodes = (0..count).map(|number| Node {
            binary,
            parent: parent.path().to_owned(),
            name: format!("node{number}"),
            relay: Relay::start(SocketAddr::from(([127, 0, 0, 1], 1))),
            server: Mutex::default(),
            said: Mutex::default(),
        });
        let cluster = Self { nodes: nodes.collect(), vault_key, parent };
        for node in &cluster.nodes {
            node.try_start().unwrap();
        }
        cluster
    }

    /// Its nodes.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The fingerprint that clients pin.
    pub fn vault_key(&self) -> Fingerprint {
        self.vault_key
    }

    /// A folder beside the nodes'.
    pub fn beside(&self) -> &Path {
        self.parent.path()
    }

    /// The folder of its first node.
    pub fn folder(&self) -> PathBuf {
        self.parent.path().join("node0")
    }

    /// The operator's identity.
    pub fn operator(&self) -> Identity {
        let file = self.folder().join(OPERATOR_HOME).join("identity.pem");
        Identity::from_pem(&std::fs::read_to_string(file).unwrap()).unwrap()
    }

    /// The tenant's ledger as it stands in the catalog, replayed and found clean.
    pub async fn ledger(&self, tenant: &str) -> Ledger {
        Ledger::read(&self.folder(), tenant).await.assert_clean()
    }
}

impl Node {
    /// Where it is reached, whichever process runs.
    pub fn address(&self) -> SocketAddr {
        self.relay.address()
    }

    /// Starts its process, if none runs.
    ///
    /// # Errors
    /// What it said if it does not come to listen.
    pub fn try_start(&self) -> Result<(), String> {
        let mut server = self.server.lock().unwrap();
        if server.is_none() {
            let started = self.binary.try_serve(&self.parent, &self.name, |_| ())?;
            self.relay.lead_to(Some(started.address));
            *server = Some(started);
        }
        Ok(())
    }

    /// Kills its process: SIGKILL.
    pub fn kill(&self) {
        if let Some(mut server) = self.server.lock().unwrap().take() {
            server.kill();
            *self.said.lock().unwrap() += &server.stderr();
        }
        self.relay.lead_to(None);
    }

    /// Has its process stand still: SIGSTOP.
    pub fn pause(&self) {
        self.server.lock().unwrap().iter().for_each(ServerProcess::pause);
    }

    /// Goes on after [`Node::pause`].
    pub fn resume(&self) {
        self.server.lock().unwrap().iter().for_each(ServerProcess::resume);
    }

    /// What its processes wrote to standard error.
    pub fn log(&self) -> String {
        let server = self.server.lock().unwrap();
        let now = server.as_ref().map(ServerProcess::stderr).unwrap_or_default();
        format!("{}{now}", self.said.lock().unwrap())
    }
}
