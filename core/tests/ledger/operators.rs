//! The operators' own ledger: which keys are blocked on the whole server.

use strongroom_core::ed25519::SigningKey;
use strongroom_core::grant::{Action, Holder, Limits};
use strongroom_core::identity::Identity;
use strongroom_core::ids::{TenantId, VaultId};
use strongroom_core::keys::secret::Key;
use strongroom_core::ledger::Role;
use strongroom_core::ledger::log_keys::LogKeyChange;
use strongroom_core::ledger::replay::Rule;
use strongroom_core::names::TenantName;
use strongroom_core::order::Instruction;
use strongroom_core::origin::Origin;

use crate::builder::{Ledger, MINUTE, identity};
use crate::rules::{block, released, unblock};
use crate::story::Story;

/// A ledger with the origin of the operators', and one of them.
fn operators() -> (Ledger, Identity) {
    let vault = VaultId::from_bytes([1; 16]);
    let origin = Origin::new("test.vault", vault, TenantId::of_operators(&vault)).unwrap();
    assert!(origin.is_operators());
    let mut ledger = Ledger::new();
    assert!(!ledger.origin.is_operators());
    ledger.origin = origin;
    ledger.records.clear();
    let operator = Identity::from_pem(&ledger.operator.to_pem()).unwrap();
    let name = TenantName::of_operators(&vault);
    let create = Instruction::CreateTenant { name, admins: vec![operator.fingerprint()] };
    let signed = ledger.sign_by(&operator, create);
    ledger.order_entry(signed);
    (ledger, operator)
}

fn order(ledger: &mut Ledger, by: &Identity, instruction: Instruction) {
    let signed = ledger.sign_by(by, instruction);
    ledger.order_entry(signed);
}

/// An order of a key for the log, with what its entry says of it.
fn rotate_log(ledger: &mut Ledger, by: &Identity, version: u32, from: u8, to: u8) {
    let key = |seed: u8| SigningKey::from_seed(Key::from_bytes([seed; 32])).unwrap();
    let change = LogKeyChange::sign(&ledger.origin, &key(from), key(to).public_key());
    order(ledger, by, Instruction::RotateLogKey { version });
    ledger.records.last_mut().unwrap().entry.log_key = Some(change);
}

#[test]
fn keys_are_blocked_and_let_go_on() {
    let (mut ledger, operator) = operators();
    let (one, two) = (identity().fingerprint(), identity().fingerprint());
    order(&mut ledger, &operator, Instruction::BlockKey { key: one, note: Some("seen on a forum".into()) });
    order(&mut ledger, &operator, Instruction::BlockKey { key: two, note: None });
    order(&mut ledger, &operator, Instruction::UnblockKey { key: one, note: None });
    // Another operator: who is one stands in the server's configuration.
    let second = identity();
    ledger.roles.insert(second.fingerprint(), Role::Operator);
    order(&mut ledger, &second, Instruction::BlockKey { key: one, note: None });
    order(&mut ledger, &second, Instruction::UnblockKey { key: two, note: None });
    let replay = ledger.accepted();
    let blocked: Vec<_> = replay.authority().blocked().iter().map(|(key, index)| (*key, index.0)).collect();
    assert_eq!(blocked, [(one, 4)]);
    assert_eq!(replay.head().epoch, 3);
}

