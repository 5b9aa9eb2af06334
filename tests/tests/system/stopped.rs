//! Who is stopped: datasets and tenants that are frozen, vendors that stop themselves, keys that an operator blocks.

use std::time::{Duration, Instant};

use bytes::Bytes;
use strongroom_client::grants::GrantState;
use strongroom_client::{
    Action, DatasetRef, DeleteOptions, Error, Fingerprint, GetOptions, Holder, Identity, Millis, PutOptions, Reader,
    Reason, Terms, Vault, VendorName,
};
use strongroom_core::ledger::{Event, Role};
use strongroom_core::names::TenantName;
use strongroom_test_services::on_each_engine;
use strongroom_tests::oracle::Ledger;
use strongroom_tests::{Lab, TestVault, Worker, sample};

use super::bad_input::reason;

const READ: &[Action] = &[Action::List, Action::Read];
/// An object that is still on its way while a test acts.
const LARGE: usize = 48 << 20;

async fn site() -> (TestVault, Lab, Worker) {
    let vault = TestVault::start().await;
    let lab = vault.lab("acme").await;
    for dataset in ["rlhf", "other"] {
        lab.dataset(dataset).await;
        lab.put(&format!("{dataset}/a"), "what stands here").await;
    }
    let worker = lab.vendor(&vault, "labelco").await;
    lab.grant(lab.terms(
        worker.holder,
        &[(&[Action::List, Action::Read, Action::Write, Action::Delete], "rlhf/"), (READ, "other/")],
    ))
    .await;
    (vault, lab, worker)
}

/// Stops the server and starts it again, with everybody connected anew.
async fn restart(vault: &mut TestVault, lab: &mut Lab, worker: &mut Worker) {
    vault.stop().await;
    vault.restart().await;
    lab.vault = vault.connect(&lab.admin).await;
    worker.vault = vault.connect(&worker.identity).await;
}

async fn read(by: &Vault, lab: &Lab, name: &str) -> Result<(), Reason> {
    by.get_bytes(&lab.object(name), GetOptions::default()).await.map(drop).map_err(|error| error.reason())
}

async fn write(by: &Vault, lab: &Lab, name: &str) -> Result<(), Reason> {
    let done = by.put_bytes(&lab.object(name), Bytes::from_static(b"new"), PutOptions::default()).await;
    done.map(drop).map_err(|error| error.reason())
}

async fn delete(by: &Vault, lab: &Lab, name: &str) -> Result<(), Reason> {
    by.delete(&lab.object(name), DeleteOptions::default()).await.map(drop).map_err(|error| error.reason())
}

fn dataset(name: &str) -> DatasetRef {
    format!("acme/{name}").parse().unwrap()
}

fn note(text: &str) -> Option<String> {
    Some(text.to_owned())
}

async fn list(by: &Vault, name: &str) -> Result<usize, Reason> {
    use futures::TryStreamExt;
    let listed: Result<Vec<_>, Error> =
        by.list(&dataset(name), &"".parse().unwrap(), Default::default()).try_collect().await;
    listed.map(|listed| listed.len()).map_err(|error| error.reason())
}

