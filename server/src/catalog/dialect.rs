//! What differs between databases.
//!
//! Statements are written once, as SQLite reads them: `jsonb_each($n)` for the rows of a JSON parameter (first in a `CROSS JOIN`,
//! with an `ON` and an alias, or SQLite turns the join around; PostgreSQL reads a `LATERAL` subquery), `unhex(x)` for bytes in it, and in `/*postgres …*/`, a comment to SQLite, what PostgreSQL
//! needs beside: locks of rows, where SQLite's one writer has the lock of all. `CAST(x AS BLOB)` makes bytes of bytes: SQLite joins
//! them to what it calls a text. Statements with `; ` between them go to the database at once, with parameters in common: PostgreSQL
//! reads all but the last as a `WITH`, so none may look at what another does.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use sqlx::{AssertSqlSafe, SqlSafeStr, SqlStr};

/// The database that a catalog lives in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// One file, one writer.
    Sqlite,
    /// A server, and many nodes that write.
    Postgres,
}

impl Dialect {
    /// A statement as this database reads it.
    pub(super) fn sql(self, statement: &'static str) -> SqlStr {
        match self {
            Self::Sqlite => statement.into_sql_str(),
            Self::Postgres => translated(statement),
        }
    }

    /// A statement that was put together from constants, as this database reads it.
    pub(super) fn made(self, statement: String) -> SqlStr {
        AssertSqlSafe(match self {
            Self::Sqlite => statement,
            Self::Postgres => translate(&statement),
        })
        .into_sql_str()
    }

    /// How a transaction begins that will write. On SQLite with the lock, so that what it reads stays so; on PostgreSQL each
    /// statement sees what was committed before it, and what must stay is locked, the tenant's head first.
    pub(super) fn begin(self) -> SqlStr {
        match self {
            Self::Sqlite => "BEGIN IMMEDIATE".into_sql_str(),
            Self::Postgres => "BEGIN ISOLATION LEVEL READ COMMITTED".into_sql_str(),
        }
    }

    /// How the transaction of a batch of entries begins: with a share of the lock of what operators order, or with all of it, so that
    /// the one comes wholly before or after the other. The lock is had before anything is read, and given up when all is visible.
    pub(super) fn begin_batch(self, operators: bool) -> SqlStr {
        match (self, operators) {
            (Self::Sqlite, _) => self.begin(),
            (Self::Postgres, false) => {
                "BEGIN ISOLATION LEVEL READ COMMITTED; SELECT pg_advisory_xact_lock_shared(7598541830486454379)"
                    .into_sql_str()
            }
            (Self::Postgres, true) => {
                "BEGIN ISOLATION LEVEL READ COMMITTED; SELECT pg_advisory_xact_lock(7598541830486454379)".into_sql_str()
            }
        }
    }

    /// How several statements begin that read one moment.
    pub(super) fn begin_reading(self) -> SqlStr {
        match self {
            Self::Sqlite => "BEGIN".into_sql_str(),
            Self::Postgres => "BEGIN ISOLATION LEVEL REPEATABLE READ".into_sql_str(),
        }
    }

    /// What a writing connection is set to. SQLite: `synchronous = FULL` makes each commit durable before it returns; a checkpoint
    /// every 16000 pages instead of 1000 halves the slowest commits; `secure_delete = FAST` leaves no copies of rows in pages that were
    /// split. PostgreSQL: commits are durable whatever the database's
    /// default is, and a node that stands still with the head's lock loses it after a second.
    pub(super) fn writer_setup(self) -> &'static str {
        match self {
            Self::Sqlite => {
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 16000; \
                 PRAGMA foreign_keys = ON; PRAGMA cache_size = -16384; PRAGMA busy_timeout = 5000; \
                 PRAGMA secure_delete = FAST"
            }
            Self::Postgres => {
                "SET statement_timeout = '10s'; SET lock_timeout = '5s'; SET idle_in_transaction_session_timeout = '1s'; \
                 SET jit = off; SELECT set_config('synchronous_commit', 'on', false) \
                 WHERE current_setting('synchronous_commit') IN ('off', 'local')"
            }
        }
    }

    /// Whether what is deleted is overwritten with zeros from here on, whole pages too. PostgreSQL has no such thing: what was deleted stays in its
    /// files until they are vacuumed.
    pub(super) fn overwrite(self, on: bool) -> Option<&'static str> {
        match (self, on) {
            (Self::Sqlite, true) => Some("PRAGMA secure_delete = ON"),
            (Self::Sqlite, false) => Some("PRAGMA secure_delete = FAST"),
            (Self::Postgres, _) => None,
        }
    }

    /// What a reading connection is set to.
    pub(super) fn reader_setup(self) -> &'static str {
        match self {
            Self::Sqlite => "PRAGMA query_only = ON; PRAGMA cache_size = -8192; PRAGMA busy_timeout = 5000",
            Self::Postgres => {
                "SET statement_timeout = '10s'; SET idle_in_transaction_session_timeout = '1s'; SET jit = off; \
                 SET default_transaction_read_only = on"
            }
        }
    }
}

