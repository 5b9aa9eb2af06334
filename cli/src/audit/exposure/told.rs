//! The answer as programs get it, and its rows.

use serde::Serialize;
use strongroom_core::audit::exposure::{ByKey, Exposed, Exposure, InScope, OpenGrant, Since};
use strongroom_core::audit::roster::{GrantStanding, Moment as Place};
use strongroom_core::grant::Holder;
use strongroom_core::identity::Fingerprint;
use strongroom_core::ids::{GrantId, VendorId};
use strongroom_core::session::Claims;

use crate::amount::{Size, counted};
use crate::name::short_key;
use crate::output::{Row, printable};
use crate::when;

/// How many keys, addresses and grants the summary names before it counts the rest.
const NAMED: usize = 5;

/// Where and when, as programs get it.
#[derive(Debug, Serialize)]
pub(crate) struct At {
    index: u64,
    pub(crate) time: String,
}

impl From<Place> for At {
    fn from(at: Place) -> Self {
        Self { index: at.index.0, time: when::rfc3339(at.time) }
    }
}

/// An object as programs get it, and as a row.
#[derive(Debug, Serialize)]
pub(crate) struct Told<'a> {
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
    claims: Vec<&'a Claims>,
}

impl<'a> Told<'a> {
    /// An object of an answer.
    pub(crate) fn of(object: &'a Exposed, found: &'a Exposure) -> Self {
        let (state, changed) = match object.since {
            Since::Current => ("current", None),
            Since::Overwritten(at) => ("overwritten", Some(at)),
            Since::Rekeyed(at) => ("rekeyed", Some(at)),
            Since::Deleted(at) => ("deleted", Some(at)),
            Since::Shredded(at) => ("shredded", Some(at)),
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
            claims: object.claims.iter().filter_map(|no| found.claims.get(*no as usize)).collect(),
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

/// `3`, or `3–7`.
pub(crate) fn segments((start, end): (u32, u32)) -> String {
    if end == start + 1 { start.to_string() } else { format!("{start}–{}", end - 1) }
}

/// The sums, as programs get them.
#[derive(Debug, Serialize)]
pub(crate) struct Sums {
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
    rekeyed: u64,
    deleted: u64,
    shredded: u64,
    /// Refusals.
    denied: u64,
    /// What the sessions claimed that anything was released in.
    claims: Vec<Claims>,
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
    /// Of an answer.
    pub(crate) fn of(found: &Exposure) -> Self {
        let strongroom_core::audit::exposure::Totals {
            objects,
            bytes,
            bytes_total,
            releases,
            repeats,
            written,
            written_bytes,
            ..
        } = found.totals;
        let totals = &found.totals;
        let name = |id: VendorId| vendor(found, id);
        let key = |key: &ByKey| SumOfKey {
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
            rekeyed: totals.rekeyed,
            deleted: totals.deleted,
            shredded: totals.shredded,
            denied: totals.denied,
            claims: found.claims.clone(),
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

/// A standing's stable word.
pub(crate) fn standing(standing: GrantStanding) -> &'static str {
    match standing {
        GrantStanding::Live => "live",
        GrantStanding::Suspended => "suspended",
        GrantStanding::NotYet => "not_yet",
        GrantStanding::Ended => "ended",
    }
}

/// The name of a vendor, or its id.
pub(crate) fn vendor(found: &Exposure, id: VendorId) -> String {
    found.vendors.get(&id).map_or_else(|| id.to_string(), ToString::to_string)
}

/// The first few, and how many more.
pub(crate) fn shorten(all: &[String]) -> String {
    match all.get(..NAMED) {
        Some(first) if all.len() > NAMED => format!("{} and {} more", first.join(", "), all.len() - NAMED),
        _ => all.join(", "),
    }
}
