//! Messages over their limits, and calls that say nothing sensible.

use strongroom_client::Reason;
use strongroom_core::call::{Call, GetItem, Work};
use strongroom_core::ids::{DatasetId, Millis};
use strongroom_core::order::{Instruction, Order};
use strongroom_proto::v1;
use strongroom_proto::v1::put_frame::Frame;
use strongroom_proto::{MAX_FRAME, MAX_MESSAGE};
use strongroom_tests::raw::{Target, failure, order, order_bytes, point, put_frame, request_id};
use strongroom_tests::{Lab, TestVault};

use super::refusal;

async fn vault_and_lab() -> (TestVault, Lab) {
    let vault = TestVault::start().await;
    let lab = vault.lab("acme").await;
    lab.dataset("rlhf").await;
    (vault, lab)
}

#[tokio::test]
async fn over_their_limits() {
    let (vault, lab) = vault_and_lab().await;
    let (raw, session) = vault.raw_session(&lab.admin, "acme").await;
    let (_, call) = session.get(None, "rlhf", &["a"]);

    let large = v1::PutBatchRequest { objects: vec![0; MAX_MESSAGE].into(), ..v1::PutBatchRequest::default() };
    assert_eq!(refusal(raw.vault().put_batch(large).await.map_err(failure)), Reason::TooLarge);
    let long = v1::SignedCall { request: vec![b' '; MAX_MESSAGE].into(), ..call.clone() };
    assert_eq!(refusal(raw.get(long).await), Reason::TooLarge);
    let target = Target::new("acme", None, "rlhf", "a");
    let frame = put_frame(Frame::Data(vec![0; MAX_FRAME + 1].into()));
    assert_eq!(refusal(raw.put(vec![target.begin(), frame]).await), Reason::TooLarge);
    let message = put_frame(Frame::Data(vec![0; MAX_MESSAGE + 1].into()));
    // A message that its decoder refuses ends the stream: what arrives is that it broke off, or why.
    let refused = refusal(raw.put(vec![target.begin(), message]).await);
    assert!(matches!(refused, Reason::TooLarge | Reason::Unavailable), "{refused}");

    let token = v1::ListRequest {
        tenant: "acme".into(),
        dataset: "rlhf".into(),
        page: Some(v1::Page { limit: 1, token: "a".repeat(4097) }),
        ..v1::ListRequest::default()
    };
    assert_eq!(refusal(raw.vault().list(token).await.map_err(failure)), Reason::TooLarge);

    let mut audit = v1::audit_client::AuditClient::new(raw.channel.clone());
    let pick = |indices: Vec<u64>| v1::PickRequest { tenant: "acme".into(), indices };
    for (indices, expected) in [
        ((0..65_537).collect(), Reason::TooLarge),
        (vec![1, 1], Reason::InvalidArgument),
        (vec![0, u64::MAX], Reason::NotFound),
    ] {
        assert_eq!(refusal(audit.pick(pick(indices)).await.map_err(failure)), expected);
    }
    let extract = |doers| v1::ExtractRequest { tenant: "acme".into(), doers, ..v1::ExtractRequest::default() };
    let keys = |length, count| v1::Doers { keys: vec![vec![7; length].into(); count], ..v1::Doers::default() };
    for (doers, expected) in [(keys(32, 4097), Reason::TooLarge), (keys(31, 1), Reason::InvalidArgument)] {
        assert_eq!(refusal(audit.extract(extract(Some(doers))).await.map_err(failure)), expected);
    }
    let unknown = v1::ExtractRequest { events: vec!["nothing".into()], ..extract(None) };
    assert_eq!(refusal(audit.extract(unknown).await.map_err(failure)), Reason::InvalidArgument);

    let mut sessions = v1::sessions_client::SessionsClient::new(raw.channel.clone());
    for claims in [
        v1::Claims { sdk: "a".repeat(65), ..v1::Claims::default() },
        v1::Claims { host: "a".repeat(256), ..v1::Claims::default() },
        v1::Claims { job: "a".repeat(256), ..v1::Claims::default() },
    ] {
        let request = v1::OpenRequest {
            key: point(&lab.admin),
            signature: vec![0; 64].into(),
            claims: Some(claims),
            ..v1::OpenRequest::default()
        };
        assert_eq!(refusal(sessions.open(request).await.map_err(failure)), Reason::TooLarge);
    }

    let note = |length| Instruction::SuspendVendor {
        vendor: strongroom_core::ids::VendorId::from_bytes([7; 16]),
        note: Some("a".repeat(length)),
    };
    let signed = |instruction| {
        let (ledger, not_after) = (session.origin.clone(), Millis(9_000_000_000_000));
        order(
            "acme",
            &Order { ledger, request: request_id(), not_after, instruction, incident: None }.sign(&lab.admin).unwrap(),
        )
    };
    let mut vendors = v1::vendors_client::VendorsClient::new(raw.channel.clone());
    let mut suspend = async |request| refusal(vendors.suspend(request).await.map_err(failure));
    assert_eq!(suspend(signed(note(512))).await, Reason::NotFound);
    assert_eq!(suspend(signed(note(513))).await, Reason::InvalidArgument);
    assert_eq!(suspend(signed(note(33_000))).await, Reason::TooLarge);
    let bytes = v1::SignedOrder { tenant: "acme".into(), order: vec![b'a'; 40_000].into() };
    assert_eq!(suspend(bytes).await, Reason::TooLarge);
    vault.ledger("acme").await;
}

