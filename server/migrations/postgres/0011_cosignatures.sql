-- The newest checkpoint that each witness of a ledger cosigned: the note has the signatures of the log and of this witness. What is
-- to be believed of it says the witness's key, not this row.
CREATE TABLE cosignatures (
    tenant BYTEA NOT NULL,
    witness TEXT COLLATE "C" NOT NULL,
    size BIGINT NOT NULL,
    note BYTEA NOT NULL,
    PRIMARY KEY (tenant, witness)
);
