//! Who sees what of it: the tree of grants, why a key may or may not, and what one's own keys were released.

use futures::TryStreamExt;
use strongroom_client::audit::OwnRelease;
use strongroom_client::{
    Action, GetOptions, GrantId, Holder, Identity, Limits, Millis, ObjectName, Reason, Terms, Vault, VendorName,
};
use strongroom_core::ledger::{Entry, Event};
use strongroom_test_services::{Engine, on_each_engine};
use strongroom_tests::{Lab, TestVault, Worker, tamper};

use super::bad_input::reason;

const READ: &[Action] = &[Action::List, Action::Read];

/// A vendor with a grant that it has passed on to a contractor, who has passed a part of it on.
struct Site {
    vault: TestVault,
    lab: Lab,
    vendor: Worker,
    contractor: Worker,
    last: Worker,
    grants: [GrantId; 3],
}

async fn site() -> Site {
    let vault = TestVault::start().await;
    let lab = vault.lab("acme").await;
    for dataset in ["rlhf", "other"] {
        lab.dataset(dataset).await;
    }
    for name in ["rlhf/math/1", "rlhf/math/2", "rlhf/labels/1", "other/a"] {
        lab.put(name, vec![7; 1000]).await;
    }
    let vendor = lab.vendor(&vault, "labelco").await;
    let (contractor, last) = (lab.key(&vault).await, lab.key(&vault).await);
    let root = lab.grant(terms(&lab, vendor.holder, 0, None, Some(5000), "rlhf/math/")).await;
    let middle = terms(&lab, contractor.holder, 1, Some(root), Some(3000), "rlhf/math/");
    let middle = vendor.vault.issue_grant(&lab.tenant, middle).await.unwrap().0;
    let bottom = terms(&lab, last.holder, 2, Some(middle), Some(3000), "rlhf/math/1");
    let bottom = contractor.vault.issue_grant(&lab.tenant, bottom).await.unwrap().0;
    Site { vault, lab, vendor, contractor, last, grants: [root, middle, bottom] }
}

fn terms(lab: &Lab, holder: Holder, depth: u64, parent: Option<GrantId>, bytes: Option<u64>, place: &str) -> Terms {
    let terms = lab.terms(holder, &[(READ, place)]);
    let limits = Limits { bytes, ..Limits::default() };
    Terms { parent, delegable: true, limits, expires: Millis(terms.expires.0 - depth * 60_000), ..terms }
}

async fn read(by: &Worker, lab: &Lab, name: &str) -> Result<(), Reason> {
    let got = by.vault.get_bytes(&lab.object(name), GetOptions::default()).await;
    got.map(drop).map_err(|error| error.reason())
}

