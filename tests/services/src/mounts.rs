//! A small file system for one test: a tmpfs, in mounts that nobody else sees.
//!
//! A process with threads cannot leave the mounts of its machine, so the test's own binary is called again, by `unshare`, for that
//! one test: `TMPDIR` is the small file system there, and whatever the test makes lies on it; or only what it puts there. It goes with
//! the process.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::find;

/// Says that this is the process with the small file system, and where that is.
const MARK: &str = "STRONGROOM_TEST_OWN_MOUNTS";

/// Whether this process has a `TMPDIR` of so many MiB, which is a file system. If not, the test of this name, which is the one that
/// asks, is run once more in a process that has.
///
/// # Panics
/// If that fails, or runs no test.
pub fn on_a_small_disk(test: &str, mib: u32) -> bool {
    if std::env::var_os(MARK).is_some() {
        return true;
    }
    let disk = tempfile::tempdir().unwrap();
    again(test, mib, disk.path(), &[], |command| {
        command.env("TMPDIR", disk.path());
    });
    false
}

/// The folder of a file system of so many MiB, for what the test puts there, in a process that has one and is not root's, as
/// PostgreSQL wants it. If this is none, as in [`on_a_small_disk`].
///
/// # Panics
/// As [`on_a_small_disk`].
pub fn beside_a_small_disk(test: &str, mib: u32) -> Option<PathBuf> {
    if let Some(disk) = std::env::var_os(MARK) {
        return Some(PathBuf::from(disk));
    }
    let disk = tempfile::tempdir().unwrap();
    // Who mounts is root there: of a namespace of its own, within which the test is somebody else again.
    let is_root_of_its_own = find::own_mounts().is_some_and(|way| way.contains(&"--user"));
    let nobody = ["unshare", "--user", "--map-user=1000", "--map-group=1000"];
    again(test, mib, disk.path(), if is_root_of_its_own { &nobody } else { &[] }, |_| ());
    None
}

/// Runs the test of this name again, by way of a command, where `disk` is a file system of so many MiB.
fn again(test: &str, mib: u32, disk: &Path, by: &[&str], set: impl FnOnce(&mut Command)) {
    let way = find::own_mounts().expect("this user may not mount");
    let mut command = Command::new("unshare");
    command
        .args(way)
        .args(["sh", "-ec", "mount -t tmpfs -o \"size=$1\" none \"$2\"; shift 2; exec \"$@\"", "sh"])
        .arg(format!("{mib}m"))
        .arg(disk)
        .args(by)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(MARK, disk);
    set(&mut command);
    let ran = command.output().unwrap();
    let [stdout, stderr] = [&ran.stdout, &ran.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    // A name that no test has is no failure of the harness.
    let one = stdout.contains("test result: ok. 1 passed");
    assert!(ran.status.success() && one, "{test}: {}\n{stdout}\n{stderr}", ran.status);
}
