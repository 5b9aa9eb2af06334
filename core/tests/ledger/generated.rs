//! Random ledgers against the model, and random changes to them.
//!
//! What the model allows is entered, and must be accepted; what it forbids is entered as if it had been done, and must be refused
//! there. Whatever is changed after that is found where it is.

use proptest::collection::vec;
use proptest::prelude::*;
use strongroom_core::identity::{Fingerprint, Signature};
use strongroom_core::ids::{CallDigest, Digest, Generation, GrantId, Index, OrderId, RequestId, SessionId, VendorId};
use strongroom_core::ledger::replay::Rule;
use strongroom_core::ledger::{Entry, Event, Outcome, Private, PutFact, Role};
use strongroom_core::reason::Reason;

use crate::builder::{Ledger, MINUTE, Record, replay};
use crate::model::{Model, Op, ops};

fn generated(ops: &[Op]) -> Model {
    let mut model = Model::new();
    ops.iter().for_each(|op| model.apply(op));
    model
}

/// A change of one entry. `None` where the entry has nothing of the kind.
type Change = fn(&mut Record) -> Option<()>;

/// Changes that an operator can make to an entry, hashing it anew: none may pass unnoticed.
const CHANGES: &[(&str, Change)] = &[
    ("index", |r| {
        r.entry.index.0 += 1;
        Some(())
    }),
    ("time", |r| (r.entry.index.0 > 0).then(|| r.entry.time.0 -= 100 * 24 * 60 * MINUTE)),
    ("key", |r| {
        r.entry.actor.key = Fingerprint::from_bytes([5; 32]);
        Some(())
    }),
    ("role", |r| {
        r.entry.actor.role = Role::Vendor(VendorId::from_bytes([5; 16]));
        Some(())
    }),
    ("session", |r| r.entry.session.as_mut().map(|session| *session = SessionId::from_bytes([5; 32]))),
    ("no session", |r| r.entry.session.take().map(drop)),
    ("call", |r| r.entry.call.as_mut().map(|call| *call = CallDigest::from_bytes([5; 32]))),
    ("no call", |r| {
        r.entry.call.take().map(drop).filter(|()| r.entry.event != Event::Denied || r.private.call.is_some())
    }),
    ("order", |r| r.entry.order.as_mut().map(|order| *order = OrderId::from_bytes([5; 32]))),
    ("no order", |r| r.entry.order.take().map(drop)),
    ("grants", |r| {
        r.entry.grants.push(GrantId::from_bytes([5; 16]));
        Some(())
    }),
    ("no grants", |r| (!r.entry.grants.is_empty()).then(|| r.entry.grants.clear())),
    ("no request", |r| r.entry.request.take().map(drop)),
    ("outcome", |r| {
        r.entry.outcome = if r.entry.outcome == Outcome::Done { Outcome::Denied } else { Outcome::Done };
        Some(())
    }),
    ("reason", |r| {
        r.entry.reason = if r.entry.reason.is_some() { None } else { Some(Reason::NotFound) };
        Some(())
    }),
    ("count", |r| {
        r.entry.count = 0;
        Some(())
    }),
    ("put's item", |r| r.entry.puts.first_mut().map(|put| put.0 += 1)),
    ("put's generation", |r| r.entry.puts.first_mut().map(|put| put.1.0 += 1)),
    ("put's size", |r| r.entry.puts.last_mut().map(|put| put.2 += 1)),
    ("put's root", |r| r.entry.puts.last_mut().map(|put| put.3 = Digest::from_bytes([5; 32]))),
    ("a put more", |r| {
        r.entry.puts.last().copied().map(|put| r.entry.puts.push(PutFact(put.0, Generation(put.1.0 + 1), put.2, put.3)))
    }),
    ("no puts", |r| (!r.entry.puts.is_empty()).then(|| r.entry.puts.clear())),
    ("object's item", |r| r.entry.objects.first_mut().map(|object| object.0 += 1)),
    ("object's entry", |r| r.entry.objects.first_mut().map(|object| object.1.0 = 1)),
    ("object's ordinal", |r| r.entry.objects.first_mut().map(|object| object.2 += 9)),
    ("object's start", |r| r.entry.objects.last_mut().map(|object| object.3 += 1)),
    ("object's end", |r| r.entry.objects.last_mut().map(|object| object.4 -= 1)),
    ("object's bytes", |r| r.entry.objects.last_mut().map(|object| object.5 += 1)),
    ("an object more", |r| r.entry.objects.last().copied().map(|object| r.entry.objects.push(object))),
    ("no objects", |r| (!r.entry.objects.is_empty()).then(|| r.entry.objects.clear())),
    ("request", |r| r.entry.request.as_mut().map(|request| *request = RequestId::from_bytes([5; 16]))),
    ("salt", |r| r.private.salt.pop().map(drop)),
    ("opening", |r| r.private.opening.as_mut().map(|signed| signed.opening.exporter = Digest::from_bytes([5; 32]))),
    ("no opening", |r| r.private.opening.take().map(drop)),
    ("order's words", |r| r.private.order.as_mut().map(|signed| signed.order.not_after.0 += 1)),
    ("order's signature", |r| {
        r.private.order.as_mut().map(|signed| signed.signatures[0].signature = Signature([5; 64]))
    }),
    ("no order's words", |r| r.private.order.take().map(drop)),
    ("call's words", |r| r.private.call.as_mut().map(|signed| signed.call.grant = Some(GrantId::from_bytes([5; 16])))),
    ("call's signature", |r| r.private.call.as_mut().map(|signed| signed.signature.0[9] ^= 1)),
    ("no call's words", |r| r.private.call.take().map(drop)),
    ("event", |r| {
        r.entry.event = if r.entry.event == Event::Release { Event::ObjectDeleted } else { Event::Release };
        Some(())
    }),
];

