//! Reads beside the plain one: an object by its id, and the keys alone for ciphertext that the reader has already.

use std::io::Cursor;

use futures::StreamExt;
use strongroom_client::{
    Action, DatasetRef, DeleteOptions, Generation, GetOptions, ObjectId, PutOptions, Reason, Vault, VendorName,
};
use strongroom_core::call::{Call, GetItem, Work};
use strongroom_core::keys::secret::random_bytes;
use strongroom_core::ledger::Event;
use strongroom_test_services::on_each_engine;
use strongroom_tests::raw::request_id;
use strongroom_tests::shell::Shell;
use strongroom_tests::{Lab, TestVault, sample, tamper};

use crate::STRONGROOM;

async fn vault_and_lab() -> (TestVault, Lab, DatasetRef) {
    let vault = TestVault::start().await;
    let lab = vault.lab("acme").await;
    let dataset = lab.dataset("rlhf").await;
    (vault, lab, dataset)
}

/// Puts bytes; returns the id of the object.
async fn put(lab: &Lab, name: &str, bytes: impl Into<bytes::Bytes>) -> ObjectId {
    let name = lab.object(name);
    lab.vault.put_bytes(&name, bytes.into(), PutOptions::default()).await.unwrap();
    lab.vault.stat(&name, GetOptions::default()).await.unwrap().object_id
}

async fn by_id(vault: &Vault, dataset: &DatasetRef, id: ObjectId) -> Result<bytes::Bytes, Reason> {
    let read = async { vault.get_by_id(dataset, id, GetOptions::default()).await?.into_bytes().await };
    read.await.map_err(|error| error.reason())
}

async fn an_object_is_read_by_its_id() {
    let (vault, lab, dataset) = vault_and_lab().await;
    let other = lab.dataset("other").await;
    let first = put(&lab, "rlhf/math/1", "the first").await;
    let second = put(&lab, "rlhf/math/1", "the second").await;
    let secret = put(&lab, "rlhf/secret/1", "a secret").await;
    let hidden = put(&lab, "rlhf/math/2", "hidden soon").await;
    let hidden_secret = put(&lab, "rlhf/secret/2", "hidden too").await;
    let unknown = ObjectId::from_bytes(random_bytes().unwrap());
    for path in ["rlhf/math/2", "rlhf/secret/2"] {
        lab.vault.delete(&lab.object(path), DeleteOptions::default()).await.unwrap();
    }
    let vendor = lab.vendor(&vault, "labelco").await;
    lab.let_read(&vendor, "rlhf/math/").await;

    // An admin is told what there is and what there is not.
    for (id, expected) in [
        (first, Ok("the first")),
        (second, Ok("the second")),
        (secret, Ok("a secret")),
        (hidden, Err(Reason::NotFound)),
        (hidden_secret, Err(Reason::NotFound)),
        (unknown, Err(Reason::NotFound)),
    ] {
        assert_eq!(by_id(&lab.vault, &dataset, id).await, expected.map(bytes::Bytes::from), "{id}");
    }
    assert_eq!(by_id(&lab.vault, &other, first).await, Err(Reason::NotFound), "it is of another dataset");
    let generation = |n| GetOptions { generation: Some(Generation(n)), ..GetOptions::default() };
    assert!(lab.vault.get_by_id(&dataset, first, generation(1)).await.is_ok());
    assert_eq!(lab.vault.get_by_id(&dataset, first, generation(2)).await.unwrap_err().reason(), Reason::NotFound);

    // A grantee learns nothing about what is out of its scope: not even whether it is there.
    for (id, expected) in [
        (first, Ok("the first")),
        (second, Ok("the second")),
        (secret, Err(Reason::OutOfScope)),
        (hidden, Err(Reason::NotFound)),
        (hidden_secret, Err(Reason::OutOfScope)),
        (unknown, Err(Reason::OutOfScope)),
    ] {
        assert_eq!(by_id(&vendor.vault, &dataset, id).await, expected.map(bytes::Bytes::from), "{id}");
    }
    let details = async |id| vendor.vault.get_by_id(&dataset, id, GetOptions::default()).await.unwrap_err();
    assert_eq!(details(secret).await.detail(), details(unknown).await.detail());

    // Among several grants the one that covers it is found.
    lab.let_read(&vendor, "rlhf/secret/1").await;
    let fresh = vault.connect(&vendor.identity).await;
    assert_eq!(by_id(&fresh, &dataset, secret).await, Ok("a secret".into()));

    // The same under a grant that has ended, or from a vendor that is suspended.
    vault.clock.shift(i64::try_from(strongroom_tests::GRANT_LIFE).unwrap() + 1);
    let fresh = vault.connect(&vendor.identity).await;
    assert_eq!(by_id(&fresh, &dataset, first).await, Err(Reason::GrantExpired));
    for id in [hidden_secret, unknown] {
        assert_eq!(by_id(&fresh, &dataset, id).await, Err(Reason::OutOfScope));
    }
    vault.ledger("acme").await;
}

