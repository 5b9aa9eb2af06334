//! A home: the folder that holds one identity, its server, and what it remembers of ledgers.
//!
//! ```text
//! identity.pem   the key, mode 0600: PEM, or an age file if it has a passphrase
//! server.json    {"address":"127.0.0.1:7443","server_key":"SHA256:…"}
//! ledgers.json   what was seen of ledgers (`memory.rs`)
//! ```
//!
//! Processes may share a home: every file is replaced whole or not at all.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use age::secrecy::SecretString;
use serde::{Deserialize, Serialize};
use strongroom_core::identity::{Fingerprint, Identity};
use strongroom_core::reason::Reason;
use tempfile::NamedTempFile;
use zeroize::Zeroizing;

use crate::error::{Error, Result};

/// The first bytes of every age file.
const AGE_MAGIC: &[u8] = b"age-encryption.org/v1\n";
/// No identity or server file is longer.
const MAX_FILE: u64 = 64 * 1024;

type AskPassphrase = Arc<dyn Fn() -> io::Result<Zeroizing<String>> + Send + Sync>;

/// A folder that holds one identity, its server, and what it remembers of ledgers.
///
/// ```
/// # let folder = tempfile::tempdir().unwrap();
/// # let folder = folder.path().join("lab");
/// use strongroom_client::{Home, Reason};
/// let home = Home::open(&folder);
/// assert_eq!(home.identity().err().unwrap().reason(), Reason::NotFound);
/// let identity = home.create_identity(None)?;
/// assert_eq!(home.identity()?.fingerprint(), identity.fingerprint());
/// assert_eq!(home.create_identity(None).err().unwrap().reason(), Reason::PreconditionFailed);
/// # Ok::<(), strongroom_client::Error>(())
/// ```
#[derive(Clone)]
pub struct Home {
    folder: PathBuf,
    ask: Option<AskPassphrase>,
}

/// Where a home's vault is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// `HOST:PORT`.
    pub address: String,
    /// The fingerprint of the vault key.
    pub server_key: Fingerprint,
}

impl std::fmt::Debug for Home {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Home").field(&self.folder).finish()
    }
}

