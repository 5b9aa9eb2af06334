//! SoftHSM: an HSM of PKCS#11 in software, with a token of each test's own.
//!
//! It is a library, and finds its tokens by a variable of the environment. So a test that needs one runs again in a process of
//! its own, which has the variable: [`SoftHsm::here`].

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::find;

/// What to do about a machine without it.
const MISSING: &str = "softhsm2 is not installed: tests/services/install";
/// The variable by which SoftHSM finds its configuration.
pub const VARIABLE: &str = "SOFTHSM2_CONF";
/// Says to a test in a process of its own where its token is.
const HERE: &str = "STRONGROOM_TEST_SOFTHSM";

/// A token in a folder of its own.
pub struct SoftHsm {
    folder: PathBuf,
    /// Whose folder it is: it goes with the one who made it.
    _made: Option<tempfile::TempDir>,
}

impl SoftHsm {
    /// The token's label.
    pub const TOKEN: &str = "strongroom";
    /// The PIN of its user.
    pub const PIN: &str = "471108-2290-6653";

    /// Makes one.
    ///
    /// # Panics
    /// If SoftHSM is not installed, or refuses.
    pub fn start() -> Self {
        let made = tempfile::Builder::new().prefix("softhsm-").tempdir().unwrap();
        let folder = made.path().to_owned();
        std::fs::create_dir(folder.join("tokens")).unwrap();
        let tokens = folder.join("tokens");
        let text =
            format!("directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n", tokens.display());
        std::fs::write(folder.join("softhsm2.conf"), text).unwrap();
        std::fs::write(folder.join("pin"), format!("{}\n", Self::PIN)).unwrap();
        let hsm = Self { folder, _made: Some(made) };
        hsm.util(&["--init-token", "--free", "--label", Self::TOKEN, "--so-pin", "12345678", "--pin", Self::PIN]);
        hsm
    }

    /// The token of this test, in the process of its own that it has now; `None` to the test that was asked for, once it has run
    /// there and passed.
    ///
    /// # Panics
    /// If the test failed there, or is not one of the harness's threads.
    pub fn here() -> Option<Self> {
        if let Some(folder) = std::env::var_os(HERE) {
            return Some(Self { folder: folder.into(), _made: None });
        }
        let thread = std::thread::current();
        let name = thread.name().expect("a test has a name");
        let hsm = Self::start();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([name, "--exact", "--include-ignored", "--nocapture"]);
        command.env(HERE, &hsm.folder).env(VARIABLE, hsm.configuration());
        let ran = command.output().unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
        assert!(ran.status.success() && said.contains("1 passed"), "{name} in a process of its own: {said}");
        None
    }

    /// The module to load.
    ///
    /// # Panics
    /// If SoftHSM is not installed.
    pub fn module(&self) -> PathBuf {
        find::softhsm().expect(MISSING).1
    }

    /// What [`VARIABLE`] must say in a process that is to find the token.
    pub fn configuration(&self) -> PathBuf {
        self.folder.join("softhsm2.conf")
    }

    /// A file with the PIN.
    pub fn pin_file(&self) -> PathBuf {
        self.folder.join("pin")
    }

    /// Puts an AES key of 32 bytes into it that is known outside, under this label; it is sensitive and not extractable as one that
    /// was made inside.
    ///
    /// # Panics
    /// If SoftHSM refuses, or the key has a byte that it could not be read with: SoftHSM's tool takes a line of text, and would put a
    /// shorter key into the token.
    pub fn import(&self, label: &str, key: &[u8]) {
        assert!(Self::can_import(key), "a key with a zero or a line's end in it");
        let file = self.folder.join("import.aes");
        std::fs::write(&file, key).unwrap();
        let path = file.display().to_string();
        let place = ["--token", Self::TOKEN, "--label", label, "--id", "01", "--pin", Self::PIN];
        self.util(&[&["--import", &path, "--aes"][..], &place].concat());
        std::fs::remove_file(file).unwrap();
    }

    /// Whether a key can be put into it by [`SoftHsm::import`].
    pub fn can_import(key: &[u8]) -> bool {
        key.iter().all(|byte| !matches!(byte, 0 | b'\n'))
    }

    /// Takes the token out: no process that starts from now on finds it, until it is put back.
    ///
    /// # Panics
    /// If it is out already.
    pub fn take_out(&self) {
        std::fs::rename(self.folder.join("tokens"), self.folder.join("drawer")).unwrap();
        std::fs::create_dir(self.folder.join("tokens")).unwrap();
    }

    /// Puts it back.
    ///
    /// # Panics
    /// If it is not out.
    pub fn put_back(&self) {
        std::fs::remove_dir(self.folder.join("tokens")).unwrap();
        std::fs::rename(self.folder.join("drawer"), self.folder.join("tokens")).unwrap();
    }

    fn util(&self, arguments: &[&str]) {
        let (util, _) = find::softhsm().expect(MISSING);
        let ran = Command::new(util).args(arguments).env(VARIABLE, self.configuration()).output().unwrap();
        assert!(ran.status.success(), "softhsm2-util: {}", String::from_utf8_lossy(&ran.stderr));
    }

    /// Where its files are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::on_softhsm! {
        #[test]
        fn a_test_runs_in_a_process_that_finds_its_token() {
            let Some(hsm) = SoftHsm::here() else { return };
            assert_eq!(std::env::var_os(VARIABLE).unwrap(), hsm.configuration());
            assert!(hsm.module().is_file());
            assert_eq!(std::fs::read_dir(hsm.folder().join("tokens")).unwrap().count(), 1);
        }
    }
}
