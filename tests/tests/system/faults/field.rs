//! Vendors at work under grants with limits, workers to whom they delegate, and officers who give, revoke, suspend and resume
//! beneath them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use strongroom_client::{
    Action, DatasetRef, Error, GetOptions, GrantId, Holder, Identity, Limits, Millis, ObjectName, ObjectPath, PutDone,
    PutOptions, Reason, Terms, Vault, VendorName,
};
use strongroom_tests::{GRANT_LIFE, TestClock, sample, scope};

use super::{OFFICERS, VENDORS, WORKERS};
use crate::party::Run;
use crate::party::client::{Client, is_lost};
use crate::party::pause::Pause;
use strongroom_server::recorder::Clock;

/// Objects that vendors read.
const SHARED: usize = 40;

/// A grant that is known to be there.
pub(super) struct Given {
    pub(super) id: GrantId,
    limits: Limits,
    expires: Millis,
    /// Set once its revocation has been answered.
    is_over: AtomicBool,
    /// Bytes that were got under it.
    pub(super) got: AtomicU64,
}

/// A vendor, and who works for it.
struct Side {
    name: VendorName,
    holder: Holder,
    identity: Identity,
    given: Mutex<Vec<Arc<Given>>>,
    suspension: Pause,
}

/// A key to which a vendor delegates.
struct Worker {
    identity: Identity,
    given: Mutex<Vec<Arc<Given>>>,
}

/// All of them.
pub(super) struct Field {
    sides: Vec<Side>,
    workers: Vec<Worker>,
    shared: Vec<(ObjectName, Bytes)>,
    /// Every grant that there was.
    pub(super) all: Mutex<Vec<Arc<Given>>>,
    /// Labels that were acknowledged.
    pub(super) labels: Mutex<Vec<(ObjectName, Bytes, PutDone)>>,
    /// The entries of revocations that were acknowledged.
    pub(super) revoked: Mutex<Vec<(GrantId, strongroom_client::Index)>>,
}

impl Field {
    /// Registers vendors, puts what they read, and gives everybody a first grant.
    pub(super) async fn new(run: &Arc<Run>) -> Self {
        let vault = run.connect(&run.admin).await;
        let dataset = DatasetRef { tenant: run.tenant.clone(), dataset: "rlhf".parse().unwrap() };
        vault.create_dataset(&dataset).await.unwrap();
        let shared: Vec<(ObjectName, Bytes)> = (0..SHARED as u64)
            .map(|at| {
                let len = if at % 8 == 7 { 60_000 + at * 9_001 } else { 100 + at * 301 };
                let name = dataset.object(format!("shared/{at:03}").parse().unwrap());
                (name, sample::bytes(at, len as usize).into())
            })
            .collect();
        let puts: Vec<(ObjectPath, Bytes)> =
            shared.iter().map(|(name, bytes)| (name.path.clone(), bytes.clone())).collect();
        let done: Vec<_> = vault.put_many(&dataset, futures::stream::iter(puts), PutOptions::default()).collect().await;
        done.into_iter().for_each(|done| drop(done.unwrap()));
        let mut sides = Vec::new();
        for number in 0..VENDORS {
            let (identity, name) = (Identity::generate().unwrap(), format!("vendor{number}").parse().unwrap());
            let (id, _) = vault.add_vendor(&run.tenant, &name, &[identity.fingerprint()]).await.unwrap();
            sides.push(Side {
                name,
                holder: Holder::Vendor(id),
                identity,
                given: Mutex::default(),
                suspension: Pause::default(),
            });
        }
        let worker = |_| Worker { identity: Identity::generate().unwrap(), given: Mutex::default() };
        let workers = (0..WORKERS).map(worker).collect();
        let (all, labels, revoked) = (Mutex::default(), Mutex::default(), Mutex::default());
        let field = Self { sides, workers, shared, all, labels, revoked };
        for side in &field.sides {
            field.give(run, &vault, side, 2_000_003).await.unwrap();
        }
        for number in 0..WORKERS {
            let side = &field.sides[number % VENDORS];
            let parent = side.given.lock().unwrap()[0].clone();
            let vendor = run.connect(&side.identity).await;
            field.delegate(run, &vendor, &parent, number, 100_001).await.unwrap();
        }
        field
    }

    /// The key of a vendor, or after them of a worker.
    pub(super) fn identity(&self, number: usize) -> &Identity {
        match number.checked_sub(VENDORS) {
            None => &self.sides[number].identity,
            Some(worker) => &self.workers[worker].identity,
        }
    }

    fn keep(&self, id: GrantId, limits: Limits, expires: Millis, on: &Mutex<Vec<Arc<Given>>>) {
        let given = Given { id, limits, expires, is_over: AtomicBool::new(false), got: AtomicU64::new(0) };
        let given = Arc::new(given);
        self.all.lock().unwrap().push(given.clone());
        on.lock().unwrap().push(given);
    }

