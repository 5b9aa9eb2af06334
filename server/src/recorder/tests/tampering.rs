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
    a_counter_that_was_set_back_is_noticed_by_replay,
}
