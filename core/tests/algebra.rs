//! The algebra of grants, against a model that tries everything: what a child that is accepted as narrower allows, its parent
//! allows too, in every dimension at once.

use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use strongroom_core::grant::{
    Action, Authority, Blocked, Grant, Held, Holder, Limits, Part, Place, Prefix, Request, Scope, Source, Standing,
    Tally, Terms, Usage, decide,
};
use strongroom_core::identity::Fingerprint;
use strongroom_core::ids::{GrantId, Index, Millis};
use strongroom_core::names::{DatasetName, ObjectPath};

const KEY: Fingerprint = Fingerprint::from_bytes([1; 32]);
const PREFIXES: [&str; 10] = ["", "*", "a", "a*", "a/", "a/b", "a/b*", "a/b/", "ab*", "b/"];
const PATHS: [&str; 9] = ["a", "ab", "abc", "a/b", "a/bc", "a/b/c", "a/c", "b", "b/a"];
const DATASETS: [&str; 2] = ["one", "two"];
const NETWORKS: [&str; 6] = ["0.0.0.0/0", "10.0.0.0/30", "10.0.0.0/31", "10.0.0.2/32", "::/0", "2001:db8::/127"];
const ADDRESSES: [&str; 7] =
    ["10.0.0.0", "10.0.0.1", "10.0.0.2", "10.0.0.3", "192.0.2.1", "2001:db8::1", "2001:db8::2"];
/// Times around a minute's turn, where grants begin and end.
const TIMES: [u64; 6] = [59_998, 59_999, 60_000, 60_001, 119_999, 120_000];

fn scope() -> impl Strategy<Value = Scope> {
    let actions = prop::sample::subsequence(Action::ALL.to_vec(), 1..=5);
    let prefix = prop::sample::select(&PREFIXES[..]);
    (actions, prop::sample::select(&DATASETS[..]), prefix).prop_map(|(actions, dataset, prefix)| Scope {
        actions,
        dataset: dataset.parse().unwrap(),
        part: Part::Prefix(prefix.parse().unwrap()),
    })
}

fn time() -> impl Strategy<Value = Millis> {
    prop::sample::select(&TIMES[..]).prop_map(Millis)
}

fn limits() -> impl Strategy<Value = Limits> {
    let limit = || of(0..5_u64);
    let sources = prop_oneof![1 => Just(Vec::new()), 1 => vec(prop::sample::select(&NETWORKS[..]), 1..3)];
    (limit(), limit(), limit(), limit(), sources).prop_map(|(bytes, objects, uses, bytes_per_minute, sources)| Limits {
        bytes,
        objects,
        uses,
        bytes_per_minute,
        sources: sources.into_iter().map(str::to_owned).collect(),
    })
}

fn terms() -> impl Strategy<Value = Terms> {
    (vec(scope(), 1..4), of(time()), time(), limits()).prop_map(|(scopes, not_before, expires, limits)| Terms {
        holder: Holder::Key(KEY),
        parent: None,
        scopes,
        not_before,
        expires,
        delegable: true,
        limits,
        purpose: None,
    })
}

/// A child made of its parent by small steps, so that many are narrower, and many just not.
fn family() -> impl Strategy<Value = (Terms, Terms)> {
    (terms(), terms(), any::<[bool; 5]>(), any::<[u8; 4]>()).prop_map(|(parent, other, own, less)| {
        let mut child = parent.clone();
        if own[0] {
            child.scopes = other.scopes;
        }
        if own[1] {
            child.not_before = other.not_before;
        }
        if own[2] {
            child.expires = other.expires;
        }
        if own[3] {
            child.limits.sources = other.limits.sources;
        }
        let shift = |limit: &mut Option<u64>, by: u8| match (by % 4, limit.as_mut()) {
            (0, Some(limit)) => *limit = limit.saturating_sub(1),
            (1, Some(limit)) => *limit += 1,
            (2, None) => *limit = Some(2),
            (3, _) if own[4] => *limit = None,
            _ => {}
        };
        shift(&mut child.limits.bytes, less[0]);
        shift(&mut child.limits.objects, less[1]);
        shift(&mut child.limits.uses, less[2]);
        shift(&mut child.limits.bytes_per_minute, less[3]);
        (parent, child)
    })
}