async fn a_frozen_dataset_is_closed_to_everybody() {
    let (mut vault, mut lab, mut worker) = site().await;
    lab.vault.freeze_dataset(&dataset("rlhf"), note("incident 42")).await.unwrap();
    for restarted in [false, true] {
        if restarted {
            restart(&mut vault, &mut lab, &mut worker).await;
        }
        for by in [&lab.vault, &worker.vault] {
            assert_eq!(read(by, &lab, "rlhf/a").await, Err(Reason::Frozen));
            assert_eq!(read(by, &lab, "rlhf/nothing").await, Err(Reason::Frozen), "whatever is there");
            assert_eq!(write(by, &lab, "rlhf/new").await, Err(Reason::Frozen));
            assert_eq!(delete(by, &lab, "rlhf/a").await, Err(Reason::Frozen));
            assert_eq!(read(by, &lab, "other/a").await, Ok(()), "its neighbour goes on");
        }
        // Names are for admins, who have to find out what happened.
        assert_eq!((list(&lab.vault, "rlhf").await, list(&worker.vault, "rlhf").await), (Ok(1), Err(Reason::Frozen)));
        assert!(lab.vault.stat(&lab.object("rlhf/a"), Default::default()).await.is_ok());
        assert_eq!(reason(worker.vault.stat(&lab.object("rlhf/a"), Default::default()).await), Reason::Frozen);
    }
    // The grant goes on in the other dataset, and tells which of its two does not.
    let told = worker.vault.my_grants(&lab.tenant).await.unwrap().remove(0);
    assert_eq!((told.state, told.frozen.tenant), (GrantState::Live, false));
    assert_eq!(told.frozen.datasets, ["rlhf".parse::<strongroom_client::DatasetName>().unwrap()]);
    // Outside of their scope nobody learns that something is frozen.
    let stranger = lab.vendor(&vault, "stranger").await;
    assert_eq!(read(&stranger.vault, &lab, "rlhf/a").await, Err(Reason::OutOfScope));
    let told = lab.vault.datasets(&lab.tenant).await.unwrap();
    assert_eq!(told.iter().filter(|info| info.frozen.is_some()).count(), 1);
    assert_eq!(reason(lab.vault.delete_dataset(&dataset("rlhf")).await), Reason::Frozen);
    assert_eq!(reason(lab.vault.freeze_dataset(&dataset("rlhf"), None).await), Reason::PreconditionFailed);
    assert_eq!(reason(lab.vault.unfreeze_dataset(&dataset("other"), None).await), Reason::PreconditionFailed);
    assert_eq!(reason(lab.vault.freeze_dataset(&dataset("none"), None).await), Reason::NotFound);
    for refused in [
        worker.vault.unfreeze_dataset(&dataset("rlhf"), None).await,
        worker.vault.freeze_dataset(&dataset("other"), None).await,
        worker.vault.freeze_tenant(&lab.tenant, None).await,
    ] {
        assert_eq!(reason(refused), Reason::OutOfScope);
    }
    lab.vault.unfreeze_dataset(&dataset("rlhf"), None).await.unwrap();
    for by in [&lab.vault, &worker.vault] {
        assert_eq!(read(by, &lab, "rlhf/a").await, Ok(()));
    }
    assert_eq!(write(&worker.vault, &lab, "rlhf/new").await, Ok(()));
    let ledger = vault.ledger("acme").await;
    assert_nothing_between(&ledger, Event::DatasetFrozen, Event::DatasetUnfrozen, 4);
}

/// Between two entries stands no release and no put but those of the neighbour.
fn assert_nothing_between(ledger: &Ledger, from: Event, to: Event, elsewhere: usize) {
    let (from, to) = (ledger.done(from)[0].index, ledger.done(to)[0].index);
    let moved = [Event::Release, Event::ObjectPut, Event::ObjectDeleted];
    let between = ledger
        .parsed()
        .into_iter()
        .filter(|entry| from < entry.index && entry.index < to && moved.contains(&entry.event));
    assert_eq!(between.count(), elsewhere);
}

