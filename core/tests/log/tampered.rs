//! Every kind of edit to a log's files is noticed, and the file or the entry named.

use strongroom_core::ed25519::SigningKey;
use strongroom_core::ledger::checkpoint::{Checkpoint, VerifierKey};
use strongroom_core::ledger::outline::{BundleFiles, Outline};
use strongroom_core::ledger::tile::{Kind, Tile};
use strongroom_core::ledger::verify::{CHECKPOINT, Expected, LOG_KEYS, LogFinding, check_log};

use crate::sample::{Files, origin, verifier};

const SIZE: u64 = 600;

fn found(files: &Files, expected: &Expected) -> Option<String> {
    let checked = check_log(&mut files.clone(), expected, |_, _| (), |_, _, _| Ok(()));
    checked.err().map(|finding: LogFinding<_>| finding.to_string())
}

fn plain(files: &Files) -> Option<String> {
    let said = found(files, &Expected::default());
    // Bundle by bundle, in any order, the same is noticed.
    let by_bundles = outlined(files);
    assert_eq!(by_bundles.is_some(), said.is_some(), "{by_bundles:?} {said:?}");
    said
}

/// What is wrong with a log whose bundles are checked each by itself, from the right.
fn outlined(files: &Files) -> Option<String> {
    let mut files = files.clone();
    let outline = match Outline::read(&mut files) {
        Ok(outline) => outline,
        Err(finding) => return Some(finding.to_string()),
    };
    let mut bundles: Vec<Tile> = outline.bundles().collect();
    bundles.reverse();
    bundles.into_iter().find_map(|entries| {
        let file = |tile: Tile| &files.0[&tile.to_string()][..];
        let (private, hashes) = (entries.beside(Kind::Private), entries.beside(Kind::Hashes(0)));
        let bundle = BundleFiles { entries: file(entries), private: file(private), hashes: file(hashes) };
        outline.bundle::<()>(entries, bundle).err().map(|finding| format!("{finding:?}"))
    })
}

#[test]
fn a_log_that_nobody_changed_holds() {
    let files = Files::of_size(SIZE);
    assert_eq!(plain(&files), None);
    assert_eq!(found(&files, &Expected { key: Some(verifier()), ..Expected::default() }), None);
    for size in [0, 1, 255, 256, 257, SIZE] {
        let note = Files::of_size(size).0[CHECKPOINT].clone();
        assert_eq!(found(&files, &Expected { since: Some(note), ..Expected::default() }), None, "{size}");
    }
}

#[test]
fn a_flipped_bit_in_any_file_is_noticed() {
    let files = Files::of_size(SIZE);
    let is_named = |name: &str, said: &str| {
        let tile = name.parse::<Tile>();
        said.contains(name) || tile.is_ok() && said.contains("entries")
    };
    for (name, bytes) in files.0.iter().filter(|(name, _)| !name.starts_with("private/")) {
        for at in [0, 1, bytes.len() / 2, bytes.len() - 2] {
            let mut changed = files.clone();
            changed.0.get_mut(name).unwrap()[at] ^= 0x04;
            let said = plain(&changed).unwrap_or_else(|| panic!("{name}, byte {at}: nobody noticed"));
            assert!(is_named(name, &said), "{name}: {said}");
        }
    }
}

#[test]
fn a_file_that_is_cut_longer_or_missing_is_named() {
    let files = Files::of_size(SIZE);
    for name in files.0.keys() {
        let mut changed = files.clone();
        changed.0.get_mut(name).unwrap().pop();
        let said = plain(&changed);
        // A last line without its end is still a line of keys.
        assert!(name == LOG_KEYS || said.as_ref().is_some_and(|said| said.contains(&**name)), "{name}: {said:?}");
        let mut changed = files.clone();
        changed.0.get_mut(name).unwrap().push(0);
        assert!(plain(&changed).unwrap().contains(&**name), "{name}");
        let mut changed = files.clone();
        changed.0.remove(name);
        assert_eq!(plain(&changed), Some(format!("{name} is missing")));
    }
}

