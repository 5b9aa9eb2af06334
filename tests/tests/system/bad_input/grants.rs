//! Grants that do not reach: ended, not begun, somebody else's, of another tenant, beside what is asked for, or used up.

use strongroom_client::{
    Action, GetOptions, GrantId, Holder, Limits, Millis, ObjectName, PutOptions, Reason, Terms, Vault,
};
use strongroom_core::call::{Call, GetItem, Work};
use strongroom_core::identity::Identity;
use strongroom_core::ids::{IncidentId, RequestId};
use strongroom_core::ledger::{Event, Outcome};
use strongroom_server::recorder::Clock;
use strongroom_test_services::on_each_engine;
use strongroom_tests::raw::request_id;
use strongroom_tests::{GRANT_LIFE, Lab, TestVault, Worker, sample};

use super::{reason, refusal};

async fn get(by: &Vault, name: &ObjectName, grant: Option<GrantId>) -> Result<(), Reason> {
    let options = GetOptions { grant, ..GetOptions::default() };
    by.get_bytes(name, options).await.map(|_| ()).map_err(|error| error.reason())
}

/// Asks for `dataset/path` under this grant, or none, without the SDK's care to find one that fits.
async fn get_raw(vault: &TestVault, by: &Worker, name: &str, grant: Option<GrantId>) -> Result<(), Reason> {
    let (raw, session) = vault.raw_session(&by.identity, "acme").await;
    let (dataset, path) = name.split_once('/').unwrap();
    let (_, call) = session.get(grant, dataset, &[path]);
    raw.get(call).await.map(|_| ()).map_err(|failure| failure.reason)
}

async fn vault_and_lab() -> (TestVault, Lab, Worker) {
    let vault = TestVault::start().await;
    let lab = vault.lab("acme").await;
    lab.dataset("rlhf").await;
    for name in ["rlhf/math", "rlhf/math/1", "rlhf/math/2", "rlhf/mathematics/1", "rlhf/mat/1", "rlhf/other/math/1"] {
        lab.put(name, name.to_owned()).await;
    }
    let worker = lab.vendor(&vault, "labelco").await;
    (vault, lab, worker)
}

async fn its_time_is_over_or_has_not_begun() {
    let (vault, lab, worker) = vault_and_lab().await;
    let name = lab.object("rlhf/math/1");
    let now = vault.clock.now().0;
    let grant = lab.let_read(&worker, "rlhf/math/").await;
    let terms = lab.terms(worker.holder, &[(&[Action::Read], "rlhf/math/")]);
    let (start, end) = (now + GRANT_LIFE + 600_000, now + 3 * GRANT_LIFE);
    let later = lab.grant(Terms { not_before: Some(Millis(start)), expires: Millis(end), ..terms.clone() }).await;
    // One that would never be live, or for longer than a day, is not issued.
    for expires in [0, now - 1, now + 86_400_000 + 60_000] {
        let issued = lab.vault.issue_grant(&lab.tenant, Terms { expires: Millis(expires), ..terms.clone() }).await;
        assert_eq!(reason(issued), Reason::InvalidArgument, "{expires}");
    }
    let backward = Terms { not_before: Some(terms.expires), ..terms.clone() };
    assert_eq!(reason(lab.vault.issue_grant(&lab.tenant, backward).await), Reason::InvalidArgument);

    assert_eq!(get(&worker.vault, &name, None).await, Ok(()));
    vault.clock.shift(GRANT_LIFE as i64);
    assert_eq!(get(&worker.vault, &name, Some(grant)).await, Err(Reason::GrantExpired));
    assert_eq!(get_raw(&vault, &worker, "rlhf/math/1", Some(grant)).await, Err(Reason::GrantExpired));
    assert_eq!(get_raw(&vault, &worker, "rlhf/math/1", Some(later)).await, Err(Reason::OutOfScope));
    assert_eq!(get(&worker.vault, &name, Some(later)).await, Err(Reason::OutOfScope));
    // Outside of it, an ended grant tells no more than any other.
    assert_eq!(get(&worker.vault, &lab.object("rlhf/mat/1"), None).await, Err(Reason::OutOfScope));
    assert_eq!(get_raw(&vault, &worker, "rlhf/mat/1", Some(grant)).await, Err(Reason::OutOfScope));

    vault.clock.shift(600_000);
    // With nothing named, the SDK finds the one that is live now.
    let fresh = vault.connect(&worker.identity).await;
    assert_eq!(get(&fresh, &name, None).await, Ok(()));
    assert_eq!(get(&fresh, &name, Some(later)).await, Ok(()));
    vault.clock.shift(2 * GRANT_LIFE as i64);
    let fresh = vault.connect(&worker.identity).await;
    assert_eq!(get(&fresh, &name, None).await, Err(Reason::GrantExpired));
    vault.ledger("acme").await;
}