async fn a_frozen_tenant_is_closed_to_everybody() {
    let (mut vault, mut lab, mut worker) = site().await;
    let neighbour = vault.lab("zenith").await;
    neighbour.dataset("rlhf").await;
    let delegable = Terms { delegable: true, ..lab.terms(worker.holder, &[(READ, "rlhf/")]) };
    let parent = lab.grant(delegable).await;
    lab.vault.freeze_tenant(&lab.tenant, note("all of it")).await.unwrap();
    let child = || {
        let part = lab.terms(Holder::Key(Identity::generate().unwrap().fingerprint()), &[(READ, "rlhf/a")]);
        Terms { parent: Some(parent), expires: Millis(part.expires.0 - 60_000), ..part }
    };
    let part = child();
    for restarted in [false, true] {
        if restarted {
            restart(&mut vault, &mut lab, &mut worker).await;
        }
        for by in [&lab.vault, &worker.vault] {
            for name in ["rlhf", "other"] {
                assert_eq!(read(by, &lab, &format!("{name}/a")).await, Err(Reason::Frozen));
            }
            assert_eq!(write(by, &lab, "rlhf/new").await, Err(Reason::Frozen));
        }
        assert_eq!(reason(worker.vault.issue_grant(&lab.tenant, part.clone()).await), Reason::Frozen);
    }
    let operator = vault.connect(&vault.operator()).await;
    assert_eq!(operator.list_tenants().await.unwrap().len(), 2);
    let other = vault.connect(&neighbour.admin).await;
    assert_eq!(write(&other, &neighbour, "rlhf/a").await, Ok(()), "another tenant does not know");
    // Its admins go on to give orders, and the ledger is read.
    lab.vault.suspend_vendor(&lab.tenant, &"labelco".parse().unwrap(), None).await.unwrap();
    assert_eq!(read(&worker.vault, &lab, "rlhf/a").await, Err(Reason::VendorSuspended), "that comes first");
    lab.vault.resume_vendor(&lab.tenant, &"labelco".parse().unwrap(), None).await.unwrap();
    // A dataset that was frozen by itself stays so.
    lab.vault.freeze_dataset(&dataset("other"), None).await.unwrap();
    lab.vault.unfreeze_tenant(&lab.tenant, None).await.unwrap();
    assert_eq!(read(&worker.vault, &lab, "rlhf/a").await, Ok(()));
    assert_eq!(read(&worker.vault, &lab, "other/a").await, Err(Reason::Frozen));
    worker.vault.issue_grant(&lab.tenant, part).await.unwrap();
    assert_nothing_between(&vault.ledger("acme").await, Event::TenantFrozen, Event::TenantUnfrozen, 0);
    vault.ledger("zenith").await;
}

/// Begins to read something that is long under way.
async fn begun(by: &Vault, lab: &Lab) -> (Reader, usize) {
    let mut reader = by.get(&lab.object("rlhf/large"), GetOptions::default()).await.unwrap();
    let got = futures::StreamExt::next(&mut reader).await.unwrap().unwrap().len();
    (reader, got)
}

/// The reason for which a stream ends, soon and before its end.
async fn ends(reader: &mut Reader, mut got: usize) -> Reason {
    let since = Instant::now();
    let error = loop {
        match futures::StreamExt::next(reader).await.expect("it does not come to its end") {
            Ok(more) => got += more.len(),
            Err(error) => break error,
        }
    };
    assert!(since.elapsed() < Duration::from_secs(3), "{:?}", since.elapsed());
    assert!(got < LARGE / 2, "{got} bytes came");
    error.reason()
}

async fn streams_under_way_end() {
    let (vault, lab, worker) = site().await;
    let bytes = Bytes::from(sample::bytes(5, LARGE));
    lab.vault.put(&lab.object("rlhf/large"), &bytes[..], PutOptions::default()).await.unwrap();
    for whole in [false, true] {
        let (mut by_admin, got) = begun(&lab.vault, &lab).await;
        let (mut by_worker, more) = begun(&worker.vault, &lab).await;
        let second = vault.connect(&lab.admin).await;
        match whole {
            true => second.freeze_tenant(&lab.tenant, None).await.unwrap(),
            false => second.freeze_dataset(&dataset("rlhf"), None).await.unwrap(),
        };
        assert_eq!(ends(&mut by_admin, got).await, Reason::Frozen);
        assert_eq!(ends(&mut by_worker, more).await, Reason::Frozen);
        match whole {
            true => second.unfreeze_tenant(&lab.tenant, None).await.unwrap(),
            false => second.unfreeze_dataset(&dataset("rlhf"), None).await.unwrap(),
        };
    }
    // A vendor that stops itself, and a key that is blocked.
    let (mut reader, got) = begun(&worker.vault, &lab).await;
    vault.connect(&worker.identity).await.suspend_self(&lab.tenant, note("a laptop is gone")).await.unwrap();
    assert_eq!(ends(&mut reader, got).await, Reason::VendorSuspended);
    let (mut reader, got) = begun(&lab.vault, &lab).await;
    let operator = vault.connect(&vault.operator()).await;
    operator.block_key(lab.admin.fingerprint(), None).await.unwrap();
    assert_eq!(ends(&mut reader, got).await, Reason::KeyBlocked);
    vault.ledger("acme").await;
}

