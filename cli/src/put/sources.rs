//! Which files a `put` is about, and what each is called in the vault. Settled before anything is sent.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use strongroom_core::grant::Prefix;
use strongroom_core::names::ObjectPath;
use strongroom_core::reason::Reason;

use crate::exit::{Failure, Outcome};

/// A file, and the object that it becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    /// The file.
    pub(crate) file: PathBuf,
    /// Its bytes, as the file system says.
    pub(crate) size: u64,
    /// The object's path.
    pub(crate) path: ObjectPath,
}

/// All files that `given` names, each with its path under `target`, in the order of their paths.
///
/// One file goes to the path that `target` names, or below the folder that it names. Of a folder, all files go below the folder
/// that `target` names, by their paths within it.
///
/// # Errors
/// A file is not there, two would get one path, or a path breaks a rule.
pub(crate) fn collect(given: &[PathBuf], target: &Prefix) -> Outcome<Vec<Source>> {
    let mut found = BTreeMap::new();
    for file in given {
        let metadata = std::fs::metadata(file).map_err(|error| Failure::file(file, &error))?;
        if metadata.is_dir() {
            walk(file, &folder_of(target, "a folder")?, &mut vec![], &mut found)?;
        } else {
            let path = match target {
                Prefix::Exact(path) if given.len() == 1 => path.clone(),
                _ => below(&folder_of(target, "several files")?, file)?,
            };
            insert(&mut found, Source { file: file.clone(), size: metadata.len(), path })?;
        }
    }
    Ok(found.into_values().collect())
}

/// The folder that `target` names; `what` needs one.
fn folder_of(target: &Prefix, what: &str) -> Outcome<String> {
    match target {
        Prefix::Folder(folder) => Ok(folder.clone()),
        Prefix::Exact(path) => {
            Err(Failure::usage(format!("{what} cannot become the one object {path}"), format!("write {path}/")))
        }
        Prefix::Stem(_) => {
            Err(Failure::usage("a put goes to an object or a folder, not to a pattern", "leave out the *"))
        }
    }
}

fn below(folder: &str, file: &Path) -> Outcome<ObjectPath> {
    let name = file.file_name().and_then(|name| name.to_str()).ok_or_else(|| {
        Failure::new(Reason::InvalidName, format!("{} has no name in UTF-8", file.display()), "rename it")
    })?;
    format!("{folder}{name}").parse().map_err(|error| {
        Failure::new(
            Reason::InvalidName,
            format!("{}: {error}", file.display()),
            "rename it, or put it alone under another path",
        )
    })
}

/// Adds all files below `folder`. Links are followed, as `cp -L` does, but never in a circle.
fn walk(folder: &Path, to: &str, above: &mut Vec<PathBuf>, found: &mut BTreeMap<ObjectPath, Source>) -> Outcome {
    let fail = |error| Failure::file(folder, &error);
    let real = folder.canonicalize().map_err(fail)?;
    if above.contains(&real) {
        return Err(Failure::usage(format!("{} leads back into itself", folder.display()), "remove that link"));
    }
    above.push(real);
    for entry in std::fs::read_dir(folder).map_err(fail)? {
        let file = entry.map_err(fail)?.path();
        let metadata = std::fs::metadata(&file).map_err(|error| Failure::file(&file, &error))?;
        let path = below(to, &file)?;
        if metadata.is_dir() {
            walk(&file, &format!("{path}/"), above, found)?;
        } else if metadata.is_file() {
            insert(found, Source { size: metadata.len(), file, path })?;
        } else {
            return Err(Failure::usage(format!("{} is not a file", file.display()), "move it away"));
        }
    }
    above.pop();
    Ok(())
}

fn insert(found: &mut BTreeMap<ObjectPath, Source>, source: Source) -> Outcome {
    match found.insert(source.path.clone(), source) {
        None => Ok(()),
        Some(other) => {
            let detail = format!("two files would become {}, {} is one", other.path, other.file.display());
            Err(Failure::usage(detail, "put them one by one"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(sources: &[Source]) -> Vec<&str> {
        sources.iter().map(|source| source.path.as_str()).collect()
    }

    fn folder() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("sub/deep")).unwrap();
        for name in ["a.json", "sub/b.json", "sub/deep/a.json"] {
            std::fs::write(dir.path().join(name), name).unwrap();
        }
        dir
    }

    #[test]
    fn one_file_goes_to_a_path_or_into_a_folder() {
        let dir = folder();
        let file = [dir.path().join("a.json")];
        let collect =
            |target: &str| collect(&file, &target.parse().unwrap()).map(|sources| sources[0].path.to_string());
        assert_eq!(collect("x/y"), Ok("x/y".into()));
        assert_eq!(collect("x/"), Ok("x/a.json".into()));
        assert_eq!(collect(""), Ok("a.json".into()));
        assert!(collect("x*").is_err());
    }

    #[test]
    fn a_folder_goes_into_a_folder() {
        let dir = folder();
        let sources = collect(&[dir.path().to_owned()], &"x/".parse().unwrap()).unwrap();
        assert_eq!(paths(&sources), ["x/a.json", "x/sub/b.json", "x/sub/deep/a.json"]);
        assert_eq!(sources[1].size, 10);
        assert!(collect(&[dir.path().to_owned()], &"x".parse().unwrap()).is_err());
    }

    #[test]
    fn two_files_for_one_path_are_refused() {
        let dir = folder();
        let both = [dir.path().join("a.json"), dir.path().join("sub/deep/a.json")];
        assert!(collect(&both, &Prefix::all()).unwrap_err().detail.starts_with("two files would become a.json"));
        assert!(collect(&[dir.path().join("none")], &Prefix::all()).is_err());
    }

    #[test]
    fn a_circle_of_links_ends() {
        let dir = folder();
        std::os::unix::fs::symlink(dir.path(), dir.path().join("sub/again")).unwrap();
        assert!(
            collect(&[dir.path().to_owned()], &Prefix::all()).unwrap_err().detail.ends_with("leads back into itself")
        );
    }
}
