//! The database in foreign hands: rows edited, copied, removed and exchanged, under a running server and between two runs of it.
//!
//! Every attack has a tenant of its own in one vault, so that each also shows that the others go on. What each may come to is
//! in a table: what a caller gets while the server runs (which believes what it knows) and after a start (which believes what
//! carries its mark). Where the database can still do harm, as the threat model says, the replay notices.

use strongroom_client::{
    Action, Condition, DeleteOptions, GetOptions, GrantId, Identity, PutOptions, Reason, TenantName,
};
use strongroom_core::ledger::Head;
use strongroom_core::ledger::replay::Rule;
use strongroom_test_services::on_each_engine;
use strongroom_tests::oracle::Ledger;
use strongroom_tests::raw::Raw;
use strongroom_tests::site::Site;
use strongroom_tests::tamper::{self, hex};
use strongroom_tests::{GRANT_LIFE, Lab, TestVault, Worker};

use super::{frames, has_keys};
use crate::STRONGROOM;

/// What is done to the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attack {
    /// A secret object is renamed to where a vendor may read.
    ObjectMoved,
    /// The path that a vendor may read leads to a secret object's row.
    PathLeadsElsewhere,
    /// A row of another tenant's object is copied into this tenant, where a vendor may read.
    ObjectOfAnotherTenant,
    /// The wrapped key of a secret object is put into the row of one that a vendor may read.
    WrappedKeyMoved,
    /// The content root in an object's row is another one, so that a forged blob would fit.
    ContentRootEdited,
    /// An object's key is said to be wrapped by a version that there is not.
    KeyVersionEdited,
    /// An object's blob is said to be a file outside of the bucket.
    BlobOutside,
    /// An object's blob is said to be another tenant's.
    BlobOfAnotherTenant,
    /// A grant's scope is made wider.
    GrantWidened,
    /// A grant that is over is made to last.
    GrantProlonged,
    /// A grant is copied to a new id, for a key that nobody knows.
    GrantCopied,
    /// A grant's holder is made a key that nobody knows.
    GrantGivenAway,
    /// The column by which a grant is found says another holder.
    GrantFoundByAnother,
    /// The row of a suspension is removed from the authority log.
    SuspensionRemoved,
    /// The row of a suspension is overwritten with a harmless one.
    SuspensionOverwritten,
    /// An entry that nobody recorded, with its private part, stands where the ledger will go on.
    EntryAboveHead,
    /// The head says something else.
    HeadEdited,
    /// The head is the one of a while ago, with its mark.
    HeadPutBack,
    /// What was charged to a grant is set back.
    UsageSetBack,
    /// A deleted object is made visible again.
    DeleteUndone,
    /// The tenant's ledger key is another tenant's.
    LedgerKeyExchanged,
    /// The tenant's key is another tenant's.
    TenantKeyExchanged,
}

use Attack::*;

const ALL: [Attack; 22] = [
    ObjectMoved,
    PathLeadsElsewhere,
    ObjectOfAnotherTenant,
    WrappedKeyMoved,
    ContentRootEdited,
    KeyVersionEdited,
    BlobOutside,
    BlobOfAnotherTenant,
    GrantWidened,
    GrantProlonged,
    GrantCopied,
    GrantGivenAway,
    GrantFoundByAnother,
    SuspensionRemoved,
    SuspensionOverwritten,
    EntryAboveHead,
    HeadEdited,
    HeadPutBack,
    UsageSetBack,
    DeleteUndone,
    LedgerKeyExchanged,
    TenantKeyExchanged,
];

/// How long the grant lives that is prolonged: 5 seconds.
const SHORT: u64 = 5000;

/// What a caller gets: the object that was put at this path, or why not.
type Gets = Result<&'static str, Reason>;

/// A caller's attempt and what comes of it.
struct Probe {
    who: Who,
    path: &'static str,
    running: Gets,
    stopped: Gets,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Admin,
    /// Under the grant to read `math/`, or the one that the attack is about.
    Vendor,
    /// A key that the tenant never heard of, under the grant that the attack makes.
    Intruder,
}

