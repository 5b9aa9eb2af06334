//! Who is there, and what a call may come to.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use strongroom_client::{
    DatasetRef, Error, GetOptions, GrantId, Holder, Identity, Index, Limit, ObjectPath, PutOptions, Reason, TenantName,
    VendorName,
};
use strongroom_core::grant::MAX_DEPTH;
use strongroom_tests::sample;

use super::tree::{Gift, Given, Tree};
use super::{VENDORS, WORKERS};
use crate::party::Run;
use crate::party::client::Client;
use crate::party::pause::Pause;

/// The datasets that are read.
pub(super) const DATASETS: [&str; 2] = ["math", "code"];
/// The one that is written.
pub(super) const LABELS: &str = "labels";
/// Objects of each dataset: their paths are two digits.
const OBJECTS: usize = 40;
/// Grants in the beginning: two of each vendor, and on each of eight levels below them so many.
const LEVEL: usize = 24;
/// Who waits for a rate's next minute hangs up after this time.
const PATIENCE: Duration = Duration::from_millis(1500);

/// What is refused under a grant that was good, and is not any more.
const ENDED: [Reason; 4] = [Reason::GrantRevoked, Reason::GrantExpired, Reason::VendorSuspended, Reason::Frozen];

/// A vendor.
pub(super) struct Side {
    pub(super) name: VendorName,
    holder: Holder,
    pub(super) suspension: Pause,
}

/// All of them.
pub(super) struct Field {
    tenant: TenantName,
    pub(super) sides: Vec<Side>,
    /// Keys of the vendors, one each, and after them of the workers.
    identities: Vec<Identity>,
    pub(super) tree: Tree,
    /// Freezes of [`DATASETS`], of the labels and of the tenant.
    pub(super) freezes: [Pause; 4],
    objects: Vec<Bytes>,
    /// Revocations that were acknowledged.
    pub(super) revoked: Mutex<Vec<(GrantId, Index)>>,
}

impl Field {
    /// Puts what is read, registers vendors, and grows the tree.
    pub(super) async fn new(run: &Arc<Run>, clients: &mut Vec<Client>) -> Self {
        let vault = run.connect(&run.admin).await;
        let objects: Vec<Bytes> = (0..OBJECTS as u64)
            .map(|at| sample::bytes(at, if at % 8 == 7 { 60_000 + at * 2_001 } else { 100 + at * 151 } as usize).into())
            .collect();
        for name in DATASETS.into_iter().chain([LABELS]) {
            let dataset = DatasetRef { tenant: run.tenant.clone(), dataset: name.parse().unwrap() };
            vault.create_dataset(&dataset).await.unwrap();
            if name == LABELS {
                continue;
            }
            let puts: Vec<(ObjectPath, Bytes)> =
                objects.iter().enumerate().map(|(at, bytes)| (path(at), bytes.clone())).collect();
            let done: Vec<_> =
                vault.put_many(&dataset, futures::stream::iter(puts), PutOptions::default()).collect().await;
            done.into_iter().for_each(|done| drop(done.unwrap()));
        }
        let identities: Vec<_> = (0..VENDORS + WORKERS).map(|_| Identity::generate().unwrap()).collect();
        let mut sides = Vec::new();
        for (number, identity) in identities.iter().enumerate().take(VENDORS) {
            let name = format!("vendor{number}").parse().unwrap();
            let (id, _) = vault.add_vendor(&run.tenant, &name, &[identity.fingerprint()]).await.unwrap();
            sides.push(Side { name, holder: Holder::Vendor(id), suspension: Pause::default() });
        }
        clients.extend(identities.iter().enumerate().map(|(number, identity)| run.client(number, identity)));
        let (tree, revoked, tenant) = (Tree::default(), Mutex::default(), run.tenant.clone());
        let field = Self { tenant, sides, identities, tree, freezes: Default::default(), objects, revoked };
        let mut chance = run.chance(2000);
        let mut level = Vec::new();
        for number in 0..2 * VENDORS {
            level.push(Gift::root(number % VENDORS, &mut chance).lasting().give(&field, &vault).await.unwrap());
        }
        for depth in 0..MAX_DEPTH {
            let mut gifts = Vec::new();
            for number in 0..LEVEL {
                let parent = &level[number % level.len()];
                let holder = VENDORS + (depth * LEVEL + number) % WORKERS;
                let mut gift = Gift::part(parent, holder, &mut chance);
                // What is below must be able to grow.
                if depth + 1 < MAX_DEPTH {
                    gift = gift.lasting();
                }
                let vault = clients[parent.holder].vault().await;
                gifts.push((gift, vault));
            }
            let given = gifts.into_iter().map(async |(gift, vault)| gift.give(&field, &vault).await.unwrap());
            level = futures::future::join_all(given).await;
        }
        field
    }

    pub(super) fn tenant(&self) -> &TenantName {
        &self.tenant
    }

    pub(super) fn vendor(&self, side: usize) -> Holder {
        self.sides[side].holder
    }

