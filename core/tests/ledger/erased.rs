//! What is left of a ledger whose private parts were erased.

use strongroom_core::call::{Condition, Work};
use strongroom_core::grant::{Limits, Usage};
use strongroom_core::ids::Index;
use strongroom_core::ledger::Event;
use strongroom_core::ledger::replay::{Finding, Proof, Replay, Rule};
use strongroom_core::order::Instruction;

use crate::builder::{Ledger, delete};
use crate::story::{SMALL, Story};

/// Replays with the private parts of these entries erased; returns which entries were not proven whole.
fn replay_without(ledger: &Ledger, erased: impl Fn(Index) -> bool) -> Result<(Replay, Vec<Index>), Finding> {
    let mut replay = Replay::new(ledger.origin.clone());
    let mut uncheckable = Vec::new();
    for (index, (public, private)) in (0..).map(Index).zip(ledger.bytes()) {
        let step = replay.feed(&public, (!erased(index)).then_some(&private[..]))?;
        if step.proof == Proof::Erased {
            uncheckable.push(index);
        }
    }
    assert_eq!(replay.counts().uncheckable, uncheckable.len() as u64);
    Ok((replay, uncheckable))
}

fn entries(ledger: &Ledger, of: Event) -> Vec<Index> {
    ledger
        .records
        .iter()
        .map(|record| &record.entry)
        .filter(|entry| entry.event == of)
        .map(|entry| entry.index)
        .collect()
}

fn story() -> Story {
    let mut story = Story::new();
    let l = &mut story.ledger;
    let mut stream = l.ask_get(&story.worker, Some(story.read), &["math/large"]);
    l.release(&mut stream, vec![story.large.part(0, 0, 1024)]);
    l.release(&mut stream, vec![story.large.part(0, 1024, 1501)]);
    let mut ask = l.ask_get(&story.worker, Some(story.read), &["math/small"]);
    l.release(&mut ask, vec![story.small.whole(0)]);
    l.put(&story.worker, Some(story.write), "labels/v/1", 1, 9);
    l.put(&story.admin, None, "labels/v/1", 2, 10);
    let mut hide = l.ask(&story.admin, None, Work::Delete(vec![delete("rlhf", "math/small")]));
    l.delete(&mut hide, vec![story.small.whole(0)]);
    l.order(Instruction::SuspendVendor { vendor: story.vendor, note: None });
    story
}

#[test]
fn a_valid_ledger_stays_valid_whatever_is_erased() {
    let story = story();
    let whole = story.ledger.accepted();
    let size = story.ledger.records.len() as u64;
    // Each entry alone, each pair, all from some entry on, all up to some entry.
    for a in 0..size {
        for b in a..size {
            let erased: [&dyn Fn(u64) -> bool; 2] = [&|i| i == a || i == b, &|i| (a..=b).contains(&i)];
            for erased in erased {
                let (replay, uncheckable) = replay_without(&story.ledger, |index| erased(index.0))
                    .unwrap_or_else(|finding| panic!("without {a} and {b}: {finding}"));
                assert_eq!(replay.head(), whole.head());
                assert!((0..size).filter(|i| erased(*i)).all(|i| uncheckable.contains(&Index(i))));
                for grant in [&story.read, &story.write] {
                    assert_eq!(replay.usage(grant), whole.usage(grant), "without {a} and {b}");
                }
            }
        }
    }
}

#[test]
fn an_erased_call_leaves_the_rest_proven() {
    let story = story();
    let releases = entries(&story.ledger, Event::Release);
    let (_, uncheckable) = replay_without(&story.ledger, |index| index == releases[2]).unwrap();
    assert_eq!(uncheckable, [releases[2]]);
    // The second entry of a call stands on the first.
    let (_, uncheckable) = replay_without(&story.ledger, |index| index == releases[0]).unwrap();
    assert_eq!(uncheckable, releases[..2]);
}

#[test]
fn an_erased_opening_takes_its_calls_along() {
    let story = story();
    let worker = entries(&story.ledger, Event::SessionOpen)[1];
    let (replay, uncheckable) = replay_without(&story.ledger, |index| index == worker).unwrap();
    assert_eq!(uncheckable.len(), 1 + 3 + 1);
    assert_eq!(replay.usage(&story.write), Some(Usage { bytes: 9, objects: 1, uses: 1 }));
}

