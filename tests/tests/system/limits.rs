//! What a grant allows how much of, how fast, from when and from where; and what is told when that is reached.

use std::io::{Read, Write};

use futures::StreamExt;
use strongroom_client::grants::GrantState;
use strongroom_client::{Action, GetOptions, GrantId, Limit, Limits, Millis, PutOptions, Reason, Terms};
use strongroom_core::ledger::Event;
use strongroom_server::recorder::Clock;
use strongroom_test_services::on_each_engine;
use strongroom_tests::relay::Relay;
use strongroom_tests::shell::Shell;
use strongroom_tests::{Lab, TestVault, Worker};

use super::bad_input::reason;
use crate::STRONGROOM;

const READ: &[Action] = &[Action::List, Action::Read];
const MINUTE: u64 = 60_000;

/// A vault with four objects of a kilobyte, and a vendor's worker.
async fn site() -> (TestVault, Lab, Worker) {
    let vault = TestVault::start().await;
    let lab = vault.lab("acme").await;
    lab.dataset("rlhf").await;
    for name in ["rlhf/math/1", "rlhf/math/2", "rlhf/math/3", "rlhf/math/4"] {
        lab.put(name, vec![7; 1000]).await;
    }
    let vendor = lab.vendor(&vault, "labelco").await;
    (vault, lab, vendor)
}

async fn grant(lab: &Lab, to: &Worker, limits: Limits) -> GrantId {
    lab.grant(Terms { limits, ..lab.terms(to.holder, &[(READ, "rlhf/math/")]) }).await
}

async fn read(by: &Worker, lab: &Lab, name: &str) -> Result<(), strongroom_client::Error> {
    by.vault.get_bytes(&lab.object(name), GetOptions::default()).await.map(|bytes| assert_eq!(bytes.len(), 1000))
}

/// Sets the clock to so many milliseconds before the end of a minute.
fn before_the_minutes_end(vault: &TestVault, millis: u64) {
    let now = vault.clock.now().0;
    vault.clock.shift((2 * MINUTE - now % MINUTE - millis) as i64);
}

async fn a_read_goes_on_in_the_next_minute_by_itself() {
    let (vault, lab, worker) = site().await;
    grant(&lab, &worker, Limits { bytes_per_minute: Some(2500), ..Limits::default() }).await;
    let worker = Worker { vault: vault.connect(&worker.identity).await, ..worker };
    before_the_minutes_end(&vault, 1500);
    let dataset = "acme/rlhf".parse().unwrap();
    let all = worker.vault.get_prefix(&dataset, &"math/".parse().unwrap(), GetOptions::default());
    let all: Vec<_> = all.collect().await;
    assert_eq!(all.len(), 4);
    all.into_iter().for_each(|fetched| drop(fetched.unwrap().body.unwrap()));
    let ledger = vault.ledger("acme").await;
    let minutes: Vec<_> = ledger.done(Event::Release).iter().map(|entry| entry.time.0 / MINUTE).collect();
    assert_eq!(minutes.len(), 2, "each step is no more than a minute's bytes");
    assert_eq!(minutes[0] + 1, minutes[1]);

    // The rest of the minute, and then an answer that says when the next begins.
    let error = read(&worker, &lab, "rlhf/math/1").await.unwrap_err();
    assert_eq!((error.reason(), error.limit()), (Reason::QuotaExceeded, Some(Limit::BytesPerMinute)));
    assert_eq!(error.resets(), Some(Millis((minutes[1] + 1) * MINUTE)));
    assert!(error.resets_after().unwrap().as_millis() <= u128::from(MINUTE));
    assert!(error.advice().contains("next minute"), "{error}");
    vault.clock.shift(MINUTE as i64);
    read(&worker, &lab, "rlhf/math/1").await.unwrap();
    vault.ledger("acme").await;
}

