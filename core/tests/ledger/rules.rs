//! Each rule, broken by the last entry of an otherwise honest ledger.

use std::collections::BTreeSet;

use strongroom_core::call::{Call, Condition, Work};
use strongroom_core::ed25519::SigningKey;
use strongroom_core::grant::{Action, Holder, Limits, Scope};
use strongroom_core::ids::{Generation, IncidentId, Index};
use strongroom_core::keys::secret::Key;
use strongroom_core::ledger::log_keys::LogKeyChange;
use strongroom_core::ledger::replay::Rule;
use strongroom_core::ledger::{Entry, ObjectRef, Private, PutFact};
use strongroom_core::order::Instruction;

use crate::builder::{Ask, Record, delete, get, replay};
use crate::story::Story;
use crate::{broken_entries, broken_reads, broken_writes};

pub(crate) type Case = (Rule, &'static str, fn(&mut Story));

/// A story that goes on with a release of `math/small` to the vendor.
pub(crate) fn released(story: &mut Story) -> Ask {
    let mut ask = story.ledger.ask_get(&story.worker, Some(story.read), &["math/small"]);
    story.ledger.release(&mut ask, vec![story.small.whole(0)]);
    ask
}

/// A put of one label by the vendor, and what the test makes of its entry.
pub(crate) fn label(story: &mut Story, change: impl FnOnce(&mut PutFact)) {
    let item = story.ledger.put_item("rlhf", "labels/1", Condition::Absent, 10);
    let mut ask = story.ledger.ask(&story.worker, Some(story.write), Work::Put(vec![item]));
    story.ledger.put_items(&mut ask, &[(0, 1)]);
    change(&mut last(story).entry.puts[0]);
}

pub(crate) fn last(story: &mut Story) -> &mut Record {
    story.ledger.records.last_mut().unwrap()
}

pub(crate) fn changed(story: &mut Story, change: fn(&mut ObjectRef)) {
    released(story);
    change(&mut last(story).entry.objects[0]);
}

/// Reads one item, changed before it is signed; releases all of `math/small`.
pub(crate) fn asked(story: &mut Story, change: fn(&mut strongroom_core::call::GetItem)) {
    let mut item = get("rlhf", "math/small");
    change(&mut item);
    let mut ask = story.ledger.ask(&story.worker, Some(story.read), Work::Get(vec![item]));
    story.ledger.release(&mut ask, vec![story.small.whole(0)]);
}

pub(crate) fn order_with(story: &mut Story, change: impl FnOnce(&mut Record)) {
    story.ledger.dataset("other");
    change(last(story));
}

pub(crate) fn hidden(story: &mut Story) {
    let mut ask = story.ledger.ask(&story.admin, None, Work::Delete(vec![delete("rlhf", "math/small")]));
    story.ledger.delete(&mut ask, vec![story.small.whole(0)]);
}

pub(crate) fn frozen_dataset() -> Instruction {
    Instruction::FreezeDataset { name: "rlhf".parse().unwrap(), note: None }
}

/// An incident about the vendor, opened by the admin.
pub(crate) fn incident(story: &mut Story) -> IncidentId {
    let vendor = story.vendor;
    story.ledger.order(Instruction::OpenIncident { vendor, since: None, note: None }).into()
}

/// A call of the admin's to hide both objects, in an incident.
pub(crate) fn hides_in(story: &mut Story, incident: IncidentId) -> Ask {
    let items = vec![delete("rlhf", "math/small"), delete("rlhf", "math/large")];
    let call =
        Call { incident: Some(incident), ..story.ledger.ask(&story.admin, None, Work::Delete(items)).signed.call };
    story.ledger.ask_as(&story.admin, call)
}

/// `math/small` with a new key, by the admin.
pub(crate) fn rekeyed(story: &mut Story, was: Generation, size: u64) {
    let item = story.ledger.put_item("rlhf", "math/small", Condition::Rekey(was), size);
    let mut ask = story.ledger.ask(&story.admin, None, Work::Put(vec![item]));
    story.ledger.put_items(&mut ask, &[(0, 2)]);
}

pub(crate) fn shred(prefix: &str) -> Instruction {
    Instruction::ShredObjects { dataset: "rlhf".parse().unwrap(), prefix: prefix.parse().unwrap(), note: None }
}

pub(crate) fn every(every: Option<u64>, first: u64) -> Instruction {
    Instruction::RotateEvery { every, first: strongroom_core::ids::Millis(first) }
}

pub(crate) fn escrow(recipients: &[&str]) -> Instruction {
    Instruction::SetEscrow { recipients: recipients.iter().map(|text| (*text).to_owned()).collect() }
}

pub(crate) fn shred_dataset() -> Instruction {
    Instruction::ShredDataset { name: "rlhf".parse().unwrap(), note: None }
}

/// Reads `math/small` by the vendor after something happened.
pub(crate) fn after(story: &mut Story, instruction: Instruction) {
    story.ledger.order(instruction);
    released(story);
}

/// Reads `math/small` under a grant with these limits or terms.
pub(crate) fn under(
    story: &mut Story,
    limits: Limits,
    change: impl FnOnce(&mut strongroom_core::grant::Terms),
) -> strongroom_core::ids::GrantId {
    let scope: [(&[Action], &str, &str); 1] = [(&[Action::Read], "rlhf", "math/")];
    let mut terms = story.ledger.terms(Holder::Vendor(story.vendor), &scope, limits);
    change(&mut terms);
    let grant = story.ledger.grant(terms);
    let mut ask = story.ledger.ask_get(&story.worker, Some(grant), &["math/small"]);
    story.ledger.release(&mut ask, vec![story.small.whole(0)]);
    grant
}

/// That the vendor's key is blocked, or no longer.
pub(crate) fn block(story: &Story) -> Instruction {
    Instruction::BlockKey { key: story.key.fingerprint(), note: None }
}

pub(crate) fn unblock(story: &Story) -> Instruction {
    Instruction::UnblockKey { key: story.key.fingerprint(), note: None }
}

/// A grant to another key that the vendor's key passed on, and that key.
pub(crate) fn passed_on(story: &mut Story) -> (strongroom_core::ids::GrantId, strongroom_core::identity::Identity) {
    let scope: [(&[Action], &str, &str); 1] = [(&[Action::Read], "rlhf", "math/")];
    let mut terms = story.ledger.terms(Holder::Vendor(story.vendor), &scope, Limits::default());
    terms.delegable = true;
    let parent = story.ledger.grant(terms.clone());
    let key = crate::builder::identity();
    (terms.parent, terms.holder) = (Some(parent), Holder::Key(key.fingerprint()));
    let signed = story.ledger.sign_by(&story.key, Instruction::IssueGrant(terms));
    let grant = story.ledger.order_entry(signed).into();
    last(story).entry.grants = vec![grant, parent];
    (grant, key)
}

/// Issues a grant with these limits.
pub(crate) fn under_issued(story: &mut Story, limits: Limits) {
    let terms = story.ledger.terms(Holder::Vendor(story.vendor), &[(&[Action::Read], "rlhf", "math/")], limits);
    story.ledger.grant(terms);
}

/// Renews the story's grant to read, so many milliseconds from now.
pub(crate) fn renewed(story: &mut Story, life: u64) {
    let expires = strongroom_core::ids::Millis(story.ledger.now + life);
    story.ledger.order(Instruction::RenewGrant { grant: story.read, expires });
}

/// The log's key `from` is followed by `to`, as the entry of an order of the admin says; `change` makes something of it.
pub(crate) fn rotated_log(story: &mut Story, version: u32, from: u8, to: u8, change: impl FnOnce(&mut LogKeyChange)) {
    let key = |seed: u8| SigningKey::from_seed(Key::from_bytes([seed; 32])).unwrap();
    let mut signed = LogKeyChange::sign(&story.ledger.origin, &key(from), key(to).public_key());
    change(&mut signed);
    story.ledger.order(Instruction::RotateLogKey { version });
    last(story).entry.log_key = Some(signed);
}

/// Every rule but those about bytes, broken by changing what is signed, hashed or counted.
fn cases() -> impl Iterator<Item = &'static Case> {
    [broken_entries::CASES, broken_reads::CASES, broken_writes::CASES].into_iter().flatten()
}

