//! The recorder alone: releases that callers of one process hand it, each an entry of its own, decided and durable before it is
//! answered. No network, no TLS, and no signature of a call is made or checked; whose session it is and what stands at a path was
//! found before. Nothing is integrated meanwhile.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use strongroom_core::call::{Call, Condition, GetItem, PutItem, SignedCall, Work};
use strongroom_core::ed25519::SigningKey;
use strongroom_core::grant::{Action, Holder, Limits, Part, Prefix, Scope, Terms};
use strongroom_core::identity::{Identity, Purpose, Signature, sha256};
use strongroom_core::ids::{
    Digest, GrantId, Millis, NodeId, ObjectId, OrderId, PutId, RequestId, TenantId, VaultId, VendorId,
};
use strongroom_core::keys::secret::{Key, random_bytes};
use strongroom_core::keys::wrap::Wrapped;
use strongroom_core::ledger::LedgerKey;
use strongroom_core::names::{DatasetName, ObjectPath};
use strongroom_core::order::{Instruction, Order as OrderContent};
use strongroom_core::origin::Origin;
use strongroom_core::sealed::header::Header;
use strongroom_core::sealed::layout::Layout;
use strongroom_core::session::{Claims, Opening, SignedOpening};
use strongroom_server::blobs::Blobs;
use strongroom_server::catalog::Catalog;
use strongroom_server::catalog::objects::{Lookup, ObjectRow};
use strongroom_server::catalog::tenants::NewTenant;
use strongroom_server::config::BlobsUrl;
use strongroom_server::recorder::attempt::{
    AcceptedCall, Attempt, Caller, NewObject, Order, Put, Recorded, Release, ReleasePart, What,
};
use strongroom_server::recorder::{LedgerLimits, NodeMemory, Recorder, SystemClock};
use strongroom_server::sessions::Session;
use strongroom_server::tenants::Tenant;
use strongroom_test_services::Postgres;

use crate::Result;
use crate::measure::{Figures, cpu_time, fdatasync, percentile};
use crate::work::Setting;

/// Vendor's keys, each with a session: no more than callers.
const PEOPLE: usize = 64;
/// Plaintext bytes of the object that is released.
const SIZE: u64 = 1000;
const NEVER: Duration = Duration::from_secs(u32::MAX as u64);

/// Appends for so many seconds by each number of callers, over a file and, if asked for, over PostgreSQL.
pub async fn run(setting: &Setting, callers: &[usize], seconds: u64, postgres: bool) -> Result<()> {
    fdatasync(setting)?;
    let file = format!("sqlite:{}", setting.folder.join("appends.db").display());
    println!(
        "-- the recorder alone on SQLite: releases that are drafted, decided, and committed before they are answered"
    );
    one(setting, &file, callers, seconds, None).await?;
    if postgres {
        let postgres = Postgres::start(&[]);
        println!("-- the recorder alone on PostgreSQL");
        one(setting, &postgres.database(), callers, seconds, Some(&postgres)).await?;
    }
    fdatasync(setting)
}

async fn one(setting: &Setting, url: &str, callers: &[usize], seconds: u64, postgres: Option<&Postgres>) -> Result<()> {
    let site = Arc::new(Site::new(setting, url).await?);
    for callers in callers {
        let [mut rates, mut p50s, mut p99s, mut used, mut database] = [(); 5].map(|()| Figures::new());
        for _ in 0..setting.runs {
            let before = (cpu_time(std::process::id())?, of_database(postgres)?);
            let (mut times, elapsed) = append(&site, *callers, Duration::from_secs(seconds)).await?;
            let after = (cpu_time(std::process::id())?, of_database(postgres)?);
            let count = times.len() as f64;
            rates.push(count / elapsed.as_secs_f64());
            p50s.push(percentile(&mut times, 0.5));
            p99s.push(percentile(&mut times, 0.99));
            used.push(after.0.saturating_sub(before.0).as_secs_f64() * 1e6 / count);
            database.push(after.1.saturating_sub(before.1).as_secs_f64() * 1e6 / count);
        }
        rates.print(&format!("entries appended, {callers} callers"), "entries/s");
        p50s.print("  latency, p50", "ms");
        p99s.print("  latency, p99", "ms");
        used.print("  processor time of an entry, callers and recorder", "µs");
        if postgres.is_some() {
            database.print("  processor time of an entry, PostgreSQL", "µs");
        }
    }
    site.recorder.shutdown().await;
    site.catalog.close().await;
    Ok(())
}

fn of_database(postgres: Option<&Postgres>) -> Result<Duration> {
    postgres.into_iter().flat_map(Postgres::processes).map(cpu_time).sum()
}

