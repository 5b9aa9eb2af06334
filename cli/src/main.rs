//! The strongroom command.

use std::process::ExitCode;

// Sealing and streaming allocate a buffer a frame; this allocator made the raw streams half again as fast.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    strongroom_cli::run(std::env::args_os())
}
