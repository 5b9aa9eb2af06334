//! What everybody does: workers call, pass on, renew and take back; officers give, revoke, suspend and freeze.

use std::sync::Arc;
use std::time::Duration;

use strongroom_client::{Error, Millis, Reason};

use super::field::{DATASETS, Field, LABELS};
use super::tree::{Gift, Given, may_pass_on, now};
use super::{LIVE, VENDORS, WORKERS};
use crate::party::client::{Client, is_lost};
use crate::party::pause::Pause;

/// What an order about a grant may be answered where that, or something above it, has just ended or is stopped.
const MOVED_ON: [Reason; 6] = [
    Reason::GrantRevoked,
    Reason::GrantExpired,
    Reason::VendorSuspended,
    Reason::Frozen,
    // It would be over before it began, or has been renewed further by an order whose answer was lost.
    Reason::InvalidArgument,
    Reason::PreconditionFailed,
];

/// A vendor's key or a worker works until it is told to stop.
pub(super) async fn work(field: Arc<Field>, mut client: Client) {
    for round in 0.. {
        if !client.goes_on() {
            return;
        }
        if client.chance.once_in(100) {
            client.move_on();
        }
        let own = field.tree.some(|given| given.holder == client.number);
        let live: Vec<_> = own.iter().filter(|given| given.is_live()).cloned().collect();
        let wanting = field.tree.live() < LIVE;
        match client.chance.below(60) {
            0..10 if wanting => pass_on(&field, &mut client, &live).await,
            10 => pass_on(&field, &mut client, &live).await,
            11 => renew(&field, &mut client).await,
            12 if !wanting => take_back(&field, &mut client).await,
            // What is over, what is used up, and what is another's.
            13 | 14 if !own.is_empty() => {
                let given = client.chance.pick(&own).clone();
                field.call(&mut client, &given, round).await;
            }
            15 => {
                let given = client.chance.pick(&field.tree.all()).clone();
                field.call(&mut client, &given, round).await;
            }
            _ if live.is_empty() => tokio::time::sleep(Duration::from_millis(20)).await,
            _ => {
                let given = client.chance.pick(&live).clone();
                field.call(&mut client, &given, round).await;
            }
        }
    }
}

async fn pass_on(field: &Field, client: &mut Client, live: &[Arc<Given>]) {
    let some: Vec<_> = live.iter().filter(|given| may_pass_on(given)).collect();
    if some.is_empty() {
        return;
    }
    let parent = Arc::clone(client.chance.pick::<&Arc<Given>>(&some));
    let holder = VENDORS + client.chance.below(WORKERS as u64) as usize;
    let gift = Gift::part(&parent, holder, &mut client.chance);
    let vault = client.vault().await;
    match gift.give(field, &vault).await {
        Ok(_) => client.run.tally.did("delegate"),
        Err(error) => client.failed("delegate", &error, &MOVED_ON),
    }
}

/// Moves the end of a grant that one passed on.
async fn renew(field: &Field, client: &mut Client) {
    let number = client.number;
    let mine = |given: &Given| given.parent.as_ref().is_some_and(|parent| parent.holder == number) && given.is_live();
    let some = field.tree.some(mine);
    if some.is_empty() {
        return;
    }
    let given = client.chance.pick(&some).clone();
    let parent = given.parent.as_ref().unwrap();
    let expires = Millis(parent.expires().min(now() + 4_000 + client.chance.below(10_000)));
    renewed(client, &given, expires).await;
}

async fn renewed(client: &mut Client, given: &Given, expires: Millis) {
    if expires.0 <= given.expires() {
        return;
    }
    let tenant = client.run.tenant.clone();
    match client.vault().await.renew_grant(&tenant, given.id, expires).await {
        Ok(_) => {
            given.renewed(expires);
            client.run.tally.did("renew");
        }
        Err(error) => client.failed("renew", &error, &MOVED_ON),
    }
}

/// Revokes a grant that one passed on.
async fn take_back(field: &Field, client: &mut Client) {
    let number = client.number;
    let some = field.tree.some(|given| {
        given.is_live() && given.depth() > 2 && given.parent.as_ref().is_some_and(|parent| parent.holder == number)
    });
    if !some.is_empty() {
        let given = client.chance.pick(&some).clone();
        revoke(field, client, &given).await;
    }
}

async fn revoke(field: &Field, client: &mut Client, given: &Given) {
    match client.vault().await.revoke_grant(&field.tenant().clone(), given.id, None).await {
        Ok(done) => {
            given.end();
            field.revoked.lock().unwrap().push((given.id, done.index));
            client.run.tally.did("revoke");
        }
        // An answer was lost and it was carried out, or somebody else came first.
        Err(error) if error.reason() == Reason::PreconditionFailed => {
            given.end();
            client.failed("revoke", &error, &[Reason::PreconditionFailed]);
        }
        Err(error) => client.failed("revoke", &error, &MOVED_ON),
    }
}

