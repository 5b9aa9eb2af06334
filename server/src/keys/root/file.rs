//! The root key in a file: 32 bytes, sealed by age to an identity beside it or with a passphrase.
//!
//! It is the default, and as safe as the folder that it stands in: with the identity beside it (`root.identity`) whoever
//! reads the folder has the key, so that a server starts by itself. With a passphrase nothing in the folder suffices, nor does
//! it with the identity of an age plugin: there the key opens with what the plugin reaches (a token, a TPM).
//!
//! A native identity opens the key for each use, and between two uses this process does not hold it. What took a human or a plugin
//! (a passphrase, a touch) cannot be asked again for each use: that key stays in this process from its unlocking to its end.

use std::fs;
use std::io::Read;
use std::iter::once;
use std::path::Path;
use std::time::Duration;

use age::plugin;
use age::secrecy::{ExposeSecret, SecretString};
use futures::future::BoxFuture;
use strongroom_core::ids::{TenantId, VaultId};
use strongroom_core::keys::secret::{Key, scrubbed};
use strongroom_core::keys::wrap::{Purpose, RootTuple, Wrapped, unwrap_under_root, wrap_under_root};
use zeroize::Zeroizing;

use super::{RootKey, Secret};
use crate::config::root::FileRoot;
use crate::keys::KeyError;
use crate::keys::plugins::{PATIENCE, Plugin, Trouble};
use crate::keys::recipients::seal_to;

/// The usual name of the sealed root key in the vault's folder.
pub const ROOT_FILE: &str = "root.age";
/// The usual name of the age identity that opens it.
pub const IDENTITY_FILE: &str = "root.identity";

/// The scrypt work factor (log₂ N) of a new file: 256 MiB and about a second, as `age` has it. Fixed, not measured: a busy
/// machine must not make a weaker file.
const WORK_FACTOR: u8 = 18;
/// The most work (log₂ N) that a file may ask for: 1 GiB.
const MAX_WORK_FACTOR: u8 = 20;

/// A root key that was read from its file.
pub struct FileRootKey {
    held: Held,
    id: String,
}

/// What this process holds of it.
enum Held {
    /// Where it and its identity are.
    Files(FileRoot),
    /// The key.
    Key(Box<Key>),
}

/// What a new root key's file is sealed with, and the text of the identity file that belongs beside it.
pub(crate) struct NewRootFile {
    /// The root key, unlocked.
    pub(crate) root: FileRootKey,
    /// The contents of the key's file.
    pub(crate) sealed: Vec<u8>,
    /// The contents of a fresh identity's file.
    pub(crate) identity: Option<Zeroizing<String>>,
}

