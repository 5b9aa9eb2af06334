-- What a tombstone hides for good: generations up to `shredded`, 0 if none was shredded.
ALTER TABLE tombstones ADD COLUMN
    shredded BIGINT NOT NULL DEFAULT 0;

-- Orders to shred, by their entries, and how far each is carried out. An empty `dataset` is the whole tenant. `step` is 0 while
-- paths are walked (`dataset`s in the order of their ids; `place` is the last dataset and path), 1 while what was retired before
-- is (`put` and `ordinal` are the last row), 2 until the keys are gone. `done` counts objects that were met.
CREATE TABLE shreds (
    tenant BYTEA NOT NULL,
    entry BIGINT NOT NULL,
    dataset BYTEA NOT NULL,
    prefix TEXT COLLATE "C" NOT NULL,
    step BIGINT NOT NULL,
    place TEXT COLLATE "C" NOT NULL,
    put BIGINT NOT NULL,
    ordinal BIGINT NOT NULL,
    done BIGINT NOT NULL,
    started BIGINT NOT NULL,
    finished BIGINT,
    PRIMARY KEY (tenant, entry)
);
