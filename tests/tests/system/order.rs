//! Order is the guarantee: while vendors read and write as fast as they can, grants are revoked and vendors suspended beneath
//! them, and what came out is exactly what could.
//!
//! The replay judges every entry; beside it stands a second, simpler count here, from what the orders' receipts and the clients
//! say: after a revocation returned index r, nothing stands above r.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use strongroom_client::{
    Action, DatasetRef, Error, GetOptions, GrantId, Holder, Index, Limits, ObjectName, PutOptions, Reason, Vault,
    VendorName,
};
use strongroom_core::ledger::{Entry, Event, Role};
use strongroom_test_services::on_each_engine;
use strongroom_tests::chance::Chance;
use strongroom_tests::oracle::Ledger;
use strongroom_tests::{Lab, TestVault, Worker, sample};

/// Set to run for 20 seconds instead of 5.
const LONG: &str = "STRONGROOM_TEST_LONG";

/// A grant of the contest.
struct Given {
    id: GrantId,
    limits: Limits,
    /// Set once its revocation has been answered.
    is_over: AtomicBool,
    /// The entry of its revocation.
    revoked: Mutex<Option<Index>>,
}

/// A vendor of the contest.
struct Side {
    name: VendorName,
    worker: Worker,
    live: Mutex<Vec<Arc<Given>>>,
    /// Set while a suspension has been answered and no resumption was asked for.
    is_suspended: AtomicBool,
    /// How often a resumption was asked for.
    resumptions: AtomicU64,
    /// Entries between which it was suspended.
    pauses: Mutex<Vec<(Index, Index)>>,
}

struct Contest {
    lab: Lab,
    dataset: DatasetRef,
    sides: Vec<Side>,
    ended: Mutex<Vec<Arc<Given>>>,
    objects: Vec<(ObjectName, Bytes)>,
    stop: AtomicBool,
    /// How often each came to pass.
    counts: Mutex<BTreeMap<String, u64>>,
    /// Bytes that readers got.
    got: AtomicU64,
}

impl Contest {
    fn count(&self, what: impl Into<String>) {
        *self.counts.lock().unwrap().entry(what.into()).or_default() += 1;
    }

    fn counted(&self, what: &str) -> u64 {
        self.counts.lock().unwrap().get(what).copied().unwrap_or_default()
    }

    /// An error of a call under a grant: one of those that must be expected.
    fn refused(&self, error: &Error) {
        let expected = [Reason::GrantRevoked, Reason::VendorSuspended, Reason::QuotaExceeded];
        assert!(expected.contains(&error.reason()), "{error}");
        self.count(error.reason().code());
    }

    async fn give(&self, side: &Side, chance: &mut Chance) {
        let mut terms = self.lab.terms(
            side.worker.holder,
            &[(&[Action::List, Action::Read], "rlhf/math/"), (&[Action::Write], &format!("rlhf/{}/", side.name))],
        );
        // Odd numbers, so that they are hit in the middle of something.
        terms.limits.bytes = (chance.below(4) > 0).then(|| 100_001 + chance.below(3_000_000));
        terms.limits.objects = (chance.below(2) > 0).then(|| 11 + chance.below(150));
        terms.limits.uses = (chance.below(4) == 0).then(|| 7 + chance.below(60));
        let limits = terms.limits.clone();
        let id = self.lab.grant(terms).await;
        let given = Given { id, limits, is_over: AtomicBool::new(false), revoked: Mutex::default() };
        side.live.lock().unwrap().push(Arc::new(given));
    }

    /// Revokes a grant of somebody, and gives another.
    async fn revoke(&self, chance: &mut Chance) {
        let side = &self.sides[chance.below(self.sides.len() as u64) as usize];
        let given = {
            let mut live = side.live.lock().unwrap();
            let at = chance.below(live.len() as u64) as usize;
            live.swap_remove(at)
        };
        let done = self.lab.vault.revoke_grant(&self.lab.tenant, given.id, None).await.unwrap();
        *given.revoked.lock().unwrap() = Some(done.index);
        given.is_over.store(true, SeqCst);
        self.count("revoked");
        self.give(side, chance).await;
        // It stays in the game: somebody will try it again.
        self.ended.lock().unwrap().push(given);
    }

