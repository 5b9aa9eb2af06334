-- The wrapped roots of objects that one entry put many at a time, sixteen to a row: `wrapped` has the sixty bytes of ordinals 16 × `chunk`
-- and up, all under `version` of the tenant's key. Their rows of `objects` have no bytes in `wrapped`, and in `key_version` what they
-- were put under. A rotation rewrites these rows only, and a row is small enough not to spill out of its page.
CREATE TABLE wraps (
    tenant BLOB NOT NULL,
    entry INTEGER NOT NULL,
    chunk INTEGER NOT NULL,
    version INTEGER NOT NULL,
    wrapped BLOB NOT NULL,
    PRIMARY KEY (tenant, entry, chunk)
) STRICT, WITHOUT ROWID;
