//! Making a vault: files only, in one folder.
//!
//! ```text
//! strongroom.toml          the configuration
//! vault.json               vault id and wrapped vault key
//! root.age                 the root key, sealed, if a file keeps it
//! root.identity            what opens it; not with a passphrase, or an identity that lies elsewhere
//! operator/identity.pem    the operator's home: its identity …
//! operator/server.json     … and its server: the address and the vault key's fingerprint
//! ```
//!
//! Invariants:
//! - Nothing that is there is overwritten: a lost root key is a lost vault.
//! - `vault.json` comes last and whole, so that there is a vault or there is none. What a crash left behind is known by a
//!   marker that came first, and the next attempt clears it away.
//! - Everything is readable by its owner only, and durable when [`init`] returns.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::Serialize;
use strongroom_core::exact;
use strongroom_core::identity::{Fingerprint, Identity, IdentityError};
use strongroom_core::reason::Reason;

use crate::config::{self, CONFIG_FILE, DEFAULT_LISTEN};
use crate::keys::KeyError;
use crate::keys::plugins::PATIENCE;
use crate::keys::root::file::{IDENTITY_FILE, ROOT_FILE};
use crate::keys::root::new::{NewRoot, SealedBy};
use crate::keys::vault::{VAULT_FILE, VaultFile};

/// The name of the operator's home in a vault's folder.
pub const OPERATOR_HOME: &str = "operator";
/// There while a vault is being made, and if that was broken off.
const MARKER: &str = "init.unfinished";

/// How to make a vault.
#[derive(Default)]
pub struct InitOptions {
    /// The vault's name, first part of every ledger's origin; `strongroom` if none. It never changes.
    pub name: Option<String>,
    /// Where to listen.
    pub listen: Option<SocketAddr>,
    /// Who keeps the root key; a file with a fresh identity beside it, if nothing is said.
    pub root: NewRoot,
}

/// A vault that was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Initialised {
    /// The vault key's fingerprint: what clients pin.
    pub vault_key: Fingerprint,
    /// The operator's.
    pub operator: Fingerprint,
}

/// Why no vault was made.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// Something is there already.
    #[error("{} is there already: nothing was changed", .0.display())]
    Exists(PathBuf),
    /// The name breaks the rule, or the passphrase is empty.
    #[error("{what}: {why}")]
    Invalid {
        /// Which option.
        what: &'static str,
        /// The rule.
        why: String,
    },
    /// The system refused.
    #[error("{path}: {source}", path = .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// The root key or the vault key could not be made.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The operator's identity could not be made.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

impl InitError {
    /// The stable reason code.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Exists(_) => Reason::PreconditionFailed,
            Self::Invalid { .. } => Reason::InvalidArgument,
            Self::Io { .. } => Reason::Unavailable,
            Self::Key(error) => error.reason(),
            Self::Identity(_) => Reason::Internal,
        }
    }
}

/// Makes a vault in `folder`, which is made too if it is not there.
///
/// With a passphrase it takes about a second of one core.
///
/// # Errors
/// Each kind of [`InitError`].
pub async fn init(folder: &Path, options: InitOptions) -> Result<Initialised, InitError> {
    let name = options.name.as_deref().unwrap_or("strongroom");
    let name = config::name(name).map_err(|why| InitError::Invalid { what: "the vault's name", why })?;
    if matches!(&options.root, NewRoot::File(SealedBy::Passphrase(passphrase)) if passphrase.is_empty()) {
        return Err(InitError::Invalid { what: "the passphrase", why: "is empty".to_owned() });
    }
    let listen = options.listen.unwrap_or(DEFAULT_LISTEN);

    // Everything is made before anything is written. (A token's key is made in the token.)
    let root = options.root.make(folder, "root", PATIENCE).await?;
    let vault = VaultFile::create(root.root.as_ref()).await?;
    let operator = Identity::generate()?;
    let made = Initialised { vault_key: vault.public_key.fingerprint(), operator: operator.fingerprint() };
    let mut last = exact::to_vec(&vault).map_err(|error| KeyError::Root(error.to_string()))?;
    last.push(b'\n');

    make_folder(folder)?;
    clear_unfinished(folder)?;
    for file in [CONFIG_FILE, VAULT_FILE, ROOT_FILE, IDENTITY_FILE, OPERATOR_HOME] {
        let path = folder.join(file);
        if fs::symlink_metadata(&path).is_ok() {
            return Err(InitError::Exists(path));
        }
    }
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        write_new(&path, bytes).map_err(|source| InitError::Io { path, source })
    };
    write(MARKER, b"")?;
    sync_folder(folder)?;
    let home = folder.join(OPERATOR_HOME);
    make_folder(&home)?;
    write("operator/identity.pem", operator.to_pem().as_bytes())?;
    write("operator/server.json", &server_file(listen, made.vault_key))?;
    sync_folder(&home)?;
    for (path, bytes) in &root.files {
        write_new(path, bytes).map_err(|source| InitError::Io { path: path.clone(), source })?;
    }
    let config = config_text(&name, listen, made.operator, &root.provider.to_toml(folder));
    write(CONFIG_FILE, config.as_bytes())?;
    sync_folder(folder)?;
    replace(&folder.join(VAULT_FILE), &last)?;
    let marker = folder.join(MARKER);
    fs::remove_file(&marker).map_err(|source| InitError::Io { path: marker, source })?;
    sync_folder(folder)?;
    Ok(made)
}

