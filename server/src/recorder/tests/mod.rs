//! The recorder over real files. After each test the ledger is replayed: whatever was recorded must be proven, and must come to
//! exactly the head that is kept.

mod bench;
mod denials;
mod extracting;
mod faults;
mod integration;
mod lagging;
mod leaving;
mod orders;
mod reads;
mod searching;
mod tampering;
mod writes;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use strongroom_core::call::{Call, Condition, DeleteItem, GetItem, PutItem, SignedCall, Work};
use strongroom_core::ed25519::SigningKey;
use strongroom_core::grant::{Action, Hit, Holder, Limit, Limits, Part, Policy, Prefix, Reset, Scope, Terms, Usage};
use strongroom_core::identity::{Fingerprint, Identity, Purpose, Signature, sha256};
use strongroom_core::ids::{DatasetId, Digest, Generation, ObjectId, OrderId, PutId, RequestId, VaultId, VendorId};
use strongroom_core::keys::secret::{Key, random_bytes};
use strongroom_core::keys::wrap::Wrapped;
use strongroom_core::ledger::LedgerKey;
use strongroom_core::ledger::replay::{Summary, replay_all};
use strongroom_core::order::{Instruction, Order as OrderContent};
use strongroom_core::origin::Origin;
use strongroom_core::sealed::header::Header;
use strongroom_core::sealed::layout::Layout;
use strongroom_core::session::{Claims, Opening, SignedOpening};

use super::attempt::*;
use super::*;
use crate::blobs::Blobs;
use crate::catalog::objects::{Lookup, ObjectRow};
use crate::catalog::tenants::NewTenant;
use crate::config::BlobsUrl;
use crate::sessions::Session;
use strongroom_test_services::{Engine, on_each_engine};

const DATASET: &str = "rlhf";
/// What is old is soon; and checkpoints, which most tests make none of, may be far behind.
const LIMITS: LedgerLimits = LedgerLimits { recent: 100, unsigned: Duration::from_secs(u32::MAX as u64) };

/// A clock that a test sets, and the database's with it.
struct TestClock {
    now: AtomicU64,
    engine: Engine,
    url: String,
}

impl Clock for TestClock {
    fn now(&self) -> Millis {
        Millis(self.now.load(Ordering::Relaxed))
    }
}

impl TestClock {
    fn new(engine: Engine, url: &str) -> Arc<Self> {
        let clock = Self { now: AtomicU64::new(0), engine, url: url.to_owned() };
        clock.forward(1_700_000_000_000);
        Arc::new(clock)
    }

    fn forward(&self, millis: u64) {
        self.now.fetch_add(millis, Ordering::Relaxed);
        self.engine.set_time(&self.url, self.now().0);
    }

    fn back(&self, millis: u64) {
        self.now.fetch_sub(millis, Ordering::Relaxed);
        self.engine.set_time(&self.url, self.now().0);
    }
}

/// A vault's recorder with one tenant and one dataset.
struct Lab {
    folder: tempfile::TempDir,
    url: String,
    catalog: Catalog,
    recorder: Recorder,
    clock: Arc<TestClock>,
    limits: LedgerLimits,
    tenant: Arc<Tenant>,
    admin: Arc<Person>,
    operator: Identity,
}

/// Somebody with a key and an open session.
struct Person {
    identity: Identity,
    session: Mutex<(Arc<Session>, Arc<SigningKey>)>,
    caller: Caller,
}

fn random_id<T>(make: impl Fn([u8; 16]) -> T) -> T {
    make(random_bytes().unwrap())
}

/// An id as SDKs draw them: it grows with time.
fn ordered_id<T>(make: impl Fn([u8; 16]) -> T) -> T {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let mut id: [u8; 16] = random_bytes().unwrap();
    id[..8].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    make(id)
}

