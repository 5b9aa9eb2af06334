//! What must hold in the end: read from the ledger, the database and the bucket, and compared with what clients were told.
//!
//! The replay proves every entry with the code that decided it. Beside it stands a second, simpler count here, from the public
//! entries and the signed orders alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use strongroom_client::{GetOptions, GrantId, Holder, Index, PutDone};
use strongroom_core::grant::Terms;
use strongroom_core::ids::VendorId;
use strongroom_core::ledger::{Entry, Event, Outcome, Private, Role};
use strongroom_core::order::Instruction;
use strongroom_test_services::Moto;
use strongroom_tests::oracle::{Blobs, Ledger};
use strongroom_tests::until;

use super::Run;
use super::field::Field;
use super::lab::Lab;
use super::weather::Broken;

/// Judges; a verdict of guilty panics with all that is known, the seed first.
pub(super) async fn judge(
    run: &std::sync::Arc<Run>,
    field: &Field,
    mut labs: Vec<Lab>,
    bucket: &str,
    broken: Broken,
    is_long: bool,
) {
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
        Count::of(&read).check(run, field, &labs).await;
        ledger = Some(read);
    }
    let summary = summary(run, &broken, objects, ledger.as_ref());
    let problems = run.tally.problems();
    if !problems.is_empty() {
        let logs = run.cluster.nodes().iter().map(|node| tail(&node.log())).collect::<Vec<_>>().join("\n--\n");
        panic!("{summary}\n{} problems:\n{}\n{logs}", problems.len(), problems.join("\n"));
    }
    // A short run on a busy machine does not come to all of it.
    let wanted: &[&str] = match is_long {
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

#[allow(clippy::print_stdout, reason = "for whoever looks at a run")]
fn tell(summary: &str) {
    println!("{summary}");
}

/// The end of a log, without what is usual.
fn tail(log: &str) -> String {
    let lines: Vec<&str> =
        log.lines().filter(|line| !line.contains(" INFO ") && !line.contains("no word from the catalog")).collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
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

/// The ledger, counted once more.
struct Count {
    entries: Vec<Entry>,
    issued: BTreeMap<GrantId, Terms>,
    /// The entry that ended a grant.
    revoked: BTreeMap<GrantId, Index>,
    /// Entries between which a vendor was suspended.
    pauses: BTreeMap<VendorId, Vec<(Index, Index)>>,
    charged: BTreeMap<GrantId, u64>,
}

impl Count {
    fn of(ledger: &Ledger) -> Self {
        let mut count = Self {
            entries: ledger.parsed(),
            issued: BTreeMap::new(),
            revoked: BTreeMap::new(),
            pauses: BTreeMap::new(),
            charged: BTreeMap::new(),
        };
        for (entry, private) in count.entries.iter().zip(ledger.private_parts()) {
            if entry.outcome != Outcome::Done {
                continue;
            }
            match instruction(&private) {
                Some(Instruction::IssueGrant(terms)) => {
                    count.issued.insert(entry.order.unwrap().into(), terms);
                }
                Some(Instruction::RevokeGrant { grant, .. }) => {
                    count.revoked.insert(grant, entry.index);
                }
                Some(Instruction::SuspendVendor { vendor, .. }) => {
                    count.pauses.entry(vendor).or_default().push((entry.index, Index(u64::MAX)));
                }
                Some(Instruction::ResumeVendor { vendor, .. }) => {
                    count.pauses.get_mut(&vendor).unwrap().last_mut().unwrap().1 = entry.index;
                }
                _ => {}
            }
            if matches!(entry.event, Event::Release | Event::ObjectPut) {
                for grant in &entry.grants {
                    *count.charged.entry(*grant).or_default() += bytes_of(entry);
                }
            }
        }
        count
    }

    async fn check(&self, run: &std::sync::Arc<Run>, field: &Field, labs: &[Lab]) {
        let problem = |what: String| run.tally.problem(what);
        for (at, entry) in self.entries.iter().enumerate() {
            if entry.index.0 != at as u64 {
                problem(format!("entry {at} says that it is {}", entry.index));
            }
        }
        for (grant, terms) in &self.issued {
            let charged = self.charged.get(grant).copied().unwrap_or_default();
            if terms.limits.bytes.is_some_and(|limit| charged > limit) {
                problem(format!("{grant} was charged {charged} bytes of {:?}", terms.limits.bytes));
            }
        }
        for entry in self.entries.iter().filter(|entry| moves(entry)) {
            for grant in &entry.grants {
                if self.revoked.get(grant).is_some_and(|end| entry.index > *end) {
                    problem(format!("entry {} stands above the end of {grant}", entry.index));
                }
            }
            for vendor in self.vendors_of(entry) {
                let mut pauses = self.pauses.get(&vendor).into_iter().flatten();
                if pauses.any(|(from, to)| *from < entry.index && entry.index < *to) {
                    problem(format!("entry {} stands within a suspension of {vendor}", entry.index));
                }
            }
        }

        // What clients were told stands there, and what the vault counts is what is there.
        let mut client = run.client(1001, &run.admin);
        for info in client.vault().await.grants(&run.tenant).await.unwrap() {
            let charged = self.charged.get(&info.grant.id).copied().unwrap_or_default();
            if info.usage.bytes != charged {
                problem(format!("{}: {} bytes are counted, {charged} stand", info.grant.id, info.usage.bytes));
            }
        }
        for given in field.all.lock().unwrap().iter() {
            let got = given.got.load(std::sync::atomic::Ordering::SeqCst);
            let charged = self.charged.get(&given.id).copied().unwrap_or_default();
            if !self.issued.contains_key(&given.id) || got > charged {
                problem(format!("{}: {got} bytes were got, {charged} charged", given.id));
            }
        }
        for (grant, index) in field.revoked.lock().unwrap().iter() {
            if self.revoked.get(grant) != Some(index) {
                problem(format!("the end of {grant} was acknowledged at {index}: {:?}", self.revoked.get(grant)));
            }
        }
        let labels = field.labels.lock().unwrap();
        let receipts = labs.iter().flat_map(|lab| &lab.receipts).chain(labels.iter().map(|(_, _, done)| done));
        let mut places = BTreeSet::new();
        for done in receipts {
            if !self.has(done) || !places.insert((done.index, done.ordinal)) {
                problem(format!("no entry for {done:?}"));
            }
        }
    }

    /// Whether a put that was acknowledged stands where it was said to.
    fn has(&self, done: &PutDone) -> bool {
        let entry = usize::try_from(done.index.0).ok().and_then(|at| self.entries.get(at));
        let entry = entry.filter(|entry| entry.event == Event::ObjectPut && entry.outcome == Outcome::Done);
        let fact = entry.and_then(|entry| entry.puts.get(done.ordinal as usize));
        fact.is_some_and(|fact| fact.1 == done.generation && fact.2 == done.size)
    }

    /// The vendors whose suspension stops an entry: the actor's, and those that hold a grant of its chain.
    fn vendors_of(&self, entry: &Entry) -> BTreeSet<VendorId> {
        let actor = match entry.actor.role {
            Role::Vendor(id) => Some(id),
            _ => None,
        };
        let holders = entry.grants.iter().filter_map(|grant| match self.issued.get(grant)?.holder {
            Holder::Vendor(id) => Some(id),
            Holder::Key(_) => None,
        });
        holders.chain(actor).collect()
    }
}

fn instruction(private: &Private) -> Option<Instruction> {
    private.order.as_ref().map(|signed| signed.order.instruction.clone())
}

/// Whether something came out, or went in.
fn moves(entry: &Entry) -> bool {
    let event = matches!(entry.event, Event::Release | Event::ReleaseRepeat | Event::ObjectPut);
    event && entry.outcome == Outcome::Done
}

fn bytes_of(entry: &Entry) -> u64 {
    entry.objects.iter().map(|object| object.5).chain(entry.puts.iter().map(|put| put.2)).sum()
}

/// The run in a page.
fn summary(run: &Run, broken: &Broken, objects: usize, ledger: Option<&Ledger>) -> String {
    let mut text = format!("seed {}\n", run.seed);
    let mut line = |what: &str, count: u64| writeln!(text, "{count:>8}  {what}").unwrap();
    broken.iter().for_each(|(what, count)| line(what, *count));
    run.tally.done().iter().for_each(|(what, count)| line(&format!("done: {what}"), *count));
    for ((reason, what), count) in run.tally.errors() {
        line(&format!("{reason}: {what}"), count);
    }
    line("objects that were read once more in the end", objects as u64);
    if let Some(ledger) = ledger {
        let entries = ledger.parsed();
        line("entries, without a gap, replayed", entries.len() as u64);
        for event in Event::ALL {
            let count = entries.iter().filter(|entry| entry.event == event).count() as u64;
            line(&format!("entry: {}", event.name()), count);
        }
        let nodes: BTreeSet<_> = entries.iter().map(|entry| entry.node).collect();
        line("processes that wrote to it", nodes.len() as u64);
    }
    text
}
