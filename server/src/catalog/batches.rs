//! Entry batches: what each commit appended, public parts and private parts apart.
//!
//! The oldest leave, once their entries stand elsewhere: what is here is the ledger's end, without gaps.

use bytes::Bytes;
use sqlx::any::AnyRow;
use sqlx::{Any, Executor, Row, SqlStr};
use strongroom_core::ids::{Digest, Index, TenantId};

use super::{Catalog, CatalogError, Tx, id, number, signed};

const BATCH_OF: &str = "SELECT b.first, b.entries, p.parts FROM batches b \
     LEFT JOIN privates p ON p.tenant = b.tenant AND p.size = b.size \
     WHERE b.tenant = $1 AND b.size > $2 ORDER BY b.size LIMIT 1";
/// As [`BATCH_OF`], and nothing where that one has left: no other is read instead.
const HOLDING: &str = "SELECT b.first, b.entries, p.parts FROM batches b \
     LEFT JOIN privates p ON p.tenant = b.tenant AND p.size = b.size \
     WHERE b.tenant = $1 AND b.size = (SELECT min(n.size) FROM batches n WHERE n.tenant = $1 AND n.size > $2) \
     AND b.first <= $2";
/// As [`BATCH_OF`], several at once, with what the ledger came to after each.
const BATCHES: &str = "SELECT b.first, b.entries, p.parts, b.size, b.tip FROM batches b \
     LEFT JOIN privates p ON p.tenant = b.tenant AND p.size = b.size \
     WHERE b.tenant = $1 AND b.size > $2 AND b.size <= $3 ORDER BY b.size";
/// How long they are, without reading them.
const LENGTHS: &str = "SELECT b.size, CAST(length(b.entries) + COALESCE(length(p.parts), 0) AS BIGINT) FROM batches b \
     LEFT JOIN privates p ON p.tenant = b.tenant AND p.size = b.size \
     WHERE b.tenant = $1 AND b.size > $2 ORDER BY b.size LIMIT 256";
/// As [`BATCHES`], the one or the other column alone.
const ENTRIES: &str = "SELECT b.first, b.entries, b.size FROM batches b \
     WHERE b.tenant = $1 AND b.size > $2 AND b.size <= $3 ORDER BY b.size";
const PARTS: &str = "SELECT b.first, p.parts, b.size FROM batches b \
     LEFT JOIN privates p ON p.tenant = b.tenant AND p.size = b.size \
     WHERE b.tenant = $1 AND b.size > $2 AND b.size <= $3 ORDER BY b.size";
const BOUNDARY: &str =
    "SELECT b.size, b.first, b.tip FROM batches b WHERE b.tenant = $1 AND b.size >= $2 ORDER BY b.size LIMIT 1";

/// A batch as it is kept.
pub(crate) struct BatchRow {
    /// Its first entry.
    pub(crate) first: Index,
    /// The public parts.
    pub(crate) entries: Bytes,
    /// The private parts.
    pub(crate) parts: Bytes,
}

/// Which parts of entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Half {
    Public,
    Private,
}

/// What the batches say about the root that the ledger had at some size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Boundary {
    /// A commit ended there, and this was the root.
    Tip(Digest),
    /// No commit ended there.
    None,
    /// Nothing: the batches of that time have left.
    Left,
}

impl Boundary {
    /// The root, if a commit ended there and its batch is there.
    pub(crate) fn tip(self) -> Option<Digest> {
        match self {
            Self::Tip(tip) => Some(tip),
            Self::None | Self::Left => None,
        }
    }

    /// What the batch that ends first at `size` or after it says.
    pub(super) fn of(size: Index, ends: Index, first: Index, tip: Digest) -> Self {
        if ends == size {
            Self::Tip(tip)
        } else if first >= size {
            Self::Left
        } else {
            Self::None
        }
    }
}

