//! The published vectors of wrapped keys, parcels and upload keys, section by section.
//!
//! They live here and not in `tests/`, because sealing with a given nonce must not be anybody's to call.

use data_encoding::HEXLOWER;
use serde_json::Value;

use super::parcel::{
    Binding, KeyParcel, ParcelError, ParcelObject, SessionSecret, encode_upload_keys, open_upload_keys, upload_key,
};
use super::secret::{Key, seal_box_with_nonce};
use super::wrap::{self, Purpose, RootTuple, WrapTuple, Wrapped, unwrap, unwrap_under_root};
use crate::ids::{CallDigest, DatasetId, Digest, Generation, ObjectId, SegmentRange, SessionId, TenantId, VaultId};
use crate::sealed::header::{Header, HeaderError};
use crate::sealed::layout::LayoutError;
use crate::sealed::tree::{CoverKeys, ObjectRoot};

fn vectors(section: &str) -> Vec<Value> {
    let file: Value = serde_json::from_str(include_str!("../../tests/vectors/keys-v1.json")).unwrap();
    let section = file[section].as_array().unwrap();
    assert!(!section.is_empty());
    section.clone()
}

#[test]
fn wraps() {
    for vector in vectors("wraps") {
        let header = Header::new(ObjectId::from_bytes(array(&vector["object_id"])));
        let row = WrapTuple {
            tenant: TenantId::from_bytes(array(&vector["tenant"])),
            key_version: u32(&vector["key_version"]),
            dataset: DatasetId::from_bytes(array(&vector["dataset"])),
            dataset_name: text(&vector["dataset_name"]),
            path: text(&vector["path"]),
            header,
            size: u64(&vector["size"]),
            content_root: Digest::from_bytes(array(&vector["content_root"])),
        };
        let tenant_key = key(&vector["tenant_key"]);
        let root = ObjectRoot::derive(&key(&vector["object_key"]), &header);
        assert_eq!(root.key().expose()[..], hex(&vector["root"]));
        assert_eq!(row.aad(), hex(&vector["aad"]));
        assert_eq!(row.key(&tenant_key).expose()[..], hex(&vector["wrap_key"]));

        let wrapped = wrap::seal(&row.key(&tenant_key), array(&vector["nonce"]), &row.aad(), root.key());
        assert_eq!(wrapped.as_bytes()[..], hex(&vector["wrapped"]), "{}", vector["name"]);
        assert_eq!(unwrap(&tenant_key, &row, &wrapped).ok().unwrap().key().expose(), root.key().expose());
    }
}

#[test]
fn root_wraps() {
    for vector in vectors("root_wraps") {
        let purposes = [Purpose::TenantKey, Purpose::LedgerKey, Purpose::LogKey, Purpose::VaultKey];
        let place = RootTuple {
            purpose: purposes.into_iter().find(|purpose| purpose.as_str() == text(&vector["purpose"])).unwrap(),
            vault: VaultId::from_bytes(array(&vector["vault"])),
            tenant: vector["tenant_name"].as_str().map(|name| (TenantId::from_bytes(array(&vector["tenant"])), name)),
            version: u32(&vector["version"]),
        };
        let root_key = key(&vector["root_key"]);
        let secret = key(&vector["secret"]);
        assert_eq!(place.aad(), hex(&vector["aad"]));
        assert_eq!(place.key(&root_key).expose()[..], hex(&vector["wrap_key"]));

        let wrapped = wrap::seal(&place.key(&root_key), array(&vector["nonce"]), &place.aad(), &secret);
        assert_eq!(wrapped.as_bytes()[..], hex(&vector["wrapped"]), "{}", vector["name"]);
        let stored = Wrapped::try_from(&hex(&vector["wrapped"])[..]).unwrap();
        assert_eq!(unwrap_under_root(&root_key, &place, &stored).ok().unwrap().expose(), secret.expose());
    }
}

fn binding(vector: &Value) -> Binding {
    Binding {
        session: SessionId::from_bytes(array(&vector["session"])),
        call: CallDigest::from_bytes(array(&vector["call"])),
        index: u64(&vector["index"]),
    }
}

fn parcel_object(vector: &Value) -> ParcelObject {
    let root = ObjectRoot::from_key(key(&vector["root"]));
    let range = SegmentRange::new(u32(&vector["start"]), u32(&vector["end"])).unwrap();
    let keys = CoverKeys::derive(&root, range);
    let nodes: Vec<[u8; 32]> = vector["nodes"].as_array().unwrap().iter().map(array).collect();
    assert!(keys.nodes().map(Key::expose).eq(&nodes));
    ParcelObject {
        item: u32(&vector["item"]),
        path: text(&vector["path"]).to_owned(),
        generation: Generation(u64(&vector["generation"])),
        size: u64(&vector["size"]),
        header: Header::new(ObjectId::from_bytes(array(&vector["object_id"]))),
        content_root: Digest::from_bytes(array(&vector["content_root"])),
        keys,
    }
}

