//! The strongroom command, as a binary of this package, with the allocator that the command has.

use mimalloc::MiMalloc;
use zeroizing_alloc::ZeroAlloc;

#[global_allocator]
static ALLOCATOR: ZeroAlloc<MiMalloc> = ZeroAlloc(MiMalloc);

fn main() -> std::process::ExitCode {
    strongroom_cli::run(std::env::args_os())
}
