//! Rotating a tenant's key: everything comes under the new version while reads and writes go on, whatever dies on the way; and an
//! old version goes only when nothing is under it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures::StreamExt;
use strongroom_client::rotation::KeyStatus;
use strongroom_client::{Body, Condition, DeleteOptions, Fetched, GetOptions, ObjectPath, PutOptions, Reason};
use strongroom_core::ledger::Event;
use strongroom_test_services::{on_each_engine, on_postgres_alone};
use strongroom_tests::chance::Chance;
use strongroom_tests::shell::Shell;
use strongroom_tests::site::Site;
use strongroom_tests::{Lab, TestVault, sample, tamper, until};

use crate::STRONGROOM;

fn path(at: usize) -> ObjectPath {
    format!("item/{at}").parse().unwrap()
}

fn item(at: usize) -> Bytes {
    format!("the plaintext of item {at}").into()
}

/// So many small objects.
async fn fill(lab: &Lab, count: usize) {
    lab.fill((0..count).map(|at| (path(at), item(at)))).await;
}

async fn rotated(lab: &Lab) -> KeyStatus {
    let mut statuses = lab.vault.follow_rotation(&lab.tenant).await.unwrap();
    let mut last = None;
    while let Some(status) = statuses.next().await {
        last = Some(status.unwrap());
    }
    last.expect("at least one status")
}

async fn under(vault: &std::path::Path, version: u32) -> u64 {
    tamper::number(vault, &format!("SELECT count(*) FROM {} WHERE key_version = {version}", tamper::OBJECTS)).await
}

/// Objects that are under an older version than this one.
async fn older(vault: &std::path::Path, version: u32) -> u64 {
    let of = tamper::OBJECTS;
    tamper::number(vault, &format!("SELECT count(*) FROM {of} WHERE key_version > 0 AND key_version < {version}")).await
}

/// Reads one object after the other until it is told that it is done; how many. A server that is being killed does not answer.
async fn read_on(lab: Arc<Lab>, done: Arc<AtomicBool>, count: usize) -> usize {
    let (mut at, mut reads) = (0, 0);
    while !done.load(Ordering::Relaxed) {
        at = (at + 37) % count;
        match lab.vault.get_bytes(&lab.object(&format!("rlhf/{}", path(at))), GetOptions::default()).await {
            Ok(found) => {
                assert_eq!(found, item(at));
                reads += 1;
            }
            Err(error) => assert_eq!(error.reason(), Reason::Unavailable, "{error}"),
        }
    }
    reads
}

/// Writes one object after the other until it is told that it is done; which are there.
async fn write_on(lab: Arc<Lab>, done: Arc<AtomicBool>) -> Vec<usize> {
    let mut written = Vec::new();
    for at in 0.. {
        if done.load(Ordering::Relaxed) {
            break;
        }
        let name = lab.object(&format!("rlhf/new/{at}"));
        match lab.vault.put_bytes(&name, item(at), PutOptions::default()).await {
            Ok(_) => written.push(at),
            Err(error) => assert_eq!(error.reason(), Reason::Unavailable, "{error}"),
        }
    }
    written
}

async fn all_open(lab: &Lab, count: usize) {
    for at in (0..count).step_by(count / 40 + 1) {
        let found = lab.vault.get_bytes(&lab.object(&format!("rlhf/{}", path(at))), GetOptions::default()).await;
        assert_eq!(found.unwrap(), item(at));
    }
}