#[test]
fn each_rule_is_found_broken_where_it_is() {
    for (rule, what, breaks) in cases() {
        let mut story = Story::new();
        breaks(&mut story);
        let finding = match story.ledger.replay() {
            Err(finding) => finding,
            Ok(_) => panic!("{what}: accepted"),
        };
        let last = story.ledger.records.len() as u64 - 1;
        assert_eq!((finding.rule, finding.index), (*rule, Index(last)), "{what}: {finding}");
    }
}

/// Replays a story whose last entry's bytes are changed.
#[track_caller]
fn bytes_break(rule: Rule, change: impl FnOnce(&mut Vec<u8>, &mut Vec<u8>)) {
    let mut story = Story::new();
    released(&mut story);
    let mut bytes = story.ledger.bytes();
    let (public, private) = bytes.last_mut().unwrap();
    change(public, private);
    let finding = replay(&story.ledger.origin, &bytes).expect_err("a broken ledger");
    assert_eq!((finding.rule, finding.index.0), (rule, bytes.len() as u64 - 1), "{finding}");
}

fn with(bytes: &mut Vec<u8>, from: &str, to: &str) {
    let text = String::from_utf8(bytes.clone()).unwrap();
    assert!(text.contains(from), "{text}");
    *bytes = text.replacen(from, to, 1).into_bytes();
}

