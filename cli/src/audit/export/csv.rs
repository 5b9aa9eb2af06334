//! CSV (RFC 4180), with a head line, safe to open in a spreadsheet.
//!
//! Paths, addresses and notes are other people's words, and a spreadsheet takes a cell that begins with `=` for a formula. So
//! text that begins with one of the characters that make it one, or with an apostrophe, has an apostrophe put before it: taking one
//! leading apostrophe off each text gives the words back exactly.

use std::borrow::Cow;
use std::io::{self, Write};

use super::row::{COLUMNS, Cell, rows};
use super::told::{EntryWriter, Told};
use crate::when;

/// Writes the rows.
pub(super) struct Csv<W: Write>(::csv::Writer<W>);

impl<W: Write> Csv<W> {
    /// Writes the head line first.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn new(out: W) -> io::Result<Self> {
        let mut writer = ::csv::Writer::from_writer(out);
        writer.write_record(COLUMNS.map(|(name, _)| name))?;
        Ok(Self(writer))
    }
}

impl<W: Write> EntryWriter for Csv<W> {
    fn write(&mut self, told: &Told<'_>) -> io::Result<()> {
        rows(told, |row| {
            for cell in row {
                match cell {
                    Cell::None => self.0.write_field("")?,
                    Cell::Number(number) => self.0.write_field(number.to_string())?,
                    Cell::Time(time) => self.0.write_field(when::rfc3339(*time))?,
                    Cell::Text(text) => self.0.write_field(harmless(text).as_ref())?,
                }
            }
            self.0.write_record(None::<&[u8]>)
        })
        .map_err(io::Error::from)
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.0.flush()
    }
}

/// The text, such that no spreadsheet takes it for a formula. The wide forms count as the plain ones where East Asian text is typed.
fn harmless(text: &str) -> Cow<'_, str> {
    let acts = ['=', '+', '-', '@', '\t', '\r', '\n', '\'', '|', '%', '＝', '＋', '－', '＠'];
    match text.trim_start_matches(' ').starts_with(acts) {
        true => format!("'{text}").into(),
        false => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_is_a_formula_and_none_is_lost() {
        for text in ["=1+1", "+1", "-1", "@a", "\t=1", "\r=1", "\n=1", " =1", "'=1", "'", "＝1", "|calc", "%0"] {
            let cell = harmless(text);
            assert_eq!(cell.strip_prefix('\''), Some(text), "{text:?}");
        }
        for text in ["", "math/1", "SHA256:+x", "a=b", "[::1]:1", "a'"] {
            assert_eq!(harmless(text), text);
        }
    }
}
