//! What somebody had: stories whose answer is known, and a fold that is written as plainly as can be, over random ledgers.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::prelude::*;
use strongroom_core::audit::exposure::{Exposed, Exposure, ExposureError, Fold, InScope, Question, Since, Totals};
use strongroom_core::audit::report::Report;
use strongroom_core::audit::roster::{GrantStanding, Moment, Roster};
use strongroom_core::call::{Condition, Work};
use strongroom_core::grant::{Action, Holder, Limits, Terms};
use strongroom_core::identity::{Fingerprint, Identity};
use strongroom_core::ids::{Generation, GrantId, Index, Millis, VendorId};
use strongroom_core::ledger::extract::Extract;
use strongroom_core::ledger::facts::Facts;
use strongroom_core::ledger::{Entry, Event, Private};
use strongroom_core::order::Instruction;
use strongroom_core::sealed::layout::Layout;

use crate::builder::{Ask, Ledger, MINUTE, Put, Session, delete, identity};
use crate::story::{LARGE, SEGMENT, SMALL, Story};

/// The exposure that a ledger tells, with some private parts erased.
fn expose_erased(ledger: &Ledger, erased: &BTreeSet<usize>, question: Question) -> Result<Exposure, ExposureError> {
    let entries = || {
        let private = |at: usize, private| if erased.contains(&at) { None::<&Private> } else { Some(private) };
        ledger.records.iter().enumerate().map(move |(at, record)| (&record.entry, private(at, &record.private)))
    };
    let mut roster = Roster::default();
    for (entry, private) in entries().filter(|(entry, _)| Roster::EVENTS.contains(&entry.event)) {
        roster.feed(entry, private).unwrap();
    }
    let mut fold = Fold::new(roster, question.clone())?;
    for (entry, private) in entries().filter(|(entry, _)| Fold::EVENTS.contains(&entry.event)) {
        fold.feed(entry, private)?;
    }
    let exposure = fold.finish(ledger.next_index(), Millis(ledger.now));
    assert_eq!(extracted(ledger, erased, question, 7).unwrap().exposure, exposure);
    Ok(exposure)
}

/// The same by what a fold needs alone: facts of releases, as they are kept, and some entries; `width` of them at a time.
fn extracted(
    ledger: &Ledger,
    erased: &BTreeSet<usize>,
    question: Question,
    width: usize,
) -> Result<Report, ExposureError> {
    let mut bytes = ledger.bytes();
    erased.iter().for_each(|at| bytes[*at].1.clear());
    let read = |public: &[u8], private: &[u8]| {
        let private = (!private.is_empty()).then(|| Private::from_bytes(private).unwrap());
        (Entry::read(public).unwrap(), private)
    };
    let mut roster = Roster::default();
    for (public, private) in &bytes {
        let (entry, private) = read(public, private);
        roster.feed(&entry, private.as_ref()).unwrap();
    }
    let mut fold = Fold::new(roster, question)?;
    let needs = fold.needs();
    for (at, part) in (0..).zip(bytes.chunks(width)) {
        let slices = part.iter().map(|(public, private)| (&public[..], &private[..]));
        let extract = Extract::of(Index(at * width as u64), slices, &needs).unwrap();
        let facts = Facts::from_bytes(&extract.facts.bytes()).unwrap();
        let entries: Vec<_> = extract.entries.iter().map(|(public, private)| read(public, private)).collect();
        fold.feed_extract(&facts, &entries)?;
    }
    Ok(fold.report(ledger.next_index(), Millis(ledger.now)))
}

/// The report by all entries.
fn reported(ledger: &Ledger, question: Question) -> Report {
    let mut roster = Roster::default();
    ledger.records.iter().for_each(|record| roster.feed(&record.entry, Some(&record.private)).unwrap());
    let mut fold = Fold::new(roster, question).unwrap();
    ledger.records.iter().for_each(|record| fold.feed(&record.entry, Some(&record.private)).unwrap());
    fold.report(ledger.next_index(), Millis(ledger.now))
}

fn expose(ledger: &Ledger, question: Question) -> Exposure {
    expose_erased(ledger, &BTreeSet::new(), question).unwrap()
}

fn of_vendor(name: &str) -> Question {
    Question { vendor: Some(name.parse().unwrap()), ..Question::default() }
}

/// Names of the objects that were exposed, with what was read of them.
fn read(exposure: &Exposure) -> Vec<(String, Vec<(u32, u32)>)> {
    exposure.objects.iter().map(|object| (name(object), object.read.as_slice().to_vec())).collect()
}

fn name(object: &Exposed) -> String {
    object.name.as_ref().map_or_else(String::new, |(dataset, path)| format!("{dataset}/{path}"))
}

/// Enters the last entry under a whole chain, as the recorder does.
fn under(ledger: &mut Ledger, chain: &[GrantId]) {
    ledger.records.last_mut().unwrap().entry.grants = chain.to_vec();
}