async fn an_id_that_is_unknown_refuses_the_whole_call_of_a_grantee() {
    let (vault, lab, _) = vault_and_lab().await;
    let id = put(&lab, "rlhf/math/1", "one").await;
    let worker = lab.key(&vault).await;
    let grant = lab.let_read(&worker, "rlhf/math/").await;
    let dataset = || "rlhf".parse().unwrap();
    let unknown = ObjectId::from_bytes(random_bytes().unwrap());
    let items = vec![
        GetItem::at(dataset(), "math/1".parse().unwrap()),
        GetItem::of_id(dataset(), id),
        GetItem::of_id(dataset(), unknown),
    ];
    let (raw, session) = vault.raw_session(&worker.identity, "acme").await;
    let ask = async |items: &[GetItem]| {
        let call = Call { request: request_id(), grant: Some(grant), work: Work::Get(items.to_vec()), incident: None };
        raw.get(session.sign(&call).1).await.map(|_| ()).map_err(|failure| failure.reason)
    };
    assert_eq!(ask(&items).await, Err(Reason::OutOfScope));
    assert_eq!(ask(&items[..2]).await, Ok(()));
    // By path and by id, or by neither: no item.
    for wrong in [GetItem { id: Some(id), ..items[0].clone() }, GetItem { id: None, ..items[1].clone() }] {
        assert_eq!(ask(&[wrong]).await, Err(Reason::InvalidArgument));
    }
    let released = vault.ledger("acme").await.done(Event::Release);
    assert_eq!(released.iter().map(|entry| entry.objects.len()).collect::<Vec<_>>(), [2]);
}

async fn keys_are_released_for_ciphertext_that_the_reader_has() {
    let (vault, lab, _) = vault_and_lab().await;
    // More than a window, so that keys come in several parcels.
    let large = sample::bytes(1, 1025 * 65_536 + 77);
    let middle = sample::bytes(2, 3 * 65_536 + 1000);
    lab.put("rlhf/math/large", large.clone()).await;
    lab.put("rlhf/math/middle", middle.clone()).await;
    lab.put("rlhf/math/small", "what is 2 + 2?").await;
    lab.put("rlhf/math/empty", "").await;
    let vendor = lab.vendor(&vault, "labelco").await;
    lab.let_read(&vendor, "rlhf/math/").await;
    let sealed = async |path: &str| {
        let (file, start) = tamper::place(&vault.folder(), path).await;
        bytes::Bytes::from(std::fs::read(file).unwrap()).slice(usize::try_from(start).unwrap()..)
    };
    let open = async |name: &str, sealed: bytes::Bytes, range| {
        let name = lab.object(name);
        let reader = vendor.vault.release_keys(&name, Cursor::new(sealed), range, GetOptions::default());
        reader.await?.into_bytes().await
    };
    for (name, plain) in [
        ("math/large", &large[..]),
        ("math/middle", &middle[..]),
        ("math/small", &b"what is 2 + 2?"[..]),
        ("math/empty", &b""[..]),
    ] {
        let opened = open(&format!("rlhf/{name}"), sealed(name).await, None).await.unwrap();
        assert!(opened == plain, "{name}");
    }
    let range = 1024 * 65_536 - 5..1024 * 65_536 + 9;
    let part = open("rlhf/math/large", sealed("math/large").await, Some(range.clone())).await.unwrap();
    assert!(part == large[range.start as usize..range.end as usize]);
    // What stands behind the segments is not needed: a cache may leave it out.
    let cut = sealed("math/middle").await.slice(..24 + middle.len() + 4 * 60);
    assert!(open("rlhf/math/middle", cut.clone(), None).await.unwrap() == middle);
    let releases = vault.ledger("acme").await.done(Event::Release).len();
    assert!(releases > 2 + 1 + 1 + 1 + 1, "each release has its entry: {releases}");

    // Whatever is wrong with it: an error, and no plaintext of the bad segment.
    for at in [24, 24 + 40, 24 + 100, 24 + 65_596 + 44, cut.len() - 1] {
        let mut changed = cut.to_vec();
        changed[at] ^= 1;
        let name = lab.object("rlhf/math/middle");
        let reader = vendor.vault.release_keys(&name, Cursor::new(changed), None, GetOptions::default()).await;
        let mut reader = reader.unwrap();
        let mut got = 0;
        let error = loop {
            match reader.next().await.unwrap() {
                Ok(bytes) => {
                    assert!(middle[got..].starts_with(&bytes));
                    got += bytes.len();
                }
                Err(error) => break error,
            }
        };
        assert_eq!(error.reason(), Reason::Integrity, "byte {at}");
        assert!(got <= (at - 24) / 65_596 * 65_536, "byte {at}: {got} bytes came");
    }
    for (what, wrong) in [
        ("cut", cut.slice(..cut.len() - 1)),
        ("nothing", bytes::Bytes::new()),
        ("another object's", sealed("math/large").await),
    ] {
        let error = open("rlhf/math/middle", wrong, None).await.unwrap_err();
        assert_eq!(error.reason(), Reason::Integrity, "{what}");
    }
    let outside = open("rlhf/secret/1", cut.clone(), None).await.unwrap_err();
    assert_eq!(outside.reason(), Reason::OutOfScope);
    let name: VendorName = "labelco".parse().unwrap();
    lab.vault.suspend_vendor(&lab.tenant, &name, None).await.unwrap();
    assert_eq!(open("rlhf/math/middle", cut, None).await.unwrap_err().reason(), Reason::VendorSuspended);
    vault.ledger("acme").await;
}

