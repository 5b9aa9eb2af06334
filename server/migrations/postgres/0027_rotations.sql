-- Tenants whose keys are rotated by themselves, and when they are due. Unix milliseconds.
CREATE TABLE rotations (
    tenant BYTEA NOT NULL PRIMARY KEY,
    due BIGINT NOT NULL
);
