//! `grant`: who may do what on which paths, until when, how much.

mod issue;
pub(crate) mod sentence;

use clap::Subcommand;
use serde::Serialize;
use strongroom_client::grants::{GrantInfo, GrantState};
use strongroom_core::grant::{Holder, Terms, Usage};
use strongroom_core::identity::Fingerprint;
use strongroom_core::ids::GrantId;
use strongroom_core::names::TenantName;

use crate::args::Globals;
use crate::exit::Outcome;
use crate::name::short_key;
use crate::output::Row;
use crate::when;

/// Issue, show and revoke grants.
#[derive(Debug, Subcommand)]
pub enum Grant {
    /// Issue a grant and print its id, alone; or pass a narrower part of one's own on to a key.
    ///
    /// Who is no admin delegates: the parent is the caller's grant that allows it the longest, or the one that --grant names, and
    /// must have been issued with --delegable. What is not limited gets the parent's limits.
    ///
    /// A place is a folder (acme/rlhf/math/), all that starts so ('acme/rlhf/math/0000*'), or one object. Every flag with a
    /// place may be given again; flags for one place add up.
    Issue(Box<issue::Issue>),
    /// List a tenant's grants, newest first: all for its admins, their own for others.
    #[command(after_help = "\
Examples:
  strongroom grant list acme
  strongroom grant list acme --mine --output json")]
    List {
        /// The tenant.
        tenant: TenantName,
        /// Only the caller's own.
        #[arg(long)]
        mine: bool,
    },
    /// Show a grant as a sentence: who may do what where, until when, how much of it is used.
    #[command(after_help = "\
Examples:
  strongroom grant show acme gr_0af1…")]
    Show {
        /// The tenant.
        tenant: TenantName,
        /// The grant.
        #[arg(value_name = "gr_…")]
        id: GrantId,
    },
    /// Revoke a grant, and all that was delegated from it, at once.
    #[command(after_help = "\
Examples:
  strongroom grant revoke acme gr_0af1… --note \"batch 7 is done\"")]
    Revoke {
        /// The tenant.
        tenant: TenantName,
        /// The grant.
        #[arg(value_name = "gr_…")]
        id: GrantId,
        /// Why; kept in the ledger.
        #[arg(long)]
        note: Option<String>,
    },
}

/// The first characters of a grant's id: enough to tell a tenant's grants apart on a line.
pub fn short_grant(grant: &GrantId) -> String {
    let text = grant.to_string();
    format!("{}…", text.get(..11).unwrap_or(&text))
}

/// A grant as it is shown.
#[derive(Debug, Serialize)]
struct Shown {
    grant: GrantId,
    tenant: TenantName,
    /// The vendor that holds it, by name, if a vendor does.
    vendor: Option<String>,
    state: &'static str,
    issued: u64,
    issuer: Fingerprint,
    expires: String,
    terms: Terms,
    usage: Usage,
}

impl Shown {
    fn new(tenant: &TenantName, info: GrantInfo) -> Self {
        Self {
            grant: info.grant.id,
            tenant: tenant.clone(),
            vendor: info.vendor.map(|vendor| vendor.to_string()),
            state: match info.state {
                GrantState::Live => "live",
                GrantState::NotYet => "not-yet",
                GrantState::Expired => "expired",
                GrantState::Revoked => "revoked",
                GrantState::Suspended => "suspended",
            },
            issued: info.grant.issued.0,
            issuer: info.grant.issuer,
            expires: when::rfc3339(info.grant.terms.expires),
            terms: info.grant.terms,
            usage: info.usage,
        }
    }

    fn holder(&self) -> String {
        match (&self.vendor, &self.terms.holder) {
            (Some(vendor), _) => vendor.clone(),
            (None, Holder::Vendor(id)) => id.to_string(),
            (None, Holder::Key(key)) => short_key(key),
        }
    }

    fn words(&self) -> String {
        let sentence = sentence::sentence(&self.tenant, &self.holder(), &self.terms, &self.usage, when::now());
        let state = match self.state {
            "live" => "",
            "not-yet" => "\nIts time has not begun.",
            "expired" => "\nIts time is over.",
            "revoked" => "\nIt was revoked: none of this holds any more.",
            _ => "\nIts holder is suspended: none of this holds until it is resumed.",
        };
        let parent = self.terms.parent.map(|parent| format!(", delegated from {parent}")).unwrap_or_default();
        format!("{sentence}{state}\n{}{parent}, entry {}, signed by {}", self.grant, self.issued, self.issuer)
    }
}

impl Row for Shown {
    const HEADS: &'static [&'static str] = &["GRANT", "STATE", "HOLDER", "WHAT", "USED", "UNTIL (UTC)"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.grant.to_string(),
            self.state.to_owned(),
            self.holder(),
            sentence::scopes(&self.tenant, &self.terms),
            sentence::usage_words(&self.terms.limits, &self.usage).join(", "),
            when::seconds(self.terms.expires),
        ]
    }
}

#[derive(Debug, Serialize)]
struct Revoked {
    grant: GrantId,
    index: u64,
}

impl Grant {
    /// Does it.
    ///
    /// # Errors
    /// The caller is no admin, or there is no such grant.
    pub fn run(self, globals: &Globals) -> Outcome {
        globals.with_vault(async |vault| match self {
            Self::Issue(issue) => issue.run(globals, vault).await,
            Self::List { tenant, mine } => {
                let all = !mine && vault.who_am_i(&tenant).await?.admin;
                let grants = if all { vault.grants(&tenant).await? } else { vault.my_grants(&tenant).await? };
                let rows: Vec<_> = grants.into_iter().map(|info| Shown::new(&tenant, info)).collect();
                globals.output.list(&rows)
            }
            Self::Show { tenant, id } => {
                let shown = Shown::new(&tenant, vault.grant(&tenant, id).await?);
                globals.output.result(&shown, Shown::words)
            }
            Self::Revoke { tenant, id, note } => {
                let index = vault.revoke_grant(&tenant, id, note).await?.index.0;
                let words = |revoked: &Revoked| {
                    format!("{} is revoked: no key is released under it from here on (entry {index})", revoked.grant)
                };
                globals.output.result(&Revoked { grant: id, index }, words)
            }
        })
    }
}
