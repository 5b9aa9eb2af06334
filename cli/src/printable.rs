//! Words for a terminal: other people's made harmless, and our own beside the results.

use std::fmt::Write as _;
use std::io::{self, Write};

/// One line on stderr. If that is closed there is nobody to tell.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Text of somebody else's on one line, with nothing in it that a terminal would act on.
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '\n' | '\r' | '\t' => out.push(' '),
            // Besides control characters: those that reorder what stands beside them (Unicode's bidirectional controls).
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                let _ = write!(out, "{}", char.escape_unicode());
            }
            char if char.is_control() => {
                let _ = write!(out, "{}", char.escape_unicode());
            }
            char => out.push(char),
        }
    }
    out
}