async fn reads_and_writes_go_on_while_keys_are_wrapped_anew() {
    const COUNT: usize = 5000;
    let vault = TestVault::start_with(None, "key_cache = 1").await;
    let lab = Arc::new(vault.lab("acme").await);
    fill(&lab, COUNT).await;
    let large = Bytes::from(sample::bytes(3, 3 * (64 << 20)));
    lab.put("rlhf/large", large.clone()).await;
    // A read that is planned under the first version, and outlives it.
    let mut slow = lab.vault.get(&lab.object("rlhf/large"), GetOptions::default()).await.unwrap();
    let mut got = slow.next().await.unwrap().unwrap().to_vec();

    let done = Arc::new(AtomicBool::new(false));
    let reading = tokio::spawn({
        let (lab, done) = (lab.clone(), done.clone());
        async move {
            let mut reads = 0_usize;
            while !done.load(Ordering::Relaxed) {
                let at = reads * 37 % COUNT;
                let name = lab.object(&format!("rlhf/{}", path(at)));
                assert_eq!(lab.vault.get_bytes(&name, GetOptions::default()).await.unwrap(), item(at));
                reads += 1;
            }
            reads
        }
    });
    let writing = tokio::spawn({
        let (lab, done) = (lab.clone(), done.clone());
        async move {
            let mut written = 0_usize;
            while !done.load(Ordering::Relaxed) {
                lab.put(&format!("rlhf/new/{written}"), item(written)).await;
                written += 1;
            }
            written
        }
    });

    let (version, order) = lab.vault.rotate_key(&lab.tenant).await.unwrap();
    assert_eq!(version, 2);
    let status = rotated(&lab).await;
    done.store(true, Ordering::Relaxed);
    let (reads, written) = (reading.await.unwrap(), writing.await.unwrap());
    assert!(reads > 0 && written > 0);
    assert_eq!((status.active, &status.versions[..]), (2, &[1, 2][..]));
    let rotation = status.rotation.unwrap();
    assert!(rotation.finished.is_some() && rotation.skipped == 0 && rotation.version == 2);
    assert!(rotation.done >= COUNT as u64 && rotation.done <= rotation.total, "{rotation:?}");
    assert_eq!(under(&vault.folder(), 1).await, 0);

    // The wrapped key is gone, and everything else is as it was.
    lab.vault.destroy_key(&lab.tenant, 1).await.unwrap();
    let gone = "SELECT count(*) FROM tenant_keys WHERE version = 1 AND length(wrapped) = 0";
    assert_eq!(tamper::number(&vault.folder(), gone).await, 1);
    tokio::time::sleep(std::time::Duration::from_millis(1200)).await;
    while let Some(bytes) = slow.next().await {
        got.extend_from_slice(&bytes.unwrap());
    }
    assert!(got == large, "what was planned before comes whole");
    all_open(&lab, COUNT).await;
    for at in 0..written {
        let name = lab.object(&format!("rlhf/new/{at}"));
        assert_eq!(lab.vault.get_bytes(&name, GetOptions::default()).await.unwrap(), item(at));
    }
    let ledger = vault.ledger("acme").await;
    assert_eq!(ledger.done(Event::KeyRotated)[0].index, order.index);
    assert_eq!(ledger.done(Event::KeyDestroyed).len(), 1);
}

async fn a_version_goes_only_when_nothing_is_under_it() {
    let vault = TestVault::start().await;
    let lab = vault.lab("acme").await;
    fill(&lab, 10).await;
    let reason = async |version| lab.vault.destroy_key(&lab.tenant, version).await.unwrap_err().reason();
    assert_eq!(reason(1).await, Reason::PreconditionFailed, "it is the active one");
    assert_eq!(reason(2).await, Reason::NotFound);
    // A root that does not open for its row is left as it is, and whoever would make it unreadable for good is told.
    tamper::edit(&vault.folder(), &["UPDATE objects SET path = 'item/x' WHERE path = 'item/3'".to_owned()]).await;
    lab.vault.rotate_key(&lab.tenant).await.unwrap();
    let rotation = rotated(&lab).await.rotation.unwrap();
    assert_eq!((rotation.done, rotation.skipped), (9, 1));
    assert_eq!(reason(1).await, Reason::PreconditionFailed);
    tamper::edit(&vault.folder(), &["UPDATE objects SET path = 'item/3' WHERE path = 'item/x'".to_owned()]).await;
    all_open(&lab, 10).await;
    lab.vault.rotate_key(&lab.tenant).await.unwrap();
    let rotation = rotated(&lab).await.rotation.unwrap();
    assert_eq!((rotation.version, rotation.done, rotation.skipped), (3, 10, 0));
    for version in [1, 2] {
        lab.vault.destroy_key(&lab.tenant, version).await.unwrap();
        assert_eq!(reason(version).await, Reason::NotFound, "once is enough");
    }
    all_open(&lab, 10).await;
    assert_eq!(lab.vault.key_status(&lab.tenant).await.unwrap().versions, [3]);

    // It is the admins' alone.
    let worker = lab.vendor(&vault, "labelco").await;
    for refused in [
        worker.vault.rotate_key(&lab.tenant).await.unwrap_err(),
        worker.vault.destroy_key(&lab.tenant, 3).await.unwrap_err(),
    ] {
        assert_eq!(refused.reason(), Reason::OutOfScope);
    }
    vault.ledger("acme").await;
}

