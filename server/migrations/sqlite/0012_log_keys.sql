-- The keys that sign a ledger's checkpoints after its first one, which stands with the tenant: the entry that put each in its place,
-- which key it came after, with that one's signature (exact JSON), and the key itself, wrapped by the root key.
CREATE TABLE log_keys (
    tenant BLOB NOT NULL,
    version INTEGER NOT NULL,
    entry INTEGER NOT NULL,
    change BLOB NOT NULL,
    wrapped BLOB NOT NULL,
    PRIMARY KEY (tenant, version)
) STRICT, WITHOUT ROWID;
