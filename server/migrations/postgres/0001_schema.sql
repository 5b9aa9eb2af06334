-- What one vault keeps in SQL. Times are Unix milliseconds; ids, digests and marks are their bytes. Text is ordered by its
-- bytes, whatever the database's own order is. The tables are those of SQLite, column by column; a test compares them.
-- Rows with a `mac` are marked by the tenant's ledger key and checked when they are read; nothing else here is believed where it
-- would widen anything.

CREATE TABLE vault (
    "only" BIGINT NOT NULL PRIMARY KEY CHECK ("only" = 1),
    id BYTEA NOT NULL
);

CREATE TABLE tenants (
    id BYTEA NOT NULL PRIMARY KEY,
    name TEXT COLLATE "C" NOT NULL UNIQUE,
    ledger_key BYTEA NOT NULL,
    log_key BYTEA NOT NULL
);

CREATE TABLE tenant_keys (
    tenant BYTEA NOT NULL,
    version BIGINT NOT NULL,
    wrapped BYTEA NOT NULL,
    active BIGINT NOT NULL,
    PRIMARY KEY (tenant, version)
);

-- The head of each ledger: its canonical bytes, and beside them its size to compare by.
CREATE TABLE heads (
    tenant BYTEA NOT NULL PRIMARY KEY,
    size BIGINT NOT NULL,
    head BYTEA NOT NULL,
    mac BYTEA NOT NULL
);

-- What each commit appended, found by the size of the ledger after it. The private parts lie apart, so that one can be erased.
CREATE TABLE batches (
    tenant BYTEA NOT NULL,
    size BIGINT NOT NULL,
    first BIGINT NOT NULL,
    tip BYTEA NOT NULL,
    entries BYTEA NOT NULL,
    PRIMARY KEY (tenant, size)
);

CREATE TABLE privates (
    tenant BYTEA NOT NULL,
    size BIGINT NOT NULL,
    parts BYTEA NOT NULL,
    PRIMARY KEY (tenant, size)
);

-- The authority log: public bytes of its entries, chained in their order, each with its signed order.
CREATE TABLE authority (
    tenant BYTEA NOT NULL,
    entry BIGINT NOT NULL,
    public BYTEA NOT NULL,
    signed BYTEA NOT NULL,
    PRIMARY KEY (tenant, entry)
);

CREATE TABLE orders (
    tenant BYTEA NOT NULL,
    id BYTEA NOT NULL,
    entry BIGINT NOT NULL,
    PRIMARY KEY (tenant, id)
);

-- `content` is the exact JSON of the grant; `holder` and `issued` repeat it to be found by.
CREATE TABLE grants (
    tenant BYTEA NOT NULL,
    id BYTEA NOT NULL,
    holder BYTEA NOT NULL,
    issued BIGINT NOT NULL,
    content BYTEA NOT NULL,
    mac BYTEA NOT NULL,
    PRIMARY KEY (tenant, id)
);

CREATE INDEX grants_by_holder ON grants (tenant, holder, issued);
CREATE INDEX grants_by_age ON grants (tenant, issued);

CREATE TABLE usages (
    tenant BYTEA NOT NULL,
    grant_id BYTEA NOT NULL,
    bytes BIGINT NOT NULL,
    objects BIGINT NOT NULL,
    uses BIGINT NOT NULL,
    PRIMARY KEY (tenant, grant_id)
);

-- What requests did lately. `period` is the quarter of an hour of the newest entry, so that what is forgotten goes in one piece.
CREATE TABLE requests (
    tenant BYTEA NOT NULL,
    period BIGINT NOT NULL,
    id BYTEA NOT NULL,
    newest BIGINT NOT NULL,
    digest BYTEA NOT NULL,
    done BYTEA NOT NULL,
    PRIMARY KEY (tenant, period, id)
);

-- Every generation of every object, named by its put entry and ordinal, so that new rows go to the index's end. Immutable but
-- for where it lies and how its key is wrapped.
CREATE TABLE objects (
    tenant BYTEA NOT NULL,
    entry BIGINT NOT NULL,
    ordinal BIGINT NOT NULL,
    dataset BYTEA NOT NULL,
    dataset_name TEXT COLLATE "C" NOT NULL,
    path TEXT COLLATE "C" NOT NULL,
    generation BIGINT NOT NULL,
    id BYTEA NOT NULL,
    put BYTEA NOT NULL,
    fixed BYTEA NOT NULL,
    mac BYTEA NOT NULL,
    key_version BIGINT NOT NULL,
    wrapped BYTEA NOT NULL,
    blob TEXT COLLATE "C" NOT NULL,
    start BIGINT NOT NULL,
    PRIMARY KEY (tenant, entry, ordinal)
);

CREATE UNIQUE INDEX objects_by_id ON objects (tenant, id);
CREATE UNIQUE INDEX objects_by_put ON objects (tenant, put);

-- What is visible now: one row a path. Listing reads this, so what was deleted is not in it.
CREATE TABLE paths (
    dataset BYTEA NOT NULL,
    path TEXT COLLATE "C" NOT NULL,
    generation BIGINT NOT NULL,
    entry BIGINT NOT NULL,
    ordinal BIGINT NOT NULL,
    PRIMARY KEY (dataset, path)
);

-- Generations that were overwritten and can still be asked for by number.
CREATE TABLE superseded (
    dataset BYTEA NOT NULL,
    path TEXT COLLATE "C" NOT NULL,
    generation BIGINT NOT NULL,
    entry BIGINT NOT NULL,
    ordinal BIGINT NOT NULL,
    PRIMARY KEY (dataset, path, generation)
);

-- Deleted paths, also after something new stands there: generations up to `through`, the delete's own number, are hidden.
CREATE TABLE tombstones (
    dataset BYTEA NOT NULL,
    path TEXT COLLATE "C" NOT NULL,
    through BIGINT NOT NULL,
    PRIMARY KEY (dataset, path)
);

-- Blobs under way: 0 open, 1 committed, 2 condemned.
CREATE TABLE uploads (
    blob TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    tenant BYTEA NOT NULL,
    put BYTEA NOT NULL,
    holder BYTEA NOT NULL,
    state BIGINT NOT NULL,
    touched BIGINT NOT NULL
);

CREATE INDEX uploads_by_state ON uploads (state, touched);

-- A head and a grant's usage change with every commit: room for the next version beside the last one.
ALTER TABLE heads SET (fillfactor = 20);
ALTER TABLE usages SET (fillfactor = 50);

-- Half of what is in them cannot be compressed, and the other half is not worth the time of a commit.
ALTER TABLE batches ALTER COLUMN entries SET STORAGE EXTERNAL;
ALTER TABLE privates ALTER COLUMN parts SET STORAGE EXTERNAL;
