//! The table of attacks on grants and orders: who tries what, and the one reason for which it comes to nothing.
//!
//! Each row goes at one vault that is in honest use before and after. Where an attack has a test of its own that looks closer, the
//! row says where.

use std::pin::Pin;

use strongroom_client::{Action, GetOptions, GrantId, Holder, Identity, Millis, Reason, Terms};
use strongroom_core::call::{Call, GetItem, Work};
use strongroom_core::ledger::{Entry, Event};
use strongroom_core::order::{Instruction, Order, SignedOrder};
use strongroom_proto::v1;
use strongroom_test_services::on_each_engine;
use strongroom_tests::raw::{Raw, RawSession, order, request_id};
use strongroom_tests::{Lab, TestVault, Worker, copy, tamper};

use super::replays::{flipped, send, signed};
use super::{frames, has_keys};

const READ: &[Action] = &[Action::List, Action::Read];
const QUARTER: i64 = 15 * 60 * 1000;

struct Scene {
    vault: TestVault,
    lab: Lab,
    /// Holds `grant`, may delegate it, and has delegated all of it eight deep: `chain`, the first its own.
    worker: Worker,
    grant: GrantId,
    chain: Vec<(Identity, GrantId)>,
    /// Another vendor of the same lab, with a grant of its own elsewhere.
    rival: Worker,
    rivals: GrantId,
    /// An admin until it was removed.
    former: Identity,
    /// Orders that were carried out and taken back, before a quarter of an hour went by.
    old: Vec<SignedOrder>,
    /// A connection of the worker, with a call that was answered then.
    raw: Raw,
    session: RawSession,
    call: v1::SignedCall,
}

impl Scene {
    async fn new() -> Self {
        let vault = TestVault::start().await;
        let lab = vault.lab("acme").await;
        for name in ["rlhf", "secret"] {
            lab.dataset(name).await;
        }
        for name in ["rlhf/math/1", "rlhf/math/é", "rlhf/other", "secret/math/1"] {
            lab.put(name, "what stands here").await;
        }
        let worker = lab.vendor(&vault, "labelco").await;
        let terms = lab.terms(worker.holder, &[(READ, "rlhf/math/")]);
        let grant = lab.grant(Terms { delegable: true, ..terms }).await;
        let rival = lab.vendor(&vault, "rival").await;
        let rivals = lab.let_read(&rival, "rlhf/other").await;
        let mut chain = vec![(copy(&worker.identity), grant)];
        for depth in 1..=8 {
            let (above, parent) = chain.last().unwrap();
            let next = Identity::generate().unwrap();
            let part = child(&lab, *parent, Holder::Key(next.fingerprint()), depth, "rlhf/math/");
            let issued = vault.connect(above).await.issue_grant(&lab.tenant, part).await.unwrap().0;
            chain.push((next, issued));
        }

        let former = Identity::generate().unwrap();
        let (by_admin, admin) = vault.raw_session(&lab.admin, "acme").await;
        let Holder::Vendor(vendor) = rival.holder else { unreachable!() };
        let mut old = Vec::new();
        for (give, take) in [
            (
                Instruction::AddAdmin { key: former.fingerprint() },
                Instruction::RemoveAdmin { key: former.fingerprint() },
            ),
            (Instruction::SuspendVendor { vendor, note: None }, Instruction::ResumeVendor { vendor, note: None }),
        ] {
            for instruction in [give, take] {
                let signed = signed(&admin.origin, &lab.admin, instruction);
                send(&by_admin, "acme", &signed).await.unwrap();
                old.push(signed);
            }
        }
        let (raw, session) = vault.raw_session(&worker.identity, "acme").await;
        let (_, call) = session.get(Some(grant), "rlhf", &["math/1"]);
        assert!(has_keys(&frames(&raw, call.clone()).await.0));
        Self { vault, lab, worker, grant, chain, rival, rivals, former, old, raw, session, call }
    }

    /// What becomes of a read by somebody under a grant: nobody who is refused gets a key.
    async fn read(&self, by: &Identity, grant: Option<GrantId>, dataset: &str, path: &str) -> Result<(), Reason> {
        let raw = self.vault.raw(by).await;
        let opened = raw.open(by, "acme", self.vault.vault_key()).await;
        let session = opened.map_err(|failure| failure.reason)?;
        keys(&raw, session.get(grant, dataset, &[path]).1).await
    }

