//! Each rule, broken by the last entry of an otherwise honest ledger.

use std::collections::BTreeSet;

use strongroom_core::call::{Call, Condition, SignedCall, Work};
use strongroom_core::grant::{Action, Holder, Limits, Scope};
use strongroom_core::identity::{Identity, Signature};
use strongroom_core::ids::{
    CallDigest, Digest, Generation, GrantId, Index, Millis, OrderId, RequestId, SessionId, TenantId, VaultId,
};
use strongroom_core::ledger::replay::Rule;
use strongroom_core::ledger::{Entry, Event, ObjectRef, Outcome, Private, PutFact, Role};
use strongroom_core::order::Instruction;
use strongroom_core::origin::Origin;
use strongroom_core::reason::Reason;

use crate::builder::{Ask, MINUTE, Record, delete, get, identity, replay};
use crate::story::{SMALL, Story};

type Case = (Rule, &'static str, fn(&mut Story));

/// A story that goes on with a release of `math/small` to the vendor.
fn released(story: &mut Story) -> Ask {
    let mut ask = story.ledger.ask_get(&story.worker, Some(story.read), &["math/small"]);
    story.ledger.release(&mut ask, vec![story.small.whole(0)]);
    ask
}

/// A put of one label by the vendor, and what the test makes of its entry.
fn label(story: &mut Story, change: impl FnOnce(&mut PutFact)) {
    let item = story.ledger.put_item("rlhf", "labels/1", Condition::Absent, 10);
    let mut ask = story.ledger.ask(&story.worker, Some(story.write), Work::Put(vec![item]));
    story.ledger.put_items(&mut ask, &[(0, 1)]);
    change(&mut last(story).entry.puts[0]);
}

fn last(story: &mut Story) -> &mut Record {
    story.ledger.records.last_mut().unwrap()
}

fn changed(story: &mut Story, change: fn(&mut ObjectRef)) {
    released(story);
    change(&mut last(story).entry.objects[0]);
}

/// Reads one item, changed before it is signed; releases all of `math/small`.
fn asked(story: &mut Story, change: fn(&mut strongroom_core::call::GetItem)) {
    let mut item = get("rlhf", "math/small");
    change(&mut item);
    let mut ask = story.ledger.ask(&story.worker, Some(story.read), Work::Get(vec![item]));
    story.ledger.release(&mut ask, vec![story.small.whole(0)]);
}

fn order_with(story: &mut Story, change: impl FnOnce(&mut Record)) {
    story.ledger.dataset("other");
    change(last(story));
}

fn hidden(story: &mut Story) {
    let mut ask = story.ledger.ask(&story.admin, None, Work::Delete(vec![delete("rlhf", "math/small")]));
    story.ledger.delete(&mut ask, vec![story.small.whole(0)]);
}

/// Reads `math/small` by the vendor after something happened.
fn after(story: &mut Story, instruction: Instruction) {
    story.ledger.order(instruction);
    story.ledger.roles.insert(story.key.fingerprint(), story.ledger.roles[&story.key.fingerprint()]);
    released(story);
}

/// Reads `math/small` under a grant with these limits or terms.
fn under(story: &mut Story, limits: Limits, change: impl FnOnce(&mut strongroom_core::grant::Terms)) {
    let scope: [(&[Action], &str, &str); 1] = [(&[Action::Read], "rlhf", "math/")];
    let mut terms = story.ledger.terms(Holder::Vendor(story.vendor), &scope, limits);
    change(&mut terms);
    let grant = story.ledger.grant(terms);
    let mut ask = story.ledger.ask_get(&story.worker, Some(grant), &["math/small"]);
    story.ledger.release(&mut ask, vec![story.small.whole(0)]);
}

/// What is made by changing fields of signed, hashed or counted things: every rule but those about bytes.
const CASES: &[Case] = &[
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
    (Rule::OrderAllowed, "an order of a removed admin", |s| {
        let second = identity();
        s.ledger.order(Instruction::AddAdmin { key: second.fingerprint() });
        s.ledger.order(Instruction::RemoveAdmin { key: second.fingerprint() });
        let signed = s.ledger.sign_by(&second, Instruction::CreateDataset { name: "other".parse().unwrap() });
        s.ledger.order_entry(signed);
    }),
    (Rule::OrderAllowed, "a dataset made twice", |s| s.ledger.dataset("rlhf")),
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
    (Rule::CallMissing, "a call that nobody made", |s| {
        released(s);
        last(s).private.call = None;
    }),
    (Rule::CallSignature, "a call signed by no key of the session", |s| {
        released(s);
        last(s).private.call.as_mut().unwrap().signature = Signature([5; 64]);
    }),
    (Rule::CallSignature, "a call signed in another session", |s| {
        let ask = s.ledger.ask_get(&s.admin, Some(s.read), &["math/small"]);
        let digest = Call::digest(&s.worker.id, &s.ledger.origin, &ask.signed.call.bytes().unwrap());
        let mut forged = Ask { session: s.worker.id, who: s.worker.who, digest, ..ask };
        s.ledger.release(&mut forged, vec![s.small.whole(0)]);
    }),
    (Rule::CallDigest, "a call changed after it was signed", |s| {
        released(s);
        last(s).private.call.as_mut().unwrap().call.grant = None;
    }),
    (Rule::CallDigest, "another call's digest", |s| {
        released(s);
        last(s).entry.call = Some(CallDigest::from_bytes([5; 32]));
    }),
    (Rule::CallForm, "a call of no items", |s| {
        let mut ask = s.ledger.ask(&s.worker, Some(s.read), Work::Get(Vec::new()));
        s.ledger.release(&mut ask, vec![s.small.whole(0)]);
    }),
    (Rule::CallForm, "a backward range", |s| asked(s, |item| item.range = Some((5, 5)))),
    (Rule::CallSession, "a call carried into another session", |s| {
        let mut ask = released(s);
        let other = s.ledger.open(&s.key);
        ask.session = other.id;
        s.ledger.repeat(&mut ask, vec![s.small.whole(0)]);
    }),
    (Rule::CallOver, "a call taken up after 15 quiet minutes", |s| {
        let mut ask = released(s);
        s.ledger.wait(15 * MINUTE + 1);
        s.ledger.repeat(&mut ask, vec![s.small.whole(0)]);
    }),
    (Rule::CallOver, "an old call entered again with its words", |s| {
        let mut ask = released(s);
        s.ledger.wait(16 * MINUTE);
        ask.entered = false;
        s.ledger.release(&mut ask, vec![s.small.whole(0)]);
    }),
    (Rule::CallEvent, "a release for a put", |s| {
        let item = s.ledger.put_item("rlhf", "math/small", Condition::Any, 1);
        let mut ask = s.ledger.ask(&s.worker, Some(s.read), Work::Put(vec![item]));
        s.ledger.release(&mut ask, vec![s.small.whole(0)]);
    }),
    (Rule::CallEvent, "a delete for a get", |s| {
        let mut ask = s.ledger.ask_get(&s.admin, None, &["math/small"]);
        s.ledger.delete(&mut ask, vec![s.small.whole(0)]);
    }),
    (Rule::RequestOnce, "a request id with other words", |s| {
        let ask = released(s);
        let work = Work::Get(vec![get("rlhf", "math/large")]);
        let mut other = s.ledger.ask_as(&s.worker, Call { work, ..ask.signed.call });
        s.ledger.release(&mut other, vec![s.large.part(0, 0, 1)]);
    }),
    (Rule::RequestOnce, "a request id with other words, in another session", |s| {
        let ask = released(s);
        let session = s.ledger.open(&s.key);
        let work = Work::ReleaseKeys(vec![get("rlhf", "math/small")]);
        let mut other = s.ledger.ask_as(&session, Call { work, ..ask.signed.call });
        s.ledger.release(&mut other, vec![s.small.whole(0)]);
    }),
    (Rule::ItemKnown, "an item that the call does not have", |s| changed(s, |part| part.0 = 1)),
    (Rule::ItemKnown, "a put item that the call does not have", |s| label(s, |fact| fact.0 = 7)),
    (Rule::ItemKnown, "a delete item that the call does not have", |s| {
        hidden(s);
        last(s).entry.objects[0].0 = 1;
    }),
    (Rule::ObjectKnown, "an object that nobody put", |s| changed(s, |part| part.1 = Index(3))),
    (Rule::ObjectKnown, "an ordinal that the put does not have", |s| changed(s, |part| part.2 = 1)),
    (Rule::ObjectKnown, "an object of a later entry", |s| changed(s, |part| part.1 = Index(999))),
    (Rule::ObjectAsked, "another path", |s| {
        let mut ask = s.ledger.ask_get(&s.worker, Some(s.read), &["math/small"]);
        s.ledger.release(&mut ask, vec![s.large.part(0, 0, 1)]);
    }),
    (Rule::ObjectAsked, "another dataset", |s| asked(s, |item| item.dataset = "other".parse().unwrap())),
    (Rule::ObjectAsked, "another generation", |s| asked(s, |item| item.generation = Some(Generation(2)))),
    (Rule::ObjectAsked, "a delete of another path", |s| {
        hidden(s);
        let large = s.large.whole(0);
        last(s).entry.objects[0] = large;
    }),
    (Rule::ObjectAsked, "a delete of another generation", |s| {
        let mut item = delete("rlhf", "math/small");
        item.generation = Some(Generation(2));
        let mut ask = s.ledger.ask(&s.admin, None, Work::Delete(vec![item]));
        s.ledger.delete(&mut ask, vec![s.small.whole(0)]);
    }),
    (Rule::Segments, "segments past the end", |s| changed(s, |part| part.4 = 4)),
    (Rule::Segments, "no segments", |s| changed(s, |part| part.4 = 0)),
    (Rule::Segments, "two windows at once", |s| {
        let mut ask = s.ledger.ask_get(&s.worker, Some(s.read), &["math/large"]);
        s.ledger.release(&mut ask, vec![s.large.part(0, 1000, 1100)]);
    }),
    (Rule::SegmentsAsked, "a segment more than asked for", |s| asked(s, |item| item.range = Some((0, 65_537)))),
    (Rule::SegmentsAsked, "a range past the end", |s| asked(s, |item| item.range = Some((SMALL, SMALL + 1)))),
    (Rule::Bytes, "fewer bytes than were released", |s| changed(s, |part| part.5 -= 1)),
    (Rule::WindowOnce, "a window released twice", |s| {
        let mut ask = released(s);
        s.ledger.release(&mut ask, vec![s.small.whole(0)]);
    }),
    (Rule::WindowOnce, "a window released piecewise", |s| {
        let mut ask = s.ledger.ask_get(&s.worker, Some(s.read), &["math/small"]);
        s.ledger.release(&mut ask, vec![s.small.part(0, 0, 1)]);
        s.ledger.release(&mut ask, vec![s.small.part(0, 1, 2)]);
    }),
    (Rule::WindowOnce, "a window released again to the same request in another session", |s| {
        let ask = released(s);
        let session = s.ledger.open(&s.key);
        let mut again = s.ledger.ask_as(&session, ask.signed.call);
        s.ledger.release(&mut again, vec![s.small.whole(0)]);
    }),
    (Rule::WindowOnce, "two windows of an item in one entry", |s| {
        let mut ask = s.ledger.ask_get(&s.worker, Some(s.read), &["math/large"]);
        s.ledger.release(&mut ask, vec![s.large.part(0, 0, 1), s.large.part(0, 1024, 1025)]);
    }),
    (Rule::RepeatOfRelease, "a repeat of nothing", |s| {
        let mut ask = s.ledger.ask_get(&s.worker, Some(s.read), &["math/small"]);
        s.ledger.repeat(&mut ask, vec![s.small.whole(0)]);
    }),
    (Rule::RepeatOfRelease, "a repeat of more than was released", |s| {
        let mut ask = s.ledger.ask_get(&s.worker, Some(s.read), &["math/small"]);
        s.ledger.release(&mut ask, vec![s.small.part(0, 0, 2)]);
        s.ledger.repeat(&mut ask, vec![s.small.whole(0)]);
    }),
    (Rule::RepeatOfRelease, "a repeat of another request's", |s| {
        released(s);
        let mut ask = s.ledger.ask_get(&s.worker, Some(s.read), &["math/small"]);
        s.ledger.repeat(&mut ask, vec![s.small.whole(0)]);
    }),
    (Rule::RepeatOfRelease, "a repeat of another key's", |s| {
        let second = identity();
        s.ledger.order(Instruction::AddKey { vendor: s.vendor, key: second.fingerprint() });
        let ask = released(s);
        let session = s.ledger.open(&second);
        let mut again = s.ledger.ask_as(&session, ask.signed.call);
        s.ledger.repeat(&mut again, vec![s.small.whole(0)]);
    }),
    (Rule::Visible, "a release of what was deleted", |s| {
        hidden(s);
        released(s);
    }),
    (Rule::Visible, "a release of what was deleted and put again", |s| {
        hidden(s);
        s.ledger.put(&s.admin, None, "math/small", 3, 5);
        released(s);
    }),
    (Rule::Visible, "a repeat of what was deleted", |s| {
        let mut ask = released(s);
        hidden(s);
        s.ledger.repeat(&mut ask, vec![s.small.whole(0)]);
    }),
    (Rule::Visible, "a release out of a deleted dataset", |s| {
        after(s, Instruction::DeleteDataset { name: "rlhf".parse().unwrap() });
    }),
    (Rule::Allowed, "a release after the grant was revoked", |s| {
        let grant = s.read;
        after(s, Instruction::RevokeGrant { grant, note: None });
    }),
    (Rule::Allowed, "a release after the vendor was suspended", |s| {
        let vendor = s.vendor;
        after(s, Instruction::SuspendVendor { vendor, note: None });
    }),
    (Rule::Allowed, "a release after the vendor was removed", |s| {
        let vendor = s.vendor;
        after(s, Instruction::RemoveVendor { vendor });
    }),
    (Rule::Allowed, "a release after the key was revoked", |s| {
        let (vendor, key) = (s.vendor, s.key.fingerprint());
        after(s, Instruction::RevokeKey { vendor, key });
    }),
    (Rule::Allowed, "a release in a stream that began before the suspension", |s| {
        let mut ask = s.ledger.ask_get(&s.worker, Some(s.read), &["math/large"]);
        s.ledger.release(&mut ask, vec![s.large.part(0, 0, 1024)]);
        s.ledger.order(Instruction::SuspendVendor { vendor: s.vendor, note: None });
        s.ledger.release(&mut ask, vec![s.large.part(0, 1024, 1501)]);
    }),
    (Rule::Allowed, "a repeat after the grant expired", |s| {
        let mut ask = released(s);
        for _ in 0..6 {
            s.ledger.wait(10 * MINUTE);
            s.ledger.repeat(&mut ask, vec![s.small.whole(0)]);
        }
    }),
    (Rule::Allowed, "a release at the moment of expiry", |s| {
        let at = Millis(s.ledger.now + 10);
        under(s, Limits::default(), |terms| terms.expires = at);
        last(s).entry.time = at;
    }),
    (Rule::Allowed, "a release before the grant's time", |s| {
        let at = Millis(s.ledger.now + 10);
        under(s, Limits::default(), |terms| terms.not_before = Some(at));
    }),
    (Rule::Allowed, "a byte over the limit", |s| {
        under(s, Limits { bytes: Some(SMALL - 1), ..Limits::default() }, |_| ());
    }),
    (Rule::Allowed, "an object over the limit", |s| {
        under(s, Limits { objects: Some(0), ..Limits::default() }, |_| ());
    }),
    (Rule::Allowed, "a use over the limit", |s| {
        for _ in 0..9 {
            released(s);
        }
    }),
    (Rule::Allowed, "a read outside the scope", |s| {
        let label = s.ledger.put(&s.admin, None, "labels/1", 1, 5);
        let mut ask = s.ledger.ask_get(&s.worker, Some(s.read), &["labels/1"]);
        s.ledger.release(&mut ask, vec![label.whole(0)]);
    }),
    (Rule::Allowed, "one of two items outside the scope", |s| {
        let label = s.ledger.put(&s.admin, None, "labels/1", 1, 5);
        let mut ask = s.ledger.ask_get(&s.worker, Some(s.read), &["math/small", "labels/1"]);
        s.ledger.release(&mut ask, vec![s.small.whole(0), label.whole(1)]);
    }),
    (Rule::Allowed, "a read under another's grant", |s| {
        let terms =
            s.ledger.terms(Holder::Key(identity().fingerprint()), &[(&[Action::Read], "rlhf", "")], Limits::default());
        let grant = s.ledger.grant(terms);
        let mut ask = s.ledger.ask_get(&s.worker, Some(grant), &["math/small"]);
        s.ledger.release(&mut ask, vec![s.small.whole(0)]);
    }),
    (Rule::Allowed, "a vendor's read under no grant", |s| {
        let mut ask = s.ledger.ask_get(&s.worker, None, &["math/small"]);
        s.ledger.release(&mut ask, vec![s.small.whole(0)]);
    }),
    (Rule::Allowed, "a read by a key that nobody knows", |s| {
        let session = s.ledger.open(&identity());
        let mut ask = s.ledger.ask_get(&session, None, &["math/small"]);
        s.ledger.release(&mut ask, vec![s.small.whole(0)]);
    }),
    (Rule::Allowed, "a write without the scope", |s| {
        s.ledger.put(&s.worker, Some(s.read), "math/new", 1, 5);
    }),
    (Rule::Allowed, "an overwrite without the scope", |s| {
        s.ledger.put(&s.worker, Some(s.write), "labels/1", 1, 5);
        s.ledger.put(&s.worker, Some(s.write), "labels/1", 2, 5);
    }),
    (Rule::Allowed, "a write over the limit", |s| {
        let scope: [(&[Action], &str, &str); 1] = [(&[Action::Write], "rlhf", "labels/")];
        let limits = Limits { bytes: Some(9), ..Limits::default() };
        let terms = s.ledger.terms(Holder::Vendor(s.vendor), &scope, limits);
        let grant = s.ledger.grant(terms);
        s.ledger.put(&s.worker, Some(grant), "labels/1", 1, 10);
    }),
    (Rule::Allowed, "a delete without the scope", |s| {
        let mut ask = s.ledger.ask(&s.worker, Some(s.read), Work::Delete(vec![delete("rlhf", "math/small")]));
        s.ledger.delete(&mut ask, vec![s.small.whole(0)]);
    }),
    (Rule::PutFact, "another size than was signed", |s| label(s, |fact| fact.2 += 1)),
    (Rule::PutFact, "another content than was signed", |s| label(s, |fact| fact.3 = Digest::from_bytes([5; 32]))),
    (Rule::PutFact, "more bytes than an object has", |s| label(s, |fact| fact.2 = 1 << 45)),
    (Rule::PutOnce, "a put id used again", |s| {
        label(s, |_| ());
        let Some(SignedCall { call: Call { work: Work::Put(items), .. }, .. }) = last(s).private.call.clone() else {
            panic!("a put")
        };
        let again = s.ledger.put_item("rlhf", "labels/2", Condition::Any, 10);
        let item = strongroom_core::call::PutItem { put: items[0].put, ..again };
        let mut ask = s.ledger.ask(&s.worker, Some(s.write), Work::Put(vec![item]));
        s.ledger.put_items(&mut ask, &[(0, 1)]);
    }),
    (Rule::PutOnce, "a put entered again", |s| {
        let item = s.ledger.put_item("rlhf", "labels/v/1", Condition::Any, 10);
        let mut ask = s.ledger.ask(&s.worker, Some(s.write), Work::Put(vec![item]));
        s.ledger.put_items(&mut ask, &[(0, 1)]);
        s.ledger.put_items(&mut ask, &[(0, 2)]);
    }),
    (Rule::ObjectIdOnce, "an object id used again", |s| {
        label(s, |_| ());
        let Some(SignedCall { call: Call { work: Work::Put(items), .. }, .. }) = last(s).private.call.clone() else {
            panic!("a put")
        };
        let again = s.ledger.put_item("rlhf", "labels/2", Condition::Any, 10);
        let item = strongroom_core::call::PutItem { header: items[0].header, ..again };
        let mut ask = s.ledger.ask(&s.worker, Some(s.write), Work::Put(vec![item]));
        s.ledger.put_items(&mut ask, &[(0, 1)]);
    }),
    (Rule::DatasetThere, "a put into no dataset", |s| {
        let item = s.ledger.put_item("other", "1", Condition::Any, 10);
        let mut ask = s.ledger.ask(&s.admin, None, Work::Put(vec![item]));
        s.ledger.put_items(&mut ask, &[(0, 1)]);
    }),
    (Rule::DatasetThere, "a put into a deleted dataset", |s| {
        s.ledger.order(Instruction::DeleteDataset { name: "rlhf".parse().unwrap() });
        s.ledger.put(&s.admin, None, "1", 1, 5);
    }),
    (Rule::Condition, "a put where something is", |s| {
        let item = s.ledger.put_item("rlhf", "math/small", Condition::Absent, 10);
        let mut ask = s.ledger.ask(&s.admin, None, Work::Put(vec![item]));
        s.ledger.put_items(&mut ask, &[(0, 2)]);
    }),
    (Rule::Condition, "a put over another generation", |s| {
        let item = s.ledger.put_item("rlhf", "math/small", Condition::Generation(Generation(2)), 10);
        let mut ask = s.ledger.ask(&s.admin, None, Work::Put(vec![item]));
        s.ledger.put_items(&mut ask, &[(0, 2)]);
    }),
    (Rule::Condition, "a put over what was deleted", |s| {
        hidden(s);
        let item = s.ledger.put_item("rlhf", "math/small", Condition::Generation(Generation(1)), 10);
        let mut ask = s.ledger.ask(&s.admin, None, Work::Put(vec![item]));
        s.ledger.put_items(&mut ask, &[(0, 3)]);
    }),
    (Rule::NextGeneration, "a generation left out", |s| label(s, |fact| fact.1 = Generation(2))),
    (Rule::NextGeneration, "a generation twice", |s| {
        s.ledger.put(&s.admin, None, "math/small", 1, 5);
    }),
    (Rule::NextGeneration, "the number that a delete took", |s| {
        hidden(s);
        s.ledger.put(&s.admin, None, "math/small", 2, 5);
    }),
    (Rule::DeleteVisible, "a delete of a part", |s| {
        hidden(s);
        last(s).entry.objects[0].4 = 1;
    }),
    (Rule::DeleteVisible, "a delete of what was overwritten", |s| {
        s.ledger.put(&s.admin, None, "math/small", 2, 5);
        hidden(s);
    }),
    (Rule::DeleteVisible, "a delete of what was deleted", |s| {
        hidden(s);
        hidden(s);
    }),
    (Rule::DeleteVisible, "a delete in a deleted dataset", |s| {
        s.ledger.order(Instruction::DeleteDataset { name: "rlhf".parse().unwrap() });
        hidden(s);
    }),
    (Rule::DeleteOnce, "a delete entered again, after a new put", |s| {
        let mut ask = s.ledger.ask(&s.admin, None, Work::Delete(vec![delete("rlhf", "math/small")]));
        s.ledger.delete(&mut ask, vec![s.small.whole(0)]);
        let again = s.ledger.put(&s.admin, None, "math/small", 3, 5);
        s.ledger.delete(&mut ask, vec![again.whole(0)]);
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
    (Rule::OrderId, "a denial of another order", |s| {
        let signed = s.ledger.sign_by(&s.key, Instruction::AddAdmin { key: s.key.fingerprint() });
        let mut entry = s.ledger.blank(Event::Denied, s.key.fingerprint());
        (entry.outcome, entry.reason) = (Outcome::Denied, Some(Reason::OutOfScope));
        entry.order = Some(OrderId::from_bytes([5; 32]));
        s.ledger.push(entry, Private { order: Some(signed), ..Private::default() });
    }),
    (Rule::CallSignature, "a denial of a call that nobody made", |s| {
        let mut ask = s.ledger.ask_get(&s.worker, None, &["math/small"]);
        ask.signed.signature = Signature([5; 64]);
        s.ledger.denied(&mut ask, Reason::OutOfScope);
    }),
];

#[test]
fn each_rule_is_found_broken_where_it_is() {
    for (rule, what, breaks) in CASES {
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
    bytes_break(Rule::EventKnown, |public, _| with(public, "\"release\"", "\"key.rotated\""));
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
    let tried: BTreeSet<_> = CASES.iter().map(|case| case.0).chain(BYTES).collect();
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