    /// Gives a vendor a grant for so many bytes.
    async fn give(&self, run: &Run, vault: &Vault, side: &Side, bytes: u64) -> Result<(), Error> {
        let expires = Millis(TestClock::default().now().0 + GRANT_LIFE);
        let limits = Limits { bytes: Some(bytes), ..Limits::default() };
        let labels = format!("rlhf/labels/{}/", side.name);
        let terms = Terms {
            holder: side.holder,
            parent: None,
            scopes: vec![scope(&[Action::List, Action::Read], "rlhf/shared/"), scope(&[Action::Write], &labels)],
            not_before: None,
            expires,
            delegable: true,
            limits: limits.clone(),
            purpose: None,
        };
        let (id, _) = vault.issue_grant(&run.tenant, terms).await?;
        self.keep(id, limits, expires, &side.given);
        Ok(())
    }

    /// Has a vendor delegate some of a grant to a worker.
    async fn delegate(&self, run: &Run, vault: &Vault, parent: &Given, worker: usize, bytes: u64) -> Result<(), Error> {
        let limits = Limits { bytes: Some(bytes), ..Limits::default() };
        let worker = &self.workers[worker];
        let terms = Terms {
            holder: Holder::Key(worker.identity.fingerprint()),
            parent: Some(parent.id),
            scopes: vec![scope(&[Action::Read], "rlhf/shared/0*")],
            not_before: None,
            expires: parent.expires,
            delegable: false,
            limits: limits.clone(),
            purpose: None,
        };
        let (id, _) = vault.issue_grant(&run.tenant, terms).await?;
        self.keep(id, limits, parent.expires, &worker.given);
        Ok(())
    }

