//! What a tenant asks of its grants, grants whose end is moved, and streams that outlive the grant they began under.

use futures::StreamExt;
use strongroom_client::{Action, GetOptions, GrantId, Limits, Millis, Reason, Terms};
use strongroom_core::ledger::Event;
use strongroom_server::recorder::Clock;
use strongroom_test_services::on_each_engine;
use strongroom_tests::process::Ran;
use strongroom_tests::shell::Shell;
use strongroom_tests::{Lab, TestVault, Worker, until};

use super::bad_input::reason;
use crate::STRONGROOM;

const READ: &[Action] = &[Action::List, Action::Read];
const MINUTE: u64 = 60_000;

/// A vault with four objects of a kilobyte, and a worker whose narrow grant lets half of them through in this minute, of which a
/// few seconds are left, and ends with it.
async fn site() -> (TestVault, Lab, Worker, GrantId) {
    let vault = TestVault::start().await;
    let lab = vault.lab("acme").await;
    lab.dataset("rlhf").await;
    for name in ["rlhf/math/1", "rlhf/math/2", "rlhf/math/3", "rlhf/math/4"] {
        lab.put(name, vec![7; 1000]).await;
    }
    let worker = lab.vendor(&vault, "labelco").await;
    let now = vault.clock.now().0;
    vault.clock.shift((2 * MINUTE - now % MINUTE - 4000) as i64);
    let end = Millis((vault.clock.now().0 / MINUTE + 1) * MINUTE);
    let limits = Limits { bytes_per_minute: Some(2500), ..Limits::default() };
    let terms = lab.terms(worker.holder, &[(READ, "rlhf/math/")]);
    let grant = lab.grant(Terms { expires: end, limits, ..terms }).await;
    (vault, lab, worker, grant)
}

/// Reads all four; how each went.
async fn read_all(worker: &Worker, grant: Option<GrantId>) -> Vec<Result<(), Reason>> {
    let dataset = "acme/rlhf".parse().unwrap();
    let options = GetOptions { grant, ..GetOptions::default() };
    let paths = ["math/1", "math/2", "math/3", "math/4"].map(|path| path.parse().unwrap());
    let all = worker.vault.get_many(&dataset, futures::stream::iter(paths), options);
    all.map(|got| got.map(|(_, bytes)| assert_eq!(bytes.len(), 1000)).map_err(|failed| failed.error.reason()))
        .collect()
        .await
}

async fn used(lab: &Lab, grant: GrantId) -> u64 {
    lab.vault.grant(&lab.tenant, grant).await.unwrap().usage.bytes
}

async fn a_stream_goes_on_under_another_grant_of_its_caller() {
    let (vault, lab, worker, narrow) = site().await;
    let wide = lab.let_read(&worker, "rlhf/").await;
    assert_eq!(read_all(&worker, None).await, [Ok(()); 4]);
    let ledger = vault.ledger("acme").await;
    let chains: Vec<_> = ledger.done(Event::Release).into_iter().map(|entry| entry.grants).collect();
    assert_eq!(chains, [[narrow], [wide]], "the first while it lasts, and then the other");
    assert_eq!((used(&lab, narrow).await, used(&lab, wide).await), (2000, 2000), "nothing is paid for twice");
}

async fn a_grant_that_was_named_is_not_exchanged() {
    let (vault, lab, worker, narrow) = site().await;
    lab.let_read(&worker, "rlhf/").await;
    let ended = Err(Reason::GrantExpired);
    assert_eq!(read_all(&worker, Some(narrow)).await, [Ok(()), Ok(()), ended, ended]);
    vault.ledger("acme").await;
}

