-- Retention: generations that gave way or were hidden, in the order in which they did. After a set time their keys are destroyed,
-- and a blob is condemned with the last object in it. `objects` counts what lies in a blob and still has its key.
ALTER TABLE uploads ADD COLUMN
    objects INTEGER NOT NULL DEFAULT 0;

UPDATE uploads SET objects = (SELECT count(*) FROM objects o WHERE o.tenant = uploads.tenant AND o.blob = uploads.blob);

CREATE TABLE retired (
    tenant BLOB NOT NULL,
    entry INTEGER NOT NULL,
    ordinal INTEGER NOT NULL,
    since INTEGER NOT NULL,
    PRIMARY KEY (tenant, entry, ordinal)
) STRICT, WITHOUT ROWID;

CREATE INDEX retired_by_time ON retired (since);

-- Datasets that were deleted: their objects are retired in steps.
CREATE TABLE retired_datasets (
    tenant BLOB NOT NULL,
    dataset BLOB NOT NULL,
    since INTEGER NOT NULL,
    PRIMARY KEY (tenant, dataset)
) STRICT, WITHOUT ROWID;

-- What was hidden before this was kept begins its time now.
INSERT INTO retired (since, tenant, entry, ordinal)
SELECT CAST(strftime('%s', 'now') AS INTEGER) * 1000, o.tenant, o.entry, o.ordinal FROM objects o WHERE NOT EXISTS
(SELECT 1 FROM paths p WHERE p.dataset = o.dataset AND p.path = o.path AND p.entry = o.entry AND p.ordinal = o.ordinal);
