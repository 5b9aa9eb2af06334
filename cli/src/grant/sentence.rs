//! A grant in a sentence: who may do what where, until when, and how much of it is used.

use jiff::Timestamp;
use strongroom_core::grant::{Action, Limits, Part, Prefix, Scope, Terms, Usage};
use strongroom_core::names::TenantName;

use crate::amount::{counted, of};
use crate::output::printable;
use crate::when;

/// `labelco may list and read acme/rlhf under math/ until 14:05 UTC, 3.1 of 10 MiB used`.
pub(crate) fn sentence(tenant: &TenantName, holder: &str, terms: &Terms, usage: &Usage, now: Timestamp) -> String {
    let mut text = format!("{holder} may {} until {}", scopes(tenant, terms), when::short(terms.expires, now));
    if let Some(start) = terms.not_before {
        text.push_str(&format!(", from {} on", when::short(start, now)));
    }
    for part in usage_words(&terms.limits, usage) {
        text.push_str(", ");
        text.push_str(&part);
    }
    if terms.delegable {
        text.push_str(", and may delegate it");
    }
    if let Some(purpose) = &terms.purpose {
        text.push_str(&format!(" ({})", printable(purpose)));
    }
    text
}

/// What an order grants, for a line of the ledger: `labelco may list and read acme/rlhf under math/ until 2026-03-01 14:05:07`.
pub(crate) fn terms(tenant: &TenantName, holder: &str, terms: &Terms) -> String {
    let end = when::seconds(terms.expires);
    let purpose = terms.purpose.as_ref().map(|text| format!(" ({})", printable(text))).unwrap_or_default();
    format!("{holder} may {} until {end}{purpose}", scopes(tenant, terms))
}

/// `list and read acme/rlhf under math/ and write acme/rlhf under labels/`.
pub(crate) fn scopes(tenant: &TenantName, terms: &Terms) -> String {
    and(&terms.scopes.iter().map(|scope| scope_words(tenant, scope)).collect::<Vec<_>>())
}

fn scope_words(tenant: &TenantName, scope: &Scope) -> String {
    let actions = and(&scope.actions.iter().map(|action| action_word(*action).to_owned()).collect::<Vec<_>>());
    let dataset = format!("{tenant}/{}", scope.dataset);
    match &scope.part {
        Part::Prefix(prefix) if *prefix == Prefix::all() => format!("{actions} all of {dataset}"),
        Part::Prefix(Prefix::Exact(path)) => format!("{actions} {dataset}/{path}"),
        Part::Prefix(prefix) => format!("{actions} {dataset} under {prefix}"),
        Part::Snapshot(digest) => format!("{actions} {dataset} in the snapshot {digest}"),
    }
}

/// The action as it stands in a sentence.
pub(crate) fn action_word(action: Action) -> &'static str {
    match action {
        Action::List => "list",
        Action::Read => "read",
        Action::Write => "write",
        Action::Overwrite => "overwrite",
        Action::Delete => "delete",
    }
}

/// What is used of each limit, or at all.
pub(crate) fn usage_words(limits: &Limits, usage: &Usage) -> Vec<String> {
    let bytes = match limits.bytes {
        Some(limit) => of(usage.bytes, limit),
        None => crate::amount::Size(usage.bytes).to_string(),
    };
    let mut words = vec![format!("{bytes} used")];
    for (limit, used, noun) in [(limits.objects, usage.objects, "object"), (limits.uses, usage.uses, "call")] {
        words.extend(limit.map(|limit| format!("{used} of {}", counted(limit, noun))));
    }
    words.extend(pace_words(limits));
    words
}

/// What is allowed in all, for what has used nothing: `10 MiB, 5 objects, at most 1 MiB a minute`.
pub(crate) fn limit_words(limits: &Limits) -> Vec<String> {
    let mut words: Vec<String> = limits.bytes.map(|bytes| crate::amount::Size(bytes).to_string()).into_iter().collect();
    words.extend(limits.objects.map(|limit| counted(limit, "object")));
    words.extend(limits.uses.map(|limit| counted(limit, "call")));
    words.extend(pace_words(limits));
    words
}