/// Whoever can write the database exchanges rows of roots: none opens in a place that is not its own, for a reader or for a rotation.
async fn roots_that_lie_in_others_places_open_nothing() {
    let vault = TestVault::start().await;
    let lab = vault.lab("acme").await;
    fill(&lab, 40).await;
    lab.put("rlhf/apart", item(40)).await;
    let moves = [(0, 9), (1, 0), (9, 1)];
    let moves = moves.map(|(from, to)| format!("UPDATE wraps SET chunk = {to} WHERE chunk = {from}"));
    tamper::edit(&vault.folder(), &moves).await;
    for at in 0..32 {
        let name = lab.object(&format!("rlhf/{}", path(at)));
        let error = lab.vault.get_bytes(&name, GetOptions::default()).await.unwrap_err();
        assert_eq!(error.reason(), Reason::Integrity, "{at}");
    }
    lab.vault.rotate_key(&lab.tenant).await.unwrap();
    let rotation = rotated(&lab).await.rotation.unwrap();
    assert_eq!((rotation.done, rotation.skipped, rotation.total), (9, 32, 41));
    assert_eq!((under(&vault.folder(), 1).await, under(&vault.folder(), 2).await), (32, 9));
    assert_eq!(lab.vault.destroy_key(&lab.tenant, 1).await.unwrap_err().reason(), Reason::PreconditionFailed);
    for at in 32..40 {
        let name = lab.object(&format!("rlhf/{}", path(at)));
        assert_eq!(lab.vault.get_bytes(&name, GetOptions::default()).await.unwrap(), item(at));
    }
    assert_eq!(lab.read("rlhf/apart", None).await.unwrap(), item(40));
    vault.ledger("acme").await;
}

async fn a_rotation_that_dies_with_the_server_goes_on() {
    const COUNT: usize = 6000;
    let mut site = Site::start(STRONGROOM, "").await;
    let lab = site.lab("acme").await;
    fill(&lab, COUNT).await;
    for (version, point) in (2..).zip(["rewrap.committing", "rewrap.committed"]) {
        site.restart(Some(point));
        lab.vault.rotate_key(&lab.tenant).await.unwrap();
        site.await_death();
        let moved = under(&site.folder(), version).await;
        assert_eq!(moved > 0, point == "rewrap.committed", "all of a step or nothing: {moved}");
        site.restart(None);
        let rotation = rotated(&lab).await.rotation.unwrap();
        assert_eq!((rotation.done, rotation.skipped), (COUNT as u64, 0));
        assert_eq!(under(&site.folder(), version).await, COUNT as u64);
        lab.vault.destroy_key(&lab.tenant, version - 1).await.unwrap();
        all_open(&lab, COUNT).await;
    }
    site.ledger("acme").await;
}

/// Roots of objects that were put together lie together: one of them goes, in the middle of a rotation, and stays gone.
async fn what_expires_meanwhile_is_not_wrapped_anew() {
    const COUNT: usize = 3000;
    let vault = TestVault::start_with(None, "retention = 1").await;
    let lab = Arc::new(vault.lab("acme").await);
    fill(&lab, COUNT).await;
    for at in (0..COUNT).step_by(100) {
        lab.vault.delete(&lab.object(&format!("rlhf/{}", path(at))), DeleteOptions::default()).await.unwrap();
    }
    // They lose their keys a second later: in the middle of these.
    for version in 2..=4 {
        lab.vault.rotate_key(&lab.tenant).await.unwrap();
        let rotation = rotated(&lab).await.rotation.unwrap();
        assert_eq!((rotation.version, rotation.skipped), (version, 0));
        lab.vault.destroy_key(&lab.tenant, version - 1).await.unwrap();
    }
    until("all that was deleted has expired", async || under(&vault.folder(), 0).await == COUNT as u64 / 100).await;
    lab.vault.rotate_key(&lab.tenant).await.unwrap();
    let rotation = rotated(&lab).await.rotation.unwrap();
    let left = (COUNT - COUNT / 100) as u64;
    assert_eq!((rotation.done, rotation.skipped, under(&vault.folder(), 5).await), (left, 0, left));
    assert_eq!(under(&vault.folder(), 0).await, COUNT as u64 / 100);
    lab.vault.destroy_key(&lab.tenant, 4).await.unwrap();
    for at in 0..COUNT {
        let name = lab.object(&format!("rlhf/{}", path(at)));
        match lab.vault.get_bytes(&name, GetOptions::default()).await {
            Ok(found) => assert_eq!((at % 100 != 0, found), (true, item(at))),
            Err(error) => assert_eq!((at % 100, error.reason()), (0, Reason::NotFound)),
        }
    }
    vault.ledger("acme").await;
}

