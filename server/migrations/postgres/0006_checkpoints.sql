-- The newest checkpoint of each ledger: its size and root to compare by, and the signed note.
CREATE TABLE checkpoints (
    tenant BYTEA NOT NULL PRIMARY KEY,
    size BIGINT NOT NULL,
    root BYTEA NOT NULL,
    note BYTEA NOT NULL
);

-- Which node does work that one node is enough for. A lease saves work; nothing is wrong if two nodes do it.
CREATE TABLE leases (
    name TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    holder BYTEA NOT NULL,
    until BIGINT NOT NULL
);
