//! Whoever can write the database can hide and delay; they can widen nothing.

use strongroom_core::exact;

use super::*;
use crate::vault::lookups::Lookups;

async fn lab_with_a_reader() -> (Lab, Arc<Person>, GrantId) {
    let lab = Lab::new().await;
    lab.put_path("math/1", 10).await;
    lab.put_path("secret/1", 10).await;
    let person = Person::new(&lab.tenant);
    let grant = lab.grant(Holder::Key(person.key()), &[Action::Read], "math/", Limits::default()).await;
    (lab, person, grant)
}

async fn an_object_that_was_moved_to_another_path_is_refused() {
    let (lab, _, _) = lab_with_a_reader().await;
    // The path stands for another path's object.
    lab.catalog
        .tamper("UPDATE paths SET entry = (SELECT entry FROM paths WHERE path = 'secret/1') WHERE path = 'math/1'")
        .await;
    let dataset = lab.dataset().await;
    let lookup =
        Lookup { dataset, dataset_name: DATASET.parse().unwrap(), path: "math/1".parse().unwrap(), generation: None };
    let resolve =
        async || lab.catalog.resolve(&lab.tenant.id, &lab.tenant.ledger_key, std::slice::from_ref(&lookup)).await;
    assert_eq!(resolve().await.unwrap_err().reason(), Reason::Integrity);
    assert_eq!(reason(lab.delete(&lab.admin, None, &["math/1"]).await), Reason::Integrity);
    let list =
        lab.catalog.list(&lab.tenant.id, &lab.tenant.ledger_key, &dataset, &Prefix::all(), None, 10, false).await;
    assert_eq!(list.unwrap_err().reason(), Reason::Integrity);
    // And so does the object say.
    lab.catalog.tamper("UPDATE objects SET path = 'math/1' WHERE path = 'secret/1'").await;
    assert_eq!(resolve().await.unwrap_err().reason(), Reason::Integrity);
}

async fn a_changed_row_fails_whoever_asks_for_it_and_nobody_who_asks_beside_them() {
    let (lab, _, _) = lab_with_a_reader().await;
    lab.catalog.tamper("UPDATE objects SET generation = 2 WHERE path = 'secret/1'").await;
    let dataset = lab.dataset().await;
    let lookups = Lookups::new(lab.catalog.clone());
    let ask = |paths: &[&str]| {
        let of = |path: &&str| Lookup {
            dataset,
            dataset_name: DATASET.parse().unwrap(),
            path: path.parse().unwrap(),
            generation: None,
        };
        lookups.resolve(&lab.tenant, paths.iter().map(of).collect())
    };
    for _ in 0..20 {
        let mut good = Vec::new();
        let mut bad = Vec::new();
        for _ in 0..10 {
            good.push(ask(&["none", "math/1"]));
            bad.push(ask(&["math/1", "secret/1"]));
        }
        let (good, bad) = tokio::join!(futures::future::join_all(good), futures::future::join_all(bad));
        for found in good {
            let (found, _) = found.unwrap();
            assert!(found[0].is_none());
            assert_eq!(found[1].as_ref().unwrap().path.as_str(), "math/1");
        }
        for found in bad {
            assert_eq!(found.unwrap_err().reason(), Reason::Integrity);
        }
    }
}

async fn every_marked_field_of_an_object_is_marked() {
    for sql in [
        "UPDATE objects SET generation = 2",
        "UPDATE objects SET dataset_name = 'other'",
        "UPDATE objects SET put = unhex('00000000000000000000000000000000') WHERE path = 'math/1'",
        "UPDATE objects SET fixed = unhex(substr(hex(fixed), 1, 208) || '01')",
        "UPDATE objects SET mac = unhex('00')",
    ] {
        let (lab, _, _) = lab_with_a_reader().await;
        lab.catalog.tamper(sql).await;
        let lookup = Lookup {
            dataset: lab.dataset().await,
            dataset_name: DATASET.parse().unwrap(),
            path: "math/1".parse().unwrap(),
            generation: None,
        };
        let found = lab.catalog.resolve(&lab.tenant.id, &lab.tenant.ledger_key, &[lookup]).await;
        assert_eq!(found.unwrap_err().reason(), Reason::Integrity, "{sql}");
    }
    // Where it lies and how it is wrapped may change: repacking and rotation do.
    let (lab, _, _) = lab_with_a_reader().await;
    lab.catalog.tamper("UPDATE objects SET blob = 'blobs/other', start = 7, key_version = 2").await;
    assert_eq!(lab.resolve(&[("math/1", None)]).await.0[0].as_ref().unwrap().offset, 7);
}

