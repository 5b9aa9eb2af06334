//! Uploads that go wrong on their way: nothing is visible, nothing is recorded, and nothing stays on the disk.

use futures::StreamExt;
use strongroom_client::{GetOptions, ListOptions, Prefix, Reason};
use strongroom_core::call::{Call, Work};
use strongroom_core::ids::{Digest, ObjectId};
use strongroom_core::keys::secret::Key;
use strongroom_core::ledger::Event;
use strongroom_core::sealed::header::Header;
use strongroom_proto::v1;
use strongroom_proto::v1::put_frame::Frame;
use strongroom_test_services::on_each_engine;
use strongroom_tests::oracle::Blobs;
use strongroom_tests::raw::{Raw, SealedObject, Target, failure, item_result, put_frame, request_id};
use strongroom_tests::{Lab, TestVault, sample, until};

use super::{reason, refusal};

/// Asserts that the put of `rlhf/{path}` left nothing, once the sweeper has been by.
async fn assert_nothing_left(vault: &TestVault, lab: &Lab) {
    let listed = lab.vault.list(&"acme/rlhf".parse().unwrap(), &Prefix::all(), ListOptions::default());
    assert_eq!(listed.count().await, 0, "nothing is visible");
    let get = lab.vault.get_bytes(&lab.object("rlhf/half"), GetOptions::default()).await;
    assert_eq!(reason(get), Reason::NotFound);
    until("the sweeper has been by", async || {
        // Idle uploads are condemned by the clock.
        vault.clock.shift(2_000);
        let blobs = Blobs::look(&vault.folder()).await;
        blobs.assert_whole();
        blobs.is_swept()
    })
    .await;
    assert!(Blobs::look(&vault.folder()).await.stored.is_empty());
    let ledger = vault.ledger("acme").await;
    assert!(ledger.done(Event::ObjectPut).is_empty());
}

async fn vault_and_lab() -> (TestVault, Lab) {
    let vault = TestVault::start_with(None, "upload_idle = 1").await;
    let lab = vault.lab("acme").await;
    lab.dataset("rlhf").await;
    (vault, lab)
}

async fn one_that_ends_before_its_commit() {
    let (vault, lab) = vault_and_lab().await;
    let (raw, session) = vault.raw_session(&lab.admin, "acme").await;
    let object = SealedObject::seal(&sample::bytes(1, 3_000_000));
    let frames = session.put_frames(&Target::new("acme", None, "rlhf", "half"), &object);
    for count in [1, 2, frames.len() / 2, frames.len() - 1] {
        assert_eq!(refusal(raw.put(frames[..count].to_vec()).await), Reason::InvalidArgument, "{count} frames");
    }
    assert_eq!(refusal(raw.put(Vec::new()).await), Reason::InvalidArgument);
    assert_eq!(refusal(raw.put(frames[1..].to_vec()).await), Reason::InvalidArgument);
    assert_nothing_left(&vault, &lab).await;
}

async fn one_whose_connection_breaks() {
    let (vault, lab) = vault_and_lab().await;
    let (raw, session) = vault.raw_session(&lab.admin, "acme").await;
    let object = SealedObject::seal(&sample::bytes(1, 5_000_000));
    let frames = session.put_frames(&Target::new("acme", None, "rlhf", "half"), &object);
    // All but the commit, and then silence.
    let frames = futures::stream::iter(frames[..frames.len() - 1].to_vec()).chain(futures::stream::pending());
    let mut service = raw.vault();
    let putting = tokio::spawn(async move { service.put(frames).await });
    until("the blob is on its way", async || !Blobs::look(&vault.folder()).await.stored.is_empty()).await;
    putting.abort();
    assert!(putting.await.unwrap_err().is_cancelled());
    drop(raw);
    assert_nothing_left(&vault, &lab).await;
}

