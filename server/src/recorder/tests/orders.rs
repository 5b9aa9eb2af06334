//! Orders: once, in time, by whoever may.

use super::*;

async fn an_order_is_accepted_once() {
    let lab = Lab::new().await;
    let order = lab.signed(&lab.admin.identity, Instruction::CreateDataset { name: "other".parse().unwrap() });
    let repeat = |caller: &Caller| Order::new(caller.clone(), order.verified.clone());
    let id = order.verified.id();
    let (mine, at_once, stranger) =
        (repeat(&order.caller), repeat(&order.caller), Person::new(&lab.tenant).caller.clone());
    let again = repeat(&stranger);
    // Twice in one batch, and once more later: whoever signed it gets the same receipt.
    let (first, second) =
        tokio::join!(lab.record(Attempt::Order(Box::new(order))), lab.record(Attempt::Order(Box::new(at_once))));
    let first = first.unwrap();
    lab.clock.forward(5);
    let third = lab.record(Attempt::Order(Box::new(mine))).await.unwrap();
    for receipt in [&second.unwrap(), &third] {
        assert_eq!((receipt.index(), receipt.time()), (first.index(), first.time()));
        assert!(matches!(receipt.what(), What::Order(of) if *of == id));
    }
    let index = first.index();
    match lab.record(Attempt::Order(Box::new(again))).await {
        Err(RecordError::Refused { refusal, .. }) => {
            assert_eq!(refusal.reason, Reason::PreconditionFailed);
            assert!(refusal.detail.ends_with(&format!("entry {index}")), "{}", refusal.detail);
        }
        _ => panic!("it was accepted again"),
    }
    // Too late, and by somebody who may not.
    let late = lab.signed(&lab.admin.identity, Instruction::CreateDataset { name: "late".parse().unwrap() });
    lab.clock.forward(60_001);
    assert_eq!(reason(lab.record(Attempt::Order(Box::new(late))).await), Reason::PreconditionFailed);
    let other = Identity::generate().unwrap();
    let make = Instruction::CreateDataset { name: "mine".parse().unwrap() };
    assert_eq!(reason(lab.order_by(&other, make).await), Reason::OutOfScope);
    // The tenant is there already.
    assert_eq!(reason(lab.create().await), Reason::PreconditionFailed);
    lab.replay().await;
}

async fn a_grant_can_be_used_in_the_batch_that_issues_it() {
    let lab = Lab::new().await;
    lab.put_path("math/1", 10).await;
    let person = Person::new(&lab.tenant);
    let terms = lab.terms(Holder::Key(person.key()), &[Action::Read], "math/", Limits::default());
    let order = lab.signed(&lab.admin.identity, Instruction::IssueGrant(terms));
    let grant = GrantId::from(order.verified.id());
    let release = lab.release_of(&person.call(get(&["math/1"]), Some(grant))).await;
    let (issued, released) =
        tokio::join!(lab.record(Attempt::Order(Box::new(order))), lab.record(Attempt::Release(release)));
    assert!(issued.unwrap().index() < released.unwrap().index());
    // The holder finds it, and so does an admin.
    let own = lab
        .catalog
        .grants_of(&lab.tenant.id, &lab.tenant.ledger_key, &Holder::Key(person.key()), None, 10)
        .await
        .unwrap();
    assert_eq!(own.iter().map(|grant| grant.id).collect::<Vec<_>>(), [grant]);
    let all = lab.catalog.list_grants(&lab.tenant.id, &lab.tenant.ledger_key, None, 10).await.unwrap();
    assert_eq!(all, own);
    let issued = Some(all[0].issued.0);
    assert!(lab.catalog.list_grants(&lab.tenant.id, &lab.tenant.ledger_key, issued, 10).await.unwrap().is_empty());
    lab.replay().await;
}

