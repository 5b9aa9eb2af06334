//! The memory of a server, dumped: while it serves it holds the keys in use; once their time is over, none of a tenant.
//!
//! The dump is taken by `gdb`'s `gcore` as root, to whom a process that is not dumpable is no obstacle; to anybody else it is, and
//! that is what is tested then. What may be found is named here and in `docs/threat-model.md`, "Keys in memory", and nowhere else.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use strongroom_client::{Connect, GetOptions, Identity, PutOptions, Vault};
use strongroom_core::keys::secret::Key;
use strongroom_core::sealed::tree::ObjectRoot;
use strongroom_test_services::softhsm::VARIABLE;
use strongroom_test_services::{Moto, SoftHsm, on_gdb, on_gdb_and_moto, on_gdb_and_python, on_gdb_and_softhsm};
use strongroom_tests::keys;
use strongroom_tests::plugin::{self, WithoutPlugin};
use strongroom_tests::process::ServerProcess;
use strongroom_tests::raw::{Raw, RawSession, SealedObject, Target};
use strongroom_tests::{oracle, sample, until};

use crate::STRONGROOM;

/// What stood in a dump, by name.
type Found = BTreeSet<String>;

/// What is looked for.
struct Sought {
    name: String,
    bytes: Vec<u8>,
}

impl Sought {
    fn new(name: impl Into<String>, bytes: &[u8]) -> Self {
        Self { name: name.into(), bytes: bytes.to_vec() }
    }
}

impl From<keys::Named> for Sought {
    fn from(named: keys::Named) -> Self {
        Self::new(named.name, named.key.expose())
    }
}

/// Which of these stand in the file, byte for byte.
fn search(dump: &Path, sought: &[Sought]) -> Found {
    // Two bytes at each place decide whether to look further: a dump is long.
    let mut begins = vec![Vec::new(); 1 << 16];
    for (at, sought) in sought.iter().enumerate() {
        begins[usize::from(u16::from_be_bytes([sought.bytes[0], sought.bytes[1]]))].push(at);
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
            for &which in &begins[usize::from(u16::from_be_bytes([pair[0], pair[1]]))] {
                let Sought { name, bytes: wanted } = &sought[which];
                if bytes[start + at..].starts_with(wanted) {
                    found.insert(name.clone());
                }
            }
        }
    }
    found
}

