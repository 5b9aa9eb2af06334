//! `key`: the versions of a tenant's key, and keys of callers on the whole server.

mod escrow;
mod rekey;
mod rotation;
mod shred;

use std::path::PathBuf;

use clap::Subcommand;
use serde::Serialize;
use strongroom_client::shredding::Shreddable;
use strongroom_core::identity::Fingerprint;
use strongroom_core::names::{TenantName, VendorName};

use crate::exit::{Failure, Outcome};
use crate::globals::Globals;
use crate::name::{self, TenantOrPlace};
use crate::output::{Row, confirm};
use crate::when::Moment;

/// Rotate a tenant's key, destroy old versions; shred what its keys seal; block a caller's key on the whole server.
#[derive(Debug, Subcommand)]
pub enum Key {
    /// Make a new version of a tenant's key, and wrap everything under it while reads and writes go on.
    #[command(after_help = "\
Examples:
  strongroom key rotate acme
  strongroom key rotate acme --detach
  strongroom key rotate acme --log
  strongroom --home ./vault/operator key rotate operators.0af1… --log     # the operators' own ledger, as `tenant list` names it
  strongroom key rotate acme --every 90d     # the vault does it by itself from now on; --every off ends that")]
    Rotate {
        /// The tenant.
        tenant: TenantName,
        /// Do not wait: the server goes on by itself.
        #[arg(long)]
        detach: bool,
        /// Rotate the key that signs the ledger's checkpoints instead. The one before signs it, so whoever knows that one follows.
        #[arg(long, conflicts_with = "detach")]
        log: bool,
        /// Do not rotate now: have the vault do it by itself, so often, or no longer.
        #[arg(long, value_name = "LENGTH|off", conflicts_with_all = ["detach", "log"])]
        every: Option<rotation::Every>,
    },
    /// Show the versions of a tenant's key, and how far the last rotation is.
    #[command(after_help = "\
Examples:
  strongroom key status acme")]
    Status {
        /// The tenant.
        tenant: TenantName,
    },
    /// Destroy an old version of a tenant's key, for good. Refused while anything is under it.
    #[command(after_help = "\
Examples:
  strongroom key destroy acme --version 1")]
    Destroy {
        /// The tenant.
        tenant: TenantName,
        /// The version.
        #[arg(long, value_name = "N")]
        version: u32,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
    /// Show, or change, to whom every version of a tenant's key is sealed, present and future: whoever has one of these age identities
    /// opens the tenant's objects without the server (see `recover`). Or export what that takes. A recipient of an age plugin needs the
    /// plugin on the server, named in its configuration (escrow.plugins).
    #[command(after_help = "\
Examples:
  strongroom key escrow acme --to age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p
  strongroom key escrow acme --remove age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p
  strongroom key escrow acme --export ./acme-catalog")]
    Escrow {
        /// The tenant.
        tenant: TenantName,
        /// An age recipient more; may be repeated.
        #[arg(long, value_name = "age1…")]
        to: Vec<String>,
        /// An age recipient fewer; may be repeated. What it was sealed before stays in copies.
        #[arg(long, value_name = "age1…")]
        remove: Vec<String>,
        /// Write the names, places and wrapped roots of all objects, and the sealed versions of the key, into this folder.
        #[arg(long, value_name = "DIR", conflicts_with_all = ["to", "remove"])]
        export: Option<PathBuf>,
    },
    /// Give all under a prefix of a dataset new keys: each object is read, sealed anew in this process and put in the place of the
    /// generation that was there. No plaintext touches a disk. What is changed meanwhile is left, and named.
    #[command(after_help = "\
Examples:
  strongroom key rekey acme/rlhf/math/
  strongroom key rekey acme --incident in_0af1…         # exactly what was exposed, and is still as it was
  strongroom key rekey acme --exposed-by labelco --since 2026-03-24
  strongroom key rekey acme/rlhf/ --before 1234 --yes   # goes on with one that was broken off")]
    Rekey {
        /// TENANT/DATASET/PREFIX: a folder, a beginning, an object; TENANT/DATASET/ is all of it. With --exposed-by or --incident,
        /// the TENANT.
        name: TenantOrPlace,
        /// What this vendor was exposed to, with all its workers, read or written; nothing else. Again, it does what is left.
        #[arg(long, value_name = "VENDOR")]
        exposed_by: Option<VendorName>,
        /// With --exposed-by: from this time on. All of time without it.
        #[arg(long, value_name = "TIME", requires = "exposed_by")]
        since: Option<Moment>,
        /// Leave out what was put as this entry or a later one: what one that was broken off has done already.
        #[arg(long, value_name = "ENTRY")]
        before: Option<u64>,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
    /// Destroy the keys of an object, of all under a prefix, of a dataset or of a tenant, for good: what they sealed can no longer
    /// be opened by anybody. Nothing of it is released from that moment on. On a terminal, the name is to be typed again.
    #[command(after_help = "\
Examples:
  strongroom key shred acme/rlhf/math/000007.json       # one object, every generation
  strongroom key shred acme/rlhf/math/                  # all below a folder
  strongroom key shred acme/rlhf/ --note \"contract over\" # the whole dataset, which is no more then
  strongroom key shred acme --yes                       # all of the tenant; only its ledger stays")]
    Shred {
        /// TENANT, TENANT/DATASET/, or a part of a dataset: a folder, a beginning, an object.
        #[arg(value_parser = name::parse::<Shreddable>)]
        what: Shreddable,
        /// Why; kept in the ledger.
        #[arg(long)]
        note: Option<String>,
        /// Do not wait: the server goes on by itself.
        #[arg(long)]
        detach: bool,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
    /// Stop a key on the whole server, in every tenant, at once: its sessions and reads that are under way end, and what it
    /// delegated is worth nothing. For operators.
    #[command(after_help = "\
Examples:
  strongroom --home ./vault/operator key block SHA256:q0T… --note \"seen on a forum\"")]
    Block {
        /// The key's fingerprint.
        #[arg(value_name = "SHA256:…")]
        key: Fingerprint,
        /// Why; kept in the operators' ledger, and told to each tenant that knows the key.
        #[arg(long)]
        note: Option<String>,
    },
    /// Let a blocked key be again what it was. For operators.
    #[command(after_help = "\
Examples:
  strongroom --home ./vault/operator key unblock SHA256:q0T…")]
    Unblock {
        /// The key's fingerprint.
        #[arg(value_name = "SHA256:…")]
        key: Fingerprint,
        /// Why; kept in the operators' ledger, and told to each tenant that knows the key.
        #[arg(long)]
        note: Option<String>,
    },
    /// List the keys that are blocked. For operators.
    #[command(after_help = "\
Examples:
  strongroom --home ./vault/operator key blocked")]
    Blocked,
}

#[derive(Debug, Serialize)]
struct Shown {
    key: Fingerprint,
    index: u64,
}

impl Row for Shown {
    const HEADS: &'static [&'static str] = &["KEY", "BLOCKED BY ENTRY"];

