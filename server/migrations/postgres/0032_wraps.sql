-- The wrapped roots of objects that one entry put many at a time, sixteen to a row: `wrapped` has the sixty bytes of ordinals 16 × `chunk`
-- and up, all under `version` of the tenant's key. Their rows of `objects` have no bytes in `wrapped`, and in `key_version` what they
-- were put under. A rotation rewrites these rows only; half of each page is left free, so that it stays in the page and out of the index.
CREATE TABLE wraps (
    tenant BYTEA NOT NULL,
    entry BIGINT NOT NULL,
    chunk BIGINT NOT NULL,
    version BIGINT NOT NULL,
    wrapped BYTEA NOT NULL,
    PRIMARY KEY (tenant, entry, chunk)
) WITH (fillfactor = 50);
