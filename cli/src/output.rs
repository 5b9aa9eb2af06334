//! What a command writes: tables for people, JSON for programs.
//!
//! JSON is stable: keys are added, never renamed; times are RFC 3339 in UTC, sizes are bytes; a list is JSON Lines. Tables may
//! change. Results go to stdout, everything said about them to stderr, so that a pipe never carries words.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use crate::exit::{Failure, Outcome};

pub use crate::printable::{note, printable};

/// For whom the output is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs: one JSON object a line.
    Json,
}

/// Something that can be told as one row of a table.
pub trait Row: Serialize {
    /// The columns' heads.
    const HEADS: &'static [&'static str];

    /// Its cells, as many as there are heads.
    fn cells(&self) -> Vec<String>;
}

impl Format {
    /// Writes one result: its JSON, or `words`.
    pub fn result<T: Serialize>(self, value: &T, words: impl FnOnce(&T) -> String) -> Outcome {
        match self {
            Self::Json => write_json(&mut io::stdout().lock(), value).map_err(|error| Failure::stdio(&error)),
            Self::Table => line(&words(value)),
        }
    }

    /// Writes a list that is short enough to be aligned.
    pub fn list<R: Row>(self, rows: &[R]) -> Outcome {
        let mut out = io::BufWriter::new(io::stdout().lock());
        let written = match self {
            Self::Json => rows.iter().try_for_each(|row| write_json(&mut out, row)),
            Self::Table => write_table(&mut out, rows),
        };
        written.and_then(|()| out.flush()).map_err(|error| Failure::stdio(&error))
    }
}

/// One JSON line.
pub fn write_json<T: Serialize>(out: &mut impl Write, value: &T) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}

/// Rows that are few enough to be aligned.
pub fn write_table<R: Row>(out: &mut impl Write, rows: &[R]) -> io::Result<()> {
    out.write_all(table(rows).as_bytes())
}

/// One line on stdout.
pub fn line(text: &str) -> Outcome {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", text.trim_end_matches('\n')).and_then(|()| out.flush()).map_err(|error| Failure::stdio(&error))
}

/// The rows under their heads, each column as wide as its widest cell, none padded at the end.
fn table<R: Row>(rows: &[R]) -> String {
    let cells: Vec<Vec<String>> = rows.iter().map(Row::cells).collect();
    let mut widths: Vec<usize> = R::HEADS.iter().map(|head| head.chars().count()).collect();
    for row in &cells {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let heads = R::HEADS.iter().map(|head| (*head).to_owned()).collect();
    let mut text = String::new();
    for row in std::iter::once(&heads).chain(&cells) {
        let padded = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect::<Vec<_>>();
        text.push_str(padded.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// Asks a yes-or-no question, unless `yes` answers it.
///
/// # Errors
/// The answer is no, or nobody sits at a terminal to give one.
pub fn confirm(question: &str, yes: bool) -> Outcome {
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        return Err(Failure::usage(format!("{question} nobody is at a terminal to say yes"), "add --yes to go ahead"));
    }
    let _ = write!(io::stderr(), "{question} [y/N] ");
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).map_err(|error| Failure::stdio(&error))?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Failure::cancelled()),
    }
}

/// Asks for a name to be typed again, unless `yes` answers it.
///
/// # Errors
/// Something else is typed, or nobody sits at a terminal to do it.
pub fn confirm_by_name(warning: &str, name: &str, yes: bool) -> Outcome {
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        let detail = format!("{warning} Nobody is at a terminal to type the name again");
        return Err(Failure::usage(detail, "add --yes to go ahead"));
    }
    let _ = write!(io::stderr(), "{warning}\nType {} to go ahead: ", printable(name));
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).map_err(|error| Failure::stdio(&error))?;
    if answer.trim_end_matches(['\n', '\r']) == name { Ok(()) } else { Err(Failure::cancelled()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Pair(&'static str, u64);

    impl Row for Pair {
        const HEADS: &'static [&'static str] = &["NAME", "SIZE"];

        fn cells(&self) -> Vec<String> {
            vec![self.0.to_owned(), self.1.to_string()]
        }
    }

    #[test]
    fn columns_are_aligned() {
        assert_eq!(table(&[Pair("a", 1), Pair("längeres", 20)]), "NAME      SIZE\na         1\nlängeres  20\n");
        assert_eq!(table::<Pair>(&[]), "NAME  SIZE\n");
    }

    #[test]
    fn foreign_text_cannot_steer_a_terminal() {
        assert_eq!(printable("a\nb\u{1b}[2J\u{202e}"), "a b\\u{1b}[2J\\u{202e}");
    }

    #[test]
    fn a_yes_beforehand_asks_nobody() {
        assert!(confirm("Sure?", true).is_ok());
        assert!(confirm_by_name("Sure.", "acme", true).is_ok());
    }
}