/// What a new root key is sealed with.
pub(crate) enum SealWith<'a> {
    /// A fresh identity, to be kept beside it.
    FreshIdentity,
    /// A passphrase.
    Passphrase(&'a str),
    /// The text of an identity's file: a native one, or a plugin's, which may take so long.
    Identity(&'a str, Duration),
}

impl FileRootKey {
    /// Opens the root key, with its identity if there is one, else with the passphrase. A plugin that asks for a secret is given
    /// it too.
    ///
    /// Deriving a key from a passphrase takes about a second of one core; a plugin may take as long as `patience`, and is then ended.
    ///
    /// # Errors
    /// [`KeyError::Locked`] if a passphrase is needed and there is none; [`KeyError::Passphrase`] if it is the wrong one;
    /// [`KeyError::Root`] if the files are missing, or are not what they should be.
    pub fn open(file: &FileRoot, secret: Option<Secret>, patience: Duration) -> Result<FileRootKey, KeyError> {
        let (key, by) = read(file, secret, patience)?;
        let id = id_of(&key);
        let held = match by {
            OpenedBy::Native => Held::Files(file.clone()),
            OpenedBy::Other => Held::Key(key),
        };
        Ok(FileRootKey { held, id })
    }

    /// Whether a native identity opens it: nobody is asked for anything.
    pub(crate) fn opens_by_itself(file: &FileRoot) -> bool {
        let text = fs::read_to_string(&file.identity).map(Zeroizing::new);
        text.is_ok_and(|text| matches!(KeptIdentity::parse(&text), Ok(KeptIdentity::Native(_))))
    }

    /// A fresh root key, sealed.
    pub(crate) fn create(with: SealWith<'_>) -> Result<NewRootFile, KeyError> {
        Self::create_with(with, WORK_FACTOR)
    }

    fn create_with(with: SealWith<'_>, work_factor: u8) -> Result<NewRootFile, KeyError> {
        let key = Key::random_in_box()?;
        let failed = |error: age::EncryptError| KeyError::Root(error.to_string());
        let (sealed, identity) = match with {
            SealWith::Passphrase(passphrase) => {
                let mut recipient = age::scrypt::Recipient::new(SecretString::from(passphrase.to_owned()));
                recipient.set_work_factor(work_factor);
                (age::encrypt(&recipient, key.expose()).map_err(failed)?, None)
            }
            SealWith::FreshIdentity => {
                let identity = age::x25519::Identity::generate();
                let sealed = age::encrypt(&identity.to_public(), key.expose()).map_err(failed)?;
                let secret = identity.to_string();
                // Exact capacity: a string that grows leaves copies of the secret behind.
                let mut text = Zeroizing::new(String::with_capacity(256));
                text.push_str(&format!("# opens the root key; public key: {}\n", identity.to_public()));
                text.push_str(secret.expose_secret());
                text.push('\n');
                (sealed, Some(text))
            }
            SealWith::Identity(text, patience) => {
                let sealed = match KeptIdentity::parse(text)? {
                    KeptIdentity::Native(identity) => age::encrypt(&identity.to_public(), key.expose()),
                    KeptIdentity::Plugin(identity) => {
                        let plugin = Plugin::find(identity.plugin(), patience)?;
                        let text = Zeroizing::new(identity.to_string());
                        let asked = plugin.recipient_of(&text);
                        Ok(seal_to(&asked, key.expose()).map_err(|error| asked.trouble(&error))?)
                    }
                };
                (sealed.map_err(failed)?, None)
            }
        };
        Ok(NewRootFile { root: FileRootKey::from_key(key), sealed, identity })
    }

    fn from_key(key: Box<Key>) -> FileRootKey {
        FileRootKey { id: id_of(&key), held: Held::Key(key) }
    }

    /// Does something with the key, which is read for it if it is not held.
    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Key) -> Result<T, KeyError> + Send + 'static,
    ) -> Result<T, KeyError> {
        let file = match &self.held {
            Held::Key(key) => return scrubbed(|| work(key)),
            Held::Files(file) => file.clone(),
        };
        let id = self.id.clone();
        let done = tokio::task::spawn_blocking(move || scrubbed(|| with_file(&file, &id, work)));
        done.await.map_err(|error| KeyError::Root(error.to_string()))?
    }
}

/// Reads the key, if it still is this one, for as long as the work takes.
#[inline(never)]
fn with_file<T>(file: &FileRoot, id: &str, work: impl FnOnce(&Key) -> Result<T, KeyError>) -> Result<T, KeyError> {
    let (key, _) = read(file, None, PATIENCE).map_err(|error| match error {
        KeyError::Locked => KeyError::Root(format!("{} is no longer there", file.identity.display())),
        other => other,
    })?;
    if id_of(&key) == id {
        work(&key)
    } else {
        Err(KeyError::Root(format!("{} has become another key than this server started with", file.key.display())))
    }
}

/// Eight bytes of an expansion tell root keys apart and say nothing about them.
fn id_of(key: &Key) -> String {
    let tag = key.expand(&[b"strongroom/v1/root-id"]);
    format!("file:{}", data_encoding::HEXLOWER.encode(&tag.expose()[..8]))
}

/// What opened a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OpenedBy {
    /// A native identity in a file: it does so again, without anybody.
    Native,
    /// A passphrase, or a plugin.
    Other,
}

