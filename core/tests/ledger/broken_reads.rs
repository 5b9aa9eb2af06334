//! Calls, requests and releases, broken.

use strongroom_core::call::{Call, Condition, GetItem, Work};
use strongroom_core::identity::Signature;
use strongroom_core::ids::{CallDigest, Generation, Index, ObjectId};
use strongroom_core::ledger::replay::Rule;
use strongroom_core::order::Instruction;
use strongroom_core::reason::Reason;

use crate::builder::{Ask, MINUTE, delete, get, identity};
use crate::rules::*;
use crate::story::SMALL;

pub(crate) const CASES: &[Case] = &[
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
    (Rule::CallForm, "an item named twice", |s| asked(s, |item| item.id = Some(ObjectId::from_bytes([7; 16])))),
    (Rule::CallForm, "an item without a name", |s| asked(s, |item| item.path = None)),
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
    (Rule::ObjectAsked, "another object id", |s| {
        let id = s.large.id;
        let item = GetItem::of_id("rlhf".parse().unwrap(), id);
        let mut ask = s.ledger.ask(&s.worker, Some(s.read), Work::Get(vec![item]));
        s.ledger.release(&mut ask, vec![s.small.whole(0)]);
    }),
    (Rule::ObjectAsked, "an object id in another dataset", |s| {
        let item = GetItem::of_id("other".parse().unwrap(), s.small.id);
        let mut ask = s.ledger.ask(&s.worker, Some(s.read), Work::Get(vec![item]));
        s.ledger.release(&mut ask, vec![s.small.whole(0)]);
    }),
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
    (Rule::Allowed, "a release to a key that is noted as blocked", |s| {
        s.ledger.note(block(s));
        released(s);
    }),
    (Rule::Allowed, "a release to a key that was blocked again", |s| {
        for instruction in [block(s), unblock(s), block(s)] {
            s.ledger.note(instruction);
        }
        released(s);
    }),
    (Rule::Allowed, "a repeat to a key that is noted as blocked", |s| {
        let mut ask = released(s);
        s.ledger.note(block(s));
        s.ledger.repeat(&mut ask, vec![s.small.whole(0)]);
    }),
    (Rule::Allowed, "a release under a grant that a blocked key passed on", |s| {
        let (grant, key) = passed_on(s);
        s.ledger.note(block(s));
        let session = s.ledger.open(&key);
        let mut ask = s.ledger.ask_get(&session, Some(grant), &["math/small"]);
        s.ledger.release(&mut ask, vec![s.small.whole(0)]);
    }),
    (Rule::Allowed, "a release out of a frozen dataset", |s| after(s, frozen_dataset())),
    (Rule::Allowed, "a repeat out of a frozen dataset", |s| {
        let mut ask = released(s);
        s.ledger.order(frozen_dataset());
        s.ledger.repeat(&mut ask, vec![s.small.whole(0)]);
    }),
    (Rule::Allowed, "a release to an admin out of a frozen dataset", |s| {
        s.ledger.order(frozen_dataset());
        let mut ask = s.ledger.ask_get(&s.admin, None, &["math/small"]);
        s.ledger.release(&mut ask, vec![s.small.whole(0)]);
    }),
    (Rule::Shredded, "a release of a shredded object", |s| after(s, shred("math/small"))),
    (Rule::Shredded, "a release out of a shredded folder", |s| after(s, shred("math/"))),
    (Rule::Shredded, "a release of all that begins so, shredded", |s| after(s, shred("ma*"))),
    (Rule::Shredded, "a repeat of what was shredded since", |s| {
        let mut ask = released(s);
        s.ledger.order(shred("math/"));
        s.ledger.repeat(&mut ask, vec![s.small.whole(0)]);
    }),
    (Rule::Visible, "a release out of a shredded dataset", |s| after(s, shred_dataset())),
    (Rule::Shredded, "a release out of a shredded tenant", |s| after(s, Instruction::ShredTenant { note: None })),
    (Rule::Allowed, "a release out of a frozen tenant", |s| after(s, Instruction::FreezeTenant { note: None })),
    (Rule::Allowed, "a release to an admin out of a frozen tenant", |s| {
        s.ledger.order(Instruction::FreezeTenant { note: None });
        let mut ask = s.ledger.ask_get(&s.admin, None, &["math/small"]);
        s.ledger.release(&mut ask, vec![s.small.whole(0)]);
    }),
    (Rule::Allowed, "a release out of a dataset that is still frozen when the tenant is not", |s| {
        s.ledger.order(Instruction::FreezeTenant { note: None });
        s.ledger.order(frozen_dataset());
        after(s, Instruction::UnfreezeTenant { note: None });
    }),
    (Rule::Allowed, "a release to a vendor that stopped itself", |s| {
        let stop = Instruction::SuspendVendor { vendor: s.vendor, note: None };
        let signed = s.ledger.sign_by(&s.key, stop);
        s.ledger.order_entry(signed);
        released(s);
    }),
    (Rule::Visible, "a release out of a deleted dataset", |s| {
        after(s, Instruction::DeleteDataset { name: "rlhf".parse().unwrap() });
    }),
    (Rule::CallSignature, "a denial of a call that nobody made", |s| {
        let mut ask = s.ledger.ask_get(&s.worker, None, &["math/small"]);
        ask.signed.signature = Signature([5; 64]);
        s.ledger.denied(&mut ask, Reason::OutOfScope);
    }),
];
