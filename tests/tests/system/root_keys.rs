//! Who keeps the root key: a vault that opens by a passphrase, a plugin, a token or KMS; that waits for a human, and says so; and
//! that goes on for a while, and not for longer, when the keeper is out of reach.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use strongroom_test_services::softhsm::VARIABLE;
use strongroom_test_services::{Fault, Faults, Moto, SoftHsm, on_moto, on_python, on_softhsm};
use strongroom_tests::plugin::{self, Hanging};
use strongroom_tests::process::{Ran, ServerProcess, Starting};

use crate::STRONGROOM;

/// What one GET answers: the status and the text.
fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, text) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), text.to_owned())
}

/// Where a server that is starting tells its metrics.
fn metrics(starting: &Starting) -> SocketAddr {
    let said = starting.says("metrics address=");
    let rest = said.split("metrics address=").nth(1).unwrap();
    rest.split_whitespace().next().unwrap().parse().unwrap()
}

fn append(file: &Path, text: &str) {
    let old = fs::read_to_string(file).unwrap();
    fs::write(file, format!("{old}\n{text}")).unwrap();
}

/// A tenant with one object, put through the command line.
fn fill(folder: &Path, server: &ServerProcess) {
    let (address, key) = (server.address.to_string(), server.vault_key.to_string());
    let run = |arguments: &[&str]| STRONGROOM.run(folder, arguments).ok();
    let lab = run(&["--home", "lab", "login", &address, "--server-key", &key]);
    run(&["--home", "vault/operator", "tenant", "create", "acme", "--admin", lab.word()]);
    fs::write(folder.join("plain"), "a line of data\n").unwrap();
    run(&["--home", "lab", "put", "plain", "acme/rlhf/plain", "--create"]);
    assert_eq!(read(folder, server).ok().text(), "a line of data");
}

fn read(folder: &Path, server: &ServerProcess) -> Ran {
    let (address, key) = (server.address.to_string(), server.vault_key.to_string());
    STRONGROOM.run(folder, &["--home", "lab", "login", &address, "--server-key", &key]).ok();
    STRONGROOM.run(folder, &["--home", "lab", "cat", "acme/rlhf/plain"])
}

/// Reads until that is refused: cached keys serve no longer than their time.
fn until_refused(folder: &Path, server: &ServerProcess) -> Ran {
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        let ran = read(folder, server);
        if ran.code != Some(0) {
            return ran;
        }
        assert!(std::time::Instant::now() < until, "it is never refused");
    }
}

#[test]
fn a_server_with_a_passphrase_starts_locked_and_is_unlocked() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let passphrase = b"correct horse\n";
    STRONGROOM.run_with(here, &["init", "vault", "--passphrase"], passphrase).ok();
    append(&here.join("vault/strongroom.toml"), "[metrics]\nlisten = \"127.0.0.1:0\"\n");
    STRONGROOM.run(here, &["unlock", "vault"]).fails(6, "UNAVAILABLE");

    let starting = STRONGROOM.start(here, "vault", |_| ());
    let port = metrics(&starting);
    assert!(starting.says("the server is locked").contains("strongroom unlock vault"));
    assert_eq!(get(port, "/live"), (200, "live\n".to_owned()));
    assert_eq!(get(port, "/ready"), (503, "locked\n".to_owned()));
    let (status, gauges) = get(port, "/metrics");
    assert!(status == 200 && gauges.contains("\nstrongroom_locked 1\n") && !gauges.contains("tenants"), "{gauges}");
    let socket = fs::metadata(here.join("vault/strongroom.sock")).unwrap();
    assert_eq!(socket.permissions().mode() & 0o777, 0o600);

    STRONGROOM.run_with(here, &["unlock", "vault"], b"battery staple\n").fails(2, "INVALID_ARGUMENT");
    STRONGROOM.run_with(here, &["unlock", "vault"], b"\n").fails(2, "USAGE");
    assert_eq!(get(port, "/ready").0, 503);
    assert!(!starting.is_listening(), "a locked server has no port");
    let unlocked = STRONGROOM.run_with(here, &["unlock", "vault"], passphrase).ok();
    assert!(unlocked.text().starts_with("unlocked, with root key file:"), "{}", unlocked.text());

    let mut server = starting.listening().unwrap();
    fill(here, &server);
    assert_eq!(get(port, "/ready"), (200, "ready\n".to_owned()));
    let (_, gauges) = get(port, "/metrics");
    for gauge in
        ["strongroom_locked 0", "strongroom_ready 1", "strongroom_tenants_stopped 0", "strongroom_tenant_keys 1"]
    {
        assert!(gauges.lines().any(|line| line == gauge), "{gauge} is not in {gauges}");
    }
    assert!(
        gauges.contains("strongroom_build_info{version=\"") && gauges.contains("strongroom_checkpoint_lag_entries ")
    );
    assert!(!gauges.contains("acme"), "a metric has no name in it");
    assert_eq!((get(port, "/").0, get(port, "/ready/").0), (404, 404));
    assert!(STRONGROOM.run(here, &["unlock", "vault"]).ok().text().contains("not locked"));
    assert!(server.terminate().success());
    assert!(!here.join("vault/strongroom.sock").exists());

    // From a file it opens by itself; a server that was killed leaves its socket, which is no obstacle.
    fs::write(here.join("passphrase"), passphrase).unwrap();
    let by_file = |command: &mut Command| {
        command.args(["--passphrase-file", "passphrase"]);
    };
    STRONGROOM.serve_with(here, "vault", by_file).kill();
    assert!(here.join("vault/strongroom.sock").exists());
    let server = STRONGROOM.serve_with(here, "vault", |command| {
        command.env("STRONGROOM_ROOT_PASSPHRASE", "correct horse");
    });
    assert_eq!(read(here, &server).ok().text(), "a line of data");
    let second = STRONGROOM.start(here, "vault", by_file);
    second.says("another server of this folder has it");
    drop(second);
    assert!(STRONGROOM.run(here, &["unlock", "vault"]).ok().text().contains("not locked"), "the first still has it");
}