/// Somebody who can write the database gives an object another id, to have it read in another's place.
async fn an_id_that_was_moved_to_another_object() {
    let (vault, lab, dataset) = vault_and_lab().await;
    put(&lab, "rlhf/math/1", "one").await;
    let unused = ObjectId::from_bytes(random_bytes().unwrap());
    let moved = tamper::hex(unused.as_bytes());
    tamper::edit(&vault.folder(), &[format!("UPDATE objects SET id = {moved} WHERE path = 'math/1'")]).await;
    let worker = lab.key(&vault).await;
    lab.let_read(&worker, "rlhf/math/").await;
    assert_eq!(by_id(&lab.vault, &dataset, unused).await, Err(Reason::Integrity));
    assert_eq!(by_id(&worker.vault, &dataset, unused).await, Err(Reason::OutOfScope));
    vault.ledger("acme").await;
}

async fn a_grant_to_write_reads_nothing_by_id() {
    let (vault, lab, dataset) = vault_and_lab().await;
    let id = put(&lab, "rlhf/labels/1", "a label").await;
    let worker = lab.key(&vault).await;
    lab.grant(lab.terms(worker.holder, &[(&[Action::List, Action::Write], "rlhf/labels/")])).await;
    assert_eq!(by_id(&worker.vault, &dataset, id).await, Err(Reason::OutOfScope));
}

#[test]
fn the_command_gets_by_id() {
    let mut shell = Shell::new(STRONGROOM);
    shell.run("strongroom init vault").ok();
    shell.run("strongroom serve vault --listen 127.0.0.1:7443 &").ok();
    shell.run("strongroom --home lab login 127.0.0.1:7443 --server-key SHA256:…").ok();
    shell.run("strongroom --home ./vault/operator tenant create acme --admin SHA256:…").ok();
    for text in ["the first", "the second"] {
        shell.write("item.txt", text);
        shell.run("strongroom --home lab put item.txt acme/rlhf/math/1 --create").ok();
    }
    let stat = shell.run("strongroom --home lab stat acme/rlhf/math/1 --generation 1 --output json").ok();
    let stat: serde_json::Value = serde_json::from_str(stat.text()).unwrap();
    let id = stat["object_id"].as_str().unwrap();
    shell.run(&format!("strongroom --home lab get acme/rlhf --id {id} -o first.txt")).ok();
    assert_eq!(shell.read("first.txt"), "the first");
    shell.run(&format!("strongroom --home lab get acme/rlhf --id {id}")).ok();
    assert_eq!(shell.read(id), "the first", "without a place it is named by its id");
    let piped = shell.run(&format!("strongroom --home lab get acme/rlhf --id {id} -o -")).ok();
    assert_eq!(piped.stdout, b"the first");
    shell.run(&format!("strongroom --home lab get acme/rlhf/math/1 --id {id}")).fails(2, "USAGE");
    let unknown = "0".repeat(32);
    shell.run(&format!("strongroom --home lab get acme/rlhf --id {unknown}")).fails(3, "NOT_FOUND");
    let log = shell.run("strongroom --home lab audit log acme").ok();
    assert!(log.text().contains("rlhf/math/1"), "{}", log.text());
}

on_each_engine! {
    (flavor = "current_thread")
    an_object_is_read_by_its_id,
    an_id_that_is_unknown_refuses_the_whole_call_of_a_grantee,
    keys_are_released_for_ciphertext_that_the_reader_has,
    an_id_that_was_moved_to_another_object,
    a_grant_to_write_reads_nothing_by_id,
}