    pub(super) fn identity(&self, number: usize) -> &Identity {
        &self.identities[number]
    }

    pub(super) fn dataset(&self, name: &str) -> DatasetRef {
        DatasetRef { tenant: self.tenant.clone(), dataset: name.parse().unwrap() }
    }

    /// One call under a grant, and what must be true of its outcome.
    pub(super) async fn call(&self, client: &mut Client, given: &Arc<Given>, round: u64) {
        let place = client.chance.below(DATASETS.len() as u64) as usize;
        let writes = client.chance.once_in(8);
        let at = client.chance.below(OBJECTS as u64) as usize;
        let in_reach = match given.reach.reads[place].as_deref() {
            _ if writes => given.reach.writes,
            None => false,
            Some(prefix) => {
                let path = path(at).to_string();
                prefix.strip_suffix('*').map_or(prefix.is_empty() || path == prefix, |stem| path.starts_with(stem))
            }
        };
        // Mostly what may be; and now and then what may not.
        if !in_reach && !client.chance.once_in(8) {
            return;
        }
        let is_theirs = given.holder == client.number;
        let was_over = given.is_over();
        let stops = [
            &self.sides[given.side].suspension,
            &self.freezes[if writes { DATASETS.len() } else { place }],
            &self.freezes[DATASETS.len() + 1],
        ];
        let before = stops.map(Pause::before);
        let done = tokio::time::timeout(PATIENCE, async {
            match writes {
                true => self.write(client, given, round).await,
                false => self.read(client, given, place, at).await,
            }
        });
        let what = if writes { "write" } else { "read" };
        match done.await {
            Err(_) => client.run.tally.did("hang up"),
            Ok(Ok(())) => {
                client.run.tally.did(what);
                let wrong = [
                    (!is_theirs, "it is another's"),
                    (!in_reach, "it does not reach there"),
                    (was_over, "its end was acknowledged"),
                    (stops.iter().zip(&before).any(|(stop, before)| stop.held_since(before)), "it was stopped"),
                ];
                for (_, why) in wrong.iter().filter(|(is_wrong, _)| *is_wrong) {
                    client.run.tally.problem(format!("client {}, {what} under {}: {why}", client.number, given.id));
                }
            }
            Ok(Err(error)) => {
                let whole = [Some(Limit::Bytes), Some(Limit::Objects), Some(Limit::Uses)];
                if error.reason() == Reason::QuotaExceeded && whole.contains(&error.limit()) {
                    given.use_up();
                }
                let mut expected = vec![Reason::QuotaExceeded];
                expected.extend(ENDED);
                expected.extend((!in_reach || !is_theirs).then_some(Reason::OutOfScope));
                expected.extend((!is_theirs).then_some(Reason::Unauthenticated));
                let what = if is_theirs { what } else { "use another's grant" };
                client.failed(what, &error, &expected);
            }
        }
    }

    async fn read(&self, client: &mut Client, given: &Given, place: usize, at: usize) -> Result<(), Error> {
        let options = GetOptions { grant: Some(given.id), ..GetOptions::default() };
        let (vault, dataset) = (client.vault().await, self.dataset(DATASETS[place]));
        let name = dataset.object(path(at));
        let got = |got: &Bytes, wanted: &[u8]| {
            given.got.fetch_add(got.len() as u64, SeqCst);
            if got[..] != *wanted {
                client.run.tally.problem(format!("{name} reads as something else"));
            }
        };
        let bytes = &self.objects[at];
        match client.chance.below(4) {
            0 => {
                let end = 1 + client.chance.below(bytes.len() as u64);
                let start = client.chance.below(end);
                let found = vault.get_range(&name, start..end, options).await?.into_bytes().await?;
                got(&found, &bytes[start as usize..end as usize]);
            }
            1 if given.reach.reads[place].as_deref() == Some("") => {
                let some: Vec<usize> = (0..4).map(|next| (at + next * 9) % OBJECTS).collect();
                let paths = some.iter().map(|at| path(*at)).collect::<Vec<_>>();
                let mut results = vault.get_many(&dataset, futures::stream::iter(paths), options);
                for at in some {
                    let (_, found) = results.next().await.unwrap().map_err(|failed| failed.error)?;
                    got(&found, &self.objects[at]);
                }
            }
            _ => got(&vault.get_bytes(&name, options).await?, bytes),
        }
        Ok(())
    }

    /// Writes a label, where no other is written ever.
    async fn write(&self, client: &mut Client, given: &Given, round: u64) -> Result<(), Error> {
        let name = self.dataset(LABELS).object(format!("{}/{round:06}", client.number).parse().unwrap());
        let len = [50, 3_000, 90_000][client.chance.below(3) as usize];
        let bytes = Bytes::from(sample::bytes((client.number as u64) << 32 | round, len));
        let options = PutOptions { grant: Some(given.id), ..PutOptions::default() };
        client.vault().await.put_bytes(&name, bytes, options).await?;
        Ok(())
    }
}

fn path(at: usize) -> ObjectPath {
    format!("{at:02}").parse().unwrap()
}