async fn a_grant_that_was_changed_or_made_up_is_refused() {
    let (mut lab, person, grant) = lab_with_a_reader().await;
    let wide = Terms {
        scopes: vec![Scope {
            actions: vec![Action::Read],
            dataset: DATASET.parse().unwrap(),
            part: Part::Prefix(Prefix::all()),
        }],
        ..lab.terms(Holder::Key(person.key()), &[Action::Read], "", Limits::default())
    };
    let made_up = Grant { id: random_id(GrantId::from_bytes), issued: Index(1), issuer: lab.admin.key(), terms: wide };
    let content = exact::to_vec(&made_up).unwrap();
    let foreign = LedgerKey::new(&Key::from_bytes([0; 32])).row("grant", &[&content]);
    lab.catalog.forge_grant(&lab.tenant.id, &made_up, &content, &foreign).await;
    lab.restart().await;
    person.reconnect();
    assert_eq!(reason(lab.read(&person, Some(made_up.id), &["secret/1"]).await), Reason::Integrity);
    assert_eq!(reason(lab.recorder.standing(&lab.tenant, made_up.id).await), Reason::Integrity);
    // Those who name another grant go on.
    lab.read(&person, Some(grant), &["math/1"]).await.unwrap();
    lab.catalog.tamper("UPDATE grants SET content = unhex(replace(hex(content), '6D6174682F', ''))").await;
    lab.restart().await;
    person.reconnect();
    assert_eq!(reason(lab.read(&person, Some(grant), &["secret/1"]).await), Reason::Integrity);
    lab.admin.reconnect();
    lab.read(&lab.admin, None, &["math/1"]).await.unwrap();
    lab.replay().await;
}

async fn a_renewal_that_was_changed_opens_nothing_and_one_that_is_hidden_takes_away() {
    let (mut lab, person, grant) = lab_with_a_reader().await;
    let expires = Millis(lab.clock.now().0 + 20 * 3_600_000);
    lab.order(Instruction::RenewGrant { grant, expires }).await.unwrap();
    lab.clock.forward(13 * 3_600_000);
    person.reconnect();
    lab.read(&person, Some(grant), &["math/1"]).await.unwrap();
    lab.catalog.tamper("UPDATE renewals SET content = unhex(replace(hex(content), '2265787069726573223A31', '2265787069726573223A32'))").await;
    lab.restart().await;
    person.reconnect();
    assert_eq!(reason(lab.read(&person, Some(grant), &["math/1"]).await), Reason::Integrity);
    lab.catalog.tamper("DELETE FROM renewals").await;
    lab.restart().await;
    person.reconnect();
    assert_eq!(reason(lab.read(&person, Some(grant), &["math/1"]).await), Reason::GrantExpired);
    lab.replay().await;
}

async fn a_removed_authority_row_stops_the_tenant() {
    let (mut lab, person, _) = lab_with_a_reader().await;
    let vendor = lab.vendor("labelco", &[&person]).await;
    lab.order(Instruction::SuspendVendor { vendor, note: None }).await.unwrap();
    lab.catalog.tamper("DELETE FROM authority WHERE entry = (SELECT max(entry) FROM authority)").await;
    lab.restart().await;
    assert_eq!(reason(lab.recorder.view(&lab.tenant).await), Reason::Integrity);
    assert!(lab.recorder.stopped(&lab.tenant.id).is_some());
}

async fn an_authority_row_that_was_put_in_another_place_stops_the_tenant() {
    let (mut lab, person, _) = lab_with_a_reader().await;
    let vendor = lab.vendor("labelco", &[&person]).await;
    lab.order(Instruction::SuspendVendor { vendor, note: None }).await.unwrap();
    lab.order(Instruction::ResumeVendor { vendor, note: None }).await.unwrap();
    lab.catalog.tamper("UPDATE authority SET entry = entry + 1000 WHERE entry = 1").await;
    lab.restart().await;
    assert_eq!(reason(lab.recorder.view(&lab.tenant).await), Reason::Integrity);
}

async fn a_head_that_was_changed_stops_the_tenant() {
    for sql in [
        "UPDATE heads SET head = unhex('01' || substr(hex(head), 3))",
        "UPDATE heads SET mac = unhex('00')",
        "UPDATE heads SET head = unhex(substr(hex(head), 1, 16) || '0000000000000000' || substr(hex(head), 33))",
    ] {
        let (lab, _, _) = lab_with_a_reader().await;
        lab.catalog.tamper(sql).await;
        let order = lab.order(Instruction::AddAdmin { key: Fingerprint::from_bytes([1; 32]) }).await;
        assert_eq!(reason(order), Reason::Integrity, "{sql}");
    }
    // And one that is gone.
    let (lab, _, _) = lab_with_a_reader().await;
    lab.catalog.tamper("DELETE FROM heads").await;
    assert_eq!(
        reason(lab.order(Instruction::AddAdmin { key: Fingerprint::from_bytes([1; 32]) }).await),
        Reason::LedgerDiverged
    );
}

