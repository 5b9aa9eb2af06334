//! Ledgers that are accepted, and what they come to.

use strongroom_core::audit::called::Calls;
use strongroom_core::call::{Condition, GetItem, Work};
use strongroom_core::ed25519::SigningKey;
use strongroom_core::grant::{Limits, Policy, Principal, Usage};
use strongroom_core::ids::Index;
use strongroom_core::keys::secret::Key;
use strongroom_core::ledger::about::incident_of;
use strongroom_core::ledger::batch::MAX_ENTRY;
use strongroom_core::ledger::checkpoint::VerifierKey;
use strongroom_core::ledger::replay::{Counts, Replay, Snapshot};
use strongroom_core::ledger::tree::{CompactRange, leaf_hash};
use strongroom_core::ledger::{Entry, Event, Outcome, Private};
use strongroom_core::order::Instruction;
use strongroom_core::reason::Reason;

use crate::builder::{MINUTE, delete, get, identity};
use crate::rules::{hides_in, incident};
use crate::story::{LARGE, SMALL, Story};

#[test]
fn a_whole_story() {
    let mut story = Story::new();
    let l = &mut story.ledger;
    // A stream of two windows, the second one sent again.
    let mut stream = l.ask_get(&story.worker, Some(story.read), &["math/large", "math/small"]);
    l.release(&mut stream, vec![story.large.part(0, 0, 1024)]);
    l.release(&mut stream, vec![story.large.part(0, 1024, 1501), story.small.whole(1)]);
    l.repeat(&mut stream, vec![story.large.part(0, 1024, 1501)]);
    // It resumes in another session, with the same request: only what is new is charged.
    let again = l.open(&story.key);
    let mut resumed = l.ask_as(&again, stream.signed.call.clone());
    l.repeat(&mut resumed, vec![story.small.whole(1)]);
    // Labels come back, two in a call, one of them twice.
    let one = l.put_item("rlhf", "labels/v/1", Condition::Absent, 10);
    let two = l.put_item("rlhf", "labels/v/1", Condition::Any, 20);
    let mut labels = l.ask(&story.worker, Some(story.write), Work::Put(vec![one, two]));
    let written = l.put_items(&mut labels, &[(0, 1), (1, 2)]);
    let mut no = l.ask_get(&story.worker, Some(story.read), &["labels/v/1"]);
    l.denied(&mut no, Reason::OutOfScope);
    // The admin hides one generation after another.
    let mut hide = l.ask(&story.admin, None, Work::Delete(vec![delete("rlhf", "labels/v/1")]));
    l.delete(&mut hide, vec![written[1].whole(0)]);
    let back = l.put(&story.admin, None, "labels/v/1", 4, 30);
    assert_eq!(back.generation.0, 4);
    l.order(Instruction::SuspendVendor { vendor: story.vendor, note: Some("incident 42".into()) });
    l.denied(&mut no, Reason::VendorSuspended);
    l.order(Instruction::ResumeVendor { vendor: story.vendor, note: None });
    let mut more = l.ask_get(&story.worker, Some(story.read), &["math/small"]);
    l.release(&mut more, vec![story.small.part(0, 1, 2)]);
    l.order(Instruction::RevokeGrant { grant: story.read, note: None });

    let replay = l.accepted();
    let read = Usage { bytes: LARGE + SMALL + 65_536, objects: 3, uses: 2 };
    assert_eq!(replay.usage(&story.read), Some(read));
    assert_eq!(replay.usage(&story.write), Some(Usage { bytes: 30, objects: 2, uses: 1 }));
    let entries = l.records.len() as u64;
    assert_eq!(replay.counts(), Counts { entries, releases: 5, denials: 2, uncheckable: 0 });
    assert_eq!(replay.size(), Index(entries));
    assert_eq!(replay.authority().principal(&story.key.fingerprint()), Principal::Vendor(story.vendor));
    assert_eq!(replay.authority().revoked(&story.read), Some(Index(entries - 1)));
}