/// Tells the operator's home in a vault's folder where the server listens. No home, nothing to tell.
///
/// # Errors
/// If the file cannot be replaced, as in a folder that is read-only: the operator then says the address by hand.
pub fn announce(folder: &Path, listening: SocketAddr, vault_key: Fingerprint) -> Result<(), InitError> {
    let home = folder.join(OPERATOR_HOME);
    if !home.is_dir() {
        return Ok(());
    }
    let path = home.join("server.json");
    let text = server_file(listening, vault_key);
    if fs::read(&path).is_ok_and(|bytes| bytes == text) { Ok(()) } else { replace(&path, &text) }
}

/// The client's record of its server.
#[derive(Serialize)]
struct ServerFile {
    address: String,
    server_key: Fingerprint,
}

fn server_file(listening: SocketAddr, server_key: Fingerprint) -> Vec<u8> {
    // "Every address" is where one listens, not where one connects.
    let ip = match listening.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    let address = SocketAddr::new(ip, listening.port()).to_string();
    let mut text = serde_json::to_vec(&ServerFile { address, server_key }).unwrap_or_default();
    text.push(b'\n');
    text
}

fn config_text(name: &str, listen: SocketAddr, operator: Fingerprint, root: &str) -> String {
    format!(
        "# A strongroom vault. Each key a.b can also be set as STRONGROOM_A_B in the environment, which wins.\n\
         \n\
         # The first part of every ledger's origin. It never changes.\n\
         name = \"{name}\"\n\
         listen = \"{listen}\"\n\
         # The keys that may create tenants. The first one's home is ./{OPERATOR_HOME}.\n\
         operators = [\"{operator}\"]\n\
         \n\
         [catalog]\n\
         url = \"sqlite:catalog.db\"\n\
         \n\
         [blobs]\n\
         url = \"file:blobs\"\n\
         \n\
         {root}"
    )
}

/// Clears away what an attempt left that was broken off: there is a marker, and no vault.
fn clear_unfinished(folder: &Path) -> Result<(), InitError> {
    let marker = folder.join(MARKER);
    if !marker.exists() || folder.join(VAULT_FILE).exists() {
        return Ok(());
    }
    let files = ["operator/identity.pem", "operator/server.json", ROOT_FILE, IDENTITY_FILE, CONFIG_FILE];
    for path in files.iter().map(|file| folder.join(file)) {
        absent(fs::remove_file(&path)).map_err(|source| InitError::Io { path, source })?;
    }
    let home = folder.join(OPERATOR_HOME);
    absent(fs::remove_dir(&home)).map_err(|source| InitError::Io { path: home, source })?;
    // The marker goes last: until then, all of this may be done again.
    fs::remove_file(&marker).map_err(|source| InitError::Io { path: marker, source })
}

fn absent(removed: io::Result<()>) -> io::Result<()> {
    removed.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

fn make_folder(path: &Path) -> Result<(), InitError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| InitError::Io { path: path.to_owned(), source })?;
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_folder(parent),
        _ => Ok(()),
    }
}

pub(crate) fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Puts a file in place whole: readers see the old one or the new one.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), InitError> {
    let failed = |source| InitError::Io { path: path.to_owned(), source };
    let folder = path.parent().unwrap_or(Path::new("."));
    // Made with mode 0600, and removed should anything fail.
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    file.write_all(bytes).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    sync_folder(folder)
}

