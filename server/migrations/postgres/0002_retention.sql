-- Retention: generations that gave way or were hidden, in the order in which they did. After a set time their keys are destroyed,
-- and a blob is condemned with the last object in it. `objects` counts what lies in a blob and still has its key.
ALTER TABLE uploads ADD COLUMN
    objects BIGINT NOT NULL DEFAULT 0;

UPDATE uploads SET objects = (SELECT count(*) FROM objects o WHERE o.tenant = uploads.tenant AND o.blob = uploads.blob);

CREATE TABLE retired (
    tenant BYTEA NOT NULL,
    entry BIGINT NOT NULL,
    ordinal BIGINT NOT NULL,
    since BIGINT NOT NULL,
    PRIMARY KEY (tenant, entry, ordinal)
);

CREATE INDEX retired_by_time ON retired (since);

-- Datasets that were deleted: their objects are retired in steps.
CREATE TABLE retired_datasets (
    tenant BYTEA NOT NULL,
    dataset BYTEA NOT NULL,
    since BIGINT NOT NULL,
    PRIMARY KEY (tenant, dataset)
);

-- What was hidden before this was kept begins its time now.
INSERT INTO retired (since, tenant, entry, ordinal)
SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT), o.tenant, o.entry, o.ordinal FROM objects o WHERE NOT EXISTS
(SELECT 1 FROM paths p WHERE p.dataset = o.dataset AND p.path = o.path AND p.entry = o.entry AND p.ordinal = o.ordinal);