fn probe(who: Who, path: &'static str, running: Gets, stopped: Gets) -> Probe {
    Probe { who, path, running, stopped }
}

/// A tenant under attack.
struct Scene {
    lab: Lab,
    worker: Worker,
    intruder: Identity,
    /// The grant that vendor and intruder name.
    grant: GrantId,
    /// The tenant's id, and its neighbour's, as SQL spells them.
    id: String,
    neighbour: String,
}

/// The text at a path: all of one length, so that nothing but what it is tells one from another.
fn text(tenant: &TenantName, path: &str) -> String {
    format!("{:<100}", format!("what stands at {path} of {tenant}"))
}

async fn tenant(site: &Site, name: &str) -> Lab {
    let lab = site.lab(name).await;
    lab.dataset("rlhf").await;
    for path in ["math/1", "math/2", "private/1"] {
        lab.put(&format!("rlhf/{path}"), text(&lab.tenant, path)).await;
    }
    lab
}

async fn id_of(lab: &Lab) -> String {
    let origin = lab.vault.who_am_i(&lab.tenant).await.unwrap().origin.unwrap();
    hex(origin.tenant().as_bytes())
}

impl Scene {
    async fn new(site: &Site, attack: Attack, neighbour: &str) -> Self {
        let name = format!("{attack:?}").to_lowercase();
        let lab = tenant(site, &name).await;
        let worker = site.vendor(&lab, "labelco").await;
        let mut terms = lab.terms(worker.holder, &[(&[Action::Read], "rlhf/math/")]);
        match attack {
            GrantProlonged => terms.expires.0 = terms.expires.0 - GRANT_LIFE + SHORT,
            UsageSetBack => terms.limits.uses = Some(1),
            _ => {}
        }
        let grant = lab.grant(terms).await;
        let (id, neighbour) = (id_of(&lab).await, neighbour.to_owned());
        Self { lab, worker, intruder: Identity::generate().unwrap(), grant, id, neighbour }
    }

    /// Reads as one of the callers, with the SDK, on a connection of its own.
    async fn get(&self, site: &Site, who: Who, path: &str) -> Result<String, Reason> {
        let vault = site.connecting(self.identity(who)).open().await.map_err(|error| error.reason())?;
        let name = self.lab.object(&format!("rlhf/{path}"));
        let options = GetOptions { grant: self.named(who), ..GetOptions::default() };
        let got = vault.get_bytes(&name, options).await.map_err(|error| error.reason())?;
        Ok(String::from_utf8(got.to_vec()).unwrap())
    }

    /// Whether keys come to one of the callers, whatever else does.
    async fn gets_keys(&self, site: &Site, who: Who, path: &str) -> bool {
        let raw = Raw::connect(site.relay.address(), Some(self.identity(who))).await.unwrap();
        let Ok(session) = raw.open(self.identity(who), self.lab.tenant.as_str(), site.vault_key()).await else {
            return false;
        };
        let (_, call) = session.get(self.named(who), "rlhf", &[path]);
        has_keys(&frames(&raw, call).await.0)
    }

    fn identity(&self, who: Who) -> &Identity {
        match who {
            Who::Admin => &self.lab.admin,
            Who::Vendor => &self.worker.identity,
            Who::Intruder => &self.intruder,
        }
    }

    fn named(&self, who: Who) -> Option<GrantId> {
        (who != Who::Admin).then_some(self.grant)
    }

    /// A grant's holder as its column spells it.
    fn intruder_column(&self) -> String {
        hex(&[&[0], &self.intruder.fingerprint().as_bytes()[..]].concat())
    }

