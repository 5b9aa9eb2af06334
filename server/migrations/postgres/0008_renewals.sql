-- Renewals: a grant's end as an order moved it. Rows are immutable and carry a mark; a grant's newest one holds. `content` is the
-- exact JSON of the renewal; `grant_id` and `entry` repeat it to be found by.
CREATE TABLE renewals (
    tenant BYTEA NOT NULL,
    entry BIGINT NOT NULL,
    grant_id BYTEA NOT NULL,
    content BYTEA NOT NULL,
    mac BYTEA NOT NULL,
    PRIMARY KEY (tenant, entry)
);

CREATE INDEX renewals_by_grant ON renewals (tenant, grant_id, entry);
