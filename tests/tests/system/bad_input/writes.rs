//! Writes with conditions, and writes without the right to them.

use strongroom_client::{Action, Condition, DeleteOptions, Generation, GetOptions, PutOptions, Reason, Vault};
use strongroom_core::ledger::Event;
use strongroom_test_services::on_each_engine;
use strongroom_tests::{Lab, TestVault};

use super::reason;

async fn put(by: &Vault, lab: &Lab, name: &str, bytes: &'static str, condition: Condition) -> Result<u64, Reason> {
    let options = PutOptions { condition, ..PutOptions::default() };
    let done = by.put_bytes(&lab.object(name), bytes.into(), options).await;
    done.map(|done| done.generation.0).map_err(|error| error.reason())
}

async fn get(by: &Vault, lab: &Lab, name: &str) -> Result<String, Reason> {
    let got = by.get_bytes(&lab.object(name), GetOptions::default()).await;
    got.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap()).map_err(|error| error.reason())
}

async fn a_condition_that_does_not_hold() {
    let vault = TestVault::start().await;
    let lab = vault.lab("acme").await;
    lab.dataset("rlhf").await;
    let by = &lab.vault;
    let generation = |number| Condition::Generation(Generation(number));
    let refused = Err(Reason::PreconditionFailed);

    assert_eq!(put(by, &lab, "rlhf/a", "none yet", generation(1)).await, refused);
    assert_eq!(put(by, &lab, "rlhf/a", "one", Condition::Absent).await, Ok(1));
    assert_eq!(put(by, &lab, "rlhf/a", "again", Condition::Absent).await, refused);
    assert_eq!(put(by, &lab, "rlhf/a", "too new", generation(2)).await, refused);
    assert_eq!(get(by, &lab, "rlhf/a").await.as_deref(), Ok("one"));
    assert_eq!(put(by, &lab, "rlhf/a", "two", generation(1)).await, Ok(2));
    assert_eq!(put(by, &lab, "rlhf/a", "late", generation(1)).await, refused);
    assert_eq!(put(by, &lab, "rlhf/a", "three", Condition::Any).await, Ok(3));
    assert_eq!(get(by, &lab, "rlhf/a").await.as_deref(), Ok("three"));
    let old = GetOptions { generation: Some(Generation(1)), ..GetOptions::default() };
    assert_eq!(by.get_bytes(&lab.object("rlhf/a"), old.clone()).await.unwrap(), "one");
    let none = GetOptions { generation: Some(Generation(4)), ..GetOptions::default() };
    assert_eq!(reason(by.get_bytes(&lab.object("rlhf/a"), none).await), Reason::NotFound);

    let delete = async |generation: Option<u64>| {
        let options = DeleteOptions { generation: generation.map(Generation), ..DeleteOptions::default() };
        by.delete(&lab.object("rlhf/a"), options).await.map(|done| done.generation.0).map_err(|error| error.reason())
    };
    assert_eq!(delete(Some(2)).await, refused);
    assert_eq!(delete(Some(3)).await, Ok(3));
    assert_eq!(delete(None).await, Err(Reason::NotFound));
    assert_eq!(get(by, &lab, "rlhf/a").await, Err(Reason::NotFound));
    assert_eq!(reason(by.get_bytes(&lab.object("rlhf/a"), old).await), Reason::NotFound);
    // A delete takes a number too, so that no number ever stands for two things.
    assert_eq!(put(by, &lab, "rlhf/a", "five", Condition::Absent).await, Ok(5));
    assert_eq!(get(by, &lab, "rlhf/a").await.as_deref(), Ok("five"));

    let ledger = vault.ledger("acme").await;
    assert_eq!(ledger.done(Event::ObjectPut).len(), 4);
    assert_eq!(ledger.done(Event::ObjectDeleted).len(), 1);
}

async fn a_dataset_that_is_not_there_takes_nothing() {
    let vault = TestVault::start().await;
    let lab = vault.lab("acme").await;
    let dataset = lab.dataset("rlhf").await;
    assert_eq!(put(&lab.vault, &lab, "none/a", "x", Condition::Any).await, Err(Reason::NotFound));
    assert_eq!(reason(lab.vault.create_dataset(&dataset).await), Reason::PreconditionFailed);
    lab.put("rlhf/a", "x").await;
    lab.vault.delete_dataset(&dataset).await.unwrap();
    assert_eq!(get(&lab.vault, &lab, "rlhf/a").await, Err(Reason::NotFound));
    assert_eq!(put(&lab.vault, &lab, "rlhf/b", "x", Condition::Any).await, Err(Reason::NotFound));
    // Its name stays taken, so that no name ever stands for two datasets.
    assert_eq!(reason(lab.vault.create_dataset(&dataset).await), Reason::PreconditionFailed);
    vault.ledger("acme").await;
}