    /// What comes before the attack, in all honesty; then the statements that it consists of.
    async fn statements(&mut self, site: &Site, attack: Attack) -> Vec<String> {
        let (t, n) = (self.id.clone(), self.neighbour.clone());
        let grant = hex(self.grant.as_bytes());
        let object = |path: &str| format!("FROM objects WHERE tenant = {t} AND path = '{path}'");
        let of = |path: &str| format!("WHERE tenant = {t} AND path = '{path}'");
        let edited = |from: &str, to: &str| {
            let (from, to) = (digits(from), digits(to));
            format!(
                "UPDATE grants SET content = unhex(replace(hex(content), '{from}', '{to}')) \
                 WHERE tenant = {t} AND id = {grant} AND hex(content) LIKE '%{from}%'"
            )
        };
        let newest = format!("tenant = {t} AND entry = (SELECT max(entry) FROM authority WHERE tenant = {t})");
        match attack {
            ObjectMoved => vec![
                format!(
                    "INSERT INTO paths SELECT dataset, 'math/new', generation, entry, ordinal {}",
                    object("private/1")
                ),
                format!("UPDATE objects SET path = 'math/new' {}", of("private/1")),
            ],
            PathLeadsElsewhere => {
                vec![format!(
                    "INSERT INTO paths SELECT dataset, 'math/new', generation, entry, ordinal {}",
                    object("private/1")
                )]
            }
            ObjectOfAnotherTenant => vec![
                format!(
                    "INSERT INTO objects SELECT {t}, 1000, 0, (SELECT dataset {}), dataset_name, 'math/new', generation, \
                     id, put, fixed, mac, key_version, wrapped, blob, start FROM objects \
                     WHERE tenant = {n} AND path = 'private/1'",
                    object("math/1")
                ),
                format!(
                    "INSERT INTO paths SELECT dataset, 'math/new', generation, entry, ordinal {}",
                    object("math/new")
                ),
            ],
            WrappedKeyMoved => {
                vec![format!("UPDATE objects SET wrapped = (SELECT wrapped {}) {}", object("private/1"), of("math/1"))]
            }
            ContentRootEdited => {
                let mut fixed = tamper::bytes(&site.folder(), &format!("SELECT fixed {}", object("math/1"))).await;
                fixed[40] ^= 1;
                vec![format!("UPDATE objects SET fixed = {} {}", hex(&fixed), of("math/1"))]
            }
            KeyVersionEdited => vec![format!("UPDATE objects SET key_version = 2 {}", of("math/1"))],
            BlobOutside => vec![format!("UPDATE objects SET blob = '../strongroom.toml' {}", of("math/1"))],
            BlobOfAnotherTenant => vec![format!(
                "UPDATE objects SET blob = (SELECT blob FROM objects WHERE tenant = {n} AND path = 'math/1') {}",
                of("math/1")
            )],
            GrantWidened => vec![edited("\"math/\"", "\"\"")],
            GrantProlonged => {
                let content =
                    tamper::bytes(&site.folder(), &format!("SELECT content FROM grants WHERE id = {grant}")).await;
                let content: serde_json::Value = serde_json::from_slice(&content).unwrap();
                let expires = content["terms"]["expires"].as_u64().unwrap();
                vec![edited(&format!("\"expires\":{expires}"), &format!("\"expires\":{}", expires + GRANT_LIFE))]
            }
            GrantCopied => {
                let copied = GrantId::from_bytes([9; 16]);
                self.grant = copied;
                let (id, holder) = (hex(copied.as_bytes()), self.intruder_column());
                vec![format!(
                    "INSERT INTO grants SELECT tenant, {id}, {holder}, issued, content, mac, parent, since FROM grants \
                     WHERE tenant = {t} AND id = {grant}"
                )]
            }
            GrantGivenAway => {
                let strongroom_client::Holder::Vendor(vendor) = self.worker.holder else { unreachable!() };
                let holder = serde_json::to_string(&self.worker.holder).unwrap();
                assert!(holder.contains(&vendor.to_string()));
                let own = serde_json::to_string(&strongroom_client::Holder::Key(self.intruder.fingerprint())).unwrap();
                vec![
                    edited(&holder, &own),
                    format!("UPDATE grants SET holder = {} WHERE id = {grant}", self.intruder_column()),
                ]
            }
            GrantFoundByAnother => {
                vec![format!("UPDATE grants SET holder = {} WHERE id = {grant}", self.intruder_column())]
            }
            SuspensionRemoved | SuspensionOverwritten => {
                let labelco = "labelco".parse().unwrap();
                self.lab.vault.suspend_vendor(&self.lab.tenant, &labelco, None).await.unwrap();
                match attack {
                    SuspensionRemoved => vec![format!("DELETE FROM authority WHERE {newest}")],
                    _ => vec![format!(
                        "UPDATE authority SET (public, signed) = (SELECT public, signed FROM authority \
                         WHERE tenant = {t} AND entry = 1) WHERE {newest}"
                    )],
                }
            }
            EntryAboveHead => vec![
                format!(
                    "INSERT INTO batches (tenant, size, first, tip, entries) SELECT h.tenant, h.size + 1, h.size, b.tip, b.entries \
                     FROM heads h JOIN batches b ON b.tenant = h.tenant AND b.size = h.size WHERE h.tenant = {t}"
                ),
                format!(
                    "INSERT INTO privates (tenant, size, parts) SELECT h.tenant, h.size + 1, p.parts \
                     FROM heads h JOIN privates p ON p.tenant = h.tenant AND p.size = h.size WHERE h.tenant = {t}"
                ),
            ],
            HeadEdited => {
                let mut head =
                    tamper::bytes(&site.folder(), &format!("SELECT head FROM heads WHERE tenant = {t}")).await;
                head[15] ^= 1;
                vec![format!("UPDATE heads SET head = {} WHERE tenant = {t}", hex(&head))]
            }
            HeadPutBack => {
                let column = async |column: &str| {
                    let query = format!("SELECT {column} FROM heads WHERE tenant = {t}");
                    tamper::bytes(&site.folder(), &query).await
                };
                let (head, mac) = (column("head").await, column("mac").await);
                let size = Head::from_canonical_bytes(&head).unwrap().size().0;
                self.lab.put("rlhf/more", "more").await;
                vec![format!(
                    "UPDATE heads SET head = {}, mac = {}, size = {size} WHERE tenant = {t}",
                    hex(&head),
                    hex(&mac)
                )]
            }
            UsageSetBack => {
                let got = self.get(site, Who::Vendor, "math/1").await;
                assert!(got.is_ok());
                vec![format!("UPDATE usages SET bytes = 0, objects = 0, uses = 0 WHERE grant_id = {grant}")]
            }
            DeleteUndone => {
                self.lab.vault.delete(&self.lab.object("rlhf/math/2"), DeleteOptions::default()).await.unwrap();
                vec![
                    format!(
                        "DELETE FROM tombstones WHERE path = 'math/2' AND dataset = (SELECT dataset {})",
                        object("math/2")
                    ),
                    format!("INSERT INTO paths SELECT dataset, path, generation, entry, ordinal {}", object("math/2")),
                ]
            }
            LedgerKeyExchanged => {
                vec![format!(
                    "UPDATE tenants SET ledger_key = (SELECT ledger_key FROM tenants WHERE id = {n}) WHERE id = {t}"
                )]
            }
            TenantKeyExchanged => vec![format!(
                "UPDATE tenant_keys SET wrapped = (SELECT wrapped FROM tenant_keys WHERE tenant = {n}) WHERE tenant = {t}"
            )],
        }
    }
}

