//! Evidence: what belongs into an archive about one party, what it proves, and who changes it is found out.

use std::collections::BTreeMap;

use strongroom_core::audit::evidence::{Archive, EvidenceError, Keep, Line, Proven, Selection, Told};
use strongroom_core::audit::exposure::{Fold, Question};
use strongroom_core::audit::report::Report;
use strongroom_core::audit::roster::Roster;
use strongroom_core::call::Condition;
use strongroom_core::call::Work;
use strongroom_core::grant::{Action, Holder, Limits};
use strongroom_core::ids::{Digest, Index, Millis};
use strongroom_core::ledger::tree::{leaf_hash, node_hash};
use strongroom_core::ledger::{Event, Private};
use strongroom_core::order::Instruction;

use crate::builder::{Ledger, identity};
use crate::rules::{last, passed_on};
use crate::story::{SEGMENT, SMALL, Story};

/// The RFC 6962 root, and the proof of one leaf, by the definition.
fn mth(leaves: &[Digest]) -> Digest {
    if let [leaf] = leaves {
        return *leaf;
    }
    let split = leaves.len().next_power_of_two() / 2;
    node_hash(&mth(&leaves[..split]), &mth(&leaves[split..]))
}

fn path(at: usize, leaves: &[Digest]) -> Vec<Digest> {
    if leaves.len() == 1 {
        return Vec::new();
    }
    let split = leaves.len().next_power_of_two() / 2;
    let (mut proof, sibling) = if at < split {
        (path(at, &leaves[..split]), mth(&leaves[split..]))
    } else {
        (path(at - split, &leaves[split..]), mth(&leaves[..split]))
    };
    proof.push(sibling);
    proof
}

fn selected(ledger: &Ledger, question: Question) -> (Report, Selection) {
    let mut roster = Roster::default();
    ledger.records.iter().for_each(|record| roster.feed(&record.entry, Some(&record.private)).unwrap());
    let mut fold = Fold::new(roster, question).unwrap().for_evidence();
    ledger.records.iter().for_each(|record| fold.feed(&record.entry, Some(&record.private)).unwrap());
    fold.evidence(ledger.next_index(), Millis(ledger.now))
}

/// The lines of an archive, and the root that they are under.
fn lines(ledger: &Ledger, selection: &Selection) -> (Vec<Line>, Digest) {
    let candidates = selection.indices();
    let bytes = ledger.bytes();
    let leaves: Vec<Digest> = bytes.iter().map(|(public, _)| leaf_hash(public)).collect();
    let mut lines = Vec::new();
    for (at, (record, (public, private))) in ledger.records.iter().zip(&bytes).enumerate() {
        // As it lies in the ledger: its private part was hashed into it.
        let entry = strongroom_core::ledger::Entry::from_bytes(public).unwrap();
        assert_eq!(entry.event, record.entry.event);
        let private = match selection.keep(&entry, Some(&Private::from_bytes(private).unwrap())) {
            Keep::Nothing => continue,
            Keep::Public => Vec::new(),
            Keep::Whole => private.clone(),
        };
        let is_looked_at = Selection::orders().contains(&entry.event) || candidates.binary_search(&entry.index).is_ok();
        assert!(is_looked_at, "entry {} belongs in, and would not be looked at", entry.index);
        lines.push(Line { public: public.clone(), private, proof: path(at, &leaves) });
    }
    (lines, mth(&leaves))
}

fn told(report: &Report) -> Told {
    let totals = &report.exposure.totals;
    let read = report.exposure.objects.iter().filter(|object| !object.read.is_empty());
    let read: BTreeMap<_, _> =
        read.map(|object| ((object.put, object.ordinal), (object.read.as_slice().to_vec(), object.bytes))).collect();
    Told {
        releases: totals.releases,
        repeats: totals.repeats,
        objects: totals.objects,
        bytes: totals.bytes,
        bytes_total: totals.bytes_total,
        read,
    }
}

fn check(ledger: &Ledger, lines: &[Line], root: Digest, told: &Told) -> Result<Proven, EvidenceError> {
    let mut archive = Archive::new(ledger.origin.clone(), ledger.next_index(), root, None, None);
    lines.iter().try_for_each(|line| archive.check(line))?;
    archive.finish(told)
}