#[test]
fn a_new_key_takes_the_place_of_the_old_one() {
    let mut story = Story::new();
    let l = &mut story.ledger;
    let item = l.put_item("rlhf", "math/small", Condition::Rekey(strongroom_core::ids::Generation(1)), SMALL);
    let mut ask = l.ask(&story.admin, None, Work::Put(vec![item]));
    let put = l.put_items(&mut ask, &[(0, 2)]);
    let mut ask = l.ask_get(&story.worker, Some(story.read), &["math/small"]);
    l.release(&mut ask, vec![put[0].whole(0)]);
    l.accepted();
}

#[test]
fn a_call_belongs_to_an_incident_in_all_its_entries() {
    let mut story = Story::new();
    let opened = incident(&mut story);
    let other = incident(&mut story);
    let mut ask = hides_in(&mut story, opened);
    let l = &mut story.ledger;
    let first = l.delete(&mut ask, vec![story.small.whole(0)]);
    // After the incident was closed, too: somebody cleans up.
    l.order(Instruction::CloseIncident { incident: opened, note: None });
    let mut replay = l.accepted();
    let second = l.delete(&mut ask, vec![story.large.whole(1)]);
    l.accepted();
    // Whoever goes on from a snapshot knows it as well.
    let key =
        VerifierKey::new(&l.origin.to_string(), SigningKey::from_seed(Key::from_bytes([1; 32])).unwrap().public_key());
    let kept = Snapshot { key, replay }.to_bytes().unwrap();
    replay = Snapshot::from_bytes(&kept).unwrap().replay;
    let (public, private) = l.bytes().pop().unwrap();
    replay.feed(&public, Some(&private)).unwrap();

    let of = |incident| {
        let mut calls = Calls::new(incident);
        l.records.iter().for_each(|record| calls.feed(&record.entry, Some(&record.private)));
        calls.finish()
    };
    let [called] = &of(opened)[..] else { panic!("{:?}", of(opened)) };
    assert_eq!((called.event, called.by), (Event::ObjectDeleted, l.admin.fingerprint()));
    assert_eq!((called.entries, called.objects, called.bytes), (2, 2, SMALL + LARGE));
    assert_eq!((called.first.index, called.last.index), (first, second));
    assert_eq!(of(other), []);
    let named: Vec<_> =
        l.records.iter().filter_map(|record| incident_of(&record.entry, Some(&record.private))).collect();
    assert_eq!(named, [opened, other, opened, opened, opened], "opened, opened, hidden, closed, hidden");
}

#[test]
fn a_path_is_put_anew_after_it_was_shredded() {
    let mut story = Story::new();
    let l = &mut story.ledger;
    let rlhf: strongroom_core::names::DatasetName = "rlhf".parse().unwrap();
    let shred = |prefix: &str| Instruction::ShredObjects {
        dataset: "rlhf".parse().unwrap(),
        prefix: prefix.parse().unwrap(),
        note: Some("asked for".into()),
    };
    l.order(shred("math/sm*"));
    let mut no = l.ask_get(&story.worker, Some(story.read), &["math/small"]);
    l.denied(&mut no, Reason::Shredded);
    // What lies beside it is as it was, and the path takes something new, which can be shredded again.
    let mut ask = l.ask_get(&story.worker, Some(story.read), &["math/large"]);
    l.release(&mut ask, vec![story.large.part(0, 0, 1)]);
    for generation in 2..=3 {
        let item = l.put_item("rlhf", "math/small", Condition::Absent, SMALL);
        let mut put = l.ask(&story.admin, None, Work::Put(vec![item]));
        let put = l.put_items(&mut put, &[(0, generation)]);
        let mut ask = l.ask_get(&story.worker, Some(story.read), &["math/small"]);
        l.release(&mut ask, vec![put[0].whole(0)]);
        l.order(shred("math/small"));
    }
    let other = identity().fingerprint();
    l.order(Instruction::ShredDataset { name: rlhf.clone(), note: None });
    l.order(Instruction::ShredTenant { note: None });
    // Who reads the ledger can still be changed.
    l.order(Instruction::AddAdmin { key: other });
    l.order(Instruction::RemoveAdmin { key: other });
    let size = l.records.len() as u64;
    let replay = l.accepted();
    let authority = replay.authority();
    assert_eq!(authority.tenant_shredded(), Some(Index(size - 3)));
    assert!(authority.dataset(&rlhf).is_none() && !authority.has_key(1));
}

