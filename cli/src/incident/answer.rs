//! The answer: ten lines for somebody who has never done this, and for whoever has to be told.

use std::collections::BTreeMap;
use std::path::PathBuf;

use strongroom_client::VendorRef;
use strongroom_core::audit::report::Report;
use strongroom_core::audit::roster::{GrantStanding, Moment as Place};
use strongroom_core::ids::{IncidentId, Index, Millis};

use crate::amount::{Size, counted};
use crate::audit::exposure::summary::{claimed, erased_words};
use crate::audit::exposure::told::{shorten, vendor};
use crate::grant::short_grant;
use crate::name::short_key;
use crate::output::printable;
use crate::when;

/// The files of an incident's folder.
pub(super) const ANSWER: &str = "answer.txt";
pub(super) const REPORT: &str = "report.json";
pub(super) const PAGE: &str = "report.html";
pub(super) const OBJECTS: &str = "exposure.jsonl";
pub(crate) const EVIDENCE: &str = "evidence.tar";

/// Whether the vendor was stopped.
pub(crate) enum Stopped {
    /// Just now, as this entry.
    Now(Place),
    /// It was already, by this entry.
    Before(Index),
    /// It was not touched; if it is stopped, by this entry.
    Not(Option<Index>),
}

impl Stopped {
    /// The entry that suspended the vendor.
    pub(crate) fn entry(&self) -> Option<Index> {
        match self {
            Self::Now(at) => Some(at.index),
            Self::Before(index) => Some(*index),
            Self::Not(index) => *index,
        }
    }
}

/// What was done.
pub(crate) struct Answer {
    pub(crate) vendor: VendorRef,
    pub(crate) since: Option<Millis>,
    pub(crate) incident: Option<(IncidentId, Place)>,
    pub(crate) stopped: Stopped,
    /// How many keys the vendor has.
    pub(crate) keys: u64,
    /// Where the rest lies.
    pub(crate) folder: Option<PathBuf>,
}

impl Answer {
    /// The lines.
    pub(crate) fn words(&self, report: &Report) -> String {
        let exposure = &report.exposure;
        let totals = &exposure.totals;
        let name = &self.vendor.vendor;
        let mut lines = vec![self.headline()];
        let mut line = |head: &str, words: String| lines.push(format!("{head:<12}{words}"));
        line("stopped", self.stopped_words());
        match (totals.first, totals.last) {
            (Some(first), Some(last)) => {
                let again = match totals.bytes_total > totals.bytes {
                    true => format!(" ({} with what was read again)", Size(totals.bytes_total)),
                    false => String::new(),
                };
                let (from, to) = (when::seconds(first.time), when::seconds(last.time));
                let (objects, bytes) = (counted(totals.objects, "object"), Size(totals.bytes));
                line("exposed", format!("{objects}, {bytes}{again}, from {from} to {to}: take all of it for leaked"));
                line("to whom", whom(report));
            }
            _ => line("exposed", format!("nothing: no key of any object was released to {name} in this time")),
        }
        if totals.written > 0 {
            let (objects, bytes) = (counted(totals.written, "object"), Size(totals.written_bytes));
            line("written", format!("{objects}, {bytes} came from {name}: check them before you use them"));
        }
        let denied = match totals.denied {
            0 => "; it tried nothing beyond them".to_owned(),
            n => format!("; {} beyond them got nothing", counted(n, "attempt")),
        };
        let time = if self.since.is_some() { " in this time" } else { "" };
        let scope = exposure.scope.unwrap_or_default();
        let (unread, bytes) = (counted(scope.unreleased, "object"), Size(scope.unreleased_bytes));
        line("not exposed", format!("{unread}, {bytes} that its grants covered and it was not released{time}{denied}"));
        for words in erased_words(exposure) {
            line("unknown", format!("{words} (erased)"));
        }
        line("still open", self.open_words(report));
        if let Some(folder) = &self.folder {
            let folder = folder.display();
            line(
                "kept",
                format!(
                    "{folder}/: {PAGE}, {ANSWER}, {REPORT}, {OBJECTS}, {EVIDENCE} (strongroom audit verify {folder}/{EVIDENCE})"
                ),
            );
        }
        for (at, words) in (1..).zip(self.next(report)) {
            line(if at == 1 { "now do" } else { "" }, format!("{at}. {words}"));
        }
        lines.join("\n")
    }

    fn headline(&self) -> String {
        let since = self.since.map_or_else(
            || "of all time, since no --since was given".to_owned(),
            |since| format!("since {} UTC", when::seconds(since)),
        );
        match &self.incident {
            Some((id, at)) => format!("INCIDENT {id} about {}, {since} (entry {})", self.vendor, at.index),
            None if matches!(self.stopped, Stopped::Not(_)) => {
                format!("DRY RUN about {}, {since}: nothing was recorded and nobody was stopped", self.vendor)
            }
            None => format!("INCIDENT about {}, {since}: not recorded", self.vendor),
        }
    }