/// What each caller gets.
fn probes(attack: Attack) -> Vec<Probe> {
    use Reason::{GrantExpired, Integrity, LedgerDiverged, NotFound, OutOfScope, QuotaExceeded, Unauthenticated};
    use Who::{Admin, Intruder, Vendor};
    let own = || probe(Vendor, "math/1", Ok("math/1"), Ok("math/1"));
    let secret = || probe(Vendor, "private/1", Err(OutOfScope), Err(OutOfScope));
    let both = |who, path, reason| probe(who, path, Err(reason), Err(reason));
    match attack {
        ObjectMoved => {
            vec![both(Vendor, "math/new", Integrity), secret(), both(Admin, "private/1", Integrity), own()]
        }
        PathLeadsElsewhere => {
            let untouched = probe(Admin, "private/1", Ok("private/1"), Ok("private/1"));
            vec![both(Vendor, "math/new", Integrity), secret(), untouched, own()]
        }
        ObjectOfAnotherTenant => vec![both(Vendor, "math/new", Integrity), both(Admin, "math/new", Integrity), own()],
        WrappedKeyMoved | ContentRootEdited | KeyVersionEdited | BlobOutside | BlobOfAnotherTenant => {
            let other = probe(Vendor, "math/2", Ok("math/2"), Ok("math/2"));
            vec![both(Vendor, "math/1", Integrity), both(Admin, "math/1", Integrity), secret(), other]
        }
        GrantWidened => vec![
            probe(Vendor, "private/1", Err(OutOfScope), Err(Integrity)),
            probe(Vendor, "math/1", Ok("math/1"), Err(Integrity)),
            probe(Admin, "math/1", Ok("math/1"), Ok("math/1")),
        ],
        GrantProlonged => vec![probe(Vendor, "math/1", Err(GrantExpired), Err(Integrity))],
        GrantCopied => vec![both(Intruder, "math/1", Integrity), both(Vendor, "math/1", Integrity)],
        GrantGivenAway => {
            vec![both(Intruder, "math/1", Integrity), probe(Vendor, "math/1", Ok("math/1"), Err(Integrity))]
        }
        GrantFoundByAnother => vec![both(Intruder, "math/1", Integrity), own(), secret()],
        SuspensionRemoved | SuspensionOverwritten => vec![
            probe(Vendor, "math/1", Err(Reason::VendorSuspended), Err(Integrity)),
            probe(Admin, "math/1", Ok("math/1"), Err(Integrity)),
        ],
        EntryAboveHead | HeadEdited => vec![both(Vendor, "math/1", Integrity), both(Admin, "math/1", Integrity)],
        HeadPutBack => vec![both(Vendor, "math/1", LedgerDiverged), both(Admin, "math/1", LedgerDiverged)],
        UsageSetBack => vec![probe(Vendor, "math/1", Err(QuotaExceeded), Ok("math/1"))],
        DeleteUndone => vec![
            probe(Vendor, "math/2", Ok("math/2"), Ok("math/2")),
            both(Vendor, "math/new", NotFound),
            both(Intruder, "math/2", Unauthenticated),
        ],
        LedgerKeyExchanged => vec![
            probe(Vendor, "math/1", Ok("math/1"), Err(Integrity)),
            probe(Admin, "math/1", Ok("math/1"), Err(Integrity)),
        ],
        TenantKeyExchanged => vec![
            probe(Vendor, "math/1", Ok("math/1"), Err(Integrity)),
            secret(),
            probe(Admin, "math/1", Ok("math/1"), Err(Integrity)),
        ],
    }
}

