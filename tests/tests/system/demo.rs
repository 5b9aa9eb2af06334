//! The demo, told to a program: each line stands for itself, and the story comes true.

use strongroom_tests::sample;
use strongroom_tests::shell::Shell;

use crate::STRONGROOM;

#[test]
fn it_is_told_in_json_lines() {
    let mut shell = Shell::new(STRONGROOM);
    shell.write("items.jsonl", sample::lines(50).concat());
    let told = shell.run("strongroom demo --data items.jsonl --output json").ok();
    let lines: Vec<serde_json::Value> = told.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let steps: Vec<u64> = lines.iter().map(|line| line["step"].as_u64().unwrap()).collect();
    assert!(steps.is_sorted(), "{steps:?}");
    let titles = lines.iter().filter(|line| line["title"].is_string());
    let numbers: Vec<u64> = titles.map(|line| line["step"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=*steps.last().unwrap()).collect::<Vec<_>>(), "each step has its title, once");
    for line in &lines {
        let kinds = ["title", "fact", "entry", "note"].iter().filter(|kind| line[**kind].is_string());
        assert_eq!((kinds.count(), line.as_object().unwrap().len()), (1, 2), "{line}");
    }
    let says = |kind: &str, words: &str| {
        lines.iter().filter_map(|line| line[kind].as_str()).any(|text| text.contains(words) && !text.contains('\n'))
    };
    // The answer at its end is about what the thief read, to the byte: the demo itself counts that beside the vault.
    let facts: Vec<&str> = lines.iter().filter_map(|line| line["fact"].as_str()).collect();
    let loot =
        facts.iter().find_map(|fact| fact.strip_prefix("somebody has the worker's key file, and reads ")).unwrap();
    let (had, again) = loot.strip_suffix(" with what it read again)").unwrap().split_once(" (").unwrap();
    let exposed = facts.iter().find_map(|fact| fact.strip_prefix("exposed")).unwrap();
    assert!(
        exposed.trim_start().starts_with(&format!("{had} ({again} with what was read again), from ")),
        "{exposed} {loot}"
    );
    let refused = facts.iter().find_map(|fact| fact.strip_prefix("beyond the budget it is refused: ")).unwrap();
    let attempts = refused.strip_suffix(", QUOTA_EXCEEDED").unwrap();
    let not = facts.iter().find_map(|fact| fact.strip_prefix("not exposed")).unwrap();
    assert!(not.ends_with(&format!("; {attempts} beyond them got nothing")), "{not}");
    assert!(facts.iter().any(|fact| fact.starts_with("INCIDENT in_")), "{}", told.text());
    assert!(says("fact", "OUT_OF_SCOPE") && says("fact", "VENDOR_SUSPENDED"), "{}", told.text());
    assert!(says("entry", "vendor.suspended") && says("note", "All of this took"), "{}", told.text());
}
