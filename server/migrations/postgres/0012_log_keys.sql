-- The keys that sign a ledger's checkpoints after its first one, which stands with the tenant: the entry that put each in its place,
-- which key it came after, with that one's signature (exact JSON), and the key itself, wrapped by the root key.
CREATE TABLE log_keys (
    tenant BYTEA NOT NULL,
    version BIGINT NOT NULL,
    entry BIGINT NOT NULL,
    change BYTEA NOT NULL,
    wrapped BYTEA NOT NULL,
    PRIMARY KEY (tenant, version)
);