    /// What becomes of an order of anybody's.
    async fn order(&self, by: &Identity, content: Order) -> Result<(), Reason> {
        let signed = content.sign(by).unwrap();
        let raw = self.vault.raw(by).await;
        let sent = match signed.order.instruction {
            Instruction::IssueGrant(_) => {
                v1::grants_client::GrantsClient::new(raw.channel).issue(order("acme", &signed)).await
            }
            _ => return send(&raw, "acme", &signed).await.map(drop),
        };
        sent.map(drop).map_err(|status| strongroom_tests::raw::failure(status).reason)
    }

    fn content(&self, instruction: Instruction) -> Order {
        let not_after = Millis(9_000_000_000_000);
        Order { ledger: self.session.origin.clone(), request: request_id(), not_after, instruction, incident: None }
    }

    async fn delegate(&self, by: &Identity, terms: Terms) -> Result<(), Reason> {
        self.order(by, self.content(Instruction::IssueGrant(terms))).await
    }
}

/// Terms of a child, each a minute shorter than what it comes from.
fn child(lab: &Lab, parent: GrantId, holder: Holder, depth: u64, place: &str) -> Terms {
    let terms = lab.terms(holder, &[(READ, place)]);
    let expires = Millis(terms.expires.0 - (depth + 1) * 60_000 - 2 * QUARTER as u64);
    Terms { parent: Some(parent), delegable: true, expires, ..terms }
}

async fn keys(raw: &Raw, call: v1::SignedCall) -> Result<(), Reason> {
    let (frames, ended) = frames(raw, call).await;
    assert_eq!(has_keys(&frames), ended.is_ok(), "{ended:?}");
    ended
}

type Attack = for<'a> fn(&'a Scene) -> Pin<Box<dyn Future<Output = Result<(), Reason>> + 'a>>;

/// Another spelling of a path that may be read, in a call under a grant that covers the one.
async fn spelled(s: &Scene, path: &str) -> Result<(), Reason> {
    let item = GetItem::at("rlhf".parse().unwrap(), "placeholder".parse().unwrap());
    let call = Call { request: request_id(), grant: Some(s.grant), work: Work::Get(vec![item]), incident: None };
    let json = String::from_utf8(call.bytes().unwrap()).unwrap();
    let json = json.replace("\"placeholder\"", &serde_json::to_string(path).unwrap());
    let (raw, session) = s.vault.raw_session(&s.worker.identity, "acme").await;
    keys(&raw, session.sign_bytes(json.into_bytes()).1).await
}

