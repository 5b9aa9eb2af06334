//! Summaries of entries whose batches have left: of each bundle, and of each full span of 256 bundles.
//!
//! They say what may be passed over by whoever looks for something, so a row carries the mark of the tenant's ledger key: one that
//! was changed would hide entries from the lab that they are of.

use sqlx::any::AnyRow;
use sqlx::{Any, Executor, Row, SqlStr};
use strongroom_core::ids::{Index, TenantId};
use strongroom_core::ledger::LedgerKey;
use strongroom_core::ledger::summary::Summary;

use super::bulk::Bulk;
use super::{Catalog, CatalogError, Tx, number, signed};

const TABLE: &str = "summaries";
const FROM: &str = "SELECT s.number, s.content, s.mac FROM summaries s \
     WHERE s.tenant = $1 AND s.level = $2 AND s.number >= $3 ORDER BY s.number LIMIT $4";

/// What a summary is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    /// A bundle.
    Bundle,
    /// A span of 256 bundles.
    Span,
}

impl Level {
    fn number(self) -> u64 {
        match self {
            Self::Bundle => 0,
            Self::Span => 1,
        }
    }
}

impl Catalog {
    /// Up to `most` summaries from number `from` on, each with its number.
    ///
    /// # Errors
    /// [`CatalogError::Integrity`] if a row was changed.
    pub(crate) async fn summaries(
        &self,
        tenant: &TenantId,
        key: &LedgerKey,
        level: Level,
        from: u64,
        most: u32,
    ) -> Result<Vec<(u64, Summary)>, CatalogError> {
        read(self.reader(), self.sql(FROM), tenant, key, (level, from, most)).await
    }
}

impl Catalog {
    /// How many bundles were summed up, from the first on.
    pub(crate) async fn summed_up(&self, tenant: &TenantId) -> Result<u64, CatalogError> {
        let sql = self.sql(
            "SELECT CAST(COALESCE((SELECT max(s.number) + 1 FROM summaries s WHERE s.tenant = $1 AND s.level = 0), \
             (SELECT (max(s.number) + 1) * 256 FROM summaries s WHERE s.tenant = $1 AND s.level = 1), 0) AS BIGINT)",
        );
        number(&sqlx::query(sql).bind(&tenant.as_bytes()[..]).fetch_one(self.reader()).await?, 0)
    }
}

impl Tx {
    /// Keeps summaries of one level; those that are there stay.
    pub(crate) async fn insert_summaries<'a>(
        &mut self,
        tenant: &TenantId,
        key: &LedgerKey,
        level: Level,
        summaries: impl IntoIterator<Item = (u64, &'a Summary)>,
    ) -> Result<(), CatalogError> {
        let mut bulk = Bulk::with_capacity(4096);
        for (number, summary) in summaries {
            let content = summary.bytes().map_err(|error| CatalogError::integrity(error.to_string()))?;
            let mac = mark(key, level, number, &content);
            bulk.row().number(number).bytes(&content).bytes(&mac);
        }
        let sql = self.sql(
            "INSERT INTO summaries (tenant, level, number, content, mac) \
             SELECT $2, $3, CAST(j.value->>0 AS BIGINT), unhex(j.value->>1), unhex(j.value->>2) FROM jsonb_each($1) j \
             WHERE true ON CONFLICT (tenant, level, number) DO NOTHING",
        );
        let query = sqlx::query(sql).bind(bulk.finish()).bind(&tenant.as_bytes()[..]).bind(signed(level.number()));
        query.execute(self.connection()).await?;
        Ok(())
    }

    /// Drops the summaries of the bundles of a span: they stand elsewhere.
    pub(crate) async fn drop_bundle_summaries(&mut self, tenant: &TenantId, span: u64) -> Result<(), CatalogError> {
        let sql = self.sql("DELETE FROM summaries WHERE tenant = $1 AND level = 0 AND number >= $2 AND number < $3");
        let query = sqlx::query(sql).bind(&tenant.as_bytes()[..]).bind(signed(span << 8)).bind(signed((span + 1) << 8));
        query.execute(self.connection()).await?;
        Ok(())
    }
}

fn mark(key: &LedgerKey, level: Level, number: u64, content: &[u8]) -> [u8; 32] {
    key.row(TABLE, &[&level.number().to_be_bytes(), &number.to_be_bytes(), content])
}

async fn read<'c>(
    connection: impl Executor<'c, Database = Any>,
    sql: SqlStr,
    tenant: &TenantId,
    key: &LedgerKey,
    (level, from, most): (Level, u64, u32),
) -> Result<Vec<(u64, Summary)>, CatalogError> {
    let query = sqlx::query(sql).bind(&tenant.as_bytes()[..]).bind(signed(level.number()));
    let rows = query.bind(signed(from)).bind(i64::from(most)).fetch_all(connection).await?;
    let check = |row: &AnyRow| {
        let (number, content) = (number(row, 0)?, row.try_get::<&[u8], _>(1)?);
        let mac: &[u8] = row.try_get(2)?;
        let broken =
            || CatalogError::integrity(format!("the summary of entries from {} on was changed", first(level, number)));
        let fits = key.check_row(TABLE, &[&level.number().to_be_bytes(), &number.to_be_bytes(), content], mac);
        let summary = Summary::from_bytes(content).ok().filter(|summary| fits && summary.first == first(level, number));
        Ok((number, summary.ok_or_else(broken)?))
    };
    rows.iter().map(check).collect()
}

/// The first entry of what a summary is of.
fn first(level: Level, number: u64) -> Index {
    Index(number << (8 * (level.number() + 1)))
}