fn pace_words(limits: &Limits) -> Vec<String> {
    let rate = limits.bytes_per_minute.map(|rate| format!("at most {} a minute", crate::amount::Size(rate)));
    let sources = (!limits.sources.is_empty()).then(|| format!("from {} only", and(&limits.sources)));
    rate.into_iter().chain(sources).collect()
}

/// `a, b and c`.
pub(super) fn and(parts: &[String]) -> String {
    match parts.split_last() {
        None => String::new(),
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strongroom_core::grant::Holder;
    use strongroom_core::ids::VendorId;

    fn scope(actions: &[Action], prefix: &str) -> Scope {
        Scope {
            actions: actions.to_vec(),
            dataset: "rlhf".parse().unwrap(),
            part: Part::Prefix(prefix.parse().unwrap()),
        }
    }

    fn terms(scopes: Vec<Scope>) -> Terms {
        Terms {
            holder: Holder::Vendor(VendorId::from_bytes([1; 16])),
            parent: None,
            scopes,
            not_before: None,
            expires: when::millis("2026-03-01T14:05:00Z".parse().unwrap()),
            delegable: false,
            limits: Limits::default(),
            purpose: None,
        }
    }

    fn told(terms: &Terms, usage: Usage) -> String {
        sentence(&"acme".parse().unwrap(), "labelco", terms, &usage, "2026-03-01T09:00:00Z".parse().unwrap())
    }

    #[test]
    fn a_grant_reads_as_a_sentence() {
        let mut terms = terms(vec![scope(&[Action::List, Action::Read], "math/")]);
        terms.limits.bytes = Some(10 << 20);
        assert_eq!(
            told(&terms, Usage { bytes: 3_250_586, objects: 4, uses: 1 }),
            "labelco may list and read acme/rlhf under math/ until 14:05 UTC, 3.1 of 10 MiB used"
        );
        terms.scopes.push(scope(&[Action::Write], "labels/"));
        terms.scopes.push(scope(&[Action::Delete], "labels/old.json"));
        terms.limits = Limits { objects: Some(1), uses: Some(9), ..Limits::default() };
        terms.delegable = true;
        terms.purpose = Some("round 2".into());
        assert_eq!(
            told(&terms, Usage { bytes: 10, objects: 1, uses: 2 }),
            "labelco may list and read acme/rlhf under math/, write acme/rlhf under labels/ and delete \
             acme/rlhf/labels/old.json until 14:05 UTC, 10 B used, 1 of 1 object, 2 of 9 calls, and may delegate it (round 2)"
        );
    }

    #[test]
    fn every_limit_is_told() {
        let mut terms = terms(vec![scope(&[Action::Read], "math/*")]);
        terms.not_before = Some(when::millis("2026-03-01T12:00:00Z".parse().unwrap()));
        terms.expires = when::millis("2026-03-02T14:05:00Z".parse().unwrap());
        terms.limits = Limits {
            bytes: Some(10 << 20),
            objects: Some(100),
            uses: Some(7),
            bytes_per_minute: Some(1 << 20),
            sources: vec!["10.0.0.0/8".into(), "2001:db8::/32".into()],
        };
        let usage = Usage { bytes: 3_250_586, objects: 40, uses: 6 };
        let told = told(&terms, usage);
        for words in [
            "until 2026-03-02 14:05 UTC, from 12:00 UTC on",
            "3.1 of 10 MiB used",
            "40 of 100 objects",
            "6 of 7 calls",
            "1 MiB a minute",
            "10.0.0.0/8",
            "2001:db8::/32",
        ] {
            assert!(told.contains(words), "{words} in {told}");
        }
    }

    #[test]
    fn the_whole_dataset_is_told_so() {
        let terms = terms(vec![scope(&[Action::Read], "")]);
        assert_eq!(told(&terms, Usage::default()), "labelco may read all of acme/rlhf until 14:05 UTC, 0 B used");
    }
}
