//! `audit exposure`: what somebody had, in ten lines and object by object.

use std::collections::BTreeMap;
use std::io::Write;

use serde::Serialize;
use strongroom_core::audit::exposure::{Exposed, Exposure as Found, InScope, OpenGrant, Question, Since, Totals};
use strongroom_core::audit::roster::{GrantStanding, Moment as Place};
use strongroom_core::grant::{Holder, Prefix};
use strongroom_core::identity::Fingerprint;
use strongroom_core::ids::{GrantId, SessionId, VendorId};
use strongroom_core::names::{DatasetName, TenantName, VendorName};

use super::names::Names;
use crate::amount::{Size, counted};
use crate::args::Globals;
use crate::exit::{Failure, Outcome};
use crate::grant::short_grant;
use crate::name::short_key;
use crate::output::{Format, Row, note, printable, write_json, write_table};
use crate::when::{self, Moment};

/// How many keys, addresses and grants the summary names before it counts the rest.
const NAMED: usize = 5;

/// The flags of `audit exposure`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
JSON has one line an exposed object: dataset, path (null where that was erased), generation, size, put and ordinal (which name it
in the ledger), read (ranges of 64 KiB segments: the first, and one past the last), bytes (each once), bytes_total (each as often
as it was released), releases, first and last (index and time, null where it was only written), keys, grants, sources,
sources_erased, written_by (null where it was only read), state (current, overwritten, deleted, unknown) and changed (when).
With --summary it is one line with the sums instead.

Examples:
  strongroom audit exposure acme --vendor labelco
  strongroom audit exposure acme --vendor labelco --since 2026-03-24T10:39 --output json
  strongroom audit exposure acme --key SHA256:q0T… --dataset rlhf --prefix math/
  strongroom audit exposure acme --grant gr_0af1… --summary")]
pub struct Exposure {
    /// The tenant.
    tenant: TenantName,
    /// Of this vendor: all keys it has or had, and all to whom it delegated.
    #[arg(long, value_name = "VENDOR")]
    vendor: Option<VendorName>,
    /// Of this key alone.
    #[arg(long, value_name = "SHA256:…")]
    key: Option<Fingerprint>,
    /// In this session alone.
    #[arg(long, value_name = "SESSION")]
    session: Option<SessionId>,
    /// Only objects of this dataset.
    #[arg(long, value_name = "DATASET")]
    dataset: Option<DatasetName>,
    /// Only objects here: math/, 'math/0000*', math/000007.json.
    #[arg(long, value_name = "PREFIX", requires = "dataset")]
    prefix: Option<Prefix>,
    /// Only what was released or written from this time on: 2h (ago), 2026-03-01, 2026-03-01T14:05. All of time without it.
    #[arg(long, value_name = "TIME")]
    since: Option<Moment>,
    /// Only before this time.
    #[arg(long, value_name = "TIME")]
    until: Option<Moment>,
    /// The sums alone, without the objects.
    #[arg(long)]
    summary: bool,
}

impl Exposure {
    /// Does it.
    ///
    /// # Errors
    /// The caller is no admin of the tenant; there is no such vendor.
    pub fn run(self, globals: &Globals) -> Outcome {
        let now = when::now();
        let moment = |moment: Option<Moment>| moment.map(|moment| moment.millis(now));
        let question = Question {
            vendor: self.vendor.clone(),
            key: self.key,
            grant: globals.grant,
            session: self.session,
            dataset: self.dataset.clone(),
            prefix: self.prefix.clone(),
            since: moment(self.since),
            until: moment(self.until),
        };
        globals.with_vault(async |vault| {
            let names = Names::of(vault, &self.tenant).await?;
            let found = vault.exposure(&self.tenant, question.clone(), when::millis(now)).await?;
            let mut out = std::io::BufWriter::new(std::io::stdout());
            let written = match (globals.output, self.summary) {
                (Format::Json, true) => write_json(&mut out, &Sums::of(&found, &names)),
                (Format::Json, false) => {
                    let words = summary(&self.tenant, &question, &found, &names);
                    words.lines().take(2).for_each(note);
                    found.objects.iter().try_for_each(|object| write_json(&mut out, &Told::of(object)))
                }
                (Format::Table, only) => {
                    let words = summary(&self.tenant, &question, &found, &names);
                    out.write_all(words.as_bytes()).and_then(|()| match only || found.objects.is_empty() {
                        true => Ok(()),
                        false => {
                            let rows: Vec<Told<'_>> = found.objects.iter().map(Told::of).collect();
                            writeln!(out).and_then(|()| write_table(&mut out, &rows))
                        }
                    })
                }
            };
            written.and_then(|()| out.flush()).map_err(|error| Failure::stdio(&error))
        })
    }
}

/// Where and when, as programs get it.
#[derive(Debug, Serialize)]
struct At {
    index: u64,
    time: String,
}

impl From<Place> for At {
    fn from(at: Place) -> Self {
        Self { index: at.index.0, time: when::rfc3339(at.time) }
    }
}

