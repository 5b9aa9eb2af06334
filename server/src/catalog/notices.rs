//! Word from other nodes that something was taken away: PostgreSQL's LISTEN and NOTIFY.
//!
//! A notice is sent by the transaction that takes away and comes when it is committed. It only hastens: whoever misses one finds
//! out by looking. Commits that notify take turns in the whole database, so only those that take away do.

use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use strongroom_core::ids::TenantId;

use super::{Catalog, CatalogError, Tx};

const CHANNEL: &str = "strongroom_cuts";

/// A connection that listens.
pub(crate) struct Notices(PgListener);

impl Catalog {
    /// Listens, on a connection of its own.
    ///
    /// # Errors
    /// [`CatalogError`] if the server cannot be reached.
    pub(crate) async fn notices(&self) -> Result<Notices, CatalogError> {
        let options = PgConnectOptions::try_from(&self.0.options)?;
        let pool =
            PgPoolOptions::new().max_connections(1).acquire_timeout(super::ACQUIRE).connect_with(options).await?;
        let mut listener = PgListener::connect_with(&pool).await?;
        listener.listen(CHANNEL).await?;
        Ok(Notices(listener))
    }
}

impl Notices {
    /// The next tenant that something was taken away from; none if the connection broke and was made anew.
    ///
    /// # Errors
    /// [`CatalogError`] if it cannot be made anew.
    pub(crate) async fn next(&mut self) -> Result<Option<TenantId>, CatalogError> {
        let notice = self.0.try_recv().await?;
        Ok(notice.and_then(|notice| notice.payload().parse().ok()))
    }
}

impl Tx {
    /// Has the other nodes told, once this is committed.
    pub(crate) async fn notify(&mut self, tenant: &TenantId) -> Result<(), CatalogError> {
        if self.catalog.is_shared() {
            let sql = self.sql("SELECT 1 FROM pg_notify($1, $2)");
            sqlx::query(sql).bind(CHANNEL).bind(tenant.to_string()).execute(self.connection()).await?;
        }
        Ok(())
    }
}
