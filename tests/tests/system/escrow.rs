//! Escrow: with the server, its folder and its database gone, an identity of the tenant's own, an export and the blobs open everything,
//! and nothing else does.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use futures::TryStreamExt;
use strongroom_client::{DeleteOptions, GetOptions, ObjectPath, PutOptions, Reason};
use strongroom_core::ledger::Event;
use strongroom_server::config::{BlobsUrl, Config};
use strongroom_test_services::{on_each_engine, on_python, on_s3};
use strongroom_tests::plugin::{self, Hanging};
use strongroom_tests::process::Ran;
use strongroom_tests::search::Search;
use strongroom_tests::site::Site;
use strongroom_tests::{Lab, TestVault, sample, tamper, until};

use crate::STRONGROOM;

/// A fresh age identity, as `age-keygen` writes it, and its recipient.
fn identity(folder: &Path, name: &str) -> (std::path::PathBuf, String) {
    use age::secrecy::ExposeSecret;
    let identity = age::x25519::Identity::generate();
    let (file, recipient) = (folder.join(name), identity.to_public().to_string());
    fs::write(&file, format!("# public key: {recipient}\n{}\n", identity.to_string().expose_secret())).unwrap();
    (file, recipient)
}

async fn complete(lab: &Lab) {
    until("all is sealed", async || lab.vault.escrow(&lab.tenant).await.unwrap().complete).await;
}

fn small(at: usize) -> Bytes {
    format!("the plaintext of item {at}").into()
}

/// What is put, and what comes back of it.
async fn fill(lab: &Lab) -> Vec<(String, Bytes)> {
    let dataset = lab.dataset("rlhf").await;
    let path = |at: usize| -> ObjectPath { format!("math/{at:06}").parse().unwrap() };
    let items = futures::stream::iter((0..700).map(|at| (path(at), small(at))));
    let _: Vec<_> = lab.vault.put_many(&dataset, items, PutOptions::default()).try_collect().await.unwrap();
    let mut all: Vec<(String, Bytes)> = (0..700).map(|at| (format!("rlhf/{}", path(at)), small(at))).collect();
    lab.dataset("other").await;
    for (name, size) in [("empty", 0), ("one", 65_536), ("two", 65_537), ("windows", (65 << 20) + 7)] {
        let bytes = Bytes::from(sample::bytes(size as u64, size));
        lab.put(&format!("other/deep/{name}"), bytes.clone()).await;
        all.push((format!("other/deep/{name}"), bytes));
    }
    lab.vault.delete(&lab.object("rlhf/math/000003"), DeleteOptions::default()).await.unwrap();
    all.retain(|(name, _)| name != "rlhf/math/000003");
    all
}

/// Writes the export as the command does.
async fn export(lab: &Lab, into: &Path) {
    use strongroom_client::escrow::ExportPart;
    use strongroom_core::escrow::{Checksum, HEAD_FILE, OBJECTS_FILE};
    fs::create_dir_all(into).unwrap();
    let parts: Vec<_> = lab.vault.export_catalog(&lab.tenant).await.unwrap().try_collect().await.unwrap();
    let (mut lines, mut sum) = (Vec::new(), Checksum::default());
    for part in parts {
        match part {
            ExportPart::Objects(more) => {
                sum.update(&more);
                lines.extend_from_slice(&more);
            }
            ExportPart::Head(mut head) => {
                (head.objects, head.digest) = (sum.objects, sum.digest());
                fs::write(into.join(HEAD_FILE), strongroom_core::exact::to_vec(&*head).unwrap()).unwrap();
            }
        }
    }
    fs::write(into.join(OBJECTS_FILE), lines).unwrap();
}

fn recover(folder: &Path, arguments: &[&str], environment: &[(String, String)]) -> Ran {
    let mut command = STRONGROOM.command(folder);
    command.arg("recover").args(arguments).envs(environment.iter().cloned());
    let done = command.output().unwrap();
    let stderr = String::from_utf8(done.stderr).unwrap();
    Ran { arguments: arguments.join(" "), code: done.status.code(), stdout: done.stdout, stderr }
}

