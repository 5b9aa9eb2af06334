//! Look-ups that share a statement: what readers of one tenant ask for while a statement runs is asked for by the next one.
//!
//! With many small reads at once, most of a look-up's price is not the database's: it is the way to a connection's thread and back.
//! Nothing waits for company, and nobody is answered from a statement that began before they asked.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};

use strongroom_core::ids::TenantId;
use tokio::sync::oneshot;

use crate::catalog::objects::{Lookup, ObjectRow};
use crate::catalog::{Catalog, CatalogError};
use crate::tenants::Tenant;

/// Whoever looks for more has a statement of their own.
const SMALL: usize = 64;
/// The most that one statement looks for.
const TOGETHER: usize = 1024;

/// What [`Catalog::resolve`] finds.
type Found = (Vec<Option<ObjectRow>>, u64);

/// Looks objects up.
pub(crate) struct Lookups {
    catalog: Catalog,
    waiting: Arc<Waiting>,
}

/// What is asked for, by tenant. A tenant is in it while a task answers.
type Waiting = Mutex<HashMap<TenantId, Vec<Ask>>>;

struct Ask {
    lookups: Vec<Lookup>,
    answer: oneshot::Sender<Result<Found, CatalogError>>,
}

impl Lookups {
    /// Looks in this catalog.
    pub(crate) fn new(catalog: Catalog) -> Self {
        Self { catalog, waiting: Arc::default() }
    }

    /// As [`Catalog::resolve`], and what others ask for at the same time with it.
    pub(crate) async fn resolve(&self, tenant: &Arc<Tenant>, lookups: Vec<Lookup>) -> Result<Found, CatalogError> {
        if lookups.len() > SMALL {
            return self.catalog.resolve(&tenant.id, &tenant.ledger_key, &lookups).await;
        }
        let (answer, answered) = oneshot::channel();
        let ask = Ask { lookups: lookups.clone(), answer };
        match lock(&self.waiting).entry(tenant.id) {
            Entry::Occupied(waiting) => waiting.into_mut().push(ask),
            Entry::Vacant(vacant) => {
                vacant.insert(vec![ask]);
                let answering = Answering { waiting: self.waiting.clone(), tenant: tenant.clone(), ended: false };
                tokio::spawn(answering.run(self.catalog.clone()));
            }
        }
        match answered.await {
            Ok(found) => found,
            // What went wrong with others' look-ups is not told here: whoever is alone learns of their own only.
            Err(_) => self.catalog.resolve(&tenant.id, &tenant.ledger_key, &lookups).await,
        }
    }
}

/// Answers a tenant's look-ups until none waits. Whoever waits when it is broken off looks for themselves.
struct Answering {
    waiting: Arc<Waiting>,
    tenant: Arc<Tenant>,
    ended: bool,
}

impl Answering {
    async fn run(mut self, catalog: Catalog) {
        while let Some(mut asks) = self.take() {
            let counts: Vec<usize> = asks.iter().map(|ask| ask.lookups.len()).collect();
            let all: Vec<Lookup> = asks.iter_mut().flat_map(|ask| std::mem::take(&mut ask.lookups)).collect();
            let found = catalog.resolve(&self.tenant.id, &self.tenant.ledger_key, &all).await;
            if asks.len() == 1 {
                // Whoever asked may have gone away.
                asks.pop().and_then(|ask| ask.answer.send(found).err());
            } else if let Ok((found, hides)) = found {
                let mut found = found.into_iter();
                for (ask, count) in asks.into_iter().zip(counts) {
                    let _ = ask.answer.send(Ok((found.by_ref().take(count).collect(), hides)));
                }
            }
        }
    }

    /// What waits, up to what one statement looks for; none if nothing does, and then the next to ask starts anew.
    fn take(&mut self) -> Option<Vec<Ask>> {
        let mut waiting = lock(&self.waiting);
        let asks = waiting.get_mut(&self.tenant.id)?;
        let mut count = 0;
        let fits = |ask: &&Ask| {
            count += ask.lookups.len();
            count <= TOGETHER
        };
        let fitting = asks.iter().take_while(fits).count();
        if fitting == 0 {
            waiting.remove(&self.tenant.id);
            self.ended = true;
            return None;
        }
        Some(asks.drain(..fitting).collect())
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        if !self.ended {
            lock(&self.waiting).remove(&self.tenant.id);
        }
    }
}

fn lock(waiting: &Waiting) -> std::sync::MutexGuard<'_, HashMap<TenantId, Vec<Ask>>> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}