async fn a_stream_goes_on_under_its_renewed_grant() {
    let (vault, lab, worker, narrow) = site().await;
    let reading = tokio::spawn(async move { read_all(&worker, None).await });
    until("half of it is read", async || used(&lab, narrow).await == 2000).await;
    let later = Millis(vault.clock.now().0 + 10 * MINUTE);
    lab.vault.renew_grant(&lab.tenant, narrow, later).await.unwrap();
    assert_eq!(reading.await.unwrap(), [Ok(()); 4]);
    let told = lab.vault.grant(&lab.tenant, narrow).await.unwrap();
    assert_eq!((told.grant.terms.expires, told.usage.bytes), (later, 4000));
    let ledger = vault.ledger("acme").await;
    assert_eq!(ledger.done(Event::GrantRenewed)[0].grants, [narrow]);
}

async fn whoever_may_issue_a_grant_may_renew_it_and_nobody_else() {
    let vault = TestVault::start().await;
    let lab = vault.lab("acme").await;
    lab.dataset("rlhf").await;
    lab.put("rlhf/math/1", vec![7; 1000]).await;
    let vendor = lab.vendor(&vault, "labelco").await;
    let root = lab.terms(vendor.holder, &[(READ, "rlhf/math/")]);
    let end = root.expires.0;
    let root = lab.grant(Terms { delegable: true, ..root }).await;
    let worker = lab.key(&vault).await;
    let part = lab.terms(worker.holder, &[(READ, "rlhf/math/")]);
    let part = Terms { expires: Millis(end - 30 * MINUTE), ..part };
    let (child, _) = vendor.vault.issue_grant(&lab.tenant, part).await.unwrap();
    let renew = async |by: &Worker, grant, to: u64| {
        by.vault.renew_grant(&lab.tenant, grant, Millis(to)).await.map(|_| ()).map_err(|error| error.reason())
    };
    // Its holder does not renew it, nor does an admin renew what a holder passed on; and nobody past its parent.
    assert_eq!(renew(&vendor, root, end + MINUTE).await, Err(Reason::OutOfScope));
    assert_eq!(renew(&worker, child, end - MINUTE).await, Err(Reason::OutOfScope));
    let by_admin = lab.vault.renew_grant(&lab.tenant, child, Millis(end - MINUTE)).await;
    assert_eq!(reason(by_admin), Reason::OutOfScope);
    assert_eq!(renew(&vendor, child, end + MINUTE).await, Err(Reason::NotNarrower));
    assert_eq!(renew(&vendor, child, end - 40 * MINUTE).await, Err(Reason::InvalidArgument));
    assert_eq!(renew(&vendor, child, end).await, Ok(()));
    // With the parent's end, the child's may move again.
    lab.vault.renew_grant(&lab.tenant, root, Millis(end + 60 * MINUTE)).await.unwrap();
    assert_eq!(renew(&vendor, child, end + 30 * MINUTE).await, Ok(()));
    // What is revoked stays so.
    let last = lab.key(&vault).await;
    let part = Terms { expires: Millis(end), ..lab.terms(last.holder, &[(READ, "rlhf/math/")]) };
    let (revoked, _) = vendor.vault.issue_grant(&lab.tenant, part).await.unwrap();
    vendor.vault.revoke_grant(&lab.tenant, revoked, None).await.unwrap();
    assert_eq!(renew(&vendor, revoked, end + MINUTE).await, Err(Reason::GrantRevoked));
    vault.clock.shift(80 * MINUTE as i64);
    let worker = Worker { vault: vault.connect(&worker.identity).await, ..worker };
    let read = worker.vault.get_bytes(&lab.object("rlhf/math/1"), GetOptions::default()).await;
    assert_eq!(read.unwrap().len(), 1000);
    vault.ledger("acme").await;
}