async fn a_vendor_stops_itself() {
    let (vault, lab, worker) = site().await;
    let delegable = Terms { delegable: true, ..lab.terms(worker.holder, &[(READ, "rlhf/")]) };
    lab.grant(delegable).await;
    let contractor = lab.key(&vault).await;
    let part = lab.terms(contractor.holder, &[(READ, "rlhf/a")]);
    let part = Terms { expires: Millis(part.expires.0 - 60_000), ..part };
    worker.vault.issue_grant(&lab.tenant, part).await.unwrap();
    assert_eq!(read(&contractor.vault, &lab, "rlhf/a").await, Ok(()));

    // Nobody stops somebody else.
    let other = lab.vendor(&vault, "other").await;
    for who in [&other.identity, &contractor.identity] {
        let by = vault.connect(who).await;
        assert_eq!(reason(suspend_as(&vault, who, &worker).await), Reason::OutOfScope);
        let stops = by.suspend_self(&lab.tenant, None).await;
        assert_eq!(stops.is_ok(), *who.fingerprint().as_bytes() == *other.identity.fingerprint().as_bytes());
    }
    assert_eq!(read(&worker.vault, &lab, "rlhf/a").await, Ok(()));

    worker.vault.suspend_self(&lab.tenant, note("a laptop is gone")).await.unwrap();
    for by in [&worker, &contractor] {
        assert_eq!(read(&by.vault, &lab, "rlhf/a").await, Err(Reason::VendorSuspended));
    }
    assert_eq!(reason(worker.vault.suspend_self(&lab.tenant, None).await), Reason::PreconditionFailed, "once");
    let labelco: VendorName = "labelco".parse().unwrap();
    assert_eq!(reason(worker.vault.resume_vendor(&lab.tenant, &labelco, None).await), Reason::OutOfScope);
    assert_eq!(reason(resume_as(&vault, &worker.identity, &worker).await), Reason::OutOfScope);
    lab.vault.resume_vendor(&lab.tenant, &labelco, None).await.unwrap();
    for by in [&worker, &contractor] {
        assert_eq!(read(&by.vault, &lab, "rlhf/a").await, Ok(()));
    }
    let ledger = vault.ledger("acme").await;
    let Holder::Vendor(id) = worker.holder else { unreachable!() };
    let stopped = ledger.done(Event::VendorSuspended);
    assert!(stopped.iter().any(|entry| entry.actor.role == Role::Vendor(id)), "{stopped:?}");
}

/// An order about a vendor, signed by anybody.
async fn signed(
    vault: &TestVault,
    by: &Identity,
    instruction: strongroom_core::order::Instruction,
) -> strongroom_proto::v1::SignedOrder {
    let (_, session) = vault.raw_session(by, "acme").await;
    let order = strongroom_core::order::Order {
        ledger: session.origin,
        request: strongroom_tests::raw::request_id(),
        not_after: Millis(9_000_000_000_000),
        instruction,
        incident: None,
    };
    strongroom_tests::raw::order("acme", &order.sign(by).unwrap())
}

async fn suspend_as(vault: &TestVault, by: &Identity, whom: &Worker) -> Result<(), Error> {
    let Holder::Vendor(vendor) = whom.holder else { unreachable!() };
    let order = signed(vault, by, strongroom_core::order::Instruction::SuspendVendor { vendor, note: None }).await;
    let channel = vault.raw(by).await.channel;
    let sent = strongroom_proto::v1::vendors_client::VendorsClient::new(channel).suspend(order).await;
    sent.map(drop).map_err(Error::from)
}

