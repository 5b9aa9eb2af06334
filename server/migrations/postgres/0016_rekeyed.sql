-- Whether a generation was replaced by the same content under a new key: it is kept for a shorter time.
ALTER TABLE retired ADD COLUMN
    rekeyed BIGINT NOT NULL DEFAULT 0;

CREATE INDEX retired_rekeyed ON retired (since) WHERE rekeyed = 1;