async fn one_that_falls_asleep() {
    let (vault, lab) = vault_and_lab().await;
    let (raw, session) = vault.raw_session(&lab.admin, "acme").await;
    let object = SealedObject::seal(&sample::bytes(1, 5_000_000));
    let target = Target::new("acme", None, "rlhf", "half");
    let frames = session.put_frames(&target, &object);
    let (wake, asleep) = tokio::sync::oneshot::channel();
    let (first, last) = frames.split_at(frames.len() - 1);
    let last = last.to_vec();
    let frames = futures::stream::iter(first.to_vec()).chain(futures::stream::once(async move {
        asleep.await.unwrap();
        last.into_iter().next().unwrap()
    }));
    let mut service = raw.vault();
    let putting = tokio::spawn(async move { service.put(frames).await });
    until("the blob is on its way", async || !Blobs::look(&vault.folder()).await.stored.is_empty()).await;
    until("it is condemned, and its blob swept", async || {
        vault.clock.shift(2_000);
        Blobs::look(&vault.folder()).await.is_swept()
    })
    .await;
    // Whoever wakes up now comes too late: what was condemned stays so.
    wake.send(()).unwrap();
    let woken =
        putting.await.unwrap().map_err(failure).and_then(|answer| item_result(answer.into_inner().result.unwrap()));
    assert_eq!(refusal(woken), Reason::Unavailable);
    assert_nothing_left(&vault, &lab).await;
}

async fn one_that_is_not_what_was_signed() {
    let (vault, lab) = vault_and_lab().await;
    let (raw, session) = vault.raw_session(&lab.admin, "acme").await;
    let target = Target::new("acme", None, "rlhf", "half");
    let seal = || SealedObject::seal(&sample::bytes(1, 200_000));
    // Of an honest upload, the frames that `change` has changed.
    let put = async |change: &dyn Fn(&mut SealedObject, &mut Vec<v1::PutFrame>)| {
        let mut object = seal();
        let mut frames = session.put_frames(&target, &object);
        change(&mut object, &mut frames);
        refusal(raw.put(frames).await)
    };
    let commit = |object: &SealedObject| session.commit(&target, object);

    // A byte that changed on its way, in the header, in a segment, at the end.
    for at in [0, 5, 20, 24, 100_000, 200_000] {
        let flip = |object: &mut SealedObject, frames: &mut Vec<v1::PutFrame>| {
            object.bytes[at] ^= 1;
            frames.splice(1..frames.len() - 1, object.data());
        };
        assert_eq!(put(&flip).await, Reason::Integrity, "byte {at}");
    }
    // Bytes that are missing, or too many.
    let cut = |object: &mut SealedObject, frames: &mut Vec<v1::PutFrame>| {
        object.bytes.pop();
        frames.splice(1..frames.len() - 1, object.data());
    };
    assert_eq!(put(&cut).await, Reason::Integrity);
    let longer = |object: &mut SealedObject, frames: &mut Vec<v1::PutFrame>| {
        object.bytes.push(0);
        frames.splice(1..frames.len() - 1, object.data());
    };
    assert_eq!(put(&longer).await, Reason::Integrity);
    // Another root, size or header in the signed call.
    let root = |object: &mut SealedObject, frames: &mut Vec<v1::PutFrame>| {
        object.root = Digest::from_bytes([7; 32]);
        *frames.last_mut().unwrap() = commit(object);
    };
    assert_eq!(put(&root).await, Reason::Integrity);
    let size = |object: &mut SealedObject, frames: &mut Vec<v1::PutFrame>| {
        object.size -= 1;
        *frames.last_mut().unwrap() = commit(object);
    };
    assert_eq!(put(&size).await, Reason::Integrity);
    let header = |object: &mut SealedObject, frames: &mut Vec<v1::PutFrame>| {
        object.header = Header::new(ObjectId::from_bytes([7; 16]));
        *frames.last_mut().unwrap() = commit(object);
    };
    assert_eq!(put(&header).await, Reason::Integrity);
    // A call for another place than the upload began for.
    let place = |object: &mut SealedObject, frames: &mut Vec<v1::PutFrame>| {
        let other = Target { path: "other".parse().unwrap(), ..target.clone() };
        *frames.last_mut().unwrap() = session.commit(&other, object);
    };
    assert_eq!(put(&place).await, Reason::InvalidArgument);
    // Two items in the call of one upload.
    let two = |object: &mut SealedObject, frames: &mut Vec<v1::PutFrame>| {
        let work = Work::Put(vec![target.item(object), target.item(object)]);
        let (digest, call) = session.sign(&Call { request: request_id(), grant: None, work, incident: None });
        let keys = session.seal_keys(digest, &[seal(), seal()]);
        *frames.last_mut().unwrap() = put_frame(Frame::Commit(v1::PutCommit { call: Some(call), keys }));
    };
    assert_eq!(put(&two).await, Reason::InvalidArgument);
    // Keys that were sealed for another call, or are no keys.
    let keys = |object: &mut SealedObject, frames: &mut Vec<v1::PutFrame>| {
        let Some(Frame::Commit(commit)) = &mut frames.last_mut().unwrap().frame else { unreachable!() };
        let (other, _) = session.get(None, "rlhf", &["a"]);
        commit.keys = session.seal_keys(other, std::slice::from_ref(object));
    };
    assert_eq!(put(&keys).await, Reason::InvalidArgument);
    let none = |_: &mut SealedObject, frames: &mut Vec<v1::PutFrame>| {
        let Some(Frame::Commit(commit)) = &mut frames.last_mut().unwrap().frame else { unreachable!() };
        commit.keys = bytes::Bytes::new();
    };
    assert_eq!(put(&none).await, Reason::InvalidArgument);
    // A signature of somebody else.
    let signature = |_: &mut SealedObject, frames: &mut Vec<v1::PutFrame>| {
        let Some(Frame::Commit(commit)) = &mut frames.last_mut().unwrap().frame else { unreachable!() };
        commit.call.as_mut().unwrap().signature = vec![0; 64].into();
    };
    assert_eq!(put(&signature).await, Reason::Unauthenticated);
    // Beginning twice.
    let twice = |_: &mut SealedObject, frames: &mut Vec<v1::PutFrame>| frames.insert(1, target.begin());
    assert_eq!(put(&twice).await, Reason::InvalidArgument);
    // A frame of no kind.
    let empty = |_: &mut SealedObject, frames: &mut Vec<v1::PutFrame>| frames.insert(1, v1::PutFrame { frame: None });
    assert_eq!(put(&empty).await, Reason::InvalidArgument);
    assert_nothing_left(&vault, &lab).await;
}