/// What the operator is told when somebody runs into it: words of the server's log.
fn told(attack: Attack, stopped: bool) -> Option<&'static str> {
    match attack {
        ObjectMoved | PathLeadsElsewhere | ObjectOfAnotherTenant | ContentRootEdited => {
            Some("ordinal 0, does not carry its mark")
        }
        WrappedKeyMoved | TenantKeyExchanged if attack == WrappedKeyMoved || stopped => Some("wrapped key"),
        KeyVersionEdited => Some("no key of version 2"),
        BlobOutside => Some("\"../strongroom.toml\" is not the name of a blob"),
        GrantWidened | GrantProlonged if stopped => Some("a grant's row does not carry its mark"),
        GrantGivenAway => Some("a grant's row does not carry its mark"),
        GrantCopied | GrantFoundByAnother => Some("names another holder"),
        SuspensionRemoved | SuspensionOverwritten if stopped => Some("the tenant is stopped"),
        EntryAboveHead => Some("`batches` has a row of entry "),
        HeadEdited => Some("does not carry its mark"),
        HeadPutBack => Some("it was put back"),
        _ => None,
    }
}

/// Why the tenant is stopped as a whole, in words.
fn stopped(attack: Attack, restarted: bool) -> Option<&'static str> {
    match attack {
        SuspensionRemoved if restarted => Some("a row was removed or added"),
        SuspensionOverwritten if restarted => Some("does not hold its order"),
        EntryAboveHead => Some("above the ledger's head: no node of the vault wrote it"),
        HeadEdited => Some("does not carry its mark"),
        HeadPutBack => Some("it was put back"),
        _ => None,
    }
}