#[test]
fn an_erased_grant_takes_what_was_done_under_it_along() {
    let story = story();
    let read = entries(&story.ledger, Event::GrantIssued)[0];
    let (_, uncheckable) = replay_without(&story.ledger, |index| index == read).unwrap();
    let releases = entries(&story.ledger, Event::Release);
    assert_eq!(uncheckable, [&[read][..], &releases].concat());
}

#[test]
fn nothing_is_proven_after_an_erased_order_of_authority() {
    let story = story();
    let vendor = entries(&story.ledger, Event::VendorAdded)[0];
    let (_, uncheckable) = replay_without(&story.ledger, |index| index == vendor).unwrap();
    let all: Vec<_> = (vendor.0..story.ledger.records.len() as u64).map(Index).collect();
    assert_eq!(uncheckable, all);
}

#[test]
fn what_is_public_is_checked_all_the_same() {
    let check = |break_it: fn(&mut Story), rule: Rule| {
        let mut story = Story::new();
        let mut ask = story.ledger.ask_get(&story.worker, Some(story.read), &["math/small"]);
        let erased = story.ledger.release(&mut ask, vec![story.small.whole(0)]);
        break_it(&mut story);
        let found = replay_without(&story.ledger, |index| index == erased).err().map(|finding| finding.rule);
        assert_eq!(found, Some(rule));
    };
    check(|s| s.ledger.records.last_mut().unwrap().entry.objects[0].5 = SMALL - 1, Rule::Bytes);
    check(|s| s.ledger.records.last_mut().unwrap().entry.objects[0].4 = 4, Rule::Segments);
    check(|s| s.ledger.records.last_mut().unwrap().entry.grants = vec![s.write], Rule::Allowed);
    check(|s| s.ledger.records.last_mut().unwrap().entry.actor.key = s.admin.who, Rule::Actor);
    check(|s| s.ledger.records.last_mut().unwrap().entry.objects[0].2 = 1, Rule::ObjectKnown);
    check(
        |s| {
            let again = s.ledger.records.last().unwrap().clone();
            let index = s.ledger.next_index();
            let entry = strongroom_core::ledger::Entry { index, ..again.entry };
            s.ledger.push(entry, Default::default());
        },
        Rule::WindowOnce,
    );
}

#[test]
fn an_erased_put_leaves_gaps_that_are_allowed() {
    let mut story = Story::new();
    let l = &mut story.ledger;
    let item = l.put_item("rlhf", "labels/v/1", Condition::Absent, 5);
    let mut ask = l.ask(&story.worker, Some(story.write), Work::Put(vec![item]));
    let erased = l.put_items(&mut ask, &[(0, 1)])[0];
    let newer = l.put(&story.worker, Some(story.write), "labels/v/1", 2, 6);
    let mut read = l.ask_get(&story.admin, None, &["labels/v/1"]);
    let first = l.release(&mut read, vec![newer.whole(0)]);
    let mut hide = l.ask(&story.admin, None, Work::Delete(vec![delete("rlhf", "labels/v/1")]));
    l.delete(&mut hide, vec![newer.whole(0)]);
    let (_, uncheckable) = replay_without(l, |index| index == erased.index).unwrap();
    assert!(uncheckable.contains(&erased.index) && uncheckable.contains(&newer.index));
    assert!(!uncheckable.contains(&first));
    // Still, numbers do not go back.
    l.put(&story.admin, None, "labels/v/1", 3, 7);
    let found = replay_without(l, |index| index == erased.index).err().map(|finding| finding.rule);
    assert_eq!(found, Some(Rule::NextGeneration));
}

#[test]
fn where_an_erased_release_went_is_not_known() {
    let mut story = Story::new();
    let inside = Limits { sources: vec!["192.0.2.0/24".into()], ..Limits::default() };
    let grant = crate::rules::under(&mut story, inside, |_| ());
    // A second entry of the call, so that its words stand elsewhere.
    let l = &mut story.ledger;
    let mut bound = l.ask_get(&story.worker, Some(grant), &["math/small", "math/large"]);
    l.release(&mut bound, vec![story.small.whole(0)]);
    let second = l.release(&mut bound, vec![story.large.part(1, 0, 1024)]);
    let (_, uncheckable) = replay_without(l, |index| index == second).unwrap();
    assert_eq!(uncheckable, [second]);
}
