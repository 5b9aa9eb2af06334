//! The server's process dies at the worst of moments: on both sides of every commit of a write, of a release and of an order,
//! in the middle of a sweep, and anywhere at all under load. And answers get lost on their way.
//!
//! What was acknowledged is there and whole; what was not is either absent or whole, and asking again settles it; the ledger has
//! no gap and replays; nothing is charged twice; what came to nothing is swept.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use strongroom_client::{
    Action, Condition, Connect, DatasetRef, DeleteOptions, Generation, GetOptions, ListOptions, ObjectName, PutOptions,
    Reason, Usage, Vault,
};
use strongroom_core::call::{Call, Work};
use strongroom_core::ledger::Event;
use strongroom_proto::status::Failure;
use strongroom_proto::v1;
use strongroom_test_services::{Moto, on_each_engine, on_s3};
use strongroom_tests::oracle::Blobs;
use strongroom_tests::raw::{Raw, RawSession, SealedObject, Target, failure, item_result};
use strongroom_tests::relay::Relay;
use strongroom_tests::site::Site;
use strongroom_tests::{Lab, TestVault, Worker, copy, sample, until};

use crate::STRONGROOM;

/// Uploads are given up after a second without a sign of life.
const LIMITS: &str = "upload_idle = 1";

async fn site_and_lab() -> (Site, Lab) {
    let site = Site::start(STRONGROOM, LIMITS).await;
    let lab = site.lab("acme").await;
    lab.dataset("rlhf").await;
    (site, lab)
}

/// How an object is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    /// Streamed, in a blob of its own.
    Alone,
    /// With others, in a pack.
    InAPack,
}

/// The moments of a put, and whether it is done if the server dies then.
const PUT: [(&str, bool); 7] = [
    ("upload.opening", false),
    ("upload.opened", false),
    ("upload.received", false),
    ("upload.durable", false),
    ("record.committing", false),
    ("record.committed", true),
    ("record.remembered", true),
];

/// Puts without the SDK: once, whatever comes.
async fn put_once(
    (raw, session): (Raw, RawSession),
    how: How,
    target: &Target,
    object: &SealedObject,
) -> Result<v1::PutResult, Failure> {
    match how {
        How::Alone => raw.put(session.put_frames(target, object)).await,
        How::InAPack => {
            let work = Work::Put(vec![target.item(object)]);
            let (digest, call) =
                session.sign(&Call { request: target.request, grant: target.grant, work, incident: None });
            let keys = session.seal_keys(digest, std::slice::from_ref(object));
            let batch = v1::PutBatchRequest { call: Some(call), keys, objects: object.bytes.clone().into() };
            let answer = raw.vault().put_batch(batch).await.map_err(failure)?;
            item_result(answer.into_inner().results.pop().unwrap())
        }
    }
}

async fn a_put_that_dies_with_the_server() {
    let (mut site, lab) = site_and_lab().await;
    let mut expected = BTreeMap::new();
    for (at, (point, done)) in (0..).zip(PUT) {
        for how in [How::Alone, How::InAPack] {
            if how == How::InAPack && point == "upload.received" {
                continue;
            }
            let path = format!("{how:?}/{point}");
            let bytes = sample::bytes(at, if how == How::Alone { 200_000 } else { 20_000 });
            let (target, object) = (Target::new("acme", None, "rlhf", &path), SealedObject::seal(&bytes));
            expected.insert(path.clone(), Bytes::from(bytes.clone()));

            site.restart(Some(point));
            let session = site.raw_session(&lab.admin, "acme").await;
            let lost = put_once(session, how, &target, &object).await.unwrap_err();
            assert_eq!(lost.reason, Reason::Unavailable, "{path}: {}", lost.detail);
            site.await_death();
            site.restart(None);
            let name = lab.object(&format!("rlhf/{path}"));
            let found = lab.vault.get_bytes(&name, GetOptions::default()).await;
            match found {
                Ok(found) => assert!(done && found == bytes, "{path} is there"),
                Err(error) => assert!(!done && error.reason() == Reason::NotFound, "{path}: {error}"),
            }
            let before = site.ledger("acme").await;
            Blobs::look(&site.folder()).await.assert_whole();

            // Asking again settles it, once and for all.
            let session = site.raw_session(&lab.admin, "acme").await;
            let again = put_once(session, how, &target, &object).await.unwrap();
            assert_eq!(again.generation, 1, "{path}");
            let after = site.ledger("acme").await;
            let puts = |ledger: &strongroom_tests::oracle::Ledger| ledger.done(Event::ObjectPut).len();
            assert_eq!(puts(&after) - puts(&before), usize::from(!done), "{path}");
            assert_eq!(lab.vault.get_bytes(&name, GetOptions::default()).await.unwrap(), bytes, "{path}");
        }
    }
    until("what came to nothing is swept", async || Blobs::look(&site.folder()).await.is_swept()).await;
    for (path, bytes) in &expected {
        let found = lab.vault.get_bytes(&lab.object(&format!("rlhf/{path}")), GetOptions::default()).await;
        assert_eq!(found.unwrap(), bytes, "{path}");
    }
    assert_eq!(site.ledger("acme").await.done(Event::ObjectPut).len(), expected.len());
}

