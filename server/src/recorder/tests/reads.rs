//! Releases: order, charges, repeats.

use strongroom_core::ledger::charge::REQUEST_LIFE;

use super::*;

/// The guarantee that everything stands on: what comes out under a suspension are the releases before it, whoever races.
async fn nothing_is_released_at_or_after_a_suspension() {
    let lab = Arc::new(Lab::new().await);
    lab.put_path("math/1", 100).await;
    let people: Vec<Arc<Person>> = (0..4).map(|_| Person::new(&lab.tenant)).collect();
    let vendor = lab.vendor("labelco", &people.iter().map(|person| &**person).collect::<Vec<_>>()).await;
    let grant = Some(lab.grant(Holder::Vendor(vendor), &[Action::Read], "math/", Limits::default()).await);
    let stop = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = people
        .iter()
        .cycle()
        .take(16)
        .map(|person| {
            let (lab, person, stop) = (lab.clone(), person.clone(), stop.clone());
            tokio::spawn(async move {
                let (mut released, mut refused) = (Vec::new(), 0);
                while refused < 3 {
                    match lab.read(&person, grant, &["math/1"]).await {
                        Ok(recorded) => released.push(recorded.index()),
                        Err(error) => {
                            assert_eq!(error.reason(), Reason::VendorSuspended);
                            assert!(stop.load(Ordering::SeqCst), "refused before anything was taken away");
                            refused += 1;
                        }
                    }
                }
                released
            })
        })
        .collect();
    let mut epochs = lab.recorder.epochs(&lab.tenant);
    epochs.mark_unchanged();
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    stop.store(true, Ordering::SeqCst);
    let suspended = lab.order(Instruction::SuspendVendor { vendor, note: None }).await.unwrap().index();
    let mut count = 0;
    for reader in readers {
        let released = reader.await.unwrap();
        count += released.len();
        assert!(released.iter().all(|index| *index < suspended), "released at or after entry {suspended}");
    }
    assert!(count > 0);
    assert!(epochs.has_changed().unwrap());
    lab.replay().await;
}

/// What waits beside an order that takes away is decided after it, even if it came before.
async fn what_takes_away_goes_first() {
    let lab = Arc::new(Lab::new().await);
    lab.put_path("math/1", 100).await;
    let person = Person::new(&lab.tenant);
    let vendor = lab.vendor("labelco", &[&person]).await;
    let grant = Some(lab.grant(Holder::Vendor(vendor), &[Action::Read], "math/", Limits::default()).await);
    let release = lab.release_of(&person.call(get(&["math/1"]), grant)).await;
    // Two in one batch: the writer's lock is held until both wait behind a third.
    let mut held = lab.catalog.begin().await.unwrap();
    held.head(&lab.tenant.id, &lab.tenant.ledger_key).await.unwrap();
    let queue = |attempt| {
        let lab = lab.clone();
        tokio::spawn(async move { lab.record(attempt).await })
    };
    let third = queue(Attempt::Order(Box::new(
        lab.signed(&lab.admin.identity, Instruction::CreateDataset { name: "other".parse().unwrap() }),
    )));
    tokio::task::yield_now().await;
    tokio::task::yield_now().await;
    let read = queue(Attempt::Release(release));
    tokio::task::yield_now().await;
    let suspend = lab.signed(&lab.admin.identity, Instruction::SuspendVendor { vendor, note: None });
    let suspend = queue(Attempt::Order(Box::new(suspend)));
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    drop(held);
    third.await.unwrap().unwrap();
    suspend.await.unwrap().unwrap();
    assert_eq!(reason(read.await.unwrap()), Reason::VendorSuspended);
    lab.replay().await;
}

async fn charges_are_exact_whoever_races() {
    let lab = Arc::new(Lab::new().await);
    lab.put_path("math/1", 1000).await;
    let people: Vec<Arc<Person>> = (0..4).map(|_| Person::new(&lab.tenant)).collect();
    let vendor = lab.vendor("labelco", &people.iter().map(|person| &**person).collect::<Vec<_>>()).await;
    let limits = Limits { bytes: Some(25_999), ..Limits::default() };
    let grant = lab.grant(Holder::Vendor(vendor), &[Action::Read], "math/", limits).await;
    let readers: Vec<_> = (0..40)
        .map(|n| {
            let (lab, person) = (lab.clone(), people[n % 4].clone());
            tokio::spawn(async move { lab.read(&person, Some(grant), &["math/1"]).await })
        })
        .collect();
    let (mut released, mut over) = (0, 0);
    for reader in readers {
        match reader.await.unwrap() {
            Ok(_) => released += 1,
            Err(error) => {
                assert_eq!(error.reason(), Reason::QuotaExceeded);
                over += 1;
            }
        }
    }
    assert_eq!((released, over), (25, 15));
    assert_eq!(lab.usage(grant).await, Usage { bytes: 25_000, objects: 25, uses: 25 });
    lab.replay().await;
}

