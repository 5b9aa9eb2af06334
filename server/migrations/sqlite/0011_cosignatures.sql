-- The newest checkpoint that each witness of a ledger cosigned: the note has the signatures of the log and of this witness. What is
-- to be believed of it says the witness's key, not this row.
CREATE TABLE cosignatures (
    tenant BLOB NOT NULL,
    witness TEXT NOT NULL,
    size INTEGER NOT NULL,
    note BLOB NOT NULL,
    PRIMARY KEY (tenant, witness)
) STRICT, WITHOUT ROWID;