impl Home {
    /// The home in this folder, which need not exist yet.
    pub fn open(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), ask: None }
    }

    /// `STRONGROOM_HOME`, or `strongroom` in the user's config folder (`XDG_CONFIG_HOME`, else `~/.config`).
    pub fn default_path() -> PathBuf {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        variable("STRONGROOM_HOME").unwrap_or_else(|| {
            let config = variable("XDG_CONFIG_HOME").or_else(|| variable("HOME").map(|home| home.join(".config")));
            config.unwrap_or_default().join("strongroom")
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// Asks for the identity's passphrase with `ask`, should it have one.
    #[must_use]
    pub fn with_passphrase(mut self, ask: impl Fn() -> io::Result<Zeroizing<String>> + Send + Sync + 'static) -> Self {
        self.ask = Some(Arc::new(ask));
        self
    }

    /// Its identity.
    ///
    /// # Errors
    /// `NOT_FOUND` if it has none; `UNAUTHENTICATED` if it has a passphrase and none, or a wrong one, was given;
    /// `INVALID_ARGUMENT` if the file is something else.
    pub fn identity(&self) -> Result<Identity> {
        let file = self.identity_file();
        let bytes = read(&file)?.ok_or_else(|| {
            Error::new(Reason::NotFound, format!("there is no identity in {}", self.folder.display()))
        })?;
        warn_if_readable_by_others(&file);
        let bytes = Zeroizing::new(bytes);
        if bytes.starts_with(AGE_MAGIC) {
            let ask = self.ask.as_ref().ok_or_else(|| passphrase_error(&file, "it has a passphrase"))?;
            let passphrase = ask().map_err(|error| passphrase_error(&file, &error.to_string()))?;
            return parse(&file, &decrypt(&file, &bytes, &passphrase)?);
        }
        parse(&file, &bytes)
    }

    /// Makes an identity (file mode 0600), encrypted with a passphrase if one is given.
    ///
    /// # Errors
    /// `PRECONDITION_FAILED` if there is one: it is never overwritten.
    pub fn create_identity(&self, passphrase: Option<&str>) -> Result<Identity> {
        let identity = Identity::generate().map_err(|error| Error::internal(error.to_string()))?;
        let pem = identity.to_pem();
        let bytes = match passphrase {
            None => Zeroizing::new(pem.as_bytes().to_vec()),
            Some(passphrase) => Zeroizing::new(encrypt(pem.as_bytes(), passphrase)?),
        };
        self.create_folder()?;
        let file = self.identity_file();
        let made = self.temporary(&bytes)?;
        made.persist_noclobber(&file).map_err(|error| match error.error.kind() {
            io::ErrorKind::AlreadyExists => {
                Error::new(Reason::PreconditionFailed, format!("{} is there already", file.display()))
            }
            _ => io_error(&file, "written", &error.error),
        })?;
        Ok(identity)
    }

    /// Its identity, made without a passphrase if there is none.
    ///
    /// # Errors
    /// As [`Home::identity`] and [`Home::create_identity`].
    pub fn identity_or_create(&self) -> Result<Identity> {
        match self.identity() {
            Err(error) if error.reason() == Reason::NotFound => match self.create_identity(None) {
                // Another process was faster.
                Err(error) if error.reason() == Reason::PreconditionFailed => self.identity(),
                made => made,
            },
            found => found,
        }
    }

    /// Where its vault is; none before a login.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` if the file is something else.
    pub fn server(&self) -> Result<Option<Server>> {
        let file = self.folder.join("server.json");
        let Some(bytes) = read(&file)? else { return Ok(None) };
        serde_json::from_slice(&bytes).map(Some).map_err(|error| damaged(&file, &error.to_string()))
    }

    /// Remembers where its vault is. Nothing is connected to.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn login(&self, address: &str, server_key: Fingerprint) -> Result<()> {
        check_address(address)?;
        let server = Server { address: address.to_owned(), server_key };
        let mut json = serde_json::to_vec(&server).map_err(|error| Error::internal(error.to_string()))?;
        json.push(b'\n');
        self.create_folder()?;
        self.replace("server.json", &json)
    }

    pub(crate) fn ledgers_file(&self) -> PathBuf {
        self.folder.join("ledgers.json")
    }

    fn identity_file(&self) -> PathBuf {
        self.folder.join("identity.pem")
    }

    fn create_folder(&self) -> Result<()> {
        create_private_folder(&self.folder).map_err(|error| io_error(&self.folder, "made", &error))
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let file = self.folder.join(name);
        let made = self.temporary(bytes)?;
        made.persist(&file).map_err(|error| io_error(&file, "written", &error.error))?;
        Ok(())
    }

    fn temporary(&self, bytes: &[u8]) -> Result<NamedTempFile> {
        temporary(&self.folder, bytes).map_err(|error| io_error(&self.folder, "written", &error))
    }
}

/// A file of mode 0600 with these bytes on disk, to be moved to its place.
pub(crate) fn temporary(folder: &Path, bytes: &[u8]) -> io::Result<NamedTempFile> {
    let mut file = NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    Ok(file)
}

pub(crate) fn create_private_folder(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// An identity's text or file, as `STRONGROOM_IDENTITY` gives it.
pub(crate) fn identity_from(value: &str) -> Result<Identity> {
    let from_pem = |text: &str, what: &str| {
        Identity::from_pem(text).map_err(|error| Error::new(Reason::InvalidArgument, format!("{what}: {error}")))
    };
    if value.trim_start().starts_with("-----BEGIN") {
        return from_pem(value, "STRONGROOM_IDENTITY");
    }
    let file = Path::new(value);
    let bytes = read(file)?
        .ok_or_else(|| Error::new(Reason::NotFound, format!("there is no identity file {}", file.display())))?;
    parse(file, &Zeroizing::new(bytes))
}

/// Refuses what is not `HOST:PORT`.
pub(crate) fn check_address(address: &str) -> Result<()> {
    let split = address.rsplit_once(':');
    let valid = split.is_some_and(|(host, port)| {
        let bare = !host.contains(':') || (host.starts_with('[') && host.ends_with(']'));
        !host.is_empty() && host.len() <= 255 && bare && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    if valid {
        Ok(())
    } else {
        Err(Error::new(Reason::InvalidArgument, format!("{address:?} is not an address of the form HOST:PORT")))
    }
}

/// A whole file, within bounds; `None` if there is none.
pub(crate) fn read(file: &Path) -> Result<Option<Vec<u8>>> {
    read_within(file, MAX_FILE)
}

pub(crate) fn read_within(file: &Path, most: u64) -> Result<Option<Vec<u8>>> {
    let opened = match fs::File::open(file) {
        Ok(opened) => opened,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error(file, "read", &error)),
    };
    // With room for all of it at once: a buffer that grows leaves copies of keys behind.
    let mut bytes = Vec::with_capacity(usize::try_from(most.min(MAX_FILE) + 1).unwrap_or_default());
    opened.take(most + 1).read_to_end(&mut bytes).map_err(|error| io_error(file, "read", &error))?;
    if bytes.len() as u64 > most { Err(damaged(file, "it is too long")) } else { Ok(Some(bytes)) }
}

fn parse(file: &Path, bytes: &[u8]) -> Result<Identity> {
    let text = std::str::from_utf8(bytes).map_err(|_| damaged(file, "it is no text"))?;
    Identity::from_pem(text).map_err(|error| damaged(file, &error.to_string()))
}

fn encrypt(bytes: &[u8], passphrase: &str) -> Result<Vec<u8>> {
    let encrypted = || -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        let encryptor = age::Encryptor::with_user_passphrase(SecretString::from(passphrase.to_owned()));
        let mut writer = encryptor.wrap_output(&mut out)?;
        writer.write_all(bytes)?;
        writer.finish()?;
        Ok(out)
    };
    encrypted().map_err(|error| Error::internal(format!("the identity could not be encrypted: {error}")))
}

fn decrypt(file: &Path, bytes: &[u8], passphrase: &str) -> Result<Zeroizing<Vec<u8>>> {
    let identity = age::scrypt::Identity::new(SecretString::from(passphrase.to_owned()));
    let wrong = |_| passphrase_error(file, "the passphrase is wrong, or the file is damaged");
    let decryptor = age::Decryptor::new_buffered(bytes).map_err(|error| damaged(file, &error.to_string()))?;
    let reader = decryptor.decrypt(std::iter::once(&identity as &dyn age::Identity)).map_err(wrong)?;
    let mut pem = Zeroizing::new(Vec::with_capacity(bytes.len()));
    reader.take(MAX_FILE).read_to_end(&mut pem).map_err(|error| damaged(file, &error.to_string()))?;
    Ok(pem)
}

fn warn_if_readable_by_others(file: &Path) {
    #[cfg(unix)]
    if let Ok(data) = fs::metadata(file)
        && std::os::unix::fs::PermissionsExt::mode(&data.permissions()) & 0o077 != 0
    {
        tracing::warn!(file = %file.display(), "others on this machine may read this identity: make its mode 0600");
    }
    #[cfg(not(unix))]
    let _ = file;
}

fn passphrase_error(file: &Path, why: &str) -> Error {
    Error::new(Reason::Unauthenticated, format!("the identity in {} cannot be opened: {why}", file.display()))
}

fn damaged(file: &Path, why: &str) -> Error {
    Error::new(Reason::InvalidArgument, format!("{}: {why}", file.display()))
}

fn io_error(file: &Path, what: &str, error: &io::Error) -> Error {
    let reason = match error.kind() {
        io::ErrorKind::NotFound => Reason::NotFound,
        _ => Reason::InvalidArgument,
    };
    Error::new(reason, format!("{} cannot be {what}: {error}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home() -> (tempfile::TempDir, Home) {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(folder.path().join("deep/home"));
        (folder, home)
    }

    #[test]
    fn identities_are_private_and_never_overwritten() {
        let (_folder, home) = home();
        let made = home.identity_or_create().unwrap();
        assert_eq!(home.identity_or_create().unwrap().fingerprint(), made.fingerprint());
        assert_eq!(home.create_identity(Some("x")).err().unwrap().reason(), Reason::PreconditionFailed);
        assert_eq!(home.identity().unwrap().fingerprint(), made.fingerprint());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode(&home.identity_file()), 0o600);
            assert_eq!(mode(home.path()), 0o700);
        }
        let left: Vec<_> = fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["identity.pem"], "nothing is left behind");
    }

    #[test]
    fn a_passphrase_opens_what_it_closed() {
        let (_folder, home) = home();
        let made = home.create_identity(Some("correct horse")).unwrap();
        assert!(fs::read(home.identity_file()).unwrap().starts_with(AGE_MAGIC));
        let with = |text: &'static str| home.clone().with_passphrase(move || Ok(Zeroizing::new(text.to_owned())));
        assert_eq!(home.identity().err().unwrap().reason(), Reason::Unauthenticated);
        assert_eq!(with("wrong").identity().err().unwrap().reason(), Reason::Unauthenticated);
        assert_eq!(with("correct horse").identity().unwrap().fingerprint(), made.fingerprint());
    }

    #[test]
    fn a_login_is_remembered_and_replaced() {
        let (_folder, home) = home();
        assert_eq!(home.server().unwrap(), None);
        let key = Identity::generate().unwrap().fingerprint();
        home.login("127.0.0.1:7443", key).unwrap();
        home.login("[::1]:7443", key).unwrap();
        assert_eq!(home.server().unwrap(), Some(Server { address: "[::1]:7443".into(), server_key: key }));
        for bad in ["", "host", ":1", "host:", "host:0", "host:65536", "a:b:1", "::1:7443"] {
            assert_eq!(home.login(bad, key).unwrap_err().reason(), Reason::InvalidArgument, "{bad}");
        }
        fs::write(home.folder.join("server.json"), "{}").unwrap();
        assert_eq!(home.server().unwrap_err().reason(), Reason::InvalidArgument);
    }

    #[test]
    fn what_is_no_identity_is_refused() {
        let (_folder, home) = home();
        home.create_folder().unwrap();
        for bad in ["", "no pem", "-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n"] {
            fs::write(home.identity_file(), bad).unwrap();
            assert_eq!(home.identity().err().unwrap().reason(), Reason::InvalidArgument);
        }
        fs::write(home.identity_file(), vec![b'a'; 70_000]).unwrap();
        assert_eq!(home.identity().err().unwrap().reason(), Reason::InvalidArgument);
        assert_eq!(identity_from("/no/such/file").err().unwrap().reason(), Reason::NotFound);
        let identity = Identity::generate().unwrap();
        assert_eq!(identity_from(&identity.to_pem()).unwrap().fingerprint(), identity.fingerprint());
    }
}
