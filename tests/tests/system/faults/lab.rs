//! The data's owner: writes, overwrites, deletes, reads and lists below a folder of its own, and knows at every moment what must be
//! there.
//!
//! Every write says what must hold: nothing there, or this generation. So a call whose answer was lost, and which a node that
//! stood still may carry out much later, cannot undo what was acknowledged since.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::StreamExt;
use strongroom_client::{
    Condition, DeleteOptions, Error, Generation, GetOptions, ListOptions, Listed, PutDone, PutOptions, Reason,
};
use strongroom_tests::sample;

use crate::party::client::{Client, is_lost};

/// What was written: its bytes follow from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Written {
    seed: u64,
    len: usize,
}

impl Written {
    pub(super) fn bytes(self) -> Bytes {
        sample::bytes(self.seed, self.len).into()
    }
}

/// A call that was not answered.
#[derive(Debug, Clone, Copy)]
enum Change {
    Put(Written),
    Delete,
}

/// What is known of a path.
#[derive(Debug, Clone, Default)]
struct Known {
    /// What is there, as it was last acknowledged or seen.
    now: Option<(Generation, Written)>,
    /// What may have changed it since, or may yet.
    perhaps: Vec<Change>,
    /// A write where nothing was is unanswered, and could come to pass whenever nothing is there again: so it is never deleted.
    loose: bool,
}

impl Known {
    /// Whether this may be found: these bytes, or nothing.
    fn allows(&self, found: Option<&Bytes>) -> bool {
        let is = |written: Written| found.is_some_and(|found| *found == written.bytes());
        let now = self.now.map_or(found.is_none(), |(_, written)| is(written));
        now || self.perhaps.iter().any(|change| match change {
            Change::Put(written) => is(*written),
            Change::Delete => found.is_none(),
        })
    }
}

/// An owner at work.
pub(super) struct Lab {
    client: Client,
    folder: String,
    known: BTreeMap<String, Known>,
    made: u64,
    /// What was acknowledged of puts.
    pub(super) receipts: Vec<PutDone>,
}

impl Lab {
    pub(super) fn new(client: Client) -> Self {
        let folder = format!("lab{}/", client.number);
        Self { client, folder, known: BTreeMap::new(), made: 0, receipts: Vec::new() }
    }

    /// Works until it is told to stop.
    pub(super) async fn work(&mut self) {
        while self.client.goes_on() {
            match self.client.chance.below(100) {
                0..35 => self.write().await,
                35..45 => self.write_many().await,
                45..62 => self.read().await,
                62..72 => self.read_range().await,
                72..82 => self.read_many().await,
                82..92 => self.list().await,
                _ => self.delete().await,
            }
        }
    }

    fn fresh_path(&mut self) -> String {
        self.made += 1;
        format!("{}{:06}", self.folder, self.made)
    }

    fn fresh(&mut self, small: bool) -> Written {
        let chance = &mut self.client.chance;
        let len = match chance.below(if small { 40 } else { 100 }) {
            0..40 => 1 + chance.below(3_000),
            40..70 => 20_000 + chance.below(60_000),
            70..98 => 70_000 + chance.below(500_000),
            // In parts, where it lies in a bucket.
            _ => (9 << 20) + chance.below(2 << 20),
        };
        Written { seed: chance.below(1 << 31) << 31 | chance.below(1 << 31), len: len as usize }
    }

    /// A path that something is known of, settled if it can be.
    async fn some_path(&mut self) -> Option<String> {
        let at = self.client.chance.below(self.known.len().max(1) as u64) as usize;
        let path = self.known.keys().nth(at)?.clone();
        self.settle(&path).await;
        Some(path)
    }

    /// Finds out what is at a path, if that is open.
    async fn settle(&mut self, path: &str) {
        let known = self.known[path].clone();
        if known.perhaps.is_empty() {
            return;
        }
        let name = self.client.object(path);
        let vault = self.client.vault().await;
        let found = match vault.stat(&name, GetOptions::default()).await {
            Ok(info) if known.now.is_some_and(|(generation, _)| generation == info.generation) => return,
            Ok(info) => {
                let options = GetOptions { generation: Some(info.generation), ..GetOptions::default() };
                match vault.get_bytes(&name, options).await {
                    Ok(bytes) => Some((info.generation, bytes)),
                    Err(error) => return self.client.failed("settle", &error, &[Reason::NotFound]),
                }
            }
            Err(error) if error.reason() == Reason::NotFound => None,
            Err(error) => return self.client.failed("settle", &error, &[]),
        };
        let entry = self.known.get_mut(path).unwrap();
        match found {
            None if known.now.is_none() => {}
            None if known.perhaps.iter().any(|change| matches!(change, Change::Delete)) => {
                (entry.now, entry.perhaps) = (None, Vec::new());
            }
            None => self.client.run.tally.problem(format!("{path} is gone: {known:?}")),
            Some((generation, bytes)) => {
                let put = known.perhaps.iter().find_map(|change| match change {
                    Change::Put(written) if bytes == written.bytes() => Some(*written),
                    _ => None,
                });
                match put {
                    Some(written) => (entry.now, entry.perhaps) = (Some((generation, written)), Vec::new()),
                    None => self.client.run.tally.problem(format!("{path} has generation {generation}: {known:?}")),
                }
            }
        }
    }

