//! `demo`: a lab and a vendor, a vault between them, and what the vault does when the vendor is breached.
//!
//! Everything is real: a server in this process on a free port of this machine, TLS, the SDK on both sides, a vault on this disk.
//! Every number that is printed was measured in this run.

mod cast;
mod data;
mod sample;
mod search;
mod stage;
mod story;
mod tell;
mod theft;

use std::path::{Path, PathBuf};
use std::time::Instant;

use strongroom_core::reason::Reason;

use crate::connection::interrupted;
use crate::exit::{Failure, Outcome};
use crate::globals::Globals;
use stage::Stage;
use tell::Tell;

/// Play a lab and a vendor against a real vault in this process, and tell what happens. Takes under half a minute.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  strongroom demo
  strongroom demo --data gsm8k.jsonl --keep ./demo
  strongroom demo --output json | jq -r 'select(.fact).fact'")]
pub struct Demo {
    /// Use this file, or the files of this folder, instead of made-up items; .jsonl files are split by lines.
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// Leave the vault and everybody's home in this folder, and say how to go on.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

impl Demo {
    /// Does it.
    ///
    /// # Errors
    /// Something did not go as the story has it.
    pub fn run(self, globals: &Globals) -> Outcome {
        let temporary = match &self.keep {
            Some(_) => None,
            None => Some(
                tempfile::Builder::new()
                    .prefix("strongroom-demo-")
                    .tempdir()
                    .map_err(|error| Failure::stdio(&error))?,
            ),
        };
        let folder = match (&self.keep, &temporary) {
            (Some(keep), _) => keep.clone(),
            (None, Some(temporary)) => temporary.path().to_owned(),
            (None, None) => return Err(Failure::usage("there is no folder to play in", "add --keep DIR")),
        };
        std::fs::create_dir_all(&folder).map_err(|error| Failure::file(&folder, &error))?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime =
            runtime.map_err(|error| Failure::new(Reason::Internal, format!("no runtime: {error}"), "try again"))?;
        let done = runtime.block_on(async {
            tokio::select! {
                done = self.play(globals, &folder) => done,
                () = interrupted() => Err(Failure::interrupted()),
            }
        });
        runtime.shutdown_timeout(std::time::Duration::from_secs(2));
        done
    }

    async fn play(&self, globals: &Globals, folder: &Path) -> Outcome {
        let mut tell = Tell::new(globals.output);
        let start = Instant::now();
        let items = data::Items::new(self.data.as_deref())?;
        let stage = Stage::set(folder).await?;
        story::tell(globals, &mut tell, &stage, &items).await?;
        let address = stage.address;
        stage.strike().await?;
        tell.note(&format!("\nAll of this took {:.1} s.", start.elapsed().as_secs_f64()))?;
        match &self.keep {
            None => tell.note(
                "The vault and its keys are deleted now. To keep them and go on by hand: strongroom demo --keep ./demo",
            ),
            Some(_) => tell.note(&go_on(folder, address, items.folder)),
        }
    }
}

/// The commands that go on from here.
fn go_on(folder: &Path, address: std::net::SocketAddr, items: &str) -> String {
    let folder = folder.display();
    format!(
        "To go on from here:\n\
         \x20 strongroom serve {folder}/vault --listen {address} &\n\
         \x20 strongroom --home {folder}/lab audit log acme --vendor labelco\n\
         \x20 strongroom --home {folder}/lab vendor resume acme/labelco --note \"the demo goes on\"\n\
         \x20 strongroom --home {folder}/labelco ls -l acme/rlhf/{items}\n\
         \x20 strongroom --home {folder}/lab grant list acme"
    )
}