#[test]
fn a_vendor_had_what_it_and_its_workers_were_released() {
    let mut story = Story::new();
    let l = &mut story.ledger;
    // What the vendor delegates to a worker of its own is its exposure; what another has is not.
    let (worker, other, free) = (identity(), identity(), identity());
    let delegated = Terms {
        parent: Some(story.read),
        ..l.terms(Holder::Key(worker.fingerprint()), &[(&[Action::Read], "rlhf", "math/")], Limits::default())
    };
    let order = l.sign_by(&story.key, Instruction::IssueGrant(delegated));
    let child: GrantId = l.order_entry(order).into();
    under(l, &[child, story.read]);
    let rival = l.vendor("rival", &[&other]);
    let scopes: [(&[Action], &str, &str); 1] = [(&[Action::Read], "rlhf", "")];
    let terms = l.terms(Holder::Vendor(rival), &scopes, Limits::default());
    let rivals = l.grant(terms);
    let terms = l.terms(Holder::Key(free.fingerprint()), &scopes, Limits::default());
    let frees = l.grant(terms);
    let unread = l.put(&story.admin, None, "math/unread", 1, 1000);
    l.put(&story.admin, None, "labels/1", 1, 77);

    let (session, of_other, of_free) = (l.open(&worker), l.open(&other), l.open(&free));
    let mut ask = l.ask_get(&story.worker, Some(story.read), &["math/small"]);
    let first = l.release(&mut ask, vec![story.small.part(0, 0, 1)]);
    let mut ask = l.ask_get(&session, Some(child), &["math/large", "math/small"]);
    l.release(&mut ask, vec![story.large.part(0, 0, 1024), story.small.part(1, 0, 2)]);
    under(l, &[child, story.read]);
    l.records.last_mut().unwrap().private.source = Some("[2001:db8::1]:4000".into());
    let last = l.repeat(&mut ask, vec![story.large.part(0, 1000, 1024)]);
    under(l, &[child, story.read]);
    for (session, grant) in [(&of_other, rivals), (&of_free, frees)] {
        let mut ask = l.ask_get(session, Some(grant), &["math/unread"]);
        l.release(&mut ask, vec![unread.whole(0)]);
    }
    let label = l.put_item("rlhf", "labels/2", Condition::Absent, 10);
    let mut ask = l.ask(&story.worker, Some(story.write), Work::Put(vec![label]));
    l.put_items(&mut ask, &[(0, 1)]);

    let exposure = expose(l, of_vendor("labelco"));
    assert_eq!(
        read(&exposure),
        [
            ("rlhf/labels/2".to_owned(), vec![]),
            ("rlhf/math/large".to_owned(), vec![(0, 1024)]),
            ("rlhf/math/small".to_owned(), vec![(0, 2)])
        ]
    );
    let moment = |index: Index| Moment { index, time: l.records[index.0 as usize].entry.time };
    let totals = Totals {
        objects: 2,
        bytes: 1026 * SEGMENT,
        bytes_total: 1051 * SEGMENT,
        releases: 3,
        repeats: 1,
        written: 1,
        written_bytes: 10,
        first: Some(moment(first)),
        last: Some(moment(last)),
        ..Totals::default()
    };
    assert_eq!(exposure.totals, totals);
    let small = &exposure.objects[2];
    assert_eq!((small.bytes, small.bytes_total, small.releases), (2 * SEGMENT, 3 * SEGMENT, 2));
    assert_eq!(small.keys, BTreeSet::from([story.key.fingerprint(), worker.fingerprint()]));
    assert_eq!(small.grants, BTreeSet::from([story.read, child]));
    assert_eq!(small.sources, BTreeSet::from(["192.0.2.7".to_owned(), "2001:db8::1".to_owned()]));
    assert_eq!(exposure.objects[0].written, Some(story.key.fingerprint()));
    assert_eq!(exposure.keys.iter().map(|key| key.key).collect::<Vec<_>>()[0], worker.fingerprint());
    let scope = InScope { objects: 3, unreleased: 1, unreleased_bytes: 1000, ..InScope::default() };
    assert_eq!(exposure.scope, Some(scope));
    let open: Vec<_> = exposure.grants.iter().map(|grant| (grant.id, grant.standing)).collect();
    assert_eq!(open.len(), 2, "the one to write lets read nothing: {open:?}");
    assert!(open.iter().all(|(_, standing)| *standing == GrantStanding::Live));

    let first_time = moment(first).time;
    // Its parts: one worker, one grant, one session, one place, one time.
    let asked = |question: Question| {
        read(&expose(&story.ledger, question)).into_iter().map(|(name, _)| name).collect::<Vec<_>>()
    };
    let by_key = Question { key: Some(story.key.fingerprint()), ..Question::default() };
    assert_eq!(asked(by_key), ["rlhf/labels/2", "rlhf/math/small"]);
    assert_eq!(asked(Question { grant: Some(child), ..Question::default() }), ["rlhf/math/large", "rlhf/math/small"]);
    assert_eq!(
        asked(Question { grant: Some(story.read), ..Question::default() }),
        ["rlhf/math/large", "rlhf/math/small"]
    );
    assert_eq!(asked(Question { session: Some(session.id), ..Question::default() }).len(), 2);
    assert_eq!(
        asked(Question { prefix: Some("math/s*".parse().unwrap()), ..of_vendor("labelco") }),
        ["rlhf/math/small"]
    );
    assert!(asked(Question { dataset: Some("other".parse().unwrap()), ..of_vendor("labelco") }).is_empty());
    assert_eq!(asked(Question { until: Some(first_time), ..of_vendor("labelco") }), Vec::<String>::new());
    assert_eq!(asked(of_vendor("rival")), ["rlhf/math/unread"]);
    assert!(matches!(
        expose_erased(&story.ledger, &BTreeSet::new(), of_vendor("nobody")),
        Err(ExposureError::NoVendor(_))
    ));
}

