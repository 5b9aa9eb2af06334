//! What must be secret is: after a day of use, no plaintext and no key stands in the vault's folder, in what passed inside
//! TLS, in the logs, or in a vendor's home. That the search finds what is there is shown by words that were planted to be found.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures::StreamExt;
use strongroom_client::{Action, Connect, GetOptions, Identity, ObjectPath, PutOptions, Reason, Vault};
use strongroom_tests::raw::{SealedObject, Target};
use strongroom_tests::search::Search;
use strongroom_tests::shell::Shell;
use strongroom_tests::wire::Wire;
use strongroom_tests::{Lab, TestVault, Worker, copy, keys, sample};

use crate::STRONGROOM;

/// Planted where whoever holds the disk may read it: names and notes are no secrets of this vault.
const IN_A_NAME: &str = "planted-in-the-name-of-a-dataset";
const IN_A_PATH: &str = "planted-in-the-path-of-an-object";
const IN_A_NOTE: &str = "planted in a note about a vendor, incident 42";
const IN_A_CLAIM: &str = "planted in what a job says about itself";

/// The data: lines, and an object of several segments.
struct Data {
    lines: Vec<String>,
    large: Bytes,
}

impl Data {
    fn new() -> Self {
        Self { lines: sample::lines(40), large: sample::bytes(3, 5 * 65_536 + 17).into() }
    }

    /// A search for every piece of it.
    fn search(&self) -> Search {
        let mut search = Search::default();
        for line in &self.lines {
            search.add_text("a line", line.as_bytes());
        }
        search.add_text("the large object", &self.large);
        search
    }
}

/// A day of use: a lab puts, a vendor reads what it may and writes back, over-reaches, and is suspended.
async fn work(vault: &Vault, vendor: &Vault, lab: &Identity, at: &str, data: &Data, vendor_key: &Identity) {
    let tenant = at.parse().unwrap();
    let dataset = format!("{at}/{IN_A_NAME}").parse().unwrap();
    vault.create_dataset(&dataset).await.unwrap();
    assert!(vault.who_am_i(&tenant).await.unwrap().admin && vault.fingerprint() == lab.fingerprint());
    let path = |number: usize| -> ObjectPath { format!("math/{IN_A_PATH}/{number:06}").parse().unwrap() };
    let lines = data.lines.iter().enumerate().map(|(number, line)| (path(number), Bytes::from(line.clone())));
    let lines: Vec<_> = lines.collect();
    let results: Vec<_> = vault.put_many(&dataset, futures::stream::iter(lines), PutOptions::default()).collect().await;
    assert!(results.into_iter().all(|result| result.is_ok()));
    let large = dataset.object("math/large".parse().unwrap());
    vault.put(&large, &data.large[..], PutOptions::default()).await.unwrap();

    let name = "labelco".parse().unwrap();
    let (id, _) = vault.add_vendor(&tenant, &name, &[vendor_key.fingerprint()]).await.unwrap();
    let terms = strongroom_client::Terms {
        holder: strongroom_client::Holder::Vendor(id),
        parent: None,
        scopes: vec![
            strongroom_tests::scope(&[Action::List, Action::Read], &format!("{IN_A_NAME}/math/")),
            strongroom_tests::scope(&[Action::Write], &format!("{IN_A_NAME}/labels/")),
        ],
        not_before: None,
        expires: strongroom_client::Millis(vault.status().await.unwrap().time.0 + 600_000),
        delegable: false,
        limits: strongroom_client::Limits::default(),
        purpose: Some("labels".into()),
    };
    vault.issue_grant(&tenant, terms).await.unwrap();
    let paths = futures::stream::iter((0..data.lines.len()).map(path));
    let got: Vec<_> = vendor.get_many(&dataset, paths, GetOptions::default()).collect().await;
    for (got, line) in got.into_iter().zip(&data.lines) {
        assert_eq!(got.unwrap().1, line);
    }
    assert_eq!(vendor.get_bytes(&large, GetOptions::default()).await.unwrap(), data.large);
    let range = vendor.get_range(&large, 65_000..140_000, GetOptions::default()).await.unwrap();
    assert_eq!(range.into_bytes().await.unwrap(), data.large.slice(65_000..140_000));
    let label = dataset.object("labels/1".parse().unwrap());
    vendor.put_bytes(&label, data.lines[0].clone().into(), PutOptions::default()).await.unwrap();
    assert_eq!(vendor.get_bytes(&label, GetOptions::default()).await.unwrap_err().reason(), Reason::OutOfScope);
    vault.suspend_vendor(&tenant, &name, Some(IN_A_NOTE.into())).await.unwrap();
    assert_eq!(vendor.get_bytes(&large, GetOptions::default()).await.unwrap_err().reason(), Reason::VendorSuspended);
}

/// What was planted to be found.
fn planted(words: &[&str]) -> Search {
    let mut search = Search::default();
    for word in words {
        search.add_key(word, word.as_bytes());
    }
    search
}

#[track_caller]
fn assert_found(found: &BTreeSet<&str>, words: &[&str]) {
    for word in words {
        assert!(found.contains(format!("{word} as it is").as_str()), "{word}: the search is blind: {found:?}");
    }
}