pub(crate) fn sync_folder(path: &Path) -> Result<(), InitError> {
    let synced = File::open(path).and_then(|folder| folder.sync_all());
    synced.map_err(|source| InitError::Io { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::config::Config;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    fn files(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[tokio::test]
    async fn a_new_vault_opens_and_is_its_owners_alone() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("deep/vault");
        let made = init(&folder, InitOptions::default()).await.unwrap();
        assert_eq!(files(&folder), ["operator", "root.age", "root.identity", "strongroom.toml", "vault.json"]);
        for file in files(&folder).iter().filter(|file| *file != "operator") {
            assert_eq!(mode(&folder.join(file)), 0o600, "{file}");
        }
        for (path, expected) in [("", 0o700), ("operator", 0o700), ("operator/identity.pem", 0o600)] {
            assert_eq!(mode(&folder.join(path)), expected, "{path}");
        }

        let config = Config::load_with(&folder, []).unwrap();
        assert_eq!((config.operators, config.listen), (vec![made.operator], DEFAULT_LISTEN));
        let pem = fs::read_to_string(folder.join("operator/identity.pem")).unwrap();
        assert_eq!(Identity::from_pem(&pem).unwrap().fingerprint(), made.operator);
        let root = crate::keys::root::open(&config.root, None, PATIENCE).await.unwrap();
        let key = VaultFile::read(&folder).unwrap().unlock(root.as_ref()).await.unwrap();
        assert_eq!(key.public_key().fingerprint(), made.vault_key);
        let server = fs::read_to_string(folder.join("operator/server.json")).unwrap();
        let expected = format!("{{\"address\":\"{DEFAULT_LISTEN}\",\"server_key\":\"{}\"}}\n", made.vault_key);
        assert_eq!(server, expected);
    }

    #[tokio::test]
    async fn nothing_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        init(folder.path(), InitOptions::default()).await.unwrap();
        let before = fs::read(folder.path().join(ROOT_FILE)).unwrap();
        let again = init(folder.path(), InitOptions::default()).await.unwrap_err();
        assert_eq!(again.reason(), Reason::PreconditionFailed);
        assert_eq!(fs::read(folder.path().join(ROOT_FILE)).unwrap(), before);

        // A root key alone is somebody's root key.
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(ROOT_FILE), "precious").unwrap();
        assert!(matches!(init(folder.path(), InitOptions::default()).await, Err(InitError::Exists(_))));
        assert_eq!(files(folder.path()), [ROOT_FILE]);
    }

    #[tokio::test]
    async fn an_attempt_that_was_broken_off_is_cleared_away() {
        let folder = tempfile::tempdir().unwrap();
        init(folder.path(), InitOptions::default()).await.unwrap();
        fs::remove_file(folder.path().join(VAULT_FILE)).unwrap();
        fs::write(folder.path().join(MARKER), "").unwrap();
        init(folder.path(), InitOptions::default()).await.unwrap();
        assert!(!folder.path().join(MARKER).exists());

        // With a vault, the marker means that all was done but its removal.
        fs::write(folder.path().join(MARKER), "").unwrap();
        assert!(matches!(init(folder.path(), InitOptions::default()).await, Err(InitError::Exists(_))));
    }

    #[tokio::test]
    async fn options_are_checked_before_anything_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let name = InitOptions { name: Some("No Name".to_owned()), ..InitOptions::default() };
        let root = NewRoot::File(SealedBy::Passphrase(String::new().into()));
        let passphrase = InitOptions { root, ..InitOptions::default() };
        for options in [name, passphrase] {
            assert!(matches!(init(folder.path(), options).await, Err(InitError::Invalid { .. })));
        }
        assert!(files(folder.path()).is_empty());
    }

    #[tokio::test]
    async fn the_operators_home_learns_the_address() {
        let folder = tempfile::tempdir().unwrap();
        let made = init(folder.path(), InitOptions::default()).await.unwrap();
        announce(folder.path(), "0.0.0.0:4000".parse().unwrap(), made.vault_key).unwrap();
        let path = folder.path().join("operator/server.json");
        assert!(fs::read_to_string(&path).unwrap().contains("\"127.0.0.1:4000\""));
        assert_eq!(mode(&path), 0o600);
        fs::remove_dir_all(folder.path().join(OPERATOR_HOME)).unwrap();
        announce(folder.path(), "[::]:4000".parse().unwrap(), made.vault_key).unwrap();
        assert!(!path.exists());
    }
}