#[test]
fn what_became_of_it_is_told() {
    let mut story = Story::new();
    let l = &mut story.ledger;
    let gone = l.put(&story.admin, None, "math/gone", 1, 10);
    let kept = l.put(&story.admin, None, "math/kept", 1, 10);
    let mut ask = l.ask_get(&story.worker, Some(story.read), &["math/small", "math/gone", "math/kept"]);
    l.release(&mut ask, vec![story.small.whole(0), gone.whole(1), kept.whole(2)]);
    let newer = l.put(&story.admin, None, "math/small", 2, 5);
    let mut hide = l.ask(&story.admin, None, Work::Delete(vec![delete("rlhf", "math/gone")]));
    let hidden = l.delete(&mut hide, vec![gone.whole(0)]);
    let since = |l: &Ledger| expose(l, of_vendor("labelco")).objects.iter().map(|o| o.since).collect::<Vec<_>>();
    let at = |l: &Ledger, index: Index| Moment { index, time: l.records[index.0 as usize].entry.time };
    let told = [Since::Deleted(at(l, hidden)), Since::Current, Since::Overwritten(at(l, newer.index))];
    assert_eq!(since(l), told);
    let totals = expose(l, of_vendor("labelco")).totals;
    assert_eq!((totals.overwritten, totals.deleted, totals.bytes), (1, 1, SMALL + 20));

    l.order(Instruction::SuspendVendor { vendor: story.vendor, note: None });
    let standing = |l: &Ledger| expose(l, of_vendor("labelco")).grants.iter().map(|g| g.standing).collect::<Vec<_>>();
    assert_eq!(standing(l), [GrantStanding::Suspended]);
    l.order(Instruction::RevokeGrant { grant: story.read, note: None });
    assert_eq!(standing(l), []);
    // What comes after the end was never in scope; what was there before stays so.
    l.put(&story.admin, None, "math/late", 1, 99);
    assert_eq!(expose(l, of_vendor("labelco")).scope.unwrap().unreleased_bytes, 5 + LARGE);
    let index = l.next_index();
    l.order(Instruction::DeleteDataset { name: "rlhf".parse().unwrap() });
    assert_eq!(since(l), [Since::Deleted(at(l, hidden)), Since::Deleted(at(l, index)), Since::Deleted(at(l, index))]);
}

#[test]
fn a_blocked_key_counts_as_suspended_and_is_told_of() {
    let mut story = Story::new();
    let (child, _) = crate::rules::passed_on(&mut story);
    let root = story.read;
    let roster = |story: &Story| {
        let mut roster = Roster::default();
        for record in &story.ledger.records {
            roster.feed(&record.entry, Some(&record.private)).unwrap();
        }
        let now = Millis(story.ledger.now);
        (roster.standing(&root, now), roster.standing(&child, now))
    };
    let (live, suspended) = (Some(GrantStanding::Live), Some(GrantStanding::Suspended));
    assert_eq!(roster(&story), (live, live));
    story.ledger.note(crate::rules::block(&story));
    assert_eq!(roster(&story), (suspended, suspended));
    // Another key of the vendor goes on; what the blocked one passed on does not.
    let second = identity();
    story.ledger.order(Instruction::AddKey { vendor: story.vendor, key: second.fingerprint() });
    assert_eq!(roster(&story), (live, suspended));
    story.ledger.note(crate::rules::unblock(&story));
    assert_eq!(roster(&story), (live, live));
}

#[test]
fn new_keys_and_destroyed_ones_are_told() {
    let mut story = Story::new();
    let l = &mut story.ledger;
    let mut ask = l.ask_get(&story.worker, Some(story.read), &["math/small", "math/large"]);
    l.release(&mut ask, vec![story.small.whole(0), story.large.part(1, 0, 1)]);
    let at = |l: &Ledger, index: Index| Moment { index, time: l.records[index.0 as usize].entry.time };
    let since = |l: &Ledger| expose(l, of_vendor("labelco")).objects.iter().map(|o| o.since).collect::<Vec<_>>();
    let item = l.put_item("rlhf", "math/small", Condition::Rekey(Generation(1)), SMALL);
    let mut again = l.ask(&story.admin, None, Work::Put(vec![item]));
    let before = expose(l, of_vendor("labelco")).scope;
    let rekeyed = l.put_items(&mut again, &[(0, 2)])[0];
    assert_eq!(expose(l, of_vendor("labelco")).scope, before, "a new key makes nothing of it unexposed");
    assert_eq!(since(l), [Since::Current, Since::Rekeyed(at(l, rekeyed.index))], "large, small");
    let shred = |prefix: &str| Instruction::ShredObjects {
        dataset: "rlhf".parse().unwrap(),
        prefix: prefix.parse().unwrap(),
        note: None,
    };
    let index = l.next_index();
    l.order(shred("math/l*"));
    assert_eq!(since(l), [Since::Shredded(at(l, index)), Since::Rekeyed(at(l, rekeyed.index))]);
    // What is put there afterwards is something else, and what a later order destroys is destroyed by the first that did.
    l.put(&story.admin, None, "math/large", 2, 10);
    l.order(shred("math/"));
    let all = l.next_index();
    assert_eq!(since(l), [Since::Shredded(at(l, index)), Since::Shredded(at(l, Index(all.0 - 1)))]);
    let totals = expose(l, of_vendor("labelco")).totals;
    assert_eq!((totals.rekeyed, totals.shredded, totals.overwritten, totals.deleted), (0, 2, 0, 0));
}