async fn one_step_larger_than_a_minute_never_passes_and_says_so() {
    let (vault, lab, worker) = site().await;
    lab.put("rlhf/math/large", vec![9; 200_000]).await;
    grant(&lab, &worker, Limits { bytes_per_minute: Some(150_000), ..Limits::default() }).await;
    let worker = Worker { vault: vault.connect(&worker.identity).await, ..worker };
    let name = lab.object("rlhf/math/large");
    let error = worker.vault.get_bytes(&name, GetOptions::default()).await.unwrap_err();
    assert_eq!((error.limit(), error.resets()), (Some(Limit::BytesPerMinute), None));
    assert!(error.detail().contains("200000") && error.advice().contains("smaller ranges"), "{error}");
    before_the_minutes_end(&vault, 30_000);
    let range = worker.vault.get_range(&name, 0..131_072, GetOptions::default()).await.unwrap();
    assert_eq!(range.into_bytes().await.unwrap().len(), 131_072);
    vault.ledger("acme").await;
}

async fn a_parents_rate_counts_for_all_below() {
    let (vault, lab, vendor) = site().await;
    let rate = Limits { bytes_per_minute: Some(2000), ..Limits::default() };
    let terms = Terms { limits: rate, delegable: true, ..lab.terms(vendor.holder, &[(READ, "rlhf/math/")]) };
    lab.grant(terms).await;
    let worker = lab.key(&vault).await;
    let terms = lab.terms(worker.holder, &[(READ, "rlhf/math/")]);
    let terms = Terms { expires: Millis(terms.expires.0 - MINUTE), ..terms };
    let wider = Limits { bytes_per_minute: Some(2001), ..Limits::default() };
    let refused = vendor.vault.issue_grant(&lab.tenant, Terms { limits: wider, ..terms.clone() }).await;
    assert_eq!(reason(refused), Reason::NotNarrower);
    vendor.vault.issue_grant(&lab.tenant, terms).await.unwrap();
    before_the_minutes_end(&vault, 40_000);
    read(&vendor, &lab, "rlhf/math/1").await.unwrap();
    read(&worker, &lab, "rlhf/math/1").await.unwrap();
    for by in [&vendor, &worker] {
        let error = read(by, &lab, "rlhf/math/2").await.unwrap_err();
        assert_eq!(error.limit(), Some(Limit::BytesPerMinute), "{error}");
    }
    vault.ledger("acme").await;
}

async fn what_is_used_up_or_has_not_begun_is_told() {
    let (vault, lab, worker) = site().await;
    let one = |change: fn(&mut Limits)| {
        let mut limits = Limits::default();
        change(&mut limits);
        limits
    };
    let cases: [(Limits, Limit); 3] = [
        (one(|limits| limits.bytes = Some(1999)), Limit::Bytes),
        (one(|limits| limits.objects = Some(1)), Limit::Objects),
        (one(|limits| limits.uses = Some(1)), Limit::Uses),
    ];
    for (limits, hit) in cases {
        let options = GetOptions { grant: Some(grant(&lab, &worker, limits).await), ..GetOptions::default() };
        let name = lab.object("rlhf/math/1");
        worker.vault.get_bytes(&name, options.clone()).await.unwrap();
        let error = worker.vault.get_bytes(&name, options).await.unwrap_err();
        assert_eq!((error.reason(), error.limit(), error.resets()), (Reason::QuotaExceeded, Some(hit), None));
        assert!(error.detail().contains("it allows 1"), "{error}");
    }
    // Writes are charged the same way, when they are committed.
    let limits = one(|limits| limits.objects = Some(1));
    lab.grant(Terms { limits, ..lab.terms(worker.holder, &[(&[Action::Write], "rlhf/labels/")]) }).await;
    let fresh = vault.connect(&worker.identity).await;
    let put = async |name: &str| fresh.put_bytes(&lab.object(name), "x".into(), PutOptions::default()).await;
    put("rlhf/labels/1").await.unwrap();
    assert_eq!(put("rlhf/labels/2").await.unwrap_err().limit(), Some(Limit::Objects));

    let start = Millis(vault.clock.now().0 + 10 * MINUTE);
    let terms = lab.terms(worker.holder, &[(READ, "rlhf/math/")]);
    let later = lab.grant(Terms { not_before: Some(start), ..terms }).await;
    let options = GetOptions { grant: Some(later), ..GetOptions::default() };
    let error = worker.vault.get_bytes(&lab.object("rlhf/math/1"), options).await.unwrap_err();
    assert_eq!((error.reason(), error.limit()), (Reason::OutOfScope, Some(Limit::NotBefore)));
    assert_eq!(error.resets(), Some(start));
    vault.ledger("acme").await;
}