    async fn suspend(&self, chance: &mut Chance) {
        let side = &self.sides[chance.below(self.sides.len() as u64) as usize];
        let tenant = &self.lab.tenant;
        let suspended = self.lab.vault.suspend_vendor(tenant, &side.name, None).await.unwrap();
        side.is_suspended.store(true, SeqCst);
        self.count("suspended");
        tokio::time::sleep(Duration::from_millis(chance.below(60))).await;
        side.is_suspended.store(false, SeqCst);
        side.resumptions.fetch_add(1, SeqCst);
        let resumed = self.lab.vault.resume_vendor(tenant, &side.name, None).await.unwrap();
        side.pauses.lock().unwrap().push((suspended.index, resumed.index));
    }

    /// One call of a vendor under one of its grants, and what must be true of its outcome.
    async fn call(&self, side: &Side, vault: &Vault, writes: Option<u64>, chance: &mut Chance) {
        let given = {
            let (live, ended) = (side.live.lock().unwrap(), self.ended.lock().unwrap());
            let all = live.len() as u64;
            match chance.below(all + 1) {
                // Now and then, one that is over, perhaps another vendor's.
                pick if pick == all && !ended.is_empty() => ended[chance.below(ended.len() as u64) as usize].clone(),
                pick if pick < all => live[pick as usize].clone(),
                _ => return,
            }
        };
        let was_over = given.is_over.load(SeqCst);
        let was_suspended = side.is_suspended.load(SeqCst);
        let resumptions = side.resumptions.load(SeqCst);
        let done = match writes {
            Some(round) => self.write(side, vault, &given, round, chance).await,
            None => self.read(vault, &given, chance).await,
        };
        match done {
            Ok(()) => {
                assert!(!was_over, "a call that began after the revocation was answered went through");
                let paused = was_suspended && side.resumptions.load(SeqCst) == resumptions;
                assert!(!paused, "a call went through while the vendor was suspended");
            }
            // A grant that is over may be another vendor's.
            Err(error) if was_over && error.reason() == Reason::OutOfScope => self.count("OUT_OF_SCOPE"),
            Err(error) => self.refused(&error),
        }
    }

    async fn read(&self, vault: &Vault, given: &Given, chance: &mut Chance) -> Result<(), Error> {
        let options = GetOptions { grant: Some(given.id), ..GetOptions::default() };
        let (name, bytes) = &self.objects[chance.below(self.objects.len() as u64) as usize];
        let got = match chance.below(3) {
            0 => {
                let got = vault.get_bytes(name, options).await?;
                assert_eq!(got, bytes);
                got.len()
            }
            1 => {
                let end = 1 + chance.below(bytes.len() as u64);
                let start = chance.below(end);
                let got = vault.get_range(name, start..end, options).await?.into_bytes().await?;
                assert_eq!(got, bytes.slice(start as usize..end as usize));
                got.len()
            }
            _ => {
                let first = chance.below(self.objects.len() as u64 - 12) as usize;
                let some = &self.objects[first..first + 12];
                let paths = futures::stream::iter(some.iter().map(|(name, _)| name.path.clone()).collect::<Vec<_>>());
                let mut results = vault.get_many(&self.dataset, paths, options);
                let mut got = 0;
                for (_, bytes) in some {
                    let (_, found) = results.next().await.unwrap().map_err(|failed| failed.error)?;
                    assert_eq!(found, bytes);
                    got += found.len();
                }
                got
            }
        };
        self.got.fetch_add(got as u64, SeqCst);
        self.count("read");
        Ok(())
    }

    async fn write(
        &self,
        side: &Side,
        vault: &Vault,
        given: &Given,
        round: u64,
        chance: &mut Chance,
    ) -> Result<(), Error> {
        let path = format!("{}/{round:08}", side.name);
        let len = [50, 5_000, 100_000][chance.below(3) as usize];
        let options = PutOptions { grant: Some(given.id), ..PutOptions::default() };
        vault.put_bytes(&self.lab.object(&format!("rlhf/{path}")), sample::bytes(round, len).into(), options).await?;
        self.count("written");
        Ok(())
    }

