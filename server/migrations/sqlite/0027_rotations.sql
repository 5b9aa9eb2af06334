-- Tenants whose keys are rotated by themselves, and when they are due. Unix milliseconds.
CREATE TABLE rotations (
    tenant BLOB NOT NULL PRIMARY KEY,
    due INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
