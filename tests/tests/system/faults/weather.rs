//! What breaks, and when: three hands, each with its own chance, one for the nodes, one for the database, one for the bucket.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use strongroom_test_services::{Fault, Faults, Postgres};
use strongroom_tests::chance::Chance;

use crate::party::Run;

/// What broke how often.
pub(super) type Broken = BTreeMap<&'static str, u64>;

/// Longer than the SDK tries to reach a node, so that its clients go to another.
const LONG_DOWN: u64 = 17_000;

/// The faults under way.
pub(super) struct Storm {
    over: Arc<AtomicBool>,
    nodes: JoinHandle<Broken>,
    database: JoinHandle<(Postgres, Broken)>,
    bucket: JoinHandle<(Faults, Broken)>,
}

/// One hand: what it breaks it mends before it goes on.
struct Hand {
    over: Arc<AtomicBool>,
    chance: Chance,
    broken: Broken,
}

/// Begins.
pub(super) fn begin(run: Arc<Run>, postgres: Postgres, faults: Faults) -> Storm {
    let over = Arc::new(AtomicBool::new(false));
    let hand = |number: usize| Hand { over: over.clone(), chance: run.chance(1000 + number), broken: Broken::new() };
    let [nodes, database, bucket] = [hand(0), hand(1), hand(2)];
    Storm {
        nodes: std::thread::spawn(move || nodes.nodes(&run)),
        database: std::thread::spawn(move || database.database(postgres)),
        bucket: std::thread::spawn(move || bucket.bucket(faults)),
        over,
    }
}

impl Storm {
    /// Ends it: when this returns, all is mended.
    pub(super) fn end(self) -> (Postgres, Faults, Broken) {
        self.over.store(true, SeqCst);
        let (postgres, database) = self.database.join().unwrap();
        let (faults, bucket) = self.bucket.join().unwrap();
        let mut broken = self.nodes.join().unwrap();
        broken.extend(database);
        broken.extend(bucket);
        (postgres, faults, broken)
    }
}

impl Hand {
    /// Waits for so many milliseconds and up to as many again, or until it is over.
    fn wait(&mut self, millis: u64) {
        let until = Instant::now() + Duration::from_millis(millis + self.chance.below(millis + 1));
        while Instant::now() < until && !self.over.load(SeqCst) {
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn goes_on(&self) -> bool {
        !self.over.load(SeqCst)
    }

    fn note(&mut self, what: &'static str) {
        *self.broken.entry(what).or_default() += 1;
    }

    fn nodes(mut self, run: &Run) -> Broken {
        let nodes = run.cluster.nodes();
        loop {
            self.wait(400);
            if !self.goes_on() {
                break;
            }
            let node = self.chance.pick(nodes);
            match self.chance.below(16) {
                0..10 => {
                    node.kill();
                    self.note("a server was killed");
                    self.wait(100);
                }
                10 => {
                    node.kill();
                    self.note("a server was killed and stayed away");
                    self.wait(LONG_DOWN);
                }
                _ => {
                    node.pause();
                    self.note("a server stood still");
                    self.wait(1500);
                    node.resume();
                }
            }
            // A start wants database and bucket, and one of them may be away just now.
            while self.goes_on() && node.try_start().is_err() {
                self.note("a server found no database or bucket when it started");
            }
        }
        for node in nodes {
            let until = Instant::now() + Duration::from_secs(60);
            while let Err(said) = node.try_start() {
                assert!(Instant::now() < until, "a node does not start any more: {said}");
            }
        }
        self.broken
    }

    fn database(mut self, mut postgres: Postgres) -> (Postgres, Broken) {
        loop {
            self.wait(2500);
            if !self.goes_on() {
                return (postgres, self.broken);
            }
            match self.chance.below(3) {
                0 => {
                    postgres.restart();
                    self.note("the database was restarted");
                }
                1 => {
                    postgres.kill();
                    self.note("the database was killed");
                    self.wait(200);
                    postgres.restart();
                }
                _ => {
                    postgres.pause();
                    self.note("the database stood still");
                    self.wait(700);
                    postgres.resume();
                }
            }
        }
    }

    fn bucket(mut self, faults: Faults) -> (Faults, Broken) {
        loop {
            self.wait(400);
            if !self.goes_on() {
                faults.clear();
                return (faults, self.broken);
            }
            let times = 1 + self.chance.below(6) as usize;
            let cut = self.chance.below(100_000) as usize;
            match self.chance.below(12) {
                0 => {
                    faults.plan("", Fault::Unavailable, usize::MAX);
                    self.note("the bucket was away");
                    self.wait(500);
                    faults.clear();
                }
                1 | 2 => {
                    faults.plan("PUT /", Fault::Unavailable, times);
                    self.note("the bucket answered 503 to writes");
                }
                3 => {
                    faults.plan("PUT /", Fault::LoseAnswer, times);
                    self.note("the bucket's answers to writes were lost");
                }
                4 => {
                    faults.plan("POST /", Fault::LoseAnswer, 1);
                    self.note("the bucket's answers about uploads in parts were lost");
                }
                5 => {
                    faults.plan("", Fault::Cut, times);
                    self.note("the bucket's connections were cut");
                }
                _ => {
                    faults.plan("GET /", Fault::CutAfter(cut), times);
                    self.note("the bucket's answers to reads were cut");
                }
            }
        }
    }
}