async fn a_rate_is_exact_whoever_races_and_begins_anew_each_minute() {
    let mut lab = Lab::new().await;
    lab.put_path("math/1", 1000).await;
    let people: Vec<Arc<Person>> = (0..4).map(|_| Person::new(&lab.tenant)).collect();
    let vendor = lab.vendor("labelco", &people.iter().map(|person| &**person).collect::<Vec<_>>()).await;
    let limits = Limits { bytes_per_minute: Some(5999), ..Limits::default() };
    let grant = lab.grant(Holder::Vendor(vendor), &[Action::Read], "math/", limits).await;
    let minute = 60_000;
    for round in 1..=3 {
        lab.clock.forward(minute - lab.clock.now().0 % minute);
        let shared = Arc::new(lab);
        let readers: Vec<_> = (0..12)
            .map(|n| {
                let (lab, person) = (shared.clone(), people[n % 4].clone());
                tokio::spawn(async move { lab.read(&person, Some(grant), &["math/1"]).await })
            })
            .collect();
        let mut released = 0;
        for reader in readers {
            match reader.await.unwrap() {
                Ok(_) => released += 1,
                Err(RecordError::Refused { refusal, .. }) => {
                    let resets = Some(Reset { at: Millis(shared.clock.now().0 + minute), after: minute });
                    assert_eq!(refusal.hit, Some(Hit { limit: Limit::BytesPerMinute, resets }));
                }
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(released, 5);
        assert_eq!(shared.usage(grant).await.bytes, round * 5000);
        lab = Arc::into_inner(shared).unwrap();
        if round == 2 {
            // The minute is a row, not a memory of this process.
            lab.restart().await;
            people.iter().for_each(|person| person.reconnect());
            assert_eq!(reason(lab.read(&people[0], Some(grant), &["math/1"]).await), Reason::QuotaExceeded);
        }
    }
    lab.replay().await;
}

async fn a_request_that_comes_again_is_charged_once() {
    let lab = Lab::new().await;
    for path in ["math/1", "math/2", "math/3"] {
        lab.put_path(path, 1000).await;
    }
    let person = Person::new(&lab.tenant);
    let grant = lab.grant(Holder::Key(person.key()), &[Action::Read], "math/", Limits::default()).await;
    let request = random_id(RequestId::from_bytes);
    let work = get(&["math/1", "math/2", "math/3"]);
    let call = || person.call_as(request, work.clone(), Some(grant));
    // The first two of three, then the connection breaks.
    let mut first = lab.release_of(&call()).await;
    let third = first.parts.pop().unwrap();
    let recorded = lab.record(Attempt::Release(first)).await.unwrap();
    assert!(!is_repeat(&recorded));
    assert_eq!(lab.usage(grant).await, Usage { bytes: 2000, objects: 2, uses: 1 });
    // It resumes in another session with the second and the third: one was released, one is new.
    person.reconnect();
    let resumed = call();
    let mut step = lab.release_of(&resumed).await;
    step.parts.remove(0);
    let recorded = lab.record(Attempt::Release(step)).await.unwrap();
    assert!(!is_repeat(&recorded));
    assert_eq!(lab.usage(grant).await, Usage { bytes: 3000, objects: 3, uses: 1 });
    // All of it again, in the same session and in the same words: nothing is new.
    let again = lab.release_of(&call()).await;
    assert!(is_repeat(&lab.record(Attempt::Release(again)).await.unwrap()));
    assert_eq!(lab.usage(grant).await, Usage { bytes: 3000, objects: 3, uses: 1 });
    // The same id for something else.
    let other = person.call_as(request, get(&["math/1"]), Some(grant));
    let other = lab.release_of(&other).await;
    assert_eq!(reason(lab.record(Attempt::Release(other)).await), Reason::PreconditionFailed);
    drop(third);
    // A quarter of an hour later it is another request; and the old call is over.
    lab.clock.forward(REQUEST_LIFE + 1);
    let old = lab.release_of(&call()).await;
    assert_eq!(reason(lab.record(Attempt::Release(old)).await), Reason::SessionUnknown);
    person.reconnect();
    let fresh = lab.release_of(&call()).await;
    assert!(!is_repeat(&lab.record(Attempt::Release(fresh)).await.unwrap()));
    assert_eq!(lab.usage(grant).await, Usage { bytes: 6000, objects: 6, uses: 2 });
    lab.replay().await;
}

async fn windows_of_one_object_are_one_object() {
    let lab = Lab::new().await;
    let size = 3 * 64 * 1024 * 1024 + 5;
    lab.put_path("big", size).await;
    let person = Person::new(&lab.tenant);
    let grant = lab.grant(Holder::Key(person.key()), &[Action::Read], "", Limits::default()).await;
    let call = person.call(get(&["big"]), Some(grant));
    let (found, hides) = lab.resolve(&[("big", None)]).await;
    let object = Arc::new(found[0].clone().unwrap());
    for at in 0..4 {
        let parts = vec![window(0, object.clone(), at)];
        let step = Release { call: call.clone(), parts, obstacle: None, hides };
        assert!(!is_repeat(&lab.record(Attempt::Release(step)).await.unwrap()));
    }
    assert_eq!(lab.usage(grant).await, Usage { bytes: size, objects: 1, uses: 1 });
    // A stream that stalls for longer than its request is remembered is over.
    lab.clock.forward(REQUEST_LIFE + 1);
    let step = Release { call, parts: vec![window(0, object, 0)], obstacle: None, hides };
    assert_eq!(reason(lab.record(Attempt::Release(step)).await), Reason::SessionUnknown);
    lab.replay().await;
}

async fn scope_comes_before_existence() {
    let lab = Lab::new().await;
    lab.put_path("math/1", 10).await;
    lab.put_path("secret/1", 10).await;
    let person = Person::new(&lab.tenant);
    let grant = Some(lab.grant(Holder::Key(person.key()), &[Action::Read], "math/", Limits::default()).await);
    // Out of scope and not there look the same, also beside something that is both.
    for path in ["secret/1", "secret/2"] {
        assert_eq!(reason(lab.read(&person, grant, &[path]).await), Reason::OutOfScope);
        assert_eq!(reason(lab.read(&person, grant, &["math/1", path]).await), Reason::OutOfScope);
    }
    let obstacle = Some(Refusal::new(Reason::NotFound, "no such object"));
    let nothing = |paths: &[&str]| Release {
        call: person.call(get(paths), grant),
        parts: Vec::new(),
        obstacle: obstacle.clone(),
        hides: 0,
    };
    assert_eq!(reason(lab.record(Attempt::Release(nothing(&["secret/2"]))).await), Reason::OutOfScope);
    assert_eq!(reason(lab.record(Attempt::Release(nothing(&["math/2"]))).await), Reason::NotFound);
    // Another's grant, and none.
    let other = Person::new(&lab.tenant);
    assert_eq!(reason(lab.read(&other, grant, &["math/1"]).await), Reason::Unauthenticated);
    assert_eq!(reason(lab.read(&lab.admin, grant, &["math/1"]).await), Reason::OutOfScope);
    lab.read(&lab.admin, None, &["math/1", "secret/1"]).await.unwrap();
    lab.replay().await;
}

async fn what_was_deleted_after_it_was_found_is_not_released() {
    let lab = Lab::new().await;
    lab.put_path("math/1", 10).await;
    lab.put_path("math/2", 10).await;
    let found = lab.release_of(&lab.admin.call(get(&["math/1"]), None)).await;
    let other = lab.release_of(&lab.admin.call(get(&["math/2"]), None)).await;
    lab.delete(&lab.admin, None, &["math/1"]).await.unwrap();
    assert_eq!(reason(lab.record(Attempt::Release(found)).await), Reason::NotFound);
    lab.record(Attempt::Release(other)).await.unwrap();
    // So is a whole dataset.
    let found = lab.release_of(&lab.admin.call(get(&["math/2"]), None)).await;
    lab.order(Instruction::DeleteDataset { name: DATASET.parse().unwrap() }).await.unwrap();
    assert_eq!(reason(lab.record(Attempt::Release(found)).await), Reason::NotFound);
    lab.replay().await;
}

async fn grants_end() {
    let lab = Lab::new().await;
    lab.put_path("math/1", 10).await;
    let person = Person::new(&lab.tenant);
    let grant = lab.grant(Holder::Key(person.key()), &[Action::Read], "math/", Limits::default()).await;
    let short = lab.grant(Holder::Key(person.key()), &[Action::Read], "math/", Limits::default()).await;
    lab.read(&person, Some(grant), &["math/1"]).await.unwrap();
    lab.order(Instruction::RevokeGrant { grant, note: None }).await.unwrap();
    assert_eq!(reason(lab.read(&person, Some(grant), &["math/1"]).await), Reason::GrantRevoked);
    lab.clock.forward(12 * 3_600_000);
    assert_eq!(reason(lab.read(&person, Some(short), &["math/1"]).await), Reason::GrantExpired);
    lab.replay().await;
}

on_each_engine! {
    (flavor = "multi_thread", worker_threads = 2)
    nothing_is_released_at_or_after_a_suspension,
    charges_are_exact_whoever_races,
    a_rate_is_exact_whoever_races_and_begins_anew_each_minute,
}

on_each_engine! {
    (flavor = "current_thread")
    what_takes_away_goes_first,
    a_request_that_comes_again_is_charged_once,
    windows_of_one_object_are_one_object,
    scope_comes_before_existence,
    what_was_deleted_after_it_was_found_is_not_released,
    grants_end,
}
