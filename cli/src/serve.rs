//! `serve`: the server, in this process.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Serialize;
use strongroom_core::identity::Fingerprint;
use strongroom_core::reason::Reason;
use strongroom_server::config::Config;
use strongroom_server::control::Control;
use strongroom_server::{Options, Server, init, process};
use tracing_subscriber::EnvFilter;

use crate::connection::{Interrupts, interrupted};
use crate::exit::{Failure, Outcome};
use crate::globals::Globals;
use crate::not_serving::failure;
use crate::output::note;
use crate::root::new::put_down;

/// Serve a vault until Ctrl-C or SIGTERM; then finish the calls that are under way.
///
/// If the root key needs a passphrase or a PIN, the server starts locked: it has no port until `strongroom unlock` opened it. With
/// --passphrase-file, or STRONGROOM_ROOT_PASSPHRASE in its environment, it opens by itself.
///
/// Writes one line to stdout once it accepts: `strongroom listening on ADDR, vault key SHA256:…`. Logs go to stderr; RUST_LOG
/// chooses what is logged (info, debug, strongroom_server=trace).
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  strongroom serve ./vault
  strongroom serve ./vault --listen 0.0.0.0:7443 --log-format json")]
pub struct Serve {
    /// The vault's folder, made by `init`.
    folder: PathBuf,
    /// Where to listen, instead of what strongroom.toml says; port 0 takes a free one.
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// A file whose first line is the root key's passphrase, or the token's PIN.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// How logs are written.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    log_format: LogFormat,
}

/// How logs are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For programs: one JSON object a line.
    Json,
}

#[derive(Debug, Serialize)]
struct Listening {
    listening: SocketAddr,
    vault_key: Fingerprint,
}

impl Serve {
    /// Does it.
    ///
    /// # Errors
    /// There is no vault, its root key does not open, the port is taken, or the server failed.
    pub fn run(self, globals: &Globals) -> Outcome {
        let hygiene = process::harden();
        self.log()?;
        if !hygiene.undumpable {
            tracing::warn!("core dumps and debuggers of this user cannot be shut out on this system");
        }
        if !hygiene.locked {
            tracing::info!("memory is not locked: raise RLIMIT_MEMLOCK to keep keys out of swap");
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime = runtime.map_err(|error| {
            Failure::new(Reason::Internal, format!("no runtime: {error}"), "look at the limits of this process")
        })?;
        runtime.block_on(async {
            tokio::select! {
                done = self.serve(globals) => done,
                // Who asks twice does not want to wait.
                () = async { interrupted().await; interrupted().await } => {
                    Err(Failure::interrupted())
                }
            }
        })
    }

    async fn serve(&self, globals: &Globals) -> Outcome {
        // From here on: one that comes while the server opens, or just as it says that it listens, ends it too.
        let mut interrupts = Interrupts::listen().map_err(|error| Failure::stdio(&error))?;
        let secret = put_down(self.passphrase_file.as_deref())?;
        let config = Config::load(&self.folder).map_err(|error| failure(&error.into()))?;
        let control = Control::start(&self.folder, &config).await.map_err(|error| failure(&error))?;
        let options = Options { listen: self.listen, secret, control: Some(control), ..Options::default() };
        let server = tokio::select! {
            opened = Server::open(&self.folder, options) => opened.map_err(|error| failure(&error))?,
            // It may have waited to be unlocked; there are no calls under way yet.
            () = interrupts.next() => return Ok(()),
        };
        let server = server.listen().await.map_err(|error| failure(&error))?;
        let (listening, vault_key) = (server.address(), server.vault_key());
        if let Err(error) = init::announce(&self.folder, listening, vault_key) {
            tracing::warn!(%error, "the operator's home does not learn the address");
        }
        globals.output.result(&Listening { listening, vault_key }, |it| {
            format!("strongroom listening on {}, vault key {}", it.listening, it.vault_key)
        })?;
        server.serve(async move { interrupts.next().await }).await.map_err(|error| failure(&error))
    }

    fn log(&self) -> Outcome {
        let filter = match std::env::var("RUST_LOG") {
            Ok(directives) if !directives.is_empty() => EnvFilter::try_new(directives)
                .map_err(|error| Failure::usage(format!("RUST_LOG: {error}"), "write info, debug, or target=level"))?,
            _ => EnvFilter::new("info"),
        };
        let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
        let set = match self.log_format {
            LogFormat::Json => builder.json().try_init(),
            LogFormat::Text => {
                let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
                builder.with_ansi(colours).try_init()
            }
        };
        if let Err(error) = set {
            note(&format!("note: no logs are written: {error}"));
        }
        Ok(())
    }
}
