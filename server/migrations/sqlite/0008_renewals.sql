-- Renewals: a grant's end as an order moved it. Rows are immutable and carry a mark; a grant's newest one holds. `content` is the
-- exact JSON of the renewal; `grant_id` and `entry` repeat it to be found by.
CREATE TABLE renewals (
    tenant BLOB NOT NULL,
    entry INTEGER NOT NULL,
    grant_id BLOB NOT NULL,
    content BLOB NOT NULL,
    mac BLOB NOT NULL,
    PRIMARY KEY (tenant, entry)
) STRICT;

CREATE INDEX renewals_by_grant ON renewals (tenant, grant_id, entry);
