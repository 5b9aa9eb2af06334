-- Versions of tenants' keys, sealed to the tenants' own recipients: age messages.
CREATE TABLE escrows (
    tenant BYTEA NOT NULL,
    version BIGINT NOT NULL,
    recipient TEXT COLLATE "C" NOT NULL,
    message BYTEA NOT NULL,
    PRIMARY KEY (tenant, version, recipient)
);

-- Tenants whose sealed versions are to be looked at, with the entry that says so.
CREATE TABLE escrows_due (
    tenant BYTEA NOT NULL PRIMARY KEY,
    entry BIGINT NOT NULL
);
