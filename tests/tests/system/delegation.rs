//! Delegation: a vendor passes narrower parts of its grant on, and what ends, uses up or stops an ancestor does so to all below.

use strongroom_client::{Action, GetOptions, GrantId, Limits, Millis, Reason, Terms};
use strongroom_core::ledger::Entry;
use strongroom_test_services::on_each_engine;
use strongroom_tests::{Lab, TestVault, Worker, copy, tamper};

use super::bad_input::reason;

const READ: &[Action] = &[Action::List, Action::Read];

/// A vault with four objects, a vendor's worker, and a grant that it may delegate.
async fn site() -> (TestVault, Lab, Worker, GrantId) {
    let vault = TestVault::start().await;
    let lab = vault.lab("acme").await;
    lab.dataset("rlhf").await;
    for name in ["rlhf/math/1", "rlhf/math/2", "rlhf/math/x/3", "rlhf/other"] {
        lab.put(name, vec![7; 1000]).await;
    }
    let vendor = lab.vendor(&vault, "labelco").await;
    let root = lab.grant(delegable(lab.terms(vendor.holder, &[(READ, "rlhf/math/")]))).await;
    (vault, lab, vendor, root)
}

/// Terms that end so many minutes earlier: a child's, which may not outlive its parent.
fn earlier(terms: Terms, minutes: u64) -> Terms {
    Terms { expires: Millis(terms.expires.0 - minutes * 60_000), ..terms }
}

fn delegable(terms: Terms) -> Terms {
    Terms { delegable: true, ..terms }
}

async fn delegate(from: &Worker, lab: &Lab, terms: Terms) -> Result<GrantId, Reason> {
    let issued = from.vault.issue_grant(&lab.tenant, terms).await;
    issued.map(|(id, _)| id).map_err(|error| error.reason())
}

async fn read(by: &Worker, lab: &Lab, name: &str) -> Result<(), Reason> {
    let got = by.vault.get_bytes(&lab.object(name), GetOptions::default()).await;
    got.map(|bytes| assert_eq!(bytes.len(), 1000)).map_err(|error| error.reason())
}

async fn a_child_reads_its_part_and_charges_all_above() {
    let (vault, lab, vendor, root) = site().await;
    let worker = lab.key(&vault).await;
    let limits = Limits { bytes: Some(3000), ..Limits::default() };
    let part = earlier(lab.terms(worker.holder, &[(READ, "rlhf/math/x/"), (&[Action::Read], "rlhf/math/1")]), 1);
    let child = delegate(&vendor, &lab, Terms { limits, ..delegable(part) }).await.unwrap();
    assert_eq!(read(&worker, &lab, "rlhf/math/1").await, Ok(()));
    assert_eq!(read(&worker, &lab, "rlhf/math/2").await, Err(Reason::OutOfScope));

    // Once more, below: with no limit of its own, it has its parent's.
    let last = lab.key(&vault).await;
    let part = earlier(lab.terms(last.holder, &[(READ, "rlhf/math/x/")]), 2);
    let grandchild = delegate(&worker, &lab, part).await.unwrap();
    assert_eq!(read(&last, &lab, "rlhf/math/x/3").await, Ok(()));
    let told = |info: strongroom_client::grants::GrantInfo| (info.grant.terms.parent, info.usage.bytes);
    assert_eq!(told(lab.vault.grant(&lab.tenant, root).await.unwrap()), (None, 2000));
    assert_eq!(told(vendor.vault.grant(&lab.tenant, child).await.unwrap()), (Some(root), 2000));
    assert_eq!(told(vendor.vault.grant(&lab.tenant, grandchild).await.unwrap()), (Some(child), 1000));
    assert_eq!(
        reason(last.vault.grant(&lab.tenant, root).await),
        Reason::NotFound,
        "what is above is not theirs to see"
    );
    assert_eq!(last.vault.grant(&lab.tenant, grandchild).await.unwrap().grant.terms.limits.bytes, Some(3000));

    // The parent's last kilobyte is everybody's last.
    assert_eq!(read(&worker, &lab, "rlhf/math/1").await, Ok(()));
    assert_eq!(read(&last, &lab, "rlhf/math/x/3").await, Err(Reason::QuotaExceeded));
    let ledger = vault.ledger("acme").await.assert_clean();
    let chains = ledger.entries.iter().map(|(public, _)| Entry::from_bytes(public).unwrap().grants);
    assert!(chains.into_iter().any(|chain| chain == [grandchild, child, root]), "the whole chain is recorded");
}