async fn a_grant_is_used_from_its_networks_only() {
    let (vault, lab, vendor) = site().await;
    let from = |networks: &[&str]| Limits {
        sources: networks.iter().map(|text| (*text).into()).collect(),
        ..Limits::default()
    };
    for bad in ["127.0.0.1/8", "localhost", "127.0.0.1", "0.0.0.0/33"] {
        let terms = Terms { limits: from(&[bad]), ..lab.terms(vendor.holder, &[(READ, "rlhf/math/")]) };
        assert_eq!(reason(lab.vault.issue_grant(&lab.tenant, terms).await), Reason::InvalidArgument, "{bad}");
    }
    let elsewhere = grant(&lab, &vendor, from(&["192.0.2.0/24", "2001:db8::/32"])).await;
    let error = read(&vendor, &lab, "rlhf/math/1").await.unwrap_err();
    assert_eq!(error.reason(), Reason::OutOfScope);
    assert!(error.detail().contains("127.0.0.1"), "{error}");
    let options = GetOptions { grant: Some(elsewhere), ..GetOptions::default() };
    assert_eq!(reason(vendor.vault.stat(&lab.object("rlhf/math/1"), options.clone()).await), Reason::OutOfScope);
    let told = vendor.vault.my_grants(&lab.tenant).await.unwrap();
    assert_eq!(told[0].state, GrantState::Elsewhere);

    // The SDK picks what may be used from here, though the other is narrower.
    let limits = from(&["10.0.0.0/8", "127.0.0.0/8"]);
    let here = lab.terms(vendor.holder, &[(READ, "rlhf/")]);
    let here = lab.grant(Terms { limits, delegable: true, ..here }).await;
    let vendor = Worker { vault: vault.connect(&vendor.identity).await, ..vendor };
    read(&vendor, &lab, "rlhf/math/1").await.unwrap();

    // A child's networks lie in its parent's.
    let worker = lab.key(&vault).await;
    let terms = lab.terms(worker.holder, &[(READ, "rlhf/math/")]);
    let terms = Terms { parent: Some(here), expires: Millis(terms.expires.0 - MINUTE), ..terms };
    for wider in [from(&["127.0.0.0/7"]), from(&["127.0.0.1/32", "11.0.0.0/8"])] {
        let refused = vendor.vault.issue_grant(&lab.tenant, Terms { limits: wider, ..terms.clone() }).await;
        assert_eq!(reason(refused), Reason::NotNarrower);
    }
    let limits = from(&["127.0.0.1/32"]);
    vendor.vault.issue_grant(&lab.tenant, Terms { limits, ..terms }).await.unwrap();
    read(&worker, &lab, "rlhf/math/2").await.unwrap();
    vault.ledger("acme").await;
}

