//! What the page's script gets: lists of numbers and names, as small as a hundred thousand objects ask for.

use std::collections::HashMap;
use std::io::{self, Write};

use serde::ser::SerializeSeq;
use serde::{Serialize, Serializer};
use strongroom_core::audit::Report;
use strongroom_core::audit::exposure::{Exposed, Exposure, Since};
use strongroom_core::audit::roster::Happening;
use strongroom_core::grant::Holder;
use strongroom_core::identity::Fingerprint;
use strongroom_core::ids::GrantId;

use crate::audit::exposure::told::{segments, standing, vendor};
use crate::grant::short_grant;
use crate::name::short_key;

/// Fingerprint, vendor, releases, bytes in all, first and last moment (Unix milliseconds; null where it read nothing).
type Key = (Fingerprint, Option<String>, u64, u64, Option<u64>, Option<u64>);

/// An object, as a list: dataset (null where the name was erased), path, generation, size, bytes, bytes in all, releases, first, last,
/// keys, grants, sources, who wrote it, state, since when, put, ordinal, segments.
#[derive(Debug)]
struct Object<'a> {
    object: &'a Exposed,
    dataset: Option<u32>,
    keys: Vec<u32>,
    grants: Vec<u32>,
    sources: Vec<u32>,
    written: Option<u32>,
}

impl Serialize for Object<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let object = self.object;
        let (state, changed) = match object.since {
            Since::Current => (0_u8, None),
            Since::Overwritten(at) => (1, Some(at.time)),
            Since::Deleted(at) => (2, Some(at.time)),
            Since::Unknown => (3, None),
            Since::Rekeyed(at) => (4, Some(at.time)),
            Since::Shredded(at) => (5, Some(at.time)),
        };
        let mut list = serializer.serialize_seq(Some(18))?;
        list.serialize_element(&self.dataset)?;
        list.serialize_element(&object.name.as_ref().map(|name| name.1.as_str()))?;
        for number in [object.generation.0, object.size, object.bytes, object.bytes_total, object.releases] {
            list.serialize_element(&number)?;
        }
        for moment in [object.first, object.last] {
            list.serialize_element(&moment.map(|at| at.time))?;
        }
        for numbers in [&self.keys, &self.grants, &self.sources] {
            list.serialize_element(numbers)?;
        }
        list.serialize_element(&self.written)?;
        list.serialize_element(&state)?;
        list.serialize_element(&changed)?;
        list.serialize_element(&object.put)?;
        list.serialize_element(&object.ordinal)?;
        let ranges: Vec<String> = object.read.as_slice().iter().map(|range| segments(*range)).collect();
        list.serialize_element(&ranges.join(", "))?;
        list.end()
    }
}