async fn it_was_revoked() {
    let (vault, lab, worker) = vault_and_lab().await;
    let name = lab.object("rlhf/math/1");
    let grant = lab.let_read(&worker, "rlhf/math/").await;
    assert_eq!(get(&worker.vault, &name, Some(grant)).await, Ok(()));
    lab.vault.revoke_grant(&lab.tenant, grant, Some("over".into())).await.unwrap();
    for asked in [None, Some(grant)] {
        assert_eq!(get(&worker.vault, &name, asked).await, Err(Reason::GrantRevoked), "{asked:?}");
    }
    assert_eq!(get_raw(&vault, &worker, "rlhf/math/1", Some(grant)).await, Err(Reason::GrantRevoked));
    assert_eq!(reason(lab.vault.revoke_grant(&lab.tenant, grant, None).await), Reason::PreconditionFailed);
    let none = GrantId::from_bytes([7; 16]);
    assert_eq!(reason(lab.vault.revoke_grant(&lab.tenant, none, None).await), Reason::NotFound);
    vault.ledger("acme").await;
}

async fn it_is_somebody_elses() {
    let (vault, lab, worker) = vault_and_lab().await;
    let mine = lab.let_read(&worker, "rlhf/math/").await;
    let other = lab.vendor(&vault, "otherco").await;
    let third = lab.key(&vault).await;
    let own = lab.let_read(&third, "rlhf/mat/").await;
    let name = lab.object("rlhf/math/1");

    assert_eq!(get(&worker.vault, &name, None).await, Ok(()));
    for asked in [None, Some(mine)] {
        assert_eq!(get(&other.vault, &name, asked).await, Err(Reason::OutOfScope), "{asked:?}");
        assert_eq!(get_raw(&vault, &other, "rlhf/math/1", asked).await, Err(Reason::OutOfScope), "{asked:?}");
        assert!(get(&third.vault, &name, asked).await.is_err());
    }
    // A key without a vendor is known by its grant alone, and by no other's.
    assert_eq!(get(&third.vault, &lab.object("rlhf/mat/1"), None).await, Ok(()));
    for asked in [None, Some(mine)] {
        let refused = get_raw(&vault, &third, "rlhf/math/1", asked).await.unwrap_err();
        assert!(matches!(refused, Reason::OutOfScope | Reason::Unauthenticated), "{refused}");
    }
    assert_eq!(get_raw(&vault, &worker, "rlhf/mat/1", Some(own)).await, Err(Reason::OutOfScope));
    // One that was never issued.
    let none = GrantId::from_bytes([7; 16]);
    assert_eq!(get_raw(&vault, &worker, "rlhf/math/1", Some(none)).await, Err(Reason::OutOfScope));
    // An admin needs none, and has no use for a vendor's.
    let (raw, session) = vault.raw_session(&lab.admin, "acme").await;
    let (_, call) = session.get(Some(mine), "rlhf", &["math/1"]);
    assert_eq!(refusal(raw.get(call).await), Reason::OutOfScope);
    vault.ledger("acme").await;
}

