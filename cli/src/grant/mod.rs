//! `grant`: who may do what on which paths, until when, how much.

mod explain;
mod issue;
mod list;
pub(crate) mod sentence;

use clap::Subcommand;
use serde::Serialize;
use strongroom_client::grants::{GrantInfo, GrantState};
use strongroom_core::grant::{Holder, Limits, Terms, Usage};
use strongroom_core::identity::Fingerprint;
use strongroom_core::ids::GrantId;
use strongroom_core::names::{DatasetName, TenantName};
use strongroom_core::reason::Reason;

use crate::amount::{Size, counted};
use crate::exit::Outcome;
use crate::globals::Globals;
use crate::name::short_key;
use crate::output::Row;
use crate::when;

/// Issue, renew, show and revoke grants.
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
    /// List a tenant's grants as a tree, what was delegated below what it came from: all for its admins, for others their own and
    /// what came from those. It tells how each stands, what is used, and what is left of it and of all above it.
    List(list::List),
    /// Say why a key may do something to an object now, or why not, grant by grant. Nothing is recorded. For admins.
    Explain(explain::Explain),
    /// Show a grant as a sentence: who may do what where, until when, how much of it is used; then what it came from.
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
    /// Move a grant's end later; its id stays, and what was used of it.
    ///
    /// An admin renews the tenant's own grants, a holder those that were delegated from its grant; never past the parent's end, nor
    /// for longer than the tenant's policy allows.
    #[command(group(clap::ArgGroup::new("end").required(true)))]
    #[command(after_help = "\
Examples:
  strongroom grant renew acme gr_0af1… --for 12h")]
    Renew {
        /// The tenant.
        tenant: TenantName,
        /// The grant.
        #[arg(value_name = "gr_…")]
        id: GrantId,
        /// For how long from now: 15m, 12h.
        #[arg(long = "for", value_name = "LENGTH", group = "end")]
        length: Option<when::Length>,
        /// Until when: 2026-03-01T14:05 (UTC).
        #[arg(long, value_name = "TIME", group = "end")]
        until: Option<when::End>,
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
    /// What of it is frozen, if anything.
    #[serde(skip_serializing_if = "Halted::is_nothing")]
    frozen: Halted,
    issued: u64,
    issuer: Fingerprint,
    expires: String,
    terms: Terms,
    usage: Usage,
    /// What is left of it and of what it came from, as far as that is known here.
    left: Left,
    issued_at: Option<String>,
    used_at: Option<String>,
    /// What it came from, its parent first; told by `show` alone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    above: Vec<Shown>,
}

/// What of a grant is frozen.
#[derive(Debug, Serialize)]
struct Halted {
    /// The whole tenant.
    tenant: bool,
    datasets: Vec<DatasetName>,
}

impl Halted {
    fn is_nothing(&self) -> bool {
        !self.tenant && self.datasets.is_empty()
    }

    /// `acme/rlhf and acme/evals are frozen`.
    fn words(&self, tenant: &TenantName) -> Option<String> {
        let names: Vec<String> = match self.tenant {
            true => vec![tenant.to_string()],
            false => self.datasets.iter().map(|dataset| format!("{tenant}/{dataset}")).collect(),
        };
        let are = if names.len() > 1 { "are" } else { "is" };
        (!names.is_empty()).then(|| format!("{} {are} frozen", sentence::and(&names)))
    }
}

/// How much may still be charged; none is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
struct Left {
    bytes: Option<u64>,
    objects: Option<u64>,
    uses: Option<u64>,
}

impl Left {
    fn of(limits: &Limits, usage: &Usage) -> Self {
        let left = |limit: Option<u64>, used| limit.map(|limit| limit.saturating_sub(used));
        Self {
            bytes: left(limits.bytes, usage.bytes),
            objects: left(limits.objects, usage.objects),
            uses: left(limits.uses, usage.uses),
        }
    }

    /// The less of both, for each.
    fn within(self, outer: &Self) -> Self {
        let less = |a: Option<u64>, b: Option<u64>| a.into_iter().chain(b).min();
        Self {
            bytes: less(self.bytes, outer.bytes),
            objects: less(self.objects, outer.objects),
            uses: less(self.uses, outer.uses),
        }
    }