async fn the_sdk_settles_a_put_by_itself() {
    let (mut site, lab) = site_and_lab().await;
    for (at, point) in (0..).zip(["upload.durable", "record.committing", "record.committed"]) {
        for len in [3_000, 300_000] {
            let name = lab.object(&format!("rlhf/{point}/{len}"));
            let bytes = Bytes::from(sample::bytes(at, len));
            site.restart(Some(point));
            let (vault, put) = (lab.vault.clone(), (name.clone(), bytes.clone()));
            let putting = tokio::spawn(async move { vault.put_bytes(&put.0, put.1, PutOptions::default()).await });
            site.await_death();
            site.restart(None);
            let done = putting.await.unwrap().unwrap();
            assert_eq!(done.generation, Generation(1), "{name}: put once");
            assert_eq!(lab.vault.get_bytes(&name, GetOptions::default()).await.unwrap(), bytes);
        }
    }
    assert_eq!(site.ledger("acme").await.done(Event::ObjectPut).len(), 6);
    until("what came to nothing is swept", async || Blobs::look(&site.folder()).await.is_swept()).await;
}

async fn the_sdk_settles_a_delete_by_itself() {
    let (mut site, lab) = site_and_lab().await;
    for point in ["record.committing", "record.committed"] {
        let path = format!("rlhf/{point}");
        lab.put(&path, "what is 2 + 2?").await;
        site.restart(Some(point));
        let (vault, name) = (lab.vault.clone(), lab.object(&path));
        let deleting = tokio::spawn(async move { vault.delete(&name, DeleteOptions::default()).await });
        site.await_death();
        site.restart(None);
        let done = deleting.await.unwrap().unwrap();
        assert_eq!(done.generation, Generation(1), "{point}: what came of it the first time");
        let gone = lab.vault.get_bytes(&lab.object(&path), GetOptions::default()).await.unwrap_err();
        assert_eq!(gone.reason(), Reason::NotFound, "{point}");
        let deleted = site.ledger("acme").await.done(Event::ObjectDeleted);
        assert_eq!(deleted.last().map(|entry| entry.index), Some(done.index), "{point}");
    }
    assert_eq!(site.ledger("acme").await.done(Event::ObjectDeleted).len(), 2, "once each");
}

/// A vendor that may read one object, with a budget for exactly one read of it.
async fn one_read(site: &Site, lab: &Lab, vendor: &str, path: &str, bytes: &Bytes) -> (Worker, ObjectName) {
    lab.put(&format!("rlhf/{path}"), bytes.clone()).await;
    let worker = site.vendor(lab, vendor).await;
    let mut terms = lab.terms(worker.holder, &[(&[Action::Read], &format!("rlhf/{path}"))]);
    terms.limits.bytes = Some(bytes.len() as u64);
    terms.limits.objects = Some(1);
    terms.limits.uses = Some(1);
    lab.grant(terms).await;
    (worker, lab.object(&format!("rlhf/{path}")))
}