async fn it_is_of_another_tenant() {
    let (vault, lab, worker) = vault_and_lab().await;
    lab.let_read(&worker, "rlhf/math/").await;
    // The same key works for another lab too, which lets it read all of its own.
    let other = vault.lab("other").await;
    other.dataset("rlhf").await;
    other.put("rlhf/mat/1", "theirs").await;
    let key = worker.identity.fingerprint();
    let (vendor, _) = other.vault.add_vendor(&other.tenant, &"labelco".parse().unwrap(), &[key]).await.unwrap();
    let theirs = other.grant(other.terms(Holder::Vendor(vendor), &[(&[Action::List, Action::Read], "rlhf/")])).await;

    assert_eq!(get(&worker.vault, &other.object("rlhf/mat/1"), None).await, Ok(()));
    assert_eq!(get(&worker.vault, &lab.object("rlhf/math/1"), None).await, Ok(()));
    assert_eq!(get(&worker.vault, &lab.object("rlhf/mat/1"), None).await, Err(Reason::OutOfScope));
    assert_eq!(get_raw(&vault, &worker, "rlhf/mat/1", Some(theirs)).await, Err(Reason::OutOfScope));
    assert_eq!(get_raw(&vault, &worker, "rlhf/math/1", Some(theirs)).await, Err(Reason::OutOfScope));
    // A call that was signed for one ledger, on a session of the other.
    let (raw, ours) = vault.raw_session(&worker.identity, "acme").await;
    let session = raw.open(&worker.identity, "other", vault.vault_key()).await.unwrap();
    let (_, call) = session.get(Some(theirs), "rlhf", &["mat/1"]);
    raw.get(call.clone()).await.unwrap();
    let crossed = strongroom_proto::v1::SignedCall { session: ours.id.as_bytes().to_vec().into(), ..call };
    assert_eq!(refusal(raw.get(crossed).await), Reason::Unauthenticated);
    // An order for one ledger, sent to the other.
    let admin = strongroom_tests::copy(&other.admin);
    lab.vault.add_admin(&lab.tenant, admin.fingerprint()).await.unwrap();
    let order = strongroom_core::order::Order {
        ledger: ours.origin.clone(),
        request: strongroom_tests::raw::request_id(),
        not_after: Millis(9_000_000_000_000),
        instruction: strongroom_core::order::Instruction::CreateDataset { name: "fresh".parse().unwrap() },
        incident: None,
    };
    let order = strongroom_tests::raw::order("other", &order.sign(&admin).unwrap());
    let sent = vault.raw(&admin).await.vault().create_dataset(order).await.map_err(strongroom_tests::raw::failure);
    assert_eq!(refusal(sent), Reason::PreconditionFailed);
    vault.ledger("acme").await;
    vault.ledger("other").await;
}

async fn its_neighbours_are_not_covered() {
    let (vault, lab, worker) = vault_and_lab().await;
    // What each prefix covers of all that there is.
    let all = ["math", "math/1", "math/2", "mathematics/1", "mat/1", "other/math/1"];
    let prefixes: [(&str, &[&str]); 6] = [
        ("math/", &["math/1", "math/2"]),
        ("math", &["math"]),
        ("math*", &["math", "math/1", "math/2", "mathematics/1"]),
        ("math/1", &["math/1"]),
        ("mat*", &["math", "math/1", "math/2", "mathematics/1", "mat/1"]),
        ("math/1*", &["math/1"]),
    ];
    drop(worker);
    for (at, (prefix, covered)) in prefixes.into_iter().enumerate() {
        // Each grant is somebody else's only one.
        let worker = lab.vendor(&vault, &format!("vendor-{at}")).await;
        let grant = lab.let_read(&worker, &format!("rlhf/{prefix}")).await;
        for path in all {
            let expected = if covered.contains(&path) { Ok(()) } else { Err(Reason::OutOfScope) };
            let name = format!("rlhf/{path}");
            assert_eq!(get_raw(&vault, &worker, &name, Some(grant)).await, expected, "{path} under {prefix}");
            assert_eq!(get(&worker.vault, &lab.object(&name), None).await, expected, "{path} under {prefix}");
        }
        // One item outside spoils the whole call.
        if let Some(outside) = all.iter().find(|path| !covered.contains(path)) {
            let (raw, session) = vault.raw_session(&worker.identity, "acme").await;
            let (_, call) = session.get(Some(grant), "rlhf", &[covered[0], outside]);
            assert_eq!(refusal(raw.get(call).await), Reason::OutOfScope);
        }
    }
    vault.ledger("acme").await;
}

