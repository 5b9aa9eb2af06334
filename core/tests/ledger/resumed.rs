//! A replay that was kept and gone on from is the replay in one go: at every cut, to the last byte, and in what it refuses.

use std::collections::BTreeMap;
use std::convert::Infallible;

use proptest::prelude::*;
use strongroom_core::ed25519::SigningKey;
use strongroom_core::identity::sha256;
use strongroom_core::ids::{Digest, Index, TenantId, VaultId};
use strongroom_core::keys::secret::Key;
use strongroom_core::ledger::batch;
use strongroom_core::ledger::checkpoint::{Checkpoint, VerifierKey};
use strongroom_core::ledger::log_keys::{LogKeyChange, LogKeys};
use strongroom_core::ledger::replay::{Finding, Replay, Rule, Snapshot, SnapshotError};
use strongroom_core::ledger::tile::{Growing, Kind, Tile, WIDTH};
use strongroom_core::ledger::verify::{CHECKPOINT, Expected, LOG_KEYS, LogFiles, LogFinding, Verified, verify_on};
use strongroom_core::order::Instruction;
use strongroom_core::origin::Origin;

use crate::builder::{Ledger, replay, sealed};
use crate::model::{Model, ops};
use crate::rules::{released, rotated_log};
use crate::story::Story;

type Bytes = Vec<(Vec<u8>, Vec<u8>)>;

fn log_key() -> SigningKey {
    SigningKey::from_seed(Key::from_bytes([0x55; 32])).unwrap()
}

fn verifier(origin: &Origin) -> VerifierKey {
    VerifierKey::new(&origin.to_string(), log_key().public_key())
}

fn kept(replay: Replay, origin: &Origin) -> Vec<u8> {
    Snapshot { key: verifier(origin), replay }.to_bytes().unwrap()
}

fn resumed(snapshot: &[u8]) -> Replay {
    Snapshot::from_bytes(snapshot).unwrap().replay
}

/// The snapshot before each entry, and after the last.
fn cuts(origin: &Origin, bytes: &Bytes) -> Vec<Vec<u8>> {
    let mut cuts = vec![kept(Replay::new(origin.clone()), origin)];
    for (public, private) in bytes {
        let mut replay = resumed(&cuts[cuts.len() - 1]);
        replay.feed(public, Some(private)).unwrap_or_else(|finding| panic!("{finding}"));
        cuts.push(kept(replay, origin));
    }
    cuts
}

/// Feeds the rest to a replay that goes on.
fn go_on(snapshot: &[u8], rest: &[(Vec<u8>, Vec<u8>)]) -> Result<Replay, Finding> {
    let mut replay = resumed(snapshot);
    rest.iter().try_for_each(|(public, private)| replay.feed(public, Some(private)).map(drop))?;
    Ok(replay)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 100, ..ProptestConfig::default() })]

    #[test]
    fn a_replay_in_one_go_is_one_that_went_on_at_every_cut(ops in ops()) {
        let mut model = Model::new();
        ops.iter().for_each(|op| model.apply(op));
        let (origin, bytes) = (&model.ledger.origin, model.ledger.bytes());
        let whole = kept(model.ledger.accepted(), origin);
        let cuts = cuts(origin, &bytes);
        prop_assert!(cuts[bytes.len()] == whole, "went on after each entry");
        for (cut, snapshot) in cuts.iter().enumerate() {
            prop_assert_eq!(&kept(resumed(snapshot), origin), snapshot, "one spelling, at {}", cut);
            let replay = go_on(snapshot, &bytes[cut..]);
            prop_assert!(kept(replay.unwrap(), origin) == whole, "went on at {cut}");
        }
        // What is refused in one go is refused by whoever goes on, and for the same reason.
        for records in model.forbidden.iter().take(10) {
            let forbidden = sealed(records);
            let finding = replay(origin, &forbidden).unwrap_err();
            // Its entries before the last are those of the model, at that time.
            for cut in [0, forbidden.len() / 2, forbidden.len() - 1] {
                let found = go_on(&cuts[cut], &forbidden[cut..]).map(drop);
                prop_assert_eq!(found.unwrap_err(), finding.clone(), "at {}", cut);
            }
        }
    }
}