fn tenant_of(id: TenantId) -> Arc<Tenant> {
    Arc::new(Tenant {
        id,
        name: "acme".parse().unwrap(),
        origin: Origin::new("vault.test", VaultId::from_bytes([7; 16]), id).unwrap(),
        ledger_key: LedgerKey::new(&Key::from_bytes([8; 32])),
        log_key: SigningKey::from_seed(Key::from_bytes([9; 32])).unwrap(),
        later: Default::default(),
    })
}

impl Person {
    fn new(tenant: &Arc<Tenant>) -> Arc<Self> {
        let identity = Identity::generate().unwrap();
        let caller = Caller { key: identity.fingerprint(), source: "192.0.2.7:5000".parse().unwrap() };
        let session = Mutex::new(open_session(&identity, tenant));
        Arc::new(Self { identity, session, caller })
    }

    fn key(&self) -> Fingerprint {
        self.caller.key
    }

    fn call(&self, work: Work, grant: Option<GrantId>) -> Arc<AcceptedCall> {
        self.call_as(ordered_id(RequestId::from_bytes), work, grant)
    }

    fn call_as(&self, request: RequestId, work: Work, grant: Option<GrantId>) -> Arc<AcceptedCall> {
        let (session, call_key) = self.session.lock().unwrap().clone();
        let call = Call { request, grant, work, incident: None };
        let bytes = call.bytes().unwrap();
        let digest = Call::digest(&session.id, &session.tenant.origin, &bytes);
        let signature = Call::sign(&digest, &call_key);
        Arc::new(AcceptedCall {
            caller: self.caller.clone(),
            session,
            digest,
            request_digest: Digest::from_bytes(sha256(&bytes)),
            signed: SignedCall { call, signature },
            recorded: AtomicBool::new(false),
            found: OnceLock::new(),
        })
    }

    /// Goes on in another session.
    fn reconnect(&self) {
        let tenant = self.session.lock().unwrap().0.tenant.clone();
        *self.session.lock().unwrap() = open_session(&self.identity, &tenant);
    }
}

fn open_session(identity: &Identity, tenant: &Arc<Tenant>) -> (Arc<Session>, Arc<SigningKey>) {
    let call_key = SigningKey::generate().unwrap();
    let opening = Opening {
        recipient: "age1test".into(),
        call_key: call_key.public_key(),
        tenant: tenant.name.clone(),
        vault_key: Fingerprint::from_bytes([9; 32]),
        exporter: Digest::from_bytes(random_bytes().unwrap()),
    };
    let bytes = opening.bytes().unwrap();
    let signature = Signature(identity.sign(Purpose::Opening, &bytes).unwrap());
    let (id, opening) = SignedOpening::accept(&bytes, identity.public_key(), signature).unwrap();
    let (claims, recorded) = (Claims { sdk: "test".into(), ..Claims::default() }, AtomicBool::new(false));
    let session = Session { id, tenant: tenant.clone(), key: identity.fingerprint(), opening, claims, recorded };
    (Arc::new(session), Arc::new(call_key))
}

impl Lab {
    /// A vault in a new folder, with a tenant and its dataset.
    async fn new() -> Self {
        Self::within(LIMITS).await
    }

    async fn within(limits: LedgerLimits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = Engine::here().url(folder.path());
        let clock = TestClock::new(Engine::here(), &url);
        let tenant = tenant_of(random_id(TenantId::from_bytes));
        let (admin, operator) = (Person::new(&tenant), Identity::generate().unwrap());
        let (catalog, recorder) = open(folder.path(), "memory", &clock, limits).await;
        let lab = Self { folder, url, catalog, recorder, clock, limits, tenant, admin, operator };
        lab.create().await.unwrap();
        lab.order(Instruction::CreateDataset { name: DATASET.parse().unwrap() }).await.unwrap();
        lab
    }

    async fn create(&self) -> Result<Recorded, RecordError> {
        self.create_tenant(&self.tenant).await
    }