#[test]
fn a_key_that_joins_late_was_the_vendors_before() {
    let mut story = Story::new();
    let l = &mut story.ledger;
    let late = identity();
    let terms = l.terms(Holder::Key(late.fingerprint()), &[(&[Action::Read], "rlhf", "math/")], Limits::default());
    let grant = l.grant(terms);
    let session = l.open(&late);
    let mut ask = l.ask_get(&session, Some(grant), &["math/small"]);
    l.release(&mut ask, vec![story.small.whole(0)]);
    assert!(expose(l, of_vendor("labelco")).objects.is_empty());
    l.order(Instruction::AddKey { vendor: story.vendor, key: late.fingerprint() });
    l.order(Instruction::RevokeKey { vendor: story.vendor, key: late.fingerprint() });
    let exposure = expose(l, of_vendor("labelco"));
    assert_eq!(read(&exposure), [("rlhf/math/small".to_owned(), vec![(0, 3)])]);
    assert_eq!(exposure.keys[0].vendor, Some(story.vendor));
    assert!(exposure.grants.iter().all(|open| open.id != grant), "a key that was taken from its vendor holds nothing");
}

#[test]
fn what_was_erased_is_said_and_never_guessed() {
    let mut story = Story::new();
    let l = &mut story.ledger;
    let free = identity();
    let issued = l.next_index();
    let terms = l.terms(Holder::Key(free.fingerprint()), &[(&[Action::Read], "rlhf", "math/")], Limits::default());
    let grant = l.grant(terms);
    let session = l.open(&free);
    let mut ask = l.ask_get(&session, Some(grant), &["math/small"]);
    l.release(&mut ask, vec![story.small.part(0, 0, 1)]);
    let mut ask = l.ask_get(&story.worker, Some(story.read), &["math/small", "math/large"]);
    let released = l.release(&mut ask, vec![story.small.whole(0), story.large.part(1, 5, 6)]);
    let mut hide = l.ask(&story.admin, None, Work::Delete(vec![delete("rlhf", "math/small")]));
    l.delete(&mut hide, vec![story.small.whole(0)]);

    let erased = [issued, story.small.index, released].map(|index| index.0 as usize);
    let erased = BTreeSet::from(erased);
    let question = Question { prefix: Some("elsewhere/".parse().unwrap()), ..of_vendor("labelco") };
    let narrow = expose_erased(l, &erased, question).unwrap();
    assert_eq!(read(&narrow), [(String::new(), vec![(0, 3)])], "it may have lain there");
    let exposure = expose_erased(l, &erased, of_vendor("labelco")).unwrap();
    let totals = &exposure.totals;
    assert_eq!((totals.objects, totals.unnamed, totals.sources_erased), (2, 1, 1));
    assert_eq!((totals.unattributed, totals.unattributed_bytes), (1, SEGMENT), "the free key may have been theirs");
    assert_eq!(exposure.scope.map(|scope| (scope.unnamed, scope.erased_grants)), Some((1, 1)));
    assert!(matches!(exposure.objects[0].since, Since::Deleted(_)), "that needs no name");
    assert!(exposure.objects.iter().all(|object| object.sources.is_empty() && object.sources_erased == 1));

    // A put of two entries: the words stand in the first alone.
    let mut story = Story::new();
    let l = &mut story.ledger;
    let items = ["math/a", "math/b"].map(|path| l.put_item("rlhf", path, Condition::Any, 10)).to_vec();
    let mut ask = l.ask(&story.admin, None, Work::Put(items));
    let one = l.put_items(&mut ask, &[(0, 1)])[0];
    let two = l.put_items(&mut ask, &[(1, 1)])[0];
    let mut ask = l.ask_get(&story.worker, Some(story.read), &["math/b"]);
    l.release(&mut ask, vec![two.whole(0)]);
    assert_eq!(read(&expose(l, of_vendor("labelco")))[0].0, "rlhf/math/b");
    let erased = BTreeSet::from([one.index.0 as usize]);
    assert_eq!(read(&expose_erased(l, &erased, of_vendor("labelco")).unwrap())[0].0, "");
}

#[test]
fn entries_that_no_ledger_has_are_refused() {
    let mut story = Story::new();
    let l = &mut story.ledger;
    let mut ask = l.ask_get(&story.worker, Some(story.read), &["math/small"]);
    l.release(&mut ask, vec![Put { ordinal: 7, ..story.small }.whole(0)]);
    let answer = expose_erased(l, &BTreeSet::new(), of_vendor("labelco"));
    assert!(matches!(answer, Err(ExposureError::Broken(..))), "{answer:?}");
    let forged = l.records.iter_mut().find(|record| record.entry.event == Event::VendorAdded).unwrap();
    forged.private.order.as_mut().unwrap().order.not_after = Millis(1);
    let mut roster = Roster::default();
    let fed = l.records.iter().try_for_each(|record| roster.feed(&record.entry, Some(&record.private)));
    assert!(fed.is_err(), "a vendor that no admin signed for");
}

