//! What must hold in the end: read from the ledger, the database and the bucket, and compared with what clients were told.
//!
//! The replay proves every entry with the code that decided it. Beside it stands a second, simpler [`Count`], from the entries and
//! what was signed alone.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering::SeqCst;

use strongroom_client::{GetOptions, PutDone};
use strongroom_core::ledger::{Event, Outcome};
use strongroom_test_services::Moto;
use strongroom_tests::oracle::Blobs;
use strongroom_tests::until;

use super::field::Field;
use super::lab::Lab;
use super::weather::Broken;
use crate::party::count::{Count, Told};
use crate::party::{Run, is_long, tell};

/// Judges; a verdict of guilty panics with all that is known, the seed first.
pub(super) async fn judge(run: &std::sync::Arc<Run>, field: &Field, mut labs: Vec<Lab>, bucket: &str, broken: Broken) {
    let problems = run.tally.problems();
    let mut objects = 0;
    let mut ledger = None;
    if problems.is_empty() {
        for lab in &mut labs {
            objects += lab.check().await;
        }
        objects += check_labels(run, field).await;
        until("what came to nothing is swept", async || Blobs::look(&run.cluster.folder()).await.is_swept()).await;
        until("no upload in parts is left", async || Moto::shared().parts(bucket) == 0).await;
        let read = run.cluster.ledger("acme").await;
        check(&Count::of(&read), run, field, &labs).await;
        ledger = Some(read);
    }
    let mut facts = broken;
    facts.insert("objects that were read once more in the end", objects as u64);
    let summary = run.summary(&facts, ledger.as_ref());
    let problems = run.tally.problems();
    if !problems.is_empty() {
        panic!("{summary}\n{} problems:\n{}\n{}", problems.len(), problems.join("\n"), run.logs());
    }
    // A short run on a busy machine does not come to all of it.
    let wanted: &[&str] = match is_long() {
        true => &[
            "put",
            "put from a stream",
            "put of many",
            "get",
            "range",
            "list",
            "delete",
            "label",
            "issue",
            "delegate",
            "revoke",
            "suspend",
            "resume",
        ],
        false => &["put", "get"],
    };
    for what in wanted.iter().copied() {
        assert!(run.tally.done().contains_key(what), "nobody did this: {what}\n{summary}");
    }
    tell(&summary);
}

/// Reads every label that was acknowledged.
async fn check_labels(run: &std::sync::Arc<Run>, field: &Field) -> usize {
    let labels = field.labels.lock().unwrap().clone();
    let mut client = run.client(1000, &run.admin);
    let vault = client.vault().await;
    for (name, bytes, _) in &labels {
        match vault.get_bytes(name, GetOptions::default()).await {
            Ok(found) if found == *bytes => {}
            Ok(found) => run.tally.problem(format!("{name} has other {} bytes", found.len())),
            Err(error) => run.tally.problem(format!("{name} was acknowledged: {error}")),
        }
    }
    labels.len()
}

/// What clients were told against what is counted.
async fn check(count: &Count, run: &std::sync::Arc<Run>, field: &Field, labs: &[Lab]) {
    let problem = |what: String| run.tally.problem(what);
    count.problems.iter().cloned().for_each(problem);

    // What clients were told stands there, and what the vault counts is what is there.
    let mut client = run.client(1001, &run.admin);
    let grants = client.vault().await.grants(&run.tenant).await.unwrap();
    let usages = grants.into_iter().map(|info| (info.grant.id, info.usage)).collect();
    let got = field.all.lock().unwrap().iter().map(|given| (given.id, given.got.load(SeqCst))).collect();
    let revoked = field.revoked.lock().unwrap().clone();
    count.differs(&Told { got, revoked, usages }).into_iter().for_each(problem);
    let labels = field.labels.lock().unwrap();
    let receipts = labs.iter().flat_map(|lab| &lab.receipts).chain(labels.iter().map(|(_, _, done)| done));
    let mut places = BTreeSet::new();
    for done in receipts {
        if !has(count, done) || !places.insert((done.index, done.ordinal)) {
            problem(format!("no entry for {done:?}"));
        }
    }
}

/// Whether a put that was acknowledged stands where it was said to.
fn has(count: &Count, done: &PutDone) -> bool {
    let entry = usize::try_from(done.index.0).ok().and_then(|at| count.entries.get(at));
    let entry = entry.filter(|entry| entry.event == Event::ObjectPut && entry.outcome == Outcome::Done);
    let fact = entry.and_then(|entry| entry.puts.get(done.ordinal as usize));
    fact.is_some_and(|fact| fact.1 == done.generation && fact.2 == done.size)
}
