//! An exported ledger: a folder with the files of a log.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use strongroom_core::ledger::tile::Tile;
use strongroom_core::ledger::verify::{CHECKPOINT, LOG_KEYS, LogFiles, is_cosigned};
use tempfile::{Builder, NamedTempFile};

/// How the name begins of a file that is not whole yet.
const UNFINISHED: &str = ".export-";

/// The folder.
#[derive(Debug)]
pub(super) struct Exported(PathBuf);

impl Exported {
    /// The one at this path, which need not be there yet.
    pub(super) fn at(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// Whether a file of this name is there, whole.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.join(name).is_file()
    }

    /// Puts a file in its place, whole or not at all. It has people's paths and addresses in it: only its owner reads it.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn put(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let path = self.0.join(name);
        let folder = path.parent().unwrap_or(&self.0);
        fs::create_dir_all(folder)?;
        let mut file: NamedTempFile = Builder::new().prefix(UNFINISHED).tempfile_in(folder)?;
        file.write_all(bytes)?;
        file.persist(&path).map(drop).map_err(|lost| lost.error)
    }

    /// Removes what an earlier export left that this one does not have: unfinished files, and partial tiles of another size. The
    /// first file that is no export's comes back as an error: the folder is somebody else's.
    ///
    /// # Errors
    /// It cannot be looked at, or changed.
    pub(super) fn clear(&self, keep: impl Fn(&Tile) -> bool) -> io::Result<Result<(), String>> {
        for name in self.names()? {
            let base = name.rsplit('/').next().unwrap_or_default();
            let goes = match name.parse::<Tile>() {
                Ok(tile) => !keep(&tile),
                Err(_) if name == CHECKPOINT || name == LOG_KEYS || is_cosigned(&name) => false,
                Err(_) if base.starts_with(UNFINISHED) => true,
                Err(_) => return Ok(Err(name)),
            };
            if goes {
                fs::remove_file(self.0.join(name))?;
            }
        }
        Ok(Ok(()))
    }

    /// The paths of all files in it, relative to it, with `/`.
    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        let mut folders = vec![(self.0.clone(), String::new())];
        while let Some((folder, prefix)) = folders.pop() {
            let entries = match fs::read_dir(&folder) {
                Err(error) if error.kind() == io::ErrorKind::NotFound && prefix.is_empty() => return Ok(names),
                entries => entries?,
            };
            for entry in entries {
                let entry = entry?;
                // A name that is no text is no log's.
                let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
                match entry.file_type()?.is_dir() {
                    true => folders.push((entry.path(), format!("{name}/"))),
                    false => names.push(name),
                }
            }
        }
        names.sort_unstable();
        Ok(names)
    }
}

impl LogFiles for Exported {
    type Error = io::Error;

    fn read(&mut self, path: &str, most: u64) -> io::Result<Option<Vec<u8>>> {
        let file = match File::open(self.0.join(path)) {
            Ok(file) => file,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.take(most).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    fn list(&mut self) -> io::Result<Vec<String>> {
        self.names()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_an_earlier_export_goes_and_nothing_else() {
        let parent = tempfile::tempdir().unwrap();
        let mut folder = Exported::at(&parent.path().join("acme"));
        assert_eq!(folder.list().unwrap(), Vec::<String>::new());
        for name in [CHECKPOINT, LOG_KEYS, "tile/0/000.p/7", "tile/0/000.p/9", "tile/0/x001/.export-1"] {
            folder.put(name, b"x").unwrap();
        }
        folder.clear(|tile| tile.width() == 9).unwrap().unwrap();
        assert_eq!(folder.list().unwrap(), [CHECKPOINT, LOG_KEYS, "tile/0/000.p/9"]);
        folder.put("tile/mine.txt", b"x").unwrap();
        assert_eq!(folder.clear(|_| false).unwrap(), Err("tile/mine.txt".to_owned()));
        assert!(folder.has("tile/mine.txt"));
        assert_eq!(folder.read("tile/mine.txt", 0).unwrap(), Some(Vec::new()));
        assert_eq!(folder.read("tile/0/000", 9).unwrap(), None);
    }
}