/// A statement as PostgreSQL reads it; made once.
fn translated(statement: &'static str) -> SqlStr {
    static KNOWN: RwLock<Option<HashMap<&'static str, SqlStr>>> = RwLock::new(None);
    let known = KNOWN.read().unwrap_or_else(PoisonError::into_inner);
    if let Some(sql) = known.as_ref().and_then(|known| known.get(statement)) {
        return sql.clone();
    }
    drop(known);
    let sql = AssertSqlSafe(Arc::<str>::from(translate(statement))).into_sql_str();
    let mut known = KNOWN.write().unwrap_or_else(PoisonError::into_inner);
    known.get_or_insert_default().entry(statement).or_insert(sql).clone()
}

fn translate(statement: &str) -> String {
    let mut sql =
        replace_calls(statement, "jsonb_each(", |argument| format!("jsonb_array_elements({argument}::jsonb)"));
    sql = replace_calls(&sql, "unhex(", |argument| format!("decode({argument}, 'hex')"));
    at_once(&looked_up(&sql)).replace("/*postgres ", "").replace("*/", "").replace(" AS BLOB)", " AS BYTEA)")
}

/// Several statements as one: PostgreSQL takes parameters for one alone.
fn at_once(sql: &str) -> String {
    let Some((before, last)) = sql.rsplit_once("; ") else { return sql.to_owned() };
    let parts = before.split("; ").enumerate().map(|(at, part)| format!("s{at} AS ({part})"));
    format!("WITH {} {last}", parts.collect::<Vec<_>>().join(", "))
}

/// What may follow a join's condition.
const AFTER_A_CONDITION: [&str; 8] =
    [" CROSS JOIN ", " LEFT JOIN ", " WHERE ", " GROUP BY ", " ORDER BY ", " UNION ", " LIMIT ", " /*postgres "];

/// Writes each `CROSS JOIN` and `LEFT JOIN table alias ON condition` as a subquery of its own for each row before it. That fixes the
/// order of a join as SQLite fixes it for these two: left to itself, a planner without statistics takes a growing table for small, and
/// reads a tenant's rows whole for each batch instead of looking them up.
fn looked_up(sql: &str) -> String {
    const JOIN: &str = " JOIN ";
    let mut written = String::with_capacity(sql.len() + 64);
    let mut rest = sql;
    while let Some((before, join)) = rest.split_once(JOIN) {
        written.push_str(before);
        written.push_str(JOIN);
        rest = join;
        let on = match before {
            before if before.ends_with("CROSS") => "",
            before if before.ends_with("LEFT") => " ON true",
            _ => continue,
        };
        // A join without a condition has no order to keep.
        if let Some((place, condition)) = join.split_once(" ON ").filter(|(place, _)| place.split(' ').count() == 2) {
            let (condition, after) = condition.split_at(end_of_condition(condition));
            let alias = place.rsplit(' ').next().unwrap_or(place);
            written.push_str(&format!("LATERAL (SELECT * FROM {place} WHERE {condition} OFFSET 0) {alias}{on}"));
            rest = after;
        }
    }
    written.push_str(rest);
    written
}

/// Where a condition ends: before the next part of its statement, or before the parenthesis that it stands in is closed.
fn end_of_condition(text: &str) -> usize {
    let mut depth = 0_u32;
    for (at, character) in text.char_indices() {
        match character {
            '(' => depth += 1,
            ')' if depth == 0 => return at,
            ')' => depth -= 1,
            ' ' if depth == 0 && AFTER_A_CONDITION.iter().any(|next| text[at..].starts_with(next)) => return at,
            _ => {}
        }
    }
    text.len()
}

