//! What a catalog consists of: every table, with its columns. **A new table goes in here**, or a test fails that compares this
//! list with both databases.
//!
//! Rows are copied as they stand, in the order of their key, which is the table's primary key.

use std::fmt::Write;

use sqlx::any::AnyRow;
use sqlx::{Row as _, SqlStr};

use super::super::bulk::Bulk;
use super::super::dialect::Dialect;
use super::super::{CatalogError, number};

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `INTEGER`, `BIGINT`: never negative.
    Number,
    /// `BLOB`, `BYTEA`.
    Bytes,
    /// `TEXT`.
    Text,
}

use Kind::{Bytes, Number, Text};

/// A table that is copied.
pub(super) struct Table {
    pub(super) name: &'static str,
    /// The primary key, in its order.
    pub(super) key: &'static [(&'static str, Kind)],
    /// All other columns.
    pub(super) rest: &'static [(&'static str, Kind)],
}

/// What is copied, in this order.
pub(super) const TABLES: &[Table] = &[
    Table {
        name: "tenants",
        key: &[("id", Bytes)],
        rest: &[("name", Text), ("ledger_key", Bytes), ("log_key", Bytes), ("log_public", Bytes)],
    },
    Table {
        name: "tenant_keys",
        key: &[("tenant", Bytes), ("version", Number)],
        rest: &[("wrapped", Bytes), ("active", Number)],
    },
    Table { name: "heads", key: &[("tenant", Bytes)], rest: &[("size", Number), ("head", Bytes), ("mac", Bytes)] },
    Table {
        name: "batches",
        key: &[("tenant", Bytes), ("size", Number)],
        rest: &[("first", Number), ("tip", Bytes), ("entries", Bytes)],
    },
    Table { name: "privates", key: &[("tenant", Bytes), ("size", Number)], rest: &[("parts", Bytes)] },
    Table {
        name: "authority",
        key: &[("tenant", Bytes), ("entry", Number)],
        rest: &[("public", Bytes), ("signed", Bytes)],
    },
    Table { name: "orders", key: &[("tenant", Bytes), ("id", Bytes)], rest: &[("entry", Number)] },
    Table {
        name: "grants",
        key: &[("tenant", Bytes), ("id", Bytes)],
        rest: &[
            ("holder", Bytes),
            ("issued", Number),
            ("content", Bytes),
            ("mac", Bytes),
            ("parent", Bytes),
            ("since", Number),
        ],
    },
    Table {
        name: "renewals",
        key: &[("tenant", Bytes), ("entry", Number)],
        rest: &[("grant_id", Bytes), ("content", Bytes), ("mac", Bytes)],
    },
    Table {
        name: "usages",
        key: &[("tenant", Bytes), ("grant_id", Bytes)],
        rest: &[
            ("bytes", Number),
            ("objects", Number),
            ("uses", Number),
            ("newest", Number),
            ("minute", Number),
            ("minute_bytes", Number),
        ],
    },
    Table {
        name: "requests",
        key: &[("tenant", Bytes), ("period", Number), ("id", Bytes)],
        rest: &[("newest", Number), ("digest", Bytes), ("done", Bytes)],
    },
    Table {
        name: "objects",
        key: &[("tenant", Bytes), ("entry", Number), ("ordinal", Number)],
        rest: &[
            ("dataset", Bytes),
            ("dataset_name", Text),
            ("path", Text),
            ("generation", Number),
            ("id", Bytes),
            ("put", Bytes),
            ("fixed", Bytes),
            ("mac", Bytes),
            ("key_version", Number),
            ("wrapped", Bytes),
            ("blob", Text),
            ("start", Number),
        ],
    },
    Table {
        name: "wraps",
        key: &[("tenant", Bytes), ("entry", Number), ("chunk", Number)],
        rest: &[("version", Number), ("wrapped", Bytes)],
    },
    Table {
        name: "paths",
        key: &[("dataset", Bytes), ("path", Text)],
        rest: &[("generation", Number), ("entry", Number), ("ordinal", Number)],
    },
    Table {
        name: "superseded",
        key: &[("dataset", Bytes), ("path", Text), ("generation", Number)],
        rest: &[("entry", Number), ("ordinal", Number)],
    },
    Table {
        name: "tombstones",
        key: &[("dataset", Bytes), ("path", Text)],
        rest: &[("through", Number), ("shredded", Number)],
    },
    Table {
        name: "uploads",
        key: &[("blob", Text)],
        rest: &[
            ("tenant", Bytes),
            ("put", Bytes),
            ("holder", Bytes),
            ("state", Number),
            ("touched", Number),
            ("objects", Number),
            ("multipart", Text),
        ],
    },
    Table {
        name: "retired",
        key: &[("tenant", Bytes), ("entry", Number), ("ordinal", Number)],
        rest: &[("since", Number), ("rekeyed", Number)],
    },
    Table { name: "retired_datasets", key: &[("tenant", Bytes), ("dataset", Bytes)], rest: &[("since", Number)] },
    Table {
        name: "rewraps",
        key: &[("tenant", Bytes)],
        rest: &[
            ("version", Number),
            ("entry", Number),
            ("ordinal", Number),
            ("total", Number),
            ("done", Number),
            ("skipped", Number),
            ("started", Number),
            ("finished", Number),
            ("node", Bytes),
            ("lease", Number),
        ],
    },
    Table {
        name: "shreds",
        key: &[("tenant", Bytes), ("entry", Number)],
        rest: &[
            ("dataset", Bytes),
            ("prefix", Text),
            ("step", Number),
            ("place", Text),
            ("put", Number),
            ("ordinal", Number),
            ("done", Number),
            ("started", Number),
            ("finished", Number),
        ],
    },
    Table {
        name: "escrows",
        key: &[("tenant", Bytes), ("version", Number), ("recipient", Text)],
        rest: &[("message", Bytes)],
    },
    Table { name: "rotations", key: &[("tenant", Bytes)], rest: &[("due", Number)] },
    Table { name: "escrows_due", key: &[("tenant", Bytes)], rest: &[("entry", Number)] },
    Table {
        name: "checkpoints",
        key: &[("tenant", Bytes)],
        rest: &[("size", Number), ("root", Bytes), ("note", Bytes)],
    },
    Table {
        name: "log_keys",
        key: &[("tenant", Bytes), ("version", Number)],
        rest: &[("entry", Number), ("change", Bytes), ("wrapped", Bytes)],
    },
    Table {
        name: "summaries",
        key: &[("tenant", Bytes), ("level", Number), ("number", Number)],
        rest: &[("content", Bytes), ("mac", Bytes)],
    },
    Table {
        name: "cosignatures",
        key: &[("tenant", Bytes), ("witness", Text)],
        rest: &[("size", Number), ("note", Bytes)],
    },
];