async fn resume_as(vault: &TestVault, by: &Identity, whom: &Worker) -> Result<(), Error> {
    let Holder::Vendor(vendor) = whom.holder else { unreachable!() };
    let order = signed(vault, by, strongroom_core::order::Instruction::ResumeVendor { vendor, note: None }).await;
    let channel = vault.raw(by).await.channel;
    let sent = strongroom_proto::v1::vendors_client::VendorsClient::new(channel).resume(order).await;
    sent.map(drop).map_err(Error::from)
}

async fn a_vendor_has_several_keys() {
    let (vault, lab, worker) = site().await;
    let labelco: VendorName = "labelco".parse().unwrap();
    let second = Identity::generate().unwrap();
    let by_second = vault.connect(&second).await;
    assert_eq!(read(&by_second, &lab, "rlhf/a").await, Err(Reason::Unauthenticated));
    lab.vault.add_key(&lab.tenant, &labelco, second.fingerprint()).await.unwrap();
    for by in [&worker.vault, &by_second] {
        assert_eq!(read(by, &lab, "rlhf/a").await, Ok(()));
    }
    // A key is one vendor's: not another's, nor an admin's.
    lab.vendor(&vault, "other").await;
    let other: VendorName = "other".parse().unwrap();
    for key in [second.fingerprint(), lab.admin.fingerprint()] {
        let added = lab.vault.add_key(&lab.tenant, &other, key).await;
        assert_eq!(reason(added), Reason::PreconditionFailed);
    }
    lab.vault.revoke_key(&lab.tenant, &labelco, worker.identity.fingerprint()).await.unwrap();
    assert_eq!(read(&worker.vault, &lab, "rlhf/a").await, Err(Reason::Unauthenticated));
    assert_eq!(read(&by_second, &lab, "rlhf/a").await, Ok(()));
    let again = lab.vault.add_key(&lab.tenant, &labelco, worker.identity.fingerprint()).await;
    assert_eq!(reason(again), Reason::PreconditionFailed, "revoked for good");
    // A suspension is of all its keys; its end gives back what is left.
    lab.vault.suspend_vendor(&lab.tenant, &labelco, note("incident 42")).await.unwrap();
    assert_eq!(read(&by_second, &lab, "rlhf/a").await, Err(Reason::VendorSuspended));
    lab.vault.resume_vendor(&lab.tenant, &labelco, None).await.unwrap();
    assert_eq!(read(&by_second, &lab, "rlhf/a").await, Ok(()));
    let delegable = Terms { delegable: true, ..lab.terms(worker.holder, &[(READ, "rlhf/")]) };
    lab.grant(delegable).await;
    let contractor = lab.key(&vault).await;
    let part = lab.terms(contractor.holder, &[(READ, "rlhf/a")]);
    let part = Terms { expires: Millis(part.expires.0 - 60_000), ..part };
    vault.connect(&second).await.issue_grant(&lab.tenant, part).await.unwrap();
    assert_eq!(read(&contractor.vault, &lab, "rlhf/a").await, Ok(()));
    lab.vault.remove_vendor(&lab.tenant, &labelco).await.unwrap();
    assert_eq!(read(&by_second, &lab, "rlhf/a").await, Err(Reason::Unauthenticated));
    assert_eq!(read(&contractor.vault, &lab, "rlhf/a").await, Err(Reason::GrantRevoked));
    assert_eq!(reason(lab.vault.resume_vendor(&lab.tenant, &labelco, None).await), Reason::NotFound);
    assert_eq!(reason(lab.vault.add_vendor(&lab.tenant, &labelco, &[]).await), Reason::PreconditionFailed);
    assert_eq!(reason(lab.vault.add_vendor(&lab.tenant, &other, &[]).await), Reason::PreconditionFailed);
    vault.ledger("acme").await;
}

