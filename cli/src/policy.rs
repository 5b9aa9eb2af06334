//! `policy`: what a tenant asks of its grants.

use clap::Subcommand;
use jiff::SignedDuration;
use serde::Serialize;
use strongroom_core::grant::{Limits, Network};
use strongroom_core::names::TenantName;

use crate::amount::Size;
use crate::exit::{Failure, Outcome};
use crate::globals::Globals;
use crate::grant::sentence::limit_words;
use crate::when::Length;

/// How long grants may live, and their limits where they name none.
#[derive(Debug, Subcommand)]
pub enum Policy {
    /// Show a tenant's policy for grants.
    #[command(after_help = "\
Examples:
  strongroom policy show acme")]
    Show {
        /// The tenant.
        tenant: TenantName,
    },
    /// Change a tenant's policy for grants; what is not named stays as it is.
    ///
    /// It holds for what is issued or renewed from then on, and changes no grant that there is.
    #[command(after_help = "\
Examples:
  strongroom policy set acme --life 30d --delegated-life 12h
  strongroom policy set acme --max-bytes 50GiB --max-bytes-per-minute 200MiB --from 192.0.2.0/24
  strongroom policy set acme --no-limits")]
    Set(Box<Set>),
}

/// The flags of `policy set`.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("change").required(true).multiple(true)))]
pub struct Set {
    /// The tenant.
    tenant: TenantName,
    /// How long a grant of an admin may live at most: 12h, 30d; up to 366d.
    #[arg(long, value_name = "LENGTH", group = "change")]
    life: Option<Length>,
    /// How long a delegated grant may live at most.
    #[arg(long, value_name = "LENGTH", group = "change")]
    delegated_life: Option<Length>,
    /// No limits for grants that name none; those named beside are set anew.
    #[arg(long, group = "change")]
    no_limits: bool,
    /// A grant of an admin that names no limit in bytes gets this one.
    #[arg(long, value_name = "SIZE", group = "change")]
    max_bytes: Option<Size>,
    /// The same, for objects.
    #[arg(long, value_name = "N", group = "change")]
    max_objects: Option<u64>,
    /// The same, for calls.
    #[arg(long, value_name = "N", group = "change")]
    max_uses: Option<u64>,
    /// The same, for bytes in each minute of UTC.
    #[arg(long, value_name = "SIZE", group = "change")]
    max_bytes_per_minute: Option<Size>,
    /// The same, for networks it may be used from; may be given again.
    #[arg(long, value_name = "CIDR", group = "change")]
    from: Vec<Network>,
}

#[derive(Debug, Serialize)]
struct Shown {
    tenant: TenantName,
    /// The entry that set it; none if nothing was said.
    set: Option<u64>,
    /// In milliseconds, as are all times here.
    life: u64,
    delegated_life: u64,
    limits: Limits,
}

impl Shown {
    fn new(tenant: TenantName, policy: strongroom_core::grant::Policy, set: Option<u64>) -> Self {
        let strongroom_core::grant::Policy { root_life: life, delegated_life, limits } = policy;
        Self { tenant, set, life, delegated_life, limits }
    }

    fn words(&self) -> String {
        let policy = strongroom_core::grant::Policy {
            root_life: self.life,
            delegated_life: self.delegated_life,
            limits: self.limits.clone(),
        };
        let set = self.set.map_or("nothing was said".to_owned(), |index| format!("entry {index}"));
        format!("{}: {} ({set})", self.tenant, words(&policy))
    }
}

/// `grants live 30d at most, delegated ones 24h; without limits of their own they get 50 GiB`.
pub(crate) fn words(policy: &strongroom_core::grant::Policy) -> String {
    let (life, delegated) = (length(policy.root_life), length(policy.delegated_life));
    let limits = limit_words(&policy.limits);
    let limits = if limits.is_empty() { "no limits".to_owned() } else { limits.join(", ") };
    format!("grants live {life} at most, delegated ones {delegated}; where they name no limits: {limits}")
}

/// `24h`, `30d`, `1h 30m`.
fn length(millis: u64) -> String {
    let seconds = millis / 1000;
    if seconds > 86_400 && seconds.is_multiple_of(86_400) {
        return format!("{}d", seconds / 86_400);
    }
    format!("{:#}", SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX)))
}

impl Set {
    /// This policy, changed as the flags say.
    fn changed(self, policy: strongroom_core::grant::Policy) -> Outcome<strongroom_core::grant::Policy> {
        let millis = |length: Length| {
            let long = || Failure::usage("a life is too long", "give 366d at most");
            u64::try_from(length.0.as_millis()).map_err(|_| long())
        };
        let own = Limits {
            bytes: self.max_bytes.map(|size| size.0),
            objects: self.max_objects,
            uses: self.max_uses,
            bytes_per_minute: self.max_bytes_per_minute.map(|size| size.0),
            sources: self.from.iter().map(Network::to_string).collect(),
        };
        let before = if self.no_limits { Limits::default() } else { policy.limits };
        Ok(strongroom_core::grant::Policy {
            root_life: self.life.map(millis).transpose()?.unwrap_or(policy.root_life),
            delegated_life: self.delegated_life.map(millis).transpose()?.unwrap_or(policy.delegated_life),
            limits: own.or(&before),
        })
    }
}

impl Policy {
    /// Does it.
    ///
    /// # Errors
    /// The caller is no admin, or the policy makes no sense.
    pub fn run(self, globals: &Globals) -> Outcome {
        globals.with_vault(async |vault| match self {
            Self::Show { tenant } => {
                let (policy, set) = vault.policy(&tenant).await?;
                globals.output.result(&Shown::new(tenant, policy, set.map(|index| index.0)), Shown::words)
            }
            Self::Set(set) => {
                let tenant = set.tenant.clone();
                let (policy, _) = vault.policy(&tenant).await?;
                let policy = set.changed(policy)?;
                let index = vault.set_policy(&tenant, policy.clone()).await?.index.0;
                globals.output.result(&Shown::new(tenant, policy, Some(index)), Shown::words)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args, FromArgMatches};

    use super::*;

    fn set(words: &[&str]) -> Set {
        let command = Set::augment_args(clap::Command::new("set").no_binary_name(true));
        Set::from_arg_matches(&command.try_get_matches_from(words).unwrap()).unwrap()
    }

    #[test]
    fn what_is_not_named_stays() {
        let before = strongroom_core::grant::Policy {
            limits: Limits { bytes: Some(7), uses: Some(8), ..Limits::default() },
            ..Default::default()
        };
        let changed = set(&["acme", "--life", "30d", "--max-bytes", "1KiB"]).changed(before.clone()).unwrap();
        assert_eq!((changed.root_life, changed.delegated_life), (30 * 86_400_000, before.delegated_life));
        assert_eq!((changed.limits.bytes, changed.limits.uses), (Some(1024), Some(8)));
        let changed = set(&["acme", "--no-limits", "--max-objects", "3"]).changed(before).unwrap();
        assert_eq!(changed.limits, Limits { objects: Some(3), ..Limits::default() });
    }

    #[test]
    fn a_policy_reads_as_a_sentence() {
        let limits = Limits { bytes: Some(10 << 20), objects: Some(5), ..Limits::default() };
        let policy = strongroom_core::grant::Policy { root_life: 30 * 86_400_000, limits, ..Default::default() };
        let told = "grants live 30d at most, delegated ones 24h; where they name no limits: 10 MiB, 5 objects";
        assert_eq!(words(&policy), told);
    }
}
