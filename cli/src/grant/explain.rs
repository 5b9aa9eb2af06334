//! `grant explain`: why a key may do something to an object now, or why not.

use serde::Serialize;
use strongroom_client::explain::{Explained, Verdict};
use strongroom_client::{Action, ObjectName, Vault};
use strongroom_core::identity::Fingerprint;

use super::Shown;
use crate::exit::Outcome;
use crate::globals::Globals;
use crate::name;
use crate::output::printable;

/// The flags of `grant explain`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  strongroom grant explain acme/rlhf/math/000007.json --as SHA256:q0T…
  strongroom grant explain acme/rlhf/labels/000007.json --as SHA256:q0T… --action write")]
pub struct Explain {
    /// TENANT/DATASET/PATH.
    #[arg(value_parser = name::parse::<ObjectName>)]
    object: ObjectName,
    /// The key that would ask.
    #[arg(long = "as", value_name = "SHA256:…")]
    key: Fingerprint,
    /// What it would do: list, read, write, overwrite or delete. Where something stands, a write overwrites.
    #[arg(long, default_value = "read", value_parser = action)]
    action: Action,
}

fn action(text: &str) -> Result<Action, String> {
    let found = Action::ALL.into_iter().find(|action| super::sentence::action_word(*action) == text);
    found.ok_or_else(|| "an action is list, read, write, overwrite or delete".to_owned())
}

#[derive(Debug, Serialize)]
struct Answer {
    allowed: bool,
    object: String,
    key: Fingerprint,
    action: &'static str,
    /// `admin`, `vendor`, `key` or `operator`.
    role: String,
    vendor: Option<String>,
    verdicts: Vec<Told>,
    /// How many grants of the key there are besides.
    others: u64,
}

#[derive(Debug, Serialize)]
struct Told {
    allowed: bool,
    reason: Option<&'static str>,
    detail: Option<String>,
    /// The grant and those above it; empty for a call that names none.
    chain: Vec<Shown>,
}

impl Explain {
    /// Does it.
    ///
    /// # Errors
    /// The caller is no admin of the tenant.
    pub async fn run(self, globals: &Globals, vault: &Vault) -> Outcome {
        let explained = vault.explain(&self.object, self.action, &self.key).await?;
        globals.output.result(&self.answer(explained), Answer::words)
    }

    fn answer(&self, explained: Explained) -> Answer {
        let tenant = &self.object.tenant;
        let told = |verdict: Verdict| Told {
            allowed: verdict.decided.is_ok(),
            reason: verdict.decided.as_ref().err().map(|(reason, _)| reason.code()),
            detail: verdict.decided.err().map(|(_, detail)| detail),
            chain: verdict.chain.into_iter().map(|info| Shown::new(tenant, info)).collect(),
        };
        Answer {
            allowed: explained.allowed,
            object: self.object.to_string(),
            key: self.key,
            action: super::sentence::action_word(self.action),
            role: explained.role,
            vendor: explained.vendor.map(|vendor| vendor.to_string()),
            verdicts: explained.verdicts.into_iter().map(told).collect(),
            others: explained.others,
        }
    }
}

impl Answer {
    fn words(&self) -> String {
        let who = match (self.role.as_str(), &self.vendor) {
            ("admin", _) => "an admin".to_owned(),
            ("vendor", Some(vendor)) => format!("a key of {vendor}"),
            ("operator", _) => "an operator, whom the tenant does not know".to_owned(),
            _ => "a key of no vendor".to_owned(),
        };
        let may = if self.allowed { "Yes: it may" } else { "No: it may not" };
        let mut text = format!("{may} {} {} now. {} is {who}.", self.action, printable(&self.object), self.key);
        for told in &self.verdicts {
            let verdict = match (told.reason, &told.detail) {
                (Some(reason), Some(detail)) => format!("no, {reason}: {}", printable(detail)),
                _ => "yes".to_owned(),
            };
            match told.chain.first() {
                // Whoever holds grants names one.
                None if self.verdicts.len() > 1 && !told.allowed => {}
                None => text.push_str(&format!("\nWithout a grant: {verdict}")),
                Some(grant) => text.push_str(&format!("\n\nUnder {}: {verdict}", grant.grant)),
            }
            for (at, shown) in told.chain.iter().enumerate() {
                let from = if at == 0 { "" } else { "from " };
                text.push_str(&format!("\n  {from}{} ({}): {}", shown.grant, shown.state_words(), shown.sentence()));
            }
        }
        if self.others > 0 {
            let others = crate::amount::counted(self.others, "grant");
            text.push_str(&format!("\n\nIt holds {others} besides, about other datasets or older."));
        }
        text
    }
}
