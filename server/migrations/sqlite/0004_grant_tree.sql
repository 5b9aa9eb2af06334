-- What a grant was delegated from, to list the tree by; and when a grant was issued and last used. None of it decides anything.
ALTER TABLE grants ADD COLUMN
    parent BLOB;
ALTER TABLE grants ADD COLUMN
    since INTEGER NOT NULL DEFAULT 0;
ALTER TABLE usages ADD COLUMN
    newest INTEGER NOT NULL DEFAULT 0;

UPDATE grants SET parent = unhex(substr(json_extract(CAST(content AS TEXT), '$.terms.parent'), 4));

CREATE INDEX grants_by_parent ON grants (tenant, parent, issued) WHERE parent IS NOT NULL;
