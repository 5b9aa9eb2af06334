//! Puts and deletes.

use super::*;

async fn a_put_that_comes_again_answers_as_before() {
    let lab = Lab::new().await;
    let person = Person::new(&lab.tenant);
    let grant = lab.grant(Holder::Key(person.key()), &[Action::Write], "labels/", Limits::default()).await;
    let request = random_id(RequestId::from_bytes);
    let items = vec![item("labels/1", 10), item("labels/2", 20)];
    let call = || person.call_as(request, Work::Put(items.clone()), Some(grant));
    let first = lab.put_again(call()).await;
    let first = outcomes(&lab.record(Attempt::Put(first)).await.unwrap());
    let size = lab.seen().await.size;
    let again = lab.put_again(call()).await;
    let again = outcomes(&lab.record(Attempt::Put(again)).await.unwrap());
    assert_eq!(first, again);
    assert_eq!(lab.seen().await.size, size, "nothing happened, so nothing is recorded");
    assert_eq!(lab.usage(grant).await, Usage { bytes: 30, objects: 2, uses: 1 });
    // The same put ids for another path, and by somebody else.
    let moved = PutItem { path: "labels/3".parse().unwrap(), ..items[0].clone() };
    let moved = lab.put(&person, Some(grant), vec![moved]).await;
    assert_eq!(refused(&moved[0]), Some(Reason::PreconditionFailed));
    let stolen = lab.put(&lab.admin, None, vec![items[0].clone()]).await;
    assert_eq!(refused(&stolen[0]), Some(Reason::PreconditionFailed));
    // One new beside one that was.
    let mixed = lab.put(&person, Some(grant), vec![items[0].clone(), item("labels/4", 5)]).await;
    assert_eq!(mixed[0], first[0]);
    assert!(mixed[1].is_ok());
    assert_eq!(lab.usage(grant).await, Usage { bytes: 35, objects: 3, uses: 2 });
    lab.replay().await;
}

async fn conditions_are_decided_where_the_generation_is_given() {
    let lab = Lab::new().await;
    let put = |condition| PutItem { condition, ..item("a/b", 7) };
    let outcome = async |condition| lab.put(&lab.admin, None, vec![put(condition)]).await.pop().unwrap();
    assert_eq!(refused(&outcome(Condition::Generation(Generation(1))).await), Some(Reason::PreconditionFailed));
    assert_eq!(outcome(Condition::Absent).await.unwrap().generation, Generation(1));
    assert_eq!(refused(&outcome(Condition::Absent).await), Some(Reason::PreconditionFailed));
    assert_eq!(outcome(Condition::Generation(Generation(1))).await.unwrap().generation, Generation(2));
    assert_eq!(outcome(Condition::Any).await.unwrap().generation, Generation(3));
    // A delete takes a number, and leaves nothing visible.
    let gone = hidden(&lab.delete(&lab.admin, None, &["a/b"]).await.unwrap());
    assert_eq!(gone[0].as_ref().unwrap().generation, Generation(3));
    assert_eq!(outcome(Condition::Absent).await.unwrap().generation, Generation(5));
    // One path twice in one call: each sees the one before.
    let twice = lab.put(&lab.admin, None, vec![put(Condition::Any), put(Condition::Generation(Generation(6)))]).await;
    assert_eq!(twice[1].as_ref().unwrap().generation, Generation(7));
    for (generation, there) in [(1, false), (3, false), (4, false), (5, true), (6, true), (7, true), (8, false)] {
        let (found, _) = lab.resolve(&[("a/b", Some(generation))]).await;
        assert_eq!(found[0].is_some(), there, "generation {generation}");
    }
    let (found, _) = lab.resolve(&[("a/b", None), ("a/c", None)]).await;
    assert_eq!(found[0].as_ref().unwrap().generation, Generation(7));
    assert!(found[1].is_none());
    lab.replay().await;
}

