-- What one vault keeps in SQL. Times are Unix milliseconds; ids, digests and marks are their bytes.
-- Rows with a `mac` are marked by the tenant's ledger key and checked when they are read; nothing else here is believed where it
-- would widen anything.

CREATE TABLE vault (
    only INTEGER NOT NULL PRIMARY KEY CHECK (only = 1),
    id BLOB NOT NULL
) STRICT;

CREATE TABLE tenants (
    id BLOB NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    ledger_key BLOB NOT NULL,
    log_key BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE tenant_keys (
    tenant BLOB NOT NULL,
    version INTEGER NOT NULL,
    wrapped BLOB NOT NULL,
    active INTEGER NOT NULL,
    PRIMARY KEY (tenant, version)
) STRICT, WITHOUT ROWID;

-- The head of each ledger: its canonical bytes, and beside them its size to compare by.
CREATE TABLE heads (
    tenant BLOB NOT NULL PRIMARY KEY,
    size INTEGER NOT NULL,
    head BLOB NOT NULL,
    mac BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- What each commit appended, found by the size of the ledger after it. The private parts lie apart, so that one can be erased.
CREATE TABLE batches (
    tenant BLOB NOT NULL,
    size INTEGER NOT NULL,
    first INTEGER NOT NULL,
    tip BLOB NOT NULL,
    entries BLOB NOT NULL,
    PRIMARY KEY (tenant, size)
) STRICT;

CREATE TABLE privates (
    tenant BLOB NOT NULL,
    size INTEGER NOT NULL,
    parts BLOB NOT NULL,
    PRIMARY KEY (tenant, size)
) STRICT;

-- The authority log: public bytes of its entries, chained in their order, each with its signed order.
CREATE TABLE authority (
    tenant BLOB NOT NULL,
    entry INTEGER NOT NULL,
    public BLOB NOT NULL,
    signed BLOB NOT NULL,
    PRIMARY KEY (tenant, entry)
) STRICT;

CREATE TABLE orders (
    tenant BLOB NOT NULL,
    id BLOB NOT NULL,
    entry INTEGER NOT NULL,
    PRIMARY KEY (tenant, id)
) STRICT, WITHOUT ROWID;

-- `content` is the exact JSON of the grant; `holder` and `issued` repeat it to be found by.
CREATE TABLE grants (
    tenant BLOB NOT NULL,
    id BLOB NOT NULL,
    holder BLOB NOT NULL,
    issued INTEGER NOT NULL,
    content BLOB NOT NULL,
    mac BLOB NOT NULL,
    PRIMARY KEY (tenant, id)
) STRICT;

CREATE INDEX grants_by_holder ON grants (tenant, holder, issued);
CREATE INDEX grants_by_age ON grants (tenant, issued);

CREATE TABLE usages (
    tenant BLOB NOT NULL,
    grant_id BLOB NOT NULL,
    bytes INTEGER NOT NULL,
    objects INTEGER NOT NULL,
    uses INTEGER NOT NULL,
    PRIMARY KEY (tenant, grant_id)
) STRICT, WITHOUT ROWID;

-- What requests did lately. `period` is the quarter of an hour of the newest entry, so that what is forgotten goes in one piece.
CREATE TABLE requests (
    tenant BLOB NOT NULL,
    period INTEGER NOT NULL,
    id BLOB NOT NULL,
    newest INTEGER NOT NULL,
    digest BLOB NOT NULL,
    done BLOB NOT NULL,
    PRIMARY KEY (tenant, period, id)
) STRICT, WITHOUT ROWID;

-- Every generation of every object, named by its put entry and ordinal, so that new rows go to the table's end. Immutable but
-- for where it lies and how its key is wrapped.
CREATE TABLE objects (
    tenant BLOB NOT NULL,
    entry INTEGER NOT NULL,
    ordinal INTEGER NOT NULL,
    dataset BLOB NOT NULL,
    dataset_name TEXT NOT NULL,
    path TEXT NOT NULL,
    generation INTEGER NOT NULL,
    id BLOB NOT NULL,
    put BLOB NOT NULL,
    fixed BLOB NOT NULL,
    mac BLOB NOT NULL,
    key_version INTEGER NOT NULL,
    wrapped BLOB NOT NULL,
    blob TEXT NOT NULL,
    start INTEGER NOT NULL,
    PRIMARY KEY (tenant, entry, ordinal)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX objects_by_id ON objects (tenant, id);
CREATE UNIQUE INDEX objects_by_put ON objects (tenant, put);

-- What is visible now: one row a path. Listing reads this, so what was deleted is not in it.
CREATE TABLE paths (
    dataset BLOB NOT NULL,
    path TEXT NOT NULL,
    generation INTEGER NOT NULL,
    entry INTEGER NOT NULL,
    ordinal INTEGER NOT NULL,
    PRIMARY KEY (dataset, path)
) STRICT, WITHOUT ROWID;

-- Generations that were overwritten and can still be asked for by number.
CREATE TABLE superseded (
    dataset BLOB NOT NULL,
    path TEXT NOT NULL,
    generation INTEGER NOT NULL,
    entry INTEGER NOT NULL,
    ordinal INTEGER NOT NULL,
    PRIMARY KEY (dataset, path, generation)
) STRICT, WITHOUT ROWID;

-- Deleted paths, also after something new stands there: generations up to `through`, the delete's own number, are hidden.
CREATE TABLE tombstones (
    dataset BLOB NOT NULL,
    path TEXT NOT NULL,
    through INTEGER NOT NULL,
    PRIMARY KEY (dataset, path)
) STRICT, WITHOUT ROWID;

-- Blobs under way: 0 open, 1 committed, 2 condemned.
CREATE TABLE uploads (
    blob TEXT NOT NULL PRIMARY KEY,
    tenant BLOB NOT NULL,
    put BLOB NOT NULL,
    holder BLOB NOT NULL,
    state INTEGER NOT NULL,
    touched INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX uploads_by_state ON uploads (state, touched);
