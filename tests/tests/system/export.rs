//! An exported ledger, and whoever changes it: `audit verify` says what is wrong, and where.

use std::fs;
use std::path::{Path, PathBuf};

use strongroom_core::ledger::batch;
use strongroom_core::ledger::tile::{Kind, Tile, tiles_of};
use strongroom_test_services::on_python;
use strongroom_tests::sample;
use strongroom_tests::shell::Shell;
use strongroom_tests::tamper;

use crate::STRONGROOM;

/// A shell beside a vault with some activity, exported to `acme-ledger`.
pub(crate) fn exported() -> Shell {
    let mut shell = Shell::new(STRONGROOM);
    shell.write("items.jsonl", sample::lines(20).concat());
    shell.run("strongroom init ./vault").ok();
    strongroom_tests::configure(&shell.folder().join("vault"), "");
    shell.run("strongroom serve ./vault --listen 127.0.0.1:7443 &");
    shell.run("strongroom --home lab login 127.0.0.1:7443 --server-key SHA256:…").ok();
    shell.run("strongroom --home ./vault/operator tenant create acme --admin SHA256:…").ok();
    shell.run("strongroom --home lab put --split-lines items.jsonl acme/rlhf/math/ --create").ok();
    shell.run("strongroom --home labelco login 127.0.0.1:7443 --server-key SHA256:…").ok();
    shell.run("strongroom --home lab vendor add acme/labelco --key SHA256:…").ok();
    shell.run("strongroom --home lab grant issue --to acme/labelco --read acme/rlhf/math/ --for 1h").ok();
    for at in 0..4 {
        shell.run(&format!("strongroom --home labelco cat acme/rlhf/math/{at:06}.json")).ok();
    }
    shell.run("strongroom --home labelco cat acme/rlhf/other.json").fails(4, "OUT_OF_SCOPE");
    shell.run("strongroom --home lab audit export acme -o acme-ledger/").ok();
    shell.run("strongroom audit verify acme-ledger/").ok();
    shell
}

/// A vault's database and ledgers as they were at some moment.
pub(crate) struct Past {
    vault: PathBuf,
    catalog: PathBuf,
    logs: PathBuf,
}

impl Past {
    /// Keeps what there is now, while the server stands still.
    pub(crate) async fn keep(shell: &mut Shell) -> Self {
        let (vault, beside) = (shell.folder().join("vault"), shell.folder().join("beside"));
        assert!(shell.server().terminate().success());
        fs::create_dir(&beside).unwrap();
        let (catalog, logs) = (beside.join("old.db"), beside.join("logs"));
        tamper::copy_catalog(&vault, &catalog).await;
        tamper::copy_logs(&vault, &logs);
        serve(shell);
        Self { vault, catalog, logs }
    }

    /// Puts it back whole; the node remembers nothing else.
    pub(crate) async fn put_back(self, shell: &mut Shell) {
        assert!(shell.server().terminate().success());
        tamper::replace_catalog(&self.vault, &self.catalog).await;
        tamper::replace_logs(&self.vault, &self.logs);
        fs::remove_dir_all(self.vault.join("memory")).unwrap();
        serve(shell);
    }
}

/// A copy of the export.
fn copied(shell: &Shell, name: &str) -> PathBuf {
    let (from, to) = (shell.folder().join("acme-ledger"), shell.folder().join(name));
    if to.exists() {
        fs::remove_dir_all(&to).unwrap();
    }
    strongroom_tests::oracle::walk(&from, &mut |file| {
        let to = to.join(file.strip_prefix(&from).unwrap());
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(file, to).unwrap();
    });
    to
}

pub(super) fn size_of(shell: &Shell) -> u64 {
    shell.read("acme-ledger/checkpoint").lines().nth(1).unwrap().parse().unwrap()
}

/// The parts of a bundle, and how they are written again.
fn parts(tile: Tile, bytes: &[u8]) -> Vec<Vec<u8>> {
    tile.parts(bytes).unwrap().into_iter().map(<[u8]>::to_vec).collect()
}

fn written(kind: Kind, parts: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in parts {
        match kind {
            Kind::Private => batch::push(&mut bytes, part),
            _ => {
                bytes.extend_from_slice(&(part.len() as u16).to_be_bytes());
                bytes.extend_from_slice(part);
            }
        }
    }
    bytes
}

