//! The root key in a file: 32 bytes, sealed by age to an identity beside it or with a passphrase.
//!
//! It is the default, and as safe as the folder that it stands in: with the identity beside it (`root.identity`) whoever
//! reads the folder has the key, so that a server starts by itself. With a passphrase nothing in the folder suffices.
//!
//! The key stays in this process from its unlocking to its end.

use std::fs;
use std::io::Read;
use std::path::Path;

use age::secrecy::{ExposeSecret, SecretString};
use futures::future::BoxFuture;
use strongroom_core::keys::secret::Key;
use strongroom_core::keys::wrap::{RootTuple, Wrapped, unwrap_under_root, wrap_under_root};
use zeroize::Zeroizing;

use super::RootKey;
use crate::keys::KeyError;

/// The name of the sealed root key in the vault's folder.
pub const ROOT_FILE: &str = "root.age";
/// The name of the age identity that opens it.
pub const IDENTITY_FILE: &str = "root.identity";

/// The scrypt work factor (log₂ N) of a new file: 256 MiB and about a second, as `age` has it. Fixed, not measured: a busy
/// machine must not make a weaker file.
const WORK_FACTOR: u8 = 18;
/// The most work (log₂ N) that a file may ask for: 1 GiB.
const MAX_WORK_FACTOR: u8 = 20;

/// A root key that was read from its file.
pub struct FileRootKey {
    key: Key,
    id: String,
}

/// What a new root key's file is sealed with, and the text of the identity file that belongs beside it.
pub(crate) struct NewRootFile {
    /// The root key, unlocked.
    pub(crate) root: FileRootKey,
    /// The contents of [`ROOT_FILE`].
    pub(crate) sealed: Vec<u8>,
    /// The contents of [`IDENTITY_FILE`]; none with a passphrase.
    pub(crate) identity: Option<Zeroizing<String>>,
}

impl FileRootKey {
    /// Opens the root key in a vault's folder, with the identity beside it if there is one, else with the passphrase, which
    /// is asked for only then.
    ///
    /// Deriving a key from a passphrase takes about a second of one core.
    ///
    /// # Errors
    /// [`KeyError::Locked`] if a passphrase is needed and there is none; [`KeyError::Passphrase`] if it is the wrong one;
    /// [`KeyError::Root`] if the files are missing, or are not what they should be.
    pub fn open(
        folder: &Path,
        passphrase: impl FnOnce() -> Option<Zeroizing<String>>,
    ) -> Result<FileRootKey, KeyError> {
        let path = folder.join(ROOT_FILE);
        let sealed = fs::read(&path).map_err(|error| KeyError::Root(format!("{}: {error}", path.display())))?;
        let identity = folder.join(IDENTITY_FILE);
        let plain = match fs::read_to_string(&identity).map(Zeroizing::new) {
            Ok(text) => open_with_identity(&sealed, &text).map_err(|error| match error {
                KeyError::Root(why) => KeyError::Root(format!("{}: {why}", identity.display())),
                other => other,
            })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let passphrase = passphrase().ok_or(KeyError::Locked)?;
                open_with_passphrase(&sealed, &passphrase)?
            }
            Err(error) => return Err(KeyError::Root(format!("{}: {error}", identity.display()))),
        };
        let key = Key::try_from_slice(&plain)
            .ok_or_else(|| KeyError::Root(format!("{} does not hold a key of 32 bytes", path.display())))?;
        Ok(FileRootKey::from_key(key))
    }

    /// A fresh root key, sealed with a passphrase or else to a fresh identity.
    pub(crate) fn create(passphrase: Option<&str>) -> Result<NewRootFile, KeyError> {
        Self::create_with(passphrase, WORK_FACTOR)
    }

    fn create_with(passphrase: Option<&str>, work_factor: u8) -> Result<NewRootFile, KeyError> {
        let key = Key::random()?;
        let failed = |error: age::EncryptError| KeyError::Root(error.to_string());
        let (sealed, identity) = match passphrase {
            Some(passphrase) => {
                let mut recipient = age::scrypt::Recipient::new(SecretString::from(passphrase.to_owned()));
                recipient.set_work_factor(work_factor);
                (age::encrypt(&recipient, key.expose()).map_err(failed)?, None)
            }
            None => {
                let identity = age::x25519::Identity::generate();
                let sealed = age::encrypt(&identity.to_public(), key.expose()).map_err(failed)?;
                let secret = identity.to_string();
                // Exact capacity: a string that grows leaves copies of the secret behind.
                let mut text = Zeroizing::new(String::with_capacity(256));
                text.push_str(&format!("# opens {ROOT_FILE}; public key: {}\n", identity.to_public()));
                text.push_str(secret.expose_secret());
                text.push('\n');
                (sealed, Some(text))
            }
        };
        Ok(NewRootFile { root: FileRootKey::from_key(key), sealed, identity })
    }

    fn from_key(key: Key) -> FileRootKey {
        // Eight bytes of an expansion tell root keys apart and say nothing about them.
        let tag = key.expand(&[b"strongroom/v1/root-id"]);
        let id = format!("file:{}", data_encoding::HEXLOWER.encode(&tag.expose()[..8]));
        FileRootKey { key, id }
    }
}

