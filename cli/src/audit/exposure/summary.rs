//! The answer in about ten lines.

use std::collections::BTreeMap;

use strongroom_core::audit::Question;
use strongroom_core::audit::exposure::{ByKey, Exposure, Totals};
use strongroom_core::audit::roster::GrantStanding;

use super::told::{shorten, standing, vendor};
use crate::amount::{Size, counted};
use crate::audit::asked::{place, time, who};
use crate::grant::short_grant;
use crate::name::short_key;
use crate::output::printable;
use crate::when;

/// The answer in about ten lines, each ended.
pub(crate) fn summary(question: &Question, found: &Exposure) -> String {
    let totals = &found.totals;
    let mut lines = vec![headline(question, found)];
    let mut line = |head: &str, words: String| lines.push(format!("{head:<10}{words}"));
    line("read", read_words(totals));
    if totals.written > 0 {
        line("wrote", format!("{}, {}", counted(totals.written, "object"), Size(totals.written_bytes)));
    }
    for (head, at) in [("first", totals.first), ("last", totals.last)] {
        if let Some(at) = at {
            line(head, format!("{}, entry {}", when::seconds(at.time), at.index));
        }
    }
    if !found.keys.is_empty() {
        let by = |key: &ByKey| {
            let vendor = key.vendor.map(|id| format!(" of {}", vendor(found, id))).unwrap_or_default();
            format!("{}{vendor} ({})", short_key(&key.key), Size(key.bytes_total))
        };
        line("by", shorten(&found.keys.iter().map(by).collect::<Vec<_>>()));
    }
    if !found.sources.is_empty() {
        line("from", shorten(&found.sources.iter().map(|source| printable(source)).collect::<Vec<_>>()));
    }
    let claims: Vec<String> = found.claims.iter().map(|claims| printable(&claimed(claims))).collect();
    if !claims.is_empty() {
        line("claimed", shorten(&claims));
    }
    if totals.denied > 0 {
        line("denied", format!("{}, of which nothing came out", counted(totals.denied, "attempt")));
    }
    match found.scope {
        Some(scope) => {
            let (unread, all) = (counted(scope.unreleased, "object"), counted(scope.objects, "object"));
            let bytes = Size(scope.unreleased_bytes);
            line("not read", format!("{unread}, {bytes}: nothing of these, of the {all} that grants covered"));
        }
        None => line("not read", "not told: it is not grants alone that let a session or an admin read".to_owned()),
    }
    line("live now", live_words(found));
    let changed = [
        (totals.overwritten, "overwritten"),
        (totals.rekeyed, "re-keyed"),
        (totals.deleted, "deleted"),
        (totals.shredded, "shredded"),
    ];
    let kept = totals.objects - changed.iter().map(|(n, _)| n).sum::<u64>();
    let since = changed.into_iter().chain([(kept, "as they were")]);
    let since: Vec<String> = since.filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
    if !since.is_empty() {
        line("since", format!("of the objects read, {}", since.join(", ")));
    }
    for words in erased_words(found) {
        line("erased", words);
    }
    lines.join("\n") + "\n"
}

/// `What labelco had in acme, of all time (--since and --until narrow it), by the ledger's 120 entries:`.
fn headline(question: &Question, found: &Exposure) -> String {
    let tenant = found.tenant.as_ref().map_or("the tenant", |tenant| tenant.as_str());
    let place = place(tenant, question);
    format!("What {} had in {place}, {}, by the ledger's {} entries:", who(question), time(question), found.size.0)
}

/// What was read: `12 objects, 3 MiB, in 4 releases`.
pub(crate) fn read_words(totals: &Totals) -> String {
    if totals.objects == 0 {
        return "nothing".to_owned();
    }
    let again = match totals.bytes_total > totals.bytes {
        true => format!(" ({} with what was read again)", Size(totals.bytes_total)),
        false => String::new(),
    };
    let (objects, releases) = (counted(totals.objects, "object"), counted(totals.releases, "release"));
    format!("{objects}, {}{again}, in {releases}", Size(totals.bytes))
}

/// Which grants live: `2 grants to read: gr_0a… until 2026-…`.
pub(crate) fn live_words(found: &Exposure) -> String {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for grant in &found.grants {
        *counts.entry(standing(grant.standing)).or_default() += 1;
    }
    let live: Vec<String> = found
        .grants
        .iter()
        .filter(|grant| grant.standing == GrantStanding::Live)
        .map(|grant| format!("{} until {}", short_grant(&grant.id), when::seconds(grant.expires)))
        .collect();
    let mut words = match live.len() {
        0 => "no grant to read".to_owned(),
        n => format!("{} to read: {}", counted(n as u64, "grant"), shorten(&live)),
    };
    if let Some(suspended) = counts.get("suspended") {
        words += &format!("; {} if the suspension is lifted", counted(*suspended, "grant"));
    }
    if let Some(later) = counts.get("not_yet") {
        words += &format!("; {} that will begin", counted(*later, "grant"));
    }
    words
}

/// What is not told since it was erased; nothing where nothing was.
pub(crate) fn erased_words(found: &Exposure) -> Vec<String> {
    let (totals, scope) = (&found.totals, found.scope.unwrap_or_default());
    let bytes = Size(totals.unattributed_bytes);
    let all = [
        (totals.unnamed, counted(totals.unnamed, "exposed object") + " without a name"),
        (totals.sources_erased, counted(totals.sources_erased, "release") + " without its source"),
        (
            totals.unattributed,
            format!(
                "{}, {bytes}, under grants nobody can read: theirs or not",
                counted(totals.unattributed, "release")
            ),
        ),
        (scope.erased_grants, counted(scope.erased_grants, "grant") + ": what it covered is not counted"),
        (totals.erased_orders, counted(totals.erased_orders, "other order") + ": keys may be missing"),
        (scope.unnamed, counted(scope.unnamed, "object") + " in scope or not"),
    ];
    all.into_iter().filter(|(n, _)| *n > 0).map(|(_, words)| words).collect()
}

/// `strongroom-client/0.4.1 on ci-runner-7 for nightly`: a caller's own words about itself.
pub(crate) fn claimed(claims: &strongroom_core::session::Claims) -> String {
    let host = if claims.host.is_empty() { String::new() } else { format!(" on {}", claims.host) };
    let job = if claims.job.is_empty() { String::new() } else { format!(" for {}", claims.job) };
    format!("{}{host}{job}", claims.sdk)
}
