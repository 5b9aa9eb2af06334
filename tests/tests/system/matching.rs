//! `audit match`: a leaked sample is found in any spelling, and those who had it are named, to the segment.

use serde_json::{Value, json};
use strongroom_tests::shell::Shell;

use crate::STRONGROOM;

/// Lines of 4 KiB, so that each segment of an object of them holds sixteen.
fn lines() -> Vec<String> {
    (0..64)
        .map(|at| format!("{}\n", json!({ "number": at, "text": format!("caf\u{e9} {}", "x".repeat(4000)) })))
        .collect()
}

/// A lab with the lines as one object and as an object each, and two vendors that may read them.
fn lab() -> Shell {
    let mut shell = Shell::new(STRONGROOM);
    let lines = lines();
    shell.write("all.jsonl", lines.concat());
    shell.write("some.jsonl", lines[..8].concat());
    shell.run("strongroom init ./vault").ok();
    strongroom_tests::configure(&shell.folder().join("vault"), "");
    shell.run("strongroom serve ./vault --listen 127.0.0.1:7443 &");
    shell.run("strongroom --home lab login 127.0.0.1:7443 --server-key SHA256:…").ok();
    shell.run("strongroom --home ./vault/operator tenant create acme --admin SHA256:…").ok();
    shell.run("strongroom --home lab put all.jsonl acme/rlhf/all.jsonl --create").ok();
    shell.run("strongroom --home lab put --split-lines some.jsonl acme/rlhf/items/").ok();
    for vendor in ["labelco", "rival"] {
        shell.run(&format!("strongroom --home {vendor} login 127.0.0.1:7443 --server-key SHA256:…")).ok();
        shell.run(&format!("strongroom --home lab vendor add acme/{vendor} --key SHA256:…")).ok();
        shell.run(&format!("strongroom --home lab grant issue --to acme/{vendor} --read acme/rlhf/ --for 1h")).ok();
    }
    shell
}

fn asked(shell: &mut Shell, line: &str) -> Value {
    serde_json::from_str(shell.run(line).ok().text()).unwrap()
}

/// Vendor and items of the candidates that are vendors.
fn vendors(answer: &Value) -> Vec<(String, u64)> {
    let all = answer["candidates"].as_array().unwrap().iter().filter(|one| one["kind"] == "vendor");
    let mut all: Vec<_> =
        all.map(|one| (one["vendor"].as_str().unwrap().to_owned(), one["items"].as_u64().unwrap())).collect();
    all.sort();
    all
}