impl RootKey for FileRootKey {
    fn id(&self) -> &str {
        &self.id
    }

    fn wrap<'a>(&'a self, place: &'a RootTuple<'a>, secret: &'a Key) -> BoxFuture<'a, Result<Vec<u8>, KeyError>> {
        Box::pin(async move { Ok(wrap_under_root(&self.key, place, secret)?.as_bytes().to_vec()) })
    }

    fn unwrap<'a>(&'a self, place: &'a RootTuple<'a>, wrapped: &'a [u8]) -> BoxFuture<'a, Result<Key, KeyError>> {
        Box::pin(async move { Ok(unwrap_under_root(&self.key, place, &Wrapped::try_from(wrapped)?)?) })
    }
}

/// Whether a vault's folder needs a passphrase to be opened.
pub fn needs_passphrase(folder: &Path) -> bool {
    !folder.join(IDENTITY_FILE).exists()
}

fn open_with_identity(sealed: &[u8], text: &str) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
    let identity: age::x25519::Identity = line
        .and_then(|line| line.parse().ok())
        .ok_or_else(|| KeyError::Root("not an X25519 identity of age".to_owned()))?;
    decrypt(sealed, &identity).map_err(|error| KeyError::Root(format!("does not open the root key: {error}")))
}

fn open_with_passphrase(sealed: &[u8], passphrase: &str) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let mut identity = age::scrypt::Identity::new(SecretString::from(passphrase.to_owned()));
    identity.set_max_work_factor(MAX_WORK_FACTOR);
    decrypt(sealed, &identity).map_err(|error| match error {
        age::DecryptError::DecryptionFailed => KeyError::Passphrase,
        age::DecryptError::NoMatchingKeys => {
            KeyError::Root(format!("{ROOT_FILE} is sealed to an identity, and {IDENTITY_FILE} is missing"))
        }
        other => KeyError::Root(format!("{ROOT_FILE}: {other}")),
    })
}