/// Something that is asked for: when, what, from where, and what it costs.
#[derive(Debug, Clone)]
struct Probe {
    time: usize,
    action: Action,
    dataset: usize,
    path: usize,
    address: usize,
    charge: Usage,
}

fn probe() -> impl Strategy<Value = Probe> {
    let charge = (0..3_u64, 0..2_u64, 0..2_u64).prop_map(|(bytes, objects, uses)| Usage { bytes, objects, uses });
    let action = prop::sample::select(&Action::ALL[..]);
    (0..TIMES.len(), action, 0..2_usize, 0..PATHS.len(), 0..ADDRESSES.len(), charge).prop_map(
        |(time, action, dataset, path, address, charge)| Probe { time, action, dataset, path, address, charge },
    )
}

/// A grant on its own, and what was charged to it.
struct Alone {
    grant: Grant,
    tally: Tally,
}

impl Alone {
    fn new(terms: &Terms) -> Self {
        let terms = Terms { parent: None, ..terms.clone() };
        let grant = Grant { id: GrantId::from_bytes([1; 16]), issued: Index(0), issuer: KEY, terms };
        Self { grant, tally: Tally::default() }
    }

    fn allows(&self, probe: &Probe) -> bool {
        let (dataset, path): (DatasetName, ObjectPath) =
            (DATASETS[probe.dataset].parse().unwrap(), PATHS[probe.path].parse().unwrap());
        let places = [Place { action: probe.action, dataset: &dataset, path: &path }];
        let source = Source::Address(ADDRESSES[probe.address].parse().unwrap());
        let (grant, charge) = (Some(self.grant.id), probe.charge);
        let request = Request { key: KEY, grant, incident: None, places: &places, charge, source, obstacle: None };
        let chain = [Held { grant: &self.grant, tally: self.tally }];
        let now = Millis(TIMES[probe.time]);
        decide(&request, &Standing { now, authority: &Authority::default(), chain: &chain, blocked: Blocked::none() })
            .is_ok()
    }

    fn charge(&mut self, probe: &Probe) {
        self.tally = self.tally.charged(probe.charge, Millis(TIMES[probe.time]));
    }
}

/// Whether a child is narrower in each dimension, told without the crate's own words for it.
fn is_narrower(child: &Terms, parent: &Terms, now: Millis) -> bool {
    let paths = PATHS.map(|path| path.parse::<ObjectPath>().unwrap());
    let datasets = DATASETS.map(|name| name.parse::<DatasetName>().unwrap());
    // Scope by scope and action by action, all paths of it lie in one scope of the parent.
    let scopes = child.scopes.iter().all(|scope| {
        scope.actions.iter().all(|action| {
            parent.scopes.iter().any(|outer| {
                outer.dataset == scope.dataset
                    && datasets.iter().all(|dataset| {
                        let inside = |path: &ObjectPath| {
                            !scope.covers(*action, dataset, path) || outer.covers(*action, dataset, path)
                        };
                        paths.iter().chain(&deeper()).all(inside)
                    })
            })
        })
    });
    let within = |own: Option<u64>, outer: Option<u64>| {
        (0..7).all(|used| own.is_some_and(|own| used > own) || outer.is_none_or(|outer| used <= outer))
            && (outer.is_none() || own.is_some())
    };
    let one_outer = |own: &String| {
        let covers = |network: &String, address: &str| {
            Limits { sources: vec![network.clone()], ..Limits::default() }.allow_source(address.parse().unwrap())
        };
        // Addresses at the edges of every network above.
        let edges = ["0.0.0.0", "255.255.255.255", "::", "ffff::", "2001:db8::", "2001:db8::1"];
        let all = || ADDRESSES.into_iter().chain(edges);
        parent.limits.sources.iter().any(|outer| all().all(|address| !covers(own, address) || covers(outer, address)))
    };
    let sources = parent.limits.sources.is_empty()
        || (!child.limits.sources.is_empty() && child.limits.sources.iter().all(one_outer));
    scopes
        && (parent.not_before.is_none_or(|start| start <= now) || child.not_before >= parent.not_before)
        && child.expires <= parent.expires
        && within(child.limits.bytes, parent.limits.bytes)
        && within(child.limits.objects, parent.limits.objects)
        && within(child.limits.uses, parent.limits.uses)
        && within(child.limits.bytes_per_minute, parent.limits.bytes_per_minute)
        && sources
}

