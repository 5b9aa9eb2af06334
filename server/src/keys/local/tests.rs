use std::path::Path;
use std::str::FromStr;
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;

use strongroom_core::call::{Call, Condition, DeleteItem, GetItem, PutItem, SignedCall};
use strongroom_core::ed25519::SigningKey;
use strongroom_core::identity::{Identity, Purpose as Signs, Signature};
use strongroom_core::ids::{CallDigest, Digest, Generation, Millis, ObjectId, PutId, RequestId, SegmentRange};
use strongroom_core::keys::parcel::seal_upload_keys;
use strongroom_core::keys::wrap::{Purpose, RootTuple};
use strongroom_core::ledger::LedgerKey;
use strongroom_core::names::{DatasetName, ObjectPath, TenantName};
use strongroom_core::origin::Origin;
use strongroom_core::sealed::SEGMENT_SIZE;
use strongroom_core::sealed::header::Header;
use strongroom_core::session::{Claims, Opening, SignedOpening};

use super::*;
use crate::catalog::objects::ObjectRow;
use crate::catalog::tenants::NewTenant;
use crate::keys::recipients::Recipients;
use crate::keys::root::file::{FileRootKey, SealWith};
use crate::recorder::attempt::Caller;
use crate::sessions::Session;

const VAULT: VaultId = VaultId::from_bytes([1; 16]);
const DATASET: DatasetId = DatasetId::from_bytes([3; 16]);

/// A catalog with one tenant, whose key's version 1 is active, and a key holder over it.
struct House {
    _folder: tempfile::TempDir,
    holder: Arc<LocalKeyHolder>,
    tenant: Arc<Tenant>,
    tenant_key: Key,
}

impl House {
    async fn new(life: Duration) -> House {
        let folder = tempfile::tempdir().unwrap();
        let root = Arc::new(FileRootKey::create(SealWith::FreshIdentity).unwrap().root);
        let catalog = open(folder.path()).await;
        let (id, name) = (TenantId::from_bytes([2; 16]), TenantName::from_str("acme").unwrap());
        let tenant_key = Key::random().unwrap();
        let wrap = async |purpose, key: &Key| {
            let place = RootTuple { purpose, vault: VAULT, tenant: Some((id, name.as_str())), version: 1 };
            root.wrap(&place, key).await.unwrap()
        };
        let other = Key::random().unwrap();
        let new = NewTenant {
            id,
            name: name.clone(),
            ledger_key: wrap(Purpose::LedgerKey, &other).await,
            log_key: wrap(Purpose::LogKey, &other).await,
            tenant_key: wrap(Purpose::TenantKey, &tenant_key).await,
        };
        let mut tx = catalog.begin().await.unwrap();
        tx.insert_tenant(&new).await.unwrap();
        tx.commit().await.unwrap();
        let origin = Origin::new("vault", VAULT, id).unwrap();
        let tenant = Arc::new(Tenant {
            id,
            name,
            origin,
            ledger_key: LedgerKey::new(&other),
            log_key: SigningKey::from_seed(other).unwrap(),
            later: Default::default(),
        });
        let holder = LocalKeyHolder::start(catalog, root, VAULT, life, Recipients::new([], Duration::from_secs(10)));
        House { _folder: folder, holder, tenant, tenant_key }
    }

    /// A session, opened with the key holder as a caller does it; what the caller knows of it.
    async fn session(&self) -> (Arc<Session>, SigningKey, SessionSecret) {
        let age = age::x25519::Identity::generate();
        let identity = Identity::generate().unwrap();
        let call_key = SigningKey::generate().unwrap();
        let opening = Opening {
            recipient: age.to_public().to_string(),
            call_key: call_key.public_key(),
            tenant: self.tenant.name.clone(),
            vault_key: identity.fingerprint(),
            exporter: Digest::from_bytes([0; 32]),
        };
        let bytes = opening.bytes().unwrap();
        let signature = Signature(identity.sign(Signs::Opening, &bytes).unwrap());
        let id = Opening::session_id(&bytes);
        let message = self.holder.open_session(id, &opening.recipient).await.unwrap();
        let secret = age::decrypt(&age, &message).unwrap();
        let session = Session {
            id,
            tenant: self.tenant.clone(),
            key: identity.fingerprint(),
            opening: SignedOpening { opening, key: identity.public_key(), signature },
            claims: Claims::default(),
            recorded: AtomicBool::new(true),
        };
        (Arc::new(session), call_key, SessionSecret::from_bytes(secret.try_into().unwrap()))
    }

