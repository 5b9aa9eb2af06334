//! What other nodes wrote, for those who only look.
//!
//! With one node the last commit is the newest there is. With many, whoever looks at a ledger first asks the catalog how far it
//! has come: one statement, which brings what is newer along. Those who ask at the same time share one answer, as long as it was
//! asked for after they came. Nothing is locked; what is decided is decided by the writer, under the head's lock.

use std::sync::Arc;

use tokio::time::Instant;

use super::append::view_of_head;
use super::ledger::{Ledger, Stop};
use super::load::fold;
use super::{Inner, RecordError, View};
use crate::catalog::CatalogError;
use crate::tenants::Tenant;

impl Inner {
    /// The ledger as it is now, or was shown since this was called.
    pub(super) async fn refreshed(&self, tenant: &Arc<Tenant>, ledger: &Ledger) -> Result<Option<View>, RecordError> {
        let came = Instant::now();
        let mut looked = ledger.looked.lock().await;
        let Some(view) = ledger.view() else { return Ok(None) };
        if looked.is_some_and(|began| began >= came) {
            return Ok(Some(view));
        }
        let began = Instant::now();
        let view = self.look(tenant, ledger, view).await?;
        *looked = Some(began);
        Ok(Some(view))
    }

    async fn look(&self, tenant: &Arc<Tenant>, ledger: &Ledger, view: View) -> Result<View, RecordError> {
        let stop = |stop: Stop| ledger.stop(&tenant.id, stop);
        let size = view.head.size();
        let since = match self.catalog.since(&tenant.id, &tenant.ledger_key, size).await {
            Ok(Some(since)) => since,
            Ok(None) => {
                return Err(stop(Stop::Diverged(format!("the ledger had {size} entries, and its head is gone"))));
            }
            Err(CatalogError::Integrity(why)) => return Err(stop(Stop::Integrity(why))),
            Err(error) => return Err(RecordError::of_catalog(error)),
        };
        if since.head == *view.head {
            return Ok(view);
        }
        if since.head.size() <= size {
            let has = since.head.size();
            let why = format!("this process saw {size} entries, and the ledger has {has} or others: it was put back");
            return Err(stop(Stop::Diverged(why)));
        }
        if self.root_at(tenant, size, since.boundary).await? != Some(view.seen.tip) {
            let why = format!("this process saw another ledger up to entry {size}: it was rewritten");
            return Err(stop(Stop::Diverged(why)));
        }
        let mut authority = view.authority.clone();
        fold(Arc::make_mut(&mut authority), view.head.authority_tip, &since.authority, &since.head).map_err(stop)?;
        let view = view_of_head(tenant, authority, since.head);
        ledger.publish(view.clone());
        Ok(view)
    }
}
