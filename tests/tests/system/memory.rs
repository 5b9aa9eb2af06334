//! The memory of a server, dumped: while it serves it holds the keys in use; once their time is over, none of a tenant.
//!
//! The dump is taken by `gdb`'s `gcore` as root, to whom a process that is not dumpable is no obstacle; to anybody else it is, and
//! that is what is tested then.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use strongroom_client::{Connect, GetOptions, Identity, PutOptions};
use strongroom_test_services::{Moto, on_gdb_and_moto};
use strongroom_tests::keys::{self, Named};
use strongroom_tests::process::ServerProcess;
use strongroom_tests::sample;

use crate::STRONGROOM;

/// Keys of one kind that stood in a dump, by name.
type Found = BTreeSet<String>;

/// Which of these keys stand in the file, byte for byte.
fn search(dump: &Path, keys: &[Named]) -> Found {
    // Two bytes at each place decide whether to look further: a dump is long.
    let mut begins = vec![Vec::new(); 1 << 16];
    for (at, named) in keys.iter().enumerate() {
        let start = named.key.expose();
        begins[usize::from(u16::from_be_bytes([start[0], start[1]]))].push(at);
    }
    let bytes = std::fs::read(dump).unwrap();
    let mut found = Found::new();
    let empty = [0; 4096];
    for start in (0..bytes.len()).step_by(empty.len()) {
        let page = &bytes[start..bytes.len().min(start + empty.len())];
        // Most of a process's memory was never used.
        if *page == empty[..page.len()] {
            continue;
        }
        let rest = &bytes[start..bytes.len().min(start + empty.len() + 1)];
        for (at, pair) in rest.windows(2).enumerate() {
            for &key in &begins[usize::from(u16::from_be_bytes([pair[0], pair[1]]))] {
                if bytes[start + at..].starts_with(keys[key].key.expose()) {
                    found.insert(keys[key].name.clone());
                }
            }
        }
    }
    found
}

/// Dumps the server's memory and looks for these keys.
fn dump(folder: &Path, server: &ServerProcess, keys: &[Named]) -> Option<Found> {
    let prefix = folder.join("core");
    let ran = Command::new("gcore").arg("-o").arg(&prefix).arg(server.id().to_string()).output();
    let ran = ran.expect("gcore is installed: tests/services/install");
    let file = folder.join(format!("core.{}", server.id()));
    if !rustix::process::geteuid().is_root() {
        assert!(!file.exists(), "a process that is not dumpable was dumped by {:?}", rustix::process::geteuid());
        return None;
    }
    assert!(file.exists(), "gcore: {}", String::from_utf8_lossy(&ran.stderr));
    let found = search(&file, keys);
    std::fs::remove_file(file).unwrap();
    Some(found)
}

fn gauge(server: &ServerProcess, name: &str) -> u64 {
    let said = server.stderr();
    let address = said.split("metrics address=").nth(1).unwrap().split_whitespace().next().unwrap();
    let mut stream = TcpStream::connect(address.parse::<SocketAddr>().unwrap()).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).expect("such a gauge");
    value.parse().unwrap()
}

/// Waits until no tenant's key is cached, and no session is open.
fn rest(server: &ServerProcess) {
    while gauge(server, "strongroom_tenant_keys") > 0 || gauge(server, "strongroom_sessions") > 0 {
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Reads and writes objects of all kinds: small ones by the batch, a large one, a range.
async fn work(server: &ServerProcess, admin: &Identity) {
    let vault =
        Connect::to(server.address.to_string(), server.vault_key, strongroom_tests::copy(admin)).open().await.unwrap();
    let dataset: strongroom_client::DatasetRef = "acme/rlhf".parse().unwrap();
    if vault.create_dataset(&dataset).await.is_ok() {
        vault
            .put(&dataset.object("large".parse().unwrap()), &sample::bytes(1, 200_000)[..], PutOptions::default())
            .await
            .unwrap();
        for at in 0..20 {
            let name = dataset.object(format!("small/{at}").parse().unwrap());
            vault.put_bytes(&name, format!("line {at}").into(), PutOptions::default()).await.unwrap();
        }
    }
    vault.get_bytes(&dataset.object("large".parse().unwrap()), GetOptions::default()).await.unwrap();
    for at in 0..20 {
        let name = dataset.object(format!("small/{at}").parse().unwrap());
        vault.get_bytes(&name, GetOptions::default()).await.unwrap();
    }
}

/// A vault that was worked with, on a file; its keys, all of them.
async fn vault(folder: &Path) -> (Identity, Vec<Named>) {
    STRONGROOM.run(folder, &["init", "vault"]).ok();
    let toml = folder.join("vault/strongroom.toml");
    let text = std::fs::read_to_string(&toml).unwrap();
    let text = format!("{text}\n[metrics]\nlisten = 0\n\n[limits]\nkey_cache = 2\n");
    std::fs::write(&toml, text).unwrap();
    let admin = Identity::generate().unwrap();
    let server = STRONGROOM.serve(folder, "vault");
    let admin_key = admin.fingerprint().to_string();
    STRONGROOM.run(folder, &["--home", "vault/operator", "tenant", "create", "acme", "--admin", &admin_key]).ok();
    work(&server, &admin).await;
    drop(server);
    (admin, keys::all(&folder.join("vault")).await)
}

/// What may stand in the memory of a server that rests, beside the root key of a file: what it marks and signs with.
fn is_held(name: &str) -> bool {
    name == "the vault key" || name.ends_with("'s ledger key") || name.ends_with("'s log key")
}

/// What the dump of a server that rests may have, told with all that it has.
#[track_caller]
fn check(found: &Found) {
    let others: Vec<_> = found.iter().filter(|name| !is_held(name)).collect();
    assert!(others.is_empty(), "in the memory of a server that rests: {others:?}");
}

/// The vault's root key moves to another keeper, and its server starts again there: worked with, and then at rest, it holds no key of a tenant,
/// nor the old root key.
async fn moved_to(keeper: &str, with: impl Fn(&mut Command)) {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let (admin, keys) = vault(here).await;
    let mut server = STRONGROOM.serve_with(here, "vault", &with);
    STRONGROOM.run(here, &format!("root rotate vault --to {keeper}").split(' ').collect::<Vec<_>>()).ok();
    server.terminate();
    let server = STRONGROOM.serve_with(here, "vault", &with);
    work(&server, &admin).await;
    rest(&server);
    if let Some(found) = dump(here, &server, &keys) {
        check(&found);
    }
}

on_gdb_and_moto! {
    #[tokio::test(flavor = "multi_thread")]
    async fn with_a_root_key_at_kms() {
        let moto = Moto::shared();
        let endpoint = format!("http://127.0.0.1:{}", moto.port());
        let keeper = format!("aws-kms --key {} --region us-east-1 --endpoint {endpoint}", moto.kms_key());
        moved_to(&keeper, |command| {
            command.env("AWS_ACCESS_KEY_ID", "strongroom").env("AWS_SECRET_ACCESS_KEY", "strongroom");
        })
        .await;
    }
}