#[test]
fn a_locked_server_ends_when_it_is_told_to() {
    let folder = tempfile::tempdir().unwrap();
    STRONGROOM.run_with(folder.path(), &["init", "vault", "--passphrase"], b"x\n").ok();
    let starting = STRONGROOM.start(folder.path(), "vault", |_| ());
    starting.says("the server is locked");
    let ended = starting.terminate();
    assert!(ended.success(), "{ended:?}");
    assert!(!folder.path().join("vault/strongroom.sock").exists());
}

#[test]
fn an_identity_may_lie_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    STRONGROOM.run(here, &["init", "first"]).ok();
    fs::rename(here.join("first/root.identity"), here.join("identity")).unwrap();
    STRONGROOM.run(here, &["init", "vault", "--identity", "identity"]).ok();
    assert!(!here.join("vault/root.identity").exists());
    // It is read for each use: taken away, it is missed when what is cached has had its time.
    append(&here.join("vault/strongroom.toml"), "[limits]\nkey_cache = 1\n");
    let server = STRONGROOM.serve(here, "vault");
    fill(here, &server);
    fs::rename(here.join("identity"), here.join("elsewhere")).unwrap();
    let refused = until_refused(here, &server);
    refused.fails(6, "UNAVAILABLE");
    fs::rename(here.join("elsewhere"), here.join("identity")).unwrap();
    assert_eq!(read(here, &server).ok().text(), "a line of data");
    drop(server);
    fs::remove_file(here.join("identity")).unwrap();
    let ran = STRONGROOM.run(here, &["serve", "vault", "--listen", "127.0.0.1:0"]);
    ran.fails_after_log(6, "UNAVAILABLE");
    assert!(ran.stderr.lines().last().unwrap().contains("identity"), "{}", ran.stderr);
}

#[test]
fn options_of_another_keeper_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for line in [
        "init vault --root aws-kms",
        "init vault --root aws-kms --key a --token t",
        "init vault --root pkcs11 --key k --token t",
        "init vault --root pkcs11 --key k --token t --module /m.so --region eu-central-1",
        "init vault --key k",
    ] {
        let arguments: Vec<_> = line.split(' ').collect();
        STRONGROOM.run(folder.path(), &arguments).fails(2, "USAGE");
    }
    assert!(!folder.path().join("vault").exists());
}

