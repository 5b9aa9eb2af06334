//! What every batch of entries writes, whatever is in it: the entries, what was charged, what requests did, and the head.
//!
//! All of it goes to the database at once. With small reads, most of a statement's price is the way there and back: to a
//! connection's thread, or over a network.

use strongroom_core::grant::Tally;
use strongroom_core::ids::{Digest, GrantId, Index, Millis, TenantId};
use strongroom_core::ledger::{Head, LedgerKey};

use super::bulk::Bulk;
use super::dialect::Dialect;
use super::requests::{self, RequestKey, RequestRow};
use super::{CatalogError, Tx, signed};

/// A batch to append.
pub(crate) struct NewBatch<'a> {
    /// The head that was read, and where the batch moves it.
    pub(crate) from: &'a Head,
    pub(crate) to: &'a Head,
    /// The root over all entries up to there.
    pub(crate) tip: Digest,
    pub(crate) entries: Vec<u8>,
    pub(crate) parts: Vec<u8>,
    /// What has been charged to grants in all.
    pub(crate) usages: &'a [(GrantId, Tally)],
    /// What requests did in all.
    pub(crate) requests: &'a [(RequestKey, RequestRow)],
    pub(crate) now: Millis,
}

/// All but the head, which comes last: PostgreSQL tells how many rows the last of these changed, SQLite how many all did.
macro_rules! rows {
    () => {
        "INSERT INTO batches (tenant, size, first, tip, entries) VALUES ($1, $2, $3, $4, $5); \
         INSERT INTO privates (tenant, size, parts) VALUES ($1, $2, $6); \
         INSERT INTO usages (tenant, grant_id, bytes, objects, uses, minute, minute_bytes, newest) \
         SELECT $1, unhex(j.value->>0), CAST(j.value->>1 AS BIGINT), CAST(j.value->>2 AS BIGINT), \
         CAST(j.value->>3 AS BIGINT), CAST(j.value->>4 AS BIGINT), CAST(j.value->>5 AS BIGINT), \
         CAST(j.value->>6 AS BIGINT) FROM jsonb_each($7) j WHERE true \
         ON CONFLICT (tenant, grant_id) DO UPDATE SET bytes = excluded.bytes, objects = excluded.objects, \
         uses = excluded.uses, minute = excluded.minute, minute_bytes = excluded.minute_bytes, newest = excluded.newest; \
         INSERT INTO requests (tenant, period, id, newest, digest, done) \
         SELECT $1, CAST(j.value->>0 AS BIGINT), unhex(j.value->>1), CAST(j.value->>2 AS BIGINT), unhex(j.value->>3), \
         unhex(j.value->>4) FROM jsonb_each($8) j WHERE true \
         ON CONFLICT (tenant, period, id) DO UPDATE SET newest = excluded.newest, digest = excluded.digest, \
         done = excluded.done; "
    };
}

const FIRST: &str = concat!(rows!(), "INSERT INTO heads (tenant, size, head, mac) VALUES ($1, $2, $9, $10)");
const NEXT: &str = concat!(rows!(), "UPDATE heads SET size = $2, head = $9, mac = $10 WHERE tenant = $1 AND size = $3");

impl Tx {
    /// Appends a batch, and puts the head where it ends, from where it was read.
    ///
    /// # Errors
    /// [`CatalogError::Integrity`] if the head is not where it was read: it is locked.
    pub(crate) async fn append(
        &mut self,
        tenant: &TenantId,
        key: &LedgerKey,
        batch: NewBatch<'_>,
    ) -> Result<(), CatalogError> {
        let NewBatch { from, to, tip, entries, parts, usages, requests, now } = batch;
        let Index(first) = from.size();
        let changed = match self.catalog.0.dialect {
            Dialect::Sqlite => 3 + usages.len() + requests.len(),
            Dialect::Postgres => 1,
        };
        let sql = self.sql(if first == 0 { FIRST } else { NEXT });
        let query = sqlx::query(sql).bind(&tenant.as_bytes()[..]).bind(signed(to.size().0)).bind(signed(first));
        let query = query.bind(&tip.as_bytes()[..]).bind(entries).bind(parts);
        let query = query.bind(usage_rows(usages, now)).bind(requests::rows(requests));
        let query = query.bind(to.canonical_bytes()).bind(key.head(tenant, to).to_vec());
        match query.execute(self.connection()).await?.rows_affected() {
            rows if rows == changed as u64 => Ok(()),
            _ => Err(CatalogError::integrity(format!("the head of tenant {tenant} moved under its lock"))),
        }
    }
}

fn usage_rows(usages: &[(GrantId, Tally)], now: Millis) -> String {
    let mut bulk = Bulk::with_capacity(usages.len() * 120);
    for (grant, Tally { total, minute, minute_bytes }) in usages {
        bulk.row().bytes(grant.as_bytes()).number(total.bytes).number(total.objects).number(total.uses);
        bulk.number(*minute).number(*minute_bytes).number(now.0);
    }
    bulk.finish()
}