/// Dumps the server's memory and looks for these; none to whom the system forbids it.
fn dump(folder: &Path, server: &ServerProcess, sought: &[Sought]) -> Option<Found> {
    let prefix = folder.join("core");
    let ran = Command::new("gcore").arg("-o").arg(&prefix).arg(server.id().to_string()).output();
    let ran = ran.expect("gcore is installed: tests/services/install");
    let file = folder.join(format!("core.{}", server.id()));
    if !rustix::process::geteuid().is_root() {
        assert!(!file.exists(), "a process that is not dumpable was dumped by {:?}", rustix::process::geteuid());
        return None;
    }
    assert!(file.exists(), "gcore: {}", String::from_utf8_lossy(&ran.stderr));
    let found = search(&file, sought);
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

async fn connect(server: &ServerProcess, admin: &Identity) -> Vault {
    Connect::to(server.address.to_string(), server.vault_key, strongroom_tests::copy(admin)).open().await.unwrap()
}

/// Reads and writes objects of all kinds: small ones by the batch, a large one, a range.
async fn work(server: &ServerProcess, admin: &Identity, tenant: &str) {
    let vault = connect(server, admin).await;
    let dataset: strongroom_client::DatasetRef = format!("{tenant}/rlhf").parse().unwrap();
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

/// What is known of an upload, and must be forgotten.
fn known(object: &SealedObject, session: &RawSession) -> Vec<Sought> {
    let root = ObjectRoot::derive(&object.key, &object.header);
    vec![
        Sought::new("an object key", object.key.expose()),
        Sought::new("the root of an object that was put", root.key().expose()),
        Sought::new("a session's secret", session.secret.expose()),
    ]
}

/// Puts and reads an object whose object key, and session, are known here: what the server saw of them, it must have forgotten.
async fn work_known(server: &ServerProcess, admin: &Identity, path: &str) -> Vec<Sought> {
    let raw = Raw::connect(server.address, Some(admin)).await.unwrap();
    let session = raw.open(admin, "acme", server.vault_key).await.unwrap();
    let object = SealedObject::seal(b"a line of which every key is known");
    raw.put(session.put_frames(&Target::new("acme", None, "rlhf", path), &object)).await.unwrap();
    raw.get(session.get(None, "rlhf", &[path]).1).await.unwrap();
    known(&object, &session)
}

/// A vault that was worked with, on a file, with these tenants; their admins, and all its keys.
async fn vault<const N: usize>(folder: &Path, tenants: [&str; N]) -> ([Identity; N], Vec<Sought>) {
    STRONGROOM.run(folder, &["init", "vault"]).ok();
    let toml = folder.join("vault/strongroom.toml");
    let text = std::fs::read_to_string(&toml).unwrap();
    let text = format!("{text}\n[metrics]\nlisten = 0\n\n[limits]\nkey_cache = 2\n");
    std::fs::write(&toml, text).unwrap();
    let server = STRONGROOM.serve(folder, "vault");
    let admins = tenants.map(|_| Identity::generate().unwrap());
    for (tenant, admin) in tenants.iter().zip(&admins) {
        let key = admin.fingerprint().to_string();
        STRONGROOM.run(folder, &["--home", "vault/operator", "tenant", "create", tenant, "--admin", &key]).ok();
        work(&server, admin, tenant).await;
    }
    drop(server);
    let vault = folder.join("vault");
    let keys = keys::all(&vault).await.into_iter().chain(keys::identity_of_root(&vault));
    (admins, keys.map(Sought::from).collect())
}

/// What may stand in the memory of a server that rests: what it marks and signs with.
fn is_held(name: &str) -> bool {
    name == "the vault key" || name.ends_with("'s ledger key") || name.ends_with("'s log key")
}

/// What the dump of a server may have beside that, told with all that it has.
#[track_caller]
fn check(found: &Found, may_have: impl Fn(&str) -> bool) {
    assert!(found.contains("the vault key"), "the search is blind: {found:?}");
    let others: Vec<_> = found.iter().filter(|name| !is_held(name) && !may_have(name)).collect();
    assert!(others.is_empty(), "in the server's memory: {others:?}");
}

/// A server of a vault, worked with and then at rest.
async fn at_rest(folder: &Path, server: &ServerProcess, admin: &Identity, mut sought: Vec<Sought>) -> Option<Found> {
    work(server, admin, "acme").await;
    for round in 0..2 {
        // None is cached, so each put asks the root key: what was on one thread by then may go on on another.
        rest(server);
        let paths = [0, 1, 2, 3].map(|at| format!("known/{round}/{at}"));
        let many = paths.iter().map(|path| work_known(server, admin, path));
        sought.extend(futures::future::join_all(many).await.into_iter().flatten());
    }
    // The tenant's key is sealed to somebody, too.
    let (vault, tenant) = (connect(server, admin).await, "acme".parse().unwrap());
    let to = age::x25519::Identity::generate().to_public().to_string();
    vault.set_escrow(&tenant, &[to]).await.unwrap();
    until("it is sealed", async || vault.escrow(&tenant).await.unwrap().complete).await;
    drop(vault);
    rest(server);
    dump(folder, server, &sought)
}

/// The vault's root key moves to another keeper, and its server starts again there: worked with, and then at rest, it holds no key of a tenant,
/// nor the old root key, nor what this keeper is asked with.
async fn moved_to(keeper: &str, with: impl Fn(&mut Command), more: Vec<Sought>) {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let ([admin], keys) = vault(here, ["acme"]).await;
    let mut server = STRONGROOM.serve_with(here, "vault", &with);
    STRONGROOM.run(here, &format!("root rotate vault --to {keeper}").split(' ').collect::<Vec<_>>()).ok();
    server.terminate();
    let server = STRONGROOM.serve_with(here, "vault", &with);
    if let Some(found) = at_rest(here, &server, &admin, keys.into_iter().chain(more).collect()).await {
        check(&found, |_| false);
    }
}

/// What the system says of a process, in its line of this name.
#[cfg(target_os = "linux")]
fn of_process(server: &ServerProcess, file: &str, name: &str) -> String {
    let text = std::fs::read_to_string(format!("/proc/{}/{file}", server.id())).unwrap();
    text.lines().find_map(|line| line.strip_prefix(name)).expect("such a line").trim().to_owned()
}

/// Out of swap where the system allows it, out of core dumps in any case; and a server that may not lock its memory says so and serves.
#[test]
#[cfg(target_os = "linux")]
fn memory_is_locked_where_that_is_allowed() {
    use rustix::process::{Resource, getrlimit};
    use strongroom_tests::process::Binary;
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    STRONGROOM.run(here, &["init", "vault"]).ok();
    let allowed = getrlimit(Resource::Memlock).maximum.is_none();
    let limited = here.join("limited");
    std::fs::write(&limited, format!("#!/bin/sh\nulimit -l 64 && exec {} \"$@\"\n", STRONGROOM.0)).unwrap();
    std::fs::set_permissions(&limited, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let limited = Binary(limited.to_str().unwrap().to_owned().leak());
    for (binary, allowed) in [(STRONGROOM, allowed), (limited, false)] {
        let mut server = binary.serve(here, "vault");
        let locked = of_process(&server, "status", "VmLck:");
        assert_eq!(
            (locked != "0 kB", server.stderr().contains("memory is not locked")),
            (allowed, !allowed),
            "{locked}"
        );
        let core = of_process(&server, "limits", "Max core file size");
        assert_eq!(core.split_whitespace().collect::<Vec<_>>(), ["0", "0", "bytes"]);
        assert!(server.terminate().success());
    }
}

on_gdb! {
    #[tokio::test(flavor = "multi_thread")]
    async fn with_a_root_key_that_an_identity_opens() {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path();
        let ([admin], mut keys) = vault(here, ["acme"]).await;
        let server = STRONGROOM.serve(here, "vault");
        // It makes keys, too: another tenant's, and another version, under which it wraps everything anew.
        let key = admin.fingerprint().to_string();
        STRONGROOM.run(here, &["--home", "vault/operator", "tenant", "create", "gamma", "--admin", &key]).ok();
        let (vault, tenant) = (connect(&server, &admin).await, "acme".parse().unwrap());
        vault.rotate_key(&tenant).await.unwrap();
        let finished = async || vault.key_status(&tenant).await.unwrap().rotation.is_some_and(|it| it.finished.is_some());
        until("all is wrapped anew", finished).await;
        drop(vault);
        keys.extend(keys::all(&here.join("vault")).await.into_iter().map(Sought::from));
        if let Some(found) = at_rest(here, &server, &admin, keys).await {
            check(&found, |_| false);
        }
    }

    /// Nor does the server that had the root key made hold it, once its files are written.
    #[tokio::test(flavor = "multi_thread")]
    async fn after_a_root_key_gave_way_to_another() {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path();
        let ([admin], keys) = vault(here, ["acme"]).await;
        let server = STRONGROOM.serve(here, "vault");
        STRONGROOM.run(here, &["root", "rotate", "vault", "--to", "file"]).ok();
        let new = std::fs::read_dir(here.join("vault")).unwrap().map(|entry| entry.unwrap().path());
        let new = new.filter(|path| path.extension().is_some_and(|extension| extension == "age"));
        let new = new.filter(|path| path.file_stem().unwrap() != "root").map(|path| keys::root_key_in(&path));
        let new: Vec<_> = new.map(|key| Sought::new("the new root key", key.expose())).collect();
        assert_eq!(new.len(), 1);
        if let Some(found) = at_rest(here, &server, &admin, keys.into_iter().chain(new).collect()).await {
            check(&found, |_| false);
        }
    }

    /// A passphrase is not asked for again with each use, so the root key that it opened is held. The passphrase is not.
    #[tokio::test(flavor = "multi_thread")]
    async fn with_a_root_key_that_a_passphrase_opens() {
        const PASSPHRASE: &str = "correct horse battery staple";
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path();
        let ([admin], mut keys) = vault(here, ["acme"]).await;
        let mut server = STRONGROOM.serve(here, "vault");
        let line = format!("{PASSPHRASE}\n");
        STRONGROOM.run_with(here, &["root", "rotate", "vault", "--to", "file", "--passphrase"], line.as_bytes()).ok();
        server.terminate();
        let starting = STRONGROOM.start(here, "vault", |_| ());
        starting.says("the server is locked");
        STRONGROOM.run_with(here, &["unlock", "vault"], line.as_bytes()).ok();
        let server = starting.listening().unwrap();
        keys.push(Sought::new("the passphrase", PASSPHRASE.as_bytes()));
        if let Some(found) = at_rest(here, &server, &admin, keys).await {
            check(&found, |_| false);
        }
    }

    /// A reader is in the middle of a stream, and nobody else is there: what stands in memory is what it needs, and the tenant's key, for its
    /// time. Nothing of objects that nobody reads, and nothing of another tenant.
    #[tokio::test(flavor = "multi_thread")]
    async fn while_somebody_reads() {
        const SIZE: usize = 3 * (64 << 20);
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path();
        let ([acme, beta], _) = vault(here, ["acme", "beta"]).await;
        let server = STRONGROOM.serve(here, "vault");
        let name = "acme/rlhf/streamed".parse().unwrap();
        connect(&server, &acme).await.put(&name, &sample::bytes(3, SIZE)[..], PutOptions::default()).await.unwrap();
        let keys = keys::all(&here.join("vault")).await.into_iter().map(Sought::from);
        let mut sought: Vec<_> = keys.chain(work_known(&server, &acme, "known").await).collect();
        work(&server, &beta, "beta").await;
        work(&server, &acme, "acme").await;
        rest(&server);

        let vault = connect(&server, &acme).await;
        let mut body = vault.get(&name, GetOptions::default()).await.unwrap();
        // The SDK holds back what nobody takes from it, so two windows of three are still to come.
        let got = body.next().await.unwrap().unwrap().len();
        assert!(got < SIZE / 64, "{got}");
        // All that it does stands still with it.
        server.pause();
        sought.retain(|sought| !sought.name.ends_with("of streamed"));
        let found = dump(here, &server, &sought);
        server.resume();
        drop(body);
        if let Some(found) = found {
            assert!(found.contains("acme's key"), "the key in use is not found: the search is blind: {found:?}");
            check(&found, |name| name == "acme's key");
        }
    }
}

on_gdb! {
    /// An upload is under way, and nobody else is there. Its keys come with its last word, so until then there is only its session's
    /// secret; and once it is done, beside that, no more than the tenant's key, for its time.
    #[tokio::test(flavor = "multi_thread")]
    async fn while_somebody_writes() {
        const SIZE: usize = 24 << 20;
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path();
        let ([acme, beta], mut sought) = vault(here, ["acme", "beta"]).await;
        let server = STRONGROOM.serve(here, "vault");
        work(&server, &beta, "beta").await;
        work(&server, &acme, "acme").await;
        rest(&server);

        let bytes = sample::bytes(4, SIZE);
        let object = SealedObject::seal(&bytes);
        let raw = Raw::connect(server.address, Some(&acme)).await.unwrap();
        let session = raw.open(&acme, "acme", server.vault_key).await.unwrap();
        sought.extend(known(&object, &session));
        let mut now = session.put_frames(&Target::new("acme", None, "rlhf", "written"), &object);
        let later = now.split_off(now.len() / 2);
        let (mut frames, taken) = futures::channel::mpsc::channel(1);
        let mut client = raw.vault();
        let putting = tokio::spawn(async move { client.put(taken).await });
        for frame in now {
            frames.send(frame).await.unwrap();
        }
        let blobs = here.join("vault/blobs");
        let on_disk = || {
            let mut bytes = 0;
            oracle::walk(&blobs, &mut |file| bytes += std::fs::metadata(file).map_or(0, |file| file.len()));
            bytes
        };
        until("half of it is there", async || on_disk() > SIZE as u64 / 4).await;
        server.pause();
        let found = dump(here, &server, &sought);
        server.resume();
        if let Some(found) = found {
            assert!(found.contains("a session's secret"), "the secret in use is not found: the search is blind: {found:?}");
            check(&found, |name| name == "a session's secret");
        }
        for frame in later {
            frames.send(frame).await.unwrap();
        }
        drop(frames);
        putting.await.unwrap().unwrap();
        if let Some(found) = dump(here, &server, &sought) {
            check(&found, |name| ["a session's secret", "acme's key"].contains(&name));
        }
        let name = "acme/rlhf/written".parse().unwrap();
        assert!(connect(&server, &acme).await.get_bytes(&name, GetOptions::default()).await.unwrap()[..] == bytes[..]);
    }
}

on_gdb_and_python! {
    /// Nor is a plugin asked again with each use: the root key that it opened is held. What it was told, and what it opened, is not.
    #[tokio::test(flavor = "multi_thread")]
    async fn with_a_root_key_that_a_plugin_opens() {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path();
        let ([admin], mut sought) = vault(here, ["acme"]).await;
        let path = plugin::install(&here.join("bin"));
        std::fs::write(here.join("identity"), format!("{}\n", plugin::identity())).unwrap();
        std::fs::write(here.join("pin"), format!("{}\n", plugin::PIN)).unwrap();
        let with = |command: &mut Command| {
            command.env("PATH", &path).args(["--passphrase-file", "pin"]);
        };
        let mut server = STRONGROOM.serve_with(here, "vault", with);
        STRONGROOM.run(here, &["root", "rotate", "vault", "--to", "file", "--identity", "identity"]).ok();
        server.terminate();
        let new = std::fs::read_dir(here.join("vault")).unwrap().map(|entry| entry.unwrap().path());
        let new: Vec<_> = new.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("root-")).collect();
        assert_eq!(new.len(), 1, "{new:?}");
        let key = keys::root_key_by(&new[0], &WithoutPlugin);
        sought.push(Sought::new("the root key that the plugin opened", key.expose()));
        sought.push(Sought::new("the plugin's PIN", plugin::PIN.as_bytes()));
        let server = STRONGROOM.serve_with(here, "vault", with);
        if let Some(found) = at_rest(here, &server, &admin, sought).await {
            assert!(found.contains("the root key that the plugin opened"), "the search is blind: {found:?}");
            check(&found, |name| name == "the root key that the plugin opened");
        }
    }
}

on_gdb_and_moto! {
    #[tokio::test(flavor = "multi_thread")]
    async fn with_a_root_key_at_kms() {
        let moto = Moto::shared();
        let endpoint = format!("http://127.0.0.1:{}", moto.port());
        let keeper = format!("aws-kms --key {} --region us-east-1 --endpoint {endpoint}", moto.kms_key());
        let with = |command: &mut Command| {
            command.env("AWS_ACCESS_KEY_ID", "strongroom").env("AWS_SECRET_ACCESS_KEY", "strongroom");
        };
        moved_to(&keeper, with, Vec::new()).await;
    }
}

on_gdb_and_softhsm! {
    #[tokio::test(flavor = "multi_thread")]
    async fn with_a_root_key_in_a_token() {
        let hsm = SoftHsm::start();
        let mut keys = std::iter::repeat_with(|| Key::random().unwrap());
        let key = keys.find(|key| SoftHsm::can_import(key.expose())).unwrap();
        hsm.import("root", key.expose());
        let keeper = format!(
            "pkcs11 --module {} --token {} --key root --pin-file {}",
            hsm.module().display(), SoftHsm::TOKEN, hsm.pin_file().display()
        );
        let with = |command: &mut Command| {
            command.env(VARIABLE, hsm.configuration());
        };
        let more = vec![
            Sought::new("the root key in the token", key.expose()),
            Sought::new("the PIN", SoftHsm::PIN.as_bytes()),
        ];
        moved_to(&keeper, with, more).await;
    }
}
