-- What bundles of entries (level 0) and spans of 256 of them (level 1) are about, for those whose batches have left. Those of bundles
-- go once their span is full. `content` is the exact JSON; it carries a mark.
CREATE TABLE summaries (
    tenant BYTEA NOT NULL,
    level BIGINT NOT NULL,
    number BIGINT NOT NULL,
    content BYTEA NOT NULL,
    mac BYTEA NOT NULL,
    PRIMARY KEY (tenant, level, number)
);