/// The same key at two tenants is two vendors that know nothing of each other.
async fn a_key_of_two_tenants_is_two_vendors() {
    let (vault, lab, worker) = site().await;
    let zenith = vault.lab("zenith").await;
    zenith.dataset("rlhf").await;
    zenith.put("rlhf/a", "theirs").await;
    let name: VendorName = "elsewhere".parse().unwrap();
    let key = worker.identity.fingerprint();
    let (vendor, _) = zenith.vault.add_vendor(&zenith.tenant, &name, &[key]).await.unwrap();
    zenith.grant(zenith.terms(Holder::Vendor(vendor), &[(READ, "rlhf/")])).await;
    let (here, there) = ("labelco".parse::<VendorName>().unwrap(), name);
    assert_ne!(worker.holder, Holder::Vendor(vendor));
    let both = async || (read(&worker.vault, &lab, "rlhf/a").await, read(&worker.vault, &zenith, "rlhf/a").await);
    assert_eq!(both().await, (Ok(()), Ok(())));
    assert_eq!(worker.vault.who_am_i(&lab.tenant).await.unwrap().vendor, Some(here.clone()));
    assert_eq!(worker.vault.who_am_i(&zenith.tenant).await.unwrap().vendor, Some(there.clone()));

    lab.vault.suspend_vendor(&lab.tenant, &here, None).await.unwrap();
    assert_eq!(both().await, (Err(Reason::VendorSuspended), Ok(())));
    assert!(!worker.vault.who_am_i(&zenith.tenant).await.unwrap().suspended);
    lab.vault.resume_vendor(&lab.tenant, &here, None).await.unwrap();
    worker.vault.suspend_self(&zenith.tenant, None).await.unwrap();
    assert_eq!(both().await, (Ok(()), Err(Reason::VendorSuspended)), "it stops itself with one of them");
    zenith.vault.revoke_key(&zenith.tenant, &there, key).await.unwrap();
    assert_eq!(both().await, (Ok(()), Err(Reason::Unauthenticated)));
    lab.vault.remove_vendor(&lab.tenant, &here).await.unwrap();
    let vendors = zenith.vault.vendors(&zenith.tenant).await.unwrap();
    assert_eq!(vendors.iter().filter(|info| info.removed).count(), 0);
    // In neither ledger stands a word of the other.
    for (tenant, foreign) in [("acme", "elsewhere"), ("zenith", "labelco")] {
        let ledger = vault.ledger(tenant).await;
        let other = if tenant == "acme" { "zenith" } else { "acme" };
        for (public, private) in &ledger.entries {
            let text =
                String::from_utf8_lossy(&[&public[..], private.as_deref().unwrap_or_default()].concat()).into_owned();
            assert!(!text.contains(foreign) && !text.contains(other), "{text}");
        }
    }
}

fn operators(vault: &TestVault) -> TenantName {
    let file = strongroom_server::keys::vault::VaultFile::read(&vault.folder()).unwrap();
    TenantName::of_operators(&file.vault)
}