#[test]
fn a_leaked_sample_is_found_and_those_who_had_it_are_named() {
    let mut shell = lab();
    for at in 0..4 {
        shell.run(&format!("strongroom --home labelco cat acme/rlhf/items/{at:06}.json")).ok();
    }
    // The rival has the first segment of the one large object, and one byte of the third.
    shell.run("strongroom --home rival cat acme/rlhf/all.jsonl --range 0-9").ok();
    shell.run("strongroom --home rival cat acme/rlhf/all.jsonl --range 131072-131072").ok();
    // The first four lines, in other spellings, and three that are not ours or too short.
    let respelled = |at: usize| {
        let line: Value = serde_json::from_str(&lines()[at]).unwrap();
        let text = line["text"].as_str().unwrap().replace('\u{e9}', "e\\u0301").replace(' ', "\\t ");
        format!("{{ \"text\": \"{text}\",  \"number\": {at}.0 }}\r\n")
    };
    let strange = "{\"text\": \"never ours at all\"}\n";
    let leaked = format!("{}{}{}{strange}{{}}\nno\n", lines()[0], respelled(1), respelled(2) + &lines()[3]);
    shell.write("leaked.jsonl", &leaked);
    let answer = asked(&mut shell, "strongroom --home lab audit match leaked.jsonl acme/rlhf --output json");
    // The sample as a whole is an item, too; it does not stand anywhere.
    assert_eq!(
        (&answer["items"], &answer["short"], &answer["different"]),
        (&json!(8), &json!(2), &json!(6)),
        "{answer}"
    );
    assert_eq!((&answer["exact"], &answer["normalised"]), (&json!(2), &json!(2)));
    assert_eq!((&answer["missing"], &answer["objects"]), (&json!([5]), &json!(9)));
    assert_eq!(answer["whole_missing"], true);
    assert_eq!(answer["objects_found"], 5);
    // Four lines of 4 KiB lie in the first segment.
    assert_eq!(vendors(&answer), [("labelco".to_owned(), 4), ("rival".to_owned(), 4)]);
    let admin = answer["candidates"].as_array().unwrap().iter().find(|one| one["admin"] == true).unwrap();
    assert_eq!((&admin["items"], &admin["written"]), (&json!(4), &json!(4)), "who put it had it");
    let of_labelco = answer["candidates"].as_array().unwrap().iter().filter(|one| one["vendor"] == "labelco");
    assert_eq!(of_labelco.count(), 2, "the vendor, and its key");

    // A line across two segments, of which only one was released, was not had; one inside of it was.
    let all = lines();
    let starts: Vec<usize> = all.iter().scan(0, |sum, line| Some(std::mem::replace(sum, *sum + line.len()))).collect();
    let across = (0..all.len()).find(|at| starts[*at] < 131_072 && starts[*at] + all[*at].len() > 131_073).unwrap();
    let inside = (0..all.len()).find(|at| starts[*at] >= 131_072).unwrap();
    for (at, expected) in [(across, vec![]), (inside, vec![("rival".to_owned(), 1)])] {
        shell.write("line.jsonl", &all[at]);
        let answer = asked(&mut shell, "strongroom --home lab audit match line.jsonl acme/rlhf --output json");
        assert_eq!(answer["exact"], 1, "{answer}");
        assert_eq!(vendors(&answer), expected, "line {at}");
    }

    // A whole object is an item, in any spelling; and from an export the answer is the same.
    shell.write("whole.json", format!("\n{}\n", respelled(2).replace(", ", ",\n").trim_end()));
    shell.run("strongroom --home lab audit export acme -o acme-ledger/").ok();
    let line = "strongroom --home lab audit match whole.json acme/rlhf/items/ --output json";
    let answer = asked(&mut shell, line);
    assert_eq!((&answer["normalised"], vendors(&answer)), (&json!(1), vec![("labelco".to_owned(), 1)]), "{answer}");
    let offline = asked(&mut shell, &format!("{line} --ledger acme-ledger/"));
    assert_eq!((&offline["candidates"], &offline["normalised"]), (&answer["candidates"], &answer["normalised"]));

    // For people.
    let said = shell.run("strongroom --home lab audit match leaked.jsonl acme/rlhf").ok();
    assert!(said.text().contains("4 of 6 different items stand in acme/rlhf/, 2 as they are"), "{}", said.text());
    assert!(
        said.text().contains("labelco")
            && said.text().contains("Not found: the sample's lines 5.\nNot found: the sample as a whole"),
        "{}",
        said.text()
    );
    shell.write("nothing.jsonl", "\n\n{}\n");
    shell.run("strongroom --home lab audit match nothing.jsonl acme/rlhf").fails(2, "INVALID_ARGUMENT");
    shell.run("strongroom --home lab audit match leaked.jsonl acme/rlhf other/rlhf").fails(2, "USAGE");
    shell.run("strongroom --home lab audit match absent.jsonl acme/rlhf").fails(3, "IO");
    shell.run("strongroom --home labelco audit match leaked.jsonl acme/rlhf").fails(4, "OUT_OF_SCOPE");
}

/// An object of more than a mebibyte is looked through as it arrives, and is an item as a whole all the same.
#[test]
fn a_sample_is_found_in_an_object_that_is_never_held_whole() {
    let mut shell = lab();
    let rows: Vec<String> = (0..600)
        .map(|at| format!("{}\n", json!({ "row": at, "text": format!("{at} {}", "y".repeat(3000)) })))
        .collect();
    let long = rows.concat();
    assert!(long.len() > 1024 * 1024);
    shell.write("long.jsonl", &long);
    shell.run("strongroom --home lab put long.jsonl acme/rlhf/long.jsonl").ok();
    let start: usize = rows[..500].iter().map(String::len).sum();
    let range = format!("{start}-{}", start + rows[500].len() - 1);
    shell.run(&format!("strongroom --home labelco cat acme/rlhf/long.jsonl --range {range}")).ok();
    shell.write("leaked.jsonl", format!("{}{}", rows[500], rows[100].replace("\":", "\" : ")));
    let answer = asked(&mut shell, "strongroom --home lab audit match leaked.jsonl acme/rlhf --output json");
    assert_eq!((&answer["exact"], &answer["normalised"]), (&json!(1), &json!(1)), "{answer}");
    assert_eq!((&answer["objects_found"], vendors(&answer)), (&json!(1), vec![("labelco".to_owned(), 1)]));
    let answer = asked(&mut shell, "strongroom --home lab audit match long.jsonl acme/rlhf --output json");
    assert_eq!((&answer["different"], &answer["exact"]), (&json!(601), &json!(601)), "600 lines, and all of it");
}
