-- What a tombstone hides for good: generations up to `shredded`, 0 if none was shredded.
ALTER TABLE tombstones ADD COLUMN
    shredded INTEGER NOT NULL DEFAULT 0;

-- Orders to shred, by their entries, and how far each is carried out. An empty `dataset` is the whole tenant. `step` is 0 while
-- paths are walked (`dataset`s in the order of their ids; `place` is the last dataset and path), 1 while what was retired before
-- is (`put` and `ordinal` are the last row), 2 until the keys are gone. `done` counts objects that were met.
CREATE TABLE shreds (
    tenant BLOB NOT NULL,
    entry INTEGER NOT NULL,
    dataset BLOB NOT NULL,
    prefix TEXT NOT NULL,
    step INTEGER NOT NULL,
    place TEXT NOT NULL,
    put INTEGER NOT NULL,
    ordinal INTEGER NOT NULL,
    done INTEGER NOT NULL,
    started INTEGER NOT NULL,
    finished INTEGER,
    PRIMARY KEY (tenant, entry)
) STRICT, WITHOUT ROWID;