/// Killed at random, again and again, while one reads and one writes: a few thousand objects and three times, or with
/// `STRONGROOM_TEST_LONG` a million and twenty times; `STRONGROOM_TEST_OBJECTS` has it be another number of objects.
async fn a_rotation_that_is_killed_at_random_leaves_nothing_behind() {
    let long = std::env::var_os("STRONGROOM_TEST_LONG").is_some();
    let said = std::env::var("STRONGROOM_TEST_OBJECTS").ok().map(|count| count.parse().unwrap());
    let count: usize = said.unwrap_or(if long { 1_000_000 } else { 6000 });
    let (times, pause) = if long { (20, 900) } else { (3, 20) };
    let seed = std::env::var("STRONGROOM_TEST_SEED").map_or(7, |seed| seed.parse().unwrap());
    let mut chance = Chance(seed);
    let mut site = Site::start(STRONGROOM, "").await;
    let lab = Arc::new(site.lab("acme").await);
    fill(&lab, count).await;
    let done = Arc::new(AtomicBool::new(false));
    let (reading, writing) =
        (tokio::spawn(read_on(lab.clone(), done.clone(), count)), tokio::spawn(write_on(lab.clone(), done.clone())));
    // Each rotation but the last is over before it is killed, or goes on behind it: some kill comes in the middle of one.
    let (mut version, mut interrupted) = (1, 0);
    for _ in 0..times {
        if lab.vault.key_status(&lab.tenant).await.unwrap().rotation.is_none_or(|rotation| rotation.finished.is_some())
        {
            version = lab.vault.rotate_key(&lab.tenant).await.unwrap().0;
        }
        tokio::time::sleep(std::time::Duration::from_millis(chance.below(pause))).await;
        site.kill();
        interrupted += u64::from(older(&site.folder(), version).await > 0);
        site.restart(None);
    }
    let rotation = rotated(&lab).await.rotation.unwrap();
    done.store(true, Ordering::Relaxed);
    let (reads, written) = (reading.await.unwrap(), writing.await.unwrap());
    let told = format!(
        "seed {seed}: {count} objects, {times} kills, {interrupted} of them amid a rotation, {reads} reads and {} writes meanwhile",
        written.len()
    );
    assert!(interrupted > 0, "no kill came in time ({told})");
    assert!(reads > 0 && !written.is_empty(), "{told}");
    assert_eq!((rotation.version, rotation.skipped), (version, 0), "{told}");
    assert_eq!(older(&site.folder(), version).await, 0, "{told}");
    for version in 1..version {
        lab.vault.destroy_key(&lab.tenant, version).await.unwrap();
    }
    for at in written {
        let name = lab.object(&format!("rlhf/new/{at}"));
        assert_eq!(lab.vault.get_bytes(&name, GetOptions::default()).await.unwrap(), item(at), "{told}");
    }
    // Everything opens, each with its own content.
    let (dataset, prefix) = ("acme/rlhf".parse().unwrap(), "item/".parse().unwrap());
    let mut all = lab.vault.get_prefix(&dataset, &prefix, GetOptions::default());
    let mut opened = 0;
    while let Some(fetched) = all.next().await {
        let Fetched { info, body } = fetched.unwrap();
        let at = info.path.as_str().strip_prefix("item/").unwrap().parse().unwrap();
        match body.unwrap() {
            Body::Whole(bytes) => assert_eq!(bytes, item(at)),
            Body::Stream(_) => panic!("it is small"),
        }
        opened += 1;
    }
    assert_eq!(opened, count, "seed {seed}");
    site.ledger("acme").await;
}

