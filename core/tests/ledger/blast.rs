//! What could be taken from now on: random thieves under random grants never take more than the bound says, and a thief who wants all
//! reaches it where one limit alone holds.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use strongroom_core::audit::blast::{Blast, Bound, Most};
use strongroom_core::audit::exposure::{Fold, Question};
use strongroom_core::audit::roster::Roster;
use strongroom_core::call::{Condition, Work};
use strongroom_core::grant::{Action, Holder, Limits, Tally, Terms, Usage};
use strongroom_core::identity::Identity;
use strongroom_core::ids::{GrantId, Millis};
use strongroom_core::order::Instruction;
use strongroom_core::sealed::layout::Layout;

use crate::builder::{Ledger, MINUTE, Put, Session, identity};
use crate::story::SEGMENT;

const READ: &[Action] = &[Action::Read];
const PATHS: [&str; 5] = ["a/1", "a/2", "a/3", "b/1", "b/2"];
const SIZES: [u64; 5] = [5, 70_000, 3 * SEGMENT, 1500 * SEGMENT + 7, 0];
const PREFIXES: [&str; 3] = ["", "a/", "b/1"];

struct Held {
    id: GrantId,
    chain: Vec<usize>,
    prefix: &'static str,
    limits: Limits,
    expires: u64,
    tally: Tally,
}

/// A vendor with grants, and workers that it passed some on to.
struct Scene {
    ledger: Ledger,
    key: Identity,
    session: Session,
    grants: Vec<Held>,
    puts: Vec<Put>,
    /// Segments of each object that were released.
    had: BTreeMap<usize, BTreeSet<u32>>,
}

#[derive(Debug, Clone)]
struct NewGrant {
    parent: Option<usize>,
    prefix: usize,
    minutes: u64,
    limits: Limits,
}

#[derive(Debug, Clone)]
struct Theft {
    wait: u64,
    grant: usize,
    object: usize,
    start: u32,
    count: u32,
    /// In the same request: the second window, which costs no object and no use.
    goes_on: bool,
}

fn limits() -> impl Strategy<Value = Limits> {
    let rarely = |most: u64| prop::option::weighted(0.4, 0..most);
    (rarely(400_000), rarely(4), rarely(4), rarely(200_000)).prop_map(|(bytes, objects, uses, bytes_per_minute)| {
        Limits { bytes, objects, uses, bytes_per_minute, sources: Vec::new() }
    })
}

fn grants() -> impl Strategy<Value = Vec<NewGrant>> {
    let one = (prop::option::of(0..4_usize), 0..PREFIXES.len(), 1..180_u64, limits());
    vec(one.prop_map(|(parent, prefix, minutes, limits)| NewGrant { parent, prefix, minutes, limits }), 1..5)
}

fn thefts(most: usize) -> impl Strategy<Value = Vec<Theft>> {
    let one = (0..5 * MINUTE, 0..4_usize, 0..PATHS.len(), 0..4_u32, 1..1600_u32, any::<bool>());
    vec(
        one.prop_map(|(wait, grant, object, start, count, goes_on)| Theft {
            wait,
            grant,
            object,
            start,
            count,
            goes_on,
        }),
        0..most,
    )
}

fn covers(prefix: &str, path: &str) -> bool {
    prefix.is_empty() || prefix == path || (prefix.ends_with('/') && path.starts_with(prefix))
}

impl Scene {
    fn new(grants: &[NewGrant]) -> Self {
        let mut ledger = Ledger::new();
        ledger.dataset("rlhf");
        let key = identity();
        let vendor = ledger.vendor("labelco", &[&key]);
        let admin = ledger.open_admin();
        let puts = PATHS.iter().zip(SIZES).map(|(path, size)| ledger.put(&admin, None, path, 1, size)).collect();
        let mut scene =
            Self { session: ledger.open(&key), ledger, key, grants: Vec::new(), puts, had: BTreeMap::new() };
        for NewGrant { parent, prefix, minutes, limits } in grants {
            let parent = parent.filter(|parent| *parent < scene.grants.len());
            // What is passed on is no wider, and ends no later.
            let above = parent.map(|parent| &scene.grants[parent]);
            let prefix = match above {
                Some(above) if !covers(above.prefix, PREFIXES[*prefix].trim_end_matches('/')) => above.prefix,
                _ => PREFIXES[*prefix],
            };
            let expires = above.map_or(u64::MAX, |above| above.expires).min(scene.ledger.now + minutes * MINUTE);
            let terms = Terms {
                parent: above.map(|above| above.id),
                expires: Millis(expires),
                delegable: true,
                ..scene.ledger.terms(Holder::Vendor(vendor), &[(READ, "rlhf", prefix)], limits.clone())
            };
            let signed = match parent {
                None => scene.ledger.sign_by_admin(Instruction::IssueGrant(terms)),
                Some(_) => scene.ledger.sign_by(&scene.key, Instruction::IssueGrant(terms)),
            };
            let id = scene.ledger.order_entry(signed).into();
            let mut chain = vec![scene.grants.len()];
            chain.extend(parent.iter().flat_map(|parent| scene.grants[*parent].chain.clone()));
            let ids = chain.iter().map(|at| scene.grants.get(*at).map_or(id, |held| held.id)).collect();
            scene.ledger.records.last_mut().unwrap().entry.grants = ids;
            scene.grants.push(Held { id, chain, prefix, limits: limits.clone(), expires, tally: Tally::default() });
        }
        scene
    }