on_python! {
    #[test]
    fn a_plugin_of_age_opens_the_root_key() {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path();
        let path = plugin::install(&here.join("bin"));
        fs::write(here.join("identity"), format!("{}\n", plugin::identity())).unwrap();
        let mut command = STRONGROOM.command(here);
        command.args(["init", "vault", "--identity", "identity"]).env("PATH", &path);
        let ran = command.output().unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        let serve = |secret: &str| {
            let secret = secret.to_owned();
            let path = path.clone();
            STRONGROOM.try_serve(here, "vault", move |command| {
                command.env("PATH", path).env("STRONGROOM_ROOT_PASSPHRASE", secret);
            })
        };
        let refused = serve("1357").err().expect("it does not start");
        assert!(refused.contains("does not open the root key"), "{refused}");
        let server = serve(plugin::PIN).unwrap();
        fill(here, &server);
    }

    /// A plugin that never answers is ended when its time is over, with all that it started; and with whoever waits for it.
    #[test]
    fn a_plugin_that_hangs_does_not_hold_the_server() {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path();
        let bin = here.join("bin");
        let path = plugin::install(&bin);
        fs::write(here.join("identity"), format!("{}\n", plugin::identity())).unwrap();
        let mut command = STRONGROOM.command(here);
        command.args(["init", "vault", "--identity", "identity"]).env("PATH", &path);
        assert!(command.output().unwrap().status.success());
        let with = |seconds: &'static str| {
            let path = path.clone();
            move |command: &mut Command| {
                command.env("PATH", path).env("STRONGROOM_ROOT_PASSPHRASE", plugin::PIN).env("STRONGROOM_LIMITS_PLUGIN", seconds);
            }
        };
        let said = |said: &str| {
            let line = said.trim_end().lines().last().unwrap();
            assert!(line.starts_with("UNAVAILABLE: the root key: ") && line.contains("limits.plugin"), "{line}");
            assert!(line.contains("age-plugin-strongroomtest did not answer within 1 s and was ended"), "{line}");
        };

        let hanging = Hanging::install(&bin, plugin::NAME);
        said(&STRONGROOM.try_serve(here, "vault", with("1")).err().expect("it does not start"));
        assert_eq!(hanging.runs().len(), 1);
        hanging.are_gone();
        // Whoever does not want to wait need not, and leaves nothing behind.
        let starting = STRONGROOM.start(here, "vault", with("600"));
        hanging.await_runs(2);
        assert!(starting.terminate().success());
        hanging.are_gone();
        // Nor does it stay when the server is killed.
        let starting = STRONGROOM.start(here, "vault", with("600"));
        hanging.await_runs(3);
        drop(starting);
        hanging.are_gone();
        assert_eq!(hanging.runs().len(), 3);

        // A server that runs is asked to have another plugin's identity seal a new root key, and goes on.
        plugin::install(&bin);
        let server = STRONGROOM.serve_with(here, "vault", with("10"));
        fill(here, &server);
        let hanging = Hanging::install(&bin, plugin::HANGING);
        let other = age::plugin::Identity::default_for_plugin(plugin::HANGING).unwrap().to_string();
        fs::write(here.join("other"), format!("{other}\n")).unwrap();
        let ran = STRONGROOM.run(here, &["root", "rotate", "vault", "--to", "file", "--identity", "other"]);
        ran.fails(6, "UNAVAILABLE");
        assert!(ran.stderr.contains("age-plugin-strongroomhangs did not answer within 10 s and was ended"), "{}", ran.stderr);
        hanging.are_gone();
        assert_eq!(read(here, &server).ok().text(), "a line of data");
        STRONGROOM.run(here, &["root", "rotate", "vault", "--to", "file"]).ok();
        assert_eq!(read(here, &server).ok().text(), "a line of data");
    }
}

on_softhsm! {
    #[test]
    fn a_token_keeps_the_root_key() {
        let hsm = SoftHsm::start();
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path();
        let (module, pin) = (hsm.module().display().to_string(), hsm.pin_file().display().to_string());
        let with = |command: &mut Command| {
            command.env(VARIABLE, hsm.configuration());
        };
        let arguments = ["init", "vault", "--root", "pkcs11", "--module", &module, "--token", SoftHsm::TOKEN, "--key", "root"];
        let init = |more: &[&str]| {
            let mut command = STRONGROOM.command(here);
            with(command.args(arguments).args(more));
            command.output().unwrap()
        };
        let made = init(&["--pin-file", &pin]);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        assert!(!here.join("vault/root.age").exists(), "the key is in the token alone");

        let mut server = STRONGROOM.serve_with(here, "vault", with);
        fill(here, &server);
        assert!(server.terminate().success());
        let refused = |why: &str| {
            let said = STRONGROOM.try_serve(here, "vault", with).err().expect("it does not start");
            let last = said.trim_end().lines().last().unwrap().to_owned();
            assert!(last.contains(why), "{last:?} does not say {why:?}");
        };
        fs::write(hsm.pin_file(), "0000\n").unwrap();
        refused("the token refuses the PIN");
        fs::write(hsm.pin_file(), format!("{}\n", SoftHsm::PIN)).unwrap();
        hsm.take_out();
        refused("there is no token \"strongroom\": is it plugged in?");
        hsm.put_back();
        let mut server = STRONGROOM.serve_with(here, "vault", with);
        assert_eq!(read(here, &server).ok().text(), "a line of data");
        // Taken out while the vault serves: what is cached serves on, for its time and not for longer.
        hsm.take_out();
        assert_eq!(read(here, &server).ok().text(), "a line of data");
        hsm.put_back();
        assert!(server.terminate().success());
        let toml = here.join("vault/strongroom.toml");
        append(&toml, "[limits]\nkey_cache = 1\n");
        let server = STRONGROOM.serve_with(here, "vault", with);
        assert_eq!(read(here, &server).ok().text(), "a line of data");
        hsm.take_out();
        let refused = until_refused(here, &server);
        refused.fails(6, "UNAVAILABLE");
        assert!(refused.stderr.contains("the token \"strongroom\""), "{}", refused.stderr);
        hsm.put_back();
        drop(server);
        // This module does not notice that its token is back; in a server that starts again it is.
        let server = STRONGROOM.serve_with(here, "vault", with);
        assert_eq!(read(here, &server).ok().text(), "a line of data");
        drop(server);

        // Without a file for the PIN somebody gives it.
        let text = fs::read_to_string(&toml).unwrap();
        let without: Vec<_> = text.lines().filter(|line| !line.starts_with("pin_file")).collect();
        fs::write(&toml, without.join("\n")).unwrap();
        let starting = STRONGROOM.start(here, "vault", with);
        starting.says("the server is locked");
        STRONGROOM.run_with(here, &["unlock", "vault"], b"1111\n").fails(2, "INVALID_ARGUMENT");
        STRONGROOM.run_with(here, &["unlock", "vault"], format!("{}\n", SoftHsm::PIN).as_bytes()).ok();
        let server = starting.listening().unwrap();
        assert_eq!(read(here, &server).ok().text(), "a line of data");
    }
}

