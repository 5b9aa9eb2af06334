//! Completions and man pages, made from the same tree that parses the command line.

use std::path::PathBuf;

use clap::CommandFactory;

use crate::args::Cli;
use crate::exit::{Failure, Outcome};
use crate::output::{line, note};

/// Write the completions of a shell to stdout.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  strongroom completions bash > ~/.local/share/bash-completion/completions/strongroom
  strongroom completions zsh > ~/.zfunc/_strongroom")]
pub struct Completions {
    /// The shell.
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

/// Write the man pages into a folder: one page a verb.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  strongroom man ~/.local/share/man/man1 && man strongroom-put")]
pub struct Man {
    /// The folder; made if it is not there.
    #[arg(default_value = "man", value_name = "DIR")]
    folder: PathBuf,
}

impl Completions {
    /// Writes them.
    ///
    /// # Errors
    /// stdout cannot be written.
    pub fn run(self) -> Outcome {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "strongroom", &mut script);
        line(&String::from_utf8_lossy(&script))
    }
}

impl Man {
    /// Writes them.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn run(self) -> Outcome {
        let fail = |error| Failure::file(&self.folder, &error);
        std::fs::create_dir_all(&self.folder).map_err(fail)?;
        clap_mangen::generate_to(Cli::command(), &self.folder).map_err(fail)?;
        note(&format!("the man pages are in {}", self.folder.display()));
        Ok(())
    }
}
