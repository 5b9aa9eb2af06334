//! What requests did lately, so that one that comes again is known: forgotten a quarter of an hour after its newest entry.

use std::collections::HashMap;

use sqlx::Row;
use strongroom_core::ids::{Digest, Millis, TenantId};
use strongroom_core::ledger::charge::{REQUEST_LIFE, is_remembered};

use super::bulk::Bulk;
use super::{CatalogError, Tx, id, number, signed};

/// Which request: its id, and half of its key's fingerprint.
pub(crate) type RequestKey = [u8; 32];

/// A request that is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RequestRow {
    /// The time of its newest entry.
    pub(crate) newest: Millis,
    /// SHA-256 of the request's bytes.
    pub(crate) digest: Digest,
    /// What it did, as the recorder writes it.
    pub(crate) done: Vec<u8>,
}

/// The quarter of an hour that a time lies in. What is remembered lies in this one or the one before.
fn period(time: Millis) -> u64 {
    time.0 / REQUEST_LIFE
}

/// What requests did, as a parameter of the statement that remembers it.
pub(super) fn rows(requests: &[(RequestKey, RequestRow)]) -> String {
    let mut bulk = Bulk::with_capacity(requests.len() * 320);
    for (key, row) in requests {
        bulk.row().number(period(row.newest)).bytes(key).number(row.newest.0);
        bulk.bytes(row.digest.as_bytes()).bytes(&row.done);
    }
    bulk.finish()
}

impl Tx {
    /// Those of `keys` that are remembered at `now`.
    pub(crate) async fn requests(
        &mut self,
        tenant: &TenantId,
        now: Millis,
        keys: &[RequestKey],
    ) -> Result<HashMap<RequestKey, RequestRow>, CatalogError> {
        // A row for each period, not a choice of two: PostgreSQL would look through all requests of the tenant.
        let mut bulk = Bulk::with_capacity(keys.len() * 160);
        for key in keys {
            for period in [period(now).saturating_sub(1), period(now)] {
                bulk.row().number(period).bytes(key);
            }
        }
        let sql = self.sql(
            "SELECT r.id, r.newest, r.digest, r.done FROM jsonb_each($1) j CROSS JOIN requests r ON r.tenant = $2 \
             AND r.period = CAST(j.value->>0 AS BIGINT) AND r.id = unhex(j.value->>1) ORDER BY r.newest",
        );
        let query = sqlx::query(sql).bind(bulk.finish()).bind(&tenant.as_bytes()[..]);
        let mut found = HashMap::new();
        for row in query.fetch_all(self.connection()).await? {
            let newest = Millis(number(&row, 1)?);
            if is_remembered(newest, now) {
                let digest = Digest::from_bytes(id(&row, 2)?);
                // The newest row of a request comes last, and stays.
                found.insert(id(&row, 0)?, RequestRow { newest, digest, done: row.try_get(3)? });
            }
        }
        Ok(found)
    }

    /// Forgets up to `limit` requests whose time is over; `true` if there may be more.
    pub(crate) async fn forget_requests(
        &mut self,
        tenant: &TenantId,
        now: Millis,
        limit: u32,
    ) -> Result<bool, CatalogError> {
        let sql = self.sql(
            "DELETE FROM requests WHERE (tenant, period, id) IN \
             (SELECT tenant, period, id FROM requests WHERE tenant = $1 AND period < $2 LIMIT $3)",
        );
        let query = sqlx::query(sql).bind(&tenant.as_bytes()[..]).bind(signed(period(now).saturating_sub(1)));
        let gone = query.bind(i64::from(limit)).execute(self.connection()).await?.rows_affected();
        Ok(gone == u64::from(limit))
    }
}