#[test]
fn whoever_changes_an_export_is_found_out() {
    let mut shell = exported();
    let size = size_of(&shell);
    let mut says = |what: &str, named: &[&str], change: &dyn Fn(&Path)| {
        let copy = copied(&shell, "changed");
        change(&copy);
        let said = shell.run("strongroom audit verify changed/");
        said.fails(5, "INTEGRITY");
        assert!(named.iter().any(|named| said.stderr.contains(named)), "{what}: {named:?} in {}", said.stderr);
    };
    let files: Vec<String> = tiles_of(size).map(|tile| tile.to_string()).collect();
    let bundle = Tile::of(Kind::Entries, 0, size).unwrap();
    let (entries, hashes) = (bundle.to_string(), bundle.beside(Kind::Hashes(0)).to_string());
    let private = bundle.beside(Kind::Private).to_string();
    for name in files.iter().map(String::as_str).chain(["checkpoint", "log-keys"]) {
        // A hash and its entry do not fit: which of the two is wrong, nobody can tell.
        let named: &[&str] =
            if name == hashes || name == entries { &[&entries, &hashes] } else { &[name, "checkpoint"] };
        says(&format!("a flip in {name}"), named, &|folder| {
            let path = folder.join(name);
            let mut bytes = fs::read(&path).unwrap();
            let at = bytes.len() * 2 / 3;
            bytes[at] ^= 1;
            fs::write(&path, bytes).unwrap();
        });
        says(&format!("{name} dropped"), &[name], &|folder| fs::remove_file(folder.join(name)).unwrap());
        says(&format!("{name} emptied"), &[name, "log-keys"], &|folder| fs::write(folder.join(name), b"").unwrap());
        says(&format!("{name} cut"), &[name], &|folder| {
            let path = folder.join(name);
            let bytes = fs::read(&path).unwrap();
            fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        });
    }
    for stranger in ["tile/0/001", "private/007", "notes.txt", "tile/entries/.swp"] {
        says(stranger, &[stranger], &|folder| {
            let path = folder.join(stranger);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, b"x").unwrap();
        });
    }
    let edit = |name: String, kind: Kind, edit: fn(&mut Vec<Vec<u8>>)| {
        move |folder: &Path| {
            let path = folder.join(&name);
            let mut all = parts(name.parse().unwrap(), &fs::read(&path).unwrap());
            edit(&mut all);
            fs::write(&path, written(kind, &all)).unwrap();
        }
    };
    says(
        "two entries in each other's place",
        &["entry 3"],
        &edit(entries.clone(), Kind::Entries, |all| all.swap(3, 5)),
    );
    says("an entry dropped", &[&entries], &edit(entries.clone(), Kind::Entries, |all| drop(all.remove(4))));
    says("an entry put in", &[&entries], &edit(entries.clone(), Kind::Entries, |all| all.insert(4, all[4].clone())));
    says("two private parts swapped", &["entry 3"], &edit(private.clone(), Kind::Private, |all| all.swap(3, 5)));
    says("a private part dropped", &[&private], &edit(private.clone(), Kind::Private, |all| drop(all.pop())));
    // One that was erased is not a change: it is said.
    let copy = copied(&shell, "erased");
    edit(private, Kind::Private, |all| all.last_mut().unwrap().clear())(&copy);
    let said = shell.run("strongroom audit verify erased/").ok();
    assert!(said.text().contains("uncheckable: erased"), "{}", said.text());
}

