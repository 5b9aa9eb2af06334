//! A server whose surroundings are wrong.

use std::net::TcpListener;

use strongroom_client::{GetOptions, PutOptions, Reason};
use strongroom_server::{Options, Server};
use strongroom_test_services::on_each_engine;
use strongroom_tests::TestVault;
use strongroom_tests::shell::Shell;

use super::reason;
use crate::STRONGROOM;

#[tokio::test]
async fn a_port_that_is_taken() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut shell = Shell::new(STRONGROOM);
    shell.run("strongroom init vault").ok();
    STRONGROOM.run(shell.folder(), &["serve", "vault", "--listen", &address]).fails_after_log(6, "UNAVAILABLE");
    let options = Options { listen: taken.local_addr().ok(), ..Options::default() };
    let server = Server::open(&shell.folder().join("vault"), options).await.unwrap();
    assert_eq!(server.listen().await.err().unwrap().reason(), Reason::Unavailable);
    drop(taken);
    let server = STRONGROOM.serve_with(shell.folder(), "vault", |command| {
        command.env("STRONGROOM_LISTEN", &address);
    });
    assert_ne!(server.address.port(), 0);
}

#[test]
fn a_folder_that_is_no_vault_or_one_already() {
    let mut shell = Shell::new(STRONGROOM);
    let no_vault = shell.run("strongroom serve vault --listen 127.0.0.1:0");
    assert!(matches!(no_vault.code, Some(2 | 3)), "{}", no_vault.stderr);
    assert_eq!(std::fs::read_dir(shell.folder()).unwrap().count(), 0, "nothing was made");
    shell.run("strongroom init vault").ok();
    shell.run("strongroom init vault").fails(3, "PRECONDITION_FAILED");
    // A setting that is misspelled, or not supported yet, is not ignored.
    let config = shell.read("vault/strongroom.toml");
    for (line, code) in [("[limits]\nmax_objekt = 1\n", 2), ("listem = \"x\"\n", 2)] {
        shell.write("vault/strongroom.toml", format!("{line}{config}"));
        assert_eq!(shell.run("strongroom serve vault --listen 127.0.0.1:0").code, Some(code), "{line}");
    }
    shell.write("vault/strongroom.toml", config.replace("sqlite:catalog.db", "postgres://u:secret@h.invalid/d"));
    let refused = shell.run("strongroom serve vault --listen 127.0.0.1:0");
    assert!(refused.code != Some(0) && !refused.stderr.contains("secret"), "{}", refused.stderr);
    shell.write("vault/strongroom.toml", &config);
    let serve = |variable: (&str, &str)| {
        let mut command = STRONGROOM.command(shell.folder());
        command.args(["serve", "vault", "--listen", "127.0.0.1:0"]).env(variable.0, variable.1).output().unwrap()
    };
    assert_eq!(serve(("STRONGROOM_LIMITS_MAX_OBJEKT", "1")).status.code(), Some(2));
    assert_eq!(serve(("STRONGROOM_LIMITS_MAX_OBJECT", "many")).status.code(), Some(2));
}

#[tokio::test]
async fn another_vaults_catalog_is_not_touched() {
    let (mut one, mut other) = (TestVault::start().await, TestVault::start().await);
    one.lab("acme").await;
    one.stop().await;
    other.stop().await;
    std::fs::copy(one.folder().join("catalog.db"), other.folder().join("catalog.db")).unwrap();
    let opened = Server::open(&other.folder(), other.options()).await;
    assert_eq!(opened.err().unwrap().reason(), Reason::LedgerDiverged);
    one.restart().await;
    one.ledger("acme").await;
}

async fn a_clock_that_is_set_back() {
    let vault = TestVault::start().await;
    let lab = vault.lab("acme").await;
    lab.dataset("rlhf").await;
    lab.put("rlhf/a", "text").await;
    let name = lab.object("rlhf/a");
    let get = async || lab.vault.get_bytes(&name, GetOptions::default()).await;

    // A second back is a clock that was corrected: entries keep the time of the head.
    vault.clock.shift(-1_000);
    get().await.unwrap();
    // An hour back is refused, and recorded time never goes back.
    vault.clock.shift(-3_600_000);
    let before = vault.ledger("acme").await.entries.len();
    assert_eq!(reason(get().await), Reason::Clock);
    let put = lab.vault.put_bytes(&lab.object("rlhf/b"), "x".into(), PutOptions::default()).await;
    assert_eq!(reason(put), Reason::Clock);
    let vendor = lab.vault.add_vendor(&lab.tenant, &"labelco".parse().unwrap(), &[]).await;
    assert_eq!(reason(vendor), Reason::Clock);
    assert_eq!(vault.ledger("acme").await.entries.len(), before);
    vault.clock.shift(3_601_000);
    get().await.unwrap();
    let ledger = vault.ledger("acme").await;
    assert!(ledger.entries.len() > before);
}

on_each_engine! {
    (flavor = "current_thread")
    a_clock_that_is_set_back,
}