async fn a_writer_that_may_not_read() {
    let vault = TestVault::start().await;
    let lab = vault.lab("acme").await;
    lab.dataset("rlhf").await;
    let worker = lab.vendor(&vault, "labelco").await;
    lab.grant(lab.terms(worker.holder, &[(&[Action::Write], "rlhf/labels/")])).await;
    assert_eq!(put(&worker.vault, &lab, "rlhf/labels/1", "good", Condition::Absent).await, Ok(1));
    assert_eq!(get(&worker.vault, &lab, "rlhf/labels/1").await, Err(Reason::OutOfScope));
    assert_eq!(
        reason(worker.vault.stat(&lab.object("rlhf/labels/1"), GetOptions::default()).await),
        Reason::OutOfScope
    );
    let delete = worker.vault.delete(&lab.object("rlhf/labels/1"), DeleteOptions::default()).await;
    assert_eq!(reason(delete), Reason::OutOfScope);
    assert_eq!(get(&lab.vault, &lab, "rlhf/labels/1").await.as_deref(), Ok("good"));
    for outside in ["rlhf/labels", "rlhf/labels2/1", "rlhf/other"] {
        assert_eq!(put(&worker.vault, &lab, outside, "x", Condition::Any).await, Err(Reason::OutOfScope), "{outside}");
    }

    // To write is to make what is not there: who overwrites needs the right to, however the write is conditioned.
    for condition in [Condition::Any, Condition::Absent, Condition::Generation(Generation(1))] {
        let overwritten = put(&worker.vault, &lab, "rlhf/labels/1", "bad", condition).await;
        assert_eq!(overwritten, Err(Reason::PreconditionFailed), "{condition:?}");
    }
    assert_eq!(get(&lab.vault, &lab, "rlhf/labels/1").await.as_deref(), Ok("good"));
    lab.grant(lab.terms(worker.holder, &[(&[Action::Write, Action::Overwrite], "rlhf/labels/")])).await;
    // The SDK knows a grant that covers, and looks for no better one meanwhile: a new connection does.
    let fresh = vault.connect(&worker.identity).await;
    assert_eq!(put(&fresh, &lab, "rlhf/labels/1", "better", Condition::Any).await, Ok(2));
    assert_eq!(get(&lab.vault, &lab, "rlhf/labels/1").await.as_deref(), Ok("better"));

    let ledger = vault.ledger("acme").await;
    assert!(ledger.done(Event::Release).iter().all(|entry| entry.actor.key == lab.admin.fingerprint()));
}

async fn a_reader_that_may_not_write() {
    let vault = TestVault::start().await;
    let lab = vault.lab("acme").await;
    lab.dataset("rlhf").await;
    lab.put("rlhf/math/1", "one").await;
    let worker = lab.vendor(&vault, "labelco").await;
    lab.let_read(&worker, "rlhf/math/").await;
    assert_eq!(put(&worker.vault, &lab, "rlhf/math/1", "x", Condition::Any).await, Err(Reason::OutOfScope));
    assert_eq!(put(&worker.vault, &lab, "rlhf/math/2", "x", Condition::Any).await, Err(Reason::OutOfScope));
    let delete = worker.vault.delete(&lab.object("rlhf/math/1"), DeleteOptions::default()).await;
    assert_eq!(reason(delete), Reason::OutOfScope);
    // Nor may it order anything.
    let name = "acme".parse().unwrap();
    let other = "other".parse().unwrap();
    assert_eq!(reason(worker.vault.add_vendor(&name, &other, &[]).await), Reason::OutOfScope);
    assert_eq!(reason(worker.vault.create_dataset(&"acme/mine".parse().unwrap()).await), Reason::OutOfScope);
    assert_eq!(get(&worker.vault, &lab, "rlhf/math/1").await.as_deref(), Ok("one"));
    vault.ledger("acme").await;
}

on_each_engine! {
    (flavor = "current_thread")
    a_condition_that_does_not_hold,
    a_dataset_that_is_not_there_takes_nothing,
    a_writer_that_may_not_read,
    a_reader_that_may_not_write,
}
