//! A small file system for one test: a tmpfs, in mounts that nobody else sees.
//!
//! A process with threads cannot leave the mounts of its machine, so the test's own binary is called again, by `unshare`, for that
//! one test: `TMPDIR` is the small file system there, and whatever the test makes lies on it. It goes with the process.

use std::process::Command;

use crate::find;

/// Says that this is the process with the small file system.
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
    let way = find::own_mounts().expect("this user may not mount");
    let disk = tempfile::tempdir().unwrap();
    let ran = Command::new("unshare")
        .args(way)
        .args(["sh", "-ec", "mount -t tmpfs -o \"size=$1\" none \"$TMPDIR\"; shift; exec \"$@\"", "sh"])
        .arg(format!("{mib}m"))
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env("TMPDIR", disk.path())
        .env(MARK, "")
        .output()
        .unwrap();
    let [stdout, stderr] = [&ran.stdout, &ran.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    // A name that no test has is no failure of the harness.
    let one = stdout.contains("test result: ok. 1 passed");
    assert!(ran.status.success() && one, "{test}: {}\n{stdout}\n{stderr}", ran.status);
    false
}
