//! What was said once is said again, or by somebody else: orders, calls, key parcels.

use strongroom_client::{Action, GetOptions, GrantId, Identity, Millis, Reason};
use strongroom_core::call::{Call, GetItem, Work};
use strongroom_core::identity::Signature;
use strongroom_core::ids::SessionId;
use strongroom_core::keys::parcel::{Binding, KeyParcel, ParcelError, SessionSecret};
use strongroom_core::ledger::Event;
use strongroom_core::order::{Instruction, Order, SignedOrder};
use strongroom_core::origin::Origin;
use strongroom_proto::v1;
use strongroom_proto::v1::get_frame::Frame;
use strongroom_test_services::on_each_engine;
use strongroom_tests::raw::{Raw, RawSession, failure, order, request_id};
use strongroom_tests::{Lab, TestVault, Worker, copy, tamper};

use super::{frames, has_keys, reason, refusal};

async fn vault_and_lab() -> (TestVault, Lab, Worker, GrantId) {
    let vault = TestVault::start().await;
    let lab = vault.lab("acme").await;
    lab.dataset("rlhf").await;
    for path in ["a", "b"] {
        lab.put(&format!("rlhf/{path}"), format!("what stands at {path}")).await;
    }
    let worker = lab.vendor(&vault, "labelco").await;
    let grant = lab.let_read(&worker, "rlhf/").await;
    (vault, lab, worker, grant)
}

pub(super) fn signed(origin: &Origin, by: &Identity, instruction: Instruction) -> SignedOrder {
    let not_after = Millis(9_000_000_000_000);
    Order { ledger: origin.clone(), request: request_id(), not_after, instruction, incident: None }.sign(by).unwrap()
}

/// Sends an order by the method that is for it.
pub(super) async fn send(raw: &Raw, tenant: &str, signed: &SignedOrder) -> Result<(u64, u64), Reason> {
    use v1::admin_client::AdminClient;
    use v1::vendors_client::VendorsClient;
    let (message, channel) = (order(tenant, signed), raw.channel.clone());
    let sent = match signed.order.instruction {
        Instruction::SuspendVendor { .. } => VendorsClient::new(channel).suspend(message).await,
        Instruction::ResumeVendor { .. } => VendorsClient::new(channel).resume(message).await,
        Instruction::AddAdmin { .. } => AdminClient::new(channel).add_admin(message).await,
        Instruction::RemoveAdmin { .. } => AdminClient::new(channel).remove_admin(message).await,
        _ => unreachable!("no test sends it"),
    };
    let receipt = sent.map(tonic::Response::into_inner).map_err(|status| failure(status).reason)?;
    assert_eq!(receipt.order_id, signed.clone().verify().unwrap().id().as_bytes()[..]);
    Ok((receipt.index, receipt.time))
}

/// The order of the group of P-256 (FIPS 186-4, D.1.2.3).
const N: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa,
    0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

/// The other signature of the same bytes by the same key: (r, n − s) holds wherever (r, s) does.
pub(super) fn flipped(signed: &SignedOrder) -> SignedOrder {
    let mut flipped = signed.clone();
    let Signature(bytes) = &mut flipped.signatures[0].signature;
    let mut borrow = 0;
    for at in (0..32).rev() {
        let difference = i16::from(N[at]) - i16::from(bytes[32 + at]) - borrow;
        borrow = i16::from(difference < 0);
        bytes[32 + at] = u8::try_from(difference & 0xff).unwrap();
    }
    flipped
}

fn vendor_of(worker: &Worker) -> strongroom_core::ids::VendorId {
    let strongroom_client::Holder::Vendor(vendor) = worker.holder else { unreachable!() };
    vendor
}

