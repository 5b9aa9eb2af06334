//! Callers that are nobody, or somebody else.

use strongroom_client::{Fingerprint, GetOptions, Identity, Reason};
use strongroom_core::identity::Purpose;
use strongroom_core::ids::{Digest, Millis};
use strongroom_core::order::{Instruction, Order};
use strongroom_proto::v1;
use strongroom_tests::raw::{Raw, SealedObject, Target, failure, order, point, request_id};
use strongroom_tests::{TestVault, copy};
use tonic::Status;

use super::{reason, refusal};
use crate::STRONGROOM;

/// Makes a call of every service that tells or changes something, as `raw`; returns why each was refused.
async fn everything(raw: &Raw, by: &Identity, origin: strongroom_core::origin::Origin) -> Vec<(&'static str, Reason)> {
    use v1::{
        admin_client::AdminClient, audit_client::AuditClient, grants_client::GrantsClient,
        sessions_client::SessionsClient, vendors_client::VendorsClient,
    };
    let tenant = || "acme".to_owned();
    let signed = |instruction| {
        let not_after = Millis(9_000_000_000_000);
        let signed = Order { ledger: origin.clone(), request: request_id(), not_after, instruction, incident: None }
            .sign(by)
            .unwrap();
        order("acme", &signed)
    };
    let name = || "fresh".parse().unwrap();
    let mut found = Vec::new();
    let mut add = |what: &'static str, failed: Option<Status>| {
        let status = failed.unwrap_or_else(|| panic!("{what} was not refused"));
        found.push((what, failure(status).reason));
    };
    let channel = || raw.channel.clone();
    let who = v1::WhoAmIRequest { tenant: tenant() };
    add("WhoAmI", SessionsClient::new(channel()).who_am_i(who).await.err());
    let begin = Target::new("acme", None, "rlhf", "a").begin();
    add("Put", raw.vault().put(futures::stream::iter([begin])).await.err());
    let stat =
        v1::StatRequest { tenant: tenant(), dataset: "rlhf".into(), path: "a".into(), ..v1::StatRequest::default() };
    add("Stat", raw.vault().stat(stat).await.err());
    let list = v1::ListRequest { tenant: tenant(), dataset: "rlhf".into(), ..v1::ListRequest::default() };
    add("List", raw.vault().list(list).await.err());
    add("ListDatasets", raw.vault().list_datasets(v1::ListDatasetsRequest { tenant: tenant() }).await.err());
    add("CreateDataset", raw.vault().create_dataset(signed(Instruction::CreateDataset { name: name() })).await.err());
    let grants = || v1::ListGrantsRequest { tenant: tenant(), ..Default::default() };
    add("Grants.List", GrantsClient::new(channel()).list(grants()).await.err());
    add("Grants.Mine", GrantsClient::new(channel()).mine(grants()).await.err());
    let vendors = v1::ListVendorsRequest { tenant: tenant() };
    add("Vendors.List", VendorsClient::new(channel()).list(vendors).await.err());
    let vendor = signed(Instruction::AddVendor { name: "fresh".parse().unwrap(), keys: vec![] });
    add("Vendors.Register", VendorsClient::new(channel()).register(vendor).await.err());
    let query = v1::QueryRequest { tenant: tenant(), ..v1::QueryRequest::default() };
    add("Audit.Query", AuditClient::new(channel()).query(query).await.err());
    let extract = v1::ExtractRequest { tenant: tenant(), ..v1::ExtractRequest::default() };
    add("Audit.Extract", AuditClient::new(channel()).extract(extract).await.err());
    let pick = v1::PickRequest { tenant: tenant(), indices: vec![0] };
    add("Audit.Pick", AuditClient::new(channel()).pick(pick).await.err());
    let admin = signed(Instruction::AddAdmin { key: by.fingerprint() });
    add("Admin.AddAdmin", AdminClient::new(channel()).add_admin(admin).await.err());
    let tenants = v1::ListTenantsRequest { page: None };
    add("Admin.ListTenants", AdminClient::new(channel()).list_tenants(tenants).await.err());
    found
}

