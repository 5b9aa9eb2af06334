//! Blobs under way. A row is open before the blob's first byte, so that a crash leaves no blob that nobody knows of.
//!
//! ```text
//! open ──commit of the put──► committed ──the last key of it destroyed (retention)─┐
//!   └────condemn────────────────────────────────────────────────────────────────┴► condemned ──blob deleted──► forgotten
//! ```
//!
//! Both steps out of `open` are compare-and-set: a put whose upload was condemned fails, and a committed one is condemned only
//! when nothing that can be opened lies in it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use sqlx::Row;
use strongroom_core::identity::Fingerprint;
use strongroom_core::ids::{Millis, PutId, TenantId};
use tokio::sync::oneshot;

use super::bulk::Bulk;
use super::{Catalog, CatalogError, Tx, number, signed};

/// Where an upload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadState {
    /// Its bytes may still come.
    Open,
    /// Something visible lies in it, or did.
    Committed,
    /// Nothing will ever lie in it: the sweeper deletes it.
    Condemned,
}

impl UploadState {
    fn of(number: u64) -> Result<Self, CatalogError> {
        match number {
            0 => Ok(Self::Open),
            1 => Ok(Self::Committed),
            2 => Ok(Self::Condemned),
            _ => Err(CatalogError::integrity("an upload's row has a state that is none")),
        }
    }
}

/// A blob that is to be deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condemned {
    /// Its name.
    pub blob: String,
    /// The id that the bucket gave the upload, if it goes in parts: what was sent of it is deleted by that.
    pub multipart: Option<String>,
}

/// Uploads that are being opened: those that wait while the writer is busy go in with one commit.
#[derive(Default)]
pub(super) struct Opening {
    waiting: Mutex<Vec<Waiting>>,
    turn: tokio::sync::Mutex<()>,
}

struct Waiting {
    blob: String,
    tenant: TenantId,
    put: PutId,
    holder: Fingerprint,
    now: Millis,
    opened: oneshot::Sender<Result<(), String>>,
}

impl Opening {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Catalog {
    /// Opens an upload: its row is durable when this returns. A pack of many objects is opened under the first one's put id.
    ///
    /// # Errors
    /// [`CatalogError`] if the row could not be made durable.
    pub async fn open_upload(
        &self,
        tenant: &TenantId,
        put: &PutId,
        holder: &Fingerprint,
        blob: &str,
        now: Millis,
    ) -> Result<(), CatalogError> {
        let (opened, mut answer) = oneshot::channel();
        let row = Waiting { blob: blob.to_owned(), tenant: *tenant, put: *put, holder: *holder, now, opened };
        self.0.opening.lock().push(row);
        let closing = |_| CatalogError::Closing;
        let answer = tokio::select! {
            biased;
            answer = &mut answer => answer.map_err(closing)?,
            turn = self.0.opening.turn.lock() => {
                let catalog = self.clone();
                // On its own, so that whoever gives up waiting does not take the others' rows along.
                let write = tokio::spawn(async move { catalog.write_opening().await });
                write.await.map_err(|_| CatalogError::Closing)?;
                drop(turn);
                answer.await.map_err(closing)?
            }
        };
        answer.map_err(|error| CatalogError::Io(std::io::Error::other(error)))
    }

    async fn write_opening(&self) {
        let begun = self.begin().await;
        // Whoever came while the writer was busy goes in too.
        let rows = std::mem::take(&mut *self.0.opening.lock());
        let written = match begun {
            Ok(_) if rows.is_empty() => return,
            Ok(tx) => insert(tx, &rows).await,
            Err(error) => Err(error),
        };
        let written = written.map_err(|error| error.to_string());
        for row in rows {
            // A caller that has gone away left a row that the time-out condemns.
            let _ = row.opened.send(written.clone());
        }
    }