/// What the replay says after it.
async fn judge(site: &Site, attack: Attack, scene: &Scene, restarted: bool) {
    let ledger = Ledger::read(&site.folder(), scene.lab.tenant.as_str()).await;
    let broken = |expected: Rule| {
        let finding = ledger.replay().expect_err("the replay notices");
        assert_eq!(finding.rule, expected, "{attack:?}: {finding}");
    };
    match attack {
        // The harm that a written database can do, until somebody replays.
        UsageSetBack if restarted => broken(Rule::Allowed),
        DeleteUndone => broken(Rule::Visible),
        // One entry more than there are.
        EntryAboveHead => broken(Rule::IndexGapless),
        // The head is not the one that the entries come to.
        HeadEdited | HeadPutBack => assert_ne!(ledger.replay().unwrap().head, ledger.head, "{attack:?}"),
        _ => drop(ledger.assert_clean()),
    }
}

async fn attack_all(restarted: bool) {
    let mut site = Site::start(STRONGROOM, "").await;
    let neighbour = tenant(&site, "neighbour").await;
    let neighbour_id = id_of(&neighbour).await;
    let mut scenes = Vec::new();
    let mut statements = Vec::new();
    let mut begun = tokio::time::Instant::now();
    for attack in ALL {
        let mut scene = Scene::new(&site, attack, &neighbour_id).await;
        begun = tokio::time::Instant::now();
        // The server has seen it all before: what it keeps in memory is warm.
        if !matches!(attack, UsageSetBack) {
            let got = scene.get(&site, Who::Vendor, "math/1").await;
            assert_eq!(got.as_deref(), Ok(text(&scene.lab.tenant, "math/1").as_str()), "{attack:?}");
        }
        statements.push(scene.statements(&site, attack).await);
        scenes.push((attack, scene));
    }
    if restarted {
        site.stop();
    }
    for statements in &statements {
        tamper::edit(&site.folder(), statements).await;
    }
    if restarted {
        site.restart(None);
    }
    // The grant that was prolonged is over by now.
    tokio::time::sleep_until(begun + std::time::Duration::from_millis(SHORT)).await;

    for (attack, scene) in &scenes {
        for Probe { who, path, running, stopped } in probes(*attack) {
            let expected = if restarted { stopped } else { running };
            let expected = expected.map(|put| text(&scene.lab.tenant, put));
            let what = format!("{attack:?}: {who:?} reads {path}");
            if expected.is_err() && !matches!(attack, BlobOutside | BlobOfAnotherTenant) {
                assert!(!scene.gets_keys(&site, who, path).await, "{what}: keys came out");
            }
            assert_eq!(scene.get(&site, who, path).await, expected, "{what}");
        }
    }
    let operator = site.connect(&site.operator()).await;
    let tenants = operator.list_tenants().await.unwrap();
    let log = site.log();
    for (attack, scene) in &scenes {
        let info = tenants.iter().find(|info| info.name == scene.lab.tenant).unwrap();
        match (stopped(*attack, restarted), &info.stopped) {
            (None, None) => {}
            (Some(words), Some(why)) if why.contains(words) => {}
            (expected, why) => panic!("{attack:?}: stopped for {why:?}, expected {expected:?}"),
        }
        if let Some(words) = told(*attack, restarted) {
            assert!(log.contains(words), "{attack:?}: the log does not say {words:?}: {log}");
        }
        judge(&site, *attack, scene, restarted).await;
    }
    // The neighbour never noticed.
    neighbour.put("rlhf/after", "after").await;
    let got = neighbour.vault.get_bytes(&neighbour.object("rlhf/private/1"), GetOptions::default()).await.unwrap();
    assert_eq!(got, text(&neighbour.tenant, "private/1"));
    site.ledger("neighbour").await;
}