#[tokio::test]
async fn without_a_certificate() {
    let vault = TestVault::start().await;
    let lab = vault.lab("acme").await;
    lab.dataset("rlhf").await;
    let (_, session) = vault.raw_session(&lab.admin, "acme").await;
    let raw = Raw::connect(vault.address(), None).await.unwrap();
    for (what, reason) in everything(&raw, &lab.admin, session.origin.clone()).await {
        assert_eq!(reason, Reason::Unauthenticated, "{what}");
    }
    let status = v1::admin_client::AdminClient::new(raw.channel.clone()).status(v1::StatusRequest {}).await;
    assert_eq!(refusal(status.map_err(failure)), Reason::Unauthenticated);
    // A session of another connection, and a call signed on it, are nothing here.
    assert_eq!(refusal(raw.open(&lab.admin, "acme", vault.vault_key()).await), Reason::Unauthenticated);
    let (_, call) = session.get(None, "rlhf", &["a"]);
    assert_eq!(refusal(raw.get(call).await), Reason::Unauthenticated);
    assert_eq!(vault.ledger("acme").await.entries.len(), 2);
}

#[tokio::test]
async fn with_a_key_that_nobody_knows() {
    let vault = TestVault::start().await;
    let lab = vault.lab("acme").await;
    lab.dataset("rlhf").await;
    let (_, session) = vault.raw_session(&lab.admin, "acme").await;
    let stranger = Identity::generate().unwrap();
    let raw = vault.raw(&stranger).await;
    for (what, reason) in everything(&raw, &stranger, session.origin.clone()).await {
        // Orders are judged by their signatures, and the list of tenants is an operator's, whoever asks.
        let expected = match what {
            "CreateDataset" | "Vendors.Register" | "Admin.AddAdmin" | "Admin.ListTenants" => {
                [Reason::OutOfScope, Reason::Unauthenticated]
            }
            _ => [Reason::Unauthenticated; 2],
        };
        assert!(expected.contains(&reason), "{what}: {reason}");
    }
    assert_eq!(refusal(raw.open(&stranger, "acme", vault.vault_key()).await), Reason::Unauthenticated);
    let (_, call) = session.get(None, "rlhf", &["a"]);
    assert_eq!(refusal(raw.get(call).await), Reason::SessionUnknown);
    let sdk = vault.connect(&stranger).await;
    let get = sdk.get_bytes(&lab.object("rlhf/a"), GetOptions::default()).await;
    assert_eq!(reason(get), Reason::Unauthenticated);
    assert_eq!(
        reason(sdk.create_tenant(&"mine".parse().unwrap(), &[stranger.fingerprint()]).await),
        Reason::OutOfScope
    );
    // Who is nobody leaves no entry: else strangers could fill the ledger.
    assert_eq!(vault.ledger("acme").await.entries.len(), 2);
}

