//! Objects by their object ids.
//!
//! An id names one generation for ever. Whether that can still be read says the path that it was put at, as for a path with a
//! generation; but the object is found also where it is hidden, since whoever asks is judged by its path first.

use strongroom_core::ids::{ObjectId, TenantId};
use strongroom_core::ledger::LedgerKey;

use super::bulk::Bulk;
use super::objects::{ObjectRow, beside_head, columns, object};
use super::wraps::apart;
use super::{Catalog, CatalogError, number};

/// An object that was found by its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ById {
    /// The object.
    pub object: ObjectRow,
    /// Whether it is what its path stands for, or an older generation that is not hidden.
    pub visible: bool,
}

impl Catalog {
    /// Finds objects by their ids, in their order. With them, the ledger's `Head::hides` of the same moment.
    ///
    /// # Errors
    /// [`CatalogError::Integrity`] if a row does not carry its mark, or stands under another id than its own.
    pub async fn objects_by_id(
        &self,
        tenant: &TenantId,
        key: &LedgerKey,
        ids: &[ObjectId],
    ) -> Result<(Vec<Option<ById>>, u64), CatalogError> {
        let mut bulk = Bulk::with_capacity(ids.len() * 48);
        for (at, id) in (0..).zip(ids) {
            bulk.row().number(at).bytes(id.as_bytes());
        }
        let query = sqlx::query(self.sql(BY_ID)).bind(bulk.finish()).bind(&tenant.as_bytes()[..]);
        let rows = query.fetch_all(self.reader()).await?;
        let (rows, hides) = beside_head(&rows, tenant, key)?;
        let mut found = vec![None; ids.len()];
        for (at, row) in rows {
            let (object, visible) = (object(row, 1, key)?, number(row, 14)? == 1);
            match (ids.get(at), found.get_mut(at)) {
                (Some(id), Some(slot)) if *id == object.header.object_id() => *slot = Some(ById { object, visible }),
                _ => return Err(CatalogError::integrity("an object stands under another id than its own")),
            }
        }
        Ok((found, hides))
    }
}

const BY_ID: &str = concat!(
    "SELECT CAST(j.value->>0 AS BIGINT), ",
    columns!(),
    ", CAST(CASE WHEN EXISTS (SELECT 1 FROM paths p WHERE p.dataset = o.dataset AND p.path = o.path \
     AND p.entry = o.entry AND p.ordinal = o.ordinal) THEN 1 \
     WHEN EXISTS (SELECT 1 FROM superseded s WHERE s.dataset = o.dataset AND s.path = o.path \
     AND s.generation = o.generation AND s.entry = o.entry AND s.ordinal = o.ordinal) \
     AND NOT EXISTS (SELECT 1 FROM tombstones t WHERE t.dataset = o.dataset AND t.path = o.path \
     AND t.through >= o.generation) THEN 1 ELSE 0 END AS BIGINT) \
     FROM jsonb_each($1) j CROSS JOIN objects o ON o.tenant = $2 AND o.id = unhex(j.value->>1)",
    apart!(),
    " UNION ALL SELECT -1, 0, 0, h.head, '', '', 0, h.mac, h.head, h.mac, 0, h.mac, '', 0, CAST(0 AS BIGINT) \
     FROM heads h WHERE h.tenant = $2"
);