/// Where a vault's blobs are, as a URL, and the variables that a bucket needs.
fn blobs_of(folder: &Path) -> (String, Vec<(String, String)>) {
    match Config::load_with(folder, []).unwrap().blobs {
        BlobsUrl::File(root) => (format!("file:{}", root.display()), Vec::new()),
        BlobsUrl::Bucket(url) => {
            let options = url.options.iter().map(|(name, value)| (name.to_ascii_uppercase(), value.clone()));
            (url.to_string(), options.collect())
        }
    }
}

async fn everything_is_recovered_without_server_and_database() {
    let away = tempfile::tempdir().unwrap();
    let (file, to) = identity(away.path(), "escrow.txt");
    let (other_file, other) = identity(away.path(), "other.txt");
    let (stranger, _) = identity(away.path(), "stranger.txt");
    let mut vault = TestVault::start().await;
    let lab = vault.lab("acme").await;
    let refused = lab.vault.export_catalog(&lab.tenant).await.err().map(|error| error.reason());
    assert_eq!(refused, Some(Reason::PreconditionFailed), "there is no escrow");
    let refused = async |to: &str| lab.vault.set_escrow(&lab.tenant, &[to.to_owned()]).await.unwrap_err();
    assert_eq!(refused("age1yubikey1qwertyu").await.reason(), Reason::InvalidArgument, "its checksum is wrong");
    let plugin = refused(plugin::RECIPIENT).await;
    assert!(plugin.reason() == Reason::Unsupported && plugin.detail().contains("escrow.plugins"), "{plugin:?}");
    let all = fill(&lab).await;
    lab.vault.set_escrow(&lab.tenant, std::slice::from_ref(&to)).await.unwrap();
    complete(&lab).await;
    // What comes under a later version is in escrow too; the one that is taken out is not.
    lab.vault.set_escrow(&lab.tenant, &[to.clone(), other.clone()]).await.unwrap();
    lab.vault.rotate_key(&lab.tenant).await.unwrap();
    lab.put("rlhf/later", "put under another version").await;
    lab.vault.set_escrow(&lab.tenant, std::slice::from_ref(&to)).await.unwrap();
    complete(&lab).await;
    assert_eq!(lab.vault.escrow(&lab.tenant).await.unwrap().recipients, [to]);
    let left = format!("SELECT count(*) FROM escrows WHERE recipient = '{other}'");
    assert_eq!(tamper::number(&vault.folder(), &left).await, 0);
    let worker = lab.vendor(&vault, "labelco").await;
    let refused = worker.vault.export_catalog(&lab.tenant).await.err().map(|error| error.reason());
    assert_eq!(refused, Some(Reason::OutOfScope));

    let catalog = away.path().join("catalog");
    export(&lab, &catalog).await;
    let ledger = vault.ledger("acme").await;
    assert_eq!(ledger.done(Event::EscrowSet).len(), 3);
    let (url, environment) = blobs_of(&vault.folder());
    // The server and all of its folder are gone, but for the blobs.
    vault.stop().await;
    let blobs = away.path().join("blobs");
    if url.starts_with("file:") {
        fs::rename(vault.folder().join("blobs"), &blobs).unwrap();
    }
    drop(vault);
    let url = if url.starts_with("file:") { format!("file:{}", blobs.display()) } else { url };
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let out = away.path().join("out");
    let with = |identity: &Path, catalog: &Path, more: &[&str]| {
        let (identity, catalog, out) = (text(identity), text(catalog), text(&out));
        let mut arguments = vec!["--identity", &identity, "--catalog", &catalog, "--blobs", &url, "-o", &out];
        arguments.extend(more);
        recover(away.path(), &arguments, &environment)
    };
    for wrong in [&stranger, &other_file] {
        with(wrong, &catalog, &[]).fails(4, "UNAUTHENTICATED");
    }
    assert!(!out.exists());
    let ran = with(&file, &catalog, &[]).ok();
    assert!(ran.stderr.contains("plaintext is now on this disk"), "{}", ran.stderr);
    for (name, bytes) in &all {
        assert!(fs::read(out.join(name)).unwrap() == *bytes, "{name}");
    }
    assert_eq!(fs::read(out.join("rlhf/later")).unwrap(), b"put under another version");
    assert!(!out.join("rlhf/math/000003").exists(), "it was deleted");
    fs::remove_dir_all(&out).unwrap();
    let ran = with(&file, &catalog, &["acme/other/deep/"]).ok();
    assert!(ran.text().contains("4 objects"), "{}", ran.text());
    assert!(!out.join("rlhf").exists());
    with(&file, &catalog, &["beta"]).fails(2, "USAGE");

    // What is exported opens nothing by itself.
    let mut search = Search::default();
    search.add_text("plain", &all.iter().find(|(name, _)| name == "other/deep/two").unwrap().1);
    assert!(search.find_below(&catalog).is_empty());
    // A row that was changed is found out, and nothing leaves the folder.
    let changed = away.path().join("changed");
    fs::create_dir(&changed).unwrap();
    fs::copy(catalog.join("catalog.json"), changed.join("catalog.json")).unwrap();
    let rows = fs::read_to_string(catalog.join("objects.jsonl")).unwrap();
    fs::write(changed.join("objects.jsonl"), rows.replacen("math/000001", "math/900001", 1)).unwrap();
    with(&file, &changed, &[]).fails(5, "INTEGRITY");
    resign(&changed);
    let ran = with(&file, &changed, &["acme/rlhf/math/900001"]);
    ran.fails_after_log(5, "INTEGRITY");
    assert!(!out.join("rlhf/math/900001").exists());
    fs::write(changed.join("objects.jsonl"), rows.replacen("math/000001", "../../outside", 1)).unwrap();
    resign(&changed);
    with(&file, &changed, &["acme/rlhf/"]).fails_after_log(5, "INTEGRITY");
    assert!(!away.path().join("outside").exists());
}

