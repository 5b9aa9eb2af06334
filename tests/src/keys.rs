//! Every key that whoever holds the root key of a vault can come to: what must stand nowhere in the clear.
//!
//! They are computed here as the formats say, step by step from the folder's files, and not asked of the server.

use std::io::Read;
use std::path::Path;

use sqlx::{AssertSqlSafe, Row};
use strongroom_core::ids::{DatasetId, Digest, TenantId};
use strongroom_core::keys::secret::Key;
use strongroom_core::keys::wrap::{Purpose, RootTuple, WrapTuple, Wrapped, unwrap, unwrap_under_root};
use strongroom_core::sealed::HEADER_LEN;
use strongroom_core::sealed::header::Header;
use strongroom_core::sealed::layout::Layout;
use strongroom_server::keys::root::file::{IDENTITY_FILE, ROOT_FILE};
use strongroom_server::keys::root::ring::without_signpost;
use strongroom_server::keys::vault::VaultFile;

use crate::tamper::OBJECTS;

/// A key, and what it is.
pub struct Named {
    /// What it is.
    pub name: String,
    /// The key.
    pub key: Key,
}

/// All keys of the vault in `folder`, whose root key has an identity beside it: the root key, the vault key, and of each tenant its
/// keys, the roots of its objects, and below each root the nodes, leaves and seal keys of its first segments.
pub async fn all(folder: &Path) -> Vec<Named> {
    let mut found = Vec::new();
    let mut add = |name: String, key: &Key| found.push(Named { name, key: key.duplicate() });
    let file = VaultFile::read(folder).unwrap();
    let root = root_key(folder);
    add("the root key".into(), &root);
    let open = |place: RootTuple<'_>, wrapped: &[u8]| {
        unwrap_under_root(&root, &place, &Wrapped::try_from(without_signpost(wrapped)).unwrap()).unwrap()
    };
    let vault = file.vault;
    let wrapped = data_encoding::HEXLOWER.decode(file.wrapped_key.as_bytes()).unwrap();
    add(
        "the vault key".into(),
        &open(RootTuple { purpose: Purpose::VaultKey, vault, tenant: None, version: 1 }, &wrapped),
    );

    let mut catalog = crate::oracle::open(folder).await;
    let tenants = sqlx::query(
        "SELECT t.id, t.name, t.ledger_key, t.log_key, k.version, k.wrapped FROM tenants t JOIN tenant_keys k ON k.tenant = t.id WHERE length(k.wrapped) > 0",
    );
    for row in tenants.fetch_all(&mut catalog).await.unwrap() {
        let bytes = |column| row.get::<Vec<u8>, _>(column);
        let tenant = TenantId::try_from(&bytes(0)[..]).unwrap();
        let name: String = row.get(1);
        let place = |purpose| RootTuple { purpose, vault, tenant: Some((tenant, name.as_str())), version: 1 };
        add(format!("{name}'s ledger key"), &open(place(Purpose::LedgerKey), &bytes(2)));
        add(format!("{name}'s log key"), &open(place(Purpose::LogKey), &bytes(3)));
        let version = u32::try_from(row.get::<i64, _>(4)).unwrap();
        let tenant_key = open(RootTuple { version, ..place(Purpose::TenantKey) }, &bytes(5));
        add(format!("{name}'s key"), &tenant_key);

        let objects = sqlx::query(AssertSqlSafe(format!(
            "SELECT dataset, dataset_name, path, fixed, wrapped FROM {OBJECTS} WHERE tenant = $1 AND key_version = $2"
        )));
        let objects = objects.bind(tenant.as_bytes().to_vec()).bind(i64::from(version));
        for row in objects.fetch_all(&mut catalog).await.unwrap() {
            let bytes = |column| row.get::<Vec<u8>, _>(column);
            let (dataset_name, path): (String, String) = (row.get(1), row.get(2));
            let fixed = bytes(3);
            let (header, rest) = fixed.split_first_chunk::<HEADER_LEN>().unwrap();
            let (size, rest) = rest.split_first_chunk::<8>().unwrap();
            let size = u64::from_be_bytes(*size);
            let row = WrapTuple {
                tenant,
                key_version: version,
                dataset: DatasetId::try_from(&bytes(0)[..]).unwrap(),
                dataset_name: &dataset_name,
                path: &path,
                header: Header::parse(header).unwrap(),
                size,
                content_root: Digest::from_bytes(*rest.first_chunk().unwrap()),
            };
            let root = unwrap(&tenant_key, &row, &Wrapped::try_from(&bytes(4)[..]).unwrap()).unwrap();
            add(format!("the root of {path}"), root.key());
            for segment in 0..Layout::new(size).unwrap().segments().min(8) {
                descend(root.key(), segment, |what, key| add(format!("{what} of segment {segment} of {path}"), key));
            }
        }
    }
    sqlx::Connection::close(catalog).await.unwrap();
    found
}