#[test]
fn parcels() {
    for vector in vectors("parcels") {
        let secret = SessionSecret::from_bytes(array(&vector["secret"]));
        let objects = vector["objects"].as_array().unwrap().iter().map(parcel_object).collect();
        let plaintext = KeyParcel { objects }.encode().unwrap();
        assert_eq!(*plaintext, hex(&vector["plaintext"]), "{}", vector["name"]);

        let binding = binding(&vector);
        let message_key = binding.key(&secret);
        assert_eq!(message_key.expose()[..], hex(&vector["message_key"]));
        let sealed = hex(&vector["sealed"]);
        assert_eq!(seal_box_with_nonce(&message_key, array(&vector["nonce"]), b"", &plaintext), sealed);

        let opened = KeyParcel::open(&secret, &binding, &sealed).ok().unwrap();
        for (opened, sealed) in opened.objects.iter().zip(vector["objects"].as_array().unwrap()) {
            assert_eq!(opened.path, text(&sealed["path"]));
            assert_eq!(opened.generation.0, u64(&sealed["generation"]));
            assert_eq!(opened.size, u64(&sealed["size"]));
            assert_eq!(opened.header.object_id().to_string(), text(&sealed["object_id"]));
            assert_eq!(opened.content_root.to_string(), text(&sealed["content_root"]));
        }
        assert_eq!(*opened.encode().unwrap(), *plaintext);
    }
}

#[test]
fn refused_parcels() {
    let first = &vectors("parcels")[0];
    let secret = SessionSecret::from_bytes(array(&first["secret"]));
    let binding = binding(first);
    for vector in vectors("refused_parcels") {
        let why = text(&vector["why"]);
        let expected = match why {
            "another format" => ParcelError::Magic,
            "no objects" | "more than 1024 objects" => ParcelError::Count,
            "a count that is not there"
            | "a byte after the last object"
            | "a key cut short"
            | "a second key where the cover has one" => ParcelError::Length,
            "an empty path"
            | "a path of 1025 bytes"
            | "a path longer than the message"
            | "a path that is not UTF-8" => ParcelError::Path { item: 0 },
            "an empty range" | "a backward range" | "a range past the end of the object" | "a range in two windows" => {
                ParcelError::Range { item: 0 }
            }
            "a size that no object has" => LayoutError::TooLarge { size: (1 << 44) + 1 }.into(),
            "a reserved flag in the header" => HeaderError::Flags(1).into(),
            "the same item twice" | "items in falling order" => ParcelError::Order { item: 0 },
            other => panic!("a refusal without a test: {other}"),
        };
        let sealed = match vector.get("sealed") {
            Some(sealed) => hex(sealed),
            None => {
                let object = &hex(&first["plaintext"])[8..];
                let plaintext = [&b"SRP1"[..], &1025u32.to_be_bytes(), &object.repeat(1025)].concat();
                seal_box_with_nonce(&binding.key(&secret), [0; 12], b"", &plaintext)
            }
        };
        assert_eq!(KeyParcel::open(&secret, &binding, &sealed).err(), Some(expected), "{why}");
    }
}

#[test]
fn upload_keys() {
    for vector in vectors("upload_keys") {
        let secret = SessionSecret::from_bytes(array(&vector["secret"]));
        let session = SessionId::from_bytes(array(&vector["session"]));
        let call = CallDigest::from_bytes(array(&vector["call"]));
        let keys: Vec<_> = vector["keys"].as_array().unwrap().iter().map(key).collect();
        let message_key = upload_key(&secret, &session, &call);
        assert_eq!(message_key.expose()[..], hex(&vector["message_key"]));

        let plaintext = encode_upload_keys(&keys).unwrap();
        let sealed = hex(&vector["sealed"]);
        assert_eq!(seal_box_with_nonce(&message_key, array(&vector["nonce"]), b"", &plaintext), sealed);
        let opened = open_upload_keys(&secret, &session, &call, keys.len(), &sealed).ok().unwrap();
        assert!(opened.iter().map(Key::expose).eq(keys.iter().map(Key::expose)));
    }
}

fn hex(value: &Value) -> Vec<u8> {
    HEXLOWER.decode(value.as_str().unwrap().as_bytes()).unwrap()
}

fn array<const N: usize>(value: &Value) -> [u8; N] {
    hex(value).try_into().unwrap()
}

fn key(value: &Value) -> Key {
    Key::from_bytes(array(value))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn u64(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

fn u32(value: &Value) -> u32 {
    u64(value).try_into().unwrap()
}