async fn a_blocked_key_is_stopped_everywhere() {
    let (mut vault, lab, worker) = site().await;
    let zenith = vault.lab("zenith").await;
    zenith.dataset("rlhf").await;
    zenith.put("rlhf/a", "theirs").await;
    let key = worker.identity.fingerprint();
    let (vendor, _) = zenith.vault.add_vendor(&zenith.tenant, &"two".parse().unwrap(), &[key]).await.unwrap();
    zenith.grant(zenith.terms(Holder::Vendor(vendor), &[(READ, "rlhf/")])).await;
    let delegable = Terms { delegable: true, ..lab.terms(worker.holder, &[(READ, "rlhf/")]) };
    let parent = lab.grant(delegable).await;
    let contractor = lab.key(&vault).await;
    let part = lab.terms(contractor.holder, &[(READ, "rlhf/a")]);
    let part = Terms { expires: Millis(part.expires.0 - 60_000), parent: Some(parent), ..part };
    let passed_on = worker.vault.issue_grant(&lab.tenant, part.clone()).await.unwrap().0;
    assert_eq!(read(&contractor.vault, &lab, "rlhf/a").await, Ok(()));
    let (raw, session) = vault.raw_session(&worker.identity, "acme").await;
    let operator = vault.connect(&vault.operator()).await;
    assert_eq!(operator.blocked_keys().await.unwrap(), []);

    // An order of the key that somebody keeps until it is blocked.
    let Holder::Vendor(own) = worker.holder else { unreachable!() };
    let kept = signed(
        &vault,
        &worker.identity,
        strongroom_core::order::Instruction::SuspendVendor { vendor: own, note: None },
    )
    .await;
    for by in [&lab.vault, &worker.vault] {
        assert_eq!(reason(by.block_key(contractor.identity.fingerprint(), None).await), Reason::OutOfScope);
        assert_eq!(reason(by.blocked_keys().await), Reason::OutOfScope);
    }
    assert_eq!(reason(operator.unblock_key(key, None).await), Reason::PreconditionFailed);
    assert_eq!(reason(operator.block_key(vault.operator().fingerprint(), None).await), Reason::InvalidArgument);
    let done = operator.block_key(key, note("seen on a forum")).await.unwrap();
    assert_eq!(reason(operator.block_key(key, None).await), Reason::PreconditionFailed);
    assert_eq!(operator.blocked_keys().await.unwrap(), [(key, done.index)]);

    let stopped = async |vault: &TestVault| {
        let by = vault.connect(&worker.identity).await;
        for lab in [&lab, &zenith] {
            assert_eq!(read(&by, lab, "rlhf/a").await, Err(Reason::KeyBlocked));
            assert_eq!(reason(by.who_am_i(&lab.tenant).await), Reason::KeyBlocked);
        }
        assert_eq!(reason(by.who_am_i(None).await), Reason::KeyBlocked);
        let contractor = vault.connect(&contractor.identity).await;
        assert_eq!(read(&contractor, &lab, "rlhf/a").await, Err(Reason::GrantRevoked), "what it delegated");
        // A tenant that is made later knows it neither.
        let admin = vault.connect(&lab.admin).await;
        assert_eq!(read(&admin, &lab, "rlhf/a").await, Ok(()), "others go on");
        let by_lab = vault.raw(&lab.admin).await;
        let sent = strongroom_proto::v1::vendors_client::VendorsClient::new(by_lab.channel).suspend(kept.clone()).await;
        assert_eq!(reason(sent.map_err(Error::from)), Reason::KeyBlocked, "an order that another carries");
    };
    stopped(&vault).await;
    let told = lab.vault.grant(&lab.tenant, passed_on).await.unwrap();
    assert_eq!(told.state, GrantState::Blocked, "as long as it is");
    // The connection that stood is worth nothing, and its sessions are over.
    assert_eq!(read(&worker.vault, &lab, "rlhf/a").await, Err(Reason::KeyBlocked));
    let (_, call) = session.get(Some(parent), "rlhf", &["a"]);
    assert_eq!(raw.get(call.clone()).await.err().map(|failure| failure.reason), Some(Reason::KeyBlocked));
    let late = vault.lab("late").await;
    late.vault.add_vendor(&late.tenant, &"three".parse().unwrap(), &[key]).await.unwrap();
    assert_eq!(reason(vault.connect(&worker.identity).await.who_am_i(&late.tenant).await), Reason::KeyBlocked);
    vault.stop().await;
    vault.restart().await;
    stopped(&vault).await;

    let operator = vault.connect(&vault.operator()).await;
    let (raw, session) = {
        operator.unblock_key(key, None).await.unwrap();
        vault.raw_session(&worker.identity, "acme").await
    };
    let by = vault.connect(&worker.identity).await;
    assert_eq!((read(&by, &lab, "rlhf/a").await, read(&by, &zenith, "rlhf/a").await), (Ok(()), Ok(())));
    let contractor = vault.connect(&contractor.identity).await;
    assert_eq!(read(&contractor, &lab, "rlhf/a").await, Ok(()));
    assert_eq!(contractor.grant(&lab.tenant, passed_on).await.unwrap().state, GrantState::Live);
    operator.block_key(key, None).await.unwrap();
    let (_, call) = session.get(Some(parent), "rlhf", &["a"]);
    assert_eq!(raw.get(call.clone()).await.err().map(|failure| failure.reason), Some(Reason::KeyBlocked));
    operator.unblock_key(key, None).await.unwrap();
    let over = raw.get(call).await.err().map(|failure| failure.reason);
    assert_eq!(over, Some(Reason::SessionUnknown), "a session that was ended does not come back");
    // A tenant that has never heard of the key is not told of it.
    let strangers = vault.lab("strangers").await;
    operator.block_key(key, None).await.unwrap();
    strangers.dataset("rlhf").await;
    for lab in [&lab, &zenith] {
        let admin = vault.connect(&lab.admin).await;
        admin.create_dataset(&format!("{}/last", lab.tenant).parse().unwrap()).await.unwrap();
    }
    let own = vault.ledger(operators(&vault).as_str()).await;
    let ordered = own.done(Event::KeyBlocked);
    assert_eq!(ordered.len(), 3);
    for tenant in ["acme", "zenith", "late"] {
        let ledger = vault.ledger(tenant).await;
        let noted = ledger.done(Event::KeyBlocked);
        assert!(!noted.is_empty() && noted.iter().all(|entry| entry.actor.role == Role::Operator), "{tenant}");
        for note in &noted {
            let block = ordered.iter().find(|entry| entry.order == note.order).expect("the operators' own order");
            assert!(block.time <= note.time && block.actor == note.actor && block.request == note.request);
        }
        assert_nothing_while_blocked(&ledger, &key);
    }
    let ledger = vault.ledger("strangers").await;
    assert!(ledger.entries.iter().all(|(public, _)| !String::from_utf8_lossy(public).contains(&key.to_string())));
    assert!(ledger.done(Event::KeyBlocked).is_empty());
}