on_python! {
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_plugin_seals_and_opens() {
        let mut site = Site::start(STRONGROOM, "key_cache = 1").await;
        let here = site.beside().to_owned();
        let config = site.folder().join("strongroom.toml");
        let text = fs::read_to_string(&config).unwrap();
        fs::write(&config, format!("{text}\n[escrow]\nplugins = [\"{}\", \"strongroom-none\"]\n", plugin::NAME)).unwrap();
        let path = plugin::install(&here.join("bin"));
        let with = |command: &mut std::process::Command| {
            command.env("PATH", &path);
        };
        site.restart_with(with);
        let lab = site.lab("acme").await;
        lab.dataset("rlhf").await;
        lab.put("rlhf/first", "put under the first version").await;
        let (file, native) = identity(&here, "escrow.txt");
        let set = async |to: &[&str]| lab.vault.set_escrow(&lab.tenant, &to.iter().map(|to| (*to).to_owned()).collect::<Vec<_>>()).await;

        // What cannot be sealed to is refused before it is recorded, by whoever may order it at all.
        let absent = set(&["age1strongroom-none1qyqszqgrrmnwv"]).await.unwrap_err();
        assert!(absent.reason() == Reason::Unsupported && absent.detail().ends_with("is not on the server's PATH"), "{absent:?}");
        let bad = set(&[plugin::REFUSED]).await.unwrap_err();
        assert!(bad.reason() == Reason::PreconditionFailed && bad.detail().contains("it is of no use"), "{bad:?}");
        let worker = site.vendor(&lab, "labelco").await;
        let ran = worker.vault.set_escrow(&lab.tenant, &[plugin::REFUSED.to_owned()]).await;
        assert_eq!(ran.unwrap_err().reason(), Reason::OutOfScope);
        assert_eq!(lab.vault.escrow(&lab.tenant).await.unwrap().recipients, [""; 0]);

        set(&[plugin::RECIPIENT, &native]).await.unwrap();
        complete(&lab).await;
        lab.vault.rotate_key(&lab.tenant).await.unwrap();
        lab.put("rlhf/second", "put under the second").await;
        complete(&lab).await;
        let catalog = here.join("catalog");
        export(&lab, &catalog).await;

        // On a server without it, a version is sealed to the others, and what is in the way is told.
        site.restart(None);
        lab.vault.rotate_key(&lab.tenant).await.unwrap();
        let sealed = "SELECT count(*) FROM escrows WHERE version = 3";
        until("the native one has it", async || tamper::number(&site.folder(), sealed).await == 1).await;
        let escrow = lab.vault.escrow(&lab.tenant).await.unwrap();
        assert!(!escrow.complete);
        until("the server says why", async || lab.vault.escrow(&lab.tenant).await.unwrap().in_the_way.is_some()).await;
        let why = lab.vault.export_catalog(&lab.tenant).await.err().unwrap();
        assert!(why.detail().contains("age-plugin-strongroomtest is not on the server's PATH"), "{why:?}");
        // Taking it out does not need it.
        set(&[&native]).await.unwrap();
        complete(&lab).await;

        let (url, environment) = blobs_of(&site.folder());
        let (secret, out) = (here.join("plugin.txt"), here.join("out"));
        fs::write(&secret, format!("# in hardware\n{}\n", plugin::identity())).unwrap();
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let with = |identity: &Path, path: &str, pin: &str| {
            let mut command = STRONGROOM.command(&here);
            command.args(["recover", "--identity", &text(identity), "--catalog", &text(&catalog), "--blobs", &url]);
            command.args(["-o", &text(&out)]).envs(environment.iter().cloned()).env("PATH", path);
            let input = here.join("pin");
            fs::write(&input, format!("{pin}\n")).unwrap();
            let done = command.stdin(fs::File::open(input).unwrap()).output().unwrap();
            let stderr = String::from_utf8(done.stderr).unwrap();
            Ran { arguments: pin.to_owned(), code: done.status.code(), stdout: done.stdout, stderr }
        };
        let without = std::env::var("PATH").unwrap();
        let ran = with(&secret, &without, plugin::PIN);
        assert!(ran.fails(6, "UNAVAILABLE").stderr.contains("needs age-plugin-strongroomtest"), "{}", ran.stderr);
        with(&secret, &path, "1357").fails(4, "UNAUTHENTICATED");
        assert!(!out.exists());
        for (identity, path) in [(&secret, &path), (&file, &without)] {
            with(identity, path, plugin::PIN).ok();
            assert_eq!(fs::read(out.join("rlhf/first")).unwrap(), b"put under the first version");
            assert_eq!(fs::read(out.join("rlhf/second")).unwrap(), b"put under the second");
            fs::remove_dir_all(&out).unwrap();
        }
        site.ledger("acme").await;
    }
}