fn dataset_order(lab: &Lab, tenant: &Arc<Tenant>, name: &str) -> Attempt {
    let create = Instruction::CreateDataset { name: name.parse().unwrap() };
    Attempt::Order(Box::new(lab.signed_for(tenant, &lab.admin.identity, create)))
}

/// Entries that somebody wrote where the ledger will go on, right there or further on: the row is named and its tenant stopped,
/// while it runs and from a start, whoever appends in the same commit goes on, and so does the tenant once the row is gone.
async fn an_entry_above_the_head_stops_its_tenant_alone() {
    let made_up = [
        (
            "batches",
            0,
            "INSERT INTO batches (tenant, size, first, tip, entries) SELECT h.tenant, h.size + 1, h.size, b.tip, b.entries \
             FROM heads h JOIN batches b ON b.tenant = h.tenant AND b.size = h.size JOIN tenants t ON t.id = h.tenant \
             WHERE t.name = 'acme'",
        ),
        (
            "batches",
            999,
            "INSERT INTO batches (tenant, size, first, tip, entries) SELECT h.tenant, h.size + 1000, h.size, b.tip, b.entries \
             FROM heads h JOIN batches b ON b.tenant = h.tenant AND b.size = h.size JOIN tenants t ON t.id = h.tenant \
             WHERE t.name = 'acme'",
        ),
        (
            "privates",
            0,
            "INSERT INTO privates (tenant, size, parts) SELECT h.tenant, h.size + 1, p.parts FROM heads h \
             JOIN privates p ON p.tenant = h.tenant AND p.size = h.size JOIN tenants t ON t.id = h.tenant WHERE t.name = 'acme'",
        ),
        (
            "authority",
            3,
            "INSERT INTO authority (tenant, entry, public, signed) SELECT h.tenant, h.size + 3, a.public, a.signed FROM heads h \
             JOIN authority a ON a.tenant = h.tenant AND a.entry = 1 JOIN tenants t ON t.id = h.tenant WHERE t.name = 'acme'",
        ),
    ];
    let gone = |table| match table {
        "batches" => "DELETE FROM batches WHERE size > (SELECT h.size FROM heads h WHERE h.tenant = batches.tenant)",
        "privates" => "DELETE FROM privates WHERE size > (SELECT h.size FROM heads h WHERE h.tenant = privates.tenant)",
        _ => "DELETE FROM authority WHERE entry >= (SELECT h.size FROM heads h WHERE h.tenant = authority.tenant)",
    };
    for (table, entry, sql) in made_up {
        for how in ["by the next batch", "by a look", "from a start"] {
            let mut lab = Lab::new().await;
            let second = lab.neighbour().await;
            lab.put_path("math/1", 10).await;
            lab.order(Instruction::CreateDataset { name: "other".parse().unwrap() }).await.unwrap();
            let entry = entry + lab.seen().await.size.0;
            let release = lab.release_of(&lab.admin.call(get(&["math/1"]), None)).await;
            lab.catalog.tamper(sql).await;
            match how {
                // In one commit with its neighbour.
                "by the next batch" => {
                    let both = futures::future::join(
                        lab.record(dataset_order(&lab, &lab.tenant, "x")),
                        lab.recorder.record(&second, dataset_order(&lab, &second, "x")),
                    );
                    let (refused, done) = both.await;
                    assert_eq!(reason(refused), Reason::Integrity, "{sql}");
                    done.unwrap();
                }
                "by a look" => {
                    assert_eq!(reason(lab.recorder.inner.compare(&lab.tenant).await), Reason::Integrity, "{sql}");
                }
                _ => lab.restart().await,
            }
            assert_eq!(reason(lab.recorder.view(&lab.tenant).await), Reason::Integrity, "{sql}, {how}");
            assert_eq!(reason(lab.record(Attempt::Release(release)).await), Reason::Integrity, "{sql}, {how}");
            let why = lab.recorder.stopped(&lab.tenant.id).unwrap();
            assert!(why.contains(&format!("`{table}` has a row of entry {entry}, above")), "{why}");
            lab.recorder.record(&second, dataset_order(&lab, &second, "y")).await.unwrap();
            assert_eq!(lab.recorder.stopped(&second.id), None);

            lab.catalog.tamper(gone(table)).await;
            lab.restart().await;
            lab.order(Instruction::CreateDataset { name: "y".parse().unwrap() }).await.unwrap();
            lab.replay().await;
        }
    }
}

