//! Where the programs of the services are: the build script asks to know what to ignore, the services to start.

use std::path::{Path, PathBuf};

/// A program on the `PATH`, links resolved.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find_map(|file| is_file(&file))
}

/// The folder with `postgres`, `initdb` and `psql` of one version of PostgreSQL: the newest of Debian's, which stand outside the
/// `PATH`, or the one on the `PATH`.
pub(crate) fn postgres() -> Option<PathBuf> {
    let whole =
        |folder: &PathBuf| ["postgres", "initdb", "psql"].iter().all(|name| is_file(&folder.join(name)).is_some());
    let on_path = program("postgres").and_then(|file| file.parent().map(Path::to_owned));
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut versions: Vec<(u32, PathBuf)> = versions
        .filter_map(|version| Some((version.file_name().to_str()?.parse().ok()?, version.path().join("bin"))))
        .collect();
    versions.sort_unstable_by(|one, other| other.cmp(one));
    on_path.into_iter().chain(versions.into_iter().map(|(_, folder)| folder)).find(whole)
}

fn is_file(file: &Path) -> Option<PathBuf> {
    file.canonicalize().ok().filter(|file| file.is_file())
}
