-- Versions of tenants' keys, sealed to the tenants' own recipients: age messages.
CREATE TABLE escrows (
    tenant BLOB NOT NULL,
    version INTEGER NOT NULL,
    recipient TEXT NOT NULL,
    message BLOB NOT NULL,
    PRIMARY KEY (tenant, version, recipient)
) STRICT, WITHOUT ROWID;

-- Tenants whose sealed versions are to be looked at, with the entry that says so.
CREATE TABLE escrows_due (
    tenant BLOB NOT NULL PRIMARY KEY,
    entry INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