async fn a_batch_that_is_not_what_was_signed() {
    let (vault, lab) = vault_and_lab().await;
    let (raw, session) = vault.raw_session(&lab.admin, "acme").await;
    let items = || -> Vec<(Target, SealedObject)> {
        let item = |at: usize| {
            (
                Target::new("acme", None, "rlhf", &format!("{at}")),
                SealedObject::seal(&sample::bytes(at as u64, 100 + at)),
            )
        };
        (0..5).map(item).collect()
    };
    let put = async |request: v1::PutBatchRequest| {
        let answer = raw.vault().put_batch(request).await.map_err(failure);
        refusal(answer)
    };
    for at in [0, 30, 300] {
        let mut request = session.batch(None, &items());
        let mut objects = request.objects.to_vec();
        objects[at] ^= 1;
        request.objects = objects.into();
        assert_eq!(put(request).await, Reason::Integrity, "byte {at}");
    }
    let honest = items();
    let short = v1::PutBatchRequest {
        objects: session.batch(None, &honest).objects.slice(1..),
        ..session.batch(None, &honest)
    };
    assert!(matches!(put(short).await, Reason::Integrity | Reason::InvalidArgument));
    let mut long = session.batch(None, &honest);
    long.objects = [&long.objects[..], b"x"].concat().into();
    assert_eq!(put(long).await, Reason::InvalidArgument);
    let fewer = v1::PutBatchRequest { keys: session.batch(None, &honest[1..]).keys, ..session.batch(None, &honest) };
    assert_eq!(put(fewer).await, Reason::InvalidArgument);
    let large = [(Target::new("acme", None, "rlhf", "large"), SealedObject::seal(&sample::bytes(9, 65_537)))];
    assert_eq!(put(session.batch(None, &large)).await, Reason::TooLarge);
    let key = SealedObject { key: Key::random().unwrap(), ..SealedObject::seal(b"with another key") };
    // The vault cannot know that a key is the wrong one: the writer fools itself alone, and its readers notice.
    let target = Target::new("acme", None, "rlhf", "fooled");
    let answer = raw.vault().put_batch(session.batch(None, &[(target, key)])).await.unwrap().into_inner();
    assert!(answer.results[0].reason.is_empty());
    let read = lab.vault.get_bytes(&lab.object("rlhf/fooled"), GetOptions::default()).await;
    assert_eq!(reason(read), Reason::Integrity);
    until("the sweeper has been by", async || {
        vault.clock.shift(2_000);
        Blobs::look(&vault.folder()).await.is_swept()
    })
    .await;
    assert_eq!(vault.ledger("acme").await.done(Event::ObjectPut).len(), 1);
}

