//! `key`: keys on the whole server. For operators.

use clap::Subcommand;
use serde::Serialize;
use strongroom_core::identity::Fingerprint;

use crate::args::Globals;
use crate::exit::Outcome;
use crate::output::Row;

/// Block keys on the whole server.
#[derive(Debug, Subcommand)]
pub enum Key {
    /// Stop a key on the whole server, in every tenant, at once: its sessions and reads that are under way end, and what it
    /// delegated is worth nothing. For operators.
    #[command(after_help = "\
Examples:
  strongroom --home ./vault/operator key block SHA256:q0T… --note \"seen on a forum\"")]
    Block {
        /// The key's fingerprint.
        #[arg(value_name = "SHA256:…")]
        key: Fingerprint,
        /// Why; kept in the operators' ledger.
        #[arg(long)]
        note: Option<String>,
    },
    /// Let a blocked key be again what it was. For operators.
    #[command(after_help = "\
Examples:
  strongroom --home ./vault/operator key unblock SHA256:q0T…")]
    Unblock {
        /// The key's fingerprint.
        #[arg(value_name = "SHA256:…")]
        key: Fingerprint,
        /// Why; kept in the operators' ledger.
        #[arg(long)]
        note: Option<String>,
    },
    /// List the keys that are blocked. For operators.
    #[command(after_help = "\
Examples:
  strongroom --home ./vault/operator key blocked")]
    Blocked,
}

#[derive(Debug, Serialize)]
struct Shown {
    key: Fingerprint,
    index: u64,
}

impl Row for Shown {
    const HEADS: &'static [&'static str] = &["KEY", "BLOCKED BY ENTRY"];

    fn cells(&self) -> Vec<String> {
        vec![self.key.to_string(), self.index.to_string()]
    }
}

impl Key {
    /// Does it.
    ///
    /// # Errors
    /// The caller is no operator, or the key is blocked already, or not.
    pub fn run(self, globals: &Globals) -> Outcome {
        globals.with_vault(async |vault| match self {
            Self::Block { key, note } => {
                let index = vault.block_key(key, note).await?.index.0;
                globals.output.result(&Shown { key, index }, |shown| {
                    format!(
                        "{} is blocked on the whole server (entry {} of the operators' ledger)",
                        shown.key, shown.index
                    )
                })
            }
            Self::Unblock { key, note } => {
                let index = vault.unblock_key(key, note).await?.index.0;
                globals.output.result(&Shown { key, index }, |shown| {
                    format!("{} is no longer blocked (entry {} of the operators' ledger)", shown.key, shown.index)
                })
            }
            Self::Blocked => {
                let keys = vault.blocked_keys().await?;
                let rows: Vec<_> = keys.into_iter().map(|(key, index)| Shown { key, index: index.0 }).collect();
                globals.output.list(&rows)
            }
        })
    }
}
