//! Which orders were accepted: each once per ledger, ever.

use std::collections::HashMap;

use strongroom_core::ids::{Index, OrderId, TenantId};

use super::bulk::Bulk;
use super::{CatalogError, Tx, id, number};

impl Tx {
    /// Those of `orders` that were accepted already, with the entry that did.
    pub(crate) async fn accepted(
        &mut self,
        tenant: &TenantId,
        orders: &[OrderId],
    ) -> Result<HashMap<OrderId, Index>, CatalogError> {
        let mut bulk = Bulk::with_capacity(orders.len() * 70);
        orders.iter().for_each(|order| {
            bulk.row().bytes(order.as_bytes());
        });
        let sql = self.sql(
            "SELECT o.id, o.entry FROM jsonb_each($1) j \
             CROSS JOIN orders o ON o.tenant = $2 AND o.id = unhex(j.value->>0)",
        );
        let query = sqlx::query(sql).bind(bulk.finish()).bind(&tenant.as_bytes()[..]);
        let rows = query.fetch_all(self.connection()).await?;
        rows.iter().map(|row| Ok((OrderId::from_bytes(id(row, 0)?), Index(number(row, 1)?)))).collect()
    }

    /// Remembers accepted orders.
    pub(crate) async fn insert_orders(
        &mut self,
        tenant: &TenantId,
        orders: &[(OrderId, Index)],
    ) -> Result<(), CatalogError> {
        let mut bulk = Bulk::with_capacity(orders.len() * 90);
        orders.iter().for_each(|(order, entry)| {
            bulk.row().bytes(order.as_bytes()).number(entry.0);
        });
        let sql = self.sql(
            "INSERT INTO orders (tenant, id, entry) \
             SELECT $2, unhex(j.value->>0), CAST(j.value->>1 AS BIGINT) FROM jsonb_each($1) j",
        );
        let query = sqlx::query(sql).bind(bulk.finish()).bind(&tenant.as_bytes()[..]);
        query.execute(self.connection()).await?;
        Ok(())
    }
}
