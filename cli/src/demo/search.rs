//! Looks for texts in every file below a folder, as somebody would who had stolen the disk.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use memchr::memmem::Finder;

/// What was looked through, and what was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// How many files were read.
    pub(crate) files: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// For each text, in how many files it stood.
    pub(crate) hits: Vec<u64>,
}

const CHUNK: usize = 4 * 1024 * 1024;

/// Reads every byte below `folder` and counts the files that hold each of `texts`.
///
/// # Errors
/// A folder cannot be listed, or a file cannot be read; one that goes away meanwhile is no error.
pub(crate) fn search(folder: &Path, texts: &[Vec<u8>]) -> io::Result<Found> {
    let finders: Vec<_> = texts.iter().map(Finder::new).collect();
    let mut found = Found { hits: vec![0; texts.len()], ..Found::default() };
    let mut folders = vec![folder.to_owned()];
    let mut buffer = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                match File::open(entry.path()) {
                    Ok(file) => search_file(file, &finders, &mut buffer, &mut found)?,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }
    Ok(found)
}

/// Chunk by chunk, each with the end of the one before in front, so that no text is cut in two.
fn search_file(mut file: File, finders: &[Finder<'_>], buffer: &mut Vec<u8>, found: &mut Found) -> io::Result<()> {
    let longest = finders.iter().map(|finder| finder.needle().len()).max().unwrap_or(1);
    let mut seen = vec![false; finders.len()];
    buffer.clear();
    found.files += 1;
    loop {
        let read = file.by_ref().take(CHUNK as u64).read_to_end(buffer)?;
        found.bytes += read as u64;
        for (finder, seen) in finders.iter().zip(&mut seen) {
            *seen = *seen || finder.find(buffer).is_some();
        }
        if read == 0 {
            break;
        }
        let keep = buffer.len().min(longest.saturating_sub(1));
        buffer.drain(..buffer.len() - keep);
    }
    for (hits, seen) in found.hits.iter_mut().zip(seen) {
        *hits += u64::from(seen);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_across_two_chunks_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let mut bytes = vec![b'.'; CHUNK + 100];
        bytes[CHUNK - 3..CHUNK + 3].copy_from_slice(b"needle");
        std::fs::create_dir(dir.path().join("deep")).unwrap();
        std::fs::write(dir.path().join("deep/file"), &bytes).unwrap();
        std::fs::write(dir.path().join("other"), b"needle, thread").unwrap();
        let texts = [b"needle".to_vec(), b"thread".to_vec(), b"haystack".to_vec()];
        let found = search(dir.path(), &texts).unwrap();
        assert_eq!(found, Found { files: 2, bytes: bytes.len() as u64 + 14, hits: vec![2, 1, 0] });
    }
}
