//! Rows as one JSON parameter: a constant number of statements, however many rows.

use std::fmt::Write;

use data_encoding::HEXLOWER;

/// A JSON array of arrays, built as text: bytes as hex, which SQL turns back with `unhex`.
pub(super) struct Bulk {
    text: String,
    rows: usize,
    fresh: bool,
}

impl Default for Bulk {
    fn default() -> Self {
        Self::with_capacity(0)
    }
}

impl Bulk {
    /// For about this many bytes.
    pub(super) fn with_capacity(bytes: usize) -> Self {
        let mut text = String::with_capacity(bytes + 2);
        text.push('[');
        Self { text, rows: 0, fresh: true }
    }

    /// Makes room for about this many bytes more.
    pub(super) fn reserve(&mut self, bytes: usize) {
        self.text.reserve(bytes);
    }

    /// How many rows it has.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Begins the next row.
    pub(super) fn row(&mut self) -> &mut Self {
        self.text.push_str(match self.rows {
            0 => "[",
            _ => "],[",
        });
        self.rows += 1;
        self.fresh = true;
        self
    }

    fn comma(&mut self) {
        if !self.fresh {
            self.text.push(',');
        }
        self.fresh = false;
    }

    /// A column of bytes.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.comma();
        self.text.push('"');
        HEXLOWER.encode_append(bytes, &mut self.text);
        self.text.push('"');
        self
    }

    /// A column of text. Names and paths hold no control characters, so two characters are all there is to escape.
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        self.comma();
        self.text.push('"');
        let mut rest = text;
        while let Some(at) = rest.find(['"', '\\']) {
            self.text.push_str(&rest[..at]);
            self.text.push('\\');
            self.text.push_str(&rest[at..=at]);
            rest = &rest[at + 1..];
        }
        self.text.push_str(rest);
        self.text.push('"');
        self
    }

    /// A column that counts.
    pub(super) fn number(&mut self, number: u64) -> &mut Self {
        self.comma();
        // Writing to a string does not fail.
        let _ = write!(self.text, "{number}");
        self
    }

    /// No value.
    pub(super) fn null(&mut self) -> &mut Self {
        self.comma();
        self.text.push_str("null");
        self
    }

    /// The parameter.
    pub(super) fn finish(mut self) -> String {
        if self.rows > 0 {
            self.text.push(']');
        }
        self.text.push(']');
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_json() {
        let mut bulk = Bulk::with_capacity(0);
        assert_eq!(Bulk::with_capacity(0).finish(), "[]");
        bulk.row().bytes(&[0, 255]).text("a\"b\\c/é").number(7).null();
        bulk.row().text("").bytes(&[]);
        let parsed: serde_json::Value = serde_json::from_str(&bulk.finish()).unwrap();
        assert_eq!(parsed, serde_json::json!([["00ff", "a\"b\\c/é", 7, null], ["", ""]]));
    }
}
