-- The newest checkpoint of each ledger: its size and root to compare by, and the signed note.
CREATE TABLE checkpoints (
    tenant BLOB NOT NULL PRIMARY KEY,
    size INTEGER NOT NULL,
    root BLOB NOT NULL,
    note BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- Which node does work that one node is enough for. A lease saves work; nothing is wrong if two nodes do it.
CREATE TABLE leases (
    name TEXT NOT NULL PRIMARY KEY,
    holder BLOB NOT NULL,
    until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
