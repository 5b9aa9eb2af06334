//! `identity`: the key in the home.

use clap::Subcommand;
use serde::Serialize;
use strongroom_core::identity::Fingerprint;

use crate::connection::new_passphrase;
use crate::exit::Outcome;
use crate::globals::Globals;
use crate::output::note;

/// Make or show the identity of a home.
#[derive(Debug, Subcommand)]
pub enum Identity {
    /// Make an identity where there is none, and print its fingerprint.
    #[command(after_help = "\
Examples:
  strongroom --home lab identity new
  strongroom --home lab identity new --passphrase")]
    New {
        /// Encrypt it with a passphrase: asked for on a terminal, else the first line of standard input.
        #[arg(long)]
        passphrase: bool,
    },
    /// Print the identity's fingerprint, alone.
    #[command(after_help = "\
Examples:
  strongroom --home lab identity show
  strongroom tenant create acme --admin \"$(strongroom --home lab identity show)\"")]
    Show,
}

#[derive(Debug, Serialize)]
struct Shown {
    fingerprint: Fingerprint,
}

impl Identity {
    /// Does it.
    ///
    /// # Errors
    /// There is one already, or none.
    pub fn run(self, globals: &Globals) -> Outcome {
        let home = globals.home();
        let identity = match self {
            Self::New { passphrase } => {
                let passphrase = passphrase.then(|| new_passphrase("the identity")).transpose()?;
                let made = home.create_identity(passphrase.as_ref().map(|text| text.as_str()))?;
                note(&format!("a new identity is in {}", home.path().display()));
                made
            }
            Self::Show => home.identity()?,
        };
        globals.output.result(&Shown { fingerprint: identity.fingerprint() }, |shown| shown.fingerprint.to_string())
    }
}