    fn cells(&self) -> Vec<String> {
        vec![self.key.to_string(), self.index.to_string()]
    }
}

impl Key {
    /// Does it.
    ///
    /// # Errors
    /// The caller is no admin or no operator; the key is blocked already, or not; objects are under the version to destroy.
    pub fn run(self, globals: &Globals) -> Outcome {
        if let Self::Destroy { tenant, version, yes } = &self {
            confirm(&format!("Destroy version {version} of the key of {tenant} for good?"), *yes)?;
        }
        if let Self::Rekey { name, yes, .. } = &self {
            confirm(&format!("Read and seal anew {}?", rekey::shown(name)), *yes)?;
        }
        if let Self::Shred { what, yes, .. } = &self {
            shred::ask(what, *yes)?;
        }
        globals.with_vault(async |vault| match self {
            Self::Rotate { tenant, log: true, .. } => rotation::rotate_log(globals, vault, &tenant).await,
            Self::Rotate { tenant, every: Some(every), .. } => rotation::every(globals, vault, &tenant, every).await,
            Self::Rotate { tenant, detach, .. } => rotation::rotate(globals, vault, &tenant, detach).await,
            Self::Status { tenant } => {
                let shreds = vault.shreds(&tenant).await?;
                rotation::show(globals, &tenant, vault.key_status(&tenant).await?, &shreds)
            }
            Self::Rekey { name: TenantOrPlace::Place(name), before, exposed_by: None, .. } => {
                rekey::rekey(globals, vault, &name, before).await
            }
            Self::Rekey { name: TenantOrPlace::Tenant(tenant), before: None, exposed_by, since, .. } => {
                rekey::exposed(globals, vault, &tenant, exposed_by, since).await
            }
            Self::Rekey { .. } => Err(Failure::usage(
                "it is either a part of a dataset, or what somebody was exposed to in a tenant",
                "write TENANT/DATASET/PREFIX, or TENANT --exposed-by VENDOR, or TENANT --incident in_…",
            )),
            Self::Escrow { tenant, export: Some(folder), .. } => escrow::export(globals, vault, &tenant, &folder).await,
            Self::Escrow { tenant, to, remove, export: None } => {
                escrow::set(globals, vault, &tenant, &to, &remove).await
            }
            Self::Shred { what, note, detach, .. } => shred::shred(globals, vault, &what, note, detach).await,
            Self::Destroy { tenant, version, .. } => {
                let done = vault.destroy_key(&tenant, version).await.map_err(|error| rotation::kept(&tenant, error))?;
                rotation::destroyed(globals, &tenant, version, &done)
            }
            Self::Block { key, note } => {
                let index = vault.block_key(key, note).await?.index.0;
                globals.output.result(&Shown { key, index }, |shown| {
                    format!(
                        "{} is blocked on the whole server (entry {} of the operators' ledger)",
                        shown.key, shown.index
                    )
                })
            }
            Self::Unblock { key, note } => {
                let index = vault.unblock_key(key, note).await?.index.0;
                globals.output.result(&Shown { key, index }, |shown| {
                    format!("{} is no longer blocked (entry {} of the operators' ledger)", shown.key, shown.index)
                })
            }
            Self::Blocked => {
                let keys = vault.blocked_keys().await?;
                let rows: Vec<_> = keys.into_iter().map(|(key, index)| Shown { key, index: index.0 }).collect();
                globals.output.list(&rows)
            }
        })
    }
}