/// An object as programs get it, and as a row.
#[derive(Debug, Serialize)]
struct Told<'a> {
    dataset: Option<&'a str>,
    path: Option<&'a str>,
    generation: u64,
    size: u64,
    put: u64,
    ordinal: u32,
    read: &'a [(u32, u32)],
    bytes: u64,
    bytes_total: u64,
    releases: u64,
    first: Option<At>,
    last: Option<At>,
    keys: Vec<&'a Fingerprint>,
    grants: Vec<&'a GrantId>,
    sources: Vec<&'a str>,
    sources_erased: u64,
    written_by: Option<Fingerprint>,
    state: &'static str,
    changed: Option<At>,
}

impl<'a> Told<'a> {
    fn of(object: &'a Exposed) -> Self {
        let (state, changed) = match object.since {
            Since::Current => ("current", None),
            Since::Overwritten(at) => ("overwritten", Some(at)),
            Since::Deleted(at) => ("deleted", Some(at)),
            Since::Unknown => ("unknown", None),
        };
        Self {
            dataset: object.name.as_ref().map(|name| name.0.as_str()),
            path: object.name.as_ref().map(|name| name.1.as_str()),
            generation: object.generation.0,
            size: object.size,
            put: object.put.0,
            ordinal: object.ordinal,
            read: object.read.as_slice(),
            bytes: object.bytes,
            bytes_total: object.bytes_total,
            releases: object.releases,
            first: object.first.map(At::from),
            last: object.last.map(At::from),
            keys: object.keys.iter().collect(),
            grants: object.grants.iter().collect(),
            sources: object.sources.iter().map(String::as_str).collect(),
            sources_erased: object.sources_erased,
            written_by: object.written,
            state,
            changed: changed.map(At::from),
        }
    }
}

impl Row for Told<'_> {
    const HEADS: &'static [&'static str] = &["OBJECT", "GEN", "SIZE", "READ", "SEGMENTS", "LAST", "BY", "NOW"];

    fn cells(&self) -> Vec<String> {
        let name = match (self.dataset, self.path) {
            (Some(dataset), Some(path)) => printable(&format!("{dataset}/{path}")),
            _ => format!("erased ({}.{})", self.put, self.ordinal),
        };
        let segments: Vec<String> = self.read.iter().map(|range| segments(*range)).collect();
        let by = match &self.keys[..] {
            [] => String::new(),
            [key] => short_key(key),
            keys => counted(keys.len() as u64, "key"),
        };
        let (read, by) = match self.written_by {
            Some(key) if self.read.is_empty() => ("wrote it".to_owned(), short_key(&key)),
            Some(_) => (format!("{}, wrote it", Size(self.bytes)), by),
            None => (Size(self.bytes).to_string(), by),
        };
        // RFC 3339 without the T, the fraction and the zone: a row is for people.
        let last = self.last.as_ref().map(|at| at.time[..19].replace('T', " ")).unwrap_or_default();
        let size = Size(self.size).to_string();
        vec![name, self.generation.to_string(), size, read, shorten(&segments), last, by, self.state.to_owned()]
    }
}

fn segments((start, end): (u32, u32)) -> String {
    if end == start + 1 { start.to_string() } else { format!("{start}–{}", end - 1) }
}

/// The first few, and how many more.
fn shorten(all: &[String]) -> String {
    match all.get(..NAMED) {
        Some(first) if all.len() > NAMED => format!("{} and {} more", first.join(", "), all.len() - NAMED),
        _ => all.join(", "),
    }
}

/// The sums, as programs get them.
#[derive(Debug, Serialize)]
struct Sums {
    /// How many entries of the ledger it stands on.
    size: u64,
    objects: u64,
    bytes: u64,
    bytes_total: u64,
    releases: u64,
    repeats: u64,
    written: u64,
    written_bytes: u64,
    first: Option<At>,
    last: Option<At>,
    keys: Vec<SumOfKey>,
    sources: Vec<String>,
    /// Null where the question is about a session or an admin's key.
    in_scope: Option<SumInScope>,
    /// Grants that are not over.
    grants: Vec<SumOfGrant>,
    overwritten: u64,
    deleted: u64,
    /// What was erased, and so not told.
    erased: SumErased,
}

#[derive(Debug, Serialize)]
struct SumOfKey {
    key: Fingerprint,
    vendor: Option<String>,
    releases: u64,
    bytes_total: u64,
    first: At,
    last: At,
}

#[derive(Debug, Serialize)]
struct SumInScope {
    objects: u64,
    unreleased: u64,
    unreleased_bytes: u64,
}

#[derive(Debug, Serialize)]
struct SumOfGrant {
    grant: GrantId,
    vendor: Option<String>,
    key: Option<Fingerprint>,
    expires: String,
    /// `live`, `suspended` or `not_yet`.
    state: &'static str,
}

#[derive(Debug, Serialize)]
struct SumErased {
    /// Exposed objects whose path was.
    names: u64,
    /// Releases whose source was.
    sources: u64,
    /// Releases under grants whose order was: theirs or not, and in no other number.
    unattributed: u64,
    unattributed_bytes: u64,
    /// Grants whose order was: theirs or not.
    grants: u64,
    /// Other orders.
    orders: u64,
    /// Objects whose path was, in scope or not.
    objects: u64,
}