async fn grants_are_listed_by_what_they_came_from() {
    let s = site().await;
    let tenant = &s.lab.tenant;
    let below = async |by: &Worker, grant| {
        let found = by.vault.delegated(tenant, grant).await;
        found.map(|found| found.iter().map(|info| info.grant.id).collect::<Vec<_>>()).map_err(|error| error.reason())
    };
    let [root, middle, bottom] = s.grants;
    assert_eq!(below(&s.vendor, root).await, Ok(vec![middle]));
    assert_eq!(below(&s.vendor, middle).await, Ok(vec![bottom]), "all that came from its own");
    assert_eq!(below(&s.contractor, middle).await, Ok(vec![bottom]));
    assert_eq!(below(&s.contractor, root).await, Err(Reason::NotFound), "what is above is not for it to see");
    assert_eq!(below(&s.last, bottom).await, Ok(vec![]));
    let rival = s.lab.vendor(&s.vault, "rival").await;
    assert_eq!(below(&rival, root).await, Err(Reason::NotFound));
    let stranger = s.lab.key(&s.vault).await;
    assert_eq!(below(&stranger, root).await, Err(Reason::Unauthenticated));

    // When each was issued and used; and it is not moved by what is not charged.
    let told = async || s.lab.vault.grant(tenant, bottom).await.unwrap();
    let before = told().await;
    assert!(before.issued.is_some() && before.used.is_none());
    s.vault.clock.shift(5000);
    assert_eq!(read(&s.last, &s.lab, "rlhf/math/1").await, Ok(()));
    let after = told().await;
    assert_eq!((after.issued, after.usage.bytes), (before.issued, 1000));
    assert!(after.used.unwrap().0 >= before.issued.unwrap().0 + 4000, "{after:?}");
    for info in s.lab.vault.grants(tenant).await.unwrap() {
        assert_eq!(info.used, after.used, "charged with it: {}", info.grant.id);
    }

    // What a catalog of before knew of the tree is found by the migration.
    let (folder, file) = (
        s.vault.folder(),
        match Engine::here() {
            Engine::Sqlite => include_str!("../../../server/migrations/sqlite/0004_grant_tree.sql"),
            Engine::Postgres => include_str!("../../../server/migrations/postgres/0004_grant_tree.sql"),
        },
    );
    let fill = file.lines().find(|line| line.starts_with("UPDATE grants SET parent")).unwrap();
    tamper::edit(&folder, &["UPDATE grants SET parent = NULL".to_owned()]).await;
    assert_eq!(below(&s.vendor, root).await, Ok(vec![]));
    tamper::edit(&folder, &[fill.trim_end_matches(';').to_owned()]).await;
    assert_eq!((below(&s.vendor, root).await, below(&s.vendor, middle).await), (Ok(vec![middle]), Ok(vec![bottom])));
    assert_eq!(tamper::rows(&folder, "SELECT 1 FROM grants WHERE parent IS NULL").await, 1, "the root");

    // More than a page of them, of one vendor's.
    for at in 0..1003 {
        let holder = Holder::Key(strongroom_client::Fingerprint::from_bytes([(at % 251) as u8 + 1; 32]));
        let part = terms(&s.lab, holder, 2, Some(root), Some(1), "rlhf/math/2");
        s.vendor.vault.issue_grant(tenant, part).await.unwrap();
    }
    let found = s.vendor.vault.delegated(tenant, root).await.unwrap();
    assert_eq!(found.len(), 1004);
    assert!(found.windows(2).all(|pair| pair[0].grant.issued > pair[1].grant.issued), "newest first");
    assert_eq!(s.lab.vault.grants(tenant).await.unwrap().len(), 1006);
    // Own releases are found on both sides of more commits of others than one answer looks at.
    assert_eq!(read(&s.last, &s.lab, "rlhf/math/1").await, Ok(()));
    assert_eq!(mine(&s.last.vault, &s.lab).await.unwrap().len(), 2);
    let mut client = strongroom_proto::v1::audit_client::AuditClient::new(s.vault.raw(&s.last.identity).await.channel);
    let page = Some(strongroom_proto::v1::Page { limit: 0, token: "20".into() });
    let request = strongroom_proto::v1::MineRequest { tenant: "acme".into(), page, since: 0, until: 0 };
    let answer = client.mine(request).await.unwrap().into_inner();
    assert!(answer.releases.is_empty() && !answer.next.is_empty(), "a page may be empty and lead on: {answer:?}");
    s.vault.ledger("acme").await;
}

