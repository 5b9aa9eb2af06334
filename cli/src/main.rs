//! The strongroom command.

use std::process::ExitCode;

use mimalloc::MiMalloc;
use zeroizing_alloc::ZeroAlloc;

// Sealing and streaming allocate a buffer a frame; this allocator made the raw streams half again as fast. What is freed is
// overwritten: what others leave in a buffer (TLS, HTTP, age) may be a key.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<MiMalloc> = ZeroAlloc(MiMalloc);

fn main() -> ExitCode {
    strongroom_cli::run(std::env::args_os())
}
