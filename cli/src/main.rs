//! The strongroom command.

use std::process::ExitCode;

use strongroom_cli::allocator::Allocator;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

fn main() -> ExitCode {
    strongroom_cli::run(std::env::args_os())
}