    /// Notes that an upload goes on; `false` if it is not open any more.
    ///
    /// # Errors
    /// [`CatalogError`] if the row cannot be written.
    pub async fn touch_upload(&self, blob: &str, now: Millis) -> Result<bool, CatalogError> {
        let mut tx = self.begin().await?;
        let sql = tx.sql("UPDATE uploads SET touched = $2 WHERE blob = $1 AND state = 0");
        let query = sqlx::query(sql).bind(blob).bind(signed(now.0));
        let touched = query.execute(tx.connection()).await?.rows_affected();
        tx.commit().await?;
        Ok(touched == 1)
    }

    /// Notes the id under which a bucket takes an upload in parts, before the first of them; `false` if it is not open any more.
    ///
    /// # Errors
    /// [`CatalogError`] if the row cannot be written.
    pub async fn note_multipart(&self, blob: &str, multipart: &str, now: Millis) -> Result<bool, CatalogError> {
        let mut tx = self.begin().await?;
        let sql = tx.sql("UPDATE uploads SET multipart = $2, touched = $3 WHERE blob = $1 AND state = 0");
        let query = sqlx::query(sql).bind(blob).bind(multipart).bind(signed(now.0));
        let noted = query.execute(tx.connection()).await?.rows_affected();
        tx.commit().await?;
        Ok(noted == 1)
    }

    /// Condemns an upload that is open, or was swept already: its blob may have come only after that. `false` if it is committed, or
    /// condemned.
    ///
    /// # Errors
    /// [`CatalogError`] if the row cannot be written.
    pub async fn condemn(&self, tenant: &TenantId, blob: &str) -> Result<bool, CatalogError> {
        let mut tx = self.begin().await?;
        let sql = tx.sql(
            "INSERT INTO uploads (blob, tenant, put, holder, state, touched) VALUES ($1, $2, $2, $2, 2, 0) \
             ON CONFLICT (blob) DO UPDATE SET state = 2 WHERE uploads.state = 0",
        );
        let query = sqlx::query(sql).bind(blob).bind(&tenant.as_bytes()[..]);
        let condemned = query.execute(tx.connection()).await?.rows_affected();
        tx.commit().await?;
        Ok(condemned == 1)
    }

    /// Condemns open uploads that nothing was heard of since `before`; returns how many.
    ///
    /// # Errors
    /// [`CatalogError`] if the rows cannot be written.
    pub async fn condemn_idle(&self, before: Millis, limit: u32) -> Result<u64, CatalogError> {
        let mut tx = self.begin().await?;
        let sql = tx.sql(
            "UPDATE uploads SET state = 2 WHERE state = 0 AND blob IN \
             (SELECT blob FROM uploads WHERE state = 0 AND touched < $1 ORDER BY touched LIMIT $2 \
             /*postgres FOR UPDATE SKIP LOCKED*/)",
        );
        let query = sqlx::query(sql).bind(signed(before.0)).bind(i64::from(limit));
        let condemned = query.execute(tx.connection()).await?.rows_affected();
        tx.commit().await?;
        Ok(condemned)
    }

    /// Blobs that are condemned, and not yet forgotten.
    ///
    /// # Errors
    /// [`CatalogError`] if they cannot be read.
    pub async fn condemned(&self, limit: u32) -> Result<Vec<Condemned>, CatalogError> {
        let sql = self.sql("SELECT blob, multipart FROM uploads WHERE state = 2 ORDER BY touched LIMIT $1");
        let rows = sqlx::query(sql).bind(i64::from(limit)).fetch_all(self.reader()).await?;
        rows.iter().map(|row| Ok(Condemned { blob: row.try_get(0)?, multipart: row.try_get(1)? })).collect()
    }

    /// Puts condemned blobs behind all that were condemned before `now`.
    ///
    /// # Errors
    /// [`CatalogError`] if the rows cannot be written.
    pub async fn postpone(&self, blobs: &[&str], now: Millis) -> Result<(), CatalogError> {
        if blobs.is_empty() {
            return Ok(());
        }
        let mut bulk = Bulk::with_capacity(blobs.len() * 100);
        blobs.iter().for_each(|blob| {
            bulk.row().text(blob);
        });
        let mut tx = self.begin().await?;
        let sql = tx.sql(
            "UPDATE uploads SET touched = $2 WHERE state + 0 = 2 AND blob IN \
             (SELECT j.value->>0 FROM jsonb_each($1) j)",
        );
        sqlx::query(sql).bind(bulk.finish()).bind(signed(now.0)).execute(tx.connection()).await?;
        tx.commit().await
    }