/// The key in its file. It stands in a block of its own, so that what moves is its address.
fn read(file: &FileRoot, secret: Option<Secret>, patience: Duration) -> Result<(Box<Key>, OpenedBy), KeyError> {
    let FileRoot { key: path, identity, named } = file;
    let sealed = fs::read(path).map_err(|error| KeyError::Root(format!("{}: {error}", path.display())))?;
    let (plain, by) = match fs::read_to_string(identity).map(Zeroizing::new) {
        Ok(text) => open_with_identity(&sealed, &text, secret, patience).map_err(|error| match error {
            KeyError::Root(why) => KeyError::Root(format!("{}: {why}", identity.display())),
            other => other,
        })?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !named => {
            (open_with_passphrase(&sealed, &secret.ok_or(KeyError::Locked)?, path)?, OpenedBy::Other)
        }
        Err(error) => return Err(KeyError::Root(format!("{}: {error}", identity.display()))),
    };
    let key = Key::in_box(&plain);
    let key = key.ok_or_else(|| KeyError::Root(format!("{} does not hold a key of 32 bytes", path.display())))?;
    Ok((key, by))
}

impl RootKey for FileRootKey {
    fn id(&self) -> String {
        self.id.clone()
    }

    fn wrap<'a>(&'a self, place: &'a RootTuple<'a>, secret: &'a Key) -> BoxFuture<'a, Result<Vec<u8>, KeyError>> {
        let (place, secret) = (Place::of(place), Key::in_box(secret.expose()));
        Box::pin(self.with(move |key| {
            let secret = secret.ok_or(KeyError::Misuse("a key has 32 bytes"))?;
            Ok(wrap_under_root(key, &place.tuple(), &secret)?.as_bytes().to_vec())
        }))
    }

    fn unwrap<'a>(&'a self, place: &'a RootTuple<'a>, wrapped: &'a [u8]) -> BoxFuture<'a, Result<Box<Key>, KeyError>> {
        let (place, wrapped) = (Place::of(place), Wrapped::try_from(wrapped));
        Box::pin(self.with(move |key| Ok(Box::new(unwrap_under_root(key, &place.tuple(), &wrapped?)?))))
    }
}

/// A place that goes to another thread.
struct Place {
    purpose: Purpose,
    vault: VaultId,
    tenant: Option<(TenantId, String)>,
    version: u32,
}

impl Place {
    fn of(place: &RootTuple<'_>) -> Self {
        let RootTuple { purpose, vault, tenant, version } = *place;
        Self { purpose, vault, tenant: tenant.map(|(id, name)| (id, name.to_owned())), version }
    }

    fn tuple(&self) -> RootTuple<'_> {
        let tenant = self.tenant.as_ref().map(|(id, name)| (*id, name.as_str()));
        RootTuple { purpose: self.purpose, vault: self.vault, tenant, version: self.version }
    }
}

/// An identity, as its file says.
enum KeptIdentity {
    Native(age::x25519::Identity),
    Plugin(plugin::Identity),
}

impl KeptIdentity {
    fn parse(text: &str) -> Result<Self, KeyError> {
        let line = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
        let native = line.and_then(|line| line.parse().ok()).map(Self::Native);
        let parsed = native.or_else(|| line.and_then(|line| line.parse().ok()).map(Self::Plugin));
        parsed.ok_or_else(|| KeyError::Root("not an X25519 identity of age, nor one of a plugin".to_owned()))
    }
}

fn open_with_identity(
    sealed: &[u8],
    text: &str,
    secret: Option<Secret>,
    patience: Duration,
) -> Result<(Zeroizing<Vec<u8>>, OpenedBy), KeyError> {
    let failed = |why: &dyn std::fmt::Display| KeyError::Root(format!("does not open the root key: {why}"));
    match KeptIdentity::parse(text)? {
        KeptIdentity::Native(identity) => {
            Ok((decrypt(sealed, &identity).map_err(|error| failed(&error))?, OpenedBy::Native))
        }
        KeptIdentity::Plugin(identity) => {
            let plugin = Plugin::find(identity.plugin(), patience)?;
            let text = Zeroizing::new(identity.to_string());
            let asked = plugin.identity(&text, secret.as_ref());
            let opened = decrypt(sealed, &asked).map_err(|error| match asked.trouble(&error) {
                Trouble::Refused(why) => failed(&why),
                trouble => trouble.into(),
            });
            Ok((opened?, OpenedBy::Other))
        }
    }
}

