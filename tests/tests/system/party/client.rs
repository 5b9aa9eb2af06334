//! A client: one connection of the SDK, at one node after another, and what it makes of errors.
//!
//! It has a home, so that what it saw of the ledger at one node it shows to the next.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use strongroom_client::{Connect, DatasetRef, Error, Home, Identity, ObjectName, Reason, Vault};
use strongroom_tests::chance::Chance;

use super::Run;

/// What all clients did and saw.
#[derive(Default)]
pub(crate) struct Tally {
    /// Set when the work is over.
    pub(crate) stop: AtomicBool,
    done: Mutex<BTreeMap<&'static str, u64>>,
    errors: Mutex<BTreeMap<(Reason, &'static str), u64>>,
    problems: Mutex<Vec<String>>,
}

impl Tally {
    /// It was done.
    pub(crate) fn did(&self, what: &'static str) {
        *self.done.lock().unwrap().entry(what).or_default() += 1;
    }

    /// Something is there that must not be, or is missing.
    pub(crate) fn problem(&self, what: String) {
        self.problems.lock().unwrap().push(what);
    }

    /// What is wrong so far.
    pub(crate) fn problems(&self) -> Vec<String> {
        self.problems.lock().unwrap().clone()
    }

    /// How often each thing was done.
    pub(crate) fn done(&self) -> BTreeMap<&'static str, u64> {
        self.done.lock().unwrap().clone()
    }

    /// How often doing something failed, by reason.
    pub(crate) fn errors(&self) -> BTreeMap<(Reason, &'static str), u64> {
        self.errors.lock().unwrap().clone()
    }
}

/// Whether it is open what became of a call that ended so: nobody was there, or not any more.
pub(crate) fn is_lost(error: &Error) -> bool {
    matches!(error.reason(), Reason::Unavailable | Reason::LedgerUnavailable)
}

/// Somebody at work.
pub(crate) struct Client {
    /// The run that it is part of.
    pub(crate) run: Arc<Run>,
    /// Its number.
    pub(crate) number: usize,
    /// Its chance.
    pub(crate) chance: Chance,
    home: Home,
    node: usize,
    vault: Option<Vault>,
}

impl Client {
    pub(crate) fn new(run: Arc<Run>, number: usize, identity: &Identity) -> Self {
        let folder = run.cluster.beside().join(format!("home{number}"));
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("identity.pem"), identity.to_pem().as_bytes()).unwrap();
        let (chance, node) = (run.chance(number), number % run.cluster.nodes().len());
        Self { run, number, chance, home: Home::open(folder), node, vault: None }
    }

    /// Whether the work goes on.
    pub(crate) fn goes_on(&self) -> bool {
        !self.run.tally.stop.load(SeqCst)
    }

    /// A connection: to the node that it was at, or else to another.
    pub(crate) async fn vault(&mut self) -> Vault {
        loop {
            if let Some(vault) = &self.vault {
                return vault.clone();
            }
            let address = self.run.cluster.nodes()[self.node].address().to_string();
            self.home.login(&address, self.run.cluster.vault_key()).unwrap();
            match Connect::from_home(&self.home).unwrap().threads(1).open().await {
                Ok(vault) => self.vault = Some(vault),
                Err(error) => {
                    self.failed("connect", &error, &[]);
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
    }

    /// Takes note of an error, which is one of `expected` or says that nobody is there; then the client goes to another node.
    pub(crate) fn failed(&mut self, what: &'static str, error: &Error, expected: &[Reason]) {
        *self.run.tally.errors.lock().unwrap().entry((error.reason(), what)).or_default() += 1;
        if is_lost(error) {
            self.run.tally.did("go to another node");
            self.move_on();
        } else if !expected.contains(&error.reason()) {
            self.run.tally.problem(format!("client {}, {what}: {error}", self.number));
        }
    }

    /// Goes to another node of its own accord.
    pub(crate) fn move_on(&mut self) {
        self.node = (self.node + 1) % self.run.cluster.nodes().len();
        self.vault = None;
    }

    /// The object at a path of the dataset `rlhf`.
    pub(crate) fn object(&self, path: &str) -> ObjectName {
        format!("{}/rlhf/{path}", self.run.tenant).parse().unwrap()
    }

    /// The dataset `rlhf`.
    pub(crate) fn dataset(&self) -> DatasetRef {
        DatasetRef { tenant: self.run.tenant.clone(), dataset: "rlhf".parse().unwrap() }
    }
}
