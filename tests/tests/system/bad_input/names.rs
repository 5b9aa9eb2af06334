//! Names and paths: each rule, at the command line and on the wire.

use strongroom_client::Reason;
use strongroom_core::call::{Call, GetItem, Work};
use strongroom_core::order::{Instruction, Order};
use strongroom_proto::v1;
use strongroom_proto::v1::put_frame::Frame;
use strongroom_tests::TestVault;
use strongroom_tests::raw::{self, failure, order_bytes, put_frame, request_id};

use super::{reason, refusal};
use crate::STRONGROOM;

/// Paths, each of which breaks one rule.
fn bad_paths() -> Vec<String> {
    let mut paths: Vec<String> = [
        "",
        "/a",
        "a/",
        "a//b",
        ".",
        "..",
        "a/./b",
        "a/../b",
        "a/..",
        "a\nb",
        "a\tb",
        "a\u{7f}",
        "a\u{85}b",
        "cafe\u{301}",
        "\u{212b}",
    ]
    .map(str::to_owned)
    .to_vec();
    paths.push("a".repeat(1025));
    paths.push("é".repeat(513));
    paths
}

/// Names of tenants, datasets and vendors, each of which breaks a rule.
fn bad_names() -> Vec<String> {
    let mut names = ["A", "Acme", ".a", "_a", "a b", "a\\b", "é", "a\u{301}", "a*", "a\n"].map(str::to_owned).to_vec();
    names.push("a".repeat(64));
    names
}

/// Prefixes, each of which breaks a rule.
const BAD_PREFIXES: [&str; 9] = ["/", "a//", "../", "a/../*", "/a", "a//*", "e\u{301}/", "a\n*", "./x"];

#[test]
fn the_command_refuses_them_before_it_connects() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |arguments: &[&str]| {
        // There is no home: whoever came so far as to look for one says NOT_FOUND.
        STRONGROOM.run(folder.path(), &[&["--home", "none"], arguments].concat()).fails(2, "USAGE");
    };
    for path in bad_paths() {
        refused(&["stat", &format!("acme/rlhf/{path}")]);
    }
    for path in ["a//b", "../b", "cafe\u{301}"] {
        let name = format!("acme/rlhf/{path}");
        refused(&["cat", &name]);
        refused(&["get", &name, "-o", "out"]);
        refused(&["put", "file", &name]);
        refused(&["rm", &name]);
    }
    for name in bad_names() {
        refused(&["stat", &format!("{name}/rlhf/a")]);
        refused(&["stat", &format!("acme/{name}/a")]);
        refused(&["dataset", "create", &format!("acme/{name}")]);
        refused(&["vendor", "add", &format!("acme/{name}")]);
    }
    for prefix in BAD_PREFIXES {
        refused(&["grant", "issue", "--to", "acme/labelco", "--read", &format!("acme/rlhf/{prefix}"), "--for", "1h"]);
    }
    refused(&["tenant", "create", "Acme", "--admin", &format!("SHA256:{}", "A".repeat(43))]);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was made");
}

#[tokio::test]
async fn the_server_refuses_them_in_every_field() {
    let vault = TestVault::start().await;
    let lab = vault.lab("acme").await;
    lab.dataset("rlhf").await;
    let (raw, session) = vault.raw_session(&lab.admin, "acme").await;
    let mut service = raw.vault();

    for path in bad_paths() {
        let begin = v1::PutBegin {
            tenant: "acme".into(),
            grant: String::new(),
            put: vec![7; 16].into(),
            dataset: "rlhf".into(),
            path: path.clone(),
            generation: None,
            rekey: false,
        };
        let begun = raw.put(vec![put_frame(Frame::Begin(begin))]).await;
        assert_eq!(refusal(begun), Reason::InvalidName, "{path:?}");
        let stat = v1::StatRequest {
            tenant: "acme".into(),
            dataset: "rlhf".into(),
            path: path.clone(),
            ..v1::StatRequest::default()
        };
        assert_eq!(failure(service.stat(stat).await.unwrap_err()).reason, Reason::InvalidName, "{path:?}");
        // In a call it is signed, and still no name: such a call is no call.
        let call = honest_call(&path);
        let (_, signed) = session.sign_bytes(call);
        assert_eq!(refusal(raw.get(signed).await), Reason::InvalidArgument, "{path:?}");
    }
    for prefix in BAD_PREFIXES {
        let list = v1::ListRequest {
            tenant: "acme".into(),
            dataset: "rlhf".into(),
            prefix: prefix.into(),
            ..v1::ListRequest::default()
        };
        assert_eq!(failure(service.list(list).await.unwrap_err()).reason, Reason::InvalidName, "{prefix:?}");
    }
    for name in bad_names() {
        let stat = |tenant: &str, dataset: &str| v1::StatRequest {
            tenant: tenant.into(),
            dataset: dataset.into(),
            path: "a".into(),
            ..v1::StatRequest::default()
        };
        for request in [stat(&name, "rlhf"), stat("acme", &name)] {
            assert_eq!(failure(service.stat(request).await.unwrap_err()).reason, Reason::InvalidName, "{name:?}");
        }
        let order = honest_order(&session, &name);
        let order = order_bytes("acme", &lab.admin, &order);
        let made = service.create_dataset(order).await.unwrap_err();
        assert_eq!(failure(made).reason, Reason::InvalidArgument, "{name:?}");
        let order = order_bytes(&name, &lab.admin, &honest_order(&session, "fine"));
        assert_eq!(failure(service.create_dataset(order).await.unwrap_err()).reason, Reason::InvalidName, "{name:?}");
    }

    let ledger = vault.ledger("acme").await;
    assert_eq!(ledger.entries.len(), 2, "the tenant and its dataset");
}