/// An officer looks after one vendor until it is told to stop.
pub(super) async fn command(field: Arc<Field>, number: usize, mut client: Client) {
    while client.goes_on() {
        let roots = field.tree.some(|given| given.side == number && given.parent.is_none() && given.is_live());
        match client.chance.below(12) {
            _ if roots.len() < 2 => give(&field, &mut client, number).await,
            0 if roots.len() < 4 => give(&field, &mut client, number).await,
            0..7 => {
                // Whole trees seldom.
                let least = if client.chance.once_in(12) { 0 } else { 2 };
                let some = field.tree.some(|given| given.side == number && given.depth() >= least && given.is_live());
                if !some.is_empty() {
                    let given = client.chance.pick(&some).clone();
                    revoke(&field, &mut client, &given).await;
                }
            }
            7 | 8 => {
                let given = client.chance.pick(&roots).clone();
                let expires = Millis(now() + 5_000 + client.chance.below(10_000));
                renewed(&mut client, &given, expires).await;
            }
            _ => stop(&field, &mut client, What::Vendor(number)).await,
        }
        tokio::time::sleep(Duration::from_millis(30 + client.chance.below(170))).await;
    }
}

async fn give(field: &Field, client: &mut Client, side: usize) {
    let gift = Gift::root(side, &mut client.chance);
    let vault = client.vault().await;
    match gift.give(field, &vault).await {
        Ok(_) => client.run.tally.did("issue"),
        Err(error) => client.failed("issue", &error, &[]),
    }
}

/// Freezes a dataset or the tenant now and then, until it is told to stop.
pub(super) async fn freeze(field: Arc<Field>, mut client: Client) {
    while client.goes_on() {
        let what = match client.chance.below(FROZEN.len() as u64 + 1) as usize {
            at if at < FROZEN.len() => What::Dataset(at),
            _ => What::Tenant,
        };
        stop(&field, &mut client, what).await;
        tokio::time::sleep(Duration::from_millis(200 + client.chance.below(500))).await;
    }
}

/// What is stopped for a while: a vendor by its number, one of the datasets, everything.
#[derive(Clone, Copy)]
enum What {
    Vendor(usize),
    Dataset(usize),
    Tenant,
}

/// The datasets, in the order of [`Field::freezes`].
const FROZEN: [&str; 3] = [DATASETS[0], DATASETS[1], LABELS];

impl What {
    fn pause(self, field: &Field) -> &Pause {
        match self {
            Self::Vendor(number) => &field.sides[number].suspension,
            Self::Dataset(at) => &field.freezes[at],
            Self::Tenant => &field.freezes[FROZEN.len()],
        }
    }

    /// What it is called to stop it, and to give it back.
    fn words(self) -> [&'static str; 2] {
        match self {
            Self::Vendor(_) => ["suspend", "resume"],
            Self::Dataset(_) | Self::Tenant => ["freeze", "unfreeze"],
        }
    }

    async fn order(self, field: &Field, client: &mut Client, begins: bool) -> Result<(), Error> {
        let (vault, tenant) = (client.vault().await, field.tenant());
        let done = match self {
            Self::Vendor(number) if begins => vault.suspend_vendor(tenant, &field.sides[number].name, None).await,
            Self::Vendor(number) => vault.resume_vendor(tenant, &field.sides[number].name, None).await,
            Self::Dataset(at) if begins => vault.freeze_dataset(&field.dataset(FROZEN[at]), None).await,
            Self::Dataset(at) => vault.unfreeze_dataset(&field.dataset(FROZEN[at]), None).await,
            Self::Tenant if begins => vault.freeze_tenant(tenant, None).await,
            Self::Tenant => vault.unfreeze_tenant(tenant, None).await,
        };
        done.map(drop)
    }
}

/// Stops something and gives it back.
async fn stop(field: &Field, client: &mut Client, what: What) {
    let (pause, [begin, end]) = (what.pause(field), what.words());
    match what.order(field, client, true).await {
        Ok(()) => {
            pause.begin();
            client.run.tally.did(begin);
        }
        Err(error) => {
            if is_lost(&error) {
                pause.lose();
            }
            client.failed(begin, &error, &[Reason::PreconditionFailed]);
        }
    }
    tokio::time::sleep(Duration::from_millis(client.chance.below(100))).await;
    pause.end();
    loop {
        match what.order(field, client, false).await {
            Ok(()) => return client.run.tally.did(end),
            Err(error) => {
                client.failed(end, &error, &[Reason::PreconditionFailed]);
                if !is_lost(&error) {
                    return;
                }
                pause.lose();
            }
        }
    }
}
