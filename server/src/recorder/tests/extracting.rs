//! What a fold takes of a ledger is the same wherever its entries are, and entries that are picked are proven.

use std::sync::atomic::Ordering;

use strongroom_core::ids::Digest;
use strongroom_core::ledger::extract::{Doers, Extract, Needs};
use strongroom_core::ledger::facts::Facts;
use strongroom_core::ledger::proof::{TileHashes, check_inclusion, inclusion};
use strongroom_core::ledger::tile::WIDTH;
use strongroom_core::ledger::tree::leaf_hash;
use strongroom_core::ledger::{Entry, Event};

use super::*;

impl Lab {
    /// What is told of entries from `from` on and before `to`: releases and entries, each by its index.
    async fn extracted(&self, needs: &Needs, from: u64, to: u64) -> Result<Vec<(u64, String)>, RecordError> {
        let (recorder, tenant) = (self.recorder.clone(), self.tenant.clone());
        let mut extracts = Extracts::new(recorder, tenant, needs.clone(), Index(from), Index(to));
        let (mut told, mut end) = (Vec::new(), Index(from));
        while let Some(some) = extracts.next().await? {
            for extracted in some {
                assert!(extracted.end > end && extracted.end <= Index(to), "{} after {end}", extracted.end);
                let facts = extracted.facts.map_or(Facts::new(end), |bytes| Facts::from_bytes(&bytes).unwrap());
                told.extend(self::told(
                    &facts,
                    extracted.entries.iter().map(|(public, private)| (&public[..], &private[..])),
                ));
                assert!(told.iter().all(|(index, _)| *index < extracted.end.0));
                end = extracted.end;
            }
        }
        told.sort();
        Ok(told)
    }

    fn bundles_read(&self) -> u64 {
        self.recorder.inner.shelf.bundles_read.load(Ordering::Relaxed)
    }
}

fn told<'a>(facts: &Facts, entries: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Vec<(u64, String)> {
    let releases = facts.releases().map(|release| (release.index.0, format!("{release:?}")));
    let entries = entries.map(|(public, private)| {
        let entry = Entry::from_bytes(public).unwrap();
        (entry.index.0, format!("{entry:?} {}", String::from_utf8_lossy(private)))
    });
    releases.chain(entries).collect()
}

/// The same, of the entries themselves.
fn expected(all: &[(Vec<u8>, Vec<u8>)], needs: &Needs, from: u64, to: u64) -> Vec<(u64, String)> {
    let mut expected = Vec::new();
    for index in from..to {
        let (public, private) = &all[index as usize];
        let extract = Extract::of(Index(index), [(&public[..], &private[..])], needs).unwrap();
        expected.extend(told(&extract.facts, extract.entries.into_iter()));
    }
    expected.sort();
    expected
}

