//! `root`: the key that everything is under: who keeps it, and how another takes over.

pub mod new;

use std::path::PathBuf;

use clap::Subcommand;
use serde::Serialize;
use strongroom_core::identity::Fingerprint;
use strongroom_server::control::ask::{ask, health};
use strongroom_server::control::{Answer, Phase, Request, RootProgress};
use strongroom_server::keys::root::need;

use crate::exit::{Failure, Outcome};
use crate::globals::Globals;
use crate::progress::Progress;
use crate::unlock::failure;
use new::{Keeper, NewRootKey};

/// Have another root key take over, and see how far it is. On the server's machine, over the socket in the vault's folder.
#[derive(Debug, Subcommand)]
pub enum Root {
    /// Have another root key take over while the vault serves: of a new file, or at another keeper.
    ///
    /// Every key of the vault is wrapped anew, and then strongroom.toml names the new root key. The old one opens backups from before,
    /// and nothing else: keep it as long as those. With several nodes, the new key's files and root.next.toml go into every node's folder,
    /// where `root join` takes them up; nothing is wrapped anew before all nodes have it.
    #[command(after_help = "\
Examples:
  strongroom root rotate ./vault --to file
  strongroom root rotate ./vault --to pkcs11 --module /usr/lib/softhsm/libsofthsm2.so --token strongroom --key root --pin-file ./pin
  strongroom root rotate ./vault --to aws-kms --key alias/strongroom --region eu-central-1")]
    Rotate {
        /// The vault's folder, that a server runs over.
        folder: PathBuf,
        /// Who keeps the new root key.
        #[arg(long, value_enum, value_name = "KEEPER")]
        to: Keeper,
        /// How it is kept.
        #[command(flatten)]
        new: NewRootKey,
        /// Do not wait: the server goes on by itself.
        #[arg(long)]
        detach: bool,
    },
    /// Have this node take up the root key that another node of the vault rotates to: root.next.toml, and for a file root-….age and
    /// root-….identity, were copied from that node's folder into this one's.
    #[command(after_help = "\
Examples:
  strongroom root join ./vault")]
    Join {
        /// The node's folder, that a server runs over.
        folder: PathBuf,
        /// Do not wait.
        #[arg(long)]
        detach: bool,
    },
    /// Tell how the server over a folder is: locked or not, its root key, and how far a rotation of it is.
    #[command(after_help = "\
Examples:
  strongroom root status ./vault")]
    Status {
        /// The vault's folder, that a server runs over.
        folder: PathBuf,
    },
}

#[derive(Debug, Serialize)]
struct Status {
    phase: Phase,
    version: String,
    process: u32,
    vault_key: Fingerprint,
    #[serde(flatten)]
    root: RootProgress,
}

impl Root {
    /// Does it.
    ///
    /// # Errors
    /// No server runs over the folder, it is locked, or the new root key cannot be had.
    pub fn run(self, globals: &Globals) -> Outcome {
        match self {
            Self::Rotate { folder, to, new, detach } => {
                let request = Request::RotateRoot { to: new.of(to)?, detach };
                follow(globals, &folder, &request, detach)
            }
            Self::Join { folder, detach } => {
                let next = strongroom_server::config::RootProvider::read_alone(
                    &folder,
                    strongroom_server::keys::root::folder::NEXT_FILE,
                );
                let next = next.map_err(|error| crate::not_serving::failure(&error.into()))?;
                let secret = match next.as_ref().and_then(need) {
                    Some(need) => Some((&new::ask(need.words())?).into()),
                    None => None,
                };
                follow(globals, &folder, &Request::JoinRoot { secret, detach }, detach)
            }
            Self::Status { folder } => {
                let asked = health(&folder).map_err(|error| failure(&folder, &error))?;
                let root = RootProgress { root: asked.root, ..RootProgress::default() };
                let status = Status {
                    phase: asked.phase,
                    version: asked.version,
                    process: asked.process,
                    vault_key: asked.vault_key,
                    root: asked.progress.unwrap_or(root),
                };
                globals.output.result(&status, Status::words)
            }
        }
    }
}

/// Has it done, and follows it to its end unless it is to go on by itself.
fn follow(globals: &Globals, folder: &std::path::Path, request: &Request, detach: bool) -> Outcome {
    let bar = (!detach).then(|| Progress::of(globals, "wrapping keys anew", 0, "keys"));
    let mut waits = false;
    let answer = ask(folder, request, &mut |answer| {
        if let (Answer::Root(progress), Some(bar)) = (answer, &bar) {
            bar.set(progress.done, progress.total);
            if !progress.waiting_for.is_empty() && !std::mem::replace(&mut waits, true) {
                crate::output::note(&format!(
                    "note: waits for {} to have the new root key: see strongroom root join --help",
                    progress.waiting_for.join(", ")
                ));
            }
        }
    });
    drop(bar);
    let answer = answer.map_err(|error| failure(folder, &error))?;
    let Answer::Root(progress) = answer else {
        return Err(Failure::new(
            strongroom_core::reason::Reason::Internal,
            "the server answers something else",
            "use the same version for both",
        ));
    };
    if progress.rotating && !detach {
        let detail = "the server broke off before the new root key had taken over";
        let reason = strongroom_core::reason::Reason::Unavailable;
        return Err(Failure::new(reason, detail, "start it again: it goes on by itself; see root status"));
    }
    globals.output.result(&progress, |progress| {
        let (root, provider) = (&progress.root, &progress.provider);
        if progress.rotating {
            format!("{root} ({provider}) takes over; strongroom root status {} tells how far it is", folder.display())
        } else {
            format!(
                "{root} ({provider}) has taken over: {} keys are under it, and strongroom.toml names it\n\
                 the old one still opens backups of the database from before: keep it as long as those, then destroy it",
                progress.total
            )
        }
    })
}

impl Status {
    fn words(&self) -> String {
        let phase = match self.phase {
            Phase::Locked => "locked: strongroom unlock opens it",
            Phase::Opening => "opening",
            Phase::Ready => "serves",
            Phase::Stopping => "stops",
        };
        let mut lines = vec![
            format!("server     {phase} (strongroom {}, process {})", self.version, self.process),
            format!("vault key  {}", self.vault_key),
            format!("root key   {} {}", self.root.root, self.root.provider).trim_end().to_owned(),
        ];
        if self.root.rotating {
            lines.push(format!("rotation   {} of {} keys are under it", self.root.done, self.root.total));
            if !self.root.waiting_for.is_empty() {
                lines.push(format!("waits for  {} to have it: strongroom root join", self.root.waiting_for.join(", ")));
            }
            if self.root.unopened > 0 {
                lines.push(format!(
                    "unopened   {} keys do not open, and keep the old root key: see the log",
                    self.root.unopened
                ));
            }
        }
        lines.extend(self.root.error.as_ref().map(|error| format!("error      {error}")));
        lines.join("\n")
    }
}
