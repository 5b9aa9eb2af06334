//! The strongroom command, as a binary of this package, with the allocator that the command has.

use strongroom_cli::allocator::Allocator;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

fn main() -> std::process::ExitCode {
    strongroom_cli::run(std::env::args_os())
}