    async fn create_tenant(&self, tenant: &Arc<Tenant>) -> Result<Recorded, RecordError> {
        let admins = vec![self.admin.key()];
        let create = Instruction::CreateTenant { name: tenant.name.clone(), admins };
        let (order, key) = (self.signed_for(tenant, &self.operator, create), vec![1; 60]);
        let (id, name) = (tenant.id, tenant.name.clone());
        let new = NewTenant { id, name, ledger_key: key.clone(), log_key: key.clone(), tenant_key: key };
        self.recorder.record(tenant, Attempt::CreateTenant(Box::new(order), Box::new(new))).await
    }

    /// Another tenant in the same database.
    async fn neighbour(&self) -> Arc<Tenant> {
        let tenant = Tenant {
            name: "second".parse().unwrap(),
            ledger_key: LedgerKey::new(&Key::from_bytes([8; 32])),
            log_key: SigningKey::generate().unwrap(),
            ..Arc::into_inner(tenant_of(random_id(TenantId::from_bytes))).unwrap()
        };
        let tenant = Arc::new(tenant);
        self.create_tenant(&tenant).await.unwrap();
        tenant
    }

    /// Another node over the same catalog and files, with a memory of its own.
    async fn other_node(&self) -> (Catalog, Recorder) {
        open(self.folder.path(), "other", &self.clock, LIMITS).await
    }

    /// Closes everything and opens it again, as another node would.
    async fn restart(&mut self) {
        self.recorder.shutdown().await;
        self.catalog.close().await;
        (self.catalog, self.recorder) = open(self.folder.path(), "memory", &self.clock, self.limits).await;
        self.tenant = tenant_of(self.tenant.id);
    }

    fn signed(&self, signer: &Identity, instruction: Instruction) -> Order {
        self.signed_for(&self.tenant, signer, instruction)
    }

    fn signed_for(&self, tenant: &Tenant, signer: &Identity, instruction: Instruction) -> Order {
        let content = OrderContent {
            ledger: tenant.origin.clone(),
            request: random_id(RequestId::from_bytes),
            not_after: Millis(self.clock.now().0 + 60_000),
            instruction,
            incident: None,
        };
        let caller = Caller { key: signer.fingerprint(), source: "192.0.2.1:1".parse().unwrap() };
        Order::new(caller, content.sign(signer).unwrap().verify().unwrap())
    }

    async fn order_by(&self, signer: &Identity, instruction: Instruction) -> Result<Recorded, RecordError> {
        let order = self.signed(signer, instruction);
        self.recorder.record(&self.tenant, Attempt::Order(Box::new(order))).await
    }

    async fn order(&self, instruction: Instruction) -> Result<Recorded, RecordError> {
        self.order_by(&self.admin.identity, instruction).await
    }

    async fn vendor(&self, name: &str, people: &[&Person]) -> VendorId {
        let mut keys: Vec<Fingerprint> = people.iter().map(|person| person.key()).collect();
        keys.sort_unstable();
        let recorded = self.order(Instruction::AddVendor { name: name.parse().unwrap(), keys }).await.unwrap();
        order_id(&recorded).into()
    }

    fn terms(&self, holder: Holder, actions: &[Action], prefix: &str, limits: Limits) -> Terms {
        let part = Part::Prefix(prefix.parse::<Prefix>().unwrap());
        let scopes = vec![Scope { actions: actions.to_vec(), dataset: DATASET.parse().unwrap(), part }];
        let expires = Millis(self.clock.now().0 + 12 * 3_600_000);
        let (parent, not_before, purpose) = (None, None, None);
        Terms { holder, parent, scopes, not_before, expires, delegable: false, limits, purpose }
    }

    async fn grant(&self, holder: Holder, actions: &[Action], prefix: &str, limits: Limits) -> GrantId {
        let terms = self.terms(holder, actions, prefix, limits);
        order_id(&self.order(Instruction::IssueGrant(terms)).await.unwrap()).into()
    }

    async fn dataset(&self) -> DatasetId {
        self.recorder.view(&self.tenant).await.unwrap().authority.dataset(&DATASET.parse().unwrap()).unwrap().id
    }