#[test]
fn what_is_unfrozen_goes_on() {
    let mut story = Story::new();
    let l = &mut story.ledger;
    let rlhf = || "rlhf".parse().unwrap();
    l.dataset("other");
    for generation in 1..=2 {
        l.order(Instruction::FreezeDataset { name: rlhf(), note: Some("incident 42".into()) });
        let mut no = l.ask_get(&story.worker, Some(story.read), &["math/small"]);
        l.denied(&mut no, Reason::Frozen);
        let item = l.put_item("other", "a", Condition::Any, 10);
        let mut elsewhere = l.ask(&story.admin, None, Work::Put(vec![item]));
        l.put_items(&mut elsewhere, &[(0, generation)]);
        l.order(Instruction::UnfreezeDataset { name: rlhf(), note: None });
        let mut ask = l.ask_get(&story.worker, Some(story.read), &["math/small"]);
        l.release(&mut ask, vec![story.small.whole(0)]);
    }
    l.order(Instruction::FreezeTenant { note: None });
    l.dataset("third");
    l.order(Instruction::UnfreezeTenant { note: None });
    l.put(&story.admin, None, "math/small", 2, 5);
    // A vendor stops itself; an admin resumes it.
    let stop = l.sign_by(&story.key, Instruction::SuspendVendor { vendor: story.vendor, note: None });
    l.order_entry(stop);
    l.order(Instruction::ResumeVendor { vendor: story.vendor, note: None });
    let replay = l.accepted();
    assert_eq!((replay.head().epoch, replay.authority().epoch()), (4, 4), "three freezes and a suspension");
    assert_eq!(replay.authority().frozen(), None);
}

#[test]
fn the_head_is_the_one_a_server_keeps() {
    let mut story = Story::new();
    story.ledger.order(Instruction::SuspendVendor { vendor: story.vendor, note: None });
    let replay = story.ledger.accepted();
    let mut range = CompactRange::default();
    let mut tip = [0; 32];
    for (public, _) in story.ledger.bytes() {
        range.append(leaf_hash(&public));
        let event = Entry::from_bytes(&public).unwrap().event;
        if strongroom_core::grant::authority::is_authority_event(event) {
            tip = strongroom_core::ledger::head::chain(&tip, &public);
        }
    }
    let head = replay.head();
    assert_eq!((head.range.clone(), head.authority_tip), (range.clone(), tip));
    assert_eq!((head.epoch, head.hides), (1, 0));
    assert_eq!(head.epoch, replay.authority().epoch());
    assert_eq!(replay.tip(), range.root());
    assert_eq!(replay.finish().unwrap().head.size(), story.ledger.next_index());
}

#[test]
fn a_request_is_over_after_15_quiet_minutes() {
    let mut story = Story::new();
    let l = &mut story.ledger;
    let mut stream = l.ask_get(&story.worker, Some(story.read), &["math/large"]);
    l.release(&mut stream, vec![story.large.part(0, 0, 1024)]);
    // Fourteen minutes apart, it stays one request.
    l.wait(14 * MINUTE);
    l.repeat(&mut stream, vec![story.large.part(0, 0, 1024)]);
    l.wait(14 * MINUTE);
    l.release(&mut stream, vec![story.large.part(0, 1024, 1501)]);
    assert_eq!(l.accepted().usage(&story.read), Some(Usage { bytes: LARGE, objects: 1, uses: 1 }));
    // After that its id is free, and what it asks for is charged again.
    l.wait(15 * MINUTE + 1);
    let mut anew = l.ask_as(
        &story.worker,
        strongroom_core::call::Call {
            work: Work::ReleaseKeys(vec![get("rlhf", "math/large")]),
            ..stream.signed.call.clone()
        },
    );
    l.release(&mut anew, vec![story.large.part(0, 0, 1)]);
    assert_eq!(l.accepted().usage(&story.read), Some(Usage { bytes: LARGE + 65_536, objects: 2, uses: 2 }));
}