/// What was charged to the only grant of a vendor.
async fn charged(lab: &Lab, worker: &Worker) -> Usage {
    let grants = lab.vault.grants(&lab.tenant).await.unwrap();
    let mut own = grants.into_iter().filter(|info| info.grant.terms.holder == worker.holder);
    own.next().unwrap().usage
}

async fn a_read_that_dies_with_the_server_is_charged_once() {
    let (mut site, lab) = site_and_lab().await;
    let points = [("record.committing", 0), ("record.committed", 1), ("record.remembered", 1), ("release.sealed", 1)];
    let mut repeats = 0;
    for (at, (point, repeated)) in (0..).zip(points) {
        let bytes = Bytes::from(sample::bytes(at, 150_000));
        let (worker, name) = one_read(&site, &lab, &format!("v{at}"), point, &bytes).await;
        site.restart(Some(point));
        let (vault, read) = (worker.vault.clone(), name.clone());
        let reading = tokio::spawn(async move { vault.get_bytes(&read, GetOptions::default()).await });
        site.await_death();
        let released = site.ledger("acme").await.done(Event::Release).len();
        assert_eq!(released, at as usize + repeated, "{point}: entered before the server died, or not");
        site.restart(None);
        assert_eq!(reading.await.unwrap().unwrap(), bytes, "{point}: the SDK asked again");
        repeats += repeated;

        assert_eq!(charged(&lab, &worker).await, Usage { bytes: 150_000, objects: 1, uses: 1 }, "{point}");
        let again = worker.vault.get_bytes(&name, GetOptions::default()).await.unwrap_err();
        assert_eq!(again.reason(), Reason::QuotaExceeded, "{point}");
        let ledger = site.ledger("acme").await;
        assert_eq!(ledger.done(Event::Release).len(), at as usize + 1, "{point}");
        assert_eq!(ledger.done(Event::ReleaseRepeat).len(), repeats, "{point}");
    }
}

async fn an_answer_that_is_lost_is_charged_once() {
    let vault = TestVault::start().await;
    let lab = vault.lab("acme").await;
    lab.dataset("rlhf").await;
    let bytes = Bytes::from(sample::bytes(1, 150_000));
    lab.put("rlhf/a", bytes.clone()).await;
    let worker = lab.vendor(&vault, "labelco").await;
    let mut terms = lab.terms(worker.holder, &[(&[Action::Read], "rlhf/a"), (&[Action::Write], "rlhf/labels/")]);
    terms.limits.uses = Some(3);
    // It is named in each call: to ask which grants there are would be lost too.
    let grant = Some(lab.grant(terms).await);
    let relay = Relay::start(vault.address());
    let address = relay.address().to_string();
    let through = Connect::to(address, vault.vault_key(), copy(&worker.identity)).open().await.unwrap();
    let name = lab.object("rlhf/a");
    let options = GetOptions { grant, ..GetOptions::default() };
    // The first read also opens the session.
    assert_eq!(through.get_bytes(&name, options.clone()).await.unwrap(), bytes);
    let recorded = async |event: Event, count: usize| {
        until("it is recorded", async || vault.ledger("acme").await.done(event).len() == count).await;
        until("its answer is on its way", async || relay.lost() > 0).await;
        relay.cut();
    };

    relay.lose_answers();
    let reader = through.clone();
    let reading = tokio::spawn(async move { reader.get_bytes(&name, options).await });
    recorded(Event::Release, 2).await;
    assert_eq!(reading.await.unwrap().unwrap(), bytes);

    relay.lose_answers();
    let (writer, label) = (through.clone(), lab.object("rlhf/labels/1"));
    let options = PutOptions { grant, condition: Condition::Absent, ..PutOptions::default() };
    let putting = tokio::spawn(async move { writer.put_bytes(&label, Bytes::from_static(b"a label"), options).await });
    recorded(Event::ObjectPut, 2).await;
    assert_eq!(putting.await.unwrap().unwrap().generation, Generation(1));

    let ledger = vault.ledger("acme").await;
    assert_eq!((ledger.done(Event::Release).len(), ledger.done(Event::ReleaseRepeat).len()), (2, 1));
    assert_eq!(ledger.done(Event::ObjectPut).len(), 2);
    assert_eq!(charged(&lab, &worker).await, Usage { bytes: 300_007, objects: 3, uses: 3 });
    let again = worker.vault.get_bytes(&lab.object("rlhf/a"), GetOptions::default()).await.unwrap_err();
    assert_eq!(again.reason(), Reason::QuotaExceeded);
}

