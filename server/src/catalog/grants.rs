//! Grants and what has been charged to them.
//!
//! A grant's row is its exact JSON with a mark, and so is that of each renewal: the newest one says when the grant ends. Beside it stand copies of what it is found by, which decide nothing. Usages are
//! counters: whoever can write the database can set one back until replay notices, and can widen nothing.

use std::collections::{HashMap, HashSet};

use sqlx::any::AnyRow;
use sqlx::{Row, SqlStr};
use strongroom_core::exact;
use strongroom_core::grant::{Grant, Holder, Renewal, Tally, Usage};
use strongroom_core::identity::Fingerprint;
use strongroom_core::ids::{GrantId, Index, Millis, TenantId};
use strongroom_core::ledger::LedgerKey;

use super::bulk::Bulk;
use super::{Catalog, CatalogError, Tx, id, number, signed};

const TABLE: &str = "grant";
const RENEWALS: &str = "renewal";

/// The newest renewal of each grant `g`, as `r`.
macro_rules! renewed {
    () => {
        "LEFT JOIN renewals r ON r.tenant = g.tenant AND r.grant_id = g.id AND r.entry = \
         (SELECT max(x.entry) FROM renewals x WHERE x.tenant = g.tenant AND x.grant_id = g.id)"
    };
}

impl Catalog {
    /// A grant and what has been charged to it.
    ///
    /// # Errors
    /// [`CatalogError::Integrity`] if its row was changed.
    pub async fn grant(
        &self,
        tenant: &TenantId,
        key: &LedgerKey,
        grant_id: &GrantId,
    ) -> Result<Option<(Grant, Tally)>, CatalogError> {
        let sql = self.sql(concat!(
            "SELECT g.content, g.mac, r.content, r.mac, u.bytes, u.objects, u.uses, u.minute, u.minute_bytes FROM grants g ",
            renewed!(),
            " LEFT JOIN usages u ON u.tenant = g.tenant AND u.grant_id = g.id WHERE g.tenant = $1 AND g.id = $2",
        ));
        let query = sqlx::query(sql).bind(&tenant.as_bytes()[..]).bind(&grant_id.as_bytes()[..]);
        let Some(row) = query.fetch_optional(self.reader()).await? else { return Ok(None) };
        with_tally(&row, key, *grant_id).map(Some)
    }

    /// Those of `grants` that there are, each with what has been charged to it: in one statement, however many.
    ///
    /// # Errors
    /// [`CatalogError::Integrity`] if a row was changed.
    pub async fn grants_and_usages(
        &self,
        tenant: &TenantId,
        key: &LedgerKey,
        grants: &[GrantId],
    ) -> Result<Vec<(Grant, Tally)>, CatalogError> {
        let sql = self.sql(concat!(
            "SELECT g.content, g.mac, r.content, r.mac, u.bytes, u.objects, u.uses, u.minute, u.minute_bytes, g.id \
             FROM jsonb_each($1) j CROSS JOIN grants g ON g.tenant = $2 AND g.id = unhex(j.value->>0) ",
            renewed!(),
            " LEFT JOIN usages u ON u.tenant = g.tenant AND u.grant_id = g.id",
        ));
        let query = sqlx::query(sql).bind(ids(grants)).bind(&tenant.as_bytes()[..]);
        let rows = query.fetch_all(self.reader()).await?;
        rows.iter().map(|row| with_tally(row, key, GrantId::from_bytes(id(row, 9)?))).collect()
    }