/// A PROXY header of version 2 for a connection from this address.
fn proxy_header(from: [u8; 4]) -> Vec<u8> {
    [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".as_slice(), &from, &[10, 0, 0, 1, 0xc3, 0x50, 0x1c, 0x93]].concat()
}

/// Real processes behind a proxy, and the lines that a person sees.
async fn behind_a_proxy_the_caller_is_who_the_proxy_says() {
    let mut shell = Shell::new(STRONGROOM);
    shell.run("strongroom init ./vault").ok();
    strongroom_tests::configure(&shell.folder().join("vault"), "");
    let server = STRONGROOM.serve_with(shell.folder(), "./vault", |command| {
        command.env("STRONGROOM_PROXIES", "127.0.0.0/8");
    });
    let relay = Relay::start(server.address);
    let (door, key) = (relay.address(), server.vault_key);
    let login = |home: &str| {
        let words = ["--home", home, "login", &door.to_string(), "--server-key", &key.to_string()];
        STRONGROOM.run(shell.folder(), &words)
    };
    // Without the proxy's header nobody comes in.
    login("lab").fails(6, "UNAVAILABLE");
    relay.greet(&proxy_header([198, 51, 100, 9]));
    let fingerprint = |home: &str| {
        login(home).ok();
        STRONGROOM.run(shell.folder(), &["--home", home, "identity", "show"]).ok().text().to_owned()
    };
    let (lab, labelco) = (fingerprint("lab"), fingerprint("labelco"));
    login("./vault/operator").ok();
    let run = |line: &str| {
        let words = strongroom_tests::shell::words(line);
        let words: Vec<&str> = words.iter().skip(1).map(String::as_str).collect();
        STRONGROOM.run(shell.folder(), &words)
    };
    run(&format!("strongroom --home ./vault/operator tenant create acme --admin {lab}")).ok();
    shell.write("one.txt", "one");
    run("strongroom --home lab put one.txt acme/rlhf/one.txt --create").ok();
    run(&format!("strongroom --home lab vendor add acme/labelco --key {labelco}")).ok();
    run("strongroom --home lab grant issue --to acme/labelco --read acme/rlhf/ --for 1h --from 198.51.100.0/24 --max-uses 2").ok();
    assert_eq!(run("strongroom --home labelco cat acme/rlhf/one.txt").ok().text(), "one");
    // From another network it may not.
    relay.greet(&proxy_header([203, 0, 113, 9]));
    let refused = run("strongroom --home labelco cat acme/rlhf/one.txt");
    refused.fails(4, "OUT_OF_SCOPE");
    assert!(refused.stderr.contains("203.0.113.9"), "{}", refused.stderr);
    relay.greet(&proxy_header([198, 51, 100, 10]));
    run("strongroom --home labelco cat acme/rlhf/one.txt").ok();
    let refused = run("strongroom --home labelco cat acme/rlhf/one.txt");
    refused.fails(4, "QUOTA_EXCEEDED");
    assert!(refused.stderr.contains("uses are used up: it allows 2, 2 are used"), "{}", refused.stderr);

    let ledger = strongroom_tests::oracle::Ledger::read(&shell.folder().join("vault"), "acme").await.assert_clean();
    let sources: Vec<_> = ledger
        .parsed()
        .iter()
        .zip(ledger.private_parts())
        .filter(|(entry, _)| entry.event == Event::Release)
        .map(|(_, private)| private.source.unwrap())
        .collect();
    assert_eq!(sources, ["198.51.100.9:50000", "198.51.100.10:50000"]);
}

/// Whether the server begins a handshake on a connection that begins so.
fn is_answered(server: std::net::SocketAddr, said: &[u8]) -> bool {
    let mut tcp = std::net::TcpStream::connect(server).unwrap();
    // The server may have ended it before all is said.
    let _ = tcp.write_all(said);
    let mut kind = [0];
    // A record of TLS is one of a handshake, 22, or an alert, 21 (RFC 8446 §5.1).
    match tcp.read(&mut kind) {
        Ok(0) | Err(_) => false,
        Ok(_) => kind == [22],
    }
}

/// What a client says first.
async fn hello(vault_key: strongroom_client::Fingerprint) -> Vec<u8> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let client = tokio::spawn(async move {
        let identity = strongroom_client::Identity::generate().unwrap();
        strongroom_client::Connect::to(&address, vault_key, identity).open().await?.status().await
    });
    let heard = tokio::task::spawn_blocking(move || {
        let mut tcp = listener.accept().unwrap().0;
        let mut record = vec![0; 5];
        tcp.read_exact(&mut record).unwrap();
        let rest = usize::from(u16::from_be_bytes([record[3], record[4]]));
        record.resize(5 + rest, 0);
        tcp.read_exact(&mut record[5..]).unwrap();
        record
    });
    let record = heard.await.unwrap();
    client.abort();
    record
}

