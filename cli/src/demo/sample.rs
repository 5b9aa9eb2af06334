//! Made-up data: maths items a line each, and text without end.
//!
//! It is the same on every run, and every line is unlike every other, so that finding one of them anywhere is proof.

use std::fmt::Write as _;
use std::io::Write as _;

/// How many maths items there are.
pub(crate) const ITEMS: u64 = 5_000;

const NAMES: [&str; 8] = ["Amara", "Bo", "Chidi", "Dilnoza", "Emil", "Farah", "Goro", "Hanne"];
const THINGS: [&str; 8] = ["apples", "beads", "crayons", "dumplings", "eggs", "figs", "gears", "hinges"];

/// The items as JSON Lines: a question, an answer, and which of two replies a rater preferred.
pub(crate) fn items() -> Vec<u8> {
    let mut lines = Vec::new();
    for number in 0..ITEMS {
        let (name, thing) = (pick(&NAMES, number), pick(&THINGS, number / 8));
        let (boxes, each) = (2 + number % 97, 3 + number / 97);
        let item = serde_json::json!({
            "id": number,
            "question": format!("{name} has {boxes} boxes with {each} {thing} in each. How many {thing} are that?"),
            "answer": format!("{boxes} x {each} = {}", boxes * each),
            "chosen": if number % 3 == 0 { "A" } else { "B" },
        });
        // Writing to memory does not fail.
        let _ = writeln!(lines, "{item}");
    }
    lines
}

fn pick<'a>(of: &[&'a str], number: u64) -> &'a str {
    of[(number % of.len() as u64) as usize]
}

/// Text without end, a chunk at a time.
#[derive(Debug, Default)]
pub(crate) struct Text {
    next: u64,
}

impl Text {
    /// The line with this number: what to look for when it must not be found.
    pub(crate) fn line(number: u64) -> String {
        let mut line = String::new();
        push_line(&mut line, number);
        line
    }

    /// Fills `chunk` up to `size` bytes or a little more, with whole lines.
    pub(crate) fn fill(&mut self, chunk: &mut String, size: usize) {
        while chunk.len() < size {
            push_line(chunk, self.next);
            self.next += 1;
        }
    }
}

fn push_line(out: &mut String, number: u64) {
    let (name, thing) = (pick(&NAMES, number), pick(&THINGS, number / 8));
    let _ = writeln!(out, "Line {number:08} of the transcript: {name} counted the {thing} and wrote the number down.");
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_items_are_alike() {
        let items = items();
        let lines: HashSet<&[u8]> = items.split_inclusive(|&byte| byte == b'\n').collect();
        assert_eq!(lines.len() as u64, ITEMS);
    }

    #[test]
    fn text_is_the_same_however_it_is_cut() {
        let (mut one, mut other) = (String::new(), String::new());
        Text::default().fill(&mut one, 10_000);
        let mut text = Text::default();
        (1..=10).for_each(|tenth| text.fill(&mut other, tenth * 1_000));
        assert_eq!(one, other);
        assert!(one.contains(&Text::line(7)));
    }
}