#[test]
fn the_same_call_may_be_sent_again_with_its_words() {
    let mut story = Story::new();
    let l = &mut story.ledger;
    let mut ask = l.ask_get(&story.worker, Some(story.read), &["math/small"]);
    l.denied(&mut ask, Reason::Unavailable);
    ask.entered = false;
    l.release(&mut ask, vec![story.small.whole(0)]);
    ask.entered = false;
    l.repeat(&mut ask, vec![story.small.whole(0)]);
    l.accepted();
}

#[test]
fn older_generations_stay_until_they_are_hidden() {
    let mut story = Story::new();
    let l = &mut story.ledger;
    let newer = l.put(&story.admin, None, "math/small", 2, 100);
    let mut old = get("rlhf", "math/small");
    old.generation = Some(story.small.generation);
    let mut ask = l.ask(&story.worker, Some(story.read), Work::Get(vec![old]));
    l.release(&mut ask, vec![story.small.whole(0)]);
    let mut hide = l.ask(&story.admin, None, Work::Delete(vec![delete("rlhf", "math/small")]));
    l.delete(&mut hide, vec![newer.whole(0)]);
    l.accepted();
}

#[test]
fn an_object_is_asked_for_by_its_id() {
    let mut story = Story::new();
    let l = &mut story.ledger;
    l.put(&story.admin, None, "math/small", 2, 100);
    // An older generation, by its id alone.
    let by_id = GetItem::of_id("rlhf".parse().unwrap(), story.small.id);
    let mut ask = l.ask(&story.worker, Some(story.read), Work::Get(vec![by_id.clone()]));
    l.release(&mut ask, vec![story.small.whole(0)]);
    let named = GetItem { generation: Some(story.small.generation), ..by_id };
    let mut ask = l.ask(&story.worker, Some(story.read), Work::ReleaseKeys(vec![named]));
    l.release(&mut ask, vec![story.small.whole(0)]);
    l.accepted();
}

#[test]
fn denials_of_all_kinds() {
    let mut story = Story::new();
    let l = &mut story.ledger;
    let mut ask = l.ask_get(&story.worker, Some(story.read), &["labels/1"]);
    l.denied(&mut ask, Reason::OutOfScope);
    l.records.last_mut().unwrap().entry.grants = vec![story.read];
    // An order by somebody who may not; and a summary of many more.
    let signed = l.sign_by(&story.key, Instruction::AddAdmin { key: story.key.fingerprint() });
    let mut entry = l.blank(Event::Denied, story.key.fingerprint());
    (entry.outcome, entry.reason) = (Outcome::Denied, Some(Reason::OutOfScope));
    entry.order = Some(signed.clone().verify().unwrap().id());
    l.push(entry.clone(), Private { order: Some(signed), ..Private::default() });
    let summary = Entry { index: l.next_index(), count: 1000, order: None, ..entry };
    l.push(summary, Private::default());
    assert_eq!(l.accepted().counts().denials, 1002);
}

#[test]
fn an_issuer_takes_back_its_own_grant() {
    let mut story = Story::new();
    let l = &mut story.ledger;
    let second = identity();
    l.order(Instruction::AddAdmin { key: second.fingerprint() });
    let terms = strongroom_core::grant::Terms {
        expires: strongroom_core::ids::Millis(l.now + MINUTE),
        ..l.terms(
            strongroom_core::grant::Holder::Key(identity().fingerprint()),
            &[(&[strongroom_core::grant::Action::Read], "rlhf", "")],
            Default::default(),
        )
    };
    let signed = l.sign_by(&second, Instruction::IssueGrant(terms));
    let grant = l.order_entry(signed).into();
    l.order(Instruction::RemoveAdmin { key: second.fingerprint() });
    let signed = l.sign_by(&second, Instruction::RevokeGrant { grant, note: None });
    l.order_entry(signed);
    l.accepted();
}

