//! An old copy of the database in the place of the newest: whole and consistent in itself, every mark in it right. Only whoever
//! remembers can tell: the process, the node's folder, a client, a signed checkpoint.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use strongroom_client::{Connect, GetOptions, Home, Identity, Reason, Vault};
use strongroom_core::ids::{Digest, Index};
use strongroom_core::ledger::{Event, Seen};
use strongroom_proto::v1;
use strongroom_test_services::on_each_engine;
use strongroom_tests::oracle::Ledger;
use strongroom_tests::raw::{Raw, failure, point};
use strongroom_tests::site::Site;
use strongroom_tests::{Lab, TestVault, Worker, copy, tamper};

use super::{frames, has_keys, reason};
use crate::STRONGROOM;

/// A site with two tenants: of acme, a vendor is suspended after the copy was made; other stays as it was.
struct Scene {
    site: Site,
    acme: Lab,
    worker: Worker,
    other: Lab,
    copy: PathBuf,
}

async fn fill(lab: &Lab) {
    lab.dataset("rlhf").await;
    lab.put("rlhf/a", "what is 2 + 2?").await;
}

impl Scene {
    async fn new() -> Self {
        let site = Site::start(STRONGROOM, "").await;
        let (acme, other) = (site.lab("acme").await, site.lab("other").await);
        fill(&acme).await;
        fill(&other).await;
        let worker = site.vendor(&acme, "labelco").await;
        acme.let_read(&worker, "rlhf/a").await;
        get(&worker.vault, &acme).await.unwrap();
        get(&other.vault, &other).await.unwrap();
        let copy = site.beside().join("copy.db");
        tamper::copy_catalog(&site.folder(), &copy).await;
        acme.vault.suspend_vendor(&acme.tenant, &"labelco".parse().unwrap(), None).await.unwrap();
        assert_eq!(reason(get(&worker.vault, &acme).await), Reason::VendorSuspended);
        Self { site, acme, worker, other, copy }
    }

    /// Copies all that the vault keeps of ledgers, but for its node's memory, and goes on.
    async fn copy_all(&mut self, catalog: &Path, logs: &Path) {
        self.site.stop();
        tamper::copy_catalog(&self.site.folder(), catalog).await;
        tamper::copy_logs(&self.site.folder(), logs);
        self.site.restart(None);
    }

    /// Nothing comes out of acme for anybody, whoever asks on a connection of its own.
    async fn assert_stopped(&self) {
        for identity in [&self.worker.identity, &self.acme.admin] {
            let fresh = self.site.connect(identity).await;
            assert_eq!(reason(get(&fresh, &self.acme).await), Reason::LedgerDiverged);
            let raw = Raw::connect(self.site.relay.address(), Some(identity)).await.unwrap();
            if let Ok(session) = raw.open(identity, "acme", self.site.vault_key()).await {
                let (_, call) = session.get(None, "rlhf", &["a"]);
                assert!(!has_keys(&frames(&raw, call).await.0));
            }
        }
        let resume = self.acme.vault.resume_vendor(&self.acme.tenant, &"labelco".parse().unwrap(), None).await;
        assert_eq!(reason(resume), Reason::LedgerDiverged, "nothing is recorded either");
    }

    async fn assert_others_go_on(&self) {
        let fresh = self.site.connect(&self.other.admin).await;
        get(&fresh, &self.other).await.unwrap();
        let after = self.other.object("rlhf/after");
        fresh.put_bytes(&after, Bytes::from_static(b"after"), Default::default()).await.unwrap();
        self.site.ledger("other").await;
    }

    /// The operator learns it from the list of tenants and from the log.
    async fn assert_told(&self, words: &str) {
        let operator = self.site.connect(&self.site.operator()).await;
        let tenants = operator.list_tenants().await.unwrap();
        let stopped = |tenant: &str| {
            let info = tenants.iter().find(|info| info.name.as_str() == tenant).unwrap();
            info.stopped.clone()
        };
        let why = stopped("acme").expect("it is stopped");
        assert!(why.contains(words), "{why}");
        assert_eq!(stopped("other"), None);
        let log = self.site.log();
        assert!(log.lines().any(|line| line.contains("the tenant is stopped") && line.contains(words)), "{log}");
    }
}