/// A connection of its own for each attempt, as retries have it.
async fn again(vault: &TestVault, lab: &Lab, target: &Target, object: &SealedObject) -> Result<v1::PutResult, Reason> {
    let (raw, session): (Raw, _) = vault.raw_session(&lab.admin, "acme").await;
    raw.put(session.put_frames(target, object)).await.map_err(|failure| failure.reason)
}

async fn a_put_id_that_comes_again() {
    let (vault, lab) = vault_and_lab().await;
    lab.dataset("other").await;
    let target = Target::new("acme", None, "rlhf", "once");
    let object = SealedObject::seal(b"the same bytes");
    let first = again(&vault, &lab, &target, &object).await.unwrap();
    assert_eq!(first.generation, 1);

    // The same once more: answered as before, though nothing may stand at its path by its own condition.
    assert_eq!(again(&vault, &lab, &target, &object).await, Ok(first.clone()));
    let retried = Target { request: request_id(), ..target.clone() };
    assert_eq!(again(&vault, &lab, &retried, &object).await, Ok(first.clone()));
    let (raw, session) = vault.raw_session(&lab.admin, "acme").await;
    let batch = session.batch(None, &[(target.clone(), SealedObject { key: object.key.duplicate(), ..copy(&object) })]);
    let results = raw.vault().put_batch(batch).await.unwrap().into_inner().results;
    assert_eq!(results, std::slice::from_ref(&first));

    // With other bytes, at another path, in another dataset, by somebody else: refused.
    let other = SealedObject::seal(b"other bytes");
    let fresh = Target { request: request_id(), ..target.clone() };
    assert_eq!(again(&vault, &lab, &fresh, &other).await, Err(Reason::PreconditionFailed));
    let moved = Target { path: "twice".parse().unwrap(), request: request_id(), ..target.clone() };
    assert_eq!(again(&vault, &lab, &moved, &object).await, Err(Reason::PreconditionFailed));
    let moved = Target { dataset: "other".parse().unwrap(), request: request_id(), ..target.clone() };
    assert_eq!(again(&vault, &lab, &moved, &object).await, Err(Reason::PreconditionFailed));
    let second = strongroom_client::Identity::generate().unwrap();
    lab.vault.add_admin(&lab.tenant, second.fingerprint()).await.unwrap();
    let (raw, session) = vault.raw_session(&second, "acme").await;
    let fresh = Target { request: request_id(), ..target.clone() };
    assert_eq!(refusal(raw.put(session.put_frames(&fresh, &object)).await), Reason::PreconditionFailed);

    let got = lab.vault.get_bytes(&lab.object("rlhf/once"), GetOptions::default()).await.unwrap();
    assert_eq!(got, "the same bytes");
    let ledger = vault.ledger("acme").await;
    assert_eq!(ledger.done(Event::ObjectPut).len(), 1, "one put, one entry");
    until("the blobs of the repeats are swept", async || {
        vault.clock.shift(2_000);
        Blobs::look(&vault.folder()).await.is_swept()
    })
    .await;
    assert_eq!(Blobs::look(&vault.folder()).await.stored.len(), 1);
    let got = lab.vault.get_bytes(&lab.object("rlhf/once"), GetOptions::default()).await.unwrap();
    assert_eq!(got, "the same bytes");
}

fn copy(object: &SealedObject) -> SealedObject {
    SealedObject {
        key: object.key.duplicate(),
        header: object.header,
        bytes: object.bytes.clone(),
        size: object.size,
        root: object.root,
    }
}

async fn an_object_id_that_comes_again() {
    let (vault, lab) = vault_and_lab().await;
    let object = SealedObject::seal(b"sealed once");
    let put = async |path: &str| again(&vault, &lab, &Target::new("acme", None, "rlhf", path), &object).await;
    put("first").await.unwrap();
    // A replay of somebody's ciphertext under another name: ids are used once, ever.
    assert_eq!(put("second").await, Err(Reason::PreconditionFailed));
    until("its blob is swept", async || {
        vault.clock.shift(2_000);
        Blobs::look(&vault.folder()).await.is_swept()
    })
    .await;
    assert_eq!(vault.ledger("acme").await.done(Event::ObjectPut).len(), 1);
}

on_each_engine! {
    (flavor = "current_thread")
    one_that_ends_before_its_commit,
    one_whose_connection_breaks,
    one_that_falls_asleep,
    one_that_is_not_what_was_signed,
    a_batch_that_is_not_what_was_signed,
    a_put_id_that_comes_again,
    an_object_id_that_comes_again,
}