async fn a_decision_is_explained_to_admins_alone() {
    let s = site().await;
    let [root, middle, bottom] = s.grants;
    let ask = async |by: &Vault, key: &Identity, action, name: &str| {
        by.explain(&s.lab.object(name), action, &key.fingerprint()).await
    };
    let why = async |key: &Worker, name: &str| {
        let explained = ask(&s.lab.vault, &key.identity, Action::Read, name).await.unwrap();
        let told = explained.verdicts.iter().map(|verdict| {
            let chain: Vec<GrantId> = verdict.chain.iter().map(|info| info.grant.id).collect();
            (chain, verdict.decided.as_ref().map_err(|(reason, _)| *reason).err())
        });
        (explained.allowed, told.collect::<Vec<_>>())
    };
    let before = s.vault.ledger("acme").await.size();
    let chain = vec![bottom, middle, root];
    let nobody = |reason| (vec![], Some(reason));
    assert_eq!(why(&s.last, "rlhf/math/1").await, (true, vec![nobody(Reason::Unauthenticated), (chain.clone(), None)]));
    let out = (chain.clone(), Some(Reason::OutOfScope));
    assert_eq!(why(&s.last, "rlhf/math/2").await, (false, vec![nobody(Reason::Unauthenticated), out]));
    assert_eq!(why(&s.vendor, "rlhf/math/none").await.1[1], (vec![root], Some(Reason::NotFound)));
    assert_eq!(
        why(&s.vendor, "rlhf/none").await.1[1],
        (vec![root], Some(Reason::OutOfScope)),
        "scope before existence"
    );
    let stranger = s.lab.key(&s.vault).await;
    assert_eq!(why(&stranger, "rlhf/math/1").await, (false, vec![nobody(Reason::Unauthenticated)]));
    let admin = ask(&s.lab.vault, &s.lab.admin, Action::Delete, "rlhf/math/1").await.unwrap();
    assert_eq!((admin.allowed, admin.role.as_str()), (true, "admin"));
    let writes = ask(&s.lab.vault, &s.vendor.identity, Action::Write, "rlhf/math/1").await.unwrap();
    assert_eq!((writes.allowed, writes.vendor), (false, Some("labelco".parse().unwrap())));
    let elsewhere = ask(&s.lab.vault, &s.vendor.identity, Action::Read, "other/a").await.unwrap();
    assert_eq!((elsewhere.allowed, elsewhere.verdicts.len(), elsewhere.others), (false, 1, 1));
    assert_eq!(s.vault.ledger("acme").await.size(), before, "none of it makes an entry");
    assert_eq!(s.lab.vault.grant(&s.lab.tenant, bottom).await.unwrap().usage.uses, 0, "or charges anything");

    // What it says is what happens: at a limit of one above, for a suspended vendor, for what is frozen, and for a blocked key.
    for _ in 0..3 {
        assert_eq!(read(&s.last, &s.lab, "rlhf/math/1").await, Ok(()));
    }
    let agrees = async |expected: Reason| {
        assert_eq!(read(&s.last, &s.lab, "rlhf/math/1").await, Err(expected));
        assert_eq!(why(&s.last, "rlhf/math/1").await.1.last().unwrap(), &(chain.clone(), Some(expected)));
    };
    agrees(Reason::QuotaExceeded).await;
    let tenant = &s.lab.tenant;
    s.lab.vault.freeze_dataset(&"acme/rlhf".parse().unwrap(), None).await.unwrap();
    agrees(Reason::Frozen).await;
    let labelco: VendorName = "labelco".parse().unwrap();
    s.lab.vault.suspend_vendor(tenant, &labelco, None).await.unwrap();
    agrees(Reason::VendorSuspended).await;
    let operator = s.vault.connect(&s.vault.operator()).await;
    operator.block_key(s.last.identity.fingerprint(), None).await.unwrap();
    agrees(Reason::KeyBlocked).await;

    // To everybody else it tells nothing, whatever they ask about: there or not, known or not.
    let rival = s.lab.vendor(&s.vault, "rival").await;
    let names: [ObjectName; 4] = ["rlhf/math/1", "rlhf/none", "none/a", "other/a"].map(|name| s.lab.object(name));
    for name in &names {
        for key in [&rival.identity, &s.last.identity, &stranger.identity, &s.lab.admin] {
            let asked = rival.vault.explain(name, Action::Read, &key.fingerprint()).await;
            assert_eq!(reason(asked), Reason::OutOfScope);
            let asked = s.contractor.vault.explain(name, Action::Read, &key.fingerprint()).await;
            assert_eq!(reason(asked), Reason::Unauthenticated);
            let asked = operator.explain(name, Action::Read, &key.fingerprint()).await;
            assert_eq!(reason(asked), Reason::Unauthenticated);
        }
    }
    s.vault.ledger("acme").await;
}

async fn mine(by: &Vault, lab: &Lab) -> Result<Vec<OwnRelease>, Reason> {
    by.own_releases(&lab.tenant, None, None).try_collect().await.map_err(|error| error.reason())
}