/// The data.
#[derive(Debug, Serialize)]
pub(super) struct Data<'a> {
    /// Those that read most come first.
    keys: Vec<Key>,
    datasets: Vec<String>,
    /// Grants under which something was released.
    named: Vec<GrantId>,
    sources: Vec<String>,
    /// When a day begins, key, releases, bytes.
    days: Vec<(u64, u32, u64, u64)>,
    /// Key, first, last, releases, parts, bytes, first entry.
    runs: Vec<(u32, u64, u64, u64, u64, u64, u64)>,
    /// When, entry, event, about what, why.
    orders: Vec<(u64, u64, &'static str, String, Option<String>)>,
    /// Dataset, folder, objects, bytes, objects read, bytes read.
    folders: Vec<(String, String, u64, u64, u64, u64)>,
    /// Grant, holder, end, state.
    grants: Vec<(GrantId, String, u64, &'static str)>,
    objects: Vec<Object<'a>>,
}

/// Numbers for names, in the order that they come.
#[derive(Debug)]
struct Numbers<T> {
    all: Vec<T>,
    known: HashMap<T, u32>,
}

impl<T: Clone + Eq + std::hash::Hash> Numbers<T> {
    fn new() -> Self {
        Self { all: Vec::new(), known: HashMap::new() }
    }

    fn of(&mut self, name: &T) -> u32 {
        if let Some(no) = self.known.get(name) {
            return *no;
        }
        // Fewer than what was told of them.
        let no = self.all.len() as u32;
        self.known.insert(name.clone(), no);
        self.all.push(name.clone());
        no
    }
}

/// Of a report.
pub(super) fn of(report: &Report) -> Data<'_> {
    let found = &report.exposure;
    let mut keys = Numbers::new();
    // Those that read most come first.
    for by in &found.keys {
        keys.of(&by.key);
    }
    let (mut datasets, mut named, mut sources) = (Numbers::new(), Numbers::new(), Numbers::new());
    let objects = found.objects.iter().map(|object| Object {
        object,
        dataset: object.name.as_ref().map(|name| datasets.of(&name.0.to_string())),
        keys: object.keys.iter().map(|key| keys.of(key)).collect(),
        grants: object.grants.iter().map(|grant| named.of(grant)).collect(),
        sources: object.sources.iter().map(|source| sources.of(source)).collect(),
        written: object.written.map(|key| keys.of(&key)),
    });
    let objects = objects.collect();
    let days = found.days.iter().map(|day| (day.day.0, keys.of(&day.key), day.releases, day.bytes_total)).collect();
    let runs = found.runs.iter().map(|run| {
        let (first, last) = (run.first, run.last);
        (keys.of(&run.key), first.time.0, last.time.0, run.releases, run.parts, run.bytes_total, first.index.0)
    });
    let runs = runs.collect();
    let orders = found
        .orders
        .iter()
        .map(|order| (order.at.time.0, order.at.index.0, order.event.name(), about(found, order), order.note.clone()));
    let folders = found.folders.iter().map(|folder| {
        let (name, bytes, read) = (folder.dataset.to_string(), folder.bytes, folder.read_bytes);
        (name, folder.folder.clone(), folder.objects, bytes, folder.read_objects, read)
    });
    let theirs = found.grants.iter().map(|grant| (grant, ""));
    let all = theirs.chain(found.elsewhere.iter().map(|grant| (grant, " (a grant of others)")));
    let grants = all.map(|(grant, of)| {
        let holder = match grant.holder {
            Holder::Vendor(id) => vendor(found, id),
            Holder::Key(key) => key.to_string(),
        };
        (grant.id, format!("{holder}{of}"), grant.expires.0, standing(grant.standing))
    });
    let (orders, folders, grants) = (orders.collect(), folders.collect(), grants.collect());
    let read: HashMap<Fingerprint, _> = found.keys.iter().map(|key| (key.key, key)).collect();
    let key = |key: &Fingerprint| match read.get(key) {
        Some(by) => {
            let vendor = by.vendor.map(|id| vendor(found, id));
            (*key, vendor, by.releases, by.bytes_total, Some(by.first.time.0), Some(by.last.time.0))
        }
        None => (*key, None, 0, 0, None, None),
    };
    Data {
        keys: keys.all.iter().map(key).collect(),
        datasets: datasets.all,
        named: named.all,
        sources: sources.all,
        days,
        runs,
        orders,
        folders,
        grants,
        objects,
    }
}

/// What an order is about, in words: `labelco`, `grant gr_0af1…`.
fn about(found: &Exposure, order: &Happening) -> String {
    let mut words = Vec::new();
    words.extend(order.grant.as_ref().map(|grant| format!("grant {}", short_grant(grant))));
    words.extend(order.vendor.map(|id| vendor(found, id)));
    words.extend(order.key.as_ref().map(|key| format!("key {}", short_key(key))));
    words.extend(order.dataset.as_ref().map(|dataset| format!("dataset {dataset}")));
    if words.is_empty() {
        words.push("all of it".to_owned());
    }
    format!("{}, ordered by {}", words.join(" "), short_key(&order.by))
}

/// JSON inside of HTML: what could end the element, or begin another, is written as an escape. These characters stand in strings alone.
pub(super) struct Escaped<W>(pub(super) W);

impl<W: Write> Write for Escaped<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for run in bytes.split_inclusive(|byte| matches!(byte, b'<' | b'>' | b'&')) {
            match run.split_last() {
                Some((last @ (b'<' | b'>' | b'&'), before)) => {
                    self.0.write_all(before)?;
                    write!(self.0, "\\u{last:04x}")?;
                }
                _ => self.0.write_all(run)?,
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_ends_the_element_that_holds_it() {
        let texts = ["</script><script>alert(1)</script>", "<!--", "]]>", "&lt;", "a\u{2028}b\"\\"];
        let mut out = Vec::new();
        serde_json::to_writer(Escaped(&mut out), &texts).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(!text.contains(['<', '>', '&']), "{text}");
        assert_eq!(serde_json::from_str::<Vec<String>>(&text).unwrap(), texts);
    }
}