/// Paths below and beside [`PATHS`], which tell folders, stems and single objects apart.
fn deeper() -> Vec<ObjectPath> {
    let ends = ["/z", "z", "/z/z"];
    let paths = PATHS.iter().flat_map(|path| ends.map(|end| format!("{path}{end}")));
    paths.chain(["c".to_owned(), "z".to_owned()]).map(|path| path.parse().unwrap()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    /// Whatever is asked for, in whatever order: what the child lets through, its parent would have let through as well.
    #[test]
    fn a_narrower_child_allows_nothing_more((parent, child) in family(), issued in 0..TIMES.len(), mut probes in vec(probe(), 1..12)) {
        let now = Millis(TIMES[issued]);
        let narrower = child.narrows(&parent, now);
        prop_assert_eq!(narrower.is_ok(), is_narrower(&child, &parent, now), "{:?}", narrower);
        if narrower.is_err() {
            return Ok(());
        }
        probes.sort_by_key(|probe| probe.time);
        let (mut below, mut above) = (Alone::new(&child), Alone::new(&parent));
        // Before it was issued there was no child.
        for probe in probes.iter().filter(|probe| probe.time >= issued) {
            if below.allows(probe) {
                prop_assert!(above.allows(probe), "{:?}", probe);
                // What is charged to a child is charged to its parent.
                below.charge(probe);
                above.charge(probe);
            }
        }
    }

    /// Narrowing is an order: a grandchild that is narrower than a narrower child is narrower than the first.
    #[test]
    fn narrowing_is_transitive((parent, child) in family(), (_, other) in family(), issued in 0..TIMES.len()) {
        let now = Millis(TIMES[issued]);
        prop_assert_eq!(parent.narrows(&parent, now), Ok(()));
        let grandchild = Terms { scopes: child.scopes.clone(), ..other };
        if child.narrows(&parent, now).is_ok() && grandchild.narrows(&child, now).is_ok() {
            prop_assert_eq!(grandchild.narrows(&parent, now), Ok(()));
        }
    }

    /// Two scopes meet exactly if there is something that both allow.
    #[test]
    fn scopes_meet_where_both_allow_something(one in scope(), other in scope()) {
        let datasets = DATASETS.map(|name| name.parse::<DatasetName>().unwrap());
        let paths: Vec<ObjectPath> = PATHS.iter().map(|path| path.parse().unwrap()).chain(deeper()).collect();
        let both = |action: Action| datasets.iter().any(|dataset| {
            paths.iter().any(|path| one.covers(action, dataset, path) && other.covers(action, dataset, path))
        });
        prop_assert_eq!(one.intersects(&other), Action::ALL.into_iter().any(both));
        prop_assert_eq!(one.intersects(&other), other.intersects(&one));
    }

    /// A prefix as a text says what it covers.
    #[test]
    fn a_prefix_is_its_text(prefix in prop::sample::select(&PREFIXES[..]), path in prop::sample::select(&PATHS[..])) {
        let covered = match prefix.strip_suffix('*') {
            Some(stem) => path.starts_with(stem),
            None if prefix.is_empty() || prefix.ends_with('/') => path.starts_with(prefix),
            None => path == prefix,
        };
        prop_assert_eq!(prefix.parse::<Prefix>().unwrap().covers(&path.parse().unwrap()), covered);
    }
}