async fn a_renewed_grant_goes_on_on_every_node() {
    let mut lab = Lab::new().await;
    lab.put_path("math/1", 1000).await;
    let person = Person::new(&lab.tenant);
    let grant = lab.grant(Holder::Key(person.key()), &[Action::Read], "math/", Limits::default()).await;
    let read = async |lab: &Lab| lab.read(&person, Some(grant), &["math/1"]).await;
    read(&lab).await.unwrap();
    // Another node has the grant in its memory before it is renewed here.
    let (catalog, other) = lab.other_node().await;
    let read_there = async |lab: &Lab| {
        let release = lab.release_of(&person.call(get(&["math/1"]), Some(grant))).await;
        other.record(&lab.tenant, Attempt::Release(release)).await
    };
    person.reconnect();
    read_there(&lab).await.unwrap();
    lab.clock.forward(11 * 3_600_000);
    let expires = Millis(lab.clock.now().0 + 20 * 3_600_000);
    lab.order(Instruction::RenewGrant { grant, expires }).await.unwrap();
    let told = async |recorder: &Recorder| recorder.standing(&lab.tenant, grant).await.unwrap()[0].0.terms.expires;
    assert_eq!(told(&lab.recorder).await, expires);
    lab.clock.forward(2 * 3_600_000);
    person.reconnect();
    read_there(&lab).await.unwrap();
    person.reconnect();
    read(&lab).await.unwrap();
    assert_eq!(lab.usage(grant).await.uses, 4, "it is the same grant");
    let held = lab
        .catalog
        .grants_of(&lab.tenant.id, &lab.tenant.ledger_key, &Holder::Key(person.key()), None, 10)
        .await
        .unwrap();
    assert_eq!((held.len(), held[0].terms.expires), (1, expires));
    // Twice, and in one batch with what it allows: the newest holds, also after a restart.
    let later = Millis(expires.0 + 60_000);
    lab.order(Instruction::RenewGrant { grant, expires: later }).await.unwrap();
    assert_eq!(reason(lab.order(Instruction::RenewGrant { grant, expires: later }).await), Reason::InvalidArgument);
    lab.restart().await;
    lab.clock.forward(18 * 3_600_000 + 1);
    person.reconnect();
    read(&lab).await.unwrap();
    lab.clock.forward(60_000);
    person.reconnect();
    assert_eq!(reason(read(&lab).await), Reason::GrantExpired);
    assert_eq!(
        reason(lab.order(Instruction::RenewGrant { grant, expires: Millis(u64::MAX >> 12) }).await),
        Reason::GrantExpired
    );
    other.shutdown().await;
    catalog.close().await;
    lab.replay().await;
}

async fn a_policy_holds_for_what_is_granted_after_it() {
    let mut lab = Lab::new().await;
    lab.put_path("math/1", 1000).await;
    let person = Person::new(&lab.tenant);
    let before = lab.grant(Holder::Key(person.key()), &[Action::Read], "math/", Limits::default()).await;
    let limits = Limits { uses: Some(1), ..Limits::default() };
    let policy = Policy { root_life: 12 * 3_600_000, limits, ..Policy::default() };
    lab.order(Instruction::SetPolicy(policy.clone())).await.unwrap();
    lab.restart().await;
    person.reconnect();
    assert_eq!(lab.recorder.view(&lab.tenant).await.unwrap().authority.policy().0, &policy);
    let after = lab.grant(Holder::Key(person.key()), &[Action::Read], "math/", Limits::default()).await;
    assert_eq!(lab.recorder.standing(&lab.tenant, after).await.unwrap()[0].0.terms.limits.uses, Some(1));
    let mut longer = lab.terms(Holder::Key(person.key()), &[Action::Read], "math/", Limits::default());
    longer.expires.0 += 1;
    assert_eq!(reason(lab.order(Instruction::IssueGrant(longer)).await), Reason::InvalidArgument);
    for grant in [before, after] {
        lab.read(&person, Some(grant), &["math/1"]).await.unwrap();
    }
    lab.read(&person, Some(before), &["math/1"]).await.unwrap();
    assert_eq!(reason(lab.read(&person, Some(after), &["math/1"]).await), Reason::QuotaExceeded);
    let by_stranger = lab.order_by(&person.identity, Instruction::SetPolicy(Policy::default())).await;
    assert_eq!(reason(by_stranger), Reason::OutOfScope);
    lab.replay().await;
}