#[test]
fn an_export_goes_on_where_it_ended_and_tells_a_rewritten_ledger() {
    let mut shell = exported();
    let before = copied(&shell, "before").join("checkpoint");
    // Broken off: files are missing, an unfinished one is left, the checkpoint is an older one.
    shell.run("strongroom --home labelco cat acme/rlhf/math/000007.json").ok();
    let tile = Tile::of(Kind::Private, 0, size_of(&shell)).unwrap();
    fs::remove_file(shell.folder().join("acme-ledger").join(tile.to_string())).unwrap();
    shell.write("acme-ledger/.export-left", "half");
    shell.run("strongroom audit verify acme-ledger/").fails(5, "INTEGRITY");
    shell.run("strongroom --home lab audit export acme -o acme-ledger/").ok();
    let said = shell.run("strongroom audit verify acme-ledger/ --since before/checkpoint").ok();
    assert!(said.text().contains("continues the"), "{}", said.text());
    shell.run("strongroom audit verify before/ --since acme-ledger/checkpoint").fails(5, "INTEGRITY");
    // Again, with nothing new: nothing is fetched.
    let again = shell.run("strongroom --home lab audit export acme -o acme-ledger/ --output json").ok();
    assert_eq!(serde_json::from_str::<serde_json::Value>(again.text()).unwrap()["fetched"], 0);
    // What is no ledger, and what is no checkpoint, is called so.
    fs::create_dir(shell.folder().join("notes")).unwrap();
    shell.write("notes/thesis.txt", "mine");
    for (line, words) in [
        ("audit verify notes/", "notes/ holds no ledger"),
        ("audit verify acme-ledger/ --since notes/thesis.txt", "give --since the checkpoint of an earlier export"),
    ] {
        let said = shell.run(&format!("strongroom {line}"));
        said.fails(5, "INTEGRITY");
        assert!(said.stderr.contains(words), "{}", said.stderr);
    }
    // A folder that holds something else is left alone.
    shell.write("acme-ledger/thesis.txt", "mine");
    shell.run("strongroom --home lab audit export acme -o acme-ledger/").fails(3, "PRECONDITION_FAILED");
    assert_eq!(shell.read("acme-ledger/thesis.txt"), "mine");
    // A checkpoint that is not of this ledger's key.
    let text = fs::read_to_string(&before).unwrap();
    fs::write(shell.folder().join("before/checkpoint"), text.replacen('\n', "0\n", 1)).unwrap();
    shell.run("strongroom --home lab audit export acme -o before/").fails(5, "INTEGRITY");
    // To admins alone.
    shell.run("strongroom --home labelco audit export acme -o theirs/").fails(4, "OUT_OF_SCOPE");
    let ended = shell.server().terminate();
    assert!(ended.success(), "{}", shell.server().stderr());
}

#[test]
fn a_receipt_is_checked_without_the_vault() {
    let mut shell = exported();
    let key = shell.read("acme-ledger/log-keys").trim_end().to_owned();
    let prove = |shell: &mut Shell, who: &str, index: u64| {
        shell.run(&format!("strongroom --home {who} audit prove acme {index} -o entry.tlog-proof"))
    };
    prove(&mut shell, "lab", 0).ok();
    let verify = format!("strongroom audit verify entry.tlog-proof --key {key}");
    let said = shell.run(&verify).ok();
    assert!(said.text().contains("entry 0, tenant.created by SHA256:"), "{}", said.text());
    shell.run("strongroom audit verify entry.tlog-proof").fails(2, "USAGE");
    let text = shell.read("entry.tlog-proof");
    for (from, to) in [("index 0", "index 1"), ("extra ey", "extra fy"), ("\n\n", "\n\nx")] {
        shell.write("entry.tlog-proof", text.replacen(from, to, 1));
        shell.run(&verify).fails(5, "INTEGRITY");
    }
    // A vendor has its own entries proven, and no others.
    let log = shell.run("strongroom --home lab audit log acme --event release --output json").ok();
    let release: serde_json::Value = serde_json::from_str(log.text().lines().next().unwrap()).unwrap();
    prove(&mut shell, "labelco", release["entry"]["index"].as_u64().unwrap()).ok();
    shell.run(&verify).ok();
    prove(&mut shell, "labelco", 0).fails(4, "OUT_OF_SCOPE");
    prove(&mut shell, "labelco", 1_000_000).fails(4, "OUT_OF_SCOPE");
    prove(&mut shell, "lab", 1_000_000).fails(3, "NOT_FOUND");
}

