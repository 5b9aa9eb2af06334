//! Old entries are found by summaries: what cannot hold them is not read.

use std::sync::atomic::Ordering;

use strongroom_core::ledger::facts::Facts;
use strongroom_core::ledger::summary::{Summary, Wanted};
use strongroom_core::ledger::tile::{Kind, Tile, WIDTH};
use strongroom_core::ledger::{Entry, Event, Role};

use super::*;
use crate::catalog::Level;

impl Lab {
    /// The indices of the entries that `wanted` and `is` pick, and how many bundles were read to find them.
    async fn find(&self, wanted: Wanted, is: impl Fn(&Entry) -> bool) -> (Vec<u64>, u64) {
        let read = &self.recorder.inner.shelf.bundles_read;
        let before = read.load(Ordering::Relaxed);
        let to = self.recorder.view(&self.tenant).await.unwrap().head.size();
        let (mut search, mut from, mut found) = (Search::new(wanted), Index(0), Vec::new());
        while from < to {
            from = self.recorder.seek(&self.tenant, &mut search, from, to).await.unwrap();
            for (public, _) in self.recorder.history(&self.tenant, from, to).await.unwrap() {
                let entry = Entry::from_bytes(&public).unwrap();
                assert_eq!(entry.index, from);
                found.extend(is(&entry).then_some(from.0));
                from = Index(from.0 + 1);
            }
        }
        (found, read.load(Ordering::Relaxed) - before)
    }

    /// Appends orders that are about nobody and nothing, by seven at once.
    async fn fill(&self, rounds: usize) {
        for _ in 0..rounds {
            let orders = (0..7).map(|_| self.order(Instruction::SetPolicy(Policy::default())));
            for done in futures::future::join_all(orders).await {
                done.unwrap();
            }
        }
    }

    async fn sealed_file(&self, kind: Kind, number: u64) -> Vec<u8> {
        let tile = Tile::new(kind, number, WIDTH).unwrap();
        self.recorder.inner.shelf.file(&self.tenant, tile).await.unwrap().to_vec()
    }
}

/// Somebody is here for a while, long ago; who looks for that reads where it may be and nothing else.
async fn what_cannot_hold_it_is_not_read() {
    let lab = Lab::new().await;
    lab.fill(60).await;
    lab.clock.forward(3_600_000);
    let from = lab.clock.now();
    let person = Person::new(&lab.tenant);
    let vendor = lab.vendor("labelco", &[&person]).await;
    let grant = lab.grant(Holder::Vendor(vendor), &[Action::Read], "math/", Limits::default()).await;
    lab.put_path("math/1", 10).await;
    for _ in 0..3 {
        lab.read(&person, Some(grant), &["math/1"]).await.unwrap();
    }
    lab.clock.forward(1000);
    let until = lab.clock.now();
    lab.clock.forward(3_600_000);
    lab.fill(180).await;
    let all = lab.entries().await;
    lab.leave().await;
    assert!(lab.catalog.batch_of(&lab.tenant.id, Index(0)).await.unwrap().unwrap().first > Index(1280));
    assert_eq!(lab.catalog.summed_up(&lab.tenant.id).await.unwrap(), 6, "{}", all.len());

    let of = |pick: &dyn Fn(&Entry) -> bool| {
        let entries = all.iter().map(|(public, _)| Entry::from_bytes(public).unwrap());
        entries.filter(|entry| pick(entry)).map(|entry| entry.index.0).collect::<Vec<_>>()
    };
    type Pick<'a> = Box<dyn Fn(&Entry) -> bool + 'a>;
    let cases: Vec<(Wanted, Pick, u64)> = vec![
        (Wanted::default(), Box::new(|_| true), 6),
        (
            Wanted { since: Some(from), until: Some(until), ..Wanted::default() },
            Box::new(|entry| (from..until).contains(&entry.time)),
            1,
        ),
        (Wanted { until: Some(Millis(5)), ..Wanted::default() }, Box::new(|entry| entry.time < Millis(5)), 0),
        (
            Wanted { events: [Event::Release].into(), ..Wanted::default() },
            Box::new(|entry| entry.event == Event::Release),
            1,
        ),
        (Wanted { key: Some(person.key()), ..Wanted::default() }, Box::new(|entry| entry.actor.key == person.key()), 1),
        (
            Wanted { vendor: Some(vendor), ..Wanted::default() },
            Box::new(|entry| entry.actor.role == Role::Vendor(vendor)),
            1,
        ),
        (Wanted { grant: Some(grant), ..Wanted::default() }, Box::new(|entry| entry.grants.contains(&grant)), 1),
        (
            Wanted { outcome: Some(strongroom_core::ledger::Outcome::Denied), ..Wanted::default() },
            Box::new(|entry| entry.outcome == strongroom_core::ledger::Outcome::Denied),
            0,
        ),
    ];
    for (wanted, pick, most) in cases {
        let told = format!("{wanted:?}");
        let (found, read) = lab.find(wanted, &pick).await;
        assert_eq!(found, of(&pick), "{told}");
        assert!(read <= most, "{told}: {read} bundles were read");
    }
    // The dataset was made in entry 1, and put into and read in between.
    let wanted = Wanted { dataset: Some(DATASET.parse().unwrap()), ..Wanted::default() };
    let (found, read) = lab.find(wanted, |entry| entry.event == Event::Release).await;
    assert_eq!((found, read), (of(&|entry| entry.event == Event::Release), 2));
}