    /// The second count: of each grant what it was charged, and nothing after its end.
    async fn judge(&self, vault: &TestVault) {
        let ledger: Ledger = vault.ledger("acme").await;
        let moved: Vec<Entry> = ledger
            .parsed()
            .into_iter()
            .filter(|entry| matches!(entry.event, Event::Release | Event::ObjectPut | Event::ReleaseRepeat))
            .collect();
        let known = self.lab.vault.grants(&self.lab.tenant).await.unwrap();
        let usage: BTreeMap<GrantId, u64> = known.iter().map(|info| (info.grant.id, info.usage.bytes)).collect();
        let live = self.sides.iter().flat_map(|side| side.live.lock().unwrap().clone());
        let all: Vec<Arc<Given>> = live.chain(self.ended.lock().unwrap().iter().cloned()).collect();
        for given in &all {
            let under: Vec<&Entry> = moved.iter().filter(|entry| entry.grants.contains(&given.id)).collect();
            let charged = under.iter().filter(|entry| entry.event != Event::ReleaseRepeat);
            let bytes: u64 = charged.clone().map(|entry| bytes_of(entry)).sum();
            let uses = charged.clone().filter_map(|entry| entry.request).collect::<BTreeSet<_>>().len() as u64;
            assert_eq!(usage[&given.id], bytes, "{}: what it was charged", given.id);
            assert!(given.limits.bytes.is_none_or(|limit| bytes <= limit), "{}: {bytes} bytes", given.id);
            assert!(given.limits.uses.is_none_or(|limit| uses <= limit), "{}: {uses} uses", given.id);
            if let Some(end) = *given.revoked.lock().unwrap() {
                let after: Vec<Index> = under.iter().map(|entry| entry.index).filter(|index| *index > end).collect();
                assert!(after.is_empty(), "{}: revoked at {end}, and then {after:?}", given.id);
            }
        }
        for side in &self.sides {
            let Holder::Vendor(id) = side.worker.holder else { unreachable!() };
            let own = moved.iter().filter(|entry| entry.actor.role == Role::Vendor(id));
            for entry in own {
                let pauses = side.pauses.lock().unwrap();
                let within = pauses.iter().find(|(from, to)| *from < entry.index && entry.index < *to);
                assert!(within.is_none(), "entry {} stands between {within:?}", entry.index);
            }
        }
        // Segments are released whole, so what came out is at least what was got.
        let releases = moved.iter().filter(|entry| entry.event != Event::ObjectPut);
        let released: u64 = releases.map(bytes_of).sum();
        assert!(released >= self.got.load(SeqCst), "{released} bytes were released");
    }
}

fn bytes_of(entry: &Entry) -> u64 {
    entry.objects.iter().map(|object| object.5).chain(entry.puts.iter().map(|put| put.2)).sum()
}

async fn contest(vault: &TestVault) -> Arc<Contest> {
    let lab = vault.lab("acme").await;
    let dataset = lab.dataset("rlhf").await;
    let mut objects = Vec::new();
    for at in 0..60_u64 {
        let len = if at % 10 == 9 { 60_000 + at * 3_001 } else { 100 + at * 37 };
        let bytes = Bytes::from(sample::bytes(at, len as usize));
        objects.push((lab.object(&format!("rlhf/math/{at:04}")), bytes));
    }
    let puts: Vec<_> = objects.iter().map(|(name, bytes)| (name.path.clone(), bytes.clone())).collect();
    let mut put = lab.vault.put_many(&dataset, futures::stream::iter(puts), PutOptions::default());
    while let Some(done) = put.next().await {
        done.unwrap();
    }
    drop(put);
    let mut sides = Vec::new();
    for name in ["alpha", "beta", "gamma", "delta"] {
        sides.push(Side {
            name: name.parse().unwrap(),
            worker: lab.vendor(vault, name).await,
            live: Mutex::default(),
            is_suspended: AtomicBool::new(false),
            resumptions: AtomicU64::new(0),
            pauses: Mutex::default(),
        });
    }
    let contest = Contest {
        lab,
        dataset,
        sides,
        ended: Mutex::default(),
        objects,
        stop: AtomicBool::new(false),
        counts: Mutex::default(),
        got: AtomicU64::new(0),
    };
    let mut chance = Chance(1);
    for side in &contest.sides {
        for _ in 0..3 {
            contest.give(side, &mut chance).await;
        }
    }
    Arc::new(contest)
}