#[tokio::test]
async fn neither_disk_nor_wire_holds_plaintext_or_keys() {
    let wire = Wire::default();
    let vault = TestVault::start_with(Some(wire.clone()), "").await;
    let data = Data::new();
    let lab: Lab = vault.lab("acme").await;
    let worker: Worker = lab.key(&vault).await;
    let vendor = vault.connecting(&worker.identity).job(IN_A_CLAIM).open().await.unwrap();
    work(&lab.vault, &vendor, &lab.admin, "acme", &data, &worker.identity).await;
    // A put and a get whose session secret and object key are known here.
    let (raw, session) = vault.raw_session(&lab.admin, "acme").await;
    let object = SealedObject::seal(data.lines[1].as_bytes());
    raw.put(session.put_frames(&Target::new("acme", None, IN_A_NAME, "raw"), &object)).await.unwrap();
    let (_, call) = session.get(None, IN_A_NAME, &["raw"]);
    raw.get(call).await.unwrap();

    let mut search = data.search();
    let keys = keys::all(&vault.folder()).await;
    assert!(keys.len() > 6 * data.lines.len(), "{}", keys.len());
    for named in &keys {
        search.add_key(&named.name, named.key.expose());
    }
    search.add_key("a session secret", session.secret.expose());
    search.add_key("an object key", object.key.expose());
    search.add_key("a call key", session.call_key.seed().expose());

    let found = search.find_below(&vault.folder());
    assert!(found.is_empty(), "{found:#?}");
    let texts = [wire.raw(), wire.messages()].concat();
    assert!(wire.len() > 2 * data.large.len(), "all of it passed by: {}", wire.len());
    let found: BTreeSet<_> = texts.iter().flat_map(|text| search.find(text)).collect();
    assert!(found.is_empty(), "{found:#?}");

    let words = [IN_A_NAME, IN_A_PATH, IN_A_NOTE, IN_A_CLAIM];
    let planted = planted(&words);
    let found: BTreeSet<_> = texts.iter().flat_map(|text| planted.find(text)).collect();
    assert_found(&found, &words);
    for word in words {
        let found = planted.find_below(&vault.folder());
        assert!(found.iter().any(|name| name.starts_with(word)), "{word}: the search is blind: {found:?}");
    }
    // The search would have found the ciphertext's neighbours of each kind, had they been there.
    let mut text = keys[0].key.expose().to_vec();
    text.extend_from_slice(data.lines[7].as_bytes());
    assert_eq!(search.find(&text).len(), 2);
    vault.ledger("acme").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neither_logs_nor_homes_hold_plaintext_or_keys() {
    let mut shell = Shell::new(STRONGROOM);
    let data = Data::new();
    shell.write("gsm8k.jsonl", data.lines.concat());
    shell.run("strongroom init vault").ok();
    let mut server = STRONGROOM.serve_with(shell.folder(), "vault", |command| {
        command.env("RUST_LOG", "trace");
    });
    let folder = shell.folder().join("vault");
    let connect = async |identity: &Identity| {
        Connect::to(server.address.to_string(), server.vault_key, copy(identity)).open().await.unwrap()
    };
    let operator = std::fs::read_to_string(folder.join("operator/identity.pem")).unwrap();
    let operator = connect(&Identity::from_pem(&operator).unwrap()).await;
    let (lab, vendor) = (Identity::generate().unwrap(), Identity::generate().unwrap());
    operator.create_tenant(&"acme".parse().unwrap(), &[lab.fingerprint()]).await.unwrap();
    let (labs, vendors) = (connect(&lab).await, connect(&vendor).await);
    work(&labs, &vendors, &lab, "acme", &data, &vendor).await;

    // The command streams to its standard output; its home keeps an identity, a server and what it remembers of the ledger.
    labs.resume_vendor(&"acme".parse().unwrap(), &"labelco".parse().unwrap(), None).await.unwrap();
    std::fs::create_dir(shell.folder().join("home")).unwrap();
    std::fs::write(shell.folder().join("home/identity.pem"), vendor.to_pem().as_bytes()).unwrap();
    let (address, key) = (server.address.to_string(), server.vault_key.to_string());
    STRONGROOM.run(shell.folder(), &["--home", "home", "login", &address, "--server-key", &key]).ok();
    let name = format!("acme/{IN_A_NAME}/math/{IN_A_PATH}/000003");
    let cat = STRONGROOM.run(shell.folder(), &["--home", "home", "cat", &name]).ok();
    assert_eq!(cat.stdout, data.lines[3].as_bytes());

    let mut search = data.search();
    for named in keys::all(&folder).await {
        search.add_key(&named.name, named.key.expose());
    }
    let found = search.find_below(&shell.folder().join("home"));
    assert!(found.is_empty(), "{found:#?}");
    let found = search.find_below(&folder);
    assert!(found.is_empty(), "{found:#?}");
    assert!(server.terminate().success());
    let log = server.stderr();
    let found = search.find(log.as_bytes());
    assert!(found.is_empty(), "{found:#?}");
    let stderr = search.find(cat.stderr.as_bytes());
    assert!(stderr.is_empty(), "{stderr:#?}");
    // It does log, and much.
    assert!(log.lines().count() > 20, "a log at trace level: {log}");
    assert!(!log.contains(IN_A_NOTE) && !log.contains("AGE-SECRET-KEY-") && !log.contains("PRIVATE KEY"), "{log}");
}
