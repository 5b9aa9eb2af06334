//! `unlock`: what only a human knows, to a server that waits for it.

use std::path::{Path, PathBuf};

use serde::Serialize;
use strongroom_server::config::Config;
use strongroom_server::control::ask::{AskError, ask, health};
use strongroom_server::control::{Phase, Request};
use strongroom_server::keys::root::need;

use crate::exit::{Failure, Outcome};
use crate::globals::Globals;
use crate::root::new as root;

/// Unlock a server that was started locked: give it the root key's passphrase, or the token's PIN.
///
/// Asked for on a terminal without echo, else the first line of standard input. It goes over a socket in the vault's folder, to a
/// server of this machine and user.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  strongroom unlock ./vault
  strongroom unlock ./vault --passphrase-file /run/secrets/passphrase")]
pub struct Unlock {
    /// The vault's folder, that a server runs over.
    folder: PathBuf,
    /// A file whose first line is the passphrase, or the PIN.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Unlocked {
    unlocked: bool,
    root: String,
}

impl Unlock {
    /// Does it.
    ///
    /// # Errors
    /// No server runs, or the passphrase or PIN is the wrong one.
    pub fn run(self, globals: &Globals) -> Outcome {
        let asked = health(&self.folder).map_err(|error| failure(&self.folder, &error))?;
        if asked.phase != Phase::Locked {
            let open = Unlocked { unlocked: false, root: asked.root };
            return globals.output.result(&open, |_| "it is not locked: nothing to do".to_owned());
        }
        let secret = match root::put_down(self.passphrase_file.as_deref())? {
            Some(secret) => secret,
            None => {
                let config = Config::load(&self.folder).map_err(|error| crate::not_serving::failure(&error.into()))?;
                root::ask(need(&config.root).map_or("passphrase of the root key", |need| need.words()))?
            }
        };
        let request = Request::Unlock { secret: (&secret).into() };
        ask(&self.folder, &request, &mut |_| ()).map_err(|error| failure(&self.folder, &error))?;
        let done = Unlocked { unlocked: true, root: asked.root };
        globals.output.result(&done, |done| format!("unlocked, with root key {}", done.root))
    }
}

/// Why a server's socket was of no use, and what to do.
pub(crate) fn failure(folder: &Path, error: &AskError) -> Failure {
    let advice = match error {
        AskError::Nobody(_) => format!("start it: strongroom serve {}", folder.display()),
        AskError::Io { .. } => "run this as the server's user, on its machine".to_owned(),
        AskError::Failed { .. } => "look at the server's log, and try again".to_owned(),
        AskError::Other => "use the same version for both".to_owned(),
    };
    Failure::new(error.reason(), error.to_string(), advice)
}
