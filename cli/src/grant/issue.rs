//! `grant issue`: from flags to terms.

use jiff::Timestamp;
use serde::Serialize;
use strongroom_client::{PrefixName, Vault};
use strongroom_core::grant::{Action, Holder, Limits, Network, Part, Scope, Terms};
use strongroom_core::ids::{GrantId, Millis};
use strongroom_core::names::TenantName;

use crate::amount::Size;
use crate::exit::{Failure, Outcome};
use crate::globals::Globals;
use crate::name;
use crate::name::Grantee;
use crate::when;
use crate::when::{End, Length};

/// The flags of `grant issue`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  strongroom grant issue --to acme/labelco --read acme/rlhf/math/ --write acme/rlhf/labels/ --for 12h --max-bytes 10MiB
  strongroom --home labelco grant issue --to SHA256:q0T… --read 'acme/rlhf/math/0000*' --for 15m
  strongroom grant issue --to SHA256:q0T… --read 'acme/rlhf/math/0000*' --for 15m --max-uses 1 --purpose \"batch 7\"
  strongroom grant issue --to acme/labelco --read acme/rlhf/ --for 8h --from 192.0.2.0/24 --max-bytes-per-minute 50MiB")]
#[command(group(clap::ArgGroup::new("end").required(true)))]
#[command(group(clap::ArgGroup::new("what").required(true).multiple(true)))]
pub struct Issue {
    /// Who gets it: a vendor (acme/labelco), meaning any of its live keys, or one key.
    #[arg(long, value_name = "VENDOR|SHA256:…")]
    to: Grantee,
    /// May list and read objects here.
    #[arg(long, value_name = "PLACE", group = "what", value_parser = name::parse::<PrefixName>)]
    read: Vec<PrefixName>,
    /// May make new objects here.
    #[arg(long, value_name = "PLACE", group = "what", value_parser = name::parse::<PrefixName>)]
    write: Vec<PrefixName>,
    /// May make new objects and new generations of existing ones here.
    #[arg(long, value_name = "PLACE", group = "what", value_parser = name::parse::<PrefixName>)]
    overwrite: Vec<PrefixName>,
    /// May delete objects here.
    #[arg(long, value_name = "PLACE", group = "what", value_parser = name::parse::<PrefixName>)]
    delete: Vec<PrefixName>,
    /// May list objects here.
    #[arg(long, value_name = "PLACE", group = "what", value_parser = name::parse::<PrefixName>)]
    list: Vec<PrefixName>,
    /// For how long: 15m, 12h, 1h30m.
    #[arg(long = "for", value_name = "LENGTH", group = "end")]
    length: Option<Length>,
    /// Until when: 2026-03-01T14:05 (UTC).
    #[arg(long, value_name = "TIME", group = "end")]
    until: Option<End>,
    /// At most so much plaintext in all, re-reads included: 10MiB.
    #[arg(long, value_name = "SIZE")]
    max_bytes: Option<Size>,
    /// At most so many objects in all, counted per call.
    #[arg(long, value_name = "N")]
    max_objects: Option<u64>,
    /// At most so many calls.
    #[arg(long, value_name = "N")]
    max_uses: Option<u64>,
    /// At most so much plaintext in each minute of UTC: 50MiB. Reads of many objects go on by themselves in the next minute.
    #[arg(long, value_name = "SIZE")]
    max_bytes_per_minute: Option<Size>,
    /// Only from this network, as the vault sees it: 192.0.2.0/24, 2001:db8::/32; may be given again.
    #[arg(long, value_name = "CIDR")]
    from: Vec<Network>,
    /// From when on: 2026-03-01T09:00 (UTC); at once if nothing is said.
    #[arg(long, value_name = "TIME")]
    not_before: Option<End>,
    /// The holder may pass a narrower part of it on.
    #[arg(long)]
    delegable: bool,
    /// What for, in words; kept in the ledger.
    #[arg(long, value_name = "TEXT")]
    purpose: Option<String>,
}

#[derive(Debug, Serialize)]
struct Issued {
    grant: GrantId,
    index: u64,
    expires: String,
}

impl Issue {
    pub(super) async fn run(self, globals: &Globals, vault: &Vault) -> Outcome {
        let (tenant, scopes) = self.scopes()?;
        let expires = expires(self.length, self.until, when::now())?;
        let holder = match &self.to {
            Grantee::Key(key) => Holder::Key(*key),
            Grantee::Vendor(vendor) => Holder::Vendor(vault.vendor(&vendor.tenant, &vendor.vendor).await?.id),
        };
        let limits = Limits {
            bytes: self.max_bytes.map(|size| size.0),
            objects: self.max_objects,
            uses: self.max_uses,
            bytes_per_minute: self.max_bytes_per_minute.map(|size| size.0),
            sources: self.from.iter().map(Network::to_string).collect(),
        };
        let terms = Terms {
            holder,
            parent: globals.grant,
            scopes,
            not_before: self.not_before.as_ref().map(|start| when::millis(start.0)),
            expires,
            delegable: self.delegable,
            limits,
            purpose: self.purpose,
        };
        let (grant, done) = vault.issue_grant(&tenant, terms).await?;
        let issued = Issued { grant, index: done.index.0, expires: when::rfc3339(expires) };
        globals.output.result(&issued, |issued| issued.grant.to_string())
    }