async fn one_sees_what_ones_own_keys_were_released() {
    let s = site().await;
    let zenith = s.vault.lab("zenith").await;
    zenith.dataset("rlhf").await;
    zenith.put("rlhf/theirs", vec![7; 10]).await;
    let key = s.vendor.identity.fingerprint();
    let (vendor, _) = zenith.vault.add_vendor(&zenith.tenant, &"two".parse().unwrap(), &[key]).await.unwrap();
    zenith.grant(zenith.terms(Holder::Vendor(vendor), &[(READ, "rlhf/")])).await;
    assert_eq!(mine(&s.vendor.vault, &s.lab).await, Ok(vec![]));

    let second = Identity::generate().unwrap();
    let labelco: VendorName = "labelco".parse().unwrap();
    s.lab.vault.add_key(&s.lab.tenant, &labelco, second.fingerprint()).await.unwrap();
    let by_second = Worker { vault: s.vault.connect(&second).await, identity: second, holder: s.vendor.holder };
    assert_eq!(read(&s.vendor, &s.lab, "rlhf/math/1").await, Ok(()));
    assert_eq!(read(&by_second, &s.lab, "rlhf/math/2").await, Ok(()));
    assert_eq!(read(&s.contractor, &s.lab, "rlhf/math/1").await, Ok(()));
    s.lab.vault.get_bytes(&s.lab.object("rlhf/labels/1"), GetOptions::default()).await.unwrap();
    s.vendor.vault.get_bytes(&zenith.object("rlhf/theirs"), GetOptions::default()).await.unwrap();

    let names = |found: &[OwnRelease]| -> Vec<String> {
        found.iter().flat_map(|release| release.parts.iter().map(|part| part.name.clone())).collect()
    };
    let of_vendor = mine(&s.vendor.vault, &s.lab).await.unwrap();
    assert_eq!(names(&of_vendor), ["rlhf/math/1", "rlhf/math/2"], "with its other keys, and without its contractors");
    assert_eq!(of_vendor[0].key, key);
    assert_eq!((of_vendor[0].grant, of_vendor[0].parts[0].bytes), (Some(s.grants[0]), 1000));
    assert_eq!(names(&mine(&s.vendor.vault, &zenith).await.unwrap()), ["rlhf/theirs"]);
    let of_contractor = mine(&s.contractor.vault, &s.lab).await.unwrap();
    assert_eq!(names(&of_contractor), ["rlhf/math/1"]);
    assert_eq!(of_contractor[0].grant, Some(s.grants[1]), "its own grant, and none above it");
    assert_eq!(names(&mine(&s.lab.vault, &s.lab).await.unwrap()), ["rlhf/labels/1"]);
    assert_eq!(mine(&s.contractor.vault, &zenith).await, Err(Reason::Unauthenticated));
    assert_eq!(mine(&s.last.vault, &s.lab).await, Ok(vec![]));

    // It is what the ledger says, entry by entry.
    let ledger = s.vault.ledger("acme").await;
    let entries: Vec<Entry> =
        ledger.done(Event::Release).into_iter().filter(|entry| entry.actor.role == s.vendor_role()).collect();
    assert_eq!(entries.iter().map(|entry| entry.index).collect::<Vec<_>>(), [of_vendor[0].index, of_vendor[1].index]);
    // Between two moments.
    let since = |since, until| s.vendor.vault.own_releases(&s.lab.tenant, since, until).try_collect::<Vec<_>>();
    assert_eq!(names(&since(Some(of_vendor[1].time), None).await.unwrap()).last().unwrap(), "rlhf/math/2");
    assert_eq!(since(None, Some(of_vendor[0].time)).await.unwrap(), []);

    // A vendor that is suspended asks still; a key that is no longer its own sees what it had itself, if anybody knows it.
    s.vendor.vault.suspend_self(&s.lab.tenant, None).await.unwrap();
    assert_eq!(mine(&s.vendor.vault, &s.lab).await.unwrap(), of_vendor);
    s.lab.vault.revoke_key(&s.lab.tenant, &labelco, by_second.identity.fingerprint()).await.unwrap();
    assert_eq!(names(&mine(&s.vendor.vault, &s.lab).await.unwrap()), names(&of_vendor), "also what a revoked key had");
    assert_eq!(mine(&by_second.vault, &s.lab).await, Err(Reason::Unauthenticated));
    // Pages of one.
    let mut client =
        strongroom_proto::v1::audit_client::AuditClient::new(s.vault.raw(&s.vendor.identity).await.channel);
    let (mut token, mut found) = (String::new(), Vec::new());
    for pages in 1.. {
        let page = Some(strongroom_proto::v1::Page { limit: 1, token });
        let request = strongroom_proto::v1::MineRequest { tenant: "acme".into(), page, since: 0, until: 0 };
        let answer = client.mine(request).await.unwrap().into_inner();
        assert!(answer.releases.len() <= 1 && pages < 10);
        found.extend(answer.releases.into_iter().map(|release| release.index));
        token = answer.next;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(found, of_vendor.iter().map(|release| release.index.0).collect::<Vec<_>>());
    s.vault.ledger("zenith").await;
}

impl Site {
    fn vendor_role(&self) -> strongroom_core::ledger::Role {
        let Holder::Vendor(id) = self.vendor.holder else { unreachable!() };
        strongroom_core::ledger::Role::Vendor(id)
    }
}

on_each_engine! {
    (flavor = "current_thread")
    grants_are_listed_by_what_they_came_from,
    a_decision_is_explained_to_admins_alone,
    one_sees_what_ones_own_keys_were_released,
}
