//! `vendor`: the outside parties that a tenant lets work on its data, and their keys.

use std::fmt::Display;

use clap::Subcommand;
use serde::Serialize;
use strongroom_client::VendorRef;
use strongroom_client::admin::OrderDone;
use strongroom_client::vendors::VendorInfo;
use strongroom_core::identity::Fingerprint;
use strongroom_core::ids::VendorId;
use strongroom_core::names::{TenantName, VendorName};

use crate::exit::{Failure, Outcome};
use crate::globals::Globals;
use crate::name;
use crate::name::short_key;
use crate::output::{Row, confirm};

/// Register vendors, stop them, let them go on.
#[derive(Debug, Subcommand)]
pub enum Vendor {
    /// Register a vendor with its keys.
    #[command(after_help = "\
Examples:
  strongroom vendor add acme/labelco --key SHA256:q0T…")]
    Add {
        /// TENANT/VENDOR.
        #[arg(value_parser = name::parse::<VendorRef>)]
        vendor: VendorRef,
        /// The fingerprint of one of its keys; may be given again.
        #[arg(long, value_name = "SHA256:…")]
        key: Vec<Fingerprint>,
    },
    /// List a tenant's vendors.
    #[command(after_help = "\
Examples:
  strongroom vendor list acme")]
    List {
        /// The tenant.
        tenant: TenantName,
    },
    /// Show one vendor and its live keys.
    #[command(after_help = "\
Examples:
  strongroom vendor show acme/labelco")]
    Show {
        /// TENANT/VENDOR.
        #[arg(value_parser = name::parse::<VendorRef>)]
        vendor: VendorRef,
    },
    /// Stop every grant and key of a vendor, at once; reads that are under way end.
    #[command(after_help = "\
Examples:
  strongroom vendor suspend acme/labelco --note \"incident 42\"
  strongroom --home labelco vendor suspend --self acme --note \"a laptop is gone\"")]
    Suspend {
        /// TENANT/VENDOR; with --self the TENANT is enough.
        #[arg(value_name = "VENDOR")]
        vendor: String,
        /// The vendor whose key this identity is; only an admin of the tenant resumes it.
        #[arg(long = "self")]
        own: bool,
        /// Why; kept in the ledger.
        #[arg(long)]
        note: Option<String>,
    },
    /// Give a suspended vendor back what has not expired.
    #[command(after_help = "\
Examples:
  strongroom vendor resume acme/labelco --note \"incident 42 closed\"")]
    Resume {
        /// TENANT/VENDOR.
        #[arg(value_parser = name::parse::<VendorRef>)]
        vendor: VendorRef,
        /// Why; kept in the ledger.
        #[arg(long)]
        note: Option<String>,
    },
    /// End a vendor for good. Its name and keys stay taken.
    #[command(after_help = "\
Examples:
  strongroom vendor remove acme/labelco --yes")]
    Remove {
        /// TENANT/VENDOR.
        #[arg(value_parser = name::parse::<VendorRef>)]
        vendor: VendorRef,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
    /// Add or revoke a key of a vendor.
    #[command(subcommand)]
    Key(VendorKey),
}

/// Add or revoke a key of a vendor.
#[derive(Debug, Subcommand)]
pub enum VendorKey {
    /// Give a vendor one more key.
    #[command(after_help = "\
Examples:
  strongroom vendor key add acme/labelco SHA256:q0T…")]
    Add {
        /// TENANT/VENDOR.
        #[arg(value_parser = name::parse::<VendorRef>)]
        vendor: VendorRef,
        /// The key's fingerprint.
        #[arg(value_name = "SHA256:…")]
        key: Fingerprint,
    },
    /// Take one key from a vendor, for good.
    #[command(after_help = "\
Examples:
  strongroom vendor key revoke acme/labelco SHA256:q0T…")]
    Revoke {
        /// TENANT/VENDOR.
        #[arg(value_parser = name::parse::<VendorRef>)]
        vendor: VendorRef,
        /// The key's fingerprint.
        #[arg(value_name = "SHA256:…")]
        key: Fingerprint,
    },
}

#[derive(Debug, Serialize)]
struct Shown {
    vendor: VendorName,
    id: VendorId,
    keys: Vec<Fingerprint>,
    /// Those of them that an operator of the server blocked.
    blocked: Vec<Fingerprint>,
    /// `live`, `suspended` or `removed`.
    state: &'static str,
    suspended: Option<u64>,
}

impl From<VendorInfo> for Shown {
    fn from(info: VendorInfo) -> Self {
        let state = match (info.removed, info.suspended) {
            (true, _) => "removed",
            (false, Some(_)) => "suspended",
            (false, None) => "live",
        };
        let suspended = info.suspended.map(|index| index.0);
        Self { vendor: info.name, id: info.id, keys: info.keys, blocked: info.blocked, state, suspended }
    }
}