    /// A vendor or a worker works until it is told to stop.
    pub(super) async fn work(&self, number: usize, mut client: Client) {
        let worker = number.checked_sub(VENDORS);
        let side = &self.sides[worker.unwrap_or(number) % VENDORS];
        for round in 0.. {
            if !client.goes_on() {
                return;
            }
            let on = worker.map_or(&side.given, |worker| &self.workers[worker].given);
            let given = {
                let given = on.lock().unwrap();
                // Newer ones mostly: the older ones are used up, or over.
                let newest = given.len().saturating_sub(4);
                let from = if client.chance.once_in(6) { 0 } else { newest };
                client.chance.pick(&given[from..]).clone()
            };
            if worker.is_none() && client.chance.once_in(12) {
                self.pass_on(&mut client, &given, number).await;
                continue;
            }
            let was_over = given.is_over.load(SeqCst);
            let before = side.suspension.before();
            let (what, done) = match worker {
                None if client.chance.once_in(3) => ("label", self.label(&mut client, side, &given, round).await),
                _ => self.read(&mut client, &given, if worker.is_some() { 10 } else { SHARED }).await,
            };
            match done {
                Ok(()) => {
                    client.run.tally.did(what);
                    if was_over {
                        client.run.tally.problem(format!("{what} under {} after its end was acknowledged", given.id));
                    }
                    if side.suspension.held_since(&before) {
                        client.run.tally.problem(format!("{what} for {} while it was suspended", side.name));
                    }
                }
                Err(error) => {
                    let expected = [Reason::GrantRevoked, Reason::VendorSuspended, Reason::QuotaExceeded];
                    client.failed(what, &error, &expected);
                    if !is_lost(&error) {
                        // Nothing will come of asking again at once.
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                }
            }
        }
    }

    async fn read(&self, client: &mut Client, given: &Given, most: usize) -> (&'static str, Result<(), Error>) {
        let options = GetOptions { grant: Some(given.id), ..GetOptions::default() };
        let (vault, dataset) = (client.vault().await, client.dataset());
        let chance = &mut client.chance;
        let (name, bytes) = chance.pick(&self.shared[..most]);
        let got = |got: &Bytes, wanted: &[u8], name: &ObjectName| {
            given.got.fetch_add(got.len() as u64, SeqCst);
            if got[..] != *wanted {
                client.run.tally.problem(format!("{name} reads as something else"));
            }
        };
        match chance.below(3) {
            0 => ("get", vault.get_bytes(name, options).await.map(|found| got(&found, bytes, name))),
            1 => {
                let end = 1 + chance.below(bytes.len() as u64);
                let start = chance.below(end);
                let read = async { vault.get_range(name, start..end, options).await?.into_bytes().await };
                let wanted = &bytes[start as usize..end as usize];
                ("range", read.await.map(|found| got(&found, wanted, name)))
            }
            _ => {
                let first = chance.below(most as u64 - 5) as usize;
                let some = &self.shared[first..first + 5];
                let paths: Vec<ObjectPath> = some.iter().map(|(name, _)| name.path.clone()).collect();
                let mut results = vault.get_many(&dataset, futures::stream::iter(paths), options);
                let mut failed = None;
                for (name, bytes) in some {
                    match results.next().await.unwrap() {
                        Ok((_, found)) => got(&found, bytes, name),
                        Err(error) => failed = Some(error.error),
                    }
                }
                ("get", failed.map_or(Ok(()), Err))
            }
        }
    }

    /// Writes a label, where no other is written ever.
    async fn label(&self, client: &mut Client, side: &Side, given: &Given, round: u64) -> Result<(), Error> {
        let name = client.object(&format!("labels/{}/{round:06}", side.name));
        let len = [50, 3_000, 90_000][client.chance.below(3) as usize];
        let bytes = Bytes::from(sample::bytes((client.number as u64) << 32 | round, len));
        let options = PutOptions { grant: Some(given.id), ..PutOptions::default() };
        let done = client.vault().await.put_bytes(&name, bytes.clone(), options).await?;
        self.labels.lock().unwrap().push((name, bytes, done));
        Ok(())
    }

    /// A vendor delegates to one of its workers.
    async fn pass_on(&self, client: &mut Client, given: &Given, number: usize) {
        let own: Vec<usize> = (0..WORKERS).filter(|worker| worker % VENDORS == number).collect();
        let worker = *client.chance.pick(&own);
        let most = given.limits.bytes.unwrap().min(300_000);
        let bytes = 1 + client.chance.below(most);
        let vault = client.vault().await;
        match self.delegate(&client.run, &vault, given, worker, bytes).await {
            Ok(()) => client.run.tally.did("delegate"),
            Err(error) => client.failed("delegate", &error, &[Reason::GrantRevoked, Reason::VendorSuspended]),
        }
    }

    /// An officer gives and takes away until it is told to stop. Each vendor has one officer.
    pub(super) async fn command(&self, number: usize, mut client: Client) {
        let own: Vec<&Side> = self.sides.iter().skip(number).step_by(OFFICERS).collect();
        while client.goes_on() {
            let side = *client.chance.pick(&own);
            match client.chance.below(10) {
                0..5 => {
                    let bytes = 20_001 + client.chance.below(1_500_000);
                    let vault = client.vault().await;
                    match self.give(&client.run, &vault, side, bytes).await {
                        Ok(()) => client.run.tally.did("issue"),
                        Err(error) => client.failed("issue", &error, &[]),
                    }
                }
                5..8 => self.revoke(&mut client, side).await,
                _ => self.suspend(&mut client, side).await,
            }
            tokio::time::sleep(Duration::from_millis(client.chance.below(120))).await;
        }
    }

    async fn revoke(&self, client: &mut Client, side: &Side) {
        let given = {
            let all = side.given.lock().unwrap();
            let live: Vec<_> = all.iter().filter(|given| !given.is_over.load(SeqCst)).collect();
            // One is always left.
            if live.len() < 2 {
                return;
            }
            Arc::clone(client.chance.pick::<&Arc<Given>>(&live))
        };
        let done = client.vault().await.revoke_grant(&client.run.tenant, given.id, None).await;
        match done {
            Ok(done) => {
                given.is_over.store(true, SeqCst);
                self.revoked.lock().unwrap().push((given.id, done.index));
                client.run.tally.did("revoke");
            }
            // An answer was lost, and it was carried out.
            Err(error) if error.reason() == Reason::PreconditionFailed => {
                given.is_over.store(true, SeqCst);
                client.failed("revoke", &error, &[Reason::PreconditionFailed]);
            }
            Err(error) => client.failed("revoke", &error, &[]),
        }
    }

    async fn suspend(&self, client: &mut Client, side: &Side) {
        let tenant = client.run.tenant.clone();
        match client.vault().await.suspend_vendor(&tenant, &side.name, None).await {
            Ok(_) => {
                side.suspension.begin();
                client.run.tally.did("suspend");
            }
            Err(error) => {
                if is_lost(&error) {
                    side.suspension.lose();
                }
                client.failed("suspend", &error, &[Reason::PreconditionFailed]);
            }
        }
        tokio::time::sleep(Duration::from_millis(client.chance.below(150))).await;
        side.suspension.end();
        loop {
            match client.vault().await.resume_vendor(&tenant, &side.name, None).await {
                Ok(_) => return client.run.tally.did("resume"),
                Err(error) => {
                    client.failed("resume", &error, &[Reason::PreconditionFailed]);
                    if !is_lost(&error) {
                        return;
                    }
                    side.suspension.lose();
                }
            }
        }
    }
}