    /// A put of these items, each of this size, in one blob whose row is open.
    async fn put_of(&self, person: &Person, grant: Option<GrantId>, items: Vec<PutItem>) -> Put {
        let call = person.call(Work::Put(items), grant);
        self.put_again(call).await
    }

    async fn put_again(&self, call: Arc<AcceptedCall>) -> Put {
        let dataset = self.dataset().await;
        let Work::Put(items) = &call.signed.call.work else { panic!("not a put") };
        let blob = format!("blobs/{}", random_id(PutId::from_bytes));
        let now = self.clock.now();
        self.catalog.open_upload(&self.tenant.id, &items[0].put, &call.caller.key, &blob, now).await.unwrap();
        let object = |(at, item): (u32, &PutItem)| NewObject {
            item: at,
            put: item.put,
            dataset,
            dataset_name: item.dataset.clone(),
            path: item.path.clone(),
            condition: item.condition,
            header: item.header,
            size: item.size,
            content_root: item.content_root,
            key_version: 1,
            wrapped: Wrapped::from_bytes([5; Wrapped::LEN]),
            blob: blob.clone(),
            offset: u64::from(at) * 100,
        };
        let objects = (0..).zip(items).map(object).collect();
        Put { call: call.clone(), objects, obstacle: None }
    }

    async fn record(&self, attempt: Attempt) -> Result<Recorded, RecordError> {
        self.recorder.record(&self.tenant, attempt).await
    }

    async fn put(&self, person: &Person, grant: Option<GrantId>, items: Vec<PutItem>) -> Vec<PutOutcome> {
        let put = self.put_of(person, grant, items).await;
        outcomes(&self.record(Attempt::Put(put)).await.unwrap())
    }

    /// Puts an object as the admin.
    async fn put_path(&self, path: &str, size: u64) -> Visible {
        self.put(&self.admin, None, vec![item(path, size)]).await[0].clone().unwrap()
    }

    async fn resolve(&self, paths: &[(&str, Option<u64>)]) -> (Vec<Option<ObjectRow>>, u64) {
        let dataset = self.dataset().await;
        let lookup = |(path, generation): &(&str, Option<u64>)| Lookup {
            dataset,
            dataset_name: DATASET.parse().unwrap(),
            path: path.parse().unwrap(),
            generation: generation.map(Generation),
        };
        let lookups: Vec<Lookup> = paths.iter().map(lookup).collect();
        self.catalog.resolve(&self.tenant.id, &self.tenant.ledger_key, &lookups).await.unwrap()
    }

    /// A release of the first windows of these paths, by one call.
    async fn release_of(&self, call: &Arc<AcceptedCall>) -> Release {
        let Work::Get(items) = &call.signed.call.work else { panic!("not a get") };
        let paths: Vec<(&str, Option<u64>)> = items
            .iter()
            .map(|item| (item.path.as_ref().unwrap().as_str(), item.generation.map(|generation| generation.0)))
            .collect();
        let (found, hides) = self.resolve(&paths).await;
        let parts = (0..).zip(found).filter_map(|(at, found)| found.map(|object| first_window(at, object))).collect();
        Release { call: call.clone(), parts, obstacle: None, hides }
    }

    async fn read(&self, person: &Person, grant: Option<GrantId>, paths: &[&str]) -> Result<Recorded, RecordError> {
        let release = self.release_of(&person.call(get(paths), grant)).await;
        self.record(Attempt::Release(release)).await
    }

    async fn delete(&self, person: &Person, grant: Option<GrantId>, paths: &[&str]) -> Result<Recorded, RecordError> {
        let call = person.call(delete_work(paths), grant);
        self.record(Attempt::Delete(Delete { call, obstacle: None })).await
    }

    async fn usage(&self, grant: GrantId) -> Usage {
        self.recorder.standing(&self.tenant, grant).await.unwrap()[0].1.total
    }

    async fn seen(&self) -> Seen {
        self.recorder.check_seen(&self.tenant, None).await.unwrap()
    }