/// From an object's root down to one segment, as the format says.
fn descend(root: &Key, segment: u32, mut found: impl FnMut(&str, &Key)) {
    let mut key = root.duplicate();
    for (level, step) in (1..).zip(segment.to_be_bytes()) {
        key = key.expand(&[b"strongroom/v1/node", &[step]]);
        found(if level == 4 { "the leaf" } else { "a node" }, &key);
    }
    found("the seal key", &key.expand(&[b"strongroom/v1/seal"]));
}

/// What the identity beside the root key is made of: its scalar, and a part of its text.
pub fn identity_of_root(folder: &Path) -> Vec<Named> {
    let text = std::fs::read_to_string(folder.join(IDENTITY_FILE)).unwrap();
    let line = text.lines().find(|line| line.starts_with("AGE-SECRET-KEY-")).unwrap();
    // Bech32 (BIP 173): five bits a letter, the last six of them a checksum.
    let letters = line.strip_prefix("AGE-SECRET-KEY-1").unwrap().to_ascii_lowercase();
    let value = |letter| "qpzry9x8gf2tvdw0s3jn54khce6mua7l".bytes().position(|other| other == letter).unwrap();
    let (mut bits, mut held, mut scalar) = (0_usize, 0, Vec::new());
    for letter in letters.bytes().take(letters.len() - 6) {
        (bits, held) = (bits << 5 | value(letter), held + 5);
        if held >= 8 {
            held -= 8;
            scalar.push((bits >> held & 0xff) as u8);
        }
    }
    let named = |name: &str, key: &[u8]| Named { name: name.to_owned(), key: Key::try_from_slice(key).unwrap() };
    vec![
        named("the root key's identity", &scalar),
        named("the text of the root key's identity", &line.as_bytes()[line.len() - Key::LEN..]),
    ]
}

/// The root key, opened with the identity beside it.
fn root_key(folder: &Path) -> Key {
    root_key_in(&folder.join(ROOT_FILE))
}

/// The root key in a file, opened with the identity of the same name beside it.
pub fn root_key_in(file: &Path) -> Key {
    let text = std::fs::read_to_string(file.with_extension("identity")).unwrap();
    let identity = text.lines().find(|line| line.starts_with("AGE-SECRET-KEY-")).unwrap();
    root_key_by(file, &identity.parse::<age::x25519::Identity>().unwrap())
}

/// The root key in a file, opened with this identity.
pub fn root_key_by(file: &Path, identity: &dyn age::Identity) -> Key {
    let sealed = std::fs::read(file).unwrap();
    let mut plain = Vec::new();
    let decryptor = age::Decryptor::new_buffered(&sealed[..]).unwrap();
    decryptor.decrypt(std::iter::once(identity)).unwrap().read_to_end(&mut plain).unwrap();
    Key::try_from_slice(&plain).unwrap()
}
