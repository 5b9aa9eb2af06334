//! One object a line: `math/000000.json`, `math/000001.json`, …
//!
//! Each object is its line's exact bytes, the line ending included, so that the objects laid end to end are the file again.
//! Lines are read one at a time: memory is bounded by the longest of them.

use std::io::{BufRead, Read};
use std::path::Path;

use bytes::Bytes;
use strongroom_core::names::ObjectPath;
use strongroom_core::reason::Reason;

use crate::amount::counted;
use crate::exit::{Failure, Outcome};

/// The longest line: it is held in memory whole.
pub(crate) const MAX_LINE: u64 = 64 * 1024 * 1024;

/// How the objects are named.
#[derive(Debug, Clone)]
pub(crate) struct Naming {
    /// What stands before the number: a folder with its `/`, or nothing.
    pub(crate) folder: String,
    /// How many digits.
    pub(crate) digits: u8,
    /// What stands behind the number, with its dot.
    pub(crate) extension: &'static str,
}

impl Naming {
    /// The extension that one line of this file deserves.
    pub(crate) fn extension_for(file: &Path) -> &'static str {
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("jsonl" | "ndjson") => ".json",
            _ => ".txt",
        }
    }

    /// How many objects there are names for.
    pub(crate) fn capacity(&self) -> u64 {
        10_u64.saturating_pow(u32::from(self.digits))
    }

    fn path(&self, number: u64) -> Outcome<ObjectPath> {
        if number >= self.capacity() {
            return Err(Failure::usage(
                format!(
                    "more than {} lines do not fit into {}",
                    self.capacity(),
                    counted(u64::from(self.digits), "digit")
                ),
                format!("add --digits {}", self.digits + 1),
            ));
        }
        let text = format!("{}{number:0width$}{}", self.folder, self.extension, width = usize::from(self.digits));
        text.parse()
            .map_err(|error| Failure::new(Reason::InvalidName, format!("{text}: {error}"), "choose another prefix"))
    }
}

/// The lines of a file as objects.
#[derive(Debug)]
pub(crate) struct Lines<R> {
    reader: R,
    naming: Naming,
    next: u64,
}

impl<R: BufRead> Lines<R> {
    /// Of what `reader` gives.
    pub(crate) fn new(reader: R, naming: Naming) -> Self {
        Self { reader, naming, next: 0 }
    }

    fn line(&mut self) -> Outcome<Option<(ObjectPath, Bytes)>> {
        let mut line = Vec::new();
        let read = (&mut self.reader).take(MAX_LINE + 1).read_until(b'\n', &mut line);
        if read.map_err(|error| Failure::stdio(&error))? == 0 {
            return Ok(None);
        }
        if line.len() as u64 > MAX_LINE {
            let detail = format!("line {} has more than 64 MiB", self.next + 1);
            return Err(Failure::new(
                Reason::TooLarge,
                detail,
                "is it a file of lines? put it whole, without --split-lines",
            ));
        }
        let path = self.naming.path(self.next)?;
        self.next += 1;
        Ok(Some((path, line.into())))
    }
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = Outcome<(ObjectPath, Bytes)>;

    fn next(&mut self) -> Option<Self::Item> {
        self.line().transpose()
    }
}

/// How many lines a file has; a last one without an ending counts.
///
/// # Errors
/// The file cannot be read.
pub(crate) fn count(mut reader: impl Read) -> std::io::Result<u64> {
    let mut buffer = vec![0; 256 * 1024];
    let (mut lines, mut last) = (0, b'\n');
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(lines + u64::from(last != b'\n')),
            read => {
                lines += buffer[..read].iter().filter(|&&byte| byte == b'\n').count() as u64;
                last = buffer[read - 1];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str, digits: u8) -> Vec<Outcome<(String, String)>> {
        let naming = Naming { folder: "math/".into(), digits, extension: ".json" };
        Lines::new(text.as_bytes(), naming)
            .map(|line| line.map(|(path, bytes)| (path.to_string(), String::from_utf8(bytes.to_vec()).unwrap())))
            .collect()
    }

    #[test]
    fn lines_keep_their_endings() {
        for text in ["", "a", "a\n", "a\r\nb", "\n\n", "a\n\nb\n"] {
            let lines: Vec<_> = split(text, 6).into_iter().map(Result::unwrap).collect();
            assert_eq!(lines.iter().map(|(_, line)| line.as_str()).collect::<String>(), text);
            assert_eq!(lines.len() as u64, count(text.as_bytes()).unwrap(), "{text:?}");
        }
        let lines = split("a\nb\n", 6);
        assert_eq!(lines[1], Ok(("math/000001.json".into(), "b\n".into())));
    }

    #[test]
    fn too_few_digits_are_refused_with_advice() {
        let lines = split(&"x\n".repeat(11), 1);
        assert_eq!(lines.len(), 11);
        assert!(lines[9].is_ok());
        assert_eq!(lines[10].as_ref().unwrap_err().advice, "add --digits 2");
    }

    #[test]
    fn json_lines_become_json_files() {
        for (file, extension) in [("a.jsonl", ".json"), ("a.ndjson", ".json"), ("a.txt", ".txt"), ("-", ".txt")] {
            assert_eq!(Naming::extension_for(Path::new(file)), extension);
        }
    }
}