/// A call to read `path`, spelled by hand: what no client with types can say.
fn honest_call(path: &str) -> Vec<u8> {
    let item = GetItem::at("rlhf".parse().unwrap(), "placeholder".parse().unwrap());
    let call = Call { request: request_id(), grant: None, work: Work::Get(vec![item]), incident: None };
    replace(&call.bytes().unwrap(), path)
}

/// An order to make the dataset `name`, spelled by hand.
fn honest_order(session: &raw::RawSession, name: &str) -> Vec<u8> {
    let order = Order {
        ledger: session.origin.clone(),
        request: request_id(),
        not_after: strongroom_client::Millis(9_000_000_000_000),
        instruction: Instruction::CreateDataset { name: "placeholder".parse().unwrap() },
        incident: None,
    };
    replace(&strongroom_core::exact::to_vec(&order).unwrap(), name)
}

fn replace(json: &[u8], text: &str) -> Vec<u8> {
    let json = std::str::from_utf8(json).unwrap();
    assert!(json.contains("\"placeholder\""));
    json.replace("\"placeholder\"", &serde_json::to_string(text).unwrap()).into_bytes()
}

#[tokio::test]
async fn what_nobody_made_is_not_there() {
    let vault = TestVault::start().await;
    let lab = vault.lab("acme").await;
    lab.dataset("rlhf").await;
    let worker = lab.vendor(&vault, "labelco").await;
    let grant = lab.let_read(&worker, "rlhf/math/").await;
    let get = async |by: &strongroom_client::Vault, name: &str| {
        reason(by.get_bytes(&name.parse().unwrap(), strongroom_client::GetOptions::default()).await)
    };

    // A tenant that is not there and one that does not know the caller look the same.
    assert_eq!(get(&lab.vault, "nobody/rlhf/a").await, Reason::Unauthenticated);
    vault.lab("other").await;
    assert_eq!(get(&lab.vault, "other/rlhf/a").await, Reason::Unauthenticated);
    let operator = vault.connect(&vault.operator()).await;
    assert_eq!(get(&operator, "acme/rlhf/math/a").await, Reason::Unauthenticated);

    // An admin is told what is not there. A vendor is told only inside of its scope.
    assert_eq!(get(&lab.vault, "acme/none/a").await, Reason::NotFound);
    assert_eq!(get(&lab.vault, "acme/rlhf/none").await, Reason::NotFound);
    assert_eq!(get(&worker.vault, "acme/rlhf/math/none").await, Reason::NotFound);
    for outside in ["acme/none/a", "acme/rlhf/none", "acme/rlhf/math"] {
        assert_eq!(get(&worker.vault, outside).await, Reason::OutOfScope, "{outside}");
        let (raw, session) = vault.raw_session(&worker.identity, "acme").await;
        let (dataset, path) = outside.strip_prefix("acme/").unwrap().split_once('/').unwrap();
        let (_, call) = session.get(Some(grant), dataset, &[path]);
        assert_eq!(refusal(raw.get(call).await), Reason::OutOfScope, "{outside}");
    }
    let missing = strongroom_client::Prefix::all();
    let dataset = "acme/none".parse().unwrap();
    let mut listed = lab.vault.list(&dataset, &missing, strongroom_client::ListOptions::default());
    assert_eq!(reason(futures::StreamExt::next(&mut listed).await.unwrap()), Reason::NotFound);
    vault.ledger("acme").await;
}
