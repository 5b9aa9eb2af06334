//! What a monitor runs: a command of whoever runs it, told on its standard input.

use std::process::Stdio;
use std::time::Duration;

use serde::Serialize;
use strongroom_client::audit::LedgerLine;
use strongroom_core::names::TenantName;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::audit::log::Shown;
use crate::output::note;

/// How long a command may take for one entry.
const WITHIN: Duration = Duration::from_secs(60);

/// A command, as the shell takes it.
pub(super) struct Hook(pub(super) String);

#[derive(Serialize)]
struct Told<'a> {
    tenant: &'a TenantName,
    #[serde(flatten)]
    shown: Shown<'a>,
}

impl Hook {
    /// Tells it an entry. That it fails is said, and stops nothing: the ledger is watched all the same.
    pub(super) async fn entry(&self, tenant: &TenantName, line: &LedgerLine) {
        self.run(&Told { tenant, shown: Shown::of(line) }).await;
    }

    /// Tells it something as JSON.
    pub(super) async fn run<T: Serialize>(&self, told: &T) {
        if let Err(why) = self.tried(told).await {
            note(&format!("note: the command of --exec {why}"));
        }
    }

    async fn tried<T: Serialize>(&self, told: &T) -> Result<(), String> {
        let mut json = serde_json::to_vec(told).map_err(|error| format!("could not be told: {error}"))?;
        json.push(b'\n');
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(&self.0).stdin(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| format!("could not be started: {error}"))?;
        let ended = async {
            if let Some(mut stdin) = child.stdin.take() {
                // Whoever does not read is told nothing.
                let _ = stdin.write_all(&json).await;
            }
            child.wait().await
        };
        match tokio::time::timeout(WITHIN, ended).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(format!("ended with {status}")),
            Ok(Err(error)) => Err(format!("was lost: {error}")),
            Err(_) => Err(format!("took longer than {} s, and was ended", WITHIN.as_secs())),
        }
    }
}
