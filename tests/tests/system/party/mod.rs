//! Many clients at work at the nodes of one vault, and what they see: what the tests of everything at once stand on.
//!
//! | module | what |
//! | --- | --- |
//! | this one | [`Run`]: the nodes, the tenant, the seed that a run can be had again by |
//! | [`client`] | who is at work: a connection that goes to another node when its own is gone |
//! | [`pause`] | what is stopped for a while, as somebody outside can know it |
//! | [`count`] | the ledger, counted once more by simple rules |

pub(crate) mod client;
pub(crate) mod count;
pub(crate) mod pause;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;

use strongroom_client::{Connect, Identity, TenantName, Vault};
use strongroom_core::ledger::Event;
use strongroom_tests::chance::Chance;
use strongroom_tests::cluster::{Cluster, Stores};
use strongroom_tests::copy;
use strongroom_tests::oracle::Ledger;

use self::client::{Client, Tally};
use crate::STRONGROOM;

/// Set to run for long instead of some seconds.
const LONG: &str = "STRONGROOM_TEST_LONG";
/// Set to have another run than the usual one; a number.
const SEED: &str = "STRONGROOM_TEST_SEED";
/// The seed of the usual run.
const USUAL: u64 = 20_260_401;

/// Whether a long run is asked for.
pub(crate) fn is_long() -> bool {
    std::env::var_os(LONG).is_some()
}

/// Prints something for whoever looks at a run, or at one that failed.
#[allow(clippy::print_stdout, reason = "for whoever looks at a run")]
pub(crate) fn tell(words: &str) {
    println!("{words}");
}

/// A run: the cluster, who is at work there, and what they saw.
pub(crate) struct Run {
    pub(crate) cluster: Cluster,
    pub(crate) tenant: TenantName,
    /// The tenant's one admin.
    pub(crate) admin: Identity,
    pub(crate) tally: Tally,
    pub(crate) seed: u64,
}

impl Run {
    /// Starts so many nodes with `limits` as the lines of their `[limits]` table, and creates the tenant `acme`.
    pub(crate) async fn start(stores: Stores<'_>, limits: &str, count: usize) -> Arc<Self> {
        let seed = std::env::var(SEED).map_or(USUAL, |seed| seed.parse().expect("a seed is a number"));
        tell(&format!("{SEED}={seed}"));
        let cluster = Cluster::start(STRONGROOM, stores, limits, count).await;
        let (admin, tenant) = (Identity::generate().unwrap(), "acme".parse().unwrap());
        let run = Self { cluster, tenant, admin, tally: Tally::default(), seed };
        let operator = run.connect(&run.cluster.operator()).await;
        operator.create_tenant(&run.tenant, &[run.admin.fingerprint()]).await.unwrap();
        Arc::new(run)
    }

    /// A client's chance, of its own.
    pub(crate) fn chance(&self, number: usize) -> Chance {
        let mut chance = Chance(self.seed ^ (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        chance.below(2);
        chance
    }

    pub(crate) fn client(self: &Arc<Self>, number: usize, identity: &Identity) -> Client {
        Client::new(self.clone(), number, identity)
    }

    /// Connects to the first node.
    pub(crate) async fn connect(&self, identity: &Identity) -> Vault {
        let address = self.cluster.nodes()[0].address().to_string();
        Connect::to(address, self.cluster.vault_key(), copy(identity)).threads(1).open().await.unwrap()
    }

    /// What the nodes said last, without what is usual.
    pub(crate) fn logs(&self) -> String {
        let tail = |log: String| {
            let usual = |line: &&str| line.contains(" INFO ") || line.contains("no word from the catalog");
            let lines: Vec<&str> = log.lines().filter(|line| !usual(line)).collect();
            lines[lines.len().saturating_sub(60)..].join("\n")
        };
        self.cluster.nodes().iter().map(|node| tail(node.log())).collect::<Vec<_>>().join("\n--\n")
    }

    /// The run in a page: what happened to it, what was done, what failed, what the ledger holds.
    pub(crate) fn summary(&self, facts: &BTreeMap<&'static str, u64>, ledger: Option<&Ledger>) -> String {
        let mut text = format!("seed {}\n", self.seed);
        let mut line = |what: &str, count: u64| writeln!(text, "{count:>8}  {what}").unwrap();
        facts.iter().for_each(|(what, count)| line(what, *count));
        self.tally.done().iter().for_each(|(what, count)| line(&format!("done: {what}"), *count));
        for ((reason, what), count) in self.tally.errors() {
            line(&format!("{reason}: {what}"), count);
        }
        if let Some(ledger) = ledger {
            let entries = ledger.parsed();
            line("entries, without a gap, replayed", entries.len() as u64);
            for event in Event::ALL {
                let count = entries.iter().filter(|entry| entry.event == event).count() as u64;
                line(&format!("entry: {}", event.name()), count);
            }
            let nodes: BTreeSet<_> = entries.iter().map(|entry| entry.node).collect();
            line("processes that wrote to it", nodes.len() as u64);
        }
        text
    }
}