    async fn entries(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let to = self.recorder.view(&self.tenant).await.unwrap().head.size();
        let mut entries = Vec::new();
        loop {
            let page = self.recorder.history(&self.tenant, Index(entries.len() as u64), to).await.unwrap();
            if page.is_empty() {
                return entries;
            }
            entries.extend(page.into_iter().map(|(public, private)| (public.to_vec(), private.to_vec())));
        }
    }

    /// Replays the whole ledger, and compares what it comes to with what is kept.
    async fn replay(&self) -> Summary {
        let entries = self.entries().await;
        let entries = entries.iter().map(|(public, private)| (&public[..], Some(&private[..])));
        let summary = replay_all(self.tenant.origin.clone(), entries).unwrap_or_else(|finding| panic!("{finding}"));
        let view = self.recorder.view(&self.tenant).await.unwrap();
        assert_eq!(summary.head, *view.head);
        assert_eq!(summary.counts.uncheckable, 0);
        summary
    }
}

async fn open(folder: &Path, memory: &str, clock: &Arc<TestClock>, limits: LedgerLimits) -> (Catalog, Recorder) {
    let catalog = Catalog::open(&clock.url).await.unwrap();
    let memory = NodeMemory::open(folder.join(memory)).unwrap();
    let logs = logs(folder);
    let node = random_id(NodeId::from_bytes);
    let recorder = Recorder::open(catalog.clone(), node, clock.clone(), memory, logs, limits);
    (catalog, recorder)
}

/// The ledgers' files, in a folder's `blobs`.
fn logs(folder: &Path) -> Logs {
    Blobs::open(&BlobsUrl::File(folder.join("blobs"))).unwrap().logs()
}

fn get(paths: &[&str]) -> Work {
    let item = |path: &&str| GetItem::at(DATASET.parse().unwrap(), path.parse().unwrap());
    Work::Get(paths.iter().map(item).collect())
}

fn delete_work(paths: &[&str]) -> Work {
    let item =
        |path: &&str| DeleteItem { dataset: DATASET.parse().unwrap(), path: path.parse().unwrap(), generation: None };
    Work::Delete(paths.iter().map(item).collect())
}

fn item(path: &str, size: u64) -> PutItem {
    PutItem {
        put: ordered_id(PutId::from_bytes),
        dataset: DATASET.parse().unwrap(),
        path: path.parse().unwrap(),
        condition: Condition::Any,
        header: Header::new(ordered_id(ObjectId::from_bytes)),
        size,
        content_root: Digest::from_bytes(random_bytes().unwrap()),
    }
}

fn first_window(item: u32, object: ObjectRow) -> ReleasePart {
    window(item, Arc::new(object), 0)
}

fn window(item: u32, object: Arc<ObjectRow>, window: u32) -> ReleasePart {
    let layout = Layout::new(object.size).unwrap();
    let range = layout.window(window);
    ReleasePart { item, range, bytes: layout.plain_bytes(range), object }
}

fn outcomes(recorded: &Recorded) -> Vec<PutOutcome> {
    match recorded.what() {
        What::Put(outcomes) => outcomes.clone(),
        _ => panic!("not a put"),
    }
}

fn hidden(recorded: &Recorded) -> Vec<Result<Hidden, Refusal>> {
    match recorded.what() {
        What::Delete(outcomes) => outcomes.clone(),
        _ => panic!("not a delete"),
    }
}

fn order_id(recorded: &Recorded) -> OrderId {
    match recorded.what() {
        What::Order(id) => *id,
        _ => panic!("not an order"),
    }
}

fn is_repeat(recorded: &Recorded) -> bool {
    match recorded.what() {
        What::Release { repeat, .. } => *repeat,
        _ => panic!("not a release"),
    }
}

fn reason<T>(result: Result<T, RecordError>) -> Reason {
    match result {
        Ok(_) => panic!("it was recorded"),
        Err(error) => error.reason(),
    }
}

fn refused(outcome: &Result<impl Sized, Refusal>) -> Option<Reason> {
    outcome.as_ref().err().map(|refusal| refusal.reason)
}