/// A vendor and its rival, who share nothing but the lab.
fn affair() -> Story {
    let mut story = Story::new();
    let l = &mut story.ledger;
    let other = identity();
    let rival = l.vendor("rival", &[&other]);
    let scopes: [(&[Action], &str, &str); 1] = [(&[Action::Read], "rlhf", "theirs/")];
    let terms = l.terms(Holder::Vendor(rival), &scopes, Limits::default());
    let rivals = l.grant(terms);
    // One batch of the lab's with an object for each.
    let items = ["math/mine", "theirs/other"].map(|path| l.put_item("rlhf", path, Condition::Any, 100)).to_vec();
    let mut ask = l.ask(&story.admin, None, Work::Put(items));
    let puts = l.put_items(&mut ask, &[(0, 1), (1, 1)]);
    let session = l.open(&other);
    let mut ask = l.ask_get(&session, Some(rivals), &["theirs/other"]);
    l.release(&mut ask, vec![puts[1].whole(0)]);
    let mut ask = l.ask_get(&story.worker, Some(story.read), &["math/small", "math/mine"]);
    l.release(&mut ask, vec![story.small.part(0, 1, 3), puts[0].whole(1)]);
    l.repeat(&mut ask, vec![story.small.part(0, 2, 3)]);
    let incident =
        l.order(Instruction::OpenIncident { vendor: story.vendor, since: None, note: Some("breach".into()) }).into();
    let admin = strongroom_core::identity::Identity::from_pem(&l.admin.to_pem()).unwrap();
    let stop = l.sign_in(&admin, Instruction::SuspendVendor { vendor: story.vendor, note: None }, incident);
    l.order_entry(stop);
    l.order(Instruction::SuspendVendor { vendor: rival, note: Some("rival too".into()) });
    l.dataset("theirs-alone");
    l.order(Instruction::FreezeDataset { name: "theirs-alone".parse().unwrap(), note: Some("rival's".into()) });
    let _ = l.accepted();
    story
}

fn of_vendor(name: &str) -> Question {
    Question { vendor: Some(name.parse().unwrap()), ..Question::default() }
}

#[test]
fn an_archive_is_about_one_party_and_holds_by_itself() {
    let story = affair();
    let l = &story.ledger;
    let (report, selection) = selected(l, of_vendor("labelco"));
    let (lines, root) = lines(l, &selection);
    let proven = check(l, &lines, root, &told(&report)).unwrap();
    assert_eq!((proven.releases, proven.repeats, proven.objects, proven.unasked), (2, 1, 2, 0));
    assert_eq!((proven.bytes, proven.bytes_total), (SMALL - SEGMENT + 100, SMALL - SEGMENT + 105));
    let text: Vec<u8> = lines.iter().flat_map(|line| [&line.public[..], &line.private[..]].concat()).collect();
    let text =
        String::from_utf8(text).unwrap() + &serde_json::to_string(&report.clone().for_others(&selection)).unwrap();
    let rival =
        l.records.iter().find(|record| record.entry.event == Event::Release).unwrap().entry.actor.key.to_string();
    for word in ["rival", "theirs", &rival] {
        assert!(!text.contains(word), "{word} is in the evidence about another");
    }
    for word in ["labelco", "math/small", "math/mine", "breach", &story.key.fingerprint().to_string()] {
        assert!(text.contains(word), "{word}");
    }
    let (incident, opened) = report.incident.clone().unwrap();
    assert_eq!((opened.vendor, opened.note.as_deref()), (story.vendor, Some("breach")));
    let orders: Vec<_> =
        report.exposure.orders.iter().filter(|told| told.incident == Some(incident)).map(|told| told.event).collect();
    assert_eq!(orders, [Event::IncidentOpened, Event::VendorSuspended]);
    // Nor where a grant, a key or a worker of the vendor's is asked about.
    for question in [
        Question { grant: Some(story.read), ..Question::default() },
        Question { key: Some(story.key.fingerprint()), ..Question::default() },
        Question { worker: Some(story.key.fingerprint()), ..Question::default() },
    ] {
        let (report, selection) = selected(l, question.clone());
        let (lines, root) = self::lines(l, &selection);
        check(l, &lines, root, &told(&report)).unwrap();
        let text: Vec<u8> = lines.iter().flat_map(|line| [&line.public[..], &line.private[..]].concat()).collect();
        let report = serde_json::to_string(&report.for_others(&selection)).unwrap();
        let text = String::from_utf8(text).unwrap() + &report;
        for word in ["rival", "theirs", &rival] {
            assert!(!text.contains(word), "{word} is in the evidence about {question:?}");
        }
        assert!(report.contains("breach") && report.contains("labelco"), "{report}");
    }
    let (of_rival, selection) = selected(l, of_vendor("rival"));
    let (lines, root) = self::lines(l, &selection);
    check(l, &lines, root, &told(&of_rival)).unwrap();
}