    /// What the place flags say, one scope a place, and the one tenant that all of it lies in.
    fn scopes(&self) -> Outcome<(TenantName, Vec<Scope>)> {
        let flags: [(&[PrefixName], &[Action]); 5] = [
            (&self.read, &[Action::List, Action::Read]),
            (&self.write, &[Action::Write]),
            (&self.overwrite, &[Action::Write, Action::Overwrite]),
            (&self.delete, &[Action::Delete]),
            (&self.list, &[Action::List]),
        ];
        let mut places: Vec<(&PrefixName, Vec<Action>)> = Vec::new();
        for (named, actions) in flags {
            for place in named {
                match places.iter_mut().find(|(other, _)| *other == place) {
                    Some((_, known)) => known.extend(actions),
                    None => places.push((place, actions.to_vec())),
                }
            }
        }
        let mut tenants = places.iter().map(|(place, _)| &place.tenant);
        let tenant = match (tenants.next(), &self.to) {
            (Some(tenant), Grantee::Vendor(vendor)) if *tenant != vendor.tenant => None,
            (Some(tenant), _) if tenants.all(|other| other == tenant) => Some(tenant.clone()),
            _ => None,
        };
        let apart = || Failure::usage("a grant lies in one tenant, and its vendor too", "issue one for each tenant");
        let tenant = tenant.ok_or_else(apart)?;
        let scopes = places.into_iter().map(|(place, mut actions)| {
            actions.sort_unstable();
            actions.dedup();
            Scope { actions, dataset: place.dataset.clone(), part: Part::Prefix(place.prefix.clone()) }
        });
        Ok((tenant, scopes.collect()))
    }
}

/// When a grant ends, as --for or --until say.
pub(super) fn expires(length: Option<Length>, until: Option<End>, now: Timestamp) -> Outcome<Millis> {
    let late = || Failure::usage("the grant's end is not a time", "give a nearer one");
    let end = match (length, until) {
        (Some(length), _) => now.checked_add(length.0).map_err(|_| late())?,
        (None, Some(until)) => until.0,
        (None, None) => return Err(Failure::usage("a grant needs an end", "add --for or --until")),
    };
    if end <= now {
        return Err(Failure::usage("the grant's end has passed", "give a later one"));
    }
    Ok(when::millis(end))
}

#[cfg(test)]
mod tests {
    use clap::{Args, FromArgMatches};

    use super::*;

    fn issue(words: &[&str]) -> Issue {
        let command = Issue::augment_args(clap::Command::new("issue").no_binary_name(true));
        Issue::from_arg_matches(&command.try_get_matches_from(words).unwrap()).unwrap()
    }

    #[test]
    fn flags_for_one_place_add_up() {
        let read =
            ["--to", "acme/labelco", "--for", "12h", "--read", "acme/rlhf/math/", "--overwrite", "acme/rlhf/math/"];
        let (tenant, scopes) = issue(&[&read[..], &["--write", "acme/rlhf/labels/"]].concat()).scopes().unwrap();
        assert_eq!(tenant.as_str(), "acme");
        let told: Vec<_> = scopes.iter().map(|scope| (scope.actions.clone(), &scope.part)).collect();
        let part = |text: &str| Part::Prefix(text.parse().unwrap());
        assert_eq!(told[1], (vec![Action::Write], &part("labels/")));
        assert_eq!(told[0], (vec![Action::List, Action::Read, Action::Write, Action::Overwrite], &part("math/")));
        assert!(scopes.iter().all(Scope::is_well_formed));
    }

    #[test]
    fn one_grant_lies_in_one_tenant() {
        for words in [
            ["--to", "acme/labelco", "--for", "1h", "--read", "acme/a/", "--list", "other/a/"],
            ["--to", "other/labelco", "--for", "1h", "--read", "acme/a/", "--list", "acme/b/"],
        ] {
            assert!(issue(&words).scopes().is_err());
        }
    }

    #[test]
    fn an_end_lies_ahead() {
        let now = "2026-03-01T12:00:00Z".parse().unwrap();
        let ends = |flag, value| {
            let issue = issue(&["--to", "acme/labelco", "--read", "acme/a/", flag, value]);
            expires(issue.length, issue.until, now)
        };
        assert_eq!(ends("--for", "15m"), Ok(when::millis("2026-03-01T12:15:00Z".parse().unwrap())));
        assert_eq!(ends("--until", "2026-03-02"), Ok(when::millis("2026-03-02T00:00:00Z".parse().unwrap())));
        assert!(ends("--until", "2026-03-01").is_err());
    }
}