#[test]
fn operators_rotate_the_key_of_their_own_log() {
    let (mut ledger, operator) = operators();
    rotate_log(&mut ledger, &operator, 2, 1, 2);
    let second = identity();
    ledger.roles.insert(second.fingerprint(), Role::Operator);
    rotate_log(&mut ledger, &second, 3, 2, 3);
    let replay = ledger.accepted();
    assert_eq!(replay.log_keys().iter().map(|(index, _)| index.0).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(replay.authority().log_key_version(), 3);
}

#[test]
fn what_breaks_it_is_found() {
    let key = identity().fingerprint();
    let block = || Instruction::BlockKey { key, note: None };
    type Breaks<'a> = &'a dyn Fn(&mut Ledger, &Identity);
    let cases: [(Rule, &str, Breaks<'_>); 9] = [
        (Rule::OrderAllowed, "a key blocked twice", &|ledger, by| {
            order(ledger, by, block());
            order(ledger, by, block());
        }),
        (Rule::OrderAllowed, "a key that was not blocked", &|ledger, by| {
            order(ledger, by, Instruction::UnblockKey { key, note: None });
        }),
        (Rule::OrderAllowed, "a dataset among the operators", &|ledger, by| {
            order(ledger, by, Instruction::CreateDataset { name: "rlhf".parse().unwrap() });
        }),
        (Rule::Actor, "a block by somebody in another role", &|ledger, by| {
            order(ledger, by, block());
            ledger.records.last_mut().unwrap().entry.actor.role = Role::Admin;
        }),
        (Rule::OrderAllowed, "a key of the log that is not the next", &|ledger, by| {
            rotate_log(ledger, by, 3, 1, 2);
        }),
        (Rule::Actor, "a key of the log by an admin, and not an operator", &|ledger, by| {
            rotate_log(ledger, by, 2, 1, 2);
            ledger.records.last_mut().unwrap().entry.actor.role = Role::Admin;
        }),
        (Rule::LogKey, "a key of the log in the place of another than the last", &|ledger, by| {
            rotate_log(ledger, by, 2, 1, 2);
            rotate_log(ledger, by, 3, 1, 3);
        }),
        (Rule::OrderAllowed, "a key of data among the operators", &|ledger, by| {
            order(ledger, by, Instruction::RotateKey { version: 2 });
        }),
        (Rule::OrderLedger, "a block of another vault", &|ledger, by| {
            let vault = VaultId::from_bytes([2; 16]);
            let own = std::mem::replace(
                &mut ledger.origin,
                Origin::new("test.vault", vault, TenantId::of_operators(&vault)).unwrap(),
            );
            order(ledger, by, block());
            ledger.origin = own;
        }),
    ];
    for (rule, what, breaks) in cases {
        let (mut ledger, operator) = operators();
        breaks(&mut ledger, &operator);
        let finding = ledger.replay().expect_err(what);
        assert_eq!((finding.rule, finding.index.0), (rule, ledger.records.len() as u64 - 1), "{what}: {finding}");
    }
}

/// A tenant's ledger notes what operators order about keys that it knows: late, if nothing was recorded in it meanwhile.
#[test]
fn a_tenant_notes_what_is_blocked() {
    let mut story = Story::new();
    let others = identity().fingerprint();
    released(&mut story);
    let (taken, given_back) = (block(&story), unblock(&story));
    let ordered = story.ledger.sign_elsewhere(taken.clone());
    story.ledger.wait(60 * 24 * 60 * MINUTE);
    story.ledger.order_entry(ordered);
    story.ledger.note(Instruction::BlockKey { key: others, note: Some("a key of many".into()) });
    assert_eq!(story.ledger.accepted().authority().blocked().iter().count(), 2);
    let mut ask = story.ledger.ask_get(&story.worker, Some(story.read), &["math/small"]);
    story.ledger.denied(&mut ask, strongroom_core::reason::Reason::KeyBlocked);
    story.ledger.note(given_back);
    // The grants of that day are over; a new one is used by the key that is free again.
    let scope: [(&[Action], &str, &str); 1] = [(&[Action::Read], "rlhf", "math/")];
    let terms = story.ledger.terms(Holder::Vendor(story.vendor), &scope, Limits::default());
    story.read = story.ledger.grant(terms);
    released(&mut story);
    story.ledger.note(taken);
    let replay = story.ledger.accepted();
    let blocked: Vec<_> = replay.authority().blocked().iter().map(|(key, _)| *key).collect();
    assert_eq!(blocked.len(), 2);
    assert!(blocked.contains(&others) && blocked.contains(&story.key.fingerprint()));
    assert_eq!(replay.head().epoch, replay.authority().epoch());
    // What is news to it is what its own ledger does not say yet.
    let (mut own, operator) = operators();
    for (key, ends) in [(others, true), (story.key.fingerprint(), false), (operator.fingerprint(), true)] {
        order(&mut own, &operator, Instruction::BlockKey { key, note: None });
        if ends {
            order(&mut own, &operator, Instruction::UnblockKey { key, note: None });
        }
    }
    let own = own.accepted();
    let news: Vec<_> = own.authority().blocked().news(replay.authority().blocked()).map(|(key, _)| *key).collect();
    assert_eq!(news, [others], "blocked here and no longer there; the other two stand alike in both");
}