async fn a_child_is_never_wider() {
    let (vault, lab, vendor, root) = site().await;
    let worker = lab.key(&vault).await;
    let terms = || Terms { parent: Some(root), ..earlier(lab.terms(worker.holder, &[(READ, "rlhf/math/")]), 1) };
    let parent = lab.vault.grant(&lab.tenant, root).await.unwrap().grant.terms;
    let scopes = |places: &[(&[Action], &str)]| lab.terms(worker.holder, places).scopes;
    for wider in [
        Terms { scopes: scopes(&[(READ, "rlhf/")]), ..terms() },
        Terms { scopes: scopes(&[(READ, "rlhf/math*")]), ..terms() },
        Terms { scopes: scopes(&[(READ, "rlhf/math/"), (&[Action::Write], "rlhf/math/1")]), ..terms() },
        Terms { expires: Millis(parent.expires.0 + 1), ..terms() },
    ] {
        assert_eq!(delegate(&vendor, &lab, wider.clone()).await, Err(Reason::NotNarrower), "{wider:?}");
    }
    let to_vendor = Terms { holder: vendor.holder, ..terms() };
    assert_eq!(delegate(&vendor, &lab, to_vendor).await, Err(Reason::InvalidArgument));
    // Who does not hold it does not delegate it: an admin neither.
    assert_eq!(reason(lab.vault.issue_grant(&lab.tenant, terms()).await), Reason::OutOfScope);
    let other = lab.vendor(&vault, "other").await;
    assert_eq!(delegate(&other, &lab, terms()).await, Err(Reason::NotFound));

    // A child that may not be delegated is the last.
    let child = delegate(&vendor, &lab, terms()).await.unwrap();
    let below = Terms { parent: Some(child), ..earlier(lab.terms(worker.holder, &[(READ, "rlhf/math/")]), 2) };
    assert_eq!(delegate(&worker, &lab, below).await, Err(Reason::NotNarrower));
    let _ = vault.ledger("acme").await.assert_clean();
}

async fn what_ends_a_grant_ends_all_below() {
    let (vault, lab, vendor, root) = site().await;
    let mut holders = vec![(copy(&vendor.identity), root)];
    let mut last = None;
    // Eight below the first, and no more.
    for depth in 1..=9 {
        let (identity, _) = holders.last().unwrap();
        let above = Worker { identity: copy(identity), holder: vendor.holder, vault: vault.connect(identity).await };
        let next = lab.key(&vault).await;
        let part = delegable(earlier(lab.terms(next.holder, &[(READ, "rlhf/math/")]), depth));
        let issued = delegate(&above, &lab, part).await;
        if depth == 9 {
            assert_eq!(issued, Err(Reason::NotNarrower));
            break;
        }
        holders.push((copy(&next.identity), issued.unwrap()));
        last = Some(next);
    }
    let last = last.unwrap();
    assert_eq!(read(&last, &lab, "rlhf/math/1").await, Ok(()));
    let name = "labelco".parse().unwrap();
    lab.vault.suspend_vendor(&lab.tenant, &name, None).await.unwrap();
    assert_eq!(read(&last, &lab, "rlhf/math/1").await, Err(Reason::VendorSuspended));
    lab.vault.resume_vendor(&lab.tenant, &name, None).await.unwrap();
    assert_eq!(read(&last, &lab, "rlhf/math/1").await, Ok(()));

    // The vendor ends one in the middle, which another of its workers had issued.
    let middle = holders[4].1;
    vendor.vault.revoke_grant(&lab.tenant, middle, None).await.unwrap();
    assert_eq!(read(&last, &lab, "rlhf/math/1").await, Err(Reason::GrantRevoked));
    let above = vault.connect(&holders[3].0).await;
    let options = GetOptions { grant: Some(holders[3].1), ..GetOptions::default() };
    assert_eq!(
        above.get_bytes(&lab.object("rlhf/math/2"), options).await.unwrap().len(),
        1000,
        "what is above goes on"
    );

    // With the key that signed the first delegation, all that came from it ends.
    lab.vault.revoke_key(&lab.tenant, &name, vendor.identity.fingerprint()).await.unwrap();
    let options = GetOptions { grant: Some(holders[3].1), ..GetOptions::default() };
    assert_eq!(reason(above.get_bytes(&lab.object("rlhf/math/2"), options).await), Reason::GrantRevoked);
    let _ = vault.ledger("acme").await.assert_clean();
}

async fn a_parents_row_that_is_gone_opens_nothing() {
    let (mut vault, lab, vendor, root) = site().await;
    let worker = lab.key(&vault).await;
    let part = earlier(lab.terms(worker.holder, &[(READ, "rlhf/math/")]), 1);
    delegate(&vendor, &lab, part).await.unwrap();
    assert_eq!(read(&worker, &lab, "rlhf/math/1").await, Ok(()));
    vault.stop().await;
    let gone = format!("DELETE FROM grants WHERE id = {}", tamper::hex(root.as_bytes()));
    tamper::edit(&vault.folder(), &[gone]).await;
    vault.restart().await;
    let again = Worker { vault: vault.connect(&worker.identity).await, ..worker };
    assert_eq!(read(&again, &lab, "rlhf/math/2").await, Err(Reason::Integrity));
    let _ = vault.ledger("acme").await.assert_clean();
}

on_each_engine! {
    (flavor = "current_thread")
    a_child_reads_its_part_and_charges_all_above,
    a_child_is_never_wider,
    what_ends_a_grant_ends_all_below,
    a_parents_row_that_is_gone_opens_nothing,
}