/// What lies beside the tiles follows from the entries, and a summary that was changed hides nothing.
async fn summaries_and_facts_follow_from_the_entries() {
    let lab = Lab::new().await;
    lab.put_path("math/1", 10).await;
    for _ in 0..20 {
        lab.read(&lab.admin, None, &["math/1"]).await.unwrap();
    }
    lab.append_together(100, 7).await;
    let all = lab.entries().await;
    lab.leave().await;
    let (id, key) = (&lab.tenant.id, &lab.tenant.ledger_key);
    let kept = lab.catalog.summaries(id, key, Level::Bundle, 0, 256).await.unwrap();
    assert!(kept.len() >= 2);
    for (number, summary) in &kept {
        let start = (number * WIDTH) as usize;
        let entries = || all[start..start + WIDTH as usize].iter().map(|(public, private)| (&public[..], &private[..]));
        assert_eq!(*summary, Summary::of(Index(start as u64), entries()).unwrap());
        let facts = Facts::of(Index(start as u64), entries()).unwrap();
        assert_eq!(facts.len(), if *number == 0 { 20 } else { 0 });
        assert_eq!(Facts::from_bytes(&lab.sealed_file(Kind::Facts, *number).await), Ok(facts));
    }
    let joined = Summary::join(kept.iter().map(|(_, summary)| summary)).unwrap();
    let end = usize::try_from(joined.end().0).unwrap();
    let entries = all[..end].iter().map(|(public, private)| (&public[..], &private[..]));
    assert_eq!(joined, Summary::of(Index(0), entries).unwrap());

    lab.catalog.tamper("UPDATE summaries SET number = 7 WHERE number = 0").await;
    assert!(lab.catalog.summaries(id, key, Level::Bundle, 7, 256).await.is_err());
}

/// Summaries made up for a span and a bit: those of a full span are read out of its file, and one that was changed stops the tenant.
async fn a_full_span_is_searched_by_its_file() {
    let lab = Lab::new().await;
    let (id, key) = (&lab.tenant.id, &lab.tenant.ledger_key);
    let of = |number: u64| Fingerprint::from_bytes([(number % 251) as u8; 32]);
    let summary = |number: u64| Summary {
        first: Index(number * WIDTH),
        entries: WIDTH,
        since: Millis(number * 1000),
        until: Millis(number * 1000 + 999),
        events: vec![(Event::Release, WIDTH)],
        denied: 0,
        keys: Some(vec![of(number)]),
        vendors: Some(Vec::new()),
        grants: Some(Vec::new()),
        datasets: Some(Vec::new()),
        unnamed: 0,
        open: 0,
    };
    let all: Vec<Summary> = (0..260).map(summary).collect();
    let mut tx = lab.catalog.begin().await.unwrap();
    tx.insert_summaries(id, key, Level::Bundle, (0..).zip(&all)).await.unwrap();
    tx.commit().await.unwrap();
    let shelver = lab.shelver();
    shelver.sum_up_span(&lab.tenant, 0).await.unwrap();
    shelver.sum_up_span(&lab.tenant, 1).await.unwrap();
    let spans = lab.catalog.summaries(id, key, Level::Span, 0, 9).await.unwrap();
    assert_eq!(spans, [(0, Summary::join(&all[..256]).unwrap())]);
    assert_eq!(spans[0].1.keys, None, "too many to name");
    assert_eq!(lab.catalog.summaries(id, key, Level::Bundle, 0, 256).await.unwrap().len(), 4);
    assert_eq!(lab.catalog.summed_up(id).await.unwrap(), 260);

    let end = Index(260 * WIDTH);
    let seek = async |wanted: &Wanted, from| {
        let mut search = Search::new(wanted.clone());
        lab.recorder.seek(&lab.tenant, &mut search, Index(from), end).await
    };
    for number in [0, 100, 255, 256, 259] {
        let (since, until) = (Some(Millis(number * 1000)), Some(Millis(number * 1000 + 500)));
        let wanted = Wanted { since, until, ..Wanted::default() };
        assert_eq!(seek(&wanted, 0).await.unwrap(), Index(number * WIDTH), "{number}");
        assert_eq!(seek(&wanted, number * WIDTH + 9).await.unwrap(), Index(number * WIDTH + 9));
        assert_eq!(seek(&wanted, (number + 1) * WIDTH).await.unwrap(), end, "{number}");
    }
    let mut search = Search::new(Wanted { key: Some(of(3)), ..Wanted::default() });
    let mut found = Vec::new();
    let mut from = Index(0);
    while from < end {
        from = lab.recorder.seek(&lab.tenant, &mut search, from, end).await.unwrap();
        found.extend((from < end).then_some(from.0 / WIDTH));
        from = Index(from.0 + WIDTH);
    }
    assert_eq!(found, [3, 254]);
    // A span that cannot hold it costs nothing; of one that may, the file must be what was written.
    super::leaving::change(&lab.log_folder().join("summaries/000"), false);
    let denied = Wanted { outcome: Some(strongroom_core::ledger::Outcome::Denied), ..Wanted::default() };
    assert_eq!(seek(&denied, 0).await.unwrap(), end);
    let wanted = Wanted { key: Some(of(3)), ..Wanted::default() };
    assert_eq!(reason(seek(&wanted, 0).await), Reason::Integrity);
    assert_eq!(lab.stopped().await, Reason::Integrity);
}

on_each_engine! {
    (flavor = "multi_thread")
    what_cannot_hold_it_is_not_read,
    summaries_and_facts_follow_from_the_entries,
    a_full_span_is_searched_by_its_file,
}