async fn get(vault: &Vault, lab: &Lab) -> Result<Bytes, strongroom_client::Error> {
    vault.get_bytes(&lab.object("rlhf/a"), GetOptions::default()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_moved_over_the_one_that_is_open() {
    let scene = Scene::new().await;
    tamper::replace_catalog(&scene.site.folder(), &scene.copy).await;
    // The server would go on writing to a file without a name: it stops all of it instead.
    scene.assert_stopped().await;
    let fresh = scene.site.connect(&scene.other.admin).await;
    assert_eq!(reason(get(&fresh, &scene.other).await), Reason::LedgerDiverged);
    let operator = scene.site.connect(&scene.site.operator()).await;
    for tenant in operator.list_tenants().await.unwrap() {
        assert!(tenant.stopped.is_some_and(|why| why.contains("moved or replaced")), "{}", tenant.name);
    }
    assert!(scene.site.log().contains("nothing is recorded or released any more"), "{}", scene.site.log());
    // What stands there now is the old copy, unharmed.
    for tenant in ["acme", "other"] {
        scene.site.ledger(tenant).await;
    }
}

async fn rows_put_back_under_a_running_server() {
    let scene = Scene::new().await;
    tamper::put_rows_back(&scene.site.folder(), &scene.copy).await;
    scene.assert_stopped().await;
    scene.assert_told("this process").await;
    scene.assert_others_go_on().await;
}

async fn a_copy_in_place_before_a_start() {
    let mut scene = Scene::new().await;
    scene.site.stop();
    tamper::replace_catalog(&scene.site.folder(), &scene.copy).await;
    scene.site.restart(None);
    scene.assert_stopped().await;
    scene.assert_told("this node remembers").await;
    scene.assert_others_go_on().await;
    // It stays so, whoever starts it how often.
    scene.site.restart(None);
    scene.assert_stopped().await;
}

async fn a_head_that_is_gone() {
    let mut scene = Scene::new().await;
    scene.site.stop();
    let folder = scene.site.folder();
    let of_acme = "tenant = (SELECT id FROM tenants WHERE name = 'acme')";
    tamper::edit(&folder, &[format!("DELETE FROM heads WHERE {of_acme}")]).await;
    scene.site.restart(None);
    scene.assert_stopped().await;
    let log = scene.site.log();
    assert!(log.contains("the ledger's head is gone"), "{log}");
    scene.assert_others_go_on().await;
}

/// A client with a home: what it saw of the ledger is on its disk.
async fn with_home(site: &Site, home: &Home) -> Vault {
    home.login(&site.relay.address().to_string(), site.vault_key()).unwrap();
    Connect::from_home(home).unwrap().open().await.unwrap()
}

async fn a_copy_in_place_and_the_node_forgot_too() {
    let mut scene = Scene::new().await;
    let home = Home::open(scene.site.beside().join("home"));
    let auditor = home.create_identity(None).unwrap();
    scene.acme.vault.add_admin(&scene.acme.tenant, auditor.fingerprint()).await.unwrap();
    // Another copy, in which the vendor is suspended, but without what comes after it.
    let (newer, logs) = (scene.site.beside().join("newer.db"), scene.site.beside().join("logs"));
    scene.copy_all(&newer, &logs).await;
    {
        let remembering = with_home(&scene.site, &home).await;
        get(&remembering, &scene.acme).await.unwrap();
        remembering.flush().await.unwrap();
    }
    scene.site.stop();
    tamper::replace_catalog(&scene.site.folder(), &newer).await;
    tamper::replace_logs(&scene.site.folder(), &logs);
    std::fs::remove_dir_all(scene.site.folder().join("memory")).unwrap();
    scene.site.restart(None);
    // Nobody who is there remembers: the old copy passes, and the vendor is suspended in it as well.
    let fresh = scene.site.connect(&scene.worker.identity).await;
    assert_eq!(reason(get(&fresh, &scene.acme).await), Reason::VendorSuspended);
    // Then somebody comes who does.
    let remembering = with_home(&scene.site, &home).await;
    assert_eq!(reason(get(&remembering, &scene.acme).await), Reason::LedgerDiverged);
    scene.assert_stopped().await;
    scene.assert_told("a client was told of").await;
    scene.assert_others_go_on().await;
}

async fn a_copy_in_place_is_behind_the_checkpoint() {
    let mut scene = Scene::new().await;
    // A server that ends signs what it recorded.
    scene.site.stop();
    tamper::replace_catalog(&scene.site.folder(), &scene.copy).await;
    std::fs::remove_dir_all(scene.site.folder().join("memory")).unwrap();
    scene.site.restart(None);
    scene.assert_stopped().await;
    scene.assert_told("the checkpoint in the object store has").await;
    scene.assert_others_go_on().await;
}

async fn another_history_in_place_of_the_remembered_one() {
    let mut scene = Scene::new().await;
    let home = Home::open(scene.site.beside().join("home"));
    let auditor = home.create_identity(None).unwrap();
    scene.acme.vault.add_admin(&scene.acme.tenant, auditor.fingerprint()).await.unwrap();
    let (fork, logs) = (scene.site.beside().join("fork.db"), scene.site.beside().join("logs"));
    scene.copy_all(&fork, &logs).await;
    {
        let remembering = with_home(&scene.site, &home).await;
        get(&remembering, &scene.acme).await.unwrap();
        remembering.flush().await.unwrap();
    }
    let remembered = scene.site.ledger("acme").await.size();
    scene.site.stop();
    tamper::replace_catalog(&scene.site.folder(), &fork).await;
    tamper::replace_logs(&scene.site.folder(), &logs);
    std::fs::remove_dir_all(scene.site.folder().join("memory")).unwrap();
    scene.site.restart(None);
    // The other history grows until it is longer than what is remembered.
    let admin = scene.site.connect(&scene.acme.admin).await;
    while Ledger::read(&scene.site.folder(), "acme").await.size() <= remembered {
        get(&admin, &scene.acme).await.unwrap();
    }
    let remembering = with_home(&scene.site, &home).await;
    assert_eq!(reason(get(&remembering, &scene.acme).await), Reason::LedgerDiverged);
    scene.assert_stopped().await;
    scene.assert_told("it was rewritten").await;
    scene.assert_others_go_on().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_vaults_catalog() {
    let mut scene = Scene::new().await;
    let stranger = Site::start(STRONGROOM, "").await;
    let foreign = scene.site.beside().join("foreign.db");
    tamper::copy_catalog(&stranger.folder(), &foreign).await;
    scene.site.stop();
    tamper::replace_catalog(&scene.site.folder(), &foreign).await;
    let ran = STRONGROOM.run(scene.site.beside(), &["serve", "vault", "--listen", "127.0.0.1:0"]);
    assert_eq!(ran.code, Some(5), "{}", ran.stderr);
    assert!(ran.stderr.lines().last().unwrap().starts_with("LEDGER_DIVERGED: "), "{}", ran.stderr);
}

/// Opens a session and shows what is remembered: whatever the caller says.
async fn open_showing(vault: &TestVault, identity: &Identity, seen: Seen) -> Result<(), Reason> {
    use strongroom_core::ed25519::SigningKey;
    use strongroom_core::identity::Purpose;
    use strongroom_core::session::Opening;
    let raw = vault.raw(identity).await;
    let opening = Opening {
        recipient: age::x25519::Identity::generate().to_public().to_string(),
        call_key: SigningKey::generate().unwrap().public_key(),
        tenant: "acme".parse().unwrap(),
        vault_key: vault.vault_key(),
        exporter: raw.exporter,
    };
    let bytes = opening.bytes().unwrap();
    let request = v1::OpenRequest {
        key: point(identity),
        signature: identity.sign(Purpose::Opening, &bytes).unwrap().to_vec().into(),
        opening: bytes.into(),
        seen: Some(v1::Seen {
            size: seen.size.0,
            tip: seen.tip.as_bytes().to_vec().into(),
            mac: seen.mac.as_bytes().to_vec().into(),
        }),
        claims: None,
    };
    let mut sessions = v1::sessions_client::SessionsClient::new(raw.channel.clone());
    sessions.open(request).await.map(|_| ()).map_err(|status| failure(status).reason)
}

#[tokio::test]
async fn a_memory_that_is_made_up_stops_nobody_else() {
    let vault = TestVault::start().await;
    let lab = vault.lab("acme").await;
    fill(&lab).await;
    let honest = {
        let (raw, session) = vault.raw_session(&lab.admin, "acme").await;
        let (_, call) = session.get(None, "rlhf", &["a"]);
        let (frames, ended) = frames(&raw, call).await;
        ended.unwrap();
        let parcel = frames.iter().find_map(|frame| match frame {
            v1::get_frame::Frame::Parcel(parcel) => parcel.seen.clone(),
            _ => None,
        });
        let seen = parcel.unwrap();
        let digest = |bytes: &[u8]| Digest::try_from(bytes).unwrap();
        Seen { size: Index(seen.size), tip: digest(&seen.tip), mac: digest(&seen.mac) }
    };
    assert_eq!(open_showing(&vault, &lab.admin, honest).await, Ok(()));
    let zero = Digest::from_bytes([0; 32]);
    let made_up = [
        Seen { size: Index(honest.size.0 + 1000), ..honest },
        Seen { size: Index(honest.size.0 - 1), ..honest },
        Seen { tip: zero, ..honest },
        Seen { mac: zero, ..honest },
    ];
    for seen in made_up {
        assert_eq!(open_showing(&vault, &lab.admin, seen).await, Err(Reason::InvalidArgument), "{seen:?}");
    }
    // A mark of another tenant's ledger is made up here too.
    let other = vault.lab("other").await;
    fill(&other).await;
    get(&vault.connect(&copy(&lab.admin)).await, &lab).await.unwrap();
    assert_eq!(open_showing(&vault, &lab.admin, honest).await, Ok(()), "an older one is fine");
    assert_eq!(vault.ledger("acme").await.done(Event::Release).len(), 2);
}

on_each_engine! {
    (flavor = "multi_thread", worker_threads = 2)
    rows_put_back_under_a_running_server,
    a_copy_in_place_before_a_start,
    a_head_that_is_gone,
    a_copy_in_place_and_the_node_forgot_too,
    a_copy_in_place_is_behind_the_checkpoint,
    another_history_in_place_of_the_remembered_one,
}