// A model: everything that happened, kept as plainly as can be.

const PATHS: [(&str, &str); 5] = [("rlhf", "a/1"), ("rlhf", "a/2"), ("rlhf", "b"), ("other", "a/1"), ("other", "ab")];
const PREFIXES: [&str; 5] = ["", "a/", "a*", "a/1", "b"];
const SIZES: [u64; 4] = [0, 5, 70_000, 5 * SEGMENT + 1];

#[derive(Debug, Clone)]
enum Op {
    Grant { holder: usize, parent: Option<usize>, dataset: usize, prefix: usize, minutes: u64, write: bool },
    Revoke { grant: usize },
    Put { who: usize, paths: Vec<usize>, size: usize },
    Read { who: usize, grant: usize, objects: Vec<usize>, start: u32, count: u32, repeat: bool },
    Delete { path: usize },
    AddKey { who: usize, vendor: usize },
    RevokeKey { who: usize },
    Renew { grant: usize, minutes: u64 },
    Wait { minutes: u64 },
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        4 => (0..8_usize, prop::option::of(0..9_usize), 0..2_usize, 0..PREFIXES.len(), 1..60_u64, any::<bool>())
            .prop_map(|(holder, parent, dataset, prefix, minutes, write)| Op::Grant { holder, parent, dataset, prefix, minutes, write }),
        1 => (0..9_usize).prop_map(|grant| Op::Revoke { grant }),
        5 => (0..6_usize, prop::sample::subsequence((0..PATHS.len()).collect::<Vec<_>>(), 1..3), 0..SIZES.len())
            .prop_map(|(who, paths, size)| Op::Put { who, paths, size }),
        9 => (0..6_usize, 0..9_usize, vec(0..9_usize, 1..3), 0..6_u32, 1..7_u32, any::<bool>())
            .prop_map(|(who, grant, objects, start, count, repeat)| Op::Read { who, grant, objects, start, count, repeat }),
        2 => (0..PATHS.len()).prop_map(|path| Op::Delete { path }),
        1 => (3..6_usize, 0..2_usize).prop_map(|(who, vendor)| Op::AddKey { who, vendor }),
        1 => (1..6_usize).prop_map(|who| Op::RevokeKey { who }),
        1 => (0..9_usize, 1..60_u64).prop_map(|(grant, minutes)| Op::Renew { grant, minutes }),
        2 => (1..30_u64).prop_map(|minutes| Op::Wait { minutes }),
    ];
    vec(op, 5..50)
}

#[derive(Debug, Clone)]
struct AskedFor {
    vendor: Option<usize>,
    key: Option<usize>,
    grant: Option<usize>,
    place: Option<(usize, Option<usize>)>,
    since: Option<u64>,
    until: Option<u64>,
}

fn questions() -> impl Strategy<Value = AskedFor> {
    let place = prop::option::of((0..2_usize, prop::option::of(0..PREFIXES.len())));
    let rarely = |n| prop::option::weighted(0.2, 0..n);
    (
        prop::option::weighted(0.8, 0..2_usize),
        rarely(6_usize),
        rarely(9),
        place,
        prop::option::weighted(0.3, 0..120_u64),
        prop::option::weighted(0.3, 0..120_u64),
    )
        .prop_map(|(vendor, key, grant, place, since, until)| AskedFor { vendor, key, grant, place, since, until })
}

struct PlainGrant {
    id: GrantId,
    chain: Vec<usize>,
    /// A vendor, or a key.
    holder: Result<usize, usize>,
    dataset: &'static str,
    prefix: &'static str,
    reads: bool,
    issued: (u64, usize),
    issuer: usize,
    expires: u64,
    revoked: Option<u64>,
}

struct PlainObject {
    put: Put,
    path: usize,
    writer: usize,
    at: (u64, usize),
}

struct PlainRead {
    at: (u64, usize),
    who: usize,
    grant: Option<usize>,
    parts: Vec<(usize, u32, u32)>,
    repeat: bool,
}

/// Key 0 is the admin's, 1 and 2 are vendor 0's, 3 is vendor 1's at first, 4 and 5 are nobody's.
struct Plain {
    ledger: Ledger,
    keys: Vec<Identity>,
    sessions: Vec<Session>,
    vendors: Vec<VendorId>,
    vendor_of: BTreeMap<usize, usize>,
    ended: BTreeMap<usize, u64>,
    grants: Vec<PlainGrant>,
    objects: Vec<PlainObject>,
    reads: Vec<PlainRead>,
    deletes: Vec<(usize, (u64, usize))>,
}

impl Plain {
    fn new() -> Self {
        let mut ledger = Ledger::new();
        let admin = Identity::from_pem(&ledger.admin.to_pem()).unwrap();
        let keys: Vec<Identity> = std::iter::once(admin).chain((0..5).map(|_| identity())).collect();
        ledger.dataset("rlhf");
        ledger.dataset("other");
        let vendors = vec![ledger.vendor("v0", &[&keys[1], &keys[2]]), ledger.vendor("v1", &[&keys[3]])];
        let sessions = keys.iter().map(|key| ledger.open(key)).collect();
        let vendor_of = BTreeMap::from([(1, 0), (2, 0), (3, 1)]);
        let (ended, grants, objects) = (BTreeMap::new(), Vec::new(), Vec::new());
        Self {
            ledger,
            keys,
            sessions,
            vendors,
            vendor_of,
            ended,
            grants,
            objects,
            reads: Vec::new(),
            deletes: Vec::new(),
        }
    }