impl Row for Shown {
    const HEADS: &'static [&'static str] = &["VENDOR", "STATE", "KEYS"];

    fn cells(&self) -> Vec<String> {
        let state = match self.suspended {
            Some(index) if self.state == "suspended" => format!("suspended (entry {index})"),
            _ => self.state.to_owned(),
        };
        let key = |key: &Fingerprint| format!("{}{}", short_key(key), self.mark(key));
        let keys = self.keys.iter().map(key).collect::<Vec<_>>().join(" ");
        vec![self.vendor.to_string(), state, keys]
    }
}

impl Shown {
    fn words(&self) -> String {
        let mut text = format!("{}  {}  {}", self.vendor, self.cells()[1], self.id);
        for key in &self.keys {
            text.push_str(&format!("\n  {key}{}", self.mark(key)));
        }
        text
    }

    /// What stands behind a key that may do nothing.
    fn mark(&self, key: &Fingerprint) -> &'static str {
        if self.blocked.contains(key) { " (blocked by an operator)" } else { "" }
    }
}

/// What changed a vendor.
#[derive(Debug, Serialize)]
struct Changed {
    vendor: String,
    index: u64,
    time: String,
}

fn changed(globals: &Globals, vendor: &impl Display, done: OrderDone, what: &str) -> Outcome {
    let time = crate::when::rfc3339(done.time);
    globals.output.result(&Changed { vendor: vendor.to_string(), index: done.index.0, time }, |changed| {
        format!("{} {what} (entry {})", changed.vendor, changed.index)
    })
}

/// What stands after `--self`: `acme`, or `acme/labelco`.
fn own_vendor(text: &str) -> Outcome<(TenantName, Option<VendorName>)> {
    if text.contains('/') {
        let VendorRef { tenant, vendor } = name::parse(text).map_err(not_a_vendor)?;
        return Ok((tenant, Some(vendor)));
    }
    let tenant = text.parse().map_err(|error| not_a_vendor(format!("{error}")))?;
    Ok((tenant, None))
}

fn not_a_vendor(why: String) -> Failure {
    Failure::usage(why, "write TENANT/VENDOR, or --self TENANT")
}

impl Vendor {
    /// Does it.
    ///
    /// # Errors
    /// The caller is no admin, or there is no such vendor.
    pub fn run(self, globals: &Globals) -> Outcome {
        if let Self::Remove { vendor, yes } = &self {
            confirm(&format!("Remove {vendor} for good?"), *yes)?;
        }
        globals.with_vault(async |vault| match self {
            Self::Add { vendor, mut key } => {
                key.sort_unstable();
                key.dedup();
                let (_, done) = vault.add_vendor(&vendor.tenant, &vendor.vendor, &key).await?;
                changed(globals, &vendor, done, "is registered")
            }
            Self::List { tenant } => {
                let vendors = vault.vendors(&tenant).await?;
                globals.output.list(&vendors.into_iter().map(Shown::from).collect::<Vec<_>>())
            }
            Self::Show { vendor } => {
                let shown = Shown::from(vault.vendor(&vendor.tenant, &vendor.vendor).await?);
                globals.output.result(&shown, Shown::words)
            }
            Self::Suspend { vendor, own: true, note } => {
                let (tenant, named) = own_vendor(&vendor)?;
                let own = vault.who_am_i(&tenant).await?.vendor;
                if named.is_some() && named != own {
                    let advice = "leave the vendor's name out, or use the identity that is a key of it";
                    return Err(Failure::usage(format!("this identity is no key of {vendor}"), advice));
                }
                let done = vault.suspend_self(&tenant, note).await?;
                let vendor = own.map_or(vendor, |name| format!("{tenant}/{name}"));
                changed(globals, &vendor, done, "is suspended: no key is released to it until an admin resumes it")
            }
            Self::Suspend { vendor, own: false, note } => {
                let vendor = name::parse::<VendorRef>(&vendor).map_err(not_a_vendor)?;
                let done = vault.suspend_vendor(&vendor.tenant, &vendor.vendor, note).await?;
                changed(globals, &vendor, done, "is suspended: no key is released to it from here on")
            }
            Self::Resume { vendor, note } => {
                let done = vault.resume_vendor(&vendor.tenant, &vendor.vendor, note).await?;
                changed(globals, &vendor, done, "is resumed")
            }
            Self::Remove { vendor, .. } => {
                let done = vault.remove_vendor(&vendor.tenant, &vendor.vendor).await?;
                changed(globals, &vendor, done, "is removed")
            }
            Self::Key(VendorKey::Add { vendor, key }) => {
                let done = vault.add_key(&vendor.tenant, &vendor.vendor, key).await?;
                changed(globals, &vendor, done, &format!("has the key {key}"))
            }
            Self::Key(VendorKey::Revoke { vendor, key }) => {
                let done = vault.revoke_key(&vendor.tenant, &vendor.vendor, key).await?;
                changed(globals, &vendor, done, &format!("no longer has the key {key}"))
            }
        })
    }
}