on_moto! {
    #[test]
    fn kms_keeps_the_root_key_and_an_outage_is_outlived_for_a_while() {
        let moto = Moto::start();
        let faults = Faults::before(moto.port());
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path();
        let (key, endpoint) = (moto.kms_key(), format!("http://127.0.0.1:{}", faults.port()));
        let with = |command: &mut Command| {
            command.env("AWS_ACCESS_KEY_ID", "strongroom").env("AWS_SECRET_ACCESS_KEY", "strongroom");
        };
        let mut command = STRONGROOM.command(here);
        let arguments = ["init", "vault", "--root", "aws-kms", "--key", &key, "--region", "us-east-1", "--endpoint", &endpoint];
        with(command.args(arguments));
        let made = command.output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));

        // Keys that are cached serve while KMS is out of reach, and it is not asked.
        let mut server = STRONGROOM.serve_with(here, "vault", with);
        fill(here, &server);
        faults.plan("POST", Fault::Throttled, usize::MAX);
        let asked = faults.seen().len();
        assert_eq!(read(here, &server).ok().text(), "a line of data");
        assert_eq!(faults.seen().len(), asked);
        faults.clear();
        assert!(server.terminate().success());

        // They serve no longer than their time; then reads fail, with one line, until KMS is back.
        append(&here.join("vault/strongroom.toml"), "[limits]\nkey_cache = 1\n");
        let mut server = STRONGROOM.serve_with(here, "vault", with);
        assert_eq!(read(here, &server).ok().text(), "a line of data");
        faults.plan("POST", Fault::Throttled, usize::MAX);
        let refused = until_refused(here, &server);
        refused.fails(6, "UNAVAILABLE");
        assert!(refused.stderr.contains("throttles this vault: ThrottlingException"), "{}", refused.stderr);
        faults.clear();
        assert_eq!(read(here, &server).ok().text(), "a line of data");
        for outage in [Fault::Cut, Fault::Unavailable] {
            faults.plan("POST", outage, usize::MAX);
            let refused = until_refused(here, &server);
            refused.fails(6, "UNAVAILABLE");
            assert!(refused.stderr.contains("AWS KMS at http://127.0.0.1"), "{outage:?}: {}", refused.stderr);
            faults.clear();
            assert_eq!(read(here, &server).ok().text(), "a line of data");
        }
        let shown = STRONGROOM.run(here, &["--home", "vault/operator", "tenant", "show", "acme"]).ok();
        server.kill();

        // Showing tenants with their logs' keys asks KMS for nothing.
        let mut server = STRONGROOM.serve_with(here, "vault", with);
        let asked = faults.seen().len();
        faults.plan("POST", Fault::Cut, usize::MAX);
        let again = STRONGROOM.run(here, &["--home", "vault/operator", "tenant", "show", "acme"]).ok();
        assert_eq!((again.text(), faults.seen().len()), (shown.text(), asked));
        server.kill();

        // A server that starts meanwhile says what is wrong, and does not start.
        let said = STRONGROOM.try_serve(here, "vault", with).err().expect("it does not start");
        let last = said.trim_end().lines().last().unwrap().to_owned();
        assert!(last.starts_with("UNAVAILABLE: ") && last.contains("AWS KMS at http://127.0.0.1"), "{last}");
        faults.clear();
        moto.kms("DisableKey", &format!("{{\"KeyId\":\"{key}\"}}"));
        let said = STRONGROOM.try_serve(here, "vault", with).err().expect("it does not start");
        assert!(said.trim_end().lines().last().unwrap().contains("is not enabled"), "{said}");
    }
}