    fn at(&self) -> (u64, usize) {
        (self.ledger.now, self.ledger.records.len())
    }

    fn key(&self, who: usize) -> Fingerprint {
        self.keys[who].fingerprint()
    }

    fn chain(&self, grant: usize) -> Vec<GrantId> {
        self.grants[grant].chain.iter().map(|at| self.grants[*at].id).collect()
    }

    /// Does it, whether it is allowed or not: an exposure is of what is recorded.
    fn apply(&mut self, op: &Op) {
        let at = self.at();
        match op {
            Op::Grant { holder, parent, dataset, prefix, minutes, write } => {
                let holder = if *holder < 2 { Ok(*holder) } else { Err(holder - 2) };
                let parent = parent.filter(|parent| *parent < self.grants.len());
                let actions: &[Action] = if *write { &[Action::Write] } else { &[Action::List, Action::Read] };
                let (dataset, prefix) = (["rlhf", "other"][*dataset], PREFIXES[*prefix]);
                let held =
                    holder.map_or_else(|who| Holder::Key(self.key(who)), |vendor| Holder::Vendor(self.vendors[vendor]));
                let expires = at.0 + minutes * MINUTE;
                let terms = Terms {
                    parent: parent.map(|parent| self.grants[parent].id),
                    expires: Millis(expires),
                    ..self.ledger.terms(held, &[(actions, dataset, prefix)], Limits::default())
                };
                // Who holds the parent delegates it; a vendor by its first key.
                let issuer = parent.map_or(0, |parent| match self.grants[parent].holder {
                    Ok(vendor) => 1 + 2 * vendor,
                    Err(who) => who,
                });
                let signed = self.ledger.sign_by(&self.keys[issuer], Instruction::IssueGrant(terms));
                let id = self.ledger.order_entry(signed).into();
                let above = parent.map_or_else(Vec::new, |parent| self.grants[parent].chain.clone());
                let chain = std::iter::once(self.grants.len()).chain(above).collect();
                self.grants.push(PlainGrant {
                    id,
                    chain,
                    holder,
                    dataset,
                    prefix,
                    reads: !write,
                    issued: at,
                    issuer,
                    expires,
                    revoked: None,
                });
                let chain = self.chain(self.grants.len() - 1);
                under(&mut self.ledger, &chain);
            }
            Op::Revoke { grant } if *grant < self.grants.len() && self.grants[*grant].revoked.is_none() => {
                self.ledger.order(Instruction::RevokeGrant { grant: self.grants[*grant].id, note: None });
                self.grants[*grant].revoked = Some(at.0);
            }
            Op::Put { who, paths, size } => {
                let item = |ledger: &mut Ledger, path: usize| {
                    ledger.put_item(PATHS[path].0, PATHS[path].1, Condition::Any, SIZES[*size])
                };
                let items = paths.iter().map(|path| item(&mut self.ledger, *path)).collect();
                let mut ask = self.ledger.ask(&self.sessions[*who], None, Work::Put(items));
                let numbers: Vec<_> = (0..).zip(paths).map(|(item, path)| (item, self.generation(*path))).collect();
                let puts = self.ledger.put_items(&mut ask, &numbers);
                self.objects.extend(paths.iter().zip(puts).map(|(path, put)| PlainObject {
                    put,
                    path: *path,
                    writer: *who,
                    at,
                }));
            }
            Op::Read { who, grant, objects, start, count, repeat } => {
                let objects: Vec<usize> =
                    objects.iter().copied().filter(|object| *object < self.objects.len()).collect();
                let part = |object: usize| {
                    let segments = Layout::new(self.objects[object].put.size).unwrap().segments();
                    let start = start % segments;
                    (object, start, segments.min(start + count))
                };
                let parts: Vec<_> = objects.into_iter().map(part).collect();
                if parts.is_empty() {
                    return;
                }
                let grant = (*grant < self.grants.len()).then_some(*grant);
                let refs = (0..)
                    .zip(&parts)
                    .map(|(item, (object, start, end))| self.objects[*object].put.part(item, *start, *end));
                let refs = refs.collect();
                let mut ask: Ask = self.ledger.ask_get(&self.sessions[*who], None, &["b"]);
                let event = if *repeat { Event::ReleaseRepeat } else { Event::Release };
                self.ledger.call_entry(&mut ask, event, Vec::new(), refs);
                let chain = grant.map_or_else(Vec::new, |grant| self.chain(grant));
                under(&mut self.ledger, &chain);
                self.reads.push(PlainRead { at, who: *who, grant, parts, repeat: *repeat });
            }
            Op::Delete { path } => {
                let Some(object) = self.objects.iter().rev().find(|object| object.path == *path) else { return };
                let put = object.put;
                let (dataset, name) = PATHS[*path];
                let mut ask = self.ledger.ask(&self.sessions[0], None, Work::Delete(vec![delete(dataset, name)]));
                self.ledger.delete(&mut ask, vec![put.whole(0)]);
                self.deletes.push((*path, at));
            }
            Op::AddKey { who, vendor } if !self.vendor_of.contains_key(who) => {
                self.ledger.order(Instruction::AddKey { vendor: self.vendors[*vendor], key: self.key(*who) });
                self.vendor_of.insert(*who, *vendor);
            }
            Op::RevokeKey { who } if !self.ended.contains_key(who) => {
                let Some(vendor) = self.vendor_of.get(who) else { return };
                self.ledger.order(Instruction::RevokeKey { vendor: self.vendors[*vendor], key: self.key(*who) });
                self.ended.insert(*who, at.0);
            }
            Op::Renew { grant, minutes } if *grant < self.grants.len() => {
                let expires = self.grants[*grant].expires + minutes * MINUTE;
                let grant_id = self.grants[*grant].id;
                self.ledger.order(Instruction::RenewGrant { grant: grant_id, expires: Millis(expires) });
                let chain = self.chain(*grant);
                under(&mut self.ledger, &chain);
                self.grants[*grant].expires = expires;
            }
            Op::Wait { minutes } => drop(self.ledger.wait(minutes * MINUTE)),
            _ => {}
        }
    }