/// The command, line by line.
async fn a_tenants_policy_holds_for_what_is_issued_and_renewed() {
    let mut shell = Shell::new(STRONGROOM);
    shell.run("strongroom init ./vault").ok();
    strongroom_tests::configure(&shell.folder().join("vault"), "");
    shell.run("strongroom serve ./vault --listen 127.0.0.1:7443 &");
    shell.run("strongroom --home lab login 127.0.0.1:7443 --server-key SHA256:…").ok();
    shell.run("strongroom --home ./vault/operator tenant create acme --admin SHA256:…").ok();
    shell.run("strongroom --home lab dataset create acme/rlhf").ok();
    shell.run("strongroom --home labelco login 127.0.0.1:7443 --server-key SHA256:…").ok();
    shell.run("strongroom --home lab vendor add acme/labelco --key SHA256:…").ok();
    let says = |ran: &Ran, words: &str| {
        let text = format!("{}{}", ran.text(), ran.stderr);
        assert!(text.contains(words), "{words:?} in {text}");
    };
    let shown = shell.run("strongroom --home lab policy show acme").ok();
    says(
        &shown,
        "grants live 24h at most, delegated ones 24h; where they name no limits: no limits (nothing was said)",
    );
    let issue = "strongroom --home lab grant issue --to acme/labelco --read acme/rlhf/ --delegable --for";
    let refused = shell.run(&format!("{issue} 25h"));
    refused.fails(2, "INVALID_ARGUMENT");
    says(&refused, "a grant lives 24 hours at most, by the tenant's policy");
    shell.run("strongroom --home labelco policy set acme --life 30d").fails(4, "OUT_OF_SCOPE");
    shell.run("strongroom --home lab policy set acme --life 400d").fails(2, "INVALID_ARGUMENT");
    let set = "strongroom --home lab policy set acme --life 30d --delegated-life 1h --max-bytes 1MiB --max-bytes-per-minute 1KiB";
    says(
        &shell.run(set).ok(),
        "30d at most, delegated ones 1h; where they name no limits: 1 MiB, at most 1 KiB a minute",
    );

    let grant = shell.run(&format!("{issue} 20d")).ok().text().to_owned();
    says(
        &shell.run(&format!("strongroom --home lab grant show acme {grant}")).ok(),
        "0 B of 1 MiB used, at most 1 KiB a minute",
    );
    says(&shell.run(&format!("{issue} 31d")), "a grant lives 30 days at most");
    let ended = format!("strongroom --home lab grant renew acme {grant} --for 1d");
    let refused = shell.run(&ended);
    refused.fails(2, "INVALID_ARGUMENT");
    says(&refused, "revoke it to end it sooner");
    shell.run(&format!("strongroom --home labelco grant renew acme {grant} --for 25d")).fails(4, "OUT_OF_SCOPE");
    says(&shell.run(&format!("strongroom --home lab grant renew acme {grant} --for 25d")).ok(), " ends 2");

    shell.run("strongroom --home worker login 127.0.0.1:7443 --server-key SHA256:…").ok();
    let delegate = "strongroom --home labelco grant issue --to SHA256:… --read acme/rlhf/math/ --for";
    let refused = shell.run(&format!("{delegate} 2h"));
    refused.fails(2, "INVALID_ARGUMENT");
    says(&refused, "a delegated grant lives 1 hour at most");
    let child = shell.run(&format!("{delegate} 30m")).ok().text().to_owned();
    shell.run(&format!("strongroom --home labelco grant renew acme {child} --for 59m")).ok();
    let log = shell.run("strongroom --home lab audit log acme").ok();
    says(&log, "policy.set");
    says(&log, "grant.renewed");
    assert!(shell.server().terminate().success());
    let _ = strongroom_tests::oracle::Ledger::read(&shell.folder().join("vault"), "acme").await.assert_clean();
}

on_each_engine! {
    (flavor = "current_thread")
    a_stream_goes_on_under_another_grant_of_its_caller,
    a_grant_that_was_named_is_not_exchanged,
    a_stream_goes_on_under_its_renewed_grant,
    whoever_may_issue_a_grant_may_renew_it_and_nobody_else,
    a_tenants_policy_holds_for_what_is_issued_and_renewed,
}
