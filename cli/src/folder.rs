//! Files that a `get` leaves behind: whole or not at all, and never outside the folder that was asked for.
//!
//! Object paths have no `..` by the core's rules, so the one way out of a folder is a symbolic link that stands in it already;
//! such a link is refused. A file is written beside its place under another name, and renamed when it is complete. It is
//! readable by its owner alone, since it is plaintext.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use strongroom_core::reason::Reason;
use tempfile::{NamedTempFile, TempPath};

use crate::exit::{Failure, Outcome};

/// A folder that objects are written into.
#[derive(Debug)]
pub struct Folder {
    root: PathBuf,
    /// Folders below the root that were made or looked at: each is checked once.
    known: HashSet<PathBuf>,
}

/// A file that is not there yet.
#[derive(Debug)]
pub struct Pending {
    temporary: TempPath,
    target: PathBuf,
}

impl Folder {
    /// The folder at `root`, made with its first file if it is not there.
    pub fn at(root: &Path) -> Self {
        Self { root: root.to_owned(), known: HashSet::new() }
    }

    /// A file for the object at `path`, below the root.
    ///
    /// # Errors
    /// The path leads out of the folder, or nothing can be made there.
    pub fn file(&mut self, path: &str) -> Outcome<(fs::File, Pending)> {
        let relative = Path::new(path);
        let segments = path.split('/').count();
        // On every platform each segment of the path must be exactly one plain name.
        if relative.components().filter(|part| matches!(part, Component::Normal(_))).count() != segments {
            return Err(Failure::new(
                Reason::InvalidName,
                format!("{path} cannot be a file's name here"),
                "use cat, or get it alone with -o FILE",
            ));
        }
        let mut folder = self.root.clone();
        if !self.known.contains(&folder) {
            // The root itself may be a link: it is what was asked for.
            fs::create_dir_all(&folder).map_err(|error| Failure::file(&folder, &error))?;
            self.known.insert(folder.clone());
        }
        for segment in relative.parent().into_iter().flat_map(Path::components) {
            folder.push(segment);
            self.enter(&folder)?;
        }
        pending(self.root.join(relative))
    }

    fn enter(&mut self, folder: &Path) -> Outcome {
        if self.known.contains(folder) {
            return Ok(());
        }
        match fs::create_dir(folder) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let kind = fs::symlink_metadata(folder).map_err(|error| Failure::file(folder, &error))?.file_type();
                if !kind.is_dir() {
                    let what = if kind.is_symlink() { "a symbolic link" } else { "a file" };
                    return Err(Failure::new(
                        Reason::PreconditionFailed,
                        format!("{} is {what} where a folder must be", folder.display()),
                        "move it away, or name another folder with -o",
                    ));
                }
            }
            Err(error) => return Err(Failure::file(folder, &error)),
        }
        self.known.insert(folder.to_owned());
        Ok(())
    }
}

/// A file that will stand at `target`.
///
/// # Errors
/// Nothing can be made beside it.
pub fn pending(target: PathBuf) -> Outcome<(fs::File, Pending)> {
    if target.is_dir() {
        return Err(Failure::new(
            Reason::PreconditionFailed,
            format!("{} is a folder where a file must be", target.display()),
            "name another place with -o",
        ));
    }
    let folder = match target.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    if !folder.is_dir() {
        return Err(Failure::file(folder, &io::ErrorKind::NotFound.into()));
    }
    let made = tempfile::Builder::new().prefix(".strongroom-").tempfile_in(folder).map(NamedTempFile::into_parts);
    let (file, temporary) = made.map_err(|error| Failure::file(folder, &error))?;
    Ok((file, Pending { temporary, target }))
}

impl Pending {
    /// Puts the file, which is complete, in its place.
    ///
    /// # Errors
    /// It cannot be renamed.
    pub fn commit(self) -> Outcome {
        let target = self.target;
        self.temporary.persist(&target).map_err(|error| Failure::file(&target, &error.error))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::exit::Exit;

    fn write(folder: &mut Folder, path: &str) -> Outcome {
        let (mut file, pending) = folder.file(path)?;
        file.write_all(path.as_bytes()).unwrap();
        pending.commit()
    }

    #[test]
    fn files_appear_whole_and_below_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("items");
        let mut folder = Folder::at(&root);
        write(&mut folder, "a/b/c.json").unwrap();
        write(&mut folder, "a/b/c.json").unwrap();
        assert_eq!(fs::read(root.join("a/b/c.json")).unwrap(), b"a/b/c.json");
        drop(folder.file("a/d").unwrap());
        assert_eq!(fs::read_dir(root.join("a")).unwrap().count(), 1, "an unfinished file goes away");
    }

    #[test]
    fn a_link_in_the_folder_leads_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let (root, outside) = (dir.path().join("items"), dir.path().join("outside"));
        fs::create_dir_all(&root).unwrap();
        fs::create_dir_all(&outside).unwrap();
        std::os::unix::fs::symlink(&outside, root.join("math")).unwrap();
        let mut folder = Folder::at(&root);
        assert_eq!(write(&mut folder, "math/1").unwrap_err().exit, Exit::NotFound);
        std::os::unix::fs::symlink(outside.join("2"), root.join("2")).unwrap();
        write(&mut folder, "2").unwrap();
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    }

    #[test]
    fn an_object_and_a_folder_of_one_name_do_not_fit_on_a_disk() {
        let dir = tempfile::tempdir().unwrap();
        let mut folder = Folder::at(dir.path());
        write(&mut folder, "math").unwrap();
        assert!(write(&mut folder, "math/1").unwrap_err().detail.ends_with("is a file where a folder must be"));
        write(&mut folder, "code/1").unwrap();
        assert!(write(&mut folder, "code").unwrap_err().detail.ends_with("is a folder where a file must be"));
    }

    #[test]
    fn odd_paths_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut folder = Folder::at(dir.path());
        for bad in ["../x", "/x", "a/../../x", "a//x", "./x", ""] {
            assert!(folder.file(bad).is_err(), "{bad}");
        }
    }
}