async fn its_bytes_objects_or_uses_are_used_up() {
    let (vault, lab, worker) = vault_and_lab().await;
    let sizes = [100, 65_536 + 100];
    lab.put("rlhf/q/small", sample::bytes(1, sizes[0])).await;
    lab.put("rlhf/q/large", sample::bytes(2, sizes[1])).await;
    let (small, large) = (lab.object("rlhf/q/small"), lab.object("rlhf/q/large"));
    let grant = async |limits: Limits| {
        let actions = [Action::List, Action::Read, Action::Write];
        let terms = lab.terms(worker.holder, &[(&actions, "rlhf/q/")]);
        lab.grant(Terms { limits, ..terms }).await
    };
    let over = Err(Reason::QuotaExceeded);
    let by = &worker.vault;

    // To the byte: what fills the limit is allowed, one more is not.
    let bytes = grant(Limits { bytes: Some(300), ..Limits::default() }).await;
    for expected in [Ok(()), Ok(()), Ok(()), over] {
        assert_eq!(get(by, &small, Some(bytes)).await, expected);
    }
    assert_eq!(get(by, &large, Some(bytes)).await, over);
    // Segments are what is charged: a byte of a segment costs the segment.
    let bytes = grant(Limits { bytes: Some(65_536 + 99), ..Limits::default() }).await;
    assert_eq!(get(by, &large, Some(bytes)).await, over);
    let range = async |range: std::ops::Range<u64>| {
        let options = GetOptions { grant: Some(bytes), ..GetOptions::default() };
        let read = async { by.get_range(&large, range, options).await?.into_bytes().await };
        read.await.map(|_| ()).map_err(|error: strongroom_client::Error| error.reason())
    };
    assert_eq!(range(0..1).await, Ok(()));
    assert_eq!(range(65_535..65_536).await, over);
    assert_eq!(range(65_536..65_537).await, over, "100 bytes more");

    let objects = grant(Limits { objects: Some(2), ..Limits::default() }).await;
    for expected in [Ok(()), Ok(()), over] {
        assert_eq!(get(by, &large, Some(objects)).await, expected);
    }
    let uses = grant(Limits { uses: Some(1), ..Limits::default() }).await;
    for expected in [Ok(()), over] {
        assert_eq!(get(by, &small, Some(uses)).await, expected);
    }
    // All of a call or nothing: three objects where two are left.
    let objects = grant(Limits { objects: Some(2), ..Limits::default() }).await;
    let (raw, session) = vault.raw_session(&worker.identity, "acme").await;
    let (_, call) = session.get(Some(objects), "rlhf", &["q/small", "q/large", "q/small"]);
    assert_eq!(refusal(raw.get(call).await), Reason::QuotaExceeded);
    let (_, call) = session.get(Some(objects), "rlhf", &["q/small", "q/large"]);
    raw.get(call).await.unwrap();

    // Writes are charged likewise.
    let writes = grant(Limits { bytes: Some(10), ..Limits::default() }).await;
    let put = async |path: &str, bytes: &'static [u8]| {
        let options = PutOptions { grant: Some(writes), ..PutOptions::default() };
        let put = by.put_bytes(&lab.object(&format!("rlhf/q/{path}")), bytes.into(), options).await;
        put.map(|_| ()).map_err(|error| error.reason())
    };
    assert_eq!(put("w1", b"12345").await, Ok(()));
    assert_eq!(put("w2", b"123456").await, over);
    assert_eq!(put("w2", b"12345").await, Ok(()));
    assert_eq!(put("w3", b"1").await, over);

    let ledger = vault.ledger("acme").await;
    let denied = ledger.parsed().into_iter().filter(|entry| entry.outcome == Outcome::Denied);
    assert!(denied.clone().count() > 0);
    assert!(denied.into_iter().all(|entry| entry.event == Event::Denied && entry.reason.is_some()));
}