    fn stopped_words(&self) -> String {
        let (name, keys) = (&self.vendor.vendor, counted(self.keys, "key"));
        match &self.stopped {
            Stopped::Now(at) => {
                let time = when::seconds(at.time);
                format!(
                    "{name}, its {keys} and all its workers, at {time} UTC (entry {}); nothing came out after, nothing is under way",
                    at.index
                )
            }
            Stopped::Before(index) => format!("{name} was, by entry {index}; nothing came out after"),
            Stopped::Not(Some(index)) => format!("{name} is, by entry {index}; this changed nothing"),
            Stopped::Not(None) => {
                format!("nothing: {name}, its {keys} and all its workers go on reading; without --dry-run they stop")
            }
        }
    }

    fn open_words(&self, report: &Report) -> String {
        let exposure = &report.exposure;
        let mut open = Vec::new();
        let held =
            |wanted: GrantStanding| exposure.grants.iter().filter(|grant| grant.standing == wanted).count() as u64;
        let live = held(GrantStanding::Live) + held(GrantStanding::NotYet);
        if live > 0 {
            open.push(format!("{} to read", counted(live, "live grant")));
        }
        if held(GrantStanding::Suspended) > 0 {
            let suspended = counted(held(GrantStanding::Suspended), "grant");
            open.push(format!("{suspended} to read, if the vendor is resumed before they end or are revoked"));
        }
        for grant in &exposure.elsewhere {
            let key = exposure
                .keys
                .iter()
                .map(|by| by.key)
                .find(|key| grant.holder == strongroom_core::grant::Holder::Key(*key));
            let key = key.map(|key| short_key(&key)).unwrap_or_default();
            open.push(format!(
                "{} of {key} by itself, not from {}: revoke it",
                short_grant(&grant.id),
                self.vendor.vendor
            ));
        }
        let copied = "what was read can have been copied: no order takes it back";
        match open.is_empty() {
            true => copied.to_owned(),
            false => format!("{}; {copied}", open.join("; ")),
        }
    }

    /// What to do next.
    fn next(&self, report: &Report) -> Vec<String> {
        let VendorRef { tenant, vendor } = &self.vendor;
        let mut next = Vec::new();
        let since = self.since.map(|since| format!(" --since {}", when::rfc3339(since))).unwrap_or_default();
        if matches!(self.stopped, Stopped::Not(_)) {
            next.push(format!("stop it: strongroom incident open {tenant}/{vendor}{since}"));
        }
        let mut datasets: BTreeMap<&str, u64> = BTreeMap::new();
        for (dataset, _) in report
            .exposure
            .objects
            .iter()
            .filter(|object| !object.read.is_empty())
            .filter_map(|object| object.name.as_ref())
        {
            *datasets.entry(dataset.as_str()).or_default() += 1;
        }
        let datasets: Vec<String> =
            datasets.iter().map(|(name, count)| format!("{name} ({})", counted(*count, "object"))).collect();
        if datasets.is_empty() {
            let proof = match &self.folder {
                Some(_) => format!("with {EVIDENCE}"),
                None => format!("with the proof: strongroom audit evidence {tenant} --vendor {vendor}{since} -o FILE"),
            };
            next.push(format!("tell {vendor} that nothing was taken, {proof}"));
        } else {
            let owners = shorten(&datasets);
            let files = match &self.folder {
                Some(_) => format!("{PAGE} is for them, {OBJECTS} lists every object"),
                None => {
                    format!("a page for them: strongroom audit exposure {tenant} --vendor {vendor}{since} --html FILE")
                }
            };
            next.push(format!("tell whoever owns {owners}, and your legal team: {files}"));
            let (by, of) = match &self.incident {
                Some((id, _)) => (format!("--incident {id}"), format!(" --incident {id}")),
                None => (format!("--exposed-by {vendor}{since}"), String::new()),
            };
            next.push(format!(
                "re-key it, so that stolen keys open nothing that is there: strongroom key rekey {tenant} {by}"
            ));
            next.push(format!("or shred what must not exist any more: strongroom key shred {tenant}/DATASET/PATH{of}"));
        }
        if let Some((id, _)) = &self.incident {
            next.push(format!("when it is over: strongroom incident close {tenant} {id} --note \"…\""));
        }
        next
    }
}

/// `SHA256:q0T… of labelco (3 MiB), …; from 192.0.2.7; by strongroom-client/0.1.0 on vm, as it claims`.
fn whom(report: &Report) -> String {
    let exposure = &report.exposure;
    let by = |key: &strongroom_core::audit::exposure::ByKey| {
        let of = key.vendor.map_or_else(|| ", a worker's".to_owned(), |id| format!(" of {}", vendor(exposure, id)));
        format!("{}{of} ({})", short_key(&key.key), Size(key.bytes_total))
    };
    let mut words = shorten(&exposure.keys.iter().map(by).collect::<Vec<_>>());
    let sources: Vec<String> = exposure.sources.iter().map(|source| printable(source)).collect();
    if !sources.is_empty() {
        words += &format!("; from {}", shorten(&sources));
    }
    let claims: Vec<String> = exposure.claims.iter().map(|claims| printable(&claimed(claims))).collect();
    if !claims.is_empty() {
        words += &format!("; with {}, by their own words", shorten(&claims));
    }
    words
}
