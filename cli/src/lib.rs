//! The strongroom command: server, vault administration and data, in one binary.
//!
//! One file a command group. Arguments are parsed into the core's types at the edge; results go to stdout, words about them to
//! stderr; every failure is one line and one of seven exit codes (see [`exit`]).

pub mod allocator;
pub mod amount;
pub mod args;
pub mod audit;
pub mod cat;
pub mod connection;
pub mod dataset;
pub mod demo;
pub mod exit;
pub mod folder;
pub mod get;
pub mod globals;
pub mod grant;
pub mod identity;
pub mod incident;
pub mod init;
pub mod key;
pub mod ledger;
pub mod login;
pub mod ls;
pub mod migrate;
pub mod name;
mod not_serving;
pub mod output;
pub mod policy;
pub mod printable;
mod private;
pub mod progress;
pub mod put;
pub mod range;
pub mod receipts;
pub mod recover;
pub mod rm;
pub mod root;
pub mod serve;
pub mod shell;
pub mod stat;
pub mod tally;
pub mod tenant;
pub mod unlock;
pub mod vault_key;
pub mod vendor;
pub mod when;
pub mod writer;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use strongroom_server::keys::plugins;

use crate::args::Cli;
use crate::exit::of_clap;

/// Runs one command line, its first word the program's name.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    // Not a command of anybody's: this program, asked by itself.
    if args.get(1).is_some_and(|word| word == plugins::WORD) {
        return plugins::run();
    }
    plugins::are_run_by_this_program();
    let done = match Cli::try_parse_from(args) {
        Ok(cli) => cli.run(),
        Err(error) => of_clap(&error).and_then(|help| output::line(&help)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