#[test]
fn the_largest_entries_fit() {
    let mut story = Story::new();
    let l = &mut story.ledger;
    let (dataset, count) = ("rlhf", 512);
    let items: Vec<_> =
        (0..count).map(|i| l.put_item(dataset, &format!("labels/{i:07}"), Condition::Any, 65_536)).collect();
    let mut ask = l.ask(&story.worker, Some(story.write), Work::Put(items));
    let numbers: Vec<_> = (0..count).map(|item| (item, 1)).collect();
    let puts = l.put_items(&mut ask, &numbers);
    let paths: Vec<_> = (0..count).map(|i| get(dataset, &format!("labels/{i:07}"))).collect();
    let mut ask = l.ask(&story.admin, None, Work::Get([paths.clone(), paths].concat()));
    let parts = |from: u32| puts.iter().zip(from..).map(|(put, item)| put.whole(item));
    l.release(&mut ask, parts(0).chain(parts(512)).collect());
    let longest = l.records.iter().map(|record| record.entry.bytes().unwrap().len()).max().unwrap();
    assert!(longest > MAX_ENTRY / 2 && longest < MAX_ENTRY, "{longest}");
    l.accepted();
}

#[test]
fn no_entry_is_a_ledger_too() {
    let summary = Replay::new(crate::builder::Ledger::new().origin).finish().unwrap();
    assert_eq!(summary.counts, Counts::default());
    assert_eq!(summary.head, strongroom_core::ledger::Head::default());
}

#[test]
fn events_are_told_apart_as_their_orders_are() {
    let l = Story::new().ledger;
    for record in &l.records {
        if let Some(signed) = &record.private.order {
            let (instruction, event) = (&signed.order.instruction, record.entry.event);
            assert_eq!(Event::of_instruction(instruction), event);
        }
    }
}

#[test]
fn a_renewed_grant_goes_on_past_its_old_end() {
    let mut story = Story::new();
    crate::rules::renewed(&mut story, 100 * MINUTE);
    let l = &mut story.ledger;
    let usage_before = l.accepted().usage(&story.read);
    l.wait(61 * MINUTE);
    let session = l.open(&story.key);
    let mut ask = l.ask_get(&session, Some(story.read), &["math/small"]);
    l.release(&mut ask, vec![story.small.whole(0)]);
    let replay = l.accepted();
    assert_eq!(usage_before, Some(Usage::default()));
    assert_eq!(replay.usage(&story.read), Some(Usage { bytes: SMALL, objects: 1, uses: 1 }));
    // Renewals are no part of the authority log, and a policy is.
    let tip = replay.head().authority_tip;
    crate::rules::renewed(&mut story, 100 * MINUTE);
    assert_eq!(story.ledger.accepted().head().authority_tip, tip);
    story.ledger.order(Instruction::SetPolicy(Policy::default()));
    let replay = story.ledger.accepted();
    assert_ne!(replay.head().authority_tip, tip);
    assert_eq!(replay.authority().policy().1, Some(Index(story.ledger.records.len() as u64 - 1)));
}

#[test]
fn a_policys_limits_are_those_of_its_time() {
    let mut story = Story::new();
    let with = |bytes| Policy { limits: Limits { bytes: Some(bytes), ..Limits::default() }, ..Policy::default() };
    story.ledger.order(Instruction::SetPolicy(with(2 * SMALL)));
    // Two releases under it, and a later policy takes nothing from what was granted.
    let grant = crate::rules::under(&mut story, Limits::default(), |_| ());
    story.ledger.order(Instruction::SetPolicy(with(1)));
    let l = &mut story.ledger;
    let mut ask = l.ask_get(&story.worker, Some(grant), &["math/small"]);
    l.release(&mut ask, vec![story.small.whole(0)]);
    // One that names its own limit keeps it.
    let own = Limits { bytes: Some(SMALL), ..Limits::default() };
    crate::rules::under(&mut story, own, |_| ());
    assert_eq!(story.ledger.accepted().usage(&grant).map(|usage| usage.bytes), Some(2 * SMALL));
}