async fn one_item_that_fails_does_not_fail_the_others() {
    let lab = Lab::new().await;
    let old = item("labels/old", 10);
    lab.put(&lab.admin, None, vec![old.clone()]).await;
    let person = Person::new(&lab.tenant);
    let limits = Limits { objects: Some(3), ..Limits::default() };
    let grant = Some(lab.grant(Holder::Key(person.key()), &[Action::Write], "labels/", limits).await);
    let reused = PutItem { header: old.header, ..item("labels/reused", 10) };
    let twice = item("labels/twice", 10);
    let items = vec![item("labels/old", 1), item("labels/new", 2), reused, twice.clone(), twice];
    let outcomes = lab.put(&person, grant, items).await;
    let failed: Vec<bool> = outcomes.iter().map(Result::is_err).collect();
    // Overwriting needs its own action; object ids and put ids are used once.
    assert_eq!(failed, [true, false, true, false, true]);
    assert!(outcomes.iter().flat_map(refused).all(|reason| reason == Reason::PreconditionFailed));
    // The limit counts what succeeded; what would overrun it fails as a whole, and leaves nothing behind.
    let put = lab.put_of(&person, grant, vec![item("labels/x", 1), item("labels/y", 1)]).await;
    assert_eq!(reason(lab.record(Attempt::Put(put)).await), Reason::QuotaExceeded);
    assert!(lab.put(&person, grant, vec![item("labels/x", 1)]).await[0].as_ref().unwrap().generation == Generation(1));
    // Out of scope as a whole, whatever stands there.
    let put = lab.put_of(&person, grant, vec![item("labels/z", 1), item("math/1", 1)]).await;
    assert_eq!(reason(lab.record(Attempt::Put(put)).await), Reason::OutOfScope);
    let writer =
        lab.grant(Holder::Key(person.key()), &[Action::Write, Action::Overwrite], "labels/", Limits::default());
    let writer = Some(writer.await);
    assert!(lab.put(&person, writer, vec![item("labels/old", 1)]).await[0].is_ok());
    lab.replay().await;
}

async fn long_calls_are_several_entries() {
    let lab = Lab::new().await;
    let items: Vec<PutItem> = (0..1024).map(|n| item(&format!("math/{n:04}"), 100)).collect();
    let before = lab.seen().await.size;
    let outcomes = lab.put(&lab.admin, None, items).await;
    let visible: Vec<Visible> = outcomes.into_iter().map(Result::unwrap).collect();
    // The session's entry, then two of 512 objects.
    assert_eq!(lab.seen().await.size.0, before.0 + 3);
    assert_eq!((visible[511].index.0, visible[511].ordinal), (before.0 + 1, 511));
    assert_eq!((visible[512].index.0, visible[512].ordinal), (before.0 + 2, 0));
    let paths: Vec<String> = (0..1024).map(|n| format!("math/{n:04}")).collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let recorded = lab.read(&lab.admin, None, &paths).await.unwrap();
    assert!(matches!(recorded.what(), What::Release { parts, .. } if parts.len() == 1024));
    let named: Vec<(Index, u32)> = visible.iter().map(|visible| (visible.index, visible.ordinal)).collect();
    let names = lab.catalog.names(&lab.tenant.id, &lab.tenant.ledger_key, &named).await.unwrap();
    assert!(names.iter().zip(&paths).all(|((_, name), path)| name.as_str() == *path));
    let gone = hidden(&lab.delete(&lab.admin, None, &paths).await.unwrap());
    assert_eq!(gone.iter().flatten().count(), 1024);
    lab.replay().await;
}

async fn a_condemned_upload_never_becomes_visible() {
    let lab = Lab::new().await;
    let put = lab.put_of(&lab.admin, None, vec![item("a", 1)]).await;
    let blob = put.objects[0].blob.clone();
    assert!(lab.catalog.condemn(&lab.tenant.id, &blob).await.unwrap());
    let size = lab.seen().await.size;
    // The caller may send it again: it is no refusal, and no entry.
    assert_eq!(reason(lab.record(Attempt::Put(put)).await), Reason::Unavailable);
    assert_eq!(lab.seen().await.size, size);
    // Nor one whose row was never there; and what was committed is not condemned.
    let mut put = lab.put_of(&lab.admin, None, vec![item("a", 1)]).await;
    put.objects[0].blob = "blobs/unknown".into();
    assert_eq!(reason(lab.record(Attempt::Put(put)).await), Reason::Unavailable);
    let put = lab.put_of(&lab.admin, None, vec![item("a", 1)]).await;
    let committed = put.objects[0].blob.clone();
    lab.record(Attempt::Put(put)).await.unwrap();
    assert!(!lab.catalog.condemn(&lab.tenant.id, &committed).await.unwrap());
    assert!(lab.catalog.condemned(10).await.unwrap().iter().any(|condemned| condemned.blob == blob));
    lab.catalog.forget(&blob).await.unwrap();
    assert!(lab.catalog.condemned(10).await.unwrap().iter().all(|condemned| condemned.blob != blob));
    // The two whose put failed are open still, and idle.
    assert_eq!(lab.catalog.condemn_idle(Millis(lab.clock.now().0 + 1), 10).await.unwrap(), 1);
    lab.replay().await;
}