const ATTACKS: &[(&str, Reason, Attack)] = &[
    // Closer in `bad_input::grants::it_is_somebody_elses`.
    ("a grant's id, stolen by another vendor", Reason::OutOfScope, |s| {
        Box::pin(async move { s.read(&s.rival.identity, Some(s.grant), "rlhf", "math/1").await })
    }),
    ("a grant's id, stolen by a key that nobody knows", Reason::Unauthenticated, |s| {
        Box::pin(async move { s.read(&Identity::generate().unwrap(), Some(s.grant), "rlhf", "math/1").await })
    }),
    ("a worker's grant, used by the vendor above it", Reason::OutOfScope, |s| {
        Box::pin(async move { s.read(&s.worker.identity, Some(s.chain[3].1), "rlhf", "math/1").await })
    }),
    ("a grant delegated by who stole its id", Reason::OutOfScope, |s| {
        let mine = Holder::Key(s.rival.identity.fingerprint());
        let terms = child(&s.lab, s.grant, mine, 1, "rlhf/math/1");
        Box::pin(async move { s.delegate(&s.rival.identity, terms).await })
    }),
    // Orders again: closer in `replays`, also where the database has forgotten them. Who did not sign them is told nothing.
    ("an order to be an admin, again after 15 minutes", Reason::PreconditionFailed, |s| {
        Box::pin(async move { send(&s.vault.raw(&s.former).await, "acme", &s.old[0]).await.map(drop) })
    }),
    ("the same with its signature's s flipped", Reason::PreconditionFailed, |s| {
        Box::pin(async move { send(&s.vault.raw(&s.former).await, "acme", &flipped(&s.old[0])).await.map(drop) })
    }),
    ("a suspension, again by a rival", Reason::PreconditionFailed, |s| {
        Box::pin(async move { send(&s.vault.raw(&s.worker.identity).await, "acme", &s.old[2]).await.map(drop) })
    }),
    ("a suspension again with its s flipped", Reason::PreconditionFailed, |s| {
        Box::pin(
            async move { send(&s.vault.raw(&s.worker.identity).await, "acme", &flipped(&s.old[2])).await.map(drop) },
        )
    }),
    ("a resumption with another's signature in place of the admin's", Reason::Unauthenticated, |s| {
        let mut forged = s.old[3].clone();
        forged.order.request = request_id();
        Box::pin(async move { send(&s.vault.raw(&s.rival.identity).await, "acme", &forged).await.map(drop) })
    }),
    // Calls again: closer in `replays::a_call_again_on_its_own_connection`.
    ("a call again, after 15 minutes", Reason::SessionUnknown, |s| {
        Box::pin(async move { keys(&s.raw, s.call.clone()).await })
    }),
    ("a call again, on another connection of the same key", Reason::SessionUnknown, |s| {
        Box::pin(async move { keys(&s.vault.raw(&s.worker.identity).await, s.call.clone()).await })
    }),
    ("a call again, by another vendor", Reason::SessionUnknown, |s| {
        Box::pin(async move { keys(&s.vault.raw(&s.rival.identity).await, s.call.clone()).await })
    }),
    // Delegation: closer in `delegation`, and dimension by dimension in `core::grant::delegate`.
    ("delegated wider: another folder", Reason::NotNarrower, |s| {
        let terms = child(&s.lab, s.grant, Holder::Key(s.former.fingerprint()), 1, "rlhf/other");
        Box::pin(async move { s.delegate(&s.worker.identity, terms).await })
    }),
    ("delegated wider: a neighbour's beginning", Reason::NotNarrower, |s| {
        let terms = child(&s.lab, s.grant, Holder::Key(s.former.fingerprint()), 1, "rlhf/math*");
        Box::pin(async move { s.delegate(&s.worker.identity, terms).await })
    }),
    ("delegated wider: another action", Reason::NotNarrower, |s| {
        let mut terms = child(&s.lab, s.grant, Holder::Key(s.former.fingerprint()), 1, "rlhf/math/");
        terms.scopes[0].actions.push(Action::Write);
        Box::pin(async move { s.delegate(&s.worker.identity, terms).await })
    }),
    ("delegated wider: a longer life", Reason::NotNarrower, |s| {
        let terms = child(&s.lab, s.grant, Holder::Key(s.former.fingerprint()), 1, "rlhf/math/");
        let terms = Terms { expires: Millis(terms.expires.0 + 4 * QUARTER as u64), ..terms };
        Box::pin(async move { s.delegate(&s.worker.identity, terms).await })
    }),
    ("delegated wider: another dataset", Reason::NotNarrower, |s| {
        let terms = child(&s.lab, s.grant, Holder::Key(s.former.fingerprint()), 1, "secret/math/");
        Box::pin(async move { s.delegate(&s.worker.identity, terms).await })
    }),
    ("delegated nine deep", Reason::NotNarrower, |s| {
        let (last, parent) = s.chain.last().unwrap();
        let terms = child(&s.lab, *parent, Holder::Key(s.former.fingerprint()), 9, "rlhf/math/");
        Box::pin(async move { s.delegate(last, terms).await })
    }),
    ("a circle: back to whom it came from, nine deep", Reason::NotNarrower, |s| {
        let (last, parent) = s.chain.last().unwrap();
        let terms = child(&s.lab, *parent, Holder::Key(s.worker.identity.fingerprint()), 9, "rlhf/math/");
        Box::pin(async move { s.delegate(last, terms).await })
    }),
    ("a circle: from a grant that is to come", Reason::OutOfScope, |s| {
        // An id is the hash of its order, so nobody can name the own one; this is the nearest there is.
        let to_come = GrantId::from_bytes([7; 16]);
        let terms = child(&s.lab, to_come, Holder::Key(s.worker.identity.fingerprint()), 1, "rlhf/math/");
        Box::pin(async move { s.delegate(&s.worker.identity, terms).await })
    }),
    // Clocks: nothing that a client says about time is believed; its order is only held to what it says itself.
    ("an order whose signer's clock is set back an hour", Reason::PreconditionFailed, |s| {
        let mut content = s.content(Instruction::AddAdmin { key: Identity::generate().unwrap().fingerprint() });
        content.not_after = Millis(s.now() - 50 * 60 * 1000);
        Box::pin(async move { s.order(&s.lab.admin, content).await })
    }),
    ("a grant that was over when it was signed, by a clock set back", Reason::InvalidArgument, |s| {
        let terms = s.lab.terms(s.rival.holder, &[(READ, "rlhf/")]);
        let terms = Terms { expires: Millis(s.now() - 1), ..terms };
        Box::pin(async move { s.delegate(&s.lab.admin, terms).await })
    }),
    // A removed admin; its order in the database is `a_removed_admins_order_in_the_database`.
    ("an order of a removed admin, dated back", Reason::OutOfScope, |s| {
        let mut content = s.content(Instruction::AddAdmin { key: s.former.fingerprint() });
        content.not_after = Millis(s.now() + 1000);
        Box::pin(async move { s.order(&s.former, content).await })
    }),
    // Spellings: what breaks a rule of names is in `bad_input::names`, whose every form is refused as no call.
    ("a path with ..", Reason::InvalidArgument, |s| Box::pin(spelled(s, "math/../other"))),
    ("a path that goes up and comes back", Reason::InvalidArgument, |s| Box::pin(spelled(s, "math/x/../1"))),
    ("a path with an empty part", Reason::InvalidArgument, |s| Box::pin(spelled(s, "math//1"))),
    ("a path with a slash behind it", Reason::InvalidArgument, |s| Box::pin(spelled(s, "math/1/"))),
    ("a path with a slash before it", Reason::InvalidArgument, |s| Box::pin(spelled(s, "/math/1"))),
    ("a path in NFD", Reason::InvalidArgument, |s| Box::pin(spelled(s, "math/e\u{301}"))),
    ("a path with %2e%2e, which is not decoded", Reason::NotFound, |s| Box::pin(spelled(s, "math/%2e%2e/other"))),
    ("a path with %2f, which is not decoded", Reason::OutOfScope, |s| Box::pin(spelled(s, "math%2f1"))),
    ("a path in other letters", Reason::OutOfScope, |s| Box::pin(spelled(s, "Math/1"))),
    ("a folder as if it were an object", Reason::OutOfScope, |s| Box::pin(spelled(s, "math"))),
    ("a neighbour that begins like it", Reason::OutOfScope, |s| Box::pin(spelled(s, "mathematics/1"))),
    ("another dataset under the same path", Reason::OutOfScope, |s| {
        Box::pin(async move { s.read(&s.worker.identity, Some(s.grant), "secret", "math/1").await })
    }),
    ("a grant for elsewhere", Reason::OutOfScope, |s| {
        Box::pin(async move { s.read(&s.rival.identity, Some(s.rivals), "rlhf", "math/1").await })
    }),
    ("no grant at all", Reason::OutOfScope, |s| {
        Box::pin(async move { s.read(&s.worker.identity, None, "rlhf", "math/1").await })
    }),
    // A second tenant: closer in `bad_input::grants::it_is_of_another_tenant`.
    ("a second tenant's dataset", Reason::Unauthenticated, |s| {
        Box::pin(async move {
            let raw = s.vault.raw(&s.worker.identity).await;
            let opened = raw.open(&s.worker.identity, "zenith", s.vault.vault_key()).await;
            opened.map(drop).map_err(|failure| failure.reason)
        })
    }),
];