    fn allows(&self, grant: usize, charge: Usage, now: u64) -> bool {
        self.grants[grant].chain.iter().all(|at| {
            let Held { limits, tally, expires, .. } = &self.grants[*at];
            now < *expires
                && limits.overrun_by(&tally.total.plus(charge)).is_none()
                && limits.outpaced_by(tally, charge.bytes, Millis(now)).is_none()
        })
    }

    fn charge(&mut self, grant: usize, charge: Usage, now: u64) {
        for at in self.grants[grant].chain.clone() {
            self.grants[at].tally = self.grants[at].tally.charged(charge, Millis(now));
        }
    }

    /// Steals what the limits let through; gives what was had of it, by grant. Whoever records enters it, too.
    fn steal(&mut self, theft: &Theft, now: u64, record: bool) -> Vec<(usize, usize, u32)> {
        let grant = theft.grant % self.grants.len();
        if !covers(self.grants[grant].prefix, PATHS[theft.object]) {
            return Vec::new();
        }
        let put = self.puts[theft.object];
        let layout = Layout::new(put.size).unwrap();
        let (start, end) = (theft.start.min(layout.segments() - 1), layout.segments().min(theft.start + theft.count));
        let mut stolen = Vec::new();
        let mut ask = self.ledger.ask_get(&self.session, Some(self.grants[grant].id), &[PATHS[theft.object]]);
        let windows = [(start, end.min(1024)), (1024, end)];
        for (at, (from, to)) in windows.into_iter().enumerate() {
            if from >= to || (at == 1 && (stolen.is_empty() || !theft.goes_on)) {
                continue;
            }
            let part = put.part(0, from, to);
            let first = u64::from(stolen.is_empty());
            let charge = Usage { bytes: part.5, objects: first, uses: first };
            if !self.allows(grant, charge, now) {
                break;
            }
            self.charge(grant, charge, now);
            stolen.extend((from..to).map(|segment| (grant, theft.object, segment)));
            if record {
                self.ledger.now = now;
                self.ledger.release(&mut ask, vec![part]);
                let chain = self.grants[grant].chain.iter().map(|at| self.grants[*at].id).collect();
                self.ledger.records.last_mut().unwrap().entry.grants = chain;
                self.had.entry(theft.object).or_default().extend(from..to);
            }
        }
        stolen
    }

    /// Gives an object a new key, by the lab.
    fn rekey(&mut self, object: usize) {
        let (was, ledger) = (self.puts[object], &mut self.ledger);
        let item = ledger.put_item("rlhf", PATHS[object], Condition::Rekey(was.generation), was.size);
        let admin = ledger.open_admin();
        let mut ask = ledger.ask(&admin, None, Work::Put(vec![item]));
        self.puts[object] = ledger.put_items(&mut ask, &[(0, was.generation.0 + 1)])[0];
    }

    fn blast(&self) -> Blast {
        let mut roster = Roster::default();
        let entries = || self.ledger.records.iter();
        entries().for_each(|record| roster.feed(&record.entry, Some(&record.private)).unwrap());
        let question = Question { vendor: Some("labelco".parse().unwrap()), ..Question::default() };
        let mut fold = Fold::new(roster, question).unwrap();
        entries().for_each(|record| fold.feed(&record.entry, Some(&record.private)).unwrap());
        fold.blast(Millis(self.ledger.now)).unwrap()
    }

    fn sum(&self, segments: &BTreeSet<(usize, u32)>) -> Most {
        let objects: BTreeSet<usize> = segments.iter().map(|(object, _)| *object).collect();
        let len =
            |(object, segment): &(usize, u32)| Layout::new(self.puts[*object].size).unwrap().plain_len(*segment) as u64;
        Most { objects: objects.len() as u64, bytes: segments.iter().map(len).sum() }
    }
}

