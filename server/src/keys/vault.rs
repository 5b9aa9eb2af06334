//! The vault key: the one Ed25519 key that clients pin, wrapped by the root key.
//!
//! It stands in the folder beside the vault's id, not in the catalog: a node must have it before it accepts a connection,
//! and whoever can write the catalog must not be able to exchange it.

use std::fs;
use std::path::Path;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use strongroom_core::ed25519::{SigningKey, VerifyingKey};
use strongroom_core::exact;
use strongroom_core::ids::VaultId;
use strongroom_core::keys::wrap::{Purpose, RootTuple};

use super::KeyError;
use super::root::RootKey;

/// The name of the vault's file in its folder.
pub const VAULT_FILE: &str = "vault.json";

/// What a vault is: its id, its key's public half, and the key itself, wrapped. No secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VaultFile {
    /// The version of this file's format: 1.
    pub format: u32,
    /// The vault's id.
    pub vault: VaultId,
    /// The vault key's public half; its fingerprint is what clients pin.
    pub public_key: VerifyingKey,
    /// The id of the root key that wraps it.
    pub root: String,
    /// The wrapped seed, hex.
    pub wrapped_key: String,
}

impl VaultFile {
    /// A new vault with a fresh key.
    pub(crate) async fn create(root: &dyn RootKey) -> Result<VaultFile, KeyError> {
        let vault = VaultId::from_bytes(strongroom_core::keys::secret::random_bytes()?);
        let key = SigningKey::generate()?;
        let wrapped = root.wrap(&place(vault), key.seed()).await?;
        Ok(VaultFile {
            format: 1,
            vault,
            public_key: key.public_key(),
            root: root.id().to_owned(),
            wrapped_key: HEXLOWER.encode(&wrapped),
        })
    }

    /// Reads the file in a vault's folder. It needs no key, so that the fingerprint can be shown before unlocking.
    ///
    /// # Errors
    /// [`KeyError::Root`] if there is none, or it is not what it should be.
    pub fn read(folder: &Path) -> Result<VaultFile, KeyError> {
        let path = folder.join(VAULT_FILE);
        let failed = |why: String| KeyError::Root(format!("{}: {why}", path.display()));
        let bytes = fs::read(&path).map_err(|error| failed(error.to_string()))?;
        let file: VaultFile = exact::from_slice(bytes.trim_ascii_end()).map_err(|error| failed(error.to_string()))?;
        if file.format == 1 { Ok(file) } else { Err(failed(format!("unknown format {}", file.format))) }
    }

    /// Unwraps the vault key.
    ///
    /// # Errors
    /// [`KeyError::Root`] if another root key wraps it; [`KeyError::Unwrap`] if the file was changed.
    pub async fn unlock(&self, root: &dyn RootKey) -> Result<SigningKey, KeyError> {
        if self.root != root.id() {
            return Err(KeyError::Root(format!("the vault key is wrapped by {}, not by {}", self.root, root.id())));
        }
        let wrapped = HEXLOWER.decode(self.wrapped_key.as_bytes());
        let wrapped = wrapped.map_err(|_| KeyError::Root(format!("{VAULT_FILE}: wrapped_key is not hex")))?;
        let key = SigningKey::from_seed(root.unwrap(&place(self.vault), &wrapped).await?)?;
        // The public half is what was shown to people; a key that does not fit it must not serve.
        if key.public_key() == self.public_key {
            Ok(key)
        } else {
            Err(KeyError::Root(format!("{VAULT_FILE}: public_key is not that of the wrapped key")))
        }
    }
}

fn place(vault: VaultId) -> RootTuple<'static> {
    RootTuple { purpose: Purpose::VaultKey, vault, tenant: None, version: 1 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::root::file::FileRootKey;

    #[tokio::test]
    async fn a_vault_opens_with_its_own_root_key_and_unchanged() {
        let root = FileRootKey::create(None).unwrap().root;
        let file = VaultFile::create(&root).await.unwrap();
        assert_eq!(file.unlock(&root).await.unwrap().public_key(), file.public_key);

        let other = FileRootKey::create(None).unwrap().root;
        assert!(matches!(file.unlock(&other).await, Err(KeyError::Root(why)) if why.contains(other.id())));
        let moved = VaultFile { vault: VaultId::from_bytes([9; 16]), ..file.clone() };
        assert!(matches!(moved.unlock(&root).await, Err(KeyError::Unwrap(_))));
        let disguised = VaultFile { public_key: SigningKey::generate().unwrap().public_key(), ..file };
        assert!(matches!(disguised.unlock(&root).await, Err(KeyError::Root(why)) if why.contains("public_key")));
    }

    #[tokio::test]
    async fn its_file_has_one_spelling() {
        let folder = tempfile::tempdir().unwrap();
        let root = FileRootKey::create(None).unwrap().root;
        let file = VaultFile::create(&root).await.unwrap();
        let mut bytes = exact::to_vec(&file).unwrap();
        bytes.push(b'\n');
        fs::write(folder.path().join(VAULT_FILE), &bytes).unwrap();
        assert_eq!(VaultFile::read(folder.path()).unwrap(), file);
        let unknown = String::from_utf8(bytes).unwrap().replace("\"format\":1", "\"format\":2");
        fs::write(folder.path().join(VAULT_FILE), unknown).unwrap();
        assert!(matches!(VaultFile::read(folder.path()), Err(KeyError::Root(why)) if why.contains("format 2")));
    }
}