    fn call(&self, session: &Arc<Session>, call_key: &SigningKey, work: Work) -> AcceptedCall {
        let call = Call { request: RequestId::from_bytes([4; 16]), grant: None, work, incident: None };
        let bytes = call.bytes().unwrap();
        let digest = Call::digest(&session.id, &self.tenant.origin, &bytes);
        let signature = Call::sign(&digest, call_key);
        AcceptedCall {
            caller: Caller { key: session.key, source: "127.0.0.1:1".parse().unwrap() },
            session: session.clone(),
            digest,
            request_digest: Digest::from_bytes([0; 32]),
            signed: SignedCall { call, signature },
            recorded: AtomicBool::new(false),
            found: OnceLock::new(),
        }
    }

    fn row(&self, item: &PutItem, key_version: u32, wrapped: Wrapped) -> ObjectRow {
        ObjectRow {
            dataset: DATASET,
            dataset_name: item.dataset.clone(),
            path: item.path.clone(),
            generation: Generation(1),
            header: item.header,
            size: item.size,
            content_root: item.content_root,
            put: item.put,
            holder: Identity::generate().unwrap().fingerprint(),
            index: Index(5),
            ordinal: 0,
            created: Millis(0),
            canary: false,
            key_version,
            wrapped,
            blob: String::new(),
            offset: 0,
        }
    }
}

async fn open(folder: &Path) -> Catalog {
    Catalog::open(&format!("sqlite:{}", folder.join("catalog.db").display())).await.unwrap()
}

fn put_item(number: u8, size: u64) -> PutItem {
    PutItem {
        put: PutId::from_bytes([number; 16]),
        dataset: DatasetName::from_str("rlhf").unwrap(),
        path: ObjectPath::from_str(&format!("math/{number}.json")).unwrap(),
        condition: Condition::Any,
        header: Header::new(ObjectId::from_bytes([number; 16])),
        size,
        content_root: Digest::from_bytes([number; 32]),
    }
}

fn part(item: u32, object: &ObjectRow, start: u32, end: u32) -> ReleasePart {
    let range = SegmentRange::new(start, end).unwrap();
    ReleasePart { item, object: Arc::new(object.clone()), range, bytes: 1 }
}

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn what_one_puts_another_gets() {
    let house = House::new(MINUTE).await;
    let items = vec![put_item(1, 100), put_item(2, 5 * SEGMENT_SIZE as u64)];
    let object_keys = [Key::random().unwrap(), Key::random().unwrap()];

    let (writer, writer_key, secret) = house.session().await;
    let call = house.call(&writer, &writer_key, Work::Put(items.clone()));
    let sealed = seal_upload_keys(&secret, &writer.id, &call.digest, &object_keys).unwrap();
    let wrapped = house.holder.accept(&call, &[DATASET, DATASET], &sealed, 1).await.unwrap();
    let rows: Vec<_> = items.iter().zip(&wrapped).map(|(item, wrapped)| house.row(item, 1, *wrapped)).collect();

    let (reader, reader_key, secret) = house.session().await;
    let item = |item: &PutItem| GetItem::at(item.dataset.clone(), item.path.clone());
    let call = house.call(&reader, &reader_key, Work::Get(items.iter().map(item).collect()));
    let parts = [part(0, &rows[0], 0, 1), part(1, &rows[1], 2, 4)];
    let sealed = house.holder.seal_parts(&call, &parts, Index(77)).await.unwrap();
    let binding = Binding { session: reader.id, call: call.digest, index: 77 };
    let parcel = KeyParcel::open(&secret, &binding, &sealed).unwrap();
    assert_eq!(parcel.objects.len(), 2);
    for ((object, row), object_key) in parcel.objects.iter().zip(&rows).zip(&object_keys) {
        assert_eq!((object.path.as_str(), object.size), (row.path.as_str(), row.size));
        assert_eq!(
            (object.header, object.content_root, object.generation),
            (row.header, row.content_root, row.generation)
        );
        let range = object.keys.range();
        let expected = CoverKeys::derive(&ObjectRoot::derive(object_key, &row.header), range);
        assert!(object.keys.nodes().zip(expected.nodes()).all(|(key, other)| key.expose() == other.expose()));
        assert!(object.keys.leaf(range.end()).is_none());
    }

    // For another entry, or to another session, it does not open.
    assert!(KeyParcel::open(&secret, &Binding { index: 78, ..binding }, &sealed).is_err());
    let (_, _, other) = house.session().await;
    assert!(KeyParcel::open(&other, &binding, &sealed).is_err());
}