#[test]
fn what_a_worker_holds_by_others_is_the_labs_to_know() {
    let mut story = Story::new();
    let (child, worker) = passed_on(&mut story);
    let chain = last(&mut story).entry.grants.clone();
    let l = &mut story.ledger;
    let session = l.open(&worker);
    let mut ask = l.ask_get(&session, Some(child), &["math/small"]);
    l.release(&mut ask, vec![story.small.whole(0)]);
    last(&mut story).entry.grants = chain;
    let l = &mut story.ledger;
    let scopes: [(&[Action], &str, &str); 1] = [(&[Action::Read], "rlhf", "solo/")];
    let terms = l.terms(Holder::Key(worker.fingerprint()), &scopes, Limits::default());
    let solo = l.grant(terms);
    l.accepted();
    let (report, selection) = selected(l, of_vendor("labelco"));
    assert_eq!(report.exposure.elsewhere.iter().map(|grant| grant.id).collect::<Vec<_>>(), [solo]);
    let (lines, root) = lines(l, &selection);
    check(l, &lines, root, &told(&report)).unwrap();
    let text: Vec<u8> = lines.iter().flat_map(|line| [&line.public[..], &line.private[..]].concat()).collect();
    let text = String::from_utf8(text).unwrap() + &serde_json::to_string(&report.for_others(&selection)).unwrap();
    assert!(text.contains(&child.to_string()) && !text.contains(&solo.to_string()) && !text.contains("solo/"));
}

#[test]
fn what_was_done_in_anothers_incident_is_shown_without_words() {
    let mut story = affair();
    let l = &mut story.ledger;
    let rival = l.records.iter().filter(|record| record.entry.event == Event::VendorAdded).nth(1).unwrap();
    let vendor = rival.entry.order.unwrap().into();
    l.order(Instruction::ResumeVendor { vendor: story.vendor, note: None });
    let theirs = l.order(Instruction::OpenIncident { vendor, since: None, note: None }).into();
    let own = crate::rules::incident(&mut story);
    for (incident, generation) in [(theirs, 1), (own, 2)] {
        let l = &mut story.ledger;
        let was = Condition::Rekey(strongroom_core::ids::Generation(generation));
        let item = l.put_item("rlhf", "math/small", was, SMALL);
        let call = l.ask(&story.admin, None, Work::Put(vec![item])).signed.call;
        let mut ask = l.ask_as(&story.admin, strongroom_core::call::Call { incident: Some(incident), ..call });
        let put = l.put_items(&mut ask, &[(0, generation + 1)])[0];
        let mut ask = l.ask_get(&story.worker, Some(story.read), &["math/small"]);
        l.release(&mut ask, vec![put.part(0, 0, 1)]);
    }
    let l = &story.ledger;
    l.accepted();
    let (report, selection) = selected(l, of_vendor("labelco"));
    let (lines, root) = lines(l, &selection);
    check(l, &lines, root, &told(&report)).unwrap();
    let text: Vec<u8> = lines.iter().flat_map(|line| [&line.public[..], &line.private[..]].concat()).collect();
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains(&own.to_string()) && !text.contains(&theirs.to_string()));
    let rekeyed: Vec<bool> = lines
        .iter()
        .filter(|line| String::from_utf8_lossy(&line.public).contains("rekeyed"))
        .map(|line| line.private.is_empty())
        .collect();
    assert_eq!(rekeyed, [true, false], "the one in the rival's incident has no words");
}

#[test]
fn whoever_changes_an_archive_is_found_out() {
    let story = affair();
    let l = &story.ledger;
    let (report, selection) = selected(l, of_vendor("labelco"));
    let (lines, root) = lines(l, &selection);
    let told = told(&report);
    let refused = |what: &str, lines: &[Line], told: &Told| {
        assert!(check(l, lines, root, told).is_err(), "{what}");
    };
    for at in 0..lines.len() {
        let mut changed = lines.clone();
        let place = changed[at].public.len() / 2;
        changed[at].public[place] ^= 1;
        refused("a public part", &changed, &told);
        let mut changed = lines.clone();
        if let Some(byte) = changed[at].private.last_mut() {
            *byte ^= 1;
            refused("a private part", &changed, &told);
        }
        let mut changed = lines.clone();
        if let Some(last) = changed[at].proof.last_mut() {
            *last = Digest::from_bytes([0; 32]);
            refused("a proof", &changed, &told);
        }
    }
    let released = lines.iter().position(|line| String::from_utf8_lossy(&line.public).contains("\"release\"")).unwrap();
    let mut fewer = lines.clone();
    fewer.remove(released);
    refused("a release left out", &fewer, &told);
    let mut swapped = lines.clone();
    swapped.swap(released, released + 1);
    refused("two lines in each other's place", &swapped, &told);
    refused("other numbers", &lines, &Told { bytes: told.bytes + 1, ..told.clone() });
    let mut other = told.clone();
    other.read.insert((Index(1), 0), (vec![(0, 1)], 1));
    refused("an object more", &lines, &other);
    assert!(check(l, &lines, Digest::from_bytes([1; 32]), &told).is_err(), "another root");
}