/// Has so many callers append for a while, each one entry after the other; how long each took.
async fn append(site: &Arc<Site>, callers: usize, time: Duration) -> Result<(Vec<Duration>, Duration)> {
    let began = Instant::now();
    let tasks: Vec<_> = (0..callers)
        .map(|caller| {
            let site = site.clone();
            tokio::spawn(async move {
                let person = &site.people[caller % site.people.len()];
                let mut times = Vec::new();
                while began.elapsed() < time {
                    let release = Attempt::Release(site.release(person)?);
                    let asked = Instant::now();
                    site.recorder.record(&site.tenant, release).await?;
                    times.push(asked.elapsed());
                }
                Ok::<_, Box<dyn std::error::Error + Send + Sync>>(times)
            })
        })
        .collect();
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await??);
    }
    Ok((times, began.elapsed()))
}

/// A recorder with one tenant, an object, and a vendor that may read it.
struct Site {
    catalog: Catalog,
    recorder: Recorder,
    tenant: Arc<Tenant>,
    people: Vec<Person>,
    grant: GrantId,
    object: Arc<ObjectRow>,
    hides: u64,
    item: GetItem,
}

/// Somebody with an open session.
struct Person {
    caller: Caller,
    session: Arc<Session>,
}

impl Person {
    fn new(tenant: &Arc<Tenant>) -> Result<Self> {
        let identity = Identity::generate()?;
        Self::of(&identity, tenant)
    }

    fn of(identity: &Identity, tenant: &Arc<Tenant>) -> Result<Self> {
        let opening = Opening {
            recipient: "age1bench".into(),
            call_key: SigningKey::generate()?.public_key(),
            tenant: tenant.name.clone(),
            vault_key: identity.fingerprint(),
            exporter: Digest::from_bytes(random_bytes()?),
        };
        let bytes = opening.bytes()?;
        let signature = Signature(identity.sign(Purpose::Opening, &bytes)?);
        let (id, opening) = SignedOpening::accept(&bytes, identity.public_key(), signature)?;
        let (key, claims, recorded) = (identity.fingerprint(), Claims::default(), AtomicBool::new(false));
        let session = Arc::new(Session { id, tenant: tenant.clone(), key, opening, claims, recorded });
        Ok(Self { caller: Caller { key, source: "192.0.2.7:5000".parse()? }, session })
    }

    /// A call as if its signature had been checked.
    fn call(&self, work: Work, grant: Option<GrantId>) -> Result<Arc<AcceptedCall>> {
        let call = Call { request: ordered_id(RequestId::from_bytes), grant, work, incident: None };
        let bytes = call.bytes()?;
        Ok(Arc::new(AcceptedCall {
            caller: self.caller.clone(),
            session: self.session.clone(),
            digest: Call::digest(&self.session.id, &self.session.tenant.origin, &bytes),
            request_digest: Digest::from_bytes(sha256(&bytes)),
            signed: SignedCall { call, signature: Signature([0; 64]) },
            recorded: AtomicBool::new(false),
            found: OnceLock::new(),
        }))
    }
}

/// An id as SDKs draw them: it grows with time.
fn ordered_id<T>(make: impl Fn([u8; 16]) -> T) -> T {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let mut id = [0x0d; 16];
    id[..8].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    make(id)
}

impl Site {
    async fn new(setting: &Setting, url: &str) -> Result<Self> {
        let folder = tempfile::tempdir_in(&setting.folder)?.keep();
        let catalog = Catalog::open(url).await?;
        let memory = NodeMemory::open(folder.join("memory"))?;
        let logs = Blobs::open(&BlobsUrl::File(folder.join("blobs")))?.logs();
        let node = NodeId::from_bytes(random_bytes()?);
        // Nothing integrates here, and nothing is refused for it.
        let limits = LedgerLimits { unsigned: NEVER, ..LedgerLimits::default() };
        let recorder = Recorder::open(catalog.clone(), node, Arc::new(SystemClock), memory, logs, limits);
        let id = TenantId::from_bytes(random_bytes()?);
        let tenant = Arc::new(Tenant {
            id,
            name: "acme".parse()?,
            origin: Origin::new("bench.vault", VaultId::from_bytes(random_bytes()?), id)?,
            ledger_key: LedgerKey::new(&Key::random()?),
            log_key: SigningKey::generate()?,
            later: Default::default(),
        });
        let (operator, admin) = (Identity::generate()?, Identity::generate()?);
        let of_admin = Person::of(&admin, &tenant)?;
        let setup = Setup { catalog: &catalog, recorder: &recorder, tenant: &tenant };
        setup.tenant(&operator, &admin).await?;
        let dataset: DatasetName = "bench".parse()?;
        setup.order(&admin, Instruction::CreateDataset { name: dataset.clone() }).await?;
        let path: ObjectPath = "items/one".parse()?;
        let (object, hides) = setup.object(&of_admin, &dataset, &path).await?;

        let people: Vec<Person> = (0..PEOPLE).map(|_| Person::new(&tenant)).collect::<Result<_>>()?;
        let mut keys: Vec<_> = people.iter().map(|person| person.caller.key).collect();
        keys.sort_unstable();
        let vendor: VendorId =
            setup.order(&admin, Instruction::AddVendor { name: "labelco".parse()?, keys }).await?.into();
        let part = Part::Prefix("items/".parse::<Prefix>()?);
        let terms = Terms {
            holder: Holder::Vendor(vendor),
            parent: None,
            scopes: vec![Scope { actions: vec![Action::Read], dataset: dataset.clone(), part }],
            not_before: None,
            expires: Millis(recorder.now().0 + 12 * 3_600_000),
            delegable: false,
            limits: Limits::default(),
            purpose: None,
        };
        let grant: GrantId = setup.order(&admin, Instruction::IssueGrant(terms)).await?.into();
        let item = GetItem::at(dataset, path);
        Ok(Self { catalog, recorder, tenant, people, grant, object, hides, item })
    }

