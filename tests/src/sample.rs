//! Data to put: lines like those of a labelling dataset.
//!
//! Made here, so that the tests need no download: school sums with worked answers, each line unlike all others, so that a line
//! found where it should not be is found for certain. A real file is used where `STRONGROOM_TEST_DATA` names one.

use std::path::{Path, PathBuf};

/// The variable that names a real file of JSON Lines.
pub const DATA_VARIABLE: &str = "STRONGROOM_TEST_DATA";

/// How many lines are made where no file is named.
const MADE: usize = 300;

/// The real file, if one is named.
pub fn real_file() -> Option<PathBuf> {
    std::env::var_os(DATA_VARIABLE).map(PathBuf::from)
}

/// The text of the real file if one is named, else of [`lines`].
///
/// # Panics
/// If the named file cannot be read.
pub fn text() -> String {
    match real_file() {
        Some(path) => read(&path),
        None => lines(MADE).concat(),
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// `count` lines of JSON, line endings included, between about 150 and 400 bytes, the same in every run.
pub fn lines(count: usize) -> Vec<String> {
    (0..count).map(line).collect()
}

fn line(number: usize) -> String {
    const NAMES: [&str; 7] = ["Natalia", "Weng", "Betty", "Julie", "James", "Alexa", "Zoë"];
    const THINGS: [&str; 5] = ["clips", "pages", "flowers", "pencils", "stickers"];
    let (name, thing) = (NAMES[number % NAMES.len()], THINGS[number % THINGS.len()]);
    let (first, second) = (number * 7 + 48, number * 3 + 5);
    let together = first + second;
    let steps = "Then the same again, step by step. ".repeat(number % 6);
    format!(
        "{{\"question\": \"{name} sold {first} {thing} in April, and then {second} more in May. How many {thing} did {name} \
         sell in both months, in case {number}?\", \"answer\": \"{steps}{name} sold {first}+{second} = \
         <<{first}+{second}={together}>>{together} {thing}.\\n#### {together}\"}}\n"
    )
}

/// `len` bytes that do not repeat within any window of 8 bytes and look like nothing else, the same for the same seed.
pub fn bytes(seed: u64, len: usize) -> Vec<u8> {
    // SplitMix64: quick, and every output is another.
    let mut state = seed;
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        out.extend_from_slice(&(z ^ (z >> 31)).to_le_bytes());
    }
    out.truncate(len);
    out
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_line_is_json_and_unlike_the_others() {
        let lines = lines(1000);
        assert!(lines.iter().all(|line| line.ends_with("}\n") && line.matches('\n').count() == 1));
        for line in &lines {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            assert!(value["question"].is_string() && value["answer"].is_string());
        }
        assert_eq!(lines.iter().collect::<BTreeSet<_>>().len(), 1000);
        assert_eq!(bytes(1, 1001)[..1000], bytes(1, 1000));
        assert_ne!(bytes(1, 16), bytes(2, 16));
    }
}