    fn condition(known: &Known) -> Condition {
        known.now.map_or(Condition::Absent, |(generation, _)| Condition::Generation(generation))
    }

    async fn write(&mut self) {
        let path = match self.client.chance.once_in(2) {
            true => self.some_path().await,
            false => None,
        };
        let path = path.unwrap_or_else(|| self.fresh_path());
        let known = self.known.entry(path.clone()).or_default();
        let options = PutOptions { condition: Self::condition(known), ..PutOptions::default() };
        let written = self.fresh(false);
        let (vault, name) = (self.client.vault().await, self.client.object(&path));
        // A stream cannot be sent again: what became of it is found out later.
        let (what, done) = match self.client.chance.once_in(4) {
            true => ("put from a stream", vault.put(&name, &written.bytes()[..], options).await),
            false => ("put", vault.put_bytes(&name, written.bytes(), options).await),
        };
        self.told(what, &path, written, done);
    }

    async fn write_many(&mut self) {
        let count = 2 + self.client.chance.below(40);
        let objects: Vec<_> = (0..count).map(|_| (self.fresh_path(), self.fresh(true))).collect();
        let (vault, dataset) = (self.client.vault().await, self.client.dataset());
        let puts: Vec<_> = objects.iter().map(|(path, written)| (path.parse().unwrap(), written.bytes())).collect();
        let options = PutOptions { condition: Condition::Absent, ..PutOptions::default() };
        let done: Vec<_> = vault.put_many(&dataset, futures::stream::iter(puts), options).collect().await;
        assert_eq!(done.len(), objects.len(), "a result for each");
        for ((path, written), done) in objects.into_iter().zip(done) {
            self.known.entry(path.clone()).or_default();
            self.told("put of many", &path, written, done.map_err(|failed| failed.error));
        }
    }

    /// Takes in what became of a put.
    fn told(&mut self, what: &'static str, path: &str, written: Written, done: Result<PutDone, Error>) {
        let known = self.known.get_mut(path).unwrap();
        match done {
            Ok(done) => {
                let before = known.now.map(|(generation, _)| generation);
                if before.is_some_and(|before| done.generation <= before) || done.size != written.len as u64 {
                    self.client.run.tally.problem(format!("{path} was {known:?} and became {done:?}"));
                }
                known.now = Some((done.generation, written));
                known.perhaps.clear();
                self.receipts.push(done);
                self.client.run.tally.did(what);
            }
            Err(error) => {
                // What was asked for before came to pass meanwhile.
                let open: &[Reason] = if known.perhaps.is_empty() { &[] } else { &[Reason::PreconditionFailed] };
                if is_lost(&error) {
                    known.loose |= known.now.is_none();
                    known.perhaps.push(Change::Put(written));
                }
                self.client.failed(what, &error, open);
            }
        }
    }

    async fn delete(&mut self) {
        let Some(path) = self.some_path().await else { return };
        let known = &self.known[&path];
        let Some((generation, _)) = known.now.filter(|_| !known.loose) else { return };
        let options = DeleteOptions { generation: Some(generation), ..DeleteOptions::default() };
        let vault = self.client.vault().await;
        let done = vault.delete(&self.client.object(&path), options).await;
        let known = self.known.get_mut(&path).unwrap();
        match done {
            Ok(done) => {
                if done.generation != generation {
                    self.client.run.tally.problem(format!("{path}: {known:?} was asked to go, and went {done:?}"));
                }
                (known.now, known.perhaps) = (None, Vec::new());
                self.client.run.tally.did("delete");
            }
            Err(error) => {
                let open: &[Reason] =
                    if known.perhaps.is_empty() { &[] } else { &[Reason::PreconditionFailed, Reason::NotFound] };
                if is_lost(&error) {
                    known.perhaps.push(Change::Delete);
                }
                self.client.failed("delete", &error, open);
            }
        }
    }

    async fn read(&mut self) {
        let Some(path) = self.some_path().await else { return };
        let vault = self.client.vault().await;
        let found = vault.get_bytes(&self.client.object(&path), GetOptions::default()).await;
        self.found(&path, found);
    }