async fn a_key_is_rotated_by_itself_when_it_is_due() {
    const DAY: u64 = 24 * 3600 * 1000;
    let vault = TestVault::start().await;
    let lab = vault.lab("acme").await;
    fill(&lab, 20).await;
    let every = |days: u64| Some(std::time::Duration::from_millis(days * DAY));
    let reason = async |every| lab.vault.rotate_every(&lab.tenant, every).await.unwrap_err().reason();
    assert_eq!(reason(None).await, Reason::PreconditionFailed, "there is nothing to end");
    assert_eq!(reason(Some(std::time::Duration::from_secs(60))).await, Reason::InvalidArgument);
    lab.vault.rotate_every(&lab.tenant, every(30)).await.unwrap();
    lab.vault.rotate_every(&lab.tenant, None).await.unwrap();
    assert_eq!(lab.vault.key_status(&lab.tenant).await.unwrap().schedule, None);
    let order = lab.vault.rotate_every(&lab.tenant, every(90)).await.unwrap();
    let (told, next) = lab.vault.key_status(&lab.tenant).await.unwrap().schedule.unwrap();
    assert_eq!(Some(told), every(90));
    for version in 2..=3 {
        vault.clock.shift(i64::try_from(90 * DAY).unwrap());
        until("the key is rotated", async || lab.vault.key_status(&lab.tenant).await.unwrap().active == version).await;
        rotated(&lab).await;
        assert_eq!(under(&vault.folder(), version).await, 20);
    }
    let (_, later) = lab.vault.key_status(&lab.tenant).await.unwrap().schedule.unwrap();
    assert!(later.0 >= next.0 + 180 * DAY, "{later} after {next}");
    all_open(&lab, 20).await;
    // A node that begins anew folds the same.
    let mut vault = vault;
    vault.stop().await;
    vault.restart().await;
    let again = vault.connect(&strongroom_tests::copy(&lab.admin)).await;
    assert_eq!(again.key_status(&lab.tenant).await.unwrap().active, 3);
    let ledger = vault.ledger("acme").await;
    let due = ledger.done(Event::KeyRotatedDue);
    assert_eq!(due.iter().map(|entry| entry.order).collect::<Vec<_>>(), [Some(order.id), Some(order.id)]);
}

async fn two_nodes_wrap_each_key_once() {
    const COUNT: usize = 5000;
    let here = TestVault::start().await;
    let lab = here.lab("acme").await;
    fill(&lab, COUNT).await;
    let there = here.another_node(None).await;
    let other = there.connect(&strongroom_tests::copy(&lab.admin)).await;
    lab.vault.rotate_key(&lab.tenant).await.unwrap();
    // What the other node takes in from here on is under the new version from the start.
    let name = lab.object("rlhf/there");
    let options = PutOptions { condition: Condition::Any, ..PutOptions::default() };
    other.put_bytes(&name, Bytes::from_static(b"put over there"), options).await.unwrap();
    let rotation = rotated(&lab).await.rotation.unwrap();
    assert_eq!((rotation.done, rotation.skipped), (COUNT as u64, 0));
    assert_eq!(under(&here.folder(), 2).await, COUNT as u64 + 1);
    other.destroy_key(&lab.tenant, 1).await.unwrap();
    all_open(&lab, COUNT).await;
    assert_eq!(other.get_bytes(&name, GetOptions::default()).await.unwrap(), "put over there");
    here.ledger("acme").await;
}

#[test]
fn the_command_rotates_and_destroys() {
    let mut shell = Shell::new(STRONGROOM);
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md")).unwrap();
    shell.write("gsm8k.jsonl", sample::lines(50).concat());
    for shown in strongroom_tests::shell::sessions(&page).iter().flatten().take(5) {
        shell.run(shown.line).ok();
    }
    let ran = shell.run("strongroom --home lab key rotate acme").ok();
    assert!(ran.text().contains("50 objects wrapped anew under version 2"), "{}", ran.text());
    let ran = shell.run("strongroom --home lab --output json key status acme").ok();
    let status: serde_json::Value = serde_json::from_str(ran.text()).unwrap();
    assert_eq!((&status["active"], &status["rotation"]["done"]), (&2.into(), &50.into()));
    // Nothing is asked where nobody could answer.
    shell.run("strongroom --home lab key destroy acme --version 1").fails(2, "USAGE");
    shell.run("strongroom --home lab key destroy acme --version 1 --yes").ok();
    shell.run("strongroom --home lab key destroy acme --version 2 --yes").fails(3, "PRECONDITION_FAILED");
    shell.run("strongroom --home lab cat acme/rlhf/math/000007.json").ok();
    let log = shell.run("strongroom --home lab audit log acme").ok();
    assert!(log.text().contains("key.rotated") && log.text().contains("key.destroyed"), "{}", log.text());
}

on_each_engine! {
    (flavor = "multi_thread", worker_threads = 2)
    reads_and_writes_go_on_while_keys_are_wrapped_anew,
    a_version_goes_only_when_nothing_is_under_it,
    a_rotation_that_dies_with_the_server_goes_on,
    a_key_is_rotated_by_itself_when_it_is_due,
    what_expires_meanwhile_is_not_wrapped_anew,
    roots_that_lie_in_others_places_open_nothing,
    a_rotation_that_is_killed_at_random_leaves_nothing_behind,
}

on_postgres_alone! {
    (flavor = "multi_thread", worker_threads = 2)
    two_nodes_wrap_each_key_once,
}