on_python! {
    /// A program that shares no code with strongroom verifies what a vault exported, and a receipt of it.
    #[test]
    fn another_program_verifies_an_export() {
        let mut shell = exported();
        let last = size_of(&shell) - 1;
        shell.run(&format!("strongroom --home lab audit prove acme {last} -o acme-ledger-receipt")).ok();
        shell.write("acme-ledger-proofs", "");
        let program = concat!(env!("CARGO_MANIFEST_DIR"), "/../core/tests/log/verify_log.py");
        let verify = |shell: &Shell| {
            std::process::Command::new("python3")
                .current_dir(shell.folder())
                .args(["-B", program, "acme-ledger"])
                .output()
                .unwrap()
        };
        let said = verify(&shell);
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        assert!(String::from_utf8(said.stdout).unwrap().starts_with(&format!("{} ", last + 1)));
        shell.write("acme-ledger/tile/0/001", "x");
        assert!(!verify(&shell).status.success());
    }
}

/// A vault that is put back whole, with its object store and its node's memory, and goes on differently: whoever kept an export
/// finds out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ledger_with_two_histories_is_told_by_an_export() {
    let mut shell = exported();
    let past = Past::keep(&mut shell).await;
    shell.run("strongroom --home labelco cat acme/rlhf/math/000010.json").ok();
    shell.run("strongroom --home lab audit export acme -o acme-ledger/").ok();
    past.put_back(&mut shell).await;
    // A home that remembers nothing of the ledger: the export alone does.
    for home in ["lab", "labelco"] {
        fs::remove_file(shell.folder().join(home).join("ledgers.json")).unwrap();
    }
    let export = "strongroom --home lab audit export acme -o acme-ledger/";
    shell.run(export).fails(5, "LEDGER_DIVERGED");
    for at in 0..3 {
        shell.run(&format!("strongroom --home labelco cat acme/rlhf/math/{at:06}.json")).ok();
    }
    shell.run(export).fails(5, "LEDGER_DIVERGED");
    shell.run("strongroom audit verify acme-ledger/").ok();
    // The other history holds in itself, and not against the checkpoint that was kept.
    shell.run("strongroom --home lab audit export acme -o other/").ok();
    shell.run("strongroom audit verify other/").ok();
    let said = shell.run("strongroom audit verify other/ --since acme-ledger/checkpoint");
    said.fails(5, "INTEGRITY");
    assert!(said.stderr.contains("rewritten"), "{}", said.stderr);
}

/// Starts the server of a shell again, and tells its homes where.
pub(crate) fn serve(shell: &mut Shell) {
    shell.run("strongroom serve ./vault --listen 127.0.0.1:7443 &");
    for home in ["lab", "labelco"] {
        shell.run(&format!("strongroom --home {home} login 127.0.0.1:7443 --server-key SHA256:…")).ok();
    }
}

/// Whoever follows a ledger sees an entry come, and is told when the ledger is another one.
#[test]
fn a_ledger_is_followed() {
    use std::io::{BufRead, BufReader};
    let mut shell = exported();
    let mut child = std::process::Command::new(STRONGROOM.0)
        .current_dir(shell.folder())
        .args(["--home", "lab", "audit", "tail", "acme", "--lines", "3", "--output", "json"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut indices = lines.map(|line| {
        serde_json::from_str::<serde_json::Value>(&line.unwrap()).unwrap()["entry"]["index"].as_u64().unwrap()
    });
    let size = size_of(&shell);
    assert_eq!(indices.by_ref().take(3).collect::<Vec<_>>(), [size - 3, size - 2, size - 1]);
    shell.run("strongroom --home labelco cat acme/rlhf/math/000011.json").ok();
    // The session, and the release.
    assert_eq!(indices.by_ref().take(2).collect::<Vec<_>>(), [size, size + 1]);
    child.kill().unwrap();
    child.wait().unwrap();
    // From some time on, and only what is about one object.
    let mut child = std::process::Command::new(STRONGROOM.0)
        .current_dir(shell.folder())
        .args(["--home", "lab", "audit", "tail", "acme", "--since", "1h", "--object", "rlhf/math/000011.json"])
        .args(["--outcome", "done"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    for event in ["object.put", "release"] {
        let line = lines.next().unwrap();
        assert!(line.contains(&format!(" {event} ")), "{event}: {line}");
    }
    child.kill().unwrap();
    child.wait().unwrap();
    shell.run("strongroom --home lab audit tail acme --since 1h --lines 3").fails(2, "USAGE");
}