impl Scene {
    fn now(&self) -> u64 {
        strongroom_server::recorder::Clock::now(&self.vault.clock).0
    }
}

async fn every_attack_comes_to_nothing() {
    let s = Scene::new().await;
    let zenith = s.vault.lab("zenith").await;
    zenith.dataset("rlhf").await;
    zenith.put("rlhf/math/1", "theirs").await;
    // So that what was said then is said again long after.
    s.vault.clock.shift(QUARTER + 60_000);
    let fresh = s.vault.connect(&s.lab.admin).await;
    let before = s.vault.ledger("acme").await.size();
    for (what, expected, attack) in ATTACKS {
        assert_eq!(attack(&s).await, Err(*expected), "{what}");
    }
    let ledger = s.vault.ledger("acme").await;
    let since = ledger.parsed().into_iter().filter(|entry| entry.index >= before);
    let other: Vec<Entry> = since.filter(|entry| !matches!(entry.event, Event::Denied | Event::SessionOpen)).collect();
    assert!(other.is_empty(), "{other:?}");
    assert!(!fresh.vendors(&s.lab.tenant).await.unwrap().iter().any(|info| info.suspended.is_some()));

    // Honest use goes on, to the last of the chain; and whoever had signed an order is told once more what became of it.
    for (by, grant) in [&s.chain[0], &s.chain[8]] {
        assert_eq!(s.read(by, Some(*grant), "rlhf", "math/1").await, Ok(()));
    }
    assert_eq!(s.read(&s.rival.identity, Some(s.rivals), "rlhf", "other").await, Ok(()));
    for old in [&s.old[0], &flipped(&s.old[2])] {
        assert!(send(&s.vault.raw(&s.lab.admin).await, "acme", old).await.is_ok());
    }
    s.vault.ledger("zenith").await;
}

