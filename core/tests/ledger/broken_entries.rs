//! Form, actors, orders, sessions and denials, broken.

use strongroom_core::ed25519::SigningKey;
use strongroom_core::grant::{Action, Holder, Limits};
use strongroom_core::identity::Identity;
use strongroom_core::ids::{
    GrantId, IncidentId, Index, Millis, OrderId, RequestId, SessionId, TenantId, VaultId, VendorId,
};
use strongroom_core::keys::secret::Key;
use strongroom_core::ledger::log_keys::LogKeyChange;
use strongroom_core::ledger::replay::Rule;
use strongroom_core::ledger::{Entry, Event, Outcome, Private, Role};
use strongroom_core::order::Instruction;
use strongroom_core::origin::Origin;
use strongroom_core::reason::Reason;

use crate::builder::{MINUTE, identity};
use crate::rules::*;
use crate::story::Story;

pub(crate) const CASES: &[Case] = &[
    (Rule::IndexGapless, "an index left out", |s| {
        released(s);
        last(s).entry.index.0 += 1;
    }),
    (Rule::TimeForward, "time goes back", |s| {
        released(s);
        last(s).entry.time.0 -= MINUTE;
    }),
    (Rule::PrivateExact, "a short salt", |s| {
        released(s);
        last(s).private.salt.pop();
    }),
    (Rule::Form, "a release of nothing", |s| {
        released(s);
        last(s).entry.objects.clear();
    }),
    (Rule::Form, "a release that stands for two", |s| {
        released(s);
        last(s).entry.count = 2;
    }),
    (Rule::Form, "a release without its session", |s| {
        released(s);
        last(s).entry.session = None;
    }),
    (Rule::Form, "a release with an order", |s| {
        released(s);
        last(s).entry.order = Some(OrderId::from_bytes([1; 32]));
    }),
    (Rule::Form, "an order with objects", |s| {
        let part = s.small.whole(0);
        order_with(s, |record| record.entry.objects.push(part));
    }),
    (Rule::Form, "a denial of a call and an order", |s| {
        let mut ask = s.ledger.ask_get(&s.worker, None, &["math/small"]);
        s.ledger.denied(&mut ask, Reason::OutOfScope);
        last(s).entry.order = Some(OrderId::from_bytes([1; 32]));
    }),
    (Rule::Form, "a denial of no request", |s| {
        let mut ask = s.ledger.ask_get(&s.worker, None, &["math/small"]);
        s.ledger.denied(&mut ask, Reason::OutOfScope);
        last(s).entry.count = 0;
    }),
    (Rule::PrivateForm, "an opening beside a call", |s| {
        released(s);
        let key = Identity::from_pem(&s.key.to_pem()).unwrap();
        last(s).private.opening = Some(s.ledger.opening(&key, "acme").1);
    }),
    (Rule::FirstEntry, "a second tenant", |s| {
        let first = s.ledger.records[0].clone();
        let entry = Entry { index: s.ledger.next_index(), time: Millis(s.ledger.now), ..first.entry };
        s.ledger.push(entry, first.private);
    }),
    (Rule::FirstEntry, "a ledger that begins otherwise", |s| {
        s.ledger.records.remove(0);
        s.ledger.records.truncate(1);
        last(s).entry.index = Index(0);
    }),
    (Rule::Actor, "somebody else's call", |s| {
        released(s);
        let admin = s.ledger.admin.fingerprint();
        last(s).entry.actor.key = admin;
    }),
    (Rule::Actor, "a vendor in an admin's role", |s| {
        released(s);
        last(s).entry.actor.role = Role::Admin;
    }),
    (Rule::Actor, "an order that another gave", |s| {
        let key = s.key.fingerprint();
        order_with(s, |record| record.entry.actor.key = key);
    }),
    (Rule::Actor, "a tenant created by no operator", |s| {
        s.ledger.records.truncate(1);
        last(s).entry.actor.role = Role::Admin;
    }),
    (Rule::Actor, "an opening by another key", |s| {
        let admin = s.ledger.admin.fingerprint();
        s.ledger.open(&s.key);
        last(s).entry.actor.key = admin;
    }),
    (Rule::Chain, "charged to nobody", |s| {
        released(s);
        last(s).entry.grants.clear();
    }),
    (Rule::Chain, "charged to another grant too", |s| {
        released(s);
        let write = s.write;
        last(s).entry.grants.push(write);
    }),
    (Rule::Chain, "another grant than the order's", |s| {
        let terms = s.ledger.terms(Holder::Vendor(s.vendor), &[(&[Action::Read], "rlhf", "")], Limits::default());
        s.ledger.grant(terms);
        let read = s.read;
        last(s).entry.grants = vec![read];
    }),
    (Rule::RequestId, "another request id than the call's", |s| {
        released(s);
        last(s).entry.request = Some(RequestId::from_bytes([5; 16]));
    }),
    (Rule::Form, "no request id", |s| {
        released(s);
        last(s).entry.request = None;
    }),
    (Rule::RequestId, "another request id than the order's", |s| {
        order_with(s, |record| record.entry.request = Some(RequestId::from_bytes([5; 16])));
    }),
    (Rule::OrderMissing, "an order without its words", |s| order_with(s, |record| record.private.order = None)),
    (Rule::OrderForm, "an order without a signature", |s| {
        order_with(s, |record| record.private.order.as_mut().unwrap().signatures.clear());
    }),
    (Rule::OrderForm, "one signature twice", |s| {
        order_with(s, |record| {
            let signatures = &mut record.private.order.as_mut().unwrap().signatures;
            signatures.push(signatures[0].clone());
        });
    }),
    (Rule::OrderSignature, "an order changed after it was signed", |s| {
        order_with(s, |record| record.private.order.as_mut().unwrap().order.not_after.0 += 1);
    }),
    (Rule::OrderSignature, "an order with another's signature", |s| {
        let other = s.ledger.records[1].private.order.clone().unwrap().signatures;
        order_with(s, |record| record.private.order.as_mut().unwrap().signatures = other);
    }),
    (Rule::OrderSignature, "one signature holds and one does not", |s| {
        let mut more = s.ledger.sign_by(&identity(), Instruction::AddAdmin { key: s.key.fingerprint() }).signatures;
        order_with(s, |record| record.private.order.as_mut().unwrap().signatures.append(&mut more));
    }),
    (Rule::OrderId, "another order's id", |s| {
        order_with(s, |record| record.entry.order = Some(OrderId::from_bytes([5; 32])));
    }),
    (Rule::OrderEvent, "another event than the order's", |s| {
        order_with(s, |record| record.entry.event = Event::DatasetDeleted);
    }),
    (Rule::OrderOnce, "an order entered again", |s| {
        s.ledger.order(Instruction::SuspendVendor { vendor: s.vendor, note: None });
        let suspended = last(s).clone();
        s.ledger.order(Instruction::ResumeVendor { vendor: s.vendor, note: None });
        let entry = Entry { index: s.ledger.next_index(), time: Millis(s.ledger.now), ..suspended.entry };
        s.ledger.push(entry, suspended.private);
    }),
    (Rule::OrderLedger, "an order for another ledger", |s| {
        let own = s.ledger.origin.clone();
        s.ledger.origin =
            Origin::new("test.vault", VaultId::from_bytes([1; 16]), TenantId::from_bytes([3; 16])).unwrap();
        s.ledger.dataset("other");
        s.ledger.origin = own;
    }),
    (Rule::OrderInTime, "an order held back", |s| {
        let signed = s.ledger.sign_by_admin(Instruction::CreateDataset { name: "other".parse().unwrap() });
        s.ledger.wait(5 * MINUTE + 1);
        s.ledger.order_entry(signed);
    }),
    (Rule::OrderAllowed, "an order of a vendor", |s| {
        let signed = s.ledger.sign_by(&s.key, Instruction::AddAdmin { key: s.key.fingerprint() });
        s.ledger.order_entry(signed);
    }),
    (Rule::OrderAllowed, "an order in an incident that nobody opened", |s| {
        let signed = by_admin_in(s, IncidentId::from_bytes([7; 16]));
        s.ledger.order_entry(signed);
    }),
    (Rule::OrderAllowed, "an order of a vendor that names an incident", |s| {
        let incident = s.ledger.order(opened(s.vendor)).into();
        let stop = Instruction::SuspendVendor { vendor: s.vendor, note: None };
        let signed = s.ledger.sign_in(&s.key, stop, incident);
        s.ledger.order_entry(signed);
    }),
    (Rule::OrderAllowed, "an incident opened by a vendor", |s| {
        let signed = s.ledger.sign_by(&s.key, opened(s.vendor));
        s.ledger.order_entry(signed);
    }),
    (Rule::OrderAllowed, "an incident about a vendor that is not there", |s| {
        s.ledger.order(opened(VendorId::from_bytes([7; 16])));
    }),
    (Rule::OrderAllowed, "an incident closed twice", |s| {
        let incident = s.ledger.order(opened(s.vendor)).into();
        s.ledger.order(Instruction::CloseIncident { incident, note: None });
        s.ledger.order(Instruction::CloseIncident { incident, note: None });
    }),
    (Rule::OrderAllowed, "an order of a removed admin", |s| {
        let second = identity();
        s.ledger.order(Instruction::AddAdmin { key: second.fingerprint() });
        s.ledger.order(Instruction::RemoveAdmin { key: second.fingerprint() });
        let signed = s.ledger.sign_by(&second, Instruction::CreateDataset { name: "other".parse().unwrap() });
        s.ledger.order_entry(signed);
    }),
    (Rule::OrderAllowed, "a dataset made twice", |s| s.ledger.dataset("rlhf")),
    (Rule::RotationDue, "a rotation by the vault before it was due", |s| {
        let order = s.ledger.order(every(Some(3_600_000), s.ledger.now + 60_000));
        s.ledger.rotation_due(order);
    }),
    (Rule::RotationDue, "a rotation by the vault that nobody ordered", |s| {
        s.ledger.rotation_due(strongroom_core::ids::OrderId::from_bytes([7; 32]));
    }),
    (Rule::RotationDue, "two rotations by the vault for one time", |s| {
        let order = s.ledger.order(every(Some(3_600_000), s.ledger.now));
        s.ledger.rotation_due(order);
        s.ledger.rotation_due(order);
    }),
    (Rule::RotationDue, "a rotation by the vault after that was ended", |s| {
        let order = s.ledger.order(every(Some(3_600_000), s.ledger.now));
        s.ledger.order(every(None, 0));
        s.ledger.rotation_due(order);
    }),
    (Rule::Actor, "a rotation by the vault in somebody else's name", |s| {
        let order = s.ledger.order(every(Some(3_600_000), s.ledger.now));
        s.ledger.rotation_due(order);
        last(s).entry.actor.key = identity().fingerprint();
    }),
    (Rule::OrderAllowed, "an escrow set by a vendor", |s| {
        let signed = s.ledger.sign_by(&s.key, escrow(&["age1aaaaaaa"]));
        s.ledger.order_entry(signed);
    }),
    (Rule::OrderAllowed, "an escrow set to what it is", |s| {
        s.ledger.order(escrow(&["age1aaaaaaa"]));
        s.ledger.order(escrow(&["age1aaaaaaa"]));
    }),
    (Rule::OrderAllowed, "a dataset shredded twice", |s| {
        s.ledger.order(shred_dataset());
        s.ledger.order(shred_dataset());
    }),
    (Rule::OrderAllowed, "a folder shredded in a dataset that is no more", |s| {
        s.ledger.order(shred_dataset());
        s.ledger.order(shred("math/"));
    }),
    (Rule::OrderAllowed, "a folder shredded by a vendor", |s| {
        let signed = s.ledger.sign_by(&s.key, shred("math/"));
        s.ledger.order_entry(signed);
    }),
    (Rule::OrderAllowed, "a folder shredded in a frozen dataset", |s| {
        s.ledger.order(frozen_dataset());
        s.ledger.order(shred("math/"));
    }),
    (Rule::OrderAllowed, "a tenant shredded in which a dataset is frozen", |s| {
        s.ledger.order(frozen_dataset());
        s.ledger.order(Instruction::ShredTenant { note: None });
    }),
    (Rule::OrderAllowed, "a key rotated after all keys were shredded", |s| {
        s.ledger.order(Instruction::ShredTenant { note: None });
        s.ledger.order(Instruction::RotateKey { version: 2 });
    }),
    (Rule::OrderAllowed, "a dataset frozen twice", |s| {
        s.ledger.order(frozen_dataset());
        s.ledger.order(frozen_dataset());
    }),
    (Rule::OrderAllowed, "a dataset frozen by a vendor", |s| {
        let signed = s.ledger.sign_by(&s.key, frozen_dataset());
        s.ledger.order_entry(signed);
    }),
    (Rule::OrderAllowed, "a dataset unfrozen that was not frozen", |s| {
        s.ledger.order(Instruction::UnfreezeDataset { name: "rlhf".parse().unwrap(), note: None });
    }),
    (Rule::OrderAllowed, "a frozen dataset deleted", |s| {
        s.ledger.order(frozen_dataset());
        s.ledger.order(Instruction::DeleteDataset { name: "rlhf".parse().unwrap() });
    }),
    (Rule::OrderAllowed, "a dataset of a frozen tenant deleted", |s| {
        s.ledger.order(Instruction::FreezeTenant { note: None });
        s.ledger.order(Instruction::DeleteDataset { name: "rlhf".parse().unwrap() });
    }),
    (Rule::OrderAllowed, "a tenant unfrozen by a vendor", |s| {
        s.ledger.order(Instruction::FreezeTenant { note: None });
        let signed = s.ledger.sign_by(&s.key, Instruction::UnfreezeTenant { note: None });
        s.ledger.order_entry(signed);
    }),
    (Rule::OrderAllowed, "a grant delegated in a frozen tenant", |s| {
        let scope: [(&[Action], &str, &str); 1] = [(&[Action::Read], "rlhf", "math/")];
        let mut terms = s.ledger.terms(Holder::Vendor(s.vendor), &scope, Limits::default());
        terms.delegable = true;
        let parent = s.ledger.grant(terms.clone());
        s.ledger.order(Instruction::FreezeTenant { note: None });
        (terms.parent, terms.holder) = (Some(parent), Holder::Key(identity().fingerprint()));
        let signed = s.ledger.sign_by(&s.key, Instruction::IssueGrant(terms));
        s.ledger.order_entry(signed);
    }),
    (Rule::OrderAllowed, "a vendor suspended by another's key", |s| {
        let other = identity();
        s.ledger.vendor("other", &[&other]);
        let signed = s.ledger.sign_by(&other, Instruction::SuspendVendor { vendor: s.vendor, note: None });
        s.ledger.order_entry(signed);
    }),
    (Rule::OrderAllowed, "a vendor that stops itself twice", |s| {
        for _ in 0..2 {
            let signed = s.ledger.sign_by(&s.key, Instruction::SuspendVendor { vendor: s.vendor, note: None });
            s.ledger.order_entry(signed);
        }
    }),
    (Rule::OrderAllowed, "a vendor that stops itself by a revoked key", |s| {
        s.ledger.order(Instruction::RevokeKey { vendor: s.vendor, key: s.key.fingerprint() });
        let signed = s.ledger.sign_by(&s.key, Instruction::SuspendVendor { vendor: s.vendor, note: None });
        s.ledger.order_entry(signed);
    }),
    (Rule::OrderAllowed, "a vendor that resumes itself", |s| {
        let signed = s.ledger.sign_by(&s.key, Instruction::SuspendVendor { vendor: s.vendor, note: None });
        s.ledger.order_entry(signed);
        let signed = s.ledger.sign_by(&s.key, Instruction::ResumeVendor { vendor: s.vendor, note: None });
        s.ledger.order_entry(signed);
    }),
    (Rule::OrderLedger, "a key blocked in a tenant's ledger", |s| {
        let operator = Identity::from_pem(&s.ledger.operator.to_pem()).unwrap();
        let signed = s.ledger.sign_by(&operator, block(s));
        s.ledger.order_entry(signed);
    }),
    (Rule::OrderLedger, "a note of another vault's operators", |s| {
        let vault = VaultId::from_bytes([9; 16]);
        let other = Origin::new("test.vault", vault, TenantId::of_operators(&vault)).unwrap();
        let own = std::mem::replace(&mut s.ledger.origin, other);
        s.ledger.note(block(s));
        s.ledger.origin = own;
    }),
    (Rule::OrderAllowed, "a note of a key that is blocked already", |s| {
        s.ledger.note(block(s));
        s.ledger.note(block(s));
    }),
    (Rule::OrderAllowed, "a note that gives back what was not taken", |s| {
        s.ledger.note(unblock(s));
    }),
    (Rule::OrderOnce, "a note that gives back again", |s| {
        s.ledger.note(block(s));
        let given_back = s.ledger.note(unblock(s));
        s.ledger.note(block(s));
        s.ledger.order_entry(given_back);
    }),
    (Rule::Actor, "a note by an admin", |s| {
        s.ledger.note(block(s));
        last(s).entry.actor.role = Role::Admin;
    }),
    (Rule::Chain, "a note about a grant", |s| {
        s.ledger.note(block(s));
        last(s).entry.grants = vec![s.read];
    }),
    (Rule::OrderSignature, "a note that no operator signed", |s| {
        s.ledger.note(block(s));
        let record = last(s);
        record.private.order.as_mut().unwrap().signatures[0].signature.0[40] ^= 1;
    }),
    (Rule::OrderAllowed, "an order of a blocked admin", |s| {
        let (key, admin) = (s.ledger.admin.fingerprint(), identity());
        s.ledger.order(Instruction::AddAdmin { key: admin.fingerprint() });
        s.ledger.note(Instruction::BlockKey { key, note: None });
        s.ledger.dataset("other");
    }),
    (Rule::OrderAllowed, "a blocked key passes its grant on", |s| {
        s.ledger.note(block(s));
        passed_on(s);
    }),
    (Rule::OrderAllowed, "a grant of a blocked key is passed on further", |s| {
        let (parent, key) = passed_on(s);
        s.ledger.note(block(s));
        let mut terms = s.ledger.terms(Holder::Key(identity().fingerprint()), &[], Limits::default());
        terms.parent = Some(parent);
        terms.scopes = vec![strongroom_core::grant::Scope {
            actions: vec![Action::Read],
            dataset: "rlhf".parse().unwrap(),
            part: strongroom_core::grant::Part::Prefix("math/".parse().unwrap()),
        }];
        let signed = s.ledger.sign_by(&key, Instruction::IssueGrant(terms));
        s.ledger.order_entry(signed);
    }),
    (Rule::OrderAllowed, "a grant for too long", |s| {
        let mut terms = s.ledger.terms(Holder::Vendor(s.vendor), &[(&[Action::Read], "rlhf", "")], Limits::default());
        terms.expires.0 += 24 * 60 * MINUTE;
        s.ledger.grant(terms);
    }),
    (Rule::OrderAllowed, "a grant that nobody issued is revoked", |s| {
        s.ledger.order(Instruction::RevokeGrant { grant: GrantId::from_bytes([5; 16]), note: None });
    }),
    (Rule::OpeningMissing, "a session without its opening", |s| {
        s.ledger.open(&s.key);
        last(s).private.opening = None;
    }),
    (Rule::OpeningSignature, "an opening changed after it was signed", |s| {
        s.ledger.open(&s.key);
        last(s).private.opening.as_mut().unwrap().opening.recipient.push('x');
    }),
    (Rule::OpeningSignature, "an opening shown by another key", |s| {
        s.ledger.open(&s.key);
        let admin = s.ledger.admin.public_key();
        last(s).private.opening.as_mut().unwrap().key = admin;
    }),
    (Rule::OpeningOnce, "an opening entered again", |s| {
        s.ledger.open(&s.key);
        let again = last(s).clone();
        let entry = Entry { index: s.ledger.next_index(), time: Millis(s.ledger.now), ..again.entry };
        s.ledger.push(entry, again.private);
    }),
    (Rule::SessionIdFits, "another session's id", |s| {
        s.ledger.open(&s.key);
        last(s).entry.session = Some(SessionId::from_bytes([5; 32]));
    }),
    (Rule::OpeningTenant, "an opening for another tenant", |s| {
        let (_, opening) = s.ledger.opening(&s.key, "other");
        s.ledger.open_entry(opening);
    }),
    (Rule::SessionOpen, "a call in a session that nobody opened", |s| {
        released(s);
        last(s).entry.session = Some(SessionId::from_bytes([5; 32]));
    }),
    (Rule::DenialReason, "a release with a reason", |s| {
        released(s);
        last(s).entry.reason = Some(Reason::OutOfScope);
    }),
    (Rule::DenialReason, "a release that was denied", |s| {
        released(s);
        last(s).entry.outcome = Outcome::Denied;
    }),
    (Rule::DenialReason, "a denial without a reason", |s| {
        let mut ask = s.ledger.ask_get(&s.worker, None, &["math/small"]);
        s.ledger.denied(&mut ask, Reason::OutOfScope);
        last(s).entry.reason = None;
    }),
    (Rule::Actor, "a denial of somebody in another's role", |s| {
        let mut entry = s.ledger.blank(Event::Denied, s.key.fingerprint());
        (entry.outcome, entry.reason, entry.actor.role) = (Outcome::Denied, Some(Reason::OutOfScope), Role::Admin);
        s.ledger.push(entry, Private::default());
    }),
    (Rule::Chain, "a denial under another grant than was named", |s| {
        let mut ask = s.ledger.ask_get(&s.worker, Some(s.read), &["math/small"]);
        s.ledger.denied(&mut ask, Reason::OutOfScope);
        let write = s.write;
        last(s).entry.grants = vec![write];
    }),
    (Rule::LogKey, "a log key that the one before did not sign", |s| {
        rotated_log(s, 2, 1, 2, |change| change.signature.0[5] ^= 1);
    }),
    (Rule::LogKey, "a log key in the place of another than the last", |s| {
        rotated_log(s, 2, 1, 2, |_| ());
        rotated_log(s, 3, 1, 3, |_| ());
    }),
    (Rule::LogKey, "a log key of another ledger", |s| {
        let other = Origin::new("other", VaultId::from_bytes([1; 16]), TenantId::from_bytes([2; 16])).unwrap();
        rotated_log(s, 2, 1, 2, |change| {
            let key = |seed: u8| SigningKey::from_seed(Key::from_bytes([seed; 32])).unwrap();
            *change = LogKeyChange::sign(&other, &key(1), key(2).public_key());
        });
    }),
    (Rule::Form, "a log's rotation without its key", |s| {
        rotated_log(s, 2, 1, 2, |_| ());
        last(s).entry.log_key = None;
    }),
    (Rule::Form, "a log key with another event", |s| {
        rotated_log(s, 2, 1, 2, |_| ());
        let change = last(s).entry.log_key;
        released(s);
        last(s).entry.log_key = change;
    }),
    (Rule::OrderAllowed, "a version of the log's key left out", |s| rotated_log(s, 3, 1, 2, |_| ())),
    (Rule::OrderId, "a denial of another order", |s| {
        let signed = s.ledger.sign_by(&s.key, Instruction::AddAdmin { key: s.key.fingerprint() });
        let mut entry = s.ledger.blank(Event::Denied, s.key.fingerprint());
        (entry.outcome, entry.reason) = (Outcome::Denied, Some(Reason::OutOfScope));
        entry.order = Some(OrderId::from_bytes([5; 32]));
        s.ledger.push(entry, Private { order: Some(signed), ..Private::default() });
    }),
];

fn opened(vendor: VendorId) -> Instruction {
    Instruction::OpenIncident { vendor, since: None, note: None }
}

/// A suspension that belongs to an incident.
fn by_admin_in(s: &mut Story, incident: IncidentId) -> strongroom_core::order::SignedOrder {
    let admin = strongroom_core::identity::Identity::from_pem(&s.ledger.admin.to_pem()).unwrap();
    s.ledger.sign_in(&admin, Instruction::SuspendVendor { vendor: s.vendor, note: None }, incident)
}