/// Opens an age file into a buffer that zeroizes; a root key is 32 bytes, so more than a few hundred is refused.
fn decrypt(sealed: &[u8], identity: &dyn age::Identity) -> Result<Zeroizing<Vec<u8>>, age::DecryptError> {
    let decryptor = age::Decryptor::new_buffered(sealed)?;
    let mut plain = Zeroizing::new(Vec::with_capacity(256));
    decryptor.decrypt(std::iter::once(identity))?.take(256).read_to_end(&mut plain)?;
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use strongroom_core::ids::{TenantId, VaultId};
    use strongroom_core::keys::wrap::Purpose;

    use super::*;

    fn place(name: &str) -> RootTuple<'_> {
        let tenant = Some((TenantId::from_bytes([2; 16]), name));
        RootTuple { purpose: Purpose::TenantKey, vault: VaultId::from_bytes([1; 16]), tenant, version: 1 }
    }

    fn write(folder: &Path, new: &NewRootFile) {
        fs::write(folder.join(ROOT_FILE), &new.sealed).unwrap();
        if let Some(identity) = &new.identity {
            fs::write(folder.join(IDENTITY_FILE), identity.as_bytes()).unwrap();
        }
    }

    fn never() -> Option<Zeroizing<String>> {
        panic!("nobody is asked for a passphrase")
    }

    #[tokio::test]
    async fn opens_with_the_identity_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let new = FileRootKey::create(None).unwrap();
        write(folder.path(), &new);
        assert!(!needs_passphrase(folder.path()));
        let again = FileRootKey::open(folder.path(), never).unwrap();
        assert_eq!(again.id(), new.root.id());

        let secret = Key::random().unwrap();
        let wrapped = new.root.wrap(&place("acme"), &secret).await.unwrap();
        assert!(again.unwrap(&place("acme"), &wrapped).await.unwrap().expose() == secret.expose());
        for (place, wrapped) in [(place("acme"), &wrapped[1..]), (place("other"), &wrapped[..])] {
            assert!(matches!(again.unwrap(&place, wrapped).await, Err(KeyError::Unwrap(_))));
        }
    }

    #[test]
    fn opens_with_its_passphrase_alone() {
        let folder = tempfile::tempdir().unwrap();
        let new = FileRootKey::create_with(Some("correct horse"), 4).unwrap();
        assert!(new.identity.is_none());
        write(folder.path(), &new);
        assert!(needs_passphrase(folder.path()));
        let open =
            |text: Option<&str>| FileRootKey::open(folder.path(), || text.map(|text| Zeroizing::new(text.into())));
        assert_eq!(open(Some("correct horse")).unwrap().id(), new.root.id());
        assert!(matches!(open(Some("battery staple")), Err(KeyError::Passphrase)));
        assert!(matches!(open(None), Err(KeyError::Locked)));
    }

    #[test]
    fn refuses_files_that_are_something_else() {
        let folder = tempfile::tempdir().unwrap();
        let open = || FileRootKey::open(folder.path(), || None).err();
        assert!(matches!(open(), Some(KeyError::Root(why)) if why.contains(ROOT_FILE)));

        let new = FileRootKey::create(None).unwrap();
        write(folder.path(), &new);
        for cut in [0, 10, new.sealed.len() - 1] {
            fs::write(folder.path().join(ROOT_FILE), &new.sealed[..cut]).unwrap();
            assert!(matches!(open(), Some(KeyError::Root(_))), "{cut}");
        }
        write(folder.path(), &new);
        fs::write(folder.path().join(IDENTITY_FILE), "# only a comment\n").unwrap();
        assert!(matches!(open(), Some(KeyError::Root(why)) if why.contains(IDENTITY_FILE)));
        let other = FileRootKey::create(None).unwrap().identity.unwrap();
        fs::write(folder.path().join(IDENTITY_FILE), other.as_bytes()).unwrap();
        assert!(matches!(open(), Some(KeyError::Root(why)) if why.contains("does not open")));

        let identity: age::x25519::Identity = age::x25519::Identity::generate();
        let short = age::encrypt(&identity.to_public(), b"no key").unwrap();
        fs::write(folder.path().join(ROOT_FILE), short).unwrap();
        fs::write(folder.path().join(IDENTITY_FILE), identity.to_string().expose_secret()).unwrap();
        assert!(matches!(open(), Some(KeyError::Root(why)) if why.contains("32 bytes")));
    }

    #[test]
    fn a_root_key_shows_only_its_id() {
        let one = FileRootKey::create(None).unwrap().root;
        let other = FileRootKey::create(None).unwrap().root;
        assert_ne!(one.id(), other.id());
        assert_eq!(one.id().len(), "file:".len() + 16);
    }
}