impl From<Trouble> for KeyError {
    fn from(trouble: Trouble) -> Self {
        Self::Root(match trouble {
            Trouble::Late { .. } => {
                format!("{trouble}: see that its device is there and touched in time, or raise limits.plugin")
            }
            trouble => trouble.to_string(),
        })
    }
}

fn open_with_passphrase(sealed: &[u8], passphrase: &str, path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let mut identity = age::scrypt::Identity::new(SecretString::from(passphrase.to_owned()));
    identity.set_max_work_factor(MAX_WORK_FACTOR);
    decrypt(sealed, &identity).map_err(|error| match error {
        age::DecryptError::DecryptionFailed => KeyError::Passphrase,
        age::DecryptError::NoMatchingKeys => {
            KeyError::Root(format!("{} is sealed to an identity, and its file is missing", path.display()))
        }
        other => KeyError::Root(format!("{}: {other}", path.display())),
    })
}

/// Opens an age file into a buffer that zeroizes; a root key is 32 bytes, so more than a few hundred is refused.
fn decrypt(sealed: &[u8], identity: &dyn age::Identity) -> Result<Zeroizing<Vec<u8>>, age::DecryptError> {
    let decryptor = age::Decryptor::new_buffered(sealed)?;
    let mut plain = Zeroizing::new(Vec::with_capacity(256));
    decryptor.decrypt(once(identity))?.take(256).read_to_end(&mut plain)?;
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RootProvider;
    use crate::keys::root::suite::place;
    use crate::keys::root::{Need, need, open, root_key_suite};

    fn write(folder: &Path, new: &NewRootFile) {
        fs::write(folder.join(ROOT_FILE), &new.sealed).unwrap();
        if let Some(identity) = &new.identity {
            fs::write(folder.join(IDENTITY_FILE), identity.as_bytes()).unwrap();
        }
    }

    fn file(folder: &Path) -> FileRoot {
        let RootProvider::File(file) = RootProvider::in_folder(folder) else { unreachable!() };
        file
    }

    async fn opened() -> Option<std::sync::Arc<dyn RootKey>> {
        use std::sync::OnceLock;
        static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
        let folder = FOLDER.get_or_init(|| {
            let folder = tempfile::tempdir().unwrap();
            write(folder.path(), &FileRootKey::create(SealWith::FreshIdentity).unwrap());
            folder
        });
        Some(open(&RootProvider::in_folder(folder.path()), None, PATIENCE).await.unwrap())
    }

    root_key_suite!(super::opened);

    #[tokio::test]
    async fn opens_with_an_identity_kept_elsewhere() {
        let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let identity = FileRootKey::create(SealWith::FreshIdentity).unwrap().identity.unwrap();
        let new = FileRootKey::create(SealWith::Identity(&identity, PATIENCE)).unwrap();
        assert!(new.identity.is_none());
        write(folder.path(), &new);
        let named = elsewhere.path().join("identity");
        let file = FileRoot { identity: named.clone(), named: true, ..file(folder.path()) };
        let provider = RootProvider::File(file.clone());
        // It is named, so nobody is asked for a passphrase while it is not there: a disk that is not mounted yet.
        assert_eq!(need(&provider), None);
        assert!(
            matches!(open(&provider, None, PATIENCE).await.err(), Some(KeyError::Root(why)) if why.contains("identity"))
        );
        fs::write(named, identity.as_bytes()).unwrap();
        let again = open(&provider, None, PATIENCE).await.unwrap();
        let secret = Key::random().unwrap();
        let wrapped = new.root.wrap(&place("acme"), &secret).await.unwrap();
        assert!(again.unwrap(&place("acme"), &wrapped).await.unwrap().expose() == secret.expose());
    }

    #[tokio::test]
    async fn is_read_for_each_use_and_stays_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let new = FileRootKey::create(SealWith::FreshIdentity).unwrap();
        write(folder.path(), &new);
        let root = open(&RootProvider::in_folder(folder.path()), None, PATIENCE).await.unwrap();
        let secret = Key::random().unwrap();
        let wrapped = root.wrap(&place("acme"), &secret).await.unwrap();
        let identity = folder.path().join(IDENTITY_FILE);
        fs::remove_file(&identity).unwrap();
        let gone = root.unwrap(&place("acme"), &wrapped).await.map(drop);
        assert!(matches!(&gone, Err(KeyError::Root(why)) if why.contains("no longer there")), "{gone:?}");
        // Another vault's files in their place are not this key.
        write(folder.path(), &FileRootKey::create(SealWith::FreshIdentity).unwrap());
        let other = root.wrap(&place("acme"), &secret).await.map(drop);
        assert!(matches!(&other, Err(KeyError::Root(why)) if why.contains("another key")), "{other:?}");
        write(folder.path(), &new);
        assert!(root.unwrap(&place("acme"), &wrapped).await.unwrap().expose() == secret.expose());
    }

    #[tokio::test]
    async fn opens_with_its_passphrase_alone() {
        let folder = tempfile::tempdir().unwrap();
        let new = FileRootKey::create_with(SealWith::Passphrase("correct horse"), 4).unwrap();
        assert!(new.identity.is_none());
        write(folder.path(), &new);
        let provider = RootProvider::in_folder(folder.path());
        assert_eq!(need(&provider), Some(Need::Passphrase));
        let open = async |text: Option<&str>| {
            open(&provider, text.map(|text| Zeroizing::new(text.to_owned())), PATIENCE).await
        };
        assert_eq!(open(Some("correct horse")).await.unwrap().id(), new.root.id());
        assert!(matches!(open(Some("battery staple")).await.err(), Some(KeyError::Passphrase)));
        assert!(matches!(open(None).await.err(), Some(KeyError::Locked)));
    }

    #[test]
    fn refuses_files_that_are_something_else() {
        let folder = tempfile::tempdir().unwrap();
        let open = || FileRootKey::open(&file(folder.path()), None, PATIENCE).err();
        assert!(matches!(open(), Some(KeyError::Root(why)) if why.contains(ROOT_FILE)));

        let new = FileRootKey::create(SealWith::FreshIdentity).unwrap();
        write(folder.path(), &new);
        for cut in [0, 10, new.sealed.len() - 1] {
            fs::write(folder.path().join(ROOT_FILE), &new.sealed[..cut]).unwrap();
            assert!(matches!(open(), Some(KeyError::Root(_))), "{cut}");
        }
        write(folder.path(), &new);
        fs::write(folder.path().join(IDENTITY_FILE), "# only a comment\n").unwrap();
        assert!(matches!(open(), Some(KeyError::Root(why)) if why.contains(IDENTITY_FILE)));
        let other = FileRootKey::create(SealWith::FreshIdentity).unwrap().identity.unwrap();
        fs::write(folder.path().join(IDENTITY_FILE), other.as_bytes()).unwrap();
        assert!(matches!(open(), Some(KeyError::Root(why)) if why.contains("does not open")));

        let identity: age::x25519::Identity = age::x25519::Identity::generate();
        let short = age::encrypt(&identity.to_public(), b"no key").unwrap();
        fs::write(folder.path().join(ROOT_FILE), short).unwrap();
        fs::write(folder.path().join(IDENTITY_FILE), identity.to_string().expose_secret()).unwrap();
        assert!(matches!(open(), Some(KeyError::Root(why)) if why.contains("32 bytes")));
    }

    #[test]
    fn a_plugin_that_is_not_there_is_named() {
        let identity = plugin::Identity::default_for_plugin("strongroom-none").unwrap().to_string();
        let refused = FileRootKey::create(SealWith::Identity(&identity, PATIENCE)).err();
        assert!(matches!(refused, Some(KeyError::Root(why)) if why.contains("age-plugin-strongroom-none")));
    }

    #[test]
    fn a_root_key_shows_only_its_id() {
        let one = FileRootKey::create(SealWith::FreshIdentity).unwrap().root;
        let other = FileRootKey::create(SealWith::FreshIdentity).unwrap().root;
        assert_ne!(one.id(), other.id());
        assert_eq!(one.id().len(), "file:".len() + 16);
    }
}