async fn an_order_again() {
    let (mut vault, lab, worker, _) = vault_and_lab().await;
    let (raw, session) = vault.raw_session(&lab.admin, "acme").await;
    let suspend =
        signed(&session.origin, &lab.admin, Instruction::SuspendVendor { vendor: vendor_of(&worker), note: None });
    // The same order in other clothes: its signature flipped, or one more under it.
    let second = Identity::generate().unwrap();
    lab.vault.add_admin(&lab.tenant, second.fingerprint()).await.unwrap();
    let mut more = suspend.clone();
    let other = suspend.order.clone().sign(&second).unwrap();
    more.signatures.extend(other.signatures);
    let again = [suspend.clone(), flipped(&suspend), more];
    for one in &again {
        let verified = one.clone().verify().expect("each of them is well signed");
        assert_eq!(verified.id(), suspend.clone().verify().unwrap().id());
    }
    assert_ne!(again[1], again[0]);

    let receipt = send(&raw, "acme", &suspend).await.unwrap();
    let by_the_vendor = vault.raw(&worker.identity).await;
    for one in &again {
        // Whoever signed it is told again what became of it; nobody else is.
        assert_eq!(send(&raw, "acme", one).await, Ok(receipt));
        assert_eq!(send(&by_the_vendor, "acme", one).await, Err(Reason::PreconditionFailed));
    }
    // After it was taken back, whoever kept it cannot give it once more; nor after the server has started again.
    lab.vault.resume_vendor(&lab.tenant, &"labelco".parse().unwrap(), None).await.unwrap();
    let name = lab.object("rlhf/a");
    for restarted in [false, true] {
        if restarted {
            vault.stop().await;
            vault.restart().await;
        }
        let raw = vault.raw(&lab.admin).await;
        for one in &again {
            assert_eq!(send(&raw, "acme", one).await, Ok(receipt), "it is told, and not carried out");
        }
        let worker = vault.connect(&worker.identity).await;
        worker.get_bytes(&name, GetOptions::default()).await.unwrap();
    }
    let ledger = vault.ledger("acme").await;
    assert_eq!(ledger.done(Event::VendorSuspended).len(), 1);
}

async fn an_order_for_another_ledger_or_time() {
    let (vault, lab, worker, _) = vault_and_lab().await;
    let operator = vault.connect(&vault.operator()).await;
    operator.create_tenant(&"other".parse().unwrap(), &[lab.admin.fingerprint()]).await.unwrap();
    let (raw, session) = vault.raw_session(&lab.admin, "acme").await;
    let elsewhere = raw.open(&lab.admin, "other", vault.vault_key()).await.unwrap();
    let suspend = || Instruction::SuspendVendor { vendor: vendor_of(&worker), note: None };
    let foreign = signed(&elsewhere.origin, &lab.admin, suspend());
    assert_eq!(send(&raw, "acme", &foreign).await, Err(Reason::PreconditionFailed));

    let mut late = signed(&session.origin, &lab.admin, suspend()).order;
    late.not_after = Millis(lab.vault.status().await.unwrap().time.0 + 60_000);
    let late = late.sign(&lab.admin).unwrap();
    vault.clock.shift(61_000);
    assert_eq!(send(&raw, "acme", &late).await, Err(Reason::PreconditionFailed));
    worker.vault.get_bytes(&lab.object("rlhf/a"), GetOptions::default()).await.unwrap();
    // Whoever held it back cannot turn the clock back either.
    vault.clock.shift(-61_000);
    assert_eq!(send(&raw, "acme", &late).await, Err(Reason::Clock));
    let ledger = vault.ledger("acme").await;
    assert!(ledger.done(Event::VendorSuspended).is_empty());
    vault.ledger("other").await;
}