async fn under_a_running_server() {
    attack_all(false).await;
}

async fn while_the_server_is_down() {
    attack_all(true).await;
}

/// Hexadecimal digits of a text, as `hex` writes them: SQLite's `replace` is for text, and these fall on whole bytes.
fn digits(text: &str) -> String {
    data_encoding::HEXUPPER.encode(text.as_bytes())
}

/// What was written down of the past is written anew: the replay of the ledger, or its head, says so.
async fn history_rewritten() {
    let vault = TestVault::start().await;
    let lab = vault.lab("acme").await;
    lab.dataset("rlhf").await;
    lab.put("rlhf/a", "what is 2 + 2?").await;
    let worker = lab.vendor(&vault, "labelco").await;
    lab.let_read(&worker, "rlhf/a").await;
    worker.vault.get_bytes(&lab.object("rlhf/a"), GetOptions::default()).await.unwrap();
    let options = PutOptions { condition: Condition::Absent, ..PutOptions::default() };
    lab.vault.put_bytes(&lab.object("rlhf/b"), "another".into(), options).await.unwrap();
    let honest = vault.ledger("acme").await;
    let is_clean = async || {
        let ledger = Ledger::read(&vault.folder(), "acme").await;
        ledger.replay().is_ok_and(|summary| summary.head == ledger.head)
    };
    assert!(is_clean().await);
    let replaced = |table: &str, column: &str, from: &str, to: &str| {
        assert_eq!(from.len(), to.len());
        let (from, to) = (digits(from), digits(to));
        format!(
            "UPDATE {table} SET {column} = unhex(replace(hex({column}), '{from}', '{to}')) WHERE hex({column}) LIKE '%{from}%'"
        )
    };
    let release = honest.done(strongroom_core::ledger::Event::Release).remove(0);
    let vendor = worker.identity.fingerprint().to_string();
    let admin = lab.admin.fingerprint().to_string();
    let (time, later) = (format!("\"time\":{}", release.time.0), format!("\"time\":{}", release.time.0 + 1));
    let edits = [
        // Somebody else did it.
        replaced("batches", "entries", &vendor, &admin),
        // It was another object, or later.
        replaced("batches", "entries", "\"release\"", "\"denieds\""),
        replaced("batches", "entries", &time, &later),
        // The words of those who signed.
        replaced("privates", "parts", "\"path\":\"a\"", "\"path\":\"b\""),
        replaced("privates", "parts", "labelco", "otherco"),
        // The newest is cut off.
        "DELETE FROM batches WHERE size = (SELECT max(size) FROM batches)".to_owned(),
    ];
    for edit in edits {
        let copy = vault.beside().join("copy.db");
        tamper::copy_catalog(&vault.folder(), &copy).await;
        tamper::edit(&vault.folder(), std::slice::from_ref(&edit)).await;
        assert!(!is_clean().await, "{edit}");
        tamper::put_rows_back(&vault.folder(), &copy).await;
        // A copy that is a schema is no file.
        let _ = std::fs::remove_file(&copy);
        assert!(is_clean().await);
    }
    vault.ledger("acme").await;
}

on_each_engine! {
    (flavor = "multi_thread", worker_threads = 2)
    under_a_running_server,
    while_the_server_is_down,
}

on_each_engine! {
    (flavor = "current_thread")
    history_rewritten,
}