#[test]
fn what_was_erased_is_remembered() {
    let mut story = Story::new();
    let mut ask = story.ledger.ask_get(&story.worker, Some(story.read), &["math/small"]);
    story.ledger.release(&mut ask, vec![story.small.whole(0)]);
    let (origin, bytes) = (&story.ledger.origin, story.ledger.bytes());
    let feed = |replay: &mut Replay, erased: usize, from: usize, to: usize| {
        for (at, (public, private)) in bytes.iter().enumerate().take(to).skip(from) {
            replay.feed(public, (at != erased).then_some(&private[..])).unwrap_or_else(|finding| panic!("{finding}"));
        }
    };
    for erased in 0..bytes.len() {
        let mut whole = Replay::new(origin.clone());
        feed(&mut whole, erased, 0, bytes.len());
        let whole = kept(whole, origin);
        for cut in 0..bytes.len() {
            let mut first = Replay::new(origin.clone());
            feed(&mut first, erased, 0, cut);
            let mut second = resumed(&kept(first, origin));
            feed(&mut second, erased, cut, bytes.len());
            assert!(kept(second, origin) == whole, "erased {erased}, cut at {cut}");
        }
    }
}

/// What a breached server could sign into the log is named by its entry and rule: in one go, and by whoever goes on, as a monitor does.
#[test]
fn an_entry_that_was_never_allowed_is_named_though_it_is_signed() {
    let mut story = Story::new();
    let before = story.ledger.records.len();
    released(&mut story);
    let after = Instruction::SuspendVendor { vendor: story.vendor, note: None };
    story.ledger.order(after);
    let mut ask = story.ledger.ask_get(&story.worker, Some(story.read), &["math/small"]);
    story.ledger.release(&mut ask, vec![story.small.whole(0)]);
    let (origin, bytes) = (&story.ledger.origin, story.ledger.bytes());
    let (_, snapshot) = verify(&mut Files::of(origin, &bytes[..before]), None, None).unwrap();
    for snapshot in [None, Some(&snapshot[..])] {
        let found = verify(&mut Files::of(origin, &bytes), snapshot, None).map(drop).unwrap_err();
        let LogFinding::Replay(finding) = found else { panic!("{found}") };
        assert_eq!((finding.index, finding.rule), (Index(bytes.len() as u64 - 1), Rule::Allowed));
    }
}

/// The keys that the entries name are those beside the log, and each signs the checkpoints of its sizes.
#[test]
fn the_keys_of_a_log_are_those_that_its_entries_name() {
    let mut story = Story::new();
    let first = story.ledger.records.len();
    rotated_log(&mut story, 2, 0x55, 0x66, |_| ());
    released(&mut story);
    let origin = story.ledger.origin.clone();
    let bytes = story.ledger.bytes();
    let change = story.ledger.records[first].entry.log_key.unwrap();
    let mut keys = LogKeys::new(origin.clone(), log_key().public_key());
    keys.push(Index(first as u64), change).unwrap();
    let second = SigningKey::from_seed(Key::from_bytes([0x66; 32])).unwrap();
    let signed_by = |files: &mut Files, key: &SigningKey, keys: &LogKeys| {
        let note = Checkpoint::peek(&files.files[CHECKPOINT]).unwrap().sign(key);
        files.files.insert(CHECKPOINT.into(), note.into_bytes());
        files.files.insert(LOG_KEYS.into(), keys.to_string().into_bytes());
    };
    let mut files = Files::of(&origin, &bytes);
    signed_by(&mut files, &second, &keys);
    let (verified, _) = verify(&mut files, None, None).unwrap();
    assert_eq!(verified.key, keys.newest());
    // A snapshot and a checkpoint of before go on, and either key may be the one that is known.
    let before = Files::of(&origin, &bytes[..first]);
    let (_, snapshot) = verify(&mut before.clone(), None, None).unwrap();
    verify(&mut files, Some(&snapshot), Some(&before)).unwrap();
    for key in [verifier(&origin), keys.newest()] {
        let expected = Expected { key: Some(key), ..Expected::default() };
        verify_on(&mut files, &expected, None, |_, _| ()).unwrap();
    }
    // Signed by the key that was replaced; with a key that no entry names; without the one that an entry names.
    signed_by(&mut files, &log_key(), &keys);
    assert!(matches!(verify(&mut files, None, None), Err(LogFinding::Checkpoint { .. })));
    let mut forged = LogKeys::new(origin.clone(), log_key().public_key());
    let third = SigningKey::from_seed(Key::from_bytes([0x77; 32])).unwrap();
    forged.push(Index(first as u64), LogKeyChange::sign(&origin, &log_key(), third.public_key())).unwrap();
    signed_by(&mut files, &third, &forged);
    assert!(matches!(verify(&mut files, None, None), Err(LogFinding::OtherKeys)));
    let alone = LogKeys::new(origin.clone(), log_key().public_key());
    signed_by(&mut files, &log_key(), &alone);
    assert!(matches!(verify(&mut files, None, None), Err(LogFinding::OtherKeys)));
    let mut early = Files::of(&origin, &bytes[..first]);
    signed_by(&mut early, &log_key(), &keys);
    assert!(matches!(verify(&mut early, None, None), Err(LogFinding::LaterKey(_))));
}