#[test]
fn a_file_that_nothing_accounts_for_is_named() {
    let files = Files::of_size(SIZE);
    for name in
        ["readme", "tile/0/003", "tile/0/002.p/1", "tile/entries/002", "private/003", "tile/2/000.p/1", "tile/7/000"]
    {
        let mut changed = files.clone();
        changed.0.insert(name.into(), b"x".to_vec());
        assert_eq!(plain(&changed), Some(format!("{name} is not part of the log that the checkpoint is of")));
    }
}

#[test]
fn files_that_change_places_are_noticed() {
    let files = Files::of_size(SIZE);
    for (one, other) in
        [("tile/0/000", "tile/0/001"), ("tile/entries/000", "tile/entries/001"), ("tile/0/000", "tile/1/000.p/2")]
    {
        let mut changed = files.clone();
        let (a, b) = (files.0[one].clone(), files.0[other].clone());
        changed.0.insert(one.into(), b);
        changed.0.insert(other.into(), a);
        assert!(plain(&changed).unwrap().contains("tile/"), "{one}, {other}");
    }
}

#[test]
fn an_entry_that_was_dropped_or_put_in_is_noticed() {
    // Bundles, tiles and checkpoint all fit each other, but for the signature.
    let shorter = Files::of_size(SIZE - 1);
    let mut forged = shorter.clone();
    forged.0.insert(CHECKPOINT.into(), Files::of_size(SIZE).0[CHECKPOINT].clone());
    assert_eq!(plain(&forged), Some(format!("tile/entries/002.p/{} is missing", SIZE % 256)));
    // A log signed by another key than the one that is pinned.
    let text = String::from_utf8(shorter.0[CHECKPOINT].clone()).unwrap().replace("vault.test", "fault.test");
    forged.0.insert(CHECKPOINT.into(), text.into_bytes());
    assert!(plain(&forged).unwrap().starts_with("checkpoint: it is not signed by"));
}

#[test]
fn a_root_of_another_log_is_noticed() {
    let mut files = Files::of_size(SIZE);
    let other = Files::of(&origin(), (0..SIZE).map(|index| (vec![index as u8], Vec::new())));
    let root = Checkpoint::peek(&other.0[CHECKPOINT]).unwrap().root;
    files.sign(&origin(), SIZE, root);
    assert!(plain(&files).unwrap().contains("another root"));
}

#[test]
fn what_was_seen_before_must_still_be_there() {
    let files = Files::of_size(SIZE);
    let since = |note: Vec<u8>| found(&files, &Expected { since: Some(note), ..Expected::default() });
    let longer = Files::of_size(SIZE + 1).0[CHECKPOINT].clone();
    assert_eq!(
        since(longer),
        Some(format!("the log was seen with {} entries, and has {SIZE}: it was put back", SIZE + 1))
    );
    for size in [1, 256, 300, SIZE] {
        let other = Files::of(&origin(), (0..size).map(|index| (vec![index as u8], Vec::new())));
        let said = since(other.0[CHECKPOINT].clone());
        assert_eq!(said, Some(format!("the log was seen with other entries before entry {size}: it was rewritten")));
    }
    let note = Checkpoint::peek(&files.0[CHECKPOINT]).unwrap();
    let stranger = SigningKey::generate().unwrap();
    assert!(since(note.sign(&stranger).into_bytes()).unwrap().contains("remembered checkpoint"));
}

#[test]
fn a_key_that_was_exchanged_is_noticed_by_who_pins_it() {
    let mut files = Files::of_size(SIZE);
    let stranger = SigningKey::generate().unwrap();
    let note = Checkpoint::peek(&files.0[CHECKPOINT]).unwrap();
    let theirs = VerifierKey::new(&origin().to_string(), stranger.public_key());
    files.0.insert(CHECKPOINT.into(), note.sign(&stranger).into_bytes());
    // The key beside it is still the right one.
    assert!(plain(&files).unwrap().starts_with("checkpoint: it is not signed by"));
    files.0.insert(LOG_KEYS.into(), format!("{theirs}\n").into_bytes());
    assert_eq!(plain(&files), None, "whoever has only the folder cannot know");
    assert!(
        found(&files, &Expected { key: Some(verifier()), ..Expected::default() }).unwrap().contains("not signed by")
    );
    // Both keys beside it: nothing says how one came after the other.
    files.0.insert(LOG_KEYS.into(), format!("{theirs}\n{}\n", verifier()).into_bytes());
    assert!(plain(&files).unwrap().contains("line 2"));
}