/// Two vendors read in turn, and much else goes on.
async fn what_a_fold_takes_follows_from_the_entries() {
    let lab = Lab::new().await;
    let (one, other) = (Person::new(&lab.tenant), Person::new(&lab.tenant));
    let vendor = lab.vendor("labelco", &[&one]).await;
    let rival = lab.vendor("rival", &[&other]).await;
    let grant = lab.grant(Holder::Vendor(vendor), &[Action::Read], "math/", Limits::default()).await;
    let rivals = lab.grant(Holder::Vendor(rival), &[Action::Read], "math/", Limits::default()).await;
    lab.put_path("math/1", 10).await;
    for round in 0..60 {
        lab.read(&other, Some(rivals), &["math/1"]).await.unwrap();
        if round % 20 == 3 {
            lab.read(&one, Some(grant), &["math/1"]).await.unwrap();
            lab.append_together(100, 7).await;
        }
    }
    for _ in 0..300 {
        lab.read(&other, Some(rivals), &["math/1"]).await.unwrap();
    }
    lab.put_path("math/2", 10).await;
    assert!(lab.read(&one, Some(grant), &["elsewhere"]).await.is_err());
    lab.read(&one, Some(grant), &["math/2"]).await.unwrap();
    lab.delete(&lab.admin, None, &["math/1"]).await.unwrap();
    lab.append_together(100, 7).await;
    let all = lab.entries().await;
    let size = all.len() as u64;
    lab.leave().await;
    let left = lab.catalog.summed_up(&lab.tenant.id).await.unwrap();
    assert!(left >= 3 && left * WIDTH < size, "{left} bundles of {size} entries have left");

    let puts = Needs { events: [Event::ObjectPut, Event::ObjectDeleted].into(), ..Needs::default() };
    let own = Needs { own: [Event::Denied, Event::SessionOpen].into(), ..puts.clone() };
    let of = |doers: Doers, needs: &Needs| Needs { doers: Some(doers), ..needs.clone() };
    let of_key = Doers { keys: [one.key()].into(), ..Doers::default() };
    let of_vendor = Doers { vendors: [vendor].into(), ..Doers::default() };
    let of_grant = Doers { grants: [grant].into(), ..Doers::default() };
    let cases = [
        Needs::default(),
        puts.clone(),
        own.clone(),
        of(of_key.clone(), &own),
        of(of_vendor, &own),
        of(of_grant, &puts),
    ];
    for needs in &cases {
        for (from, to) in [(0, size), (1, size - 1), (300, 600), (255, 257), (size - 5, size), (7, 7)] {
            let found = lab.extracted(needs, from, to).await.unwrap();
            assert_eq!(found, expected(&all, needs, from, to), "{needs:?} {from}..{to}");
        }
    }
    // Releases are read by their facts; of somebody who was never there, nothing is.
    let before = lab.bundles_read();
    let releases = lab.extracted(&of(of_key, &Needs::default()), 0, left * WIDTH).await.unwrap();
    let nobody = Doers { keys: [Person::new(&lab.tenant).key()].into(), ..Doers::default() };
    assert_eq!(lab.extracted(&of(nobody, &Needs::default()), 0, left * WIDTH).await.unwrap(), []);
    assert_eq!(lab.bundles_read(), before);
    assert!(!releases.is_empty());
    // Facts that are not there follow from the entries; such that were changed are found out.
    let file = lab.log_folder().join("facts/000");
    std::fs::remove_file(&file).unwrap();
    assert_eq!(lab.extracted(&cases[0], 0, size).await.unwrap(), expected(&all, &cases[0], 0, size));
    assert_eq!(lab.bundles_read(), before + 1);
    let last = releases.iter().map(|(index, _)| index / WIDTH).filter(|number| *number > 0).max().unwrap();
    super::leaving::change(&lab.log_folder().join(format!("facts/{last:03}")), false);
    assert_eq!(reason(lab.extracted(&cases[0], 0, size).await), Reason::Integrity);
}

/// Entries are picked out of bundles and out of the catalog, each with the part of its proof that lies in its bundle.
async fn picked_entries_are_proven() {
    let lab = Lab::new().await;
    lab.put_path("math/1", 10).await;
    lab.append_together(120, 7).await;
    lab.leave().await;
    lab.append_together(100, 7).await;
    assert!(lab.integrator().pass().await);
    let all = lab.entries().await;
    let size = all.len() as u64;
    let left = lab.catalog.summed_up(&lab.tenant.id).await.unwrap() * WIDTH;
    assert!(
        left >= 256 && left < size / WIDTH * WIDTH,
        "some full bundles have left, and some have not: {left} of {size}"
    );
    let signed = lab.recorder.inner.signed(&lab.tenant).await.unwrap().unwrap();
    let picked: Vec<u64> = (0..size).filter(|index| index % 37 == 1 || index % 256 == 255).chain([size - 1]).collect();
    let indices = picked.iter().copied().map(Index).collect();
    let mut picks = Picks::new(lab.recorder.clone(), lab.tenant.clone(), indices).await.unwrap();
    let mut found = Vec::new();
    while let Some(some) = picks.next().await.unwrap() {
        found.extend(some);
    }
    assert_eq!(found.len(), picked.len());
    let mut hashes = TileHashes::new(signed.size.0);
    for (index, entry) in picked.into_iter().zip(found) {
        let (public, private) = &all[index as usize];
        assert_eq!((&entry.public[..], &entry.private[..]), (&public[..], &private[..]), "{index}");
        let shelf = &lab.recorder.inner.shelf;
        let proof = shelf.out_of_tiles(&lab.tenant, &mut hashes, |hashes| inclusion(hashes, index, signed.size.0));
        let proof = proof.await.unwrap();
        let siblings: Vec<Digest> = entry.siblings.chunks(32).map(|hash| Digest::try_from(hash).unwrap()).collect();
        match index / WIDTH < signed.size.0 / WIDTH {
            true => assert_eq!(siblings, proof[..8], "{index}"),
            false => assert_eq!(siblings, [], "{index}"),
        }
        check_inclusion(leaf_hash(public), index, signed.size.0, &signed.root, &proof).unwrap();
    }
}

on_each_engine! {
    (flavor = "multi_thread")
    what_a_fold_takes_follows_from_the_entries,
    picked_entries_are_proven,
}
