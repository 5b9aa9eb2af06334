//! New keys for what is there: the same content under another key, while whoever reads the old one finishes and whoever writes wins.

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use strongroom_client::rekeying::{RekeyOutcome, Rekeyed};
use strongroom_client::{Condition, Generation, GetOptions, ObjectPath, Prefix, PutOptions, Reason};
use strongroom_core::ledger::Event;
use strongroom_test_services::on_each_engine;
use strongroom_tests::oracle::Blobs;
use strongroom_tests::shell::Shell;
use strongroom_tests::{Lab, TestVault, sample, tamper, until};

use crate::STRONGROOM;

fn path(at: usize) -> ObjectPath {
    format!("math/{at:06}").parse().unwrap()
}

fn item(at: usize) -> Bytes {
    format!("the plaintext of item {at}").into()
}

async fn rekey_all(lab: &Lab, prefix: &str, before: strongroom_client::Index) -> Vec<Rekeyed> {
    let dataset = "acme/rlhf".parse().unwrap();
    let prefix: Prefix = prefix.parse().unwrap();
    let listed: Vec<_> = lab.vault.to_rekey(&dataset, &prefix, before).try_collect().await.unwrap();
    lab.vault.rekey(&dataset, futures::stream::iter(listed), None).collect().await
}

fn done(rekeyed: &[Rekeyed]) -> usize {
    rekeyed.iter().filter(|one| matches!(one.outcome, RekeyOutcome::Done(_))).count()
}

async fn everything_under_a_prefix_gets_a_new_key() {
    const COUNT: usize = 700;
    let vault = TestVault::start_with(None, "rekey_grace = 60\nupload_idle = 1").await;
    let lab = vault.lab("acme").await;
    let dataset = lab.dataset("rlhf").await;
    let items = futures::stream::iter((0..COUNT).map(|at| (path(at), item(at))));
    let _: Vec<_> = lab.vault.put_many(&dataset, items, PutOptions::default()).try_collect().await.unwrap();
    // One that is held whole, and one that is not.
    let (middle, large) = (Bytes::from(sample::bytes(1, 300_000)), Bytes::from(sample::bytes(2, 65 << 20)));
    lab.put("rlhf/math/middle", middle.clone()).await;
    lab.put("rlhf/math/large", large.clone()).await;
    lab.put("rlhf/beside", "another").await;
    let (old, _) = tamper::place(&vault.folder(), "math/large").await;
    // Named by its generation: keys of its next window that were not taken at once are asked for again.
    let options = GetOptions { generation: Some(Generation(1)), ..GetOptions::default() };
    let mut slow = lab.vault.get(&lab.object("rlhf/math/large"), options).await.unwrap();
    let begun = slow.next().await.unwrap().unwrap();

    let before = lab.vault.ledger_size(&lab.tenant).await.unwrap();
    let listed: Vec<_> = lab.vault.to_rekey(&dataset, &"math/".parse().unwrap(), before).try_collect().await.unwrap();
    assert_eq!(listed.len(), COUNT + 2);
    // What somebody writes meanwhile is what stays.
    let overwrite = PutOptions { condition: Condition::Any, ..PutOptions::default() };
    lab.vault.put_bytes(&lab.object("rlhf/math/000003"), "newer".into(), overwrite).await.unwrap();
    let rekeyed: Vec<_> = lab.vault.rekey(&dataset, futures::stream::iter(listed), None).collect().await;
    assert_eq!(done(&rekeyed), COUNT + 1);
    let changed: Vec<_> = rekeyed.iter().filter(|one| matches!(one.outcome, RekeyOutcome::Changed)).collect();
    assert_eq!(changed.iter().map(|one| one.path.as_str()).collect::<Vec<_>>(), ["math/000003"]);
    // Broken off or not, it goes on from the same place: nothing is left.
    assert_eq!(rekey_all(&lab, "math/", before).await.len(), 0);

    for at in (0..COUNT).step_by(30).filter(|at| *at != 3) {
        assert_eq!(lab.read(&format!("rlhf/{}", path(at)), None).await, Ok(item(at)));
    }
    assert_eq!(lab.read("rlhf/math/000003", None).await, Ok("newer".into()));
    assert_eq!(lab.read("rlhf/math/middle", None).await, Ok(middle));
    assert_eq!(lab.read("rlhf/math/large", None).await, Ok(large.clone()));
    let info = lab.vault.stat(&lab.object("rlhf/math/large"), GetOptions::default()).await.unwrap();
    assert_eq!(info.generation, Generation(2));
    // Whoever reads the old one finishes; then its key and its blob go, sooner than what was overwritten.
    let mut got = begun.to_vec();
    while let Some(bytes) = slow.next().await {
        got.extend_from_slice(&bytes.unwrap());
    }
    assert!(got == large);
    assert_eq!(lab.read("rlhf/math/middle", Some(1)).await.map(|bytes| bytes.len()), Ok(300_000));
    vault.clock.shift(60_001);
    until("the old blobs are gone", async || !old.exists() && Blobs::look(&vault.folder()).await.is_swept()).await;
    assert_eq!(lab.read("rlhf/math/middle", Some(1)).await, Err(Reason::NotFound));
    assert_eq!(lab.read("rlhf/math/000003", Some(1)).await, Ok(item(3)), "that was overwritten");

    // It is the admins' alone: the key holder of nobody else's orders.
    let worker = lab.vendor(&vault, "labelco").await;
    let scopes: [(&[strongroom_client::Action], &str); 1] = [(
        &[strongroom_client::Action::Read, strongroom_client::Action::Write, strongroom_client::Action::Overwrite],
        "rlhf/math/",
    )];
    lab.grant(lab.terms(worker.holder, &scopes)).await;
    let one = [("math/middle".parse().unwrap(), Generation(2))];
    let refused: Vec<_> = worker.vault.rekey(&dataset, futures::stream::iter(one), None).collect().await;
    assert!(matches!(&refused[..], [Rekeyed { outcome: RekeyOutcome::Failed(_), .. }]), "{refused:?}");

    let ledger = vault.ledger("acme").await;
    let replaced: usize = ledger.done(Event::ObjectRekeyed).iter().map(|entry| entry.puts.len()).sum();
    assert_eq!(replaced, COUNT + 1);
}

#[test]
fn the_command_gives_new_keys() {
    let mut shell = Shell::new(STRONGROOM);
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md")).unwrap();
    shell.write("gsm8k.jsonl", sample::lines(50).concat());
    for shown in strongroom_tests::shell::sessions(&page).iter().flatten().take(5) {
        shell.run(shown.line).ok();
    }
    let read = |shell: &mut Shell| shell.run("strongroom --home lab cat acme/rlhf/math/000007.json").ok().stdout;
    let was = read(&mut shell);
    shell.run("strongroom --home lab key rekey acme/rlhf/math/").fails(2, "USAGE");
    let ran = shell.run("strongroom --home lab --output json key rekey acme/rlhf/math/ --yes").ok();
    let shown: serde_json::Value = serde_json::from_str(ran.text()).unwrap();
    assert_eq!(shown["done"], 50);
    let again = format!("strongroom --home lab key rekey acme/rlhf/math/ --before {} --yes", shown["before"]);
    assert!(shell.run(&again).ok().text().contains("0 objects"));
    assert_eq!(read(&mut shell), was);
    let log = shell.run("strongroom --home lab audit log acme").ok();
    assert!(log.text().contains("object.rekeyed"), "{}", log.text());
}

on_each_engine! {
    (flavor = "multi_thread", worker_threads = 2)
    everything_under_a_prefix_gets_a_new_key,
}