#[tokio::test]
async fn a_wrapped_root_opens_for_its_own_row_only() {
    let house = House::new(MINUTE).await;
    let (session, call_key, secret) = house.session().await;
    let items = vec![put_item(1, 100)];
    let call = house.call(&session, &call_key, Work::Put(items.clone()));
    let sealed = seal_upload_keys(&secret, &session.id, &call.digest, &[Key::random().unwrap()]).unwrap();
    let wrapped = house.holder.accept(&call, &[DATASET], &sealed, 1).await.unwrap()[0];
    let good = house.row(&items[0], 1, wrapped);
    let tuple = row_of_item(house.tenant.id, 1, DATASET, &items[0]);
    assert!(unwrap(&house.tenant_key, &tuple, &wrapped).is_ok());

    house.holder.seal_parts(&call, &[part(0, &good, 0, 1)], Index(1)).await.unwrap();
    let moved = [
        ObjectRow { path: ObjectPath::from_str("math/other.json").unwrap(), ..good.clone() },
        ObjectRow { dataset: DatasetId::from_bytes([9; 16]), ..good.clone() },
        ObjectRow { size: 101, ..good.clone() },
        ObjectRow { content_root: Digest::from_bytes([9; 32]), ..good.clone() },
        ObjectRow { header: Header::new(ObjectId::from_bytes([9; 16])), ..good.clone() },
    ];
    for row in moved {
        let refused = house.holder.seal_parts(&call, &[part(0, &row, 0, 1)], Index(1)).await.unwrap_err();
        assert_eq!(refused.reason(), strongroom_core::reason::Reason::Integrity);
    }
    let later = ObjectRow { key_version: 2, ..good };
    let refused = house.holder.seal_parts(&call, &[part(0, &later, 0, 1)], Index(1)).await;
    assert_eq!(
        refused.unwrap_err().reason(),
        strongroom_core::reason::Reason::Integrity,
        "there is no such key, and no such row to look at again"
    );
}

#[tokio::test]
async fn uploads_are_accepted_for_their_call_alone() {
    let house = House::new(MINUTE).await;
    let (session, call_key, secret) = house.session().await;
    let call = house.call(&session, &call_key, Work::Put(vec![put_item(1, 1)]));
    let keys = [Key::random().unwrap(), Key::random().unwrap()];
    let seal = |digest: &CallDigest, count| seal_upload_keys(&secret, &session.id, digest, &keys[..count]).unwrap();
    let good = seal(&call.digest, 1);
    assert!(house.holder.accept(&call, &[DATASET], &good, 1).await.is_ok());
    for sealed in [seal(&call.digest, 2), seal(&CallDigest::from_bytes([0; 32]), 1), good[1..].to_vec(), Vec::new()] {
        let refused = house.holder.accept(&call, &[DATASET], &sealed, 1).await;
        assert!(matches!(refused, Err(KeyError::UploadKeys(_))));
    }
    assert!(matches!(house.holder.accept(&call, &[], &good, 1).await, Err(KeyError::Misuse(_))));
    let item = put_item(1, 1);
    let delete = DeleteItem { dataset: item.dataset, path: item.path, generation: None };
    let delete = house.call(&session, &call_key, Work::Delete(vec![delete]));
    assert!(matches!(house.holder.accept(&delete, &[DATASET], &good, 1).await, Err(KeyError::Misuse(_))));
}