async fn two_tenants_of_one_name_are_not_made() {
    let lab = Lab::new().await;
    let other = tenant_of(random_id(TenantId::from_bytes));
    let content = OrderContent {
        ledger: other.origin.clone(),
        request: random_id(RequestId::from_bytes),
        not_after: Millis(u64::MAX >> 12),
        instruction: Instruction::CreateTenant { name: other.name.clone(), admins: vec![lab.admin.key()] },
        incident: None,
    };
    let verified = content.sign(&lab.operator).unwrap().verify().unwrap();
    let order = Order::new(lab.admin.caller.clone(), verified);
    let key = vec![1; 60];
    let new = NewTenant {
        id: other.id,
        name: other.name.clone(),
        ledger_key: key.clone(),
        log_key: key.clone(),
        tenant_key: key,
    };
    let attempt = Attempt::CreateTenant(Box::new(order), Box::new(new));
    assert_eq!(reason(lab.recorder.record(&other, attempt).await), Reason::PreconditionFailed);
    assert_eq!(reason(lab.recorder.view(&other).await), Reason::LedgerDiverged);
    let tenants = lab.catalog.list_tenants(None, 10).await.unwrap();
    assert_eq!(tenants.len(), 1);
    assert_eq!(tenants[0].1, lab.seen().await.size);
    assert_eq!(lab.catalog.tenant_named(&"acme".parse().unwrap()).await.unwrap().unwrap().id, lab.tenant.id);
    assert!(lab.catalog.tenant(&other.id).await.unwrap().is_none());
    let keys = lab.catalog.tenant_keys(&lab.tenant.id).await.unwrap();
    assert_eq!((keys.len(), keys[0].version, keys[0].active), (1, 1, true));
}

/// A put that was wrapped before a rotation and is recorded after it: the rotation is not over, and its version not to be destroyed.
async fn a_put_under_an_older_key_opens_the_rewrap_again() {
    let lab = Lab::new().await;
    lab.put_path("a", 10).await;
    let rotate = async |version: u32| {
        let mut order = lab.signed(&lab.admin.identity, Instruction::RotateKey { version });
        order.new_key = Some(vec![7; 60]);
        lab.record(Attempt::Order(Box::new(order))).await
    };
    let destroy = async |version: u32| lab.order(Instruction::DestroyKey { version }).await;
    let rewrap = async || lab.catalog.rewrap(&lab.tenant.id).await.unwrap().unwrap();
    assert_eq!(reason(rotate(3).await), Reason::PreconditionFailed, "the next is 2");
    assert_eq!(reason(destroy(1).await), Reason::PreconditionFailed, "it is the active one");
    rotate(2).await.unwrap();
    assert_eq!((rewrap().await.version, rewrap().await.total, rewrap().await.finished), (2, 1, None));
    assert_eq!(reason(destroy(1).await), Reason::PreconditionFailed, "an object is under it");

    let finish = async || lab.catalog.finish_rewrap(&lab.tenant.id, rewrap().await, lab.clock.now()).await.unwrap();
    assert!(!finish().await, "a row is left");
    lab.catalog.tamper("UPDATE objects SET key_version = 2").await;
    assert!(finish().await);
    // The lab's puts are wrapped under version 1.
    lab.put_path("late", 10).await;
    assert!(rewrap().await.finished.is_none());
    assert_eq!(reason(destroy(1).await), Reason::PreconditionFailed);
    lab.catalog.tamper("UPDATE objects SET key_version = 2").await;
    assert!(finish().await);

    destroy(1).await.unwrap();
    let keys = lab.catalog.tenant_keys(&lab.tenant.id).await.unwrap();
    assert_eq!(
        keys.iter().map(|key| (key.version, key.active, key.wrapped.len())).collect::<Vec<_>>(),
        [(1, false, 0), (2, true, 60)]
    );
    let late = lab.put_of(&lab.admin, None, vec![item("too late", 10)]).await;
    assert_eq!(
        reason(lab.record(Attempt::Put(late)).await),
        Reason::Unavailable,
        "its key would be under what is gone"
    );
    lab.replay().await;
}

on_each_engine! {
    (flavor = "current_thread")
    a_put_under_an_older_key_opens_the_rewrap_again,
    an_order_is_accepted_once,
    a_grant_can_be_used_in_the_batch_that_issues_it,
    a_renewed_grant_goes_on_on_every_node,
    a_policy_holds_for_what_is_granted_after_it,
    two_tenants_of_one_name_are_not_made,
}
