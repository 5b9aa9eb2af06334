//! `init`: a vault, made of files alone.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Serialize;
use strongroom_core::identity::Fingerprint;
use strongroom_server::init::{InitOptions, init};

use crate::connection::block_on;
use crate::exit::{Failure, Outcome};
use crate::globals::Globals;
use crate::root::new::{Keeper, NewRootKey};

/// Make a vault in a folder: its root key, vault key, configuration, and a home for its operator.
///
/// Writes files only, and overwrites none. Keep a copy of root.age and root.identity somewhere safe: without them nothing in
/// the vault can be read again. With --root, an HSM or AWS KMS keeps the root key, and never gives it out.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  strongroom init ./vault
  strongroom init ./vault --name vault.example.org --listen 0.0.0.0:7443
  strongroom init ./vault --passphrase
  strongroom init ./vault --identity /run/secrets/age.identity
  strongroom init ./vault --root pkcs11 --module /usr/lib/softhsm/libsofthsm2.so --token strongroom --key root --pin-file ./pin
  strongroom init ./vault --root aws-kms --key alias/strongroom --region eu-central-1")]
pub struct Init {
    /// The folder; made if it is not there.
    folder: PathBuf,
    /// The vault's name: the first part of every ledger's origin. It can never be changed.
    #[arg(long)]
    name: Option<String>,
    /// Where `serve` listens.
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Who keeps the root key.
    #[arg(long, value_enum, default_value_t, value_name = "KEEPER")]
    root: Keeper,
    #[command(flatten)]
    root_key: NewRootKey,
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
        let root = self.root_key.of(self.root)?;
        let options = InitOptions { name: self.name, listen: self.listen, root };
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
