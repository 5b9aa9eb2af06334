//! `vault-key`: the one key that clients pin, and how another takes its place.

use std::path::PathBuf;

use clap::Subcommand;
use serde::Serialize;
use strongroom_core::identity::Fingerprint;
use strongroom_server::keys::vault::VaultFile;
use strongroom_server::vault_key::rotate_vault_key;

use crate::connection::block_on;
use crate::exit::Outcome;
use crate::globals::Globals;
use crate::not_serving::failure;
use crate::output::confirm;
use crate::root::new as root;

/// The key that clients pin: show it, or have another one take its place.
#[derive(Debug, Subcommand)]
pub enum VaultKey {
    /// Make a new vault key, signed for by the old one. Clients that pin the old one follow, and refuse every other.
    ///
    /// Writes vault.json, and takes effect when the server is started again. With several nodes, copy vault.json into each one's folder and
    /// start them again together: a client that has followed refuses a node that still shows the old key. If the old key may be stolen, give
    /// people the new fingerprint as you gave them the first: a thief can sign for a key too.
    #[command(after_help = "\
Examples:
  strongroom vault-key rotate ./vault")]
    Rotate {
        /// The vault's folder.
        folder: PathBuf,
        /// A file whose first line is the root key's passphrase, or the token's PIN.
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
    /// Show the fingerprint that clients pin. It needs no server, and no secret.
    #[command(after_help = "\
Examples:
  strongroom vault-key show ./vault")]
    Show {
        /// The vault's folder.
        folder: PathBuf,
    },
}

#[derive(Debug, Serialize)]
struct Shown {
    vault_key: Fingerprint,
}

#[derive(Debug, Serialize)]
struct Rotated {
    old: Fingerprint,
    new: Fingerprint,
}

impl VaultKey {
    /// Does it.
    ///
    /// # Errors
    /// There is no vault, its root key does not open, or nobody said yes.
    pub fn run(self, globals: &Globals) -> Outcome {
        match self {
            Self::Rotate { folder, passphrase_file, yes } => {
                confirm("Make another vault key, for all clients to follow?", yes)?;
                let secret = root::secret(&folder, passphrase_file.as_deref())?;
                let done =
                    block_on(async { rotate_vault_key(&folder, secret).await.map_err(|error| failure(&error)) })?;
                let done = Rotated { old: done.old, new: done.new };
                globals.output.result(&done, |done| {
                    format!("{} takes the place of {} when the server is started again", done.new, done.old)
                })
            }
            Self::Show { folder } => {
                let file = VaultFile::read(&folder).map_err(|error| failure(&error.into()))?;
                let shown = Shown { vault_key: file.public_key.fingerprint() };
                globals.output.result(&shown, |shown| shown.vault_key.to_string())
            }
        }
    }
}