async fn an_order_that_dies_with_the_server() {
    let (mut site, lab) = site_and_lab().await;
    lab.put("rlhf/a", "what is 2 + 2?").await;
    let worker = site.vendor(&lab, "labelco").await;
    let grant = lab.grant(lab.terms(worker.holder, &[(&[Action::Read], "rlhf/a")])).await;
    let name = lab.object("rlhf/a");
    let options = || GetOptions { grant: Some(grant), ..GetOptions::default() };
    worker.vault.get_bytes(&name, options()).await.unwrap();
    let labelco = "labelco".parse().unwrap();

    for point in ["record.committing", "record.committed"] {
        site.restart(Some(point));
        let (vault, tenant, vendor) = (lab.vault.clone(), lab.tenant.clone(), Clone::clone(&labelco));
        let suspending = tokio::spawn(async move { vault.suspend_vendor(&tenant, &vendor, None).await });
        site.await_death();
        site.restart(None);
        // Where it was carried out before the server died, the SDK's second try is answered with the first receipt.
        let done = suspending.await.unwrap().unwrap();
        let refused = worker.vault.get_bytes(&name, options()).await.unwrap_err();
        assert_eq!(refused.reason(), Reason::VendorSuspended, "{point}");
        lab.vault.resume_vendor(&lab.tenant, &labelco, None).await.unwrap();
        worker.vault.get_bytes(&name, options()).await.unwrap();
        let ledger = site.ledger("acme").await;
        let suspended = ledger.done(Event::VendorSuspended);
        let last = suspended.last().map(|entry| (entry.index, entry.time, entry.order));
        assert_eq!(last, Some((done.index, done.time, Some(done.id))), "{point}");
        let suspended = suspended.len();
        assert_eq!(suspended, ledger.done(Event::VendorResumed).len(), "{point}: once each");
    }
}

/// A grant has no place in the authority log, and a tenant's first order makes the ledger itself: both get their receipts too.
async fn a_receipt_that_dies_with_the_server() {
    let (mut site, lab) = site_and_lab().await;
    lab.put("rlhf/a", "what is 2 + 2?").await;
    let worker = site.vendor(&lab, "labelco").await;
    site.restart(Some("record.committed"));
    let terms = lab.terms(worker.holder, &[(&[Action::Read], "rlhf/a")]);
    let (vault, tenant) = (lab.vault.clone(), lab.tenant.clone());
    let issuing = tokio::spawn(async move { vault.issue_grant(&tenant, terms).await });
    site.await_death();
    site.restart(None);
    let (grant, done) = issuing.await.unwrap().unwrap();
    let issued = site.ledger("acme").await.done(Event::GrantIssued);
    assert_eq!(issued.iter().map(|entry| entry.index).collect::<Vec<_>>(), [done.index], "once");
    let options = GetOptions { grant: Some(grant), ..GetOptions::default() };
    worker.vault.get_bytes(&lab.object("rlhf/a"), options).await.unwrap();

    let operator = site.connect(&site.operator()).await;
    operator.status().await.unwrap();
    site.restart(Some("record.committed"));
    let (other, admin): (strongroom_client::TenantName, _) = ("other".parse().unwrap(), lab.admin.fingerprint());
    let (through, name) = (operator.clone(), other.clone());
    let creating = tokio::spawn(async move { through.create_tenant(&name, &[admin]).await });
    site.await_death();
    site.restart(None);
    let (_, done) = creating.await.unwrap().unwrap();
    assert_eq!(done.index.0, 0);
    let again = operator.create_tenant(&other, &[admin]).await.unwrap_err();
    assert_eq!(again.reason(), Reason::PreconditionFailed, "another order of the same");
    assert_eq!(site.ledger("other").await.entries.len(), 1);
}