/// Somebody who can write the database has it claim that an order was accepted: no receipt comes of it that would let an admin
/// believe that a vendor is suspended.
async fn an_order_that_the_database_claims_was_accepted() {
    let (vault, lab, worker, grant) = vault_and_lab().await;
    let (raw, session) = vault.raw_session(&lab.admin, "acme").await;
    let revoke = signed(&session.origin, &lab.admin, Instruction::RevokeGrant { grant, note: None });
    let suspend =
        signed(&session.origin, &lab.admin, Instruction::SuspendVendor { vendor: vendor_of(&worker), note: None });
    for order in [&suspend, &revoke] {
        let id = order.clone().verify().unwrap().id();
        let row = "INSERT INTO orders (tenant, id, entry) SELECT tenant";
        let row = format!("{row}, {}, entry FROM orders ORDER BY entry LIMIT 1", tamper::hex(id.as_bytes()));
        tamper::edit(&vault.folder(), &[row]).await;
    }
    assert_eq!(send(&raw, "acme", &suspend).await, Err(Reason::PreconditionFailed));
    let revoked = v1::grants_client::GrantsClient::new(raw.channel.clone()).revoke(order("acme", &revoke)).await;
    assert_eq!(refusal(revoked.map_err(failure)), Reason::PreconditionFailed);
    worker.vault.get_bytes(&lab.object("rlhf/a"), GetOptions::default()).await.unwrap();
    vault.ledger("acme").await;
}

/// Somebody who can write the database makes the vault forget which orders it has carried out, and gives old ones again: to be
/// an admin once more, or a vendor that is not suspended.
async fn an_order_again_that_the_database_has_forgotten() {
    let (mut vault, lab, worker, _) = vault_and_lab().await;
    let (raw, session) = vault.raw_session(&lab.admin, "acme").await;
    let former = Identity::generate().unwrap();
    let add = signed(&session.origin, &lab.admin, Instruction::AddAdmin { key: former.fingerprint() });
    send(&raw, "acme", &add).await.unwrap();
    lab.vault.remove_admin(&lab.tenant, former.fingerprint()).await.unwrap();
    let (vendor, labelco) = (vendor_of(&worker), "labelco".parse().unwrap());
    lab.vault.suspend_vendor(&lab.tenant, &labelco, None).await.unwrap();
    let resume = signed(&session.origin, &lab.admin, Instruction::ResumeVendor { vendor, note: None });
    send(&raw, "acme", &resume).await.unwrap();
    lab.vault.suspend_vendor(&lab.tenant, &labelco, None).await.unwrap();

    tamper::edit(&vault.folder(), &["DELETE FROM orders".to_owned()]).await;
    for restarted in [false, true] {
        if restarted {
            vault.stop().await;
            vault.restart().await;
        }
        let raw = vault.raw(&former).await;
        for old in [&add, &resume, &flipped(&add), &flipped(&resume)] {
            assert_eq!(send(&raw, "acme", old).await, Err(Reason::PreconditionFailed), "restarted: {restarted}");
        }
        assert_eq!(refusal(raw.open(&former, "acme", vault.vault_key()).await), Reason::Unauthenticated);
        let worker = vault.connect(&worker.identity).await;
        let read = worker.get_bytes(&lab.object("rlhf/a"), GetOptions::default()).await;
        assert_eq!(reason(read), Reason::VendorSuspended);
    }
    vault.ledger("acme").await;
}

fn read_call(grant: Option<GrantId>, path: &str) -> Call {
    let item = GetItem::at("rlhf".parse().unwrap(), path.parse().unwrap());
    Call { request: request_id(), grant, work: Work::Get(vec![item]), incident: None }
}

/// A call's bytes under one session's id, for one ledger, signed by any session's key.
fn sign_as(id: SessionId, origin: &Origin, signer: &RawSession, bytes: &[u8]) -> v1::SignedCall {
    let digest = Call::digest(&id, origin, bytes);
    v1::SignedCall {
        session: id.as_bytes().to_vec().into(),
        request: bytes.to_vec().into(),
        signature: Call::sign(&digest, &signer.call_key).0.to_vec().into(),
    }
}