async fn a_request_id_that_means_something_else() {
    let (vault, lab, worker) = vault_and_lab().await;
    let grant = lab.grant(Terms {
        limits: Limits { uses: Some(1), ..Limits::default() },
        ..lab.terms(worker.holder, &[(&[Action::Read], "rlhf/math/")])
    });
    let grant = grant.await;
    let request = RequestId::from_bytes([9; 16]);
    let ask = async |path: &str| {
        let (raw, session) = vault.raw_session(&worker.identity, "acme").await;
        let path = path.parse().unwrap();
        let item = GetItem::at("rlhf".parse().unwrap(), path);
        let (_, call) =
            session.sign(&Call { request, grant: Some(grant), work: Work::Get(vec![item]), incident: None });
        raw.get(call).await.map(|_| ()).map_err(|failure| failure.reason)
    };
    assert_eq!(ask("math/1").await, Ok(()));
    // The same once more, as a retry on a new connection: entered, and not charged.
    assert_eq!(ask("math/1").await, Ok(()));
    assert_eq!(ask("math/2").await, Err(Reason::PreconditionFailed));
    // After a quarter of an hour it may mean something new, and costs.
    vault.clock.shift(16 * 60 * 1000);
    assert_eq!(ask("math/1").await, Err(Reason::QuotaExceeded));
    let ledger = vault.ledger("acme").await;
    let of_worker = |event| ledger.done(event).iter().filter(|e| e.actor.key == worker.identity.fingerprint()).count();
    assert_eq!((of_worker(Event::Release), of_worker(Event::ReleaseRepeat)), (1, 1));
}

async fn an_incident_that_a_call_may_not_name() {
    let (vault, lab, worker) = vault_and_lab().await;
    let grant = lab.grant(lab.terms(worker.holder, &[(&[Action::Read], "rlhf/math/")])).await;
    let (opened, _) = lab.vault.open_incident(&lab.tenant, &"labelco".parse().unwrap(), None, None).await.unwrap();
    let nothing = IncidentId::from_bytes([7; 16]);
    let ask = async |who: &Identity, grant, incident| {
        let (raw, session) = vault.raw_session(who, "acme").await;
        let item = GetItem::at("rlhf".parse().unwrap(), "math/1".parse().unwrap());
        let (_, call) =
            session.sign(&Call { request: request_id(), grant, work: Work::Get(vec![item]), incident: Some(incident) });
        // The same once more is answered again, and belongs to it as well.
        let first = raw.get(call.clone()).await;
        let again = raw.get(call).await;
        first.and(again).map(|_| ()).map_err(|failure| failure.reason)
    };
    assert_eq!(ask(&worker.identity, Some(grant), opened).await, Err(Reason::InvalidArgument));
    assert_eq!(ask(&worker.identity, None, opened).await, Err(Reason::OutOfScope));
    assert_eq!(ask(&lab.admin, None, nothing).await, Err(Reason::NotFound));
    assert_eq!(ask(&lab.admin, None, opened).await, Ok(()));
    let ledger = vault.ledger("acme").await;
    let named = ledger.parsed().into_iter().zip(ledger.private_parts());
    let named: Vec<_> = named.filter_map(|(entry, private)| Some((entry.event, private.incident?))).collect();
    let refused = [opened, opened, nothing, nothing].map(|incident| (Event::Denied, incident));
    assert_eq!(named, [&refused[..], &[(Event::Release, opened), (Event::ReleaseRepeat, opened)]].concat());
}

async fn what_this_version_does_not_enforce_is_refused() {
    let (vault, lab, worker) = vault_and_lab().await;
    let terms = || lab.terms(worker.holder, &[(&[Action::Read], "rlhf/math/")]);
    let snapshot = strongroom_client::Part::Snapshot(strongroom_core::ids::Digest::from_bytes([7; 32]));
    let mut of_snapshot = terms();
    of_snapshot.scopes[0].part = snapshot;
    assert_eq!(reason(lab.vault.issue_grant(&lab.tenant, of_snapshot).await), Reason::Unsupported);
    let nowhere = lab.terms(worker.holder, &[(&[Action::Read], "none/")]);
    assert_eq!(reason(lab.vault.issue_grant(&lab.tenant, nowhere).await), Reason::NotFound);
    let nobody = Holder::Vendor(strongroom_core::ids::VendorId::from_bytes([7; 16]));
    let nobody = lab.terms(nobody, &[(&[Action::Read], "rlhf/")]);
    assert_eq!(reason(lab.vault.issue_grant(&lab.tenant, nobody).await), Reason::NotFound);
    vault.ledger("acme").await;
}

on_each_engine! {
    (flavor = "current_thread")
    its_time_is_over_or_has_not_begun,
    it_was_revoked,
    it_is_somebody_elses,
    it_is_of_another_tenant,
    its_neighbours_are_not_covered,
    its_bytes_objects_or_uses_are_used_up,
    a_request_id_that_means_something_else,
    an_incident_that_a_call_may_not_name,
    what_this_version_does_not_enforce_is_refused,
}