/// A ledger with batches that may leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Old {
    pub(crate) tenant: TenantId,
    /// The first entry of the oldest batch.
    pub(crate) first: Index,
    /// The size of the newest checkpoint.
    pub(crate) signed: Index,
}

impl Catalog {
    /// The root over the ledger's entries when it had `size`.
    pub(crate) async fn boundary(&self, tenant: &TenantId, size: Index) -> Result<Boundary, CatalogError> {
        boundary(self.reader(), self.sql(BOUNDARY), tenant, size).await
    }

    /// The batch that holds the entry `index`, if it is there.
    pub(crate) async fn batch_holding(
        &self,
        tenant: &TenantId,
        index: Index,
    ) -> Result<Option<BatchRow>, CatalogError> {
        batch_of(self.reader(), self.sql(HOLDING), tenant, index).await
    }

    /// The batch that holds the entry `index`, if the ledger reaches there; the oldest there is, if that one has left.
    pub(crate) async fn batch_of(&self, tenant: &TenantId, index: Index) -> Result<Option<BatchRow>, CatalogError> {
        batch_of(self.reader(), self.sql(BATCH_OF), tenant, index).await
    }

    /// Batches from the one that holds the entry `index` on, each with the size of the ledger after it and the root over it: at
    /// least one if there is one, and no more than have about `most` bytes.
    pub(crate) async fn batches_from(
        &self,
        tenant: &TenantId,
        index: Index,
        most: u64,
    ) -> Result<Vec<(BatchRow, Index, Digest)>, CatalogError> {
        let through = self.reach(tenant, index, most).await?;
        let query = sqlx::query(self.sql(BATCHES)).bind(&tenant.as_bytes()[..]).bind(signed(index.0));
        let rows = query.bind(signed(through.0)).fetch_all(self.reader()).await?;
        let after = |row: &AnyRow| Ok((Index(number(row, 3)?), Digest::from_bytes(id(row, 4)?)));
        rows.iter().map(|row| after(row).and_then(|(size, tip)| Ok((batch(row)?, size, tip)))).collect()
    }

    /// As [`Catalog::batches_from`], the public parts alone or the private parts alone: of each batch its first entry, the parts, and
    /// the size of the ledger after it.
    pub(crate) async fn halves_from(
        &self,
        tenant: &TenantId,
        index: Index,
        half: Half,
        most: u64,
    ) -> Result<Vec<(Index, Vec<u8>, Index)>, CatalogError> {
        let through = self.reach(tenant, index, most).await?;
        let sql = match half {
            Half::Public => ENTRIES,
            Half::Private => PARTS,
        };
        let query = sqlx::query(self.sql(sql)).bind(&tenant.as_bytes()[..]).bind(signed(index.0));
        let rows = query.bind(signed(through.0)).fetch_all(self.reader()).await?;
        let read = |row: &AnyRow| {
            let parts: Option<Vec<u8>> = row.try_get(1)?;
            let parts = parts.ok_or_else(|| CatalogError::integrity("a batch has lost its private parts"))?;
            Ok((Index(number(row, 0)?), parts, Index(number(row, 2)?)))
        };
        rows.iter().map(read).collect()
    }

    /// Where batches from the one that holds the entry `index` on have about `most` bytes: the size of the ledger there.
    async fn reach(&self, tenant: &TenantId, index: Index, most: u64) -> Result<Index, CatalogError> {
        let lengths = sqlx::query(self.sql(LENGTHS)).bind(&tenant.as_bytes()[..]).bind(signed(index.0));
        let (mut through, mut bytes) = (index, 0_u64);
        for row in lengths.fetch_all(self.reader()).await? {
            bytes = bytes.saturating_add(number(&row, 1)?);
            if bytes > most && through > index {
                break;
            }
            through = Index(number(&row, 0)?);
        }
        Ok(through)
    }