/// Asserts that these records are refused at `index`.
fn refused(ledger: &Ledger, records: &[Record], index: usize, what: &str) -> Result<Rule, TestCaseError> {
    match replay(&ledger.origin, &crate::builder::sealed(records)) {
        Ok(_) => Err(TestCaseError::fail(format!("{what} of {index} passed: {:?}", records[index].entry))),
        Err(finding) => {
            prop_assert_eq!(finding.index, Index(index as u64), "{}: {}", what, finding);
            Ok(finding.rule)
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn what_the_model_allows_is_accepted_and_nothing_else(ops in ops()) {
        let model = generated(&ops);
        let replay = model.ledger.accepted();
        for (id, grant) in &model.grants {
            prop_assert_eq!(replay.usage(id), Some(grant.usage));
        }
        for records in model.forbidden.iter().take(20) {
            let rule = refused(&model.ledger, records, records.len() - 1, "what is forbidden")?;
            prop_assert_eq!(rule, Rule::Allowed);
        }
    }

    #[test]
    fn every_change_of_an_entry_is_found_there(ops in ops(), at in any::<prop::sample::Index>()) {
        let model = generated(&ops);
        let records = &model.ledger.records;
        let at = at.index(records.len());
        for (what, change) in CHANGES {
            // What comes after matters no more.
            let mut changed = records[..=at].to_vec();
            if change(&mut changed[at]).is_some() {
                refused(&model.ledger, &changed, at, what)?;
            }
        }
    }

    #[test]
    fn entries_keep_their_places(ops in ops(), at in any::<prop::sample::Index>()) {
        let model = generated(&ops);
        let records = &model.ledger.records;
        let at = at.index(records.len() - 1);
        let mut dropped = records.clone();
        dropped.remove(at);
        let mut swapped = records.clone();
        swapped.swap(at, at + 1);
        let mut doubled = records.clone();
        doubled.insert(at, records[at].clone());
        for (what, changed, index) in [("dropping", &dropped, at), ("swapping", &swapped, at), ("doubling", &doubled, at + 1)] {
            prop_assert_eq!(refused(&model.ledger, changed, index, what)?, Rule::IndexGapless);
        }
        // With a new index, what was done once is still not done twice.
        let mut again = records[..=at].to_vec();
        let mut last = again[at].clone();
        last.entry.index.0 += 1;
        again.push(last);
        if !matches!(records[at].entry.event, Event::Denied | Event::ReleaseRepeat) {
            let rule = refused(&model.ledger, &again, at + 1, "repeating")?;
            let once = [Rule::OrderOnce, Rule::OpeningOnce, Rule::PutOnce, Rule::WindowOnce, Rule::FirstEntry];
            prop_assert!(once.contains(&rule) || records[at].entry.event == Event::ObjectDeleted, "{}", rule);
        }
    }

    /// Digits and letters changed anywhere: it is refused or it is not, and that is all that happens.
    #[test]
    fn no_bytes_are_too_much(ops in ops(), changes in vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..2_u8, b'0'..=b'9'), 1..30)) {
        let model = generated(&ops);
        let honest = model.ledger.bytes();
        for (entry, at, part, digit) in changes {
            let mut bytes = honest.clone();
            let entry = entry.index(bytes.len());
            let (public, private) = &mut bytes[entry];
            let changed = if part == 0 { &mut *public } else { &mut *private };
            let at = at.index(changed.len());
            changed[at] = if changed[at].is_ascii_digit() { digit } else { changed[at] ^ 1 };
            // The hash made to fit again, so that what is behind it is reached.
            if part == 1 && let Ok(mut fits) = Entry::from_bytes(public) {
                fits.private = Private::hash(private);
                *public = fits.bytes().unwrap();
            }
            if let Err(finding) = replay(&model.ledger.origin, &bytes) {
                prop_assert!(finding.index.0 >= entry as u64);
            }
        }
    }
}