    fn generation(&self, path: usize) -> u64 {
        1 + self.objects.iter().filter(|object| object.path == path).count() as u64
    }

    fn holds(&self, grant: usize, vendor: usize) -> bool {
        self.grants[grant].chain.iter().any(|at| match self.grants[*at].holder {
            Ok(held) => held == vendor,
            Err(who) => self.vendor_of.get(&who) == Some(&vendor),
        })
    }

    /// Whether what `who` did under `grant` at some time is asked for, wherever it was.
    fn is_asked(&self, asked: &AskedFor, who: usize, grant: Option<usize>, time: u64) -> bool {
        let chain = grant.map_or_else(Vec::new, |grant| self.grants[grant].chain.clone());
        asked.key.is_none_or(|key| key == who)
            && asked.grant.is_none_or(|grant| chain.contains(&grant))
            && asked.vendor.is_none_or(|vendor| {
                self.vendor_of.get(&who) == Some(&vendor) || grant.is_some_and(|grant| self.holds(grant, vendor))
            })
            && asked.since.is_none_or(|since| time >= crate::builder::START + since * MINUTE)
            && asked.until.is_none_or(|until| time < crate::builder::START + until * MINUTE)
    }

    fn is_inside(asked: &AskedFor, path: usize) -> bool {
        asked.place.is_none_or(|(dataset, prefix)| {
            PATHS[path].0 == ["rlhf", "other"][dataset]
                && prefix.is_none_or(|prefix| covers(PREFIXES[prefix], PATHS[path].1))
        })
    }

    fn deleted(&self, object: &PlainObject) -> Option<(u64, usize)> {
        self.deletes.iter().find(|(path, at)| *path == object.path && at.1 > object.at.1).map(|(_, at)| *at)
    }

    fn end(&self, grant: usize) -> u64 {
        let ended = |who: &usize| self.ended.get(who).copied().unwrap_or(u64::MAX);
        let one = |at: &usize| {
            let grant = &self.grants[*at];
            let held = grant.holder.err().map_or(u64::MAX, |who| ended(&who));
            let signed = if grant.chain.len() > 1 { ended(&grant.issuer) } else { u64::MAX };
            held.min(signed).min(grant.expires - 1).min(grant.revoked.unwrap_or(u64::MAX))
        };
        self.grants[grant].chain.iter().map(one).min().unwrap()
    }

    fn in_scope(&self, asked: &AskedFor, object: &PlainObject) -> bool {
        let from = asked.since.map_or(0, |since| crate::builder::START + since * MINUTE);
        let to = asked.until.map_or(u64::MAX, |until| crate::builder::START + until * MINUTE - 1);
        (0..self.grants.len()).any(|at| {
            let grant = &self.grants[at];
            let theirs = asked.vendor.is_none_or(|vendor| self.holds(at, vendor))
                && asked.grant.is_none_or(|asked| grant.chain.contains(&asked))
                && asked.key.is_none_or(|key| match grant.holder {
                    Ok(vendor) => self.vendor_of.get(&key) == Some(&vendor),
                    Err(who) => who == key,
                });
            let place = grant.dataset == PATHS[object.path].0 && covers(grant.prefix, PATHS[object.path].1);
            let hidden = self.deleted(object).map_or(u64::MAX, |at| at.0);
            let start = from.max(grant.issued.0).max(object.at.0);
            theirs
                && grant.reads
                && place
                && start <= to.min(self.end(at)).min(hidden)
                && grant.issued.0 <= self.end(at)
        })
    }
}

