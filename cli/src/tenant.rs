//! `tenant`: the labs that keep data in a vault. For its operator; a freeze is for the tenant's admins.

use clap::Subcommand;
use serde::Serialize;
use strongroom_client::admin::TenantInfo;
use strongroom_core::identity::Fingerprint;
use strongroom_core::names::TenantName;
use strongroom_core::reason::Reason;

use crate::exit::{Failure, Outcome};
use crate::globals::Globals;
use crate::output::Row;

/// Create, list and freeze tenants.
#[derive(Debug, Subcommand)]
pub enum Tenant {
    /// Create a tenant with its first admins.
    #[command(after_help = "\
Examples:
  strongroom --home ./vault/operator tenant create acme --admin SHA256:hX3…")]
    Create {
        /// Its name.
        tenant: TenantName,
        /// The fingerprint of an admin; may be given again.
        #[arg(long, required = true, value_name = "SHA256:…")]
        admin: Vec<Fingerprint>,
    },
    /// List the vault's tenants.
    #[command(after_help = "\
Examples:
  strongroom --home ./vault/operator tenant list")]
    List,
    /// Show one tenant: its ledger's origin and length, and the public key that its checkpoints are verified with.
    #[command(after_help = "\
Examples:
  strongroom --home ./vault/operator tenant show acme")]
    Show {
        /// Its name.
        tenant: TenantName,
    },
    /// Stop all reads and writes in a tenant at once, for everybody, admins too; reads that are under way end. For its admins.
    #[command(after_help = "\
Examples:
  strongroom --home lab tenant freeze acme --note \"incident 42\"")]
    Freeze {
        /// Its name.
        tenant: TenantName,
        /// Why; kept in the ledger.
        #[arg(long)]
        note: Option<String>,
    },
    /// Let a frozen tenant be read and written again. For its admins.
    #[command(after_help = "\
Examples:
  strongroom --home lab tenant unfreeze acme --note \"incident 42 closed\"")]
    Unfreeze {
        /// Its name.
        tenant: TenantName,
        /// Why; kept in the ledger.
        #[arg(long)]
        note: Option<String>,
    },
}

#[derive(Debug, Serialize)]
struct Changed {
    tenant: TenantName,
    index: u64,
}

#[derive(Debug, Serialize)]
struct Shown {
    tenant: TenantName,
    origin: String,
    entries: u64,
    stopped: Option<String>,
    log_key: Option<String>,
    /// That key, and each that came after it, with the entry that put it in its place.
    log_keys: Vec<LogKey>,
}

#[derive(Debug, Serialize)]
struct LogKey {
    key: String,
    after: Option<u64>,
}

impl From<TenantInfo> for Shown {
    fn from(info: TenantInfo) -> Self {
        Self {
            tenant: info.name,
            origin: info.origin.to_string(),
            entries: info.size.0,
            stopped: info.stopped,
            log_key: info.log_key.map(|key| key.to_string()),
            log_keys: info
                .log_keys
                .iter()
                .flat_map(|keys| keys.all())
                .map(|(after, key)| LogKey { key: key.to_string(), after: after.map(|index| index.0) })
                .collect(),
        }
    }
}

impl Shown {
    /// All there is to say, line by line.
    fn page(&self) -> String {
        let state = self.cells().swap_remove(2);
        let key = self.log_key.as_deref().unwrap_or("(its keys cannot be opened)");
        let lines = [
            ("tenant", self.tenant.as_str()),
            ("entries", &self.entries.to_string()),
            ("state", &state),
            ("ledger", &self.origin),
            ("log key", key),
        ];
        let mut page = lines.map(|(name, value)| format!("{name:<8} {value}")).join("\n");
        for LogKey { key, after } in self.log_keys.iter().skip(1) {
            let after = after.map(|index| format!(" since entry {index}")).unwrap_or_default();
            page.push_str(&format!("\n{:<8} {key}{after}", ""));
        }
        page
    }
}

impl Row for Shown {
    const HEADS: &'static [&'static str] = &["TENANT", "ENTRIES", "STATE", "LEDGER"];

    fn cells(&self) -> Vec<String> {
        let state = self.stopped.as_deref().map_or("running".to_owned(), |why| format!("stopped: {why}"));
        vec![self.tenant.to_string(), self.entries.to_string(), state, self.origin.clone()]
    }
}

#[derive(Debug, Serialize)]
struct Created {
    tenant: TenantName,
    origin: String,
    index: u64,
}

impl Tenant {
    /// Does it.
    ///
    /// # Errors
    /// The caller is no operator (or, for a freeze, no admin), the name is taken, or there is none.
    pub fn run(self, globals: &Globals) -> Outcome {
        globals.with_vault(async |vault| match self {
            Self::Create { tenant, mut admin } => {
                admin.sort_unstable();
                admin.dedup();
                let (origin, done) = vault.create_tenant(&tenant, &admin).await?;
                let created = Created { tenant, origin: origin.to_string(), index: done.index.0 };
                globals
                    .output
                    .result(&created, |created| format!("{} has the ledger {}", created.tenant, created.origin))
            }
            Self::List => {
                let tenants = vault.list_tenants().await?;
                globals.output.list(&tenants.into_iter().map(Shown::from).collect::<Vec<_>>())
            }
            Self::Freeze { tenant, note } => {
                let index = vault.freeze_tenant(&tenant, note).await?.index.0;
                globals.output.result(&Changed { tenant, index }, |changed| {
                    format!("{} is frozen: nobody reads or writes in it from here on (entry {index})", changed.tenant)
                })
            }
            Self::Unfreeze { tenant, note } => {
                let index = vault.unfreeze_tenant(&tenant, note).await?.index.0;
                globals.output.result(&Changed { tenant, index }, |changed| {
                    format!("{} is no longer frozen (entry {index})", changed.tenant)
                })
            }
            Self::Show { tenant } => {
                let tenants = vault.list_tenants().await?;
                let found = tenants.into_iter().find(|info| info.name == tenant);
                let none = || Failure::new(Reason::NotFound, format!("there is no tenant {tenant}"), "see tenant list");
                let found = Shown::from(found.ok_or_else(none)?);
                globals.output.result(&found, Shown::page)
            }
        })
    }
}