    /// The ledgers whose oldest batch begins more than `keep` entries before the newest checkpoint.
    pub(crate) async fn old(&self, keep: u64) -> Result<Vec<Old>, CatalogError> {
        let sql = self.sql(
            "SELECT c.tenant, b.first, c.size FROM checkpoints c CROSS JOIN batches b ON b.tenant = c.tenant AND b.size = \
             (SELECT min(n.size) FROM batches n WHERE n.tenant = c.tenant) WHERE b.first + $1 < c.size ORDER BY c.tenant",
        );
        let rows = sqlx::query(sql).bind(signed(keep)).fetch_all(self.reader()).await?;
        let old = |row: &AnyRow| {
            let (tenant, first) = (TenantId::from_bytes(id(row, 0)?), Index(number(row, 1)?));
            Ok(Old { tenant, first, signed: Index(number(row, 2)?) })
        };
        rows.iter().map(old).collect()
    }
}

async fn batch_of<'c>(
    connection: impl Executor<'c, Database = Any>,
    sql: SqlStr,
    tenant: &TenantId,
    index: Index,
) -> Result<Option<BatchRow>, CatalogError> {
    let query = sqlx::query(sql).bind(&tenant.as_bytes()[..]).bind(signed(index.0));
    let row = query.fetch_optional(connection).await?;
    row.as_ref().map(batch).transpose()
}

fn batch(row: &AnyRow) -> Result<BatchRow, CatalogError> {
    let parts: Option<Vec<u8>> = row.try_get(2)?;
    let parts = parts.ok_or_else(|| CatalogError::integrity("a batch has lost its private parts"))?;
    let entries: Vec<u8> = row.try_get(1)?;
    Ok(BatchRow { first: Index(number(row, 0)?), entries: entries.into(), parts: parts.into() })
}

impl Tx {
    /// As [`Catalog::batch_of`].
    pub(crate) async fn batch_of(&mut self, tenant: &TenantId, index: Index) -> Result<Option<BatchRow>, CatalogError> {
        let sql = self.sql(BATCH_OF);
        batch_of(self.connection(), sql, tenant, index).await
    }

    /// As [`Catalog::boundary`].
    pub(crate) async fn boundary(&mut self, tenant: &TenantId, size: Index) -> Result<Boundary, CatalogError> {
        let sql = self.sql(BOUNDARY);
        boundary(self.connection(), sql, tenant, size).await
    }

    /// Drops the batches that hold nothing but entries from `from` on and before `to`. They must stand elsewhere, durably.
    pub(crate) async fn drop_batches(&mut self, tenant: &TenantId, from: Index, to: Index) -> Result<(), CatalogError> {
        for sql in [
            "DELETE FROM privates WHERE tenant = $1 AND size > $2 AND size <= $3",
            "DELETE FROM batches WHERE tenant = $1 AND size > $2 AND size <= $3",
        ] {
            let query = sqlx::query(self.sql(sql)).bind(&tenant.as_bytes()[..]);
            query.bind(signed(from.0)).bind(signed(to.0)).execute(self.connection()).await?;
        }
        Ok(())
    }
}

async fn boundary<'c>(
    connection: impl Executor<'c, Database = Any>,
    sql: SqlStr,
    tenant: &TenantId,
    size: Index,
) -> Result<Boundary, CatalogError> {
    let query = sqlx::query(sql).bind(&tenant.as_bytes()[..]).bind(signed(size.0));
    match query.fetch_optional(connection).await? {
        None => Ok(Boundary::None),
        Some(row) => {
            let (ends, first) = (Index(number(&row, 0)?), Index(number(&row, 1)?));
            Ok(Boundary::of(size, ends, first, Digest::from_bytes(id(&row, 2)?)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_tells_where_commits_ended() {
        let tip = Digest::from_bytes([1; 32]);
        let of = |size| Boundary::of(Index(size), Index(10), Index(7), tip);
        assert_eq!(of(10), Boundary::Tip(tip));
        assert_eq!([of(9), of(8)], [Boundary::None; 2]);
        assert_eq!([of(7), of(6), of(1)], [Boundary::Left; 3]);
    }
}