    /// Forgets a condemned blob: it is deleted.
    ///
    /// # Errors
    /// [`CatalogError`] if the row cannot be written.
    pub async fn forget(&self, blob: &str) -> Result<(), CatalogError> {
        let mut tx = self.begin().await?;
        let sql = tx.sql("DELETE FROM uploads WHERE blob = $1 AND state = 2");
        sqlx::query(sql).bind(blob).execute(tx.connection()).await?;
        tx.commit().await
    }
}

async fn insert(mut tx: Tx, rows: &[Waiting]) -> Result<(), CatalogError> {
    let mut bulk = Bulk::with_capacity(rows.len() * 300);
    for row in rows {
        bulk.row().text(&row.blob).bytes(row.tenant.as_bytes()).bytes(row.put.as_bytes());
        bulk.bytes(row.holder.as_bytes()).number(row.now.0);
    }
    let sql = tx.sql(
        "INSERT INTO uploads (blob, tenant, put, holder, state, touched) \
         SELECT j.value->>0, unhex(j.value->>1), unhex(j.value->>2), unhex(j.value->>3), 0, \
         CAST(j.value->>4 AS BIGINT) FROM jsonb_each($1) j",
    );
    sqlx::query(sql).bind(bulk.finish()).execute(tx.connection()).await?;
    tx.commit().await
}

impl Tx {
    /// Where those of `blobs` are that belong to this tenant. They stay so until the transaction ends.
    pub(crate) async fn uploads<'a>(
        &mut self,
        tenant: &TenantId,
        blobs: impl IntoIterator<Item = &'a str>,
    ) -> Result<HashMap<String, UploadState>, CatalogError> {
        let sql = self.sql(
            "SELECT u.blob, u.state FROM jsonb_each($1) j \
             CROSS JOIN uploads u ON u.blob = j.value->>0 WHERE u.tenant = $2 \
             /*postgres ORDER BY u.blob FOR UPDATE OF u*/",
        );
        let query = sqlx::query(sql).bind(names(blobs)).bind(&tenant.as_bytes()[..]);
        let rows = query.fetch_all(self.connection()).await?;
        rows.iter().map(|row| Ok((row.try_get(0)?, UploadState::of(number(row, 1)?)?))).collect()
    }

    /// Marks uploads as committed, each with how many objects more lie in it. That they are there and none of them is condemned
    /// was read under the same lock: nothing is inserted, but this way each row is found by its name, and once.
    pub(crate) async fn commit_uploads<'a>(
        &mut self,
        tenant: &TenantId,
        blobs: impl IntoIterator<Item = (&'a str, u64)>,
    ) -> Result<(), CatalogError> {
        let mut bulk = Bulk::with_capacity(256);
        blobs.into_iter().for_each(|(blob, objects)| {
            bulk.row().text(blob).number(objects);
        });
        let sql = self.sql(
            "INSERT INTO uploads (blob, tenant, put, holder, state, touched, objects) \
             SELECT j.value->>0, $2, $2, $2, 1, 0, CAST(j.value->>1 AS BIGINT) FROM jsonb_each($1) j WHERE true \
             ON CONFLICT (blob) DO UPDATE SET state = 1, multipart = NULL, objects = uploads.objects + excluded.objects \
             WHERE uploads.tenant = excluded.tenant AND uploads.state < 2",
        );
        let query = sqlx::query(sql).bind(bulk.finish()).bind(&tenant.as_bytes()[..]);
        query.execute(self.connection()).await?;
        Ok(())
    }
}

fn names<'a>(blobs: impl IntoIterator<Item = &'a str>) -> String {
    let mut bulk = Bulk::with_capacity(256);
    blobs.into_iter().for_each(|blob| {
        bulk.row().text(blob);
    });
    bulk.finish()
}
