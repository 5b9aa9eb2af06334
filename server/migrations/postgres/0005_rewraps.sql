-- How far a tenant's objects are wrapped anew, under the newest version of its key: one row a tenant that ever rotated. `entry` and
-- `ordinal` are the last row that was dealt with; `skipped` are rows that do not carry their mark, or do not open. `node` works on
-- it until `lease`.
CREATE TABLE rewraps (
    tenant BYTEA NOT NULL PRIMARY KEY,
    version BIGINT NOT NULL,
    entry BIGINT NOT NULL,
    ordinal BIGINT NOT NULL,
    total BIGINT NOT NULL,
    done BIGINT NOT NULL,
    skipped BIGINT NOT NULL,
    started BIGINT NOT NULL,
    finished BIGINT,
    node BYTEA NOT NULL,
    lease BIGINT NOT NULL
);