/// What is not copied, and why.
#[cfg(test)]
pub(super) const NOT_COPIED: &[(&str, &str)] = &[
    ("vault", "whose catalog it is: the copy writes its own row"),
    ("root_nodes", "which root keys the running nodes have: none runs over a copy"),
    ("leases", "which of the running nodes does what: none runs over a copy"),
    ("_sqlx_migrations", "which migrations were carried out: each database's own"),
];

/// A value as it stands in a row.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Cell {
    Null,
    Number(u64),
    Bytes(Vec<u8>),
    Text(String),
}

/// A row of a table, its key first.
pub(super) type Cells = Vec<Cell>;

impl Table {
    fn columns(&self) -> impl Iterator<Item = &(&'static str, Kind)> {
        self.key.iter().chain(self.rest)
    }

    /// Rows in the order of their keys, as many as the last parameter says; with `after`, those after the key in the parameters
    /// before it.
    pub(super) fn page(&self, dialect: Dialect, after: bool) -> SqlStr {
        let (columns, key) = (list(self.columns()), list(self.key));
        let mut sql = format!("SELECT {columns} FROM \"{}\"", self.name);
        let mut next = 1;
        if after {
            let parameters: Vec<String> = (1..=self.key.len()).map(|n| format!("${n}")).collect();
            // Writing to a string does not fail.
            let _ = write!(sql, " WHERE ({key}) > ({})", parameters.join(", "));
            next += self.key.len();
        }
        let _ = write!(sql, " ORDER BY {key} LIMIT ${next}");
        dialect.made(sql)
    }