async fn a_sweep_that_dies_with_the_server() {
    let (mut site, lab) = site_and_lab().await;
    lab.put("rlhf/kept", sample::bytes(1, 100_000)).await;
    let (raw, session) = site.raw_session(&lab.admin, "acme").await;
    let object = SealedObject::seal(&sample::bytes(2, 5_000_000));
    let frames = session.put_frames(&Target::new("acme", None, "rlhf", "half"), &object);
    let frames = futures::stream::iter(frames[..frames.len() - 1].to_vec()).chain(futures::stream::pending());
    let mut service = raw.vault();
    let putting = tokio::spawn(async move { service.put(frames).await });
    let under_way = async || Blobs::look(&site.folder()).await;
    until("the blob is on its way", async || under_way().await.stored.len() == 2).await;
    site.restart(Some("sweep.deleted"));
    assert!(putting.await.unwrap().is_err());
    site.await_death();
    let blobs = Blobs::look(&site.folder()).await;
    assert_eq!((blobs.stored.len(), blobs.under_way.len()), (1, 1), "the blob is gone, its row is not");
    site.restart(None);
    until("the next sweep finishes it", async || Blobs::look(&site.folder()).await.is_swept()).await;
    let kept = lab.vault.get_bytes(&lab.object("rlhf/kept"), GetOptions::default()).await.unwrap();
    assert_eq!(kept, sample::bytes(1, 100_000));
    site.ledger("acme").await;
}

/// An upload that is large enough to go into a bucket in parts, with the server killed at each of its moments: the row knows the
/// upload's id, so that its parts are dropped.
async fn an_upload_in_parts_that_dies_with_the_server() {
    let (mut site, lab) = site_and_lab().await;
    lab.put("rlhf/kept", sample::bytes(1, 100_000)).await;
    let bucket = site.bucket();
    let uploads = || Moto::shared().uploads(&bucket).len();
    let parts = || Moto::shared().parts(&bucket);
    // Two parts of 8 MiB, and a rest.
    let object = SealedObject::seal(&sample::bytes(2, 18 << 20));
    let swept = async |site: &Site| {
        until("what came to nothing is swept", async || Blobs::look(&site.folder()).await.is_swept()).await;
    };

    // Amid its parts: what is to come never comes.
    let (raw, session) = site.raw_session(&lab.admin, "acme").await;
    let frames = session.put_frames(&Target::new("acme", None, "rlhf", "amid"), &object);
    let frames = futures::stream::iter(frames[..frames.len() - 1].to_vec()).chain(futures::stream::pending());
    let mut service = raw.vault();
    let putting = tokio::spawn(async move { service.put(frames).await });
    until("two parts came", async || parts() == 2).await;
    site.kill();
    assert!(putting.await.unwrap().is_err());
    assert_eq!((uploads(), parts()), (1, 2));
    assert_eq!(Blobs::look(&site.folder()).await.under_way.len(), 1, "its row stands");
    site.restart(None);
    swept(&site).await;
    assert_eq!(uploads(), 0, "its parts were dropped");

    // All of it came: before it is made a blob, and after.
    for (point, left) in [("upload.received", 1), ("upload.durable", 0)] {
        site.restart(Some(point));
        let session = site.raw_session(&lab.admin, "acme").await;
        let lost = put_once(session, How::Alone, &Target::new("acme", None, "rlhf", point), &object).await;
        assert_eq!(lost.unwrap_err().reason, Reason::Unavailable, "{point}");
        site.await_death();
        assert_eq!(uploads(), left, "{point}");
        site.restart(None);
        swept(&site).await;
        assert_eq!(uploads(), 0, "{point}");
    }

    // Between the bucket's id and its row: nobody will ever know it, and so no part was sent under it.
    site.restart(Some("upload.parts"));
    let session = site.raw_session(&lab.admin, "acme").await;
    let lost = put_once(session, How::Alone, &Target::new("acme", None, "rlhf", "nameless"), &object).await;
    assert_eq!(lost.unwrap_err().reason, Reason::Unavailable);
    site.await_death();
    site.restart(None);
    swept(&site).await;
    assert_eq!((uploads(), parts()), (1, 0), "an id that costs nothing");

    let dataset = DatasetRef { tenant: lab.tenant.clone(), dataset: "rlhf".parse().unwrap() };
    let listed: Vec<_> = lab.vault.list(&dataset, &"".parse().unwrap(), ListOptions::default()).collect().await;
    let listed: Vec<_> = listed.into_iter().map(|line| line.unwrap().path().to_owned()).collect();
    assert_eq!(listed, ["kept"], "nothing else became visible");
    let kept = lab.vault.get_bytes(&lab.object("rlhf/kept"), GetOptions::default()).await.unwrap();
    assert_eq!(kept, sample::bytes(1, 100_000));
    assert_eq!(site.ledger("acme").await.done(Event::ObjectPut).len(), 1);
}