#[tokio::test]
async fn a_session_ends_with_its_connection() {
    let house = House::new(MINUTE).await;
    let (session, call_key, secret) = house.session().await;
    let (other, _, _) = house.session().await;
    let call = house.call(&session, &call_key, Work::Put(vec![put_item(1, 1)]));
    let sealed = seal_upload_keys(&secret, &session.id, &call.digest, &[Key::random().unwrap()]).unwrap();
    house.holder.close_sessions(&[other.id]);
    assert!(house.holder.accept(&call, &[DATASET], &sealed, 1).await.is_ok());
    house.holder.close_sessions(&[session.id, other.id]);
    let refused = house.holder.accept(&call, &[DATASET], &sealed, 1).await;
    assert!(matches!(refused, Err(KeyError::SessionUnknown)));
    assert!(matches!(house.holder.seal_parts(&call, &[], Index(1)).await, Err(KeyError::SessionUnknown)));
}

#[tokio::test]
async fn sessions_are_opened_once_and_to_age_recipients() {
    let house = House::new(MINUTE).await;
    let id = SessionId::from_bytes([8; 32]);
    for bad in ["", "age1", "ssh-ed25519 AAAA", &"age1".repeat(100)] {
        assert!(matches!(house.holder.open_session(id, bad).await, Err(KeyError::Recipient)), "{bad}");
    }
    let recipient = age::x25519::Identity::generate().to_public().to_string();
    house.holder.open_session(id, &recipient).await.unwrap();
    assert!(matches!(house.holder.open_session(id, &recipient).await, Err(KeyError::SessionTaken)));
    house.holder.close_sessions(&[id]);
    house.holder.open_session(id, &recipient).await.unwrap();
}

#[tokio::test]
async fn roots_move_to_another_version() {
    let house = House::new(MINUTE).await;
    let second = Key::random().unwrap();
    house.holder.keys.learn(&house.tenant, 2, second.duplicate());

    let items: Vec<_> = (0..100).map(|number| put_item(number, 1)).collect();
    let roots: Vec<_> = items.iter().map(|_| ObjectRoot::from_key(Key::random().unwrap())).collect();
    let tuple = |item| row_of_item(house.tenant.id, 1, DATASET, item);
    let rows: Vec<_> = items
        .iter()
        .zip(&roots)
        .map(|(item, root)| (tuple(item), wrap(&house.tenant_key, &tuple(item), root).unwrap()))
        .collect();
    let moved = house.holder.rewrap(&house.tenant, &rows, 2).await.unwrap();
    for (((row, _), wrapped), root) in rows.iter().zip(&moved).zip(&roots) {
        let row = WrapTuple { key_version: 2, ..*row };
        assert!(unwrap(&second, &row, &wrapped.unwrap()).unwrap().key().expose() == root.key().expose());
    }

    // Rows that do not open: the others are none the worse for it.
    let mut broken = rows.clone();
    broken[50].0.size = 2;
    broken[51].0.key_version = 7;
    let moved = house.holder.rewrap(&house.tenant, &broken, 2).await.unwrap();
    let left: Vec<_> = (0..moved.len()).filter(|at| moved[*at].is_none()).collect();
    assert_eq!(left, [50, 51]);
    broken[50].0.tenant = TenantId::from_bytes([9; 16]);
    assert!(matches!(house.holder.rewrap(&house.tenant, &broken, 2).await, Err(KeyError::Misuse(_))));
    let refused = house.holder.rewrap(&house.tenant, &rows, 3).await;
    assert!(matches!(refused, Err(KeyError::NoTenantKey { version: 3, .. })));
}

#[tokio::test]
async fn keys_are_kept_for_their_time_only() {
    let house = House::new(Duration::from_millis(200)).await;
    let first = house.holder.keys.version(&house.tenant, 1).await.unwrap();
    assert!(Arc::ptr_eq(&first, &house.holder.keys.version(&house.tenant, 1).await.unwrap()));
    tokio::time::sleep(Duration::from_millis(250)).await;
    let second = house.holder.keys.version(&house.tenant, 1).await.unwrap();
    assert!(!Arc::ptr_eq(&first, &second));
    assert_eq!(Arc::strong_count(&first), 1, "the cache let go of it");

    // Also where nobody asks.
    tokio::time::sleep(Duration::from_millis(250)).await;
    house.holder.keys.forget_expired(Instant::now());
    assert_eq!(Arc::strong_count(&second), 1);
}
