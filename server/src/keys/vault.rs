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
use strongroom_core::succession::Succession;

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
    /// Which of the vault's keys it is, from 1.
    #[serde(default = "first", skip_serializing_if = "is_first")]
    pub version: u32,
    /// What the keys before it signed, so that clients follow: the steps of a [`Succession`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub succession: Vec<String>,
}

fn first() -> u32 {
    1
}

fn is_first(version: &u32) -> bool {
    *version == 1
}

impl VaultFile {
    /// A new vault with a fresh key.
    pub(crate) async fn create(root: &dyn RootKey) -> Result<VaultFile, KeyError> {
        let vault = VaultId::from_bytes(strongroom_core::keys::secret::random_bytes()?);
        let key = SigningKey::generate()?;
        let wrapped = root.wrap(&place(vault, 1), key.seed()).await?;
        Ok(VaultFile {
            format: 1,
            vault,
            public_key: key.public_key(),
            root: root.id(),
            wrapped_key: HEXLOWER.encode(&wrapped),
            version: 1,
            succession: Vec::new(),
        })
    }

    /// The same vault with a fresh key, which the one that it has signs for.
    pub(crate) async fn succeeded(self, root: &dyn RootKey) -> Result<VaultFile, KeyError> {
        let (old, new) = (self.unlock(root).await?, SigningKey::generate()?);
        let succession = self.succession()?.then(&old, &new.public_key()).steps();
        let version = self.version.checked_add(1).ok_or(KeyError::Misuse("a vault has had too many keys"))?;
        let wrapped = root.wrap(&place(self.vault, version), new.seed()).await?;
        let wrapped_key = HEXLOWER.encode(&wrapped);
        Ok(VaultFile { public_key: new.public_key(), wrapped_key, version, succession, ..self })
    }

    /// What the keys before it signed. That it holds, clients see for themselves.
    ///
    /// # Errors
    /// [`KeyError::Root`] if it is not what it should be.
    pub fn succession(&self) -> Result<Succession, KeyError> {
        let parsed = Succession::from_steps(self.succession.iter().map(String::as_str));
        parsed.ok_or_else(|| KeyError::Root(format!("{VAULT_FILE}: succession is not what vault keys sign")))
    }

    /// The same with the vault key wrapped by another root key.
    pub(crate) async fn wrapped_by(self, root: &dyn RootKey, key: &SigningKey) -> Result<VaultFile, KeyError> {
        let wrapped = root.wrap(&place(self.vault, self.version), key.seed()).await?;
        Ok(VaultFile { root: root.id(), wrapped_key: HEXLOWER.encode(&wrapped), ..self })
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
        let key = SigningKey::from_seed(*root.unwrap(&place(self.vault, self.version), &wrapped).await?)?;
        // The public half is what was shown to people; a key that does not fit it must not serve.
        if key.public_key() == self.public_key {
            Ok(key)
        } else {
            Err(KeyError::Root(format!("{VAULT_FILE}: public_key is not that of the wrapped key")))
        }
    }
}

fn place(vault: VaultId, version: u32) -> RootTuple<'static> {
    RootTuple { purpose: Purpose::VaultKey, vault, tenant: None, version }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::root::file::{FileRootKey, SealWith};

    #[tokio::test]
    async fn a_vault_opens_with_its_own_root_key_and_unchanged() {
        let root = FileRootKey::create(SealWith::FreshIdentity).unwrap().root;
        let file = VaultFile::create(&root).await.unwrap();
        assert_eq!(file.unlock(&root).await.unwrap().public_key(), file.public_key);

        let other = FileRootKey::create(SealWith::FreshIdentity).unwrap().root;
        assert!(matches!(file.unlock(&other).await, Err(KeyError::Root(why)) if why.contains(&other.id())));
        let moved = VaultFile { vault: VaultId::from_bytes([9; 16]), ..file.clone() };
        assert!(matches!(moved.unlock(&root).await, Err(KeyError::Unwrap(_))));
        let disguised = VaultFile { public_key: SigningKey::generate().unwrap().public_key(), ..file };
        assert!(matches!(disguised.unlock(&root).await, Err(KeyError::Root(why)) if why.contains("public_key")));
    }

    #[tokio::test]
    async fn its_file_has_one_spelling() {
        let folder = tempfile::tempdir().unwrap();
        let root = FileRootKey::create(SealWith::FreshIdentity).unwrap().root;
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