#[tokio::test]
async fn with_an_opening_that_does_not_fit() {
    let vault = TestVault::start().await;
    let lab = vault.lab("acme").await;
    let admin = &lab.admin;
    let raw = vault.raw(admin).await;
    let key = vault.vault_key();

    // Signed by another key than the connection's.
    let stranger = Identity::generate().unwrap();
    assert_eq!(refusal(raw.open(&stranger, "acme", key).await), Reason::Unauthenticated);
    // Made for another connection, or another vault: something stands in between.
    let exporter = raw.open_with(admin, "acme", key, |opening| opening.exporter = Digest::from_bytes([0; 32])).await;
    assert_eq!(refusal(exporter), Reason::Unauthenticated);
    let other = vault.raw(admin).await;
    assert_ne!(other.exporter, raw.exporter);
    let relayed = raw.open_with(admin, "acme", key, |opening| opening.exporter = other.exporter).await;
    assert_eq!(refusal(relayed), Reason::Unauthenticated);
    let pinned = raw.open(admin, "acme", Fingerprint::from_bytes([0; 32])).await;
    assert_eq!(refusal(pinned), Reason::Unauthenticated);
    // For no tenant, or one that does not know the key.
    assert_eq!(refusal(raw.open(admin, "nobody", key).await), Reason::Unauthenticated);
    vault.lab("other").await;
    assert_eq!(refusal(raw.open(admin, "other", key).await), Reason::Unauthenticated);
    // With a recipient that is none.
    for bad in ["", "age1", "ssh-ed25519 AAAA", &"age1q".repeat(40)] {
        let opened = raw.open_with(admin, "acme", key, |opening| opening.recipient = bad.to_owned()).await;
        assert_eq!(refusal(opened), Reason::InvalidArgument, "{bad:?}");
    }
    // With a signature that is none, or of another purpose.
    let mut request = v1::OpenRequest {
        opening: vec![b'{'; 10].into(),
        key: point(admin),
        signature: vec![0; 64].into(),
        seen: None,
        claims: None,
    };
    let mut sessions = v1::sessions_client::SessionsClient::new(raw.channel.clone());
    let mut open = async |request: &v1::OpenRequest| refusal(sessions.open(request.clone()).await.map_err(failure));
    assert_eq!(open(&request).await, Reason::InvalidArgument);
    request.signature = admin.sign(Purpose::Order, &request.opening).unwrap().to_vec().into();
    assert_eq!(open(&request).await, Reason::InvalidArgument);
    request.signature = vec![0; 63].into();
    assert_eq!(open(&request).await, Reason::InvalidArgument);
    request.signature = vec![0; 64].into();
    request.key = vec![4; 65].into();
    assert_eq!(open(&request).await, Reason::Unauthenticated);
    request.opening = vec![b' '; 2049].into();
    assert_eq!(open(&request).await, Reason::TooLarge);
    // After all of which an honest one still works.
    raw.open(admin, "acme", key).await.unwrap();
    assert_eq!(vault.ledger("acme").await.entries.len(), 1, "a session is recorded with its first call");
}

#[tokio::test]
async fn with_a_session_of_another_connection() {
    let vault = TestVault::start().await;
    let lab = vault.lab("acme").await;
    lab.dataset("rlhf").await;
    lab.put("rlhf/a", "text").await;
    let (first, session) = vault.raw_session(&lab.admin, "acme").await;
    let (second, _) = vault.raw_session(&lab.admin, "acme").await;
    let (_, call) = session.get(None, "rlhf", &["a"]);
    assert_eq!(refusal(second.get(call.clone()).await), Reason::SessionUnknown);
    first.get(call.clone()).await.unwrap();
    // A changed word in a signed call, or another session's signature.
    let mut changed = call.clone();
    changed.request = String::from_utf8(call.request.to_vec()).unwrap().replace("\"a\"", "\"b\"").into();
    assert_eq!(refusal(first.get(changed).await), Reason::Unauthenticated);
    let other = first.open(&lab.admin, "acme", vault.vault_key()).await.unwrap();
    let crossed = v1::SignedCall { session: other.id.as_bytes().to_vec().into(), ..call };
    assert_eq!(refusal(first.get(crossed).await), Reason::Unauthenticated);
    let object = SealedObject::seal(b"x");
    let target = Target::new("acme", None, "rlhf", "b");
    assert_eq!(refusal(second.put(session.put_frames(&target, &object)).await), Reason::SessionUnknown);
    vault.ledger("acme").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_a_vault_with_another_key() {
    let vault = TestVault::start().await;
    let lab = vault.lab("acme").await;
    let wrong = Fingerprint::from_bytes([7; 32]);
    let connect = strongroom_client::Connect::to(vault.address().to_string(), wrong, copy(&lab.admin));
    let opened = async { connect.open().await?.status().await }.await;
    assert_eq!(reason(opened), Reason::Integrity);

    let address = vault.address().to_string();
    let login = ["--home", "lab", "login", &address, "--server-key"];
    let (wrong, right) = (wrong.to_string(), vault.vault_key().to_string());
    STRONGROOM.run(vault.beside(), &[&login[..], &[&wrong]].concat()).fails(5, "INTEGRITY");
    let who = STRONGROOM.run(vault.beside(), &["--home", "lab", "whoami"]);
    assert_eq!(who.code, Some(3), "the home belongs to no vault: {}", who.stderr);
    STRONGROOM.run(vault.beside(), &[&login[..], &["SHA256:short"]].concat()).fails(2, "USAGE");
    STRONGROOM.run(vault.beside(), &[&login[..], &[&right]].concat()).ok();
    STRONGROOM.run(vault.beside(), &["--home", "lab", "whoami"]).ok();
}