async fn a_call_of_somebody_else() {
    let (vault, lab, worker, grant) = vault_and_lab().await;
    let operator = vault.connect(&vault.operator()).await;
    operator.create_tenant(&"other".parse().unwrap(), &[lab.admin.fingerprint()]).await.unwrap();
    let (raw, session) = vault.raw_session(&lab.admin, "acme").await;
    let elsewhere = raw.open(&lab.admin, "other", vault.vault_key()).await.unwrap();
    let (second, same_admin) = vault.raw_session(&lab.admin, "acme").await;
    let (by_vendor, vendor) = vault.raw_session(&worker.identity, "acme").await;
    let refused = async |raw: &Raw, call: v1::SignedCall, expected: Reason, what: &str| {
        let (frames, ended) = frames(raw, call).await;
        assert_eq!(ended, Err(expected), "{what}");
        assert!(!has_keys(&frames), "{what}");
    };
    let bytes = read_call(None, "a").bytes().unwrap();
    let honest = |session: &RawSession| session.sign_bytes(bytes.clone()).1;

    let call = sign_as(session.id, &session.origin, &same_admin, &bytes);
    refused(&raw, call, Reason::Unauthenticated, "signed by another session of the same admin").await;
    let call = sign_as(session.id, &session.origin, &vendor, &bytes);
    refused(&raw, call, Reason::Unauthenticated, "signed by the vendor's session").await;
    let call = sign_as(session.id, &elsewhere.origin, &session, &bytes);
    refused(&raw, call, Reason::Unauthenticated, "signed for another ledger").await;
    let call = v1::SignedCall { session: elsewhere.id.as_bytes().to_vec().into(), ..honest(&session) };
    refused(&raw, call, Reason::Unauthenticated, "moved to the session of another tenant").await;
    let call = v1::SignedCall { request: read_call(None, "b").bytes().unwrap().into(), ..honest(&session) };
    refused(&raw, call, Reason::Unauthenticated, "with other words").await;
    let call = v1::SignedCall { signature: vec![0; 63].into(), ..honest(&session) };
    refused(&raw, call, Reason::InvalidArgument, "with half a signature").await;

    refused(&second, honest(&session), Reason::SessionUnknown, "on another connection of the same admin").await;
    refused(&by_vendor, honest(&session), Reason::SessionUnknown, "on the vendor's connection").await;
    drop(raw);
    refused(&second, honest(&session), Reason::SessionUnknown, "after its own connection ended").await;
    // A vendor's own call is its own only: without its grant, or with one that it does not hold.
    refused(&by_vendor, honest(&vendor), Reason::OutOfScope, "an admin's words from a vendor").await;
    let stolen = lab.grant(lab.terms(
        strongroom_client::Holder::Key(Identity::generate().unwrap().fingerprint()),
        &[(&[Action::Read], "rlhf/")],
    ));
    let (_, call) = vendor.get(Some(stolen.await), "rlhf", &["a"]);
    refused(&by_vendor, call, Reason::OutOfScope, "another's grant").await;

    assert!(vault.ledger("acme").await.done(Event::Release).is_empty());
    let (_, call) = vendor.get(Some(grant), "rlhf", &["a"]);
    assert!(has_keys(&frames(&by_vendor, call).await.0));
    vault.ledger("acme").await;
    vault.ledger("other").await;
}