#[test]
fn a_snapshot_that_was_cut_or_changed_is_refused() {
    let story = Story::new();
    let snapshot = kept(story.ledger.accepted(), &story.ledger.origin);
    for at in 0..snapshot.len() {
        assert!(Snapshot::from_bytes(&snapshot[..at]).is_err(), "cut at {at}");
        let mut changed = snapshot.clone();
        changed[at] ^= 0x01;
        assert!(Snapshot::from_bytes(&changed).is_err(), "byte {at}");
    }
    let mut longer = snapshot.clone();
    longer.push(b'\n');
    assert!(Snapshot::from_bytes(&longer).is_err());
    // With a sum that fits, other words are still what another version would write, or do not fit together.
    let change = |from: &str, to: &str| {
        let text = String::from_utf8(snapshot[..snapshot.len() - 65].to_vec()).unwrap();
        assert!(text.contains(from), "{from}");
        let text = text.replacen(from, to, 1);
        let sum = Digest::from_bytes(sha256(text.as_bytes()));
        Snapshot::from_bytes(format!("{text}{sum}\n").as_bytes()).map(drop)
    };
    assert!(change("", "").is_ok());
    assert!(matches!(change("{\"rules\":\"", "{\"rules\":\"00"), Err(SnapshotError::Version)));
    assert!(matches!(change(",\"origin\"", ",\"more\":1,\"origin\""), Err(SnapshotError::Version)));
    assert!(matches!(change("\"size\":", "\"size\":1"), Err(SnapshotError::State(_))));
    assert!(matches!(change("\"blind\":false", "\"blind\":false,\"more\":1"), Err(SnapshotError::State(_))));
    assert!(matches!(change("strongroom/v1/", "strongroom/v2/"), Err(SnapshotError::Form)));
    assert!(matches!(change("\"session\":\"", "\"session\":\"0"), Err(SnapshotError::State(_))));
}

#[test]
fn a_ledger_with_a_finding_has_no_snapshot() {
    let mut replay = Story::new().ledger.accepted();
    let finding = replay.feed(b"{}", None).unwrap_err();
    let snapshot = Snapshot { key: verifier(&Story::new().ledger.origin), replay };
    assert!(matches!(snapshot.to_bytes(), Err(SnapshotError::Found(found)) if found == finding));
}

/// The files of a log, and which of them were read.
#[derive(Clone, Default)]
struct Files {
    files: BTreeMap<String, Vec<u8>>,
    read: Vec<String>,
}

impl Files {
    fn of(origin: &Origin, entries: &[(Vec<u8>, Vec<u8>)]) -> Self {
        let (mut growing, mut tiles) = (Growing::default(), Vec::new());
        entries.iter().for_each(|(public, _)| growing.push(public, &mut tiles).unwrap());
        tiles.extend(growing.partials());
        for (number, entries) in (0..).zip(entries.chunks(WIDTH as usize)) {
            let mut privates = Vec::new();
            entries.iter().for_each(|(_, private)| batch::push(&mut privates, private));
            tiles.push((Tile::of(Kind::Private, number, growing.size()).unwrap(), privates));
        }
        let mut files: BTreeMap<_, _> = tiles.into_iter().map(|(tile, bytes)| (tile.to_string(), bytes)).collect();
        let checkpoint = Checkpoint { origin: origin.clone(), size: Index(growing.size()), root: growing.root() };
        files.insert(CHECKPOINT.into(), checkpoint.sign(&log_key()).into_bytes());
        files.insert(LOG_KEYS.into(), format!("{}\n", verifier(origin)).into_bytes());
        Self { files, read: Vec::new() }
    }
}

impl LogFiles for Files {
    type Error = Infallible;

    fn read(&mut self, path: &str, _: u64) -> Result<Option<Vec<u8>>, Infallible> {
        self.read.push(path.to_owned());
        Ok(self.files.get(path).cloned())
    }

    fn list(&mut self) -> Result<Vec<String>, Infallible> {
        Ok(self.files.keys().cloned().collect())
    }
}

fn verify(
    files: &mut Files,
    snapshot: Option<&[u8]>,
    since: Option<&Files>,
) -> Result<(Verified, Vec<u8>), LogFinding<Infallible>> {
    let snapshot = snapshot.map(|bytes| Snapshot::from_bytes(bytes).unwrap());
    let expected = Expected { since: since.map(|since| since.files[CHECKPOINT].clone()), ..Expected::default() };
    let (verified, next) = verify_on(files, &expected, snapshot, |_, _| ())?;
    Ok((verified, next.to_bytes().unwrap()))
}