    /// The greatest key.
    pub(super) fn last(&self, dialect: Dialect) -> SqlStr {
        let key = list(self.key);
        let descending: Vec<String> = self.key.iter().map(|(name, _)| format!("\"{name}\" DESC")).collect();
        dialect.made(format!("SELECT {key} FROM \"{}\" ORDER BY {} LIMIT 1", self.name, descending.join(", ")))
    }

    /// How many rows there are.
    pub(super) fn count(&self, dialect: Dialect) -> SqlStr {
        dialect.made(format!("SELECT count(*) FROM \"{}\"", self.name))
    }

    /// Inserts the rows of a JSON parameter.
    pub(super) fn insert(&self, dialect: Dialect) -> SqlStr {
        let value = |(at, (_, kind)): (usize, &(&str, Kind))| match kind {
            Number => format!("CAST(j.value->>{at} AS BIGINT)"),
            Bytes => format!("unhex(j.value->>{at})"),
            Text => format!("j.value->>{at}"),
        };
        let values: Vec<String> = self.columns().enumerate().map(value).collect();
        let columns = list(self.columns());
        dialect.made(format!(
            "INSERT INTO \"{}\" ({columns}) SELECT {} FROM jsonb_each($1) j",
            self.name,
            values.join(", ")
        ))
    }

    /// A row out of [`Table::page`].
    pub(super) fn row(&self, row: &AnyRow) -> Result<Cells, CatalogError> {
        cells(self.columns(), row)
    }

    /// A key out of [`Table::last`].
    pub(super) fn key(&self, row: &AnyRow) -> Result<Cells, CatalogError> {
        cells(self.key.iter(), row)
    }

    /// A row's key in words.
    pub(super) fn name_of(&self, row: &[Cell]) -> String {
        let word = |((name, _), cell): (&(&str, Kind), &Cell)| match cell {
            Cell::Null => format!("{name} null"),
            Cell::Number(number) => format!("{name} {number}"),
            Cell::Bytes(bytes) => format!("{name} {}", data_encoding::HEXLOWER.encode(bytes)),
            Cell::Text(text) => format!("{name} {text}"),
        };
        self.key.iter().zip(row).map(word).collect::<Vec<_>>().join(", ")
    }
}

fn list<'a>(columns: impl IntoIterator<Item = &'a (&'static str, Kind)>) -> String {
    columns.into_iter().map(|(name, _)| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
}

fn cells<'a>(columns: impl Iterator<Item = &'a (&'static str, Kind)>, row: &AnyRow) -> Result<Cells, CatalogError> {
    let cell = |(at, (_, kind)): (usize, &(&str, Kind))| {
        Ok(match kind {
            Number => match row.try_get::<Option<i64>, _>(at)? {
                Some(_) => Cell::Number(number(row, at)?),
                None => Cell::Null,
            },
            Bytes => row.try_get::<Option<Vec<u8>>, _>(at)?.map_or(Cell::Null, Cell::Bytes),
            Text => row.try_get::<Option<String>, _>(at)?.map_or(Cell::Null, Cell::Text),
        })
    };
    columns.enumerate().map(cell).collect()
}

impl Cell {
    /// About how many bytes it takes.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Null | Self::Number(_) => 8,
            Self::Bytes(bytes) => bytes.len(),
            Self::Text(text) => text.len(),
        }
    }
}

/// Rows as a parameter.
pub(super) fn bulk(rows: &[Cells]) -> String {
    let bytes: usize = rows.iter().flatten().map(|cell| 2 * cell.len() + 4).sum();
    let mut bulk = Bulk::with_capacity(bytes);
    for row in rows {
        bulk.row();
        for cell in row {
            match cell {
                Cell::Null => bulk.null(),
                Cell::Number(number) => bulk.number(*number),
                Cell::Bytes(bytes) => bulk.bytes(bytes),
                Cell::Text(text) => bulk.text(text),
            };
        }
    }
    bulk.finish()
}
