//! What a replay remembers of a call takes little: a verifier of a busy ledger remembers a million of them.

#![allow(clippy::print_stdout, reason = "a measurement is printed")]

use std::process::Command;

use strongroom_core::grant::{Action, Holder, Limits};
use strongroom_core::ledger::replay::Replay;

use crate::story::Story;

/// Says that this process is the one that is measured.
const MARK: &str = "STRONGROOM_TEST_REPLAY_MEMORY";
const NAME: &str = "memory::a_call_that_is_remembered_takes_a_few_hundred_bytes";
/// Calls after which it is looked at: tables grow once between.
const FROM: usize = 6000;
const TO: usize = 12_000;
/// Bytes of a call that read one object, under a grant.
const MOST: f64 = 450.0;

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "the kernel is asked as Linux has it")]
fn a_call_that_is_remembered_takes_a_few_hundred_bytes() {
    if std::env::var_os(MARK).is_none() {
        // A process of its own: other tests take memory, too.
        let mut again = Command::new(std::env::current_exe().unwrap());
        let ran = again.args(["--exact", NAME, "--nocapture"]).env(MARK, "").output().unwrap();
        let said = String::from_utf8_lossy(&ran.stdout).into_owned();
        assert!(ran.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&ran.stderr));
        return;
    }
    let mut story = Story::new();
    let scope: (&[Action], &str, &str) = (&[Action::Read], "rlhf", "math/");
    let terms = story.ledger.terms(Holder::Vendor(story.vendor), &[scope], Limits::default());
    let grant = story.ledger.grant(terms);
    for _ in 0..TO {
        let mut ask = story.ledger.ask_get(&story.worker, Some(grant), &["math/small"]);
        story.ledger.release(&mut ask, vec![story.small.whole(0)]);
    }
    let bytes = story.ledger.bytes();
    let (first, rest) = bytes.split_at(bytes.len() - (TO - FROM));
    let mut replay = Replay::new(story.ledger.origin.clone());
    let mut feed = |entries: &[(Vec<u8>, Vec<u8>)]| {
        for (public, private) in entries {
            replay.feed(public, Some(private)).unwrap_or_else(|finding| panic!("{finding}"));
        }
        resident()
    };
    let before = feed(first);
    let each = (feed(rest) - before) / rest.len() as f64;
    println!("{each:.0} bytes a call");
    assert!((100.0..MOST).contains(&each), "{each:.0} bytes a call");
    // What was read is there as long as it is measured.
    drop((story, bytes));
}

/// The bytes of this process that are in memory.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    1024.0 * line.trim().trim_end_matches(" kB").parse::<f64>().unwrap()
}