/// Nobody but a configured proxy says where a connection comes from, and such a one says it rightly or not at all.
async fn a_header_from_elsewhere_or_in_another_form_opens_no_connection() {
    let mut shell = Shell::new(STRONGROOM);
    shell.run("strongroom init ./vault").ok();
    strongroom_tests::configure(&shell.folder().join("vault"), "");
    let serve = |proxies: &str| {
        STRONGROOM.serve_with(shell.folder(), "./vault", |command| {
            command.env("STRONGROOM_PROXIES", proxies);
        })
    };
    let run = |line: &str| {
        let words = strongroom_tests::shell::words(line);
        let words: Vec<&str> = words.iter().skip(1).map(String::as_str).collect();
        STRONGROOM.run(shell.folder(), &words)
    };
    let login = |home: &str, server: &strongroom_tests::process::ServerProcess, door: std::net::SocketAddr| {
        run(&format!("strongroom --home {home} login {door} --server-key {}", server.vault_key))
    };

    // The server's neighbours are no proxies: a header that the vendor itself says, to be taken for a caller from elsewhere.
    let mut server = serve("192.0.2.0/24,2001:db8::/32");
    let relay = Relay::start(server.address);
    let lab = login("lab", &server, relay.address()).ok().word().to_owned();
    let labelco = login("labelco", &server, relay.address()).ok().word().to_owned();
    login("./vault/operator", &server, relay.address()).ok();
    run(&format!("strongroom --home ./vault/operator tenant create acme --admin {lab}")).ok();
    shell.write("one.txt", "one");
    run("strongroom --home lab put one.txt acme/rlhf/one.txt --create").ok();
    run(&format!("strongroom --home lab vendor add acme/labelco --key {labelco}")).ok();
    run("strongroom --home lab grant issue --to acme/labelco --read acme/rlhf/ --for 1h --from 198.51.100.0/24").ok();
    let read = || run("strongroom --home labelco cat acme/rlhf/one.txt");
    let refused = read();
    refused.fails(4, "OUT_OF_SCOPE");
    assert!(refused.stderr.contains("127.0.0.1"), "{}", refused.stderr);
    let honest = proxy_header([198, 51, 100, 9]);
    relay.greet(&honest);
    read().fails(6, "UNAVAILABLE");
    relay.greet(b"");
    read().fails(4, "OUT_OF_SCOPE");
    assert!(server.terminate().success(), "{}", server.stderr());

    // The same from a configured proxy is believed; what is no header of this kind, or more than one, is not repaired.
    let mut server = serve("127.0.0.0/8");
    relay.lead_to(Some(server.address));
    let changed = |at: usize, byte: u8| {
        let mut header = honest.clone();
        header[at] = byte;
        header
    };
    let long = |rest: u16| {
        [&changed(14, 0)[..14], &rest.to_be_bytes(), &honest[16..], &vec![0; usize::from(rest) - 12]].concat()
    };
    let hello = hello(server.vault_key).await;
    assert!(is_answered(server.address, &[&honest[..], &hello].concat()));
    let bad: [(&str, Vec<u8>); 9] = [
        ("none at all", Vec::new()),
        ("version 1", b"PROXY TCP4 198.51.100.9 10.0.0.1 50000 7443\r\n".to_vec()),
        ("another version", changed(12, 0x31)),
        ("another command", changed(12, 0x22)),
        ("a datagram", changed(13, 0x12)),
        ("a signature with a wrong byte", changed(3, b' ')),
        ("shorter than its addresses", changed(15, 4)[..20].to_vec()),
        ("over 2 KiB", long(2049)),
        ("twice", [&honest[..], &honest].concat()),
    ];
    for (what, header) in bad {
        assert!(!is_answered(server.address, &[&header[..], &hello].concat()), "{what}");
    }
    for header in [&honest, &long(2048)] {
        relay.greet(header);
        assert_eq!(read().ok().text(), "one");
    }
    assert!(server.terminate().success(), "{}", server.stderr());
    let ledger = strongroom_tests::oracle::Ledger::read(&shell.folder().join("vault"), "acme").await.assert_clean();
    let told: std::collections::BTreeSet<_> = ledger
        .parsed()
        .iter()
        .zip(ledger.private_parts())
        .filter(|(entry, _)| matches!(entry.event, Event::Release | Event::Denied))
        .map(|(entry, private)| (entry.event, private.source.unwrap().split(':').next().unwrap().to_owned()))
        .collect();
    let told: Vec<_> = told.iter().map(|(event, source)| (*event, source.as_str())).collect();
    assert_eq!(told, [(Event::Release, "198.51.100.9"), (Event::Denied, "127.0.0.1")]);
}

on_each_engine! {
    (flavor = "current_thread")
    a_read_goes_on_in_the_next_minute_by_itself,
    one_step_larger_than_a_minute_never_passes_and_says_so,
    a_parents_rate_counts_for_all_below,
    what_is_used_up_or_has_not_begun_is_told,
    a_grant_is_used_from_its_networks_only,
    behind_a_proxy_the_caller_is_who_the_proxy_says,
    a_header_from_elsewhere_or_in_another_form_opens_no_connection,
}