    /// All of the object, asked for in a call of its own.
    fn release(&self, person: &Person) -> Result<Release> {
        let call = person.call(Work::Get(vec![self.item.clone()]), Some(self.grant))?;
        let layout = Layout::new(self.object.size)?;
        let range = layout.window(0);
        let bytes = layout.plain_bytes(range);
        let parts = vec![ReleasePart { item: 0, object: self.object.clone(), range, bytes }];
        Ok(Release { call, parts, obstacle: None, hides: self.hides })
    }
}

/// What is recorded before anything is measured.
struct Setup<'a> {
    catalog: &'a Catalog,
    recorder: &'a Recorder,
    tenant: &'a Arc<Tenant>,
}

impl Setup<'_> {
    fn signed(&self, signer: &Identity, instruction: Instruction) -> Result<Box<Order>> {
        let content = OrderContent {
            ledger: self.tenant.origin.clone(),
            request: ordered_id(RequestId::from_bytes),
            not_after: Millis(self.recorder.now().0 + 60_000),
            instruction,
            incident: None,
        };
        let caller = Caller { key: signer.fingerprint(), source: "192.0.2.1:1".parse()? };
        Ok(Box::new(Order::new(caller, content.sign(signer)?.verify()?)))
    }

    async fn tenant(&self, operator: &Identity, admin: &Identity) -> Result<()> {
        let (id, name) = (self.tenant.id, self.tenant.name.clone());
        let create = Instruction::CreateTenant { name: name.clone(), admins: vec![admin.fingerprint()] };
        let order = self.signed(operator, create)?;
        let none = vec![0; Wrapped::LEN];
        let new = NewTenant { id, name, ledger_key: none.clone(), log_key: none.clone(), tenant_key: none };
        self.recorder.record(self.tenant, Attempt::CreateTenant(order, Box::new(new))).await?;
        Ok(())
    }

    async fn order(&self, admin: &Identity, instruction: Instruction) -> Result<OrderId> {
        let order = self.signed(admin, instruction)?;
        let recorded: Recorded = self.recorder.record(self.tenant, Attempt::Order(order)).await?;
        match recorded.what() {
            What::Order(id) => Ok(*id),
            _ => Err("an order came to something else".into()),
        }
    }

    /// Puts an object whose blob there is none of: nobody reads it here.
    async fn object(&self, admin: &Person, name: &DatasetName, path: &ObjectPath) -> Result<(Arc<ObjectRow>, u64)> {
        let view = self.recorder.view(self.tenant).await?;
        let dataset = view.authority.dataset(name).ok_or("there is no dataset")?.id;
        let item = PutItem {
            put: ordered_id(PutId::from_bytes),
            dataset: name.clone(),
            path: path.clone(),
            condition: Condition::Any,
            header: Header::new(ordered_id(ObjectId::from_bytes)),
            size: SIZE,
            content_root: Digest::from_bytes(random_bytes()?),
        };
        let (id, blob) = (&self.tenant.id, format!("blobs/{}", item.put));
        self.catalog.open_upload(id, &item.put, &admin.caller.key, &blob, self.recorder.now()).await?;
        let object = NewObject {
            item: 0,
            put: item.put,
            dataset,
            dataset_name: name.clone(),
            path: path.clone(),
            condition: item.condition,
            header: item.header,
            size: item.size,
            content_root: item.content_root,
            key_version: 1,
            wrapped: Wrapped::from_bytes([0; Wrapped::LEN]),
            blob,
            offset: 0,
        };
        let put = Put { call: admin.call(Work::Put(vec![item]), None)?, objects: vec![object], obstacle: None };
        self.recorder.record(self.tenant, Attempt::Put(put)).await?;
        let lookup = Lookup { dataset, dataset_name: name.clone(), path: path.clone(), generation: None };
        let (found, hides) = self.catalog.resolve(id, &self.tenant.ledger_key, &[lookup]).await?;
        let object = found.into_iter().flatten().next().ok_or("the object is not there")?;
        Ok((Arc::new(object), hides))
    }
}