fn within(taken: Most, bound: Most) -> bool {
    taken.objects <= bound.objects && taken.bytes <= bound.bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_thief_takes_more_than_the_bound(
        grants in grants(),
        before in thefts(5),
        rekeyed in vec(option::of(0..PATHS.len()), 5),
        after in thefts(25),
    ) {
        let mut scene = Scene::new(&grants);
        for (theft, rekeyed) in before.iter().zip(rekeyed) {
            let now = scene.ledger.now + theft.wait / 10;
            scene.steal(theft, now, true);
            rekeyed.into_iter().for_each(|object| scene.rekey(object));
        }
        let blast = scene.blast();
        let start = scene.ledger.now;
        let mut now = start;
        let (mut taken, mut soon, mut fresh) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let mut by_grant: BTreeMap<usize, BTreeSet<(usize, u32)>> = BTreeMap::new();
        for theft in &after {
            now += theft.wait;
            for (grant, object, segment) in scene.steal(theft, now, false) {
                taken.insert((object, segment));
                by_grant.entry(grant).or_default().insert((object, segment));
                if now < start + 60 * MINUTE {
                    soon.insert((object, segment));
                }
                if !scene.had.get(&object).is_some_and(|had| had.contains(&segment)) {
                    fresh.insert((object, segment));
                }
            }
        }
        prop_assert!(within(scene.sum(&taken), blast.total), "{:?} of {:?}", scene.sum(&taken), blast);
        prop_assert!(within(scene.sum(&soon), blast.hour), "{:?} of {:?}", scene.sum(&soon), blast);
        prop_assert!(scene.sum(&fresh).bytes <= blast.new.bytes, "{:?} of {:?}", scene.sum(&fresh), blast);
        for (grant, taken) in by_grant {
            let reach = blast.grants.iter().find(|reach| reach.grant == scene.grants[grant].id).unwrap();
            prop_assert!(within(scene.sum(&taken), reach.total), "{:?} of {:?}", scene.sum(&taken), reach);
        }
    }
}

#[test]
fn a_new_key_makes_nothing_new() {
    let mut scene = one(Limits::default());
    let all = 5 + 70_000 + 3 * SEGMENT;
    assert_eq!(scene.blast().new, Most { objects: 3, bytes: all });
    // One segment of `a/2`, which has two, then it gets a new key, and once more; the other segment is read of that.
    for segment in [0, 1] {
        let read = Theft { wait: 0, grant: 0, object: 1, start: segment, count: 1, goes_on: false };
        let now = scene.ledger.now;
        assert_eq!(scene.steal(&read, now, true).len(), 1);
        let left = if segment == 0 { all - SEGMENT } else { all - 70_000 };
        let fresh = Most { objects: 2, bytes: left };
        assert_eq!(scene.blast().new, fresh);
        for _ in 0..2 {
            scene.rekey(1);
            let blast = scene.blast();
            assert_eq!(blast.new, fresh, "what was had is had, under whatever key");
            assert!(blast.total.bytes > all, "older generations are there for a while");
        }
    }
    // An object that nobody read counts once, with its old key and the new one.
    scene.rekey(0);
    assert_eq!(scene.blast().new, Most { objects: 2, bytes: all - 70_000 });
}

fn one(limits: Limits) -> Scene {
    Scene::new(&[NewGrant { parent: None, prefix: 1, minutes: 120, limits }])
}

#[test]
fn one_limit_alone_is_reached_to_the_byte() {
    let all = 5 + 70_000 + 3 * SEGMENT;
    let most = |limits: Limits| {
        let blast = one(limits).blast();
        (blast.total, blast.hour, blast.grants[0].bound)
    };
    let covered = Most { objects: 3, bytes: all };
    assert_eq!(most(Limits::default()), (covered, covered, Bound::Scope));
    let (total, _, bound) = most(Limits { bytes: Some(100), ..Limits::default() });
    assert_eq!(
        (total, bound),
        (Most { objects: 1, bytes: 100 }, Bound::Budget),
        "no segment of another has so few as 95"
    );
    let (total, _, _) = most(Limits { objects: Some(1), ..Limits::default() });
    assert_eq!(total, Most { objects: 1, bytes: 3 * SEGMENT }, "the largest");
    let rate = Limits { bytes_per_minute: Some(1000), ..Limits::default() };
    let mut scene = one(rate.clone());
    scene.ledger.now = scene.ledger.now / MINUTE * MINUTE + MINUTE;
    let blast = scene.blast();
    assert_eq!(
        (blast.hour.bytes, blast.grants[0].bound),
        (60_000, Bound::Rate),
        "sixty minutes, from the first to the last"
    );
    scene.ledger.now += 30_000;
    assert_eq!(scene.blast().hour.bytes, 61_000, "an hour may touch 61 of them");
    // Two under one share what is left above.
    let child = |limits| NewGrant { parent: Some(0), prefix: 1, minutes: 60, limits };
    let top =
        NewGrant { parent: None, prefix: 1, minutes: 120, limits: Limits { bytes: Some(5000), ..Limits::default() } };
    let scene = Scene::new(&[top, child(Limits::default()), child(Limits { bytes: Some(4000), ..Limits::default() })]);
    let blast = scene.blast();
    assert_eq!(blast.total.bytes, 5000, "{blast:?}");
    let bounds: BTreeSet<_> =
        blast.grants.iter().map(|reach| (reach.total.bytes, format!("{:?}", reach.bound))).collect();
    assert_eq!(bounds, [(4000, "Budget".into()), (5000, "Budget".into()), (5000, "BudgetAbove".into())].into());
}
