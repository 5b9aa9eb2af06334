//! What the root key wraps in the catalog, and which nodes have which root key.
//!
//! A root key that takes over has every one of these wrapped anew. Which still wait, their first bytes say
//! ([`crate::keys::root::ring`]): there is no state to go wrong, and two nodes at once do no harm, since a row is changed only if it
//! still is what was read.

use sqlx::Row;
use sqlx::any::AnyRow;
use strongroom_core::ids::{Millis, NodeId, TenantId};
use strongroom_core::keys::wrap::Purpose;
use strongroom_core::names::TenantName;

use super::bulk::Bulk;
use super::{Catalog, CatalogError, id, number, signed};
use crate::keys::root::ring::SIGNPOST;

/// A secret that a root key wraps, where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) tenant: TenantId,
    pub(crate) name: TenantName,
    pub(crate) purpose: Purpose,
    pub(crate) version: u32,
    pub(crate) wrapped: Vec<u8>,
}

/// What another node says of its root keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OtherNode {
    pub(crate) node: NodeId,
    /// The id of the one it wraps with.
    pub(crate) wraps: String,
    /// The id of the newest one that it has.
    pub(crate) newest: String,
}

/// Where to go on: after this one.
pub(crate) type Place = (TenantId, u32);

/// Which key a cell holds, in the order in which they are dealt with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Ledger,
    /// The first log key of a tenant.
    Log,
    /// A log key that came after the first.
    LaterLog,
    Tenant,
}

/// All kinds.
pub(crate) const KINDS: [Kind; 4] = [Kind::Ledger, Kind::Log, Kind::LaterLog, Kind::Tenant];

impl Kind {
    /// What its cells are for.
    pub(crate) fn purpose(self) -> Purpose {
        match self {
            Self::Ledger => Purpose::LedgerKey,
            Self::Log | Self::LaterLog => Purpose::LogKey,
            Self::Tenant => Purpose::TenantKey,
        }
    }
}

impl Catalog {
    /// The next cells of a kind that do not begin with this signpost, at most `limit`.
    pub(crate) async fn wrapped_otherwise(
        &self,
        kind: Kind,
        signpost: &[u8; SIGNPOST],
        after: Option<Place>,
        limit: u32,
    ) -> Result<Vec<Cell>, CatalogError> {
        let sql = match kind {
            Kind::Ledger => {
                "SELECT id, name, 1, ledger_key FROM tenants WHERE (id > $1 OR (id = $1 AND 1 > $2)) \
                 AND substr(ledger_key, 1, 12) <> $3 ORDER BY id LIMIT $4"
            }
            Kind::Log => {
                "SELECT id, name, 1, log_key FROM tenants WHERE (id > $1 OR (id = $1 AND 1 > $2)) \
                 AND substr(log_key, 1, 12) <> $3 ORDER BY id LIMIT $4"
            }
            Kind::LaterLog => {
                "SELECT k.tenant, t.name, k.version, k.wrapped FROM log_keys k JOIN tenants t ON t.id = k.tenant \
                 WHERE (k.tenant, k.version) > ($1, $2) AND substr(k.wrapped, 1, 12) <> $3 \
                 ORDER BY k.tenant, k.version LIMIT $4"
            }
            Kind::Tenant => {
                // A version that was destroyed is an empty row.
                "SELECT k.tenant, t.name, k.version, k.wrapped FROM tenant_keys k JOIN tenants t ON t.id = k.tenant \
                 WHERE (k.tenant, k.version) > ($1, $2) AND length(k.wrapped) > 0 AND substr(k.wrapped, 1, 12) <> $3 \
                 ORDER BY k.tenant, k.version LIMIT $4"
            }
        };
        let (tenant, version) =
            after.map_or((Vec::new(), 0), |(tenant, version)| (tenant.as_bytes().to_vec(), version));
        let query = sqlx::query(self.sql(sql)).bind(tenant).bind(i64::from(version));
        let rows = query.bind(&signpost[..]).bind(i64::from(limit)).fetch_all(self.reader()).await?;
        let cell = |row: &AnyRow| {
            let name: &str = row.try_get(1)?;
            let name = name.parse().map_err(|_| CatalogError::integrity("a tenant's row has a name that is none"))?;
            let version = u32::try_from(number(row, 2)?).map_err(|_| CatalogError::integrity("a key's version"))?;
            let tenant = TenantId::from_bytes(id(row, 0)?);
            Ok(Cell { tenant, name, purpose: kind.purpose(), version, wrapped: row.try_get(3)? })
        };
        rows.iter().map(cell).collect()
    }

