//! Where a catalog is: what its URL says, and what a URL may never say aloud.
//!
//! A URL of PostgreSQL holds a password. It goes into the driver's options and nowhere else: no error and no log quotes it.

use std::path::{Path, PathBuf};

use sqlx::ConnectOptions;
use sqlx::any::AnyConnectOptions;

use super::CatalogError;
use super::dialect::Dialect;

/// What a catalog's URL comes to.
pub(super) struct Place {
    pub(super) dialect: Dialect,
    /// The file, where it is one.
    pub(super) file: Option<PathBuf>,
    pub(super) options: AnyConnectOptions,
}

/// Which database a URL names.
pub(super) fn locate(url: &str) -> Result<Place, CatalogError> {
    match url.split_once(':') {
        Some(("sqlite", path)) => sqlite(url, path),
        Some(("postgres" | "postgresql", _)) => postgres(url),
        // What it is meant to be is not known, so it may hold a password.
        _ => Err(CatalogError::Url("it begins with sqlite: or postgres:".into())),
    }
}

fn sqlite(url: &str, path: &str) -> Result<Place, CatalogError> {
    let wrong = |why: &str| CatalogError::Url(format!("{url}: {why}"));
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
    let options: AnyConnectOptions = driver.parse()?;
    Ok(Place { dialect: Dialect::Sqlite, file: Some(file), options: options.disable_statement_logging() })
}

fn postgres(url: &str) -> Result<Place, CatalogError> {
    // What the parser says of a URL quotes nothing of it.
    let options: AnyConnectOptions = url.parse()?;
    let mut options = options.disable_statement_logging();
    let said = |names: &[&str]| {
        let mut pairs = options.database_url.query_pairs();
        pairs.find(|(name, _)| names.contains(&&**name)).map(|(_, value)| value.into_owned())
    };
    if options.database_url.path().trim_start_matches('/').is_empty() && said(&["dbname"]).is_none() {
        return Err(CatalogError::Url("it names no database".into()));
    }
    let host = said(&["hostaddr"]).or_else(|| said(&["host"]));
    let host = host.or_else(|| options.database_url.host_str().map(str::to_owned)).unwrap_or_default();
    let mut more = vec![("application_name", "strongroom")];
    // The driver's own default goes on in the clear where the server does not offer TLS.
    if said(&["sslmode", "ssl-mode"]).is_none() {
        more.push(("sslmode", if is_here(&host) { "prefer" } else { "verify-full" }));
    }
    for (name, value) in more {
        if said_of(&options, name) {
            continue;
        }
        options.database_url.query_pairs_mut().append_pair(name, value);
    }
    Ok(Place { dialect: Dialect::Postgres, file: None, options })
}

/// A URL of PostgreSQL to be shown: where it has a password, `PASSWORD` stands in its place.
pub(crate) fn shown(url: &str) -> Result<String, CatalogError> {
    let mut parsed = url.parse::<AnyConnectOptions>()?.database_url;
    let said: Vec<(String, String)> = parsed.query_pairs().into_owned().collect();
    let in_query = said.iter().any(|(name, _)| name == "password");
    if parsed.password().is_none() && !in_query {
        return Ok(url.to_owned());
    }
    if parsed.password().is_some() {
        // A URL that had one can have another.
        let _ = parsed.set_password(Some("PASSWORD"));
    }
    if in_query {
        let shown = said.iter().map(|(name, value)| (name, if name == "password" { "PASSWORD" } else { value }));
        parsed.query_pairs_mut().clear().extend_pairs(shown);
    }
    Ok(parsed.into())
}

fn said_of(options: &AnyConnectOptions, name: &str) -> bool {
    options.database_url.query_pairs().any(|(said, _)| said == name)
}

/// Whether a host is this machine: nobody is between.
fn is_here(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let loopback = bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    host.is_empty() || host == "localhost" || host.starts_with('/') || host.starts_with("%2F") || loopback
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_and_servers_are_catalogs() {
        for wrong in
            ["", "catalog.db", "sqlite:", "sqlite::memory:", "mysql://x", "sqlite:/", "sqlite:/tmp/..", "postgres://h"]
        {
            assert!(locate(wrong).is_err(), "{wrong}");
        }
        let place = locate("sqlite:/tmp/a b?c#d%.db").ok().unwrap();
        assert_eq!(place.file.as_deref(), Some(Path::new("/tmp/a b?c#d%.db")));
        assert_eq!(place.options.database_url.as_str(), "sqlite:///tmp/a%20b%3Fc%23d%25.db?mode=rwc");
    }

    #[test]
    fn no_error_quotes_a_password() {
        for wrong in [
            "postgres://u:secret@host",
            "postgres://u:secret@host:x/d",
            "postgres://u:secret@[::/d",
            "pg://u:secret@h/d",
        ] {
            let error = locate(wrong).err().unwrap();
            assert!(!format!("{error} {error:?}").contains("secret"), "{error}");
        }
    }

    #[test]
    fn no_password_is_shown() {
        let cases = [
            ("postgres://u@host:5/d?sslmode=require", "postgres://u@host:5/d?sslmode=require"),
            ("postgres://u:secret@host:5/d?sslmode=require", "postgres://u:PASSWORD@host:5/d?sslmode=require"),
            ("postgres://u@h/d?password=secret&sslmode=require", "postgres://u@h/d?password=PASSWORD&sslmode=require"),
            ("postgres://u:a%40b@h/d", "postgres://u:PASSWORD@h/d"),
        ];
        for (url, expected) in cases {
            assert_eq!(shown(url).unwrap(), expected);
        }
    }

    #[test]
    fn servers_elsewhere_are_verified() {
        let mode = |url: &str| {
            let place = locate(url).ok().unwrap();
            let mode = place.options.database_url.query_pairs().find(|(name, _)| name == "sslmode");
            mode.map(|(_, value)| value.into_owned()).unwrap()
        };
        assert_eq!(mode("postgres://u:p@db.example.org/vault"), "verify-full");
        assert_eq!(mode("postgresql://u@10.0.0.7:5433/vault"), "verify-full");
        assert_eq!(mode("postgres://u@db.example.org/vault?sslmode=require"), "require");
        for here in ["127.0.0.1:5433", "localhost", "[::1]", "%2Fvar%2Frun%2Fpostgresql", ""] {
            assert_eq!(mode(&format!("postgres://{here}/vault")), "prefer", "{here}");
        }
        assert_eq!(mode("postgres:///vault?host=/var/run/postgresql"), "prefer");
        assert_eq!(mode("postgres://localhost/vault?host=db.example.org"), "verify-full");
    }
}