    async fn read_many(&mut self) {
        let count = 1 + self.client.chance.below(30) as usize;
        let first = self.client.chance.below(self.known.len().max(1) as u64) as usize;
        let paths: Vec<String> = self.known.keys().skip(first).take(count).cloned().collect();
        let (vault, dataset) = (self.client.vault().await, self.client.dataset());
        let asked = futures::stream::iter(paths.iter().map(|path| path.parse().unwrap()).collect::<Vec<_>>());
        let found: Vec<_> = vault.get_many(&dataset, asked, GetOptions::default()).collect().await;
        assert_eq!(found.len(), paths.len(), "a result for each");
        for (path, found) in paths.iter().zip(found) {
            self.found(path, found.map(|(_, bytes)| bytes).map_err(|failed| failed.error));
        }
    }

    /// Compares what was read with what is known.
    fn found(&mut self, path: &str, found: Result<Bytes, Error>) {
        let found = match found {
            Ok(bytes) => Some(bytes),
            Err(error) if error.reason() == Reason::NotFound => None,
            Err(error) => return self.client.failed("get", &error, &[]),
        };
        let known = &self.known[path];
        if !known.allows(found.as_ref()) {
            let len = found.map(|found| found.len());
            self.client.run.tally.problem(format!("{path} reads as {len:?} bytes: {known:?}"));
        }
        self.client.run.tally.did("get");
    }

    async fn read_range(&mut self) {
        let Some(path) = self.some_path().await else { return };
        let known = &self.known[&path];
        let Some((generation, written)) = known.now.filter(|_| known.perhaps.is_empty()) else { return };
        let end = 1 + self.client.chance.below(written.len as u64);
        let start = self.client.chance.below(end);
        let vault = self.client.vault().await;
        let options = GetOptions { generation: Some(generation), ..GetOptions::default() };
        let read = async { vault.get_range(&self.client.object(&path), start..end, options).await?.into_bytes().await };
        match read.await {
            Ok(bytes) => {
                if bytes != written.bytes()[start as usize..end as usize] {
                    self.client.run.tally.problem(format!("{path}: other bytes in {start}..{end}"));
                }
                self.client.run.tally.did("range");
            }
            Err(error) => self.client.failed("range", &error, &[]),
        }
    }

    async fn list(&mut self) {
        let vault = self.client.vault().await;
        let listed = vault.list(&self.client.dataset(), &self.folder.parse().unwrap(), ListOptions::default());
        let mut there = BTreeMap::new();
        for line in listed.collect::<Vec<_>>().await {
            match line {
                Ok(Listed::Object(info)) => drop(there.insert(info.path.to_string(), (info.generation, info.size))),
                Ok(Listed::Folder(folder)) => panic!("{folder} was not asked for"),
                Err(error) => return self.client.failed("list", &error, &[]),
            }
        }
        for (path, known) in self.known.iter().filter(|(_, known)| known.perhaps.is_empty()) {
            let wanted = known.now.map(|(generation, written)| (generation, written.len as u64));
            if there.get(path).copied() != wanted {
                self.client.run.tally.problem(format!("{path} is listed as {:?}: {known:?}", there.get(path)));
            }
        }
        if let Some(path) = there.keys().find(|path| !self.known.contains_key(*path)) {
            self.client.run.tally.problem(format!("{path} is listed, and was never put"));
        }
        self.client.run.tally.did("list");
    }

    /// Reads all of it once more, when nothing fails any more; how many objects were there.
    pub(super) async fn check(&mut self) -> usize {
        for path in self.known.keys().cloned().collect::<Vec<_>>() {
            self.settle(&path).await;
        }
        let (vault, dataset) = (self.client.vault().await, self.client.dataset());
        let mut all = vault.get_prefix(&dataset, &self.folder.parse().unwrap(), GetOptions::default());
        let mut there = BTreeMap::new();
        while let Some(item) = all.next().await {
            let item = item.unwrap();
            let bytes = match item.body {
                Ok(strongroom_client::Body::Whole(bytes)) => bytes,
                Ok(strongroom_client::Body::Stream(reader)) => reader.into_bytes().await.unwrap(),
                Err(error) => panic!("{}: {error}", item.info.path),
            };
            there.insert(item.info.path.to_string(), bytes);
        }
        for (path, known) in &self.known {
            if !known.allows(there.get(path)) {
                let len = there.get(path).map(Bytes::len);
                self.client.run.tally.problem(format!("in the end {path} has {len:?} bytes: {known:?}"));
            }
        }
        if let Some(path) = there.keys().find(|path| !self.known.contains_key(*path)) {
            self.client.run.tally.problem(format!("in the end {path} is there, and was never put"));
        }
        there.len()
    }
}
