//! What the README shows works as it is shown: its sessions are run line by line, in the order of the page.

use strongroom_tests::sample;
use strongroom_tests::shell::{Shell, sessions};

use crate::STRONGROOM;

#[test]
fn its_sessions_work_as_written() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md")).unwrap();
    let sessions = sessions(&page);
    assert!(!sessions.is_empty(), "the README shows the command at work");
    let mut shell = Shell::new(STRONGROOM);
    shell.write("gsm8k.jsonl", sample::lines(50).concat());
    shell.write("prompts.jsonl", sample::lines(5).concat());
    for shown in sessions.iter().flatten() {
        let ran = shell.run(shown.line).ok();
        if !shown.output.is_empty() {
            assert_eq!(ran.text(), shown.output.join("\n").trim_end(), "{}", shown.line);
        }
    }
}
