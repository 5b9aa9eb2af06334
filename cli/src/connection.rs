//! From a command to a vault: the home, its identity, a runtime, and an end on Ctrl-C that leaves nothing half done.

use std::io::{self, IsTerminal};
use std::time::Duration;

use strongroom_client::{Connect, Home, Vault};
use strongroom_core::reason::Reason;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;
use zeroize::Zeroizing;

use crate::exit::{Failure, Outcome};
use crate::globals::Globals;

impl Globals {
    /// The home that was named, or the user's own.
    pub fn home(&self) -> Home {
        Home::open(self.home.clone().unwrap_or_else(Home::default_path)).with_passphrase(identity_passphrase)
    }

    /// How to reach the vault: as the home says that was named, else as the environment says.
    fn connect(&self) -> Outcome<Connect> {
        let home = self.home();
        let connect = if self.home.is_some() { Connect::from_home(&home) } else { Connect::from_env_or(&home) };
        let advice = "log in: strongroom login HOST:PORT --server-key SHA256:…";
        connect.map_err(|error| Failure::from(error).if_not_found(advice))
    }

    /// Connects, and does `work`.
    ///
    /// # Errors
    /// No home, nobody there, or what came in the way of the work.
    pub fn with_vault<T>(&self, work: impl AsyncFnOnce(&Vault) -> Outcome<T>) -> Outcome<T> {
        show_warnings();
        let connect = self.connect()?.incident(self.incident);
        block_on(async {
            let vault = connect.open().await?;
            let done = work(&vault).await;
            // What was learned of the ledger is kept also when the work failed; a home that cannot be written is no reason
            // to call finished work failed.
            if let Err(error) = vault.flush().await {
                crate::output::note(&format!(
                    "note: what this command learned of the ledger is not remembered: {}",
                    error.detail()
                ));
            }
            done
        })
    }
}

/// What the SDK warns of while it goes on (a grant that ends soon, a wait for the next minute, an identity that others may read) is
/// shown, a line each on standard error; RUST_LOG says what more.
fn show_warnings() {
    let warnings = "strongroom_client::home=warn,strongroom_client::successor=warn";
    let asked = std::env::var("RUST_LOG").ok().filter(|directives| !directives.is_empty());
    let filter = asked.and_then(|directives| EnvFilter::try_new(directives).ok());
    let filter = filter.unwrap_or_else(|| EnvFilter::new(warnings));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    // Where logs are written already, they have it.
    let _ = lines.without_time().with_target(false).with_ansi(false).try_init();
}

/// Runs to the end, or until somebody interrupts: then everything is dropped in order, temporary files with it.
///
/// # Errors
/// What `work` says, or that it was interrupted.
pub fn block_on<T>(work: impl Future<Output = Outcome<T>>) -> Outcome<T> {
    // One thread moves the bytes; sealing and opening have the SDK's own.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime =
        runtime.map_err(|error| Failure::new(Reason::Internal, format!("no runtime: {error}"), "try again"))?;
    let done = runtime.block_on(async {
        tokio::select! {
            done = work => done,
            () = interrupted() => Err(Failure::interrupted()),
        }
    });
    // A thread that writes files clears away the unfinished one; one that waits for standard input cannot be called off.
    runtime.shutdown_timeout(Duration::from_millis(500));
    done
}

/// Waits for Ctrl-C, or for being asked to end.
pub async fn interrupted() {
    match Interrupts::listen() {
        Ok(mut interrupts) => interrupts.next().await,
        Err(_) => std::future::pending().await,
    }
}

/// Ctrl-C, and being asked to end: none that comes after this was made is missed, also while nobody waits for one.
pub struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupts {
    /// Listens from now on.
    ///
    /// # Errors
    /// The system gives no signals.
    pub fn listen() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for the next one.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

fn identity_passphrase() -> io::Result<Zeroizing<String>> {
    passphrase("passphrase of the identity: ")
}

/// Asks for a passphrase on a terminal; elsewhere the first line of standard input is one.
///
/// # Errors
/// Nothing can be read.
pub fn passphrase(prompt: &str) -> io::Result<Zeroizing<String>> {
    if io::stdin().is_terminal() {
        return rpassword::prompt_password(prompt).map(Zeroizing::new);
    }
    let mut line = Zeroizing::new(String::new());
    io::stdin().read_line(&mut line)?;
    Ok(Zeroizing::new(line.trim_end_matches(['\n', '\r']).to_owned()))
}

/// A passphrase that is new: on a terminal it is asked for twice.
///
/// # Errors
/// Nothing can be read, it is empty, or the two differ.
pub fn new_passphrase(what: &str) -> Outcome<Zeroizing<String>> {
    let ask = |prompt: &str| passphrase(prompt).map_err(|error| Failure::stdio(&error));
    let first = ask(&format!("new passphrase of {what}: "))?;
    if first.is_empty() {
        return Err(Failure::usage(
            "the passphrase is empty",
            "give one, on a terminal or as a line of standard input",
        ));
    }
    if io::stdin().is_terminal() && *ask("once more: ")? != *first {
        return Err(Failure::usage("the two passphrases differ", "try again"));
    }
    Ok(first)
}
