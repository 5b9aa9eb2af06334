//! The strongroom command, as a binary of this package.

fn main() -> std::process::ExitCode {
    strongroom_cli::run(std::env::args_os())
}
