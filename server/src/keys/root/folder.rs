//! What a rotation of the root key leaves in the folder, so that a server that is killed goes on with it.
//!
//! ```text
//! root.next.toml written ─► rows wrapped anew … ─► vault.json ─► strongroom.toml ─► root.next.toml removed
//! ```
//!
//! Each step replaces one file whole. Until the last one a server opens both root keys.

use std::fs;
use std::io;
use std::path::Path;

use strongroom_core::exact;

use crate::config::{CONFIG_FILE, RootProvider};
use crate::init::{replace, sync_folder};
use crate::keys::KeyError;
use crate::keys::vault::{VAULT_FILE, VaultFile};

/// What says who keeps the root key that takes over.
pub const NEXT_FILE: &str = "root.next.toml";

/// Who keeps the root key that takes over, if one does.
pub(crate) fn next(folder: &Path) -> Result<Option<RootProvider>, KeyError> {
    RootProvider::read_alone(folder, NEXT_FILE).map_err(|error| KeyError::Root(error.to_string()))
}

/// Says that this one takes over.
pub(crate) fn begin(folder: &Path, provider: &RootProvider) -> Result<(), KeyError> {
    replace(&folder.join(NEXT_FILE), provider.to_toml(folder).as_bytes()).map_err(told)
}

/// Puts the vault's file in its place.
pub(crate) fn write_vault(folder: &Path, file: &VaultFile) -> Result<(), KeyError> {
    let mut bytes = exact::to_vec(file).map_err(|error| KeyError::Root(error.to_string()))?;
    bytes.push(b'\n');
    replace(&folder.join(VAULT_FILE), &bytes).map_err(told)
}

/// Makes the one that took over the configured one.
pub(crate) fn finish(folder: &Path, provider: &RootProvider) -> Result<(), KeyError> {
    let config = folder.join(CONFIG_FILE);
    let failed = |path: &Path, error: &io::Error| KeyError::Root(format!("{}: {error}", path.display()));
    let text = fs::read_to_string(&config).map_err(|error| failed(&config, &error))?;
    replace(&config, with_root(&text, &provider.to_toml(folder)).as_bytes()).map_err(told)?;
    let next = folder.join(NEXT_FILE);
    match fs::remove_file(&next) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(&next, &error)),
        _ => sync_folder(folder).map_err(told),
    }
}

fn told(error: crate::init::InitError) -> KeyError {
    KeyError::Root(error.to_string())
}

/// A configuration's text with another `[root]` table, and the rest of it as it was.
fn with_root(text: &str, table: &str) -> String {
    let mut kept = String::with_capacity(text.len() + table.len());
    let mut within = false;
    for line in text.lines() {
        let head = line.trim_start();
        if head.starts_with('[') {
            let name = head.trim_start_matches('[').trim_start();
            within = name.strip_prefix("root").is_some_and(|rest| rest.trim_start().starts_with([']', '.']));
        }
        if !within {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    format!("{}\n\n{table}", kept.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_table_of_the_root_key_is_another() {
        let text = "name = \"a\" # [root]\n\n[root]\nprovider = \"file\"\n# of it\n[root.file]\nkey = \"k\"\n\n[limits]\nretention = 5\n";
        let new = with_root(text, "[root]\nprovider = \"aws-kms\"\n");
        assert_eq!(new, "name = \"a\" # [root]\n\n[limits]\nretention = 5\n\n[root]\nprovider = \"aws-kms\"\n");
        assert_eq!(with_root("name = \"a\"", "[root]\n"), "name = \"a\"\n\n[root]\n");
        assert_eq!(with_root("[rooted]\nx = 1\n", "[root]\n"), "[rooted]\nx = 1\n\n[root]\n");
    }

    #[test]
    fn what_takes_over_is_read_back_and_then_configured() {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path();
        fs::write(here.join(CONFIG_FILE), "name = \"a\"\n[root]\nprovider = \"file\"\n").unwrap();
        assert!(next(here).unwrap().is_none());
        let file = crate::config::root::FileRoot {
            key: here.join("root-1.age"),
            identity: here.join("root-1.identity"),
            named: false,
        };
        let provider = RootProvider::File(file);
        begin(here, &provider).unwrap();
        assert_eq!(next(here).unwrap(), Some(provider.clone()));
        for _ in 0..2 {
            finish(here, &provider).unwrap();
            assert!(next(here).unwrap().is_none());
            assert_eq!(crate::config::Config::load_with(here, []).unwrap().root, provider);
        }
        fs::write(here.join(NEXT_FILE), "[root]\nprovider = \"paper\"\n").unwrap();
        assert!(next(here).is_err());
    }
}
