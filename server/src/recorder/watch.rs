//! Watching what other nodes take away, so that streams on this one end within a second.
//!
//! ```text
//! NOTIFY of a commit that takes away ─┐
//! every 250 ms ───────────────────────┴► heads of live tenants ─► an epoch moved? ─► look ─► streams decide again
//!                                             └── no answer for 750 ms ─► blind: streams under a grant end
//! ```
//!
//! No key depends on it: releases are decided under the head's lock. A node that cannot reach the catalog can release nothing, and
//! stops sending what is under way, since it would not hear of a suspension.

use std::sync::Arc;
use std::time::Duration;

use strongroom_core::ids::TenantId;
use strongroom_core::ledger::Head;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

use super::{Inner, RecordError};
use crate::catalog::{CatalogError, Notices};
use crate::tenants::Tenant;

/// How often the heads of live tenants are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long a stream under a grant goes on without a word from the catalog.
const BLIND_AFTER: Duration = Duration::from_millis(750);
/// How long a look may take before another is tried.
const GIVE_UP: Duration = Duration::from_secs(5);
/// How long after it broke the connection that listens is made anew.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);

/// Watches until the recorder ends.
pub(super) async fn run(inner: Arc<Inner>) {
    let ended = inner.ended.clone();
    let watching = async {
        tokio::join!(look(&inner), listen(&inner));
    };
    tokio::select! {
        () = ended.cancelled() => {}
        () = watching => {}
    }
}

async fn look(inner: &Arc<Inner>) {
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut answered = Instant::now();
    loop {
        ticks.tick().await;
        let began = Instant::now();
        let asked = timeout(GIVE_UP, heads(inner));
        tokio::pin!(asked);
        let is_blind = *inner.blind.borrow();
        let answer = tokio::select! {
            answer = &mut asked => answer,
            () = sleep_until(answered + BLIND_AFTER), if !is_blind => {
                tracing::warn!("no word from the catalog for 750 ms: streams end");
                inner.blind.send_replace(true);
                inner.catalog.fell_silent();
                asked.await
            }
        };
        match answer {
            Ok(Ok(())) => {
                answered = began;
                if inner.blind.send_replace(false) {
                    tracing::info!("the catalog answers again");
                }
            }
            Ok(Err(error)) => tracing::debug!(detail = %error, "the heads could not be looked at"),
            Err(_) => tracing::debug!("the heads could not be looked at in time"),
        }
    }
}

/// Looks at the heads of all live tenants in one statement, and closer where something was taken away.
async fn heads(inner: &Arc<Inner>) -> Result<(), CatalogError> {
    let live = inner.live();
    let ids: Vec<TenantId> = live.iter().map(|tenant| tenant.id).collect();
    for (id, head, _) in inner.catalog.heads(&ids).await? {
        let Some(tenant) = live.iter().find(|tenant| tenant.id == id) else { continue };
        let shown = inner.ledger(&id).view();
        // What operators give back does not move the epoch, and is to be known here all the same.
        let whole = inner.is_operators(&id);
        let moved = |head: &Head| (head.epoch, whole.then(|| head.size()));
        // A head that is none, too, is to be looked at closely.
        if Head::from_canonical_bytes(&head).as_ref().map(moved) != shown.map(|view| moved(&view.head)) {
            tokio::spawn(closer(inner.clone(), tenant.clone()));
        }
    }
    Ok(())
}

/// Takes in what others wrote to one ledger; who stands on it learns of it by the epoch, or by the stop.
async fn closer(inner: Arc<Inner>, tenant: Arc<Tenant>) {
    let ledger = inner.ledger(&tenant.id);
    match inner.refreshed(&tenant, &ledger).await {
        Ok(_) | Err(RecordError::Diverged(_) | RecordError::Integrity(_)) => {}
        Err(error) => tracing::warn!(detail = %error, "what another node took away could not be read yet"),
    }
}

async fn listen(inner: &Arc<Inner>) {
    let mut notices: Option<Notices> = None;
    loop {
        let open = match &mut notices {
            Some(open) => open,
            None => match inner.catalog.notices().await {
                Ok(open) => notices.insert(open),
                Err(error) => {
                    tracing::debug!(detail = %error, "no notices from other nodes; looking goes on");
                    tokio::time::sleep(LISTEN_AGAIN).await;
                    continue;
                }
            },
        };
        match open.next().await {
            Ok(Some(id)) => {
                if let Some(tenant) = inner.ledger(&id).live() {
                    tokio::spawn(closer(inner.clone(), tenant));
                }
            }
            // What was said while the connection was broken is found by looking.
            Ok(None) => {}
            Err(error) => {
                tracing::debug!(detail = %error, "the connection that listens broke");
                notices = None;
                tokio::time::sleep(LISTEN_AGAIN).await;
            }
        }
    }
}
