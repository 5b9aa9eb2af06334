-- How far a tenant's objects are wrapped anew, under the newest version of its key: one row a tenant that ever rotated. `entry` and
-- `ordinal` are the last row that was dealt with; `skipped` are rows that do not carry their mark, or do not open. `node` works on
-- it until `lease`.
CREATE TABLE rewraps (
    tenant BLOB NOT NULL PRIMARY KEY,
    version INTEGER NOT NULL,
    entry INTEGER NOT NULL,
    ordinal INTEGER NOT NULL,
    total INTEGER NOT NULL,
    done INTEGER NOT NULL,
    skipped INTEGER NOT NULL,
    started INTEGER NOT NULL,
    finished INTEGER,
    node BLOB NOT NULL,
    lease INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