/// A ledger of so many entries: somebody puts small objects, one a call.
fn long(size: usize) -> Ledger {
    let mut ledger = Ledger::new();
    ledger.dataset("rlhf");
    let admin = ledger.open_admin();
    while ledger.records.len() < size {
        let path = format!("math/{}", ledger.records.len());
        ledger.put(&admin, None, &path, 1, 5);
    }
    ledger
}

#[test]
fn a_log_is_verified_from_where_its_snapshot_was_made() {
    let (ledger, other) = (long(520), long(520).bytes());
    let (origin, bytes) = (&ledger.origin, ledger.bytes());
    let (whole, last) = verify(&mut Files::of(origin, &bytes), None, None).unwrap();
    for size in [0, 1, 255, 256, 257, 511, 520] {
        let (_, snapshot) = verify(&mut Files::of(origin, &bytes[..size]), None, None).unwrap();
        let mut files = Files::of(origin, &bytes);
        let (verified, next) = verify(&mut files, Some(&snapshot), None).unwrap();
        assert_eq!(verified, Verified { from: Index(size as u64), ..whole.clone() });
        assert!(next == last, "{size}");
        // Bundles before it stay unread.
        let is_read = files.read.iter().any(|name| name == "tile/entries/000");
        assert_eq!(is_read, size < 256, "{size}");
    }
    // What was seen before or after it is held against the log, too.
    for (size, seen) in [(0, 0), (0, 1), (0, 300), (300, 1), (300, 256), (300, 300), (300, 400), (520, 520)] {
        let (_, snapshot) = verify(&mut Files::of(origin, &bytes[..size]), None, None).unwrap();
        let verify = |since: &Files| verify(&mut Files::of(origin, &bytes), Some(&snapshot), Some(since));
        assert_eq!(verify(&Files::of(origin, &bytes[..seen])).unwrap().0.since, Some(Index(seen as u64)));
        let rewritten = verify(&Files::of(origin, &other[..seen.max(1)]));
        assert!(matches!(rewritten, Err(LogFinding::Rewritten(at)) if at.0 == seen.max(1) as u64), "{size}, {seen}");
    }
}

#[test]
fn a_snapshot_of_another_log_or_of_a_fork_is_refused() {
    let ledger = long(300);
    let (origin, bytes) = (&ledger.origin, ledger.bytes());
    let (_, snapshot) = verify(&mut Files::of(origin, &bytes[..280]), None, None).unwrap();
    let found = |files: &mut Files| verify(files, Some(&snapshot), None).map(drop).unwrap_err();
    // Put back.
    let rolled_back = found(&mut Files::of(origin, &bytes[..270]));
    assert!(matches!(rolled_back, LogFinding::RolledBack { seen: Index(280), has: Index(270) }), "{rolled_back}");
    // The same log with another past: of another tenant's making, and equal but for one entry.
    assert!(matches!(found(&mut Files::of(origin, &long(300).bytes())), LogFinding::Rewritten(Index(280))));
    for at in [0, 255, 256, 279] {
        let mut forked = bytes.clone();
        let text = String::from_utf8(forked[at].0.clone()).unwrap();
        assert!(text.contains("\"node\":\"09"), "{text}");
        forked[at].0 = text.replace("\"node\":\"09", "\"node\":\"0a").into_bytes();
        assert!(matches!(found(&mut Files::of(origin, &forked)), LogFinding::Rewritten(Index(280))), "{at}");
    }
    // A fork behind it is none.
    assert!(verify(&mut Files::of(origin, &bytes[..290]), Some(&snapshot), None).is_ok());
    // Another ledger, and another signer.
    let other = Origin::new("test.vault", VaultId::from_bytes([1; 16]), TenantId::from_bytes([3; 16])).unwrap();
    assert!(matches!(found(&mut Files::of(&other, &bytes)), LogFinding::OtherSnapshot { .. }));
    let stranger = SigningKey::generate().unwrap();
    let mut files = Files::of(origin, &bytes);
    let note = Checkpoint::peek(&files.files[CHECKPOINT]).unwrap().sign(&stranger);
    let theirs = VerifierKey::new(&origin.to_string(), stranger.public_key());
    files.files.insert(CHECKPOINT.into(), note.into_bytes());
    files.files.insert(LOG_KEYS.into(), format!("{theirs}\n").into_bytes());
    assert!(matches!(found(&mut files), LogFinding::OtherSigner(_)));
    // Files of before that are gone are missed, though nobody reads them.
    let mut files = Files::of(origin, &bytes);
    files.files.remove("tile/entries/000");
    assert!(matches!(found(&mut files), LogFinding::Missing(name) if name == "tile/entries/000"));
}