/// Writes each call of a function another way.
fn replace_calls(sql: &str, name: &str, write: impl Fn(&str) -> String) -> String {
    let mut written = String::with_capacity(sql.len() + 64);
    let mut rest = sql;
    while let Some(at) = rest.find(name) {
        let (before, call) = rest.split_at(at);
        let inside = &call[name.len()..];
        let mut depth = 1_u32;
        let end = inside.find(|character| {
            match character {
                '(' => depth += 1,
                ')' => depth -= 1,
                _ => {}
            }
            depth == 0
        });
        // A call that does not end is the database's to refuse.
        let Some(end) = end else { break };
        written.push_str(before);
        written.push_str(&write(&inside[..end]));
        rest = &inside[end + 1..];
    }
    written.push_str(rest);
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_translated() {
        let cases = [
            ("SELECT 1 FROM t WHERE a = $1", "SELECT 1 FROM t WHERE a = $1"),
            (
                "SELECT unhex(j.value->>0), unhex(coalesce(j.value->>1, '')) FROM jsonb_each($1) j",
                "SELECT decode(j.value->>0, 'hex'), decode(coalesce(j.value->>1, ''), 'hex') \
                 FROM jsonb_array_elements($1::jsonb) j",
            ),
            (
                "SELECT 1 FROM a CROSS JOIN b c ON c.x = a.x AND c.y IN ($1, $2) ORDER BY c.y",
                "SELECT 1 FROM a CROSS JOIN LATERAL (SELECT * FROM b c WHERE c.x = a.x AND c.y IN ($1, $2) OFFSET 0) c \
                 ORDER BY c.y",
            ),
            (
                "DELETE FROM t WHERE x IN (SELECT c.x FROM a CROSS JOIN b c ON c.x = a.x CROSS JOIN d e ON e.x = c.x)",
                "DELETE FROM t WHERE x IN (SELECT c.x FROM a CROSS JOIN LATERAL (SELECT * FROM b c WHERE c.x = a.x OFFSET 0) c \
                 CROSS JOIN LATERAL (SELECT * FROM d e WHERE e.x = c.x OFFSET 0) e)",
            ),
            ("SELECT 1 FROM a CROSS JOIN b", "SELECT 1 FROM a CROSS JOIN b"),
            (
                "SELECT 1 FROM a LEFT JOIN b c ON c.x = (SELECT max(y) FROM b WHERE y = a.x) LEFT JOIN d e ON e.x = 1 WHERE c.y = 2",
                "SELECT 1 FROM a LEFT JOIN LATERAL (SELECT * FROM b c WHERE c.x = (SELECT max(y) FROM b WHERE y = a.x) OFFSET 0) c \
                 ON true LEFT JOIN LATERAL (SELECT * FROM d e WHERE e.x = 1 OFFSET 0) e ON true WHERE c.y = 2",
            ),
            ("SELECT 1 FROM a JOIN b ON b.x = a.x", "SELECT 1 FROM a JOIN b ON b.x = a.x"),
            ("SELECT a FROM t /*postgres FOR UPDATE*/", "SELECT a FROM t FOR UPDATE"),
            ("SELECT unhex(a", "SELECT unhex(a"),
            ("SELECT CAST(a || b AS BLOB) FROM t", "SELECT CAST(a || b AS BYTEA) FROM t"),
            (
                "INSERT INTO a VALUES ($1); DELETE FROM b WHERE x = unhex($2); UPDATE c SET y = $1",
                "WITH s0 AS (INSERT INTO a VALUES ($1)), s1 AS (DELETE FROM b WHERE x = decode($2, 'hex')) \
                 UPDATE c SET y = $1",
            ),
        ];
        for (sqlite, postgres) in cases {
            assert_eq!(translate(sqlite), postgres);
        }
        assert_eq!(Dialect::Postgres.sql("SELECT unhex($1)").as_str(), "SELECT decode($1, 'hex')");
        assert_eq!(Dialect::Postgres.sql("SELECT unhex($1)").as_str(), "SELECT decode($1, 'hex')");
        assert_eq!(Dialect::Sqlite.sql("SELECT unhex($1)").as_str(), "SELECT unhex($1)");
    }
}
