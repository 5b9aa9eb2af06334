//! `init`: a vault, made of files alone.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Serialize;
use strongroom_core::identity::Fingerprint;
use strongroom_server::init::{InitOptions, init};

use crate::args::Globals;
use crate::connection::{block_on, new_passphrase};
use crate::exit::{Failure, Outcome};

/// Make a vault in a folder: its root key, vault key, configuration, and a home for its operator.
///
/// Writes files only, and overwrites none. Keep a copy of root.age and root.identity somewhere safe: without them nothing in
/// the vault can be read again.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  strongroom init ./vault
  strongroom init ./vault --name vault.example.org --listen 0.0.0.0:7443")]
pub struct Init {
    /// The folder; made if it is not there.
    folder: PathBuf,
    /// The vault's name: the first part of every ledger's origin. It can never be changed.
    #[arg(long)]
    name: Option<String>,
    /// Where `serve` listens.
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Seal the root key with a passphrase instead of a file: asked for on a terminal, else the first line of standard input.
    #[arg(long)]
    passphrase: bool,
}

#[derive(Debug, Serialize)]
struct Made {
    folder: PathBuf,
    vault_key: Fingerprint,
    operator: Fingerprint,
}

impl Init {
    /// Does it.
    ///
    /// # Errors
    /// There is a vault already, or the folder cannot be written.
    pub fn run(self, globals: &Globals) -> Outcome {
        let passphrase = self.passphrase.then(|| new_passphrase("the root key")).transpose()?;
        let options = InitOptions { name: self.name, listen: self.listen, passphrase };
        let made = block_on(async {
            init(&self.folder, options).await.map_err(|error| {
                Failure::new(error.reason(), error.to_string(), "name another folder, or look at what is in this one")
            })
        })?;
        let made = Made { folder: self.folder, vault_key: made.vault_key, operator: made.operator };
        globals.output.result(&made, |made| {
            let folder = made.folder.display();
            format!(
                "{folder} holds a new vault\n\
                 vault key   {}\n\
                 operator    {}, with {folder}/operator as home\n\
                 next        strongroom serve {folder}",
                made.vault_key, made.operator
            )
        })
    }
}