async fn a_delete_that_comes_again_answers_as_before() {
    let lab = Lab::new().await;
    lab.put_path("a", 1).await;
    lab.put_path("b", 70_000).await;
    let request = random_id(RequestId::from_bytes);
    let delete =
        || Delete { call: lab.admin.call_as(request, delete_work(&["a", "missing", "b", "a"]), None), obstacle: None };
    let first = hidden(&lab.record(Attempt::Delete(delete())).await.unwrap());
    assert_eq!(
        first.iter().map(refused).collect::<Vec<_>>(),
        [None, Some(Reason::NotFound), None, Some(Reason::NotFound)]
    );
    lab.put_path("a", 1).await;
    assert_eq!(hidden(&lab.record(Attempt::Delete(delete())).await.unwrap()), first);
    assert!(lab.resolve(&[("a", None)]).await.0[0].is_some(), "what was put since stays");
    let other = Delete { call: lab.admin.call_as(request, delete_work(&["a"]), None), obstacle: None };
    assert_eq!(reason(lab.record(Attempt::Delete(other)).await), Reason::PreconditionFailed);
    // All fails: told for each, and nothing is hidden.
    let none = hidden(&lab.delete(&lab.admin, None, &["missing"]).await.unwrap());
    assert_eq!(refused(&none[0]), Some(Reason::NotFound));
    let person = Person::new(&lab.tenant);
    let grant = lab.grant(Holder::Key(person.key()), &[Action::Delete], "a", Limits::default()).await;
    assert_eq!(reason(lab.delete(&person, Some(grant), &["b"]).await), Reason::OutOfScope);
    lab.delete(&person, Some(grant), &["a"]).await.unwrap();
    assert_eq!(lab.usage(grant).await, Usage { bytes: 0, objects: 1, uses: 1 });
    lab.replay().await;
}

/// Everything about one path in one batch: each attempt sees what those before it did.
async fn attempts_of_one_batch_see_each_other() {
    let lab = Arc::new(Lab::new().await);
    lab.put_path("a", 1).await;
    let found = lab.release_of(&lab.admin.call(get(&["a"]), None)).await;
    let attempts = vec![
        Attempt::Put(lab.put_of(&lab.admin, None, vec![item("a", 2)]).await),
        Attempt::Put(lab.put_of(&lab.admin, None, vec![item("a", 3), item("b", 3)]).await),
        Attempt::Delete(Delete { call: lab.admin.call(delete_work(&["a", "b"]), None), obstacle: None }),
        Attempt::Release(found),
        Attempt::Put(lab.put_of(&lab.admin, None, vec![item("b", 4)]).await),
    ];
    let held = lab.catalog.begin().await.unwrap();
    let mut answers = Vec::new();
    for attempt in attempts {
        let lab = lab.clone();
        answers.push(tokio::spawn(async move { lab.record(attempt).await }));
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    drop(held);
    let mut results = Vec::new();
    for answer in answers {
        results.push(answer.await.unwrap());
    }
    let generation =
        |result: &Result<Recorded, RecordError>| outcomes(result.as_ref().unwrap())[0].as_ref().unwrap().generation;
    assert_eq!((generation(&results[0]), generation(&results[1])), (Generation(2), Generation(3)));
    assert_eq!(hidden(results[2].as_ref().unwrap()).iter().flatten().count(), 2);
    assert_eq!(generation(&results[4]), Generation(3));
    assert_eq!(reason(results.swap_remove(3)), Reason::NotFound);
    let (found, _) = lab.resolve(&[("a", None), ("a", Some(2)), ("b", None), ("b", Some(1))]).await;
    assert_eq!(found.iter().map(Option::is_some).collect::<Vec<_>>(), [false, false, true, false]);
    lab.replay().await;
}

on_each_engine! {
    (flavor = "current_thread")
    a_put_that_comes_again_answers_as_before,
    conditions_are_decided_where_the_generation_is_given,
    one_item_that_fails_does_not_fail_the_others,
    long_calls_are_several_entries,
    a_condemned_upload_never_becomes_visible,
    a_delete_that_comes_again_answers_as_before,
    attempts_of_one_batch_see_each_other,
}
