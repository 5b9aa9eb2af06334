//! `login` and `whoami`: which vault, and who one is there.

use serde::Serialize;
use strongroom_client::Connect;
use strongroom_core::identity::Fingerprint;
use strongroom_core::names::TenantName;

use crate::connection::block_on;
use crate::exit::Outcome;
use crate::globals::Globals;
use crate::output::note;

/// Remember a vault in the home, and make an identity there if there is none.
///
/// Connects once to see that the vault is there and holds the key that it should. Prints the identity's fingerprint, which is
/// what the vault's operator or the data's owner needs to let you in.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  strongroom login vault.example.org:7443 --server-key SHA256:5Rk…
  strongroom --home lab login 127.0.0.1:7443 --server-key SHA256:5Rk…")]
pub struct Login {
    /// Where the vault listens.
    #[arg(value_name = "HOST:PORT")]
    address: String,
    /// The fingerprint of the vault key, as its operator gave it to you: `serve` prints it.
    #[arg(long, value_name = "SHA256:…")]
    server_key: Fingerprint,
}

impl Login {
    /// Does it.
    ///
    /// # Errors
    /// Nobody there, another vault, or a home that cannot be written.
    pub fn run(self, globals: &Globals) -> Outcome {
        let home = globals.home();
        let identity = home.identity_or_create()?;
        let fingerprint = identity.fingerprint();
        // The one that was given, or the one that it signed for since.
        let server_key = block_on(async {
            let vault = Connect::to(&self.address, self.server_key, identity).open().await?;
            vault.status().await?;
            Ok(vault.server_key())
        })?;
        home.login(&self.address, server_key)?;
        note(&format!("{} now belongs to the vault at {}", home.path().display(), self.address));
        globals
            .output
            .result(&LoggedIn { fingerprint, server: self.address, server_key }, |done| done.fingerprint.to_string())
    }
}

#[derive(Debug, Serialize)]
struct LoggedIn {
    fingerprint: Fingerprint,
    server: String,
    server_key: Fingerprint,
}

/// Say which identity this is, and what it is to a vault or a tenant.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  strongroom whoami
  strongroom whoami acme")]
pub struct WhoAmI {
    /// A tenant.
    tenant: Option<TenantName>,
}

#[derive(Debug, Default, Serialize)]
struct Standing {
    fingerprint: Option<Fingerprint>,
    server_version: String,
    vault_id: String,
    vault_name: String,
    tenant: Option<TenantName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    operator: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    admin: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vendor: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    suspended: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<String>,
}

impl WhoAmI {
    /// Does it.
    ///
    /// # Errors
    /// Nobody there.
    pub fn run(self, globals: &Globals) -> Outcome {
        let standing = globals.with_vault(async |vault| {
            let status = vault.status().await?;
            let mut standing = Standing {
                fingerprint: Some(vault.fingerprint()),
                server_version: status.version,
                vault_id: status.vault_id.to_string(),
                vault_name: status.vault_name,
                ..Standing::default()
            };
            if let Some(tenant) = self.tenant {
                let who = vault.who_am_i(&tenant).await?;
                standing.tenant = Some(tenant);
                standing.operator = Some(who.operator);
                standing.admin = Some(who.admin);
                standing.suspended = who.vendor.as_ref().map(|_| who.suspended);
                standing.vendor = who.vendor.map(|vendor| vendor.to_string());
                standing.origin = who.origin.map(|origin| origin.to_string());
            }
            Ok(standing)
        })?;
        globals.output.result(&standing, Standing::words)
    }
}

impl Standing {
    fn words(&self) -> String {
        let key = self.fingerprint.map(|key| key.to_string()).unwrap_or_default();
        let vault = format!("vault {} ({}), strongroom {}", self.vault_name, self.vault_id, self.server_version);
        let Some(tenant) = &self.tenant else { return format!("{key}\n{vault}") };
        let mut roles = Vec::new();
        roles.extend(self.operator.filter(|is| *is).map(|_| "an operator of the server".to_owned()));
        roles.extend(self.admin.filter(|is| *is).map(|_| format!("an admin of {tenant}")));
        roles.extend(self.vendor.as_ref().map(|vendor| {
            let suspended = if self.suspended == Some(true) { ", suspended" } else { "" };
            format!("a key of {tenant}/{vendor}{suspended}")
        }));
        let role = if roles.is_empty() { format!("not known to {tenant}") } else { roles.join(" and ") };
        format!("{key}\n{vault}\n{role}")
    }
}
