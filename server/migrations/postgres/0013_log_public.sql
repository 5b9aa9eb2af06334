-- The public half of each tenant's log key, with a mark by the vault key, so that it can be shown without the root key's help.
-- None until it was first looked up.
ALTER TABLE tenants ADD COLUMN log_public BYTEA;