/// A grant that comes back to whom it came from gives nothing: it stands on all between.
async fn a_circle_stands_on_all_of_it() {
    let s = Scene::new().await;
    let (middle, parent) = &s.chain[2];
    let back = child(&s.lab, *parent, Holder::Key(s.worker.identity.fingerprint()), 3, "rlhf/math/1");
    let by_middle = s.vault.connect(middle).await;
    let back = by_middle.issue_grant(&s.lab.tenant, back).await.unwrap().0;
    assert_eq!(s.read(&s.worker.identity, Some(back), "rlhf", "math/1").await, Ok(()));
    // It does not outlive what it went through, though its holder could end that alone.
    s.worker.vault.revoke_grant(&s.lab.tenant, s.chain[1].1, None).await.unwrap();
    assert_eq!(s.read(&s.worker.identity, Some(back), "rlhf", "math/1").await, Err(Reason::GrantRevoked));
    assert_eq!(s.read(&s.worker.identity, Some(s.grant), "rlhf", "math/1").await, Ok(()), "its own goes on");
    s.vault.ledger("acme").await;
}

/// A removed admin who can write the database enters an order there, dated back to when it might have been given.
async fn a_removed_admins_order_in_the_database() {
    for deed in ["appended", "in the place of its removal"] {
        let mut s = Scene::new().await;
        let ledger = s.vault.ledger("acme").await;
        let removal = ledger.done(Event::AdminRemoved)[0].clone();
        let forged = s.content(Instruction::AddAdmin { key: Identity::generate().unwrap().fingerprint() });
        let forged = forged.sign(&s.former).unwrap();
        let verified = forged.clone().verify().unwrap();
        let place = if deed == "appended" { ledger.size() } else { removal.index };
        let entry = Entry {
            index: place,
            event: Event::AdminAdded,
            order: Some(verified.id()),
            request: Some(forged.order.request),
            actor: strongroom_core::ledger::Actor { key: s.former.fingerprint(), ..removal.actor.clone() },
            ..removal.clone()
        };
        let (public, signed) = (tamper::hex(&entry.bytes().unwrap()), tamper::hex(&forged.bytes().unwrap()));
        let row = match deed {
            "appended" => format!(
                "INSERT INTO authority (tenant, entry, public, signed) \
                 SELECT id, {place}, {public}, {signed} FROM tenants WHERE name = 'acme'"
            ),
            _ => format!(
                "UPDATE authority SET public = {public}, signed = {signed} WHERE entry = {place} \
                 AND tenant = (SELECT id FROM tenants WHERE name = 'acme')"
            ),
        };
        s.vault.stop().await;
        tamper::edit(&s.vault.folder(), &[row]).await;
        s.vault.restart().await;
        for by in [&s.former, &s.worker.identity, &s.lab.admin] {
            let read = s.read(by, None, "rlhf", "math/1").await;
            assert_eq!(read, Err(Reason::Integrity), "{deed}: nobody is served by such a ledger");
        }
    }
}

/// What no client of ours would do: a grant that is over is not used by whoever sets the own clock back.
async fn a_clock_set_back_on_the_client_opens_nothing() {
    let s = Scene::new().await;
    s.vault.clock.shift(strongroom_tests::GRANT_LIFE as i64);
    // The SDK here has a clock an hour behind the vault's.
    let name = s.lab.object("rlhf/math/1");
    let behind = s.vault.connect(&s.worker.identity).await;
    let read = behind.get_bytes(&name, GetOptions { grant: Some(s.grant), ..GetOptions::default() }).await;
    assert_eq!(super::reason(read), Reason::GrantExpired);
    // Its orders say themselves that they are over.
    let admin = s.vault.connect(&s.lab.admin).await;
    let ordered = admin.suspend_vendor(&s.lab.tenant, &"rival".parse().unwrap(), None).await;
    assert_eq!(super::reason(ordered), Reason::PreconditionFailed);
    s.vault.ledger("acme").await;
}

on_each_engine! {
    (flavor = "current_thread")
    every_attack_comes_to_nothing,
    a_circle_stands_on_all_of_it,
    a_removed_admins_order_in_the_database,
    a_clock_set_back_on_the_client_opens_nothing,
}
