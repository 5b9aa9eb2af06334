//! Decisions, puts and deletes, broken.

use strongroom_core::call::{Call, Condition, SignedCall, Work};
use strongroom_core::grant::{Action, Holder, Limits, Policy};
use strongroom_core::ids::{Digest, Generation, IncidentId, Millis};
use strongroom_core::ledger::Event;
use strongroom_core::ledger::replay::Rule;
use strongroom_core::order::Instruction;

use crate::builder::{MINUTE, delete, identity};
use crate::rules::*;
use crate::story::SMALL;

pub(crate) const CASES: &[Case] = &[
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
    (Rule::Allowed, "a byte over the minute's rate", |s| {
        under(s, Limits { bytes_per_minute: Some(SMALL - 1), ..Limits::default() }, |_| ());
    }),
    (Rule::Allowed, "two releases in a minute whose rate is one", |s| {
        let rate = Limits { bytes_per_minute: Some(2 * SMALL - 1), ..Limits::default() };
        let into_next = MINUTE - s.ledger.now % MINUTE;
        s.ledger.wait(into_next);
        let grant = under(s, rate, |_| ());
        // The next minute's bytes are its own.
        s.ledger.wait(MINUTE);
        for _ in 0..2 {
            let mut ask = s.ledger.ask_get(&s.worker, Some(grant), &["math/small"]);
            s.ledger.release(&mut ask, vec![s.small.whole(0)]);
        }
    }),
    (Rule::Allowed, "a release to another network", |s| {
        under(s, Limits { sources: vec!["192.0.2.8/29".into(), "2001:db8::/32".into()], ..Limits::default() }, |_| ());
    }),
    (Rule::Allowed, "a release to nobody knows where", |s| {
        under(s, Limits { sources: vec!["192.0.2.0/24".into()], ..Limits::default() }, |_| ());
        last(s).private.source = None;
    }),
    (Rule::OrderAllowed, "a network that is none", |s| {
        under_issued(s, Limits { sources: vec!["192.0.2.7/24".into()], ..Limits::default() });
    }),
    (Rule::Allowed, "a byte over the limit that a policy gave", |s| {
        let limits = Limits { bytes: Some(SMALL - 1), ..Limits::default() };
        s.ledger.order(Instruction::SetPolicy(Policy { limits, ..Policy::default() }));
        under(s, Limits::default(), |_| ());
    }),
    (Rule::OrderAllowed, "a grant that lives longer than the policy allows", |s| {
        let root_life = 60 * MINUTE - 1;
        s.ledger.order(Instruction::SetPolicy(Policy { root_life, ..Policy::default() }));
        under_issued(s, Limits::default());
    }),
    (Rule::OrderAllowed, "a policy without end", |s| {
        s.ledger.order(Instruction::SetPolicy(Policy { root_life: u64::MAX >> 11, ..Policy::default() }));
    }),
    (Rule::OrderAllowed, "a policy by the vendor", |s| {
        let signed = s.ledger.sign_by(&s.key, Instruction::SetPolicy(Policy::default()));
        s.ledger.order_entry(signed);
    }),
    (Rule::OrderAllowed, "a renewal by the grant's holder", |s| {
        let expires = Millis(s.ledger.now + 100 * MINUTE);
        let signed = s.ledger.sign_by(&s.key, Instruction::RenewGrant { grant: s.read, expires });
        s.ledger.order_entry(signed);
    }),
    (Rule::OrderAllowed, "a renewal for longer than the policy allows", |s| renewed(s, 24 * 60 * MINUTE + 1)),
    (Rule::OrderAllowed, "a renewal that ends the grant sooner", |s| renewed(s, 30 * MINUTE)),
    (Rule::OrderAllowed, "a renewal of an ended grant", |s| {
        s.ledger.wait(60 * MINUTE);
        renewed(s, 10 * MINUTE);
    }),
    (Rule::OrderAllowed, "a renewal of a revoked grant", |s| {
        s.ledger.order(Instruction::RevokeGrant { grant: s.read, note: None });
        renewed(s, 100 * MINUTE);
    }),
    (Rule::OrderAllowed, "a renewal of nothing", |s| {
        s.read = strongroom_core::ids::GrantId::from_bytes([9; 16]);
        renewed(s, 100 * MINUTE);
    }),
    (Rule::Allowed, "a release after the renewed end", |s| {
        renewed(s, 100 * MINUTE);
        s.ledger.wait(99 * MINUTE);
        let session = s.ledger.open(&s.key);
        let mut ask = s.ledger.ask_get(&session, Some(s.read), &["math/small"]);
        s.ledger.release(&mut ask, vec![s.small.whole(0)]);
        s.ledger.wait(MINUTE);
        let mut ask = s.ledger.ask_get(&session, Some(s.read), &["math/small"]);
        s.ledger.release(&mut ask, vec![s.small.whole(0)]);
    }),
    (Rule::Chain, "a renewal entered for another grant", |s| {
        renewed(s, 100 * MINUTE);
        let write = s.write;
        last(s).entry.grants = vec![write];
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
    (Rule::CallEvent, "a new key recorded as a put", |s| {
        rekeyed(s, Generation(1), SMALL);
        last(s).entry.event = Event::ObjectPut;
    }),
    (Rule::CallEvent, "a put recorded as a new key", |s| {
        label(s, |_| {});
        last(s).entry.event = Event::ObjectRekeyed;
    }),
    (Rule::Rekey, "a new key for an object of another size", |s| rekeyed(s, Generation(1), SMALL + 1)),
    (Rule::Condition, "a new key for a generation that is not there", |s| rekeyed(s, Generation(2), SMALL)),
    (Rule::CallForm, "new keys for some objects of a call", |s| {
        let one = s.ledger.put_item("rlhf", "math/small", Condition::Rekey(Generation(1)), SMALL);
        let two = s.ledger.put_item("rlhf", "labels/9", Condition::Absent, 1);
        let mut ask = s.ledger.ask(&s.admin, None, Work::Put(vec![one, two]));
        s.ledger.put_items(&mut ask, &[(0, 2), (1, 1)]);
    }),
    (Rule::Allowed, "a delete in an incident that nobody opened", |s| {
        let mut ask = hides_in(s, IncidentId::from_bytes([7; 16]));
        s.ledger.delete(&mut ask, vec![s.small.whole(0)]);
    }),
    (Rule::CallForm, "a put by a grant in an incident", |s| {
        let incident = incident(s);
        let item = s.ledger.put_item("rlhf", "labels/1", Condition::Absent, 1);
        let call = s.ledger.ask(&s.worker, Some(s.write), Work::Put(vec![item])).signed.call;
        let mut ask = s.ledger.ask_as(&s.worker, Call { incident: Some(incident), ..call });
        s.ledger.put_items(&mut ask, &[(0, 1)]);
    }),
    (Rule::CallIncident, "a delete in an incident that its call does not name", |s| {
        let incident = incident(s);
        hidden(s);
        last(s).private.incident = Some(incident);
    }),
    (Rule::CallIncident, "a delete that says nothing of its call's incident", |s| {
        let incident = incident(s);
        let mut ask = hides_in(s, incident);
        s.ledger.delete(&mut ask, vec![s.small.whole(0)]);
        last(s).private.incident = None;
    }),
    (Rule::CallIncident, "a later delete of a call in another incident", |s| {
        let (one, other) = (incident(s), incident(s));
        let mut ask = hides_in(s, one);
        s.ledger.delete(&mut ask, vec![s.small.whole(0)]);
        s.ledger.delete(&mut ask, vec![s.large.whole(1)]);
        last(s).private.incident = Some(other);
    }),
    (Rule::PrivateForm, "an incident beside an order's own", |s| {
        let incident = incident(s);
        s.ledger.dataset("other");
        last(s).private.incident = Some(incident);
    }),
    (Rule::CallForm, "a new key by a grant", |s| {
        let item = s.ledger.put_item("rlhf", "labels/1", Condition::Rekey(Generation(1)), 1);
        let mut ask = s.ledger.ask(&s.worker, Some(s.write), Work::Put(vec![item]));
        s.ledger.put_items(&mut ask, &[(0, 2)]);
    }),
    (Rule::Condition, "a put over a generation that was shredded", |s| {
        s.ledger.order(shred("math/small"));
        let item = s.ledger.put_item("rlhf", "math/small", Condition::Generation(Generation(1)), 10);
        let mut ask = s.ledger.ask(&s.admin, None, Work::Put(vec![item]));
        s.ledger.put_items(&mut ask, &[(0, 2)]);
    }),
    (Rule::NextGeneration, "a generation of a shredded object put again", |s| {
        s.ledger.order(shred("math/small"));
        let item = s.ledger.put_item("rlhf", "math/small", Condition::Absent, 10);
        let mut ask = s.ledger.ask(&s.admin, None, Work::Put(vec![item]));
        s.ledger.put_items(&mut ask, &[(0, 1)]);
    }),
    (Rule::DeleteVisible, "a delete of what was shredded", |s| {
        s.ledger.order(shred("math/"));
        hidden(s);
    }),
    (Rule::Allowed, "a put into a shredded tenant", |s| {
        s.ledger.order(Instruction::ShredTenant { note: None });
        label(s, |_| {});
    }),
    (Rule::Allowed, "a put into a frozen dataset", |s| {
        s.ledger.order(frozen_dataset());
        label(s, |_| ());
    }),
    (Rule::Allowed, "a put of an admin into a frozen tenant", |s| {
        s.ledger.order(Instruction::FreezeTenant { note: None });
        s.ledger.put(&s.admin, None, "labels/1", 1, 5);
    }),
    (Rule::Allowed, "a delete in a frozen dataset", |s| {
        s.ledger.order(frozen_dataset());
        hidden(s);
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
];