on_python! {
    /// Plugins that never answer are ended, and whoever named them is told; their places are free again, and nobody else waits for them.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_plugin_that_hangs_keeps_no_place() {
        let mut site = Site::start(STRONGROOM, "key_cache = 1").await;
        let here = site.beside().to_owned();
        let config = site.folder().join("strongroom.toml");
        let text = fs::read_to_string(&config).unwrap();
        let plugins = format!("\n[escrow]\nplugins = [\"{}\", \"{}\"]\n", plugin::NAME, plugin::HANGING);
        fs::write(&config, text + &plugins).unwrap();
        let bin = here.join("bin");
        let path = plugin::install(&bin);
        let hanging = Hanging::install(&bin, plugin::HANGING);
        // One that works has time for it, also on a busy machine.
        let with = |seconds: &'static str| {
            let path = path.clone();
            move |command: &mut std::process::Command| {
                command.env("PATH", path).env("STRONGROOM_LIMITS_PLUGIN", seconds);
            }
        };
        site.restart_with(with("1"));
        let (lab, other) = (site.lab("acme").await, site.lab("beta").await);
        lab.dataset("rlhf").await;
        lab.put("rlhf/first", "put under the first version").await;
        let (file, native) = identity(&here, "escrow.txt");
        let set = async |lab: &Lab, to: &[&str]| lab.vault.set_escrow(&lab.tenant, &to.iter().map(|to| (*to).to_owned()).collect::<Vec<_>>()).await;

        // Five at once, for four places.
        let asked = (0..5).map(|_| set(&lab, &[plugin::OF_HANGING]));
        for refused in futures::future::join_all(asked).await {
            let refused = refused.unwrap_err();
            let ended = refused.reason() == Reason::PreconditionFailed
                && refused.detail().contains("age-plugin-strongroomhangs did not answer within 1 s and was ended");
            let waited = refused.reason() == Reason::Unavailable && refused.detail().contains("age-plugin-strongroomhangs was not run");
            assert!(ended || waited, "{refused:?}");
        }
        assert!(hanging.runs().len() >= 4);
        hanging.are_gone();
        assert_eq!(lab.vault.get_bytes(&lab.object("rlhf/first"), GetOptions::default()).await.unwrap(), "put under the first version");
        site.restart_with(with("25"));
        set(&lab, &[plugin::RECIPIENT, &native]).await.unwrap();
        complete(&lab).await;

        // One that begins to hang later: versions are sealed to the others, the escrows of other tenants go on, and it is told.
        site.restart_with(with("1"));
        let hanging = Hanging::install(&bin, plugin::NAME);
        lab.vault.rotate_key(&lab.tenant).await.unwrap();
        hanging.await_runs(1);
        set(&other, &[&native]).await.unwrap();
        complete(&other).await;
        let way = async || lab.vault.escrow(&lab.tenant).await.unwrap().in_the_way;
        until("the server says why", async || way().await.is_some()).await;
        assert!(way().await.unwrap().contains("age-plugin-strongroomtest did not answer within 1 s and was ended"));
        assert_eq!(tamper::number(&site.folder(), "SELECT count(*) FROM escrows WHERE version = 2").await, 1);
        assert_eq!(lab.vault.get_bytes(&lab.object("rlhf/first"), GetOptions::default()).await.unwrap(), "put under the first version");
        hanging.are_gone();

        // In the middle of it the server stops when it is told to, and takes the plugin along.
        let before = hanging.runs().len();
        site.restart_with(with("25"));
        hanging.await_runs(before + 1);
        site.stop();
        hanging.are_gone();
        plugin::install(&bin);
        site.restart_with(with("25"));
        complete(&lab).await;
        site.ledger("acme").await;

        // A person who recovers waits as long as they like: Ctrl-C ends both.
        let catalog = here.join("catalog");
        export(&lab, &catalog).await;
        let hanging = Hanging::install(&bin, plugin::NAME);
        fs::write(&file, format!("{}\n", plugin::identity())).unwrap();
        let (url, _) = blobs_of(&site.folder());
        let mut command = STRONGROOM.command(&here);
        command.args(["recover", "--identity", "escrow.txt", "--catalog", "catalog", "--blobs", &url, "-o", "out"]).env("PATH", &path);
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        let mut recovering = std::os::unix::process::CommandExt::process_group(&mut command, 0).spawn().unwrap();
        hanging.await_runs(1);
        let group = rustix::process::Pid::from_child(&recovering);
        rustix::process::kill_process_group(group, rustix::process::Signal::INT).unwrap();
        assert!(!recovering.wait().unwrap().success());
        let [plugin, beside] = hanging.runs()[0];
        until("the plugin is gone", async || !plugin::lives(plugin)).await;
        // Processes behind a shell's `&` ignore Ctrl-C: that is this plugin's matter.
        rustix::process::kill_process(rustix::process::Pid::from_raw(beside as i32).unwrap(), rustix::process::Signal::KILL).unwrap();
    }
}

/// Makes the head vouch for the rows as they are: whoever can write the export can do that.
fn resign(folder: &Path) {
    use strongroom_core::escrow::{Checksum, ExportHead, HEAD_FILE, OBJECTS_FILE};
    let mut head: ExportHead = strongroom_core::exact::from_slice(&fs::read(folder.join(HEAD_FILE)).unwrap()).unwrap();
    let mut sum = Checksum::default();
    sum.update(&fs::read(folder.join(OBJECTS_FILE)).unwrap());
    (head.objects, head.digest) = (sum.objects, sum.digest());
    fs::write(folder.join(HEAD_FILE), strongroom_core::exact::to_vec(&head).unwrap()).unwrap();
}

on_s3! {
    (flavor = "multi_thread", worker_threads = 2)
    everything_is_recovered_without_server_and_database,
}

on_each_engine! {
    (flavor = "multi_thread", worker_threads = 2)
    everything_is_recovered_without_server_and_database,
}
