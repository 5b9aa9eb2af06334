//! What differs between databases.
//!
//! Statements are written once, as SQLite reads them: `jsonb_each($n)` for the rows of a JSON parameter (first in a `CROSS JOIN`,
//! or SQLite turns the join around), `unhex(x)` for bytes in it.

use std::path::{Path, PathBuf};

use sqlx::{SqlSafeStr, SqlStr};

use super::CatalogError;

/// The database that a catalog lives in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// One file, one writer.
    Sqlite,
}

impl Dialect {
    /// A statement as this database reads it.
    pub(super) fn sql(self, statement: &'static str) -> SqlStr {
        match self {
            Self::Sqlite => statement.into_sql_str(),
        }
    }

    /// How a transaction begins that will write: with the lock, so that what it reads stays so.
    pub(super) fn begin(self) -> SqlStr {
        match self {
            Self::Sqlite => "BEGIN IMMEDIATE".into_sql_str(),
        }
    }

    /// What the writing connection is set to. `synchronous = FULL` makes each commit durable before it returns; a checkpoint
    /// every 16000 pages instead of 1000 halves the slowest commits.
    pub(super) fn writer_setup(self) -> &'static str {
        match self {
            Self::Sqlite => {
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 16000; \
                 PRAGMA foreign_keys = ON; PRAGMA cache_size = -16384; PRAGMA busy_timeout = 5000"
            }
        }
    }

    /// What a reading connection is set to.
    pub(super) fn reader_setup(self) -> &'static str {
        match self {
            Self::Sqlite => "PRAGMA query_only = ON; PRAGMA cache_size = -8192; PRAGMA busy_timeout = 5000",
        }
    }
}

/// Which database a URL names, the file it lies in, and the URL as the driver reads it.
pub(super) fn locate(url: &str) -> Result<(Dialect, PathBuf, String), CatalogError> {
    let wrong = |why: &str| CatalogError::Url(format!("{url}: {why}"));
    let path = url.strip_prefix("sqlite:").ok_or_else(|| wrong("it is sqlite: and the path of a file"))?;
    let path = path.strip_prefix("//").unwrap_or(path);
    if path.is_empty() || path.contains(":memory:") {
        return Err(wrong("a vault's catalog is a file"));
    }
    let path = Path::new(path);
    let name = path.file_name().ok_or_else(|| wrong("it names no file"))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let file = folder.canonicalize()?.join(name);
    let text = file.to_str().ok_or_else(|| wrong("the path is not UTF-8"))?;
    let mut driver = String::from("sqlite://");
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'_' | b'-' => driver.push(char::from(byte)),
            _ => driver.push_str(&format!("%{byte:02X}")),
        }
    }
    driver.push_str("?mode=rwc");
    Ok((Dialect::Sqlite, file, driver))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_are_catalogs() {
        for wrong in ["", "catalog.db", "sqlite:", "sqlite::memory:", "mysql://x", "sqlite:/", "sqlite:/tmp/.."] {
            assert!(locate(wrong).is_err(), "{wrong}");
        }
        let (_, file, url) = locate("sqlite:/tmp/a b?c#d%.db").unwrap();
        assert_eq!(file, Path::new("/tmp/a b?c#d%.db"));
        assert_eq!(url, "sqlite:///tmp/a%20b%3Fc%23d%25.db?mode=rwc");
    }
}