    fn words(&self) -> Vec<String> {
        let bytes = self.bytes.map(|bytes| Size(bytes).to_string());
        let objects = self.objects.map(|objects| counted(objects, "object"));
        let uses = self.uses.map(|uses| counted(uses, "call"));
        bytes.into_iter().chain(objects).chain(uses).collect()
    }
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
                GrantState::Elsewhere => "elsewhere",
                GrantState::Frozen => "frozen",
                GrantState::Blocked => "blocked",
            },
            frozen: Halted { tenant: info.frozen.tenant, datasets: info.frozen.datasets },
            issued: info.grant.issued.0,
            issuer: info.grant.issuer,
            expires: when::rfc3339(info.grant.terms.expires),
            left: Left::of(&info.grant.terms.limits, &info.usage),
            terms: info.grant.terms,
            usage: info.usage,
            issued_at: info.issued.map(when::rfc3339),
            used_at: info.used.map(when::rfc3339),
            above: Vec::new(),
        }
    }

    fn holder(&self) -> String {
        match (&self.vendor, &self.terms.holder) {
            (Some(vendor), _) => vendor.clone(),
            (None, Holder::Vendor(id)) => id.to_string(),
            (None, Holder::Key(key)) => short_key(key),
        }
    }

    /// Its sentence, those of what it came from, and what is left in all.
    fn words(&self) -> String {
        let mut text = self.own_words();
        for above in &self.above {
            text.push_str("\n\nIt comes from:\n");
            text.push_str(&above.own_words());
        }
        let left = self.left.words();
        if !self.above.is_empty() && !left.is_empty() {
            text.push_str(&format!("\n\nLeft of it within all that: {}", left.join(", ")));
        }
        text
    }

    fn sentence(&self) -> String {
        sentence::sentence(&self.tenant, &self.holder(), &self.terms, &self.usage, when::now())
    }

    /// What of it is frozen, if it is not over anyway.
    fn frozen_words(&self) -> Option<String> {
        self.frozen.words(&self.tenant).filter(|_| !matches!(self.state, "revoked" | "expired"))
    }

    /// `live`, `frozen`, `live, acme/evals is frozen`.
    fn state_words(&self) -> String {
        let more = self.frozen_words().filter(|_| self.state != "frozen");
        more.map_or_else(|| self.state.to_owned(), |words| format!("{}, {words}", self.state))
    }

    fn own_words(&self) -> String {
        let sentence = self.sentence();
        let mut state = match self.state {
            "live" | "frozen" => "",
            "not-yet" => "\nIts time has not begun.",
            "expired" => "\nIts time is over.",
            "elsewhere" => "\nIt may not be used from here.",
            "revoked" => "\nIt was revoked: none of this holds any more.",
            "blocked" => {
                "\nAn operator of the server blocked its key, or one that passed it on: none of this holds until it is unblocked."
            }
            _ => "\nIts holder is suspended: none of this holds until it is resumed.",
        }
        .to_owned();
        if let Some(words) = self.frozen_words() {
            state.push_str(&format!("\n{words}: nobody reads or writes there until an admin unfreezes it."));
        }
        let parent = self.terms.parent.map(|parent| format!(", delegated from {parent}")).unwrap_or_default();
        format!("{sentence}{state}\n{}{parent}, entry {}, signed by {}", self.grant, self.issued, self.issuer)
    }
}

impl Row for Shown {
    const HEADS: &'static [&'static str] = &["GRANT", "STATE", "HOLDER", "WHAT", "USED", "LEFT", "UNTIL (UTC)"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.grant.to_string(),
            self.state_words(),
            self.holder(),
            sentence::scopes(&self.tenant, &self.terms),
            sentence::usage_words(&self.terms.limits, &self.usage).join(", "),
            self.left.words().join(", "),
            when::seconds(self.terms.expires),
        ]
    }
}

#[derive(Debug, Serialize)]
struct Renewed {
    grant: GrantId,
    index: u64,
    expires: String,
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
            Self::List(list) => list.run(globals, vault).await,
            Self::Explain(explain) => explain.run(globals, vault).await,
            Self::Show { tenant, id } => {
                let mut shown = Shown::new(&tenant, vault.grant(&tenant, id).await?);
                let mut next = shown.terms.parent;
                // What it came from, as far as that is for this caller to know.
                while let Some(parent) = next {
                    let above = match vault.grant(&tenant, parent).await {
                        Ok(above) => Shown::new(&tenant, above),
                        Err(error) if error.reason() == Reason::NotFound => break,
                        Err(error) => return Err(error.into()),
                    };
                    next = above.terms.parent;
                    shown.left = shown.left.within(&above.left);
                    shown.above.push(above);
                }
                globals.output.result(&shown, Shown::words)
            }
            Self::Renew { tenant, id, length, until } => {
                let expires = issue::expires(length, until, when::now())?;
                let index = vault.renew_grant(&tenant, id, expires).await?.index.0;
                let words =
                    |renewed: &Renewed| format!("{} ends {} (entry {index})", renewed.grant, when::seconds(expires));
                globals.output.result(&Renewed { grant: id, index, expires: when::rfc3339(expires) }, words)
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