/// What another node has just written is above the head that this one knew, and no harm: whoever appends, and whoever looks.
async fn entries_of_other_nodes_are_not_taken_for_made_up() {
    let lab = Lab::new().await;
    let (_, other) = lab.other_node().await;
    let write = async |recorder: &Recorder, name: &str| {
        for n in 0..60 {
            recorder.record(&lab.tenant, dataset_order(&lab, &lab.tenant, &format!("{name}{n}"))).await.unwrap();
        }
    };
    let look = async |recorder: &Recorder| {
        for _ in 0..60 {
            recorder.inner.compare(&lab.tenant).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    let (one, two) = (&lab.recorder, &other);
    tokio::join!(write(one, "a"), write(one, "b"), write(two, "c"), write(two, "d"), look(one), look(two));
    for recorder in [one, two] {
        assert_eq!(recorder.stopped(&lab.tenant.id), None);
    }
    assert_eq!(lab.catalog.above_head(&lab.tenant.id).await.unwrap(), []);
    lab.replay().await;
}

/// Rows that carry marks, or do nothing, but stand where those of the next entry are to go: they are named by who runs into them.
async fn a_row_in_the_way_of_an_entry_stops_its_tenant_alone() {
    let lab = Lab::new().await;
    let second = lab.neighbour().await;
    lab.put_path("math/1", 10).await;
    lab.catalog
        .tamper(
            "INSERT INTO objects (tenant, entry, ordinal, dataset, dataset_name, path, generation, id, put, fixed, mac, key_version, \
             wrapped, blob, start) SELECT o.tenant, h.size, 0, o.dataset, o.dataset_name, o.path, o.generation, \
             unhex('00000000000000000000000000000001'), unhex('00000000000000000000000000000002'), o.fixed, o.mac, o.key_version, \
             o.wrapped, o.blob, o.start FROM objects o JOIN heads h ON h.tenant = o.tenant WHERE o.path = 'math/1'",
        )
        .await;
    let entry = lab.seen().await.size;
    // It is in nobody's way yet.
    lab.recorder.inner.compare(&lab.tenant).await.unwrap();
    let put = lab.put_of(&lab.admin, None, vec![item("math/2", 10)]).await;
    let both = futures::future::join(
        lab.record(Attempt::Put(put)),
        lab.recorder.record(&second, dataset_order(&lab, &second, "x")),
    );
    let (refused, done) = both.await;
    assert_eq!(reason(refused), Reason::Integrity);
    done.unwrap();
    let why = lab.recorder.stopped(&lab.tenant.id).unwrap();
    assert!(why.contains(&format!("`objects` has a row of entry {entry}, above")), "{why}");
    assert_eq!(lab.recorder.stopped(&second.id), None);
}

/// Counters can be set back; replay notices.
async fn a_counter_that_was_set_back_is_noticed_by_replay() {
    let mut lab = Lab::new().await;
    lab.put_path("math/1", 10).await;
    let person = Person::new(&lab.tenant);
    let limits = Limits { uses: Some(1), ..Limits::default() };
    let grant = lab.grant(Holder::Key(person.key()), &[Action::Read], "math/", limits).await;
    lab.read(&person, Some(grant), &["math/1"]).await.unwrap();
    assert_eq!(reason(lab.read(&person, Some(grant), &["math/1"]).await), Reason::QuotaExceeded);
    lab.catalog.tamper("DELETE FROM usages").await;
    lab.restart().await;
    person.reconnect();
    lab.read(&person, Some(grant), &["math/1"]).await.unwrap();
    let entries = lab.entries().await;
    let entries = entries.iter().map(|(public, private)| (&public[..], Some(&private[..])));
    let finding = replay_all(lab.tenant.origin.clone(), entries).unwrap_err();
    assert_eq!(finding.rule, strongroom_core::ledger::replay::Rule::Allowed);
}

on_each_engine! {
    (flavor = "current_thread")
    an_object_that_was_moved_to_another_path_is_refused,
    a_changed_row_fails_whoever_asks_for_it_and_nobody_who_asks_beside_them,
    every_marked_field_of_an_object_is_marked,
    a_grant_that_was_changed_or_made_up_is_refused,
    a_renewal_that_was_changed_opens_nothing_and_one_that_is_hidden_takes_away,
    a_removed_authority_row_stops_the_tenant,
    an_authority_row_that_was_put_in_another_place_stops_the_tenant,
    a_head_that_was_changed_stops_the_tenant,
    an_entry_above_the_head_stops_its_tenant_alone,
    a_row_in_the_way_of_an_entry_stops_its_tenant_alone,
    a_counter_that_was_set_back_is_noticed_by_replay,
}

strongroom_test_services::on_postgres_alone! {
    (flavor = "multi_thread", worker_threads = 2)
    entries_of_other_nodes_are_not_taken_for_made_up,
}