impl Sums {
    fn of(found: &Found, names: &Names) -> Self {
        let Totals { objects, bytes, bytes_total, releases, repeats, written, written_bytes, .. } = found.totals;
        let totals = &found.totals;
        let name = |id: VendorId| names.vendor(&id);
        let key = |key: &strongroom_core::audit::exposure::ByKey| SumOfKey {
            key: key.key,
            vendor: key.vendor.map(name),
            releases: key.releases,
            bytes_total: key.bytes_total,
            first: key.first.into(),
            last: key.last.into(),
        };
        let grant = |grant: &OpenGrant| {
            let (vendor, key) = match grant.holder {
                Holder::Vendor(id) => (Some(name(id)), None),
                Holder::Key(key) => (None, Some(key)),
            };
            let expires = when::rfc3339(grant.expires);
            SumOfGrant { grant: grant.id, vendor, key, expires, state: standing(grant.standing) }
        };
        let scope = found.scope.unwrap_or_default();
        let in_scope = |scope: InScope| SumInScope {
            objects: scope.objects,
            unreleased: scope.unreleased,
            unreleased_bytes: scope.unreleased_bytes,
        };
        Self {
            size: found.size.0,
            objects,
            bytes,
            bytes_total,
            releases,
            repeats,
            written,
            written_bytes,
            first: totals.first.map(At::from),
            last: totals.last.map(At::from),
            keys: found.keys.iter().map(key).collect(),
            sources: found.sources.iter().cloned().collect(),
            in_scope: found.scope.map(in_scope),
            grants: found.grants.iter().map(grant).collect(),
            overwritten: totals.overwritten,
            deleted: totals.deleted,
            erased: SumErased {
                names: totals.unnamed,
                sources: totals.sources_erased,
                unattributed: totals.unattributed,
                unattributed_bytes: totals.unattributed_bytes,
                grants: scope.erased_grants,
                orders: totals.erased_orders,
                objects: scope.unnamed,
            },
        }
    }
}

fn standing(standing: GrantStanding) -> &'static str {
    match standing {
        GrantStanding::Live => "live",
        GrantStanding::Suspended => "suspended",
        GrantStanding::NotYet => "not_yet",
        GrantStanding::Ended => "ended",
    }
}

/// The answer in about ten lines, each ended.
fn summary(tenant: &TenantName, question: &Question, found: &Found, names: &Names) -> String {
    let totals = &found.totals;
    let mut lines = vec![headline(tenant, question, found)];
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
        let by = |key: &strongroom_core::audit::exposure::ByKey| {
            let vendor = key.vendor.map(|id| format!(" of {}", names.vendor(&id))).unwrap_or_default();
            format!("{}{vendor} ({})", short_key(&key.key), Size(key.bytes_total))
        };
        line("by", shorten(&found.keys.iter().map(by).collect::<Vec<_>>()));
    }
    if !found.sources.is_empty() {
        line("from", shorten(&found.sources.iter().map(|source| printable(source)).collect::<Vec<_>>()));
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
    let kept = totals.objects - totals.overwritten - totals.deleted;
    let since = [(totals.overwritten, "overwritten"), (totals.deleted, "deleted"), (kept, "as they were")];
    let since: Vec<String> = since.into_iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
    if !since.is_empty() {
        line("since", format!("of the objects read, {}", since.join(", ")));
    }
    for words in erased_words(found) {
        line("erased", words);
    }
    lines.join("\n") + "\n"
}

/// `What labelco had in acme, of all time (--since and --until narrow it), by the ledger's 120 entries:`.
fn headline(tenant: &TenantName, question: &Question, found: &Found) -> String {
    let mut who = Vec::new();
    who.extend(question.vendor.as_ref().map(ToString::to_string));
    who.extend(question.key.as_ref().map(short_key));
    who.extend(question.grant.as_ref().map(|grant| format!("grant {}", short_grant(grant))));
    who.extend(question.session.as_ref().map(|session| format!("session {:.8}…", session.to_string())));
    let who = if who.is_empty() { "anybody".to_owned() } else { who.join(" by ") };
    let mut place = tenant.to_string();
    if let Some(dataset) = &question.dataset {
        place += &format!("/{dataset}");
    }
    if let Some(prefix) = &question.prefix {
        place += &printable(&format!("/{prefix}"));
    }
    let time = match (question.since, question.until) {
        (None, None) => "of all time (--since and --until narrow it)".to_owned(),
        (Some(since), None) => format!("since {}", when::seconds(since)),
        (None, Some(until)) => format!("until {}", when::seconds(until)),
        (Some(since), Some(until)) => format!("from {} to {}", when::seconds(since), when::seconds(until)),
    };
    format!("What {who} had in {place}, {time}, by the ledger's {} entries:", found.size.0)
}

fn read_words(totals: &Totals) -> String {
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

fn live_words(found: &Found) -> String {
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
fn erased_words(found: &Found) -> Vec<String> {
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