/// By the tenant's ledger alone: between the note that a key is blocked and the one that it is no longer, nothing was released to it.
fn assert_nothing_while_blocked(ledger: &Ledger, key: &Fingerprint) {
    let mut blocked = false;
    for entry in ledger.parsed() {
        match entry.event {
            Event::KeyBlocked => blocked = true,
            Event::KeyUnblocked => blocked = false,
            Event::Release | Event::ReleaseRepeat => assert!(!blocked || entry.actor.key != *key, "{}", entry.index),
            _ => {}
        }
    }
}

/// Whoever can write the database removes the operators' ledger, so that nobody knows what is blocked: then nobody is served.
async fn a_block_that_the_database_has_forgotten() {
    let (mut vault, lab, worker) = site().await;
    let operator = vault.connect(&vault.operator()).await;
    operator.block_key(worker.identity.fingerprint(), None).await.unwrap();
    let name = operators(&vault);
    let id = format!("(SELECT id FROM tenants WHERE name = '{name}')");
    vault.stop().await;
    // A row of it, and then all of it.
    let row = format!(
        "DELETE FROM authority WHERE tenant = {id} AND entry = (SELECT max(entry) FROM authority WHERE tenant = {id})"
    );
    strongroom_tests::tamper::edit(&vault.folder(), &[row]).await;
    let opened = strongroom_server::Server::open(&vault.folder(), vault.options()).await;
    assert_eq!(opened.err().map(|error| error.reason()), Some(Reason::Integrity));
    let all = ["heads", "authority", "batches"].map(|table| format!("DELETE FROM {table} WHERE tenant = {id}"));
    let all = [&all[..], &[format!("DELETE FROM tenants WHERE name = '{name}'")]].concat();
    strongroom_tests::tamper::edit(&vault.folder(), &all).await;
    let opened = strongroom_server::Server::open(&vault.folder(), vault.options()).await;
    assert_eq!(opened.err().map(|error| error.reason()), Some(Reason::Integrity));
    drop(lab);
}

on_each_engine! {
    (flavor = "multi_thread", worker_threads = 2)
    a_frozen_dataset_is_closed_to_everybody,
    a_frozen_tenant_is_closed_to_everybody,
    streams_under_way_end,
    a_vendor_stops_itself,
    a_vendor_has_several_keys,
    a_key_of_two_tenants_is_two_vendors,
    a_blocked_key_is_stopped_everywhere,
    a_block_that_the_database_has_forgotten,
}