fn covers(prefix: &str, path: &str) -> bool {
    match prefix.strip_suffix('*') {
        Some(stem) => path.starts_with(stem),
        None => prefix.is_empty() || (prefix.ends_with('/') && path.starts_with(prefix)) || path == prefix,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn an_exposure_is_what_a_plain_count_comes_to(ops in ops(), asked in questions(), width in 1..40_usize) {
        let mut plain = Plain::new();
        ops.iter().for_each(|op| plain.apply(op));
        let mut asked = asked;
        asked.grant = asked.grant.filter(|grant| *grant < plain.grants.len());
        let question = Question {
            vendor: asked.vendor.map(|vendor| format!("v{vendor}").parse().unwrap()),
            key: asked.key.map(|key| plain.key(key)),
            grant: asked.grant.map(|grant| plain.grants[grant].id),
            dataset: asked.place.map(|(dataset, _)| ["rlhf", "other"][dataset].parse().unwrap()),
            prefix: asked.place.and_then(|(_, prefix)| prefix).map(|prefix| PREFIXES[prefix].parse().unwrap()),
            since: asked.since.map(|since| Millis(crate::builder::START + since * MINUTE)),
            until: asked.until.map(|until| Millis(crate::builder::START + until * MINUTE)),
            ..Question::default()
        };
        let report = reported(&plain.ledger, question.clone());
        // Of a session that acted under a grant of somebody else, as none can, what it claimed is not asked for.
        let plainly = |mut report: Report| {
            report.exposure.claims.clear();
            report.exposure.objects.iter_mut().for_each(|object| object.claims.clear());
            report
        };
        let extracted = extracted(&plain.ledger, &BTreeSet::new(), question, width).unwrap();
        prop_assert_eq!(plainly(extracted), plainly(report.clone()));
        let exposure = report.exposure;

        let reads: Vec<&PlainRead> =
            plain.reads.iter().filter(|read| plain.is_asked(&asked, read.who, read.grant, read.at.0)).collect();
        let mut told = exposure.objects.iter();
        let (mut objects, mut bytes, mut bytes_total, mut written) = (0, 0, 0, 0);
        let mut expected: Vec<(usize, &PlainObject)> = plain.objects.iter().enumerate().collect();
        expected.sort_by_key(|(at, object)| (PATHS[object.path], object.put.generation, *at));
        let (mut in_scope, mut unreleased) = (0, 0);
        for (at, object) in expected.into_iter().filter(|(_, object)| Plain::is_inside(&asked, object.path)) {
            let layout = Layout::new(object.put.size).unwrap();
            let mut segments = BTreeSet::new();
            let (mut total, mut keys, mut grants, mut count) = (0, BTreeSet::new(), BTreeSet::new(), 0);
            for read in &reads {
                let parts: Vec<_> = read.parts.iter().filter(|part| part.0 == at).collect();
                count += parts.len() as u64;
                if !parts.is_empty() {
                    keys.insert(plain.key(read.who));
                    grants.extend(read.grant.map(|grant| plain.grants[grant].id));
                }
                for (_, start, end) in parts {
                    segments.extend(*start..*end);
                    total += (*start..*end).map(|i| layout.plain_len(i) as u64).sum::<u64>();
                }
            }
            let wrote = plain.is_asked(&asked, object.writer, None, object.at.0);
            let covered = plain.in_scope(&asked, object);
            in_scope += u64::from(covered || !keys.is_empty());
            unreleased += u64::from(covered && keys.is_empty());
            if keys.is_empty() && !wrote {
                continue;
            }
            let exposed = told.next().expect("an object more");
            prop_assert_eq!((exposed.put, exposed.ordinal), (object.put.index, object.put.ordinal));
            prop_assert_eq!(name(exposed), format!("{}/{}", PATHS[object.path].0, PATHS[object.path].1));
            let had: BTreeSet<u32> = exposed.read.as_slice().iter().flat_map(|(start, end)| *start..*end).collect();
            prop_assert_eq!(&had, &segments);
            let distinct: u64 = segments.iter().map(|i| layout.plain_len(*i) as u64).sum();
            prop_assert_eq!((exposed.bytes, exposed.bytes_total, exposed.releases), (distinct, total, count));
            prop_assert_eq!((&exposed.keys, &exposed.grants), (&keys, &grants));
            prop_assert_eq!(exposed.written, wrote.then(|| plain.key(object.writer)));
            let newer = plain.objects[at + 1..].iter().find(|newer| newer.path == object.path);
            let moment = |at: (u64, usize)| Moment { index: Index(at.1 as u64), time: Millis(at.0) };
            let since = match (plain.deleted(object), newer) {
                (Some(at), _) => Since::Deleted(moment(at)),
                (None, Some(newer)) => Since::Overwritten(moment(newer.at)),
                (None, None) => Since::Current,
            };
            prop_assert_eq!(exposed.since, since);
            objects += u64::from(!keys.is_empty());
            bytes += distinct;
            bytes_total += total;
            written += u64::from(wrote);
        }
        prop_assert!(told.next().is_none());
        let totals = &exposure.totals;
        prop_assert_eq!((totals.objects, totals.bytes, totals.bytes_total, totals.written), (objects, bytes, bytes_total, written));
        let touches = |read: &&&PlainRead| read.parts.iter().any(|part| Plain::is_inside(&asked, plain.objects[part.0].path));
        let reads: Vec<_> = reads.iter().filter(touches).collect();
        prop_assert_eq!(totals.releases, reads.len() as u64);
        prop_assert_eq!(totals.repeats, reads.iter().filter(|read| read.repeat).count() as u64);
        prop_assert_eq!(totals.first.map(|at| at.index.0), reads.first().map(|read| read.at.1 as u64));
        prop_assert_eq!(totals.last.map(|at| at.index.0), reads.last().map(|read| read.at.1 as u64));
        prop_assert_eq!(totals.unattributed, 0);
        match exposure.scope {
            None => prop_assert_eq!(asked.key, Some(0)),
            Some(scope) => prop_assert_eq!((scope.objects, scope.unreleased), (in_scope, unreleased)),
        }
    }
}