    /// The newest grants of one holder, newest first: those issued before entry `before`.
    ///
    /// # Errors
    /// [`CatalogError::Integrity`] if a row was changed.
    pub async fn grants_of(
        &self,
        tenant: &TenantId,
        key: &LedgerKey,
        holder: &Holder,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<Grant>, CatalogError> {
        let sql = self.sql(concat!(
            "SELECT g.content, g.mac, r.content, r.mac FROM grants g ",
            renewed!(),
            " WHERE g.tenant = $1 AND g.holder = $2 AND g.issued < $3 ORDER BY g.issued DESC LIMIT $4",
        ));
        let grants = self.newest(sql, tenant, key, &holder_bytes(holder), before, limit).await?;
        match grants.iter().find(|grant| grant.terms.holder != *holder) {
            Some(other) => Err(CatalogError::integrity(format!("the row of grant {} names another holder", other.id))),
            None => Ok(grants),
        }
    }

    /// The grants that were delegated from this one, newest first: those issued before entry `before`.
    ///
    /// # Errors
    /// [`CatalogError::Integrity`] if a row was changed.
    pub async fn delegated(
        &self,
        tenant: &TenantId,
        key: &LedgerKey,
        parent: &GrantId,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<Grant>, CatalogError> {
        let sql = self.sql(concat!(
            "SELECT g.content, g.mac, r.content, r.mac FROM grants g ",
            renewed!(),
            " WHERE g.tenant = $1 AND g.parent = $2 AND g.issued < $3 ORDER BY g.issued DESC LIMIT $4",
        ));
        let grants = self.newest(sql, tenant, key, parent.as_bytes(), before, limit).await?;
        match grants.iter().find(|grant| grant.terms.parent != Some(*parent)) {
            Some(other) => Err(CatalogError::integrity(format!("the row of grant {} names another parent", other.id))),
            None => Ok(grants),
        }
    }

    /// The grants that a statement finds by one of their columns.
    async fn newest(
        &self,
        sql: SqlStr,
        tenant: &TenantId,
        key: &LedgerKey,
        column: &[u8],
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<Grant>, CatalogError> {
        let query = sqlx::query(sql).bind(&tenant.as_bytes()[..]).bind(column);
        let query = query.bind(before.map_or(i64::MAX, signed)).bind(i64::from(limit));
        let rows = query.fetch_all(self.reader()).await?;
        rows.iter().map(|row| checked(row, key)).collect()
    }

    /// When each of these was issued and, if ever, last used: by the rows' own word, which decides nothing.
    ///
    /// # Errors
    /// [`CatalogError`] if they cannot be read.
    pub async fn grant_times(
        &self,
        tenant: &TenantId,
        grants: &[GrantId],
    ) -> Result<HashMap<GrantId, (Millis, Option<Millis>)>, CatalogError> {
        let sql = self.sql(
            "SELECT g.id, g.since, COALESCE(u.newest, 0) FROM jsonb_each($1) j \
             CROSS JOIN grants g ON g.tenant = $2 AND g.id = unhex(j.value->>0) \
             LEFT JOIN usages u ON u.tenant = g.tenant AND u.grant_id = g.id",
        );
        let query = sqlx::query(sql).bind(ids(grants)).bind(&tenant.as_bytes()[..]);
        let rows = query.fetch_all(self.reader()).await?;
        let times = |row: &AnyRow| {
            let newest = Some(Millis(number(row, 2)?)).filter(|time| time.0 > 0);
            Ok((GrantId::from_bytes(id(row, 0)?), (Millis(number(row, 1)?), newest)))
        };
        rows.iter().map(times).collect()
    }

    /// All grants of a tenant, newest first: those issued before entry `before`.
    ///
    /// # Errors
    /// [`CatalogError::Integrity`] if a row was changed.
    pub async fn list_grants(
        &self,
        tenant: &TenantId,
        key: &LedgerKey,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<Grant>, CatalogError> {
        let sql = self.sql(concat!(
            "SELECT g.content, g.mac, r.content, r.mac FROM grants g ",
            renewed!(),
            " WHERE g.tenant = $1 AND g.issued < $2 ORDER BY g.issued DESC LIMIT $3",
        ));
        let query = sqlx::query(sql).bind(&tenant.as_bytes()[..]).bind(before.map_or(i64::MAX, signed));
        let rows = query.bind(i64::from(limit)).fetch_all(self.reader()).await?;
        rows.iter().map(|row| checked(row, key)).collect()
    }
}

impl Tx {
    /// Those of `grants` that there are; for one whose row was changed, what is wrong with it.
    pub(crate) async fn grants(
        &mut self,
        tenant: &TenantId,
        key: &LedgerKey,
        grants: &[GrantId],
    ) -> Result<Vec<(GrantId, Result<Grant, String>)>, CatalogError> {
        let sql = self.sql(concat!(
            "SELECT g.content, g.mac, r.content, r.mac, g.id FROM jsonb_each($1) j \
             CROSS JOIN grants g ON g.tenant = $2 AND g.id = unhex(j.value->>0) ",
            renewed!(),
        ));
        let query = sqlx::query(sql).bind(ids(grants)).bind(&tenant.as_bytes()[..]);
        let rows = query.fetch_all(self.connection()).await?;
        let grant = |row: &AnyRow| {
            let id = GrantId::from_bytes(id(row, 4)?);
            let grant = checked(row, key).map_err(|error| error.to_string());
            let own = |grant: Grant| {
                if grant.id == id { Ok(grant) } else { Err(format!("the row of {id} holds {}", grant.id)) }
            };
            Ok((id, grant.and_then(own)))
        };
        rows.iter().map(grant).collect()
    }

    /// Those of `keys` that hold a grant of their own.
    pub(crate) async fn holders(
        &mut self,
        tenant: &TenantId,
        keys: &[Fingerprint],
    ) -> Result<HashSet<Fingerprint>, CatalogError> {
        let mut bulk = Bulk::with_capacity(keys.len() * 72);
        for (at, key) in (0..).zip(keys) {
            bulk.row().bytes(&holder_bytes(&Holder::Key(*key))).number(at);
        }
        let sql = self.sql(
            "SELECT CAST(j.value->>1 AS BIGINT) FROM jsonb_each($1) j WHERE EXISTS \
             (SELECT 1 FROM grants g WHERE g.tenant = $2 AND g.holder = unhex(j.value->>0))",
        );
        let query = sqlx::query(sql).bind(bulk.finish()).bind(&tenant.as_bytes()[..]);
        let rows = query.fetch_all(self.connection()).await?;
        let key = |row: &AnyRow| {
            let at = usize::try_from(number(row, 0)?).unwrap_or(usize::MAX);
            keys.get(at).copied().ok_or_else(|| CatalogError::integrity("an answer to nothing that was asked"))
        };
        rows.iter().map(key).collect()
    }

    /// Keeps grants, each with its mark.
    pub(crate) async fn insert_grants<'a>(
        &mut self,
        tenant: &TenantId,
        key: &LedgerKey,
        grants: impl IntoIterator<Item = &'a Grant>,
        now: Millis,
    ) -> Result<(), CatalogError> {
        let mut bulk = Bulk::with_capacity(1024);
        for grant in grants {
            let content = exact::to_vec(grant).map_err(|error| CatalogError::integrity(error.to_string()))?;
            let mac = key.row(TABLE, &[&content]);
            bulk.row().bytes(grant.id.as_bytes()).bytes(&holder_bytes(&grant.terms.holder)).number(grant.issued.0);
            bulk.bytes(&content).bytes(&mac).number(now.0);
            match &grant.terms.parent {
                Some(parent) => bulk.bytes(parent.as_bytes()),
                None => bulk.null(),
            };
        }
        let sql = self.sql(
            "INSERT INTO grants (tenant, id, holder, issued, content, mac, since, parent) \
             SELECT $2, unhex(j.value->>0), unhex(j.value->>1), CAST(j.value->>2 AS BIGINT), unhex(j.value->>3), \
             unhex(j.value->>4), CAST(j.value->>5 AS BIGINT), unhex(j.value->>6) FROM jsonb_each($1) j",
        );
        let query = sqlx::query(sql).bind(bulk.finish()).bind(&tenant.as_bytes()[..]);
        query.execute(self.connection()).await?;
        Ok(())
    }

    /// When a grant was issued, as its row says without a mark.
    pub(crate) async fn issued_at(
        &mut self,
        tenant: &TenantId,
        grant: &GrantId,
    ) -> Result<Option<Millis>, CatalogError> {
        let sql = self.sql("SELECT since FROM grants WHERE tenant = $1 AND id = $2");
        let query = sqlx::query(sql).bind(&tenant.as_bytes()[..]).bind(&grant.as_bytes()[..]);
        let row = query.fetch_optional(self.connection()).await?;
        row.map(|row| number(&row, 0).map(Millis)).transpose()
    }

    /// Keeps renewals, each with its mark.
    pub(crate) async fn insert_renewals<'a>(
        &mut self,
        tenant: &TenantId,
        key: &LedgerKey,
        renewals: impl IntoIterator<Item = &'a Renewal>,
    ) -> Result<(), CatalogError> {
        let mut bulk = Bulk::with_capacity(512);
        for renewal in renewals {
            let content = exact::to_vec(renewal).map_err(|error| CatalogError::integrity(error.to_string()))?;
            let mac = key.row(RENEWALS, &[&content]);
            bulk.row().number(renewal.renewed.0).bytes(renewal.grant.as_bytes()).bytes(&content).bytes(&mac);
        }
        let sql = self.sql(
            "INSERT INTO renewals (tenant, entry, grant_id, content, mac) \
             SELECT $2, CAST(j.value->>0 AS BIGINT), unhex(j.value->>1), unhex(j.value->>2), unhex(j.value->>3) \
             FROM jsonb_each($1) j",
        );
        let query = sqlx::query(sql).bind(bulk.finish()).bind(&tenant.as_bytes()[..]);
        query.execute(self.connection()).await?;
        Ok(())
    }

    /// The grants that were renewed by entry `from` or later.
    pub(crate) async fn renewed_since(&mut self, tenant: &TenantId, from: Index) -> Result<Vec<GrantId>, CatalogError> {
        let sql = self.sql("SELECT grant_id FROM renewals WHERE tenant = $1 AND entry >= $2");
        let query = sqlx::query(sql).bind(&tenant.as_bytes()[..]).bind(signed(from.0));
        let rows = query.fetch_all(self.connection()).await?;
        rows.iter().map(|row| Ok(GrantId::from_bytes(id(row, 0)?))).collect()
    }

    /// What has been charged to those of `grants` that anything was charged to.
    pub(crate) async fn usages(
        &mut self,
        tenant: &TenantId,
        grants: &[GrantId],
    ) -> Result<HashMap<GrantId, Tally>, CatalogError> {
        let sql = self.sql(
            "SELECT u.grant_id, u.bytes, u.objects, u.uses, u.minute, u.minute_bytes FROM jsonb_each($1) j \
             CROSS JOIN usages u ON u.tenant = $2 AND u.grant_id = unhex(j.value->>0)",
        );
        let query = sqlx::query(sql).bind(ids(grants)).bind(&tenant.as_bytes()[..]);
        let rows = query.fetch_all(self.connection()).await?;
        let usage = |row: &AnyRow| {
            let total = Usage { bytes: number(row, 1)?, objects: number(row, 2)?, uses: number(row, 3)? };
            let tally = Tally { total, minute: number(row, 4)?, minute_bytes: number(row, 5)? };
            Ok((GrantId::from_bytes(id(row, 0)?), tally))
        };
        rows.iter().map(usage).collect()
    }
}

fn ids(grants: &[GrantId]) -> String {
    let mut bulk = Bulk::with_capacity(grants.len() * 40);
    grants.iter().for_each(|grant| {
        bulk.row().bytes(grant.as_bytes());
    });
    bulk.finish()
}

fn holder_bytes(holder: &Holder) -> Vec<u8> {
    match holder {
        Holder::Key(key) => [&[0], &key.as_bytes()[..]].concat(),
        Holder::Vendor(vendor) => [&[1], &vendor.as_bytes()[..]].concat(),
    }
}

/// The grant in the first four columns, which must be this one, and what has been charged to it, in the next five.
fn with_tally(row: &AnyRow, key: &LedgerKey, grant_id: GrantId) -> Result<(Grant, Tally), CatalogError> {
    let grant = checked(row, key)?;
    if grant.id != grant_id {
        return Err(CatalogError::integrity(format!("the row of grant {grant_id} holds another grant")));
    }
    let used = |column| row.try_get::<Option<i64>, _>(column).map(|n| n.map_or(0, |n| u64::try_from(n).unwrap_or(0)));
    let total = Usage { bytes: used(4)?, objects: used(5)?, uses: used(6)? };
    Ok((grant, Tally { total, minute: used(7)?, minute_bytes: used(8)? }))
}

/// The grant in columns 0 and 1, as the renewal in columns 2 and 3 left it, if they carry their marks.
fn checked(row: &AnyRow, key: &LedgerKey) -> Result<Grant, CatalogError> {
    let (content, mac): (&[u8], &[u8]) = (row.try_get(0)?, row.try_get(1)?);
    if !key.check_row(TABLE, &[content], mac) {
        let words = "a grant's row does not carry its mark: it was not made by this vault";
        return Err(CatalogError::integrity(words));
    }
    let grant: Grant =
        exact::from_slice(content).map_err(|error| CatalogError::integrity(format!("a grant's row is {error}")))?;
    let (Some(content), Some(mac)) = (row.try_get::<Option<&[u8]>, _>(2)?, row.try_get::<Option<&[u8]>, _>(3)?) else {
        return Ok(grant);
    };
    if !key.check_row(RENEWALS, &[content], mac) {
        let words = "a renewal's row does not carry its mark: it was not made by this vault";
        return Err(CatalogError::integrity(words));
    }
    let renewal: Renewal =
        exact::from_slice(content).map_err(|error| CatalogError::integrity(format!("a renewal's row is {error}")))?;
    if renewal.grant != grant.id {
        return Err(CatalogError::integrity(format!("a renewal of {} stands beside {}", renewal.grant, grant.id)));
    }
    Ok(grant.renewed(&renewal))
}