async fn what_comes_out_is_what_could() {
    let vault = TestVault::start().await;
    let contest = contest(&vault).await;
    let mut tasks = Vec::new();
    for number in 0..16_u64 {
        let connection = vault.connect(&contest.sides[(number % 4) as usize].worker.identity).await;
        let contest = contest.clone();
        tasks.push(tokio::spawn(async move {
            let side = &contest.sides[(number % 4) as usize];
            let mut chance = Chance(100 + number);
            for round in 0.. {
                if contest.stop.load(SeqCst) {
                    return;
                }
                let writes = (number >= 10).then_some(number << 20 | round);
                contest.call(side, &connection, writes, &mut chance).await;
            }
        }));
    }
    for revokes in [true, false] {
        let contest = contest.clone();
        tasks.push(tokio::spawn(async move {
            let mut chance = Chance(7 + u64::from(revokes));
            while !contest.stop.load(SeqCst) {
                match revokes {
                    true => contest.revoke(&mut chance).await,
                    false => contest.suspend(&mut chance).await,
                }
                tokio::time::sleep(Duration::from_millis(20 + chance.below(80))).await;
            }
        }));
    }
    let time = if std::env::var_os(LONG).is_some() { 20 } else { 5 };
    let until = Instant::now() + Duration::from_secs(time);
    // A task that fails ends the contest at once.
    while Instant::now() < until && !tasks.iter().any(tokio::task::JoinHandle::is_finished) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    contest.stop.store(true, SeqCst);
    for task in tasks {
        task.await.unwrap();
    }
    for what in ["read", "written", "revoked", "suspended", "GRANT_REVOKED", "VENDOR_SUSPENDED", "QUOTA_EXCEEDED"] {
        assert!(contest.counted(what) >= 3, "{what}: {:?}", contest.counts.lock().unwrap());
    }
    contest.judge(&vault).await;
}

/// One window of an object: 64 MiB.
const WINDOW: u64 = 64 << 20;

async fn a_revocation_bites_in_the_middle_of_a_read() {
    let vault = TestVault::start().await;
    let lab = vault.lab("acme").await;
    lab.dataset("rlhf").await;
    let bytes = Bytes::from(sample::bytes(5, WINDOW as usize + 6_000_001));
    lab.vault.put(&lab.object("rlhf/large"), &bytes[..], PutOptions::default()).await.unwrap();
    let worker = lab.vendor(&vault, "labelco").await;
    let releases = async |grant: GrantId| {
        let entries = vault.ledger("acme").await.done(Event::Release);
        entries.iter().filter(|entry| entry.grants.contains(&grant)).map(bytes_of).collect::<Vec<_>>()
    };

    for suspends in [false, true] {
        let grant = lab.let_read(&worker, "rlhf/large").await;
        let options = GetOptions { grant: Some(grant), ..GetOptions::default() };
        let mut reader = worker.vault.get(&lab.object("rlhf/large"), options).await.unwrap();
        let mut got = reader.next().await.unwrap().unwrap().len();
        // The reader pauses here, and the server with it: most of the window is unsent.
        let labelco = "labelco".parse().unwrap();
        match suspends {
            false => lab.vault.revoke_grant(&lab.tenant, grant, None).await.unwrap(),
            true => lab.vault.suspend_vendor(&lab.tenant, &labelco, None).await.unwrap(),
        };
        let revoked = Instant::now();
        let error = loop {
            match reader.next().await.expect("it does not come to its end") {
                Ok(more) => {
                    assert_eq!(more, bytes[got..got + more.len()]);
                    got += more.len();
                }
                Err(error) => break error,
            }
        };
        let expected = if suspends { Reason::VendorSuspended } else { Reason::GrantRevoked };
        assert_eq!(error.reason(), expected);
        assert!(revoked.elapsed() < Duration::from_secs(3), "{:?}", revoked.elapsed());
        assert!((got as u64) < WINDOW / 2, "{got} bytes came");
        assert_eq!(releases(grant).await, [WINDOW], "the keys of one window, and no more");
    }
    lab.vault.resume_vendor(&lab.tenant, &"labelco".parse().unwrap(), None).await.unwrap();

    // A budget ends there as well: to the byte.
    for (limit, expected) in [(WINDOW - 1, vec![]), (WINDOW, vec![WINDOW]), (bytes.len() as u64 - 1, vec![WINDOW])] {
        let mut terms = lab.terms(worker.holder, &[(&[Action::Read], "rlhf/large")]);
        terms.limits.bytes = Some(limit);
        let grant = lab.grant(terms).await;
        let options = GetOptions { grant: Some(grant), ..GetOptions::default() };
        let read = async {
            let mut reader = worker.vault.get(&lab.object("rlhf/large"), options).await?;
            let mut got = 0;
            while let Some(more) = reader.next().await {
                let more = more?;
                assert_eq!(more, bytes[got..got + more.len()]);
                got += more.len();
            }
            Ok::<usize, Error>(got)
        };
        assert_eq!(read.await.unwrap_err().reason(), Reason::QuotaExceeded, "{limit}");
        assert_eq!(releases(grant).await, expected, "{limit}");
    }
}

on_each_engine! {
    (flavor = "multi_thread", worker_threads = 2)
    what_comes_out_is_what_could,
    a_revocation_bites_in_the_middle_of_a_read,
}
