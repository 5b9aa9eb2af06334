//! The source of a copy: a catalog's file, with nobody beside, read only.

use std::path::Path;

use sqlx::Row;
use strongroom_core::identity::sha256;
use strongroom_core::ids::Digest;

use super::super::dialect::Dialect;
use super::super::lock::FileLock;
use super::super::place::{self, Place};
use super::super::{Catalog, CatalogError, FILE_READERS, Inner, SQLITE, file_pool};

impl Catalog {
    /// Opens the catalog in a file that is there, to be read and no more. Until it is closed, no server opens it.
    ///
    /// # Errors
    /// [`CatalogError::Served`] if a server has it open; [`CatalogError::OtherSchema`] if it is not as this version has catalogs:
    /// it is not brought up to date, since nothing is written.
    pub(crate) async fn open_source(file: &Path) -> Result<Self, CatalogError> {
        sqlx::any::install_default_drivers();
        let Place { file: found, mut options, .. } = place::locate(&format!("sqlite:{}", file.display()))?;
        let lock = FileLock::alone(found.as_deref().unwrap_or(file))?;
        options.database_url.set_query(Some("mode=ro"));
        let dialect = Dialect::Sqlite;
        let pool = |connections| file_pool(dialect.reader_setup(), connections).connect_with(options.clone());
        let (reader, writer) = (pool(FILE_READERS).await?, pool(1).await?);
        let source = Self(std::sync::Arc::new(Inner {
            dialect,
            reader,
            writer,
            options,
            file: None,
            lock: Some(lock),
            silence: None,
            opening: Default::default(),
            #[cfg(test)]
            lost: std::sync::Mutex::default(),
        }));
        source.check_schema().await?;
        Ok(source)
    }

    async fn check_schema(&self) -> Result<(), CatalogError> {
        let sql = self.sql("SELECT version, checksum FROM _sqlx_migrations WHERE success ORDER BY version");
        let rows = sqlx::query(sql).fetch_all(self.reader()).await?;
        let carried_out = rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?)));
        let carried_out = carried_out.collect::<Result<Vec<(i64, Vec<u8>)>, sqlx::Error>>()?;
        let known: Vec<_> = SQLITE.iter().map(|migration| (migration.version, migration.checksum.to_vec())).collect();
        if carried_out == known { Ok(()) } else { Err(CatalogError::OtherSchema) }
    }

    /// What all ledgers have come to, as one digest: SHA-256 over each tenant's id and head, in the order of the ids.
    pub(crate) async fn ledgers(&self) -> Result<Digest, CatalogError> {
        let rows = sqlx::query(self.sql("SELECT tenant, head FROM heads ORDER BY tenant"));
        let mut bytes = Vec::new();
        for row in rows.fetch_all(self.reader()).await? {
            for column in [0, 1] {
                let part: &[u8] = row.try_get(column)?;
                bytes.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
                bytes.extend_from_slice(part);
            }
        }
        Ok(Digest::from_bytes(sha256(&bytes)))
    }
}
