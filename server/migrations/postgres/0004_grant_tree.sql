-- What a grant was delegated from, to list the tree by; and when a grant was issued and last used. None of it decides anything.
ALTER TABLE grants ADD COLUMN
    parent BYTEA;
ALTER TABLE grants ADD COLUMN
    since BIGINT NOT NULL DEFAULT 0;
ALTER TABLE usages ADD COLUMN
    newest BIGINT NOT NULL DEFAULT 0;

UPDATE grants SET parent = decode(substr(convert_from(content, 'UTF8')::json->'terms'->>'parent', 4), 'hex');

CREATE INDEX grants_by_parent ON grants (tenant, parent, issued) WHERE parent IS NOT NULL;
