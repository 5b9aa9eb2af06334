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

/// `moto_server`, an S3: as `tests/services/install` installed it, or on the `PATH`.
pub(crate) fn moto() -> Option<PathBuf> {
    is_program(&installed().join("moto/bin/moto_server")).or_else(|| program("moto_server"))
}

/// `azurite-blob`, an Azure: as `tests/services/install` installed it, or on the `PATH`.
pub(crate) fn azurite() -> Option<PathBuf> {
    is_program(&installed().join("azurite/node_modules/.bin/azurite-blob")).or_else(|| program("azurite-blob"))
}

/// A Python with what reads exports: DuckDB, pandas and the schemas of OCSF, as `tests/services/install` installed it.
pub(crate) fn readers() -> Option<PathBuf> {
    is_program(&installed().join("readers/bin/python"))
}

/// A browser without a window.
pub(crate) fn chromium() -> Option<PathBuf> {
    ["chromium", "chromium-browser", "google-chrome"].into_iter().find_map(program)
}

/// `softhsm2-util`, and the module that it belongs to.
pub(crate) fn softhsm() -> Option<(PathBuf, PathBuf)> {
    let util = program("softhsm2-util")?;
    let folders = ["/usr/lib/softhsm", "/usr/lib64/softhsm", "/usr/local/lib/softhsm", "/opt/homebrew/lib/softhsm"];
    let module = folders.iter().find_map(|folder| is_file(&Path::new(folder).join("libsofthsm2.so")))?;
    Some((util, module))
}

/// The flags with which `unshare` gives a process mounts of its own, in which it may mount: as anybody, where the kernel lets
/// anybody, else as root.
pub(crate) fn own_mounts() -> Option<&'static [&'static str]> {
    const WAYS: [&[&str]; 2] = [&["--user", "--map-root-user", "--mount"], &["--mount"]];
    let works = |way: &&&[&str]| {
        let tried = std::process::Command::new("unshare")
            .args(**way)
            .args(["mount", "-t", "tmpfs", "-o", "size=64k", "none", "/tmp"])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .status();
        tried.is_ok_and(|status| status.success())
    };
    WAYS.iter().find(works).copied()
}

/// Where `tests/services/install` puts what is no package of the system.
pub(crate) fn installed() -> PathBuf {
    let set = std::env::var_os("STRONGROOM_TEST_SERVICES").map(PathBuf::from);
    set.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/services"))
}

/// As it is called: a virtual environment's programs must not be called by another name.
fn is_program(file: &Path) -> Option<PathBuf> {
    file.is_file().then(|| file.to_owned())
}

fn is_file(file: &Path) -> Option<PathBuf> {
    file.canonicalize().ok().filter(|file| file.is_file())
}