const BYTES: [Rule; 4] = [Rule::Exact, Rule::Length, Rule::EventKnown, Rule::PrivateHash];

#[test]
fn bytes_are_exact() {
    bytes_break(Rule::Exact, |public, _| public.push(b' '));
    bytes_break(Rule::Exact, |public, _| with(public, "{", "{ "));
    bytes_break(Rule::Exact, |public, _| with(public, "\"count\":1", "\"count\":1.0"));
    bytes_break(Rule::Exact, |public, _| with(public, "\"count\":1", "\"count\":1,\"more\":1"));
    bytes_break(Rule::Exact, |public, _| with(public, "\"outcome\"", "\"outcom\""));
    bytes_break(Rule::Exact, |public, _| with(public, "\"done\"", "\"Done\""));
    bytes_break(Rule::Exact, |public, _| public.truncate(100));
    bytes_break(Rule::Exact, |public, _| public.clear());
    bytes_break(Rule::Length, |public, _| public.resize(61 * 1024, b' '));
    bytes_break(Rule::EventKnown, |public, _| with(public, "\"release\"", "\"canary.tripped\""));
    bytes_break(Rule::PrivateHash, |_, private| with(private, "192.0.2.7", "192.0.2.8"));
    bytes_break(Rule::PrivateHash, |_, private| private.clear());
    bytes_break(Rule::PrivateExact, |public, private| {
        private.push(b'\n');
        let text = Entry::from_bytes(public).unwrap().private.to_string();
        with(public, &text, &Private::hash(private).to_string());
    });
}

#[test]
fn every_rule_has_a_case() {
    let tried: BTreeSet<_> = cases().map(|case| case.0).chain(BYTES).collect();
    let all: BTreeSet<_> = Rule::ALL.iter().copied().collect();
    assert_eq!(all.difference(&tried).collect::<Vec<_>>(), Vec::<&Rule>::new());
}

#[test]
fn after_a_finding_nothing_is_proven() {
    let mut story = Story::new();
    let honest = story.ledger.bytes();
    released(&mut story);
    last(&mut story).entry.objects[0].5 += 1;
    let mut replay = strongroom_core::ledger::replay::Replay::new(story.ledger.origin.clone());
    let mut first = None;
    for (public, private) in story.ledger.bytes() {
        first = replay.feed(&public, Some(&private)).err();
    }
    let first = first.unwrap();
    assert_eq!(replay.feed(&honest[0].0, None), Err(first.clone()));
    assert_eq!(replay.size(), Index(honest.len() as u64));
    assert_eq!(replay.finish(), Err(first));
}

#[test]
fn a_scope_of_many_actions_is_not_a_wider_one() {
    let mut story = Story::new();
    let l = &mut story.ledger;
    let scope = Scope {
        actions: vec![Action::Read, Action::Read],
        dataset: "rlhf".parse().unwrap(),
        part: strongroom_core::grant::Part::Prefix("math/".parse().unwrap()),
    };
    let mut terms = l.terms(Holder::Vendor(story.vendor), &[], Limits::default());
    terms.scopes = vec![scope];
    let signed = l.sign_by_admin(Instruction::IssueGrant(terms));
    assert!(signed.verify().is_err());
}