#[tokio::test]
async fn calls_that_say_nothing_sensible() {
    let (vault, lab) = vault_and_lab().await;
    lab.put("rlhf/a", "text").await;
    let (raw, session) = vault.raw_session(&lab.admin, "acme").await;
    let item = |range| GetItem { range, ..GetItem::at("rlhf".parse().unwrap(), "a".parse().unwrap()) };
    let ask = async |items: Vec<GetItem>| {
        let (_, call) =
            session.sign(&Call { request: request_id(), grant: None, work: Work::Get(items), incident: None });
        raw.get(call).await.map(|_| ()).map_err(|failure| failure.reason)
    };
    let invalid = Err(Reason::InvalidArgument);
    assert_eq!(ask(vec![]).await, invalid);
    assert_eq!(ask(vec![item(None); 1025]).await, invalid);
    assert_eq!(ask(vec![item(None); 1024]).await, Ok(()));
    assert_eq!(ask(vec![item(Some((1, 1)))]).await, invalid);
    assert_eq!(ask(vec![item(Some((2, 1)))]).await, invalid);
    assert_eq!(ask(vec![item(Some((4, 5)))]).await, invalid);
    assert_eq!(ask(vec![item(Some((0, 4)))]).await, Ok(()));

    // Exact JSON has one spelling: another one is another text, and was not asked for.
    let exact =
        Call { request: request_id(), grant: None, work: Work::Get(vec![item(None)]), incident: None }.bytes().unwrap();
    let exact = String::from_utf8(exact).unwrap();
    for other in [
        format!(" {exact}"),
        format!("{exact}\n"),
        exact.replacen(':', ": ", 1),
        exact.replacen('{', "{\"extra\":1,", 1),
        exact.replace("\"a\"", "\"\\u0061\""),
        exact.replace("[{", "[{\"path\":\"b\","),
        "{}".to_owned(),
        "null".to_owned(),
        String::new(),
        "[".repeat(10_000),
    ] {
        let (_, call) = session.sign_bytes(other.clone().into_bytes());
        assert_eq!(refusal(raw.get(call).await), Reason::InvalidArgument, "{other:.60}");
    }
    let (_, honest) = session.get(None, "rlhf", &["a"]);
    for (what, call, expected) in [
        ("no session", v1::SignedCall { session: vec![].into(), ..honest.clone() }, Reason::SessionUnknown),
        ("no signature", v1::SignedCall { signature: vec![].into(), ..honest.clone() }, Reason::InvalidArgument),
        ("another", v1::SignedCall { signature: vec![1; 64].into(), ..honest.clone() }, Reason::Unauthenticated),
    ] {
        assert_eq!(refusal(raw.get(call).await), expected, "{what}");
    }
    let none = raw.vault().get(v1::GetRequest { call: None, skip: 0 }).await.map_err(failure);
    assert_eq!(refusal(none), Reason::InvalidArgument);
    let beyond = raw.vault().get(v1::GetRequest { call: Some(honest.clone()), skip: u64::MAX }).await.unwrap();
    assert_eq!(refusal(beyond.into_inner().message().await.map_err(failure)), Reason::InvalidArgument);

    // A call of one kind, sent to the method for another.
    let delete = raw.vault().delete(honest.clone()).await.map_err(failure);
    assert_eq!(refusal(delete), Reason::InvalidArgument);
    let batch = v1::PutBatchRequest { call: Some(honest), ..v1::PutBatchRequest::default() };
    assert_eq!(refusal(raw.vault().put_batch(batch).await.map_err(failure)), Reason::InvalidArgument);
    // An order likewise.
    let instruction = Instruction::CreateDataset { name: "fresh".parse().unwrap() };
    let order = Order {
        ledger: session.origin.clone(),
        request: request_id(),
        not_after: Millis(9_000_000_000_000),
        instruction,
        incident: None,
    };
    let signed = strongroom_tests::raw::order("acme", &order.clone().sign(&lab.admin).unwrap());
    let mut vendors = v1::vendors_client::VendorsClient::new(raw.channel.clone());
    assert_eq!(refusal(vendors.register(signed.clone()).await.map_err(failure)), Reason::InvalidArgument);
    let first = raw.vault().create_dataset(signed.clone()).await.unwrap().into_inner();
    // Accepted once, ever: whoever signed it hears of that once more.
    let again = raw.vault().create_dataset(signed).await.unwrap().into_inner();
    assert_eq!((again.index, again.time), (first.index, first.time));
    // Late.
    let late = Order {
        not_after: Millis(1),
        instruction: Instruction::CreateDataset { name: "late".parse().unwrap() },
        request: request_id(),
        ..order.clone()
    };
    let late = strongroom_tests::raw::order("acme", &late.sign(&lab.admin).unwrap());
    assert_eq!(refusal(raw.vault().create_dataset(late).await.map_err(failure)), Reason::PreconditionFailed);
    // Signed by nobody, and spelled otherwise.
    let bytes = strongroom_core::exact::to_vec(&order).unwrap();
    let spaced = String::from_utf8(bytes).unwrap().replacen(':', ": ", 1);
    let spaced = order_bytes("acme", &lab.admin, spaced.as_bytes());
    assert_eq!(refusal(raw.vault().create_dataset(spaced).await.map_err(failure)), Reason::InvalidArgument);
    let unsigned = strongroom_core::order::SignedOrder { order, signatures: vec![] };
    let unsigned = strongroom_tests::raw::order("acme", &unsigned);
    assert_eq!(refusal(raw.vault().create_dataset(unsigned).await.map_err(failure)), Reason::InvalidArgument);

    let ledger = vault.ledger("acme").await;
    let datasets = ledger.done(strongroom_core::ledger::Event::DatasetCreated);
    assert_eq!(datasets.len(), 2);
    assert_eq!(DatasetId::from(datasets[1].order.unwrap()).to_string().len(), 32);
}