    /// How many cells there are, and how many of them do not begin with this signpost.
    pub(crate) async fn count_wrapped(&self, signpost: &[u8; SIGNPOST]) -> Result<(u64, u64), CatalogError> {
        let sql = self.sql(
            "SELECT CAST(2 * (SELECT count(*) FROM tenants) + (SELECT count(*) FROM log_keys) \
             + (SELECT count(*) FROM tenant_keys WHERE length(wrapped) > 0) AS BIGINT), \
             CAST((SELECT count(*) FROM tenants WHERE substr(ledger_key, 1, 12) <> $1) \
             + (SELECT count(*) FROM tenants WHERE substr(log_key, 1, 12) <> $1) \
             + (SELECT count(*) FROM log_keys WHERE substr(wrapped, 1, 12) <> $1) \
             + (SELECT count(*) FROM tenant_keys WHERE length(wrapped) > 0 AND substr(wrapped, 1, 12) <> $1) AS BIGINT)",
        );
        let row = sqlx::query(sql).bind(&signpost[..]).fetch_one(self.reader()).await?;
        Ok((number(&row, 0)?, number(&row, 1)?))
    }

    /// Puts new wrapped bytes in the place of what was read, where that still stands: how many did. What stood there is overwritten,
    /// where the database can.
    pub(crate) async fn rewrap_cells(&self, kind: Kind, cells: &[(Cell, Vec<u8>)]) -> Result<u64, CatalogError> {
        let mut bulk = Bulk::with_capacity(cells.len() * 1024);
        for (cell, new) in cells {
            bulk.row().bytes(cell.tenant.as_bytes()).number(u64::from(cell.version)).bytes(&cell.wrapped).bytes(new);
        }
        let sql = match kind {
            Kind::Ledger => {
                "UPDATE tenants SET ledger_key = unhex(j.value->>3) FROM jsonb_each($1) j \
                 WHERE tenants.id = unhex(j.value->>0) AND tenants.ledger_key = unhex(j.value->>2)"
            }
            Kind::Log => {
                "UPDATE tenants SET log_key = unhex(j.value->>3) FROM jsonb_each($1) j \
                 WHERE tenants.id = unhex(j.value->>0) AND tenants.log_key = unhex(j.value->>2)"
            }
            Kind::LaterLog => {
                "UPDATE log_keys SET wrapped = unhex(j.value->>3) FROM jsonb_each($1) j \
                 WHERE log_keys.tenant = unhex(j.value->>0) AND log_keys.version = CAST(j.value->>1 AS BIGINT) \
                 AND log_keys.wrapped = unhex(j.value->>2)"
            }
            Kind::Tenant => {
                "UPDATE tenant_keys SET wrapped = unhex(j.value->>3) FROM jsonb_each($1) j \
                 WHERE tenant_keys.tenant = unhex(j.value->>0) AND tenant_keys.version = CAST(j.value->>1 AS BIGINT) \
                 AND tenant_keys.wrapped = unhex(j.value->>2)"
            }
        };
        let mut tx = self.begin().await?;
        tx.overwrite(true).await?;
        let sql = tx.sql(sql);
        let changed = sqlx::query(sql).bind(bulk.finish()).execute(tx.connection()).await?.rows_affected();
        tx.overwrite(false).await?;
        crate::failpoint::hit("root.committing");
        tx.commit().await?;
        crate::failpoint::hit("root.committed");
        Ok(changed)
    }

    /// Says with which root key this node wraps, and which newest one it has, until `until` if it says nothing more; what the others say.
    pub(crate) async fn tell_root(
        &self,
        node: &NodeId,
        (wraps, newest): (&str, &str),
        now: Millis,
        until: Millis,
    ) -> Result<Vec<OtherNode>, CatalogError> {
        let mut tx = self.begin().await?;
        let sql = tx.sql(
            "INSERT INTO root_nodes (node, wraps, newest, until) VALUES ($1, $2, $3, $4) ON CONFLICT (node) DO UPDATE \
             SET wraps = excluded.wraps, newest = excluded.newest, until = excluded.until",
        );
        let query = sqlx::query(sql).bind(&node.as_bytes()[..]).bind(wraps).bind(newest).bind(signed(until.0));
        query.execute(tx.connection()).await?;
        let sql = tx.sql("DELETE FROM root_nodes WHERE until < $1");
        sqlx::query(sql).bind(signed(now.0)).execute(tx.connection()).await?;
        let sql = tx.sql("SELECT node, wraps, newest FROM root_nodes WHERE node <> $1 ORDER BY node");
        let rows = sqlx::query(sql).bind(&node.as_bytes()[..]).fetch_all(tx.connection()).await?;
        tx.commit().await?;
        let other = |row: &AnyRow| {
            Ok(OtherNode { node: NodeId::from_bytes(id(row, 0)?), wraps: row.try_get(1)?, newest: row.try_get(2)? })
        };
        rows.iter().map(other).collect()
    }

    /// Forgets what this node said: it stops.
    pub(crate) async fn leave_root(&self, node: &NodeId) -> Result<(), CatalogError> {
        let mut tx = self.begin().await?;
        let sql = tx.sql("DELETE FROM root_nodes WHERE node = $1");
        sqlx::query(sql).bind(&node.as_bytes()[..]).execute(tx.connection()).await?;
        tx.commit().await
    }
}