async fn a_call_again_on_its_own_connection() {
    let (vault, lab, worker, _) = vault_and_lab().await;
    let mut terms = lab.terms(worker.holder, &[(&[Action::Read], "rlhf/")]);
    terms.limits.uses = Some(1);
    let grant = lab.grant(terms).await;
    let (raw, session) = vault.raw_session(&worker.identity, "acme").await;
    let (_, call) = session.get(Some(grant), "rlhf", &["a"]);
    for _ in 0..3 {
        let (frames, ended) = frames(&raw, call.clone()).await;
        assert_eq!(ended, Ok(()));
        assert!(has_keys(&frames));
    }
    // The same request id for something else.
    let request = {
        let call: Call = strongroom_core::exact::from_slice(&call.request).unwrap();
        call.request
    };
    let (_, other) = session.sign(&Call { request, ..read_call(Some(grant), "b") });
    assert_eq!(frames(&raw, other).await.1, Err(Reason::PreconditionFailed));
    // And another request, for which there is no use left.
    let (_, another) = session.get(Some(grant), "rlhf", &["a"]);
    assert_eq!(frames(&raw, another).await.1, Err(Reason::QuotaExceeded));
    let ledger = vault.ledger("acme").await;
    assert_eq!((ledger.done(Event::Release).len(), ledger.done(Event::ReleaseRepeat).len()), (1, 2));
    let usage = lab.vault.grant(&lab.tenant, grant).await.unwrap().usage;
    assert_eq!((usage.uses, usage.objects), (1, 1));
}

/// The parcel of a read, with the binding that it was made for.
async fn parcel(raw: &Raw, session: &RawSession, grant: GrantId, path: &str) -> (Binding, v1::Parcel) {
    let (digest, call) = session.get(Some(grant), "rlhf", &[path]);
    let (frames, ended) = frames(raw, call).await;
    ended.unwrap();
    let parcel =
        frames.into_iter().find_map(|frame| if let Frame::Parcel(parcel) = frame { Some(parcel) } else { None });
    let parcel = parcel.unwrap();
    (Binding { session: session.id, call: digest, index: parcel.index }, parcel)
}

async fn a_key_parcel_in_another_place() {
    let (vault, lab, worker, grant) = vault_and_lab().await;
    let (raw, session) = vault.raw_session(&worker.identity, "acme").await;
    let (second_raw, second) = vault.raw_session(&copy(&worker.identity), "acme").await;
    let (first_binding, first) = parcel(&raw, &session, grant, "a").await;
    let (other_binding, other) = parcel(&raw, &session, grant, "b").await;
    let (second_binding, _) = parcel(&second_raw, &second, grant, "a").await;

    let opened = KeyParcel::open(&session.secret, &first_binding, &first.sealed).unwrap();
    assert_eq!(opened.objects[0].path, "a");
    let refused = |secret: &SessionSecret, binding: &Binding, sealed: &[u8], what: &str| {
        let error = KeyParcel::open(secret, binding, sealed).err();
        assert_eq!(error, Some(ParcelError::Sealed), "{what}");
    };
    refused(&session.secret, &other_binding, &first.sealed, "moved to another call");
    refused(&session.secret, &first_binding, &other.sealed, "another call's, moved here");
    refused(&session.secret, &second_binding, &first.sealed, "moved to another session's call");
    refused(&second.secret, &first_binding, &first.sealed, "with another session's secret");
    let index = |index| Binding { index, ..first_binding };
    refused(&session.secret, &index(first.index + 1), &first.sealed, "said to be a later entry's");
    refused(&session.secret, &index(first.index - 1), &first.sealed, "said to be an earlier entry's");
    refused(&session.secret, &Binding { session: second.id, ..first_binding }, &first.sealed, "under another session");
    for at in 0..first.sealed.len() {
        let mut changed = first.sealed.to_vec();
        changed[at] ^= 1;
        refused(&session.secret, &first_binding, &changed, "with a bit changed");
    }
    for len in 0..first.sealed.len() {
        refused(&session.secret, &first_binding, &first.sealed[..len], "cut short");
    }
    drop(lab);
    vault.ledger("acme").await;
}

on_each_engine! {
    (flavor = "current_thread")
    an_order_again,
    an_order_for_another_ledger_or_time,
    an_order_again_that_the_database_has_forgotten,
    an_order_that_the_database_claims_was_accepted,
    a_call_of_somebody_else,
    a_call_again_on_its_own_connection,
    a_key_parcel_in_another_place,
}