/// What a writer was told of its objects.
#[derive(Default)]
struct Told {
    acknowledged: Vec<(String, Bytes)>,
    unsettled: Vec<(String, Bytes)>,
}

/// The load on a server: when to stop, and how much came of it so far.
#[derive(Default)]
struct Load {
    stop: AtomicBool,
    puts: AtomicUsize,
    reads: AtomicUsize,
}

impl Load {
    fn stops(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// Whether enough was written and read for a test to say something.
    fn is_enough(&self) -> bool {
        [&self.puts, &self.reads].iter().all(|done| done.load(Ordering::SeqCst) > 10)
    }
}

/// Puts objects until it is told to stop.
async fn write(vault: Vault, tenant: String, writer: u64, load: Arc<Load>) -> Told {
    let mut told = Told::default();
    for round in 0.. {
        if load.stops() {
            break;
        }
        let path = format!("w{writer}/{round:04}");
        let len = [200, 20_000, 90_000, 400_000][(round % 4) as usize];
        let bytes = Bytes::from(sample::bytes(writer << 32 | round, len));
        let name = format!("{tenant}/rlhf/{path}").parse().unwrap();
        match vault.put_bytes(&name, bytes.clone(), PutOptions::default()).await {
            Ok(done) => {
                assert_eq!(done.generation, Generation(1), "{path}: put once");
                told.acknowledged.push((path, bytes));
                load.puts.fetch_add(1, Ordering::SeqCst);
            }
            Err(error) => {
                assert!(matches!(error.reason(), Reason::Unavailable | Reason::LedgerUnavailable), "{path}: {error}");
                told.unsettled.push((path, bytes));
            }
        }
    }
    told
}

/// Reads one object until it is told to stop: what comes is right, or an error that is to be expected.
async fn read(vault: Vault, name: ObjectName, bytes: Bytes, load: Arc<Load>) {
    while !load.stops() {
        match vault.get_bytes(&name, GetOptions::default()).await {
            Ok(got) => {
                assert_eq!(got, bytes);
                load.reads.fetch_add(1, Ordering::SeqCst);
            }
            Err(error) => {
                let expected = [Reason::Unavailable, Reason::LedgerUnavailable, Reason::VendorSuspended];
                assert!(expected.contains(&error.reason()), "{error}");
            }
        }
    }
}

async fn a_server_that_is_killed_again_and_again() {
    let (mut site, lab) = site_and_lab().await;
    let shared = Bytes::from(sample::bytes(99, 250_000));
    lab.put("rlhf/shared", shared.clone()).await;
    let worker = site.vendor(&lab, "labelco").await;
    let terms = lab.terms(worker.holder, &[(&[Action::Read], "rlhf/shared"), (&[Action::Write], "rlhf/w3/")]);
    lab.grant(terms).await;
    let load = Arc::new(Load::default());
    let mut writers = Vec::new();
    for number in 0..3 {
        let vault = site.connect(&lab.admin).await;
        writers.push(tokio::spawn(write(vault, "acme".into(), number, load.clone())));
    }
    let mut readers = Vec::new();
    for _ in 0..2 {
        let vault = site.connect(&worker.identity).await;
        readers.push(tokio::spawn(read(vault, lab.object("rlhf/shared"), shared.clone(), load.clone())));
    }
    // An admin who suspends and resumes; returns what it was told last.
    let (admin, tenant, ordering) = (lab.vault.clone(), lab.tenant.clone(), load.clone());
    let admin = tokio::spawn(async move {
        let labelco = "labelco".parse().unwrap();
        let mut last = None;
        while !ordering.stops() {
            for suspend in [true, false] {
                let done = match suspend {
                    true => admin.suspend_vendor(&tenant, &labelco, None).await,
                    false => admin.resume_vendor(&tenant, &labelco, None).await,
                };
                match done {
                    Ok(_) => last = Some(suspend),
                    Err(error) => {
                        // Unknown, or carried out before the answer was lost: the next order tells.
                        let expected = [Reason::Unavailable, Reason::LedgerUnavailable, Reason::PreconditionFailed];
                        assert!(expected.contains(&error.reason()), "{error}");
                        last = None;
                    }
                }
                tokio::time::sleep(Duration::from_millis(150)).await;
            }
        }
        last
    });
    // A machine that is busy comes to less in the same time.
    for round in 0..40 {
        if round >= 10 && load.is_enough() {
            break;
        }
        let [chance] = strongroom_core::keys::secret::random_bytes().unwrap();
        tokio::time::sleep(Duration::from_millis(150 + 4 * u64::from(chance))).await;
        site.restart(None);
        // Beside the server that runs again: what stands there replays.
        if round % 3 == 0 {
            site.ledger("acme").await;
        }
    }
    load.stop.store(true, Ordering::SeqCst);
    for writer in writers {
        let told = writer.await.unwrap();
        for (path, bytes) in &told.acknowledged {
            let found = lab.vault.get_bytes(&lab.object(&format!("rlhf/{path}")), GetOptions::default()).await;
            assert_eq!(found.unwrap(), bytes, "{path} was acknowledged");
        }
        for (path, bytes) in &told.unsettled {
            match lab.vault.get_bytes(&lab.object(&format!("rlhf/{path}")), GetOptions::default()).await {
                Ok(found) => assert_eq!(found, bytes, "{path} is there, so it is whole"),
                Err(error) => assert_eq!(error.reason(), Reason::NotFound, "{path}"),
            }
        }
    }
    for reader in readers {
        reader.await.unwrap();
    }
    if let Some(suspended) = admin.await.unwrap() {
        let read = worker.vault.get_bytes(&lab.object("rlhf/shared"), GetOptions::default()).await;
        assert_eq!(read.err().map(|error| error.reason()), suspended.then_some(Reason::VendorSuspended));
    }
    assert!(load.is_enough(), "there was load: {:?} puts, {:?} reads", load.puts, load.reads);
    until("what came to nothing is swept", async || Blobs::look(&site.folder()).await.is_swept()).await;
    site.stop();
    Blobs::look(&site.folder()).await.assert_whole();
    let ledger = site.ledger("acme").await;
    assert!(ledger.done(Event::ObjectPut).len() > load.puts.load(Ordering::SeqCst));
}

on_each_engine! {
    (flavor = "multi_thread", worker_threads = 2)
    a_put_that_dies_with_the_server,
    the_sdk_settles_a_put_by_itself,
    the_sdk_settles_a_delete_by_itself,
    a_read_that_dies_with_the_server_is_charged_once,
    an_answer_that_is_lost_is_charged_once,
    an_order_that_dies_with_the_server,
    a_receipt_that_dies_with_the_server,
    a_sweep_that_dies_with_the_server,
    a_server_that_is_killed_again_and_again,
}

on_s3! {
    (flavor = "multi_thread", worker_threads = 2)
    a_put_that_dies_with_the_server,
    the_sdk_settles_a_put_by_itself,
    an_upload_in_parts_that_dies_with_the_server,
}
